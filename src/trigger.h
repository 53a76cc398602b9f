/*-------------------------------------------------------------------------
 *
 * trigger.h
 *		The trigger on event tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_TRIGGER_H
#define HOOKS_TRIGGER_H

/* Watch which commands fire triggers; from _PG_init, preloaded or not. */
extern void trigger_install(void);

#endif							/* HOOKS_TRIGGER_H */
