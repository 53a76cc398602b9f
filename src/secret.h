/*-------------------------------------------------------------------------
 *
 * secret.h
 *		Secrets of users: hooks.secret.
 *
 * They are read for the message that needs them, so that the value is the last
 * one that was committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SECRET_H
#define HOOKS_SECRET_H

#include "utils/uuid.h"

#include "secrets.h"

typedef enum SecretState
{
	SECRET_READY,
	SECRET_NONE,				/* the user has none of that name, or it is for something else */
	SECRET_SEALED,				/* it cannot be opened with the keys that there are */
	SECRET_LOCKED				/* somebody has the table locked */
} SecretState;

/*
 * The token of a chat account, in the current memory context.  Needs a
 * transaction, and the rights of whoever owns the table.
 */
extern SecretState secret_token(const pg_uuid_t *user, const char *name, char **value);

/*
 * The values of the secrets that a hook of the user names, in the current
 * memory context; *why says what is wrong.  Tokens of chat accounts are for
 * chats: hooks cannot send them elsewhere.  Call outside transactions.
 */
extern SecretState secrets_read(const pg_uuid_t *user, Secrets *secrets, const char **why);

/* … of a hook that the caller of a function sees, in its transaction. */
extern SecretState secrets_look(const pg_uuid_t *hook, Secrets *secrets, const char **why);

#endif							/* HOOKS_SECRET_H */
