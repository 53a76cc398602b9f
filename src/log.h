/*-------------------------------------------------------------------------
 *
 * log.h
 *		Results → rows of stream_hook_logs, in batches.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_LOG_H
#define HOOKS_LOG_H

#include "event.h"

typedef enum LogStatus
{
	LOG_SUCCESS,
	LOG_FAILURE,
	LOG_SKIPPED_COOLDOWN,
	LOG_SKIPPED_CONDITION,
	LOG_STATUSES
} LogStatus;

typedef struct LogRow
{
	pg_uuid_t	hook_id;
	pg_uuid_t	user_id;
	pg_uuid_t	event_id;
	TriggerType trigger_type;
	const char *action_type;
	LogStatus	status;
	const char *error;			/* NULL for success and skips */
	TimestampTz executed_at;
	int			duration_ms;
	int			attempt;
	int			response_status;	/* 0: none */
	const char *platform;		/* of a chat message: where it went, "twitch" or "kick, twitch"; or NULL */
} LogRow;

/* Add a row to the batch; copies what it points to. */
extern void log_add(const LogRow *row);

/*
 * What rows say of an error, and all that keeps it must: valid text without
 * control characters, of at most 500 bytes.  A host name in it may be the word
 * of a stranger, and be cut in the middle of a character.  Palloc'd.
 */
extern char *log_text(const char *error);

/* How many rows wait to be written. */
extern int	log_waiting(void);

/*
 * Write the batch as the table's owner, in one statement, or, after that has
 * failed, "carefully": row by row, each in a subtransaction, so that a row
 * that cannot be written costs no other one.  Needs a transaction; after its
 * commit log_written() forgets the batch.  A careful write puts rows that run
 * into somebody's lock on their hook, user or log aside.
 */
extern void log_write(bool carefully);
extern void log_written(void);

/* Rows that were put aside: how many, and trying again.  Needs a transaction. */
extern int	log_locked_out(void);
extern void log_retry(void);

/* How many rows could not be written since this was asked last. */
extern int	log_take_lost(void);

/*
 * Delete up to a few thousand rows older than hooks.log_retention.  Returns
 * whether there may be more.  Needs a transaction.
 */
extern bool log_retain(void);

#endif							/* HOOKS_LOG_H */
