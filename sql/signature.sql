--
-- Signatures of webhooks: hooks.generate_secret(), hooks.sign(), and "secret" in action_config
--
-- What is sent with them is tested in test/t/005_signature.pl.
--
\set SHOW_CONTEXT never
\pset null '(null)'
\set secret '''whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'''
\set id '''msg_p5jXN8AQM9LWM0D4loKWxJek'''
\set user '''00000000-0000-4000-8000-000000000001'''

--
-- sign
--
-- the example of the specification
SELECT hooks.sign(:secret, :id, to_timestamp(1614265330), '{"test": 2432232314}');

-- HMAC by its definition, of SHA-256
CREATE FUNCTION pg_temp.pad(key bytea, with_byte int) RETURNS bytea
LANGUAGE sql AS $$
	SELECT string_agg(set_byte('\x00', 0, with_byte # CASE WHEN i < length(key) THEN get_byte(key, i) ELSE 0 END), '' ORDER BY i)
	FROM generate_series(0, 63) i
$$;
CREATE FUNCTION pg_temp.signature(key bytea, signed text) RETURNS text
LANGUAGE sql AS $$
	SELECT 'v1,' || encode(sha256(pg_temp.pad(key, 92) || sha256(pg_temp.pad(key, 54) || convert_to(signed, 'UTF8'))), 'base64')
$$;
SELECT length(key) AS bytes, b.n AS body,
	   hooks.sign('whsec_' || translate(encode(key, 'base64'), E'\n', ''), i.id, to_timestamp(i.seconds), b.body)
	   = pg_temp.signature(key, i.id || '.' || i.seconds || '.' || b.body) AS good
FROM (SELECT substr(sha512('a key'), 1, length) AS key FROM unnest('{24,25,26,32,63,64}'::int[]) length) k,
	 (VALUES (:id, 1614265330), ('', 0), ('a.b', -5), ('é', 4102444800)) i (id, seconds),
	 (VALUES (1, ''), (2, '{"test": 2432232314}'), (3, 'Grüße, 日本 🎉'), (4, E'a\nb'), (5, repeat('x', 100000))) b (n, body)
GROUP BY 1, 2, 3 ORDER BY 1, 2;

-- fractions of a second do not count
SELECT hooks.sign(:secret, :id, to_timestamp(1614265330.999999), '{"test": 2432232314}');
-- nothing of nothing
SELECT hooks.sign(NULL, :id, now(), '') AS secret, hooks.sign(:secret, NULL, now(), '') AS id,
	   hooks.sign(:secret, :id, NULL, '') AS at, hooks.sign(:secret, :id, now(), NULL) AS body;
SELECT hooks.sign('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', :id, now(), '');
\echo :LAST_ERROR_SQLSTATE
SELECT hooks.sign(:secret, :id, 'infinity', '');

--
-- generate_secret
--
SELECT bool_and(s ~ '^whsec_[A-Za-z0-9+/]{43}=$') AS good, bool_and(length(decode(substr(s, 7), 'base64')) = 32) AS bytes_32,
	   count(DISTINCT s) AS different, count(hooks.sign(s, :id, now(), '')) AS usable
FROM (SELECT hooks.generate_secret() AS s FROM generate_series(1, 1000)) g;

--
-- In a hook
--
-- Write a hook with a secret, and say what comes of it.
CREATE FUNCTION pg_temp.write_secret(secret jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
	at_fault text;
BEGIN
	INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	VALUES ('00000000-0000-4000-8000-000000000001', 'hook', 'donation', 'webhook',
			jsonb_build_object('url', 'https://example.com/hook', 'secret', secret));
	DELETE FROM stream_hooks;
	RETURN 'accepted';
EXCEPTION WHEN check_violation THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, at_fault = COLUMN_NAME;
	-- No piece of a secret that is not the hint's own example.
	IF EXISTS (SELECT FROM regexp_matches(secret::text, '[A-Za-z0-9+/_-]{8,}', 'g') AS m (piece)
			   WHERE position(piece[1] IN replace(concat_ws(' ', message, hint), 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', '')) > 0)
	THEN
		RETURN 'SHOWN: ' || message || hint;
	END IF;
	RETURN at_fault || ': ' || message;
END $$;
-- A secret of so many bytes.
CREATE FUNCTION pg_temp.secret(bytes int) RETURNS text
LANGUAGE sql AS $$
	SELECT 'whsec_' || translate(encode(substr(sha512('a key') || sha512('more'), 1, bytes), 'base64'), E'\n', '')
$$;

-- errors, as people see them
INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES (:user, 'hook', 'donation', 'webhook', '{"url": "https://example.com/hook", "secret": "my little secret"}');
INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES (:user, 'hook', 'donation', 'webhook', '{"url": "https://example.com/hook", "secret": {"key": "my little secret"}}');
INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES (:user, 'hook', 'donation', 'webhook', '{"url": "https://example.com/hook", "secret": []}');

-- lengths
SELECT bytes, pg_temp.write_secret(to_jsonb(pg_temp.secret(bytes))) AS result
FROM unnest('{0,1,22,23,24,25,26,32,63,64,65,66,100}'::int[]) bytes;
SELECT pg_temp.write_secret(to_jsonb('whsec_' || repeat('A', 100000))) AS long;

-- shapes
SELECT secret, pg_temp.write_secret(secret) AS result
FROM (VALUES
	('null'::jsonb), ('true'), ('5'), ('{}'), ('{"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}'), ('""'), ('[]'),
	('"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"'), ('["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]'),
	('[["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]]'), ('["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", null]'),
	('["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 5]'), ('["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"]'),
	('["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]'),
	('"whsec_"'), ('"whsec"'), ('"WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"'), ('" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"'),
	('"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"'), ('"whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"')
) v (secret);

-- base64, standard, with padding
SELECT what, pg_temp.write_secret(to_jsonb(secret)) AS result
FROM (VALUES
	('padded once', 'whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo='), ('padded twice', 'whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWQ=='),
	('padding missing', 'whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo'), ('half of it', 'whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWQ='),
	('too much of it', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw===='), ('within', 'whsec_QQ==REVGR0hJSktMTU5PUFFSU1RVVldYWVoA'),
	('between', 'whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWQ=A'), ('bits behind the end', 'whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVp='),
	('+ and /', 'whsec_++++////++++////++++////++++////'), ('- and _', 'whsec_----____----____----____----____'),
	('blank within', 'whsec_MfKQ9r8GKYqrTwjU PD8ILPZIo2LaLaSw'), ('blank behind', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw '),
	('newline behind', E'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n'), ('hexadecimal', 'whsec_0123456789abcdef0123456789abcdef0123456789abcdef'),
	('a character', 'whsec_M'), ('not ASCII', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaé'), ('a variable', 'whsec_{{username}}')
) v (what, secret);

-- lists
SELECT n, pg_temp.write_secret((SELECT jsonb_agg(pg_temp.secret(32)) FROM generate_series(1, n))) AS result
FROM unnest('{1,2,10,11,1000}'::int[]) n;
SELECT pg_temp.write_secret(jsonb_build_array(pg_temp.secret(32), pg_temp.secret(23))) AS result;

-- only webhooks have it
INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
VALUES (:user, 'hook', 'donation', 'email', '{"to": "a@example.com", "subject": "x", "body": "x", "secret": 5}');
DELETE FROM stream_hooks;

--
-- Rotation: the newest first, and then alone
--
INSERT INTO stream_hooks (id, user_id, name, trigger_type, action_type, action_config)
VALUES ('00000000-0000-4000-8000-00000000000a', :user, 'hook', 'donation', 'webhook',
		jsonb_build_object('url', 'https://example.com/hook', 'secret', :secret));
UPDATE stream_hooks SET action_config = jsonb_set(action_config, '{secret}', to_jsonb(hooks.generate_secret()) || (action_config -> 'secret'));
SELECT jsonb_array_length(action_config -> 'secret') AS secrets, action_config -> 'secret' ->> 1 = :secret AS old_is_second FROM stream_hooks;

-- What a preview shows of it
SELECT headers - 'webhook-timestamp' AS headers, position('whsec' IN p::text) AS shown
FROM hooks.preview('00000000-0000-4000-8000-00000000000a', '{"id": "00000000-0000-4000-8000-0000000000e1", "data": {}}'::jsonb) p;
UPDATE stream_hooks SET action_config = jsonb_set(action_config, '{method}', '"GET"');
SELECT headers - 'webhook-timestamp' AS headers, body
FROM hooks.preview('00000000-0000-4000-8000-00000000000a', '{"id": "00000000-0000-4000-8000-0000000000e1", "data": {}}'::jsonb);

UPDATE stream_hooks SET action_config = jsonb_set(action_config, '{secret}', action_config -> 'secret' -> 0);
SELECT jsonb_typeof(action_config -> 'secret') AS secret FROM stream_hooks;
SELECT hooks.lint(id) FROM stream_hooks;
UPDATE stream_hooks SET action_config = action_config - 'secret';
SELECT headers ? 'webhook-signature' AS signed
FROM hooks.preview('00000000-0000-4000-8000-00000000000a', '{"data": {}}'::jsonb);
DELETE FROM stream_hooks;

--
-- Who may
--
CREATE ROLE regress_signer;
SET ROLE regress_signer;
SELECT hooks.generate_secret() ~ '^whsec_' AS good;
SELECT hooks.sign(:secret, :id, now(), '');
RESET ROLE;
DROP ROLE regress_signer;
