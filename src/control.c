/*-------------------------------------------------------------------------
 *
 * control.c
 *		SQL functions about the library, and those that wait for the worker or wake it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "commit.h"
#include "compat.h"
#include "interest.h"
#include "settings.h"
#include "shared.h"
#include "version.h"

PG_FUNCTION_INFO_V1(hooks_is_preloaded);
PG_FUNCTION_INFO_V1(hooks_library_version);
PG_FUNCTION_INFO_V1(hooks_wake);
PG_FUNCTION_INFO_V1(hooks_wait_idle);

Datum
hooks_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(shared_is_loaded());
}

/* hooks.library_version() returns text */
Datum
hooks_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(HOOKS_VERSION));
}

/*
 * hooks.wake(): what setup() and adopt() end with.  Everybody asks anew who
 * has hooks, and the worker looks at the queue once the transaction commits.
 */
Datum
hooks_wake(PG_FUNCTION_ARGS)
{
	PreventCommandDuringRecovery("hooks.wake()");
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
	static uint32 wait = 0;
	TimestampTz deadline;
	DatabaseSlot *slot;
	uint64		mine;
	bool		idle;

	require_preloaded();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	version_require();
	PreventCommandDuringRecovery("hooks.wait_idle()");
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
									wait_event(&wait, "HooksWaitIdle"));
	}
	ConditionVariableCancelSleep();
	PG_RETURN_BOOL(idle);
}
