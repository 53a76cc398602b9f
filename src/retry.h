/*-------------------------------------------------------------------------
 *
 * retry.h
 *		Whether and when a delivery that has failed is tried again.
 *
 * A hook's action_config may set max_attempts, retry_schedule (seconds to
 * wait after each failed attempt; the last one repeats), max_age_seconds,
 * retry_on (the HTTP statuses that are worth another attempt).  Each type of
 * action has its own defaults.  Pure: clock and chance are the caller's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_RETRY_H
#define HOOKS_RETRY_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "mistake.h"

#define RETRY_MAX_DELAYS 20
#define RETRY_MAX_ATTEMPTS 100
#define RETRY_MAX_DELAY_SECONDS (24 * 3600)
#define RETRY_MAX_AGE_SECONDS (30 * 24 * 3600)
#define RETRY_MAX_STATUSES 50

/* No answer's Retry-After holds us up for longer, in microseconds. */
#define RETRY_LONGEST_WISH (3600 * USECS_PER_SEC)

typedef struct RetryPolicy
{
	int			max_attempts;
	int			ndelays;
	int64		delays[RETRY_MAX_DELAYS];	/* microseconds */
	int64		max_age;		/* microseconds from the event to the last attempt's start */
	int			nstatuses;		/* -1: those that are usually retried */
	int			statuses[RETRY_MAX_STATUSES];
} RetryPolicy;

/* What a type of action does when its hook says nothing. */
typedef struct RetryDefaults
{
	int			ndelays;
	double		delays[5];		/* seconds */
	int			max_age;		/* seconds */
} RetryDefaults;

/*
 * A whole number under a key of action_config, left as it is when there is
 * none.  False with *error filled in when it is something else.
 */
extern bool retry_integer(const Jsonb *config, const char *key, int least, int most, int example,
						  int *result, Mistake *error);

/* Fill in a policy; false with *error filled in when action_config is wrong. */
extern bool retry_policy_compile(const Jsonb *config, const RetryDefaults *defaults,
								 RetryPolicy *policy, Mistake *error);

/* Is an answer with that HTTP status worth another attempt? */
extern bool retry_status(const RetryPolicy *policy, int status);

/*
 * When to try again after "attempts" attempts, of which the last has just
 * failed, or DT_NOEND for never.  "wish" is the answer's Retry-After in
 * microseconds, -1 for none; "chance" is from 0 to below 1.
 */
extern TimestampTz retry_at(const RetryPolicy *policy, int attempts, int64 wish, double chance,
							TimestampTz now);

#endif							/* HOOKS_RETRY_H */
