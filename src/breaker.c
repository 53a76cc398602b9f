/*-------------------------------------------------------------------------
 *
 * breaker.c
 *		Does a host work?  See breaker.h.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "breaker.h"

TimestampTz
breaker_opens_at(const Breaker *breaker, TimestampTz now)
{
	switch (breaker->state)
	{
		case BREAKER_CLOSED:
			return now;
		case BREAKER_OPEN:
			/* A clock that was set back must not keep it open for longer. */
			return Min(breaker->until, now + breaker->pause);
		case BREAKER_PROBING:
			break;
	}
	return DT_NOEND;
}

bool
breaker_start(Breaker *breaker)
{
	if (breaker->state != BREAKER_OPEN)
		return false;
	breaker->state = BREAKER_PROBING;
	return true;
}

static void
open_for(Breaker *breaker, int64 pause, TimestampTz now)
{
	breaker->state = BREAKER_OPEN;
	breaker->pause = Min(pause, BREAKER_LONGEST_PAUSE);
	breaker->until = now + breaker->pause;
}

static BreakerMinute *
this_minute(Breaker *breaker, TimestampTz now)
{
	int64		minute = now / USECS_PER_MINUTE;
	BreakerMinute *m = &breaker->minutes[minute % BREAKER_MINUTES];

	if (m->minute != minute)
		*m = (BreakerMinute)
	{
		.minute = minute
	};
	return m;
}

static bool
is_recent(const BreakerMinute *m, TimestampTz now)
{
	int64		age = now / USECS_PER_MINUTE - m->minute;

	return age >= 0 && age < BREAKER_MINUTES;
}

/* Have most of the last minutes' attempts failed? */
static bool
mostly_failed(const Breaker *breaker, TimestampTz now)
{
	int			worked = 0;
	int			failed = 0;

	for (int i = 0; i < BREAKER_MINUTES; i++)
	{
		if (!is_recent(&breaker->minutes[i], now))
			continue;
		worked += breaker->minutes[i].worked;
		failed += breaker->minutes[i].failed;
	}
	return worked + failed >= BREAKER_AT_LEAST &&
		failed * 100 >= (worked + failed) * BREAKER_PERCENT;
}

void
breaker_result(Breaker *breaker, bool worked, bool probe, TimestampTz now)
{
	if (worked)
	{
		/* Whatever was thought of the host, it works. */
		if (breaker->state != BREAKER_CLOSED)
			*breaker = (Breaker)
		{
			0
		};
		breaker->failed_in_a_row = 0;
		this_minute(breaker, now)->worked++;
		return;
	}

	switch (breaker->state)
	{
		case BREAKER_CLOSED:
			breaker->failed_in_a_row++;
			this_minute(breaker, now)->failed++;
			if (breaker->failed_in_a_row >= BREAKER_IN_A_ROW || mostly_failed(breaker, now))
				open_for(breaker, BREAKER_FIRST_PAUSE, now);
			break;
		case BREAKER_PROBING:
			if (probe)
				open_for(breaker, breaker->pause * 2, now);
			break;
		case BREAKER_OPEN:
			break;				/* started before it was opened: no news */
	}
}

void
breaker_probe_lost(Breaker *breaker, TimestampTz now)
{
	if (breaker->state != BREAKER_PROBING)
		return;
	breaker->state = BREAKER_OPEN;
	breaker->until = now;
}

bool
breaker_is_clean(const Breaker *breaker, TimestampTz now)
{
	if (breaker->state != BREAKER_CLOSED)
		return false;
	for (int i = 0; i < BREAKER_MINUTES; i++)
	{
		if (breaker->minutes[i].failed > 0 && is_recent(&breaker->minutes[i], now))
			return false;
	}
	return true;
}
