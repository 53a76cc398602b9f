/*-------------------------------------------------------------------------
 *
 * version.c
 *		Does the SQL that is installed in this database fit the library?
 *
 * A server that was restarted with another library finds databases whose SQL
 * is older, or newer, until somebody updates them.  Meanwhile events are
 * queued as ever, because the queue's columns only become more (queue.c), and
 * the worker stays away, because it knows the other tables in one form only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "version.h"

/* The extension, and the version of its SQL; InvalidOid when it is not installed. */
static Oid
find_extension(char **sql_version)
{
	Relation	relation = table_open(ExtensionRelationId, AccessShareLock);
	Oid			extension = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("hooks"));
	scan = systable_beginscan(relation, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion,
										 RelationGetDescr(relation), &isnull);

		extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		*sql_version = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return extension;
}

/* Compare version numbers part by part: 1.9 is older than 1.10. */
static int
compare(const char *a, const char *b)
{
	for (;;)
	{
		char	   *end_a;
		char	   *end_b;
		unsigned long x = strtoul(a, &end_a, 10);
		unsigned long y = strtoul(b, &end_b, 10);

		if (x != y)
			return x < y ? -1 : 1;
		a = *end_a == '.' ? end_a + 1 : end_a;
		b = *end_b == '.' ? end_b + 1 : end_b;
		if (end_a == a || end_b == b)
			return strcmp(a, b);	/* the last part */
	}
}

static VersionFit
judge(const char *sql_version)
{
	int			order = compare(sql_version, HOOKS_VERSION);

	return order == 0 ? VERSION_FITS : order < 0 ? VERSION_SQL_IS_OLDER : VERSION_SQL_IS_NEWER;
}

static VersionFit
look(char **sql_version)
{
	Oid			extension = find_extension(sql_version);

	if (!OidIsValid(extension))
		return VERSION_MISSING;

	/* Whoever drops or updates it locks it first: wait for that, and look again. */
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	if (find_extension(sql_version) != extension)
		return VERSION_MISSING;
	return judge(*sql_version);
}

VersionFit
version_look(void)
{
	char	   *sql_version;

	return look(&sql_version);
}

void
version_complain(void)
{
	char	   *sql_version;
	VersionFit	fit = look(&sql_version);

	if (fit == VERSION_SQL_IS_OLDER || fit == VERSION_SQL_IS_NEWER)
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("hooks sends nothing for database \"%s\": extension version is %s, library version is %s",
						get_database_name(MyDatabaseId), sql_version, HOOKS_VERSION),
				 fit == VERSION_SQL_IS_OLDER
				 ? errhint("Run ALTER EXTENSION hooks UPDATE in it.")
				 : errhint("Install version %s of the library and restart the server.", sql_version)));
}

void
version_require(void)
{
	char	   *sql_version;

	if (OidIsValid(find_extension(&sql_version)) && judge(sql_version) == VERSION_SQL_IS_NEWER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library \"hooks\" is too old for the extension in this database"),
				 errdetail("Extension version is %s, library version is %s.",
						   sql_version, HOOKS_VERSION),
				 errhint("Install version %s of the library and restart the server.", sql_version)));
}
