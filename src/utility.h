/*-------------------------------------------------------------------------
 *
 * utility.h
 *		Commands of other people that concern us.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_UTILITY_H
#define HOOKS_UTILITY_H

/* Watch for them; from _PG_init while libraries are preloaded. */
extern void utility_install(void);

#endif							/* HOOKS_UTILITY_H */
