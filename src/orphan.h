/*-------------------------------------------------------------------------
 *
 * orphan.h
 *		What is kept of hooks that are gone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ORPHAN_H
#define HOOKS_ORPHAN_H

/*
 * Find hooks that were deleted, and forget their health and pauses; what was
 * paused of them comes back, to be given up.  Needs a transaction.
 */
extern void orphans_forget(void);

#endif							/* HOOKS_ORPHAN_H */
