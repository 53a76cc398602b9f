/*-------------------------------------------------------------------------
 *
 * transport_mail.c
 *		E-mails, over connections to the mail server of the settings, which
 *		the address guard has nothing to say about.
 *
 * libcurl connects, secures and logs in.  The conversation that follows is
 * our own (smtp.h), because libcurl waits for the answer to a message without
 * letting anything else go on.  A connection stays with its Request, for the
 * next message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>

#include "mail_server.h"
#include "settings.h"
#include "sockets.h"
#include "transport_request.h"
#include "url.h"

static Request *connecting = NULL;	/* a connection is being made for them */
static Request *mails = NULL;	/* on their way, once it is there */

/* What libcurl and a mail server say to each other, up to the login; it holds passwords. */
static int
on_conversation(CURL *easy, curl_infotype type, char *data, size_t size, void *arg)
{
	Request    *request = arg;
	char		line[64];
	size_t		length = Min(size, sizeof(line) - 1);

	if (type != CURLINFO_HEADER_OUT && type != CURLINFO_HEADER_IN)
		return 0;
	memcpy(line, data, length);
	line[length] = '\0';
	/* It closes the connection, and would wait for the answer to this for as long as that takes. */
	if (type == CURLINFO_HEADER_OUT && strncmp(line, "QUIT", 4) == 0)
		(void) shutdown(request->fd, SHUT_RD);
	else if (type == CURLINFO_HEADER_OUT)
		smtp_told(&request->smtp, line);
	else
		smtp_heard(&request->smtp, line);
	return 0;
}

static void
set_fixed_options(CURL *easy, Request *request)
{
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(easy, CURLOPT_DEBUGFUNCTION, on_conversation);
	curl_easy_setopt(easy, CURLOPT_DEBUGDATA, request);
	curl_easy_setopt(easy, CURLOPT_VERBOSE, 1L);
}

/* TLS by STARTTLS, but where nothing leaves the machine. */
static void
set_configured_options(CURL *easy)
{
	UrlParts	parts;
	Mistake		error;
	const char *user;
	const char *password;
	bool		plain = url_check_mail_server(hooks_smtp_url, &parts, &error) &&
		url_host_is_loopback(parts.host);

	curl_easy_setopt(easy, CURLOPT_USE_SSL, plain ? (long) CURLUSESSL_NONE : (long) CURLUSESSL_ALL);
	if (mail_server_login(&user, &password) && user != NULL)
	{
		curl_easy_setopt(easy, CURLOPT_USERNAME, user);
		curl_easy_setopt(easy, CURLOPT_PASSWORD, password);
	}
}

void
transport_mail_set_up(Request *request)
{
	set_fixed_options(request->easy, request);
	set_configured_options(request->easy);
}

static void
enter(Request *request, Request **list)
{
	request->next = *list;
	*list = request;
}

static void
leave(Request *request, Request **list)
{
	while (*list != NULL && *list != request)
		list = &(*list)->next;
	if (*list != NULL)
		*list = request->next;
}

static void
end(Request *request, CURLcode result)
{
	leave(request, &connecting);
	leave(request, &mails);
	transport_ended(request, result);
}

/* ----------
 * Connections
 * ----------
 */

void
transport_mail_disconnect(Request *request)
{
	if (request->mail_fd >= 0)
		sockets_forget(request->mail_fd);
	request->mail_fd = -1;
	if (request->added)
		transport_remove(request);
	request->added = false;
}

static bool
connect_anew(Request *request)
{
	smtp_begin(&request->smtp, false);
	request->reused = false;
	request->added = transport_add(request);
	if (request->added)
		enter(request, &connecting);
	return request->added;
}

/*
 * Has the server ended a connection that nobody uses, or said something that
 * it was not asked for?  What an event told of may have been read since.
 */
static bool
is_over(const Request *request)
{
	char		c;
	ssize_t		n = recv(request->mail_fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	return n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* ----------
 * Mails
 * ----------
 */

/* Send what is to be sent; CURLE_AGAIN when that takes longer. */
static CURLcode
send_all(Request *request)
{
	Smtp	   *smtp = &request->smtp;

	while (smtp->to_send_length > 0)
	{
		size_t		sent = 0;
		CURLcode	result = curl_easy_send(request->easy, smtp->to_send, smtp->to_send_length, &sent);

		if (result != CURLE_OK)
			return result;
		smtp_sent(smtp, sent);
	}
	return CURLE_OK;
}

/* Take what has come in up to the end of a reply; CURLE_AGAIN when there is more to come. */
static CURLcode
receive_reply(Request *request)
{
	while (!smtp_has_reply(&request->smtp))
	{
		size_t		size;
		size_t		received = 0;
		char	   *room = smtp_room(&request->smtp, &size);
		CURLcode	result;

		if (room == NULL)
			return CURLE_WEIRD_SERVER_REPLY;
		result = curl_easy_recv(request->easy, room, size, &received);
		if (result != CURLE_OK)
			return result;
		if (received == 0)
			return CURLE_RECV_ERROR;
		smtp_received(&request->smtp, received);
	}
	return CURLE_OK;
}

/* Say what there is to say, until the mail has come to its end; CURLE_AGAIN as above. */
static CURLcode
converse(Request *request)
{
	for (;;)
	{
		CURLcode	result = send_all(request);

		if (result == CURLE_OK)
			result = receive_reply(request);
		if (result != CURLE_OK)
			return result;
		request->reused = false;
		switch (smtp_continue(&request->smtp))
		{
			case SMTP_SAY:
				break;
			case SMTP_DONE:
				return CURLE_OK;
			case SMTP_NO_SENSE:
				return CURLE_WEIRD_SERVER_REPLY;
		}
	}
}

static void
quit(Request *request)
{
	size_t		sent;

	(void) curl_easy_send(request->easy, "QUIT\r\n", 6, &sent);
	transport_mail_disconnect(request);
}

/* Go on with a mail, as far as that can be done without waiting. */
static void
drive(Request *request)
{
	CURLcode	result = converse(request);

	if (result == CURLE_AGAIN)
	{
		(void) sockets_wait_for(request->mail_fd, request->smtp.to_send_length > 0 ? EPOLLOUT : EPOLLIN);
		return;
	}
	if (result == CURLE_OK)
	{
		/* Who was refused, or is told more than was asked, had better begin anew. */
		if (request->smtp.reply.status >= 300 || request->smtp.said_length > 0)
			quit(request);
		end(request, CURLE_OK);
		return;
	}

	/* A connection that was not used for a while may have ended. */
	transport_mail_disconnect(request);
	if (request->reused)
	{
		leave(request, &mails);
		if (connect_anew(request))
			return;
	}
	end(request, result);
}

/* A connection is there, and logged in. */
static void
begin(Request *request)
{
	enter(request, &mails);
	(void) smtp_continue(&request->smtp);
	drive(request);
}

bool
transport_mail_start(Request *request)
{
	request->started_at = transport_clock_us();
	if (request->mail_fd < 0)
		return connect_anew(request);
	smtp_begin(&request->smtp, true);
	request->reused = true;
	begin(request);
	return true;
}

void
transport_mail_connected(Request *request, CURLcode result)
{
	curl_socket_t fd = CURL_SOCKET_BAD;

	if (result == CURLE_OK)
		curl_easy_getinfo(request->easy, CURLINFO_ACTIVESOCKET, &fd);
	if (fd == CURL_SOCKET_BAD || !sockets_own(fd, request))
	{
		transport_mail_disconnect(request);
		end(request, result == CURLE_OK ? CURLE_OUT_OF_MEMORY : result);
		return;
	}
	leave(request, &connecting);
	request->mail_fd = fd;
	begin(request);
}

void
transport_mail_ready(Request *request)
{
	for (Request *mail = mails; mail != NULL; mail = mail->next)
	{
		if (mail == request)
		{
			drive(request);
			return;
		}
	}
	if (is_over(request))
		transport_mail_disconnect(request);
}

static int64
deadline(const Request *request)
{
	return request->started_at + request->timeout_ms * INT64CONST(1000);
}

int64
transport_mail_deadline(void)
{
	int64		at = -1;

	for (const Request *mail = mails; mail != NULL; mail = mail->next)
		at = at < 0 ? deadline(mail) : Min(at, deadline(mail));
	return at;
}

void
transport_mail_expire(void)
{
	int64		now = transport_clock_us();
	Request    *next;

	for (Request *request = mails; request != NULL; request = next)
	{
		next = request->next;
		if (deadline(request) > now)
			continue;
		transport_mail_disconnect(request);
		end(request, CURLE_OPERATION_TIMEDOUT);
	}
}

void
transport_mail_abort(void)
{
	while (connecting != NULL)
		end(connecting, CURLE_ABORTED_BY_CALLBACK);
	while (mails != NULL)
		end(mails, CURLE_ABORTED_BY_CALLBACK);
}
