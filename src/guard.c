/*-------------------------------------------------------------------------
 *
 * guard.c
 *		When Discord takes requests from this server at all.  See guard.h.
 *
 * Invalid requests are counted by the minute.  The limit is far below
 * Discord's own, because others may send from the same address.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/timestamp.h"

#include "guard.h"

#define MAX_INVALID 2000
#define WINDOW_MINUTES 10
#define WINDOW (WINDOW_MINUTES * 60 * USECS_PER_SEC)

/* A time further away than this is one that the clock was set back from. */
#define LONGEST (3600 * USECS_PER_SEC)

typedef struct Guard
{
	slock_t		mutex;
	TimestampTz closed_until;
	int64		minutes[WINDOW_MINUTES];	/* which ones are counted … */
	int			invalid[WINDOW_MINUTES];	/* … and what */
} Guard;

static Guard *guard = NULL;

Size
guard_size(void)
{
	return MAXALIGN(sizeof(Guard));
}

void
guard_startup(void)
{
	bool		found;

	guard = ShmemInitStruct("hooks guard", guard_size(), &found);
	if (found)
		return;
	memset(guard, 0, sizeof(Guard));
	SpinLockInit(&guard->mutex);
}

TimestampTz
guard_opens_at(TimestampTz now)
{
	TimestampTz until;

	SpinLockAcquire(&guard->mutex);
	if (guard->closed_until > now + LONGEST)
		guard->closed_until = 0;
	until = guard->closed_until;
	SpinLockRelease(&guard->mutex);
	return Max(until, now);
}

void
guard_close(int64 closed_for, TimestampTz now)
{
	SpinLockAcquire(&guard->mutex);
	guard->closed_until = Max(guard->closed_until, now + Min(closed_for, LONGEST));
	SpinLockRelease(&guard->mutex);
}

/* How many within the window; forgets older ones. */
static int
recent(int64 minute)
{
	int			n = 0;

	for (int i = 0; i < WINDOW_MINUTES; i++)
	{
		if (guard->minutes[i] <= minute - WINDOW_MINUTES || guard->minutes[i] > minute)
			guard->invalid[i] = 0;
		n += guard->invalid[i];
	}
	return n;
}

void
guard_count_invalid(TimestampTz now)
{
	int64		minute = now / (60 * USECS_PER_SEC);
	int			slot = (int) (minute % WINDOW_MINUTES);
	bool		too_many;

	SpinLockAcquire(&guard->mutex);
	too_many = recent(minute) + 1 >= MAX_INVALID;
	if (guard->minutes[slot] != minute)
		guard->invalid[slot] = 0;
	guard->minutes[slot] = minute;
	guard->invalid[slot]++;
	if (too_many)
	{
		/* Those that are under way do not count anew. */
		memset(guard->invalid, 0, sizeof(guard->invalid));
		guard->closed_until = Max(guard->closed_until, now + WINDOW);
	}
	SpinLockRelease(&guard->mutex);

	if (too_many)
		ereport(LOG,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("hooks sends nothing to Discord for %d minutes: it has refused %d requests within as many",
						WINDOW_MINUTES, MAX_INVALID),
				 errdetail("Discord bans servers that send it many requests which it answers with "
						   "401, 403, 404 or 429."),
				 errhint("SELECT * FROM hooks.hook_health WHERE last_status IN (401, 403, 404, 429) "
						 "shows which hooks do.")));
}
