/*-------------------------------------------------------------------------
 *
 * presence.c
 *		Who has joined.  See presence.h.
 *
 * hooks.presence has a row for each user who ever has.  Nobody is ever taken
 * out of it, so the row is made once, and that once is announced like a change
 * of hooks (hooks.user_joined): what is kept per user in sessions (interest.c)
 * and in the worker (hook.c) is asked anew then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"

#include "presence.h"
#include "tables.h"

static SPIPlanPtr plan = NULL;

static void
prepare(void)
{
	Oid			types[] = {UUIDARRAYOID};

	if (plan != NULL)
		return;
	plan = SPI_prepare("SELECT user_id FROM hooks.presence WHERE user_id OPERATOR(pg_catalog.=) ANY ($1)",
					   lengthof(types), types);
	if (plan == NULL)
		elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
}

bool
presence_list(Datum users, void (*joined) (const pg_uuid_t *user, void *arg), void *arg)
{
	Oid			table = tables_machinery("presence");
	Snapshot	snapshot;
	TablesUser	saved;

	if (!OidIsValid(table) || !ConditionalLockRelationOid(table, AccessShareLock))
		return false;

	/* The newest there is, as for hooks: who has joined before the event is served. */
	tables_act_as_owner(table, &saved);
	prepare();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (SPI_execute_snapshot(plan, &users, NULL, snapshot, InvalidSnapshot, true, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read who has joined");
	UnregisterSnapshot(snapshot);
	tables_act_done(&saved);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		joined(DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)), arg);
	}
	return true;
}
