/*-------------------------------------------------------------------------
 *
 * smtp_target.c
 *		A mail server: what it says, whenever it is asked for more.  The first
 *		byte says how many recipients there are, the rest is said.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz.h"

#include "smtp.h"

#define CONTENT "Subject: hello\r\n\r\nhello\r\n.\r\n"
#define SENDER "hooks@example.com"
#define MAX_RECIPIENTS 4

static const char *const recipients[MAX_RECIPIENTS] = {
	"ann@example.org", "ben@example.org", "cem@example.org", "dan@example.org"
};

/* A conversation, and how it ended. */
typedef struct Conversation
{
	Smtp		smtp;
	StringInfoData sent;		/* all of it */
	Slice		left;			/* what the server would say next */
	bool		over;			/* it came to an end … */
	bool		sensible;		/* … that makes sense */
} Conversation;

/* What is known to be right: what is said, the replies, and what comes of it. */
static const struct
{
	int			nrecipients;
	const char *replies;
	SmtpStep	end;
	MailStage	stage;
	int			status;
	const char *enhanced;
	int			refused;
	int			refusal;
}			known[] =
{
	{1, "250\r\n250\r\n354\r\n250 2.0.0 taken\r\n", SMTP_DONE, MAIL_CONTENT, 250, "2.0.0"},
	{1, "250-a\r\n250-b\r\n250 c\n250\n354 go\n250\n", SMTP_DONE, MAIL_CONTENT, 250, ""},
	{1, "550 5.7.1 no\r\n", SMTP_DONE, MAIL_SENDER, 550, "5.7.1"},
	{1, "451 5.7.1 no\r\n", SMTP_DONE, MAIL_SENDER, 451, ""},
	{1, "550 5.7.1234 no\r\n", SMTP_DONE, MAIL_SENDER, 550, ""},
	{1, "550 5.7.1\r\n", SMTP_DONE, MAIL_SENDER, 550, "5.7.1"},
	{1, "250\r\n550\r\n", SMTP_DONE, MAIL_RECIPIENT, 550, "", 1, 550},
	{2, "250\r\n550\r\n450\r\n", SMTP_DONE, MAIL_RECIPIENT, 450, "", 2, 450},
	{2, "250\r\n450\r\n550\r\n", SMTP_DONE, MAIL_RECIPIENT, 550, "", 2, 450},
	{2, "250\r\n550\r\n250\r\n354\r\n250\r\n", SMTP_DONE, MAIL_CONTENT, 250, "", 1, 550},
	{1, "250\r\n250\r\n451\r\n", SMTP_DONE, MAIL_CONTENT, 451, ""},
	{1, "250\r\n250\r\n354\r\n552 5.3.4\r\n", SMTP_DONE, MAIL_CONTENT, 552, "5.3.4"},
	/* It says that it has taken what it was not given. */
	{1, "250\r\n250\r\n250 2.0.0 taken\r\n", SMTP_NO_SENSE, MAIL_CONTENT, 0, "2.0.0"},
	{1, "250\r\n250\r\n354\r\n354\r\n", SMTP_NO_SENSE, MAIL_CONTENT, 0, ""},
	{1, "354\r\n", SMTP_NO_SENSE, MAIL_SENDER, 0, ""},
	{1, "250\r\n354\r\n", SMTP_NO_SENSE, MAIL_RECIPIENT, 0, ""},
	{1, "000\r\n", SMTP_NO_SENSE, MAIL_SENDER, 0, ""},
	{1, "600\r\n", SMTP_NO_SENSE, MAIL_SENDER, 0, ""},
	{1, "HTTP/1.1 200 OK\r\n2500 x\r\n 250\r\n250\r\n250\r\n354\r\n250\r\n", SMTP_DONE, MAIL_CONTENT, 250, ""},
};

/* A command is one line that begins with a verb of ours, and the content is whole. */
static void
check_to_send(const Smtp *smtp)
{
	size_t		n = smtp->to_send_length;

	if (smtp->to_send == smtp->content)
	{
		FUZZ_CHECK(n == strlen(CONTENT));
		return;
	}
	FUZZ_CHECK(smtp->to_send == smtp->command && n > 2 && n < sizeof(smtp->command));
	FUZZ_CHECK(memchr(smtp->command, '\r', n) == smtp->command + n - 2);
	FUZZ_CHECK(memchr(smtp->command, '\n', n) == smtp->command + n - 1);
}

/* What is to be sent is, in two pieces. */
static void
send_all(Conversation *conversation)
{
	Smtp	   *smtp = &conversation->smtp;

	check_to_send(smtp);
	while (smtp->to_send_length > 0)
	{
		size_t		n = (smtp->to_send_length + 1) / 2;

		appendBinaryStringInfo(&conversation->sent, smtp->to_send, n);
		smtp_sent(smtp, n);
	}
}

/* Receive a reply, in pieces of at most so many bytes; false when there is none. */
static bool
receive(Conversation *conversation, size_t piece)
{
	Smtp	   *smtp = &conversation->smtp;

	while (!smtp_has_reply(smtp))
	{
		size_t		size;
		char	   *room = smtp_room(smtp, &size);

		if (room == NULL)
		{
			FUZZ_CHECK(smtp->said_length == SMTP_MAX_REPLY_LINE || smtp->reply_length == SMTP_MAX_REPLY);
			return false;
		}
		FUZZ_CHECK(size > 0 && room + size < smtp->said + sizeof(smtp->said));
		size = Min(Min(size, piece), conversation->left.len);
		if (size == 0)
			return false;
		memcpy(room, conversation->left.data, size);
		smtp_received(smtp, size);
		conversation->left.data += size;
		conversation->left.len -= size;
	}
	return true;
}

static void
converse(Conversation *conversation, int nrecipients, Slice replies, size_t piece)
{
	Smtp	   *smtp = &conversation->smtp;
	SmtpStep	step;

	memset(conversation, 0, sizeof(*conversation));
	memset(smtp, 0x7f, sizeof(*smtp));
	initStringInfo(&conversation->sent);
	conversation->left = replies;
	smtp->sender = SENDER;
	for (int i = 0; i < nrecipients; i++)
		smtp->recipients[i] = recipients[i];
	smtp->nrecipients = nrecipients;
	smtp->content = CONTENT;
	smtp->content_length = strlen(CONTENT);
	smtp_begin(smtp, true);

	while ((step = smtp_continue(smtp)) == SMTP_SAY)
	{
		send_all(conversation);
		if (!receive(conversation, piece))
			return;
	}
	conversation->over = true;
	conversation->sensible = step == SMTP_DONE;
}

/* Whatever the server says, it is told this, or less of it. */
static void
check_sent(const Conversation *conversation)
{
	const Smtp *smtp = &conversation->smtp;
	StringInfoData all;

	initStringInfo(&all);
	appendStringInfoString(&all, "MAIL FROM:<" SENDER ">\r\n");
	for (int i = 0; i < smtp->nrecipients; i++)
		appendStringInfo(&all, "RCPT TO:<%s>\r\n", recipients[i]);
	appendStringInfoString(&all, "DATA\r\n" CONTENT);
	FUZZ_CHECK(conversation->sent.len <= all.len);
	FUZZ_CHECK(memcmp(conversation->sent.data, all.data, conversation->sent.len) == 0);
	FUZZ_CHECK(smtp->content_begun == (conversation->sent.len == all.len));
}

static void
check_end(const Conversation *conversation)
{
	const Smtp *smtp = &conversation->smtp;
	bool		taken = smtp->reply.status >= 200 && smtp->reply.status <= 299;

	FUZZ_CHECK(smtp->refused <= smtp->named && smtp->named <= smtp->nrecipients);
	FUZZ_CHECK(memchr(smtp->reply.enhanced, '\0', sizeof(smtp->reply.enhanced)) != NULL);
	FUZZ_CHECK(strspn(smtp->reply.enhanced, "0123456789.") == strlen(smtp->reply.enhanced));
	FUZZ_CHECK(smtp->refused == 0 || (smtp->refusal.status >= 400 && smtp->refusal.status <= 599));
	if (!conversation->over)
		return;
	if (!conversation->sensible)
	{
		FUZZ_CHECK(smtp->reply.status == 0);
		return;
	}

	/* What a server has taken it was given. */
	FUZZ_CHECK(taken || (smtp->reply.status >= 400 && smtp->reply.status <= 599));
	FUZZ_CHECK(!taken || (smtp->content_begun && smtp->refused < smtp->nrecipients));
}

/* A reply that does not come to its end is given up. */
static void
check_endless(void)
{
	Conversation conversation;
	StringInfoData replies;

	initStringInfo(&replies);
	while (replies.len < 2 * SMTP_MAX_REPLY)
		appendStringInfoString(&replies, "250-and more\r\n");
	converse(&conversation, 1, slice(replies.data, replies.len), 1000);
	FUZZ_CHECK(!conversation.over && conversation.left.len > 0);
}

static void
check_known(void)
{
	static bool done = false;

	if (!done)
		check_endless();

	for (size_t i = 0; i < lengthof(known) && !done; i++)
	{
		Conversation conversation;
		const Smtp *smtp = &conversation.smtp;

		converse(&conversation, known[i].nrecipients, slice(known[i].replies, strlen(known[i].replies)), 7);
		if (!conversation.over || conversation.sensible != (known[i].end == SMTP_DONE) ||
			smtp->stage != known[i].stage || smtp->reply.status != known[i].status ||
			strcmp(smtp->reply.enhanced, known[i].enhanced) != 0 ||
			smtp->refused != known[i].refused || smtp->refusal.status != known[i].refusal)
			fuzz_fail("\"%s\": stage %d, status %d \"%s\", %d refused with %d", known[i].replies,
					  smtp->stage, smtp->reply.status, smtp->reply.enhanced,
					  smtp->refused, smtp->refusal.status);
	}
	done = true;
}

void
fuzz_smtp(Slice input)
{
	Conversation whole;
	Conversation bytes;
	int			nrecipients = input.len > 0 ? (unsigned char) input.data[0] % MAX_RECIPIENTS + 1 : 1;
	Slice		replies = input.len > 0 ? slice(input.data + 1, input.len - 1) : input;

	check_known();
	converse(&whole, nrecipients, replies, PG_INT32_MAX);
	check_sent(&whole);
	check_end(&whole);

	/* It makes no difference in which pieces it comes. */
	converse(&bytes, nrecipients, replies, 1);
	FUZZ_CHECK(bytes.over == whole.over && bytes.sensible == whole.sensible);
	FUZZ_CHECK(bytes.sent.len == whole.sent.len);
	FUZZ_CHECK(bytes.smtp.stage == whole.smtp.stage && bytes.smtp.refused == whole.smtp.refused);
	FUZZ_CHECK(memcmp(&bytes.smtp.refusal, &whole.smtp.refusal, sizeof(MailReply)) == 0);
	FUZZ_CHECK(bytes.smtp.reply.status == whole.smtp.reply.status &&
			   strcmp(bytes.smtp.reply.enhanced, whole.smtp.reply.enhanced) == 0);

	/* Another message on the same connection is not told of this one. */
	smtp_begin(&whole.smtp, true);
	FUZZ_CHECK(!whole.smtp.content_begun && whole.smtp.named == 0 && whole.smtp.refused == 0 &&
			   whole.smtp.said_length == 0);
}
