/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *		From events to deliveries: match → schedule.
 *
 * An event makes one delivery per hook that fires.  What is decided at once
 * (skips, mistakes) becomes a log row at once.  The event is acknowledged as
 * a whole when nothing of it is open any more; while something is, what is
 * done of it is acknowledged hook by hook, so that a crash repeats only what
 * was under way.
 *
 * What is more than its user may have in memory is parked (parking.h), and
 * taken again later.
 *
 * An error while an event is matched is this hook's failure: it goes to the
 * log, and the next one is tried.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "chat_loop.h"
#include "delivery.h"
#include "dispatch.h"
#include "hook.h"
#include "intervene.h"
#include "parking.h"
#include "shared.h"
#include "target.h"

/* What was taken and not matched yet. */
typedef struct Taken
{
	QueuedEvent *event;
	bool		parked;			/* it was, and must not be again */
	bool		fulfilled;		/* it is a request, which was done */
	bool		cancelled;		/* it is not to be made */
	bool		back;			/* it is a delivery that was aside: */
	Aside		aside;
} Taken;

static DatabaseSlot *slot = NULL;
static MemoryContext scratch = NULL;	/* for one event at a time */
static Taken *taken = NULL;
static int	ntaken = 0;
static int	taken_allocated = 0;

void
dispatch_init(void)
{
	slot = shared_my_slot();
	scratch = AllocSetContextCreate(TopMemoryContext, "hooks matching", ALLOCSET_DEFAULT_SIZES);
}

/* ----------
 * Taking
 * ----------
 */

static Taken *
take(QueuedEvent *event)
{
	if (ntaken == taken_allocated)
	{
		int			n = taken_allocated ? taken_allocated * 2 : 1024;

		taken = taken ? repalloc(taken, sizeof(Taken) * n)
			: MemoryContextAlloc(TopMemoryContext, sizeof(Taken) * n);
		taken_allocated = n;
	}
	taken[ntaken].event = event;
	taken[ntaken].parked = taken[ntaken].fulfilled = false;
	taken[ntaken].cancelled = taken[ntaken].back = false;
	return &taken[ntaken++];
}

void
dispatch_take(QueuedEvent *event)
{
	(void) take(event);
	backlog_begin(event);
	shared_count(slot, STAT_EVENTS_READ, 1);
}

void
dispatch_take_back(const Aside *aside, QueuedEvent *event)
{
	Taken	   *t = take(event);

	t->back = true;
	t->aside = *aside;
	if (aside->error)
		t->aside.error = MemoryContextStrdup(TopMemoryContext, aside->error);
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
dispatch_needs_preparing(void)
{
	for (int i = 0; i < ntaken; i++)
	{
		if (needs_hooks(taken[i].event) ||
			(taken[i].event->request != QUEUE_EVENT && !taken[i].fulfilled))
			return true;
	}
	return false;
}

/* ----------
 * Requests
 * ----------
 */

/* Does the hook want the event?  What it says must not end us. */
static bool
wants(const Hook *hook, const QueuedEvent *event)
{
	Occasion	occasion = {&event->event, hook->id, hook->name};
	MemoryContext context = CurrentMemoryContext;
	volatile bool fires = false;

	PG_TRY();
	{
		fires = condition_matches(hook->condition, &occasion);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (shared_event_starved(slot, &event->event.id, geterrcode()))
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return fires;
}

/* … to one of the hook's destinations, or to all. */
static void
replay_hook(const UserHooks *user, Hook *hook, const QueuedEvent *event)
{
	const char *targets[ACTION_MAX_TARGETS];
	Mistake		error = {0};
	int			n = action_targets(hook->action, user->connected, targets, &error);

	for (int i = 0; i < n; i++)
	{
		if (event->target == NULL || targets[i] == NULL || event->target == targets[i])
			intervene_replay(hook, event, targets[i]);
	}
	if (n == 0)
		delivery_refuse(hook, event, error.message, GetCurrentTimestamp());
}

/* Have the hooks that would fire for the event do so again; or the one that is named. */
static void
replay(const QueuedEvent *event)
{
	UserHooks  *user = hooks_of(&event->event.user_id);

	for (int i = 0; user != NULL && i < user->nhooks; i++)
	{
		Hook	   *hook = user->hooks[i];

		if (event->request == QUEUE_REDELIVER &&
			memcmp(&hook->id, &event->hook_id, UUID_LEN) != 0)
			continue;
		if (!hook->enabled || hook->type != event->event.type || hook->action == NULL)
			continue;
		if (event->request == QUEUE_REPLAY && !wants(hook, event))
			continue;
		replay_hook(user, hook, event);
	}
}

/* A delivery is not to be made; it may have been taken just now. */
static void
cancel(const QueuedEvent *request)
{
	intervene_cancel(request);
	for (int i = 0; i < ntaken; i++)
	{
		if (taken[i].back && taken[i].aside.target == request->target &&
			memcmp(&taken[i].aside.hook_id, &request->hook_id, UUID_LEN) == 0 &&
			memcmp(&taken[i].event->event.id, &request->event.id, UUID_LEN) == 0)
			taken[i].cancelled = true;
	}
}

/* Do what somebody asks for. */
static void
fulfil(const QueuedEvent *event)
{
	switch (event->request)
	{
		case QUEUE_REDELIVER:
		case QUEUE_REPLAY:
			replay(event);
			break;
		case QUEUE_CANCEL:
			cancel(event);
			break;
		case QUEUE_RESUME:
			intervene_resume(event);
			break;
		case QUEUE_REPORT:
			intervene_report(event);
			break;
		case QUEUE_ACCOUNT:
			intervene_account_changed(&event->event.user_id);
			break;
		case QUEUE_EVENT:
			break;
	}
}

void
dispatch_prepare(void)
{
	pg_uuid_t  *users = palloc(sizeof(pg_uuid_t) * Max(ntaken, 1));
	int			n = 0;

	for (int i = 0; i < ntaken; i++)
	{
		if (needs_hooks(taken[i].event))
			users[n++] = taken[i].event->event.user_id;
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

	/* Requests are done with here, because they look into tables. */
	for (int i = 0; i < ntaken; i++)
	{
		if (taken[i].event->request == QUEUE_EVENT || taken[i].fulfilled)
			continue;
		fulfil(taken[i].event);
		taken[i].fulfilled = true;
	}
}

/* ----------
 * Matching
 * ----------
 */

/* Did the hook write the message itself?  Conditions that want the streamer's own ones want it. */
static bool
is_own_message(const UserHooks *user, const Hook *hook, const Event *event)
{
	return hook->action->type->sends_chat && condition_ignores_self(hook->condition) &&
		chat_loop_closes(event, user->accounts, user->connected);
}

/* A delivery to each of the hook's destinations; false when there is none left. */
static bool
add_deliveries(Hook *hook, QueuedEvent *event, const char **targets, int ntargets, int ndone,
			   TimestampTz before, bool admitted, TimestampTz now)
{
	int			n = 0;

	for (int i = 0; i < ntargets; i++)
	{
		if (!delivery_was_done(hook, event, targets[i]))
			targets[n++] = targets[i];
	}
	if (n > 0 && targets[0] != NULL)
		target_begin(&hook->id, &event->event.id, n, ndone > 0, now);
	for (int i = 0; i < n; i++)
		delivery_add(hook, event, targets[i], before, admitted);
	return n > 0;
}

/*
 * Decide what a hook does about an event; true when that makes a delivery.  What
 * was admitted before a restart is, and of its deliveries those are left that
 * were not done.
 */
static bool
match_hook(const UserHooks *user, Hook *hook, QueuedEvent *event, TimestampTz now)
{
	const char *why = event->refused ? event->refused : hook->mistake;
	TimestampTz before = hook->last_admitted;
	bool		admitted = backlog_was_admitted(event, &hook->id);
	Occasion	occasion = {&event->event, hook->id, hook->name};
	const char *targets[ACTION_MAX_TARGETS];
	int			ntargets = 0;
	int			ndone = 0;
	Mistake		error = {0};

	if (why == NULL && shared_event_hopeless(slot, &event->event.id))
		why = "there was not enough memory for it, three times";
	if (why == NULL)
		ntargets = action_targets(hook->action, user->connected, targets, &error);
	for (int i = 0; i < TARGETS; i++)
		ndone += delivery_was_done(hook, event, target_names[i]) ? 1 : 0;
	admitted = admitted || ndone > 0;

	if (why != NULL)
		delivery_refuse(hook, event, why, now);
	else if (!admitted && (!condition_matches(hook->condition, &occasion) ||
						   is_own_message(user, hook, &event->event)))
		delivery_skip(hook, event, false, now);
	else if (ntargets == 0 && ndone == 0)
		delivery_refuse(hook, event, error.message, now);
	else if (!admitted && !hook_admit(hook, now))
		delivery_skip(hook, event, true, now);
	else
		return add_deliveries(hook, event, targets, ntargets, ndone, before, admitted, now);
	return false;
}

/* The same, with errors turned into this hook's failure, but for those of the server. */
static bool
match_hook_safely(const UserHooks *user, Hook *hook, QueuedEvent *event, TimestampTz now)
{
	volatile bool delivers = false;
	MemoryContext previous = MemoryContextSwitchTo(scratch);

	PG_TRY();
	{
		delivers = match_hook(user, hook, event, now);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(scratch);
		if (shared_event_starved(slot, &event->event.id, geterrcode()))
			PG_RE_THROW();
		error = CopyErrorData();
		FlushErrorState();
		delivery_refuse(hook, event, psprintf("event could not be processed: %s", error->message), now);
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

	if (user != NULL && user->nhooks > 0 && !hooks_user_is_served(user))
		shared_count(slot, STAT_EVENTS_UNSERVED, 1);
	else if (user != NULL && user->nhooks > 0)
	{
		user->used_at = now;
		decided = palloc(sizeof(pg_uuid_t *) * user->nhooks);
		for (int i = 0; i < user->nhooks; i++)
		{
			Hook	   *hook = user->hooks[i];

			if (!hook->enabled || hook->type != event->event.type ||
				backlog_was_done(event, &hook->id))
				continue;
			if (!match_hook_safely(user, hook, event, now))
				decided[ndecided++] = &hook->id;
		}

		/* While something stays open, say what is done already. */
		for (int i = 0; i < ndecided && event->open > 1; i++)
			backlog_done_hook(event, decided[i]);
		pfree(decided);
	}
	backlog_close(event);
}

/* ----------
 * Parking
 * ----------
 */

/* It was parked, and must not be again. */
static void
take_parked(QueuedEvent *event)
{
	take(event)->parked = true;
	backlog_begin(event);
}

static void
take_parked_delivery(const Aside *aside, QueuedEvent *event)
{
	dispatch_take_back(aside, event);
	taken[ntaken - 1].parked = true;
}

void
dispatch_take_parked(void)
{
	parking_take_back(take_parked, take_parked_delivery);
}

/* A delivery that was aside is there again. */
static void
take_up(Taken *t)
{
	QueuedEvent *event = t->event;

	if (t->cancelled)
		pfree(event);
	else if (!t->parked && parking_of_delivery(&event->event.user_id, &t->aside.hook_id))
		parking_put_delivery(&t->aside, event);
	else
		delivery_return(hook_find(&event->event.user_id, &t->aside.hook_id), &t->aside, event);
	if (t->aside.error)
		pfree((char *) t->aside.error);
}

void
dispatch_match(void)
{
	for (int i = 0; i < ntaken; i++)
	{
		Taken	   *t = &taken[i];
		QueuedEvent *event = t->event;

		if (t->back)
			take_up(t);
		else if (t->fulfilled)
			backlog_close(event);
		else if (!t->parked && parking_of_event(&event->event.user_id))
			parking_put_event(event);
		else
			match_event(event);
	}
	ntaken = 0;
	delivery_show();
}
