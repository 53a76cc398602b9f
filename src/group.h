/*-------------------------------------------------------------------------
 *
 * group.h
 *		Which destinations share limits: the webhooks of a channel, for example.
 *
 * Answers tell which group a destination belongs to.  What is not known is
 * learnt by and by, so it may be forgotten at any time.  Pure.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_GROUP_H
#define HOOKS_GROUP_H

#include "c.h"

/* The destination belongs to that group, whatever was known before. */
extern void group_learn(uint64 destination, const char *group);

/* Call a function for each destination of this one's group, itself included. */
extern void group_each(uint64 destination, void (*each) (void *arg, uint64 destination), void *arg);

#endif							/* HOOKS_GROUP_H */
