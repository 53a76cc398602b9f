/*-------------------------------------------------------------------------
 *
 * places.h
 *		A sorted list of places, from which mostly the least is taken, and to
 *		which mostly a larger one is added.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_PLACES_H
#define HOOKS_PLACES_H

#include "utils/palloc.h"

/* All zero is an empty one. */
typedef struct Places
{
	int64	   *list;			/* ascending, from "first" on */
	int			first;
	int			n;
	int			allocated;
} Places;

static inline void
places_clear(Places *places)
{
	if (places->list)
		pfree(places->list);
	memset(places, 0, sizeof(*places));
}

/* The least one of a list that is not empty. */
static inline int64
places_least(const Places *places)
{
	Assert(places->n > 0);
	return places->list[places->first];
}

/* Of how many is the place larger? */
static inline int
places_before(const Places *places, int64 place)
{
	int			low = 0;
	int			high = places->n;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (places->list[places->first + middle] < place)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static inline bool
places_contain(const Places *places, int64 place)
{
	int			before = places_before(places, place);

	return before < places->n && places->list[places->first + before] == place;
}

/* Add a place; one that is there already is not added again. */
static inline void
places_add(Places *places, int64 place, MemoryContext context)
{
	int64	   *at;
	int			before;

	if (places_contain(places, place))
		return;
	if (places->first + places->n == places->allocated && places->first > places->n)
	{
		memmove(places->list, places->list + places->first, sizeof(int64) * places->n);
		places->first = 0;
	}
	if (places->first + places->n == places->allocated)
	{
		places->allocated = places->allocated ? places->allocated * 2 : 16;
		places->list = places->list ? repalloc(places->list, sizeof(int64) * places->allocated)
			: MemoryContextAlloc(context, sizeof(int64) * places->allocated);
	}
	before = places_before(places, place);
	at = places->list + places->first + before;
	memmove(at + 1, at, sizeof(int64) * (places->n - before));
	*at = place;
	places->n++;
}

/* Take a place away, if it is there. */
static inline void
places_remove(Places *places, int64 place)
{
	int			before = places_before(places, place);
	int64	   *at = places->list + places->first + before;

	if (before == places->n || *at != place)
		return;
	if (places->n == 1)
	{
		places_clear(places);
		return;
	}
	places->n--;
	if (before == 0)
		places->first++;
	else
		memmove(at, at + 1, sizeof(int64) * (places->n - before));
}

#endif							/* HOOKS_PLACES_H */
