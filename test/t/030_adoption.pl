# CREATE EXTENSION in a database that has Streampai's own tables, made by its
# migrations and full of rows: they are taken into use as they are.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', timezone => 'Asia/Kathmandu');
my $receiver = Hooks::Receiver->start;
my $ok = $receiver->url('/ok/old');

# Times without time zone hold UTC.  Nobody said ON DELETE.  cooldown_seconds
# and duration_ms are bigint.  Neither attempt nor response_status.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE users (
		id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
		email text NOT NULL,
		inserted_at timestamp(0) NOT NULL DEFAULT timezone('utc', now()));
	CREATE TABLE stream_events (
		id uuid NOT NULL PRIMARY KEY,
		type text NOT NULL,
		data jsonb NOT NULL,
		author_id text NOT NULL,
		livestream_id uuid NOT NULL,
		user_id uuid NOT NULL REFERENCES users (id),
		platform text,
		viewer_id text,
		was_displayed boolean DEFAULT false,
		inserted_at timestamp NOT NULL DEFAULT timezone('utc', now()));
	CREATE TABLE stream_hooks (
		id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
		name text NOT NULL,
		enabled boolean NOT NULL DEFAULT true,
		trigger_type text NOT NULL,
		conditions jsonb DEFAULT '{}',
		action_type text NOT NULL,
		action_config jsonb NOT NULL DEFAULT '{}',
		cooldown_seconds bigint NOT NULL DEFAULT 0,
		last_triggered_at timestamp,
		inserted_at timestamp NOT NULL DEFAULT timezone('utc', now()),
		updated_at timestamp NOT NULL DEFAULT timezone('utc', now()),
		user_id uuid NOT NULL REFERENCES users (id));
	CREATE INDEX ON stream_hooks (user_id, trigger_type);
	CREATE TABLE stream_hook_logs (
		id uuid NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
		hook_id uuid NOT NULL REFERENCES stream_hooks (id),
		stream_event_id uuid,
		trigger_type text NOT NULL,
		action_type text NOT NULL,
		status text NOT NULL,
		error_message text,
		executed_at timestamp NOT NULL,
		duration_ms bigint,
		inserted_at timestamp NOT NULL DEFAULT timezone('utc', now()),
		user_id uuid NOT NULL REFERENCES users (id))});

# 50 users; 4 hooks each, of which some cool down, some are disabled, and some
# could not be written today; old events and logs.
$node->safe_psql(
	'postgres', sprintf q{
	INSERT INTO users (id, email)
	SELECT format('00000000-0000-4000-8000-%%s', lpad(n::text, 12, '0'))::uuid, n || '@example.com'
	FROM generate_series(1, 50) AS n;

	INSERT INTO stream_hooks (user_id, name, trigger_type, conditions, action_type, action_config, cooldown_seconds,
		last_triggered_at, enabled, inserted_at, updated_at)
	SELECT u.id, 'hook ' || h, CASE WHEN h <= 3 THEN 'donation' ELSE 'follow' END,
		CASE h WHEN 1 THEN '{"min_amount": 5}' WHEN 2 THEN '{}' END::jsonb, 'webhook',
		jsonb_build_object('url', %1$s, 'method', 'POST'),
		CASE h WHEN 2 THEN 3600 ELSE 0 END,
		CASE h WHEN 2 THEN timezone('utc', now()) - interval '30 minutes' END,
		h <> 4, timezone('utc', now()) - interval '1 year', timezone('utc', now()) - interval '1 year'
	FROM users AS u, generate_series(1, 4) AS h;

	INSERT INTO stream_events
	SELECT gen_random_uuid(), 'donation', '{"donor_name": "old", "amount": "100.00", "currency": "EUR"}', 'x',
		gen_random_uuid(), u.id, 'youtube', NULL, true, timezone('utc', now()) - n * interval '1 minute'
	FROM users AS u, generate_series(1, 100) AS n;

	INSERT INTO stream_hook_logs (hook_id, stream_event_id, trigger_type, action_type, status, executed_at,
		duration_ms, user_id)
	SELECT h.id, gen_random_uuid(), h.trigger_type, h.action_type, 'success', timezone('utc', now()) - interval '1 day',
		3000000000, h.user_id
	FROM stream_hooks AS h, generate_series(1, 20)}, literal($ok));

sub contents
{
	my ($table, $columns) = @_;
	return value($node, "SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM (SELECT $columns FROM $table) AS t");
}

my %columns = (
	users => '*',
	stream_events => '*',
	stream_hooks => '*',
	stream_hook_logs => 'id, hook_id, stream_event_id, trigger_type, action_type, status, error_message, '
	  . 'executed_at, duration_ms, inserted_at, user_id');
my %before = map { $_ => contents($_, $columns{$_}) } keys %columns;
my ($result, $stdout, $stderr) = $node->psql('postgres', 'CREATE EXTENSION hooks');

is($result, 0, 'CREATE EXTENSION succeeds');
like($stderr, qr/NOTICE:  existing table "\S*stream_hooks" is taken into use/, '... says that it takes the hooks');
like($stderr, qr/NOTICE:  existing table "\S*stream_hook_logs" is taken into use/, '... and the logs');
like($stderr, qr/NOTICE:  timestamps without time zone in "\S*stream_hooks" are taken as UTC/, '... what times mean');
like($stderr, qr/NOTICE:  foreign key "stream_hook_logs_hook_id_fkey" .* has no ON DELETE CASCADE/,
	'... and what it left');
is_deeply({ map { $_ => contents($_, $columns{$_}) } keys %columns }, \%before, 'no row has changed');
is( value($node, q{SELECT string_agg(format_type(atttypid, atttypmod), ',' ORDER BY attrelid::regclass::text, attname)
		FROM pg_attribute WHERE attrelid IN ('stream_hooks'::regclass, 'stream_hook_logs'::regclass)
		AND attname IN ('cooldown_seconds', 'duration_ms', 'executed_at', 'updated_at', 'attempt', 'response_status')}),
	'integer,bigint,timestamp without time zone,integer,bigint,timestamp without time zone',
	'columns keep their types; attempt and response_status are added');
is( value($node, q{SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
		AND objid IN ('stream_hooks'::regclass, 'stream_hook_logs'::regclass)}),
	0,
	'the tables are not members of the extension');

# Existing hooks fire; history does not.
wait_idle($node);
is_deeply([ $receiver->take ], [], 'old events do not fire');
$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs');

my $event = '30000000-0000-4000-8000-000000000001';
my $data = { donor_name => 'Ada', amount => '4.00', currency => 'EUR' };

sub insert
{
	my ($id, $user, $type) = @_;

	$node->safe_psql(
		'postgres', sprintf q{INSERT INTO stream_events (id, type, data, author_id, livestream_id, user_id, platform)
		VALUES ('%s', '%s', %s, 'x', gen_random_uuid(), '%s', 'youtube')
		ON CONFLICT (id) DO UPDATE SET data = excluded.data},
		$id, $type || 'donation', jsonb($data), user_uuid($user));
	wait_idle($node);
	return;
}

sub by_hook
{
	my ($user) = @_;
	return {
		map { $_->{name} => $_->{status} } rows(
			$node, sprintf q{SELECT h.name, l.status FROM stream_hook_logs AS l JOIN stream_hooks AS h ON h.id = l.hook_id
			WHERE l.user_id = '%s'}, user_uuid($user))
	};
}

insert($event, 7);
is_deeply(
	by_hook(7),
	{ 'hook 1' => 'skipped_condition', 'hook 2' => 'skipped_cooldown', 'hook 3' => 'success' },
	'existing hooks fire, with their conditions and cooldowns');
my @requests = $receiver->take;
is(scalar @requests, 1, 'one request');
like(
	JSON::PP::decode_json($requests[0]{body})->{timestamp},
	qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/,
	'... with a timestamp in UTC');
cmp_ok(
	abs(value(
			$node, sprintf q{SELECT extract(epoch FROM %s::timestamptz) - extract(epoch FROM now())},
			literal(JSON::PP::decode_json($requests[0]{body})->{timestamp}))),
	'<', 60, '... of now, though the server lives in another time zone');

# Times that are written are UTC, too.
is( value(
		$node, q{SELECT bool_and(abs(extract(epoch FROM timezone('utc', now()) - executed_at)) < 60
			AND abs(extract(epoch FROM timezone('utc', now()) - inserted_at)) < 60) FROM stream_hook_logs}),
	't',
	'executed_at and inserted_at of logs are UTC');
is( value(
		$node, sprintf q{SELECT abs(extract(epoch FROM timezone('utc', now()) - last_triggered_at)) < 60
		FROM stream_hooks WHERE user_id = '%s' AND name = 'hook 3'}, user_uuid(7)),
	't',
	'last_triggered_at is UTC');
is( value(
		$node, sprintf q{SELECT bool_and(updated_at < timezone('utc', now()) - interval '300 days')
		FROM stream_hooks WHERE user_id = '%s'}, user_uuid(7)),
	't',
	'firing leaves updated_at alone');

# The cooldown was half over: an hour after last_triggered_at in UTC.
$node->safe_psql(
	'postgres', sprintf q{UPDATE stream_hooks SET last_triggered_at = timezone('utc', now()) - interval '3601 seconds'
	WHERE user_id = '%s' AND name = 'hook 2'}, user_uuid(8));
insert('30000000-0000-4000-8000-000000000002', 8);
is(by_hook(8)->{'hook 2'}, 'success', 'a cooldown that has just ended');
$node->safe_psql(
	'postgres', sprintf q{UPDATE stream_hooks SET last_triggered_at = timezone('utc', now()) - interval '3540 seconds'
	WHERE user_id = '%s' AND name = 'hook 2'}, user_uuid(9));
insert('30000000-0000-4000-8000-000000000003', 9);
is(by_hook(9)->{'hook 2'}, 'skipped_cooldown', 'a cooldown that is about to end');

# Editing keeps updated_at, in UTC.
$node->safe_psql('postgres',
	sprintf q{UPDATE stream_hooks SET name = 'edited' WHERE user_id = '%s' AND name = 'hook 1'}, user_uuid(7));
is( value(
		$node, sprintf q{SELECT abs(extract(epoch FROM timezone('utc', now()) - updated_at)) < 60
		FROM stream_hooks WHERE user_id = '%s' AND name = 'edited'}, user_uuid(7)),
	't',
	'editing sets updated_at, in UTC');
$node->safe_psql(
	'postgres',
	sprintf q{UPDATE stream_hooks SET enabled = true, updated_at = '2001-01-01' WHERE user_id = '%s' AND name = 'hook 4'},
	user_uuid(7));
is( value(
		$node, sprintf q{SELECT updated_at FROM stream_hooks WHERE user_id = '%s' AND name = 'hook 4'}, user_uuid(7)),
	'2001-01-01 00:00:00',
	'an application that sets updated_at itself is left to it');

# Rows that end as an update do not fire, and a conflict is no error.
$receiver->take;
insert($event, 7);
is_deeply([ $receiver->take ], [], 'the same event again does not fire');

# A hook that got in before there was validation does not stop anything.
$node->safe_psql(
	'postgres', sprintf q{
	ALTER TABLE stream_hooks DISABLE TRIGGER hooks_check;
	UPDATE stream_hooks SET action_config = '{}' WHERE user_id = '%1$s' AND name = 'hook 3';
	UPDATE stream_hooks SET conditions = '{"min_amount": "lots"}' WHERE user_id = '%1$s' AND name = 'hook 1';
	UPDATE stream_hooks SET cooldown_seconds = 0 WHERE user_id = '%1$s' AND name = 'hook 2';
	ALTER TABLE stream_hooks ENABLE TRIGGER hooks_check}, user_uuid(10));
insert('30000000-0000-4000-8000-000000000004', 10);
is_deeply(
	{
		map { $_->{name} => $_->{error_message} } rows(
			$node, sprintf q{SELECT h.name, l.error_message FROM stream_hook_logs AS l JOIN stream_hooks AS h ON h.id = l.hook_id
			WHERE l.user_id = '%s'}, user_uuid(10))
	}->{'hook 3'},
	'Missing webhook URL',
	'a hook without a URL logs so');
is_deeply(
	by_hook(10),
	{ 'hook 1' => 'failure', 'hook 2' => 'success', 'hook 3' => 'failure' },
	'the hooks beside it fire');

# A second setup changes nothing and says nothing.
($result, $stdout, $stderr) = $node->psql('postgres', 'SELECT hooks.setup()');
is_deeply([ $result, $stderr ], [ 0, '' ], 'setup() again has nothing to do');

# Events of lifecycle are in no table; the log names them all the same.
$node->safe_psql('postgres',
	sprintf q{UPDATE stream_hooks SET trigger_type = 'stream_start', conditions = '{}' WHERE user_id = '%s'}, user_uuid(11));
my $announced = value($node, sprintf q{SELECT hooks.trigger_lifecycle_event('%s', 'stream_start', '{}')}, user_uuid(11));
wait_idle($node);
is( value($node, "SELECT count(*) FROM stream_hook_logs WHERE stream_event_id = '$announced' AND status = 'success'"),
	2,
	'announced events fire and are logged');

finish($node);
done_testing();
