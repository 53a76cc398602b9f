/*-------------------------------------------------------------------------
 *
 * mail.c
 *		E-mail as RFC 5322 and RFC 2047 have it.  See mail.h.
 *
 * Addresses are those that people have: a dot-atom, and a domain with a dot in
 * it.  Quoted local parts, comments, routes and address literals are refused,
 * so there is nothing that a mail server could read in another way.  They are
 * ASCII: an internationalised domain is written as "xn--...".
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "pgtime.h"
#include "utils/timestamp.h"

#include "mail.h"

#define MAX_LOCAL_PART 64
#define MAX_DOMAIN 253
#define MAX_ADDRESS 254
#define MAX_LABEL 63
#define MAX_NAME 100			/* code points */

/* How long lines should be at most, and how long an encoded word may be. */
#define LINE_WIDTH 76
#define MAX_WORD 75

/* Longer words than this are encoded, which breaks them. */
#define MAX_PLAIN_WORD 60

#define WORD_BEGIN "=?UTF-8?B?"
#define WORD_END "?="

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* ----------
 * Addresses
 * ----------
 */

/* Parts of "allowed" characters, with a dot between each two; how many, or 0. */
static int
count_parts(Slice text, const char *allowed, int longest)
{
	int			n = 1;
	int			length = 0;

	for (int i = 0; i < text.len; i++)
	{
		if (text.data[i] == '.' && length > 0)
		{
			n++;
			length = 0;
		}
		else if (text.data[i] == '\0' || strchr(allowed, text.data[i]) == NULL ||
				 ++length > longest)
			return 0;
	}
	return length > 0 ? n : 0;
}

/* Letters, digits and hyphens, as host names are; the last part is no number. */
static bool
is_domain(Slice text)
{
	const char *top;

	if (text.len > MAX_DOMAIN || count_parts(text, LETTERS DIGITS "-", MAX_LABEL) < 2)
		return false;
	for (int i = 0; i < text.len; i++)
	{
		bool		first = i == 0 || text.data[i - 1] == '.';
		bool		last = i == text.len - 1 || text.data[i + 1] == '.';

		if (text.data[i] == '-' && (first || last))
			return false;
	}
	top = (const char *) memrchr(text.data, '.', text.len) + 1;
	return strchr(DIGITS, *top) == NULL;
}

static bool
is_address(Slice text)
{
	const char *at = memchr(text.data, '@', text.len);
	Slice		local;

	if (at == NULL || text.len > MAX_ADDRESS)
		return false;
	local = slice(text.data, at - text.data);
	return local.len <= MAX_LOCAL_PART &&
		count_parts(local, LETTERS DIGITS "!#$%&'*+-/=?^_`{|}~", MAX_LOCAL_PART) > 0 &&
		is_domain(slice(at + 1, text.data + text.len - at - 1));
}

static Slice
trim(Slice text)
{
	while (text.len > 0 && text.data[0] == ' ')
		text = slice(text.data + 1, text.len - 1);
	while (text.len > 0 && text.data[text.len - 1] == ' ')
		text.len--;
	return text;
}

/* What no name has, and what ends lines. */
static bool
is_control(int32 c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029;
}

/* A name for people; quotes around it are taken off. */
static bool
is_name(Slice *name)
{
	const char *p;
	int			n = 0;

	if (name->len >= 2 && name->data[0] == '"' && name->data[name->len - 1] == '"')
		*name = trim(slice(name->data + 1, name->len - 2));
	for (p = name->data; p < name->data + name->len;)
	{
		int32		c = text_next(&p, name->data + name->len);

		if (c < 0 || is_control(c) || (c < 0x80 && strchr("\"\\<>", c) != NULL) || ++n > MAX_NAME)
			return false;
	}
	return true;
}

bool
mailbox_parse(Slice text, const char *what, Mailbox *mailbox, Mistake *error)
{
	Slice		whole = trim(text);
	Slice		address = whole;
	Slice		name = slice("", 0);
	const char *open = memchr(whole.data, '<', whole.len);

	if (open != NULL && whole.data[whole.len - 1] == '>')
	{
		address = slice(open + 1, whole.data + whole.len - 1 - (open + 1));
		name = trim(slice(whole.data, open - whole.data));
	}
	if (!is_address(address) || !is_name(&name))
		return mistake(error,
					   psprintf("%s \"%s\" is not an e-mail address", what, quotable(text.data, text.len)),
					   "Write it like \"ann@example.com\" or \"Ann <ann@example.com>\"; an internationalised "
					   "domain in its ASCII form, \"xn--...\".");
	mailbox->name = name.len > 0 ? pnstrdup(name.data, name.len) : NULL;
	mailbox->address = pnstrdup(address.data, address.len);
	return true;
}

const char *
mailbox_domain(const Mailbox *mailbox)
{
	return strchr(mailbox->address, '@') + 1;
}

/* ----------
 * Headers
 * ----------
 */

/* How much there is on the last line. */
static int
column(StringInfo out)
{
	const char *newline = memrchr(out->data, '\n', out->len);

	return newline ? out->data + out->len - newline - 1 : out->len;
}

static void
fold(StringInfo out)
{
	appendStringInfoString(out, "\r\n ");
}

/* Can it be written without encoding it? */
static bool
is_plain(const char *text)
{
	size_t		length = strlen(text);
	int			word = 0;

	for (const char *c = text; *c; c++)
	{
		word = *c == ' ' ? 0 : word + 1;
		if (*c < 0x20 || *c > 0x7e || word > MAX_PLAIN_WORD)
			return false;
	}
	return length > 0 && text[0] != ' ' && text[length - 1] != ' ' && strstr(text, "=?") == NULL;
}

/* The lines of a plain text break before its blanks. */
static void
append_plain(StringInfo out, const char *text)
{
	for (const char *p = text; *p;)
	{
		size_t		blanks = strspn(p, " ");
		size_t		whole = blanks + strcspn(p + blanks, " ");

		if (p > text && column(out) + whole > LINE_WIDTH)
			appendStringInfoString(out, "\r\n");
		appendBinaryStringInfo(out, p, whole);
		p += whole;
	}
}

/* As many whole characters as fit; at least one. */
static int
piece(const char *text, const char *end, int bytes)
{
	const char *p = text;
	const char *next = text;

	(void) text_next(&next, end);
	do
	{
		p = next;
		if (p < end)
			(void) text_next(&next, end);
	} while (p < end && next - text <= bytes);
	return p - text;
}

/* Encoded words, as many as it takes. */
static void
append_encoded(StringInfo out, const char *text)
{
	const char *end = text + strlen(text);
	const int	around = strlen(WORD_BEGIN WORD_END);

	while (text < end)
	{
		int			room = Min(LINE_WIDTH - column(out), MAX_WORD) - around;
		char		word[MAX_WORD];
		int			length;

		if (room < 8)			/* base64 of the longest character */
		{
			fold(out);
			continue;
		}
		length = piece(text, end, room / 4 * 3);
		appendStringInfoString(out, WORD_BEGIN);
		appendBinaryStringInfo(out, word,
							   pg_b64_encode((const void *) text, length, word, sizeof(word)));
		appendStringInfoString(out, WORD_END);
		text += length;
		if (text < end)
			fold(out);
	}
}

char *
mail_text_line(const char *name, const char *text)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "%s: ", name);
	if (is_plain(text))
		append_plain(&out, text);
	else
		append_encoded(&out, text);
	return out.data;
}

/* A mailbox's name needs no quotes when it is made of words. */
static void
append_mailbox(StringInfo out, const Mailbox *mailbox)
{
	const char *name = mailbox->name;

	if (name != NULL && !is_plain(name))
		append_encoded(out, name);
	else if (name != NULL && name[strspn(name, LETTERS DIGITS "!#$%&'*+-/=?^_`{|}~ ")] == '\0')
		append_plain(out, name);
	else if (name != NULL)
		append_plain(out, psprintf("\"%s\"", name));

	if (name == NULL)
	{
		appendStringInfoString(out, mailbox->address);
		return;
	}
	if (column(out) + strlen(mailbox->address) + 3 > LINE_WIDTH)
		fold(out);
	else
		appendStringInfoChar(out, ' ');
	appendStringInfo(out, "<%s>", mailbox->address);
}

char *
mail_mailboxes_line(const char *name, const Mailbox *mailboxes, int n)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfo(&out, "%s: ", name);
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
		{
			appendStringInfoChar(&out, ',');
			fold(&out);
		}
		append_mailbox(&out, &mailboxes[i]);
	}
	return out.data;
}

char *
mail_date_line(TimestampTz date)
{
	pg_time_t	time = timestamptz_to_time_t(date);
	char		text[64];

	pg_strftime(text, sizeof(text), "Date: %a, %d %b %Y %H:%M:%S +0000", pg_gmtime(&time));
	return pstrdup(text);
}

/* ----------
 * Texts
 * ----------
 */

char *
mail_one_line(Slice text)
{
	const char *p = text.data;
	const char *end = text.data + text.len;
	StringInfoData out;
	Slice		trimmed;

	initStringInfo(&out);
	while (p < end)
	{
		const char *from = p;
		int32		c = text_next(&p, end);

		if (c >= 0 && !is_control(c))
			appendBinaryStringInfo(&out, from, p - from);
		else if (out.len > 0 && out.data[out.len - 1] != ' ')
			appendStringInfoChar(&out, ' ');
	}
	trimmed = trim(slice(out.data, out.len));
	return pnstrdup(trimmed.data, trimmed.len);
}

/* Can the byte stand for itself, at the end of a line, or at its beginning? */
static bool
stands_for_itself(unsigned char c, bool last, bool first)
{
	if (c == ' ' || c == '\t')
		return !last;
	return c > 0x20 && c < 0x7f && c != '=' && !(c == '.' && first);
}

void
mail_append_encoded(StringInfo out, Slice text)
{
	const char *end = text.data + text.len;
	int			width = 0;

	for (const char *p = text.data; p < end; p++)
	{
		bool		last = p + 1 == end || p[1] == '\r' || p[1] == '\n';
		bool		plain;

		if (*p == '\r' || *p == '\n')
		{
			appendStringInfoString(out, "\r\n");
			width = 0;
			if (*p == '\r' && p + 1 < end && p[1] == '\n')
				p++;
			continue;
		}
		/* The last byte of a line may be a "=" that only breaks it. */
		plain = stands_for_itself(*p, last, width == 0);
		if (width + (plain ? 1 : 3) > LINE_WIDTH - 1)
		{
			appendStringInfoString(out, "=\r\n");
			width = 0;
			plain = stands_for_itself(*p, last, true);
		}
		if (plain)
			appendStringInfoCharMacro(out, *p);
		else
			appendStringInfo(out, "=%02X", (unsigned char) *p);
		width += plain ? 1 : 3;
	}
}
