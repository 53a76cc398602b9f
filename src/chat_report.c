/*-------------------------------------------------------------------------
 *
 * chat_report.c
 *		What an application that sends chat messages itself says became of one.
 *		See chat_report.h.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "chat_report.h"
#include "text.h"

#define MAX_PLATFORMS 20
#define MAX_NAME 30

#define FAILED "failed:"

#define HINT "For example {\"twitch\": \"delivered\", \"kick\": \"failed: no permission\"}."

static void
add(char **list, const char *separator, char *what)
{
	*list = *list ? psprintf("%s%s%s", *list, separator, what) : what;
}

static bool
is_name(const JsonbValue *key)
{
	for (int i = 0; i < key->val.string.len; i++)
	{
		char		c = key->val.string.val[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
			return false;
	}
	return key->val.string.len > 0 && key->val.string.len <= MAX_NAME;
}

static bool
word_is(Slice word, const char *text)
{
	return slice_equal(word, slice(text, strlen(text)), false);
}

/* What stands after "failed:", for a log. */
static char *
reason_of(Slice word)
{
	const char *reason = word.data + strlen(FAILED);
	const char *end = word.data + word.len;

	while (reason < end && *reason == ' ')
		reason++;
	return quotable(reason, end - reason);
}

/* A platform's word. */
static bool
take(ChatReport *report, char *platform, const JsonbValue *value, Mistake *error)
{
	Slice		word = value->type == jbvString
		? slice(value->val.string.val, value->val.string.len) : slice("", 0);

	if (word_is(word, "delivered"))
		add(&report->delivered, ", ", platform);
	else if (word_is(word, "pending"))
		add(&report->pending, ", ", platform);
	else if (word_is(word, "failed"))
		add(&report->failed, "; ", psprintf("%s: failed", platform));
	else if (slice_starts_with(word, slice(FAILED, strlen(FAILED)), false))
		add(&report->failed, "; ", psprintf("%s: %s", platform, reason_of(word)));
	else
		return mistake(error, psprintf("report for \"%s\" is not \"delivered\", \"failed: reason\" or \"pending\"",
									   platform), HINT);
	return true;
}

bool
chat_report_read(const JsonbContainer *object, ChatReport *report, Mistake *error)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *platform = NULL;

	memset(report, 0, sizeof(*report));
	if (!JsonContainerIsObject(object))
		return mistake(error, "report is not an object", HINT);
	if (JsonContainerSize(object) > MAX_PLATFORMS)
		return mistake(error, psprintf("report has more than %d platforms", MAX_PLATFORMS), NULL);

	iterator = JsonbIteratorInit(unconstify(JsonbContainer *, object));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY && !is_name(&value))
			return mistake(error, psprintf("report has a platform with the name \"%s\"",
										   quotable(value.val.string.val, value.val.string.len)),
						   "A name has up to 30 lower-case letters, digits, \"_\" and \"-\".");
		if (token == WJB_KEY)
			platform = pnstrdup(value.val.string.val, value.val.string.len);
		if (token == WJB_VALUE && !take(report, platform, &value, error))
			return false;
	}
	return true;
}

void
chat_report_judge(const ChatReport *report, Outcome *outcome)
{
	outcome->arrived = report->delivered;
	if (report->pending != NULL)
	{
		outcome->class = OUTCOME_RETRY;
		outcome->error = psprintf("%s: pending%s%s", report->pending, report->failed ? "; " : "",
								  report->failed ? report->failed : "");
	}
	else if (report->delivered != NULL)
	{
		outcome->class = OUTCOME_SUCCESS;
		outcome->error = NULL;
		outcome->note = report->failed;
	}
	else
	{
		outcome->class = OUTCOME_TERMINAL;
		outcome->undelivered = true;
		outcome->error = report->failed ? report->failed : pstrdup("no account connected");
	}
}
