/*-------------------------------------------------------------------------
 *
 * chat_loop.c
 *		Hooks that write into chats do not answer themselves.  See chat_loop.h.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "chat_loop.h"
#include "field.h"
#include "target.h"

/* Is a field of the event's data that id, which may be empty? */
static bool
event_field_is(const Event *event, const char *field, const char *id)
{
	JsonbValue	value;

	return *id != '\0' && event_field(event, field, &value) && value.type == jbvString &&
		value.val.string.len == strlen(id) && memcmp(value.val.string.val, id, value.val.string.len) == 0;
}

/*
 * Was the message written in another channel, whose chat is shared with this
 * one?  Then it says where: Twitch's source_broadcaster_user_id, or
 * source_channel_id.
 */
static bool
event_is_shared(const Event *event, const char *channel)
{
	static const char *const fields[] = {"source_broadcaster_user_id", "source_channel_id"};

	for (size_t i = 0; i < lengthof(fields); i++)
	{
		JsonbValue	source;
		JsonbValue	own;

		if (!event_field(event, fields[i], &source) || source.type != jbvString)
			continue;
		if (channel != NULL)
			return !event_field_is(event, fields[i], channel);
		if (event_field(event, "broadcaster_user_id", &own) && own.type == jbvString)
			return !event_field_is(event, fields[i], pnstrdup(own.val.string.val, own.val.string.len));
	}
	return false;
}

bool
chat_loop_closes(const Event *event, const AccountIds *accounts, uint32 connected)
{
	int			target = event->platform && accounts ? target_number(event->platform) : TARGETS;

	if (event->type != TRIGGER_CHAT_MESSAGE)
		return false;
	if (target == TARGETS || (connected & ((uint32) 1 << target)) == 0)
		return event_is_shared(event, NULL);
	return event_field_is(event, "sender_channel_id", accounts[target].sender) ||
		event_field_is(event, "sender_channel_id", accounts[target].channel) ||
		event_is_shared(event, accounts[target].channel);
}
