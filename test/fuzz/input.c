/*-------------------------------------------------------------------------
 *
 * input.c
 *		From the fuzzer's bytes to what the database could hold.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"

#include "fuzz.h"

Slice
fuzz_copy(Slice text)
{
	char	   *copy = fuzz_palloc(text.len);

	memcpy(copy, text.data, text.len);
	return slice(copy, text.len);
}

bool
fuzz_split(Slice input, bool at_last, Slice *first, Slice *second)
{
	const char *newline = at_last ? memrchr(input.data, '\n', input.len) :
		memchr(input.data, '\n', input.len);

	if (newline == NULL)
		return false;
	*first = fuzz_copy(slice(input.data, newline - input.data));
	*second = fuzz_copy(slice(newline + 1, input.data + input.len - newline - 1));
	return true;
}

bool
fuzz_is_text(Slice text)
{
	return memchr(text.data, '\0', text.len) == NULL && pg_verifymbstr(text.data, text.len, true);
}

/* Errors are the server's here: \u0000, numbers that numeric cannot hold. */
Jsonb *
fuzz_jsonb(Slice text)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile jsonb = NULL;
	bool		deep;

	if (!fuzz_is_text(text) || !fuzz_parses(text, &deep))
		return NULL;
	PG_TRY();
	{
		jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												   CStringGetDatum(pnstrdup(text.data, text.len))));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		return NULL;
	}
	PG_END_TRY();
	return memcpy(fuzz_palloc(VARSIZE(jsonb)), jsonb, VARSIZE(jsonb));
}

void
fuzz_event(Jsonb *row, Event *event)
{
	JsonbValue	type;

	argument_event(row, false, event);
	if (event_field(event, "type", &type) && type.type == jbvString)
		event->type = trigger_type_parse(type.val.string.val, type.val.string.len);
}

void
fuzz_check_mistake(const Mistake *error)
{
	FUZZ_CHECK(error->message != NULL && error->message[0] != '\0');
	FUZZ_CHECK(fuzz_is_text(slice(error->message, strlen(error->message))));
	FUZZ_CHECK(strlen(error->message) < 1000);
	if (error->hint != NULL)
		FUZZ_CHECK(fuzz_is_text(slice(error->hint, strlen(error->hint))));
}
