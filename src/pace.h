/*-------------------------------------------------------------------------
 *
 * pace.h
 *		How fast a destination takes requests, as it says itself.
 *
 * Services say in headers how many requests they still take and when they
 * count anew, or, when they have had too many, when to come back.  Nothing is
 * known beforehand, and nothing is guessed.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_PACE_H
#define HOOKS_PACE_H

#include "datatype/timestamp.h"

/* No destination may stop us for longer than this. */
#define PACE_LONGEST (3600 * USECS_PER_SEC)

/* All zero is a destination that nothing is known of. */
typedef struct Pace
{
	int			remaining;		/* requests that it takes before "renewed_at" */
	TimestampTz renewed_at;		/* 0: it has said nothing */
	TimestampTz closed_until;	/* 0: it is not */
} Pace;

static inline TimestampTz
pace_opens_at(const Pace *pace, TimestampTz now)
{
	TimestampTz opens = now;

	if (pace->closed_until > now)
		opens = pace->closed_until;
	if (pace->renewed_at > now && pace->remaining <= 0)
		opens = Max(opens, pace->renewed_at);
	/* A clock that was set back must not make it longer. */
	return Min(opens, now + PACE_LONGEST);
}

static inline void
pace_start(Pace *pace)
{
	if (pace->remaining > 0)
		pace->remaining--;
}

/*
 * It takes "remaining" more requests within "renewed_in" microseconds; so many
 * of ours, that it cannot have counted yet, are under way.
 */
static inline void
pace_learn(Pace *pace, int remaining, int64 renewed_in, int under_way, TimestampTz now)
{
	pace->remaining = Max(remaining - under_way, 0);
	pace->renewed_at = now + Min(Max(renewed_in, 0), PACE_LONGEST);
}

/* It takes none for so many microseconds. */
static inline void
pace_close(Pace *pace, int64 closed_for, TimestampTz now)
{
	pace->closed_until = Max(pace->closed_until, now + Min(Max(closed_for, 0), PACE_LONGEST));
}

/* Is there nothing to remember? */
static inline bool
pace_is_clean(const Pace *pace, TimestampTz now)
{
	return pace->renewed_at <= now && pace->closed_until <= now;
}

#endif							/* HOOKS_PACE_H */
