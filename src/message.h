/*-------------------------------------------------------------------------
 *
 * message.h
 *		What an action wants sent, and what came of it: the two things that
 *		pass between actions and the transport.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_MESSAGE_H
#define HOOKS_MESSAGE_H

#include "c.h"

#define MESSAGE_MAX_HEADERS 40

/*
 * An HTTP request.  Its memory is the current memory context's; the transport
 * keeps its own copy of what it needs.
 */
typedef struct Message
{
	const char *url;
	const char *method;
	const char *headers[MESSAGE_MAX_HEADERS];	/* "Name: value" */
	int			nheaders;
	const char *body;			/* NULL: the request has none */
	size_t		body_length;
	int			timeout_ms;		/* 0: the setting's */
} Message;

/* How an attempt ended, as far as the transport can tell. */
typedef enum AnswerKind
{
	ANSWER_STATUS,				/* an HTTP status came back */
	ANSWER_REFUSED,				/* not sent: the address may not be connected to */
	ANSWER_UNREACHED,			/* not sent: no connection */
	ANSWER_UNTRUSTED,			/* not sent: the server's certificate is not valid */
	ANSWER_UNKNOWN				/* sent, perhaps in part; no answer */
} AnswerKind;

/* What an answer asks for in its header webhook-delivery. */
typedef enum AnswerWish
{
	ANSWER_WISH_NONE,
	ANSWER_WISH_DISABLE,		/* the hook is to be disabled */
	ANSWER_WISH_ABORT			/* this delivery is not to be tried again */
} AnswerWish;

#define ANSWER_MAX_REASON 256

typedef struct Answer
{
	AnswerKind	kind;
	int			status;			/* with ANSWER_STATUS */
	char		reason[ANSWER_MAX_REASON];	/* why there is no status, for people */
	char		location[ANSWER_MAX_REASON];	/* host that a redirect points at */
	int64		duration_us;
	int64		retry_after_ms; /* -1: none */
	int			rate_remaining; /* -1: unknown */
	int64		rate_reset_ms;	/* -1: unknown */
	AnswerWish	wish;
} Answer;

#endif							/* HOOKS_MESSAGE_H */
