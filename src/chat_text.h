/*-------------------------------------------------------------------------
 *
 * chat_text.h
 *		Texts as chat messages: one line that shows what it says, and is no
 *		command.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HOOKS_CHAT_TEXT_H
#define HOOKS_CHAT_TEXT_H

/*
 * The text as a chat message of at most so many code points, palloc'd.  The
 * first "own" bytes are the hook's, and may begin the line with any character;
 * what viewers have written may not begin it with one that chats take for a
 * command's.  Empty when nothing is left.
 */
extern char *chat_text(const char *text, int len, int own, int most);

/*
 * Does the text begin with a character that makes the services take all that
 * follows for a command of theirs and its arguments?
 */
extern bool chat_text_is_command(const char *text, int len);

#endif							/* HOOKS_CHAT_TEXT_H */
