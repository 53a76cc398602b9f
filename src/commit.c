/*-------------------------------------------------------------------------
 *
 * commit.c
 *		What a transaction leaves behind for the worker when it commits.
 *
 * Events wait in memory until the transaction commits (or prepares): then
 * they are appended to the queue in one go, which costs a fraction of
 * appending them one by one and leaves nothing behind of what was rolled
 * back.  A transaction with very many events appends on the way.
 *
 * Rows of a subtransaction are always the last ones of the array while it
 * runs, so rolling it back cuts the array short, and its commit hands its
 * rows to the parent.
 *
 * The callbacks are registered once per session, on first use.  After the
 * commit only flags and a latch are touched: nothing there may fail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "commit.h"
#include "shared.h"

/* Append to the queue on the way once so much has been gathered. */
#define MAX_ROWS 1000
#define MAX_BYTES (1024 * 1024)

typedef struct Waiting
{
	SubTransactionId subtransaction;
	QueueRow   *row;
} Waiting;

static Waiting *waiting = NULL; /* in the context below */
static int	nwaiting = 0;
static int	allocated = 0;
static Size bytes = 0;
static MemoryContext context = NULL;
static int32 next_ordinal = 0;	/* of the transaction's events, in their order */
static bool wake = false;		/* something was appended */
static bool released = false;	/* the worker may work here, and is to look */
static bool hooks_changed = false;

static void
drop_last(void)
{
	QueueRow   *row = waiting[--nwaiting].row;

	bytes -= row->size;
	pfree(row);
}

/* Append the rows from "first" on to the queue. */
static void
append_from(int first)
{
	QueueRow  **rows;
	int			n = nwaiting - first;

	if (n == 0)
		return;

	rows = MemoryContextAlloc(context, sizeof(QueueRow *) * n);
	for (int i = 0; i < n; i++)
		rows[i] = waiting[first + i].row;
	if (queue_append(rows, n, hooks_changed))
	{
		wake = true;
		shared_count(shared_my_slot(), STAT_EVENTS_QUEUED, n);
	}

	for (int i = 0; i < n; i++)
		drop_last();
	pfree(rows);
}

/* All is over: forget. */
static void
forget(void)
{
	if (context != NULL)
		MemoryContextReset(context);
	waiting = NULL;
	nwaiting = 0;
	allocated = 0;
	bytes = 0;
	next_ordinal = 0;
	wake = false;
	released = false;
	hooks_changed = false;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			append_from(0);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:

			/*
			 * COMMIT PREPARED calls nobody; a worker that knows of a prepared
			 * transaction stays and looks now and then.
			 */
			if (released)
				shared_release(shared_my_slot());
			if (wake || released)
				shared_announce(shared_my_slot());
			forget();
			break;
		case XACT_EVENT_ABORT:
			forget();
			break;
		default:
			break;
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId mine,
					  SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = nwaiting - 1; i >= 0 && waiting[i].subtransaction == mine; i--)
			waiting[i].subtransaction = parent;
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nwaiting > 0 && waiting[nwaiting - 1].subtransaction == mine)
			drop_last();
	}
}

static void
prepare(void)
{
	if (context != NULL)
		return;
	context = AllocSetContextCreate(TopMemoryContext, "hooks events of this transaction",
									ALLOCSET_DEFAULT_SIZES);
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	(void) shared_my_slot();	/* found while errors may still be raised */
}

MemoryContext
commit_context(void)
{
	prepare();
	return context;
}

void
commit_queue(QueueRow *row)
{
	SubTransactionId mine = GetCurrentSubTransactionId();

	prepare();
	if (nwaiting == allocated)
	{
		int			n = allocated ? allocated * 2 : 16;

		if (waiting == NULL)
			waiting = MemoryContextAlloc(context, sizeof(Waiting) * n);
		else
			waiting = repalloc(waiting, sizeof(Waiting) * n);
		allocated = n;
	}
	waiting[nwaiting].subtransaction = mine;
	waiting[nwaiting].row = row;
	row->n = next_ordinal++;
	nwaiting++;
	bytes += row->size;

	if (nwaiting >= MAX_ROWS || bytes >= MAX_BYTES)
	{
		int			first = nwaiting;

		/* Rows of a parent must not depend on the child that runs now. */
		while (first > 0 && waiting[first - 1].subtransaction == mine)
			first--;
		append_from(first);
	}
}

void
commit_hooks_changed(void)
{
	prepare();
	hooks_changed = true;
}

void
commit_release(void)
{
	prepare();
	released = true;
}
