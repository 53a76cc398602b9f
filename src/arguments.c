/*-------------------------------------------------------------------------
 *
 * arguments.c
 *		Arguments of SQL functions → hooks' and events' parts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "arguments.h"

static void
unknown_type(const char *name, int len)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown trigger type \"%.*s\"", len, name),
			 errhint("Trigger types are %s.", TRIGGER_TYPE_NAMES)));
}

TriggerType
argument_trigger_type(const text *name)
{
	int			type;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("trigger type must not be null"),
				 errhint("Trigger types are %s.", TRIGGER_TYPE_NAMES)));
	type = trigger_type_parse(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	if (type == TRIGGER_TYPE_UNKNOWN)
		unknown_type(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	return type;
}

/* A string at the top level. */
static bool
string_field(const Event *event, const char *name, char **text)
{
	JsonbValue	value;

	if (!event_field(event, name, &value) || value.type != jbvString)
		return false;
	*text = pnstrdup(value.val.string.val, value.val.string.len);
	return true;
}

static bool
uuid_field(const Event *event, const char *name, pg_uuid_t *id)
{
	char	   *text;

	if (!string_field(event, name, &text) || strlen(text) != 36 ||
		strspn(text, "0123456789abcdefABCDEF-") != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		if ((text[i] == '-') != (i == 8 || i == 13 || i == 18 || i == 23))
			return false;
	}
	*id = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(text)));
	return true;
}

void
argument_event(Jsonb *row, bool check_type, Event *event)
{
	JsonbValue	value;
	char	   *text;

	memset(event, 0, sizeof(*event));
	event->type = (TriggerType) TRIGGER_TYPE_UNKNOWN;
	event->time = DT_NOBEGIN;
	event->data = &row->root;

	(void) uuid_field(event, "id", &event->id);
	(void) uuid_field(event, "user_id", &event->user_id);
	if (string_field(event, "platform", &text))
		event->platform = text;
	if (string_field(event, "inserted_at", &text) &&
		!event_time_parse(text, strlen(text), &event->time))
		event->time = DT_NOBEGIN;
	if (check_type && event_field(event, "type", &value))
	{
		if (value.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("type of an event must be a string"),
					 errhint("Trigger types are %s.", TRIGGER_TYPE_NAMES)));
		event->type = argument_trigger_type(cstring_to_text_with_len(value.val.string.val,
																	 value.val.string.len));
	}
	if (event_field(event, "data", &value) && value.type == jbvBinary &&
		JsonContainerIsObject(value.val.binary.data))
		event->data = value.val.binary.data;
}

void
argument_mistake(const Mistake *error)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", error->message),
			 error->hint ? errhint("%s", error->hint) : 0));
}
