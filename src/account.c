/*-------------------------------------------------------------------------
 *
 * account.c
 *		Where users can write into chats: rows of hooks.chat_accounts.  See
 *		account.h.
 *
 * A token that was refused is remembered, by a hash of it, so that messages
 * wait for another one without asking the service again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "account.h"
#include "secret.h"
#include "tables.h"
#include "target.h"

#define FORGET_AFTER (SECS_PER_DAY * USECS_PER_SEC)

typedef struct StaleKey
{
	pg_uuid_t	user;
	uint64		target;
} StaleKey;

typedef struct Stale
{
	StaleKey	key;
	uint64		mark;
	TimestampTz since;
} Stale;

static HTAB *stale = NULL;

static bool
is_stale(const pg_uuid_t *user, const char *platform, uint64 mark)
{
	StaleKey	key = {*user, target_number(platform)};
	Stale	   *entry = stale ? hash_search(stale, &key, HASH_FIND, NULL) : NULL;

	return entry != NULL && entry->mark == mark;
}

void
account_is_stale(const pg_uuid_t *user, const char *platform, uint64 token_mark)
{
	StaleKey	key = {*user, target_number(platform)};
	Stale	   *entry;

	if (stale == NULL)
	{
		HASHCTL		control = {.keysize = sizeof(StaleKey), .entrysize = sizeof(Stale)};

		stale = hash_create("hooks stale tokens", 64, &control, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(stale, &key, HASH_ENTER, NULL);
	entry->mark = token_mark;
	entry->since = GetCurrentTimestamp();
}

void
account_forget(TimestampTz now)
{
	HASH_SEQ_STATUS status;
	Stale	   *entry;

	if (stale == NULL)
		return;
	hash_seq_init(&status, stale);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->since < now - FORGET_AFTER)
			hash_search(stale, &entry->key, HASH_REMOVE, NULL);
	}
}

static SPIPlanPtr
planned(SPIPlanPtr *plan, const char *query, int nargs, Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(query, nargs, types);

		if (made == NULL)
			elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(made);
		*plan = made;
	}
	return *plan;
}

/* Read the row; false when there is none. */
static bool
read_row(const pg_uuid_t *user, const char *platform, MemoryContext context, ChatAccount *account,
		 char **secret)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, TEXTOID};
	Datum		arguments[] = {UUIDPGetDatum(user), CStringGetTextDatum(platform)};
	bool		found;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute_plan(planned(&plan, "SELECT channel_id, sender_id, token, extra"
								 " FROM hooks.chat_accounts"
								 " WHERE user_id OPERATOR(pg_catalog.=) $1"
								 " AND platform OPERATOR(pg_catalog.=) $2",
								 lengthof(types), types),
						 arguments, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read an account");
	found = SPI_processed > 0;
	if (found)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext spi = MemoryContextSwitchTo(context);
		Datum		extra;
		bool		isnull;

		account->channel = SPI_getvalue(row, desc, 1);
		account->sender = SPI_getvalue(row, desc, 2);
		*secret = SPI_getvalue(row, desc, 3);
		extra = SPI_getbinval(row, desc, 4, &isnull);
		account->extra = isnull ? NULL : DatumGetJsonbPCopy(extra);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return found;
}

/* Needs a transaction, and the rights of whoever owns the tables; in the current memory context. */
static AccountState
get(const pg_uuid_t *user, const char *platform, ChatAccount *account)
{
	char	   *secret = NULL;

	memset(account, 0, sizeof(*account));
	if (!read_row(user, platform, CurrentMemoryContext, account, &secret))
		return ACCOUNT_NONE;
	switch (secret_token(user, secret, &account->token))
	{
		case SECRET_READY:
			return ACCOUNT_READY;
		case SECRET_NONE:
			return ACCOUNT_STALE;
		case SECRET_SEALED:
		case SECRET_LOCKED:
			break;
	}
	account->token = NULL;
	return ACCOUNT_SEALED;
}

/* What the worker asks for, and is told. */
typedef struct Request
{
	const pg_uuid_t *user;
	const char *platform;
	ChatAccount *account;
	AccountState state;
} Request;

static void
answer(void *arg)
{
	Request    *request = arg;

	request->state = get(request->user, request->platform, request->account);
}

AccountState
account_read(const pg_uuid_t *user, const char *platform, ChatAccount *account)
{
	Request		request = {user, platform, account};

	if (!tables_read(answer, &request))
		return ACCOUNT_LOCKED;
	if (request.state != ACCOUNT_READY)
		return request.state;
	account->token_mark = hash_bytes_extended((const unsigned char *) account->token,
											  strlen(account->token), 0);
	return is_stale(user, platform, account->token_mark) ? ACCOUNT_STALE : ACCOUNT_READY;
}

uint32
account_look(const pg_uuid_t *hook, ChatAccount accounts[TARGETS])
{
	MemoryContext caller = CurrentMemoryContext;
	uint32		connected = 0;
	pg_uuid_t	user;
	TablesUser	saved;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (tables_visible_user(hook, &user))
	{
		MemoryContext previous = MemoryContextSwitchTo(caller);

		tables_act_as_owner(tables_machinery("chat_accounts"), &saved);
		for (int i = 0; i < TARGETS; i++)
		{
			if (get(&user, target_names[i], &accounts[i]) != ACCOUNT_NONE)
				connected |= (uint32) 1 << i;
		}
		tables_act_done(&saved);
		MemoryContextSwitchTo(previous);
	}
	SPI_finish();
	return connected;
}

void
account_lock(void)
{
	LockRelationOid(tables_machinery("chat_accounts"), AccessShareLock);
}

void
account_list(Datum users, void (*found) (const pg_uuid_t *user, int target, const AccountIds *ids))
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDARRAYOID};

	if (SPI_execute_plan(planned(&plan, "SELECT user_id, platform, channel_id, sender_id"
								 " FROM hooks.chat_accounts"
								 " WHERE user_id OPERATOR(pg_catalog.=) ANY ($1)",
								 lengthof(types), types),
						 &users, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read accounts");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		AccountIds	ids = {0};
		char	   *sender = SPI_getvalue(row, desc, 4);
		int			target = target_number(SPI_getvalue(row, desc, 2));
		bool		isnull;

		strlcpy(ids.channel, SPI_getvalue(row, desc, 3), sizeof(ids.channel));
		if (sender)
			strlcpy(ids.sender, sender, sizeof(ids.sender));
		if (target < TARGETS)
			found(DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull)), target, &ids);
	}
}
