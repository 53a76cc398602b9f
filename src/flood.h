/*-------------------------------------------------------------------------
 *
 * flood.h
 *		How many events of one user are too many.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_FLOOD_H
#define HOOKS_FLOOD_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

/* For shared.c: what the buckets take, and making them or finding them. */
extern Size flood_size(void);
extern void flood_startup(void);

/*
 * May one more event of this user be processed?  If not, it is to be counted,
 * and if "refused" is set to a text (it is set to NULL otherwise), to be
 * queued without its data and with that text, which says how many were not
 * processed.  Never throws, never waits.
 */
extern bool flood_admit(const pg_uuid_t *user, TimestampTz now, char **refused);

/*
 * For the launcher: say what nobody has said for a while, or, if "all", what
 * nobody has said yet.  Returns in how many milliseconds to ask again; -1:
 * when woken.
 */
extern long flood_say_rest(bool all);

#endif							/* HOOKS_FLOOD_H */
