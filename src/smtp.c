/*-------------------------------------------------------------------------
 *
 * smtp.c
 *		A conversation with a mail server, as RFC 5321 has it.  See smtp.h.
 *
 * One thing at a time is said, and its reply waited for: a message has few
 * recipients, and what a server refuses has to be known by name.
 *
 * Pure: no sockets, no memory of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "smtp.h"

void
smtp_begin(Smtp *smtp, bool connected)
{
	smtp->stage = MAIL_GREETING;
	smtp->reply = (MailReply) {0};
	smtp->greeted = connected;
	smtp->starting_tls = smtp->securing = smtp->content_begun = false;
	smtp->named = smtp->refused = 0;
	smtp->refusal = (MailReply) {0};
	smtp->to_send_length = smtp->said_length = smtp->reply_length = 0;
}

/* Of a login, only its first line looks like this. */
void
smtp_told(Smtp *smtp, const char *line)
{
	smtp->starting_tls = strncmp(line, "STARTTLS", 8) == 0;
	if (strncmp(line, "AUTH ", 5) == 0)
		smtp->stage = MAIL_LOGIN;
	smtp->securing = false;
	smtp->reply.status = 0;
}

/* Take a line; true when it is the last one of a reply.  All others have a hyphen behind their number. */
static bool
take_line(Smtp *smtp, const char *line)
{
	MailReply  *reply = &smtp->reply;
	char		class[2];
	char		subject[4];
	char		detail[4];
	int			end;

	smtp->greeted = true;
	if (strspn(line, "0123456789") != 3 || line[3] == '-')
		return false;
	reply->status = atoi(line);

	/* Of the rest, only a code like "5.1.1" is for others to see. */
	reply->enhanced[0] = '\0';
	if (line[3] == ' ' &&
		sscanf(line + 4, "%1[245].%3[0-9].%3[0-9]%n", class, subject, detail, &end) == 3 &&
		class[0] == line[0] && strchr(" \r\n", line[4 + end]) != NULL)
		snprintf(reply->enhanced, sizeof(reply->enhanced), "%s.%s.%s", class, subject, detail);

	smtp->securing = smtp->starting_tls && reply->status == 220;
	return true;
}

void
smtp_heard(Smtp *smtp, const char *line)
{
	(void) take_line(smtp, line);
}

static void
say(Smtp *smtp, MailStage stage, const char *verb, const char *address)
{
	smtp->to_send_length = snprintf(smtp->command, sizeof(smtp->command), "%s%s%s\r\n", verb,
									address ? address : "", address ? ">" : "");
	Assert(smtp->to_send_length < sizeof(smtp->command));
	smtp->to_send = smtp->command;
	smtp->stage = stage;
	smtp->reply.status = 0;
}

static void
say_content(Smtp *smtp)
{
	smtp->to_send = smtp->content;
	smtp->to_send_length = smtp->content_length;
	smtp->reply.status = 0;
	smtp->content_begun = true;
}

/* Others may get it all the same; a refusal for now is worth more. */
static void
take_refusal(Smtp *smtp)
{
	if (smtp->refused++ == 0 || (smtp->reply.status < 500 && smtp->refusal.status >= 500))
		smtp->refusal = smtp->reply;
}

/* Is it a refusal, or what has to come after the command? */
static bool
makes_sense(const Smtp *smtp)
{
	int			status = smtp->reply.status;
	int			class = smtp->stage == MAIL_CONTENT && !smtp->content_begun ? 3 : 2;

	return status / 100 == class || (status >= 400 && status <= 599);
}

/* The next recipient; then the content, if any of them was taken. */
static SmtpStep
say_next(Smtp *smtp)
{
	if (smtp->named < smtp->nrecipients)
		say(smtp, MAIL_RECIPIENT, "RCPT TO:<", smtp->recipients[smtp->named++]);
	else if (smtp->refused < smtp->nrecipients)
		say(smtp, MAIL_CONTENT, "DATA", NULL);
	else
		return SMTP_DONE;
	return SMTP_SAY;
}

SmtpStep
smtp_continue(Smtp *smtp)
{
	bool		refused = smtp->reply.status >= 400;

	/* Whoever is here was let in, whatever was heard last. */
	if (smtp->stage <= MAIL_LOGIN)
	{
		say(smtp, MAIL_SENDER, "MAIL FROM:<", smtp->sender);
		return SMTP_SAY;
	}
	if (!makes_sense(smtp))
	{
		smtp->reply.status = 0;
		return SMTP_NO_SENSE;
	}
	if (smtp->stage == MAIL_RECIPIENT && refused)
		take_refusal(smtp);
	else if (refused || smtp->content_begun)
		return SMTP_DONE;
	if (smtp->stage != MAIL_CONTENT)
		return say_next(smtp);
	say_content(smtp);
	return SMTP_SAY;
}

void
smtp_sent(Smtp *smtp, size_t n)
{
	smtp->to_send += n;
	smtp->to_send_length -= n;
}

char *
smtp_room(Smtp *smtp, size_t *size)
{
	*size = Min(SMTP_MAX_REPLY_LINE - smtp->said_length, SMTP_MAX_REPLY - smtp->reply_length);
	return *size > 0 ? smtp->said + smtp->said_length : NULL;
}

void
smtp_received(Smtp *smtp, size_t n)
{
	smtp->said_length += n;
	smtp->reply_length += n;
}

bool
smtp_has_reply(Smtp *smtp)
{
	char	   *newline;

	while ((newline = memchr(smtp->said, '\n', smtp->said_length)) != NULL)
	{
		size_t		length = newline + 1 - smtp->said;
		char		next = newline[1];
		bool		last;

		newline[1] = '\0';
		last = take_line(smtp, smtp->said);
		newline[1] = next;
		smtp->said_length -= length;
		memmove(smtp->said, newline + 1, smtp->said_length);
		if (last)
		{
			smtp->reply_length = smtp->said_length;
			return true;
		}
	}
	return false;
}
