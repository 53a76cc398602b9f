/*-------------------------------------------------------------------------
 *
 * delivery_parts.h
 *		A delivery, and what delivery.c does for attempt.c and intervene.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_DELIVERY_PARTS_H
#define HOOKS_DELIVERY_PARTS_H

#include "utils/resowner.h"

#include "action.h"
#include "delivery.h"
#include "log.h"
#include "schedule.h"
#include "shared.h"

typedef struct Delivery
{
	Scheduled	scheduled;		/* must be first */
	dlist_node	hook_link;
	Hook	   *hook;
	QueuedEvent *event;
	Aside		kept;			/* what would be kept of it */
	bool		in_table;		/* … and is */
	bool		admission_marked;
	bool		cancelled;
	bool		wanted;			/* somebody asks for it: once more, should it fail */
	bool		blameless;		/* what keeps it from being sent is not the hook's fault */
	bool		handed_over;	/* to the application, by the outbox */
	const ActionType *type;		/* from the start on */
	bool		to_account;		/* as action.h has it */
	const ChatAccount *account; /* while the message is made … */
	const Secrets *secrets;		/* … as these */
	uint64		token_mark;		/* of the account, from the start on */
	TimestampTz started_at;
	char	   *series;			/* whose message it posts or changes, or NULL … */
	char	   *edits;			/* … and the one that it changes; NULL: it posts one */
} Delivery;

extern Schedule *deliveries_schedule;
extern DatabaseSlot *deliveries_slot;

/* Of what cryptographic functions take, outside of transactions. */
extern ResourceOwner deliveries_owner;

/* The error, with the hook's destination that it is about before it. */
extern const char *delivery_named_error(const char *target, const char *error);

/* Count a result, and log it if it is to be; the same of a hook and an event. */
extern void delivery_result(const LogRow *row);
extern void delivery_log(const Hook *hook, const QueuedEvent *event, const char *target,
						 LogStatus status, const char *error, TimestampTz at, int attempt);

/* Remember the last attempt's error. */
extern void delivery_keep_error(Delivery *delivery, const char *error, int status, TimestampTz at);

/* Which message it posts or changes is not known any more. */
extern void delivery_forget_message(Delivery *delivery);

/*
 * How a delivery in memory ends, once it is out of the schedule: it waits in
 * hooks.delivery until then; it has failed for good, and can be asked for; or
 * it is done.  fail_unsent takes it out of the schedule, too.
 */
extern void delivery_put_aside(Delivery *delivery, AsideWhy why, TimestampTz until);
extern void delivery_give_up(Delivery *delivery);
extern void delivery_fail_unsent(Delivery *delivery, const char *error);
extern void delivery_release(Delivery *delivery);

/* When nothing of it has arrived, anywhere, its hook may fire again. */
extern void delivery_give_back(Hook *hook, const QueuedEvent *event, const Aside *kept);

/* The application is not to send it any more, if it was. */
extern void delivery_leave_outbox(const Aside *kept);

/* The id of a hook's delivery of an event; that in memory, or NULL. */
extern pg_uuid_t delivery_id(const pg_uuid_t *hook, const QueuedEvent *event, const char *target);
extern Delivery *delivery_find(Hook *hook, const pg_uuid_t *event_id, const char *target);

/* The schedule is told of what the hook had aside before it was loaded. */
extern void delivery_recall_places(Hook *hook);

/* What is aside will not come back; "hook" is NULL when that is gone, or not loaded. */
extern void delivery_lose_aside(Hook *hook, const Aside *kept, const QueuedEvent *event);

#endif							/* HOOKS_DELIVERY_PARTS_H */
