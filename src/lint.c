/*-------------------------------------------------------------------------
 *
 * lint.c
 *		Warnings about hooks that are legal, but probably not what was meant.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "condition.h"
#include "expression.h"
#include "lint.h"
#include "number.h"

typedef struct Lint
{
	TriggerType type;
	const char *column;			/* looked at now */
	LintReport	report;
	void	   *arg;
} Lint;

static void
warn(Lint *lint, const char *warning, const char *hint)
{
	lint->report(lint->arg, lint->column, warning, hint);
}

/* ----------
 * Conditions
 * ----------
 */

static bool
find_key(const Jsonb *object, const char *key, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&unconstify(Jsonb *, object)->root, key, strlen(key),
										value) != NULL && value->type != jbvNull;
}

/* A smallest number above the largest. */
static void
check_range(Lint *lint, const Jsonb *conditions, const char *least, const char *most)
{
	JsonbValue	from;
	JsonbValue	to;
	Number		number;
	int			order;

	if (find_key(conditions, least, &from) && find_key(conditions, most, &to) &&
		number_compile(&to, &number) && number_compare(&from, &number, &order) && order > 0)
		warn(lint, psprintf("\"%s\" is larger than \"%s\": no event satisfies both", least, most),
			 psprintf("Swap them, or leave one out."));
}

/* Calls a function for a string, or each string of a list. */
static void
each_string(Lint *lint, const JsonbValue *value, void (*look) (Lint *lint, Slice string))
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (value->type == jbvString)
		look(lint, slice(value->val.string.val, value->val.string.len));
	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		return;
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM && item.type == jbvString)
			look(lint, slice(item.val.string.val, item.val.string.len));
	}
}

static void
look_at_currency(Lint *lint, Slice currency)
{
	bool		good = currency.len == 3;

	for (int i = 0; i < currency.len && good; i++)
		good = currency.data[i] >= 'A' && currency.data[i] <= 'Z';
	if (!good)
		warn(lint, psprintf("\"%s\" is no code of a currency, so \"currency\" never holds",
							quotable(currency.data, currency.len)),
			 "Codes are three capital letters, for example \"EUR\", and compared exactly.");
}

static const char *const platforms[] = {
	"youtube", "twitch", "facebook", "kick", "tiktok", "trovo", "instagram", "rumble"
};

static void
look_at_platform(Lint *lint, Slice platform)
{
	Nearest		nearest;

	nearest_begin(&nearest, platform.data, platform.len);
	for (size_t i = 0; i < lengthof(platforms); i++)
	{
		if (slice_equal(platform, slice(platforms[i], strlen(platforms[i])), true))
			return;
		nearest_offer(&nearest, platforms[i]);
	}
	warn(lint, psprintf("platform \"%s\" is not known", quotable(platform.data, platform.len)),
		 nearest.best ? psprintf("Did you mean \"%s\"?", nearest.best) : NULL);
}

static void
lint_conditions(Lint *lint, const Jsonb *conditions)
{
	JsonbValue	value;
	Mistake		error;
	Condition  *condition;
	const Field *field;
	const char *key;

	lint->column = "conditions";
	condition = condition_compile(conditions, lint->type, false, &error);
	if (condition == NULL)
		return;
	check_range(lint, conditions, "min_amount", "max_amount");
	check_range(lint, conditions, "min_viewers", "max_viewers");
	check_range(lint, conditions, "min_months", "max_months");
	if (find_key(conditions, "currency", &value))
		each_string(lint, &value, look_at_currency);
	if (find_key(conditions, "platform", &value))
		each_string(lint, &value, look_at_platform);
	if (find_key(conditions, "chance", &value) && value.type == jbvNumeric)
	{
		Slice		chance = json_text(&value);

		if (strspn(pnstrdup(chance.data, chance.len), "0.") == (size_t) chance.len)
			warn(lint, "\"chance\" is 0: the hook never fires", "Set \"enabled\" to false to switch it off.");
	}
	for (int i = 0; condition_field(condition, i, &field, &key); i++)
	{
		if (!field_applies(field, lint->type))
			warn(lint, psprintf("events of type \"%s\" have no field \"%s\"",
								trigger_type_name(lint->type), field_name(field)),
				 psprintf("Look at condition \"%s\".", key));
	}
}

/* ----------
 * Templates
 * ----------
 */

static bool
is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '_' || c == '.' || c == '-';
}

/* {{name}} that is no variable, and so stays as it is. */
static void
look_at_braces(Lint *lint, const char *p, const char *end)
{
	const char *name;
	const char *name_end;
	const char *known;
	Nearest		nearest;

	p += 2;
	while (p < end && *p == ' ')
		p++;
	name = p;
	while (p < end && is_name_char(*p))
		p++;
	name_end = p;
	while (p < end && *p == ' ')
		p++;
	if (name == name_end || end - p < 2 || p[0] != '}' || p[1] != '}')
		return;

	nearest_begin(&nearest, name, name_end - name);
	for (int i = 0; (known = field_variable_name(i)) != NULL; i++)
		nearest_offer(&nearest, known);
	warn(lint, psprintf("\"%s\" is no variable, and stays as it is", quotable(name, name_end - name)),
		 nearest.best ? psprintf("Did you mean {{%s}}?", nearest.best) :
		 "Fields of the event's data are named like {{data.goal}} or {{data.metadata.goal}}.");
}

static void
look_at_template(Lint *lint, Slice text)
{
	const char *p = text.data;
	const char *end = p + text.len;

	while ((p = memmem(p, end - p, "{{", 2)) != NULL)
	{
		Expression *expression;
		Mistake		error;
		int			len;
		ExpressionFound found = expression_parse(p, end, false, &expression, &len, &error);

		if (found == EXPRESSION_WRONG)
			found = expression_parse(p, end, true, &expression, &len, &error);
		if (found != EXPRESSION_GOOD)
		{
			if (found == EXPRESSION_NONE)
				look_at_braces(lint, p, end);
			p++;
			continue;
		}
		if (expression_field(expression) != NULL &&
			!field_applies(expression_field(expression), lint->type))
			warn(lint, psprintf("variable \"%s\" is always empty for events of type \"%s\"",
								field_name(expression_field(expression)), trigger_type_name(lint->type)),
				 NULL);
		p += len;
	}
}

static void
lint_config(Lint *lint, const Jsonb *config)
{
	JsonbIterator *iterator = JsonbIteratorInit(&unconstify(Jsonb *, config)->root);
	JsonbIteratorToken token;
	JsonbValue	value;

	lint->column = "action_config";
	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) && value.type == jbvString)
			look_at_template(lint, slice(value.val.string.val, value.val.string.len));
	}
}

void
lint_hook(TriggerType type, const Jsonb *conditions, const Jsonb *config,
		  LintReport report, void *arg)
{
	Lint		lint = {.type = type, .report = report, .arg = arg};

	if (conditions != NULL && JB_ROOT_IS_OBJECT(conditions))
		lint_conditions(&lint, conditions);
	if (config != NULL)
		lint_config(&lint, config);
}
