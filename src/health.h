/*-------------------------------------------------------------------------
 *
 * health.h
 *		How hooks fare: rows of hooks.health, and hooks that are disabled for
 *		their destination's sake.
 *
 * A hook has a row while its attempts fail, or when it was disabled because
 * of that.  The worker is the only one to write here.  (Rows of hooks that are
 * deleted later: orphan.h.)
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_HEALTH_H
#define HOOKS_HEALTH_H

#include "lib/ilist.h"

#include "utils/timestamp.h"
#include "utils/uuid.h"

struct Hook;

/* Part of a Hook; all zero is a hook that fares well. */
typedef struct HookHealth
{
	int			failures;		/* attempts that failed since the last success */
	TimestampTz failing_since;
	TimestampTz last_at;		/* the last failure's time … */
	int			status;			/* … HTTP status, 0: none */
	char	   *error;			/* … error */
	char	   *disabled;		/* why it was, or is to be, disabled; NULL: it is not */
	bool		disabling;		/* it is to be … */
	bool		put_off;		/* … and was not, this time */
	bool		written;		/* there is a row */
	bool		dirty;			/* the row is to be written, or taken out */
	TimestampTz written_at;
	dlist_node	link;
} HookHealth;

/* An attempt of the hook has ended; "error" is NULL for success. */
extern void health_result(struct Hook *hook, const char *error, int status, bool given_up,
						  TimestampTz now);

/* The hook is not to be performed any more; the reason is for people. */
extern void health_disable(struct Hook *hook, const char *reason, TimestampTz now);

/* Wait for locks that health_load() would wait for.  Needs a transaction. */
extern void health_lock(void);

/*
 * Read the rows of these users' hooks, and which of them are paused.
 * find() gives the hook, or NULL.  Needs a transaction.
 */
extern void health_load(Datum users, struct Hook *(*find) (const pg_uuid_t *user, const pg_uuid_t *hook));

/* The hook is about to be freed. */
extern void health_forget(struct Hook *hook);

/*
 * Is there something to be written, now, or ("all") ever?  Write it, disable
 * hooks in their table, and tell those who listen; then, after the commit,
 * forget it.
 */
extern bool health_to_write(TimestampTz now, bool all);

/*
 * Before that: read the hooks concerned again, if they may have changed, so
 * that one that is gone gets no row.  "Arg" is a HealthDue.
 */
typedef struct HealthDue
{
	TimestampTz now;
	bool		all;
} HealthDue;

extern void health_renew(void *arg);
extern void health_write(TimestampTz now, bool all);
extern void health_written(TimestampTz now, bool all);

#endif							/* HOOKS_HEALTH_H */
