/*-------------------------------------------------------------------------
 *
 * discord_embed.h
 *		The embeds of a Discord message: templates, and what Discord takes.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_DISCORD_EMBED_H
#define HOOKS_DISCORD_EMBED_H

#include "template.h"

/* What Discord takes, in code points. */
#define DISCORD_MAX_CONTENT 2000
#define DISCORD_MAX_NAME 80

typedef struct DiscordEmbeds DiscordEmbeds;

/*
 * Compile the value of "embeds", in the current memory context.  "texts" is the
 * context of what Discord reads as markdown.  NULL with *error filled in.
 */
extern DiscordEmbeds *discord_embeds_compile(const JsonbValue *value, TemplateContext texts,
											 Mistake *error);

/*
 * Append a list of those that are not empty for the event, cut to the limits;
 * returns how many.
 */
extern int	discord_embeds_render(const DiscordEmbeds *embeds, const Occasion *occasion,
								  StringInfo out);

/*
 * A text for people, rendered, in valid code points, and no longer than so many
 * of them; NULL when there is nothing in it to see.
 */
extern char *discord_text(const Template *template, const Occasion *occasion, int limit);

/*
 * An address that people or Discord follow: a URL, or one variable that is one.
 * NULL with *error filled in, which calls it "what".
 */
extern Template *discord_url_compile(const char *text, const char *what, bool https_only,
									 Mistake *error);

/* It, rendered; NULL when that is none that Discord takes. */
extern char *discord_url(const Template *template, const Occasion *occasion, bool https_only);

#endif							/* HOOKS_DISCORD_EMBED_H */
