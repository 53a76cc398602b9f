/*-------------------------------------------------------------------------
 *
 * url.c
 *		URLs that hooks may use, taken apart by libcurl's own parser, so that
 *		what is checked is what is connected to.
 *
 * Only libcurl's URL functions are called here, which need no set-up and are
 * safe in any session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include "mb/pg_wchar.h"

#include "address.h"
#include "settings.h"
#include "url.h"

static void
out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Failed while taking a URL apart.")));
}

/* A URL that libcurl has understood, or NULL and why it has not. */
static CURLU *
parse(const char *url, CURLUcode *code)
{
	CURLU	   *handle = curl_url();

	*code = CURLUE_OUT_OF_MEMORY;
	if (handle != NULL)
		*code = curl_url_set(handle, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
	if (*code == CURLUE_OK)
		return handle;
	curl_url_cleanup(handle);
	if (*code == CURLUE_OUT_OF_MEMORY)
		out_of_memory();
	return NULL;
}

/* A copy of one of its parts, or NULL. */
static char *
part(CURLU *handle, CURLUPart what, unsigned int flags)
{
	char	   *text = NULL;
	char	   *copy = NULL;
	CURLUcode	code = curl_url_get(handle, what, &text, flags);

	if (code == CURLUE_OK && text != NULL)
	{
		copy = MemoryContextAllocExtended(CurrentMemoryContext, strlen(text) + 1,
										  MCXT_ALLOC_NO_OOM);
		if (copy == NULL)
			code = CURLUE_OUT_OF_MEMORY;
		else
			strcpy(copy, text);
	}
	curl_free(text);
	if (code == CURLUE_OUT_OF_MEMORY)
		out_of_memory();
	return copy;
}

/* Why a host that is written as an address may not be connected to, or NULL. */
static const char *
literal_refused(const char *host)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	char		bare[INET6_ADDRSTRLEN + 1];
	size_t		length = strlen(host);

	/*
	 * libcurl writes addresses out, but for those with a dot behind them, which
	 * says only that nothing comes after it.
	 */
	strlcpy(bare, host, sizeof(bare));
	if (length > 0 && length < sizeof(bare) && bare[length - 1] == '.')
		bare[length - 1] = '\0';
	if (address_ipv4(bare, &v4.sin_addr))
		return address_refused((struct sockaddr *) &v4, hooks_allow_addresses,
							   hooks_deny_addresses);
	if (host[0] == '[' && length < sizeof(bare))
	{
		strlcpy(bare, host + 1, length - 1);
		if (inet_pton(AF_INET6, bare, &v6.sin6_addr) == 1)
			return address_refused((struct sockaddr *) &v6, hooks_allow_addresses,
								   hooks_deny_addresses);
	}
	return NULL;
}

/* "trusted": it is the administrator's, who may write any host. */
static bool
check_handle(CURLU *handle, bool trusted, UrlParts *parts, Mistake *error)
{
	const char *why;
	char	   *port;

	parts->scheme = part(handle, CURLUPART_SCHEME, 0);
	parts->host = part(handle, CURLUPART_HOST, 0);
	port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	if (parts->scheme != NULL && strcmp(parts->scheme, "https") != 0 &&
		!(strcmp(parts->scheme, "http") == 0 && (trusted || hooks_allow_http)))
		return mistake(error, psprintf("URL must use https, not %s", parts->scheme),
					   "Write it like \"https://example.com/webhook\".");
	if (parts->scheme == NULL || parts->host == NULL || port == NULL)
		return mistake(error, "URL has no scheme or host",
					   "Write it in full, for example \"https://example.com/webhook\".");
	/* libcurl has undone percent encoding by now, whatever it stood for. */
	if (!pg_verify_mbstr(PG_UTF8, parts->host, strlen(parts->host), true))
		return mistake(error, "URL host is not valid UTF-8",
					   "Write it like \"https://example.com/webhook\".");
	parts->port = atoi(port);
	if (parts->port == 0)
		return mistake(error, "URL has port 0, which nobody can listen on",
					   "Write it like \"https://example.com/webhook\".");
	for (char *c = parts->host; *c; c++)
		*c = pg_ascii_tolower(*c);

	if (part(handle, CURLUPART_USER, 0) || part(handle, CURLUPART_PASSWORD, 0))
		return mistake(error, "URL must not contain a user name or password",
					   trusted ? NULL : "Put an \"Authorization\" header into \"headers\" instead.");
	if (trusted)
		return true;
	why = address_name_refused(parts->host);
	if (why == NULL)
		why = literal_refused(parts->host);
	if (why != NULL)
		return mistake(error, psprintf("URL host \"%s\" is not allowed: %s", quotable(parts->host, strlen(parts->host)), why),
					   "Use a host that can be reached from the public internet.");
	return true;
}

/*
 * libcurl takes "https:/host" and "https:///host" for "https://host"; what
 * looks at the text (url_path_offset) and most readers do not.
 */
static bool
has_authority(const char *url)
{
	const char *authority = strstr(url, "://");

	return authority != NULL && authority[3] != '\0' && strchr("/?#\\", authority[3]) == NULL;
}

static bool
check(const char *url, bool trusted, UrlParts *parts, Mistake *error)
{
	CURLU	   *handle;
	CURLUcode	code;
	volatile bool good = false;

	if (strlen(url) > URL_MAX_LENGTH)
		return mistake(error, psprintf("URL is longer than %d bytes", URL_MAX_LENGTH), NULL);

	handle = parse(url, &code);
	if (handle == NULL)
		return mistake(error, psprintf("URL is malformed: %s", curl_url_strerror(code)),
					   "Write it like \"https://example.com/webhook\".");
	PG_TRY();
	{
		good = check_handle(handle, trusted, parts, error);
	}
	PG_FINALLY();
	{
		curl_url_cleanup(handle);
	}
	PG_END_TRY();
	if (good && !has_authority(url))
		return mistake(error, "URL has no host after \"://\"",
					   "Write it like \"https://example.com/webhook\".");
	return good;
}

bool
url_check(const char *url, UrlParts *parts, Mistake *error)
{
	return check(url, false, parts, error);
}

bool
url_check_service(const char *url, UrlParts *parts, Mistake *error)
{
	return check(url, true, parts, error);
}

static char mail_hint[] =
	"Write it like \"smtp://mail.example.com:587\" or \"smtps://mail.example.com\".";

static bool
check_mail_handle(CURLU *handle, UrlParts *parts, Mistake *error)
{
	char	   *port = part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	char	   *path = part(handle, CURLUPART_PATH, 0);

	parts->scheme = part(handle, CURLUPART_SCHEME, 0);
	parts->host = part(handle, CURLUPART_HOST, 0);
	parts->port = port ? atoi(port) : 0;
	if (parts->scheme == NULL || parts->host == NULL ||
		(strcmp(parts->scheme, "smtp") != 0 && strcmp(parts->scheme, "smtps") != 0))
		return mistake(error, "URL of the mail server must use smtp or smtps", mail_hint);
	if (part(handle, CURLUPART_USER, 0) || part(handle, CURLUPART_PASSWORD, 0) ||
		part(handle, CURLUPART_OPTIONS, 0) || part(handle, CURLUPART_QUERY, 0) ||
		part(handle, CURLUPART_FRAGMENT, 0) || (path && strcmp(path, "/") != 0) ||
		parts->port == 0)
		return mistake(error, "URL of the mail server has more than a host and a port", mail_hint);
	for (char *c = parts->host; *c; c++)
		*c = pg_ascii_tolower(*c);
	return true;
}

bool
url_check_mail_server(const char *url, UrlParts *parts, Mistake *error)
{
	CURLUcode	code;
	CURLU	   *handle = parse(url, &code);
	volatile bool good = false;

	if (handle == NULL)
		return mistake(error, "URL of the mail server is malformed", mail_hint);
	PG_TRY();
	{
		good = check_mail_handle(handle, parts, error);
	}
	PG_FINALLY();
	{
		curl_url_cleanup(handle);
	}
	PG_END_TRY();
	if (good && !has_authority(url))
		return mistake(error, "URL of the mail server is malformed", mail_hint);
	return good;
}

bool
url_host_is_loopback(const char *host)
{
	struct in_addr v4;

	return strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
		(inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127);
}

char *
url_host(const char *url)
{
	CURLUcode	code;
	CURLU	   *handle = parse(url, &code);
	char	   *volatile host = NULL;

	if (handle == NULL)
		return NULL;
	PG_TRY();
	{
		host = part(handle, CURLUPART_HOST, 0);
	}
	PG_FINALLY();
	{
		curl_url_cleanup(handle);
	}
	PG_END_TRY();
	return host;
}

int
url_path_offset(const char *url)
{
	const char *authority = strstr(url, "://");

	authority = authority ? authority + 3 : url;
	return (authority - url) + strcspn(authority, "/?#");
}
