/*-------------------------------------------------------------------------
 *
 * answer_json.c
 *		What an answer's JSON body says.  See answer_json.h.
 *
 * Services say in the body what their status does not: that a message was
 * dropped, how long to wait, under which number it can be found.  Whatever
 * else comes is no JSON, and says nothing.
 *
 * Pure, but for PostgreSQL's own parser.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "answer_json.h"

#define MAX_PATH_PART 64

Jsonb *
answer_json(const Answer *answer)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile json = NULL;

	if (answer->body == NULL || answer->body_length == 0 || answer->body_length > ANSWER_MAX_BODY ||
		!pg_verify_mbstr(GetDatabaseEncoding(), answer->body, (int) answer->body_length, true))
		return NULL;
	PG_TRY();
	{
		char	   *text = pnstrdup(answer->body, answer->body_length);

		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		json = NULL;
	}
	PG_END_TRY();
	return json;
}

/* A step of a path: into an object, or an array. */
static JsonbValue *
step(JsonbContainer *container, const char *part, size_t length)
{
	char		number[MAX_PATH_PART];

	if (JsonContainerIsObject(container))
	{
		JsonbValue *value = palloc(sizeof(JsonbValue));

		return getKeyJsonValueFromContainer(container, part, (int) length, value);
	}
	if (!JsonContainerIsArray(container) || JsonContainerIsScalar(container))
		return NULL;
	strlcpy(number, part, Min(length + 1, sizeof(number)));
	return getIthJsonbValueFromContainer(container, (uint32) strtoul(number, NULL, 10));
}

bool
answer_json_at(const Jsonb *json, const char *path, JsonbValue *value)
{
	JsonbContainer *container = json ? unconstify(JsonbContainer *, &json->root) : NULL;

	while (container != NULL)
	{
		size_t		length = strcspn(path, ".");
		JsonbValue *found = step(container, path, length);

		if (found == NULL || found->type == jbvNull)
			return false;
		if (path[length] == '\0')
		{
			*value = *found;
			return true;
		}
		path += length + 1;
		container = found->type == jbvBinary ? found->val.binary.data : NULL;
	}
	return false;
}

char *
answer_json_string(const Jsonb *json, const char *path)
{
	JsonbValue	value;

	if (!answer_json_at(json, path, &value) || value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

bool
answer_json_true(const Jsonb *json, const char *path)
{
	JsonbValue	value;

	return answer_json_at(json, path, &value) && value.type == jbvBool && value.val.boolean;
}

double
answer_json_number(const Jsonb *json, const char *path)
{
	JsonbValue	value;
	char	   *text;

	if (!answer_json_at(json, path, &value) || value.type != jbvNumeric)
		return -1;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
	return strtod(text, NULL);
}
