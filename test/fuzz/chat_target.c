/*-------------------------------------------------------------------------
 *
 * chat_target.c
 *		Chat messages: texts as lines, and requests of every way.
 *
 * chat: how much of the text is the hook's own, in bytes, a newline, the text.
 * Whatever comes out is one line of UTF-8, not too long, that no viewer's
 * character makes a command, and stays as it is when it is made once more.
 *
 * chat_request: action_config, a newline, an event, which is also tried as an
 * application's report.  Whatever comes out is JSON within the platforms'
 * limits; errors can be shown.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "action.h"
#include "chat_platform.h"
#include "chat_report.h"
#include "chat_text.h"
#include "fuzz.h"
#include "settings.h"
#include "target.h"

static int
code_points(const char *text, int len)
{
	int			n = 0;

	for (int i = 0; i < len; i++)
		n += ((unsigned char) text[i] & 0xC0) != 0x80;
	return n;
}

void
fuzz_chat(Slice input)
{
	Slice		number;
	Slice		text;
	int			own;
	char	   *line;
	char	   *again;
	int			len;

	if (!fuzz_split(input, false, &number, &text))
		return;
	own = Min(number.len, text.len);
	text = fuzz_copy(text);
	line = chat_text(text.data, text.len, own, 20);
	len = strlen(line);
	FUZZ_CHECK(!fuzz_is_text(text) || fuzz_is_text(slice(line, len)));
	FUZZ_CHECK(code_points(line, len) <= 20);
	for (int i = 0; i < len; i++)
		FUZZ_CHECK((unsigned char) line[i] >= 0x20 && line[i] != 0x7f);
	FUZZ_CHECK(len == 0 || (line[0] != ' ' && line[len - 1] != ' '));
	again = chat_text(line, len, len, 20);
	FUZZ_CHECK(strcmp(again, line) == 0);
	line = chat_text(text.data, text.len, 0, 20);
	FUZZ_CHECK(strchr("/.!\\", line[0]) == NULL || line[0] == '\0');
}

/* A text of a body; its length in code points. */
static int
check_line(JsonbContainer *object, const char *key)
{
	JsonbValue	value;

	FUZZ_CHECK(getKeyJsonValueFromContainer(object, key, (int) strlen(key), &value) != NULL);
	FUZZ_CHECK(value.type == jbvString && value.val.string.len > 0);
	for (int i = 0; i < value.val.string.len; i++)
		FUZZ_CHECK((unsigned char) value.val.string.val[i] >= 0x20);
	return code_points(value.val.string.val, value.val.string.len);
}

/* What goes to the application: the same whichever way it goes. */
static void
check_request(const Message *message)
{
	Jsonb	   *body = fuzz_jsonb(slice(message->body, (int) message->body_length));

	FUZZ_CHECK(body != NULL);
	FUZZ_CHECK(check_line(&body->root, "message") <= 500);
	FUZZ_CHECK(JsonContainerSize(&body->root) == 4 || JsonContainerSize(&body->root) == 5);
}

/* What goes to a platform. */
static void
check_platform(const Message *message, const char *target)
{
	Jsonb	   *body = fuzz_jsonb(slice(message->body, (int) message->body_length));

	FUZZ_CHECK(body != NULL);
	if (strcmp(target, "youtube") == 0)
		FUZZ_CHECK(JsonContainerSize(&body->root) == 1);
	else
	{
		FUZZ_CHECK(JsonContainerSize(&body->root) == 3);
		FUZZ_CHECK(check_line(&body->root, strcmp(target, "kick") == 0 ? "content" : "message") <= 500);
	}
}

static void
check_way(ChatWay way, const Jsonb *config, const Event *event)
{
	static ChatAccount account = {.channel = "1",.sender = "2",.token = "t"};
	ActionDelivery delivery = {
		.occasion = {event, {{0}}, "hook"},.id = "id",.account = &account
	};
	const char *targets[ACTION_MAX_TARGETS];
	Mistake		error = {0};
	Action	   *action;
	int			n;

	hooks_chat = way;
	action = action_compile("chat_message", config, &error);
	if (action == NULL)
	{
		fuzz_check_mistake(&error);
		return;
	}
	account.extra = fuzz_jsonb(slice("{\"client_id\": \"c\", \"liveChatId\": \"l\"}", 38));
	n = action_targets(action, PG_UINT32_MAX, targets, &error);
	FUZZ_CHECK(n >= 1 && n <= TARGETS);
	for (int i = 0; i < n; i++)
	{
		Message		message = {0};

		delivery.target = targets[i];
		delivery.to_account = way == CHAT_DIRECT;
		if (!action->type->build(action, &delivery, &message, &error))
			fuzz_check_mistake(&error);
		else if (way == CHAT_DIRECT)
			check_platform(&message, targets[i]);
		else
			check_request(&message);
	}
}

void
fuzz_chat_request(Slice input)
{
	Slice		first;
	Slice		second;
	Jsonb	   *config;
	Jsonb	   *row;
	Event		event;
	ChatReport	report;
	Mistake		error = {0};
	Outcome		outcome = {0};

	if (!fuzz_split(input, false, &first, &second) || (config = fuzz_jsonb(first)) == NULL ||
		(row = fuzz_jsonb(second)) == NULL)
		return;
	fuzz_event(row, &event);
	check_way(CHAT_OUTBOX, config, &event);
	check_way(CHAT_GATEWAY, config, &event);
	check_way(CHAT_DIRECT, config, &event);

	if (!chat_report_read(&row->root, &report, &error))
	{
		fuzz_check_mistake(&error);
		return;
	}
	chat_report_judge(&report, &outcome);
	FUZZ_CHECK(outcome.class == OUTCOME_SUCCESS ? outcome.error == NULL && outcome.arrived != NULL
			   : outcome.error != NULL);
}
