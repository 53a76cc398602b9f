/*-------------------------------------------------------------------------
 *
 * answer_json.h
 *		What an answer's JSON body says.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ANSWER_JSON_H
#define HOOKS_ANSWER_JSON_H

#include "utils/jsonb.h"

#include "message.h"

/*
 * The body, in the current memory context; NULL when it is no JSON, or was
 * not asked for, or is longer than what is kept of it.
 */
extern Jsonb *answer_json(const Answer *answer);

/*
 * What stands at a path, like "data.0.is_sent": keys of objects, and numbers of
 * elements of arrays.  False when there is nothing, or null.
 */
extern bool answer_json_at(const Jsonb *json, const char *path, JsonbValue *value);

/* The same as the type that it should have; NULL, false, or -1 when it has another. */
extern char *answer_json_string(const Jsonb *json, const char *path);
extern bool answer_json_true(const Jsonb *json, const char *path);
extern double answer_json_number(const Jsonb *json, const char *path);

#endif							/* HOOKS_ANSWER_JSON_H */
