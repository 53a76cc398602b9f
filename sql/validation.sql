--
-- What cannot be written as a hook, and why
--
-- The tables are those that the test "setup" leaves in public.  Settings are at
-- their defaults: https only, public addresses only.
--
SET client_encoding = 'UTF8';
\set SHOW_CONTEXT never
\pset format unaligned
\pset fieldsep ' -> '
\pset null '(null)'
\pset footer off
\set user '''00000000-0000-4000-8000-000000000001'''

-- Write a hook, a good one but for the given columns, and say what comes of it:
-- which column is at fault, the message and the hint.
CREATE FUNCTION pg_temp.write_hook(changes jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
	at_fault text;
	relation text;
	state text;
BEGIN
	INSERT INTO stream_hooks (id, user_id, name, enabled, trigger_type, conditions, action_type, action_config,
							  cooldown_seconds, inserted_at, updated_at)
	SELECT r.id, r.user_id, r.name, r.enabled, r.trigger_type, r.conditions, r.action_type, r.action_config,
		   r.cooldown_seconds, r.inserted_at, r.updated_at
	FROM jsonb_populate_record(NULL::stream_hooks, jsonb_build_object(
		'id', gen_random_uuid(), 'user_id', '00000000-0000-4000-8000-000000000001', 'name', 'hook', 'enabled', true,
		'trigger_type', 'donation', 'conditions', jsonb '{}', 'action_type', 'webhook',
		'action_config', jsonb '{"url": "https://example.com/hook"}', 'cooldown_seconds', 0,
		'inserted_at', now(), 'updated_at', now()) || changes) r;
	DELETE FROM stream_hooks;
	RETURN 'accepted';
EXCEPTION WHEN integrity_constraint_violation THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, at_fault = COLUMN_NAME,
		relation = TABLE_NAME, state = RETURNED_SQLSTATE;
	-- What libcurl says of a URL changes with its versions.
	message := regexp_replace(message, '(URL is malformed): .*', '\1');
	RETURN concat_ws(E'\n    ', concat_ws('.', relation, nullif(at_fault, '')) || ': ' || message,
					 nullif(hint, ''), CASE WHEN state <> '23514' THEN state END);
END $$;

-- The same with a webhook's settings, on top of a good URL.
CREATE FUNCTION pg_temp.write_webhook(settings jsonb) RETURNS text
LANGUAGE sql AS $$
	SELECT pg_temp.write_hook(jsonb_build_object('action_config', jsonb '{"url": "https://example.com/hook"}' || settings))
$$;
CREATE FUNCTION pg_temp.write_url(url text) RETURNS text
LANGUAGE sql AS $$
	SELECT pg_temp.write_webhook(jsonb_build_object('url', url))
$$;

--
-- An error, as people see it
--
INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES (:user, 'hook', 'donations', 'webhook', '{"url": "https://example.com/hook"}');
INSERT INTO stream_hooks (user_id, name, trigger_type, conditions, action_type, action_config)
VALUES (:user, 'hook', 'donation', '{"min_amount": "ten"}', 'webhook', '{"url": "https://example.com/hook"}');
INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES (:user, 'hook', 'donation', 'webhook', '{}');

--
-- Types, names, cooldowns
--
SELECT t AS trigger_type, pg_temp.write_hook(jsonb_build_object('trigger_type', t)) AS result
FROM unnest('{donation,follow,raid,subscription,stream_start,stream_end,chat_message}'::text[]) t;
SELECT changes, pg_temp.write_hook(changes) AS result
FROM (VALUES
	('{"trigger_type": "donations"}'::jsonb), ('{"trigger_type": "Donation"}'), ('{"trigger_type": ""}'),
	('{"trigger_type": null}'), ('{"trigger_type": "stream_updated"}'),
	('{"action_type": "sms"}'), ('{"action_type": "Webhook"}'), ('{"action_type": null}'),
	('{"name": ""}'), ('{"name": null}'), ('{"user_id": null}'), ('{"enabled": null}'),
	('{"cooldown_seconds": -1}'), ('{"cooldown_seconds": 86401}'), ('{"cooldown_seconds": 2147483647}'),
	('{"cooldown_seconds": -2147483648}'), ('{"cooldown_seconds": null}'),
	('{"cooldown_seconds": 0}'), ('{"cooldown_seconds": 86400}')
) v (changes);
SELECT length, pg_temp.write_hook(jsonb_build_object('name', repeat('é', length))) AS result
FROM unnest('{200,201}'::int[]) length;

--
-- Conditions (a minimum may be written as text, as events have theirs)
--
SELECT trigger_type, conditions,
	   pg_temp.write_hook(jsonb_build_object('trigger_type', trigger_type, 'conditions', conditions)) AS result
FROM (VALUES
	('donation', '{"min_amount": 10, "currency": "EUR"}'::jsonb), ('donation', '{"min_amount": null}'),
	('donation', NULL), ('follow', '{}'), ('raid', '{"min_viewers": 0}'), ('chat_message', '{"contains": ""}'),
	('chat_message', '{"is_moderator": false}'),
	('donation', '{"min_amount": "10"}'), ('donation', '{"min_amount": true}'), ('donation', '{"min_amount": []}'),
	('donation', '{"currency": 5}'), ('donation', '{"currency": {"is": "EUR"}}'),
	('donation', '{"minimum": 10}'), ('donation', '{"Min_amount": 10}'), ('donation', '{"min_viewers": 5}'),
	('raid', '{"min_viewers": "20"}'), ('raid', '{"min_amount": 5}'),
	('chat_message', '{"contains": 5}'), ('chat_message', '{"is_moderator": "yes"}'),
	('chat_message', '{"is_moderator": 1}'),
	('follow', '{"contains": "x"}'), ('subscription', '{"tier": "1"}'), ('stream_start', '{"x": 1}'),
	('donation', '[]'), ('donation', '"min_amount"'), ('donation', '5')
) v (trigger_type, conditions);
INSERT INTO stream_hooks (user_id, name, trigger_type, conditions, action_type, action_config)
VALUES (:user, 'JSON null', 'donation', 'null', 'webhook', '{"url": "https://example.com/hook"}');

-- Not without limit
SELECT length, pg_temp.write_hook(jsonb_build_object('trigger_type', 'chat_message', 'conditions',
													 jsonb_build_object('contains', repeat('x', length)))) AS result
FROM unnest('{8000,9000}'::int[]) length;

--
-- Settings of every action
--
SELECT action_type, action_config,
	   pg_temp.write_hook(jsonb_build_object('action_type', action_type, 'action_config', action_config)) AS result
FROM (VALUES
	('webhook', NULL::jsonb), ('webhook', '[]'), ('webhook', '"https://example.com/"'), ('webhook', '5'),
	('webhook', '{}'), ('webhook', '{"URL": "https://example.com/"}'),
	('discord_message', '{}'), ('discord_message', '{"template": "hi"}'),
	('discord_message', '{"webhook_url": "https://discord.com/api/webhooks/1/abc"}'),
	('discord_message', '{"template": "", "webhook_url": "https://discord.com/api/webhooks/1/abc"}'),
	('discord_message', '{"template": "hi", "webhook_url": null}'),
	('discord_message', '{"template": 5, "webhook_url": "https://discord.com/api/webhooks/1/abc"}'),
	('discord_message', '{"template": "hi", "webhook_url": "https://discord.com/api/webhooks/1/abc"}'),
	('chat_message', '{}'), ('chat_message', '{"message": ""}'), ('chat_message', '{"message": ["hi"]}'),
	('chat_message', '{"message": "hi {{username}}"}'), ('chat_message', '{"message": "/ban {{username}}"}'),
	('chat_message', '{"message": " .me {{username}}"}'), ('chat_message', '{"message": "!so {{username}}"}'),
	('chat_message', '{"message": "hi", "platforms": ["twitch", "kick"]}'),
	('chat_message', '{"message": "hi", "platforms": []}'), ('chat_message', '{"message": "hi", "platforms": "twitch"}'),
	('chat_message', '{"message": "hi", "platforms": ["vimeo"]}'), ('chat_message', '{"message": "hi", "platforms": [5]}'),
	('chat_message', '{"message": "hi", "messages": {"kick": "ho"}}'), ('chat_message', '{"message": "hi", "messages": []}'),
	('chat_message', '{"message": "hi", "messages": {"vimeo": "ho"}}'), ('chat_message', '{"message": "hi", "messages": {"kick": 5}}'),
	('chat_message', '{"message": "hi", "messages": {"kick": ["ho"]}}'), ('chat_message', '{"message": "hi", "messages": {"kick": ""}}'),
	('chat_message', '{"message": "hi", "messages": {"kick": "/ban {{username}}"}}'),
	('chat_message', '{"message": "hi", "messages": {"kick": "{{username"}}')
) v (action_type, action_config);
SELECT settings, pg_temp.write_webhook(settings) AS result
FROM (VALUES
	('{"cooldown_on_failure": "keep"}'::jsonb), ('{"cooldown_on_failure": "return"}'), ('{"cooldown_on_failure": null}'),
	('{"cooldown_on_failure": "sometimes"}'), ('{"cooldown_on_failure": true}')
) v (settings);

--
-- Webhooks: method, headers, body
--
SELECT settings, pg_temp.write_webhook(settings) AS result
FROM (VALUES
	('{"method": "GET"}'::jsonb), ('{"method": "put"}'), ('{"method": null}'),
	('{"method": "HEAD"}'), ('{"method": "POST "}'), ('{"method": ""}'), ('{"method": 5}'),
	('{"headers": {"X-Api-Key": "abc", "Authorization": "Bearer {{username}}"}}'), ('{"headers": null}'), ('{"headers": {}}'),
	('{"headers": {"X-Empty": ""}}'),
	('{"headers": []}'), ('{"headers": "X-Api-Key: abc"}'), ('{"headers": {"X-Api-Key": 5}}'),
	('{"headers": {"X-Api-Key": null}}'), ('{"headers": {"X-Api-Key": ["abc"]}}'), ('{"headers": {"X-Api-Key": {"a": "b"}}}'),
	('{"headers": {"": "abc"}}'), ('{"headers": {"X Api": "abc"}}'), ('{"headers": {"X-Api:": "abc"}}'),
	('{"headers": {"X-Äpi": "abc"}}'), ('{"headers": {"X-Api\r\nX-Other": "abc"}}'),
	('{"headers": {"X-Api": "abc\r\nX-Other: def"}}'), ('{"headers": {"X-Api": "a\tb"}}'), ('{"headers": {"X-Api": "a\u007fb"}}')
) v (settings);
SELECT name, pg_temp.write_webhook(jsonb_build_object('headers', jsonb_build_object(name, 'x'))) AS result
FROM unnest('{Host,content-length,Transfer-Encoding,Connection,Upgrade,TE,Trailer,Expect,Cookie,Keep-Alive,
			  Proxy-Authorization,Proxy-Connection,webhook-id,Webhook-Signature,webhook-timestamp,Metadata,Metadata-Flavor,
			  X-aws-ec2-metadata-token,X-Google-Metadata-Request,X-Hostess,Content-Type,Accept}'::text[]) name;
SELECT count, pg_temp.write_webhook(jsonb_build_object('headers',
	(SELECT jsonb_object_agg('X-' || i, 'x') FROM generate_series(1, count) i))) AS result
FROM unnest('{30,31}'::int[]) count;
SELECT length, pg_temp.write_webhook(jsonb_build_object('headers', jsonb_build_object('X-Long', repeat('x', length)))) AS result
FROM unnest('{4096,4097}'::int[]) length;

SELECT settings, pg_temp.write_webhook(settings) AS result
FROM (VALUES
	('{"body_template": "{{username}} says {{message}}"}'::jsonb), ('{"body_template": ""}'), ('{"body_template": null}'),
	('{"body_template": {"text": "hi"}}'),
	('{"body_template": "{\"text\": \"{{username}}\", \"amount\": {{amount}}}", "headers": {"Content-Type": "application/json"}}'),
	('{"body_template": "{\"text\": \"{{username}}\"}", "headers": {"content-type": "application/vnd.api+json; charset=utf-8"}}'),
	('{"body_template": "[{{username}}, {{unknown}}]", "headers": {"Content-Type": "application/json"}}'),
	('{"body_template": "{\"text\": \"{{username}}}", "headers": {"Content-Type": "application/json"}}'),
	('{"body_template": "{{username}} says", "headers": {"CONTENT-TYPE": "Application/JSON;charset=utf-8"}}'),
	('{"body_template": "", "headers": {"Content-Type": "application/problem+json"}}'),
	('{"body_template": "{{username}} says", "headers": {"Content-Type": "text/plain"}}')
) v (settings);
SELECT length, pg_temp.write_webhook(jsonb_build_object('body_template', repeat('x', length))) AS result
FROM unnest('{16384,16385}'::int[]) length;

--
-- Webhooks: URLs
--
SELECT url, pg_temp.write_url(url) AS result
FROM (VALUES
	('https://example.com'), ('https://example.com:8443/a/b?c=d#e'), ('HTTPS://EXAMPLE.COM/'), ('https://bücher.example/'),
	('https://93.184.216.34/'), ('https://[2606:2800:220:1::1]/'), ('https://example.com./'), ('https://a_b.example.com/'),
	('https://example.com/{{event_type}}?user={{username}}'), ('https://example.com?user={{username}}'),
	('https://example.com/{{no_such_variable}}'),
	(''), (NULL),
	('http://example.com/'), ('ftp://example.com/'), ('file:///etc/passwd'), ('gopher://example.com/'),
	('javascript:alert(1)'), ('smtp://example.com/'), ('unix:///run/socket'), ('example.com/hook'), ('//example.com/hook'),
	('https:'), ('https://'), ('https:///example.com/'), ('https:/example.com/'), ('https://?x'),
	('https://example.com:0/'), ('https://%ff.example/'), ('https://:443/'), (' https://example.com/'),
	('https://example.com:65536/'), ('https://example.com:port/'),
	('https://example .com/'), ('https://example.com/a b'), ('https://exa%00mple.com/'), ('https://[::1/'), ('https://a..b/'),
	(E'https://example.com/\r\nHost: x'), (E'https://example.com/\x7f'),
	('https://user:secret@example.com/'), ('https://user@example.com/'), ('https://:secret@example.com/'),
	('https://@example.com/')
) v (url);
SELECT length, pg_temp.write_url(rpad('https://example.com/', length, 'x')) AS result
FROM unnest('{2048,2049}'::int[]) length;
SELECT pg_temp.write_webhook('{"url": 5}') AS number, pg_temp.write_webhook('{"url": ["https://example.com/"]}') AS list;

-- Names that mean something only inside a network
SELECT host, pg_temp.write_url('https://' || host || '/') AS result
FROM unnest('{localhost,LOCALHOST,localhost.,a.localhost,printer.local,metadata.google.internal,intranet,x.onion,
			  local.example.com,internal.example.com}'::text[]) host;

-- Addresses that are not public, in any spelling
SELECT host, pg_temp.write_url('https://' || host || '/') AS result
FROM unnest('{127.0.0.1,127.0.0.1.,127.1,0x7f.1,2130706433,017700000001,%31%32%37.0.0.1,0,0.0.0.0,10.0.0.1,172.16.0.1,
			  192.168.1.1,169.254.169.254,168.63.129.16,100.64.0.1,198.18.0.1,224.0.0.1,255.255.255.255,
			  [::1],[::],[::127.0.0.1],[::ffff:127.0.0.1],[::ffff:7f00:1],[fe80::1],[fd00::1],[64:ff9b::7f00:1],
			  [2001:db8::1],[2002:7f00:1::],[ff02::1]}'::text[]) host;
SELECT pg_temp.write_url('https://[fe80::1%25eth0]/') AS scoped;

-- Variables only where they cannot lead elsewhere
SELECT url, pg_temp.write_url(url) AS result
FROM (VALUES
	('https:///{{event_type}}/hook'), ('https:/x{{platform}}'),
	('https://{{username}}.example.com/'), ('https://example.{{platform}}/'), ('https://example.com:{{amount}}/'),
	('https://{{message}}'), ('{{message}}'), ('{{platform}}://example.com/'), ('https:{{message}}'),
	('https://{{username}}@example.com/'), ('https://example.com{{message}}/'), ('https://{{no_such_variable}}.example.com/')
) v (url);

--
-- Every write is looked at, and what is wrong changes nothing
--
INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES (:user, 'hook', 'donation', 'webhook', '{"url": "https://example.com/hook"}');
UPDATE stream_hooks SET action_config = '{"url": "https://localhost/"}';
UPDATE stream_hooks SET trigger_type = 'raid', conditions = '{"min_amount": 1}';
UPDATE stream_hooks SET trigger_type = 'raid', conditions = '{"min_viewers": 1}', enabled = false;
SELECT trigger_type, conditions, action_config, enabled FROM stream_hooks;
INSERT INTO stream_hooks SELECT * FROM stream_hooks
ON CONFLICT (id) DO UPDATE SET cooldown_seconds = -5;

--
-- updated_at is kept, and last_triggered_at leaves it alone
--
CREATE FUNCTION pg_temp.update_hook(assignments text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	updated timestamptz;
BEGIN
	UPDATE stream_hooks SET updated_at = '2001-01-01 00:00+00';
	EXECUTE 'UPDATE stream_hooks SET ' || assignments || ' RETURNING updated_at' INTO updated;
	RETURN CASE updated WHEN now() THEN 'now' WHEN '2001-01-01 00:00+00' THEN 'as before'
						WHEN '2002-02-02 00:00+00' THEN 'as given' ELSE updated::text END;
END $$;
SELECT assignments, pg_temp.update_hook(assignments) AS updated_at
FROM (VALUES
	('name = ''other'''), ('enabled = true'), ('cooldown_seconds = 5'), ('conditions = NULL'),
	('last_triggered_at = now()'), ('last_triggered_at = NULL'), ('last_triggered_at = now(), name = ''third'''),
	('updated_at = ''2002-02-02 00:00+00'''), ('name = ''fourth'', updated_at = ''2002-02-02 00:00+00'''),
	('name = name'), ('user_id = user_id, last_triggered_at = ''infinity''')
) v (assignments);

-- A row that got in by another way can still note when it fired, and be mended.
SET session_replication_role = replica;
UPDATE stream_hooks SET action_config = '{"url": "http://10.0.0.1/"}', trigger_type = 'donation';
RESET session_replication_role;
UPDATE stream_hooks SET last_triggered_at = now();
UPDATE stream_hooks SET name = 'still wrong';
UPDATE stream_hooks SET action_config = '{"url": "https://example.com/"}', conditions = '{}';

-- Functions of triggers are for triggers.
SELECT hooks.check_hook();
CREATE TEMP TABLE elsewhere (id int);
CREATE TRIGGER elsewhere BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION hooks.check_hook();
INSERT INTO elsewhere VALUES (1);
CREATE TRIGGER event BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION hooks.on_event();
DROP TRIGGER elsewhere ON elsewhere;
INSERT INTO elsewhere VALUES (1);
DROP TABLE elsewhere;

--
-- Lifecycle events
--
SELECT hooks.trigger_lifecycle_event(NULL, 'stream_start');
SELECT hooks.trigger_lifecycle_event(:user, NULL);
SELECT hooks.trigger_lifecycle_event(:user, 'stream_started');
SELECT hooks.trigger_lifecycle_event(:user, '');
SELECT hooks.trigger_lifecycle_event(:user, 'Stream_start');
SELECT hooks.trigger_lifecycle_event('not a uuid', 'stream_start');
SELECT hooks.trigger_lifecycle_event(:user, 'stream_start', '[]');
SELECT hooks.trigger_lifecycle_event(:user, 'stream_start', '"Hello"');
SELECT hooks.trigger_lifecycle_event(:user, 'stream_start', 'null');

-- Good ones return an id each, whether a hook waits for them or not.
SELECT count(DISTINCT id) FROM (
	SELECT hooks.trigger_lifecycle_event(:user, t) AS id
	FROM unnest('{donation,follow,raid,subscription,stream_start,stream_end,chat_message}'::text[]) t
	UNION ALL SELECT hooks.trigger_lifecycle_event(:user, 'stream_start', '{"title": "Hello"}')
	UNION ALL SELECT hooks.trigger_lifecycle_event(:user, 'stream_end', NULL)
	UNION ALL SELECT hooks.trigger_lifecycle_event(:user, 'stream_end', '{}')) x;

SELECT hooks.wait_idle(NULL);
DELETE FROM stream_hooks;

-- e-mail: settings
CREATE FUNCTION pg_temp.mail(config jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	INSERT INTO public.stream_hooks (user_id, name, trigger_type, action_type, action_config)
	VALUES ('00000000-0000-4000-8000-000000000001', 'mail', 'follow', 'email', config);
	RETURN 'good';
EXCEPTION WHEN check_violation THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' / ', sqlerrm, nullif(hint, ''));
END $$;
SELECT pg_temp.mail('{}');
SELECT pg_temp.mail('{"to": "a@example.com"}');
SELECT pg_temp.mail('{"to": "a@example.com", "subject": "x"}');
SELECT pg_temp.mail('{"to": "a@example.com", "subject": "", "body": "x"}');
SELECT pg_temp.mail('{"to": "a@example.com", "subject": "x\ny", "body": "x"}');
SELECT pg_temp.mail('{"to": "a@example.com", "subject": "x", "body": 1}');
SELECT pg_temp.mail('{"to": "a@example.com", "subject": "x", "html": "{{username | nothing}}"}');
SELECT pg_temp.mail(jsonb_build_object('to', 'a@example.com', 'subject', 'x', 'body', repeat('x', 16385)));
SELECT pg_temp.mail('{"to": "a@example.com", "subject": "x", "body": "x", "reply_to": "{{username}}"}');
SELECT pg_temp.mail('{"to": [], "subject": "x", "body": "x"}'), pg_temp.mail('{"to": {}, "subject": "x", "body": "x"}'),
	pg_temp.mail('{"to": 1, "subject": "x", "body": "x"}'), pg_temp.mail('{"to": ["a@example.com", 1], "subject": "x", "body": "x"}') \gx
SELECT pg_temp.mail('{"to": ["a@example.com", "A@EXAMPLE.com"], "subject": "x", "body": "x"}');
SELECT n, pg_temp.mail(jsonb_build_object('to', (SELECT jsonb_agg(format('a%s@example.com', i)) FROM generate_series(1, n) AS i),
								  'subject', 'x', 'html', 'x'))
FROM (VALUES (1), (50), (51)) AS v (n);

-- e-mail: addresses
SELECT address, pg_temp.mail(jsonb_build_object('to', address, 'subject', 'x', 'body', 'x')) ~ '^good$' AS good
FROM (VALUES ('a@example.com'), ('a.b+c-d_e@mail.example.co'), ('o''hara!#$%&*/=?^`{|}~@example.com'), ('Ann <a@example.com>'),
	('  Ann B., Inc.  <a@example.com> '), ('"Ann, B." <a@example.com>'), (U&'Zo\00EB <a@example.com>'), ('<a@example.com>'),
	('a@xn--exmple-cua.com'),
	(''), ('a'), ('@example.com'), ('a@'), ('a@example'), ('a@localhost'), ('a@.example.com'), ('a@example..com'), ('a@example.com.'),
	('a@-example.com'), ('a@example-.com'), ('a@127.0.0.1'), ('a@[127.0.0.1]'), ('.a@example.com'), ('a.@example.com'), ('a..b@example.com'),
	('a b@example.com'), ('"a b"@example.com'), ('a(comment)@example.com'), ('@x.example,@y.example:a@example.com'),
	('a@example.com, b@example.com'), ('a@example.com; b@example.com'), ('a@b@example.com'), ('Ann <a@example.com> x'),
	('Ann <<a@example.com>>'), ('Ann "B" <a@example.com>'), ('Ann\ <a@example.com>'), (U&'\00E4@example.com'), (U&'a@ex\00E4mple.com'),
	(E'a@example.com\r\nBcc: b@example.com'), (E'a@example.com\n'), (E'Ann\r\nBcc: b@example.com <a@example.com>'), (E'Ann\t <a@example.com>'),
	(U&'Ann\2028 <a@example.com>'), (repeat('a', 64) || '@example.com'), (repeat('a', 65) || '@example.com'),
	('a@' || repeat('b', 63) || '.com'), ('a@' || repeat('b', 64) || '.com'), ('a@' || repeat('b.', 125) || 'com'),
	(repeat('n', 101) || ' <a@example.com>')) AS v (address);
DELETE FROM stream_hooks;
