/*-------------------------------------------------------------------------
 *
 * raw.c
 *		Answers byte for byte as the test says: /raw
 *
 *	  /raw?first=BYTES[&again=BYTES[&times=N][&every=MS]][&then=hang]
 *
 * First these bytes, then the others again and again: so many times, or for
 * ever; as fast as they are taken, or one every so many milliseconds.  Then
 * the end of the connection; or "hang", "reset", or "keep", which reads the
 * next request.  Bytes are percent-encoded.  Nothing is added: no status
 * line, no length.
 *
 *-------------------------------------------------------------------------
 */
#include "receiver.h"

#include <string.h>

#define PIECE 65536

static const struct
{
	const char *name;
	ConnState	state;
}			ends[] =
{
	{"close", CONN_CLOSING},
	{"hang", CONN_HANG},
	{"reset", CONN_RESETTING},
	{"keep", CONN_READING},
};

/* What follows is said by the number of the end. */
static void
end_raw(Conn *c)
{
	c->state = ends[c->stream.end].state;
}

/* False: the query makes no sense. */
bool
raw_begin(Conn *c, Slice query)
{
	Slice		value;
	uint64_t	times = UINT64_MAX;
	uint64_t	every = 0;
	size_t		end = 0;

	if ((query_get(query, "times", &value) && !slice_number(value, &times)) ||
		(query_get(query, "every", &value) && !slice_number(value, &every)))
		return false;
	if (query_get(query, "then", &value))
	{
		while (end < sizeof(ends) / sizeof(ends[0]) &&
			   !(value.len == strlen(ends[end].name) && memcmp(value.data, ends[end].name, value.len) == 0))
			end++;
		if (end == sizeof(ends) / sizeof(ends[0]))
			return false;
	}

	stats.by_status[0]++;
	if (query_get(query, "first", &value))
		add_decoded(&c->out, value);
	c->again.start = c->again.end = 0;
	if (query_get(query, "again", &value))
		add_decoded(&c->again, value);
	c->stream = (Stream) {.kind = STREAM_RAW,.left = times,.interval = every * 1000,.end = (int) end};
	if (buffer_len(&c->again) == 0 || times == 0)
		end_raw(c);
	else if (every == 0)
		c->state = CONN_STREAM;
	else
	{
		c->state = CONN_DRIP;
		timer_set(c, clock_us() + c->stream.interval);
	}
	return true;
}

/* Once more, and whether that was the last time. */
static void
add_again(Conn *c)
{
	buffer_add(&c->out, c->again.data + c->again.start, buffer_len(&c->again));
	if (c->stream.left != UINT64_MAX)
		c->stream.left--;
	if (c->stream.left == 0)
		end_raw(c);
}

void
raw_fill(Conn *c)
{
	while (c->state == CONN_STREAM && buffer_len(&c->out) < PIECE)
		add_again(c);
}

void
raw_timer(Conn *c)
{
	add_again(c);
	if (c->state == CONN_DRIP)
		timer_set(c, c->deadline + c->stream.interval);
}
