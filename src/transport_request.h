/*-------------------------------------------------------------------------
 *
 * transport_request.h
 *		A request under way, as the transport's files share it: transport.c,
 *		transport_sockets.c, transport_mail.c and transport_answer.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_TRANSPORT_REQUEST_H
#define HOOKS_TRANSPORT_REQUEST_H

#include <curl/curl.h>

#include "lib/ilist.h"

#include "answer.h"
#include "certificate.h"
#include "message.h"
#include "smtp.h"

#define TRANSPORT_MAX_HEADER_BYTES (32 * 1024)

/*
 * What an e-mail may take until the server takes commands, and in all, unless
 * its hook says less.  Servers let strangers wait before they greet, and look at
 * a message before they take it: whoever gives up too soon sends it once more.
 * RFC 5321 (4.5.3.2) would wait for longer.
 */
#define MAIL_CONNECT_MS (60 * 1000)
#define MAIL_TIMEOUT_MS (5 * 60 * 1000)

typedef enum RequestKind
{
	REQUEST_HTTP,
	REQUEST_MAIL,
	REQUEST_KINDS
} RequestKind;

/*
 * A Request is never freed, only used again: a connection that outlives its
 * request still knows where to record what OpenSSL finds (certificate.h).
 */
typedef struct Request
{
	RequestKind kind;
	CURL	   *easy;
	void	   *arg;
	int			settings;		/* which ones its handle was set up for */
	int			timeout_ms;
	char	   *text;			/* what it sends, one after another */
	size_t		text_size;
	struct curl_slist headers[MESSAGE_MAX_HEADERS];
	bool		trusted;		/* the address guard is not asked */
	bool		wants_body;

	/* What libcurl's callbacks have seen. */
	char		error[CURL_ERROR_SIZE];
	AnswerHeaders headers_said;
	CertificateFault fault;
	size_t		header_bytes;
	size_t		body_bytes;
	char	   *body;			/* the answer's, as far as wanted; or NULL */
	size_t		body_length;
	bool		refused;		/* the address guard said no … */
	bool		opened;			/* … but had another address to let through */
	bool		handshaking;	/* connected, and waiting for the other side's TLS */
	bool		sent;			/* perhaps only in part; of an e-mail, see Smtp.content_begun */
	bool		headers_too_large;
	bool		body_cut;
	int			fd;				/* that libcurl waited for last */

	/* Of an e-mail; mail_fd outlives it. */
	Smtp		smtp;
	int64		started_at;		/* microseconds of the monotonic clock */
	int			mail_fd;		/* of a connection that is logged in, -1: there is none */
	bool		added;			/* its handle is libcurl's multi handle's */
	bool		reused;			/* the connection, and nothing was heard on it yet */

	dlist_node	link;			/* while it is under way */
	struct Request *next;		/* in the list of free or of ended ones */
	CURLcode	result;
} Request;

/* ----------
 * transport.c
 * ----------
 */

extern int64 transport_clock_us(void);

/* It has come to its end; its answer can be taken. */
extern void transport_ended(Request *request, CURLcode result);

/* libcurl's side of a handle: false when there is no memory. */
extern bool transport_add(Request *request);
extern void transport_remove(Request *request);

/* ----------
 * transport_mail.c
 * ----------
 */

/* A new handle's options. */
extern void transport_mail_set_up(Request *request);

/* Begin; on a connection that is there, if one is.  False when there is no memory. */
extern bool transport_mail_start(Request *request);

/* libcurl has connected, or not. */
extern void transport_mail_connected(Request *request, CURLcode result);

/* Something has happened to its connection. */
extern void transport_mail_ready(Request *request);

/* The connection is of no use any more; libcurl closes it without a word. */
extern void transport_mail_disconnect(Request *request);

/* End those that take too long, or all; when is the next one to be? -1: there is none */
extern void transport_mail_expire(void);
extern void transport_mail_abort(void);
extern int64 transport_mail_deadline(void);

/* ----------
 * transport_answer.c
 * ----------
 */

extern void transport_make_answer(Request *request, Answer *answer);

#endif							/* HOOKS_TRANSPORT_REQUEST_H */
