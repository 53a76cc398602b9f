/*-------------------------------------------------------------------------
 *
 * certificate.c
 *		Why a server's certificate was refused, with the date if it is one
 *		that matters.
 *
 * libcurl has OpenSSL verify certificates, and passes on only the name of
 * what is wrong.  So we listen when OpenSSL decides, and only listen: its
 * verdict is returned as it was.
 *
 * This runs inside libcurl: it records, and does nothing of PostgreSQL's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "certificate.h"

bool
certificate_can_watch(const char *tls_library)
{
	static const char prefix[] = "OpenSSL/";
	const char *ours = OpenSSL_version(OPENSSL_VERSION);	/* "OpenSSL 3.0.15 3 Sep 2024" */
	size_t		length;

	if (tls_library == NULL || strncmp(tls_library, prefix, strlen(prefix)) != 0)
		return false;
	tls_library += strlen(prefix);
	length = strlen(tls_library);
	return strncmp(ours, "OpenSSL ", 8) == 0 &&
		strncmp(ours + 8, tls_library, length) == 0 &&
		(ours[8 + length] == ' ' || ours[8 + length] == '\0');
}

/* Where an SSL_CTX keeps its CertificateFault, or -1. */
static int
fault_index(void)
{
	static int	index = -1;

	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index;
}

static void
record_date(CertificateFault *fault, const ASN1_TIME *date)
{
	struct tm	tm;

	if (date == NULL || ASN1_TIME_to_tm(date, &tm) != 1)
		return;
	fault->year = tm.tm_year + 1900;
	fault->month = tm.tm_mon + 1;
	fault->day = tm.tm_mday;
}

static void
record_fault(CertificateFault *fault, X509_STORE_CTX *verification)
{
	X509	   *certificate = X509_STORE_CTX_get_current_cert(verification);

	fault->code = X509_STORE_CTX_get_error(verification);
	fault->of_authority = X509_STORE_CTX_get_error_depth(verification) > 0;
	fault->year = 0;
	if (certificate == NULL)
		return;
	if (fault->code == X509_V_ERR_CERT_HAS_EXPIRED)
		record_date(fault, X509_get0_notAfter(certificate));
	else if (fault->code == X509_V_ERR_CERT_NOT_YET_VALID)
		record_date(fault, X509_get0_notBefore(certificate));
}

static int
on_verify(int verdict, X509_STORE_CTX *verification)
{
	SSL		   *ssl = X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx());
	SSL_CTX    *context = ssl ? SSL_get_SSL_CTX(ssl) : NULL;
	CertificateFault *fault = context ? SSL_CTX_get_ex_data(context, fault_index()) : NULL;

	if (verdict != 1 && fault != NULL && fault->context == context)
		record_fault(fault, verification);
	return verdict;
}

bool
certificate_watch(void *context, CertificateFault *fault)
{
	SSL_CTX    *ctx = context;

	if (fault_index() < 0 || SSL_CTX_set_ex_data(ctx, fault_index(), fault) != 1)
		return false;
	*fault = (CertificateFault)
	{
		.context = context
	};
	SSL_CTX_set_verify(ctx, SSL_CTX_get_verify_mode(ctx), on_verify);
	return true;
}

bool
certificate_explain(const CertificateFault *fault, char *reason, size_t size)
{
	const char *whose = fault->of_authority ? "certificate of the server's authority" : "certificate";
	char		date[32] = "";

	if (fault->year != 0)
		snprintf(date, sizeof(date), "%04d-%02d-%02d", fault->year, fault->month, fault->day);
	switch (fault->code)
	{
		case X509_V_OK:
			return false;
		case X509_V_ERR_CERT_HAS_EXPIRED:
			snprintf(reason, size, "%s expired%s%s", whose, date[0] ? " on " : "", date);
			break;
		case X509_V_ERR_CERT_NOT_YET_VALID:
			snprintf(reason, size, "%s not valid %s%s", whose, date[0] ? "before " : "yet", date);
			break;
		case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
			snprintf(reason, size, "certificate is self-signed");
			break;
		case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
		case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
		case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
			snprintf(reason, size, "certificate is signed by an unknown authority");
			break;
		default:
			snprintf(reason, size, "certificate not valid: %s",
					 X509_verify_cert_error_string(fault->code));
			break;
	}
	return true;
}
