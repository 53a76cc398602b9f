/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		Which delivery starts next.  See schedule.h.
 *
 * A user with something to start is in one of three places: in the ring of
 * the class of its next delivery, waiting for its turn; on the list of the
 * host that its next delivery has to wait for; or nowhere, while it has as
 * many requests under way as it may.  Finding the next delivery never looks
 * at users who cannot start anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "schedule.h"

/* Classes of urgency, most urgent first. */
#define CLASSES 4

static const int class_of[TRIGGER_TYPES] = {
	[TRIGGER_DONATION] = 0,
	[TRIGGER_SUBSCRIPTION] = 0,
	[TRIGGER_RAID] = 0,
	[TRIGGER_FOLLOW] = 1,
	[TRIGGER_STREAM_START] = 2,
	[TRIGGER_STREAM_END] = 2,
	[TRIGGER_CHAT_MESSAGE] = 3,
};

#define MAX_HOST_KEY 320

typedef enum UserPlace
{
	USER_NOWHERE,				/* nothing to start, or may not start more */
	USER_IN_RING,
	USER_AT_HOST
} UserPlace;

struct ScheduleUser
{
	pg_uuid_t	id;				/* key */
	dlist_head	line;			/* deliveries that are ready, first come first */
	dlist_node	place_link;
	UserPlace	place;
	int			in_flight;
};

struct ScheduleHost
{
	char		name[MAX_HOST_KEY]; /* key */
	dlist_head	users;			/* whose next delivery waits for this host */
	int			in_flight;
	int			deliveries;		/* that name this host, ready ones included */
};

struct Schedule
{
	ScheduleLimits limits;
	HTAB	   *users;
	HTAB	   *hosts;
	dlist_head	rings[CLASSES];
	int			waiting;
	int			in_flight;
};

Schedule *
schedule_create(void)
{
	Schedule   *schedule = palloc0(sizeof(Schedule));
	HASHCTL		users = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(ScheduleUser),
	.hcxt = CurrentMemoryContext};
	HASHCTL		hosts = {.keysize = MAX_HOST_KEY, .entrysize = sizeof(ScheduleHost),
	.hcxt = CurrentMemoryContext};

	schedule->users = hash_create("hooks users", 256, &users,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	schedule->hosts = hash_create("hooks hosts", 256, &hosts,
								  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < CLASSES; i++)
		dlist_init(&schedule->rings[i]);
	schedule->limits = (ScheduleLimits)
	{
		1, 1, 1
	};
	return schedule;
}

static Scheduled *
next_of(ScheduleUser *user)
{
	return dlist_head_element(Scheduled, line, &user->line);
}

/* The user has something to start and may: it joins the ring of its class. */
static void
join_ring(Schedule *schedule, ScheduleUser *user)
{
	Assert(user->place == USER_NOWHERE);
	dlist_push_tail(&schedule->rings[class_of[next_of(user)->type]], &user->place_link);
	user->place = USER_IN_RING;
}

/* One of the users that wait for the host gets its turn. */
static void
admit_one(Schedule *schedule, ScheduleHost *host)
{
	ScheduleUser *user;

	if (dlist_is_empty(&host->users))
		return;
	user = dlist_container(ScheduleUser, place_link, dlist_pop_head_node(&host->users));
	user->place = USER_NOWHERE;
	join_ring(schedule, user);
}

void
schedule_set_limits(Schedule *schedule, ScheduleLimits limits)
{
	HASH_SEQ_STATUS status;
	ScheduleUser *user;

	schedule->limits = limits;

	/* Everybody who waits may look again. */
	hash_seq_init(&status, schedule->users);
	while ((user = hash_seq_search(&status)) != NULL)
	{
		if (dlist_is_empty(&user->line) || user->place == USER_IN_RING)
			continue;
		if (user->place == USER_AT_HOST)
			dlist_delete(&user->place_link);
		user->place = USER_NOWHERE;
		join_ring(schedule, user);
	}
}

void
schedule_add(Schedule *schedule, Scheduled *delivery, const pg_uuid_t *user_id,
			 TriggerType type, const char *host_name)
{
	ScheduleUser *user;
	ScheduleHost *host;
	bool		found;
	char		key[MAX_HOST_KEY] = {0};

	user = hash_search(schedule->users, user_id, HASH_ENTER, &found);
	if (!found)
	{
		dlist_init(&user->line);
		user->place = USER_NOWHERE;
		user->in_flight = 0;
	}

	strlcpy(key, host_name, sizeof(key));
	host = hash_search(schedule->hosts, key, HASH_ENTER, &found);
	if (!found)
	{
		dlist_init(&host->users);
		host->in_flight = 0;
		host->deliveries = 0;
	}

	delivery->user = user;
	delivery->host = host;
	delivery->type = type;
	delivery->state = SCHEDULE_READY;
	dlist_push_tail(&user->line, &delivery->line);
	host->deliveries++;
	schedule->waiting++;

	if (user->place == USER_NOWHERE && user->in_flight < schedule->limits.per_user)
		join_ring(schedule, user);
}

Scheduled *
schedule_next(Schedule *schedule)
{
	if (schedule->in_flight >= schedule->limits.total)
		return NULL;

	for (int i = 0; i < CLASSES; i++)
	{
		while (!dlist_is_empty(&schedule->rings[i]))
		{
			ScheduleUser *user = dlist_container(ScheduleUser, place_link,
												 dlist_pop_head_node(&schedule->rings[i]));
			Scheduled  *delivery = next_of(user);

			user->place = USER_NOWHERE;
			if (user->in_flight >= schedule->limits.per_user)
				continue;
			if (delivery->host->in_flight >= schedule->limits.per_host)
			{
				dlist_push_tail(&delivery->host->users, &user->place_link);
				user->place = USER_AT_HOST;
				continue;
			}

			dlist_delete(&delivery->line);
			delivery->state = SCHEDULE_IN_FLIGHT;
			user->in_flight++;
			delivery->host->in_flight++;
			schedule->waiting--;
			schedule->in_flight++;
			if (!dlist_is_empty(&user->line))
				join_ring(schedule, user);
			return delivery;
		}
	}
	return NULL;
}

void
schedule_done(Schedule *schedule, Scheduled *delivery)
{
	ScheduleUser *user = delivery->user;
	ScheduleHost *host = delivery->host;

	Assert(delivery->state == SCHEDULE_IN_FLIGHT);
	user->in_flight--;
	host->in_flight--;
	host->deliveries--;
	schedule->in_flight--;

	if (host->in_flight < schedule->limits.per_host)
		admit_one(schedule, host);

	if (!dlist_is_empty(&user->line))
	{
		if (user->place == USER_NOWHERE && user->in_flight < schedule->limits.per_user)
			join_ring(schedule, user);
	}
	else if (user->in_flight == 0)
		hash_search(schedule->users, &user->id, HASH_REMOVE, NULL);

	if (host->deliveries == 0)
		hash_search(schedule->hosts, host->name, HASH_REMOVE, NULL);
}

int
schedule_waiting(const Schedule *schedule)
{
	return schedule->waiting;
}

int
schedule_in_flight(const Schedule *schedule)
{
	return schedule->in_flight;
}
