/*-------------------------------------------------------------------------
 *
 * chat_target.c
 *		Chat messages: how much of the text is the hook's own, in bytes, a
 *		newline, the text.
 *
 * Whatever comes out is one line of UTF-8, not too long, that no viewer's
 * character makes a command, and stays as it is when it is made once more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "chat_text.h"
#include "fuzz.h"

static int
code_points(const char *text, int len)
{
	int			n = 0;

	for (int i = 0; i < len; i++)
		n += ((unsigned char) text[i] & 0xC0) != 0x80;
	return n;
}

void
fuzz_chat(Slice input)
{
	Slice		number;
	Slice		text;
	int			own;
	char	   *line;
	char	   *again;
	int			len;

	if (!fuzz_split(input, false, &number, &text))
		return;
	own = Min(number.len, text.len);
	text = fuzz_copy(text);
	line = chat_text(text.data, text.len, own, 20);
	len = strlen(line);
	FUZZ_CHECK(!fuzz_is_text(text) || fuzz_is_text(slice(line, len)));
	FUZZ_CHECK(code_points(line, len) <= 20);
	for (int i = 0; i < len; i++)
		FUZZ_CHECK((unsigned char) line[i] >= 0x20 && line[i] != 0x7f);
	FUZZ_CHECK(len == 0 || (line[0] != ' ' && line[len - 1] != ' '));
	again = chat_text(line, len, len, 20);
	FUZZ_CHECK(strcmp(again, line) == 0);
	line = chat_text(text.data, text.len, 0, 20);
	FUZZ_CHECK(strchr("/.!\\", line[0]) == NULL || line[0] == '\0');
}
