/*-------------------------------------------------------------------------
 *
 * receiver.c
 *		An HTTP server that behaves as badly as a test wants it to.
 *
 * One thread, one epoll descriptor, edge-triggered: a connection costs one
 * epoll_ctl, and then one read and one write per batch of requests.  A turn
 * of the loop has three parts, and their order is what the log promises:
 *
 *		conn_input()	of every connection with news: read, parse, answer
 *						into its output buffer, append to log_lines
 *		log_flush()		one write
 *		conn_output()	of the same connections: send, refill, close, free
 *
 * A Conn is freed only in conn_output(), so pointers stay valid within a
 * turn.  A client that sends FIN while its answer is being waited for (/slow,
 * /drip, /hang) is taken to have left, as most servers do.
 *
 * request.c says how requests are read, answer.c what the paths do.
 *
 *-------------------------------------------------------------------------
 */
#include "receiver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <openssl/err.h>

#define MAX_ADDRESSES	16
#define MAX_BLACKHOLES	16
#define EVENTS			1024
#define ACCEPTS			256		/* per listener and turn */
#define INPUT_PIECE		4096
#define INPUT_BUDGET	(1024 * 1024)	/* bytes per connection and turn */
#define OUTPUT_ENOUGH	(256 * 1024)	/* no further request before it is sent */
#define FILLS			16		/* pieces of a stream per connection and turn */
#define KEEP_BUFFER		(64 * 1024) /* larger ones are freed when empty */
#define LINGER_US		2000000 /* waiting for a client's FIN or next byte */

typedef struct Listener
{
	Source		source;
	int			port;
} Listener;

Stats		stats;
int			log_fd = -1;
Buffer		log_lines;

static int	epoll_fd;
static SSL_CTX *tls;
static Listener listeners[MAX_ADDRESSES * (1 + MAX_BLACKHOLES)];
static int	nlisteners;
static bool accept_paused;		/* out of descriptors */

static Conn *all_conns;
static Conn *work;				/* connections with something to do */
static Conn **work_tail = &work;

/* Timers, the earliest first: a heap from [1]. */
static Conn **timers;
static size_t ntimers;
static size_t timers_size;

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *format,...)
{
	va_list		args;

	fprintf(stderr, "receiver: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

uint64_t
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---------- buffers ---------- */

/* Makes room for len more bytes at data + end. */
void
buffer_reserve(Buffer *b, size_t len)
{
	size_t		used = b->end - b->start;

	if (b->size - b->end >= len)
		return;
	if (b->start > 0)
	{
		memmove(b->data, b->data + b->start, used);
		b->start = 0;
		b->end = used;
	}
	if (b->size - used < len)
	{
		size_t		size = b->size * 2;

		if (size < used + len)
			size = used + len;
		if (size < INPUT_PIECE)
			size = INPUT_PIECE;
		b->data = realloc(b->data, size);
		if (b->data == NULL)
			die("out of memory");
		b->size = size;
	}
}

void
buffer_add(Buffer *b, const void *data, size_t len)
{
	if (len == 0)
		return;
	buffer_reserve(b, len);
	memcpy(b->data + b->end, data, len);
	b->end += len;
}

void
buffer_add_string(Buffer *b, const char *s)
{
	buffer_add(b, s, strlen(s));
}

void
buffer_printf(Buffer *b, const char *format,...)
{
	size_t		room = 128;

	for (;;)
	{
		va_list		args;
		int			len;

		buffer_reserve(b, room);
		va_start(args, format);
		len = vsnprintf(b->data + b->end, room, format, args);
		va_end(args);
		if ((size_t) len < room)
		{
			b->end += len;
			return;
		}
		room = len + 1;
	}
}

static void
buffer_free(Buffer *b)
{
	free(b->data);
	*b = (Buffer) {0};
}

void
buffer_consume(Buffer *b, size_t len)
{
	b->start += len;
	if (b->start == b->end)
	{
		b->start = b->end = 0;
		if (b->size > KEEP_BUFFER)
			buffer_free(b);
	}
}

/* A log that cannot be written is an error: tests rely on it. */
void
log_flush(void)
{
	while (buffer_len(&log_lines) > 0)
	{
		ssize_t		n = write(log_fd, log_lines.data + log_lines.start,
							  buffer_len(&log_lines));

		if (n < 0)
			die("could not write log: %s", strerror(errno));
		buffer_consume(&log_lines, n);
	}
}

/* ---------- timers ---------- */

static void
timer_place(Conn *c, size_t at)
{
	timers[at] = c;
	c->timer_at = at;
}

/* Puts c into the hole at a position, moving others out of its way. */
static void
timer_sift(Conn *c, size_t at)
{
	for (; at > 1 && timers[at / 2]->deadline > c->deadline; at /= 2)
		timer_place(timers[at / 2], at);
	for (;;)
	{
		size_t		child = at * 2;

		if (child + 1 <= ntimers && timers[child + 1]->deadline < timers[child]->deadline)
			child++;
		if (child > ntimers || timers[child]->deadline >= c->deadline)
			break;
		timer_place(timers[child], at);
		at = child;
	}
	timer_place(c, at);
}

static void
timer_clear(Conn *c)
{
	size_t		at = c->timer_at;
	Conn	   *last;

	if (at == 0)
		return;
	c->timer_at = 0;
	last = timers[ntimers--];
	if (last != c)
		timer_sift(last, at);
}

/* A connection has one timer; setting it again moves it. */
void
timer_set(Conn *c, uint64_t deadline)
{
	timer_clear(c);
	if (ntimers + 1 >= timers_size)
	{
		timers_size = timers_size > 0 ? timers_size * 2 : 1024;
		timers = realloc(timers, timers_size * sizeof(Conn *));
		if (timers == NULL)
			die("out of memory");
	}
	c->deadline = deadline;
	ntimers++;
	timer_sift(c, ntimers);
}

/* ---------- connections ---------- */

static void
conn_queue(Conn *c)
{
	if (c->queued)
		return;
	c->queued = true;
	c->next_work = NULL;
	*work_tail = c;
	work_tail = &c->next_work;
}

static void
listeners_watch(bool accepting)
{
	accept_paused = !accepting;
	for (int i = 0; i < nlisteners; i++)
	{
		struct epoll_event event = {.events = accepting ? EPOLLIN : 0,.data.ptr = &listeners[i]};

		epoll_ctl(epoll_fd, EPOLL_CTL_MOD, listeners[i].source.fd, &event);
	}
}

static void
address_text(int fd, char *text, size_t size)
{
	struct sockaddr_storage address = {0};
	socklen_t	len = sizeof(address);
	char		host[INET6_ADDRSTRLEN] = "";

	getsockname(fd, (struct sockaddr *) &address, &len);
	if (address.ss_family == AF_INET6)
	{
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &address;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, size, "[%s]:%d", host, ntohs(in6->sin6_port));
	}
	else
	{
		struct sockaddr_in *in = (struct sockaddr_in *) &address;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, size, "%s:%d", host, ntohs(in->sin_port));
	}
}

static void
conn_new(int fd, bool stalled)
{
	Conn	   *c = calloc(1, sizeof(Conn));
	struct epoll_event event = {.data.ptr = c};

	if (c == NULL)
		die("out of memory");
	c->source = (Source) {stalled ? SOURCE_STALLED : SOURCE_CONN, fd};
	c->starved = true;
	c->next = all_conns;
	if (all_conns != NULL)
		all_conns->prev = c;
	all_conns = c;
	if (stalled)
	{
		event.events = EPOLLRDHUP | EPOLLET;
		stats.stalled_connections++;
		stats.stalled_open++;
	}
	else
	{
		event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
		c->number = ++stats.connections;
		if (++stats.open > stats.max_open)
			stats.max_open = stats.open;
		if (log_fd >= 0)
			address_text(fd, c->local, sizeof(c->local));
		if (tls != NULL)
		{
			c->ssl = SSL_new(tls);
			if (c->ssl == NULL || !SSL_set_fd(c->ssl, fd))
				die("out of memory");
			SSL_set_accept_state(c->ssl);
		}
	}
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

static void
conn_free(Conn *c)
{
	timer_clear(c);
	if (c->ssl != NULL)
		SSL_free(c->ssl);
	close(c->source.fd);
	buffer_free(&c->in);
	buffer_free(&c->out);
	buffer_free(&c->late);
	buffer_free(&c->again);
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		all_conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	if (c->source.kind == SOURCE_STALLED)
		stats.stalled_open--;
	else
		stats.open--;
	free(c);
	if (accept_paused)
		listeners_watch(true);
}

/* What SSL_read or SSL_write could not do, and what that means. */
static void
conn_tls_failed(Conn *c, bool reading)
{
	switch (SSL_get_error(c->ssl, 0))
	{
		case SSL_ERROR_WANT_READ:
		case SSL_ERROR_WANT_WRITE:

			/* Any event tries both again: conn_event(). */
			if (reading)
				c->readable = false;
			else
				c->writable = false;
			break;
		case SSL_ERROR_ZERO_RETURN:
			/* Theirs is the last word; a write hits this on EPIPE, too. */
			if (reading)
			{
				c->eof = true;
				c->readable = false;
			}
			else
				c->state = CONN_DEAD;
			break;
		case SSL_ERROR_SSL:
			/* An alert may be on its way to the client: close, but gently. */
			c->tls_broken = true;
			buffer_free(&c->out);
			c->state = CONN_CLOSING;
			break;
		default:
			c->state = CONN_DEAD;
	}
}

/* One read; the number of bytes, 0 when there is nothing (any more). */
static size_t
conn_read(Conn *c)
{
	Buffer	   *b = &c->in;
	ssize_t		n;
	size_t		room;

	if (b->size - b->end < INPUT_PIECE / 4)
		buffer_reserve(b, INPUT_PIECE);
	room = b->size - b->end;
	if (c->ssl != NULL)
	{
		size_t		len = 0;

		ERR_clear_error();
		if (!SSL_read_ex(c->ssl, b->data + b->end, room, &len))
			conn_tls_failed(c, true);
		b->end += len;
		return len;
	}
	n = recv(c->source.fd, b->data + b->end, room, 0);
	if (n > 0)
	{
		b->end += n;
		if ((size_t) n < room && !c->hup)
			c->readable = false;	/* epoll(7): the next byte is an event */
		return n;
	}
	c->readable = false;
	if (n == 0)
		c->eof = true;
	else if (errno != EAGAIN)
		c->state = CONN_DEAD;
	return 0;
}

/* Sends what the socket takes. */
static void
conn_write(Conn *c)
{
	Buffer	   *b = &c->out;

	while (buffer_len(b) > 0 && c->writable && c->state != CONN_DEAD)
	{
		if (c->ssl != NULL)
		{
			size_t		len = 0;

			ERR_clear_error();
			if (SSL_write_ex(c->ssl, b->data + b->start, buffer_len(b), &len))
				buffer_consume(b, len);
			else
				conn_tls_failed(c, false);
		}
		else
		{
			ssize_t		n = send(c->source.fd, b->data + b->start, buffer_len(b), MSG_NOSIGNAL);

			if (n >= 0)
				buffer_consume(b, n);
			else if (errno == EAGAIN)
				c->writable = false;
			else
				c->state = CONN_DEAD;
		}
	}
}

/*
 * Our FIN; theirs, or LINGER_US of silence, ends the connection.  Closing
 * with unread input would send RST, which can destroy the last answer.
 */
static void
conn_linger(Conn *c)
{
	if (c->ssl != NULL && !c->tls_broken && SSL_is_init_finished(c->ssl))
	{
		ERR_clear_error();
		SSL_shutdown(c->ssl);
	}
	if (c->eof)
	{
		c->state = CONN_DEAD;
		return;
	}
	shutdown(c->source.fd, SHUT_WR);
	buffer_free(&c->in);
	c->state = CONN_LINGER;
	timer_set(c, clock_us() + LINGER_US);
}

static void
conn_discard(Conn *c)
{
	static char scratch[KEEP_BUFFER];
	size_t		total = 0;

	while (c->readable && total < INPUT_BUDGET)
	{
		ssize_t		n = recv(c->source.fd, scratch, sizeof(scratch), 0);

		if (n > 0)
			total += n;
		else
		{
			c->readable = false;
			if (n == 0 || errno != EAGAIN)
				c->state = CONN_DEAD;
		}
	}
	if (total > 0)
		timer_set(c, clock_us() + LINGER_US);
}

static void
conn_reset(Conn *c)
{
	struct linger now = {.l_onoff = 1,.l_linger = 0};

	setsockopt(c->source.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	c->state = CONN_DEAD;
}

/* First part of a turn: everything but sending. */
static void
conn_input(Conn *c)
{
	size_t		total = 0;

	if (c->state == CONN_LINGER)
		conn_discard(c);
	while (c->state == CONN_READING && buffer_len(&c->out) < OUTPUT_ENOUGH)
	{
		c->starved = !request_next(c);
		if (!c->starved || c->state != CONN_READING)
			continue;
		if (c->eof)
			c->state = CONN_CLOSING;
		else if (c->readable && total < INPUT_BUDGET)
			total += conn_read(c);
		else
			break;
	}
	if (c->hup && (c->state == CONN_SLOW || c->state == CONN_DRIP || c->state == CONN_HANG))
		c->state = CONN_DEAD;
}

/* Last part: send, and what follows when everything is sent. */
static void
conn_output(Conn *c)
{
	conn_write(c);
	for (int i = 0; i < FILLS && c->state == CONN_STREAM && buffer_len(&c->out) == 0; i++)
	{
		answer_fill(c);
		conn_write(c);
	}
	if (buffer_len(&c->out) == 0)
	{
		if (c->state == CONN_RESETTING)
			conn_reset(c);
		else if (c->state == CONN_CLOSING)
			conn_linger(c);
	}
	if (c->state == CONN_DEAD)
		conn_free(c);
	else if ((c->state == CONN_STREAM && c->writable) ||
			 (c->state == CONN_LINGER && c->readable) ||
			 (c->state == CONN_READING && buffer_len(&c->out) < OUTPUT_ENOUGH &&
			  (c->readable || !c->starved)))
		conn_queue(c);
}

static void
conn_event(Conn *c, uint32_t events)
{
	const uint32_t gone = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

	if (c->source.kind == SOURCE_STALLED)
	{
		if (events & gone)
			conn_free(c);
		return;
	}
	if (events & (EPOLLIN | gone) || c->ssl != NULL)
		c->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR) || c->ssl != NULL)
		c->writable = true;
	if (events & gone)
		c->hup = true;
	conn_queue(c);
}

/* ---------- the process ---------- */

static void
accept_all(const Listener *l)
{
	for (int i = 0; i < ACCEPTS; i++)
	{
		int			fd = accept4(l->source.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			conn_new(fd, l->source.kind == SOURCE_BLACKHOLE);
		else
		{
			if (errno == EMFILE || errno == ENFILE)
				listeners_watch(false);	/* until a connection ends */
			if (errno != ECONNABORTED)
				break;
		}
	}
}

static void
timers_fire(void)
{
	uint64_t	now = clock_us();

	while (ntimers > 0 && timers[1]->deadline <= now)
	{
		Conn	   *c = timers[1];

		timer_clear(c);
		if (c->state == CONN_LINGER)
			c->state = CONN_DEAD;
		else
			answer_timer(c);
		conn_queue(c);
	}
}

static int
next_timeout(void)
{
	uint64_t	now;

	if (work != NULL)
		return 0;
	if (ntimers == 0)
		return -1;
	now = clock_us();
	if (timers[1]->deadline <= now)
		return 0;
	return (int) ((timers[1]->deadline - now + 999) / 1000);
}

static void
run(void)
{
	static struct epoll_event events[EVENTS];

	for (;;)
	{
		int			n = epoll_wait(epoll_fd, events, EVENTS, next_timeout());
		Conn	   *turn;

		if (n < 0 && errno != EINTR)
			die("epoll_wait: %s", strerror(errno));
		for (int i = 0; i < n; i++)
		{
			Source	   *source = events[i].data.ptr;

			switch (source->kind)
			{
				case SOURCE_SIGNAL:
					return;
				case SOURCE_LISTENER:
				case SOURCE_BLACKHOLE:
					accept_all((Listener *) source);
					break;
				case SOURCE_CONN:
				case SOURCE_STALLED:
					conn_event((Conn *) source, events[i].events);
					break;
			}
		}
		timers_fire();

		turn = work;
		work = NULL;
		work_tail = &work;
		for (Conn *c = turn; c != NULL; c = c->next_work)
			conn_input(c);
		log_flush();
		for (Conn *c = turn, *next; c != NULL; c = next)
		{
			next = c->next_work;
			c->queued = false;
			conn_output(c);
		}
	}
}

/* ---------- starting ---------- */

static void
watch(Source *source)
{
	struct epoll_event event = {.events = EPOLLIN,.data.ptr = source};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

/* False with errno when the address cannot be bound. */
static bool
listen_on(const char *address, int port, SourceKind kind)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST,.ai_socktype = SOCK_STREAM};
	struct addrinfo *info;
	struct sockaddr_storage bound = {0};
	socklen_t	len = sizeof(bound);
	char		service[16];
	Listener   *l;
	int			on = 1;
	int			fd;
	bool		ok;

	snprintf(service, sizeof(service), "%d", port);
	if (getaddrinfo(address, service, &hints, &info) != 0)
		die("\"%s\" is not an IPv4 or IPv6 address", address);
	fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("could not create socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));	/* inherited */
	if (info->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	ok = bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, 4096) == 0;
	freeaddrinfo(info);
	if (!ok)
	{
		int			saved = errno;

		close(fd);
		errno = saved;
		return false;
	}
	getsockname(fd, (struct sockaddr *) &bound, &len);
	l = &listeners[nlisteners++];
	l->source = (Source) {kind, fd};
	l->port = ntohs(bound.ss_family == AF_INET6 ?
					((struct sockaddr_in6 *) &bound)->sin6_port :
					((struct sockaddr_in *) &bound)->sin_port);
	return true;
}

/*
 * Listens on every address at one port, and returns it.  A port picked on the
 * first address may be taken on another: then another one is picked.
 */
static int
listen_everywhere(char **addresses, int naddresses, int port, SourceKind kind)
{
	for (int attempt = 1;; attempt++)
	{
		int			first = nlisteners;
		int			chosen = port;
		int			i;

		for (i = 0; i < naddresses && listen_on(addresses[i], chosen, kind); i++)
			chosen = listeners[first].port;
		if (i == naddresses)
			return chosen;
		if (port != 0 || errno != EADDRINUSE || attempt == 50)
			die("could not listen on \"%s\" port %d: %s", addresses[i], chosen,
				strerror(errno));
		while (nlisteners > first)
			close(listeners[--nlisteners].source.fd);
	}
}

static void
tls_start(const char *cert, const char *key)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (tls == NULL)
		die("could not start TLS");
	SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
	SSL_CTX_set_options(tls, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(tls, 1);
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);	/* tickets do it */
	if (SSL_CTX_use_certificate_chain_file(tls, cert) != 1)
		die("could not load certificate file \"%s\"", cert);
	if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
		die("could not load private key file \"%s\"", key);
}

/* The file appears complete or not at all. */
static void
ready_write(const char *path, const int *ports, int nports)
{
	char		tmp[4096];
	FILE	   *file;

	snprintf(tmp, sizeof(tmp), "%s.tmp.%d", path, (int) getpid());
	file = fopen(tmp, "w");
	if (file == NULL)
		die("could not create \"%s\": %s", tmp, strerror(errno));
	for (int i = 0; i < nports; i++)
		fprintf(file, "%d\n", ports[i]);
	if (fclose(file) != 0 || rename(tmp, path) != 0)
		die("could not write \"%s\": %s", path, strerror(errno));
}

static int
port_number(const char *text)
{
	char	   *end;
	long		port = strtol(text, &end, 10);

	if (end == text || *end != '\0' || port < 0 || port > 65535)
		die("\"%s\" is not a port number", text);
	return (int) port;
}

static void
usage(FILE *out)
{
	fputs("Usage: receiver [OPTION]...\n"
		  "An HTTP server whose behaviour is chosen by the path.\n\n"
		  "  --port N             listen there; 0, the default, picks a free port\n"
		  "  --address A          on this IPv4 or IPv6 address; may be repeated (127.0.0.1)\n"
		  "  --log FILE           append a line of JSON per request, before it is answered\n"
		  "  --tls-cert FILE      speak TLS with this certificate chain ...\n"
		  "  --tls-key FILE       ... and private key\n"
		  "  --blackhole-port N   accept there and never read or answer; may be repeated\n"
		  "  --ready-file FILE    write the port there when listening; those of\n"
		  "                       blackholes follow, one a line, as on standard output\n"
		  "  --die-with-parent    end when the parent process does\n\n"
		  "Answers:\n"
		  "  /ok                         204\n"
		  "  /json /echo                 200 with JSON, with the request's body\n"
		  "  /status/NNN[?retry_after=X][&location=URL][&header=NAME:VALUE]...\n"
		  "  /early/NNN[?...]            the same before the body is read\n"
		  "  /header?NAME=VALUE[&...]    204 with these headers\n"
		  "  /headers/N                  200 with so many\n"
		  "  /continue/N[?status=103][&header=NAME:VALUE]...\n"
		  "                              so many interim answers, with headers, before 204\n"
		  "  /trailer[?header=NAME:VALUE]...\n"
		  "                              headers after the body\n"
		  "Answers that change:\n"
		  "  /sequence/ITEM,ITEM,...[/NAME]\n"
		  "                              one after the other per webhook-id, that is, for\n"
		  "                              the attempts of one delivery; the last one stays\n"
		  "  /seq/ITEM,ITEM,.../KEY      the same per KEY\n"
		  "                              ITEM is STATUS[:HEADER=VALUE]..., or one of reset,\n"
		  "                              close, hang and others without parameters:\n"
		  "                              /sequence/429:retry-after=2,reset,500,200\n"
		  "  /bucket/NAME[?limit=5][&window=2]\n"
		  "                              204 for so many requests in so many seconds from\n"
		  "                              the first, then 429, with Discord's X-RateLimit-*\n"
		  "  /discord/OPTION=N,...       Discord's API, for webhooks: limit=5,window=2,\n"
		  "                              edits=0,edits_window=2,channel=0,channel_window=2,\n"
		  "                              global=0,ban=0,retry=1,silent=0,slow=0,refuse=0,name=X;\n"
		  "                              GET /discord/OPTION=N,.../state tells what has come\n"
		  "                              (discord.c)\n"
		  "  /switch/NAME[?status=500][&header=NAME:VALUE]...\n"
		  "                              that status until GET /switch/NAME/on, then 204;\n"
		  "                              there is /switch/NAME/off, too\n"
		  "Late, or never:\n"
		  "  /slow/MS /mix/PERCENT/MS /hang /hang-after-headers /drip/BYTES/MS\n"
		  "Broken:\n"
		  "  /reset /reset-headers /reset-body /close /garbage /no-keepalive\n"
		  "Long:\n"
		  "  /huge/BYTES /endless /gzip/BYTES\n"
		  "Whatever a test says (raw.c):\n"
		  "  /raw?first=BYTES[&again=BYTES[&times=N][&every=MS]][&then=hang|reset|keep]\n"
		  "GET /stats tells what has come in; it and switching are neither counted nor\n"
		  "logged.  Anything else is 404.  Values are sent after percent-decoding.\n", out);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'},
		{"address", required_argument, NULL, 'a'},
		{"log", required_argument, NULL, 'l'},
		{"tls-cert", required_argument, NULL, 'c'},
		{"tls-key", required_argument, NULL, 'k'},
		{"blackhole-port", required_argument, NULL, 'b'},
		{"ready-file", required_argument, NULL, 'r'},
		{"die-with-parent", no_argument, NULL, 'd'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}
	};
	char	   *addresses[MAX_ADDRESSES] = {"127.0.0.1"};
	int			naddresses = 0;
	int			ports[1 + MAX_BLACKHOLES] = {0};
	int			nports = 1;
	const char *log = NULL;
	const char *cert = NULL;
	const char *key = NULL;
	const char *ready = NULL;
	struct rlimit files;
	sigset_t	ends;
	Source		signals = {SOURCE_SIGNAL, -1};
	int			option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'p':
				ports[0] = port_number(optarg);
				break;
			case 'a':
				if (naddresses == MAX_ADDRESSES)
					die("too many addresses");
				addresses[naddresses++] = optarg;
				break;
			case 'l':
				log = optarg;
				break;
			case 'c':
				cert = optarg;
				break;
			case 'k':
				key = optarg;
				break;
			case 'b':
				if (nports == 1 + MAX_BLACKHOLES)
					die("too many blackholes");
				ports[nports++] = port_number(optarg);
				break;
			case 'r':
				ready = optarg;
				break;
			case 'd':
				prctl(PR_SET_PDEATHSIG, SIGTERM);
				break;
			case 'h':
				usage(stdout);
				return 0;
			default:
				usage(stderr);
				return 2;
		}
	}
	if (optind < argc || (cert == NULL) != (key == NULL))
	{
		usage(stderr);
		return 2;
	}
	if (naddresses == 0)
		naddresses = 1;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
	{
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	signals.fd = signalfd(-1, &ends, SFD_CLOEXEC);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (signals.fd < 0 || epoll_fd < 0)
		die("could not start: %s", strerror(errno));
	if (log != NULL)
	{
		log_fd = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
		if (log_fd < 0)
			die("could not open \"%s\": %s", log, strerror(errno));
	}
	if (cert != NULL)
		tls_start(cert, key);

	for (int i = 0; i < nports; i++)
		ports[i] = listen_everywhere(addresses, naddresses, ports[i],
									 i == 0 ? SOURCE_LISTENER : SOURCE_BLACKHOLE);
	watch(&signals);
	for (int i = 0; i < nlisteners; i++)
		watch(&listeners[i].source);

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < nports; i++)
		printf("%d\n", ports[i]);
	if (ready != NULL)
		ready_write(ready, ports, nports);

	run();
	while (all_conns != NULL)
		conn_free(all_conns);
	SSL_CTX_free(tls);
	return 0;
}
