/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *		What the fuzz targets share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_H
#define FUZZ_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#define FUZZ_TARGET
#include "memory.h"

#include "arguments.h"
#include "event.h"
#include "field.h"
#include "mistake.h"
#include "text.h"

typedef struct FuzzTarget
{
	const char *name;
	void		(*run) (Slice input);
} FuzzTarget;

extern void fuzz_condition(Slice input);
extern void fuzz_template(Slice input);
extern void fuzz_json_body(Slice input);
extern void fuzz_number(Slice input);
extern void fuzz_text(Slice input);
extern void fuzz_webhook(Slice input);
extern void fuzz_discord(Slice input);
extern void fuzz_mail(Slice input);
extern void fuzz_smtp(Slice input);
extern void fuzz_address(Slice input);
extern void fuzz_answer(Slice input);
extern void fuzz_chat(Slice input);
extern void fuzz_chat_request(Slice input);

/* Something that must not be: say what and abort. */
extern _Noreturn void fuzz_fail(const char *format,...) pg_attribute_printf(1, 2);

#define FUZZ_CHECK(condition) \
	((condition) ? (void) 0 : fuzz_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition))

/* ----------
 * input.c: from bytes to what the database could hold
 * ----------
 */

/* A copy of a slice right behind which nothing may be read. */
extern Slice fuzz_copy(Slice text);

/* Split at the first, or last, newline; false when there is none. */
extern bool fuzz_split(Slice input, bool at_last, Slice *first, Slice *second);

/* Could it be a value of type text? */
extern bool fuzz_is_text(Slice text);

/* The jsonb that a text is, or NULL when it is none. */
extern Jsonb *fuzz_jsonb(Slice text);

/* The event that some jsonb is. */
extern void fuzz_event(Jsonb *row, Event *event);

/* A message as it must be. */
extern void fuzz_check_mistake(const Mistake *error);

/* ----------
 * json.c: looking at JSON texts
 * ----------
 */

/* Does it parse?  *deep when it cannot be said because of its depth. */
extern bool fuzz_parses(Slice text, bool *deep);

/*
 * The structure of JSON that parses, without what its strings and numbers are:
 * all of it, or only the top level.  NULL when it is too deep.
 */
extern char *fuzz_structure(Slice text, bool top_only);

#endif							/* FUZZ_H */
