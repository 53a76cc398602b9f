/*-------------------------------------------------------------------------
 *
 * answer.c
 *		What the headers of an answer tell its sender: when to come again,
 *		what is left of a limit, that the hook is not wanted any more.
 *
 * Each header is one row in a table.  What cannot be understood is as if it
 * were not there; delays are cut off at an hour.
 *
 * There are several dialects for limits.  When an endpoint speaks more than
 * one, the header whose meaning is clearest counts (its rank).
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "answer.h"
#include "text.h"

/* Numbers of seconds from here on are alike. */
#define MAX_SECONDS INT64CONST(1000000000000)

/* Ends of limits above this are points in time, not delays. */
#define MIN_EPOCH INT64CONST(1000000000)

typedef void (*HeaderReader) (AnswerHeaders *headers, Slice value, int rank, time_t now);

/* ----------
 * Parts of values
 * ----------
 */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static Slice
trim(Slice text)
{
	while (text.len > 0 && is_space(text.data[0]))
		text = slice(text.data + 1, text.len - 1);
	while (text.len > 0 && is_space(text.data[text.len - 1]))
		text.len--;
	return text;
}

static bool
is_word(Slice text, const char *word)
{
	return text.len == strlen(word) && pg_strncasecmp(text.data, word, text.len) == 0;
}

/* Take what stands before the next separator, which does not count in quotes. */
static Slice
take_until(Slice *rest, char separator)
{
	bool		quoted = false;
	int			n = 0;
	Slice		part;

	for (; n < rest->len && (quoted || rest->data[n] != separator); n++)
	{
		if (rest->data[n] == '"')
			quoted = !quoted;
		else if (quoted && rest->data[n] == '\\' && n + 1 < rest->len)
			n++;
	}
	part = slice(rest->data, n);
	n = Min(n + 1, rest->len);
	*rest = slice(rest->data + n, rest->len - n);
	return trim(part);
}

/* Seconds, perhaps with decimals, in milliseconds. */
static bool
parse_seconds(Slice text, int64 *ms)
{
	int64		seconds = 0;
	int			i = 0;

	for (; i < text.len && is_digit(text.data[i]); i++)
		seconds = Min(seconds * 10 + (text.data[i] - '0'), MAX_SECONDS);
	*ms = seconds * 1000;
	if (i == 0 || i == text.len)
		return i > 0;

	if (text.data[i] != '.' || i + 1 == text.len)
		return false;
	for (int unit = 100; ++i < text.len; unit /= 10)
	{
		if (!is_digit(text.data[i]))
			return false;
		*ms += (text.data[i] - '0') * unit;
	}
	return true;
}

/* A date of HTTP: RFC 9110, 5.6.7.  (LC_TIME is "C" in servers.) */
static bool
parse_date(Slice text, time_t *date)
{
	static const char *const formats[] = {
		"%a, %d %b %Y %H:%M:%S GMT",
		"%A, %d-%b-%y %H:%M:%S GMT",
		"%a %b %d %H:%M:%S %Y",
	};
	char		copy[64];

	if (text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	for (size_t i = 0; i < lengthof(formats); i++)
	{
		struct tm	tm = {0};
		const char *end = strptime(copy, formats[i], &tm);

		if (end == copy + text.len)
		{
			*date = timegm(&tm);
			return true;
		}
	}
	return false;
}

static int64
delay(int64 ms)
{
	return Max(0, Min(ms, ANSWER_MAX_DELAY_MS));
}

static int64
delay_until(int64 ms, time_t now)
{
	return delay(ms - (int64) now * 1000);
}

/* ----------
 * Headers
 * ----------
 */

static void
read_location(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	if (value.len >= sizeof(headers->location))
		return;
	memcpy(headers->location, value.data, value.len);
	headers->location[value.len] = '\0';
}

static void
read_retry_after(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	int64		ms;
	time_t		date;

	if (parse_seconds(value, &ms))
		headers->retry_after_ms = delay(ms);
	else if (parse_date(value, &date))
		headers->retry_after_ms = delay_until((int64) date * 1000, now);
}

static void
read_wish(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	if (is_word(value, "disable"))
		headers->wish = WISH_DISABLE;
	else if (is_word(value, "abort-message"))
		headers->wish = WISH_ABORT;
}

/* The name of a limit. */
static void
read_bucket(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	headers->rate_bucket = hash_bytes((const unsigned char *) value.data, value.len);
}

static void
read_scope(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	if (is_word(value, "user"))
		headers->rate_scope = RATE_SCOPE_USER;
	else if (is_word(value, "shared"))
		headers->rate_scope = RATE_SCOPE_SHARED;
	else if (is_word(value, "global"))
		headers->rate_scope = RATE_SCOPE_GLOBAL;
}

static void
read_global(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	if (is_word(value, "true"))
		headers->rate_scope = RATE_SCOPE_GLOBAL;
}

static void
set_remaining(AnswerHeaders *headers, int64 n, int rank)
{
	if (rank < headers->remaining_rank)
		return;
	headers->remaining_rank = rank;
	headers->rate_remaining = (int) Min(n, PG_INT32_MAX);
}

static void
set_reset(AnswerHeaders *headers, int64 ms, int rank)
{
	if (rank < headers->reset_rank)
		return;
	headers->reset_rank = rank;
	headers->rate_reset_ms = delay(ms);
}

/* A number of requests, read as one of seconds is. */
static void
read_remaining(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	int64		thousandths;

	if (parse_seconds(value, &thousandths))
		set_remaining(headers, thousandths / 1000, rank);
}

/* Seconds from now. */
static void
read_reset_after(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	int64		ms;

	if (parse_seconds(value, &ms))
		set_reset(headers, ms, rank);
}

/* Seconds from now, or since 1970. */
static void
read_reset(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	int64		ms;

	if (!parse_seconds(value, &ms))
		return;
	set_reset(headers, ms > MIN_EPOCH * 1000 ? delay_until(ms, now) : ms, rank);
}

/* One policy of several: "name";r=50;t=30 */
static void
read_policy(Slice policy, int64 *remaining, int64 *reset)
{
	*remaining = *reset = -1;
	while (policy.len > 0)
	{
		Slice		parameter = take_until(&policy, ';');
		Slice		key = take_until(&parameter, '=');
		int64		number;

		if (!parse_seconds(parameter, &number))
			continue;
		if (is_word(key, "r"))
			*remaining = number / 1000;
		else if (is_word(key, "t"))
			*reset = number;
	}
}

/* The policy of which least is left counts. */
static void
read_policies(AnswerHeaders *headers, Slice value, int rank, time_t now)
{
	int64		least = -1;
	int64		least_reset = -1;

	while (value.len > 0)
	{
		int64		remaining;
		int64		reset;

		read_policy(take_until(&value, ','), &remaining, &reset);
		if (remaining < 0 || (least >= 0 && remaining >= least))
			continue;
		least = remaining;
		least_reset = reset;
	}
	if (least >= 0)
		set_remaining(headers, least, rank);
	if (least_reset >= 0)
		set_reset(headers, least_reset, rank);
}

static const struct
{
	const char *name;
	HeaderReader read;
	int			rank;
}			readers[] =
{
	{"location", read_location},
	{"retry-after", read_retry_after},
	{"webhook-delivery", read_wish},
	{"x-ratelimit-bucket", read_bucket},
	{"x-ratelimit-global", read_global},
	{"x-ratelimit-scope", read_scope},
	{"x-ratelimit-remaining", read_remaining, 4},
	{"x-ratelimit-reset-after", read_reset_after, 4},
	{"ratelimit-remaining", read_remaining, 3},
	{"ratelimit-reset", read_reset, 3},
	{"ratelimit", read_policies, 2},
	{"x-ratelimit-reset", read_reset, 1},
};

/* ----------
 * Lines
 * ----------
 */

void
answer_headers_begin(AnswerHeaders *headers)
{
	headers->open = false;
	headers->location[0] = '\0';
	headers->retry_after_ms = headers->rate_reset_ms = -1;
	headers->rate_remaining = -1;
	headers->remaining_rank = headers->reset_rank = 0;
	headers->rate_bucket = 0;
	headers->rate_scope = RATE_SCOPE_UNKNOWN;
	headers->wish = WISH_NONE;
}

void
answer_headers_add(AnswerHeaders *headers, const char *line, size_t length, time_t now)
{
	const char *colon = memchr(line, ':', length);
	Slice		name;
	Slice		value;

	/* Between blocks there are trailers, which do not count. */
	if (!headers->open)
	{
		if (length < 5 || memcmp(line, "HTTP/", 5) != 0)
			return;
		answer_headers_begin(headers);
		headers->open = true;
		return;
	}
	if (trim(slice(line, length)).len == 0)
	{
		headers->open = false;
		return;
	}
	if (colon == NULL)
		return;

	name = slice(line, colon - line);
	value = trim(slice(colon + 1, line + length - (colon + 1)));
	for (size_t i = 0; i < lengthof(readers); i++)
	{
		if (is_word(name, readers[i].name))
		{
			readers[i].read(headers, value, readers[i].rank, now);
			return;
		}
	}
}
