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

typedef enum TemplateContext
{
	TEMPLATE_TEXT,				/* values stand as they are */
	TEMPLATE_JSON,				/* escaped inside string literals; outside one, a
								 * JSON number stands and anything else becomes
								 * a string */
	TEMPLATE_URL				/* percent-encoded, all but RFC 3986 unreserved */
} TemplateContext;

typedef struct Template Template;

/*
 * Compile, in the current memory context.  Every text is a legal template:
 * what is not a known variable stays literally.
 */
extern Template *template_compile(const char *text, int len, TemplateContext context);

/*
 * Would the template make JSON?  True when its text parses as JSON once its
 * variables are replaced by a word inside string literals and by a number
 * outside of them.  Never raises an error.
 */
extern bool template_is_json(const char *text, int len);

/* Byte offset of the first known variable in the text, or -1 when there is none. */
extern int	template_first_variable(const Template *template);

/*
 * What a template can become, in bytes: a template full of variables for a
 * long message would otherwise become large without limit.
 */
#define TEMPLATE_MAX_OUTPUT (1024 * 1024)

/*
 * Append the rendered text.  Stops soon after "out" has become larger than
 * TEMPLATE_MAX_OUTPUT; callers refuse what is larger.
 */
extern void template_render(const Template *template, const Event *event, StringInfo out);

/* The values of the reference's variables, also wanted by default bodies. */
extern void event_username(const Event *event, StringInfo out);
extern void event_message(const Event *event, StringInfo out);

/*
 * A field as text: a string verbatim, anything else as JSON writes it, nothing
 * when it is missing, null or false.
 */
extern void event_text(const Event *event, const char *name, StringInfo out);

#endif							/* HOOKS_TEMPLATE_H */
