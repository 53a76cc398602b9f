/*-------------------------------------------------------------------------
 *
 * update.h
 *		ALTER EXTENSION hooks UPDATE while everybody goes on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_UPDATE_H
#define HOOKS_UPDATE_H

#include "nodes/nodes.h"

/* A command is about to be executed, or was: it may be ALTER EXTENSION ... UPDATE. */
extern void update_before(Node *command);
extern void update_after(Node *command);

#endif							/* HOOKS_UPDATE_H */
