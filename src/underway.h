/*-------------------------------------------------------------------------
 *
 * underway.h
 *		How many requests each user has under way, for others to see.
 *
 * A fixed number of entries in shared memory, one per user with requests under
 * way; users that find none free are not shown.  An entry belongs to the worker
 * of the database that it names, which alone changes it, until it gives it
 * back.  No lock is needed: a reader may see a number that was true a moment
 * ago.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_UNDERWAY_H
#define HOOKS_UNDERWAY_H

#include "utils/uuid.h"

/* For shared.c: the size of the memory, and its making. */
extern Size underway_size(void);
extern void underway_startup(void);

/* The worker has begun a request of the user, or one has ended. */
extern void underway_begin(const pg_uuid_t *user);
extern void underway_end(const pg_uuid_t *user);

/* The worker leaves. */
extern void underway_leave(void);

/* Call a function for each user of this database with requests under way. */
extern void underway_each(void (*each) (void *arg, const pg_uuid_t *user, int n), void *arg);

#endif							/* HOOKS_UNDERWAY_H */
