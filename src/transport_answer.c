/*-------------------------------------------------------------------------
 *
 * transport_answer.c
 *		What became of a request that has ended, for actions to judge.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "failure.h"
#include "settings.h"
#include "transport_request.h"
#include "url.h"

static curl_off_t
time_of(CURL *easy, CURLINFO info)
{
	curl_off_t	us = 0;

	curl_easy_getinfo(easy, info, &us);
	return us;
}

static int64
duration_of(const Request *request)
{
	if (request->kind == REQUEST_MAIL)
		return transport_clock_us() - request->started_at;
	return time_of(request->easy, CURLINFO_TOTAL_TIME_T);
}

/* Does the other side perhaps have what was to be sent? */
static bool
was_sent(const Request *request)
{
	return request->kind == REQUEST_MAIL ? request->smtp.content_begun : request->sent;
}

/* What an e-mail that ran out of time was waiting for. */
static const char *
mail_waiting_for(const Request *request)
{
	bool		connected = time_of(request->easy, CURLINFO_CONNECT_TIME_T) > 0;
	bool		secure = strncmp(hooks_smtp_url, "smtps:", 6) == 0;

	if (was_sent(request))
		return "waiting for the mail server to take the message";
	if (request->smtp.securing ||
		(connected && secure && time_of(request->easy, CURLINFO_APPCONNECT_TIME_T) == 0))
		return "during the TLS handshake";
	if (request->smtp.greeted)
		return "waiting for the mail server's answer";
	return "waiting for the mail server's greeting";
}

/* What a request that ran out of time was waiting for. */
static const char *
waiting_for(const Request *request)
{
	if (request->kind == REQUEST_MAIL && (request->smtp.greeted || request->handshaking))
		return mail_waiting_for(request);
	if (request->header_bytes > 0)
		return "while the answer was coming in";
	if (was_sent(request))
		return "waiting for the first byte of the answer";
	/* libcurl waits for the resolver on a descriptor that may have been a connection's. */
	if (time_of(request->easy, CURLINFO_NAMELOOKUP_TIME_T) == 0)
		return "while looking up the host name";
	return request->handshaking ? "during the TLS handshake" : "while connecting";
}

/* How long it could take as far as it came; libcurl may notice a little later. */
static double
allowed_seconds(const Request *request)
{
	bool		connecting = request->kind == REQUEST_HTTP && !request->sent;

	return (connecting ? Min(request->timeout_ms, hooks_connect_timeout) : request->timeout_ms) / 1e3;
}

/* libcurl gives up on lines of more than 100 kB, and says so in other words. */
static bool
header_line_too_long(const Request *request)
{
	if (request->kind != REQUEST_HTTP || !request->sent)
		return false;
#if LIBCURL_VERSION_NUM >= 0x080600
	if (request->result == CURLE_TOO_LARGE)
		return true;			/* in trailers, too */
#endif
	return request->result == CURLE_OUT_OF_MEMORY && request->body_bytes == 0;
}

static void
explain_failure(Request *request, Answer *answer)
{
	long		os_error = 0;
	Failure		failure = {
		.result = request->result,
		.detail = request->error,
		.seconds = duration_of(request) / 1e6,
		.stage = waiting_for(request),
		.mail = request->kind == REQUEST_MAIL,
		.fault = &request->fault
	};

	if (request->headers_too_large || header_line_too_long(request))
	{
		snprintf(answer->reason, sizeof(answer->reason),
				 "headers of the answer are larger than %d bytes", TRANSPORT_MAX_HEADER_BYTES);
		return;
	}
	failure.seconds = Min(failure.seconds, allowed_seconds(request));
	curl_easy_getinfo(request->easy, CURLINFO_OS_ERRNO, &os_error);
	failure.os_error = (int) os_error;
	failure_explain(&failure, answer->reason, sizeof(answer->reason));
}

/* There is an HTTP status, and with it what the answer said. */
static void
make_status_answer(Request *request, Answer *answer)
{
	const AnswerHeaders *said = &request->headers_said;
	long		status = 0;

	curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	answer->kind = ANSWER_STATUS;
	answer->status = (int) status;
	if (said->location[0])
	{
		char	   *host = url_host(said->location);

		strlcpy(answer->location, host ? host : "the same host", sizeof(answer->location));
	}
	answer->retry_after_ms = said->retry_after_ms;
	answer->rate_remaining = said->rate_remaining;
	answer->rate_reset_ms = said->rate_reset_ms;
	answer->rate_bucket = said->rate_bucket;
	answer->rate_scope = said->rate_scope;
	answer->wish = said->wish;
	answer->body = request->body;
	answer->body_length = request->body_length;
}

/* Has a mail server taken the message, or said that it does not? */
static bool
mail_has_status(const Request *request)
{
	if (request->result == CURLE_OK)
		return true;
	if (request->result == CURLE_OPERATION_TIMEDOUT || request->smtp.reply.status < 400)
		return false;
	return request->result != CURLE_USE_SSL_FAILED || request->smtp.reply.status < 500;
}

static void
make_mail_answer(Request *request, Answer *answer)
{
	answer->kind = ANSWER_STATUS;
	answer->stage = request->smtp.stage;
	answer->reply = request->smtp.reply;
	answer->status = answer->reply.status;
	answer->refused = request->smtp.refused;
	answer->refusal = request->smtp.refusal;
}

static AnswerKind
failure_kind(const Request *request)
{
	if (was_sent(request))
		return ANSWER_UNKNOWN;
	if (request->result == CURLE_PEER_FAILED_VERIFICATION || request->result == CURLE_USE_SSL_FAILED)
		return ANSWER_UNTRUSTED;
	return ANSWER_UNREACHED;
}

void
transport_make_answer(Request *request, Answer *answer)
{
	*answer = (Answer)
	{
		.duration_us = duration_of(request),
		.retry_after_ms = -1,
		.rate_remaining = -1,
		.rate_reset_ms = -1
	};

	if (request->kind == REQUEST_MAIL ? mail_has_status(request)
		: request->result == CURLE_OK || request->body_cut)
	{
		if (request->kind == REQUEST_MAIL)
			make_mail_answer(request, answer);
		else
			make_status_answer(request, answer);
	}
	else if (request->refused && !request->opened)
	{
		/* The same for every address and port, so that nothing can be learnt. */
		answer->kind = ANSWER_REFUSED;
		answer->duration_us = 0;
		strlcpy(answer->reason, "address is not allowed", sizeof(answer->reason));
	}
	else
	{
		answer->kind = failure_kind(request);
		explain_failure(request, answer);
	}
}
