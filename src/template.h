/*-------------------------------------------------------------------------
 *
 * template.h
 *		The template language: {{variables}} in texts.
 *
 * A template is compiled once per hook and rendered once per delivery.  One
 * left-to-right pass; what replaces a variable is never scanned again.  How
 * a value is written depends on where it stands, which is settled when the
 * template is compiled.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_TEMPLATE_H
#define HOOKS_TEMPLATE_H

#include "lib/stringinfo.h"

#include "event.h"
#include "field.h"
#include "mistake.h"
#include "secrets.h"

typedef enum TemplateContext
{
	TEMPLATE_TEXT,				/* values stand as they are */
	TEMPLATE_JSON,				/* escaped inside string literals; outside one, a
								 * JSON number stands and anything else becomes
								 * a string */
	TEMPLATE_URL,				/* percent-encoded, all but RFC 3986 unreserved */
	TEMPLATE_HTML,				/* without what HTML gives a meaning, in text and in quoted attributes */
	TEMPLATE_DISCORD,			/* not markdown (markdown.h); percent-encoded within addresses */
	TEMPLATE_DISCORD_PINGS		/* … in a message that may ping somebody */
} TemplateContext;

typedef struct Template Template;

/*
 * Compile, in the current memory context.  Braces that hold no expression
 * stay literally.  Returns NULL with *error filled in for an expression with
 * filters that is wrong, for one in a key of a JSON object, and for a secret.
 */
extern Template *template_compile(const char *text, int len, TemplateContext context,
								  Mistake *error);

/* … that may have {{secret.name}}, too; their names are added to the list. */
extern Template *template_compile_with_secrets(const char *text, int len, TemplateContext context,
											   Secrets *secrets, Mistake *error);

/*
 * Compile JSON all of whose string values are templates.  The result always
 * is JSON, with the same keys.  A string that is nothing but an expression
 * with the filter "json" as its last becomes what that gives.
 */
extern Template *template_compile_json(const JsonbContainer *json, Mistake *error);

/*
 * Would the template make JSON?  True when its text parses as JSON once its
 * variables are replaced by a word inside string literals and by a number
 * outside of them.  Never raises an error.
 */
extern bool template_is_json(const char *text, int len);

/* Byte offset of the first expression in the text, or -1 when there is none. */
extern int	template_first_variable(const Template *template);

/* The field of the i-th expression (NULL for one without), or false after the last. */
extern bool template_field(const Template *template, int i, const Field **field);

/*
 * What a template can become, in bytes: a template full of variables for a
 * long message would otherwise become large without limit.
 */
#define TEMPLATE_MAX_OUTPUT (1024 * 1024)

/*
 * Append the rendered text.  Stops soon after "out" has become larger than
 * TEMPLATE_MAX_OUTPUT; callers refuse what is larger.  May allocate in the
 * current memory context.
 */
extern void template_render(const Template *template, const Occasion *occasion, StringInfo out);

#endif							/* HOOKS_TEMPLATE_H */
