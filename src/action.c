/*-------------------------------------------------------------------------
 *
 * action.c
 *		The table of action types, and what their settings have in common.
 *
 * Pure.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "action.h"

/*
 * Actions that later versions perform.  Their hooks can be written already,
 * with the settings they cannot do without; when they fire, the log says
 * that this version does not perform them.
 */
static Action *
compile_later(const Jsonb *config, const char *key, const char *missing, Mistake *error)
{
	char	   *value;

	if (!action_string(config, key, "…", &value, error))
		return NULL;
	if (value == NULL || *value == '\0')
	{
		(void) mistake(error, pstrdup(missing),
					   psprintf("Set \"%s\" in action_config.", key));
		return NULL;
	}
	return palloc0(sizeof(Action));
}

static Action *
discord_compile(const Jsonb *config, Mistake *error)
{
	return compile_later(config, "template", "Missing message template", error)
		? compile_later(config, "webhook_url", "Missing Discord webhook URL", error)
		: NULL;
}

static Action *
chat_compile(const Jsonb *config, Mistake *error)
{
	return compile_later(config, "message", "Missing message template", error);
}

static Action *
email_compile(const Jsonb *config, Mistake *error)
{
	return palloc0(sizeof(Action));
}

static const ActionType action_types[] = {
	{"webhook", false, webhook_compile, webhook_build, webhook_judge},
	{"discord_message", false, discord_compile, NULL, NULL},
	{"chat_message", true, chat_compile, NULL, NULL},
	{"email", false, email_compile, NULL, NULL},
};

const ActionType *
action_type_find(const char *name)
{
	for (size_t i = 0; i < lengthof(action_types); i++)
	{
		if (strcmp(action_types[i].name, name) == 0)
			return &action_types[i];
	}
	return NULL;
}

bool
action_type_sends_chat(const char *name)
{
	const ActionType *type = action_type_find(name);

	return type != NULL && type->sends_chat;
}

bool
action_string(const Jsonb *config, const char *key, const char *example,
			  char **value, Mistake *error)
{
	JsonbValue	found;

	*value = NULL;
	if (getKeyJsonValueFromContainer((JsonbContainer *) &config->root, key, strlen(key),
									 &found) == NULL ||
		found.type == jbvNull)
		return true;
	if (found.type != jbvString)
		return mistake(error, psprintf("\"%s\" in action_config must be a string", key),
					   psprintf("For example {\"%s\": \"%s\"}.", key, example));
	*value = pnstrdup(found.val.string.val, found.val.string.len);
	return true;
}

Action *
action_compile(const char *type_name, const Jsonb *config, Mistake *error)
{
	const ActionType *type = action_type_find(type_name);
	char	   *on_failure;
	Action	   *action;

	if (type == NULL)
	{
		(void) mistake(error, psprintf("unknown action type \"%s\"", type_name),
					   psprintf("Action types are %s.", ACTION_TYPE_NAMES));
		return NULL;
	}
	if (config == NULL || !JB_ROOT_IS_OBJECT(config))
	{
		(void) mistake(error, "action_config must be a JSON object",
					   "For example {\"url\": \"https://example.com/webhook\"}.");
		return NULL;
	}
	if (!action_string(config, "cooldown_on_failure", "keep", &on_failure, error))
		return NULL;
	if (on_failure && strcmp(on_failure, "keep") != 0 && strcmp(on_failure, "return") != 0)
	{
		(void) mistake(error,
					   psprintf("\"cooldown_on_failure\" in action_config cannot be \"%s\"",
								on_failure),
					   "It takes \"return\" (the default) or \"keep\".");
		return NULL;
	}

	action = type->compile(config, error);
	if (action != NULL)
	{
		action->type = type;
		action->keep_cooldown = on_failure && strcmp(on_failure, "keep") == 0;
	}
	return action;
}
