# hooks.executors: a row per user with hooks.

use strict;
use warnings;

use lib 'test/perl';
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 4);

sub executors
{
	return { map { $_->{user_id} => $_ } rows($node, 'SELECT * FROM hooks.executors') };
}

sub executor
{
	my ($user) = @_;
	my $executor = executors()->{ user_uuid($user) };

	return $executor && [ @$executor{qw(hooks waiting in_flight paused last_status last_error)} ];
}

# Whoever asks for one user gets the same.
sub check_one_by_one
{
	my $rows = executors();

	foreach my $user (map { user_uuid($_) } 1 .. 4)
	{
		my @row = rows($node, 'SELECT * FROM hooks.executor(' . literal($user) . ')');

		is_deeply(\@row, [ $rows->{$user} // () ], 'hooks.executor() and hooks.executors say the same of ' . $user);
	}
	return;
}

is_deeply(executors(), {}, 'users without hooks have no row');
check_one_by_one();

my $first = add_hook($node, user => 1, url => $receiver->url('/ok'));
add_hook($node, user => 1, enabled => 0, url => $receiver->url('/ok'));
add_hook($node, user => 2, url => $receiver->url('/status/500'), attempts => 2, config => { retry_schedule => [600] });
add_hook($node, user => 3, url => $receiver->url('/hang'), config => { timeout_ms => 60000 });

is_deeply(executor(1), [ 1, 0, 0, JSON::PP::false, undef, undef ], 'a user with an enabled hook and another one');
is(executors()->{ user_uuid(1) }{last_event_at}, undef, '... no event yet');
is(executor(4), undef, 'a user without hooks');

add_event($node, user => 1);
wait_idle($node);
is_deeply(executor(1), [ 1, 0, 0, JSON::PP::false, 'success', undef ], 'after an event');
is(value($node, 'SELECT last_event_at = (SELECT max(executed_at) FROM stream_hook_logs) FROM hooks.executors WHERE user_id = '
		  . literal(user_uuid(1))), 't', '... its time');

add_event($node, user => 2);
wait_until(sub { scalar logs($node, user => 2) }, 'the first attempt');
is_deeply(executor(2), [ 1, 1, 0, JSON::PP::false, 'failure', 'HTTP 500' ], 'a retry waits');

add_event($node, user => 3) for 1 .. 3;
wait_until(sub { stat($node, 'in_flight') == 3 }, 'three requests under way');
is_deeply(executor(3), [ 1, 3, 3, JSON::PP::false, undef, undef ], 'requests under way');
is_deeply(executor(2), [ 1, 1, 0, JSON::PP::false, 'failure', 'HTTP 500' ], '... are of their user only');

$node->safe_psql('postgres', 'SELECT hooks.pause(user_id => ' . literal(user_uuid(1)) . ')');
is(executor(1)->[3], JSON::PP::true, 'a user who is paused');
$node->safe_psql('postgres', 'SELECT hooks.user_joined(' . literal(user_uuid(3)) . ')');
check_one_by_one();

# Others' users are not shown, whatever is asked.
$node->safe_psql(
	'postgres', q{
	CREATE ROLE tenant;
	GRANT SELECT ON stream_hooks, stream_hook_logs, hooks.executors TO tenant;
	ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY;
	ALTER TABLE stream_hook_logs ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON stream_hooks TO tenant USING (user_id = current_setting('app.user_id')::uuid);
	CREATE POLICY own ON stream_hook_logs TO tenant USING (user_id = current_setting('app.user_id')::uuid)});
my $as_tenant = 'SET ROLE tenant; SET app.user_id = ' . literal(user_uuid(2)) . '; ';
is(value($node, $as_tenant . 'SELECT user_id, waiting, last_error FROM hooks.executors'),
	user_uuid(2) . '|1|HTTP 500', 'a tenant sees its own row');
isnt($node->psql('postgres', $as_tenant . 'SELECT * FROM hooks.executor(' . literal(user_uuid(2)) . ')'),
	0, '... hooks.executor() is granted to nobody');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION hooks.executor TO tenant');
is(value($node, $as_tenant . 'SELECT user_id, waiting, last_error FROM hooks.executor(' . literal(user_uuid(2)) . ')'),
	user_uuid(2) . '|1|HTTP 500', '... with it, the row is the same');
is(value($node, $as_tenant . 'SELECT count(*) FROM hooks.executor(' . literal(user_uuid(3)) . ')'), 0, '... and there is none of others');
is(value($node, $as_tenant . 'SELECT count(*) FROM hooks.under_way()'), 0, '... and no requests of others');
is(value($node, $as_tenant . 'SELECT at, status, error FROM hooks.last_result(' . literal(user_uuid(1)) . ')'),
	'||', '... nor what has come of them');

# A worker that is gone has nothing under way.
kill 'KILL', worker_pid($node);
wait_until(sub { $node->psql('postgres', 'SELECT 1') == 0 && worker_pid($node) ne '' }, 'another worker');
wait_until(sub { executor(3)->[2] == 3 }, 'three requests again');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks WHERE user_id = ' . literal(user_uuid(3)));
is(executor(3), undef, 'without hooks no row');

finish($node, qr/was terminated by signal 9/);
done_testing();
