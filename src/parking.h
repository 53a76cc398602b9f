/*-------------------------------------------------------------------------
 *
 * parking.h
 *		What waits outside of memory, because its user has enough in it.
 *
 * A user may have only so many deliveries waiting in memory, and only so many
 * bytes of events: a quarter of what is left of the memory for events, so that
 * however many users take what they can get, something is left for the next
 * one.  What is more than that is parked: it stays where it is, in the queue
 * or in hooks.delivery, and only its place is remembered until there is room.
 * So nobody's events are further behind than their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_PARKING_H
#define HOOKS_PARKING_H

#include "aside.h"
#include "backlog.h"

extern void parking_init(void);

/* Is there memory for anything more? */
extern bool parking_has_room(void);

/* Must an event, or else a delivery that comes back, of the user be parked? */
extern bool parking_of_event(const pg_uuid_t *user);
extern bool parking_of_delivery(const pg_uuid_t *user, const pg_uuid_t *hook);

/* Park an event that was begun, or a delivery; the event is freed. */
extern void parking_put_event(QueuedEvent *event);
extern void parking_put_delivery(const Aside *aside, QueuedEvent *event);

/* Is there something that may come back?  If that was not looked for, when to ask again. */
extern bool parking_wants_back(TimestampTz now);
extern TimestampTz parking_look_at(void);

/* Hand some of it over, about a page.  Needs a transaction. */
extern void parking_take_back(void (*take_event) (QueuedEvent *event),
							  void (*take_delivery) (const Aside *aside, QueuedEvent *event));

/* How many deliveries are parked. */
extern int64 parking_deliveries(void);

#endif							/* HOOKS_PARKING_H */
