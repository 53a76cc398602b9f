/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		Which delivery starts next.  See schedule.h.
 *
 * A user who has something to start, and may, is in the ring of the class of
 * its next delivery.  A lane whose first delivery may not start is with what
 * it waits for: a gate (its host, or the limits of its destination), its own
 * hook, or a timer.  Whatever ends or opens puts as many lanes back as there
 * is room for, so finding the next delivery never looks at those that cannot
 * start.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "breaker.h"
#include "pace.h"
#include "schedule.h"

/* Classes of urgency, most urgent first; what is sent again comes after all. */
#define CLASSES 5
#define CLASS_AGAIN 1			/* so much less urgent */

static const int class_of[TRIGGER_TYPES] = {
	[TRIGGER_DONATION] = 0,
	[TRIGGER_SUBSCRIPTION] = 0,
	[TRIGGER_RAID] = 0,
	[TRIGGER_FOLLOW] = 1,
	[TRIGGER_STREAM_START] = 2,
	[TRIGGER_STREAM_END] = 2,
	[TRIGGER_CHAT_MESSAGE] = 3,
};

/* Whoever has waited for so much longer comes before the next class. */
#define AGEING (2 * USECS_PER_SEC)

/* A user's turn is worth one delivery with an event of this size. */
#define COST_BYTES 1024

/* Of the requests that can still be started, a user may have one in so many. */
#define SHARE 4

/* Of the requests that a user may have under way, other hooks are left one in so many. */
#define OTHER_HOOKS_SHARE 4

/* Room at gates that nobody has taken up is looked for every so many turns. */
#define LOOK_AROUND 64

#define MAX_HOST_KEY 320

/* Wakes a gate. */
typedef struct ScheduleTimer
{
	pairingheap_node node;
	TimestampTz at;
	bool		armed;
	ScheduleGate *gate;
} ScheduleTimer;

struct ScheduleUser
{
	pg_uuid_t	id;				/* key */
	pairingheap lanes;			/* open ones, by the age of their first delivery */
	dlist_node	ring_link;
	bool		in_ring;
	int			ring;			/* … of this class */
	pairingheap_node by_in_flight;	/* with "sated" */
	bool		sated;			/* has something to start, but its fill in flight */
	TimestampTz joined_at;
	int			deficit;		/* what is left of earlier turns */
	int			waiting;
	int			in_flight;
	int			aside;
	int			stuck;			/* lanes */
};

/* What many lanes may have to wait for: a host, a destination's own limits, a series. */
struct ScheduleGate
{
	bool		is_host;
	bool		is_series;
	dlist_head	blocked;		/* lanes that wait */
	dlist_node	full_link;		/* on the list of those waited for without a time */
	bool		is_full;
	ScheduleTimer timer;
	int			deliveries;		/* of a host: that name it */
	int			in_flight;		/* of a host, or a series */
	Breaker		breaker;		/* of a host */
	Pace		pace;			/* of a destination; a host's is only ever closed */
	TimestampTz aside_until;	/* where deliveries were put last … */
	int64		aside_n;		/* … and how many, to keep their order */
};

typedef struct HostEntry
{
	char		name[MAX_HOST_KEY]; /* key */
	ScheduleGate gate;
} HostEntry;

/* Series are in the same table. */
typedef struct DestinationEntry
{
	uint64		destination;	/* key */
	ScheduleGate gate;
} DestinationEntry;

struct Schedule
{
	MemoryContext context;
	ScheduleLimits limits;

	/*
	 * All times in here are those of a clock that is never set back: the
	 * caller's, plus by how much that was set back so far.
	 */
	TimestampTz now;
	int64		set_back;
	int64		known_set_back; /* so much of it was told */
	HTAB	   *users;
	HTAB	   *hosts;
	HTAB	   *destinations;
	dlist_head	rings[CLASSES];
	pairingheap sated;			/* users, by their requests in flight */
	dlist_head	full;			/* gates */
	dlist_head	busy;			/* lanes */
	pairingheap timers;
	uint64		next_number;
	uint64		turns;
	int			waiting;
	int			in_flight;
};

/* ----------
 * Making
 * ----------
 */

/* Heaps have their largest on top: the older one is the larger. */
static int
compare_lanes(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const ScheduleLane *x = pairingheap_const_container(ScheduleLane, by_age, a);
	const ScheduleLane *y = pairingheap_const_container(ScheduleLane, by_age, b);
	uint64		xn = dlist_head_element(Scheduled, link, &unconstify(ScheduleLane *, x)->line)->number;
	uint64		yn = dlist_head_element(Scheduled, link, &unconstify(ScheduleLane *, y)->line)->number;

	return xn < yn ? 1 : (xn > yn ? -1 : 0);
}

static int
compare_users(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	return pairingheap_const_container(ScheduleUser, by_in_flight, b)->in_flight -
		pairingheap_const_container(ScheduleUser, by_in_flight, a)->in_flight;
}

static int
compare_timers(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz x = pairingheap_const_container(ScheduleTimer, node, a)->at;
	TimestampTz y = pairingheap_const_container(ScheduleTimer, node, b)->at;

	return x < y ? 1 : (x > y ? -1 : 0);
}

static void
heap_init(pairingheap *heap, pairingheap_comparator compare)
{
	heap->ph_compare = compare;
	heap->ph_arg = NULL;
	heap->ph_root = NULL;
}

Schedule *
schedule_create(void)
{
	Schedule   *schedule = palloc0(sizeof(Schedule));
	HASHCTL		users = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(ScheduleUser),
	.hcxt = CurrentMemoryContext};
	HASHCTL		hosts = {.keysize = MAX_HOST_KEY, .entrysize = sizeof(HostEntry),
	.hcxt = CurrentMemoryContext};
	HASHCTL		destinations = {.keysize = sizeof(uint64), .entrysize = sizeof(DestinationEntry),
	.hcxt = CurrentMemoryContext};

	schedule->context = CurrentMemoryContext;
	schedule->users = hash_create("hooks users", 256, &users,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	schedule->hosts = hash_create("hooks hosts", 256, &hosts,
								  HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	schedule->destinations = hash_create("hooks destinations", 64, &destinations,
										 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < CLASSES; i++)
		dlist_init(&schedule->rings[i]);
	dlist_init(&schedule->full);
	dlist_init(&schedule->busy);
	heap_init(&schedule->sated, compare_users);
	heap_init(&schedule->timers, compare_timers);
	schedule->limits = (ScheduleLimits)
	{
		1, 1, 1, 1
	};
	return schedule;
}

static void
set_clock(Schedule *schedule, TimestampTz now)
{
	if (now + schedule->set_back < schedule->now)
		schedule->set_back = schedule->now - now;
	schedule->now = now + schedule->set_back;
}

void
schedule_set_back(Schedule *schedule, int64 by)
{
	schedule->known_set_back += by;
	schedule->set_back = Max(schedule->set_back, schedule->known_set_back);
}

/* A time of ours as the caller's; DT_NOEND stays what it is. */
static TimestampTz
callers_time(const Schedule *schedule, TimestampTz time)
{
	return TIMESTAMP_IS_NOEND(time) ? time : time - schedule->set_back;
}

static void
timer_set(Schedule *schedule, ScheduleTimer *timer, TimestampTz at)
{
	if (timer->armed)
		pairingheap_remove(&schedule->timers, &timer->node);
	timer->at = at;
	timer->armed = true;
	pairingheap_add(&schedule->timers, &timer->node);
}

static void
timer_clear(Schedule *schedule, ScheduleTimer *timer)
{
	if (timer->armed)
		pairingheap_remove(&schedule->timers, &timer->node);
	timer->armed = false;
}

static void
gate_init(ScheduleGate *gate, bool is_host)
{
	memset(gate, 0, sizeof(*gate));
	gate->is_host = is_host;
	dlist_init(&gate->blocked);
	gate->timer.gate = gate;
}

/* ----------
 * Users
 * ----------
 */

static ScheduleUser *
find_user(Schedule *schedule, const pg_uuid_t *id)
{
	bool		found;
	ScheduleUser *user = hash_search(schedule->users, id, HASH_ENTER, &found);

	if (!found)
	{
		heap_init(&user->lanes, compare_lanes);
		user->in_ring = false;
		user->sated = false;
		user->joined_at = 0;
		user->deficit = 0;
		user->waiting = user->in_flight = user->aside = user->stuck = 0;
	}
	return user;
}

/* To be called before the number of its requests in flight changes. */
static void
user_leaves_sated(Schedule *schedule, ScheduleUser *user)
{
	if (user->sated)
		pairingheap_remove(&schedule->sated, &user->by_in_flight);
	user->sated = false;
}

static void
forget_user_if_gone(Schedule *schedule, ScheduleUser *user)
{
	if (user->waiting > 0 || user->in_flight > 0 || user->aside > 0)
		return;
	user_leaves_sated(schedule, user);
	if (user->in_ring)
		dlist_delete(&user->ring_link);
	hash_search(schedule->users, &user->id, HASH_REMOVE, NULL);
}

static bool
user_may_start(const Schedule *schedule, const ScheduleUser *user)
{
	int			share = (schedule->limits.total - schedule->in_flight) / SHARE;

	return user->in_flight < Min(schedule->limits.per_user, Max(share, 1));
}

static Scheduled *
first_of_lane(ScheduleLane *lane)
{
	return dlist_head_element(Scheduled, link, &lane->line);
}

static ScheduleLane *
first_lane(ScheduleUser *user)
{
	return pairingheap_container(ScheduleLane, by_age, pairingheap_first(&user->lanes));
}

/* Where in the ring of its class a user comes. */
typedef enum Turn
{
	TURN_NEW,					/* at the end */
	TURN_AGAIN,					/* so too, but has been waiting all the time */
	TURN_KEPT					/* at the front */
} Turn;

/*
 * A user with something to start joins the ring of its class, or changes to a
 * more urgent one.
 */
static void
user_ready(Schedule *schedule, ScheduleUser *user, Turn turn)
{
	dlist_head *ring;
	int			class;

	if (pairingheap_is_empty(&user->lanes))
		return;
	class = first_of_lane(first_lane(user))->class;
	ring = &schedule->rings[class];
	if (user->in_ring)
	{
		if (class >= user->ring)
			return;
		dlist_delete(&user->ring_link);
		dlist_push_tail(ring, &user->ring_link);
		user->ring = class;
		return;
	}
	if (!user_may_start(schedule, user))
	{
		if (!user->sated)
			pairingheap_add(&schedule->sated, &user->by_in_flight);
		user->sated = true;
		return;
	}
	user_leaves_sated(schedule, user);
	user->ring = class;
	if (turn == TURN_KEPT)
		dlist_push_head(ring, &user->ring_link);
	else
		dlist_push_tail(ring, &user->ring_link);
	if (turn == TURN_NEW)
		user->joined_at = schedule->now;
	user->in_ring = true;
}

/*
 * There is room for more requests in flight, of which every user may have a
 * share: whoever has the fewest comes first.
 */
static void
admit_sated(Schedule *schedule)
{
	while (!pairingheap_is_empty(&schedule->sated))
	{
		ScheduleUser *user = pairingheap_container(ScheduleUser, by_in_flight,
												   pairingheap_first(&schedule->sated));

		if (!user_may_start(schedule, user))
			return;
		user_leaves_sated(schedule, user);
		user_ready(schedule, user, TURN_NEW);
	}
}

/* Whose turn it is; NULL when nobody has something to start. */
static ScheduleUser *
next_user(Schedule *schedule)
{
	ScheduleUser *best = NULL;
	TimestampTz best_key = 0;

	for (int i = 0; i < CLASSES; i++)
	{
		ScheduleUser *user;
		TimestampTz key;

		if (dlist_is_empty(&schedule->rings[i]))
			continue;
		user = dlist_head_element(ScheduleUser, ring_link, &schedule->rings[i]);
		key = user->joined_at + i * AGEING;
		if (best == NULL || key < best_key)
		{
			best = user;
			best_key = key;
		}
	}
	if (best != NULL)
	{
		dlist_delete(&best->ring_link);
		best->in_ring = false;
	}
	return best;
}

/* ----------
 * Lanes
 * ----------
 */

/* The lane is to be looked at when it is its user's turn. */
static void
line_up_lane(ScheduleLane *lane)
{
	lane->state = LANE_OPEN;
	pairingheap_add(&lane->user->lanes, &lane->by_age);
}

/* The lane waits for its user's turn. */
static void
open_lane(Schedule *schedule, ScheduleLane *lane)
{
	line_up_lane(lane);
	user_ready(schedule, lane->user, TURN_NEW);
}

/* Take the lane from wherever it waits. */
static void
uproot_lane(ScheduleLane *lane)
{
	switch (lane->state)
	{
		case LANE_OPEN:
			pairingheap_remove(&lane->user->lanes, &lane->by_age);
			break;
		case LANE_BUSY:
		case LANE_AT_GATE:
			dlist_delete(&lane->wait_link);
			break;
		case LANE_STUCK:
			lane->user->stuck--;
			break;
		case LANE_EMPTY:
			break;
	}
	lane->state = LANE_EMPTY;
}

void
schedule_limit_lane(Schedule *schedule, ScheduleLane *lane, int concurrency)
{
	if (lane->concurrency == concurrency)
		return;
	lane->concurrency = concurrency;
	if (lane->state == LANE_BUSY)
	{
		uproot_lane(lane);
		open_lane(schedule, lane);
	}
}

/* A lane with nothing ready or in flight belongs to nobody. */
static void
release_lane(ScheduleLane *lane)
{
	if (lane->waiting > 0 || lane->in_flight > 0)
		return;
	lane->user = NULL;
	if (lane->aside.n == 0)
		lane->next_place = 0;
}

/* Enter a delivery at its place; new ones are the last. */
static void
insert_by_place(ScheduleLane *lane, Scheduled *delivery)
{
	dlist_node *after = NULL;
	dlist_iter	iter;

	if (dlist_is_empty(&lane->line) ||
		dlist_tail_element(Scheduled, link, &lane->line)->place < delivery->place)
	{
		dlist_push_tail(&lane->line, &delivery->link);
		return;
	}
	dlist_foreach(iter, &lane->line)
	{
		if (dlist_container(Scheduled, link, iter.cur)->place > delivery->place)
			break;
		after = iter.cur;
	}
	if (after == NULL)
		dlist_push_head(&lane->line, &delivery->link);
	else
		dlist_insert_after(after, &delivery->link);
}

/*
 * A delivery is aside until about then, and keeps its place.  Returns when it
 * is to come: in the order of places, as far as there is a time.
 */
static TimestampTz
keep_place(Schedule *schedule, Scheduled *delivery, TimestampTz until)
{
	ScheduleLane *lane = delivery->lane;

	delivery->keeps_place = true;
	lane->first_at = lane->aside.n == 0 ? until : Max(lane->first_at, until);
	places_add(&lane->aside, delivery->place, schedule->context);
	return TIMESTAMP_IS_NOEND(until) ? until : until + delivery->place;
}

static ScheduleGate *
find_host(Schedule *schedule, const char *name)
{
	char		key[MAX_HOST_KEY] = {0};
	HostEntry  *entry;
	bool		found;

	strlcpy(key, name, sizeof(key));
	entry = hash_search(schedule->hosts, key, HASH_ENTER, &found);
	if (!found)
		gate_init(&entry->gate, true);
	return &entry->gate;
}

/* The destination's gate; unless "make", NULL when nothing is known of it. */
static ScheduleGate *
find_destination(Schedule *schedule, uint64 destination, bool make)
{
	DestinationEntry *entry;
	bool		found;

	if (!make && hash_get_num_entries(schedule->destinations) == 0)
		return NULL;
	entry = hash_search(schedule->destinations, &destination, make ? HASH_ENTER : HASH_FIND, &found);
	if (entry != NULL && !found)
		gate_init(&entry->gate, false);
	return entry ? &entry->gate : NULL;
}

/* The gate of a delivery's series; unless "make", NULL when nothing of it is under way. */
static ScheduleGate *
find_series(Schedule *schedule, const Scheduled *delivery, bool make)
{
	ScheduleGate *gate = NULL;

	if (delivery->series != 0)
		gate = find_destination(schedule, delivery->series, make);
	if (gate != NULL)
		gate->is_series = true;
	return gate;
}

void
schedule_add(Schedule *schedule, Scheduled *delivery, const ScheduleOrder *order, TimestampTz now)
{
	ScheduleLane *lane = order->lane;
	ScheduleUser *user = find_user(schedule, order->user);

	set_clock(schedule, now);
	if (lane->user == NULL)
		dlist_init(&lane->line);
	lane->user = user;

	delivery->lane = lane;
	delivery->host = find_host(schedule, order->host);
	delivery->destination = order->destination;
	delivery->series = order->series;
	delivery->told = order->told;
	delivery->number = schedule->next_number++;
	delivery->class = Min(class_of[order->type] + (order->again ? CLASS_AGAIN : 0), CLASSES - 1);
	delivery->cost = 1 + Max((int) order->size - 1, 0) / COST_BYTES;
	delivery->allowance = order->allowance;
	delivery->strict = order->strict;
	delivery->keeps_place = false;
	delivery->probe = false;
	delivery->state = SCHEDULE_READY;

	if (order->was_aside)
		user->aside--;
	if (order->place >= 0)
	{
		delivery->place = order->place;
		lane->next_place = Max(lane->next_place, order->place + 1);
		places_remove(&lane->aside, order->place);
	}
	else
		delivery->place = lane->next_place++;

	delivery->host->deliveries++;
	user->waiting++;
	lane->waiting++;
	schedule->waiting++;

	schedule_limit_lane(schedule, lane, order->concurrency);

	/* It may become the first one, or be what that has been waiting for. */
	if (order->was_aside && lane->state != LANE_BUSY)
		uproot_lane(lane);
	insert_by_place(lane, delivery);
	if (lane->state == LANE_EMPTY)
		open_lane(schedule, lane);
}

/* ----------
 * Gates
 * ----------
 */

static TimestampTz
gate_opens_at(const Schedule *schedule, const ScheduleGate *gate)
{
	if (gate->is_series)
		return gate->in_flight > 0 ? DT_NOEND : schedule->now;
	if (!gate->is_host)
		return pace_opens_at(&gate->pace, schedule->now);
	if (gate->in_flight >= schedule->limits.per_host)
		return DT_NOEND;
	return Max(breaker_opens_at(&gate->breaker, schedule->now), gate->pace.closed_until);
}

/* How many deliveries may start through the gate. */
static int
gate_room(const Schedule *schedule, const ScheduleGate *gate)
{
	if (gate_opens_at(schedule, gate) > schedule->now)
		return 0;
	if (gate->is_series)
		return 1;
	if (!gate->is_host)
		return pace_room(&gate->pace, schedule->now);
	if (gate->breaker.state != BREAKER_CLOSED)
		return 1;
	return schedule->limits.per_host - gate->in_flight;
}

static void
gate_relax(ScheduleGate *gate)
{
	if (gate->is_full)
		dlist_delete(&gate->full_link);
	gate->is_full = false;
}

/*
 * Lanes go back to their users, as many as can start.  One whose user has its
 * fill goes too: it comes up when the user may start more.  True when there is
 * something to start.
 */
static bool
gate_admit(Schedule *schedule, ScheduleGate *gate)
{
	int			room = gate_room(schedule, gate);
	bool		admitted = false;

	while (room > 0 && !dlist_is_empty(&gate->blocked))
	{
		ScheduleLane *lane = dlist_container(ScheduleLane, wait_link,
											 dlist_pop_head_node(&gate->blocked));

		open_lane(schedule, lane);
		if (!lane->user->in_ring)
			continue;
		admitted = true;
		room--;
	}
	if (dlist_is_empty(&gate->blocked))
	{
		gate_relax(gate);
		timer_clear(schedule, &gate->timer);
	}
	return admitted;
}

/* The gate is closed for a while: its lanes had better think about it. */
static void
gate_scatter(Schedule *schedule, ScheduleGate *gate)
{
	while (!dlist_is_empty(&gate->blocked))
		open_lane(schedule, dlist_container(ScheduleLane, wait_link,
											dlist_pop_head_node(&gate->blocked)));
	gate_relax(gate);
	timer_clear(schedule, &gate->timer);
}

/* See to it that the lanes which wait at the gate are woken. */
static void
gate_watch(Schedule *schedule, ScheduleGate *gate)
{
	TimestampTz opens = gate_opens_at(schedule, gate);

	if (!TIMESTAMP_IS_NOEND(opens) && opens > schedule->now)
	{
		gate_relax(gate);
		timer_set(schedule, &gate->timer, opens);
	}
	else if (!gate->is_full)
	{
		dlist_push_tail(&schedule->full, &gate->full_link);
		gate->is_full = true;
	}
}

/* Does it open so late that what has to wait for it had better step aside? */
static bool
gate_is_closed(const Schedule *schedule, const ScheduleGate *gate)
{
	TimestampTz opens = gate_opens_at(schedule, gate);

	return !TIMESTAMP_IS_NOEND(opens) && opens - schedule->now > SCHEDULE_PATIENCE;
}

/*
 * Whoever is at the gate may go through it by now, or later than thought.
 * True when that makes something to do.
 */
static bool
gate_look(Schedule *schedule, ScheduleGate *gate)
{
	bool		admitted = gate_admit(schedule, gate);

	if (dlist_is_empty(&gate->blocked))
		return admitted;
	if (gate->is_full && gate_is_closed(schedule, gate))
	{
		gate_scatter(schedule, gate);
		return true;
	}
	gate_watch(schedule, gate);
	return admitted;
}

/* Room that nobody has taken up; true when somebody does now. */
static bool
admit_anywhere(Schedule *schedule)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &schedule->full)
	{
		ScheduleGate *gate = dlist_container(ScheduleGate, full_link, iter.cur);

		if (gate_look(schedule, gate))
			return true;
	}
	return false;
}

static void
wait_at_gate(Schedule *schedule, ScheduleLane *lane, ScheduleGate *gate)
{
	lane->state = LANE_AT_GATE;
	dlist_push_tail(&gate->blocked, &lane->wait_link);
	gate_watch(schedule, gate);
}

static bool
may_step_aside(const Schedule *schedule, const ScheduleLane *lane)
{
	return lane->user->aside < schedule->limits.aside_per_user;
}

/* ----------
 * What is next
 * ----------
 */

/* Take the first delivery out of its lane, which is not waiting anywhere. */
static void
leave_lane(Schedule *schedule, ScheduleLane *lane)
{
	dlist_pop_head_node(&lane->line);
	lane->waiting--;
	lane->user->waiting--;
	schedule->waiting--;
}

static void
release_host(Schedule *schedule, ScheduleGate *host)
{
	HostEntry  *entry = (HostEntry *) ((char *) host - offsetof(HostEntry, gate));

	Assert(dlist_is_empty(&host->blocked) || host->deliveries > 0);
	if (host->deliveries == 0 && breaker_is_clean(&host->breaker, schedule->now) &&
		host->pace.closed_until <= schedule->now)
	{
		gate_relax(host);
		timer_clear(schedule, &host->timer);
		hash_search(schedule->hosts, entry->name, HASH_REMOVE, NULL);
	}
}

static void
release_destination(Schedule *schedule, ScheduleGate *gate)
{
	DestinationEntry *entry = (DestinationEntry *) ((char *) gate - offsetof(DestinationEntry, gate));

	if (!dlist_is_empty(&gate->blocked) || gate->in_flight > 0 ||
		!pace_is_over(&gate->pace, schedule->now))
		return;
	gate_relax(gate);
	timer_clear(schedule, &gate->timer);
	hash_search(schedule->destinations, &entry->destination, HASH_REMOVE, NULL);
}

static void
step_aside(Schedule *schedule, ScheduleLane *lane, TimestampTz until, bool keeps_place,
		   ScheduleStep *step)
{
	Scheduled  *delivery = first_of_lane(lane);
	ScheduleUser *user = lane->user;

	leave_lane(schedule, lane);
	delivery->state = SCHEDULE_OUT;
	user->aside++;
	if (keeps_place)
		until = keep_place(schedule, delivery, until);
	delivery->host->deliveries--;
	release_host(schedule, delivery->host);

	lane->state = LANE_EMPTY;
	if (lane->waiting > 0)
		line_up_lane(lane);
	else
		release_lane(lane);

	*step = (ScheduleStep)
	{
		.delivery = delivery, .aside = true, .until = callers_time(schedule, until)
	};
	/* That is no turn: others of the user's may start. */
	user_ready(schedule, user, TURN_KEPT);
}

static void
start(Schedule *schedule, ScheduleLane *lane, ScheduleStep *step)
{
	Scheduled  *delivery = first_of_lane(lane);
	ScheduleUser *user = lane->user;
	ScheduleGate *destination = find_destination(schedule, delivery->destination, true);
	ScheduleGate *series = find_series(schedule, delivery, true);

	leave_lane(schedule, lane);
	user_leaves_sated(schedule, user);
	delivery->state = SCHEDULE_IN_FLIGHT;
	user->deficit -= delivery->cost;
	user->in_flight++;
	lane->in_flight++;
	delivery->host->in_flight++;
	schedule->in_flight++;
	delivery->probe = breaker_start(&delivery->host->breaker);
	if (delivery->told)
		pace_expect(&destination->pace, schedule->now);
	pace_start(&destination->pace, delivery->allowance, schedule->now);
	if (series != NULL)
		series->in_flight++;

	lane->state = LANE_EMPTY;
	if (lane->waiting > 0)
		open_lane(schedule, lane);
	(void) gate_look(schedule, destination);
	if (pairingheap_is_empty(&user->lanes))
		user->deficit = 0;

	*step = (ScheduleStep)
	{
		.delivery = delivery
	};
	user_ready(schedule, user, TURN_NEW);
}

/*
 * Has one that comes before this delivery kept its place?  Then it cannot
 * start, not even when all should have come back by now: clocks jump, and not
 * all of them come at once.
 */
static bool
is_behind(const ScheduleLane *lane, const Scheduled *delivery)
{
	return lane->aside.n > 0 && delivery->place > places_least(&lane->aside);
}

/*
 * Which of the gates a delivery has to wait at, and until when: the one that
 * opens later, of those that say when they open.  NULL when all are open.
 */
static ScheduleGate *
later_gate(const Schedule *schedule, ScheduleGate *destination, ScheduleGate *host,
		   ScheduleGate *series, TimestampTz *opens)
{
	ScheduleGate *gates[] = {destination, host, series};
	ScheduleGate *later = NULL;

	*opens = schedule->now;
	for (int i = 0; i < lengthof(gates); i++)
	{
		TimestampTz gate_opens = gates[i] ? gate_opens_at(schedule, gates[i]) : schedule->now;

		if (TIMESTAMP_IS_NOEND(gate_opens) ? later == NULL : gate_opens > *opens)
		{
			later = gates[i];
			*opens = TIMESTAMP_IS_NOEND(gate_opens) ? *opens : gate_opens;
		}
	}
	return later;
}

/*
 * Has the hook its fill of requests under way?  However slow its destination
 * is, it leaves some to the user's other hooks.
 */
static bool
lane_is_full(const Schedule *schedule, const ScheduleLane *lane, const Scheduled *delivery)
{
	int			limit = schedule->limits.per_user - schedule->limits.per_user / OTHER_HOOKS_SHARE;

	if (lane->concurrency > 0)
		limit = Min(limit, lane->concurrency);
	if (delivery->strict)
		limit = 1;
	return lane->in_flight >= limit;
}

/*
 * It is the user's turn.  True when that makes a step; else the user may be
 * back in its ring.
 */
static bool
take_turn(Schedule *schedule, ScheduleUser *user, ScheduleStep *step)
{
	ScheduleLane *lane;
	Scheduled  *delivery;
	ScheduleGate *destination;
	ScheduleGate *gate;
	TimestampTz opens;

	if (pairingheap_is_empty(&user->lanes))
		return false;
	if (!user_may_start(schedule, user))
	{
		user_ready(schedule, user, TURN_NEW);	/* as soon as it may */
		return false;
	}
	lane = first_lane(user);
	delivery = first_of_lane(lane);

	if (user->deficit < delivery->cost && ++user->deficit < delivery->cost)
	{
		user_ready(schedule, user, TURN_AGAIN);
		return false;
	}

	pairingheap_remove_first(&user->lanes);
	if (is_behind(lane, delivery))
	{
		if (lane->first_at > schedule->now && may_step_aside(schedule, lane))
		{
			step_aside(schedule, lane, lane->first_at, true, step);
			return true;
		}
		lane->state = LANE_STUCK;	/* until one comes back, or is lost */
		user->stuck++;
		user_ready(schedule, user, TURN_KEPT);
		return false;
	}
	if (lane_is_full(schedule, lane, delivery))
	{
		lane->state = LANE_BUSY;
		dlist_push_tail(&schedule->busy, &lane->wait_link);
		user_ready(schedule, user, TURN_KEPT);
		return false;
	}

	destination = find_destination(schedule, delivery->destination, false);
	gate = later_gate(schedule, destination, delivery->host, find_series(schedule, delivery, false),
					  &opens);
	if (gate == NULL)
	{
		start(schedule, lane, step);
		return true;
	}
	if (opens - schedule->now > SCHEDULE_PATIENCE && may_step_aside(schedule, lane))
	{
		if (opens != gate->aside_until)
			gate->aside_n = 0;
		gate->aside_until = opens;
		if (!delivery->strict)
			opens += gate->aside_n++;
		step_aside(schedule, lane, opens, delivery->strict, step);
		return true;
	}
	wait_at_gate(schedule, lane, gate);
	user_ready(schedule, user, TURN_KEPT);
	return false;
}

/* What waited for a time that has come. */
static void
wake(Schedule *schedule)
{
	while (!pairingheap_is_empty(&schedule->timers))
	{
		ScheduleTimer *timer = pairingheap_container(ScheduleTimer, node,
													 pairingheap_first(&schedule->timers));

		if (timer->at > schedule->now)
			return;
		timer_clear(schedule, timer);
		(void) gate_look(schedule, timer->gate);
	}
}

bool
schedule_next(Schedule *schedule, TimestampTz now, ScheduleStep *step)
{
	set_clock(schedule, now);
	wake(schedule);
	while (schedule->in_flight < schedule->limits.total)
	{
		ScheduleUser *user;

		if (++schedule->turns % LOOK_AROUND == 0)
			(void) admit_anywhere(schedule);
		user = next_user(schedule);
		if (user == NULL && !admit_anywhere(schedule))
			return false;
		if (user != NULL && take_turn(schedule, user, step))
			return true;
	}
	return false;
}

TimestampTz
schedule_wake_at(const Schedule *schedule)
{
	if (pairingheap_is_empty(&unconstify(Schedule *, schedule)->timers) ||
		schedule->in_flight >= schedule->limits.total)
		return DT_NOEND;
	return callers_time(schedule,
						pairingheap_container(ScheduleTimer, node,
											  pairingheap_first(&unconstify(Schedule *, schedule)->timers))->at);
}

/* ----------
 * What comes of it
 * ----------
 */

TimestampTz
schedule_again(Schedule *schedule, Scheduled *delivery, TimestampTz at)
{
	ScheduleLane *lane = delivery->lane;

	Assert(delivery->state == SCHEDULE_IN_FLIGHT);
	lane->user->aside++;
	if (!delivery->strict)
		return at;
	return callers_time(schedule, keep_place(schedule, delivery, at + schedule->set_back));
}

void
schedule_pause(Schedule *schedule, Scheduled *delivery)
{
	Assert(delivery->state == SCHEDULE_IN_FLIGHT);
	delivery->lane->user->aside++;
	(void) keep_place(schedule, delivery, DT_NOEND);
}

void
schedule_done(Schedule *schedule, Scheduled *delivery, ScheduleResult result, TimestampTz now)
{
	ScheduleLane *lane = delivery->lane;
	ScheduleUser *user = lane->user;
	ScheduleGate *host = delivery->host;
	ScheduleGate *destination = find_destination(schedule, delivery->destination, false);
	ScheduleGate *series = find_series(schedule, delivery, false);

	Assert(delivery->state == SCHEDULE_IN_FLIGHT);
	set_clock(schedule, now);
	user_leaves_sated(schedule, user);
	delivery->state = SCHEDULE_OUT;
	user->in_flight--;
	lane->in_flight--;
	host->in_flight--;
	host->deliveries--;
	schedule->in_flight--;

	if (result == SCHEDULE_WORKED || (result == SCHEDULE_FAILED && !schedule->limits.no_breakers))
		breaker_result(&host->breaker, result == SCHEDULE_WORKED, delivery->probe, schedule->now);
	else if (delivery->probe)
		breaker_probe_lost(&host->breaker, schedule->now);
	(void) gate_look(schedule, host);
	release_host(schedule, host);

	pace_done(&destination->pace, result == SCHEDULE_WORKED);
	(void) gate_look(schedule, destination);
	release_destination(schedule, destination);

	if (series != NULL)
	{
		series->in_flight--;
		(void) gate_look(schedule, series);
		release_destination(schedule, series);
	}

	if (lane->state == LANE_BUSY)
	{
		uproot_lane(lane);
		open_lane(schedule, lane);
	}
	release_lane(lane);
	user_ready(schedule, user, TURN_NEW);
	forget_user_if_gone(schedule, user);
	admit_sated(schedule);
}

void
schedule_withdraw(Schedule *schedule, Scheduled *delivery)
{
	ScheduleLane *lane = delivery->lane;
	ScheduleUser *user = lane->user;
	bool		first = first_of_lane(lane) == delivery;

	Assert(delivery->state == SCHEDULE_READY);
	if (first && (lane->state != LANE_BUSY || lane->waiting == 1))
		uproot_lane(lane);
	dlist_delete(&delivery->link);
	delivery->state = SCHEDULE_OUT;
	lane->waiting--;
	user->waiting--;
	schedule->waiting--;
	delivery->host->deliveries--;
	release_host(schedule, delivery->host);

	if (lane->waiting == 0)
		lane->state = LANE_EMPTY;
	else if (lane->state == LANE_EMPTY)
		open_lane(schedule, lane);
	release_lane(lane);
	user_ready(schedule, user, TURN_KEPT);
	forget_user_if_gone(schedule, user);
}

void
schedule_count_aside(Schedule *schedule, const pg_uuid_t *id, int n)
{
	ScheduleUser *user = find_user(schedule, id);

	user->aside += n;
	forget_user_if_gone(schedule, user);
}

void
schedule_recall_aside(Schedule *schedule, ScheduleLane *lane, const Places *places,
					  TimestampTz first_at)
{
	for (int i = 0; i < places->n; i++)
	{
		int64		place = places->list[places->first + i];

		places_add(&lane->aside, place, schedule->context);
		lane->next_place = Max(lane->next_place, place + 1);
	}
	lane->first_at = first_at;
}

void
schedule_hurry(Schedule *schedule, ScheduleLane *lane, TimestampTz at)
{
	lane->first_at = Min(lane->first_at, at + schedule->set_back);
}

void
schedule_lose_aside(Schedule *schedule, const pg_uuid_t *user, ScheduleLane *lane, int64 place)
{
	if (lane != NULL)
	{
		places_remove(&lane->aside, place);
		if (lane->state == LANE_STUCK)
		{
			uproot_lane(lane);
			open_lane(schedule, lane);
		}
		else if (lane->state == LANE_EMPTY)
			release_lane(lane);
	}
	schedule_count_aside(schedule, user, -1);
}

void
schedule_forget_lane(ScheduleLane *lane)
{
	Assert(lane->waiting == 0 && lane->in_flight == 0);
	places_clear(&lane->aside);
}

void
schedule_learn(Schedule *schedule, const Scheduled *delivery, uint32 bucket, int remaining,
			   int64 renewed_in, int64 closed_for, TimestampTz now)
{
	ScheduleGate *gate = find_destination(schedule, delivery->destination, false);
	bool		was_closed;

	Assert(delivery->state == SCHEDULE_IN_FLIGHT);
	set_clock(schedule, now);
	was_closed = gate_is_closed(schedule, gate);
	if (remaining >= 0 && renewed_in >= 0)
		pace_learn(&gate->pace, bucket, remaining, renewed_in, schedule->now);
	else if (closed_for <= 0)
		pace_learn_nothing(&gate->pace, schedule->now);
	if (closed_for > 0)
		pace_close(&gate->pace, closed_for, schedule->now);

	/* It may open at another time than the lanes at it have been told. */
	if (gate_is_closed(schedule, gate) && !was_closed)
		gate_scatter(schedule, gate);
	else
		(void) gate_look(schedule, gate);
}

/* Close a gate, and have those who wait at it know. */
static void
close_gate(Schedule *schedule, ScheduleGate *gate, int64 closed_for)
{
	bool		was_closed = gate_is_closed(schedule, gate);

	if (gate->is_host)
		gate->pace.closed_until = Max(gate->pace.closed_until,
									  schedule->now + Min(closed_for, PACE_LONGEST));
	else
		pace_close(&gate->pace, closed_for, schedule->now);
	if (gate_is_closed(schedule, gate) && !was_closed)
		gate_scatter(schedule, gate);
	else
		(void) gate_look(schedule, gate);
}

void
schedule_close_destination(Schedule *schedule, uint64 destination, int64 closed_for,
						   TimestampTz now)
{
	set_clock(schedule, now);
	close_gate(schedule, find_destination(schedule, destination, true), closed_for);
}

void
schedule_close_host(Schedule *schedule, const Scheduled *delivery, int64 closed_for,
					TimestampTz now)
{
	set_clock(schedule, now);
	close_gate(schedule, delivery->host, closed_for);
}

void
schedule_forget(Schedule *schedule, TimestampTz now)
{
	HASH_SEQ_STATUS status;
	HostEntry  *host;
	DestinationEntry *destination;

	set_clock(schedule, now);
	hash_seq_init(&status, schedule->hosts);
	while ((host = hash_seq_search(&status)) != NULL)
		release_host(schedule, &host->gate);

	hash_seq_init(&status, schedule->destinations);
	while ((destination = hash_seq_search(&status)) != NULL)
		release_destination(schedule, &destination->gate);
}

void
schedule_set_limits(Schedule *schedule, ScheduleLimits limits)
{
	HASH_SEQ_STATUS status;
	HostEntry  *host;

	schedule->limits = limits;

	/* Everybody who waits may look again. */
	hash_seq_init(&status, schedule->hosts);
	while ((host = hash_seq_search(&status)) != NULL)
	{
		if (limits.no_breakers)
			memset(&host->gate.breaker, 0, sizeof(Breaker));
		gate_scatter(schedule, &host->gate);
	}
	while (!dlist_is_empty(&schedule->busy))
		open_lane(schedule, dlist_container(ScheduleLane, wait_link,
											dlist_pop_head_node(&schedule->busy)));
	admit_sated(schedule);
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

int
schedule_user_waiting(const Schedule *schedule, const pg_uuid_t *id)
{
	ScheduleUser *user = hash_search(schedule->users, id, HASH_FIND, NULL);

	return user ? user->waiting : 0;
}

bool
schedule_user_stuck(const Schedule *schedule, const pg_uuid_t *id)
{
	ScheduleUser *user = hash_search(schedule->users, id, HASH_FIND, NULL);

	return user != NULL && user->stuck > 0;
}

int
schedule_user_aside(const Schedule *schedule, const pg_uuid_t *id)
{
	ScheduleUser *user = hash_search(schedule->users, id, HASH_FIND, NULL);

	return user ? user->aside : 0;
}
