/*-------------------------------------------------------------------------
 *
 * baseline.c
 *		What libcurl alone can do on this machine: the reference for
 *		deliveries.
 *
 *		baseline URL AT_ONCE SECONDS
 *			keeps AT_ONCE requests under way for so long; prints requests per
 *			second and microseconds of its own CPU time per request
 *		baseline URL spaced COUNT MIN_MS MAX_MS
 *			one request after another with pauses of random length between;
 *			prints for each its number and when it was about to be sent, in
 *			microseconds of CLOCK_REALTIME
 *
 * The textbook loop: curl_multi_socket_action, one epoll descriptor kept as
 * libcurl's callback says, easy handles used again, HTTP/1.1 keep-alive.
 * Requests are POSTs with the headers and the size of body (some 300 bytes)
 * that a hook would send, made beforehand.
 *
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 64
#define MAX_AT_ONCE 1024

static CURLM *multi;
static int	epoll_fd;
static int64_t timer_at = -1;	/* microseconds of the monotonic clock, -1: none */
static int64_t done = 0;
static int64_t stop_at;			/* no request is started after this */
static int	under_way = 0;

static void
die(const char *what)
{
	fprintf(stderr, "baseline: %s\n", what);
	exit(1);
}

static int64_t
clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	static char is_known;
	struct epoll_event event = {.data.fd = fd};

	(void) easy;
	(void) arg;
	if (what == CURL_POLL_REMOVE)
	{
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	event.events = ((what & CURL_POLL_IN) ? EPOLLIN : 0) |
		((what & CURL_POLL_OUT) ? EPOLLOUT : 0);
	epoll_ctl(epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
	curl_multi_assign(multi, fd, &is_known);
	return 0;
}

static int
on_timer(CURLM *m, long timeout_ms, void *arg)
{
	(void) m;
	(void) arg;
	timer_at = timeout_ms < 0 ? -1 : clock_us(CLOCK_MONOTONIC) + timeout_ms * 1000;
	return 0;
}

static CURL *
make_request(const char *url, const char *body)
{
	static struct curl_slist *headers = NULL;
	CURL	   *easy = curl_easy_init();

	if (headers == NULL)
	{
		headers = curl_slist_append(headers, "Content-Type: application/json");
		headers = curl_slist_append(headers, "webhook-id: 8c7c2b5e-7c0b-5f0e-9d0e-2f6d3a1b4c5d");
		headers = curl_slist_append(headers, "webhook-timestamp: 1700000000");
	}
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long) strlen(body));
	return easy;
}

static void
start(CURL *easy)
{
	if (curl_multi_add_handle(multi, easy) != CURLM_OK)
		die("could not start a request");
	under_way++;
}

/* Take what has ended, and start it again while there is time. */
static void
take_answers(void)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		CURL	   *easy = message->easy_handle;
		long		status = 0;

		if (message->data.result != CURLE_OK)
			die(curl_easy_strerror(message->data.result));
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if (status != 204)
			die("the answer was not 204");
		curl_multi_remove_handle(multi, easy);
		under_way--;
		done++;
		if (clock_us(CLOCK_MONOTONIC) < stop_at)
			start(easy);
	}
}

/* Until nothing is under way. */
static void
loop(void)
{
	while (under_way > 0)
	{
		struct epoll_event events[EVENTS_AT_ONCE];
		int64_t		left = timer_at < 0 ? 1000000 : timer_at - clock_us(CLOCK_MONOTONIC);
		int			running;
		int			n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE,
								   left <= 0 ? 0 : (int) ((left + 999) / 1000));

		for (int i = 0; i < n; i++)
			curl_multi_socket_action(multi, events[i].data.fd,
									 ((events[i].events & EPOLLIN) ? CURL_CSELECT_IN : 0) |
									 ((events[i].events & EPOLLOUT) ? CURL_CSELECT_OUT : 0) |
									 ((events[i].events & (EPOLLERR | EPOLLHUP)) ? CURL_CSELECT_ERR : 0),
									 &running);
		if (timer_at >= 0 && timer_at <= clock_us(CLOCK_MONOTONIC))
		{
			timer_at = -1;
			curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
		}
		take_answers();
	}
}

/* A body like that of a hook without body_template. */
static void
make_body(char *body, size_t size, long number)
{
	snprintf(body, size, "{\"hook_name\":\"thank you\",\"trigger_type\":\"donation\","
			 "\"username\":\"a faithful viewer\",\"message\":\"%ld thanks for the stream, and keep "
			 "on playing that song again and again\",\"amount\":\"5\",\"currency\":\"EUR\","
			 "\"platform\":\"twitch\",\"timestamp\":\"2025-01-01T00:00:00.000000Z\"}", number);
}

static double
cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
		usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void
run_at_once(const char *url, int at_once, double seconds)
{
	char		body[1024];
	int64_t		from;
	double		cpu = cpu_us();
	double		elapsed;

	if (at_once < 1 || at_once > MAX_AT_ONCE || seconds <= 0)
		die("AT_ONCE is 1 to 1024, SECONDS more than 0");
	make_body(body, sizeof(body), 0);
	from = clock_us(CLOCK_MONOTONIC);
	stop_at = from + (int64_t) (seconds * 1e6);
	for (int i = 0; i < at_once; i++)
		start(make_request(url, body));
	loop();
	elapsed = (clock_us(CLOCK_MONOTONIC) - from) / 1e6;
	printf("%.0f %.3f\n", done / elapsed, (cpu_us() - cpu) / done);
}

static void
run_spaced(const char *url, int count, int min_ms, int max_ms)
{
	char		body[1024];
	CURL	   *easy;

	if (count < 1 || min_ms < 0 || max_ms < min_ms)
		die("COUNT is 1 or more, MAX_MS no less than MIN_MS");
	stop_at = 0;
	make_body(body, sizeof(body), 0);
	easy = make_request(url, body);

	/* Request 0 makes the connection. */
	for (int i = 0; i <= count; i++)
	{
		usleep(1000 * (min_ms + (max_ms > min_ms ? rand() % (max_ms - min_ms) : 0)));
		make_body(body, sizeof(body), i);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long) strlen(body));
		if (i > 0)
			printf("%d %jd\n", i, (intmax_t) clock_us(CLOCK_REALTIME));
		start(easy);
		loop();
	}
}

int
main(int argc, char **argv)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);

	if (argc == 6 && strcmp(argv[2], "spaced") == 0)
		run_spaced(argv[1], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
	else if (argc == 4)
		run_at_once(argv[1], atoi(argv[2]), atof(argv[3]));
	else
	{
		fprintf(stderr, "usage: baseline URL AT_ONCE SECONDS\n"
				"       baseline URL spaced COUNT MIN_MS MAX_MS\n");
		return 2;
	}
	return 0;
}
