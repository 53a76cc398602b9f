/*-------------------------------------------------------------------------
 *
 * simulate.h
 *		A world of users, hooks and hosts around the schedule, in virtual time.
 *
 * world.c makes up a world from a seed and says how its servers answer,
 * loop.c does in it what the worker does, model.c keeps its own books of what
 * the schedule may do and compares.  Nothing depends on anything but the seed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIMULATE_H
#define SIMULATE_H

#include "postgres.h"

#include "lib/ilist.h"
#include "lib/pairingheap.h"

#include "breaker.h"
#include "retry.h"
#include "schedule.h"

#define MSECS(n) ((n) * INT64CONST(1000))
#define SECS(n) ((n) * INT64CONST(1000000))

/* For how long all that is left may take once every server works again. */
#define PATIENCE_AT_THE_END SECS(3 * 3600)

/* The smallest limit of a destination that is ours. */
#define LEAST_ALLOWED 20

/* Due deliveries are loaded in pages of so many. */
#define PAGE 500

/* Fairness between all pairs is looked at with no more users than this. */
#define FEW_USERS 12

typedef enum DeliveryState
{
	DELIVERY_QUEUED,			/* not in memory (durable: in the queue) */
	DELIVERY_READY,
	DELIVERY_FLYING,
	DELIVERY_ASIDE,
	DELIVERY_ENDED
} DeliveryState;

typedef enum ServerMode
{
	SERVER_FAST,
	SERVER_SLOW,
	SERVER_STALLING,			/* no answer before the timeout */
	SERVER_BROKEN,				/* 500 */
	SERVER_REFUSING,
	SERVER_FLAPPING,
	SERVER_DISLIKING,			/* 404 */
	SERVER_MODES
} ServerMode;

typedef enum AnswerKind
{
	ANSWER_SUCCESS,
	ANSWER_HOST_FAILURE,
	ANSWER_REFUSAL,				/* not worth another attempt */
	ANSWER_TOO_MANY,			/* 429 */
	ANSWER_NOTHING				/* it was not sent after all */
} AnswerKind;

/* A breaker, as simple as can be: all results that it has to know of. */
typedef struct ModelBreaker
{
	BreakerState state;
	int64		pause;
	TimestampTz until;
	int			n;
	int			allocated;
	struct ModelResult
	{
		TimestampTz at;
		bool		worked;
	}		   *results;
} ModelBreaker;

typedef struct SimHost
{
	int			number;
	char		name[32];
	ServerMode	mode;
	int64		mode_until;		/* virtual time */

	int			deliveries;
	int			in_flight;
	ModelBreaker breaker;
	TimestampTz blocked_at;		/* when it last took nothing; may lie ahead */
} SimHost;

typedef struct SimDestination
{
	uint64		id;
	bool		limited;		/* its server counts requests */
	bool		odd;			/* … and says strange things about it */
	int			capacity;
	int64		window;
	int			left;
	int64		renewed_vt;
	Allowance	allowance;		/* our own limit */

	/* What it has said, and we have counted. */
	int			allowed;		/* of the allowance */
	TimestampTz counted_until;
	int			in_flight;
	int			remaining;
	TimestampTz renewed_at;		/* PG_INT64_MIN: nothing */
	TimestampTz closed_until;
	TimestampTz blocked_at;
} SimDestination;

typedef struct SimUser
{
	int			number;
	pg_uuid_t	id;
	int			nhooks;
	struct SimHook **hooks;

	int			waiting;
	int			in_flight;
	int			aside;
	bool		had_its_fill;	/* aside, at some time */
	int64		cost_started;	/* in a contest */

	/* With few users: since when it could start something and did not. */
	bool		eligible;
	int64		eligible_since;
	int64		alone_since;	/* … the only one of its class */
	int64		served_since;	/* cost of all that was started … */
	int64		served[FEW_USERS];	/* … for users not more urgent */
	int64		turns_since;	/* … and how many turns others had */
} SimUser;

typedef struct SimHook
{
	ScheduleLane lane;
	int			number;
	SimUser    *user;
	TriggerType type;
	SimHost    *host;
	SimDestination *destination;
	int			concurrency;
	int			limit;			/* as the schedule was told last */
	bool		strict;
	bool		was_changed;	/* from strict to not, or back */
	bool		disabled;
	bool		paused;
	RetryPolicy policy;
	int			cooldown;		/* seconds */
	TimestampTz last_admitted;
	int64		last_taken_vt;	/* and not given back: what the check goes by */
	int			jumps_then;

	dlist_head	line;			/* ready, as they should start */
	dlist_head	live;			/* not ended, as they were admitted */
	int			waiting;
	int			in_flight;
	int			aside;			/* with a place */
	struct SimDelivery *head;
	TimestampTz head_since;
	TimestampTz blocked_at;
} SimHook;

typedef struct SimDelivery
{
	Scheduled	scheduled;		/* must be first */
	int64		number;			/* as admitted */
	SimHook    *hook;
	SimHost    *host;
	SimDestination *destination;
	bool		strict;
	Size		size;
	TimestampTz event_time;
	TimestampTz taken;			/* the cooldown that it took … */
	TimestampTz before;
	int64		taken_before_vt;
	int			taken_before_jumps;

	DeliveryState state;
	int			attempts;
	TimestampTz next_at;
	int64		place;			/* while aside; -1: none */
	uint64		added;			/* counts additions */
	dlist_node	line_link;
	dlist_node	live_link;

	/* While it flies. */
	bool		probe;
	int64		answer_vt;
	AnswerKind	answer;
	pairingheap_node answer_node;

	/* What would be left after a crash. */
	DeliveryState durable;		/* QUEUED, ASIDE or ENDED */
	int			durable_attempts;
	TimestampTz durable_next_at;
	int64		durable_place;
	int64		stored;			/* in this order */
	dlist_node	log_link;		/* while that is being written */
	pairingheap_node aside_node;
} SimDelivery;

/* What happens how often: so many in a thousand loops. */
typedef struct SimChances
{
	int			jump;
	int			crash;
	int			withdraw;
	int			limits;
	int			change;
	int			forget;
	int			pause;
	int			unsent;			/* of a thousand starts */
} SimChances;

typedef struct Sim
{
	int64		seed;
	uint64		random;
	Schedule   *schedule;
	MemoryContext schedule_context;
	ScheduleLimits limits;

	int			nusers;
	SimUser    *users;
	int			nhooks;
	SimHook    *hooks;
	int			nhosts;
	SimHost    *hosts;
	int			ndestinations;
	SimDestination *destinations;
	int			max_cost;

	/* Time that passes; what the clock says is "offset" more. */
	int64		vt;
	int64		offset;
	int			jumps;
	int64		jumped_back;	/* in all */
	int64		started_vt;

	/* Time as the schedule must see it: never set back. */
	TimestampTz mono;
	int64		set_back;

	/* What is to come. */
	int			deliveries_left;	/* to make */
	int64		next_arrival;
	int64		mean_gap;
	int			flooder;		/* number of a user; -1 for none */
	bool		contest;		/* all at once, and nothing goes wrong */
	bool		narrow;			/* … with hosts that take little, and withdrawals */
	int64		quiet_vt;		/* when it all ended; 0: not yet */
	SimChances	chances;
	int64		tick;			/* a loop takes up to this long */
	int64		write_delay;
	int64		next_write;

	SimDelivery **deliveries;	/* as admitted */
	int			ndeliveries;
	int			allocated;
	int			live;			/* not ended durably */
	pairingheap answers;
	pairingheap aside;
	dlist_head	log;			/* what is being written */
	int64		stored;
	uint64		added;

	int			waiting;
	int			in_flight;
	int64		attempts;
	int64		crashes;
	int			same_time;		/* loops in which no time has passed */
} Sim;

/* ----------
 * simulate.c
 * ----------
 */

/* Remember what was done, for the report; up to six numbers. */
extern void trace(const char *format, int64 a, int64 b, int64 c, int64 d, int64 e, int64 f);

#define TRACE1(format, a) trace(format, a, 0, 0, 0, 0, 0)
#define TRACE2(format, a, b) trace(format, a, b, 0, 0, 0, 0)
#define TRACE3(format, a, b, c) trace(format, a, b, c, 0, 0, 0)
#define TRACE4(format, a, b, c, d) trace(format, a, b, c, d, 0, 0)

/* Something that must not be: say so and end the process. */
extern _Noreturn void violation(const char *format,...) pg_attribute_printf(1, 2);

#define CHECK(condition, ...) ((condition) ? (void) 0 : violation(__VA_ARGS__))

static inline TimestampTz
clock_now(const Sim *sim)
{
	return sim->vt + sim->offset;
}

/* A number from 0 to below n. */
static inline int64
draw(Sim *sim, int64 n)
{
	uint64		x = (sim->random += UINT64CONST(0x9E3779B97F4A7C15));

	x = (x ^ (x >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return (int64) ((x ^ (x >> 31)) % (uint64) n);
}

static inline int64
draw_between(Sim *sim, int64 least, int64 most)
{
	return least + draw(sim, most - least + 1);
}

static inline bool
one_in(Sim *sim, int n)
{
	return draw(sim, n) == 0;
}

/* Of every order of magnitude as many. */
extern int64 draw_magnitude(Sim *sim, int64 least, int64 most);

/* ----------
 * world.c
 * ----------
 */

extern void world_make(Sim *sim);

/* Something about a hook is changed by its owner. */
extern void world_change_hook(Sim *sim, SimHook *hook);

extern ScheduleLimits world_limits(Sim *sim);

/* How a server takes a request, and when the answer is there. */
extern void world_request(Sim *sim, SimDelivery *delivery);

/*
 * The answer's last words: what is left of the destination's limits, or -1, and
 * its Retry-After in microseconds, or -1.  May turn it into ANSWER_TOO_MANY.
 */
extern void world_answer(Sim *sim, SimDelivery *delivery, int *remaining, int64 *renewed_in,
						 int64 *wish);

/* ----------
 * loop.c
 * ----------
 */

/* All of a world's time. */
extern void loop_run(Sim *sim);

/* ----------
 * model.c
 * ----------
 */

/* To be called whenever the schedule is told the time. */
extern void model_time(Sim *sim);

extern void model_create(Sim *sim);
extern void model_limits(Sim *sim, ScheduleLimits limits);
extern void model_add(Sim *sim, SimDelivery *delivery, bool was_aside);
extern void model_start(Sim *sim, SimDelivery *delivery);
extern void model_aside(Sim *sim, SimDelivery *delivery, TimestampTz until);
extern void model_learn(Sim *sim, SimDelivery *delivery, int remaining, int64 renewed_in,
						int64 closed_for);
extern void model_send(Sim *sim, SimDelivery *delivery);
extern void model_again(Sim *sim, SimDelivery *delivery);
extern void model_pause(Sim *sim, SimDelivery *delivery);
extern void model_done(Sim *sim, SimDelivery *delivery, ScheduleResult result);
extern void model_withdraw(Sim *sim, SimDelivery *delivery);
extern void model_lose_aside(Sim *sim, SimDelivery *delivery);
extern void model_recall_aside(Sim *sim, SimDelivery *delivery);
extern void model_forget(Sim *sim);

/* An admitted delivery is over, or not so after a crash. */
extern void model_ended(Sim *sim, SimDelivery *delivery);

/* Who could start something now? */
extern void model_look(Sim *sim);

/* The schedule has nothing more to do: is that so? */
extern void model_idle(Sim *sim);

/* ----------
 * retry_check.c
 * ----------
 */

extern void check_retries(Sim *sim);

#endif							/* SIMULATE_H */
