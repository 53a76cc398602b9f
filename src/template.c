/*-------------------------------------------------------------------------
 *
 * template.c
 *		Compile templates into segments, and render them for events.
 *
 * A compiled template is an array of segments, each a piece of literal text
 * or a variable.  A variable is a row of the table "variables": the fields of
 * the event's data to try in turn, or what else of the event it stands for.
 * The next field is tried when one is missing, null or false; an empty string
 * is a value.  Values that are not strings are written as JSON: numbers as
 * they stand in jsonb (every digit, no exponent), true, objects and arrays
 * as PostgreSQL writes jsonb.
 *
 * In a JSON template the literal text is followed quote by quote, so that for
 * every variable it is known whether it stands inside a string literal.  A
 * backslash right before a variable would make an escape sequence of whatever
 * a viewer typed first; it is doubled, and stands for itself.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "compat.h"
#include "template.h"

/*
 * The JSON parser recurses, and raises an error where the stack ends.  What
 * is deeper than this is not taken for JSON.
 */
#define MAX_JSON_DEPTH 100

typedef enum VariableKind
{
	VARIABLE_FIELD,				/* a field of the event's data */
	VARIABLE_PLATFORM,
	VARIABLE_EVENT_TYPE
} VariableKind;

#define MAX_FIELDS 3

typedef struct Variable
{
	const char *name;
	VariableKind kind;
	const char *fields[MAX_FIELDS + 1]; /* to try in turn, ends in NULL */
} Variable;

static const Variable variables[] = {
	{"username", VARIABLE_FIELD, {"username", "donor_name", "raider_name"}},
	{"message", VARIABLE_FIELD, {"message", "comment"}},
	{"amount", VARIABLE_FIELD, {"amount"}},
	{"currency", VARIABLE_FIELD, {"currency"}},
	{"viewer_count", VARIABLE_FIELD, {"viewer_count"}},
	{"platform", VARIABLE_PLATFORM, {NULL}},
	{"event_type", VARIABLE_EVENT_TYPE, {NULL}},
};

typedef struct Segment
{
	const Variable *variable;	/* NULL: literal text */
	bool		quoted;			/* variable inside a JSON string literal */
	const char *literal;		/* need not end in NUL */
	int			len;
} Segment;

struct Template
{
	TemplateContext context;
	int			first_variable; /* byte offset, or -1 */
	int			json_depth;		/* of objects and arrays, in a JSON template */
	int			nsegments;
	int			allocated;
	Segment    *segments;
};

/* Some text that need not end in NUL. */
typedef struct Slice
{
	const char *data;
	int			len;
} Slice;

/*
 * Compiling
 */

/* Where in JSON text we are. */
typedef struct JsonPlace
{
	bool		in_string;
	bool		escaped;		/* right behind a backslash */
	int			depth;
	int			max_depth;
} JsonPlace;

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
		}
		else if (*p == '}' || *p == ']')
			place->depth--;
	}
}

static inline bool
is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '_';
}

static const Variable *
find_variable(const char *name, int len)
{
	for (int i = 0; i < (int) lengthof(variables); i++)
	{
		if (strlen(variables[i].name) == (size_t) len &&
			memcmp(variables[i].name, name, len) == 0)
			return &variables[i];
	}
	return NULL;
}

/*
 * The known variable that stands in braces right at "str", or NULL.  *len is the
 * length of it, braces included.
 */
static const Variable *
variable_at(const char *str, const char *end, int *len)
{
	const char *name = str + 2;
	const char *p = name;

	if (end - str < 2 || str[0] != '{' || str[1] != '{')
		return NULL;
	while (p < end && is_name_char(*p))
		p++;
	if (end - p < 2 || p[0] != '}' || p[1] != '}')
		return NULL;
	*len = p + 2 - str;
	return find_variable(name, p - name);
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
add_literal(Template *template, JsonPlace *place, const char *literal, int len)
{
	Segment    *segment;

	if (len == 0)
		return;
	segment = add_segment(template);
	segment->literal = literal;
	segment->len = len;
	if (template->context == TEMPLATE_JSON)
		json_place_advance(place, literal, len);
}

static void
add_variable(Template *template, JsonPlace *place, const Variable *variable)
{
	Segment    *segment;

	if (place->escaped)
		add_literal(template, place, "\\", 1);
	segment = add_segment(template);
	segment->variable = variable;
	segment->quoted = place->in_string;
}

Template *
template_compile(const char *str, int len, TemplateContext context)
{
	Template   *template = palloc0(sizeof(Template));
	char	   *copy = pnstrdup(str, len);
	const char *end;
	const char *literal = copy; /* the first byte not in a segment yet */
	JsonPlace	place = {0};

	len = strlen(copy);
	end = copy + len;
	template->context = context;
	template->first_variable = -1;
	template->allocated = 4;
	template->segments = palloc(template->allocated * sizeof(Segment));

	for (const char *p = copy; p < end; p++)
	{
		const Variable *variable;
		int			variable_len;

		p = memchr(p, '{', end - p);
		if (p == NULL)
			break;
		variable = variable_at(p, end, &variable_len);
		if (variable == NULL)
			continue;

		if (template->first_variable < 0)
			template->first_variable = p - copy;
		add_literal(template, &place, literal, p - literal);
		add_variable(template, &place, variable);
		literal = p + variable_len;
		p = literal - 1;
	}
	add_literal(template, &place, literal, end - literal);
	template->json_depth = place.max_depth;
	return template;
}

int
template_first_variable(const Template *template)
{
	return template->first_variable;
}

/*
 * Blanks around the number keep it a token of its own: 1{{amount}} and
 * -{{amount}} do not make JSON of every value, nor does a variable as a key
 * without quotes.
 */
bool
template_is_json(const char *str, int len)
{
	Template   *template = template_compile(str, len, TEMPLATE_JSON);
	StringInfoData sample;

	if (template->json_depth > MAX_JSON_DEPTH)
		return false;

	initStringInfo(&sample);
	for (int i = 0; i < template->nsegments; i++)
	{
		const Segment *segment = &template->segments[i];

		if (segment->variable == NULL)
			appendBinaryStringInfo(&sample, segment->literal, segment->len);
		else
			appendStringInfoString(&sample, segment->quoted ? "x" : " 0 ");
	}
	return pg_parse_json(MAKE_JSON_LEXER(sample.data, sample.len), &nullSemAction) == JSON_SUCCESS;
}

/*
 * Values
 */

static Slice
slice(const char *data, int len)
{
	Slice		result = {data, len};

	return result;
}

static Slice
string(const char *str)
{
	return slice(str, strlen(str));
}

/* The text of a JSON value.  May allocate in the current memory context. */
static Slice
json_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return slice(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return string(DatumGetCString(DirectFunctionCall1(numeric_out,
															  NumericGetDatum(value->val.numeric))));
		case jbvBool:
			return string(value->val.boolean ? "true" : "false");
		case jbvBinary:
			return string(JsonbToCString(NULL, value->val.binary.data, value->val.binary.len));
		default:
			return string("");
	}
}

static bool
field_text(const Event *event, const char *name, Slice *value)
{
	JsonbValue	field;

	if (!event_field(event, name, &field) ||
		(field.type == jbvBool && !field.val.boolean))
		return false;
	*value = json_text(&field);
	return true;
}

/* What the variable stands for in that event, empty when it has no value. */
static Slice
variable_text(const Variable *variable, const Event *event)
{
	Slice		value;

	switch (variable->kind)
	{
		case VARIABLE_FIELD:
			for (int i = 0; variable->fields[i] != NULL; i++)
			{
				if (field_text(event, variable->fields[i], &value))
					return value;
			}
			break;
		case VARIABLE_PLATFORM:
			if (event->platform != NULL)
				return string(event->platform);
			break;
		case VARIABLE_EVENT_TYPE:
			if ((int) event->type != TRIGGER_TYPE_UNKNOWN)
				return string(trigger_type_name(event->type));
			break;
	}
	return string("");
}

/*
 * Rendering
 */

/* As it stands in a JSON string literal. */
static void
append_json_escaped(StringInfo out, Slice value)
{
	const char *end = value.data + value.len;
	const char *plain = value.data; /* the first byte not appended yet */

	for (const char *p = value.data; p < end; p++)
	{
		unsigned char c = *p;

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(out, plain, p - plain);
		plain = p + 1;
		switch (c)
		{
			case '\b':
				appendStringInfoString(out, "\\b");
				break;
			case '\f':
				appendStringInfoString(out, "\\f");
				break;
			case '\n':
				appendStringInfoString(out, "\\n");
				break;
			case '\r':
				appendStringInfoString(out, "\\r");
				break;
			case '\t':
				appendStringInfoString(out, "\\t");
				break;
			case '"':
			case '\\':
				appendStringInfoChar(out, '\\');
				appendStringInfoChar(out, c);
				break;
			default:
				appendStringInfo(out, "\\u%04x", c);
				break;
		}
	}
	appendBinaryStringInfo(out, plain, end - plain);
}

static void
append_json(StringInfo out, Slice value, bool quoted)
{
	if (quoted)
		append_json_escaped(out, value);
	else if (value.len > 0 && IsValidJsonNumber(value.data, value.len))
		appendBinaryStringInfo(out, value.data, value.len);
	else
	{
		appendStringInfoChar(out, '"');
		append_json_escaped(out, value);
		appendStringInfoChar(out, '"');
	}
}

static void
append_url_encoded(StringInfo out, Slice value)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const char *p = value.data; p < value.data + value.len; p++)
	{
		unsigned char c = *p;

		if (is_name_char(c) || c == '-' || c == '.' || c == '~')
			appendStringInfoChar(out, c);
		else
		{
			appendStringInfoChar(out, '%');
			appendStringInfoChar(out, hex[c >> 4]);
			appendStringInfoChar(out, hex[c & 0xF]);
		}
	}
}

void
template_render(const Template *template, const Event *event, StringInfo out)
{
	for (int i = 0; i < template->nsegments; i++)
	{
		const Segment *segment = &template->segments[i];
		Slice		value;

		if (out->len > TEMPLATE_MAX_OUTPUT)
			return;				/* the caller refuses it */
		if (segment->variable == NULL)
		{
			appendBinaryStringInfo(out, segment->literal, segment->len);
			continue;
		}
		value = variable_text(segment->variable, event);
		switch (template->context)
		{
			case TEMPLATE_TEXT:
				appendBinaryStringInfo(out, value.data, value.len);
				break;
			case TEMPLATE_JSON:
				append_json(out, value, segment->quoted);
				break;
			case TEMPLATE_URL:
				append_url_encoded(out, value);
				break;
		}
	}
}

static void
append_variable(StringInfo out, const char *name, const Event *event)
{
	Slice		value = variable_text(find_variable(name, strlen(name)), event);

	appendBinaryStringInfo(out, value.data, value.len);
}

void
event_username(const Event *event, StringInfo out)
{
	append_variable(out, "username", event);
}

void
event_message(const Event *event, StringInfo out)
{
	append_variable(out, "message", event);
}

void
event_text(const Event *event, const char *name, StringInfo out)
{
	Slice		value;

	if (field_text(event, name, &value))
		appendBinaryStringInfo(out, value.data, value.len);
}
