/*-------------------------------------------------------------------------
 *
 * node.c
 *		What logical replication brings to the hub and to the nodes of a
 *		cluster (doc/scale.md), where it must not be taken as it comes.
 *
 * Trigger functions that fire for replicated rows only (ENABLE REPLICA).  An
 * error there would stop the subscription, so what does not fit is left out:
 * constraints are not checked, and other triggers not fired, when rows are
 * replicated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "compat.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(hooks_skip_stored);
PG_FUNCTION_INFO_V1(hooks_keep_log);
PG_FUNCTION_INFO_V1(hooks_disable_replicated);

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *function)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(data->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s must be called as a row trigger for INSERT or UPDATE", function)));
	return data;
}

static Datum
row_column(HeapTuple row, TupleDesc desc, const char *name, bool *isnull)
{
	int			number = SPI_fnumber(desc, name);

	if (number <= 0)
	{
		*isnull = true;
		return (Datum) 0;
	}
	return SPI_getbinval(row, desc, number, isnull);
}

/*
 * Has the table a row with the primary key that the slot has?  If so it is
 * kept from being deleted until the end of the transaction, as a foreign key
 * would do.  "known" without a primary key.
 */
static bool
is_stored(Relation relation, TupleTableSlot *wanted, bool known)
{
	Oid			index = PRIMARY_KEY_INDEX(relation);
	TupleTableSlot *found;

	if (!OidIsValid(index))
		return known;
	found = table_slot_create(relation, NULL);
	known = RelationFindReplTupleByIndex(relation, index, LockTupleKeyShare, wanted, found);
	ExecDropSingleTupleTableSlot(found);
	return known;
}

/*
 * BEFORE INSERT on a node's event table: an event that is there was queued
 * when it came.  It comes again when another node's users are taken over.
 */
Datum
hooks_skip_stored(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "hooks.skip_stored()");
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(data->tg_relation),
												   &TTSOpsHeapTuple);
	bool		stored;

	ExecStoreHeapTuple(data->tg_trigtuple, row, false);
	slot_getallattrs(row);
	stored = is_stored(data->tg_relation, row, false);
	ExecDropSingleTupleTableSlot(row);
	return PointerGetDatum(stored ? NULL : data->tg_trigtuple);
}

/*
 * BEFORE INSERT on the hub's log: a hook may have been deleted while a node
 * was at it.  The foreign key, which is not looked at here, has to hold in the
 * end, or a dump could not be restored.
 */
Datum
hooks_keep_log(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "hooks.keep_log()");
	Oid			table = tables_hooks();
	Relation	hooks;
	TupleDesc	desc;
	TupleTableSlot *wanted;
	Datum		hook_id;
	bool		isnull;
	bool		stored = true;
	int			id;

	hook_id = row_column(data->tg_trigtuple, RelationGetDescr(data->tg_relation), "hook_id", &isnull);
	if (!OidIsValid(table) || isnull)
		return PointerGetDatum(data->tg_trigtuple);

	hooks = table_open(table, RowShareLock);
	desc = RelationGetDescr(hooks);
	id = SPI_fnumber(desc, "id");
	if (id > 0)
	{
		wanted = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
		ExecClearTuple(wanted);
		memset(wanted->tts_isnull, true, sizeof(bool) * desc->natts);
		wanted->tts_values[id - 1] = hook_id;
		wanted->tts_isnull[id - 1] = false;
		ExecStoreVirtualTuple(wanted);
		stored = is_stored(hooks, wanted, true);
		ExecDropSingleTupleTableSlot(wanted);
	}
	table_close(hooks, NoLock);
	return PointerGetDatum(stored ? data->tg_trigtuple : NULL);
}

/*
 * AFTER INSERT OR UPDATE on the hub's hooks.health: a node's worker has
 * disabled a hook.  The hub is where hooks are written, so it is disabled here,
 * as its table's owner, and whoever listens is told.
 */
Datum
hooks_disable_replicated(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "hooks.disable_replicated()");
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	HeapTuple	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	Oid			type = UUIDOID;
	Oid			table = tables_hooks();
	TablesUser	saved;
	Datum		id;
	bool		isnull;
	uint64		changed;

	(void) row_column(row, desc, "disabled_at", &isnull);
	if (isnull || !OidIsValid(table))
		return PointerGetDatum(NULL);
	id = row_column(row, desc, "hook_id", &isnull);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	tables_act_as_owner(table, &saved);
	if (SPI_execute_with_args(psprintf("UPDATE %s SET enabled = false, updated_at = %s"
									   " WHERE id OPERATOR(pg_catalog.=) $1 AND enabled",
									   tables_name(table),
									   tables_timestamptz_as_time(table, "updated_at",
																  "pg_catalog.now()")),
							  1, &type, &id, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not disable a hook");
	changed = SPI_processed;
	tables_act_done(&saved);
	SPI_finish();
	if (changed > 0)
		Async_Notify("hooks_disabled", DatumGetCString(DirectFunctionCall1(uuid_out, id)));
	return PointerGetDatum(NULL);
}
