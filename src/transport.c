/*-------------------------------------------------------------------------
 *
 * transport.c
 *		Many requests at once: libcurl's multi interface on one epoll
 *		descriptor, which is what the worker waits for.
 *
 * libcurl's callbacks only record: they raise no error, allocate nothing of
 * PostgreSQL's and call nothing that could, because nothing may longjmp
 * through libcurl.  Signals are blocked while libcurl runs, so that the
 * threads it starts for looking up names never receive one of ours.
 *
 * The address guard sits where a socket is about to be opened, and again
 * where a request is about to be sent on a connection, reused ones included.
 * Every name, spelling and DNS answer ends there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "portability/instr_time.h"

#include "address.h"
#include "mail_server.h"
#include "settings.h"
#include "sockets.h"
#include "transport.h"
#include "transport_request.h"
#include "version.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "hooks needs libcurl 7.87 or later"
#endif

/* HTTP/2 of older ones loses answers that come before the body was sent. */
#define HTTP2_SINCE 0x080100

#define MAX_BODY_BYTES (64 * 1024)
#define MAX_CONNECTIONS 512
#define KEPT_TEXT_BYTES (64 * 1024)	/* by a request that waits to be used again */

static CURLM *multi = NULL;
static int64 timer_at = -1;		/* microseconds of the monotonic clock, -1: none */
static int	settings = 0;		/* counts their changes */
static Request *free_requests[REQUEST_KINDS] = {NULL};
static Request *ended_requests = NULL;
static dlist_head requests = DLIST_STATIC_INIT(requests);

int64
transport_clock_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/* ----------
 * Callbacks of libcurl: record, and never fail in a way of ours.
 * ----------
 */

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	Request    *request = NULL;
	uint32		events = 0;

	/*
	 * A socket is waited for to become writable until it is connected.  Newer
	 * versions of libcurl have handles of their own, too, without a request.
	 */
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &request);
	if (what == CURL_POLL_IN && request != NULL && sockets_is_ours(fd))
		request->handshaking = true;
	if (what != CURL_POLL_REMOVE && request != NULL)
		request->fd = fd;

	switch (what)
	{
		case CURL_POLL_IN:
			events = EPOLLIN;
			break;
		case CURL_POLL_OUT:
			events = EPOLLOUT;
			break;
		case CURL_POLL_INOUT:
			events = EPOLLIN | EPOLLOUT;
			break;
		default:
			break;
	}
	return sockets_wait_for(fd, events) ? 0 : -1;
}

static int
on_timer(CURLM *m, long timeout_ms, void *arg)
{
	timer_at = timeout_ms < 0 ? -1 : transport_clock_us() + timeout_ms * 1000;
	return 0;
}

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Request    *request = arg;
	int			fd;

	/* With a proxy, this is the proxy's address, which the settings name, as they do a mail server. */
	if (request->kind == REQUEST_HTTP && !request->trusted &&
		(hooks_proxy == NULL || *hooks_proxy == '\0') &&
		address_refused(&address->addr, hooks_allow_addresses, hooks_deny_addresses) != NULL)
	{
		request->refused = true;
		return CURL_SOCKET_BAD;
	}

	fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	if (fd < 0)
		return CURL_SOCKET_BAD;

	if (!sockets_opened(fd))
	{
		close(fd);
		return CURL_SOCKET_BAD;
	}
	request->opened = true;
	return fd;
}

static int
on_prerequest(void *arg, char *ip, char *local_ip, int port, int local_port)
{
	Request    *request = arg;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	const struct sockaddr *address = NULL;

	if (request->kind == REQUEST_MAIL)
		return CURL_PREREQFUNC_OK;	/* nothing of it is sent yet */
	request->sent = true;
	if (request->trusted || (hooks_proxy != NULL && *hooks_proxy != '\0'))
		return CURL_PREREQFUNC_OK;
	if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
		address = (struct sockaddr *) &v4;
	else if (inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
		address = (struct sockaddr *) &v6;

	if (address != NULL &&
		address_refused(address, hooks_allow_addresses, hooks_deny_addresses) == NULL)
		return CURL_PREREQFUNC_OK;
	request->sent = request->opened = false;
	request->refused = true;
	return CURL_PREREQFUNC_ABORT;
}

static size_t
on_header(char *line, size_t size, size_t n, void *arg)
{
	Request    *request = arg;
	size_t		length = size * n;

	request->header_bytes += length;
	if (request->header_bytes > TRANSPORT_MAX_HEADER_BYTES)
	{
		request->headers_too_large = true;
		return 0;
	}
	if (request->kind == REQUEST_HTTP)
		answer_headers_add(&request->headers_said, line, length, time(NULL));
	return length;
}

static size_t
on_body(char *data, size_t size, size_t n, void *arg)
{
	Request    *request = arg;

	if (request->wants_body && request->body == NULL)
		request->body = malloc(ANSWER_MAX_BODY);
	if (request->wants_body && request->body != NULL)
	{
		size_t		kept = Min(size * n, ANSWER_MAX_BODY - request->body_length);

		memcpy(request->body + request->body_length, data, kept);
		request->body_length += kept;
	}
	request->body_bytes += size * n;
	if (request->body_bytes > MAX_BODY_BYTES)
	{
		request->body_cut = true;
		return 0;
	}
	return size * n;
}

/* A connection is about to speak TLS. */
static CURLcode
on_tls(CURL *easy, void *context, void *arg)
{
	Request    *request = arg;

	(void) certificate_watch(context, &request->fault);
	return CURLE_OK;
}

/* ----------
 * Setting up
 * ----------
 */

const char *
transport_library_version(void)
{
	return curl_version_info(CURLVERSION_NOW)->version;
}

bool
transport_http2_usable(void)
{
	return curl_version_info(CURLVERSION_NOW)->version_num >= HTTP2_SINCE;
}

void
transport_init(void)
{
	static const char *const environment[] = {
		"http_proxy", "https_proxy", "all_proxy", "no_proxy",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
		"SSLKEYLOGFILE", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE",
	};

	/* What the server was started with must not change where requests go. */
	for (size_t i = 0; i < lengthof(environment); i++)
		unsetenv(environment[i]);

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not set up libcurl")));
	multi = curl_multi_init();
	if (!sockets_begin() || multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not set up the transport: %m")));

	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) MAX_CONNECTIONS);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_MULTIPLEX);
	address_own_load();
	mail_server_load();
}

/* ----------
 * Options
 * ----------
 */

/* The options that all requests share. */
static void
set_fixed_options(Request *request)
{
	CURL	   *easy = request->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, request);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "hooks/" HOOKS_VERSION " (PostgreSQL)");
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, request);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_prerequest);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, request);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, request);
	if (certificate_can_watch(curl_version_info(CURLVERSION_NOW)->ssl_version))
	{
		curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls);
		curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, request);
	}
}

/* Whose URL is it, the administrator's or a hook's? */
static void
set_trust(Request *request, bool trusted)
{
	request->trusted = trusted;
	curl_easy_setopt(request->easy, CURLOPT_PROTOCOLS_STR,
					 trusted || hooks_allow_http ? "https,http" : "https");
}

/* The options of HTTP requests that settings decide. */
static void
set_configured_http_options(Request *request)
{
	CURL	   *easy = request->easy;
	bool		has_proxy = hooks_proxy != NULL && *hooks_proxy != '\0';

	set_trust(request, false);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
					 hooks_http2 ? (long) CURL_HTTP_VERSION_2TLS : (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_PROXY, has_proxy ? hooks_proxy : "");
	curl_easy_setopt(easy, CURLOPT_NOPROXY, has_proxy ? "" : "*");
}

/* … and of all. */
static void
set_configured_options(Request *request)
{
	CURL	   *easy = request->easy;

	if (hooks_ca_file != NULL && *hooks_ca_file != '\0')
		curl_easy_setopt(easy, CURLOPT_CAINFO, hooks_ca_file);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
					 (long) (request->kind == REQUEST_MAIL ? MAIL_CONNECT_MS : hooks_connect_timeout));
}

void
transport_reload(void)
{
	settings++;
	for (Request *request = free_requests[REQUEST_MAIL]; request != NULL; request = request->next)
		transport_mail_disconnect(request);
	address_own_load();
	mail_server_load();
}

int
transport_fd(void)
{
	return sockets_fd();
}

/* ----------
 * Requests
 * ----------
 */

bool
transport_add(Request *request)
{
	return curl_multi_add_handle(multi, request->easy) == CURLM_OK;
}

void
transport_remove(Request *request)
{
	curl_multi_remove_handle(multi, request->easy);
}

void
transport_ended(Request *request, CURLcode result)
{
	request->result = result;
	request->next = ended_requests;
	ended_requests = request;
}

/* A new one, or one that was used before. */
static Request *
unused_request(RequestKind kind)
{
	Request    *request = free_requests[kind];

	if (request == NULL)
	{
		request = calloc(1, sizeof(Request));
		if (request != NULL)
		{
			request->kind = kind;
			request->mail_fd = -1;
		}
		return request;
	}
	free_requests[kind] = request->next;
	return request;
}

static void
give_back(Request *request)
{
	if (request->kind == REQUEST_MAIL && request->settings != settings)
		transport_mail_disconnect(request);
	if (request->text_size > KEPT_TEXT_BYTES)
	{
		free(request->text);
		request->text = NULL;
		request->text_size = 0;
	}
	request->next = free_requests[request->kind];
	free_requests[request->kind] = request;
}

/* A request that can be filled in; its handle follows the settings. */
static Request *
get_request(RequestKind kind)
{
	Request    *request = unused_request(kind);

	if (request == NULL || (request->easy != NULL && request->settings == settings))
		return request;
	if (request->easy != NULL)
		curl_easy_cleanup(request->easy);	/* of a mail, it has no connection */
	request->easy = curl_easy_init();
	if (request->easy == NULL)
	{
		give_back(request);
		return NULL;
	}
	request->settings = settings;
	set_fixed_options(request);
	set_configured_options(request);
	if (kind == REQUEST_HTTP)
		set_configured_http_options(request);
	else
		transport_mail_set_up(request);
	return request;
}

/* Make room for the texts of a message. */
static bool
make_room(Request *request, size_t size)
{
	size_t		larger = Max(size, 2048);
	char	   *text;

	if (size <= request->text_size)
		return true;
	text = realloc(request->text, larger);
	if (text == NULL)
		return false;
	request->text = text;
	request->text_size = larger;
	return true;
}

/* Copy headers and body; the headers become the list that libcurl wants. */
static bool
copy_text(Request *request, const Message *message)
{
	size_t		size = message->body_length;
	char	   *place;

	for (int i = 0; i < message->nheaders; i++)
		size += strlen(message->headers[i]) + 1;
	if (!make_room(request, size))
		return false;

	place = request->text;
	for (int i = 0; i < message->nheaders; i++)
	{
		request->headers[i].data = strcpy(place, message->headers[i]);
		request->headers[i].next = i + 1 < message->nheaders ? &request->headers[i + 1] : NULL;
		place += strlen(place) + 1;
	}
	if (message->body != NULL)
	{
		memcpy(place, message->body, message->body_length);
		curl_easy_setopt(request->easy, CURLOPT_POSTFIELDS, place);
		curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE, (long) message->body_length);
	}
	return true;
}

/* What is known of a request that begins. */
static void
reset_request(Request *request, const Message *message, void *arg)
{
	request->arg = arg;
	request->error[0] = '\0';
	answer_headers_begin(&request->headers_said);
	request->fault = (CertificateFault) {0};
	request->header_bytes = request->body_bytes = request->body_length = 0;
	request->wants_body = message->wants_body;
	request->refused = request->opened = request->headers_too_large = request->body_cut = false;
	request->handshaking = request->sent = false;
	request->timeout_ms = message->timeout_ms ? message->timeout_ms
		: request->kind == REQUEST_MAIL ? MAIL_TIMEOUT_MS : hooks_timeout;
	request->fd = -1;
}

/* Copy an e-mail: its envelope, and what is sent as its content. */
static bool
copy_mail(Request *request, const Message *message)
{
	const Mail *mail = message->mail;
	Smtp	   *state = &request->smtp;
	size_t		size = strlen(mail->sender) + 1 + message->body_length + strlen("\r\n.\r\n") + 1;
	char	   *place;

	for (int i = 0; i < mail->nrecipients; i++)
		size += strlen(mail->recipients[i]) + 1;
	for (int i = 0; i < message->nheaders; i++)
		size += strlen(message->headers[i]) + strlen("\r\n");
	if (!make_room(request, size))
		return false;

	place = request->text;
	state->sender = strcpy(place, mail->sender);
	place += strlen(place) + 1;
	for (int i = 0; i < mail->nrecipients; i++)
	{
		state->recipients[i] = strcpy(place, mail->recipients[i]);
		place += strlen(place) + 1;
	}
	state->nrecipients = mail->nrecipients;

	state->content = place;
	for (int i = 0; i < message->nheaders; i++)
		place += sprintf(place, "%s\r\n", message->headers[i]);
	place += sprintf(place, "\r\n");
	memcpy(place, message->body, message->body_length);
	place += message->body_length;
	place += sprintf(place, ".\r\n");
	state->content_length = place - state->content;
	return true;
}

/* Nothing has been sent; what could not be begun can be begun later. */
static void
out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Failed while beginning a request.")));
}

static const char *
start_mail(const Message *message, void *arg)
{
	const char *user;
	const char *password;
	Request    *request;

	if (!mail_server_login(&user, &password))
		return "no e-mail can be sent: the file \"hooks.smtp_password_file\" cannot be used, "
			"the administrator finds the reason in the server log";
	request = get_request(REQUEST_MAIL);
	if (request == NULL)
		out_of_memory();
	reset_request(request, message, arg);
	curl_easy_setopt(request->easy, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms);
	if (!copy_mail(request, message) ||
		curl_easy_setopt(request->easy, CURLOPT_URL, message->url) != CURLE_OK ||
		!transport_mail_start(request))
	{
		give_back(request);
		out_of_memory();
	}
	return NULL;
}

static const char *
start_http(const Message *message, void *arg)
{
	Request    *request = get_request(REQUEST_HTTP);
	CURL	   *easy;

	if (request == NULL)
		out_of_memory();
	easy = request->easy;
	reset_request(request, message, arg);
	if (request->trusted != message->trusted)
		set_trust(request, message->trusted);
	if (message->body != NULL)
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
	else
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, message->method);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) request->timeout_ms);
	if (!copy_text(request, message) ||
		curl_easy_setopt(easy, CURLOPT_URL, message->url) != CURLE_OK ||
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER,
						 message->nheaders ? request->headers : NULL) != CURLE_OK ||
		!transport_add(request))
	{
		give_back(request);
		out_of_memory();
	}
	dlist_push_tail(&requests, &request->link);
	return NULL;
}

const char *
transport_start(const Message *message, void *arg)
{
	return message->mail ? start_mail(message, arg) : start_http(message, arg);
}

long
transport_timeout(void)
{
	int64		mail_at = transport_mail_deadline();
	int64		at = timer_at < 0 || mail_at < 0 ? Max(timer_at, mail_at) : Min(timer_at, mail_at);
	int64		left;

	if (ended_requests != NULL)
		return 0;
	if (at < 0)
		return -1;
	left = at - transport_clock_us();
	return left <= 0 ? 0 : (long) ((left + 999) / 1000);
}

static int
ready_flags(uint32_t events)
{
	return ((events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
		((events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
		((events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0);
}

/* Have libcurl do what can be done; once it has said no, nothing is certain any more. */
static bool
act(int fd, int events)
{
	int			running;

	return curl_multi_socket_action(multi, fd, events, &running) == CURLM_OK;
}

int
transport_drive(void)
{
	struct epoll_event events[SOCKETS_AT_ONCE];
	sigset_t	all;
	sigset_t	previous;
	bool		sound = true;
	int			queued;
	CURLMsg    *ended;
	int			n;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &previous);

	if (timer_at >= 0 && timer_at <= transport_clock_us())
	{
		timer_at = -1;
		sound = act(CURL_SOCKET_TIMEOUT, 0);
	}

	n = sockets_ready(events);
	for (int i = 0; i < n; i++)
	{
		int			fd = events[i].data.fd;
		Request    *mail = sockets_owner(fd);

		if (mail != NULL)
			transport_mail_ready(mail);
		else if (sockets_is_waited_for(fd))
			sound = act(fd, ready_flags(events[i].events)) && sound;
		else
			sockets_forget(fd);
	}

	while ((ended = curl_multi_info_read(multi, &queued)) != NULL)
	{
		Request    *request;

		if (ended->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(ended->easy_handle, CURLINFO_PRIVATE, &request);
		if (request->kind == REQUEST_MAIL)
		{
			transport_mail_connected(request, ended->data.result);
			continue;
		}
		transport_remove(request);
		dlist_delete(&request->link);
		transport_ended(request, ended->data.result);
	}

	transport_mail_expire();
	pthread_sigmask(SIG_SETMASK, &previous, NULL);
	if (!sound)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while requests were under way.")));
	return n;
}

bool
transport_take(Answer *answer, void **arg)
{
	Request    *request = ended_requests;

	if (request == NULL)
		return false;
	ended_requests = request->next;
	transport_make_answer(request, answer);
	*arg = request->arg;
	give_back(request);
	return true;
}

void
transport_end(void)
{
	sigset_t	all;
	sigset_t	previous;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &previous);
	while (!dlist_is_empty(&requests))
	{
		Request    *request = dlist_container(Request, link, dlist_pop_head_node(&requests));

		transport_remove(request);
		give_back(request);
	}
	transport_mail_abort();
	settings++;					/* so that no mail's connection outlives this */
	while (ended_requests != NULL)
	{
		Request    *request = ended_requests;

		ended_requests = request->next;
		give_back(request);
	}
	for (Request *mail = free_requests[REQUEST_MAIL]; mail != NULL; mail = mail->next)
		transport_mail_disconnect(mail);
	curl_multi_cleanup(multi);
	multi = NULL;
	sockets_end();
	timer_at = -1;
	pthread_sigmask(SIG_SETMASK, &previous, NULL);
}
