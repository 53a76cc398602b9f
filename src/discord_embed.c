/*-------------------------------------------------------------------------
 *
 * discord_embed.c
 *		The embeds of a Discord message.  See discord_embed.h.
 *
 * What an embed is made of is a row each in the table "parts".  Discord refuses
 * a whole message for one text that is too long or empty, so what templates
 * render is cut to its limits, and what renders empty is left out, with all
 * that cannot be without it.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "discord_embed.h"
#include "markdown.h"
#include "url.h"

#define MAX_EMBEDS 10
#define MAX_FIELDS 25
#define MAX_TOTAL 6000			/* of all texts in a message's embeds */
#define MAX_COLOR 0xFFFFFF
#define MAX_URL 2048
#define MAX_CONFIG (16 * 1024)

#define EXAMPLE "{\"embeds\": [{\"title\": \"{{username}} is live\", " \
	"\"url\": \"https://example.com/{{username}}\"}]}"

/* How Discord takes a part. */
typedef enum PartKind
{
	PART_MARKDOWN,
	PART_PLAIN,					/* shown as it is */
	PART_LINK,
	PART_TIME
} PartKind;

enum
{
	TITLE,
	DESCRIPTION,
	URL,
	TIMESTAMP,
	AUTHOR_NAME,
	AUTHOR_URL,
	AUTHOR_ICON,
	FOOTER_TEXT,
	FOOTER_ICON,
	IMAGE,
	THUMBNAIL,
	PARTS
};

/* The first one of an object is what it cannot be without, or can be instead. */
static const struct
{
	const char *object;			/* NULL: the embed itself */
	const char *key;
	PartKind	kind;
	int			limit;			/* code points */
}			parts[PARTS] =
{
	[TITLE] = {NULL, "title", PART_MARKDOWN, 256},
	[DESCRIPTION] = {NULL, "description", PART_MARKDOWN, 4096},
	[URL] = {NULL, "url", PART_LINK, MAX_URL},
	[TIMESTAMP] = {NULL, "timestamp", PART_TIME, 64},
	[AUTHOR_NAME] = {"author", "name", PART_PLAIN, 256},
	[AUTHOR_URL] = {"author", "url", PART_LINK, MAX_URL},
	[AUTHOR_ICON] = {"author", "icon_url", PART_LINK, MAX_URL},
	[FOOTER_TEXT] = {"footer", "text", PART_PLAIN, 2048},
	[FOOTER_ICON] = {"footer", "icon_url", PART_LINK, MAX_URL},
	[IMAGE] = {"image", "url", PART_LINK, MAX_URL},
	[THUMBNAIL] = {"thumbnail", "url", PART_LINK, MAX_URL},
};

#define MAX_FIELD_NAME 256
#define MAX_FIELD_VALUE 1024

typedef struct EmbedField
{
	Template   *name;
	Template   *value;
	bool		is_inline;
} EmbedField;

typedef struct Embed
{
	Template   *parts[PARTS];	/* NULL: has none */
	int			color;			/* -1: has none */
	int			nfields;
	EmbedField	fields[MAX_FIELDS];
} Embed;

struct DiscordEmbeds
{
	int			n;
	Embed	   *embeds[MAX_EMBEDS];
};

/* ----------
 * Compiling
 * ----------
 */

/* What is being compiled, for messages. */
typedef struct Compiling
{
	TemplateContext texts;
	Mistake    *error;
} Compiling;

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

static bool
is_list(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

static bool
is_key(const JsonbValue *key, const char *name)
{
	return key->val.string.len == (int) strlen(name) &&
		memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

static bool
wrong_type(const char *path, const char *takes, Mistake *error)
{
	return mistake(error, psprintf("\"%s\" in action_config must be %s", path, takes),
				   "For example " EXAMPLE ".");
}

static bool
unknown_key(const char *path, const JsonbValue *key, const char *keys, Mistake *error)
{
	return mistake(error, psprintf("unknown key \"%s\" in \"%s\"",
								   quotable(key->val.string.val, key->val.string.len), path),
				   psprintf("It takes %s.", keys));
}

static Template *
compile_text(const Compiling *compiling, const char *path, const JsonbValue *value,
			 TemplateContext context)
{
	if (value->type != jbvString)
	{
		(void) wrong_type(path, "a string", compiling->error);
		return NULL;
	}
	return template_compile(value->val.string.val, value->val.string.len, context,
							compiling->error);
}

static bool
compile_part(const Compiling *compiling, Embed *embed, int part, const char *path,
			 const JsonbValue *value)
{
	Template   *template;

	if (parts[part].kind == PART_LINK && value->type == jbvString)
		template = discord_url_compile(pnstrdup(value->val.string.val, value->val.string.len), path,
									   false, compiling->error);
	else
		template = compile_text(compiling, path, value, parts[part].kind == PART_MARKDOWN
								? compiling->texts : TEMPLATE_TEXT);
	embed->parts[part] = template;
	return template != NULL;
}

/* The part under a key, of an object or (NULL) the embed itself; -1 for none. */
static int
find_part(const char *object, const JsonbValue *key)
{
	for (int i = 0; i < PARTS; i++)
	{
		if ((object == NULL) == (parts[i].object == NULL) &&
			(object == NULL || strcmp(object, parts[i].object) == 0) &&
			(key == NULL || is_key(key, parts[i].key)))
			return i;
	}
	return -1;
}

static char *
keys_of(const char *object)
{
	StringInfoData keys;

	initStringInfo(&keys);
	for (int i = 0; i < PARTS; i++)
	{
		if (parts[i].object != NULL && strcmp(parts[i].object, object) == 0)
			appendStringInfo(&keys, "%s%s", keys.len > 0 ? ", " : "", parts[i].key);
	}
	return keys.data;
}

/* An author, a footer, an image: an object, or a string that is its first part. */
static bool
compile_object(const Compiling *compiling, Embed *embed, const char *object, const char *path,
			   const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue	key = {0};

	if (value->type == jbvString)
		return compile_part(compiling, embed, find_part(object, NULL), path, value);
	if (!is_object(value))
		return wrong_type(path, "a string or an object", compiling->error);
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		int			part;

		if (token == WJB_KEY)
			key = item;
		if (token != WJB_VALUE)
			continue;
		part = find_part(object, &key);
		if (part < 0)
			return unknown_key(path, &key, keys_of(object), compiling->error);
		if (item.type != jbvNull &&
			!compile_part(compiling, embed, part, psprintf("%s.%s", path, parts[part].key), &item))
			return false;
	}
	return true;
}

static bool
compile_field(const Compiling *compiling, Embed *embed, const char *path, const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue	key = {0};
	EmbedField *field;

	if (!is_object(value))
		return wrong_type(path, "an object", compiling->error);
	if (embed->nfields == MAX_FIELDS)
		return mistake(compiling->error, psprintf("more than %d fields in an embed", MAX_FIELDS), NULL);
	field = &embed->fields[embed->nfields++];
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = item;
		if (token != WJB_VALUE)
			continue;
		if (is_key(&key, "inline"))
		{
			if (item.type != jbvBool)
				return wrong_type(psprintf("%s.inline", path), "true or false", compiling->error);
			field->is_inline = item.val.boolean;
		}
		else if (is_key(&key, "name"))
		{
			field->name = compile_text(compiling, psprintf("%s.name", path), &item, compiling->texts);
			if (field->name == NULL)
				return false;
		}
		else if (is_key(&key, "value"))
		{
			field->value = compile_text(compiling, psprintf("%s.value", path), &item, compiling->texts);
			if (field->value == NULL)
				return false;
		}
		else
			return unknown_key(path, &key, "name, value, inline", compiling->error);
	}
	if (field->name == NULL || field->value == NULL)
		return mistake(compiling->error, psprintf("\"%s\" has no \"%s\"", path,
												  field->name ? "value" : "name"),
					   "A field has both, for example {\"name\": \"Viewers\", \"value\": \"{{viewer_count}}\"}.");
	return true;
}

static bool
compile_fields(const Compiling *compiling, Embed *embed, const char *path, const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	int			n = 0;

	if (!is_list(value))
		return wrong_type(path, "a list of objects", compiling->error);
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM &&
			!compile_field(compiling, embed, psprintf("%s.%d", path, n++), &item))
			return false;
	}
	return true;
}

/* A number, or "#1DA1F2". */
static bool
compile_color(const Compiling *compiling, Embed *embed, const char *path, const JsonbValue *value)
{
	if (value->type == jbvNumeric)
	{
		char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out,
															   NumericGetDatum(value->val.numeric)));

		if (strspn(text, "0123456789") == strlen(text) && strlen(text) <= 8 &&
			atoi(text) <= MAX_COLOR)
		{
			embed->color = atoi(text);
			return true;
		}
	}
	else if (value->type == jbvString && value->val.string.len == 7 && value->val.string.val[0] == '#')
	{
		char	   *digits = pnstrdup(value->val.string.val + 1, 6);

		if (strspn(digits, "0123456789abcdefABCDEF") == 6)
		{
			embed->color = (int) strtol(digits, NULL, 16);
			return true;
		}
	}
	return mistake(compiling->error, psprintf("\"%s\" in action_config is not a color", path),
				   "Write it as \"#1DA1F2\", or as a number from 0 to 16777215.");
}

static bool
compile_embed(const Compiling *compiling, Embed *embed, const char *path, const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue	key = {0};

	if (!is_object(value))
		return wrong_type(path, "an object", compiling->error);
	embed->color = -1;
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		char	   *name;
		char	   *item_path;
		int			part;
		bool		good;

		if (token == WJB_KEY)
			key = item;
		if (token != WJB_VALUE)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		item_path = psprintf("%s.%s", path, name);
		part = find_part(NULL, &key);
		if (part < 0 && find_part(name, NULL) < 0 && strcmp(name, "fields") != 0 &&
			strcmp(name, "color") != 0)
			return unknown_key(path, &key, "title, description, url, color, timestamp, author, footer, "
							   "image, thumbnail, fields", compiling->error);
		if (item.type == jbvNull)
			continue;
		if (part >= 0)
			good = compile_part(compiling, embed, part, item_path, &item);
		else if (strcmp(name, "fields") == 0)
			good = compile_fields(compiling, embed, item_path, &item);
		else if (strcmp(name, "color") == 0)
			good = compile_color(compiling, embed, item_path, &item);
		else
			good = compile_object(compiling, embed, name, item_path, &item);
		if (!good)
			return false;
	}
	return true;
}

DiscordEmbeds *
discord_embeds_compile(const JsonbValue *value, TemplateContext texts, Mistake *error)
{
	DiscordEmbeds *embeds = palloc0(sizeof(DiscordEmbeds));
	Compiling	compiling = {texts, error};
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (!is_list(value))
	{
		(void) wrong_type("embeds", "a list of objects", error);
		return NULL;
	}
	if (value->val.binary.len > MAX_CONFIG)
	{
		(void) mistake(error, psprintf("\"embeds\" is larger than %d bytes", MAX_CONFIG), NULL);
		return NULL;
	}
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (embeds->n == MAX_EMBEDS)
		{
			(void) mistake(error, psprintf("more than %d embeds", MAX_EMBEDS), NULL);
			return NULL;
		}
		embeds->embeds[embeds->n] = palloc0(sizeof(Embed));
		if (!compile_embed(&compiling, embeds->embeds[embeds->n],
						   psprintf("embeds.%d", embeds->n), &item))
			return NULL;
		embeds->n++;
	}
	return embeds;
}

/* ----------
 * Links
 * ----------
 */

static bool
is_link(const char *url, bool https_only)
{
	size_t		scheme;

	if (pg_strncasecmp(url, "https://", 8) == 0)
		scheme = 8;
	else if (!https_only && pg_strncasecmp(url, "http://", 7) == 0)
		scheme = 7;
	else
		return false;
	if (strlen(url) > MAX_URL || url[scheme] == '\0' || strchr("/?#:@", url[scheme]) != NULL)
		return false;
	for (const unsigned char *c = (const unsigned char *) url; *c; c++)
	{
		if (*c <= ' ' || *c == 0x7f || strchr("\"<>\\^`{|}", *c) != NULL)
			return false;
	}
	return true;
}

static char *
rendered(const Template *template, const Occasion *occasion)
{
	StringInfoData text;

	initStringInfo(&text);
	template_render(template, occasion, &text);
	return text.data;
}

Template *
discord_url_compile(const char *text, const char *what, bool https_only, Mistake *error)
{
	static const Event nothing = {.type = TRIGGER_CHAT_MESSAGE};
	static const Occasion nowhere = {.event = &nothing};
	Template   *template = template_compile(text, strlen(text), TEMPLATE_URL, error);
	int			first_variable = template ? template_first_variable(template) : 0;

	if (template == NULL)
		return NULL;
	/* One that is a value is looked at when it is known. */
	if (first_variable == 0)
		return template_compile(text, strlen(text), TEMPLATE_TEXT, error);
	if (first_variable > 0 && first_variable < url_path_offset(text))
	{
		(void) mistake(error, psprintf("URL in \"%s\" has a variable before its path", what),
					   "Variables may stand in the path and the query, or for all of it, for example "
					   "\"https://example.com/{{username}}\" or \"{{data.image}}\".");
		return NULL;
	}
	if (is_link(rendered(template, &nowhere), https_only))
		return template;
	(void) mistake(error, psprintf("\"%s\" in action_config is not a URL of %s", what,
								   https_only ? "https" : "http or https"),
				   "Write it in full, for example \"https://example.com/{{username}}.png\".");
	return NULL;
}

char *
discord_url(const Template *template, const Occasion *occasion, bool https_only)
{
	char	   *url = template ? rendered(template, occasion) : NULL;

	return url != NULL && is_link(url, https_only) ? url : NULL;
}

/* ----------
 * Rendering
 * ----------
 */

char *
discord_text(const Template *template, const Occasion *occasion, int limit)
{
	char	   *text;
	int			length;

	if (template == NULL)
		return NULL;
	text = rendered(template, occasion);
	length = (int) strlen(text);
	text[pg_mbcharcliplen(text, length, limit)] = '\0';
	return markdown_is_blank(slice(text, (int) strlen(text))) ? NULL : text;
}

/* The same, of what is left of the limit for all of them. */
static char *
limited_text(const Template *template, const Occasion *occasion, int limit, int *left)
{
	char	   *text = discord_text(template, occasion, Min(limit, *left));

	if (text != NULL)
		*left -= pg_mbstrlen(text);
	return text;
}

static char *
render_part(const Embed *embed, int part, const Occasion *occasion, int *left)
{
	const Template *template = embed->parts[part];
	char	   *text;
	TimestampTz time;

	if (template == NULL)
		return NULL;
	switch (parts[part].kind)
	{
		case PART_LINK:
			return discord_url(template, occasion, false);
		case PART_TIME:
			text = rendered(template, occasion);
			if (!event_time_parse(text, (int) strlen(text), &time))
				return NULL;
			return event_time_text(time);
		case PART_MARKDOWN:
		case PART_PLAIN:
			return limited_text(template, occasion, parts[part].limit, left);
	}
	pg_unreachable();
}

/* Begin a member of an object. */
static void
add_key(StringInfo out, const char *key)
{
	if (out->data[out->len - 1] != '{')
		appendStringInfoChar(out, ',');
	appendStringInfo(out, "\"%s\":", key);
}

static void
add_string(StringInfo out, const char *key, const char *value)
{
	add_key(out, key);
	escape_json(out, value);
}

/* The embed's own parts, or those of an object that has its first one; true when there is any. */
static bool
add_parts(StringInfo out, const char *object, char *const *texts)
{
	int			first = find_part(object, NULL);
	bool		any = false;

	if (object != NULL && texts[first] == NULL)
		return false;
	if (object != NULL)
	{
		add_key(out, object);
		appendStringInfoChar(out, '{');
	}
	for (int i = first; i < PARTS; i++)
	{
		if ((object == NULL) != (parts[i].object == NULL) ||
			(object != NULL && strcmp(object, parts[i].object) != 0) || texts[i] == NULL)
			continue;
		add_string(out, parts[i].key, texts[i]);
		any |= i != URL && i != TIMESTAMP;
	}
	if (object != NULL)
		appendStringInfoChar(out, '}');
	return any;
}

/* A field needs a name and a value; true when there is one with both. */
static bool
add_fields(StringInfo out, const Embed *embed, const Occasion *occasion, int *left)
{
	int			n = 0;

	for (int i = 0; i < embed->nfields; i++)
	{
		const EmbedField *field = &embed->fields[i];
		int			before = *left;
		char	   *name = limited_text(field->name, occasion, MAX_FIELD_NAME, left);
		char	   *value = limited_text(field->value, occasion, MAX_FIELD_VALUE, left);

		if (name == NULL || value == NULL)
		{
			*left = before;
			continue;
		}
		if (n++ == 0)
		{
			add_key(out, "fields");
			appendStringInfoChar(out, '[');
		}
		else
			appendStringInfoChar(out, ',');
		appendStringInfoChar(out, '{');
		add_string(out, "name", name);
		add_string(out, "value", value);
		if (field->is_inline)
			appendStringInfoString(out, ",\"inline\":true");
		appendStringInfoChar(out, '}');
	}
	if (n > 0)
		appendStringInfoChar(out, ']');
	return n > 0;
}

/* Append an embed; false, with nothing appended, when it would be empty. */
static bool
render_embed(const Embed *embed, const Occasion *occasion, StringInfo out, int *left)
{
	static const char *const objects[] = {NULL, "author", "footer", "image", "thumbnail"};
	char	   *texts[PARTS];
	int			begin = out->len;
	bool		any = false;

	for (int i = 0; i < PARTS; i++)
		texts[i] = render_part(embed, i, occasion, left);
	appendStringInfoChar(out, '{');
	for (size_t i = 0; i < lengthof(objects); i++)
		any |= add_parts(out, objects[i], texts);
	any |= add_fields(out, embed, occasion, left);
	if (embed->color >= 0)
	{
		add_key(out, "color");
		appendStringInfo(out, "%d", embed->color);
	}
	appendStringInfoChar(out, '}');
	if (any)
		return true;
	out->len = begin;
	out->data[begin] = '\0';
	return false;
}

int
discord_embeds_render(const DiscordEmbeds *embeds, const Occasion *occasion, StringInfo out)
{
	int			left = MAX_TOTAL;
	int			n = 0;

	appendStringInfoChar(out, '[');
	for (int i = 0; i < embeds->n; i++)
	{
		int			begin = out->len;

		if (n > 0)
			appendStringInfoChar(out, ',');
		if (render_embed(embeds->embeds[i], occasion, out, &left))
			n++;
		else
		{
			out->len = begin;
			out->data[begin] = '\0';
		}
	}
	appendStringInfoChar(out, ']');
	return n;
}
