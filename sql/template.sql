--
-- The template language: hooks.render(template, event, context)
--
SET client_encoding = 'UTF8';

-- Every variable, for every type's data
SELECT t AS template,
       hooks.render(t, '{"type": "donation", "platform": "youtube", "data": {"donor_name": "Ann", "amount": "10.00", "currency": "EUR", "message": "gg"}}') AS donation,
       hooks.render(t, '{"type": "raid", "platform": "twitch", "data": {"raider_name": "Bob", "viewer_count": "47"}}') AS raid,
       hooks.render(t, '{"type": "chat_message", "platform": "kick", "data": {"username": "cy", "message": "hi"}}') AS chat_message,
       hooks.render(t, '{"type": "stream_start", "platform": null, "data": {"livestream_id": "x"}}') AS stream_start
FROM unnest(ARRAY['{{username}}', '{{message}}', '{{amount}}', '{{currency}}', '{{viewer_count}}', '{{platform}}', '{{event_type}}']) t;

-- The event type, and events that say none
SELECT t AS type, hooks.render('<{{event_type}}>', jsonb_build_object('type', t))
FROM unnest('{donation,follow,raid,subscription,stream_start,stream_end,chat_message}'::text[]) t;
SELECT hooks.render('<{{event_type}}>', '{}') AS none,
       hooks.render('<{{event_type}}>', '{"type": null}') AS "null",
       hooks.render('<{{event_type}}>', '{"data": {"type": "raid"}}') AS in_data_only;
SELECT hooks.render('x', '{"type": "stream_updated"}');
SELECT hooks.render('x', '{"type": ""}');
SELECT hooks.render('x', '{"type": 5}');

-- What an event is: a row of the event table, or just the data
SELECT hooks.render('{{username}} on {{platform}}', '{"username": "a", "platform": "twitch"}') AS data,
       hooks.render('{{username}} on {{platform}}', '{"username": "a", "platform": "twitch", "data": {"username": "b", "platform": "kick"}}') AS "row",
       hooks.render('{{username}} on {{platform}}', '{"username": "a", "data": "x"}') AS data_is_no_object,
       hooks.render('<{{username}}>', '[{"username": "a"}]') AS array,
       hooks.render('<{{username}}>', '"a"') AS string,
       hooks.render('<{{username}}>', 'null') AS json_null;
SELECT hooks.render(NULL, '{}') IS NULL AS no_template, hooks.render('x', NULL) IS NULL AS no_event,
       hooks.render('x', '{}', NULL) IS NULL AS no_context;

-- The fields a variable tries: on to the next for missing, null and false only
SELECT e AS event, hooks.render('<{{username}}>', e) AS username
FROM (VALUES
  ('{"username": "u", "donor_name": "d", "raider_name": "r"}'::jsonb), ('{"donor_name": "d", "raider_name": "r"}'), ('{"raider_name": "r"}'),
  ('{"username": null, "donor_name": "d"}'), ('{"username": false, "donor_name": "d"}'), ('{"username": null, "donor_name": false, "raider_name": "r"}'),
  ('{"username": "", "donor_name": "d"}'), ('{"username": 0, "donor_name": "d"}'), ('{"username": {}, "donor_name": "d"}'),
  ('{"username": " ", "donor_name": "d"}'), ('{"username": "false", "donor_name": "d"}'), ('{"username": false}'), ('{}')
) v(e);
SELECT e AS event, hooks.render('<{{message}}>', e) AS message
FROM (VALUES ('{"message": "m", "comment": "c"}'::jsonb), ('{"comment": "c"}'), ('{"message": null, "comment": "c"}'),
             ('{"message": false, "comment": "c"}'), ('{"message": "", "comment": "c"}'), ('{"message": null, "comment": null}'), ('{}')) v(e);

-- Values that are not strings
SELECT v AS amount, hooks.render('<{{amount}}>', jsonb_build_object('amount', v)) AS text,
       hooks.render('"<{{amount}}>"', jsonb_build_object('amount', v), 'json') AS in_json_string,
       hooks.render('{{amount}}', jsonb_build_object('amount', v), 'json') AS in_json,
       hooks.render('?{{amount}}', jsonb_build_object('amount', v), 'url') AS url
FROM (VALUES ('"10.00"'::jsonb), ('""'), ('10.00'), ('10'), ('-0.5'), ('1e3'), ('1.5e-7'), ('12345678901234567890.10'),
             ('true'), ('false'), ('null'), ('{}'), ('{"a": [1, "b"]}'), ('[]'), ('["a"]')) v(v);

--
-- Braces
--
SELECT t AS template, hooks.render(t, '{"username": "Ann", "message": "{{amount}}", "amount": "5", "currency": "{{"}') AS rendered
FROM (VALUES
  (1, '{{{username}}}'), (2, '{{{{username}}}}'), (3, '{{username}}{{username}}'), (4, '{{username}} }}'), (5, '{{ {{username}}'),
  (6, '{{ username }}'), (7, '{{username }}'), (8, '{{ username}}'), (9, '{username}'), (10, '{{username}'), (11, '{{username'), (12, 'username}}'),
  (13, '{{}}'), (14, '{{Username}}'), (15, '{{user-name}}'), (16, '{{user.name}}'), (18, '{{unknown}}'), (19, '{{tier}}'),
  (20, '{{unknown}} {{username}}'), (21, '{{user{{username}}name}}'), (22, '{{username}}}'), (23, '{{{username}}'), (24, '{ {username}}'),
  (25, '{'), (26, '{{'), (27, '}}'), (28, ''), (29, 'no variables'), (30, '{{üsername}}'), (31, 'é{{username}}é'),
  (32, '{{usernam}}'), (33, '{{usernamee}}'), (34, '{{username_}}'), (35, '{{1}}'), (36, '{{_}}'),
  -- what replaces a variable is not scanned again
  (37, '{{message}}'), (38, '{{{message}}}'), (39, '{{currency}}username}}'), (40, '{{currency}}{{username}}}}')
) v(n, t) ORDER BY n;
SELECT hooks.render(repeat('{{username}}', 1000), '{"username": "ab"}') = repeat('ab', 1000) AS many,
       hooks.render(repeat('{', 16000), '{}') = repeat('{', 16000) AS open_braces,
       hooks.render(repeat('{{', 8000) || '{{username}}', '{"username": "ab"}') = repeat('{{', 8000) || 'ab' AS almost,
       length(hooks.render('{{message}}', jsonb_build_object('message', repeat('x', 100000)))) AS long_value,
       length(hooks.render('{{amount}}', '{"amount": 1e131000}')) AS long_number;

--
-- In JSON
--
SELECT hooks.render(t, '{"username": "Ann \"the\" \\ one", "amount": "10.00", "message": ""}', 'json') AS rendered
FROM (VALUES
  -- inside a string literal: escaped
  (1, '{"text": "{{username}}"}'), (2, '{"text": "<{{username}}> gave {{amount}}"}'), (3, '["{{username}}", "{{message}}"]'),
  -- outside: a number stands, anything else becomes a string
  (4, '{"amount": {{amount}}}'), (5, '{"name": {{username}}}'), (6, '{"message": {{message}}}'), (7, '[{{amount}}, {{username}}]'), (8, '{{username}}'),
  -- quotes and backslashes of the template
  (9, '{"a\"b": "{{username}}"}'), (10, '{"a\\": {{username}}}'), (11, '{"a\\\"": "{{username}}"}'), (12, '["\\{{username}}"]'), (13, '["\{{username}}"]'),
  (14, '["\\\{{username}}"]'), (15, '["\"{{username}}\""]'),
  -- unknown variables stay
  (16, '{"a": "{{unknown}}"}'), (17, '{"a": {{unknown}}}')
) v(n, t) ORDER BY n;

-- which texts are numbers
SELECT v AS value, hooks.render('{{amount}}', jsonb_build_object('amount', v), 'json') AS rendered
FROM unnest(ARRAY['0', '-0', '10', '10.00', '-1.5', '1e3', '1E+3', '1e-3', '1e400', '12345678901234567890123',
                  '', '-', '+5', '.5', '5.', '007', '-01', '0x10', '1,000', '1_000', '1e', '1e+', ' 5', '5 ', '5 EUR', '5,6', '5]', '--5',
                  'NaN', 'Infinity', 'true', 'null', '٥', '5"']) v;

-- whatever a viewer is called, the body parses and has the keys of its template
CREATE TEMPORARY TABLE hostile AS
SELECT row_number() OVER () AS n, name
FROM unnest(ARRAY[
  '"}, "x": "', '", "admin": true, "y": "', '\', '\\', '\"', '\\"', '"', '\u0022', '\u0022, "x": "', '{{amount}}', '{{username}}', '{{{message}}}', '}}', '{{',
  E'\n', E'\r\n', E'\t', E'\x01\x02\x1f', E'\x7f', E'\b\f\x0b', U&'\2028\2029', U&'\FEFF', U&'\202E' || 'txt', U&'\0085', U&'\+01F389', 'null', 'true', '5', '-', '[', ']',
  '{}', '', ' ', '''', '</script>', '//', '/* ', '%s%n', '$1', '\1', '5, "x": 1', '1 }', '1e', 'Zürich', '日本']) name;
SELECT n, to_jsonb(name) AS name, rendered
FROM (SELECT n, name, hooks.render('{"name": "{{username}}", "say": "hi {{username}}!", "raw": {{username}}, "list": [{{username}}], "slash": "\{{username}}", "amount": {{amount}}}',
                                   jsonb_build_object('username', name, 'amount', '5.00'), 'json')::jsonb AS rendered
      FROM hostile) r
WHERE (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(rendered) k) IS DISTINCT FROM '{amount,list,name,raw,say,slash}'
   OR rendered ->> 'name' IS DISTINCT FROM name
   OR rendered ->> 'say' IS DISTINCT FROM 'hi ' || name || '!'
   OR rendered ->> 'raw' IS DISTINCT FROM name
   OR jsonb_array_length(rendered -> 'list') <> 1
   OR rendered ->> 'slash' IS DISTINCT FROM '\' || name
   OR rendered ->> 'amount' IS DISTINCT FROM '5.00';
SELECT n, hooks.render('"{{username}}"', jsonb_build_object('username', name), 'json') AS rendered
FROM hostile WHERE n <= 20 ORDER BY n;

-- the same for random names in templates that are JSON
WITH names AS (
  SELECT (SELECT string_agg((ARRAY['"', '\', '{', '}', '[', ']', ',', ':', 'u', '0', '1', '-', '.', 'e', 'n', E'\n', E'\x1f', 'é', '{{amount}}', ' '])[1 + floor(random() * 20)::int], '')
          FROM generate_series(1, 1 + i % 12)) AS name
  FROM generate_series(1, 3000) i)
SELECT count(*) AS names,
       count(*) FILTER (WHERE r -> 'a' ->> 'name' = name AND r -> 'a' ->> 0 IS NULL AND r ->> 'b' = '\' || name AND r -> 'c' ->> 0 = name
                          AND (SELECT count(*) FROM json_object_keys(r)) = 3) AS kept
FROM names, LATERAL (SELECT hooks.render('{"a": {"name": "{{username}}"}, "b": "\\{{username}}", "c": [{{username}}]}',
                                         jsonb_build_object('username', name), 'json')::json AS r) r;

--
-- In a URL: all but RFC 3986's unreserved characters
--
SELECT hooks.render('https://example.org/{{username}}?m={{message}}&a={{amount}}',
                    '{"username": "../a b", "message": "x&y=#1+%", "amount": 5}', 'url') AS url;
SELECT hooks.render('{{message}}', jsonb_build_object('message', string_agg(chr(c), '' ORDER BY c)), 'url') AS ascii
FROM generate_series(1, 127) c;
SELECT hooks.render('{{message}}', '{"message": "Zürich 日本 🎉\u2028"}', 'url') AS unicode,
       hooks.render('ü {{unknown}}', '{}', 'url') AS literal_text_stays;

SELECT hooks.render('x', '{}', 'html');

-- A template cannot make much of little.
SELECT length(hooks.render(repeat('{{message}}', 30), jsonb_build_object('message', repeat('x', 30000))));
SELECT length(hooks.render(repeat('{{message}}', 1600), jsonb_build_object('message', repeat('x', 30000))));

-- A variable in a key would let a viewer choose it
SELECT hooks.render('{"{{username}}": 1}', '{"username": "Ann"}', 'json');
SELECT hooks.render('{"a": [1, {"b": "{{username}}", "c {{username}}": 2}]}', '{"username": "Ann"}', 'json');
