/*-------------------------------------------------------------------------
 *
 * trigger.c
 *		From a row of an event table, or a lifecycle announcement, to a queued
 *		event.
 *
 * hooks.on_event() is an AFTER INSERT row trigger.  Its arguments name the
 * columns that hold the event's id, user, type, data, platform and time ('' =
 * there is none).  It must never raise an error for what it finds, wait for
 * anything, or cost anything worth measuring when no hook wants the event: a
 * table whose columns have gone or changed their types makes log rows that
 * say so, not errors.  A user's rows beyond what flood.c allows are dropped;
 * lifecycle events, which the application announces, never are.
 *
 * Which attribute numbers and types the columns have is kept per trigger
 * until the table changes (partitions have triggers of their own).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_subscription_rel.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "replication/worker_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "commit.h"
#include "event.h"
#include "flood.h"
#include "interest.h"
#include "lifecycle.h"
#include "settings.h"
#include "shared.h"
#include "trigger.h"

PG_FUNCTION_INFO_V1(hooks_on_event);
PG_FUNCTION_INFO_V1(hooks_trigger_lifecycle_event);

/* The trigger's arguments. */
typedef enum EventColumn
{
	COLUMN_ID,
	COLUMN_USER,
	COLUMN_TYPE,
	COLUMN_DATA,
	COLUMN_PLATFORM,
	COLUMN_TIME
} EventColumn;

#define EVENT_COLUMNS 6

/* Labels of an enum type that is used for event types, translated once. */
#define MAX_LABELS 32

typedef struct EventTable
{
	Oid			trigger;		/* key */
	Oid			table;
	bool		valid;
	AttrNumber	attnum[EVENT_COLUMNS];	/* 0: there is none */
	Oid			type[EVENT_COLUMNS];	/* base types */
	bool		is_enum[EVENT_COLUMNS];
	char	   *unusable;		/* why no row can be queued, or NULL */
	char	   *refused;		/* why rows can only be logged, or NULL */
	int			nlabels;
	struct
	{
		Oid			label;
		int			type;
	}			labels[MAX_LABELS];
} EventTable;

static HTAB *event_tables = NULL;

/* The command whose row triggers are being fired; unknown for COPY and others. */
static CmdType current_command = CMD_UNKNOWN;
static ExecutorFinish_hook_type previous_executor_finish_hook = NULL;

/*
 * An UPDATE that moves a row to another partition fires the INSERT triggers
 * there.  AFTER triggers are fired when the executor finishes, so that is
 * where we learn which command it is.
 */
static void
watch_finish(QueryDesc *query)
{
	CmdType		outer = current_command;

	current_command = query->operation;
	PG_TRY();
	{
		if (previous_executor_finish_hook)
			previous_executor_finish_hook(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_FINALLY();
	{
		current_command = outer;
	}
	PG_END_TRY();
}

void
trigger_install(void)
{
	previous_executor_finish_hook = ExecutorFinish_hook;
	ExecutorFinish_hook = watch_finish;
}

static void
relation_changed(Datum arg, Oid relation)
{
	HASH_SEQ_STATUS status;
	EventTable *table;

	interest_invalidate(relation);
	lifecycle_invalidate(relation);

	hash_seq_init(&status, event_tables);
	while ((table = hash_seq_search(&status)) != NULL)
	{
		if (!OidIsValid(relation) || table->table == relation)
			table->valid = false;
	}
}

void
trigger_watch_relations(void)
{
	HASHCTL		control = {.keysize = sizeof(Oid), .entrysize = sizeof(EventTable)};

	if (event_tables != NULL)
		return;
	event_tables = hash_create("hooks event tables", 8, &control, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

static bool
is_text_like(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == BPCHAROID || type_is_enum(type);
}

static bool
type_fits(EventColumn column, Oid type)
{
	switch (column)
	{
		case COLUMN_ID:
		case COLUMN_USER:
			return type == UUIDOID;
		case COLUMN_TYPE:
		case COLUMN_PLATFORM:
			return is_text_like(type);
		case COLUMN_DATA:
			return type == JSONBOID;
		case COLUMN_TIME:
			return type == TIMESTAMPOID || type == TIMESTAMPTZOID;
	}
	return false;
}

/* Settle where the columns are; what is wrong with them goes into the entry. */
static void
resolve(EventTable *table, TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	Trigger    *trigger = data->tg_trigger;

	if (table->unusable)
		pfree(table->unusable);
	if (table->refused)
		pfree(table->refused);
	table->unusable = table->refused = NULL;
	table->table = RelationGetRelid(data->tg_relation);
	table->nlabels = 0;

	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		const char *name = i < trigger->tgnargs ? trigger->tgargs[i] : "";
		char	   *wrong = NULL;

		table->attnum[i] = 0;
		if (*name == '\0')
		{
			if (i == COLUMN_PLATFORM || i == COLUMN_TIME)
				continue;
			wrong = psprintf("trigger \"%s\" does not name all columns", trigger->tgname);
		}
		else
		{
			for (int att = 0; att < desc->natts; att++)
			{
				Form_pg_attribute attribute = TupleDescAttr(desc, att);

				if (!attribute->attisdropped && namestrcmp(&attribute->attname, name) == 0)
				{
					table->attnum[i] = att + 1;
					table->type[i] = getBaseType(attribute->atttypid);
					table->is_enum[i] = type_is_enum(table->type[i]);
				}
			}
			if (table->attnum[i] == 0)
				wrong = psprintf("column \"%s\" of table \"%s\" does not exist",
								 name, RelationGetRelationName(data->tg_relation));
			else if (!type_fits(i, table->type[i]))
				wrong = psprintf("column \"%s\" of table \"%s\" has type %s",
								 name, RelationGetRelationName(data->tg_relation),
								 format_type_be(table->type[i]));
		}

		if (wrong == NULL)
			continue;
		table->attnum[i] = 0;
		wrong = MemoryContextStrdup(TopMemoryContext, wrong);
		if (i == COLUMN_USER || i == COLUMN_TYPE)
			table->unusable = wrong;
		else
			table->refused = wrong;
	}

	if (table->unusable)
		ereport(LOG,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("hooks cannot read events from table \"%s\": %s",
						RelationGetRelationName(data->tg_relation), table->unusable),
				 errhint("Use hooks.attach() to say which columns hold what.")));
	table->valid = true;
}

static EventTable *
find_table(TriggerData *data)
{
	EventTable *table;
	bool		found;

	trigger_watch_relations();
	table = hash_search(event_tables, &data->tg_trigger->tgoid, HASH_ENTER, &found);
	if (!found)
	{
		table->valid = false;
		table->unusable = table->refused = NULL;
	}
	if (!table->valid)
		resolve(table, data);
	return table;
}

static Datum
column(EventTable *table, EventColumn which, TupleTableSlot *slot, bool *isnull)
{
	if (table->attnum[which] == 0)
	{
		*isnull = true;
		return (Datum) 0;
	}
	return slot_getattr(slot, table->attnum[which], isnull);
}

/* The type of event that an enum's label stands for. */
static int
enum_event_type(EventTable *table, Oid label)
{
	char	   *name;
	int			type;

	for (int i = 0; i < table->nlabels; i++)
	{
		if (table->labels[i].label == label)
			return table->labels[i].type;
	}

	name = DatumGetCString(DirectFunctionCall1(enum_out, ObjectIdGetDatum(label)));
	type = trigger_type_parse(name, strlen(name));
	if (table->nlabels < MAX_LABELS)
	{
		table->labels[table->nlabels].label = label;
		table->labels[table->nlabels].type = type;
		table->nlabels++;
	}
	pfree(name);
	return type;
}

static int
event_type(EventTable *table, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		value = column(table, COLUMN_TYPE, slot, &isnull);
	text	   *name;

	if (isnull)
		return TRIGGER_TYPE_UNKNOWN;
	if (table->is_enum[COLUMN_TYPE])
		return enum_event_type(table, DatumGetObjectId(value));

	name = DatumGetTextPP(value);
	return trigger_type_parse(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

/* The platform as text, or NULL. */
static text *
event_platform(EventTable *table, TupleTableSlot *slot)
{
	bool		isnull;
	Datum		value = column(table, COLUMN_PLATFORM, slot, &isnull);

	if (isnull)
		return NULL;
	if (table->is_enum[COLUMN_PLATFORM])
		return cstring_to_text(DatumGetCString(DirectFunctionCall1(enum_out, value)));
	return DatumGetTextPP(value);
}

/*
 * When the event happened.  A column without time zone holds UTC, and then
 * the two types are the same number.
 */
static TimestampTz
event_time(EventTable *table, TupleTableSlot *slot, TimestampTz now)
{
	bool		isnull;
	Datum		value = column(table, COLUMN_TIME, slot, &isnull);

	return isnull ? now : DatumGetTimestampTz(value);
}

static bool
too_old(TimestampTz time, TimestampTz now)
{
	return hooks_max_event_age >= 0 &&
		(TIMESTAMP_IS_NOBEGIN(time) ||
		 time < now - (TimestampTz) hooks_max_event_age * USECS_PER_SEC);
}

/*
 * Queue the event with its data, or, when there is something against that,
 * without its data and with the reason.
 */
static void
queue_event(const Event *event, text *platform, struct varlena *data, const char *refused)
{
	Size		limit = (Size) hooks_max_payload * 1024;
	char	   *too_large = NULL;

	if (data != NULL)
	{
		Size		size = toast_raw_datum_size(PointerGetDatum(data)) - VARHDRSZ;

		if (size > limit)
		{
			too_large = psprintf("event data is too large: %zu bytes, limit %zu", size, limit);
			data = NULL;
		}
		else if (VARATT_IS_EXTERNAL(data))
			data = detoast_external_attr(data);
	}
	commit_queue(queue_row_make(commit_context(), event, platform, data,
								too_large ? too_large : refused));
	if (too_large)
		pfree(too_large);
}

/* A random id for an event that has none. */
static void
random_id(pg_uuid_t *id)
{
	*id = *DatumGetUUIDP(DirectFunctionCall1(gen_random_uuid, (Datum) 0));
}

/*
 * Is this the copy of what a table held when a subscription to it began?
 * Those events have had their effect elsewhere, and fire nothing; what streams
 * in while the copy catches up does.
 */
static bool
is_initial_copy(void)
{
	return MyLogicalRepWorker != NULL && am_tablesync_worker() &&
		MyLogicalRepWorker->relstate == SUBREL_STATE_DATASYNC;
}

/* Those who are not are counted. */
static bool
is_served(const pg_uuid_t *user)
{
	if (interest_served(user))
		return true;
	shared_count(shared_my_slot(), STAT_EVENTS_UNSERVED, 1);
	return false;
}

Datum
hooks_on_event(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleTableSlot *slot;
	EventTable *table;
	Event		event;
	TimestampTz now;
	Datum		value;
	bool		isnull;
	int			type;
	char	   *flooded;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_BY_INSERT(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be fired AFTER INSERT FOR EACH ROW", "hooks.on_event"),
				 errhint("Use hooks.attach() to create the trigger.")));

	if (current_command == CMD_UPDATE && data->tg_relation->rd_rel->relispartition)
		return PointerGetDatum(NULL);
	if (is_initial_copy())
		return PointerGetDatum(NULL);

	slot = data->tg_trigslot;
	table = find_table(data);
	if (table->unusable)
	{
		shared_count(shared_my_slot(), STAT_EVENTS_REFUSED, 1);
		return PointerGetDatum(NULL);
	}

	type = event_type(table, slot);
	if (type == TRIGGER_TYPE_UNKNOWN)
		return PointerGetDatum(NULL);
	event.type = type;

	value = column(table, COLUMN_USER, slot, &isnull);
	if (isnull || !interest_wanted(DatumGetUUIDP(value), event.type))
		return PointerGetDatum(NULL);
	event.user_id = *DatumGetUUIDP(value);
	if (!is_served(&event.user_id))
		return PointerGetDatum(NULL);

	now = GetCurrentTimestamp();
	event.time = event_time(table, slot, now);
	if (too_old(event.time, now))
	{
		shared_count(shared_my_slot(), STAT_EVENTS_TOO_OLD, 1);
		return PointerGetDatum(NULL);
	}

	if (!flood_admit(&event.user_id, now, &flooded))
	{
		shared_count(shared_my_slot(), STAT_EVENTS_FLOODED, 1);
		if (flooded == NULL)
			return PointerGetDatum(NULL);
	}

	value = column(table, COLUMN_ID, slot, &isnull);
	if (isnull)
		random_id(&event.id);
	else
		event.id = *DatumGetUUIDP(value);

	value = column(table, COLUMN_DATA, slot, &isnull);
	queue_event(&event, event_platform(table, slot),
				isnull || flooded ? NULL : (struct varlena *) DatumGetPointer(value),
				flooded ? flooded : table->refused);
	return PointerGetDatum(NULL);
}

pg_uuid_t
trigger_announce(const pg_uuid_t *user, TriggerType type, struct varlena *data)
{
	Event		event = {.user_id = *user, .type = type, .time = GetCurrentTimestamp()};

	trigger_watch_relations();
	random_id(&event.id);
	if (interest_wanted(&event.user_id, event.type) && is_served(&event.user_id))
		queue_event(&event, NULL, data, NULL);
	return event.id;
}

/*
 * hooks.trigger_lifecycle_event(user_id, event_type, metadata) announces an
 * event that is no row of an event table, in the caller's transaction, and
 * returns the id it gave to the event.
 */
Datum
hooks_trigger_lifecycle_event(PG_FUNCTION_ARGS)
{
	text	   *name;
	int			type;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("user and event type must not be null")));

	name = PG_GETARG_TEXT_PP(1);
	type = trigger_type_parse(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	if (type == TRIGGER_TYPE_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown event type \"%s\"", text_to_cstring(name)),
				 errhint("Event types are %s.", TRIGGER_TYPE_NAMES)));
	if (!PG_ARGISNULL(2) && !JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(2)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata of an event must be a JSON object"),
				 errhint("For example '{\"title\": \"Hello\"}'.")));

	*id = trigger_announce(PG_GETARG_UUID_P(0), type,
						   PG_ARGISNULL(2) ? NULL : (struct varlena *) PG_GETARG_POINTER(2));
	PG_RETURN_UUID_P(id);
}
