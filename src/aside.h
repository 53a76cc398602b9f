/*-------------------------------------------------------------------------
 *
 * aside.h
 *		Deliveries that are aside: rows of hooks.delivery.
 *
 * A delivery that waits for a time (for its next attempt, for a host that
 * does not work, for a pause to end) leaves the queue for this table, and is
 * loaded again when the time has come.  Until then it takes no memory and no
 * work.  Those that were given up stay for a while, to be delivered again on
 * request.
 *
 * The worker is the only one to write here.  Changes are gathered, and written
 * with the results they belong to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ASIDE_H
#define HOOKS_ASIDE_H

#include "backlog.h"
#include "event.h"

/* Why a delivery is aside. */
typedef enum AsideWhy
{
	ASIDE_RETRY,				/* an attempt has failed */
	ASIDE_HOST,					/* its host does not work, or takes no more for now */
	ASIDE_PAUSED,				/* its hook, or user, is paused */
	ASIDE_RESUMED,				/* … and not any more */
	ASIDE_REPLAY,				/* it was asked for, and is paced */
	ASIDE_ACCOUNT,				/* the token of its account is stale */
	ASIDE_OUTBOX,				/* it is the application's to send (outbox.h) */
	ASIDE_GIVEN_UP				/* it will not be made, unless asked for */
} AsideWhy;

/* A delivery as the table keeps it, but for its event. */
typedef struct Aside
{
	pg_uuid_t	id;
	pg_uuid_t	hook_id;
	const char *target;			/* which of the hook's destinations; NULL: the only one */
	AsideWhy	why;
	TimestampTz next_at;		/* DT_NOEND: no time is known */
	int64		place;			/* that it keeps in its hook's lane; -1: none */
	int			attempts;		/* that were made, and count */
	bool		perhaps_sent;	/* one of them may have arrived */
	bool		replay;			/* it was asked for; its age counts from then */
	TimestampTz taken;			/* the cooldown it took, DT_NOBEGIN: none … */
	TimestampTz before;			/* … and what was there before */
	const char *error;			/* the last attempt's, or NULL */
	int			status;			/* … HTTP status, 0: none */
	TimestampTz last_at;		/* … time, DT_NOBEGIN: there was none */
} Aside;

/*
 * Once, at the start, in a transaction: tell what waits, for each user, and of
 * each hook the places that are kept.
 */
extern void aside_open(void (*count) (const pg_uuid_t *user, int n),
					   void (*keep) (const pg_uuid_t *hook, const int64 *places, int n,
									 TimestampTz first_at));

/* Have a delivery entered, or changed, or taken out; copies what it needs, but for the target. */
extern void aside_put(const Aside *aside, const QueuedEvent *event);
extern void aside_remove(const pg_uuid_t *id);

/* Write the changes; then, after the commit, forget them.  Needs a transaction. */
extern bool aside_has_changes(void);
extern void aside_write(void);
extern void aside_written(void);

/* When the next one is to be loaded; DT_NOEND: none. */
extern TimestampTz aside_due_at(void);

/*
 * Load up to so many, or so many bytes, of those whose time has come, in that
 * order, and hand each to take(), which owns the event.  Needs a transaction.
 */
extern void aside_load(TimestampTz now, int max, Size max_bytes,
					   void (*take) (const Aside *aside, QueuedEvent *event));

/* Those of a user that wait for an account may go on.  Needs a transaction. */
extern void aside_wake_accounts(const pg_uuid_t *user, TimestampTz now);

/*
 * Load some that were loaded, and let go, once more, as far as they are still
 * there and will not come by themselves.  Needs a transaction.
 */
extern void aside_load_again(const pg_uuid_t *ids, int n,
							 void (*take) (const Aside *aside, QueuedEvent *event));

/*
 * Those of a paused hook, or else user, may go on; returns when the first one
 * does.  Needs a transaction.
 */
extern TimestampTz aside_resume(const pg_uuid_t *hook, const pg_uuid_t *user, TimestampTz now);

/*
 * Those of a hook that have kept their places are to be made from now on, in
 * that order; returns when the first one is.  Needs a transaction.
 */
extern TimestampTz aside_hurry(const pg_uuid_t *hook, TimestampTz now);

/* Those that wait for their hosts may try them.  Needs a transaction. */
extern void aside_release(TimestampTz now);

/*
 * What is kept of a delivery?  True, with it, when it is; and with its event,
 * to be freed, unless "event" is NULL.  Needs a transaction.
 */
extern bool aside_find(const pg_uuid_t *id, Aside *aside, QueuedEvent **event);

/* The clock was set back by so many microseconds.  Needs a transaction. */
extern void aside_set_back(int64 by, TimestampTz now);

/*
 * Delete some of those that were given up for longer than hooks.dead_retention.
 * Returns whether there may be more.  Needs a transaction.
 */
extern bool aside_retain(void);

#endif							/* HOOKS_ASIDE_H */
