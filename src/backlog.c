/*-------------------------------------------------------------------------
 *
 * backlog.c
 *		What is queued and not yet done: the worker's side of the queue.
 *
 * Reading goes by windows between two instants (instant.h).  The rows of a
 * window are found by their transaction ids through the index, so the cost
 * depends on new rows only: nothing is updated or deleted, dead rows do not
 * accumulate, and a snapshot or transaction that somebody holds open changes
 * nothing.  A window that is too large is read in pages, each with a fresh
 * snapshot: which transactions belong to the window is settled by its
 * instants, and what a transaction that has ended left behind does not
 * change any more.  Pages are ordered by transaction, and within a page
 * events by the time at which they were queued, just before their commit.
 *
 * At start the window begins before everything, and what the ack tables say
 * is left out.
 *
 * A queue table is emptied when all of it was read and acknowledged and
 * nobody holds a lock on it: a conditional lock proves that no open
 * transaction, prepared or not, has written to it.  It gets new storage, and
 * its ack table with it, in one transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "backlog.h"
#include "compat.h"
#include "instant.h"
#include "queue.h"
#include "settings.h"
#include "shared.h"
#include "tables.h"
#include "target.h"

/* Which row of the queue: transaction, and number in it. */
typedef struct RowKey
{
	uint64		xid;
	int32		n;
} RowKey;

/* What was done of an event, hook by hook, before a restart. */
typedef struct AckedHook
{
	pg_uuid_t	hook;
	bool		admitted;		/* not done, but its cooldown is taken */
} AckedHook;

struct AckedHooks
{
	int			n;
	AckedHook	hooks[FLEXIBLE_ARRAY_MEMBER];
};

typedef struct AckedRow
{
	RowKey		key;
	bool		done;			/* all of it */
	AckedHooks *hooks;			/* or this much; NULL for nothing */
	char		status;			/* for simplehash */
} AckedRow;

#define SH_PREFIX acked
#define SH_ELEMENT_TYPE AckedRow
#define SH_KEY_TYPE RowKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) \
	hash_combine(murmurhash32((uint32) (key).xid), murmurhash32((uint32) (key).n))
#define SH_EQUAL(tb, a, b) ((a).xid == (b).xid && (a).n == (b).n)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* So many fit into a row that fits into a page, each with the id of a hook. */
#define ACKS_PER_ROW 240

/* Acknowledgements that wait to be written, per queue table. */
typedef struct Acks
{
	int			n;
	int			allocated;
	Datum	   *xids;
	Datum	   *ns;
	Datum	   *hooks;
	bool	   *hook_nulls;
	Datum	   *admitted;
	int			events;			/* how many of them stand for whole events */
} Acks;

/* Memory of a user's events. */
typedef struct UserBytes
{
	pg_uuid_t	user;			/* key */
	Size		bytes;
} UserBytes;

/* One table's part in reading a range. */
typedef struct TableScan
{
	int			table;
	Relation	heap;
	Relation	index;
	SysScanDesc scan;
	HeapTuple	tuple;			/* the next row, or NULL */
	RowKey		key;			/* its transaction and number */
} TableScan;

static MemoryContext backlog_context = NULL;	/* all that is kept */
static MemoryContext events_context = NULL; /* events that were handed out */
static Size bytes = 0;			/* … of those that were begun and are open … */
static HTAB *user_bytes = NULL; /* … by user */
static acked_hash *acked = NULL;	/* until all of the old backlog is read */
static Acks acks[QUEUE_TABLES];

/*
 * The window: "since" is how far everything was read, "until" the end of the
 * window that is being read, if one is, and "last" the last row read of it.
 */
static Instant since;
static Instant until;
static bool in_window = false;
static RowKey last;

static int64 outstanding[QUEUE_TABLES]; /* events read and not acknowledged */
static int	current = 0;		/* the queue table that is appended to */
static TimestampTz current_since = 0;	/* … since when */

/* ----------
 * Instants from snapshots
 * ----------
 */

/* A transaction id of the present as a 64-bit one. */
static uint64
widen(TransactionId xid, uint64 next)
{
	uint64		wide = (next & ~((uint64) PG_UINT32_MAX)) | xid;

	return xid > (uint32) next ? wide - ((uint64) 1 << 32) : wide;
}

static int
compare_uint64(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return (x > y) - (x < y);
}

/* What a snapshot says, in the long-lived memory of "instant". */
static void
instant_take(Instant *instant, Snapshot snapshot)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());

	instant->xmin = widen(snapshot->xmin, next);
	instant->xmax = widen(snapshot->xmax, next);
	instant->nrunning = snapshot->xcnt;
	if (instant->running)
		pfree(instant->running);
	instant->running = MemoryContextAlloc(backlog_context, sizeof(uint64) * (snapshot->xcnt + 1));
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		instant->running[i] = widen(snapshot->xip[i], next);
	qsort(instant->running, instant->nrunning, sizeof(uint64), compare_uint64);
}

/* "since" becomes "until". */
static void
instant_move(void)
{
	if (since.running)
		pfree(since.running);
	since = until;
	until.running = NULL;
	in_window = false;
}

/* ----------
 * Acknowledgements
 * ----------
 */

static AckedHooks *
add_acked_hook(AckedHooks *list, const pg_uuid_t *hook, bool admitted)
{
	int			n = list ? list->n : 0;
	Size		size = offsetof(AckedHooks, hooks) + sizeof(AckedHook) * (n + 1);

	list = list ? repalloc(list, size) : MemoryContextAlloc(backlog_context, size);
	list->n = n + 1;
	list->hooks[n].hook = *hook;
	list->hooks[n].admitted = admitted;
	return list;
}

/* Enter one ack row, which holds many acknowledgements. */
static void
load_ack_row(HeapTuple tuple, TupleDesc desc)
{
	Datum	   *xids;
	Datum	   *ns;
	Datum	   *hooks;
	Datum	   *admitted;
	bool	   *hook_nulls;
	int			count;
	bool		isnull;

	deconstruct_array(DatumGetArrayTypeP(heap_getattr(tuple, Anum_ack_xid, desc, &isnull)),
					  XID8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &xids, NULL, &count);
	deconstruct_array(DatumGetArrayTypeP(heap_getattr(tuple, Anum_ack_n, desc, &isnull)),
					  INT4OID, 4, true, TYPALIGN_INT, &ns, NULL, &count);
	deconstruct_array(DatumGetArrayTypeP(heap_getattr(tuple, Anum_ack_hook, desc, &isnull)),
					  UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &hooks, &hook_nulls, &count);
	deconstruct_array(DatumGetArrayTypeP(heap_getattr(tuple, Anum_ack_admitted, desc, &isnull)),
					  BOOLOID, 1, true, TYPALIGN_CHAR, &admitted, NULL, &count);

	for (int i = 0; i < count; i++)
	{
		RowKey		key = {DatumGetUInt64(xids[i]), DatumGetInt32(ns[i])};
		bool		found;
		AckedRow   *row = acked_insert(acked, key, &found);

		if (!found)
		{
			row->done = false;
			row->hooks = NULL;
		}
		if (hook_nulls[i])
			row->done = true;
		else
			row->hooks = add_acked_hook(row->hooks, DatumGetUUIDP(hooks[i]),
										DatumGetBool(admitted[i]));
	}
}

void
backlog_open(void)
{
	Snapshot	snapshot;
	HASHCTL		control = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(UserBytes)};

	backlog_context = AllocSetContextCreate(TopMemoryContext, "hooks backlog",
											ALLOCSET_DEFAULT_SIZES);
	events_context = AllocSetContextCreate(TopMemoryContext, "hooks events",
										   ALLOCSET_DEFAULT_SIZES);
	user_bytes = hash_create("hooks memory of users", 256, &control, HASH_ELEM | HASH_BLOBS);
	acked = acked_create(backlog_context, 1024, NULL);

	/* Before everything: nothing was read. */
	since = (Instant)
	{
		.xmin = FirstNormalTransactionId, .xmax = FirstNormalTransactionId
	};

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (int i = 0; i < QUEUE_TABLES; i++)
	{
		Relation	relation = table_open(queue_ack_table(i), AccessShareLock);
		TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);
		HeapTuple	tuple;

		while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
			load_ack_row(tuple, RelationGetDescr(relation));
		table_endscan(scan);
		table_close(relation, AccessShareLock);
	}
	UnregisterSnapshot(snapshot);

	current = pg_atomic_read_u32(&shared_my_slot()->current_queue);
	current_since = GetCurrentTimestamp();
}

static bool
was_acked(const QueuedEvent *event, const pg_uuid_t *hook, bool admitted)
{
	if (event->place.acked == NULL)
		return false;
	for (int i = 0; i < event->place.acked->n; i++)
	{
		const AckedHook *candidate = &event->place.acked->hooks[i];

		if (candidate->admitted == admitted &&
			memcmp(&candidate->hook, hook, UUID_LEN) == 0)
			return true;
	}
	return false;
}

bool
backlog_was_done(const QueuedEvent *event, const pg_uuid_t *hook)
{
	return was_acked(event, hook, false);
}

bool
backlog_was_admitted(const QueuedEvent *event, const pg_uuid_t *hook)
{
	return was_acked(event, hook, true);
}

static void
add_ack(const QueuedEvent *event, const pg_uuid_t *hook, bool admitted)
{
	Acks	   *a = &acks[event->place.table];

	if (a->n == a->allocated)
	{
		int			n = a->allocated ? a->allocated * 2 : 256;
		MemoryContext previous = MemoryContextSwitchTo(backlog_context);

#define GROW(array, type) \
		(array) = (array) ? repalloc(array, sizeof(type) * n) : palloc(sizeof(type) * n)
		GROW(a->xids, Datum);
		GROW(a->ns, Datum);
		GROW(a->hooks, Datum);
		GROW(a->hook_nulls, bool);
		GROW(a->admitted, Datum);
#undef GROW
		a->allocated = n;
		MemoryContextSwitchTo(previous);
	}

	a->xids[a->n] = UInt64GetDatum(event->place.xid);
	a->ns[a->n] = Int32GetDatum(event->place.n);
	a->hook_nulls[a->n] = hook == NULL;
	a->hooks[a->n] = (Datum) 0;
	if (hook != NULL)
	{
		pg_uuid_t  *copy = MemoryContextAlloc(backlog_context, sizeof(pg_uuid_t));

		*copy = *hook;
		a->hooks[a->n] = UUIDPGetDatum(copy);
	}
	a->admitted[a->n] = BoolGetDatum(admitted);
	a->n++;
}

/* The event takes memory, or frees it. */
static void
count_bytes(const QueuedEvent *event, bool taken)
{
	bool		found;
	UserBytes  *user = hash_search(user_bytes, &event->event.user_id, HASH_ENTER, &found);

	if (!found)
		user->bytes = 0;
	if (taken)
	{
		bytes += event->size;
		user->bytes += event->size;
		return;
	}
	bytes -= event->size;
	user->bytes -= event->size;
	if (user->bytes == 0)
		hash_search(user_bytes, &user->user, HASH_REMOVE, NULL);
}

void
backlog_begin(QueuedEvent *event)
{
	event->open = 1;
	count_bytes(event, true);
}

void
backlog_close(QueuedEvent *event)
{
	if (--event->open > 0)
		return;
	if (event->place.table >= 0)
	{
		add_ack(event, NULL, false);
		acks[event->place.table].events++;
	}
	if (event->place.acked)
		pfree(event->place.acked);
	count_bytes(event, false);
	pfree(event);
}

Size
backlog_bytes(void)
{
	return bytes;
}

Size
backlog_user_bytes(const pg_uuid_t *user)
{
	UserBytes  *found = hash_search(user_bytes, user, HASH_FIND, NULL);

	return found ? found->bytes : 0;
}

void
backlog_done_hook(const QueuedEvent *event, const pg_uuid_t *hook)
{
	add_ack(event, hook, false);
}

void
backlog_admitted_hook(const QueuedEvent *event, const pg_uuid_t *hook)
{
	add_ack(event, hook, true);
}

bool
backlog_has_acks(void)
{
	for (int i = 0; i < QUEUE_TABLES; i++)
	{
		if (acks[i].n > 0)
			return true;
	}
	return false;
}

/* Write some acknowledgements as one row. */
static void
write_ack_row(Relation relation, const Acks *a, int first, int n)
{
	Datum		values[Natts_ack];
	bool		nulls[Natts_ack] = {false};
	int			dims[1] = {n};
	int			lower_bounds[1] = {1};
	HeapTuple	tuple;

	values[Anum_ack_xid - 1] =
		PointerGetDatum(construct_array(a->xids + first, n, XID8OID, 8, FLOAT8PASSBYVAL,
										TYPALIGN_DOUBLE));
	values[Anum_ack_n - 1] =
		PointerGetDatum(construct_array(a->ns + first, n, INT4OID, 4, true, TYPALIGN_INT));
	values[Anum_ack_hook - 1] =
		PointerGetDatum(construct_md_array(a->hooks + first, a->hook_nulls + first, 1, dims,
										   lower_bounds, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	values[Anum_ack_admitted - 1] =
		PointerGetDatum(construct_array(a->admitted + first, n, BOOLOID, 1, true, TYPALIGN_CHAR));

	tuple = heap_form_tuple(RelationGetDescr(relation), values, nulls);
	heap_insert(relation, tuple, GetCurrentCommandId(true), TABLE_INSERT_NO_LOGICAL, NULL);
	heap_freetuple(tuple);
}

void
backlog_write_acks(void)
{
	for (int i = 0; i < QUEUE_TABLES; i++)
	{
		Relation	relation;

		if (acks[i].n == 0)
			continue;
		relation = table_open(queue_ack_table(i), RowExclusiveLock);
		for (int first = 0; first < acks[i].n; first += ACKS_PER_ROW)
			write_ack_row(relation, &acks[i], first, Min(ACKS_PER_ROW, acks[i].n - first));
		table_close(relation, RowExclusiveLock);
	}
}

void
backlog_acks_committed(void)
{
	for (int i = 0; i < QUEUE_TABLES; i++)
	{
		Acks	   *a = &acks[i];

		for (int j = 0; j < a->n; j++)
		{
			if (!a->hook_nulls[j])
				pfree(DatumGetPointer(a->hooks[j]));
		}
		outstanding[i] -= a->events;
		a->n = 0;
		a->events = 0;
	}
}

int64
backlog_outstanding(void)
{
	int64		sum = 0;

	for (int i = 0; i < QUEUE_TABLES; i++)
		sum += outstanding[i];
	return sum;
}

/* ----------
 * Reading
 * ----------
 */

static inline int
compare_keys(RowKey a, RowKey b)
{
	if (a.xid != b.xid)
		return a.xid < b.xid ? -1 : 1;
	return (a.n > b.n) - (a.n < b.n);
}

static void
scan_next(TableScan *scan)
{
	scan->tuple = systable_getnext_ordered(scan->scan, ForwardScanDirection);
	if (HeapTupleIsValid(scan->tuple))
	{
		TupleDesc	desc = RelationGetDescr(scan->heap);
		bool		isnull;

		scan->key.xid = DatumGetUInt64(heap_getattr(scan->tuple, Anum_queue_xid, desc, &isnull));
		scan->key.n = DatumGetInt32(heap_getattr(scan->tuple, Anum_queue_n, desc, &isnull));
	}
}

/* Open a table for reading; false when there is nothing in it. */
static bool
scan_open(TableScan *scan, int table)
{
	List	   *indexes;

	scan->table = table;
	scan->heap = table_open(queue_table(table), AccessShareLock);
	if (RelationGetNumberOfBlocks(scan->heap) == 0)
	{
		table_close(scan->heap, AccessShareLock);
		return false;
	}
	indexes = RelationGetIndexList(scan->heap);
	if (list_length(indexes) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue table \"%s\" does not have its one index",
						RelationGetRelationName(scan->heap))));
	scan->index = index_open(linitial_oid(indexes), AccessShareLock);
	return true;
}

static void
scan_close(TableScan *scan)
{
	index_close(scan->index, AccessShareLock);
	table_close(scan->heap, AccessShareLock);
}

/* Begin to read a range of transactions; of the first one only rows past after_n. */
static void
scan_begin(TableScan *scan, XidRange range, int32 after_n, Snapshot snapshot)
{
	ScanKeyData key[3];
	int			nkeys = 2;

	ScanKeyInit(&key[0], Anum_queue_xid, BTGreaterEqualStrategyNumber, F_XID8GE,
				UInt64GetDatum(range.from));
	ScanKeyInit(&key[1], Anum_queue_xid, BTLessStrategyNumber, F_XID8LT,
				UInt64GetDatum(range.below));
	if (after_n >= 0)
		ScanKeyInit(&key[nkeys++], Anum_queue_n, BTGreaterStrategyNumber, F_INT4GT,
					Int32GetDatum(after_n));
	scan->scan = systable_beginscan_ordered(scan->heap, scan->index, snapshot, nkeys, key);
	scan_next(scan);
}

/*
 * How far WAL must be flushed for the row's commit to be safe: an
 * asynchronous commit is known by its LSN, a synchronous one was flushed
 * before it became visible and has none.  (That the row is hinted committed
 * says nothing: a page that WAL protects may be hinted early.)
 */
static XLogRecPtr
commit_lsn(HeapTuple tuple)
{
	if (HeapTupleHeaderXminFrozen(tuple->t_data))
		return InvalidXLogRecPtr;
	return TransactionIdGetCommitLSN(HeapTupleHeaderGetXmin(tuple->t_data));
}

QueuedEvent *
backlog_event_make(const Event *event, Size data_size, const char *refused)
{
	Size		platform_size = event->platform ? MAXALIGN(strlen(event->platform) + 1) : 0;
	Size		refused_size = refused ? MAXALIGN(strlen(refused) + 1) : 0;
	Size		size = MAXALIGN(sizeof(QueuedEvent)) + MAXALIGN(data_size) + platform_size +
		refused_size;
	QueuedEvent *copy = MemoryContextAlloc(events_context, size);
	char	   *place = (char *) copy + MAXALIGN(sizeof(QueuedEvent));

	memset(copy, 0, sizeof(QueuedEvent));
	copy->event = *event;
	copy->data_size = data_size;
	copy->place.table = -1;
	copy->size = size;

	if (event->data)
	{
		copy->event.data = memcpy(place, event->data, data_size);
		place += MAXALIGN(data_size);
	}
	if (event->platform)
	{
		copy->event.platform = strcpy(place, event->platform);
		place += platform_size;
	}
	if (refused)
		copy->refused = strcpy(place, refused);
	return copy;
}

/* Make an event of a row of a queue table. */
static QueuedEvent *
make_event(HeapTuple tuple, TupleDesc desc, const QueuePlace *place)
{
	Datum		values[Natts_queue];
	bool		nulls[Natts_queue];
	Event		event = {0};
	Size		data_size = 0;
	char	   *refused = NULL;
	text	   *type_name;
	QueuedEvent *queued;

	heap_deform_tuple(tuple, desc, values, nulls);

	event.id = *DatumGetUUIDP(values[Anum_queue_event_id - 1]);
	event.user_id = *DatumGetUUIDP(values[Anum_queue_user_id - 1]);
	type_name = DatumGetTextPP(values[Anum_queue_event_type - 1]);
	event.type = trigger_type_parse(VARDATA_ANY(type_name), VARSIZE_ANY_EXHDR(type_name));
	event.time = DatumGetTimestampTz(values[Anum_queue_event_time - 1]);
	if (!nulls[Anum_queue_platform - 1])
		event.platform = TextDatumGetCString(values[Anum_queue_platform - 1]);
	if (!nulls[Anum_queue_data - 1])
	{
		Jsonb	   *data = DatumGetJsonbP(values[Anum_queue_data - 1]);

		event.data = &data->root;
		data_size = VARSIZE(data) - VARHDRSZ;
	}
	if (!nulls[Anum_queue_refused - 1])
		refused = TextDatumGetCString(values[Anum_queue_refused - 1]);

	queued = backlog_event_make(&event, data_size, refused);
	queued->place = *place;
	queued->queued_at = DatumGetTimestampTz(values[Anum_queue_queued_at - 1]);
	queued->new_hooks = DatumGetBool(values[Anum_queue_new_hooks - 1]);
	if (!nulls[Anum_queue_request - 1])
		queued->request = queue_request_parse(TextDatumGetCString(values[Anum_queue_request - 1]));
	if (!nulls[Anum_queue_hook_id - 1])
		queued->hook_id = *DatumGetUUIDP(values[Anum_queue_hook_id - 1]);
	if (!nulls[Anum_queue_target - 1])
		queued->target = target_name(TextDatumGetCString(values[Anum_queue_target - 1]));
	return queued;
}

/* The event of the row that a scan is at; NULL when it was done before. */
static QueuedEvent *
scanned_event(TableScan *scan)
{
	AckedRow   *was = acked ? acked_lookup(acked, scan->key) : NULL;
	QueuePlace	place = {
		.xid = scan->key.xid,
		.n = scan->key.n,
		.table = scan->table,
		.tid = scan->tuple->t_self,
		.acked = was ? was->hooks : NULL
	};

	if (was != NULL && was->done)
		return NULL;
	return make_event(scan->tuple, RelationGetDescr(scan->heap), &place);
}

QueuePlace
backlog_park(QueuedEvent *event)
{
	QueuePlace	place = event->place;

	place.queued_at = event->queued_at;
	count_bytes(event, false);
	pfree(event);
	return place;
}

/*
 * Nothing moves the rows of a queue table, which is not emptied either while
 * one of them is outstanding; but somebody may have rewritten it by hand.
 */
QueuedEvent *
backlog_unpark(const QueuePlace *place)
{
	Relation	relation = table_open(queue_table(place->table), AccessShareLock);
	TupleDesc	desc = RelationGetDescr(relation);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	QueuedEvent *event = NULL;
	ItemPointerData tid = place->tid;

	if (table_tuple_fetch_row_version(relation, &tid,
									  GetActiveSnapshot(), slot))
	{
		bool		should_free;
		HeapTuple	tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
		bool		isnull;

		if (DatumGetUInt64(heap_getattr(tuple, Anum_queue_xid, desc, &isnull)) == place->xid &&
			DatumGetInt32(heap_getattr(tuple, Anum_queue_n, desc, &isnull)) == place->n)
			event = make_event(tuple, desc, place);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, AccessShareLock);
	if (event == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("queue table \"queue_%d\" was rewritten while in use", place->table)));
	event->queued_at = place->queued_at;
	return event;
}

/* A page of the window under construction. */
typedef struct WindowPage
{
	QueuedEvent **events;
	int			n;
	int			max;
	Size		bytes;
	Size		max_bytes;
	RowKey		last;			/* the last row looked at */
	XLogRecPtr	safe_at;		/* WAL to flush before anything is announced */
	bool		full;
} WindowPage;

/* Add the rows of a range of transactions, of all tables, in order. */
static void
read_range(WindowPage *page, TableScan *scans, int nscans, XidRange range, int32 after_n,
		   Snapshot snapshot)
{
	for (int i = 0; i < nscans; i++)
		scan_begin(&scans[i], range, after_n, snapshot);

	while (!page->full)
	{
		TableScan  *first = NULL;

		for (int i = 0; i < nscans; i++)
		{
			if (HeapTupleIsValid(scans[i].tuple) &&
				(first == NULL || compare_keys(scans[i].key, first->key) < 0))
				first = &scans[i];
		}
		if (first == NULL)
			break;

		if (!instant_includes(&since, first->key.xid) &&
			instant_includes(&until, first->key.xid))
		{
			QueuedEvent *event = scanned_event(first);

			if (event != NULL)
			{
				page->safe_at = Max(page->safe_at, commit_lsn(first->tuple));
				page->events[page->n++] = event;
				page->bytes += event->size;
				page->full = page->n >= page->max || page->bytes >= page->max_bytes;
			}
			page->last = first->key;
		}
		scan_next(first);
	}

	for (int i = 0; i < nscans; i++)
		systable_endscan_ordered(scans[i].scan);
}

/* Add the rows of the window that come after the last one read. */
static void
read_window(WindowPage *page, TableScan *scans, int nscans, Snapshot snapshot)
{
	XidRange   *ranges = palloc(sizeof(XidRange) * (since.nrunning + 1));
	int			nranges = instant_window(&since, &until, ranges);

	for (int i = 0; i < nranges && !page->full; i++)
	{
		XidRange	range = ranges[i];

		if (last.xid >= range.below)
			continue;
		if (last.xid >= range.from)
		{
			/* The rest of the transaction where the last page ended. */
			read_range(page, scans, nscans, (XidRange)
					   {
						   last.xid, last.xid + 1
					   }, last.n, snapshot);
			range.from = last.xid + 1;
		}
		if (!page->full && range.from < range.below)
			read_range(page, scans, nscans, range, -1, snapshot);
	}
}

static int
compare_events(const void *a, const void *b)
{
	const QueuedEvent *x = *(QueuedEvent *const *) a;
	const QueuedEvent *y = *(QueuedEvent *const *) b;

	if (x->queued_at != y->queued_at)
		return x->queued_at < y->queued_at ? -1 : 1;
	return compare_keys((RowKey) {x->place.xid, x->place.n}, (RowKey) {y->place.xid, y->place.n});
}

/*
 * Transactions in the order in which they queued last, that is, committed;
 * the events of each in theirs.  The page comes ordered by transaction.
 *
 * Times are made to differ, so that wherever events wait from here on their
 * order is known.
 */
static void
sort_page(WindowPage *page)
{
	static TimestampTz latest = 0;

	for (int first = 0, below; first < page->n; first = below)
	{
		TimestampTz queued_at = page->events[first]->queued_at;

		for (below = first + 1;
			 below < page->n && page->events[below]->place.xid == page->events[first]->place.xid; below++)
			queued_at = Max(queued_at, page->events[below]->queued_at);
		for (int i = first; i < below; i++)
			page->events[i]->queued_at = queued_at;
	}
	qsort(page->events, page->n, sizeof(QueuedEvent *), compare_events);

	for (int i = 0; i < page->n; i++)
	{
		QueuedEvent *event = page->events[i];

		/* Unless the clock was set back. */
		if (event->queued_at <= latest && latest - event->queued_at < USECS_PER_SEC)
			event->queued_at = latest + 1;
		latest = event->queued_at;
	}
}

int
backlog_read(int max_events, Size max_bytes, void (*take) (QueuedEvent *event))
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hooks read",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScan	scans[QUEUE_TABLES];
	int			nscans = 0;
	WindowPage	page = {0};

	if (!in_window)
	{
		instant_take(&until, snapshot);
		in_window = true;
		last = (RowKey)
		{
			0, 0
		};
	}

	page.last = last;
	page.max = max_events;
	page.max_bytes = max_bytes;
	page.events = palloc(sizeof(QueuedEvent *) * max_events);

	for (int i = 0; i < QUEUE_TABLES; i++)
	{
		if (scan_open(&scans[nscans], i))
			nscans++;
	}
	if (nscans > 0)
		read_window(&page, scans, nscans, snapshot);
	for (int i = 0; i < nscans; i++)
		scan_close(&scans[i]);
	UnregisterSnapshot(snapshot);

	if (!XLogRecPtrIsInvalid(page.safe_at))
		XLogFlush(page.safe_at);

	/* Nothing can fail from here on: the page is ours. */
	last = page.last;
	if (!page.full)
		instant_move();
	sort_page(&page);
	for (int i = 0; i < page.n; i++)
		outstanding[page.events[i]->place.table]++;
	MemoryContextSwitchTo(previous);
	for (int i = 0; i < page.n; i++)
		take(page.events[i]);
	MemoryContextDelete(context);

	/* The old backlog is read; what was done of it matters no more. */
	if (acked != NULL && !in_window)
	{
		acked_destroy(acked);
		acked = NULL;
	}
	return page.n;
}

bool
backlog_has_more(void)
{
	return in_window;
}

/* ----------
 * Rotation
 * ----------
 */

static BlockNumber
table_blocks(Oid table)
{
	Relation	relation = table_open(table, AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(relation);

	table_close(relation, AccessShareLock);
	return blocks;
}

/* The next table that is empty; the current one when there is none. */
static int
next_empty(void)
{
	for (int i = 1; i < QUEUE_TABLES; i++)
	{
		int			next = (current + i) % QUEUE_TABLES;

		if (table_blocks(queue_table(next)) == 0 && table_blocks(queue_ack_table(next)) == 0)
			return next;
	}
	return current;
}

/*
 * Sessions append to another table from now on, if one is empty.  A prepared
 * transaction keeps one from being emptied; the other two then take turns.
 */
static void
switch_current(bool now)
{
	int			next;
	BlockNumber blocks = table_blocks(queue_table(current));
	TimestampTz time = GetCurrentTimestamp();

	if (blocks == 0)
	{
		current_since = time;
		return;
	}
	if (!now &&
		(int64) blocks * BLCKSZ < (int64) hooks_rotation_size * 1024 &&
		!TimestampDifferenceExceeds(current_since, time, hooks_rotation_age * 1000))
		return;
	next = next_empty();
	if (next == current)
		return;

	current = next;
	current_since = time;
	pg_atomic_write_u32(&shared_my_slot()->current_queue, current);
}

/* Lock a table against everybody, if nobody else has it locked at all. */
static Relation
lock_alone(Oid table)
{
	if (!ConditionalLockRelationOid(table, AccessExclusiveLock))
		return NULL;
	return table_open(table, NoLock);
}

/*
 * Give a table, which we have locked alone, new and empty storage, as TRUNCATE
 * does, but for what concerns triggers, rights and logical decoding.
 */
static void
empty_storage(Relation relation)
{
	Oid			table = RelationGetRelid(relation);
	Oid			toast = relation->rd_rel->reltoastrelid;

	RELATION_SET_NEW_STORAGE(relation);
	if (OidIsValid(toast))
	{
		Relation	toast_relation = relation_open(toast, AccessExclusiveLock);

		RELATION_SET_NEW_STORAGE(toast_relation);
		table_close(toast_relation, NoLock);
	}
	REINDEX_EMPTY_RELATION(table);
}

/* Empty a queue table and its acks; false when something stands against it. */
static bool
empty_table(int number, void (*take) (QueuedEvent *event))
{
	Relation	queue = lock_alone(queue_table(number));
	Relation	ack = queue ? lock_alone(queue_ack_table(number)) : NULL;
	bool		emptied = false;

	if (queue && ack)
	{
		/*
		 * No open transaction has written here.  Read once more, for one that
		 * ended since we looked.
		 */
		do
			backlog_read(1024, SIZE_MAX, take);
		while (in_window && outstanding[number] == 0);

		if (outstanding[number] == 0 && !in_window)
		{
			empty_storage(queue);
			empty_storage(ack);
			emptied = true;
		}
	}
	if (ack)
		table_close(ack, NoLock);
	if (queue)
		table_close(queue, NoLock);
	return emptied;
}

int
backlog_rotate(bool now, void (*take) (QueuedEvent *event))
{
	int			emptied = 0;

	if (in_window)
		return 0;

	switch_current(now);
	for (int i = 0; i < QUEUE_TABLES; i++)
	{
		if (i != current && outstanding[i] == 0 && acks[i].n == 0 &&
			(table_blocks(queue_table(i)) > 0 || table_blocks(queue_ack_table(i)) > 0))
			emptied += empty_table(i, take);
	}
	return emptied;
}

bool
backlog_may_be_prepared(void)
{
	bool		may_be;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute("SELECT FROM pg_catalog.pg_prepared_xacts"
					" WHERE database OPERATOR(pg_catalog.=) pg_catalog.current_database()",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for prepared transactions");
	may_be = SPI_processed > 0;
	SPI_finish();
	return may_be;
}
