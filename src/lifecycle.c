/*-------------------------------------------------------------------------
 *
 * lifecycle.c
 *		From a change of a stream's row to stream_start or stream_end.
 *
 * hooks.on_stream() is an AFTER INSERT OR UPDATE row trigger of tables where
 * an application keeps its streams.  A stream is live or over, as a column of
 * its row says: a status, or a time at which it has ended.  When that changes,
 * the event is announced in the same transaction (trigger.h).
 *
 * hooks.stream remembers what was announced of a stream, so that each is
 * announced once, whatever other states its row goes through, and when each
 * user's last stream has ended, so that one that is back within "min_gap" is
 * taken for the same.  What cannot be remembered is decided by the row alone:
 * like the trigger on event tables this one never raises an error for what it
 * finds.  Values become text and JSON as the user who changes the row, since
 * the types may be anybody's; only hooks.stream is used as its owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "lifecycle.h"
#include "tables.h"
#include "trigger.h"

PG_FUNCTION_INFO_V1(hooks_on_stream);

/* The trigger's arguments; hooks.attach_lifecycle() writes them. */
enum
{
	ARGUMENT_ID,				/* column that tells streams apart; '': one per user */
	ARGUMENT_USER,
	ARGUMENT_STATUS,
	ARGUMENT_STARTED,			/* values of status, text[]; '': live while status is null */
	ARGUMENT_ENDED,				/* text[]; '': all others */
	ARGUMENT_MIN_GAP,			/* seconds */
	ARGUMENT_COLUMNS,			/* what else events have, text[] */
	ARGUMENTS
};

/* A list of texts. */
typedef struct Texts
{
	int			n;
	Datum	   *values;
} Texts;

typedef struct StreamTable
{
	Oid			trigger;		/* key */
	Oid			table;
	bool		valid;
	MemoryContext context;		/* of all below */
	Oid			root;			/* the table that is partitioned, else the same */
	AttrNumber	id;				/* 0: there is none */
	AttrNumber	user;
	AttrNumber	status;
	bool		by_time;		/* status is the time when it has ended */
	Texts		started;
	Texts		ended;
	bool		others_ended;	/* whatever is not in "started" */
	double		min_gap;		/* seconds */
	Texts		columns;
	AttrNumber *column;			/* 0: it is not there */
	bool		unusable;
} StreamTable;

typedef enum StreamState
{
	STREAM_LIVE,
	STREAM_OVER,
	STREAM_BETWEEN				/* as it was before, whatever that is */
} StreamState;

/* What is to be remembered of a stream, and what was. */
typedef struct Memory
{
	const StreamTable *table;
	const char *stream;
	pg_uuid_t	user;
	StreamState state;			/* of the row now */
	bool		was_live;		/* as the row said before */
	int			announce;		/* result: a TriggerType, or TRIGGER_TYPE_UNKNOWN */
} Memory;

/* The data of an event to be. */
typedef struct Metadata
{
	const StreamTable *table;
	TupleTableSlot *slot;
	const char *stream;
	TriggerType type;
	Jsonb	   *result;
} Metadata;

static HTAB *stream_tables = NULL;

void
lifecycle_invalidate(Oid relation)
{
	HASH_SEQ_STATUS status;
	StreamTable *table;

	if (stream_tables == NULL)
		return;
	hash_seq_init(&status, stream_tables);
	while ((table = hash_seq_search(&status)) != NULL)
	{
		if (!OidIsValid(relation) || table->table == relation)
			table->valid = false;
	}
}

/* ----------
 * The table
 * ----------
 */

static Texts
parse_texts(const char *argument)
{
	Texts		texts = {0};
	Datum		array;
	bool	   *nulls;

	if (*argument == '\0')
		return texts;
	array = OidInputFunctionCall(F_ARRAY_IN, (char *) argument, TEXTOID, -1);
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &texts.values, &nulls, &texts.n);
	return texts;
}

/* A column by name; 0 when there is none. */
static AttrNumber
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && namestrcmp(&attribute->attname, name) == 0)
			return attribute->attnum;
	}
	return 0;
}

static void
say_unusable(const TriggerData *data, const char *column)
{
	ereport(LOG,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("hooks cannot tell when streams in table \"%s\" start and end: column \"%s\" is not as it was",
					RelationGetRelationName(data->tg_relation), column),
			 errhint("Use hooks.attach_lifecycle() to say which columns hold what.")));
}

/* Settle what the trigger's arguments mean for the table as it is now. */
static void
resolve(StreamTable *table, const TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	char	  **arguments = data->tg_trigger->tgargs;
	List	   *ancestors = get_partition_ancestors(RelationGetRelid(data->tg_relation));
	MemoryContext previous;
	const char *wrong = NULL;

	if (table->context == NULL)
		table->context = AllocSetContextCreate(TopMemoryContext, "hooks stream table", ALLOCSET_SMALL_SIZES);
	MemoryContextReset(table->context);
	table->table = RelationGetRelid(data->tg_relation);
	table->root = ancestors != NIL ? llast_oid(ancestors) : table->table;
	table->unusable = data->tg_trigger->tgnargs != ARGUMENTS;
	if (!table->unusable)
	{
		previous = MemoryContextSwitchTo(table->context);
		table->by_time = *arguments[ARGUMENT_STARTED] == '\0';
		table->others_ended = *arguments[ARGUMENT_ENDED] == '\0';
		table->started = parse_texts(arguments[ARGUMENT_STARTED]);
		table->ended = parse_texts(arguments[ARGUMENT_ENDED]);
		table->min_gap = strtod(arguments[ARGUMENT_MIN_GAP], NULL);
		table->columns = parse_texts(arguments[ARGUMENT_COLUMNS]);
		table->column = palloc0(sizeof(AttrNumber) * Max(table->columns.n, 1));
		MemoryContextSwitchTo(previous);

		table->id = find_column(desc, arguments[ARGUMENT_ID]);
		table->user = find_column(desc, arguments[ARGUMENT_USER]);
		table->status = find_column(desc, arguments[ARGUMENT_STATUS]);
		for (int i = 0; i < table->columns.n; i++)
			table->column[i] = find_column(desc, TextDatumGetCString(table->columns.values[i]));
		if (table->user == 0 ||
			getBaseType(TupleDescAttr(desc, table->user - 1)->atttypid) != UUIDOID)
			wrong = arguments[ARGUMENT_USER];
		else if (table->status == 0)
			wrong = arguments[ARGUMENT_STATUS];
		else if (table->id == 0 && *arguments[ARGUMENT_ID] != '\0')
			wrong = arguments[ARGUMENT_ID];
	}
	if (wrong != NULL)
	{
		say_unusable(data, wrong);
		table->unusable = true;
	}
	table->valid = true;
}

static StreamTable *
find_table(const TriggerData *data)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(StreamTable)};
	StreamTable *table;
	bool		found;

	trigger_watch_relations();
	if (stream_tables == NULL)
		stream_tables = hash_create("hooks stream tables", 8, &control, HASH_ELEM | HASH_BLOBS);
	table = hash_search(stream_tables, &data->tg_trigger->tgoid, HASH_ENTER, &found);
	if (!found)
	{
		table->valid = false;
		table->context = NULL;
	}
	if (!table->valid)
		resolve(table, data);
	return table;
}

/* ----------
 * States
 * ----------
 */

static bool
contains(const Texts *texts, const char *value)
{
	size_t		length = strlen(value);

	for (int i = 0; i < texts->n; i++)
	{
		text	   *one = DatumGetTextPP(texts->values[i]);

		if (VARSIZE_ANY_EXHDR(one) == length && memcmp(VARDATA_ANY(one), value, length) == 0)
			return true;
	}
	return false;
}

/* A column as text, or NULL. */
static char *
column_text(TupleTableSlot *slot, AttrNumber column)
{
	Oid			output;
	bool		is_varlena;
	bool		isnull;
	Datum		value = slot_getattr(slot, column, &isnull);

	if (isnull)
		return NULL;
	getTypeOutputInfo(TupleDescAttr(slot->tts_tupleDescriptor, column - 1)->atttypid, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

static StreamState
state_of(const StreamTable *table, TupleTableSlot *slot)
{
	char	   *status;
	bool		isnull;

	if (table->by_time)
	{
		(void) slot_getattr(slot, table->status, &isnull);
		return isnull ? STREAM_LIVE : STREAM_OVER;
	}
	status = column_text(slot, table->status);
	if (status != NULL && contains(&table->started, status))
		return STREAM_LIVE;
	if (table->others_ended || (status != NULL && contains(&table->ended, status)))
		return STREAM_OVER;
	return STREAM_BETWEEN;
}

/* Do both rows say the same, byte by byte? */
static bool
same_status(const StreamTable *table, TupleTableSlot *old, TupleTableSlot *new)
{
	Form_pg_attribute attribute = TupleDescAttr(new->tts_tupleDescriptor, table->status - 1);
	bool		old_null;
	bool		new_null;
	Datum		old_value = slot_getattr(old, table->status, &old_null);
	Datum		new_value = slot_getattr(new, table->status, &new_null);

	if (old_null || new_null)
		return old_null && new_null;
	return datum_image_eq(old_value, new_value, attribute->attbyval, attribute->attlen);
}

/* ----------
 * Memory
 * ----------
 */

/* The first column of the first row; false when that is null, or there is none. */
static bool
ask(const char *query, int nargs, Oid *types, Datum *values, Datum *result)
{
	bool		isnull;

	if (SPI_execute_with_args(query, nargs, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not remember a stream");
	if (SPI_processed == 0 || SPI_tuptable == NULL)
		return false;
	*result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return !isnull;
}

/* Has the user's last stream in this table ended just now? */
static bool
is_back(const Memory *memory)
{
	Oid			types[] = {OIDOID, UUIDOID};
	Datum		values[] = {ObjectIdGetDatum(memory->table->root), UUIDPGetDatum(&memory->user)};
	Datum		ended;

	return memory->table->min_gap > 0 &&
		ask("SELECT pg_catalog.max(ended_at) FROM hooks.stream"
			" WHERE relation OPERATOR(pg_catalog.=) $1 AND user_id OPERATOR(pg_catalog.=) $2",
			lengthof(types), types, values, &ended) &&
		fabs((double) (GetCurrentTimestamp() - DatumGetTimestampTz(ended))) < memory->table->min_gap * 1e6;
}

/* Note the stream's state, and that its end is announced, if it is. */
static void
note(const Memory *memory)
{
	Oid			types[] = {OIDOID, TEXTOID, UUIDOID, BOOLOID, TIMESTAMPTZOID};
	Datum		values[] = {ObjectIdGetDatum(memory->table->root), CStringGetTextDatum(memory->stream),
		UUIDPGetDatum(&memory->user), BoolGetDatum(memory->state == STREAM_LIVE),
	TimestampTzGetDatum(GetCurrentTimestamp())};
	char		nulls[] = {' ', ' ', ' ', ' ', memory->announce == TRIGGER_STREAM_END ? ' ' : 'n', '\0'};

	if (SPI_execute_with_args("INSERT INTO hooks.stream AS s (relation, stream, user_id, live, ended_at)"
							  " VALUES ($1, $2, $3, $4, $5)"
							  " ON CONFLICT ON CONSTRAINT stream_pkey DO UPDATE"
							  " SET user_id = excluded.user_id, live = excluded.live,"
							  " changed_at = excluded.changed_at,"
							  " ended_at = coalesce(excluded.ended_at, s.ended_at)",
							  lengthof(types), types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not remember a stream");
}

/* Decide what is to be announced, by what is remembered, and remember it. */
static void
remember(void *arg)
{
	Memory	   *memory = arg;
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(memory->table->root), CStringGetTextDatum(memory->stream)};
	bool		is_live = memory->state == STREAM_LIVE;
	bool		was_live = memory->was_live;
	TablesUser	saved;
	Datum		live;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	tables_act_as_owner(tables_machinery("stream"), &saved);
	if (ask("SELECT live FROM hooks.stream"
			" WHERE relation OPERATOR(pg_catalog.=) $1 AND stream OPERATOR(pg_catalog.=) $2",
			lengthof(types), types, values, &live))
		was_live = DatumGetBool(live);
	if (was_live != is_live)
	{
		memory->announce = is_live ? TRIGGER_STREAM_START : TRIGGER_STREAM_END;
		if (is_back(memory))
			memory->announce = TRIGGER_TYPE_UNKNOWN;
		note(memory);
	}
	else
		memory->announce = TRIGGER_TYPE_UNKNOWN;
	tables_act_done(&saved);
	SPI_finish();
}

/* Streams that were over long ago are forgotten, a few at a time. */
static void
forget(void *arg)
{
	TablesUser	saved;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	tables_act_as_owner(tables_machinery("stream"), &saved);
	SPI_execute("DELETE FROM hooks.stream WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
				"SELECT s.ctid FROM hooks.stream AS s WHERE NOT s.live"
				" AND s.changed_at OPERATOR(pg_catalog.<) (pg_catalog.now()"
				" OPERATOR(pg_catalog.-) '7 days'::pg_catalog.interval)"
				" ORDER BY s.changed_at LIMIT 100 FOR UPDATE SKIP LOCKED))", false, 0);
	tables_act_done(&saved);
	SPI_finish();
}

/* ----------
 * Announcing
 * ----------
 */

/* {"livestream_id": …, "started_at" or "stopped_at": …} and the columns that were asked for. */
static void
build(void *arg)
{
	Metadata   *metadata = arg;
	const StreamTable *table = metadata->table;
	TupleDesc	desc = metadata->slot->tts_tupleDescriptor;
	int			n = 0;
	int			most = 4 + 2 * table->columns.n;
	Oid		   *types = palloc(sizeof(Oid) * most);
	Datum	   *values = palloc(sizeof(Datum) * most);
	char	   *nulls = palloc0(most + 1);
	StringInfoData query;
	MemoryContext caller = CurrentMemoryContext;
	Datum		result;

#define ADD(type, value, isnull) \
	(types[n] = (type), values[n] = (value), nulls[n] = (isnull) ? 'n' : ' ', n++)

	ADD(TEXTOID, CStringGetTextDatum("livestream_id"), false);
	ADD(TEXTOID, metadata->stream ? CStringGetTextDatum(metadata->stream) : (Datum) 0, metadata->stream == NULL);
	ADD(TEXTOID, CStringGetTextDatum(metadata->type == TRIGGER_STREAM_START ? "started_at" : "stopped_at"), false);
	ADD(TIMESTAMPTZOID, TimestampTzGetDatum(GetCurrentTimestamp()), false);
	for (int i = 0; i < table->columns.n; i++)
	{
		bool		isnull = true;
		Datum		value = (Datum) 0;
		Oid			type = TEXTOID;

		if (table->column[i] != 0)
		{
			value = slot_getattr(metadata->slot, table->column[i], &isnull);
			type = TupleDescAttr(desc, table->column[i] - 1)->atttypid;
		}
		ADD(TEXTOID, table->columns.values[i], false);
		ADD(type, value, isnull);
	}
#undef ADD

	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(");
	for (int i = 0; i < n; i++)
		appendStringInfo(&query, "%s$%d", i ? ", " : "", i + 1);
	appendStringInfoString(&query, "))");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute_with_args(query.data, n, types, values, nulls, true, 1) == SPI_OK_SELECT && SPI_processed == 1)
	{
		bool		isnull;
		MemoryContext previous = MemoryContextSwitchTo(caller);

		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		metadata->result = isnull ? NULL : DatumGetJsonbPCopy(result);
		MemoryContextSwitchTo(previous);
	}
	SPI_finish();
}

/* Call a function that may fail; what it says is for the log, but a cancel is for the statement. */
static bool
try(const TriggerData *data, void (*function) (void *arg), void *arg)
{
	ErrorData  *error = tables_try(function, arg);

	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("a stream in table \"%s\" is announced by its row alone: %s",
					RelationGetRelationName(data->tg_relation), error->message)));
	FreeErrorData(error);
	return false;
}

static void
announce(const TriggerData *data, const Memory *memory, TupleTableSlot *slot)
{
	Metadata	metadata = {memory->table, slot, memory->table->id ? memory->stream : NULL, memory->announce, NULL};

	(void) try(data, build, &metadata);
	(void) trigger_announce(&memory->user, memory->announce, (struct varlena *) metadata.result);
	if (memory->announce == TRIGGER_STREAM_END)
		(void) try(data, forget, NULL);
}

Datum
hooks_on_stream(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleTableSlot *slot;
	StreamTable *table;
	Memory		memory = {0};
	Datum		user;
	bool		updated;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		!(TRIGGER_FIRED_BY_INSERT(data->tg_event) || TRIGGER_FIRED_BY_UPDATE(data->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER INSERT OR UPDATE FOR EACH ROW", "hooks.on_stream"),
				 errhint("Use hooks.attach_lifecycle() to create the trigger.")));

	updated = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	slot = updated ? data->tg_newslot : data->tg_trigslot;
	table = find_table(data);
	if (table->unusable || (updated && same_status(table, data->tg_trigslot, slot)))
		return PointerGetDatum(NULL);

	user = slot_getattr(slot, table->user, &isnull);
	memory.table = table;
	memory.state = state_of(table, slot);
	memory.was_live = updated && state_of(table, data->tg_trigslot) == STREAM_LIVE;
	if (isnull || memory.state == STREAM_BETWEEN)
		return PointerGetDatum(NULL);
	/* A row that is new and over was never live, unless it comes from another partition. */
	if (!updated && memory.state == STREAM_OVER && table->root == table->table)
		return PointerGetDatum(NULL);

	memory.user = *DatumGetUUIDP(user);
	memory.stream = column_text(slot, table->id ? table->id : table->user);
	memory.announce = TRIGGER_TYPE_UNKNOWN;
	if (memory.stream == NULL)
		return PointerGetDatum(NULL);
	if (!try(data, remember, &memory) && memory.was_live != (memory.state == STREAM_LIVE))
		memory.announce = memory.state == STREAM_LIVE ? TRIGGER_STREAM_START : TRIGGER_STREAM_END;
	if (memory.announce != TRIGGER_TYPE_UNKNOWN)
		announce(data, &memory, slot);
	return PointerGetDatum(NULL);
}
