/*-------------------------------------------------------------------------
 *
 * request.c
 *		SQL functions by which people intervene: pause, resume, cancel,
 *		redeliver, replay.
 *
 * What concerns deliveries is not done here but asked for: a request is queued
 * like an event, in the caller's transaction, and the worker, which alone
 * knows what is under way, fulfils it.  So nothing is done for what is rolled
 * back, and no session ever stands in the worker's way.
 *
 * Hooks, events and log rows are looked up with the caller's rights, what is
 * in the extension's own tables with those of their owner: who may call these
 * functions may intervene for the hooks that he may see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "arguments.h"
#include "chat_report.h"
#include "commit.h"
#include "event.h"
#include "interest.h"
#include "queue.h"
#include "settings.h"
#include "tables.h"
#include "target.h"
#include "version.h"

PG_FUNCTION_INFO_V1(hooks_pause);
PG_FUNCTION_INFO_V1(hooks_resume);
PG_FUNCTION_INFO_V1(hooks_cancel);
PG_FUNCTION_INFO_V1(hooks_redeliver);
PG_FUNCTION_INFO_V1(hooks_replay);
PG_FUNCTION_INFO_V1(hooks_chat_done);
PG_FUNCTION_INFO_V1(hooks_account_changed);

/* What a request is about, with room for the values that it points to. */
typedef struct Subject
{
	Event		event;
	text	   *platform;
	struct varlena *data;
	pg_uuid_t	hook_id;
	const char *target;			/* of a delivery, or NULL */
	bool		waits;			/* its delivery is aside, and will be made */
} Subject;

static char *
uuid_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

static bool
is_zero(const pg_uuid_t *id)
{
	static const pg_uuid_t zero = {{0}};

	return memcmp(id, &zero, UUID_LEN) == 0;
}

/* Run a query with up to two ids as its parameters; returns the number of rows. */
static uint64
query(const char *text, const pg_uuid_t *first, const pg_uuid_t *second, bool read_only)
{
	Oid			types[] = {UUIDOID, UUIDOID};
	Datum		values[] = {UUIDPGetDatum(first), second ? UUIDPGetDatum(second) : (Datum) 0};
	char		nulls[] = {' ', second ? ' ' : 'n', '\0'};

	if (SPI_execute_with_args(text, lengthof(types), types, values, nulls, read_only, 0) < 0)
		elog(ERROR, "could not execute a query: %s", SPI_result_code_string(SPI_result));
	return SPI_processed;
}

/* The same with the rights of the owner of our tables. */
static uint64
query_ours(const char *text, const pg_uuid_t *first, const pg_uuid_t *second, bool read_only)
{
	TablesUser	saved;
	uint64		n;

	tables_act_as_owner(tables_machinery("delivery"), &saved);
	n = query(text, first, second, read_only);
	tables_act_done(&saved);
	return n;
}

static Datum
result(int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, isnull);
}

/* Everything that is asked for begins so. */
static void
connect_spi(void)
{
	version_require();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

/* The user of a hook, and whether it is enabled; false when the caller sees no such hook. */
static bool
find_hook(const pg_uuid_t *hook, pg_uuid_t *user, bool *enabled)
{
	Oid			table = tables_hooks();
	bool		isnull;

	if (!OidIsValid(table) ||
		query(psprintf("SELECT user_id::pg_catalog.uuid, enabled FROM %s"
					   " WHERE id OPERATOR(pg_catalog.=) $1 AND $2 IS NULL", tables_name(table)),
			  hook, NULL, true) == 0)
		return false;
	*user = *DatumGetUUIDP(result(1, &isnull));
	*enabled = DatumGetBool(result(2, &isnull));
	return true;
}

/* Has the user hooks that the caller sees? */
static bool
has_hooks(const pg_uuid_t *user)
{
	return query("SELECT FROM hooks.stored_hooks(NULL, $1) AS h WHERE $2 IS NULL LIMIT 1", user, NULL,
				 true) > 0;
}

/* Ask the worker for it.  What is too large to be delivered cannot be asked for. */
static void
enqueue(const Subject *subject, QueueRequest request)
{
	Size		limit = (Size) hooks_max_payload * 1024;
	Size		size = subject->data ? VARSIZE_ANY_EXHDR(subject->data) : 0;
	QueueRow   *row;

	if (size > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event data is too large: %zu bytes, limit %zu", size, limit),
				 errhint("The limit is the setting \"hooks.max_payload\".")));
	row = queue_row_make(commit_context(), &subject->event, subject->platform, subject->data, NULL);
	row->request = request;
	row->hook_id = subject->hook_id;
	row->target = subject->target;
	commit_queue(row);
}

/* ----------
 * Pauses
 * ----------
 */

/* Whom pause() and resume() are called for: the user, and the hook or zero. */
static void
pause_arguments(FunctionCallInfo fcinfo, pg_uuid_t *user, pg_uuid_t *hook)
{
	bool		enabled;

	if (PG_ARGISNULL(0) == PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("either a hook or a user must be given"),
				 errhint("For example hooks.pause(hook => '6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10').")));
	memset(hook, 0, sizeof(*hook));
	if (!PG_ARGISNULL(0))
	{
		*hook = *PG_GETARG_UUID_P(0);
		if (!find_hook(hook, user, &enabled))
			ereport(ERROR,
					(errcode(ERRCODE_NO_DATA_FOUND),
					 errmsg("hook \"%s\" does not exist", uuid_text(hook))));
		return;
	}
	*user = *PG_GETARG_UUID_P(1);
	if (!has_hooks(user))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("user \"%s\" has no hooks", uuid_text(user)),
				 errhint("A hook is given as hook => ..., a user as user_id => ....")));
}

Datum
hooks_pause(PG_FUNCTION_ARGS)
{
	pg_uuid_t	user;
	pg_uuid_t	hook;
	bool		paused;

	connect_spi();
	pause_arguments(fcinfo, &user, &hook);
	paused = query_ours("INSERT INTO hooks.paused (user_id, hook_id) VALUES ($1, $2)"
						" ON CONFLICT DO NOTHING",
						&user, is_zero(&hook) ? NULL : &hook, false) > 0;
	SPI_finish();
	if (paused)
		interest_announce_change();
	PG_RETURN_BOOL(paused);
}

Datum
hooks_resume(PG_FUNCTION_ARGS)
{
	Subject		subject = {.event.type = TRIGGER_FOLLOW};
	bool		resumed;

	connect_spi();
	pause_arguments(fcinfo, &subject.event.user_id, &subject.hook_id);
	if (is_zero(&subject.hook_id))
	{
		subject.event.id = subject.event.user_id;
		resumed = query_ours("DELETE FROM hooks.paused WHERE user_id OPERATOR(pg_catalog.=) $1"
							 " AND hook_id IS NULL AND $2 IS NULL",
							 &subject.event.user_id, NULL, false) > 0;
	}
	else
		resumed = query_ours("DELETE FROM hooks.paused WHERE hook_id OPERATOR(pg_catalog.=) $1"
							 " AND $2 IS NULL",
							 &subject.hook_id, NULL, false) > 0;
	SPI_finish();
	if (resumed)
	{
		/* The request is read before the news of the change may have arrived. */
		interest_announce_change();
		commit_hooks_changed();
		subject.event.time = GetCurrentTimestamp();
		enqueue(&subject, QUEUE_RESUME);
	}
	PG_RETURN_BOOL(resumed);
}

/* ----------
 * Deliveries
 * ----------
 */

#define DELIVERY_QUERY \
	"SELECT hook_id, user_id, event_id, event_type, event_time, platform, data, next_at IS NOT NULL, target" \
	" FROM hooks.delivery WHERE "

/* Take the row of hooks.delivery that a query has found; copies its values. */
static void
take_delivery(Subject *subject, MemoryContext context)
{
	MemoryContext previous = MemoryContextSwitchTo(context);
	bool		isnull;
	Datum		value;
	text	   *name;

	subject->hook_id = *DatumGetUUIDP(result(1, &isnull));
	subject->event.user_id = *DatumGetUUIDP(result(2, &isnull));
	subject->event.id = *DatumGetUUIDP(result(3, &isnull));
	name = DatumGetTextPP(result(4, &isnull));
	subject->event.type = argument_trigger_type(name);
	subject->event.time = DatumGetTimestampTz(result(5, &isnull));
	value = result(6, &isnull);
	subject->platform = isnull ? NULL : DatumGetTextPCopy(value);
	value = result(7, &isnull);
	subject->data = isnull ? NULL : (struct varlena *) DatumGetJsonbPCopy(value);
	subject->waits = DatumGetBool(result(8, &isnull));
	value = result(9, &isnull);
	subject->target = isnull ? NULL : target_name(TextDatumGetCString(value));
	MemoryContextSwitchTo(previous);
}

/* The delivery of that id, whoever may see it; false when nothing is kept of it. */
static bool
take_kept(Subject *subject, const pg_uuid_t *id, MemoryContext context)
{
	if (query_ours(DELIVERY_QUERY "id OPERATOR(pg_catalog.=) $1 AND $2 IS NULL", id, NULL, true) == 0)
		return false;
	take_delivery(subject, context);
	return true;
}

/* The event of that id, as the caller may see it. */
static void
take_stored_event(Subject *subject, const pg_uuid_t *event, MemoryContext context)
{
	MemoryContext previous;
	bool		isnull;
	Jsonb	   *row;
	JsonbValue	data;

	(void) query("SELECT hooks.stored_event($1) WHERE $2 IS NULL", event, NULL, true);
	previous = MemoryContextSwitchTo(context);
	row = DatumGetJsonbPCopy(result(1, &isnull));
	argument_event(row, true, &subject->event);
	if (subject->event.platform)
		subject->platform = cstring_to_text(subject->event.platform);
	if (getKeyJsonValueFromContainer(&row->root, "data", 4, &data) != NULL)
		subject->data = (struct varlena *) JsonbValueToJsonb(&data);
	MemoryContextSwitchTo(previous);
}

/* What a row of the log is about, with the caller's rights; false when there is none. */
static bool
take_logged(Subject *subject, const pg_uuid_t *log, MemoryContext context)
{
	Oid			table = tables_logs();
	pg_uuid_t	event;
	pg_uuid_t	hook;
	const char *target;
	Datum		value;
	bool		isnull;

	if (!OidIsValid(table) ||
		query(psprintf("SELECT hook_id, stream_event_id, platform FROM %s WHERE id OPERATOR(pg_catalog.=) $1"
					   " AND $2 IS NULL AND stream_event_id IS NOT NULL", tables_name(table)),
			  log, NULL, true) == 0)
		return false;
	hook = *DatumGetUUIDP(result(1, &isnull));
	event = *DatumGetUUIDP(result(2, &isnull));
	value = result(3, &isnull);

	/* Where the application sends chat messages, there is one delivery for all platforms. */
	target = isnull || hooks_chat != CHAT_DIRECT ? NULL : target_name(TextDatumGetCString(value));
	if (query_ours(psprintf(DELIVERY_QUERY "hook_id OPERATOR(pg_catalog.=) $1"
							" AND event_id OPERATOR(pg_catalog.=) $2 AND target IS NOT DISTINCT FROM %s",
							target ? quote_literal_cstr(target) : "NULL"), &hook, &event, true) > 0)
		take_delivery(subject, context);
	else
		take_stored_event(subject, &event, context);
	subject->target = target;
	subject->hook_id = hook;
	return true;
}

Datum
hooks_redeliver(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	MemoryContext context = CurrentMemoryContext;
	Subject		subject = {0};
	Occasion	occasion = {.event = &subject.event};
	pg_uuid_t	user;
	pg_uuid_t  *delivery;
	bool		enabled;

	connect_spi();
	if (!(take_kept(&subject, id, context) || take_logged(&subject, id, context)) ||
		!find_hook(&subject.hook_id, &user, &enabled))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("delivery \"%s\" does not exist", uuid_text(id)),
				 errhint("Take a delivery_id of hooks.dead, or the id of a row of the log of hooks.")));
	SPI_finish();

	if (!enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("hook \"%s\" is not enabled", uuid_text(&subject.hook_id)),
				 errhint("Set \"enabled\" of the hook to true first.")));
	subject.event.user_id = user;
	enqueue(&subject, QUEUE_REDELIVER);

	occasion.hook_id = subject.hook_id;
	delivery = palloc(sizeof(pg_uuid_t));
	*delivery = occasion_delivery_id(&occasion, subject.target);
	PG_RETURN_UUID_P(delivery);
}

Datum
hooks_cancel(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	MemoryContext context = CurrentMemoryContext;
	Subject		subject = {0};
	pg_uuid_t	user;
	bool		enabled;
	bool		waits;

	connect_spi();
	waits = take_kept(&subject, id, context) && subject.waits &&
		find_hook(&subject.hook_id, &user, &enabled);
	SPI_finish();

	if (waits)
	{
		subject.platform = NULL;
		subject.data = NULL;
		enqueue(&subject, QUEUE_CANCEL);
	}
	PG_RETURN_BOOL(waits);
}

Datum
hooks_replay(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *event = PG_GETARG_UUID_P(0);
	Subject		subject = {0};

	connect_spi();
	take_stored_event(&subject, event, CurrentMemoryContext);
	if (!has_hooks(&subject.event.user_id))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("the user of event \"%s\" has no hooks", uuid_text(event))));
	SPI_finish();
	enqueue(&subject, QUEUE_REPLAY);
	PG_RETURN_VOID();
}

/* ----------
 * Reports
 * ----------
 */

/* What the application says about a message; an error when it cannot be understood. */
static void
check_report(const Jsonb *results)
{
	ChatReport	report;
	Mistake		error;

	if (!chat_report_read(&results->root, &report, &error))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", error.message),
				 error.hint ? errhint("%s", error.hint) : 0));
	if (report.pending != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("report for \"%s\" is not final", report.pending),
				 errhint("Call hooks.chat_done() when every platform has taken the message or refused it.")));
}

/* hooks.chat_done(id, results) */
Datum
hooks_chat_done(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_GETARG_UUID_P(0);
	Jsonb	   *results = PG_GETARG_JSONB_P(1);
	MemoryContext context = CurrentMemoryContext;
	Subject		subject = {0};
	bool		isnull;
	bool		found;

	check_report(results);
	connect_spi();
	found = query_ours("DELETE FROM hooks.chat_outbox WHERE id OPERATOR(pg_catalog.=) $1 AND $2 IS NULL"
					   " RETURNING test", id, NULL, false) > 0;
	if (found && !DatumGetBool(result(1, &isnull)))
	{
		found = query_ours(DELIVERY_QUERY "id OPERATOR(pg_catalog.=) $1 AND $2 IS NULL"
						   " AND why OPERATOR(pg_catalog.=) 'outbox'", id, NULL, true) > 0;
		if (found)
		{
			take_delivery(&subject, context);
			subject.platform = NULL;
			subject.data = (struct varlena *) results;
			enqueue(&subject, QUEUE_REPORT);
		}
	}
	SPI_finish();
	PG_RETURN_BOOL(found);
}

/* ----------
 * Accounts
 * ----------
 */

/*
 * Trigger of hooks.chat_accounts and hooks.secret, whose first columns are the
 * user: what waits for the user's accounts may go on.  With an argument, who
 * has which account has changed as well, which is known with the hooks.
 */
Datum
hooks_account_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Subject		subject = {.event.type = TRIGGER_FOLLOW};
	HeapTuple	row;
	Datum		user;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("hooks.account_changed() must be called as a row trigger")));
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	user = heap_getattr(row, 1, RelationGetDescr(trigger->tg_relation), &isnull);
	if (isnull)
		elog(ERROR, "user is null");
	subject.event.user_id = *DatumGetUUIDP(user);
	if (trigger->tg_trigger->tgnargs > 0)
	{
		interest_announce_change();
		commit_hooks_changed();
	}
	subject.event.id = subject.event.user_id;
	subject.event.time = GetCurrentTimestamp();
	enqueue(&subject, QUEUE_ACCOUNT);
	return PointerGetDatum(NULL);
}
