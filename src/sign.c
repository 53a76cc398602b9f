/*-------------------------------------------------------------------------
 *
 * sign.c
 *		Signatures of webhooks: secrets, and the header that they make.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "common/hmac.h"
#include "common/sha2.h"

#include "sign.h"

#define PREFIX "whsec_"
#define MIN_KEY_LENGTH 24
#define MAX_KEY_LENGTH 64
#define NEW_KEY_LENGTH 32
#define MAX_SECRETS 10

#define EXAMPLE "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define SECRET_HINT \
	"A secret is \"" PREFIX "\" and 24 to 64 bytes in base64, for example \"" EXAMPLE "\"; " \
	"hooks.generate_secret() makes one."

typedef struct Key
{
	const char *name;			/* of the user's secret that it is; NULL: it stands here */
	int			length;
	uint8		bytes[MAX_KEY_LENGTH];
} Key;

struct SignSecrets
{
	int			nkeys;
	Key			keys[MAX_SECRETS];
};

/* Bytes are char or uint8 in base64.h, depending on the server's version. */
static char *
base64(const uint8 *bytes, int length)
{
	int			size = pg_b64_enc_len(length);
	char	   *text = palloc(size + 1);

	/* It fails only where there is too little room. */
	size = pg_b64_encode((const void *) bytes, length, text, size);
	text[Max(size, 0)] = '\0';
	return text;
}

/* ----------
 * Compiling
 * ----------
 */

/* A key from its text, which messages call "name". */
static bool
read_key(Key *key, const char *name, const char *text, Mistake *error)
{
	uint8	   *bytes;
	int			size;
	int			length;

	if (strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return mistake(error, psprintf("%s does not begin with \"%s\"", name, PREFIX), SECRET_HINT);
	text += strlen(PREFIX);

	/* Only what reads the same again is what every receiver takes for the same key. */
	size = pg_b64_dec_len(strlen(text));
	bytes = palloc(size + 1);
	length = pg_b64_decode(text, strlen(text), (void *) bytes, size);
	if (length < 0 || strcmp(base64(bytes, length), text) != 0)
		return mistake(error, psprintf("%s is not base64 with padding after \"%s\"", name, PREFIX),
					   SECRET_HINT);
	if (length < MIN_KEY_LENGTH || length > MAX_KEY_LENGTH)
		return mistake(error, psprintf("%s must have %d to %d bytes, not %d",
									   name, MIN_KEY_LENGTH, MAX_KEY_LENGTH, length), SECRET_HINT);
	key->length = length;
	memcpy(key->bytes, bytes, length);
	return true;
}

/* {"secret": "name"} */
static bool
compile_reference(Key *key, const char *name, JsonbContainer *object, Secrets *references,
				  Mistake *error)
{
	JsonbValue	found;

	if (JsonContainerSize(object) != 1 ||
		getKeyJsonValueFromContainer(object, "secret", 6, &found) == NULL ||
		found.type != jbvString ||
		!secret_is_name(slice(found.val.string.val, found.val.string.len)))
		return mistake(error, psprintf("%s does not name a secret", name),
					   "Write for example {\"secret\": {\"secret\": \"webhook_key\"}}.");
	key->name = pnstrdup(found.val.string.val, found.val.string.len);
	if (strncmp(key->name, PREFIX, strlen(PREFIX)) == 0)
		return mistake(error, psprintf("%s names a secret by its value", name),
					   "hooks.set_secret() gives it a name; write for example {\"secret\": {\"secret\": \"webhook_key\"}}.");
	return secrets_add(references, key->name, error);
}

/* One secret, which messages call by "name". */
static bool
compile_key(Key *key, const char *name, const JsonbValue *value, Secrets *references,
			Mistake *error)
{
	if (references != NULL && value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data))
		return compile_reference(key, name, value->val.binary.data, references, error);
	if (value->type != jbvString)
		return mistake(error, psprintf("%s must be a string", name), SECRET_HINT);
	return read_key(key, name, pnstrdup(value->val.string.val, value->val.string.len), error);
}

static bool
compile_list(SignSecrets *secrets, JsonbContainer *list, Secrets *references, Mistake *error)
{
	secrets->nkeys = JsonContainerSize(list);
	if (secrets->nkeys < 1 || secrets->nkeys > MAX_SECRETS)
		return mistake(error, psprintf("\"secret\" must have 1 to %d elements, not %d",
									   MAX_SECRETS, secrets->nkeys),
					   "For example {\"secret\": [\"" EXAMPLE "\"]}; the newest secret comes first.");
	for (int i = 0; i < secrets->nkeys; i++)
	{
		if (!compile_key(&secrets->keys[i], psprintf("element %d of \"secret\"", i + 1),
						 getIthJsonbValueFromContainer(list, i), references, error))
			return false;
	}
	return true;
}

SignSecrets *
sign_secrets_compile(const JsonbValue *value, Secrets *references, Mistake *error)
{
	SignSecrets *secrets = palloc0(sizeof(SignSecrets));
	bool		good;

	if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data))
		good = compile_list(secrets, value->val.binary.data, references, error);
	else if (value->type == jbvString || (value->type == jbvBinary && references != NULL))
	{
		secrets->nkeys = 1;
		good = compile_key(&secrets->keys[0], "\"secret\"", value, references, error);
	}
	else
		good = mistake(error, "\"secret\" must be a string or a list of strings",
					   "For example {\"secret\": \"" EXAMPLE "\"}; hooks.generate_secret() makes one.");
	return good ? secrets : NULL;
}

/* ----------
 * Signing
 * ----------
 */

static bool
compute_digest(const Key *key, const char *start, const char *body, size_t length,
			   uint8 digest[PG_SHA256_DIGEST_LENGTH])
{
	pg_hmac_ctx *context = pg_hmac_create(PG_SHA256);
	bool		good;

	if (context == NULL)
		return false;
	good = pg_hmac_init(context, key->bytes, key->length) >= 0 &&
		pg_hmac_update(context, (const uint8 *) start, strlen(start)) >= 0 &&
		pg_hmac_update(context, (const uint8 *) body, length) >= 0 &&
		pg_hmac_final(context, digest, PG_SHA256_DIGEST_LENGTH) >= 0;
	pg_hmac_free(context);
	return good;
}

/* One of the signatures, "v1,...". */
static char *
sign(const Key *key, const Secrets *references, const char *start, const char *body, size_t length,
	 Mistake *error)
{
	Key			named = {0};
	uint8		digest[PG_SHA256_DIGEST_LENGTH];

	if (key->name != NULL && references == NULL)
		return "v1," SECRET_MASK;
	if (key->name != NULL)
	{
		if (!read_key(&named, psprintf("secret \"%s\"", key->name),
					  secrets_value(references, key->name), error))
			return NULL;
		key = &named;
	}
	if (!compute_digest(key, start, body, length, digest))
	{
		(void) mistake(error, "signature could not be computed", NULL);
		return NULL;
	}
	return psprintf("v1,%s", base64(digest, sizeof(digest)));
}

char *
sign_header(const SignSecrets *secrets, const Secrets *references, const char *id,
			int64 unix_seconds, const char *body, size_t length, Mistake *error)
{
	char	   *start = psprintf("%s." INT64_FORMAT ".", id, unix_seconds);
	StringInfoData header;

	initStringInfo(&header);
	for (int i = 0; i < secrets->nkeys; i++)
	{
		char	   *signature = sign(&secrets->keys[i], references, start, body, length, error);

		if (signature == NULL)
			return NULL;
		appendStringInfo(&header, "%s%s", i > 0 ? " " : "", signature);
	}
	return header.data;
}

char *
sign_secret_generate(void)
{
	uint8		key[NEW_KEY_LENGTH];

	if (!pg_strong_random(key, sizeof(key)))
		return NULL;
	return psprintf(PREFIX "%s", base64(key, sizeof(key)));
}
