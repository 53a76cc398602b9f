/*-------------------------------------------------------------------------
 *
 * interest.h
 *		What a session must know to say "nobody cares".
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_INTEREST_H
#define HOOKS_INTEREST_H

#include "event.h"

/*
 * May a hook of this user want an event of this type?  False is a promise
 * that none enabled does; true may be wrong.  Never raises an error, never
 * waits for a lock.
 */
extern bool interest_wanted(const pg_uuid_t *user, TriggerType type);

/*
 * Is the user served, of whom interest_wanted() has just said yes?  Everybody
 * is, but with hooks.require_presence those who have not joined.  As above,
 * false is a promise.
 */
extern bool interest_served(const pg_uuid_t *user);

/* Hooks have changed in this transaction: every session must ask anew. */
extern void interest_announce_change(void);

/*
 * To be called for every relcache invalidation (trigger.c has the callback,
 * since a process can have only few).
 */
extern void interest_invalidate(Oid relation);

#endif							/* HOOKS_INTEREST_H */
