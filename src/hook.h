/*-------------------------------------------------------------------------
 *
 * hook.h
 *		Hooks as the worker knows them: rows of stream_hooks, compiled.
 *
 * The hooks of a user are loaded when one of the user's events comes up, and
 * again when hooks have changed since.  A Hook stays the same struct while
 * its row changes, so that deliveries may point at it and its cooldown
 * survives edits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_HOOK_H
#define HOOKS_HOOK_H

#include "lib/ilist.h"

#include "account.h"
#include "action.h"
#include "condition.h"
#include "cooldown.h"
#include "event.h"
#include "health.h"
#include "schedule.h"

typedef struct Hook
{
	pg_uuid_t	id;
	pg_uuid_t	user_id;
	char	   *name;
	const char *action_name;	/* as written in the row */
	TriggerType type;
	bool		enabled;		/* as of the last load; a deleted hook is not */
	bool		listed;			/* among its user's hooks */
	int			cooldown_seconds;
	Condition  *condition;
	Action	   *action;
	char	   *mistake;		/* why it cannot be performed, or NULL */
	MemoryContext context;		/* of what was compiled */
	bool		paused;			/* … or its user */
	dlist_head	deliveries;		/* open ones */
	ScheduleLane lane;
	HookHealth	health;

	/* Cooldown: when it was last admitted, and what the row says. */
	TimestampTz last_admitted;
	TimestampTz stored;			/* as read from or written to the row */
	TimestampTz written_at;		/* … when */
	bool		dirty;			/* last_admitted is to be written */
	dlist_node	dirty_link;
} Hook;

typedef struct UserHooks
{
	pg_uuid_t	user_id;		/* key */
	uint64		version;		/* of all hooks, when these were loaded */
	TimestampTz used_at;
	uint32		connected;		/* where the user has accounts: bit i for target_names[i] */
	AccountIds *accounts;		/* who it is there, one for each of target_names; NULL: nowhere */
	bool		presence_known; /* whether they have joined was asked … */
	bool		joined;			/* … and they have */
	int			nhooks;
	Hook	  **hooks;			/* oldest first */
	char		status;			/* for simplehash */
} UserHooks;

/*
 * To be called for every relcache invalidation: when it tells of a change,
 * loaded hooks are out of date.
 */
extern void hooks_invalidate(Oid relation);

/* The user's hooks as they were loaded last, or NULL. */
extern UserHooks *hooks_of(const pg_uuid_t *user_id);

/* One of them, by its id, or NULL. */
extern Hook *hook_find(const pg_uuid_t *user_id, const pg_uuid_t *hook_id);

/* Have the user's hooks been loaded, and not changed since? */
extern bool hooks_are_current(const pg_uuid_t *user_id);

/* Is the user served?  Everybody is, but with hooks.require_presence those who have not joined. */
extern bool hooks_user_is_served(const UserHooks *user);

/* Load the hooks of these users, all different; sorts them.  Needs a transaction. */
extern void hooks_load(pg_uuid_t *users, int nusers);

/*
 * Take the hook's cooldown at "now" if it is not cooling down.  For a hook
 * without cooldown it only notes when it fired.
 */
extern bool hook_admit(Hook *hook, TimestampTz now);

/* Is the cooldown that was taken at "taken" the last one? */
extern bool hook_has_taken(const Hook *hook, TimestampTz taken);

/* If last_triggered_at is to be written, have it done with the next results. */
extern void hook_write_soon(Hook *hook);

/* Give the cooldown taken at "taken" back, unless a later one was taken since. */
extern void hook_give_back(Hook *hook, TimestampTz taken, TimestampTz before);

/*
 * Write last_triggered_at of hooks for which it is due, as the table's owner.
 * "Carefully", at some cost, rows that somebody else has locked wait for the
 * next time, and a row that the table refuses costs no other one.  Before a hook's row is written, about_to_write() is called for
 * it.  Needs a transaction; hooks_written() is to be called after its commit.
 */
extern bool hooks_to_write(TimestampTz now, bool all);
extern void hooks_write(TimestampTz now, bool all, bool carefully,
						void (*about_to_write) (Hook *hook));
extern void hooks_written(TimestampTz now);

/* All hooks of the user are paused. */
extern void hooks_pause_all(const pg_uuid_t *user_id);

/* Disable the hook in its table, as the table's owner.  Needs a transaction. */
extern void hook_write_disabled(Hook *hook);

/* The clock was set back: no hook was admitted later than now. */
extern void hooks_set_back(TimestampTz from, TimestampTz now);

/* The same for the table, as its owner.  Needs a transaction. */
extern void hooks_set_stored_back(TimestampTz from, TimestampTz now);

/* Has a hook been found to be gone since this was asked last? */
extern bool hooks_take_gone(void);

/* A delivery of the hook is done, and off its list. */
extern void hook_release(Hook *hook);

/* Forget users who had no events for a while. */
extern void hooks_forget_unused(TimestampTz now);

#endif							/* HOOKS_HOOK_H */
