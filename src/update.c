/*-------------------------------------------------------------------------
 *
 * update.c
 *		ALTER EXTENSION hooks UPDATE while everybody goes on.
 *
 * The worker must not see half of an update, nor hold tables that the update
 * wants: it locks the extension in each of its transactions, so the update
 * does, too.  Once that commits, a worker that stayed away because SQL and
 * library did not fit (version.c) may look again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"

#include "commit.h"
#include "compat.h"
#include "interest.h"
#include "update.h"

static bool
updates_us(Node *command)
{
	return IsA(command, AlterExtensionStmt) &&
		strcmp(((AlterExtensionStmt *) command)->extname, "hooks") == 0;
}

void
update_before(Node *command)
{
	Oid			extension = updates_us(command) ? get_extension_oid("hooks", true) : InvalidOid;

	if (OidIsValid(extension) && OWNS_EXTENSION(extension, GetUserId()))
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessExclusiveLock);
}

void
update_after(Node *command)
{
	if (!updates_us(command))
		return;
	interest_announce_change();
	commit_release();
}
