/*-------------------------------------------------------------------------
 *
 * dispatch.h
 *		From events to deliveries: match → schedule.
 *
 * What was taken waits until the hooks of its users have been loaded, and is
 * then matched with them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_DISPATCH_H
#define HOOKS_DISPATCH_H

#include "aside.h"
#include "backlog.h"

extern void dispatch_init(void);

/* Take an event, or a request, that was read from the queue. */
extern void dispatch_take(QueuedEvent *event);

/* Take a delivery that was aside. */
extern void dispatch_take_back(const Aside *aside, QueuedEvent *event);

/* Is there something that was taken and not matched? */
extern bool dispatch_has_unmatched(void);

/*
 * Is a transaction needed before it can be matched?  To be asked after changes
 * of hooks have been learnt of.  Then prepare in one.
 */
extern bool dispatch_needs_preparing(void);
extern void dispatch_prepare(void);

/* Make deliveries of what was taken. */
extern void dispatch_match(void);

/* Take some of what was parked, and may come back.  Needs a transaction. */
extern void dispatch_take_parked(void);

#endif							/* HOOKS_DISPATCH_H */
