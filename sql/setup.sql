--
-- The extension, its tables, and who may do what
--
-- Nothing here waits for a worker.  The test begins in a database without the
-- extension and leaves it installed, with fresh tables in public.
--
\set SHOW_CONTEXT never

-- What can be read off the catalogs, in the same words on every server version.
CREATE TEMP VIEW table_columns AS
SELECT c.oid::regclass AS relation, a.attnum, a.attname AS "column",
	   format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
	   pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_class c
	 JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	 LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relname IN ('stream_hooks', 'stream_hook_logs');

CREATE TEMP VIEW table_constraints AS
SELECT conrelid::regclass AS relation, conname, pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE conrelid IN (SELECT oid FROM pg_class WHERE relname IN ('stream_hooks', 'stream_hook_logs'))
	AND contype IN ('p', 'u', 'c', 'f');

CREATE TEMP VIEW table_indexes AS
SELECT indrelid::regclass AS relation, pg_get_indexdef(indexrelid) AS definition
FROM pg_index
WHERE indrelid IN (SELECT oid FROM pg_class WHERE relname IN ('stream_hooks', 'stream_hook_logs'));

-- of the application's tables; goes: DROP EXTENSION takes the trigger along, and the table stays
CREATE TEMP VIEW table_triggers AS
SELECT t.tgrelid::regclass AS relation, pg_get_triggerdef(t.oid) AS definition, t.tgenabled AS enabled,
	   EXISTS (SELECT FROM pg_depend
			   WHERE classid = 'pg_trigger'::regclass AND objid = t.oid
				   AND refclassid = 'pg_extension'::regclass AND deptype = 'x') AS goes
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
	JOIN pg_class c ON c.oid = t.tgrelid
WHERE p.pronamespace = to_regnamespace('hooks') AND c.relnamespace <> p.pronamespace;

--
-- A fresh database
--
-- (Whether the library is preloaded is not what this test is about.)
SET client_min_messages = error;
CREATE EXTENSION hooks;
RESET client_min_messages;

SELECT relation, "column", type, not_null, "default" FROM table_columns ORDER BY relation::text COLLATE "C" DESC, attnum;
SELECT relation, conname, definition FROM table_constraints ORDER BY relation::text COLLATE "C" DESC, conname;
SELECT definition FROM table_indexes ORDER BY relation::text COLLATE "C" DESC, definition COLLATE "C";
SELECT definition, enabled, goes FROM table_triggers ORDER BY relation::text COLLATE "C" DESC, definition COLLATE "C";
SELECT reloptions FROM pg_class WHERE oid = 'stream_hooks'::regclass;

-- Both tables are ordinary ones: no member is outside the schema hooks.
SELECT pg_describe_object(classid, objid, objsubid) AS member
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hooks')
	AND pg_describe_object(classid, objid, objsubid) !~ ' hooks(\.|$)';
SELECT count(*) AS memberships FROM pg_depend
WHERE objid IN ('stream_hooks'::regclass, 'stream_hook_logs'::regclass) AND deptype = 'e';

-- Every member has a comment, every function in PL/pgSQL its own search path;
-- no function lends its owner's rights.
SELECT pg_describe_object(classid, objid, objsubid) AS without_comment
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hooks')
	AND classid <> 'pg_type'::regclass
	AND obj_description(objid, classid::regclass::name) IS NULL;
SELECT p.oid::regprocedure AS careless FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'hooks'::regnamespace
	AND (p.prosecdef OR l.lanname <> 'c' AND p.proconfig IS DISTINCT FROM '{"search_path=pg_catalog, pg_temp"}');

-- What everybody may do, and what monitoring may.
CREATE ROLE regress_hooks_owner;
CREATE ROLE regress_hooks_other;
SELECT p.oid::regprocedure AS public_function FROM pg_proc p
WHERE p.pronamespace = 'hooks'::regnamespace
	AND has_function_privilege('regress_hooks_other', p.oid, 'EXECUTE')
ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT c.oid::regclass AS public_table FROM pg_class c
WHERE c.relnamespace = 'hooks'::regnamespace AND c.relkind IN ('r', 'v', 'S')
	AND has_table_privilege('regress_hooks_other', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
GRANT pg_monitor TO regress_hooks_other;
SET ROLE regress_hooks_other;
SELECT count(*) FROM hooks.stat;
SELECT count(*) FROM hooks.queue_0;
RESET ROLE;
REVOKE pg_monitor FROM regress_hooks_other;

-- The queue is left alone by autovacuum.
SELECT c.oid::regclass AS relation, c.reloptions, t.reloptions AS toast
FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.relnamespace = 'hooks'::regnamespace AND c.relkind = 'r' AND c.relname ~ '_[0-9]$'
ORDER BY c.relname;

--
-- Whose queue it is
--
SELECT i.system_identifier = c.system_identifier AS same_server, d.datname = current_database() AS same_database
FROM hooks.installation i, pg_control_system() c, pg_database d
WHERE d.oid = i.database;
INSERT INTO hooks.installation VALUES (1, 1);
BEGIN;
UPDATE hooks.installation SET system_identifier = 1, database = 1;
INSERT INTO hooks.queue_1 (xid, n, queued_at, event_id, user_id, event_type, event_time)
VALUES (pg_current_xact_id(), 1, now(), gen_random_uuid(), gen_random_uuid(), 'follow', now());
SELECT hooks.adopt();
SELECT i.system_identifier = c.system_identifier AS same_server, i.database = d.oid AS same_database
FROM hooks.installation i, pg_control_system() c, pg_database d
WHERE d.datname = current_database();
SELECT count(*) FROM hooks.queue_1;
SELECT hooks.adopt(discard => true);
SELECT count(*) FROM hooks.queue_1;
ROLLBACK;

--
-- Again: nothing is said, nothing changes
--
CREATE TEMP TABLE before AS
SELECT relation::text, definition FROM table_constraints
UNION ALL SELECT relation::text, definition FROM table_indexes
UNION ALL SELECT relation::text, definition || enabled::text FROM table_triggers;
CREATE TEMP VIEW after AS
SELECT relation::text, definition FROM table_constraints
UNION ALL SELECT relation::text, definition FROM table_indexes
UNION ALL SELECT relation::text, definition || enabled::text FROM table_triggers;
SELECT hooks.setup();
(TABLE before EXCEPT ALL TABLE after) UNION ALL (TABLE after EXCEPT ALL TABLE before);

-- What was lost comes back, and ENABLE TRIGGER ALL is mended.
DROP INDEX stream_hooks_user_id_trigger_type_idx, stream_hook_logs_inserted_at_idx;
DROP TRIGGER hooks_check ON stream_hooks;
DROP TRIGGER hooks_truncated ON stream_hooks;
ALTER TABLE stream_hooks ENABLE TRIGGER ALL;
ALTER TABLE stream_hook_logs DROP COLUMN response_status;
SELECT hooks.setup();
(TABLE before EXCEPT ALL TABLE after) UNION ALL (TABLE after EXCEPT ALL TABLE before);

--
-- users and stream_events come later
--
INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES ('00000000-0000-4000-8000-000000000001', 'first', 'donation', 'webhook', '{"url": "https://example.com/"}'),
	   ('00000000-0000-4000-8000-000000000002', 'second', 'donation', 'webhook', '{"url": "https://example.com/"}');
CREATE TABLE users (id uuid PRIMARY KEY);
INSERT INTO users VALUES ('00000000-0000-4000-8000-000000000001');
CREATE TABLE stream_events (
	id uuid PRIMARY KEY, type text NOT NULL, data jsonb NOT NULL, author_id text NOT NULL,
	livestream_id uuid NOT NULL, user_id uuid NOT NULL REFERENCES users, platform text, viewer_id text,
	was_displayed boolean, inserted_at timestamp NOT NULL);
SELECT hooks.setup();
SELECT conname FROM table_constraints WHERE definition LIKE 'FOREIGN%' ORDER BY conname;
DELETE FROM stream_hooks WHERE name = 'second';
SELECT hooks.setup();
SELECT hooks.setup();
SELECT conname, definition FROM table_constraints WHERE definition LIKE 'FOREIGN%' ORDER BY conname;
SELECT definition, enabled, goes FROM table_triggers WHERE relation = 'stream_events'::regclass;

-- An event that no hook waits for passes through.
INSERT INTO stream_events VALUES
('00000000-0000-4000-8000-00000000000e', 'stream_updated', '{}', 'a', gen_random_uuid(),
 '00000000-0000-4000-8000-000000000001', 'twitch', NULL, false, now() AT TIME ZONE 'UTC')
ON CONFLICT DO NOTHING;

-- The user takes hooks and log along.
INSERT INTO stream_hook_logs (hook_id, user_id, trigger_type, action_type, status, executed_at)
SELECT id, user_id, trigger_type, action_type, 'success', now() FROM stream_hooks;
SELECT attempt, response_status FROM stream_hook_logs;
DELETE FROM stream_events;
DELETE FROM users;
SELECT (SELECT count(*) FROM stream_hooks) AS hooks, (SELECT count(*) FROM stream_hook_logs) AS logs;

--
-- Tables that cannot be referred to, or attached
--
DROP TABLE stream_hook_logs, stream_hooks, stream_events, users;
CREATE TABLE users (id bigint PRIMARY KEY);
CREATE TABLE stream_events (id bigint, kind text, data json);
SELECT hooks.setup(users => 'users');
SELECT hooks.setup(events => 'stream_events');
SELECT hooks.setup();
SELECT conname FROM table_constraints WHERE definition LIKE 'FOREIGN%';
DROP TABLE stream_hook_logs, stream_hooks, stream_events, users;
CREATE VIEW stream_events AS SELECT 1 AS id;
SELECT hooks.setup();
DROP VIEW stream_events;
DROP TABLE stream_hook_logs, stream_hooks;

-- Any names: users and events are given.
CREATE SCHEMA "regress Hooks";
CREATE TABLE "regress Hooks"."Streamers" (id uuid UNIQUE);
CREATE TABLE "regress Hooks"."it's" (id uuid, user_id uuid, type text, data jsonb);
SELECT hooks.setup('regress Hooks', users => '"regress Hooks"."Streamers"', events => '"regress Hooks"."it''s"');
SELECT conname, definition FROM table_constraints WHERE definition LIKE 'FOREIGN%' ORDER BY conname;
SELECT definition FROM table_triggers ORDER BY definition COLLATE "C";

--
-- One table of hooks in a database; setup finds it under whatever name
--
SELECT hooks.setup();
SELECT hooks.setup('regress_nowhere');
SELECT hooks.setup(NULL);
ALTER TABLE "regress Hooks".stream_hooks RENAME TO reactions;
ALTER TABLE "regress Hooks".stream_hook_logs SET SCHEMA public;
ALTER TABLE stream_hook_logs RENAME TO reactions_log;
SELECT hooks.setup('regress Hooks');
SELECT tgrelid::regclass AS relation, count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE p.pronamespace = 'hooks'::regnamespace GROUP BY tgrelid ORDER BY tgrelid::regclass::text COLLATE "C";
ALTER TABLE "regress Hooks".reactions SET SCHEMA public;
SELECT hooks.setup('regress Hooks');
SELECT hooks.setup();
CREATE TABLE second (id uuid);
CREATE TRIGGER another AFTER TRUNCATE ON second EXECUTE FUNCTION hooks.hook_changed();
SELECT hooks.setup();
DROP TABLE second, reactions_log, reactions;
DROP SCHEMA "regress Hooks" CASCADE;

--
-- Without superuser
--
CREATE SCHEMA regress_hooks AUTHORIZATION regress_hooks_owner;
SET ROLE regress_hooks_owner;
SELECT hooks.setup('regress_hooks');
RESET ROLE;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hooks TO regress_hooks_owner, regress_hooks_other;
SET ROLE regress_hooks_other;
SELECT hooks.setup('regress_hooks');
SET ROLE regress_hooks_owner;
CREATE TABLE regress_hooks.users (id uuid PRIMARY KEY);
CREATE TABLE regress_hooks.stream_events (id uuid, user_id uuid, type text, data jsonb);
SELECT hooks.setup('regress_hooks');
SELECT hooks.setup('regress_hooks');
RESET ROLE;
SELECT definition, enabled, goes FROM table_triggers ORDER BY definition COLLATE "C";
GRANT USAGE, CREATE ON SCHEMA regress_hooks TO regress_hooks_other;
SET ROLE regress_hooks_other;
SELECT hooks.setup('regress_hooks');
SELECT hooks.attach('regress_hooks.stream_events');
SELECT hooks.detach('regress_hooks.stream_events');
SELECT hooks.adopt();
RESET ROLE;
-- The caller's tables, somebody else's events.
ALTER TABLE regress_hooks.stream_hooks OWNER TO regress_hooks_other;
ALTER TABLE regress_hooks.stream_hook_logs OWNER TO regress_hooks_other;
SELECT hooks.detach('regress_hooks.stream_events');
SET ROLE regress_hooks_other;
SELECT hooks.setup('regress_hooks');
SELECT hooks.setup('regress_hooks', events => 'regress_hooks.stream_events');
RESET ROLE;
-- Who may insert events needs nothing of ours.
SELECT hooks.attach('regress_hooks.stream_events');
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA hooks FROM regress_hooks_owner, regress_hooks_other;
GRANT INSERT ON regress_hooks.stream_events TO regress_hooks_other;
SET ROLE regress_hooks_other;
INSERT INTO regress_hooks.stream_events VALUES (gen_random_uuid(), gen_random_uuid(), 'stream_updated', '{}');
RESET ROLE;

--
-- DROP EXTENSION leaves the tables, with what is in them
--
INSERT INTO regress_hooks.users VALUES ('00000000-0000-4000-8000-000000000001');
INSERT INTO regress_hooks.stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES ('00000000-0000-4000-8000-000000000001', 'kept', 'raid', 'webhook', '{"url": "https://example.com/"}');
DROP EXTENSION hooks;
SELECT to_regnamespace('hooks');
SELECT name FROM regress_hooks.stream_hooks;
SELECT tgname FROM pg_trigger
WHERE tgrelid::regclass IN ('regress_hooks.stream_hooks', 'regress_hooks.stream_hook_logs', 'regress_hooks.stream_events')
	AND NOT tgisinternal;

-- With row security off, as in a dump, the tables are left to the dump.
SET client_min_messages = error;
SET row_security = off;
CREATE EXTENSION hooks;
DROP EXTENSION hooks;
CREATE EXTENSION IF NOT EXISTS hooks WITH SCHEMA pg_catalog;
DROP EXTENSION hooks;
RESET row_security;
CREATE EXTENSION IF NOT EXISTS hooks WITH SCHEMA pg_catalog;
RESET client_min_messages;
SELECT to_regclass('stream_hooks'), to_regclass('stream_hook_logs');

-- Back in use: our own tables need nothing but their triggers.
SELECT hooks.setup('regress_hooks');
SELECT definition, enabled, goes FROM table_triggers ORDER BY definition COLLATE "C";
SELECT count(*) FROM regress_hooks.stream_hooks;
SET client_min_messages = warning;
DROP SCHEMA regress_hooks CASCADE;
DROP ROLE regress_hooks_owner, regress_hooks_other;

-- Without a schema public, and where somebody else has a schema hooks.
BEGIN;
DROP EXTENSION hooks;
SAVEPOINT taken;
CREATE SCHEMA hooks;
CREATE EXTENSION hooks;
ROLLBACK TO taken;
ALTER SCHEMA public RENAME TO regress_hooks_public;
SET client_min_messages = error;
CREATE EXTENSION hooks;
SELECT to_regclass('regress_hooks_public.stream_hooks');
ROLLBACK;
RESET client_min_messages;

-- Clean up: as a fresh database would be.
SELECT hooks.setup();

-- UTF-8 only
CREATE DATABASE regress_hooks_ascii ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0;
SELECT current_database() AS database \gset
\c regress_hooks_ascii
CREATE EXTENSION hooks;
\c :database
DROP DATABASE regress_hooks_ascii;
