/*-------------------------------------------------------------------------
 *
 * number.c
 *		Parse and compare numbers of any length and exponent.
 *
 * Nothing that a hook or an event contains may raise an error, overflow or
 * cost more than its length.  So numbers in texts are compared digit by digit
 * where they stand (struct Decimal): numeric's exact order without its
 * limits; 1e-20000 and 1e999999 compare as what they say.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "number.h"

/* Longer or larger numbers in texts are not turned into numeric. */
#define MAX_DIGITS 500

/* 10 to a power beyond this is the same to everybody. */
#define MAX_EXPONENT (PG_INT64_MAX / 100)

static inline bool
is_digit(const char *p, const char *end)
{
	return p < end && *p >= '0' && *p <= '9';
}

bool
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

int
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
			return decimal_parse(value->val.string.val, value->val.string.len, number, rest);
		case jbvNumeric:
			str = DatumGetCString(DirectFunctionCall1(numeric_out,
													  NumericGetDatum(value->val.numeric)));
			return decimal_parse(str, strlen(str), number, rest);
		default:
			return false;
	}
}

bool
number_compile(const JsonbValue *value, Number *number)
{
	JsonbValue	copy = *value;
	const char *rest;

	number->numeric = NULL;
	if (value->type == jbvString)
		copy.val.string.val = pnstrdup(value->val.string.val, value->val.string.len);
	else if (value->type == jbvNumeric)
		number->numeric = DatumGetNumericCopy(NumericGetDatum(value->val.numeric));
	if (!decimal_from_json(&copy, &number->decimal, &rest))
		return false;
	if (value->type != jbvString)
		return true;
	if (rest != copy.val.string.val + copy.val.string.len)
		return false;

	/* Well within what numeric takes, comparing with numbers costs less as one. */
	if (copy.val.string.len <= MAX_DIGITS &&
		number->decimal.magnitude <= MAX_DIGITS && number->decimal.magnitude >= -MAX_DIGITS)
		number->numeric =
			DatumGetNumeric(DirectFunctionCall3(numeric_in,
												CStringGetDatum(number->decimal.sign == 0 ? "0" :
																copy.val.string.val),
												ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return true;
}

bool
number_compare(const JsonbValue *value, const Number *number, int *order)
{
	Decimal		decimal;
	const char *rest;

	if (value->type == jbvNumeric && number->numeric != NULL)
	{
		*order = DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(value->val.numeric),
												   NumericGetDatum(number->numeric)));
		return true;
	}
	if (!decimal_from_json(value, &decimal, &rest))
		return false;
	*order = decimal_compare(&decimal, &number->decimal);
	return true;
}

char *
number_digits(const JsonbValue *value, Decimal *decimal)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out,
														   NumericGetDatum(value->val.numeric)));
	const char *rest;

	(void) decimal_parse(text, strlen(text), decimal, &rest);
	return text;
}
