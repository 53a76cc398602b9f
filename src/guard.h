/*-------------------------------------------------------------------------
 *
 * guard.h
 *		When Discord takes requests from this server at all.
 *
 * Discord bans addresses from which many invalid requests come, and has a limit
 * for all that a sender asks of it.  Both are about the server, so they are in
 * shared memory, for the workers of all databases.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_GUARD_H
#define HOOKS_GUARD_H

#include "datatype/timestamp.h"

/* For shared.c: the size of the memory, and its making. */
extern Size guard_size(void);
extern void guard_startup(void);

/* When requests may go out: "now", or later. */
extern TimestampTz guard_opens_at(TimestampTz now);

/* None are to go out for so many microseconds, because Discord says so. */
extern void guard_close(int64 closed_for, TimestampTz now);

/*
 * One more request was invalid.  When there are too many of them, none go out
 * until they are forgotten, which the server log says once.
 */
extern void guard_count_invalid(TimestampTz now);

#endif							/* HOOKS_GUARD_H */
