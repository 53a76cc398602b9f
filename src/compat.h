/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Every difference between the PostgreSQL versions that we build against
 *		(15 to 18), so that no other file names a version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_COMPAT_H
#define HOOKS_COMPAT_H

#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 150000
#error "hooks needs PostgreSQL 15 or later"
#endif

/* 16 has moved VARDATA and its like out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* A process by number: an index into the array of PGPROCs, never a pointer. */
#if PG_VERSION_NUM >= 170000
#define MY_PROC_NUMBER MyProcNumber
#define PROC_LATCH(n) (&GetPGProcByNumber(n)->procLatch)
#else
#define MY_PROC_NUMBER (MyProc->pgprocno)
#define PROC_LATCH(n) (&ProcGlobal->allProcs[n].procLatch)
#endif

/* What DROP DATABASE leaves behind when it is interrupted; minor releases have named it. */
#ifndef DATCONNLIMIT_INVALID_DB
#define DATCONNLIMIT_INVALID_DB (-2)
#endif

/* Memory for the "extra" of a setting: freed by the settings machinery. */
#if PG_VERSION_NUM >= 160000
#define GUC_EXTRA_ALLOC(size) guc_malloc(LOG, size)
#define GUC_EXTRA_FREE(p) guc_free(p)
#else
#define GUC_EXTRA_ALLOC(size) malloc(size)
#define GUC_EXTRA_FREE(p) free(p)
#endif

/* Ownership checks got a common name in 16. */
#if PG_VERSION_NUM >= 160000
#include "utils/acl.h"
#include "catalog/pg_extension.h"
#define OWNS_DATABASE(db, role) object_ownercheck(DatabaseRelationId, db, role)
#define OWNS_EXTENSION(extension, role) object_ownercheck(ExtensionRelationId, extension, role)
#else
#include "utils/acl.h"
#define OWNS_DATABASE(db, role) pg_database_ownercheck(db, role)
#define OWNS_EXTENSION(extension, role) pg_extension_ownercheck(extension, role)
#endif

/* 17 lets a resource owner look after a wait event set. */
#if PG_VERSION_NUM >= 170000
#define CREATE_WAIT_EVENT_SET(n) CreateWaitEventSet(NULL, n)
#else
#define CREATE_WAIT_EVENT_SET(n) CreateWaitEventSet(TopMemoryContext, n)
#endif

/* 17 lets wait events have names; "event" is where the caller keeps this one's number. */
#include "utils/wait_event.h"
static inline uint32
wait_event(uint32 *event, const char *name)
{
#if PG_VERSION_NUM >= 170000
	if (*event == 0)
		*event = WaitEventExtensionNew(name);
	return *event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

/* 17 lets the caller provide the JSON parser's state. */
#if PG_VERSION_NUM >= 170000
#define MAKE_JSON_LEXER(json, len) makeJsonLexContextCstringLen(NULL, json, len, PG_UTF8, false)
#else
#define MAKE_JSON_LEXER(json, len) makeJsonLexContextCstringLen(json, len, PG_UTF8, false)
#endif

/* 16 lets the date decoder say more about what is wrong. */
#if PG_VERSION_NUM >= 160000
#define DECODE_DATE_TIME(field, ftype, nf, dtype, tm, fsec, tz) \
	DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz, &(DateTimeErrorExtra) {0})
#else
#define DECODE_DATE_TIME(field, ftype, nf, dtype, tm, fsec, tz) \
	DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz)
#endif

/* New storage for a relation got another name in 16, reindexing an argument in 17. */
#if PG_VERSION_NUM >= 160000
#define RELATION_SET_NEW_STORAGE(rel) \
	RelationSetNewRelfilenumber(rel, (rel)->rd_rel->relpersistence)
#else
#define RELATION_SET_NEW_STORAGE(rel) \
	RelationSetNewRelfilenode(rel, (rel)->rd_rel->relpersistence)
#endif
#if PG_VERSION_NUM >= 170000
#define REINDEX_EMPTY_RELATION(table) \
	reindex_relation(NULL, table, REINDEX_REL_PROCESS_TOAST, &(ReindexParams) {0})
#else
#define REINDEX_EMPTY_RELATION(table) \
	reindex_relation(table, REINDEX_REL_PROCESS_TOAST, &(ReindexParams) {0})
#endif

/* 18 asks whether a primary key may be deferrable. */
#if PG_VERSION_NUM >= 180000
#define PRIMARY_KEY_INDEX(rel) RelationGetPrimaryKeyIndex(rel, false)
#else
#define PRIMARY_KEY_INDEX(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* 18 tells modules' names and versions to the server. */
#if PG_VERSION_NUM >= 180000
#define HOOKS_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "hooks", .version = "1.0")
#else
#define HOOKS_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif							/* HOOKS_COMPAT_H */
