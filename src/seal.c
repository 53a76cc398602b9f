/*-------------------------------------------------------------------------
 *
 * seal.c
 *		Secrets encrypted with a key that is not in the database.  See seal.h.
 *
 *		sealed = KEPT value
 *			   | SEALED id-of-key(8) nonce(12) tag(16) ciphertext
 *
 * The first byte says which.  The user's id and the name of the secret are
 * authenticated with it.  Nonces are random: 2^32 secrets sealed with one key
 * are what is considered safe, which nobody reaches.
 *
 * Pure, but for the random numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/evp.h>

#include "utils/builtins.h"

#include "compat.h"
#include "seal.h"

/* How a value is kept. */
enum
{
	KEPT = 0,
	SEALED = 1
};

#define NONCE_LENGTH 12
#define TAG_LENGTH 16
#define HEAD_LENGTH (1 + SEAL_ID_LENGTH + NONCE_LENGTH + TAG_LENGTH)

/* The parts of a sealed value, one behind the other. */
#define ID_AT 1
#define NONCE_AT (ID_AT + SEAL_ID_LENGTH)
#define TAG_AT (NONCE_AT + NONCE_LENGTH)

/* ----------
 * Keys
 * ----------
 */

static bool
make_key(SealKey *key, const char *hex)
{
	uint8		digest[EVP_MAX_MD_SIZE];

	(void) hex_decode(hex, 2 * SEAL_KEY_LENGTH, (char *) key->bytes);
	if (EVP_Digest(key->bytes, SEAL_KEY_LENGTH, digest, NULL, EVP_sha256(), NULL) != 1)
		return false;
	memcpy(key->id, digest, SEAL_ID_LENGTH);
	return true;
}

bool
seal_keys_parse(const char *line, SealKeys *keys)
{
	const char *word = line;

	keys->n = 0;
	while (*(word += strspn(word, " \t")) != '\0')
	{
		size_t		length = strcspn(word, " \t");

		if (keys->n == SEAL_MAX_KEYS || length != 2 * SEAL_KEY_LENGTH ||
			strspn(word, "0123456789abcdefABCDEF") != length ||
			!make_key(&keys->keys[keys->n], word))
			return false;
		keys->n++;
		word += length;
	}
	return keys->n > 0;
}

static const SealKey *
find_key(const SealKeys *keys, const uint8 *id)
{
	for (int i = 0; i < keys->n; i++)
	{
		if (memcmp(keys->keys[i].id, id, SEAL_ID_LENGTH) == 0)
			return &keys->keys[i];
	}
	return NULL;
}

/* ----------
 * Values
 * ----------
 */

/* Whose secret it is, before its value; false when the system cannot. */
static bool
authenticate(EVP_CIPHER_CTX *cipher, const pg_uuid_t *user, const char *name)
{
	int			done;

	return EVP_CipherUpdate(cipher, NULL, &done, user->data, UUID_LEN) == 1 &&
		EVP_CipherUpdate(cipher, NULL, &done, (const uint8 *) name, (int) strlen(name)) == 1;
}

static bool
encrypt(EVP_CIPHER_CTX *cipher, const SealKey *key, const pg_uuid_t *user, const char *name,
		const char *value, int length, uint8 *sealed)
{
	uint8	   *text = sealed + HEAD_LENGTH;
	int			done;

	sealed[0] = SEALED;
	memcpy(sealed + ID_AT, key->id, SEAL_ID_LENGTH);
	return pg_strong_random(sealed + NONCE_AT, NONCE_LENGTH) &&
		EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key->bytes, sealed + NONCE_AT) == 1 &&
		authenticate(cipher, user, name) &&
		EVP_EncryptUpdate(cipher, text, &done, (const uint8 *) value, length) == 1 &&
		EVP_EncryptFinal_ex(cipher, text + done, &done) == 1 &&
		EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG_LENGTH, sealed + TAG_AT) == 1;
}

bytea *
seal_value(const SealKeys *keys, const pg_uuid_t *user, const char *name, const char *value,
		   int length)
{
	int			head = keys->n > 0 ? HEAD_LENGTH : 1;
	bytea	   *result = palloc0(VARHDRSZ + head + length);
	uint8	   *sealed = (uint8 *) VARDATA(result);
	EVP_CIPHER_CTX *cipher;
	bool		good;

	SET_VARSIZE(result, VARHDRSZ + head + length);
	if (keys->n == 0)
	{
		sealed[0] = KEPT;
		memcpy(sealed + 1, value, length);
		return result;
	}
	cipher = EVP_CIPHER_CTX_new();
	good = cipher != NULL && encrypt(cipher, &keys->keys[0], user, name, value, length, sealed);
	EVP_CIPHER_CTX_free(cipher);
	return good ? result : NULL;
}

static bool
decrypt(EVP_CIPHER_CTX *cipher, const SealKey *key, const pg_uuid_t *user, const char *name,
		const uint8 *sealed, int length, uint8 *value)
{
	uint8		tag[TAG_LENGTH];
	int			done;

	memcpy(tag, sealed + TAG_AT, TAG_LENGTH);
	return EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key->bytes, sealed + NONCE_AT) == 1 &&
		authenticate(cipher, user, name) &&
		EVP_DecryptUpdate(cipher, value, &done, sealed + HEAD_LENGTH, length) == 1 &&
		EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_LENGTH, tag) == 1 &&
		EVP_DecryptFinal_ex(cipher, value + done, &done) == 1;
}

SealState
seal_open(const SealKeys *keys, const pg_uuid_t *user, const char *name, const bytea *value,
		  char **opened)
{
	const uint8 *sealed = (const uint8 *) VARDATA_ANY(value);
	int			length = VARSIZE_ANY_EXHDR(value);
	const SealKey *key;
	EVP_CIPHER_CTX *cipher;
	bool		good;

	if (length > 0 && sealed[0] == KEPT)
	{
		*opened = pnstrdup((const char *) sealed + 1, length - 1);
		return SEAL_OPEN;
	}
	if (length < HEAD_LENGTH || sealed[0] != SEALED)
		return SEAL_BROKEN;
	key = find_key(keys, sealed + ID_AT);
	if (key == NULL)
		return SEAL_UNKNOWN_KEY;
	length -= HEAD_LENGTH;
	*opened = palloc0(length + 1);
	cipher = EVP_CIPHER_CTX_new();
	good = cipher != NULL && decrypt(cipher, key, user, name, sealed, length, (uint8 *) *opened);
	EVP_CIPHER_CTX_free(cipher);
	return good ? SEAL_OPEN : SEAL_BROKEN;
}

bool
seal_is_current(const SealKeys *keys, const bytea *value)
{
	const uint8 *sealed = (const uint8 *) VARDATA_ANY(value);
	int			length = VARSIZE_ANY_EXHDR(value);

	if (keys->n == 0)
		return length > 0 && sealed[0] == KEPT;
	return length >= HEAD_LENGTH && sealed[0] == SEALED &&
		memcmp(sealed + ID_AT, keys->keys[0].id, SEAL_ID_LENGTH) == 0;
}
