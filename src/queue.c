/*-------------------------------------------------------------------------
 *
 * queue.c
 *		Appending to the queue: what sessions do.
 *
 * The queue is append-only.  Rows are written straight into the heap and its
 * one index, without the executor: there are no user-defined expressions,
 * triggers or permissions on these tables.  They are kept out of logical
 * decoding, since they mean nothing elsewhere: where there is logical
 * decoding they are written one by one, because only that way can say so.
 *
 * The SQL in the database may be of another version than the library.  That
 * versions never do more to these tables than add columns that can be null is
 * what makes that safe: columns that we do not know are left null, and all of
 * an event is in those that have always been there.
 *
 * Which of the three tables is current is a hint in shared memory.  Writing
 * to another one is always correct; the hint only lets the worker empty the
 * others.  A session never waits for a table that the worker is emptying: it
 * takes the next one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "queue.h"
#include "shared.h"
#include "tables.h"

Oid
queue_table(int number)
{
	static const char *const names[QUEUE_TABLES] = {"queue_0", "queue_1", "queue_2"};

	return tables_machinery(names[number]);
}

Oid
queue_ack_table(int number)
{
	static const char *const names[QUEUE_TABLES] = {"ack_0", "ack_1", "ack_2"};

	return tables_machinery(names[number]);
}

static const char *const request_names[] = {
	[QUEUE_EVENT] = NULL,
	[QUEUE_REDELIVER] = "redeliver",
	[QUEUE_REPLAY] = "replay",
	[QUEUE_CANCEL] = "cancel",
	[QUEUE_RESUME] = "resume",
	[QUEUE_ACCOUNT] = "account",
	[QUEUE_REPORT] = "report",
};

QueueRequest
queue_request_parse(const char *name)
{
	for (size_t i = QUEUE_EVENT + 1; name != NULL && i < lengthof(request_names); i++)
	{
		if (strcmp(request_names[i], name) == 0)
			return (QueueRequest) i;
	}
	return QUEUE_EVENT;
}

QueueRow *
queue_row_make(MemoryContext context, const Event *event, const text *platform,
			   const struct varlena *data, const char *refused)
{
	Size		platform_size = platform ? MAXALIGN(VARSIZE_ANY(platform)) : 0;
	Size		data_size = data ? MAXALIGN(VARSIZE_ANY(data)) : 0;
	Size		refused_size = refused ? MAXALIGN(VARHDRSZ + strlen(refused)) : 0;
	Size		size = MAXALIGN(sizeof(QueueRow)) + platform_size + data_size + refused_size;
	QueueRow   *row = MemoryContextAlloc(context, size);
	char	   *place = (char *) row + MAXALIGN(sizeof(QueueRow));

	row->size = size;
	row->event_id = event->id;
	row->user_id = event->user_id;
	row->type = event->type;
	row->time = event->time;
	row->platform = NULL;
	row->data = NULL;
	row->refused = NULL;
	row->request = QUEUE_EVENT;
	row->target = NULL;
	memset(&row->hook_id, 0, sizeof(row->hook_id));

	if (platform)
	{
		row->platform = memcpy(place, platform, VARSIZE_ANY(platform));
		place += platform_size;
	}
	if (data)
	{
		row->data = memcpy(place, data, VARSIZE_ANY(data));
		place += data_size;
	}
	if (refused)
	{
		row->refused = (text *) place;
		SET_VARSIZE(row->refused, VARHDRSZ + strlen(refused));
		memcpy(VARDATA(row->refused), refused, strlen(refused));
	}
	return row;
}

/* Open a queue table if nobody else has it to himself; NULL otherwise. */
static Relation
try_open(int number, bool wait, bool *missing)
{
	Oid			table = queue_table(number);

	*missing = !OidIsValid(table);
	if (*missing)
		return NULL;
	if (wait)
		LockRelationOid(table, RowExclusiveLock);
	else if (!ConditionalLockRelationOid(table, RowExclusiveLock))
		return NULL;
	return try_relation_open(table, NoLock);
}

/* The current table, or whichever is not locked. */
static Relation
open_current(void)
{
	DatabaseSlot *slot = shared_my_slot();
	int			current = slot ? pg_atomic_read_u32(&slot->current_queue) : 0;
	bool		missing;
	Relation	relation;

	for (int i = 0; i < QUEUE_TABLES; i++)
	{
		relation = try_open((current + i) % QUEUE_TABLES, false, &missing);
		if (relation != NULL || missing)
			return relation;
	}

	/* Somebody has locked all three by hand. */
	return try_open(current, true, &missing);
}

/* Form the row's tuple. */
static HeapTuple
form_row(TupleDesc desc, const QueueRow *row, uint64 xid, TimestampTz now, bool new_hooks)
{
	int			natts = Max(desc->natts, Natts_queue);
	Datum	   *values = palloc0(sizeof(Datum) * natts);
	bool	   *nulls = palloc0(sizeof(bool) * natts);

	for (int i = Natts_queue; i < natts; i++)
		nulls[i] = true;
	values[Anum_queue_xid - 1] = UInt64GetDatum(xid);
	values[Anum_queue_n - 1] = Int32GetDatum(row->n);
	values[Anum_queue_queued_at - 1] = TimestampTzGetDatum(now);
	values[Anum_queue_event_id - 1] = UUIDPGetDatum(&row->event_id);
	values[Anum_queue_user_id - 1] = UUIDPGetDatum(&row->user_id);
	values[Anum_queue_event_type - 1] = CStringGetTextDatum(trigger_type_name(row->type));
	values[Anum_queue_event_time - 1] = TimestampTzGetDatum(row->time);
	values[Anum_queue_platform - 1] = PointerGetDatum(row->platform);
	nulls[Anum_queue_platform - 1] = row->platform == NULL;
	values[Anum_queue_data - 1] = PointerGetDatum(row->data);
	nulls[Anum_queue_data - 1] = row->data == NULL;
	values[Anum_queue_refused - 1] = PointerGetDatum(row->refused);
	nulls[Anum_queue_refused - 1] = row->refused == NULL;
	values[Anum_queue_new_hooks - 1] = BoolGetDatum(new_hooks);
	nulls[Anum_queue_request - 1] = nulls[Anum_queue_hook_id - 1] = row->request == QUEUE_EVENT;
	if (row->request != QUEUE_EVENT)
	{
		values[Anum_queue_request - 1] = CStringGetTextDatum(request_names[row->request]);
		values[Anum_queue_hook_id - 1] = UUIDPGetDatum(&row->hook_id);
	}
	nulls[Anum_queue_target - 1] = row->target == NULL;
	if (row->target != NULL)
		values[Anum_queue_target - 1] = CStringGetTextDatum(row->target);
	return heap_form_tuple(desc, values, nulls);
}

/* One by one, kept out of logical decoding. */
static void
insert_each(Relation relation, HeapTuple *tuples, int n)
{
	for (int i = 0; i < n; i++)
		heap_insert(relation, tuples[i], GetCurrentCommandId(true), TABLE_INSERT_NO_LOGICAL, NULL);
}

/* Many at once, which costs less but cannot be kept out of logical decoding. */
static void
insert_together(Relation relation, HeapTuple *tuples, int n)
{
	TupleTableSlot **slots = palloc(sizeof(TupleTableSlot *) * n);

	for (int i = 0; i < n; i++)
	{
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsHeapTuple);
		ExecStoreHeapTuple(tuples[i], slots[i], false);
	}
	heap_multi_insert(relation, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		tuples[i]->t_self = slots[i]->tts_tid;
		ExecDropSingleTupleTableSlot(slots[i]);
	}
}

/* Index entries for rows that were just inserted; indexes are on plain columns. */
static void
insert_index_entries(Relation relation, HeapTuple *tuples, int n)
{
	List	   *indexes = RelationGetIndexList(relation);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);

		for (int i = 0; i < n; i++)
		{
			Datum		values[INDEX_MAX_KEYS];
			bool		nulls[INDEX_MAX_KEYS];

			for (int k = 0; k < info->ii_NumIndexAttrs; k++)
				values[k] = heap_getattr(tuples[i], info->ii_IndexAttrNumbers[k],
										 RelationGetDescr(relation), &nulls[k]);
			index_insert(index, values, nulls, &tuples[i]->t_self, relation,
						 UNIQUE_CHECK_NO, false, info);
		}
		index_close(index, NoLock);
	}
}

bool
queue_append(QueueRow **rows, int nrows, bool new_hooks)
{
	uint64		xid = U64FromFullTransactionId(GetTopFullTransactionId());
	TimestampTz now = GetCurrentTimestamp();
	Relation	relation = open_current();
	bool		push_snapshot = !ActiveSnapshotSet();
	MemoryContext context;
	MemoryContext previous;
	HeapTuple  *tuples;

	if (relation == NULL)
		return false;

	context = AllocSetContextCreate(CurrentMemoryContext, "hooks append",
									ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(context);

	tuples = palloc(sizeof(HeapTuple) * nrows);
	for (int i = 0; i < nrows; i++)
		tuples[i] = form_row(RelationGetDescr(relation), rows[i], xid, now, new_hooks);

	/* At the end of a transaction there is none, and storing large values wants one. */
	if (push_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	if (nrows > 1 && !XLogLogicalInfoActive())
		insert_together(relation, tuples, nrows);
	else
		insert_each(relation, tuples, nrows);
	insert_index_entries(relation, tuples, nrows);
	if (push_snapshot)
		PopActiveSnapshot();

	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);

	/* The lock stays until the transaction ends: it tells that rows may come. */
	relation_close(relation, NoLock);
	return true;
}
