/*-------------------------------------------------------------------------
 *
 * empty_trigger.c
 *		A trigger in C that does nothing: what any row trigger costs at least.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(empty_trigger);

Datum
empty_trigger(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(NULL);
}
