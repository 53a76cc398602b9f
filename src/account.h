/*-------------------------------------------------------------------------
 *
 * account.h
 *		Where users can write into chats: rows of hooks.chat_accounts.
 *
 * Which accounts a user has is loaded with the user's hooks (hook.c), and
 * again when that changes.  With which token a message is sent is read anew
 * before each one, so that it is the last that was committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ACCOUNT_H
#define HOOKS_ACCOUNT_H

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "chat_platform.h"
#include "target.h"

#define ACCOUNT_MAX_ID 100

/* Who a user is on the platforms. */
typedef struct AccountIds
{
	char		channel[ACCOUNT_MAX_ID + 1];
	char		sender[ACCOUNT_MAX_ID + 1];
} AccountIds;

typedef enum AccountState
{
	ACCOUNT_READY,
	ACCOUNT_NONE,				/* the user has none there */
	ACCOUNT_STALE,				/* the service takes its token no more, or there is none */
	ACCOUNT_SEALED,				/* its token cannot be opened with the keys that there are */
	ACCOUNT_LOCKED				/* somebody has the table locked */
} AccountState;

/* Read an account, in the current memory context.  Call outside transactions. */
extern AccountState account_read(const pg_uuid_t *user, const char *platform, ChatAccount *account);

/*
 * The accounts of the user of a hook, for a session whose caller sees the hook;
 * returns which ones there are, as bits that count in target_names.  Tokens are
 * for sending, or for nobody: one may be missing.  Needs a transaction.
 */
extern uint32 account_look(const pg_uuid_t *hook, ChatAccount accounts[TARGETS]);

/* The service takes the token no more that an account was read with; until it changes. */
extern void account_is_stale(const pg_uuid_t *user, const char *platform, uint64 token_mark);

/* Wait for the lock that account_list() would wait for.  Needs a transaction. */
extern void account_lock(void);

/*
 * Tell of all accounts of these users, a uuid[]; "target" counts in
 * target_names.  To be called in a transaction, within SPI.
 */
extern void account_list(Datum users, void (*found) (const pg_uuid_t *user, int target,
													 const AccountIds *ids));

/* Forget tokens that were stale long ago. */
extern void account_forget(TimestampTz now);

#endif							/* HOOKS_ACCOUNT_H */
