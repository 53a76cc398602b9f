/*-------------------------------------------------------------------------
 *
 * listener.c
 *		Whether any session listens for chat messages.  See listener.h.
 *
 * PostgreSQL does not tell who listens, so LISTEN is watched for.  A session
 * counts from its first LISTEN on, before that takes effect, and until it ends:
 * now and then somebody is notified in vain, but nobody is forgotten.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "tcop/utility.h"

#include "compat.h"
#include "listener.h"
#include "shared.h"

static ProcessUtility_hook_type previous_process_utility_hook = NULL;
static bool counted = false;

static void
stop_counting(int code, Datum arg)
{
	pg_atomic_fetch_sub_u32(shared_listeners(), 1);
	counted = false;
}

static void
watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params,
			  QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *command = pstmt->utilityStmt;

	if (IsA(command, ListenStmt) && !counted && shared_is_loaded() &&
		strcmp(((ListenStmt *) command)->conditionname, LISTENER_CHANNEL) == 0)
	{
		before_shmem_exit(stop_counting, (Datum) 0);
		pg_atomic_fetch_add_u32(shared_listeners(), 1);
		counted = true;
	}
	if (previous_process_utility_hook)
		previous_process_utility_hook(pstmt, query, read_only_tree, context, params, environment,
									  dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								completion);
}

void
listener_install(void)
{
	previous_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
}

bool
listener_any(void)
{
	return shared_is_loaded() && pg_atomic_read_u32(shared_listeners()) > 0;
}
