/*-------------------------------------------------------------------------
 *
 * delivery.c
 *		The life of a delivery: what one hook does about one event.  See
 *		delivery.h.
 *
 * Every attempt makes a log row (attempt.c).  What ends for good is
 * acknowledged; what is tried again, or waits for long, goes aside, which
 * acknowledges it as well: the queue holds nothing but what is about to start.
 * Both are written in one transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "account.h"
#include "chat_platform.h"
#include "delivery_parts.h"
#include "health.h"
#include "hook_stats.h"
#include "outbox.h"
#include "settings.h"
#include "target.h"

/* Places of a hook's deliveries that were aside before the hook was loaded. */
typedef struct KeptPlaces
{
	pg_uuid_t	hook;			/* key */
	Places		places;
	TimestampTz first_at;
} KeptPlaces;

Schedule   *deliveries_schedule = NULL;
DatabaseSlot *deliveries_slot = NULL;
ResourceOwner deliveries_owner = NULL;
static MemoryContext deliveries_context = NULL;
static HTAB *kept_places = NULL;
static uint64 destination_seed;

/* ----------
 * Setting up
 * ----------
 */

static void
count_aside(const pg_uuid_t *user, int n)
{
	schedule_count_aside(deliveries_schedule, user, n);
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

	deliveries_slot = shared_my_slot();
	deliveries_schedule = schedule_create();
	deliveries_context = SlabContextCreate(TopMemoryContext, "hooks deliveries",
										   SLAB_DEFAULT_BLOCK_SIZE, sizeof(Delivery));
	deliveries_owner = ResourceOwnerCreate(NULL, "hooks deliveries");
	kept_places = hash_create("hooks kept places", 64, &control, HASH_ELEM | HASH_BLOBS);
	destination_seed = pg_prng_uint64(&pg_global_prng_state);
	MemoryContextSwitchTo(previous);
	delivery_reload();
	aside_open(count_aside, remember_places);
}

void
delivery_reload(void)
{
	schedule_set_limits(deliveries_schedule, (ScheduleLimits)
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
	shared_set(deliveries_slot, STAT_WAITING, schedule_waiting(deliveries_schedule));
	shared_set(deliveries_slot, STAT_IN_FLIGHT, schedule_in_flight(deliveries_schedule));
}

/* ----------
 * The log
 * ----------
 */

/* An error that says which of the hook's destinations it is about. */
const char *
delivery_named_error(const char *target, const char *error)
{
	return target && error ? psprintf("%s: %s", target, error) : error;
}

/* Count a result, and log it if it is to be. */
void
delivery_result(const LogRow *row)
{
	static const Stat counters[LOG_STATUSES] = {
		[LOG_SUCCESS] = STAT_SUCCEEDED,
		[LOG_FAILURE] = STAT_FAILED,
		[LOG_SKIPPED_COOLDOWN] = STAT_SKIPPED_COOLDOWN,
		[LOG_SKIPPED_CONDITION] = STAT_SKIPPED_CONDITION
	};

	shared_count(deliveries_slot, counters[row->status], 1);
	hook_stats_result(&row->hook_id, row->status, row->executed_at);
	if ((row->status == LOG_SKIPPED_CONDITION && hooks_log_skips != LOG_SKIPS_ALL) ||
		(row->status == LOG_SKIPPED_COOLDOWN && hooks_log_skips == LOG_SKIPS_NONE))
		return;
	log_add(row);
}

void
delivery_log(const Hook *hook, const QueuedEvent *event, const char *target, LogStatus status,
			 const char *error, TimestampTz at, int attempt)
{
	LogRow		row = {
		.hook_id = hook->id,
		.user_id = event->event.user_id,
		.event_id = event->event.id,
		.trigger_type = hook->type,
		.action_type = hook->action_name,
		.status = status,
		.error = delivery_named_error(target, error),
		.executed_at = at,
		.attempt = attempt,
		.platform = target
	};

	delivery_result(&row);
}

void
delivery_skip(const Hook *hook, const QueuedEvent *event, bool cooldown, TimestampTz now)
{
	delivery_log(hook, event, NULL, cooldown ? LOG_SKIPPED_COOLDOWN : LOG_SKIPPED_CONDITION, NULL,
				 now, 1);
}

void
delivery_refuse(const Hook *hook, const QueuedEvent *event, const char *error, TimestampTz now)
{
	delivery_log(hook, event, NULL, LOG_FAILURE, error, now, 1);
}

/* ----------
 * Ends
 * ----------
 */

void
delivery_forget_message(Delivery *delivery)
{
	if (delivery->series)
		pfree(delivery->series);
	if (delivery->edits)
		pfree(delivery->edits);
	delivery->series = delivery->edits = NULL;
}

/* What was taken for the delivery is given back; it is out of the schedule. */
void
delivery_release(Delivery *delivery)
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
	delivery_forget_message(delivery);
	pfree(delivery);
	hook_release(hook);
}

/* Remember the last attempt's error. */
void
delivery_keep_error(Delivery *delivery, const char *error, int status, TimestampTz at)
{
	if (delivery->kept.error)
		pfree((char *) delivery->kept.error);
	delivery->kept.error = error ? MemoryContextStrdup(TopMemoryContext, error) : NULL;
	delivery->kept.status = status;
	delivery->kept.last_at = at;
}

/* The application is not to send it any more, if it was. */
void
delivery_leave_outbox(const Aside *kept)
{
	if (kept->why == ASIDE_OUTBOX)
		outbox_remove(&kept->id);
}

void
delivery_put_aside(Delivery *delivery, AsideWhy why, TimestampTz until)
{
	delivery->kept.why = why;
	delivery->kept.next_at = until;
	delivery->kept.place = delivery->scheduled.keeps_place ? delivery->scheduled.place : -1;

	/* The queue forgets the delivery now, so its cooldown has to be on record. */
	if (why != ASIDE_GIVEN_UP && delivery->hook->cooldown_seconds > 0 &&
		hook_has_taken(delivery->hook, delivery->kept.taken))
		hook_write_soon(delivery->hook);
	aside_put(&delivery->kept, delivery->event);
	delivery_release(delivery);
}

/* When nothing has arrived, anywhere, the hook may fire again. */
void
delivery_give_back(Hook *hook, const QueuedEvent *event, const Aside *kept)
{
	bool		nothing = kept->target && !kept->replay
		? target_end(&hook->id, &event->event.id, kept->perhaps_sent) : !kept->perhaps_sent;

	if (nothing && !TIMESTAMP_IS_NOBEGIN(kept->taken) &&
		!(hook->action && hook->action->keep_cooldown))
		hook_give_back(hook, kept->taken, kept->before);
}

/* It has failed for good, and can be asked for, or was already. */
void
delivery_give_up(Delivery *delivery)
{
	delivery_leave_outbox(&delivery->kept);
	if (delivery->wanted && !delivery->cancelled)
	{
		QueuedEvent copy = *delivery->event;

		copy.queued_at = GetCurrentTimestamp();
		schedule_count_aside(deliveries_schedule, &delivery->hook->user_id, 1);
		delivery->kept.why = ASIDE_REPLAY;
		delivery->kept.next_at = copy.queued_at;
		delivery->kept.place = -1;
		delivery->kept.replay = true;
		delivery->kept.attempts = 0;
		delivery->kept.taken = delivery->kept.before = DT_NOBEGIN;
		aside_put(&delivery->kept, &copy);
		delivery_release(delivery);
		return;
	}
	delivery_give_back(delivery->hook, delivery->event, &delivery->kept);
	if (delivery->in_table)
		hook_write_soon(delivery->hook);	/* nobody can return it later */
	delivery_put_aside(delivery, ASIDE_GIVEN_UP, DT_NOEND);
}

/* The same for one that was to start, and was not sent. */
void
delivery_fail_unsent(Delivery *delivery, const char *error)
{
	TimestampTz now = GetCurrentTimestamp();

	delivery_log(delivery->hook, delivery->event, delivery->kept.target, LOG_FAILURE, error, now,
				 delivery->kept.attempts + 1);
	delivery_keep_error(delivery, error, 0, now);
	if (!delivery->blameless)
		health_result(delivery->hook, delivery_named_error(delivery->kept.target, error), 0, true, now);
	schedule_done(deliveries_schedule, &delivery->scheduled, SCHEDULE_UNSENT, now);
	delivery_give_up(delivery);
}

/* ----------
 * Beginnings
 * ----------
 */

pg_uuid_t
delivery_id(const pg_uuid_t *hook, const QueuedEvent *event, const char *target)
{
	ResourceOwner previous = CurrentResourceOwner;
	Occasion	occasion = {&event->event, *hook, NULL};
	pg_uuid_t	id;

	CurrentResourceOwner = deliveries_owner;
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
 * where the user has an account, are usually its user's own.  Nobody outside can
 * make out two that collide.
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
void
delivery_recall_places(Hook *hook)
{
	KeptPlaces *entry;

	if (hash_get_num_entries(kept_places) == 0 ||
		(entry = hash_search(kept_places, &hook->id, HASH_FIND, NULL)) == NULL)
		return;
	schedule_recall_aside(deliveries_schedule, &hook->lane, &entry->places, entry->first_at);
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

	delivery_recall_places(hook);
	schedule_add(deliveries_schedule, &delivery->scheduled, &order, GetCurrentTimestamp());
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

Delivery *
delivery_find(Hook *hook, const pg_uuid_t *event_id, const char *target)
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
void
delivery_lose_aside(Hook *hook, const Aside *kept, const QueuedEvent *event)
{
	if (hook != NULL)
		delivery_recall_places(hook);
	else if (kept->place >= 0)
		forget_place(&kept->hook_id, kept->place);
	schedule_lose_aside(deliveries_schedule, &event->event.user_id,
						hook && kept->place >= 0 ? &hook->lane : NULL, kept->place);
}

void
delivery_return(Hook *hook, const Aside *aside, QueuedEvent *event)
{
	Delivery   *delivery;

	backlog_begin(event);
	if (hook != NULL && delivery_find(hook, &event->event.id, aside->target) != NULL)
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
			delivery_log(hook, event, kept.target, LOG_FAILURE,
						 hook->mistake ? hook->mistake : "hook has another trigger_type now",
						 kept.last_at, kept.attempts + 1);
			delivery_give_back(hook, event, &kept);
		}
		delivery_leave_outbox(aside);
		delivery_lose_aside(hook, aside, event);
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
delivery_set_back(int64 by)
{
	schedule_set_back(deliveries_schedule, by);
}

TimestampTz
delivery_wake_at(void)
{
	return schedule_wake_at(deliveries_schedule);
}

void
delivery_forget(TimestampTz now)
{
	schedule_forget(deliveries_schedule, now);
	target_forget(now);
	account_forget(now);
}

int
delivery_waiting(void)
{
	return schedule_waiting(deliveries_schedule);
}

int
delivery_user_waiting(const pg_uuid_t *user)
{
	return schedule_user_waiting(deliveries_schedule, user);
}

int
delivery_in_flight(void)
{
	return schedule_in_flight(deliveries_schedule);
}

bool
delivery_user_awaits(const pg_uuid_t *user)
{
	return schedule_user_stuck(deliveries_schedule, user);
}

bool
delivery_is_awaited(const pg_uuid_t *user, const pg_uuid_t *hook_id)
{
	Hook	   *hook;

	if (!schedule_user_stuck(deliveries_schedule, user))
		return false;
	hook = hook_find(user, hook_id);
	return hook != NULL && hook->lane.state == LANE_STUCK;
}
