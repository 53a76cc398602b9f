/*-------------------------------------------------------------------------
 *
 * receiver.h
 *		What the files of the receiver share: a connection.
 *
 * A connection is always in exactly one ConnState.  request.c turns its
 * input into requests while it is CONN_READING; answer.c appends to its
 * output and may move it to another state; receiver.c moves the bytes, owns
 * every Conn, and is alone in closing one.  Nothing but receiver.c makes
 * system calls on the socket.
 *
 * One thread, so nothing is locked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RECEIVER_H
#define RECEIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>

#define MAX_HEAD	(64 * 1024)
#define MAX_BODY	(16 * 1024 * 1024)

typedef struct Slice
{
	const char *data;
	size_t		len;
} Slice;

/* Bytes start..end of data are in use; start moves when they are consumed. */
typedef struct Buffer
{
	char	   *data;
	size_t		start;
	size_t		end;
	size_t		size;
} Buffer;

typedef enum ConnState
{
	CONN_READING,				/* a request may begin or go on */
	CONN_SLOW,					/* 204, or what is late, when the timer fires */
	CONN_DRIP,					/* one byte whenever the timer fires */
	CONN_HANG,					/* never again, until the client leaves */
	CONN_STREAM,				/* answer_fill() whenever the output is empty */
	CONN_CLOSING,				/* FIN once the output is sent */
	CONN_RESET_SOON,			/* RST when the timer fires */
	CONN_RESETTING,				/* RST once the output is sent */
	CONN_LINGER,				/* FIN sent, discarding input until theirs */
	CONN_DEAD					/* to be freed in this turn */
} ConnState;

typedef enum ChunkState
{
	CHUNK_SIZE,
	CHUNK_DATA,
	CHUNK_END,
	CHUNK_TRAILER
} ChunkState;

/* The request at the start of the input; positions count from there. */
typedef struct Request
{
	size_t		searched;		/* no end of the head before this */
	size_t		head_len;		/* with the empty line; 0 while incomplete */
	size_t		method_len;
	size_t		target_at;
	size_t		target_len;
	size_t		headers_at;
	size_t		content_length;
	size_t		body_len;		/* at head_len; a chunked body is decoded in place */
	size_t		total_len;		/* input consumed, or looked at so far */
	size_t		chunk_left;
	ChunkState	chunk_state;
	bool		chunked;
	bool		answered;		/* before the body, as /early does */
} Request;

typedef enum StreamKind
{
	STREAM_PLAIN,
	STREAM_ENDLESS,
	STREAM_GZIP,
	STREAM_RAW
} StreamKind;

/* What CONN_DRIP and CONN_STREAM still have to send. */
typedef struct Stream
{
	StreamKind	kind;
	uint64_t	total;
	uint64_t	left;
	uint64_t	interval;		/* microseconds */
	uint32_t	bits;			/* of deflate output not yet a whole byte */
	int			nbits;
	int			end;			/* of raw.c's */
} Stream;

typedef enum SourceKind
{
	SOURCE_SIGNAL,
	SOURCE_LISTENER,
	SOURCE_BLACKHOLE,
	SOURCE_CONN,
	SOURCE_STALLED				/* accepted by a blackhole */
} SourceKind;

/* What an epoll event points to: the head of a Listener or a Conn. */
typedef struct Source
{
	SourceKind	kind;
	int			fd;
} Source;

typedef struct Conn
{
	Source		source;
	ConnState	state;
	bool		queued;			/* in the work list */
	bool		readable;		/* the socket may have input */
	bool		writable;		/* the socket may take output */
	bool		hup;			/* the client has sent FIN or RST */
	bool		eof;			/* and we have read everything before it */
	bool		starved;		/* nothing can be made of the input so far */
	bool		keep_alive;		/* of the last request, as is_head */
	bool		is_head;
	bool		tls_broken;		/* no close_notify */
	SSL		   *ssl;
	Buffer		in;
	Buffer		out;
	Buffer		late;			/* what goes there when the timer fires, with CONN_SLOW */
	Buffer		again;			/* what raw.c repeats */
	Request		request;
	Stream		stream;
	uint64_t	deadline;		/* microseconds; valid if timer_at is set */
	size_t		timer_at;		/* position in the heap, from 1; 0: no timer */
	uint64_t	number;
	struct Conn *next_work;
	struct Conn *prev;			/* all connections */
	struct Conn *next;
	char		local[64];		/* filled only for the log */
} Conn;

typedef struct Stats
{
	uint64_t	requests;		/* completely received, also the log's seq */
	uint64_t	connections;
	uint64_t	open;
	uint64_t	max_open;
	uint64_t	stalled_connections;
	uint64_t	stalled_open;
	uint64_t	by_status[1000];	/* [0]: requests that get no status */
} Stats;

/* receiver.c */
extern Stats stats;
extern int	log_fd;
extern Buffer log_lines;		/* written before any answer of the turn */

extern void buffer_reserve(Buffer *b, size_t len);
extern void buffer_add(Buffer *b, const void *data, size_t len);
extern void buffer_add_string(Buffer *b, const char *s);
extern void buffer_printf(Buffer *b, const char *format,...)
			__attribute__((format(printf, 2, 3)));
extern void buffer_consume(Buffer *b, size_t len);
extern void log_flush(void);
extern uint64_t clock_us(void);
extern void timer_set(Conn *c, uint64_t deadline);

static inline size_t
buffer_len(const Buffer *b)
{
	return b->end - b->start;
}

/* request.c */
extern bool request_next(Conn *c);
extern Slice request_header(const Conn *c, const char *lower);

/* answer.c */
extern bool answer_is_early(Slice target);
extern bool answer_is_control(Slice method, Slice target);
extern void answer_request(Conn *c, Slice target, Slice body);
extern void answer_control(Conn *c, Slice target);
extern void answer_error(Conn *c, int status);
extern void answer_end(Conn *c);
extern void answer_timer(Conn *c);
extern void answer_fill(Conn *c);
extern bool query_get(Slice query, const char *wanted, Slice *value);
extern bool slice_number(Slice s, uint64_t *number);
extern void add_decoded(Buffer *b, Slice s);

/* raw.c */
extern bool raw_begin(Conn *c, Slice query);
extern void raw_fill(Conn *c);
extern void raw_timer(Conn *c);

/* chat.c */
extern int	chat_answer(const Conn *c, Slice path, Slice query, Slice body, Buffer *headers, Buffer *out);

#endif							/* RECEIVER_H */
