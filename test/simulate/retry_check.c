/*-------------------------------------------------------------------------
 *
 * retry_check.c
 *		Retry policies: what is taken, and when it is tried again.
 *
 *-------------------------------------------------------------------------
 */
#include "simulate.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

static const RetryDefaults defaults = {5, {2, 15, 60, 300, 1800}, 24 * 3600};

static bool
compile(const char *config, RetryPolicy *policy)
{
	Mistake		error = {0};
	Jsonb	   *jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(config)));
	bool		good = retry_policy_compile(jsonb, &defaults, policy, &error);

	CHECK(good == (error.message == NULL), "%s: no message, or one too many", config);
	CHECK(good || (error.hint != NULL && strstr(error.hint, "or example ")), "%s: no hint", config);
	return good;
}

static void
check_taken(void)
{
	static const char *const wrong[] = {
		"{\"max_attempts\": 0}", "{\"max_attempts\": 101}", "{\"max_attempts\": 1.5}",
		"{\"max_attempts\": \"3\"}", "{\"max_attempts\": 1e400}", "{\"max_attempts\": -1e400}",
		"{\"max_age_seconds\": 0}", "{\"max_age_seconds\": 2592001}", "{\"max_age_seconds\": []}",
		"{\"retry_schedule\": 2}", "{\"retry_schedule\": {}}", "{\"retry_schedule\": [0]}",
		"{\"retry_schedule\": [0.09]}", "{\"retry_schedule\": [86401]}", "{\"retry_schedule\": [[2]]}",
		"{\"retry_schedule\": [2, null]}", "{\"retry_schedule\": [\"2\"]}",
		"{\"retry_schedule\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}",
		"{\"retry_schedule\": [], \"max_attempts\": 2}",
		"{\"retry_on\": [299]}", "{\"retry_on\": [600]}", "{\"retry_on\": [429.5]}",
		"{\"retry_on\": \"429\"}", "{\"retry_on\": [true]}",
	};
	RetryPolicy policy;

	for (size_t i = 0; i < lengthof(wrong); i++)
		CHECK(!compile(wrong[i], &policy), "%s: taken", wrong[i]);

	CHECK(compile("{}", &policy) && policy.max_attempts == 6 && policy.ndelays == 5 &&
		  policy.delays[4] == SECS(1800) && policy.max_age == SECS(86400) && policy.nstatuses == -1,
		  "defaults");
	CHECK(compile("{\"max_attempts\": null, \"retry_schedule\": null, \"retry_on\": null}", &policy) &&
		  policy.max_attempts == 6 && policy.ndelays == 5 && policy.nstatuses == -1, "nulls");
	CHECK(compile("{\"retry_schedule\": [0.1, 86400]}", &policy) && policy.max_attempts == 3 &&
		  policy.ndelays == 2 && policy.delays[0] == MSECS(100) && policy.delays[1] == SECS(86400),
		  "a schedule of its own");
	CHECK(compile("{\"retry_schedule\": []}", &policy) && policy.max_attempts == 1, "no retries");
	CHECK(compile("{\"max_attempts\": 100, \"max_age_seconds\": 2592000}", &policy) &&
		  policy.max_attempts == 100 && policy.max_age == SECS(2592000), "the most there is");
	CHECK(compile("{\"retry_on\": []}", &policy) && policy.nstatuses == 0 &&
		  !retry_status(&policy, 500), "no status");
	CHECK(compile("{\"retry_on\": [404, 599]}", &policy) && retry_status(&policy, 404) &&
		  retry_status(&policy, 599) && !retry_status(&policy, 500), "statuses");
}

static void
check_statuses(void)
{
	RetryPolicy policy = {.nstatuses = -1};

	for (int status = 100; status < 700; status++)
	{
		bool		again = (status >= 500 && status < 600 && status != 501 && status != 505) ||
		status == 408 || status == 425 || status == 429;

		CHECK(retry_status(&policy, status) == again, "status %d", status);
	}
}

static void
check_times(Sim *sim)
{
	for (int i = 0; i < 100; i++)
	{
		RetryPolicy policy = {.max_attempts = (int) draw_between(sim, 1, 100)};
		TimestampTz now = draw(sim, SECS(INT64CONST(1000000000)));
		int			attempts = (int) draw_between(sim, 1, 110);
		int64		wish = one_in(sim, 2) ? -1 : draw_magnitude(sim, 0, PG_INT64_MAX / 4);
		double		chance = one_in(sim, 5) ? 0 : draw(sim, 1000000) / 1e6;
		TimestampTz at;
		int64		delay;

		policy.ndelays = (int) draw_between(sim, 0, 20);
		for (int j = 0; j < policy.ndelays; j++)
			policy.delays[j] = draw_magnitude(sim, MSECS(100), SECS(86400));
		at = retry_at(&policy, attempts, wish, chance, now);
		if (attempts >= policy.max_attempts || policy.ndelays == 0)
		{
			CHECK(TIMESTAMP_IS_NOEND(at), "one attempt too many");
			continue;
		}

		/* The last delay repeats; 20 % more or less; an hour at most for a wish. */
		delay = policy.delays[Min(attempts, policy.ndelays) - 1];
		CHECK(!TIMESTAMP_IS_NOEND(at), "one attempt too few");
		CHECK(at - now >= delay / 10 * 8, "tried again too early");
		CHECK(at - now >= Min(wish, SECS(3600)), "a wish was not granted");
		CHECK(at - now <= Max(delay / 10 * 12 + 20, Min(wish, SECS(3600))), "tried again too late");
		CHECK(at - now >= delay + (int64) (delay * 0.4 * chance) - delay / 5 - 20,
			  "chance does not count");
	}
}

void
check_retries(Sim *sim)
{
	check_taken();
	check_statuses();
	check_times(sim);
}
