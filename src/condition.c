/*-------------------------------------------------------------------------
 *
 * condition.c
 *		Compile a hook's conditions, and test events against them.
 *
 * Every key of the language is one row of condition_keys: the trigger types
 * that have it, the field of the event it looks at, what it takes (in words
 * and by example), the function that compiles its value and the function that
 * tests an event.  A key for several types with different fields has several
 * rows.  Compiled conditions are an array of tests, all of which must hold.
 *
 * Three things are done here on their own terms, because nothing that a hook
 * or an event contains may raise an error, overflow or cost more than its
 * length:
 *
 * Numbers are decimals of any length and exponent, compared digit by digit
 * where they stand (struct Decimal).  That is numeric's exact order without
 * its limits: 1e-20000 and 1e999999 compare as what they say.
 *
 * Case is ignored by Unicode's simple case folding, one code point to one,
 * whatever the locale.  Text is not normalised, and ß does not equal ss.
 *
 * Substrings are found in one pass over the text (Knuth, Morris, Pratt), so
 * that no pair of needle and message takes long.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <utf8proc.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/varlena.h"

#include "condition.h"

#define MAX_SIZE 8192			/* bytes of jsonb */
#define MAX_DEPTH 8				/* objects and arrays inside each other */

/* How wrong a key may be spelled to be recognised: as core does for columns. */
#define MAX_KEY_DISTANCE 3
#define MAX_KEY_LENGTH 63

/* Bytes of somebody's text that messages quote. */
#define MAX_QUOTED 40

/* 10 to a power beyond this is the same to everybody. */
#define MAX_EXPONENT (PG_INT64_MAX / 100)

/*
 * sign * 0.ddd * 10^magnitude, where ddd are the digits between two pointers
 * into the text that the number was parsed from.  The first is not 0, and a
 * decimal point may stand among them.
 */
typedef struct Decimal
{
	int			sign;			/* -1, 0 or 1 */
	int64		magnitude;
	const char *digits;
	const char *end;
} Decimal;

/* A substring to look for, case folded. */
typedef struct Needle
{
	bool		starts[256];	/* bytes that may begin a match */
	int			length;			/* code points */
	int		   *fallback;		/* longest proper prefix that ends here too */
	int32		chars[FLEXIBLE_ARRAY_MEMBER];
} Needle;

typedef struct ConditionKey ConditionKey;

/* One compiled key. */
typedef struct Test
{
	const ConditionKey *key;
	union
	{
		bool		flag;
		Decimal		number;
		struct
		{
			const char *str;
			int			len;
		}			string;
		Needle	   *needle;
	}			operand;
} Test;

struct Condition
{
	int			ntests;
	Test		tests[FLEXIBLE_ARRAY_MEMBER];
};

struct ConditionKey
{
	const char *name;
	uint32		types;			/* trigger types that have it, one bit each */
	const char *field;			/* of the event's data */
	bool		(*compile) (Test *test, const JsonbValue *value);
	bool		(*matches) (const Test *test, const Event *event);
	const char *takes;			/* in words */
	const char *example;		/* as JSON */
};

static bool compile_number(Test *test, const JsonbValue *value);
static bool compile_string(Test *test, const JsonbValue *value);
static bool compile_needle(Test *test, const JsonbValue *value);
static bool compile_flag(Test *test, const JsonbValue *value);
static bool matches_at_least(const Test *test, const Event *event);
static bool matches_equal(const Test *test, const Event *event);
static bool matches_contains(const Test *test, const Event *event);
static bool matches_true(const Test *test, const Event *event);

#define TYPE(name) (1u << TRIGGER_##name)

static const ConditionKey condition_keys[] = {
	{
		"min_amount", TYPE(DONATION), "amount",
		compile_number, matches_at_least,
		"a number", "{\"min_amount\": 5}"
	},
	{
		"currency", TYPE(DONATION), "currency",
		compile_string, matches_equal,
		"a string", "{\"currency\": \"EUR\"}"
	},
	{
		"contains", TYPE(CHAT_MESSAGE), "message",
		compile_needle, matches_contains,
		"a string", "{\"contains\": \"hello\"}"
	},
	{
		"is_moderator", TYPE(CHAT_MESSAGE), "is_moderator",
		compile_flag, matches_true,
		"true or false", "{\"is_moderator\": true}"
	},
	{
		"min_viewers", TYPE(RAID), "viewer_count",
		compile_number, matches_at_least,
		"a number", "{\"min_viewers\": 10}"
	},
};

#define NKEYS ((int) lengthof(condition_keys))

static inline bool
has_type(const ConditionKey *key, TriggerType type)
{
	return (key->types & (1u << type)) != 0;
}

static inline bool
is_named(const ConditionKey *key, const char *name, int len)
{
	return strlen(key->name) == (size_t) len && memcmp(key->name, name, len) == 0;
}

/*
 * Numbers
 */

static inline bool
is_digit(const char *p, const char *end)
{
	return p < end && *p >= '0' && *p <= '9';
}

/*
 * The number that a text begins with: an optional sign, digits, optionally a
 * point with digits, optionally an exponent.  False when it begins with none.
 * *rest points behind it.
 */
static bool
decimal_parse(const char *str, int len, Decimal *number, const char **rest)
{
	const char *end = str + len;
	const char *p = str;
	const char *first;
	const char *point;
	const char *last;
	int64		exponent = 0;
	bool		negative = false;

	if (p < end && (*p == '+' || *p == '-'))
		negative = (*p++ == '-');
	first = p;
	while (is_digit(p, end))
		p++;
	if (p == first)
		return false;
	point = p;
	if (p < end && *p == '.' && is_digit(p + 1, end))
	{
		p++;
		while (is_digit(p, end))
			p++;
	}
	last = p;

	if (p < end && (*p == 'e' || *p == 'E'))
	{
		const char *e = p + 1;
		bool		negative_exponent = false;

		if (e < end && (*e == '+' || *e == '-'))
			negative_exponent = (*e++ == '-');
		if (is_digit(e, end))
		{
			for (; is_digit(e, end); e++)
				exponent = Min(exponent * 10 + (*e - '0'), MAX_EXPONENT);
			if (negative_exponent)
				exponent = -exponent;
			p = e;
		}
	}
	*rest = p;

	while (first < last && (*first == '0' || *first == '.'))
		first++;
	number->digits = first;
	number->end = last;
	if (first == last)
	{
		number->sign = 0;
		number->magnitude = 0;
	}
	else
	{
		number->sign = negative ? -1 : 1;
		number->magnitude = exponent + (point - first) + (first > point ? 1 : 0);
	}
	return true;
}

/* The next digit, as if zeros followed the last one for ever. */
static inline int
next_digit(const char **p, const char *end)
{
	if (*p < end && **p == '.')
		(*p)++;
	return *p < end ? *(*p)++ - '0' : 0;
}

/* Less than, equal to or greater than 0, as a is less than, equal to or greater than b. */
static int
decimal_compare(const Decimal *a, const Decimal *b)
{
	const char *p = a->digits;
	const char *q = b->digits;

	if (a->sign != b->sign)
		return a->sign - b->sign;
	if (a->magnitude != b->magnitude)
		return a->magnitude < b->magnitude ? -a->sign : a->sign;
	while (p < a->end || q < b->end)
	{
		int			difference = next_digit(&p, a->end) - next_digit(&q, b->end);

		if (difference != 0)
			return difference * a->sign;
	}
	return 0;
}

/*
 * The number that a JSON value is or, being a string, begins with.  It points
 * into the value where that is a string, else into new memory.
 */
static bool
decimal_from_json(const JsonbValue *value, Decimal *number, const char **rest)
{
	const char *str;

	switch (value->type)
	{
		case jbvString:
			return decimal_parse(value->val.string.val, value->val.string.len,
								 number, rest);
		case jbvNumeric:
			str = DatumGetCString(DirectFunctionCall1(numeric_out,
													  NumericGetDatum(value->val.numeric)));
			return decimal_parse(str, strlen(str), number, rest);
		default:
			return false;
	}
}

/* A number, or a string that is one from its first to its last character. */
static bool
compile_number(Test *test, const JsonbValue *value)
{
	JsonbValue	copy = *value;
	const char *rest;

	if (value->type == jbvString)
		copy.val.string.val = pnstrdup(value->val.string.val, value->val.string.len);
	if (!decimal_from_json(&copy, &test->operand.number, &rest))
		return false;
	return value->type != jbvString ||
		rest == copy.val.string.val + copy.val.string.len;
}

static bool
matches_at_least(const Test *test, const Event *event)
{
	JsonbValue	value;
	Decimal		number;
	const char *rest;

	return event_field(event, test->key->field, &value) &&
		decimal_from_json(&value, &number, &rest) &&
		decimal_compare(&number, &test->operand.number) >= 0;
}

/*
 * Strings and flags
 */

static bool
compile_string(Test *test, const JsonbValue *value)
{
	if (value->type != jbvString)
		return false;
	test->operand.string.len = value->val.string.len;
	test->operand.string.str = pnstrdup(value->val.string.val, value->val.string.len);
	return true;
}

static bool
matches_equal(const Test *test, const Event *event)
{
	JsonbValue	value;

	return event_field(event, test->key->field, &value) &&
		value.type == jbvString &&
		value.val.string.len == test->operand.string.len &&
		memcmp(value.val.string.val, test->operand.string.str,
			   value.val.string.len) == 0;
}

static bool
compile_flag(Test *test, const JsonbValue *value)
{
	if (value->type != jbvBool)
		return false;
	test->operand.flag = value->val.boolean;
	return true;
}

/* true asks for true; false asks for nothing. */
static bool
matches_true(const Test *test, const Event *event)
{
	JsonbValue	value;

	if (!test->operand.flag)
		return true;
	return event_field(event, test->key->field, &value) &&
		value.type == jbvBool && value.val.boolean;
}

/*
 * Substrings
 */

/*
 * Simple case folding, up to the choice of who stands for a class: two code
 * points fold to the same here exactly if Unicode's simple folding says so.
 * (Lower of upper is a folding; the dotted capital and the dotless small i of
 * Turkish are the two that fold to themselves but have a case mapping to or
 * from ASCII.)
 */
static int32
fold(int32 c)
{
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
	if (c == 0x130 || c == 0x131)
		return c;
	return utf8proc_tolower(utf8proc_toupper(c));
}

/*
 * fold() of what takes one or two bytes of UTF-8, which is most of what has
 * cases at all.  Filled in before the first needle is compiled.
 */
static uint16 folded[0x800];

static void
folded_prepare(void)
{
	if (folded['A'] != 0)
		return;
	for (int c = 0; c < (int) lengthof(folded); c++)
		folded[c] = fold(c);
}

/*
 * The folded code point at *p, and move on.  A byte that is not part of valid
 * UTF-8, which a database never holds, equals only itself.
 */
static inline int32
next_folded(const unsigned char **p, const unsigned char *end)
{
	const unsigned char *byte = *p;
	utf8proc_int32_t c;
	utf8proc_ssize_t n;

	if (byte[0] < 0x80)
	{
		*p += 1;
		return folded[byte[0]];
	}
	if (byte[0] >= 0xC2 && byte[0] <= 0xDF && end - byte >= 2 && (byte[1] & 0xC0) == 0x80)
	{
		*p += 2;
		return folded[(byte[0] & 0x1F) << 6 | (byte[1] & 0x3F)];
	}
	n = utf8proc_iterate(byte, end - byte, &c);
	if (n <= 0)
	{
		*p += 1;
		return 0x110000 + byte[0];
	}
	*p += n;
	return fold(c);
}

static bool
compile_needle(Test *test, const JsonbValue *value)
{
	const unsigned char *p;
	const unsigned char *end;
	Needle	   *needle;
	int			matched = 0;

	if (value->type != jbvString)
		return false;

	folded_prepare();
	p = (const unsigned char *) value->val.string.val;
	end = p + value->val.string.len;
	needle = palloc0(offsetof(Needle, chars) + value->val.string.len * sizeof(int32));
	test->operand.needle = needle;
	while (p < end)
		needle->chars[needle->length++] = next_folded(&p, end);
	if (needle->length == 0)
		return true;

	needle->fallback = palloc0(needle->length * sizeof(int));
	for (int i = 1; i < needle->length; i++)
	{
		while (matched > 0 && needle->chars[i] != needle->chars[matched])
			matched = needle->fallback[matched - 1];
		if (needle->chars[i] == needle->chars[matched])
			matched++;
		needle->fallback[i] = matched;
	}

	/*
	 * Only a few bytes can begin a match with an ASCII character: itself, its
	 * capital and, for k and s, the Kelvin sign and the long s.  Otherwise
	 * any byte beyond ASCII can.
	 */
	for (int byte = 0; byte < 256; byte++)
		needle->starts[byte] = byte < 0x80 ?
			fold(byte) == needle->chars[0] : needle->chars[0] >= 0x80;
	if (needle->chars[0] == fold(0x212A))
		needle->starts[0xE2] = true;
	if (needle->chars[0] == fold(0x017F))
		needle->starts[0xC5] = true;
	return true;
}

static bool
needle_found(const Needle *needle, const char *str, int len)
{
	const unsigned char *p = (const unsigned char *) str;
	const unsigned char *end = p + len;
	int			matched = 0;

	if (needle->length == 0)
		return true;
	for (;;)
	{
		int32		c;

		if (matched == 0)
		{
			while (p < end && !needle->starts[*p])
				p++;
		}
		if (p == end)
			return false;
		c = next_folded(&p, end);
		while (matched > 0 && c != needle->chars[matched])
			matched = needle->fallback[matched - 1];
		if (c == needle->chars[matched] && ++matched == needle->length)
			return true;
	}
}

static bool
matches_contains(const Test *test, const Event *event)
{
	JsonbValue	value;

	if (!event_field(event, test->key->field, &value) || value.type != jbvString)
		return needle_found(test->operand.needle, "", 0);
	return needle_found(test->operand.needle, value.val.string.val, value.val.string.len);
}

/*
 * Mistakes
 */

/* Somebody's text for a message: shortened, on one line. */
static char *
quotable(const char *str, int len)
{
	bool		cut = len > MAX_QUOTED;
	char	   *copy;

	if (cut)
	{
		len = MAX_QUOTED;
		while (len > 0 && ((unsigned char) str[len] & 0xC0) == 0x80)
			len--;
	}
	copy = psprintf("%.*s%s", len, str, cut ? "..." : "");
	for (char *p = copy; *p; p++)
	{
		if ((unsigned char) *p < ' ' || *p == 0x7F)
			*p = '?';
	}
	return copy;
}

static char *
describe(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return psprintf("\"%s\"", quotable(value->val.string.val, value->val.string.len));
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvArray:
			return "an array";
		case jbvObject:
			return "an object";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "something else";
	}
}

/* 'Trigger type "donation" takes "min_amount" and "currency", for example ...' */
static char *
describe_type(TriggerType type)
{
	StringInfoData str;
	const ConditionKey *last = NULL;
	const ConditionKey *first = NULL;

	for (int i = 0; i < NKEYS; i++)
	{
		if (has_type(&condition_keys[i], type))
		{
			last = &condition_keys[i];
			if (first == NULL)
				first = last;
		}
	}
	if (first == NULL)
		return psprintf("Trigger type \"%s\" takes no conditions; leave them empty: {}.",
						trigger_type_name(type));

	initStringInfo(&str);
	appendStringInfo(&str, "Trigger type \"%s\" takes ", trigger_type_name(type));
	for (const ConditionKey *key = first; key <= last; key++)
	{
		if (has_type(key, type))
			appendStringInfo(&str, "%s\"%s\"",
							 key == first ? "" : key == last ? " and " : ", ",
							 key->name);
	}
	appendStringInfo(&str, ", for example %s.", first->example);
	return str.data;
}

/* The key of that type whose name is nearest to what was written, or NULL when none is near. */
static const ConditionKey *
nearest_key(const char *name, int len, TriggerType type)
{
	const ConditionKey *nearest = NULL;
	int			distance = Min(MAX_KEY_DISTANCE, len / 2);

	if (len > MAX_KEY_LENGTH)
		return NULL;
	for (int i = 0; i < NKEYS; i++)
	{
		const ConditionKey *key = &condition_keys[i];
		int			d;

		if (!has_type(key, type))
			continue;
		d = varstr_levenshtein_less_equal(name, len, key->name, strlen(key->name),
										  1, 1, 1, distance, true);
		if (d <= distance)
		{
			nearest = key;
			distance = d - 1;
		}
	}
	return nearest;
}

/* 'It is for trigger type "raid".', or an empty string when no type has the key. */
static char *
describe_owners(const char *name, int len)
{
	StringInfoData hint;

	initStringInfo(&hint);
	for (int i = 0; i < NKEYS; i++)
	{
		if (!is_named(&condition_keys[i], name, len))
			continue;
		for (int type = 0; type < TRIGGER_TYPES; type++)
		{
			if (has_type(&condition_keys[i], type))
				appendStringInfo(&hint, "%s \"%s\"",
								 hint.len == 0 ? "It is for trigger type" : " and",
								 trigger_type_name(type));
		}
	}
	if (hint.len > 0)
		appendStringInfoChar(&hint, '.');
	return hint.data;
}

static bool
mistake_unknown_key(Mistake *error, const char *name, int len, TriggerType type)
{
	const char *owners = describe_owners(name, len);
	const ConditionKey *nearest;

	if (owners[0] != '\0')
		return mistake(error,
					   psprintf("condition \"%.*s\" does not apply to trigger type \"%s\"",
								len, name, trigger_type_name(type)),
					   psprintf("%s %s", owners, describe_type(type)));

	nearest = nearest_key(name, len, type);
	return mistake(error,
				   psprintf("unknown condition \"%s\" for trigger type \"%s\"",
							quotable(name, len), trigger_type_name(type)),
				   nearest ?
				   psprintf("Did you mean \"%s\"? It takes %s, for example %s.",
							nearest->name, nearest->takes, nearest->example) :
				   describe_type(type));
}

/*
 * Compiling and testing
 */

/* Are the conditions an object, small and shallow enough to be looked at? */
static bool
check_shape(const Jsonb *conditions, TriggerType type, Mistake *error)
{
	Jsonb	   *jb = unconstify(Jsonb *, conditions);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			depth = 0;

	if (!JB_ROOT_IS_OBJECT(jb))
	{
		if (!JsonbExtractScalar(&jb->root, &value))
			value.type = jbvArray;
		return mistake(error,
					   psprintf("conditions must be a JSON object, not %s", describe(&value)),
					   describe_type(type));
	}
	if (VARSIZE(jb) > MAX_SIZE)
		return mistake(error, "conditions are too large",
					   psprintf("They can take up to %d kB.", MAX_SIZE / 1024));

	it = JsonbIteratorInit(&jb->root);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
			depth++;
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		if (depth > MAX_DEPTH)
			return mistake(error, "conditions are nested too deeply",
						   psprintf("Objects and arrays can stand in each other up to %d levels deep.",
									MAX_DEPTH));
	}
	return true;
}

static bool
compile_test(Test *test, const JsonbValue *name, const JsonbValue *value,
			 TriggerType type, Mistake *error)
{
	for (int i = 0; i < NKEYS; i++)
	{
		const ConditionKey *key = &condition_keys[i];

		if (!has_type(key, type) ||
			!is_named(key, name->val.string.val, name->val.string.len))
			continue;

		test->key = key;
		if (key->compile(test, value))
			return true;
		return mistake(error,
					   psprintf("condition \"%s\" takes %s, not %s",
								key->name, key->takes, describe(value)),
					   psprintf("Write for example %s.", key->example));
	}
	return mistake_unknown_key(error, name->val.string.val, name->val.string.len, type);
}

Condition *
condition_compile(const Jsonb *conditions, TriggerType type, Mistake *error)
{
	Condition  *condition;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	if (conditions == NULL)
		return palloc0(offsetof(Condition, tests));
	if (!check_shape(conditions, type, error))
		return NULL;

	condition = palloc0(offsetof(Condition, tests) +
						JB_ROOT_COUNT(conditions) * sizeof(Test));
	it = JsonbIteratorInit(&unconstify(Jsonb *, conditions)->root);
	while ((token = JsonbIteratorNext(&it, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		if (value.type == jbvNull)
			continue;			/* the same as a key that is not there */
		if (!compile_test(&condition->tests[condition->ntests], &name, &value, type, error))
			return NULL;
		condition->ntests++;
	}
	return condition;
}

bool
condition_matches(const Condition *condition, const Event *event)
{
	for (int i = 0; i < condition->ntests; i++)
	{
		const Test *test = &condition->tests[i];

		if (!test->key->matches(test, event))
			return false;
	}
	return true;
}
