/*-------------------------------------------------------------------------
 *
 * chat_gateway.h
 *		The application's own sender of chat messages, as the settings name it:
 *		its URL, and the secret that requests to it are signed with.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CHAT_GATEWAY_H
#define HOOKS_CHAT_GATEWAY_H

#include "utils/guc.h"

#include "sign.h"

/* The setting hooks.chat_gateway_url. */
extern bool chat_gateway_check_url(char **newval, void **extra, GucSource source);

/* What signs; NULL when there is none, of which the server log says why. */
extern const SignSecrets *chat_gateway_secrets(void);

/* The file of the secret may have changed. */
extern void chat_gateway_forget(void);

#endif							/* HOOKS_CHAT_GATEWAY_H */
