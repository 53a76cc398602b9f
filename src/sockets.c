/*-------------------------------------------------------------------------
 *
 * sockets.c
 *		The sockets of the transport, in one epoll set.  See sockets.h.
 *
 * Sockets of ours stay in the set between the requests on a connection; one
 * that becomes ready without anybody waiting for it is taken out then.  That
 * saves two system calls per request (bench/run P1).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "sockets.h"

/* What epoll and we know of a descriptor. */
typedef struct Descriptor
{
	uint32		wanted;			/* events that are waited for */
	uint32		registered;		/* … that epoll reports; 0: not in the set */
	bool		ours;			/* so we know when it is new */
	void	   *owner;
} Descriptor;

static int	epoll_fd = -1;
static Descriptor *descriptors = NULL;
static int	ndescriptors = 0;

bool
sockets_begin(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return epoll_fd >= 0;
}

void
sockets_end(void)
{
	close(epoll_fd);
	epoll_fd = -1;
	memset(descriptors, 0, sizeof(Descriptor) * ndescriptors);
}

int
sockets_fd(void)
{
	return epoll_fd;
}

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

/* A number used before: the kernel has forgotten the old socket. */
bool
sockets_opened(int fd)
{
	Descriptor *d = descriptor(fd);

	if (d == NULL)
		return false;
	*d = (Descriptor)
	{
		.ours = true
	};
	return true;
}

bool
sockets_is_ours(int fd)
{
	return fd < ndescriptors && descriptors[fd].ours;
}

bool
sockets_wait_for(int fd, uint32 events)
{
	Descriptor *d = descriptor(fd);

	if (d == NULL)
		return false;
	d->wanted = events;
	if (events != 0 || !d->ours)
		register_events(fd, d);
	return true;
}

bool
sockets_is_waited_for(int fd)
{
	return fd < ndescriptors && descriptors[fd].wanted != 0;
}

void
sockets_forget(int fd)
{
	Descriptor *d = descriptor(fd);

	if (d == NULL)
		return;
	d->wanted = 0;
	register_events(fd, d);
	d->owner = NULL;
}

bool
sockets_own(int fd, void *owner)
{
	Descriptor *d = descriptor(fd);

	if (d == NULL)
		return false;
	d->owner = owner;
	return true;
}

void *
sockets_owner(int fd)
{
	return fd < ndescriptors ? descriptors[fd].owner : NULL;
}

int
sockets_ready(struct epoll_event events[SOCKETS_AT_ONCE])
{
	return epoll_wait(epoll_fd, events, SOCKETS_AT_ONCE, 0);
}
