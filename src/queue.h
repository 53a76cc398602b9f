/*-------------------------------------------------------------------------
 *
 * queue.h
 *		The queue's tables: their layout, and appending to them.
 *
 * Reading, acknowledging and emptying is the worker's business: backlog.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_QUEUE_H
#define HOOKS_QUEUE_H

#include "event.h"

/* hooks.queue_0 .. queue_2 take turns; hooks.ack_0 .. ack_2 go with them. */
#define QUEUE_TABLES 3

/* Columns of a queue table. */
enum
{
	Anum_queue_xid = 1,			/* of the top-level transaction */
	Anum_queue_n,				/* counts the rows of one transaction */
	Anum_queue_queued_at,
	Anum_queue_event_id,
	Anum_queue_user_id,
	Anum_queue_event_type,
	Anum_queue_event_time,
	Anum_queue_platform,
	Anum_queue_data,
	Anum_queue_refused,			/* why the event can only be logged as a failure */
	Anum_queue_new_hooks,		/* the transaction changed hooks as well */
	Anum_queue_request,			/* what somebody asks for; NULL: it is an event */
	Anum_queue_hook_id,			/* … and of which hook */
	Anum_queue_target,			/* … and to which of its destinations; NULL: the only one, or all */
	Natts_queue = Anum_queue_target
};

/* What is queued: an event that has happened, or what somebody asks for. */
typedef enum QueueRequest
{
	QUEUE_EVENT,
	QUEUE_REDELIVER,			/* send this event's delivery of the hook again */
	QUEUE_REPLAY,				/* … of all hooks whose conditions hold */
	QUEUE_CANCEL,				/* do not make this event's delivery of the hook */
	QUEUE_RESUME,				/* the hook, or the user, was paused */
	QUEUE_ACCOUNT,				/* an account of the user has changed */
	QUEUE_REPORT				/* what became of a message of the outbox; "data" says it */
} QueueRequest;

/* Columns of an ack table: parallel arrays, one element per acknowledgement. */
enum
{
	Anum_ack_xid = 1,
	Anum_ack_n,
	Anum_ack_hook,				/* NULL: the whole event is done */
	Anum_ack_admitted,			/* true: not done, but its cooldown is taken */
	Natts_ack = Anum_ack_admitted
};

/* An event about to be queued: one chunk of memory, values included. */
typedef struct QueueRow
{
	Size		size;
	int32		n;				/* counts the events of its transaction */
	pg_uuid_t	event_id;
	pg_uuid_t	user_id;
	TriggerType type;
	TimestampTz time;
	text	   *platform;		/* NULL when there is none */
	struct varlena *data;		/* a jsonb, possibly compressed; NULL when there is none */
	text	   *refused;		/* NULL when the event can be processed */
	QueueRequest request;
	pg_uuid_t	hook_id;		/* of a request; all zero when there is none */
	const char *target;			/* of a request, a constant of target.h; NULL: none */
} QueueRow;

/*
 * Make a row in that memory context.  "event" has its id, user, type and time.
 * A request is made of it by setting "request" and "hook_id".
 */
extern QueueRow *queue_row_make(MemoryContext context, const Event *event,
								const text *platform, const struct varlena *data,
								const char *refused);

/*
 * Append rows to the current queue table in the current transaction, which
 * has changed hooks if "new_hooks".  Waits for nobody.  False when the queue
 * is not there (the extension was just dropped).
 */
extern bool queue_append(QueueRow **rows, int nrows, bool new_hooks);

/* The request of that name in a queue table; QUEUE_EVENT for NULL and unknown ones. */
extern QueueRequest queue_request_parse(const char *name);

/* The OIDs of a queue table, or of its ack table. */
extern Oid	queue_table(int number);
extern Oid	queue_ack_table(int number);

#endif							/* HOOKS_QUEUE_H */
