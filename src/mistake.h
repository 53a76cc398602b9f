/*-------------------------------------------------------------------------
 *
 * mistake.h
 *		What is wrong with a hook, before anybody decides what to do about it.
 *
 * The files that understand parts of a hook (conditions, templates, actions)
 * never raise errors: they fill in a Mistake and return failure.  The trigger
 * that checks a hook when it is written turns it into an ERROR; the worker,
 * which meets rows that got in another way, turns it into a log row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_MISTAKE_H
#define HOOKS_MISTAKE_H

typedef struct Mistake
{
	char	   *message;		/* what is wrong and where, style-guide primary text */
	char	   *hint;			/* what it takes, with a correct example; or NULL */
	bool		blameless;		/* it is the administrator's, not the hook's */
} Mistake;

/* Fill in a mistake; returns false so that callers can "return mistake(...)". */
extern bool mistake(Mistake *m, char *message, char *hint);

/* Somebody's text for a message: shortened, on one line.  Palloc'd. */
extern char *quotable(const char *text, int len);

/*
 * The known name that is nearest to a misspelt one.  Offer the known ones in
 * turn; "best" then is the nearest, or NULL when none is near.
 */
typedef struct Nearest
{
	const char *name;
	int			len;
	int			distance;		/* that still counts as near */
	const char *best;
} Nearest;

extern void nearest_begin(Nearest *nearest, const char *name, int len);
extern void nearest_offer(Nearest *nearest, const char *known);

#endif							/* HOOKS_MISTAKE_H */
