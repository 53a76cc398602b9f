/*-------------------------------------------------------------------------
 *
 * predicate.h
 *		What a condition asks of one value: the operators ($gte, $in, ...).
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_PREDICATE_H
#define HOOKS_PREDICATE_H

#include "number.h"
#include "text.h"

#define MAX_CONSTANTS 200		/* in a list */

/* Something to compare with. */
typedef struct Constant
{
	enum jbvType type;			/* string, numeric or bool */
	bool		flag;
	bool		has_number;		/* a number, or a string that is one */
	Number		number;
	Slice		string;
	void	   *compiled;		/* a Needle or a Pattern */
} Constant;

typedef struct Predicate Predicate;

typedef struct Operator
{
	const char *name;
	bool		(*compile) (Predicate *predicate, const JsonbValue *operand);
	bool		(*holds) (const Predicate *predicate, const JsonbValue *value);
	const char *takes;			/* in words */
	const char *example;		/* an operand, as JSON */
} Operator;

struct Predicate
{
	const Operator *operator;
	bool		ignore_case;
	bool		flag;			/* of $exists */
	int			nconstants;
	Constant   *constants;
};

/* The operator of that name, or NULL. */
extern const Operator *operator_find(const char *name, int len);

/* The operators' names, for messages: the i-th, or NULL after the last. */
extern const char *operator_name(int i);

/*
 * Compile an operand; false when it is not what the operator takes.  The
 * predicate's ignore_case must be set before.
 */
extern bool predicate_compile(Predicate *predicate, const Operator *operator,
							  const JsonbValue *operand);

/* Does a value satisfy it?  NULL stands for one that is missing or null. */
extern bool predicate_holds(const Predicate *predicate, const JsonbValue *value);

/*
 * Compile one value, or a list of them, of the types in a mask of
 * CONSTANT_...; lists of 1 to MAX_CONSTANTS.
 */
#define CONSTANT_STRING 1
#define CONSTANT_NUMBER 2
#define CONSTANT_BOOL 4

extern bool constants_compile(Predicate *predicate, const JsonbValue *operand, int types,
							  bool list_only);

/* Is the value equal to any of the predicate's constants? */
extern bool equals_any(const Predicate *predicate, const JsonbValue *value);

#endif							/* HOOKS_PREDICATE_H */
