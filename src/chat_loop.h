/*-------------------------------------------------------------------------
 *
 * chat_loop.h
 *		Hooks that write into chats do not answer themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CHAT_LOOP_H
#define HOOKS_CHAT_LOOP_H

#include "account.h"
#include "event.h"

/*
 * Was the message of the event written by one of the user's accounts, or in
 * another channel, whose chat is shared with the user's?  "accounts" are those
 * of the user, where bit i of "connected" says that accounts[i] is one (of the
 * platform target_names[i]); NULL when there are none.
 */
extern bool chat_loop_closes(const Event *event, const AccountIds *accounts, uint32 connected);

#endif							/* HOOKS_CHAT_LOOP_H */
