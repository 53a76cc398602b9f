/*-------------------------------------------------------------------------
 *
 * private_file.h
 *		Files of the administrator's that hold a secret: one line, and nobody
 *		else may read it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_PRIVATE_FILE_H
#define HOOKS_PRIVATE_FILE_H

/*
 * Read the line, without its end.  When that does not work, the server log
 * says why, and false is returned; "what" says what the file is for.
 */
extern bool private_file_read(const char *path, const char *what, char *line, size_t size);

#endif							/* HOOKS_PRIVATE_FILE_H */
