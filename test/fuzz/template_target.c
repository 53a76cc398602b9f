/*-------------------------------------------------------------------------
 *
 * template_target.c
 *		Templates: a byte for the context, the template, a newline, an event
 *		(on the last line, so that templates may have lines); and bodies that
 *		are JSON: the body, a newline, an event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz.h"

#include "template.h"

/* What one more expression may add to an output that is large already. */
#define MAX_RENDERED (16 * TEMPLATE_MAX_OUTPUT)

static const char harmless_event[] = "{\"username\": \"Ann\"}";

static Slice
render(const Template *template, const Event *event)
{
	StringInfoData out;

	fuzz_initStringInfo(&out);
	template_render(template, &(Occasion) {.event = event, .hook_name = "hook"}, &out);
	FUZZ_CHECK(out.len < MAX_RENDERED);
	FUZZ_CHECK(fuzz_is_text(slice(out.data, out.len)));
	return slice(out.data, out.len);
}

static Slice
render_harmless(const Template *template)
{
	Event		event;

	fuzz_event(fuzz_jsonb(slice(harmless_event, strlen(harmless_event))), &event);
	return render(template, &event);
}

static void
look_at_fields(const Template *template)
{
	const Field *field;

	for (int n = 0; template_field(template, n, &field); n++)
		FUZZ_CHECK(field == NULL || field_name(field) != NULL);
}

static bool
has(Slice text, const char *part)
{
	return memmem(text.data, text.len, part, strlen(part)) != NULL;
}

/* Whatever the event, the same JSON but for its strings and numbers. */
static void
check_json(const Template *template, Slice text, Slice rendered)
{
	Slice		harmless = render_harmless(template);
	size_t		blanks = 0;
	bool		deep;
	char	   *structure;
	char	   *expected;

	if (rendered.len > TEMPLATE_MAX_OUTPUT || harmless.len > TEMPLATE_MAX_OUTPUT)
		return;
	if (!fuzz_parses(rendered, &deep) && !deep)
		fuzz_fail("rendered text is not JSON: %.*s", rendered.len, rendered.data);

	while (blanks < text.len && strchr(" \t\r\n", text.data[blanks]) != NULL)
		blanks++;
	if (has(text, "json") && text.data[blanks] != '[' &&
		(text.data[blanks] != '{' || (text.len > blanks + 1 && text.data[blanks + 1] == '{')))
		return;					/* all of it may be a value of the event */
	structure = fuzz_structure(rendered, has(text, "json"));
	expected = fuzz_structure(harmless, has(text, "json"));
	if (structure != NULL && expected != NULL && strcmp(structure, expected) != 0)
		fuzz_fail("the event changes the structure from %s to %s: %.*s", expected, structure,
				  rendered.len, rendered.data);
}

void
fuzz_template(Slice input)
{
	static const TemplateContext contexts[] = {
		TEMPLATE_TEXT, TEMPLATE_JSON, TEMPLATE_URL, TEMPLATE_HTML, TEMPLATE_DISCORD, TEMPLATE_DISCORD_PINGS
	};
	TemplateContext context;
	Slice		text;
	Slice		event_text;
	Slice		rendered;
	Jsonb	   *row;
	Event		event;
	Mistake		error = {0};
	Template   *template;
	bool		is_json;

	if (input.len == 0)
		return;
	context = contexts[(unsigned char) (input.data[0] - 'a') % lengthof(contexts)];
	if (!fuzz_split(slice(input.data + 1, input.len - 1), true, &text, &event_text) ||
		!fuzz_is_text(text) || (row = fuzz_jsonb(event_text)) == NULL)
		return;
	fuzz_event(row, &event);

	is_json = template_is_json(text.data, text.len);
	template = template_compile(text.data, text.len, context, &error);
	if (template == NULL)
	{
		fuzz_check_mistake(&error);
		return;
	}
	FUZZ_CHECK(template_first_variable(template) < text.len);
	look_at_fields(template);
	rendered = render(template, &event);
	if (template_first_variable(template) < 0)
		FUZZ_CHECK(rendered.len == text.len && memcmp(rendered.data, text.data, text.len) == 0);
	if (context == TEMPLATE_JSON && is_json)
		check_json(template, text, rendered);
}

/* ----------
 * Bodies that are JSON
 * ----------
 */

static bool check_same(const JsonbValue *body, const JsonbValue *made);

static bool
check_same_container(JsonbContainer *body, JsonbContainer *made)
{
	JsonbIterator *iterator = JsonbIteratorInit(body);
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue	name = {0};
	JsonbValue	other;
	uint32		n = 0;

	if (JsonContainerIsArray(body) != JsonContainerIsArray(made) ||
		JsonContainerSize(body) != JsonContainerSize(made))
		return false;
	(void) JsonbIteratorNext(&iterator, &item, true);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = item;
		if (token == WJB_VALUE &&
			(getKeyJsonValueFromContainer(made, name.val.string.val, name.val.string.len, &other) == NULL ||
			 !check_same(&item, &other)))
			return false;
		if (token == WJB_ELEM && !check_same(&item, getIthJsonbValueFromContainer(made, n++)))
			return false;
	}
	return true;
}

/* Is what was made of a value of the body what it should be? */
static bool
check_same(const JsonbValue *body, const JsonbValue *made)
{
	Slice		text;

	if (body->type == jbvString)
	{
		text = slice(body->val.string.val, body->val.string.len);
		if (has(text, "{{"))
			return made->type == jbvString || has(text, "json");
	}
	if (body->type != made->type)
		return false;
	if (body->type == jbvBinary)
		return check_same_container(body->val.binary.data, made->val.binary.data);
	text = json_text(body);
	return slice_equal(text, json_text(made), false);
}

void
fuzz_json_body(Slice input)
{
	Slice		body_text;
	Slice		event_text;
	Slice		rendered;
	Jsonb	   *body;
	Jsonb	   *made;
	Jsonb	   *row;
	Event		event;
	Mistake		error = {0};
	Template   *template;
	bool		deep;

	if (!fuzz_split(input, false, &body_text, &event_text) ||
		(body = fuzz_jsonb(body_text)) == NULL || (row = fuzz_jsonb(event_text)) == NULL ||
		JB_ROOT_IS_SCALAR(body))
		return;
	fuzz_event(row, &event);
	template = template_compile_json(&body->root, &error);
	if (template == NULL)
	{
		fuzz_check_mistake(&error);
		return;
	}
	look_at_fields(template);
	rendered = render(template, &event);
	if (rendered.len > TEMPLATE_MAX_OUTPUT)
		return;
	if (!fuzz_parses(rendered, &deep) && !deep)
		fuzz_fail("body is not JSON: %.*s", rendered.len, rendered.data);

	/* Numbers of the event may be JSON, but none for jsonb. */
	made = fuzz_jsonb(rendered);
	if (made != NULL && !check_same_container(&body->root, &made->root))
		fuzz_fail("body has another structure: %.*s", rendered.len, rendered.data);
}
