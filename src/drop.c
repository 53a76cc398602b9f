/*-------------------------------------------------------------------------
 *
 * drop.c
 *		DROP EXTENSION hooks while the application goes on.
 *
 * A transaction that inserts an event locks the event table, and, when it
 * commits, the queue.  By itself DROP EXTENSION locks the queue, and then the
 * event table, for the trigger on it: sooner or later they would wait for each
 * other, and the application's transaction might be the one that is cancelled.
 * So whoever may drop the extension waits for the application's tables first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"

#include "compat.h"
#include "drop.h"
#include "tables.h"

static bool
drops_us(Node *command)
{
	ListCell   *cell;

	if (!IsA(command, DropStmt) || ((DropStmt *) command)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, ((DropStmt *) command)->objects)
	{
		if (strcmp(strVal(lfirst(cell)), "hooks") == 0)
			return true;
	}
	return false;
}

/*
 * The extension first, as DROP EXTENSION does: that keeps the worker, which
 * locks it in each of its transactions, from holding any of the tables.
 */
void
drop_before(Node *command)
{
	Oid			extension = drops_us(command) ? get_extension_oid("hooks", true) : InvalidOid;
	ListCell   *cell;

	if (!OidIsValid(extension) || !OWNS_EXTENSION(extension, GetUserId()))
		return;					/* the command says so */
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessExclusiveLock);
	foreach(cell, tables_with_our_triggers())
	{
		LockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
	}
}
