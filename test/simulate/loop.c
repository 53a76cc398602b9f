/*-------------------------------------------------------------------------
 *
 * loop.c
 *		What the worker does with the schedule, in virtual time.
 *
 * Events arrive and become deliveries; answers come in; what is aside is in a
 * table, and is loaded when it is due; results are written in batches, and
 * what was not written when the worker crashes is done again.
 *
 *-------------------------------------------------------------------------
 */
#include "simulate.h"

#include "utils/memutils.h"

#include "cooldown.h"

/* ----------
 * The durable side
 * ----------
 */

static int
compare_answers(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const SimDelivery *x = pairingheap_const_container(SimDelivery, answer_node, a);
	const SimDelivery *y = pairingheap_const_container(SimDelivery, answer_node, b);

	if (x->answer_vt != y->answer_vt)
		return x->answer_vt < y->answer_vt ? 1 : -1;
	return x->number < y->number ? 1 : -1;
}

static int
compare_aside(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const SimDelivery *x = pairingheap_const_container(SimDelivery, aside_node, a);
	const SimDelivery *y = pairingheap_const_container(SimDelivery, aside_node, b);

	if (x->durable_next_at != y->durable_next_at)
		return x->durable_next_at < y->durable_next_at ? 1 : -1;
	return x->stored < y->stored ? 1 : -1;
}

static void
heap_init(pairingheap *heap, pairingheap_comparator compare)
{
	heap->ph_compare = compare;
	heap->ph_arg = NULL;
	heap->ph_root = NULL;
}

/* A result that is written with the next batch. */
static void
write_later(Sim *sim, SimDelivery *delivery)
{
	if (dlist_is_empty(&sim->log))
		sim->next_write = sim->vt + (sim->write_delay ? draw(sim, sim->write_delay) : 0);
	dlist_push_tail(&sim->log, &delivery->log_link);
}

static void
put_aside(Sim *sim, SimDelivery *delivery, TimestampTz until)
{
	delivery->state = DELIVERY_ASIDE;
	delivery->next_at = until;
	write_later(sim, delivery);
}

static void
end(Sim *sim, SimDelivery *delivery)
{
	model_ended(sim, delivery);
	write_later(sim, delivery);
}

static void
write_batch(Sim *sim)
{
	while (!dlist_is_empty(&sim->log))
	{
		SimDelivery *delivery = dlist_container(SimDelivery, log_link, dlist_pop_head_node(&sim->log));

		CHECK(delivery->durable != DELIVERY_ENDED, "delivery %lld ends once more",
			  (long long) delivery->number);
		delivery->durable = delivery->state;
		delivery->durable_attempts = delivery->attempts;
		delivery->durable_next_at = delivery->next_at;
		delivery->durable_place = delivery->place;
		delivery->stored = ++sim->stored;
		if (delivery->durable == DELIVERY_ASIDE)
			pairingheap_add(&sim->aside, &delivery->aside_node);
		else
			sim->live--;
	}
}

/* ----------
 * Events
 * ----------
 */

static void
add(Sim *sim, SimDelivery *delivery, bool was_aside)
{
	SimHook    *hook = delivery->hook;
	ScheduleOrder order = {
		.user = &hook->user->id,
		.lane = &hook->lane,
		.type = hook->type,
		.host = hook->host->name,
		.destination = hook->destination->id,
		.size = delivery->size,
		.concurrency = hook->concurrency,
		.allowance = hook->destination->allowance,
		.strict = hook->strict,
		.again = delivery->attempts > 0,
		.was_aside = was_aside,
		.place = was_aside ? delivery->place : -1
	};

	delivery->host = hook->host;
	delivery->destination = hook->destination;
	delivery->strict = hook->strict;
	hook->limit = hook->concurrency;
	schedule_add(sim->schedule, &delivery->scheduled, &order, clock_now(sim));
	model_add(sim, delivery, was_aside);
}

/* As in hook.c. */
static bool
admit(Sim *sim, SimHook *hook)
{
	TimestampTz now = clock_now(sim);

	if (cooldown_active(hook->last_admitted, now, hook->cooldown))
		return false;
	CHECK(hook->jumps_then != sim->jumps ||
		  sim->vt - hook->last_taken_vt >= hook->cooldown * USECS_PER_SEC,
		  "hook %d does not cool down", hook->number);
	hook->last_admitted = now;
	return true;
}

static void
give_back(SimDelivery *delivery)
{
	SimHook    *hook = delivery->hook;

	if (hook->last_admitted != delivery->taken)
		return;
	hook->last_admitted = delivery->before;
	hook->last_taken_vt = delivery->taken_before_vt;
	hook->jumps_then = delivery->taken_before_jumps;
}

static void
match(Sim *sim, SimHook *hook, Size size)
{
	SimDelivery *delivery;
	TimestampTz before = hook->last_admitted;

	if (hook->disabled || !admit(sim, hook))
		return;
	delivery = palloc0(sizeof(SimDelivery));
	delivery->number = sim->ndeliveries;
	delivery->hook = hook;
	delivery->size = size;
	delivery->event_time = clock_now(sim);
	delivery->taken = hook->last_admitted;
	delivery->before = before;
	delivery->taken_before_vt = hook->last_taken_vt;
	delivery->taken_before_jumps = hook->jumps_then;
	hook->last_taken_vt = sim->vt;
	hook->jumps_then = sim->jumps;
	delivery->place = -1;
	if (sim->ndeliveries == sim->allocated)
	{
		sim->allocated = Max(sim->allocated * 2, 1024);
		sim->deliveries = sim->deliveries ?
			repalloc(sim->deliveries, sizeof(SimDelivery *) * sim->allocated) :
			palloc(sizeof(SimDelivery *) * sim->allocated);
	}
	sim->deliveries[sim->ndeliveries++] = delivery;
	sim->live++;
	sim->deliveries_left--;
	dlist_push_tail(&hook->live, &delivery->live_link);
	add(sim, delivery, false);
}

static void
event(Sim *sim, SimUser *user)
{
	TriggerType type = user->hooks[draw(sim, user->nhooks)]->type;
	bool		large = sim->contest ? user->number % 2 == 0 : one_in(sim, 8);
	Size		size = large ? (Size) draw(sim, sim->max_cost * 1024) : 300;

	sim->deliveries_left--;		/* so that it ends */
	for (int i = 0; i < user->nhooks; i++)
	{
		if (user->hooks[i]->type == type)
			match(sim, user->hooks[i], size);
	}
}

/* Commits: a few events each, a flood by one user, or nothing for a while. */
static void
arrive(Sim *sim)
{
	bool		flood;
	int			n;

	if (sim->flooder >= 0 ? one_in(sim, 20) : one_in(sim, 200))
		sim->flooder = sim->flooder >= 0 ? -1 : (int) draw(sim, sim->nusers);
	flood = sim->flooder >= 0 && !one_in(sim, 3);
	n = sim->contest ? sim->deliveries_left : flood ? (int) draw_magnitude(sim, 10, 500) :
		(int) draw_magnitude(sim, 1, 20);
	while (n-- > 0 && sim->deliveries_left > 0)
		event(sim, &sim->users[flood ? sim->flooder : draw(sim, sim->nusers)]);
	sim->next_arrival = sim->vt + 1 +
		(flood ? draw(sim, MSECS(300)) :
		 one_in(sim, 100) ? draw(sim, SECS(3600)) : draw(sim, sim->mean_gap * 2));
	if (sim->deliveries_left <= 0)
		sim->next_arrival = sim->vt + (sim->contest ? 0 : draw_magnitude(sim, SECS(1), SECS(10000)));
}

/* ----------
 * Answers
 * ----------
 */

static void
done(Sim *sim, SimDelivery *delivery, ScheduleResult result)
{
	schedule_done(sim->schedule, &delivery->scheduled, result, clock_now(sim));
	model_done(sim, delivery, result);
}

static void
take_answer(Sim *sim, SimDelivery *delivery)
{
	ScheduleResult result = SCHEDULE_WORKED;
	int			remaining;
	int64		renewed_in;
	int64		wish;
	TimestampTz at;

	world_answer(sim, delivery, &remaining, &renewed_in, &wish);
	if (delivery->answer != ANSWER_NOTHING)
	{
		schedule_learn(sim->schedule, &delivery->scheduled, 0, remaining, renewed_in, wish,
					   clock_now(sim));
		model_learn(sim, delivery, remaining, renewed_in, wish);
	}
	switch (delivery->answer)
	{
		case ANSWER_SUCCESS:
		case ANSWER_REFUSAL:
			if (delivery->answer == ANSWER_REFUSAL)
				give_back(delivery);
			done(sim, delivery, SCHEDULE_WORKED);
			end(sim, delivery);
			return;
		case ANSWER_HOST_FAILURE:
			result = SCHEDULE_FAILED;
			break;
		case ANSWER_NOTHING:
			result = SCHEDULE_UNSENT;
			break;
		case ANSWER_TOO_MANY:
			break;
	}

	at = retry_at(&delivery->hook->policy, delivery->attempts, wish, draw(sim, 1000) / 1000.0,
				  clock_now(sim));
	if (TIMESTAMP_IS_NOEND(at) || at > delivery->event_time + delivery->hook->policy.max_age)
	{
		give_back(delivery);
		done(sim, delivery, result);
		end(sim, delivery);
		return;
	}
	TRACE3("delivery %lld: again in %lld, attempts %lld", delivery->number, at - clock_now(sim),
		   delivery->attempts);
	at = schedule_again(sim->schedule, &delivery->scheduled, at);
	model_again(sim, delivery);
	done(sim, delivery, result);
	put_aside(sim, delivery, at);
}

static void
take_answers(Sim *sim)
{
	while (!pairingheap_is_empty(&sim->answers))
	{
		SimDelivery *delivery = pairingheap_container(SimDelivery, answer_node,
													  pairingheap_first(&sim->answers));

		if (delivery->answer_vt > sim->vt)
			return;
		pairingheap_remove_first(&sim->answers);
		take_answer(sim, delivery);
	}
}

/* ----------
 * What is aside comes back
 * ----------
 */

static void
load_page(Sim *sim)
{
	for (int i = 0; i < PAGE && !pairingheap_is_empty(&sim->aside); i++)
	{
		SimDelivery *delivery = pairingheap_container(SimDelivery, aside_node,
													  pairingheap_first(&sim->aside));

		if (delivery->durable_next_at > clock_now(sim))
			return;
		pairingheap_remove_first(&sim->aside);
		if (!delivery->hook->disabled)
		{
			add(sim, delivery, true);
			continue;
		}
		schedule_lose_aside(sim->schedule, &delivery->hook->user->id,
							delivery->place >= 0 ? &delivery->hook->lane : NULL, delivery->place);
		model_lose_aside(sim, delivery);
		end(sim, delivery);
	}
}

/* ----------
 * Starting
 * ----------
 */

static void
start(Sim *sim, SimDelivery *delivery)
{
	SimHook    *hook = delivery->hook;

	model_start(sim, delivery);
	hook->limit = hook->concurrency;
	schedule_limit_lane(sim->schedule, &hook->lane, hook->limit);
	if (hook->paused)
	{
		schedule_pause(sim->schedule, &delivery->scheduled);
		model_pause(sim, delivery);
		done(sim, delivery, SCHEDULE_UNSENT);
		put_aside(sim, delivery, DT_NOEND);
		return;
	}
	if (clock_now(sim) > delivery->event_time + hook->policy.max_age ||
		(sim->chances.unsent > 0 && one_in(sim, 300)))
	{
		give_back(delivery);
		done(sim, delivery, SCHEDULE_UNSENT);
		end(sim, delivery);
		return;
	}
	model_send(sim, delivery);
	delivery->attempts++;
	sim->attempts++;
	world_request(sim, delivery);
	pairingheap_add(&sim->answers, &delivery->answer_node);
}

static void
start_all(Sim *sim)
{
	ScheduleStep step;

	model_look(sim);
	for (;;)
	{
		model_time(sim);
		if (!schedule_next(sim->schedule, clock_now(sim), &step))
			break;
		if (step.aside)
		{
			model_aside(sim, (SimDelivery *) step.delivery, step.until);
			put_aside(sim, (SimDelivery *) step.delivery, step.until);
		}
		else
			start(sim, (SimDelivery *) step.delivery);
		model_look(sim);
	}
	model_idle(sim);
}

/* ----------
 * Trouble
 * ----------
 */

static void
jump(Sim *sim)
{
	static const int64 sizes[] = {SECS(1), SECS(30), SECS(3600), SECS(86400)};
	int64		size = draw(sim, sizes[draw(sim, lengthof(sizes))]) + 1;

	if (one_in(sim, 2))
	{
		size = -size;
		sim->jumped_back -= size;
	}
	sim->offset += size;
	sim->jumps++;
	TRACE1("the clock jumps by %lld", size);
}

static void
create_schedule(Sim *sim)
{
	MemoryContext previous;

	if (sim->schedule_context)
		MemoryContextDelete(sim->schedule_context);
	sim->schedule_context = AllocSetContextCreate(CurrentMemoryContext, "simulated schedule",
												  ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(sim->schedule_context);
	sim->schedule = schedule_create();
	MemoryContextSwitchTo(previous);
	schedule_set_limits(sim->schedule, sim->limits);
	for (int i = 0; i < sim->nhooks; i++)
		memset(&sim->hooks[i].lane, 0, sizeof(ScheduleLane));
	model_create(sim);
	heap_init(&sim->answers, compare_answers);
	heap_init(&sim->aside, compare_aside);
	dlist_init(&sim->log);
}

/* What the table of those aside says of the places that are kept of a hook. */
typedef struct Recalled
{
	Places		places;
	TimestampTz first_at;
} Recalled;

static void
recall_aside(Sim *sim)
{
	int		   *of_user = palloc0(sizeof(int) * sim->nusers);
	Recalled   *of_hook = palloc0(sizeof(Recalled) * sim->nhooks);

	for (int i = 0; i < sim->ndeliveries; i++)
	{
		SimDelivery *delivery = sim->deliveries[i];
		Recalled   *recalled = &of_hook[delivery->hook->number];

		if (delivery->durable == DELIVERY_ENDED)
			continue;
		dlist_push_tail(&delivery->hook->live, &delivery->live_link);
		delivery->state = delivery->durable;
		delivery->attempts = delivery->durable_attempts;
		delivery->place = -1;
		if (delivery->state != DELIVERY_ASIDE)
			continue;
		delivery->next_at = delivery->durable_next_at;
		delivery->place = delivery->durable_place;
		pairingheap_add(&sim->aside, &delivery->aside_node);
		of_user[delivery->hook->user->number]++;
		model_recall_aside(sim, delivery);
		if (delivery->place < 0)
			continue;
		if (recalled->places.n == 0 || recalled->first_at > delivery->next_at)
			recalled->first_at = delivery->next_at;
		places_add(&recalled->places, delivery->place, CurrentMemoryContext);
	}
	for (int i = 0; i < sim->nusers; i++)
	{
		if (of_user[i] > 0)
			schedule_count_aside(sim->schedule, &sim->users[i].id, of_user[i]);
	}
	for (int i = 0; i < sim->nhooks; i++)
	{
		Recalled   *recalled = &of_hook[i];

		if (recalled->places.n > 0)
			schedule_recall_aside(sim->schedule, &sim->hooks[i].lane, &recalled->places,
								  recalled->first_at);
		places_clear(&recalled->places);
	}
	pfree(of_user);
	pfree(of_hook);
}

static void
crash(Sim *sim)
{
	TRACE2("crash, with %lld ready and %lld in flight", sim->waiting, sim->in_flight);
	sim->crashes++;
	create_schedule(sim);
	model_time(sim);
	recall_aside(sim);
	for (int i = 0; i < sim->ndeliveries; i++)
	{
		if (sim->deliveries[i]->durable == DELIVERY_QUEUED)
			add(sim, sim->deliveries[i], false);
	}
}

/* What was put aside for no time goes on, in its order. */
static void
resume(Sim *sim, SimHook *hook)
{
	TimestampTz now = clock_now(sim);
	int64		n = 0;
	dlist_iter	iter;

	hook->paused = false;
	dlist_foreach(iter, &hook->live)
	{
		SimDelivery *delivery = dlist_container(SimDelivery, live_link, iter.cur);

		if (delivery->state != DELIVERY_ASIDE || !TIMESTAMP_IS_NOEND(delivery->next_at))
			continue;
		delivery->next_at = now + n++;
		if (delivery->durable != DELIVERY_ASIDE ||
			!TIMESTAMP_IS_NOEND(delivery->durable_next_at))
			continue;
		pairingheap_remove(&sim->aside, &delivery->aside_node);
		delivery->durable_next_at = delivery->next_at;
		pairingheap_add(&sim->aside, &delivery->aside_node);
	}
	schedule_hurry(sim->schedule, &hook->lane, now);
	TRACE2("hook %lld goes on, with %lld aside", hook->number, n);
}

static void
pause_or_resume(Sim *sim, SimHook *hook)
{
	if (hook->paused)
		resume(sim, hook);
	else
		hook->paused = true;
}

static void
withdraw(Sim *sim)
{
	SimHook    *hook = &sim->hooks[draw(sim, sim->nhooks)];
	bool		all = one_in(sim, 4);
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &hook->line)
	{
		SimDelivery *delivery = dlist_container(SimDelivery, line_link, iter.cur);

		if (!all && !one_in(sim, 3))
			continue;
		schedule_withdraw(sim->schedule, &delivery->scheduled);
		model_withdraw(sim, delivery);
		give_back(delivery);
		end(sim, delivery);
	}
}

static bool
happens(Sim *sim, int chance)
{
	return chance > 0 && !sim->quiet_vt && draw(sim, 1000) < chance;
}

static void
trouble(Sim *sim)
{
	if (happens(sim, sim->chances.jump))
		jump(sim);

	/* Whoever speaks to the schedule first, tells it what time it is. */
	if (happens(sim, sim->chances.crash))
		crash(sim);
	model_time(sim);
	if (happens(sim, sim->chances.withdraw))
		withdraw(sim);
	if (happens(sim, sim->chances.limits))
	{
		ScheduleLimits limits = world_limits(sim);

		TRACE4("limits: %lld, %lld, %lld, %lld", limits.total, limits.per_user, limits.per_host,
			   limits.aside_per_user);
		schedule_set_limits(sim->schedule, limits);
		model_limits(sim, limits);
	}
	if (happens(sim, sim->chances.change))
		world_change_hook(sim, &sim->hooks[draw(sim, sim->nhooks)]);
	if (happens(sim, sim->chances.pause))
		pause_or_resume(sim, &sim->hooks[draw(sim, sim->nhooks)]);
	if (happens(sim, sim->chances.forget))
	{
		schedule_forget(sim->schedule, clock_now(sim));
		model_forget(sim);
	}
}

/* ----------
 * Time
 * ----------
 */

/* When there is something to do; PG_INT64_MAX for never. */
static int64
next_time(Sim *sim)
{
	int64		next = PG_INT64_MAX;
	TimestampTz wake_at = schedule_wake_at(sim->schedule);

	if (!sim->quiet_vt)
		next = sim->next_arrival;
	if (!pairingheap_is_empty(&sim->answers))
		next = Min(next, pairingheap_container(SimDelivery, answer_node,
											   pairingheap_first(&sim->answers))->answer_vt);
	if (!pairingheap_is_empty(&sim->aside))
	{
		TimestampTz first = pairingheap_container(SimDelivery, aside_node,
												  pairingheap_first(&sim->aside))->durable_next_at;

		if (!TIMESTAMP_IS_NOEND(first))
			next = Min(next, first - sim->offset);
	}
	if (!TIMESTAMP_IS_NOEND(wake_at))
		next = Min(next, wake_at - sim->offset);
	if (!dlist_is_empty(&sim->log))
		next = Min(next, sim->next_write);
	return next;
}

static void
pass_time(Sim *sim)
{
	int64		next = next_time(sim);
	int64		before = sim->vt;

	CHECK(next < PG_INT64_MAX || (sim->live == 0 && sim->quiet_vt), "%d deliveries are stuck",
		  sim->live);
	if (next == PG_INT64_MAX)
		return;
	sim->vt = Max(sim->vt, next);
	if (sim->tick > 0)
	{
		int64		earliest = before + draw(sim, sim->tick);

		sim->vt = Max(sim->vt, earliest);
	}
	sim->same_time = sim->vt == before ? sim->same_time + 1 : 0;
	CHECK(sim->same_time < 1000, "much ado about nothing");
}

void
loop_run(Sim *sim)
{
	create_schedule(sim);
	while (sim->live > 0 || !sim->quiet_vt)
	{
		trouble(sim);
		take_answers(sim);
		load_page(sim);
		if (!sim->quiet_vt && sim->next_arrival <= sim->vt)
		{
			if (sim->deliveries_left > 0)
				arrive(sim);
			else
			{
				sim->quiet_vt = sim->vt + 1;
				for (int i = 0; i < sim->nhooks; i++)
				{
					sim->hooks[i].disabled = false;
					resume(sim, &sim->hooks[i]);
				}
			}
		}
		start_all(sim);
		if (!dlist_is_empty(&sim->log) && sim->next_write <= sim->vt)
			write_batch(sim);
		pass_time(sim);
		CHECK(!sim->quiet_vt || sim->vt - sim->quiet_vt < PATIENCE_AT_THE_END + sim->jumped_back +
			  sim->ndeliveries * (sim->tick + MSECS(100)) + sim->ndeliveries / LEAST_ALLOWED * SECS(3600),
			  "%d deliveries have not ended long after everything works again", sim->live);
	}
	MemoryContextDelete(sim->schedule_context);
}
