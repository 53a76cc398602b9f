/*-------------------------------------------------------------------------
 *
 * condition_key.h
 *		The named keys of conditions, such as "min_amount", for condition.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CONDITION_KEY_H
#define HOOKS_CONDITION_KEY_H

#include "pgtime.h"

#include "event.h"
#include "field.h"
#include "predicate.h"

typedef struct ConditionKey ConditionKey;

/* A window of local time, in seconds of the day. */
typedef struct TimeWindow
{
	pg_tz	   *zone;
	int			from;
	int			to;				/* may be before "from": after midnight */
	unsigned	days;			/* on which it begins, one bit each, Sunday 0 */
} TimeWindow;

/* One compiled key. */
typedef struct KeyTest
{
	const ConditionKey *key;
	const Field *field;			/* that it looks at, or NULL */
	Predicate	predicate;
	bool		flag;
	double		chance;			/* from 0 to 1 */
	TimeWindow	window;
} KeyTest;

struct ConditionKey
{
	const char *name;
	unsigned	types;			/* trigger types that have it, one bit each */
	const char *field;			/* … or NULL */
	const char *operator;		/* … or NULL */
	bool		(*compile) (KeyTest *test, const JsonbValue *value);
	bool		(*holds) (const KeyTest *test, const Occasion *occasion);
	const char *takes;			/* in words */
	const char *example;		/* as JSON */
};

/* The keys in order, the i-th, or NULL after the last.  A name may have several rows. */
extern const ConditionKey *condition_key(int i);

/* The key of that name for that type, or NULL. */
extern const ConditionKey *condition_key_find(const char *name, int len, TriggerType type);

static inline bool
condition_key_has_type(const ConditionKey *key, TriggerType type)
{
	return (key->types & (1u << type)) != 0;
}

/* Compile a value; false when it is not what the key takes. */
extern bool key_test_compile(KeyTest *test, const ConditionKey *key, const JsonbValue *value);

extern bool key_test_holds(const KeyTest *test, const Occasion *occasion);

#endif							/* HOOKS_CONDITION_KEY_H */
