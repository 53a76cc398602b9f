/*-------------------------------------------------------------------------
 *
 * leave.h
 *		Asking a worker to leave its database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_LEAVE_H
#define HOOKS_LEAVE_H

#include "nodes/nodes.h"

/* Watch for DROP DATABASE; from _PG_init while libraries are preloaded. */
extern void leave_install(void);

/* Is a command of this session under way for which a worker was asked to leave? */
extern bool leave_holds(void);

/* A command is about to be executed: it may need a database to itself. */
extern void leave_before(Node *command);

/* The command for which a worker was asked to leave, if one was, has ended. */
extern void leave_after(void);

#endif							/* HOOKS_LEAVE_H */
