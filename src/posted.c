/*-------------------------------------------------------------------------
 *
 * posted.c
 *		Messages that are posted once a stream, and changed since.  See
 *		posted.h.
 *
 * There are few of them, a handful for each user who has such hooks, and they
 * are forgotten after some days: so all are kept in memory, by user.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/ilist.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "field.h"
#include "posted.h"
#include "tables.h"

/* A message that nothing has changed for so long is one of the past. */
#define KEEP_DAYS 7

/* Of the id of a stream, so many bytes count. */
#define MAX_STREAM 100

#define COLUMN_LIST "user_id, name, stream, message_id, event_id, event_time, posted_at, changed_at"

typedef struct Entry
{
	Posted		posted;
	dlist_node	link;			/* among its user's */
	dlist_node	change_link;
	bool		changed;
} Entry;

typedef struct UserMessages
{
	pg_uuid_t	user_id;		/* key */
	dlist_head	entries;		/* in the order in which they were posted */
} UserMessages;

static HTAB *users = NULL;
static MemoryContext context = NULL;
static dlist_head changes = DLIST_STATIC_INIT(changes);

/* ----------
 * In memory
 * ----------
 */

/* Which stream an event belongs to, as its data say; empty when they do not. */
static char *
stream_of(const Event *event)
{
	JsonbValue	value;
	Slice		text = {"", 0};

	if (event_field(event, "livestream_id", &value) &&
		(value.type == jbvString || value.type == jbvNumeric))
		text = json_text(&value);
	return pnstrdup(text.data, pg_mbcliplen(text.data, text.len, MAX_STREAM));
}

static UserMessages *
find_user(const pg_uuid_t *user_id, bool make)
{
	bool		found;
	UserMessages *user;

	if (users == NULL)
		return NULL;
	user = hash_search(users, user_id, make ? HASH_ENTER : HASH_FIND, &found);
	if (make && !found)
		dlist_init(&user->entries);
	return user;
}

static void
mark_changed(Entry *entry, TimestampTz now)
{
	entry->posted.changed_at = now;
	if (!entry->changed)
		dlist_push_tail(&changes, &entry->change_link);
	entry->changed = true;
}

static void
set_text(char **text, const char *value)
{
	if (*text != NULL)
		pfree(*text);
	*text = MemoryContextStrdup(context, value);
}

static Entry *
make_entry(const pg_uuid_t *user_id, const char *name, const char *stream)
{
	Entry	   *entry = MemoryContextAllocZero(context, sizeof(Entry));

	entry->posted.user_id = *user_id;
	set_text(&entry->posted.name, name);
	set_text(&entry->posted.stream, stream);
	dlist_push_tail(&find_user(user_id, true)->entries, &entry->link);
	return entry;
}

static void
free_entry(Entry *entry)
{
	dlist_delete(&entry->link);
	pfree(entry->posted.name);
	pfree(entry->posted.stream);
	pfree(entry->posted.message);
	pfree(entry);
}

/* The one of a stream (NULL: any) or message (NULL: any); of several the last one. */
static Entry *
find_entry(const Event *event, const char *name, const char *stream, const char *message)
{
	UserMessages *user = find_user(&event->user_id, false);
	Entry	   *best = NULL;
	dlist_iter	iter;

	if (user == NULL)
		return NULL;
	dlist_foreach(iter, &user->entries)
	{
		Entry	   *entry = dlist_container(Entry, link, iter.cur);

		if (strcmp(entry->posted.name, name) == 0 &&
			(stream == NULL || strcmp(entry->posted.stream, stream) == 0) &&
			(message == NULL || strcmp(entry->posted.message, message) == 0))
			best = entry;
	}
	return best;
}

const Posted *
posted_find(const Event *event, const char *name)
{
	char	   *stream = stream_of(event);
	Entry	   *entry = find_entry(event, name, *stream ? stream : NULL, NULL);

	if (entry == NULL || *entry->posted.message == '\0')
		return NULL;

	/* A stream without a name begins anew, but for an event that comes again. */
	if (*stream == '\0' && event->type == TRIGGER_STREAM_START &&
		memcmp(&entry->posted.event_id, &event->id, UUID_LEN) != 0)
		return NULL;
	return &entry->posted;
}

void
posted_new(const Event *event, const char *name, const char *message, TimestampTz now)
{
	char	   *stream = stream_of(event);
	Entry	   *entry = find_entry(event, name, stream, NULL);

	if (entry == NULL)
		entry = make_entry(&event->user_id, name, stream);
	dlist_delete(&entry->link);
	dlist_push_tail(&find_user(&event->user_id, true)->entries, &entry->link);
	set_text(&entry->posted.message, message);
	entry->posted.event_id = event->id;
	entry->posted.event_time = event->time;
	entry->posted.posted_at = now;
	mark_changed(entry, now);
}

void
posted_changed(const Event *event, const char *name, const char *message, TimestampTz now)
{
	Entry	   *entry = find_entry(event, name, NULL, message);

	if (entry == NULL)
		return;
	entry->posted.event_time = Max(entry->posted.event_time, event->time);
	mark_changed(entry, now);
}

void
posted_gone(const Event *event, const char *name, const char *message, TimestampTz now)
{
	Entry	   *entry = find_entry(event, name, NULL, message);

	if (entry == NULL)
		return;
	set_text(&entry->posted.message, "");
	mark_changed(entry, now);
}

/* ----------
 * The table
 * ----------
 */

static void
connect_spi(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

void
posted_open(void)
{
	HASHCTL		control = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(UserMessages)};

	context = AllocSetContextCreate(TopMemoryContext, "hooks messages", ALLOCSET_DEFAULT_SIZES);
	users = hash_create("hooks users with messages", 64, &control, HASH_ELEM | HASH_BLOBS);
	dlist_init(&changes);

	connect_spi();
	if (SPI_execute("SELECT " COLUMN_LIST " FROM hooks.message ORDER BY posted_at",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read messages");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Entry	   *entry = make_entry(DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull)),
									   SPI_getvalue(row, desc, 2), SPI_getvalue(row, desc, 3));

		set_text(&entry->posted.message, SPI_getvalue(row, desc, 4));
		entry->posted.event_id = *DatumGetUUIDP(SPI_getbinval(row, desc, 5, &isnull));
		entry->posted.event_time = DatumGetTimestampTz(SPI_getbinval(row, desc, 6, &isnull));
		entry->posted.posted_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 7, &isnull));
		entry->posted.changed_at = DatumGetTimestampTz(SPI_getbinval(row, desc, 8, &isnull));
	}
	SPI_finish();
}

/* The id of the message of a user that an event is to change. */
static char *
stored_message(const Event *event, const char *name, const pg_uuid_t *user_id)
{
	Oid			types[] = {UUIDOID, TEXTOID, TEXTOID, BOOLOID, UUIDOID};
	char	   *stream = stream_of(event);
	Datum		arguments[] = {
		UUIDPGetDatum(user_id), CStringGetTextDatum(name), CStringGetTextDatum(stream),
		BoolGetDatum(event->type == TRIGGER_STREAM_START), UUIDPGetDatum(&event->id)
	};
	char	   *message = "";

	if (SPI_execute_with_args("SELECT m.message_id FROM hooks.message AS m"
							  " WHERE m.user_id OPERATOR(pg_catalog.=) $1"
							  " AND m.name OPERATOR(pg_catalog.=) $2"
							  " AND ($3 OPERATOR(pg_catalog.=) '' OR m.stream OPERATOR(pg_catalog.=) $3)"
							  " AND ($3 OPERATOR(pg_catalog.<>) '' OR NOT $4"
							  " OR m.event_id OPERATOR(pg_catalog.=) $5)"
							  " ORDER BY m.posted_at DESC LIMIT 1",
							  lengthof(types), types, arguments, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for a message");
	if (SPI_processed > 0)
		message = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	return message;
}

char *
posted_look(const Event *event, const char *name, const pg_uuid_t *hook)
{
	MemoryContext caller = CurrentMemoryContext;
	pg_uuid_t	user_id;
	TablesUser	saved;
	char	   *message = "";

	connect_spi();
	if (tables_visible_user(hook, &user_id))
	{
		tables_act_as_owner(tables_machinery("message"), &saved);
		message = stored_message(event, name, &user_id);
		tables_act_done(&saved);
	}
	message = MemoryContextStrdup(caller, message);
	SPI_finish();
	return *message ? message : NULL;
}

bool
posted_has_changes(void)
{
	return !dlist_is_empty(&changes);
}

static void
write_entry(const Posted *posted)
{
	static SPIPlanPtr plan = NULL;
	static Oid	types[] = {
		UUIDOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID
	};
	Datum		arguments[] = {
		UUIDPGetDatum(&posted->user_id), CStringGetTextDatum(posted->name),
		CStringGetTextDatum(posted->stream), CStringGetTextDatum(posted->message),
		UUIDPGetDatum(&posted->event_id), TimestampTzGetDatum(posted->event_time),
		TimestampTzGetDatum(posted->posted_at), TimestampTzGetDatum(posted->changed_at)
	};

	if (plan == NULL)
	{
		plan = SPI_prepare("INSERT INTO hooks.message (" COLUMN_LIST ")"
						   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
						   " ON CONFLICT (user_id, name, stream) DO UPDATE"
						   " SET message_id = excluded.message_id,"
						   " event_id = excluded.event_id, event_time = excluded.event_time,"
						   " posted_at = excluded.posted_at, changed_at = excluded.changed_at",
						   lengthof(types), types);
		if (plan == NULL)
			elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(plan);
	}
	if (SPI_execute_plan(plan, arguments, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write a message");
}

void
posted_write(void)
{
	dlist_iter	iter;

	if (!posted_has_changes())
		return;
	connect_spi();
	dlist_foreach(iter, &changes)
	{
		write_entry(&dlist_container(Entry, change_link, iter.cur)->posted);
	}
	SPI_finish();
}

void
posted_written(void)
{
	while (!dlist_is_empty(&changes))
		dlist_container(Entry, change_link, dlist_pop_head_node(&changes))->changed = false;
}

void
posted_retain(TimestampTz now)
{
	TimestampTz before = now - KEEP_DAYS * USECS_PER_DAY;
	Oid			type = TIMESTAMPTZOID;
	Datum		argument = TimestampTzGetDatum(before);
	HASH_SEQ_STATUS status;
	UserMessages *user;

	connect_spi();
	if (SPI_execute_with_args("DELETE FROM hooks.message WHERE changed_at OPERATOR(pg_catalog.<) $1",
							  1, &type, &argument, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete messages");
	SPI_finish();

	hash_seq_init(&status, users);
	while ((user = hash_seq_search(&status)) != NULL)
	{
		dlist_mutable_iter iter;

		dlist_foreach_modify(iter, &user->entries)
		{
			Entry	   *entry = dlist_container(Entry, link, iter.cur);

			if (!entry->changed && entry->posted.changed_at < before)
				free_entry(entry);
		}
		if (dlist_is_empty(&user->entries))
			hash_search(users, &user->user_id, HASH_REMOVE, NULL);
	}
}
