/*-------------------------------------------------------------------------
 *
 * json.c
 *		Looking at JSON texts, by the server's parser.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"

#include "compat.h"
#include "fuzz.h"

#if PG_VERSION_NUM >= 160000
#define ACTION JsonParseErrorType
#define ACTION_DONE return JSON_SUCCESS
#else
#define ACTION void
#define ACTION_DONE return
#endif

typedef struct Structure
{
	StringInfoData text;
	int			depth;
	bool		top_only;
} Structure;

/* What stands in no more than so many objects and arrays, if only the top level counts. */
static void
add(Structure *s, int depth, const char *text)
{
	if (!s->top_only || s->depth <= depth)
		appendStringInfoString(&s->text, text);
}

static ACTION
object_start(void *state)
{
	add(state, 0, "{");
	((Structure *) state)->depth++;
	ACTION_DONE;
}

static ACTION
object_end(void *state)
{
	((Structure *) state)->depth--;
	add(state, 0, "}");
	ACTION_DONE;
}

static ACTION
array_start(void *state)
{
	add(state, 0, "[");
	((Structure *) state)->depth++;
	ACTION_DONE;
}

static ACTION
array_end(void *state)
{
	((Structure *) state)->depth--;
	add(state, 0, "]");
	ACTION_DONE;
}

static ACTION
field_start(void *state, char *name, bool isnull)
{
	add(state, 1, name);
	add(state, 1, ":");
	ACTION_DONE;
}

/* What the value is does not matter at the top level, if that is all. */
static ACTION
scalar(void *state, char *token, JsonTokenType type)
{
	if (!((Structure *) state)->top_only)
		add(state, 0, "value,");
	ACTION_DONE;
}

/* The parser raises an error when the stack ends, and for nothing else here. */
static JsonParseErrorType
parse(Slice text, JsonSemAction *actions, bool *deep)
{
	MemoryContext context = CurrentMemoryContext;
	volatile JsonParseErrorType result = JSON_SUCCESS;
	JsonLexContext *lex;

	*deep = false;
	PG_TRY();
	{
#if PG_VERSION_NUM >= 170000
		lex = makeJsonLexContextCstringLen(NULL, unconstify(char *, text.data), text.len, PG_UTF8, true);
#else
		lex = makeJsonLexContextCstringLen(unconstify(char *, text.data), text.len, PG_UTF8, true);
#endif
		result = pg_parse_json(lex, actions);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		*deep = true;
		result = JSON_EXPECTED_JSON;
	}
	PG_END_TRY();
	return result;
}

bool
fuzz_parses(Slice text, bool *deep)
{
	JsonSemAction nothing = {0};

	return parse(text, &nothing, deep) == JSON_SUCCESS;
}

char *
fuzz_structure(Slice text, bool top_only)
{
	Structure	structure = {.top_only = top_only};
	JsonSemAction actions = {
		.semstate = &structure,
		.object_start = object_start,
		.object_end = object_end,
		.array_start = array_start,
		.array_end = array_end,
		.object_field_start = field_start,
		.scalar = scalar,
	};
	bool		deep;

	initStringInfo(&structure.text);
	return parse(text, &actions, &deep) == JSON_SUCCESS ? structure.text.data : NULL;
}
