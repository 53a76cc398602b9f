/*-------------------------------------------------------------------------
 *
 * chat.c
 *		Stand-ins for the chats of Twitch, Kick and YouTube, at
 *		/chat/.../helix/chat/messages and so on, and for an application's
 *		gateway: requests have to be as they want them.
 *
 * The token says how it goes on: one that begins with "stale" is refused.  So
 * does the message: with "DROP" in it the service says that it was not sent,
 * with "QUOTA" and "RATE" YouTube says that there were too many, with "FAIL"
 * it is 500.  What begins like a command is refused, where the service would
 * obey.  A token that begins with "limited" may write twice in 2 s.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "receiver.h"

/* The string or number that follows "key": in the body, unescaped enough to count it. */
typedef struct Value
{
	bool		found;
	bool		number;
	char		text[4096];
	int			points;			/* code points */
} Value;

static bool
starts_with(Slice s, const char *word)
{
	return s.len >= strlen(word) && memcmp(s.data, word, strlen(word)) == 0;
}

static Value
value_of(Slice body, const char *key)
{
	static Value v;
	char		name[64];
	const char *p;
	const char *end = body.data + body.len;
	size_t		n = 0;

	memset(&v, 0, sizeof(v));
	snprintf(name, sizeof(name), "\"%s\":", key);
	p = body.len ? memmem(body.data, body.len, name, strlen(name)) : NULL;
	if (p == NULL)
		return v;
	p += strlen(name);
	while (p < end && *p == ' ')
		p++;
	v.number = p < end && *p >= '0' && *p <= '9';
	if (v.number)
	{
		v.found = true;
		return v;
	}
	if (p >= end || *p != '"')
		return v;
	for (p++; p < end && *p != '"' && n < sizeof(v.text) - 1; p++)
	{
		if ((unsigned char) *p < 0x20)
			return v;
		if (*p == '\\' && p + 1 < end)
		{
			p++;
			v.text[n++] = *p == 'u' ? '?' : *p;
			if (*p == 'u')
				p += 4;
			v.points++;
			continue;
		}
		v.points += ((unsigned char) *p & 0xC0) != 0x80;
		v.text[n++] = *p;
	}
	v.found = p < end && *p == '"';
	return v;
}

/* Twitch's limit of a sender in a channel. */
static bool
is_limited(Slice token, Buffer *headers)
{
	static uint64_t until = 0;
	static int	used = 0;
	uint64_t	now = clock_us();
	bool		full;

	if (!starts_with(token, "Bearer limited"))
		return false;
	if (now >= until)
	{
		until = now + 2000000;
		used = 0;
	}
	full = used >= 2;
	used += !full;
	buffer_printf(headers, "Ratelimit-Limit: 2\r\nRatelimit-Remaining: %d\r\nRatelimit-Reset: %lld\r\n",
				  2 - used, (long long) time(NULL) + 1 + (long long) ((until - now) / 1000000));
	return full;
}

static int
refuse(Buffer *out, int status, const char *why)
{
	buffer_printf(out, "{\"status\":%d,\"message\":\"%s\"}", status, why);
	return status;
}

/* What the three have in common; 0: go on. */
static int
check(const Conn *c, Slice path, const Value *text, int most, Buffer *out)
{
	Slice		type = request_header(c, "content-type");
	Slice		token = request_header(c, "authorization");

	(void) path;
	if (!starts_with(type, "application/json"))
		return refuse(out, 415, "not JSON");
	if (!starts_with(token, "Bearer ") || token.len < 8)
		return refuse(out, 401, "no token");
	if (starts_with(token, "Bearer stale"))
		return refuse(out, 401, "Invalid OAuth token");
	if (!text->found || text->number || text->points == 0)
		return refuse(out, 400, "no message");
	if (text->points > most)
		return refuse(out, 422, "message is too long");
	if (strchr("/.!\\", text->text[0]) != NULL && strncmp(text->text, "!bot", 4) != 0)
		return refuse(out, 400, "that would be a command");
	if (strstr(text->text, "FAIL") != NULL)
		return refuse(out, 500, "out of order");
	return 0;
}

/*
 * An application's gateway, /chat/.../gateway.  What stands in the message after
 * "=>" is its report; "=> 503" and the like is its status, without a body.
 */
static int
gateway_answer(const Conn *c, Slice body, Buffer *out)
{
	Slice		type = request_header(c, "content-type");
	Slice		delivery = request_header(c, "webhook-id");
	Value		id = value_of(body, "id");
	bool		same = id.found && delivery.len == strlen(id.text) &&
		memcmp(delivery.data, id.text, delivery.len) == 0;
	bool		user = value_of(body, "user_id").found;
	bool		platforms = memmem(body.data, body.len, ",\"platforms\":", 13) != NULL;
	Value		message = value_of(body, "message");
	const char *report = strstr(message.text, "=>");

	if (!starts_with(type, "application/json"))
		return refuse(out, 415, "not JSON");
	if (!starts_with(request_header(c, "webhook-signature"), "v1,"))
		return refuse(out, 401, "not signed");
	if (!same || !user || !platforms)
		return refuse(out, 400, "id, user_id or platforms is not as it should be");
	if (!message.found || message.points == 0 || message.points > 500)
		return refuse(out, 400, "message is not as it should be");
	if (report == NULL)
		return 204;
	report += strspn(report + 2, " ") + 2;
	if (*report >= '0' && *report <= '9')
		return atoi(report);
	buffer_printf(out, "{\"deliveries\":%s}", report);
	return 200;
}

int
chat_answer(const Conn *c, Slice path, Slice query, Slice body, Buffer *headers, Buffer *out)
{
	bool		twitch = memmem(path.data, path.len, "/helix/chat/messages", 20) != NULL;
	bool		kick = memmem(path.data, path.len, "/public/v1/chat", 15) != NULL;
	bool		youtube = memmem(path.data, path.len, "/youtube/v3/liveChat/messages", 29) != NULL;
	Value		text = value_of(body, twitch ? "message" : kick ? "content" : "messageText");
	bool		drop = strstr(text.text, "DROP") != NULL;
	int			status;

	if (memmem(path.data, path.len, "/gateway", 8) != NULL)
		return gateway_answer(c, body, out);
	if (!twitch && !kick && !youtube)
		return refuse(out, 404, "no such thing");
	status = check(c, path, &text, youtube ? 200 : 500, out);
	if (status != 0)
		return status;

	if (twitch)
	{
		if (request_header(c, "client-id").len == 0)
			return refuse(out, 401, "no Client-Id");
		if (!value_of(body, "broadcaster_id").found || !value_of(body, "sender_id").found ||
			value_of(body, "broadcaster_id").number)
			return refuse(out, 400, "no broadcaster or sender");
		if (is_limited(request_header(c, "authorization"), headers))
			return refuse(out, 429, "Too Many Requests");
		if (drop)
			buffer_printf(out, "{\"data\":[{\"message_id\":\"\",\"is_sent\":false,\"drop_reason\":"
						  "{\"code\":\"msg_rejected\",\"message\":\"held by AutoMod\"}}]}");
		else
			buffer_printf(out, "{\"data\":[{\"message_id\":\"m1\",\"is_sent\":true}]}");
		return 200;
	}
	if (kick)
	{
		Value		type = value_of(body, "type");

		if (!value_of(body, "broadcaster_user_id").number)
			return refuse(out, 400, "broadcaster_user_id is no number");
		if (!type.found || (strcmp(type.text, "bot") != 0 && strcmp(type.text, "user") != 0))
			return refuse(out, 400, "type is neither bot nor user");
		buffer_printf(out, "{\"data\":{\"is_sent\":%s,\"message_id\":\"k1\"},\"message\":\"OK\"}",
					  drop ? "false" : "true");
		return 200;
	}
	if (query.len != 12 || memcmp(query.data, "part=snippet", 12) != 0)
		return refuse(out, 400, "part is missing");
	if (!value_of(body, "liveChatId").found || !value_of(body, "snippet").found)
	{
		Value		kind = value_of(body, "type");

		if (!value_of(body, "liveChatId").found || strcmp(kind.text, "textMessageEvent") != 0 ||
			memmem(body.data, body.len, "\"snippet\":{", 11) == NULL ||
			memmem(body.data, body.len, "\"textMessageDetails\":{", 22) == NULL)
			return refuse(out, 400, "snippet is malformed");
	}
	if (strstr(text.text, "QUOTA") != NULL || strstr(text.text, "RATE") != NULL)
	{
		buffer_printf(out, "{\"error\":{\"code\":403,\"errors\":[{\"domain\":\"youtube.quota\","
					  "\"reason\":\"%s\"}]}}",
					  strstr(text.text, "QUOTA") ? "quotaExceeded" : "rateLimitExceeded");
		return 403;
	}
	buffer_printf(out, "{\"kind\":\"youtube#liveChatMessage\",\"id\":\"y1\"}");
	return 200;
}
