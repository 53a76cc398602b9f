/*-------------------------------------------------------------------------
 *
 * number.h
 *		Numbers as hooks compare them: decimals of any length, exactly.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_NUMBER_H
#define HOOKS_NUMBER_H

#include "utils/jsonb.h"

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

/*
 * The number that a text begins with: an optional sign, digits, optionally a
 * point with digits, optionally an exponent.  False when it begins with none.
 * *rest points behind it.
 */
extern bool decimal_parse(const char *str, int len, Decimal *number, const char **rest);

/* Less than, equal to or greater than 0, as a is less than, equal to or greater than b. */
extern int	decimal_compare(const Decimal *a, const Decimal *b);

/* A number to compare with, from a hook. */
typedef struct Number
{
	Decimal		decimal;
	Numeric		numeric;		/* the same, when it came as one; else NULL */
} Number;

/*
 * The number that a JSON value of a hook is: a JSON number, or a string that
 * is one from its first to its last character.  Allocates what it keeps.
 */
extern bool number_compile(const JsonbValue *value, Number *number);

/*
 * Compare the number that a JSON value of an event is or, being a string,
 * begins with.  False when it is none.  *order is less than, equal to or
 * greater than 0, as the value is.
 */
extern bool number_compare(const JsonbValue *value, const Number *number, int *order);

/*
 * The digits of a JSON number, to be compared with many.  Returns the text that
 * they stand in, which the caller frees.
 */
extern char *number_digits(const JsonbValue *value, Decimal *decimal);

#endif							/* HOOKS_NUMBER_H */
