/*-------------------------------------------------------------------------
 *
 * secret.c
 *		Secrets of users: hooks.secret.
 *
 * This is the only place where a secret is read.  They are written by
 * hooks.set_secret(); nobody else reads them back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "secret.h"

char *
secret_read(const pg_uuid_t *user, const char *name)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, TEXTOID};
	Datum		arguments[] = {UUIDPGetDatum(user), CStringGetTextDatum(name)};
	MemoryContext context = CurrentMemoryContext;
	char	   *value = NULL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare("SELECT value FROM hooks.secret"
									   " WHERE user_id OPERATOR(pg_catalog.=) $1"
									   " AND name OPERATOR(pg_catalog.=) $2",
									   lengthof(types), types);

		if (made == NULL)
			elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(made);
		plan = made;
	}
	if (SPI_execute_plan(plan, arguments, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a secret");
	if (SPI_processed > 0)
	{
		char	   *read = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		value = read ? MemoryContextStrdup(context, read) : NULL;
	}
	SPI_finish();
	return value;
}
