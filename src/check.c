/*-------------------------------------------------------------------------
 *
 * check.c
 *		The triggers on stream_hooks and stream_hook_logs.
 *
 * hooks.check_hook() refuses a hook that could never be performed, with an
 * error that says what is wrong and what it takes.  hooks.hook_changed()
 * tells every session and the worker that hooks have changed; it and
 * hooks.logs_changed() also mark the tables as ours (tables.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "action.h"
#include "commit.h"
#include "condition.h"
#include "cooldown.h"
#include "identity.h"
#include "interest.h"
#include "settings.h"
#include "tables.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(hooks_check_hook);
PG_FUNCTION_INFO_V1(hooks_hook_changed);
PG_FUNCTION_INFO_V1(hooks_logs_changed);

static void
check_trigger(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger", name),
				 errhint("Use hooks.setup() to create the trigger.")));
}

/* Columns of a row of stream_hooks, by name; a column that is missing is null. */
static Datum
row_column(HeapTuple row, TupleDesc desc, const char *name, Oid *type, bool *isnull)
{
	int			number = SPI_fnumber(desc, name);

	*isnull = true;
	if (number <= 0)
		return (Datum) 0;
	*type = getBaseType(SPI_gettypeid(desc, number));
	return SPI_getbinval(row, desc, number, isnull);
}

static char *
row_string(HeapTuple row, TupleDesc desc, const char *name)
{
	int			number = SPI_fnumber(desc, name);

	return number > 0 ? SPI_getvalue(row, desc, number) : NULL;
}

static Jsonb *
row_json(HeapTuple row, TupleDesc desc, const char *name)
{
	Oid			type;
	bool		isnull;
	Datum		value = row_column(row, desc, name, &type, &isnull);

	return isnull || type != JSONBOID ? NULL : DatumGetJsonbP(value);
}

static void
refuse(const char *column, const Mistake *error, Relation relation)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("%s", error->message),
			 error->hint ? errhint("%s", error->hint) : 0,
			 errtable(relation),
			 err_generic_string(PG_DIAG_COLUMN_NAME, column)));
}

static void
check_row(HeapTuple row, TupleDesc desc, Relation relation)
{
	Mistake		error = {0};
	char	   *type_name = row_string(row, desc, "trigger_type");
	char	   *action_name = row_string(row, desc, "action_type");
	char	   *cooldown = row_string(row, desc, "cooldown_seconds");
	int			type;

	if (SPI_fnumber(desc, "trigger_type") <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s\" is not a table of hooks: it has no column \"trigger_type\"",
						RelationGetRelationName(relation)),
				 errhint("Use hooks.setup() to create the table of hooks and its triggers.")));

	type = type_name ? trigger_type_parse(type_name, strlen(type_name)) : TRIGGER_TYPE_UNKNOWN;
	if (type == TRIGGER_TYPE_UNKNOWN)
	{
		(void) mistake(&error, psprintf("unknown trigger type \"%s\"", type_name ? type_name : ""),
					   "Trigger types are " TRIGGER_TYPE_NAMES ".");
		refuse("trigger_type", &error, relation);
	}
	if (!condition_compile(row_json(row, desc, "conditions"), type,
						   action_type_sends_chat(action_name ? action_name : ""), &error))
		refuse("conditions", &error, relation);
	if (!action_compile(action_name ? action_name : "", row_json(row, desc, "action_config"), &error))
		refuse(action_type_find(action_name ? action_name : "") ? "action_config" : "action_type",
			   &error, relation);
	if (cooldown && (pg_strtoint64(cooldown) < 0 || pg_strtoint64(cooldown) > COOLDOWN_MAX_SECONDS))
	{
		(void) mistake(&error, psprintf("cooldown of %s seconds is out of range", cooldown),
					   psprintf("It takes 0 to %d seconds.", COOLDOWN_MAX_SECONDS));
		refuse("cooldown_seconds", &error, relation);
	}
}

/*
 * Every event of a user is held against all of the user's hooks: they may not
 * be any number.  The owner of the table counts, whatever the caller may see.
 */
static void
check_number(HeapTuple row, TupleDesc desc, Relation relation)
{
	Oid			type = InvalidOid;
	bool		isnull;
	Datum		user = row_column(row, desc, "user_id", &type, &isnull);
	Oid			table = tables_hooks();
	TablesUser	saved;
	uint64		n;

	if (hooks_max_hooks_per_user == 0 || isnull || type != UUIDOID)
		return;
	if (!OidIsValid(table))
		table = RelationGetRelid(relation);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	tables_act_as_owner(table, &saved);
	if (SPI_execute_with_args(psprintf("SELECT FROM %s WHERE user_id OPERATOR(pg_catalog.=) $1 LIMIT %d",
									   tables_name(table), hooks_max_hooks_per_user),
							  1, &type, &user, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count hooks");
	n = SPI_processed;
	tables_act_done(&saved);
	SPI_finish();
	if (n >= hooks_max_hooks_per_user)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("user %s has %d hooks already, the most that are allowed",
						DatumGetCString(DirectFunctionCall1(uuid_out, user)), hooks_max_hooks_per_user),
				 errhint("Delete hooks that are not needed any more; hooks.max_hooks_per_user is the limit."),
				 errtable(relation),
				 err_generic_string(PG_DIAG_COLUMN_NAME, "user_id")));
}

/* Does an update give the hook to another user? */
static bool
changes_user(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	Oid			type = InvalidOid;
	bool		old_null;
	bool		new_null;
	Datum		before = row_column(old, desc, "user_id", &type, &old_null);
	Datum		after = row_column(new, desc, "user_id", &type, &new_null);

	return !new_null && type == UUIDOID && (old_null || !datum_image_eq(before, after, false, UUID_LEN));
}

/* Is last_triggered_at all that an update changes? */
static bool
only_fired(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	int			fired = SPI_fnumber(desc, "last_triggered_at");

	for (int i = 1; i <= desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i - 1);
		bool		old_null;
		bool		new_null;
		Datum		old_value;
		Datum		new_value;

		if (attribute->attisdropped || i == fired)
			continue;
		old_value = SPI_getbinval(old, desc, i, &old_null);
		new_value = SPI_getbinval(new, desc, i, &new_null);
		if (old_null != new_null ||
			(!old_null && !datum_image_eq(old_value, new_value, attribute->attbyval,
										  attribute->attlen)))
			return false;
	}
	return true;
}

/* The row with updated_at set to now, unless the statement sets it itself. */
static HeapTuple
with_updated_at(HeapTuple old, HeapTuple new, TupleDesc desc)
{
	Oid			type = InvalidOid;
	bool		old_null;
	bool		isnull;
	Datum		before = row_column(old, desc, "updated_at", &type, &old_null);
	Datum		after = row_column(new, desc, "updated_at", &type, &isnull);
	int			number = SPI_fnumber(desc, "updated_at");
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	Datum		value = TimestampTzGetDatum(now);	/* of both types, since plain ones hold UTC */

	if (number <= 0 || (type != TIMESTAMPOID && type != TIMESTAMPTZOID))
		return new;
	if (old_null != isnull || (!isnull && DatumGetTimestampTz(before) != DatumGetTimestampTz(after)))
		return new;
	isnull = false;
	value = DirectFunctionCall2(type == TIMESTAMPOID ? timestamp_scale : timestamptz_scale, value,
								Int32GetDatum(TupleDescAttr(desc, number - 1)->atttypmod));
	return heap_modify_tuple_by_cols(new, desc, 1, &number, &value, &isnull);
}

Datum
hooks_check_hook(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	row;

	check_trigger(fcinfo, "hooks.check_hook");
	desc = RelationGetDescr(data->tg_relation);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;

	/* The worker writes last_triggered_at only. */
	if (am_hooks_worker)
		return PointerGetDatum(row);

	if (!TRIGGER_FIRED_BY_UPDATE(data->tg_event))
	{
		identity_before_hook();
		check_row(row, desc, data->tg_relation);
		check_number(row, desc, data->tg_relation);
		return PointerGetDatum(row);
	}
	if (only_fired(data->tg_trigtuple, row, desc))
		return PointerGetDatum(row);
	check_row(row, desc, data->tg_relation);
	if (changes_user(data->tg_trigtuple, row, desc))
		check_number(row, desc, data->tg_relation);
	return PointerGetDatum(with_updated_at(data->tg_trigtuple, row, desc));
}

Datum
hooks_hook_changed(PG_FUNCTION_ARGS)
{
	check_trigger(fcinfo, "hooks.hook_changed");
	if (!am_hooks_worker)
	{
		interest_announce_change();
		commit_hooks_changed();
	}
	return PointerGetDatum(NULL);
}

Datum
hooks_logs_changed(PG_FUNCTION_ARGS)
{
	check_trigger(fcinfo, "hooks.logs_changed");
	return PointerGetDatum(NULL);
}
