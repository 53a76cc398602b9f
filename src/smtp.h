/*-------------------------------------------------------------------------
 *
 * smtp.h
 *		A conversation with a mail server, as RFC 5321 has it.
 *
 * Whoever holds the connection has two parts in it.  Until the login is done
 * somebody else speaks (libcurl), and smtp_told() and smtp_heard() only take
 * note.  From then on
 *
 *		while (smtp_continue(...) == SMTP_SAY)
 *			send what is to_send, receive until smtp_has_reply(...)
 *
 * hands one message over.  What came of it is in stage, reply, refused and
 * refusal; the same connection takes the next one, unless it was refused.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SMTP_H
#define HOOKS_SMTP_H

#include "c.h"

#include "message.h"

/* More than RFC 5321 (4.5.3.1) lets commands and lines of replies have. */
#define SMTP_MAX_COMMAND 512
#define SMTP_MAX_REPLY_LINE 2047

/* And no reply has more than this, with all its lines. */
#define SMTP_MAX_REPLY (64 * 1024)

typedef struct Smtp
{
	/* The message: its envelope, and headers and body up to the dot that ends it. */
	const char *sender;
	const char *recipients[MAIL_MAX_RECIPIENTS];
	int			nrecipients;
	const char *content;
	size_t		content_length;

	/* What the server was told last, and has replied to that. */
	MailStage	stage;
	MailReply	reply;
	bool		greeted;		/* it has said something */
	bool		starting_tls;	/* it was told STARTTLS last … */
	bool		securing;		/* … and agreed */
	bool		content_begun;	/* it may have the content, or a part */
	int			named;			/* recipients, so far */
	int			refused;		/* … of these */
	MailReply	refusal;		/* of one; a temporary one, if there was any */

	/* What is to be sent, which is the content or a command. */
	const char *to_send;
	size_t		to_send_length;
	char		command[SMTP_MAX_COMMAND];

	/* What has come in and is not a whole line; said_length bytes, and room for a NUL. */
	char		said[SMTP_MAX_REPLY_LINE + 1];
	size_t		said_length;
	size_t		reply_length;	/* of the reply that is coming in, so far */
} Smtp;

typedef enum SmtpStep
{
	SMTP_SAY,
	SMTP_DONE,					/* the message was taken, or refused: see reply */
	SMTP_NO_SENSE				/* what was replied is no reply to what was said */
} SmtpStep;

/*
 * Begin with a message, which is filled in: with a connection to come, or with
 * one that has taken another message.
 */
extern void smtp_begin(Smtp *smtp, bool connected);

/* A line that somebody else has told the server, or heard from it. */
extern void smtp_told(Smtp *smtp, const char *line);
extern void smtp_heard(Smtp *smtp, const char *line);

/* Nothing is waited for.  With SMTP_SAY, what is to be sent next is filled in. */
extern SmtpStep smtp_continue(Smtp *smtp);

/* So much of it was sent. */
extern void smtp_sent(Smtp *smtp, size_t n);

/* Where to put what comes in, and how much; NULL when that is too long for a line, or a reply. */
extern char *smtp_room(Smtp *smtp, size_t *size);
extern void smtp_received(Smtp *smtp, size_t n);

/* Is a reply there, to its last line?  It is in "reply" then, and the next call looks for another. */
extern bool smtp_has_reply(Smtp *smtp);

#endif							/* HOOKS_SMTP_H */
