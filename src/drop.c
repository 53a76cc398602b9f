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
#include "tcop/utility.h"

#include "compat.h"
#include "drop.h"
#include "tables.h"

static ProcessUtility_hook_type previous_process_utility_hook = NULL;

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
static void
lock_in_order(void)
{
	Oid			extension = get_extension_oid("hooks", true);
	ListCell   *cell;

	if (!OidIsValid(extension) || !OWNS_EXTENSION(extension, GetUserId()))
		return;					/* the command says so */
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessExclusiveLock);
	foreach(cell, tables_with_our_triggers())
	{
		LockRelationOid(lfirst_oid(cell), AccessExclusiveLock);
	}
}

static void
watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	if (drops_us(pstmt->utilityStmt))
		lock_in_order();
	if (previous_process_utility_hook)
		previous_process_utility_hook(pstmt, query, read_only_tree, context, params, environment,
									  dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								completion);
}

void
drop_install(void)
{
	previous_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
}
