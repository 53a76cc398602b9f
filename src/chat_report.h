/*-------------------------------------------------------------------------
 *
 * chat_report.h
 *		What an application that sends chat messages itself says became of one.
 *
 * A report is a JSON object, with a word for each platform:
 *
 *		{"twitch": "delivered", "kick": "failed: no permission"}
 *
 * The words are "delivered", "failed", "failed: reason" and "pending".
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CHAT_REPORT_H
#define HOOKS_CHAT_REPORT_H

#include "utils/jsonb.h"

#include "action.h"

typedef struct ChatReport
{
	char	   *delivered;		/* "twitch, youtube"; NULL: nowhere */
	char	   *failed;			/* "kick: no permission"; NULL: nowhere */
	char	   *pending;		/* "kick"; NULL: nowhere */
} ChatReport;

/* Read a report; false with *error filled in when it is none. */
extern bool chat_report_read(const JsonbContainer *object, ChatReport *report, Mistake *error);

/*
 * A message succeeds that at least one platform took and that none may still
 * take.  Where one may, another attempt asks again.
 */
extern void chat_report_judge(const ChatReport *report, Outcome *outcome);

#endif							/* HOOKS_CHAT_REPORT_H */
