/*-------------------------------------------------------------------------
 *
 * mail_server.h
 *		The mail server that the settings name, and how to log in there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_MAIL_SERVER_H
#define HOOKS_MAIL_SERVER_H

#include "utils/guc.h"

/* Check hooks of hooks.smtp_url and hooks.smtp_from. */
extern bool mail_server_check_url(char **newval, void **extra, GucSource source);
extern bool mail_server_check_from(char **newval, void **extra, GucSource source);

/*
 * Read the password, at the start and when settings have changed.  What is
 * wrong with its file is said in the server log.
 */
extern void mail_server_load(void);

/* Is it to be logged in, and with what?  False when the password is not known. */
extern bool mail_server_login(const char **user, const char **password);

#endif							/* HOOKS_MAIL_SERVER_H */
