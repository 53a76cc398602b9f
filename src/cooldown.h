/*-------------------------------------------------------------------------
 *
 * cooldown.h
 *		When a hook may fire again.
 *
 * Pure arithmetic on timestamps; whoever calls says what time it is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_COOLDOWN_H
#define HOOKS_COOLDOWN_H

#include "datatype/timestamp.h"

#define COOLDOWN_MAX_SECONDS 86400

/*
 * Is a hook that was last admitted at "last" still cooling down at "now"?
 *
 * True while the whole seconds since "last" are fewer than "seconds": a hook
 * may fire again exactly "seconds" later.  A "last" in the future cools down
 * too.  DT_NOBEGIN as "last" means never admitted.
 */
static inline bool
cooldown_active(TimestampTz last, TimestampTz now, int seconds)
{
	if (seconds <= 0 || TIMESTAMP_IS_NOBEGIN(last))
		return false;
	if (TIMESTAMP_IS_NOEND(last))
		return true;
	return (now - last) / USECS_PER_SEC < seconds;
}

#endif							/* HOOKS_COOLDOWN_H */
