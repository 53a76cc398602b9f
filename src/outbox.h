/*-------------------------------------------------------------------------
 *
 * outbox.h
 *		Chat messages that the application takes and sends itself: rows of
 *		hooks.chat_outbox.
 *
 * A row is there as long as its delivery is aside for it (ASIDE_OUTBOX).  The
 * worker writes it with that, in one transaction; sessions lease it with
 * hooks.chat_take() and delete it with hooks.chat_done(), which has the worker
 * do the rest.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_OUTBOX_H
#define HOOKS_OUTBOX_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Once, at the start, in a transaction: somebody may not have been told of what is there. */
extern void outbox_open(void);

/* Have a message put in, or taken out; "request" is JSON (action_chat.c). */
extern void outbox_put(const pg_uuid_t *id, const pg_uuid_t *hook, const pg_uuid_t *user,
					   const char *request, TimestampTz expires_at);
extern void outbox_remove(const pg_uuid_t *id);

/* Write the changes; then, after the commit, forget them.  Needs a transaction. */
extern bool outbox_has_changes(void);
extern void outbox_write(void);
extern void outbox_written(void);

/* Is there something that those who listen have not been told of? */
extern bool outbox_has_news(void);

/* Tell them.  Needs a transaction. */
extern void outbox_tell(void);

/* Put a message in that is a test, from a session.  Needs a transaction, and the owner's rights. */
extern void outbox_put_test(const pg_uuid_t *id, const pg_uuid_t *hook, const pg_uuid_t *user,
							const char *request);

/*
 * Has anybody taken the message?  Yes, if the table is locked, or gone.  Call
 * outside transactions.
 */
extern bool outbox_was_taken(const pg_uuid_t *id);

/* Delete what nobody may take any more.  Needs a transaction. */
extern void outbox_retain(void);

#endif							/* HOOKS_OUTBOX_H */
