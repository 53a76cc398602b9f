/*-------------------------------------------------------------------------
 *
 * text.c
 *		Compare texts, find substrings, match wildcards.
 *
 * Case is ignored by Unicode's simple case folding, one code point to one,
 * whatever the locale.  Text is not normalised, and ß does not equal ss.
 *
 * Substrings are found in one pass over the text (Knuth, Morris, Pratt), so
 * that no pair of needle and message takes long.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <utf8proc.h>

#include "text.h"

struct Needle
{
	bool		ignore_case;
	Slice		plain;			/* when case counts */
	bool		starts[256];	/* bytes that may begin a match */
	int			length;			/* code points */
	int		   *fallback;		/* longest proper prefix that ends here too */
	int32		chars[FLEXIBLE_ARRAY_MEMBER];
};

#define ANY_RUN (-2)
#define ANY_ONE (-3)

struct Pattern
{
	bool		ignore_case;
	int			length;
	int32		chars[FLEXIBLE_ARRAY_MEMBER];
};

/*
 * Simple case folding, up to the choice of who stands for a class: two code
 * points fold to the same here exactly if Unicode's simple folding says so.
 * (Lower of upper is a folding; the dotted capital and the dotless small i of
 * Turkish are the two that fold to themselves but have a case mapping to or
 * from ASCII.)
 */
static int32
fold(int32 c)
{
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
	if (c == 0x130 || c == 0x131)
		return c;
	return utf8proc_tolower(utf8proc_toupper(c));
}

/*
 * fold() of what takes one or two bytes of UTF-8, which is most of what has
 * cases at all.  Filled in before the first needle is compiled.
 */
static uint16 folded[0x800];

static void
folded_prepare(void)
{
	if (folded['A'] != 0)
		return;
	for (int c = 0; c < (int) lengthof(folded); c++)
		folded[c] = fold(c);
}

/*
 * The folded code point at *p, and move on.  A byte that is not part of valid
 * UTF-8, which a database never holds, equals only itself.
 */
static inline int32
next_folded(const unsigned char **p, const unsigned char *end)
{
	const unsigned char *byte = *p;
	utf8proc_int32_t c;
	utf8proc_ssize_t n;

	if (byte[0] < 0x80)
	{
		*p += 1;
		return folded[byte[0]];
	}
	if (byte[0] >= 0xC2 && byte[0] <= 0xDF && end - byte >= 2 && (byte[1] & 0xC0) == 0x80)
	{
		*p += 2;
		return folded[(byte[0] & 0x1F) << 6 | (byte[1] & 0x3F)];
	}
	n = utf8proc_iterate(byte, end - byte, &c);
	if (n <= 0)
	{
		*p += 1;
		return 0x110000 + byte[0];
	}
	*p += n;
	return fold(c);
}

/* The code point at *p, folded or as it is. */
static inline int32
next_char(const unsigned char **p, const unsigned char *end, bool ignore_case)
{
	const char *q = (const char *) *p;
	const char *start = q;
	int32		c;

	if (ignore_case)
		return next_folded(p, end);
	c = text_next(&q, (const char *) end);
	*p += q - start;
	return c >= 0 ? c : 0x110000 + (unsigned char) *start;
}

Slice
slice_copy(Slice text)
{
	return slice(memcpy(palloc(Max(text.len, 1)), text.data, text.len), text.len);
}

int32
text_next(const char **p, const char *end)
{
	utf8proc_int32_t c;
	utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *) *p, end - *p, &c);

	if (n <= 0)
	{
		*p += 1;
		return -1;
	}
	*p += n;
	return c;
}

int
text_put(char *buffer, int32 c)
{
	return (int) utf8proc_encode_char(c, (utf8proc_uint8_t *) buffer);
}

/* ----------
 * Comparing
 * ----------
 */

/* Does the text begin with that start, and where does the rest begin? */
static bool
skip_start(Slice text, Slice start, bool ignore_case, int *rest)
{
	const unsigned char *p = (const unsigned char *) text.data;
	const unsigned char *end = p + text.len;
	const unsigned char *q = (const unsigned char *) start.data;
	const unsigned char *start_end = q + start.len;

	folded_prepare();
	while (q < start_end)
	{
		if (p == end ||
			next_char(&p, end, ignore_case) != next_char(&q, start_end, ignore_case))
			return false;
	}
	*rest = (const char *) p - text.data;
	return true;
}

bool
slice_equal(Slice a, Slice b, bool ignore_case)
{
	int			rest;

	if (!ignore_case)
		return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
	return skip_start(a, b, true, &rest) && rest == a.len;
}

bool
slice_starts_with(Slice text, Slice start, bool ignore_case)
{
	int			rest;

	if (!ignore_case)
		return text.len >= start.len && memcmp(text.data, start.data, start.len) == 0;
	return skip_start(text, start, true, &rest);
}

/* Folding keeps the number of code points: as many as the end has are looked at. */
bool
slice_ends_with(Slice text, Slice end, bool ignore_case)
{
	const char *p = text.data + text.len;
	int			chars = 0;

	if (!ignore_case)
		return text.len >= end.len &&
			memcmp(text.data + text.len - end.len, end.data, end.len) == 0;

	for (const char *q = end.data; q < end.data + end.len; q++)
		chars += ((unsigned char) *q & 0xC0) != 0x80;
	while (chars > 0 && p > text.data)
	{
		p--;
		chars -= ((unsigned char) *p & 0xC0) != 0x80;
	}
	return chars == 0 && slice_equal(slice(p, text.data + text.len - p), end, true);
}

/* ----------
 * Substrings
 * ----------
 */

Needle *
needle_compile(Slice text, bool ignore_case)
{
	Needle	   *needle = palloc0(offsetof(Needle, chars) + text.len * sizeof(int32));
	const unsigned char *p;
	const unsigned char *end;
	int			matched = 0;

	folded_prepare();
	needle->ignore_case = ignore_case;
	needle->plain = slice_copy(text);
	p = (const unsigned char *) needle->plain.data;
	end = p + text.len;
	while (p < end)
		needle->chars[needle->length++] = next_folded(&p, end);
	if (needle->length == 0)
		return needle;

	needle->fallback = palloc0(needle->length * sizeof(int));
	for (int i = 1; i < needle->length; i++)
	{
		while (matched > 0 && needle->chars[i] != needle->chars[matched])
			matched = needle->fallback[matched - 1];
		if (needle->chars[i] == needle->chars[matched])
			matched++;
		needle->fallback[i] = matched;
	}

	/*
	 * Only a few bytes can begin a match with an ASCII character: itself, its
	 * capital and, for k and s, the Kelvin sign and the long s.  Otherwise
	 * any byte beyond ASCII can.
	 */
	for (int byte = 0; byte < 256; byte++)
		needle->starts[byte] = byte < 0x80 ?
			fold(byte) == needle->chars[0] : needle->chars[0] >= 0x80;
	if (needle->chars[0] == fold(0x212A))
		needle->starts[0xE2] = true;
	if (needle->chars[0] == fold(0x017F))
		needle->starts[0xC5] = true;
	return needle;
}

bool
needle_found(const Needle *needle, Slice text)
{
	const unsigned char *p = (const unsigned char *) text.data;
	const unsigned char *end = p + text.len;
	int			matched = 0;

	if (needle->length == 0)
		return true;
	if (!needle->ignore_case)
		return memmem(text.data, text.len, needle->plain.data, needle->plain.len) != NULL;
	for (;;)
	{
		int32		c;

		if (matched == 0)
		{
			while (p < end && !needle->starts[*p])
				p++;
		}
		if (p == end)
			return false;
		c = next_folded(&p, end);
		while (matched > 0 && c != needle->chars[matched])
			matched = needle->fallback[matched - 1];
		if (c == needle->chars[matched] && ++matched == needle->length)
			return true;
	}
}

/* ----------
 * Patterns
 * ----------
 */

Pattern *
pattern_compile(Slice text, bool ignore_case)
{
	Pattern    *pattern = palloc(offsetof(Pattern, chars) + text.len * sizeof(int32));
	const unsigned char *p = (const unsigned char *) text.data;
	const unsigned char *end = p + text.len;

	folded_prepare();
	pattern->ignore_case = ignore_case;
	pattern->length = 0;
	while (p < end)
	{
		int32		c = next_char(&p, end, ignore_case);

		if (c == '\\' && p < end)
			c = next_char(&p, end, ignore_case);
		else if (c == '*')
			c = ANY_RUN;
		else if (c == '?')
			c = ANY_ONE;
		pattern->chars[pattern->length++] = c;
	}
	return pattern->length <= PATTERN_MAX ? pattern : NULL;
}

/*
 * What follows a "*" is tried at one place after the other; a later "*" makes
 * earlier ones final, so there is only ever one to go back to.
 */
bool
pattern_matches(const Pattern *pattern, Slice text)
{
	const unsigned char *p = (const unsigned char *) text.data;
	const unsigned char *end = p + text.len;
	const unsigned char *retry = NULL;	/* where the text after the last run begins */
	int			i = 0;
	int			after_run = -1; /* … and the pattern */

	for (;;)
	{
		int32		wanted = i < pattern->length ? pattern->chars[i] : 0;

		if (i < pattern->length && wanted == ANY_RUN)
		{
			after_run = ++i;
			retry = p;
			continue;
		}
		if (p == end)
			return i == pattern->length;
		if (i < pattern->length)
		{
			int32		c = next_char(&p, end, pattern->ignore_case);

			if (wanted == ANY_ONE || wanted == c)
			{
				i++;
				continue;
			}
		}
		if (after_run < 0)
			return false;
		(void) next_char(&retry, end, pattern->ignore_case);
		p = retry;
		i = after_run;
	}
}
