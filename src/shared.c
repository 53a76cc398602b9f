/*-------------------------------------------------------------------------
 *
 * shared.c
 *		Shared memory: one slot per database.  See shared.h for what is in a
 *		slot and which lock protects it; this is the only file that takes it.
 *		flood.c has memory and locks of its own, reserved along with ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "compat.h"
#include "flood.h"
#include "guard.h"
#include "hook_stats.h"
#include "settings.h"
#include "shared.h"
#include "underway.h"

typedef struct Shared
{
	LWLock	   *lock;
	pg_atomic_uint32 launcher;	/* number of its process, or NO_PROCESS */
	pg_atomic_uint32 listeners; /* sessions that listen for chat messages */
	pg_atomic_uint32 crowded;	/* databases wait for a place */
	int			nslots;
	DatabaseSlot slots[FLEXIBLE_ARRAY_MEMBER];
} Shared;

/* Names as the view hooks.stat shows them. */
static const char *const stat_names[STATS] = {
	[STAT_EVENTS_QUEUED] = "events_queued",
	[STAT_EVENTS_TOO_OLD] = "events_too_old",
	[STAT_EVENTS_REFUSED] = "events_refused",
	[STAT_EVENTS_FLOODED] = "events_flooded",
	[STAT_EVENTS_UNSERVED] = "events_unserved",
	[STAT_EVENTS_READ] = "events_read",
	[STAT_DELIVERIES_STARTED] = "deliveries_started",
	[STAT_SUCCEEDED] = "succeeded",
	[STAT_FAILED] = "failed",
	[STAT_SKIPPED_CONDITION] = "skipped_condition",
	[STAT_SKIPPED_COOLDOWN] = "skipped_cooldown",
	[STAT_UNLOGGED] = "unlogged",
	[STAT_WAITING] = "waiting",
	[STAT_IN_FLIGHT] = "in_flight",
	[STAT_ROTATIONS] = "rotations",
};

static const char *const latency_names[LATENCIES] = {
	[LATENCY_START] = "start",
	[LATENCY_REQUEST] = "request",
};

/* How long a failing worker's database waits for the next one, at most. */
#define MAX_BACKOFF_SECONDS 60

/* How often a worker may fail for want of memory while it works on one event. */
#define EVENT_ATTEMPTS 3

static Shared *shared = NULL;
static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

static Size
shared_size(void)
{
	return add_size(offsetof(Shared, slots),
					mul_size(hooks_max_databases, sizeof(DatabaseSlot)));
}

static void
shared_request(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();

	RequestAddinShmemSpace(add_size(add_size(shared_size(), flood_size()),
									add_size(underway_size(), guard_size())));
	RequestAddinShmemSpace(hook_stats_size());
	RequestNamedLWLockTranche("hooks", 2);
}

static void
slot_init(DatabaseSlot *slot)
{
	memset(slot, 0, sizeof(*slot));
	slot->state = SLOT_FREE;
	slot->wake_at = DT_NOEND;
	pg_atomic_init_u32(&slot->pending, 0);
	pg_atomic_init_u32(&slot->leave, 0);
	pg_atomic_init_u32(&slot->make_room, 0);
	pg_atomic_init_u32(&slot->worker, NO_PROCESS);
	pg_atomic_init_u32(&slot->current_queue, 0);
	pg_atomic_init_u64(&slot->idle_wanted, 0);
	pg_atomic_init_u64(&slot->idle_seen, 0);
	for (int i = 0; i < STATS; i++)
		pg_atomic_init_u64(&slot->stats[i], 0);
	for (int i = 0; i < LATENCIES; i++)
		histogram_init(&slot->latencies[i]);
	ConditionVariableInit(&slot->changed);
}

static void
shared_startup(void)
{
	bool		found;

	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("hooks", shared_size(), &found);
	if (!found)
	{
		shared->lock = &(GetNamedLWLockTranche("hooks"))->lock;
		shared->nslots = hooks_max_databases;
		pg_atomic_init_u32(&shared->launcher, NO_PROCESS);
		pg_atomic_init_u32(&shared->listeners, 0);
		pg_atomic_init_u32(&shared->crowded, 0);
		for (int i = 0; i < shared->nslots; i++)
			slot_init(&shared->slots[i]);
	}
	flood_startup();
	underway_startup();
	guard_startup();
	hook_stats_startup(&(GetNamedLWLockTranche("hooks"))[1].lock);
	LWLockRelease(AddinShmemInitLock);
}

void
shared_reserve(void)
{
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shared_request;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

bool
shared_is_loaded(void)
{
	return shared != NULL;
}

void
shared_lock(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
}

void
shared_unlock(void)
{
	LWLockRelease(shared->lock);
}

int
shared_slots(void)
{
	return shared->nslots;
}

DatabaseSlot *
shared_slot_number(int n)
{
	return &shared->slots[n];
}

int
shared_slot_index(const DatabaseSlot *slot)
{
	return slot - shared->slots;
}

DatabaseSlot *
shared_slot(Oid database, bool create)
{
	DatabaseSlot *slot = NULL;
	DatabaseSlot *free = NULL;

	if (shared == NULL)
		return NULL;

	shared_lock();
	for (int i = 0; i < shared->nslots && slot == NULL; i++)
	{
		DatabaseSlot *candidate = &shared->slots[i];

		if (candidate->state == SLOT_FREE)
		{
			if (free == NULL)
				free = candidate;
		}
		else if (candidate->database == database)
			slot = candidate;
	}
	if (slot == NULL && create && free != NULL)
	{
		slot_init(free);
		free->database = database;
		free->state = SLOT_QUIET;
		slot = free;
	}
	shared_unlock();
	return slot;
}

void
shared_slot_free(DatabaseSlot *slot)
{
	shared_lock();
	if (slot->state == SLOT_QUIET)
		slot->state = SLOT_FREE;
	shared_unlock();
}

DatabaseSlot *
shared_my_slot(void)
{
	static DatabaseSlot *my_slot = NULL;

	if (my_slot == NULL)
		my_slot = shared_slot(MyDatabaseId, true);
	return my_slot;
}

static void
wake(uint32 process)
{
	if (process != NO_PROCESS)
		SetLatch(PROC_LATCH(process));
}

void
shared_announce(DatabaseSlot *slot)
{
	uint32		worker;

	if (slot == NULL)
		return;

	/*
	 * Mark, then look for the worker; the worker gives up its process number,
	 * then looks for the mark (shared_worker_detach).  One of the two sees the
	 * other.  A mark that is there already has woken somebody who has yet to
	 * take it, and will then see what we have committed.
	 */
	if (pg_atomic_exchange_u32(&slot->pending, 1) != 0)
		return;
	worker = pg_atomic_read_u32(&slot->worker);
	if (worker != NO_PROCESS)
		wake(worker);
	else
		shared_wake_launcher();
}

static void
launcher_detach(int code, Datum arg)
{
	pg_atomic_write_u32(&shared->launcher, NO_PROCESS);
}

void
shared_launcher_attach(void)
{
	before_shmem_exit(launcher_detach, (Datum) 0);
	pg_atomic_write_u32(&shared->launcher, MY_PROC_NUMBER);
}

void
shared_wake_launcher(void)
{
	wake(pg_atomic_read_u32(&shared->launcher));
}

void
shared_set_crowded(bool crowded)
{
	pg_atomic_write_u32(&shared->crowded, crowded);
}

bool
shared_is_crowded(void)
{
	return pg_atomic_read_u32(&shared->crowded) != 0;
}

void
shared_wake_worker(DatabaseSlot *slot)
{
	wake(pg_atomic_read_u32(&slot->worker));
}

bool
shared_worker_attach(DatabaseSlot *slot)
{
	bool		attached = false;

	shared_lock();
	if (slot->state == SLOT_STARTING && slot->hold_until > GetCurrentTimestamp())
		slot->state = SLOT_QUIET;	/* come back later */
	else if (slot->state == SLOT_STARTING && slot->database == MyDatabaseId)
	{
		slot->state = SLOT_RUNNING;
		slot->released = false;
		slot->attached_at = GetCurrentTimestamp();
		pg_atomic_write_u32(&slot->leave, 0);
		pg_atomic_write_u32(&slot->make_room, 0);
		pg_atomic_exchange_u32(&slot->worker, MY_PROC_NUMBER);
		attached = true;
	}
	shared_unlock();
	return attached;
}

/* The next worker has to wait, from failure to failure for longer. */
static void
back_off(DatabaseSlot *slot)
{
	int			seconds = 1 << Min(slot->failures, 6);

	slot->failures++;
	slot->start_after = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													Min(seconds, MAX_BACKOFF_SECONDS) * 1000);
}

void
shared_worker_detach(DatabaseSlot *slot, bool failed, TimestampTz wake_at, int64 ahead)
{
	shared_lock();
	slot->state = SLOT_QUIET;
	slot->ahead = ahead;
	slot->wake_at = wake_at;
	if (failed)
	{
		back_off(slot);
		pg_atomic_write_u32(&slot->pending, 1);
	}
	else
		slot->start_after = 0;
	pg_atomic_exchange_u32(&slot->worker, NO_PROCESS);
	shared_unlock();

	ConditionVariableBroadcast(&slot->changed);
	if (pg_atomic_read_u32(&slot->pending) || !TIMESTAMP_IS_NOEND(wake_at))
		shared_wake_launcher();
}

bool
shared_worker_missing(DatabaseSlot *slot)
{
	bool		missing;

	shared_lock();
	missing = slot->state == SLOT_STARTING;
	if (missing)
	{
		slot->state = SLOT_QUIET;
		back_off(slot);
	}
	shared_unlock();
	return missing;
}

void
shared_worker_well(DatabaseSlot *slot)
{
	shared_lock();
	slot->failures = 0;
	shared_unlock();
}

bool
shared_event_starved(DatabaseSlot *slot, const pg_uuid_t *event, int sqlerrcode)
{
	if (ERRCODE_TO_CATEGORY(sqlerrcode) != ERRCODE_INSUFFICIENT_RESOURCES)
		return false;
	if (memcmp(&slot->starved_event, event, UUID_LEN) != 0)
	{
		slot->starved_event = *event;
		slot->starved = 0;
	}
	slot->starved++;
	return true;
}

bool
shared_event_hopeless(const DatabaseSlot *slot, const pg_uuid_t *event)
{
	return slot->starved >= EVENT_ATTEMPTS && memcmp(&slot->starved_event, event, UUID_LEN) == 0;
}

static void
set_back(TimestampTz *time, int64 by)
{
	if (*time != 0 && !TIMESTAMP_IS_NOEND(*time))
		*time -= by;
}

void
shared_set_back(int64 by)
{
	shared_lock();
	for (int i = 0; i < shared->nslots; i++)
	{
		DatabaseSlot *slot = &shared->slots[i];

		set_back(&slot->start_after, by);
		set_back(&slot->hold_until, by);
		set_back(&slot->wake_at, by);
		set_back(&slot->attached_at, by);
	}
	shared_unlock();
}

void
shared_hold(DatabaseSlot *slot, HoldReason reason)
{
	shared_lock();
	if (!slot->released)
	{
		slot->hold_until = DT_NOEND;
		slot->hold_reason = reason;
	}
	shared_unlock();
}

void
shared_release(DatabaseSlot *slot)
{
	if (slot == NULL)
		return;
	shared_lock();
	slot->released = true;
	slot->hold_until = 0;
	slot->start_after = 0;
	shared_unlock();
	shared_wake_launcher();
}

pg_atomic_uint32 *
shared_listeners(void)
{
	return &shared->listeners;
}

const char *
shared_stat_name(Stat stat)
{
	return stat_names[stat];
}

const char *
shared_latency_name(Latency latency)
{
	return latency_names[latency];
}
