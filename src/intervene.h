/*-------------------------------------------------------------------------
 *
 * intervene.h
 *		What people ask for comes over deliveries that wait or have ended:
 *		requests are rows of the queue (request.c), fulfilled here.
 *
 * All of it needs a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_INTERVENE_H
#define HOOKS_INTERVENE_H

#include "backlog.h"
#include "hook.h"

/* The hook is to deliver the event once more. */
extern void intervene_replay(Hook *hook, const QueuedEvent *event, const char *target);

/* A hook, or user, is not paused any more. */
extern void intervene_resume(const QueuedEvent *request);

/* Nobody wants the delivery that a request names. */
extern void intervene_cancel(const QueuedEvent *request);

/* The application says what became of a message of hooks.chat_outbox. */
extern void intervene_report(const QueuedEvent *request);

/* An account of the user has changed: what waits for it may go on. */
extern void intervene_account_changed(const pg_uuid_t *user);

/* The clock was set back by so many microseconds. */
extern void intervene_set_back(int64 by);

#endif							/* HOOKS_INTERVENE_H */
