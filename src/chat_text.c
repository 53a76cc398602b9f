/*-------------------------------------------------------------------------
 *
 * chat_text.c
 *		Texts as chat messages: one line that shows what it says, and is no
 *		command.
 *
 * Blanks and ends of lines become single blanks.  What cannot be seen goes:
 * control characters, those that turn the direction of writing, those without
 * a width.  A text that viewers have a part in does not begin with / . ! or \,
 * nor with marks that such a character could hide behind; this is looked at
 * after everything else has gone.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <utf8proc.h>

#include "chat_text.h"
#include "text.h"

typedef enum Kind
{
	KIND_BLANK,
	KIND_UNSEEN,
	KIND_MARK,					/* belongs to the character before it */
	KIND_SEEN
} Kind;

/* Letters and symbols by their category that show nothing all the same. */
static bool
is_filler(int32 c)
{
	switch (c)
	{
		case 0x034F:			/* combining grapheme joiner */
		case 0x115F:			/* Hangul fillers */
		case 0x1160:
		case 0x3164:
		case 0xFFA0:
		case 0x17B4:			/* Khmer inherent vowels */
		case 0x17B5:
		case 0xFFFC:			/* object replacement */
			return true;
	}
	return c >= 0x180B && c <= 0x180F;	/* Mongolian selectors */
}

static Kind
kind_of(int32 c)
{
	if ((c >= '\t' && c <= '\r') || c == 0x85 || c == 0x2800)
		return KIND_BLANK;
	if (is_filler(c))
		return KIND_UNSEEN;
	switch (utf8proc_category(c))
	{
		case UTF8PROC_CATEGORY_ZS:
		case UTF8PROC_CATEGORY_ZL:
		case UTF8PROC_CATEGORY_ZP:
			return KIND_BLANK;
		case UTF8PROC_CATEGORY_CC:
		case UTF8PROC_CATEGORY_CF:
		case UTF8PROC_CATEGORY_CS:
			return KIND_UNSEEN;
		case UTF8PROC_CATEGORY_MN:
		case UTF8PROC_CATEGORY_ME:
		case UTF8PROC_CATEGORY_MC:
			return KIND_MARK;
		default:
			/* Tags and variation selectors' plane has nothing to see, named or not. */
			return c >= 0xE0000 && c <= 0xE0FFF ? KIND_UNSEEN : KIND_SEEN;
	}
}

char *
chat_text(const char *text, int len, int own, int most)
{
	const char *p = text;
	const char *end = text + len;
	char	   *out = palloc((Size) len + 5);
	int			bytes = 0;
	int			n = 0;
	bool		blank = false;

	while (p < end)
	{
		bool		is_own = p - text < own;
		int32		c = text_next(&p, end);
		Kind		kind = c < 0 ? KIND_UNSEEN : kind_of(c);

		if (kind == KIND_BLANK)
			blank = n > 0;
		if (kind == KIND_BLANK || kind == KIND_UNSEEN)
			continue;
		if (n == 0 && !is_own &&
			(kind == KIND_MARK || c == '/' || c == '.' || c == '!' || c == '\\'))
			continue;
		if (n + (blank ? 2 : 1) > most)
			break;
		if (blank)
		{
			out[bytes++] = ' ';
			n++;
			blank = false;
		}
		bytes += text_put(out + bytes, c);
		n++;
	}
	out[bytes] = '\0';
	return out;
}

bool
chat_text_is_command(const char *text, int len)
{
	char	   *begin = chat_text(text, len, len, 1);

	return *begin == '/' || *begin == '.';
}
