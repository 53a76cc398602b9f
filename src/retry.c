/*-------------------------------------------------------------------------
 *
 * retry.c
 *		Whether and when a delivery that has failed is tried again.  See
 *		retry.h.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "retry.h"

/* A delay is longer or shorter by up to this part of it. */
#define JITTER 0.2

/* ----------
 * Compiling
 * ----------
 */

static bool
find_key(const Jsonb *config, const char *key, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&unconstify(Jsonb *, config)->root, key, strlen(key),
										value) != NULL && value->type != jbvNull;
}

/* A number from least to most; false when it is none. */
static bool
take_number(const JsonbValue *value, double least, double most, double *number)
{
	Datum		numeric;

	if (value->type != jbvNumeric)
		return false;

	/* What is far out of range might not even be a float8. */
	numeric = NumericGetDatum(value->val.numeric);
	if (!DatumGetBool(DirectFunctionCall2(numeric_ge, numeric,
										  NumericGetDatum(int64_to_numeric((int64) least)))) ||
		!DatumGetBool(DirectFunctionCall2(numeric_le, numeric,
										  NumericGetDatum(int64_to_numeric((int64) most)))))
		return false;
	*number = DatumGetFloat8(DirectFunctionCall1(numeric_float8, numeric));
	return *number >= least && *number <= most;
}

bool
retry_integer(const Jsonb *config, const char *key, int least, int most, int example,
			  int *result, Mistake *error)
{
	JsonbValue	value;
	double		number;

	if (!find_key(config, key, &value))
		return true;
	if (!take_number(&value, least, most, &number) || number != (int) number)
		return mistake(error, psprintf("\"%s\" in action_config must be a whole number from %d to %d",
									   key, least, most),
					   psprintf("For example {\"%s\": %d}.", key, example));
	*result = (int) number;
	return true;
}

/* The numbers of a list under a key: how many, -1 for no list; -2 with *error filled in. */
static int
compile_list(const Jsonb *config, const char *key, double least, double most, int most_items,
			 double *numbers, char *wrong, const char *example, Mistake *error)
{
	JsonbValue	value;
	JsonbValue	item;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	int			n = 0;

	if (!find_key(config, key, &value))
		return -1;
	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data) ||
		JsonContainerSize(value.val.binary.data) > most_items)
	{
		(void) mistake(error, wrong, pstrdup(example));
		return -2;
	}
	iterator = JsonbIteratorInit(value.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (!take_number(&item, least, most, &numbers[n++]))
		{
			(void) mistake(error, wrong, pstrdup(example));
			return -2;
		}
	}
	return n;
}

bool
retry_policy_compile(const Jsonb *config, const RetryDefaults *defaults, RetryPolicy *policy,
					 Mistake *error)
{
	double		numbers[Max(RETRY_MAX_DELAYS, RETRY_MAX_STATUSES)];
	int			max_age = defaults->max_age;
	int			n;

	n = compile_list(config, "retry_schedule", 0.1, RETRY_MAX_DELAY_SECONDS, RETRY_MAX_DELAYS, numbers,
					 psprintf("\"retry_schedule\" in action_config must be a list of up to %d numbers of seconds",
							  RETRY_MAX_DELAYS),
					 "Each is from 0.1 to 86400, for example {\"retry_schedule\": [2, 15, 60]}.", error);
	if (n == -2)
		return false;
	if (n == -1)
	{
		n = defaults->ndelays;
		memcpy(numbers, defaults->delays, sizeof(double) * n);
	}
	policy->ndelays = n;
	for (int i = 0; i < n; i++)
		policy->delays[i] = (int64) (numbers[i] * USECS_PER_SEC);
	policy->max_attempts = n + 1;

	if (!retry_integer(config, "max_attempts", 1, RETRY_MAX_ATTEMPTS, 3, &policy->max_attempts,
						 error) ||
		!retry_integer(config, "max_age_seconds", 1, RETRY_MAX_AGE_SECONDS, 3600, &max_age, error))
		return false;
	if (policy->ndelays == 0 && policy->max_attempts > 1)
		return mistake(error, "\"max_attempts\" in action_config is more than one, but \"retry_schedule\" is empty",
					   "For example {\"max_attempts\": 3, \"retry_schedule\": [2, 15]}.");
	policy->max_age = max_age * USECS_PER_SEC;

	policy->nstatuses = compile_list(config, "retry_on", 300, 599, RETRY_MAX_STATUSES, numbers,
									 psprintf("\"retry_on\" in action_config must be a list of up to %d HTTP statuses",
											  RETRY_MAX_STATUSES),
									 "Each is from 300 to 599, for example {\"retry_on\": [429, 500, 503]}.",
									 error);
	if (policy->nstatuses == -2)
		return false;
	for (int i = 0; i < policy->nstatuses; i++)
	{
		policy->statuses[i] = (int) numbers[i];
		if (policy->statuses[i] != numbers[i])
			return mistake(error, "an HTTP status in \"retry_on\" is not a whole number",
						   "For example {\"retry_on\": [429, 500, 503]}.");
	}
	return true;
}

/* ----------
 * Deciding
 * ----------
 */

bool
retry_status(const RetryPolicy *policy, int status)
{
	if (policy->nstatuses < 0)
		return status == 408 || status == 425 || status == 429 ||
			(status >= 500 && status <= 599 && status != 501 && status != 505);
	for (int i = 0; i < policy->nstatuses; i++)
	{
		if (policy->statuses[i] == status)
			return true;
	}
	return false;
}

TimestampTz
retry_at(const RetryPolicy *policy, int attempts, int64 wish, double chance, TimestampTz now)
{
	int64		delay;

	if (attempts >= policy->max_attempts || policy->ndelays == 0)
		return DT_NOEND;
	delay = policy->delays[Min(Max(attempts, 1), policy->ndelays) - 1];
	delay = (int64) (delay * (1 - JITTER + 2 * JITTER * chance));
	return now + Max(delay, Min(wish, RETRY_LONGEST_WISH));
}
