/*-------------------------------------------------------------------------
 *
 * action.c
 *		The table of action types, and what their settings have in common.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "action.h"

#define MAX_CONCURRENCY 100

static const ActionType action_types[] = {
	{"webhook", false, {5, {2, 15, 60, 300, 1800}, 24 * 3600},
	webhook_compile, webhook_build, action_judge},
	{"discord_message", false, {3, {2, 10, 60}, 15 * 60},
	discord_compile, discord_build, discord_judge},
	{"chat_message", true, {2, {1, 5}, 2 * 60},
	chat_compile, chat_build, chat_judge, chat_targets, chat_host},
	{"email", false, {3, {2, 10, 60}, 24 * 3600}, email_compile, email_build, email_judge},
};

const ActionType *
action_type_find(const char *name)
{
	for (size_t i = 0; i < lengthof(action_types); i++)
	{
		if (strcmp(action_types[i].name, name) == 0)
			return &action_types[i];
	}
	return NULL;
}

bool
action_type_sends_chat(const char *name)
{
	const ActionType *type = action_type_find(name);

	return type != NULL && type->sends_chat;
}

static void
add_header(Message *message, char *line)
{
	Assert(message->nheaders < MESSAGE_MAX_HEADERS);
	message->headers[message->nheaders++] = line;
}

bool
action_sign(const SignSecrets *secrets, const ActionDelivery *delivery, Message *message,
			Mistake *error)
{
	int64		timestamp = timestamptz_to_time_t(delivery->now);
	char	   *signature;

	add_header(message, psprintf("webhook-id: %s", delivery->id));
	add_header(message, psprintf("webhook-timestamp: " INT64_FORMAT, timestamp));
	if (delivery->test)
		add_header(message, pstrdup("webhook-test: true"));
	if (secrets == NULL)
		return true;
	signature = sign_header(secrets, delivery->occasion.secrets, delivery->id, timestamp,
							message->body ? message->body : "", message->body_length, error);
	if (signature == NULL)
		return false;
	add_header(message, psprintf("webhook-signature: %s", signature));
	return true;
}

bool
action_string(const Jsonb *config, const char *key, const char *example,
			  char **value, Mistake *error)
{
	JsonbValue	found;

	*value = NULL;
	if (getKeyJsonValueFromContainer((JsonbContainer *) &config->root, key, strlen(key),
									 &found) == NULL ||
		found.type == jbvNull)
		return true;
	if (found.type != jbvString)
		return mistake(error, psprintf("\"%s\" in action_config must be a string", key),
					   psprintf("For example {\"%s\": \"%s\"}.", key, example));
	*value = pnstrdup(found.val.string.val, found.val.string.len);
	return true;
}

/* A string setting that takes one of two words; is it the second? */
static bool
compile_choice(const Jsonb *config, const char *key, const char *usual, const char *other,
			   bool *is_other, Mistake *error)
{
	char	   *value;

	*is_other = false;
	if (!action_string(config, key, other, &value, error))
		return false;
	if (value == NULL || strcmp(value, usual) == 0)
		return true;
	if (strcmp(value, other) != 0)
		return mistake(error, psprintf("\"%s\" in action_config cannot be \"%s\"", key, value),
					   psprintf("It takes \"%s\" (the default) or \"%s\".", usual, other));
	*is_other = true;
	return true;
}

/* The settings that all types of action have in common. */
static bool
compile_common(Action *action, const Jsonb *config, Mistake *error)
{
	return compile_choice(config, "cooldown_on_failure", "return", "keep", &action->keep_cooldown,
						  error) &&
		compile_choice(config, "ordering", "relaxed", "strict", &action->strict, error) &&
		retry_integer(config, "concurrency", 1, MAX_CONCURRENCY, 2, &action->concurrency, error) &&
		retry_integer(config, "timeout_ms", 1000, 60000, 5000, &action->timeout_ms, error) &&
		retry_policy_compile(config, &action->type->retry, &action->retry, error);
}

Action *
action_compile(const char *type_name, const Jsonb *config, Mistake *error)
{
	const ActionType *type = action_type_find(type_name);
	Action	   *action;

	if (type == NULL)
	{
		(void) mistake(error, psprintf("unknown action type \"%s\"", type_name),
					   psprintf("Action types are %s.", ACTION_TYPE_NAMES));
		return NULL;
	}
	if (config == NULL || !JB_ROOT_IS_OBJECT(config))
	{
		(void) mistake(error, "action_config must be a JSON object",
					   "For example {\"url\": \"https://example.com/webhook\"}.");
		return NULL;
	}

	action = type->compile(config, error);
	if (action == NULL)
		return NULL;
	action->type = type;
	return compile_common(action, config, error) ? action : NULL;
}

/* ----------
 * Destinations
 * ----------
 */

int
action_targets(const Action *action, uint32 connected, const char *targets[ACTION_MAX_TARGETS],
			   Mistake *error)
{
	if (action->type->targets != NULL)
		return action->type->targets(action, connected, targets, error);
	targets[0] = NULL;
	return 1;
}

const char *
action_host(const Action *action, const char *target)
{
	return action->type->host != NULL ? action->type->host(action, target) : action->host;
}

/* ----------
 * Outcomes
 * ----------
 */

/* What an HTTP status means. */
static void
judge_status(const Answer *answer, const RetryPolicy *policy, Outcome *outcome)
{
	int			status = answer->status;

	outcome->status = status;
	outcome->host_failed = status >= 500;
	if (status >= 200 && status <= 299)
	{
		outcome->class = OUTCOME_SUCCESS;
		outcome->undelivered = false;
		return;
	}
	outcome->class = retry_status(policy, status) ? OUTCOME_RETRY : OUTCOME_TERMINAL;
	if (status >= 300 && status <= 399)
		outcome->error = psprintf("HTTP %d: redirect to \"%s\" refused", status, answer->location);
	else
		outcome->error = psprintf("HTTP %d", status);
	if (status == 410)
	{
		outcome->class = OUTCOME_TERMINAL;
		outcome->disable = true;
	}
}

/* The receiver has a voice of its own, whatever the status. */
static void
judge_wish(const Answer *answer, Outcome *outcome)
{
	switch (answer->wish)
	{
		case WISH_NONE:
			return;
		case WISH_ABORT:
			if (outcome->class != OUTCOME_RETRY)
				return;
			outcome->class = OUTCOME_TERMINAL;
			outcome->error = psprintf("%s, and the receiver wants no further attempt", outcome->error);
			return;
		case WISH_DISABLE:
			outcome->disable = true;
			if (outcome->class == OUTCOME_RETRY)
				outcome->class = OUTCOME_TERMINAL;
			return;
	}
}

void
action_judge(const ActionDelivery *delivery, const Answer *answer, const RetryPolicy *policy,
			 Outcome *outcome)
{
	*outcome = (Outcome)
	{
		.class = OUTCOME_TERMINAL,
		.undelivered = answer->kind != ANSWER_UNKNOWN
	};

	switch (answer->kind)
	{
		case ANSWER_STATUS:
			judge_status(answer, policy, outcome);
			judge_wish(answer, outcome);
			return;
		case ANSWER_UNREACHED:
		case ANSWER_UNKNOWN:
			outcome->class = OUTCOME_RETRY;
			outcome->host_failed = true;
			break;
		case ANSWER_UNTRUSTED:
			outcome->host_failed = true;
			break;
		case ANSWER_REFUSED:
			break;
	}
	outcome->error = pstrdup(answer->reason);
}
