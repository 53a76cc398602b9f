/*-------------------------------------------------------------------------
 *
 * failure.c
 *		Why a request got no answer, in words for the log.
 *
 * Those who read them wrote the hook, and are no programmers: they learn what
 * to look at, and nothing about this server.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>

#include "failure.h"

/* What OpenSSL and libcurl say of a handshake, and what it means. */
static const struct
{
	const char *theirs;
	const char *ours;
}			handshake_words[] =
{
	{"wrong version number", "the server does not speak TLS on this port"},
	{"packet length too long", "the server does not speak TLS on this port"},
	{"http request", "the server does not speak TLS on this port"},
	{"SSL_ERROR_SYSCALL", "connection closed"},
	{"unexpected eof", "connection closed"},
	{"Connection reset", "connection closed"},
};

static void
explain_handshake(const char *detail, char *reason, size_t size)
{
	const char *colons = strstr(detail, "::");	/* "OpenSSL/3.0.15: error:0A000126:SSL routines::" */
	const char *what = colons ? colons + 2 : detail;

	for (size_t i = 0; i < lengthof(handshake_words); i++)
	{
		if (strstr(detail, handshake_words[i].theirs) != NULL)
			what = handshake_words[i].ours;
	}
	snprintf(reason, size, "TLS handshake failed: %s", what);
}

/* Names are compared by libcurl itself, when OpenSSL has found nothing wrong. */
static void
explain_certificate(const Failure *failure, const char *detail, char *reason, size_t size)
{
	if (certificate_explain(failure->fault, reason, size))
		return;
	if (strstr(detail, "subject name") != NULL || strstr(detail, "common name") != NULL)
		strlcpy(reason, "certificate is for another host name", size);
	else
		snprintf(reason, size, "certificate not valid: %s", detail);
}

void
failure_explain(const Failure *failure, char *reason, size_t size)
{
	const char *detail = failure->detail[0] ? failure->detail : curl_easy_strerror(failure->result);

	switch (failure->result)
	{
		case CURLE_COULDNT_RESOLVE_HOST:
			/* libcurl does not pass on which of the two */
			strlcpy(reason, "host name does not exist or could not be looked up", size);
			break;
		case CURLE_COULDNT_CONNECT:
			snprintf(reason, size, "could not connect%s%s", failure->os_error ? ": " : "",
					 failure->os_error ? strerror(failure->os_error) : "");
			break;
		case CURLE_OPERATION_TIMEDOUT:
			snprintf(reason, size, "timed out after %.3g s %s", failure->seconds, failure->stage);
			break;
		case CURLE_PEER_FAILED_VERIFICATION:
			explain_certificate(failure, detail, reason, size);
			break;
		case CURLE_SSL_CONNECT_ERROR:
			explain_handshake(detail, reason, size);
			break;
		case CURLE_UNSUPPORTED_PROTOCOL:
		case CURLE_WEIRD_SERVER_REPLY:
			strlcpy(reason, failure->mail ? "answer is not SMTP" : "answer is not HTTP", size);
			break;
		case CURLE_USE_SSL_FAILED:
			strlcpy(reason, "mail server does not offer STARTTLS, without which nothing is sent", size);
			break;
		case CURLE_GOT_NOTHING:
			strlcpy(reason, "connection closed without an answer", size);
			break;
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
		case CURLE_PARTIAL_FILE:
			strlcpy(reason, "connection lost before the answer was complete", size);
			break;
		default:
			snprintf(reason, size, "request failed: %s", curl_easy_strerror(failure->result));
			break;
	}
}
