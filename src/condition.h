/*-------------------------------------------------------------------------
 *
 * condition.h
 *		The condition language: does an event satisfy a hook's conditions?
 *
 * Conditions are compiled once per hook and evaluated once per event.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CONDITION_H
#define HOOKS_CONDITION_H

#include "event.h"
#include "field.h"
#include "mistake.h"

typedef struct Condition Condition;

/*
 * Compile the conditions of a hook with that trigger type, in the current
 * memory context.  SQL NULL (a NULL pointer) and {} pass every event, but for
 * the streamer's own messages if "ignore_self", which the conditions can
 * overrule.  Returns NULL with *error filled in when they are malformed; never
 * raises an error for what they contain.
 */
extern Condition *condition_compile(const Jsonb *conditions, TriggerType type,
									bool ignore_self, Mistake *error);

/*
 * Does the event pass?  The event's type must be the one compiled for.  May
 * allocate in the current memory context, which the caller resets.
 */
extern bool condition_matches(const Condition *condition, const Occasion *occasion);

/*
 * The first key that the event does not satisfy, or NULL when it passes.
 * "value" is what the event has there; jbvNull when that is nothing, or
 * nothing single.
 */
extern const char *condition_unmet(const Condition *condition, const Occasion *occasion,
								   JsonbValue *value);

/*
 * The i-th field that the conditions look at, and the top-level key under
 * which they do; false after the last.
 */
extern bool condition_field(const Condition *condition, int i, const Field **field,
							const char **key);

/* Do the streamer's own messages not count, unasked or because the conditions say so? */
extern bool condition_ignores_self(const Condition *condition);

#endif							/* HOOKS_CONDITION_H */
