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

#include "listener.h"
#include "shared.h"

static bool counted = false;

static void
stop_counting(int code, Datum arg)
{
	pg_atomic_fetch_sub_u32(shared_listeners(), 1);
	counted = false;
}

void
listener_before(Node *command)
{
	if (!IsA(command, ListenStmt) || counted || !shared_is_loaded() ||
		strcmp(((ListenStmt *) command)->conditionname, LISTENER_CHANNEL) != 0)
		return;
	before_shmem_exit(stop_counting, (Datum) 0);
	pg_atomic_fetch_add_u32(shared_listeners(), 1);
	counted = true;
}

bool
listener_any(void)
{
	return shared_is_loaded() && pg_atomic_read_u32(shared_listeners()) > 0;
}
