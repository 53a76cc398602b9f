/*-------------------------------------------------------------------------
 *
 * leave.h
 *		Asking a worker to leave its database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_LEAVE_H
#define HOOKS_LEAVE_H

/* Watch commands that need a database to itself; from _PG_init while preloaded. */
extern void leave_install(void);

#endif							/* HOOKS_LEAVE_H */
