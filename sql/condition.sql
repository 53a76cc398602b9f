--
-- The condition language: hooks.matches(trigger_type, conditions, event)
--
SET client_encoding = 'UTF8';

-- Nothing to satisfy
SELECT hooks.matches('donation', NULL, '{"amount": "5"}') AS no_conditions,
       hooks.matches('donation', '{}', '{"amount": "5"}') AS empty_conditions,
       hooks.matches('donation', '{"min_amount": null, "currency": null}', '{}') AS null_values,
       hooks.matches('donation', '{"no_such_key": null}', '{}') AS unknown_null_key,
       hooks.matches('donation', NULL, NULL) AS no_event;

-- Every trigger type is known
SELECT t AS trigger_type, hooks.matches(t, '{}', '{}')
FROM unnest('{donation,follow,raid,subscription,stream_start,stream_end,chat_message}'::text[]) t;

--
-- num(x): what an event's value counts as.  "is" holds when the value satisfies
-- a minimum of exactly that number and none that is a hair above it.
--
CREATE FUNCTION pg_temp.num_is(x jsonb, n numeric) RETURNS boolean
LANGUAGE sql AS $$
  SELECT hooks.matches('donation', jsonb_build_object('min_amount', n), e)
     AND NOT hooks.matches('donation', jsonb_build_object('min_amount', n + 1e-40), e)
  FROM (VALUES (jsonb_build_object('amount', x))) v(e)
$$;
CREATE FUNCTION pg_temp.num_is_none(x jsonb) RETURNS boolean
LANGUAGE sql AS $$
  SELECT NOT hooks.matches('donation', '{"min_amount": -1e300}', jsonb_build_object('amount', x))
$$;

SELECT x AS value, n AS num, pg_temp.num_is(x, n) AS "is"
FROM (VALUES
  -- a JSON number is itself
  ('5'::jsonb, 5::numeric), ('5.00', 5), ('-5', -5), ('0', 0), ('-0.0', 0),
  ('1e3', 1000), ('1.5e-3', 0.0015), ('123456789012345678901234567890.123456789', 123456789012345678901234567890.123456789),
  -- a string by its prefix
  ('"5"', 5), ('"10.00"', 10), ('"10.50abc"', 10.5), ('"1,000"', 1), ('"1e3"', 1000), ('"1E3"', 1000),
  ('"1e+3"', 1000), ('"1e-3"', 0.001), ('"+5"', 5), ('"-5"', -5), ('"5."', 5), ('"5.e3"', 5), ('"5.."', 5),
  ('"5.5.5"', 5.5), ('"1e"', 1), ('"1e+"', 1), ('"1e-x"', 1), ('"1ee3"', 1), ('"1e3.5"', 1000), ('"1e1e1"', 10),
  ('"5 "', 5), ('"5 EUR"', 5), ('"5€"', 5), ('"5\n"', 5), ('"1_000"', 1), ('"0x1F"', 0), ('"00012.50"', 12.5),
  ('"-0"', 0), ('"+0.000"', 0), ('"0e999999999999999999999"', 0), ('"1.e"', 1), ('"5-3"', 5)
) v(x, n);

SELECT x AS value, pg_temp.num_is_none(x) AS "is none"
FROM (VALUES
  ('""'::jsonb), ('" 10"'), ('"\t10"'), ('".5"'), ('"-.5"'), ('"$5"'), ('"€5"'), ('"abc"'), ('"+"'), ('"-"'),
  ('"+-5"'), ('"--5"'), ('"+ 5"'), ('"e5"'), ('"."'), ('"NaN"'), ('"Infinity"'), ('"-Infinity"'), ('"inf"'),
  ('"٥"'), ('"５"'), ('null'), ('true'), ('false'), ('{}'), ('{"amount": 5}'), ('[]'), ('[5]')
) v(x);
SELECT hooks.matches('donation', '{"min_amount": -1e300}', '{}') AS missing,
       hooks.matches('donation', '{"min_amount": -1e300}', '[]') AS event_is_array,
       hooks.matches('donation', '{"min_amount": -1e300}', '5') AS event_is_number,
       hooks.matches('donation', '{"min_amount": -1e300}', 'null') AS event_is_json_null,
       hooks.matches('donation', '{"min_amount": -1e300}', NULL) AS event_is_null;

--
-- min_amount: inclusive and exact
--
SELECT minimum, amount, hooks.matches('donation', jsonb_build_object('min_amount', minimum),
                                      jsonb_build_object('amount', amount)) AS matches, expected
FROM (VALUES
  ('5'::jsonb, '"5"'::jsonb, true), ('5', '"4.99"', false), ('5', '"5.00"', true), ('5', '"5.01"', true),
  ('5', '5', true), ('5', '4.999999999999999999999999999999', false), ('"5"', '"5.00"', true), ('"5.00"', '"5"', true),
  ('"5.00"', '"4.999"', false), ('"+5"', '"5"', true), ('"1e1"', '"10"', true), ('"1e1"', '"9.99"', false),
  ('0.3', '"0.3"', true), ('0.3', '"0.30000000000000004"', true), ('0.30000000000000004', '"0.3"', false),
  ('0.1', '"0.1000000000000000055511151231257827"', true), ('0.1000000000000000055511151231257827', '"0.1"', false),
  ('9007199254740993', '"9007199254740992"', false), ('9007199254740993', '"9007199254740993"', true),
  ('0', '"0"', true), ('0', '"-0"', true), ('0', '"-0.01"', false), ('-5', '"-5"', true), ('-5', '"-5.01"', false),
  ('-5', '"-4.99"', true), ('-5', '"-0.5"', true), ('-0.5', '"-5"', false), ('-5', '"3"', true), ('5', '"-7"', false),
  ('99', '"100"', true), ('100', '"99"', false), ('10.5', '"10.45"', false), ('10.45', '"10.5"', true),
  ('1000', '"1e3"', true), ('1000', '"999.999e0"', false), ('1000', '"0.001e6"', true), ('1000', '"1,000"', false)
) v(minimum, amount, expected);

-- numbers that no float and no numeric holds
SELECT minimum, amount, hooks.matches('donation', jsonb_build_object('min_amount', minimum),
                                      jsonb_build_object('amount', amount)) AS matches, expected
FROM (VALUES
  ('"1e400"', '"1e400"', true), ('"1e400"', '"1e399"', false), ('"1e400"', '"10e399"', true),
  ('"1e999999999"', '"1e999999998"', false), ('"1e999999998"', '"1e999999999"', true),
  ('"1e999999999"', '"1e99999999999999999999999999"', true), ('"1e-400"', '"1e-401"', false),
  ('"1e-400"', '"0"', false), ('"1e-99999999999"', '"1e-99999999998"', true), ('"1e-99999999998"', '"1e-99999999999"', false),
  ('"0"', '"1e-99999999999999999999999999"', true), ('"0"', '"-1e-99999999999999999999999999"', false),
  ('"-1e99999999999999999999999999"', '"-1e400"', true), ('"-1e400"', '"-1e99999999999999999999999999"', false),
  ('5', '"NaN"', false), ('-5', '"-Infinity"', false)
) v(m, a, expected), LATERAL (SELECT m::jsonb AS minimum, a::jsonb AS amount) j;
SELECT hooks.matches('donation', '{"min_amount": 1e131000}', '{"amount": 1e131000}') AS equal,
       hooks.matches('donation', '{"min_amount": 1e131000}', '{"amount": 9.99e130999}') AS less,
       hooks.matches('donation', '{"min_amount": 1e-16000}', '{"amount": 1e-16000}') AS equal_small,
       hooks.matches('donation', '{"min_amount": 1e-16000}', '{"amount": 9.99e-16001}') AS less_small;
SELECT hooks.matches('donation', c, jsonb_build_object('amount', '1' || repeat('0', 30000))) AS long_integer,
       hooks.matches('donation', c, jsonb_build_object('amount', '0.' || repeat('0', 30000) || '1')) AS long_fraction,
       hooks.matches('donation', c, jsonb_build_object('amount', repeat('0', 30000) || '2')) AS long_zeros,
       hooks.matches('donation', c, jsonb_build_object('amount', '0.' || repeat('9', 30000))) AS just_below
FROM (VALUES ('{"min_amount": 1}'::jsonb)) v(c);

-- the same order as numeric's
WITH random_pairs AS (
  SELECT (CASE WHEN random() < 0.5 THEN '-' ELSE '' END)
         || repeat('0', (random() * 3)::int) || (random() * 10 ^ (random() * 6)::int)::bigint
         || CASE WHEN random() < 0.6 THEN '.' || lpad((random() * 99)::int::text, 1 + (random() * 4)::int, '0') ELSE '' END
         || CASE WHEN random() < 0.4 THEN 'e' || (random() * 8 - 4)::int ELSE '' END AS a,
         i
  FROM generate_series(1, 4000) i)
SELECT count(*) AS pairs,
       count(*) FILTER (WHERE hooks.matches('donation', jsonb_build_object('min_amount', m.a), jsonb_build_object('amount', x.a))
                              <> (x.a::numeric >= m.a::numeric)) AS texts_wrong,
       count(*) FILTER (WHERE hooks.matches('donation', jsonb_build_object('min_amount', m.a::numeric), jsonb_build_object('amount', x.a::numeric))
                              <> (x.a::numeric >= m.a::numeric)) AS numbers_wrong
FROM random_pairs m JOIN random_pairs x ON x.i % 2000 = m.i % 2000;

--
-- currency: equal, exact, case-sensitive
--
SELECT currency, value, hooks.matches('donation', jsonb_build_object('currency', currency),
                                      jsonb_build_object('currency', value)) AS matches
FROM (VALUES
  ('"EUR"'::jsonb, '"EUR"'::jsonb), ('"EUR"', '"eur"'), ('"EUR"', '"EURO"'), ('"EUR"', '"EU"'), ('"EUR"', '" EUR"'),
  ('"EUR"', '""'), ('""', '""'), ('"EUR"', 'null'), ('"1"', '1'), ('"true"', 'true'), ('"€"', '"€"'), ('"é"', '"é"')
) v(currency, value);
SELECT hooks.matches('donation', '{"currency": "EUR"}', '{}') AS missing,
       hooks.matches('donation', '{"currency": ""}', '{}') AS missing_is_not_empty;

--
-- contains: case-insensitive for all of Unicode, whatever the locale
-- (unaligned, because psql's idea of a character's width changes)
--
\pset format unaligned
SELECT needle, message, hooks.matches('chat_message', jsonb_build_object('contains', needle),
                                      jsonb_build_object('message', message)) AS matches, expected
FROM (VALUES
  -- ASCII
  ('hello', 'well, HeLLo there', true), ('HELLO', 'hello', true), ('hello', 'hell o', false), ('hello', 'hell', false),
  ('hello', 'hellhello', true), ('aab', 'aaab', true), ('abab', 'abaabab', true), ('abcabd', 'abcabcabd', true),
  ('aaa', 'aa', false), ('x', '', false), (' ', 'a b', true), ('!', 'hey!', true), ('[', '{', false), ('@', '`', false),
  ('%', 'abc', false), ('_', 'abc', false), ('a.c', 'abc', false), ('\', 'a\b', true), ('end', 'the END', true),
  -- "" passes
  ('', 'anything', true), ('', '', true),
  -- beyond ASCII
  ('é', 'CAFÉ', true), ('ÄÖÜ', 'äöü', true), ('привет', 'ПРИВЕТ, МИР', true), ('Ё', 'ё', true), ('Е', 'Ё', false),
  ('ԱՐԵՎ', 'արեվ', true), ('ა', 'Ა', true), ('Ꭰ', 'ꭰ', true), ('𐐀', '𐐨', true), ('日本', '「日本」', true),
  ('ñ', 'n', false), ('n', 'ñ', false),
  -- the three sigmas are one, Ohm is omega and micro is mu
  ('ΟΔΟΣ', 'οδος', true), ('οδοσ', 'ΟΔΟΣ', true), ('ς', 'Σ', true), ('σ', 'ς', true),
  (U&'\2126', U&'\03C9', true), (U&'\00B5', U&'\039C', true),
  -- the sharp s has a capital and is not ss, nor are ligatures their letters
  ('ß', 'STRAẞE', true), ('straße', 'STRAẞE', true), ('ß', 'ss', false), ('SS', 'ß', false), (U&'\FB01', 'FI', false),
  -- Turkish: the dotted capital and the dotless small i are letters of their own
  ('i', 'I', true), ('I', 'i', true), ('i', 'İ', false), ('İ', 'i', false), ('I', 'ı', false), ('ı', 'I', false),
  ('İ', 'İSTANBUL', true), ('ı', 'ılık', true), ('istanbul', 'ISTANBUL', true), ('stanbul', 'İSTANBUL', true),
  -- Kelvin and the long s are the letters beyond ASCII that fold into it
  ('kelvin', U&'\212Aelvin', true), (U&'\212A', 'k', true), ('mist', U&'mi\017Ft', true), (U&'\017F', 'S', true),
  ('k', U&'\2139', false), ('s', U&'\0180', false),
  -- titlecase digraphs, letters whose pair is in another block or of another length
  (U&'\01C6', U&'\01C5', true), (U&'\01C6', U&'\01C4', true), (U&'\1FB3', U&'\1FBC', true),
  (U&'\2C6F', U&'\0250', true), (U&'\212B', U&'\00E5', true),
  -- emoji and what they are made of
  ('🎉', 'gg 🎉🎉', true), ('🎉', '🎊', false), ('👍', '👍🏽', true), ('👍🏽', '👍', false), ('👩‍💻', 'a 👩‍💻 b', true),
  ('😀', '😁😁😀', true),
  -- no normalisation
  (U&'\00e9', U&'e\0301', false), (U&'e\0301', U&'E\0301', true)
) v(needle, message, expected);
\pset format aligned
SELECT hooks.matches('chat_message', '{"contains": ""}', '{}') AS empty_missing,
       hooks.matches('chat_message', '{"contains": ""}', '{"message": null}') AS empty_null,
       hooks.matches('chat_message', '{"contains": "x"}', '{}') AS missing,
       hooks.matches('chat_message', '{"contains": "x"}', '{"message": null}') AS "null",
       hooks.matches('chat_message', '{"contains": "5"}', '{"message": 5}') AS number,
       hooks.matches('chat_message', '{"contains": ""}', '{"message": 5}') AS empty_number,
       hooks.matches('chat_message', '{"contains": "x"}', '{"message": ["x"]}') AS array;
SELECT hooks.matches('chat_message', '{"contains": "a\u0001b"}', '{"message": "A\u0001B"}') AS control,
       hooks.matches('chat_message', '{"contains": "\u2028"}', '{"message": "x\u2028y"}') AS line_separator,
       hooks.matches('chat_message', '{"contains": "\""}', '{"message": "say \"hi\""}') AS quote;

-- linear, whatever the needle: these take milliseconds
SELECT hooks.matches('chat_message', jsonb_build_object('contains', repeat('a', 7000) || 'b'),
                     jsonb_build_object('message', repeat('a', 1000000))) AS absent,
       hooks.matches('chat_message', jsonb_build_object('contains', repeat('я', 3000) || 'b'),
                     jsonb_build_object('message', repeat('Я', 500000) || 'B')) AS present;

-- every place of the message, every length of the needle
SELECT count(*) AS cases,
       count(*) FILTER (WHERE NOT hooks.matches('chat_message', jsonb_build_object('contains', upper(substr(m, f, n) COLLATE "C")),
                                                jsonb_build_object('message', m))) AS wrong
FROM (VALUES ('abababcabab aabaaab'), ('mississippi sis')) v(m),
     generate_series(1, length(m)) f, generate_series(1, length(m) - f + 1) n;
SELECT count(*) FILTER (WHERE hooks.matches('chat_message', jsonb_build_object('contains', n), jsonb_build_object('message', m))
                              <> (strpos(m, n) > 0)) AS wrong
FROM (SELECT (SELECT string_agg(substr('abсé', 1 + (random() * 3)::int, 1), '') FROM generate_series(1, 12 + i % 2)) AS m,
             (SELECT string_agg(substr('abсé', 1 + (random() * 3)::int, 1), '') FROM generate_series(1, 1 + i % 4)) AS n
      FROM generate_series(1, 3000) i) r;

--
-- is_moderator: true asks for exactly true, false for nothing
--
SELECT value, hooks.matches('chat_message', '{"is_moderator": true}', jsonb_build_object('is_moderator', value)) AS "true",
       hooks.matches('chat_message', '{"is_moderator": false}', jsonb_build_object('is_moderator', value)) AS "false"
FROM (VALUES ('true'::jsonb), ('false'), ('null'), ('"true"'), ('1'), ('{}'), ('[true]')) v(value);
SELECT hooks.matches('chat_message', '{"is_moderator": true}', '{}') AS "true",
       hooks.matches('chat_message', '{"is_moderator": false}', '{}') AS "false";

--
-- min_viewers
--
SELECT minimum, viewers, hooks.matches('raid', jsonb_build_object('min_viewers', minimum),
                                       jsonb_build_object('viewer_count', viewers)) AS matches
FROM (VALUES ('10'::jsonb, '"10"'::jsonb), ('10', '"9"'), ('10', '"47"'), ('10', '10'), ('10', '9.5'), ('"10"', '"10"'),
             ('10', '"1,000"'), ('10', 'null'), ('0', '"0"'), ('0', '"many"')) v(minimum, viewers);
SELECT hooks.matches('raid', '{"min_viewers": 0}', '{}') AS missing;

--
-- All keys are ANDed
--
SELECT e AS event, hooks.matches('donation', '{"min_amount": 5, "currency": "EUR"}', e) AS both,
       hooks.matches('donation', '{"min_amount": "5", "currency": null}', e) AS amount_only
FROM (VALUES ('{"amount": "5", "currency": "EUR"}'::jsonb), ('{"amount": "4", "currency": "EUR"}'),
             ('{"amount": "5", "currency": "USD"}'), ('{"currency": "EUR"}'), ('{"amount": "5"}'), ('{}')) v(e);

--
-- An event is a row of the event table, or just its data
--
SELECT hooks.matches('donation', '{"min_amount": 5}', '{"id": "x", "type": "raid", "data": {"amount": "5"}}') AS "row",
       hooks.matches('donation', '{"min_amount": 5}', '{"amount": "5", "data": {"amount": "1"}}') AS row_wins,
       hooks.matches('donation', '{"min_amount": 5}', '{"amount": "5", "data": "x"}') AS data_is_no_object,
       hooks.matches('donation', '{"min_amount": 5}', '{"amount": "5", "data": null}') AS data_is_null,
       hooks.matches('donation', '{"min_amount": 5}', '{"data": {"data": {"amount": "5"}}}') AS one_level_only;

--
-- Mistakes
--
SELECT hooks.matches('donations', '{}', '{}');
SELECT hooks.matches('', '{}', '{}');
SELECT hooks.matches(NULL, '{}', '{}');

SELECT hooks.matches('donation', '{"min_amout": 5}', '{}');
SELECT hooks.matches('donation', '{"minAmount": 5}', '{}');
SELECT hooks.matches('donation', '{"Currency": "EUR"}', '{}');
SELECT hooks.matches('chat_message', '{"contain": "x"}', '{}');
SELECT hooks.matches('chat_message', '{"is_mod": true}', '{}');
SELECT hooks.matches('raid', '{"min_viewer": 5}', '{}');
SELECT hooks.matches('donation', '{"": 5}', '{}');
SELECT hooks.matches('donation', '{"$or": []}', '{}');
SELECT hooks.matches('donation', jsonb_build_object(repeat('min_amount', 100), 5), '{}');
SELECT hooks.matches('donation', jsonb_build_object(repeat('ж', 30), 5), '{}');
SELECT hooks.matches('donation', '{"a\nb\u007f": 5}', '{}');

SELECT hooks.matches('donation', '{"contains": "x"}', '{}');
SELECT hooks.matches('raid', '{"min_amount": 5}', '{}');
SELECT hooks.matches('follow', '{"min_amount": 5}', '{}');
SELECT hooks.matches('subscription', '{"tier": "1"}', '{}');

SELECT hooks.matches('donation', '{"min_amount": true}', '{}');
SELECT hooks.matches('donation', '{"min_amount": ""}', '{}');
SELECT hooks.matches('donation', '{"min_amount": "five"}', '{}');
SELECT hooks.matches('donation', '{"min_amount": "5 EUR"}', '{}');
SELECT hooks.matches('donation', '{"min_amount": "1,000"}', '{}');
SELECT hooks.matches('donation', '{"min_amount": " 5"}', '{}');
SELECT hooks.matches('donation', '{"min_amount": "NaN"}', '{}');
SELECT hooks.matches('donation', '{"min_amount": [5]}', '{}');
SELECT hooks.matches('donation', '{"min_amount": {"$gte": 5}}', '{}');
SELECT hooks.matches('donation', '{"currency": 5}', '{}');
SELECT hooks.matches('donation', '{"currency": ["EUR", "USD"]}', '{}');
SELECT hooks.matches('chat_message', '{"contains": 5}', '{}');
SELECT hooks.matches('chat_message', '{"contains": false}', '{}');
SELECT hooks.matches('chat_message', '{"is_moderator": "true"}', '{}');
SELECT hooks.matches('chat_message', '{"is_moderator": 1}', '{}');
SELECT hooks.matches('raid', '{"min_viewers": "many"}', '{}');

SELECT hooks.matches('donation', '[]', '{}');
SELECT hooks.matches('donation', '[{"min_amount": 5}]', '{}');
SELECT hooks.matches('chat_message', '"min_amount"', '{}');
SELECT hooks.matches('follow', 'null', '{}');
SELECT hooks.matches('raid', '5', '{}');
SELECT hooks.matches('raid', 'true', '{}');

-- the largest and the deepest
SELECT hooks.matches('chat_message', jsonb_build_object('contains', repeat('x', 8160)), '{}');
SELECT hooks.matches('chat_message', jsonb_build_object('contains', repeat('x', 8192)), '{}');
SELECT hooks.matches('chat_message', '{"contains": [[[[[[[]]]]]]]}', '{}');
SELECT hooks.matches('chat_message', '{"contains": [[[[[[[[]]]]]]]]}', '{}');
SELECT hooks.matches('chat_message', (repeat('{"contains": ', 1000) || '1' || repeat('}', 1000))::jsonb, '{}');

-- an event may be anything
SELECT bool_or(hooks.matches('donation', '{"min_amount": 1, "currency": "EUR"}', e)) AS matches
FROM (VALUES ((repeat('{"data": ', 1000) || '1' || repeat('}', 1000))::jsonb), ((repeat('[', 1000) || repeat(']', 1000))::jsonb),
             ('{"data": {"amount": {"amount": [1e400]}, "currency": true}}'), ('"x"')) v(e);
