-- script/demo.sql: what script/demo has the application do, chapter by chapter.
-- Each chapter runs in a psql of its own; :port is the receiver's.

-- CHAPTER: hooks
CREATE TABLE users (id uuid PRIMARY KEY, name text NOT NULL);
CREATE TABLE stream_events (
	id uuid PRIMARY KEY,
	type text NOT NULL,
	data jsonb NOT NULL,
	author_id text NOT NULL,
	livestream_id uuid NOT NULL,
	user_id uuid NOT NULL REFERENCES users,
	platform text,
	viewer_id text,
	was_displayed boolean,
	inserted_at timestamp NOT NULL
);
INSERT INTO users VALUES
	('aaaaaaaa-0000-4000-8000-000000000001', 'Ann'),
	('bbbbbbbb-0000-4000-8000-000000000002', 'Bob');

CREATE EXTENSION hooks;

INSERT INTO stream_hooks (user_id, name, trigger_type, conditions, action_type, action_config, cooldown_seconds,
						  inserted_at)
SELECT u.id, h.name, h.trigger_type, h.conditions, 'webhook',
	   jsonb_build_object('url', format('http://127.0.0.1:%s%s', :'port', h.path)) || h.settings,
	   h.cooldown, now() + h.n * interval '1 ms'
FROM (VALUES
	(1, 'Ann', 'every donation', 'donation', '{}'::jsonb, '/ok/donations', '{}'::jsonb, 0),
	(2, 'Ann', 'thank big donors', 'donation', '{"min_amount": 10, "currency": "EUR"}', '/ok/lights',
	 '{"headers": {"X-Api-Key": "abc"},
	   "body_template": "{\"text\": \"{{username}} gave {{amount}} {{currency}}: {{message}}\", \"amount\": {{amount}}}"}', 0),
	(3, 'Ann', 'welcome, one a minute', 'follow', '{}', '/ok/say?text=welcome+{{username}}', '{"method": "GET"}', 60),
	(4, 'Ann', 'raid alarm', 'raid', '{"min_viewers": 20}', '/ok/raids/{{platform}}', '{"method": "PUT"}', 0),
	(5, 'Ann', 'new subscriber', 'subscription', '{}', '/status/503', '{}', 0),
	(6, 'Ann', 'moderators'' lights', 'chat_message', '{"contains": "!lights", "is_moderator": true}', '/ok/lights/toggle',
	 '{"body_template": "{{username}}: {{message}}"}', 30),
	(7, 'Ann', 'on air', 'stream_start', '{}', '/ok/on-air', '{"body_template": "{\"event\": \"{{event_type}}\"}"}', 0),
	(8, 'Ann', 'off air', 'stream_end', '{}', '/ok/on-air', '{"method": "DELETE"}', 0),
	(9, 'Bob', 'chat to my bot', 'chat_message', '{}', '/ok/bot', '{"body_template": "{\"from\": \"{{username}}\", \"says\": \"{{message}}\"}"}', 0)
) h (n, owner, name, trigger_type, conditions, path, settings, cooldown)
JOIN users u ON u.name = h.owner;

SELECT u.name AS streamer, h.name AS hook, trigger_type AS "when", conditions AS "if", cooldown_seconds AS cooldown
FROM stream_hooks h JOIN users u ON u.id = h.user_id
ORDER BY h.inserted_at;

-- CHAPTER: events
-- What the application has gathered: more types than hooks know, numbers as
-- text, and whatever viewers call themselves.
CREATE TABLE batch (n int, streamer text, type text, platform text, data jsonb);
INSERT INTO batch VALUES
	(1, 'Ann', 'donation', 'twitch',
	 '{"donor_name": "Zoë \"the boss\"", "amount": "25.00", "currency": "EUR", "message": "love it 💜"}'),
	(2, 'Ann', 'donation', 'youtube',
	 '{"donor_name": "Sam", "amount": "5.00", "currency": "EUR", "message": null}'),
	(3, 'Ann', 'follow', 'twitch', '{"username": "first & fast"}'),
	(4, 'Ann', 'follow', 'twitch', '{"username": "second"}'),
	(5, 'Ann', 'follow', 'kick', '{"username": "third"}'),
	(6, 'Ann', 'raid', 'twitch', '{"raider_name": "Carol", "viewer_count": "47"}'),
	(7, 'Ann', 'raid', 'twitch', '{"raider_name": "Dave", "viewer_count": "3"}'),
	(8, 'Ann', 'subscription', 'twitch', '{"username": "Eve", "tier": "1", "months": "7"}'),
	(9, 'Ann', 'chat_message', 'twitch', '{"username": "Mod", "message": "and now !LIGHTS on", "is_moderator": true}'),
	(10, 'Ann', 'chat_message', 'twitch', '{"username": "guest", "message": "!lights please", "is_moderator": false}'),
	(11, 'Bob', 'chat_message', 'youtube', '{"username": "guest", "message": "hi Bob", "is_moderator": false}'),
	(12, 'Bob', 'platform_started', 'youtube', '{}');

SELECT type, streamer, platform, data FROM batch ORDER BY n;

INSERT INTO stream_events (id, type, data, author_id, livestream_id, user_id, platform, was_displayed, inserted_at)
SELECT lpad(b.n::text, 32, '0')::uuid, b.type, b.data, 'viewer', gen_random_uuid(), u.id, b.platform, false,
	   timezone('UTC', clock_timestamp())
FROM batch b JOIN users u ON u.name = b.streamer
ORDER BY b.n
ON CONFLICT (id) DO UPDATE SET was_displayed = EXCLUDED.was_displayed;

\o /dev/null
SELECT hooks.wait_idle('20 s');

-- CHAPTER: again
\set VERBOSITY terse
INSERT INTO stream_events (id, type, data, author_id, livestream_id, user_id, platform, was_displayed, inserted_at)
SELECT lpad(b.n::text, 32, '0')::uuid, b.type, b.data, 'viewer', gen_random_uuid(), u.id, b.platform, true,
	   timezone('UTC', clock_timestamp())
FROM batch b JOIN users u ON u.name = b.streamer
ON CONFLICT (id) DO UPDATE SET was_displayed = EXCLUDED.was_displayed;

BEGIN;
INSERT INTO stream_events (id, type, data, author_id, livestream_id, user_id, platform, inserted_at)
SELECT gen_random_uuid(), b.type, b.data, 'viewer', gen_random_uuid(), u.id, b.platform,
	   timezone('UTC', clock_timestamp())
FROM batch b JOIN users u ON u.name = b.streamer;
ROLLBACK;

SELECT count(*) AS events, count(*) FILTER (WHERE was_displayed) AS updated FROM stream_events;
SELECT hooks.wait_idle('20 s') AS idle, deliveries_started AS requests_since_the_start FROM hooks.stat;

-- CHAPTER: lifecycle
\o /dev/null
SELECT hooks.trigger_lifecycle_event(id, 'stream_start', '{"title": "Hello"}') FROM users;
SELECT hooks.trigger_lifecycle_event(id, 'stream_end', '{"reason": "tired"}') FROM users WHERE name = 'Ann';
SELECT hooks.wait_idle('20 s');

-- CHAPTER: log
SELECT h.name AS hook, l.status, l.error_message AS error, l.response_status AS answer, l.duration_ms AS ms,
	   coalesce(b.type || ' ' || coalesce(b.data ->> 'donor_name', b.data ->> 'raider_name', b.data ->> 'username'),
				l.trigger_type) AS event
FROM stream_hook_logs l
	 JOIN stream_hooks h ON h.id = l.hook_id
	 LEFT JOIN batch b ON lpad(b.n::text, 32, '0')::uuid = l.stream_event_id
ORDER BY h.inserted_at, b.n;

SELECT events_queued, deliveries_started, succeeded, failed, skipped_condition, skipped_cooldown FROM hooks.stat;
