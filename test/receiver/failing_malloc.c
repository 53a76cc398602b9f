/*-------------------------------------------------------------------------
 *
 * failing_malloc.c
 *		A malloc() that fails when a test says so, to be preloaded.
 *
 * The file that HOOKS_MALLOC_CONTROL names is mapped by every process: a
 * process, and how many of its allocations from now the next one that fails
 * is.  When it has failed, the count is 0 and "failed" one more.  In whatever
 * process, allocations of "too_large" bytes and more fail, but for those of a
 * power of two, which are what PostgreSQL takes for many small ones at once.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct Control
{
	int32_t		pid;
	int32_t		countdown;		/* 0: none fails */
	int32_t		failed;
	int32_t		too_large;		/* 0: none is */
} Control;

static volatile Control *control;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

__attribute__((constructor))
static void
attach(void)
{
	const char *path = getenv("HOOKS_MALLOC_CONTROL");
	int			fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		control = map;
	close(fd);
}

static int
fails(size_t size)
{
	if (control == NULL)
		return 0;
	if (control->too_large > 0 && size >= (size_t) control->too_large &&
		(size & (size - 1)) != 0)
	{
		errno = ENOMEM;
		return 1;
	}
	if (control->countdown <= 0 || control->pid != getpid())
		return 0;
	if (__sync_sub_and_fetch(&control->countdown, 1) != 0)
		return 0;
	__sync_add_and_fetch(&control->failed, 1);
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t size)
{
	return fails(size) ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return fails(n * size) ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *old, size_t size)
{
	return fails(size) ? NULL : __libc_realloc(old, size);
}
