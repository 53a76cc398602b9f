/*-------------------------------------------------------------------------
 *
 * condition_target.c
 *		Conditions: a byte for the trigger type, the conditions, a newline, an
 *		event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz.h"

#include "condition.h"
#include "lint.h"

#define MAX_FIELDS_SEEN 100000

/* Both ways to ask must agree. */
static bool
passes(const Condition *condition, const Occasion *occasion)
{
	bool		matches = condition_matches(condition, occasion);
	JsonbValue	value;
	const char *unmet = condition_unmet(condition, occasion, &value);
	Slice		text;

	FUZZ_CHECK(matches == (unmet == NULL));
	if (unmet != NULL)
	{
		FUZZ_CHECK(strlen(unmet) <= 8192);
		text = json_text(&value);
		FUZZ_CHECK(fuzz_is_text(text));
	}
	return matches;
}

/* Conditions made of others hold when they should. */
static void
check_group(char *group, TriggerType type, const Occasion *occasion, bool expected)
{
	Jsonb	   *jsonb = fuzz_jsonb(slice(group, strlen(group)));
	Mistake		error;
	Condition  *condition;

	if (jsonb == NULL)
		return;
	condition = condition_compile(jsonb, type, false, &error);
	if (condition != NULL && passes(condition, occasion) != expected)
		fuzz_fail("%s: should be %s", group, expected ? "true" : "false");
}

static void
report(void *arg, const char *column, const char *warning, const char *hint)
{
	Mistake		said = {(char *) warning, (char *) hint};

	fuzz_check_mistake(&said);
}

static void
look_at_fields(const Condition *condition)
{
	const Field *field;
	const char *key;
	int			n = 0;

	while (condition_field(condition, n, &field, &key))
	{
		FUZZ_CHECK(++n < MAX_FIELDS_SEEN);
		FUZZ_CHECK(field_name(field) != NULL && key != NULL);
		for (int type = 0; type < TRIGGER_TYPES; type++)
			(void) field_applies(field, type);
	}
}

void
fuzz_condition(Slice input)
{
	TriggerType type;
	bool		ignore_self;
	Slice		text;
	Slice		event_text;
	Jsonb	   *conditions;
	Jsonb	   *row;
	Event		event;
	Occasion	occasion = {.event = &event, .hook_name = "hook"};
	Mistake		error = {0};
	Condition  *condition;
	char	   *again;
	bool		holds;

	if (input.len == 0)
		return;
	type = (unsigned char) (input.data[0] - 'a') % TRIGGER_TYPES;
	ignore_self = ((unsigned char) (input.data[0] - 'a') / TRIGGER_TYPES) % 2 == 1;
	if (!fuzz_split(slice(input.data + 1, input.len - 1), false, &text, &event_text) ||
		(conditions = fuzz_jsonb(text)) == NULL || (row = fuzz_jsonb(event_text)) == NULL)
		return;
	fuzz_event(row, &event);
	event.type = type;

	condition = condition_compile(conditions, type, ignore_self, &error);
	if (condition == NULL)
	{
		fuzz_check_mistake(&error);
		return;
	}
	look_at_fields(condition);
	lint_hook(type, conditions, conditions, report, NULL);
	(void) passes(condition, &occasion);

	/* As a member of others; the streamer's own messages may count now. */
	condition = condition_compile(conditions, type, false, &error);
	FUZZ_CHECK(condition != NULL);
	holds = passes(condition, &occasion);
	again = pnstrdup(text.data, text.len);
	check_group(psprintf("{\"$not\": %s}", again), type, &occasion, !holds);
	check_group(psprintf("{\"$or\": [%s]}", again), type, &occasion, holds);
	check_group(psprintf("{\"$and\": [%s, %s]}", again, again), type, &occasion, holds);
}
