/*-------------------------------------------------------------------------
 *
 * world.c
 *		A world made up from a seed: users, hooks, and servers with moods.
 *
 *-------------------------------------------------------------------------
 */
#include "simulate.h"

#define TIMEOUT SECS(10)

static const RetryDefaults policies[] = {
	{5, {2, 15, 60, 300, 1800}, 24 * 3600}, /* webhook */
	{3, {2, 10, 60}, 15 * 60},	/* discord, email */
	{2, {1, 5}, 2 * 60},		/* chat */
};

/* ----------
 * Making
 * ----------
 */

static void
make_policy(Sim *sim, RetryPolicy *policy)
{
	const RetryDefaults *defaults = &policies[draw(sim, lengthof(policies))];
	bool		own = one_in(sim, 4);

	policy->nstatuses = -1;
	policy->ndelays = own ? (int) draw_between(sim, 0, 6) : defaults->ndelays;
	for (int i = 0; i < policy->ndelays; i++)
		policy->delays[i] = own ? draw_magnitude(sim, MSECS(100), SECS(3600)) :
			(int64) (defaults->delays[i] * USECS_PER_SEC);
	policy->max_attempts = policy->ndelays == 0 ? 1 :
		own ? (int) draw_between(sim, 1, 12) : policy->ndelays + 1;
	policy->max_age = own ? draw_magnitude(sim, SECS(1), SECS(24 * 3600)) :
		defaults->max_age * USECS_PER_SEC;
}

static void
make_hook(Sim *sim, SimHook *hook, SimUser *user)
{
	hook->user = user;
	hook->type = sim->contest ? TRIGGER_FOLLOW + (sim->seed % 2 ? 0 : user->number % 3)
		: (TriggerType) draw(sim, TRIGGER_TYPES);
	hook->host = &sim->hosts[draw(sim, sim->nhosts)];
	hook->destination = &sim->destinations[draw(sim, sim->ndestinations)];
	hook->concurrency = sim->contest || !one_in(sim, 3) ? 0 : (int) draw_between(sim, 1, 4);
	hook->strict = !sim->contest && one_in(sim, 4);
	hook->cooldown = !sim->contest && one_in(sim, 6) ? (int) draw_magnitude(sim, 1, 600) : 0;
	hook->last_admitted = DT_NOBEGIN;
	hook->last_taken_vt = PG_INT64_MIN / 2;
	make_policy(sim, &hook->policy);
	dlist_init(&hook->line);
	dlist_init(&hook->live);
	hook->head_since = hook->blocked_at = PG_INT64_MIN;
}

static void
make_users(Sim *sim)
{
	int			most = sim->contest ? 3 : sim->nusers > 200 ? 2 : 8;
	int			n = 0;

	sim->users = palloc0(sizeof(SimUser) * sim->nusers);
	sim->hooks = palloc0(sizeof(SimHook) * sim->nusers * most);
	for (int i = 0; i < sim->nusers; i++)
	{
		SimUser    *user = &sim->users[i];

		user->number = i;
		for (int j = 0; j < UUID_LEN; j++)
			user->id.data[j] = (unsigned char) draw(sim, 256);
		user->nhooks = (int) draw_between(sim, 1, most);
		user->hooks = palloc(sizeof(SimHook *) * user->nhooks);
		for (int j = 0; j < user->nhooks; j++)
		{
			SimHook    *hook = &sim->hooks[n];

			hook->number = n++;
			make_hook(sim, hook, user);
			user->hooks[j] = hook;
		}
	}
	sim->nhooks = n;
}

static void
make_servers(Sim *sim)
{
	sim->nhosts = (int) draw_magnitude(sim, 1, Max(sim->nusers, 8));
	sim->hosts = palloc0(sizeof(SimHost) * sim->nhosts);
	for (int i = 0; i < sim->nhosts; i++)
	{
		SimHost    *host = &sim->hosts[i];

		host->number = i;
		snprintf(host->name, sizeof(host->name), "host%d.example:443", i);
		host->blocked_at = PG_INT64_MIN;
		host->mode_until = sim->vt;
	}
	sim->ndestinations = (int) draw_magnitude(sim, 1, Max(sim->nusers, 8) * 2);
	sim->destinations = palloc0(sizeof(SimDestination) * sim->ndestinations);
	for (int i = 0; i < sim->ndestinations; i++)
	{
		SimDestination *destination = &sim->destinations[i];

		destination->id = (uint64) draw(sim, PG_INT64_MAX);
		destination->blocked_at = PG_INT64_MIN;
		destination->limited = !sim->contest && one_in(sim, 3);
		destination->odd = one_in(sim, 5);
		destination->capacity = (int) draw_between(sim, 1, 30);
		destination->window = draw_magnitude(sim, MSECS(200), SECS(600));
		destination->renewed_vt = PG_INT64_MIN;
		destination->allowance = (Allowance) {0};
		if (!sim->contest && one_in(sim, 6))
			destination->allowance = (Allowance)
			{
				(int) draw_between(sim, LEAST_ALLOWED, 200), one_in(sim, 2) ? 3600 : 30
			};
	}
}

ScheduleLimits
world_limits(Sim *sim)
{
	ScheduleLimits limits;

	if (sim->contest)
		return (ScheduleLimits)
	{
		one_in(sim, 2) ? 1 : (int) draw_between(sim, 1, 12), 1000,
			sim->narrow ? (int) draw_between(sim, 1, 3) : 1000, 1000
	};
	limits.total = (int) draw_magnitude(sim, 1, 1000);
	limits.per_user = (int) draw_magnitude(sim, 1, limits.total);
	limits.per_host = (int) draw_magnitude(sim, 1, 64);
	limits.aside_per_user = (int) draw_magnitude(sim, one_in(sim, 5) ? 0 : 20, 2000);
	return limits;
}

void
world_make(Sim *sim)
{
	sim->contest = one_in(sim, 4);
	sim->narrow = sim->contest && one_in(sim, 3);
	sim->nusers = one_in(sim, 8) ? 1 :
		(int) draw_magnitude(sim, 1, sim->contest ? FEW_USERS : 2000);

	/* Nobody says that the clock is right: some machines start in 1970. */
	sim->vt = sim->started_vt = SECS(INT64CONST(800000000)) + draw(sim, SECS(86400));
	if (one_in(sim, 10))
		sim->offset = -sim->vt - draw_between(sim, SECS(-1000), SECS(900000000));
	make_servers(sim);
	make_users(sim);
	sim->limits = world_limits(sim);

	sim->deliveries_left = (int) draw_magnitude(sim, 100, sim->contest ? 5000 : 20000);
	sim->mean_gap = draw_magnitude(sim, MSECS(1), SECS(60));
	sim->max_cost = one_in(sim, 3) ? 50 : 4;
	sim->flooder = -1;
	sim->next_arrival = sim->vt;
	sim->tick = one_in(sim, 2) ? 0 : draw_magnitude(sim, 100, MSECS(500));
	sim->write_delay = one_in(sim, 2) ? 0 : draw_magnitude(sim, 100, SECS(2));
	if (sim->contest)
	{
		sim->chances.withdraw = sim->narrow ? 100 : 0;
		return;
	}
	sim->chances = (SimChances)
	{
		.jump = one_in(sim, 3) ? 3 : 0,
			.crash = one_in(sim, 2) ? (int) draw_magnitude(sim, 1, 50) : 0,
			.withdraw = one_in(sim, 2) ? (int) draw_magnitude(sim, 1, 100) : 0,
			.limits = one_in(sim, 3) ? 5 : 0,
			.change = one_in(sim, 3) ? 5 : 0,
			.forget = one_in(sim, 2) ? (int) draw_magnitude(sim, 1, 200) : 0,
			.pause = one_in(sim, 3) ? (int) draw_magnitude(sim, 1, 50) : 0,
			.unsent = one_in(sim, 2) ? (int) draw_magnitude(sim, 1, 100) : 0
	};
}

void
world_change_hook(Sim *sim, SimHook *hook)
{
	switch (draw(sim, 4))
	{
		case 0:
			hook->host = &sim->hosts[draw(sim, sim->nhosts)];
			hook->destination = &sim->destinations[draw(sim, sim->ndestinations)];
			break;
		case 1:
			hook->concurrency = (int) draw_between(sim, 0, 4);
			break;
		case 2:
			hook->strict = !hook->strict;
			hook->was_changed = true;
			break;
		case 3:
			hook->disabled = !hook->disabled;
			break;
	}
}

/* ----------
 * Answers
 * ----------
 */

static ServerMode
mode_of(Sim *sim, SimHost *host)
{
	if (sim->contest || sim->quiet_vt)
		return SERVER_FAST;
	while (host->mode_until <= sim->vt)
	{
		host->mode = one_in(sim, 2) ? SERVER_FAST : (ServerMode) draw(sim, SERVER_MODES);
		host->mode_until = Max(host->mode_until, sim->vt - SECS(3600)) +
			draw_magnitude(sim, SECS(1), SECS(7200));
	}
	return host->mode;
}

void
world_request(Sim *sim, SimDelivery *delivery)
{
	int64		takes = draw_between(sim, MSECS(5), MSECS(50));

	delivery->answer = ANSWER_SUCCESS;
	switch (mode_of(sim, delivery->host))
	{
		case SERVER_FAST:
		case SERVER_MODES:
			if (!sim->contest && !sim->quiet_vt && one_in(sim, 100))
				delivery->answer = ANSWER_HOST_FAILURE;
			break;
		case SERVER_SLOW:
			takes = draw_between(sim, MSECS(500), SECS(5));
			break;
		case SERVER_STALLING:
			takes = TIMEOUT;
			delivery->answer = ANSWER_HOST_FAILURE;
			break;
		case SERVER_BROKEN:
			delivery->answer = ANSWER_HOST_FAILURE;
			break;
		case SERVER_REFUSING:
			takes = draw_between(sim, 0, MSECS(1));
			delivery->answer = ANSWER_HOST_FAILURE;
			break;
		case SERVER_FLAPPING:
			if (!one_in(sim, 3))
				delivery->answer = ANSWER_HOST_FAILURE;
			break;
		case SERVER_DISLIKING:
			if (!one_in(sim, 3))
				delivery->answer = ANSWER_REFUSAL;
			break;
	}
	if (draw(sim, 1000) < sim->chances.unsent && !sim->quiet_vt)
		delivery->answer = ANSWER_NOTHING;
	delivery->answer_vt = sim->vt + takes;
}

void
world_answer(Sim *sim, SimDelivery *delivery, int *remaining, int64 *renewed_in, int64 *wish)
{
	SimDestination *destination = delivery->destination;

	*remaining = -1;
	*renewed_in = *wish = -1;
	if (!destination->limited || sim->quiet_vt || delivery->answer != ANSWER_SUCCESS)
		return;
	if (destination->renewed_vt <= sim->vt)
	{
		destination->left = destination->capacity;
		destination->renewed_vt = sim->vt + destination->window;
	}
	if (destination->left == 0)
	{
		delivery->answer = ANSWER_TOO_MANY;
		*wish = destination->renewed_vt - sim->vt;
	}
	else
		destination->left--;
	*remaining = destination->left;
	*renewed_in = destination->renewed_vt - sim->vt;
	if (destination->odd && one_in(sim, 20))
	{
		*remaining = (int) draw_between(sim, -1, 3);
		*renewed_in = one_in(sim, 2) ? draw(sim, SECS(20)) : draw_between(sim, -1, PG_INT64_MAX / 2);
		*wish = one_in(sim, 2) ? draw(sim, SECS(20)) : draw_between(sim, -1, PG_INT64_MAX / 2);
	}
}
