/*-------------------------------------------------------------------------
 *
 * mail_server.c
 *		The mail server that the settings name, and how to log in there.
 *
 * The password is in a file, so that it is in no dump, no pg_settings and no
 * log; the worker alone reads it.  The file has to be as private as PostgreSQL
 * wants its own keys to be.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mail.h"
#include "mail_server.h"
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

static void
complain(const char *why)
{
	ereport(LOG,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not read password file \"%s\": %s", hooks_smtp_password_file, why),
			 errhint("It must belong to the database user or root, and have permissions u=rw (0600) or less if "
					 "owned by the database user, or u=rw,g=r (0640) or less if owned by root.")));
}

/* What PostgreSQL asks of the file of its private key. */
static bool
is_private(const struct stat *file)
{
	if (!S_ISREG(file->st_mode))
		return false;
	if (file->st_uid == geteuid())
		return (file->st_mode & (S_IRWXG | S_IRWXO)) == 0;
	return file->st_uid == 0 && (file->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) == 0;
}

/* One line, of at least a character. */
static bool
read_password(int fd)
{
	ssize_t		length = read(fd, password, sizeof(password));

	if (length < 0)
	{
		complain(strerror(errno));
		return false;
	}
	if (length > 0 && length <= MAX_PASSWORD && password[length - 1] == '\n')
		length--;
	if (length > 0 && length <= MAX_PASSWORD && password[length - 1] == '\r')
		length--;
	if (length == 0 || length > MAX_PASSWORD || memchr(password, '\0', length) != NULL ||
		memchr(password, '\n', length) != NULL)
	{
		complain("it does not hold one line with a password");
		return false;
	}
	password[length] = '\0';
	return true;
}

void
mail_server_load(void)
{
	struct stat file;
	int			fd;

	memset(password, 0, sizeof(password));
	password_known = false;
	if (*hooks_smtp_password_file == '\0')
		return;

	/* A pipe that nobody writes to must not stop us. */
	fd = open(hooks_smtp_password_file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &file) != 0)
		complain(strerror(errno));
	else if (!is_private(&file))
		complain("others may read or change it, or it is no file");
	else
		password_known = read_password(fd);
	if (fd >= 0)
		close(fd);
}

bool
mail_server_login(const char **user, const char **secret)
{
	*user = *hooks_smtp_user ? hooks_smtp_user : NULL;
	*secret = password_known ? password : "";
	return *user == NULL || *hooks_smtp_password_file == '\0' || password_known;
}
