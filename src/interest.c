/*-------------------------------------------------------------------------
 *
 * interest.c
 *		What a session must know to say "nobody cares".
 *
 * A cache per session: for users asked about, which types of events some
 * enabled hook of theirs waits for.  It answers most rows of a busy event
 * table without touching a table.
 *
 * It is filled with the newest snapshot, never the transaction's own, so
 * that a REPEATABLE READ session does not stay blind to newer hooks.  It is
 * emptied when hooks change: the trigger on the hooks table sends a relcache
 * invalidation for hooks.interest, an empty table that exists only to carry
 * it (invalidating the hooks table itself would throw away the application's
 * cached plans too).  An invalidation that arrives while an entry is being
 * filled prevents that entry from being kept.  A commit becomes visible
 * before it sends its invalidation, so whoever read too early is told.
 *
 * Whenever the answer cannot be had (somebody has the hooks table locked, it
 * was altered beyond recognition, the transaction is SERIALIZABLE and must
 * not be given read dependencies of ours), the answer is "may be": the event
 * is queued and the worker finds out.
 *
 * With hooks.require_presence it also knows who has joined (presence.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "interest.h"
#include "presence.h"
#include "settings.h"
#include "tables.h"

/* Past so many users the cache starts over. */
#define MAX_USERS 65536

/* Has the user joined?  Asked only while hooks.require_presence is on. */
typedef enum Joined
{
	JOINED_NOT_ASKED,
	JOINED_NO,
	JOINED_YES,
	JOINED_UNKNOWN				/* it cannot be told now */
} Joined;

typedef struct UserInterest
{
	pg_uuid_t	user;
	uint8		wanted;			/* bit per TriggerType */
	Joined		joined;
	char		status;			/* for simplehash */
} UserInterest;

#define EVERY_TYPE ((1 << TRIGGER_TYPES) - 1)

#define SH_PREFIX interest
#define SH_ELEMENT_TYPE UserInterest
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY user
#define SH_HASH_KEY(tb, key) hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(tb, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Is what the cache holds true? */
typedef enum InterestState
{
	INTEREST_STALE,				/* must be emptied before use */
	INTEREST_FILLING,			/* an entry is being looked up */
	INTEREST_VALID
} InterestState;

static InterestState state = INTEREST_STALE;
static interest_hash *cache = NULL;
static Oid	hooks_table = InvalidOid;	/* whose plan is cached */
static Oid	carrier = InvalidOid;	/* hooks.interest */
static SPIPlanPtr plan = NULL;

void
interest_invalidate(Oid relation)
{
	/* While there is no hooks table, any table may become it. */
	if (!OidIsValid(relation) || !OidIsValid(hooks_table) ||
		relation == carrier || relation == hooks_table)
	{
		state = INTEREST_STALE;
		if (relation != carrier)
			hooks_table = InvalidOid;
	}
}

void
interest_announce_change(void)
{
	Oid			relation = tables_machinery("interest");

	if (OidIsValid(relation))
		CacheInvalidateRelcacheByRelid(relation);
}

/* Find the hooks table; false when there is none. */
static bool
find_table(void)
{
	if (OidIsValid(hooks_table))
		return true;

	if (plan != NULL)
		SPI_freeplan(plan);
	plan = NULL;
	carrier = tables_machinery("interest");
	hooks_table = tables_hooks();
	return OidIsValid(hooks_table);
}

/* Prepare the question; only with a lock on the table, which this wants too. */
static void
prepare(void)
{
	Oid			uuid = UUIDOID;

	if (plan != NULL)
		return;
	tables_refuse_hidden_rows(hooks_table);
	plan = SPI_prepare(psprintf("SELECT DISTINCT trigger_type::pg_catalog.text FROM %s"
								" WHERE user_id OPERATOR(pg_catalog.=) $1 AND enabled",
								tables_name(hooks_table)),
					   1, &uuid);
	if (plan == NULL)
		elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
}

/* Ask the hooks table, as its owner. */
static uint8
ask_table(const pg_uuid_t *user)
{
	Datum		value = UUIDPGetDatum(user);
	Snapshot	snapshot;
	TablesUser	saved;
	uint8		wanted = 0;

	tables_act_as_owner(hooks_table, &saved);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	SPI_execute_snapshot(plan, &value, NULL, snapshot, InvalidSnapshot, true, false, 0);
	UnregisterSnapshot(snapshot);

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		int			type = name ? trigger_type_parse(name, strlen(name)) : TRIGGER_TYPE_UNKNOWN;

		if (type != TRIGGER_TYPE_UNKNOWN)
			wanted |= 1 << type;
	}
	tables_act_done(&saved);
	return wanted;
}

static void
take_joined(const pg_uuid_t *user, void *arg)
{
	*(bool *) arg = true;
}

/* Ask who has joined. */
static Joined
ask_presence(const pg_uuid_t *user)
{
	Datum		value = UUIDPGetDatum(user);
	bool		joined = false;

	value = PointerGetDatum(construct_array(&value, 1, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	if (!presence_list(value, take_joined, &joined))
		return JOINED_UNKNOWN;
	return joined ? JOINED_YES : JOINED_NO;
}

/*
 * Look a user up in the tables, inside a subtransaction that is always rolled
 * back: it takes the errors, and gives back the locks at once.
 */
static UserInterest
look_up(const pg_uuid_t *user)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	volatile uint8 wanted = EVERY_TYPE;
	volatile Joined joined = JOINED_NOT_ASKED;

	state = INTEREST_FILLING;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "could not connect to SPI");
		if (!find_table())
			wanted = 0;
		else if (ConditionalLockRelationOid(hooks_table, AccessShareLock))
		{
			prepare();
			wanted = ask_table(user);
			if (hooks_require_presence && wanted != 0)
				joined = ask_presence(user);
			if (joined == JOINED_UNKNOWN)
				state = INTEREST_STALE;
		}
		else
			state = INTEREST_STALE;
		SPI_finish();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		state = INTEREST_STALE;
		wanted = EVERY_TYPE;
		joined = JOINED_UNKNOWN;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	/* A cancel is meant for the statement, not for us. */
	if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	return (UserInterest) {.user = *user, .wanted = wanted, .joined = joined};
}

bool
interest_wanted(const pg_uuid_t *user, TriggerType type)
{
	UserInterest *entry;
	UserInterest now;
	bool		found;

	/* Hooks committed before this statement must be known. */
	AcceptInvalidationMessages();

	if (cache == NULL)
		cache = interest_create(TopMemoryContext, 128, NULL);
	if (state != INTEREST_VALID || cache->members > MAX_USERS)
	{
		interest_reset(cache);
		state = INTEREST_VALID;
	}

	entry = interest_lookup(cache, *user);
	if (entry != NULL && entry->joined == JOINED_NOT_ASKED && entry->wanted != 0 && hooks_require_presence)
	{
		interest_delete(cache, *user);	/* it was not on then */
		entry = NULL;
	}
	if (entry != NULL)
		return (entry->wanted & (1 << type)) != 0;

	if (IsolationIsSerializable())
		return true;

	now = look_up(user);
	if (state == INTEREST_FILLING)
	{
		entry = interest_insert(cache, *user, &found);
		entry->wanted = now.wanted;
		entry->joined = now.joined;
		state = INTEREST_VALID;
	}
	return (now.wanted & (1 << type)) != 0;
}

bool
interest_served(const pg_uuid_t *user)
{
	UserInterest *entry;

	if (!hooks_require_presence || state != INTEREST_VALID)
		return true;
	entry = interest_lookup(cache, *user);
	return entry == NULL || entry->joined != JOINED_NO;
}
