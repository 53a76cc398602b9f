/*-------------------------------------------------------------------------
 *
 * memory.h
 *		Memory with guards for the code under test.
 *
 * The server hands out pieces of large blocks, in which no sanitizer sees a
 * byte too many.  So every piece of the code under test is one of malloc's,
 * and a StringInfo can be read up to its end only.  Included before anything
 * else in the files under test.  What one input allocates is freed after it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_MEMORY_H
#define FUZZ_MEMORY_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/json.h"
#include "utils/palloc.h"

/* More than this for one input is a finding. */
#define FUZZ_MAX_MEMORY ((size_t) 256 * 1024 * 1024)

extern void *fuzz_palloc(size_t size);
extern void *fuzz_palloc0(size_t size);
extern void *fuzz_repalloc(void *old, size_t size);
extern char *fuzz_pnstrdup(const char *text, size_t len);
extern char *fuzz_pstrdup(const char *text);
extern char *fuzz_psprintf(const char *format,...) pg_attribute_printf(1, 2);

extern void fuzz_initStringInfo(StringInfo str);
extern void fuzz_resetStringInfo(StringInfo str);
extern void fuzz_appendStringInfo(StringInfo str, const char *format,...) pg_attribute_printf(2, 3);
extern void fuzz_appendStringInfoString(StringInfo str, const char *text);
extern void fuzz_appendStringInfoChar(StringInfo str, char c);
extern void fuzz_appendBinaryStringInfo(StringInfo str, const void *data, int len);
extern void fuzz_escape_json(StringInfo str, const char *text);

/* Free everything; how many times something was allocated. */
extern size_t fuzz_memory_reset(void);

/* Have the n-th allocation from now fail, as the server's does; 0: none. */
extern void fuzz_memory_fail_at(size_t n);

/* In the code under test; the targets may call both. */
#ifndef FUZZ_TARGET
#define palloc fuzz_palloc
#define palloc0 fuzz_palloc0
#define repalloc fuzz_repalloc
#define pnstrdup fuzz_pnstrdup
#define pstrdup fuzz_pstrdup
#define psprintf fuzz_psprintf
#define initStringInfo fuzz_initStringInfo
#define resetStringInfo fuzz_resetStringInfo
#define appendStringInfo fuzz_appendStringInfo
#define appendStringInfoString fuzz_appendStringInfoString
#undef appendStringInfoCharMacro
#define appendStringInfoCharMacro fuzz_appendStringInfoChar
#define appendStringInfoChar fuzz_appendStringInfoChar
#define appendBinaryStringInfo fuzz_appendBinaryStringInfo
#define escape_json fuzz_escape_json
#endif

#endif							/* FUZZ_MEMORY_H */
