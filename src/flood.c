/*-------------------------------------------------------------------------
 *
 * flood.c
 *		How many events of one user are too many: a leaky bucket for each.
 *
 * An event adds one to its user's bucket, which holds hooks.flood_burst and
 * leaks hooks.flood_rate per second.  An event that finds no room is dropped.
 * Transactions that are rolled back have used the room all the same.
 *
 * The buckets are in shared memory: sets of a few, chosen by a hash of
 * database and user.  A user who finds no bucket in his set takes the one
 * that has the least in it; who loses his starts anew with an empty one.  So
 * memory is bounded, and it is those who flood that are remembered.
 *
 * Every dropped event is said once, as a number in the server log:
 *	- the first one at once, and after a minute those since, by the session
 *	  that drops the next one; its event also goes to the user's own log;
 *	- those of a bucket that is taken away, by the session that takes it;
 *	- what no event has come for, two minutes after it was last said, or
 *	  when the server stops, by the launcher.
 * Only a crash loses numbers, as it loses the counters.
 *
 * Locking: a spinlock per set, held for some arithmetic.  "unsaid" tells the
 * launcher that there is a number to be said: it is set after the number, and
 * taken back before the numbers are looked at.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "flood.h"
#include "settings.h"
#include "shared.h"

#define SETS 2048
#define BUCKETS 4				/* of a set */

/* How often a user is said to flood, and how long nobody else may have said it. */
#define SAY_EVERY (60 * USECS_PER_SEC)
#define SAY_REST_AFTER (120 * USECS_PER_SEC)
#define LOOK_EVERY_MS 60000

/* Sessions read the clock before they take the lock: how far it may seem to go back. */
#define DISORDER USECS_PER_SEC

typedef struct BucketKey
{
	Oid			database;		/* invalid: belongs to nobody */
	pg_uuid_t	user;
} BucketKey;

typedef struct Bucket
{
	BucketKey	key;
	double		level;			/* events in it … */
	TimestampTz at;				/* … at this time */
	TimestampTz said_at;
	int64		unsaid;			/* dropped since */
} Bucket;

typedef struct BucketSet
{
	slock_t		lock;
	Bucket		buckets[BUCKETS];
} BucketSet;

typedef struct Flood
{
	pg_atomic_uint32 unsaid;	/* some bucket has something unsaid */
	BucketSet	sets[SETS];
} Flood;

static Flood *flood = NULL;

Size
flood_size(void)
{
	return sizeof(Flood);
}

void
flood_startup(void)
{
	bool		found;

	flood = ShmemInitStruct("hooks flood", flood_size(), &found);
	if (found)
		return;
	memset(flood, 0, sizeof(*flood));
	pg_atomic_init_u32(&flood->unsaid, 0);
	for (int i = 0; i < SETS; i++)
		SpinLockInit(&flood->sets[i].lock);
}

/* What has not leaked out of the bucket by now; a clock that goes back stands still. */
static double
level_now(const Bucket *bucket, TimestampTz now)
{
	double		elapsed = Max(now - bucket->at, 0);
	double		level = bucket->level - elapsed * hooks_flood_rate / USECS_PER_SEC;

	return Max(level, 0);
}

/* The key's bucket.  If somebody else has to lose his, it is copied to "lost". */
static Bucket *
find_bucket(BucketSet *set, const BucketKey *key, TimestampTz now, Bucket *lost)
{
	Bucket	   *least = &set->buckets[0];

	for (int i = 0; i < BUCKETS; i++)
	{
		Bucket	   *bucket = &set->buckets[i];

		if (memcmp(&bucket->key, key, sizeof(*key)) == 0)
			return bucket;
		if (level_now(bucket, now) < level_now(least, now))
			least = bucket;
	}
	*lost = *least;
	memset(least, 0, sizeof(*least));
	least->key = *key;
	return least;
}

/* Add an event to the bucket, if there is room. */
static bool
add_event(Bucket *bucket, TimestampTz now)
{
	if (now > bucket->at || now < bucket->at - DISORDER)
	{
		bucket->level = Min(level_now(bucket, now), hooks_flood_burst);
		bucket->at = now;
	}
	if (bucket->level + 1 > hooks_flood_burst)
		return false;
	bucket->level += 1;
	return true;
}

/* Has so much time passed since it was last said, or has the clock gone back? */
static bool
is_due(const Bucket *bucket, TimestampTz now, TimestampTz after)
{
	return now - bucket->said_at >= after || bucket->said_at - now >= after;
}

/* Take what is unsaid out of the bucket, to be said when the lock is free again. */
static void
take_unsaid(Bucket *bucket, TimestampTz now, Bucket *taken)
{
	*taken = *bucket;
	bucket->said_at = now;
	bucket->unsaid = 0;
}

/* In the server log only, whatever the session wants to be told. */
static void
say(const Bucket *taken)
{
	char	   *user;

	if (taken->unsaid == 0)
		return;
	user = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&taken->key.user)));
	ereport(LOG_SERVER_ONLY,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("hooks dropped events of user \"%s\" in database %u: too many",
					user, taken->key.database),
			 errdetail_plural("%lld event was dropped since this was last said.",
							  "%lld events were dropped since this was last said.",
							  taken->unsaid, (long long) taken->unsaid),
			 errhint("\"hooks.flood_rate\" and \"hooks.flood_burst\" limit the events of a user."),
			 errhidestmt(true),
			 errhidecontext(true)));
	pfree(user);
}

/* What the user's own log says of the event with which it was said. */
static char *
refusal(int64 dropped)
{
	if (dropped == 1)
		return psprintf("too many events: this one was not processed, "
						"limit %d per second (hooks.flood_rate)", hooks_flood_rate);
	return psprintf("too many events: this one and %lld before it were not processed, "
					"limit %d per second (hooks.flood_rate)",
					(long long) dropped - 1, hooks_flood_rate);
}

bool
flood_admit(const pg_uuid_t *user, TimestampTz now, char **refused)
{
	BucketKey	key = {MyDatabaseId, *user};
	BucketSet  *set;
	Bucket	   *bucket;
	Bucket		lost = {0};
	Bucket		taken = {0};
	bool		admitted;

	*refused = NULL;
	if (flood == NULL || hooks_flood_rate == 0)
		return true;

	set = &flood->sets[hash_bytes((unsigned char *) &key, sizeof(key)) % SETS];
	HOLD_INTERRUPTS();			/* what is taken out is said */
	SpinLockAcquire(&set->lock);
	bucket = find_bucket(set, &key, now, &lost);
	admitted = add_event(bucket, now);
	if (!admitted)
	{
		bucket->unsaid++;
		if (is_due(bucket, now, SAY_EVERY))
			take_unsaid(bucket, now, &taken);
	}
	SpinLockRelease(&set->lock);

	say(&lost);
	say(&taken);
	RESUME_INTERRUPTS();

	if (admitted)
		return true;
	if (taken.unsaid > 0)
		*refused = refusal(taken.unsaid);
	else if (pg_atomic_read_u32(&flood->unsaid) == 0 &&
			 pg_atomic_exchange_u32(&flood->unsaid, 1) == 0)
		shared_wake_launcher();
	return false;
}

/* Say what is due in a set; true if something is left for later. */
static bool
say_rest_of(BucketSet *set, TimestampTz now, bool all)
{
	Bucket		taken[BUCKETS] = {0};
	bool		left = false;

	HOLD_INTERRUPTS();
	SpinLockAcquire(&set->lock);
	for (int i = 0; i < BUCKETS; i++)
	{
		Bucket	   *bucket = &set->buckets[i];

		if (bucket->unsaid == 0)
			continue;
		if (all || is_due(bucket, now, SAY_REST_AFTER))
			take_unsaid(bucket, now, &taken[i]);
		else
			left = true;
	}
	SpinLockRelease(&set->lock);

	for (int i = 0; i < BUCKETS; i++)
		say(&taken[i]);
	RESUME_INTERRUPTS();
	return left;
}

long
flood_say_rest(bool all)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		left = false;

	if (pg_atomic_exchange_u32(&flood->unsaid, 0) == 0 && !all)
		return -1;
	for (int i = 0; i < SETS; i++)
		left |= say_rest_of(&flood->sets[i], now, all);
	if (!left)
		return -1;
	pg_atomic_write_u32(&flood->unsaid, 1);
	return LOOK_EVERY_MS;
}
