/*-------------------------------------------------------------------------
 *
 * text_target.c
 *		Texts: a byte that says whether case counts, a text to look for, a
 *		newline, a text to look in.
 *
 * Any bytes but NUL must be taken; what is UTF-8 is compared with what the simplest
 * functions say that can be written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <utf8proc.h>

#include "mb/pg_wchar.h"

#include "fuzz.h"

typedef struct Chars
{
	int			n;
	int32	   *c;
} Chars;

static int32
fold(int32 c)
{
	if (c >= 'A' && c <= 'Z')
		return c + 32;
	if (c < 0x80 || c == 0x130 || c == 0x131)
		return c;
	return utf8proc_tolower(utf8proc_toupper(c));
}

static Chars
chars_of(Slice text, bool ignore_case)
{
	Chars		chars = {0, palloc((text.len + 1) * sizeof(int32))};

	for (int i = 0; i < text.len; i += pg_utf_mblen((const unsigned char *) text.data + i))
	{
		int32		c = utf8_to_unicode((const unsigned char *) text.data + i);

		chars.c[chars.n++] = ignore_case ? fold(c) : c;
	}
	return chars;
}

static bool
same_at(Chars text, int at, Chars part)
{
	return at >= 0 && at + part.n <= text.n &&
		memcmp(text.c + at, part.c, part.n * sizeof(int32)) == 0;
}

static bool
occurs(Chars text, Chars part)
{
	for (int at = 0; at + part.n <= text.n; at++)
	{
		if (same_at(text, at, part))
			return true;
	}
	return false;
}

/* Patterns: which places of the text can be reached, character by character. */
static bool
matches(Chars text, Chars plain, Chars pattern)
{
	bool	   *reached = palloc0(text.n + 1);

	reached[0] = true;
	for (int i = 0; i < pattern.n; i++)
	{
		bool	   *next = palloc0(text.n + 1);
		bool		any = false;
		bool		one = plain.c[i] == '?';
		bool		run = plain.c[i] == '*';

		if (plain.c[i] == '\\' && i + 1 < pattern.n)
			i++;
		for (int at = 0; at <= text.n; at++)
		{
			any = any || reached[at];
			if (run)
				next[at] = any;
			else if (at > 0 && reached[at - 1])
				next[at] = one || text.c[at - 1] == pattern.c[i];
		}
		reached = next;
	}
	return reached[text.n];
}

/* Decoding and encoding are each other's inverse. */
static void
check_coding(Slice text, bool valid)
{
	const char *p = text.data;
	const char *end = text.data + text.len;

	while (p < end)
	{
		const char *start = p;
		int32		c = text_next(&p, end);
		char		buffer[4];

		FUZZ_CHECK(p > start && p <= end);
		FUZZ_CHECK(c >= 0 || (!valid && p == start + 1));
		if (c >= 0)
			FUZZ_CHECK(text_put(buffer, c) == p - start && memcmp(buffer, start, p - start) == 0);
	}
}

void
fuzz_text(Slice input)
{
	bool		ignore_case;
	Slice		part;
	Slice		text;
	Needle	   *needle;
	Pattern    *pattern;
	bool		equal;
	bool		starts;
	bool		ends;
	bool		found;
	bool		matched;
	Chars		part_chars;
	Chars		text_chars;

	if (input.len == 0)
		return;
	ignore_case = (input.data[0] & 1) != 0;
	if (!fuzz_split(slice(input.data + 1, input.len - 1), false, &part, &text) ||
		memchr(part.data, '\0', part.len) != NULL)
		return;					/* what hooks look for is NUL-terminated on its way */

	check_coding(part, fuzz_is_text(part));
	check_coding(text, fuzz_is_text(text));
	equal = slice_equal(text, part, ignore_case);
	starts = slice_starts_with(text, part, ignore_case);
	ends = slice_ends_with(text, part, ignore_case);
	needle = needle_compile(part, ignore_case);
	found = needle_found(needle, text);
	pattern = pattern_compile(part, ignore_case);
	matched = pattern != NULL && pattern_matches(pattern, text);
	FUZZ_CHECK(slice_equal(text, text, ignore_case));
	FUZZ_CHECK(slice_equal(part, text, ignore_case) == equal);
	if (!fuzz_is_text(part) || !fuzz_is_text(text))
		return;

	part_chars = chars_of(part, ignore_case);
	text_chars = chars_of(text, ignore_case);
	FUZZ_CHECK(equal == (part_chars.n == text_chars.n && same_at(text_chars, 0, part_chars)));
	FUZZ_CHECK(starts == same_at(text_chars, 0, part_chars));
	FUZZ_CHECK(ends == same_at(text_chars, text_chars.n - part_chars.n, part_chars));
	FUZZ_CHECK(found == occurs(text_chars, part_chars));
	FUZZ_CHECK(pattern != NULL || part_chars.n > PATTERN_MAX);
	if (pattern != NULL)
		FUZZ_CHECK(matched == matches(text_chars, chars_of(part, false), part_chars));
}
