/*-------------------------------------------------------------------------
 *
 * model.c
 *		What the schedule may do, must do, and has done.
 *
 * Books of its own, as simple as can be: whether a delivery may start is found
 * out by looking at everything that could forbid it.  Every step is compared
 * with that, and whenever the schedule says that there is nothing to do, all
 * that waits is looked at.
 *
 *-------------------------------------------------------------------------
 */
#include "simulate.h"

#define CLASSES 5
#define SHARE 4
#define LOOK_AROUND 64
#define AGEING SECS(2)

/* No delay that anybody has configured, or a server may ask for, is longer. */
#define LONGEST_DELAY SECS(3600 + 720 + 1)

/* A turn comes within this, unless there are many whose turn it is first. */
#define TURN SECS(10)

static const int class_of[TRIGGER_TYPES] = {0, 1, 0, 0, 2, 2, 3};

/* ----------
 * Breakers
 * ----------
 */

static bool
is_recent(TimestampTz at, TimestampTz now)
{
	int64		age = now / USECS_PER_MINUTE - at / USECS_PER_MINUTE;

	return age >= 0 && age < BREAKER_MINUTES;
}

static void
breaker_clear(ModelBreaker *breaker)
{
	breaker->state = BREAKER_CLOSED;
	breaker->pause = 0;
	breaker->n = 0;
}

static bool
host_is_bad(const ModelBreaker *breaker, TimestampTz now)
{
	int			in_a_row = 0;
	int			all = 0;
	int			failed = 0;

	for (int i = breaker->n - 1; i >= 0 && !breaker->results[i].worked; i--)
		in_a_row++;
	for (int i = 0; i < breaker->n; i++)
	{
		if (!is_recent(breaker->results[i].at, now))
			continue;
		all++;
		if (!breaker->results[i].worked)
			failed++;
	}
	return in_a_row >= 5 || (all >= 10 && failed * 10 >= all * 7);
}

static void
open_breaker(Sim *sim, SimHost *host, int64 pause)
{
	ModelBreaker *breaker = &host->breaker;

	breaker->state = BREAKER_OPEN;
	breaker->pause = Min(pause, SECS(600));
	breaker->until = sim->mono + breaker->pause;
	host->blocked_at = Max(host->blocked_at, breaker->until);
	TRACE2("host %lld: closed for %lld", host->number, breaker->pause);
}

static void
breaker_takes(Sim *sim, SimHost *host, bool worked, bool probe)
{
	ModelBreaker *breaker = &host->breaker;

	if (breaker->state != BREAKER_CLOSED)
	{
		host->blocked_at = Max(host->blocked_at, sim->mono);
		if (worked)
			breaker_clear(breaker);
		else
		{
			/* Others were sent before it was opened. */
			if (probe && breaker->state == BREAKER_PROBING)
				open_breaker(sim, host, breaker->pause * 2);
			return;
		}
	}
	if (breaker->n == breaker->allocated)
	{
		breaker->allocated = Max(breaker->allocated * 2, 16);
		breaker->results = breaker->results ?
			repalloc(breaker->results, sizeof(*breaker->results) * breaker->allocated) :
			palloc(sizeof(*breaker->results) * breaker->allocated);
	}
	breaker->results[breaker->n].at = sim->mono;
	breaker->results[breaker->n++].worked = worked;
	if (!worked && host_is_bad(breaker, sim->mono))
		open_breaker(sim, host, SECS(30));
}

/* A host that nobody needs and nothing is held against is forgotten. */
static void
release_host(Sim *sim, SimHost *host)
{
	if (host->deliveries > 0 || host->breaker.state != BREAKER_CLOSED)
		return;
	for (int i = 0; i < host->breaker.n; i++)
	{
		if (!host->breaker.results[i].worked && is_recent(host->breaker.results[i].at, sim->mono))
			return;
	}
	breaker_clear(&host->breaker);
}

/* ----------
 * What may start
 * ----------
 */

static bool
user_may_start(const Sim *sim, const SimUser *user)
{
	int			share = Max((sim->limits.total - sim->in_flight) / SHARE, 1);

	return user->in_flight < Min(share, sim->limits.per_user);
}

/* The first delivery that waits for a hook. */
static SimDelivery *
head_of(SimHook *hook)
{
	if (hook->waiting == 0)
		return NULL;

	/* Where strict ones and others are mixed, take the schedule's word. */
	if (hook->was_changed)
		return dlist_is_empty(&hook->lane.line) ? NULL :
			(SimDelivery *) dlist_head_element(Scheduled, link, &hook->lane.line);
	return dlist_head_element(SimDelivery, line_link, &hook->line);
}

/* Has it told of a limit that is over, so that one request at a time has to ask for the new one? */
static bool
has_to_be_asked(const Sim *sim, const SimDestination *destination)
{
	return destination->renewed_at != PG_INT64_MIN && destination->renewed_at <= sim->mono &&
		destination->closed_until <= sim->mono;
}

/* Its own limit, and a quarter of its user's are for other hooks. */
static bool
has_its_fill(const Sim *sim, const SimDelivery *delivery)
{
	int			in_flight = delivery->hook->in_flight;
	int			limit = delivery->strict ? 1 : delivery->hook->limit;

	return (limit > 0 && in_flight >= limit) ||
		in_flight >= sim->limits.per_user - sim->limits.per_user / 4;
}

/* Is one aside that comes before it, and has kept its place? */
static bool
is_behind(const SimDelivery *delivery)
{
	dlist_iter	iter;

	if (delivery->hook->aside == 0)
		return false;
	dlist_foreach(iter, &delivery->hook->live)
	{
		SimDelivery *other = dlist_container(SimDelivery, live_link, iter.cur);

		if (other->state == DELIVERY_ASIDE && other->place >= 0 &&
			other->place < delivery->scheduled.place)
			return true;
	}
	return false;
}

/*
 * May the first delivery of a hook start, as far as it is not up to its user?
 * Else *until is when that changes, DT_NOEND for something that has to end.
 */
static bool
head_may_start(const Sim *sim, const SimDelivery *delivery, TimestampTz *until)
{
	const SimHook *hook = delivery->hook;
	const SimHost *host = delivery->host;
	const SimDestination *destination = delivery->destination;

	*until = DT_NOEND;
	if (is_behind(delivery) || (delivery->strict && hook->in_flight > 0))
		return false;
	if (has_its_fill(sim, delivery))
		return false;
	if (host->in_flight >= sim->limits.per_host || host->breaker.state == BREAKER_PROBING)
		return false;
	if (has_to_be_asked(sim, destination) && destination->in_flight > 0)
		return false;

	*until = sim->mono;
	if (host->breaker.state == BREAKER_OPEN)
		*until = Max(*until, host->breaker.until);
	*until = Max(*until, destination->closed_until);
	if (destination->remaining == 0)
		*until = Max(*until, destination->renewed_at);
	if (destination->allowed == 0)
		*until = Max(*until, destination->counted_until);
	return *until <= sim->mono;
}

static void
look_at_head(Sim *sim, SimHook *hook)
{
	SimDelivery *head = head_of(hook);

	if (head == hook->head)
		return;
	hook->head = head;
	hook->head_since = sim->mono;
}

/* Has the first delivery of a hook had to wait for something since it is the first? */
static bool
had_to_wait(const Sim *sim, const SimDelivery *head)
{
	const SimHook *hook = head->hook;
	TimestampTz until;

	return !head_may_start(sim, head, &until) ||
		hook->blocked_at >= hook->head_since ||
		head->host->blocked_at >= hook->head_since ||
		head->destination->blocked_at >= hook->head_since;
}

/* ----------
 * Time and limits
 * ----------
 */

void
model_time(Sim *sim)
{
	TimestampTz now = clock_now(sim);

	if (now + sim->set_back < sim->mono)
		sim->set_back = sim->mono - now;
	sim->mono = now + sim->set_back;
}

void
model_create(Sim *sim)
{
	sim->mono = 0;
	sim->set_back = 0;
	sim->waiting = sim->in_flight = 0;
	for (int i = 0; i < sim->nusers; i++)
	{
		SimUser    *user = &sim->users[i];

		user->waiting = user->in_flight = user->aside = 0;
		user->had_its_fill = sim->limits.aside_per_user == 0;
		user->eligible = false;
	}
	for (int i = 0; i < sim->nhooks; i++)
	{
		SimHook    *hook = &sim->hooks[i];

		dlist_init(&hook->line);
		dlist_init(&hook->live);
		hook->waiting = hook->in_flight = hook->aside = 0;
		hook->head = NULL;
		hook->head_since = hook->blocked_at = PG_INT64_MIN;
	}
	for (int i = 0; i < sim->nhosts; i++)
	{
		SimHost    *host = &sim->hosts[i];

		host->deliveries = host->in_flight = 0;
		host->blocked_at = PG_INT64_MIN;
		breaker_clear(&host->breaker);
	}
	for (int i = 0; i < sim->ndestinations; i++)
	{
		SimDestination *destination = &sim->destinations[i];

		destination->in_flight = 0;
		destination->remaining = -1;
		destination->renewed_at = PG_INT64_MIN;
		destination->closed_until = 0;
		destination->allowed = -1;
		destination->counted_until = 0;
		destination->blocked_at = PG_INT64_MIN;
	}
}

static void
look_at_aside(const Sim *sim, SimUser *user)
{
	if (user->aside >= sim->limits.aside_per_user)
		user->had_its_fill = true;
}

void
model_limits(Sim *sim, ScheduleLimits limits)
{
	for (int i = 0; i < sim->nhosts; i++)
		sim->hosts[i].blocked_at = Max(sim->hosts[i].blocked_at, sim->mono);
	sim->limits = limits;
	for (int i = 0; i < sim->nusers; i++)
		look_at_aside(sim, &sim->users[i]);
}

/* ----------
 * Steps
 * ----------
 */

static void
enter_line(SimDelivery *delivery)
{
	SimHook    *hook = delivery->hook;
	dlist_node *before;

	if (dlist_is_empty(&hook->line))
	{
		dlist_push_tail(&hook->line, &delivery->line_link);
		return;
	}
	for (before = dlist_tail_node(&hook->line);; before = dlist_prev_node(&hook->line, before))
	{
		if (dlist_container(SimDelivery, line_link, before)->scheduled.place <
			delivery->scheduled.place)
		{
			dlist_insert_after(before, &delivery->line_link);
			return;
		}
		if (!dlist_has_prev(&hook->line, before))
			break;
	}
	dlist_push_head(&hook->line, &delivery->line_link);
}

static void
leave_line(Sim *sim, SimDelivery *delivery)
{
	SimHook    *hook = delivery->hook;

	dlist_delete(&delivery->line_link);
	sim->waiting--;
	hook->user->waiting--;
	hook->waiting--;
}

/* A delivery with a place is aside no longer. */
static void
come_back(Sim *sim, SimDelivery *delivery)
{
	SimHook    *hook = delivery->hook;

	hook->user->aside--;
	CHECK(hook->user->aside >= 0, "too few aside");
	if (delivery->place < 0)
		return;
	hook->aside--;
	hook->blocked_at = sim->mono;
}

static int
cost_of(const SimDelivery *delivery)
{
	return 1 + (delivery->size > 0 ? (int) (delivery->size - 1) / 1024 : 0);
}

static int
class_of_delivery(const SimDelivery *delivery)
{
	return Min(class_of[delivery->hook->type] + (delivery->attempts > 0 ? 1 : 0), CLASSES - 1);
}

void
model_add(Sim *sim, SimDelivery *delivery, bool was_aside)
{
	SimHook    *hook = delivery->hook;

	TRACE4("delivery %lld of hook %lld, user %lld: ready, place %lld", delivery->number,
		   hook->number, hook->user->number, delivery->scheduled.place);
	if (was_aside)
		come_back(sim, delivery);
	CHECK(!was_aside || delivery->place < 0 || delivery->scheduled.place == delivery->place,
		  "delivery %lld has lost its place", (long long) delivery->number);
	CHECK(delivery->scheduled.class == class_of_delivery(delivery) &&
		  delivery->scheduled.cost == cost_of(delivery), "delivery %lld is of another class or cost",
		  (long long) delivery->number);
	delivery->state = DELIVERY_READY;
	delivery->added = ++sim->added;
	enter_line(delivery);
	sim->waiting++;
	hook->user->waiting++;
	hook->waiting++;
	delivery->host->deliveries++;
	look_at_head(sim, hook);
}

static void
check_first(SimDelivery *delivery)
{
	SimHook    *hook = delivery->hook;

	CHECK(delivery->state == DELIVERY_READY, "delivery %lld is not ready",
		  (long long) delivery->number);
	CHECK(hook->was_changed || head_of(hook) == delivery,
		  "delivery %lld is not the first of hook %d, which is %lld",
		  (long long) delivery->number, hook->number, (long long) head_of(hook)->number);
}

/* Others of its user that came earlier must have had to wait. */
static void
check_order_of_user(Sim *sim, SimDelivery *delivery)
{
	SimUser    *user = delivery->hook->user;

	for (int i = 0; i < user->nhooks; i++)
	{
		SimDelivery *head = head_of(user->hooks[i]);

		if (head == NULL || head->hook == delivery->hook || head->added > delivery->added ||
			head->hook->was_changed)
			continue;
		CHECK(had_to_wait(sim, head), "delivery %lld starts before %lld of the same user, %d",
			  (long long) delivery->number, (long long) head->number, user->number);
	}
}

/* The least urgent of what a user might have to start. */
static int
class_of_user(const SimUser *user)
{
	int			class = 0;

	for (int i = 0; i < user->nhooks; i++)
	{
		SimDelivery *head = head_of(user->hooks[i]);

		if (head != NULL)
			class = Max(class, class_of_delivery(head));
	}
	return class;
}

/* Who could have started something sees somebody else served. */
static void
check_fairness(Sim *sim, SimDelivery *delivery)
{
	SimUser    *served = delivery->hook->user;
	int			cost = cost_of(delivery);
	int			class = class_of_delivery(delivery);

	if (sim->nusers > FEW_USERS)
		return;
	for (int i = 0; i < sim->nusers; i++)
	{
		SimUser    *user = &sim->users[i];

		/* One at a time, all of them have something, nothing forbids it. */
		CHECK(!sim->contest || sim->narrow || sim->limits.total > 1 || user->waiting == 0 ||
			  served->waiting == 0 || class_of_user(user) != class_of_user(served) ||
			  served->cost_started - user->cost_started <= (sim->max_cost + 1) * 3,
			  "user %d has got %lld, but user %d only %lld", served->number,
			  (long long) served->cost_started, user->number, (long long) user->cost_started);
		if (!user->eligible)
			continue;

		/* It may take so many turns until somebody looks for room. */
		if ((!sim->contest || sim->narrow) && user->turns_since++ < LOOK_AROUND)
			continue;
		user->served_since += cost;
		if (class >= class_of_user(user))
			user->served[served->number] += cost;

		/* Those of a lower class come now and then, because they have waited. */
		CHECK(user->served[served->number] <= (sim->max_cost + 1) *
			  (class > class_of_user(user) ? 3 + (sim->vt - user->eligible_since) / AGEING : 3),
			  "user %d has got %lld while user %d waited", served->number,
			  (long long) user->served[served->number], user->number);
		CHECK(sim->vt - user->eligible_since < TURN * (sim->max_cost + 1) ||
			  user->served_since < (sim->max_cost + 1) * 4 * sim->nusers,
			  "user %d waits since %lld us, while others got %lld", user->number,
			  (long long) (sim->vt - user->eligible_since), (long long) user->served_since);
		CHECK(!sim->contest || sim->narrow || sim->vt - user->alone_since < TURN,
			  "user %d, alone with its class, waits since %lld us", user->number,
			  (long long) (sim->vt - user->alone_since));
	}
}

/* What was started is sent, which takes a while of which the others get nothing. */
void
model_send(Sim *sim, SimDelivery *delivery)
{
	check_fairness(sim, delivery);
}

void
model_start(Sim *sim, SimDelivery *delivery)
{
	SimHook    *hook = delivery->hook;
	SimUser    *user = hook->user;
	SimHost    *host = delivery->host;
	SimDestination *destination = delivery->destination;
	TimestampTz until;

	TRACE4("delivery %lld of hook %lld, user %lld: starts at host %lld", delivery->number,
		   hook->number, user->number, host->number);
	check_first(delivery);
	CHECK(!dlist_is_empty(&hook->live), "delivery %lld has ended before", (long long) delivery->number);
	CHECK(hook->was_changed || !delivery->strict ||
		  dlist_head_element(SimDelivery, live_link, &hook->live) == delivery,
		  "delivery %lld of strict hook %d starts before %lld has ended",
		  (long long) delivery->number, hook->number,
		  (long long) dlist_head_element(SimDelivery, live_link, &hook->live)->number);
	CHECK(sim->in_flight < sim->limits.total, "too many in flight");
	CHECK(user_may_start(sim, user), "user %d has too many in flight", user->number);
	CHECK(!has_its_fill(sim, delivery),
		  "hook %d has too many in flight", hook->number);
	CHECK(host->in_flight < sim->limits.per_host, "host %d has too many in flight", host->number);
	CHECK(host->breaker.state != BREAKER_PROBING, "two probes for host %d", host->number);
	CHECK(host->breaker.state == BREAKER_CLOSED || host->breaker.until <= sim->mono,
		  "delivery %lld starts while the breaker of host %d is open",
		  (long long) delivery->number, host->number);
	CHECK(destination->closed_until <= sim->mono && (destination->renewed_at <= sim->mono ||
													 destination->remaining != 0),
		  "delivery %lld is more than its destination takes", (long long) delivery->number);
	CHECK(destination->counted_until <= sim->mono || destination->allowed != 0,
		  "delivery %lld is more than its destination may have in that time", (long long) delivery->number);
	CHECK(!has_to_be_asked(sim, destination) || destination->in_flight == 0,
		  "delivery %lld starts while its destination is asked for its limits",
		  (long long) delivery->number);

	/* As strict as can be for those whose hooks have not been changed. */
	CHECK(head_may_start(sim, delivery, &until) || delivery->strict,
		  "delivery %lld may not start", (long long) delivery->number);
	check_order_of_user(sim, delivery);
	user->cost_started += cost_of(delivery);
	user->eligible = false;

	leave_line(sim, delivery);
	delivery->state = DELIVERY_FLYING;
	sim->in_flight++;
	user->in_flight++;
	hook->in_flight++;
	host->in_flight++;
	delivery->probe = host->breaker.state == BREAKER_OPEN;
	if (delivery->probe)
		host->breaker.state = BREAKER_PROBING;
	CHECK(delivery->probe == delivery->scheduled.probe, "delivery %lld is %sa probe",
		  (long long) delivery->number, delivery->probe ? "" : "not ");
	if (destination->in_flight == 0 && destination->renewed_at != PG_INT64_MIN &&
		destination->renewed_at + SECS(3600) <= sim->mono)
	{
		destination->remaining = -1;
		destination->renewed_at = PG_INT64_MIN;
	}
	if (destination->allowance.most > 0 && destination->counted_until <= sim->mono)
	{
		destination->allowed = destination->allowance.most;
		destination->counted_until = sim->mono + SECS(destination->allowance.seconds);
	}
	if (destination->allowed > 0 && --destination->allowed == 0)
		destination->blocked_at = Max(destination->blocked_at, destination->counted_until);
	destination->in_flight++;
	if (destination->remaining > 0 && --destination->remaining == 0)
		destination->blocked_at = Max(destination->blocked_at, destination->renewed_at);
	if (has_to_be_asked(sim, destination))
		destination->blocked_at = Max(destination->blocked_at, sim->mono);
	if (delivery->probe || host->in_flight >= sim->limits.per_host)
		host->blocked_at = Max(host->blocked_at, sim->mono);
	look_at_head(sim, hook);
}

/* The delivery is aside, and counted as such. */
static void
keep_place(Sim *sim, SimDelivery *delivery)
{
	SimHook    *hook = delivery->hook;

	delivery->place = delivery->scheduled.keeps_place ? delivery->scheduled.place : -1;
	hook->user->aside++;
	if (delivery->place >= 0)
		hook->aside++;
	look_at_aside(sim, hook->user);
}

void
model_aside(Sim *sim, SimDelivery *delivery, TimestampTz until)
{
	SimHook    *hook = delivery->hook;
	TimestampTz at;
	bool		behind = is_behind(delivery);

	TRACE4("delivery %lld of hook %lld, user %lld: aside for %lld", delivery->number,
		   hook->number, hook->user->number, until - clock_now(sim));
	check_first(delivery);
	CHECK(hook->user->aside < sim->limits.aside_per_user, "user %d has too many aside",
		  hook->user->number);
	CHECK(until > clock_now(sim), "delivery %lld is to come back in the past",
		  (long long) delivery->number);
	CHECK(TIMESTAMP_IS_NOEND(until) ? behind :
		  until - clock_now(sim) <= LONGEST_DELAY + sim->jumped_back,
		  "delivery %lld is to come back too late", (long long) delivery->number);
	CHECK(!head_may_start(sim, delivery, &at), "delivery %lld might start, but is put aside",
		  (long long) delivery->number);
	CHECK(behind || until + sim->set_back >= at || TIMESTAMP_IS_NOEND(at),
		  "delivery %lld is to come back before it may start", (long long) delivery->number);

	leave_line(sim, delivery);
	delivery->state = DELIVERY_ASIDE;
	CHECK(delivery->scheduled.keeps_place == (delivery->strict || behind),
		  "delivery %lld keeps its place, or does not", (long long) delivery->number);
	keep_place(sim, delivery);
	delivery->host->deliveries--;
	release_host(sim, delivery->host);
	look_at_head(sim, hook);
}

void
model_learn(Sim *sim, SimDelivery *delivery, int remaining, int64 renewed_in, int64 closed_for)
{
	SimDestination *destination = delivery->destination;

	TRACE4("destination of delivery %lld: %lld for %lld, closed for %lld", delivery->number,
		   remaining, renewed_in, closed_for);
	if (has_to_be_asked(sim, destination))
		destination->blocked_at = Max(destination->blocked_at, sim->mono);
	if (remaining >= 0 && renewed_in >= 0)
	{
		if (destination->remaining == 0)
			destination->blocked_at = Max(destination->blocked_at,
										  Min(sim->mono, destination->renewed_at));
		remaining = Max(remaining - (destination->in_flight - 1), 0);
		destination->remaining = destination->renewed_at > sim->mono
			? Min(destination->remaining, remaining) : remaining;
		destination->renewed_at = sim->mono + Min(renewed_in, SECS(3600));
		if (destination->remaining == 0)
			destination->blocked_at = Max(destination->blocked_at, destination->renewed_at);
	}
	else if (closed_for <= 0 && has_to_be_asked(sim, destination))
	{
		destination->remaining = -1;
		destination->renewed_at = PG_INT64_MIN;
	}
	if (closed_for > 0)
	{
		destination->closed_until = Max(destination->closed_until,
										sim->mono + Min(closed_for, SECS(3600)));
		if (destination->renewed_at == PG_INT64_MIN)
		{
			destination->remaining = 0;
			destination->renewed_at = destination->closed_until;
		}
	}
	destination->blocked_at = Max(destination->blocked_at, destination->closed_until);
}

void
model_again(Sim *sim, SimDelivery *delivery)
{
	CHECK(delivery->scheduled.keeps_place == delivery->strict,
		  "delivery %lld keeps its place, or does not", (long long) delivery->number);
	keep_place(sim, delivery);
}

void
model_pause(Sim *sim, SimDelivery *delivery)
{
	CHECK(delivery->scheduled.keeps_place, "delivery %lld does not keep its place",
		  (long long) delivery->number);
	keep_place(sim, delivery);
}

void
model_done(Sim *sim, SimDelivery *delivery, ScheduleResult result)
{
	SimHook    *hook = delivery->hook;
	SimHost    *host = delivery->host;

	TRACE4("delivery %lld of hook %lld: done, %lld (0: worked, 1: failed, 2: unsent), %lld times",
		   delivery->number, hook->number, result, delivery->attempts);
	CHECK(delivery->state == DELIVERY_FLYING, "delivery %lld is not in flight",
		  (long long) delivery->number);
	if (has_its_fill(sim, delivery))
		hook->blocked_at = sim->mono;
	if (host->in_flight >= sim->limits.per_host)
		host->blocked_at = Max(host->blocked_at, sim->mono);
	if (has_to_be_asked(sim, delivery->destination))
		delivery->destination->blocked_at = Max(delivery->destination->blocked_at, sim->mono);
	if (result != SCHEDULE_WORKED && delivery->destination->allowed >= 0 &&
		delivery->destination->allowed < delivery->destination->allowance.most)
		delivery->destination->allowed++;
	sim->in_flight--;
	delivery->destination->in_flight--;
	hook->user->in_flight--;
	hook->in_flight--;
	host->in_flight--;
	host->deliveries--;
	if (result != SCHEDULE_UNSENT)
		breaker_takes(sim, host, result == SCHEDULE_WORKED, delivery->probe);
	else if (delivery->probe && host->breaker.state == BREAKER_PROBING)
	{
		host->breaker.state = BREAKER_OPEN;
		host->breaker.until = sim->mono;
		host->blocked_at = Max(host->blocked_at, sim->mono);
	}
	release_host(sim, host);
}

void
model_withdraw(Sim *sim, SimDelivery *delivery)
{
	TRACE1("delivery %lld: withdrawn", delivery->number);
	leave_line(sim, delivery);
	delivery->host->deliveries--;
	release_host(sim, delivery->host);
	look_at_head(sim, delivery->hook);
}

void
model_lose_aside(Sim *sim, SimDelivery *delivery)
{
	TRACE1("delivery %lld: lost while aside", delivery->number);
	come_back(sim, delivery);
}

/* After a crash. */
void
model_recall_aside(Sim *sim, SimDelivery *delivery)
{
	delivery->hook->user->aside++;
	if (delivery->place >= 0)
		delivery->hook->aside++;
	look_at_aside(sim, delivery->hook->user);
}

void
model_forget(Sim *sim)
{
	for (int i = 0; i < sim->nhosts; i++)
		release_host(sim, &sim->hosts[i]);
}

void
model_ended(Sim *sim, SimDelivery *delivery)
{
	CHECK(delivery->state != DELIVERY_ENDED, "delivery %lld ends twice",
		  (long long) delivery->number);
	delivery->state = DELIVERY_ENDED;
	dlist_delete(&delivery->live_link);
}

/* ----------
 * Looking at everything
 * ----------
 */

static bool
has_to_start(Sim *sim, SimUser *user)
{
	TimestampTz until;

	if (user->waiting == 0 || !user_may_start(sim, user))
		return false;
	for (int i = 0; i < user->nhooks; i++)
	{
		SimDelivery *head = head_of(user->hooks[i]);

		if (head != NULL && head_may_start(sim, head, &until))
			return true;
	}
	return false;
}

/* Is there nobody else with something as urgent? */
static bool
is_alone(const Sim *sim, const SimUser *user)
{
	for (int i = 0; i < sim->nusers; i++)
	{
		const SimUser *other = &sim->users[i];

		if (other != user && other->waiting > 0 && class_of_user(other) == class_of_user(user))
			return false;
	}
	return true;
}

void
model_look(Sim *sim)
{
	if (sim->nusers > FEW_USERS)
		return;
	for (int i = 0; i < sim->nusers; i++)
	{
		SimUser    *user = &sim->users[i];
		bool		was = user->eligible;

		user->eligible = has_to_start(sim, user);
		if (!user->eligible || !was || !is_alone(sim, user))
			user->alone_since = sim->vt;
		if (user->eligible && !was)
		{
			user->eligible_since = sim->vt;
			user->served_since = user->turns_since = 0;
			memset(user->served, 0, sizeof(user->served));
		}
	}
}

/* Is there nothing a delivery might wait for that is over soon? */
static bool
is_closed(const Sim *sim, const SimDelivery *delivery)
{
	const SimDestination *destination = delivery->destination;
	const ModelBreaker *breaker = &delivery->host->breaker;
	int64		host = breaker->state == BREAKER_OPEN ? breaker->until - sim->mono : 0;
	int64		paced = Max(destination->closed_until - sim->mono, 0);

	if (destination->remaining == 0)
		paced = Max(paced, destination->renewed_at - sim->mono);
	if (destination->allowed == 0)
		paced = Max(paced, destination->counted_until - sim->mono);
	return (host <= 0 || host > SCHEDULE_PATIENCE) && (paced <= 0 || paced > SCHEDULE_PATIENCE);
}

static void
check_user_idle(Sim *sim, SimUser *user, TimestampTz wake_at)
{
	for (int i = 0; i < user->nhooks; i++)
	{
		SimDelivery *head = head_of(user->hooks[i]);
		TimestampTz until;

		if (head == NULL)
			continue;
		CHECK(!head_may_start(sim, head, &until),
			  "delivery %lld of hook %d, user %d could start", (long long) head->number,
			  head->hook->number, user->number);
		CHECK(TIMESTAMP_IS_NOEND(until) || wake_at <= until - sim->set_back,
			  "delivery %lld of hook %d, user %d can start in %lld us, but that is forgotten",
			  (long long) head->number, head->hook->number, user->number,
			  (long long) (until - sim->mono));
		CHECK(TIMESTAMP_IS_NOEND(until) || !is_closed(sim, head) || user->had_its_fill,
			  "delivery %lld of hook %d, user %d waits for %lld us in memory",
			  (long long) head->number, head->hook->number, user->number,
			  (long long) (until - sim->mono));
	}
}

void
model_idle(Sim *sim)
{
	TimestampTz wake_at = schedule_wake_at(sim->schedule);

	CHECK(schedule_waiting(sim->schedule) == sim->waiting, "%d wait, not %d", sim->waiting,
		  schedule_waiting(sim->schedule));
	CHECK(schedule_in_flight(sim->schedule) == sim->in_flight, "%d are in flight, not %d",
		  sim->in_flight, schedule_in_flight(sim->schedule));
	CHECK(wake_at > clock_now(sim), "something is to be done at once");
	CHECK(TIMESTAMP_IS_NOEND(wake_at) || wake_at - clock_now(sim) <= LONGEST_DELAY + sim->jumped_back,
		  "something is to be done in %lld us only", (long long) (wake_at - clock_now(sim)));
	model_look(sim);
	if (sim->in_flight >= sim->limits.total || sim->waiting == 0)
		return;

	/* Where there are many it is done now and then. */
	if (sim->nhooks > 50 && draw(sim, sim->nhooks) >= 50)
		return;
	for (int i = 0; i < sim->nusers; i++)
	{
		SimUser    *user = &sim->users[i];

		CHECK(schedule_user_waiting(sim->schedule, &user->id) == user->waiting,
			  "of user %d %d wait, not %d", user->number, user->waiting,
			  schedule_user_waiting(sim->schedule, &user->id));
		if (user->waiting > 0 && user_may_start(sim, user))
			check_user_idle(sim, user, wake_at);
	}
}
