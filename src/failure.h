/*-------------------------------------------------------------------------
 *
 * failure.h
 *		Why a request got no answer, in words for the log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_FAILURE_H
#define HOOKS_FAILURE_H

#include "certificate.h"

/* What is known of it. */
typedef struct Failure
{
	int			result;			/* libcurl's CURLcode */
	const char *detail;			/* libcurl's words, perhaps empty */
	int			os_error;		/* errno of connecting, 0: none */
	double		seconds;		/* how long it took */
	const char *stage;			/* what it was about then: "while connecting" */
	bool		mail;			/* it was an e-mail */
	const CertificateFault *fault;
} Failure;

extern void failure_explain(const Failure *failure, char *reason, size_t size);

#endif							/* HOOKS_FAILURE_H */
