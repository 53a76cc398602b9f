/*-------------------------------------------------------------------------
 *
 * delivery.h
 *		The life of a delivery: what one hook does about one event.
 *
 * A delivery is made when a hook fires, waits for its turn in the schedule,
 * is attempted (attempt.h), and ends in success, or is tried again, or is given
 * up, unless somebody intervenes (intervene.h).
 * While it waits for a time it is aside (aside.h) and not here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_DELIVERY_H
#define HOOKS_DELIVERY_H

#include "aside.h"
#include "backlog.h"
#include "hook.h"

/* Once, at the start, in a transaction. */
extern void delivery_init(void);

/* Settings have changed. */
extern void delivery_reload(void);

/* Log that a hook does nothing about an event, or cannot. */
extern void delivery_skip(const Hook *hook, const QueuedEvent *event, bool cooldown, TimestampTz now);
extern void delivery_refuse(const Hook *hook, const QueuedEvent *event, const char *error,
							TimestampTz now);

/*
 * The hook fires for the event.  "before" is when it had been admitted before,
 * "marked" says that this admission is on record.  A hook with several
 * destinations makes a delivery for each, with its name as the target.
 */
extern void delivery_add(Hook *hook, QueuedEvent *event, const char *target, TimestampTz before,
						 bool marked);

/* Of an event that was read again after a restart: was this part of it done before? */
extern bool delivery_was_done(const Hook *hook, const QueuedEvent *event, const char *target);

/* A delivery that was aside is there again; owns the event.  "hook" is NULL when it is gone. */
extern void delivery_return(Hook *hook, const Aside *aside, QueuedEvent *event);

/* When there is something to start though nothing ends; DT_NOEND: never. */
extern TimestampTz delivery_wake_at(void);

/* The clock was set back by so many microseconds. */
extern void delivery_set_back(int64 by);

/* The hook's last_triggered_at is about to be written. */
extern void delivery_about_to_write(Hook *hook);

/* Forget what is not needed any more, now and then. */
extern void delivery_forget(TimestampTz now);

/* Deliveries that wait for their turn, all or a user's, and attempts under way. */
extern int	delivery_waiting(void);
extern int	delivery_user_waiting(const pg_uuid_t *user);
extern int	delivery_in_flight(void);

/* Do some of the user's, or of that hook, wait in memory for others to come back? */
extern bool delivery_user_awaits(const pg_uuid_t *user);
extern bool delivery_is_awaited(const pg_uuid_t *user, const pg_uuid_t *hook);

/* Show what waits and is under way in hooks.stat. */
extern void delivery_show(void);

#endif							/* HOOKS_DELIVERY_H */
