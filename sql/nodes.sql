--
-- What the functions for nodes say and refuse: hooks.become_hub(),
-- hooks.become_node(), hooks.node_filter(), hooks.undelivered()
--
-- Real servers are in test/t/180_nodes.pl and the following.  All is rolled
-- back.
--
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
-- whether "wal_level" is logical depends on the server
SET client_min_messages = error;

BEGIN;

-- nothing to deliver
SELECT hooks.detach(events) FROM hooks.event_tables;
SELECT hooks.become_node();
SELECT hooks.node_filter(0, 2);
SELECT count(*) FROM hooks.undelivered(0, 2, '2026-01-01');

CREATE TABLE node_events (id uuid PRIMARY KEY, type text, data jsonb, user_id uuid, platform text, at timestamptz);
SELECT hooks.attach('node_events', time_column => 'at');

-- shares that are none
SELECT hooks.node_filter(2, 2);
SELECT hooks.node_filter(-1, 2);
SELECT hooks.node_filter(0, 0);
SELECT hooks.node_filter(NULL, 2);
SELECT hooks.node_filter(0, NULL);
SELECT * FROM hooks.undelivered(5, 5, '2026-01-01');

-- events stay here, or go to nodes; partitioned ones go under one name
SELECT hooks.node_filter(1, 3, events => false);
SELECT hooks.node_filter(1, 3);
CREATE TABLE "Node Events" (id uuid, kind text, data jsonb, "User" uuid, at timestamptz) PARTITION BY RANGE (at);
SELECT hooks.attach('"Node Events"', type_column => 'kind', user_column => 'User', time_column => 'at', mode => 'replica');
SELECT hooks.node_filter(1, 3);

-- each user is in one share
SELECT hooks.cluster_filter('user_id', n, 3) FROM generate_series(0, 2) AS n;
SELECT count(*) FILTER (WHERE ((uuid_hash(u) & 2147483647) % 3) BETWEEN 0 AND 2) AS users,
	   count(DISTINCT (uuid_hash(u) & 2147483647) % 3) AS shares
FROM (SELECT md5(i::text)::uuid AS u FROM generate_series(1, 1000) AS i) AS users;

-- a hub is one however often it is told; so is a node
SELECT hooks.become_hub();
SELECT hooks.become_hub();
SELECT relreplident FROM pg_class WHERE oid = 'stream_hooks'::regclass;
SELECT hooks.become_node();
SELECT hooks.become_node();
SELECT t.tgrelid::regclass, t.tgname, t.tgenabled FROM pg_trigger AS t
WHERE t.tgname IN ('hooks_event', 'hooks_replicated', 'hooks_keep_log') ORDER BY t.tgrelid::regclass::text COLLATE "C", 2;

-- what a trigger of theirs is not for
CREATE TRIGGER wrong AFTER DELETE ON node_events EXECUTE FUNCTION hooks.skip_stored();
DELETE FROM node_events;
DROP TRIGGER wrong ON node_events;

-- what no result is known of: an event that a hook wants, until the log has it
INSERT INTO stream_hooks (id, user_id, name, trigger_type, action_type, action_config)
	VALUES ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001', 'x', 'follow', 'webhook', '{"url": "https://example.com/"}');
INSERT INTO node_events VALUES
	('00000000-0000-4000-8000-0000000000e1', 'follow', '{}', '00000000-0000-4000-8000-000000000001', NULL, '2026-01-02'),
	('00000000-0000-4000-8000-0000000000e2', 'raid', '{}', '00000000-0000-4000-8000-000000000001', NULL, '2026-01-02'),
	('00000000-0000-4000-8000-0000000000e3', 'follow', '{}', '00000000-0000-4000-8000-000000000001', NULL, '2025-12-31');
SELECT * FROM hooks.undelivered(0, 1, '2026-01-01');
INSERT INTO stream_hook_logs (hook_id, user_id, stream_event_id, trigger_type, action_type, status, executed_at)
	VALUES ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-0000000000e1', 'follow', 'webhook', 'failure', now());
SELECT event_id FROM hooks.undelivered(0, 1, '2026-01-01');
UPDATE stream_hook_logs SET status = 'success';
SELECT event_id FROM hooks.undelivered(0, 1, '2026-01-01');

-- they are for those who own the tables
CREATE ROLE regress_hooks_nobody;
SET ROLE regress_hooks_nobody;
SELECT hooks.node_filter(0, 2);
SELECT hooks.become_hub();
RESET ROLE;

ROLLBACK;
