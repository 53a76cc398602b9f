/*-------------------------------------------------------------------------
 *
 * condition.c
 *		Compile a hook's conditions, and test events against them.
 *
 * Conditions are a JSON object whose members must all hold.  A member is a
 * named key (condition_key.c), a field of the event with operators
 * (predicate.c), or "$and", "$or" or "$not" with more conditions in it.  They
 * are compiled into a tree, which is as deep as the JSON is.
 *
 * Whatever a hook or an event contains, nothing here raises an error, and
 * nothing costs more than in proportion to both.
 *
 * Pure: no table, clock or socket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "condition.h"
#include "condition_key.h"

#define MAX_SIZE 8192			/* bytes of jsonb */
#define MAX_DEPTH 8				/* objects and arrays inside each other */

typedef enum NodeKind
{
	NODE_KEY,					/* a named key */
	NODE_FIELD,					/* an operator on a field */
	NODE_AND,					/* all children */
	NODE_OR,					/* any child */
	NODE_NOT					/* not the child */
} NodeKind;

typedef struct Node
{
	const char *name;			/* the member's, at the top level */
	NodeKind	kind;
	KeyTest    *key;
	const Field *field;			/* also of the operators' parent */
	Predicate  *predicate;
	int			nchildren;
	struct Node *children;
} Node;

struct Condition
{
	Node		all;
	bool		ignores_self;
};

/* What is being compiled. */
typedef struct Compilation
{
	TriggerType type;
	Mistake    *error;
} Compilation;

static bool compile_object(Compilation *c, Node *node, const JsonbContainer *object);
static bool compile_operators(Compilation *c, Node *node, const JsonbContainer *object,
							  Slice field, bool ignore_case);

/* ----------
 * Mistakes
 * ----------
 */

static char *
describe(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return psprintf("\"%s\"", quotable(value->val.string.val, value->val.string.len));
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvArray:
			return "an array";
		case jbvObject:
			return "an object";
		case jbvBinary:
			if (JsonContainerSize(value->val.binary.data) == 0)
				return JsonContainerIsArray(value->val.binary.data) ? "an empty array" : "an empty object";
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "something else";
	}
}

/* 'Trigger type "donation" takes "min_amount" and "currency", for example ...' */
static char *
describe_type(TriggerType type)
{
	StringInfoData str;
	const ConditionKey *key;
	const char *example = "{}";
	int			left = 0;

	for (int i = 0; (key = condition_key(i)) != NULL; i++)
		left += condition_key_has_type(key, type);

	initStringInfo(&str);
	for (int i = 0; (key = condition_key(i)) != NULL; i++)
	{
		if (!condition_key_has_type(key, type))
			continue;
		if (str.len == 0)
		{
			example = key->example;
			appendStringInfo(&str, "Trigger type \"%s\" takes \"%s\"", trigger_type_name(type), key->name);
		}
		else
			appendStringInfo(&str, "%s\"%s\"", left == 1 ? " and " : ", ", key->name);
		left--;
	}
	appendStringInfo(&str, ", for example %s, and fields of the event, for example {\"platform\": {\"$ne\": \"kick\"}}.",
					 example);
	return str.data;
}

/* 'It is for trigger type "raid".', or an empty string when no type has the key. */
static char *
describe_owners(const char *name, int len)
{
	StringInfoData hint;
	const ConditionKey *key;

	initStringInfo(&hint);
	for (int i = 0; (key = condition_key(i)) != NULL; i++)
	{
		if (strlen(key->name) != (size_t) len || memcmp(key->name, name, len) != 0)
			continue;
		for (int type = 0; type < TRIGGER_TYPES; type++)
		{
			if (condition_key_has_type(key, type))
				appendStringInfo(&hint, "%s \"%s\"",
								 hint.len == 0 ? "It is for trigger type" : " and",
								 trigger_type_name(type));
		}
	}
	if (hint.len > 0)
		appendStringInfoChar(&hint, '.');
	return hint.data;
}

static bool
mistake_unknown_key(Compilation *c, const char *name, int len)
{
	const char *owners = describe_owners(name, len);
	const ConditionKey *key;
	Nearest		nearest;

	if (owners[0] != '\0')
		return mistake(c->error,
					   psprintf("condition \"%.*s\" does not apply to trigger type \"%s\"",
								len, name, trigger_type_name(c->type)),
					   psprintf("%s %s", owners, describe_type(c->type)));

	nearest_begin(&nearest, name, len);
	for (int i = 0; (key = condition_key(i)) != NULL; i++)
	{
		if (condition_key_has_type(key, c->type))
			nearest_offer(&nearest, key->name);
	}
	key = nearest.best ? condition_key_find(nearest.best, strlen(nearest.best), c->type) : NULL;
	return mistake(c->error,
				   psprintf("unknown condition \"%s\" for trigger type \"%s\"",
							quotable(name, len), trigger_type_name(c->type)),
				   key ?
				   psprintf("Did you mean \"%s\"? It takes %s, for example %s.",
							key->name, key->takes, key->example) :
				   describe_type(c->type));
}

static bool
mistake_unknown_operator(Compilation *c, Slice name, Slice field)
{
	const char *known;
	Nearest		nearest;
	StringInfoData all;

	initStringInfo(&all);
	nearest_begin(&nearest, name.data, name.len);
	for (int i = 0; (known = operator_name(i)) != NULL; i++)
	{
		nearest_offer(&nearest, known);
		appendStringInfo(&all, "%s, ", known);
	}
	return mistake(c->error,
				   psprintf("unknown operator \"%s\" for field \"%s\"",
							quotable(name.data, name.len), quotable(field.data, field.len)),
				   nearest.best ?
				   psprintf("Did you mean \"%s\"? Write for example {\"%s\": {\"%s\": %s}}.",
							nearest.best, quotable(field.data, field.len), nearest.best,
							operator_find(nearest.best, strlen(nearest.best))->example) :
				   psprintf("Operators are %s$not, $and, $or and $ignore_case.", all.data));
}

/* ----------
 * Compiling
 * ----------
 */

static Slice
name_of(const JsonbValue *value)
{
	return slice(value->val.string.val, value->val.string.len);
}

static bool
is_name(Slice name, const char *known)
{
	return name.len == (int) strlen(known) && memcmp(name.data, known, name.len) == 0;
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
}

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

static void
make_children(Node *node, NodeKind kind, int n)
{
	node->kind = kind;
	node->nchildren = 0;
	node->children = palloc0(sizeof(Node) * Max(n, 1));
}

/* An object of operators, such as {"$gte": 5}: not empty, and only such names. */
static bool
is_operators(const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (!is_object(value) || JsonContainerSize(value->val.binary.data) == 0)
		return false;
	iterator = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &item, true);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY && (item.val.string.len == 0 || item.val.string.val[0] != '$'))
			return false;
	}
	return true;
}

/* What stands in "$and", "$or" or "$not": objects, compiled by one of two functions. */
static bool
compile_group(Compilation *c, Node *node, Slice name, const JsonbValue *value, const Slice *field,
			  bool ignore_case)
{
	bool		negates = is_name(name, "$not");
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (negates ? !is_object(value) :
		!is_array(value) || JsonContainerSize(value->val.binary.data) == 0)
		return mistake(c->error,
					   psprintf("\"%.*s\" takes %s, not %s", name.len, name.data,
								negates ? "an object" : "a list of objects", describe(value)),
					   field ?
					   psprintf("Write for example {\"%s\": {\"%.*s\": %s}}.",
								quotable(field->data, field->len), name.len, name.data,
								negates ? "{\"$gt\": 5}" : "[{\"$lt\": 5}, {\"$gt\": 100}]") :
					   psprintf("Write for example {\"%.*s\": %s}.", name.len, name.data,
								negates ? "{\"platform\": \"kick\"}" :
								"[{\"platform\": \"kick\"}, {\"users\": \"alice\"}]"));

	make_children(node, negates ? NODE_NOT : is_name(name, "$or") ? NODE_OR : NODE_AND,
				  negates ? 1 : JsonContainerSize(value->val.binary.data));
	if (negates)
	{
		node->nchildren = 1;
		return field ?
			compile_operators(c, &node->children[0], value->val.binary.data, *field, ignore_case) :
			compile_object(c, &node->children[0], value->val.binary.data);
	}

	iterator = JsonbIteratorInit(value->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &item, true);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		Node	   *child = &node->children[node->nchildren];

		if (token != WJB_ELEM)
			continue;
		if (!is_object(&item))
			return mistake(c->error,
						   psprintf("\"%.*s\" takes a list of objects, not of %s", name.len, name.data,
									describe(&item)), NULL);
		node->nchildren++;
		if (!(field ?
			  compile_operators(c, child, item.val.binary.data, *field, ignore_case) :
			  compile_object(c, child, item.val.binary.data)))
			return false;
	}
	return true;
}

static bool
is_group(Slice name)
{
	return is_name(name, "$and") || is_name(name, "$or") || is_name(name, "$not");
}

/* One operator on a field. */
static bool
compile_operator(Compilation *c, Node *node, Slice name, const JsonbValue *operand, Slice field,
				 bool ignore_case)
{
	const Operator *operator = operator_find(name.data, name.len);

	if (operator == NULL)
		return mistake_unknown_operator(c, name, field);
	node->kind = NODE_FIELD;
	node->predicate = palloc0(sizeof(Predicate));
	node->predicate->ignore_case = ignore_case;
	if (predicate_compile(node->predicate, operator, operand))
		return true;
	return mistake(c->error,
				   psprintf("operator \"%s\" of field \"%s\" takes %s, not %s", operator->name,
							quotable(field.data, field.len), operator->takes, describe(operand)),
				   psprintf("Write for example {\"%s\": {\"%s\": %s}}.",
							quotable(field.data, field.len), operator->name, operator->example));
}

/* All operators on a field, of which "$ignore_case" is none. */
static bool
compile_operators(Compilation *c, Node *node, const JsonbContainer *object, Slice field,
				  bool ignore_case)
{
	static const char option[] = "$ignore_case";
	const Field *looked_at = field_compile(field, true);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	if (looked_at == NULL)
		return mistake(c->error,
					   psprintf("\"%s\" is not a field of events", quotable(field.data, field.len)),
					   "Fields are named like \"amount\", \"data.metadata.goal\" or \"event.platform\".");
	if (getKeyJsonValueFromContainer(unconstify(JsonbContainer *, object), option,
									 sizeof(option) - 1, &value) != NULL)
	{
		if (value.type != jbvBool)
			return mistake(c->error,
						   psprintf("\"$ignore_case\" of field \"%s\" takes true or false, not %s",
									quotable(field.data, field.len), describe(&value)),
						   "Write for example {\"message\": {\"$contains\": \"hello\", \"$ignore_case\": true}}.");
		ignore_case = value.val.boolean;
	}

	make_children(node, NODE_AND, JsonContainerSize(object));
	iterator = JsonbIteratorInit(unconstify(JsonbContainer *, object));
	(void) JsonbIteratorNext(&iterator, &name, true);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		Node	   *child = &node->children[node->nchildren];

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (is_name(name_of(&name), option))
			continue;
		node->nchildren++;
		child->field = looked_at;
		if (!(is_group(name_of(&name)) ?
			  compile_group(c, child, name_of(&name), &value, &field, ignore_case) :
			  compile_operator(c, child, name_of(&name), &value, field, ignore_case)))
			return false;
	}
	node->field = looked_at;
	return true;
}

static bool
compile_key(Compilation *c, Node *node, const ConditionKey *key, const JsonbValue *value)
{
	node->kind = NODE_KEY;
	node->key = palloc0(sizeof(KeyTest));
	if (key_test_compile(node->key, key, value))
	{
		node->field = node->key->field;
		return true;
	}
	return mistake(c->error,
				   psprintf("condition \"%s\" takes %s, not %s", key->name, key->takes,
							describe(value)),
				   psprintf("Write for example %s.", key->example));
}

/*
 * One member of an object of conditions.  Operators make a field of whatever
 * has them, unless it is a key that is not also a field.
 */
static bool
compile_member(Compilation *c, Node *node, Slice name, const JsonbValue *value)
{
	const ConditionKey *key = condition_key_find(name.data, name.len, c->type);

	node->name = pnstrdup(name.data, name.len);
	if (is_group(name))
		return compile_group(c, node, name, value, NULL, false);
	if (is_operators(value) &&
		(key == NULL || is_name(name, "currency") || is_name(name, "tier") ||
		 is_name(name, "platform") || is_name(name, "is_moderator")))
		return compile_operators(c, node, value->val.binary.data, name, false);
	if (key == NULL)
		return mistake_unknown_key(c, name.data, name.len);
	return compile_key(c, node, key, value);
}

static bool
compile_object(Compilation *c, Node *node, const JsonbContainer *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(unconstify(JsonbContainer *, object));
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	/* One more for what may be added. */
	make_children(node, NODE_AND, JsonContainerSize(object) + 1);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type == jbvNull)
			continue;			/* the same as a key that is not there */
		if (!compile_member(c, &node->children[node->nchildren++], name_of(&name), &value))
			return false;
	}
	return true;
}

/* Are the conditions an object, small and shallow enough to be looked at? */
static bool
check_shape(const Jsonb *conditions, TriggerType type, Mistake *error)
{
	Jsonb	   *jb = unconstify(Jsonb *, conditions);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	int			depth = 0;

	if (!JB_ROOT_IS_OBJECT(jb))
	{
		if (!JsonbExtractScalar(&jb->root, &value))
			value.type = jbvArray;
		return mistake(error,
					   psprintf("conditions must be a JSON object, not %s", describe(&value)),
					   describe_type(type));
	}
	if (VARSIZE(jb) > MAX_SIZE)
		return mistake(error, "conditions are too large",
					   psprintf("They can take up to %d kB.", MAX_SIZE / 1024));

	it = JsonbIteratorInit(&jb->root);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
			depth++;
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		if (depth > MAX_DEPTH)
			return mistake(error, "conditions are nested too deeply",
						   psprintf("Objects and arrays can stand in each other up to %d levels deep.",
									MAX_DEPTH));
	}
	return true;
}

/* The streamer's own messages do not count, unless the conditions speak of them. */
static bool
add_ignore_self(Compilation *c, Node *all)
{
	static const char name[] = "ignore_self";
	JsonbValue	yes = {.type = jbvBool, .val.boolean = true};

	for (int i = 0; i < all->nchildren; i++)
	{
		if (strcmp(all->children[i].name, name) == 0)
			return true;
	}
	return compile_member(c, &all->children[all->nchildren++], slice(name, sizeof(name) - 1), &yes);
}

static bool
wants_self(const Jsonb *conditions)
{
	JsonbValue	value;

	return conditions != NULL &&
		getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &conditions->root), "ignore_self", 11,
									 &value) != NULL &&
		value.type == jbvBool && !value.val.boolean;
}

Condition *
condition_compile(const Jsonb *conditions, TriggerType type, bool ignore_self, Mistake *error)
{
	Condition  *condition = palloc0(sizeof(Condition));
	Compilation c = {.type = type, .error = error};

	if (conditions == NULL)
		make_children(&condition->all, NODE_AND, 1);
	else if (!check_shape(conditions, type, error) ||
			 !compile_object(&c, &condition->all, &conditions->root))
		return NULL;
	if (ignore_self && type == TRIGGER_CHAT_MESSAGE && !add_ignore_self(&c, &condition->all))
		return NULL;
	condition->ignores_self = !wants_self(conditions);
	return condition;
}

bool
condition_ignores_self(const Condition *condition)
{
	return condition->ignores_self;
}

/* ----------
 * Testing
 * ----------
 */

static bool
node_holds(const Node *node, const Occasion *occasion)
{
	JsonbValue	value;

	switch (node->kind)
	{
		case NODE_KEY:
			return key_test_holds(node->key, occasion);
		case NODE_FIELD:
			return predicate_holds(node->predicate,
								   field_value(node->field, occasion, &value) ? &value : NULL);
		case NODE_AND:
			for (int i = 0; i < node->nchildren; i++)
			{
				if (!node_holds(&node->children[i], occasion))
					return false;
			}
			return true;
		case NODE_OR:
			for (int i = 0; i < node->nchildren; i++)
			{
				if (node_holds(&node->children[i], occasion))
					return true;
			}
			return false;
		case NODE_NOT:
			return !node_holds(&node->children[0], occasion);
	}
	return false;
}

bool
condition_matches(const Condition *condition, const Occasion *occasion)
{
	return node_holds(&condition->all, occasion);
}

const char *
condition_unmet(const Condition *condition, const Occasion *occasion, JsonbValue *value)
{
	for (int i = 0; i < condition->all.nchildren; i++)
	{
		const Node *node = &condition->all.children[i];

		if (node_holds(node, occasion))
			continue;
		if (node->field == NULL || !field_value(node->field, occasion, value))
			value->type = jbvNull;
		return node->name;
	}
	return NULL;
}

static bool
find_field(const Node *node, int *n, const Field **field)
{
	if (node->nchildren == 0)
	{
		*field = node->field;
		return node->field != NULL && (*n)-- == 0;
	}
	for (int i = 0; i < node->nchildren; i++)
	{
		if (find_field(&node->children[i], n, field))
			return true;
	}
	return false;
}

bool
condition_field(const Condition *condition, int n, const Field **field, const char **key)
{
	for (int i = 0; i < condition->all.nchildren; i++)
	{
		*key = condition->all.children[i].name;
		if (find_field(&condition->all.children[i], &n, field))
			return true;
	}
	return false;
}
