/*-------------------------------------------------------------------------
 *
 * health.c
 *		How hooks fare: rows of hooks.health, and hooks that are disabled for
 *		their destination's sake.  See health.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "lib/qunique.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "health.h"
#include "hook.h"
#include "interest.h"
#include "settings.h"
#include "tables.h"

/* A failing hook's row is written no more often than this. */
#define WRITE_INTERVAL USECS_PER_SEC

/* Whom hooks that are disabled are told to. */
#define CHANNEL "hooks_disabled"

static dlist_head dirty = DLIST_STATIC_INIT(dirty);
static int	ndirty = 0;

static struct Hook *
hook_of(dlist_node *node)
{
	return (struct Hook *) ((char *) dlist_container(HookHealth, link, node) -
							offsetof(struct Hook, health));
}

static void
mark_dirty(HookHealth *health)
{
	if (health->dirty)
		return;
	dlist_push_tail(&dirty, &health->link);
	health->dirty = true;
	ndirty++;
}

static void
mark_clean(HookHealth *health)
{
	if (!health->dirty)
		return;
	dlist_delete(&health->link);
	health->dirty = false;
	ndirty--;
}

static void
set_text(char **place, const char *text)
{
	if (*place)
		pfree(*place);
	*place = text ? MemoryContextStrdup(TopMemoryContext, text) : NULL;
}

/* As if nothing had ever failed. */
static void
recover(HookHealth *health)
{
	health->failures = 0;
	health->failing_since = health->last_at = 0;
	health->status = 0;
	set_text(&health->error, NULL);
	set_text(&health->disabled, NULL);
	health->disabling = false;
}

void
health_result(struct Hook *hook, const char *error, int status, bool given_up, TimestampTz now)
{
	HookHealth *health = &hook->health;

	/* What was under way when it was disabled changes nothing. */
	if (health->disabled != NULL)
		return;
	if (error == NULL)
	{
		if (health->failures == 0)
			return;
		recover(health);
		health->written_at = 0;
		mark_dirty(health);
		return;
	}

	if (health->failures++ == 0)
		health->failing_since = now;
	health->last_at = now;
	health->status = status;
	set_text(&health->error, error);
	mark_dirty(health);

	if (given_up && hooks_disable_after > 0 &&
		now - health->failing_since >= hooks_disable_after * USECS_PER_SEC)
		health_disable(hook, psprintf("no attempt has succeeded since %s; the last one: %s",
									  timestamptz_to_str(health->failing_since), error), now);
}

void
health_disable(struct Hook *hook, const char *reason, TimestampTz now)
{
	HookHealth *health = &hook->health;

	if (health->disabled != NULL)
		return;
	set_text(&health->disabled, reason);
	health->disabling = true;
	health->last_at = now;
	health->written_at = 0;
	hook->enabled = false;
	mark_dirty(health);
}

void
health_forget(struct Hook *hook)
{
	mark_clean(&hook->health);
	recover(&hook->health);
}

/* ----------
 * Reading
 * ----------
 */

void
health_lock(void)
{
	LockRelationOid(tables_machinery("health"), AccessShareLock);
	LockRelationOid(tables_machinery("paused"), AccessShareLock);
}

static bool
is_empty(const char *table)
{
	Relation	relation = table_open(tables_machinery(table), NoLock);
	bool		empty = RelationGetNumberOfBlocks(relation) == 0;

	table_close(relation, NoLock);
	return empty;
}

static void
run(const char *query, SPIPlanPtr *plan, int nargs, Oid *types, Datum *arguments, int expected)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(query, nargs, types);

		if (made == NULL)
			elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(made);
		*plan = made;
	}
	if (SPI_execute_plan(*plan, arguments, NULL, false, 0) != expected)
		elog(ERROR, "could not execute a query on the health of hooks");
}

static Datum
column(uint64 row, int number, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

static char *
column_text(uint64 row, int number)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number);
}

/* Enter a row of hooks.health; what was changed and not written since counts more. */
static void
take_row(uint64 row, HookHealth *health, bool enabled)
{
	bool		isnull;
	Datum		value;

	health->written = true;
	if (health->dirty)
		return;
	health->failures = DatumGetInt32(column(row, 3, &isnull));
	value = column(row, 4, &isnull);
	health->failing_since = isnull ? 0 : DatumGetTimestampTz(value);
	value = column(row, 5, &isnull);
	health->last_at = isnull ? 0 : DatumGetTimestampTz(value);
	value = column(row, 6, &isnull);
	health->status = isnull ? 0 : DatumGetInt32(value);
	set_text(&health->error, column_text(row, 7));
	set_text(&health->disabled, column_text(row, 8));

	/* Somebody has enabled it since: a new beginning. */
	if (enabled && health->disabled != NULL)
	{
		recover(health);
		health->written_at = 0;
		mark_dirty(health);
	}
}

void
health_load(Datum users, struct Hook *(*find) (const pg_uuid_t *user, const pg_uuid_t *hook))
{
	static SPIPlanPtr health_plan = NULL;
	static SPIPlanPtr paused_plan = NULL;
	Oid			types[] = {UUIDARRAYOID};
	bool		isnull;

	if (!is_empty("health"))
	{
		run("SELECT user_id, hook_id, failures, failing_since, last_failure_at, last_status,"
			" last_error, disabled_reason FROM hooks.health"
			" WHERE user_id OPERATOR(pg_catalog.=) ANY ($1)",
			&health_plan, 1, types, &users, SPI_OK_SELECT);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			Datum		user = column(i, 1, &isnull);
			Hook	   *hook = find(DatumGetUUIDP(user), DatumGetUUIDP(column(i, 2, &isnull)));

			if (hook != NULL)
				take_row(i, &hook->health, hook->enabled);
		}
	}

	if (!is_empty("paused"))
	{
		run("SELECT h.user_id, h.hook_id FROM hooks.paused AS h"
			" WHERE h.user_id OPERATOR(pg_catalog.=) ANY ($1)",
			&paused_plan, 1, types, &users, SPI_OK_SELECT);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			pg_uuid_t  *user = DatumGetUUIDP(column(i, 1, &isnull));
			Datum		hook_id = column(i, 2, &isnull);
			Hook	   *hook;

			if (isnull)
				hooks_pause_all(user);
			else if ((hook = find(user, DatumGetUUIDP(hook_id))) != NULL)
				hook->paused = true;
		}
	}
}

/* ----------
 * Writing
 * ----------
 */

static bool
is_due(const HookHealth *health, TimestampTz now, bool all)
{
	return all || health->written_at == 0 || now - health->written_at >= WRITE_INTERVAL ||
		now < health->written_at;
}

bool
health_to_write(TimestampTz now, bool all)
{
	dlist_iter	iter;

	if (ndirty == 0)
		return false;
	dlist_foreach(iter, &dirty)
	{
		if (is_due(dlist_container(HookHealth, link, iter.cur), now, all))
			return true;
	}
	return false;
}

static int
compare_users(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

void
health_renew(void *arg)
{
	const HealthDue *due = arg;
	pg_uuid_t  *users = palloc(sizeof(pg_uuid_t) * Max(ndirty, 1));
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &dirty)
	{
		struct Hook *hook = hook_of(iter.cur);

		if (is_due(&hook->health, due->now, due->all) && !hooks_are_current(&hook->user_id))
			users[n++] = hook->user_id;
	}
	if (n > 0)
	{
		qsort(users, n, sizeof(pg_uuid_t), compare_users);
		hooks_load(users, (int) qunique(users, n, sizeof(pg_uuid_t), compare_users));
	}
	pfree(users);
}

/* A hook that we did not disable and that is not listed was deleted, or disabled by its user. */
static bool
has_row(const struct Hook *hook)
{
	return hook->health.disabled != NULL || (hook->health.failures > 0 && hook->listed);
}

static void
write_row(const struct Hook *hook)
{
	static SPIPlanPtr plan = NULL;
	const HookHealth *health = &hook->health;
	Oid			types[] = {
		UUIDOID, UUIDOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, TEXTOID, TEXTOID
	};
	Datum		arguments[] = {
		UUIDPGetDatum(&hook->id), UUIDPGetDatum(&hook->user_id), Int32GetDatum(health->failures),
		TimestampTzGetDatum(health->failing_since), TimestampTzGetDatum(health->last_at),
		Int32GetDatum(health->status), CStringGetTextDatum(health->error ? health->error : ""),
		CStringGetTextDatum(health->disabled ? health->disabled : "")
	};

	run("INSERT INTO hooks.health AS h (hook_id, user_id, failures, failing_since, last_failure_at,"
		" last_status, last_error, disabled_reason, disabled_at)"
		" VALUES ($1, $2, $3, CASE WHEN $3 OPERATOR(pg_catalog.>) 0 THEN $4 END, $5,"
		" NULLIF($6, 0), NULLIF($7, ''), NULLIF($8, ''),"
		" CASE WHEN $8 OPERATOR(pg_catalog.<>) '' THEN $5 END)"
		" ON CONFLICT (hook_id) DO UPDATE SET failures = excluded.failures,"
		" failing_since = excluded.failing_since, last_failure_at = excluded.last_failure_at,"
		" last_status = excluded.last_status, last_error = excluded.last_error,"
		" disabled_reason = excluded.disabled_reason, disabled_at = excluded.disabled_at",
		&plan, lengthof(types), types, arguments, SPI_OK_INSERT);
}

static void
remove_row(const struct Hook *hook)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID};
	Datum		argument = UUIDPGetDatum(&hook->id);

	run("DELETE FROM hooks.health WHERE hook_id OPERATOR(pg_catalog.=) $1",
		&plan, 1, types, &argument, SPI_OK_DELETE);
}

static void
disable(void *arg)
{
	hook_write_disabled((struct Hook *) arg);
}

/*
 * Disable the hook in its table, and say so.  While somebody has its row
 * locked, that is put off; if it cannot be done at all, the hook goes on.
 */
static void
write_disabled(struct Hook *hook)
{
	HookHealth *health = &hook->health;
	ErrorData  *error = tables_try(disable, hook);
	char	   *id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&hook->id)));

	health->put_off = error != NULL && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	if (error == NULL)
	{
		interest_announce_change();
		Async_Notify(CHANNEL, id);
		return;
	}
	if (!health->put_off)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not disable hook \"%s\": %s", id, error->message)));
		set_text(&health->disabled, NULL);
		health->disabling = false;
		hook->enabled = hook->listed;
	}
	FreeErrorData(error);
}

void
health_write(TimestampTz now, bool all)
{
	dlist_iter	iter;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	dlist_foreach(iter, &dirty)
	{
		struct Hook *hook = hook_of(iter.cur);

		if (!is_due(&hook->health, now, all))
			continue;
		hook->health.put_off = false;
		if (hook->health.disabling)
			write_disabled(hook);
		if (hook->health.put_off)
			continue;
		if (has_row(hook))
			write_row(hook);
		else if (hook->health.written && hook->health.failures == 0)
			remove_row(hook);
	}
	SPI_finish();
}

void
health_written(TimestampTz now, bool all)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &dirty)
	{
		struct Hook *hook = hook_of(iter.cur);
		HookHealth *health = &hook->health;

		if (!is_due(health, now, all))
			continue;
		if (health->put_off)
		{
			health->written_at = now;
			continue;
		}
		health->written = has_row(hook);
		health->written_at = now;
		health->disabling = false;
		mark_clean(health);
		hook_release(hook);
	}
}
