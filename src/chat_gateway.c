/*-------------------------------------------------------------------------
 *
 * chat_gateway.c
 *		The application's own sender of chat messages.  See chat_gateway.h.
 *
 * The secret is in a file (private_file.h); while it is changed, the file has
 * the new and the old one, with a blank between them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "chat_gateway.h"
#include "private_file.h"
#include "settings.h"
#include "url.h"

#define MAX_LINE 1024

static MemoryContext secrets_context = NULL;
static SignSecrets *secrets = NULL;
static bool looked = false;

bool
chat_gateway_check_url(char **newval, void **extra, GucSource source)
{
	UrlParts	parts;
	Mistake		error;

	if (**newval == '\0' || url_check_service(*newval, &parts, &error))
		return true;
	GUC_check_errdetail("The %s.", error.message);
	if (error.hint)
		GUC_check_errhint("%s", error.hint);
	return false;
}

void
chat_gateway_forget(void)
{
	looked = false;
}

/* The words of the line as a list of secrets. */
static SignSecrets *
compile(char *line, Mistake *error)
{
	StringInfoData json;
	JsonbValue	list = {.type = jbvBinary};
	Jsonb	   *words;
	char	   *rest = line;
	char	   *word;

	initStringInfo(&json);
	while ((word = strsep(&rest, " \t")) != NULL)
	{
		if (*word == '\0')
			continue;
		appendStringInfoChar(&json, json.len == 0 ? '[' : ',');
		escape_json(&json, word);
	}
	appendStringInfoString(&json, json.len == 0 ? "[]" : "]");
	words = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
	list.val.binary.data = &words->root;
	list.val.binary.len = VARSIZE(words) - VARHDRSZ;
	return sign_secrets_compile(&list, NULL, error);
}

static void
load(void)
{
	char		line[MAX_LINE + 1];
	Mistake		error = {0};

	secrets = NULL;
	if (*hooks_chat_gateway_secret_file == '\0' ||
		!private_file_read(hooks_chat_gateway_secret_file, "secret", line, sizeof(line)))
		return;
	if (!pg_verify_mbstr(PG_UTF8, line, strlen(line), true))
		(void) mistake(&error, "it is not valid UTF-8", NULL);
	else
		secrets = compile(line, &error);
	memset(line, 0, sizeof(line));
	if (secrets == NULL)
		ereport(LOG,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("secret file \"%s\" holds no secret: %s", hooks_chat_gateway_secret_file,
						error.message),
				 errhint("hooks.generate_secret() makes one, for example \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\".")));
}

const SignSecrets *
chat_gateway_secrets(void)
{
	MemoryContext previous;

	if (looked)
		return secrets;
	if (secrets_context == NULL)
		secrets_context = AllocSetContextCreate(TopMemoryContext, "hooks chat gateway",
												ALLOCSET_SMALL_SIZES);
	MemoryContextReset(secrets_context);
	previous = MemoryContextSwitchTo(secrets_context);
	load();
	MemoryContextSwitchTo(previous);
	looked = true;
	return secrets;
}
