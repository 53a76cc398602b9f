/*-------------------------------------------------------------------------
 *
 * aside.c
 *		Deliveries that are aside: rows of hooks.delivery.  See aside.h.
 *
 * Rows are loaded in the order of (next_at, id), and each once: how far they
 * were loaded is remembered, so a load costs the rows that it returns, however
 * many wait, and however many dead rows a snapshot keeps from being removed.
 * Whatever is written comes after that place, wherever loading has come to by
 * then; rows that are about to be written again wait for that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "aside.h"
#include "settings.h"
#include "target.h"

/* Rows of deliveries that were given up, deleted at once. */
#define RETAIN_BATCH 2000

/* When a row is looked at again that is about to be written. */
#define UNWRITTEN_PAUSE (20 * 1000)

/* Names as the table and the view hooks.pending have them. */
static const char *const why_names[] = {
	[ASIDE_RETRY] = "retry",
	[ASIDE_HOST] = "host",
	[ASIDE_PAUSED] = "paused",
	[ASIDE_RESUMED] = "resumed",
	[ASIDE_REPLAY] = "replay",
	[ASIDE_ACCOUNT] = "account",
	[ASIDE_OUTBOX] = "outbox",
	[ASIDE_GIVEN_UP] = "given_up",
};

/* A change that waits to be written. */
typedef struct Change
{
	pg_uuid_t	id;				/* key */
	bool		remove;
	Aside		aside;
	QueuedEvent *event;			/* a copy, without data that are not written */
	char		status;			/* for simplehash */
} Change;

#define SH_PREFIX changes
#define SH_ELEMENT_TYPE Change
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY id
#define SH_HASH_KEY(tb, key) hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(tb, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static MemoryContext changes_context = NULL;
static changes_hash *changes = NULL;

static TimestampTz loaded_at = DT_NOBEGIN;	/* how far rows were loaded … */
static pg_uuid_t loaded_id;		/* … and, of that time, to which one */
static TimestampTz entered_at = DT_NOBEGIN; /* the last one that came too late for its time */
static TimestampTz due_at = DT_NOEND;

/* ----------
 * Columns
 * ----------
 */

/* In the order in which the statements below name them. */
enum
{
	COLUMN_ID,
	COLUMN_HOOK_ID,
	COLUMN_USER_ID,
	COLUMN_EVENT_ID,
	COLUMN_EVENT_TYPE,
	COLUMN_EVENT_TIME,
	COLUMN_PLATFORM,
	COLUMN_DATA,
	COLUMN_QUEUED_AT,
	COLUMN_WHY,
	COLUMN_NEXT_AT,
	COLUMN_PLACE,
	COLUMN_ATTEMPTS,
	COLUMN_PERHAPS_SENT,
	COLUMN_REPLAY,
	COLUMN_TAKEN,
	COLUMN_BEFORE,
	COLUMN_LAST_ERROR,
	COLUMN_LAST_STATUS,
	COLUMN_LAST_AT,
	COLUMN_TARGET,
	COLUMNS
};

#define COLUMN_LIST \
	"id, hook_id, user_id, event_id, event_type, event_time, platform, data, queued_at, why, next_at," \
	" place, attempts, perhaps_sent, replay, taken, before, last_error, last_status, last_at, target"

static const Oid column_arrays[COLUMNS] = {
	[COLUMN_ID] = UUIDARRAYOID,
	[COLUMN_HOOK_ID] = UUIDARRAYOID,
	[COLUMN_USER_ID] = UUIDARRAYOID,
	[COLUMN_EVENT_ID] = UUIDARRAYOID,
	[COLUMN_EVENT_TYPE] = TEXTARRAYOID,
	[COLUMN_EVENT_TIME] = TIMESTAMPTZARRAYOID,
	[COLUMN_PLATFORM] = TEXTARRAYOID,
	[COLUMN_DATA] = JSONBARRAYOID,
	[COLUMN_QUEUED_AT] = TIMESTAMPTZARRAYOID,
	[COLUMN_WHY] = TEXTARRAYOID,
	[COLUMN_NEXT_AT] = TIMESTAMPTZARRAYOID,
	[COLUMN_PLACE] = INT8ARRAYOID,
	[COLUMN_ATTEMPTS] = INT4ARRAYOID,
	[COLUMN_PERHAPS_SENT] = BOOLARRAYOID,
	[COLUMN_REPLAY] = BOOLARRAYOID,
	[COLUMN_TAKEN] = TIMESTAMPTZARRAYOID,
	[COLUMN_BEFORE] = TIMESTAMPTZARRAYOID,
	[COLUMN_LAST_ERROR] = TEXTARRAYOID,
	[COLUMN_LAST_STATUS] = INT4ARRAYOID,
	[COLUMN_LAST_AT] = TIMESTAMPTZARRAYOID,
	[COLUMN_TARGET] = TEXTARRAYOID,
};

static Datum
text_datum(const char *text)
{
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

static Datum
jsonb_datum(const QueuedEvent *event)
{
	Jsonb	   *jsonb;

	if (event->event.data == NULL)
		return (Datum) 0;
	jsonb = palloc(VARHDRSZ + event->data_size);
	SET_VARSIZE(jsonb, VARHDRSZ + event->data_size);
	memcpy(&jsonb->root, event->event.data, event->data_size);
	return JsonbPGetDatum(jsonb);
}

/* One column's value of a change. */
static Datum
change_value(const Change *change, int column, bool *isnull)
{
	const Aside *aside = &change->aside;
	const Event *event = &change->event->event;

	*isnull = false;
	switch (column)
	{
		case COLUMN_ID:
			return UUIDPGetDatum(&aside->id);
		case COLUMN_HOOK_ID:
			return UUIDPGetDatum(&aside->hook_id);
		case COLUMN_USER_ID:
			return UUIDPGetDatum(&event->user_id);
		case COLUMN_EVENT_ID:
			return UUIDPGetDatum(&event->id);
		case COLUMN_EVENT_TYPE:
			return text_datum(trigger_type_name(event->type));
		case COLUMN_EVENT_TIME:
			return TimestampTzGetDatum(event->time);
		case COLUMN_PLATFORM:
			*isnull = event->platform == NULL;
			return text_datum(event->platform);
		case COLUMN_DATA:
			*isnull = event->data == NULL;
			return jsonb_datum(change->event);
		case COLUMN_QUEUED_AT:
			return TimestampTzGetDatum(change->event->queued_at);
		case COLUMN_WHY:
			return text_datum(why_names[aside->why]);
		case COLUMN_NEXT_AT:
			*isnull = aside->why == ASIDE_GIVEN_UP;
			return TimestampTzGetDatum(aside->next_at);
		case COLUMN_PLACE:
			*isnull = aside->place < 0;
			return Int64GetDatum(aside->place);
		case COLUMN_ATTEMPTS:
			return Int32GetDatum(aside->attempts);
		case COLUMN_PERHAPS_SENT:
			return BoolGetDatum(aside->perhaps_sent);
		case COLUMN_REPLAY:
			return BoolGetDatum(aside->replay);
		case COLUMN_TAKEN:
			*isnull = TIMESTAMP_IS_NOBEGIN(aside->taken);
			return TimestampTzGetDatum(aside->taken);
		case COLUMN_BEFORE:
			*isnull = TIMESTAMP_IS_NOBEGIN(aside->before);
			return TimestampTzGetDatum(aside->before);
		case COLUMN_LAST_ERROR:
			*isnull = aside->error == NULL;
			return text_datum(aside->error);
		case COLUMN_LAST_STATUS:
			*isnull = aside->status == 0;
			return Int32GetDatum(aside->status);
		case COLUMN_LAST_AT:
			*isnull = TIMESTAMP_IS_NOBEGIN(aside->last_at);
			return TimestampTzGetDatum(aside->last_at);
		case COLUMN_TARGET:
			*isnull = aside->target == NULL;
			return text_datum(aside->target);
	}
	pg_unreachable();
}

static bool
why_parse(const char *name, AsideWhy *why)
{
	for (size_t i = 0; i < lengthof(why_names); i++)
	{
		if (strcmp(why_names[i], name) == 0)
		{
			*why = (AsideWhy) i;
			return true;
		}
	}
	return false;
}

/* The values of a row, by the columns above. */
typedef struct Row
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];
} Row;

static void
get_row(HeapTuple tuple, TupleDesc desc, Row *row)
{
	for (int i = 0; i < COLUMNS; i++)
		row->values[i] = SPI_getbinval(tuple, desc, i + 1, &row->nulls[i]);
}

static TimestampTz
row_time(const Row *row, int column, TimestampTz otherwise)
{
	return row->nulls[column] ? otherwise : DatumGetTimestampTz(row->values[column]);
}

/* A row's delivery, in the current memory context; false when it makes no sense. */
static bool
row_aside(const Row *row, Aside *aside)
{
	memset(aside, 0, sizeof(*aside));
	aside->id = *DatumGetUUIDP(row->values[COLUMN_ID]);
	aside->hook_id = *DatumGetUUIDP(row->values[COLUMN_HOOK_ID]);
	aside->next_at = row_time(row, COLUMN_NEXT_AT, DT_NOEND);
	aside->place = row->nulls[COLUMN_PLACE] ? -1 : DatumGetInt64(row->values[COLUMN_PLACE]);
	aside->attempts = DatumGetInt32(row->values[COLUMN_ATTEMPTS]);
	aside->perhaps_sent = DatumGetBool(row->values[COLUMN_PERHAPS_SENT]);
	aside->replay = DatumGetBool(row->values[COLUMN_REPLAY]);
	aside->taken = row_time(row, COLUMN_TAKEN, DT_NOBEGIN);
	aside->before = row_time(row, COLUMN_BEFORE, DT_NOBEGIN);
	aside->last_at = row_time(row, COLUMN_LAST_AT, DT_NOBEGIN);
	if (!row->nulls[COLUMN_LAST_ERROR])
		aside->error = TextDatumGetCString(row->values[COLUMN_LAST_ERROR]);
	if (!row->nulls[COLUMN_LAST_STATUS])
		aside->status = DatumGetInt32(row->values[COLUMN_LAST_STATUS]);
	if (!row->nulls[COLUMN_TARGET] &&
		(aside->target = target_name(TextDatumGetCString(row->values[COLUMN_TARGET]))) == NULL)
		return false;
	return why_parse(TextDatumGetCString(row->values[COLUMN_WHY]), &aside->why);
}

/* A row's event; NULL when it makes no sense. */
static QueuedEvent *
row_event(const Row *row)
{
	Event		event = {0};
	Size		data_size = 0;
	char	   *type_name = TextDatumGetCString(row->values[COLUMN_EVENT_TYPE]);
	int			type = trigger_type_parse(type_name, strlen(type_name));
	QueuedEvent *queued;

	if (type == TRIGGER_TYPE_UNKNOWN)
		return NULL;
	event.id = *DatumGetUUIDP(row->values[COLUMN_EVENT_ID]);
	event.user_id = *DatumGetUUIDP(row->values[COLUMN_USER_ID]);
	event.type = type;
	event.time = DatumGetTimestampTz(row->values[COLUMN_EVENT_TIME]);
	if (!row->nulls[COLUMN_PLATFORM])
		event.platform = TextDatumGetCString(row->values[COLUMN_PLATFORM]);
	if (!row->nulls[COLUMN_DATA])
	{
		Jsonb	   *data = DatumGetJsonbP(row->values[COLUMN_DATA]);

		event.data = &data->root;
		data_size = VARSIZE(data) - VARHDRSZ;
	}
	queued = backlog_event_make(&event, data_size, NULL);
	queued->queued_at = DatumGetTimestampTz(row->values[COLUMN_QUEUED_AT]);
	return queued;
}

/* ----------
 * Statements
 * ----------
 */

/* The table is ours and nobody alters it, so plans are made once. */
static SPIPlanPtr
planned(SPIPlanPtr *plan, const char *query, int nargs, const Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(query, nargs, unconstify(Oid *, types));

		if (made == NULL)
			elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(made);
		*plan = made;
	}
	return *plan;
}

static void
run(SPIPlanPtr plan, Datum *arguments, int expected)
{
	if (SPI_execute_plan(plan, arguments, NULL, false, 0) != expected)
		elog(ERROR, "could not execute a query on hooks.delivery");
}

static void
connect_spi(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

void
aside_open(void (*count) (const pg_uuid_t *user, int n),
		   void (*keep) (const pg_uuid_t *hook, const int64 *places, int n, TimestampTz first_at))
{
	connect_spi();
	if (SPI_execute("SELECT user_id, pg_catalog.count(*)::pg_catalog.int4 FROM hooks.delivery"
					" WHERE next_at IS NOT NULL GROUP BY user_id", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count deliveries");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		count(DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull)),
			  DatumGetInt32(SPI_getbinval(row, desc, 2, &isnull)));
	}

	if (SPI_execute("SELECT hook_id, pg_catalog.array_agg(place ORDER BY place),"
					" pg_catalog.min(next_at) FROM hooks.delivery"
					" WHERE place IS NOT NULL AND next_at IS NOT NULL GROUP BY hook_id",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count deliveries");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		ArrayType  *places = DatumGetArrayTypeP(SPI_getbinval(row, desc, 2, &isnull));

		/* An array of bigint without nulls is one of int64. */
		keep(DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull)),
			 (const int64 *) ARR_DATA_PTR(places),
			 ArrayGetNItems(ARR_NDIM(places), ARR_DIMS(places)),
			 DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull)));
	}
	SPI_finish();

	changes_context = AllocSetContextCreate(TopMemoryContext, "hooks changes of deliveries",
											ALLOCSET_DEFAULT_SIZES);
	loaded_at = entered_at = DT_NOBEGIN;
	due_at = DT_NOBEGIN;		/* not known: to be looked for */
}

/* ----------
 * Changes
 * ----------
 */

static Change *
change_of(const pg_uuid_t *id)
{
	Change	   *change;
	bool		found;

	if (changes == NULL)
		changes = changes_create(changes_context, 256, NULL);
	change = changes_insert(changes, *id, &found);
	if (!found)
		change->event = NULL;
	return change;
}

void
aside_put(const Aside *aside, const QueuedEvent *event)
{
	Change	   *change = change_of(&aside->id);
	MemoryContext previous = MemoryContextSwitchTo(changes_context);
	QueuedEvent *copy;
	Size		data_size = event->event.data ? MAXALIGN(event->data_size) : 0;

	change->remove = false;
	change->aside = *aside;
	if (aside->error)
		change->aside.error = pstrdup(aside->error);

	copy = palloc(sizeof(QueuedEvent) + data_size);
	*copy = *event;
	if (event->event.data)
		copy->event.data = memcpy((char *) copy + sizeof(QueuedEvent), event->event.data,
								  event->data_size);
	if (event->event.platform)
		copy->event.platform = pstrdup(event->event.platform);
	change->event = copy;
	MemoryContextSwitchTo(previous);
}

void
aside_remove(const pg_uuid_t *id)
{
	change_of(id)->remove = true;
}

bool
aside_has_changes(void)
{
	return changes != NULL && changes->members > 0;
}

/* One column at a time becomes an array. */
static Datum
column_array(Change **list, int n, int column)
{
	Datum	   *values = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc(sizeof(bool) * n);
	Oid			element = get_element_type(column_arrays[column]);
	int16		length;
	bool		by_value;
	char		align;
	int			lower_bound = 1;

	for (int i = 0; i < n; i++)
		values[i] = change_value(list[i], column, &nulls[i]);
	get_typlenbyvalalign(element, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower_bound, element, length,
											  by_value, align));
}

/* By the time, and those for which none is known by that of their events. */
static int
compare_changes(const void *a, const void *b)
{
	const Change *x = *(Change *const *) a;
	const Change *y = *(Change *const *) b;

	if (x->aside.next_at != y->aside.next_at)
		return x->aside.next_at < y->aside.next_at ? -1 : 1;
	if (x->event->queued_at != y->event->queued_at)
		return x->event->queued_at < y->event->queued_at ? -1 : 1;
	return memcmp(&x->id, &y->id, UUID_LEN);
}

/*
 * Whatever is written must come after what was loaded meanwhile, and after
 * others that came so late.
 */
static void
enter(Change **list, int n)
{
	qsort(list, n, sizeof(Change *), compare_changes);
	for (int i = 0; i < n; i++)
	{
		Aside	   *aside = &list[i]->aside;

		if (aside->why != ASIDE_GIVEN_UP && aside->next_at <= Max(loaded_at, entered_at))
			aside->next_at = entered_at = Max(loaded_at, entered_at) + 1;
	}
}

static void
write_puts(Change **list, int n)
{
	static SPIPlanPtr plan = NULL;
	Datum		arguments[COLUMNS];

	if (n == 0)
		return;
	for (int i = 0; i < COLUMNS; i++)
		arguments[i] = column_array(list, n, i);
	run(planned(&plan,
				"INSERT INTO hooks.delivery (" COLUMN_LIST ")"
				" SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2),"
				" pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5),"
				" pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
				" pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11),"
				" pg_catalog.unnest($12), pg_catalog.unnest($13), pg_catalog.unnest($14),"
				" pg_catalog.unnest($15), pg_catalog.unnest($16), pg_catalog.unnest($17),"
				" pg_catalog.unnest($18), pg_catalog.unnest($19), pg_catalog.unnest($20),"
				" pg_catalog.unnest($21)) r"
				" ON CONFLICT (id) DO UPDATE SET queued_at = excluded.queued_at,"
				" why = excluded.why, next_at = excluded.next_at, place = excluded.place,"
				" attempts = excluded.attempts, perhaps_sent = excluded.perhaps_sent,"
				" replay = excluded.replay, taken = excluded.taken, before = excluded.before,"
				" event_time = excluded.event_time, platform = excluded.platform, data ="
				" CASE excluded.why WHEN 'replay' THEN excluded.data ELSE delivery.data END,"
				" last_error = excluded.last_error, last_status = excluded.last_status,"
				" last_at = excluded.last_at",
				COLUMNS, column_arrays),
		arguments, SPI_OK_INSERT);
}

static Datum
ids_datum(const pg_uuid_t *ids, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = UUIDPGetDatum(&ids[i]);
	return PointerGetDatum(construct_array(values, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

static void
write_removals(Change **list, int n)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {UUIDARRAYOID};
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * Max(n, 1));
	Datum		argument;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		ids[i] = list[i]->id;
	argument = ids_datum(ids, n);
	run(planned(&plan, "DELETE FROM hooks.delivery WHERE id OPERATOR(pg_catalog.=) ANY ($1)",
				lengthof(types), types),
		&argument, SPI_OK_DELETE);
}

void
aside_write(void)
{
	changes_iterator iterator;
	Change	   *change;
	Change	  **puts;
	Change	  **removals;
	int			nputs = 0;
	int			nremovals = 0;

	if (!aside_has_changes())
		return;
	puts = palloc(sizeof(Change *) * changes->members);
	removals = palloc(sizeof(Change *) * changes->members);
	changes_start_iterate(changes, &iterator);
	while ((change = changes_iterate(changes, &iterator)) != NULL)
	{
		if (change->remove)
			removals[nremovals++] = change;
		else
			puts[nputs++] = change;
	}

	enter(puts, nputs);
	connect_spi();
	write_puts(puts, nputs);
	write_removals(removals, nremovals);
	SPI_finish();
}

void
aside_written(void)
{
	changes_iterator iterator;
	Change	   *change;

	if (changes == NULL)
		return;
	changes_start_iterate(changes, &iterator);
	while ((change = changes_iterate(changes, &iterator)) != NULL)
	{
		if (!change->remove && change->aside.why != ASIDE_GIVEN_UP)
			due_at = Min(due_at, change->aside.next_at);
	}
	MemoryContextReset(changes_context);
	changes = NULL;
}

/* ----------
 * Loading
 * ----------
 */

TimestampTz
aside_due_at(void)
{
	return due_at;
}

void
aside_load(TimestampTz now, int max, Size max_bytes,
		   void (*take) (const Aside *aside, QueuedEvent *event))
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {TIMESTAMPTZOID, UUIDOID, INT4OID};
	Datum		arguments[] = {
		TimestampTzGetDatum(loaded_at), UUIDPGetDatum(&loaded_id), Int32GetDatum(max)
	};
	Size		loaded = 0;
	uint64		n;

	connect_spi();
	run(planned(&plan,
				"SELECT " COLUMN_LIST " FROM hooks.delivery WHERE next_at IS NOT NULL"
				" AND ROW(next_at, id) OPERATOR(pg_catalog.>) ROW($1, $2)"
				" ORDER BY next_at, id LIMIT $3",
				lengthof(types), types),
		arguments, SPI_OK_SELECT);

	n = SPI_processed;
	due_at = DT_NOEND;
	for (uint64 i = 0; i < n; i++)
	{
		Row			row;
		Aside		aside;
		QueuedEvent *event;
		Change	   *change = NULL;

		get_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &row);
		if (DatumGetTimestampTz(row.values[COLUMN_NEXT_AT]) > now)
		{
			due_at = DatumGetTimestampTz(row.values[COLUMN_NEXT_AT]);
			break;
		}

		/* What is about to be written of it counts; others do not overtake it. */
		if (changes != NULL &&
			(change = changes_lookup(changes, *DatumGetUUIDP(row.values[COLUMN_ID]))) != NULL &&
			!change->remove)
		{
			due_at = now + UNWRITTEN_PAUSE;
			break;
		}
		loaded_at = DatumGetTimestampTz(row.values[COLUMN_NEXT_AT]);
		loaded_id = *DatumGetUUIDP(row.values[COLUMN_ID]);
		if (change != NULL)
			continue;
		if (row_aside(&row, &aside) && (event = row_event(&row)) != NULL)
		{
			loaded += event->size;
			take(&aside, event);
		}
		if (loaded >= max_bytes)
		{
			due_at = now;
			break;
		}
	}
	/* There may be more that are due. */
	if (n == max && TIMESTAMP_IS_NOEND(due_at))
		due_at = now;
	SPI_finish();
}

void
aside_load_again(const pg_uuid_t *ids, int n,
				 void (*take) (const Aside *aside, QueuedEvent *event))
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {UUIDARRAYOID, TIMESTAMPTZOID, UUIDOID};
	Datum		arguments[lengthof(types)] = {
		ids_datum(ids, n), TimestampTzGetDatum(loaded_at), UUIDPGetDatum(&loaded_id)
	};

	connect_spi();
	run(planned(&plan,
				"SELECT " COLUMN_LIST " FROM hooks.delivery WHERE id OPERATOR(pg_catalog.=) ANY ($1)"
				" AND ROW(next_at, id) OPERATOR(pg_catalog.<=) ROW($2, $3)"
				" ORDER BY next_at, id",
				lengthof(types), types),
		arguments, SPI_OK_SELECT);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Row			row;
		Aside		aside;
		QueuedEvent *event;

		get_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, &row);
		if (changes != NULL && changes_lookup(changes, *DatumGetUUIDP(row.values[COLUMN_ID])) != NULL)
			continue;
		if (row_aside(&row, &aside) && (event = row_event(&row)) != NULL)
			take(&aside, event);
	}
	SPI_finish();
}

bool
aside_find(const pg_uuid_t *id, Aside *aside, QueuedEvent **event)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {UUIDOID};
	MemoryContext context = CurrentMemoryContext;
	Datum		argument = UUIDPGetDatum(id);
	Change	   *change = changes ? changes_lookup(changes, *id) : NULL;
	bool		found;

	if (change != NULL)
	{
		*aside = change->aside;
		if (!change->remove && event != NULL)
		{
			*event = backlog_event_make(&change->event->event, change->event->data_size, NULL);
			(*event)->queued_at = change->event->queued_at;
		}
		return !change->remove;
	}
	connect_spi();
	run(planned(&plan,
				"SELECT " COLUMN_LIST " FROM hooks.delivery WHERE id OPERATOR(pg_catalog.=) $1",
				lengthof(types), types),
		&argument, SPI_OK_SELECT);
	found = SPI_processed > 0;
	if (found)
	{
		MemoryContext spi = MemoryContextSwitchTo(context);
		Row			row;

		get_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &row);
		found = row_aside(&row, aside);
		if (found && event != NULL)
			found = (*event = row_event(&row)) != NULL;
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return found;
}

/* The same for those that are not written yet, which came later; NULL: of all hooks. */
static void
bring_changes(AsideWhy why, AsideWhy becomes, const pg_uuid_t *hook, const pg_uuid_t *user,
			  TimestampTz from)
{
	changes_iterator iterator;
	Change	   *change;
	Change	  **found;
	int			n = 0;

	if (!aside_has_changes())
		return;
	found = palloc(sizeof(Change *) * changes->members);
	changes_start_iterate(changes, &iterator);
	while ((change = changes_iterate(changes, &iterator)) != NULL)
	{
		if (!change->remove && change->aside.why == why &&
			(hook == NULL || memcmp(&change->aside.hook_id, hook, UUID_LEN) == 0 ||
			 memcmp(&change->event->event.user_id, user, UUID_LEN) == 0))
			found[n++] = change;
	}
	qsort(found, n, sizeof(Change *), compare_changes);
	for (int i = 0; i < n; i++)
	{
		found[i]->aside.why = becomes;
		found[i]->aside.next_at = entered_at = Max(entered_at, from) + 1;
	}
	pfree(found);
}

/*
 * What waits for that reason, of a hook or else of a user, may go on: in the
 * order in which it came, a microsecond apart.  Returns when the first one may.
 */
static TimestampTz
bring_back(AsideWhy why, AsideWhy becomes, const pg_uuid_t *hook, const pg_uuid_t *user,
		   TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {UUIDOID, UUIDOID, TIMESTAMPTZOID, TEXTOID, TEXTOID};
	TimestampTz from = Max(now, Max(loaded_at, entered_at) + 1);
	Datum		arguments[] = {
		UUIDPGetDatum(hook), UUIDPGetDatum(user), TimestampTzGetDatum(from),
		CStringGetTextDatum(why_names[why]), CStringGetTextDatum(why_names[becomes])
	};

	connect_spi();
	run(planned(&plan,
				"UPDATE hooks.delivery d SET why = $5, next_at = $3 OPERATOR(pg_catalog.+)"
				" pg_catalog.make_interval(secs => o.n OPERATOR(pg_catalog./) 1000000.0)"
				" FROM (SELECT id, pg_catalog.row_number() OVER (ORDER BY queued_at, next_at, id) AS n"
				" FROM hooks.delivery WHERE why OPERATOR(pg_catalog.=) $4"
				" AND (hook_id OPERATOR(pg_catalog.=) $1 OR user_id OPERATOR(pg_catalog.=) $2)) o"
				" WHERE d.id OPERATOR(pg_catalog.=) o.id",
				lengthof(types), types),
		arguments, SPI_OK_UPDATE);
	if (SPI_processed > 0)
	{
		entered_at = from + (TimestampTz) SPI_processed;
		due_at = Min(due_at, from);
	}
	SPI_finish();
	bring_changes(why, becomes, hook, user, from);
	return from;
}

TimestampTz
aside_resume(const pg_uuid_t *hook, const pg_uuid_t *user, TimestampTz now)
{
	return bring_back(ASIDE_PAUSED, ASIDE_RESUMED, hook, user, now);
}

void
aside_wake_accounts(const pg_uuid_t *user, TimestampTz now)
{
	static const pg_uuid_t no_hook = {{0}};

	(void) bring_back(ASIDE_ACCOUNT, ASIDE_RETRY, &no_hook, user, now);
}

TimestampTz
aside_hurry(const pg_uuid_t *hook, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {UUIDOID, TIMESTAMPTZOID};
	TimestampTz from = Max(now, Max(loaded_at, entered_at) + 1);
	Datum		arguments[] = {UUIDPGetDatum(hook), TimestampTzGetDatum(from)};
	changes_iterator iterator;
	Change	   *change;

	connect_spi();
	run(planned(&plan,
				"UPDATE hooks.delivery SET next_at = $2 OPERATOR(pg_catalog.+)"
				" pg_catalog.make_interval(secs => place OPERATOR(pg_catalog./) 1000000.0)"
				" WHERE hook_id OPERATOR(pg_catalog.=) $1 AND place IS NOT NULL AND next_at IS NOT NULL"
				" AND why OPERATOR(pg_catalog.<>) 'outbox'",
				lengthof(types), types),
		arguments, SPI_OK_UPDATE);
	SPI_finish();
	due_at = Min(due_at, from);

	/* Those that are not written yet, too. */
	if (!aside_has_changes())
		return from;
	changes_start_iterate(changes, &iterator);
	while ((change = changes_iterate(changes, &iterator)) != NULL)
	{
		if (!change->remove && change->aside.why != ASIDE_GIVEN_UP &&
			change->aside.why != ASIDE_OUTBOX && change->aside.place >= 0 &&
			memcmp(&change->aside.hook_id, hook, UUID_LEN) == 0)
			change->aside.next_at = from + change->aside.place;
	}
	return from;
}

void
aside_release(TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {TIMESTAMPTZOID};
	TimestampTz from = Max(now, Max(loaded_at, entered_at) + 1);
	Datum		argument = TimestampTzGetDatum(from);

	/* In the order in which they would have come, a microsecond apart. */
	connect_spi();
	run(planned(&plan,
				"UPDATE hooks.delivery d SET next_at = $1 OPERATOR(pg_catalog.+)"
				" pg_catalog.make_interval(secs => o.n OPERATOR(pg_catalog./) 1000000.0)"
				" FROM (SELECT id, pg_catalog.row_number() OVER (ORDER BY next_at, id) AS n"
				" FROM hooks.delivery WHERE why OPERATOR(pg_catalog.=) 'host'"
				" AND next_at OPERATOR(pg_catalog.>) $1) o"
				" WHERE d.id OPERATOR(pg_catalog.=) o.id",
				lengthof(types), types),
		&argument, SPI_OK_UPDATE);
	if (SPI_processed > 0)
	{
		entered_at = from + (TimestampTz) SPI_processed;
		due_at = Min(due_at, from);
	}
	SPI_finish();
	bring_changes(ASIDE_HOST, ASIDE_HOST, NULL, NULL, from);
}

void
aside_set_back(int64 by, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {TIMESTAMPTZOID, INTERVALOID};
	Interval	interval = {.time = by};
	Datum		arguments[] = {TimestampTzGetDatum(now), IntervalPGetDatum(&interval)};

	connect_spi();
	run(planned(&plan,
				"UPDATE hooks.delivery SET next_at = next_at OPERATOR(pg_catalog.-) $2"
				" WHERE next_at OPERATOR(pg_catalog.>) $1 AND next_at OPERATOR(pg_catalog.<) 'infinity'",
				lengthof(types), types),
		arguments, SPI_OK_UPDATE);
	SPI_finish();

	/* So is what is to be written. */
	if (changes != NULL)
	{
		changes_iterator iterator;
		Change	   *change;

		changes_start_iterate(changes, &iterator);
		while ((change = changes_iterate(changes, &iterator)) != NULL)
		{
			if (!change->remove && change->aside.next_at > now &&
				!TIMESTAMP_IS_NOEND(change->aside.next_at))
				change->aside.next_at -= by;
		}
	}

	/* What is loaded comes up again, and is left alone then. */
	loaded_at = entered_at = DT_NOBEGIN;
	due_at = DT_NOBEGIN;
}

/* ----------
 * Retention
 * ----------
 */

bool
aside_retain(void)
{
	static SPIPlanPtr plan = NULL;
	static const Oid types[] = {INT4OID, INT4OID};
	Datum		arguments[] = {
		Int32GetDatum(hooks_dead_retention), Int32GetDatum(RETAIN_BATCH)
	};
	bool		more;

	if (hooks_dead_retention <= 0)
		return false;
	connect_spi();
	run(planned(&plan,
				"DELETE FROM hooks.delivery WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY("
				"SELECT id FROM hooks.delivery WHERE next_at IS NULL AND last_at OPERATOR(pg_catalog.<)"
				" (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(mins => $1))"
				" ORDER BY last_at LIMIT $2))",
				lengthof(types), types),
		arguments, SPI_OK_DELETE);
	more = SPI_processed >= RETAIN_BATCH;
	SPI_finish();
	return more;
}
