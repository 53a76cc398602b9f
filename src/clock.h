/*-------------------------------------------------------------------------
 *
 * clock.h
 *		Was the clock set back?
 *
 * The time of day is compared with a clock that nobody can set, so that it is
 * known by how much, however long nobody has looked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CLOCK_H
#define HOOKS_CLOCK_H

#include "portability/instr_time.h"
#include "utils/timestamp.h"

/* Nothing that waits minds less than this. */
#define CLOCK_SLACK (100 * 1000)

/* Both clocks are read within this time, or once more. */
#define CLOCK_READING (10 * 1000)

static inline int64
clock_steady(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/* By how many microseconds the time of day is ahead of the clock that nobody can set. */
static inline int64
clock_ahead(void)
{
	for (;;)
	{
		int64		steady = clock_steady();
		TimestampTz now = GetCurrentTimestamp();

		if (clock_steady() - steady <= CLOCK_READING)
			return now - steady;
	}
}

/* By how much the clock was set back since "*ahead", which is brought up to date; 0: it was not. */
static inline int64
clock_was_set_back(int64 *ahead)
{
	int64		is = clock_ahead();
	int64		by = *ahead - is;

	*ahead = is;
	return by > CLOCK_SLACK ? by : 0;
}

/*
 * Was it?  To be asked after times of day were turned into a time to sleep,
 * which the clock may have been set back in the midst of.
 */
static inline bool
clock_is_behind(int64 ahead)
{
	return ahead - clock_ahead() > CLOCK_SLACK;
}

#endif							/* HOOKS_CLOCK_H */
