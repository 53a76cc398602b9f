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

#define MAIL_MAX_RECIPIENTS 50

/* What an e-mail has beside its headers: envelope and bodies. */
typedef struct Mail
{
	const char *sender;
	const char *recipients[MAIL_MAX_RECIPIENTS];
	int			nrecipients;
	const char *shown_body;		/* as people are shown it */
} Mail;

/*
 * An HTTP request, or an e-mail for an SMTP server.  Its memory is the current
 * memory context's; the transport keeps its own copy of what it needs.
 */
typedef struct Message
{
	const Mail *mail;			/* NULL: a request; what is left out below is a request's */
	const char *url;
	const char *shown_url;		/* what may be shown of it; NULL: all */
	const char *method;			/* of an e-mail for show only */
	const char *headers[MESSAGE_MAX_HEADERS];	/* "Name: value"; an e-mail's may be folded */
	int			nheaders;
	const char *body;			/* NULL: the request has none; an e-mail's has no line that is a dot */
	size_t		body_length;
	int			timeout_ms;		/* 0: the setting's */
	bool		wants_body;		/* the answer's, that is */
	bool		trusted;		/* the URL is the administrator's, and may have any address */
	bool		to_outbox;		/* not sent, but left to the application (outbox.h): its body is all */
} Message;

/* How an attempt ended, as far as the transport can tell. */
typedef enum AnswerKind
{
	ANSWER_STATUS,				/* an HTTP status, or SMTP reply, came back */
	ANSWER_REFUSED,				/* not sent: the address may not be connected to */
	ANSWER_UNREACHED,			/* not sent: no connection */
	ANSWER_UNTRUSTED,			/* not sent: the server's certificate is not valid, or it has none */
	ANSWER_UNKNOWN				/* sent, perhaps in part; no answer */
} AnswerKind;

/* What an SMTP server was told last. */
typedef enum MailStage
{
	MAIL_GREETING,				/* who we are, and that TLS is to be spoken */
	MAIL_LOGIN,
	MAIL_SENDER,
	MAIL_RECIPIENT,
	MAIL_CONTENT
} MailStage;

/* A reply of an SMTP server: "550 5.1.1 No such user". */
typedef struct MailReply
{
	int			status;			/* 0: none */
	char		enhanced[12];	/* RFC 3463, or empty */
} MailReply;

/* What the endpoint asks for with a header "webhook-delivery". */
typedef enum AnswerWish
{
	WISH_NONE,
	WISH_ABORT,					/* abort-message: no further attempts of this delivery */
	WISH_DISABLE				/* disable: no further deliveries of this hook */
} AnswerWish;

#define ANSWER_MAX_REASON 256
#define ANSWER_MAX_BODY (64 * 1024)
#define ANSWER_MAX_DELAY_MS (60 * 60 * 1000)

/* Whose limit an answer of 429 is about, in the words of Discord. */
typedef enum RateScope
{
	RATE_SCOPE_UNKNOWN,
	RATE_SCOPE_USER,			/* the destination's own */
	RATE_SCOPE_SHARED,			/* one that others share */
	RATE_SCOPE_GLOBAL			/* the sender's */
} RateScope;

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
	uint32		rate_bucket;	/* tells limits of one destination apart; 0: not said */
	RateScope	rate_scope;
	AnswerWish	wish;

	/*
	 * With Message.wants_body and ANSWER_STATUS, the first bytes as they came,
	 * with no NUL at the end; the transport's, until the next answer is taken.
	 */
	const char *body;
	size_t		body_length;

	/* Of an e-mail, with ANSWER_STATUS. */
	MailStage	stage;			/* which the status is the answer to */
	MailReply	reply;			/* with that status */
	int			refused;		/* of its recipients */
	MailReply	refusal;		/* of one of them; a temporary one, if there was any */
} Answer;

#endif							/* HOOKS_MESSAGE_H */
