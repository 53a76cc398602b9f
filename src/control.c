/*-------------------------------------------------------------------------
 *
 * control.c
 *		SQL functions that look at the worker or talk to it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"

#include "commit.h"
#include "interest.h"
#include "settings.h"
#include "shared.h"
#include "underway.h"

PG_FUNCTION_INFO_V1(hooks_is_preloaded);
PG_FUNCTION_INFO_V1(hooks_wake);
PG_FUNCTION_INFO_V1(hooks_wait_idle);
PG_FUNCTION_INFO_V1(hooks_stat_values);
PG_FUNCTION_INFO_V1(hooks_under_way);

Datum
hooks_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(shared_is_loaded());
}

/*
 * hooks.wake(): what setup() and adopt() end with.  Everybody asks anew who
 * has hooks, and the worker looks at the queue once the transaction commits.
 */
Datum
hooks_wake(PG_FUNCTION_ARGS)
{
	interest_announce_change();
	commit_release();
	PG_RETURN_VOID();
}

static int64
interval_ms(const Interval *interval)
{
	int64		days = interval->month * (int64) DAYS_PER_MONTH + interval->day;

	return days * (USECS_PER_DAY / 1000) + interval->time / 1000;
}

/*
 * hooks.wait_idle(timeout) waits until everything that was committed before
 * is delivered and logged.  True when it is, false when the time is over.
 */
Datum
hooks_wait_idle(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	DatabaseSlot *slot;
	uint64		mine;
	bool		idle;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	slot = shared_my_slot();
	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("hooks serves no more than %d databases", hooks_max_databases),
				 errhint("Increase \"hooks.max_databases\".")));

	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										   interval_ms(PG_GETARG_INTERVAL_P(0)));
	mine = pg_atomic_add_fetch_u64(&slot->idle_wanted, 1);
	shared_announce(slot);

	ConditionVariablePrepareToSleep(&slot->changed);
	while (!(idle = pg_atomic_read_u64(&slot->idle_seen) >= mine))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= deadline)
			break;
		ConditionVariableTimedSleep(&slot->changed,
									TimestampDifferenceMilliseconds(now, deadline) + 1,
									PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	PG_RETURN_BOOL(idle);
}

/* hooks.stat_values(): the counters of this database, one row each. */
Datum
hooks_stat_values(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	DatabaseSlot *slot;

	require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	slot = shared_my_slot();
	for (int i = 0; i < STATS; i++)
	{
		Datum		values[2];
		bool		nulls[2] = {false, slot == NULL};

		values[0] = CStringGetTextDatum(shared_stat_name(i));
		values[1] = Int64GetDatum(slot ? (int64) pg_atomic_read_u64(&slot->stats[i]) : 0);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

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
