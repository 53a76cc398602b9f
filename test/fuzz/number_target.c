/*-------------------------------------------------------------------------
 *
 * number_target.c
 *		Numbers: two texts with a newline between them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "fuzz.h"

#include "number.h"

/* Numbers with magnitudes up to this are compared with what numeric says. */
#define MAX_MAGNITUDE 2000

static int
sign(int64 n)
{
	return n < 0 ? -1 : n > 0;
}

static int
digits(Slice text, int from)
{
	int			n = 0;

	while (from + n < text.len && text.data[from + n] >= '0' && text.data[from + n] <= '9')
		n++;
	return n;
}

static bool
has_at(Slice text, int at, const char *chars)
{
	return at < text.len && text.data[at] != '\0' && strchr(chars, text.data[at]) != NULL;
}

/* The length of the number that a text begins with, 0 for none, by the rules of the reference. */
static int
number_length(Slice text)
{
	int			at = has_at(text, 0, "+-") ? 1 : 0;
	int			exponent;

	if (digits(text, at) == 0)
		return 0;
	at += digits(text, at);
	if (has_at(text, at, ".") && digits(text, at + 1) > 0)
		at += 1 + digits(text, at + 1);
	if (has_at(text, at, "eE"))
	{
		exponent = at + 1 + (has_at(text, at + 1, "+-") ? 1 : 0);
		if (digits(text, exponent) > 0)
			at = exponent + digits(text, exponent);
	}
	return at;
}

static bool
parse(Slice text, Decimal *decimal)
{
	const char *rest = NULL;
	int			length = number_length(text);

	if (!decimal_parse(text.data, text.len, decimal, &rest))
	{
		FUZZ_CHECK(length == 0);
		return false;
	}
	FUZZ_CHECK(rest - text.data == length);
	FUZZ_CHECK(decimal->sign >= -1 && decimal->sign <= 1);
	FUZZ_CHECK(decimal->sign == 0 || *decimal->digits != '0');
	return true;
}

/* Zero with an exponent, which numeric may take for too large. */
static bool
is_scaled_zero(Slice text, const Decimal *decimal)
{
	return decimal->sign == 0 && number_length(text) > 0 &&
		(memchr(text.data, 'e', number_length(text)) || memchr(text.data, 'E', number_length(text)));
}

/* The value as text, and as the number that it begins with. */
static JsonbValue
as_string(Slice text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text.data);
	value.val.string.len = text.len;
	return value;
}

static JsonbValue
as_numeric(Slice text)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in,
															CStringGetDatum(pnstrdup(text.data, number_length(text))),
															ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return value;
}

/* Compared as hooks do: the second is the hook's, and must be a number as a whole. */
static void
check_order(JsonbValue value, JsonbValue hooks, int expected)
{
	Number		number;
	int			order;

	FUZZ_CHECK(number_compile(&hooks, &number));
	FUZZ_CHECK(number_compare(&value, &number, &order));
	FUZZ_CHECK(sign(order) == expected);
}

void
fuzz_number(Slice input)
{
	Slice		a;
	Slice		b;
	Slice		whole_b;
	Decimal		first;
	Decimal		second;
	JsonbValue	value;
	Number		number;
	bool		is_number;
	int			order;
	int			expected;

	if (!fuzz_split(input, false, &a, &b))
		return;

	/* A hook's number must be one to its end. */
	value = as_string(b);
	FUZZ_CHECK(number_compile(&value, &number) ==
			   (memchr(b.data, '\0', b.len) == NULL && b.len > 0 && number_length(b) == b.len) ||
			   memchr(b.data, '\0', b.len) != NULL);
	is_number = parse(a, &first);
	is_number &= parse(b, &second);
	if (!is_number)
		return;

	order = sign(decimal_compare(&first, &second));
	FUZZ_CHECK(order == -sign(decimal_compare(&second, &first)));
	FUZZ_CHECK(decimal_compare(&first, &first) == 0);
	whole_b = fuzz_copy(slice(b.data, number_length(b)));
	check_order(as_string(a), as_string(whole_b), order);

	if (first.magnitude > MAX_MAGNITUDE || first.magnitude < -MAX_MAGNITUDE ||
		second.magnitude > MAX_MAGNITUDE || second.magnitude < -MAX_MAGNITUDE ||
		is_scaled_zero(a, &first) || is_scaled_zero(b, &second))
		return;
	expected = sign(DatumGetInt32(DirectFunctionCall2(numeric_cmp,
													  NumericGetDatum(as_numeric(a).val.numeric),
													  NumericGetDatum(as_numeric(b).val.numeric))));
	if (order != expected)
		fuzz_fail("order is %d, not %d", order, expected);
	check_order(as_numeric(a), as_numeric(b), expected);
	check_order(as_string(a), as_numeric(b), expected);
	check_order(as_numeric(a), as_string(whole_b), expected);
}
