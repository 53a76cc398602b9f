/*-------------------------------------------------------------------------
 *
 * commit.h
 *		What a transaction leaves behind for the worker when it commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_COMMIT_H
#define HOOKS_COMMIT_H

#include "queue.h"

/*
 * Queue an event when the transaction commits, if the current subtransaction
 * and its parents do.  The row, made by queue_row_make(), now belongs to the
 * transaction.
 */
extern void commit_queue(QueueRow *row);

/* Where rows for commit_queue() are to be allocated. */
extern MemoryContext commit_context(void);

/*
 * The transaction has changed hooks.  Its events say so to the worker, which
 * may read them before the news of the change has reached it.
 */
extern void commit_hooks_changed(void);

/*
 * When the transaction commits, a worker that stayed away (shared_hold) may
 * come back, and the worker looks whether there is something to do.
 */
extern void commit_release(void);

#endif							/* HOOKS_COMMIT_H */
