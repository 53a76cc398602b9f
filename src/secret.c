/*-------------------------------------------------------------------------
 *
 * secret.c
 *		Secrets of users: hooks.secret.
 *
 * This is the only place where a secret is read or written.  Values are sealed
 * (seal.h) if hooks.secret_key_file says with what; nobody reads them back but
 * for the message that needs them.  The key file is read each time: so nothing
 * has to be told that it has changed, and no key stays in memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "private_file.h"
#include "seal.h"
#include "secret.h"
#include "settings.h"
#include "tables.h"

PG_FUNCTION_INFO_V1(hooks_seal);
PG_FUNCTION_INFO_V1(hooks_reseal);

#define MAX_VALUE 4096

/* The server log hears of secrets that cannot be opened once in a while. */
#define COMPLAIN_EVERY USECS_PER_MINUTE

/* ----------
 * Keys
 * ----------
 */

/* False when there should be keys, but they cannot be had; the server log says why. */
static bool
read_keys(SealKeys *keys)
{
	char		line[SEAL_MAX_LINE + 1];
	bool		good;

	memset(keys, 0, sizeof(*keys));
	if (*hooks_secret_key_file == '\0')
		return true;
	if (!private_file_read(hooks_secret_key_file, "key", line, sizeof(line)))
		return false;
	good = seal_keys_parse(line, keys);
	explicit_bzero(line, sizeof(line));
	if (!good)
		ereport(LOG,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("key file \"%s\" does not hold keys of secrets", hooks_secret_key_file),
				 errhint("It holds a line with one to %d keys, the newest first, each 64 hexadecimal digits, "
						 "for example what \"openssl rand -hex 32\" prints.", SEAL_MAX_KEYS)));
	return good;
}

static void
forget_keys(SealKeys *keys)
{
	explicit_bzero(keys, sizeof(*keys));
}

/* ----------
 * Reading
 * ----------
 */

/* Somebody who can mend it is to know. */
static void
complain(const pg_uuid_t *user, const char *name, const char *why)
{
	static TimestampTz next = DT_NOBEGIN;
	TimestampTz now = GetCurrentTimestamp();

	if (now < next && next - now <= COMPLAIN_EVERY)
		return;
	next = now + COMPLAIN_EVERY;
	ereport(LOG,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("secret \"%s\" of user %s cannot be opened: %s", name,
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(user))), why),
			 errhint("The file of hooks.secret_key_file has to hold the key that was the first in it when the "
					 "secret was written; hooks.set_secret() writes it anew.")));
}

static SecretState
open_value(const pg_uuid_t *user, const char *name, const bytea *sealed, char **value)
{
	SealKeys	keys;
	SealState	state;
	bool		read = read_keys(&keys);

	/* What is not sealed needs no key. */
	state = seal_open(&keys, user, name, sealed, value);
	forget_keys(&keys);
	if (state == SEAL_OPEN)
		return SECRET_READY;
	complain(user, name, state == SEAL_BROKEN ? "it was changed, or is another one's" :
			 read ? "none of the keys is the one that it was sealed with" :
			 "the key file cannot be read");
	return SECRET_SEALED;
}

/* Needs a transaction.  *is_token: a chat account of the user's names it. */
static SecretState
read_secret(const pg_uuid_t *user, const char *name, char **value, bool *is_token)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {UUIDOID, TEXTOID};
	Datum		arguments[] = {UUIDPGetDatum(user), CStringGetTextDatum(name)};
	MemoryContext context = CurrentMemoryContext;
	bytea	   *sealed = NULL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare("SELECT value, EXISTS (SELECT FROM hooks.chat_accounts AS a"
									   " WHERE a.user_id OPERATOR(pg_catalog.=) $1"
									   " AND a.token OPERATOR(pg_catalog.=) $2)"
									   " FROM hooks.secret"
									   " WHERE user_id OPERATOR(pg_catalog.=) $1"
									   " AND name OPERATOR(pg_catalog.=) $2",
									   lengthof(types), types);

		if (made == NULL)
			elog(ERROR, "could not prepare query: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(made);
		plan = made;
	}
	if (SPI_execute_plan(plan, arguments, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a secret");
	if (SPI_processed > 0)
	{
		MemoryContext spi = MemoryContextSwitchTo(context);
		bool		isnull;

		sealed = DatumGetByteaPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
												  &isnull));
		*is_token = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2,
											   &isnull));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return sealed ? open_value(user, name, sealed, value) : SECRET_NONE;
}

SecretState
secret_token(const pg_uuid_t *user, const char *name, char **value)
{
	bool		is_token;

	*value = NULL;
	return read_secret(user, name, value, &is_token);
}

/* All that a hook names; needs a transaction. */
static SecretState
read_secrets(const pg_uuid_t *user, Secrets *secrets, const char **why)
{
	for (int i = 0; i < secrets->n; i++)
	{
		char	   *value = NULL;
		bool		is_token = false;
		SecretState state = read_secret(user, secrets->names[i], &value, &is_token);

		if (is_token)
		{
			*why = psprintf("secret \"%s\" is the token of a chat account", secrets->names[i]);
			return SECRET_NONE;
		}
		if (state == SECRET_NONE)
			*why = psprintf("secret \"%s\" is not there", secrets->names[i]);
		else if (state == SECRET_SEALED)
			*why = psprintf("secret \"%s\" cannot be opened", secrets->names[i]);
		if (state != SECRET_READY)
			return state;
		secrets->values[i] = value;
	}
	return SECRET_READY;
}

/* What the worker asks for, and is told. */
typedef struct Request
{
	const pg_uuid_t *user;
	Secrets    *secrets;
	const char *why;
	SecretState state;
} Request;

static void
answer(void *arg)
{
	Request    *request = arg;

	request->state = read_secrets(request->user, request->secrets, &request->why);
}

SecretState
secrets_read(const pg_uuid_t *user, Secrets *secrets, const char **why)
{
	Request		request = {user, secrets};

	if (!tables_read(answer, &request))
		return SECRET_LOCKED;
	*why = request.why;
	return request.state;
}

SecretState
secrets_look(const pg_uuid_t *hook, Secrets *secrets, const char **why)
{
	MemoryContext caller = CurrentMemoryContext;
	SecretState state = SECRET_NONE;
	pg_uuid_t	user;
	TablesUser	saved;

	*why = "there is no such hook";
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (tables_visible_user(hook, &user))
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		tables_act_as_owner(tables_machinery("secret"), &saved);
		state = read_secrets(&user, secrets, why);
		tables_act_done(&saved);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return state;
}

/* ----------
 * Writing
 * ----------
 */

/* Statements that hold a secret are not to be in the server log because of what is wrong with it. */
static void
refuse(int code, const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(code), errmsg("%s", message), errhint("%s", hint),
			 errhidestmt(true), errhidecontext(true)));
}

static bool
is_value(const char *value)
{
	const char *c = value;

	while (*c > ' ' && *c <= '~')
		c++;
	return *c == '\0' && c > value && c - value <= MAX_VALUE;
}

static void
need_keys(SealKeys *keys)
{
	if (!read_keys(keys))
		refuse(ERRCODE_CONFIG_FILE_ERROR, "key file of secrets cannot be read",
			   "The server log says why; hooks.secret_key_file names the file.");
}

static bytea *
seal_now(const SealKeys *keys, const pg_uuid_t *user, const char *name, const char *value)
{
	bytea	   *sealed = seal_value(keys, user, name, value, (int) strlen(value));

	if (sealed == NULL)
		refuse(ERRCODE_INTERNAL_ERROR, "secret could not be sealed", "OpenSSL refused AES-256-GCM.");
	return sealed;
}

/* hooks.seal(user_id, name, value) returns bytea: what hooks.secret is to hold */
Datum
hooks_seal(PG_FUNCTION_ARGS)
{
	SealKeys	keys;
	char	   *name;
	char	   *value;
	bytea	   *sealed;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		refuse(ERRCODE_NULL_VALUE_NOT_ALLOWED, "user, name and value of a secret must not be null",
			   "hooks.drop_secret() removes a secret.");
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	value = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!secret_is_name(slice(name, strlen(name))))
		refuse(ERRCODE_INVALID_PARAMETER_VALUE, "name of a secret is not valid",
			   "It may have 64 letters, digits, \"_\", \".\" and \"-\", for example \"twitch_token\".");
	if (!is_value(value))
		refuse(ERRCODE_INVALID_PARAMETER_VALUE,
			   psprintf("value of secret \"%s\" is not valid", name),
			   "It may have 4096 characters of ASCII, and no blanks.");
	need_keys(&keys);
	sealed = seal_now(&keys, PG_GETARG_UUID_P(0), name, value);
	forget_keys(&keys);
	PG_RETURN_BYTEA_P(sealed);
}

/* hooks.reseal(user_id, name, value) returns bytea: sealed with the newest key; null when it is */
Datum
hooks_reseal(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *user = PG_GETARG_UUID_P(0);
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	bytea	   *old = PG_GETARG_BYTEA_PP(2);
	bytea	   *sealed;
	char	   *value;
	SealKeys	keys;

	need_keys(&keys);
	if (seal_is_current(&keys, old))
	{
		forget_keys(&keys);
		PG_RETURN_NULL();
	}
	if (seal_open(&keys, user, name, old, &value) != SEAL_OPEN)
		refuse(ERRCODE_CONFIG_FILE_ERROR,
			   psprintf("secret \"%s\" of user %s cannot be opened", name,
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(user)))),
			   "The file of hooks.secret_key_file has to hold the key that was the first in it when the secret "
			   "was written; hooks.set_secret() writes it anew, hooks.drop_secret() removes it.");
	sealed = seal_now(&keys, user, name, value);
	forget_keys(&keys);
	PG_RETURN_BYTEA_P(sealed);
}
