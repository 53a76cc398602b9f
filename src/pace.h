/*-------------------------------------------------------------------------
 *
 * pace.h
 *		How fast a destination takes requests, as it says itself.
 *
 * Services say in headers how many requests they still take and when they
 * count anew, or, when they have had too many, when to come back.  Nothing is
 * known beforehand, and nothing is guessed: when a destination that has told
 * of a limit counts anew, one request goes and learns what the limit is now,
 * and the others wait for its answer.
 *
 * For some destinations there is a limit of our own, too: so many requests in
 * a time, which begins with the first one.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_PACE_H
#define HOOKS_PACE_H

#include "datatype/timestamp.h"

/* No destination may stop us for longer than this, or is held to what it said so long ago. */
#define PACE_LONGEST (3600 * USECS_PER_SEC)

/* A limit of our own: so many requests in so many seconds, an hour at most.  All zero: none. */
typedef struct Allowance
{
	int			most;
	int			seconds;
} Allowance;

/* All zero is a destination that nothing is known of. */
typedef struct Pace
{
	int			under_way;		/* our requests */
	int			remaining;		/* requests that it takes before "renewed_at" */
	TimestampTz renewed_at;		/* 0: it has said nothing */
	uint32		bucket;			/* which of its limits that was, as it calls them */
	TimestampTz closed_until;	/* 0: it is not */
	int			most;			/* our own limit; 0: none */
	int			left;			/* of that … */
	TimestampTz counted_until;	/* … until then */
} Pace;

/* Has it told of a limit, counts anew, and has not said up to what? */
static inline bool
pace_is_outdated(const Pace *pace, TimestampTz now)
{
	return pace->renewed_at != 0 && pace->renewed_at <= now && pace->closed_until <= now;
}

/* When it takes a request: at "now" or before, later, or, for DT_NOEND, when one has ended. */
static inline TimestampTz
pace_opens_at(const Pace *pace, TimestampTz now)
{
	TimestampTz opens = now;

	if (pace_is_outdated(pace, now) && pace->under_way > 0)
		return DT_NOEND;
	if (pace->closed_until > now)
		opens = pace->closed_until;
	if (pace->renewed_at > now && pace->remaining <= 0)
		opens = Max(opens, pace->renewed_at);
	if (pace->most > 0 && pace->counted_until > now && pace->left <= 0)
		opens = Max(opens, pace->counted_until);
	/* A clock that was set back must not make it longer. */
	return Min(opens, now + PACE_LONGEST);
}

/* How many requests may start, when it takes any. */
static inline int
pace_room(const Pace *pace, TimestampTz now)
{
	int			ours = PG_INT32_MAX;

	if (pace->most > 0)
		ours = pace->counted_until > now ? pace->left : pace->most;
	if (pace->renewed_at == 0)
		return ours;
	return Min(ours, pace_is_outdated(pace, now) ? 1 : pace->remaining);
}

/* Is what it has told of, if anything, out of date by too much to matter? */
static inline bool
pace_is_over(const Pace *pace, TimestampTz now)
{
	return pace->under_way == 0 && pace->closed_until <= now && pace->counted_until <= now &&
		pace->renewed_at + PACE_LONGEST <= now;
}

/*
 * It is known to tell of its limits, so that nothing is to be guessed of them
 * even at first.
 */
static inline void
pace_expect(Pace *pace, TimestampTz now)
{
	if (pace_is_over(pace, now))
		pace->renewed_at = now;
}

static inline void
pace_start(Pace *pace, Allowance allowance, TimestampTz now)
{
	if (pace->under_way == 0 && pace->closed_until <= now && pace->renewed_at + PACE_LONGEST <= now)
		pace->renewed_at = 0;
	pace->most = allowance.most;
	if (allowance.most > 0 && pace->counted_until <= now)
	{
		pace->counted_until = now + Min(allowance.seconds * USECS_PER_SEC, PACE_LONGEST);
		pace->left = allowance.most;
	}
	if (pace->left > 0)
		pace->left--;
	pace->under_way++;
	if (pace->remaining > 0)
		pace->remaining--;
}

/* What it has not taken does not count, as far as we count. */
static inline void
pace_done(Pace *pace, bool taken)
{
	pace->under_way--;
	if (!taken && pace->left < pace->most)
		pace->left++;
}

/*
 * An answer, whose request is still under way, says that it takes "remaining"
 * more requests within "renewed_in" microseconds.  Our other ones may not be
 * counted in that yet; and answers do not come in the order in which they were
 * given, so that until it counts anew the least that was said holds.  Where it
 * counts requests of several kinds by themselves, in "buckets", it is taken to
 * count all of them until the last one is renewed.
 */
static inline void
pace_learn(Pace *pace, uint32 bucket, int remaining, int64 renewed_in, TimestampTz now)
{
	int			left = Max(remaining - (pace->under_way - 1), 0);
	bool		counting = pace->renewed_at > now;
	TimestampTz renewed_at = now + Min(Max(renewed_in, 0), PACE_LONGEST);

	if (counting && bucket != pace->bucket)
		renewed_at = Max(renewed_at, pace->renewed_at);
	pace->remaining = counting ? Min(pace->remaining, left) : left;
	pace->renewed_at = renewed_at;
	pace->bucket = bucket;
}

/* An answer says nothing of limits: what was said of them is over, or else still holds. */
static inline void
pace_learn_nothing(Pace *pace, TimestampTz now)
{
	if (pace_is_outdated(pace, now))
		pace->renewed_at = 0;
}

/* It takes none for so many microseconds, which is a limit as well. */
static inline void
pace_close(Pace *pace, int64 closed_for, TimestampTz now)
{
	pace->closed_until = Max(pace->closed_until, now + Min(Max(closed_for, 0), PACE_LONGEST));
	if (pace->renewed_at == 0)
	{
		pace->remaining = 0;
		pace->renewed_at = pace->closed_until;
	}
}

#endif							/* HOOKS_PACE_H */
