/*-------------------------------------------------------------------------
 *
 * mistake.c
 *		Saying what is wrong: quoting, and guessing what was meant.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/varlena.h"

#include "mistake.h"

/* Bytes of somebody's text that messages quote. */
#define MAX_QUOTED 40

/* How wrong a name may be spelled to be recognised: as core does for columns. */
#define MAX_DISTANCE 3
#define MAX_NAME_LENGTH 63

bool
mistake(Mistake *m, char *message, char *hint)
{
	m->message = message;
	m->hint = hint;
	return false;
}

char *
quotable(const char *text, int len)
{
	bool		cut = len > MAX_QUOTED;
	char	   *copy;

	if (cut)
	{
		len = MAX_QUOTED;
		while (len > 0 && ((unsigned char) text[len] & 0xC0) == 0x80)
			len--;
	}
	copy = psprintf("%.*s%s", len, text, cut ? "..." : "");
	for (char *p = copy; *p; p++)
	{
		if ((unsigned char) *p < ' ' || *p == 0x7F)
			*p = '?';
	}
	return copy;
}

void
nearest_begin(Nearest *nearest, const char *name, int len)
{
	nearest->name = name;
	nearest->len = len;
	nearest->distance = len > MAX_NAME_LENGTH ? -1 : Min(MAX_DISTANCE, len / 2);
	nearest->best = NULL;
}

void
nearest_offer(Nearest *nearest, const char *known)
{
	int			distance;

	if (nearest->distance < 0)
		return;
	distance = varstr_levenshtein_less_equal(nearest->name, nearest->len, known, strlen(known),
											 1, 1, 1, nearest->distance, true);
	if (distance <= nearest->distance)
	{
		nearest->best = known;
		nearest->distance = distance - 1;
	}
}
