/*-------------------------------------------------------------------------
 *
 * functions.c
 *		The pure parts of the extension as SQL functions: a thin wrapper each.
 *
 * What is malformed raises an error here; an event never does, whatever it
 * contains, just as it never does in the worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <netinet/in.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/inet.h"

#include "address.h"
#include "condition.h"
#include "event.h"
#include "settings.h"
#include "template.h"

PG_FUNCTION_INFO_V1(hooks_matches);
PG_FUNCTION_INFO_V1(hooks_render);
PG_FUNCTION_INFO_V1(hooks_check_address);
PG_FUNCTION_INFO_V1(hooks_check_host);

static TriggerType
trigger_type_from_name(const char *name, int len)
{
	int			type = trigger_type_parse(name, len);

	if (type == TRIGGER_TYPE_UNKNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown trigger type \"%.*s\"", len, name),
				 errhint("Trigger types are %s.", TRIGGER_TYPE_NAMES)));
	return type;
}

static void
raise_mistake(const Mistake *error)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", error->message),
			 error->hint ? errhint("%s", error->hint) : 0));
}

/*
 * An event from JSON: either a row of the event table, which is an object
 * that has the event's data as an object under "data", or just the data.  Its
 * type and platform are taken from the top level in both.  The rest of a row
 * (id, user_id, inserted_at) is left zero: neither language reads it.
 *
 * Returns false when the event does not say its type; event->type then is
 * TRIGGER_TYPE_UNKNOWN.  The event points into the jsonb.
 */
static bool
event_from_jsonb(Jsonb *row, Event *event, JsonbValue *type)
{
	JsonbValue	value;

	memset(event, 0, sizeof(*event));
	event->type = (TriggerType) TRIGGER_TYPE_UNKNOWN;
	event->data = &row->root;

	if (event_field(event, "platform", &value) && value.type == jbvString)
		event->platform = pnstrdup(value.val.string.val, value.val.string.len);
	if (!event_field(event, "type", type))
		type->type = jbvNull;
	if (event_field(event, "data", &value) && value.type == jbvBinary &&
		JsonContainerIsObject(value.val.binary.data))
		event->data = value.val.binary.data;
	return type->type != jbvNull;
}

/* hooks.matches(trigger_type text, conditions jsonb, event jsonb) returns boolean */
Datum
hooks_matches(PG_FUNCTION_ARGS)
{
	text	   *name;
	TriggerType type;
	Condition  *condition;
	Mistake		error;
	Event		event = {0};
	JsonbValue	unused;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("trigger type must not be null"),
				 errhint("Trigger types are %s.", TRIGGER_TYPE_NAMES)));
	name = PG_GETARG_TEXT_PP(0);
	type = trigger_type_from_name(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

	condition = condition_compile(PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), type, false, &error);
	if (condition == NULL)
		raise_mistake(&error);

	if (!PG_ARGISNULL(2))
		event_from_jsonb(PG_GETARG_JSONB_P(2), &event, &unused);
	event.type = type;
	PG_RETURN_BOOL(condition_matches(condition, &(Occasion) {.event = &event}));
}

static TemplateContext
template_context_from_name(const char *name)
{
	if (strcmp(name, "text") == 0)
		return TEMPLATE_TEXT;
	if (strcmp(name, "json") == 0)
		return TEMPLATE_JSON;
	if (strcmp(name, "url") == 0)
		return TEMPLATE_URL;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown template context \"%s\"", name),
			 errhint("Contexts are text, json, url.")));
}

/* hooks.render(template text, event jsonb, context text default 'text') returns text */
Datum
hooks_render(PG_FUNCTION_ARGS)
{
	text	   *template;
	Template   *compiled;
	Mistake		error;
	TemplateContext context;
	Event		event;
	JsonbValue	type;
	StringInfoData out;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	template = PG_GETARG_TEXT_PP(0);
	context = template_context_from_name(text_to_cstring(PG_GETARG_TEXT_PP(2)));

	if (event_from_jsonb(PG_GETARG_JSONB_P(1), &event, &type))
	{
		if (type.type != jbvString)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("type of an event must be a string"),
					 errhint("Trigger types are %s.", TRIGGER_TYPE_NAMES)));
		event.type = trigger_type_from_name(type.val.string.val, type.val.string.len);
	}

	compiled = template_compile(VARDATA_ANY(template), VARSIZE_ANY_EXHDR(template), context, &error);
	if (compiled == NULL)
		raise_mistake(&error);
	initStringInfo(&out);
	template_render(compiled, &(Occasion) {.event = &event}, &out);
	if (out.len > TEMPLATE_MAX_OUTPUT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("rendered text is larger than %d bytes", TEMPLATE_MAX_OUTPUT)));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* hooks.check_address(address inet) returns text */
Datum
hooks_check_address(PG_FUNCTION_ARGS)
{
	inet	   *address;
	struct sockaddr_storage storage = {0};
	const char *reason;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	address = PG_GETARG_INET_PP(0);

	if (ip_family(address) == PGSQL_AF_INET)
	{
		struct sockaddr_in *in = (struct sockaddr_in *) &storage;

		in->sin_family = AF_INET;
		memcpy(&in->sin_addr, ip_addr(address), 4);
	}
	else
	{
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &storage;

		in6->sin6_family = AF_INET6;
		memcpy(&in6->sin6_addr, ip_addr(address), 16);
	}

	address_own_load();
	reason = address_refused((struct sockaddr *) &storage,
							 hooks_allow_addresses, hooks_deny_addresses);
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}

/* hooks.check_host(host text) returns text */
Datum
hooks_check_host(PG_FUNCTION_ARGS)
{
	const char *reason;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	reason = address_name_refused(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}
