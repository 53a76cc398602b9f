/*-------------------------------------------------------------------------
 *
 * discord.c
 *		A stand-in for Discord's API.  See discord.h.
 *
 * /discord/OPTIONS is the API's root.  Each different text of options is a
 * service of its own, with its own webhooks, messages and limits:
 *
 *	name=X					tells services apart
 *	limit=5,window=2		requests of one webhook in so many seconds
 *	edits=0,edits_window=2	… and of changes, which then count by themselves
 *	channel=0,channel_window=2
 *							the same of a channel; webhooks 100 to 199 are in one
 *	global=N, ban=N			the N-th request is answered by 429, of the global
 *							limit, or by what stands before Discord; so are others
 *							within retry=1 seconds
 *	silent=1				no Retry-After: only the body says when to come again
 *	slow=MS					answers come so late
 *	refuse=1				every message is wrong, and quoted in the answer
 *
 * Any id and token is a webhook's, but for these tokens: "unknown",
 * "unauthorized", "forbidden", "threadless", "broken".
 *
 * GET /discord/OPTIONS/state tells what has come; /discord/OPTIONS/forget
 * deletes all messages.
 *
 *-------------------------------------------------------------------------
 */
#include "discord.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"

/* What is counted in windows, which begin with a request. */
typedef struct Window
{
	struct Window *next;
	char	   *name;
	unsigned	requests;
	unsigned	refused;
	uint64_t	until;
} Window;

typedef struct Message
{
	struct Message *next;
	char		id[24];
	char	   *webhook;
	char	   *thread;			/* or empty */
	char	   *content;
	char	   *username;
	unsigned	embeds;
	unsigned	edits;
	bool		pings;
} Message;

typedef struct Service
{
	struct Service *next;
	char	   *options;
	unsigned	limit;
	unsigned	window;
	unsigned	edits_limit;
	unsigned	edits_window;
	unsigned	channel_limit;
	unsigned	channel_window;
	unsigned	global_at;
	unsigned	ban_at;
	unsigned	retry;
	unsigned	slow_ms;
	bool		refuses;
	bool		silent;
	unsigned	requests;
	unsigned	rate_limited;
	unsigned	worst;			/* answers of 429 within one window */
	unsigned	pings;
	unsigned	while_closed;	/* requests while none should have come */
	uint64_t	closed_until;
	bool		banned;
	Window	   *windows;
	Message    *messages;
	Message   **tail;
} Service;

static Service *services = NULL;
static Buffer headers;
static Buffer body;
static uint64_t last_id = 1000000000000000000;

/* ---------- services ---------- */

static char *
copy(Slice s)
{
	char	   *text = s.len > 0 ? strndup(s.data, s.len) : strdup("");

	if (text == NULL)
		abort();
	return text;
}

static unsigned
option(const char *options, const char *name, unsigned otherwise)
{
	size_t		len = strlen(name);

	for (const char *p = options; p != NULL; p = strchr(p, ','))
	{
		p += *p == ',';
		if (strncmp(p, name, len) == 0 && p[len] == '=')
			return (unsigned) atoi(p + len + 1);
	}
	return otherwise;
}

static Service *
find_service(Slice options)
{
	Service    *service;

	for (service = services; service != NULL; service = service->next)
	{
		if (strlen(service->options) == options.len &&
			memcmp(service->options, options.data, options.len) == 0)
			return service;
	}
	service = calloc(1, sizeof(Service));
	if (service == NULL)
		abort();
	service->options = copy(options);
	service->limit = option(service->options, "limit", 5);
	service->window = option(service->options, "window", 2);
	service->edits_limit = option(service->options, "edits", 0);
	service->edits_window = option(service->options, "edits_window", 2);
	service->channel_limit = option(service->options, "channel", 0);
	service->channel_window = option(service->options, "channel_window", 2);
	service->global_at = option(service->options, "global", 0);
	service->ban_at = option(service->options, "ban", 0);
	service->retry = option(service->options, "retry", 1);
	service->slow_ms = option(service->options, "slow", 0);
	service->silent = option(service->options, "silent", 0) != 0;
	service->refuses = option(service->options, "refuse", 0) != 0;
	service->tail = &service->messages;
	service->next = services;
	services = service;
	return service;
}

static Window *
find_window(Service *service, const char *kind, const char *id)
{
	char		name[80];
	Window	   *window;

	snprintf(name, sizeof(name), "%s %s", kind, id);
	for (window = service->windows; window != NULL; window = window->next)
	{
		if (strcmp(window->name, name) == 0)
			return window;
	}
	window = calloc(1, sizeof(Window));
	if (window == NULL)
		abort();
	window->name = strdup(name);
	window->next = service->windows;
	service->windows = window;
	return window;
}

/* Does the window take one more?  Counts it. */
static bool
window_takes(Service *service, Window *window, unsigned limit, unsigned seconds)
{
	uint64_t	now = clock_us();

	if (now >= window->until)
	{
		window->requests = window->refused = 0;
		window->until = now + seconds * UINT64_C(1000000);
	}
	if (window->requests < limit)
	{
		window->requests++;
		return true;
	}
	window->refused++;
	if (window->refused > service->worst)
		service->worst = window->refused;
	return false;
}

/* ---------- answers ---------- */

static void
set(DiscordAnswer *answer, int status, const char *type)
{
	answer->status = status;
	answer->type = type;
}

static void
refuse(DiscordAnswer *answer, int status, int code, const char *message)
{
	set(answer, status, "application/json");
	buffer_printf(&body, "{\"message\": \"%s\", \"code\": %d}", message, code);
}

/* Discord quotes what was wrong; that must not get into anybody's log. */
static bool
invalid(DiscordAnswer *answer, const char *field, const char *quoted)
{
	set(answer, 400, "application/json");
	buffer_printf(&body, "{\"message\": \"Invalid Form Body\", \"code\": 50035, \"errors\": {\"%s\": "
				  "{\"_errors\": [{\"code\": \"BASE_TYPE_BAD_LENGTH\", \"message\": ", field);
	json_add_string(&body, quoted ? quoted : "Must be of another type.");
	buffer_add_string(&body, "}]}}}");
	return false;
}

static void
limit(Service *service, DiscordAnswer *answer, const char *scope, uint64_t us)
{
	bool		global = strcmp(scope, "global") == 0;

	service->rate_limited++;
	set(answer, 429, "application/json");
	if (!service->silent)
		buffer_printf(&headers, "Retry-After: %llu\r\n", (unsigned long long) ((us + 999999) / 1000000));
	buffer_printf(&headers, "X-RateLimit-Scope: %s\r\n%s", scope,
				  global ? "X-RateLimit-Global: true\r\n" : "");
	buffer_printf(&body, "{\"message\": \"You are being rate limited.\", \"retry_after\": %.3f, \"global\": %s}",
				  us / 1e6, global ? "true" : "false");
}

static void
ban(Service *service, DiscordAnswer *answer)
{
	service->rate_limited++;
	set(answer, 429, "text/html");
	buffer_printf(&headers, "Retry-After: %u\r\n", service->retry);
	buffer_add_string(&body, "<html><title>Access denied</title>error code: 1015</html>");
}

/* Is the whole service closed to its sender?  Then that is the answer. */
static bool
is_closed(Service *service, DiscordAnswer *answer)
{
	uint64_t	now = clock_us();

	service->requests++;
	if (now < service->closed_until)
		service->while_closed++;
	else if (service->requests == service->global_at || service->requests == service->ban_at)
	{
		service->banned = service->requests == service->ban_at;
		service->closed_until = now + service->retry * UINT64_C(1000000);
	}
	else
		return false;
	if (service->banned)
		ban(service, answer);
	else
		limit(service, answer, "global", service->closed_until - now);
	return true;
}

/* A webhook's limit and its channel's. */
static bool
is_limited(Service *service, const char *webhook, const char *channel, bool edit, DiscordAnswer *answer)
{
	Window	   *window;
	uint64_t	now = clock_us();
	bool		apart = edit && service->edits_limit > 0;
	unsigned	most = apart ? service->edits_limit : service->limit;

	if (service->channel_limit > 0)
	{
		window = find_window(service, "channel", channel);
		if (!window_takes(service, window, service->channel_limit, service->channel_window))
		{
			limit(service, answer, "shared", window->until - now);
			return true;
		}
	}
	if (most > 0)
	{
		const char *kind = apart ? "edits" : "webhook";
		bool		takes;

		window = find_window(service, kind, webhook);
		takes = window_takes(service, window, most, apart ? service->edits_window : service->window);
		buffer_printf(&headers, "X-RateLimit-Bucket: %s\r\nX-RateLimit-Limit: %u\r\n"
					  "X-RateLimit-Remaining: %u\r\nX-RateLimit-Reset-After: %.3f\r\n",
					  kind, most, most - window->requests, (window->until - now) / 1e6);
		if (!takes)
		{
			limit(service, answer, "user", window->until - now);
			return true;
		}
	}
	return false;
}

/* ---------- what a message has to be ---------- */

static bool
is_known(const Json *object, const char *const *names, DiscordAnswer *answer)
{
	for (Json *member = object->first; member != NULL; member = member->next)
	{
		const char *const *name = names;

		while (*name != NULL && strcmp(*name, member->name) != 0)
			name++;
		if (*name == NULL)
			return invalid(answer, member->name, "not a key that is known");
	}
	return true;
}

/* A text with something in it, within limits; counted in "total". */
static bool
check_text(const Json *object, const char *name, size_t limit, bool needed, size_t *total,
		   DiscordAnswer *answer)
{
	Json	   *text = json_get(object, name);

	if (text == NULL)
		return !needed || invalid(answer, name, "This field is required");
	if (text->kind != JSON_STRING || text->chars > limit || text->text[strspn(text->text, " \t\r\n")] == '\0')
		return invalid(answer, name, text->text);
	*total += text->chars;
	return true;
}

static bool
check_url(const Json *object, const char *name, bool needed, DiscordAnswer *answer)
{
	Json	   *url = json_get(object, name);

	if (url == NULL)
		return !needed || invalid(answer, name, "This field is required");
	return (url->kind == JSON_STRING && url->chars <= 2048 &&
			(strncmp(url->text, "https://", 8) == 0 || strncmp(url->text, "http://", 7) == 0) &&
			strpbrk(url->text, " \t\r\n\"<>") == NULL) || invalid(answer, name, url->text);
}

static bool
check_object(const Json *embed, const char *name, const char *text, size_t limit, size_t *total,
			 DiscordAnswer *answer)
{
	static const char *const names[] = {"name", "text", "url", "icon_url", NULL};
	Json	   *object = json_get(embed, name);

	if (object == NULL)
		return true;
	if (object->kind != JSON_OBJECT)
		return invalid(answer, name, NULL);
	return is_known(object, names, answer) &&
		(text == NULL || check_text(object, text, limit, true, total, answer)) &&
		check_url(object, "url", text == NULL, answer) && check_url(object, "icon_url", false, answer);
}

static bool
check_fields(const Json *embed, size_t *total, DiscordAnswer *answer)
{
	static const char *const names[] = {"name", "value", "inline", NULL};
	Json	   *fields = json_get(embed, "fields");

	if (fields == NULL)
		return true;
	if (fields->kind != JSON_LIST || json_count(fields) > 25)
		return invalid(answer, "fields", NULL);
	for (Json *field = fields->first; field != NULL; field = field->next)
	{
		if (field->kind != JSON_OBJECT)
			return invalid(answer, "fields", NULL);
		if (!is_known(field, names, answer) ||
			!check_text(field, "name", 256, true, total, answer) ||
			!check_text(field, "value", 1024, true, total, answer))
			return false;
	}
	return true;
}

static bool
check_embed(const Json *embed, size_t *total, DiscordAnswer *answer)
{
	static const char *const names[] = {
		"title", "description", "url", "color", "timestamp", "author", "footer", "image",
		"thumbnail", "fields", NULL
	};
	Json	   *color;

	if (embed->kind != JSON_OBJECT)
		return invalid(answer, "embeds", NULL);
	color = json_get(embed, "color");
	if (color != NULL && (color->kind != JSON_NUMBER || color->number < 0 || color->number > 0xFFFFFF))
		return invalid(answer, "color", color->text);
	if (json_get(embed, "title") == NULL && json_get(embed, "description") == NULL &&
		json_get(embed, "author") == NULL && json_get(embed, "footer") == NULL &&
		json_get(embed, "image") == NULL && json_get(embed, "thumbnail") == NULL &&
		json_count(json_get(embed, "fields")) == 0)
		return invalid(answer, "embeds", "This field is required");
	return is_known(embed, names, answer) &&
		check_text(embed, "title", 256, false, total, answer) &&
		check_text(embed, "description", 4096, false, total, answer) &&
		check_url(embed, "url", false, answer) &&
		check_object(embed, "author", "name", 256, total, answer) &&
		check_object(embed, "footer", "text", 2048, total, answer) &&
		check_object(embed, "image", NULL, 0, total, answer) &&
		check_object(embed, "thumbnail", NULL, 0, total, answer) &&
		check_fields(embed, total, answer);
}

static bool
check_embeds(const Json *message, DiscordAnswer *answer)
{
	Json	   *embeds = json_get(message, "embeds");
	size_t		total = 0;

	if (embeds == NULL)
		return true;
	if (embeds->kind != JSON_LIST || json_count(embeds) > 10)
		return invalid(answer, "embeds", NULL);
	for (Json *embed = embeds->first; embed != NULL; embed = embed->next)
	{
		if (!check_embed(embed, &total, answer))
			return false;
	}
	return total <= 6000 || invalid(answer, "embeds", "Embed size exceeds maximum size of 6000");
}

/* The name that it is posted under. */
static bool
check_name(const Json *message, DiscordAnswer *answer)
{
	Json	   *name = json_get(message, "username");
	size_t		total = 0;

	if (name == NULL)
		return true;
	if (!check_text(message, "username", 80, false, &total, answer))
		return false;
	if (strcasestr(name->text, "discord") != NULL || strcasestr(name->text, "clyde") != NULL ||
		strcasecmp(name->text, "everyone") == 0 || strcasecmp(name->text, "here") == 0)
		return invalid(answer, "username", name->text);
	return true;
}

static bool
is_in(const Json *list, const char *text, size_t len)
{
	for (Json *item = list ? list->first : NULL; item != NULL; item = item->next)
	{
		if (item->kind == JSON_STRING && strlen(item->text) == len && memcmp(item->text, text, len) == 0)
			return true;
	}
	return false;
}

/* Users and their lists exclude each other. */
static bool
check_mentions(const Json *message, DiscordAnswer *answer)
{
	static const char *const names[] = {"parse", "users", "roles", "replied_user", NULL};
	Json	   *allowed = json_get(message, "allowed_mentions");
	Json	   *parse = json_get(allowed, "parse");

	if (allowed == NULL)
		return true;
	if (allowed->kind != JSON_OBJECT)
		return invalid(answer, "allowed_mentions", NULL);
	if ((is_in(parse, "users", 5) && json_count(json_get(allowed, "users")) > 0) ||
		(is_in(parse, "roles", 5) && json_count(json_get(allowed, "roles")) > 0))
		return invalid(answer, "allowed_mentions", "parse and a list are mutually exclusive");
	return is_known(allowed, names, answer);
}

/* Does a text ping somebody?  Without "allowed", everybody whom it names. */
static bool
pings(const char *content, const Json *allowed)
{
	Json	   *parse = json_get(allowed, "parse");

	for (const char *at = strchr(content, '@'); at != NULL; at = strchr(at + 1, '@'))
	{
		bool		role = at[1] == '&';
		const char *id = at + 1 + (role || at[1] == '!');
		size_t		len = strspn(id, "0123456789");
		const char *kind = role ? "roles" : "users";

		if (strncmp(at, "@everyone", 9) == 0 || strncmp(at, "@here", 5) == 0)
		{
			if (allowed == NULL || is_in(parse, "everyone", 8))
				return true;
		}
		else if (at > content && at[-1] == '<' && len > 0 && id[len] == '>' &&
				 (allowed == NULL || is_in(parse, kind, 5) || is_in(json_get(allowed, kind), id, len)))
			return true;
	}
	return false;
}

static bool
check_message(const Json *message, bool edit, DiscordAnswer *answer)
{
	static const char *const names[] = {
		"content", "embeds", "allowed_mentions", "flags", "username", "avatar_url", NULL
	};
	static const char *const edit_names[] = {"content", "embeds", "allowed_mentions", "flags", NULL};
	Json	   *content = json_get(message, "content");
	Json	   *flags = json_get(message, "flags");
	Json	   *avatar = json_get(message, "avatar_url");
	int			settable = edit ? 4 : 4 | 4096;

	if (content != NULL && (content->kind != JSON_STRING || content->chars > 2000))
		return invalid(answer, "content", content->text);
	if (flags != NULL && (flags->kind != JSON_NUMBER || ((int) flags->number & ~settable) != 0))
		return invalid(answer, "flags", flags->text);
	if (avatar != NULL && (avatar->kind != JSON_STRING || strncmp(avatar->text, "https://", 8) != 0))
		return invalid(answer, "avatar_url", avatar->text);
	if (!is_known(message, edit ? edit_names : names, answer) || !check_embeds(message, answer) ||
		!check_name(message, answer) || !check_mentions(message, answer))
		return false;
	if ((content == NULL || content->text[strspn(content->text, " \t\r\n")] == '\0') &&
		json_count(json_get(message, "embeds")) == 0)
	{
		refuse(answer, 400, 50006, "Cannot send an empty message");
		return false;
	}
	return true;
}

/* ---------- messages ---------- */

static Message *
find_message(Service *service, const char *webhook, const char *thread, const char *id)
{
	for (Message *message = service->messages; message != NULL; message = message->next)
	{
		if (strcmp(message->id, id) == 0 && strcmp(message->webhook, webhook) == 0 &&
			strcmp(message->thread, thread) == 0)
			return message;
	}
	return NULL;
}

static void
fill(Service *service, Message *message, const Json *json)
{
	Json	   *content = json_get(json, "content");
	Json	   *username = json_get(json, "username");

	free(message->content);
	message->content = strdup(content ? content->text : "");
	if (username != NULL)
	{
		free(message->username);
		message->username = strdup(username->text);
	}
	message->embeds = (unsigned) json_count(json_get(json, "embeds"));
	message->pings = pings(message->content, json_get(json, "allowed_mentions"));
	service->pings += message->pings;
}

static Message *
post(Service *service, const char *webhook, const char *thread)
{
	Message    *message = calloc(1, sizeof(Message));

	if (message == NULL)
		abort();
	snprintf(message->id, sizeof(message->id), "%llu", (unsigned long long) ++last_id);
	message->webhook = strdup(webhook);
	message->thread = strdup(thread);
	*service->tail = message;
	service->tail = &message->next;
	return message;
}

static void
show(const Message *message, const char *channel)
{
	buffer_printf(&body, "{\"type\": 0, \"content\": ");
	json_add_string(&body, message->content);
	buffer_printf(&body, ", \"mention_everyone\": %s, \"embeds\": %u, \"edits\": %u, \"pings\": %s, \"webhook_id\": \"%s\", "
				  "\"id\": \"%s\", \"channel_id\": \"%s\", \"author\": {\"username\": ",
				  message->pings ? "true" : "false", message->embeds, message->edits,
				  message->pings ? "true" : "false", message->webhook, message->id, channel);
	json_add_string(&body, message->username ? message->username : "the webhook");
	buffer_add_string(&body, "}}");
}

/* ---------- requests ---------- */

/* The next segment of a path, malloc'd; empty when there is none. */
static char *
next_segment(Slice *path)
{
	const char *slash;
	Slice		segment = {path->data, 0};

	if (path->len == 0 || *path->data != '/')
		return copy(segment);
	segment.data++;
	path->data++;
	path->len--;
	slash = memchr(path->data, '/', path->len);
	segment.len = slash ? (size_t) (slash - path->data) : path->len;
	path->data += segment.len;
	path->len -= segment.len;
	return copy(segment);
}

static char *
parameter(const char *query, const char *name)
{
	size_t		len = strlen(name);

	for (const char *p = query; p != NULL; p = strchr(p, '&'))
	{
		p += *p == '&';
		if (strncmp(p, name, len) == 0 && p[len] == '=')
			return strndup(p + len + 1, strcspn(p + len + 1, "&"));
	}
	return strdup("");
}

/* What a token that is none gets. */
static bool
is_webhook(const char *token, DiscordAnswer *answer)
{
	if (strcmp(token, "unknown") == 0)
		refuse(answer, 404, 10015, "Unknown Webhook");
	else if (strcmp(token, "unauthorized") == 0)
		refuse(answer, 401, 50027, "Invalid Webhook Token");
	else if (strcmp(token, "forbidden") == 0)
		refuse(answer, 403, 50013, "Missing Permissions");
	else if (strcmp(token, "threadless") == 0)
		refuse(answer, 404, 10003, "Unknown Channel");
	else if (strcmp(token, "broken") == 0)
		set(answer, 500, "text/plain");
	else
		return true;
	return false;
}

static void
execute(Service *service, const DiscordRequest *request, const char *webhook, const char *channel,
		const char *thread, const char *id, bool wait, DiscordAnswer *answer)
{
	bool		edit = *id != '\0';
	Message    *message = edit ? find_message(service, webhook, thread, id) : NULL;
	Json	   *json;

	if (edit && message == NULL)
	{
		refuse(answer, 404, 10008, "Unknown Message");
		return;
	}
	json = json_parse(request->body);
	if (json == NULL || json->kind != JSON_OBJECT)
		refuse(answer, 400, 50109, "The request body contains invalid JSON.");
	else if (service->refuses)
		(void) invalid(answer, "content", json_get(json, "content") ? json_get(json, "content")->text : NULL);
	else if (check_message(json, edit, answer))
	{
		if (edit)
			message->edits++;
		else
			message = post(service, webhook, thread);
		fill(service, message, json);
		set(answer, wait || edit ? 200 : 204, "application/json");
		if (answer->status == 200)
			show(message, channel);
	}
	json_free(json);
}

static void
begin(DiscordAnswer *answer)
{
	headers.start = headers.end = body.start = body.end = 0;
	*answer = (DiscordAnswer) {.headers = &headers,.body = &body};
}

void
discord_answer(const DiscordRequest *request, DiscordAnswer *answer)
{
	Service    *service = find_service(request->options);
	Slice		path = request->path;
	char	   *word = next_segment(&path);
	char	   *webhook = next_segment(&path);
	char	   *token = next_segment(&path);
	char	   *messages = next_segment(&path);
	char	   *id = next_segment(&path);
	char	   *query = copy(request->query);
	char	   *thread = parameter(query, "thread_id");
	char	   *waits = parameter(query, "wait");
	char		channel[40];
	bool		is_post = request->method.len == 4 && memcmp(request->method.data, "POST", 4) == 0;
	bool		is_patch = request->method.len == 5 && memcmp(request->method.data, "PATCH", 5) == 0;

	begin(answer);
	answer->delay_ms = service->slow_ms;
	if (*thread != '\0')
		snprintf(channel, sizeof(channel), "%.30s", thread);
	else
		snprintf(channel, sizeof(channel), "9%llu", strtoull(webhook, NULL, 10) / 100);

	if (strcmp(word, "webhooks") != 0 || *webhook == '\0' || *token == '\0' ||
		(*messages != '\0' && strcmp(messages, "messages") != 0) || (*messages != '\0') != is_patch ||
		(!is_post && !is_patch))
		refuse(answer, 405, 0, "405: Method Not Allowed");
	else if (request->user_agent.len == 0)
		set(answer, 403, "text/html");
	else if (!is_closed(service, answer) && is_webhook(token, answer) &&
			 !is_limited(service, webhook, channel, is_patch, answer))
	{
		if (request->content_type.len != 16 || memcmp(request->content_type.data, "application/json", 16) != 0)
			(void) invalid(answer, "content_type", "Expected application/json");
		else
			execute(service, request, webhook, channel, thread, id, strcmp(waits, "true") == 0, answer);
	}
	free(word);
	free(webhook);
	free(token);
	free(messages);
	free(id);
	free(query);
	free(thread);
	free(waits);
}

static void
forget(Service *service)
{
	while (service->messages != NULL)
	{
		Message    *message = service->messages;

		service->messages = message->next;
		free(message->webhook);
		free(message->thread);
		free(message->content);
		free(message->username);
		free(message);
	}
	service->tail = &service->messages;
}

void
discord_control(const DiscordRequest *request, DiscordAnswer *answer)
{
	Service    *service = find_service(request->options);

	begin(answer);
	set(answer, 200, "application/json");
	buffer_printf(&body, "{\"requests\": %u, \"rate_limited\": %u, \"worst\": %u, \"while_closed\": %u, "
				  "\"pings\": %u, \"messages\": [", service->requests, service->rate_limited,
				  service->worst, service->while_closed, service->pings);
	for (Message *message = service->messages; message != NULL; message = message->next)
	{
		if (message != service->messages)
			buffer_add_string(&body, ", ");
		show(message, message->thread);
	}
	buffer_add_string(&body, "]}");
	if (request->path.len >= 7 && memcmp(request->path.data, "/forget", 7) == 0)
		forget(service);
}
