/*-------------------------------------------------------------------------
 *
 * text.h
 *		Comparing texts as hooks do: exactly, or ignoring case by Unicode's
 *		simple case folding, whatever the locale.
 *
 * Nothing here allocates when texts are compared, and nothing takes longer
 * than in proportion to the texts (patterns: times the pattern, which is
 * short).  Texts are UTF-8 and need not end in NUL.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_TEXT_H
#define HOOKS_TEXT_H

/* Some text that need not end in NUL. */
typedef struct Slice
{
	const char *data;
	int			len;
} Slice;

static inline Slice
slice(const char *data, int len)
{
	Slice		result = {data, len};

	return result;
}

/* A copy, palloc'd. */
extern Slice slice_copy(Slice text);

/* One code point, or -1 where a text is not UTF-8; moves *p on. */
extern int32 text_next(const char **p, const char *end);

/* Append a code point as UTF-8 to a buffer with room for 4 bytes; how many it took. */
extern int	text_put(char *buffer, int32 c);

extern bool slice_equal(Slice a, Slice b, bool ignore_case);
extern bool slice_starts_with(Slice text, Slice start, bool ignore_case);
extern bool slice_ends_with(Slice text, Slice end, bool ignore_case);

/* A substring to look for, compiled. */
typedef struct Needle Needle;

extern Needle *needle_compile(Slice text, bool ignore_case);
extern bool needle_found(const Needle *needle, Slice text);

/*
 * A pattern for a whole text, compiled: "*" is any run of characters, "?" any
 * one, and a backslash makes the next character stand for itself.  NULL when
 * it is longer than PATTERN_MAX characters.
 */
#define PATTERN_MAX 200

typedef struct Pattern Pattern;

extern Pattern *pattern_compile(Slice text, bool ignore_case);
extern bool pattern_matches(const Pattern *pattern, Slice text);

#endif							/* HOOKS_TEXT_H */
