/*-------------------------------------------------------------------------
 *
 * clock.c
 *		A clock that a test can set: preloaded into a server, it adds to the
 *		time of day what the file says that HOOKS_TEST_CLOCK names, a number of
 *		seconds (int64).  Clocks that nobody can set are left alone.
 *
 *		The file may also say that the clock is to be set once a process has
 *		read it so many times: so it can be set at any moment of what that does.
 *
 * (libfaketime does not work here: PostgreSQL 15 forks in signal handlers,
 * while libfaketime is in the middle of a call, and the child then has the
 * true time for ever.)
 *
 *-------------------------------------------------------------------------
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef struct Clock
{
	int64_t		ahead;			/* seconds */
	int64_t		process;		/* whose next reading … */
	int64_t		readings;		/* … after so many, sees it set; 0: none */
	int64_t		by;				/* by so many seconds */
} Clock;

static volatile Clock *shared = NULL;

static void __attribute__((constructor))
map_file(void)
{
	const char *name = getenv("HOOKS_TEST_CLOCK");
	int			fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
	void	   *map = fd >= 0 ? mmap(NULL, sizeof(Clock), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (map == MAP_FAILED)
		abort();
	close(fd);
	shared = map;
}

int
clock_gettime(clockid_t id, struct timespec *now)
{
	int			result = (int) syscall(SYS_clock_gettime, id, now);

	if (result != 0 || !shared || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
		return result;
	now->tv_sec += shared->ahead;
	if (shared->readings > 0 && shared->process == getpid() && --shared->readings == 0)
		shared->ahead += shared->by;
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec t;

	if (clock_gettime(CLOCK_REALTIME, &t) != 0)
		return -1;
	now->tv_sec = t.tv_sec;
	now->tv_usec = t.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *now)
{
	struct timespec t;

	if (clock_gettime(CLOCK_REALTIME, &t) != 0)
		return -1;
	if (now)
		*now = t.tv_sec;
	return t.tv_sec;
}
