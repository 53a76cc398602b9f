/*-------------------------------------------------------------------------
 *
 * field.c
 *		Find values of an event by name.
 *
 * A variable is a row of the table "variables": the fields of the event's
 * data to try in turn, or what else of the event it stands for.  The next
 * field is tried when one is missing, null or false; an empty string is a
 * value.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/uuid.h"

#include "field.h"

#define MAX_PATH 8
#define MAX_FIELDS 3

typedef enum FieldKind
{
	FIELD_FIRST_OF,				/* top-level fields of the data */
	FIELD_PATH,					/* into the data */
	FIELD_PLATFORM,
	FIELD_EVENT_TYPE,
	FIELD_EVENT_ID,
	FIELD_EVENT_TIME,
	FIELD_USER_ID,
	FIELD_HOOK_NAME,
	FIELD_ARGS					/* words of the message after the first */
} FieldKind;

struct Field
{
	const char *name;
	FieldKind	kind;
	int			number;			/* ARGS: which, 0 for all; PATH: elements */
	const char *fields[MAX_FIELDS + 1]; /* FIRST_OF: ends in NULL */
	Slice		path[MAX_PATH];
};

#define FIRST_OF(...) FIELD_FIRST_OF, 0, {__VA_ARGS__}
#define ARG(n) {"arg" #n, FIELD_ARGS, n}

static const Field variables[] = {
	{"username", FIRST_OF("username", "donor_name", "raider_name")},
	{"message", FIRST_OF("message", "comment")},
	{"amount", FIRST_OF("amount")},
	{"currency", FIRST_OF("currency")},
	{"viewer_count", FIRST_OF("viewer_count")},
	{"platform", FIELD_PLATFORM},
	{"event_type", FIELD_EVENT_TYPE},
	{"tier", FIRST_OF("tier")},
	{"months", FIRST_OF("months")},
	{"display_name", FIRST_OF("display_name", "username")},
	{"user_id", FIELD_USER_ID},
	{"args", FIELD_ARGS},
	ARG(1), ARG(2), ARG(3), ARG(4), ARG(5), ARG(6), ARG(7), ARG(8), ARG(9),
	{"event.id", FIELD_EVENT_ID},
	{"event.type", FIELD_EVENT_TYPE},
	{"event.platform", FIELD_PLATFORM},
	{"event.inserted_at", FIELD_EVENT_TIME},
	{"hook.name", FIELD_HOOK_NAME},
};

#define TYPE(name) (1 << TRIGGER_##name)
#define LIFECYCLE (TYPE(STREAM_START) | TYPE(STREAM_END))

/* Which events have the fields that the application documents. */
static const struct
{
	const char *field;
	int			types;
}			known_fields[] = {
	{"username", ~(LIFECYCLE | TYPE(RAID))},
	{"donor_name", TYPE(DONATION)},
	{"raider_name", TYPE(RAID)},
	{"message", ~(LIFECYCLE | TYPE(FOLLOW))},
	{"comment", TYPE(DONATION)},
	{"amount", TYPE(DONATION)},
	{"currency", TYPE(DONATION)},
	{"viewer_count", TYPE(RAID)},
	{"tier", TYPE(SUBSCRIPTION)},
	{"months", TYPE(SUBSCRIPTION)},
	{"display_name", TYPE(FOLLOW)},
};

/* ----------
 * Names
 * ----------
 */

const char *
field_variable_name(int i)
{
	return i < (int) lengthof(variables) ? variables[i].name : NULL;
}

static bool
is_path_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* Split a name at its dots; false when an element is empty or malformed, or there are too many. */
static bool
split_path(Slice name, Field *field)
{
	const char *p = name.data;
	const char *end = name.data + name.len;

	for (;;)
	{
		const char *start = p;

		while (p < end && is_path_char(*p))
			p++;
		if (p == start || field->number == MAX_PATH)
			return false;
		field->path[field->number++] = slice(start, p - start);
		if (p == end)
			return true;
		if (*p++ != '.')
			return false;
	}
}

static bool
slice_is(Slice s, const char *str)
{
	return s.len == (int) strlen(str) && memcmp(s.data, str, s.len) == 0;
}

const Field *
field_compile(Slice name, bool any)
{
	Field	   *field;

	for (int i = 0; i < (int) lengthof(variables); i++)
	{
		if (slice_is(name, variables[i].name))
			return &variables[i];
	}

	field = palloc0(sizeof(Field));
	field->kind = FIELD_PATH;
	field->name = pnstrdup(name.data, name.len);
	if (!split_path(slice(field->name, name.len), field))
		return NULL;
	if (slice_is(field->path[0], "data") && field->number > 1)
	{
		field->number--;
		memmove(&field->path[0], &field->path[1], field->number * sizeof(Slice));
		return field;
	}
	if (slice_is(field->path[0], "event") || slice_is(field->path[0], "hook"))
		return NULL;
	return any ? field : NULL;
}

static bool
type_has(const char *name, TriggerType type)
{
	for (int i = 0; i < (int) lengthof(known_fields); i++)
	{
		if (strcmp(known_fields[i].field, name) == 0)
			return (known_fields[i].types & (1 << type)) != 0;
	}
	return true;
}

const char *
field_name(const Field *field)
{
	return field->name;
}

bool
field_applies(const Field *field, TriggerType type)
{
	switch (field->kind)
	{
		case FIELD_FIRST_OF:
			for (int i = 0; field->fields[i] != NULL; i++)
			{
				if (type_has(field->fields[i], type))
					return true;
			}
			return false;
		case FIELD_PATH:
			return type_has(pnstrdup(field->path[0].data, field->path[0].len), type);
		case FIELD_ARGS:
			return type == TRIGGER_CHAT_MESSAGE;
		default:
			return true;
	}
}

/* ----------
 * Values
 * ----------
 */

static bool
set_string(JsonbValue *value, const char *data, int len)
{
	value->type = jbvString;
	value->val.string.val = unconstify(char *, data);
	value->val.string.len = len;
	return true;
}

static bool
first_of(const Field *field, const Event *event, JsonbValue *value)
{
	for (int i = 0; field->fields[i] != NULL; i++)
	{
		if (event_field(event, field->fields[i], value) &&
			(value->type != jbvBool || value->val.boolean))
			return true;
	}
	return false;
}

/* A place in an array: digits only, and not too many. */
static bool
array_index(Slice text, uint32 *index)
{
	*index = 0;
	for (int i = 0; i < text.len; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9' || i > 6)
			return false;
		*index = *index * 10 + (text.data[i] - '0');
	}
	return true;
}

static bool
follow_path(const Field *field, const Event *event, JsonbValue *value)
{
	JsonbContainer *container = event->data;

	value->type = jbvNull;
	for (int i = 0; i < field->number; i++)
	{
		uint32		index;

		if (i > 0)
		{
			if (value->type != jbvBinary)
				return false;
			container = value->val.binary.data;
		}
		if (container == NULL)
			return false;
		if (JsonContainerIsObject(container))
		{
			if (getKeyJsonValueFromContainer(container, field->path[i].data, field->path[i].len,
											 value) == NULL)
				return false;
		}
		else
		{
			JsonbValue *element;

			if (!JsonContainerIsArray(container) || !array_index(field->path[i], &index))
				return false;
			element = getIthJsonbValueFromContainer(container, index);
			if (element == NULL)
				return false;
			*value = *element;
		}
	}
	return value->type != jbvNull;
}

static inline bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The words of a chat message after the first: all of them, or one. */
static bool
find_args(const Field *field, const Event *event, JsonbValue *value)
{
	const char *p;
	const char *end;
	const char *start;

	if (!first_of(&variables[1], event, value) || value->type != jbvString)
		return false;
	p = value->val.string.val;
	end = p + value->val.string.len;
	while (end > p && is_blank(end[-1]))
		end--;
	for (int word = 0;; word++)
	{
		while (p < end && is_blank(*p))
			p++;
		start = p;
		while (p < end && !is_blank(*p))
			p++;
		if (start == end)
			return false;
		if (word > 0 && field->number == 0)
			return set_string(value, start, end - start);
		if (word > 0 && word == field->number)
			return set_string(value, start, p - start);
	}
}

static bool
set_uuid(JsonbValue *value, const pg_uuid_t *id)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));

	return set_string(value, text, strlen(text));
}

static bool
find_platform(const Event *event, JsonbValue *value)
{
	if (event->platform != NULL)
		return set_string(value, event->platform, strlen(event->platform));

	/* Lifecycle events have no row; their metadata may say it. */
	return (event->type == TRIGGER_STREAM_START || event->type == TRIGGER_STREAM_END) &&
		event_field(event, "platform", value);
}

bool
field_value(const Field *field, const Occasion *occasion, JsonbValue *value)
{
	const Event *event = occasion->event;
	char	   *text;

	switch (field->kind)
	{
		case FIELD_FIRST_OF:
			return first_of(field, event, value);
		case FIELD_PATH:
			return follow_path(field, event, value);
		case FIELD_PLATFORM:
			return find_platform(event, value);
		case FIELD_EVENT_TYPE:
			if ((int) event->type == TRIGGER_TYPE_UNKNOWN)
				return false;
			return set_string(value, trigger_type_name(event->type),
							  strlen(trigger_type_name(event->type)));
		case FIELD_EVENT_ID:
			return set_uuid(value, &event->id);
		case FIELD_USER_ID:
			return set_uuid(value, &event->user_id);
		case FIELD_EVENT_TIME:
			text = event_time_text(event->time);
			return text != NULL && set_string(value, text, strlen(text));
		case FIELD_HOOK_NAME:
			return occasion->hook_name != NULL &&
				set_string(value, occasion->hook_name, strlen(occasion->hook_name));
		case FIELD_ARGS:
			return find_args(field, event, value);
	}
	return false;
}

Slice
json_text(const JsonbValue *value)
{
	char	   *text = "";

	switch (value->type)
	{
		case jbvString:
			return slice(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			break;
		case jbvBinary:
			text = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
			break;
		default:
			break;
	}
	return slice(text, strlen(text));
}

Slice
field_text(const Field *field, const Occasion *occasion)
{
	JsonbValue	value;

	return field_value(field, occasion, &value) ? json_text(&value) : slice("", 0);
}
