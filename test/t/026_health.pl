# How hooks fare: hooks.hook_health; hooks that are disabled because their
# destination wants no more, or does not work for long.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.disable_after' => 0);
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 3);

my $listener = $node->background_psql('postgres');
my $heard = '';

$listener->query_safe('LISTEN hooks_disabled');

# The ids of hooks that were said to be disabled.
sub heard
{
	$heard .= $listener->query_safe('SELECT 1');
	return [ $heard =~ /notification "hooks_disabled" with payload "([^"]*)"/g ];
}

sub health
{
	my ($hook) = @_;

	return (rows($node, 'SELECT * FROM hooks.hook_health WHERE hook_id = ' . literal($hook)))[0];
}

sub wait_for_health
{
	my ($hook, $state) = @_;

	wait_until(sub { health($hook)->{state} eq $state }, "a hook that is $state");
	return health($hook);
}

sub attempts
{
	my (%where) = @_;

	return [ map { join ' ', $_->{attempt}, $_->{status}, $_->{error_message} // '-' } logs($node, %where) ];
}

sub requests
{
	my ($path) = @_;

	return grep { $_->{path} eq $path } $receiver->requests;
}

sub dead
{
	my ($hook) = @_;

	return rows($node, 'SELECT * FROM hooks.dead WHERE hook_id = ' . literal($hook) . ' ORDER BY queued_at');
}

sub enabled
{
	my ($hook) = @_;

	return value($node, "SELECT enabled FROM stream_hooks WHERE id = '$hook'");
}

# An event, and all that comes of it.
sub fire
{
	my (%event) = @_;
	my $event = add_event($node, %event);

	wait_idle($node);
	return $event;
}

sub set
{
	my ($hook, $what) = @_;

	$node->safe_psql('postgres', "UPDATE stream_hooks SET $what WHERE id = '$hook'");
	return;
}

sub set_url
{
	my ($hook, $path) = @_;

	set($hook, 'action_config = action_config || ' . jsonb({ url => $receiver->url($path) }));
	return;
}

sub delete_hooks
{
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks; TRUNCATE stream_hook_logs');
	wait_idle($node);
	return;
}

# Well, failing, well.
{
	my $hook = add_hook($node, name => 'named', url => $receiver->url('/switch/health'));
	my $other = add_hook($node, trigger => 'raid', url => $receiver->url('/ok'));
	my $health = health($hook);

	is_deeply(
		$health,
		{
			hook_id => $hook, user_id => user_uuid(1), name => 'named', enabled => JSON::PP::true, state => 'well',
			failures => 0, map { $_ => undef }
			  qw(disabled_reason disabled_at failing_since last_failure_at last_status last_error)
		},
		'a new hook is well');
	fire();
	$health = health($hook);
	is_deeply([ @$health{qw(state failures last_status last_error)} ], [ 'failing', 1, 500, 'HTTP 500' ], 'after a failure it is failing');
	is($health->{failing_since}, $health->{last_failure_at}, '... since then');
	my $since = $health->{failing_since};
	set_url($hook, '/status/503');
	fire();
	$health = health($hook);
	is_deeply([ @$health{qw(state failures last_status last_error)} ], [ 'failing', 2, 503, 'HTTP 503' ], '... after another one, twice');
	is($health->{failing_since}, $since, '... since the first');
	cmp_ok($health->{last_failure_at}, 'gt', $since, '... the last one was later');

	my $pid = wait_for_worker($node);
	is(value($node, "SELECT pg_terminate_backend($pid)"), 't', 'the worker is told to end');
	wait_until(sub { worker_pid($node) ne $pid }, 'it to end');
	set_url($hook, '/reset');
	fire();
	$health = health($hook);
	is_deeply([ @$health{qw(state failures last_status failing_since)} ], [ 'failing', 3, undef, $since ], 'another worker goes on counting');
	like($health->{last_error}, qr/connection/i, '... and says what went wrong');
	is(health($other)->{state}, 'well', 'another hook is well');

	set_url($hook, '/switch/health');
	$receiver->switch(health => 'on');
	fire();
	$health = health($hook);
	is_deeply([ @$health{qw(state failures failing_since last_failure_at last_status last_error)} ],
		[ 'well', 0, undef, undef, undef, undef ], 'after a success all is forgotten');
	is(value($node, 'SELECT count(*) FROM hooks.health'), 0, '... and nothing is kept');
	is(enabled($hook), 't', '... the hook was never disabled');
	delete_hooks();
}

# 410: the destination is gone.
{
	my $path = '/seq/500,500,410/gone';
	my $hook = add_hook($node, attempts => 5, url => $receiver->url($path), config => { concurrency => 1, retry_schedule => [1.5] });
	my $stranger = add_hook($node, user => 2, url => $receiver->url('/ok?stranger'));
	my @events = map { fire() } 1 .. 3;

	is(enabled($hook), 'f', 'a destination that is gone disables its hook');
	my $health = health($hook);
	is($health->{state}, 'disabled', '... which is to be seen');
	is($health->{disabled_reason}, 'its destination wants no more: HTTP 410', '... with the reason');
	isnt($health->{disabled_at}, undef, '... and the time');
	is_deeply(attempts(event => $events[2]), ['1 failure HTTP 410'], '... it is not tried again');
	wait_until(sub { @{ heard() } > 0 }, 'the notification');
	is_deeply(heard(), [$hook], '... it is said to those who listen, once');

	my $queued = stat($node, 'events_queued');
	fire() for 1 .. 3;
	is(stat($node, 'events_queued'), $queued, 'events of a disabled hook are not queued');
	wait_until(sub { scalar dead($hook) == 3 }, 'those that wait to be given up');
	is_deeply([ map { "$_->{attempts} $_->{last_error}" } dead($hook) ],
		[ '1 HTTP 500', '1 HTTP 500', '1 HTTP 410' ], 'what waited for a retry is given up');
	is(scalar requests($path), 3, '... and not sent');
	is(value($node, 'SELECT count(*) FROM hooks.pending WHERE hook_id = ' . literal($hook)), 0, '... nothing waits');
	fire(user => 2);
	is(scalar requests('/ok?stranger'), 1, '... others are performed');

	$node->restart;
	fire(user => 2);
	is(health($hook)->{disabled_reason}, 'its destination wants no more: HTTP 410', 'the reason outlives the server');
	set_url($hook, '/switch/back');
	set($hook, 'enabled = true');
	$health = health($hook);
	is_deeply([ @$health{qw(state failures disabled_reason disabled_at last_error)} ],
		[ 'well', 0, undef, undef, undef ], 'enabled again, it has a clean record');
	fire();
	$health = health($hook);
	is_deeply([ @$health{qw(state failures)} ], [ 'failing', 1 ], '... and failures count from one');
	$receiver->switch(back => 'on');
	is(value($node, "SELECT hooks.redeliver('$hook', interval '1 hour')"), 3, '... what was given up can be sent again');
	wait_until(sub { value($node, "SELECT count(*) FROM hooks.delivery WHERE hook_id = '$hook'") == 0 }, 'all to be sent');
	is(scalar requests('/switch/back'), 5, '... and is');
	is(health($hook)->{state}, 'well', '... the hook is well');
	is(enabled($hook), 't', '... and enabled');
	$listener->quit;
	$listener = $node->background_psql('postgres');
	$heard = '';
	$listener->query_safe('LISTEN hooks_disabled');
	delete_hooks();
}

# The receiver says so.
for (
	[ 200 => '1 success -', 'its destination wants no more: webhook-delivery: disable' ],
	[ 500 => '1 failure HTTP 500', 'its destination wants no more: HTTP 500' ])
{
	my ($status, $log, $reason) = @$_;
	my $hook = add_hook(
		$node, attempts => 3, url => $receiver->url("/status/$status?header=webhook-delivery:disable"),
		config => { retry_schedule => [0.1] });
	my $event = fire();

	is(enabled($hook), 'f', "webhook-delivery: disable, with $status, disables the hook");
	is(health($hook)->{disabled_reason}, $reason, '... with the reason');
	wait_until(sub { grep { $_ eq $hook } @{ heard() } }, 'the notification');
	is_deeply(attempts(event => $event), [$log], '... after one attempt');
	is(scalar dead($hook), $status == 200 ? 0 : 1, '... which was a success or is given up');
	is(value($node, "SELECT updated_at = inserted_at FROM stream_hooks"), 't', '... nobody has edited it');
	delete_hooks();
}
{
	my $hook = add_hook(
		$node, attempts => 3, url => $receiver->url('/status/500?header=webhook-delivery:abort-message'),
		config => { retry_schedule => [0.1] });
	my @events = map { fire() } 1, 2;

	is_deeply(
		[ map { @{ attempts(event => $_) } } @events ],
		[ ('1 failure HTTP 500, and the receiver wants no further attempt') x 2 ],
		'webhook-delivery: abort-message gives up the delivery, and no more');
	is(scalar dead($hook), 2, '... which can be asked for');
	is(enabled($hook), 't', '... the hook goes on');
	is(health($hook)->{state}, 'failing', '... and fails');
	delete_hooks();
}

# What fails for long.
{
	my $hook = add_hook($node, url => $receiver->url('/status/500'));
	my $lucky = add_hook($node, trigger => 'raid', url => $receiver->url('/switch/lucky'));
	my @raid = (type => 'raid', data => { raider_name => 'r', viewer_count => 5 });

	configure($node, { 'hooks.disable_after' => '2s' }, 'postgres');
	fire();
	fire(@raid);
	is_deeply([ map { enabled($_) } $hook, $lucky ], [ 't', 't' ], 'a failure disables no hook');
	my $since = health($lucky)->{failing_since};
	$receiver->switch(lucky => 'on');
	fire(@raid);
	$receiver->switch(lucky => 'off');
	wait_until(sub { value($node, "SELECT clock_timestamp() >= '$since'::timestamptz + interval '2.1 s'") eq 't' }, '2 s to pass');
	is(value($node, sprintf q{UPDATE stream_hooks SET action_config = action_config || '{"max_attempts": 2, "retry_schedule": [0.5]}' WHERE id = '%s' RETURNING 1}, $hook), 1, 'now it has two attempts');
	my $event = add_event($node);
	wait_until(sub { logs($node, event => $event) }, 'the first attempt');
	is(enabled($hook), 't', 'failing for as long as hooks.disable_after does not while there is an attempt left');
	wait_until(sub { (my @rows = logs($node, event => $event)) == 2 }, 'the second attempt');
	fire(@raid);
	wait_idle($node);
	is(enabled($hook), 'f', '... but then');
	like(
		health($hook)->{disabled_reason},
		qr/^no attempt has succeeded since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*; the last one: HTTP 500$/, '... with the reason');
	is(health($hook)->{failures}, 3, '... and how often it failed');
	wait_until(sub { grep { $_ eq $hook } @{ heard() } }, 'the notification');
	is(enabled($lucky), 't', '... not if there was a success meanwhile');
	is(health($lucky)->{failures}, 1, '... from which failures are counted');
	configure($node, { 'hooks.disable_after' => 0 }, 'postgres');

	set($lucky, 'enabled = false');
	my $health = health($lucky);
	is_deeply([ @$health{qw(state disabled_reason disabled_at)} ], [ 'disabled', undef, undef ], 'disabled by a person, it has no reason');
	delete_hooks();
}

# Somebody has the hook locked: it is disabled when the lock is gone.
{
	my $hook = add_hook($node, url => $receiver->url('/status/410'));
	my $stranger = add_hook($node, user => 2, url => $receiver->url('/ok?locked'));
	my $session = $node->background_psql('postgres');

	$session->query_safe("BEGIN; SELECT FROM stream_hooks WHERE id = '$hook' FOR NO KEY UPDATE");
	add_event($node);
	wait_until(sub { scalar dead($hook) == 1 }, 'the failure');
	add_event($node, user => 2);
	wait_until(sub { scalar(my @rows = logs($node, hook => $stranger)) == 1 }, 'another user\'s delivery');
	is(enabled($hook), 't', 'a hook that is locked is not disabled');
	add_event($node);
	$session->query_safe('COMMIT');
	wait_idle($node);
	wait_until(sub { enabled($hook) eq 'f' }, 'the hook to be disabled', 20);
	is(enabled($hook), 'f', '... but when the lock is gone');
	is(health($hook)->{disabled_reason}, 'its destination wants no more: HTTP 410', '... with the reason');
	wait_until(sub { grep { $_ eq $hook } @{ heard() } }, 'the notification');
	is(scalar(grep { $_ eq $hook } @{ heard() }), 1, '... said once');
	is(scalar requests('/status/410'), 1, '... and sends nothing meanwhile');
	$session->quit;
	delete_hooks();
}

# Somebody does not let it be disabled.
{
	my $hook = add_hook($node, url => $receiver->url('/status/410?trigger'));
	my $stranger = add_hook($node, user => 2, url => $receiver->url('/ok?trigger'));

	$node->safe_psql(
		'postgres', q{
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
			AS $$ BEGIN RAISE EXCEPTION 'hooks stay enabled'; END $$;
		CREATE TRIGGER refuse BEFORE UPDATE OF enabled ON stream_hooks FOR EACH ROW EXECUTE FUNCTION refuse()});
	my $pid = wait_for_worker($node);
	fire();
	like(slurp_file($node->logfile), qr/LOG:  could not disable hook "$hook": hooks stay enabled/, 'a hook that cannot be disabled is said to be so');
	is(enabled($hook), 't', '... it is enabled');
	is_deeply([ @{ health($hook) }{qw(state failures last_error disabled_reason)} ], [ 'failing', 1, 'HTTP 410', undef ], '... and fails');
	is(scalar(grep { $_ eq $hook } @{ heard() }), 0, '... nobody is told anything else');
	is_deeply(attempts(hook => $hook), ['1 failure HTTP 410'], '... its attempt is logged');
	fire(user => 2);
	is(scalar requests('/ok?trigger'), 1, '... others are performed');
	fire();
	is(scalar requests('/status/410?trigger'), 2, '... it is, too');
	is(worker_pid($node), $pid, '... all by one worker');
	$node->safe_psql('postgres', 'DROP TRIGGER refuse ON stream_hooks');
	fire();
	is(enabled($hook), 'f', '... until it can be disabled');
	delete_hooks();
}

# Policies that would hide the hook from those who disable it.  The receiver
# is stopped for as long as it takes to make them.
{
	my $hook = add_hook($node, url => $receiver->url('/status/410?policy'));

	$node->safe_psql(
		'postgres', q{
		CREATE ROLE owner;
		GRANT ALL ON SCHEMA public TO owner;
		GRANT ALL ON users TO owner;
		ALTER TABLE stream_hooks OWNER TO owner;
		ALTER TABLE stream_hook_logs OWNER TO owner});
	fire(user => 2);
	kill 'STOP', $receiver->{pid};
	add_event($node);
	wait_until(sub { stat($node, 'in_flight') == 1 }, 'the request');
	$node->safe_psql('postgres', 'ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY');
	kill 'CONT', $receiver->{pid};
	wait_until(sub { scalar(my @rows = logs($node, hook => $hook)) == 1 }, 'the failure to be logged');
	wait_until(sub { slurp_file($node->logfile) =~ /LOG:  could not disable hook "$hook": row-level security/ }, 'the complaint');
	$node->safe_psql('postgres', 'ALTER TABLE stream_hooks NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY; SELECT hooks.wake()');
	wait_idle($node);
	is(enabled($hook), 't', 'policies that hide a hook keep it from being disabled');
	is(health($hook)->{disabled_reason}, undef, '... it is not said to be');
	is(scalar(grep { $_ eq $hook } @{ heard() }), 0, '... nor to those who listen');
	fire();
	is(enabled($hook), 'f', '... without them it is');
	delete_hooks();
}

# Deleted while it fails.
{
	my $hook = add_hook($node, attempts => 5, url => $receiver->url('/status/500?deleted'), config => { retry_schedule => [0.2] });

	add_event($node);
	wait_for_health($hook, 'failing');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	wait_until(sub { value($node, "SELECT count(*) FROM hooks.delivery WHERE hook_id = '$hook' AND next_at IS NOT NULL") == 0 }, 'its delivery to go');
	is(health($hook), undef, 'a hook deleted while it fails is not to be seen');
	my $next = add_hook($node, url => $receiver->url('/ok?after'));
	fire();
	is(scalar requests('/ok?after'), 1, '... others are performed');
	delete_hooks();
}

# What was under way when a hook was disabled may succeed: it stays disabled.
{
	my $hook = add_hook($node, url => $receiver->url('/{{username}}/{{message}}'));
	my $slow = add_event($node, data => { username => 'slow', message => '2000' });

	wait_until(sub { scalar requests('/slow/2000') }, 'the slow request');
	add_event($node, data => { username => 'status', message => '410' });
	wait_for_health($hook, 'disabled');
	my $before = health($hook);
	wait_until(sub { scalar logs($node, event => $slow) }, 'the slow answer');
	wait_idle($node);
	is((logs($node, event => $slow))[0]{status}, 'success', 'an attempt succeeds after its hook was disabled');
	is_deeply(health($hook), $before, '... which stays disabled, with its reason and time');
	delete_hooks();
}

$listener->quit;
finish($node, qr/could not disable hook/, qr/row-level security/, qr/could not write last_triggered_at/,
	qr/terminating background worker/);
done_testing();
