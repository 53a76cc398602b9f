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

#include "c.h"

#define LISTENER_CHANNEL "hooks_chat"

/* Watch for LISTEN; from _PG_init while libraries are preloaded. */
extern void listener_install(void);

/*
 * Does a session listen, or has one listened that is still there?  In any
 * database.
 */
extern bool listener_any(void);

#endif							/* HOOKS_LISTENER_H */
