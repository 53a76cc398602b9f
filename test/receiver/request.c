/*-------------------------------------------------------------------------
 *
 * request.c
 *		From input to requests: head, body, log line.
 *
 * A request stays in the input buffer, head and body in one piece, until it
 * is complete; a chunked body is decoded where it lies.  So nothing is
 * allocated per request, and a request may arrive in pieces of any size or
 * together with others.  Strict about framing (a stand-in that forgives
 * would hide a sender's mistakes): what is not HTTP/1.x is answered with
 * 400 and the connection ends.
 *
 * A request is counted and logged when its last byte is in.  The line is
 * only appended to log_lines: receiver.c writes them before it sends.
 *
 *-------------------------------------------------------------------------
 */
#include "receiver.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <openssl/evp.h>

#define MAX_HEADERS		256
#define MAX_CHUNK_LINE	4096

static const char *
request_base(const Conn *c)
{
	return c->in.data + c->in.start;
}

static Slice
request_slice(const Conn *c, size_t at, size_t len)
{
	return (Slice) {request_base(c) + at, len};
}

static bool
slice_is(Slice s, const char *lower)
{
	return s.len == strlen(lower) && strncasecmp(s.data, lower, s.len) == 0;
}

static bool
is_blank(char ch)
{
	return ch == ' ' || ch == '\t';
}

static Slice
slice_trim(Slice s)
{
	while (s.len > 0 && is_blank(s.data[0]))
	{
		s.data++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.data[s.len - 1]))
		s.len--;
	return s;
}

/* Is the word one of the elements of a comma-separated list? */
static bool
list_has(Slice list, const char *lower)
{
	while (list.len > 0)
	{
		const char *comma = memchr(list.data, ',', list.len);
		size_t		len = comma ? (size_t) (comma - list.data) : list.len;

		if (slice_is(slice_trim((Slice) {list.data, len}), lower))
			return true;
		if (comma == NULL)
			break;
		list.data += len + 1;
		list.len -= len + 1;
	}
	return false;
}

/*
 * Takes the next header line off *rest.  False at the end of the head, or
 * with *bad set when the line is not a header.
 */
static bool
next_header(Slice *rest, Slice *name, Slice *value, bool *bad)
{
	const char *lf = memchr(rest->data, '\n', rest->len);
	const char *colon;
	size_t		len;

	*bad = true;
	if (lf == NULL || lf == rest->data || lf[-1] != '\r')
		return false;
	len = lf - 1 - rest->data;
	if (len == 0)
	{
		*bad = false;
		return false;
	}
	colon = memchr(rest->data, ':', len);
	if (colon == NULL || colon == rest->data || is_blank(colon[-1]) ||
		is_blank(rest->data[0]))
		return false;
	*bad = false;
	*name = (Slice) {rest->data, colon - rest->data};
	*value = slice_trim((Slice) {colon + 1, len - name->len - 1});
	rest->data += len + 2;
	rest->len -= len + 2;
	return true;
}

/* A header of the request that is being answered; empty when it has none of that name. */
Slice
request_header(const Conn *c, const char *lower)
{
	const Request *r = &c->request;
	Slice		rest = request_slice(c, r->headers_at, r->head_len - r->headers_at);
	Slice		name;
	Slice		value;
	bool		bad;

	while (next_header(&rest, &name, &value, &bad))
	{
		if (slice_is(name, lower))
			return value;
	}
	return (Slice) {"", 0};
}

static bool
parse_length(Slice s, size_t *length)
{
	size_t		n = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++)
	{
		if (!isdigit((unsigned char) s.data[i]))
			return false;
		if (n <= MAX_BODY)		/* beyond, all lengths are alike */
			n = n * 10 + (s.data[i] - '0');
	}
	*length = n;
	return true;
}

/* The request line: method, target, and whether it is HTTP/1.1. */
static bool
parse_request_line(Request *r, const char *base, bool *http11)
{
	const char *lf = memchr(base, '\n', r->head_len);
	const char *space = memchr(base, ' ', lf - base);
	const char *version;

	if (lf[-1] != '\r' || space == NULL)
		return false;
	r->method_len = space - base;
	r->target_at = r->method_len + 1;
	version = memchr(space + 1, ' ', lf - space - 1);
	if (version == NULL || version == space + 1)
		return false;
	r->target_len = version - space - 1;
	r->headers_at = lf + 1 - base;
	if (lf - version != 10 || memcmp(version, " HTTP/1.", 8) != 0 ||
		(version[8] != '0' && version[8] != '1'))
		return false;
	*http11 = version[8] == '1';
	return true;
}

/* The headers that say how the request is framed; returns an error status. */
static int
parse_headers(Conn *c, bool *expect)
{
	Request    *r = &c->request;
	Slice		rest = request_slice(c, r->headers_at, r->head_len - r->headers_at);
	Slice		name;
	Slice		value;
	bool		has_length = false;
	bool		bad;
	int			count = 0;

	while (next_header(&rest, &name, &value, &bad))
	{
		if (++count > MAX_HEADERS)
			return 431;
		switch (name.len)
		{
			case 6:
				if (slice_is(name, "expect") && slice_is(value, "100-continue"))
					*expect = true;
				break;
			case 10:
				if (slice_is(name, "connection") && list_has(value, "close"))
					c->keep_alive = false;
				break;
			case 14:
				if (slice_is(name, "content-length"))
				{
					size_t		length;

					if (!parse_length(value, &length) ||
						(has_length && length != r->content_length))
						return 400;
					has_length = true;
					r->content_length = length;
				}
				break;
			case 17:
				if (slice_is(name, "transfer-encoding"))
				{
					if (r->chunked || !slice_is(value, "chunked"))
						return 501;
					r->chunked = true;
				}
				break;
		}
	}
	if (bad || (r->chunked && has_length))
		return 400;
	if (r->content_length > MAX_BODY)
		return 413;
	return 0;
}

/* False when the head is incomplete, or when it is refused. */
static bool
parse_head(Conn *c)
{
	Request    *r = &c->request;
	const char *base;
	const char *end;
	size_t		len;
	int			error;
	bool		http11 = true;
	bool		expect = false;
	bool		early;

	/* Empty lines before a request are allowed. */
	while (buffer_len(&c->in) >= 2 && memcmp(request_base(c), "\r\n", 2) == 0)
		buffer_consume(&c->in, 2);
	len = buffer_len(&c->in);
	if (len == 0)
		return false;
	base = request_base(c);

	c->keep_alive = true;
	c->is_head = false;
	if (!isalpha((unsigned char) base[0]) && !(len == 1 && base[0] == '\r'))
	{
		answer_error(c, 400);	/* TLS spoken to a plain port, for one */
		return false;
	}
	end = memmem(base + r->searched, len - r->searched, "\r\n\r\n", 4);
	if (end == NULL)
	{
		r->searched = len > 3 ? len - 3 : 0;
		if (len > MAX_HEAD)
			answer_error(c, 431);
		return false;
	}
	if (end - base > MAX_HEAD)
	{
		answer_error(c, 431);
		return false;
	}
	r->head_len = end + 4 - base;
	r->total_len = r->head_len;
	if (!parse_request_line(r, base, &http11))
	{
		answer_error(c, 400);
		return false;
	}
	if (!http11)
		c->keep_alive = false;
	c->is_head = r->method_len == 4 && memcmp(base, "HEAD", 4) == 0;
	error = parse_headers(c, &expect);
	early = answer_is_early(request_slice(c, r->target_at, r->target_len));
	if (early && (error == 0 || error == 413))
	{
		answer_request(c, request_slice(c, r->target_at, r->target_len),
					   (Slice) {NULL, 0});
		r->answered = true;
		if (error == 413)
			c->state = CONN_CLOSING;	/* its linger drains the body */
	}
	else if (error != 0)
		answer_error(c, error);
	else if (expect && http11 && len == r->head_len &&
			 (r->chunked || r->content_length > 0))
		buffer_add_string(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
	return error == 0;
}

/*
 * The line at total_len, without its end.  False when it is incomplete;
 * refused with 400 when it is too long or ends in a bare LF.
 */
static bool
chunk_line(Conn *c, Slice *line)
{
	Request    *r = &c->request;
	const char *from = request_base(c) + r->total_len;
	size_t		len = buffer_len(&c->in) - r->total_len;
	const char *lf = len > 0 ? memchr(from, '\n', len) : NULL;

	if (lf == NULL ? len > MAX_CHUNK_LINE : (lf == from || lf[-1] != '\r'))
		answer_error(c, 400);
	if (lf == NULL || c->state != CONN_READING)
		return false;
	*line = (Slice) {from, lf - 1 - from};
	r->total_len += line->len + 2;
	return true;
}

static bool
parse_chunk_size(Slice line, size_t *size)
{
	size_t		i;

	*size = 0;
	for (i = 0; i < line.len && isxdigit((unsigned char) line.data[i]); i++)
	{
		int			ch = tolower((unsigned char) line.data[i]);

		if (*size <= MAX_BODY)
			*size = *size * 16 + (ch <= '9' ? ch - '0' : ch - 'a' + 10);
	}
	return i > 0 && (i == line.len || line.data[i] == ';' || is_blank(line.data[i]));
}

/* One step of a chunked body; false when it needs more input. */
static bool
chunk_step(Conn *c, bool *done)
{
	Request    *r = &c->request;
	char	   *base = c->in.data + c->in.start;
	size_t		len = buffer_len(&c->in) - r->total_len;
	Slice		line;

	switch (r->chunk_state)
	{
		case CHUNK_SIZE:
			if (!chunk_line(c, &line))
				return false;
			if (!parse_chunk_size(line, &r->chunk_left))
			{
				answer_error(c, 400);
				return false;
			}
			if (r->chunk_left > MAX_BODY - r->body_len)
			{
				answer_error(c, 413);
				return false;
			}
			r->chunk_state = r->chunk_left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
			return true;
		case CHUNK_DATA:
			if (len > r->chunk_left)
				len = r->chunk_left;
			memmove(base + r->head_len + r->body_len, base + r->total_len, len);
			r->body_len += len;
			r->total_len += len;
			r->chunk_left -= len;
			if (r->chunk_left == 0)
				r->chunk_state = CHUNK_END;
			return r->chunk_left == 0;
		case CHUNK_END:
			if (!chunk_line(c, &line))
				return false;
			if (line.len > 0)
			{
				answer_error(c, 400);
				return false;
			}
			r->chunk_state = CHUNK_SIZE;
			return true;
		case CHUNK_TRAILER:
			if (!chunk_line(c, &line))
				return false;
			*done = line.len == 0;
			return true;
	}
	return false;
}

/* False when the body is incomplete, or refused. */
static bool
parse_body(Conn *c)
{
	Request    *r = &c->request;
	bool		done = false;

	if (!r->chunked)
	{
		r->body_len = r->content_length;
		r->total_len = r->head_len + r->content_length;
		return buffer_len(&c->in) >= r->total_len;
	}
	while (chunk_step(c, &done))
	{
		if (done)
			return true;
	}
	if (c->state == CONN_READING)
	{
		/* Close the gap behind the decoded part: framing takes no room. */
		char	   *base = c->in.data + c->in.start;
		size_t		body_end = r->head_len + r->body_len;

		memmove(base + body_end, base + r->total_len, buffer_len(&c->in) - r->total_len);
		c->in.end -= r->total_len - body_end;
		r->total_len = body_end;
	}
	return false;
}

static bool
is_utf8(Slice s)
{
	const unsigned char *p = (const unsigned char *) s.data;
	const unsigned char *end = p + s.len;

	while (p < end)
	{
		int			more;
		unsigned	low = 0x80;
		unsigned	high = 0xBF;

		if (*p < 0x80)
		{
			p++;
			continue;
		}
		if (*p >= 0xC2 && *p <= 0xDF)
			more = 1;
		else if (*p >= 0xE0 && *p <= 0xEF)
			more = 2;
		else if (*p >= 0xF0 && *p <= 0xF4)
			more = 3;
		else
			return false;
		/* No overlong forms, no surrogates, nothing above U+10FFFF. */
		if (*p == 0xE0)
			low = 0xA0;
		else if (*p == 0xED)
			high = 0x9F;
		else if (*p == 0xF0)
			low = 0x90;
		else if (*p == 0xF4)
			high = 0x8F;
		if (end - p <= more || p[1] < low || p[1] > high)
			return false;
		for (int i = 2; i <= more; i++)
		{
			if ((p[i] & 0xC0) != 0x80)
				return false;
		}
		p += more + 1;
	}
	return true;
}

/* The inside of a JSON string; what is not UTF-8 is taken as Latin-1. */
static void
log_text(Slice s, bool lower)
{
	bool		utf8 = is_utf8(s);

	buffer_reserve(&log_lines, s.len * 6);
	for (size_t i = 0; i < s.len; i++)
	{
		unsigned char ch = s.data[i];

		if (ch < 0x20 || ch == 0x7F || (ch >= 0x80 && !utf8))
			buffer_printf(&log_lines, "\\u%04x", ch);
		else
		{
			if (ch == '"' || ch == '\\')
				log_lines.data[log_lines.end++] = '\\';
			if (lower && ch >= 'A' && ch <= 'Z')
				ch += 'a' - 'A';
			log_lines.data[log_lines.end++] = ch;
		}
	}
}

static void
log_member(const char *key, Slice value)
{
	buffer_printf(&log_lines, "\"%s\": \"", key);
	log_text(value, false);
	buffer_add_string(&log_lines, "\", ");
}

/* Headers of the same name become one, as RFC 9110 allows. */
static void
log_headers(Slice rest)
{
	Slice		names[MAX_HEADERS];
	Slice		values[MAX_HEADERS];
	bool		seen[MAX_HEADERS] = {0};
	bool		bad;
	bool		first = true;
	int			n = 0;

	while (n < MAX_HEADERS && next_header(&rest, &names[n], &values[n], &bad))
		n++;
	buffer_add_string(&log_lines, "\"headers\": {");
	for (int i = 0; i < n; i++)
	{
		if (seen[i])
			continue;
		buffer_add_string(&log_lines, first ? "\"" : ", \"");
		first = false;
		log_text(names[i], true);
		buffer_add_string(&log_lines, "\": \"");
		log_text(values[i], false);
		for (int j = i + 1; j < n; j++)
		{
			if (names[j].len == names[i].len &&
				strncasecmp(names[j].data, names[i].data, names[i].len) == 0)
			{
				seen[j] = true;
				buffer_add_string(&log_lines, ", ");
				log_text(values[j], false);
			}
		}
		buffer_add_string(&log_lines, "\"");
	}
	buffer_add_string(&log_lines, "}, ");
}

static void
log_request(const Conn *c, Slice method, Slice target, Slice body)
{
	const Request *r = &c->request;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	buffer_printf(&log_lines, "{\"t\": %lld.%06ld, \"seq\": %llu, ",
				  (long long) now.tv_sec, now.tv_nsec / 1000,
				  (unsigned long long) stats.requests);
	log_member("method", method);
	log_member("path", target);
	log_headers(request_slice(c, r->headers_at, r->head_len - r->headers_at));
	if (is_utf8(body))
		log_member("body", body);
	else
	{
		buffer_add_string(&log_lines, "\"body_base64\": \"");
		buffer_reserve(&log_lines, body.len / 3 * 4 + 8);
		log_lines.end += EVP_EncodeBlock((unsigned char *) log_lines.data + log_lines.end,
										 (const unsigned char *) body.data, (int) body.len);
		buffer_add_string(&log_lines, "\", ");
	}
	buffer_printf(&log_lines, "\"conn\": %llu, \"local\": \"%s\"}\n",
				  (unsigned long long) c->number, c->local);
	if (buffer_len(&log_lines) > 1024 * 1024)
		log_flush();
}

/*
 * Takes one request off the input and answers it.  False when there is no
 * complete one; the caller stops as well when the state is not CONN_READING
 * any more.
 */
bool
request_next(Conn *c)
{
	Request    *r = &c->request;
	Slice		method;
	Slice		target;
	Slice		body;

	if (r->head_len == 0 && !parse_head(c))
		return false;
	if (!parse_body(c))
		return false;

	method = request_slice(c, 0, r->method_len);
	target = request_slice(c, r->target_at, r->target_len);
	body = request_slice(c, r->head_len, r->body_len);
	if (answer_is_control(method, target))
		answer_control(c, target);
	else
	{
		stats.requests++;
		if (log_fd >= 0)
			log_request(c, method, target, body);
		if (!r->answered)
			answer_request(c, target, body);
	}
	if (c->state == CONN_READING)
		answer_end(c);
	buffer_consume(&c->in, r->total_len);
	*r = (Request) {0};
	return true;
}
