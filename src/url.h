/*-------------------------------------------------------------------------
 *
 * url.h
 *		URLs that hooks may use, taken apart by libcurl's own parser.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_URL_H
#define HOOKS_URL_H

#include "mistake.h"

#define URL_MAX_LENGTH 2048

typedef struct UrlParts
{
	char	   *scheme;
	char	   *host;			/* lower case, IPv6 addresses in brackets */
	int			port;
} UrlParts;

/*
 * Is this a URL that a request may be sent to?  https, or http where the
 * settings allow it; no user name or password; no host name that only means
 * something inside a network.  What the name resolves to is not looked at
 * here: that is decided when the connection is made.
 */
extern bool url_check(const char *url, UrlParts *parts, Mistake *error);

/* The same for a service that the administrator names: http or https, and any host will do. */
extern bool url_check_service(const char *url, UrlParts *parts, Mistake *error);

/*
 * Is this a mail server, smtp://host[:port] or smtps://host[:port], and no
 * more?  It is the administrator's: any host will do.
 */
extern bool url_check_mail_server(const char *url, UrlParts *parts, Mistake *error);

/* Is the host, as UrlParts has it, this machine itself by name or address? */
extern bool url_host_is_loopback(const char *host);

/* The host of a URL, palloc'd, or NULL when it has none or is malformed. */
extern char *url_host(const char *url);

/* The byte offset at which the path, query or fragment of a URL begins. */
extern int	url_path_offset(const char *url);

#endif							/* HOOKS_URL_H */
