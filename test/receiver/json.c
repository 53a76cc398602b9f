/*-------------------------------------------------------------------------
 *
 * json.c
 *		JSON that the receiver's services are sent, as a tree.  See json.h.
 *
 *-------------------------------------------------------------------------
 */
#include "json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

typedef struct Parser
{
	const char *p;
	const char *end;
	int			depth;
} Parser;

static Json *parse_value(Parser *parser);

static void
skip_blanks(Parser *parser)
{
	while (parser->p < parser->end && strchr(" \t\r\n", *parser->p) != NULL && *parser->p != '\0')
		parser->p++;
}

static bool
take(Parser *parser, char c)
{
	skip_blanks(parser);
	if (parser->p == parser->end || *parser->p != c)
		return false;
	parser->p++;
	return true;
}

static Json *
make(JsonKind kind)
{
	Json	   *json = calloc(1, sizeof(Json));

	if (json == NULL)
		abort();
	json->kind = kind;
	return json;
}

static bool
hex4(Parser *parser, unsigned *value)
{
	*value = 0;
	if (parser->end - parser->p < 4)
		return false;
	for (int i = 0; i < 4; i++)
	{
		char		c = *parser->p++;
		int			digit;

		if (c >= '0' && c <= '9')
			digit = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (c | 0x20) - 'a' + 10;
		else
			return false;
		*value = *value * 16 + digit;
	}
	return true;
}

static void
put_utf8(Buffer *b, unsigned c)
{
	char		bytes[4];
	int			n = 0;

	if (c < 0x80)
		bytes[n++] = (char) c;
	else if (c < 0x800)
	{
		bytes[n++] = (char) (0xC0 | c >> 6);
		bytes[n++] = (char) (0x80 | (c & 0x3F));
	}
	else if (c < 0x10000)
	{
		bytes[n++] = (char) (0xE0 | c >> 12);
		bytes[n++] = (char) (0x80 | (c >> 6 & 0x3F));
		bytes[n++] = (char) (0x80 | (c & 0x3F));
	}
	else
	{
		bytes[n++] = (char) (0xF0 | c >> 18);
		bytes[n++] = (char) (0x80 | (c >> 12 & 0x3F));
		bytes[n++] = (char) (0x80 | (c >> 6 & 0x3F));
		bytes[n++] = (char) (0x80 | (c & 0x3F));
	}
	buffer_add(b, bytes, n);
}

/* What follows a backslash. */
static bool
parse_escape(Parser *parser, Buffer *b)
{
	static const char names[] = "\"\\/bfnrt";
	static const char values[] = "\"\\/\b\f\n\r\t";
	const char *found;
	unsigned	c;
	unsigned	low;

	if (parser->p == parser->end)
		return false;
	if (*parser->p != 'u')
	{
		found = *parser->p ? strchr(names, *parser->p++) : NULL;
		if (found != NULL)
			buffer_add(b, &values[found - names], 1);
		return found != NULL;
	}
	parser->p++;
	if (!hex4(parser, &c) || c == 0 || (c >= 0xDC00 && c <= 0xDFFF))
		return false;
	if (c >= 0xD800 && c <= 0xDBFF)
	{
		if (parser->end - parser->p < 2 || parser->p[0] != '\\' || parser->p[1] != 'u')
			return false;
		parser->p += 2;
		if (!hex4(parser, &low) || low < 0xDC00 || low > 0xDFFF)
			return false;
		c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
	}
	put_utf8(b, c);
	return true;
}

/* A string behind its first quote, malloc'd; NULL when it is malformed. */
static char *
parse_text(Parser *parser)
{
	Buffer		b = {0};

	while (parser->p < parser->end && *parser->p != '"')
	{
		unsigned char c = *parser->p++;

		if (c < ' ' || (c == '\\' && !parse_escape(parser, &b)))
		{
			free(b.data);
			return NULL;
		}
		if (c != '\\')
			buffer_add(&b, &c, 1);
	}
	if (parser->p == parser->end)
	{
		free(b.data);
		return NULL;
	}
	parser->p++;
	buffer_add(&b, "", 1);
	return b.data;
}

static size_t
count_chars(const char *text)
{
	size_t		n = 0;

	for (; *text; text++)
		n += ((unsigned char) *text & 0xC0) != 0x80;
	return n;
}

static Json *
parse_string(Parser *parser)
{
	char	   *text = parse_text(parser);
	Json	   *json;

	if (text == NULL)
		return NULL;
	json = make(JSON_STRING);
	json->text = text;
	json->chars = count_chars(text);
	return json;
}

static Json *
parse_number(Parser *parser)
{
	const char *start = parser->p;
	char	   *number_end;
	Json	   *json;

	while (parser->p < parser->end && *parser->p && strchr("+-.eE0123456789", *parser->p) != NULL)
		parser->p++;
	if (parser->p == start)
		return NULL;
	json = make(JSON_NUMBER);
	json->text = strndup(start, parser->p - start);
	json->number = strtod(json->text, &number_end);
	if (*number_end == '\0')
		return json;
	json_free(json);
	return NULL;
}

static Json *
parse_word(Parser *parser)
{
	static const char *const words[] = {
		[JSON_NULL] = "null",[JSON_FALSE] = "false",[JSON_TRUE] = "true"
	};

	for (int i = JSON_NULL; i <= JSON_TRUE; i++)
	{
		size_t		len = strlen(words[i]);

		if ((size_t) (parser->end - parser->p) >= len && memcmp(parser->p, words[i], len) == 0)
		{
			parser->p += len;
			return make((JsonKind) i);
		}
	}
	return NULL;
}

/* What is in a list or object, behind its bracket. */
static Json *
parse_members(Parser *parser, JsonKind kind, char close)
{
	Json	   *json = make(kind);
	Json	  **tail = &json->first;

	if (take(parser, close))
		return json;
	do
	{
		char	   *name = NULL;
		bool		good = true;

		if (kind == JSON_OBJECT)
		{
			good = take(parser, '"') && (name = parse_text(parser)) != NULL && take(parser, ':');
			for (Json *other = json->first; good && other != NULL; other = other->next)
				good = strcmp(other->name, name) != 0;
		}
		if (!good || (*tail = parse_value(parser)) == NULL)
		{
			free(name);
			json_free(json);
			return NULL;
		}
		(*tail)->name = name;
		tail = &(*tail)->next;
	} while (take(parser, ','));
	if (take(parser, close))
		return json;
	json_free(json);
	return NULL;
}

static Json *
parse_value(Parser *parser)
{
	Json	   *json = NULL;

	skip_blanks(parser);
	if (parser->p == parser->end || parser->depth == MAX_DEPTH)
		return NULL;
	parser->depth++;
	if (take(parser, '{'))
		json = parse_members(parser, JSON_OBJECT, '}');
	else if (take(parser, '['))
		json = parse_members(parser, JSON_LIST, ']');
	else if (take(parser, '"'))
		json = parse_string(parser);
	else if (strchr("ntf", *parser->p) != NULL)
		json = parse_word(parser);
	else
		json = parse_number(parser);
	parser->depth--;
	return json;
}

Json *
json_parse(Slice text)
{
	Parser		parser = {text.data, text.data + text.len, 0};
	Json	   *json = parse_value(&parser);

	skip_blanks(&parser);
	if (json == NULL || parser.p == parser.end)
		return json;
	json_free(json);
	return NULL;
}

void
json_free(Json *json)
{
	while (json != NULL)
	{
		Json	   *next = json->next;

		json_free(json->first);
		free(json->text);
		free(json->name);
		free(json);
		json = next;
	}
}

Json *
json_get(const Json *object, const char *name)
{
	if (object == NULL || object->kind != JSON_OBJECT)
		return NULL;
	for (Json *member = object->first; member != NULL; member = member->next)
	{
		if (strcmp(member->name, name) == 0)
			return member->kind == JSON_NULL ? NULL : member;
	}
	return NULL;
}

size_t
json_count(const Json *list)
{
	size_t		n = 0;

	for (Json *item = list ? list->first : NULL; item != NULL; item = item->next)
		n++;
	return n;
}

void
json_add_string(Buffer *b, const char *text)
{
	buffer_add(b, "\"", 1);
	for (; *text; text++)
	{
		unsigned char c = *text;

		if (c < ' ' || c == '"' || c == '\\')
			buffer_printf(b, "\\u%04x", c);
		else
			buffer_add(b, text, 1);
	}
	buffer_add(b, "\"", 1);
}
