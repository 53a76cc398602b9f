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
	const char *shown_url;		/* what may be shown of it; NULL: all */
	const char *method;
	const char *headers[MESSAGE_MAX_HEADERS];	/* "Name: value" */
	int			nheaders;
	const char *body;			/* NULL: the request has none */
	size_t		body_length;
	int			timeout_ms;		/* 0: the setting's */
	bool		wants_body;		/* the answer's, that is */
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

/* What the endpoint asks for with a header "webhook-delivery". */
typedef enum AnswerWish
{
	WISH_NONE,
	WISH_ABORT,					/* abort-message: no further attempts of this delivery */
	WISH_DISABLE				/* disable: no further deliveries of this hook */
} AnswerWish;

#define ANSWER_MAX_REASON 256
#define ANSWER_MAX_BODY (16 * 1024)
#define ANSWER_MAX_DELAY_MS (60 * 60 * 1000)

typedef struct Answer
{
	AnswerKind	kind;
	int			status;			/* with ANSWER_STATUS */
	char		reason[ANSWER_MAX_REASON];	/* why there is no status, for people */
	char		location[ANSWER_MAX_REASON];	/* host that a redirect points at */
	int64		duration_us;

	/*
	 * With ANSWER_STATUS, what the answer's headers say.  Delays are counted
	 * from the moment they came, 0 to ANSWER_MAX_DELAY_MS; -1: not said.
	 */
	int64		retry_after_ms; /* not before */
	int			rate_remaining; /* requests that are left of a limit; -1: not said */
	int64		rate_reset_ms;	/* until it is renewed */
	AnswerWish	wish;

	/*
	 * With Message.wants_body and ANSWER_STATUS, the first bytes as they came,
	 * with no NUL at the end; the transport's, until the next answer is taken.
	 */
	const char *body;
	size_t		body_length;
} Answer;

#endif							/* HOOKS_MESSAGE_H */
