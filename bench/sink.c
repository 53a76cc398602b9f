/*-------------------------------------------------------------------------
 *
 * sink.c
 *		An HTTP server that answers 204 to everything, as fast as it can.
 *
 *		sink [-e N]
 *
 * One thread, one epoll descriptor.  Prints the port that it listens on (on
 * 127.0.0.1), and ends when its standard input does, so that it never
 * outlives whoever started it.
 *
 * It notes when requests arrive (CLOCK_REALTIME, after the read that
 * completed them), and for those whose body holds "message":"<number> ... it
 * keeps number and time, with -e N only for multiples of N.  What it knows is
 * asked for on the same port:
 *
 *		GET /sink/stat		requests, microseconds of the first and the last
 *		GET /sink/records	a line per number kept: number, microseconds
 *		GET /sink/reset		forget all that
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_SIZE (64 * 1024)
#define EVENTS_AT_ONCE 256

typedef struct Connection
{
	int			fd;
	size_t		length;
	char		buffer[BUFFER_SIZE + 1];
} Connection;

typedef struct Record
{
	int64_t		number;
	int64_t		us;
} Record;

static int64_t every = 1;
static int64_t requests = 0;
static int64_t first_us = 0;
static int64_t last_us = 0;
static Record *records = NULL;
static size_t nrecords = 0;
static size_t records_allocated = 0;

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static bool
send_all(int fd, const char *data, size_t length)
{
	while (length > 0)
	{
		ssize_t		sent = send(fd, data, length, MSG_NOSIGNAL);

		/* Only long lists of records ever fill the socket's buffer. */
		if (sent < 0 && errno == EAGAIN)
		{
			usleep(1000);
			continue;
		}
		if (sent < 0)
			return false;
		data += sent;
		length -= sent;
	}
	return true;
}

static void
record(const char *body, size_t length, int64_t us)
{
	static const char key[] = "\"message\":\"";
	const char *found = memmem(body, length, key, sizeof(key) - 1);
	int64_t		number;

	if (found == NULL)
		return;
	found += sizeof(key) - 1;
	if (*found < '0' || *found > '9')
		return;
	number = strtoll(found, NULL, 10);
	if (number % every != 0)
		return;

	if (nrecords == records_allocated)
	{
		records_allocated = records_allocated ? records_allocated * 2 : 65536;
		records = realloc(records, sizeof(Record) * records_allocated);
		if (records == NULL)
			die("realloc");
	}
	records[nrecords++] = (Record) {number, us};
}

/* What is asked of the sink itself. */
static bool
answer_question(int fd, const char *path)
{
	char	   *text = NULL;
	size_t		length = 0;
	FILE	   *out = open_memstream(&text, &length);
	char		head[128];
	bool		sent;

	if (out == NULL)
		die("open_memstream");
	if (strncmp(path, "stat", 4) == 0)
		fprintf(out, "%jd %jd %jd\n", (intmax_t) requests, (intmax_t) first_us,
				(intmax_t) last_us);
	else if (strncmp(path, "records", 7) == 0)
	{
		for (size_t i = 0; i < nrecords; i++)
			fprintf(out, "%jd %jd\n", (intmax_t) records[i].number, (intmax_t) records[i].us);
	}
	else if (strncmp(path, "reset", 5) == 0)
		requests = first_us = last_us = nrecords = 0;
	fclose(out);

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", length);
	sent = send_all(fd, head, strlen(head)) && send_all(fd, text, length);
	free(text);
	return sent;
}

/*
 * Answer the request at the start of the buffer.  Returns its length, 0 when
 * it is not complete, -1 when the connection is of no more use.
 */
static ssize_t
answer_request(Connection *c, char *start, size_t length, int64_t us)
{
	static const char no_content[] = "HTTP/1.1 204 No Content\r\n\r\n";
	static const char question[] = "GET /sink/";
	char	   *end = memmem(start, length, "\r\n\r\n", 4);
	char	   *header;
	size_t		head_length;
	size_t		body_length = 0;

	if (end == NULL)
		return 0;
	head_length = end + 4 - start;
	*end = '\0';
	header = strcasestr(start, "\ncontent-length:");
	if (header != NULL)
		body_length = strtoul(header + strlen("\ncontent-length:"), NULL, 10);
	*end = '\r';
	if (head_length + body_length > length)
		return 0;

	if (strncmp(start, question, sizeof(question) - 1) == 0)
		return answer_question(c->fd, start + sizeof(question) - 1) ? (ssize_t) head_length : -1;

	requests++;
	if (first_us == 0)
		first_us = us;
	last_us = us;
	record(start + head_length, body_length, us);
	if (!send_all(c->fd, no_content, sizeof(no_content) - 1))
		return -1;
	return head_length + body_length;
}

/* False when the connection has ended. */
static bool
serve(Connection *c)
{
	ssize_t		n = read(c->fd, c->buffer + c->length, BUFFER_SIZE - c->length);
	int64_t		us = now_us();
	size_t		done = 0;
	ssize_t		used;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	c->length += n;
	c->buffer[c->length] = '\0';

	while (done < c->length &&
		   (used = answer_request(c, c->buffer + done, c->length - done, us)) != 0)
	{
		if (used < 0)
			return false;
		done += used;
	}
	memmove(c->buffer, c->buffer + done, c->length - done);
	c->length -= done;
	return c->length < BUFFER_SIZE;
}

static void
watch(int epoll_fd, int fd, void *what)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};

	/* A standard input that cannot be watched (a file) ends nothing. */
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0 && errno != EPERM)
		die("epoll_ctl");
}

static void
accept_connection(int epoll_fd, int listener)
{
	int			one = 1;
	int			fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	Connection *c;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c = malloc(sizeof(Connection));
	if (c == NULL)
		die("malloc");
	c->fd = fd;
	c->length = 0;
	watch(epoll_fd, fd, c);
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t	length = sizeof(address);
	int			listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int			epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int			input = STDIN_FILENO;

	if (argc == 3 && strcmp(argv[1], "-e") == 0 && atoll(argv[2]) > 0)
		every = atoll(argv[2]);
	else if (argc != 1)
	{
		fprintf(stderr, "usage: sink [-e N]\n");
		return 2;
	}

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (listener < 0 || epoll_fd < 0 ||
		bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, 4096) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &length) != 0)
		die("listen");
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);

	watch(epoll_fd, input, &input);
	watch(epoll_fd, listener, &listener);
	for (;;)
	{
		struct epoll_event events[EVENTS_AT_ONCE];
		int			n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, -1);

		for (int i = 0; i < n; i++)
		{
			char		scrap[64];

			if (events[i].data.ptr == &listener)
				accept_connection(epoll_fd, listener);
			else if (events[i].data.ptr == &input)
			{
				if (read(input, scrap, sizeof(scrap)) <= 0)
					return 0;
			}
			else
			{
				Connection *c = events[i].data.ptr;

				if (serve(c))
					continue;
				close(c->fd);
				free(c);
			}
		}
	}
}
