/*-------------------------------------------------------------------------
 *
 * expression.h
 *		What stands between the braces of a template: {{name | filter:"x"}}.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_EXPRESSION_H
#define HOOKS_EXPRESSION_H

#include "filter.h"

typedef struct Expression Expression;

typedef enum ExpressionFound
{
	EXPRESSION_NONE,			/* the braces are plain text */
	EXPRESSION_GOOD,
	EXPRESSION_WRONG			/* *error says what is */
} ExpressionFound;

/*
 * Is there an expression right at "str"?  If so, *expression is it, in the
 * current memory context, and *len its length, braces included.  In a JSON
 * string literal ("escaped"), backslash escapes are undone before it is read.
 */
extern ExpressionFound expression_parse(const char *str, const char *end, bool escaped,
										Expression **expression, int *len, Mistake *error);

/* Number an expression of a template, so that each draws for itself. */
extern void expression_number(Expression *expression, int number);

/* Its value.  May allocate in the current memory context. */
extern Value expression_value(const Expression *expression, const Occasion *occasion);

/* Does it end in the filter "json"? */
extern bool expression_is_json(const Expression *expression);

/* Is what it gives, or how it stands in markdown, up to the hook's author? */
extern bool expression_is_authors(const Expression *expression);

/* The field it begins with, or NULL. */
extern const Field *expression_field(const Expression *expression);

/* The name of the secret that it is, or NULL. */
extern const char *expression_secret(const Expression *expression);

#endif							/* HOOKS_EXPRESSION_H */
