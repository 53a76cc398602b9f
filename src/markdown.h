/*-------------------------------------------------------------------------
 *
 * markdown.h
 *		Discord's markdown: what viewers write is none.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_MARKDOWN_H
#define HOOKS_MARKDOWN_H

#include "lib/stringinfo.h"

#include "text.h"

/*
 * Append a viewer's text so that Discord shows it as it is: no styles, no links
 * with a text of their own, no mentions, emojis or times.  Addresses that stand
 * for themselves stay what they are.  "mentions" says that the message may ping
 * somebody: backslashes do not prevent that, so every "@" is kept apart from what
 * follows.
 */
extern void append_markdown_escaped(StringInfo out, Slice text, bool mentions);

/* Is what follows such text part of an address: does that end in "https://…" without a blank? */
extern bool markdown_in_url(bool before, Slice text);

/* Is there nothing in it to see?  Discord refuses such texts. */
extern bool markdown_is_blank(Slice text);

#endif							/* HOOKS_MARKDOWN_H */
