--
-- Messages for Discord: what can be written, and what goes out
--
SET client_encoding = 'UTF8';
\set SHOW_CONTEXT never
\pset format unaligned
\pset fieldsep ' -> '
\pset tuples_only on

CREATE FUNCTION pg_temp.write_discord(settings jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
BEGIN
	INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	VALUES ('00000000-0000-4000-8000-000000000001', 'hook', 'donation', 'discord_message',
			jsonb '{"webhook_url": "https://discord.com/api/webhooks/1/abc", "template": "hi"}' || settings);
	DELETE FROM stream_hooks;
	RETURN 'accepted';
EXCEPTION WHEN check_violation THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n    ', message, nullif(hint, ''));
END $$;

-- What would go out: the body, or why there is none.
CREATE FUNCTION pg_temp.body(settings jsonb, event jsonb DEFAULT '{"username": "Ann", "message": "hi"}') RETURNS text
LANGUAGE sql AS $$
	SELECT coalesce(b.body, b.reason)
	FROM hooks.build('discord_message', jsonb '{"webhook_url": "https://discord.com/api/webhooks/1/abc"}' || settings,
					 NULL, 'hook', event || '{"type": "donation"}') AS b
$$;

--
-- Settings
--
SELECT settings, pg_temp.write_discord(settings)
FROM (VALUES
	('{"template": ""}'::jsonb), ('{"template": null}'), ('{"template": "", "embeds": [{"title": "x"}]}'),
	('{"template": null, "embeds": [{"title": "x"}]}'), ('{"template": "{{username | nofilter}}"}'),
	('{"username": "{{username}}"}'), ('{"username": ""}'), ('{"username": 5}'), ('{"username": "My Discord Bot"}'),
	('{"username": "CLYDE"}'), ('{"username": "Everyone"}'), ('{"username": "Here"}'), ('{"username": "Here we go"}'),
	('{"avatar_url": "https://example.com/a.png"}'), ('{"avatar_url": "http://example.com/a.png"}'), ('{"avatar_url": "example.com/a.png"}'),
	('{"avatar_url": "https://example.com/{{username}}.png"}'), ('{"avatar_url": "https://{{username}}/a.png"}'),
	('{"avatar_url": "{{data.avatar}}"}'), ('{"avatar_url": "https://"}'), ('{"avatar_url": "https:///a.png"}'), ('{"avatar_url": 5}'),
	('{"thread_id": "99"}'), ('{"thread_id": "{{username}}"}'), ('{"thread_id": ""}'), ('{"thread_id": 99}'),
	('{"thread_id": "123456789012345678901"}'), ('{"thread_id": "9&x=y"}'),
	('{"flags": 0}'), ('{"flags": 4}'), ('{"flags": 4096}'), ('{"flags": 4100}'), ('{"flags": 1}'), ('{"flags": 64}'), ('{"flags": 32768}'),
	('{"flags": "4"}'), ('{"flags": 4.5}'), ('{"flags": -4}'),
	('{"edit": "live"}'), ('{"edit": ""}'), ('{"edit": 5}'),
	('{"allowed_mentions": {}}'), ('{"allowed_mentions": {"parse": []}}'), ('{"allowed_mentions": {"parse": ["users", "roles", "everyone"]}}'),
	('{"allowed_mentions": {"users": ["1", "2"], "parse": ["roles"]}}'), ('{"allowed_mentions": {"users": ["1"], "parse": ["users"]}}'),
	('{"allowed_mentions": {"users": [], "parse": ["users"]}}'), ('{"allowed_mentions": {"roles": ["1"], "parse": ["roles"]}}'),
	('{"allowed_mentions": {"replied_user": true}}'), ('{"allowed_mentions": {"replied_user": "yes"}}'),
	('{"allowed_mentions": []}'), ('{"allowed_mentions": "none"}'), ('{"allowed_mentions": {"parse": "everyone"}}'),
	('{"allowed_mentions": {"parse": ["here"]}}'), ('{"allowed_mentions": {"parse": [5]}}'), ('{"allowed_mentions": {"users": [1]}}'),
	('{"allowed_mentions": {"users": ["{{username}}"]}}'), ('{"allowed_mentions": {"everyone": true}}'),
	('{"allowed_mentions": {"parse": null}}')
) AS v (settings);
SELECT length, pg_temp.write_discord(jsonb_build_object('edit', repeat('e', length))),
	pg_temp.write_discord(jsonb_build_object('username', repeat('ü', length + 20)))
FROM unnest('{60,61}'::int[]) AS length;
SELECT key, n, pg_temp.write_discord(jsonb_build_object('allowed_mentions', jsonb_build_object(key, (SELECT jsonb_agg(i::text) FROM generate_series(1, n) AS i))))
FROM unnest('{users,roles}'::text[]) AS key, unnest('{100,101}'::int[]) AS n;

--
-- Embeds
--
SELECT embeds, pg_temp.write_discord(jsonb_build_object('embeds', embeds))
FROM (VALUES
	('[]'::jsonb), ('{}'), ('"x"'), ('[5]'), ('[[]]'), ('[{}]'), ('[{"title": 5}]'), ('[{"titel": "x"}]'), ('[{"type": "rich"}]'),
	('[{"title": "{{username | nofilter}}"}]'),
	('[{"title": "x", "description": "x", "url": "https://example.com/", "color": 1, "timestamp": "{{event.inserted_at}}", "author": {"name": "x", "url": "https://example.com/", "icon_url": "https://example.com/"}, "footer": {"text": "x", "icon_url": "https://example.com/"}, "image": {"url": "https://example.com/"}, "thumbnail": {"url": "https://example.com/"}, "fields": [{"name": "x", "value": "x", "inline": true}]}]'),
	('[{"author": "x", "footer": "x", "image": "https://example.com/", "thumbnail": "http://example.com/"}]'),
	('[{"title": null, "author": null, "fields": null, "color": null, "footer": {"text": "x", "icon_url": null}}]'),
	('[{"author": 5}]'), ('[{"author": {"nam": "x"}}]'), ('[{"footer": {"name": "x"}}]'), ('[{"image": {"url": "x"}}]'), ('[{"image": {"url": 5}}]'),
	('[{"image": {"height": 5}}]'), ('[{"url": "javascript:alert(1)"}]'), ('[{"url": "https://exa mple.com/"}]'), ('[{"url": "https://{{username}}.example/"}]'),
	('[{"color": "#1DA1F2"}]'), ('[{"color": "blue"}]'), ('[{"color": 16777215}]'), ('[{"color": 16777216}]'), ('[{"color": -1}]'), ('[{"color": 1.5}]'), ('[{"color": "#12345"}]'),
	('[{"fields": {}}]'), ('[{"fields": ["x"]}]'), ('[{"fields": [{"name": "x"}]}]'), ('[{"fields": [{"value": "x"}]}]'),
	('[{"fields": [{"name": "x", "value": "x", "inline": 1}]}]'), ('[{"fields": [{"name": "x", "value": 5}]}]'), ('[{"fields": [{"name": "x", "value": "x", "line": true}]}]')
) AS v (embeds);
SELECT n, pg_temp.write_discord(jsonb_build_object('embeds', (SELECT jsonb_agg(jsonb '{"title": "x"}') FROM generate_series(1, n)))),
	pg_temp.write_discord(jsonb_build_object('embeds', jsonb_build_array(jsonb_build_object('fields',
		(SELECT jsonb_agg(jsonb '{"name": "x", "value": "y"}') FROM generate_series(1, n + 15))))))
FROM unnest('{10,11}'::int[]) AS n;

--
-- Bodies
--
SELECT settings, pg_temp.body(settings)
FROM (VALUES
	('{"template": "{{username}}: {{message}}"}'::jsonb),
	('{"template": "hi", "username": "{{username}}", "avatar_url": "https://example.com/{{username}}.png", "flags": 4096}'),
	('{"template": "hi", "thread_id": "99", "edit": "live"}'),
	('{"template": "hi", "allowed_mentions": {"users": ["1"]}}'), ('{"template": "hi", "allowed_mentions": {}}'),
	('{"template": "hi", "allowed_mentions": {"parse": ["everyone"]}}'),
	('{"embeds": [{"title": "{{username}}", "color": "#1DA1F2"}]}'),
	('{"template": "{{data.nothing}}", "embeds": [{"title": "{{data.nothing}}"}, {"description": "x"}]}'),
	('{"template": "{{data.nothing}}", "embeds": [{"title": "{{data.nothing}}", "color": 5, "url": "https://example.com/", "timestamp": "2026-07-01T12:00:00Z"}]}'),
	('{"embeds": [{"title": "x", "timestamp": "2026-07-01T12:00:00+02:00"}, {"title": "x", "timestamp": "{{username}}"}]}'),
	('{"embeds": [{"author": {"name": "{{data.nothing}}", "url": "https://example.com/"}, "footer": {"text": "f_f", "icon_url": "{{username}}"}, "image": "{{message}}"}]}'),
	('{"embeds": [{"fields": [{"name": "{{username}}", "value": "{{data.nothing}}"}, {"name": "{{username}}", "value": "{{message}}", "inline": true}, {"name": " ", "value": "x"}]}]}')
) AS v (settings);

-- Names that Discord refuses are left out.
SELECT name, pg_temp.body('{"template": "hi", "username": "{{username}}"}', jsonb_build_object('username', name))
FROM unnest(ARRAY['Ann', 'the_real_*Ann*', 'xDISCORDx', 'clyde', 'Everyone', 'here', 'here I am', ' ', E'a\nb']) AS name;

-- Pictures and links that an event names.
SELECT url, pg_temp.body('{"embeds": [{"title": "x", "url": "{{data.url}}", "image": "{{data.url}}"}]}', jsonb_build_object('url', url))
FROM unnest(ARRAY['https://example.com/a_b.png?x=1', 'http://example.com/', 'javascript:alert(1)', 'https://', 'https:///x', 'https://a b/', 'https://a/"', 'x', '']) AS url;

-- Limits, in characters.
SELECT key, length((pg_temp.body(jsonb_build_object('embeds', jsonb_build_array(jsonb_build_object(key, '{{message}}'))),
								 jsonb_build_object('message', repeat('👋', 9000)))::jsonb #>> ARRAY['embeds', '0', key])) AS length
FROM unnest('{title,description}'::text[]) AS key;
SELECT length(b -> 'embeds' -> 0 -> 'author' ->> 'name') AS author, length(b -> 'embeds' -> 0 -> 'footer' ->> 'text') AS footer,
	   length(b -> 'embeds' -> 0 -> 'fields' -> 0 ->> 'name') AS name, length(b -> 'embeds' -> 0 -> 'fields' -> 0 ->> 'value') AS value,
	   length(b ->> 'username') AS username, length(b ->> 'content') AS content
FROM (SELECT pg_temp.body('{"template": "{{message}}", "username": "{{message}}", "embeds": [{"author": "{{message}}", "footer": "{{message}}", "fields": [{"name": "{{message}}", "value": "{{message}}"}]}]}',
						  jsonb_build_object('message', repeat('ü', 9000)))::jsonb) AS v (b);
SELECT sum(length(e ->> 'description')) AS total, count(*) AS embeds
FROM jsonb_array_elements(pg_temp.body(jsonb_build_object('embeds', (SELECT jsonb_agg(jsonb '{"description": "{{message}}"}') FROM generate_series(1, 10))),
									   jsonb_build_object('message', repeat('x', 2500)))::jsonb -> 'embeds') AS e;

--
-- What viewers write is no markdown, but for what the hook says is
--
SELECT text, hooks.render('{{message}}', jsonb_build_object('message', text), 'discord')
FROM unnest(ARRAY[
	'hello', 'grüße 👋', '10:30 (soon) - #1 > 2', 'bob-smith', 'the_real_bob', '**bold**', '~~x~~', '||x||', '`x`', '```x```',
	'[x](http://evil.example)', '\[x](http://evil.example)', '\\[x](http://evil.example)', '<http://evil.example>', '<@1> <@&1> <#1> <t:1> <:x:1> </x:1>',
	'@everyone @here', '# x', '## x', '-# x', '- x', '> x', '>>> x', E'x\n# x', E'x\n- x', '#', '#tag', '-1', '+ x', '* x', 'x # x',
	'see https://example.com/a_b_c?d=e~f#g_h now_', 'https://example.com/*x*', 'http://', 'https://example.com/](http://evil.example)', '\', ''
]) AS text;
SELECT template, hooks.render(template, '{"username": "a_b c", "message": "x](http://evil.example) [y", "n": 2, "url": "https://example.com/a_b"}', 'discord')
FROM unnest(ARRAY[
	'**{{username}}** is live at https://example.com/{{username}}', 'https://example.com/{{username}}/{{username}} {{username}}', '[{{message}}](https://example.com/)',
	'[watch](https://example.com/{{username}})', '<https://example.com/{{username}}>', 'https://{{username}}', 'https://example.com/?a={{username | url}}&b={{username}}',
	'{{data.url}}', '{{username | discord}}', '{{username | markdown}}', '{{username | upper}}', '{{message | markdown | truncate:4}}', '{{data.n | plural:"*one*":"*many*"}}',
	'{{random:"*hi*"}}', '\{{message}}', '\\{{username}}', '\{{data.n}}', '> {{username}}', E'{{data.n}}\n{{username}}'
]) AS template;
SELECT text, replace(pg_temp.body('{"template": "@everyone {{message}} <{{message}}", "allowed_mentions": {"parse": ["everyone", "roles"]}}', jsonb_build_object('message', text)), U&'\200B', '^')
FROM unnest(ARRAY['@everyone', 'me@example.com', '@HERE', '<@1> <@&2>', '@', '@1', 'x@']) AS text;
