/*-------------------------------------------------------------------------
 *
 * hook_stats.h
 *		What became of each hook's events since the server started, in shared
 *		memory.
 *
 * There is room for hooks.max_hook_stats hooks of all databases.  When that is
 * used up, those of which nothing was heard for the longest time are forgotten
 * and begin anew.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_HOOK_STATS_H
#define HOOKS_HOOK_STATS_H

#include "storage/lwlock.h"

#include "log.h"

typedef struct HookStats
{
	int64		results[LOG_STATUSES];
	int64		requests;		/* that were answered, or failed */
	int64		requests_us;	/* how long they took, altogether */
	TimestampTz since;			/* when counting began */
	TimestampTz last_at;		/* when something was counted last */
} HookStats;

/* For shared.c: the size of the memory, and its making, with the lock for it. */
extern Size hook_stats_size(void);
extern void hook_stats_startup(LWLock *lock);

/* The worker has a result of a hook of this database; it may be in the log or not. */
extern void hook_stats_result(const pg_uuid_t *hook, LogStatus status, TimestampTz now);

/* A request of a hook has ended. */
extern void hook_stats_request(const pg_uuid_t *hook, int64 us, TimestampTz now);

/* What is known of a hook of this database; all zero when nothing is. */
extern HookStats hook_stats_of(const pg_uuid_t *hook);

#endif							/* HOOKS_HOOK_STATS_H */
