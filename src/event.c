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

#include "common/cryptohash.h"
#include "common/hashfn.h"
#include "common/sha1.h"
#include "fmgr.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
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

/* A text of that shape: 9 stands for a digit. */
static bool
has_shape(const char **p, const char *shape)
{
	const char *q = *p;

	for (; *shape; shape++, q++)
	{
		if (*shape == '9' ? !(*q >= '0' && *q <= '9') : *q != *shape)
			return false;
	}
	*p = q;
	return true;
}

/*
 * ISO 8601, as far as people write it: a date, perhaps a time, seconds and
 * their fraction, perhaps a zone.  PostgreSQL's parser takes much more, some of
 * which depends on settings, and raises errors for some.
 */
static bool
is_iso_time(const char *text, bool *has_time, bool *has_zone)
{
	const char *p = text;

	*has_time = *has_zone = false;
	if (!has_shape(&p, "9999-99-99"))
		return false;
	if (*p == '\0')
		return true;
	if (*p != 'T' && *p != ' ')
		return false;
	p++;
	if (!has_shape(&p, "99:99"))
		return false;
	*has_time = true;
	if (has_shape(&p, ":99") && *p == '.')
	{
		if (!has_shape(&p, ".9"))
			return false;
		while (*p >= '0' && *p <= '9')
			p++;
	}
	if (*p == '\0')
		return true;
	*has_zone = true;
	if (p[0] == ' ' && (p[1] == '+' || p[1] == '-'))
		p++;
	if (*p == 'Z')
		return p[1] == '\0';
	if (*p != '+' && *p != '-')
		return false;
	p++;
	return has_shape(&p, "99") && (*p == '\0' ||
								  ((has_shape(&p, ":99") || has_shape(&p, "99")) && *p == '\0'));
}

bool
event_time_parse(const char *text, int len, TimestampTz *time)
{
	char		buffer[MAXDATELEN + MAXDATEFIELDS];
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	int			nf;
	int			dtype;
	int			tz = 0;
	struct pg_tm tm;
	fsec_t		fraction;
	char	   *copy;
	bool		has_time;
	bool		has_zone;

	if (len > 40)
		return false;
	copy = pnstrdup(text, len);
	if (!is_iso_time(copy, &has_time, &has_zone))
		return false;
	if (!has_zone)
		copy = psprintf("%s%s", copy, has_time ? "Z" : " 00:00Z");

	if (ParseDateTime(copy, buffer, sizeof(buffer), field, ftype, MAXDATEFIELDS, &nf) != 0 ||
		DECODE_DATE_TIME(field, ftype, nf, &dtype, &tm, &fraction, &tz) != 0 ||
		dtype != DTK_DATE)
		return false;
	return tm2timestamp(&tm, fraction, &tz, time) == 0;
}

/* Names only: what else the library takes, such as "UTC+2", means the reverse of what people think. */
pg_tz *
time_zone_find(const char *name, int len)
{
	char	   *copy;
	pg_tz	   *zone;

	if (len > TZ_STRLEN_MAX)
		return NULL;
	copy = pnstrdup(name, len);
	if (strpbrk(copy, "0123456789<,:") != NULL && strchr(copy, '/') == NULL)
		return NULL;
	zone = pg_tzset(copy);
	return zone != NULL && pg_tz_acceptable(zone) ? zone : NULL;
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

pg_uuid_t
occasion_delivery_id(const Occasion *occasion, const char *target)
{
	uint8		digest[SHA1_DIGEST_LENGTH];
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA1);
	pg_uuid_t	id;

	if (pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, occasion->hook_id.data, UUID_LEN) < 0 ||
		pg_cryptohash_update(context, occasion->event->id.data, UUID_LEN) < 0 ||
		(target != NULL &&
		 pg_cryptohash_update(context, (const uint8 *) target, strlen(target)) < 0) ||
		pg_cryptohash_final(context, digest, sizeof(digest)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not compute SHA1: %s", pg_cryptohash_error(context))));
	pg_cryptohash_free(context);

	memcpy(id.data, digest, UUID_LEN);
	id.data[6] = (id.data[6] & 0x0f) | 0x50;
	id.data[8] = (id.data[8] & 0x3f) | 0x80;
	return id;
}
