/*-------------------------------------------------------------------------
 *
 * trial.c
 *		hooks.test(): a message that a session sends, to see what comes of it.
 *
 * Whoever sets up a hook wants to see it work, before anything happens and
 * before it is enabled.  So the session itself sends one message, marked as a
 * test, of what the hook's row says in its own transaction, and waits for the
 * answer: with the worker's code and settings, but without its limits, and
 * without a row of the log, a cooldown, or another attempt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "account.h"
#include "action.h"
#include "arguments.h"
#include "chat_gateway.h"
#include "compat.h"
#include "log.h"
#include "outbox.h"
#include "secret.h"
#include "settings.h"
#include "tables.h"
#include "transport.h"
#include "version.h"

PG_FUNCTION_INFO_V1(hooks_test);

/* The longest time for which nobody looks whether the query was cancelled. */
#define LOOK_MS 100

/* A hook's row, as far as a test goes. */
typedef struct Trial
{
	Occasion	occasion;
	Event		event;
	char	   *action_name;
	Jsonb	   *config;
} Trial;

enum
{
	RESULT_TARGET,
	RESULT_STATUS,
	RESULT_RESPONSE_STATUS,
	RESULT_DURATION,
	RESULT_ERROR,
	RESULTS
};

/* The hook, as the caller may see it, and what the event is. */
static void
load(Trial *trial, pg_uuid_t *hook, Jsonb *event)
{
	Oid			types[] = {UUIDOID, JSONBOID};
	Datum		values[] = {UUIDPGetDatum(hook), event ? JsonbPGetDatum(event) : (Datum) 0};
	char		nulls[] = {' ', event ? ' ' : 'n', '\0'};
	MemoryContext context = CurrentMemoryContext;
	MemoryContext previous;
	HeapTuple	row;
	TupleDesc	desc;
	bool		isnull;
	Datum		value;
	char	   *type;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute_with_args("SELECT h.user_id, h.name, h.trigger_type, h.action_type, h.action_config,"
							  " coalesce($2, hooks.sample_event(h.trigger_type)), pg_catalog.gen_random_uuid()"
							  " FROM hooks.stored_hooks($1, NULL) AS h",
							  lengthof(types), types, values, nulls, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read a hook");
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;

	previous = MemoryContextSwitchTo(context);
	type = SPI_getvalue(row, desc, 3);
	value = SPI_getbinval(row, desc, 6, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no sample event of type \"%s\"", type ? type : "")));
	argument_event(DatumGetJsonbPCopy(value), false, &trial->event);
	trial->event.type = argument_trigger_type(type ? cstring_to_text(type) : NULL);
	trial->event.user_id = *DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
	trial->event.id = *DatumGetUUIDP(SPI_getbinval(row, desc, 7, &isnull));
	trial->event.time = GetCurrentTimestamp();
	trial->occasion.event = &trial->event;
	trial->occasion.hook_id = *hook;
	trial->occasion.hook_name = pstrdup(SPI_getvalue(row, desc, 2));
	trial->action_name = pstrdup(SPI_getvalue(row, desc, 4));
	value = SPI_getbinval(row, desc, 5, &isnull);
	trial->config = isnull ? NULL : DatumGetJsonbPCopy(value);
	MemoryContextSwitchTo(previous);
	SPI_finish();
}

static void
wait_for(Answer *answer)
{
	static uint32 wait = 0;
	void	   *arg;

	while (!transport_take(answer, &arg))
	{
		long		timeout = transport_timeout();

		(void) WaitLatchOrSocket(MyLatch,
								 WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
								 transport_fd(), timeout < 0 ? LOOK_MS : Min(timeout, LOOK_MS),
								 wait_event(&wait, "HooksTest"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		transport_drive();
	}
}

/* Send the message, and judge the answer; why it cannot be sent, or NULL. */
static const char *
perform(const Message *message, const Action *action, const ActionDelivery *delivery,
		Outcome *outcome, int64 *duration_us)
{
	const char *volatile why = NULL;

	transport_init();
	PG_TRY();
	{
		why = transport_start(message, NULL);
		if (why == NULL)
		{
			Answer		answer;

			wait_for(&answer);
			action->type->judge(delivery, &answer, &action->retry, outcome);
			*duration_us = answer.duration_us;
		}
	}
	PG_FINALLY();
	{
		transport_end();
	}
	PG_END_TRY();
	return why;
}

static void
put_result(ReturnSetInfo *result, const char *target, const char *why, const char *status,
		   const char *error, const Outcome *outcome, int64 duration_us)
{
	Datum		values[RESULTS] = {0};
	bool		nulls[RESULTS] = {true, false, true, false, true};

	if (target != NULL)
	{
		values[RESULT_TARGET] = CStringGetTextDatum(target);
		nulls[RESULT_TARGET] = false;
	}
	values[RESULT_STATUS] = CStringGetTextDatum(status);
	if (why == NULL && outcome->status != 0)
	{
		values[RESULT_RESPONSE_STATUS] = Int32GetDatum(outcome->status);
		nulls[RESULT_RESPONSE_STATUS] = false;
	}
	values[RESULT_DURATION] = Int32GetDatum((int32) ((duration_us + 500) / 1000));
	if (error != NULL)
	{
		values[RESULT_ERROR] = CStringGetTextDatum(error);
		nulls[RESULT_ERROR] = false;
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* A message that the application sends: it is there when our transaction has ended. */
static void
put_into_outbox(ReturnSetInfo *result, const ActionDelivery *delivery, const pg_uuid_t *id,
				const Message *message)
{
	Outcome		outcome = {0};
	TablesUser	saved;

	tables_act_as_owner(tables_machinery("chat_outbox"), &saved);
	outbox_put_test(id, &delivery->occasion.hook_id, &delivery->occasion.event->user_id,
					message->body);
	tables_act_done(&saved);
	put_result(result, NULL, NULL, "pending", "in hooks.chat_outbox, for the application to take", &outcome, 0);
}

/* Send the message to one of the hook's destinations; "why" says that there is none. */
static void
try(ReturnSetInfo *result, const Action *action, ActionDelivery *delivery, const char *why)
{
	Mistake		error = {.message = unconstify(char *, why)};
	Message		message = {0};
	Outcome		outcome = {0};
	int64		duration_us = 0;
	const char *text;
	pg_uuid_t	id = occasion_delivery_id(&delivery->occasion, delivery->target);

	delivery->id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id)));
	if (action != NULL && why == NULL)
	{
		message.timeout_ms = action->timeout_ms;
		if (!action->type->build(action, delivery, &message, &error))
			why = error.message;
		else if (message.to_outbox)
		{
			put_into_outbox(result, delivery, &id, &message);
			return;
		}
		else
			why = perform(&message, action, delivery, &outcome, &duration_us);
	}
	text = why ? why : outcome.error ? outcome.error : outcome.note;
	put_result(result, delivery->target, why,
			   why == NULL && outcome.class == OUTCOME_SUCCESS ? "success" : "failure",
			   text ? log_text(text) : NULL, &outcome, duration_us);
}

/* One for each of the accounts of the hook's user. */
static void
try_accounts(ReturnSetInfo *result, const Action *action, ActionDelivery *delivery)
{
	ChatAccount accounts[TARGETS];
	const char *targets[ACTION_MAX_TARGETS];
	Mistake		error = {0};
	int			n = action_targets(action, account_look(&delivery->occasion.hook_id, accounts),
								   targets, &error);

	if (n == 0)
		try(result, action, delivery, error.message);
	delivery->to_account = true;
	for (int i = 0; i < n; i++)
	{
		delivery->target = targets[i];
		delivery->account = &accounts[target_number(targets[i])];
		try(result, action, delivery,
			delivery->account->token ? NULL : "token is missing: the account's secret is not there, or cannot be opened");
	}
	delivery->account = NULL;
}

/* With the secrets that the hook names. */
static void
try_with_secrets(ReturnSetInfo *result, const Action *action, ActionDelivery *delivery)
{
	Secrets		secrets = action->secrets;
	const char *why = NULL;

	if (secrets.n == 0 || secrets_look(&delivery->occasion.hook_id, &secrets, &why) == SECRET_READY)
		why = NULL;
	delivery->occasion.secrets = &secrets;
	try(result, action, delivery, why);
	delivery->occasion.secrets = NULL;
}

/* hooks.test(hook, event): target, status, response_status, duration_ms, error_message. */
Datum
hooks_test(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Trial		trial = {0};
	Mistake		error = {0};
	ActionDelivery delivery = {.test = true,.now = GetCurrentTimestamp()};
	Action	   *action;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("hook must not be null")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a standby server sends nothing")));
	version_require();
	if (!hooks_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nothing is sent while \"hooks.enabled\" is off")));
	InitMaterializedSRF(fcinfo, 0);

	load(&trial, PG_GETARG_UUID_P(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1));
	delivery.occasion = trial.occasion;
	chat_gateway_forget();
	action = action_compile(trial.action_name, trial.config, &error);
	if (action == NULL)
		try(result, action, &delivery, error.message);
	else if (action->accounts)
		try_accounts(result, action, &delivery);
	else
		try_with_secrets(result, action, &delivery);
	return (Datum) 0;
}
