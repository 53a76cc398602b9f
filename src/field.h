/*-------------------------------------------------------------------------
 *
 * field.h
 *		The values of an event by name, as conditions and templates know them.
 *
 * A name is a variable ("username", "amount", "arg1" ...), something of the
 * event or hook itself ("event.type", "hook.name", "user_id"), or a path
 * into the event's data ("data.metadata.goal.0").  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_FIELD_H
#define HOOKS_FIELD_H

#include "event.h"
#include "text.h"

typedef struct Field Field;

/*
 * The field of that name, in the current memory context; NULL when there is
 * none.  A name without a dot that is no variable counts as one of the data
 * if "any" is true.
 */
extern const Field *field_compile(Slice name, bool any);

/*
 * Its value; false when it is missing or null.  May allocate in the current
 * memory context, for times, ids and array elements.
 */
extern bool field_value(const Field *field, const Occasion *occasion, JsonbValue *value);

/*
 * The value as text: a string verbatim, anything else as JSON writes it,
 * empty when there is none.  May allocate.
 */
extern Slice json_text(const JsonbValue *value);
extern Slice field_text(const Field *field, const Occasion *occasion);

extern const char *field_name(const Field *field);

/* Can an event of that type have the field, as far as is known? */
extern bool field_applies(const Field *field, TriggerType type);

/* The names of variables, for messages: the i-th, or NULL after the last. */
extern const char *field_variable_name(int i);

#endif							/* HOOKS_FIELD_H */
