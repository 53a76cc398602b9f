--
-- Tables that were there before: hooks.setup() takes them into use
--
-- Needs the extension; puts fresh tables back into public at the end.
--
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP TABLE IF EXISTS stream_hook_logs, stream_hooks;
-- (so that messages name an owner of a known name)
CREATE ROLE regress_hooks_super SUPERUSER;
SET ROLE regress_hooks_super;
CREATE SCHEMA regress_app;
RESET client_min_messages;

CREATE TEMP VIEW table_columns AS
SELECT a.attrelid::regclass::text AS relation, a.attnum, a.attname AS "column",
	   format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
	   pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid IN (SELECT oid FROM pg_class
					 WHERE relnamespace = 'regress_app'::regnamespace AND relname LIKE 'stream_hook%' AND relkind IN ('r', 'p'))
	AND a.attnum > 0 AND NOT a.attisdropped;
CREATE TEMP VIEW table_objects AS
SELECT conrelid::regclass::text AS relation, conname::text || ' ' || pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE connamespace = 'regress_app'::regnamespace AND contype IN ('p', 'u', 'c', 'f')
UNION ALL
SELECT indrelid::regclass::text, pg_get_indexdef(indexrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'regress_app'::regnamespace
UNION ALL
SELECT tgrelid::regclass::text, pg_get_triggerdef(t.oid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'regress_app'::regnamespace AND NOT tgisinternal;

--
-- As an application's migrations made them, full of rows: timestamps without
-- time zone, bigint, no defaults for ids, plain foreign keys, columns of its own
--
CREATE TABLE regress_app.users (id uuid PRIMARY KEY, email text);
CREATE TABLE regress_app.stream_events (
	id uuid PRIMARY KEY, type text NOT NULL, data jsonb NOT NULL, author_id text NOT NULL,
	livestream_id uuid NOT NULL, user_id uuid NOT NULL REFERENCES regress_app.users (id), platform text,
	viewer_id text, was_displayed boolean, inserted_at timestamp NOT NULL);
CREATE TABLE regress_app.stream_hooks (
	id uuid PRIMARY KEY,
	name text NOT NULL,
	enabled boolean NOT NULL DEFAULT true,
	trigger_type text NOT NULL,
	conditions jsonb DEFAULT '{}',
	action_type text NOT NULL,
	action_config jsonb NOT NULL,
	cooldown_seconds bigint NOT NULL DEFAULT 0,
	last_triggered_at timestamp,
	inserted_at timestamp NOT NULL,
	updated_at timestamp NOT NULL,
	user_id uuid NOT NULL REFERENCES regress_app.users (id) ON DELETE RESTRICT,
	icon varchar(10) NOT NULL);
CREATE TABLE regress_app.stream_hook_logs (
	id uuid PRIMARY KEY,
	trigger_type text NOT NULL,
	action_type text NOT NULL,
	status text NOT NULL,
	error_message text,
	executed_at timestamp NOT NULL,
	duration_ms bigint,
	inserted_at timestamp NOT NULL,
	stream_event_id uuid,
	hook_id uuid NOT NULL REFERENCES regress_app.stream_hooks (id),
	user_id uuid NOT NULL CONSTRAINT logs_of_user REFERENCES regress_app.users (id) ON UPDATE CASCADE DEFERRABLE,
	note text NOT NULL DEFAULT '');
CREATE INDEX ON regress_app.stream_hooks (user_id, trigger_type, enabled);
CREATE INDEX ON regress_app.stream_hook_logs (hook_id, inserted_at DESC);

INSERT INTO regress_app.users
SELECT md5(i::text)::uuid, i || '@example.com' FROM generate_series(1, 10) AS i;
INSERT INTO regress_app.stream_hooks
SELECT md5('hook' || i)::uuid, 'hook ' || i, i % 2 = 0,
	   CASE WHEN i % 10 = 0 THEN 'a type unheard of' ELSE 'donation' END, NULL,
	   CASE WHEN i % 15 = 0 THEN 'telegram' ELSE 'webhook' END, '{}',
	   i * 100000, NULL, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC',
	   md5((i % 10 + 1)::text)::uuid, 'bell'
FROM generate_series(1, 100) AS i;
INSERT INTO regress_app.stream_hook_logs
SELECT md5('log' || i)::uuid, 'donation', 'webhook', CASE i % 2 WHEN 0 THEN 'success' ELSE 'weird' END, NULL,
	   now() AT TIME ZONE 'UTC', i, now() AT TIME ZONE 'UTC', NULL, md5('hook' || (i % 100 + 1))::uuid,
	   md5((i % 10 + 1)::text)::uuid
FROM generate_series(1, 1000) AS i;

CREATE TEMP TABLE before_columns AS SELECT * FROM table_columns;
CREATE TEMP TABLE before_objects AS SELECT * FROM table_objects;
CREATE TEMP TABLE before_hooks AS SELECT * FROM regress_app.stream_hooks;
CREATE TEMP TABLE before_logs AS SELECT * FROM regress_app.stream_hook_logs;

SELECT hooks.setup('regress_app');

-- Added, and nothing else: columns, indexes that were missing, triggers.
SELECT * FROM (TABLE table_columns EXCEPT TABLE before_columns) AS added ORDER BY attnum;
SELECT * FROM (TABLE table_objects EXCEPT TABLE before_objects) AS added ORDER BY relation COLLATE "C", definition COLLATE "C";
TABLE before_columns EXCEPT TABLE table_columns;
TABLE before_objects EXCEPT TABLE table_objects;
-- The rows are as they were.
SELECT count(*) FROM (TABLE before_hooks EXCEPT TABLE regress_app.stream_hooks) AS changed;
ALTER TABLE before_logs ADD attempt integer DEFAULT 1, ADD response_status integer, ADD platform text;
SELECT count(*) FROM (TABLE before_logs EXCEPT TABLE regress_app.stream_hook_logs) AS changed;
-- No member of the extension
SELECT objid::regclass FROM pg_depend
WHERE classid = 'pg_class'::regclass AND deptype = 'e'
	AND objid IN (SELECT oid FROM pg_class WHERE relnamespace = 'regress_app'::regnamespace);

-- Again: silence
SELECT hooks.setup('regress_app');

-- What the notices advise does mend it.
DELETE FROM regress_app.stream_hooks WHERE name = 'hook 1';
ALTER TABLE regress_app.stream_hook_logs DROP CONSTRAINT stream_hook_logs_hook_id_fkey, ADD CONSTRAINT stream_hook_logs_hook_id_fkey FOREIGN KEY (hook_id) REFERENCES regress_app.stream_hooks(id) ON DELETE CASCADE;
ALTER TABLE regress_app.stream_hook_logs DROP CONSTRAINT logs_of_user, ADD CONSTRAINT logs_of_user FOREIGN KEY (user_id) REFERENCES regress_app.users(id) ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE;
ALTER TABLE regress_app.stream_hooks DROP CONSTRAINT stream_hooks_user_id_fkey, ADD CONSTRAINT stream_hooks_user_id_fkey FOREIGN KEY (user_id) REFERENCES regress_app.users(id) ON DELETE CASCADE;
DELETE FROM regress_app.stream_hooks WHERE name = 'hook 1';
DELETE FROM regress_app.users;
SELECT (SELECT count(*) FROM regress_app.stream_hooks) AS hooks, (SELECT count(*) FROM regress_app.stream_hook_logs) AS logs;
SELECT hooks.setup('regress_app');

--
-- One table is there, the other is not
--
DROP TABLE regress_app.stream_hook_logs;
SELECT hooks.setup('regress_app');
SELECT relation, definition FROM table_objects WHERE relation ~ 'logs' ORDER BY definition COLLATE "C";
DROP TABLE regress_app.stream_hook_logs, regress_app.stream_hooks;

--
-- A log that is partitioned; a foreign key that would refuse log rows; forced row security
--
CREATE ROLE regress_hooks_app;
GRANT ALL ON SCHEMA regress_app TO regress_hooks_app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hooks TO regress_hooks_app;
GRANT ALL ON ALL TABLES IN SCHEMA regress_app TO regress_hooks_app;
CREATE DOMAIN regress_app.short AS varchar(100);
CREATE DOMAIN regress_app.shorter AS regress_app.short CHECK (length(VALUE) < 50);
SET ROLE regress_hooks_app;
CREATE TABLE regress_app.stream_hook_logs (
	id uuid, hook_id uuid, user_id uuid, stream_event_id uuid REFERENCES regress_app.stream_events (id) ON DELETE SET NULL,
	trigger_type varchar(12), action_type regress_app.shorter, status varchar(17), error_message varchar(500),
	executed_at timestamptz, duration_ms integer, inserted_at timestamptz, attempt bigint, response_status integer)
	PARTITION BY RANGE (inserted_at);
CREATE TABLE regress_app.logs_now PARTITION OF regress_app.stream_hook_logs DEFAULT;
ALTER TABLE regress_app.stream_hook_logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SET client_min_messages = warning;
SELECT hooks.setup('regress_app');
RESET client_min_messages;
SELECT hooks.setup('regress_app');
SET ROLE regress_hooks_super;
SELECT relation, definition FROM table_objects WHERE relation ~ 'logs' ORDER BY definition COLLATE "C";
DROP TABLE regress_app.stream_hook_logs, regress_app.stream_hooks;

-- Users that are named are referred to, from tables that were there too.
CREATE TABLE regress_app.stream_hooks AS SELECT * FROM before_hooks WHERE false;
ALTER TABLE regress_app.stream_hooks ADD UNIQUE (id);
SELECT hooks.setup('regress_app', users => 'regress_app.users');
SELECT relation, definition FROM table_objects WHERE definition ~ 'FOREIGN KEY.*users' ORDER BY relation COLLATE "C", definition COLLATE "C";
DROP TABLE regress_app.stream_hook_logs, regress_app.stream_hooks;

--
-- Tables that will not do: every reason at once, and nothing is changed
--
CREATE TABLE regress_app.stream_hooks (
	id bigint PRIMARY KEY, user_id uuid, name varchar(80), enabled integer, trigger_type text, conditions json,
	action_type char(10), action_config jsonb, cooldown_seconds interval, last_triggered_at timestamp NOT NULL,
	updated_at date);
CREATE TABLE regress_app.stream_hook_logs (
	id uuid, hook_id uuid, trigger_type text, action_type regress_app.shorter, status varchar(10),
	error_message varchar(255) NOT NULL, executed_at timestamptz, duration_ms numeric, inserted_at timestamptz,
	attempt text, response_status integer NOT NULL, tenant uuid NOT NULL, serial bigint GENERATED ALWAYS AS IDENTITY,
	size integer NOT NULL DEFAULT 0);
SELECT hooks.setup('regress_app');
SELECT relation, definition FROM table_objects WHERE definition ~ 'TRIGGER|CREATE INDEX' ORDER BY relation COLLATE "C", definition COLLATE "C";
DROP TABLE regress_app.stream_hook_logs, regress_app.stream_hooks;
CREATE TABLE regress_app.stream_hooks AS SELECT * FROM before_hooks WHERE false;
SELECT hooks.setup('regress_app');
DROP TABLE regress_app.stream_hooks;
CREATE VIEW regress_app.stream_hooks AS SELECT 1 AS id;
SELECT hooks.setup('regress_app');
DROP VIEW regress_app.stream_hooks;
CREATE SEQUENCE regress_app.stream_hook_logs;
SELECT hooks.setup('regress_app');
DROP SEQUENCE regress_app.stream_hook_logs;
CREATE TABLE regress_app.stream_hook_logs (id uuid);
SET ROLE regress_hooks_app;
SELECT hooks.setup('regress_app');
RESET ROLE;

-- Clean up.
SET client_min_messages = warning;
DROP SCHEMA regress_app CASCADE;
DROP OWNED BY regress_hooks_super, regress_hooks_app;
DROP ROLE regress_hooks_super, regress_hooks_app;
RESET client_min_messages;
SELECT hooks.setup();
