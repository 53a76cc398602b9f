/*-------------------------------------------------------------------------
 *
 * outbox.c
 *		Chat messages that the application takes and sends itself.  See
 *		outbox.h.
 *
 * What a session has locked is never waited for: a row that cannot be deleted
 * now is nobody's any more, because its delivery is not there, and is deleted
 * later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "listener.h"
#include "outbox.h"
#include "tables.h"

/* How long a test waits for somebody to take it. */
#define TEST_LASTS (120 * USECS_PER_SEC)

typedef struct Change
{
	dlist_node	link;
	bool		remove;
	pg_uuid_t	id;
	pg_uuid_t	hook_id;
	pg_uuid_t	user_id;
	char	   *request;
	TimestampTz expires_at;
} Change;

static dlist_head changes = DLIST_STATIC_INIT(changes);
static MemoryContext changes_context = NULL;
static bool has_puts = false;		/* one of the changes is no removal */
static bool news = false;

static void
connect_spi(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

static void
run(SPIPlanPtr *plan, const char *query, int nargs, Oid *types, Datum *arguments, int expected)
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
		elog(ERROR, "could not execute a query on hooks.chat_outbox");
}

/* ----------
 * Changes
 * ----------
 */

static Change *
add_change(const pg_uuid_t *id)
{
	Change	   *change;

	if (changes_context == NULL)
		changes_context = AllocSetContextCreate(TopMemoryContext, "hooks changes of the outbox",
												ALLOCSET_DEFAULT_SIZES);
	change = MemoryContextAllocZero(changes_context, sizeof(Change));
	change->id = *id;
	dlist_push_tail(&changes, &change->link);
	return change;
}

void
outbox_put(const pg_uuid_t *id, const pg_uuid_t *hook, const pg_uuid_t *user, const char *request,
		   TimestampTz expires_at)
{
	Change	   *change = add_change(id);

	change->hook_id = *hook;
	change->user_id = *user;
	change->request = MemoryContextStrdup(changes_context, request);
	change->expires_at = expires_at;
	has_puts = true;
}

void
outbox_remove(const pg_uuid_t *id)
{
	add_change(id)->remove = true;
}

bool
outbox_has_changes(void)
{
	return !dlist_is_empty(&changes);
}

static void
insert(const pg_uuid_t *id, const pg_uuid_t *hook, const pg_uuid_t *user, const char *request,
	   TimestampTz expires_at, bool test)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, UUIDOID, UUIDOID, TEXTOID, TIMESTAMPTZOID, BOOLOID};
	Datum		arguments[] = {
		UUIDPGetDatum(id), UUIDPGetDatum(hook), UUIDPGetDatum(user), CStringGetTextDatum(request),
		TimestampTzGetDatum(expires_at), BoolGetDatum(test)
	};

	/* One that is there is left from an earlier attempt at the same delivery. */
	run(&plan, "INSERT INTO hooks.chat_outbox AS o (id, hook_id, user_id, request, expires_at, test)"
		" VALUES ($1, $2, $3, $4::pg_catalog.jsonb, $5, $6)"
		" ON CONFLICT (id) DO UPDATE SET request = excluded.request, expires_at = excluded.expires_at,"
		" put_at = excluded.put_at, leased_until = NULL, taken = 0",
		lengthof(types), types, arguments, SPI_OK_INSERT);
}

static void
delete(const pg_uuid_t *id)
{
	static SPIPlanPtr plan = NULL;
	Oid			type = UUIDOID;
	Datum		argument = UUIDPGetDatum(id);

	run(&plan, "DELETE FROM hooks.chat_outbox AS o WHERE o.id OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT l.id FROM hooks.chat_outbox AS l WHERE l.id OPERATOR(pg_catalog.=) $1 FOR UPDATE SKIP LOCKED))",
		1, &type, &argument, SPI_OK_DELETE);
}

void
outbox_write(void)
{
	dlist_iter	iter;

	if (!outbox_has_changes())
		return;
	connect_spi();
	dlist_foreach(iter, &changes)
	{
		Change	   *change = dlist_container(Change, link, iter.cur);

		if (change->remove)
			delete(&change->id);
		else
			insert(&change->id, &change->hook_id, &change->user_id, change->request,
				   change->expires_at, false);
	}
	SPI_finish();
}

void
outbox_written(void)
{
	news |= has_puts;
	has_puts = false;
	dlist_init(&changes);
	if (changes_context)
		MemoryContextReset(changes_context);
}

void
outbox_put_test(const pg_uuid_t *id, const pg_uuid_t *hook, const pg_uuid_t *user,
				const char *request)
{
	connect_spi();
	insert(id, hook, user, request, GetCurrentTimestamp() + TEST_LASTS, true);
	SPI_finish();
	if (listener_any())
		Async_Notify(LISTENER_CHANNEL, "");
}

void
outbox_retain(void)
{
	static SPIPlanPtr plan = NULL;

	connect_spi();
	run(&plan, "DELETE FROM hooks.chat_outbox AS o WHERE o.id OPERATOR(pg_catalog.=) ANY (ARRAY("
		"SELECT l.id FROM hooks.chat_outbox AS l"
		" WHERE l.expires_at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) '1 minute'::pg_catalog.interval)"
		" AND NOT EXISTS (SELECT FROM hooks.delivery AS d WHERE d.id OPERATOR(pg_catalog.=) l.id"
		" AND d.why OPERATOR(pg_catalog.=) 'outbox')"
		" FOR UPDATE SKIP LOCKED))", 0, NULL, NULL, SPI_OK_DELETE);
	SPI_finish();
}

/* ----------
 * News
 * ----------
 */

void
outbox_open(void)
{
	connect_spi();
	if (SPI_execute("SELECT FROM hooks.chat_outbox", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read hooks.chat_outbox");
	news = SPI_processed > 0;
	SPI_finish();
}

/*
 * Asked after the commit: whoever begins to listen later, and then looks, sees
 * what was committed.
 */
bool
outbox_has_news(void)
{
	if (news && !listener_any())
		news = false;
	return news;
}

void
outbox_tell(void)
{
	Async_Notify(LISTENER_CHANNEL, "");
	news = false;
}

typedef struct Taken
{
	const pg_uuid_t *id;
	bool		taken;
} Taken;

static void
look_whether_taken(void *arg)
{
	static SPIPlanPtr plan = NULL;
	Taken	   *what = arg;
	Oid			type = UUIDOID;
	Datum		argument = UUIDPGetDatum(what->id);

	connect_spi();
	run(&plan, "SELECT FROM hooks.chat_outbox AS o WHERE o.id OPERATOR(pg_catalog.=) $1"
		" AND o.taken OPERATOR(pg_catalog.>) 0", 1, &type, &argument, SPI_OK_SELECT);
	what->taken = SPI_processed > 0;
	SPI_finish();
}

bool
outbox_was_taken(const pg_uuid_t *id)
{
	Taken		what = {.id = id};

	return !tables_read(look_whether_taken, &what) || what.taken;
}
