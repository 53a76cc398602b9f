--
-- The condition language key by key and operator by operator
--
-- What is expected was written by hand, from doc/conditions.md.  "wrong" shows
-- the cases that turn out otherwise, so it has to be empty.
--
SET client_encoding = 'UTF8';
\set SHOW_CONTEXT never

CREATE TEMP TABLE cases (type text, conditions jsonb, event jsonb, expected boolean);
CREATE FUNCTION pg_temp.outcome(type text, conditions jsonb, event jsonb) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
  RETURN hooks.matches(type, conditions, event);
EXCEPTION WHEN OTHERS THEN
  RETURN 'ERROR: ' || sqlerrm;
END
$$;
CREATE FUNCTION pg_temp.check_cases(OUT cases bigint, OUT wrong text) LANGUAGE sql AS $$
  WITH c AS (DELETE FROM pg_temp.cases RETURNING *, pg_temp.outcome(type, conditions, event) AS outcome)
  SELECT count(*),
         string_agg(format('%s %s %s: %s', type, conditions, event, outcome), e'\n')
         FILTER (WHERE outcome IS DISTINCT FROM expected::text)
  FROM c
$$;

--
-- Named keys
--

-- max_amount, and with min_amount
INSERT INTO cases VALUES
  ('donation', '{"max_amount": 100}', '{"amount": "100"}', true), ('donation', '{"max_amount": 100}', '{"amount": "100.00"}', true),
  ('donation', '{"max_amount": 100}', '{"amount": "100.01"}', false), ('donation', '{"max_amount": 100}', '{"amount": "99.99"}', true),
  ('donation', '{"max_amount": 100}', '{"amount": 100}', true), ('donation', '{"max_amount": 100}', '{"amount": 100.00000000000000000000000000001}', false),
  ('donation', '{"max_amount": 100}', '{"amount": "1e2"}', true), ('donation', '{"max_amount": 100}', '{"amount": "1e400"}', false),
  ('donation', '{"max_amount": 100}', '{"amount": "-5"}', true), ('donation', '{"max_amount": 100}', '{"amount": "50 EUR"}', true),
  ('donation', '{"max_amount": 100}', '{"amount": ""}', false), ('donation', '{"max_amount": 100}', '{"amount": " 10"}', false),
  ('donation', '{"max_amount": 100}', '{"amount": "abc"}', false), ('donation', '{"max_amount": 100}', '{"amount": null}', false),
  ('donation', '{"max_amount": 100}', '{"amount": true}', false), ('donation', '{"max_amount": 100}', '{"amount": [5]}', false),
  ('donation', '{"max_amount": 100}', '{}', false), ('donation', '{"max_amount": "100.50"}', '{"amount": "100.5"}', true),
  ('donation', '{"max_amount": "100.50"}', '{"amount": "100.51"}', false), ('donation', '{"max_amount": 0.3}', '{"amount": 0.30000000000000004}', false),
  ('donation', '{"max_amount": -1}', '{"amount": "-1"}', true), ('donation', '{"max_amount": -1}', '{"amount": "-0.99"}', false),
  ('donation', '{"min_amount": 5, "max_amount": 10}', '{"amount": "5"}', true), ('donation', '{"min_amount": 5, "max_amount": 10}', '{"amount": "10"}', true),
  ('donation', '{"min_amount": 5, "max_amount": 10}', '{"amount": "4.99"}', false), ('donation', '{"min_amount": 5, "max_amount": 10}', '{"amount": "10.01"}', false),
  ('donation', '{"min_amount": 10, "max_amount": 5}', '{"amount": "7"}', false), ('donation', '{"max_amount": null}', '{}', true);
SELECT * FROM pg_temp.check_cases();

-- currency: texts only, exactly; one or a list
INSERT INTO cases VALUES
  ('donation', '{"currency": ["EUR", "USD"]}', '{"currency": "EUR"}', true), ('donation', '{"currency": ["EUR", "USD"]}', '{"currency": "USD"}', true),
  ('donation', '{"currency": ["EUR", "USD"]}', '{"currency": "usd"}', false), ('donation', '{"currency": ["EUR", "USD"]}', '{"currency": "GBP"}', false),
  ('donation', '{"currency": ["EUR", "USD"]}', '{"currency": ""}', false), ('donation', '{"currency": ["EUR", "USD"]}', '{"currency": null}', false),
  ('donation', '{"currency": ["EUR", "USD"]}', '{"currency": ["EUR"]}', false), ('donation', '{"currency": ["EUR", "USD"]}', '{}', false),
  ('donation', '{"currency": ["EUR"]}', '{"currency": "EUR"}', true), ('donation', '{"currency": ["1"]}', '{"currency": 1}', false),
  ('donation', '{"currency": {"$ne": "EUR"}}', '{"currency": "EUR"}', false), ('donation', '{"currency": {"$ne": "EUR"}}', '{}', true),
  ('donation', '{"currency": {"$eq": "eur", "$ignore_case": true}}', '{"currency": "EUR"}', true);
INSERT INTO cases
SELECT 'donation', jsonb_build_object('currency', (SELECT jsonb_agg('C' || n) FROM generate_series(1, 200) n)),
       jsonb_build_object('currency', 'C' || c), expected
FROM (VALUES (1, true), (137, true), (200, true), (201, false)) v(c, expected);
SELECT * FROM pg_temp.check_cases();

-- tier: texts ignoring case, and numbers
INSERT INTO cases VALUES
  ('subscription', '{"tier": "1"}', '{"tier": "1"}', true), ('subscription', '{"tier": "1"}', '{"tier": 1}', true),
  ('subscription', '{"tier": 1}', '{"tier": "1"}', true), ('subscription', '{"tier": 1}', '{"tier": 1.0}', true),
  ('subscription', '{"tier": 1}', '{"tier": "1.0"}', true), ('subscription', '{"tier": "1"}', '{"tier": "1.0"}', false),
  ('subscription', '{"tier": "1"}', '{"tier": "1000"}', false), ('subscription', '{"tier": 1}', '{"tier": "1000"}', false),
  ('subscription', '{"tier": ["2", "3"]}', '{"tier": "3"}', true), ('subscription', '{"tier": ["2", 3]}', '{"tier": 2}', true),
  ('subscription', '{"tier": ["2", 3]}', '{"tier": "1"}', false), ('subscription', '{"tier": "prime"}', '{"tier": "Prime"}', true),
  ('subscription', '{"tier": ["PRIME", 1]}', '{"tier": "prime"}', true), ('subscription', '{"tier": "1"}', '{"tier": null}', false),
  ('subscription', '{"tier": "1"}', '{}', false), ('subscription', '{"tier": "1"}', '{"tier": true}', false),
  ('subscription', '{"tier": {"$gte": 2}}', '{"tier": "3"}', true), ('subscription', '{"tier": {"$gte": 2}}', '{"tier": "1"}', false);

-- min_months, max_months, min_viewers, max_viewers
INSERT INTO cases VALUES
  ('subscription', '{"min_months": 6}', '{"months": "6"}', true), ('subscription', '{"min_months": 6}', '{"months": "5"}', false),
  ('subscription', '{"min_months": 6}', '{"months": "12"}', true), ('subscription', '{"min_months": 6}', '{"months": 12}', true),
  ('subscription', '{"min_months": 6}', '{"months": null}', false), ('subscription', '{"min_months": 6}', '{}', false),
  ('subscription', '{"min_months": 0}', '{}', false), ('subscription', '{"max_months": 1}', '{"months": "1"}', true),
  ('subscription', '{"max_months": 1}', '{"months": "2"}', false), ('subscription', '{"max_months": "1"}', '{"months": 0}', true),
  ('subscription', '{"max_months": 1}', '{}', false), ('subscription', '{"min_months": 3, "max_months": 5}', '{"months": "4"}', true),
  ('raid', '{"max_viewers": 100}', '{"viewer_count": "100"}', true), ('raid', '{"max_viewers": 100}', '{"viewer_count": "101"}', false),
  ('raid', '{"max_viewers": 100}', '{"viewer_count": 47}', true), ('raid', '{"max_viewers": 100}', '{"viewer_count": "many"}', false),
  ('raid', '{"max_viewers": 100}', '{}', false), ('raid', '{"min_viewers": 10, "max_viewers": 100}', '{"viewer_count": "47"}', true),
  ('raid', '{"min_viewers": 10, "max_viewers": 100}', '{"viewer_count": "9"}', false);
SELECT * FROM pg_temp.check_cases();

-- contains: the message of chat messages, the message or else the comment of the others
INSERT INTO cases VALUES
  ('chat_message', '{"contains": ["hello", "hi"]}', '{"message": "oh HI there"}', true), ('chat_message', '{"contains": ["hello", "hi"]}', '{"message": "hell"}', false),
  ('chat_message', '{"contains": ["hello", "hi"]}', '{}', false), ('chat_message', '{"contains": ["hello", ""]}', '{}', true),
  ('chat_message', '{"contains": ["5"]}', '{"message": 5}', false), ('chat_message', '{"contains": "hello"}', '{"comment": "hello"}', false),
  ('donation', '{"contains": "Hello"}', '{"message": "well, hello"}', true), ('donation', '{"contains": "hello"}', '{"message": null, "comment": "Hello"}', true),
  ('donation', '{"contains": "hello"}', '{"message": "", "comment": "Hello"}', false), ('donation', '{"contains": "hello"}', '{}', false),
  ('donation', '{"contains": ""}', '{}', true), ('donation', '{"contains": ["GG", "wp"]}', '{"message": "gg!"}', true),
  ('raid', '{"contains": "raid"}', '{"message": "a RAID!"}', true), ('raid', '{"contains": "raid"}', '{}', false),
  ('subscription', '{"contains": "year"}', '{"message": "one YEAR"}', true), ('subscription', '{"contains": "year"}', '{"message": ["year"]}', false),
  ('subscription', '{"contains": "ΟΔΟΣ"}', '{"message": "η οδός και η οδος"}', true), ('raid', '{"contains": "ı"}', '{"message": "I i İ"}', false);

-- starts_with, ends_with
INSERT INTO cases VALUES
  ('chat_message', '{"starts_with": "Hello"}', '{"message": "hello world"}', true), ('chat_message', '{"starts_with": "hello"}', '{"message": "say hello"}', false),
  ('chat_message', '{"starts_with": "hello"}', '{"message": "hell"}', false), ('chat_message', '{"starts_with": "hello"}', '{"message": "HELLO"}', true),
  ('chat_message', '{"starts_with": ["x", "y"]}', '{"message": "Yes"}', true), ('chat_message', '{"starts_with": ["x", "y"]}', '{"message": "no"}', false),
  ('chat_message', '{"starts_with": ""}', '{"message": "x"}', true), ('chat_message', '{"starts_with": ""}', '{}', true),
  ('chat_message', '{"starts_with": "x"}', '{}', false), ('chat_message', '{"starts_with": "x"}', '{"message": null}', false),
  ('chat_message', '{"starts_with": "5"}', '{"message": 5}', false), ('chat_message', '{"starts_with": "k"}', '{"message": "\u212Aelvin"}', true),
  ('chat_message', '{"starts_with": "\u212A"}', '{"message": "kelvin"}', true), ('chat_message', '{"starts_with": "i"}', '{"message": "İstanbul"}', false),
  ('chat_message', '{"starts_with": "İ"}', '{"message": "İstanbul"}', true), ('chat_message', '{"starts_with": "ß"}', '{"message": "ẞ"}', true),
  ('chat_message', '{"starts_with": "ss"}', '{"message": "ß"}', false), ('donation', '{"starts_with": "for"}', '{"comment": "For you"}', true),
  ('raid', '{"starts_with": "go"}', '{"message": "Go go"}', true), ('subscription', '{"starts_with": "go"}', '{"message": "I go"}', false),
  ('chat_message', '{"ends_with": "?"}', '{"message": "really?"}', true), ('chat_message', '{"ends_with": "?"}', '{"message": "really? yes"}', false),
  ('chat_message', '{"ends_with": "?"}', '{"message": "?"}', true), ('chat_message', '{"ends_with": "??"}', '{"message": "?"}', false),
  ('chat_message', '{"ends_with": "?"}', '{"message": ""}', false), ('chat_message', '{"ends_with": ""}', '{}', true),
  ('chat_message', '{"ends_with": ["!", "?"]}', '{"message": "what!"}', true), ('chat_message', '{"ends_with": "BYE"}', '{"message": "good bye"}', true),
  ('chat_message', '{"ends_with": "bye"}', '{"message": "bye now"}', false), ('chat_message', '{"ends_with": "ok"}', '{"message": "o\u212A"}', true),
  ('chat_message', '{"ends_with": "o\u212A"}', '{"message": "Ok"}', true), ('chat_message', '{"ends_with": "οδος"}', '{"message": "ΟΔΟΣ"}', true),
  ('chat_message', '{"ends_with": "ß"}', '{"message": "RAẞ"}', true), ('chat_message', '{"ends_with": "ss"}', '{"message": "Ruß"}', false),
  ('chat_message', '{"ends_with": "😀"}', '{"message": "hi 😀"}', true), ('chat_message', '{"ends_with": "😀"}', '{"message": "hi 😁"}', false),
  ('chat_message', '{"ends_with": "\u0301"}', '{"message": "e\u0301"}', true), ('donation', '{"ends_with": "!"}', '{"message": "go!"}', true),
  ('raid', '{"ends_with": "!"}', '{}', false), ('subscription', '{"ends_with": "ı"}', '{"message": "I"}', false);
SELECT * FROM pg_temp.check_cases();

-- equals
INSERT INTO cases VALUES
  ('chat_message', '{"equals": "gg"}', '{"message": "GG"}', true), ('chat_message', '{"equals": "gg"}', '{"message": "gg "}', false),
  ('chat_message', '{"equals": "gg"}', '{"message": "g"}', false), ('chat_message', '{"equals": "gg"}', '{"message": "ggg"}', false),
  ('chat_message', '{"equals": ["gg", "wp"]}', '{"message": "Wp"}', true), ('chat_message', '{"equals": ["gg", "wp"]}', '{"message": "gg wp"}', false),
  ('chat_message', '{"equals": ""}', '{}', true), ('chat_message', '{"equals": ""}', '{"message": "x"}', false),
  ('chat_message', '{"equals": "5"}', '{"message": "5"}', true), ('chat_message', '{"equals": "5"}', '{"message": "5.0"}', false),
  ('chat_message', '{"equals": "5"}', '{"message": 5}', false), ('chat_message', '{"equals": "straße"}', '{"message": "STRAẞE"}', true),
  ('chat_message', '{"equals": "strasse"}', '{"message": "straße"}', false), ('chat_message', '{"equals": "ΣΑΣ"}', '{"message": "σας"}', true),
  ('chat_message', '{"equals": "I"}', '{"message": "i"}', true), ('chat_message', '{"equals": "I"}', '{"message": "ı"}', false),
  ('chat_message', '{"equals": "i"}', '{"message": "İ"}', false), ('chat_message', '{"equals": "K"}', '{"message": "\u212A"}', true),
  ('donation', '{"equals": "thanks"}', '{"comment": "Thanks"}', true), ('raid', '{"equals": "hi"}', '{"message": "HI"}', true),
  ('subscription', '{"equals": "hi"}', '{"message": null}', false);

-- like: "*" any run, "?" any one, backslash the next as it is; the whole message, ignoring case
INSERT INTO cases
SELECT 'chat_message', jsonb_build_object('like', p), jsonb_build_object('message', m), expected
FROM (VALUES
  ('gg*', 'GG wp', true), ('gg*', 'gg', true), ('gg*', 'a gg', false), ('*gg', 'a gg', true), ('*gg', 'gg a', false), ('*gg*', 'a GG a', true),
  ('gg', 'gg', true), ('gg', 'ggg', false), ('gg', 'g', false), ('g?', 'gg', true), ('g?', 'g', false), ('g?', 'ggg', false), ('?', '', false),
  ('?', '😀', true), ('?', U&'e\0301', false), ('??', U&'e\0301', true), ('*', '', true), ('*', 'x', true), ('**', '', true), ('', '', true),
  ('', 'x', false), ('?*', '', false), ('?*', 'x', true), ('*?', 'xyz', true), ('a*b*c', 'aXXbYYc', true), ('a*b*c', 'abc', true),
  ('a*b*c', 'acb', false), ('a*b*c', 'abcabd', false), ('a*b*c', 'abcabc', true), ('*aab', 'aaab', true), ('*a?b', 'aaxb', true),
  ('*ab*ab', 'ab', false), ('*ab*ab', 'abab', true), ('a?*c', 'ac', false), ('a?*c', 'abc', true), ('a*?c', 'abbc', true),
  ('\*', '*', true), ('\*', 'x', false), ('a\*b', 'a*b', true), ('a\*b', 'axb', false), ('\?', '?', true), ('\?', 'x', false),
  ('\\', '\', true), ('\\*', '\x', true), ('\\\*', '\*', true), ('\\\*', '\x', false), ('\a', 'A', true), ('a\', 'a\', true), ('a\', 'a', false),
  ('100%', '100%', true), ('100%', '1000', false), ('a_c', 'abc', false), ('a.c', 'abc', false), ('[ab]', 'a', false), ('(a|b)', 'a', false),
  ('ПРИ*', 'привет', true), ('*ΟΔΟΣ', 'οδος', true), ('i*', 'İstanbul', false), ('k*', U&'\212Aelvin', true), ('*ß', 'ẞ', true),
  ('a*c', e'a\nb\nc', true), ('a?c', e'a\nc', true), ('*日?', '今日は', true)
) v(p, m, expected);
INSERT INTO cases VALUES
  ('chat_message', '{"like": "*"}', '{}', true), ('chat_message', '{"like": "?*"}', '{}', false), ('chat_message', '{"like": ["a*", "b*"]}', '{"message": "Bee"}', true),
  ('chat_message', '{"like": ["a*", "b*"]}', '{"message": "see"}', false), ('chat_message', '{"like": "*"}', '{"message": 5}', true),
  ('chat_message', '{"like": "5"}', '{"message": 5}', false), ('donation', '{"like": "for*"}', '{"comment": "For you"}', true),
  ('raid', '{"like": "*!"}', '{"message": "go!"}', true), ('subscription', '{"like": "*!"}', '{"message": "go"}', false);
SELECT * FROM pg_temp.check_cases();

-- the same as LIKE, whose backslash is not ours
WITH tried AS (
  SELECT translate(p, '%_', '*?') AS pattern, p AS sql_pattern, m AS message
  FROM (SELECT (SELECT string_agg(substr('ab%_é', 1 + floor(random() * 5)::int, 1), '') FROM generate_series(1, 1 + i % 7)) AS p,
               (SELECT string_agg(substr('abéc', 1 + floor(random() * 4)::int, 1), '') FROM generate_series(1, 1 + i % 9)) AS m
        FROM generate_series(1, 4000) i) t)
SELECT count(*) AS tried,
       count(*) FILTER (WHERE hooks.matches('chat_message', jsonb_build_object('like', pattern), jsonb_build_object('message', message))
                              <> (message LIKE sql_pattern)) AS wrong
FROM tried;

-- the worst patterns take milliseconds for a long message
SET statement_timeout = '20s';
SELECT p AS pattern, hooks.matches('chat_message', jsonb_build_object('like', repeat(p, 200 / length(p) - 1) || 'b'),
                                   jsonb_build_object('message', repeat(t, 30000 / length(t)))) AS found
FROM (VALUES ('*a', 'a'), ('*?', 'a'), ('a*', 'a'), ('*aab', 'aa'), ('*ab', 'ab'), ('?', 'a'), ('*', 'a'), ('*Я', 'я')) v(p, t);
RESET statement_timeout;

-- command: the first word, ignoring case
INSERT INTO cases VALUES
  ('chat_message', '{"command": "!so"}', '{"message": "!so alice"}', true), ('chat_message', '{"command": "!so"}', '{"message": "!SO alice"}', true),
  ('chat_message', '{"command": "!SO"}', '{"message": "!so"}', true), ('chat_message', '{"command": "!so"}', '{"message": "  !so alice"}', true),
  ('chat_message', '{"command": "!so"}', '{"message": "!sorry"}', false), ('chat_message', '{"command": "!so"}', '{"message": "hey !so"}', false),
  ('chat_message', '{"command": "!so"}', '{"message": "!s"}', false), ('chat_message', '{"command": "!so"}', '{"message": "!so\talice"}', true),
  ('chat_message', '{"command": "!so"}', '{"message": "\n!so\r\n"}', true), ('chat_message', '{"command": "!so"}', '{"message": ""}', false),
  ('chat_message', '{"command": "!so"}', '{"message": "   "}', false), ('chat_message', '{"command": "!so"}', '{}', false),
  ('chat_message', '{"command": "!so"}', '{"message": null}', false), ('chat_message', '{"command": "5"}', '{"message": 5}', false),
  ('chat_message', '{"command": "5"}', '{"message": "5.0"}', false), ('chat_message', '{"command": ["!shoutout", "!so"]}', '{"message": "!ShoutOut bob"}', true),
  ('chat_message', '{"command": ["!shoutout", "!so"]}', '{"message": "!hug bob"}', false), ('chat_message', '{"command": "!привет"}', '{"message": "!ПРИВЕТ всем"}', true),
  ('chat_message', '{"command": "!k"}', '{"message": "!\u212A"}', true), ('chat_message', '{"command": "!i"}', '{"message": "!İ"}', false);
SELECT * FROM pg_temp.check_cases();

-- roles and exclude_roles: by fields and by badges; one always says the opposite of the other
INSERT INTO cases
SELECT 'chat_message', jsonb_build_object(key, roles), event, expected <> (key = 'exclude_roles')
FROM (VALUES
  ('"moderator"'::jsonb, '{"is_moderator": true}'::jsonb, true), ('"moderator"', '{"is_moderator": false}', false),
  ('"moderator"', '{"is_moderator": "true"}', false), ('"moderator"', '{"is_moderator": null}', false), ('"moderator"', '{}', false),
  ('"Moderator"', '{"is_moderator": true}', true), ('"vip"', '{"is_moderator": true}', false), ('["vip", "moderator"]', '{"is_moderator": true}', true),
  ('"patron"', '{"is_patreon": true}', true), ('"patreon"', '{"is_patreon": true}', true), ('"moderator"', '{"is_patreon": true}', false),
  ('"streamer"', '{"is_sent_by_streamer": true}', true), ('"broadcaster"', '{"is_sent_by_streamer": true}', true),
  ('"streamer"', '{"is_sent_by_streamer": 1}', false),
  -- badges that are texts
  ('"vip"', '{"badges": ["vip"]}', true), ('"vip"', '{"badges": ["subscriber", "VIP"]}', true), ('"vip"', '{"badges": ["vips"]}', false),
  ('["founder", "vip"]', '{"badges": ["vip"]}', true), ('"moderator"', '{"badges": ["moderator"]}', true),
  ('"moderator"', '{"is_moderator": false, "badges": ["moderator"]}', true), ('"vip"', '{"badges": []}', false), ('"vip"', '{"badges": null}', false),
  -- badges that are objects
  ('"vip"', '{"badges": [{"set_id": "vip", "id": "1"}]}', true), ('"vip"', '{"badges": [{"id": "vip"}]}', true), ('"vip"', '{"badges": [{"name": "VIP"}]}', true),
  ('"vip"', '{"badges": [{"type": "vip", "title": "x"}]}', true), ('"vip"', '{"badges": [{"title": "vip"}]}', false), ('"vip"', '{"badges": [{"name": {"id": "vip"}}]}', false),
  ('"vip"', '{"badges": [{"id": null, "name": "vip"}]}', true), ('"vip"', '{"badges": [{}]}', false), ('"5"', '{"badges": [{"id": 5}]}', false),
  ('"vip"', '{"badges": [{"set_id": "subscriber"}, {"set_id": "vip"}]}', true), ('"vip"', '{"badges": [{"set_id": "subscriber"}, "vip"]}', true),
  -- an object whose keys are the names
  ('"vip"', '{"badges": {"vip": "1"}}', true), ('"vip"', '{"badges": {"subscriber": "12", "VIP": "1"}}', true), ('"vip"', '{"badges": {"subscriber": "vip"}}', false),
  ('"vip"', '{"badges": {}}', false), ('"vip"', '{"badges": {"all": {"vip": 1}}}', false),
  -- what is none
  ('"vip"', '{"badges": "vip"}', false), ('"5"', '{"badges": [5]}', false), ('"vip"', '{"badges": [["vip"]]}', false), ('"vip"', '{"badges": [null, true, 5]}', false),
  ('"vip"', '{"badges": [null, 5, ["x"], "vip"]}', true), ('"vip"', '{"vip": true}', false)
) v(roles, event, expected), (VALUES ('roles'), ('exclude_roles')) k(key);
INSERT INTO cases VALUES
  ('chat_message', '{"roles": "vip", "exclude_roles": "moderator"}', '{"badges": ["vip"]}', true),
  ('chat_message', '{"roles": "vip", "exclude_roles": "moderator"}', '{"badges": ["vip"], "is_moderator": true}', false);

-- ignore_self
INSERT INTO cases
SELECT 'chat_message', jsonb_build_object('ignore_self', flag), event, expected OR NOT flag
FROM (VALUES ('{"is_sent_by_streamer": true}'::jsonb, false), ('{"is_sent_by_streamer": false}', true), ('{"is_sent_by_streamer": null}', true),
             ('{"is_sent_by_streamer": "true"}', true), ('{}', true)) v(event, expected),
     (VALUES (true), (false)) f(flag);
SELECT * FROM pg_temp.check_cases();

-- users and exclude_users, the opposite: username, or else donor_name, or else raider_name
INSERT INTO cases
SELECT type, jsonb_build_object(key, users), event, expected <> (key = 'exclude_users')
FROM (VALUES
  ('chat_message', '"alice"'::jsonb, '{"username": "alice"}'::jsonb, true), ('chat_message', '"alice"', '{"username": "ALICE"}', true),
  ('chat_message', '"alice"', '{"username": "alice2"}', false), ('chat_message', '"alice"', '{}', false), ('chat_message', '"alice"', '{"username": null}', false),
  ('chat_message', '["alice", "bob"]', '{"username": "Bob"}', true), ('chat_message', '["alice", "bob"]', '{"username": "eve"}', false),
  ('chat_message', '"@alice"', '{"username": "Alice"}', true), ('chat_message', '["@alice", "@bob"]', '{"username": "bob"}', true),
  ('chat_message', '"@@alice"', '{"username": "alice"}', false), ('chat_message', '"@"', '{"username": ""}', true), ('chat_message', '"@"', '{"username": "x"}', false),
  ('chat_message', '"alice"', '{"display_name": "alice"}', false), ('chat_message', '"жанна"', '{"username": "Жанна"}', true),
  ('chat_message', '"i"', '{"username": "İ"}', false), ('chat_message', '"5"', '{"username": "5"}', true), ('chat_message', '"5"', '{"username": "5.0"}', false),
  ('donation', '"alice"', '{"donor_name": "Alice"}', true), ('donation', '"alice"', '{"username": null, "donor_name": "alice"}', true),
  ('donation', '"alice"', '{"username": false, "donor_name": "alice"}', true), ('donation', '"alice"', '{"username": "", "donor_name": "alice"}', false),
  ('donation', '"alice"', '{"username": "bob", "donor_name": "alice"}', false), ('raid', '"alice"', '{"raider_name": "alice"}', true),
  ('follow', '"alice"', '{"username": "alice"}', true), ('follow', '"alice"', '{"display_name": "alice", "username": "bob"}', false),
  ('subscription', '"alice"', '{"username": "alice"}', true), ('subscription', '"alice"', '{"username": ["alice"]}', false)
) v(type, users, event, expected), (VALUES ('users'), ('exclude_users')) k(key);

-- platform: of the event, not of its data, but for lifecycle events, whose metadata may say it
INSERT INTO cases VALUES
  ('donation', '{"platform": "twitch"}', '{"platform": "twitch", "data": {}}', true), ('donation', '{"platform": "twitch"}', '{"platform": "Twitch", "data": {}}', true),
  ('donation', '{"platform": "TWITCH"}', '{"platform": "twitch", "data": {}}', true), ('donation', '{"platform": "twitch"}', '{"platform": "kick", "data": {}}', false),
  ('donation', '{"platform": ["twitch", "kick"]}', '{"platform": "kick", "data": {}}', true), ('donation', '{"platform": ["twitch", "kick"]}', '{"platform": "trovo", "data": {}}', false),
  ('donation', '{"platform": "twitch"}', '{"platform": null, "data": {}}', false), ('donation', '{"platform": "twitch"}', '{"data": {}}', false),
  ('donation', '{"platform": "twitch"}', '{"data": {"platform": "twitch"}}', false), ('donation', '{"platform": "twitch"}', '{"platform": ["twitch"], "data": {}}', false),
  ('chat_message', '{"platform": "twitch"}', '{"platform": "twitch"}', true), ('follow', '{"platform": "kick"}', '{"platform": "kick"}', true),
  ('donation', '{"platform": {"$ne": "kick"}}', '{"platform": "twitch", "data": {}}', true), ('donation', '{"platform": {"$ne": "kick"}}', '{"platform": "kick", "data": {}}', false),
  ('donation', '{"platform": {"$ne": "kick"}}', '{"data": {}}', true), ('donation', '{"platform": {"$eq": "Kick"}}', '{"platform": "kick", "data": {}}', false),
  ('stream_start', '{"platform": "twitch"}', '{"data": {"platform": "twitch"}}', true), ('stream_end', '{"platform": "twitch"}', '{"data": {"platform": "Twitch"}}', true),
  ('stream_start', '{"platform": "twitch"}', '{"data": {"platform": "kick"}}', false), ('stream_start', '{"platform": "twitch"}', '{"data": {}}', false),
  ('stream_end', '{"platform": "twitch"}', '{"platform": "kick", "data": {"platform": "twitch"}}', false), ('stream_end', '{"platform": "kick"}', '{"platform": "kick", "data": {"platform": "twitch"}}', true),
  ('stream_start', '{"platform": "twitch"}', '{"platform": null, "data": {"platform": "twitch"}}', true), ('stream_start', '{"event.platform": {"$eq": "twitch"}}', '{"data": {"platform": "twitch"}}', true);
SELECT * FROM pg_temp.check_cases();

-- chance: always the same for the same event
CREATE TEMP TABLE draws AS
SELECT jsonb_build_object('id', md5('event ' || n)::uuid) AS event FROM generate_series(1, 10000) n;
SELECT count(*) FILTER (WHERE hooks.matches('follow', '{"chance": 0}', event)) AS never,
       count(*) FILTER (WHERE hooks.matches('follow', '{"chance": 100}', event)) AS always,
       count(*) FILTER (WHERE hooks.matches('follow', '{"chance": 25}', event)) BETWEEN 2250 AND 2750 AS about_a_quarter,
       count(*) FILTER (WHERE hooks.matches('follow', '{"chance": 0.5}', event)) BETWEEN 20 AND 90 AS about_one_in_200,
       count(*) FILTER (WHERE hooks.matches('follow', '{"chance": 25}', event) <> hooks.matches('follow', '{"chance": 25.0}', event)) AS changed_its_mind,
       count(*) FILTER (WHERE hooks.matches('follow', '{"chance": 25}', event) > hooks.matches('follow', '{"chance": 40}', event)) AS less_by_more,
       count(*) FILTER (WHERE hooks.matches('follow', '{"chance": 50}', event) <> hooks.matches('raid', '{"chance": 50}', event || '{"data": {"x": 1}}')) AS by_anything_but_the_id,
       count(*) FILTER (WHERE hooks.matches('follow', '{"chance": 50}', event) = hooks.matches('follow', '{"$not": {"chance": 50}}', event)) AS not_the_opposite
FROM draws;
INSERT INTO cases SELECT t, jsonb_build_object('chance', c), '{}', c > 0
FROM unnest('{donation,follow,raid,subscription,stream_start,stream_end,chat_message}'::text[]) t, (VALUES (0), (100)) v(c);
SELECT * FROM pg_temp.check_cases();

-- time: "from" belongs to the window, "to" does not
INSERT INTO cases
SELECT 'follow', jsonb_build_object('time', w), jsonb_build_object('inserted_at', t), expected
FROM (VALUES
  ('{"from": "18:00", "to": "20:00"}'::jsonb, '2026-01-16T17:59:59.999999Z', false), ('{"from": "18:00", "to": "20:00"}', '2026-01-16T18:00:00Z', true),
  ('{"from": "18:00", "to": "20:00"}', '2026-01-16T19:59:59.999999Z', true), ('{"from": "18:00", "to": "20:00"}', '2026-01-16T20:00:00Z', false),
  ('{"from": "18:00", "to": "20:00"}', '2026-01-16 19:00:00', true), ('{"from": "18:00", "to": "20:00"}', '2026-01-16T20:00:00+01:00', true),
  ('{"from": "18:00", "to": "20:00"}', '2026-01-16T19:00:00-05:00', false), ('{"from": "18:00", "to": "20:00", "tz": "UTC"}', '2026-01-16T19:00:00Z', true),
  ('{"from": "00:00", "to": "24:00"}', '2026-01-16T00:00:00Z', true), ('{"from": "00:00", "to": "24:00"}', '2026-01-16T23:59:59.999999Z', true),
  ('{"from": "23:30", "to": "24:00"}', '2026-01-16T23:45:00Z', true), ('{"from": "23:30", "to": "24:00"}', '2026-01-17T00:00:00Z', false),
  ('{"from": "00:00", "to": "00:00"}', '2026-01-17T12:00:00Z', true),
  -- over midnight
  ('{"from": "22:00", "to": "02:00"}', '2026-01-16T22:00:00Z', true), ('{"from": "22:00", "to": "02:00"}', '2026-01-16T23:59:59Z', true),
  ('{"from": "22:00", "to": "02:00"}', '2026-01-17T00:00:00Z', true), ('{"from": "22:00", "to": "02:00"}', '2026-01-17T01:59:59Z', true),
  ('{"from": "22:00", "to": "02:00"}', '2026-01-17T02:00:00Z', false), ('{"from": "22:00", "to": "02:00"}', '2026-01-17T12:00:00Z', false),
  ('{"from": "22:00", "to": "02:00"}', '2026-01-16T21:59:59Z', false), ('{"from": "22:00", "to": "00:00"}', '2026-01-16T23:00:00Z', true),
  ('{"from": "22:00", "to": "00:00"}', '2026-01-17T00:00:00Z', false), ('{"from": "22:00", "to": "24:00"}', '2026-01-16T23:00:00Z', true),
  -- local time, in winter and in summer
  ('{"from": "18:00", "to": "20:00", "tz": "Europe/Berlin"}', '2026-01-16T17:00:00Z', true), ('{"from": "18:00", "to": "20:00", "tz": "Europe/Berlin"}', '2026-01-16T16:59:59Z', false),
  ('{"from": "18:00", "to": "20:00", "tz": "Europe/Berlin"}', '2026-07-17T16:00:00Z', true), ('{"from": "18:00", "to": "20:00", "tz": "Europe/Berlin"}', '2026-07-17T18:00:00Z', false),
  ('{"from": "18:00", "to": "20:00", "tz": "Asia/Kolkata"}', '2026-01-16T12:30:00Z', true), ('{"from": "18:00", "to": "20:00", "tz": "Asia/Kolkata"}', '2026-01-16T12:29:59Z', false),
  ('{"from": "18:00", "to": "20:00", "tz": "America/New_York"}', '2026-01-16T23:30:00Z', true), ('{"from": "18:00", "to": "20:00", "tz": "America/New_York"}', '2026-07-16T22:30:00Z', true),
  -- the hour that is left out in spring, and the one that comes twice in autumn
  ('{"from": "02:00", "to": "03:00", "tz": "Europe/Berlin"}', '2026-03-29T00:59:59Z', false), ('{"from": "02:00", "to": "03:00", "tz": "Europe/Berlin"}', '2026-03-29T01:00:00Z', false),
  ('{"from": "01:30", "to": "03:30", "tz": "Europe/Berlin"}', '2026-03-29T01:00:00Z', true), ('{"from": "02:00", "to": "03:00", "tz": "Europe/Berlin"}', '2026-10-25T00:30:00Z', true),
  ('{"from": "02:00", "to": "03:00", "tz": "Europe/Berlin"}', '2026-10-25T01:30:00Z', true), ('{"from": "02:00", "to": "03:00", "tz": "Europe/Berlin"}', '2026-10-25T02:00:00Z', false),
  -- days: those on which the window begins; 2026-01-16 is a Friday
  ('{"days": ["fri"]}', '2026-01-16T00:00:00Z', true), ('{"days": ["fri"]}', '2026-01-16T23:59:59Z', true), ('{"days": ["fri"]}', '2026-01-17T00:00:00Z', false),
  ('{"days": ["fri"]}', '2026-01-15T23:59:59Z', false), ('{"days": ["Friday"]}', '2026-01-16T12:00:00Z', true), ('{"days": ["SAT", "Sunday"]}', '2026-01-18T12:00:00Z', true),
  ('{"days": ["sat", "sun"]}', '2026-01-19T12:00:00Z', false), ('{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}', '2026-01-19T12:00:00Z', true),
  ('{"days": ["sat"], "tz": "Asia/Tokyo"}', '2026-01-16T15:00:00Z', true), ('{"days": ["fri"], "tz": "Asia/Tokyo"}', '2026-01-16T15:00:00Z', false),
  ('{"days": ["thu"], "tz": "America/New_York"}', '2026-01-16T04:00:00Z', true),
  ('{"from": "22:00", "to": "02:00", "days": ["fri"]}', '2026-01-16T22:00:00Z', true), ('{"from": "22:00", "to": "02:00", "days": ["fri"]}', '2026-01-17T01:00:00Z', true),
  ('{"from": "22:00", "to": "02:00", "days": ["fri"]}', '2026-01-16T01:00:00Z', false), ('{"from": "22:00", "to": "02:00", "days": ["fri"]}', '2026-01-17T22:00:00Z', false),
  ('{"from": "22:00", "to": "02:00", "days": ["sat"]}', '2026-01-18T01:00:00Z', true), ('{"from": "22:00", "to": "02:00", "days": ["sun"]}', '2026-01-19T01:00:00Z', true),
  ('{"from": "18:00", "to": "20:00", "days": ["fri"]}', '2026-01-16T19:00:00Z', true), ('{"from": "18:00", "to": "20:00", "days": ["fri"]}', '2026-01-17T19:00:00Z', false),
  -- times that are none
  ('{"from": "00:00", "to": "24:00"}', 'infinity', false), ('{"from": "00:00", "to": "24:00"}', 'yesterday', false), ('{"from": "00:00", "to": "24:00"}', '', false),
  ('{"from": "00:00", "to": "24:00"}', '2026-13-45T00:00:00Z', false)
) v(w, t, expected);
INSERT INTO cases VALUES
  ('follow', '{"time": {"from": "00:00", "to": "24:00"}}', '{}', false), ('follow', '{"time": {"from": "00:00", "to": "24:00"}}', '{"inserted_at": 5}', false),
  ('follow', '{"$not": {"time": {"from": "00:00", "to": "24:00"}}}', '{}', true),
  ('donation', '{"time": {"from": "18:00", "to": "20:00"}, "min_amount": 5}', '{"inserted_at": "2026-01-16T19:00:00Z", "data": {"amount": "5"}}', true),
  ('donation', '{"time": {"from": "18:00", "to": "20:00"}, "min_amount": 5}', '{"inserted_at": "2026-01-16T21:00:00Z", "data": {"amount": "5"}}', false);
SELECT * FROM pg_temp.check_cases();

-- the same as the server's own idea of local time, every 25 minutes of a year
SELECT count(*) AS times,
       count(*) FILTER (WHERE hooks.matches('follow', '{"time": {"from": "21:15", "to": "03:45", "tz": "America/New_York", "days": ["tue", "sat", "sun"]}}',
                                            jsonb_build_object('inserted_at', t))
                              <> CASE WHEN local::time >= '21:15' THEN extract(dow FROM local) IN (2, 6, 0)
                                      WHEN local::time < '03:45' THEN extract(dow FROM local - interval '1 day') IN (2, 6, 0)
                                      ELSE false END) AS wrong
FROM (SELECT t, t AT TIME ZONE 'America/New_York' AS local
      FROM generate_series(timestamptz '2026-01-01 00:00Z', '2026-12-31 23:59Z', interval '25 minutes') t) x;

--
-- Operators
--

-- what is missing or null satisfies only what denies something
INSERT INTO cases
SELECT 'donation', jsonb_build_object('x', jsonb_build_object(operator, operand)), event, expected
FROM (VALUES
  ('$eq', '5'::jsonb, false), ('$eq', '""', false), ('$eq', 'false', false), ('$ne', '5', true), ('$ne', '""', true), ('$ne', 'false', true),
  ('$gt', '-1', false), ('$gt', '""', false), ('$gte', '-1', false), ('$gte', '""', false), ('$lt', '1', false), ('$lt', '"a"', false),
  ('$lte', '1', false), ('$lte', '"a"', false), ('$in', '[0, "", false]', false), ('$nin', '[0, "", false]', true), ('$contains', '""', false),
  ('$starts_with', '""', false), ('$ends_with', '""', false), ('$like', '"*"', false), ('$exists', 'true', false), ('$exists', 'false', true)
) v(operator, operand, expected), (VALUES ('{}'::jsonb), ('{"x": null}'), ('{"y": 5}'), ('{"x": null, "data": {"x": null}}')) e(event);
SELECT * FROM pg_temp.check_cases();

-- operators by themselves
INSERT INTO cases
SELECT 'donation', jsonb_build_object('x', jsonb_build_object(operator, operand)), jsonb_build_object('x', value), expected
FROM (VALUES
  -- $eq: numbers as numbers, also those that texts begin with; texts exactly
  ('$eq', '5'::jsonb, '5'::jsonb, true), ('$eq', '5', '5.000', true), ('$eq', '5', '"5"', true), ('$eq', '5', '"5.00"', true), ('$eq', '5', '"5 EUR"', true),
  ('$eq', '5', '"05"', true), ('$eq', '5', '"6"', false), ('$eq', '5', '" 5"', false), ('$eq', '5', '"x"', false), ('$eq', '5', '""', false), ('$eq', '5', 'true', false),
  ('$eq', '5', '[5]', false), ('$eq', '5', '{"x": 5}', false), ('$eq', '0', '""', false), ('$eq', '0', 'false', false), ('$eq', '0', '-0', true),
  ('$eq', '"5"', '"5"', true), ('$eq', '"5"', '"5.00"', false), ('$eq', '"5"', '5', true), ('$eq', '"5.00"', '5', true), ('$eq', '"5 EUR"', '5', false),
  ('$eq', '"a"', '"a"', true), ('$eq', '"a"', '"A"', false), ('$eq', '"a"', '"a "', false), ('$eq', '"a"', '["a"]', false), ('$eq', '""', '""', true),
  ('$eq', '"true"', 'true', false), ('$eq', 'true', 'true', true), ('$eq', 'true', 'false', false), ('$eq', 'true', '"true"', false), ('$eq', 'true', '1', false),
  ('$eq', 'false', 'false', true), ('$eq', 'false', '0', false), ('$eq', '9007199254740993', '9007199254740992', false), ('$eq', '0.1', '0.1000000000000000055', false),
  ('$eq', '1e2', '"100"', true), ('$eq', '"1e2"', '100', true), ('$eq', '"1e2"', '"100"', false),
  -- $ne
  ('$ne', '5', '"5.00"', false), ('$ne', '5', '"6"', true), ('$ne', '5', '"x"', true), ('$ne', '"a"', '"a"', false), ('$ne', '"a"', '"A"', true), ('$ne', 'true', 'false', true),
  ('$ne', 'true', 'true', false), ('$ne', '5', '[5]', true), ('$ne', '5', '{}', true),
  -- $gt, $gte, $lt, $lte by number: the operand is a number, or a text that is one
  ('$gt', '5', '"5.01"', true), ('$gt', '5', '"5"', false), ('$gt', '5', '10', true), ('$gt', '5', '"10"', true), ('$gt', '"5"', '"10"', true), ('$gt', '"5"', '10', true),
  ('$gt', '5', '"x"', false), ('$gt', '5', '""', false), ('$gt', '5', 'true', false), ('$gt', '-1', 'false', false), ('$gt', '5', '[10]', false),
  ('$gte', '5', '"5.00"', true), ('$gte', '5', '"4.999999999999999999999999"', false), ('$gte', '5', '"5 EUR"', true), ('$gte', '"1e400"', '"1e399"', false),
  ('$lt', '5', '"4.99"', true), ('$lt', '5', '"5"', false), ('$lt', '10', '"9"', true), ('$lt', '"10"', '"9"', true), ('$lt', '5', '"x"', false), ('$lt', '0', '"-1"', true),
  ('$lte', '5', '"5.000"', true), ('$lte', '5', '5.000000000000000000001', false), ('$lte', '-5', '"-5.5"', true), ('$lte', '5', 'null', false),
  -- by code points otherwise
  ('$gt', '"a"', '"b"', true), ('$gt', '"a"', '"a"', false), ('$gt', '"a"', '"ab"', true), ('$gt', '"ab"', '"a"', false), ('$gt', '"a"', '"Z"', false), ('$gt', '"Z"', '"a"', true),
  ('$gt', '"z"', '"é"', true), ('$gt', '"é"', '"я"', true), ('$gt', '"я"', '"😀"', true), ('$gt', '"a"', '5', false), ('$lt', '"a"', '5', false), ('$lt', '"a"', '"5"', true),
  ('$gte', '"b"', '"b"', true), ('$gte', '"b"', '"a"', false), ('$lt', '"b"', '"a"', true), ('$lt', '"b"', '""', true), ('$lte', '"b"', '"b"', true), ('$lte', '"b"', '"ba"', false),
  ('$gte', '""', '""', true), ('$gt', '""', '"x"', true), ('$gt', '"5 EUR"', '"6"', true), ('$gt', '"5 EUR"', '"10"', false), ('$gt', '"5 EUR"', '10', false),
  -- $in, $nin
  ('$in', '["a", "b"]', '"b"', true), ('$in', '["a", "b"]', '"B"', false), ('$in', '["a", "b"]', '"c"', false), ('$in', '[1, "x", true]', '"1.0"', true),
  ('$in', '[1, "x", true]', '"x"', true), ('$in', '[1, "x", true]', 'true', true), ('$in', '[1, "x", true]', 'false', false), ('$in', '[1, "x", true]', '["x"]', false),
  ('$in', '["a"]', '"a"', true), ('$in', '[""]', '""', true), ('$nin', '["a", "b"]', '"b"', false), ('$nin', '["a", "b"]', '"c"', true), ('$nin', '[1, 2]', '"2.00"', false),
  ('$nin', '[1, 2]', '["1"]', true), ('$nin', '[true]', '1', true),
  -- $contains: in a text, or an element of an array
  ('$contains', '"b"', '"abc"', true), ('$contains', '"B"', '"abc"', false), ('$contains', '"abc"', '"abc"', true), ('$contains', '"abcd"', '"abc"', false), ('$contains', '""', '"x"', true),
  ('$contains', '""', '""', true), ('$contains', '["x", "c"]', '"abc"', true), ('$contains', '["x", "y"]', '"abc"', false), ('$contains', '"5"', '5', false), ('$contains', '"t"', 'true', false),
  ('$contains', '"a"', '["a", "b"]', true), ('$contains', '"a"', '["ab"]', false), ('$contains', '"A"', '["a"]', false), ('$contains', '["x", "b"]', '["a", "b"]', true), ('$contains', '"a"', '[]', false),
  ('$contains', '5', '[4, 5]', true), ('$contains', '5', '["5.0"]', true), ('$contains', '"5"', '[5]', true), ('$contains', '5', '"5"', false), ('$contains', '"a"', '[["a"]]', false),
  ('$contains', '"a"', '{"a": "a"}', false), ('$contains', '"a"', '[{"a": "a"}, null, true, "a"]', true), ('$contains', '""', '[]', false), ('$contains', '""', '[""]', true),
  -- $starts_with, $ends_with, $like: texts only
  ('$starts_with', '"ab"', '"abc"', true), ('$starts_with', '"AB"', '"abc"', false), ('$starts_with', '"bc"', '"abc"', false), ('$starts_with', '""', '""', true),
  ('$starts_with', '["x", "a"]', '"abc"', true), ('$starts_with', '"5"', '55', false), ('$starts_with', '"a"', '["a"]', false), ('$starts_with', '"abcd"', '"abc"', false),
  ('$ends_with', '"bc"', '"abc"', true), ('$ends_with', '"BC"', '"abc"', false), ('$ends_with', '"ab"', '"abc"', false), ('$ends_with', '["x", "c"]', '"abc"', true),
  ('$ends_with', '"5"', '55', false), ('$ends_with', '"é"', '"café"', true), ('$ends_with', '"é"', '"cafe"', false), ('$ends_with', '"abcd"', '"abc"', false),
  ('$like', '"a*"', '"abc"', true), ('$like', '"A*"', '"abc"', false), ('$like', '"?b?"', '"abc"', true), ('$like', '"b"', '"abc"', false), ('$like', '["x*", "*c"]', '"abc"', true),
  ('$like', '"*"', '5', false), ('$like', '"*"', '["a"]', false), ('$like', '"a\\*"', '"a*"', true), ('$like', '"a\\*"', '"abc"', false),
  -- $exists: everything but null
  ('$exists', 'true', '5', true), ('$exists', 'true', '""', true), ('$exists', 'true', 'false', true), ('$exists', 'true', '[]', true), ('$exists', 'true', '{}', true),
  ('$exists', 'false', '0', false), ('$exists', 'false', 'false', false), ('$exists', 'false', 'null', true)
) v(operator, operand, value, expected);
SELECT * FROM pg_temp.check_cases();

-- $ignore_case
INSERT INTO cases
SELECT 'donation', jsonb_build_object('x', c || '{"$ignore_case": true}'), jsonb_build_object('x', value), expected
FROM (VALUES
  ('{"$eq": "straße"}'::jsonb, '"STRAẞE"'::jsonb, true), ('{"$eq": "strasse"}', '"straße"', false), ('{"$eq": "ΟΔΟΣ"}', '"οδος"', true), ('{"$eq": "i"}', '"I"', true),
  ('{"$eq": "i"}', '"İ"', false), ('{"$eq": "ı"}', '"I"', false), ('{"$eq": "ı"}', '"ı"', true), ('{"$eq": "k"}', '"\u212A"', true), ('{"$eq": "é"}', '"É"', true),
  ('{"$eq": "é"}', '"e"', false), ('{"$ne": "a"}', '"A"', false), ('{"$in": ["a", "b"]}', '"B"', true), ('{"$nin": ["a", "b"]}', '"B"', false),
  ('{"$contains": "b"}', '"ABC"', true), ('{"$contains": "kappa"}', '["KAPPA"]', true), ('{"$starts_with": "ab"}', '"ABC"', true), ('{"$ends_with": "bc"}', '"ABC"', true),
  ('{"$like": "a?c"}', '"ABC"', true), ('{"$eq": 5}', '"5.0"', true),
  -- order stays by code points
  ('{"$lt": "a"}', '"Z"', true), ('{"$gte": "a"}', '"A"', false)
) v(c, value, expected);
INSERT INTO cases VALUES
  ('donation', '{"x": {"$eq": "a", "$ignore_case": false}}', '{"x": "A"}', false),
  ('donation', '{"x": {"$ignore_case": true, "$not": {"$contains": "b"}}}', '{"x": "ABC"}', false), ('donation', '{"x": {"$ignore_case": true, "$or": [{"$eq": "a"}, {"$eq": "b"}]}}', '{"x": "B"}', true),
  ('donation', '{"x": {"$ignore_case": true, "$or": [{"$eq": "a"}, {"$eq": "b", "$ignore_case": false}]}}', '{"x": "B"}', false),
  ('donation', '{"x": {"$ignore_case": true, "$or": [{"$eq": "a"}, {"$eq": "b", "$ignore_case": false}]}}', '{"x": "A"}', true),
  ('donation', '{"x": {"$or": [{"$eq": "a", "$ignore_case": true}, {"$eq": "b"}]}}', '{"x": "A"}', true),
  ('donation', '{"x": {"$or": [{"$eq": "a", "$ignore_case": true}, {"$eq": "b"}]}}', '{"x": "B"}', false),
  ('donation', '{"x": {"$ignore_case": true, "$eq": "a"}, "y": {"$eq": "a"}}', '{"x": "A", "y": "A"}', false);
SELECT * FROM pg_temp.check_cases();

-- $and, $or and $not of conditions, and of the operators of a field
INSERT INTO cases
SELECT 'donation', c, jsonb_build_object('amount', amount, 'currency', 'EUR', 'tip', 'x'), expected
FROM (VALUES
  ('{"$and": [{"min_amount": 5}, {"max_amount": 10}]}'::jsonb, 7, true), ('{"$and": [{"min_amount": 5}, {"max_amount": 10}]}', 11, false), ('{"$and": [{}]}', 1, true),
  ('{"$or": [{"max_amount": 5}, {"min_amount": 10}]}', 7, false), ('{"$or": [{"max_amount": 5}, {"min_amount": 10}]}', 5, true), ('{"$or": [{"max_amount": 5}, {"min_amount": 10}]}', 10, true),
  ('{"$or": [{"max_amount": 5, "currency": "USD"}, {"min_amount": 10, "currency": "EUR"}]}', 5, false), ('{"$or": [{"max_amount": 5, "currency": "USD"}, {"min_amount": 10, "currency": "EUR"}]}', 10, true),
  ('{"$or": [{"min_amount": 10}, {}]}', 1, true), ('{"$not": {"min_amount": 10}}', 9, true), ('{"$not": {"min_amount": 10}}', 10, false), ('{"$not": {}}', 1, false),
  ('{"$not": {"min_amount": 5, "max_amount": 10}}', 7, false), ('{"$not": {"min_amount": 5, "max_amount": 10}}', 11, true), ('{"$not": {"$not": {"min_amount": 5}}}', 5, true),
  ('{"$not": {"$or": [{"max_amount": 5}, {"min_amount": 10}]}}', 7, true), ('{"$not": {"$or": [{"max_amount": 5}, {"min_amount": 10}]}}', 5, false),
  ('{"min_amount": 5, "$or": [{"currency": "USD"}, {"tip": {"$exists": true}}]}', 5, true), ('{"min_amount": 5, "$or": [{"currency": "USD"}, {"tip": {"$exists": true}}]}', 4, false),
  ('{"min_amount": 5, "$not": {"currency": "EUR"}}', 5, false), ('{"$and": [{"$or": [{"min_amount": 5}]}, {"$not": {"currency": "USD"}}]}', 5, true),
  ('{"$or": [{"min_amount": null}], "$not": null}', 1, true), ('{"$and": [{"min_amount": 5}, {"min_amount": 8}], "max_amount": 9}', 8, true),
  ('{"amount": {"$gte": 5, "$lt": 10}}', 5, true), ('{"amount": {"$gte": 5, "$lt": 10}}', 10, false), ('{"amount": {"$or": [{"$lt": 5}, {"$gt": 10}]}}', 7, false),
  ('{"amount": {"$or": [{"$lt": 5}, {"$gt": 10}]}}', 11, true), ('{"amount": {"$and": [{"$gt": 5}, {"$ne": 7}]}}', 7, false), ('{"amount": {"$and": [{"$gt": 5}, {"$ne": 7}]}}', 8, true),
  ('{"amount": {"$not": {"$gte": 5, "$lt": 10}}}', 7, false), ('{"amount": {"$not": {"$gte": 5, "$lt": 10}}}', 10, true), ('{"amount": {"$gte": 5, "$not": {"$in": [7, 8]}}}', 7, false),
  ('{"amount": {"$gte": 5, "$not": {"$in": [7, 8]}}}', 9, true), ('{"amount": {"$not": {"$not": {"$not": {"$eq": 5}}}}}', 5, false), ('{"amount": {"$not": {"$or": [{"$lt": 5}, {"$gt": 10}]}}}', 7, true),
  ('{"nothing": {"$not": {"$gt": 5}}}', 1, true), ('{"nothing": {"$or": [{"$exists": false}, {"$gt": 5}]}}', 1, true), ('{"nothing": {"$gt": 5, "$exists": false}}', 1, false)
) v(c, amount, expected);
SELECT * FROM pg_temp.check_cases();

--
-- Fields
--
INSERT INTO cases
SELECT 'donation', jsonb_build_object(field, jsonb_build_object('$eq', 'v')), event, expected
FROM (VALUES
  ('data.x', '{"x": "v"}'::jsonb, true), ('x', '{"x": "v"}', true), ('x', '{"data": {"x": "v"}}', true), ('x', '{"x": "v", "data": {}}', false),
  ('data.data.x', '{"data": {"data": {"x": "v"}}}', true), ('data', '{"data": {"data": "v"}}', true), ('m.x', '{"m": {"x": "v"}}', true), ('data.m.x', '{"m": {"x": "v"}}', true),
  ('m.x.y.z', '{"m": {"x": {"y": {"z": "v"}}}}', true), ('m.x', '{"m": "x"}', false), ('m.x', '{"m": {"X": "v"}}', false), ('M.x', '{"m": {"x": "v"}}', false),
  ('m.x', '{"m": null}', false), ('m.x', '{"m.x": "v"}', false), ('a-b_C9', '{"a-b_C9": "v"}', true), ('l.0', '{"l": ["v", "w"]}', true), ('l.1', '{"l": ["w", "v"]}', true),
  ('l.2', '{"l": ["v", "v"]}', false), ('l.-1', '{"l": ["v"]}', false), ('l.x', '{"l": ["v"]}', false), ('l.0.x', '{"l": [{"x": "v"}]}', true), ('l.0.1', '{"l": [["w", "v"]]}', true),
  ('l.0', '{"l": {"0": "v"}}', true), ('l.0', '{"l": "v"}', false), ('l', '{"l": ["v"]}', false), ('l.99999999999999', '{"l": ["v"]}', false), ('l.4294967296', '{"l": ["v"]}', false),
  ('data.a.b.c.d.e.f.g', '{"a": {"b": {"c": {"d": {"e": {"f": {"g": "v"}}}}}}}', true),
  -- variables, and the same names in the data
  ('username', '{"donor_name": "v"}', true), ('data.username', '{"donor_name": "v"}', false), ('message', '{"comment": "v"}', true), ('data.message', '{"comment": "v"}', false),
  ('data.comment', '{"message": "w", "comment": "v"}', true), ('display_name', '{"username": "v"}', true), ('display_name', '{"display_name": "v", "username": "w"}', true),
  ('username', '{"username": "", "donor_name": "v"}', false), ('username', '{"username": false, "donor_name": "v"}', true), ('username', '{"raider_name": "v"}', true),
  ('platform', '{"platform": "v", "data": {"platform": "w"}}', true), ('data.platform', '{"platform": "w", "data": {"platform": "v"}}', true),
  ('event.platform', '{"platform": "v", "data": {}}', true), ('event_type', '{"event_type": "v"}', false), ('data.event_type', '{"event_type": "v"}', true), ('hook.name', '{}', false),
  ('user_id', '{"data": {"user_id": "v"}}', false), ('data.user_id', '{"data": {"user_id": "v"}}', true)
) v(field, event, expected);
INSERT INTO cases
SELECT 'chat_message', c, '{"id": "00000000-0000-4000-8000-0000000000aB", "user_id": "6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10", "type": "raid", "platform": "kick",
                            "inserted_at": "2026-01-16T18:30:00.5+01:00", "data": {"message": " !so  alice  and bob ", "username": "v", "a": [{"b": 5}]}}', expected
FROM (VALUES
  ('{"event.id": {"$eq": "00000000-0000-4000-8000-0000000000ab"}}'::jsonb, true), ('{"event.id": {"$like": "*ab"}}', true), ('{"event.type": {"$eq": "chat_message"}}', true),
  ('{"event_type": {"$ne": "chat_message"}}', false), ('{"event.platform": {"$in": ["kick"]}}', true), ('{"user_id": {"$eq": "6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10"}}', true),
  ('{"user_id": {"$ne": "6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10"}}', false), ('{"event.inserted_at": {"$eq": "2026-01-16T17:30:00.500000Z"}}', true),
  ('{"event.inserted_at": {"$gte": "2026-01-16T"}}', true), ('{"event.inserted_at": {"$lt": "2026-01-16T17:30:00.5Z"}}', true), ('{"event.inserted_at": {"$gte": "2026-02"}}', false),
  ('{"hook.name": {"$exists": false}}', true), ('{"arg1": {"$eq": "alice"}}', true), ('{"arg2": {"$eq": "and"}}', true), ('{"arg3": {"$eq": "bob"}}', true), ('{"arg4": {"$exists": false}}', true),
  ('{"args": {"$eq": "alice  and bob"}}', true), ('{"a.0.b": {"$eq": "5"}}', true), ('{"data.a.0.b": {"$lt": 5.1}}', true), ('{"a": {"$exists": true}}', true), ('{"a": {"$contains": "b"}}', false)
) v(c, expected);
INSERT INTO cases VALUES
  ('chat_message', '{"args": {"$exists": false}}', '{"message": "!so"}', true), ('chat_message', '{"args": {"$exists": false}}', '{"message": " "}', true), ('chat_message', '{"args": {"$exists": false}}', '{}', true),
  ('chat_message', '{"arg1": {"$eq": "5"}}', '{"message": "!set 5"}', true), ('chat_message', '{"arg1": {"$gte": 5}}', '{"message": "!set 10"}', true), ('chat_message', '{"arg1": {"$gte": 5}}', '{"message": "!set x"}', false),
  ('chat_message', '{"is_moderator": {"$ne": true}}', '{}', true), ('chat_message', '{"is_moderator": {"$ne": true}}', '{"is_moderator": true}', false), ('chat_message', '{"is_moderator": {"$exists": true}}', '{"is_moderator": false}', true),
  ('raid', '{"viewer_count": {"$gte": 10, "$lt": 100}}', '{"viewer_count": "47"}', true), ('raid', '{"tier": {"$eq": 1}}', '{"tier": "1"}', true), ('follow', '{"contains": {"$eq": "x"}}', '{"contains": "x"}', true),
  ('donation', '{"metadata.goal.reached": {"$eq": true}}', '{"metadata": {"goal": {"reached": true}}}', true), ('donation', '{"amount_cents": {"$gt": 999}}', '{"amount_cents": 1000}', true),
  ('donation', '{"x": {"$eq": 5}}', '5', false), ('donation', '{"x": {"$exists": false}}', '[]', true), ('donation', '{"x": {"$ne": 5}}', 'null', true), ('donation', '{"x": {"$eq": 5}}', NULL, false);
SELECT * FROM pg_temp.check_cases();

--
-- Mistakes.  (The keys that hints list are left out: they are in expected/condition.out.)
--
CREATE FUNCTION pg_temp.mistake(type text, conditions jsonb, OUT error text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM hooks.matches(type, conditions, '{}');
EXCEPTION WHEN invalid_parameter_value THEN
  GET STACKED DIAGNOSTICS error = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  hint := coalesce(nullif(regexp_replace(hint, 'takes ".*" and "time", for', 'takes ..., for'), ''), '(no hint)');
END
$$;
\pset format unaligned
\pset tuples_only on
\pset fieldsep '\n    '

-- named keys: wrong types
SELECT m.* FROM (VALUES
  ('donation', '{"max_amount": "lots"}'::jsonb), ('donation', '{"max_amount": [5]}'), ('donation', '{"max_amount": false}'), ('donation', '{"max_amount": "5 "}'), ('donation', '{"max_amount": {}}'),
  ('donation', '{"currency": []}'), ('donation', '{"currency": ["EUR", 5]}'), ('donation', '{"currency": [["EUR"]]}'), ('donation', '{"currency": {}}'), ('donation', '{"currency": true}'),
  ('subscription', '{"tier": true}'), ('subscription', '{"tier": []}'), ('subscription', '{"tier": ["1", null]}'), ('subscription', '{"min_months": "x"}'), ('subscription', '{"max_months": [1]}'),
  ('raid', '{"max_viewers": "1,000"}'), ('chat_message', '{"contains": []}'), ('chat_message', '{"contains": ["x", 5]}'), ('chat_message', '{"contains": {"$eq": "x"}}'),
  ('donation', '{"contains": 5}'), ('chat_message', '{"starts_with": 5}'), ('raid', '{"ends_with": []}'), ('subscription', '{"equals": 5}'), ('chat_message', '{"like": 5}'), ('chat_message', '{"like": {"$like": "x"}}'),
  ('chat_message', '{"command": ""}'), ('chat_message', '{"command": "!so alice"}'), ('chat_message', '{"command": ["!so", "a\tb"]}'), ('chat_message', '{"command": []}'), ('chat_message', '{"command": 5}'),
  ('chat_message', '{"roles": true}'), ('chat_message', '{"roles": []}'), ('chat_message', '{"exclude_roles": {"vip": true}}'), ('chat_message', '{"ignore_self": "yes"}'),
  ('follow', '{"users": 5}'), ('follow', '{"users": []}'), ('follow', '{"exclude_users": ["x", null]}'), ('follow', '{"platform": 5}'), ('follow', '{"platform": []}'),
  ('follow', '{"chance": "25"}'), ('follow', '{"chance": -1}'), ('follow', '{"chance": 100.5}'), ('follow', '{"chance": 1e400}'), ('follow', '{"chance": true}'), ('follow', '{"chance": [5]}'), ('follow', '{"chance": {"$lt": 5}}')
) v(type, conditions), pg_temp.mistake(type, conditions) m;

-- wrong times, all with the same message
SELECT DISTINCT m.* FROM (VALUES ('{"from": "18:00"}'::jsonb), ('{"to": "20:00"}'), ('{"from": "18:00", "tz": "UTC"}'), ('{"tz": "UTC"}'), ('{}')) v(w), pg_temp.mistake('follow', jsonb_build_object('time', w)) m;
SELECT w AS accepted FROM (VALUES
  ('{"from": "18", "to": "20:00"}'::jsonb), ('{"from": "8:00", "to": "20:00"}'), ('{"from": "18:00:00", "to": "20:00"}'), ('{"from": "18:60", "to": "20:00"}'), ('{"from": "18.00", "to": "20:00"}'),
  ('{"from": "1:800", "to": "20:00"}'), ('{"from": "-1:00", "to": "20:00"}'), ('{"from": "24:00", "to": "20:00"}'), ('{"from": "18:00", "to": "24:01"}'), ('{"from": "18:00", "to": "25:00"}'),
  ('{"from": 18, "to": 20}'), ('{"from": "18:00", "to": ["20:00"]}'), ('{"from": "18:00", "to": "20:00", "tz": "Mars/Base"}'), ('{"from": "18:00", "to": "20:00", "tz": ""}'), ('{"from": "18:00", "to": "20:00", "tz": 5}'),
  ('{"from": "18:00", "to": "20:00", "tz": "../UTC"}'), ('{"from": "18:00", "to": "20:00", "tz": "/etc/localtime"}'), ('{"from": "18:00", "to": "20:00", "zone": "UTC"}'), ('{"from": "18:00", "to": "20:00", "x": null}'),
  ('{"days": []}'), ('{"days": "fri"}'), ('{"days": ["fr"]}'), ('{"days": ["freitag"]}'), ('{"days": [5]}'), ('{"days": {"fri": true}}'), ('[]'), ('"18:00"'), ('18'), ('true')
) v(w), pg_temp.mistake('follow', jsonb_build_object('time', w)) m WHERE m.error IS NULL OR m.error NOT LIKE 'condition "time" takes an object of "from" and "to", "tz" and "days", not %';

-- keys that are none, or of other types
SELECT m.* FROM (VALUES
  ('donation', '{"max_amout": 5}'::jsonb), ('donation', '{"currencies": ["EUR"]}'), ('subscription', '{"months": 5}'), ('subscription', '{"teir": "1"}'), ('raid', '{"viewers": 5}'), ('raid', '{"max_veiwers": 5}'),
  ('chat_message', '{"start_with": "x"}'), ('chat_message', '{"Equals": "x"}'), ('chat_message', '{"commands": ["!so"]}'), ('chat_message', '{"role": "vip"}'), ('follow', '{"user": "x"}'),
  ('follow', '{"exclude_user": "x"}'), ('follow', '{"platforms": ["kick"]}'), ('follow', '{"chances": 5}'), ('follow', '{"times": {}}'), ('chat_message', '{"first_message": true}'), ('donation', '{"message": "x"}'),
  ('follow', '{"contains": "x"}'), ('raid', '{"tier": "1"}'), ('donation', '{"command": "!so"}'), ('donation', '{"roles": "vip"}'), ('stream_start', '{"users": "x"}'), ('stream_end', '{"exclude_users": "x"}'),
  ('donation', '{"$and": [{"min_viewers": 5}]}'), ('donation', '{"$not": {"min_amout": 5}}'), ('donation', '{"$eq": 5}'), ('donation', '{"$nor": [{}]}'), ('donation', '{"amount": {}}'), ('donation', '{"amount": {"$gt": 5, "x": 5}}'),
  ('donation', '{"amount": [5]}')
) v(type, conditions), pg_temp.mistake(type, conditions) m;

-- operators: unknown ones, and wrong types
SELECT m.* FROM (VALUES
  ('{"$gtt": 5}'::jsonb), ('{"$greater": 5}'), ('{"$regex": "^a+$"}'), ('{"$contain": "x"}'), ('{"$startswith": "x"}'), ('{"$endswith": "x"}'), ('{"$Eq": 5}'), ('{"$is": 5}'), ('{"$": 5}'), ('{"$exist": true}'),
  ('{"$ignorecase": true, "$eq": "x"}'), ('{"$or": [{"$gtt": 5}]}'), ('{"$not": {"x": 5}}'),
  ('{"$eq": null}'), ('{"$eq": [5]}'), ('{"$ne": {"x": 5}}'), ('{"$gt": true}'), ('{"$gte": [5]}'), ('{"$lt": {}}'), ('{"$lte": null}'), ('{"$in": "x"}'), ('{"$in": []}'), ('{"$in": [[5]]}'), ('{"$nin": {"x": 5}}'),
  ('{"$contains": true}'), ('{"$contains": []}'), ('{"$contains": [true]}'), ('{"$starts_with": 5}'), ('{"$ends_with": [5]}'), ('{"$like": 5}'), ('{"$like": [null]}'), ('{"$exists": "yes"}'), ('{"$exists": 1}'),
  ('{"$ignore_case": 1, "$eq": "x"}'), ('{"$ignore_case": "yes"}'), ('{"$or": []}'), ('{"$or": {"$eq": 5}}'), ('{"$and": 5}'), ('{"$and": [5]}'), ('{"$not": 5}'), ('{"$not": [{"$eq": 5}]}'), ('{"$not": null}')
) v(operators), pg_temp.mistake('donation', jsonb_build_object('amount', operators)) m;

-- groups of conditions
SELECT m.* FROM (VALUES
  ('{"$and": {}}'::jsonb), ('{"$and": []}'), ('{"$or": "x"}'), ('{"$or": [[]]}'), ('{"$or": [null]}'), ('{"$or": [{"min_amount": 5}, "x"]}'), ('{"$not": []}'), ('{"$not": true}'), ('{"$or": [{"$and": [{"$not": 5}]}]}')
) v(conditions), pg_temp.mistake('donation', conditions) m;

-- fields that are none
SELECT m.* FROM unnest(ARRAY['event.foo', 'hook.foo', 'event.id.x', 'event', 'hook', 'a..b', '.a', 'a.', '.', 'a b', 'a.b c', 'ä', '$.a', 'a[0]', 'data.', 'a.b.c.d.e.f.g.h.i', '']) f,
     pg_temp.mistake('donation', jsonb_build_object(f, '{"$eq": 5}'::jsonb)) m;

-- limits: elements of lists, characters of patterns, depth, size
SELECT what, coalesce(m.error || e'\n    ' || m.hint, 'good')
FROM (VALUES
  ('200 elements', jsonb_build_object('users', (SELECT jsonb_agg(text 'x') FROM generate_series(1, 200)))),
  ('201 elements', jsonb_build_object('users', (SELECT jsonb_agg(text 'x') FROM generate_series(1, 201)))),
  ('$in of 201', jsonb_build_object('amount', jsonb_build_object('$in', (SELECT jsonb_agg(n) FROM generate_series(1, 201) n)))),
  ('pattern of 200', jsonb_build_object('like', repeat('я', 200))),
  ('pattern of 201', jsonb_build_object('like', repeat('я', 201))),
  ('escapes do not count', jsonb_build_object('like', repeat('\*', 200))),
  ('depth 8', '{"$and": [{"$and": [{"$and": [{"amount": {"$gt": 5}}]}]}]}'),
  ('depth 9', '{"$and": [{"$and": [{"$and": [{"amount": {"$in": [5]}}]}]}]}'),
  ('8 kB', jsonb_build_object('equals', repeat('x', 8160))),
  ('more than 8 kB', jsonb_build_object('equals', repeat('x', 8192)))
) v(what, conditions), pg_temp.mistake('donation', conditions) m;
\pset format aligned
\pset tuples_only off

--
-- 100,000 random and hostile events: nothing raises, and $not is always the opposite
--
CREATE TEMP TABLE hostile (n int, value jsonb);
INSERT INTO hostile SELECT row_number() OVER (), v FROM (VALUES
  ('null'::jsonb), ('true'), ('false'), ('0'), ('-1'), ('5'), ('1e400'), ('-1e131000'), ('1e-16000'), ('0.30000000000000004'), ('""'), ('"5"'), ('"5.00"'), ('"-5e"'), ('"+5e+"'), ('"1e99999999999999999999"'),
  ('"-1e-99999999999999999999"'), ('"0x1F"'), ('"NaN"'), ('"Infinity"'), ('" 5"'), ('"."'), ('"\\"'), ('"*?\\"'), ('"%_$"'), ('"\u0001\u007f\u2028"'), ('"!so"'), ('" \t\n\r "'), ('"!so a b c d e f g h i j k"'),
  ('"İıßẞſK"'), ('"ΟΔΟΣ οδος"'), ('"👩‍💻😀"'), ('"e\u0301\u0300\u0302"'), ('"\ufeff\uffff"'), ('"\u202e\u200b"'), ('"2026-01-16T18:30:00Z"'), ('"2026-01-16 18:30:00.123456+05:30"'), ('"99999999999999"'),
  ('"2026-02-30T25:61:61Z"'), ('"0001-01-01T00:00:00-23:59"'), ('"294276-12-31T23:59:59Z"'), ('"5874897-12-31"'), ('"12:00:00 +00 12:00"'), ('"1.2.3.4.5.6"'), ('"----------"'), ('"2026-01-16TT::"'),
  ('"infinity"'), ('"6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10"'), ('"6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a1g"'), ('"------------------------------------"'), ('[]'), ('{}'), ('[[]]'), ('[{}]'), ('[null]'), ('{"": null}'),
  ('{"vip": 1, "id": {"id": "vip"}}'), ('["vip", 5, null, {"id": 5}, {"set_id": "VIP"}]'), ('[[[[[[[[[["x"]]]]]]]]]]'), ('{"goal": {"list": [{"x": [1, "2", null]}]}}'), ('{"goal": [0, [1, [2]]]}'), ('{"platform": {}, "data": []}')
) v(v) UNION ALL SELECT 100 + n, to_jsonb(repeat(substr('a0 Яß😀.*\!', n, 1), 300)) FROM generate_series(1, 10) n
UNION ALL SELECT 111, to_jsonb(repeat('1', 500) || '.' || repeat('0', 500) || 'e' || repeat('9', 50)) UNION ALL SELECT 112, (repeat('[', 200) || repeat(']', 200))::jsonb;
CREATE TEMP TABLE tried (n int, type text, conditions jsonb);
INSERT INTO tried SELECT row_number() OVER () - 1, t, c FROM (VALUES
  ('donation', '{"min_amount": 5, "currency": ["EUR", "5"]}'::jsonb), ('donation', '{"max_amount": "1e400"}'), ('donation', '{"contains": ["ß", "5"]}'), ('donation', '{"amount": {"$gte": "1e-99999", "$ne": "x", "$lt": 1e300}}'),
  ('donation', '{"amount": {"$in": [5, "5", true, 1e400], "$nin": [0]}}'), ('donation', '{"amount": {"$contains": ["5", 5], "$ignore_case": true}}'), ('donation', '{"message": {"$like": ["*?*", "\\\\*"], "$ignore_case": true}}'),
  ('donation', '{"message": {"$ends_with": "\u212A", "$ignore_case": true}}'), ('donation', '{"message": {"$lt": "m", "$exists": true}}'), ('donation', '{"metadata.goal.list.0.x.1": {"$ne": 2}}'), ('donation', '{"$or": [{"metadata.goal.0": {"$lte": 0}}, {"metadata.goal.1": {"$exists": true}}]}'),
  ('raid', '{"min_viewers": 0}'), ('raid', '{"max_viewers": 0}'), ('raid', '{"users": "@5"}'), ('raid', '{"starts_with": ["a", "\u017F"]}'), ('raid', '{"ends_with": ["😀", "!"]}'),
  ('subscription', '{"tier": ["5", 5, "x"]}'), ('subscription', '{"min_months": -1, "max_months": 9}'), ('subscription', '{"equals": ["", "5", "οδος ΟΔΟΣ"]}'), ('subscription', '{"like": "*0*.*"}'),
  ('chat_message', '{"contains": "so"}'), ('chat_message', '{"command": ["!so", "5"]}'), ('chat_message', '{"roles": ["vip", "moderator", "5"]}'), ('chat_message', '{"exclude_roles": "vip"}'), ('chat_message', '{"ignore_self": true, "is_moderator": true}'),
  ('chat_message', '{"args": {"$contains": "b"}, "arg1": {"$gte": "a"}}'), ('chat_message', '{"arg9": {"$exists": true}}'), ('chat_message', '{"exclude_users": ["nobody", ""]}'),
  ('follow', '{"platform": ["5", ""]}'), ('follow', '{"chance": 50}'), ('follow', '{"time": {"from": "22:00", "to": "02:00", "tz": "America/New_York", "days": ["fri", "mon"]}}'), ('follow', '{"time": {"days": ["sat"], "tz": "Asia/Kolkata"}}'),
  ('follow', '{"event.inserted_at": {"$gte": "2026"}, "event.id": {"$like": "*5*"}}'), ('follow', '{"user_id": {"$ne": "5"}, "display_name": {"$exists": true}}'), ('stream_start', '{"platform": "5"}'), ('stream_end', '{"event.platform": {"$nin": ["5"]}, "0": {"$exists": false}}')
) v(t, c);

CREATE FUNCTION pg_temp.hostile_events(n int) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v jsonb[] := (SELECT array_agg(value ORDER BY hostile.n) FROM hostile);
  k int := cardinality(v);
  fields jsonb;
BEGIN
  FOR i IN 1 .. n LOOP
    fields := jsonb_build_object(
      'amount', v[1 + floor(random() * k)::int], 'currency', v[1 + floor(random() * k)::int], 'message', v[1 + floor(random() * k)::int],
      'username', v[1 + floor(random() * k)::int], 'metadata', v[1 + floor(random() * k)::int], 'badges', v[1 + floor(random() * k)::int],
      (ARRAY['donor_name', 'raider_name', 'comment', 'platform', 'is_moderator', 'is_sent_by_streamer'])[1 + i % 6], v[1 + floor(random() * k)::int],
      (ARRAY['viewer_count', 'tier', 'months', 'display_name', 'data'])[1 + i % 5], v[1 + floor(random() * k)::int]);
    RETURN NEXT CASE
      WHEN i % 50 = 0 THEN v[1 + floor(random() * k)::int]
      WHEN i % 2 = 0 THEN fields
      ELSE jsonb_build_object('id', v[1 + floor(random() * k)::int], 'user_id', v[1 + floor(random() * k)::int], 'platform', v[1 + floor(random() * k)::int],
                              'inserted_at', v[1 + floor(random() * k)::int], 'data', fields)
      END;
  END LOOP;
END
$$;
SELECT count(DISTINCT i) AS events, count(DISTINCT t.n) AS conditions, count(*) FILTER (WHERE yes = no) AS wrong
FROM pg_temp.hostile_events(100000) WITH ORDINALITY e(event, i)
     JOIN tried t ON t.n = (i / 300) % 36
     CROSS JOIN LATERAL (SELECT hooks.matches(type, conditions, event) AS yes, hooks.matches(type, jsonb_build_object('$not', conditions), event) AS no) m;

-- and so are conditions: each is good, or refused with a message
CREATE FUNCTION pg_temp.verdict(type text, conditions jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  RETURN CASE WHEN hooks.matches(type, conditions, '{"amount": "5", "x": [1]}') IS NULL THEN 'null' ELSE 'good' END;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN CASE WHEN sqlerrm = '' THEN 'no message' ELSE 'refused' END;
END
$$;
CREATE FUNCTION pg_temp.hostile_conditions(n int) RETURNS SETOF jsonb LANGUAGE plpgsql AS $$
DECLARE
  v jsonb[] := (SELECT array_agg(value ORDER BY hostile.n) FROM hostile);
  operators text[] := '{$eq,$ne,$gt,$gte,$lt,$lte,$in,$nin,$contains,$starts_with,$ends_with,$like,$exists,$not,$and,$or,$ignore_case,$gtt,$,x}';
  names text[] := '{min_amount,max_amount,currency,contains,like,users,platform,chance,time,command,roles,tier,amount,message,data.x.0,event.inserted_at,event.x,a..b,$and,$or,$not,$nor}';
  c jsonb;
  value jsonb;
BEGIN
  FOR i IN 1 .. n LOOP
    c := '{}';
    FOR j IN 1 .. 1 + i % 3 LOOP
      value := v[1 + floor(random() * cardinality(v))::int];
      FOR k IN 1 .. (random() * 3)::int LOOP
        value := CASE (random() * 6)::int
                 WHEN 0 THEN jsonb_build_array(value)
                 WHEN 1 THEN jsonb_build_array(value, v[1 + floor(random() * cardinality(v))::int])
                 WHEN 2 THEN jsonb_build_object((ARRAY['from', 'to', 'tz', 'days'])[1 + floor(random() * 4)::int], value, 'days', '["fri"]'::jsonb)
                 WHEN 3 THEN jsonb_build_object(names[1 + floor(random() * cardinality(names))::int], value)
                 ELSE jsonb_build_object(operators[1 + floor(random() * cardinality(operators))::int], value) END;
      END LOOP;
      c := c || jsonb_build_object(names[1 + floor(random() * cardinality(names))::int], value);
    END LOOP;
    RETURN NEXT c;
  END LOOP;
END
$$;
SELECT count(*) AS tried, count(*) FILTER (WHERE verdict IN ('good', 'refused')) AS good_or_refused,
       count(*) FILTER (WHERE verdict = 'good') > 100 AS many_good
FROM pg_temp.hostile_conditions(10000) WITH ORDINALITY c(conditions, i),
     LATERAL pg_temp.verdict((ARRAY['donation', 'chat_message', 'subscription', 'raid'])[1 + i % 4], conditions) AS verdict;

--
-- What once was wrong
--
-- times that PostgreSQL's parser raises errors for
SELECT hooks.matches('follow', '{}', '{"inserted_at": "2026-01-16 18:30 T-"}');
SELECT hooks.matches('follow', '{"time": {"days": ["fri"]}}', '{"inserted_at": "2026-01-16 18:30 T-"}');
SELECT count(*) FILTER (WHERE hooks.matches('follow', '{"event.inserted_at": {"$exists": true}}', jsonb_build_object('inserted_at', s))
                              IS NULL) AS wrong
FROM (SELECT overlay('2026-01-16T18:30:00.123456+01:00' PLACING
                     (SELECT string_agg(substr('0123456789:.TZ +-', 1 + floor(random() * 17)::int, 1), '') FROM generate_series(1, 1 + i % 4))
                     FROM 1 + i % 31) AS s FROM generate_series(1, 20000) i) x;
-- many huge numbers against many texts
SELECT hooks.matches('donation', jsonb_build_object('x', jsonb_build_object('$contains', (SELECT jsonb_agg(n::text || e) FROM generate_series(1, 100) n, unnest(ARRAY['', 'e2000']) e))),
                     jsonb_build_object('x', (SELECT jsonb_agg(1e131000::numeric) FROM generate_series(1, 500))));
SELECT hooks.matches('donation', '{"x": {"$in": ["1e2000", 5]}}', jsonb_build_object('x', 1e2000::numeric));
SELECT hooks.matches('donation', '{"x": {"$in": ["1e2000", "5e0"]}}', '{"x": 5.0}');
-- a part of "time" that is wrong beside one that is good
SELECT hooks.matches('follow', '{"time": {"from": "18:00", "to": "20:00", "days": ["fry"]}}', '{}');
SELECT hooks.matches('follow', '{"time": {"from": "18:00", "to": "20:00", "days": "fri"}}', '{}');
SELECT hooks.matches('follow', '{"time": {"from": "18:00", "to": "20:00", "days": []}}', '{}');
SELECT hooks.matches('follow', '{"time": {"from": "25:00", "days": ["fri"]}}', '{}');
SELECT hooks.matches('follow', '{"time": {"from": 18, "days": ["fri"]}}', '{}');
SELECT hooks.matches('follow', '{"time": {"days": ["fri"], "tz": "ABC5"}}', '{}');
-- the same time twice is all day
SELECT hooks.matches('follow', '{"time": {"from": "18:00", "to": "18:00"}}', '{"inserted_at": "2026-01-16T10:30:00Z"}');
-- names that have an @ in the event
SELECT hooks.matches('chat_message', '{"users": "@alice"}', '{"username": "@alice"}'), hooks.matches('chat_message', '{"users": "alice"}', '{"username": "@Alice"}'),
       hooks.matches('chat_message', '{"exclude_users": "@alice"}', '{"username": "@alice"}');
-- NULL for the event is the same as {}
SELECT hooks.matches('follow', '{"event.inserted_at": {"$exists": true}}', NULL);
-- a badge that is not there
SELECT hooks.matches('chat_message', '{"roles": "vip"}', '{"badges": {"vip": false, "subscriber": "3"}}'), hooks.matches('chat_message', '{"roles": "subscriber"}', '{"badges": {"vip": false, "subscriber": "3"}}');
