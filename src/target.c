/*-------------------------------------------------------------------------
 *
 * target.c
 *		Destinations of a hook that has several.  See target.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "target.h"

#define FORGET_AFTER (SECS_PER_DAY * USECS_PER_SEC)

typedef struct SiblingsKey
{
	pg_uuid_t	hook;
	pg_uuid_t	event;
} SiblingsKey;

/* A hook's deliveries of one event. */
typedef struct Siblings
{
	SiblingsKey key;
	int			open;
	bool		arrived;		/* one of those that have ended */
	TimestampTz since;
} Siblings;

const char *const target_names[TARGETS] = {"twitch", "kick", "youtube"};

static HTAB *siblings = NULL;

int
target_number(const char *name)
{
	int			i = 0;

	while (i < TARGETS && strcmp(target_names[i], name) != 0)
		i++;
	return i;
}

const char *
target_name(const char *name)
{
	int			i = target_number(name);

	return i < TARGETS ? target_names[i] : NULL;
}

void
target_begin(const pg_uuid_t *hook, const pg_uuid_t *event, int n, bool others, TimestampTz now)
{
	SiblingsKey key = {*hook, *event};
	Siblings   *entry;

	if (siblings == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(SiblingsKey), .entrysize = sizeof(Siblings)};

		siblings = hash_create("hooks siblings", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(siblings, &key, HASH_ENTER, NULL);
	entry->open = n;
	entry->arrived = others;
	entry->since = now;
}

bool
target_end(const pg_uuid_t *hook, const pg_uuid_t *event, bool arrived)
{
	SiblingsKey key = {*hook, *event};
	Siblings   *entry = siblings ? hash_search(siblings, &key, HASH_FIND, NULL) : NULL;

	if (entry == NULL)
		return false;
	entry->arrived = entry->arrived || arrived;
	arrived = entry->arrived;
	if (--entry->open > 0)
		return false;
	hash_search(siblings, &key, HASH_REMOVE, NULL);
	return !arrived;
}

void
target_forget(TimestampTz now)
{
	HASH_SEQ_STATUS status;
	Siblings   *entry;

	if (siblings == NULL)
		return;
	hash_seq_init(&status, siblings);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->since < now - FORGET_AFTER)
			hash_search(siblings, &entry->key, HASH_REMOVE, NULL);
	}
}
