/*-------------------------------------------------------------------------
 *
 * posted.h
 *		Messages that are posted once a stream, and changed since: rows of
 *		hooks.message.
 *
 * Hooks of a user whose actions have the same name for it (Action.edits) share
 * a message.  The start of a stream posts a new one; so does the first event of
 * a stream that no message is known of, where events say in "livestream_id"
 * which stream they belong to.  Other events change the last one.
 *
 * The worker is the only one to write here.  It has all of the table in memory;
 * changes are written with the results they belong to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_POSTED_H
#define HOOKS_POSTED_H

#include "event.h"

typedef struct Posted
{
	pg_uuid_t	user_id;
	char	   *name;
	char	   *stream;			/* empty: not said */
	char	   *message;		/* its id; empty: it is gone */
	pg_uuid_t	event_id;		/* that posted it */
	TimestampTz event_time;		/* of the latest event that it shows */
	TimestampTz posted_at;
	TimestampTz changed_at;
} Posted;

/* Once, at the start, in a transaction. */
extern void posted_open(void);

/* The message that an event is to change; NULL: it posts a new one. */
extern const Posted *posted_find(const Event *event, const char *name);

/* The same for the user of a hook that the caller may see, from the table; only its id. */
extern char *posted_look(const Event *event, const char *name, const pg_uuid_t *hook);

/* The event has posted a message, or changed it. */
extern void posted_new(const Event *event, const char *name, const char *message, TimestampTz now);
extern void posted_changed(const Event *event, const char *name, const char *message,
						   TimestampTz now);

/* It is not there any more. */
extern void posted_gone(const Event *event, const char *name, const char *message, TimestampTz now);

/* Write the changes; then, after the commit, forget them.  Needs a transaction. */
extern bool posted_has_changes(void);
extern void posted_write(void);
extern void posted_written(void);

/* Forget those that nothing was done about for long.  Needs a transaction. */
extern void posted_retain(TimestampTz now);

#endif							/* HOOKS_POSTED_H */
