/*-------------------------------------------------------------------------
 *
 * answer.h
 *		What the headers of an answer tell its sender.
 *
 * Called from within libcurl: nothing here allocates or raises errors.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ANSWER_H
#define HOOKS_ANSWER_H

#include <time.h>

#include "message.h"
#include "url.h"

/* The fields that Answer has, too, mean the same here. */
typedef struct AnswerHeaders
{
	bool		open;			/* within a block of headers */
	char		location[URL_MAX_LENGTH];	/* as it came, or empty */
	int64		retry_after_ms;
	int			rate_remaining;
	int64		rate_reset_ms;
	uint32		rate_bucket;
	int			remaining_rank; /* how good the header was that said so */
	int			reset_rank;
	RateScope	rate_scope;
	AnswerWish	wish;
} AnswerHeaders;

/* Nothing is known yet. */
extern void answer_headers_begin(AnswerHeaders *headers);

/*
 * Record a line: status lines, headers, the empty line after them, trailers,
 * in the order in which they came.  Only the last block of headers counts.
 */
extern void answer_headers_add(AnswerHeaders *headers, const char *line, size_t length, time_t now);

#endif							/* HOOKS_ANSWER_H */
