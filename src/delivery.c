/*-------------------------------------------------------------------------
 *
 * delivery.c
 *		The life of a delivery: what one hook does about one event.  See
 *		delivery.h.
 *
 * Every attempt makes a log row.  What ends for good is acknowledged; what is
 * tried again, or waits for long, goes aside, which acknowledges it as well:
 * the queue holds nothing but what is about to start.  Both are written in one
 * transaction.
 *
 * An error while a message is built is the hook's failure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "chat_report.h"
#include "delivery.h"
#include "group.h"
#include "guard.h"
#include "hook_stats.h"
#include "log.h"
#include "outbox.h"
#include "posted.h"
#include "schedule.h"
#include "secret.h"
#include "settings.h"
#include "shared.h"
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
#define CANCELLED "cancelled by hooks.cancel()"

typedef struct Delivery
{
	Scheduled	scheduled;		/* must be first */
	dlist_node	hook_link;
	Hook	   *hook;
	QueuedEvent *event;
	Aside		kept;			/* what would be kept of it */
	bool		in_table;		/* … and is */
	bool		admission_marked;
	bool		cancelled;
	bool		wanted;			/* somebody asks for it: once more, should it fail */
	bool		blameless;		/* what keeps it from being sent is not the hook's fault */
	bool		handed_over;	/* to the application, by the outbox */
	const ActionType *type;		/* from the start on */
	bool		to_account;		/* as action.h has it */
	const ChatAccount *account; /* while the message is made … */
	const Secrets *secrets;		/* … as these */
	uint64		token_mark;		/* of the account, from the start on */
	TimestampTz started_at;
	char	   *series;			/* whose message it posts or changes, or NULL … */
	char	   *edits;			/* … and the one that it changes; NULL: it posts one */
} Delivery;

/* Places of a hook's deliveries that were aside before the hook was loaded. */
typedef struct KeptPlaces
{
	pg_uuid_t	hook;			/* key */
	Places		places;
	TimestampTz first_at;
} KeptPlaces;

static Schedule *schedule = NULL;
static DatabaseSlot *slot = NULL;
static MemoryContext deliveries_context = NULL;
static MemoryContext scratch = NULL;	/* for one message or answer at a time */
static ResourceOwner owner = NULL;	/* of cryptographic contexts, outside transactions */
static HTAB *kept_places = NULL;
static uint64 destination_seed;
static TimestampTz next_replay = 0;

/* ----------
 * Setting up
 * ----------
 */

static void
count_aside(const pg_uuid_t *user, int n)
{
	schedule_count_aside(schedule, user, n);
}

static void
remember_places(const pg_uuid_t *hook, const int64 *places, int n, TimestampTz first_at)
{
	KeptPlaces *entry = hash_search(kept_places, hook, HASH_ENTER, NULL);

	memset(&entry->places, 0, sizeof(entry->places));
	for (int i = 0; i < n; i++)
		places_add(&entry->places, places[i], TopMemoryContext);
	entry->first_at = first_at;
}

void
delivery_init(void)
{
	MemoryContext previous = MemoryContextSwitchTo(TopMemoryContext);
	HASHCTL		control = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(KeptPlaces)};

	slot = shared_my_slot();
	schedule = schedule_create();
	deliveries_context = SlabContextCreate(TopMemoryContext, "hooks deliveries",
										   SLAB_DEFAULT_BLOCK_SIZE, sizeof(Delivery));
	scratch = AllocSetContextCreate(TopMemoryContext, "hooks scratch", ALLOCSET_DEFAULT_SIZES);
	owner = ResourceOwnerCreate(NULL, "hooks deliveries");
	kept_places = hash_create("hooks kept places", 64, &control, HASH_ELEM | HASH_BLOBS);
	destination_seed = pg_prng_uint64(&pg_global_prng_state);
	MemoryContextSwitchTo(previous);
	delivery_reload();
	aside_open(count_aside, remember_places);
}

void
delivery_reload(void)
{
	schedule_set_limits(schedule, (ScheduleLimits)
						{
							.total = hooks_max_in_flight,
							.per_user = hooks_max_in_flight_per_user,
							.per_host = hooks_max_in_flight_per_host,
							.aside_per_user = hooks_max_waiting_per_user,
							.no_breakers = !hooks_breaker
						});
}

void
delivery_show(void)
{
	shared_set(slot, STAT_WAITING, schedule_waiting(schedule));
	shared_set(slot, STAT_IN_FLIGHT, schedule_in_flight(schedule));
}

/* ----------
 * The log
 * ----------
 */

/* An error that says which of the hook's destinations it is about. */
static const char *
named(const char *target, const char *error)
{
	return target && error ? psprintf("%s: %s", target, error) : error;
}

/* Count a result, and log it if it is to be. */
static void
result(const LogRow *row)
{
	static const Stat counters[LOG_STATUSES] = {
		[LOG_SUCCESS] = STAT_SUCCEEDED,
		[LOG_FAILURE] = STAT_FAILED,
		[LOG_SKIPPED_COOLDOWN] = STAT_SKIPPED_COOLDOWN,
		[LOG_SKIPPED_CONDITION] = STAT_SKIPPED_CONDITION
	};

	shared_count(slot, counters[row->status], 1);
	hook_stats_result(&row->hook_id, row->status, row->executed_at);
	if ((row->status == LOG_SKIPPED_CONDITION && hooks_log_skips != LOG_SKIPS_ALL) ||
		(row->status == LOG_SKIPPED_COOLDOWN && hooks_log_skips == LOG_SKIPS_NONE))
		return;
	log_add(row);
}

static void
write_log(const Hook *hook, const QueuedEvent *event, const char *target, LogStatus status,
		  const char *error, TimestampTz at, int attempt)
{
	LogRow		row = {
		.hook_id = hook->id,
		.user_id = event->event.user_id,
		.event_id = event->event.id,
		.trigger_type = hook->type,
		.action_type = hook->action_name,
		.status = status,
		.error = named(target, error),
		.executed_at = at,
		.attempt = attempt,
		.platform = target
	};

	result(&row);
}

void
delivery_skip(const Hook *hook, const QueuedEvent *event, bool cooldown, TimestampTz now)
{
	write_log(hook, event, NULL, cooldown ? LOG_SKIPPED_COOLDOWN : LOG_SKIPPED_CONDITION, NULL, now, 1);
}

void
delivery_refuse(const Hook *hook, const QueuedEvent *event, const char *error, TimestampTz now)
{
	write_log(hook, event, NULL, LOG_FAILURE, error, now, 1);
}

/* ----------
 * Ends
 * ----------
 */

static void
forget_message(Delivery *delivery)
{
	if (delivery->series)
		pfree(delivery->series);
	if (delivery->edits)
		pfree(delivery->edits);
	delivery->series = delivery->edits = NULL;
}

/* What was taken for the delivery is given back; it is out of the schedule. */
static void
release(Delivery *delivery)
{
	Hook	   *hook = delivery->hook;
	QueuedEvent *event = delivery->event;

	Assert(delivery->scheduled.state == SCHEDULE_OUT);
	if (event->place.table >= 0 && event->open > 1)
		backlog_done_hook(event, delivery->kept.target ? &delivery->kept.id : &hook->id);
	backlog_close(event);
	dlist_delete(&delivery->hook_link);
	if (delivery->kept.error)
		pfree((char *) delivery->kept.error);
	forget_message(delivery);
	pfree(delivery);
	hook_release(hook);
}

/* Remember the last attempt's error. */
static void
keep_error(Delivery *delivery, const char *error, int status, TimestampTz at)
{
	if (delivery->kept.error)
		pfree((char *) delivery->kept.error);
	delivery->kept.error = error ? MemoryContextStrdup(TopMemoryContext, error) : NULL;
	delivery->kept.status = status;
	delivery->kept.last_at = at;
}

/* The application is not to send it any more, if it was. */
static void
leave_outbox(const Aside *kept)
{
	if (kept->why == ASIDE_OUTBOX)
		outbox_remove(&kept->id);
}

static void
put_aside(Delivery *delivery, AsideWhy why, TimestampTz until)
{
	delivery->kept.why = why;
	delivery->kept.next_at = until;
	delivery->kept.place = delivery->scheduled.keeps_place ? delivery->scheduled.place : -1;

	/* The queue forgets the delivery now, so its cooldown has to be on record. */
	if (why != ASIDE_GIVEN_UP && delivery->hook->cooldown_seconds > 0 &&
		hook_has_taken(delivery->hook, delivery->kept.taken))
		hook_write_soon(delivery->hook);
	aside_put(&delivery->kept, delivery->event);
	release(delivery);
}

/* When nothing has arrived, anywhere, the hook may fire again. */
static void
give_back(Hook *hook, const QueuedEvent *event, const Aside *kept)
{
	bool		nothing = kept->target && !kept->replay
		? target_end(&hook->id, &event->event.id, kept->perhaps_sent) : !kept->perhaps_sent;

	if (nothing && !TIMESTAMP_IS_NOBEGIN(kept->taken) &&
		!(hook->action && hook->action->keep_cooldown))
		hook_give_back(hook, kept->taken, kept->before);
}

/* It has failed for good, and can be asked for, or was already. */
static void
give_up(Delivery *delivery)
{
	leave_outbox(&delivery->kept);
	if (delivery->wanted && !delivery->cancelled)
	{
		QueuedEvent copy = *delivery->event;

		copy.queued_at = GetCurrentTimestamp();
		schedule_count_aside(schedule, &delivery->hook->user_id, 1);
		delivery->kept.why = ASIDE_REPLAY;
		delivery->kept.next_at = copy.queued_at;
		delivery->kept.place = -1;
		delivery->kept.replay = true;
		delivery->kept.attempts = 0;
		delivery->kept.taken = delivery->kept.before = DT_NOBEGIN;
		aside_put(&delivery->kept, &copy);
		release(delivery);
		return;
	}
	give_back(delivery->hook, delivery->event, &delivery->kept);
	if (delivery->in_table)
		hook_write_soon(delivery->hook);	/* nobody can return it later */
	put_aside(delivery, ASIDE_GIVEN_UP, DT_NOEND);
}

/* The same for one that was to start, and was not sent. */
static void
fail_unsent(Delivery *delivery, const char *error)
{
	TimestampTz now = GetCurrentTimestamp();

	write_log(delivery->hook, delivery->event, delivery->kept.target, LOG_FAILURE, error, now,
			  delivery->kept.attempts + 1);
	keep_error(delivery, error, 0, now);
	if (!delivery->blameless)
		health_result(delivery->hook, named(delivery->kept.target, error), 0, true, now);
	schedule_done(schedule, &delivery->scheduled, SCHEDULE_UNSENT, now);
	give_up(delivery);
}

/* ----------
 * Beginnings
 * ----------
 */

static pg_uuid_t
delivery_id(const pg_uuid_t *hook, const QueuedEvent *event, const char *target)
{
	ResourceOwner previous = CurrentResourceOwner;
	Occasion	occasion = {&event->event, *hook, NULL};
	pg_uuid_t	id;

	CurrentResourceOwner = owner;
	id = occasion_delivery_id(&occasion, target);
	CurrentResourceOwner = previous;
	return id;
}

/* How many requests our own limit lets through. */
static Allowance
allowance_of(const Hook *hook, const char *target)
{
	const UserHooks *user = hook->action->accounts && target ? hooks_of(&hook->user_id) : NULL;
	const AccountIds *ids = user && user->accounts ? &user->accounts[target_number(target)] : NULL;

	if (!hook->action->accounts || target == NULL)
		return hook->action->allowance;
	return chat_platform_allowance(chat_platform(target),
								   ids && strcmp(ids->channel, ids->sender) == 0);
}

/*
 * What the hook shares its rate limits with: those of a host, or of a platform
 * where the user has an account, are usually its user's own.  Nobody outside can make out two that collide.
 */
static uint64
destination_of(const Hook *hook, const char *target)
{
	const Action *action = hook->action;
	const char *name = target ? target : action->destination ? action->destination : action->host;
	uint64		destination = hash_bytes_extended((const unsigned char *) name, strlen(name),
												  destination_seed);

	if (target != NULL || action->destination == NULL)
		destination = hash_combine64(destination,
									 hash_bytes_extended(hook->user_id.data, UUID_LEN,
														 destination_seed));
	return destination;
}

/* What the hook shares a message with, which only one at a time may change; 0: it has none. */
static uint64
series_of(const Hook *hook)
{
	const char *name = hook->action->edits;

	if (name == NULL)
		return 0;
	return hash_combine64(hash_bytes_extended((const unsigned char *) name, strlen(name),
											  ~destination_seed),
						  hash_bytes_extended(hook->user_id.data, UUID_LEN, ~destination_seed));
}

/* What the hook had aside before it was loaded. */
static void
recall_places(Hook *hook)
{
	KeptPlaces *entry;

	if (hash_get_num_entries(kept_places) == 0 ||
		(entry = hash_search(kept_places, &hook->id, HASH_FIND, NULL)) == NULL)
		return;
	schedule_recall_aside(schedule, &hook->lane, &entry->places, entry->first_at);
	places_clear(&entry->places);
	hash_search(kept_places, &hook->id, HASH_REMOVE, NULL);
}

/* One of them will not come back, and the hook is not loaded. */
static void
forget_place(const pg_uuid_t *hook, int64 place)
{
	KeptPlaces *entry = hash_search(kept_places, hook, HASH_FIND, NULL);

	if (entry == NULL)
		return;
	places_remove(&entry->places, place);
	if (entry->places.n == 0)
		hash_search(kept_places, hook, HASH_REMOVE, NULL);
}

static Delivery *
make(Hook *hook, QueuedEvent *event)
{
	Delivery   *delivery = MemoryContextAllocZero(deliveries_context, sizeof(Delivery));

	delivery->hook = hook;
	delivery->event = event;
	dlist_push_tail(&hook->deliveries, &delivery->hook_link);
	return delivery;
}

static void
enter(Delivery *delivery, bool was_aside)
{
	Hook	   *hook = delivery->hook;
	const Aside *kept = &delivery->kept;
	ScheduleOrder order = {
		.user = &delivery->event->event.user_id,
		.lane = &hook->lane,
		.type = delivery->event->event.type,
		.host = action_host(hook->action, kept->target),
		.destination = destination_of(hook, kept->target),
		.told = hook->action->destination != NULL,
		.series = series_of(hook),
		.size = delivery->event->data_size,
		.concurrency = hook->action->concurrency,
		.allowance = allowance_of(hook, kept->target),
		.strict = hook->action->strict,
		.again = kept->attempts > 0 || kept->replay,
		.was_aside = was_aside,
		.place = was_aside ? kept->place : -1
	};

	recall_places(hook);
	schedule_add(schedule, &delivery->scheduled, &order, GetCurrentTimestamp());
}

void
delivery_add(Hook *hook, QueuedEvent *event, const char *target, TimestampTz before, bool marked)
{
	pg_uuid_t	id = delivery_id(&hook->id, event, target);
	Delivery   *delivery = make(hook, event);

	event->open++;
	delivery->kept.id = id;
	delivery->kept.target = target;
	delivery->kept.hook_id = hook->id;
	delivery->kept.taken = hook->last_admitted;
	delivery->kept.before = before;
	delivery->kept.last_at = DT_NOBEGIN;
	delivery->admission_marked = marked;
	enter(delivery, false);
}

bool
delivery_was_done(const Hook *hook, const QueuedEvent *event, const char *target)
{
	pg_uuid_t	id;

	if (event->place.acked == NULL || target == NULL)
		return false;
	id = delivery_id(&hook->id, event, target);
	return backlog_was_done(event, &id);
}

static Delivery *
find_delivery(Hook *hook, const pg_uuid_t *event_id, const char *target)
{
	dlist_iter	iter;

	dlist_foreach(iter, &hook->deliveries)
	{
		Delivery   *delivery = dlist_container(Delivery, hook_link, iter.cur);

		/* Targets are constants. */
		if (delivery->kept.target == target &&
			memcmp(&delivery->event->event.id, event_id, UUID_LEN) == 0)
			return delivery;
	}
	return NULL;
}

/* It will not come back; "hook" is NULL when that is gone, or not loaded. */
static void
lose_aside(Hook *hook, const Aside *kept, const QueuedEvent *event)
{
	if (hook != NULL)
		recall_places(hook);
	else if (kept->place >= 0)
		forget_place(&kept->hook_id, kept->place);
	schedule_lose_aside(schedule, &event->event.user_id,
						hook && kept->place >= 0 ? &hook->lane : NULL, kept->place);
}

void
delivery_return(Hook *hook, const Aside *aside, QueuedEvent *event)
{
	Delivery   *delivery;

	backlog_begin(event);
	if (hook != NULL && find_delivery(hook, &event->event.id, aside->target) != NULL)
	{
		backlog_close(event);	/* it is here already */
		return;
	}
	if (hook == NULL || hook->action == NULL || hook->type != event->event.type)
	{
		Aside		kept = *aside;

		kept.why = ASIDE_GIVEN_UP;
		kept.last_at = GetCurrentTimestamp();
		if (kept.error == NULL)
			kept.error = hook && hook->mistake ? hook->mistake : "hook was disabled or deleted";
		if (hook != NULL)
		{
			/* It is enabled, but cannot do this. */
			write_log(hook, event, kept.target, LOG_FAILURE,
					  hook->mistake ? hook->mistake : "hook has another trigger_type now",
					  kept.last_at, kept.attempts + 1);
			give_back(hook, event, &kept);
		}
		leave_outbox(aside);
		lose_aside(hook, aside, event);
		aside_put(&kept, event);
		backlog_close(event);
		return;
	}

	delivery = make(hook, event);
	delivery->kept = *aside;
	if (aside->error)
		delivery->kept.error = MemoryContextStrdup(TopMemoryContext, aside->error);
	delivery->in_table = true;
	delivery->admission_marked = true;
	enter(delivery, true);
}

/* The hook's deliveries that have kept their places come back now, in their order. */
static void
hurry(Hook *hook)
{
	schedule_hurry(schedule, &hook->lane, aside_hurry(&hook->id, GetCurrentTimestamp()));
}

void
delivery_replay(Hook *hook, const QueuedEvent *event, const char *target)
{
	TimestampTz now = GetCurrentTimestamp();
	QueuedEvent copy = *event;
	Aside		kept;
	Delivery   *delivery = find_delivery(hook, &event->event.id, target);
	pg_uuid_t	id = delivery_id(&hook->id, event, target);
	int64		place = -1;

	if (delivery != NULL)
	{
		delivery->wanted = true;	/* it is about to be sent */
		return;
	}
	recall_places(hook);
	if (aside_find(&id, &kept, NULL) && kept.why == ASIDE_OUTBOX)
		return;					/* it is the application's already */
	if (aside_find(&id, &kept, NULL) && kept.why != ASIDE_GIVEN_UP)
		place = kept.place;		/* it goes on waiting, for less */
	else
		schedule_count_aside(schedule, &event->event.user_id, 1);
	next_replay = Max(next_replay, now);
	kept = (Aside)
	{
		.id = id,
		.hook_id = hook->id,
		.target = target,
		.why = ASIDE_REPLAY,
		.next_at = next_replay,
		.place = place,
		.replay = true,
		.taken = DT_NOBEGIN,
		.before = DT_NOBEGIN,
		.last_at = DT_NOBEGIN
	};
	next_replay += USECS_PER_SEC / hooks_replay_rate;
	copy.queued_at = now;
	aside_put(&kept, &copy);
	if (place >= 0)
		hurry(hook);
}

/*
 * What has come meanwhile stays behind what was there first, which now has a
 * time to come back.  (A request to resume names a user by its event's id,
 * too, or else a hook.)
 */
void
delivery_resume(const QueuedEvent *request)
{
	UserHooks  *user = hooks_of(&request->event.user_id);
	TimestampTz from = aside_resume(&request->hook_id, &request->event.id, GetCurrentTimestamp());

	for (int i = 0; user != NULL && i < user->nhooks; i++)
	{
		Hook	   *hook = user->hooks[i];

		if (memcmp(&hook->id, &request->hook_id, UUID_LEN) != 0 &&
			memcmp(&hook->user_id, &request->event.id, UUID_LEN) != 0)
			continue;
		recall_places(hook);
		schedule_hurry(schedule, &hook->lane, from);
	}
}

void
delivery_account_changed(const pg_uuid_t *user_id)
{
	UserHooks  *user = hooks_of(user_id);

	aside_wake_accounts(user_id, GetCurrentTimestamp());
	for (int i = 0; user != NULL && i < user->nhooks; i++)
	{
		Hook	   *hook = user->hooks[i];

		/* Others have waited for those that waited for the account. */
		if (hook->action != NULL && hook->action->type->targets && hook->action->strict)
		{
			recall_places(hook);
			hurry(hook);
		}
	}
}

static void
cancel(Delivery *delivery)
{
	TimestampTz now = GetCurrentTimestamp();

	write_log(delivery->hook, delivery->event, delivery->kept.target, LOG_FAILURE, CANCELLED, now,
			  delivery->kept.attempts + 1);
	if (delivery->scheduled.state == SCHEDULE_READY)
		schedule_withdraw(schedule, &delivery->scheduled);
	give_back(delivery->hook, delivery->event, &delivery->kept);
	leave_outbox(&delivery->kept);
	if (delivery->in_table)
		aside_remove(&delivery->kept.id);
	release(delivery);
}

void
delivery_cancel(const QueuedEvent *request)
{
	Hook	   *hook = hook_find(&request->event.user_id, &request->hook_id);
	Delivery   *delivery = hook ? find_delivery(hook, &request->event.id, request->target) : NULL;
	pg_uuid_t	id = delivery_id(&request->hook_id, request, request->target);
	Aside		kept;

	if (hook != NULL)
		recall_places(hook);
	if (delivery != NULL && delivery->scheduled.state == SCHEDULE_IN_FLIGHT)
		delivery->cancelled = true; /* its answer will be the last one */
	else if (delivery != NULL)
		cancel(delivery);
	else if (aside_find(&id, &kept, NULL) && kept.why != ASIDE_GIVEN_UP)
	{
		if (hook != NULL)
		{
			write_log(hook, request, kept.target, LOG_FAILURE, CANCELLED, GetCurrentTimestamp(),
					  kept.attempts + 1);
			give_back(hook, request, &kept);
		}
		lose_aside(hook, &kept, request);
		leave_outbox(&kept);
		aside_remove(&id);
		if (hook != NULL && kept.place >= 0 && kept.attempts > 0)
			hurry(hook);		/* the others have waited for it */
	}
}

/*
 * The application says what became of a message that it was to send.  The
 * hook may not be there any more, as far as we know.
 */
void
delivery_report(const QueuedEvent *request)
{
	Hook	   *hook = hook_find(&request->event.user_id, &request->hook_id);
	pg_uuid_t	id = delivery_id(&request->hook_id, request, request->target);
	TimestampTz now = GetCurrentTimestamp();
	Outcome		outcome = {.class = OUTCOME_TERMINAL};
	ChatReport	report;
	Mistake		error;
	Aside		kept;
	QueuedEvent *event;
	LogRow		row;

	if (!aside_find(&id, &kept, NULL) || kept.why != ASIDE_OUTBOX ||
		!aside_find(&id, &kept, &event))
		return;					/* it has ended otherwise */
	if (request->event.data != NULL && chat_report_read(request->event.data, &report, &error))
		chat_report_judge(&report, &outcome);
	else
		outcome.error = "report cannot be understood";

	row = (LogRow)
	{
		.hook_id = request->hook_id,
		.user_id = event->event.user_id,
		.event_id = event->event.id,
		.trigger_type = event->event.type,
		.action_type = "chat_message",
		.status = outcome.class == OUTCOME_SUCCESS ? LOG_SUCCESS : LOG_FAILURE,
		.error = outcome.error ? outcome.error : outcome.note,
		.platform = outcome.arrived,
		.executed_at = kept.last_at,
		.duration_ms = (int) Max(Min((now - kept.last_at) / 1000, PG_INT32_MAX), 0),
		.attempt = kept.attempts + 1
	};
	result(&row);
	if (hook != NULL)
		health_result(hook, outcome.error, 0, true, now);

	outbox_remove(&id);
	lose_aside(hook, &kept, event);
	if (outcome.class == OUTCOME_SUCCESS)
		aside_remove(&id);
	else
	{
		if (hook != NULL)
			give_back(hook, event, &kept);
		kept.why = ASIDE_GIVEN_UP;
		kept.next_at = DT_NOEND;
		kept.attempts++;
		kept.error = outcome.error;
		kept.last_at = now;
		aside_put(&kept, event);
	}
	pfree(event);
	if (hook != NULL && kept.place >= 0)
		hurry(hook);			/* the others have waited for it */
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
	until = schedule_again(schedule, &delivery->scheduled, until);
	schedule_done(schedule, &delivery->scheduled, SCHEDULE_UNSENT, GetCurrentTimestamp());
	put_aside(delivery, why, until);
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

	forget_message(delivery);
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
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_BEFORE_LOCKS, false, true);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_LOCKS, false, true);
	ResourceOwnerRelease(owner, RESOURCE_RELEASE_AFTER_LOCKS, false, true);
	ResourceOwnerDelete(owner);
	owner = ResourceOwnerCreate(NULL, "hooks deliveries");
}

static void
start(Delivery *delivery)
{
	const char *volatile why = NULL;
	MemoryContext previous = MemoryContextSwitchTo(scratch);
	ResourceOwner previous_owner = CurrentResourceOwner;

	CurrentResourceOwner = owner;
	delivery->type = delivery->hook->action->type;
	delivery->started_at = GetCurrentTimestamp();
	PG_TRY();
	{
		why = shared_event_hopeless(slot, &delivery->event->event.id)
			? "there was not enough memory for it, three times"
			: start_request(delivery);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(scratch);
		if (shared_event_starved(slot, &delivery->event->event.id, geterrcode()))
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
		shared_count(slot, STAT_DELIVERIES_STARTED, 1);
	if (why == NULL && delivery->kept.attempts == 0 && !delivery->kept.replay)
		shared_time(slot, LATENCY_START, delivery->started_at - delivery->event->queued_at);
	if (why == NULL && delivery->handed_over)
	{
		keep_error(delivery, NULL, 0, delivery->started_at);
		wait_unsent(delivery, ASIDE_OUTBOX, expires_at(delivery) + 1);
	}
	else if (why == NULL)
		underway_begin(&delivery->event->event.user_id);
	else
		fail_unsent(delivery, why);
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
	schedule_close_host(schedule, &delivery->scheduled, until - now, now);
	until = schedule_again(schedule, &delivery->scheduled, Min(until, expires_at(delivery) + 1));
	schedule_done(schedule, &delivery->scheduled, SCHEDULE_UNSENT, now);
	put_aside(delivery, ASIDE_HOST, until);
}

/* The administrator's key file lacks what it needs; the server log says so. */
static void
wait_for_key(Delivery *delivery, const char *why)
{
	TimestampTz now = GetCurrentTimestamp();

	keep_error(delivery, why, 0, now);
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
			fail_unsent(delivery, "no account connected");
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
			fail_unsent(delivery, why);
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
		schedule_done(schedule, &delivery->scheduled, SCHEDULE_UNSENT, now);
		if (delivery->in_table || hook->health.disabled)
		{
			if (delivery->kept.error == NULL)
				keep_error(delivery, "hook was disabled or deleted", 0, now);
			delivery->kept.last_at = now;
			give_up(delivery);
			return;
		}
		give_back(delivery->hook, delivery->event, &delivery->kept);
		release(delivery);
		return;
	}
	if (hook->mistake)
	{
		fail_unsent(delivery, hook->mistake);
		return;
	}
	schedule_limit_lane(schedule, &hook->lane, hook->action->concurrency);

	if (now > expires_at(delivery))
	{
		/* That nobody has renewed a token, or sent it, says nothing of the hook. */
		delivery->blameless = delivery->kept.why == ASIDE_ACCOUNT || delivery->kept.why == ASIDE_OUTBOX;
		if (delivery->kept.why == ASIDE_OUTBOX && outbox_was_taken(&delivery->kept.id))
			delivery->kept.perhaps_sent = true;
		fail_unsent(delivery, expired(hook, &delivery->kept));
	}
	else if (hook->paused)
	{
		schedule_pause(schedule, &delivery->scheduled);
		schedule_done(schedule, &delivery->scheduled, SCHEDULE_UNSENT, now);
		put_aside(delivery, ASIDE_PAUSED, DT_NOEND);
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
		put_aside(delivery, ASIDE_PAUSED, DT_NOEND);	/* behind one that is */
		return;
	}
	if (now <= expires)
	{
		if (hook->action && hook->action->guarded && guard_opens_at(now) > now)
			say_service_is_closed(delivery);
		put_aside(delivery, ASIDE_HOST, Min(until, expires + 1));
		return;
	}
	error = expired(hook, &delivery->kept);
	write_log(hook, delivery->event, delivery->kept.target, LOG_FAILURE, error, now,
			  delivery->kept.attempts + 1);
	keep_error(delivery, error, 0, now);
	schedule_lose_aside(schedule, &hook->user_id,
						delivery->scheduled.keeps_place ? &hook->lane : NULL,
						delivery->scheduled.place);
	delivery->scheduled.keeps_place = false;
	give_up(delivery);
}

void
delivery_start(void)
{
	ScheduleStep step;

	while (schedule_next(schedule, GetCurrentTimestamp(), &step))
	{
		Delivery   *delivery = (Delivery *) step.delivery;

		if (step.aside)
			step_aside(delivery, step.until);
		else
			take_turn(delivery);
	}
	delivery_show();
}

void
delivery_set_back(int64 by)
{
	schedule_set_back(schedule, by);
	next_replay = Max(next_replay - by, 0);
}

TimestampTz
delivery_wake_at(void)
{
	return schedule_wake_at(schedule);
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
		.error = named(delivery->kept.target, outcome->error ? outcome->error : outcome->note),
		.platform = outcome->arrived ? outcome->arrived : delivery->kept.target,
		.executed_at = delivery->started_at,
		.duration_ms = (int) ((answer->duration_us + 500) / 1000),
		.attempt = delivery->kept.attempts + 1,
		.response_status = outcome->status
	};

	result(&row);
	shared_time(slot, LATENCY_REQUEST, answer->duration_us);
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
	schedule_close_destination(schedule, destination, *(int64 *) arg, GetCurrentTimestamp());
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
		schedule_close_host(schedule, &delivery->scheduled, closed_for, now);
	}
	else if (closed_for > 0 && outcome->closes == CLOSES_GROUP)
		group_each(delivery->scheduled.destination, close_destination, &closed_for);
	schedule_learn(schedule, &delivery->scheduled, answer->rate_bucket, answer->rate_remaining,
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
	keep_error(delivery, outcome.error, outcome.status, now);
	learn(delivery, answer, &outcome, now);
	remember_message(delivery, &outcome, now);
	if (!outcome.uncounted && !outcome.blameless)
		health_result(hook, named(kept->target, outcome.error), outcome.status,
					  TIMESTAMP_IS_NOEND(next), now);
	if (outcome.stale)
		account_is_stale(&hook->user_id, kept->target, delivery->token_mark);
	if (outcome.disable)
		health_disable(hook, psprintf("its destination wants no more: %s",
									  outcome.error ? outcome.error : "webhook-delivery: disable"), now);

	if (!TIMESTAMP_IS_NOEND(next))
		next = schedule_again(schedule, &delivery->scheduled, next);
	schedule_done(schedule, &delivery->scheduled, host_result(answer, &outcome), now);

	if (!TIMESTAMP_IS_NOEND(next))
		put_aside(delivery, ASIDE_RETRY, next);
	else if (outcome.class != OUTCOME_SUCCESS)
		give_up(delivery);
	else
	{
		if (kept->target != NULL && !kept->replay)
			(void) target_end(&hook->id, &delivery->event->event.id, true);
		if (delivery->in_table)
			aside_remove(&kept->id);
		release(delivery);
	}
}

void
delivery_answers(void)
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

/*
 * Once last_triggered_at is written, a crash must not make the deliveries
 * that took it fall into their own cooldown: they are marked as admitted in
 * the same transaction.
 */
void
delivery_about_to_write(Hook *hook)
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

void
delivery_forget(TimestampTz now)
{
	schedule_forget(schedule, now);
	target_forget(now);
	account_forget(now);
}

int
delivery_waiting(void)
{
	return schedule_waiting(schedule);
}

int
delivery_user_waiting(const pg_uuid_t *user)
{
	return schedule_user_waiting(schedule, user);
}

int
delivery_in_flight(void)
{
	return schedule_in_flight(schedule);
}

bool
delivery_user_awaits(const pg_uuid_t *user)
{
	return schedule_user_stuck(schedule, user);
}

bool
delivery_is_awaited(const pg_uuid_t *user, const pg_uuid_t *hook_id)
{
	Hook	   *hook;

	if (!schedule_user_stuck(schedule, user))
		return false;
	hook = hook_find(user, hook_id);
	return hook != NULL && hook->lane.state == LANE_STUCK;
}
