/*-------------------------------------------------------------------------
 *
 * histogram.h
 *		Durations, counted by how long they were; pure.
 *
 * One process counts, others read without a lock: a reader may miss what is
 * being counted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_HISTOGRAM_H
#define HOOKS_HISTOGRAM_H

#include "port/atomics.h"

/* Upper bounds in microseconds; what is longer is in one more bucket. */
static const int64 histogram_bounds[] = {
	1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
	1000000, 2500000, 5000000, 10000000, 30000000, 60000000
};

#define HISTOGRAM_BUCKETS ((int) lengthof(histogram_bounds) + 1)

typedef struct Histogram
{
	pg_atomic_uint64 n[lengthof(histogram_bounds) + 1];
	pg_atomic_uint64 sum_us;
} Histogram;

static inline void
histogram_init(Histogram *histogram)
{
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		pg_atomic_init_u64(&histogram->n[i], 0);
	pg_atomic_init_u64(&histogram->sum_us, 0);
}

static inline void
histogram_add(Histogram *histogram, int64 us)
{
	int			i = 0;

	us = Max(us, 0);
	while (i < HISTOGRAM_BUCKETS - 1 && us > histogram_bounds[i])
		i++;
	pg_atomic_fetch_add_u64(&histogram->n[i], 1);
	pg_atomic_fetch_add_u64(&histogram->sum_us, us);
}

#endif							/* HOOKS_HISTOGRAM_H */
