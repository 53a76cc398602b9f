/*-------------------------------------------------------------------------
 *
 * breaker.h
 *		Does a host work?  What is known from the attempts made lately.
 *
 * A breaker is closed while its host works, and open while it does not:
 * after BREAKER_IN_A_ROW failures in a row, or when BREAKER_PERCENT of at
 * least BREAKER_AT_LEAST attempts of the last minutes have failed.  Once it
 * has been open for a while one attempt, the probe, may try the host; its
 * result closes the breaker, or opens it for twice as long.
 *
 * A failure here is one of the host (no answer, or one that says that the
 * server is broken), not one of a single hook.  Pure: whoever calls says
 * what time it is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_BREAKER_H
#define HOOKS_BREAKER_H

#include "datatype/timestamp.h"

#define BREAKER_IN_A_ROW 5
#define BREAKER_AT_LEAST 10
#define BREAKER_PERCENT 70
#define BREAKER_MINUTES 5

#define BREAKER_FIRST_PAUSE (30 * USECS_PER_SEC)
#define BREAKER_LONGEST_PAUSE (600 * USECS_PER_SEC)

typedef enum BreakerState
{
	BREAKER_CLOSED,				/* the host works, as far as is known */
	BREAKER_OPEN,				/* it does not; nothing is sent before "until" */
	BREAKER_PROBING				/* one attempt is finding out */
} BreakerState;

typedef struct BreakerMinute
{
	int64		minute;
	int			worked;
	int			failed;
} BreakerMinute;

/* All zero is a closed breaker of a host that nothing is known of. */
typedef struct Breaker
{
	BreakerState state;
	int			failed_in_a_row;
	int64		pause;			/* how long it was opened for last */
	TimestampTz until;			/* with BREAKER_OPEN */
	BreakerMinute minutes[BREAKER_MINUTES];
} Breaker;

/*
 * When an attempt may start: at "now" or before, later, or, for DT_NOEND, when
 * the probe's result is in.
 */
extern TimestampTz breaker_opens_at(const Breaker *breaker, TimestampTz now);

/* An attempt starts, which is allowed.  True when it is the probe. */
extern bool breaker_start(Breaker *breaker);

/* An attempt has shown whether the host works. */
extern void breaker_result(Breaker *breaker, bool worked, bool probe, TimestampTz now);

/* A probe has ended without showing anything: another one may try. */
extern void breaker_probe_lost(Breaker *breaker, TimestampTz now);

/* Is nothing held against the host at the moment? */
extern bool breaker_is_clean(const Breaker *breaker, TimestampTz now);

#endif							/* HOOKS_BREAKER_H */
