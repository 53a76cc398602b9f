/*-------------------------------------------------------------------------
 *
 * condition_key.c
 *		The named keys of conditions: a row each in the table "keys".
 *
 * A row says which trigger types have the key, the field of the event it
 * looks at and the operator that compares it, what it takes (in words and by
 * example), the function that compiles its value and the one that tests an
 * event.  A key for several types with different fields has several rows.
 *
 * Named keys ignore case where they compare text, but for "currency".
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"

#include "condition_key.h"

/* ----------
 * Keys that compare a field by an operator
 * ----------
 */

static bool
holds_field(const KeyTest *test, const Occasion *occasion)
{
	JsonbValue	value;

	return predicate_holds(&test->predicate,
						   field_value(test->field, occasion, &value) ? &value : NULL);
}

/* A number, or a string that is one. */
static bool
compile_number(KeyTest *test, const JsonbValue *value)
{
	return constants_compile(&test->predicate, value, CONSTANT_STRING | CONSTANT_NUMBER, false) &&
		test->predicate.nconstants == 1 && value->type != jbvBinary &&
		test->predicate.constants[0].has_number;
}

/* Strings, one or a list, that equal strings only. */
static bool
compile_exact(KeyTest *test, const JsonbValue *value)
{
	if (!constants_compile(&test->predicate, value, CONSTANT_STRING, false))
		return false;
	for (int i = 0; i < test->predicate.nconstants; i++)
		test->predicate.constants[i].has_number = false;
	return true;
}

/* Strings, one or a list, for the operator. */
static bool
compile_texts(KeyTest *test, const JsonbValue *value)
{
	test->predicate.ignore_case = true;
	if (!test->predicate.operator->compile(&test->predicate, value))
		return false;
	for (int i = 0; i < test->predicate.nconstants; i++)
	{
		if (test->predicate.constants[i].type != jbvString)
			return false;
	}
	return true;
}

/* Strings or numbers, one or a list, for equality. */
static bool
compile_values(KeyTest *test, const JsonbValue *value)
{
	test->predicate.ignore_case = true;
	return constants_compile(&test->predicate, value, CONSTANT_STRING | CONSTANT_NUMBER, false);
}

static bool
compile_names(KeyTest *test, const JsonbValue *value)
{
	test->predicate.ignore_case = true;
	return constants_compile(&test->predicate, value, CONSTANT_STRING, false);
}

/* "@name" is how people write names. */
static bool
compile_users(KeyTest *test, const JsonbValue *value)
{
	if (!compile_names(test, value))
		return false;
	for (int i = 0; i < test->predicate.nconstants; i++)
	{
		Slice	   *name = &test->predicate.constants[i].string;

		if (name->len > 0 && name->data[0] == '@')
			*name = slice(name->data + 1, name->len - 1);
	}
	return true;
}

/* The same on either side: some platforms' names begin with it. */
static bool
holds_user(const KeyTest *test, const Occasion *occasion)
{
	JsonbValue	value;

	if (!field_value(test->field, occasion, &value))
		return false;
	if (value.type == jbvString && value.val.string.len > 0 && value.val.string.val[0] == '@')
	{
		value.val.string.val++;
		value.val.string.len--;
	}
	return equals_any(&test->predicate, &value);
}

static bool
holds_user_not(const KeyTest *test, const Occasion *occasion)
{
	return !holds_user(test, occasion);
}

/* A message that is missing, or no string, counts as an empty one. */
static bool
holds_message(const KeyTest *test, const Occasion *occasion)
{
	JsonbValue	value;

	if (!field_value(test->field, occasion, &value) || value.type != jbvString)
	{
		value.type = jbvString;
		value.val.string.val = "";
		value.val.string.len = 0;
	}
	return predicate_holds(&test->predicate, &value);
}

/* ----------
 * Who wrote a chat message
 * ----------
 */

static bool
compile_flag(KeyTest *test, const JsonbValue *value)
{
	if (value->type != jbvBool)
		return false;
	test->flag = value->val.boolean;
	return true;
}

static bool
is_true(const Event *event, const char *field)
{
	JsonbValue	value;

	return event_field(event, field, &value) && value.type == jbvBool && value.val.boolean;
}

/* true asks for true; false asks for nothing. */
static bool
holds_moderator(const KeyTest *test, const Occasion *occasion)
{
	return !test->flag || is_true(occasion->event, "is_moderator");
}

static bool
holds_ignore_self(const KeyTest *test, const Occasion *occasion)
{
	return !test->flag || !is_true(occasion->event, "is_sent_by_streamer");
}

/* Roles that the event's data have a field of their own for. */
static const struct
{
	const char *role;
	const char *field;
}			role_fields[] = {
	{"moderator", "is_moderator"},
	{"patron", "is_patreon"},
	{"patreon", "is_patreon"},
	{"streamer", "is_sent_by_streamer"},
	{"broadcaster", "is_sent_by_streamer"},
};

/* Is a badge, a string or an object that describes one, of the roles wanted? */
static bool
badge_wanted(const KeyTest *test, const JsonbValue *badge)
{
	static const char *const names[] = {"set_id", "id", "name", "type"};
	JsonbValue	value;

	if (badge->type == jbvString)
		return equals_any(&test->predicate, badge);
	if (badge->type != jbvBinary || !JsonContainerIsObject(badge->val.binary.data))
		return false;
	for (size_t i = 0; i < lengthof(names); i++)
	{
		if (getKeyJsonValueFromContainer(badge->val.binary.data, names[i], strlen(names[i]),
										 &value) != NULL &&
			value.type == jbvString && equals_any(&test->predicate, &value))
			return true;
	}
	return false;
}

/* Badges are a list, or an object whose keys are their names; false and null say that one is not there. */
static bool
any_badge_wanted(const KeyTest *test, const Event *event)
{
	JsonbValue	badges;
	JsonbValue	item;
	JsonbValue	name = {.type = jbvNull};
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	bool		wanted = false;

	if (!event_field(event, "badges", &badges) || badges.type != jbvBinary)
		return false;
	iterator = JsonbIteratorInit(badges.val.binary.data);
	(void) JsonbIteratorNext(&iterator, &item, true);
	while (!wanted && (token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = item;
		else if (token == WJB_VALUE)
			wanted = item.type != jbvNull && (item.type != jbvBool || item.val.boolean) &&
				badge_wanted(test, &name);
		else if (token == WJB_ELEM)
			wanted = badge_wanted(test, &item);
	}
	return wanted;
}

static bool
holds_role(const KeyTest *test, const Occasion *occasion)
{
	for (size_t i = 0; i < lengthof(role_fields); i++)
	{
		JsonbValue	role = {.type = jbvString};

		if (!is_true(occasion->event, role_fields[i].field))
			continue;
		role.val.string.val = unconstify(char *, role_fields[i].role);
		role.val.string.len = strlen(role_fields[i].role);
		if (equals_any(&test->predicate, &role))
			return true;
	}
	return any_badge_wanted(test, occasion->event);
}

static bool
holds_no_role(const KeyTest *test, const Occasion *occasion)
{
	return !holds_role(test, occasion);
}

/* ----------
 * Commands
 * ----------
 */

static inline bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Words without blanks. */
static bool
compile_command(KeyTest *test, const JsonbValue *value)
{
	if (!compile_names(test, value))
		return false;
	for (int i = 0; i < test->predicate.nconstants; i++)
	{
		Slice		word = test->predicate.constants[i].string;

		if (word.len == 0)
			return false;
		for (int j = 0; j < word.len; j++)
		{
			if (is_blank(word.data[j]))
				return false;
		}
	}
	return true;
}

static bool
holds_command(const KeyTest *test, const Occasion *occasion)
{
	JsonbValue	value;
	const char *p;
	const char *end;

	if (!field_value(test->field, occasion, &value) || value.type != jbvString)
		return false;
	p = value.val.string.val;
	end = p + value.val.string.len;
	while (p < end && is_blank(*p))
		p++;
	value.val.string.val = unconstify(char *, p);
	while (p < end && !is_blank(*p))
		p++;
	value.val.string.len = p - value.val.string.val;
	return equals_any(&test->predicate, &value);
}

/* ----------
 * Chance and time
 * ----------
 */

/* Of numbers that occasion_draw() gives for other purposes. */
#define SALT_CHANCE 0

static bool
compile_chance(KeyTest *test, const JsonbValue *value)
{
	if (value->type != jbvNumeric)
		return false;
	test->chance = strtod(DatumGetCString(DirectFunctionCall1(numeric_out,
															  NumericGetDatum(value->val.numeric))),
						  NULL) / 100;
	return test->chance >= 0 && test->chance <= 1;
}

static bool
holds_chance(const KeyTest *test, const Occasion *occasion)
{
	return occasion_draw(occasion, SALT_CHANCE) < test->chance;
}

/* "HH:MM" as seconds of the day, up to 24:00. */
static bool
parse_time(const JsonbValue *value, int *seconds)
{
	const char *p = value->val.string.val;
	int			hours;
	int			minutes;

	if (value->type != jbvString || value->val.string.len != 5 || p[2] != ':' ||
		strspn(pnstrdup(p, 5), "0123456789:") != 5 || memchr(p, ':', 2) || memchr(p + 3, ':', 2))
		return false;
	hours = (p[0] - '0') * 10 + (p[1] - '0');
	minutes = (p[3] - '0') * 10 + (p[4] - '0');
	*seconds = (hours * 60 + minutes) * 60;
	return minutes < 60 && *seconds <= SECS_PER_DAY;
}

static bool
parse_days(const JsonbValue *value, unsigned *days)
{
	static const char *const names[] = {
		"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"
	};
	Predicate	list = {0};

	if (!constants_compile(&list, value, CONSTANT_STRING, true))
		return false;
	*days = 0;
	for (int i = 0; i < list.nconstants; i++)
	{
		Slice		name = list.constants[i].string;
		int			day = 0;

		while (day < 7 &&
			   !(slice_equal(name, slice(names[day], strlen(names[day])), true) ||
				 slice_equal(name, slice(names[day], 3), true)))
			day++;
		if (day == 7)
			return false;
		*days |= 1u << day;
	}
	return true;
}

static bool
compile_time(KeyTest *test, const JsonbValue *value)
{
	TimeWindow *window = &test->window;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	Slice		name = {"", 0};
	bool		has_from = false;
	bool		has_to = false;
	bool		has_days = false;
	bool		good;

	window->zone = pg_tzset("UTC");
	window->days = 0x7f;
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return false;
	iterator = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &item, true);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = slice(item.val.string.val, item.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (slice_equal(name, slice("from", 4), false))
			has_from = good = parse_time(&item, &window->from);
		else if (slice_equal(name, slice("to", 2), false))
			has_to = good = parse_time(&item, &window->to);
		else if (slice_equal(name, slice("days", 4), false))
			has_days = good = parse_days(&item, &window->days);
		else if (slice_equal(name, slice("tz", 2), false))
		{
			window->zone = item.type == jbvString
				? time_zone_find(item.val.string.val, item.val.string.len) : NULL;
			good = window->zone != NULL;
		}
		else
			good = false;
		if (!good)
			return false;
	}
	if (window->from == SECS_PER_DAY)
		return false;
	return has_from == has_to && (has_from || has_days);
}

/* "from" belongs to the window, "to" does not; the same twice is all day. */
static bool
holds_time(const KeyTest *test, const Occasion *occasion)
{
	const TimeWindow *window = &test->window;
	pg_time_t	when;
	struct pg_tm *local;
	int			now;
	int			day;

	if (TIMESTAMP_NOT_FINITE(occasion->event->time))
		return false;
	when = timestamptz_to_time_t(occasion->event->time);
	local = pg_localtime(&when, window->zone);
	if (local == NULL)
		return false;
	now = (local->tm_hour * 60 + local->tm_min) * 60 + local->tm_sec;
	day = local->tm_wday;
	if (window->from < window->to)
	{
		if (now < window->from || now >= window->to)
			return false;
	}
	else if (window->from > window->to && now < window->to)
		day = (day + 6) % 7;	/* it began yesterday */
	else if (window->from > window->to && now < window->from)
		return false;
	return (window->days & (1u << day)) != 0;
}

/* ----------
 * The table
 * ----------
 */

#define TYPE(name) (1u << TRIGGER_##name)
#define ALL_TYPES ((1u << TRIGGER_TYPES) - 1)
#define LIFECYCLE (TYPE(STREAM_START) | TYPE(STREAM_END))
#define WITH_MESSAGE (TYPE(DONATION) | TYPE(SUBSCRIPTION) | TYPE(RAID))

#define STRINGS "a string or a list of strings"

static const ConditionKey keys[] = {
	{
		"min_amount", TYPE(DONATION), "amount", "$gte", compile_number, holds_field,
		"a number", "{\"min_amount\": 5}"
	},
	{
		"max_amount", TYPE(DONATION), "amount", "$lte", compile_number, holds_field,
		"a number", "{\"max_amount\": 100}"
	},
	{
		"currency", TYPE(DONATION), "data.currency", "$eq", compile_exact, holds_field,
		STRINGS, "{\"currency\": \"EUR\"}"
	},
	{
		"tier", TYPE(SUBSCRIPTION), "tier", "$eq", compile_values, holds_field,
		"a string, a number or a list of them", "{\"tier\": [\"2\", \"3\"]}"
	},
	{
		"min_months", TYPE(SUBSCRIPTION), "months", "$gte", compile_number, holds_field,
		"a number", "{\"min_months\": 6}"
	},
	{
		"max_months", TYPE(SUBSCRIPTION), "months", "$lte", compile_number, holds_field,
		"a number", "{\"max_months\": 1}"
	},
	{
		"min_viewers", TYPE(RAID), "viewer_count", "$gte", compile_number, holds_field,
		"a number", "{\"min_viewers\": 10}"
	},
	{
		"max_viewers", TYPE(RAID), "viewer_count", "$lte", compile_number, holds_field,
		"a number", "{\"max_viewers\": 100}"
	},
	{
		"contains", TYPE(CHAT_MESSAGE), "data.message", "$contains", compile_texts, holds_message,
		STRINGS, "{\"contains\": \"hello\"}"
	},
	{
		"contains", WITH_MESSAGE, "message", "$contains", compile_texts, holds_message,
		STRINGS, "{\"contains\": \"hello\"}"
	},
	{
		"starts_with", TYPE(CHAT_MESSAGE) | WITH_MESSAGE, "message", "$starts_with",
		compile_texts, holds_message,
		STRINGS, "{\"starts_with\": \"hello\"}"
	},
	{
		"ends_with", TYPE(CHAT_MESSAGE) | WITH_MESSAGE, "message", "$ends_with",
		compile_texts, holds_message,
		STRINGS, "{\"ends_with\": \"?\"}"
	},
	{
		"equals", TYPE(CHAT_MESSAGE) | WITH_MESSAGE, "message", "$eq", compile_names, holds_message,
		STRINGS, "{\"equals\": \"gg\"}"
	},
	{
		"like", TYPE(CHAT_MESSAGE) | WITH_MESSAGE, "message", "$like", compile_texts, holds_message,
		STRINGS " of up to 200 characters", "{\"like\": \"gg*\"}"
	},
	{
		"command", TYPE(CHAT_MESSAGE), "message", NULL, compile_command, holds_command,
		"a word or a list of words", "{\"command\": [\"!shoutout\", \"!so\"]}"
	},
	{
		"is_moderator", TYPE(CHAT_MESSAGE), "data.is_moderator", NULL, compile_flag, holds_moderator,
		"true or false", "{\"is_moderator\": true}"
	},
	{
		"roles", TYPE(CHAT_MESSAGE), NULL, NULL, compile_names, holds_role,
		STRINGS, "{\"roles\": [\"moderator\", \"vip\"]}"
	},
	{
		"exclude_roles", TYPE(CHAT_MESSAGE), NULL, NULL, compile_names, holds_no_role,
		STRINGS, "{\"exclude_roles\": [\"streamer\"]}"
	},
	{
		"ignore_self", TYPE(CHAT_MESSAGE), "data.is_sent_by_streamer", NULL,
		compile_flag, holds_ignore_self,
		"true or false", "{\"ignore_self\": true}"
	},
	{
		"users", ALL_TYPES & ~LIFECYCLE, "username", "$eq", compile_users, holds_user,
		STRINGS, "{\"users\": [\"alice\", \"bob\"]}"
	},
	{
		"exclude_users", ALL_TYPES & ~LIFECYCLE, "username", "$eq", compile_users, holds_user_not,
		STRINGS, "{\"exclude_users\": [\"nightbot\"]}"
	},
	{
		"platform", ALL_TYPES, "platform", "$eq", compile_names, holds_field,
		STRINGS, "{\"platform\": [\"twitch\", \"kick\"]}"
	},
	{
		"chance", ALL_TYPES, NULL, NULL, compile_chance, holds_chance,
		"a number from 0 to 100", "{\"chance\": 25}"
	},
	{
		"time", ALL_TYPES, "event.inserted_at", NULL, compile_time, holds_time,
		"an object of \"from\" and \"to\", \"tz\" and \"days\"",
		"{\"time\": {\"from\": \"18:00\", \"to\": \"02:00\", \"tz\": \"Europe/Berlin\", \"days\": [\"fri\", \"sat\"]}}"
	},
};

const ConditionKey *
condition_key(int i)
{
	return i < (int) lengthof(keys) ? &keys[i] : NULL;
}

const ConditionKey *
condition_key_find(const char *name, int len, TriggerType type)
{
	for (int i = 0; i < (int) lengthof(keys); i++)
	{
		if (condition_key_has_type(&keys[i], type) &&
			strlen(keys[i].name) == (size_t) len && memcmp(keys[i].name, name, len) == 0)
			return &keys[i];
	}
	return NULL;
}

bool
key_test_compile(KeyTest *test, const ConditionKey *key, const JsonbValue *value)
{
	test->key = key;
	if (key->field != NULL)
		test->field = field_compile(slice(key->field, strlen(key->field)), true);
	if (key->operator != NULL)
		test->predicate.operator = operator_find(key->operator, strlen(key->operator));
	return key->compile(test, value);
}

bool
key_test_holds(const KeyTest *test, const Occasion *occasion)
{
	return test->key->holds(test, occasion);
}
