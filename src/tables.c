/*-------------------------------------------------------------------------
 *
 * tables.c
 *		Which tables are ours, and acting on them as their owner.
 *
 * stream_hooks and stream_hook_logs are ordinary tables of the application.
 * The record of which they are is the triggers that hooks.setup() puts on
 * them: the hooks table is the one with a trigger that calls
 * hooks.hook_changed(), the log the one whose trigger calls
 * hooks.logs_changed().  So the answer follows renames, SET SCHEMA, dump and
 * restore without any bookkeeping, at the price of one probe of pg_depend.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "tables.h"
#include "version.h"

#define OUR_SCHEMA "hooks"

Oid
tables_machinery(const char *name)
{
	Oid			schema = get_namespace_oid(OUR_SCHEMA, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/* The table of a trigger; InvalidOid, unless "copies", for a partition's copy of one. */
static Oid
trigger_table(Oid trigger, bool copies)
{
	Relation	relation = table_open(TriggerRelationId, AccessShareLock);
	Oid			table = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(relation, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);

		if (copies || !OidIsValid(form->tgparentid))
			table = form->tgrelid;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return table;
}

/* The tables that have a trigger which calls that function of ours. */
static List *
tables_with_trigger(const char *function_name, bool copies)
{
	List	   *tables = NIL;
	Oid			function;
	Relation	relation;
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	function = LookupFuncName(list_make2(makeString(OUR_SCHEMA), makeString(pstrdup(function_name))),
							  0, NULL, true);
	if (!OidIsValid(function))
		return NIL;

	relation = table_open(DependRelationId, AccessShareLock);
	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(ProcedureRelationId));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(function));
	scan = systable_beginscan(relation, DependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		Oid			table = depend->classid == TriggerRelationId
			? trigger_table(depend->objid, copies) : InvalidOid;

		if (OidIsValid(table))
			tables = list_append_unique_oid(tables, table);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return tables;
}

static Oid
table_with_trigger(const char *function_name)
{
	List	   *tables = tables_with_trigger(function_name, false);

	return tables != NIL ? linitial_oid(tables) : InvalidOid;
}

List *
tables_with_our_triggers(void)
{
	static const char *const functions[] = {
		"on_event", "on_stream", "check_hook", "hook_changed", "logs_changed"
	};
	List	   *tables = NIL;

	for (size_t i = 0; i < lengthof(functions); i++)
		tables = list_concat_unique_oid(tables, tables_with_trigger(functions[i], true));
	list_sort(tables, list_oid_cmp);
	return tables;
}

Oid
tables_hooks(void)
{
	return table_with_trigger("hook_changed");
}

Oid
tables_logs(void)
{
	return table_with_trigger("logs_changed");
}

void
tables_act_as_owner(Oid relation, TablesUser *saved)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	GetUserIdAndSecContext(&saved->user, &saved->sec_context);
	SetUserIdAndSecContext(owner, saved->sec_context | SECURITY_RESTRICTED_OPERATION |
						   SECURITY_LOCAL_USERID_CHANGE);
}

void
tables_act_done(const TablesUser *saved)
{
	SetUserIdAndSecContext(saved->user, saved->sec_context);
}

void
tables_refuse_hidden_rows(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	if (OidIsValid(owner) && check_enable_rls(relation, owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row-level security of table \"%s\" is forced on its owner, which would hide rows from hooks",
						get_rel_name(relation)),
				 errhint("Use ALTER TABLE %s NO FORCE ROW LEVEL SECURITY; policies then apply to everybody else.",
						 tables_name(relation))));
}

bool
tables_read(void (*look) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(context);
		done = version_look() == VERSION_FITS;
		if (done)
			look(arg);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

ErrorData *
tables_try(void (*function) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

char *
tables_name(Oid relation)
{
	char	   *name = get_rel_name(relation);
	char	   *schema = name ? get_namespace_name(get_rel_namespace(relation)) : NULL;

	return schema ? quote_qualified_identifier(schema, name) : NULL;
}

static bool
has_time_zone(Oid relation, const char *column)
{
	AttrNumber	attnum = get_attnum(relation, column);

	return attnum == InvalidAttrNumber ||
		getBaseType(get_atttype(relation, attnum)) != TIMESTAMPOID;
}

char *
tables_time_as_timestamptz(Oid relation, const char *column)
{
	if (has_time_zone(relation, column))
		return pstrdup(quote_identifier(column));
	return psprintf("pg_catalog.timezone('UTC', %s)", quote_identifier(column));
}

char *
tables_timestamptz_as_time(Oid relation, const char *column, const char *value)
{
	if (has_time_zone(relation, column))
		return pstrdup(value);
	return psprintf("pg_catalog.timezone('UTC', %s)", value);
}

bool
tables_visible_user(const pg_uuid_t *hook, pg_uuid_t *user)
{
	Oid			type = UUIDOID;
	Datum		argument = UUIDPGetDatum(hook);
	bool		isnull;

	if (SPI_execute_with_args("SELECT h.user_id FROM hooks.visible_hooks() AS h"
							  " WHERE h.id OPERATOR(pg_catalog.=) $1",
							  1, &type, &argument, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for a hook");
	if (SPI_processed == 0)
		return false;
	*user = *DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return true;
}
