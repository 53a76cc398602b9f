/*-------------------------------------------------------------------------
 *
 * look.c
 *		SQL functions that show what a hook would do, and do nothing: the parts
 *		of hooks.preview(), explain() and backtest() that SQL cannot do.
 *
 * They take a hook as the values of its columns, and an event as jsonb, and
 * decide as the worker would.  Whose hooks and events may be looked at is up
 * to the SQL functions around these, which run with the caller's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "account.h"
#include "action.h"
#include "arguments.h"
#include "chat_gateway.h"
#include "chat_loop.h"
#include "condition.h"
#include "cooldown.h"
#include "lint.h"
#include "posted.h"
#include "template.h"

PG_FUNCTION_INFO_V1(hooks_judge);
PG_FUNCTION_INFO_V1(hooks_build);
PG_FUNCTION_INFO_V1(hooks_backtest_rows);
PG_FUNCTION_INFO_V1(hooks_lint_rows);

/* Rows of events fetched at once. */
#define FETCH_ROWS 1000

static const char *
argument_string(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static Jsonb *
argument_json(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);
}

static Occasion
argument_occasion(FunctionCallInfo fcinfo, int id, int name, const Event *event)
{
	Occasion	occasion = {.event = event};

	if (!PG_ARGISNULL(id))
		occasion.hook_id = *PG_GETARG_UUID_P(id);
	occasion.hook_name = PG_ARGISNULL(name) ? "" : argument_string(fcinfo, name);
	return occasion;
}

static Datum
make_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static void
set_text(Datum *values, bool *nulls, int n, const char *text)
{
	nulls[n] = text == NULL;
	if (text != NULL)
		values[n] = CStringGetTextDatum(text);
}

/* ----------
 * Verdicts
 * ----------
 */

/* What only the user's accounts decide about a hook that writes into chats. */
static void
judge_chat(const Action *action, const Condition *condition, const Occasion *occasion,
		   Datum *values, bool *nulls)
{
	static const pg_uuid_t none = {{0}};
	ChatAccount accounts[TARGETS] = {0};
	AccountIds	ids[TARGETS] = {0};
	const char *targets[ACTION_MAX_TARGETS];
	Mistake		error = {0};
	uint32		connected = 0;

	if (memcmp(&occasion->hook_id, &none, UUID_LEN) != 0)
		connected = account_look(&occasion->hook_id, accounts);
	for (int i = 0; i < TARGETS; i++)
	{
		if ((connected & ((uint32) 1 << i)) == 0)
			continue;
		strlcpy(ids[i].channel, accounts[i].channel, sizeof(ids[i].channel));
		strlcpy(ids[i].sender, accounts[i].sender ? accounts[i].sender : "", sizeof(ids[i].sender));
	}
	if (condition_ignores_self(condition) && chat_loop_closes(occasion->event, ids, connected))
	{
		set_text(values, nulls, 0, "skipped_condition");
		set_text(values, nulls, 1, "the message is the hook's own, or from another channel's chat");
		set_text(values, nulls, 2, "ignore_self");
	}
	else if (action_targets(action, connected, targets, &error) == 0)
	{
		set_text(values, nulls, 0, "failure");
		set_text(values, nulls, 1, error.message);
	}
	else
		set_text(values, nulls, 0, "fires");
}

/*
 * hooks.judge(trigger_type, conditions, action_type, action_config, hook_id,
 * hook_name, event): verdict, reason, key, event_value, hook_value.
 */
Datum
hooks_judge(PG_FUNCTION_ARGS)
{
	TriggerType type = argument_trigger_type(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	Jsonb	   *conditions = argument_json(fcinfo, 1);
	const char *action_name = argument_string(fcinfo, 2);
	Mistake		error = {0};
	Condition  *condition;
	Action	   *action = NULL;
	Event		event;
	Occasion	occasion;
	Datum		values[5] = {0};
	bool		nulls[5] = {true, true, true, true, true};
	const char *key;
	JsonbValue	value;

	argument_event(PG_GETARG_JSONB_P(6), true, &event);
	occasion = argument_occasion(fcinfo, 4, 5, &event);
	if (action_name == NULL)
		action_name = "";

	condition = condition_compile(conditions, type, action_type_sends_chat(action_name), &error);
	if (condition != NULL)
		action = action_compile(action_name, argument_json(fcinfo, 3), &error);

	if (event.type != type)
	{
		set_text(values, nulls, 0, "other_trigger_type");
		set_text(values, nulls, 1, "the hook waits for events of another type");
	}
	else if (action == NULL)
	{
		set_text(values, nulls, 0, "failure");
		set_text(values, nulls, 1, error.message);
	}
	else if ((key = condition_unmet(condition, &occasion, &value)) != NULL)
	{
		JsonbValue	wanted;

		set_text(values, nulls, 0, "skipped_condition");
		set_text(values, nulls, 1, psprintf("condition \"%s\" does not hold", key));
		set_text(values, nulls, 2, key);
		values[3] = JsonbPGetDatum(JsonbValueToJsonb(&value));
		nulls[3] = value.type == jbvNull;
		if (conditions != NULL &&
			getKeyJsonValueFromContainer(&conditions->root, key, strlen(key), &wanted) != NULL)
		{
			values[4] = JsonbPGetDatum(JsonbValueToJsonb(&wanted));
			nulls[4] = false;
		}
	}
	else if (action->type->sends_chat)
		judge_chat(action, condition, &occasion, values, nulls);
	else
		set_text(values, nulls, 0, "fires");
	return make_row(fcinfo, values, nulls);
}

static void
report_warning(void *arg, const char *column, const char *warning, const char *hint)
{
	ReturnSetInfo *result = arg;
	Datum		values[3];
	bool		nulls[3];

	set_text(values, nulls, 0, column);
	set_text(values, nulls, 1, warning);
	set_text(values, nulls, 2, hint);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * hooks.lint(trigger_type, conditions, action_type, action_config): column,
 * warning, hint.  What would be refused when written is one, too.
 */
Datum
hooks_lint_rows(PG_FUNCTION_ARGS)
{
	TriggerType type = argument_trigger_type(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	Jsonb	   *conditions = argument_json(fcinfo, 1);
	const char *action_name = argument_string(fcinfo, 2);
	Jsonb	   *config = argument_json(fcinfo, 3);
	Mistake		error;

	if (action_name == NULL)
		action_name = "";
	InitMaterializedSRF(fcinfo, 0);
	if (!condition_compile(conditions, type, action_type_sends_chat(action_name), &error))
		report_warning(fcinfo->resultinfo, "conditions", error.message, error.hint);
	if (!action_compile(action_name, config, &error))
		report_warning(fcinfo->resultinfo,
					   action_type_find(action_name) ? "action_config" : "action_type",
					   error.message, error.hint);
	lint_hook(type, conditions, config, report_warning, fcinfo->resultinfo);
	return (Datum) 0;
}

/* ----------
 * Messages
 * ----------
 */

/* Does the name of a header or parameter say that its value is a secret? */
static bool
names_secret(const char *name, size_t length)
{
	static const char *const parts[] = {
		"auth", "token", "secret", "key", "password", "signature", "credential", "session"
	};
	char	   *lower = pnstrdup(name, length);

	for (char *c = lower; *c; c++)
		*c = pg_ascii_tolower(*c);
	for (size_t i = 0; i < lengthof(parts); i++)
	{
		if (strstr(lower, parts[i]) != NULL)
			return true;
	}
	return false;
}

static void
append_member(StringInfo json, const char *name, const char *value)
{
	if (json->len > 1)
		appendStringInfoChar(json, ',');
	escape_json(json, name);
	appendStringInfoChar(json, ':');
	escape_json(json, value);
}

/* An e-mail's envelope, as the mail server is told. */
static void
append_envelope(StringInfo json, const Mail *mail)
{
	StringInfoData recipients;

	initStringInfo(&recipients);
	for (int i = 0; i < mail->nrecipients; i++)
		appendStringInfo(&recipients, "%s<%s>", i > 0 ? ", " : "", mail->recipients[i]);
	append_member(json, "MAIL FROM", psprintf("<%s>", mail->sender));
	append_member(json, "RCPT TO", recipients.data);
}

/* Headers as a JSON object, of those sent by a hook. */
static char *
headers_json(const Message *message)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (message->mail)
		append_envelope(&json, message->mail);
	for (int i = 0; i < message->nheaders; i++)
	{
		const char *line = message->headers[i];
		size_t		name = strcspn(line, ":;");
		const char *value = line[name] == ':' ? line + name + 1 + strspn(line + name + 1, " ") : "";

		append_member(&json, pnstrdup(line, name), names_secret(line, name) ? SECRET_MASK : value);
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* The URL, with the values of parameters hidden whose names say that they are secrets. */
static char *
masked_url(const char *url)
{
	StringInfoData out;
	const char *p = url + strcspn(url, "?");

	initStringInfo(&out);
	appendBinaryStringInfo(&out, url, p - url);
	while (*p)
	{
		size_t		name = strcspn(p + 1, "=&#") + 1;
		size_t		whole = strcspn(p + 1, "&#") + 1;

		appendBinaryStringInfo(&out, p, name);
		if (p[name] == '=' && names_secret(p + 1, name - 1))
			appendStringInfoString(&out, "=" SECRET_MASK);
		else
			appendBinaryStringInfo(&out, p + name, whole - name);
		p += whole;
		if (*p == '#')
		{
			appendStringInfoString(&out, p);
			break;
		}
	}
	return out.data;
}

/* The message of a delivery as a row, or why there is none. */
static void
put_message(ReturnSetInfo *result, const Action *action, ActionDelivery *delivery, const char *why)
{
	Datum		values[6] = {0};
	bool		nulls[6] = {true, true, true, true, true, true};
	Mistake		error = {.message = unconstify(char *, why)};
	Message		message = {0};
	pg_uuid_t	id = occasion_delivery_id(&delivery->occasion, delivery->target);

	delivery->id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id)));
	set_text(values, nulls, 0, delivery->target);
	if (action != NULL && why == NULL && action->type->build(action, delivery, &message, &error))
	{
		set_text(values, nulls, 1, message.to_outbox ? "OUTBOX" : message.method);
		if (message.url != NULL)
			set_text(values, nulls, 2, message.shown_url ? message.shown_url : masked_url(message.url));
		values[3] = DirectFunctionCall1(jsonb_in, CStringGetDatum(headers_json(&message)));
		nulls[3] = false;
		if (message.mail != NULL)
			set_text(values, nulls, 4, message.mail->shown_body);
		else if (message.body != NULL)
			set_text(values, nulls, 4, pnstrdup(message.body, message.body_length));
	}
	else
		set_text(values, nulls, 5, error.message);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* A message for each of the accounts that the user of the hook has where it writes. */
static void
put_messages(ReturnSetInfo *result, const Action *action, ActionDelivery *delivery, bool has_hook)
{
	ChatAccount accounts[TARGETS];
	const char *targets[ACTION_MAX_TARGETS];
	Mistake		error = {0};
	uint32		connected = has_hook ? account_look(&delivery->occasion.hook_id, accounts) : 0;
	int			n = action_targets(action, connected, targets, &error);

	if (n == 0)
		put_message(result, action, delivery, error.message);
	for (int i = 0; i < n; i++)
	{
		ChatAccount *account = &accounts[target_number(targets[i])];

		account->token = SECRET_MASK;
		delivery->target = targets[i];
		delivery->account = account;
		put_message(result, action, delivery, NULL);
	}
}

/*
 * hooks.build(action_type, action_config, hook_id, hook_name, event): for each
 * destination target, method, url, headers, body, reason (why there is no
 * message).
 */
Datum
hooks_build(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *action_name = argument_string(fcinfo, 0);
	Mistake		error = {0};
	Action	   *action;
	Event		event;
	ActionDelivery delivery = {.now = GetCurrentTimestamp()};

	InitMaterializedSRF(fcinfo, 0);
	argument_event(PG_GETARG_JSONB_P(4), true, &event);
	delivery.occasion = argument_occasion(fcinfo, 2, 3, &event);
	chat_gateway_forget();
	action = action_compile(action_name ? action_name : "", argument_json(fcinfo, 1), &error);
	if (action != NULL && action->edits != NULL && !PG_ARGISNULL(2))
		delivery.edits = posted_look(&event, action->edits, &delivery.occasion.hook_id);

	if (action == NULL)
		put_message(result, action, &delivery, error.message);
	else if (action->accounts)
		put_messages(result, action, &delivery, !PG_ARGISNULL(2));
	else
		put_message(result, action, &delivery, NULL);
	return (Datum) 0;
}

/* ----------
 * Backtest
 * ----------
 */

/* A hook that is tried on stored events, and how it goes. */
typedef struct Backtest
{
	Condition  *condition;
	Occasion	occasion;
	Event		event;
	int			cooldown_seconds;
	TimestampTz last;			/* when it has fired last */
	ReturnSetInfo *result;
} Backtest;

/* Columns of the query for events. */
enum
{
	BACKTEST_ID = 1,
	BACKTEST_DATA,
	BACKTEST_PLATFORM,
	BACKTEST_TIME
};

static void
try_event(Backtest *test, HeapTuple row, TupleDesc desc)
{
	Datum		values[5] = {0};
	bool		nulls[5] = {false, false, false, true, true};
	const char *key;
	JsonbValue	value = {.type = jbvNull};
	bool		isnull;
	Datum		datum;

	datum = SPI_getbinval(row, desc, BACKTEST_ID, &isnull);
	if (isnull)
		return;
	test->event.id = *DatumGetUUIDP(datum);
	test->event.time = DatumGetTimestampTz(SPI_getbinval(row, desc, BACKTEST_TIME, &isnull));
	if (isnull)
		return;
	datum = SPI_getbinval(row, desc, BACKTEST_DATA, &isnull);
	test->event.data = isnull ? NULL : &DatumGetJsonbP(datum)->root;
	test->event.platform = SPI_getvalue(row, desc, BACKTEST_PLATFORM);

	values[0] = UUIDPGetDatum(&test->event.id);
	values[1] = TimestampTzGetDatum(test->event.time);
	key = condition_unmet(test->condition, &test->occasion, &value);
	if (key != NULL)
	{
		values[2] = CStringGetTextDatum("skipped_condition");
		set_text(values, nulls, 3, key);
		values[4] = JsonbPGetDatum(JsonbValueToJsonb(&value));
		nulls[4] = value.type == jbvNull;
	}
	else if (cooldown_active(test->last, test->event.time, test->cooldown_seconds))
		values[2] = CStringGetTextDatum("skipped_cooldown");
	else
	{
		test->last = test->event.time;
		values[2] = CStringGetTextDatum("fires");
	}
	tuplestore_putvalues(test->result->setResult, test->result->setDesc, values, nulls);
}

/*
 * hooks.backtest_rows(query, user_id, trigger_type, since, conditions,
 * action_type, cooldown_seconds, hook_id, hook_name): event_id, at, verdict,
 * key, event_value.  The query has the parameters user, type and since and
 * gives id, data, platform and time of events, oldest first.
 */
Datum
hooks_backtest_rows(PG_FUNCTION_ARGS)
{
	Oid			types[] = {UUIDOID, TEXTOID, TIMESTAMPTZOID};
	Datum		arguments[] = {PG_GETARG_DATUM(1), PG_GETARG_DATUM(2), PG_GETARG_DATUM(3)};
	char	   *query;
	Backtest	test = {.last = DT_NOBEGIN};
	TriggerType type;
	const char *action_name;
	Mistake		error = {0};
	MemoryContext scratch;
	Portal		portal;
	SPIPlanPtr	plan;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("user and time of a backtest must not be null")));
	query = text_to_cstring(PG_GETARG_TEXT_PP(0));
	type = argument_trigger_type(PG_ARGISNULL(2) ? NULL : PG_GETARG_TEXT_PP(2));
	action_name = argument_string(fcinfo, 5);
	test.condition = condition_compile(argument_json(fcinfo, 4), type,
									   action_type_sends_chat(action_name ? action_name : ""), &error);
	if (test.condition == NULL)
		argument_mistake(&error);
	test.cooldown_seconds = PG_ARGISNULL(6) ? 0 : PG_GETARG_INT32(6);
	test.event.user_id = *PG_GETARG_UUID_P(1);
	test.event.type = type;
	test.occasion = argument_occasion(fcinfo, 7, 8, &test.event);
	test.result = (ReturnSetInfo *) fcinfo->resultinfo;
	InitMaterializedSRF(fcinfo, 0);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	scratch = AllocSetContextCreate(CurrentMemoryContext, "hooks backtest", ALLOCSET_DEFAULT_SIZES);
	plan = SPI_prepare(query, lengthof(types), types);
	if (plan == NULL)
		elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, arguments, NULL, true);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			MemoryContext previous = MemoryContextSwitchTo(scratch);

			CHECK_FOR_INTERRUPTS();
			try_event(&test, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
			MemoryContextSwitchTo(previous);
			MemoryContextReset(scratch);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
	return (Datum) 0;
}
