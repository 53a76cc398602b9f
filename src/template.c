/*-------------------------------------------------------------------------
 *
 * template.c
 *		Compile templates into segments, and render them for events.
 *
 * A compiled template is an array of segments, each a piece of literal text
 * or an expression (expression.c).
 *
 * In a JSON template the literal text is followed quote by quote, so that for
 * every expression it is known whether it stands inside a string literal.  A
 * backslash right before an expression would make an escape sequence of
 * whatever a viewer typed first; it is doubled, and stands for itself.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"

#include "compat.h"
#include "expression.h"
#include "markdown.h"
#include "template.h"

/*
 * The JSON parser recurses, and raises an error where the stack ends.  What
 * is deeper than this is not taken for JSON.
 */
#define MAX_JSON_DEPTH 100

typedef struct Segment
{
	Expression *expression;		/* NULL: literal text */
	bool		quoted;			/* expression inside a JSON string literal */
	bool		in_url;			/* … or inside an address, in a message */
	const char *literal;		/* need not end in NUL */
	int			len;
} Segment;

struct Template
{
	TemplateContext context;
	int			first_variable; /* byte offset, or -1 */
	int			json_depth;		/* of objects and arrays, in a JSON template */
	int			nexpressions;
	int			nsegments;
	int			allocated;
	Segment    *segments;
};

/* ----------
 * Compiling
 * ----------
 */

/* Where in JSON text we are. */
typedef struct JsonPlace
{
	bool		in_string;
	bool		escaped;		/* right behind a backslash */
	int			depth;
	int			max_depth;
	bool		is_object[MAX_JSON_DEPTH + 1];	/* what stands at each depth */
	bool		at_key;			/* the next, or this, string is a key */
} JsonPlace;

static bool
in_object(const JsonPlace *place)
{
	return place->depth > 0 && place->depth <= MAX_JSON_DEPTH && place->is_object[place->depth];
}

static void
json_place_advance(JsonPlace *place, const char *str, int len)
{
	for (const char *p = str; p < str + len; p++)
	{
		if (place->escaped)
			place->escaped = false;
		else if (*p == '"')
			place->in_string = !place->in_string;
		else if (place->in_string)
			place->escaped = (*p == '\\');
		else if (*p == '{' || *p == '[')
		{
			place->depth++;
			place->max_depth = Max(place->max_depth, place->depth);
			if (place->depth <= MAX_JSON_DEPTH)
				place->is_object[place->depth] = *p == '{';
			place->at_key = *p == '{';
		}
		else if (*p == '}' || *p == ']')
		{
			place->depth = Max(place->depth - 1, 0);
			place->at_key = false;
		}
		else if (*p == ',')
			place->at_key = in_object(place);
		else if (*p == ':')
			place->at_key = false;
	}
}

static Template *
make_template(TemplateContext context)
{
	Template   *template = palloc0(sizeof(Template));

	template->context = context;
	template->first_variable = -1;
	template->allocated = 4;
	template->segments = palloc(template->allocated * sizeof(Segment));
	return template;
}

static Segment *
add_segment(Template *template)
{
	if (template->nsegments == template->allocated)
	{
		template->allocated *= 2;
		template->segments = repalloc(template->segments,
									  template->allocated * sizeof(Segment));
	}
	return memset(&template->segments[template->nsegments++], 0, sizeof(Segment));
}

static void
add_literal(Template *template, const char *literal, int len)
{
	Segment    *segment;

	if (len == 0)
		return;
	segment = add_segment(template);
	segment->literal = literal;
	segment->len = len;
}

/* Secrets go where the hook's author sends them only, and where nobody else reads them. */
static bool
check_secret(const Expression *expression, Secrets *secrets, Mistake *error)
{
	const char *name = expression_secret(expression);

	if (name == NULL)
		return true;
	if (secrets == NULL)
		return mistake(error, psprintf("secret \"%s\" in a text", name),
					   "Secrets may stand in the URL and in headers of a webhook only, for example "
					   "{\"headers\": {\"X-Api-Key\": \"{{secret.api_key}}\"}}.");
	return secrets_add(secrets, name, error);
}

static void
add_expression(Template *template, Expression *expression, bool quoted)
{
	Segment    *segment = add_segment(template);

	segment->expression = expression;
	segment->quoted = quoted;
	expression_number(expression, template->nexpressions++);
}

/*
 * The next expression at or after "p", and where it begins; false with a NULL
 * *expression at the end of the text, false with *error filled in for a wrong
 * one.  "place", if not NULL, is moved up to it.
 */
static bool
find_expression(const char **p, const char *end, JsonPlace *place, Expression **expression,
				int *len, Mistake *error)
{
	const char *from = *p;

	*expression = NULL;
	error->message = NULL;
	for (;;)
	{
		const char *brace = memchr(*p, '{', end - *p);

		if (brace == NULL)
			brace = end;
		if (place != NULL)
			json_place_advance(place, from, brace - from);
		*p = from = brace;
		if (brace == end)
			return false;
		switch (expression_parse(brace, end, place != NULL && place->in_string,
								 expression, len, error))
		{
			case EXPRESSION_GOOD:
				return true;
			case EXPRESSION_WRONG:
				return false;
			case EXPRESSION_NONE:
				(*p)++;
				break;
		}
	}
}

static Template *
compile(const char *str, int len, TemplateContext context, Secrets *secrets, bool allow_keys,
		Mistake *error)
{
	Template   *template = make_template(context);
	const char *copy = pnstrdup(str, len);
	const char *end = copy + strlen(copy);
	const char *literal = copy; /* the first byte not in a segment yet */
	const char *p = copy;
	JsonPlace	place = {0};
	JsonPlace  *json = context == TEMPLATE_JSON ? &place : NULL;
	bool		in_url = false;
	Expression *expression;
	int			expression_len;

	while (find_expression(&p, end, json, &expression, &expression_len, error))
	{
		if (!check_secret(expression, secrets, error))
			return NULL;
		if (json && place.in_string && place.at_key && !allow_keys)
		{
			(void) mistake(error, "variable in a key of a JSON object",
						   "Variables may stand in values, for example {\"user\": \"{{username}}\"}.");
			return NULL;
		}
		if (template->first_variable < 0)
			template->first_variable = p - copy;
		add_literal(template, literal, p - literal);
		if (place.escaped)
		{
			add_literal(template, "\\", 1);
			place.escaped = false;
		}
		in_url = markdown_in_url(in_url, slice(literal, p - literal));
		add_expression(template, expression, place.in_string);
		template->segments[template->nsegments - 1].in_url = in_url;
		p += expression_len;
		literal = p;
	}
	if (error->message != NULL)
		return NULL;
	add_literal(template, literal, end - literal);
	template->json_depth = place.max_depth;
	return template;
}

Template *
template_compile(const char *str, int len, TemplateContext context, Mistake *error)
{
	return compile(str, len, context, NULL, false, error);
}

Template *
template_compile_with_secrets(const char *str, int len, TemplateContext context, Secrets *secrets,
							  Mistake *error)
{
	return compile(str, len, context, secrets, false, error);
}

/* Literal text of a JSON string. */
static void
add_escaped_literal(Template *template, const char *literal, int len)
{
	StringInfoData text;

	if (len == 0)
		return;
	initStringInfo(&text);
	append_json_escaped(&text, slice(literal, len));
	add_literal(template, text.data, text.len);
}

/* A string of JSON whose text is a template. */
static bool
add_json_string(Template *template, Slice string, Mistake *error)
{
	const char *p = pnstrdup(string.data, string.len);
	const char *start = p;
	const char *end = p + string.len;
	const char *literal = p;
	Expression *expression;
	int			len;
	bool		quoted = false;

	while (find_expression(&p, end, NULL, &expression, &len, error))
	{
		if (!check_secret(expression, NULL, error))
			return false;
		if (p == start && p + len == end && expression_is_json(expression))
		{
			add_expression(template, expression, false);
			return true;
		}
		if (!quoted)
			add_literal(template, "\"", 1);
		quoted = true;
		add_escaped_literal(template, literal, p - literal);
		add_expression(template, expression, true);
		p += len;
		literal = p;
	}
	if (error->message != NULL)
		return false;
	if (!quoted)
		add_literal(template, "\"", 1);
	add_escaped_literal(template, literal, end - literal);
	add_literal(template, "\"", 1);
	return true;
}

static void
add_json_scalar(Template *template, const JsonbValue *value)
{
	Slice		text = value->type == jbvNull ? slice("null", 4) : json_text(value);

	add_literal(template, text.data, text.len);
}

Template *
template_compile_json(const JsonbContainer *json, Mistake *error)
{
	Template   *template = make_template(TEMPLATE_JSON);
	JsonbIterator *iterator = JsonbIteratorInit(unconstify(JsonbContainer *, json));
	JsonbIteratorToken token;
	JsonbIteratorToken previous = WJB_BEGIN_ARRAY;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		bool		ends = token == WJB_END_ARRAY || token == WJB_END_OBJECT;

		if (previous != WJB_BEGIN_ARRAY && previous != WJB_BEGIN_OBJECT && previous != WJB_KEY && !ends)
			add_literal(template, ",", 1);
		switch (token)
		{
			case WJB_BEGIN_OBJECT:
				add_literal(template, "{", 1);
				break;
			case WJB_END_OBJECT:
				add_literal(template, "}", 1);
				break;
			case WJB_BEGIN_ARRAY:
				add_literal(template, "[", 1);
				break;
			case WJB_END_ARRAY:
				add_literal(template, "]", 1);
				break;
			case WJB_KEY:
				add_literal(template, "\"", 1);
				add_escaped_literal(template, value.val.string.val, value.val.string.len);
				add_literal(template, "\":", 2);
				break;
			default:
				if (value.type != jbvString)
					add_json_scalar(template, &value);
				else if (!add_json_string(template, slice(value.val.string.val, value.val.string.len),
										  error))
					return NULL;
				break;
		}
		previous = token;
	}
	return template;
}

int
template_first_variable(const Template *template)
{
	return template->first_variable;
}

bool
template_field(const Template *template, int n, const Field **field)
{
	for (int i = 0; i < template->nsegments; i++)
	{
		const Expression *expression = template->segments[i].expression;

		if (expression == NULL || n-- > 0)
			continue;
		*field = expression_field(expression);
		return true;
	}
	return false;
}

/*
 * Blanks around the number keep it a token of its own: 1{{amount}} and
 * -{{amount}} do not make JSON of every value, nor does a variable as a key
 * without quotes.
 */
bool
template_is_json(const char *str, int len)
{
	Mistake		error;
	Template   *template = compile(str, len, TEMPLATE_JSON, NULL, true, &error);
	StringInfoData sample;

	/* What is wrong with it is said where it is compiled for good. */
	if (template == NULL || template->json_depth > MAX_JSON_DEPTH)
		return false;

	initStringInfo(&sample);
	for (int i = 0; i < template->nsegments; i++)
	{
		const Segment *segment = &template->segments[i];

		if (segment->expression == NULL)
			appendBinaryStringInfo(&sample, segment->literal, segment->len);
		else
			appendStringInfoString(&sample, segment->quoted ? "x" : " 0 ");
	}
	return pg_parse_json(MAKE_JSON_LEXER(sample.data, sample.len), &nullSemAction) == JSON_SUCCESS;
}

/* ----------
 * Rendering
 * ----------
 */

static void
append_json(StringInfo out, const Value *value, bool quoted)
{
	if (quoted)
		append_json_escaped(out, value->text);
	else if (value->is_json || is_json_number(value->text))
		appendBinaryStringInfo(out, value->text.data, value->text.len);
	else
	{
		appendStringInfoChar(out, '"');
		append_json_escaped(out, value->text);
		appendStringInfoChar(out, '"');
	}
}

/* A value in a message: nobody's markdown but the hook's own. */
static void
append_message(StringInfo out, const Segment *segment, Slice text, bool pings)
{
	if (expression_is_authors(segment->expression))
		appendBinaryStringInfo(out, text.data, text.len);
	else if (segment->in_url)
		append_url_encoded(out, text);
	else
		append_markdown_escaped(out, text, pings);
}

void
template_render(const Template *template, const Occasion *occasion, StringInfo out)
{
	for (int i = 0; i < template->nsegments; i++)
	{
		const Segment *segment = &template->segments[i];
		Value		value;

		if (out->len > TEMPLATE_MAX_OUTPUT)
			return;				/* the caller refuses it */
		if (segment->expression == NULL)
		{
			appendBinaryStringInfo(out, segment->literal, segment->len);
			continue;
		}
		value = expression_value(segment->expression, occasion);
		switch (template->context)
		{
			case TEMPLATE_TEXT:
				appendBinaryStringInfo(out, value.text.data, value.text.len);
				break;
			case TEMPLATE_JSON:
				append_json(out, &value, segment->quoted);
				break;
			case TEMPLATE_URL:
				if (expression_secret(segment->expression) != NULL && occasion->secrets == NULL)
					appendStringInfoString(out, SECRET_MASK);
				else
					append_url_encoded(out, value.text);
				break;
			case TEMPLATE_HTML:
				append_html_escaped(out, value.text);
				break;
			case TEMPLATE_DISCORD:
				append_message(out, segment, value.text, false);
				break;
			case TEMPLATE_DISCORD_PINGS:
				append_message(out, segment, value.text, true);
				break;
		}
	}
}
