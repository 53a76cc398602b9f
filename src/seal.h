/*-------------------------------------------------------------------------
 *
 * seal.h
 *		Secrets encrypted with a key that is not in the database.
 *
 * AES-256-GCM.  A sealed secret belongs to its user and name: in another row
 * it cannot be opened.  Keys are told apart by a hash of them, so that several
 * may be in use while one replaces another.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SEAL_H
#define HOOKS_SEAL_H

#include "utils/uuid.h"

/* How many keys a key file may hold. */
#define SEAL_MAX_KEYS 4

/* The longest line of them: in hexadecimal, with blanks between. */
#define SEAL_MAX_LINE 512

#define SEAL_KEY_LENGTH 32
#define SEAL_ID_LENGTH 8

typedef struct SealKey
{
	uint8		id[SEAL_ID_LENGTH];
	uint8		bytes[SEAL_KEY_LENGTH];
} SealKey;

/* The first one seals, all of them open. */
typedef struct SealKeys
{
	int			n;				/* 0: secrets are kept as they are */
	SealKey		keys[SEAL_MAX_KEYS];
} SealKeys;

typedef enum SealState
{
	SEAL_OPEN,
	SEAL_UNKNOWN_KEY,
	SEAL_BROKEN					/* it was changed, or is another row's */
} SealState;

/* Keys from their line; false when it is wrong. */
extern bool seal_keys_parse(const char *line, SealKeys *keys);

/* Seal a value, palloc'd; NULL when the system cannot. */
extern bytea *seal_value(const SealKeys *keys, const pg_uuid_t *user, const char *name,
						 const char *value, int length);

/* Open one; *opened is palloc'd. */
extern SealState seal_open(const SealKeys *keys, const pg_uuid_t *user, const char *name,
						   const bytea *value, char **opened);

/* Is it as seal_value() would make it now? */
extern bool seal_is_current(const SealKeys *keys, const bytea *sealed);

#endif							/* HOOKS_SEAL_H */
