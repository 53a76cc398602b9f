/*-------------------------------------------------------------------------
 *
 * drop.h
 *		DROP EXTENSION hooks while the application goes on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_DROP_H
#define HOOKS_DROP_H

#include "nodes/nodes.h"

/* A command is about to be executed: it may be DROP EXTENSION. */
extern void drop_before(Node *command);

#endif							/* HOOKS_DROP_H */
