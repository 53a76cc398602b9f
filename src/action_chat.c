/*-------------------------------------------------------------------------
 *
 * action_chat.c
 *		The action "chat_message": a message into the streamer's chats.
 *
 * Settings: message (required, a template), platforms (where; all that the
 * user has connected without it), messages (texts of their own for some
 * platforms).
 *
 * Each platform is a delivery of its own, to the account that the user has
 * there (chat_platform.c).
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "action.h"
#include "chat_platform.h"
#include "chat_text.h"
#include "settings.h"
#include "target.h"
#include "template.h"

#define MAX_TEMPLATE_LENGTH (16 * 1024)

#define PLATFORM_NAMES "twitch, kick, youtube"

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
	return compile_template(&chat->message, text, "message", error) &&
		compile_platforms(chat, config, error) && compile_messages(chat, config, error)
		? &chat->action : NULL;
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
	return target ? chat_platform_host(chat_platform(target)) : "none:443";
}

/* ----------
 * Building and judging
 * ----------
 */

/* The message for a platform; NULL with *error filled in when there is nothing to say. */
static char *
make_text(const Chat *chat, const ActionDelivery *delivery, const ChatPlatform *platform,
		  Mistake *error)
{
	const ChatTemplate *template = &chat->message;
	StringInfoData out;
	char	   *text;
	int			own;

	for (int i = 0; i < TARGETS; i++)
	{
		if (chat->messages[i].template && strcmp(target_names[i], platform->name) == 0)
			template = &chat->messages[i];
	}
	initStringInfo(&out);
	template_render(template->template, &delivery->occasion, &out);
	own = Min(template->own, out.len);
	text = chat_text(out.data, out.len, own, platform->most);
	if (*text != '\0')
		return text;
	(void) mistake(error, "message would be empty", NULL);
	return NULL;
}

bool
chat_build(const Action *action, const ActionDelivery *delivery, Message *message, Mistake *error)
{
	const Chat *chat = (const Chat *) action;
	const ChatPlatform *platform;
	char	   *text;

	if (delivery->target == NULL || delivery->account == NULL)
		return mistake(error, "no account connected", NULL);
	platform = chat_platform(delivery->target);
	text = make_text(chat, delivery, platform, error);
	return text != NULL &&
		chat_platform_build(platform, delivery->account, text, message, error);
}

void
chat_judge(const ActionDelivery *delivery, const Answer *answer, const RetryPolicy *policy,
		   Outcome *outcome)
{
	action_judge(delivery, answer, policy, outcome);
	if (answer->kind != ANSWER_STATUS || delivery->target == NULL)
		return;
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
		chat_platform(delivery->target)->judge(answer, outcome);

	/* These services have no say in whether hooks are enabled. */
	outcome->disable = false;
}
