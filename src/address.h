/*-------------------------------------------------------------------------
 *
 * address.h
 *		Which addresses and host names may be connected to.
 *
 * The decision is made on the binary address that is about to be connected
 * to, never on a URL, so that every spelling and every DNS answer ends here.
 * One table of denied ranges, in address.c.  Pure but for address_own_load(),
 * which asks the kernel for this machine's own addresses.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ADDRESS_H
#define HOOKS_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

/* A list of address ranges, as hooks.allow_addresses and hooks.deny_addresses write it. */
typedef struct AddressRanges AddressRanges;

/*
 * Parse a comma-separated list of IPv4 and IPv6 addresses and CIDR ranges
 * ("10.1.0.0/16, fd00::/8, 127.0.0.1").  One malloc'd chunk without pointers
 * (it becomes the "extra" of a setting), or NULL with *bad pointing at a
 * malloc'd copy of the first malformed item, or at NULL when memory ran out.
 */
extern AddressRanges *address_ranges_parse(const char *list, char **bad);

/* Bytes of the chunk. */
extern size_t address_ranges_size(const AddressRanges *ranges);

/*
 * May this address be connected to?  Returns NULL when it may, else a static
 * text that says why not ("loopback address").  "allow" opens ranges that the
 * table denies, "deny" closes more and wins; either may be NULL.  Safe to
 * call from libcurl's callbacks: never raises an error, never allocates.
 */
extern const char *address_refused(const struct sockaddr *address,
								   const AddressRanges *allow,
								   const AddressRanges *deny);

/*
 * Remember this machine's own interface addresses, which are refused on any
 * port unless "allow" names them.  Call now and then: interfaces come and go.
 */
extern void address_own_load(void);

/* Read an IPv4 address in any spelling that inet_aton() knows: 127.1, 0x7f.1, 2130706433. */
extern bool address_ipv4(const char *text, struct in_addr *address);

/*
 * May this host name be looked up at all?  Returns NULL or why not.  Names
 * that only mean something inside a network (localhost, *.local, *.internal,
 * *.onion, single labels), and those that end in a number, are refused before
 * DNS is asked; an IP address in any spelling is not a name and passes here.
 */
extern const char *address_name_refused(const char *host);

#endif							/* HOOKS_ADDRESS_H */
