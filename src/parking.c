/*-------------------------------------------------------------------------
 *
 * parking.c
 *		What waits outside of memory, because its user has enough in it.  See
 *		parking.h.
 *
 * A user's events are parked behind others of the user that are, and so are
 * its deliveries, which come back before its events: they were there first.
 * The exception are deliveries that others of their hook, in memory, wait for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "delivery.h"
#include "parking.h"
#include "settings.h"

/* Memory for events; what is taken beyond it is one event of a user who has none. */
#define MEMORY (64 * 1024 * 1024)
#define SHARE 4

/* A user may have this much in any case … */
#define LEAST_BYTES (4 * 1024)

/* … and so many deliveries at most; what is parked comes back at half of that. */
#define MOST_WAITING 1000

/* So much comes back at once: of a user, and in all. */
#define PAGE_OF_USER 256
#define PAGE_BYTES (4 * 1024 * 1024)

/* How often to look for a delivery that others wait for. */
#define LOOK_FOR_AWAITED (100 * 1000)

typedef struct ParkedDelivery
{
	pg_uuid_t	id;
	pg_uuid_t	hook;
} ParkedDelivery;

typedef struct ParkedUser
{
	pg_uuid_t	user;			/* key */
	QueuePlace *events;			/* from first_event on */
	int			first_event;
	int			nevents;
	int			events_allocated;
	ParkedDelivery *deliveries; /* from first_delivery on */
	int			first_delivery;
	int			ndeliveries;
	int			deliveries_allocated;
	TimestampTz looked_at;		/* for deliveries that others wait for */
} ParkedUser;

static HTAB *users = NULL;
static int64 deliveries = 0;
static TimestampTz next_look = DT_NOBEGIN;
static bool look_put_off = false;

void
parking_init(void)
{
	HASHCTL		control = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(ParkedUser)};

	users = hash_create("hooks parked users", 64, &control, HASH_ELEM | HASH_BLOBS);
}

static ParkedUser *
find(const pg_uuid_t *user)
{
	if (hash_get_num_entries(users) == 0)
		return NULL;
	return hash_search(users, user, HASH_FIND, NULL);
}

static ParkedUser *
find_or_make(const pg_uuid_t *user)
{
	bool		found;
	ParkedUser *parked = hash_search(users, user, HASH_ENTER, &found);

	if (!found)
	{
		memset(parked, 0, sizeof(*parked));
		parked->user = *user;
	}
	return parked;
}

static void
forget_if_empty(ParkedUser *parked)
{
	if (parked->first_event < parked->nevents || parked->first_delivery < parked->ndeliveries)
		return;
	if (parked->events)
		pfree(parked->events);
	if (parked->deliveries)
		pfree(parked->deliveries);
	hash_search(users, &parked->user, HASH_REMOVE, NULL);
}

/* ----------
 * Room
 * ----------
 */

bool
parking_has_room(void)
{
	return backlog_bytes() < 2 * (Size) MEMORY;
}

static Size
limit_of_user(void)
{
	Size		used = backlog_bytes();

	return Max(LEAST_BYTES, used < MEMORY ? (MEMORY - used) / SHARE : 0);
}

static bool
has_enough(const pg_uuid_t *user)
{
	return delivery_user_waiting(user) >= MOST_WAITING ||
		backlog_user_bytes(user) >= limit_of_user();
}

static bool
may_come_back(const pg_uuid_t *user)
{
	return delivery_user_waiting(user) < MOST_WAITING / 2 &&
		backlog_user_bytes(user) < limit_of_user() / 2;
}

bool
parking_of_event(const pg_uuid_t *user)
{
	return find(user) != NULL || has_enough(user);
}

bool
parking_of_delivery(const pg_uuid_t *user, const pg_uuid_t *hook)
{
	ParkedUser *parked = find(user);

	if (delivery_is_awaited(user, hook))
		return false;
	return (parked != NULL && parked->ndeliveries > 0) || has_enough(user);
}

/* ----------
 * Parking
 * ----------
 */

static void *
enlarge(void *list, int *allocated, Size size)
{
	*allocated = *allocated ? *allocated * 2 : 64;
	return list ? repalloc_huge(list, size * *allocated)
		: MemoryContextAllocHuge(TopMemoryContext, size * *allocated);
}

void
parking_put_event(QueuedEvent *event)
{
	ParkedUser *parked = find_or_make(&event->event.user_id);

	if (parked->nevents == parked->events_allocated)
		parked->events = enlarge(parked->events, &parked->events_allocated, sizeof(QueuePlace));
	parked->events[parked->nevents++] = backlog_park(event);
}

void
parking_put_delivery(const Aside *aside, QueuedEvent *event)
{
	ParkedUser *parked = find_or_make(&event->event.user_id);

	if (parked->ndeliveries == parked->deliveries_allocated)
		parked->deliveries = enlarge(parked->deliveries, &parked->deliveries_allocated,
									 sizeof(ParkedDelivery));
	parked->deliveries[parked->ndeliveries++] = (ParkedDelivery)
	{
		.id = aside->id,.hook = aside->hook_id
	};
	deliveries++;
	pfree(event);
}

int64
parking_deliveries(void)
{
	return deliveries;
}

/* ----------
 * Coming back
 * ----------
 */

static bool
has_awaited(const ParkedUser *parked, TimestampTz now)
{
	return parked->first_delivery < parked->ndeliveries &&
		(now - parked->looked_at >= LOOK_FOR_AWAITED || now < parked->looked_at) &&
		delivery_user_awaits(&parked->user);
}

/*
 * To look costs time for each user who has something parked, so it is not done
 * more often than what that is worth.
 */
bool
parking_wants_back(TimestampTz now)
{
	HASH_SEQ_STATUS status;
	ParkedUser *parked;
	long		nusers = hash_get_num_entries(users);

	look_put_off = false;
	if (nusers == 0)
		return false;
	if (now < next_look && next_look - now <= nusers)
	{
		look_put_off = true;
		return false;
	}
	hash_seq_init(&status, users);
	while ((parked = hash_seq_search(&status)) != NULL)
	{
		if (may_come_back(&parked->user) || has_awaited(parked, now))
		{
			hash_seq_term(&status);
			return true;
		}
	}
	next_look = now + nusers;
	return false;
}

TimestampTz
parking_look_at(void)
{
	return look_put_off ? next_look : DT_NOEND;
}

/* Take up to so many of the user's deliveries, each wherever it was; returns how many. */
static int
take_deliveries(ParkedUser *parked, int max,
				void (*take) (const Aside *aside, QueuedEvent *event))
{
	int			n = Min(max, parked->ndeliveries - parked->first_delivery);
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * Max(n, 1));

	for (int i = 0; i < n; i++)
		ids[i] = parked->deliveries[parked->first_delivery + i].id;
	if (n > 0)
		aside_load_again(ids, n, take);
	parked->first_delivery += n;
	deliveries -= n;
	pfree(ids);
	return n;
}

/* Take the first delivery that others in memory wait for. */
static void
take_awaited(ParkedUser *parked, void (*take) (const Aside *aside, QueuedEvent *event))
{
	for (int i = parked->first_delivery; i < parked->ndeliveries; i++)
	{
		ParkedDelivery awaited = parked->deliveries[i];

		if (!delivery_is_awaited(&parked->user, &awaited.hook))
			continue;
		memmove(&parked->deliveries[parked->first_delivery + 1],
				&parked->deliveries[parked->first_delivery],
				sizeof(ParkedDelivery) * (i - parked->first_delivery));
		parked->deliveries[parked->first_delivery] = awaited;
		(void) take_deliveries(parked, 1, take);
		return;
	}
}

/* How many of the user's deliveries are about as much as it may have more. */
static int
share_of_page(const ParkedUser *parked)
{
	Size		limit = limit_of_user();
	Size		share = (limit - Min(backlog_user_bytes(&parked->user), limit)) /
		((Size) hooks_max_payload * 1024);

	return (int) Max(Min(share, PAGE_OF_USER), 1);
}

void
parking_take_back(void (*take_event) (QueuedEvent *event),
				  void (*take_delivery) (const Aside *aside, QueuedEvent *event))
{
	HASH_SEQ_STATUS status;
	ParkedUser *parked;
	Size		before = backlog_bytes();

	hash_seq_init(&status, users);
	while ((parked = hash_seq_search(&status)) != NULL)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (backlog_bytes() - before >= PAGE_BYTES)
		{
			hash_seq_term(&status);
			return;
		}
		if (may_come_back(&parked->user))
		{
			int			n = take_deliveries(parked, share_of_page(parked), take_delivery);

			while (parked->first_delivery == parked->ndeliveries && n++ < PAGE_OF_USER &&
				   parked->first_event < parked->nevents &&
				   backlog_user_bytes(&parked->user) < limit_of_user())
			{
				take_event(backlog_unpark(&parked->events[parked->first_event]));
				parked->first_event++;
			}
		}
		else if (has_awaited(parked, now))
		{
			parked->looked_at = now;
			take_awaited(parked, take_delivery);
		}
		forget_if_empty(parked);
	}
}
