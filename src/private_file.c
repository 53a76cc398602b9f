/*-------------------------------------------------------------------------
 *
 * private_file.c
 *		Files of the administrator's that hold a secret.  See private_file.h.
 *
 * A secret in a file is in no dump, no pg_settings and no log.  The file has
 * to be as private as PostgreSQL wants its own keys to be.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "private_file.h"

static bool
complain(const char *path, const char *what, const char *why)
{
	ereport(LOG,
			(errcode(ERRCODE_CONFIG_FILE_ERROR),
			 errmsg("could not read %s file \"%s\": %s", what, path, why),
			 errhint("It must belong to the database user or root, and have permissions u=rw (0600) or less if "
					 "owned by the database user, or u=rw,g=r (0640) or less if owned by root.")));
	return false;
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
read_line(int fd, const char *path, const char *what, char *line, size_t size)
{
	ssize_t		most = (ssize_t) size - 1;
	ssize_t		length = read(fd, line, size);

	if (length < 0)
		return complain(path, what, strerror(errno));
	if (length > 0 && length <= most && line[length - 1] == '\n')
		length--;
	if (length > 0 && length <= most && line[length - 1] == '\r')
		length--;
	if (length == 0 || length > most || memchr(line, '\0', length) != NULL ||
		memchr(line, '\n', length) != NULL)
		return complain(path, what, psprintf("it does not hold one line with a %s", what));
	line[length] = '\0';
	return true;
}

bool
private_file_read(const char *path, const char *what, char *line, size_t size)
{
	struct stat file;
	bool		read = false;

	/* A pipe that nobody writes to must not stop us. */
	int			fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &file) != 0)
		complain(path, what, strerror(errno));
	else if (!is_private(&file))
		complain(path, what, "others may read or change it, or it is no file");
	else
		read = read_line(fd, path, what, line, size);
	if (fd >= 0)
		close(fd);
	return read;
}
