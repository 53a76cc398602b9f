/*-------------------------------------------------------------------------
 *
 * filter.c
 *		The filters of templates: a row each in the table "filters".
 *
 * A filter never fails: what it cannot do anything with passes as it is, so
 * that whatever a viewer writes, the message is sent.  Its arguments are
 * checked when the hook is written.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <utf8proc.h>

#include "catalog/pg_collation.h"
#include "common/jsonapi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/formatting.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "filter.h"
#include "number.h"
#include "template.h"

#define MAX_DATE_FORMAT 64
#define MAX_DECIMALS 10

/* Digits of numbers that are formatted; longer ones pass as they are. */
#define MAX_NUMBER_LENGTH 100

static void
set_text(Value *value, Slice text)
{
	value->text = text;
	value->json = NULL;
	value->is_json = false;
}

static void
set_buffer(Value *value, StringInfo buffer)
{
	set_text(value, slice(buffer->data, buffer->len));
}

/* ----------
 * Escaping
 * ----------
 */

bool
is_json_number(Slice text)
{
	return text.len > 0 && IsValidJsonNumber(text.data, text.len);
}

void
append_json_escaped(StringInfo out, Slice text)
{
	const char *end = text.data + text.len;
	const char *plain = text.data;	/* the first byte not appended yet */

	for (const char *p = text.data; p < end; p++)
	{
		unsigned char c = *p;

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(out, plain, p - plain);
		plain = p + 1;
		switch (c)
		{
			case '\b':
				appendStringInfoString(out, "\\b");
				break;
			case '\f':
				appendStringInfoString(out, "\\f");
				break;
			case '\n':
				appendStringInfoString(out, "\\n");
				break;
			case '\r':
				appendStringInfoString(out, "\\r");
				break;
			case '\t':
				appendStringInfoString(out, "\\t");
				break;
			case '"':
			case '\\':
				appendStringInfoChar(out, '\\');
				appendStringInfoChar(out, c);
				break;
			default:
				appendStringInfo(out, "\\u%04x", c);
				break;
		}
	}
	appendBinaryStringInfo(out, plain, end - plain);
}

void
append_url_encoded(StringInfo out, Slice text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const char *p = text.data; p < text.data + text.len; p++)
	{
		unsigned char c = *p;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '_' || c == '-' || c == '.' || c == '~')
			appendStringInfoChar(out, c);
		else
		{
			appendStringInfoChar(out, '%');
			appendStringInfoChar(out, hex[c >> 4]);
			appendStringInfoChar(out, hex[c & 0xF]);
		}
	}
}

void
append_html_escaped(StringInfo out, Slice text)
{
	for (const char *p = text.data; p < text.data + text.len; p++)
	{
		switch (*p)
		{
			case '&':
				appendStringInfoString(out, "&amp;");
				break;
			case '<':
				appendStringInfoString(out, "&lt;");
				break;
			case '>':
				appendStringInfoString(out, "&gt;");
				break;
			case '"':
				appendStringInfoString(out, "&quot;");
				break;
			case '\'':
				appendStringInfoString(out, "&#39;");
				break;
			default:
				appendStringInfoChar(out, *p);
				break;
		}
	}
}

/* What is JSON, or a number, stands as it is; anything else becomes a string. */
static void
apply_json(const Filter *filter, const Occasion *occasion, Value *value)
{
	StringInfoData out;

	if (!value->is_json &&
		!is_json_number(value->text) &&
		(value->json == NULL || value->json->type == jbvString))
	{
		initStringInfo(&out);
		appendStringInfoChar(&out, '"');
		append_json_escaped(&out, value->text);
		appendStringInfoChar(&out, '"');
		set_buffer(value, &out);
	}
	value->is_json = true;
}

static void
apply_url(const Filter *filter, const Occasion *occasion, Value *value)
{
	StringInfoData out;

	initStringInfo(&out);
	append_url_encoded(&out, value->text);
	set_buffer(value, &out);
}

/* A backslash before what Discord would take for markdown. */
static void
apply_discord(const Filter *filter, const Occasion *occasion, Value *value)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < value->text.len; i++)
	{
		char		c = value->text.data[i];

		if (c != '\0' && strchr("\\*_~`|>#[]()<:-@", c) != NULL)
			appendStringInfoChar(&out, '\\');
		appendStringInfoChar(&out, c);
	}
	set_buffer(value, &out);
}

/* That it is markdown is for messages to know. */
static void
apply_markdown(const Filter *filter, const Occasion *occasion, Value *value)
{
}

/* ----------
 * Text
 * ----------
 */

static void
apply_default(const Filter *filter, const Occasion *occasion, Value *value)
{
	if (value->text.len == 0)
		set_text(value, filter->args[0]);
}

/* Each code point by Unicode's simple mapping, whatever the locale. */
static void
map_text(Value *value, utf8proc_int32_t (*map) (utf8proc_int32_t c))
{
	const char *p = value->text.data;
	const char *end = p + value->text.len;
	StringInfoData out;

	initStringInfo(&out);
	while (p < end)
	{
		const char *start = p;
		int32		c = text_next(&p, end);
		char		buffer[4];

		if (c < 0)
			appendBinaryStringInfo(&out, start, p - start);
		else
			appendBinaryStringInfo(&out, buffer, text_put(buffer, map(c)));
	}
	set_buffer(value, &out);
}

static void
apply_upper(const Filter *filter, const Occasion *occasion, Value *value)
{
	map_text(value, utf8proc_toupper);
}

static void
apply_lower(const Filter *filter, const Occasion *occasion, Value *value)
{
	map_text(value, utf8proc_tolower);
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void
apply_trim(const Filter *filter, const Occasion *occasion, Value *value)
{
	Slice		text = value->text;

	while (text.len > 0 && is_blank(text.data[0]))
		text = slice(text.data + 1, text.len - 1);
	while (text.len > 0 && is_blank(text.data[text.len - 1]))
		text.len--;
	set_text(value, text);
}

/* A number in decimal digits, between two others. */
static bool
check_number(Filter *filter, int from, int to)
{
	Slice		text = filter->args[0];

	if (text.len < 1 || text.len > 6)
		return false;
	filter->number = 0;
	for (int i = 0; i < text.len; i++)
	{
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
		filter->number = filter->number * 10 + (text.data[i] - '0');
	}
	return filter->number >= from && filter->number <= to;
}

static bool
check_truncate(Filter *filter)
{
	return check_number(filter, 1, 100000);
}

/* At most so many characters, the last of which is an ellipsis when something is cut. */
static void
apply_truncate(const Filter *filter, const Occasion *occasion, Value *value)
{
	const char *p = value->text.data;
	const char *end = p + value->text.len;
	const char *before_last = p;
	StringInfoData out;

	for (int i = 0; i < filter->number; i++)
	{
		if (p == end)
			return;
		before_last = p;
		(void) text_next(&p, end);
	}
	if (p == end)
		return;
	initStringInfo(&out);
	appendBinaryStringInfo(&out, value->text.data, before_last - value->text.data);
	appendStringInfoString(&out, "…");
	set_buffer(value, &out);
}

static bool
check_replace(Filter *filter)
{
	return filter->args[0].len > 0;
}

static void
apply_replace(const Filter *filter, const Occasion *occasion, Value *value)
{
	Slice		from = filter->args[0];
	Slice		to = filter->args[1];
	const char *p = value->text.data;
	const char *end = p + value->text.len;
	StringInfoData out;

	initStringInfo(&out);
	for (;;)
	{
		const char *found = memmem(p, end - p, from.data, from.len);

		appendBinaryStringInfo(&out, p, (found ? found : end) - p);
		if (found == NULL || out.len > TEMPLATE_MAX_OUTPUT)
			break;
		appendBinaryStringInfo(&out, to.data, to.len);
		p = found + from.len;
	}
	set_buffer(value, &out);
}

/* The same whenever the same hook meets the same event. */
static void
apply_random(const Filter *filter, const Occasion *occasion, Value *value)
{
	set_text(value, filter->args[(int) (occasion_draw(occasion, filter->salt) * filter->nargs)]);
}

/* ----------
 * Numbers
 * ----------
 */

static bool
check_decimals(Filter *filter)
{
	return check_number(filter, 0, MAX_DECIMALS);
}

/* The number that a text begins with, rounded; false when it begins with none. */
static bool
round_number(Slice text, int decimals, char **result)
{
	Decimal		decimal;
	const char *rest;
	Datum		number;

	if (text.len > MAX_NUMBER_LENGTH ||
		!decimal_parse(text.data, text.len, &decimal, &rest) ||
		decimal.magnitude > MAX_NUMBER_LENGTH || decimal.magnitude < -MAX_NUMBER_LENGTH)
		return false;
	number = DirectFunctionCall3(numeric_in,
								 CStringGetDatum(decimal.sign == 0 ? "0" :
												 pnstrdup(text.data, rest - text.data)),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	number = DirectFunctionCall2(numeric_round, number, Int32GetDatum(decimals));
	*result = DatumGetCString(DirectFunctionCall1(numeric_out, number));
	return true;
}

static void
apply_number(const Filter *filter, const Occasion *occasion, Value *value)
{
	char	   *text;

	if (round_number(value->text, filter->number, &text))
		set_text(value, slice(text, strlen(text)));
}

/* Currencies with a symbol, or with other than two decimals (ISO 4217). */
static const struct
{
	const char *code;
	const char *symbol;			/* NULL: the code, behind the number */
	int			decimals;
}			currencies[] = {
	{"AUD", "A$", 2}, {"BHD", NULL, 3}, {"BRL", "R$", 2}, {"CAD", "CA$", 2},
	{"CLP", NULL, 0}, {"CNY", "CN¥", 2}, {"EUR", "€", 2}, {"GBP", "£", 2},
	{"HKD", "HK$", 2}, {"ILS", "₪", 2}, {"INR", "₹", 2}, {"IQD", NULL, 3},
	{"ISK", NULL, 0}, {"JOD", NULL, 3}, {"JPY", "¥", 0}, {"KRW", "₩", 0},
	{"KWD", NULL, 3}, {"LYD", NULL, 3}, {"MXN", "MX$", 2}, {"NZD", "NZ$", 2},
	{"OMR", NULL, 3}, {"PHP", "₱", 2}, {"PYG", NULL, 0}, {"TND", NULL, 3},
	{"TWD", "NT$", 2}, {"UAH", "₴", 2}, {"UGX", NULL, 0}, {"USD", "$", 2},
	{"VND", "₫", 0}, {"XAF", NULL, 0}, {"XOF", NULL, 0}, {"XPF", NULL, 0},
};

/* By the currency given, or the event's; without any, two decimals and no more. */
static void
apply_money(const Filter *filter, const Occasion *occasion, Value *value)
{
	Slice		code;
	const char *symbol = NULL;
	int			decimals = 2;
	char	   *number;
	char	   *text;

	if (filter->nargs > 0)
		code = filter->args[0];
	else
		code = field_text(field_compile(slice("currency", 8), true), occasion);
	for (size_t i = 0; i < lengthof(currencies); i++)
	{
		if (!slice_equal(code, slice(currencies[i].code, 3), true))
			continue;
		symbol = currencies[i].symbol;
		decimals = currencies[i].decimals;
	}
	if (!round_number(value->text, decimals, &number))
		return;
	if (symbol != NULL)
		text = psprintf("%s%s%s", *number == '-' ? "-" : "", symbol, *number == '-' ? number + 1 : number);
	else if (code.len > 0)
		text = psprintf("%s %.*s", number, code.len, code.data);
	else
		text = number;
	set_text(value, slice(text, strlen(text)));
}

/* The first word for 1, else the second. */
static void
apply_plural(const Filter *filter, const Occasion *occasion, Value *value)
{
	Decimal		number;
	Decimal		one;
	const char *rest;
	bool		is_one;

	(void) decimal_parse("1", 1, &one, &rest);
	is_one = decimal_parse(value->text.data, value->text.len, &number, &rest) &&
		decimal_compare(&number, &one) == 0;
	set_text(value, filter->args[is_one ? 0 : 1]);
}

/* ----------
 * Dates
 * ----------
 */

/* What to_char() would take from the server's locale or session, or not print right. */
static const char *const unusable_formats[] = {"TM", "TZ", "OF"};

static bool
check_date(Filter *filter)
{
	Slice		format = filter->args[0];
	bool		quoted = false;

	if (format.len < 1 || format.len > MAX_DATE_FORMAT)
		return false;
	for (int i = 0; i < format.len; i++)
	{
		if (format.data[i] == '"')
			quoted = !quoted;
		for (size_t j = 0; j < lengthof(unusable_formats) && !quoted && i + 1 < format.len; j++)
		{
			if (pg_strncasecmp(format.data + i, unusable_formats[j], 2) == 0)
				return false;
		}
	}
	filter->zone = filter->nargs < 2 ? pg_tzset("UTC") :
		time_zone_find(filter->args[1].data, filter->args[1].len);
	return filter->zone != NULL;
}

static void
apply_date(const Filter *filter, const Occasion *occasion, Value *value)
{
	TimestampTz time;
	Timestamp	local;
	struct pg_tm tm;
	fsec_t		fraction;
	int			tz;
	text	   *format;
	text	   *result;

	if (!event_time_parse(value->text.data, value->text.len, &time) ||
		timestamp2tm(time, &tz, &tm, &fraction, NULL, filter->zone) != 0 ||
		tm2timestamp(&tm, fraction, NULL, &local) != 0)
		return;
	format = cstring_to_text_with_len(filter->args[0].data, filter->args[0].len);
	result = DatumGetTextPP(DirectFunctionCall2Coll(timestamp_to_char, C_COLLATION_OID,
													TimestampGetDatum(local),
													PointerGetDatum(format)));
	set_text(value, slice(VARDATA_ANY(result), VARSIZE_ANY_EXHDR(result)));
}

/* ----------
 * The table
 * ----------
 */

static const FilterType filters[] = {
	{"default", 1, 1, true, NULL, apply_default, "a text", "default:\"somebody\""},
	{"upper", 0, 0, true, NULL, apply_upper, "nothing", "upper"},
	{"lower", 0, 0, true, NULL, apply_lower, "nothing", "lower"},
	{"trim", 0, 0, true, NULL, apply_trim, "nothing", "trim"},
	{"truncate", 1, 1, true, check_truncate, apply_truncate, "a number of characters", "truncate:100"},
	{"replace", 2, 2, true, check_replace, apply_replace, "a text, not empty, and another", "replace:\"a\":\"b\""},
	{"json", 0, 0, true, NULL, apply_json, "nothing", "json"},
	{"url", 0, 0, true, NULL, apply_url, "nothing", "url", true},
	{"discord", 0, 0, true, NULL, apply_discord, "nothing", "discord", true},
	{"markdown", 0, 0, true, NULL, apply_markdown, "nothing", "markdown", true},
	{"number", 1, 1, true, check_decimals, apply_number, "a number of decimals, 0 to 10", "number:2"},
	{"money", 0, 1, true, NULL, apply_money, "nothing, or the code of a currency", "money:\"EUR\""},
	{"plural", 2, 2, true, NULL, apply_plural, "a word for one and a word for many", "plural:\"viewer\":\"viewers\"", true},
	{"date", 1, 2, true, check_date, apply_date, "a format of to_char() and the name of a time zone", "date:\"HH24:MI\":\"Europe/Berlin\""},
	{"random", 1, FILTER_MAX_ARGUMENTS, false, NULL, apply_random, "1 to 20 texts", "random:\"hi\":\"hello\"", true},
};

const FilterType *
filter_find(Slice name)
{
	for (size_t i = 0; i < lengthof(filters); i++)
	{
		if (slice_equal(name, slice(filters[i].name, strlen(filters[i].name)), false))
			return &filters[i];
	}
	return NULL;
}

bool
filter_check(Filter *filter, Mistake *error)
{
	const FilterType *type = filter->type;

	if (filter->nargs >= type->min_arguments && filter->nargs <= type->max_arguments &&
		(type->check == NULL || type->check(filter)))
		return true;
	return mistake(error, psprintf("filter \"%s\" takes %s", type->name, type->takes),
				   psprintf("Write for example {{username | %s}}.", type->example));
}

bool
filter_unknown(Slice name, Mistake *error)
{
	Nearest		nearest;
	StringInfoData all;

	initStringInfo(&all);
	nearest_begin(&nearest, name.data, name.len);
	for (size_t i = 0; i < lengthof(filters); i++)
	{
		nearest_offer(&nearest, filters[i].name);
		appendStringInfo(&all, "%s%s", i == 0 ? "" : i + 1 < lengthof(filters) ? ", " : " and ",
						 filters[i].name);
	}
	return mistake(error, psprintf("unknown filter \"%s\" in a template", quotable(name.data, name.len)),
				   nearest.best ? psprintf("Did you mean \"%s\"?", nearest.best) :
				   psprintf("Filters are %s.", all.data));
}
