/*-------------------------------------------------------------------------
 *
 * sign.h
 *		Signatures by which a receiver knows that a webhook is its own:
 *		Standard Webhooks, version 1.
 *
 * A secret reads "whsec_" and a key in base64, or is the name of one of the
 * user's, {"secret": "name"}.  What is signed is the id, the
 * timestamp and the body of a request, with HMAC-SHA256.  A hook may have
 * several secrets, newest first, while the receiver changes from one to the
 * next: each makes a signature, and one that fits is enough.
 *
 * Secrets never stand in messages.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SIGN_H
#define HOOKS_SIGN_H

#include "utils/jsonb.h"

#include "mistake.h"
#include "secrets.h"

/* Compiled, in the current memory context. */
typedef struct SignSecrets SignSecrets;

/*
 * From a string or a list of strings; NULL with *error filled in when it is
 * something else.  Each may also name a secret, which is added to "references"
 * unless that is NULL.
 */
extern SignSecrets *sign_secrets_compile(const JsonbValue *value, Secrets *references, Mistake *error);

/*
 * The value of the header webhook-signature, palloc'd; NULL with *error filled
 * in when it could not be computed.  What needs a secret that is not known is
 * masked.
 */
extern char *sign_header(const SignSecrets *secrets, const Secrets *references, const char *id,
						 int64 unix_seconds, const char *body, size_t length, Mistake *error);

/* A new secret; NULL when the system has no random bytes.  Palloc'd. */
extern char *sign_secret_generate(void);

#endif							/* HOOKS_SIGN_H */
