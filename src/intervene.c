/*-------------------------------------------------------------------------
 *
 * intervene.c
 *		What people ask for comes over deliveries that wait or have ended.
 *		See intervene.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "chat_report.h"
#include "delivery_parts.h"
#include "health.h"
#include "intervene.h"
#include "outbox.h"
#include "settings.h"

#define CANCELLED "cancelled by hooks.cancel()"

static TimestampTz next_replay = 0;

/* The hook's deliveries that have kept their places come back now, in their order. */
static void
hurry(Hook *hook)
{
	schedule_hurry(deliveries_schedule, &hook->lane, aside_hurry(&hook->id, GetCurrentTimestamp()));
}

void
intervene_replay(Hook *hook, const QueuedEvent *event, const char *target)
{
	TimestampTz now = GetCurrentTimestamp();
	QueuedEvent copy = *event;
	Aside		kept;
	Delivery   *delivery = delivery_find(hook, &event->event.id, target);
	pg_uuid_t	id = delivery_id(&hook->id, event, target);
	int64		place = -1;

	if (delivery != NULL)
	{
		delivery->wanted = true;	/* it is about to be sent */
		return;
	}
	delivery_recall_places(hook);
	if (aside_find(&id, &kept, NULL) && kept.why == ASIDE_OUTBOX)
		return;					/* it is the application's already */
	if (aside_find(&id, &kept, NULL) && kept.why != ASIDE_GIVEN_UP)
		place = kept.place;		/* it goes on waiting, for less */
	else
		schedule_count_aside(deliveries_schedule, &event->event.user_id, 1);
	next_replay = Max(next_replay, now);
	kept = (Aside)
	{
		.id = id,
		.hook_id = hook->id,
		.target = target,
		.why = ASIDE_REPLAY,
		.next_at = next_replay,
		.place = place,
		.replay = true,
		.taken = DT_NOBEGIN,
		.before = DT_NOBEGIN,
		.last_at = DT_NOBEGIN
	};
	next_replay += USECS_PER_SEC / hooks_replay_rate;
	copy.queued_at = now;
	aside_put(&kept, &copy);
	if (place >= 0)
		hurry(hook);
}

/*
 * What has come meanwhile stays behind what was there first, which now has a
 * time to come back.  (A request to resume names a user by its event's id,
 * too, or else a hook.)
 */
void
intervene_resume(const QueuedEvent *request)
{
	UserHooks  *user = hooks_of(&request->event.user_id);
	TimestampTz from = aside_resume(&request->hook_id, &request->event.id, GetCurrentTimestamp());

	for (int i = 0; user != NULL && i < user->nhooks; i++)
	{
		Hook	   *hook = user->hooks[i];

		if (memcmp(&hook->id, &request->hook_id, UUID_LEN) != 0 &&
			memcmp(&hook->user_id, &request->event.id, UUID_LEN) != 0)
			continue;
		delivery_recall_places(hook);
		schedule_hurry(deliveries_schedule, &hook->lane, from);
	}
}

void
intervene_account_changed(const pg_uuid_t *user_id)
{
	UserHooks  *user = hooks_of(user_id);

	aside_wake_accounts(user_id, GetCurrentTimestamp());
	for (int i = 0; user != NULL && i < user->nhooks; i++)
	{
		Hook	   *hook = user->hooks[i];

		/* Others have waited for those that waited for the account. */
		if (hook->action != NULL && hook->action->type->targets && hook->action->strict)
		{
			delivery_recall_places(hook);
			hurry(hook);
		}
	}
}

/* It has not begun, or waits in memory. */
static void
cancel(Delivery *delivery)
{
	TimestampTz now = GetCurrentTimestamp();

	delivery_log(delivery->hook, delivery->event, delivery->kept.target, LOG_FAILURE, CANCELLED, now,
				 delivery->kept.attempts + 1);
	if (delivery->scheduled.state == SCHEDULE_READY)
		schedule_withdraw(deliveries_schedule, &delivery->scheduled);
	delivery_give_back(delivery->hook, delivery->event, &delivery->kept);
	delivery_leave_outbox(&delivery->kept);
	if (delivery->in_table)
		aside_remove(&delivery->kept.id);
	delivery_release(delivery);
}

void
intervene_cancel(const QueuedEvent *request)
{
	Hook	   *hook = hook_find(&request->event.user_id, &request->hook_id);
	Delivery   *delivery = hook ? delivery_find(hook, &request->event.id, request->target) : NULL;
	pg_uuid_t	id = delivery_id(&request->hook_id, request, request->target);
	Aside		kept;

	if (hook != NULL)
		delivery_recall_places(hook);
	if (delivery != NULL && delivery->scheduled.state == SCHEDULE_IN_FLIGHT)
		delivery->cancelled = true; /* its answer will be the last one */
	else if (delivery != NULL)
		cancel(delivery);
	else if (aside_find(&id, &kept, NULL) && kept.why != ASIDE_GIVEN_UP)
	{
		if (hook != NULL)
		{
			delivery_log(hook, request, kept.target, LOG_FAILURE, CANCELLED, GetCurrentTimestamp(),
						 kept.attempts + 1);
			delivery_give_back(hook, request, &kept);
		}
		delivery_lose_aside(hook, &kept, request);
		delivery_leave_outbox(&kept);
		aside_remove(&id);
		if (hook != NULL && kept.place >= 0 && kept.attempts > 0)
			hurry(hook);		/* the others have waited for it */
	}
}

/*
 * The application says what became of a message that it was to send.  The
 * hook may not be there any more, as far as we know.
 */
void
intervene_report(const QueuedEvent *request)
{
	Hook	   *hook = hook_find(&request->event.user_id, &request->hook_id);
	pg_uuid_t	id = delivery_id(&request->hook_id, request, request->target);
	TimestampTz now = GetCurrentTimestamp();
	Outcome		outcome = {.class = OUTCOME_TERMINAL};
	ChatReport	report;
	Mistake		error;
	Aside		kept;
	QueuedEvent *event;
	LogRow		row;

	if (!aside_find(&id, &kept, NULL) || kept.why != ASIDE_OUTBOX ||
		!aside_find(&id, &kept, &event))
		return;					/* it has ended otherwise */
	if (request->event.data != NULL && chat_report_read(request->event.data, &report, &error))
		chat_report_judge(&report, &outcome);
	else
		outcome.error = "report cannot be understood";

	row = (LogRow)
	{
		.hook_id = request->hook_id,
		.user_id = event->event.user_id,
		.event_id = event->event.id,
		.trigger_type = event->event.type,
		.action_type = "chat_message",
		.status = outcome.class == OUTCOME_SUCCESS ? LOG_SUCCESS : LOG_FAILURE,
		.error = outcome.error ? outcome.error : outcome.note,
		.platform = outcome.arrived,
		.executed_at = kept.last_at,
		.duration_ms = (int) Max(Min((now - kept.last_at) / 1000, PG_INT32_MAX), 0),
		.attempt = kept.attempts + 1
	};
	delivery_result(&row);
	if (hook != NULL)
		health_result(hook, outcome.error, 0, true, now);

	outbox_remove(&id);
	delivery_lose_aside(hook, &kept, event);
	if (outcome.class == OUTCOME_SUCCESS)
		aside_remove(&id);
	else
	{
		if (hook != NULL)
			delivery_give_back(hook, event, &kept);
		kept.why = ASIDE_GIVEN_UP;
		kept.next_at = DT_NOEND;
		kept.attempts++;
		kept.error = outcome.error;
		kept.last_at = now;
		aside_put(&kept, event);
	}
	pfree(event);
	if (hook != NULL && kept.place >= 0)
		hurry(hook);			/* the others have waited for it */
}

void
intervene_set_back(int64 by)
{
	next_replay = Max(next_replay - by, 0);
}
