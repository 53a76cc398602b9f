/*-------------------------------------------------------------------------
 *
 * json.h
 *		JSON that the receiver's services are sent, as a tree.
 *
 *-------------------------------------------------------------------------
 */
#ifndef JSON_H
#define JSON_H

#include "receiver.h"

typedef enum JsonKind
{
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_LIST,
	JSON_OBJECT
} JsonKind;

typedef struct Json
{
	JsonKind	kind;
	double		number;
	char	   *text;			/* of a string or number, decoded, ending in NUL */
	size_t		chars;			/* … in code points */
	char	   *name;			/* as a member of an object */
	struct Json *first;			/* of what is in a list or object */
	struct Json *next;
} Json;

/* NULL when it does not parse, or has an object with two members of a name. */
extern Json *json_parse(Slice text);
extern void json_free(Json *json);

/* A member of an object that is not null, or NULL. */
extern Json *json_get(const Json *object, const char *name);

extern size_t json_count(const Json *list);

/* Append a string literal. */
extern void json_add_string(Buffer *b, const char *text);

#endif							/* JSON_H */
