/*-------------------------------------------------------------------------
 *
 * attempt.h
 *		Attempts: deliveries whose turn has come are sent, and their answers
 *		judged.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_ATTEMPT_H
#define HOOKS_ATTEMPT_H

/* Once, at the start, after delivery_init(). */
extern void attempts_init(void);

/*
 * Start the deliveries whose turn it is.  Hooks that changed since are loaded
 * again, so call it outside transactions.
 */
extern void attempts_start(void);

/* Take the answers that have come in. */
extern void attempts_answers(void);

#endif							/* HOOKS_ATTEMPT_H */
