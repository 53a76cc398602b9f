/*-------------------------------------------------------------------------
 *
 * launcher.h
 *		The process that starts workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_LAUNCHER_H
#define HOOKS_LAUNCHER_H

/* Register the launcher; from _PG_init while libraries are preloaded. */
extern void launcher_register(void);

#endif							/* HOOKS_LAUNCHER_H */
