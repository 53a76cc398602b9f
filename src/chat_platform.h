/*-------------------------------------------------------------------------
 *
 * chat_platform.h
 *		How a message is written into the chat of each platform.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CHAT_PLATFORM_H
#define HOOKS_CHAT_PLATFORM_H

#include "utils/jsonb.h"

#include "message.h"
#include "mistake.h"
#include "pace.h"

struct Outcome;

/* Where and as whom to write: a row of hooks.chat_accounts, with its secret. */
typedef struct ChatAccount
{
	char	   *channel;
	char	   *sender;			/* or NULL */
	Jsonb	   *extra;			/* what else the platform needs, or NULL */
	char	   *token;
	uint64		token_mark;		/* tells tokens apart */
} ChatAccount;

typedef struct ChatPlatform
{
	const char *name;
	int			most;			/* what a message may have, in code points */
	Allowance	allowance;		/* of a writer in somebody else's channel … */
	Allowance	own_allowance;	/* … and in the own one; none: the service tells */
	char	  **url;			/* the setting that says where its API is */
	const char *path;

	/* Make the request's headers and body, but for the token and the type. */
	bool		(*build) (const ChatAccount *account, const char *text, Message *message,
						  Mistake *error);

	/* Judge an answer that came, judged as HTTP means it already. */
	void		(*judge) (const Answer *answer, struct Outcome *outcome);
} ChatPlatform;

/* The platform of that name, which must be one of target_names. */
extern const ChatPlatform *chat_platform(const char *name);

/* How many messages an account may write there, in a channel of its own or of somebody else. */
extern Allowance chat_platform_allowance(const ChatPlatform *platform, bool own_channel);

/* Its host, "api.twitch.tv:443", until the settings change. */
extern const char *chat_platform_host(const ChatPlatform *platform);

/* Make the whole request. */
extern bool chat_platform_build(const ChatPlatform *platform, const ChatAccount *account,
								const char *text, Message *message, Mistake *error);

#endif							/* HOOKS_CHAT_PLATFORM_H */
