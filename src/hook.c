/*-------------------------------------------------------------------------
 *
 * hook.c
 *		Hooks as the worker knows them: rows of stream_hooks, compiled.
 *
 * All SQL on the hooks table by the worker is here.  It runs as the table's
 * owner, with names qualified, through saved plans that follow the types of
 * the columns (an adopted table may keep its times without time zone).
 *
 * The cooldown lives in memory and is written back: the worker is the only
 * one to admit deliveries.  Somebody who sets last_triggered_at by hand is
 * recognised because the row then says something else than what was stored.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "hook.h"
#include "presence.h"
#include "settings.h"
#include "tables.h"
#include "target.h"

/*
 * last_triggered_at of one hook is written no more often than this.  For a
 * hook without cooldown it is only something to look at, and every write of a
 * row leaves a dead one behind.
 */
#define WRITE_SECONDS 1
#define WRITE_SECONDS_NO_COOLDOWN 5

/* The server log hears of rows that the table refuses once in a while. */
#define COMPLAIN_EVERY USECS_PER_MINUTE

/* A user without events for this long is forgotten. */
#define FORGET_AFTER (300 * USECS_PER_SEC)

#define SH_PREFIX userhooks
#define SH_ELEMENT_TYPE UserHooks
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY user_id
#define SH_HASH_KEY(tb, key) hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(tb, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Of users who are not known as a whole. */
#define UNKNOWN_VERSION 0
static uint64 version = UNKNOWN_VERSION + 1;
static userhooks_hash *users_hash = NULL;
static MemoryContext hooks_context = NULL;

/*
 * Hooks whose last_triggered_at is to be written, by the second in which that
 * is due, modulo the number of lists; before "due_from" none is.
 */
#define DUE_LISTS 8
static dlist_head due[DUE_LISTS];
static int	ndirty = 0;
static bool some_gone = false;
static int64 due_from = 0;

static Oid	carrier = InvalidOid;	/* hooks.interest, whose invalidation tells of changes */
static Oid	planned_table = InvalidOid; /* the hooks table, while the plans are good */
static uint64 invalidations = 0;	/* that may concern them */
static SPIPlanPtr load_plan = NULL;
static SPIPlanPtr write_plan = NULL;
static SPIPlanPtr careful_write_plan = NULL;	/* leaves rows alone that are locked */

void
hooks_invalidate(Oid relation)
{
	if (!OidIsValid(relation) || relation == planned_table || relation == carrier)
		version++;
	if (relation != carrier)
	{
		planned_table = InvalidOid;
		invalidations++;
	}
}

static void
prepare_context(void)
{
	if (hooks_context != NULL)
		return;
	hooks_context = AllocSetContextCreate(TopMemoryContext, "hooks loaded", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < DUE_LISTS; i++)
		dlist_init(&due[i]);
	users_hash = userhooks_create(hooks_context, 256, NULL);
}

UserHooks *
hooks_of(const pg_uuid_t *user_id)
{
	prepare_context();
	return userhooks_lookup(users_hash, *user_id);
}

bool
hooks_are_current(const pg_uuid_t *user_id)
{
	UserHooks  *hooks = hooks_of(user_id);

	return hooks != NULL && hooks->version == version &&
		(hooks->presence_known || !hooks_require_presence);
}

bool
hooks_user_is_served(const UserHooks *user)
{
	return !hooks_require_presence || user->joined;
}

/* ----------
 * Plans
 * ----------
 */

static SPIPlanPtr
prepare_plan(const char *query, int nargs, Oid *types)
{
	SPIPlanPtr	plan = SPI_prepare(query, nargs, types);

	if (plan == NULL)
		elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	return plan;
}

/* Find the hooks table and prepare the plans; InvalidOid when there is no such table. */
static Oid
prepare_plans(void)
{
	Oid			load_types[] = {UUIDARRAYOID};
	Oid			write_types[] = {UUIDARRAYOID, TIMESTAMPTZARRAYOID};
	uint64		as_of = invalidations;
	Oid			relation;
	char	   *table;
	char	   *fired;
	char	   *stored;

	if (OidIsValid(planned_table))
		return planned_table;

	if (load_plan)
		SPI_freeplan(load_plan);
	if (write_plan)
		SPI_freeplan(write_plan);
	if (careful_write_plan)
		SPI_freeplan(careful_write_plan);
	load_plan = write_plan = careful_write_plan = NULL;

	carrier = tables_machinery("interest");
	relation = tables_hooks();
	if (!OidIsValid(relation))
		return InvalidOid;
	tables_refuse_hidden_rows(relation);

	table = tables_name(relation);

	/* Casts, so that a column that was given another type is never misread. */
	fired = psprintf("%s::pg_catalog.timestamptz",
					 tables_time_as_timestamptz(relation, "last_triggered_at"));
	stored = tables_timestamptz_as_time(relation, "last_triggered_at", "v.at");
	load_plan = prepare_plan(psprintf("SELECT id::pg_catalog.uuid, user_id::pg_catalog.uuid,"
									  " name::pg_catalog.text,"
									  " trigger_type::pg_catalog.text, conditions::pg_catalog.jsonb,"
									  " action_type::pg_catalog.text, action_config::pg_catalog.jsonb,"
									  " LEAST(GREATEST(cooldown_seconds, 0), 86400)::pg_catalog.int4, %s"
									  " FROM %s"
									  " WHERE user_id OPERATOR(pg_catalog.=) ANY ($1) AND enabled"
									  " ORDER BY user_id, inserted_at, id",
									  fired, table),
							 lengthof(load_types), load_types);
	write_plan = prepare_plan(psprintf("UPDATE %s h SET last_triggered_at = %s"
									   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
									   " WITH ORDINALITY v(id, at, i)"
									   " WHERE h.id OPERATOR(pg_catalog.=) v.id"
									   " RETURNING v.i, %s",
									   table, stored, fired),
							  lengthof(write_types), write_types);
	careful_write_plan = prepare_plan(psprintf("WITH v AS MATERIALIZED ("
											   "SELECT l.id, w.at, w.i"
											   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
											   " WITH ORDINALITY w(id, at, i)"
											   " JOIN %s l ON l.id OPERATOR(pg_catalog.=) w.id"
											   " FOR NO KEY UPDATE OF l SKIP LOCKED)"
											   " UPDATE %s h SET last_triggered_at = %s FROM v"
											   " WHERE h.id OPERATOR(pg_catalog.=) v.id"
											   " RETURNING v.i, %s",
											   table, table, stored, fired),
									  lengthof(write_types), write_types);
	if (as_of == invalidations)
		planned_table = relation;
	return relation;
}

/* ----------
 * Loading
 * ----------
 */

/* Columns of the load plan. */
enum
{
	LOAD_ID = 1,
	LOAD_USER_ID,
	LOAD_NAME,
	LOAD_TRIGGER_TYPE,
	LOAD_CONDITIONS,
	LOAD_ACTION_TYPE,
	LOAD_ACTION_CONFIG,
	LOAD_COOLDOWN_SECONDS,
	LOAD_LAST_TRIGGERED_AT
};

static Hook *
find_hook(UserHooks *user, const pg_uuid_t *id)
{
	for (int i = 0; i < user->nhooks; i++)
	{
		if (memcmp(&user->hooks[i]->id, id, UUID_LEN) == 0)
			return user->hooks[i];
	}
	return NULL;
}

Hook *
hook_find(const pg_uuid_t *user_id, const pg_uuid_t *hook_id)
{
	UserHooks  *user = hooks_of(user_id);

	return user ? find_hook(user, hook_id) : NULL;
}

void
hooks_pause_all(const pg_uuid_t *user_id)
{
	UserHooks  *user = hooks_of(user_id);

	for (int i = 0; user != NULL && i < user->nhooks; i++)
		user->hooks[i]->paused = true;
}

static Hook *
make_hook(const pg_uuid_t *id, const pg_uuid_t *user_id)
{
	Hook	   *hook = MemoryContextAllocZero(hooks_context, sizeof(Hook));

	hook->id = *id;
	hook->user_id = *user_id;
	hook->context = AllocSetContextCreate(hooks_context, "hook", ALLOCSET_SMALL_SIZES);
	hook->last_admitted = hook->stored = DT_NOBEGIN;
	dlist_init(&hook->deliveries);
	return hook;
}

static int64
to_seconds(TimestampTz time)
{
	return time / USECS_PER_SEC;
}

static void
mark_clean(Hook *hook)
{
	if (!hook->dirty)
		return;
	dlist_delete(&hook->dirty_link);
	hook->dirty = false;
	ndirty--;
}

/* To be written when its turn comes after the last time. */
static void
mark_dirty(Hook *hook, TimestampTz now)
{
	int64		interval = hook->cooldown_seconds > 0 ? WRITE_SECONDS : WRITE_SECONDS_NO_COOLDOWN;
	int64		second = Max(to_seconds(now), to_seconds(hook->written_at) + interval);

	if (hook->dirty)
		return;
	/* A clock that was set back must not put it off for ever. */
	second = Min(second, to_seconds(now) + interval);
	dlist_push_tail(&due[second % DUE_LISTS], &hook->dirty_link);
	hook->dirty = true;
	if (ndirty++ == 0 || to_seconds(now) < due_from)
		due_from = to_seconds(now);
}

/* A hook that is in no list any more goes when its last delivery does. */
static void
free_hook_if_unused(Hook *hook)
{
	if (hook->listed || !dlist_is_empty(&hook->deliveries) || hook->health.disabling)
		return;
	mark_clean(hook);
	health_forget(hook);
	schedule_forget_lane(&hook->lane);
	MemoryContextDelete(hook->context);
	pfree(hook);
}

/* A text column of the current row, in the current memory context. */
static char *
row_text(HeapTuple row, TupleDesc desc, int column)
{
	char	   *text = SPI_getvalue(row, desc, column);

	return text ? text : pstrdup("");
}

static Jsonb *
row_jsonb(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

/* What the row says of when it fired last: news only if somebody else wrote it. */
static void
take_last_triggered(Hook *hook, TimestampTz at)
{
	if (at == hook->stored)
		return;
	hook->stored = hook->last_admitted = at;
	mark_clean(hook);
}

/* Compile a row into its hook. */
static void
compile_row(Hook *hook, HeapTuple row, TupleDesc desc)
{
	MemoryContext previous;
	Mistake		error = {0};
	char	   *type_name;
	Datum		value;
	bool		isnull;
	int			type;

	MemoryContextReset(hook->context);
	previous = MemoryContextSwitchTo(hook->context);

	hook->enabled = !hook->health.disabling;
	hook->paused = false;
	hook->name = row_text(row, desc, LOAD_NAME);
	hook->action_name = row_text(row, desc, LOAD_ACTION_TYPE);
	hook->condition = NULL;
	hook->action = NULL;
	hook->mistake = NULL;

	value = SPI_getbinval(row, desc, LOAD_COOLDOWN_SECONDS, &isnull);
	hook->cooldown_seconds = isnull ? 0 : DatumGetInt32(value);
	value = SPI_getbinval(row, desc, LOAD_LAST_TRIGGERED_AT, &isnull);
	take_last_triggered(hook, isnull ? DT_NOBEGIN : DatumGetTimestampTz(value));

	type_name = row_text(row, desc, LOAD_TRIGGER_TYPE);
	type = trigger_type_parse(type_name, strlen(type_name));
	hook->type = type;
	if (type != TRIGGER_TYPE_UNKNOWN)
	{
		hook->condition = condition_compile(row_jsonb(row, desc, LOAD_CONDITIONS), type,
											action_type_sends_chat(hook->action_name), &error);
		if (hook->condition)
			hook->action = action_compile(hook->action_name,
										  row_jsonb(row, desc, LOAD_ACTION_CONFIG), &error);
		if (hook->action == NULL)
			hook->mistake = error.message;
	}
	MemoryContextSwitchTo(previous);
}

/* The user whose hook a row holds. */
static const pg_uuid_t *
row_user(SPITupleTable *rows, uint64 i)
{
	bool		isnull;

	return DatumGetUUIDP(SPI_getbinval(rows->vals[i], rows->tupdesc, LOAD_USER_ID, &isnull));
}

/* Replace what is known of a user by the rows from..below-1. */
static void
load_user(const pg_uuid_t *user_id, SPITupleTable *rows, uint64 from, uint64 below)
{
	bool		found;
	UserHooks  *user = userhooks_insert(users_hash, *user_id, &found);
	UserHooks	old = {0};

	if (found)
		old = *user;
	else
	{
		user->used_at = 0;
		user->connected = 0;
		user->accounts = NULL;
	}
	user->presence_known = user->joined = false;
	for (int i = 0; i < old.nhooks; i++)
		old.hooks[i]->enabled = old.hooks[i]->listed = false;

	user->version = UNKNOWN_VERSION;
	user->nhooks = 0;
	user->hooks = NULL;
	if (below > from)
		user->hooks = MemoryContextAlloc(hooks_context, sizeof(Hook *) * (below - from));
	for (uint64 i = from; i < below; i++)
	{
		bool		isnull;
		pg_uuid_t  *id = DatumGetUUIDP(SPI_getbinval(rows->vals[i], rows->tupdesc,
													 LOAD_ID, &isnull));
		Hook	   *hook = find_hook(&old, id);

		if (hook == NULL)
			hook = make_hook(id, user_id);
		compile_row(hook, rows->vals[i], rows->tupdesc);
		hook->listed = true;
		user->hooks[user->nhooks++] = hook;
	}

	for (int i = 0; i < old.nhooks; i++)
	{
		some_gone |= !old.hooks[i]->listed;
		free_hook_if_unused(old.hooks[i]);
	}
	if (old.hooks)
		pfree(old.hooks);
}

/* The user has an account on a platform. */
static void
take_account(const pg_uuid_t *user_id, int target, const AccountIds *ids)
{
	UserHooks  *user = hooks_of(user_id);

	if (user == NULL)
		return;
	if (user->accounts == NULL)
		user->accounts = MemoryContextAllocZero(hooks_context, sizeof(AccountIds) * TARGETS);
	user->accounts[target] = *ids;
	user->connected |= (uint32) 1 << target;
}

/* The user has joined. */
static void
take_joined(const pg_uuid_t *user_id, void *arg)
{
	UserHooks  *user = hooks_of(user_id);

	if (user != NULL)
		user->joined = true;
}

/* Find out who of them has. */
static void
load_presence(Datum argument, const pg_uuid_t *users, int nusers)
{
	/* Somebody has the table locked: as with other tables, later. */
	if (!presence_list(argument, take_joined, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not obtain lock on relation \"%s\"", "hooks.presence")));
	for (int i = 0; i < nusers; i++)
		hooks_of(&users[i])->presence_known = true;
}

/* Has one of the users a hook that writes into chats? */
static bool
want_accounts(const pg_uuid_t *users, int nusers)
{
	for (int i = 0; i < nusers; i++)
	{
		UserHooks  *user = hooks_of(&users[i]);

		for (int n = 0; n < user->nhooks; n++)
		{
			if (user->hooks[n]->action && user->hooks[n]->action->type->targets)
				return true;
		}
	}
	return false;
}

/* Find out which accounts they have.  What was known goes once the table is ours to read. */
static void
load_accounts(Datum argument, const pg_uuid_t *users, int nusers)
{
	bool		wanted = want_accounts(users, nusers);

	if (wanted)
		account_lock();
	for (int i = 0; i < nusers; i++)
	{
		UserHooks  *user = hooks_of(&users[i]);

		if (user->accounts)
			pfree(user->accounts);
		user->accounts = NULL;
		user->connected = 0;
	}
	if (wanted)
		account_list(argument, take_account);
}

static int
compare_users(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

void
hooks_load(pg_uuid_t *users, int nusers)
{
	Datum	   *ids = palloc(sizeof(Datum) * nusers);
	Datum		argument;
	TablesUser	saved;
	Oid			table;
	SPITupleTable *rows = NULL;
	uint64		nrows = 0;
	uint64		next = 0;
	uint64		as_of;

	prepare_context();
	qsort(users, nusers, sizeof(pg_uuid_t), compare_users);
	for (int i = 0; i < nusers; i++)
		ids[i] = UUIDPGetDatum(&users[i]);
	argument = PointerGetDatum(construct_array(ids, nusers, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");

	/* Whoever has these locked must not make hooks known by halves. */
	health_lock();

	/* What changes from here on may be missed, and counts as unknown. */
	as_of = version;
	table = prepare_plans();
	if (OidIsValid(table))
	{
		tables_act_as_owner(table, &saved);
		if (SPI_execute_plan(load_plan, &argument, NULL, false, 0) != SPI_OK_SELECT)
			elog(ERROR, "could not read hooks");
		tables_act_done(&saved);
		nrows = SPI_processed;
		rows = SPI_tuptable;
	}

	/* Both are ordered by user. */
	for (int i = 0; i < nusers; i++)
	{
		uint64		from = next;

		while (next < nrows && memcmp(row_user(rows, next), &users[i], UUID_LEN) == 0)
			next++;
		load_user(&users[i], rows, from, next);
	}
	Assert(next == nrows);
	health_load(argument, hook_find);
	if (hooks_require_presence)
		load_presence(argument, users, nusers);
	load_accounts(argument, users, nusers);
	SPI_finish();

	/* Whoever cannot get this far tries again, and goes by the accounts known before. */
	for (int i = 0; i < nusers; i++)
		hooks_of(&users[i])->version = as_of;
}

void
hooks_forget_unused(TimestampTz now)
{
	userhooks_iterator iterator;
	UserHooks  *user;

	if (users_hash == NULL)
		return;

	userhooks_start_iterate(users_hash, &iterator);
	while ((user = userhooks_iterate(users_hash, &iterator)) != NULL)
	{
		bool		busy = now - user->used_at < FORGET_AFTER;

		for (int i = 0; i < user->nhooks && !busy; i++)
			busy = user->hooks[i]->dirty || user->hooks[i]->health.dirty ||
				user->hooks[i]->lane.aside.n > 0 || !dlist_is_empty(&user->hooks[i]->deliveries);
		if (busy)
			continue;

		for (int i = 0; i < user->nhooks; i++)
		{
			user->hooks[i]->enabled = user->hooks[i]->listed = false;
			free_hook_if_unused(user->hooks[i]);
		}
		if (user->hooks)
			pfree(user->hooks);
		if (user->accounts)
			pfree(user->accounts);
		userhooks_delete_item(users_hash, user);
	}
}

/* ----------
 * Cooldown
 * ----------
 */

bool
hook_admit(Hook *hook, TimestampTz now)
{
	if (cooldown_active(hook->last_admitted, now, hook->cooldown_seconds))
		return false;
	hook->last_admitted = now;
	mark_dirty(hook, now);
	return true;
}

/* Was the hook last admitted then?  A row may keep its time less exactly than we do. */
bool
hook_has_taken(const Hook *hook, TimestampTz taken)
{
	return hook->last_admitted == taken ||
		(hook->last_admitted == hook->stored && !TIMESTAMP_NOT_FINITE(hook->stored) &&
		 !TIMESTAMP_NOT_FINITE(taken) && Max(hook->stored - taken, taken - hook->stored) < USECS_PER_SEC);
}

void
hook_write_soon(Hook *hook)
{
	if (!hook->dirty)
		return;
	mark_clean(hook);
	hook->written_at = 0;
	mark_dirty(hook, GetCurrentTimestamp());
}

void
hook_give_back(Hook *hook, TimestampTz taken, TimestampTz before)
{
	if (!hook_has_taken(hook, taken))
		return;
	hook->last_admitted = before;
	mark_dirty(hook, GetCurrentTimestamp());
}

/*
 * Times of admission that the clock has not reached any more would make a
 * cooldown longer than it was meant to be.  (One in the future that somebody
 * has set by hand is left alone.)
 */
void
hooks_set_back(TimestampTz from, TimestampTz now)
{
	userhooks_iterator iterator;
	UserHooks  *user;

	if (users_hash == NULL)
		return;
	userhooks_start_iterate(users_hash, &iterator);
	while ((user = userhooks_iterate(users_hash, &iterator)) != NULL)
	{
		for (int i = 0; i < user->nhooks; i++)
		{
			Hook	   *hook = user->hooks[i];

			if (hook->last_admitted <= now || hook->last_admitted > from)
				continue;
			hook->last_admitted = now;
			mark_clean(hook);
			mark_dirty(hook, now);
		}
		user->used_at = Min(user->used_at, now);
	}
}

typedef struct SetBack
{
	Oid			table;
	TimestampTz from;
	TimestampTz now;
} SetBack;

static void
set_stored_back(void *arg)
{
	SetBack    *what = arg;
	char	   *table = tables_name(what->table);
	char	   *fired = psprintf("%s::pg_catalog.timestamptz",
								 tables_time_as_timestamptz(what->table, "last_triggered_at"));
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		arguments[] = {TimestampTzGetDatum(what->now), TimestampTzGetDatum(what->from)};

	if (SPI_execute_with_args(psprintf("UPDATE %s SET last_triggered_at = %s"
									   " WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY("
									   "SELECT id FROM %s WHERE %s OPERATOR(pg_catalog.>) $1"
									   " AND %s OPERATOR(pg_catalog.<=) $2"
									   " FOR NO KEY UPDATE SKIP LOCKED))",
									   table,
									   tables_timestamptz_as_time(what->table, "last_triggered_at", "$1"),
									   table, fired, fired),
							  lengthof(types), types, arguments, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not set last_triggered_at back");
}

/* What the application has put on its table must not stop us. */
void
hooks_set_stored_back(TimestampTz from, TimestampTz now)
{
	SetBack		what = {.table = tables_hooks(), .from = from, .now = now};
	TablesUser	saved;
	ErrorData  *error;

	if (!OidIsValid(what.table))
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	tables_act_as_owner(what.table, &saved);
	error = tables_try(set_stored_back, &what);
	tables_act_done(&saved);
	if (error != NULL && error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	if (error != NULL)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not set last_triggered_at of hooks back: %s", error->message)));
	SPI_finish();
}

/* What is being written, until the transaction has committed. */
static struct
{
	int			n;
	int			allocated;
	bool		carefully;		/* locked rows were left alone; else, a row not written is gone */
	Hook	  **hooks;
	TimestampTz *written;		/* as the table keeps it; DT_NOEND: not written */
}			writing;

/* How many of the lists, from due_from on, are due. */
static int
lists_due(TimestampTz now, bool all)
{
	int64		n = to_seconds(now) - due_from + 1;

	if (all || n > DUE_LISTS || n < 0)
		return DUE_LISTS;
	return (int) n;
}

bool
hooks_to_write(TimestampTz now, bool all)
{
	if (ndirty == 0)
		return false;
	for (int i = 0; i < lists_due(now, all); i++)
	{
		if (!dlist_is_empty(&due[(due_from + i) % DUE_LISTS]))
			return true;
	}
	return false;
}

/* Make room for n more hooks that are being written. */
static void
start_writing(int n)
{
	if (n > writing.allocated)
	{
		if (writing.hooks)
		{
			pfree(writing.hooks);
			pfree(writing.written);
		}
		writing.hooks = MemoryContextAlloc(hooks_context, sizeof(Hook *) * n);
		writing.written = MemoryContextAlloc(hooks_context, sizeof(TimestampTz) * n);
		writing.allocated = n;
	}
	writing.n = 0;
}

/* Some of the hooks that are being written. */
typedef struct Portion
{
	int			from;
	int			n;
} Portion;

static void
write_portion(void *arg)
{
	Portion    *portion = arg;
	Datum	   *ids = palloc(sizeof(Datum) * portion->n);
	Datum	   *times = palloc(sizeof(Datum) * portion->n);
	bool	   *nulls = palloc(sizeof(bool) * portion->n);
	int			dims[1] = {portion->n};
	int			lower_bounds[1] = {1};
	Datum		arguments[2];
	TablesUser	saved;
	Oid			table;

	for (int i = 0; i < portion->n; i++)
	{
		Hook	   *hook = writing.hooks[portion->from + i];

		ids[i] = UUIDPGetDatum(&hook->id);
		times[i] = TimestampTzGetDatum(hook->last_admitted);
		nulls[i] = TIMESTAMP_IS_NOBEGIN(hook->last_admitted);
	}
	arguments[0] = PointerGetDatum(construct_array(ids, portion->n, UUIDOID, UUID_LEN, false,
												   TYPALIGN_CHAR));
	arguments[1] = PointerGetDatum(construct_md_array(times, nulls, 1, dims, lower_bounds,
													  TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL,
													  TYPALIGN_DOUBLE));

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	table = prepare_plans();
	if (OidIsValid(table))
	{
		tables_act_as_owner(table, &saved);
		if (SPI_execute_plan(writing.carefully ? careful_write_plan : write_plan, arguments, NULL,
							 false, 0) != SPI_OK_UPDATE_RETURNING)
			elog(ERROR, "could not write last_triggered_at");
		tables_act_done(&saved);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			HeapTuple	row = SPI_tuptable->vals[i];
			TupleDesc	desc = SPI_tuptable->tupdesc;
			bool		isnull;
			int64		number = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
			TimestampTz at = DatumGetTimestampTz(SPI_getbinval(row, desc, 2, &isnull));

			writing.written[portion->from + number - 1] = isnull ? DT_NOBEGIN : at;
		}
	}
	SPI_finish();
}

/* What the application has put on its table refuses the row. */
static void
complain(const ErrorData *error, TimestampTz now)
{
	static TimestampTz next = DT_NOBEGIN;
	static char last[200] = "";

	/* Something else is said at once. */
	if (now < next && next - now <= COMPLAIN_EVERY &&
		strncmp(last, error->message, sizeof(last) - 1) == 0)
		return;
	next = now + COMPLAIN_EVERY;
	strlcpy(last, error->message, sizeof(last));
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("could not write last_triggered_at of hooks: %s", error->message),
			 errdetail("Hooks go on; after a restart, their cooldowns count from what the table has."),
			 errhint("Look at the triggers and constraints of the hooks table.")));
}

/* Each by itself, so that one that is refused costs no other one. */
static void
write_one_by_one(TimestampTz now)
{
	for (int i = 0; i < writing.n; i++)
	{
		Portion		one = {i, 1};
		ErrorData  *error = tables_try(write_portion, &one);

		if (error == NULL || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			continue;
		writing.written[i] = writing.hooks[i]->stored;	/* not again before it has changed */
		complain(error, now);
	}
}

void
hooks_write(TimestampTz now, bool all, bool carefully, void (*about_to_write) (Hook *hook))
{
	Portion		whole = {0};

	start_writing(ndirty);
	writing.carefully = carefully;
	for (int i = 0; i < lists_due(now, all); i++)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &due[(due_from + i) % DUE_LISTS])
		{
			Hook	   *hook = dlist_container(Hook, dirty_link, iter.cur);

			about_to_write(hook);
			writing.hooks[writing.n] = hook;
			writing.written[writing.n] = DT_NOEND;
			writing.n++;
		}
	}
	whole.n = writing.n;
	if (!carefully)
		write_portion(&whole);
	else
	{
		ErrorData  *error = tables_try(write_portion, &whole);

		if (error != NULL && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			write_one_by_one(now);
	}
}

void
hooks_written(TimestampTz now)
{
	for (int i = 0; i < writing.n; i++)
	{
		Hook	   *hook = writing.hooks[i];
		bool		written = !TIMESTAMP_IS_NOEND(writing.written[i]);

		mark_clean(hook);
		hook->written_at = now;
		if (written)
			hook->stored = writing.written[i];
		else if (hook->enabled && writing.carefully)
			mark_dirty(hook, now);	/* somebody may have the row locked */
	}
	writing.n = 0;
	due_from = to_seconds(now) + 1;
	if (ndirty == 0)
		due_from = to_seconds(now);
}

/* ----------
 * Disabling
 * ----------
 */

void
hook_write_disabled(Hook *hook)
{
	Oid			type = UUIDOID;
	Datum		id = UUIDPGetDatum(&hook->id);
	Oid			table = tables_hooks();
	TablesUser	saved;

	if (!OidIsValid(table))
		return;
	tables_refuse_hidden_rows(table);
	tables_act_as_owner(table, &saved);
	if (SPI_execute_with_args(psprintf("UPDATE %s SET enabled = false"
									   " WHERE id OPERATOR(pg_catalog.=) $1 AND enabled",
									   tables_name(table)),
							  1, &type, &id, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not disable a hook");
	tables_act_done(&saved);
}

/* ----------
 * Deliveries
 * ----------
 */

bool
hooks_take_gone(void)
{
	bool		gone = some_gone;

	some_gone = false;
	return gone;
}

void
hook_release(Hook *hook)
{
	free_hook_if_unused(hook);
}
