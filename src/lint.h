/*-------------------------------------------------------------------------
 *
 * lint.h
 *		What is legal in a hook, but probably not what was meant.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_LINT_H
#define HOOKS_LINT_H

#include "event.h"

/* Called for each warning: in which column of the hook, what, and what to do. */
typedef void (*LintReport) (void *arg, const char *column, const char *warning, const char *hint);

/* Look at a hook that compiles.  Either jsonb may be NULL. */
extern void lint_hook(TriggerType type, const Jsonb *conditions, const Jsonb *config,
					  LintReport report, void *arg);

#endif							/* HOOKS_LINT_H */
