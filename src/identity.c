/*-------------------------------------------------------------------------
 *
 * identity.c
 *		Is this the database whose queue this is?
 *
 * hooks.installation holds the system identifier of the cluster and the OID
 * of the database in which the queue was made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "identity.h"
#include "tables.h"

static bool
returns_row(const char *query)
{
	int			result = SPI_execute(query, false, 1);

	if (result < 0)
		elog(ERROR, "could not execute query: %s", SPI_result_code_string(result));
	return SPI_processed > 0;
}

/* Does the database hold events or hooks that the original may have? */
static bool
holds_something(void)
{
	Oid			hooks = tables_hooks();
	TablesUser	saved;
	bool		holds;

	if (returns_row("SELECT FROM hooks.queue_0 UNION ALL SELECT FROM hooks.queue_1"
					" UNION ALL SELECT FROM hooks.queue_2 UNION ALL SELECT FROM hooks.delivery"))
		return true;
	if (!OidIsValid(hooks))
		return false;

	tables_act_as_owner(hooks, &saved);
	holds = returns_row(psprintf("SELECT FROM %s", tables_name(hooks)));
	tables_act_done(&saved);
	return holds;
}

/* Is it what hooks.installation says? */
static bool
is_original(void)
{
	return returns_row(psprintf("SELECT FROM hooks.installation"
								" WHERE system_identifier OPERATOR(pg_catalog.=) '" INT64_FORMAT "'::pg_catalog.int8"
								" AND database OPERATOR(pg_catalog.=) '%u'::pg_catalog.oid",
								(int64) GetSystemIdentifier(), MyDatabaseId));
}

/* A copy with nothing in it is nobody's copy. */
static bool
adopt_if_empty(void)
{
	if (holds_something())
		return false;
	returns_row(psprintf("UPDATE hooks.installation SET system_identifier = '" INT64_FORMAT "',"
						 " database = '%u'",
						 (int64) GetSystemIdentifier(), MyDatabaseId));
	return true;
}

bool
identity_confirmed(void)
{
	bool		confirmed;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	confirmed = is_original() || adopt_if_empty();
	SPI_finish();
	return confirmed;
}

void
identity_before_hook(void)
{
	static bool known = false;
	Oid			user;
	int			sec_context;

	if (known)
		return;

	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, sec_context | SECURITY_RESTRICTED_OPERATION |
						   SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	known = is_original();
	if (!known)
		(void) adopt_if_empty();
	SPI_finish();
	SetUserIdAndSecContext(user, sec_context);
}
