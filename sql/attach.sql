--
-- Event tables: hooks.attach() and hooks.detach()
--
-- Needs the extension; leaves nothing behind.
--
\set SHOW_CONTEXT never
CREATE SCHEMA regress_events;
SET search_path = regress_events;
CREATE VIEW attached AS
SELECT t.tgrelid::regclass AS relation, t.tgname, encode(t.tgargs, 'escape') AS arguments,
	   t.tgenabled AS enabled, t.tgparentid <> 0 AS of_parent,
	   EXISTS (SELECT FROM pg_depend
			   WHERE classid = 'pg_trigger'::regclass AND objid = t.oid
				   AND refclassid = 'pg_extension'::regclass AND deptype = 'x') AS goes
FROM pg_trigger t WHERE t.tgfoid = 'hooks.on_event'::regproc
ORDER BY t.tgrelid::regclass::text COLLATE "C";

--
-- The usual columns, and those that need not be there
--
CREATE TABLE stream_events (
	id uuid PRIMARY KEY, type text NOT NULL, data jsonb NOT NULL, author_id text NOT NULL,
	livestream_id uuid NOT NULL, user_id uuid NOT NULL, platform text, viewer_id text,
	was_displayed boolean, inserted_at timestamp NOT NULL);
CREATE TABLE small (id uuid, user_id uuid, type varchar(20), data jsonb);
SELECT hooks.attach('stream_events');
SELECT hooks.attach('small');
SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE tgrelid = 'stream_events'::regclass AND NOT tgisinternal;
TABLE attached;

-- Again: nothing happens, whatever was added to the trigger or its name stays.
ALTER TRIGGER hooks_event ON small RENAME TO renamed;
SELECT hooks.attach('stream_events');
SELECT hooks.attach('small');
TABLE attached;

-- Other arguments replace it, another mode switches it.
SELECT hooks.attach('stream_events', platform_column => NULL, time_column => '');
SELECT hooks.attach('small', mode => 'replica');
TABLE attached;
SELECT hooks.attach('stream_events', mode => 'replica');
SELECT hooks.attach('small');
TABLE attached;
ALTER TABLE small DISABLE TRIGGER renamed;
SELECT hooks.attach('small');
SELECT enabled FROM attached WHERE relation = 'small'::regclass;

SELECT hooks.detach('stream_events');
SELECT hooks.detach('small');
SELECT hooks.detach('small');
TABLE attached;

--
-- Other names, enums and domains, a time with time zone, dropped columns
--
CREATE TYPE kind AS ENUM ('donation', 'follow');
CREATE DOMAIN any_kind AS kind NOT NULL;
CREATE DOMAIN key AS uuid;
CREATE DOMAIN streamer AS key CHECK (VALUE IS NOT NULL);
CREATE DOMAIN payload AS jsonb CHECK (jsonb_typeof(VALUE) = 'object');
CREATE DOMAIN moment AS timestamptz;
CREATE TABLE "What's New?" (
	gone integer, "The \ Payload" payload, "key" key, streamer streamer, kind any_kind, via kind, at moment);
ALTER TABLE "What's New?" DROP COLUMN gone;
SELECT hooks.attach('"What''s New?"', id_column => 'key', user_column => 'streamer', type_column => 'kind',
					data_column => 'The \ Payload', platform_column => 'via', time_column => 'at');
SELECT hooks.attach('"What''s New?"', 'key', 'streamer', 'kind', 'The \ Payload', 'via', 'at');
TABLE attached;
INSERT INTO "What's New?" VALUES ('{}', gen_random_uuid(), gen_random_uuid(), 'follow', NULL, now());

-- Several event tables
SELECT hooks.attach('small');
SELECT hooks.attach('stream_events');
SELECT relation FROM attached;
SELECT hooks.detach('"What''s New?"'), hooks.detach('small'), hooks.detach('stream_events');

--
-- Partitioned
--
CREATE TABLE events (id uuid, user_id uuid, type text, data jsonb, inserted_at timestamptz) PARTITION BY RANGE (inserted_at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
SELECT hooks.attach('events', mode => 'replica');
CREATE TABLE events_2025 (inserted_at timestamptz, data jsonb, gone text, type text, user_id uuid, id uuid);
ALTER TABLE events_2025 DROP COLUMN gone;
ALTER TABLE events ATTACH PARTITION events_2025 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT PARTITION BY LIST (type);
CREATE TABLE events_rest_all PARTITION OF events_rest DEFAULT;
TABLE attached;
SELECT hooks.attach('events');
TABLE attached;
-- a partition's copy that was switched by itself
ALTER TABLE events_2025 ENABLE ALWAYS TRIGGER hooks_event;
SELECT hooks.attach('events');
SELECT enabled, count(*) FROM attached GROUP BY enabled;
SELECT hooks.attach('events', time_column => '');
TABLE attached;
INSERT INTO events VALUES (gen_random_uuid(), gen_random_uuid(), 'stream_updated', '{}', '2025-06-01');
SELECT hooks.attach('events_2024');
SELECT hooks.detach('events_rest_all');
SELECT hooks.detach('events_rest');
ALTER TABLE events DETACH PARTITION events_2024;
SELECT hooks.attach('events_2024');
SELECT relation, of_parent FROM attached;
SELECT hooks.detach('events');
SELECT hooks.detach('events_2024');
ALTER TABLE events ATTACH PARTITION events_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
SELECT hooks.attach('events_2024');
SELECT hooks.attach('events_rest_all');
SELECT hooks.attach('events');
SELECT hooks.detach('events_2024');
SELECT hooks.detach('events_rest_all');
SELECT hooks.attach('events');

--
-- What cannot be attached
--
SELECT hooks.attach(NULL);
SELECT hooks.detach(NULL);
SELECT hooks.attach('nowhere');
SELECT hooks.attach(0);
SELECT hooks.attach('small', mode => 'always');
SELECT hooks.attach('small', mode => NULL);
SELECT hooks.attach('small', 'uuid', 'user', 'type', 'payload', 'via', 'at');
SELECT hooks.attach('small', id_column => NULL, data_column => '');
SELECT hooks.attach('small', time_column => 'type', platform_column => 'data');
CREATE TABLE mistyped (id text, user_id bigint, type integer, data json, platform integer, inserted_at date);
SELECT hooks.attach('mistyped');
SELECT hooks.attach('mistyped', time_column => NULL, platform_column => NULL);
SELECT hooks.attach('small', 'ctid', 'xmin', 'tableoid', 'cmax');
CREATE VIEW seen AS SELECT * FROM small;
CREATE MATERIALIZED VIEW kept AS SELECT * FROM small;
CREATE INDEX small_index ON small (id);
SELECT hooks.attach('seen');
SELECT hooks.attach('kept');
SELECT hooks.attach('small_index');
SELECT hooks.detach('seen');
CREATE FOREIGN DATA WRAPPER regress_hooks_wrapper;
CREATE SERVER regress_hooks_server FOREIGN DATA WRAPPER regress_hooks_wrapper;
CREATE FOREIGN TABLE elsewhere (id uuid, user_id uuid, type text, data jsonb) SERVER regress_hooks_server;
SELECT hooks.attach('elsewhere');

-- Somebody else's trigger of that name
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER hooks_event AFTER INSERT ON small EXECUTE FUNCTION nothing();
SELECT hooks.attach('small');
SELECT hooks.detach('small');

-- Two of ours become one.
DROP TRIGGER hooks_event ON small;
CREATE TRIGGER a AFTER INSERT ON small FOR EACH ROW EXECUTE FUNCTION hooks.on_event('id', 'user_id', 'type', 'data', '', '');
CREATE TRIGGER b AFTER INSERT ON small FOR EACH ROW EXECUTE FUNCTION hooks.on_event('id', 'user_id', 'type', 'data', '', '');
CREATE TRIGGER c AFTER INSERT ON small FOR EACH ROW EXECUTE FUNCTION hooks.on_event('id');
SELECT hooks.attach('small');
SELECT relation, tgname FROM attached;

-- DROP EXTENSION takes triggers of every kind along, those of partitions too.
SELECT hooks.attach('stream_events');
BEGIN;
SET LOCAL client_min_messages = warning;
ALTER TRIGGER a ON small DEPENDS ON EXTENSION hooks;
DROP VIEW attached;
DROP EXTENSION hooks;
SELECT count(*) FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'regress_events'::regnamespace);
SELECT count(*) FROM events;
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA regress_events CASCADE;
DROP FOREIGN DATA WRAPPER regress_hooks_wrapper CASCADE;
