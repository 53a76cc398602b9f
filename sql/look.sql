--
-- Seeing what hooks do: preview, explain, backtest, lint.  Nothing is sent, no cooldown taken.
--
\set ECHO none
SET timezone = 'UTC';
SET datestyle = 'ISO';
\set SHOW_CONTEXT never
CREATE SCHEMA seen;
SET search_path = seen, public;
CREATE TABLE users (id uuid PRIMARY KEY);
INSERT INTO users VALUES ('00000000-0000-4000-8000-000000000001'), ('00000000-0000-4000-8000-000000000002');
CREATE TABLE happenings (event_id uuid PRIMARY KEY, owner uuid, kind text, payload jsonb, "where" text, at timestamp);
SELECT hooks.attach('happenings', 'event_id', 'owner', 'kind', 'payload', 'where', 'at');
\set ECHO all
\set user '\'00000000-0000-4000-8000-000000000001\''
\set hook '\'00000000-0000-4000-8000-00000000000a\''

SELECT events, id_column, user_column, type_column, data_column, platform_column, time_column
FROM hooks.event_tables WHERE events = 'happenings'::regclass;

INSERT INTO public.stream_hooks (id, user_id, name, trigger_type, conditions, action_type, action_config, cooldown_seconds)
VALUES (:hook, :user, 'Big "donations"', 'donation', '{"min_amount": 10}', 'webhook',
		'{"url": "https://example.com/{{event_type}}?token=abc&user={{username}}#x", "method": "put",
		  "headers": {"Authorization": "Bearer abc", "X-Api-Key": "abc", "X-User": "{{username}}"},
		  "body": {"text": "{{username}} gave {{amount | money}}", "amount": "{{amount | json}}"}}', 60);

-- preview of an event that is only data, that is a row, that is stored
SELECT verdict, reason, method, url, headers - 'webhook-timestamp' AS headers, body
FROM hooks.preview(:hook, '{"donor_name": "Ann \"A\"", "amount": "10.00", "currency": "EUR"}'::jsonb) \gx
SELECT verdict, reason, body FROM hooks.preview(:hook, '{"donor_name": "Ann", "amount": "9.99"}'::jsonb);
SELECT verdict, reason FROM hooks.preview(:hook, '{"type": "raid", "data": {"raider_name": "Ann"}}'::jsonb);
SELECT verdict, reason FROM hooks.preview(:hook, '{"user_id": "00000000-0000-4000-8000-000000000002", "data": {"amount": 10}}'::jsonb);
SELECT verdict, reason FROM hooks.preview(:hook, '{"type": "nothing", "data": {}}'::jsonb);
SELECT hooks.preview(:hook, NULL::jsonb);
SELECT hooks.preview('00000000-0000-4000-8000-0000000000ff', '{}'::jsonb);
UPDATE public.stream_hooks SET enabled = false WHERE id = :hook;
SELECT verdict, reason, body FROM hooks.preview(:hook, '{"amount": "10.00"}'::jsonb);
UPDATE public.stream_hooks SET enabled = true, last_triggered_at = now() - interval '59 seconds' WHERE id = :hook;
SELECT verdict, reason ~ '^fired at .*, and waits 60 seconds$' AS reason FROM hooks.preview(:hook, '{"amount": "10.00"}'::jsonb);
UPDATE public.stream_hooks SET last_triggered_at = now() - interval '60 seconds' WHERE id = :hook;
SELECT verdict, reason FROM hooks.preview(:hook, '{"amount": "10.00"}'::jsonb);

-- a delivery id is the same for the same event, and what the worker would send
SELECT headers ->> 'webhook-id' AS id FROM hooks.preview(:hook, '{"id": "00000000-0000-4000-8000-0000000000e1", "data": {}}'::jsonb);

-- what cannot be sent
SELECT verdict, reason, body FROM hooks.preview(:hook, jsonb_build_object('amount', '10', 'donor_name', E'a\nb'));

--
-- explain
--
INSERT INTO public.stream_hooks (id, user_id, name, enabled, trigger_type, conditions, action_type, action_config, inserted_at)
VALUES ('00000000-0000-4000-8000-00000000000b', :user, 'off', false, 'donation', '{}', 'webhook', '{"url": "https://example.com/"}', now() + interval '1 second'),
	('00000000-0000-4000-8000-00000000000c', :user, 'euros', true, 'donation', '{"currency": "EUR"}', 'webhook', '{"url": "https://example.com/"}', now() + interval '2 seconds'),
	('00000000-0000-4000-8000-00000000000d', :user, 'raids', true, 'raid', '{}', 'webhook', '{"url": "https://example.com/"}', now() + interval '3 seconds'),
	('00000000-0000-4000-8000-00000000000e', :user, 'either', true, 'donation', '{"$or": [{"amount": {"$gt": 1000}}, {"users": "ann"}]}', 'webhook', '{"url": "https://example.com/"}', now() + interval '4 seconds'),
	('00000000-0000-4000-8000-00000000000f', :user, 'chat', true, 'donation', '{}', 'chat_message', '{"message": "thanks"}', now() + interval '5 seconds');
INSERT INTO happenings VALUES
	('00000000-0000-4000-8000-0000000000e1', :user, 'donation', '{"donor_name": "Bob", "amount": "5.00", "currency": "USD"}', 'twitch', '2026-01-02 03:04:05'),
	('00000000-0000-4000-8000-0000000000e2', :user, 'stream_updated', '{}', NULL, '2026-01-02 03:04:06');
SELECT hook_name, verdict, reason, key, event_value, hook_value, cooldown_left FROM hooks.explain('00000000-0000-4000-8000-0000000000e1');
SELECT hook_name, verdict FROM hooks.explain('00000000-0000-4000-8000-0000000000e2');
SELECT hooks.explain('00000000-0000-4000-8000-0000000000ff');
SELECT hooks.stored_event('00000000-0000-4000-8000-0000000000e1');
SELECT verdict, reason, body FROM hooks.preview(:hook, '00000000-0000-4000-8000-0000000000e1'::uuid);

-- A hook that writes chat does not answer the streamer's own messages, unless it says so
INSERT INTO public.stream_hooks (id, user_id, name, trigger_type, conditions, action_type, action_config)
SELECT id, :user, 'chat', 'chat_message', conditions, action, '{"message": "hello", "url": "https://example.com/"}'
FROM (VALUES ('00000000-0000-4000-8000-000000000101'::uuid, '{}'::jsonb, 'chat_message'),
		('00000000-0000-4000-8000-000000000102', '{"ignore_self": false}', 'chat_message'),
		('00000000-0000-4000-8000-000000000103', '{}', 'webhook'),
		('00000000-0000-4000-8000-000000000104', '{"ignore_self": true}', 'webhook')) v (id, conditions, action);
SELECT h.conditions, h.action_type, p.own, p.verdict, p.reason
FROM public.stream_hooks h, (VALUES (true), (false)) o (own),
	LATERAL (SELECT o.own, x.verdict, x.reason FROM hooks.preview(h.id, jsonb_build_object('message', 'hi', 'is_sent_by_streamer', o.own)) x) p
WHERE h.trigger_type = 'chat_message' ORDER BY h.id, o.own;
DELETE FROM public.stream_hooks WHERE trigger_type = 'chat_message';

--
-- backtest: cooldown by the events' times, whatever the hook has done since
--
INSERT INTO happenings
SELECT ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, :user, CASE WHEN i % 10 = 0 THEN 'follow' ELSE 'donation' END,
	   jsonb_build_object('amount', (i % 7) * 5, 'donor_name', 'Ann'), 'kick', timestamp '2026-03-01' + i * interval '20 seconds'
FROM generate_series(1, 12) i;
SELECT right(event_id::text, 3) AS event, at, verdict, key, event_value FROM hooks.backtest(:hook, timestamptz '2026-02-01');
SELECT * FROM hooks.backtest_summary(:hook, now() - timestamptz '2026-02-01');
SELECT right(event_id::text, 3) AS event, verdict, key, event_value
FROM hooks.backtest(:user, 'donation', '{"amount": {"$gt": 10}, "platform": "kick"}', 40, timestamptz '2026-02-01')
WHERE verdict <> 'skipped_condition';
SELECT * FROM hooks.backtest_summary(:user, 'follow', '{}', 0, now() - timestamptz '2026-02-01');
SELECT count(*) FROM hooks.backtest(:user, 'follow', '{}', since => interval '1 second');
SELECT count(*) FROM hooks.backtest('00000000-0000-4000-8000-000000000002', 'donation', '{}', 0, timestamptz '2026-02-01');
SELECT hooks.backtest(:user, 'donation', '{"min_amont": 5}');
SELECT hooks.backtest(:user, 'donations', '{}');
SELECT hooks.backtest(NULL, 'donation', '{}');

--
-- lint
--
SELECT * FROM hooks.lint(:hook);
SELECT l.*
FROM (VALUES
	('donation', '{"min_amount": 10, "max_amount": 5}'::jsonb, 'webhook', '{"url": "https://example.com/"}'::jsonb),
	('donation', '{"currency": ["EUR", "euro"], "platform": ["twitch", "twich"]}', 'webhook', '{"url": "https://example.com/"}'),
	('donation', '{"chance": 0}', 'webhook', '{"url": "https://example.com/"}'),
	('donation', '{"viewer_count": {"$gt": 5}}', 'webhook', '{"url": "https://example.com/"}'),
	('donation', '{"$or": [{"data.tier": {"$eq": 1}}, {"amount": {"$gt": 5}}]}', 'webhook', '{"url": "https://example.com/"}'),
	('follow', NULL, 'webhook', '{"url": "https://example.com/", "body_template": "{{usrname}} {{amount}} {{data.amount | upper}} {{foo}}"}'),
	('follow', NULL, 'webhook', '{"url": "https://example.com/", "body": {"a": ["{{display_name}}", {"b": "{{ tier }}"}]}}'),
	('follow', NULL, 'webhook', '{"url": "https://example.com/", "body_template": "{\"a\": \"{{username | default:\\\"x\\\"}} {{months | default:\\\"x\\\"}}\"}"}'),
	('follow', '{"min_amount": 1}', 'webhook', '{}'),
	('follow', '{}', 'sms', '{}'),
	('raid', '{"min_viewers": 5, "max_viewers": "5"}', 'webhook', '{"url": "https://example.com/{{username}}"}')
) v (trigger_type, conditions, action_type, action_config),
	LATERAL hooks.lint(v.trigger_type, v.conditions, v.action_type, v.action_config) l;
SELECT hooks.lint('donations', '{}', 'webhook', '{}');

--
-- With the caller's rights
--
CREATE ROLE regress_looker;
GRANT USAGE ON SCHEMA seen TO regress_looker;
SET ROLE regress_looker;
SELECT hooks.explain('00000000-0000-4000-8000-0000000000e1');
SELECT hooks.preview(:hook, '{}'::jsonb);
SELECT hooks.backtest(:user, 'donation', '{}', 0, timestamptz '2026-02-01');
RESET ROLE;
GRANT SELECT ON public.stream_hooks, happenings TO regress_looker;
CREATE POLICY mine ON public.stream_hooks TO regress_looker USING (name = 'euros');
ALTER TABLE public.stream_hooks ENABLE ROW LEVEL SECURITY;
SET ROLE regress_looker;
SELECT hook_name FROM hooks.explain('00000000-0000-4000-8000-0000000000e1');
SELECT hooks.preview(:hook, '{}'::jsonb);
RESET ROLE;

\set ECHO none
ALTER TABLE public.stream_hooks DISABLE ROW LEVEL SECURITY;
DROP POLICY mine ON public.stream_hooks;
DELETE FROM public.stream_hooks;
SET client_min_messages = warning;
DROP SCHEMA seen CASCADE;
REVOKE ALL ON public.stream_hooks FROM regress_looker;
DROP ROLE regress_looker;
