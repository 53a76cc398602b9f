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
