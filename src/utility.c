/*-------------------------------------------------------------------------
 *
 * utility.c
 *		Commands of other people that concern us: the hook on utility commands.
 *
 * What is done about each of them is in leave.c, drop.c, update.c and listener.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "tcop/utility.h"

#include "drop.h"
#include "leave.h"
#include "listener.h"
#include "update.h"
#include "utility.h"

static ProcessUtility_hook_type previous_process_utility_hook = NULL;

static void
watch(PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context,
	  ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest,
	  QueryCompletion *completion)
{
	Node	   *command = pstmt->utilityStmt;
	bool		inner = leave_holds();

	listener_before(command);
	drop_before(command);
	update_before(command);
	PG_TRY();
	{
		leave_before(command);
		if (previous_process_utility_hook)
			previous_process_utility_hook(pstmt, query, read_only_tree, context, params,
										  environment, dest, completion);
		else
			standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment,
									dest, completion);
		update_after(command);
	}
	PG_FINALLY();
	{
		if (!inner)
			leave_after();
	}
	PG_END_TRY();
}

void
utility_install(void)
{
	previous_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch;
}
