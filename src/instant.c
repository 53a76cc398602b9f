/*-------------------------------------------------------------------------
 *
 * instant.c
 *		Which transactions had ended at some instant.  See instant.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "instant.h"

/*
 * Reading a few rows again costs less than another probe of an index for each
 * of the transactions that ended.
 */
#define CLOSE_TOGETHER 64

bool
instant_includes(const Instant *instant, uint64 xid)
{
	int			low = 0;
	int			high = instant->nrunning;

	if (xid < instant->xmin)
		return true;
	if (xid >= instant->xmax)
		return false;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (instant->running[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return low == instant->nrunning || instant->running[low] != xid;
}

int
instant_window(const Instant *since, const Instant *now, XidRange *ranges)
{
	int			n = 0;

	for (int i = 0; i < since->nrunning; i++)
	{
		uint64		xid = since->running[i];

		if (!instant_includes(now, xid))
			continue;
		if (n > 0 && xid - ranges[n - 1].below < CLOSE_TOGETHER)
			ranges[n - 1].below = xid + 1;
		else
			ranges[n++] = (XidRange)
		{
			xid, xid + 1
		};
	}

	if (now->xmax > since->xmax)
	{
		if (n > 0 && since->xmax - ranges[n - 1].below < CLOSE_TOGETHER)
			ranges[n - 1].below = now->xmax;
		else
			ranges[n++] = (XidRange)
		{
			since->xmax, now->xmax
		};
	}
	return n;
}
