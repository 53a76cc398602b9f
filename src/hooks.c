/*-------------------------------------------------------------------------
 *
 * hooks.c
 *		The module: its magic, its settings, and what is started when the
 *		library is loaded.
 *
 * In shared_preload_libraries the library reserves shared memory, registers
 * the launcher and watches commands that need a database to itself.  Loaded
 * into a single session (somebody calls a function on a server that does not
 * preload us) it only defines settings: events are queued, nothing is sent.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/guc.h"

#include "chat_gateway.h"
#include "compat.h"
#include "identity.h"
#include "launcher.h"
#include "leave.h"
#include "mail_server.h"
#include "settings.h"
#include "shared.h"
#include "transport.h"
#include "trigger.h"
#include "utility.h"

HOOKS_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

bool		hooks_enabled = true;
int			hooks_max_databases = 1000;
int			hooks_max_hook_stats = 10000;
int			hooks_idle_timeout = 60;
int			hooks_max_in_flight = 256;
int			hooks_max_in_flight_per_user = 8;
int			hooks_max_in_flight_per_host = 16;
bool		hooks_breaker = true;
int			hooks_max_waiting_per_user = 10000;
int			hooks_replay_rate = 20;
int			hooks_disable_after = 3 * 86400;
int			hooks_dead_retention = 7 * 24 * 60;
int			hooks_max_event_age = 600;
int			hooks_max_payload = 32;
int			hooks_max_hooks_per_user = 200;
int			hooks_flood_rate = 100;
int			hooks_flood_burst = 100000;
int			hooks_timeout = 10000;
int			hooks_connect_timeout = 5000;
bool		hooks_allow_http = false;
bool		hooks_http2 = false;
char	   *hooks_ca_file = NULL;
char	   *hooks_proxy = NULL;
char	   *hooks_discord_url = "";
char	   *hooks_smtp_url = "";
char	   *hooks_smtp_from = "";
char	   *hooks_smtp_user = "";
char	   *hooks_smtp_password_file = "";
int			hooks_email_rate = 60;
int			hooks_chat = CHAT_DIRECT;
char	   *hooks_chat_gateway_url = "";
char	   *hooks_chat_gateway_secret_file = "";
char	   *hooks_secret_key_file = "";
char	   *hooks_twitch_url = "";
char	   *hooks_kick_url = "";
char	   *hooks_youtube_url = "";
AddressRanges *hooks_allow_addresses = NULL;
AddressRanges *hooks_deny_addresses = NULL;
int			hooks_log_skips = LOG_SKIPS_ALL;
bool		hooks_require_presence = false;
int			hooks_log_retention = 30 * 24 * 60;
int			hooks_rotation_size = 32 * 1024;
int			hooks_rotation_age = 60;

static char *allow_addresses_string = NULL;
static char *deny_addresses_string = NULL;

static const struct config_enum_entry chat_options[] = {
	{"direct", CHAT_DIRECT, false},
	{"gateway", CHAT_GATEWAY, false},
	{"outbox", CHAT_OUTBOX, false},
	{NULL, 0, false}
};

static const struct config_enum_entry log_skips_options[] = {
	{"all", LOG_SKIPS_ALL, false},
	{"cooldown", LOG_SKIPS_COOLDOWN, false},
	{"none", LOG_SKIPS_NONE, false},
	{NULL, 0, false}
};

static bool
check_addresses(char **newval, void **extra, GucSource source)
{
	AddressRanges *ranges;
	char	   *bad = NULL;

	if (*newval == NULL || **newval == '\0')
		return true;

	ranges = address_ranges_parse(*newval, &bad);
	if (ranges == NULL)
	{
		GUC_check_errdetail("\"%s\" is not an IP address or a CIDR range.", bad ? bad : "");
		GUC_check_errhint("Write a list such as \"10.1.0.0/16, fd00::/8, 127.0.0.1\".");
		free(bad);
		return false;
	}

	*extra = GUC_EXTRA_ALLOC(address_ranges_size(ranges));
	if (*extra)
		memcpy(*extra, ranges, address_ranges_size(ranges));
	free(ranges);
	return *extra != NULL;
}

static void
assign_allow_addresses(const char *newval, void *extra)
{
	hooks_allow_addresses = extra;
}

static void
assign_deny_addresses(const char *newval, void *extra)
{
	hooks_deny_addresses = extra;
}

static bool
check_http2(bool *newval, void **extra, GucSource source)
{
	if (*newval && !transport_http2_usable())
	{
		GUC_check_errdetail("libcurl before 8.1 loses answers over HTTP/2; this server runs %s.",
							transport_library_version());
		return false;
	}
	return true;
}

/*
 * What the network may reach is settled by the configuration file or ALTER
 * SYSTEM only (PGC_SIGHUP): no session and no role setting can widen it.
 */
static void
define_settings(void)
{
	DefineCustomBoolVariable("hooks.enabled",
							 "Performs actions.",
							 "When off, events are queued and nothing is sent.",
							 &hooks_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.idle_timeout",
							"Time after which a worker without work leaves its database.",
							NULL,
							&hooks_idle_timeout, 60, 0, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.max_in_flight",
							"Number of requests that a worker may have under way at once.",
							NULL,
							&hooks_max_in_flight, 256, 1, 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.max_in_flight_per_user",
							"Number of requests under way at once for the hooks of one user.",
							NULL,
							&hooks_max_in_flight_per_user, 8, 1, 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.max_in_flight_per_host",
							"Number of requests under way at once to one host and port.",
							NULL,
							&hooks_max_in_flight_per_host, 16, 1, 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("hooks.breaker",
							 "Leaves hosts alone for a while that do not work.",
							 NULL,
							 &hooks_breaker, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.max_waiting_per_user",
							"Number of deliveries of a user that may wait outside of the queue.",
							"Beyond that they wait in the queue, and hold up the user's others.",
							&hooks_max_waiting_per_user, 10000, 0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.replay_rate",
							"Number of deliveries asked for again that are sent per second.",
							NULL,
							&hooks_replay_rate, 20, 1, 100000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.disable_after",
							"Time after which a hook is disabled of which no attempt succeeds.",
							"0 never disables hooks for that.",
							&hooks_disable_after, 3 * 86400, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.dead_retention",
							"Age at which deliveries that were given up are forgotten.",
							"0 keeps them for ever.",
							&hooks_dead_retention, 7 * 24 * 60, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.max_event_age",
							"Age beyond which an inserted event does not fire.",
							"Backfills and initial copies must not replay history. -1 sets no limit.",
							&hooks_max_event_age, 600, -1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.max_payload",
							"Size of an event's data beyond which it is refused with a log row.",
							NULL,
							&hooks_max_payload, 32, 1, 1024, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.max_hooks_per_user",
							"Number of hooks of a user beyond which no more can be added.",
							"0 sets no limit.",
							&hooks_max_hooks_per_user, 200, 0, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.flood_rate",
							"Number of events per second of one user beyond which they are dropped.",
							"0 sets no limit.",
							&hooks_flood_rate, 100, 0, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.flood_burst",
							"Number of events that one user may have at once.",
							NULL,
							&hooks_flood_burst, 100000, 1, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.timeout",
							"Time that a request may take in all.",
							NULL,
							&hooks_timeout, 10000, 1000, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.connect_timeout",
							"Time that connecting may take, looking up the host name included.",
							NULL,
							&hooks_connect_timeout, 5000, 100, 60000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("hooks.allow_http",
							 "Allows http URLs beside https.",
							 NULL,
							 &hooks_allow_http, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.allow_addresses",
							   "Addresses that may be connected to though they are not public.",
							   "A list of IP addresses and CIDR ranges.",
							   &allow_addresses_string, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_addresses, assign_allow_addresses, NULL);
	DefineCustomStringVariable("hooks.deny_addresses",
							   "Addresses that may not be connected to though they are public.",
							   "A list of IP addresses and CIDR ranges; wins over hooks.allow_addresses.",
							   &deny_addresses_string, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_addresses, assign_deny_addresses, NULL);
	DefineCustomStringVariable("hooks.ca_file",
							   "File of certificate authorities that servers are verified with.",
							   "Empty means the operating system's.",
							   &hooks_ca_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.proxy",
							   "Proxy that all requests go through.",
							   "Empty means none. The proxy then decides which addresses may be reached.",
							   &hooks_proxy, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.discord_url",
							   "Discord's API, where discord_message hooks send to.",
							   NULL,
							   &hooks_discord_url, "https://discord.com/api/v10", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.smtp_url",
							   "Mail server that email hooks send through.",
							   "smtp://host[:port] or smtps://host[:port]. Empty means that no e-mail is sent.",
							   &hooks_smtp_url, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   mail_server_check_url, NULL, NULL);
	DefineCustomStringVariable("hooks.smtp_from",
							   "Who e-mail is from.",
							   "An e-mail address, or a name and an address in angle brackets.",
							   &hooks_smtp_from, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   mail_server_check_from, NULL, NULL);
	DefineCustomStringVariable("hooks.smtp_user",
							   "User name for the mail server.",
							   "Empty means that nobody logs in.",
							   &hooks_smtp_user, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.smtp_password_file",
							   "File that holds the password for the mail server.",
							   NULL,
							   &hooks_smtp_password_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.email_rate",
							"Number of e-mails per hour for the hooks of one user.",
							"0 sets no limit.",
							&hooks_email_rate, 60, 0, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("hooks.chat",
							 "How chat messages get to the platforms.",
							 "direct: by the platforms' APIs; gateway: by requests to hooks.chat_gateway_url; "
							 "outbox: by the table hooks.chat_outbox, which the application drains.",
							 &hooks_chat, CHAT_DIRECT, chat_options, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.chat_gateway_url",
							   "The application's sender of chat messages.",
							   "Used when hooks.chat is gateway.",
							   &hooks_chat_gateway_url, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   chat_gateway_check_url, NULL, NULL);
	DefineCustomStringVariable("hooks.chat_gateway_secret_file",
							   "File that holds the secret that requests to hooks.chat_gateway_url are signed with.",
							   NULL,
							   &hooks_chat_gateway_secret_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.secret_key_file",
							   "File that holds the keys with which secrets of users are encrypted.",
							   "Without one, hooks.secret holds them as they are.",
							   &hooks_secret_key_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.twitch_url",
							   "Twitch's API, where chat_message hooks send to.",
							   NULL,
							   &hooks_twitch_url, "https://api.twitch.tv", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.kick_url",
							   "Kick's API, where chat_message hooks send to.",
							   NULL,
							   &hooks_kick_url, "https://api.kick.com", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("hooks.youtube_url",
							   "YouTube's API, where chat_message hooks send to.",
							   NULL,
							   &hooks_youtube_url, "https://www.googleapis.com", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomBoolVariable("hooks.http2",
							 "Speaks HTTP/2 to servers that offer it.",
							 NULL,
							 &hooks_http2, false, PGC_SIGHUP, 0, check_http2, NULL, NULL);
	DefineCustomEnumVariable("hooks.log_skips",
							 "Which skips of hooks are logged.",
							 "all: skipped_condition and skipped_cooldown; cooldown: skipped_cooldown; none.",
							 &hooks_log_skips, LOG_SKIPS_ALL, log_skips_options, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("hooks.require_presence",
							 "Serves only users who have joined.",
							 "Events of users for whom hooks.user_joined() was never called are not queued.",
							 &hooks_require_presence, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.log_retention",
							"Age at which rows of the log are deleted.",
							"0 keeps them for ever.",
							&hooks_log_retention, 30 * 24 * 60, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.rotation_size",
							"Size at which the current queue table is set aside to be emptied.",
							NULL,
							&hooks_rotation_size, 32 * 1024, 64, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.rotation_age",
							"Time after which the current queue table is set aside to be emptied.",
							NULL,
							&hooks_rotation_age, 60, 0, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_startup_settings(void)
{
	DefineCustomIntVariable("hooks.max_databases",
							"Number of databases that can have workers, one after another or at once.",
							NULL,
							&hooks_max_databases, 1000, 1, 100000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("hooks.max_hook_stats",
							"Number of hooks that are counted in hooks.hook_stats.",
							NULL,
							&hooks_max_hook_stats, 10000, 100, 10000000, PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

void
_PG_init(void)
{
	define_settings();
	trigger_install();

	if (process_shared_preload_libraries_in_progress)
	{
		define_startup_settings();
		identity_install();
		shared_reserve();
		launcher_register();
		leave_install();
		utility_install();
	}

	MarkGUCPrefixReserved("hooks");
}

void
require_preloaded(void)
{
	if (!shared_is_loaded())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("library \"hooks\" is not loaded by the server"),
				 errhint("Add \"hooks\" to shared_preload_libraries in postgresql.conf and restart the server.")));
}
