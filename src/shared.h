/*-------------------------------------------------------------------------
 *
 * shared.h
 *		Shared memory: one slot per database.
 *
 * A slot is how sessions, the launcher and a database's worker know of each
 * other.  Everything in it can be rebuilt from pg_database and the tables; a
 * crash loses nothing but statistics.
 *
 * Locking: "lock" (one LWLock for all slots) protects database, state,
 * failures, start_after, hold_until, hold_reason, wake_at, attached_at, and the assignment of
 * slots.  Fields of type pg_atomic_* are read and written without it.  Slots are given back
 * only when their database is gone, so a session may keep a pointer to the
 * slot of its own database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SHARED_H
#define HOOKS_SHARED_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "histogram.h"

/* What a database's slot can be doing. */
typedef enum SlotState
{
	SLOT_FREE,					/* belongs to no database */
	SLOT_QUIET,					/* no worker */
	SLOT_STARTING,				/* the launcher has asked for a worker */
	SLOT_RUNNING				/* a worker is attached */
} SlotState;

/*
 * Counters, in the order hooks.stat_values() returns them.  The worker is the
 * only writer but for the first five, which sessions count.
 */
typedef enum Stat
{
	STAT_EVENTS_QUEUED,			/* written to the queue by committed or open transactions */
	STAT_EVENTS_TOO_OLD,		/* not queued: older than hooks.max_event_age */
	STAT_EVENTS_REFUSED,		/* not queued: the row could not be understood */
	STAT_EVENTS_FLOODED,		/* dropped: too many of their user */
	STAT_EVENTS_UNSERVED,		/* not queued, or dropped: their user has not joined */
	STAT_EVENTS_READ,			/* read from the queue */
	STAT_DELIVERIES_STARTED,	/* attempts that were started */
	STAT_SUCCEEDED,
	STAT_FAILED,
	STAT_SKIPPED_CONDITION,
	STAT_SKIPPED_COOLDOWN,
	STAT_UNLOGGED,				/* results that could not be written to the log */
	STAT_WAITING,				/* gauge: deliveries waiting to start */
	STAT_IN_FLIGHT,				/* gauge: attempts under way */
	STAT_ROTATIONS,				/* queue tables emptied */
	STATS
} Stat;

/* What takes time. */
typedef enum Latency
{
	LATENCY_START,				/* from an event's row to the first request about it */
	LATENCY_REQUEST,			/* from a request to its answer, or failure */
	LATENCIES
} Latency;

/* Why no worker is started, for longer than a command takes. */
typedef enum HoldReason
{
	HOLD_COPY,					/* the database is a copy of another (identity.h) */
	HOLD_VERSION				/* its SQL does not fit the library (version.h) */
} HoldReason;

typedef struct DatabaseSlot
{
	Oid			database;
	SlotState	state;
	int			failures;		/* of workers in a row */
	TimestampTz start_after;	/* no worker is started before this */
	TimestampTz hold_until;		/* somebody needs the database to itself; or DT_NOEND … */
	HoldReason	hold_reason;	/* … and this is why */
	TimestampTz wake_at;		/* a worker is needed then; DT_NOEND: not by itself */
	TimestampTz attached_at;	/* since when the worker is there */
	bool		released;		/* since the worker attached */
	pg_uuid_t	starved_event;	/* for which memory was short last (worker only) */
	int			starved;		/* … and how often */
	int64		ahead;			/* how the clock was set when the last worker left; 0: unknown */

	pg_atomic_uint32 pending;	/* something was queued since the worker looked */
	pg_atomic_uint32 leave;		/* the worker is asked to leave */
	pg_atomic_uint32 make_room; /* … when what is under way has ended: others wait for its place */
	pg_atomic_uint32 worker;	/* number of its process, or NO_PROCESS */
	pg_atomic_uint32 current_queue; /* the queue table that sessions append to */
	pg_atomic_uint64 idle_wanted;	/* numbers of wait_idle() calls: asked … */
	pg_atomic_uint64 idle_seen; /* … and answered */
	pg_atomic_uint64 stats[STATS];
	Histogram	latencies[LATENCIES];
	ConditionVariable changed;	/* worker idle, or gone */
} DatabaseSlot;

#define NO_PROCESS PG_UINT32_MAX

/* Reserve the memory; from _PG_init while libraries are preloaded. */
extern void shared_reserve(void);

/* Is there shared memory, that is, was the library preloaded? */
extern bool shared_is_loaded(void);

/* This database's slot, made when missing; NULL when not preloaded or all are taken. */
extern DatabaseSlot *shared_my_slot(void);

/* The slot of a database, or NULL; made when missing if "create". */
extern DatabaseSlot *shared_slot(Oid database, bool create);

/* Give back the slot of a database that is gone; no-op while a worker is there. */
extern void shared_slot_free(DatabaseSlot *slot);

/* Slot by number for the launcher's rounds: 0 .. shared_slots() - 1. */
extern int	shared_slots(void);
extern DatabaseSlot *shared_slot_number(int n);
extern int	shared_slot_index(const DatabaseSlot *slot);

extern void shared_lock(void);
extern void shared_unlock(void);

/*
 * Something was queued in the slot's database: mark it and wake whoever must
 * act, its worker or the launcher.  Never throws; safe in commit callbacks.
 */
extern void shared_announce(DatabaseSlot *slot);

/* The launcher's process, for whoever has to wake it. */
extern void shared_launcher_attach(void);
extern void shared_wake_launcher(void);

/*
 * Do databases wait for a worker, because background workers have run out?
 * Then a worker that has nothing to do leaves.
 */
extern void shared_set_crowded(bool crowded);
extern bool shared_is_crowded(void);

/* Have the slot's worker look whether it is to leave. */
extern void shared_wake_worker(DatabaseSlot *slot);

/*
 * A worker takes its slot at start and gives it back in before_shmem_exit.
 * After a failure the next one is started with a pause, which grows from
 * failure to failure until a worker has been well for a while.  "wake_at" is
 * when there is something to do though nobody announces it, "ahead" how the
 * clock is set (clock.h).
 */
extern bool shared_worker_attach(DatabaseSlot *slot);
extern void shared_worker_detach(DatabaseSlot *slot, bool failed, TimestampTz wake_at,
								 int64 ahead);
extern void shared_worker_well(DatabaseSlot *slot);

/* A worker that was started has ended; if it had not attached, that is a failure, and true. */
extern bool shared_worker_missing(DatabaseSlot *slot);

/*
 * Is the error that ended the work on an event the server's, which has no memory
 * left, so that the worker is to fail and its successor to try again?  When that
 * has happened three times in a row with the same event, it is to be given up.
 */
extern bool shared_event_starved(DatabaseSlot *slot, const pg_uuid_t *event, int sqlerrcode);
extern bool shared_event_hopeless(const DatabaseSlot *slot, const pg_uuid_t *event);

/* The clock was set back by so many microseconds. */
extern void shared_set_back(int64 by);

/*
 * No worker is started until shared_release(); called by a worker for what it
 * has seen, so a release since it attached has the last word.  The slot may be
 * NULL for shared_release(), which never throws.
 */
extern void shared_hold(DatabaseSlot *slot, HoldReason reason);
extern void shared_release(DatabaseSlot *slot);

static inline void
shared_count(DatabaseSlot *slot, Stat stat, int64 n)
{
	if (slot)
		pg_atomic_fetch_add_u64(&slot->stats[stat], n);
}

static inline void
shared_set(DatabaseSlot *slot, Stat stat, int64 n)
{
	if (slot)
		pg_atomic_write_u64(&slot->stats[stat], n);
}

static inline void
shared_time(DatabaseSlot *slot, Latency latency, int64 us)
{
	if (slot)
		histogram_add(&slot->latencies[latency], us);
}

/* How many sessions listen for chat messages (listener.h). */
extern pg_atomic_uint32 *shared_listeners(void);

extern const char *shared_stat_name(Stat stat);
extern const char *shared_latency_name(Latency latency);

#endif							/* HOOKS_SHARED_H */
