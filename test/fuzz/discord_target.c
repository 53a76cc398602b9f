/*-------------------------------------------------------------------------
 *
 * discord_target.c
 *		Discord messages: action_config, a newline, an event, which is also
 *		tried as the body of an answer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "fuzz.h"

#include "action.h"
#include "markdown.h"
#include "url.h"

/* What Discord takes, in code points. */
#define MAX_CONTENT 2000
#define MAX_NAME 80
#define MAX_EMBEDS 10
#define MAX_FIELDS 25
#define MAX_TOTAL 6000

static const char *const body_keys[] = {
	"content", "embeds", "username", "avatar_url", "flags", "allowed_mentions"
};

static bool
find(JsonbContainer *object, const char *key, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, key, (int) strlen(key), value) != NULL;
}

/* A text that is no longer than so much, and not empty; its length. */
static int
check_text(JsonbContainer *object, const char *key, int limit, bool may_be_empty)
{
	JsonbValue	value;
	int			chars;

	if (!find(object, key, &value))
		return 0;
	FUZZ_CHECK(value.type == jbvString);
	chars = pg_mbstrlen_with_len(value.val.string.val, value.val.string.len);
	FUZZ_CHECK(chars <= limit);
	FUZZ_CHECK(may_be_empty || !markdown_is_blank(slice(value.val.string.val, value.val.string.len)));
	return chars;
}

static void
check_link(JsonbContainer *object, const char *key)
{
	JsonbValue	value;
	Slice		text;

	if (!find(object, key, &value))
		return;
	FUZZ_CHECK(value.type == jbvString);
	text = slice(value.val.string.val, value.val.string.len);
	FUZZ_CHECK(slice_starts_with(text, slice("https://", 8), true) ||
			   slice_starts_with(text, slice("http://", 7), true));
	for (int i = 0; i < text.len; i++)
		FUZZ_CHECK((unsigned char) text.data[i] > ' ' && strchr("<>\"", text.data[i]) == NULL);
}

/* An object of an embed that needs a text, or (NULL) a link. */
static int
check_object(JsonbContainer *embed, const char *key, const char *text, int limit)
{
	JsonbValue	value;
	JsonbValue	needed;
	JsonbContainer *object;

	if (!find(embed, key, &value))
		return 0;
	FUZZ_CHECK(value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data));
	object = value.val.binary.data;
	check_link(object, "url");
	check_link(object, "icon_url");
	FUZZ_CHECK(find(object, text ? text : "url", &needed));
	return text ? check_text(object, text, limit, false) : 0;
}

static int
check_fields(JsonbContainer *embed)
{
	JsonbValue	fields;
	int			total = 0;

	if (!find(embed, "fields", &fields))
		return 0;
	FUZZ_CHECK(JsonContainerSize(fields.val.binary.data) > 0 &&
			   JsonContainerSize(fields.val.binary.data) <= MAX_FIELDS);
	for (uint32 i = 0; i < JsonContainerSize(fields.val.binary.data); i++)
	{
		JsonbContainer *field = getIthJsonbValueFromContainer(fields.val.binary.data, i)->val.binary.data;
		int			name = check_text(field, "name", 256, false);
		int			value = check_text(field, "value", 1024, false);

		FUZZ_CHECK(name > 0 && value > 0);
		total += name + value;
	}
	return total;
}

static void
check_embeds(JsonbContainer *body)
{
	JsonbValue	embeds;
	int			total = 0;

	if (!find(body, "embeds", &embeds))
		return;
	FUZZ_CHECK(embeds.type == jbvBinary && JsonContainerIsArray(embeds.val.binary.data));
	FUZZ_CHECK(JsonContainerSize(embeds.val.binary.data) <= MAX_EMBEDS);
	for (uint32 i = 0; i < JsonContainerSize(embeds.val.binary.data); i++)
	{
		JsonbContainer *embed = getIthJsonbValueFromContainer(embeds.val.binary.data, i)->val.binary.data;

		check_link(embed, "url");
		total += check_text(embed, "title", 256, false) + check_text(embed, "description", 4096, false) +
			check_object(embed, "author", "name", 256) + check_object(embed, "footer", "text", 2048) +
			check_object(embed, "image", NULL, 0) + check_object(embed, "thumbnail", NULL, 0) +
			check_fields(embed);
	}
	FUZZ_CHECK(total <= MAX_TOTAL);
}

/* Whom it may ping is what the hook says, and nobody if it says nothing. */
static void
check_mentions(const Jsonb *config, JsonbContainer *body)
{
	JsonbValue	wanted;
	JsonbValue	sent;
	JsonbValue	other;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	uint32		n = 0;

	FUZZ_CHECK(find(body, "allowed_mentions", &sent) && sent.type == jbvBinary);
	if (find(&unconstify(Jsonb *, config)->root, "allowed_mentions", &wanted) && wanted.type == jbvBinary)
	{
		iterator = JsonbIteratorInit(wanted.val.binary.data);
		while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
		{
			if (token != WJB_KEY)
				continue;
			n++;
			FUZZ_CHECK(find(sent.val.binary.data, pnstrdup(item.val.string.val, item.val.string.len), &other));
		}
	}
	if (n == 0 || !find(wanted.val.binary.data, "parse", &other))
	{
		n++;
		FUZZ_CHECK(find(sent.val.binary.data, "parse", &other) && JsonContainerSize(other.val.binary.data) == 0);
	}
	FUZZ_CHECK(JsonContainerSize(sent.val.binary.data) == n);
}

static void
check_message(const Jsonb *config, const Action *action, const Message *message, const char *edits)
{
	Jsonb	   *body = fuzz_jsonb(slice(message->body, (int) message->body_length));
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	UrlParts	parts;
	Mistake		error = {0};

	FUZZ_CHECK(strcmp(message->method, edits ? "PATCH" : "POST") == 0);
	FUZZ_CHECK(url_check(message->url, &parts, &error));
	FUZZ_CHECK(strcmp(psprintf("%s:%d", parts.host, parts.port), action->host) == 0);
	FUZZ_CHECK(body != NULL && JB_ROOT_IS_OBJECT(body));
	iterator = JsonbIteratorInit(&body->root);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		bool		known = token != WJB_KEY;

		for (size_t i = 0; i < lengthof(body_keys) && !known; i++)
			known = slice_equal(slice(item.val.string.val, item.val.string.len),
								slice(body_keys[i], (int) strlen(body_keys[i])), false);
		FUZZ_CHECK(known);
	}
	(void) check_text(&body->root, "content", MAX_CONTENT, edits != NULL);
	(void) check_text(&body->root, "username", MAX_NAME, false);
	check_link(&body->root, "avatar_url");
	check_embeds(&body->root);
	check_mentions(config, &body->root);
}

static bool
is_digits(const char *text)
{
	return *text != '\0' && strlen(text) <= 20 && strspn(text, "0123456789") == strlen(text);
}

/* Whatever an answer says, the log gets text that can be shown. */
static void
check_judge(const ActionDelivery *delivery, Slice body)
{
	static const int statuses[] = {200, 204, 400, 401, 403, 404, 429, 500};
	static const RetryPolicy policy = {.nstatuses = -1};

	for (size_t i = 0; i < lengthof(statuses); i++)
	{
		Answer		answer = {
			.kind = ANSWER_STATUS, .status = statuses[i], .retry_after_ms = -1, .rate_remaining = -1,
			.rate_reset_ms = -1, .body = body.data, .body_length = body.len
		};
		Outcome		outcome = {0};

		discord_judge(delivery, &answer, &policy, &outcome);
		FUZZ_CHECK((outcome.error == NULL) == (outcome.class == OUTCOME_SUCCESS));
		FUZZ_CHECK(outcome.error == NULL || strlen(outcome.error) < 256);
		for (const char *c = outcome.error; c != NULL && *c; c++)
			FUZZ_CHECK(*c >= ' ' && *c < 0x7f);
		FUZZ_CHECK(outcome.posted == NULL || is_digits(outcome.posted));
		FUZZ_CHECK(outcome.wait_ms >= 0 && outcome.wait_ms <= ANSWER_MAX_DELAY_MS);
		FUZZ_CHECK(outcome.uncounted == (statuses[i] == 429 || outcome.gone));
		FUZZ_CHECK(!outcome.disable || statuses[i] == 401 || statuses[i] == 404);
	}
}

void
fuzz_discord(Slice input)
{
	static const char *const edits[] = {NULL, "1234"};
	Slice		config_text;
	Slice		event_text;
	Jsonb	   *config;
	Jsonb	   *row;
	Event		event;
	ActionDelivery delivery = {.occasion = {.hook_name = "hook \"x\""}, .id = "id"};
	Mistake		error = {0};
	Action	   *action;

	if (!fuzz_split(input, false, &config_text, &event_text) ||
		(config = fuzz_jsonb(config_text)) == NULL || (row = fuzz_jsonb(event_text)) == NULL)
		return;
	fuzz_event(row, &event);
	if ((int) event.type == TRIGGER_TYPE_UNKNOWN)
		event.type = TRIGGER_DONATION;
	delivery.occasion.event = &event;

	action = action_compile("discord_message", config, &error);
	if (action == NULL)
	{
		fuzz_check_mistake(&error);
		return;
	}
	for (size_t i = 0; i < lengthof(edits); i++)
	{
		Message		message = {0};

		error = (Mistake) {0};
		delivery.edits = edits[i];
		if (action->type->build(action, &delivery, &message, &error))
			check_message(config, action, &message, edits[i]);
		else
			fuzz_check_mistake(&error);
		check_judge(&delivery, event_text);
	}
}
