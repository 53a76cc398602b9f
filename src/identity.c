/*-------------------------------------------------------------------------
 *
 * identity.c
 *		Is this the database whose queue this is?
 *
 * hooks.installation holds the system identifier of the cluster and the OID
 * of the database in which the queue was made, and the place of the cluster: a
 * hash of the machine's id, where it has one, and the path of the data
 * directory.  A copy of the whole cluster, by a base backup or by the storage,
 * differs in nothing else.  A standby is such a copy, too, and is meant to take
 * over: a server that was started as one makes the place its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "identity.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(hooks_place);

/* Of the postmaster, and so of all its processes. */
static bool started_as_standby = false;

void
identity_install(void)
{
	started_as_standby = access("standby.signal", F_OK) == 0;
}

/* Where this cluster is; palloc'd. */
static char *
place(void)
{
	char		machine[65] = "";
	char		path[PATH_MAX];
	FILE	   *file = AllocateFile("/etc/machine-id", "r");
	char	   *both;

	if (file != NULL)
	{
		if (fgets(machine, sizeof(machine), file) == NULL)
			machine[0] = '\0';
		FreeFile(file);
	}
	if (realpath(DataDir, path) == NULL)
		strlcpy(path, DataDir, sizeof(path));
	both = psprintf("%s\n%s", machine, path);
	return psprintf(UINT64_FORMAT, hash_bytes_extended((const unsigned char *) both, strlen(both), 0));
}

/* hooks.place() returns text */
Datum
hooks_place(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(place()));
}

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

/* Is it the cluster and the database that hooks.installation says, wherever that is? */
static bool
is_database(void)
{
	return returns_row(psprintf("SELECT FROM hooks.installation"
								" WHERE system_identifier OPERATOR(pg_catalog.=) '" INT64_FORMAT "'::pg_catalog.int8"
								" AND database OPERATOR(pg_catalog.=) '%u'::pg_catalog.oid",
								(int64) GetSystemIdentifier(), MyDatabaseId));
}

/* SQL that is older than the library has no such column. */
static bool
knows_places(void)
{
	return get_attnum(tables_machinery("installation"), "place") != InvalidAttrNumber;
}

/* … and in its place?  A place that is not known, or that a standby inherits, is here. */
static bool
is_here(void)
{
	return !knows_places() ||
		returns_row(psprintf("SELECT FROM hooks.installation"
							 " WHERE place OPERATOR(pg_catalog.=) '%s' OR place IS NULL OR %s",
							 place(), started_as_standby ? "true" : "false"));
}

static void
note_place(void)
{
	char	   *here = place();

	if (!knows_places())
		return;
	(void) returns_row(psprintf("UPDATE hooks.installation SET place = '%s' WHERE place IS DISTINCT FROM '%s'",
								here, here));
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
	note_place();
	return true;
}

bool
identity_confirmed(void)
{
	bool		confirmed;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	confirmed = is_database() && is_here();
	if (confirmed)
		note_place();
	else
		confirmed = adopt_if_empty();
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
	known = is_database() && is_here();
	if (!known)
		(void) adopt_if_empty();
	SPI_finish();
	SetUserIdAndSecContext(user, sec_context);
}
