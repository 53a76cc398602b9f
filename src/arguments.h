/*-------------------------------------------------------------------------
 *
 * arguments.h
 *		Arguments of SQL functions → hooks' and events' parts.
 *
 * What is malformed here is the caller's mistake and raises an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ARGUMENTS_H
#define HOOKS_ARGUMENTS_H

#include "event.h"
#include "mistake.h"

/* A trigger type by name; an error for NULL and unknown ones. */
extern TriggerType argument_trigger_type(const text *name);

/*
 * An event from JSON: either a row of the event table, which is an object
 * that has the event's data as an object under "data", or just the data.  Its
 * id, user_id, type, platform and inserted_at are taken from the top level in
 * both, where they are there and well-formed; a type that is unknown is an
 * error if "check_type".  The event points into the jsonb.
 */
extern void argument_event(Jsonb *row, bool check_type, Event *event);

/* Raise a mistake as an error. */
extern void argument_mistake(const Mistake *error);

#endif							/* HOOKS_ARGUMENTS_H */
