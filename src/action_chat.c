/*-------------------------------------------------------------------------
 *
 * action_chat.c
 *		The action "chat_message": a message into the streamer's chats.
 *
 * Settings: message (required, a template), platforms (where; all that the
 * user has connected without it), messages (texts of their own for some
 * platforms).
 *
 * Ways, of which the administrator chooses one (hooks.chat):
 *
 * direct: each platform is a delivery of its own, to the account that the user
 * has there (chat_platform.c).
 *
 * gateway and outbox: the application sends it itself.  There is one delivery,
 * of a JSON object that says what to send where, and the application's report
 * tells what became of it (chat_report.c).
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"

#include "action.h"
#include "answer_json.h"
#include "chat_gateway.h"
#include "chat_platform.h"
#include "chat_report.h"
#include "chat_text.h"
#include "settings.h"
#include "target.h"
#include "template.h"
#include "url.h"

#define MAX_TEMPLATE_LENGTH (16 * 1024)

#define PLATFORM_NAMES "twitch, kick, youtube"

/* What a message may have, in code points, where no platform is known that allows less. */
#define CHAT_MOST 500

/* A template, and how much of its beginning is no variable, in bytes. */
typedef struct ChatTemplate
{
	Template   *template;
	const char *text;
	int			own;
} ChatTemplate;

typedef struct Chat
{
	Action		action;
	ChatWay		way;
	uint32		platforms;		/* bit i for target_names[i]; 0: all */
	ChatTemplate message;
	ChatTemplate messages[TARGETS]; /* where they differ */
} Chat;

/* ----------
 * Compiling
 * ----------
 */

static bool
compile_template(ChatTemplate *result, const char *text, const char *key, Mistake *error)
{
	int			length = strlen(text);

	if (length > MAX_TEMPLATE_LENGTH)
		return mistake(error, psprintf("\"%s\" is longer than %d bytes", key, MAX_TEMPLATE_LENGTH), NULL);
	result->template = template_compile(text, length, TEMPLATE_TEXT, error);
	if (result->template == NULL)
		return false;
	result->text = text;
	result->own = template_first_variable(result->template);
	if (result->own < 0)
		result->own = length;
	if (chat_text_is_command(text, result->own))
		return mistake(error, psprintf("\"%s\" in action_config begins with \"/\" or \".\"", key),
					   "Chats would take it for a command and what viewers write for its arguments. "
					   "Begin with a word, for example {\"message\": \"Thanks, {{username}}!\"}.");
	return true;
}

static int
platform_number(const JsonbValue *name)
{
	for (int i = 0; i < TARGETS; i++)
	{
		if (name->type == jbvString && name->val.string.len == strlen(target_names[i]) &&
			memcmp(name->val.string.val, target_names[i], name->val.string.len) == 0)
			return i;
	}
	return -1;
}

static bool
unknown_platform(const char *key, const JsonbValue *name, Mistake *error)
{
	if (name->type != jbvString)
		return mistake(error, psprintf("\"%s\" in action_config must name platforms", key),
					   "Platforms are " PLATFORM_NAMES ".");
	return mistake(error, psprintf("\"%s\" in action_config names the unknown platform \"%s\"", key,
								   quotable(name->val.string.val, name->val.string.len)),
				   "Platforms are " PLATFORM_NAMES ".");
}

/* A key's value when it is there and not null. */
static bool
find(const Jsonb *config, const char *key, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &config->root), key,
										strlen(key), value) != NULL &&
		value->type != jbvNull;
}

static bool
compile_platforms(Chat *chat, const Jsonb *config, Mistake *error)
{
	static const char hint[] = "For example {\"platforms\": [\"twitch\", \"kick\"]}, or leave it out for all that the user has connected.";
	JsonbContainer *list;
	JsonbValue	value;

	if (!find(config, "platforms", &value))
		return true;
	list = value.type == jbvBinary ? value.val.binary.data : NULL;
	if (list == NULL || !JsonContainerIsArray(list) || JsonContainerSize(list) == 0)
		return mistake(error, "\"platforms\" in action_config must be a list of platforms",
					   pstrdup(hint));
	for (uint32 i = 0; i < JsonContainerSize(list); i++)
	{
		JsonbValue *name = getIthJsonbValueFromContainer(list, i);
		int			number = platform_number(name);

		if (number < 0)
			return unknown_platform("platforms", name, error);
		chat->platforms |= (uint32) 1 << number;
	}
	return true;
}

static bool
compile_messages(Chat *chat, const Jsonb *config, Mistake *error)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			number = -1;

	if (!find(config, "messages", &value))
		return true;
	if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
		return mistake(error, "\"messages\" in action_config must be an object",
					   "For example {\"messages\": {\"youtube\": \"Thanks, {{username}}!\"}}.");
	iterator = JsonbIteratorInit(value.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY && (number = platform_number(&value)) < 0)
			return unknown_platform("messages", &value, error);
		if (token != WJB_VALUE)
			continue;
		if (value.type != jbvString || value.val.string.len == 0)
			return mistake(error, psprintf("\"messages\" in action_config has no text for \"%s\"",
										   target_names[number]),
						   "For example {\"messages\": {\"youtube\": \"Thanks, {{username}}!\"}}.");
		if (!compile_template(&chat->messages[number],
							  pnstrdup(value.val.string.val, value.val.string.len), "messages", error))
			return false;
	}
	return true;
}

/* Where messages go, unless each platform has a host of its own. */
static const char *
find_host(ChatWay way)
{
	UrlParts	parts;
	Mistake		error;

	return way == CHAT_GATEWAY && url_check_service(hooks_chat_gateway_url, &parts, &error)
		? psprintf("%s:%d", parts.host, parts.port) : "none:443";
}

Action *
chat_compile(const Jsonb *config, Mistake *error)
{
	Chat	   *chat = palloc0(sizeof(Chat));
	char	   *text;

	if (!action_string(config, "message", "Thanks, {{username}}!", &text, error))
		return NULL;
	if (text == NULL || *text == '\0')
	{
		(void) mistake(error, "Missing message template", "Set \"message\" in action_config.");
		return NULL;
	}
	if (!compile_template(&chat->message, text, "message", error) ||
		!compile_platforms(chat, config, error) || !compile_messages(chat, config, error))
		return NULL;
	chat->way = hooks_chat;
	chat->action.accounts = chat->way == CHAT_DIRECT;
	chat->action.host = find_host(chat->way);
	return &chat->action;
}

/* ----------
 * Destinations
 * ----------
 */

int
chat_targets(const Action *action, uint32 connected, const char *targets[ACTION_MAX_TARGETS],
			 Mistake *error)
{
	const Chat *chat = (const Chat *) action;
	StringInfoData wanted;
	int			n = 0;

	if (chat->way != CHAT_DIRECT)
	{
		targets[0] = NULL;
		return 1;
	}
	initStringInfo(&wanted);
	for (int i = 0; i < TARGETS; i++)
	{
		uint32		bit = (uint32) 1 << i;

		if (chat->platforms != 0 && (chat->platforms & bit) == 0)
			continue;
		if (connected & bit)
			targets[n++] = target_names[i];
		appendStringInfo(&wanted, "%s%s", wanted.len > 0 ? ", " : "", target_names[i]);
	}
	if (n == 0)
		(void) mistake(error, chat->platforms == 0 ? pstrdup("no account connected")
					   : psprintf("no account connected for %s", wanted.data),
					   "Accounts are rows of hooks.chat_accounts.");
	return n;
}

const char *
chat_host(const Action *action, const char *target)
{
	return action->accounts && target ? chat_platform_host(chat_platform(target)) : action->host;
}

/* ----------
 * Building
 * ----------
 */

/* The message for a platform, or, where that is NULL, for any; empty when nothing is left of it. */
static char *
make_text(const Chat *chat, const ActionDelivery *delivery, const ChatPlatform *platform)
{
	const ChatTemplate *template = &chat->message;
	const char *mark = delivery->test ? "[Test] " : "";
	int			mark_length = strlen(mark);
	StringInfoData out;
	int			own;

	for (int i = 0; platform != NULL && i < TARGETS; i++)
	{
		if (chat->messages[i].template && strcmp(target_names[i], platform->name) == 0)
			template = &chat->messages[i];
	}
	initStringInfo(&out);
	appendStringInfoString(&out, mark);
	template_render(template->template, &delivery->occasion, &out);
	own = Min(template->own, out.len - mark_length);
	return chat_text(out.data, out.len, mark_length + own,
					 platform ? platform->most : CHAT_MOST);
}

static bool
is_empty(const char *text, const ActionDelivery *delivery, Mistake *error)
{
	if (*text != '\0' && !(delivery->test && strcmp(text, "[Test]") == 0))
		return false;
	(void) mistake(error, "message would be empty", NULL);
	return true;
}

static void
append_member(StringInfo json, const char *key, const char *value)
{
	appendStringInfo(json, "%s\"%s\":", json->data[json->len - 1] == '{' ? "" : ",", key);
	escape_json(json, value);
}

/* Is the message wanted there? */
static bool
is_wanted(const Chat *chat, const char *platform, const ActionDelivery *delivery, int i)
{
	if (delivery->target != NULL)
		return strcmp(delivery->target, platform) == 0;
	return chat->platforms == 0 || (chat->platforms & ((uint32) 1 << i)) != 0;
}

/* "platforms": those that the hook names, or null. */
static void
append_platforms(StringInfo json, const Chat *chat, const ActionDelivery *delivery)
{
	const char *separator = "[";

	appendStringInfoString(json, ",\"platforms\":");
	if (chat->platforms == 0 && delivery->target == NULL)
	{
		appendStringInfoString(json, "null");
		return;
	}
	for (int i = 0; i < TARGETS; i++)
	{
		if (!is_wanted(chat, target_names[i], delivery, i))
			continue;
		appendStringInfo(json, "%s\"%s\"", separator, target_names[i]);
		separator = ",";
	}
	appendStringInfoChar(json, ']');
}

/* "messages": for platforms where the text is another one, be it shorter; left out if there is none. */
static void
append_messages(StringInfo json, const Chat *chat, const ActionDelivery *delivery,
				const char *message)
{
	StringInfoData texts;

	initStringInfo(&texts);
	appendStringInfoChar(&texts, '{');
	for (int i = 0; i < TARGETS; i++)
	{
		char	   *text;

		if (!is_wanted(chat, target_names[i], delivery, i))
			continue;
		text = make_text(chat, delivery, chat_platform(target_names[i]));
		if (strcmp(text, message) != 0)
			append_member(&texts, target_names[i], text);
	}
	if (texts.len > 1)
		appendStringInfo(json, ",\"messages\":%s}", texts.data);
}

/* What the application is told that sends it. */
static bool
build_request(const Chat *chat, const ActionDelivery *delivery, Message *message, Mistake *error)
{
	char	   *text = make_text(chat, delivery, NULL);
	StringInfoData body;

	if (is_empty(text, delivery, error))
		return false;
	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	append_member(&body, "id", delivery->id);
	append_member(&body, "user_id", DatumGetCString(DirectFunctionCall1(uuid_out,
																		UUIDPGetDatum(&delivery->occasion.event->user_id))));
	append_member(&body, "message", text);
	append_platforms(&body, chat, delivery);
	append_messages(&body, chat, delivery, text);
	appendStringInfoChar(&body, '}');
	message->body = body.data;
	message->body_length = body.len;
	return true;
}

static bool
not_set(const char *setting, Mistake *error)
{
	error->blameless = true;
	return mistake(error, psprintf("no chat message can be sent: the administrator has not set \"%s\"", setting),
				   NULL);
}

static bool
build_for_gateway(const Chat *chat, const ActionDelivery *delivery, Message *message,
				  Mistake *error)
{
	const SignSecrets *secrets = chat_gateway_secrets();

	if (*hooks_chat_gateway_url == '\0')
		return not_set("hooks.chat_gateway_url", error);
	if (secrets == NULL)
		return not_set("hooks.chat_gateway_secret_file", error);
	message->method = "POST";
	message->url = hooks_chat_gateway_url;
	message->trusted = true;
	message->wants_body = true;
	message->headers[message->nheaders++] = "Content-Type: application/json";
	return build_request(chat, delivery, message, error) &&
		action_sign(secrets, delivery, message, error);
}

bool
chat_build(const Action *action, const ActionDelivery *delivery, Message *message, Mistake *error)
{
	const Chat *chat = (const Chat *) action;
	const ChatPlatform *platform;
	char	   *text;

	if (chat->way == CHAT_GATEWAY)
		return build_for_gateway(chat, delivery, message, error);
	if (chat->way == CHAT_OUTBOX)
	{
		message->to_outbox = true;
		return build_request(chat, delivery, message, error);
	}
	if (delivery->target == NULL || delivery->account == NULL)
		return mistake(error, "no account connected", NULL);
	platform = chat_platform(delivery->target);
	text = make_text(chat, delivery, platform);
	return !is_empty(text, delivery, error) &&
		chat_platform_build(platform, delivery->account, text, message, error);
}

/* ----------
 * Judging
 * ----------
 */

/* A platform's own answer. */
static void
judge_platform(const ChatPlatform *platform, const Answer *answer, Outcome *outcome)
{
	if (outcome->status == 401)
	{
		outcome->class = OUTCOME_RETRY;
		outcome->uncounted = true;
		outcome->stale = true;
		outcome->error = pstrdup("HTTP 401: token is stale, waits for the account's update");
	}
	else if (outcome->status == 429)
	{
		outcome->class = OUTCOME_RETRY;
		outcome->uncounted = true;
	}
	else
		platform->judge(answer, outcome);
}

/*
 * The application's, whose report may be missing: then the message was
 * delivered.  What is wrong with the gateway itself is no hook's fault.
 */
static void
judge_gateway(const Answer *answer, Outcome *outcome)
{
	Jsonb	   *json;
	JsonbValue	deliveries;
	ChatReport	report;
	Mistake		error;

	outcome->blameless = outcome->class != OUTCOME_SUCCESS;
	if (outcome->blameless)
		return;
	json = answer_json(answer);
	if (json == NULL || !answer_json_at(json, "deliveries", &deliveries))
		return;
	if (deliveries.type == jbvBinary && chat_report_read(deliveries.val.binary.data, &report, &error))
	{
		chat_report_judge(&report, outcome);
		return;
	}
	outcome->blameless = true;
	outcome->class = OUTCOME_TERMINAL;
	outcome->error = pstrdup("gateway's answer does not say what became of the message");
}

void
chat_judge(const ActionDelivery *delivery, const Answer *answer, const RetryPolicy *policy,
		   Outcome *outcome)
{
	action_judge(delivery, answer, policy, outcome);

	/* These services have no say in whether hooks are enabled. */
	outcome->disable = false;
	if (delivery->to_account && answer->kind == ANSWER_STATUS)
		judge_platform(chat_platform(delivery->target), answer, outcome);
	else if (!delivery->to_account)
		judge_gateway(answer, outcome);
}
