--
-- Expressions and filters of templates: variables, quoting, errors, contexts;
-- and bodies of webhooks that are JSON
--
-- What a template meant before there were filters is in the test "template".
--
SET client_encoding = 'UTF8';
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
\set SHOW_CONTEXT never
\pset format unaligned
\pset fieldsep ' -> '
\pset null '(null)'
\pset footer off

-- Render, or say what is wrong.
CREATE FUNCTION pg_temp.try(template text, event jsonb DEFAULT '{"username": "Ann"}', context text DEFAULT 'text') RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	RETURN hooks.render(template, event, context);
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n    ', SQLERRM, nullif(hint, ''));
END $$;

-- One value, as {{data.v}}, through filters.
CREATE FUNCTION pg_temp.filter(filters text, v jsonb) RETURNS text
LANGUAGE sql AS $$
	SELECT hooks.render('<{{data.v' || filters || '}}>', jsonb_build_object('data', jsonb_build_object('v', v)))
$$;

--
-- Variables
--
SELECT '{{' || name || '}}' AS variable, hooks.render('<{{' || name || '}}>', '{
	"id": "00000000-0000-4000-8000-00000000000e", "user_id": "00000000-0000-4000-8000-000000000001",
	"type": "subscription", "platform": "twitch", "inserted_at": "2026-03-01T12:34:56.5+02:00",
	"data": {"username": "Ann", "tier": "2", "months": 7, "message": " !so  Bob\tthe\nbuilder  ",
			 "metadata": {"goal": {"name": "Fund \"x\"", "steps": [10, "20", [true, false, null], {"a-b": "deep"}]}, "0": "zero"},
			 "flag": false, "on": true, "nothing": null, "empty": "", "list": [], "object": {}, "a_b": "under"}}') AS value
FROM unnest('{tier,months,display_name,args,arg1,arg2,arg3,arg4,arg9,user_id,event.id,event.type,event.platform,
			  event.inserted_at,hook.name,data.tier,data.months,data.metadata.goal.name,data.metadata.goal.steps,
			  data.metadata.goal.steps.0,data.metadata.goal.steps.1,data.metadata.goal.steps.2.0,data.metadata.goal.steps.2.1,
			  data.metadata.goal.steps.2.2,data.metadata.goal.steps.2.3,data.metadata.goal.steps.3.a-b,
			  data.metadata.goal.steps.x,data.metadata.goal.steps.-1,data.metadata.goal.steps.99999999,data.metadata.0,
			  data.metadata.goal.name.length,data.flag,data.on,data.nothing,data.nothing.more,data.empty,data.list,data.list.0,
			  data.object,data.missing,data.missing.more,data.a_b,data.Tier,data.username}'::text[]) name;

-- Fields that are tried in turn, and events without this or that
SELECT e AS event, hooks.render('<{{display_name}}> <{{tier}}> <{{months}}> <{{event.type}}> <{{event.platform}}> <{{event.inserted_at}}>', e) AS values
FROM (VALUES ('{"display_name": "ANN", "username": "ann"}'::jsonb), ('{"username": "ann"}'), ('{"display_name": null, "username": "ann"}'),
	('{"display_name": false, "username": "ann"}'), ('{"display_name": "", "username": "ann"}'), ('{"donor_name": "ann"}'),
	('{"tier": null, "months": false}'), ('{"tier": 0, "months": true}'), ('{"tier": {"a": 1}, "months": []}'),
	('{"inserted_at": "2026-03-01 12:34:56"}'), ('{"inserted_at": "yesterday"}'), ('{"inserted_at": 5, "platform": 5}'), ('{}')) v (e);

-- The words of a message after the first
SELECT m AS message, hooks.render('<{{args}}> <{{arg1}}> <{{arg2}}> <{{arg9}}>', jsonb_build_object('message', m)) AS args
FROM unnest(ARRAY['!so', '!so Bob', '!so Bob Al', '  !so   Bob  Al  ', E'!so\tBob\r\nAl', '', '   ', '!so {{amount}} "Al"', '!x 1 2 3 4 5 6 7 8 9 10', '!so é 日本']) m;
SELECT e AS event, hooks.render('<{{args}}> <{{arg1}}>', e) AS args
FROM (VALUES ('{"message": 5}'::jsonb), ('{"message": ["!so", "Bob"]}'), ('{"message": null, "comment": "from a comment"}'), ('{"data": {"message": "a b c"}}')) v (e);

-- Paths have an end, and know only what they know.
SELECT t AS template, pg_temp.try(t, '{"data": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": 8}}}}}}}, "data": {"x": "twice"}}}') AS rendered
FROM unnest(ARRAY['{{data.a.b.c.d.e.f.g}}', '{{data.a.b.c.d.e.f.g.h}}', '{{data.data.x}}', '{{data}}', '{{data.}}', '{{data..a}}', '{{.data}}', '{{data.a.}}',
				  '{{event}}', '{{event.x}}', '{{event.data}}', '{{hook.id}}', '{{hook}}', '{{arg0}}', '{{arg10}}', '{{arg01}}', '{{DATA.a}}', '{{data.ä}}', '{{data a}}']) t;

--
-- What is an expression, and what stays as it is
--
SELECT t AS template, pg_temp.try(t) AS rendered
FROM unnest(ARRAY[
	-- blanks
	'{{ username }}', E'{{\tusername\r\n}}', '{{username|upper}}', '{{username | upper}}', E'{{\n username\n |  upper\n |\tlower }}', '{{username |upper| lower}}',
	'{ {username | upper}}', '{{username | upper} }',
	-- braces around
	'{{{username | upper}}}', '{{{{username | upper}}}}', '{{username | upper}}}}', '{{ {{username | upper}}',
	-- not expressions: no bar behind a name
	'{{}}', '{{ }}', '{{|}}', '{{ | upper}}', '{{"username" | upper}}', '{{é | upper}}', '{{-a | upper}}', '{{.a | upper}}', '{{unknown}}', '{{ unknown }}', '{{user.name}}',
	'{{user-name}}', '{{username', '{{username}', '{{username upper}}', '{{username:upper}}', '{{username:"x"}}', '{{upper}}', '{{upper:"x"}}', '{{random}}', '{{random:',
	'{{random :"a"}}', '{{username, upper}}', '{{username || upper}}', '{{', '{{ ', '{{username | upper}}{{', 'a | b', '{a | b}', '}} | {{',
	-- expressions that begin with a filter
	'{{random:"a"}}', '{{ random:a }}', '{{random:a | upper}}', '{{random:a:a:a|upper}}', '{{random:"a"}}}', '{{username | random:x:x}}'
]) t;

-- Quoting
SELECT t AS template, pg_temp.try(t, '{}') AS rendered
FROM unnest(ARRAY[
	'{{username | default:somebody}}', '{{username | default:"some body"}}', '{{username | default:''some body''}}', '{{username | default:""}}', '{{username | default:''''}}',
	'{{username | default:"it''s"}}', '{{username | default:''say "hi"''}}', '{{username | default:"say \"hi\""}}', '{{username | default:''it\''s''}}',
	'{{username | default:"a\\b"}}', '{{username | default:"a\nb"}}', '{{username | default:"\}\}"}}', '{{username | default:"}}"}}', '{{username | default:"{{username}}"}}',
	'{{username | default:"a | upper"}}', '{{username | default:"a:b"}}', '{{username | default:a.b/c?d=e&f,g;h-i_j}}', '{{username | default:日本🎉}}', '{{username | default:"日本 🎉"}}',
	E'{{username | default:"two\nlines"}}', '{{username | default:a\b}}', '{{username | default:5}}', '{{username|default:x|upper}}', '{{username|default:"x"|upper}}',
	-- … that goes wrong
	'{{username | default:"a}}', '{{username | default:''a"}}', '{{username | default:"a\"}}', '{{username | default:}}', '{{username | default: "a"}}', '{{username | default :"a"}}',
	'{{username | default:"a" "b"}}', '{{username | default:"a"b}}', '{{username | default:a b}}', '{{username | default:it''s}}', '{{username | default:{x}}}', '{{username | default:"a":}}'
]) t;

-- What is quoted is text: nothing in it is looked for.
SELECT hooks.render('{{data.x | default:"{{username}} {{amount | upper}}"}}', '{"username": "Ann", "amount": "x"}') AS in_a_default,
	   hooks.render('{{message}} {{message | upper}} {{message | replace:"a":"{{username}}"}}', '{"message": "{{amount | upper}}", "username": "Ann", "amount": "x"}') AS in_a_value;

--
-- What is wrong, once there is a bar
--
SELECT t AS template, pg_temp.try(t) AS error
FROM unnest(ARRAY[
	-- filters
	'{{username | uper}}', '{{username | Upper}}', '{{username | uppercase}}', '{{username | defualt:"x"}}', '{{username | truncat:5}}', '{{username | trunc:5}}', '{{username | dat:"x"}}',
	'{{username | escape}}', '{{username | strip_tags}}', '{{username | }}', '{{username |}}', '{{username | upper | }}', '{{username | upper || lower}}', '{{username | 5}}',
	'{{username | "x"}}', '{{username | upper.lower}}', '{{username | ünder}}', '{{random:a | randm}}', '{{username | aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}}',
	-- variables
	'{{usernam | upper}}', '{{user | upper}}', '{{user_name | upper}}', '{{user.name | upper}}', '{{Username | upper}}', '{{ammount | upper}}', '{{arg10 | upper}}', '{{event.typ | upper}}',
	'{{hooks.name | upper}}', '{{zzz | upper}}', '{{donor | upper}}', '{{goal.name | upper}}', '{{upper | username}}',
	'{{aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa | upper}}',
	-- not closed
	'{{username | upper', '{{username | upper}', '{{username | upper lower}}', '{{username | upper, lower}}', '{{username | upper}{{username}}', '{{username | default:"x"',
	'{{random:a', '{{random:a b}}', '{{random:a, b}}', 'good {{username}}, bad {{username | upper'
]) t;

-- How many arguments, and which
SELECT f AS filter, pg_temp.try('{{username | ' || f || '}}') AS error
FROM unnest(ARRAY[
	'default', 'default:"a":"b"', 'upper:"a"', 'lower:5', 'trim:" "', 'json:x', 'url:x', 'discord:x', 'truncate', 'truncate:0', 'truncate:-1', 'truncate:1.5', 'truncate:many', 'truncate:""', 'truncate:100001',
	'truncate:9999999', 'truncate:5:"..."', 'replace', 'replace:"a"', 'replace:"":"b"', 'replace:"a":"b":"c"', 'number', 'number:11', 'number:-1', 'number:x', 'number:2:3', 'money:"EUR":2', 'plural',
	'plural:"viewer"', 'plural:"a":"b":"c"', 'date', 'date:""', 'date:"TMMonth"', 'date:"HH24":"Europe/Nowhere"', 'date:"HH24":""', 'date:"HH24":"../UTC"', 'date:"HH24":"UTC":"UTC"', 'random'
]) f;
SELECT n AS length, pg_temp.try('{{message | date:"' || repeat('x', n) || '"}}', '{"message": "2026-01-01T00:00:00Z"}') AS result FROM unnest('{64,65}'::int[]) n;
SELECT f AS good, pg_temp.try('{{username | ' || f || '}}') AS rendered
FROM unnest(ARRAY['truncate:1', 'truncate:100000', 'truncate:0002', 'truncate:"2"', 'number:0', 'number:10', 'money', 'money:"EUR"', 'replace:"n":""', 'default:""', 'plural:"":""']) f;

-- Not more than 10 filters and 20 texts to draw from
SELECT n, pg_temp.try('{{username' || repeat(' | upper', n) || '}}') AS filters, pg_temp.try('{{random' || repeat(':"a"', n + 10) || '}}') = 'a' AS texts FROM generate_series(10, 11) n;
SELECT pg_temp.try('{{random:"a"' || repeat(' | upper', n) || '}}') AS first_one_counts FROM generate_series(9, 10) n;

-- The error as people see it
SELECT hooks.render('{{username | uper}}', '{}');
SELECT hooks.render('{{usernam | upper}}', '{}', 'json');
SELECT hooks.render('https://example.com/{{username | upper', '{}', 'url');

--
-- Filters.  Whatever they get they make something of.
--
CREATE TEMP TABLE inputs AS
SELECT row_number() OVER () AS n, v FROM (VALUES ('"Ann"'::jsonb), ('""'), ('" a b "'), ('"10.50"'), ('"1,000"'), ('5'), ('-2.345'), ('1e3'), ('true'), ('false'), ('null'), ('{"k": "V"}'), ('["x", 1]'),
	('"2026-03-01T12:00:00Z"')) i (v);
SELECT v AS input, pg_temp.filter('', v) AS none, pg_temp.filter('|default:"D"', v) AS "default", pg_temp.filter('|upper', v) AS upper, pg_temp.filter('|lower', v) AS lower,
	   pg_temp.filter('|trim', v) AS trim, pg_temp.filter('|truncate:3', v) AS truncate, pg_temp.filter('|replace:"n":"N"', v) AS replace
FROM inputs ORDER BY n;
SELECT v AS input, pg_temp.filter('|json', v) AS json, pg_temp.filter('|url', v) AS url, pg_temp.filter('|discord', v) AS discord
FROM inputs ORDER BY n;
SELECT v AS input, pg_temp.filter('|number:1', v) AS number, pg_temp.filter('|money', v) AS money, pg_temp.filter('|money:EUR', v) AS euro, pg_temp.filter('|plural:one:many', v) AS plural,
	   pg_temp.filter('|date:"DD.MM.YYYY"', v) AS date, pg_temp.filter('|random:r', v) AS random
FROM inputs ORDER BY n;
SELECT f AS filter, hooks.render('<{{data.missing | ' || f || '}}>', '{}') AS missing, hooks.render('<{{hook.name | ' || f || '}}>', '{}') AS no_hook
FROM unnest('{default:D,upper,lower,trim,truncate:3,replace:a:b,json,url,discord,number:1,money,money:EUR,plural:one:many,date:DD,random:r}'::text[]) f;
SELECT f AS filter, length(hooks.render('{{message | ' || f || '}}', jsonb_build_object('message', repeat('a*é ', 50000)))) AS length_of_200000
FROM unnest('{default:D,upper,lower,trim,truncate:3,truncate:100000,replace:a:bb,json,url,discord,number:1,money,plural:one:many,date:DD,random:r}'::text[]) f;

-- Case by Unicode, whatever the locale; one character stays one.
SELECT t AS text, hooks.render('{{message | upper}} {{message | lower}}', jsonb_build_object('message', t)) AS upper_and_lower
FROM unnest(ARRAY['Ann äöü', 'ÄÖÜ', 'Éric ÉRIC', 'σας ΣΑΣ', 'ж Ж', 'ﬁn', 'ⅷ', '日本 🎉', '1!', U&'e\0301']) t;

-- Trimmed are blanks, tabs and line ends, at both ends.
SELECT to_jsonb(t) AS text, to_jsonb(hooks.render('{{message | trim}}', jsonb_build_object('message', t))) AS trimmed
FROM unnest(ARRAY['  a  b  ', E'\t\r\n a \n', '   ', '', 'a', U&'\00A0a\00A0']) t;

-- Cut at characters, not bytes; the last one is an ellipsis when something is cut.
SELECT t AS text, n, hooks.render('{{message | truncate:' || n || '}}', jsonb_build_object('message', t)) AS cut
FROM (VALUES ('abcdef', 7), ('abcdef', 6), ('abcdef', 5), ('abcdef', 1), ('a', 1), ('', 1), ('éàüöä', 5), ('éàüöä', 4), ('🎉🎊🎈', 3), ('🎉🎊🎈', 2), ('日本語です', 3), (U&'e\0301e\0301', 3)) v (t, n);

-- Replaced is every place, from the left, and what was put there is not looked at again.
SELECT t AS text, f AS filter, hooks.render('{{message | ' || f || '}}', jsonb_build_object('message', t)) AS replaced
FROM (VALUES ('aaa', 'replace:"a":"aa"'), ('aaaa', 'replace:"aa":"b"'), ('aaa', 'replace:"aa":"a"'), ('ab', 'replace:"a":"b" | replace:"b":"c"'), ('a.b*c', 'replace:".":"-"'), ('Aa', 'replace:"a":"x"'),
	('a b', 'replace:" ":""'), ('abc', 'replace:"abc":""'), ('abc', 'replace:"abcd":"x"'), ('', 'replace:"a":"x"'), ('é日🎉', 'replace:"日":"{{username}}"'), ('a"b', 'replace:"\"":"''"'), ('a\b', 'replace:"\\":"/"'),
	('x', 'replace:"x":"{{message | upper}}"'), ('12', 'replace:1:2')) v (t, f);

-- Only what is empty has a default: not a blank, 0 or false.
SELECT v AS input, pg_temp.filter('|default:"D"', v) AS "default" FROM (VALUES ('" "'::jsonb), ('0'), ('"0"'), ('"null"'), ('"false"'), ('[]'), ('{}')) i (v);
SELECT hooks.render('{{message | trim | default:"nothing"}} {{message | default:"nothing" | trim}}', '{"message": " "}') AS in_their_order;

-- Discord's markdown and mentions
SELECT t AS text, hooks.render('{{message | discord}}', jsonb_build_object('message', t)) AS discord
FROM unnest(ARRAY['plain text, 1 + 1 = 2!', '**bold** _it_ ~~no~~ `code`', '||spoiler||', '> quote', '# title', '- item', '[text](https://example.com/a_b)', '<@123> @everyone', '<:emoji:1>', '\', '\*', 'é*']) t;

-- Percent-encoding, where a text is to become part of a URL
SELECT hooks.render('see https://example.com/?q={{message | url}}', '{"message": "a&b=c d/é?#\"~-_."}') AS url;

--
-- Numbers
--
SELECT v AS value, d AS decimals, hooks.render('{{amount | number:' || d || '}}', jsonb_build_object('amount', v)) AS number
FROM (VALUES ('10.50', 0), ('10.49', 0), ('0.5', 0), ('1.5', 0), ('2.5', 0), ('-0.5', 0), ('-2.5', 0), ('-0.4', 0), ('10', 2), ('10.005', 2), ('1.995', 2), ('0.1', 10), ('1e3', 0), ('1.5E-3', 4), ('1e-50', 2), ('+5', 1),
	('007', 0), ('10.50abc', 1), ('1,000.5', 1), ('5.', 1), ('5 EUR', 2), ('12345678901234567890.125', 2), ('9.99', 1), ('99.99', 1), ('0', 2), ('-0', 0), ('0.000', 2), ('1e99', 0),
	-- no numbers, and more than anybody has: unchanged
	('', 2), ('abc', 2), (' 5', 2), ('.5', 2), ('$5', 2), ('-', 2), ('--5', 2), ('e5', 2), ('NaN', 2), ('Infinity', 2), ('٥', 2), ('1e100', 0), ('-1e100', 0), ('1e999999999999999999999', 0), ('1e-999999999999', 0)) v (v, d);
SELECT hooks.render('{{amount | number:0}}', jsonb_build_object('amount', repeat('9', 100))) = '1' || repeat('0', 100) AS hundred_digits_would_not_round,
	   hooks.render('{{amount | number:0}}', jsonb_build_object('amount', repeat('9', 100))) = repeat('9', 100) AS hundred_digits,
	   hooks.render('{{amount | number:2}}', jsonb_build_object('amount', repeat('9', 101))) = repeat('9', 101) AS more_pass_unchanged,
	   hooks.render('{{amount | number:2}}', '{"amount": 1e131000}') = '1' || repeat('0', 131000) AS as_json_too;
SELECT hooks.render('{"a": {{amount | number:2}}, "b": "{{amount | number:2}}", "c": {{username | number:2}}}', '{"amount": "5", "username": "x"}', 'json') AS in_json;

-- Money: by the currency given or else the event's
SELECT a AS amount, c AS currency, hooks.render('{{amount | money}}', jsonb_build_object('amount', a, 'currency', c)) AS money, hooks.render('{{amount | money:"' || coalesce(c, '') || '"}}', jsonb_build_object('amount', a, 'currency', 'XYZ')) AS given
FROM (VALUES ('10.00', 'EUR'), ('10', 'USD'), ('10.005', 'GBP'), ('10.004', 'GBP'), ('1234567.891', 'USD'), ('-5', 'USD'), ('-0.001', 'USD'), ('-1.5', 'SEK'), ('0', 'EUR'), ('1234.5', 'JPY'), ('0.4', 'JPY'), ('5000.4', 'KRW'), ('100', 'VND'),
	('1.2345', 'KWD'), ('1', 'BHD'), ('99.9', 'CLP'), ('5', 'ISK'), ('5', 'CAD'), ('5', 'AUD'), ('5', 'BRL'), ('5', 'INR'), ('5', 'MXN'), ('5', 'CHF'), ('5', 'SEK'), ('5', 'PLN'), ('5', 'eur'), ('5', 'Usd'), ('5', 'sek'),
	('5', 'bits'), ('5', ''), ('5', NULL), ('5.5', 'EURO'), ('5', '€'), ('1e3', 'EUR'), ('5 bucks', 'EUR'), ('abc', 'EUR'), ('', 'EUR'), ('1e100', 'EUR'), ('$5', 'USD')) v (a, c);
SELECT hooks.render('{{amount | money}} {{amount | money:"JPY"}} {{data.other | money}} {{amount | money:""}}', '{"amount": 12.5, "currency": "EUR", "other": "3"}') AS other_fields,
	   hooks.render('{{amount | money}}', '{"amount": "5", "currency": {"a": 1}}') AS odd_currency, hooks.render('{{amount | money}}', '{"amount": "5", "currency": false}') AS none,
	   hooks.render('{"a": {{amount | money}}}', '{"amount": "5", "currency": "\", \"x\": \""}', 'json') AS in_json;

-- The word for one is for what equals 1.
SELECT v AS value, hooks.render('{{viewer_count}} {{viewer_count | plural:"viewer":"viewers"}}', jsonb_build_object('viewer_count', v)) AS text
FROM (VALUES ('1'::jsonb), ('"1"'), ('"1.0"'), ('"01"'), ('"10e-1"'), ('"1 viewer"'), ('"+1"'), ('0'), ('2'), ('-1'), ('"-1"'), ('1.5'), ('"1.0001"'), ('"11"'), ('""'), ('"one"'), ('true'), ('null'), ('[1]')) i (v);

--
-- Dates
--
SELECT f AS format, hooks.render('{{data.at | date:"' || f || '"}}', '{"at": "2026-03-01T09:05:07.123456Z"}') AS utc, hooks.render('{{data.at | date:"' || f || '":"America/New_York"}}', '{"at": "2026-03-01T02:05:07.123456Z"}') AS new_york
FROM unnest(ARRAY['YYYY-MM-DD', 'DD.MM.YYYY', 'HH24:MI', 'HH24:MI:SS.US', 'HH12:MI AM', 'FMHH12:MI pm', 'FMDay, DD FMMonth YYYY', 'Dy Mon DD', 'DDD Q IYYY-IW', 'FMDDth', 'YYYY\"T\"HH24', 'é 日 HH24', '-', 'no letters: %s']) f;
SELECT t AS "time", z AS zone, hooks.render('{{data.at | date:"YYYY-MM-DD HH24:MI":"' || z || '"}}', jsonb_build_object('at', t)) AS there
FROM (VALUES
	-- summer time begins and ends
	('2026-03-29T00:59:59Z', 'Europe/Berlin'), ('2026-03-29T01:00:00Z', 'Europe/Berlin'), ('2026-10-25T00:59:59Z', 'Europe/Berlin'), ('2026-10-25T01:00:00Z', 'Europe/Berlin'), ('2026-07-01T12:00:00Z', 'America/New_York'),
	('2026-01-01T12:00:00Z', 'America/New_York'), ('2026-07-01T12:00:00Z', 'Australia/Sydney'), ('2026-07-01T12:00:00Z', 'Asia/Kolkata'), ('2026-12-31T23:30:00Z', 'Asia/Tokyo'), ('2026-01-01T00:30:00Z', 'America/Los_Angeles'),
	('2026-07-01T12:00:00Z', 'UTC'), ('2026-07-01T12:00:00Z', 'europe/BERLIN'),
	-- times that say their zone, and times that are in UTC as they don't
	('2026-07-01T12:00:00+02:00', 'UTC'), ('2026-07-01T12:00:00-0530', 'UTC'), ('2026-07-01 12:00:00+02', 'Europe/Berlin'), ('2026-07-01T12:00:00', 'Europe/Berlin'), ('2026-07-01 12:00:00.123', 'Europe/Berlin'), ('2026-07-01T12:00', 'Europe/Berlin'),
	('2026-07-01 12:00:00 +02:00', 'UTC'), ('2026-07-01', 'UTC'), ('2026-07-01', 'America/New_York'), ('2024-02-29T23:59:59Z', 'UTC')) v (t, z);
-- Whatever the session says
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German, DMY';
SET lc_time = 'C';
SELECT hooks.render('{{data.at | date:"YYYY-MM-DD HH24:MI FMMonth"}} {{data.at | date:"HH24:MI":"Europe/Berlin"}} {{event.inserted_at}}', '{"data": {"at": "2026-07-01T12:00:00"}, "inserted_at": "2026-07-01T12:00:00"}') AS any_session;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
-- What is no time stays.
SELECT t AS no_time, hooks.render('{{data.at | date:"YYYY-MM-DD"}}', jsonb_build_object('at', t)) = t AS unchanged
FROM unnest(ARRAY['', 'now', 'today', 'tomorrow', 'yesterday', 'infinity', '-infinity', 'epoch', 'allballs', 'Ann', '2026', '12:00', '2026-13-01', '2026-02-30', '2025-02-29T00:00:00Z', '2026-07-01T25:00:00Z', '2026-07-01T12:60:00Z',
	'2026-07-01T12:00:00+25:00', '2026-07-01T12:00:00 Europe/Berlin', '2026-07-01T12:00:00 CEST', '0000-00-00', '2026-07-01T', ' 2026-07-01', '-2026-07-01', '2026-07-01 BC', '1 July 2026', '2026-07-01T12:00:00ZZ', '1767225600',
	'294277-01-01T00:00:00Z', repeat('2026-07-01 ', 10), '10:00:00 2026', E'2026-07-01\n12:00', '٢٠٢٦-٠٧-٠١']) t;
SELECT hooks.render('{{event.inserted_at | date:"HH24:MI":"Europe/Berlin"}} {{data.at | date:"HH24" | default:"-"}}', '{"inserted_at": "2026-03-01T12:00:00Z"}') AS of_the_event;

--
-- Random choice: the same for the same event, of its own for each expression
--
CREATE TEMP TABLE draws AS
SELECT i, jsonb_build_object('id', md5(i::text)::uuid, 'username', 'Ann') AS event FROM generate_series(1, 3000) i;
SELECT count(*) FILTER (WHERE hooks.render(t, event) <> hooks.render(t, event)) AS differ_when_repeated,
	   count(*) FILTER (WHERE hooks.render('x ' || t || ' y', event || '{"username": "Bob"}') <> 'x ' || hooks.render(t, event) || ' y') AS differ_with_the_text,
	   count(DISTINCT hooks.render(t, event)) AS results
FROM draws, (VALUES ('{{random:a:b:c}}{{random:a:b:c}}')) v (t);
SELECT r AS result, count(*) BETWEEN 850 AND 1150 AS about_a_third FROM draws, LATERAL (SELECT hooks.render('{{random:a:b:c}}', event) r) x GROUP BY r ORDER BY r;
SELECT count(*) BETWEEN 1350 AND 1650 AS half_agree FROM draws WHERE hooks.render('{{random:a:b}}', event) = right(hooks.render('{{random:a:b}}{{random:a:b}}', event), 1);
SELECT count(*) FILTER (WHERE hooks.render('{{random:a:b}}', event) = right(hooks.render('{{username}}: {{random:a:b}}', event), 1)) BETWEEN 1350 AND 1650 AS by_its_place FROM draws;
SELECT count(*) = 3000 AS all_of_twenty FROM draws WHERE hooks.render('{{random:1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20}}', event)::int BETWEEN 1 AND 20;
SELECT hooks.render('{{random:"{{username}}":"{{username}}"}}', '{"username": "Ann"}') AS its_texts_are_no_templates, hooks.render('{{random:"":""}}', '{}') AS empty;

--
-- Chains
--
SELECT t AS template, hooks.render(t, '{"username": "  ann O''hara ", "amount": "12.345", "currency": "EUR", "message": "a_b c"}') AS rendered
FROM unnest(ARRAY['<{{username | trim | upper | truncate:5}}>', '<{{username | truncate:5 | trim | upper}}>', '<{{data.nick | default:"none" | upper}}>', '<{{data.nick | upper | default:"none"}}>',
	'<{{amount | number:1 | money}}>', '<{{amount | money | replace:".":","}}>', '<{{amount | money | number:1}}>', '<{{message | url | lower}}>', '<{{message | discord | upper}}>', '<{{message | json | json}}>',
	'<{{message | json | upper | json}}>', '<{{amount | json | truncate:3 | json}}>', '<{{message | replace:"a":"x" | replace:"x":"y" | replace:"y":"z"}}>', '<{{username|trim|trim|trim|trim|trim|trim|trim|trim|trim|trim}}>',
	'<{{data.nick | json | default:"none"}}>', '<{{random:a | upper | default:"x" | json}}>']) t;

--
-- In JSON
--
SELECT t AS template, pg_temp.try(t, '{"username": "Ann \"A\" \\ B", "amount": "5.50", "data": {"username": "Ann \"A\" \\ B", "amount": "5.50", "o": {"k": ["v", 1]}, "t": true, "f": false, "n": null, "s": "text", "num": 7, "json": "{\"x\": 1}"}}', 'json') AS rendered
FROM unnest(ARRAY[
	-- in a string literal, whose quotes are escaped
	'{"a": "{{username | upper}}"}', '{"a": "<{{data.nick | default:\"some body\"}}>"}', '{"a": "{{data.nick | default:''some body''}}"}', '{"a": "{{data.nick | default:somebody}}"}', '{"a": "{{data.nick | default:\"say \\\"hi\\\"\"}}"}',
	'{"a": "{{username | replace:\"\\\"\":\"''\"}}"}', '{"a": "{{username | replace:\"\\\\\":\"/\"}}"}', '{"a": "{{data.nick | default:\"two\nlines\"}}"}', '{"a": "{{data.nick\n|\tupper}}"}', '{"a": "{{data.nick | default:\"a\/b\"}}"}',
	'{"a": "\\{{username | lower}}"}',
	-- … where a quote that is not ends the literal, and escapes by number are not undone
	'{"a": "{{data.nick | default:"x"}}"}', '{"a": "{{username | upper"}', '{"a": "{{data.nick | default:\u0022x\u0022}}"}',
	-- outside of one
	'{"a": {{username | upper}}}', '{"a": {{data.nick | default:"some body"}}}', '{"a": {{data.nick | default:"5"}}}', '{"a": {{data.nick}}}', '[{{amount | number:1}}, {{amount | money:"EUR"}}]', '{"a": {{random:"x \"y\""}}}',
	-- the filter json
	'[{{data.o}}, {{data.o | json}}]', '["{{data.o}}", "{{data.o | json}}"]', '[{{data.t | json}}, {{data.f | json}}, {{data.n | json}}, {{data.s | json}}, {{data.num | json}}, {{data.missing | json}}]', '[{{data.t}}, {{data.f}}, {{data.n}}, {{data.s}}, {{data.num}}, {{data.missing}}]',
	'[{{data.json}}, {{data.json | json}}]', '[{{data.o | json | upper}}, {{data.o | upper | json}}]', '[{{username | json}}, "{{username | json}}"]', '[{{data.o.k | json}}, {{data.o.k.1 | json}}]', '{"a": {{amount | json}}}', '{"a": {{data.nick | default:"x" | json}}}',
	-- keys are not for viewers
	'{"{{username | upper}}": 1}', '{"a": 1, "x{{random:a}}": 1}', '{"a": [{"b": "{{username}}"}, "{{username}}"], "c": "{{username}}"}', '{"a": {"{{data.s}}": 1}}', '["{{username}}", "{{username}}"]', '{"a": ["x", "{{username}}"], "{{unknown}}": "{{unknown}}"}'
]) t;

--
-- In a URL: encoded last, whatever the filters were
--
SELECT t AS template, pg_temp.try(t, '{"username": "A&n n/é", "amount": "5.50", "currency": "EUR", "data": {"username": "A&n n/é", "amount": "5.50", "currency": "EUR", "o": {"k": 1}}}', 'url') AS rendered
FROM unnest(ARRAY['https://example.com/{{username | lower}}?a={{amount | money}}', 'https://example.com/?n={{data.nick | default:"some body"}}&m={{username | truncate:3}}', 'https://example.com/?o={{data.o | json}}',
	'https://example.com/{{username | url}}', 'https://example.com/{{random:"a/b"}}', 'https://example.com/{{unknown}}', 'https://example.com/{{username | uper}}']) t;

--
-- Not more than 1 MB
--
SELECT length(hooks.render('{{message | upper}}' || repeat('x', 576), jsonb_build_object('message', repeat('a', 1048000)))) AS exactly;
SELECT hooks.render('{{message | upper}}' || repeat('x', 577), jsonb_build_object('message', repeat('a', 1048000)));
SELECT hooks.render('{{message | replace:"a":"aaaaaaaaaaaaaaaaaaaa"}}', jsonb_build_object('message', repeat('a', 60000)));
SELECT hooks.render('{{message | replace:"a":"aaaaaaaaaa" | replace:"a":"aaaaaaaaaa" | replace:"a":"aaaaaaaaaa" | replace:"a":"aaaaaaaaaa"}}', jsonb_build_object('message', repeat('a', 1000)));
SELECT hooks.render('{{message | replace:"a":"aaaaaaaaaa" | replace:"a":"aaaaaaaaaa" | replace:"a":"aaaaaaaaaa" | replace:"a":"aaaaaaaaaa" | truncate:5}}', jsonb_build_object('message', repeat('a', 1000))) AS truncated_too_late;
SELECT hooks.render('{{message | url}}', jsonb_build_object('message', repeat('é', 180000)));
SELECT hooks.render(repeat('{{message | lower}}', 100), jsonb_build_object('message', repeat('A', 20000)));

--
-- Webhooks whose body is JSON: "body" in action_config
--
CREATE FUNCTION pg_temp.write_webhook(settings jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	VALUES ('00000000-0000-4000-8000-000000000001', 'hook', 'donation', 'webhook', jsonb '{"url": "https://example.com/hook"}' || settings);
	DELETE FROM stream_hooks;
	RETURN 'accepted';
EXCEPTION WHEN integrity_constraint_violation THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n    ', SQLERRM, nullif(hint, ''));
END $$;
SELECT settings, pg_temp.write_webhook(settings) AS result
FROM (VALUES
	('{"body": {}}'::jsonb), ('{"body": []}'), ('{"body": null}'), ('{"body": {"text": "{{username | default:\"somebody\"}} gave {{amount | money}}"}}'), ('{"body": ["{{username}}", 5, true, null, {"a": ["{{data.metadata | json}}"]}]}'),
	('{"body": {"{{username}}": 1, "{{x | nonsense}}": 2}}'), ('{"body": {"a": "{{unknown}} {{ }} {{{username}}}"}}'), ('{"body": null, "body_template": "x"}'), ('{"body": {"a": 1}, "method": "GET"}'),
	('{"body": {"a": "{{username}}"}, "headers": {"Content-Type": "application/vnd.api+json"}}'),
	-- not an object or array
	('{"body": "{{username}}"}'), ('{"body": 5}'), ('{"body": true}'), ('{"body": ""}'),
	-- one or the other
	('{"body": {"a": 1}, "body_template": "x"}'), ('{"body": {"a": 1}, "body_template": ""}'),
	-- wrong expressions in it, wherever they stand
	('{"body": {"a": "{{username | uper}}"}}'), ('{"body": [1, {"b": ["{{usernam | upper}}"]}]}'), ('{"body": {"a": "{{username | truncate:x}}"}}'), ('{"body": {"a": "{{username | upper"}}'),
	('{"body": {"a": "{{username | upper}} {{username | default}}"}}'),
	-- the same elsewhere
	('{"body_template": "{{username | uper}}"}'), ('{"body_template": "{\"a\": \"{{username | default:\\\"x\\\"}}\"}"}'), ('{"body_template": "{\"a\": \"{{username | uper}}\"}"}'), ('{"body_template": "{\"{{username}}\": 1}"}'),
	('{"url": "https://example.com/{{username | uper}}"}'), ('{"url": "https://example.com/{{username | lower}}?at={{event.inserted_at | date:\"HH24:MI\":\"Europe/Berlin\"}}"}'),
	('{"url": "https://{{username | lower}}.example.com/"}'), ('{"headers": {"X-User": "{{username | uper}}"}}'), ('{"headers": {"X-User": "{{username | url | truncate:100}}"}}')
) v (settings);
SELECT length, pg_temp.write_webhook(jsonb_build_object('body', jsonb_build_object('a', repeat('x', length)))) AS result FROM unnest('{16000,17000}'::int[]) length;
SELECT count(*) AS hooks_left FROM stream_hooks;

--
-- Whatever a viewer is called, JSON stays JSON with the keys of the template.
--
SELECT setseed(0.5);
CREATE TEMP TABLE hostile AS
SELECT i, (SELECT string_agg((ARRAY['"', '\', '{', '}', '{{', '}}', '[', ']', ',', ':', '|', '''', 'u0022', 'n', '0', '1', '-', '.', 'e', ' ', E'\n', E'\r', E'\t', E'\x01', E'\x1f', E'\x7f', 'é', '日', '🎉', U&'\2028', '{{amount}}', '{{username | json}}',
								   '"}, "x": "', '", "admin": true, "y": "', '}}", "z": 1', '| json', '/* ', '</script>', '%s', 'null', 'true'])[1 + floor(random() * 41)::int], '')
		   FROM generate_series(1, 1 + i % 9)) AS name
FROM generate_series(1, 20000) i;
SELECT count(*) AS names, count(DISTINCT name) > 10000 AS different,
	   count(*) FILTER (WHERE (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(a) k) = '{amount,json,list,name,say,upper}'
						  AND a ->> 'name' = name AND a ->> 'say' = 'hi ' || name || '!' AND a ->> 'upper' = hooks.render('{{username | upper}}', jsonb_build_object('username', name))
						  AND a -> 'json' IN (to_jsonb(name), CASE WHEN pg_input_is_number THEN to_jsonb(name::numeric) END) AND jsonb_array_length(a -> 'list') = 3 AND a -> 'amount' = '"€5.00"') AS kept,
	   count(*) FILTER (WHERE (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(b) k) = '{a,b}' AND b ->> 'a' = '\' || name AND (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(b -> 'b') k) = '{c,d,e}'
						  AND b -> 'b' ->> 'c' = coalesce(nullif(name, ''), 'some "body"') AND length(b -> 'b' ->> 'd') <= 5 AND b -> 'b' ->> 'e' = replace(name, '"', '\')) AS kept_too
FROM (SELECT name, name ~ '^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,4})?$' AS pg_input_is_number,
			 hooks.render('{"name": "{{username}}", "say": "hi {{username | default:\"x\"}}!", "upper": "{{username | upper}}", "json": {{username | json}}, "list": [{{username | truncate:3}}, {{username | discord}}, "{{username | json}}"], "amount": {{amount | money}}}',
						  jsonb_build_object('username', name, 'amount', '5', 'currency', 'EUR'), 'json')::jsonb AS a,
			 hooks.render('{"a": "\\{{username}}", "b": {"c": "{{username | default:\"some \\\"body\\\"\"}}", "d": {{username | truncate:5 | url | truncate:5}}, "e": "{{username | replace:\"\\\"\":\"\\\\\"}}"}}',
						  jsonb_build_object('username', name), 'json')::jsonb AS b
	  FROM hostile) r;

-- … and a URL keeps its parts.
SELECT count(*) AS urls FROM hostile
WHERE hooks.render('https://example.com/{{username | lower}}?a={{username | replace:"a":"/"}}&b={{random:"c/d"}}', jsonb_build_object('username', name), 'url') ~ '^https://example\.com/[A-Za-z0-9._~%-]*\?a=[A-Za-z0-9._~%-]*&b=c%2Fd$';

--
-- What once was wrong
--
-- brackets that close nothing
SELECT length(hooks.render(repeat(']', 500) || repeat('{', 500), '{}', 'json'));
SELECT length(hooks.render(repeat('{[', 500) || '{{amount}}', '{"amount": 5}', 'json'));
-- zeros with an exponent that numeric does not take
SELECT v, hooks.render('{{arg1 | money}} {{arg1 | number:2}}', jsonb_build_object('message', '!x ' || v)) AS rendered
FROM unnest(ARRAY['0e-20000', '0e99999999999', '-0.0e20000', '1e99999', '1e-99999', '0.00000001e8']) v;
-- times that PostgreSQL's parser raises errors for, or reads by the session's settings
SET datestyle = 'German';
SELECT v, hooks.render('{{arg1 | date:"YYYY-MM-DD"}}', jsonb_build_object('message', '!x ' || v)) AS rendered
FROM unnest(ARRAY['2026-01-01Z-01:', '2026-01-01T', '01-02-2026', '1700001231', '20260101', '2026-13-01', '2026-02-30', '2026-02-28T23:59:60Z',
                  '2026-02-28T23:30-0130', '2026-02-28T23:30+99', '0000-01-01']) v;
RESET datestyle;
SELECT hooks.render('x', '{"id": "00000000--000-4000-8000-000000000000", "inserted_at": "2026-01-01Z-01:"}');
-- values that grow from filter to filter
SELECT hooks.render('{{message | discord | discord | discord | discord | discord | discord | discord | discord | discord | discord}}',
                    jsonb_build_object('message', repeat('*', 32000)));
-- formats that would say something wrong
SELECT hooks.render('{{event.inserted_at | date:"HH24:MI TZ":"Europe/Berlin"}}', '{}');
SELECT hooks.render('{{event.inserted_at | date:"HH24:MI of"}}', '{}');
SELECT hooks.render('{{event.inserted_at | date:"DD \"of\" FMMonth":"Europe/Berlin"}}', '{"inserted_at": "2026-05-31T23:00:00Z"}');
SELECT hooks.render('{{event.inserted_at | date:"HH24:MI":"Foo5"}}', '{}');
SELECT hooks.render('{{event.inserted_at | date:"HH24:MI":"UTC+2"}}', '{}');
-- one text too many
SELECT hooks.render('{{random:1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20:21}}', '{}');
