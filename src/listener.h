/*-------------------------------------------------------------------------
 *
 * listener.h
 *		Whether any session of the server listens for chat messages: NOTIFY has
 *		everybody who commits one wait for each other, so nobody notifies when
 *		nobody listens.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_LISTENER_H
#define HOOKS_LISTENER_H

#include "nodes/nodes.h"

#define LISTENER_CHANNEL "hooks_chat"

/* A command is about to be executed: it may be LISTEN. */
extern void listener_before(Node *command);

/*
 * Does a session listen, or has one listened that is still there?  In any
 * database.
 */
extern bool listener_any(void);

#endif							/* HOOKS_LISTENER_H */
