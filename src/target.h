/*-------------------------------------------------------------------------
 *
 * target.h
 *		Destinations of a hook that has several: the names of chat platforms.
 *
 * A delivery with a target is one of several that a hook makes for one event,
 * each with its own id, attempts and end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_TARGET_H
#define HOOKS_TARGET_H

#include "event.h"

/* In the order in which their deliveries are made. */
#define TARGETS 3

extern const char *const target_names[TARGETS];

/* The name as a constant that lives for ever; NULL when it is none. */
extern const char *target_name(const char *name);

/* Where a name stands in target_names; TARGETS when it is none. */
extern int	target_number(const char *name);

/*
 * What becomes of the hook's cooldown when some of its deliveries of one event
 * succeed: it is given back by the last one to end, if none has taken it.
 * Say how many there are, and whether others have ended before (nobody knows
 * how); and of each that it has ended and whether it may have arrived.  True
 * when the cooldown may be given back: never where a restart has lost sight of
 * the others.
 */
extern void target_begin(const pg_uuid_t *hook, const pg_uuid_t *event, int n, bool others,
						 TimestampTz now);
extern bool target_end(const pg_uuid_t *hook, const pg_uuid_t *event, bool arrived);

/* Forget those that have not ended for a day. */
extern void target_forget(TimestampTz now);

#endif							/* HOOKS_TARGET_H */
