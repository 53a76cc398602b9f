# Somebody holds a lock on our tables or on users: applications do not wait,
# other users' deliveries go on, and nothing is lost when the lock is gone.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.rotation_age' => '1s', 'hooks.rotation_size' => '64kB');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 5);
add_hook($node, user => $_, url => $receiver->url("/ok/$_")) for 1 .. 4;
add_hook($node, user => 4, trigger => 'raid', cooldown => 3600, url => $receiver->url('/ok/cooldown'));

my $holder = $node->background_psql('postgres');
my $application = $node->background_psql('postgres');

# An application would rather fail than wait.
$application->query_safe(q{SET lock_timeout = '1s'});

sub insert
{
	my (@users) = @_;

	$application->{stderr} = '';
	$application->query(
		sprintf q{INSERT INTO stream_events (type, data, user_id) SELECT 'follow', '{"username": "x"}', u
		FROM unnest('{%s}'::uuid[]) AS u}, join ',', map { user_uuid($_) } @users);
	return $application->{stderr};
}

sub sent_to
{
	my ($n) = @_;

	return scalar grep { $_->{path} eq "/ok/$n" } $receiver->requests;
}

sub logged
{
	my ($user) = @_;

	return log_statuses($node, user => $user)->{success} || 0;
}

insert(1 .. 4);
wait_idle($node);
my $pid = worker_pid($node);
my $n = 1;

# Locks on rows of one user.
for (
	[ 'a hook', q{SELECT FROM stream_hooks WHERE user_id = '%s' FOR UPDATE} ],
	[ 'a user', q{SELECT FROM users WHERE id = '%s' FOR UPDATE} ],
	[ 'a hook and a user', q{SELECT FROM stream_hooks AS h JOIN users AS u ON u.id = h.user_id WHERE u.id = '%s' FOR UPDATE} ],
	[ 'an updated hook', q{UPDATE stream_hooks SET name = name || '!' WHERE user_id = '%s'} ],
	[ 'log rows', q{SELECT FROM stream_hook_logs WHERE user_id = '%s' FOR UPDATE} ])
{
	my ($what, $sql) = @$_;

	$holder->query_safe('BEGIN; ' . sprintf $sql, user_uuid(1));
	my $said = $what =~ /user/ ? insert(2, 3) . insert(2, 3) : insert(1, 2, 3) . insert(1, 2, 3);
	$n += 2;
	is($said, '', "$what locked: applications do not wait");
	for my $user (2, 3)
	{
		wait_until(sub { sent_to($user) == $n }, "$what locked: requests of user $user");
		wait_until(sub { logged($user) == $n }, "$what locked: log rows of user $user");
		is(logged($user), $n, "$what locked: user $user is served and logged");
	}
	$holder->query_safe('COMMIT');
	wait_idle($node);
	insert(1) for 1 .. ($what =~ /user/ ? 2 : 0);
	wait_idle($node);
	is_deeply([ sent_to(1), logged(1) ], [ $n, $n ], "$what unlocked: everything is there");
}

# The user's row is locked while requests of that user are under way: what
# is logged of them waits, and nobody else's.
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = %s WHERE user_id = '%s'},
	jsonb({ url => $receiver->url('/slow/500') }), user_uuid(1));
insert(1);
wait_until(sub { stat($node, 'in_flight') == 1 }, 'a request');
$holder->query_safe(sprintf q{BEGIN; SELECT FROM users WHERE id = '%s' FOR UPDATE}, user_uuid(1));
insert(2);
$n++;
wait_until(sub { logged(2) == $n }, 'the log row of another user');
wait_until(sub { stat($node, 'in_flight') == 0 }, 'the request to end');
insert(2);
wait_until(sub { logged(2) == $n + 1 }, 'the log row of another user');
is(logged(1), $n - 1, 'the log row of a locked user waits');
$holder->query_safe('COMMIT');
wait_idle($node);
is(logged(1), $n, '... and is written when the lock is gone');
is(stat($node, 'unlogged'), 0, 'nothing is lost');
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = %s WHERE user_id = '%s'},
	jsonb({ url => $receiver->url('/ok/1') }), user_uuid(1));
$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs');

# Locks on whole tables.
my %sent = map { $_ => sent_to($_) } 1 .. 3;
for my $mode ('SHARE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE')
{
	# Nobody reads or writes logs: deliveries go on.
	$holder->query_safe("BEGIN; LOCK TABLE stream_hook_logs IN $mode MODE");
	is(insert(1, 2, 3), '', "log table locked, $mode: applications do not wait");
	for my $user (1, 2, 3)
	{
		$sent{$user}++;
		wait_until(sub { sent_to($user) == $sent{$user} }, "log table locked, $mode: requests of user $user");
	}
	$holder->query_safe('COMMIT');
	wait_idle($node);

	# Nobody reads or writes hooks.
	$holder->query_safe("BEGIN; LOCK TABLE stream_hooks IN $mode MODE");
	is(insert(1, 2, 3, 5), '', "hooks table locked, $mode: applications do not wait");
	$sent{$_}++ for 1 .. 3;
	$holder->query_safe('COMMIT');
	wait_idle($node);
	is_deeply({ map { $_ => sent_to($_) } 1 .. 3 }, \%sent, "hooks table locked, $mode: everything is delivered");
}
is(log_statuses($node)->{success}, 18, 'everything is logged');
is(stat($node, 'unlogged'), 0, 'nothing is lost');
is(worker_pid($node), $pid, 'all by one worker');

# A session that has the hooks table locked and then inserts events of its own.
$node->safe_psql('postgres', 'BEGIN; LOCK TABLE stream_hooks IN ACCESS EXCLUSIVE MODE; ' . event_rows(1, user => 2)
	  . '; COMMIT');
wait_idle($node);
is(sent_to(2), ++$sent{2}, 'a session that holds the lock itself');

# last_triggered_at of a hook that is locked is written later.
add_event($node, user => 4, type => 'raid');
wait_idle($node);
$node->safe_psql('postgres', q{UPDATE stream_hooks SET last_triggered_at = NULL WHERE trigger_type = 'raid'});
$holder->query_safe(q{BEGIN; SELECT FROM stream_hooks WHERE trigger_type = 'raid' FOR NO KEY UPDATE});
add_event($node, user => 4, type => 'raid') for 1 .. 2;
wait_until(sub { (log_statuses($node, user => 4)->{skipped_cooldown} || 0) == 1 }, 'the second to be skipped');
is(value($node, q{SELECT last_triggered_at FROM stream_hooks WHERE trigger_type = 'raid'}),
	'', 'a cooldown is taken although its row is locked');
$holder->query_safe('COMMIT');
wait_until(sub { value($node, q{SELECT last_triggered_at IS NOT NULL FROM stream_hooks WHERE trigger_type = 'raid'}) eq 't' },
	'last_triggered_at');
wait_idle($node);
is_deeply(log_statuses($node, user => 4), { success => 2, skipped_cooldown => 1 }, '... and written when it is not');

# Readers of our own tables, such as a dump, and old snapshots are in nobody's
# way: thousands of events pass, and the queue stays small once they are gone.
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; '
	  . join '; ', map { "LOCK TABLE hooks.queue_$_, hooks.ack_$_ IN ACCESS SHARE MODE" } 0 .. 2);
$holder->query_safe('SELECT count(*) FROM hooks.queue_0');
for (1 .. 5)
{
	$node->safe_psql('postgres', event_rows(500, user => 3));
	wait_idle($node);
}
is(sent_to(3), $sent{3} + 2500, 'events pass while somebody reads the queue');
$holder->query_safe('COMMIT');
add_event($node, user => 3);
wait_until(
	sub {
		value($node, q{SELECT sum(pg_relation_size(c.oid)) FROM pg_class AS c
			WHERE c.relnamespace = 'hooks'::regnamespace AND c.relname ~ '^queue_\d$'}) < 100_000;
	},
	'the queue to be emptied');
wait_idle($node);
is(sent_to(3), $sent{3} + 2501, '... and none twice');

$holder->quit;
$application->quit;
finish($node);
done_testing();
