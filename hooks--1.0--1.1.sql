/* From 1.0 to 1.1: what is new.  hooks--1.0.sql has been released and stays as it is. */

\echo Use "ALTER EXTENSION hooks UPDATE TO '1.1'" to load this file. \quit

DO $$
BEGIN
	CREATE FUNCTION hooks.library_version()
		RETURNS pg_catalog.text
		LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'hooks_library_version';
EXCEPTION WHEN undefined_function THEN
	RAISE EXCEPTION 'library "hooks" is too old for version 1.1 of the extension'
		USING ERRCODE = 'object_not_in_prerequisite_state',
			  HINT = 'Install version 1.1 of the library and restart the server, then update the extension.';
END
$$;
COMMENT ON FUNCTION hooks.library_version() IS
	'the version of the library that the server has loaded; pg_extension has that of the SQL, which should be the same';
REVOKE ALL ON FUNCTION hooks.library_version() FROM PUBLIC;

COMMENT ON COLUMN hooks.workers.state IS
	'"running"; "starting"; "idle", there is nothing to do; "held", a command needs the database to itself; "copy", the '
	'database is a copy of another one, see hooks.adopt(); "version", extension and library are of different versions, '
	'see ALTER EXTENSION hooks UPDATE; "failed", it is started again at start_at';

-- A row for each state, also where nothing is in it: what watches it wants zeros, not gaps.
CREATE VIEW hooks.delivery_states AS
SELECT s.state, pg_catalog.count(d.why) AS deliveries, pg_catalog.min(d.queued_at) AS oldest_at
FROM pg_catalog.unnest(ARRAY['retry', 'host', 'paused', 'resumed', 'replay', 'account', 'outbox', 'given_up']) AS s (state)
	LEFT JOIN hooks.delivery AS d ON d.why OPERATOR(pg_catalog.=) s.state
GROUP BY s.state;
COMMENT ON VIEW hooks.delivery_states IS
	'how many deliveries wait in a table, and why, as in hooks.pending; and how many were given up (hooks.dead)';
COMMENT ON COLUMN hooks.delivery_states.oldest_at IS 'when the oldest event among them was queued';
REVOKE ALL ON hooks.delivery_states FROM PUBLIC;
GRANT SELECT ON hooks.delivery_states TO pg_monitor;

-- A base backup or a copy of the storage is told from the original by its place.
ALTER TABLE hooks.installation ADD COLUMN place pg_catalog.text;
COMMENT ON COLUMN hooks.installation.place IS
	'a hash of the machine''s id and the path of the data directory; null: the next worker says';

CREATE FUNCTION hooks.place()
	RETURNS pg_catalog.text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'hooks_place';
COMMENT ON FUNCTION hooks.place() IS 'where this server is, as in hooks.installation';
REVOKE ALL ON FUNCTION hooks.place() FROM PUBLIC;
UPDATE hooks.installation SET place = hooks.place();

/*
 * Presence: with hooks.require_presence, users who have never joined are not served
 */

CREATE TABLE hooks.presence (
	user_id			pg_catalog.uuid PRIMARY KEY,
	first_joined_at	pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	joined_at		pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	left_at			pg_catalog.timestamptz
);
REVOKE ALL ON hooks.presence FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('hooks.presence', '');
COMMENT ON TABLE hooks.presence IS
	'users who have joined: once served, they stay so; see hooks.user_joined()';
COMMENT ON COLUMN hooks.presence.joined_at IS 'the last time';
COMMENT ON COLUMN hooks.presence.left_at IS 'null: they have not left since';

CREATE FUNCTION hooks.user_joined(user_id pg_catalog.uuid)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF user_joined.user_id IS NULL THEN
		RAISE EXCEPTION 'user must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	INSERT INTO hooks.presence VALUES (user_joined.user_id)
	ON CONFLICT ON CONSTRAINT presence_pkey DO NOTHING;
	IF FOUND THEN
		-- Everybody who keeps in mind that this user is not served has to ask again.
		PERFORM hooks.wake();
	ELSE
		UPDATE hooks.presence AS p SET joined_at = now(), left_at = NULL WHERE p.user_id = user_joined.user_id;
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.user_joined(uuid) IS
	'the user is there; with hooks.require_presence their events fire hooks from now on; GRANT EXECUTE to the '
	'application''s role';

CREATE FUNCTION hooks.user_left(user_id pg_catalog.uuid)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF user_left.user_id IS NULL THEN
		RAISE EXCEPTION 'user must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	UPDATE hooks.presence AS p SET left_at = now() WHERE p.user_id = user_left.user_id AND p.left_at IS NULL;
END
$$;
COMMENT ON FUNCTION hooks.user_left(uuid) IS
	'the user has left, which hooks.executors shows; nothing stops because of it';

CREATE VIEW hooks.joined WITH (security_barrier) AS
SELECT p.user_id, p.first_joined_at, p.joined_at, p.left_at
FROM hooks.presence AS p
WHERE p.user_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT h.user_id FROM hooks.visible_hooks() AS h));
COMMENT ON VIEW hooks.joined IS
	'users who have joined, of those of whom the reader may see a hook';

REVOKE ALL ON FUNCTION hooks.user_joined(uuid), hooks.user_left(uuid) FROM PUBLIC;
GRANT SELECT ON hooks.joined TO PUBLIC;

-- A column for each counter, as before, and one for events of those who have not joined.
DO $$
BEGIN
	EXECUTE 'CREATE OR REPLACE VIEW hooks.stat AS SELECT '
		OPERATOR(pg_catalog.||) (
			SELECT pg_catalog.string_agg(
				pg_catalog.format('pg_catalog.max(value) FILTER (WHERE name OPERATOR(pg_catalog.=) %L) AS %I', c.name, c.name),
				', ' ORDER BY c.i)
			FROM (SELECT a.attname::pg_catalog.text AS name, a.attnum AS i FROM pg_catalog.pg_attribute AS a
				  WHERE a.attrelid OPERATOR(pg_catalog.=) 'hooks.stat'::pg_catalog.regclass AND a.attnum OPERATOR(pg_catalog.>) 0
				  UNION ALL VALUES ('events_unserved', 1000)) AS c)
		OPERATOR(pg_catalog.||) ' FROM hooks.stat_values()';
END
$$;
COMMENT ON COLUMN hooks.stat.events_unserved IS
	'events not queued because their user has never joined and hooks.require_presence is on';

CREATE FUNCTION hooks.last_result(user_id pg_catalog.uuid, OUT at pg_catalog.timestamptz, OUT status pg_catalog.text,
								  OUT error pg_catalog.text)
	RETURNS record
	LANGUAGE c STABLE STRICT COST 10 AS 'MODULE_PATHNAME', 'hooks_last_result';
COMMENT ON FUNCTION hooks.last_result(uuid) IS
	'the last row of the log of this user, as the caller may see it; the view hooks.executors asks for it';
GRANT EXECUTE ON FUNCTION hooks.last_result(uuid) TO PUBLIC;

CREATE OR REPLACE VIEW hooks.executors WITH (security_barrier) AS
SELECT h.user_id, h.hooks, coalesce(d.n, 0) OPERATOR(pg_catalog.+) coalesce(q.n, 0) AS waiting,
	   coalesce(u.requests, 0) AS in_flight, p.paused, l.at AS last_event_at, l.status AS last_status, l.error AS last_error,
	   j.joined_at, j.left_at
FROM (SELECT v.user_id, pg_catalog.count(*) FILTER (WHERE v.enabled) AS hooks
	  FROM hooks.visible_hooks() AS v GROUP BY v.user_id) AS h
	LEFT JOIN (SELECT user_id, pg_catalog.count(*) AS n FROM hooks.delivery WHERE next_at IS NOT NULL GROUP BY user_id) AS d
		ON d.user_id OPERATOR(pg_catalog.=) h.user_id
	LEFT JOIN (SELECT user_id, pg_catalog.count(*) AS n FROM hooks.queued GROUP BY user_id) AS q
		ON q.user_id OPERATOR(pg_catalog.=) h.user_id
	LEFT JOIN hooks.under_way() AS u ON u.user_id OPERATOR(pg_catalog.=) h.user_id
	LEFT JOIN hooks.presence AS j ON j.user_id OPERATOR(pg_catalog.=) h.user_id,
	LATERAL hooks.last_result(h.user_id) AS l,
	LATERAL (SELECT EXISTS (SELECT FROM hooks.paused AS x
							WHERE x.hook_id IS NULL AND x.user_id OPERATOR(pg_catalog.=) h.user_id) AS paused) AS p;
COMMENT ON COLUMN hooks.executors.joined_at IS 'when hooks.user_joined() was called for them last; null: never';
COMMENT ON COLUMN hooks.executors.left_at IS 'when they left; null: they have not left since';
DROP FUNCTION hooks.last_results(uuid[]);

CREATE FUNCTION hooks.executor(user_id pg_catalog.uuid)
	RETURNS SETOF hooks.executors
	LANGUAGE c STABLE STRICT ROWS 1 AS 'MODULE_PATHNAME', 'hooks_executor';
COMMENT ON FUNCTION hooks.executor(uuid) IS
	'this user''s row of hooks.executors, without looking at all others; GRANT EXECUTE to the application''s role';
REVOKE ALL ON FUNCTION hooks.executor(uuid) FROM PUBLIC;

CREATE OR REPLACE FUNCTION hooks.explain(event pg_catalog.uuid)
	RETURNS TABLE (hook_id pg_catalog.uuid, hook_name pg_catalog.text, verdict pg_catalog.text,
				   reason pg_catalog.text, key pg_catalog.text, event_value pg_catalog.jsonb,
				   hook_value pg_catalog.jsonb, cooldown_left pg_catalog.interval)
	LANGUAGE plpgsql STABLE ROWS 5
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	stored jsonb := hooks.stored_event(event);
	served CONSTANT bool := NOT current_setting('hooks.require_presence')::bool
		OR EXISTS (SELECT FROM hooks.joined AS u WHERE u.user_id = (stored ->> 'user_id')::uuid);
BEGIN
	-- Rows of other types are in event tables too, and fire nothing.
	IF NOT stored ->> 'type' = ANY ('{donation,follow,raid,subscription,stream_start,stream_end,chat_message}') THEN
		stored := stored - 'type';
	END IF;
	RETURN QUERY
	SELECT h.id, h.name,
		   CASE WHEN NOT served THEN 'not_served'
				WHEN NOT h.enabled THEN 'disabled'
				WHEN j.verdict = 'fires' AND c.remaining > interval '0' THEN 'skipped_cooldown'
				ELSE j.verdict END,
		   CASE WHEN NOT served THEN 'the user has never joined, and hooks.require_presence is on'
				WHEN NOT h.enabled THEN 'the hook is not enabled'
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


/*
 * Streams that the application keeps in a table
 */

CREATE TABLE hooks.stream (
	relation	pg_catalog.oid NOT NULL,
	stream		pg_catalog.text NOT NULL,
	user_id		pg_catalog.uuid NOT NULL,
	live		pg_catalog.bool NOT NULL,
	changed_at	pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	ended_at	pg_catalog.timestamptz,
	PRIMARY KEY (relation, stream)
);
CREATE INDEX stream_user_id_idx ON hooks.stream (user_id, relation, ended_at);
CREATE INDEX stream_changed_at_idx ON hooks.stream (changed_at) WHERE NOT live;
REVOKE ALL ON hooks.stream FROM PUBLIC;
COMMENT ON TABLE hooks.stream IS
	'what was announced of the streams in tables that hooks.attach_lifecycle() was called for; for 7 days after their end';
COMMENT ON COLUMN hooks.stream.ended_at IS 'when its end was announced';
COMMENT ON INDEX hooks.stream_user_id_idx IS 'finds when a user''s last stream has ended';
COMMENT ON INDEX hooks.stream_changed_at_idx IS 'finds what can be forgotten';

CREATE FUNCTION hooks.on_stream() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_on_stream';
COMMENT ON FUNCTION hooks.on_stream() IS
	'trigger of tables that hold streams: announces stream_start and stream_end; see hooks.attach_lifecycle()';

CREATE VIEW hooks.stream_tables AS
SELECT t.tgrelid::pg_catalog.regclass AS streams, t.tgname AS trigger,
	   a.arguments[1] AS id_column, a.arguments[2] AS user_column, a.arguments[3] AS status_column,
	   nullif(a.arguments[4], '')::pg_catalog.text[] AS started, nullif(a.arguments[5], '')::pg_catalog.text[] AS ended,
	   pg_catalog.make_interval(secs => a.arguments[6]::pg_catalog.float8) AS min_gap,
	   a.arguments[7]::pg_catalog.text[] AS columns
FROM pg_catalog.pg_trigger AS t,
	 LATERAL (SELECT pg_catalog.array_agg(pg_catalog.convert_from(pg_catalog.decode(u.piece, 'escape'), 'UTF8')
										  ORDER BY u.n) AS arguments
			  FROM pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.encode(t.tgargs, 'escape'), '\000'))
				  WITH ORDINALITY AS u (piece, n)
			  WHERE u.n OPERATOR(pg_catalog.<=) 7) AS a
WHERE t.tgfoid OPERATOR(pg_catalog.=) 'hooks.on_stream'::pg_catalog.regproc
	AND t.tgparentid OPERATOR(pg_catalog.=) 0::pg_catalog.oid;
COMMENT ON VIEW hooks.stream_tables IS
	'the tables whose rows are streams, see hooks.attach_lifecycle(), and what it was told';
GRANT SELECT ON hooks.stream_tables TO PUBLIC;

CREATE FUNCTION hooks.attach_lifecycle(streams pg_catalog.regclass,
									   user_column pg_catalog.name DEFAULT 'user_id',
									   status_column pg_catalog.name DEFAULT 'status',
									   started pg_catalog.text[] DEFAULT NULL,
									   ended pg_catalog.text[] DEFAULT NULL,
									   id_column pg_catalog.name DEFAULT 'id',
									   columns pg_catalog.name[] DEFAULT '{}',
									   min_gap pg_catalog.interval DEFAULT '0')
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	problems text[];
	status regtype;
	kind "char";
	column_name name;
	label text;
	attached regclass;
	existing record;
	seconds float8 := extract(epoch FROM min_gap);
BEGIN
	IF streams IS NULL OR user_column IS NULL OR status_column IS NULL THEN
		RAISE EXCEPTION 'table, user_column and status_column must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM hooks.setup_own(streams);
	IF seconds IS NULL OR seconds < 0 OR seconds > 86400 THEN
		RAISE EXCEPTION 'invalid min_gap: %', coalesce(min_gap::text, 'null')
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Use 0 to 1 day, for example ''5 min''.';
	END IF;

	-- One trigger in a tree of partitions, or streams would be announced twice.
	SELECT t.tgrelid::regclass INTO attached FROM pg_trigger AS t
	WHERE t.tgfoid = 'hooks.on_stream'::regproc AND t.tgparentid = 0 AND t.tgrelid <> streams
		AND (t.tgrelid IN (SELECT relid FROM pg_partition_ancestors(streams))
			 OR t.tgrelid IN (SELECT relid FROM pg_partition_tree(streams)))
	ORDER BY 1
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'cannot attach table "%"', streams
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = format('It is partitioned, or a partition, and "%s" is attached.', attached),
				  HINT = format('Call hooks.detach_lifecycle(%L) first.', attached);
	END IF;

	-- Its columns.
	problems := hooks.setup_problems(streams, json_build_object(user_column, 'uuid'));
	IF id_column = 'id' AND NOT EXISTS (
		SELECT FROM pg_attribute AS a
		WHERE a.attrelid = streams AND a.attname = id_column AND NOT a.attisdropped)
	THEN
		id_column := NULL;
	END IF;
	FOREACH column_name IN ARRAY array_remove(status_column || (id_column || coalesce(columns, '{}')), NULL) LOOP
		IF NOT EXISTS (SELECT FROM pg_attribute AS a
					   WHERE a.attrelid = streams AND a.attname = column_name AND a.attnum > 0 AND NOT a.attisdropped)
		THEN
			problems := problems || format('Column "%s" of "%s" does not exist.', column_name, streams);
		END IF;
	END LOOP;
	IF cardinality(columns) > 20 THEN
		problems := problems || format('There are %s columns for the events, but at most 20 are possible.', cardinality(columns));
	END IF;
	IF problems <> '{}' THEN
		RAISE EXCEPTION 'cannot attach table "%"', streams
			USING ERRCODE = 'invalid_table_definition',
				  DETAIL = array_to_string(problems, E'\n'),
				  HINT = 'Name the columns: hooks.attach_lifecycle(streams, user_column => ..., status_column => ...).';
	END IF;

	-- What its status means.
	SELECT b.oid, b.typtype INTO status, kind
	FROM pg_attribute AS a
		JOIN pg_type AS t ON t.oid = a.atttypid
		JOIN pg_type AS b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
	WHERE a.attrelid = streams AND a.attname = status_column AND NOT a.attisdropped;
	IF status IN ('timestamptz', 'timestamp') THEN
		IF started IS NOT NULL OR ended IS NOT NULL THEN
			RAISE EXCEPTION 'column "%" is a time, so started and ended cannot be given', status_column
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = 'A stream is live while that column is null.';
		END IF;
	ELSIF status = 'boolean'::regtype AND started IS NULL THEN
		started := '{t}';
	ELSIF status = 'boolean'::regtype THEN
		started := ARRAY(SELECT left(v::bool::text, 1) FROM unnest(started) AS v);
		ended := ARRAY(SELECT left(v::bool::text, 1) FROM unnest(ended) AS v WHERE ended IS NOT NULL);
	ELSIF coalesce(cardinality(started), 0) = 0 THEN
		RAISE EXCEPTION 'the values of column "%" that mean that a stream is live have to be named', status_column
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'For example: started => ''{live}'', and ended => ''{ended}'' if there are values that mean neither.';
	END IF;
	ended := nullif(ended, '{}');
	IF array_position(started || ended, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'values of column "%" must not be null', status_column
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	FOREACH label IN ARRAY coalesce(started, '{}') || coalesce(ended, '{}') LOOP
		IF kind = 'e' AND NOT EXISTS (
			SELECT FROM pg_enum AS e WHERE e.enumtypid = status AND e.enumlabel = label)
		THEN
			RAISE EXCEPTION 'column "%" cannot have the value "%"', status_column, label
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = format('Values of type %s are %s.', status,
									(SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
									 FROM pg_enum AS e WHERE e.enumtypid = status));
		END IF;
	END LOOP;
	IF started && ended THEN
		RAISE EXCEPTION 'a value of column "%" cannot mean both that a stream is live and that it has ended', status_column
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	FOR existing IN SELECT t.trigger FROM hooks.stream_tables AS t WHERE t.streams = attach_lifecycle.streams LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', existing.trigger, streams);
	END LOOP;
	EXECUTE format('CREATE TRIGGER hooks_stream AFTER INSERT OR UPDATE ON %s FOR EACH ROW '
				   'EXECUTE FUNCTION hooks.on_stream(%L, %L, %L, %L, %L, %L, %L)', streams,
				   coalesce(id_column, ''), user_column, status_column, coalesce(started::text, ''),
				   coalesce(ended::text, ''), seconds, coalesce(columns, '{}'));
	EXECUTE format('COMMENT ON TRIGGER hooks_stream ON %s IS %L', streams,
				   'announces streams that start and end; made by hooks.attach_lifecycle(), removed by '
				   'hooks.detach_lifecycle()');
	PERFORM hooks.setup_leave_with_extension(streams, 'hooks_stream');
END
$$;
COMMENT ON FUNCTION hooks.attach_lifecycle(regclass, name, name, text[], text[], name, name[], interval) IS
	'announces stream_start and stream_end when the status of a row of this table changes: it is live when the status is '
	'one of "started", over when it is one of "ended" (all others, if not given), or, when it is a time, null or not; '
	'who is back within min_gap of the end goes on; columns: what else the events have';

CREATE FUNCTION hooks.detach_lifecycle(streams pg_catalog.regclass)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	existing record;
BEGIN
	IF streams IS NULL THEN
		RAISE EXCEPTION 'table must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM hooks.setup_own(streams);
	FOR existing IN SELECT t.trigger FROM hooks.stream_tables AS t WHERE t.streams = detach_lifecycle.streams LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', existing.trigger, streams);
	END LOOP;
	IF NOT FOUND THEN
		RAISE NOTICE 'table "%" is not attached', streams;
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.detach_lifecycle(regclass) IS 'undoes hooks.attach_lifecycle()';

REVOKE ALL ON FUNCTION hooks.on_stream(), hooks.detach_lifecycle(regclass),
	hooks.attach_lifecycle(regclass, name, name, text[], text[], name, name[], interval) FROM PUBLIC;


/*
 * Sync services, which read stream_hooks and stream_hook_logs by logical
 * replication: hooks.publish() and hooks.check_sync(), see doc/sync.md.
 *
 * Nothing is remembered: the catalogs say what is published and what is not.
 * The functions act as their caller, who needs to own what is changed.
 */

-- Without a replica identity, a publication FOR ALL TABLES makes the server refuse to update and delete rows of
-- these: resume() and adopt() would fail.  They have no primary key, and hardly any rows.
ALTER TABLE hooks.paused REPLICA IDENTITY FULL;
ALTER TABLE hooks.installation REPLICA IDENTITY FULL;

CREATE FUNCTION hooks.sync_tables()
	RETURNS TABLE (relation pg_catalog.regclass, logs pg_catalog.bool)
	LANGUAGE sql STABLE ROWS 2
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT DISTINCT t.tgrelid::regclass, t.tgfoid = 'hooks.logs_changed'::regproc
	FROM pg_trigger AS t
	WHERE t.tgfoid IN ('hooks.hook_changed'::regproc, 'hooks.logs_changed'::regproc) AND t.tgparentid = 0
	ORDER BY 2
$$;
COMMENT ON FUNCTION hooks.sync_tables() IS
	'the application''s two tables, by the triggers on them';
REVOKE ALL ON FUNCTION hooks.sync_tables() FROM PUBLIC;

CREATE FUNCTION hooks.sync_parts(relation pg_catalog.regclass)
	RETURNS TABLE (part pg_catalog.regclass, is_full pg_catalog.bool)
	LANGUAGE sql STABLE ROWS 1
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.oid::regclass, c.relreplident = 'f'
	FROM pg_class AS c
	WHERE (c.oid = relation OR c.oid IN (SELECT p.relid FROM pg_partition_tree(relation) AS p))
		AND c.relkind IN ('r', 'p')
	ORDER BY c.oid <> relation, c.oid::regclass::text
$$;
COMMENT ON FUNCTION hooks.sync_parts(regclass) IS
	'a table and its partitions, and whether the replica identity of each is FULL';
REVOKE ALL ON FUNCTION hooks.sync_parts(regclass) FROM PUBLIC;

CREATE FUNCTION hooks.sync_is_member(publication pg_catalog.name, relation pg_catalog.regclass)
	RETURNS pg_catalog.bool
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (
		SELECT FROM pg_publication AS p
		WHERE p.pubname = publication
			AND (p.puballtables
				 OR EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid = relation)
				 OR EXISTS (SELECT FROM pg_publication_namespace AS n JOIN pg_class AS c ON c.relnamespace = n.pnnspid
							WHERE n.pnpubid = p.oid AND c.oid = relation)))
$$;
COMMENT ON FUNCTION hooks.sync_is_member(name, regclass) IS
	'is the table published: by itself, with its schema, or as all tables are?';
REVOKE ALL ON FUNCTION hooks.sync_is_member(name, regclass) FROM PUBLIC;

CREATE FUNCTION hooks.sync_generated(relation pg_catalog.regclass)
	RETURNS TABLE (part pg_catalog.regclass, name pg_catalog.name, is_virtual pg_catalog.bool)
	LANGUAGE sql STABLE ROWS 1
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT s.part, a.attname, a.attgenerated = 'v'
	FROM hooks.sync_parts(relation) AS s JOIN pg_attribute AS a ON a.attrelid = s.part
	WHERE a.attgenerated <> '' AND NOT a.attisdropped AND current_setting('server_version_num')::int >= 180000
	ORDER BY a.attgenerated = 's', s.part <> relation, s.part::text, a.attnum
$$;
COMMENT ON FUNCTION hooks.sync_generated(regclass) IS
	'generated columns of a table and its partitions, for which PostgreSQL 18 and later refuse updates and deletes if the '
	'replica identity is FULL and they are not published; virtual ones never are';
REVOKE ALL ON FUNCTION hooks.sync_generated(regclass) FROM PUBLIC;

CREATE FUNCTION hooks.publish(publication pg_catalog.name, hooks pg_catalog.bool DEFAULT true,
							  logs pg_catalog.bool DEFAULT true)
	RETURNS SETOF pg_catalog.text
	LANGUAGE plpgsql ROWS 4
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted regclass[];
	missing text;
	is_partitioned bool;
	has_generated bool;
	obstacle record;
	statement text;
	statements text[];
BEGIN
	IF publication IS NULL OR publish.hooks IS NULL OR publish.logs IS NULL THEN
		RAISE EXCEPTION 'arguments of hooks.publish() must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	ELSIF NOT publish.hooks AND NOT publish.logs THEN
		RAISE EXCEPTION 'nothing is to be published'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'For example hooks.publish(''sync'', logs => false) publishes hooks only.';
	END IF;
	wanted := ARRAY(SELECT t.relation FROM hooks.sync_tables() AS t
					WHERE CASE WHEN t.logs THEN publish.logs ELSE publish.hooks END);
	IF cardinality(wanted) <> publish.hooks::int + publish.logs::int THEN
		RAISE EXCEPTION 'there is no table of hooks, or of their log, in this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Create them by SELECT hooks.setup().';
	END IF;

	-- The server would refuse every update and delete of a table that has both.
	SELECT p.pubname, r.prrelid::regclass AS relation INTO obstacle
	FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid,
		 unnest(wanted) AS w (relation), LATERAL hooks.sync_parts(w.relation) AS s
	WHERE r.prrelid = s.part AND r.prattrs IS NOT NULL AND (p.pubupdate OR p.pubdelete)
	ORDER BY p.pubname
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'cannot set the replica identity of table "%" to FULL', obstacle.relation
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = format('Publication "%s" has a list of its columns, with which the server would '
								  'refuse to update and delete rows.', obstacle.pubname),
				  HINT = format('ALTER PUBLICATION %I DROP TABLE %s; ALTER PUBLICATION %1$I ADD TABLE %2$s;',
								obstacle.pubname, obstacle.relation);
	END IF;

	-- So it would with a generated column that a publication leaves out.
	SELECT g.part AS relation, g.name, g.is_virtual, p.pubname INTO obstacle
	FROM unnest(wanted) AS w (relation) CROSS JOIN LATERAL hooks.sync_generated(w.relation) AS g
		LEFT JOIN pg_publication AS p ON NOT g.is_virtual AND p.pubname <> publication AND (p.pubupdate OR p.pubdelete)
			AND to_jsonb(p) ->> 'pubgencols' = 'n'
			AND (hooks.sync_is_member(p.pubname, g.part) OR hooks.sync_is_member(p.pubname, w.relation))
	WHERE g.is_virtual OR p.pubname IS NOT NULL
	ORDER BY g.is_virtual DESC, p.pubname
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'cannot set the replica identity of table "%" to FULL', obstacle.relation
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = CASE WHEN obstacle.is_virtual
								THEN format('Its column "%s" is virtual, and the server would refuse to update and delete rows.',
											obstacle.name)
								ELSE format('Publication "%s" leaves out its generated column "%s", and the server would '
											'refuse to update and delete rows.', obstacle.pubname, obstacle.name) END,
				  HINT = CASE WHEN obstacle.is_virtual
							  THEN 'Make it a stored one: GENERATED ALWAYS AS (...) STORED.'
							  ELSE format('ALTER PUBLICATION %I SET (publish_generated_columns = stored);', obstacle.pubname) END;
	END IF;
	has_generated := EXISTS (SELECT FROM unnest(wanted) AS w (relation), LATERAL hooks.sync_generated(w.relation) AS g);

	statements := ARRAY(SELECT format('ALTER TABLE %s REPLICA IDENTITY FULL', s.part)
						FROM unnest(wanted) WITH ORDINALITY AS w (relation, n),
							 LATERAL hooks.sync_parts(w.relation) WITH ORDINALITY AS s (part, is_full, n)
						WHERE NOT s.is_full
						ORDER BY w.n, s.n);
	SELECT string_agg(w.relation::text, ', ' ORDER BY w.n), bool_or(c.relkind = 'p') INTO missing, is_partitioned
	FROM unnest(wanted) WITH ORDINALITY AS w (relation, n) JOIN pg_class AS c ON c.oid = w.relation
	WHERE NOT hooks.sync_is_member(publication, w.relation);
	IF NOT EXISTS (SELECT FROM pg_publication AS p WHERE p.pubname = publication) THEN
		statements := statements || format('CREATE PUBLICATION %I FOR TABLE %s%s', publication, missing,
			' WITH (' || nullif(concat_ws(', ', CASE WHEN is_partitioned THEN 'publish_via_partition_root = true' END,
										  CASE WHEN has_generated THEN 'publish_generated_columns = stored' END), '') || ')');
	ELSE
		IF has_generated AND EXISTS (SELECT FROM pg_publication AS p
									 WHERE p.pubname = publication AND to_jsonb(p) ->> 'pubgencols' = 'n') THEN
			statements := statements || format('ALTER PUBLICATION %I SET (publish_generated_columns = stored)', publication);
		END IF;
		IF missing IS NOT NULL THEN
			statements := statements || format('ALTER PUBLICATION %I ADD TABLE %s', publication, missing);
		END IF;
	END IF;
	FOREACH statement IN ARRAY statements LOOP
		EXECUTE statement;
		RETURN NEXT statement;
	END LOOP;
END
$$;
COMMENT ON FUNCTION hooks.publish(name, bool, bool) IS
	'has a publication, which is created if need be, publish stream_hooks and stream_hook_logs, with all columns of '
	'old rows (REPLICA IDENTITY FULL); returns the statements that it has executed';
REVOKE ALL ON FUNCTION hooks.publish(name, bool, bool) FROM PUBLIC;

/*
 * What hooks.check_sync() says, part by part: ok is null where it depends on
 * the service; a remedy is a statement, or several, that can be executed.
 */

CREATE FUNCTION hooks.sync_server()
	RETURNS TABLE (item pg_catalog.text, ok pg_catalog.bool, state pg_catalog.text, remedy pg_catalog.text)
	LANGUAGE sql STABLE ROWS 5
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH logical AS (
		SELECT count(*) > 0 AS there, count(*) FILTER (WHERE s.active) > 0 AS active
		FROM pg_replication_slots AS s
		WHERE s.slot_type = 'logical' AND s.database = current_database())
	SELECT s.name, s.setting = 'logical',
		   s.setting || CASE WHEN s.pending_restart THEN ', until the server is restarted' ELSE '' END,
		   'ALTER SYSTEM SET wal_level = ''logical''; -- and restart the server'
	FROM pg_settings AS s WHERE s.name = 'wal_level'
	UNION ALL
	SELECT s.name, l.there OR u.n < s.setting::int, format('%s of %s in use', u.n, s.setting),
		   format('ALTER SYSTEM SET max_replication_slots = %s; -- and restart the server', u.n + 5)
	FROM pg_settings AS s, logical AS l, (SELECT count(*) AS n FROM pg_replication_slots) AS u
	WHERE s.name = 'max_replication_slots'
	UNION ALL
	SELECT s.name, l.active OR u.n < s.setting::int, format('%s of %s in use', u.n, s.setting),
		   format('ALTER SYSTEM SET max_wal_senders = %s; -- and restart the server', u.n + 5)
	FROM pg_settings AS s, logical AS l, (SELECT count(*) AS n FROM pg_stat_replication) AS u
	WHERE s.name = 'max_wal_senders'
	UNION ALL
	SELECT s.name, CASE WHEN s.setting::int >= 0 THEN true END,
		   CASE WHEN s.setting::int >= 0 THEN current_setting(s.name)
				ELSE 'unlimited: a slot that nobody reads keeps WAL until the disk is full' END,
		   'ALTER SYSTEM SET max_slot_wal_keep_size = ''10GB''; -- and SELECT pg_reload_conf()'
	FROM pg_settings AS s WHERE s.name = 'max_slot_wal_keep_size'
	UNION ALL
	-- Later minor releases have it.
	SELECT s.name, cardinality(u.others) = 0,
		   s.setting || coalesce(': slots of this database use ' || nullif(array_to_string(u.others, ', '), ''), ''),
		   format('ALTER SYSTEM SET output_plugin_libraries = %s; -- and SELECT pg_reload_conf()',
				  (SELECT string_agg(quote_literal(x.name), ', ' ORDER BY x.n)
				   FROM unnest(p.listed || u.others) WITH ORDINALITY AS x (name, n) WHERE x.name <> ''))
	FROM pg_settings AS s,
		 LATERAL (SELECT regexp_split_to_array(replace(s.setting, '"', ''), '\s*,\s*') AS listed) AS p,
		 LATERAL (SELECT ARRAY(SELECT DISTINCT r.plugin::text FROM pg_replication_slots AS r
							   WHERE r.slot_type = 'logical' AND r.database = current_database()
								   AND r.plugin <> ALL (p.listed)
							   ORDER BY 1) AS others) AS u
	WHERE s.name = 'output_plugin_libraries'
$$;
COMMENT ON FUNCTION hooks.sync_server() IS
	'the part of hooks.check_sync() about settings of the server';
REVOKE ALL ON FUNCTION hooks.sync_server() FROM PUBLIC;

CREATE FUNCTION hooks.sync_role(role pg_catalog.name)
	RETURNS TABLE (item pg_catalog.text, ok pg_catalog.bool, state pg_catalog.text, remedy pg_catalog.text)
	LANGUAGE sql STABLE ROWS 4
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT v.item, v.ok, format(CASE WHEN v.ok THEN 'role "%s" has it' ELSE 'role "%s" lacks it' END, role), v.remedy
	FROM pg_roles AS r,
		 LATERAL (
			SELECT 'attribute LOGIN' AS item, r.rolcanlogin AS ok, format('ALTER ROLE %I LOGIN', role) AS remedy
			UNION ALL
			SELECT 'attribute REPLICATION', r.rolreplication OR r.rolsuper, format('ALTER ROLE %I REPLICATION', role)
			UNION ALL
			SELECT format('CONNECT on database %I', d.name), has_database_privilege(r.oid, d.name, 'CONNECT'),
				   format('GRANT CONNECT ON DATABASE %I TO %I', d.name, role)
			FROM current_database() AS d (name)
			UNION ALL
			SELECT format('USAGE on schema %I', n.nspname), has_schema_privilege(r.oid, n.oid, 'USAGE'),
				   format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, role)
			FROM pg_namespace AS n
			WHERE n.oid IN (SELECT c.relnamespace FROM pg_class AS c JOIN hooks.sync_tables() AS t ON t.relation = c.oid)) AS v
	WHERE r.rolname = role
$$;
COMMENT ON FUNCTION hooks.sync_role(name) IS
	'the part of hooks.check_sync() about the role';
REVOKE ALL ON FUNCTION hooks.sync_role(name) FROM PUBLIC;

CREATE FUNCTION hooks.sync_publication(publication pg_catalog.name, role pg_catalog.name)
	RETURNS TABLE (item pg_catalog.text, ok pg_catalog.bool, state pg_catalog.text, remedy pg_catalog.text)
	LANGUAGE sql STABLE ROWS 5
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH p AS (
		SELECT * FROM pg_publication AS p WHERE p.pubname = publication
	), ours AS (
		SELECT s.part FROM hooks.sync_tables() AS t, LATERAL hooks.sync_parts(t.relation) AS s
	), published AS (
		SELECT t.schemaname, format('%I.%I', t.schemaname, t.tablename)::regclass AS relation
		FROM pg_publication_tables AS t WHERE t.pubname = publication
	), machinery AS (
		SELECT count(*) AS n, (array_agg(d.relation::text ORDER BY d.relation::text))[1] AS example
		FROM published AS d WHERE d.schemaname = 'hooks'
	)
	SELECT 'publication', EXISTS (SELECT FROM p),
		   format(CASE WHEN EXISTS (SELECT FROM p) THEN '"%s" exists' ELSE '"%s" does not exist' END, publication),
		   format('SELECT hooks.publish(%L)', publication)
	UNION ALL
	SELECT 'owner of the publication', CASE WHEN pg_has_role(role, p.pubowner, 'USAGE') THEN true END,
		   format('belongs to "%s"; services that change the publication have to own it', pg_get_userbyid(p.pubowner)),
		   CASE WHEN NOT p.puballtables AND NOT EXISTS (SELECT FROM pg_publication_namespace AS n WHERE n.pnpubid = p.oid)
				THEN format('GRANT CREATE ON DATABASE %I TO %I; ALTER PUBLICATION %I OWNER TO %2$I',
							current_database(), role, publication) END
	FROM p
	UNION ALL
	SELECT 'what is published', p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,
		   concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
					 CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END),
		   format('ALTER PUBLICATION %I SET (publish = ''insert, update, delete, truncate'')', publication)
	FROM p
	UNION ALL
	SELECT 'partitions', p.pubviaroot,
		   CASE WHEN p.pubviaroot THEN 'changes come under the name of the partitioned table'
				ELSE 'changes come under the names of partitions' END,
		   format('ALTER PUBLICATION %I SET (publish_via_partition_root = true)', publication)
	FROM p
	WHERE EXISTS (SELECT FROM ours JOIN pg_class AS c ON c.oid = ours.part WHERE c.relkind = 'p')
	UNION ALL
	SELECT 'tables of schema hooks', m.n = 0,
		   CASE WHEN m.n = 0 THEN 'none is published'
				ELSE format('%s are published, such as %s', m.n, m.example) END,
		   CASE WHEN p.puballtables THEN
				-- What else it published, it still does: by schemas.
				concat_ws('; ', format('DROP PUBLICATION %I', publication), format('SELECT hooks.publish(%L)', publication),
						  (SELECT format('ALTER PUBLICATION %I ADD TABLES IN SCHEMA ', publication)
								  || string_agg(DISTINCT quote_ident(d.schemaname), ', ')
						   FROM published AS d
						   WHERE d.schemaname <> 'hooks' AND d.relation NOT IN (SELECT part FROM ours)))
				ELSE
				concat_ws('; ', CASE WHEN EXISTS (SELECT FROM pg_publication_namespace AS n
												  WHERE n.pnpubid = p.oid AND n.pnnspid = 'hooks'::regnamespace)
									 THEN format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA hooks', publication) END,
						  (SELECT format('ALTER PUBLICATION %I DROP TABLE ', publication)
								  || string_agg(c.oid::regclass::text, ', ' ORDER BY c.oid::regclass::text)
						   FROM pg_publication_rel AS r JOIN pg_class AS c ON c.oid = r.prrelid
						   WHERE r.prpubid = p.oid AND c.relnamespace = 'hooks'::regnamespace)) END
	FROM p, machinery AS m
$$;
COMMENT ON FUNCTION hooks.sync_publication(name, name) IS
	'the part of hooks.check_sync() about the publication as a whole';
REVOKE ALL ON FUNCTION hooks.sync_publication(name, name) FROM PUBLIC;

CREATE FUNCTION hooks.sync_table(publication pg_catalog.name, role pg_catalog.name, relation pg_catalog.regclass,
								 logs pg_catalog.bool)
	RETURNS TABLE (item pg_catalog.text, ok pg_catalog.bool, state pg_catalog.text, remedy pg_catalog.text)
	LANGUAGE sql STABLE ROWS 8
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH c AS (
		SELECT c.*, r.rolsuper AS owner_is_super, s.oid AS role_oid, s.rolsuper OR s.rolbypassrls AS is_exempt,
			   pg_has_role(s.oid, c.relowner, 'USAGE') AS is_owner
		FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner, pg_roles AS s
		WHERE c.oid = relation AND s.rolname = role
	), member AS (
		SELECT r.prqual, r.prattrs, format('ALTER PUBLICATION %I DROP TABLE %s; ALTER PUBLICATION %1$I ADD TABLE %2$s',
										   publication, relation) AS anew
		FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = r.prpubid
		WHERE p.pubname = publication AND r.prrelid = relation
	), missing AS (
		SELECT count(*) AS n, string_agg(format('ALTER TABLE %s REPLICA IDENTITY FULL', s.part), '; ' ORDER BY s.n) AS statements
		FROM hooks.sync_parts(relation) WITH ORDINALITY AS s (part, is_full, n)
		WHERE NOT s.is_full
	)
	SELECT format('membership of %s', relation), v.ok, CASE WHEN v.ok THEN 'is published' ELSE 'is not published' END,
		   format('SELECT hooks.publish(%L, %s)', publication,
				  CASE WHEN logs THEN 'hooks => false' ELSE 'logs => false' END)
	FROM (SELECT hooks.sync_is_member(publication, relation) AS ok) AS v
	UNION ALL
	SELECT format('rows of %s', relation), m.prqual IS NULL,
		   coalesce('only where ' || pg_get_expr(m.prqual, relation), 'all'), m.anew
	FROM member AS m
	UNION ALL
	SELECT format('columns of %s', relation), m.prattrs IS NULL,
		   coalesce('only ' || (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute AS a
								WHERE a.attrelid = relation AND a.attnum = ANY (m.prattrs)), 'all'), m.anew
	FROM member AS m
	UNION ALL
	SELECT format('replica identity of %s', relation), m.n = 0,
		   CASE WHEN m.n = 0 THEN 'full' ELSE format('not full, of %s of %s tables and partitions', m.n,
													  (SELECT count(*) FROM hooks.sync_parts(relation))) END,
		   m.statements
	FROM missing AS m
	UNION ALL
	SELECT format('generated columns of %s', relation), NOT g.is_virtual AND g.are_published,
		   CASE WHEN g.is_virtual THEN format('"%s" is virtual; rows can be neither updated nor deleted', g.name)
				WHEN g.are_published THEN 'are published'
				ELSE 'are not published; rows can be neither updated nor deleted' END,
		   CASE WHEN NOT g.is_virtual
				THEN format('ALTER PUBLICATION %I SET (publish_generated_columns = stored)', publication) END
	FROM (SELECT g.name, g.is_virtual, to_jsonb(p) ->> 'pubgencols' = 's' AS are_published
		  FROM hooks.sync_generated(relation) AS g, pg_publication AS p
		  WHERE p.pubname = publication AND hooks.sync_is_member(publication, relation)
		  LIMIT 1) AS g
	UNION ALL
	SELECT format('primary key of %s', relation), k.columns IS NOT NULL, coalesce('on ' || k.columns, 'there is none'),
		   format('ALTER TABLE %s ADD PRIMARY KEY (%s)', relation,
				  -- Of a partitioned table, it has to have the columns by which rows are distributed.
				  concat_ws(', ', 'id', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
										 FROM pg_partitioned_table AS p
											 JOIN pg_attribute AS a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs)
										 WHERE p.partrelid = relation AND a.attname <> 'id')))
	FROM (SELECT max((SELECT string_agg(a.attname, ', ' ORDER BY a.attnum) FROM pg_attribute AS a
					  WHERE a.attrelid = relation AND a.attnum = ANY (o.conkey))) AS columns
		  FROM pg_constraint AS o WHERE o.conrelid = relation AND o.contype = 'p') AS k
	UNION ALL
	SELECT format('SELECT on %s', relation), v.ok,
		   format(CASE WHEN v.ok THEN 'role "%s" has it' ELSE 'role "%s" lacks it' END, role),
		   format('GRANT SELECT ON %s TO %I', relation, role)
	FROM c, LATERAL (SELECT has_table_privilege(c.role_oid, c.oid, 'SELECT') AS ok) AS v
	UNION ALL
	SELECT format('row level security of %s', relation), v.ok,
		   CASE WHEN NOT c.relrowsecurity THEN 'off'
				WHEN v.ok THEN format('role "%s" is exempt', role)
				ELSE format('hides rows from role "%s" when it reads the table, not when it reads changes', role) END,
		   format('ALTER ROLE %I BYPASSRLS', role)
	FROM c, LATERAL (SELECT NOT c.relrowsecurity OR c.is_exempt OR (c.is_owner AND NOT c.relforcerowsecurity) AS ok) AS v
	UNION ALL
	SELECT format('owner of %s', relation), CASE WHEN c.is_owner THEN true END,
		   format('belongs to "%s"; services that add it to the publication have to own it', pg_get_userbyid(c.relowner)),
		   -- Nobody is to become a superuser for this.
		   CASE WHEN NOT c.owner_is_super THEN format('GRANT %I TO %I', pg_get_userbyid(c.relowner), role) END
	FROM c
$$;
COMMENT ON FUNCTION hooks.sync_table(name, name, regclass, bool) IS
	'the part of hooks.check_sync() about one of the two tables';
REVOKE ALL ON FUNCTION hooks.sync_table(name, name, regclass, bool) FROM PUBLIC;

CREATE FUNCTION hooks.sync_slots()
	RETURNS TABLE (item pg_catalog.text, ok pg_catalog.bool, state pg_catalog.text, remedy pg_catalog.text)
	LANGUAGE sql VOLATILE ROWS 2
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('slot %s', s.slot_name),
		   CASE WHEN s.wal_status IN ('unreserved', 'lost') THEN false WHEN s.active THEN true END,
		   concat_ws(', ', s.plugin, CASE WHEN s.active THEN 'active' ELSE 'not active' END, 'WAL ' || s.wal_status,
					 pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
										  ELSE pg_current_wal_lsn() END, s.restart_lsn) || ' bytes kept',
					 s.safe_wal_size || ' bytes left',
					 CASE s.plugin WHEN 'wal2json' THEN 'reads all tables but those in its option filter-tables' END),
		   CASE WHEN NOT s.active THEN
				format('SELECT pg_drop_replication_slot(%L); -- if its service does not come back', s.slot_name) END
	FROM pg_replication_slots AS s
	WHERE s.slot_type = 'logical' AND s.database = current_database()
	ORDER BY s.slot_name
$$;
COMMENT ON FUNCTION hooks.sync_slots() IS
	'the part of hooks.check_sync() about the logical replication slots of this database';
REVOKE ALL ON FUNCTION hooks.sync_slots() FROM PUBLIC;

CREATE FUNCTION hooks.sync_secrets(relation pg_catalog.regclass)
	RETURNS TABLE (item pg_catalog.text, ok pg_catalog.bool, state pg_catalog.text, remedy pg_catalog.text)
	LANGUAGE plpgsql STABLE ROWS 10
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- Names of headers and parameters whose values hooks.preview() masks, too.
	names CONSTANT text := 'auth|token|secret|key|password|signature|credential|session';
	most CONSTANT int := 100;
	n int := 0;
	found record;
BEGIN
	IF NOT has_table_privilege(relation, 'SELECT') OR row_security_active(relation) THEN
		RETURN QUERY SELECT 'secrets', NULL::bool, format('role "%s" may not see all of %s', current_user, relation), NULL;
		RETURN;
	END IF;

	-- Where each is, and which part of that text it is.
	FOR found IN EXECUTE format($query$
		SELECT h.id, s.place, s.path, s.part,
			   h.id || '.' || CASE WHEN s.called ~ '^[A-Za-z0-9_.-]{1,27}$' THEN s.called
								   ELSE left(md5(s.called), 27) END AS name
		FROM %s AS h, LATERAL (
			SELECT 'secret' AS place, '{secret}'::text[] AS path, NULL AS part, action_config ->> 'secret' AS value,
				   'secret' AS called
			WHERE jsonb_typeof(action_config -> 'secret') = 'string'
			UNION ALL
			SELECT 'secret', ARRAY['secret', (e.n - 1)::text], NULL, e.value #>> '{}', 'secret.' || e.n
			FROM jsonb_array_elements(CASE WHEN jsonb_typeof(action_config -> 'secret') = 'array'
										   THEN action_config -> 'secret' END) WITH ORDINALITY AS e (value, n)
			WHERE jsonb_typeof(e.value) = 'string'
			UNION ALL
			SELECT 'header ' || e.key, ARRAY['headers', e.key], '[^ ]+$', e.value, 'headers.' || e.key
			FROM jsonb_each_text(CASE WHEN jsonb_typeof(action_config -> 'headers') = 'object'
									  THEN action_config -> 'headers' END) AS e
			WHERE e.key ~* $1
			UNION ALL
			SELECT 'url, parameter ' || m[1], '{url}', format('(?<=[?&]%%s=)[^&#]+', regexp_replace(m[1], '(\W)', '\\\1', 'g')),
				   action_config ->> 'url', 'url.' || m[1]
			FROM regexp_matches(action_config ->> 'url', '[?&]([^=&#]*)=', 'g') AS m
			WHERE action_type::text = 'webhook' AND m[1] ~* $1
			UNION ALL
			SELECT 'webhook_url', '{webhook_url}', '(?<=/webhooks/[0-9]+/)[^/?#]+', action_config ->> 'webhook_url', 'webhook_url'
			WHERE action_type::text = 'discord_message') AS s
		WHERE coalesce(substring(s.value FROM coalesce(s.part, '.+')), '{{') NOT LIKE '%%{{%%'
		ORDER BY h.id, s.path
		$query$, relation) USING names
	LOOP
		n := n + 1;
		CONTINUE WHEN n > most;
		RETURN QUERY SELECT format('hook %s', found.id), false,
			format('%s: whoever reads %s can read it', found.place, relation),
			-- The secret itself is not to be seen here, either.
			format('SELECT hooks.set_secret(user_id, %L, substring(action_config #>> %L FROM %L)) FROM %s WHERE id = %L; '
				   'UPDATE %4$s SET action_config = jsonb_set(action_config, %2$L, %6$s) WHERE id = %5$L',
				   found.name, found.path, coalesce(found.part, '.+'), relation, found.id,
				   CASE WHEN found.part IS NULL THEN format('jsonb_build_object(''secret'', %L)', found.name)
						ELSE format('to_jsonb(regexp_replace(action_config #>> %L, %L, %L))',
									found.path, found.part, '{{secret.' || found.name || '}}') END);
	END LOOP;
	IF n > most THEN
		RETURN QUERY SELECT 'secrets', false, format('%s more are in hooks', n - most), NULL;
	ELSIF n = 0 THEN
		RETURN QUERY SELECT 'secrets', true, format('none is in %s', relation), NULL;
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.sync_secrets(regclass) IS
	'the part of hooks.check_sync() about secrets that hooks hold in clear';
REVOKE ALL ON FUNCTION hooks.sync_secrets(regclass) FROM PUBLIC;

CREATE FUNCTION hooks.check_sync(publication pg_catalog.name, role pg_catalog.name DEFAULT CURRENT_USER)
	RETURNS TABLE (item pg_catalog.text, ok pg_catalog.bool, state pg_catalog.text, remedy pg_catalog.text)
	LANGUAGE plpgsql VOLATILE ROWS 30
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF check_sync.publication IS NULL OR check_sync.role IS NULL THEN
		RAISE EXCEPTION 'arguments of hooks.check_sync() must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	ELSIF NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = check_sync.role) THEN
		RAISE EXCEPTION 'role "%" does not exist', check_sync.role
			USING ERRCODE = 'undefined_object',
				  HINT = format('Create it, for example by CREATE ROLE %I LOGIN REPLICATION.', check_sync.role);
	ELSIF (SELECT count(*) FROM hooks.sync_tables()) < 2 THEN
		RAISE EXCEPTION 'there is no table of hooks, or of their log, in this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Create them by SELECT hooks.setup().';
	END IF;
	RETURN QUERY
	SELECT c.item, c.ok, c.state, CASE WHEN c.ok THEN NULL ELSE c.remedy END
	FROM (SELECT 1 AS part, s.* FROM hooks.sync_server() WITH ORDINALITY AS s
		  UNION ALL SELECT 2, r.* FROM hooks.sync_role(check_sync.role) WITH ORDINALITY AS r
		  UNION ALL SELECT 3, p.* FROM hooks.sync_publication(check_sync.publication, check_sync.role) WITH ORDINALITY AS p
		  UNION ALL SELECT 4 + t.logs::int, x.*
					FROM hooks.sync_tables() AS t,
						 LATERAL hooks.sync_table(check_sync.publication, check_sync.role, t.relation, t.logs)
							 WITH ORDINALITY AS x
		  UNION ALL SELECT 6, s.* FROM hooks.sync_slots() WITH ORDINALITY AS s
		  UNION ALL SELECT 7, s.* FROM hooks.sync_tables() AS t, LATERAL hooks.sync_secrets(t.relation) WITH ORDINALITY AS s
					WHERE NOT t.logs) AS c
	ORDER BY c.part, c.ordinality;
END
$$;
COMMENT ON FUNCTION hooks.check_sync(name, name) IS
	'what a sync service needs that reads the publication as that role, and what is missing, with the statement that '
	'mends it; ok is null where it depends on the service';
REVOKE ALL ON FUNCTION hooks.check_sync(name, name) FROM PUBLIC;


/*
 * Beyond one machine
 *
 * A hub has the application's tables; nodes subscribe to its events and hooks,
 * deliver, and publish what came of it.  Users are divided into shares, each of
 * which is with one node at a time.  See doc/scale.md.  Of the triggers here,
 * those that fire for replicated rows only do nothing in a server that is
 * neither hub nor node.
 */

CREATE FUNCTION hooks.skip_stored() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_skip_stored';
COMMENT ON FUNCTION hooks.skip_stored() IS
	'row trigger of a node''s event tables, see hooks.become_node(): a replicated event that is there already is no other one';

CREATE FUNCTION hooks.keep_log() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_keep_log';
COMMENT ON FUNCTION hooks.keep_log() IS
	'row trigger of the hub''s stream_hook_logs, see hooks.become_hub(): leaves out replicated rows of hooks that were deleted';

CREATE FUNCTION hooks.disable_replicated() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'hooks_disable_replicated';
COMMENT ON FUNCTION hooks.disable_replicated() IS
	'row trigger of hooks.health: what a node has disabled is disabled on the hub';

CREATE FUNCTION hooks.replace_stored() RETURNS trigger
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE (SELECT format('DELETE FROM %s WHERE %s', TG_RELID::regclass,
						   string_agg(format('%1$I = ($1).%1$I', c), ' AND '))
			 FROM unnest(TG_ARGV) AS c)
		USING NEW;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION hooks.replace_stored() IS
	'row trigger: a replicated row takes the place of the one with the same key, which its arguments name';

CREATE FUNCTION hooks.replace_hook() RETURNS trigger
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	stored record;
BEGIN
	IF TG_OP = 'INSERT' THEN
		EXECUTE format('DELETE FROM %s WHERE id = $1 RETURNING last_triggered_at', TG_RELID::regclass)
			INTO stored USING NEW.id;
	ELSE
		stored := OLD;
	END IF;
	NEW.last_triggered_at := greatest(stored.last_triggered_at, NEW.last_triggered_at);
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION hooks.replace_hook() IS
	'row trigger of a node''s stream_hooks, see hooks.become_node(): a replicated hook takes the place of the one with its '
	'id, but for the cooldown, which the node keeps';

-- The trigger by which something is known to be new fires for replicated rows, too.
ALTER TABLE hooks.secret ENABLE ALWAYS TRIGGER changed;
ALTER TABLE hooks.chat_accounts ENABLE ALWAYS TRIGGER changed, ENABLE ALWAYS TRIGGER connected;

CREATE TRIGGER replicated BEFORE INSERT ON hooks.secret
	FOR EACH ROW EXECUTE FUNCTION hooks.replace_stored('user_id', 'name');
CREATE TRIGGER replicated BEFORE INSERT ON hooks.chat_accounts
	FOR EACH ROW EXECUTE FUNCTION hooks.replace_stored('user_id', 'platform');
CREATE TRIGGER replicated BEFORE INSERT ON hooks.health
	FOR EACH ROW EXECUTE FUNCTION hooks.replace_stored('hook_id');
CREATE TRIGGER disabled AFTER INSERT OR UPDATE ON hooks.health
	FOR EACH ROW WHEN (NEW.disabled_at IS NOT NULL) EXECUTE FUNCTION hooks.disable_replicated();
ALTER TABLE hooks.secret ENABLE REPLICA TRIGGER replicated;
ALTER TABLE hooks.chat_accounts ENABLE REPLICA TRIGGER replicated;
ALTER TABLE hooks.health ENABLE REPLICA TRIGGER replicated, ENABLE REPLICA TRIGGER disabled;
COMMENT ON TRIGGER replicated ON hooks.secret IS 'a replicated row takes the place of one that is there';
COMMENT ON TRIGGER replicated ON hooks.chat_accounts IS 'a replicated row takes the place of one that is there';
COMMENT ON TRIGGER replicated ON hooks.health IS 'a replicated row takes the place of one that is there';
COMMENT ON TRIGGER disabled ON hooks.health IS 'what a node has disabled is disabled on the hub';

CREATE FUNCTION hooks.cluster_trigger(relation pg_catalog.regclass, name pg_catalog.name, events pg_catalog.text,
									  function pg_catalog.regproc, comment pg_catalog.text)
	RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND tgname = name) THEN
		EXECUTE format('CREATE TRIGGER %I %s ON %s FOR EACH ROW EXECUTE FUNCTION %s()', name, events, relation, function);
		EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', name, relation, comment);
		PERFORM hooks.setup_leave_with_extension(relation, name);
	END IF;
	EXECUTE format('ALTER TABLE %s ENABLE REPLICA TRIGGER %I', relation, name);
END
$$;
COMMENT ON FUNCTION hooks.cluster_trigger(regclass, name, text, regproc, text) IS
	'has a trigger fire for replicated rows, and creates it unless it is there';

CREATE FUNCTION hooks.cluster_table(function pg_catalog.regproc)
	RETURNS pg_catalog.regclass
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation regclass;
BEGIN
	SELECT t.tgrelid INTO relation FROM pg_trigger AS t
	WHERE t.tgfoid = function AND t.tgparentid = 0
	LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no table of hooks in this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Create it by SELECT hooks.setup().';
	END IF;
	RETURN relation;
END
$$;
COMMENT ON FUNCTION hooks.cluster_table(regproc) IS
	'the table that has a trigger which calls the function: hooks.hook_changed() or hooks.logs_changed()';

CREATE FUNCTION hooks.become_hub() RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	hooks_table CONSTANT regclass := hooks.cluster_table('hooks.hook_changed');
	logs_table CONSTANT regclass := hooks.cluster_table('hooks.logs_changed');
	generated CONSTANT name := (SELECT g.name FROM hooks.sync_generated(hooks_table) AS g LIMIT 1);
BEGIN
	IF generated IS NOT NULL THEN
		RAISE EXCEPTION 'table "%" cannot be published to nodes', hooks_table
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = format('Its column "%s" is generated, and the server would refuse to update and delete rows.',
								  generated),
				  HINT = 'Have a trigger fill an ordinary column instead.';
	END IF;
	-- Row filters look at user_id, of old rows, too.
	IF (SELECT relreplident <> 'f' FROM pg_class WHERE oid = hooks_table) THEN
		EXECUTE format('ALTER TABLE %s REPLICA IDENTITY FULL', hooks_table);
	END IF;
	PERFORM hooks.cluster_trigger(logs_table, 'hooks_keep_log', 'BEFORE INSERT', 'hooks.keep_log',
								  'leaves out replicated rows of hooks that were deleted');
	IF current_setting('wal_level') <> 'logical' THEN
		RAISE WARNING 'nodes cannot subscribe to this server: "wal_level" is "%"', current_setting('wal_level')
			USING HINT = 'ALTER SYSTEM SET wal_level = logical, and restart the server.';
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.become_hub() IS
	'readies the tables of hooks and logs for nodes that deliver, see hooks.node_filter(); events are delivered here '
	'until nodes are given them';

CREATE FUNCTION hooks.become_node() RETURNS pg_catalog.void
	LANGUAGE plpgsql
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	hooks_table CONSTANT regclass := hooks.cluster_table('hooks.hook_changed');
	event_table record;
BEGIN
	PERFORM hooks.cluster_trigger(hooks_table, 'hooks_replicated', 'BEFORE INSERT OR UPDATE', 'hooks.replace_hook',
								  'a replicated hook takes the place of one that is there');
	FOR event_table IN SELECT * FROM hooks.event_tables LOOP
		PERFORM hooks.attach(event_table.events, event_table.id_column, event_table.user_column,
							 event_table.type_column, event_table.data_column, event_table.platform_column,
							 event_table.time_column, mode => 'replica');
		PERFORM hooks.cluster_trigger(event_table.events, 'hooks_replicated', 'BEFORE INSERT', 'hooks.skip_stored',
									  'a replicated event that is there already is no other one');
	END LOOP;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no event table in this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Create it as it is on the hub, and call hooks.attach().';
	END IF;
	IF current_setting('wal_level') <> 'logical' THEN
		RAISE WARNING 'the hub cannot subscribe to this server: "wal_level" is "%"', current_setting('wal_level')
			USING HINT = 'ALTER SYSTEM SET wal_level = logical, and restart the server.';
	END IF;
	IF current_setting('hooks.max_event_age') <> '-1' THEN
		RAISE NOTICE 'events that arrive later than % are not delivered', current_setting('hooks.max_event_age')
			USING HINT = 'A node that was down receives old events: set "hooks.max_event_age" to -1.';
	END IF;
END
$$;
COMMENT ON FUNCTION hooks.become_node() IS
	'has the events and hooks that logical replication brings from a hub fire here, each event once, and nothing else';

CREATE FUNCTION hooks.cluster_filter(user_column pg_catalog.name, n pg_catalog.int4, total pg_catalog.int4)
	RETURNS pg_catalog.text
	LANGUAGE plpgsql IMMUTABLE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF n IS NULL OR total IS NULL OR total < 1 OR n < 0 OR n >= total THEN
		RAISE EXCEPTION 'there is no share % of %', coalesce(n::text, 'null'), coalesce(total::text, 'null')
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Shares are counted from 0: of two, they are 0 and 1.';
	END IF;
	-- Without the sign, and without abs(), which fails for one number.
	RETURN format('((pg_catalog.uuid_hash(%I) & 2147483647) %% %s) = %s', user_column, total, n);
END
$$;
COMMENT ON FUNCTION hooks.cluster_filter(name, int4, int4) IS
	'the condition by which a row belongs to a user of share n';

CREATE FUNCTION hooks.node_filter(n pg_catalog.int4, total pg_catalog.int4, events pg_catalog.bool DEFAULT true)
	RETURNS SETOF pg_catalog.text
	LANGUAGE plpgsql STABLE ROWS 3
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	hooks_table CONSTANT regclass := hooks.cluster_table('hooks.hook_changed');
	event_table record;
	published text[] := '{}';
	publication record;
	via_root bool := false;
BEGIN
	FOR event_table IN
		SELECT e.*, c.relkind = 'p' AS is_partitioned,
			EXISTS (SELECT FROM pg_trigger AS t
					WHERE t.tgrelid = e.events AND t.tgfoid = 'hooks.on_event'::regproc AND t.tgenabled <> 'R') AS fires
		FROM hooks.event_tables AS e JOIN pg_class AS c ON c.oid = e.events
		ORDER BY e.events::text
	LOOP
		-- In the transaction that gives them to nodes, this server stops delivering them.
		IF events AND event_table.fires THEN
			RETURN NEXT format('SELECT hooks.attach(%L, %L, %L, %L, %L, %L, %L, mode => ''replica'');',
							   event_table.events, event_table.id_column, event_table.user_column,
							   event_table.type_column, event_table.data_column, event_table.platform_column,
							   event_table.time_column);
		END IF;
		published := published || format('%s WHERE (%s)', event_table.events,
			CASE WHEN events THEN hooks.cluster_filter(event_table.user_column, n, total) ELSE 'false' END);
		via_root := via_root OR event_table.is_partitioned;
	END LOOP;
	IF published = '{}' THEN
		RAISE EXCEPTION 'there is no event table in this database'
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  HINT = 'Name it by hooks.attach(..., mode => ''replica'').';
	END IF;

	FOR publication IN
		SELECT p.name, p.tables, p.operations, p.via_root,
			EXISTS (SELECT FROM pg_publication WHERE pubname = p.name) AS is_there
		FROM (VALUES
			(format('hooks_share_%s_hooks', n), format('%s WHERE (%s)', hooks_table, hooks.cluster_filter('user_id', n, total)),
			 'insert, update, delete', false),
			(format('hooks_share_%s_events', n), array_to_string(published, ', '), 'insert', via_root)
			) AS p (name, tables, operations, via_root)
	LOOP
		IF publication.is_there THEN
			RETURN NEXT format('ALTER PUBLICATION %I SET TABLE %s;', publication.name, publication.tables);
		ELSE
			RETURN NEXT format('CREATE PUBLICATION %I FOR TABLE %s WITH (publish = %L%s);', publication.name,
							   publication.tables, publication.operations,
							   CASE WHEN publication.via_root THEN ', publish_via_partition_root = true' ELSE '' END);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION hooks.node_filter(int4, int4, bool) IS
	'statements for the hub, by which it publishes the hooks and events of the users of share n of so many: they create '
	'the publications hooks_share_n_hooks and hooks_share_n_events, or change what these publish; events => false: no events';

CREATE FUNCTION hooks.undelivered(n pg_catalog.int4, total pg_catalog.int4, since pg_catalog.timestamptz)
	RETURNS TABLE (event_id pg_catalog.uuid, hook_id pg_catalog.uuid, events pg_catalog.regclass)
	LANGUAGE plpgsql STABLE ROWS 1000
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	hooks_table CONSTANT regclass := hooks.cluster_table('hooks.hook_changed');
	logs_table CONSTANT regclass := hooks.cluster_table('hooks.logs_changed');
	event_table record;
BEGIN
	FOR event_table IN SELECT * FROM hooks.event_tables AS e ORDER BY e.events::text LOOP
		RETURN QUERY EXECUTE format(
			'SELECT e.id, h.id, %L::regclass FROM (SELECT %I AS id, %I AS user_id, %I::text AS type, %s AS at FROM %s '
			'WHERE %s) AS e JOIN %s AS h ON h.user_id = e.user_id AND h.trigger_type::text = e.type AND h.enabled '
			'WHERE e.at >= $1 AND NOT EXISTS (SELECT FROM %s AS l '
			'WHERE l.hook_id = h.id AND l.stream_event_id = e.id AND l.status::text <> ''failure'') '
			'ORDER BY e.at, e.id, h.id',
			event_table.events, event_table.id_column, event_table.user_column, event_table.type_column,
			coalesce(hooks.time_expression(event_table.events, event_table.time_column), 'now()'), event_table.events,
			hooks.cluster_filter(event_table.user_column, n, total), hooks_table, logs_table)
			USING since;
	END LOOP;
END
$$;
COMMENT ON FUNCTION hooks.undelivered(int4, int4, timestamptz) IS
	'events of the users of share n since then that a hook wants and of which the log has no result, or nothing but '
	'failures, oldest first';

REVOKE ALL ON FUNCTION hooks.skip_stored(), hooks.keep_log(), hooks.disable_replicated(), hooks.replace_stored(),
	hooks.replace_hook(), hooks.cluster_trigger(regclass, name, text, regproc, text), hooks.cluster_table(regproc),
	hooks.become_hub(), hooks.become_node(), hooks.cluster_filter(name, int4, int4), hooks.node_filter(int4, int4, bool),
	hooks.undelivered(int4, int4, timestamptz) FROM PUBLIC;
