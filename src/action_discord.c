/*-------------------------------------------------------------------------
 *
 * action_discord.c
 *		The action "discord_message": a message through a Discord webhook.
 *
 * Settings: webhook_url (required: what Discord gives out, in any of the forms
 * in which people paste it), template (required: the message).
 *
 * Requests go to version 10 of Discord's API, at hooks.discord_url, whatever
 * host and version the URL names.  The message mentions nobody.  An answer of
 * 429 is no attempt: Discord says when to come again.  A webhook that is gone,
 * or was never there, disables the hook: asking for it again and again gets
 * the whole server banned.
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
#include "settings.h"
#include "template.h"
#include "url.h"

#define MAX_TEMPLATE_LENGTH (16 * 1024)

/* What Discord takes, in code points. */
#define MAX_CONTENT 2000

#define EXAMPLE_URL "https://discord.com/api/webhooks/123456789012345678/abcdef"

typedef struct Discord
{
	Action		action;
	char	   *url;			/* with the token, which is a secret */
	char	   *shown_url;		/* … without it */
	Template   *content;
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
			return path_part(&value, "0123456789");
	}
	return NULL;
}

/*
 * From what was pasted, /api/vN, /slack, /github and other queries dropped, to
 * the URL of version 10.
 */
static bool
compile_url(Discord *discord, const Jsonb *config, Mistake *error)
{
	static const char token_characters[] = "0123456789_-"
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char	   *pasted;
	const char *path;
	const char *after;
	char	   *id;
	char	   *token;
	char	   *thread;
	UrlParts	parts;

	if (!action_string(config, "webhook_url", EXAMPLE_URL, &pasted, error))
		return false;
	if (pasted == NULL || *pasted == '\0')
		return mistake(error, "Missing Discord webhook URL", "Set \"webhook_url\" in action_config.");

	if (!url_check(pasted, &parts, error))
		return false;
	if (strcmp(parts.scheme, "https") != 0 || parts.port != 443 || !is_discord(parts.host))
		return wrong_url(error);
	path = pasted + url_path_offset(pasted);
	if ((after = skip(path, "/api")) != NULL)
		path = after;
	if ((after = skip(path, "/v")) != NULL)
		path = after + strspn(after, "0123456789");
	if ((path = skip(path, "/webhooks/")) == NULL ||
		(id = path_part(&path, "0123456789")) == NULL || *path++ != '/' ||
		(token = path_part(&path, token_characters)) == NULL)
		return wrong_url(error);
	thread = thread_of(path + strcspn(path, "?"));

	discord->url = psprintf("%s/webhooks/%s/%s?wait=true%s%s", hooks_discord_url, id, token,
							thread ? "&thread_id=" : "", thread ? thread : "");
	discord->shown_url = psprintf("%s/webhooks/%s/********?wait=true%s%s", hooks_discord_url, id,
								  thread ? "&thread_id=" : "", thread ? thread : "");
	discord->action.destination = psprintf("discord webhook %s", id);

	if (!url_check(discord->url, &parts, error))
		return false;
	discord->action.host = psprintf("%s:%d", parts.host, parts.port);
	return true;
}

static bool
compile_content(Discord *discord, const Jsonb *config, Mistake *error)
{
	char	   *text;

	if (!action_string(config, "template", "{{username}} is live", &text, error))
		return false;
	if (text == NULL || *text == '\0')
		return mistake(error, "Missing message template", "Set \"template\" in action_config.");
	if (strlen(text) > MAX_TEMPLATE_LENGTH)
		return mistake(error, psprintf("\"template\" is longer than %d bytes", MAX_TEMPLATE_LENGTH),
					   NULL);
	discord->content = template_compile(text, strlen(text), TEMPLATE_TEXT, error);
	return discord->content != NULL;
}

Action *
discord_compile(const Jsonb *config, Mistake *error)
{
	Discord    *discord = palloc0(sizeof(Discord));

	return compile_content(discord, config, error) && compile_url(discord, config, error)
		? &discord->action : NULL;
}

/* ----------
 * Building and judging
 * ----------
 */

bool
discord_build(const Action *action, const ActionDelivery *delivery, Message *message, Mistake *error)
{
	const Discord *discord = (const Discord *) action;
	StringInfoData content;
	StringInfoData body;

	initStringInfo(&content);
	template_render(discord->content, &delivery->occasion, &content);
	if (content.data[strspn(content.data, " \t\r\n")] == '\0')
		return mistake(error, "message would be empty", NULL);
	content.data[pg_mbcharcliplen(content.data, content.len, MAX_CONTENT)] = '\0';

	initStringInfo(&body);
	appendStringInfoString(&body, "{\"content\":");
	escape_json(&body, content.data);
	appendStringInfoString(&body, ",\"allowed_mentions\":{\"parse\":[]}}");

	message->method = "POST";
	message->url = discord->url;
	message->shown_url = discord->shown_url;
	message->headers[message->nheaders++] = "Content-Type: application/json";
	message->body = body.data;
	message->body_length = body.len;
	return true;
}

void
discord_judge(const ActionDelivery *delivery, const Answer *answer, const RetryPolicy *policy,
			  Outcome *outcome)
{
	action_judge(delivery, answer, policy, outcome);
	if (outcome->status == 429)
	{
		outcome->class = OUTCOME_RETRY;
		outcome->uncounted = true;
	}
	else if (outcome->status == 401 || outcome->status == 404)
	{
		outcome->class = OUTCOME_TERMINAL;
		outcome->disable = true;
		outcome->error = psprintf("HTTP %d: Discord knows no such webhook", outcome->status);
	}
}
