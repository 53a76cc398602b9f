/*-------------------------------------------------------------------------
 *
 * certificate.h
 *		Why a server's certificate was refused.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CERTIFICATE_H
#define HOOKS_CERTIFICATE_H

/* What OpenSSL found; all zeros: nothing. */
typedef struct CertificateFault
{
	void	   *context;		/* of the connection that is watched */
	long		code;			/* X509_V_ERR_... */
	bool		of_authority;	/* not the server's own certificate */
	int			year;			/* until when it was, or from when it is, valid; 0: unknown */
	int			month;
	int			day;
} CertificateFault;

/* Is a library that calls itself so, "OpenSSL/3.0.15", the one that we use? */
extern bool certificate_can_watch(const char *tls_library);

/*
 * Record in *fault what is found wrong by connections of that context, an
 * SSL_CTX.  Changes nothing in what is accepted.  The fault's memory must
 * outlive the context; when it is used for another one, the old one's
 * findings are no longer recorded.
 */
extern bool certificate_watch(void *context, CertificateFault *fault);

/* Say what is wrong, if anything was found. */
extern bool certificate_explain(const CertificateFault *fault, char *reason, size_t size);

#endif							/* HOOKS_CERTIFICATE_H */
