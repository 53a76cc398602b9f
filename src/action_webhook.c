/*-------------------------------------------------------------------------
 *
 * action_webhook.c
 *		The action "webhook": an HTTP request to a URL of the user's.
 *
 * Settings: url (required; variables in path and query only), method,
 * headers (an object of strings; variables allowed), body (JSON whose strings
 * are templates) or body_template (a text; JSON when it parses as JSON),
 * secret (sign.h).  Secrets of the user's may stand in url and headers,
 * {{secret.name}}.  Without body and body_template the body is a JSON object of
 * fixed shape.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"

#include "action.h"
#include "sign.h"
#include "template.h"
#include "url.h"

#define MAX_USER_HEADERS 30
#define MAX_HEADER_LENGTH 4096
#define MAX_TEMPLATE_LENGTH (16 * 1024)

typedef struct WebhookHeader
{
	char	   *name;
	Template   *value;
} WebhookHeader;

typedef struct Webhook
{
	Action		action;
	const char *method;
	bool		has_body;
	char	   *url_text;
	Template   *url;			/* NULL: the text, as it is */
	char	   *authority;		/* scheme and host, to compare with the result */
	Template   *body;			/* NULL: the default body */
	const char *content_type;	/* NULL: among the headers */
	SignSecrets *secrets;		/* NULL: requests are not signed */
	int			nheaders;
	WebhookHeader headers[MAX_USER_HEADERS];
} Webhook;

static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

/* Headers that only we, or libcurl, may set. */
static const char *const reserved_headers[] = {
	"host", "content-length", "transfer-encoding", "connection", "upgrade", "te",
	"trailer", "expect", "cookie", "keep-alive", "user-agent",
};
static const char *const reserved_prefixes[] = {
	"proxy-", "webhook-", "metadata", "x-aws-ec2-", "x-google-metadata-",
};

static bool
is_reserved(const char *name)
{
	for (size_t i = 0; i < lengthof(reserved_headers); i++)
	{
		if (pg_strcasecmp(name, reserved_headers[i]) == 0)
			return true;
	}
	for (size_t i = 0; i < lengthof(reserved_prefixes); i++)
	{
		if (pg_strncasecmp(name, reserved_prefixes[i], strlen(reserved_prefixes[i])) == 0)
			return true;
	}
	return false;
}

/* RFC 9110: a header's name is a token. */
static bool
is_token(const char *name)
{
	return *name != '\0' &&
		name[strspn(name, "!#$%&'*+-.^_`|~0123456789"
					"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

static bool
has_control_character(const char *text)
{
	for (const unsigned char *c = (const unsigned char *) text; *c; c++)
	{
		if (*c < 0x20 || *c == 0x7f)
			return true;
	}
	return false;
}

/* ----------
 * Compiling
 * ----------
 */

static bool
compile_method(Webhook *webhook, const Jsonb *config, Mistake *error)
{
	char	   *name;

	webhook->method = "POST";
	if (!action_string(config, "method", "POST", &name, error))
		return false;
	if (name == NULL)
		return true;
	for (size_t i = 0; i < lengthof(methods); i++)
	{
		if (pg_strcasecmp(name, methods[i]) == 0)
		{
			webhook->method = methods[i];
			return true;
		}
	}
	return mistake(error, psprintf("unknown HTTP method \"%s\"", name),
				   "Methods are GET, POST, PUT, PATCH and DELETE.");
}

/* The URL with its variables replaced by something harmless, to look at the rest. */
static char *
rendered_url(const Webhook *webhook, const Occasion *occasion)
{
	StringInfoData url;

	if (webhook->url == NULL)
		return webhook->url_text;
	initStringInfo(&url);
	template_render(webhook->url, occasion, &url);
	return url.data;
}

static bool
compile_url(Webhook *webhook, const Jsonb *config, Mistake *error)
{
	static const Event nothing = {.type = TRIGGER_CHAT_MESSAGE};
	static const Occasion nowhere = {.event = &nothing};
	UrlParts	parts;
	int			first_variable;

	if (!action_string(config, "url", "https://example.com/webhook", &webhook->url_text, error))
		return false;
	if (webhook->url_text == NULL || *webhook->url_text == '\0')
		return mistake(error, "Missing webhook URL",
					   "Set \"url\" in action_config, for example {\"url\": \"https://example.com/webhook\"}.");
	if (has_control_character(webhook->url_text))
		return mistake(error, "URL contains a control character", NULL);

	webhook->url = template_compile_with_secrets(webhook->url_text, strlen(webhook->url_text),
												 TEMPLATE_URL, &webhook->action.secrets, error);
	if (webhook->url == NULL)
		return false;
	first_variable = template_first_variable(webhook->url);
	if (first_variable < 0)
		webhook->url = NULL;
	else if (first_variable < url_path_offset(webhook->url_text))
		return mistake(error, "URL has a variable before its path",
					   "Variables may stand in the path and the query only, for example "
					   "\"https://example.com/{{event_type}}?user={{username}}\".");

	if (!url_check(rendered_url(webhook, &nowhere), &parts, error))
		return false;
	webhook->authority = psprintf("%s://%s:%d", parts.scheme, parts.host, parts.port);
	webhook->action.host = psprintf("%s:%d", parts.host, parts.port);
	return true;
}

static bool
compile_header(Webhook *webhook, const JsonbValue *name, const JsonbValue *value, Mistake *error)
{
	WebhookHeader *header;
	char	   *header_name = pnstrdup(name->val.string.val, name->val.string.len);

	if (!is_token(header_name))
		return mistake(error, has_control_character(header_name)
					   ? "a name of an HTTP header contains a control character"
					   : psprintf("\"%s\" is not a name of an HTTP header", header_name),
					   "Names are made of letters, digits and hyphens, for example \"X-Api-Key\".");
	if (is_reserved(header_name))
		return mistake(error, psprintf("header \"%s\" cannot be set by a hook", header_name), NULL);
	if (value->type != jbvString)
		return mistake(error, psprintf("value of header \"%s\" must be a string", header_name),
					   "For example {\"headers\": {\"X-Api-Key\": \"abc\"}}.");
	if (value->val.string.len > MAX_HEADER_LENGTH)
		return mistake(error, psprintf("value of header \"%s\" is longer than %d bytes",
									   header_name, MAX_HEADER_LENGTH), NULL);
	if (webhook->nheaders == MAX_USER_HEADERS)
		return mistake(error, psprintf("more than %d headers", MAX_USER_HEADERS), NULL);
	if (has_control_character(pnstrdup(value->val.string.val, value->val.string.len)))
		return mistake(error, psprintf("value of header \"%s\" contains a control character",
									   header_name), NULL);

	header = &webhook->headers[webhook->nheaders++];
	header->name = header_name;
	header->value = template_compile_with_secrets(value->val.string.val, value->val.string.len,
												  TEMPLATE_TEXT, &webhook->action.secrets, error);
	if (header->value == NULL)
		return false;
	if (pg_strcasecmp(header_name, "content-type") == 0)
		webhook->content_type = pnstrdup(value->val.string.val, value->val.string.len);
	return true;
}

static bool
compile_headers(Webhook *webhook, const Jsonb *config, Mistake *error)
{
	JsonbValue	headers;
	JsonbValue	item;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name = {0};

	if (getKeyJsonValueFromContainer((JsonbContainer *) &config->root, "headers", 7,
									 &headers) == NULL || headers.type == jbvNull)
		return true;
	if (headers.type != jbvBinary || !JsonContainerIsObject(headers.val.binary.data))
		return mistake(error, "\"headers\" in action_config must be a JSON object of strings",
					   "For example {\"headers\": {\"X-Api-Key\": \"abc\"}}.");

	iterator = JsonbIteratorInit(headers.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = item;
		else if (token == WJB_VALUE && !compile_header(webhook, &name, &item, error))
			return false;
	}
	return true;
}

static bool
is_json_type(const char *content_type)
{
	size_t		length = strcspn(content_type, "; ");

	return (length == 16 && pg_strncasecmp(content_type, "application/json", 16) == 0) ||
		(length > 5 && pg_strncasecmp(content_type + length - 5, "+json", 5) == 0);
}

/* A body that is JSON in action_config; false with no mistake when there is none. */
static bool
compile_json_body(Webhook *webhook, const Jsonb *config, const char *declared, Mistake *error)
{
	JsonbValue	body;
	JsonbValue	text;

	error->message = NULL;
	if (getKeyJsonValueFromContainer((JsonbContainer *) &config->root, "body", 4, &body) == NULL ||
		body.type == jbvNull)
		return false;
	if (body.type != jbvBinary)
		return mistake(error, "\"body\" in action_config must be a JSON object or array",
					   "For a text, use \"body_template\". For example {\"body\": {\"text\": \"{{username}} says {{message}}\"}}.");
	if (body.val.binary.len > MAX_TEMPLATE_LENGTH)
		return mistake(error, psprintf("\"body\" is larger than %d bytes", MAX_TEMPLATE_LENGTH), NULL);
	if (getKeyJsonValueFromContainer((JsonbContainer *) &config->root, "body_template", 13,
									 &text) != NULL && text.type != jbvNull)
		return mistake(error, "action_config has both \"body\" and \"body_template\"", "Leave one of them out.");
	if (declared == NULL)
		webhook->content_type = "application/json";
	webhook->body = template_compile_json(body.val.binary.data, error);
	return webhook->body != NULL;
}

/*
 * A body is JSON when its headers say so, or, if they say nothing, when it
 * parses as JSON; then values are escaped for where they stand.
 */
static bool
compile_body(Webhook *webhook, const Jsonb *config, Mistake *error)
{
	const char *declared = webhook->content_type;
	char	   *text;
	bool		json;

	webhook->has_body = strcmp(webhook->method, "GET") != 0;
	webhook->content_type = NULL;
	if (compile_json_body(webhook, config, declared, error))
		return true;
	if (error->message != NULL)
		return false;
	if (!action_string(config, "body_template", "{{username}} says {{message}}", &text, error))
		return false;
	if (text == NULL)
	{
		if (declared == NULL)
			webhook->content_type = "application/json";
		return true;
	}
	if (strlen(text) > MAX_TEMPLATE_LENGTH)
		return mistake(error, psprintf("\"body_template\" is longer than %d bytes",
									   MAX_TEMPLATE_LENGTH), NULL);

	json = template_is_json(text, strlen(text));
	if (declared != NULL && is_json_type(declared) && !json)
		return mistake(error, "\"body_template\" is not JSON, though the Content-Type header says so",
					   "Variables stand inside string literals or for whole values, for example "
					   "{\"text\": \"{{username}}\", \"amount\": {{amount}}}.");
	if (declared != NULL)
		json = is_json_type(declared);
	else
		webhook->content_type = json ? "application/json" : "text/plain; charset=utf-8";
	webhook->body = template_compile(text, strlen(text), json ? TEMPLATE_JSON : TEMPLATE_TEXT, error);
	return webhook->body != NULL;
}

static bool
compile_secrets(Webhook *webhook, const Jsonb *config, Mistake *error)
{
	JsonbValue	secret;

	if (getKeyJsonValueFromContainer((JsonbContainer *) &config->root, "secret", 6,
									 &secret) == NULL || secret.type == jbvNull)
		return true;
	webhook->secrets = sign_secrets_compile(&secret, &webhook->action.secrets, error);
	return webhook->secrets != NULL;
}

Action *
webhook_compile(const Jsonb *config, Mistake *error)
{
	Webhook    *webhook = palloc0(sizeof(Webhook));

	if (!compile_url(webhook, config, error) ||
		!compile_method(webhook, config, error) ||
		!compile_headers(webhook, config, error) ||
		!compile_body(webhook, config, error) ||
		!compile_secrets(webhook, config, error))
		return NULL;
	return &webhook->action;
}

/* ----------
 * Building
 * ----------
 */

/* Append a member of the default body. */
static void
member(StringInfo body, const char *name, const char *value)
{
	appendStringInfoChar(body, body->len == 0 ? '{' : ',');
	escape_json(body, name);
	appendStringInfoChar(body, ':');
	escape_json(body, value);
}

/* … whose value is a variable's. */
static void
variable_member(StringInfo body, const char *name, const Occasion *occasion)
{
	Slice		text = field_text(field_compile(slice(name, strlen(name)), false), occasion);

	member(body, name, pnstrdup(text.data, text.len));
}

/* The body of a hook without body_template.  It is the same on every attempt. */
static void
default_body(const ActionDelivery *delivery, StringInfo body)
{
	const Occasion *occasion = &delivery->occasion;
	const Event *event = occasion->event;
	char	   *time = event_time_text(event->time);

	member(body, "hook_name", occasion->hook_name);
	member(body, "trigger_type", trigger_type_name(event->type));
	variable_member(body, "username", occasion);
	variable_member(body, "message", occasion);
	variable_member(body, "amount", occasion);
	variable_member(body, "currency", occasion);
	variable_member(body, "platform", occasion);
	member(body, "timestamp", time ? time : "");
	appendStringInfoChar(body, '}');
}

static void
add_header(Message *message, char *line)
{
	Assert(message->nheaders < MESSAGE_MAX_HEADERS);
	message->headers[message->nheaders++] = line;
}

/* After the body, which is signed. */
static bool
build_headers(const Webhook *webhook, const ActionDelivery *delivery, Message *message,
			  Mistake *error)
{
	if (webhook->content_type && webhook->has_body)
		add_header(message, psprintf("Content-Type: %s", webhook->content_type));
	if (!action_sign(webhook->secrets, delivery, message, error))
		return false;

	for (int i = 0; i < webhook->nheaders; i++)
	{
		const WebhookHeader *header = &webhook->headers[i];
		StringInfoData line;
		int			name_length;

		initStringInfo(&line);
		appendStringInfo(&line, "%s: ", header->name);
		name_length = line.len;
		template_render(header->value, &delivery->occasion, &line);
		if (has_control_character(line.data))
			return mistake(error, psprintf("header \"%s\" would contain a control character",
										   header->name), NULL);
		if (line.len - name_length > MAX_HEADER_LENGTH)
			return mistake(error, psprintf("header \"%s\" would be longer than %d bytes",
										   header->name, MAX_HEADER_LENGTH), NULL);

		/* libcurl's way to write a header without a value */
		if (line.len == name_length)
		{
			resetStringInfo(&line);
			appendStringInfo(&line, "%s;", header->name);
		}
		add_header(message, line.data);
	}
	return true;
}

static bool
build_body(const Webhook *webhook, const ActionDelivery *delivery, Message *message,
		   Mistake *error)
{
	StringInfoData body;

	if (!webhook->has_body)
		return true;
	initStringInfo(&body);
	if (webhook->body)
		template_render(webhook->body, &delivery->occasion, &body);
	else
		default_body(delivery, &body);
	if (body.len > TEMPLATE_MAX_OUTPUT)
		return mistake(error, psprintf("body would be larger than %d bytes", TEMPLATE_MAX_OUTPUT), NULL);
	message->body = body.data;
	message->body_length = body.len;
	return true;
}

/* Has its path a part that stands for the one above, or for none? */
static bool
has_dot_segment(const char *url)
{
	const char *p = url + url_path_offset(url);

	while (*p == '/')
	{
		size_t		length = strcspn(++p, "/?#");

		if ((length == 1 && p[0] == '.') || (length == 2 && p[0] == '.' && p[1] == '.'))
			return true;
		p += length;
	}
	return false;
}

bool
webhook_build(const Action *action, const ActionDelivery *delivery,
			  Message *message, Mistake *error)
{
	const Webhook *webhook = (const Webhook *) action;
	UrlParts	parts;

	message->method = webhook->method;
	message->url = rendered_url(webhook, &delivery->occasion);

	/* Whatever the variables were, the request goes where the hook says. */
	if (webhook->url != NULL)
	{
		if (!url_check(message->url, &parts, error))
			return false;
		if (strcmp(psprintf("%s://%s:%d", parts.scheme, parts.host, parts.port),
				   webhook->authority) != 0)
			return mistake(error, "URL would point to another host", NULL);

		/* Encoding does not help: "%2E" is a dot. */
		if (has_dot_segment(message->url) && !has_dot_segment(webhook->url_text))
			return mistake(error, "URL would point to another path: a part of it would be \".\" or \"..\"", NULL);
	}

	return build_body(webhook, delivery, message, error) &&
		build_headers(webhook, delivery, message, error);
}
