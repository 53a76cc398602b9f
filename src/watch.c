/*-------------------------------------------------------------------------
 *
 * watch.c
 *		SQL functions behind the views that show what is in shared memory:
 *		hooks.stat, hooks.latency, hooks.workers and hooks.hook_stats.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "hook_stats.h"
#include "settings.h"
#include "shared.h"

PG_FUNCTION_INFO_V1(hooks_stat_values);
PG_FUNCTION_INFO_V1(hooks_latency_values);
PG_FUNCTION_INFO_V1(hooks_worker_rows);
PG_FUNCTION_INFO_V1(hooks_hook_stats_rows);

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

/*
 * hooks.latency_values(): for each measure a row per upper bound, in seconds,
 * with how many were no longer, and the sum of all, in seconds.
 */
Datum
hooks_latency_values(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	DatabaseSlot *slot;

	require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	slot = shared_my_slot();
	for (int measure = 0; slot != NULL && measure < LATENCIES; measure++)
	{
		Histogram  *histogram = &slot->latencies[measure];
		int64		n = 0;

		for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		{
			bool		last = i == HISTOGRAM_BUCKETS - 1;
			Datum		values[4];
			bool		nulls[4] = {0};

			n += pg_atomic_read_u64(&histogram->n[i]);
			values[0] = CStringGetTextDatum(shared_latency_name(measure));
			values[1] = Float8GetDatum(last ? get_float8_infinity() : histogram_bounds[i] / 1e6);
			values[2] = Int64GetDatum(n);
			values[3] = Float8GetDatum(pg_atomic_read_u64(&histogram->sum_us) / 1e6);
			tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}

/* What a database's worker is doing, for people. */
static const char *
worker_state(const DatabaseSlot *slot)
{
	switch (slot->state)
	{
		case SLOT_RUNNING:
			return "running";
		case SLOT_STARTING:
			return "starting";
		default:
			break;
	}
	if (TIMESTAMP_IS_NOEND(slot->hold_until))
		return slot->hold_reason == HOLD_COPY ? "copy" : "version";
	if (slot->hold_until > GetCurrentTimestamp())
		return "held";
	return slot->failures > 0 ? "failed" : "idle";
}

/* hooks.worker_rows(): a row for each database of the server that has had a worker. */
Datum
hooks_worker_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;

	require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < shared_slots(); i++)
	{
		DatabaseSlot *shown = shared_slot_number(i);
		DatabaseSlot slot;
		uint32		process;
		TimestampTz start_at;
		Datum		values[8];
		bool		nulls[8] = {0};

		shared_lock();
		slot = *shown;
		shared_unlock();
		if (slot.state == SLOT_FREE)
			continue;

		process = pg_atomic_read_u32(&slot.worker);
		start_at = Max(slot.start_after, slot.hold_until);
		if (!pg_atomic_read_u32(&slot.pending))
			start_at = slot.failures > 0 ? start_at : slot.wake_at;
		values[0] = ObjectIdGetDatum(slot.database);
		values[1] = Int32GetDatum(process == NO_PROCESS ? 0 : GetPGProcByNumber(process)->pid);
		nulls[1] = process == NO_PROCESS;
		values[2] = CStringGetTextDatum(worker_state(&slot));
		values[3] = BoolGetDatum(pg_atomic_read_u32(&slot.pending) != 0);
		values[4] = Int64GetDatum(pg_atomic_read_u64(&slot.stats[STAT_WAITING]));
		values[5] = Int64GetDatum(pg_atomic_read_u64(&slot.stats[STAT_IN_FLIGHT]));
		values[6] = Int32GetDatum(slot.failures);
		values[7] = TimestampTzGetDatum(start_at);
		nulls[7] = slot.state == SLOT_RUNNING || TIMESTAMP_NOT_FINITE(start_at) || start_at <= 0;
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}

#define HOOK_COLUMNS 6			/* of hooks.visible_hooks(), the id first */

/*
 * hooks.hook_stats_rows(): the hooks that the caller may see, each with its
 * counters.
 */
Datum
hooks_hook_stats_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;

	require_preloaded();
	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute("SELECT id, user_id, name, enabled, trigger_type, action_type"
					" FROM hooks.visible_hooks()", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for hooks");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[HOOK_COLUMNS + LOG_STATUSES + 4];
		bool		nulls[lengthof(values)] = {0};
		HookStats	stats;
		int			n;

		for (n = 0; n < HOOK_COLUMNS; n++)
			values[n] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, n + 1, &nulls[n]);
		stats = hook_stats_of(DatumGetUUIDP(values[0]));
		for (int status = 0; status < LOG_STATUSES; status++)
			values[n++] = Int64GetDatum(stats.results[status]);
		values[n++] = Int64GetDatum(stats.requests);
		values[n++] = Float8GetDatum(stats.requests_us / 1e6);
		nulls[n] = stats.since == 0;
		values[n++] = TimestampTzGetDatum(stats.last_at);
		nulls[n] = stats.since == 0;
		values[n++] = TimestampTzGetDatum(stats.since);
		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
