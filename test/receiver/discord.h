/*-------------------------------------------------------------------------
 *
 * discord.h
 *		A stand-in for Discord's API, as far as webhooks go, that enforces its
 *		rules.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DISCORD_H
#define DISCORD_H

#include "receiver.h"

/* A request, taken apart. */
typedef struct DiscordRequest
{
	Slice		method;
	Slice		options;		/* of the service: "name=x,limit=5,window=2" */
	Slice		path;			/* what follows them */
	Slice		query;
	Slice		content_type;
	Slice		user_agent;
	Slice		body;
} DiscordRequest;

/* What comes of it; the buffers are the stand-in's. */
typedef struct DiscordAnswer
{
	int			status;
	const char *type;
	Buffer	   *headers;
	Buffer	   *body;
	unsigned	delay_ms;
} DiscordAnswer;

extern void discord_answer(const DiscordRequest *request, DiscordAnswer *answer);

/* What a test asks of the stand-in itself. */
extern void discord_control(const DiscordRequest *request, DiscordAnswer *answer);

#endif							/* DISCORD_H */
