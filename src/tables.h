/*-------------------------------------------------------------------------
 *
 * tables.h
 *		Which tables are ours, and acting on them as their owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_TABLES_H
#define HOOKS_TABLES_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

/*
 * The table that plays the part of stream_hooks, or of stream_hook_logs, in
 * this database; InvalidOid when there is none.  Needs a transaction.
 */
extern Oid	tables_hooks(void);
extern Oid	tables_logs(void);

/* All tables of the application that have triggers of ours, partitions too, by their OIDs. */
extern List *tables_with_our_triggers(void);

/* A relation of our own schema by name; InvalidOid when the extension is not there. */
extern Oid	tables_machinery(const char *name);

/*
 * Act as the owner of a table, with triggers and policies unable to do more
 * than that, until tables_act_done().  Errors restore the user by themselves
 * at transaction or subtransaction abort.
 */
typedef struct TablesUser
{
	Oid			user;
	int			sec_context;
} TablesUser;

extern void tables_act_as_owner(Oid relation, TablesUser *saved);
extern void tables_act_done(const TablesUser *saved);

/* The user of a hook; false when the caller sees no such hook.  Needs SPI. */
extern bool tables_visible_user(const pg_uuid_t *hook, pg_uuid_t *user);

/*
 * Raise an error if the table's policies apply even to its owner, as whom we
 * read it: rows would be missing without a word.
 */
extern void tables_refuse_hidden_rows(Oid relation);

/*
 * Call a function in a subtransaction of its own.  Returns NULL when it went
 * well, else the error, with everything the function did undone.
 */
extern ErrorData *tables_try(void (*function) (void *arg), void *arg);

/*
 * Call a function that looks something up, in a transaction of its own; what
 * it allocates is in the caller's memory context.  False when somebody has a
 * table locked, or has dropped them all.  The worker's.
 */
extern bool tables_read(void (*look) (void *arg), void *arg);

/* Quoted "schema"."name" of a relation, palloc'd; NULL when it is gone. */
extern char *tables_name(Oid relation);

/*
 * An expression over the timestamp column that yields timestamptz, and the
 * reverse: columns without time zone hold UTC.
 */
extern char *tables_time_as_timestamptz(Oid relation, const char *column);
extern char *tables_timestamptz_as_time(Oid relation, const char *column, const char *value);

#endif							/* HOOKS_TABLES_H */
