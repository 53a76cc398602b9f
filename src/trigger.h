/*-------------------------------------------------------------------------
 *
 * trigger.h
 *		The trigger on event tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_TRIGGER_H
#define HOOKS_TRIGGER_H

#include "event.h"

/*
 * Announce an event that is no row of an event table, in the current
 * transaction; data may be NULL.  Returns the id that it gave to the event.
 */
extern pg_uuid_t trigger_announce(const pg_uuid_t *user, TriggerType type, struct varlena *data);

/* Have what is kept of tables forgotten when they change, from now on. */
extern void trigger_watch_relations(void);

/* Watch which commands fire triggers; from _PG_init, preloaded or not. */
extern void trigger_install(void);

#endif							/* HOOKS_TRIGGER_H */
