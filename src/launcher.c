/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		Which databases should have a worker: start it, pace it, forget it.
 *
 * One static process, connected to no database, so that it never stands in
 * the way of anything.  It starts once recovery is over, hence not on a
 * standby.  At start it marks every database that takes connections, because
 * any of them may hold work from before; afterwards it acts only when a
 * commit marks a database that has no worker, and sleeps otherwise.
 *
 * A worker that fails is started again with a growing pause (shared.c).  When
 * background workers have run out, databases take turns: a worker that has
 * nothing to do leaves at once, and one that has had its turn when what it has
 * under way has ended.  It is said once an hour, because with more places
 * nobody would have to wait.
 *
 * It also says of floods of events what no session has come to say (flood.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "clock.h"
#include "compat.h"
#include "flood.h"
#include "launcher.h"
#include "settings.h"
#include "shared.h"

PGDLLEXPORT void hooks_launcher_main(Datum arg);

/* So many workers may be on their way at once; the rest wait their turn. */
#define MAX_STARTING 2

/* How long to wait after background workers have run out. */
#define NO_WORKER_PAUSE_MS 5000

/* How long a worker may stay while other databases wait for its place. */
#define TURN_MS 2000

/* How often it is said that they wait. */
#define SAY_CROWDED_US (3600 * USECS_PER_SEC)

/* One per slot: the worker that was last started for it, while it is starting. */
static BackgroundWorkerHandle **handles;

static void
register_process(BackgroundWorker *worker, const char *function)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_library_name, "hooks", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
}

void
launcher_register(void)
{
	BackgroundWorker worker;

	/* pg_upgrade has the databases to itself, and what waits is for the new server. */
	if (IsBinaryUpgrade)
		return;

	register_process(&worker, "hooks_launcher_main");
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_name, "hooks launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "hooks launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

static bool
takes_connections(Form_pg_database database)
{
	return database->datallowconn && !database->datistemplate &&
		database->datconnlimit != DATCONNLIMIT_INVALID_DB;
}

/*
 * May a worker connect to the slot's database?  Templates must stay
 * undisturbed; the slot of a database that is gone is given back.
 */
static bool
database_takes_worker(DatabaseSlot *slot)
{
	HeapTuple	tuple;
	bool		takes = false;

	StartTransactionCommand();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(slot->database));
	if (HeapTupleIsValid(tuple))
	{
		takes = takes_connections((Form_pg_database) GETSTRUCT(tuple));
		ReleaseSysCache(tuple);
	}
	else
		shared_slot_free(slot);
	CommitTransactionCommand();

	if (!takes)
		pg_atomic_write_u32(&slot->pending, 0);
	return takes;
}

/* Mark every database that may hold work from before this server was started. */
static void
mark_all_databases(void)
{
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		DatabaseSlot *slot;

		if (!takes_connections(database))
			continue;
		slot = shared_slot(database->oid, true);
		if (slot == NULL)
		{
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("hooks serves no more than %d databases", hooks_max_databases),
					 errhint("Increase \"hooks.max_databases\".")));
			break;
		}
		shared_announce(slot);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
}

/*
 * A starting worker that has ended without attaching: its database may be
 * gone, or refuse connections.
 */
static void
check_starting(int n)
{
	DatabaseSlot *slot = shared_slot_number(n);
	pid_t		pid;

	if (handles[n] != NULL && GetBackgroundWorkerPid(handles[n], &pid) != BGWH_STOPPED)
		return;

	if (handles[n] != NULL)
		pfree(handles[n]);
	handles[n] = NULL;

	if (shared_worker_missing(slot))
		(void) database_takes_worker(slot);
}

static bool
start_worker(int n)
{
	static TimestampTz said_at = 0;
	DatabaseSlot *slot = shared_slot_number(n);
	BackgroundWorker worker;
	TimestampTz now;

	register_process(&worker, "hooks_worker_main");
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = Int32GetDatum(n);
	worker.bgw_notify_pid = MyProcPid;
	snprintf(worker.bgw_name, BGW_MAXLEN, "hooks worker for database %u", slot->database);
	strlcpy(worker.bgw_type, "hooks worker", BGW_MAXLEN);

	shared_lock();
	slot->state = SLOT_STARTING;
	shared_unlock();

	if (RegisterDynamicBackgroundWorker(&worker, &handles[n]))
		return true;

	shared_lock();
	slot->state = SLOT_QUIET;
	shared_unlock();
	handles[n] = NULL;

	now = GetCurrentTimestamp();
	if (said_at == 0 || now - said_at >= SAY_CROWDED_US || now < said_at)
	{
		said_at = now;
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start hooks worker for database %u: out of background workers",
						slot->database),
				 errdetail("Databases take turns."),
				 errhint("Increase \"max_worker_processes\".")));
	}
	return false;
}

/* The shorter of two times to sleep; -1 is for ever. */
static long
sooner(long a, long b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

/*
 * So many databases wait for a place: ask workers whose turn is over, those
 * first that were started first.  Returns how long to sleep until the next
 * turn is over.
 */
static long
make_room(int wanted, int turn, TimestampTz now)
{
	int			slots = shared_slots();
	long		sleep = NO_WORKER_PAUSE_MS;

	for (int n = 0; n < slots; n++)
	{
		DatabaseSlot *slot = shared_slot_number(n);

		if (slot->state == SLOT_RUNNING)
		{
			wanted -= pg_atomic_read_u32(&slot->make_room) != 0;
			shared_wake_worker(slot);	/* it may be idle */
		}
	}
	for (int i = 0; i < slots && wanted > 0; i++)
	{
		DatabaseSlot *slot = shared_slot_number((turn + i) % slots);
		TimestampTz over = TimestampTzPlusMilliseconds(slot->attached_at, TURN_MS);

		if (slot->state == SLOT_STARTING)
			sleep = sooner(sleep, TURN_MS);
		if (slot->state != SLOT_RUNNING || pg_atomic_read_u32(&slot->make_room) != 0)
			continue;
		if (over > now)
		{
			sleep = sooner(sleep, TimestampDifferenceMilliseconds(now, over) + 1);
			continue;
		}
		pg_atomic_write_u32(&slot->make_room, 1);
		shared_wake_worker(slot);
		wanted--;
	}
	return sleep;
}

/*
 * Start what should be started, in turns.  Returns how long to sleep: -1 for
 * until woken, else milliseconds.
 */
static long
start_workers(void)
{
	static int	turn = 0;
	TimestampTz now = GetCurrentTimestamp();
	long		sleep = -1;
	int			starting = 0;
	int			without_place = 0;
	int			first = turn;
	int			slots = shared_slots();

	for (int n = 0; n < slots; n++)
	{
		if (shared_slot_number(n)->state == SLOT_STARTING)
		{
			check_starting(n);
			starting += shared_slot_number(n)->state == SLOT_STARTING;
		}
	}

	for (int i = 0; i < slots; i++)
	{
		int			n = (first + i) % slots;
		DatabaseSlot *slot = shared_slot_number(n);
		TimestampTz not_before = Max(slot->start_after, slot->hold_until);

		if (slot->state != SLOT_QUIET)
			continue;
		if (pg_atomic_read_u32(&slot->pending) == 0)
			not_before = Max(not_before, slot->wake_at);
		if (not_before > now)
		{
			if (!TIMESTAMP_IS_NOEND(not_before))
				sleep = sooner(sleep, TimestampDifferenceMilliseconds(now, not_before) + 1);
			continue;
		}
		if (starting >= MAX_STARTING)
			return sleep;		/* the end of a starting worker wakes us */
		if (without_place > 0)
			without_place++;
		else if (!database_takes_worker(slot))
			continue;
		else if (!start_worker(n))
			without_place = 1;
		else
		{
			starting++;
			turn = (n + 1) % slots;
		}
	}
	shared_set_crowded(without_place > 0);
	return without_place > 0 ? sooner(sleep, make_room(without_place, turn, now)) : sleep;
}

static void
say_rest_of_floods(int code, Datum arg)
{
	(void) flood_say_rest(true);
}

void
hooks_launcher_main(Datum arg)
{
	static uint32 wait = 0;
	int64		ahead = clock_ahead();

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	handles = MemoryContextAllocZero(TopMemoryContext,
									 sizeof(BackgroundWorkerHandle *) * shared_slots());
	shared_launcher_attach();
	before_shmem_exit(say_rest_of_floods, (Datum) 0);
	mark_all_databases();

	for (;;)
	{
		int64		set_back = clock_was_set_back(&ahead);
		long		timeout;

		if (set_back > 0)
			shared_set_back(set_back);
		timeout = sooner(hooks_enabled ? start_workers() : -1, flood_say_rest(false));
		if (clock_is_behind(ahead))
			continue;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, wait_event(&wait, "HooksLauncher"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();

		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}
