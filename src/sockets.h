/*-------------------------------------------------------------------------
 *
 * sockets.h
 *		The sockets of the transport, in one epoll set, which is what the
 *		worker waits for.
 *
 * Nothing here raises an error or allocates memory of PostgreSQL's: it is
 * called from within libcurl.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SOCKETS_H
#define HOOKS_SOCKETS_H

#include <sys/epoll.h>

#define SOCKETS_AT_ONCE 64

/* Begin, with errno set where that fails; forget everything. */
extern bool sockets_begin(void);
extern void sockets_end(void);

/* One descriptor that stands for all. */
extern int	sockets_fd(void);

/* A socket was opened, and is ours until it is closed.  False when there is no memory. */
extern bool sockets_opened(int fd);
extern bool sockets_is_ours(int fd);

/*
 * Wait for these events of it (epoll_ctl(2)), or for none.  False when there is
 * no memory.
 */
extern bool sockets_wait_for(int fd, uint32 events);
extern bool sockets_is_waited_for(int fd);

/* Hear no more of it, whatever happens to it. */
extern void sockets_forget(int fd);

/* Somebody looks after it by himself, or nobody does (NULL). */
extern bool sockets_own(int fd, void *owner);
extern void *sockets_owner(int fd);

/* Which are ready?  Without waiting. */
extern int	sockets_ready(struct epoll_event events[SOCKETS_AT_ONCE]);

#endif							/* HOOKS_SOCKETS_H */
