/*-------------------------------------------------------------------------
 *
 * hook_stats.c
 *		What became of each hook's events since the server started.  See
 *		hook_stats.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#include "hook_stats.h"
#include "settings.h"

/* A part of the hooks is forgotten at once, so that it does not happen often. */
#define FORGET_PART 10

typedef struct Key
{
	Oid			database;
	pg_uuid_t	hook;
} Key;

typedef struct Entry
{
	Key			key;			/* must be first */
	HookStats	stats;
} Entry;

static HTAB *entries = NULL;
static LWLock *entries_lock = NULL;

Size
hook_stats_size(void)
{
	return hash_estimate_size(hooks_max_hook_stats, sizeof(Entry));
}

void
hook_stats_startup(LWLock *lock)
{
	HASHCTL		control = {.keysize = sizeof(Key), .entrysize = sizeof(Entry)};

	entries_lock = lock;
	entries = ShmemInitHash("hooks statistics of hooks", hooks_max_hook_stats, hooks_max_hook_stats,
							&control, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

static int
compare_times(const void *a, const void *b)
{
	TimestampTz x = *(const TimestampTz *) a;
	TimestampTz y = *(const TimestampTz *) b;

	return x < y ? -1 : x > y;
}

/* Make room: of whom nothing was heard for the longest time goes. */
static void
forget_some(void)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;
	long		n = hash_get_num_entries(entries);
	TimestampTz *times = palloc(sizeof(TimestampTz) * n);
	TimestampTz limit;
	long		i = 0;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		times[i++] = entry->stats.last_at;
	qsort(times, n, sizeof(TimestampTz), compare_times);
	limit = times[n / FORGET_PART];
	pfree(times);

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->stats.last_at <= limit)
			(void) hash_search(entries, &entry->key, HASH_REMOVE, NULL);
	}
}

/* The hook's entry, with the lock held. */
static HookStats *
entry_of(const pg_uuid_t *hook, TimestampTz now)
{
	Key			key = {MyDatabaseId, *hook};
	Entry	   *entry = hash_search(entries, &key, HASH_FIND, NULL);

	if (entry == NULL)
	{
		if (hash_get_num_entries(entries) >= hooks_max_hook_stats)
			forget_some();
		entry = hash_search(entries, &key, HASH_ENTER, NULL);
		memset(&entry->stats, 0, sizeof(HookStats));
		entry->stats.since = now;
	}
	entry->stats.last_at = now;
	return &entry->stats;
}

void
hook_stats_result(const pg_uuid_t *hook, LogStatus status, TimestampTz now)
{
	LWLockAcquire(entries_lock, LW_EXCLUSIVE);
	entry_of(hook, now)->results[status]++;
	LWLockRelease(entries_lock);
}

void
hook_stats_request(const pg_uuid_t *hook, int64 us, TimestampTz now)
{
	HookStats  *stats;

	LWLockAcquire(entries_lock, LW_EXCLUSIVE);
	stats = entry_of(hook, now);
	stats->requests++;
	stats->requests_us += us;
	LWLockRelease(entries_lock);
}

HookStats
hook_stats_of(const pg_uuid_t *hook)
{
	Key			key = {MyDatabaseId, *hook};
	HookStats	stats = {0};
	Entry	   *entry;

	LWLockAcquire(entries_lock, LW_SHARED);
	entry = hash_search(entries, &key, HASH_FIND, NULL);
	if (entry != NULL)
		stats = entry->stats;
	LWLockRelease(entries_lock);
	return stats;
}
