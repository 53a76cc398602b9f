/*-------------------------------------------------------------------------
 *
 * instant.h
 *		Which transactions had ended at some instant.
 *
 * What a snapshot says about transactions, kept after the snapshot is gone.
 * Two instants make a window: the transactions that ended between them.  The
 * queue is read by such windows, so that every row is seen exactly once
 * though transactions commit in any order.
 *
 * Only top-level transactions count, by their 64-bit ids, which never wrap.
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_INSTANT_H
#define HOOKS_INSTANT_H

#include "c.h"

typedef struct Instant
{
	uint64		xmin;			/* all transactions before this had ended */
	uint64		xmax;			/* this one and later ones had not begun */
	int			nrunning;		/* those in between that were running, */
	uint64	   *running;		/* ascending */
} Instant;

/* Transactions from..below-1, of which some may be of interest. */
typedef struct XidRange
{
	uint64		from;
	uint64		below;
} XidRange;

/* Had the transaction ended by then? */
extern bool instant_includes(const Instant *instant, uint64 xid);

/*
 * The ranges of ids that cover every transaction which ended after "since"
 * and by "now", ascending.  Ranges may cover others as well; single ids close
 * to each other are covered by one range.  "ranges" has room for
 * since->nrunning + 1.  Returns how many.
 */
extern int	instant_window(const Instant *since, const Instant *now, XidRange *ranges);

#endif							/* HOOKS_INSTANT_H */
