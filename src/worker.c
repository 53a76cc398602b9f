/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The per-database loop.
 *
 * A worker serves one database: it reads what was queued, has it dispatched,
 * and writes what came of it.  There is never more than one per database
 * (shared.c).  It waits for three things at once, its latch, the postmaster
 * and the transport's one descriptor, and holds no transaction, snapshot or
 * lock while it waits.
 *
 * An error ends the worker; the launcher starts another one after a pause.
 * What was not acknowledged is read again then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "aside.h"
#include "attempt.h"
#include "backlog.h"
#include "chat_gateway.h"
#include "clock.h"
#include "compat.h"
#include "delivery.h"
#include "dispatch.h"
#include "health.h"
#include "hook.h"
#include "identity.h"
#include "intervene.h"
#include "log.h"
#include "orphan.h"
#include "outbox.h"
#include "parking.h"
#include "posted.h"
#include "settings.h"
#include "shared.h"
#include "tables.h"
#include "transport.h"
#include "underway.h"
#include "version.h"
#include "worker.h"

PGDLLEXPORT void hooks_worker_main(Datum arg);

/* Results are written when so many have gathered, or the oldest is this old. */
#define FLUSH_RESULTS 256
#define FLUSH_AFTER_US (20 * 1000)

/* So much is read at once. */
#define PAGE_EVENTS 2048
#define PAGE_BYTES (4 * 1024 * 1024)
#define PAGE_ASIDE 500

/* What can wait is looked after this often while there is work. */
#define HOUSEKEEPING_US USECS_PER_SEC
#define RETENTION_US (3600 * USECS_PER_SEC)

/* A worker that was well for so long has recovered from earlier failures. */
#define WELL_AFTER_US (60 * USECS_PER_SEC)

/* After somebody's lock was in the way. */
#define LOCKED_OUT_US (100 * 1000)

/*
 * A transaction that waits for a lock is a worker that waits for one user:
 * such work is put off instead.
 */
#define LOCK_TIMEOUT "20ms"

bool		am_hooks_worker = false;

static DatabaseSlot *slot = NULL;
static bool leaving = false;	/* the end is wanted, not an accident */
static bool failed = false;		/* … or an error */

static bool want_read = true;	/* there may be something new in the queue */
static bool prepared = false;	/* somebody has to look for prepared transactions */
static bool has_worked = false; /* has ever found anything */
static TimestampTz started_at;
static TimestampTz last_work;	/* when there was something to do */
static TimestampTz oldest_result = 0;	/* that waits to be written; 0: none */
static bool has_news = false;	/* changes of hooks were asked for in this round */
static bool tidy = false;		/* nothing has happened since the last housekeeping */
static bool release_hosts = false;	/* breakers were switched off */
static TimestampTz locked_until = 0;	/* hooks cannot be loaded before */
static TimestampTz next_housekeeping = 0;
static TimestampTz next_retention = 0;
static TimestampTz wake_at = DT_NOEND;	/* when the next worker is needed */
static int64 ahead;				/* how the clock was set when it was seen last (clock.h) */
static int64 set_back = 0;		/* by how much the tables have to follow it */

/* ----------
 * Transactions
 * ----------
 */

/* For what does not touch our tables. */
static void
begin_anyway(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * DROP EXTENSION and ALTER EXTENSION wait for our transaction, or we find that
 * it is gone or another one.
 */
static void
begin(void)
{
	VersionFit	fit;

	begin_anyway();
	fit = version_look();
	if (fit == VERSION_FITS)
		return;
	leaving = true;
	/* What does not fit is for the next one to say. */
	pg_atomic_write_u32(&slot->pending, fit != VERSION_MISSING);
	proc_exit(0);
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/*
 * Take a step that may run into somebody's lock: then it is undone, and false
 * is returned.  Other errors are passed on.
 */
static bool
attempt(void (*step) (void))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = true;

	PG_TRY();
	{
		step();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

/* May anything be started?  If not, the worker leaves when nothing is under way. */
static bool
takes_work(void)
{
	return hooks_enabled && pg_atomic_read_u32(&slot->make_room) == 0;
}

/* ----------
 * Writing results
 * ----------
 */

static bool
has_results(void)
{
	return log_waiting() > 0 || backlog_has_acks() || aside_has_changes() || posted_has_changes() ||
		outbox_has_changes();
}

/* How results are written this time. */
static struct
{
	TimestampTz now;
	bool		all_hooks;		/* last_triggered_at of all, or where it is due */
	bool		carefully;		/* row by row, after a batch has failed */
}			flushing;

/* After a commit: chat messages may be there for whoever listens. */
static void
tell_listeners(void)
{
	if (!outbox_has_news())
		return;
	begin_anyway();
	outbox_tell();
	commit();
}

/*
 * Whatever keeps the hooks from being read, what was known before counts: that
 * a request was made is written down all the same.  What is wrong with the
 * table is said by whoever reads it for the next event.
 */
static void
renew_failing(void)
{
	HealthDue	due = {flushing.now, flushing.all_hooks};
	ErrorData  *error = tables_try(health_renew, &due);

	if (error != NULL)
		FreeErrorData(error);
}

/* All that has come of deliveries, in one transaction. */
static void
write_results(void)
{
	bool		hooks_due = hooks_to_write(flushing.now, flushing.all_hooks);
	bool		health_due = health_to_write(flushing.now, flushing.all_hooks);

	begin();
	if (health_due)
		renew_failing();
	log_write(flushing.carefully);
	if (hooks_due)
		hooks_write(flushing.now, flushing.all_hooks, flushing.carefully, delivery_about_to_write);
	if (health_due)
		health_write(flushing.now, flushing.all_hooks);
	aside_write();
	posted_write();
	outbox_write();
	backlog_write_acks();
	commit();

	shared_count(slot, STAT_UNLOGGED, log_take_lost());
	log_written();
	if (hooks_due)
		hooks_written(flushing.now);
	if (health_due)
		health_written(flushing.now, flushing.all_hooks);
	aside_written();
	posted_written();
	outbox_written();
	backlog_acks_committed();
	tell_listeners();
}

/* The same as a batch; false when something failed. */
static bool
write_batch(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool written = true;

	PG_TRY();
	{
		write_results();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		AbortCurrentTransaction();
		written = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return written;
}

/*
 * Write the results.  What the application has put on its tables may make
 * the batch fail; then it is written again row by row.
 */
static void
flush(bool all_hooks)
{
	flushing.now = GetCurrentTimestamp();
	flushing.all_hooks = all_hooks;
	flushing.carefully = false;
	tidy = false;
	oldest_result = 0;
	if (write_batch())
		return;
	flushing.carefully = true;
	if (!attempt(write_results))
		oldest_result = flushing.now + LOCKED_OUT_US;
}

/* Flush when enough has gathered or waited, or somebody is in a hurry. */
static void
flush_if_due(bool hurry)
{
	TimestampTz now;

	if (!has_results())
	{
		if (hurry && (hooks_to_write(0, true) || health_to_write(0, true)))
			flush(true);
		return;
	}
	now = GetCurrentTimestamp();
	last_work = now;
	if (oldest_result == 0)
		oldest_result = now;
	if (hurry || now - oldest_result >= FLUSH_AFTER_US || log_waiting() >= FLUSH_RESULTS)
		flush(hurry);
}

/* ----------
 * Reading
 * ----------
 */

/*
 * Learn what others have committed about hooks.  A hook that was committed
 * before an event was is known once this is called after the event was read.
 * Needs a transaction.
 */
static void
take_news(void)
{
	AcceptInvalidationMessages();
	has_news = true;
}

static void
read_page(void)
{
	begin();
	backlog_read(PAGE_EVENTS, PAGE_BYTES, dispatch_take);
	take_news();
	commit();
}

static void
prepare(void)
{
	begin();
	take_news();
	dispatch_prepare();
	commit();
}

static void
load_aside(void)
{
	begin();
	aside_load(GetCurrentTimestamp(), PAGE_ASIDE, PAGE_BYTES, dispatch_take_back);
	take_news();
	commit();
}

static void
release_aside(void)
{
	begin();
	aside_release(GetCurrentTimestamp());
	commit();
	release_hosts = false;
}

static void
take_parked(void)
{
	begin();
	dispatch_take_parked();
	take_news();
	commit();
}

static bool
is_due(TimestampTz now)
{
	return aside_due_at() <= now;
}

/*
 * Read a page of what is due and of new events, if there is room, and match
 * them.  When somebody has a table locked, try again a little later.
 */
static void
read_events(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (pg_atomic_exchange_u32(&slot->pending, 0) != 0)
	{
		want_read = true;
		tidy = false;
	}
	if (now < locked_until)
		return;

	if (release_hosts && !attempt(release_aside))
		locked_until = now + LOCKED_OUT_US;

	/* What comes back was there first. */
	if (is_due(now) && parking_has_room() && !attempt(load_aside))
		locked_until = now + LOCKED_OUT_US;
	if (parking_has_room() && parking_wants_back(now) && !attempt(take_parked))
		locked_until = now + LOCKED_OUT_US;

	if ((want_read || backlog_has_more()) && parking_has_room())
	{
		/* The rest of an older window does not hold what is new now. */
		if (!backlog_has_more())
			want_read = false;
		if (!attempt(read_page))
		{
			want_read = true;
			locked_until = now + LOCKED_OUT_US;
		}
	}

	if (!dispatch_has_unmatched())
		return;
	last_work = now;
	has_worked = true;
	if (!dispatch_needs_preparing() || attempt(prepare))
		dispatch_match();
	else
		locked_until = now + LOCKED_OUT_US;
}

/* Hooks that changed while deliveries wait for their turn must be noticed. */
static void
start_deliveries(void)
{
	if (delivery_waiting() == 0)
		return;
	if (!has_news)
	{
		begin_anyway();
		take_news();
		commit();
	}
	attempts_start();
}

/* ----------
 * Housekeeping
 * ----------
 */

static bool
has_work(void)
{
	return backlog_outstanding() > 0 || backlog_has_more() || has_results() ||
		log_locked_out() > 0 || hooks_to_write(0, true) || health_to_write(0, true) ||
		dispatch_has_unmatched() || parking_deliveries() > 0 || delivery_waiting() > 0 ||
		delivery_in_flight() > 0 ||
		is_due(GetCurrentTimestamp());
}

/*
 * Take a step that must not be the end of the worker; false when somebody's
 * lock is in the way, and it is to be tried again.
 */
static bool
tidy_up(void (*step) (void))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = true;

	PG_TRY();
	{
		begin();
		step();
		commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		done = geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE;
		if (done)
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

static bool more_to_delete;
static bool orphans_due = false;

static void
delete_old_rows(void)
{
	more_to_delete = false;
	more_to_delete = log_retain();
	more_to_delete = aside_retain() || more_to_delete;
	posted_retain(GetCurrentTimestamp());
	outbox_retain();
	orphans_forget();
}

static void
rotate_when_due(void)
{
	begin();
	shared_count(slot, STAT_ROTATIONS, backlog_rotate(false, dispatch_take));
	commit();
}

static void
rotate_now(void)
{
	begin();
	shared_count(slot, STAT_ROTATIONS, backlog_rotate(true, dispatch_take));
	commit();
}

/*
 * PREPARE TRANSACTION announces what it leaves behind, COMMIT PREPARED calls
 * nobody.  So after each announcement, and for as long as anything is prepared,
 * we look whether it is, and read afterwards: what was prepared when we looked
 * last, or read last, and is not any more has been read then.
 */
static bool
look_for_prepared(void)
{
	if (max_prepared_xacts == 0)
		return false;
	begin_anyway();
	prepared = backlog_may_be_prepared();
	commit();
	return true;
}

/* Log rows that ran into somebody's lock. */
static void
retry_log(void)
{
	begin();
	log_retry();
	commit();
	shared_count(slot, STAT_UNLOGGED, log_take_lost());
}

static void
set_tables_back(void)
{
	TimestampTz now;

	begin();
	now = GetCurrentTimestamp();
	hooks_set_stored_back(now + set_back, now);
	aside_set_back(set_back, now);
	commit();
}

/*
 * When the clock is set back, whatever waits for a time would wait for longer
 * than it should.
 */
static void
watch_clock(void)
{
	int64		by = clock_was_set_back(&ahead);
	TimestampTz now = GetCurrentTimestamp();

	if (by > 0)
	{
		set_back += by;
		hooks_set_back(now + by, now);
		delivery_set_back(by);
		intervene_set_back(by);
		next_housekeeping = next_retention = locked_until = 0;
		started_at = Min(started_at, now);
		last_work = Min(last_work, now);
		if (oldest_result != 0)
			oldest_result = Min(oldest_result, now);
	}
	if (set_back == 0 || now < locked_until)
		return;
	if (attempt(set_tables_back))
		set_back = 0;
	else
		locked_until = now + LOCKED_OUT_US;
}

static void
housekeeping(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < next_housekeeping)
		return;
	next_housekeeping = now + HOUSEKEEPING_US;
	if ((prepared || !tidy) && look_for_prepared())
		want_read = true;
	tidy = true;

	(void) attempt(rotate_when_due);
	if (hooks_to_write(now, false) || health_to_write(now, false))
		flush(false);
	if (log_locked_out() > 0)
		(void) attempt(retry_log);
	if (now >= next_retention)
		next_retention = now + (!tidy_up(delete_old_rows) || more_to_delete ? HOUSEKEEPING_US :
								RETENTION_US);
	orphans_due |= hooks_take_gone();
	if (orphans_due && tidy_up(orphans_forget))
		orphans_due = false;
	hooks_forget_unused(now);
	delivery_forget(now);
	address_own_load();
	if (now - started_at > WELL_AFTER_US && slot->failures > 0)
		shared_worker_well(slot);
}

/* Tell those in wait_idle() that asked before the last read. */
static void
answer_idle(uint64 wanted)
{
	if (wanted == pg_atomic_read_u64(&slot->idle_seen) || has_work() || want_read ||
		pg_atomic_read_u32(&slot->pending) != 0)
		return;
	pg_atomic_write_u64(&slot->idle_seen, wanted);
	ConditionVariableBroadcast(&slot->changed);
}

/* ----------
 * Leaving
 * ----------
 */

static void
at_exit(int code, Datum arg)
{
	/* Whatever the reason, somebody has to look at what is left. */
	if (!leaving)
		pg_atomic_write_u32(&slot->pending, 1);
	shared_set(slot, STAT_IN_FLIGHT, 0);
	shared_set(slot, STAT_WAITING, 0);
	underway_leave();
	shared_worker_detach(slot, failed, wake_at, ahead + set_back);
}

/* Idle for long enough, from the start, or while others wait for the place. */
static bool
may_leave(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (has_work() || want_read || prepared)
		return false;
	return !has_worked || now - last_work >= hooks_idle_timeout * USECS_PER_SEC ||
		shared_is_crowded();
}

static bool
time_to_leave(void)
{
	if (pg_atomic_read_u32(&slot->leave) != 0 ||
		(!takes_work() && delivery_in_flight() == 0))
	{
		/* Work may be left: somebody has to come back for it. */
		flush_if_due(true);
		leaving = true;
		pg_atomic_write_u32(&slot->pending, 1);
		return true;
	}
	if (!may_leave())
		return false;

	if (look_for_prepared())
		want_read = !attempt(read_page);

	/* Leave empty tables behind, so that the next one starts at once. */
	(void) attempt(rotate_now);
	wake_at = aside_due_at();
	return may_leave();
}

/* ----------
 * Waiting
 * ----------
 */

static void
earliest(long *timeout, long candidate)
{
	if (candidate >= 0)
		*timeout = *timeout < 0 ? candidate : Min(*timeout, candidate);
}

static long
until(TimestampTz when)
{
	TimestampTz now = GetCurrentTimestamp();

	return when <= now ? 0 : (long) ((when - now + 999) / 1000);
}

/* The same for a time that may be never. */
static long
until_time(TimestampTz when)
{
	return TIMESTAMP_IS_NOEND(when) ? -1 : until(Max(when, locked_until));
}

/* How long there is nothing to read, match or start, in milliseconds. */
static long
until_work(void)
{
	long		timeout = until_time(delivery_wake_at());

	if (dispatch_has_unmatched() || release_hosts)
		earliest(&timeout, until(locked_until));
	if (!parking_has_room())
		return timeout;
	if (want_read || backlog_has_more() || parking_wants_back(GetCurrentTimestamp()))
		earliest(&timeout, until(locked_until));
	earliest(&timeout, until_time(aside_due_at()));
	earliest(&timeout, until_time(parking_look_at()));
	return timeout;
}

/* How long there is nothing to do, in milliseconds. */
static long
sleep_for(void)
{
	long		timeout = transport_timeout();

	if (oldest_result != 0)
		earliest(&timeout, until(oldest_result + FLUSH_AFTER_US));
	if (takes_work())
		earliest(&timeout, until_work());
	if (has_work() || prepared || !tidy)
		earliest(&timeout, until(next_housekeeping));
	else
		earliest(&timeout, until(Max(next_housekeeping,
									 last_work + hooks_idle_timeout * USECS_PER_SEC)));
	return timeout;
}

static WaitEventSet *
make_wait_set(void)
{
	WaitEventSet *set = CREATE_WAIT_EVENT_SET(3);

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, transport_fd(), NULL, NULL);
	return set;
}

/* Let pg_stat_activity say what we wait for. */
static void
show_rest(void)
{
	char		text[100] = "waiting for events";

	if (delivery_in_flight() > 0)
		snprintf(text, sizeof(text), "requests under way: %d",
				 delivery_in_flight());
	pgstat_report_activity(STATE_IDLE, text);
}

static void
wait_for_work(WaitEventSet *set)
{
	static uint32 wait = 0;
	WaitEvent	events[3];
	long		timeout = sleep_for();

	if (timeout != 0 && clock_is_behind(ahead))
		timeout = 0;
	if (timeout != 0)
		show_rest();
	(void) WaitEventSetWait(set, timeout, events, lengthof(events),
							wait_event(&wait, "HooksWorker"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();

	if (ConfigReloadPending)
	{
		bool		breaker = hooks_breaker;

		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		release_hosts |= breaker && !hooks_breaker;
		transport_reload();
		chat_gateway_forget();
		delivery_reload();
		hooks_invalidate(InvalidOid);	/* what was allowed may not be any more */
	}
	if (timeout != 0)
		pgstat_report_activity(STATE_RUNNING, "delivering");
}

/* ----------
 * A worker's life
 * ----------
 */

static void
relation_changed(Datum arg, Oid relation)
{
	hooks_invalidate(relation);
}

/* Settings of roles and databases are meant for people, not for us. */
static void
override_settings(void)
{
	static const char *const settings[][2] = {
		{"role", "none"},
		{"exit_on_error", "off"},
		{"search_path", "pg_catalog, pg_temp"},
		{"statement_timeout", "0"},
		{"lock_timeout", LOCK_TIMEOUT},
		{"idle_in_transaction_session_timeout", "0"},
		{"transaction_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"row_security", "on"},
		{"synchronous_commit", "local"},
		{"plan_cache_mode", "force_generic_plan"},
		{"max_parallel_workers_per_gather", "0"},
		{"jit", "off"},
		{"timezone", "UTC"},
	};

	for (size_t i = 0; i < lengthof(settings); i++)
	{
		/* Not every version has every one of them. */
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	}

	/* The name of who we are has to be looked up. */
	StartTransactionCommand();
	SetConfigOption("session_authorization", GetUserNameFromId(GetAuthenticatedUserId(), false),
					PGC_SUSET, PGC_S_OVERRIDE);
	CommitTransactionCommand();
}

static void
look_for_extension(void)
{
	begin_anyway();
	(void) version_look();
	commit();
}

/*
 * Somebody may be about to drop or update the extension, and take his time: wait, as
 * long as nobody needs the database to himself.
 */
static bool
wait_for_extension(void)
{
	static uint32 wait = 0;

	while (!attempt(look_for_extension))
	{
		if (pg_atomic_read_u32(&slot->leave) != 0)
		{
			pg_atomic_write_u32(&slot->pending, 1);
			return false;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT,
						 LOCKED_OUT_US / 1000, wait_event(&wait, "HooksExtension"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return true;
}

/* Connect, and take up what is there; false when there is nothing to do here. */
static bool
start(void)
{
	VersionFit	fit;
	bool		confirmed = false;

	override_settings();
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	if (!wait_for_extension())
		return false;

	begin_anyway();
	fit = version_look();
	if (fit == VERSION_FITS)
		confirmed = identity_confirmed();
	else
		version_complain();
	if (confirmed)
	{
		/* While nobody was here. */
		set_back = clock_was_set_back(&ahead);
		if (set_back > 0)
		{
			TimestampTz now = GetCurrentTimestamp();

			hooks_set_stored_back(now + set_back, now);
			aside_set_back(set_back, now);
		}
		backlog_open();
		posted_open();
		outbox_open();
		delivery_init();
		attempts_init();
	}
	commit();
	set_back = 0;

	if (fit == VERSION_FITS && !confirmed)
	{
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("hooks sends nothing for database %u, which is a copy of another one",
						MyDatabaseId),
				 errhint("Run SELECT hooks.adopt() in it if it is to send what is queued, or hooks.adopt(discard => true) to begin afresh.")));
		shared_hold(slot, HOLD_COPY);
	}
	else if (fit != VERSION_FITS && fit != VERSION_MISSING)
		shared_hold(slot, HOLD_VERSION);
	if (!confirmed)
		return false;

	transport_init();
	dispatch_init();
	parking_init();
	return true;
}

static void
run(void)
{
	WaitEventSet *set = make_wait_set();
	MemoryContext loop_context = AllocSetContextCreate(TopMemoryContext, "hooks loop",
													   ALLOCSET_DEFAULT_SIZES);

	started_at = last_work = GetCurrentTimestamp();
	MemoryContextSwitchTo(loop_context);
	while (!time_to_leave())
	{
		uint64		idle_wanted;
		bool		somebody_waits;

		wait_for_work(set);
		watch_clock();
		idle_wanted = pg_atomic_read_u64(&slot->idle_wanted);
		somebody_waits = idle_wanted != pg_atomic_read_u64(&slot->idle_seen);
		want_read |= somebody_waits;

		transport_drive();
		attempts_answers();
		has_news = false;
		if (takes_work())
		{
			read_events();
			start_deliveries();
		}
		flush_if_due(somebody_waits);
		housekeeping();
		answer_idle(idle_wanted);
		MemoryContextReset(loop_context);
	}
}

void
hooks_worker_main(Datum arg)
{
	slot = shared_slot_number(DatumGetInt32(arg));
	am_hooks_worker = true;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	BackgroundWorkerInitializeConnectionByOid(slot->database, InvalidOid, 0);
	if (!shared_worker_attach(slot))
		proc_exit(0);
	ahead = slot->ahead != 0 ? slot->ahead : clock_ahead();
	before_shmem_exit(at_exit, (Datum) 0);

	PG_TRY();
	{
		pg_atomic_write_u32(&slot->pending, 0);
		if (start())
			run();
		leaving = true;
	}
	PG_CATCH();
	{
		failed = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
	proc_exit(0);
}
