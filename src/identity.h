/*-------------------------------------------------------------------------
 *
 * identity.h
 *		Is this the database whose queue this is?
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_IDENTITY_H
#define HOOKS_IDENTITY_H

/* Note how the server was started; from _PG_init of a preloaded library. */
extern void identity_install(void);

/*
 * False for a copy of a live database (CREATE DATABASE … TEMPLATE, a base
 * backup or a storage clone of its cluster), which must not send what the
 * original sends, until hooks.adopt() says so.  A copy that holds neither events nor hooks
 * becomes a database of its own right away.  Needs a transaction.
 */
extern bool identity_confirmed(void);

/*
 * A hook is about to be written.  The first one of a database that was made
 * from a template without hooks makes it a database of its own.
 */
extern void identity_before_hook(void);

#endif							/* HOOKS_IDENTITY_H */
