/*-------------------------------------------------------------------------
 *
 * event.h
 *		What happened: one stream event, as every later stage sees it.
 *
 * An Event is read-only once made.  The strings and the jsonb it points to
 * belong to whoever made it and live as long as it does.  Nothing here knows
 * where events come from (a queue table, a jsonb argument, a fuzzer).
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_EVENT_H
#define HOOKS_EVENT_H

#include "pgtime.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* What a hook can wait for, in the order the documentation lists them. */
typedef enum TriggerType
{
	TRIGGER_DONATION,
	TRIGGER_FOLLOW,
	TRIGGER_RAID,
	TRIGGER_SUBSCRIPTION,
	TRIGGER_STREAM_START,
	TRIGGER_STREAM_END,
	TRIGGER_CHAT_MESSAGE
} TriggerType;

#define TRIGGER_TYPES 7
#define TRIGGER_TYPE_UNKNOWN (-1)

/* All names in one string, for error messages. */
#define TRIGGER_TYPE_NAMES \
	"donation, follow, raid, subscription, stream_start, stream_end, chat_message"

typedef struct Event
{
	pg_uuid_t	id;
	pg_uuid_t	user_id;		/* the streamer whose hooks may fire */
	TriggerType type;			/* TRIGGER_TYPE_UNKNOWN for hooks.render() only */
	TimestampTz time;			/* when it happened, as the application says */
	const char *platform;		/* NULL when there is none */
	JsonbContainer *data;		/* NULL counts as {} */
} Event;

/* An event as one hook meets it. */
typedef struct Occasion
{
	const Event *event;
	pg_uuid_t	hook_id;		/* zero when there is no hook */
	const char *hook_name;		/* NULL when there is no hook */
	const struct Secrets *secrets;	/* NULL: they are not to be seen */
} Occasion;

/* The type of that name, or TRIGGER_TYPE_UNKNOWN.  The name need not end in NUL. */
extern int	trigger_type_parse(const char *name, int len);

extern const char *trigger_type_name(TriggerType type);

/*
 * A top-level field of the event's data.  False when it is missing or JSON
 * null, which mean the same everywhere.
 */
extern bool event_field(const Event *event, const char *name, JsonbValue *value);

/* ISO 8601 in UTC with microseconds, palloc'd; NULL for an infinite time. */
extern char *event_time_text(TimestampTz time);

/*
 * A time as applications write it (ISO 8601), in UTC when it names no zone.
 * False when the text is none; never raises an error.
 */
extern bool event_time_parse(const char *text, int len, TimestampTz *time);

/* The time zone of that name, such as "Europe/Berlin"; NULL when there is none. */
extern pg_tz *time_zone_find(const char *name, int len);

/*
 * A number from 0 to below 1 that looks random, and is the same whenever this
 * hook meets this event.  Different salts give different numbers.
 */
extern double occasion_draw(const Occasion *occasion, uint32 salt);

/*
 * The id of what the hook delivers for the event, to a target if it has
 * several (NULL: it has one): a UUID version 5 of the event's id, and the
 * target's name, in the hook's namespace, hence the same on every attempt and
 * after every restart.
 */
extern pg_uuid_t occasion_delivery_id(const Occasion *occasion, const char *target);

#endif							/* HOOKS_EVENT_H */
