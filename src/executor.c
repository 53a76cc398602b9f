/*-------------------------------------------------------------------------
 *
 * executor.c
 *		How users with hooks fare: hooks.executor(), and what the view
 *		hooks.executors asks for.
 *
 * What belongs to the application is read as the caller may see it; what is
 * ours is shown of those users of whom that is a hook.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "tables.h"
#include "underway.h"

PG_FUNCTION_INFO_V1(hooks_under_way);
PG_FUNCTION_INFO_V1(hooks_last_result);
PG_FUNCTION_INFO_V1(hooks_executor);

/* Users with requests under way, as arrays to be. */
typedef struct UnderWay
{
	int			n;
	int			allocated;
	Datum	   *users;
	Datum	   *requests;
} UnderWay;

static void
add_user(void *arg, const pg_uuid_t *user, int n)
{
	UnderWay   *list = arg;
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	if (list->n == list->allocated)
	{
		list->allocated = list->allocated ? list->allocated * 2 : 64;
		list->users = list->users ? repalloc(list->users, sizeof(Datum) * list->allocated)
			: palloc(sizeof(Datum) * list->allocated);
		list->requests = list->requests ? repalloc(list->requests, sizeof(Datum) * list->allocated)
			: palloc(sizeof(Datum) * list->allocated);
	}
	*copy = *user;
	list->users[list->n] = UUIDPGetDatum(copy);
	list->requests[list->n++] = Int32GetDatum(n);
}

/*
 * hooks.under_way(): users of this database who have requests under way, and
 * how many; only those who have a hook that the caller may see.
 */
Datum
hooks_under_way(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	UnderWay	list = {0};
	Oid			types[] = {UUIDARRAYOID, INT4ARRAYOID};
	Datum		arguments[2];

	InitMaterializedSRF(fcinfo, 0);
	underway_each(add_user, &list);
	if (list.n == 0)
		return (Datum) 0;

	arguments[0] = PointerGetDatum(construct_array(list.users, list.n, UUIDOID, UUID_LEN, false,
												   TYPALIGN_CHAR));
	arguments[1] = PointerGetDatum(construct_array(list.requests, list.n, INT4OID, 4, true,
												   TYPALIGN_INT));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute_with_args("SELECT u.id, u.n FROM ROWS FROM (pg_catalog.unnest($1),"
							  " pg_catalog.unnest($2)) AS u (id, n)"
							  " WHERE u.id OPERATOR(pg_catalog.=) ANY"
							  " (ARRAY(SELECT h.user_id FROM hooks.visible_hooks() AS h))",
							  lengthof(types), types, arguments, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for users");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[2];
		bool		nulls[2];

		for (int column = 0; column < 2; column++)
			values[column] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column + 1,
										   &nulls[column]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}

/* What hooks.last_result() keeps for as long as a query calls it. */
typedef struct LastResult
{
	TupleDesc	desc;
	SPIPlanPtr	plan;			/* NULL: there is no log */
} LastResult;

/* The question for a user's last row of the log, for the table that is the log now. */
static SPIPlanPtr
last_result_plan(void)
{
	static Oid	table = InvalidOid;
	static SPIPlanPtr plan = NULL;
	Oid			now = tables_logs();
	Oid			uuid = UUIDOID;

	if (plan != NULL && table == now)
		return plan;
	if (plan != NULL)
		SPI_freeplan(plan);
	plan = NULL;
	table = now;
	if (!OidIsValid(table))
		return NULL;
	plan = SPI_prepare(psprintf("SELECT %s, status::pg_catalog.text, error_message::pg_catalog.text FROM %s"
								" WHERE user_id OPERATOR(pg_catalog.=) $1 ORDER BY inserted_at DESC LIMIT 1",
								tables_time_as_timestamptz(table, "executed_at"), tables_name(table)),
					   1, &uuid);
	if (plan == NULL)
		elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	return plan;
}

static LastResult *
last_result_begin(FunctionCallInfo fcinfo)
{
	MemoryContext previous = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	LastResult *kept = palloc0(sizeof(LastResult));

	if (get_call_result_type(fcinfo, NULL, &kept->desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	kept->desc = BlessTupleDesc(kept->desc);
	MemoryContextSwitchTo(previous);
	kept->plan = last_result_plan();
	fcinfo->flinfo->fn_extra = kept;
	return kept;
}

/*
 * hooks.last_result(user_id): the user's last row of the log, as the caller may
 * see it: when, status, error; all null when there is none.
 */
Datum
hooks_last_result(PG_FUNCTION_ARGS)
{
	LastResult *kept;
	HeapTuple	result;
	Datum		user = PG_GETARG_DATUM(0);
	Datum		values[3] = {0};
	bool		nulls[3] = {true, true, true};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	kept = fcinfo->flinfo->fn_extra;
	if (kept == NULL)
		kept = last_result_begin(fcinfo);
	if (kept->plan != NULL && SPI_execute_plan(kept->plan, &user, NULL, true, 1) == SPI_OK_SELECT &&
		SPI_processed == 1)
	{
		for (int i = 0; i < 3; i++)
			values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
	}
	result = SPI_copytuple(heap_form_tuple(kept->desc, values, nulls));
	SPI_finish();
	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}

/* ----------
 * One user
 * ----------
 */

/* Columns of hooks.executors. */
typedef enum ExecutorColumn
{
	USER_ID,
	HOOKS,
	WAITING,
	IN_FLIGHT,
	PAUSED,
	LAST_EVENT_AT,
	LAST_STATUS,
	LAST_ERROR,
	JOINED_AT,
	LEFT_AT,
	COLUMNS
} ExecutorColumn;

typedef struct Executor
{
	pg_uuid_t	user;
	int			in_flight;
	Datum		hooks;			/* ids of those that the caller may see */
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];
} Executor;

static void
take_in_flight(void *arg, const pg_uuid_t *user, int n)
{
	Executor   *executor = arg;

	if (memcmp(user, &executor->user, UUID_LEN) == 0)
		executor->in_flight = n;
}

/* Fill in columns from "first" on with what is at "from" in the row found, and those behind it. */
static void
take_columns(Executor *executor, ExecutorColumn first, int n, int from)
{
	for (int i = 0; i < n; i++)
		executor->values[first + i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
													from + i, &executor->nulls[first + i]);
}

/* What the caller may see; false when that is no hook. */
static bool
look_at_hooks(Executor *executor)
{
	Oid			table = tables_hooks();
	Oid			types[] = {UUIDOID};
	Datum		arguments[] = {UUIDPGetDatum(&executor->user)};
	bool		isnull;

	if (!OidIsValid(table))
		return false;
	if (SPI_execute_with_args(psprintf("SELECT h.ids, h.enabled, l.at, l.status, l.error FROM"
									   " (SELECT pg_catalog.array_agg(id) AS ids,"
									   " pg_catalog.count(*) FILTER (WHERE enabled) AS enabled"
									   " FROM %s WHERE user_id OPERATOR(pg_catalog.=) $1) AS h,"
									   " hooks.last_result($1) AS l WHERE h.ids IS NOT NULL",
									   tables_name(table)),
							  lengthof(types), types, arguments, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for hooks");
	if (SPI_processed == 0)
		return false;
	executor->hooks = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	take_columns(executor, HOOKS, 1, 2);
	take_columns(executor, LAST_EVENT_AT, 3, 3);
	return true;
}

/* What is ours. */
static void
look_at_machinery(Executor *executor)
{
	Oid			types[] = {UUIDOID, UUIDARRAYOID};
	Datum		arguments[] = {UUIDPGetDatum(&executor->user), executor->hooks};
	TablesUser	saved;

	tables_act_as_owner(tables_machinery("delivery"), &saved);
	if (SPI_execute_with_args("SELECT (SELECT pg_catalog.count(*) FROM hooks.delivery"
							  " WHERE hook_id OPERATOR(pg_catalog.=) ANY ($2) AND next_at IS NOT NULL)"
							  " OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM hooks.queued"
							  " WHERE user_id OPERATOR(pg_catalog.=) $1),"
							  " EXISTS (SELECT FROM hooks.paused"
							  " WHERE hook_id IS NULL AND user_id OPERATOR(pg_catalog.=) $1),"
							  " p.joined_at, p.left_at"
							  " FROM (VALUES ($1)) AS u (id) LEFT JOIN hooks.presence AS p"
							  " ON p.user_id OPERATOR(pg_catalog.=) u.id",
							  lengthof(types), types, arguments, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not look for what waits");
	take_columns(executor, WAITING, 1, 1);
	take_columns(executor, PAUSED, 1, 2);
	take_columns(executor, JOINED_AT, 2, 3);
	tables_act_done(&saved);
}

/*
 * hooks.executor(user_id): the user's row of hooks.executors, without looking
 * at all others; none when the caller sees no hook of that user.
 */
Datum
hooks_executor(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Executor	executor = {.user = *PG_GETARG_UUID_P(0)};

	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (look_at_hooks(&executor))
	{
		look_at_machinery(&executor);
		underway_each(take_in_flight, &executor);
		executor.values[USER_ID] = PG_GETARG_DATUM(0);
		executor.values[IN_FLIGHT] = Int32GetDatum(executor.in_flight);
		tuplestore_putvalues(result->setResult, result->setDesc, executor.values, executor.nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
