/*-------------------------------------------------------------------------
 *
 * schedule.h
 *		Which delivery starts next.
 *
 * Deliveries wait in one line per user, in the order in which they came, so
 * that a user's first attempts start in commit order.  Users take turns;
 * those whose next delivery is more urgent come first.  A user or a host
 * that has its fill of requests under way waits without holding up others.
 *
 * Every delivery is in one state, and each state is a list; only the
 * functions here move a delivery from one to another.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SCHEDULE_H
#define HOOKS_SCHEDULE_H

#include "lib/ilist.h"

#include "event.h"

typedef struct Schedule Schedule;
typedef struct ScheduleUser ScheduleUser;
typedef struct ScheduleHost ScheduleHost;

typedef struct ScheduleLimits
{
	int			total;			/* requests under way at once … */
	int			per_user;
	int			per_host;
} ScheduleLimits;

typedef enum ScheduleState
{
	SCHEDULE_READY,				/* in its user's line */
	SCHEDULE_IN_FLIGHT			/* started and not done */
} ScheduleState;

/* What the schedule knows of a delivery; part of the caller's own struct. */
typedef struct Scheduled
{
	dlist_node	line;
	ScheduleUser *user;
	ScheduleHost *host;
	TriggerType type;
	ScheduleState state;
} Scheduled;

/* An empty schedule, in the current memory context. */
extern Schedule *schedule_create(void);

extern void schedule_set_limits(Schedule *schedule, ScheduleLimits limits);

/* A new delivery for a host ("example.com:443"): to the end of the user's line. */
extern void schedule_add(Schedule *schedule, Scheduled *delivery, const pg_uuid_t *user,
						 TriggerType type, const char *host);

/* The delivery that is to start now, in flight from here on; NULL when none may. */
extern Scheduled *schedule_next(Schedule *schedule);

/* A delivery in flight has come to its end, whatever it was. */
extern void schedule_done(Schedule *schedule, Scheduled *delivery);

extern int	schedule_waiting(const Schedule *schedule);
extern int	schedule_in_flight(const Schedule *schedule);

#endif							/* HOOKS_SCHEDULE_H */
