/*-------------------------------------------------------------------------
 *
 * predicate.c
 *		The operators of conditions, a row each in the table "operators".
 *
 * What is compared with a number is compared as a number: JSON numbers, and
 * texts by the number they begin with ("10.00" equals 10).  Texts are compared
 * exactly, or ignoring case where that is asked for.  A value that is missing
 * or null satisfies only what denies something: $ne, $nin and $exists false.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "predicate.h"

/* ----------
 * Constants
 * ----------
 */

static bool
constant_compile(Constant *constant, const JsonbValue *value, int types)
{
	memset(constant, 0, sizeof(*constant));
	constant->type = value->type;
	switch (value->type)
	{
		case jbvString:
			constant->string = slice_copy(slice(value->val.string.val, value->val.string.len));
			constant->has_number = number_compile(value, &constant->number);
			return (types & CONSTANT_STRING) != 0;
		case jbvNumeric:
			constant->has_number = number_compile(value, &constant->number);
			return (types & CONSTANT_NUMBER) != 0;
		case jbvBool:
			constant->flag = value->val.boolean;
			return (types & CONSTANT_BOOL) != 0;
		default:
			return false;
	}
}

bool
constants_compile(Predicate *predicate, const JsonbValue *operand, int types, bool list_only)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (operand->type != jbvBinary)
	{
		predicate->nconstants = 1;
		predicate->constants = palloc(sizeof(Constant));
		return !list_only && constant_compile(predicate->constants, operand, types);
	}

	if (!JsonContainerIsArray(operand->val.binary.data) ||
		JsonContainerSize(operand->val.binary.data) < 1 ||
		JsonContainerSize(operand->val.binary.data) > MAX_CONSTANTS)
		return false;
	predicate->constants = palloc(sizeof(Constant) * JsonContainerSize(operand->val.binary.data));
	predicate->nconstants = 0;
	iterator = JsonbIteratorInit(operand->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM &&
			!constant_compile(&predicate->constants[predicate->nconstants++], &element, types))
			return false;
	}
	return true;
}

static Slice
string_of(const JsonbValue *value)
{
	return slice(value->val.string.val, value->val.string.len);
}

static bool
constant_equals(const Constant *constant, const JsonbValue *value, bool ignore_case)
{
	int			order;

	if (constant->type == jbvBool)
		return value->type == jbvBool && value->val.boolean == constant->flag;
	if (constant->type == jbvString && value->type == jbvString)
		return slice_equal(string_of(value), constant->string, ignore_case);
	return constant->has_number && number_compare(value, &constant->number, &order) && order == 0;
}

/* Is a number equal to any of those constants that are no numeric?  Its digits are found once. */
static bool
equals_any_large(const Predicate *predicate, const JsonbValue *value)
{
	Decimal		decimal;
	char	   *digits = NULL;
	bool		equal = false;

	for (int i = 0; i < predicate->nconstants && !equal; i++)
	{
		const Constant *constant = &predicate->constants[i];

		if (!constant->has_number || constant->number.numeric != NULL)
			continue;
		if (digits == NULL)
			digits = number_digits(value, &decimal);
		equal = decimal_compare(&decimal, &constant->number.decimal) == 0;
	}
	if (digits != NULL)
		pfree(digits);
	return equal;
}

bool
equals_any(const Predicate *predicate, const JsonbValue *value)
{
	for (int i = 0; i < predicate->nconstants; i++)
	{
		const Constant *constant = &predicate->constants[i];

		if (value->type == jbvNumeric && constant->has_number && constant->number.numeric == NULL)
			continue;			/* below */
		if (constant_equals(constant, value, predicate->ignore_case))
			return true;
	}
	return value->type == jbvNumeric && equals_any_large(predicate, value);
}

/* ----------
 * Equality
 * ----------
 */

static bool
compile_one(Predicate *predicate, const JsonbValue *operand)
{
	return operand->type != jbvBinary &&
		constants_compile(predicate, operand, CONSTANT_STRING | CONSTANT_NUMBER | CONSTANT_BOOL, false);
}

static bool
compile_list(Predicate *predicate, const JsonbValue *operand)
{
	return constants_compile(predicate, operand,
							 CONSTANT_STRING | CONSTANT_NUMBER | CONSTANT_BOOL, true);
}

static bool
holds_equal(const Predicate *predicate, const JsonbValue *value)
{
	return value != NULL && equals_any(predicate, value);
}

static bool
holds_unequal(const Predicate *predicate, const JsonbValue *value)
{
	return !holds_equal(predicate, value);
}

static bool
compile_flag(Predicate *predicate, const JsonbValue *operand)
{
	predicate->flag = operand->type == jbvBool && operand->val.boolean;
	return operand->type == jbvBool;
}

static bool
holds_exists(const Predicate *predicate, const JsonbValue *value)
{
	return (value != NULL) == predicate->flag;
}

/* ----------
 * Order
 * ----------
 */

static bool
compile_ordered(Predicate *predicate, const JsonbValue *operand)
{
	return operand->type != jbvBinary &&
		constants_compile(predicate, operand, CONSTANT_STRING | CONSTANT_NUMBER, false);
}

/* Numbers by their value, other texts code point by code point. */
static bool
compare(const Predicate *predicate, const JsonbValue *value, int *order)
{
	const Constant *constant = &predicate->constants[0];
	Slice		text;

	if (value == NULL)
		return false;
	if (constant->has_number)
		return number_compare(value, &constant->number, order);
	if (value->type != jbvString)
		return false;
	text = string_of(value);
	*order = memcmp(text.data, constant->string.data, Min(text.len, constant->string.len));
	if (*order == 0)
		*order = text.len - constant->string.len;
	return true;
}

static bool
holds_greater(const Predicate *predicate, const JsonbValue *value)
{
	int			order;

	return compare(predicate, value, &order) && order > 0;
}

static bool
holds_at_least(const Predicate *predicate, const JsonbValue *value)
{
	int			order;

	return compare(predicate, value, &order) && order >= 0;
}

static bool
holds_less(const Predicate *predicate, const JsonbValue *value)
{
	int			order;

	return compare(predicate, value, &order) && order < 0;
}

static bool
holds_at_most(const Predicate *predicate, const JsonbValue *value)
{
	int			order;

	return compare(predicate, value, &order) && order <= 0;
}

/* ----------
 * Parts of texts
 * ----------
 */

static bool
compile_texts(Predicate *predicate, const JsonbValue *operand)
{
	return constants_compile(predicate, operand, CONSTANT_STRING, false);
}

static bool
compile_needles(Predicate *predicate, const JsonbValue *operand)
{
	if (!constants_compile(predicate, operand, CONSTANT_STRING | CONSTANT_NUMBER, false))
		return false;
	for (int i = 0; i < predicate->nconstants; i++)
	{
		Constant   *constant = &predicate->constants[i];

		if (constant->type == jbvString)
			constant->compiled = needle_compile(constant->string, predicate->ignore_case);
	}
	return true;
}

static bool
compile_patterns(Predicate *predicate, const JsonbValue *operand)
{
	if (!compile_texts(predicate, operand))
		return false;
	for (int i = 0; i < predicate->nconstants; i++)
	{
		Constant   *constant = &predicate->constants[i];

		constant->compiled = pattern_compile(constant->string, predicate->ignore_case);
		if (constant->compiled == NULL)
			return false;
	}
	return true;
}

/* An element of an array, which has any of the constants. */
static bool
array_contains(const Predicate *predicate, const JsonbValue *value)
{
	int			n = JsonContainerSize(value->val.binary.data);

	for (int i = 0; i < n; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(value->val.binary.data, i);

		if (element != NULL && equals_any(predicate, element))
			return true;
	}
	return false;
}

static bool
holds_contains(const Predicate *predicate, const JsonbValue *value)
{
	if (value != NULL && value->type == jbvBinary)
		return JsonContainerIsArray(value->val.binary.data) && array_contains(predicate, value);
	if (value == NULL || value->type != jbvString)
		return false;
	for (int i = 0; i < predicate->nconstants; i++)
	{
		const Needle *needle = predicate->constants[i].compiled;

		if (needle != NULL && needle_found(needle, string_of(value)))
			return true;
	}
	return false;
}

static bool
holds_starts_with(const Predicate *predicate, const JsonbValue *value)
{
	if (value == NULL || value->type != jbvString)
		return false;
	for (int i = 0; i < predicate->nconstants; i++)
	{
		if (slice_starts_with(string_of(value), predicate->constants[i].string,
							 predicate->ignore_case))
			return true;
	}
	return false;
}

static bool
holds_ends_with(const Predicate *predicate, const JsonbValue *value)
{
	if (value == NULL || value->type != jbvString)
		return false;
	for (int i = 0; i < predicate->nconstants; i++)
	{
		if (slice_ends_with(string_of(value), predicate->constants[i].string,
						   predicate->ignore_case))
			return true;
	}
	return false;
}

static bool
holds_like(const Predicate *predicate, const JsonbValue *value)
{
	if (value == NULL || value->type != jbvString)
		return false;
	for (int i = 0; i < predicate->nconstants; i++)
	{
		if (pattern_matches(predicate->constants[i].compiled, string_of(value)))
			return true;
	}
	return false;
}

/* ----------
 * The table
 * ----------
 */

#define ONE_VALUE "a string, a number, true or false"
#define VALUES "a list of strings, numbers, true or false"
#define ORDERED "a number or a string"
#define TEXTS "a string or a list of strings"

static const Operator operators[] = {
	{"$eq", compile_one, holds_equal, ONE_VALUE, "\"EUR\""},
	{"$ne", compile_one, holds_unequal, ONE_VALUE, "\"EUR\""},
	{"$gt", compile_ordered, holds_greater, ORDERED, "5"},
	{"$gte", compile_ordered, holds_at_least, ORDERED, "5"},
	{"$lt", compile_ordered, holds_less, ORDERED, "100"},
	{"$lte", compile_ordered, holds_at_most, ORDERED, "100"},
	{"$in", compile_list, holds_equal, VALUES, "[\"EUR\", \"USD\"]"},
	{"$nin", compile_list, holds_unequal, VALUES, "[\"EUR\", \"USD\"]"},
	{"$contains", compile_needles, holds_contains, TEXTS, "\"hello\""},
	{"$starts_with", compile_texts, holds_starts_with, TEXTS, "\"hello\""},
	{"$ends_with", compile_texts, holds_ends_with, TEXTS, "\"?\""},
	{"$like", compile_patterns, holds_like, TEXTS " of up to 200 characters", "\"gg*\""},
	{"$exists", compile_flag, holds_exists, "true or false", "true"},
};

const Operator *
operator_find(const char *name, int len)
{
	for (int i = 0; i < (int) lengthof(operators); i++)
	{
		if (strlen(operators[i].name) == (size_t) len && memcmp(operators[i].name, name, len) == 0)
			return &operators[i];
	}
	return NULL;
}

const char *
operator_name(int i)
{
	return i < (int) lengthof(operators) ? operators[i].name : NULL;
}

bool
predicate_compile(Predicate *predicate, const Operator *operator, const JsonbValue *operand)
{
	predicate->operator = operator;
	return operator->compile(predicate, operand);
}

bool
predicate_holds(const Predicate *predicate, const JsonbValue *value)
{
	return predicate->operator->holds(predicate, value);
}
