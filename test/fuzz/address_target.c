/*-------------------------------------------------------------------------
 *
 * address_target.c
 *		Addresses: a list of ranges, a newline, a host name or URL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "fuzz.h"

#include "address.h"
#include "url.h"

/* What is refused may be allowed; what is denied is denied whatever is allowed. */
static void
look_at(const struct sockaddr *address, const AddressRanges *ranges)
{
	FUZZ_CHECK(address_refused(address, NULL, ranges) != NULL ||
			   address_refused(address, NULL, NULL) == NULL);
	FUZZ_CHECK((address_refused(address, ranges, ranges) == NULL) <=
			   (address_refused(address, ranges, NULL) == NULL));
	FUZZ_CHECK((address_refused(address, NULL, NULL) == NULL) <=
			   (address_refused(address, ranges, NULL) == NULL));
}

void
fuzz_address(Slice input)
{
	Slice		list;
	Slice		name;
	char	   *host;
	char	   *bad = NULL;
	AddressRanges *ranges;
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	UrlParts	parts;
	Mistake		error = {0};

	if (!fuzz_split(input, false, &list, &name) || !fuzz_is_text(list) || !fuzz_is_text(name))
		return;
	host = fuzz_pnstrdup(name.data, name.len);

	(void) address_name_refused(host);
	if (url_check(host, &parts, &error))
	{
		FUZZ_CHECK(url_host(host) != NULL);
		FUZZ_CHECK(url_path_offset(host) > 0 && url_path_offset(host) <= name.len);
		FUZZ_CHECK(parts.port > 0 && parts.port < 65536);
	}
	else
		fuzz_check_mistake(&error);

	ranges = address_ranges_parse(fuzz_pnstrdup(list.data, list.len), &bad);
	if (ranges == NULL)
	{
		FUZZ_CHECK(bad != NULL);
		free(bad);
		return;
	}
	FUZZ_CHECK(address_ranges_size(ranges) > 0);
	memcpy(&v4.sin_addr, name.data, Min(name.len, 4));
	memcpy(&v6.sin6_addr, name.data, Min(name.len, 16));
	look_at((struct sockaddr *) &v4, ranges);
	look_at((struct sockaddr *) &v6, ranges);
	if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
		look_at((struct sockaddr *) &v4, ranges);
	if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
		look_at((struct sockaddr *) &v6, ranges);
	free(ranges);
}
