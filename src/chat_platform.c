/*-------------------------------------------------------------------------
 *
 * chat_platform.c
 *		How a message is written into the chat of each platform: one row in a
 *		table per platform.
 *
 * An answer of 200 does not say that a message was sent: Twitch and Kick say
 * so in its body.  401 means that the token is stale, which the application
 * renews.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/json.h"
#include "utils/memutils.h"

#include "action.h"
#include "answer_json.h"
#include "chat_platform.h"
#include "settings.h"
#include "target.h"
#include "url.h"

/* ----------
 * Parts
 * ----------
 */

/* A string of the account's extra; NULL when there is none. */
static char *
extra_string(const ChatAccount *account, const char *key)
{
	return answer_json_string(account->extra, key);
}

static bool
lacks(const char *what, Mistake *error)
{
	return mistake(error, psprintf("account has no %s", what),
				   "Write it to hooks.chat_accounts.");
}

static void
fail(Outcome *outcome, OutcomeClass class, char *why)
{
	outcome->class = class;
	outcome->error = why;
}

/* The service says itself whether it has sent the message. */
static void
judge_sent(const Answer *answer, const char *sent_path, const char *reason_path, Outcome *outcome)
{
	Jsonb	   *json;
	JsonbValue	sent;
	char	   *reason = NULL;

	if (outcome->class != OUTCOME_SUCCESS)
		return;
	json = answer_json(answer);
	if (json == NULL || !answer_json_at(json, sent_path, &sent) || sent.type != jbvBool)
	{
		fail(outcome, OUTCOME_TERMINAL, pstrdup("answer does not say whether the message was sent"));
		return;
	}
	if (sent.val.boolean)
		return;
	if (reason_path != NULL)
		reason = answer_json_string(json, reason_path);
	fail(outcome, OUTCOME_TERMINAL,
		 reason ? psprintf("message was dropped: %s", reason) : pstrdup("message was dropped"));
	outcome->undelivered = true;
}

/* ----------
 * Platforms
 * ----------
 */

static bool
twitch_build(const ChatAccount *account, const char *text, Message *message, Mistake *error)
{
	char	   *client = extra_string(account, "client_id");
	StringInfoData body;

	if (client == NULL)
		return lacks("\"client_id\" in \"extra\"", error);
	if (account->sender == NULL)
		return lacks("\"sender_id\"", error);
	initStringInfo(&body);
	appendStringInfoString(&body, "{\"broadcaster_id\":");
	escape_json(&body, account->channel);
	appendStringInfoString(&body, ",\"sender_id\":");
	escape_json(&body, account->sender);
	appendStringInfoString(&body, ",\"message\":");
	escape_json(&body, text);
	appendStringInfoChar(&body, '}');
	message->headers[message->nheaders++] = psprintf("Client-Id: %s", client);
	message->body = body.data;
	message->body_length = body.len;
	return true;
}

static void
twitch_judge(const Answer *answer, Outcome *outcome)
{
	judge_sent(answer, "data.0.is_sent", "data.0.drop_reason.message", outcome);
}

static bool
kick_build(const ChatAccount *account, const char *text, Message *message, Mistake *error)
{
	char	   *type = extra_string(account, "type");
	StringInfoData body;

	/* The id is a number there. */
	if (account->channel[0] == '\0' || account->channel[strspn(account->channel, "0123456789")])
		return lacks("\"channel_id\" that is a number", error);
	initStringInfo(&body);
	appendStringInfo(&body, "{\"broadcaster_user_id\":%s,\"content\":", account->channel);
	escape_json(&body, text);
	appendStringInfoString(&body, ",\"type\":");
	escape_json(&body, type ? type : "user");
	appendStringInfoChar(&body, '}');
	message->body = body.data;
	message->body_length = body.len;
	return true;
}

static void
kick_judge(const Answer *answer, Outcome *outcome)
{
	judge_sent(answer, "data.is_sent", NULL, outcome);
}

static bool
youtube_build(const ChatAccount *account, const char *text, Message *message, Mistake *error)
{
	char	   *chat = extra_string(account, "liveChatId");
	StringInfoData body;

	if (chat == NULL)
		return mistake(error, "account has no live chat now",
					   "Write \"liveChatId\" to \"extra\" of hooks.chat_accounts when a broadcast begins.");
	initStringInfo(&body);
	appendStringInfoString(&body, "{\"snippet\":{\"liveChatId\":");
	escape_json(&body, chat);
	appendStringInfoString(&body, ",\"type\":\"textMessageEvent\",\"textMessageDetails\":{\"messageText\":");
	escape_json(&body, text);
	appendStringInfoString(&body, "}}}");
	message->body = body.data;
	message->body_length = body.len;
	return true;
}

/* 403 has many reasons there, of which only those of the rate pass by themselves. */
static void
youtube_judge(const Answer *answer, Outcome *outcome)
{
	char	   *reason;

	if (outcome->status != 403)
		return;
	reason = answer_json_string(answer_json(answer), "error.errors.0.reason");
	if (reason == NULL)
		return;
	outcome->class = strcmp(reason, "rateLimitExceeded") == 0 ||
		strcmp(reason, "userRateLimitExceeded") == 0 ? OUTCOME_RETRY : OUTCOME_TERMINAL;
	outcome->error = psprintf("HTTP 403: %s", reason);
}

static const ChatPlatform platforms[TARGETS] = {
	{"twitch", 500, {20, 30}, {100, 30}, &hooks_twitch_url, "/helix/chat/messages", twitch_build, twitch_judge},
	{"kick", 500, {0}, {0}, &hooks_kick_url, "/public/v1/chat", kick_build, kick_judge},
	{"youtube", 200, {0}, {0}, &hooks_youtube_url, "/youtube/v3/liveChat/messages?part=snippet",
	youtube_build, youtube_judge},
};

const ChatPlatform *
chat_platform(const char *name)
{
	for (int i = 0; i < TARGETS; i++)
	{
		if (strcmp(platforms[i].name, name) == 0)
			return &platforms[i];
	}
	return NULL;
}

Allowance
chat_platform_allowance(const ChatPlatform *platform, bool own_channel)
{
	return own_channel ? platform->own_allowance : platform->allowance;
}

/* ----------
 * Requests
 * ----------
 */

const char *
chat_platform_host(const ChatPlatform *platform)
{
	static char *urls[TARGETS];
	static char *hosts[TARGETS];
	int			i = platform - platforms;

	if (urls[i] == NULL || strcmp(urls[i], *platform->url) != 0)
	{
		Mistake		error;
		UrlParts	parts;
		char	   *host = url_check(*platform->url, &parts, &error)
			? psprintf("%s:%d", parts.host, parts.port) : "invalid:443";

		if (urls[i])
		{
			pfree(urls[i]);
			pfree(hosts[i]);
		}
		hosts[i] = MemoryContextStrdup(TopMemoryContext, host);
		urls[i] = MemoryContextStrdup(TopMemoryContext, *platform->url);
	}
	return hosts[i];
}

bool
chat_platform_build(const ChatPlatform *platform, const ChatAccount *account, const char *text,
					Message *message, Mistake *error)
{
	UrlParts	parts;

	message->method = "POST";
	message->url = psprintf("%s%s", *platform->url, platform->path);
	message->wants_body = true;
	message->headers[message->nheaders++] = "Content-Type: application/json";
	message->headers[message->nheaders++] = psprintf("Authorization: Bearer %s", account->token);
	return url_check(message->url, &parts, error) &&
		platform->build(account, text, message, error);
}
