/*-------------------------------------------------------------------------
 *
 * lifecycle.h
 *		The trigger on tables that hold streams (hooks.attach_lifecycle).
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_LIFECYCLE_H
#define HOOKS_LIFECYCLE_H

/* To be called for every relcache invalidation (trigger.c has the callback). */
extern void lifecycle_invalidate(Oid relation);

#endif							/* HOOKS_LIFECYCLE_H */
