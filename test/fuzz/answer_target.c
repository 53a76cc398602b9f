/*-------------------------------------------------------------------------
 *
 * answer_target.c
 *		Headers of answers: lines, as a server sends them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz.h"

#include "answer.h"

/* Tue, 14 Nov 2023 22:13:20 GMT */
#define NOW 1700000000

/* What is known to be right, looked at before anything is made up. */
static const struct
{
	const char *lines;
	int64		retry_after_ms;
	int			rate_remaining;
	int64		rate_reset_ms;
	AnswerWish	wish;
}			known[] =
{
	{"", -1, -1, -1},
	{"Retry-After: 2", 2000, -1, -1},
	{"RETRY-AFTER:2", 2000, -1, -1},
	{"retry-after: \t 2.5 \t", 2500, -1, -1},
	{"retry-after: 0.0019", 1, -1, -1},
	{"retry-after: 0", 0, -1, -1},
	{"retry-after: 3600", 3600000, -1, -1},
	{"retry-after: 3600.001", 3600000, -1, -1},
	{"retry-after: 1000000000", 3600000, -1, -1},
	{"retry-after: 99999999999999999999999999999999999999999999999999999999", 3600000, -1, -1},
	{"retry-after: 00000000000000000000000000000000000000000000000000000007", 7000, -1, -1},
	{"retry-after: -1", -1, -1, -1},
	{"retry-after: +1", -1, -1, -1},
	{"retry-after:", -1, -1, -1},
	{"retry-after: 2.", -1, -1, -1},
	{"retry-after: .5", -1, -1, -1},
	{"retry-after: 2s", -1, -1, -1},
	{"retry-after: 1e3", -1, -1, -1},
	{"retry-after: 1, 2", -1, -1, -1},
	{"retry-after: 2\nretry-after: soon", 2000, -1, -1},
	{"retry-after : 2", -1, -1, -1},
	{" retry-after: 2", -1, -1, -1},
	{"x-retry-after: 2", -1, -1, -1},
	{"retry-after: Tue, 14 Nov 2023 22:13:50 GMT", 30000, -1, -1},
	{"retry-after: Tuesday, 14-Nov-23 22:13:50 GMT", 30000, -1, -1},
	{"retry-after: Tue Nov 14 22:13:50 2023", 30000, -1, -1},
	{"retry-after: Fri Dec  1 00:00:00 2023", 3600000, -1, -1},
	{"retry-after: Tue, 14 Nov 2023 22:13:10 GMT", 0, -1, -1},
	{"retry-after: Sun, 06 Nov 1994 08:49:37 GMT", 0, -1, -1},
	{"retry-after: Fri, 31 Dec 9999 23:59:59 GMT", 3600000, -1, -1},
	{"retry-after: Tue, 14 Nov 2023 22:13:50", -1, -1, -1},
	{"retry-after: Tue, 14 Nov 2023 22:13:50 GMT or so", -1, -1, -1},
	{"retry-after: Tue, 99 Nov 2023 22:13:50 GMT", -1, -1, -1},
	{"retry-after: Tuesday", -1, -1, -1},
	{"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1700000009\nX-RateLimit-Reset-After: 1.5", -1, 0, 1500},
	{"X-RateLimit-Reset-After: 1.5\nX-RateLimit-Reset: 1700000009", -1, -1, 1500},
	{"X-RateLimit-Reset-After: x\nX-RateLimit-Reset: 1700000009", -1, -1, 9000},
	{"X-RateLimit-Reset: 1700000009.25", -1, -1, 9250},
	{"X-RateLimit-Reset: 1000000000", -1, -1, 3600000},
	{"X-RateLimit-Reset: 1000000001", -1, -1, 0},
	{"X-RateLimit-Reset: 60", -1, -1, 60000},
	{"RateLimit-Limit: 10\nRatelimit-Remaining: 3\nratelimit-reset: 7", -1, 3, 7000},
	{"ratelimit-reset: 7\nX-RateLimit-Reset: 8\nX-RateLimit-Remaining: 4\nRatelimit-Remaining: 3", -1, 4, 7000},
	{"ratelimit-remaining: -3\nratelimit-reset: -7", -1, -1, -1},
	{"ratelimit-remaining: 99999999999999999999", -1, PG_INT32_MAX, -1},
	{"RateLimit: \"default\";r=50;t=30", -1, 50, 30000},
	{"RateLimit: \"a\" ; r=50 ; t=30 , \"b\";r=5;t=1", -1, 5, 1000},
	{"RateLimit: \"a\";r=5;t=1, \"b\";r=50;t=30", -1, 5, 1000},
	{"RateLimit: \"a;r=1, \\\";r=2\";t=30;r=50", -1, 50, 30000},
	{"RateLimit: \"a\";r=5", -1, 5, -1},
	{"RateLimit: \"a\";t=5", -1, -1, -1},
	{"RateLimit: \"a\";r=x;t=5", -1, -1, -1},
	{"webhook-delivery: disable", -1, -1, -1, WISH_DISABLE},
	{"Webhook-Delivery:  ABORT-MESSAGE ", -1, -1, -1, WISH_ABORT},
	{"webhook-delivery: disabled", -1, -1, -1},
	{"webhook-delivery:", -1, -1, -1},
	{"retry-after: 1\n\nretry-after: 2", 1000, -1, -1},
	{"retry-after: 1\n\nHTTP/1.1 200 OK", -1, -1, -1},
	{"retry-after: 1\n\nHTTP/2 503 \nretry-after: 2\n\nretry-after: 3\n", 2000, -1, -1},
};

static void
check(const AnswerHeaders *headers)
{
	FUZZ_CHECK(headers->retry_after_ms >= -1 && headers->retry_after_ms <= ANSWER_MAX_DELAY_MS);
	FUZZ_CHECK(headers->rate_reset_ms >= -1 && headers->rate_reset_ms <= ANSWER_MAX_DELAY_MS);
	FUZZ_CHECK(headers->rate_remaining >= -1);
	FUZZ_CHECK(memchr(headers->location, '\0', sizeof(headers->location)) != NULL);
	FUZZ_CHECK(headers->wish >= WISH_NONE && headers->wish <= WISH_DISABLE);
}

static void
add_line(AnswerHeaders *headers, Slice line)
{
	answer_headers_add(headers, line.data, line.len, NOW);
	check(headers);
}

/* Each of the lines, ending as servers do. */
static void
add_lines(AnswerHeaders *headers, Slice lines)
{
	while (lines.len > 0)
	{
		const char *newline = memchr(lines.data, '\n', lines.len);
		int			n = newline ? (int) (newline - lines.data) : lines.len;
		char	   *line = fuzz_palloc(n + 2);

		memcpy(line, lines.data, n);
		memcpy(line + n, "\r\n", 2);
		add_line(headers, slice(line, n + 2));
		lines.data += Min(n + 1, lines.len);
		lines.len -= Min(n + 1, lines.len);
	}
}

static void
begin(AnswerHeaders *headers)
{
	answer_headers_begin(headers);
	add_line(headers, slice("HTTP/1.1 429\r\n", 14));
}

static void
check_known(void)
{
	static bool done = false;

	for (size_t i = 0; i < lengthof(known) && !done; i++)
	{
		AnswerHeaders headers;

		begin(&headers);
		add_lines(&headers, slice(known[i].lines, strlen(known[i].lines)));
		if (headers.retry_after_ms != known[i].retry_after_ms ||
			headers.rate_remaining != known[i].rate_remaining ||
			headers.rate_reset_ms != known[i].rate_reset_ms || headers.wish != known[i].wish)
			fuzz_fail("\"%s\": retry after %lld, remaining %d, reset %lld, wish %d", known[i].lines,
					  (long long) headers.retry_after_ms, headers.rate_remaining,
					  (long long) headers.rate_reset_ms, headers.wish);
	}
	done = true;
}

void
fuzz_answer(Slice input)
{
	AnswerHeaders headers;
	AnswerHeaders before;

	check_known();
	memset(&headers, 0, sizeof(headers));
	begin(&headers);
	add_lines(&headers, input);

	/* What comes after the headers counts only if it begins another block. */
	add_line(&headers, slice("\r\n", 2));
	before = headers;
	add_line(&headers, slice("Retry-After: 17\r\n", 17));
	FUZZ_CHECK(memcmp(&before, &headers, sizeof(headers)) == 0);
	begin(&headers);
	FUZZ_CHECK(headers.retry_after_ms == -1 && headers.rate_remaining == -1 &&
			   headers.rate_reset_ms == -1 && headers.wish == WISH_NONE &&
			   headers.location[0] == '\0');
	add_line(&headers, slice("Retry-After: 17\r\n", 17));
	FUZZ_CHECK(headers.retry_after_ms == 17000);
}
