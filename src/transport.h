/*-------------------------------------------------------------------------
 *
 * transport.h
 *		Many requests at once.
 *
 * The transport never blocks and never calls back: whoever drives it waits
 * for transport_fd() to become readable or transport_timeout() to pass, calls
 * transport_drive(), and takes the answers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_TRANSPORT_H
#define HOOKS_TRANSPORT_H

#include "message.h"

/* Set up; once, in the process that sends.  Raises an error when it cannot. */
extern void transport_init(void);

/* Give everything up, requests and connections; transport_init() starts anew. */
extern void transport_end(void);

/* One descriptor that stands for all sockets. */
extern int	transport_fd(void);

/* Milliseconds until transport_drive() has something to do; -1: only the descriptor counts. */
extern long transport_timeout(void);

/*
 * Begin a request or an e-mail.  "arg" comes back with its answer.  Returns why
 * it cannot be, which is nothing that the hook could change, or NULL; an error
 * when there is no memory for it.
 */
extern const char *transport_start(const Message *message, void *arg);

/* Do what can be done without waiting.  Returns how many sockets were served. */
extern int	transport_drive(void);

/* Take the answer of a request that has ended; false when there is none. */
extern bool transport_take(Answer *answer, void **arg);

/* Settings have changed: connections and requests to come follow them. */
extern void transport_reload(void);

/* What this libcurl is, and whether its HTTP/2 loses answers. */
extern const char *transport_library_version(void);
extern bool transport_http2_usable(void);

#endif							/* HOOKS_TRANSPORT_H */
