/*-------------------------------------------------------------------------
 *
 * presence.h
 *		Who has joined: with hooks.require_presence, only they are served.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_PRESENCE_H
#define HOOKS_PRESENCE_H

#include "utils/uuid.h"

/*
 * Tell of all of these users, a uuid[], who have ever joined
 * (hooks.user_joined).  False when it cannot be told now, because somebody has
 * the table locked or the extension's SQL is older than the table.  To be
 * called in a transaction, within SPI; an error is possible, as from any query.
 */
extern bool presence_list(Datum users, void (*joined) (const pg_uuid_t *user, void *arg), void *arg);

#endif							/* HOOKS_PRESENCE_H */
