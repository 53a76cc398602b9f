/*-------------------------------------------------------------------------
 *
 * address.c
 *		The addresses and names that nobody's URL may reach.
 *
 * The table denied_ranges says what is refused.  Of IPv6, only 2000::/3 is
 * open to begin with, so the rows outside of it merely give a reason.
 *
 * Some IPv6 addresses contain an IPv4 address that the packet goes to in the
 * end.  When an administrator opens one of those, by its IPv6 range or by the
 * IPv4 address inside, the IPv4 rules decide: "allow 64:ff9b::/96" opens the
 * public internet behind a NAT64 and not 64:ff9b::127.0.0.1, "allow
 * 127.0.0.0/8" opens ::ffff:127.0.0.1 too.
 *
 * This machine's own addresses are one static array that is replaced as a
 * whole by address_own_load().  One thread only, like everything here: libcurl
 * calls back on the thread that runs it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include "address.h"

typedef struct Range
{
	unsigned char family;		/* 4 or 6 */
	unsigned char bits;
	unsigned char bytes[16];
} Range;

struct AddressRanges
{
	int			count;
	Range		ranges[FLEXIBLE_ARRAY_MEMBER];
};

typedef struct DeniedRange
{
	Range		range;
	int			ipv4_at;		/* byte where IPv4 is embedded, or 0 */
	const char *reason;
} DeniedRange;

/*
 * The first row that fits counts.  sql/address.sql has a test for every row.
 * (RFC 8215's local NAT64 prefix is taken to be used as a /96 is.)
 */
static const DeniedRange denied_ranges[] = {
	{{4, 8, {0}}, 0, "address of this network"},
	{{4, 8, {10}}, 0, "private address"},
	{{4, 10, {100, 64}}, 0, "carrier-grade NAT address"},
	{{4, 8, {127}}, 0, "loopback address"},
	{{4, 16, {169, 254}}, 0, "link-local address"},
	{{4, 12, {172, 16}}, 0, "private address"},
	{{4, 24, {192, 0, 0}}, 0, "protocol assignment address"},
	{{4, 24, {192, 0, 2}}, 0, "documentation address"},
	{{4, 24, {192, 31, 196}}, 0, "AS112 address"},
	{{4, 24, {192, 52, 193}}, 0, "multicast tunnel address"},
	{{4, 24, {192, 88, 99}}, 0, "6to4 relay address"},
	{{4, 16, {192, 168}}, 0, "private address"},
	{{4, 24, {192, 175, 48}}, 0, "AS112 address"},
	{{4, 15, {198, 18}}, 0, "benchmarking address"},
	{{4, 24, {198, 51, 100}}, 0, "documentation address"},
	{{4, 24, {203, 0, 113}}, 0, "documentation address"},
	{{4, 4, {224}}, 0, "multicast address"},
	{{4, 4, {240}}, 0, "reserved address"},
	{{4, 32, {168, 63, 129, 16}}, 0, "cloud provider's internal address"},

	{{6, 128, {0}}, 0, "unspecified address"},
	{{6, 128, {[15] = 1}}, 0, "loopback address"},
	{{6, 96, {0}}, 12, "IPv4-compatible address"},
	{{6, 96, {[10] = 0xFF, [11] = 0xFF}}, 12, "IPv4-mapped address"},
	{{6, 96, {0x00, 0x64, 0xFF, 0x9B}}, 12, "NAT64 address"},
	{{6, 48, {0x00, 0x64, 0xFF, 0x9B, 0x00, 0x01}}, 12, "local NAT64 address"},
	{{6, 64, {0x01, 0x00}}, 0, "discard-only address"},
	{{6, 16, {0x5F, 0x00}}, 0, "segment routing address"},
	{{6, 7, {0xFC}}, 0, "private address"},
	{{6, 10, {0xFE, 0x80}}, 0, "link-local address"},
	{{6, 10, {0xFE, 0xC0}}, 0, "site-local address"},
	{{6, 8, {0xFF}}, 0, "multicast address"},
	{{6, 23, {0x20, 0x01, 0x00}}, 0, "protocol assignment address"},
	{{6, 32, {0x20, 0x01, 0x0D, 0xB8}}, 0, "documentation address"},
	{{6, 16, {0x20, 0x02}}, 2, "6to4 address"},
	{{6, 48, {0x26, 0x20, 0x00, 0x4F, 0x80, 0x00}}, 0, "AS112 address"},
	{{6, 20, {0x3F, 0xFF}}, 0, "documentation address"},
};

static const Range global_unicast = {6, 3, {0x20}};

/* Reasons that are not a range's. */
#define REASON_CLOSED "address closed by hooks.deny_addresses"
#define REASON_OWN "address of this machine"
#define REASON_NOT_GLOBAL "not a global address"
#define REASON_SCOPED "scoped address"
#define REASON_NOT_INTERNET "not an internet address"

/* This machine's own addresses. */
static Range *own_addresses = NULL;
static int	own_count = 0;

/*
 * Ranges
 */

static inline int
family_bits(int family)
{
	return family == 4 ? 32 : 128;
}

static bool
range_contains(const Range *range, int family, const unsigned char *ip)
{
	int			whole = range->bits / 8;
	int			rest = range->bits % 8;

	return range->family == family &&
		memcmp(range->bytes, ip, whole) == 0 &&
		(rest == 0 || (range->bytes[whole] ^ ip[whole]) >> (8 - rest) == 0);
}

static bool
ranges_contain(const AddressRanges *ranges, int family, const unsigned char *ip)
{
	if (ranges == NULL)
		return false;
	for (int i = 0; i < ranges->count; i++)
	{
		if (range_contains(&ranges->ranges[i], family, ip))
			return true;
	}
	return false;
}

/* Are all bits behind the prefix zero? */
static bool
range_is_tidy(const Range *range)
{
	for (int bit = range->bits; bit < family_bits(range->family); bit++)
	{
		if (range->bytes[bit / 8] & (0x80 >> bit % 8))
			return false;
	}
	return true;
}

/* 0 to "max" in plain digits, or -1. */
static int
parse_bits(const char *str, int max)
{
	int			bits = 0;

	if (strlen(str) < 1 || strlen(str) > 3 ||
		strspn(str, "0123456789") != strlen(str) ||
		(str[0] == '0' && str[1] != '\0'))
		return -1;
	for (; *str; str++)
		bits = bits * 10 + (*str - '0');
	return bits <= max ? bits : -1;
}

/*
 * One item of a list.  An address with bits behind its prefix, such as
 * 10.0.0.5/8, is refused: it is not clear which of the two was meant.
 */
static bool
parse_range(const char *item, int len, Range *range)
{
	char		str[INET6_ADDRSTRLEN + 4];
	char	   *slash;

	if (len >= (int) sizeof(str))
		return false;
	memcpy(str, item, len);
	str[len] = '\0';
	slash = strchr(str, '/');
	if (slash)
		*slash = '\0';

	memset(range, 0, sizeof(*range));
	if (inet_pton(AF_INET, str, range->bytes) == 1)
		range->family = 4;
	else if (inet_pton(AF_INET6, str, range->bytes) == 1)
		range->family = 6;
	else
		return false;

	range->bits = family_bits(range->family);
	if (slash)
	{
		int			bits = parse_bits(slash + 1, range->bits);

		if (bits < 0)
			return false;
		range->bits = bits;
	}
	return range_is_tidy(range);
}

size_t
address_ranges_size(const AddressRanges *ranges)
{
	return offsetof(AddressRanges, ranges) + ranges->count * sizeof(Range);
}

AddressRanges *
address_ranges_parse(const char *list, char **bad)
{
	static const char blanks[] = " \t\r\n\v\f";
	AddressRanges *ranges;
	int			items = 1;
	const char *item = list + strspn(list, blanks);

	for (const char *p = item; *p; p++)
		items += (*p == ',');

	*bad = NULL;
	ranges = malloc(offsetof(AddressRanges, ranges) + items * sizeof(Range));
	if (ranges == NULL)
		return NULL;
	ranges->count = 0;

	while (*item || ranges->count > 0)
	{
		size_t		extent = strcspn(item, ",");
		size_t		len = extent;

		while (len > 0 && strchr(blanks, item[len - 1]))
			len--;
		if (!parse_range(item, len, &ranges->ranges[ranges->count]))
		{
			free(ranges);
			*bad = malloc(len + 1);
			if (*bad)
			{
				memcpy(*bad, item, len);
				(*bad)[len] = '\0';
			}
			return NULL;
		}
		ranges->count++;

		if (item[extent] == '\0')
			break;
		item += extent + 1;
		item += strspn(item, blanks);
	}
	return ranges;
}

/*
 * Addresses
 */

void
address_own_load(void)
{
	struct ifaddrs *interfaces;
	Range	   *addresses;
	int			count = 0;

	if (getifaddrs(&interfaces) != 0)
		return;					/* what we knew is better than nothing */
	for (struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next)
		count++;
	addresses = malloc(Max(count, 1) * sizeof(Range));
	if (addresses == NULL)
	{
		freeifaddrs(interfaces);
		return;
	}

	count = 0;
	for (struct ifaddrs *i = interfaces; i != NULL; i = i->ifa_next)
	{
		Range	   *own = &addresses[count];

		if (i->ifa_addr == NULL)
			continue;
		if (i->ifa_addr->sa_family == AF_INET)
		{
			own->family = 4;
			memcpy(own->bytes, &((struct sockaddr_in *) i->ifa_addr)->sin_addr, 4);
		}
		else if (i->ifa_addr->sa_family == AF_INET6)
		{
			own->family = 6;
			memcpy(own->bytes, &((struct sockaddr_in6 *) i->ifa_addr)->sin6_addr, 16);
		}
		else
			continue;
		own->bits = family_bits(own->family);
		count++;
	}
	freeifaddrs(interfaces);

	free(own_addresses);
	own_addresses = addresses;
	own_count = count;
}

static bool
is_own(int family, const unsigned char *ip)
{
	for (int i = 0; i < own_count; i++)
	{
		if (range_contains(&own_addresses[i], family, ip))
			return true;
	}
	return false;
}

static const DeniedRange *
find_denied(int family, const unsigned char *ip)
{
	for (int i = 0; i < (int) lengthof(denied_ranges); i++)
	{
		if (range_contains(&denied_ranges[i].range, family, ip))
			return &denied_ranges[i];
	}
	return NULL;
}

static const char *
ipv4_refused(const unsigned char *ip, const AddressRanges *allow, const AddressRanges *deny)
{
	const DeniedRange *denied;

	if (ranges_contain(deny, 4, ip))
		return REASON_CLOSED;
	if (ranges_contain(allow, 4, ip))
		return NULL;
	denied = find_denied(4, ip);
	if (denied != NULL)
		return denied->reason;
	return is_own(4, ip) ? REASON_OWN : NULL;
}

/* Does the interface id say that the rest is an IPv4 address to tunnel to? */
static bool
is_isatap(const unsigned char *ip)
{
	return (ip[8] & ~0x02) == 0 && ip[9] == 0 && ip[10] == 0x5E && ip[11] == 0xFE;
}

static const char *
ipv6_refused(const unsigned char *ip, const AddressRanges *allow, const AddressRanges *deny)
{
	const DeniedRange *denied = find_denied(6, ip);
	const unsigned char *ipv4 = NULL;	/* embedded */
	bool		allowed = ranges_contain(allow, 6, ip);

	if (denied != NULL && denied->ipv4_at > 0)
	{
		ipv4 = ip + denied->ipv4_at;
		allowed = allowed || ranges_contain(allow, 4, ipv4);
	}
	else if (is_isatap(ip))
		ipv4 = ip + 12;

	if (ranges_contain(deny, 6, ip))
		return REASON_CLOSED;
	if (!allowed)
	{
		if (denied != NULL)
			return denied->reason;
		if (!range_contains(&global_unicast, 6, ip))
			return REASON_NOT_GLOBAL;
		if (is_own(6, ip))
			return REASON_OWN;
	}
	return ipv4 ? ipv4_refused(ipv4, allow, deny) : NULL;
}

const char *
address_refused(const struct sockaddr *address, const AddressRanges *allow,
				const AddressRanges *deny)
{
	if (address->sa_family == AF_INET)
	{
		struct sockaddr_in in;

		memcpy(&in, address, sizeof(in));
		return ipv4_refused((unsigned char *) &in.sin_addr, allow, deny);
	}
	if (address->sa_family == AF_INET6)
	{
		struct sockaddr_in6 in6;

		memcpy(&in6, address, sizeof(in6));
		if (in6.sin6_scope_id != 0)
			return REASON_SCOPED;
		return ipv6_refused((unsigned char *) &in6.sin6_addr, allow, deny);
	}
	return REASON_NOT_INTERNET;
}

/*
 * Names
 */

bool
address_ipv4(const char *text, struct in_addr *address)
{
	return text[strspn(text, "0123456789abcdefx.")] == '\0' && inet_aton(text, address) != 0;
}

/* An IPv6 address, with or without a zone ("fe80::1%eth0"). */
static bool
is_ipv6_literal(const char *str, size_t len)
{
	char		address[INET6_ADDRSTRLEN];
	struct in6_addr in6;
	const char *zone = memchr(str, '%', len);

	if (zone != NULL)
		len = zone - str;
	if (len >= sizeof(address))
		return false;
	memcpy(address, str, len);
	address[len] = '\0';
	return inet_pton(AF_INET6, address, &in6) == 1;
}

static bool
ends_in(const char *name, const char *suffix)
{
	size_t		len = strlen(name);

	return len >= strlen(suffix) && strcmp(name + len - strlen(suffix), suffix) == 0;
}

/*
 * Labels of letters, digits, hyphens and underscores, none empty.  Bytes
 * beyond ASCII pass: whoever looks the name up makes ASCII of them, and what
 * the answer is connected to is judged then.
 */
static bool
is_well_formed(const char *name)
{
	bool		empty = true;

	for (const unsigned char *p = (const unsigned char *) name; *p; p++)
	{
		if (*p == '.')
		{
			if (empty)
				return false;
			empty = true;
		}
		else if ((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') ||
				 *p == '-' || *p == '_' || *p >= 0x80)
			empty = false;
		else
			return false;
	}
	return !empty;
}

/*
 * Is the last label a number, decimal or hexadecimal?  No name in the DNS ends
 * like that, but resolvers may take it for a way to write an address.
 */
static bool
ends_in_number(const char *name)
{
	const char *dot = strrchr(name, '.');
	const char *label = dot ? dot + 1 : name;

	if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
		return label[2 + strspn(label + 2, "0123456789abcdefABCDEF")] == '\0';
	return *label != '\0' && label[strspn(label, "0123456789")] == '\0';
}

const char *
address_name_refused(const char *host)
{
	static const struct
	{
		const char *suffix;
		const char *reason;
	}			local_names[] = {
		{".localhost", "name of this machine"},
		{".local", "name in the local network"},
		{".internal", "name in a private network"},
		{".onion", "name in the Tor network"},
	};
	char		name[256];
	size_t		len = strlen(host);
	struct in_addr in;

	if (len >= 2 && host[0] == '[' && host[len - 1] == ']')
		return is_ipv6_literal(host + 1, len - 2) ? NULL : "malformed host name";
	if (is_ipv6_literal(host, len))
		return NULL;
	if (len >= sizeof(name))
		return "host name too long";

	for (size_t i = 0; i <= len; i++)
		name[i] = host[i] >= 'A' && host[i] <= 'Z' ? host[i] + ('a' - 'A') : host[i];
	if (len > 0 && name[len - 1] == '.')
		name[len - 1] = '\0';

	if (address_ipv4(name, &in))
		return NULL;
	if (!is_well_formed(name))
		return "malformed host name";
	if (ends_in_number(name))
		return "number for a host name";
	if (strcmp(name, "localhost") == 0)
		return "name of this machine";
	if (strchr(name, '.') == NULL)
		return "host name without a domain";
	for (int i = 0; i < (int) lengthof(local_names); i++)
	{
		if (ends_in(name, local_names[i].suffix))
			return local_names[i].reason;
	}
	return NULL;
}
