/*-------------------------------------------------------------------------
 *
 * expression.c
 *		Parse and evaluate the expressions of templates.
 *
 *		expression = name { "|" filter } | filter { "|" filter } | secret
 *		filter = name { ":" argument }
 *		argument = "text" | 'text' | word
 *		secret = "secret." name
 *
 * Blanks may stand around names and bars.  In a quoted text a backslash makes
 * the next character stand for itself.  Only a bar, or a filter that needs no
 * value, commits to an expression: before that, whatever is not understood is
 * plain text, braces included, as it always was.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "expression.h"
#include "secrets.h"
#include "template.h"

#define MAX_FILTERS 10
#define SECRET_PREFIX "secret."

struct Expression
{
	const char *secret;			/* name; NULL: it is none */
	const Field *field;			/* NULL: begins with a filter */
	int			nfilters;
	Filter	  **filters;
};

/* Where we read, character by character. */
typedef struct Cursor
{
	const char *p;
	const char *end;
	bool		escaped;		/* inside a JSON string literal */
} Cursor;

/* The byte at the cursor with escapes undone, -1 at the end; *width is what it takes. */
static int
peek_width(const Cursor *cursor, int *width)
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char escaped[] = "\"\\/\b\f\n\r\t";
	const char *found;

	*width = 1;
	if (cursor->p >= cursor->end)
		return -1;
	if (!cursor->escaped)
		return (unsigned char) *cursor->p;
	if (*cursor->p == '"')
		return -1;				/* the literal ends here */
	if (*cursor->p != '\\')
		return (unsigned char) *cursor->p;
	if (cursor->end - cursor->p < 2 || cursor->p[1] == '\0' ||
		(found = strchr(escapes, cursor->p[1])) == NULL)
		return -1;
	*width = 2;
	return (unsigned char) escaped[found - escapes];
}

static int
peek(const Cursor *cursor)
{
	int			width;

	return peek_width(cursor, &width);
}

static int
next(Cursor *cursor)
{
	int			width;
	int			c = peek_width(cursor, &width);

	if (c >= 0)
		cursor->p += width;
	return c;
}

static void
skip_blanks(Cursor *cursor)
{
	int			c;

	while ((c = peek(cursor)) == ' ' || c == '\t' || c == '\n' || c == '\r')
		(void) next(cursor);
}

static bool
is_name_char(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* A name, dots and hyphens allowed after the first character. */
static Slice
read_name(Cursor *cursor)
{
	StringInfoData name;

	initStringInfo(&name);
	while (is_name_char(peek(cursor)) ||
		   (name.len > 0 && (peek(cursor) == '.' || peek(cursor) == '-')))
		appendStringInfoChar(&name, next(cursor));
	return slice(name.data, name.len);
}

static bool
read_argument(Cursor *cursor, Slice *argument)
{
	StringInfoData text;
	int			quote = peek(cursor);
	int			c;

	initStringInfo(&text);
	if (quote == '"' || quote == '\'')
	{
		(void) next(cursor);
		while ((c = next(cursor)) != quote)
		{
			if (c == '\\')
				c = next(cursor);
			if (c < 0)
				return false;
			appendStringInfoChar(&text, c);
		}
	}
	else
	{
		while ((c = peek(cursor)) > ' ' && strchr("|:{}\"'", c) == NULL)
			appendStringInfoChar(&text, next(cursor));
		if (text.len == 0)
			return false;
	}
	*argument = slice(text.data, text.len);
	return true;
}

/* The arguments of a filter whose name was read. */
static bool
read_filter(Cursor *cursor, Expression *expression, Slice name, Mistake *error)
{
	Filter	   *filter = palloc0(sizeof(Filter));

	filter->type = filter_find(name);
	if (filter->type == NULL)
		return filter_unknown(name, error);
	if (expression->nfilters == MAX_FILTERS)
		return mistake(error, psprintf("more than %d filters in an expression of a template",
									   MAX_FILTERS), NULL);
	while (peek(cursor) == ':')
	{
		Slice		argument;

		(void) next(cursor);
		if (read_argument(cursor, &argument))
		{
			/* One too many is told by filter_check(). */
			if (filter->nargs < FILTER_MAX_ARGUMENTS)
				filter->args[filter->nargs] = argument;
			filter->nargs++;
		}
		else
			return mistake(error, psprintf("malformed arguments of filter \"%s\" in a template",
										   filter->type->name),
						   psprintf("Write for example {{username | %s}}.", filter->type->example));
	}
	if (!filter_check(filter, error))
		return false;
	expression->filters[expression->nfilters++] = filter;
	return true;
}

static bool
at_end(Cursor *cursor)
{
	Cursor		ahead = *cursor;

	for (int i = 0; i < 2; i++)
	{
		if (next(&ahead) != '}')
			return false;
	}
	*cursor = ahead;
	return true;
}

/* What follows the name or the first filter: more filters, up to the closing braces. */
static bool
read_rest(Cursor *cursor, Expression *expression, Mistake *error)
{
	for (;;)
	{
		skip_blanks(cursor);
		if (at_end(cursor))
			return true;
		if (peek(cursor) != '|')
			return mistake(error, "expression in a template is not closed, or not understood",
						   "Write for example {{username | default:\"somebody\"}}.");
		(void) next(cursor);
		skip_blanks(cursor);
		if (!read_filter(cursor, expression, read_name(cursor), error))
			return false;
	}
}

static bool
unknown_name(Slice name, Mistake *error)
{
	Nearest		nearest;
	const char *known;

	nearest_begin(&nearest, name.data, name.len);
	for (int i = 0; (known = field_variable_name(i)) != NULL; i++)
		nearest_offer(&nearest, known);
	return mistake(error, psprintf("unknown variable \"%s\" in a template", quotable(name.data, name.len)),
				   nearest.best ? psprintf("Did you mean \"%s\"?", nearest.best) :
				   "Fields of the event's data are named like {{data.goal}} or {{data.metadata.goal}}.");
}

/* What is left of {{secret.name}} behind its name. */
static bool
read_secret(Cursor *cursor, Expression *expression, Slice name, Mistake *error)
{
	Slice		own = slice(name.data + strlen(SECRET_PREFIX), name.len - strlen(SECRET_PREFIX));

	if (!secret_is_name(own))
		return mistake(error, psprintf("\"%s\" in a template is no name of a secret",
									   quotable(name.data, name.len)),
					   "Write for example {{secret.api_key}}.");
	if (!at_end(cursor))
		return mistake(error, psprintf("\"%s\" in a template is not closed, or is followed by filters",
									   quotable(name.data, name.len)),
					   "Secrets stand as they are, for example {{secret.api_key}}.");
	expression->secret = pnstrdup(own.data, own.len);
	return true;
}

ExpressionFound
expression_parse(const char *str, const char *end, bool escaped,
				 Expression **result, int *len, Mistake *error)
{
	Cursor		cursor = {str + 2, end, escaped};
	Expression *expression;
	const FilterType *filter;
	Slice		name;
	const char *plain;
	bool		closed = false;

	if (end - str < 4 || str[0] != '{' || str[1] != '{')
		return EXPRESSION_NONE;

	/* What is not even a name costs nothing. */
	plain = cursor.p;
	while (plain < end && (*plain == ' ' || *plain == '\t' || *plain == '\n' || *plain == '\r'))
		plain++;
	if (plain == end || !(is_name_char(*plain) || (escaped && *plain == '\\')))
		return EXPRESSION_NONE;

	skip_blanks(&cursor);
	name = read_name(&cursor);
	if (name.len == 0)
		return EXPRESSION_NONE;

	expression = palloc0(sizeof(Expression));
	expression->filters = palloc(sizeof(Filter *) * MAX_FILTERS);
	filter = filter_find(name);
	if (name.len > strlen(SECRET_PREFIX) && strncmp(name.data, SECRET_PREFIX, strlen(SECRET_PREFIX)) == 0)
	{
		skip_blanks(&cursor);
		if (!read_secret(&cursor, expression, name, error))
			return EXPRESSION_WRONG;
		closed = true;
	}
	else if (peek(&cursor) == ':' && filter != NULL && !filter->needs_value)
	{
		if (!read_filter(&cursor, expression, name, error))
			return EXPRESSION_WRONG;
	}
	else
	{
		skip_blanks(&cursor);
		expression->field = field_compile(name, false);
		if (peek(&cursor) != '|')
		{
			if (expression->field == NULL || !at_end(&cursor))
				return EXPRESSION_NONE;
			closed = true;
		}
		else if (expression->field == NULL)
		{
			(void) unknown_name(name, error);
			return EXPRESSION_WRONG;
		}
	}
	if (!closed && !read_rest(&cursor, expression, error))
		return EXPRESSION_WRONG;

	*result = expression;
	*len = cursor.p - str;
	return EXPRESSION_GOOD;
}

Value
expression_value(const Expression *expression, const Occasion *occasion)
{
	JsonbValue *json = palloc(sizeof(JsonbValue));
	Value		value = {{"", 0}};

	if (expression->secret != NULL)
	{
		const char *secret = secrets_value(occasion->secrets, expression->secret);

		value.text = slice(secret, strlen(secret));
	}
	if (expression->field != NULL && field_value(expression->field, occasion, json))
	{
		value.json = json;
		value.text = json_text(json);
	}
	for (int i = 0; i < expression->nfilters; i++)
	{
		int			before = value.text.len;

		expression->filters[i]->type->apply(expression->filters[i], occasion, &value);
		if (value.text.len > TEMPLATE_MAX_OUTPUT && value.text.len > before)
			break;				/* it will be refused */
	}
	return value;
}

void
expression_number(Expression *expression, int number)
{
	for (int i = 0; i < expression->nfilters; i++)
		expression->filters[i]->salt = 1 + number * MAX_FILTERS + i;
}

bool
expression_is_json(const Expression *expression)
{
	return expression->nfilters > 0 &&
		strcmp(expression->filters[expression->nfilters - 1]->type->name, "json") == 0;
}

bool
expression_is_authors(const Expression *expression)
{
	for (int i = 0; i < expression->nfilters; i++)
	{
		if (expression->filters[i]->type->is_authors)
			return true;
	}
	return false;
}

const char *
expression_secret(const Expression *expression)
{
	return expression->secret;
}

const Field *
expression_field(const Expression *expression)
{
	return expression->field;
}
