/*-------------------------------------------------------------------------
 *
 * orphan.c
 *		What is kept of hooks that are gone.  See orphan.h.
 *
 * Our tables have no foreign keys to the application's, which may be emptied
 * or dropped without waiting for us.  So now and then the worker looks which
 * of the hooks that something is kept of are still there.  Deliveries that
 * wait for a time come back by themselves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "aside.h"
#include "orphan.h"
#include "tables.h"

static void
run(const char *query, Datum hooks, int expected)
{
	Oid			types[] = {UUIDARRAYOID};

	if (SPI_execute_with_args(query, lengthof(types), types, &hooks, NULL, false, 0) != expected)
		elog(ERROR, "could not look for hooks that are gone");
}

/* The first column of the last query's result. */
static Datum
column_array(int *n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(SPI_processed, 1));
	bool		isnull;

	*n = (int) SPI_processed;
	for (int i = 0; i < *n; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
	return PointerGetDatum(construct_array(values, *n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

/* Hooks that something is kept of, and would be for ever. */
static Datum
kept_hooks(int *n)
{
	if (SPI_execute("SELECT hook_id FROM hooks.paused WHERE hook_id IS NOT NULL"
					" UNION SELECT hook_id FROM hooks.health"
					" UNION SELECT hook_id FROM hooks.delivery WHERE next_at OPERATOR(pg_catalog.=) 'infinity'",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for hooks that are gone");
	return column_array(n);
}

/* Those of them that are not in the hooks table, as its owner sees it. */
static Datum
missing_hooks(Oid table, Datum hooks, int *n)
{
	TablesUser	saved;

	tables_refuse_hidden_rows(table);
	tables_act_as_owner(table, &saved);
	run(psprintf("SELECT k.id FROM pg_catalog.unnest($1) AS k(id) WHERE NOT EXISTS"
				 " (SELECT FROM %s AS h WHERE h.id::pg_catalog.uuid OPERATOR(pg_catalog.=) k.id)",
				 tables_name(table)), hooks, SPI_OK_SELECT);
	tables_act_done(&saved);
	return column_array(n);
}

void
orphans_forget(void)
{
	static const pg_uuid_t nobody = {{0}};
	Oid			table = tables_hooks();
	Datum		hooks;
	int			n;
	ArrayType  *array;

	if (!OidIsValid(table))
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	hooks = kept_hooks(&n);
	if (n > 0)
		hooks = missing_hooks(table, hooks, &n);
	if (n > 0)
	{
		run("DELETE FROM hooks.paused WHERE hook_id OPERATOR(pg_catalog.=) ANY ($1)", hooks,
			SPI_OK_DELETE);
		run("DELETE FROM hooks.health WHERE hook_id OPERATOR(pg_catalog.=) ANY ($1)", hooks,
			SPI_OK_DELETE);
		array = DatumGetArrayTypeP(hooks);
		for (int i = 0; i < n; i++)
			(void) aside_resume((pg_uuid_t *) ARR_DATA_PTR(array) + i, &nobody, GetCurrentTimestamp());
	}
	SPI_finish();
}
