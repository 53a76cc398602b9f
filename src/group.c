/*-------------------------------------------------------------------------
 *
 * group.c
 *		Which destinations share limits.  See group.h.
 *
 * Looking for the members of a group looks at all destinations: limits that are
 * shared are hit far more seldom than answers tell of groups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/hsearch.h"

#include "group.h"

#define MAX_MEMBERS 20000

typedef struct Member
{
	uint64		destination;	/* key */
	uint64		group;
} Member;

static HTAB *members = NULL;

static void
forget_all(void)
{
	HASHCTL		control = {.keysize = sizeof(uint64), .entrysize = sizeof(Member)};

	if (members != NULL)
		hash_destroy(members);
	members = hash_create("hooks groups of destinations", 64, &control, HASH_ELEM | HASH_BLOBS);
}

void
group_learn(uint64 destination, const char *group)
{
	Member	   *member;

	if (members == NULL || hash_get_num_entries(members) >= MAX_MEMBERS)
		forget_all();
	member = hash_search(members, &destination, HASH_ENTER, NULL);
	member->group = hash_bytes_extended((const unsigned char *) group, (int) strlen(group), 0);
}

void
group_each(uint64 destination, void (*each) (void *arg, uint64 destination), void *arg)
{
	Member	   *known = members ? hash_search(members, &destination, HASH_FIND, NULL) : NULL;
	HASH_SEQ_STATUS status;
	Member	   *member;

	if (known == NULL)
	{
		each(arg, destination);
		return;
	}
	hash_seq_init(&status, members);
	while ((member = hash_seq_search(&status)) != NULL)
	{
		if (member->group == known->group)
			each(arg, member->destination);
	}
}
