/*-------------------------------------------------------------------------
 *
 * answer.c
 *		What the receiver does with a request: one function per behaviour.
 *
 * A behaviour is chosen by the first segment of the path.  It appends to
 * the connection's output, where earlier answers may still be waiting, and
 * either leaves the state alone (answered) or sets it to what comes next.
 * Answers longer than a moment's output are produced piece by piece: by
 * answer_timer() or by answer_fill().
 *
 * What a test asks for in a query is sent as it is after percent-decoding,
 * CR and LF included: a receiver may be as hostile as the test wants.
 *
 *-------------------------------------------------------------------------
 */
#include "receiver.h"
#include "discord.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIECE			65536	/* of a chunked body */
#define MAX_COUNT		100000	/* headers, interim answers */
#define MAX_WAIT_MS		86400000
#define RESET_DELAY		10000	/* microseconds, so that the client reads what came before */
#define BUCKET_LIMIT	5		/* requests ... */
#define BUCKET_WINDOW	2		/* ... in so many seconds */

/* The parts of the target a behaviour reads its parameters from. */
typedef struct Target
{
	Slice		path;
	Slice		query;
	Slice		body;			/* of the request */
} Target;

typedef void (*Behaviour) (Conn *c, const Target *t);

static Behaviour find_behaviour(Slice name);

/* What behaviours that change remember, each under keys of its own. */
typedef struct Memo
{
	struct Memo *next;
	uint64_t	requests;		/* /seq, /sequence; /bucket: in its window */
	uint64_t	until;			/* /bucket: end of its window, by clock_us() */
	bool		on;				/* /switch */
	size_t		len;
	char		key[];
} Memo;

static Memo *memos[4096];

static const char *const reasons[1000] = {
	[200] = "OK", [201] = "Created", [202] = "Accepted", [204] = "No Content",
	[301] = "Moved Permanently", [302] = "Found", [304] = "Not Modified",
	[307] = "Temporary Redirect", [308] = "Permanent Redirect",
	[400] = "Bad Request", [401] = "Unauthorized", [403] = "Forbidden",
	[404] = "Not Found", [408] = "Request Timeout", [410] = "Gone",
	[413] = "Content Too Large", [429] = "Too Many Requests",
	[431] = "Request Header Fields Too Large", [500] = "Internal Server Error",
	[501] = "Not Implemented", [502] = "Bad Gateway",
	[503] = "Service Unavailable", [504] = "Gateway Timeout",
};

/* ---------- the target ---------- */

/* The path with its query, also of the absolute form that proxies get. */
static Slice
target_path(Slice target)
{
	if (target.len > 7 && memcmp(target.data, "http://", 7) == 0)
	{
		const char *slash = memchr(target.data + 7, '/', target.len - 7);

		if (slash != NULL)
			return (Slice) {slash, target.data + target.len - slash};
	}
	return target;
}

static Target
target_parse(Slice target)
{
	Target		t = {.path = target_path(target)};
	const char *mark = memchr(t.path.data, '?', t.path.len);

	if (mark != NULL)
	{
		t.query = (Slice) {mark + 1, t.path.data + t.path.len - mark - 1};
		t.path.len = mark - t.path.data;
	}
	return t;
}

/* The n-th segment of the path, from 1; empty when there is none. */
static Slice
segment(Slice path, int n)
{
	const char *p = path.data;
	const char *end = path.data + path.len;

	for (; p < end && *p == '/'; n--)
	{
		const char *slash = memchr(p + 1, '/', end - p - 1);

		if (slash == NULL)
			slash = end;
		if (n == 1)
			return (Slice) {p + 1, slash - p - 1};
		p = slash;
	}
	return (Slice) {end, 0};
}

static bool
slice_equal(Slice s, const char *word, size_t len)
{
	return s.len == len && memcmp(s.data, word, len) == 0;
}

bool
slice_number(Slice s, uint64_t *number)
{
	uint64_t	n = 0;

	if (s.len == 0 || s.len > 15)
		return false;
	for (size_t i = 0; i < s.len; i++)
	{
		if (!isdigit((unsigned char) s.data[i]))
			return false;
		n = n * 10 + (s.data[i] - '0');
	}
	*number = n;
	return true;
}

/* Segment n as a number of at most max; answers 404 when it is none. */
static bool
parameter(Conn *c, const Target *t, int n, uint64_t max, uint64_t *number)
{
	if (slice_number(segment(t->path, n), number) && *number <= max)
		return true;
	answer_error(c, 404);
	return false;
}

/* A final status with which an answer makes sense. */
static bool
status_number(Slice s, int *status)
{
	uint64_t	number;

	if (s.len != 3 || !slice_number(s, &number) || number < 200)
		return false;
	*status = (int) number;
	return true;
}

/* Takes the next name=value off the query. */
static bool
query_next(Slice *query, Slice *name, Slice *value)
{
	const char *end;
	const char *equals;
	size_t		len;

	if (query->len == 0)
		return false;
	end = memchr(query->data, '&', query->len);
	len = end ? (size_t) (end - query->data) : query->len;
	equals = memchr(query->data, '=', len);
	*name = (Slice) {query->data, equals ? (size_t) (equals - query->data) : len};
	*value = equals ? (Slice) {equals + 1, len - name->len - 1} : (Slice) {query->data, 0};
	query->data += len + (end != NULL);
	query->len -= len + (end != NULL);
	return true;
}

bool
query_get(Slice query, const char *wanted, Slice *value)
{
	Slice		name;

	while (query_next(&query, &name, value))
	{
		if (slice_equal(name, wanted, strlen(wanted)))
			return true;
	}
	return false;
}

static int
hex_digit(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	ch |= 0x20;
	return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

void
add_decoded(Buffer *b, Slice s)
{
	buffer_reserve(b, s.len);
	for (size_t i = 0; i < s.len; i++)
	{
		char		ch = s.data[i];

		if (ch == '%' && i + 2 < s.len &&
			hex_digit(s.data[i + 1]) >= 0 && hex_digit(s.data[i + 2]) >= 0)
		{
			ch = (char) (hex_digit(s.data[i + 1]) * 16 + hex_digit(s.data[i + 2]));
			i += 2;
		}
		b->data[b->end++] = ch;
	}
}

/* ---------- parts of an answer ---------- */

/* Status line and the headers every answer has; not counted. */
static void
add_head(Conn *c, int status)
{
	buffer_printf(&c->out, "HTTP/1.1 %d %s\r\n%s", status,
				  reasons[status] ? reasons[status] : "Status",
				  c->keep_alive ? "" : "Connection: close\r\n");
}

static void
begin_head(Conn *c, int status)
{
	stats.by_status[status]++;
	add_head(c, status);
}

static void
end_head(Conn *c)
{
	buffer_add_string(&c->out, "\r\n");
}

/* What every header=NAME:VALUE of the query asks for. */
static void
add_asked_headers(Conn *c, Slice query)
{
	Slice		name;
	Slice		value;

	while (query_next(&query, &name, &value))
	{
		if (!slice_equal(name, "header", 6))
			continue;
		add_decoded(&c->out, value);
		end_head(c);
	}
}

/* The rest of an answer that is sent at once. */
static void
add_body(Conn *c, const char *type, Slice body)
{
	buffer_printf(&c->out, "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n",
				  type, body.len);
	if (!c->is_head)
		buffer_add(&c->out, body.data, body.len);
}

/* After the headers of its own: a short text, where the status allows one. */
static void
end_status(Conn *c, int status)
{
	char		text[32];

	if (status == 204 || status == 304)
		end_head(c);
	else
	{
		int			len = snprintf(text, sizeof(text), "status %d\n", status);

		add_body(c, "text/plain", (Slice) {text, len});
	}
}

static void
no_content(Conn *c)
{
	static const char fast[] = "HTTP/1.1 204 No Content\r\n\r\n";

	if (c->keep_alive)
	{
		stats.by_status[204]++;
		buffer_add(&c->out, fast, sizeof(fast) - 1);
		return;
	}
	begin_head(c, 204);
	end_head(c);
}

/* The request gets no status line, or none that counts. */
static void
no_answer(Conn *c, ConnState state)
{
	stats.by_status[0]++;
	c->state = state;
}

static void
wait_for(Conn *c, ConnState state, uint64_t us)
{
	c->state = state;
	timer_set(c, clock_us() + us);
}

static void
add_chunk(Conn *c, const char *data, size_t len)
{
	buffer_printf(&c->out, "%zx\r\n", len);
	buffer_add(&c->out, data, len);
	buffer_add(&c->out, "\r\n", 2);
}

static void
start_stream(Conn *c, StreamKind kind, uint64_t total)
{
	begin_head(c, 200);
	if (kind == STREAM_GZIP)
		buffer_add_string(&c->out, "Content-Encoding: gzip\r\n");
	buffer_add_string(&c->out, "Content-Type: text/plain\r\n"
					  "Transfer-Encoding: chunked\r\n\r\n");
	if (c->is_head)
		return;
	c->stream = (Stream) {.kind = kind,.total = total,.left = total};
	c->state = CONN_STREAM;
}

/* ---------- behaviours ---------- */

static void
do_ok(Conn *c, const Target *t)
{
	(void) t;
	no_content(c);
}

static void
do_json(Conn *c, const Target *t)
{
	static const char body[] = "{\"ok\": true, \"message\": \"received\"}";

	(void) t;
	begin_head(c, 200);
	add_body(c, "application/json", (Slice) {body, sizeof(body) - 1});
}

/* A stand-in for a chat service: chat.c. */
static void
do_chat(Conn *c, const Target *t)
{
	Buffer		headers = {0};
	Buffer		body = {0};
	int			status = chat_answer(c, t->path, t->query, t->body, &headers, &body);

	begin_head(c, status);
	buffer_add(&c->out, headers.data + headers.start, buffer_len(&headers));
	add_body(c, "application/json", (Slice) {body.data + body.start, buffer_len(&body)});
	free(headers.data);
	free(body.data);
}

static void
do_echo(Conn *c, const Target *t)
{
	begin_head(c, 200);
	add_body(c, "application/octet-stream", t->body);
}

/* /status/NNN[?retry_after=X][&location=URL][&header=NAME:VALUE], and /early/NNN likewise */
static void
do_status(Conn *c, const Target *t)
{
	int			status;
	Slice		value;

	if (!status_number(segment(t->path, 2), &status))
	{
		answer_error(c, 404);
		return;
	}
	begin_head(c, status);
	if (query_get(t->query, "retry_after", &value))
	{
		buffer_add_string(&c->out, "Retry-After: ");
		add_decoded(&c->out, value);
		end_head(c);
	}
	if (status / 100 == 3)
	{
		buffer_add_string(&c->out, "Location: ");
		if (query_get(t->query, "location", &value))
			add_decoded(&c->out, value);
		else
			buffer_add_string(&c->out, "https://elsewhere.example/landing");
		end_head(c);
	}
	add_asked_headers(c, t->query);
	end_status(c, status);
}

/* Under a key of two parts; what was never asked for is all zeros. */
static Memo *
memo(Slice kind, Slice name)
{
	static Buffer key;
	Memo	  **list;
	Memo	   *m;
	uint32_t	hash = 2166136261u;

	key.start = key.end = 0;
	buffer_add(&key, kind.data, kind.len);
	buffer_add(&key, "\n", 1);
	buffer_add(&key, name.data, name.len);
	for (size_t i = 0; i < key.end; i++)
		hash = (hash ^ (unsigned char) key.data[i]) * 16777619u;
	list = &memos[hash % (sizeof(memos) / sizeof(memos[0]))];
	for (m = *list; m != NULL; m = m->next)
	{
		if (m->len == key.end && memcmp(m->key, key.data, m->len) == 0)
			return m;
	}
	m = malloc(sizeof(Memo) + key.end);
	if (m == NULL)
		abort();
	*m = (Memo) {.next = *list,.len = key.end};
	memcpy(m->key, key.data, key.end);
	*list = m;
	return m;
}

/* Takes what stands before the next separator off the list. */
static Slice
list_next(Slice *list, char separator)
{
	const char *end = list->len > 0 ? memchr(list->data, separator, list->len) : NULL;
	Slice		item = {list->data, end ? (size_t) (end - list->data) : list->len};

	list->data += item.len + (end != NULL);
	list->len -= item.len + (end != NULL);
	return item;
}

/*
 * One of a comma-separated list: the n-th, from 0, or the last.  It is either
 * STATUS[:NAME=VALUE...], or the name of a behaviour without parameters.
 */
static void
answer_from_list(Conn *c, Slice list, uint64_t n)
{
	static const Target nothing = {.path = {"", 0}};
	Slice		item = list_next(&list, ',');
	Slice		rest;
	Behaviour	behaviour;
	int			status;

	for (; n > 0 && list.len > 0; n--)
		item = list_next(&list, ',');
	behaviour = find_behaviour(item);
	rest = item;
	if (behaviour != NULL)
		behaviour(c, &nothing);
	else if (!status_number(list_next(&rest, ':'), &status))
		answer_error(c, 404);
	else
	{
		begin_head(c, status);
		while (rest.len > 0)
		{
			Slice		value = list_next(&rest, ':');

			add_decoded(&c->out, list_next(&value, '='));
			buffer_add_string(&c->out, ": ");
			add_decoded(&c->out, value);
			end_head(c);
		}
		end_status(c, status);
	}
}

/* /seq/ITEM,ITEM,.../KEY: one after the other per key; the last stays */
static void
do_seq(Conn *c, const Target *t)
{
	Memo	   *m = memo(segment(t->path, 1), segment(t->path, 3));

	answer_from_list(c, segment(t->path, 2), m->requests++);
}

/* /sequence/ITEM,ITEM,...[/NAME]: the same per webhook-id, so for the attempts of one delivery */
static void
do_sequence(Conn *c, const Target *t)
{
	Memo	   *m = memo(t->path, request_header(c, "webhook-id"));

	answer_from_list(c, segment(t->path, 2), m->requests++);
}

/* /switch/NAME[?status=NNN]: 500, or what is asked for, until it is on; then 204 */
static void
do_switch(Conn *c, const Target *t)
{
	Slice		value;
	int			status = 500;

	if (memo(segment(t->path, 1), segment(t->path, 2))->on)
		no_content(c);
	else if (query_get(t->query, "status", &value) && !status_number(value, &status))
		answer_error(c, 404);
	else
	{
		begin_head(c, status);
		add_asked_headers(c, t->query);
		end_status(c, status);
	}
}

/* /switch/NAME/on or off: a test speaking, not a sender */
static bool
is_switching(const Target *t, bool *on)
{
	Slice		position = segment(t->path, 3);

	*on = slice_equal(position, "on", 2);
	return slice_equal(segment(t->path, 1), "switch", 6) &&
		(*on || slice_equal(position, "off", 3));
}

/*
 * /bucket/NAME[?limit=N][&window=SECONDS]: 204 for so many requests in a
 * window, which begins with the first of them, then 429.  Headers and body
 * are Discord's.
 */
static void
do_bucket(Conn *c, const Target *t)
{
	Memo	   *m = memo(segment(t->path, 1), segment(t->path, 2));
	uint64_t	limit = BUCKET_LIMIT;
	uint64_t	window = BUCKET_WINDOW;
	uint64_t	now = clock_us();
	struct timespec clock;
	bool		full;
	uint64_t	left_us;
	double		left;
	Slice		value;

	if ((query_get(t->query, "limit", &value) && !slice_number(value, &limit)) ||
		(query_get(t->query, "window", &value) && !slice_number(value, &window)))
	{
		answer_error(c, 404);
		return;
	}
	if (now >= m->until)
	{
		m->requests = 0;
		m->until = now + window * 1000000;
	}
	full = m->requests >= limit;
	m->requests += !full;
	left_us = m->until - now;
	left = left_us / 1e6;
	clock_gettime(CLOCK_REALTIME, &clock);

	begin_head(c, full ? 429 : 204);
	buffer_printf(&c->out, "X-RateLimit-Limit: %llu\r\nX-RateLimit-Remaining: %llu\r\n"
				  "X-RateLimit-Reset: %.3f\r\nX-RateLimit-Reset-After: %.3f\r\n"
				  "X-RateLimit-Bucket: %.*s\r\n",
				  (unsigned long long) limit, (unsigned long long) (limit - m->requests),
				  clock.tv_sec + clock.tv_nsec / 1e9 + left, left,
				  (int) segment(t->path, 2).len, segment(t->path, 2).data);
	if (full)
	{
		char		body[128];
		int			len = snprintf(body, sizeof(body), "{\"message\": \"You are being rate limited.\", "
								   "\"retry_after\": %.3f, \"global\": false}\n", left);

		buffer_printf(&c->out, "Retry-After: %llu\r\nX-RateLimit-Scope: user\r\n",
					  (unsigned long long) ((left_us + 999999) / 1000000));
		add_body(c, "application/json", (Slice) {body, len});
	}
	else
		end_head(c);
}

/* A request to the stand-in for Discord. */
static DiscordRequest
discord_request(const Conn *c, const Target *t)
{
	Slice		options = segment(t->path, 2);
	const char *rest = options.data + options.len;

	return (DiscordRequest) {
		.method = {c->in.data + c->in.start, c->request.method_len},
		.options = options,
		.path = {rest, t->path.data + t->path.len - rest},
		.query = t->query,
		.content_type = request_header(c, "content-type"),
		.user_agent = request_header(c, "user-agent"),
		.body = t->body
	};
}

static void
add_discord_answer(Conn *c, const DiscordAnswer *answer)
{
	buffer_add(&c->out, answer->headers->data, buffer_len(answer->headers));
	if (answer->status == 204)
		end_head(c);
	else
		add_body(c, answer->type, (Slice) {answer->body->data, buffer_len(answer->body)});
}

/* /discord/OPTIONS/webhooks/ID/TOKEN[/messages/ID]: discord.c */
static void
do_discord(Conn *c, const Target *t)
{
	DiscordRequest request = discord_request(c, t);
	DiscordAnswer answer;
	size_t		before = buffer_len(&c->out);

	discord_answer(&request, &answer);
	begin_head(c, answer.status);
	add_discord_answer(c, &answer);
	if (answer.delay_ms == 0)
		return;
	buffer_add(&c->late, c->out.data + c->out.start + before, buffer_len(&c->out) - before);
	c->out.end = c->out.start + before;
	wait_for(c, CONN_SLOW, answer.delay_ms * UINT64_C(1000));
}

/* /discord/OPTIONS/state or forget: a test speaking, not a sender */
static bool
is_discord_control(const Target *t)
{
	Slice		what = segment(t->path, 3);

	return slice_equal(segment(t->path, 1), "discord", 7) &&
		(slice_equal(what, "state", 5) || slice_equal(what, "forget", 6));
}

static void
do_slow(Conn *c, const Target *t)
{
	uint64_t	ms;

	if (!parameter(c, t, 2, MAX_WAIT_MS, &ms))
		return;
	wait_for(c, CONN_SLOW, ms * 1000);
}

/* /mix/P/MS: 37 has no factor in common with 100, so exactly P of each 100 */
static void
do_mix(Conn *c, const Target *t)
{
	uint64_t	percent;
	uint64_t	ms;

	if (!parameter(c, t, 2, 100, &percent) ||
		!parameter(c, t, 3, MAX_WAIT_MS, &ms))
		return;
	if (stats.requests * 37 % 100 < percent)
		wait_for(c, CONN_SLOW, ms * 1000);
	else
		no_content(c);
}

static void
do_hang(Conn *c, const Target *t)
{
	(void) t;
	no_answer(c, CONN_HANG);
}

static void
do_hang_after_headers(Conn *c, const Target *t)
{
	(void) t;
	begin_head(c, 200);
	buffer_add_string(&c->out, "Content-Length: 100\r\n\r\n");
	c->state = CONN_HANG;
}

static void
do_drip(Conn *c, const Target *t)
{
	uint64_t	bytes;
	uint64_t	ms;

	if (!parameter(c, t, 2, UINT64_MAX, &bytes) ||
		!parameter(c, t, 3, MAX_WAIT_MS, &ms))
		return;
	begin_head(c, 200);
	buffer_printf(&c->out, "Content-Length: %llu\r\n\r\n", (unsigned long long) bytes);
	if (bytes == 0 || c->is_head)
		return;
	c->stream = (Stream) {.left = bytes,.interval = ms * 1000};
	wait_for(c, CONN_DRIP, c->stream.interval);
}

static void
do_reset(Conn *c, const Target *t)
{
	(void) t;
	no_answer(c, CONN_RESETTING);
}

static void
do_reset_headers(Conn *c, const Target *t)
{
	(void) t;
	buffer_add_string(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/pl");
	no_answer(c, CONN_RESET_SOON);
	timer_set(c, clock_us() + RESET_DELAY);
}

static void
do_reset_body(Conn *c, const Target *t)
{
	(void) t;
	begin_head(c, 200);
	buffer_printf(&c->out, "Content-Length: 100\r\n\r\n%050d", 0);
	wait_for(c, CONN_RESET_SOON, RESET_DELAY);
}

static void
do_close(Conn *c, const Target *t)
{
	(void) t;
	no_answer(c, CONN_CLOSING);
}

static void
do_huge(Conn *c, const Target *t)
{
	uint64_t	bytes;

	if (parameter(c, t, 2, UINT64_MAX, &bytes))
		start_stream(c, STREAM_PLAIN, bytes);
}

static void
do_endless(Conn *c, const Target *t)
{
	(void) t;
	start_stream(c, STREAM_ENDLESS, 0);
}

static void
do_gzip(Conn *c, const Target *t)
{
	uint64_t	bytes;

	if (parameter(c, t, 2, UINT64_MAX, &bytes))
		start_stream(c, STREAM_GZIP, bytes);
}

static void
do_headers(Conn *c, const Target *t)
{
	uint64_t	count;

	if (!parameter(c, t, 2, MAX_COUNT, &count))
		return;
	begin_head(c, 200);
	for (unsigned i = 1; i <= count; i++)
		buffer_printf(&c->out, "X-Extra-%u: value %u\r\n", i, i);
	end_status(c, 200);
}

/* /continue/N[?status=103][&header=NAME:VALUE]: so many interim answers, with these headers */
static void
do_continue(Conn *c, const Target *t)
{
	uint64_t	count;
	Slice		value;
	bool		hints = query_get(t->query, "status", &value) && slice_equal(value, "103", 3);

	if (!parameter(c, t, 2, MAX_COUNT, &count))
		return;
	while (count-- > 0)
	{
		buffer_add_string(&c->out, hints ?
						  "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n" :
						  "HTTP/1.1 100 Continue\r\n");
		add_asked_headers(c, t->query);
		end_head(c);
	}
	no_content(c);
}

/* /trailer[?header=NAME:VALUE]: headers that come after the body */
static void
do_trailer(Conn *c, const Target *t)
{
	begin_head(c, 200);
	buffer_add_string(&c->out, "Transfer-Encoding: chunked\r\n\r\n");
	if (c->is_head)
		return;
	add_chunk(c, "late\n", 5);
	buffer_add_string(&c->out, "0\r\n");
	add_asked_headers(c, t->query);
	end_head(c);
}

static void
do_garbage(Conn *c, const Target *t)
{
	static const char garbage[] = "\x16\x03\x01 220 this is not HTTP\n\0\xff\xfe\r\n\r\n";

	(void) t;
	buffer_add(&c->out, garbage, sizeof(garbage) - 1);
	no_answer(c, CONN_CLOSING);
}

static void
do_no_keepalive(Conn *c, const Target *t)
{
	(void) t;
	c->keep_alive = false;
	no_content(c);
}

/* raw.c */
static void
do_raw(Conn *c, const Target *t)
{
	if (!raw_begin(c, t->query))
		answer_error(c, 404);
}

/* /header?name=value[&name=value] */
static void
do_header(Conn *c, const Target *t)
{
	Slice		query = t->query;
	Slice		name;
	Slice		value;

	begin_head(c, 204);
	while (query_next(&query, &name, &value))
	{
		add_decoded(&c->out, name);
		buffer_add_string(&c->out, ": ");
		add_decoded(&c->out, value);
		end_head(c);
	}
	end_head(c);
}

#define ROUTE(name, behaviour) {name, sizeof(name) - 1, behaviour}

static const struct
{
	const char *name;
	size_t		len;
	Behaviour	behaviour;
}			routes[] =
{
	ROUTE("ok", do_ok),
	ROUTE("json", do_json),
	ROUTE("chat", do_chat),
	ROUTE("echo", do_echo),
	ROUTE("status", do_status),
	ROUTE("early", do_status),
	ROUTE("seq", do_seq),
	ROUTE("sequence", do_sequence),
	ROUTE("switch", do_switch),
	ROUTE("bucket", do_bucket),
	ROUTE("discord", do_discord),
	ROUTE("slow", do_slow),
	ROUTE("mix", do_mix),
	ROUTE("hang", do_hang),
	ROUTE("hang-after-headers", do_hang_after_headers),
	ROUTE("drip", do_drip),
	ROUTE("reset", do_reset),
	ROUTE("reset-headers", do_reset_headers),
	ROUTE("reset-body", do_reset_body),
	ROUTE("close", do_close),
	ROUTE("huge", do_huge),
	ROUTE("endless", do_endless),
	ROUTE("gzip", do_gzip),
	ROUTE("headers", do_headers),
	ROUTE("continue", do_continue),
	ROUTE("trailer", do_trailer),
	ROUTE("garbage", do_garbage),
	ROUTE("no-keepalive", do_no_keepalive),
	ROUTE("header", do_header),
	ROUTE("raw", do_raw),
};

static Behaviour
find_behaviour(Slice name)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		if (slice_equal(name, routes[i].name, routes[i].len))
			return routes[i].behaviour;
	}
	return NULL;
}

/* ---------- called by request.c ---------- */

/* Is it answered before its body is read? */
bool
answer_is_early(Slice target)
{
	Slice		path = target_path(target);

	return path.len >= 7 && memcmp(path.data, "/early/", 7) == 0;
}

/* Is it for the receiver itself, /stats or a switch, and so neither counted nor logged? */
bool
answer_is_control(Slice method, Slice target)
{
	Target		t = target_parse(target);
	bool		on;

	return slice_equal(method, "GET", 3) &&
		(slice_equal(segment(t.path, 1), "stats", 5) || is_switching(&t, &on) || is_discord_control(&t));
}

void
answer_request(Conn *c, Slice target, Slice body)
{
	Target		t = target_parse(target);
	Behaviour	behaviour = find_behaviour(segment(t.path, 1));

	t.body = body;
	if (behaviour != NULL)
		behaviour(c, &t);
	else
	{
		begin_head(c, 404);
		end_status(c, 404);
	}
}

/* An answer has been appended in full: another request, or the end? */
void
answer_end(Conn *c)
{
	c->state = c->keep_alive ? CONN_READING : CONN_CLOSING;
}

/* Something is wrong with the request itself; its framing may be lost. */
void
answer_error(Conn *c, int status)
{
	bool		framed = status == 404;

	if (!c->request.answered)
	{
		c->keep_alive = c->keep_alive && framed;
		begin_head(c, status);
		end_status(c, status);
	}
	if (!framed)
		c->state = CONN_CLOSING;
}

static void
add_stats(Conn *c)
{
	Buffer		json = {0};

	buffer_printf(&json, "{\"requests\": %llu, \"connections\": %llu, \"open\": %llu, "
				  "\"max_open\": %llu, \"blackhole_connections\": %llu, "
				  "\"blackhole_open\": %llu, \"by_status\": {",
				  (unsigned long long) stats.requests,
				  (unsigned long long) stats.connections,
				  (unsigned long long) stats.open,
				  (unsigned long long) stats.max_open,
				  (unsigned long long) stats.stalled_connections,
				  (unsigned long long) stats.stalled_open);
	for (int i = 0, first = 1; i < 1000; i++)
	{
		if (stats.by_status[i] == 0)
			continue;
		if (i == 0)
			buffer_printf(&json, "\"none\": ");
		else
			buffer_printf(&json, "%s\"%d\": ", first ? "" : ", ", i);
		buffer_printf(&json, "%llu", (unsigned long long) stats.by_status[i]);
		first = 0;
	}
	buffer_add_string(&json, "}}\n");
	add_head(c, 200);
	add_body(c, "application/json", (Slice) {json.data, json.end});
	free(json.data);
}

void
answer_control(Conn *c, Slice target)
{
	Target		t = target_parse(target);
	bool		on;

	if (is_switching(&t, &on))
	{
		memo(segment(t.path, 1), segment(t.path, 2))->on = on;
		add_head(c, 204);
		end_head(c);
	}
	else if (is_discord_control(&t))
	{
		DiscordRequest request = discord_request(c, &t);
		DiscordAnswer answer;

		discord_control(&request, &answer);
		add_head(c, answer.status);
		add_discord_answer(c, &answer);
	}
	else
		add_stats(c);
}

/* ---------- called by receiver.c ---------- */

/* The connection's timer has fired in a state that waits for it. */
void
answer_timer(Conn *c)
{
	if (c->state == CONN_SLOW)
	{
		if (buffer_len(&c->late) > 0)
		{
			buffer_add(&c->out, c->late.data + c->late.start, buffer_len(&c->late));
			buffer_consume(&c->late, buffer_len(&c->late));
		}
		else
			no_content(c);
		answer_end(c);
	}
	else if (c->state == CONN_DRIP && c->stream.kind == STREAM_RAW)
		raw_timer(c);
	else if (c->state == CONN_DRIP)
	{
		buffer_add(&c->out, "x", 1);
		if (--c->stream.left > 0)
			timer_set(c, c->deadline + c->stream.interval);
		else
			answer_end(c);
	}
	else if (c->state == CONN_RESET_SOON)
		c->state = CONN_RESETTING;
}

/* Product of two polynomials modulo that of CRC-32; bit 31 is x to the 0. */
static uint32_t
crc_multiply(uint32_t a, uint32_t b)
{
	uint32_t	product = 0;

	for (; a != 0; a <<= 1)
	{
		if (a & 0x80000000)
			product ^= b;
		b = b & 1 ? (b >> 1) ^ 0xEDB88320 : b >> 1;
	}
	return product;
}

/*
 * CRC-32 of n times the same byte.  A byte takes the register s to
 * (s + byte) * x^8, so n of them take it to s * p + byte * g with p = x^8n
 * and g = x^8 + x^16 + ... + x^8n, which double from the top bit of n down.
 */
static uint32_t
crc_repeated(unsigned char byte, uint64_t n)
{
	const uint32_t one = 0x80000000;
	const uint32_t x8 = one >> 8;
	uint32_t	p = one;
	uint32_t	g = 0;

	for (int bit = 63; bit >= 0; bit--)
	{
		g ^= crc_multiply(p, g);
		p = crc_multiply(p, p);
		if (n >> bit & 1)
		{
			g = crc_multiply(g ^ one, x8);
			p = crc_multiply(p, x8);
		}
	}
	return ~(crc_multiply(0xFFFFFFFF, p) ^ crc_multiply(byte, g));
}

/*
 * The next piece of a gzip stream of 'x': one block with the fixed Huffman
 * codes, in which 13 bits stand for 258 bytes (length 258, distance 1).
 */
static size_t
gzip_fill(Stream *s, unsigned char *piece)
{
	static const unsigned char header[10] = {0x1f, 0x8b, 8, [9] = 0xff};
	size_t		len = 0;

#define PUT(value, count) (s->bits |= (uint32_t) (value) << s->nbits, s->nbits += (count))
#define PUT_WHOLE_BYTES() \
	for (; s->nbits >= 8; s->nbits -= 8, s->bits >>= 8) \
		piece[len++] = (unsigned char) s->bits
	if (s->left == s->total)
	{
		memcpy(piece, header, sizeof(header));
		len = sizeof(header);
		PUT(3, 3);				/* final block, fixed codes */
		if (s->left > 0)
		{
			PUT(0x15, 8);		/* 'x' */
			s->left--;
		}
	}
	while (s->left > 0 && len < PIECE - 32)
	{
		bool		match = s->left >= 258;

		PUT(match ? 0xA3 : 0x15, match ? 13 : 8);
		s->left -= match ? 258 : 1;
		PUT_WHOLE_BYTES();
	}
	if (s->left == 0)
	{
		uint32_t	tail[2] = {crc_repeated('x', s->total), (uint32_t) s->total};

		PUT(0, 7);				/* end of block */
		s->nbits = (s->nbits + 7) / 8 * 8;
		PUT_WHOLE_BYTES();
		for (int i = 0; i < 8; i++)
			piece[len++] = (unsigned char) (tail[i / 4] >> i % 4 * 8);
	}
	return len;
}

/* The output is empty: append the next piece of the body. */
void
answer_fill(Conn *c)
{
	static char xs[PIECE];
	static char piece[PIECE];
	Stream	   *s = &c->stream;

	if (s->kind == STREAM_RAW)
	{
		raw_fill(c);
		return;
	}
	if (xs[0] == 0)
		memset(xs, 'x', sizeof(xs));
	if (s->kind == STREAM_ENDLESS)
		add_chunk(c, xs, sizeof(xs));
	else if (s->kind == STREAM_GZIP)
		add_chunk(c, piece, gzip_fill(s, (unsigned char *) piece));
	else if (s->left > 0)
	{
		size_t		len = s->left < PIECE ? s->left : PIECE;

		add_chunk(c, xs, len);
		s->left -= len;
	}
	if (s->kind != STREAM_ENDLESS && s->left == 0)
	{
		buffer_add_string(&c->out, "0\r\n\r\n");
		answer_end(c);
	}
}
