/*-------------------------------------------------------------------------
 *
 * action_discord.c
 *		The action "discord_message": a message through a Discord webhook.
 *
 * Settings: webhook_url (required: what Discord gives out, in any of the forms
 * in which people paste it), template (the message), embeds (discord_embed.h),
 * of which one is required; username, avatar_url, thread_id, flags,
 * allowed_mentions; edit (a name: hooks of a user that have the same webhook and
 * name share one message per stream, which the first posts and others change).
 *
 * Requests go to version 10 of Discord's API, at hooks.discord_url, whatever
 * host and version the URL names.  The message mentions nobody, unless the hook
 * says so, and what viewers wrote is no markdown (markdown.h).
 *
 * An answer of 429 is no attempt: Discord says when to come again.  A webhook
 * that is gone, or was never there, disables the hook: asking for it again and
 * again gets the whole server banned.  Of Discord's errors, the log gets the
 * number and the text that belongs to it, none of what they quote.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "action.h"
#include "answer_json.h"
#include "discord_embed.h"
#include "settings.h"
#include "template.h"
#include "url.h"

#define MAX_TEMPLATE_LENGTH (16 * 1024)
#define MAX_EDIT_NAME 60
#define MAX_ID 20				/* digits */
#define MAX_MENTIONS 100

/* Flags of messages that webhooks may set. */
#define SUPPRESS_EMBEDS 4
#define SUPPRESS_NOTIFICATIONS 4096
#define SETTABLE_FLAGS (SUPPRESS_EMBEDS | SUPPRESS_NOTIFICATIONS)

/* Discord's own codes of errors. */
#define UNKNOWN_MESSAGE 10008
#define UNKNOWN_WEBHOOK 10015

/* Of the text that belongs to one, so much is shown. */
#define MAX_ERROR_TEXT 100

/* After an answer of 429, Discord's own or not, which says no time. */
#define LIMIT_PAUSE_MS 1000
#define BAN_PAUSE_MS (60 * 1000)

#define DIGITS "0123456789"
#define TOKEN_CHARACTERS DIGITS "_-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

#define EXAMPLE_URL "https://discord.com/api/webhooks/123456789012345678/abcdef"

typedef struct Discord
{
	Action		action;
	char	   *webhook;		/* URL with the token, which is a secret … */
	char	   *secret;			/* … or up to it, and the name of the secret that is the token */
	char	   *shown_webhook;	/* … without it */
	char	   *id;
	char	   *thread;			/* NULL: none */
	Template   *content;		/* NULL: has none, as the others */
	Template   *username;
	Template   *avatar_url;
	DiscordEmbeds *embeds;
	int			flags;			/* -1: the hook does not say */
	char	   *allowed_mentions;	/* JSON */
} Discord;

/* The hosts that Discord gives webhooks out on. */
static const char *const hosts[] = {
	"discord.com", "discordapp.com", "canary.discord.com", "canary.discordapp.com",
	"ptb.discord.com", "ptb.discordapp.com",
};

/* ----------
 * Compiling
 * ----------
 */

static bool
wrong_url(Mistake *error)
{
	return mistake(error, "\"webhook_url\" in action_config is not the URL of a Discord webhook",
				   "Copy it from Discord: channel settings, Integrations, Webhooks. It reads \"" EXAMPLE_URL "\".");
}

static bool
is_discord(const char *host)
{
	for (size_t i = 0; i < lengthof(hosts); i++)
	{
		if (strcmp(hosts[i], host) == 0)
			return true;
	}
	return false;
}

/* Skip a piece of a path; NULL when it is not there. */
static const char *
skip(const char *path, const char *piece)
{
	size_t		length = strlen(piece);

	return strncmp(path, piece, length) == 0 ? path + length : NULL;
}

/* The part of a path or query up to the next delimiter, if it is made of these characters only. */
static char *
path_part(const char **path, const char *characters)
{
	size_t		length = strspn(*path, characters);
	char	   *part;

	if (length == 0 || strchr("/?#&", (*path)[length]) == NULL)
		return NULL;
	part = pnstrdup(*path, length);
	*path += length;
	return part;
}

/* The thread that a URL's query names, or NULL. */
static char *
thread_of(const char *query)
{
	for (const char *p = query; *p && *p != '#'; p += strcspn(p, "&#"))
	{
		const char *value = skip(++p, "thread_id=");

		if (value != NULL)
			return path_part(&value, DIGITS);
	}
	return NULL;
}

/* "{{secret.name}}" for the token: the name; NULL when it is something else. */
static char *
secret_part(const char **path)
{
	static const char before[] = "{{secret.";
	const char *name = *path + strlen(before);
	size_t		length;

	if (strncmp(*path, before, strlen(before)) != 0)
		return NULL;
	length = strcspn(name, "}");
	if (strncmp(name + length, "}}", 2) != 0 || strchr("/?#&", name[length + 2]) == NULL ||
		!secret_is_name(slice(name, (int) length)))
		return NULL;
	*path = name + length + 2;
	return pnstrdup(name, length);
}

/* The URL without the secret's name, which is none of a URL's. */
static char *
without_secret(const char *pasted)
{
	const char *from = strstr(pasted, "{{");
	const char *to = from ? strstr(from, "}}") : NULL;

	return to ? psprintf("%.*ssecret%s", (int) (from - pasted), pasted, to + 2)
		: pstrdup(pasted);
}

/*
 * From what was pasted, /api/vN, /slack, /github and other queries dropped, to
 * the URL of version 10.
 */
static bool
compile_url(Discord *discord, const Jsonb *config, Mistake *error)
{
	char	   *pasted;
	const char *path;
	const char *after;
	char	   *token = "";
	UrlParts	parts;

	if (!action_string(config, "webhook_url", EXAMPLE_URL, &pasted, error))
		return false;
	if (pasted == NULL || *pasted == '\0')
		return mistake(error, "Missing Discord webhook URL", "Set \"webhook_url\" in action_config.");

	if (!url_check(without_secret(pasted), &parts, error))
		return false;
	if (strcmp(parts.scheme, "https") != 0 || parts.port != 443 || !is_discord(parts.host))
		return wrong_url(error);
	path = pasted + url_path_offset(pasted);
	if ((after = skip(path, "/api")) != NULL)
		path = after;
	if ((after = skip(path, "/v")) != NULL)
		path = after + strspn(after, "0123456789");
	if ((path = skip(path, "/webhooks/")) == NULL ||
		(discord->id = path_part(&path, DIGITS)) == NULL || *path++ != '/' ||
		((discord->secret = secret_part(&path)) == NULL &&
		 (token = path_part(&path, TOKEN_CHARACTERS)) == NULL))
		return wrong_url(error);
	if (discord->secret != NULL && !secrets_add(&discord->action.secrets, discord->secret, error))
		return false;
	if (discord->thread == NULL)
		discord->thread = thread_of(path + strcspn(path, "?"));

	discord->webhook = psprintf("%s/webhooks/%s/%s", hooks_discord_url, discord->id, token);
	discord->shown_webhook = psprintf("%s/webhooks/%s/********", hooks_discord_url, discord->id);
	discord->action.destination = psprintf("discord webhook %s", discord->id);
	discord->action.guarded = true;

	if (!url_check(discord->webhook, &parts, error))
		return false;
	discord->action.host = psprintf("%s:%d", parts.host, parts.port);
	return true;
}

/* A setting that is neither missing nor null. */
static bool
find_setting(const Jsonb *config, const char *key, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&unconstify(Jsonb *, config)->root, key, (int) strlen(key),
										value) != NULL && value->type != jbvNull;
}

static bool
is_id(const char *text)
{
	size_t		length = strlen(text);

	return length > 0 && length <= MAX_ID && strspn(text, DIGITS) == length;
}

static bool
compile_thread(Discord *discord, const Jsonb *config, Mistake *error)
{
	if (!action_string(config, "thread_id", "123456789012345678", &discord->thread, error))
		return false;
	if (discord->thread == NULL || is_id(discord->thread))
		return true;
	return mistake(error, "\"thread_id\" in action_config is not the id of a thread",
				   "Ids are made of digits, for example {\"thread_id\": \"123456789012345678\"}.");
}

/* What is wrong with a key of "allowed_mentions", for a Mistake. */
static bool
wrong_mentions(const char *key, const char *what, char *hint, Mistake *error)
{
	return mistake(error, psprintf("\"allowed_mentions.%s\" in action_config %s", key, what), hint);
}

/* A list of ids, or else of the words that "parse" takes; *n is how many there are. */
static bool
check_mentions(const JsonbValue *list, const char *key, bool ids, int *n, Mistake *error)
{
	static const char *const words[] = {"users", "roles", "everyone"};
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	*n = 0;
	if (list->type != jbvBinary || !JsonContainerIsArray(list->val.binary.data))
		return wrong_mentions(key, "must be a list of strings",
							  "For example {\"allowed_mentions\": {\"parse\": [\"roles\"]}}.", error);
	iterator = JsonbIteratorInit(list->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		char	   *text;
		bool		good;

		if (token != WJB_ELEM)
			continue;
		text = item.type == jbvString ? pnstrdup(item.val.string.val, item.val.string.len) : "";
		good = ids && is_id(text);
		for (size_t i = 0; i < lengthof(words) && !ids; i++)
			good |= strcmp(text, words[i]) == 0;
		if (!good)
			return wrong_mentions(key, "has a wrong element",
								  ids ? "It takes ids as strings, for example [\"123456789012345678\"]."
								  : "It takes \"users\", \"roles\" and \"everyone\".", error);
		if (++*n > MAX_MENTIONS)
			return wrong_mentions(key, psprintf("has more than %d elements", MAX_MENTIONS), NULL, error);
	}
	return true;
}

/* Does "parse" allow all of these? */
static bool
parses(JsonbContainer *allowed, char *kind)
{
	JsonbValue	parse;
	JsonbValue	word = {.type = jbvString};

	word.val.string.val = kind;
	word.val.string.len = (int) strlen(kind);
	return getKeyJsonValueFromContainer(allowed, "parse", 5, &parse) != NULL &&
		parse.type == jbvBinary && JsonContainerIsArray(parse.val.binary.data) &&
		findJsonbValueFromContainer(parse.val.binary.data, JB_FARRAY, &word) != NULL;
}

/* A key of "allowed_mentions" with its value; *n is how many it allows. */
static bool
check_mention_key(JsonbContainer *allowed, char *key, const JsonbValue *value, int *n,
				  Mistake *error)
{
	*n = 0;
	if (strcmp(key, "parse") == 0)
		return check_mentions(value, key, false, n, error);
	if (strcmp(key, "users") == 0 || strcmp(key, "roles") == 0)
	{
		if (!check_mentions(value, key, true, n, error))
			return false;
		return *n == 0 || !parses(allowed, key) ||
			wrong_mentions(key, "is there as well as in \"parse\"",
						   "Name those that may be mentioned, or allow all of them.", error);
	}
	if (strcmp(key, "replied_user") == 0)
		return value->type == jbvBool || wrong_mentions(key, "must be true or false", NULL, error);
	return mistake(error, psprintf("unknown key \"%s\" in \"allowed_mentions\"",
								   quotable(key, (int) strlen(key))),
				   "It takes parse, users, roles, replied_user.");
}

/* Whom the message may ping; *any says whether it may ping somebody. */
static bool
compile_mentions(Discord *discord, const Jsonb *config, bool *any, Mistake *error)
{
	JsonbValue	allowed;
	JsonbValue	parse;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue	key = {0};
	char	   *text;

	*any = false;
	discord->allowed_mentions = "{\"parse\":[]}";
	if (!find_setting(config, "allowed_mentions", &allowed))
		return true;
	if (allowed.type != jbvBinary || !JsonContainerIsObject(allowed.val.binary.data))
		return mistake(error, "\"allowed_mentions\" in action_config must be a JSON object",
					   "For example {\"allowed_mentions\": {\"parse\": [\"roles\"]}}.");
	iterator = JsonbIteratorInit(allowed.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		int			n;

		if (token == WJB_KEY)
			key = item;
		if (token != WJB_VALUE)
			continue;
		if (!check_mention_key(allowed.val.binary.data,
							   pnstrdup(key.val.string.val, key.val.string.len), &item, &n, error))
			return false;
		*any |= n > 0;
	}

	text = JsonbToCString(NULL, allowed.val.binary.data, allowed.val.binary.len);
	discord->allowed_mentions = text;

	/* Without "parse" nobody else is meant to be mentioned. */
	if (getKeyJsonValueFromContainer(allowed.val.binary.data, "parse", 5, &parse) == NULL)
		discord->allowed_mentions = psprintf("{\"parse\":[]%s%s", strlen(text) > 2 ? "," : "",
											 text + 1);
	return true;
}

static bool
compile_content(Discord *discord, const Jsonb *config, TemplateContext context, Mistake *error)
{
	char	   *text;
	JsonbValue	embeds;

	if (!action_string(config, "template", "{{username}} is live", &text, error))
		return false;
	if (find_setting(config, "embeds", &embeds))
	{
		discord->embeds = discord_embeds_compile(&embeds, context, error);
		if (discord->embeds == NULL)
			return false;
	}
	if (text == NULL || *text == '\0')
		return discord->embeds != NULL ||
			mistake(error, "Missing message template", "Set \"template\" in action_config.");
	if (strlen(text) > MAX_TEMPLATE_LENGTH)
		return mistake(error, psprintf("\"template\" is longer than %d bytes", MAX_TEMPLATE_LENGTH),
					   NULL);
	discord->content = template_compile(text, strlen(text), context, error);
	return discord->content != NULL;
}

/* Would Discord refuse a message under that name? */
static bool
is_refused_name(const char *name)
{
	char	   *lower = pstrdup(name);

	for (char *c = lower; *c; c++)
		*c = pg_ascii_tolower(*c);
	return strstr(lower, "discord") != NULL || strstr(lower, "clyde") != NULL ||
		strcmp(lower, "everyone") == 0 || strcmp(lower, "here") == 0;
}

static bool
compile_sender(Discord *discord, const Jsonb *config, Mistake *error)
{
	char	   *name;
	char	   *avatar;

	if (!action_string(config, "username", "{{username}}", &name, error) ||
		!action_string(config, "avatar_url", "https://example.com/avatar.png", &avatar, error))
		return false;
	if (name != NULL && *name != '\0')
	{
		if (strlen(name) > MAX_TEMPLATE_LENGTH)
			return mistake(error, psprintf("\"username\" is longer than %d bytes",
										   MAX_TEMPLATE_LENGTH), NULL);
		discord->username = template_compile(name, strlen(name), TEMPLATE_TEXT, error);
		if (discord->username == NULL)
			return false;
		if (template_first_variable(discord->username) < 0)
		{
			if (is_refused_name(name))
				return mistake(error, psprintf("\"username\" in action_config cannot be \"%s\"",
											   quotable(name, (int) strlen(name))),
							   "Discord takes no names with \"discord\" or \"clyde\" in them, "
							   "nor \"everyone\" and \"here\".");
			if (pg_mbstrlen(name) > DISCORD_MAX_NAME)
				return mistake(error, psprintf("\"username\" is longer than %d characters",
											   DISCORD_MAX_NAME), NULL);
		}
	}
	if (avatar != NULL && *avatar != '\0')
	{
		discord->avatar_url = discord_url_compile(avatar, "avatar_url", true, error);
		if (discord->avatar_url == NULL)
			return false;
	}
	return true;
}

static bool
compile_flags(Discord *discord, const Jsonb *config, Mistake *error)
{
	discord->flags = -1;
	if (!retry_integer(config, "flags", 0, SETTABLE_FLAGS, SUPPRESS_EMBEDS, &discord->flags, error))
		return false;
	if (discord->flags < 0 || (discord->flags & ~SETTABLE_FLAGS) == 0)
		return true;
	return mistake(error, "\"flags\" in action_config has a flag that webhooks cannot set",
				   "It takes 4 (no previews of links), 4096 (no notifications), or 4100 for both.");
}

static bool
compile_edit(Discord *discord, const Jsonb *config, Mistake *error)
{
	char	   *name;

	if (!action_string(config, "edit", "live", &name, error))
		return false;
	if (name == NULL)
		return true;
	if (*name == '\0' || pg_mbstrlen(name) > MAX_EDIT_NAME)
		return mistake(error, psprintf("\"edit\" in action_config must have 1 to %d characters",
									   MAX_EDIT_NAME),
					   "It names the message that hooks share, for example {\"edit\": \"live\"}.");
	discord->action.edits = psprintf("discord webhook %s%s%s: %s", discord->id,
									 discord->thread ? " thread " : "",
									 discord->thread ? discord->thread : "", name);
	return true;
}

Action *
discord_compile(const Jsonb *config, Mistake *error)
{
	Discord    *discord = palloc0(sizeof(Discord));
	bool		pings;
	TemplateContext texts;

	if (!compile_mentions(discord, config, &pings, error))
		return NULL;
	texts = pings ? TEMPLATE_DISCORD_PINGS : TEMPLATE_DISCORD;
	if (!compile_content(discord, config, texts, error) ||
		!compile_thread(discord, config, error) ||
		!compile_url(discord, config, error) ||
		!compile_sender(discord, config, error) ||
		!compile_flags(discord, config, error) ||
		!compile_edit(discord, config, error))
		return NULL;
	return &discord->action;
}

/* ----------
 * Building
 * ----------
 */

/* Begin a member of the body. */
static void
add_key(StringInfo body, const char *key)
{
	appendStringInfo(body, "%c\"%s\":", body->len == 0 ? '{' : ',', key);
}

/* Who posts it, if that is not to be the webhook itself. */
static void
add_sender(StringInfo body, const Discord *discord, const Occasion *occasion)
{
	char	   *name = discord_text(discord->username, occasion, DISCORD_MAX_NAME);
	char	   *avatar = discord_url(discord->avatar_url, occasion, true);

	for (char *c = name; c != NULL && *c; c++)
	{
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			*c = ' ';
	}
	/* A viewer's name that Discord would refuse must not cost the message. */
	if (name != NULL && !is_refused_name(name))
	{
		add_key(body, "username");
		escape_json(body, name);
	}
	if (avatar != NULL)
	{
		add_key(body, "avatar_url");
		escape_json(body, avatar);
	}
}

/* One that is changed becomes what the hook says, whatever it was. */
static bool
build_body(const Discord *discord, const ActionDelivery *delivery, StringInfo body, Mistake *error)
{
	const Occasion *occasion = &delivery->occasion;
	bool		changes = delivery->edits != NULL;
	char	   *content = discord_text(discord->content, occasion, DISCORD_MAX_CONTENT);
	StringInfoData embeds;
	int			nembeds = 0;
	int			flags = discord->flags;

	initStringInfo(&embeds);
	if (discord->embeds != NULL)
		nembeds = discord_embeds_render(discord->embeds, occasion, &embeds);
	if (content == NULL && nembeds == 0)
		return mistake(error, "message would be empty", NULL);
	if (delivery->test)
	{
		content = psprintf("[Test] %s", content ? content : "");
		content[pg_mbcharcliplen(content, strlen(content), DISCORD_MAX_CONTENT)] = '\0';
	}

	if (content != NULL || changes)
	{
		add_key(body, "content");
		escape_json(body, content ? content : "");
	}
	if (nembeds > 0 || changes)
	{
		add_key(body, "embeds");
		appendStringInfoString(body, nembeds > 0 ? embeds.data : "[]");
	}
	if (!changes)
		add_sender(body, discord, occasion);
	else if (flags >= 0)
		flags &= SUPPRESS_EMBEDS;
	if (flags >= 0)
	{
		add_key(body, "flags");
		appendStringInfo(body, "%d", flags);
	}
	add_key(body, "allowed_mentions");
	appendStringInfo(body, "%s}", discord->allowed_mentions);
	return true;
}

/* The URL of a request to the webhook. */
static char *
request_url(const Discord *discord, const char *webhook, const char *message)
{
	const char *thread = discord->thread;

	if (message == NULL)
		return psprintf("%s?wait=true%s%s", webhook, thread ? "&thread_id=" : "", thread ? thread : "");
	return psprintf("%s/messages/%s%s%s", webhook, message, thread ? "?thread_id=" : "",
					thread ? thread : "");
}

/* The webhook, with its token. */
static bool
webhook_url(const Discord *discord, const Secrets *secrets, char **url, Mistake *error)
{
	const char *token;

	*url = discord->webhook;
	if (discord->secret == NULL)
		return true;
	token = secrets_value(secrets, discord->secret);
	if (secrets != NULL && token[strspn(token, TOKEN_CHARACTERS)] != '\0')
		return mistake(error, psprintf("secret \"%s\" is not the token of a Discord webhook",
									   discord->secret), NULL);
	*url = psprintf("%s%s", discord->webhook, token);
	return true;
}

bool
discord_build(const Action *action, const ActionDelivery *delivery, Message *message, Mistake *error)
{
	const Discord *discord = (const Discord *) action;
	StringInfoData body;
	char	   *webhook;

	initStringInfo(&body);
	if (!build_body(discord, delivery, &body, error))
		return false;
	message->method = delivery->edits ? "PATCH" : "POST";
	if (!webhook_url(discord, delivery->occasion.secrets, &webhook, error))
		return false;
	message->url = request_url(discord, webhook, delivery->edits);
	message->shown_url = request_url(discord, discord->shown_webhook, delivery->edits);
	message->headers[message->nheaders++] = "Content-Type: application/json";
	message->body = body.data;
	message->body_length = body.len;
	message->wants_body = true;
	return true;
}

/* ----------
 * Judging
 * ----------
 */

/* Discord's code of an error, 0 for none. */
static int
error_code(const Jsonb *body)
{
	double		code = answer_json_number(body, "code");

	return code > 0 && code < 10000000 ? (int) code : 0;
}

/* "50006 Cannot send an empty message", or NULL. */
static char *
error_text(const Jsonb *body)
{
	int			code = error_code(body);
	char	   *text = code > 0 ? answer_json_string(body, "message") : NULL;
	int			n = 0;

	if (code == 0)
		return NULL;
	if (text == NULL)
		return psprintf("%d", code);
	while (n < MAX_ERROR_TEXT && text[n] >= ' ' && text[n] < 0x7f)
		n++;
	return psprintf("%d %.*s", code, n, text);
}

/* Too many requests, of this webhook or of others. */
static void
judge_limit(const Answer *answer, const Jsonb *body, Outcome *outcome)
{
	double		seconds = answer_json_number(body, "retry_after");
	bool		is_discord = seconds >= 0 || answer->rate_scope != RATE_SCOPE_UNKNOWN ||
		answer->rate_remaining >= 0;

	outcome->class = OUTCOME_RETRY;
	outcome->uncounted = true;
	outcome->invalid = answer->rate_scope != RATE_SCOPE_SHARED;
	if (seconds > 0)
		outcome->wait_ms = seconds < ANSWER_MAX_DELAY_MS / 1000.0 ? (int64) (seconds * 1000) + 1
			: ANSWER_MAX_DELAY_MS;
	else if (answer->retry_after_ms <= 0)
		outcome->wait_ms = is_discord ? LIMIT_PAUSE_MS : BAN_PAUSE_MS;
	if (answer->rate_scope == RATE_SCOPE_GLOBAL || answer_json_true(body, "global"))
	{
		outcome->closes = CLOSES_SERVICE;
		outcome->error = "HTTP 429: Discord takes no requests from this server for now";
	}
	else if (answer->rate_scope == RATE_SCOPE_SHARED)
	{
		outcome->closes = CLOSES_GROUP;
		outcome->error = "HTTP 429: Discord takes no requests for this channel for now";
	}
	else if (!is_discord)
	{
		/* It is not Discord that answers, but what stands before it. */
		outcome->closes = CLOSES_SERVICE;
		outcome->error = "HTTP 429: requests from this server do not get to Discord for now";
	}
}

static void
judge_success(const Jsonb *body, Outcome *outcome)
{
	char	   *id = answer_json_string(body, "id");
	char	   *channel = answer_json_string(body, "channel_id");

	if (id != NULL && is_id(id))
		outcome->posted = id;
	if (channel != NULL && is_id(channel))
		outcome->group = psprintf("discord channel %s", channel);
}

void
discord_judge(const ActionDelivery *delivery, const Answer *answer, const RetryPolicy *policy,
			  Outcome *outcome)
{
	Jsonb	   *body;
	char	   *text;

	action_judge(delivery, answer, policy, outcome);
	if (answer->kind != ANSWER_STATUS)
		return;
	body = answer_json(answer);
	outcome->invalid = outcome->status == 401 || outcome->status == 403 || outcome->status == 404;
	if (outcome->class == OUTCOME_SUCCESS)
		judge_success(body, outcome);
	else if (outcome->status == 429)
		judge_limit(answer, body, outcome);
	else if (outcome->status == 404 && delivery->edits != NULL && error_code(body) == UNKNOWN_MESSAGE)
	{
		outcome->class = OUTCOME_RETRY;
		outcome->uncounted = outcome->gone = true;
		outcome->error = "HTTP 404: the message is gone from Discord, and is posted anew";
	}
	else if (outcome->status == 401 || outcome->status == 404)
	{
		outcome->class = OUTCOME_TERMINAL;
		outcome->disable = true;
		outcome->error = psprintf("HTTP %d: Discord knows no such webhook", outcome->status);
		/* What is gone may also be its thread. */
		if (outcome->status == 404 && error_code(body) != UNKNOWN_WEBHOOK &&
			(text = error_text(body)) != NULL)
			outcome->error = psprintf("HTTP 404: Discord does not find where to post: %s", text);
	}
	else if ((text = error_text(body)) != NULL && outcome->status < 500)
		outcome->error = psprintf("HTTP %d: Discord refuses the message: %s", outcome->status, text);
}
