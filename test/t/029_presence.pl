# hooks.require_presence: only users who have joined are served, once and for
# all; nothing stops when they leave.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 9);
add_hook($node, user => $_, name => "of $_", url => $receiver->url("/user/$_")) for 1 .. 9;

sub joined
{
	my ($user) = @_;

	return sprintf 'SELECT hooks.user_joined(%s)', literal(user_uuid($user));
}

# An event by itself as SQL.
sub event_of
{
	my ($user) = @_;

	return sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{}', %s)}, literal(user_uuid($user));
}

sub delivered
{
	my ($user) = @_;

	wait_idle($node);
	return scalar logs($node, user => $user);
}

# By default everybody is served.

add_event($node, user => 1);
is(delivered(1), 1, 'off: a user who has never joined is served');
is(stat($node, 'events_unserved'), 0, '... and not counted');

# A session that has asked already, when it is switched on.

my $session = $node->background_psql('postgres', on_error_stop => 1);
$session->query_safe(event_of(2));
is(delivered(2), 1, 'an open session');
configure($node, { 'hooks.require_presence' => 'on' });
$session->query_safe(event_of(2));
is(delivered(2), 1, 'on: a user who has not joined is not served any more');
is(stat($node, 'events_queued'), 2, '... the event was not queued');
is(stat($node, 'events_unserved'), 1, '... but counted');

$node->safe_psql('postgres', joined(2));
$session->query_safe(event_of(2));
is(delivered(2), 2, 'the next event after they have joined, in a session that knew that they had not');

# Joining is part of a transaction.

$node->safe_psql('postgres', 'BEGIN; ' . joined(3) . '; ' . event_of(3) . '; COMMIT');
is(delivered(3), 1, 'joined in the same transaction');
$session->query_safe('BEGIN; ' . joined(4) . '; ' . event_of(4) . '; ROLLBACK');
$session->query_safe(event_of(4));
is(delivered(4), 0, 'a transaction that was rolled back');
$session->query_safe('BEGIN; SAVEPOINT s; ' . joined(4) . '; ROLLBACK TO s; ' . event_of(4) . '; COMMIT');
is(delivered(4), 0, '... or a savepoint');

# What sessions cannot find out, the worker does.

my $unserved = stat($node, 'events_unserved');
$node->safe_psql('postgres', 'BEGIN ISOLATION LEVEL SERIALIZABLE; ' . event_of(4) . '; ' . event_of(3) . '; COMMIT');
is(delivered(4), 0, 'SERIALIZABLE: a user who has not joined');
is(delivered(3), 2, '... and one who has');
is(stat($node, 'events_unserved'), $unserved + 1, '... is counted');

my $locker = $node->background_psql('postgres', on_error_stop => 1);
$locker->query_safe('BEGIN; LOCK TABLE hooks.presence');
$node->safe_psql('postgres', "SET statement_timeout = '5s'; " . event_of($_)) for 3, 4, 5;
$locker->query_safe(joined(5));
$locker->query_safe('COMMIT');
is(delivered(3), 3, 'a lock on the table holds no insertion up, and no event is lost');
is(delivered(4), 0, '... nor is somebody served who has not joined');
is(delivered(5), 1, '... who has joined meanwhile is');

# Events that are announced.

my $announce = q{SELECT hooks.trigger_lifecycle_event(%s, 'stream_start')};
add_hook($node, user => $_, trigger => 'stream_start', url => $receiver->url("/user/$_")) for 3, 4;
$node->safe_psql('postgres', sprintf $announce, literal(user_uuid($_))) for 3, 4;
is(delivered(3), 4, 'a lifecycle event of a user who has joined');
is(delivered(4), 0, '... and of one who has not');

# Leaving.

sub shown
{
	my ($user) = @_;

	return value($node, sprintf q{SELECT concat_ws(' ', joined_at IS NOT NULL, left_at >= joined_at) FROM hooks.executors WHERE user_id = %s},
		literal(user_uuid($user)));
}
is(shown(4), 'f', 'hooks.executors: a user who has not joined');
is(shown(3), 't', '... who has');
$node->safe_psql('postgres', sprintf 'SELECT hooks.user_left(%s)', literal(user_uuid($_))) for 3, 4;
is(shown(3), 't t', '... who has left again');
is(shown(4), 'f', '... who has left without having joined');
add_event($node, user => 3);
is(delivered(3), 5, 'who has left is still served');
$node->safe_psql('postgres', joined(3));
is(shown(3), 't', '... and has come back');

my ($ret, $out, $error) = $node->psql('postgres', 'SELECT hooks.user_joined(NULL)');
like($error, qr/user must not be null/, 'nobody cannot join');

# Why nothing happens.

my $event = add_event($node, user => 4);
is( value($node, sprintf q{SELECT verdict || ': ' || reason FROM hooks.explain(%s) WHERE hook_name = 'of 4'}, literal($event)),
	'not_served: the user has never joined, and hooks.require_presence is on',
	'hooks.explain() says so');
is(value($node, sprintf 'SELECT verdict FROM hooks.explain(%s)', literal(add_event($node, user => 5))), 'fires', '... and nothing of others');
wait_idle($node);

# An application's role, and a tenant's.

$node->safe_psql(
	'postgres', q{
	CREATE ROLE app LOGIN; CREATE ROLE tenant LOGIN;
	GRANT EXECUTE ON FUNCTION hooks.user_joined, hooks.user_left TO app;
	ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON stream_hooks TO tenant USING (user_id = current_setting('app.user_id')::uuid);
	GRANT SELECT ON stream_hooks TO tenant});
$node->safe_psql('postgres', 'SET ROLE app; ' . joined(6));
add_event($node, user => 6);
is(delivered(6), 1, 'joined by the role of the application');
($ret, $out, $error) = $node->psql('postgres', 'SET ROLE tenant; ' . joined(7));
like($error, qr/permission denied for function user_joined/, 'others may not');
is( value($node, sprintf q{SET ROLE tenant; SET app.user_id = %s; SELECT string_agg(user_id::text, ' ') FROM hooks.joined}, literal(user_uuid(6))),
	user_uuid(6),
	'a tenant sees of nobody else who has joined');
($ret, $out, $error) = $node->psql('postgres', 'SET ROLE tenant; SELECT * FROM hooks.presence');
like($error, qr/permission denied for table presence/, '... nor in the table');

# A dump has it.

$node->command_ok([ 'pg_dump', '-f', "$PostgreSQL::Test::Utils::tmp_check/presence.sql", $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-o', '/dev/null', '-f', "$PostgreSQL::Test::Utils::tmp_check/presence.sql", $node->connstr('copy') ], 'restored');
is( value($node, 'SELECT md5(array_agg(p ORDER BY user_id)::text) FROM hooks.presence p', 'copy'),
	value($node, 'SELECT md5(array_agg(p ORDER BY user_id)::text) FROM hooks.presence p'),
	'who has joined is in a dump');

# Off again.

configure($node, { 'hooks.require_presence' => 'off' });
$session->query_safe(event_of(4));
is(delivered(4), 1, 'off again: everybody is served');

$session->quit;
$locker->quit;
done_testing();
