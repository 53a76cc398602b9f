/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *		One event's way through the worker: match → schedule → action →
 *		transport → log.
 *
 * An event makes one delivery per hook that fires.  What is decided at once
 * (skips, mistakes) becomes a log row at once; a delivery becomes one when
 * its answer is in.  The event is acknowledged as a whole when nothing of it
 * is open any more; while something is, what is done of it is acknowledged
 * hook by hook, so that a crash repeats only what was under way.
 *
 * An error while an event is matched or a message is built is this hook's
 * failure: it goes to the log, and the next one is tried.  Nothing in here
 * needs a transaction but the loading of hooks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "dispatch.h"
#include "log.h"
#include "schedule.h"
#include "settings.h"
#include "shared.h"
#include "transport.h"

typedef struct Delivery
{
	Scheduled	scheduled;		/* must be first */
	dlist_node	hook_link;
	Hook	   *hook;
	QueuedEvent *event;
	TimestampTz taken;			/* the cooldown it took … */
	TimestampTz before;			/* … and what was there before */
	bool		keep_cooldown;
	bool		admission_marked;
	const ActionType *type;		/* from the start on */
	TimestampTz started_at;
} Delivery;

static Schedule *schedule = NULL;
static DatabaseSlot *slot = NULL;
static MemoryContext deliveries_context = NULL;
static MemoryContext scratch = NULL;	/* for one event or message at a time */
static ResourceOwner owner = NULL;	/* of cryptographic contexts, outside transactions */
static Size bytes = 0;

/* Events that were taken and not matched yet. */
static QueuedEvent **taken = NULL;
static int	ntaken = 0;
static int	taken_allocated = 0;

void
dispatch_init(void)
{
	MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);

	slot = shared_my_slot();
	schedule = schedule_create();
	deliveries_context = SlabContextCreate(TopMemoryContext, "hooks deliveries",
										   SLAB_DEFAULT_BLOCK_SIZE, sizeof(Delivery));
	scratch = AllocSetContextCreate(TopMemoryContext, "hooks scratch", ALLOCSET_DEFAULT_SIZES);
	owner = ResourceOwnerCreate(NULL, "hooks deliveries");
	MemoryContextSwitchTo(previous);
	dispatch_reload();
}

void
dispatch_reload(void)
{
	schedule_set_limits(schedule, (ScheduleLimits)
						{
							.total = hooks_max_in_flight,
							.per_user = hooks_max_in_flight_per_user,
							.per_host = hooks_max_in_flight_per_host
						});
}

static void
show_gauges(void)
{
	shared_set(slot, STAT_WAITING, schedule_waiting(schedule));
	shared_set(slot, STAT_IN_FLIGHT, schedule_in_flight(schedule));
}

/* ----------
 * The end of an event, a delivery, an attempt
 * ----------
 */

/* One part of the event is done; the rest may be. */
static void
close_part(QueuedEvent *event)
{
	if (--event->open > 0)
		return;
	bytes -= event->size;
	backlog_done(event);
}

static void
write_log(const Hook *hook, const QueuedEvent *event, LogStatus status, const char *error,
		  TimestampTz at)
{
	LogRow		row = {
		.hook_id = hook->id,
		.user_id = event->event.user_id,
		.event_id = event->event.id,
		.trigger_type = hook->type,
		.action_type = hook->action_name,
		.status = status,
		.error = error,
		.executed_at = at,
		.attempt = 1
	};

	log_add(&row);
}

static void
write_skip(const Hook *hook, const QueuedEvent *event, LogStatus status, TimestampTz now)
{
	bool		cooldown = status == LOG_SKIPPED_COOLDOWN;

	shared_count(slot, cooldown ? STAT_SKIPPED_COOLDOWN : STAT_SKIPPED_CONDITION, 1);
	if (hooks_log_skips == LOG_SKIPS_ALL ||
		(hooks_log_skips == LOG_SKIPS_COOLDOWN && cooldown))
		write_log(hook, event, status, NULL, now);
}

static void
write_failure(const Hook *hook, const QueuedEvent *event, const char *error, TimestampTz now)
{
	shared_count(slot, STAT_FAILED, 1);
	write_log(hook, event, LOG_FAILURE, error, now);
}

/* The delivery is over, whatever came of it. */
static void
end_delivery(Delivery *delivery)
{
	Hook	   *hook = delivery->hook;
	QueuedEvent *event = delivery->event;

	schedule_done(schedule, &delivery->scheduled);
	if (event->open > 1)
		backlog_done_hook(event, &hook->id);
	close_part(event);
	dlist_delete(&delivery->hook_link);
	pfree(delivery);
	hook_release(hook);
}

/* Nothing was sent: the hook may fire again. */
static void
return_cooldown(Delivery *delivery)
{
	if (!delivery->keep_cooldown)
		hook_give_back(delivery->hook, delivery->taken, delivery->before);
}

static void
fail_unsent(Delivery *delivery, const char *error)
{
	write_failure(delivery->hook, delivery->event, error, GetCurrentTimestamp());
	return_cooldown(delivery);
	end_delivery(delivery);
}

/* ----------
 * Match
 * ----------
 */

void
dispatch_take(QueuedEvent *event)
{
	if (ntaken == taken_allocated)
	{
		int			n = taken_allocated ? taken_allocated * 2 : 1024;

		taken = taken ? repalloc(taken, sizeof(QueuedEvent *) * n)
			: MemoryContextAlloc(TopMemoryContext, sizeof(QueuedEvent *) * n);
		taken_allocated = n;
	}
	taken[ntaken++] = event;
	bytes += event->size;
	shared_count(slot, STAT_EVENTS_READ, 1);
}

bool
dispatch_has_unmatched(void)
{
	return ntaken > 0;
}

static int
compare_uuids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/*
 * Must the hooks of the event's user be loaded?  A commit is visible before it
 * sends its news, so hooks that came with the event are always loaded.
 */
static bool
needs_hooks(const QueuedEvent *event)
{
	return event->new_hooks || !hooks_are_current(&event->event.user_id);
}

bool
dispatch_needs_hooks(void)
{
	for (int i = 0; i < ntaken; i++)
	{
		if (needs_hooks(taken[i]))
			return true;
	}
	return false;
}

void
dispatch_load_hooks(void)
{
	pg_uuid_t  *users = palloc(sizeof(pg_uuid_t) * Max(ntaken, 1));
	int			n = 0;

	for (int i = 0; i < ntaken; i++)
	{
		if (needs_hooks(taken[i]))
			users[n++] = taken[i]->event.user_id;
	}
	if (n > 0)
	{
		int			distinct = 1;

		qsort(users, n, sizeof(pg_uuid_t), compare_uuids);
		for (int i = 1; i < n; i++)
		{
			if (memcmp(&users[i], &users[distinct - 1], UUID_LEN) != 0)
				users[distinct++] = users[i];
		}
		hooks_load(users, distinct);
	}
	pfree(users);
}

static void
add_delivery(Hook *hook, QueuedEvent *event, TimestampTz before, bool marked)
{
	Delivery   *delivery = MemoryContextAllocZero(deliveries_context, sizeof(Delivery));

	delivery->hook = hook;
	delivery->event = event;
	delivery->taken = hook->last_admitted;
	delivery->before = before;
	delivery->keep_cooldown = hook->action->keep_cooldown;
	delivery->admission_marked = marked;
	dlist_push_tail(&hook->deliveries, &delivery->hook_link);
	event->open++;
	schedule_add(schedule, &delivery->scheduled, &event->event.user_id,
				 event->event.type, hook->action->host);
}

static const char *
not_performed(const Hook *hook)
{
	return psprintf("action type \"%s\" is not performed by this version of hooks",
					hook->action_name);
}

static Occasion
occasion_of(const Hook *hook, const QueuedEvent *event)
{
	Occasion	occasion = {&event->event, hook->id, hook->name};

	return occasion;
}

/* Decide what a hook does about an event; true when that makes a delivery. */
static bool
match_hook(Hook *hook, QueuedEvent *event, TimestampTz now)
{
	const char *why = event->refused ? event->refused : hook->mistake;
	TimestampTz before = hook->last_admitted;
	bool		admitted = backlog_was_admitted(event, &hook->id);
	Occasion	occasion = occasion_of(hook, event);

	if (why != NULL)
		write_failure(hook, event, why, now);
	else if (!admitted && !condition_matches(hook->condition, &occasion))
		write_skip(hook, event, LOG_SKIPPED_CONDITION, now);
	else if (hook->action->type->build == NULL)
		write_failure(hook, event, not_performed(hook), now);
	else if (!admitted && !hook_admit(hook, now))
		write_skip(hook, event, LOG_SKIPPED_COOLDOWN, now);
	else
	{
		add_delivery(hook, event, before, admitted);
		return true;
	}
	return false;
}

/* The same, with errors turned into this hook's failure. */
static bool
match_hook_safely(Hook *hook, QueuedEvent *event, TimestampTz now)
{
	volatile bool delivers = false;
	MemoryContext previous = MemoryContextSwitchTo(scratch);

	PG_TRY();
	{
		delivers = match_hook(hook, event, now);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(scratch);
		error = CopyErrorData();
		FlushErrorState();
		write_failure(hook, event, psprintf("event could not be processed: %s", error->message), now);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(previous);
	MemoryContextReset(scratch);
	return delivers;
}

static void
match_event(QueuedEvent *event)
{
	/* Loaded after the event was read; what changed since does not matter to it. */
	UserHooks  *user = hooks_of(&event->event.user_id);
	TimestampTz now = GetCurrentTimestamp();
	const pg_uuid_t **decided;
	int			ndecided = 0;

	event->open = 1;			/* until all hooks have been looked at */
	if (user != NULL && user->nhooks > 0)
	{
		user->used_at = now;
		decided = palloc(sizeof(pg_uuid_t *) * user->nhooks);
		for (int i = 0; i < user->nhooks; i++)
		{
			Hook	   *hook = user->hooks[i];

			if (hook->type != event->event.type || backlog_was_done(event, &hook->id))
				continue;
			if (!match_hook_safely(hook, event, now))
				decided[ndecided++] = &hook->id;
		}

		/* While something stays open, say what is done already. */
		for (int i = 0; i < ndecided && event->open > 1; i++)
			backlog_done_hook(event, decided[i]);
		pfree(decided);
	}
	close_part(event);
}

void
dispatch_match(void)
{
	for (int i = 0; i < ntaken; i++)
		match_event(taken[i]);
	ntaken = 0;
	show_gauges();
}

/* ----------
 * Start
 * ----------
 */

/* Make and start the request; returns why not, or NULL. */
static const char *
start_request(Delivery *delivery)
{
	Hook	   *hook = delivery->hook;
	Message		message = {0};
	Mistake		error = {0};
	ActionDelivery what = {
		.occasion = occasion_of(hook, delivery->event),
		.now = delivery->started_at
	};

	what.id = occasion_delivery_id(&what.occasion);
	if (!delivery->type->build(hook->action, &what, &message, &error))
		return error.message;
	if (!transport_start(&message, delivery))
		return "out of memory";
	return NULL;
}

static void
start_delivery(Delivery *delivery)
{
	const char *volatile why = NULL;
	MemoryContext previous = MemoryContextSwitchTo(scratch);
	ResourceOwner previous_owner = CurrentResourceOwner;

	CurrentResourceOwner = owner;
	delivery->type = delivery->hook->action->type;
	delivery->keep_cooldown = delivery->hook->action->keep_cooldown;
	delivery->started_at = GetCurrentTimestamp();
	PG_TRY();
	{
		why = start_request(delivery);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(scratch);
		error = CopyErrorData();
		FlushErrorState();
		why = psprintf("message could not be built: %s", error->message);
		ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, true);
	}
	PG_END_TRY();
	CurrentResourceOwner = previous_owner;

	if (why == NULL)
		shared_count(slot, STAT_DELIVERIES_STARTED, 1);
	else
		fail_unsent(delivery, why);
	MemoryContextSwitchTo(previous);
	MemoryContextReset(scratch);
}

/*
 * Its hook may have changed while the delivery waited.  While somebody has
 * the hooks table locked, what was known before counts.
 */
static void
load_again(Delivery *delivery)
{
	MemoryContext context = CurrentMemoryContext;
	pg_uuid_t	user_id = delivery->hook->user_id;

	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		hooks_load(&user_id, 1);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

void
dispatch_start(void)
{
	Scheduled  *next;

	while ((next = schedule_next(schedule)) != NULL)
	{
		Delivery   *delivery = (Delivery *) next;
		Hook	   *hook = delivery->hook;

		if (!hooks_are_current(&hook->user_id))
			load_again(delivery);

		/* A hook that was disabled or deleted starts nothing new. */
		if (!hook->enabled || hook->type != delivery->event->event.type)
		{
			return_cooldown(delivery);
			end_delivery(delivery);
			continue;
		}
		if (hook->mistake)
			fail_unsent(delivery, hook->mistake);
		else if (hook->action->type->build == NULL)
			fail_unsent(delivery, not_performed(hook));
		else
			start_delivery(delivery);
	}
	show_gauges();
}

/* ----------
 * Answers
 * ----------
 */

static void
take_answer(Delivery *delivery, const Answer *answer)
{
	Outcome		outcome = {0};
	LogRow		row = {
		.hook_id = delivery->hook->id,
		.user_id = delivery->event->event.user_id,
		.event_id = delivery->event->event.id,
		.trigger_type = delivery->event->event.type,
		.action_type = delivery->type->name,
		.executed_at = delivery->started_at,
		.duration_ms = (int) ((answer->duration_us + 500) / 1000),
		.attempt = 1
	};

	delivery->type->judge(answer, &outcome);
	row.status = outcome.class == OUTCOME_SUCCESS ? LOG_SUCCESS : LOG_FAILURE;
	row.error = outcome.error;
	row.response_status = outcome.status;
	log_add(&row);

	shared_count(slot, outcome.class == OUTCOME_SUCCESS ? STAT_SUCCEEDED : STAT_FAILED, 1);
	if (outcome.class == OUTCOME_FAILURE && outcome.undelivered)
		return_cooldown(delivery);
	end_delivery(delivery);
}

void
dispatch_answers(void)
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
	show_gauges();
}

/*
 * Once last_triggered_at is written, a crash must not make the deliveries
 * that took it fall into their own cooldown: they are marked as admitted in
 * the same transaction.
 */
void
dispatch_about_to_write(Hook *hook)
{
	dlist_iter	iter;

	if (hook->cooldown_seconds <= 0)
		return;
	dlist_foreach(iter, &hook->deliveries)
	{
		Delivery   *delivery = dlist_container(Delivery, hook_link, iter.cur);

		if (delivery->admission_marked)
			continue;
		backlog_admitted_hook(delivery->event, &hook->id);
		delivery->admission_marked = true;
	}
}

int
dispatch_waiting(void)
{
	return schedule_waiting(schedule);
}

int
dispatch_in_flight(void)
{
	return schedule_in_flight(schedule);
}

Size
dispatch_bytes(void)
{
	return bytes;
}
