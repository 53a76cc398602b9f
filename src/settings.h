/*-------------------------------------------------------------------------
 *
 * settings.h
 *		The settings (hooks.*), defined in hooks.c and documented there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_SETTINGS_H
#define HOOKS_SETTINGS_H

#include "address.h"

typedef enum LogSkips
{
	LOG_SKIPS_NONE,
	LOG_SKIPS_COOLDOWN,
	LOG_SKIPS_ALL
} LogSkips;

/* How chat messages get to the platforms. */
typedef enum ChatWay
{
	CHAT_DIRECT,				/* by the platforms' APIs */
	CHAT_GATEWAY,				/* by a request to the application */
	CHAT_OUTBOX					/* by a table that the application drains */
} ChatWay;

extern bool hooks_enabled;
extern int	hooks_max_databases;
extern int	hooks_max_hook_stats;
extern int	hooks_idle_timeout; /* seconds */
extern int	hooks_max_in_flight;
extern int	hooks_max_in_flight_per_user;
extern int	hooks_max_in_flight_per_host;
extern bool hooks_breaker;
extern int	hooks_max_waiting_per_user;
extern int	hooks_replay_rate;	/* per second */
extern int	hooks_disable_after;	/* seconds, 0: never */
extern int	hooks_dead_retention;	/* minutes, 0: for ever */
extern int	hooks_max_event_age;	/* seconds, -1: any */
extern int	hooks_max_payload;	/* kilobytes */
extern int	hooks_max_hooks_per_user;	/* 0: any */
extern int	hooks_flood_rate;	/* events per second, 0: any */
extern int	hooks_flood_burst;	/* events */
extern int	hooks_timeout;		/* milliseconds */
extern int	hooks_connect_timeout;	/* milliseconds */
extern bool hooks_allow_http;
extern bool hooks_http2;
extern char *hooks_ca_file;
extern char *hooks_proxy;
extern char *hooks_discord_url;
extern char *hooks_smtp_url;	/* empty: none, as with those that follow */
extern char *hooks_smtp_from;
extern char *hooks_smtp_user;
extern char *hooks_smtp_password_file;
extern int	hooks_email_rate;	/* per user and hour, 0: any */
extern int	hooks_chat;			/* ChatWay */
extern char *hooks_chat_gateway_url;	/* empty: none, as with the next */
extern char *hooks_chat_gateway_secret_file;
extern char *hooks_secret_key_file; /* empty: secrets are kept as they are */
extern char *hooks_twitch_url;
extern char *hooks_kick_url;
extern char *hooks_youtube_url;
extern AddressRanges *hooks_allow_addresses;
extern AddressRanges *hooks_deny_addresses;
extern int	hooks_log_skips;
extern bool hooks_require_presence;
extern int	hooks_log_retention;	/* minutes, 0: for ever */
extern int	hooks_rotation_size;	/* kilobytes */
extern int	hooks_rotation_age; /* seconds */

/*
 * Raise the error that says how to load the library into the server, unless
 * it is loaded.  For functions that need the worker.
 */
extern void require_preloaded(void);

#endif							/* HOOKS_SETTINGS_H */
