/*-------------------------------------------------------------------------
 *
 * memory.c
 *		Memory with guards for the code under test.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sanitizer/asan_interface.h>

#include "utils/json.h"
#include "utils/memutils.h"

#include "fuzz.h"

typedef struct Piece
{
	void	   *data;
	size_t		size;
} Piece;

static Piece *pieces;
static size_t npieces;
static size_t allocated;
static size_t total;			/* bytes */

static size_t fail_at;			/* how many allocations from now, 0: none fails */
static size_t ncalls;

size_t
fuzz_memory_reset(void)
{
	size_t		calls = ncalls;

	for (size_t i = 0; i < npieces; i++)
		free(pieces[i].data);
	npieces = 0;
	total = 0;
	ncalls = 0;
	fail_at = 0;
	return calls;
}

void
fuzz_memory_fail_at(size_t n)
{
	fail_at = n;
}

/* The server's own limits are part of what is tested. */
static void
account(size_t size)
{
	total += size;
	ncalls++;
	if (fail_at > 0 && --fail_at == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	if (size >= MaxAllocSize || total > FUZZ_MAX_MEMORY)
		fuzz_fail("one input takes more than %zu MB of memory", FUZZ_MAX_MEMORY / (1024 * 1024));
}

void *
fuzz_palloc(size_t size)
{
	account(size);
	if (npieces == allocated)
	{
		allocated = allocated ? allocated * 2 : 1024;
		pieces = realloc(pieces, allocated * sizeof(Piece));
	}
	pieces[npieces].size = size;
	return pieces[npieces++].data = malloc(size);
}

void *
fuzz_palloc0(size_t size)
{
	return memset(fuzz_palloc(size), 0, size);
}

/* Only what was allocated here may be made larger here. */
void *
fuzz_repalloc(void *old, size_t size)
{
	for (size_t i = npieces; i-- > 0;)
	{
		if (pieces[i].data != old)
			continue;
		account(size - pieces[i].size);
		pieces[i].size = size;
		return pieces[i].data = realloc(old, size);
	}
	fuzz_fail("repalloc of what was not allocated");
}

char *
fuzz_pnstrdup(const char *text, size_t len)
{
	char	   *copy;

	len = strnlen(text, len);
	copy = fuzz_palloc(len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

char *
fuzz_pstrdup(const char *text)
{
	return fuzz_pnstrdup(text, strlen(text));
}

char *
fuzz_psprintf(const char *format,...)
{
	va_list		args;
	char	   *text;
	int			len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	text = fuzz_palloc(len + 1);
	va_start(args, format);
	(void) vsnprintf(text, len + 1, format, args);
	va_end(args);
	return text;
}

/* ----------
 * StringInfo
 * ----------
 */

/* Bytes behind the terminating NUL that must not be touched. */
#define GUARD 64

static void
guard(StringInfo str)
{
	ASAN_POISON_MEMORY_REGION(str->data + str->len + 1, Min(str->maxlen - str->len - 1, GUARD));
}

static void
unguard(StringInfo str)
{
	ASAN_UNPOISON_MEMORY_REGION(str->data + str->len + 1, Min(str->maxlen - str->len - 1, GUARD));
}

static void
make_room(StringInfo str, int len)
{
	unguard(str);
	if (str->len + len + 1 <= str->maxlen)
		return;
	if ((size_t) str->len + len + 1 >= MaxAllocSize)
		fuzz_fail("a StringInfo becomes too large");
	str->maxlen = (str->len + len + 1) * 2;
	str->data = fuzz_repalloc(str->data, str->maxlen);
}

void
fuzz_initStringInfo(StringInfo str)
{
	str->maxlen = GUARD;
	str->data = fuzz_palloc(str->maxlen);
	str->len = 0;
	fuzz_resetStringInfo(str);
}

void
fuzz_resetStringInfo(StringInfo str)
{
	unguard(str);
	str->len = 0;
	str->cursor = 0;
	str->data[0] = '\0';
	guard(str);
}

void
fuzz_appendBinaryStringInfo(StringInfo str, const void *data, int len)
{
	make_room(str, len);
	memcpy(str->data + str->len, data, len);
	str->len += len;
	str->data[str->len] = '\0';
	guard(str);
}

void
fuzz_appendStringInfoString(StringInfo str, const char *text)
{
	fuzz_appendBinaryStringInfo(str, text, strlen(text));
}

void
fuzz_appendStringInfoChar(StringInfo str, char c)
{
	fuzz_appendBinaryStringInfo(str, &c, 1);
}

void
fuzz_appendStringInfo(StringInfo str, const char *format,...)
{
	va_list		args;
	int			len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	make_room(str, len);
	va_start(args, format);
	(void) vsnprintf(str->data + str->len, len + 1, format, args);
	va_end(args);
	str->len += len;
	guard(str);
}

void
fuzz_escape_json(StringInfo str, const char *text)
{
	StringInfoData own;

	initStringInfo(&own);
	escape_json(&own, text);
	fuzz_appendBinaryStringInfo(str, own.data, own.len);
	pfree(own.data);
}
