/*-------------------------------------------------------------------------
 *
 * mail_target.c
 *		E-mail: action_config, a newline, an event.  All of the input, too, is
 *		taken for a subject, a body and an address.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"

#include "fuzz.h"

#include "action.h"
#include "mail.h"
#include "template.h"

/* RFC 5322's limit for lines, and ours for those that can be broken. */
#define MAX_LINE 998
#define MAX_WIDTH 76

/* A header: lines of printable ASCII, of which all but the first begin with a blank. */
static void
check_header(const char *header)
{
	int			width = 0;

	for (const char *c = header; *c; c++)
	{
		if (c[0] == '\r')
		{
			FUZZ_CHECK(c[1] == '\n' && c[2] == ' ' && c[2 + strspn(c + 2, " ")] > ' ');
			c++;
			width = 0;
			continue;
		}
		FUZZ_CHECK(*c >= 0x20 && *c <= 0x7e);
		FUZZ_CHECK(++width <= MAX_LINE);
	}
}

/* What a header's text says, its encoded words and lines undone. */
static char *
decode_text(const char *header)
{
	char	   *text = palloc(strlen(header) + 1);
	char	   *out = text;
	const char *p = strchr(header, ' ') + 1;

	if (strncmp(p, "\r\n ", 3) == 0)
		p += 3;
	while (*p)
	{
		const char *end;

		if (strncmp(p, "=?UTF-8?B?", 10) == 0 && (end = strstr(p + 10, "?=")) != NULL)
		{
			int			length = end - (p + 10);
			int			n = pg_b64_decode(p + 10, length, (void *) out, length);

			FUZZ_CHECK(end + 2 - p <= 75);
			FUZZ_CHECK(n > 0 && fuzz_is_text(slice(out, n)));
			out += n;
			p = end + 2;
			if (strncmp(p, "\r\n =?", 5) == 0)
				p += 3;			/* blanks between encoded words are none */
		}
		else if (strncmp(p, "\r\n", 2) == 0)
			p += 2;
		else
			*out++ = *p++;
	}
	*out = '\0';
	return text;
}

static void
check_subject(Slice text)
{
	char	   *line = mail_one_line(text);
	char	   *header = mail_text_line("Subject", line);

	for (const unsigned char *c = (unsigned char *) line; *c; c++)
		FUZZ_CHECK(*c >= 0x20 && *c != 0x7f);
	check_header(header);
	FUZZ_CHECK(strcmp(decode_text(header), line) == 0);
}

/* Lines that no server takes for the end, and that are no longer than they may be. */
static void
check_body(Slice body)
{
	int			width = 0;

	for (int i = 0; i < body.len; i++)
	{
		char		c = body.data[i];

		if (c == '\r')
		{
			FUZZ_CHECK(i + 1 < body.len && body.data[i + 1] == '\n');
			FUZZ_CHECK(i == 0 || (body.data[i - 1] != ' ' && body.data[i - 1] != '\t'));
			i++;
			width = 0;
			continue;
		}
		FUZZ_CHECK((c >= 0x20 && c <= 0x7e) || c == '\t');
		FUZZ_CHECK(width > 0 || c != '.');
		FUZZ_CHECK(++width <= MAX_WIDTH);
	}
}

static int
hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c - 'A' + 10;
}

/* Decoded, a body is the text, with CRLF for every end of a line. */
static void
check_encoding(Slice text)
{
	StringInfoData body;
	const char *p = text.data;
	const char *end = text.data + text.len;

	fuzz_initStringInfo(&body);
	mail_append_encoded(&body, text);
	check_body(slice(body.data, body.len));
	FUZZ_CHECK(memmem(body.data, body.len, "=_", 2) == NULL);
	for (const char *q = body.data; q < body.data + body.len; q++)
	{
		if (q[0] == '=' && q[1] == '\r')
			q += 2;
		else if (*q == '\r')
		{
			FUZZ_CHECK(p < end && (*p == '\r' || *p == '\n'));
			p += p[0] == '\r' && p + 1 < end && p[1] == '\n' ? 2 : 1;
			q++;
		}
		else if (*q == '=')
		{
			FUZZ_CHECK(p < end && (unsigned char) *p == hex(q[1]) * 16 + hex(q[2]));
			p++;
			q += 2;
		}
		else
			FUZZ_CHECK(p < end && *p++ == *q);
	}
	FUZZ_CHECK(p == end);
}

static void
check_address(const char *address)
{
	FUZZ_CHECK(strlen(address) <= 254);
	FUZZ_CHECK(strchr(address, '@') != NULL && strchr(address, '@') == strrchr(address, '@'));
	for (const char *c = address; *c; c++)
		FUZZ_CHECK(*c > 0x20 && *c < 0x7f && strchr("<>()[],;:\\\"", *c) == NULL);
}

static void
check_mailbox(Slice text)
{
	Mailbox		mailbox;
	Mistake		error = {0};

	if (!mailbox_parse(text, "address", &mailbox, &error))
	{
		fuzz_check_mistake(&error);
		return;
	}
	check_address(mailbox.address);
	check_header(mail_mailboxes_line("To", &mailbox, 1));
}

void
fuzz_mail(Slice input)
{
	Slice		config_text;
	Slice		event_text;
	Jsonb	   *config;
	Jsonb	   *row;
	Event		event;
	ActionDelivery delivery = {.occasion = {.hook_name = "hook \"x\""}, .id = "00000000-0000-5000-8000-000000000000"};
	Mistake		error = {0};
	Message		message = {0};
	Action	   *action;

	if (fuzz_is_text(input))
	{
		Slice		text = fuzz_copy(input);

		check_subject(text);
		check_encoding(text);
		check_mailbox(text);
	}
	if (!fuzz_split(input, false, &config_text, &event_text) ||
		(config = fuzz_jsonb(config_text)) == NULL || (row = fuzz_jsonb(event_text)) == NULL)
		return;
	fuzz_event(row, &event);
	if ((int) event.type == TRIGGER_TYPE_UNKNOWN)
		event.type = TRIGGER_DONATION;
	delivery.occasion.event = &event;

	action = action_compile("email", config, &error);
	if (action == NULL)
	{
		fuzz_check_mistake(&error);
		return;
	}
	error = (Mistake) {0};
	if (!action->type->build(action, &delivery, &message, &error))
	{
		fuzz_check_mistake(&error);
		return;
	}
	FUZZ_CHECK(message.nheaders <= MESSAGE_MAX_HEADERS);
	for (int i = 0; i < message.nheaders; i++)
		check_header(message.headers[i]);
	for (int i = 0; i < message.mail->nrecipients; i++)
		check_address(message.mail->recipients[i]);
	check_body(slice(message.body, message.body_length));
	FUZZ_CHECK(message.body_length >= 2 && message.body[message.body_length - 1] == '\n');
}
