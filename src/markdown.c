/*-------------------------------------------------------------------------
 *
 * markdown.c
 *		Discord's markdown: what viewers write is none.  See markdown.h.
 *
 * A backslash before a character that is no letter, digit or blank makes it
 * stand for itself, and is not shown.  As few as possible are written, because
 * notifications and other programs do show them.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "markdown.h"

/* Special wherever they stand.  "(" is not: no "]" is left before it. */
#define SPECIAL "\\*_~`|[]<"

/* Special at the beginning of a line, before a blank or each other. */
#define SPECIAL_IN_FRONT "#>-+"

/* What an address is made of, as long as it has nothing else of "special". */
#define URL_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" \
	"-._~:/?#@!$&'+,;=%"

#define LOOK_BACK 64

/* What keeps an "@" and "everyone" apart without being seen. */
#define BREAK "\xE2\x80\x8B"

static bool
is_one_of(char c, const char *characters)
{
	return c != '\0' && strchr(characters, c) != NULL;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* After this character, may a line still begin? */
static bool
line_begins_after(char c)
{
	return c == '\n' || is_blank(c) || is_one_of(c, SPECIAL_IN_FRONT "\\");
}

/* Is there nothing but blanks and quotes before, on this line, as far as we look? */
static bool
at_line_start(const StringInfoData *out)
{
	for (int i = 1; i <= Min(out->len, LOOK_BACK) && out->data[out->len - i] != '\n'; i++)
	{
		if (!line_begins_after(out->data[out->len - i]))
			return false;
	}
	return true;
}

/* How long is the address that begins here?  0: none does. */
static int
url_length(const char *p, const char *end)
{
	static const char *const schemes[] = {"https://", "http://"};

	for (size_t i = 0; i < lengthof(schemes); i++)
	{
		int			n = (int) strlen(schemes[i]);

		if (end - p <= n || pg_strncasecmp(p, schemes[i], n) != 0)
			continue;
		while (p + n < end && is_one_of(p[n], URL_CHARACTERS))
			n++;
		return n;
	}
	return 0;
}

/* An odd number of backslashes before would make a pair with ours. */
static bool
ends_in_escape(const StringInfoData *out)
{
	int			n = 0;

	while (n < out->len && out->data[out->len - 1 - n] == '\\')
		n++;
	return n % 2 == 1;
}

void
append_markdown_escaped(StringInfo out, Slice text, bool mentions)
{
	const char *end = text.data + text.len;
	const char *url_end = text.data;
	bool		line_begins = at_line_start(out);
	bool		escaped_before = text.len > 0 && ends_in_escape(out);

	for (const char *p = text.data; p < end; p++)
	{
		bool		escape;

		if (p >= url_end)
			url_end = p + url_length(p, end);
		escape = is_one_of(*p, SPECIAL) && !(p < url_end && (*p == '_' || *p == '~'));
		if (!escape && line_begins && is_one_of(*p, SPECIAL_IN_FRONT))
			escape = p + 1 == end || is_blank(p[1]) || is_one_of(p[1], SPECIAL_IN_FRONT);
		line_begins = *p == '\n' || (line_begins && line_begins_after(*p));
		if (escape && p == text.data && escaped_before)
			appendStringInfoChar(out, '\\');
		if (escape)
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *p);
		if (mentions && *p == '@')
			appendStringInfoString(out, BREAK);
	}
}

bool
markdown_in_url(bool before, Slice text)
{
	const char *end = text.data + text.len;
	const char *p = end;
	const char *word;

	while (p > text.data && is_one_of(p[-1], URL_CHARACTERS))
		p--;
	if (before && p == text.data)
		return true;
	word = p;
	for (; p < end; p++)
	{
		if (url_length(p, end) > 0)
			return true;
	}
	/* Right behind the two slashes there is no host yet. */
	return end - word >= 3 && memcmp(end - 3, "://", 3) == 0;
}

/* Code points that show nothing. */
static bool
is_invisible(int32 c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xA0 || c == 0xAD || c == 0x034F ||
		c == 0x061C || c == 0x115F || c == 0x1160 || c == 0x1680 || c == 0x17B4 || c == 0x17B5 ||
		(c >= 0x180B && c <= 0x180E) || (c >= 0x2000 && c <= 0x200F) || (c >= 0x2028 && c <= 0x202F) ||
		(c >= 0x205F && c <= 0x206F) || c == 0x3000 || c == 0x3164 || c == 0xFEFF || c == 0xFFA0 ||
		(c >= 0xE0000 && c <= 0xE0FFF);
}

bool
markdown_is_blank(Slice text)
{
	const char *p = text.data;
	const char *end = p + text.len;

	while (p < end)
	{
		int32		c = text_next(&p, end);

		if (c < 0 || !is_invisible(c))
			return false;
	}
	return true;
}
