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
#include "utils/timestamp.h"

#include "address.h"
#include "arguments.h"
#include "condition.h"
#include "event.h"
#include "settings.h"
#include "sign.h"
#include "template.h"

PG_FUNCTION_INFO_V1(hooks_matches);
PG_FUNCTION_INFO_V1(hooks_render);
PG_FUNCTION_INFO_V1(hooks_generate_secret);
PG_FUNCTION_INFO_V1(hooks_sign);
PG_FUNCTION_INFO_V1(hooks_check_address);
PG_FUNCTION_INFO_V1(hooks_check_host);

/* hooks.matches(trigger_type text, conditions jsonb, event jsonb) returns boolean */
Datum
hooks_matches(PG_FUNCTION_ARGS)
{
	TriggerType type;
	Condition  *condition;
	Mistake		error;
	Event		event = {.time = DT_NOBEGIN};

	type = argument_trigger_type(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	condition = condition_compile(PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), type, false, &error);
	if (condition == NULL)
		argument_mistake(&error);

	if (!PG_ARGISNULL(2))
		argument_event(PG_GETARG_JSONB_P(2), false, &event);
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
	if (strcmp(name, "discord") == 0)
		return TEMPLATE_DISCORD;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown template context \"%s\"", name),
			 errhint("Contexts are text, json, url, discord.")));
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
	StringInfoData out;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	template = PG_GETARG_TEXT_PP(0);
	context = template_context_from_name(text_to_cstring(PG_GETARG_TEXT_PP(2)));

	argument_event(PG_GETARG_JSONB_P(1), true, &event);
	compiled = template_compile(VARDATA_ANY(template), VARSIZE_ANY_EXHDR(template), context, &error);
	if (compiled == NULL)
		argument_mistake(&error);
	initStringInfo(&out);
	template_render(compiled, &(Occasion) {.event = &event}, &out);
	if (out.len > TEMPLATE_MAX_OUTPUT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("rendered text is larger than %d bytes", TEMPLATE_MAX_OUTPUT)));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* hooks.generate_secret() returns text */
Datum
hooks_generate_secret(PG_FUNCTION_ARGS)
{
	char	   *secret = sign_secret_generate();

	if (secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
	PG_RETURN_TEXT_P(cstring_to_text(secret));
}

/* hooks.sign(secret text, id text, at timestamptz, body text) returns text; strict */
Datum
hooks_sign(PG_FUNCTION_ARGS)
{
	text	   *secret = PG_GETARG_TEXT_PP(0);
	JsonbValue	value = {
		.type = jbvString,
		.val.string = {.len = VARSIZE_ANY_EXHDR(secret), .val = VARDATA_ANY(secret)}
	};
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);
	text	   *body = PG_GETARG_TEXT_PP(3);
	Mistake		error = {0};
	SignSecrets *secrets = sign_secrets_compile(&value, NULL, &error);
	char	   *signature;

	if (secrets == NULL)
		argument_mistake(&error);
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp must be finite")));
	signature = sign_header(secrets, NULL, text_to_cstring(PG_GETARG_TEXT_PP(1)),
							timestamptz_to_time_t(at), VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body),
							&error);
	if (signature == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute signature")));
	PG_RETURN_TEXT_P(cstring_to_text(signature));
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
