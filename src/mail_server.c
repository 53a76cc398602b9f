/*-------------------------------------------------------------------------
 *
 * mail_server.c
 *		The mail server that the settings name, and how to log in there.
 *
 * The password is in a file (private_file.h), which the worker alone reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mail.h"
#include "mail_server.h"
#include "private_file.h"
#include "settings.h"
#include "url.h"

#define MAX_PASSWORD 1024

static char password[MAX_PASSWORD + 1];
static bool password_known = false;

bool
mail_server_check_url(char **newval, void **extra, GucSource source)
{
	UrlParts	parts;
	Mistake		error;

	if (**newval == '\0' || url_check_mail_server(*newval, &parts, &error))
		return true;
	GUC_check_errdetail("The %s.", error.message);
	if (error.hint)
		GUC_check_errhint("%s", error.hint);
	return false;
}

bool
mail_server_check_from(char **newval, void **extra, GucSource source)
{
	Mailbox		mailbox;
	Mistake		error;

	if (**newval == '\0' ||
		mailbox_parse(slice(*newval, strlen(*newval)), "sender", &mailbox, &error))
		return true;
	GUC_check_errdetail("The %s.", error.message);
	if (error.hint)
		GUC_check_errhint("%s", error.hint);
	return false;
}

void
mail_server_load(void)
{
	memset(password, 0, sizeof(password));
	password_known = *hooks_smtp_password_file != '\0' &&
		private_file_read(hooks_smtp_password_file, "password", password, sizeof(password));
}

bool
mail_server_login(const char **user, const char **secret)
{
	*user = *hooks_smtp_user ? hooks_smtp_user : NULL;
	*secret = password_known ? password : "";
	return *user == NULL || *hooks_smtp_password_file == '\0' || password_known;
}
