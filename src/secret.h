/*-------------------------------------------------------------------------
 *
 * secret.h
 *		Secrets of users: hooks.secret.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SECRET_H
#define HOOKS_SECRET_H

#include "utils/uuid.h"

/*
 * The value of a user's secret, in the current memory context; NULL when there
 * is none.  The worker's; needs a transaction.
 */
extern char *secret_read(const pg_uuid_t *user, const char *name);

#endif							/* HOOKS_SECRET_H */
