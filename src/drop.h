/*-------------------------------------------------------------------------
 *
 * drop.h
 *		DROP EXTENSION hooks while the application goes on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_DROP_H
#define HOOKS_DROP_H

/* Watch for DROP EXTENSION; from _PG_init while libraries are preloaded. */
extern void drop_install(void);

#endif							/* HOOKS_DROP_H */
