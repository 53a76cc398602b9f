/*-------------------------------------------------------------------------
 *
 * action.h
 *		What a hook does when it fires: from hook and event to a message, from
 *		an answer to an outcome.
 *
 * Each type of action is one row in a table (action.c) of functions that one
 * file, action_<type>.c, provides.  Actions know neither the schedule nor the
 * network nor any table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ACTION_H
#define HOOKS_ACTION_H

#include "event.h"
#include "message.h"
#include "mistake.h"
#include "pace.h"
#include "retry.h"
#include "secrets.h"
#include "sign.h"

/* The most destinations that one hook delivers an event to. */
#define ACTION_MAX_TARGETS 4

#define ACTION_TYPE_NAMES "webhook, discord_message, chat_message, email"

/* What an action may say about the delivery it makes a message for. */
typedef struct ActionDelivery
{
	Occasion	occasion;
	const char *id;				/* the same on every attempt */
	const char *target;			/* which of the hook's destinations; NULL: there is one */
	bool		to_account;		/* its message goes to an account of the user's … */
	const struct ChatAccount *account;	/* … which is known while the message is made */
	TimestampTz now;			/* of this attempt */
	bool		test;			/* it is to say that it is one */
	const char *edits;			/* the message that it changes; NULL: it posts one */
} ActionDelivery;

typedef enum OutcomeClass
{
	OUTCOME_SUCCESS,
	OUTCOME_RETRY,				/* a failure that another attempt may mend */
	OUTCOME_TERMINAL			/* one that it will not */
} OutcomeClass;

/* What an answer closes that says when to come again. */
typedef enum OutcomeCloses
{
	CLOSES_DESTINATION,
	CLOSES_GROUP,				/* all destinations of its group, as far as known */
	CLOSES_SERVICE				/* everything that goes to this service */
} OutcomeCloses;

typedef struct Outcome
{
	OutcomeClass class;
	bool		undelivered;	/* a failure of which nothing can have arrived */
	bool		host_failed;	/* … and which is the host's, not the hook's */
	bool		uncounted;		/* OUTCOME_RETRY, and this was no attempt */
	bool		blameless;		/* a failure that is not the hook's: it is not held against it */
	bool		stale;			/* the account's token is to be renewed before the next attempt */
	bool		disable;		/* the hook is never to be performed again */
	char	   *error;			/* for the log; NULL for success */
	char	   *note;			/* of a success: what the log is to say all the same; or NULL */
	int			status;			/* HTTP status or SMTP reply, 0 when there was none */
	int64		wait_ms;		/* when to come again, as the answer's body says; 0: it does not */
	OutcomeCloses closes;
	bool		invalid;		/* one of those for which the service bans senders */
	const char *arrived;		/* where, of a message to several platforms; NULL: not said */
	const char *group;			/* whose limits its destination shares; NULL: not said */
	const char *posted;			/* the message that was posted; NULL: not said */
	bool		gone;			/* the message to change is not there any more */
} Outcome;

/*
 * Settings of a hook's action, compiled, in the current memory context.  The
 * type's own struct begins with this one.
 */
typedef struct Action
{
	const struct ActionType *type;
	const char *host;			/* "example.com:443": where requests go */
	const char *destination;	/* what rate limits are for; NULL: the user's use of the host */
	const char *edits;			/* whose messages, of each user, are posted once a stream and
								 * changed since; NULL: each is a new one */
	bool		guarded;		/* guard.h knows when its service takes requests */
	bool		keep_cooldown;	/* even when nothing was delivered */
	bool		accounts;		/* each of its destinations is an account of the user's (account.h) */
	bool		strict;			/* one after another, retries included */
	int			concurrency;	/* requests under way at once; 0: no limit of its own */
	int			timeout_ms;		/* 0: the setting's */
	Allowance	allowance;		/* for all hooks of its destination together */
	RetryPolicy retry;
	Secrets		secrets;		/* of its user's that its settings name; no values */
} Action;

typedef struct ActionType
{
	const char *name;
	bool		sends_chat;		/* which the hook may then see as an event */
	RetryDefaults retry;

	/* Compile action_config; NULL with *error filled in when it is wrong. */
	Action	   *(*compile) (const Jsonb *config, Mistake *error);

	/* Make the message; false with *error filled in when it cannot be made. */
	bool		(*build) (const Action *action, const ActionDelivery *delivery,
						  Message *message, Mistake *error);

	/* Judge an answer; the hook may have changed meanwhile.  The outcome is zeroed. */
	void		(*judge) (const ActionDelivery *delivery, const Answer *answer,
						  const RetryPolicy *policy, Outcome *outcome);

	/*
	 * The destinations of a hook that has several, each a delivery of its own.
	 * "connected" says which ones its user has (chat_platform.h).  Returns how
	 * many; 0, with *error filled in, when there is none.  NULL: there is one,
	 * which has no name.
	 */
	int			(*targets) (const Action *action, uint32 connected,
							const char *targets[ACTION_MAX_TARGETS], Mistake *error);

	/* The host of one of them, "example.com:443". */
	const char *(*host) (const Action *action, const char *target);
} ActionType;

/* The type of that name, or NULL. */
extern const ActionType *action_type_find(const char *name);

/* Does an action of that type write chat messages?  False for unknown types. */
extern bool action_type_sends_chat(const char *name);

/* Compile the action of a hook; handles unknown types, NULL and what is common. */
extern Action *action_compile(const char *type, const Jsonb *config, Mistake *error);

extern Action *webhook_compile(const Jsonb *config, Mistake *error);
extern bool webhook_build(const Action *action, const ActionDelivery *delivery,
						  Message *message, Mistake *error);

extern Action *discord_compile(const Jsonb *config, Mistake *error);
extern bool discord_build(const Action *action, const ActionDelivery *delivery,
						  Message *message, Mistake *error);
extern void discord_judge(const ActionDelivery *delivery, const Answer *answer,
						  const RetryPolicy *policy, Outcome *outcome);

extern Action *email_compile(const Jsonb *config, Mistake *error);
extern bool email_build(const Action *action, const ActionDelivery *delivery,
						Message *message, Mistake *error);
extern void email_judge(const ActionDelivery *delivery, const Answer *answer,
						const RetryPolicy *policy, Outcome *outcome);

/* The destinations of a hook, and where they are; NULL names the only one. */
extern int	action_targets(const Action *action, uint32 connected,
						   const char *targets[ACTION_MAX_TARGETS], Mistake *error);
extern const char *action_host(const Action *action, const char *target);

extern Action *chat_compile(const Jsonb *config, Mistake *error);
extern bool chat_build(const Action *action, const ActionDelivery *delivery, Message *message,
					   Mistake *error);
extern void chat_judge(const ActionDelivery *delivery, const Answer *answer,
					   const RetryPolicy *policy, Outcome *outcome);
extern int	chat_targets(const Action *action, uint32 connected,
						 const char *targets[ACTION_MAX_TARGETS], Mistake *error);
extern const char *chat_host(const Action *action, const char *target);

/*
 * Add the headers that receivers verify: whose delivery this is, when it was
 * sent, and, unless "secrets" is NULL, that it is ours.  After the body, which
 * is signed.
 */
extern bool action_sign(const SignSecrets *secrets, const ActionDelivery *delivery,
						Message *message, Mistake *error);

/* Judge an answer as HTTP means it. */
extern void action_judge(const ActionDelivery *delivery, const Answer *answer,
						 const RetryPolicy *policy, Outcome *outcome);

/* A string setting; NULL when absent.  False, with *error filled in, when it is no string. */
extern bool action_string(const Jsonb *config, const char *key, const char *example,
						  char **value, Mistake *error);

#endif							/* HOOKS_ACTION_H */
