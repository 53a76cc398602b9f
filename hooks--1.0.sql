/*-------------------------------------------------------------------------
 *
 * hooks--1.0.sql
 *		Everything that CREATE EXTENSION hooks makes.
 *
 * The schema "hooks" and all that is in it are members of the extension.
 * stream_hooks and stream_hook_logs are not: they are the application's,
 * ordinary in every respect, so that a dump carries all that is on them and
 * DROP EXTENSION leaves them.  hooks.setup() makes or adopts them.
 *
 * No other record says which tables these are than the triggers on them: the
 * hooks table is the one with a trigger that calls hooks.hook_changed(), the
 * log the one with a trigger that calls hooks.logs_changed(), event tables
 * those with triggers that call hooks.on_event().  Such a record cannot go
 * stale: it follows RENAME, SET SCHEMA, dump and restore.
 *
 * Functions act as their caller, but for set_secret(), drop_secret() and
 * chat_take(), which touch what nobody else may.  Nothing is granted to PUBLIC
 * but what the end of this file names.
 *
 *-------------------------------------------------------------------------
 */

-- complain if the script is sourced in psql, rather than by CREATE EXTENSION
\echo Use "CREATE EXTENSION hooks" to load this file. \quit

-- Conditions, templates and messages are UTF-8 all the way to the network.
DO $$
BEGIN
	IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
		RAISE EXCEPTION 'database "%" has the encoding %, but hooks needs UTF8',
			pg_catalog.current_database(), pg_catalog.getdatabaseencoding()
			USING ERRCODE = 'feature_not_supported',
				  HINT = 'Create a database with CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
	END IF;
END
$$;

CREATE SCHEMA hooks;
COMMENT ON SCHEMA hooks IS 'machinery and functions of the extension hooks';


/*
 * The queue
 *
 * Three tables in turn take what commits queue.  They are only ever appended
 * to, read, and truncated; nothing in them is updated or deleted, so there is
 * nothing to vacuum.
 */

CREATE TABLE hooks.queue_0 (
	xid			pg_catalog.xid8 NOT NULL,
	n			pg_catalog.int4 NOT NULL,
	queued_at	pg_catalog.timestamptz NOT NULL,
	event_id	pg_catalog.uuid NOT NULL,
	user_id		pg_catalog.uuid NOT NULL,
	event_type	pg_catalog.text NOT NULL,
	event_time	pg_catalog.timestamptz NOT NULL,
	platform	pg_catalog.text,
	data		pg_catalog.jsonb,
	refused		pg_catalog.text,
	new_hooks	pg_catalog.bool NOT NULL DEFAULT false,
	request		pg_catalog.text,
	hook_id		pg_catalog.uuid,
	target		pg_catalog.text
) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);

CREATE TABLE hooks.queue_1 (LIKE hooks.queue_0 INCLUDING DEFAULTS)
	WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE TABLE hooks.queue_2 (LIKE hooks.queue_0 INCLUDING DEFAULTS)
	WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);

CREATE INDEX queue_0_xid_n_idx ON hooks.queue_0 (xid, n);
CREATE INDEX queue_1_xid_n_idx ON hooks.queue_1 (xid, n);
CREATE INDEX queue_2_xid_n_idx ON hooks.queue_2 (xid, n);

COMMENT ON TABLE hooks.queue_0 IS
	'events that wait for the worker, in the order (xid, n): the top-level transaction and the '
	'number within it; refused says why an event is only to be reported, new_hooks that its '
	'transaction has changed hooks too, request that it is no event but what somebody asks for';
COMMENT ON TABLE hooks.queue_1 IS 'as hooks.queue_0, in turn with it';
COMMENT ON TABLE hooks.queue_2 IS 'as hooks.queue_0, in turn with it';
COMMENT ON INDEX hooks.queue_0_xid_n_idx IS 'finds what a transaction queued';
COMMENT ON INDEX hooks.queue_1_xid_n_idx IS 'finds what a transaction queued';
COMMENT ON INDEX hooks.queue_2_xid_n_idx IS 'finds what a transaction queued';

CREATE TABLE hooks.ack_0 (
	xid			pg_catalog.xid8[] NOT NULL,
	n			pg_catalog.int4[] NOT NULL,
	hook		pg_catalog.uuid[] NOT NULL,
	admitted	pg_catalog.bool[] NOT NULL
) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);

-- A row is kept small enough for a page; compressing it would cost more than it saves.
ALTER TABLE hooks.ack_0
	ALTER xid SET STORAGE PLAIN, ALTER n SET STORAGE PLAIN,
	ALTER hook SET STORAGE PLAIN, ALTER admitted SET STORAGE PLAIN;

CREATE TABLE hooks.ack_1 (LIKE hooks.ack_0 INCLUDING STORAGE) WITH (autovacuum_enabled = false);
CREATE TABLE hooks.ack_2 (LIKE hooks.ack_0 INCLUDING STORAGE) WITH (autovacuum_enabled = false);

COMMENT ON TABLE hooks.ack_0 IS
	'what has been done with the rows of hooks.queue_0, a row of arrays per commit of the worker';
COMMENT ON TABLE hooks.ack_1 IS 'what has been done with the rows of hooks.queue_1';
COMMENT ON TABLE hooks.ack_2 IS 'what has been done with the rows of hooks.queue_2';

/*
 * Deliveries that have left the queue: they wait for a time, or were given up.
 * Only the worker writes here.
 */

CREATE TABLE hooks.delivery (
	id				pg_catalog.uuid PRIMARY KEY,
	hook_id			pg_catalog.uuid NOT NULL,
	user_id			pg_catalog.uuid NOT NULL,
	event_id		pg_catalog.uuid NOT NULL,
	event_type		pg_catalog.text NOT NULL,
	event_time		pg_catalog.timestamptz NOT NULL,
	platform		pg_catalog.text,
	data			pg_catalog.jsonb,
	queued_at		pg_catalog.timestamptz NOT NULL,
	why				pg_catalog.text NOT NULL,
	next_at			pg_catalog.timestamptz,
	place			pg_catalog.int8,
	attempts		pg_catalog.int4 NOT NULL,
	perhaps_sent	pg_catalog.bool NOT NULL,
	replay			pg_catalog.bool NOT NULL,
	taken			pg_catalog.timestamptz,
	before			pg_catalog.timestamptz,
	last_error		pg_catalog.text,
	last_status		pg_catalog.int4,
	last_at			pg_catalog.timestamptz,
	target			pg_catalog.text
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX delivery_next_at_idx ON hooks.delivery (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX delivery_given_up_idx ON hooks.delivery (last_at) WHERE next_at IS NULL;
CREATE INDEX delivery_hook_id_idx ON hooks.delivery (hook_id);

COMMENT ON TABLE hooks.delivery IS
	'deliveries that wait for another attempt, a host, the end of a pause, or their turn in a replay '
	'(next_at says when), and those that were given up (next_at is null); see hooks.pending and hooks.dead';
COMMENT ON INDEX hooks.delivery_next_at_idx IS 'finds what is due';
COMMENT ON INDEX hooks.delivery_given_up_idx IS 'finds what was given up for long';
COMMENT ON INDEX hooks.delivery_hook_id_idx IS 'finds a hook''s deliveries';

CREATE TABLE hooks.health (
	hook_id			pg_catalog.uuid PRIMARY KEY,
	user_id			pg_catalog.uuid NOT NULL,
	failures		pg_catalog.int4 NOT NULL,
	failing_since	pg_catalog.timestamptz,
	last_failure_at	pg_catalog.timestamptz,
	last_status		pg_catalog.int4,
	last_error		pg_catalog.text,
	disabled_at		pg_catalog.timestamptz,
	disabled_reason	pg_catalog.text
);
CREATE INDEX health_user_id_idx ON hooks.health (user_id);
COMMENT ON TABLE hooks.health IS
	'hooks whose last attempt failed, or that were disabled for their destination''s sake; see hooks.hook_health';
COMMENT ON INDEX hooks.health_user_id_idx IS 'finds a user''s hooks';

CREATE TABLE hooks.message (
	user_id			pg_catalog.uuid NOT NULL,
	name			pg_catalog.text NOT NULL,
	stream			pg_catalog.text NOT NULL,
	message_id		pg_catalog.text NOT NULL,
	event_id		pg_catalog.uuid NOT NULL,
	event_time		pg_catalog.timestamptz NOT NULL,
	posted_at		pg_catalog.timestamptz NOT NULL,
	changed_at		pg_catalog.timestamptz NOT NULL,
	PRIMARY KEY (user_id, name, stream)
);
COMMENT ON TABLE hooks.message IS
	'messages that hooks have posted and change since (the setting "edit" of discord_message), for some days; see '
	'hooks.messages';

CREATE TABLE hooks.paused (
	user_id			pg_catalog.uuid NOT NULL,
	hook_id			pg_catalog.uuid,
	paused_at		pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE UNIQUE INDEX paused_hook_idx ON hooks.paused (hook_id) WHERE hook_id IS NOT NULL;
CREATE UNIQUE INDEX paused_user_idx ON hooks.paused (user_id) WHERE hook_id IS NULL;
COMMENT ON TABLE hooks.paused IS
	'hooks, and users (where hook_id is null), whose deliveries wait until hooks.resume() is called';
COMMENT ON INDEX hooks.paused_hook_idx IS 'a hook is paused once';
COMMENT ON INDEX hooks.paused_user_idx IS 'a user is paused once';

/*
 * Secrets and chat accounts, which the application writes.  They are in no dump.
 */

CREATE TABLE hooks.secret (
	user_id			pg_catalog.uuid NOT NULL,
	name			pg_catalog.text NOT NULL,
	value			pg_catalog.bytea NOT NULL,
	updated_at		pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (user_id, name)
);
COMMENT ON TABLE hooks.secret IS
	'secrets of users, such as the tokens of their chat accounts; written by hooks.set_secret() and '
	'hooks.drop_secret(), read by the worker only: grant nobody any privilege on it';
COMMENT ON COLUMN hooks.secret.value IS
	'encrypted with the first key of hooks.secret_key_file, see hooks.rotate_secrets(); as it is without one';

CREATE TABLE hooks.chat_accounts (
	user_id			pg_catalog.uuid NOT NULL,
	platform		pg_catalog.text NOT NULL,
	channel_id		pg_catalog.text NOT NULL,
	sender_id		pg_catalog.text,
	token			pg_catalog.text NOT NULL,
	extra			pg_catalog.jsonb NOT NULL DEFAULT '{}',
	updated_at		pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (user_id, platform),
	CONSTRAINT platform_is_known CHECK (platform OPERATOR(pg_catalog.=) ANY ('{twitch,kick,youtube}')),
	CONSTRAINT channel_id_is_an_id CHECK (channel_id OPERATOR(pg_catalog.~) '^[A-Za-z0-9_-]{1,100}$'),
	CONSTRAINT sender_id_is_an_id CHECK (sender_id OPERATOR(pg_catalog.~) '^[A-Za-z0-9_-]{1,100}$'),
	CONSTRAINT token_is_the_name_of_a_secret CHECK (token OPERATOR(pg_catalog.~) '^[A-Za-z0-9_.-]{1,64}$'),
	CONSTRAINT extra_is_an_object CHECK (pg_catalog.jsonb_typeof(extra) OPERATOR(pg_catalog.=) 'object'),
	CONSTRAINT twitch_has_sender_and_client_id CHECK (platform OPERATOR(pg_catalog.<>) 'twitch'
		OR (sender_id IS NOT NULL
			AND coalesce(extra OPERATOR(pg_catalog.->>) 'client_id', '') OPERATOR(pg_catalog.~) '^[A-Za-z0-9]{1,100}$')),
	CONSTRAINT kick_has_numeric_channel_and_type CHECK (platform OPERATOR(pg_catalog.<>) 'kick'
		OR (channel_id OPERATOR(pg_catalog.~) '^[1-9][0-9]{0,17}$'
			AND coalesce(extra OPERATOR(pg_catalog.->>) 'type', 'user') OPERATOR(pg_catalog.=) ANY ('{bot,user}')))
);
COMMENT ON TABLE hooks.chat_accounts IS
	'where chat_message hooks write, which the application keeps fresh: GRANT SELECT, INSERT, UPDATE, DELETE on it, and '
	'EXECUTE on hooks.set_secret() and hooks.drop_secret(), to the application''s role';
COMMENT ON COLUMN hooks.chat_accounts.channel_id IS
	'whose chat: the broadcaster''s id (Twitch), user id (Kick), channel id (YouTube)';
COMMENT ON COLUMN hooks.chat_accounts.sender_id IS
	'who writes; hooks that write into chats do not fire on what it has written';
COMMENT ON COLUMN hooks.chat_accounts.token IS
	'the name of the user''s secret that holds the token, see hooks.set_secret()';
COMMENT ON COLUMN hooks.chat_accounts.extra IS
	'what else the platform needs: client_id (Twitch); type, "user" or "bot" (Kick); liveChatId, while a '
	'broadcast is live (YouTube)';

CREATE TABLE hooks.chat_outbox (
	id				pg_catalog.uuid PRIMARY KEY,
	number			pg_catalog.int8 NOT NULL GENERATED ALWAYS AS IDENTITY,
	hook_id			pg_catalog.uuid NOT NULL,
	user_id			pg_catalog.uuid NOT NULL,
	request			pg_catalog.jsonb NOT NULL,
	put_at			pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	expires_at		pg_catalog.timestamptz NOT NULL,
	leased_until	pg_catalog.timestamptz,
	taken			pg_catalog.int4 NOT NULL DEFAULT 0,
	test			pg_catalog.bool NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX chat_outbox_number_idx ON hooks.chat_outbox (number);
COMMENT ON TABLE hooks.chat_outbox IS
	'chat messages that the application sends itself, when the setting hooks.chat is "outbox": it takes them with '
	'hooks.chat_take() and says with hooks.chat_done() what became of them';
COMMENT ON INDEX hooks.chat_outbox_number_idx IS 'finds what is next';
COMMENT ON SEQUENCE hooks.chat_outbox_number_seq IS 'numbers of messages';
COMMENT ON COLUMN hooks.chat_outbox.id IS 'of the delivery: the same whenever the message is taken again';
COMMENT ON COLUMN hooks.chat_outbox.number IS 'messages are given out in this order';
COMMENT ON COLUMN hooks.chat_outbox.request IS 'what is to be sent: id, user_id, message, platforms, messages';
COMMENT ON COLUMN hooks.chat_outbox.expires_at IS 'the message is too old then, and is not to be sent any more';
COMMENT ON COLUMN hooks.chat_outbox.leased_until IS 'somebody has taken it, and sends it until then';
COMMENT ON COLUMN hooks.chat_outbox.taken IS 'how often it was taken';
COMMENT ON COLUMN hooks.chat_outbox.test IS 'it is from hooks.test()';

CREATE TABLE hooks.installation (
	system_identifier	pg_catalog.int8 NOT NULL,
	database			pg_catalog.oid NOT NULL
);
CREATE UNIQUE INDEX installation_one_row ON hooks.installation ((true));

COMMENT ON TABLE hooks.installation IS
	'the server and database that the queue was filled for; in a copy of the database they differ, '
	'and nothing of the queue is sent until hooks.adopt() is called';
COMMENT ON INDEX hooks.installation_one_row IS 'there is one row at most';

INSERT INTO hooks.installation
SELECT c.system_identifier, d.oid
FROM pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d
WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database();

CREATE TABLE hooks.interest ();
COMMENT ON TABLE hooks.interest IS
	'always empty: sessions remember which users have hooks for what, and forget it when the '
	'relation cache entry of this table is invalidated, which a change of hooks does; the hooks '
	'table''s own entry would take the application''s cached plans along';


/*
 * Trigger functions
 */

CREATE FUNCTION hooks.on_event() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_on_event';
COMMENT ON FUNCTION hooks.on_event() IS
	'row trigger of event tables, see hooks.attach(): queues the event if a hook may want it; its '
	'arguments are the names of the columns id, user, type, data, platform, time, where an empty '
	'name means that there is none';

CREATE FUNCTION hooks.check_hook() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_check_hook';
COMMENT ON FUNCTION hooks.check_hook() IS
	'row trigger of stream_hooks: refuses malformed hooks and keeps updated_at';

CREATE FUNCTION hooks.hook_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_hook_changed';
COMMENT ON FUNCTION hooks.hook_changed() IS
	'row and truncate trigger of stream_hooks: tells sessions and worker; also the mark by which '
	'the table is found';

CREATE FUNCTION hooks.account_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_account_changed';
COMMENT ON FUNCTION hooks.account_changed() IS
	'row trigger of hooks.chat_accounts and hooks.secret: has the worker try what waits for them';

CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE ON hooks.secret
	FOR EACH ROW EXECUTE FUNCTION hooks.account_changed();
CREATE TRIGGER changed AFTER UPDATE ON hooks.chat_accounts
	FOR EACH ROW EXECUTE FUNCTION hooks.account_changed();
CREATE TRIGGER connected AFTER INSERT OR DELETE OR UPDATE OF user_id, platform, channel_id, sender_id
	ON hooks.chat_accounts
	FOR EACH ROW EXECUTE FUNCTION hooks.account_changed('connected');
COMMENT ON TRIGGER changed ON hooks.secret IS 'has the worker try what waits for an account';
COMMENT ON TRIGGER changed ON hooks.chat_accounts IS 'has the worker try what waits for an account';
COMMENT ON TRIGGER connected ON hooks.chat_accounts IS 'tells the worker who is connected to which platform';

CREATE FUNCTION hooks.seal(user_id pg_catalog.uuid, name pg_catalog.text, value pg_catalog.text)
	RETURNS pg_catalog.bytea
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'hooks_seal';
COMMENT ON FUNCTION hooks.seal(uuid, text, text) IS
	'what hooks.secret holds for a secret of that value';

CREATE FUNCTION hooks.reseal(user_id pg_catalog.uuid, name pg_catalog.text, value pg_catalog.bytea)
	RETURNS pg_catalog.bytea
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'hooks_reseal';
COMMENT ON FUNCTION hooks.reseal(uuid, text, bytea) IS
	'the same secret encrypted with the first key of hooks.secret_key_file; null if it is already';

CREATE FUNCTION hooks.set_secret(user_id pg_catalog.uuid, name pg_catalog.text, value pg_catalog.text)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO hooks.secret AS s
	VALUES (set_secret.user_id, set_secret.name,
			hooks.seal(set_secret.user_id, set_secret.name, set_secret.value))
	ON CONFLICT ON CONSTRAINT secret_pkey DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at;
END
$$;
COMMENT ON FUNCTION hooks.set_secret(uuid, text, text) IS
	'writes a secret of a user, which only the worker reads; GRANT EXECUTE to the application''s role';

CREATE FUNCTION hooks.drop_secret(user_id pg_catalog.uuid, name pg_catalog.text)
	RETURNS pg_catalog.bool
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM hooks.secret AS s WHERE s.user_id = drop_secret.user_id AND s.name = drop_secret.name;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION hooks.drop_secret(uuid, text) IS
	'removes a secret of a user; false if there is none';

CREATE FUNCTION hooks.rotate_secrets() RETURNS pg_catalog.int8
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	changed int8;
BEGIN
	/* Both of the row as it is, also when somebody else has just written it. */
	UPDATE hooks.secret AS s SET value = hooks.reseal(s.user_id, s.name, s.value)
	WHERE hooks.reseal(s.user_id, s.name, s.value) IS NOT NULL;
	GET DIAGNOSTICS changed = ROW_COUNT;
	RETURN changed;
END
$$;
COMMENT ON FUNCTION hooks.rotate_secrets() IS
	'encrypts all secrets with the first key of hooks.secret_key_file that are not; how many that were';

CREATE FUNCTION hooks.logs_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_logs_changed';
COMMENT ON FUNCTION hooks.logs_changed() IS
	'truncate trigger of stream_hook_logs: the mark by which the table is found';


/*
 * Events, conditions, templates, signatures
 */

CREATE FUNCTION hooks.trigger_lifecycle_event(user_id pg_catalog.uuid, event_type pg_catalog.text,
											  metadata pg_catalog.jsonb DEFAULT '{}')
	RETURNS pg_catalog.uuid
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_trigger_lifecycle_event';
COMMENT ON FUNCTION hooks.trigger_lifecycle_event(uuid, text, jsonb) IS
	'announces an event that is in no table, such as stream_start and stream_end, in the caller''s '
	'transaction; returns the id that the log will name';

CREATE FUNCTION hooks.matches(trigger_type pg_catalog.text, conditions pg_catalog.jsonb,
							  event pg_catalog.jsonb)
	RETURNS pg_catalog.bool
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'hooks_matches';
COMMENT ON FUNCTION hooks.matches(text, jsonb, jsonb) IS
	'would an event of that type with these data satisfy the conditions?';

CREATE FUNCTION hooks.render(template pg_catalog.text, event pg_catalog.jsonb,
							 context pg_catalog.text DEFAULT 'text')
	RETURNS pg_catalog.text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'hooks_render';
COMMENT ON FUNCTION hooks.render(text, jsonb, text) IS
	'a template with its variables replaced, as it would be in a text, json, url or discord context';

CREATE FUNCTION hooks.generate_secret()
	RETURNS pg_catalog.text
	LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'hooks_generate_secret';
COMMENT ON FUNCTION hooks.generate_secret() IS
	'a new secret, for webhooks to be signed with';

CREATE FUNCTION hooks.sign(secret pg_catalog.text, id pg_catalog.text, at pg_catalog.timestamptz,
						   body pg_catalog.text)
	RETURNS pg_catalog.text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'hooks_sign';
COMMENT ON FUNCTION hooks.sign(text, text, timestamptz, text) IS
	'the header webhook-signature of a request with that id, time and body, to test receivers with';


/*
 * Seeing what hooks do.  The functions in C decide as the worker does, of a
 * hook's and an event's values; those around them find hooks and events, with
 * the rights of their caller.
 */

CREATE FUNCTION hooks.judge(trigger_type pg_catalog.text, conditions pg_catalog.jsonb,
							action_type pg_catalog.text, action_config pg_catalog.jsonb,
							hook_id pg_catalog.uuid, hook_name pg_catalog.text, event pg_catalog.jsonb,
							OUT verdict pg_catalog.text, OUT reason pg_catalog.text, OUT key pg_catalog.text,
							OUT event_value pg_catalog.jsonb, OUT hook_value pg_catalog.jsonb)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'hooks_judge';
COMMENT ON FUNCTION hooks.judge(text, jsonb, text, jsonb, uuid, text, jsonb) IS
	'what a hook with these values would decide about an event, its cooldown aside';

CREATE FUNCTION hooks.build(action_type pg_catalog.text, action_config pg_catalog.jsonb,
							hook_id pg_catalog.uuid, hook_name pg_catalog.text, event pg_catalog.jsonb)
	RETURNS TABLE (target pg_catalog.text, method pg_catalog.text, url pg_catalog.text, headers pg_catalog.jsonb,
				   body pg_catalog.text, reason pg_catalog.text)
	LANGUAGE c STABLE ROWS 1 AS 'MODULE_PATHNAME', 'hooks_build';
COMMENT ON FUNCTION hooks.build(text, jsonb, uuid, text, jsonb) IS
	'the message that a hook with these values would send for an event, or the reason why there is none; '
	'a row for each of its destinations';

CREATE FUNCTION hooks.backtest_rows(query pg_catalog.text, user_id pg_catalog.uuid,
									trigger_type pg_catalog.text, since pg_catalog.timestamptz,
									conditions pg_catalog.jsonb, action_type pg_catalog.text,
									cooldown_seconds pg_catalog.int4,
									hook_id pg_catalog.uuid, hook_name pg_catalog.text)
	RETURNS TABLE (event_id pg_catalog.uuid, at pg_catalog.timestamptz, verdict pg_catalog.text,
				   key pg_catalog.text, event_value pg_catalog.jsonb)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'hooks_backtest_rows' ROWS 10000;
COMMENT ON FUNCTION hooks.backtest_rows(text, uuid, text, timestamptz, jsonb, text, int4, uuid, text) IS
	'how a hook with these values would have fared on the events that a query gives';

CREATE FUNCTION hooks.lint(trigger_type pg_catalog.text, conditions pg_catalog.jsonb,
						   action_type pg_catalog.text, action_config pg_catalog.jsonb)
	RETURNS TABLE (column_name pg_catalog.text, warning pg_catalog.text, hint pg_catalog.text)
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'hooks_lint_rows' ROWS 3;
COMMENT ON FUNCTION hooks.lint(text, jsonb, text, jsonb) IS
	'what is wrong with a hook that has these values, or legal but suspicious; no row when all is well';

CREATE VIEW hooks.event_tables AS
SELECT t.tgrelid::pg_catalog.regclass AS events,
	   a.columns[1] AS id_column, a.columns[2] AS user_column, a.columns[3] AS type_column,
	   a.columns[4] AS data_column, a.columns[5] AS platform_column, a.columns[6] AS time_column
FROM pg_catalog.pg_trigger AS t,
	 LATERAL (SELECT pg_catalog.array_agg(pg_catalog.convert_from(pg_catalog.decode(u.piece, 'escape'), 'UTF8')
										  ORDER BY u.n) AS columns
			  FROM pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.encode(t.tgargs, 'escape'), '\000'))
				  WITH ORDINALITY AS u (piece, n)
			  WHERE u.n OPERATOR(pg_catalog.<=) 6) AS a
WHERE t.tgfoid OPERATOR(pg_catalog.=) 'hooks.on_event'::pg_catalog.regproc
	AND t.tgparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid;
COMMENT ON VIEW hooks.event_tables IS
	'the tables whose rows are events, see hooks.attach(), and which columns have what; an empty name '
	'means that there is no such column';

CREATE FUNCTION hooks.time_expression(relation pg_catalog.regclass, column_name pg_catalog.text)
	RETURNS pg_catalog.text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(CASE WHEN a.atttypid = 'timestamp'::regtype THEN 'pg_catalog.timezone(''UTC'', %I)'
				  ELSE '%I' END, a.attname)
	FROM pg_attribute AS a
	WHERE a.attrelid = relation AND a.attname = column_name AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION hooks.time_expression(regclass, text) IS
	'an SQL expression for a column that is a time, as timestamptz: columns without time zone hold UTC';

CREATE FUNCTION hooks.stored_event(event pg_catalog.uuid)
	RETURNS pg_catalog.jsonb
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	source record;
	stored jsonb;
BEGIN
	FOR source IN SELECT * FROM hooks.event_tables ORDER BY events::text LOOP
		EXECUTE format('SELECT jsonb_strip_nulls(jsonb_build_object(''id'', %I, ''user_id'', %I, ''type'', %I::text, '
					   '''platform'', %s::text, ''inserted_at'', '
					   'to_char(timezone(''UTC'', %s), ''YYYY-MM-DD"T"HH24:MI:SS.US"Z"''))) '
					   '|| jsonb_build_object(''data'', %I) FROM %s WHERE %I = $1',
					   source.id_column, source.user_column, source.type_column,
					   CASE source.platform_column WHEN '' THEN 'NULL' ELSE quote_ident(source.platform_column) END,
					   coalesce(hooks.time_expression(source.events, source.time_column), 'now()'),
					   source.data_column, source.events, source.id_column)
			INTO stored USING event;
		IF stored IS NOT NULL THEN
			RETURN stored;
		END IF;
	END LOOP;
	RAISE EXCEPTION 'event "%" does not exist', event
		USING ERRCODE = 'no_data_found',
			  HINT = 'Events are rows of the tables in hooks.event_tables.';
END
$$;
COMMENT ON FUNCTION hooks.stored_event(uuid) IS
	'the event of that id as JSON, as hooks.preview() and others take events';

CREATE FUNCTION hooks.stored_hooks(hook pg_catalog.uuid, of_user pg_catalog.uuid)
	RETURNS TABLE (id pg_catalog.uuid, user_id pg_catalog.uuid, name pg_catalog.text, enabled pg_catalog.bool,
				   trigger_type pg_catalog.text, conditions pg_catalog.jsonb, action_type pg_catalog.text,
				   action_config pg_catalog.jsonb, cooldown_seconds pg_catalog.int4,
				   last_triggered_at pg_catalog.timestamptz)
	LANGUAGE plpgsql STABLE ROWS 5
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation regclass;
BEGIN
	SELECT t.tgrelid INTO relation FROM pg_trigger AS t
	WHERE t.tgfoid = 'hooks.hook_changed'::regproc AND t.tgparentid = 0
	LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no table of hooks in this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Create it by SELECT hooks.setup().';
	END IF;
	RETURN QUERY EXECUTE format(
		'SELECT id, user_id, name::text, enabled, trigger_type::text, conditions, action_type::text, '
		'action_config, cooldown_seconds::int4, %s FROM %s WHERE %s = $1 ORDER BY inserted_at, id',
		hooks.time_expression(relation, 'last_triggered_at'), relation,
		CASE WHEN hook IS NULL THEN 'user_id' ELSE 'id' END)
		USING coalesce(hook, of_user);
	IF NOT FOUND AND hook IS NOT NULL THEN
		RAISE EXCEPTION 'hook "%" does not exist', hook
			USING ERRCODE = 'no_data_found';
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.stored_hooks(uuid, uuid) IS
	'one hook, or else those of a user, oldest first, whatever the types of the table''s columns are';

CREATE FUNCTION hooks.preview(hook pg_catalog.uuid, event pg_catalog.jsonb)
	RETURNS TABLE (verdict pg_catalog.text, reason pg_catalog.text, method pg_catalog.text, url pg_catalog.text,
				   headers pg_catalog.jsonb, body pg_catalog.text, target pg_catalog.text)
	LANGUAGE plpgsql STABLE ROWS 1
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	h record;
	decision text;
	why text;
BEGIN
	IF hook IS NULL OR event IS NULL THEN
		RAISE EXCEPTION 'hook and event must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT * INTO h FROM hooks.stored_hooks(hook, NULL);
	IF NOT event ? 'type' THEN
		event := event || jsonb_build_object('type', h.trigger_type);
	END IF;
	SELECT j.verdict, j.reason INTO decision, why
	FROM hooks.judge(h.trigger_type, h.conditions, h.action_type, h.action_config, h.id, h.name, event) AS j;
	IF NOT h.enabled THEN
		decision := 'disabled';
		why := 'the hook is not enabled';
	ELSIF h.user_id::text <> lower(event ->> 'user_id') THEN
		decision := 'other_user';
		why := 'the event is of another user';
	ELSIF decision = 'fires' AND h.last_triggered_at + make_interval(secs => h.cooldown_seconds) > now() THEN
		decision := 'skipped_cooldown';
		why := format('fired at %s, and waits %s seconds', h.last_triggered_at, h.cooldown_seconds);
	END IF;
	RETURN QUERY
	SELECT CASE WHEN b.reason IS NOT NULL AND decision = 'fires' THEN 'failure' ELSE decision END,
		   CASE WHEN b.reason IS NOT NULL AND decision = 'fires' THEN b.reason ELSE why END,
		   b.method, b.url, b.headers, b.body, b.target
	FROM hooks.build(h.action_type, h.action_config, h.id, h.name, event) AS b;
END
$$;
COMMENT ON FUNCTION hooks.preview(uuid, jsonb) IS
	'what the hook would do about an event: verdict ("fires", "skipped_condition", "skipped_cooldown", "failure", '
	'"disabled", "other_trigger_type", "other_user"), reason, and the message it would send; secrets are '
	'masked, nothing is sent and no cooldown is taken; the event is a row as JSON, or just its data; '
	'a chat_message has a row for each platform, which target names';

CREATE FUNCTION hooks.preview(hook pg_catalog.uuid, event pg_catalog.uuid)
	RETURNS TABLE (verdict pg_catalog.text, reason pg_catalog.text, method pg_catalog.text, url pg_catalog.text,
				   headers pg_catalog.jsonb, body pg_catalog.text, target pg_catalog.text)
	LANGUAGE sql STABLE ROWS 1
	SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM hooks.preview(hook, hooks.stored_event(event)) $$;
COMMENT ON FUNCTION hooks.preview(uuid, uuid) IS
	'the same for an event that is stored in an event table';

CREATE FUNCTION hooks.sample_event(trigger_type pg_catalog.text)
	RETURNS pg_catalog.jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object('type', trigger_type, 'platform', 'twitch', 'data', s.data)
	FROM (VALUES
		('donation', '{"donor_name": "Test viewer", "amount": "10.00", "currency": "EUR", "message": "This is a test."}'::jsonb),
		('follow', '{"username": "Test viewer", "display_name": "Test viewer"}'),
		('raid', '{"raider_name": "Test viewer", "viewer_count": "47", "message": "This is a test."}'),
		('subscription', '{"username": "Test viewer", "tier": "1", "months": "3", "message": "This is a test."}'),
		('chat_message', '{"username": "Test viewer", "message": "This is a test.", "is_moderator": false, "is_sent_by_streamer": false}'),
		('stream_start', '{"title": "This is a test"}'),
		('stream_end', '{"reason": "This is a test."}')) AS s (type, data)
	WHERE s.type = trigger_type
$$;
COMMENT ON FUNCTION hooks.sample_event(text) IS
	'an event of that type, with what such events always have, for hooks.preview() and hooks.test(); null for other types';

CREATE FUNCTION hooks.test(hook pg_catalog.uuid, event pg_catalog.jsonb DEFAULT NULL)
	RETURNS TABLE (target pg_catalog.text, status pg_catalog.text, response_status pg_catalog.int4,
				   duration_ms pg_catalog.int4, error_message pg_catalog.text)
	LANGUAGE c VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'hooks_test';
COMMENT ON FUNCTION hooks.test(uuid, jsonb) IS
	'sends one message of the hook, marked as a test, for a sample event or this one, whether its conditions hold or not, '
	'and waits for what comes of it, which is not logged; it takes no cooldown, and is not tried again; '
	'target says which of several destinations a row is about';

CREATE FUNCTION hooks.explain(event pg_catalog.uuid)
	RETURNS TABLE (hook_id pg_catalog.uuid, hook_name pg_catalog.text, verdict pg_catalog.text,
				   reason pg_catalog.text, key pg_catalog.text, event_value pg_catalog.jsonb,
				   hook_value pg_catalog.jsonb, cooldown_left pg_catalog.interval)
	LANGUAGE plpgsql STABLE ROWS 5
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	stored jsonb := hooks.stored_event(event);
BEGIN
	-- Rows of other types are in event tables too, and fire nothing.
	IF NOT stored ->> 'type' = ANY ('{donation,follow,raid,subscription,stream_start,stream_end,chat_message}') THEN
		stored := stored - 'type';
	END IF;
	RETURN QUERY
	SELECT h.id, h.name,
		   CASE WHEN NOT h.enabled THEN 'disabled'
				WHEN j.verdict = 'fires' AND c.remaining > interval '0' THEN 'skipped_cooldown'
				ELSE j.verdict END,
		   CASE WHEN NOT h.enabled THEN 'the hook is not enabled'
				WHEN j.verdict = 'fires' AND c.remaining > interval '0'
				THEN format('fired at %s, and waits %s seconds', h.last_triggered_at, h.cooldown_seconds)
				ELSE j.reason END,
		   j.key, j.event_value, j.hook_value, c.remaining
	FROM hooks.stored_hooks(NULL, (stored ->> 'user_id')::uuid) AS h,
		 LATERAL hooks.judge(h.trigger_type, h.conditions, h.action_type, h.action_config, h.id, h.name, stored) AS j,
		 LATERAL (SELECT greatest(h.last_triggered_at + make_interval(secs => h.cooldown_seconds) - now(),
								  interval '0') AS remaining) AS c;
END
$$;
COMMENT ON FUNCTION hooks.explain(uuid) IS
	'what each hook of the event''s user says to a stored event if it came now: the verdict as in preview(), '
	'the reason, the condition that decides with the event''s and the hook''s value, what is left of its cooldown';

CREATE FUNCTION hooks.backtest_query()
	RETURNS pg_catalog.text
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(string_agg(
		format('SELECT %I, %I, %s::text, %s FROM %s WHERE %I = $1 AND %I::text = $2 AND %I >= %s',
			   e.id_column, e.data_column,
			   CASE e.platform_column WHEN '' THEN 'NULL' ELSE quote_ident(e.platform_column) END,
			   hooks.time_expression(e.events, e.time_column), e.events, e.user_column, e.type_column, e.time_column,
			   CASE WHEN hooks.time_expression(e.events, e.time_column) LIKE 'pg_catalog.timezone%'
					THEN 'pg_catalog.timezone(''UTC'', $3)' ELSE '$3' END),
		' UNION ALL ' ORDER BY e.events::text) || ' ORDER BY 4, 1',
		'SELECT NULL::uuid, NULL::jsonb, NULL::text, $3 WHERE false AND $1 IS NULL AND $2 IS NULL')
	FROM hooks.event_tables AS e
	WHERE e.time_column <> ''
$$;
COMMENT ON FUNCTION hooks.backtest_query() IS
	'the query for backtest_rows() over all event tables that have a time';

CREATE FUNCTION hooks.backtest(hook pg_catalog.uuid, since pg_catalog.timestamptz)
	RETURNS TABLE (event_id pg_catalog.uuid, at pg_catalog.timestamptz, verdict pg_catalog.text,
				   key pg_catalog.text, event_value pg_catalog.jsonb)
	LANGUAGE sql STABLE ROWS 10000
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT b.*
	FROM hooks.stored_hooks(hook, NULL) AS h,
		 LATERAL hooks.backtest_rows(hooks.backtest_query(), h.user_id, h.trigger_type, since, h.conditions,
									 h.action_type, h.cooldown_seconds, h.id, h.name) AS b
$$;
COMMENT ON FUNCTION hooks.backtest(uuid, timestamptz) IS
	'how the hook would have fared on the stored events since then, oldest first, with its cooldown: a row '
	'per event with "fires", "skipped_condition" (and the condition that decides) or "skipped_cooldown"';

CREATE FUNCTION hooks.backtest(hook pg_catalog.uuid, since pg_catalog.interval DEFAULT '7 days')
	RETURNS TABLE (event_id pg_catalog.uuid, at pg_catalog.timestamptz, verdict pg_catalog.text,
				   key pg_catalog.text, event_value pg_catalog.jsonb)
	LANGUAGE sql STABLE ROWS 10000
	SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM hooks.backtest(hook, now() - since) $$;
COMMENT ON FUNCTION hooks.backtest(uuid, interval) IS
	'the same for the events of the last days or hours';

CREATE FUNCTION hooks.backtest(user_id pg_catalog.uuid, trigger_type pg_catalog.text, conditions pg_catalog.jsonb,
							   cooldown_seconds pg_catalog.int4, since pg_catalog.timestamptz)
	RETURNS TABLE (event_id pg_catalog.uuid, at pg_catalog.timestamptz, verdict pg_catalog.text,
				   key pg_catalog.text, event_value pg_catalog.jsonb)
	LANGUAGE sql STABLE ROWS 10000
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT *
	FROM hooks.backtest_rows(hooks.backtest_query(), user_id, trigger_type, since, conditions, NULL,
							 cooldown_seconds, NULL, NULL)
$$;
COMMENT ON FUNCTION hooks.backtest(uuid, text, jsonb, int4, timestamptz) IS
	'the same for a hook that is not written yet';

CREATE FUNCTION hooks.backtest(user_id pg_catalog.uuid, trigger_type pg_catalog.text, conditions pg_catalog.jsonb,
							   cooldown_seconds pg_catalog.int4 DEFAULT 0, since pg_catalog.interval DEFAULT '7 days')
	RETURNS TABLE (event_id pg_catalog.uuid, at pg_catalog.timestamptz, verdict pg_catalog.text,
				   key pg_catalog.text, event_value pg_catalog.jsonb)
	LANGUAGE sql STABLE ROWS 10000
	SET search_path = pg_catalog, pg_temp
AS $$ SELECT * FROM hooks.backtest(user_id, trigger_type, conditions, cooldown_seconds, now() - since) $$;
COMMENT ON FUNCTION hooks.backtest(uuid, text, jsonb, int4, interval) IS
	'the same for a hook that is not written yet and the events of the last days or hours';

CREATE FUNCTION hooks.backtest_summary(hook pg_catalog.uuid, since pg_catalog.interval DEFAULT '7 days',
									   OUT events pg_catalog.int8, OUT fires pg_catalog.int8,
									   OUT skipped_condition pg_catalog.int8, OUT skipped_cooldown pg_catalog.int8,
									   OUT first_fires pg_catalog.timestamptz, OUT last_fires pg_catalog.timestamptz)
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(*), count(*) FILTER (WHERE verdict = 'fires'),
		   count(*) FILTER (WHERE verdict = 'skipped_condition'), count(*) FILTER (WHERE verdict = 'skipped_cooldown'),
		   min(at) FILTER (WHERE verdict = 'fires'), max(at) FILTER (WHERE verdict = 'fires')
	FROM hooks.backtest(hook, since)
$$;
COMMENT ON FUNCTION hooks.backtest_summary(uuid, interval) IS
	'hooks.backtest() in one row';

CREATE FUNCTION hooks.backtest_summary(user_id pg_catalog.uuid, trigger_type pg_catalog.text,
									   conditions pg_catalog.jsonb, cooldown_seconds pg_catalog.int4 DEFAULT 0,
									   since pg_catalog.interval DEFAULT '7 days',
									   OUT events pg_catalog.int8, OUT fires pg_catalog.int8,
									   OUT skipped_condition pg_catalog.int8, OUT skipped_cooldown pg_catalog.int8,
									   OUT first_fires pg_catalog.timestamptz, OUT last_fires pg_catalog.timestamptz)
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(*), count(*) FILTER (WHERE verdict = 'fires'),
		   count(*) FILTER (WHERE verdict = 'skipped_condition'), count(*) FILTER (WHERE verdict = 'skipped_cooldown'),
		   min(at) FILTER (WHERE verdict = 'fires'), max(at) FILTER (WHERE verdict = 'fires')
	FROM hooks.backtest(user_id, trigger_type, conditions, cooldown_seconds, since)
$$;
COMMENT ON FUNCTION hooks.backtest_summary(uuid, text, jsonb, int4, interval) IS
	'hooks.backtest() of a hook that is not written yet, in one row';

CREATE FUNCTION hooks.lint(hook pg_catalog.uuid)
	RETURNS TABLE (column_name pg_catalog.text, warning pg_catalog.text, hint pg_catalog.text)
	LANGUAGE sql STABLE ROWS 3
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT l.*
	FROM hooks.stored_hooks(hook, NULL) AS h,
		 LATERAL hooks.lint(h.trigger_type, h.conditions, h.action_type, h.action_config) AS l
$$;
COMMENT ON FUNCTION hooks.lint(uuid) IS
	'what is wrong with a hook, or legal but suspicious; no row when all is well';


/*
 * Addresses
 */

CREATE FUNCTION hooks.check_address(address pg_catalog.inet)
	RETURNS pg_catalog.text
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'hooks_check_address';
COMMENT ON FUNCTION hooks.check_address(inet) IS
	'why this server would not connect to the address; NULL if it would';

CREATE FUNCTION hooks.check_host(host pg_catalog.text)
	RETURNS pg_catalog.text
	LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'hooks_check_host';
COMMENT ON FUNCTION hooks.check_host(text) IS
	'why this server would not look the host name up; NULL if it would';


/*
 * Watching and running
 */

CREATE FUNCTION hooks.is_preloaded()
	RETURNS pg_catalog.bool
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_is_preloaded';
COMMENT ON FUNCTION hooks.is_preloaded() IS
	'is the library in shared_preload_libraries, without which nothing is sent?';

CREATE FUNCTION hooks.wait_idle(timeout pg_catalog.interval DEFAULT '30 seconds')
	RETURNS pg_catalog.bool
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_wait_idle';
COMMENT ON FUNCTION hooks.wait_idle(interval) IS
	'waits until nothing is queued or in flight; false if the time has run out before';

CREATE FUNCTION hooks.wake()
	RETURNS pg_catalog.void
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_wake';
COMMENT ON FUNCTION hooks.wake() IS
	'starts the worker of this database if it is not running, and has it look again';

CREATE FUNCTION hooks.stat_values()
	RETURNS TABLE (name pg_catalog.text, value pg_catalog.int8)
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_stat_values' ROWS 20;
COMMENT ON FUNCTION hooks.stat_values() IS
	'the counters of this database by name; the view hooks.stat shows them as columns';

-- hooks.stat: one row, a column per counter.  A new counter is one line here.
DO $$
DECLARE
	counters CONSTANT pg_catalog.text[] := ARRAY[
		['events_queued',		'events that sessions appended to the queue'],
		['events_too_old',		'events not queued because they were older than hooks.max_event_age'],
		['events_refused',		'events not queued because the row could not be understood'],
		['events_flooded',		'events dropped because their user had more than hooks.flood_rate allows'],
		['events_read',			'events that the worker has read from the queue'],
		['deliveries_started',	'attempts that were started'],
		['skipped_condition',	'skipped because the hook''s conditions were false'],
		['skipped_cooldown',	'skipped because the hook was in cooldown'],
		['succeeded',			'attempts that ended in success'],
		['failed',				'attempts that ended in failure'],
		['unlogged',			'results that could not be written to the log table'],
		['in_flight',			'requests under way now'],
		['waiting',				'deliveries that wait for their turn now'],
		['rotations',			'queue tables that were emptied']
	];
	counter pg_catalog.text[];
BEGIN
	EXECUTE 'CREATE VIEW hooks.stat AS SELECT '
		OPERATOR(pg_catalog.||) (
			SELECT pg_catalog.string_agg(
				pg_catalog.format('pg_catalog.max(value) FILTER (WHERE name OPERATOR(pg_catalog.=) %L) AS %I',
								  counters[i][1], counters[i][1]), ', ' ORDER BY i)
			FROM pg_catalog.generate_subscripts(counters, 1) AS i)
		OPERATOR(pg_catalog.||) ' FROM hooks.stat_values()';
	FOREACH counter SLICE 1 IN ARRAY counters LOOP
		EXECUTE pg_catalog.format('COMMENT ON COLUMN hooks.stat.%I IS %L', counter[1], counter[2]);
	END LOOP;
END
$$;
COMMENT ON VIEW hooks.stat IS
	'counters of this database since the server started; each column has a comment (\d+ hooks.stat)';

CREATE FUNCTION hooks.latency_values()
	RETURNS TABLE (measure pg_catalog.text, le pg_catalog.float8, count pg_catalog.int8, sum pg_catalog.float8)
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_latency_values' ROWS 32;
COMMENT ON FUNCTION hooks.latency_values() IS
	'how long things took in this database; the view hooks.latency shows it';

CREATE VIEW hooks.latency AS
SELECT v.measure, v.le, v.count, v.sum FROM hooks.latency_values() AS v;
COMMENT ON VIEW hooks.latency IS
	'how long things took in this database since the server started: a histogram';
COMMENT ON COLUMN hooks.latency.measure IS
	'"start", from the insertion of an event to the first request about it; "request", from a request to its answer or '
	'its failure';
COMMENT ON COLUMN hooks.latency.le IS 'upper bound in seconds; Infinity in the last row of each measure';
COMMENT ON COLUMN hooks.latency.count IS 'how many took that long or less';
COMMENT ON COLUMN hooks.latency.sum IS 'all of the measure together, in seconds; the same in each of its rows';

CREATE FUNCTION hooks.worker_rows()
	RETURNS TABLE (database pg_catalog.oid, pid pg_catalog.int4, state pg_catalog.text, work pg_catalog.bool,
				   waiting pg_catalog.int8, in_flight pg_catalog.int8, failures pg_catalog.int4,
				   start_at pg_catalog.timestamptz)
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_worker_rows' ROWS 10;
COMMENT ON FUNCTION hooks.worker_rows() IS
	'the databases of this server that have a worker or have had one; the view hooks.workers shows them';

CREATE VIEW hooks.workers AS
SELECT d.datname AS database, w.pid, w.state, w.work, w.waiting, w.in_flight, w.failures, w.start_at
FROM hooks.worker_rows() AS w
	JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) w.database;
COMMENT ON VIEW hooks.workers IS
	'one row for each database of this server that has a worker or has had one';
COMMENT ON COLUMN hooks.workers.state IS
	'"running"; "starting"; "idle", there is nothing to do; "held", a command needs the database to itself; "failed", '
	'it is started again at start_at';
COMMENT ON COLUMN hooks.workers.work IS 'something was queued that it has not looked at';
COMMENT ON COLUMN hooks.workers.waiting IS 'deliveries that wait for their turn in its memory';
COMMENT ON COLUMN hooks.workers.in_flight IS 'requests under way';
COMMENT ON COLUMN hooks.workers.failures IS 'of workers in a row; 0 when one has been well for a while';
COMMENT ON COLUMN hooks.workers.start_at IS
	'when it is needed next, of one that is not running; null when something has to be queued first';

/*
 * What waits, what was given up, how hooks fare; and what can be done about it.
 * The views show what belongs to hooks that their reader may see.
 */

CREATE FUNCTION hooks.visible_hooks()
	RETURNS TABLE (id pg_catalog.uuid, user_id pg_catalog.uuid, name pg_catalog.text, enabled pg_catalog.bool,
				   trigger_type pg_catalog.text, action_type pg_catalog.text)
	LANGUAGE plpgsql STABLE ROWS 10000
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation regclass;
BEGIN
	SELECT t.tgrelid INTO relation FROM pg_trigger AS t
	WHERE t.tgfoid = 'hooks.hook_changed'::regproc AND t.tgparentid = 0
	LIMIT 1;
	IF FOUND THEN
		RETURN QUERY EXECUTE format('SELECT id, user_id, name::text, enabled, trigger_type::text, '
									'action_type::text FROM %s', relation);
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.visible_hooks() IS
	'the hooks that the caller may see';

CREATE VIEW hooks.queued AS
SELECT q.queued_at, q.event_id, q.user_id, q.event_type, q.request, q.hook_id, q.target
FROM (SELECT * FROM hooks.queue_0
	  UNION ALL SELECT * FROM hooks.queue_1
	  UNION ALL SELECT * FROM hooks.queue_2) AS q
WHERE NOT EXISTS (
	SELECT FROM (SELECT pg_catalog.unnest(a.xid) AS xid, pg_catalog.unnest(a.n) AS n, pg_catalog.unnest(a.hook) AS hook
				 FROM (SELECT * FROM hooks.ack_0
					   UNION ALL SELECT * FROM hooks.ack_1
					   UNION ALL SELECT * FROM hooks.ack_2) AS a) AS done
	WHERE done.xid OPERATOR(pg_catalog.=) q.xid AND done.n OPERATOR(pg_catalog.=) q.n AND done.hook IS NULL);
COMMENT ON VIEW hooks.queued IS
	'events and requests in the queue that are not done with';

-- Without WITH, the UNION ALL would be taken apart, and the barrier with it.
CREATE VIEW hooks.pending WITH (security_barrier) AS
WITH visible AS MATERIALIZED (SELECT h.id, h.user_id FROM hooks.visible_hooks() AS h)
SELECT d.id AS delivery_id, d.hook_id, d.user_id, d.event_id, d.event_type AS trigger_type, d.why AS state,
	   d.attempts, CASE WHEN pg_catalog.isfinite(d.next_at) THEN d.next_at END AS next_attempt_at,
	   d.last_error, d.last_status, d.last_at AS last_attempt_at, d.queued_at, d.target
FROM hooks.delivery AS d
WHERE d.next_at IS NOT NULL
	AND d.hook_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT v.id FROM visible AS v))
UNION ALL
SELECT NULL, q.hook_id, q.user_id, q.event_id, q.event_type, pg_catalog.concat_ws(' ', 'queued', q.request),
	   0, NULL, NULL, NULL, NULL, q.queued_at, q.target
FROM hooks.queued AS q
WHERE q.user_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT v.user_id FROM visible AS v));
COMMENT ON VIEW hooks.pending IS
	'what is still to be done: deliveries that wait, and events in the queue, of which deliveries are made';
COMMENT ON COLUMN hooks.pending.delivery_id IS
	'what the destination sees as webhook-id; null for an event in the queue';
COMMENT ON COLUMN hooks.pending.state IS
	'why it waits: "queued"; "retry", an attempt has failed; "host", its host does not work or takes no more for now; '
	'"paused"; "resumed", it is about to go on; "replay", it was asked for and is paced; '
	'"account", the token of its chat account is stale; "outbox", the application is to send it';
COMMENT ON COLUMN hooks.pending.target IS
	'which of the hook''s destinations, of a hook that has several: a chat platform';
COMMENT ON COLUMN hooks.pending.next_attempt_at IS 'null: as soon as possible, or, when paused, no time';

CREATE VIEW hooks.dead WITH (security_barrier) AS
SELECT d.id AS delivery_id, d.hook_id, d.user_id, d.event_id, d.event_type AS trigger_type, d.attempts,
	   d.last_error, d.last_status, d.last_at AS given_up_at, d.queued_at, d.platform, d.data, d.target
FROM hooks.delivery AS d
WHERE d.next_at IS NULL
	AND d.hook_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT h.id FROM hooks.visible_hooks() AS h));
COMMENT ON VIEW hooks.dead IS
	'deliveries that were given up within hooks.dead_retention; hooks.redeliver(delivery_id) sends one again';

CREATE VIEW hooks.hook_health WITH (security_barrier) AS
SELECT v.id AS hook_id, v.user_id, v.name, v.enabled,
	   CASE WHEN NOT v.enabled THEN 'disabled'
			WHEN p.paused THEN 'paused'
			WHEN h.failures OPERATOR(pg_catalog.>) 0 THEN 'failing'
			ELSE 'well' END AS state,
	   CASE WHEN NOT v.enabled THEN h.disabled_reason END AS disabled_reason,
	   CASE WHEN NOT v.enabled THEN h.disabled_at END AS disabled_at,
	   coalesce(h.failures, 0) AS failures, h.failing_since, h.last_failure_at, h.last_status, h.last_error
FROM hooks.visible_hooks() AS v
	-- One that somebody has enabled again begins anew.
	LEFT JOIN hooks.health AS h ON h.hook_id OPERATOR(pg_catalog.=) v.id
		AND NOT (v.enabled AND h.disabled_at IS NOT NULL),
	LATERAL (SELECT EXISTS (SELECT FROM hooks.paused AS x
							WHERE x.hook_id OPERATOR(pg_catalog.=) v.id
								OR (x.hook_id IS NULL AND x.user_id OPERATOR(pg_catalog.=) v.user_id)) AS paused) AS p;
COMMENT ON VIEW hooks.hook_health IS
	'how each hook fares: "well", "failing" (its last attempt failed), "paused", "disabled"; the failures are those '
	'since its last success';
COMMENT ON COLUMN hooks.hook_health.disabled_reason IS
	'why the worker has disabled it; null when somebody else did';

CREATE FUNCTION hooks.hook_stats_rows()
	RETURNS TABLE (hook_id pg_catalog.uuid, user_id pg_catalog.uuid, name pg_catalog.text, enabled pg_catalog.bool,
				   trigger_type pg_catalog.text, action_type pg_catalog.text, succeeded pg_catalog.int8,
				   failed pg_catalog.int8, skipped_cooldown pg_catalog.int8, skipped_condition pg_catalog.int8,
				   requests pg_catalog.int8, seconds pg_catalog.float8, last_at pg_catalog.timestamptz,
				   since pg_catalog.timestamptz)
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_hook_stats_rows' ROWS 10000;
COMMENT ON FUNCTION hooks.hook_stats_rows() IS
	'the counters of the hooks that the caller may see; the view hooks.hook_stats shows them';

CREATE VIEW hooks.hook_stats WITH (security_barrier) AS
SELECT s.hook_id, s.user_id, s.name, s.enabled, s.trigger_type, s.action_type, s.succeeded, s.failed,
	   s.skipped_condition, s.skipped_cooldown, s.requests,
	   s.seconds OPERATOR(pg_catalog./) nullif(s.requests, 0) OPERATOR(pg_catalog.*) 1000 AS mean_ms, s.last_at, s.since
FROM hooks.hook_stats_rows() AS s;
COMMENT ON VIEW hooks.hook_stats IS
	'what became of each hook''s events since the server started, by counters that need no table; those of '
	'hooks.max_hook_stats hooks are kept';
COMMENT ON COLUMN hooks.hook_stats.succeeded IS 'attempts that ended in success';
COMMENT ON COLUMN hooks.hook_stats.failed IS 'attempts that ended in failure, and what could not be attempted';
COMMENT ON COLUMN hooks.hook_stats.requests IS 'requests that were sent';
COMMENT ON COLUMN hooks.hook_stats.mean_ms IS 'how long they took';
COMMENT ON COLUMN hooks.hook_stats.last_at IS 'when something was counted last; null: nothing was';
COMMENT ON COLUMN hooks.hook_stats.since IS 'when counting began; null: it has not';

CREATE VIEW hooks.messages WITH (security_barrier) AS
SELECT m.user_id, m.name, m.stream, m.message_id, m.event_id, m.posted_at, m.changed_at
FROM hooks.message AS m
WHERE m.message_id OPERATOR(pg_catalog.<>) ''
	AND m.user_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT h.user_id FROM hooks.visible_hooks() AS h));
COMMENT ON VIEW hooks.messages IS
	'messages that were posted for a stream, and that hooks with the setting "edit" change; of users of whom the '
	'reader may see a hook';
COMMENT ON COLUMN hooks.messages.name IS 'the webhook, and the name in "edit"';
COMMENT ON COLUMN hooks.messages.stream IS 'what the events call "livestream_id"; empty where they do not say';
COMMENT ON COLUMN hooks.messages.event_id IS 'the event that posted it';

CREATE FUNCTION hooks.under_way()
	RETURNS TABLE (user_id pg_catalog.uuid, requests pg_catalog.int4)
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_under_way' ROWS 100;
COMMENT ON FUNCTION hooks.under_way() IS
	'users who have requests under way, and how many, of those of whom the caller may see a hook';

CREATE FUNCTION hooks.last_results(users pg_catalog.uuid[])
	RETURNS TABLE (user_id pg_catalog.uuid, at pg_catalog.timestamptz, status pg_catalog.text, error pg_catalog.text)
	LANGUAGE plpgsql STABLE ROWS 10000
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation regclass;
BEGIN
	SELECT t.tgrelid INTO relation FROM pg_trigger AS t
	WHERE t.tgfoid = 'hooks.logs_changed'::regproc AND t.tgparentid = 0
	LIMIT 1;
	IF FOUND THEN
		RETURN QUERY EXECUTE format(
			'SELECT u.id, l.at, l.status, l.error_message FROM unnest($1) AS u (id), LATERAL ('
			'SELECT %s AS at, status::text, error_message::text FROM %s WHERE user_id = u.id '
			'ORDER BY inserted_at DESC LIMIT 1) AS l',
			hooks.time_expression(relation, 'executed_at'), relation)
			USING users;
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.last_results(uuid[]) IS
	'the last row of the log of each of these users, as the caller may see it';

CREATE VIEW hooks.executors WITH (security_barrier) AS
SELECT h.user_id, h.hooks, coalesce(d.n, 0) OPERATOR(pg_catalog.+) coalesce(q.n, 0) AS waiting,
	   coalesce(u.requests, 0) AS in_flight, p.paused, l.at AS last_event_at, l.status AS last_status, l.error AS last_error
FROM (SELECT v.user_id, pg_catalog.count(*) FILTER (WHERE v.enabled) AS hooks
	  FROM hooks.visible_hooks() AS v GROUP BY v.user_id) AS h
	LEFT JOIN (SELECT user_id, pg_catalog.count(*) AS n FROM hooks.delivery WHERE next_at IS NOT NULL GROUP BY user_id) AS d
		ON d.user_id OPERATOR(pg_catalog.=) h.user_id
	LEFT JOIN (SELECT user_id, pg_catalog.count(*) AS n FROM hooks.queued GROUP BY user_id) AS q
		ON q.user_id OPERATOR(pg_catalog.=) h.user_id
	LEFT JOIN hooks.under_way() AS u ON u.user_id OPERATOR(pg_catalog.=) h.user_id
	LEFT JOIN hooks.last_results(ARRAY(SELECT v.user_id FROM hooks.visible_hooks() AS v GROUP BY v.user_id)) AS l
		ON l.user_id OPERATOR(pg_catalog.=) h.user_id,
	LATERAL (SELECT EXISTS (SELECT FROM hooks.paused AS x
							WHERE x.hook_id IS NULL AND x.user_id OPERATOR(pg_catalog.=) h.user_id) AS paused) AS p;
COMMENT ON VIEW hooks.executors IS
	'one row per user with hooks';
COMMENT ON COLUMN hooks.executors.hooks IS 'that are enabled';
COMMENT ON COLUMN hooks.executors.waiting IS 'deliveries that wait, and events in the queue that are not done with';
COMMENT ON COLUMN hooks.executors.in_flight IS 'requests under way';
COMMENT ON COLUMN hooks.executors.last_event_at IS 'when something was last done or decided about an event of the user';

CREATE FUNCTION hooks.pause(hook pg_catalog.uuid DEFAULT NULL, user_id pg_catalog.uuid DEFAULT NULL)
	RETURNS pg_catalog.bool
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_pause';
COMMENT ON FUNCTION hooks.pause(uuid, uuid) IS
	'has the deliveries of a hook, or of all hooks of a user, wait until resume(); false if they did already';

CREATE FUNCTION hooks.resume(hook pg_catalog.uuid DEFAULT NULL, user_id pg_catalog.uuid DEFAULT NULL)
	RETURNS pg_catalog.bool
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_resume';
COMMENT ON FUNCTION hooks.resume(uuid, uuid) IS
	'ends pause(): what has waited is sent, in its order; false if there was no pause';

CREATE FUNCTION hooks.cancel(delivery pg_catalog.uuid)
	RETURNS pg_catalog.bool
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'hooks_cancel';
COMMENT ON FUNCTION hooks.cancel(uuid) IS
	'a delivery of hooks.pending is not to be made; false if it does not wait (any more)';

CREATE FUNCTION hooks.redeliver(delivery pg_catalog.uuid)
	RETURNS pg_catalog.uuid
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'hooks_redeliver';
COMMENT ON FUNCTION hooks.redeliver(uuid) IS
	'sends a delivery again, with the same delivery id, and hooks.replay_rate at most of them per second: one of '
	'hooks.dead or hooks.pending by its delivery_id, or the one that a row of stream_hook_logs is about, by its id; '
	'returns the delivery id';

CREATE FUNCTION hooks.redeliver(hook pg_catalog.uuid, since pg_catalog.timestamptz)
	RETURNS pg_catalog.int8
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	n int8;
BEGIN
	SELECT count(hooks.redeliver(d.delivery_id)) INTO n
	FROM (SELECT delivery_id FROM hooks.dead
		  WHERE hook_id = redeliver.hook AND given_up_at >= since ORDER BY queued_at) AS d;
	RETURN n;
END
$$;
COMMENT ON FUNCTION hooks.redeliver(uuid, timestamptz) IS
	'the same for all deliveries of a hook that were given up since then; returns how many';

CREATE FUNCTION hooks.redeliver(hook pg_catalog.uuid, since pg_catalog.interval)
	RETURNS pg_catalog.int8
	LANGUAGE sql
	SET search_path = pg_catalog, pg_temp
AS $$ SELECT hooks.redeliver(hook, now() - since) $$;
COMMENT ON FUNCTION hooks.redeliver(uuid, interval) IS
	'the same for the last days or hours';

CREATE FUNCTION hooks.replay(event pg_catalog.uuid)
	RETURNS pg_catalog.void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'hooks_replay';
COMMENT ON FUNCTION hooks.replay(uuid) IS
	'has a stored event fire again the hooks of its user whose conditions hold now, whatever their cooldowns; paced '
	'like redeliver(), and with the delivery ids of the first time';

CREATE FUNCTION hooks.chat_take(n pg_catalog.int4 DEFAULT 10, lease pg_catalog.interval DEFAULT '30 seconds')
	RETURNS TABLE (id pg_catalog.uuid, user_id pg_catalog.uuid, message pg_catalog.text, platforms pg_catalog.text[],
				   messages pg_catalog.jsonb, taken pg_catalog.int4, expires_at pg_catalog.timestamptz,
				   test pg_catalog.bool)
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF n IS NULL OR n NOT BETWEEN 1 AND 1000 THEN
		RAISE EXCEPTION 'n must be between 1 and 1000'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF lease IS NULL OR lease < interval '1 second' OR lease > interval '1 hour' THEN
		RAISE EXCEPTION 'lease must be between one second and one hour'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'For example hooks.chat_take(lease => ''30 seconds'').';
	END IF;
	-- A copy of the database sends nothing until it is adopted.
	IF NOT current_setting('hooks.enabled')::bool
	   OR NOT EXISTS (SELECT FROM hooks.installation AS i, pg_control_system() AS c, pg_database AS d
					   WHERE i.system_identifier = c.system_identifier AND i.database = d.oid
						   AND d.datname = current_database()) THEN
		RETURN;
	END IF;
	RETURN QUERY
	WITH chosen AS (
		SELECT o.id FROM hooks.chat_outbox AS o
		WHERE coalesce(o.leased_until, '-infinity') <= clock_timestamp() AND o.expires_at > clock_timestamp()
			-- Without its delivery, nobody waits for it any more.
			AND (o.test OR EXISTS (SELECT FROM hooks.delivery AS d WHERE d.id = o.id AND d.why = 'outbox'))
		ORDER BY o.number
		LIMIT n
		FOR UPDATE OF o SKIP LOCKED),
	leased AS (
		UPDATE hooks.chat_outbox AS o SET leased_until = clock_timestamp() + lease, taken = o.taken + 1
		FROM chosen AS c
		WHERE o.id = c.id
		RETURNING o.*)
	SELECT l.id, l.user_id, l.request ->> 'message',
		   CASE jsonb_typeof(l.request -> 'platforms') WHEN 'array'
				THEN ARRAY(SELECT jsonb_array_elements_text(l.request -> 'platforms')) END,
		   l.request -> 'messages', l.taken, l.expires_at, l.test
	FROM leased AS l
	ORDER BY l.number;
END
$$;
COMMENT ON FUNCTION hooks.chat_take(int4, interval) IS
	'gives the caller up to n chat messages of hooks.chat_outbox to send, oldest first, which nobody else gets before the '
	'lease ends; platforms is null where the message goes to all that the user has connected, messages has the texts for '
	'platforms where they differ, taken counts how often the message was given out; messages are not to be sent after '
	'expires_at; for the application''s sender: it sees the messages of all users';

CREATE FUNCTION hooks.chat_done(id pg_catalog.uuid, results pg_catalog.jsonb)
	RETURNS pg_catalog.bool
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'hooks_chat_done';
COMMENT ON FUNCTION hooks.chat_done(uuid, jsonb) IS
	'says what became of a message that hooks.chat_take() gave out, {"twitch": "delivered", "kick": "failed: reason"}, '
	'when the caller''s transaction commits; false when nobody waits for it any more';

CREATE FUNCTION hooks.adopt(discard pg_catalog.bool DEFAULT false)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF discard THEN
		TRUNCATE hooks.queue_0, hooks.queue_1, hooks.queue_2,
			hooks.ack_0, hooks.ack_1, hooks.ack_2, hooks.delivery, hooks.message,
			hooks.chat_outbox;
	END IF;
	DELETE FROM hooks.installation;
	INSERT INTO hooks.installation
	SELECT c.system_identifier, d.oid
	FROM pg_control_system() AS c, pg_database AS d
	WHERE d.datname = current_database();
	PERFORM hooks.wake();
END
$$;
COMMENT ON FUNCTION hooks.adopt(bool) IS
	'makes this database, a copy of another, the owner of its queue: what is queued is sent from '
	'here on, or thrown away if discard is true';


/*
 * Private parts of setup(), attach() and detach()
 */

CREATE FUNCTION hooks.setup_own(relation pg_catalog.regclass)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	class pg_class;
BEGIN
	SELECT * INTO class FROM pg_class WHERE oid = relation;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'relation with OID % does not exist', relation::oid
			USING ERRCODE = 'undefined_table';
	END IF;
	IF class.relkind NOT IN ('r', 'p') THEN
		RAISE EXCEPTION '"%" is not a table', relation
			USING ERRCODE = 'wrong_object_type',
				  DETAIL = format('It is %s.',
								  CASE class.relkind WHEN 'v' THEN 'a view'
													 WHEN 'm' THEN 'a materialized view'
													 WHEN 'f' THEN 'a foreign table'
													 WHEN 'S' THEN 'a sequence'
													 WHEN 'c' THEN 'a composite type'
													 ELSE 'an index' END),
				  HINT = 'An ordinary or a partitioned table is needed.';
	END IF;
	IF NOT pg_has_role(class.relowner, 'USAGE') THEN
		RAISE EXCEPTION 'must be owner of table "%"', relation
			USING ERRCODE = 'insufficient_privilege',
				  DETAIL = format('It belongs to "%s".', pg_get_userbyid(class.relowner));
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.setup_own(regclass) IS
	'raises an error unless this is a table and the caller owns it';

CREATE FUNCTION hooks.setup_problems(relation pg_catalog.regclass, wanted pg_catalog.json)
	RETURNS pg_catalog.text[]
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- What a kind of column accepts.  Domains count as what they are made of.
	kinds CONSTANT json := '{
		"uuid": "{uuid}", "text": "{text,varchar}", "label": "{text,varchar}", "boolean": "{boolean}",
		"integer": "{integer,bigint}", "jsonb": "{jsonb}", "timestamp": "{timestamptz,timestamp}"}';
	problems text[] := '{}';
	want record;
	kind text;
	accepted regtype[];
	attribute record;
	type record;
	typid oid;
	typmod integer;
	length integer;
BEGIN
	FOR want IN SELECT key AS name, value AS terms FROM json_each_text(wanted) LOOP
		kind := split_part(want.terms, ' ', 1);
		accepted := (kinds ->> kind)::regtype[];
		length := substring(want.terms FROM '\d+');

		SELECT a.attname, a.atttypid, a.atttypmod, a.attnotnull INTO attribute
		FROM pg_attribute AS a
		WHERE a.attrelid = relation AND a.attname = want.name AND a.attnum > 0 AND NOT a.attisdropped;
		IF NOT FOUND THEN
			problems := problems || format('Column "%s" of "%s" does not exist.', want.name, relation);
			CONTINUE;
		END IF;

		typid := attribute.atttypid;
		typmod := attribute.atttypmod;
		LOOP
			SELECT t.oid, t.typtype, t.typbasetype, t.typtypmod INTO type
			FROM pg_type AS t WHERE t.oid = typid;
			EXIT WHEN type.typtype <> 'd';
			typid := type.typbasetype;
			typmod := greatest(typmod, type.typtypmod);
		END LOOP;

		IF type.oid <> ALL (accepted) AND NOT (kind = 'label' AND type.typtype = 'e') THEN
			problems := problems || format('Column "%s" of "%s" has the type %s, but must be %s.',
				want.name, relation, format_type(attribute.atttypid, attribute.atttypmod),
				array_to_string(accepted, ' or ') || CASE kind WHEN 'label' THEN ' or an enum' ELSE '' END);
		ELSIF length > typmod - 4 AND typmod > 0 THEN
			problems := problems || format('Column "%s" of "%s" has the type %s, but must hold %s characters.',
				want.name, relation, format_type(attribute.atttypid, attribute.atttypmod), length);
		END IF;
		IF attribute.attnotnull AND want.terms LIKE '% null' THEN
			problems := problems || format('Column "%s" of "%s" must allow nulls.', want.name, relation);
		END IF;
	END LOOP;
	RETURN problems;
END
$$;
COMMENT ON FUNCTION hooks.setup_problems(regclass, json) IS
	'sentences about columns that are missing or not of the wanted kind; a kind may be followed by '
	'the number of characters to hold, and by "null" when NULL is written to the column';

CREATE FUNCTION hooks.setup_trigger(relation pg_catalog.regclass, name pg_catalog.name,
									events pg_catalog.text, level pg_catalog.text,
									function pg_catalog.regproc, always pg_catalog.bool,
									comment pg_catalog.text)
	RETURNS pg_catalog.bool
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	existing pg_trigger;
	is_new bool;
BEGIN
	-- It may have another name by now.  Bit 0 of tgtype says FOR EACH ROW.
	SELECT * INTO existing FROM pg_trigger AS t
	WHERE t.tgrelid = relation AND t.tgfoid = function
		AND (t.tgtype & 1) = CASE level WHEN 'ROW' THEN 1 ELSE 0 END
	LIMIT 1;
	is_new := NOT FOUND;
	IF is_new THEN
		EXECUTE format('CREATE TRIGGER %I %s ON %s FOR EACH %s EXECUTE FUNCTION %s()',
					   name, events, relation, level, function);
		EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', name, relation, comment);
		PERFORM hooks.setup_leave_with_extension(relation, name);
	END IF;

	-- Also mends what ENABLE TRIGGER ALL after a data-only restore has done.
	IF always AND (is_new OR existing.tgenabled <> 'A') THEN
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I',
					   relation, coalesce(existing.tgname, name));
	END IF;
	RETURN is_new;
END
$$;
COMMENT ON FUNCTION hooks.setup_trigger(regclass, name, text, text, regproc, bool, text) IS
	'creates a trigger of hooks or logs unless it is there; says whether it did';

CREATE FUNCTION hooks.setup_leave_with_extension(relation pg_catalog.regclass, name pg_catalog.name)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- Citus refuses the command; there, DROP EXTENSION hooks needs CASCADE.
	IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') THEN
		EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION hooks', name, relation);
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.setup_leave_with_extension(regclass, name) IS
	'has DROP EXTENSION hooks take the trigger along';

CREATE FUNCTION hooks.setup_attached_through(relation pg_catalog.regclass)
	RETURNS pg_catalog.regclass
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.tgrelid::regclass
	FROM pg_trigger AS t
	WHERE t.tgfoid = 'hooks.on_event'::regproc AND t.tgparentid = 0
		AND (t.tgrelid = relation OR t.tgrelid IN (SELECT relid FROM pg_partition_ancestors(relation)))
	ORDER BY t.tgrelid = relation
	LIMIT 1
$$;
COMMENT ON FUNCTION hooks.setup_attached_through(regclass) IS
	'the attached table through which rows of this one fire hooks: itself or one that it is a partition of';

CREATE FUNCTION hooks.setup_index(relation pg_catalog.regclass, columns pg_catalog.text[],
								  predicate pg_catalog.text DEFAULT NULL)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (
		SELECT FROM pg_index AS i
			JOIN pg_class AS c ON c.oid = i.indexrelid
			JOIN pg_am AS a ON a.oid = c.relam
		WHERE i.indrelid = relation AND i.indisvalid AND a.amname = 'btree'
			AND i.indnkeyatts >= cardinality(columns)
			AND columns = ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true)
								FROM generate_series(1, cardinality(columns)) AS n ORDER BY n)
			AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = predicate))
	THEN
		-- Without a name, so that the server finds one that is free.
		EXECUTE format('CREATE INDEX ON %s (%s) %s', relation,
					   array_to_string(columns, ', '), 'WHERE ' || predicate);
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.setup_index(regclass, text[], text) IS
	'creates an index unless one that begins with these columns is there';

CREATE FUNCTION hooks.setup_create(relation pg_catalog.text, definition pg_catalog.text)
	RETURNS pg_catalog.regclass
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('CREATE TABLE %s %s', relation, definition);
	-- In CREATE EXTENSION, every new table becomes a member at first.
	IF EXISTS (SELECT FROM pg_depend
			   WHERE classid = 'pg_class'::regclass AND objid = relation::regclass
				   AND refclassid = 'pg_extension'::regclass AND deptype = 'e')
	THEN
		EXECUTE format('ALTER EXTENSION hooks DROP TABLE %s', relation);
	END IF;
	RETURN relation::regclass;
END
$$;
COMMENT ON FUNCTION hooks.setup_create(text, text) IS
	'creates a table that is no member of the extension';

CREATE FUNCTION hooks.setup_create_hooks(relation pg_catalog.text)
	RETURNS pg_catalog.regclass
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- Space is left in each page, so that a new last_triggered_at stays in it.
	PERFORM hooks.setup_create(relation, $table$(
		id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
		user_id uuid NOT NULL,
		name text NOT NULL
			CONSTRAINT stream_hooks_name_has_1_to_200_characters
			CHECK (char_length(name) BETWEEN 1 AND 200),
		enabled boolean NOT NULL DEFAULT true,
		trigger_type text NOT NULL
			CONSTRAINT stream_hooks_trigger_type_is_known
			CHECK (trigger_type IN ('donation', 'follow', 'raid', 'subscription',
									'stream_start', 'stream_end', 'chat_message')),
		conditions jsonb DEFAULT '{}',
		action_type text NOT NULL
			CONSTRAINT stream_hooks_action_type_is_known
			CHECK (action_type IN ('webhook', 'discord_message', 'chat_message', 'email')),
		action_config jsonb NOT NULL,
		cooldown_seconds integer NOT NULL DEFAULT 0
			CONSTRAINT stream_hooks_cooldown_is_0_to_86400_seconds
			CHECK (cooldown_seconds BETWEEN 0 AND 86400),
		last_triggered_at timestamptz,
		inserted_at timestamptz NOT NULL DEFAULT now(),
		updated_at timestamptz NOT NULL DEFAULT now()
	) WITH (fillfactor = 80)$table$);

	EXECUTE format($comments$
		COMMENT ON TABLE %1$s IS 'when an event of this type happens to this user, do this action';
		COMMENT ON COLUMN %1$s.user_id IS 'whose events the hook waits for';
		COMMENT ON COLUMN %1$s.name IS 'for people; also sent as hook_name';
		COMMENT ON COLUMN %1$s.enabled IS 'false: events pass by, without a log row';
		COMMENT ON COLUMN %1$s.trigger_type IS 'donation, follow, raid, subscription, stream_start, '
			'stream_end or chat_message';
		COMMENT ON COLUMN %1$s.conditions IS 'what the event must satisfy, all of it; NULL or {}: every event';
		COMMENT ON COLUMN %1$s.action_type IS 'webhook, discord_message, chat_message or email';
		COMMENT ON COLUMN %1$s.action_config IS 'settings of the action';
		COMMENT ON COLUMN %1$s.cooldown_seconds IS 'how long after an action the next one may follow';
		COMMENT ON COLUMN %1$s.last_triggered_at IS 'when an action was admitted last; the cooldown runs from here';
		COMMENT ON COLUMN %1$s.updated_at IS 'kept by a trigger'
		$comments$, relation);
	RETURN relation::regclass;
END
$$;
COMMENT ON FUNCTION hooks.setup_create_hooks(text) IS 'creates stream_hooks under that name';

CREATE FUNCTION hooks.setup_create_logs(relation pg_catalog.text,
										hooks_table pg_catalog.regclass)
	RETURNS pg_catalog.regclass
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM hooks.setup_create(relation, format($table$(
		id uuid DEFAULT gen_random_uuid() PRIMARY KEY,
		hook_id uuid NOT NULL REFERENCES %s (id) ON DELETE CASCADE,
		user_id uuid NOT NULL,
		stream_event_id uuid,
		trigger_type text NOT NULL,
		action_type text NOT NULL,
		status text NOT NULL
			CONSTRAINT stream_hook_logs_status_is_known
			CHECK (status IN ('success', 'failure', 'skipped_cooldown', 'skipped_condition')),
		error_message text,
		executed_at timestamptz NOT NULL,
		duration_ms integer,
		inserted_at timestamptz NOT NULL DEFAULT now(),
		attempt integer NOT NULL DEFAULT 1,
		response_status integer
	)$table$, hooks_table));

	EXECUTE format($comments$
		COMMENT ON TABLE %1$s IS 'what hooks did: a row per attempt of an action, and per event skipped';
		COMMENT ON COLUMN %1$s.stream_event_id IS 'the event''s id; it need not be in a table (any more)';
		COMMENT ON COLUMN %1$s.trigger_type IS 'copied from the hook';
		COMMENT ON COLUMN %1$s.action_type IS 'copied from the hook';
		COMMENT ON COLUMN %1$s.status IS 'success, failure, skipped_cooldown or skipped_condition';
		COMMENT ON COLUMN %1$s.error_message IS 'why it failed; NULL for success, unless some of it failed';
		COMMENT ON COLUMN %1$s.executed_at IS 'when the attempt started or the event was skipped';
		COMMENT ON COLUMN %1$s.duration_ms IS 'what the attempt took; 0 for skips';
		COMMENT ON COLUMN %1$s.attempt IS 'counts the attempts of one delivery, from 1';
		COMMENT ON COLUMN %1$s.response_status IS 'the status that was answered, if any'
		$comments$, relation);
	RETURN relation::regclass;
END
$$;
COMMENT ON FUNCTION hooks.setup_create_logs(text, regclass) IS 'creates stream_hook_logs under that name';

CREATE FUNCTION hooks.setup_refers(relation pg_catalog.regclass)
	RETURNS pg_catalog.bool
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM pg_constraint AS c
					   JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
				   WHERE c.conrelid = relation AND c.contype = 'f' AND a.attname = 'user_id')
$$;
COMMENT ON FUNCTION hooks.setup_refers(regclass) IS 'has user_id a foreign key?';

CREATE FUNCTION hooks.setup_has_key(relation pg_catalog.regclass)
	RETURNS pg_catalog.bool
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM pg_index AS i
					   JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
				   WHERE i.indrelid = relation AND a.attname = 'id' AND i.indnkeyatts = 1
					   AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL)
$$;
COMMENT ON FUNCTION hooks.setup_has_key(regclass) IS 'can id be referred to?';

CREATE FUNCTION hooks.setup_reference(relation pg_catalog.regclass, users pg_catalog.regclass)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	violation text;
BEGIN
	IF NOT hooks.setup_refers(relation) THEN
		EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (user_id) REFERENCES %s (id) ON DELETE CASCADE',
					   relation, users);
	END IF;
EXCEPTION
	-- Not left NOT VALID: then the log would refuse rows of the very hooks in question.
	WHEN foreign_key_violation THEN
		GET STACKED DIAGNOSTICS violation = PG_EXCEPTION_DETAIL;
		RAISE NOTICE 'foreign key from "%" to "%" was not added', relation, users
			USING DETAIL = violation,
				  HINT = 'Delete the rows of users that do not exist and call hooks.setup() again.';
END
$$;
COMMENT ON FUNCTION hooks.setup_reference(regclass, regclass) IS
	'adds the foreign key from user_id to users, unless there is one or the rows do not permit it';

CREATE FUNCTION hooks.setup_adopted(relation pg_catalog.regclass)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	difference record;
BEGIN
	RAISE NOTICE 'existing table "%" is taken into use', relation
		USING DETAIL = (SELECT format('It belongs to "%s".', pg_get_userbyid(c.relowner))
						FROM pg_class AS c WHERE c.oid = relation);

	FOR difference IN
		SELECT string_agg(format('"%s"', a.attname), ', ' ORDER BY a.attnum) AS columns
		FROM pg_attribute AS a
		WHERE a.attrelid = relation AND a.atttypid = 'timestamp'::regtype AND NOT a.attisdropped
			AND a.attname IN ('inserted_at', 'updated_at', 'last_triggered_at', 'executed_at')
		HAVING count(*) > 0
	LOOP
		RAISE NOTICE 'timestamps without time zone in "%" are taken as UTC', relation
			USING DETAIL = format('The columns are %s.', difference.columns);
	END LOOP;

	FOR difference IN
		SELECT c.conname, a.attname,
			format('ALTER TABLE %s DROP CONSTRAINT %I', relation, c.conname) AS dropped,
			format('ADD CONSTRAINT %I %s', c.conname, regexp_replace(
				pg_get_constraintdef(c.oid),
				'^(FOREIGN KEY \([^)]*\) REFERENCES [^(]*\([^)]*\)'
				'(?: MATCH FULL)?(?: ON UPDATE (?:CASCADE|RESTRICT|SET NULL|SET DEFAULT))?)'
				'(?: ON DELETE RESTRICT)?',
				'\1 ON DELETE CASCADE')) AS added
		FROM pg_constraint AS c
			JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
		WHERE c.conrelid = relation AND c.contype = 'f'
			AND (a.attname = 'stream_event_id'
				 OR a.attname IN ('hook_id', 'user_id') AND c.confdeltype IN ('a', 'r'))
		ORDER BY a.attname, c.conname
	LOOP
		IF difference.attname = 'stream_event_id' THEN
			RAISE WARNING 'foreign key "%" of "%" would refuse log rows', difference.conname, relation
				USING DETAIL = 'Lifecycle events and deleted events are in no table.',
					  HINT = difference.dropped || ';';
		ELSE
			RAISE NOTICE 'foreign key "%" of "%" has no ON DELETE CASCADE', difference.conname, relation
				USING DETAIL = CASE difference.attname
								   WHEN 'hook_id' THEN 'A hook that has logged cannot be deleted.'
								   ELSE 'A user who has rows in the table cannot be deleted.' END,
					  HINT = format('%s, %s;', difference.dropped, difference.added);
		END IF;
	END LOOP;

	FOR difference IN
		SELECT pg_get_userbyid(c.relowner) AS owner
		FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner
		WHERE c.oid = relation AND c.relrowsecurity AND c.relforcerowsecurity
			AND NOT r.rolsuper AND NOT r.rolbypassrls
	LOOP
		RAISE WARNING 'row-level security is forced on "%"', relation
			USING DETAIL = format('Hooks are run as the owner, "%s", who is not exempt from it.',
								  difference.owner),
				  HINT = format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', relation);
	END LOOP;
END
$$;
COMMENT ON FUNCTION hooks.setup_adopted(regclass) IS
	'says what is different in a table that was there before';


/*
 * Setting up
 */

CREATE FUNCTION hooks.attach(events pg_catalog.regclass,
							 id_column pg_catalog.name DEFAULT 'id',
							 user_column pg_catalog.name DEFAULT 'user_id',
							 type_column pg_catalog.name DEFAULT 'type',
							 data_column pg_catalog.name DEFAULT 'data',
							 platform_column pg_catalog.name DEFAULT 'platform',
							 time_column pg_catalog.name DEFAULT 'inserted_at',
							 mode pg_catalog.text DEFAULT 'origin')
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	columns text[];
	wanted json;
	problems text[];
	arguments bytea;
	enabled "char";
	attached regclass;
	existing record;
	found_it bool := false;
BEGIN
	IF events IS NULL THEN
		RAISE EXCEPTION 'events must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	enabled := CASE mode WHEN 'origin' THEN 'O' WHEN 'replica' THEN 'R' END;
	IF enabled IS NULL THEN
		RAISE EXCEPTION 'invalid mode "%"', mode
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Modes are "origin", for rows that sessions insert, and "replica", for rows '
						 'that logical replication brings.';
	END IF;
	PERFORM hooks.setup_own(events);

	-- One trigger in a tree of partitions, or an event would be queued twice.
	attached := hooks.setup_attached_through(events);
	IF attached <> events THEN
		RAISE EXCEPTION 'cannot attach table "%"', events
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = format('It is a partition of "%s", which is attached.', attached);
	END IF;
	SELECT t.tgrelid INTO attached
	FROM pg_trigger AS t JOIN pg_partition_tree(events) AS p ON p.relid = t.tgrelid
	WHERE t.tgfoid = 'hooks.on_event'::regproc AND t.tgparentid = 0 AND t.tgrelid <> events
	ORDER BY t.tgrelid::regclass::text
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'cannot attach table "%"', events
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = format('Its partition "%s" is attached by itself.', attached),
				  HINT = format('Call hooks.detach(%L) first.', attached);
	END IF;

	-- Columns that an event can do without: not named, or not there under their usual name.
	IF platform_column = 'platform' AND NOT EXISTS (
		SELECT FROM pg_attribute AS a
		WHERE a.attrelid = events AND a.attname = platform_column AND NOT a.attisdropped)
	THEN
		platform_column := '';
	END IF;
	IF time_column = 'inserted_at' AND NOT EXISTS (
		SELECT FROM pg_attribute AS a
		WHERE a.attrelid = events AND a.attname = time_column AND NOT a.attisdropped)
	THEN
		time_column := '';
	END IF;
	columns := ARRAY(SELECT coalesce(c, '') FROM unnest(ARRAY[
		id_column, user_column, type_column, data_column, platform_column, time_column])
		WITH ORDINALITY AS given (c, n) ORDER BY n);

	SELECT json_object_agg(columns[k.n], k.kind ORDER BY k.n) INTO wanted
	FROM unnest(ARRAY['uuid', 'uuid', 'label', 'jsonb', 'label', 'timestamp']) WITH ORDINALITY AS k (kind, n)
	WHERE k.n <= 4 OR columns[k.n] <> '';
	problems := hooks.setup_problems(events, wanted);
	IF problems <> '{}' THEN
		RAISE EXCEPTION 'cannot attach table "%"', events
			USING ERRCODE = 'invalid_table_definition',
				  DETAIL = array_to_string(problems, E'\n'),
				  HINT = 'Name the columns: hooks.attach(events, id_column => ..., user_column => ..., '
						 'type_column => ..., data_column => ..., platform_column => ..., time_column => ...).';
	END IF;

	-- Keep a trigger with the same arguments, with whatever was done to it; drop others.
	SELECT string_agg(convert_to(c, 'UTF8') || decode('00', 'hex'), '' ORDER BY n) INTO arguments
	FROM unnest(columns) WITH ORDINALITY AS given (c, n);
	FOR existing IN
		SELECT t.tgname, t.tgargs FROM pg_trigger AS t
		WHERE t.tgrelid = events AND t.tgfoid = 'hooks.on_event'::regproc
		ORDER BY t.tgname
	LOOP
		IF existing.tgargs <> arguments OR found_it THEN
			EXECUTE format('DROP TRIGGER %I ON %s', existing.tgname, events);
		ELSE
			found_it := true;
			-- Partitions' copies can be in another state, as after a data-only restore.
			IF EXISTS (SELECT FROM pg_trigger AS t
					   WHERE t.tgfoid = 'hooks.on_event'::regproc AND t.tgenabled <> enabled
						   AND (t.tgrelid = events OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(events))))
			THEN
				EXECUTE format('ALTER TABLE %s ENABLE %s TRIGGER %I', events,
							   CASE mode WHEN 'replica' THEN 'REPLICA' END, existing.tgname);
			END IF;
		END IF;
	END LOOP;
	IF found_it THEN
		RETURN;
	END IF;

	EXECUTE format('CREATE TRIGGER hooks_event AFTER INSERT ON %s FOR EACH ROW '
				   'EXECUTE FUNCTION hooks.on_event(%s)', events,
				   (SELECT string_agg(quote_literal(c), ', ' ORDER BY n)
					FROM unnest(columns) WITH ORDINALITY AS given (c, n)));
	EXECUTE format('COMMENT ON TRIGGER hooks_event ON %s IS %L', events,
				   'queues events that hooks want; made by hooks.attach(), removed by hooks.detach()');
	PERFORM hooks.setup_leave_with_extension(events, 'hooks_event');
	IF mode = 'replica' THEN
		EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER hooks_event', events);
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.attach(regclass, name, name, name, name, name, name, text) IS
	'makes rows inserted into the table events that fire hooks; the names of its columns, where no '
	'platform and no time column is needed; mode "replica": rows that logical replication brings, '
	'instead of rows that sessions insert';

CREATE FUNCTION hooks.detach(events pg_catalog.regclass)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	attached regclass;
	existing record;
BEGIN
	IF events IS NULL THEN
		RAISE EXCEPTION 'events must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM hooks.setup_own(events);
	attached := hooks.setup_attached_through(events);
	IF attached <> events THEN
		RAISE EXCEPTION 'cannot detach table "%"', events
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = format('It is a partition of "%s", which is attached.', attached),
				  HINT = format('Call hooks.detach(%L).', attached);
	ELSIF attached IS NULL THEN
		RAISE NOTICE 'table "%" is not attached', events;
	END IF;
	FOR existing IN
		SELECT t.tgname FROM pg_trigger AS t
		WHERE t.tgrelid = events AND t.tgfoid = 'hooks.on_event'::regproc
		ORDER BY t.tgname
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', existing.tgname, events);
	END LOOP;
END
$$;
COMMENT ON FUNCTION hooks.detach(regclass) IS 'undoes hooks.attach()';

CREATE FUNCTION hooks.setup(schema pg_catalog.text DEFAULT 'public',
							users pg_catalog.regclass DEFAULT NULL,
							events pg_catalog.regclass DEFAULT NULL)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	namespace CONSTANT regnamespace := to_regnamespace(quote_ident(schema));
	hooks_name CONSTANT text := namespace || '.stream_hooks';
	logs_name CONSTANT text := namespace || '.stream_hook_logs';
	users_table CONSTANT regclass := coalesce(users, to_regclass(namespace || '.users'));
	events_table CONSTANT regclass := coalesce(events, to_regclass(namespace || '.stream_events'));
	marked regclass[];
	hooks_table regclass;
	logs_table regclass;
	hooks_created bool;
	logs_created bool;
	problems text[] := '{}';
	detail text;
BEGIN
	IF namespace IS NULL THEN
		RAISE EXCEPTION 'schema "%" does not exist', coalesce(schema, '')
			USING ERRCODE = 'invalid_schema_name';
	END IF;

	-- Which tables, whatever their names are by now.
	marked := ARRAY(SELECT DISTINCT t.tgrelid::regclass FROM pg_trigger AS t
					WHERE t.tgfoid = 'hooks.hook_changed'::regproc AND t.tgparentid = 0);
	hooks_table := coalesce(marked[1], to_regclass(hooks_name));
	IF cardinality(marked) > 1 THEN
		RAISE EXCEPTION 'more than one table of hooks: "%"', array_to_string(marked, '", "')
			USING ERRCODE = 'duplicate_table',
				  HINT = 'Drop all but one of them, or their triggers that call hooks.hook_changed().';
	ELSIF (SELECT c.relnamespace <> namespace FROM pg_class AS c WHERE c.oid = hooks_table) THEN
		RAISE EXCEPTION 'hooks are kept in "%" already', hooks_table
			USING ERRCODE = 'duplicate_table',
				  DETAIL = 'A database has one table of hooks.',
				  HINT = format('Move it and its log with ALTER TABLE ... SET SCHEMA %I, or drop them.', schema);
	END IF;
	SELECT t.tgrelid INTO logs_table FROM pg_trigger AS t
	WHERE t.tgfoid = 'hooks.logs_changed'::regproc AND t.tgparentid = 0 LIMIT 1;
	logs_table := coalesce(logs_table, to_regclass(logs_name));
	hooks_created := hooks_table IS NULL;
	logs_created := logs_table IS NULL;

	-- Look at everything that exists before anything is changed.
	IF NOT hooks_created THEN
		PERFORM hooks.setup_own(hooks_table);
		problems := hooks.setup_problems(hooks_table, '{
			"id": "uuid", "user_id": "uuid", "name": "text", "enabled": "boolean",
			"trigger_type": "text", "conditions": "jsonb", "action_type": "text",
			"action_config": "jsonb", "cooldown_seconds": "integer",
			"last_triggered_at": "timestamp null", "inserted_at": "timestamp",
			"updated_at": "timestamp"}');
		IF NOT hooks.setup_has_key(hooks_table) THEN
			problems := problems || format('Column "id" of "%s" is neither a primary key nor unique.', hooks_table);
		END IF;
	END IF;
	IF NOT logs_created THEN
		PERFORM hooks.setup_own(logs_table);
		problems := problems || hooks.setup_problems(logs_table, '{
			"id": "uuid", "hook_id": "uuid", "user_id": "uuid", "stream_event_id": "uuid",
			"trigger_type": "text 12", "action_type": "text 15", "status": "text 17",
			"error_message": "text 500 null", "executed_at": "timestamp", "duration_ms": "integer",
			"inserted_at": "timestamp"}');
		SELECT problems || hooks.setup_problems(logs_table, json_object_agg(a.attname,
				CASE a.attname WHEN 'attempt' THEN 'integer' WHEN 'platform' THEN 'text 500 null'
					ELSE 'integer null' END ORDER BY a.attnum))
			INTO problems
		FROM pg_attribute AS a
		WHERE a.attrelid = logs_table AND a.attname IN ('attempt', 'response_status', 'platform') AND NOT a.attisdropped;
		problems := problems || ARRAY(
			SELECT format('Column "%s" of "%s" is not known to hooks, but can be neither null nor '
						  'left to a default.', a.attname, logs_table)
			FROM pg_attribute AS a
			WHERE a.attrelid = logs_table AND a.attnum > 0 AND NOT a.attisdropped
				AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
				AND a.attname NOT IN ('id', 'hook_id', 'user_id', 'stream_event_id', 'trigger_type',
					'action_type', 'status', 'error_message', 'executed_at', 'duration_ms', 'inserted_at',
					'attempt', 'response_status', 'platform')
			ORDER BY a.attnum);
	END IF;
	IF problems <> '{}' THEN
		RAISE EXCEPTION 'cannot use the existing tables in schema "%"', schema
			USING ERRCODE = 'invalid_table_definition',
				  DETAIL = array_to_string(problems, E'\n'),
				  HINT = 'Alter the tables, or move them out of the schema.';
	END IF;

	IF hooks_created THEN
		hooks_table := hooks.setup_create_hooks(hooks_name);
	END IF;
	IF logs_created THEN
		logs_table := hooks.setup_create_logs(logs_name, hooks_table);
	END IF;
	IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = logs_table AND attname = 'attempt') THEN
		EXECUTE format('ALTER TABLE %s ADD attempt integer NOT NULL DEFAULT 1', logs_table);
	END IF;
	IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = logs_table AND attname = 'response_status') THEN
		EXECUTE format('ALTER TABLE %s ADD response_status integer', logs_table);
	END IF;
	IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = logs_table AND attname = 'platform') THEN
		EXECUTE format('ALTER TABLE %s ADD platform text', logs_table);
	END IF;

	-- Who wants this event; a user's hooks, oldest first; a user's log; a hook's log;
	-- log rows to be deleted for their age.  The last is no BRIN index, which would come
	-- to cover the whole table once new rows take the places of deleted ones.
	PERFORM hooks.setup_index(hooks_table, '{user_id,trigger_type}', 'enabled');
	PERFORM hooks.setup_index(hooks_table, '{user_id,inserted_at}');
	PERFORM hooks.setup_index(logs_table, '{user_id,inserted_at}');
	PERFORM hooks.setup_index(logs_table, '{hook_id,inserted_at}');
	PERFORM hooks.setup_index(logs_table, '{inserted_at}');

	PERFORM hooks.setup_trigger(hooks_table, 'hooks_check', 'BEFORE INSERT OR UPDATE', 'ROW',
		'hooks.check_hook', false, 'refuses malformed hooks and keeps updated_at');
	PERFORM hooks.setup_trigger(hooks_table, 'hooks_truncated', 'AFTER TRUNCATE', 'STATEMENT',
		'hooks.hook_changed', true, 'tells sessions and worker that hooks have changed');
	IF hooks.setup_trigger(hooks_table, 'hooks_changed', 'AFTER INSERT OR UPDATE OR DELETE', 'ROW',
			'hooks.hook_changed', true,
			'tells sessions and worker that hooks have changed; marks the table of hooks')
		AND NOT hooks_created
	THEN
		PERFORM hooks.setup_adopted(hooks_table);
	END IF;
	IF hooks.setup_trigger(logs_table, 'hooks_logs', 'AFTER TRUNCATE', 'STATEMENT',
			'hooks.logs_changed', false, 'marks the table that hooks are logged in')
		AND NOT logs_created
	THEN
		PERFORM hooks.setup_adopted(logs_table);
	END IF;

	IF hooks.setup_has_key(users_table) AND hooks.setup_problems(users_table, '{"id": "uuid"}') = '{}' THEN
		-- Tables that are not of our making, as their constraints tell, get no
		-- foreign key unasked.  The log refers to users only if hooks do, so that it
		-- never refuses a row of a hook.
		IF users IS NOT NULL
			OR EXISTS (SELECT FROM pg_constraint AS c
					   WHERE c.conrelid = hooks_table AND c.conname = 'stream_hooks_trigger_type_is_known')
		THEN
			PERFORM hooks.setup_reference(hooks_table, users_table);
		END IF;
		IF hooks.setup_refers(hooks_table)
			AND (users IS NOT NULL
				 OR EXISTS (SELECT FROM pg_constraint AS c
							WHERE c.conrelid = logs_table AND c.conname = 'stream_hook_logs_status_is_known'))
		THEN
			PERFORM hooks.setup_reference(logs_table, users_table);
		END IF;
	ELSIF users IS NOT NULL THEN
		RAISE EXCEPTION 'cannot refer to table "%"', users
			USING ERRCODE = 'invalid_foreign_key',
				  DETAIL = 'It has no column "id" that is of type uuid and a primary key or unique.';
	ELSIF hooks_created AND users_table IS NOT NULL THEN
		RAISE NOTICE 'no foreign keys to "%"', users_table
			USING DETAIL = 'It has no column "id" that is of type uuid and a primary key or unique.';
	END IF;

	IF events_table IS NOT NULL AND hooks.setup_attached_through(events_table) IS NULL THEN
		BEGIN
			PERFORM hooks.attach(events_table);
		EXCEPTION
			-- A table that nobody has named may be something else altogether.
			WHEN invalid_table_definition OR wrong_object_type OR insufficient_privilege
				OR object_not_in_prerequisite_state
			THEN
				IF events IS NOT NULL THEN
					RAISE;
				END IF;
				GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
				RAISE WARNING 'table "%" was not attached', events_table
					USING DETAIL = detail,
						  HINT = format('Attach it with hooks.attach(%L, ...).', events_table);
		END;
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.setup(text, regclass, regclass) IS
	'creates stream_hooks and stream_hook_logs in the schema, or takes those that are there into '
	'use, and attaches stream_events; called again, it completes what was missing';


/*
 * Privileges
 *
 * An application needs none to insert events.  A role that is to call setup,
 * attach and detach for its own tables, or to restore a dump of them, needs
 * GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hooks.
 */

REVOKE ALL ON ALL TABLES IN SCHEMA hooks FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA hooks FROM PUBLIC;

GRANT USAGE ON SCHEMA hooks TO PUBLIC;
GRANT EXECUTE ON FUNCTION hooks.matches(text, jsonb, jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION hooks.render(text, jsonb, text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION hooks.generate_secret() TO PUBLIC;
GRANT EXECUTE ON FUNCTION hooks.sample_event(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION hooks.judge(text, jsonb, text, jsonb, uuid, text, jsonb),
	hooks.build(text, jsonb, uuid, text, jsonb),
	hooks.backtest_rows(text, uuid, text, timestamptz, jsonb, text, int4, uuid, text),
	hooks.backtest_query(), hooks.time_expression(regclass, text),
	hooks.stored_event(uuid), hooks.stored_hooks(uuid, uuid),
	hooks.preview(uuid, jsonb), hooks.preview(uuid, uuid), hooks.explain(uuid),
	hooks.backtest(uuid, timestamptz), hooks.backtest(uuid, interval),
	hooks.backtest(uuid, text, jsonb, int4, timestamptz), hooks.backtest(uuid, text, jsonb, int4, interval),
	hooks.backtest_summary(uuid, interval), hooks.backtest_summary(uuid, text, jsonb, int4, interval),
	hooks.lint(text, jsonb, text, jsonb), hooks.lint(uuid) TO PUBLIC;
GRANT EXECUTE ON FUNCTION hooks.visible_hooks(), hooks.under_way(), hooks.last_results(uuid[]),
	hooks.hook_stats_rows() TO PUBLIC;
GRANT SELECT ON hooks.event_tables TO PUBLIC;
GRANT EXECUTE ON FUNCTION hooks.check_address(inet) TO PUBLIC;
GRANT EXECUTE ON FUNCTION hooks.check_host(text) TO PUBLIC;

GRANT SELECT ON hooks.stat, hooks.latency, hooks.workers TO pg_monitor;
GRANT EXECUTE ON FUNCTION hooks.stat_values(), hooks.latency_values(), hooks.worker_rows() TO pg_monitor;


/*
 * The application's tables, unless they come from a dump
 */

DO $$
DECLARE
	-- Every dump sets it, unless made or restored with --enable-row-security.
	is_off CONSTANT pg_catalog.bool :=
		pg_catalog.current_setting('row_security') OPERATOR(pg_catalog.=) 'off';
	-- What pg_dump writes.
	is_dumped CONSTANT pg_catalog.bool :=
		pg_catalog.current_query() OPERATOR(pg_catalog.~*) 'extension\s+if\s+not\s+exists\s+hooks\s+with\s+schema';
BEGIN
	IF NOT hooks.is_preloaded() THEN
		RAISE WARNING 'library "hooks" is not loaded by the server'
			USING DETAIL = 'Events are queued, but nothing is sent.',
				  HINT = 'Add "hooks" to shared_preload_libraries in postgresql.conf and restart the server.';
	END IF;

	IF is_off OR is_dumped THEN
		-- With both there is no doubt.  INFO, because notices of scripts are not shown.
		IF NOT (is_off AND is_dumped) THEN
			RAISE INFO 'stream_hooks and stream_hook_logs were not created'
				USING DETAIL = 'This looks like a dump being restored, which brings these tables with it.',
					  HINT = 'If it is not, call hooks.setup().';
		END IF;
	ELSIF pg_catalog.to_regnamespace('public') IS NULL THEN
		RAISE WARNING 'stream_hooks and stream_hook_logs were not created'
			USING DETAIL = 'There is no schema "public".',
				  HINT = 'Call hooks.setup() with the schema that they belong in.';
	ELSE
		-- What setup leaves to people is worth showing.  Undone at the end of the script.
		IF pg_catalog.current_setting('client_min_messages') OPERATOR(pg_catalog.=) 'warning' THEN
			PERFORM pg_catalog.set_config('client_min_messages', 'notice', true);
		END IF;
		PERFORM hooks.setup();
	END IF;
END
$$;
