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
 * Sockets stay in the epoll set between the requests on a connection; one
 * that becomes ready without anybody waiting for it is taken out then.  That
 * saves two system calls per request (bench/run P1).
 *
 * The address guard sits where a socket is about to be opened, and again
 * where a request is about to be sent on a connection, reused ones included.
 * Every name, spelling and DNS answer ends there.
 *
 * A Request is never freed, only used again: a connection that outlives its
 * request still knows where to record what OpenSSL finds (certificate.h).
 *
 * E-mails go to the mail server of the settings, which the guard has nothing to
 * say about.  libcurl connects, secures and logs in; what follows is our own
 * (below "E-mail"), because libcurl waits for the answer to a message without
 * letting anything else go on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/ilist.h"
#include "portability/instr_time.h"

#include "address.h"
#include "answer.h"
#include "certificate.h"
#include "failure.h"
#include "mail_server.h"
#include "settings.h"
#include "transport.h"
#include "url.h"
#include "version.h"

#if LIBCURL_VERSION_NUM < 0x075700
#error "hooks needs libcurl 7.87 or later"
#endif

/* HTTP/2 of older ones loses answers that come before the body was sent. */
#define HTTP2_SINCE 0x080100

#define MAX_BODY_BYTES (64 * 1024)
#define MAX_HEADER_BYTES (32 * 1024)
#define MAX_CONNECTIONS 512
#define KEPT_TEXT_BYTES (64 * 1024)	/* by a request that waits to be used again */
#define EVENTS_AT_ONCE 64

/* What an e-mail's request has beside others. */
typedef struct MailState
{
	const char *sender;
	const char *recipients[MAIL_MAX_RECIPIENTS];
	int			nrecipients;
	int			named;			/* recipients, to the server */
	const char *content;		/* headers and body, up to the dot that ends it */
	size_t		content_length;
	const char *to_send;		/* what is to be sent of it or of "command" */
	size_t		to_send_length;
	char		command[512];
	char		said[2048];		/* what the server has said so far of a line */
	size_t		said_length;
	int64		started_at;		/* microseconds of the monotonic clock */
	MailStage	stage;
	MailReply	reply;			/* to what it was told last */
	bool		greeted;		/* the server has said something */
	bool		starting_tls;	/* it was told STARTTLS last … */
	bool		securing;		/* … and agreed */
	bool		reused;			/* the connection, and nothing was said on it yet */
	int			refused;		/* recipients */
	MailReply	refusal;
} MailState;

typedef enum RequestKind
{
	REQUEST_HTTP,
	REQUEST_MAIL,
	REQUEST_KINDS
} RequestKind;

typedef struct Request
{
	RequestKind kind;
	CURL	   *easy;
	void	   *arg;
	char	   *text;			/* headers and body, one after another */
	size_t		text_size;
	struct curl_slist headers[MESSAGE_MAX_HEADERS];
	char		error[CURL_ERROR_SIZE];
	AnswerHeaders headers_said;
	CertificateFault fault;
	size_t		header_bytes;
	size_t		body_bytes;
	char	   *body;			/* the answer's, as far as wanted; or NULL */
	size_t		body_length;
	bool		wants_body;
	bool		trusted;		/* the address guard is not asked */
	bool		refused;		/* the address guard said no */
	bool		handshaking;	/* connected, and waiting for the other side's TLS */
	bool		sent;			/* perhaps only in part */
	bool		headers_too_large;
	bool		body_cut;
	MailState	mail;
	int			fd;				/* that libcurl waited for last */
	int			mail_fd;		/* of a connection that is logged in, -1: there is none */
	bool		added;			/* its handle is libcurl's multi handle's */
	int			timeout_ms;
	int			settings;		/* which ones its handle was set up for */
	dlist_node	link;			/* while it is under way */
	struct Request *next;		/* in the list of free or of ended ones */
	CURLcode	result;
} Request;

/* What epoll and we know of a descriptor. */
typedef struct Descriptor
{
	uint32_t	wanted;			/* events that libcurl waits for */
	uint32_t	registered;		/* … that epoll reports; 0: not in the set */
	bool		opened_here;	/* a socket of ours, so we know when it is new */
	struct Request *mail;		/* whose connection to the mail server this is */
} Descriptor;

static CURLM *multi = NULL;
static int	epoll_fd = -1;
static Descriptor *descriptors = NULL;
static int	ndescriptors = 0;
static int64 timer_at = -1;		/* microseconds of the monotonic clock, -1: none */
static int	settings = 0;		/* counts their changes */
static Request *free_requests[REQUEST_KINDS] = {NULL};
static Request *ended_requests = NULL;
static dlist_head requests = DLIST_STATIC_INIT(requests);
static Request *mails = NULL;	/* on their way, once the connection is there */

static int64
monotonic_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/* ----------
 * Callbacks of libcurl: record, and never fail in a way of ours.
 * ----------
 */

static Descriptor *
descriptor(int fd)
{
	if (fd >= ndescriptors)
	{
		int			n = Max(fd + 1, Max(256, ndescriptors * 2));
		Descriptor *larger = realloc(descriptors, sizeof(Descriptor) * n);

		if (larger == NULL)
			return NULL;
		memset(larger + ndescriptors, 0, sizeof(Descriptor) * (n - ndescriptors));
		descriptors = larger;
		ndescriptors = n;
	}
	return &descriptors[fd];
}

/* Make epoll report what is wanted of the descriptor. */
static void
register_events(int fd, Descriptor *d)
{
	struct epoll_event event = {.events = d->wanted, .data.fd = fd};

	if (d->registered == d->wanted)
		return;
	if (d->wanted == 0)
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	else if (d->registered == 0 || epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0)
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
	d->registered = d->wanted;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	Descriptor *d = descriptor(fd);
	Request    *request = NULL;

	if (d == NULL)
		return -1;

	/*
	 * A socket is waited for to become writable until it is connected.  Newer
	 * versions of libcurl have handles of their own, too, without a request.
	 */
	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &request);
	if (d->opened_here && what == CURL_POLL_IN && request != NULL)
		request->handshaking = true;
	if (what != CURL_POLL_REMOVE && request != NULL)
		request->fd = fd;

	switch (what)
	{
		case CURL_POLL_IN:
			d->wanted = EPOLLIN;
			break;
		case CURL_POLL_OUT:
			d->wanted = EPOLLOUT;
			break;
		case CURL_POLL_INOUT:
			d->wanted = EPOLLIN | EPOLLOUT;
			break;
		default:
			d->wanted = 0;
			if (d->opened_here)
				return 0;		/* stays registered until it disturbs */
			break;
	}
	register_events(fd, d);
	return 0;
}

static int
on_timer(CURLM *m, long timeout_ms, void *arg)
{
	timer_at = timeout_ms < 0 ? -1 : monotonic_us() + timeout_ms * 1000;
	return 0;
}

static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Request    *request = arg;
	Descriptor *d;
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

	/* A number used before: the kernel has forgotten the old socket. */
	d = descriptor(fd);
	if (d == NULL)
	{
		close(fd);
		return CURL_SOCKET_BAD;
	}
	*d = (Descriptor)
	{
		.opened_here = true
	};
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
	request->sent = false;
	request->refused = true;
	return CURL_PREREQFUNC_ABORT;
}

static size_t
on_header(char *line, size_t size, size_t n, void *arg)
{
	Request    *request = arg;
	size_t		length = size * n;

	request->header_bytes += length;
	if (request->header_bytes > MAX_HEADER_BYTES)
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
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	multi = curl_multi_init();
	if (epoll_fd < 0 || multi == NULL)
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
 * E-mail
 * ----------
 */

/* What libcurl tells the server.  A login has no lines that look like these. */
static void
mail_command(MailState *mail, const char *line)
{
	mail->starting_tls = strncmp(line, "STARTTLS", 8) == 0;
	if (strncmp(line, "AUTH ", 5) == 0)
		mail->stage = MAIL_LOGIN;
	mail->securing = false;
	mail->reply.status = 0;
}

/* A line of a reply.  The last one of several has no hyphen behind its number. */
static bool
mail_reply(MailState *mail, const char *line)
{
	MailReply  *reply = &mail->reply;
	char		class[2];
	char		subject[4];
	char		detail[4];
	int			end;

	mail->greeted = true;
	if (strspn(line, "0123456789") != 3 || line[3] == '-')
		return false;
	reply->status = atoi(line);

	/* Of the rest, only a code like "5.1.1" is for others to see. */
	reply->enhanced[0] = '\0';
	if (line[3] == ' ' &&
		sscanf(line + 4, "%1[245].%3[0-9].%3[0-9]%n", class, subject, detail, &end) == 3 &&
		class[0] == line[0] && strchr(" \r\n", line[4 + end]) != NULL)
		snprintf(reply->enhanced, sizeof(reply->enhanced), "%s.%s.%s", class, subject, detail);

	mail->securing = mail->starting_tls && reply->status == 220;
	return true;
}

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
		mail_command(&request->mail, line);
	else
		(void) mail_reply(&request->mail, line);
	return 0;
}

static void
set_fixed_mail_options(Request *request)
{
	CURL	   *easy = request->easy;

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
set_configured_mail_options(Request *request)
{
	CURL	   *easy = request->easy;
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

/* The mail is not on its way any more. */
static void
mail_leave(Request *request)
{
	Request   **place = &mails;

	while (*place != NULL && *place != request)
		place = &(*place)->next;
	if (*place != NULL)
		*place = request->next;
}

/* It has come to its end. */
static void
mail_ended(Request *request, CURLcode result)
{
	mail_leave(request);
	request->result = result;
	request->next = ended_requests;
	ended_requests = request;
}

/* The connection is of no use any more; libcurl closes it without a word. */
static void
mail_disconnect(Request *request)
{
	Descriptor *d = request->mail_fd >= 0 ? descriptor(request->mail_fd) : NULL;

	if (d != NULL)
	{
		d->wanted = 0;
		register_events(request->mail_fd, d);
		d->mail = NULL;
	}
	request->mail_fd = -1;
	if (request->added)
		curl_multi_remove_handle(multi, request->easy);
	request->added = false;
}

static bool
mail_connect(Request *request)
{
	request->mail.reused = false;
	request->added = curl_multi_add_handle(multi, request->easy) == CURLM_OK;
	return request->added;
}

static void
mail_say(MailState *mail, MailStage stage, const char *verb, const char *address)
{
	snprintf(mail->command, sizeof(mail->command), "%s%s%s\r\n", verb, address ? address : "",
			 address ? ">" : "");
	mail->to_send = mail->command;
	mail->to_send_length = strlen(mail->command);
	mail->stage = stage;
	mail->reply.status = 0;
}

/* The reply to a command is there; true when there is something to say to it. */
static bool
mail_continue(Request *request)
{
	MailState  *mail = &request->mail;
	int			status = mail->reply.status;

	if (mail->stage == MAIL_RECIPIENT && status >= 300)
	{
		/* Others may get it all the same; a refusal for now is worth more. */
		if (mail->refused++ == 0 || (status < 500 && mail->refusal.status >= 500))
			mail->refusal = mail->reply;
	}
	else if (status >= 400 || (mail->stage == MAIL_CONTENT && request->sent))
		return false;

	switch (mail->stage)
	{
		case MAIL_GREETING:
		case MAIL_LOGIN:
			mail_say(mail, MAIL_SENDER, "MAIL FROM:<", mail->sender);
			return true;
		case MAIL_SENDER:
		case MAIL_RECIPIENT:
			if (mail->named < mail->nrecipients)
				mail_say(mail, MAIL_RECIPIENT, "RCPT TO:<", mail->recipients[mail->named++]);
			else if (mail->refused < mail->nrecipients)
				mail_say(mail, MAIL_CONTENT, "DATA", NULL);
			else
				return false;
			return true;
		case MAIL_CONTENT:
			break;
	}
	if (status != 354)
		return false;
	mail->to_send = mail->content;
	mail->to_send_length = mail->content_length;
	mail->reply.status = 0;
	request->sent = true;
	return true;
}

/* Send what is to be sent; CURLE_AGAIN when that takes longer. */
static CURLcode
mail_send(Request *request)
{
	MailState  *mail = &request->mail;

	while (mail->to_send_length > 0)
	{
		size_t		sent = 0;
		CURLcode	result = curl_easy_send(request->easy, mail->to_send, mail->to_send_length, &sent);

		if (result != CURLE_OK)
			return result;
		mail->to_send += sent;
		mail->to_send_length -= sent;
	}
	return CURLE_OK;
}

/* Take what has come in up to the end of a reply; CURLE_AGAIN when there is more to come. */
static CURLcode
mail_receive(Request *request)
{
	MailState  *mail = &request->mail;

	for (;;)
	{
		size_t		received = 0;
		char	   *newline;
		CURLcode	result;

		mail->said[mail->said_length] = '\0';
		while ((newline = strchr(mail->said, '\n')) != NULL)
		{
			bool		last = mail_reply(mail, mail->said);

			mail->said_length -= newline + 1 - mail->said;
			memmove(mail->said, newline + 1, mail->said_length + 1);
			if (last)
				return CURLE_OK;
		}
		if (mail->said_length == sizeof(mail->said) - 1)
			return CURLE_WEIRD_SERVER_REPLY;
		result = curl_easy_recv(request->easy, mail->said + mail->said_length,
								sizeof(mail->said) - 1 - mail->said_length, &received);
		if (result != CURLE_OK)
			return result;
		if (received == 0)
			return CURLE_RECV_ERROR;
		mail->said_length += received;
	}
}

/* Go on with a mail, as far as that can be done without waiting. */
static void
mail_drive(Request *request)
{
	MailState  *mail = &request->mail;
	Descriptor *d = descriptor(request->mail_fd);
	CURLcode	result;

	for (;;)
	{
		if ((result = mail_send(request)) != CURLE_OK || (result = mail_receive(request)) != CURLE_OK)
			break;
		mail->reused = false;
		if (!mail_continue(request))
		{
			/* Who was refused had better begin anew. */
			if (mail->reply.status >= 300)
			{
				size_t		sent;

				(void) curl_easy_send(request->easy, "QUIT\r\n", 6, &sent);
				mail_disconnect(request);
			}
			mail_ended(request, CURLE_OK);
			return;
		}
	}
	if (result == CURLE_AGAIN)
	{
		d->wanted = mail->to_send_length > 0 ? EPOLLOUT : EPOLLIN;
		register_events(request->mail_fd, d);
		return;
	}

	/* A connection that was not used for a while may have ended. */
	mail_disconnect(request);
	if (mail->reused)
	{
		mail_leave(request);
		mail->stage = MAIL_GREETING;
		mail->named = 0;
		mail->to_send_length = mail->said_length = 0;
		mail->greeted = false;
		if (mail_connect(request))
			return;
	}
	mail_ended(request, result);
}

/* A connection is there, and logged in. */
static void
mail_begin(Request *request)
{
	MailState  *mail = &request->mail;

	request->next = mails;
	mails = request;
	mail->reply.status = 0;
	(void) mail_continue(request);
	mail_drive(request);
}

/* libcurl has connected, or not. */
static void
mail_connected(Request *request, CURLcode result)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	Descriptor *d;

	if (result == CURLE_OK)
		curl_easy_getinfo(request->easy, CURLINFO_ACTIVESOCKET, &fd);
	d = fd == CURL_SOCKET_BAD ? NULL : descriptor(fd);
	if (d == NULL)
	{
		mail_disconnect(request);
		mail_ended(request, result == CURLE_OK ? CURLE_OUT_OF_MEMORY : result);
		return;
	}
	request->mail_fd = fd;
	d->mail = request;
	mail_begin(request);
}

/*
 * Has the server ended a connection that nobody uses, or said something that
 * it was not asked for?  What an event told of may have been read since.
 */
static bool
mail_is_over(const Request *request)
{
	char		c;
	ssize_t		n = recv(request->mail_fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);

	return n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/* Something has happened to a connection. */
static void
mail_ready(Request *request)
{
	for (Request *mail = mails; mail != NULL; mail = mail->next)
	{
		if (mail == request)
		{
			mail_drive(request);
			return;
		}
	}
	if (mail_is_over(request))
		mail_disconnect(request);
}

static int64
mail_deadline(const Request *request)
{
	return request->mail.started_at + request->timeout_ms * INT64CONST(1000);
}

/* Mails that take too long. */
static void
mail_expire(void)
{
	int64		now = monotonic_us();
	Request    *next;

	for (Request *request = mails; request != NULL; request = next)
	{
		next = request->next;
		if (mail_deadline(request) > now)
			continue;
		mail_disconnect(request);
		mail_ended(request, CURLE_OPERATION_TIMEDOUT);
	}
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
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) hooks_connect_timeout);
}

void
transport_reload(void)
{
	settings++;
	for (Request *request = free_requests[REQUEST_MAIL]; request != NULL; request = request->next)
		mail_disconnect(request);
	address_own_load();
	mail_server_load();
}

int
transport_fd(void)
{
	return epoll_fd;
}

/* ----------
 * Requests
 * ----------
 */

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
		mail_disconnect(request);
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
	{
		set_fixed_mail_options(request);
		set_configured_mail_options(request);
	}
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
	request->refused = request->headers_too_large = request->body_cut = false;
	request->handshaking = request->sent = false;
	request->timeout_ms = message->timeout_ms ? message->timeout_ms : hooks_timeout;
	memset(&request->mail, 0, sizeof(request->mail));
	request->mail.started_at = monotonic_us();
	request->fd = -1;
}

/* Copy an e-mail: its envelope, and what is sent as its content. */
static bool
copy_mail(Request *request, const Message *message)
{
	const Mail *mail = message->mail;
	MailState  *state = &request->mail;
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
		(request->mail_fd < 0 && !mail_connect(request)))
	{
		give_back(request);
		out_of_memory();
	}
	if (request->mail_fd >= 0)
	{
		request->mail.reused = request->mail.greeted = true;
		mail_begin(request);
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
		curl_multi_add_handle(multi, easy) != CURLM_OK)
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
	int64		at = timer_at;
	int64		left;

	if (ended_requests != NULL)
		return 0;
	for (const Request *mail = mails; mail != NULL; mail = mail->next)
		at = at < 0 ? mail_deadline(mail) : Min(at, mail_deadline(mail));
	if (at < 0)
		return -1;
	left = at - monotonic_us();
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
	struct epoll_event events[EVENTS_AT_ONCE];
	sigset_t	all;
	sigset_t	previous;
	bool		sound = true;
	int			queued;
	CURLMsg    *ended;
	int			n;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &previous);

	if (timer_at >= 0 && timer_at <= monotonic_us())
	{
		timer_at = -1;
		sound = act(CURL_SOCKET_TIMEOUT, 0);
	}

	n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, 0);
	for (int i = 0; i < n; i++)
	{
		int			fd = events[i].data.fd;
		Descriptor *d = &descriptors[fd];

		if (d->mail != NULL)
			mail_ready(d->mail);
		else if (d->wanted == 0)
			register_events(fd, d); /* nobody waits for it: take it out */
		else
			sound = act(fd, ready_flags(events[i].events)) && sound;
	}

	while ((ended = curl_multi_info_read(multi, &queued)) != NULL)
	{
		Request    *request;

		if (ended->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(ended->easy_handle, CURLINFO_PRIVATE, &request);
		if (request->kind == REQUEST_MAIL)
		{
			mail_connected(request, ended->data.result);
			continue;
		}
		request->result = ended->data.result;
		curl_multi_remove_handle(multi, request->easy);
		dlist_delete(&request->link);
		request->next = ended_requests;
		ended_requests = request;
	}

	mail_expire();
	pthread_sigmask(SIG_SETMASK, &previous, NULL);
	if (!sound)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while requests were under way.")));
	return n;
}

/* ----------
 * Answers
 * ----------
 */

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
		return monotonic_us() - request->mail.started_at;
	return time_of(request->easy, CURLINFO_TOTAL_TIME_T);
}

/* What an e-mail that ran out of time was waiting for. */
static const char *
mail_waiting_for(const Request *request)
{
	bool		connected = time_of(request->easy, CURLINFO_CONNECT_TIME_T) > 0;
	bool		secure = strncmp(hooks_smtp_url, "smtps:", 6) == 0;

	if (request->sent)
		return "waiting for the mail server to take the message";
	if (request->mail.securing ||
		(connected && secure && time_of(request->easy, CURLINFO_APPCONNECT_TIME_T) == 0))
		return "during the TLS handshake";
	if (request->mail.greeted)
		return "waiting for the mail server's answer";
	return "waiting for the mail server's greeting";
}

/* What a request that ran out of time was waiting for. */
static const char *
waiting_for(const Request *request)
{
	if (request->kind == REQUEST_MAIL && (request->mail.greeted || request->handshaking))
		return mail_waiting_for(request);
	if (request->header_bytes > 0)
		return "while the answer was coming in";
	if (request->sent)
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
				 "headers of the answer are larger than %d bytes", MAX_HEADER_BYTES);
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
	if (request->result == CURLE_OPERATION_TIMEDOUT || request->mail.reply.status < 400)
		return false;
	return request->result != CURLE_USE_SSL_FAILED || request->mail.reply.status < 500;
}

static void
make_mail_answer(Request *request, Answer *answer)
{
	answer->kind = ANSWER_STATUS;
	answer->stage = request->mail.stage;
	answer->reply = request->mail.reply;
	answer->status = answer->reply.status;
	answer->refused = request->mail.refused;
	answer->refusal = request->mail.refusal;
}

static AnswerKind
failure_kind(const Request *request)
{
	if (request->sent)
		return ANSWER_UNKNOWN;
	if (request->result == CURLE_PEER_FAILED_VERIFICATION || request->result == CURLE_USE_SSL_FAILED)
		return ANSWER_UNTRUSTED;
	return ANSWER_UNREACHED;
}

static void
make_answer(Request *request, Answer *answer)
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
	else if (request->refused)
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

bool
transport_take(Answer *answer, void **arg)
{
	Request    *request = ended_requests;

	if (request == NULL)
		return false;
	ended_requests = request->next;
	make_answer(request, answer);
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

		curl_multi_remove_handle(multi, request->easy);
		give_back(request);
	}
	while (mails != NULL)
		mail_ended(mails, CURLE_ABORTED_BY_CALLBACK);
	settings++;					/* so that no mail's connection outlives this */
	while (ended_requests != NULL)
	{
		Request    *request = ended_requests;

		ended_requests = request->next;
		give_back(request);
	}
	for (Request *mail = free_requests[REQUEST_MAIL]; mail != NULL; mail = mail->next)
		mail_disconnect(mail);
	curl_multi_cleanup(multi);
	multi = NULL;
	close(epoll_fd);
	epoll_fd = -1;
	timer_at = -1;
	memset(descriptors, 0, sizeof(Descriptor) * ndescriptors);
	pthread_sigmask(SIG_SETMASK, &previous, NULL);
}
