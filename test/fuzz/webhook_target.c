/*-------------------------------------------------------------------------
 *
 * webhook_target.c
 *		Webhooks: action_config, a newline, an event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz.h"

#include "action.h"
#include "template.h"
#include "url.h"

static void
check_line(const char *line)
{
	for (const unsigned char *c = (const unsigned char *) line; *c; c++)
		FUZZ_CHECK(*c >= 0x20 && *c != 0x7f);
}

void
fuzz_webhook(Slice input)
{
	Slice		config_text;
	Slice		event_text;
	Jsonb	   *config;
	Jsonb	   *row;
	Event		event;
	ActionDelivery delivery = {.occasion = {.hook_name = "hook \"x\""}, .id = "id"};
	Mistake		error = {0};
	Message		message = {0};
	UrlParts	parts;
	Action	   *action;

	if (!fuzz_split(input, false, &config_text, &event_text) ||
		(config = fuzz_jsonb(config_text)) == NULL || (row = fuzz_jsonb(event_text)) == NULL)
		return;
	fuzz_event(row, &event);
	if ((int) event.type == TRIGGER_TYPE_UNKNOWN)
		event.type = TRIGGER_DONATION;
	delivery.occasion.event = &event;

	action = action_compile("webhook", config, &error);
	if (action == NULL)
	{
		fuzz_check_mistake(&error);
		return;
	}
	FUZZ_CHECK(action->host != NULL);
	error = (Mistake) {0};
	if (!action->type->build(action, &delivery, &message, &error))
	{
		fuzz_check_mistake(&error);
		return;
	}

	/* It goes where the hook says, and nothing in it begins another line. */
	check_line(message.url);
	FUZZ_CHECK(url_check(message.url, &parts, &error));
	FUZZ_CHECK(strcmp(psprintf("%s:%d", parts.host, parts.port), action->host) == 0);
	FUZZ_CHECK(message.nheaders <= MESSAGE_MAX_HEADERS);
	for (int i = 0; i < message.nheaders; i++)
		check_line(message.headers[i]);
	if (message.body != NULL)
	{
		FUZZ_CHECK(message.body_length <= TEMPLATE_MAX_OUTPUT);
		FUZZ_CHECK(fuzz_is_text(slice(message.body, message.body_length)));
	}
}
