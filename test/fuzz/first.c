/*-------------------------------------------------------------------------
 *
 * first.c
 *		Preloaded together with the sanitizer's runtime: the first malloc().
 *
 * With its first allocation the runtime sets itself up and calls gettext.  If
 * that allocation is gettext's, as in a library's constructor, a lock is taken
 * twice and the program hangs.  This constructor runs before all others.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

static void *volatile first;

__attribute__((constructor)) static void
allocate_first(void)
{
	first = malloc(1);
	free(first);
}
