/*-------------------------------------------------------------------------
 *
 * hooks_fuzz.c
 *		libFuzzer inside a server process, called by an SQL function.
 *
 * The code under test uses the server's memory, jsonb and numeric, so it is
 * run where they are.  hooks_fuzz(target, arguments) hands the arguments to
 * libFuzzer, which calls the target for every input and, when it is done with
 * many, ends the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "address.h"
#include "chat_gateway.h"
#include "fuzz.h"
#include "settings.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(hooks_fuzz);

/* libFuzzer's entry for those who have a main() of their own. */
extern int	LLVMFuzzerRunDriver(int *argc, char ***argv,
								int (*callback) (const uint8_t *data, size_t size));

/* Settings that the code under test reads. */
bool		hooks_allow_http = false;
char	   *hooks_discord_url = "https://discord.com/api/v10";
char	   *hooks_smtp_url = "smtp://mail.example.com";
char	   *hooks_smtp_from = "Example, Inc. <hooks@example.com>";
int			hooks_email_rate = 60;
int			hooks_chat = CHAT_DIRECT;
char	   *hooks_chat_gateway_url = "https://gateway.example.com/chat";
char	   *hooks_twitch_url = "https://api.twitch.tv";
char	   *hooks_kick_url = "https://api.kick.com";
char	   *hooks_youtube_url = "https://www.googleapis.com";
AddressRanges *hooks_allow_addresses = NULL;
AddressRanges *hooks_deny_addresses = NULL;

/* A gateway's secret, which no file is read for. */
const SignSecrets *
chat_gateway_secrets(void)
{
	JsonbValue	value = {.type = jbvString};
	Mistake		error;

	value.val.string.val = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
	value.val.string.len = (int) strlen(value.val.string.val);
	return sign_secrets_compile(&value, NULL, &error);
}

static const FuzzTarget targets[] = {
	{"condition", fuzz_condition},
	{"template", fuzz_template},
	{"json_body", fuzz_json_body},
	{"number", fuzz_number},
	{"text", fuzz_text},
	{"webhook", fuzz_webhook},
	{"discord", fuzz_discord},
	{"mail", fuzz_mail},
	{"smtp", fuzz_smtp},
	{"address", fuzz_address},
	{"answer", fuzz_answer},
	{"chat", fuzz_chat},
	{"chat_request", fuzz_chat_request},
};

static const FuzzTarget *target;
static MemoryContext input_context;

void
fuzz_fail(const char *format,...)
{
	va_list		args;

	fputs("hooks_fuzz: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

/* The code under test promises never to raise an error. */
static void
fail_for_error(Slice input)
{
	ErrorData  *error;

	MemoryContextSwitchTo(input_context);
	error = CopyErrorData();
	fprintf(stderr, "hooks_fuzz: input of %d bytes: ", input.len);
	fwrite(input.data, 1, input.len, stderr);
	fputc('\n', stderr);
	fuzz_fail("an error was raised at %s:%d: %s", error->filename, error->lineno, error->message);
}

/* Run it; only a lack of memory may raise an error.  How many allocations it took. */
static size_t
run_once(Slice input, bool short_of_memory)
{
	MemoryContext context = MemoryContextSwitchTo(input_context);

	PG_TRY();
	{
		target->run(input);
	}
	PG_CATCH();
	{
		if (!short_of_memory || geterrcode() != ERRCODE_OUT_OF_MEMORY)
			fail_for_error(input);
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	MemoryContextReset(input_context);
	return fuzz_memory_reset();
}

/*
 * Every fourth input is run again with one allocation that fails, any of them,
 * and once more, to see that this has left nothing behind.
 */
static int
run(const uint8_t *data, size_t size)
{
	Slice		input = slice((const char *) data, size);
	uint32		chance = hash_bytes(data, (int) size);
	size_t		n = run_once(input, false);

	if (n == 0 || chance % 4 != 0)
		return 0;
	fuzz_memory_fail_at(1 + chance / 4 % n);
	(void) run_once(input, true);
	(void) run_once(input, false);
	return 0;
}

/* hooks_fuzz(target text, arguments text[]) returns void */
Datum
hooks_fuzz(PG_FUNCTION_ARGS)
{
	static const int signals[] = {SIGALRM, SIGINT, SIGTERM, SIGFPE};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum	   *elements;
	int			nelements;
	int			argc = 1;
	char	  **argv;

	if (GetDatabaseEncoding() != PG_UTF8)
		elog(ERROR, "the database must be encoded in UTF8");
	for (size_t i = 0; i < lengthof(targets); i++)
	{
		if (strcmp(targets[i].name, name) == 0)
			target = &targets[i];
	}
	if (target == NULL)
		elog(ERROR, "there is no target \"%s\"", name);

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &nelements);
	argv = palloc0((nelements + 2) * sizeof(char *));
	argv[0] = pstrdup("hooks_fuzz");
	for (int i = 0; i < nelements; i++)
		argv[argc++] = TextDatumGetCString(elements[i]);

	/* libFuzzer leaves signals alone that somebody handles; it needs these. */
	for (size_t i = 0; i < lengthof(signals); i++)
		signal(signals[i], SIG_DFL);

	input_context = AllocSetContextCreate(TopMemoryContext, "hooks_fuzz", ALLOCSET_DEFAULT_SIZES);
	if (LLVMFuzzerRunDriver(&argc, &argv, run) != 0)
		elog(ERROR, "libFuzzer failed");
	PG_RETURN_VOID();
}
