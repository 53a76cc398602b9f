/*-------------------------------------------------------------------------
 *
 * leave.c
 *		DROP, RENAME, SET TABLESPACE and CREATE … TEMPLATE: commands that fail
 *		when anybody is connected to the database ask its worker to leave.  So do
 *		IS_TEMPLATE and ALLOW_CONNECTIONS, which tell us whether to come back.
 *
 * The asking is done in the command's own session, once it is clear that the
 * user may do this: DROP DATABASE tells us after its permission check
 * (OAT_DROP), for the others the owner is checked here.  The worker is held
 * off until the command has ended; a hold whose session died ends by itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"

#include "compat.h"
#include "leave.h"
#include "shared.h"

/* What we wait for a worker to leave; the command then decides for itself. */
#define LEAVE_TIMEOUT_MS 5000

/* A hold ends after this at the latest … */
#define HOLD_MS 10000

/* … and so long after the command, whose transaction still has to commit. */
#define HOLD_AFTER_MS 200

static object_access_hook_type previous_object_access_hook = NULL;

/* The database that this session's current command holds, or InvalidOid. */
static Oid	held_database = InvalidOid;

static bool
has_no_worker(DatabaseSlot *slot)
{
	bool		none;

	shared_lock();
	none = slot->state == SLOT_QUIET || slot->state == SLOT_FREE;
	shared_unlock();
	return none;
}

static void
ask_to_leave(Oid database)
{
	static uint32 wait = 0;
	DatabaseSlot *slot = shared_slot(database, false);
	TimestampTz deadline;

	if (slot == NULL)
		return;

	deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LEAVE_TIMEOUT_MS);
	shared_lock();
	slot->hold_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HOLD_MS);
	shared_unlock();
	held_database = database;

	pg_atomic_exchange_u32(&slot->leave, 1);
	shared_wake_worker(slot);

	ConditionVariablePrepareToSleep(&slot->changed);
	while (!has_no_worker(slot))
	{
		TimestampTz now = GetCurrentTimestamp();

		if (now >= deadline)
			break;
		ConditionVariableTimedSleep(&slot->changed,
									Min(100, TimestampDifferenceMilliseconds(now, deadline) + 1),
									wait_event(&wait, "HooksWorkerLeaves"));
	}
	ConditionVariableCancelSleep();
}

void
leave_after(void)
{
	DatabaseSlot *slot;

	if (!OidIsValid(held_database))
		return;

	slot = shared_slot(held_database, false);
	held_database = InvalidOid;
	if (slot == NULL)
		return;

	/* The launcher looks again: for work, or that the database is gone. */
	shared_lock();
	slot->hold_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HOLD_AFTER_MS);
	shared_unlock();
	shared_announce(slot);
	shared_wake_launcher();
}

static void
watch_drop(ObjectAccessType access, Oid class, Oid object, int subobject, void *arg)
{
	if (previous_object_access_hook)
		previous_object_access_hook(access, class, object, subobject, arg);

	if (access == OAT_DROP && class == DatabaseRelationId)
		ask_to_leave(object);
}

/* The value of a command's string option, or NULL. */
static char *
string_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/*
 * May nobody be connected while ALTER DATABASE is at work, or do its options
 * say who may be connected from then on?
 */
static bool
changes_who_connects(List *options)
{
	return string_option(options, "tablespace") || string_option(options, "is_template") ||
		string_option(options, "allow_connections");
}

/* The database that a command needs to itself, by name, or NULL. */
static char *
database_needed(Node *command)
{
	switch (nodeTag(command))
	{
		case T_RenameStmt:
			if (((RenameStmt *) command)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) command)->subname;
			return NULL;
		case T_AlterDatabaseStmt:
			if (changes_who_connects(((AlterDatabaseStmt *) command)->options))
				return ((AlterDatabaseStmt *) command)->dbname;
			return NULL;
		case T_CreatedbStmt:
			return string_option(((CreatedbStmt *) command)->options, "template");
		default:
			return NULL;
	}
}

bool
leave_holds(void)
{
	return OidIsValid(held_database);
}

void
leave_before(Node *command)
{
	char	   *name = database_needed(command);

	if (name != NULL)
	{
		Oid			database = get_database_oid(name, true);

		if (!OidIsValid(database) || !OWNS_DATABASE(database, GetUserId()))
			return;
		/* One that took no connections so far has no slot yet. */
		if (IsA(command, AlterDatabaseStmt))
			(void) shared_slot(database, true);
		ask_to_leave(database);
	}
}

void
leave_install(void)
{
	previous_object_access_hook = object_access_hook;
	object_access_hook = watch_drop;
}
