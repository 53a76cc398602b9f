/*-------------------------------------------------------------------------
 *
 * backlog.h
 *		What is queued and not yet done: the worker's side of the queue.
 *
 * Every function but the predicates needs a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_BACKLOG_H
#define HOOKS_BACKLOG_H

#include "storage/itemptr.h"

#include "event.h"
#include "queue.h"

typedef struct AckedHooks AckedHooks;

/* Which row of the queue: transaction, and number in it; in which table, and where. */
typedef struct QueuePlace
{
	uint64		xid;
	int32		n;
	int16		table;			/* -1: it is not in the queue */
	ItemPointerData tid;
	AckedHooks *acked;			/* what was done of it before a restart, or NULL */
	TimestampTz queued_at;		/* of an event that is parked */
} QueuePlace;

/*
 * An event to be delivered: read from the queue, or with a delivery that was
 * aside.  One chunk of memory, values included.
 */
typedef struct QueuedEvent
{
	Event		event;
	Size		data_size;		/* of event.data, in bytes */
	QueuePlace	place;
	TimestampTz queued_at;
	QueueRequest request;
	pg_uuid_t	hook_id;		/* of a request */
	const char *target;			/* … a constant of target.h; NULL: none */
	const char *refused;		/* why it can only fail, or NULL */
	bool		new_hooks;		/* its transaction changed hooks as well */
	Size		size;
	int			open;			/* parts that are not done yet */
} QueuedEvent;

/* A copy of the event and what it points to, with everything else zero, in no queue. */
extern QueuedEvent *backlog_event_make(const Event *event, Size data_size, const char *refused);

/* Read the acknowledgements of a previous worker; once, before reading. */
extern void backlog_open(void);

/*
 * Read up to max_events or max_bytes of new events, oldest first, and hand
 * each to take(), which owns it from then on.  When it returns, the commits
 * of all of them are safe on disk.  Returns the number of events.
 */
extern int	backlog_read(int max_events, Size max_bytes, void (*take) (QueuedEvent *event));

/* Has the last read left something behind that is known to be there? */
extern bool backlog_has_more(void);

/* Was this hook's delivery done, or its cooldown taken, before a restart? */
extern bool backlog_was_done(const QueuedEvent *event, const pg_uuid_t *hook);
extern bool backlog_was_admitted(const QueuedEvent *event, const pg_uuid_t *hook);

/* The event is being looked at, which is one open part of it. */
extern void backlog_begin(QueuedEvent *event);

/*
 * One of the event's open parts is done with.  When it was the last, the event
 * is acknowledged with the next write, and freed.
 */
extern void backlog_close(QueuedEvent *event);

/* Memory of events that have open parts: all, and a user's. */
extern Size backlog_bytes(void);
extern Size backlog_user_bytes(const pg_uuid_t *user);

/*
 * Let go of an event that was begun, which stays in the queue, and read it again later, by
 * what is returned.  Reading needs a transaction.
 */
extern QueuePlace backlog_park(QueuedEvent *event);
extern QueuedEvent *backlog_unpark(const QueuePlace *place);

/* Of the event, which stays open, this hook's delivery is done, or admitted. */
extern void backlog_done_hook(const QueuedEvent *event, const pg_uuid_t *hook);
extern void backlog_admitted_hook(const QueuedEvent *event, const pg_uuid_t *hook);

/* Write what has been acknowledged; then, after the commit, forget it. */
extern bool backlog_has_acks(void);
extern void backlog_write_acks(void);
extern void backlog_acks_committed(void);

/* Events that were read and are not acknowledged in a committed transaction. */
extern int64 backlog_outstanding(void);

/*
 * Move on to the next queue table when the current one is large or old (or
 * "now"), and empty those that nothing is outstanding of, if nobody has them
 * locked.  Rows found on the way go to take().  Returns how many were emptied.
 */
extern int	backlog_rotate(bool now, void (*take) (QueuedEvent *event));

/*
 * Is there a prepared transaction in this database?  Its end announces
 * nothing, so somebody has to look.
 */
extern bool backlog_may_be_prepared(void);

#endif							/* HOOKS_BACKLOG_H */
