/*-------------------------------------------------------------------------
 *
 * attempt.c
 *		Attempts: deliveries whose turn has come are sent, and their answers
 *		judged.  See attempt.h.
 *
 * An error while a message is built is the hook's failure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "account.h"
#include "attempt.h"
#include "delivery_parts.h"
#include "group.h"
#include "guard.h"
#include "health.h"
#include "hook_stats.h"
#include "outbox.h"
#include "posted.h"
#include "secret.h"
#include "tables.h"
#include "target.h"
#include "transport.h"
#include "underway.h"

/* The least pause after an answer that counts no attempt. */
#define UNCOUNTED_PAUSE USECS_PER_SEC

/* When a secret is looked at again that could not be opened. */
#define SEALED_PAUSE (5 * USECS_PER_SEC)

/* The same where the answer tells, in its own way, that another one will do. */
#define GONE_PAUSE (10 * 1000)

#define SERVICE_CLOSED "the service takes no requests from this server for now"

static MemoryContext scratch = NULL;	/* for one message or answer at a time */

void
attempts_init(void)
{
	scratch = AllocSetContextCreate(TopMemoryContext, "hooks scratch", ALLOCSET_DEFAULT_SIZES);
}

/* ----------
 * Starting
 * ----------
 */

/* The delivery as its action sees it. */
static ActionDelivery
as_action(const Delivery *delivery)
{
	const Hook *hook = delivery->hook;

	return (ActionDelivery)
	{
		.occasion = {&delivery->event->event, hook->id, hook->name, delivery->secrets},
		.id = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&delivery->kept.id))),
		.target = delivery->kept.target,
		.to_account = delivery->to_account,
		.account = delivery->account,
		.now = delivery->started_at,
		.edits = delivery->edits
	};
}

/* From when on a delivery is too old to be made. */
static TimestampTz
expires_at(const Delivery *delivery)
{
	const QueuedEvent *event = delivery->event;
	TimestampTz born = delivery->kept.replay ? event->queued_at
		: Min(event->queued_at, event->event.time);

	return born + delivery->hook->action->retry.max_age;
}

/* It cannot be sent now, for a reason that is not its hook's. */
static void
wait_unsent(Delivery *delivery, AsideWhy why, TimestampTz until)
{
	until = schedule_again(deliveries_schedule, &delivery->scheduled, until);
	schedule_done(deliveries_schedule, &delivery->scheduled, SCHEDULE_UNSENT, GetCurrentTimestamp());
	delivery_put_aside(delivery, why, until);
}

/*
 * Which message it changes, if it shares one.  False when that shows something
 * later already: this one has waited for another attempt meanwhile.
 */
static bool
find_message(Delivery *delivery)
{
	const char *name = delivery->hook->action->edits;
	const Event *event = &delivery->event->event;
	const Posted *posted;

	delivery_forget_message(delivery);
	if (name == NULL)
		return true;
	delivery->series = MemoryContextStrdup(TopMemoryContext, name);
	posted = posted_find(event, name);
	if (posted == NULL)
		return true;
	delivery->edits = MemoryContextStrdup(TopMemoryContext, posted->message);
	return !delivery->in_table || delivery->kept.replay || event->time >= posted->event_time;
}

/* Make and start the request; returns why not, or NULL. */
static const char *
start_request(Delivery *delivery)
{
	Hook	   *hook = delivery->hook;
	Message		message = {0};
	Mistake		error = {0};
	ActionDelivery what;

	if (!find_message(delivery))
		return "a later event has changed the message already";
	what = as_action(delivery);
	message.timeout_ms = hook->action->timeout_ms;
	if (!delivery->type->build(hook->action, &what, &message, &error))
	{
		delivery->blameless = error.blameless;
		return error.message;
	}
	delivery->blameless = true;
	if (message.to_outbox)
	{
		outbox_put(&delivery->kept.id, &hook->id, &hook->user_id, message.body,
				   expires_at(delivery));
		delivery->handed_over = true;
		return NULL;
	}
	return transport_start(&message, delivery);
}

/* Free what an error has left; an owner that has released something may take nothing more. */
static void
renew_owner(void)
{
	ResourceOwnerRelease(deliveries_owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, true);
	ResourceOwnerRelease(deliveries_owner, RESOURCE_RELEASE_LOCKS, false, true);
	ResourceOwnerRelease(deliveries_owner, RESOURCE_RELEASE_AFTER_LOCKS, false, true);
	ResourceOwnerDelete(deliveries_owner);
	deliveries_owner = ResourceOwnerCreate(NULL, "hooks deliveries");
}

static void
start(Delivery *delivery)
{
	const char *volatile why = NULL;
	MemoryContext previous = MemoryContextSwitchTo(scratch);
	ResourceOwner previous_owner = CurrentResourceOwner;

	CurrentResourceOwner = deliveries_owner;
	delivery->type = delivery->hook->action->type;
	delivery->started_at = GetCurrentTimestamp();
	PG_TRY();
	{
		why = shared_event_hopeless(deliveries_slot, &delivery->event->event.id)
			? "there was not enough memory for it, three times"
			: start_request(delivery);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(scratch);
		if (shared_event_starved(deliveries_slot, &delivery->event->event.id, geterrcode()))
			PG_RE_THROW();
		error = CopyErrorData();
		FlushErrorState();
		why = psprintf("message could not be built: %s", error->message);
		CurrentResourceOwner = previous_owner;
		renew_owner();
	}
	PG_END_TRY();
	CurrentResourceOwner = previous_owner;

	delivery->account = NULL;
	delivery->secrets = NULL;
	if (why == NULL)
		shared_count(deliveries_slot, STAT_DELIVERIES_STARTED, 1);
	if (why == NULL && delivery->kept.attempts == 0 && !delivery->kept.replay)
		shared_time(deliveries_slot, LATENCY_START, delivery->started_at - delivery->event->queued_at);
	if (why == NULL && delivery->handed_over)
	{
		delivery_keep_error(delivery, NULL, 0, delivery->started_at);
		wait_unsent(delivery, ASIDE_OUTBOX, expires_at(delivery) + 1);
	}
	else if (why == NULL)
		underway_begin(&delivery->event->event.user_id);
	else
		delivery_fail_unsent(delivery, why);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(scratch);
}

static void
load_user(void *user)
{
	hooks_load(user, 1);
}

/*
 * Its hook may have changed while the delivery waited.  While somebody has
 * the hooks table locked, what was known before counts.
 */
static void
load_again(const pg_uuid_t *user)
{
	pg_uuid_t	user_id = *user;

	(void) tables_read(load_user, &user_id);
}

static char *
duration_text(int64 us)
{
	int64		seconds = us / USECS_PER_SEC;

	if (seconds >= 3600 && seconds % 3600 == 0)
		return psprintf(INT64_FORMAT " h", seconds / 3600);
	if (seconds >= 60 && seconds % 60 == 0)
		return psprintf(INT64_FORMAT " min", seconds / 60);
	return psprintf(INT64_FORMAT " s", seconds);
}

static char *
expired(const Hook *hook, const Aside *kept)
{
	const char *why = "";

	if (kept->why == ASIDE_ACCOUNT)
		why = ": token is stale, and nobody has renewed it";
	else if (kept->why == ASIDE_OUTBOX)
		why = kept->perhaps_sent ? ": the application has taken it, and has not said what became of it"
			: ": nobody has taken it from hooks.chat_outbox";
	return psprintf("expired after %s%s", duration_text(hook->action->retry.max_age), why);
}

/* Whoever looks is to know what it waits for, unless an attempt has said more. */
static void
say_service_is_closed(Delivery *delivery)
{
	if (delivery->kept.error == NULL)
		delivery->kept.error = MemoryContextStrdup(TopMemoryContext, SERVICE_CLOSED);
}

/* Its service takes no requests from this server until then. */
static void
wait_for_service(Delivery *delivery, TimestampTz until)
{
	TimestampTz now = GetCurrentTimestamp();

	say_service_is_closed(delivery);
	schedule_close_host(deliveries_schedule, &delivery->scheduled, until - now, now);
	until = schedule_again(deliveries_schedule, &delivery->scheduled,
						   Min(until, expires_at(delivery) + 1));
	schedule_done(deliveries_schedule, &delivery->scheduled, SCHEDULE_UNSENT, now);
	delivery_put_aside(delivery, ASIDE_HOST, until);
}

/* The administrator's key file lacks what it needs; the server log says so. */
static void
wait_for_key(Delivery *delivery, const char *why)
{
	TimestampTz now = GetCurrentTimestamp();

	delivery_keep_error(delivery, why, 0, now);
	wait_unsent(delivery, ASIDE_RETRY, now + SEALED_PAUSE);
}

/* Start it with the account that the user has there now. */
static void
start_with_account(Delivery *delivery)
{
	MemoryContext previous = MemoryContextSwitchTo(scratch);
	ChatAccount *account = palloc(sizeof(ChatAccount));
	AccountState state = ACCOUNT_NONE;

	/* Without a target it was to go another way, before hooks.chat was changed. */
	if (delivery->kept.target != NULL)
		state = account_read(&delivery->hook->user_id, delivery->kept.target, account);
	switch (state)
	{
		case ACCOUNT_READY:
			delivery->to_account = true;
			delivery->account = account;
			delivery->token_mark = account->token_mark;
			start(delivery);
			break;
		case ACCOUNT_NONE:
			delivery_fail_unsent(delivery, "no account connected");
			break;
		case ACCOUNT_STALE:
			wait_unsent(delivery, ASIDE_ACCOUNT, expires_at(delivery) + 1);
			break;
		case ACCOUNT_SEALED:
			wait_for_key(delivery, "token cannot be opened: its key is missing");
			break;
		case ACCOUNT_LOCKED:
			wait_unsent(delivery, ASIDE_RETRY, GetCurrentTimestamp() + UNCOUNTED_PAUSE);
			break;
	}
	MemoryContextSwitchTo(previous);
	MemoryContextReset(scratch);
}

/* Start it with the secrets that its hook names, as they are now. */
static void
start_with_secrets(Delivery *delivery)
{
	MemoryContext previous = MemoryContextSwitchTo(scratch);
	Secrets    *secrets = palloc(sizeof(Secrets));
	const char *why = NULL;

	*secrets = delivery->hook->action->secrets;
	switch (secrets_read(&delivery->hook->user_id, secrets, &why))
	{
		case SECRET_READY:
			delivery->secrets = secrets;
			start(delivery);
			break;
		case SECRET_NONE:
			delivery_fail_unsent(delivery, why);
			break;
		case SECRET_SEALED:
			wait_for_key(delivery, why);
			break;
		case SECRET_LOCKED:
			wait_unsent(delivery, ASIDE_RETRY, GetCurrentTimestamp() + UNCOUNTED_PAUSE);
			break;
	}
	MemoryContextSwitchTo(previous);
	MemoryContextReset(scratch);
}

/* The delivery's turn has come. */
static void
take_turn(Delivery *delivery)
{
	Hook	   *hook = delivery->hook;
	TimestampTz now = GetCurrentTimestamp();

	if (!hooks_are_current(&hook->user_id))
		load_again(&hook->user_id);

	if (!hook->enabled || hook->type != delivery->event->event.type)
	{
		/* A hook that was disabled or deleted starts nothing new. */
		schedule_done(deliveries_schedule, &delivery->scheduled, SCHEDULE_UNSENT, now);
		if (delivery->in_table || hook->health.disabled)
		{
			if (delivery->kept.error == NULL)
				delivery_keep_error(delivery, "hook was disabled or deleted", 0, now);
			delivery->kept.last_at = now;
			delivery_give_up(delivery);
			return;
		}
		delivery_give_back(delivery->hook, delivery->event, &delivery->kept);
		delivery_release(delivery);
		return;
	}
	if (hook->mistake)
	{
		delivery_fail_unsent(delivery, hook->mistake);
		return;
	}
	schedule_limit_lane(deliveries_schedule, &hook->lane, hook->action->concurrency);

	if (now > expires_at(delivery))
	{
		/* That nobody has renewed a token, or sent it, says nothing of the hook. */
		delivery->blameless = delivery->kept.why == ASIDE_ACCOUNT || delivery->kept.why == ASIDE_OUTBOX;
		if (delivery->kept.why == ASIDE_OUTBOX && outbox_was_taken(&delivery->kept.id))
			delivery->kept.perhaps_sent = true;
		delivery_fail_unsent(delivery, expired(hook, &delivery->kept));
	}
	else if (hook->paused)
	{
		schedule_pause(deliveries_schedule, &delivery->scheduled);
		schedule_done(deliveries_schedule, &delivery->scheduled, SCHEDULE_UNSENT, now);
		delivery_put_aside(delivery, ASIDE_PAUSED, DT_NOEND);
	}
	else if (hook->action->guarded && guard_opens_at(now) > now)
		wait_for_service(delivery, guard_opens_at(now));
	else if (hook->action->accounts)
		start_with_account(delivery);
	else if (hook->action->secrets.n > 0)
		start_with_secrets(delivery);
	else
		start(delivery);
}

/* The delivery has to wait; not for longer than it may. */
static void
step_aside(Delivery *delivery, TimestampTz until)
{
	Hook	   *hook = delivery->hook;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz expires = hook->action ? expires_at(delivery) : DT_NOEND;
	const char *error;

	if (TIMESTAMP_IS_NOEND(until))
	{
		delivery_put_aside(delivery, ASIDE_PAUSED, DT_NOEND);	/* behind one that is */
		return;
	}
	if (now <= expires)
	{
		if (hook->action && hook->action->guarded && guard_opens_at(now) > now)
			say_service_is_closed(delivery);
		delivery_put_aside(delivery, ASIDE_HOST, Min(until, expires + 1));
		return;
	}
	error = expired(hook, &delivery->kept);
	delivery_log(hook, delivery->event, delivery->kept.target, LOG_FAILURE, error, now,
				 delivery->kept.attempts + 1);
	delivery_keep_error(delivery, error, 0, now);
	schedule_lose_aside(deliveries_schedule, &hook->user_id,
						delivery->scheduled.keeps_place ? &hook->lane : NULL,
						delivery->scheduled.place);
	delivery->scheduled.keeps_place = false;
	delivery_give_up(delivery);
}

void
attempts_start(void)
{
	ScheduleStep step;

	while (schedule_next(deliveries_schedule, GetCurrentTimestamp(), &step))
	{
		Delivery   *delivery = (Delivery *) step.delivery;

		if (step.aside)
			step_aside(delivery, step.until);
		else
			take_turn(delivery);
	}
	delivery_show();
}

/* ----------
 * Answers
 * ----------
 */

static void
log_attempt(const Delivery *delivery, const Answer *answer, const Outcome *outcome)
{
	LogRow		row = {
		.hook_id = delivery->hook->id,
		.user_id = delivery->event->event.user_id,
		.event_id = delivery->event->event.id,
		.trigger_type = delivery->event->event.type,
		.action_type = delivery->type->name,
		.status = outcome->class == OUTCOME_SUCCESS ? LOG_SUCCESS : LOG_FAILURE,
		.error = delivery_named_error(delivery->kept.target,
									  outcome->error ? outcome->error : outcome->note),
		.platform = outcome->arrived ? outcome->arrived : delivery->kept.target,
		.executed_at = delivery->started_at,
		.duration_ms = (int) ((answer->duration_us + 500) / 1000),
		.attempt = delivery->kept.attempts + 1,
		.response_status = outcome->status
	};

	delivery_result(&row);
	shared_time(deliveries_slot, LATENCY_REQUEST, answer->duration_us);
	hook_stats_request(&row.hook_id, answer->duration_us, row.executed_at);
}

/* When the receiver wants another attempt, in microseconds; -1: it does not say. */
static int64
wish_of(const Answer *answer, const Outcome *outcome)
{
	int64		ms = Max(answer->retry_after_ms, outcome->wait_ms > 0 ? outcome->wait_ms : -1);

	return ms < 0 ? -1 : ms * 1000;
}

static void
close_destination(void *arg, uint64 destination)
{
	schedule_close_destination(deliveries_schedule, destination, *(int64 *) arg, GetCurrentTimestamp());
}

/* What the answer tells of limits, its destination's and others'. */
static void
learn(const Delivery *delivery, const Answer *answer, const Outcome *outcome, TimestampTz now)
{
	bool		closed = answer->status == 429 || answer->status == 503;
	int64		closed_for = closed ? wish_of(answer, outcome) : -1;

	if (answer->kind != ANSWER_STATUS)
		return;
	if (outcome->invalid)
		guard_count_invalid(now);
	if (outcome->group != NULL)
		group_learn(delivery->scheduled.destination, outcome->group);
	if (closed_for > 0 && outcome->closes == CLOSES_SERVICE)
	{
		guard_close(closed_for, now);
		schedule_close_host(deliveries_schedule, &delivery->scheduled, closed_for, now);
	}
	else if (closed_for > 0 && outcome->closes == CLOSES_GROUP)
		group_each(delivery->scheduled.destination, close_destination, &closed_for);
	schedule_learn(deliveries_schedule, &delivery->scheduled, answer->rate_bucket, answer->rate_remaining,
				   answer->rate_reset_ms < 0 ? -1 : answer->rate_reset_ms * 1000,
				   closed_for > 0 ? closed_for : -1, now);
}

/* What has become of the message that it shares with others. */
static void
remember_message(const Delivery *delivery, const Outcome *outcome, TimestampTz now)
{
	const Event *event = &delivery->event->event;

	if (delivery->series == NULL)
		return;
	if (outcome->gone)
		posted_gone(event, delivery->series, delivery->edits, now);
	else if (outcome->class == OUTCOME_SUCCESS && delivery->edits != NULL)
		posted_changed(event, delivery->series, delivery->edits, now);
	else if (outcome->class == OUTCOME_SUCCESS && outcome->posted != NULL)
		posted_new(event, delivery->series, outcome->posted, now);
}

/*
 * When to try again, DT_NOEND for never; what a failed attempt's outcome says
 * of that is added to its error.
 */
static TimestampTz
next_attempt(Delivery *delivery, const Answer *answer, Outcome *outcome, TimestampTz now)
{
	const Action *action = delivery->hook->action;
	int64		wish = wish_of(answer, outcome);
	TimestampTz next;

	if (outcome->class != OUTCOME_RETRY || action == NULL || delivery->cancelled)
		return DT_NOEND;
	if (outcome->gone)
		next = now + GONE_PAUSE;
	else if (outcome->uncounted)
		next = now + Max(Min(wish, RETRY_LONGEST_WISH), UNCOUNTED_PAUSE);
	else
		next = retry_at(&action->retry, delivery->kept.attempts, wish,
						pg_prng_double(&pg_global_prng_state), now);
	if (TIMESTAMP_IS_NOEND(next) || next <= expires_at(delivery))
		return next;
	outcome->error = psprintf("%s; expires before the next attempt", outcome->error);
	return DT_NOEND;
}

static ScheduleResult
host_result(const Answer *answer, const Outcome *outcome)
{
	if (answer->kind == ANSWER_REFUSED)
		return SCHEDULE_UNSENT;
	return outcome->host_failed ? SCHEDULE_FAILED : SCHEDULE_WORKED;
}

static void
take_answer(Delivery *delivery, const Answer *answer)
{
	static const RetryPolicy no_policy = {.nstatuses = -1};
	Hook	   *hook = delivery->hook;
	TimestampTz now = GetCurrentTimestamp();
	ActionDelivery what = as_action(delivery);
	Outcome		outcome = {0};
	TimestampTz next;
	Aside	   *kept = &delivery->kept;
	int			attempt = kept->attempts + 1;

	underway_end(&delivery->event->event.user_id);
	delivery->type->judge(&what, answer, hook->action ? &hook->action->retry : &no_policy, &outcome);
	if (outcome.error)
		outcome.error = log_text(outcome.error);
	if (!outcome.uncounted)
		kept->attempts = attempt;
	if (outcome.class != OUTCOME_SUCCESS && !outcome.undelivered)
		kept->perhaps_sent = true;
	next = next_attempt(delivery, answer, &outcome, now);

	kept->attempts = attempt - 1;
	log_attempt(delivery, answer, &outcome);
	if (!outcome.uncounted)
		kept->attempts = attempt;
	delivery_keep_error(delivery, outcome.error, outcome.status, now);
	learn(delivery, answer, &outcome, now);
	remember_message(delivery, &outcome, now);
	if (!outcome.uncounted && !outcome.blameless)
		health_result(hook, delivery_named_error(kept->target, outcome.error), outcome.status,
					  TIMESTAMP_IS_NOEND(next), now);
	if (outcome.stale)
		account_is_stale(&hook->user_id, kept->target, delivery->token_mark);
	if (outcome.disable)
		health_disable(hook, psprintf("its destination wants no more: %s",
									  outcome.error ? outcome.error : "webhook-delivery: disable"), now);

	if (!TIMESTAMP_IS_NOEND(next))
		next = schedule_again(deliveries_schedule, &delivery->scheduled, next);
	schedule_done(deliveries_schedule, &delivery->scheduled, host_result(answer, &outcome), now);

	if (!TIMESTAMP_IS_NOEND(next))
		delivery_put_aside(delivery, ASIDE_RETRY, next);
	else if (outcome.class != OUTCOME_SUCCESS)
		delivery_give_up(delivery);
	else
	{
		if (kept->target != NULL && !kept->replay)
			(void) target_end(&hook->id, &delivery->event->event.id, true);
		if (delivery->in_table)
			aside_remove(&kept->id);
		delivery_release(delivery);
	}
}

void
attempts_answers(void)
{
	MemoryContext previous = MemoryContextSwitchTo(scratch);
	Answer		answer;
	void	   *delivery;

	while (transport_take(&answer, &delivery))
	{
		take_answer(delivery, &answer);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(previous);
	delivery_show();
}
