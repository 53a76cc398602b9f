/*-------------------------------------------------------------------------
 *
 * mail.h
 *		E-mail as RFC 5322 and RFC 2047 have it: addresses, and lines of a
 *		message's header.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_MAIL_H
#define HOOKS_MAIL_H

#include "lib/stringinfo.h"

#include "datatype/timestamp.h"
#include "mistake.h"
#include "text.h"

/* Somebody who is written to, or writes. */
typedef struct Mailbox
{
	const char *name;			/* for people; NULL: none */
	const char *address;
} Mailbox;

/*
 * Take "address" or "Name <address>" apart, in the current memory context.
 * False with *error filled in when it is neither; "what" says whose it is.
 */
extern bool mailbox_parse(Slice text, const char *what, Mailbox *mailbox, Mistake *error);

/* What comes after the @. */
extern const char *mailbox_domain(const Mailbox *mailbox);

/*
 * Lines of a header, palloc'd, without a line end behind the last one: folded,
 * and encoded where they are not ASCII.
 */
extern char *mail_text_line(const char *name, const char *text);
extern char *mail_mailboxes_line(const char *name, const Mailbox *mailboxes, int n);
extern char *mail_date_line(TimestampTz date);

/* The text on one line: what controls a terminal or ends a line becomes a blank.  Palloc'd. */
extern char *mail_one_line(Slice text);

/*
 * Append a text as quoted-printable.  Its lines are those of the text, however
 * these end; none is longer than 76 bytes, begins with a dot, or has "=_".
 */
extern void mail_append_encoded(StringInfo out, Slice text);

#endif							/* HOOKS_MAIL_H */
