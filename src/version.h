/*-------------------------------------------------------------------------
 *
 * version.h
 *		Does the SQL that is installed in this database fit the library?
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_VERSION_H
#define HOOKS_VERSION_H

/*
 * The version of the library: that of the SQL it belongs to, which is
 * default_version in hooks.control and the end of the last update script.
 */
#define HOOKS_VERSION "1.1"

typedef enum VersionFit
{
	VERSION_MISSING,			/* the extension is not installed */
	VERSION_FITS,
	VERSION_SQL_IS_OLDER,		/* than the library */
	VERSION_SQL_IS_NEWER
} VersionFit;

/*
 * How the two go together.  The answer holds until the end of the current
 * transaction; whoever changes it is waited for.
 */
extern VersionFit version_look(void);

/* Say in the server log why nothing is sent for this database. */
extern void version_complain(void);

/*
 * Raise an error if the SQL is newer: it may want what the library does not
 * know.  Waits for nobody.
 */
extern void version_require(void);

#endif							/* HOOKS_VERSION_H */
