/*-------------------------------------------------------------------------
 *
 * action_email.c
 *		The action "email": a message through the mail server of the settings.
 *
 * Settings: to (required: an address or a list of them; literal, so that no
 * viewer decides who is written to), subject (required), body (a text) and
 * html, of which at least one; reply_to (literal).  Variables may stand in
 * subject, body and html; in html their values are escaped.
 *
 * A viewer's text never makes a line of the header: in the subject, what ends
 * a line becomes a blank.  Server, sender and login are the administrator's
 * (mail_server.h), so what goes wrong with them is not held against the hook.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "action.h"
#include "mail.h"
#include "settings.h"
#include "template.h"
#include "url.h"

#define MAX_TEMPLATE_LENGTH (16 * 1024)
#define MAX_SUBJECT 200			/* code points */

#define EXAMPLE_TO "ann@example.com"

typedef struct Email
{
	Action		action;
	int			nto;
	Mailbox		to[MAIL_MAX_RECIPIENTS];
	Mailbox		reply_to;		/* its address is NULL: none */
	Template   *subject;
	Template   *body;			/* either of these may be NULL */
	Template   *html;
} Email;

/* ----------
 * Compiling
 * ----------
 */

/* A literal address; braces are refused, lest somebody takes them for a variable. */
static bool
compile_address(const JsonbValue *value, const char *key, Mailbox *mailbox, Mistake *error)
{
	Slice		text;

	if (value->type != jbvString)
		return mistake(error, psprintf("\"%s\" in action_config must be an e-mail address", key),
					   psprintf("For example {\"%s\": \"" EXAMPLE_TO "\"}.", key));
	text = slice(value->val.string.val, value->val.string.len);
	if (memmem(text.data, text.len, "{{", 2) != NULL)
		return mistake(error, psprintf("\"%s\" in action_config contains a variable", key),
					   "Addresses are written out, so that no event decides who is written to, for example \""
					   EXAMPLE_TO "\".");
	return mailbox_parse(text, psprintf("\"%s\" in action_config:", key), mailbox, error);
}

static bool
add_recipient(Email *email, const JsonbValue *value, Mistake *error)
{
	Mailbox		mailbox = {0};

	if (email->nto == MAIL_MAX_RECIPIENTS)
		return mistake(error, psprintf("\"to\" in action_config has more than %d addresses",
									   MAIL_MAX_RECIPIENTS), NULL);
	if (!compile_address(value, "to", &mailbox, error))
		return false;
	for (int i = 0; i < email->nto; i++)
	{
		if (pg_strcasecmp(email->to[i].address, mailbox.address) == 0)
			return mistake(error, psprintf("\"to\" in action_config has \"%s\" twice", mailbox.address),
						   NULL);
	}
	email->to[email->nto++] = mailbox;
	return true;
}

static bool
compile_to(Email *email, const Jsonb *config, Mistake *error)
{
	JsonbValue	to;
	JsonbValue	item;
	JsonbIterator *iterator;
	JsonbIteratorToken token;

	if (getKeyJsonValueFromContainer((JsonbContainer *) &config->root, "to", 2, &to) == NULL ||
		to.type == jbvNull)
		return mistake(error, "Missing e-mail address",
					   "Set \"to\" in action_config, for example {\"to\": \"" EXAMPLE_TO "\"}.");
	if (to.type != jbvBinary)
		return add_recipient(email, &to, error);
	if (!JsonContainerIsArray(to.val.binary.data) || JsonContainerSize(to.val.binary.data) == 0)
		return mistake(error, "\"to\" in action_config must be an e-mail address or a list of them",
					   "For example {\"to\": [\"" EXAMPLE_TO "\", \"Bob <bob@example.com>\"]}.");
	iterator = JsonbIteratorInit(to.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM && !add_recipient(email, &item, error))
			return false;
	}
	return true;
}

static bool
compile_reply_to(Email *email, const Jsonb *config, Mistake *error)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer((JsonbContainer *) &config->root, "reply_to", 8, &value) == NULL ||
		value.type == jbvNull)
		return true;
	return compile_address(&value, "reply_to", &email->reply_to, error);
}

/* A template, or NULL with no mistake when there is none. */
static bool
compile_template(const Jsonb *config, const char *key, const char *example, TemplateContext context,
				 Template **compiled, Mistake *error)
{
	char	   *text;

	if (!action_string(config, key, example, &text, error))
		return false;
	if (text == NULL || *text == '\0')
		return true;
	if (strlen(text) > MAX_TEMPLATE_LENGTH)
		return mistake(error, psprintf("\"%s\" is longer than %d bytes", key, MAX_TEMPLATE_LENGTH), NULL);
	*compiled = template_compile(text, strlen(text), context, error);
	return *compiled != NULL;
}

static bool
compile_subject(Email *email, const Jsonb *config, Mistake *error)
{
	char	   *text;

	if (!compile_template(config, "subject", "{{username}} is live", TEMPLATE_TEXT, &email->subject, error))
		return false;
	if (email->subject == NULL)
		return mistake(error, "Missing e-mail subject", "Set \"subject\" in action_config.");
	(void) action_string(config, "subject", "", &text, error);
	for (const unsigned char *c = (unsigned char *) text; *c; c++)
	{
		if (*c < 0x20 || *c == 0x7f)
			return mistake(error, "\"subject\" in action_config contains a control character",
						   "It is a single line, for example \"{{username}} is live\".");
	}
	return true;
}

static bool
compile_bodies(Email *email, const Jsonb *config, Mistake *error)
{
	if (!compile_template(config, "body", "{{username}} is live", TEMPLATE_TEXT, &email->body, error) ||
		!compile_template(config, "html", "<b>{{username}}</b> is live", TEMPLATE_HTML, &email->html, error))
		return false;
	if (email->body == NULL && email->html == NULL)
		return mistake(error, "Missing e-mail body", "Set \"body\" (a text) or \"html\" in action_config, or both.");
	return true;
}

/* Where the mail server is; without one, hooks can be written all the same. */
static void
find_server(Action *action)
{
	UrlParts	parts;
	Mistake		error;

	if (*hooks_smtp_url != '\0' && url_check_mail_server(hooks_smtp_url, &parts, &error))
		action->host = psprintf("%s:%d", parts.host, parts.port);
	else
		action->host = "no mail server";
}

Action *
email_compile(const Jsonb *config, Mistake *error)
{
	Email	   *email = palloc0(sizeof(Email));

	if (!compile_to(email, config, error) ||
		!compile_subject(email, config, error) ||
		!compile_bodies(email, config, error) ||
		!compile_reply_to(email, config, error))
		return NULL;
	find_server(&email->action);
	email->action.allowance = (Allowance) {hooks_email_rate, SECS_PER_HOUR};
	return &email->action;
}

/* ----------
 * Building
 * ----------
 */

static void
add_header(Message *message, char *line)
{
	Assert(message->nheaders < MESSAGE_MAX_HEADERS);
	message->headers[message->nheaders++] = line;
}

static char *
render_subject(const Email *email, const Occasion *occasion)
{
	StringInfoData text;
	char	   *subject;

	initStringInfo(&text);
	template_render(email->subject, occasion, &text);
	subject = mail_one_line(slice(text.data, text.len));
	subject[pg_mbcharcliplen(subject, strlen(subject), MAX_SUBJECT)] = '\0';
	return *subject ? subject : "(no subject)";
}

/* A body, rendered. */
typedef struct Part
{
	const char *type;
	StringInfoData text;
} Part;

static bool
render_part(const Template *template, const char *key, const char *type, const Occasion *occasion,
			Part *parts, int *nparts, Mistake *error)
{
	Part	   *part;

	if (template == NULL)
		return true;
	part = &parts[(*nparts)++];
	part->type = type;
	initStringInfo(&part->text);
	template_render(template, occasion, &part->text);
	if (part->text.len > TEMPLATE_MAX_OUTPUT)
		return mistake(error, psprintf("\"%s\" would be larger than %d bytes", key, TEMPLATE_MAX_OUTPUT), NULL);
	return true;
}

#define ENCODING "Content-Transfer-Encoding: quoted-printable"

/*
 * One body is the message, two are alternatives, the better one last.  What
 * stands between them is in no text that is encoded: that has no "=_".
 */
static void
build_bodies(const Part *parts, int nparts, const char *id, Mail *mail, Message *message)
{
	StringInfoData body;
	StringInfoData shown;

	initStringInfo(&body);
	initStringInfo(&shown);
	if (nparts == 1)
	{
		add_header(message, psprintf("Content-Type: %s", parts[0].type));
		add_header(message, ENCODING);
		mail_append_encoded(&body, slice(parts[0].text.data, parts[0].text.len));
		if (body.len == 0 || body.data[body.len - 1] != '\n')
			appendStringInfoString(&body, "\r\n");
		appendStringInfoString(&shown, parts[0].text.data);
	}
	else
	{
		add_header(message, psprintf("Content-Type: multipart/alternative;\r\n boundary=\"=_%s\"", id));
		for (int i = 0; i < nparts; i++)
		{
			appendStringInfo(&body, "--=_%s\r\nContent-Type: %s\r\n" ENCODING "\r\n\r\n", id, parts[i].type);
			mail_append_encoded(&body, slice(parts[i].text.data, parts[i].text.len));
			appendStringInfoString(&body, "\r\n");
			appendStringInfo(&shown, "%sContent-Type: %s\n\n%s\n", i > 0 ? "\n" : "", parts[i].type,
							 parts[i].text.data);
		}
		appendStringInfo(&body, "--=_%s--\r\n", id);
	}
	message->body = body.data;
	message->body_length = body.len;
	mail->shown_body = shown.data;
}

/* What the administrator has to set first. */
static bool
lacks(Mistake *error, char *setting, char *hint)
{
	error->blameless = true;
	return mistake(error, psprintf("no e-mail can be sent: the administrator has not set \"%s\"", setting), hint);
}

bool
email_build(const Action *action, const ActionDelivery *delivery, Message *message, Mistake *error)
{
	const Email *email = (const Email *) action;
	const Occasion *occasion = &delivery->occasion;
	Mail	   *mail = palloc0(sizeof(Mail));
	Mailbox		from;
	Part		parts[2];
	int			nparts = 0;

	if (*hooks_smtp_url == '\0')
		return lacks(error, "hooks.smtp_url", "For example \"smtp://mail.example.com:587\".");
	if (*hooks_smtp_from == '\0')
		return lacks(error, "hooks.smtp_from", "For example \"Example <hooks@example.com>\".");
	if (!mailbox_parse(slice(hooks_smtp_from, strlen(hooks_smtp_from)), "\"hooks.smtp_from\"", &from, error))
		return false;

	if (!render_part(email->body, "body", "text/plain; charset=utf-8", occasion, parts, &nparts, error) ||
		!render_part(email->html, "html", "text/html; charset=utf-8", occasion, parts, &nparts, error))
		return false;
	mail->sender = from.address;
	for (int i = 0; i < email->nto; i++)
		mail->recipients[mail->nrecipients++] = email->to[i].address;

	message->mail = mail;
	message->method = "SMTP";
	message->url = hooks_smtp_url;
	add_header(message, mail_date_line(delivery->now));
	add_header(message, psprintf("Message-ID: <%s@%s>", delivery->id, mailbox_domain(&from)));
	add_header(message, mail_mailboxes_line("From", &from, 1));
	add_header(message, mail_mailboxes_line("To", email->to, email->nto));
	if (email->reply_to.address)
		add_header(message, mail_mailboxes_line("Reply-To", &email->reply_to, 1));
	add_header(message, mail_text_line("Subject", psprintf("%s%s", delivery->test ? "[Test] " : "",
														   render_subject(email, occasion))));
	add_header(message, "Auto-Submitted: auto-generated");
	add_header(message, "MIME-Version: 1.0");
	build_bodies(parts, nparts, delivery->id, mail, message);
	return true;
}

/* ----------
 * Judging
 * ----------
 */

/* What the more common of RFC 3463's codes mean, without the class. */
static const struct
{
	const char *code;
	const char *meaning;
}			meanings[] =
{
	{"1.1", "no such mailbox"},
	{"1.2", "no such domain"},
	{"1.3", "not an address there"},
	{"1.6", "the mailbox has moved"},
	{"1.8", "the sender's domain does not exist"},
	{"2.1", "the mailbox is disabled"},
	{"2.2", "the mailbox is full"},
	{"2.3", "too large for the mailbox"},
	{"3.1", "the server has no room left"},
	{"3.4", "too large"},
	{"4.1", "no answer from the recipient's server"},
	{"4.4", "no way to the recipient's server"},
	{"5.2", "the server does not understand"},
	{"5.3", "too many recipients"},
	{"7.0", "refused by policy"},
	{"7.1", "refused by policy"},
	{"7.8", "wrong user or password"},
	{"7.9", "this way of logging in is too weak"},
	{"7.23", "refused by policy"},
	{"7.26", "refused by policy"},
};

/* "SMTP 550 5.1.1 (no such mailbox)" */
static char *
reply_text(const MailReply *reply)
{
	const char *dot = strchr(reply->enhanced, '.');

	if (dot == NULL)
		return psprintf("SMTP %d", reply->status);
	for (size_t i = 0; i < lengthof(meanings); i++)
	{
		if (strcmp(meanings[i].code, dot + 1) == 0)
			return psprintf("SMTP %d %s (%s)", reply->status, reply->enhanced, meanings[i].meaning);
	}
	return psprintf("SMTP %d %s", reply->status, reply->enhanced);
}

static const char *
stage_text(MailStage stage)
{
	switch (stage)
	{
		case MAIL_GREETING:
			return "the mail server takes no mail from here";
		case MAIL_LOGIN:
			return "the mail server refuses the login (hooks.smtp_user, hooks.smtp_password_file)";
		case MAIL_SENDER:
			return "the mail server refuses the sender (hooks.smtp_from)";
		case MAIL_RECIPIENT:
			return "the mail server refuses every recipient";
		case MAIL_CONTENT:
			break;
	}
	return "the mail server refuses the message";
}

static void
judge_reply(const Answer *answer, const RetryPolicy *policy, Outcome *outcome)
{
	const MailReply *reply = answer->stage == MAIL_RECIPIENT && answer->refused > 0
		? &answer->refusal : &answer->reply;
	bool		retry;

	outcome->status = reply->status;
	if (reply->status >= 200 && reply->status <= 299)
	{
		outcome->class = OUTCOME_SUCCESS;
		outcome->undelivered = false;
		if (answer->refused > 0)
			outcome->note = psprintf("%d of the recipients refused: %s", answer->refused,
									 reply_text(&answer->refusal));
		return;
	}

	/* A wrong password is mended by the administrator, perhaps soon. */
	retry = answer->stage == MAIL_LOGIN ||
		(policy->nstatuses >= 0 ? retry_status(policy, reply->status) : reply->status < 500);
	outcome->class = retry ? OUTCOME_RETRY : OUTCOME_TERMINAL;
	outcome->host_failed = answer->stage <= MAIL_SENDER || reply->status == 421;
	outcome->blameless = outcome->host_failed;
	outcome->error = psprintf("%s: %s", reply_text(reply), stage_text(answer->stage));
}

void
email_judge(const ActionDelivery *delivery, const Answer *answer, const RetryPolicy *policy,
			Outcome *outcome)
{
	if (answer->kind != ANSWER_STATUS)
	{
		action_judge(delivery, answer, policy, outcome);
		outcome->blameless = true;
		return;
	}
	*outcome = (Outcome)
	{
		.undelivered = true
	};
	judge_reply(answer, policy, outcome);
}
