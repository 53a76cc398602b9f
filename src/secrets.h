/*-------------------------------------------------------------------------
 *
 * secrets.h
 *		The secrets that a hook's settings name, {{secret.name}}, and what they
 *		are while a message is made.
 *
 * A hook names its user's secrets (hooks.set_secret()); their values are read
 * for each message, and are nowhere else: not in compiled hooks, previews,
 * errors or logs.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SECRETS_H
#define HOOKS_SECRETS_H

#include "mistake.h"
#include "text.h"

/* How many a hook may name. */
#define SECRETS_MAX 10

#define SECRET_MAX_NAME 64

/* What stands for one that is not to be seen. */
#define SECRET_MASK "********"

/* All zero is an empty list. */
typedef struct Secrets
{
	int			n;
	const char *names[SECRETS_MAX];
	const char *values[SECRETS_MAX];	/* NULL: not known */
} Secrets;

static inline bool
secret_is_name(Slice name)
{
	if (name.len < 1 || name.len > SECRET_MAX_NAME)
		return false;
	for (int i = 0; i < name.len; i++)
	{
		char		c = name.data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			  c == '_' || c == '.' || c == '-'))
			return false;
	}
	return true;
}

/* Where in the list is it?  -1 when it is not. */
static inline int
secrets_find(const Secrets *secrets, const char *name)
{
	for (int i = 0; i < secrets->n; i++)
	{
		if (strcmp(secrets->names[i], name) == 0)
			return i;
	}
	return -1;
}

/* Add a name, unless it is there. */
static inline bool
secrets_add(Secrets *secrets, const char *name, Mistake *error)
{
	if (secrets_find(secrets, name) >= 0)
		return true;
	if (secrets->n == SECRETS_MAX)
		return mistake(error, psprintf("action_config names more than %d secrets", SECRETS_MAX), NULL);
	secrets->names[secrets->n++] = name;
	return true;
}

/* Its value; the mask when there are no values, as in previews. */
static inline const char *
secrets_value(const Secrets *secrets, const char *name)
{
	int			i = secrets ? secrets_find(secrets, name) : -1;

	return i >= 0 && secrets->values[i] ? secrets->values[i] : SECRET_MASK;
}

#endif							/* HOOKS_SECRETS_H */
