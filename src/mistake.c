/*-------------------------------------------------------------------------
 *
 * mistake.c
 *		See mistake.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mistake.h"

bool
mistake(Mistake *m, char *message, char *hint)
{
	m->message = message;
	m->hint = hint;
	return false;
}
