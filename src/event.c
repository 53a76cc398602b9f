/*-------------------------------------------------------------------------
 *
 * event.c
 *		Names of event types, and access to an event's data.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/datetime.h"

#include "event.h"

static const char *const trigger_type_names[TRIGGER_TYPES] = {
	[TRIGGER_DONATION] = "donation",
	[TRIGGER_FOLLOW] = "follow",
	[TRIGGER_RAID] = "raid",
	[TRIGGER_SUBSCRIPTION] = "subscription",
	[TRIGGER_STREAM_START] = "stream_start",
	[TRIGGER_STREAM_END] = "stream_end",
	[TRIGGER_CHAT_MESSAGE] = "chat_message",
};

int
trigger_type_parse(const char *name, int len)
{
	for (int i = 0; i < TRIGGER_TYPES; i++)
	{
		if (strlen(trigger_type_names[i]) == (size_t) len &&
			memcmp(trigger_type_names[i], name, len) == 0)
			return i;
	}
	return TRIGGER_TYPE_UNKNOWN;
}

const char *
trigger_type_name(TriggerType type)
{
	return trigger_type_names[type];
}

bool
event_field(const Event *event, const char *name, JsonbValue *value)
{
	if (event->data == NULL || !JsonContainerIsObject(event->data))
		return false;
	if (getKeyJsonValueFromContainer(event->data, name, strlen(name), value) == NULL)
		return false;
	return value->type != jbvNull;
}

char *
event_time_text(TimestampTz time)
{
	struct pg_tm tm;
	fsec_t		fraction;

	if (TIMESTAMP_NOT_FINITE(time) ||
		timestamp2tm(time, NULL, &tm, &fraction, NULL, NULL) != 0)
		return NULL;
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
					tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, fraction);
}

double
occasion_draw(const Occasion *occasion, uint32 salt)
{
	unsigned char key[UUID_LEN * 2];
	uint64		hash;

	memcpy(key, occasion->hook_id.data, UUID_LEN);
	memcpy(key + UUID_LEN, occasion->event->id.data, UUID_LEN);
	hash = hash_bytes_extended(key, sizeof(key), salt);
	return (double) (hash >> 11) / (double) (UINT64CONST(1) << 53);
}
