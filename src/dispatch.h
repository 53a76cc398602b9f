/*-------------------------------------------------------------------------
 *
 * dispatch.h
 *		One event's way through the worker: match → schedule → action →
 *		transport → log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_DISPATCH_H
#define HOOKS_DISPATCH_H

#include "backlog.h"
#include "hook.h"

extern void dispatch_init(void);

/* Settings have changed. */
extern void dispatch_reload(void);

/* Take an event that was read from the queue. */
extern void dispatch_take(QueuedEvent *event);

/*
 * Must hooks be loaded before the events taken can be matched?  To be asked
 * after changes of hooks have been learnt of.  Loading needs a transaction.
 */
extern bool dispatch_needs_hooks(void);
extern void dispatch_load_hooks(void);

/* Are there events that were taken and not matched? */
extern bool dispatch_has_unmatched(void);

/* Match the events taken with their users' hooks, which have been loaded. */
extern void dispatch_match(void);

/*
 * Start the deliveries whose turn it is.  Hooks that changed since are loaded
 * again, so call it outside transactions.
 */
extern void dispatch_start(void);

/* Take the answers that have come in. */
extern void dispatch_answers(void);

/* The hook's last_triggered_at is about to be written. */
extern void dispatch_about_to_write(Hook *hook);

/* Deliveries that wait to start, and attempts under way. */
extern int	dispatch_waiting(void);
extern int	dispatch_in_flight(void);

/* Memory of events that are not done. */
extern Size dispatch_bytes(void);

#endif							/* HOOKS_DISPATCH_H */
