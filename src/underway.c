/*-------------------------------------------------------------------------
 *
 * underway.c
 *		How many requests each user has under way, for others to see.  See
 *		underway.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"

#include "underway.h"

/* For all databases together. */
#define ENTRIES 4096

typedef struct Entry
{
	pg_atomic_uint32 database;	/* whose worker has it; 0: free */
	pg_atomic_uint32 n;			/* requests; the user is valid while there are some */
	pg_uuid_t	user;
} Entry;

/* A user of this worker's. */
typedef struct Known
{
	pg_uuid_t	user;			/* key */
	int			n;
	Entry	   *entry;			/* NULL: none was free */
} Known;

static Entry *entries = NULL;
static HTAB *known = NULL;		/* in the worker */
static int	next_free = 0;		/* where to look first */

Size
underway_size(void)
{
	return mul_size(ENTRIES, sizeof(Entry));
}

void
underway_startup(void)
{
	bool		found;

	entries = ShmemInitStruct("hooks under way", underway_size(), &found);
	if (found)
		return;
	for (int i = 0; i < ENTRIES; i++)
	{
		pg_atomic_init_u32(&entries[i].database, 0);
		pg_atomic_init_u32(&entries[i].n, 0);
	}
}

static Entry *
claim(void)
{
	for (int i = 0; i < ENTRIES; i++)
	{
		Entry	   *entry = &entries[(next_free + i) % ENTRIES];
		uint32		nobody = 0;

		if (pg_atomic_compare_exchange_u32(&entry->database, &nobody, MyDatabaseId))
		{
			next_free = (entry - entries + 1) % ENTRIES;
			return entry;
		}
	}
	return NULL;
}

static void
give_back(Entry *entry)
{
	pg_atomic_write_u32(&entry->n, 0);
	pg_memory_barrier();
	pg_atomic_write_u32(&entry->database, 0);
}

void
underway_begin(const pg_uuid_t *user)
{
	HASHCTL		control = {.keysize = sizeof(pg_uuid_t), .entrysize = sizeof(Known)};
	bool		found;
	Known	   *k;

	if (known == NULL)
		known = hash_create("hooks users under way", 256, &control, HASH_ELEM | HASH_BLOBS);
	k = hash_search(known, user, HASH_ENTER, &found);
	if (!found)
	{
		k->n = 0;
		k->entry = claim();
		if (k->entry)
			k->entry->user = *user;
		pg_write_barrier();
	}
	k->n++;
	if (k->entry)
		pg_atomic_write_u32(&k->entry->n, k->n);
}

void
underway_end(const pg_uuid_t *user)
{
	Known	   *k = known ? hash_search(known, user, HASH_FIND, NULL) : NULL;

	if (k == NULL)
		return;
	if (--k->n > 0)
	{
		if (k->entry)
			pg_atomic_write_u32(&k->entry->n, k->n);
		return;
	}
	if (k->entry)
		give_back(k->entry);
	hash_search(known, user, HASH_REMOVE, NULL);
}

void
underway_leave(void)
{
	for (int i = 0; entries != NULL && i < ENTRIES; i++)
	{
		if (pg_atomic_read_u32(&entries[i].database) == MyDatabaseId)
			give_back(&entries[i]);
	}
}

void
underway_each(void (*each) (void *arg, const pg_uuid_t *user, int n), void *arg)
{
	for (int i = 0; entries != NULL && i < ENTRIES; i++)
	{
		Entry	   *entry = &entries[i];
		uint32		n = pg_atomic_read_u32(&entry->n);
		pg_uuid_t	user;

		if (n == 0 || pg_atomic_read_u32(&entry->database) != MyDatabaseId)
			continue;
		pg_read_barrier();
		user = entry->user;
		each(arg, &user, (int) n);
	}
}
