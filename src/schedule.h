/*-------------------------------------------------------------------------
 *
 * schedule.h
 *		Which delivery starts next.
 *
 * Deliveries wait in one lane per hook, in the order in which they came.
 * When a user's turn comes, the oldest delivery at the head of a lane that
 * may start does: so a user's first attempts start in commit order, but for
 * those whose hook or host has to wait, which hold up nothing else.
 *
 * Users take turns, as in deficit round robin: a delivery with a large event
 * costs several.  Donations, subscriptions and raids come before follows,
 * those before the start and end of streams, those before chat messages, and
 * those before retries and replays of the same class; but who has waited for
 * some seconds longer comes first.  A user may have fewer requests under way
 * the fewer can still be started, so that slow ones never take up all of them,
 * and a hook never all of those that its user may have.
 *
 * A host takes only so many requests at once, and none while its breaker is
 * open (breaker.h); a destination no more than it says it takes (pace.h).
 * What has to wait for them for a while steps aside: the schedule hands it
 * back with the time when to come again, and counts how much of a user's
 * deliveries are aside.  Of deliveries that belong to one series, one is under
 * way at a time, whichever hooks they are of.
 *
 * Some deliveries keep their places in their hook's lane while they are aside,
 * and all that follows waits for them, or steps aside as well, keeping its
 * place.  So do those of strict hooks, which have one request under way at
 * most and wait for their own retries, and those of paused hooks, which later
 * go on where they were.  Nothing starts while one with a lower place is
 * aside, whatever the clock says: so whoever takes a delivery with a place out
 * of what is aside adds it here again, or says that it is lost.
 *
 * Every delivery is in one state; only the functions here move it to another.
 * Pure: time comes from the caller, in microseconds.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SCHEDULE_H
#define HOOKS_SCHEDULE_H

#include "lib/ilist.h"
#include "lib/pairingheap.h"

#include "event.h"
#include "pace.h"
#include "places.h"

/* Whatever has to wait for longer than this steps aside. */
#define SCHEDULE_PATIENCE (2 * USECS_PER_SEC)

typedef struct Schedule Schedule;
typedef struct ScheduleUser ScheduleUser;
typedef struct ScheduleGate ScheduleGate;

typedef struct ScheduleLimits
{
	int			total;			/* requests under way at once … */
	int			per_user;
	int			per_host;
	int			aside_per_user; /* deliveries of a user that may be aside */
	bool		no_breakers;	/* every host is taken to work */
} ScheduleLimits;

typedef enum ScheduleState
{
	SCHEDULE_OUT,				/* not in the schedule */
	SCHEDULE_READY,				/* in its hook's lane */
	SCHEDULE_IN_FLIGHT			/* started and not done */
} ScheduleState;

/* Why a lane's deliveries do not start. */
typedef enum ScheduleLaneState
{
	LANE_EMPTY,
	LANE_OPEN,					/* its first delivery waits for the user's turn */
	LANE_BUSY,					/* the hook has its fill of requests under way */
	LANE_AT_GATE,				/* its host or destination takes none */
	LANE_STUCK					/* waits for what is aside, and cannot step aside */
} ScheduleLaneState;

/* A hook's lane; part of the caller's own struct, all zero at first. */
typedef struct ScheduleLane
{
	ScheduleLaneState state;
	ScheduleUser *user;			/* while there are deliveries */
	dlist_head	line;
	int			waiting;
	int			in_flight;
	int			concurrency;	/* requests under way at once; 0: the hook sets no limit */
	pairingheap_node by_age;	/* with LANE_OPEN */
	dlist_node	wait_link;		/* with LANE_BUSY and LANE_AT_GATE */

	/* Deliveries have places; some keep them while they are aside. */
	int64		next_place;
	Places		aside;			/* of those that do, and will come back … */
	TimestampTz first_at;		/* … then, if all goes well; DT_NOEND: nobody knows */
} ScheduleLane;

/* What the schedule knows of a delivery; part of the caller's own struct. */
typedef struct Scheduled
{
	dlist_node	link;
	ScheduleLane *lane;
	ScheduleGate *host;
	uint64		destination;
	uint64		series;
	uint64		number;			/* counts deliveries as they come */
	int64		place;			/* in its lane */
	int			class;
	int			cost;
	Allowance	allowance;
	bool		strict;
	bool		keeps_place;	/* while it is aside */
	bool		told;
	bool		probe;
	ScheduleState state;
} Scheduled;

/* How a delivery is to be scheduled. */
typedef struct ScheduleOrder
{
	const pg_uuid_t *user;
	ScheduleLane *lane;
	TriggerType type;
	const char *host;			/* "example.com:443" */
	uint64		destination;	/* what it shares its limits of rate with */
	bool		told;			/* … which its destination tells: one request learns them */
	uint64		series;			/* one of it at a time is under way; 0: it is in none */
	Size		size;			/* of its event, in bytes */
	int			concurrency;	/* the hook's own limit, 0: none */
	Allowance	allowance;		/* of its destination */
	bool		strict;
	bool		again;			/* a retry or a replay */
	bool		was_aside;		/* and counted as such */
	int64		place;			/* of one that has kept it while it was aside, -1: a new one */
} ScheduleOrder;

/* What there is to do about a delivery. */
typedef struct ScheduleStep
{
	Scheduled  *delivery;
	bool		aside;			/* it is out of the schedule, and counted as aside */
	TimestampTz until;			/* … when it is to come back; DT_NOEND: as what it waits for */
} ScheduleStep;

/* What an attempt has shown of its host. */
typedef enum ScheduleResult
{
	SCHEDULE_WORKED,
	SCHEDULE_FAILED,
	SCHEDULE_UNSENT				/* nothing */
} ScheduleResult;

/* An empty schedule, in the current memory context. */
extern Schedule *schedule_create(void);

extern void schedule_set_limits(Schedule *schedule, ScheduleLimits limits);

/*
 * The clock was set back by so many microseconds.  (Who does not know is heard,
 * too: time then stands still for as long as nobody has looked at the clock.)
 */
extern void schedule_set_back(Schedule *schedule, int64 by);

/*
 * The hook's own limit of requests under way has changed, 0: none.  As it is
 * now, it counts for all that wait, too; schedule_add() does this by itself.
 */
extern void schedule_limit_lane(Schedule *schedule, ScheduleLane *lane, int concurrency);

/* A delivery that is ready: to its place, or the end of its lane. */
extern void schedule_add(Schedule *schedule, Scheduled *delivery, const ScheduleOrder *order,
						 TimestampTz now);

/* What to do now: start a delivery, or put it aside.  False when there is nothing. */
extern bool schedule_next(Schedule *schedule, TimestampTz now, ScheduleStep *step);

/* When schedule_next() is to be asked again though nothing ends; DT_NOEND: never. */
extern TimestampTz schedule_wake_at(const Schedule *schedule);

/* A delivery in flight has come to its end, whatever it was. */
extern void schedule_done(Schedule *schedule, Scheduled *delivery, ScheduleResult result,
						  TimestampTz now);

/*
 * It will be tried again: it is aside until then, or, where it is strict, a
 * little later, which is returned.  To be called before schedule_done().
 */
extern TimestampTz schedule_again(Schedule *schedule, Scheduled *delivery, TimestampTz at);

/*
 * It was started, but must not be now: it is aside for as long as it takes, at
 * its place, and all that follows with it.  To be called before schedule_done().
 */
extern void schedule_pause(Schedule *schedule, Scheduled *delivery);

/* A delivery that waits in its lane is not to be made. */
extern void schedule_withdraw(Schedule *schedule, Scheduled *delivery);

/* So many more deliveries of the user, or fewer, are aside than the schedule knows of. */
extern void schedule_count_aside(Schedule *schedule, const pg_uuid_t *user, int n);

/* … of a lane, with their places, and when the first one comes back. */
extern void schedule_recall_aside(Schedule *schedule, ScheduleLane *lane, const Places *places,
								  TimestampTz first_at);

/* What has kept its place comes back from then on, sooner than was said. */
extern void schedule_hurry(Schedule *schedule, ScheduleLane *lane, TimestampTz at);

/*
 * A delivery of the user that was aside will not come back; "lane" if it had
 * kept this place there.  What has been waiting for it may start.
 */
extern void schedule_lose_aside(Schedule *schedule, const pg_uuid_t *user, ScheduleLane *lane,
								int64 place);

/* The lane, which has no deliveries, is about to be freed. */
extern void schedule_forget_lane(ScheduleLane *lane);

/*
 * An answer, of a delivery in flight, tells of its destination's limits: so
 * many requests within so many microseconds, or none for so many.  -1 says
 * nothing, which is to be learnt as well.  "bucket" tells several limits of it
 * apart.
 */
extern void schedule_learn(Schedule *schedule, const Scheduled *delivery, uint32 bucket,
						   int remaining, int64 renewed_in, int64 closed_for, TimestampTz now);

/* No request goes to a destination, or to a delivery's host, for so many microseconds. */
extern void schedule_close_destination(Schedule *schedule, uint64 destination, int64 closed_for,
									   TimestampTz now);
extern void schedule_close_host(Schedule *schedule, const Scheduled *delivery, int64 closed_for,
								TimestampTz now);

/* Forget hosts and destinations that nothing is held against. */
extern void schedule_forget(Schedule *schedule, TimestampTz now);

/* Deliveries in lanes, and in flight: all, and of a user. */
extern int	schedule_waiting(const Schedule *schedule);
extern int	schedule_in_flight(const Schedule *schedule);
extern int	schedule_user_waiting(const Schedule *schedule, const pg_uuid_t *user);

/* Has the user lanes that are stuck? */
extern bool schedule_user_stuck(const Schedule *schedule, const pg_uuid_t *user);

/* Deliveries of the user that are aside. */
extern int	schedule_user_aside(const Schedule *schedule, const pg_uuid_t *user);

#endif							/* HOOKS_SCHEDULE_H */
