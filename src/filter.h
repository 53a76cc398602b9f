/*-------------------------------------------------------------------------
 *
 * filter.h
 *		What templates can do with a value: the filters behind a bar.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_FILTER_H
#define HOOKS_FILTER_H

#include "pgtime.h"

#include "field.h"
#include "mistake.h"

#define FILTER_MAX_ARGUMENTS 20

/* A value on its way through the filters. */
typedef struct Value
{
	Slice		text;
	const JsonbValue *json;		/* what it was in the event, until a filter changes it */
	bool		is_json;		/* the text is JSON already */
} Value;

typedef struct Filter Filter;

typedef struct FilterType
{
	const char *name;
	int			min_arguments;
	int			max_arguments;
	bool		needs_value;	/* false: an expression may begin with it */

	/* Look at the arguments; false when they will not do.  NULL: any will. */
	bool		(*check) (Filter *filter);
	void		(*apply) (const Filter *filter, const Occasion *occasion, Value *value);
	const char *takes;			/* in words */
	const char *example;		/* after the bar */
	bool		is_authors;		/* what it gives is the hook's author's to answer for, as markdown */
} FilterType;

/* A filter with its arguments. */
struct Filter
{
	const FilterType *type;
	uint32		salt;			/* tells random draws apart */
	int			nargs;
	Slice		args[FILTER_MAX_ARGUMENTS];
	int			number;			/* an argument that is one */
	pg_tz	   *zone;
};

/* The filter of that name, or NULL. */
extern const FilterType *filter_find(Slice name);

/* Make a filter of its arguments; false, with *error filled in, when they will not do. */
extern bool filter_check(Filter *filter, Mistake *error);

/* The message for a filter that is not known. */
extern bool filter_unknown(Slice name, Mistake *error);

/* Does the text stand for itself in JSON, as a number? */
extern bool is_json_number(Slice text);

/* Append text as it stands in a JSON string literal. */
extern void append_json_escaped(StringInfo out, Slice text);

/* Append text percent-encoded, all but RFC 3986's unreserved characters. */
extern void append_url_encoded(StringInfo out, Slice text);

/* Append text as it stands in HTML, between tags or in a quoted attribute. */
extern void append_html_escaped(StringInfo out, Slice text);

#endif							/* HOOKS_FILTER_H */
