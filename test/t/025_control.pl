# People intervene: pause, resume, cancel, redeliver, replay, hooks.enabled; and
# who may.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.replay_rate' => 1000, 'hooks.disable_after' => 0);
my $receiver = Hooks::Receiver->start;
my $unknown = '99999999-9999-4999-8999-999999999999';

create_application($node);
add_users($node, 2, 3);

# What a call returns; and what it says when it fails.
sub call
{
	my ($call) = @_;

	return value($node, "SELECT hooks.$call");
}

sub refused
{
	my ($call) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', "SELECT hooks.$call");

	return $status ? $stderr : 'it is not refused';
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

sub bodies
{
	my ($path) = @_;

	return [ map { $_->{body} } requests($path) ];
}

sub ids
{
	my ($path) = @_;
	my %ids = map { $_->{headers}{'webhook-id'} => 1 } requests($path);

	return [ sort keys %ids ];
}

sub wait_for_logs
{
	my ($n, %where) = @_;

	wait_until(sub { scalar(my @rows = logs($node, %where)) >= $n }, "$n log rows");
	wait_idle($node);
	return;
}

sub pending
{
	my ($hook) = @_;

	return rows($node, 'SELECT * FROM hooks.pending WHERE hook_id = ' . literal($hook) . ' ORDER BY queued_at');
}

sub dead
{
	my ($hook) = @_;

	return rows($node, 'SELECT * FROM hooks.dead WHERE hook_id = ' . literal($hook) . ' ORDER BY queued_at');
}

sub states
{
	my ($hook) = @_;

	return join ' ', map { $_->{state} } pending($hook);
}

sub wait_for_state
{
	my ($hook, $states) = @_;

	wait_until(sub { states($hook) eq $states }, "deliveries in the state \"$states\"");
	return pending($hook);
}

sub wait_for_dead
{
	my ($hook, $n) = @_;

	wait_until(sub { scalar(my @rows = dead($hook)) == $n }, "$n deliveries given up");
	return dead($hook);
}

sub kept
{
	my ($hook) = @_;

	return value($node, 'SELECT count(*) FROM hooks.delivery WHERE hook_id = ' . literal($hook));
}

sub health
{
	my ($hook) = @_;

	return value($node, 'SELECT state FROM hooks.hook_health WHERE hook_id = ' . literal($hook));
}

sub last_triggered
{
	my ($hook) = @_;

	return value($node, "SELECT last_triggered_at FROM stream_hooks WHERE id = '$hook'");
}

sub set_url
{
	my ($hook, $path) = @_;

	$node->safe_psql('postgres',
		"UPDATE stream_hooks SET action_config = action_config || "
		  . jsonb({ url => $receiver->url($path) }) . " WHERE id = '$hook'");
	return;
}

sub delete_hooks
{
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks; TRUNCATE stream_hook_logs');
	wait_idle($node);
	return;
}

# One request at a time, of which the body is the number of the event.
my %numbered = (concurrency => 1, body_template => 'n={{data.n}}');

# ----------
# Pauses
# ----------

# A hook that is paused: nothing is sent, nothing is lost, the order stays.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?paused'), config => \%numbered);
	my $other = add_hook($node, trigger => 'raid', url => $receiver->url('/ok?other'));
	my $stranger = add_hook($node, user => 2, url => $receiver->url('/ok?stranger'));

	is(call("pause('$hook')"), 't', 'a hook is paused');
	is(call("pause('$hook')"), 'f', '... which is said when it is so already');
	is(health($hook), 'paused', '... and to be seen');
	is(health($other), 'well', '... another one is not');

	$node->safe_psql('postgres', event_rows(40));
	$node->safe_psql('postgres', event_rows(1, first => $_)) for 41 .. 45;
	add_event($node, type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
	add_event($node, user => 2);
	wait_idle($node);

	is(scalar requests('/ok?paused'), 0, 'nothing of a paused hook is sent');
	is(scalar requests('/ok?other'), 1, '... but of the user\'s other hook');
	is(scalar requests('/ok?stranger'), 1, '... and of another user\'s');
	is(scalar(my @none = logs($node, hook => $hook)), 0, '... and nothing is logged of it');
	my @pending = pending($hook);
	is(scalar @pending, 45, '... all of it waits');
	is_deeply(
		[ grep { $_->{state} ne 'paused' || defined $_->{next_attempt_at} || $_->{attempts} != 0 } @pending ],
		[], '... for no time that is known, with no attempt made');

	is(call("resume('$hook')"), 't', 'it is resumed');
	is(call("resume('$hook')"), 'f', '... which is said when it is not paused');
	wait_for_logs(45, hook => $hook);
	is_deeply(bodies('/ok?paused'), [ map { "n=$_" } 1 .. 45 ], '... and everything is sent in the order of the commits');
	is_deeply(log_statuses($node, hook => $hook), { success => 45 }, '... and succeeds');
	is(kept($hook), 0, '... and nothing is left');
	is(health($hook), 'well', '... the hook is well');

	is(call("pause(user_id => '@{[ user_uuid(1) ]}')"), 't', 'a user is paused');
	is(call("pause(user_id => '@{[ user_uuid(1) ]}')"), 'f', '... which is said when it is so already');
	is_deeply([ map { health($_) } $hook, $other, $stranger ], [qw(paused paused well)], '... with all hooks');
	add_event($node);
	add_event($node, type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
	add_event($node, user => 2);
	wait_idle($node);
	is_deeply(
		[ map { scalar requests("/ok?$_") } qw(paused other stranger) ],
		[ 45, 1, 2 ], '... and nothing of theirs is sent');
	is_deeply([ map { states($_) } $hook, $other ], [qw(paused paused)], '... it waits');

	is(call("pause('$hook')"), 't', 'a hook of a paused user is paused');
	is(call("resume(user_id => '@{[ user_uuid(1) ]}')"), 't', '... the user is resumed');
	is(call("resume(user_id => '@{[ user_uuid(1) ]}')"), 'f', '... which is said when it is not paused');
	wait_for_logs(2, hook => $other);
	wait_for_state($hook, 'paused');
	is(scalar requests('/ok?paused'), 45, '... the hook goes on waiting');
	is(call("resume('$hook')"), 't', '... until it is resumed, too');
	wait_for_logs(46, hook => $hook);
	is_deeply([ map { scalar requests("/ok?$_") } qw(paused other stranger) ], [ 46, 2, 2 ], '... everything was sent once');
	delete_hooks();
}

# What a hook does about an event is decided when the event happens.
{
	my $hook = add_hook(
		$node, trigger => 'donation', cooldown => 3600, conditions => { min_amount => 10 },
		url => $receiver->url('/ok?decided'));
	my @events;

	call("pause('$hook')");
	for my $amount ('20.00', '30.00', '5.00')
	{
		push @events, add_event($node, type => 'donation', data => { donor_name => 'd', amount => $amount, currency => 'EUR' });
		wait_idle($node);
	}
	is_deeply(
		[ map { $_->{status} } map { logs($node, event => $_) } @events ],
		[qw(skipped_cooldown skipped_condition)],
		'conditions and cooldown are looked at though the hook is paused');
	isnt(last_triggered($hook), '', '... the cooldown is taken');
	$node->safe_psql('postgres', q{UPDATE stream_hooks SET conditions = '{"min_amount": 1000}'});
	call("resume('$hook')");
	wait_for_logs(1, event => $events[0]);
	is_deeply(attempts(event => $events[0]), ['1 success -'], '... and not looked at again');
	delete_hooks();
}

# A pause between attempts.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/sequence/500,200'), config => { retry_schedule => [0.5] });
	my $event = add_event($node);

	wait_for_logs(1, event => $event);
	call("pause('$hook')");
	my ($waits) = wait_for_state($hook, 'paused');
	is($waits->{attempts}, 1, 'paused between attempts: the first one counts');
	is($waits->{last_status}, 500, '... and its end is on record');
	is(scalar requests('/sequence/500,200'), 1, '... the second is not made');
	call("resume('$hook')");
	wait_for_logs(2, event => $event);
	is_deeply(attempts(event => $event), [ '1 failure HTTP 500', '2 success -' ], '... until it is resumed');
	is(kept($hook), 0, '... and nothing is left');
	delete_hooks();
}

# A strict hook keeps its order.
{
	my $hook = add_hook(
		$node, attempts => 50, url => $receiver->url('/switch/strict'),
		config => { %numbered, ordering => 'strict', retry_schedule => [0.3] });

	$node->safe_psql('postgres', event_rows(1));
	wait_for_logs(1, hook => $hook);
	call("pause('$hook')");
	$receiver->switch(strict => 'on');
	$node->safe_psql('postgres', event_rows(10, first => 2));
	wait_for_state($hook, join ' ', ('paused') x 11);
	call("resume('$hook')");
	wait_until(sub { (log_statuses($node, hook => $hook)->{success} || 0) == 11 }, 'all to be sent');
	my $attempts = grep { $_ eq 'n=1' } @{ bodies('/switch/strict') };
	is_deeply(bodies('/switch/strict'), [ map { "n=$_" } (1) x $attempts, 2 .. 11 ], 'a strict hook that was paused between attempts keeps its order');
	is(kept($hook), 0, '... and nothing is left');
	delete_hooks();
}

# A hook that is deleted while it is paused leaves nothing behind.
for my $way ("DELETE FROM stream_hooks WHERE id = '%s'", 'TRUNCATE stream_hooks CASCADE')
{
	my $hook = add_hook($node, url => $receiver->url('/ok?deleted'));
	my $stays = add_hook($node, url => $receiver->url('/ok?stays'));

	call("pause('$_')") for $hook, $stays;
	$node->safe_psql('postgres', event_rows(10));
	wait_for_state($hook, join ' ', ('paused') x 10);
	wait_for_state($stays, join ' ', ('paused') x 10);
	$node->safe_psql('postgres', sprintf $way, $hook);
	$stays = undef if $way =~ /TRUNCATE/;
	my $next = add_hook($node, url => $receiver->url('/ok?next'));
	$node->safe_psql('postgres', event_rows(1, first => 11));
	wait_for_logs(1, hook => $next);
	wait_until(
		sub {
			value($node, q{SELECT count(*) FROM hooks.paused}) == ($stays ? 1 : 0) &&
			  value($node, q{SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL}) == ($stays ? 11 : 0);
		},
		'what is kept of a hook that is gone to be forgotten');
	is(scalar requests('/ok?deleted'), 0, 'a paused hook that is deleted sends nothing');
	is(value($node, "SELECT count(*) FROM hooks.delivery WHERE hook_id = '$hook' AND next_at IS NULL"), 10, '... what it had is given up');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks; DELETE FROM hooks.delivery WHERE next_at IS NULL');
	wait_idle($node);
	$receiver->take;
}

# ... whenever a worker starts, too.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?deleted'));
	my $next = add_hook($node, user => 2, url => $receiver->url('/ok?next'));

	call("pause('$hook')");
	$node->safe_psql('postgres', event_rows(3));
	wait_for_state($hook, join ' ', ('paused') x 3);
	$node->stop;
	$node->start;
	$node->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id = '$hook'");
	add_event($node, user => 2);
	wait_until(
		sub {
			value($node, q{SELECT (SELECT count(*) FROM hooks.paused) + (SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL)}) == 0;
		},
		'a worker that starts to forget what is kept of a hook that is gone');
	is(scalar requests('/ok?deleted'), 0, 'a hook that is deleted while nobody is there sends nothing');
	$node->safe_psql('postgres', 'DELETE FROM hooks.delivery');
	delete_hooks();
}

# Many are paused; what comes before, with and after the request to resume them
# stays behind, though they come back in pages.
for my $ordering ('relaxed', 'strict')
{
	my $hook = add_hook(
		$node, attempts => 1, url => $receiver->url("/ok?many-$ordering"),
		config => { %numbered, ordering => $ordering, concurrency => 1 });

	call("pause('$hook')");
	$node->safe_psql('postgres', event_rows(700));
	wait_until(sub { states($hook) eq join ' ', ('paused') x 700 }, '700 paused deliveries');
	$node->safe_psql('postgres',
		'BEGIN; ' . event_rows(3, first => 701) . "; SELECT hooks.resume('$hook'); " . event_rows(3, first => 704) . '; COMMIT');
	$node->safe_psql('postgres', event_rows(1, first => $_)) for 707 .. 720;
	wait_for_logs(720, hook => $hook);
	is_deeply(bodies("/ok?many-$ordering"), [ map { "n=$_" } 1 .. 720 ],
		"$ordering: what was paused for long comes before what is new");
	is(kept($hook), 0, '... and nothing is left');
	delete_hooks();
}

# The same over a restart, between two that are paused anew.
{
	my $hook = add_hook($node, attempts => 1, url => $receiver->url('/ok?again'), config => { %numbered, concurrency => 1 });

	call("pause('$hook')");
	$node->safe_psql('postgres', event_rows(20));
	wait_for_state($hook, join ' ', ('paused') x 20);
	$node->stop('immediate');
	$node->start;
	$node->safe_psql('postgres', event_rows(20, first => 21));
	wait_for_state($hook, join ' ', ('paused') x 40);
	$node->safe_psql('postgres', "BEGIN; SELECT hooks.resume('$hook'); SELECT hooks.pause('$hook'); COMMIT");
	$node->safe_psql('postgres', event_rows(5, first => 41));
	wait_for_state($hook, join ' ', ('paused') x 45);
	is(scalar requests('/ok?again'), 0, 'resumed and paused in one transaction is paused');
	call("resume('$hook')");
	wait_for_logs(45, hook => $hook);
	is_deeply(bodies('/ok?again'), [ map { "n=$_" } 1 .. 45 ], 'a pause after a restart, and another one: the order stays');
	delete_hooks();
}

# It outlives workers and servers.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?outlives'), config => \%numbered);

	call("pause('$hook')");
	$node->safe_psql('postgres', event_rows(2));
	wait_for_state($hook, 'paused paused');
	$node->restart;
	$node->safe_psql('postgres', event_rows(1, first => 3));
	wait_for_state($hook, 'paused paused paused');
	my $pid = wait_for_worker($node);
	is(value($node, "SELECT pg_terminate_backend($pid)"), 't', 'the worker is told to end');
	wait_until(sub { worker_pid($node) ne $pid }, 'it to end');
	$node->safe_psql('postgres', event_rows(1, first => 4));
	wait_for_state($hook, join ' ', ('paused') x 4);
	$node->stop('immediate');
	$node->start;
	$node->safe_psql('postgres', event_rows(1, first => 5));
	wait_for_state($hook, join ' ', ('paused') x 5);
	is(scalar requests('/ok?outlives'), 0, 'a pause outlives workers and servers');
	call("resume('$hook')");
	wait_for_logs(5, hook => $hook);
	is_deeply(bodies('/ok?outlives'), [ map { "n=$_" } 1 .. 5 ], '... and ends with everything sent in order');
	delete_hooks();
}

# Only what is committed counts.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?committed'));

	$node->safe_psql('postgres', "BEGIN; SELECT hooks.pause('$hook'); ROLLBACK");
	my $event = add_event($node);
	wait_for_logs(1, event => $event);
	is_deeply(attempts(event => $event), ['1 success -'], 'a pause that is rolled back is none');
	call("pause('$hook')");
	add_event($node);
	wait_for_state($hook, 'paused');
	$node->safe_psql('postgres', "BEGIN; SELECT hooks.resume('$hook'); ROLLBACK");
	add_event($node);
	wait_for_state($hook, 'paused paused');
	is(scalar requests('/ok?committed'), 1, 'nor does resume count that is rolled back');
	is(health($hook), 'paused', '... the hook is paused');
	$node->safe_psql('postgres',
		"BEGIN; SAVEPOINT a; SELECT hooks.resume('$hook'); ROLLBACK TO a; SELECT hooks.pause('$hook'); COMMIT");
	wait_idle($node);
	is(states($hook), 'paused paused', '... nor what is rolled back to a savepoint');
	delete_hooks();
}

# Resumed at any moment, whatever the worker is about to do: nothing is left behind.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?any'));
	my $n = 0;

	for my $ms (0 .. 30)
	{
		$node->safe_psql('postgres',
			"SELECT hooks.pause('$hook'); " . event_rows(5) . "; SELECT pg_sleep($ms / 1000.0); SELECT hooks.resume('$hook')");
		$n += 5;
		if ($ms % 10 == 0)
		{
			wait_idle($node);
			is(states($hook), '', "resumed $ms ms after the event: nothing waits");
		}
	}
	wait_idle($node);
	is(states($hook), '', 'resumed sooner or later: nothing waits');
	is(scalar requests('/ok?any'), $n, '... everything is sent once');
	delete_hooks();
}

# While somebody has hooks.paused locked, nobody knows who is paused.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?locked'));
	my $session = $node->background_psql('postgres');

	call("pause('$hook')");
	$session->query_safe('BEGIN; LOCK TABLE hooks.paused IN ACCESS EXCLUSIVE MODE');
	add_event($node);
	my $time = value($node, 'SELECT clock_timestamp()');
	wait_until(sub { value($node, "SELECT clock_timestamp() > '$time'::timestamptz + interval '0.5 s'") eq 't' }, 'some attempts to find out');
	$session->query_safe('COMMIT');
	wait_idle($node);
	is(states($hook), 'paused', 'a pause that cannot be looked up is not ignored');
	is(scalar requests('/ok?locked'), 0, '... nothing is sent');
	$session->quit;
	delete_hooks();
}

# What is asked for has to make sense.
{
	my $hook = add_hook($node, url => $receiver->url);

	for my $function ('pause', 'resume')
	{
		like(refused("$function()"), qr/either a hook or a user must be given.*HINT: .*hook => /s, "$function() of nothing is refused");
		like(
			refused("$function('$hook', '@{[ user_uuid(1) ]}')"),
			qr/either a hook or a user must be given/, '... of both, too');
		like(refused("$function('$unknown')"), qr/hook "$unknown" does not exist/, '... of a hook that does not exist');
		like(
			refused("$function(user_id => '$unknown')"),
			qr/user "$unknown" has no hooks.*HINT: .*hook => /s, '... of a user who has none');
	}

	# A hook that is deleted while it is paused.
	call("pause('$hook')");
	add_event($node);
	wait_for_state($hook, 'paused');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	wait_idle($node);
	is(states($hook), '', 'a paused hook that is deleted leaves nothing to see');
	like(refused("resume('$hook')"), qr/hook "$hook" does not exist/, '... and nothing to resume');
	my $next = add_hook($node, url => $receiver->url('/ok?next'));
	my $event = add_event($node);
	wait_for_logs(1, event => $event);
	is_deeply(attempts(event => $event), ['1 success -'], '... other hooks are performed');
	delete_hooks();
}

# ----------
# Cancelling
# ----------

my $cancelled = 'failure cancelled by hooks.cancel()';

# What waits for a retry.
{
	my $hook = add_hook(
		$node, attempts => 2, cooldown => 3600, url => $receiver->url('/status/500?cancel'),
		config => { retry_schedule => [3600] });
	my $event = add_event($node);
	my ($waits) = wait_for_state($hook, 'retry');
	my $id = $waits->{delivery_id};

	wait_until(sub { last_triggered($hook) ne '' }, 'last_triggered_at');
	$node->safe_psql('postgres', "BEGIN; SELECT hooks.cancel('$id'); ROLLBACK");
	wait_idle($node);
	is(states($hook), 'retry', 'a cancel that is rolled back is none');
	is(call("cancel('$unknown')"), 'f', 'what is not known cannot be cancelled');
	is(call("cancel('$id')"), 't', 'what waits for a retry is cancelled');
	wait_idle($node);
	is(states($hook), '', '... it waits no more');
	is(kept($hook), 0, '... nor was it given up');
	is_deeply(attempts(event => $event), [ '1 failure HTTP 500', "2 $cancelled" ], '... the log says so');
	is(last_triggered($hook), '', '... the cooldown is given back');
	is(call("cancel('$id')"), 'f', '... and it cannot be cancelled again');
	$event = add_event($node);
	wait_for_logs(1, event => $event);
	is_deeply(attempts(event => $event), ['1 failure HTTP 500'], '... the next event is tried');
	delete_hooks();

	# An attempt may have arrived.
	$hook = add_hook(
		$node, attempts => 2, cooldown => 3600, url => $receiver->url('/reset'), config => { retry_schedule => [3600] });
	add_event($node);
	($waits) = wait_for_state($hook, 'retry');
	call("cancel('$waits->{delivery_id}')");
	wait_idle($node);
	isnt(last_triggered($hook), '', 'the cooldown is kept when an attempt may have arrived');
	delete_hooks();
}

# What waits for a pause to end; with a WHERE.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?cancel'), config => \%numbered);
	my $other = add_hook($node, trigger => 'raid', url => $receiver->url('/ok?cancel-other'));

	call("pause(user_id => '@{[ user_uuid(1) ]}')");
	$node->safe_psql('postgres', event_rows(5));
	add_event($node, type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
	wait_for_state($hook, join ' ', ('paused') x 5);
	wait_for_state($other, 'paused');
	is( value(
			$node, q{SELECT count(*) FILTER (WHERE hooks.cancel(p.delivery_id)) FROM hooks.pending AS p
			JOIN stream_events AS e ON e.id = p.event_id WHERE p.trigger_type = 'follow' AND (e.data ->> 'n')::int > 2}),
		3,
		'what waits for a pause to end is cancelled, by a WHERE');
	wait_idle($node);
	is(states($hook), 'paused paused', '... the others wait');
	is_deeply(attempts(hook => $hook), [ ("1 $cancelled") x 3 ], '... the log says so');
	call("resume(user_id => '@{[ user_uuid(1) ]}')");
	wait_for_logs(5, hook => $hook);
	wait_for_logs(1, hook => $other);
	is_deeply(bodies('/ok?cancel'), [ 'n=1', 'n=2' ], '... and are sent in the end');
	delete_hooks();
}

# What is under way: its answer is the last one.
{
	my $hook = add_hook(
		$node, attempts => 5, url => $receiver->url('/sequence/500,hang'),
		config => { retry_schedule => [0.1], timeout_ms => 5000 });
	my $event = add_event($node);

	wait_until(sub { scalar(my @sent = requests('/sequence/500,hang')) == 2 }, 'the second attempt');
	my ($waits) = pending($hook);
	is(call("cancel('$waits->{delivery_id}')"), 't', 'what is under way is cancelled');
	wait_for_logs(2, event => $event);
	my ($given_up) = wait_for_dead($hook, 1);
	is(states($hook), '', '... its answer is the last one');
	is(scalar requests('/sequence/500,hang'), 2, '... no attempt follows');
	is($given_up->{attempts}, 2, '... it is given up after these');
	is(scalar(my @rows = logs($node, event => $event)), 2, '... which the log has');
	delete_hooks();
}

# What is of a disabled hook.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/status/500?disabled'), config => { retry_schedule => [3600] });

	add_event($node);
	my ($waits) = wait_for_state($hook, 'retry');
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = false');
	is(call("cancel('$waits->{delivery_id}')"), 't', 'what is of a disabled hook is cancelled');
	wait_idle($node);
	is(states($hook), '', '... it waits no more');
	delete_hooks();
}

# What is about to start, and was taken out of the table: hooks that have
# changed cannot be loaded while somebody has hooks.health locked, so it is in
# memory by the time that it is cancelled.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/sequence/500,200/taken'), config => { retry_schedule => [1] });
	my $event = add_event($node);
	my ($waits) = wait_for_state($hook, 'retry');
	my $session = $node->background_psql('postgres');

	$session->query_safe("UPDATE stream_hooks SET name = 'changed'");
	$session->query_safe('BEGIN; LOCK TABLE hooks.health IN ACCESS EXCLUSIVE MODE');
	wait_until(
		sub {
			$session->query_safe("SELECT clock_timestamp() > '$waits->{next_attempt_at}'::timestamptz + interval '0.5 s'") eq 't';
		},
		'the attempt to be due');
	my $read = stat($node, 'events_read');
	is(call("cancel('$waits->{delivery_id}')"), 't', 'what is about to start is cancelled');
	wait_until(sub { stat($node, 'events_read') > $read }, 'the request to be read');
	$session->query_safe('COMMIT');
	wait_for_logs(2, event => $event);
	is_deeply(attempts(event => $event), [ '1 failure HTTP 500', "2 $cancelled" ], '... it is not sent after that');
	is(kept($hook), 0, '... and nothing is left');
	$session->quit;
	delete_hooks();
}

# ----------
# Sending again
# ----------

# By the delivery's id, and by rows of the log.
{
	my $hook = add_hook($node, url => $receiver->url('/switch/again'));
	my $event = add_event($node, data => { username => "\x{e4}nn" });
	my ($given_up) = wait_for_dead($hook, 1);
	my $id = $given_up->{delivery_id};

	$receiver->switch(again => 'on');
	$node->safe_psql('postgres', "BEGIN; SELECT hooks.redeliver('$id'); ROLLBACK");
	wait_idle($node);
	is(scalar dead($hook), 1, 'what is rolled back is not sent');
	is(call("redeliver('$id')"), $id, 'what was given up is sent again');
	wait_for_logs(2, event => $event);
	my @requests = requests('/switch/again');
	is(scalar @requests, 2, '... once');
	is_deeply(ids('/switch/again'), [$id], '... with the same webhook-id');
	is($requests[1]{body}, $requests[0]{body}, '... and the same body');
	is_deeply(attempts(event => $event), [ '1 failure HTTP 500', '1 success -' ], '... attempts count from one again');
	is(kept($hook), 0, '... and nothing is left');
	is(health($hook), 'well', '... the hook is well');

	my ($failure) = grep { $_->{status} eq 'failure' } logs($node, event => $event);
	my ($success) = grep { $_->{status} eq 'success' } logs($node, event => $event);
	is(call("redeliver('$success->{id}')"), $id, 'by the row of a success');
	wait_for_logs(3, event => $event);
	is(call("redeliver('$failure->{id}')"), $id, 'by the row of a failure');
	wait_for_logs(4, event => $event);
	@requests = requests('/switch/again');
	is(scalar @requests, 4, '... it is sent each time');
	is_deeply(ids('/switch/again'), [$id], '... with the same webhook-id');
	is_deeply([ map { $_->{body} } @requests ], [ ($requests[0]{body}) x 4 ], '... and the same body');
	is(kept($hook), 0, '... and nothing is left');

	like(refused("redeliver('$unknown')"), qr/delivery "$unknown" does not exist.*HINT: .*hooks\.dead/s, 'what is not known cannot be sent');
	$node->safe_psql('postgres', "DELETE FROM stream_events WHERE id = '$event'");
	like(refused("redeliver('$success->{id}')"), qr/event "$event" does not exist/, 'nor can an event that is gone');
	delete_hooks();
}

# By the row of a failure that is among the dead; the event itself is gone.
{
	my $hook = add_hook($node, url => $receiver->url('/switch/gone'));
	my $event = add_event($node, data => { username => 'ann', message => 'hello' });

	wait_for_dead($hook, 1);
	my ($failure) = logs($node, event => $event);
	$node->safe_psql('postgres', "DELETE FROM stream_events WHERE id = '$event'");
	$receiver->switch(gone => 'on');
	call("redeliver('$failure->{id}')");
	wait_for_logs(2, event => $event);
	my ($first, $second) = requests('/switch/gone');
	is($second->{body}, $first->{body}, 'what was given up is sent though the event is gone');
	is_deeply(attempts(event => $event), [ '1 failure HTTP 500', '1 success -' ], '... by the row of its failure');
	delete_hooks();
}

# Events that are in no table.
{
	my $hook = add_hook($node, trigger => 'stream_start', url => $receiver->url('/switch/start'));
	my $event = call("trigger_lifecycle_event('@{[ user_uuid(1) ]}', 'stream_start', '{\"title\": \"hello\"}')");
	my ($given_up) = wait_for_dead($hook, 1);

	$receiver->switch(start => 'on');
	call("redeliver('$given_up->{delivery_id}')");
	wait_for_logs(2, event => $event);
	my ($first, $second) = requests('/switch/start');
	is($second->{body}, $first->{body}, 'a lifecycle event is sent again');
	is($second->{headers}{'webhook-id'}, $first->{headers}{'webhook-id'}, '... with the same webhook-id');
	is(kept($hook), 0, '... and nothing is left');
	delete_hooks();
}

# All attempts are made again; the hook is performed as it is now.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/status/500?anew'), config => { retry_schedule => [0.1] });
	my $event = add_event($node);
	my ($given_up) = wait_for_dead($hook, 1);

	is($given_up->{attempts}, 2, 'given up after two attempts');
	call("redeliver('$given_up->{delivery_id}')");
	wait_for_logs(4, event => $event);
	($given_up) = wait_for_dead($hook, 1);
	is_deeply(
		attempts(event => $event),
		[ map { "$_ failure HTTP 500" } 1, 2, 1, 2 ],
		'... sent again, two attempts are made again');
	is($given_up->{attempts}, 2, '... and it is given up after these');
	is(scalar @{ ids('/status/500?anew') }, 1, '... with one webhook-id');
	set_url($hook, '/ok?anew');
	call("redeliver('$given_up->{delivery_id}')");
	wait_for_logs(5, event => $event);
	is_deeply(ids('/ok?anew'), [ $given_up->{delivery_id} ], 'the hook is performed as it is now');

	set_url($hook, '/status/500?anew');
	add_event($node);
	($given_up) = wait_for_dead($hook, 1);
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = false');
	like(refused("redeliver('$given_up->{delivery_id}')"), qr/hook "$hook" is not enabled.*HINT: .*true/s, 'a hook that is not enabled is not performed');
	delete_hooks();
}

# Asked for while it is under way, and should that fail, it is sent once more.
{
	my $hook = add_hook($node, url => $receiver->url('/status/500?wanted'), config => { timeout_ms => 2000 });
	my $event = add_event($node);
	my ($given_up) = wait_for_dead($hook, 1);

	set_url($hook, '/hang?wanted');
	call("redeliver('$given_up->{delivery_id}')");
	wait_until(sub { stat($node, 'in_flight') == 1 }, 'the request');
	set_url($hook, '/ok?wanted');
	call("redeliver('$given_up->{delivery_id}')");
	wait_for_logs(3, event => $event);
	wait_idle($node);
	like(attempts(event => $event)->[1], qr/^1 failure timed out/, 'what is asked for while it is under way, and fails');
	is(attempts(event => $event)->[2], '1 success -', '... is sent again');
	is_deeply(ids('/ok?wanted'), [ $given_up->{delivery_id} ], '... once');
	is(kept($hook), 0, '... and nothing is left');
	delete_hooks();
}

# Nobody can ask for what is too large.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?large'));
	my $event = add_event($node, data => { username => 'x' x 3000 });

	wait_for_logs(1, event => $event);
	my ($row) = logs($node, event => $event);
	configure($node, { 'hooks.max_payload' => '1kB' }, 'postgres');
	like(refused("replay('$event')"), qr/event data is too large: \d{4} bytes, limit 1024.*HINT: .*hooks\.max_payload/s,
		'what is too large cannot be replayed');
	like(refused("redeliver('$row->{id}')"), qr/event data is too large/, '... nor sent again');
	configure($node, { 'hooks.max_payload' => '32kB' }, 'postgres');
	delete_hooks();
}

# What is given up is sent again as the event is now, when it is replayed.
{
	my $hook = add_hook($node, url => $receiver->url('/switch/edited'), config => { body_template => '{{username}}' });
	my $event = add_event($node, data => { username => 'before' });

	wait_for_dead($hook, 1);
	$node->safe_psql('postgres', qq{UPDATE stream_events SET data = '{"username": "after"}' WHERE id = '$event'});
	$receiver->switch(edited => 'on');
	call("pause('$hook')");
	call("replay('$event')");
	wait_for_state($hook, 'paused');
	call("resume('$hook')");
	wait_for_logs(2, event => $event);
	is_deeply(bodies('/switch/edited'), [ '"before"', '"after"' ], 'an event that was edited is replayed as it is now');
	delete_hooks();
}

# What waits for a retry is sent now, and once.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/sequence/500,200/now'), config => { retry_schedule => [3600] });
	my $event = add_event($node);
	my ($waits) = wait_for_state($hook, 'retry');

	call("redeliver('$waits->{delivery_id}')");
	wait_for_logs(2, event => $event);
	is_deeply(attempts(event => $event), [ '1 failure HTTP 500', '1 success -' ], 'what waits for a retry is sent now');
	is(scalar requests('/sequence/500,200/now'), 2, '... once');
	is(kept($hook), 0, '... and nothing is left');
	delete_hooks();

	# Of a strict hook: what follows does not wait for it any more.
	$hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/switch/strict-now'),
		config => { %numbered, ordering => 'strict', retry_schedule => [3600] });
	$node->safe_psql('postgres', event_rows(1));
	($waits) = wait_for_state($hook, 'retry');
	$receiver->switch('strict-now' => 'on');
	call("redeliver('$waits->{delivery_id}')");
	wait_for_logs(2, hook => $hook);
	$node->safe_psql('postgres', event_rows(3, first => 2));
	wait_until(sub { scalar(my @rows = logs($node, hook => $hook)) == 5 }, 'a strict hook to go on', 20);
	is_deeply(bodies('/switch/strict-now'), [ map { "n=$_" } 1, 1 .. 4 ], 'a strict hook goes on after it');
	delete_hooks();

	# With others behind it, which come along; or go on when it is cancelled.
	for my $what ('redeliver', 'cancel')
	{
		my $path = "/switch/strict-$what";

		$hook = add_hook(
			$node, attempts => 2, url => $receiver->url($path),
			config => { %numbered, ordering => 'strict', retry_schedule => [3600] });
		$node->safe_psql('postgres', event_rows(1));
		wait_for_state($hook, 'retry');
		$node->safe_psql('postgres', event_rows(4, first => 2));
		(my $head) = wait_for_state($hook, 'retry host host host host');
		$receiver->switch("strict-$what" => 'on');
		call("$what('$head->{delivery_id}')");
		wait_until(sub { scalar(my @sent = requests($path)) == ($what eq 'cancel' ? 5 : 6) }, 'those behind it', 20);
		$node->safe_psql('postgres', event_rows(1, first => 6));
		wait_until(sub { kept($hook) == 0 && @{ bodies($path) }[-1] eq 'n=6' }, 'the next one', 20);
		is_deeply(bodies($path), [ map { "n=$_" } 1, $what eq 'cancel' ? () : 1, 2 .. 6 ], "$what of the first of a strict hook: the others follow");
		delete_hooks();
	}
}

# Twice.
{
	my $hook = add_hook($node, url => $receiver->url('/slow/400'));
	my $event = add_event($node);

	wait_for_logs(1, event => $event);
	my ($row) = logs($node, event => $event);
	$node->safe_psql('postgres', "SELECT hooks.redeliver('$row->{id}'), hooks.redeliver('$row->{id}')");
	call("redeliver('$row->{id}')") for 1 .. 3;
	wait_idle($node);
	my @requests = requests('/slow/400');
	cmp_ok(scalar @requests, '>=', 2, 'asked for five times, it is sent');
	cmp_ok(scalar @requests, '<=', 6, '... no more often than that');
	is_deeply(
		[ grep { $requests[$_]{t} - $requests[ $_ - 1 ]{t} < 0.4 } 1 .. $#requests ],
		[], '... and never twice at once');
	is(kept($hook), 0, '... and nothing is left');
	is_deeply(log_statuses($node, event => $event), { success => scalar @requests }, '... the log has all');
	delete_hooks();
}

# Many: of a hook, since a time.
{
	my $hook = add_hook($node, url => $receiver->url('/switch/since'), config => \%numbered);
	my $other = add_hook($node, trigger => 'raid', url => $receiver->url('/status/500?since'));

	$node->safe_psql('postgres', event_rows(3));
	wait_for_dead($hook, 3);
	my $time = value($node, 'SELECT clock_timestamp()');
	$node->safe_psql('postgres', event_rows(4, first => 4));
	add_event($node, type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
	wait_for_dead($hook, 7);
	wait_for_dead($other, 1);
	$receiver->switch(since => 'on');
	is(call("redeliver('$hook', '$time'::timestamptz)"), 4, 'all of a hook since a time are sent again');
	wait_for_logs(11, hook => $hook);
	is_deeply([ @{ bodies('/switch/since') }[ 7 .. 10 ] ], [ map { "n=$_" } 4 .. 7 ], '... in their order');
	is(call("redeliver('$hook', interval '1 hour')"), 3, '... or of the last hour');
	wait_for_logs(14, hook => $hook);
	is_deeply([ @{ bodies('/switch/since') }[ 11 .. 13 ] ], [ map { "n=$_" } 1 .. 3 ], '... in their order');
	is(call("redeliver('$hook', interval '1 hour')"), 0, '... of which none are left');
	is(scalar dead($other), 1, '... another hook\'s are left alone');
	is( value($node, 'SELECT count(hooks.redeliver(delivery_id)) FROM hooks.dead WHERE last_status = 500'),
		1, 'or all that a WHERE finds');
	wait_for_logs(2, hook => $other);
	wait_for_dead($other, 1);
	delete_hooks();
}

# hooks.replay_rate sets their pace; what happens meanwhile does not wait.
{
	my $hook = add_hook($node, url => $receiver->url('/ok?pace'), config => \%numbered);
	my $live = add_hook($node, trigger => 'raid', url => $receiver->url('/ok?live'));

	configure($node, { 'hooks.replay_rate' => 5 }, 'postgres');
	$node->safe_psql('postgres', event_rows(10));
	wait_for_logs(10, hook => $hook);
	$node->safe_psql('postgres', "SELECT hooks.redeliver(id) FROM stream_hook_logs WHERE hook_id = '$hook'");
	wait_until(sub { scalar(my @sent = requests('/ok?pace')) > 10 }, 'the first of them');
	my ($waits) = pending($hook);
	is($waits->{state}, 'replay', 'what is to be sent again waits for its turn');
	my $event = add_event($node, type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
	wait_until(sub { scalar(my @sent = requests('/ok?live')) == 1 }, 'the live event');
	cmp_ok(scalar requests('/ok?pace'), '<', 20, '... and holds up nothing that happens meanwhile');
	wait_for_logs(20, hook => $hook);
	my @requests = requests('/ok?pace');
	is(scalar @requests, 20, '... all are sent');
	my $seconds = $requests[19]{t} - $requests[10]{t};
	cmp_ok($seconds, '>=', 1.7, 'ten at five per second take two seconds');
	cmp_ok($seconds, '<', 4, '... or not much more');

	# Those that wait outlive the server; one of them is cancelled.
	configure($node, { 'hooks.replay_rate' => 2 }, 'postgres');
	$node->safe_psql('postgres', "SELECT hooks.redeliver(id) FROM stream_hook_logs WHERE hook_id = '$hook' LIMIT 6");
	wait_until(sub { scalar(my @rows = pending($hook)) >= 3 }, 'some to wait');
	my ($last) = reverse sort { $a->{next_attempt_at} cmp $b->{next_attempt_at} } pending($hook);
	is(call("cancel('$last->{delivery_id}')"), 't', 'what waits for its turn is cancelled');
	$node->restart;
	wait_until(sub { states($hook) eq '' }, 'none to wait any more');
	wait_idle($node);
	my %times;
	$times{ $_->{headers}{'webhook-id'} }++ for requests('/ok?pace');
	is($times{ $last->{delivery_id} }, 2, '... and not sent');
	cmp_ok(scalar requests('/ok?pace'), '>', 20, '... the others are, though the server was restarted');
	is(scalar(grep { $_->{error_message} && $_->{error_message} =~ /cancelled/ } logs($node, hook => $hook)), 1, '... the log says so');
	configure($node, { 'hooks.replay_rate' => 1000 }, 'postgres');
	delete_hooks();
}

# Each of those that wait for their turn is sent once, whatever happens to the server.
{
	my $hook = add_hook($node, url => $receiver->url('/switch/once'), config => \%numbered);

	$node->safe_psql('postgres', event_rows(6));
	wait_for_dead($hook, 6);
	$receiver->switch(once => 'on');
	configure($node, { 'hooks.replay_rate' => 2 }, 'postgres');
	is(call("redeliver('$hook', interval '1 hour')"), 6, 'six are to be sent again');
	wait_until(sub { scalar(my @rows = logs($node, hook => $hook)) > 6 }, 'the first one');
	$node->restart;
	wait_until(sub { kept($hook) == 0 }, 'none to be left');
	wait_idle($node);
	is_deeply(bodies('/switch/once'), [ map { "n=$_" } 1 .. 6, 1 .. 6 ], '... and are, once, in their order, over a restart');
	is_deeply(log_statuses($node, hook => $hook), { failure => 6, success => 6 }, '... the log has all');
	configure($node, { 'hooks.replay_rate' => 1000 }, 'postgres');
	delete_hooks();
}

# Cooldowns are neither looked at, nor taken, nor given back.
{
	my $hook = add_hook($node, cooldown => 3600, url => $receiver->url('/ok?cooldown'));
	my $event = add_event($node);

	wait_for_logs(1, event => $event);
	my ($row) = logs($node, event => $event);
	my $before = last_triggered($hook);
	isnt($before, '', 'a hook cools down');
	call("redeliver('$row->{id}')");
	wait_for_logs(2, event => $event);
	is_deeply(attempts(event => $event), [ ('1 success -') x 2 ], '... a delivery is sent again all the same');
	is(last_triggered($hook), $before, '... and takes no cooldown');
	set_url($hook, '/status/500?cooldown');
	call("redeliver('$row->{id}')");
	wait_for_logs(3, event => $event);
	wait_for_dead($hook, 1);
	is(last_triggered($hook), $before, '... nor gives it back when it fails');
	$event = add_event($node);
	wait_idle($node);
	is_deeply(log_statuses($node, event => $event), { skipped_cooldown => 1 }, '... the hook goes on cooling down');

	$node->safe_psql('postgres', 'UPDATE stream_hooks SET last_triggered_at = NULL');
	set_url($hook, '/ok?cooldown');
	call("redeliver('$row->{id}')");
	wait_for_logs(4, event => $row->{stream_event_id});
	is(last_triggered($hook), '', '... nor takes it when there is none');
	delete_hooks();
}

# A paused hook's redeliveries wait, too.
{
	my $hook = add_hook($node, url => $receiver->url('/switch/both'));
	my $event = add_event($node);
	my ($given_up) = wait_for_dead($hook, 1);

	$receiver->switch(both => 'on');
	call("pause('$hook')");
	call("redeliver('$given_up->{delivery_id}')");
	wait_for_state($hook, 'paused');
	is(scalar requests('/switch/both'), 1, 'what is asked for of a paused hook waits');
	call("resume('$hook')");
	wait_for_logs(2, event => $event);
	is_deeply(attempts(event => $event), [ '1 failure HTTP 500', '1 success -' ], '... and is sent when it is resumed');
	delete_hooks();
}

# Replaying an event.
{
	my $hook = add_hook($node, conditions => { contains => 'go' }, cooldown => 3600, trigger => 'chat_message',
		url => $receiver->url('/ok?replay'));
	my $not = add_hook($node, conditions => { contains => 'stop' }, trigger => 'chat_message',
		url => $receiver->url('/ok?replay-not'));
	my $raid = add_hook($node, trigger => 'raid', url => $receiver->url('/ok?replay-raid'));
	my $off = add_hook($node, enabled => 0, trigger => 'chat_message', url => $receiver->url('/ok?replay-off'));
	my $event = add_event($node, type => 'chat_message', data => { username => 'u', message => 'go' });

	wait_for_logs(1, hook => $hook);
	$node->safe_psql('postgres', "SELECT hooks.replay('$event')");
	wait_for_logs(2, hook => $hook);
	my @requests = requests('/ok?replay');
	is(scalar @requests, 2, 'a replayed event fires again, whatever the cooldown');
	is($requests[1]{headers}{'webhook-id'}, $requests[0]{headers}{'webhook-id'}, '... with the same webhook-id');
	is($requests[1]{body}, $requests[0]{body}, '... and the same body');
	is_deeply([ map { scalar requests("/ok?replay-$_") } qw(not raid off) ],
		[ 0, 0, 0 ], '... and no hook whose conditions do not hold, of another type, or disabled');
	$node->safe_psql('postgres', "UPDATE stream_hooks SET conditions = '{}' WHERE id = '$not'");
	$node->safe_psql('postgres', "SELECT hooks.replay('$event')");
	wait_for_logs(3, hook => $hook);
	wait_until(sub { scalar(my @sent = requests('/ok?replay-not')) == 1 }, 'the hook whose conditions hold now');
	wait_idle($node);
	is(scalar requests('/ok?replay'), 3, '... as they are now');
	is_deeply([ map { kept($_) } $hook, $not, $raid, $off ], [ 0, 0, 0, 0 ], '... and nothing is left');
	like(refused("replay('$unknown')"), qr/event "$unknown" does not exist/, 'what is not known cannot be replayed');
	delete_hooks();
}

# Changes that wait to be written, because somebody has the deliveries locked,
# while another delivery is due: nothing is lost, nothing cancelled is sent.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/sequence/500,200/unwritten'), config => { retry_schedule => [1.5] });
	my $given = add_hook($node, trigger => 'raid', url => $receiver->url('/switch/unwritten'));
	my $cancel = add_hook(
		$node, trigger => 'donation', attempts => 2, url => $receiver->url('/status/500?unwritten'), config => { retry_schedule => [1.5] });
	my $session = $node->background_psql('postgres');

	add_event($node, type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
	my ($given_up) = wait_for_dead($given, 1);
	$receiver->switch(unwritten => 'on');
	add_event($node, type => 'donation', data => { donor_name => 'd', amount => '1.00', currency => 'EUR' });
	add_event($node);
	my ($cancelled) = wait_for_state($cancel, 'retry');
	my ($waits) = wait_for_state($hook, 'retry');
	$session->query_safe('BEGIN; LOCK TABLE hooks.delivery IN SHARE MODE');
	call("redeliver('$given_up->{delivery_id}')");
	call("cancel('$cancelled->{delivery_id}')");
	wait_until(sub { scalar(my @sent = requests('/sequence/500,200/unwritten')) == 2 }, 'the second attempt');
	wait_until(
		sub {
			$session->query_safe("SELECT clock_timestamp() > '$cancelled->{next_attempt_at}'::timestamptz + interval '0.5 s'") eq 't';
		},
		'what was cancelled to be due');
	$session->query_safe('COMMIT');
	$session->quit;
	wait_until(sub { kept($given) == 0 }, 'what is to be sent again', 20);
	wait_for_logs(2, hook => $given);
	is(scalar requests('/switch/unwritten'), 2, 'what was asked for before another delivery was due is sent');
	is(scalar requests('/status/500?unwritten'), 1, '... what was cancelled is not');
	is(kept($cancel), 0, '... and nothing is left');
	delete_hooks();
}

# ----------
# hooks.enabled
# ----------

{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/sequence/500,200/off'), config => { retry_schedule => [1] });
	my $event = add_event($node);
	my ($waits) = wait_for_state($hook, 'retry');

	configure($node, { 'hooks.enabled' => 'off' });
	wait_until(sub { worker_pid($node) eq '' }, 'the worker to leave');
	wait_until(sub { value($node, "SELECT clock_timestamp() > '$waits->{next_attempt_at}'::timestamptz + interval '0.5 s'") eq 't' },
		'the attempt to be due');
	is(scalar requests('/sequence/500,200/off'), 1, 'with hooks.enabled off no retry is made');
	is(states($hook), 'retry', '... it waits');
	configure($node, { 'hooks.enabled' => 'on' });
	wait_for_logs(2, event => $event);
	is_deeply(attempts(event => $event), [ '1 failure HTTP 500', '2 success -' ], '... until it is on again');
	delete_hooks();
}

# ----------
# Nobody waits for anybody
# ----------

{
	my $paused = add_hook($node, trigger => 'raid', url => $receiver->url('/ok?open-paused'));
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/status/500?open'), config => { retry_schedule => [3600] });
	my $dying = add_hook($node, trigger => 'donation', url => $receiver->url('/status/500?dying'));
	my $other = add_hook($node, user => 2, url => $receiver->url('/ok?open-other'));
	my $session = $node->background_psql('postgres');
	my @raid = (type => 'raid', data => { raider_name => 'r', viewer_count => 5 });

	my $first = add_event($node);
	add_event($node, type => 'donation', data => { donor_name => 'd', amount => '1.00', currency => 'EUR' });
	my ($waits) = wait_for_state($hook, 'retry');
	my ($given_up) = wait_for_dead($dying, 1);
	$session->query_safe("BEGIN; SELECT hooks.pause('$paused'), hooks.cancel('$waits->{delivery_id}'), "
		  . "hooks.redeliver('$given_up->{delivery_id}'), hooks.replay('$first')");

	my @events = (add_event($node, @raid), add_event($node, user => 2));
	wait_for_logs(1, event => $_) for @events;
	is_deeply([ map { @{ attempts(event => $_) } } @events ],
		[ ('1 success -') x 2 ], 'a session that has called pause, cancel, redeliver and replay holds up no delivery');
	my $second = add_event($node);
	wait_for_logs(1, event => $second);
	is_deeply(attempts(event => $second), ['1 failure HTTP 500'], '... not even of the hooks that it is about');
	wait_for_state($hook, 'retry retry');
	$node->safe_psql('postgres', "SET lock_timeout = '10 s'; UPDATE stream_hooks SET name = 'another'; "
		  . "DELETE FROM stream_hooks WHERE id = '$dying'");
	is(value($node, 'SELECT count(*) FROM stream_hooks'), 3, '... nor those who edit and delete hooks');
	add_event($node, user => 2);
	wait_for_logs(2, hook => $other);
	$session->query_safe('COMMIT');
	wait_idle($node);
	is(health($paused), 'paused', 'its pause counts when it commits');
	wait_for_logs(4, hook => $hook);
	is( scalar(grep { $_->{error_message} =~ /cancelled/ } logs($node, hook => $hook)),
		1, '... its cancel, too');
	is_deeply([ map { $_->{delivery_id} } grep { $_->{event_id} eq $first } pending($hook) ],
		[ $waits->{delivery_id} ], '... and its replay, which came after');
	$session->quit;
	delete_hooks();
}

# ----------
# Who may
# ----------

{
	$node->safe_psql(
		'postgres', q{
		CREATE ROLE nobody_much;
		CREATE ROLE tenant;
		GRANT SELECT, INSERT, UPDATE, DELETE ON users, stream_hooks, stream_hook_logs, stream_events TO tenant;
		GRANT EXECUTE ON FUNCTION hooks.pause(uuid, uuid), hooks.resume(uuid, uuid), hooks.cancel(uuid),
			hooks.redeliver(uuid), hooks.redeliver(uuid, timestamptz), hooks.redeliver(uuid, interval),
			hooks.replay(uuid) TO tenant;
		GRANT SELECT ON hooks.pending, hooks.dead, hooks.hook_health TO tenant;
		ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY;
		ALTER TABLE stream_hook_logs ENABLE ROW LEVEL SECURITY;
		ALTER TABLE stream_events ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON stream_hooks USING (user_id = current_setting('app.user_id')::uuid);
		CREATE POLICY own ON stream_hook_logs USING (user_id = current_setting('app.user_id')::uuid);
		CREATE POLICY own ON stream_events USING (user_id = current_setting('app.user_id')::uuid);
		CREATE SCHEMA tenant AUTHORIZATION tenant;
		CREATE FUNCTION tenant.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.000001
			AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$});

	for my $call (
		"pause('$unknown')", "resume('$unknown')", "cancel('$unknown')", "redeliver('$unknown')",
		"redeliver('$unknown', now())", "redeliver('$unknown', interval '1 hour')", "replay('$unknown')")
	{
		my (undef, undef, $stderr) = $node->psql('postgres', "SET ROLE nobody_much; SELECT hooks.$call");
		like($stderr, qr/permission denied for function/, "not everybody may call $call");
	}
	for my $view ('pending', 'dead', 'hook_health', 'delivery', 'health', 'paused', 'queued')
	{
		my (undef, undef, $stderr) = $node->psql('postgres', "SET ROLE nobody_much; SELECT FROM hooks.$view");
		like($stderr, qr/permission denied for (view|table) $view/, "not everybody may read hooks.$view");
	}

	# Two users: each has a hook that waits for a retry, one that has failed,
	# and one that has succeeded.
	my (%waiting, %failed, %done, %waits, %given_up, %event, %row);
	for my $user (1, 2)
	{
		$waiting{$user} = add_hook(
			$node, user => $user, attempts => 2, name => "waiting $user", url => $receiver->url("/status/500?waiting$user"),
			config => { retry_schedule => [3600] });
		$failed{$user} = add_hook($node, user => $user, trigger => 'donation', name => "failed $user",
			url => $receiver->url("/status/500?failed$user"));
		$done{$user} = add_hook($node, user => $user, trigger => 'raid', name => "done $user", url => $receiver->url("/ok?done$user"));
		add_event($node, user => $user);
		add_event($node, user => $user, type => 'donation', data => { donor_name => "donor of $user", amount => '1.00', currency => 'EUR' });
		$event{$user} = add_event($node, user => $user, type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
		($waits{$user}) = wait_for_state($waiting{$user}, 'retry');
		($given_up{$user}) = wait_for_dead($failed{$user}, 1);
		wait_for_logs(1, hook => $done{$user});
		($row{$user}) = logs($node, hook => $done{$user});
	}

	my $as = sub {
		my ($user, $query) = @_;
		my ($status, $stdout, $stderr) = $node->psql('postgres',
			"SET ROLE tenant; SET app.user_id = '" . user_uuid($user) . "'; $query");

		return $status ? $stderr : $stdout;
	};

	for my $user (1, 2)
	{
		my $other = 3 - $user;
		my $who = "user $user";

		is($as->($user, 'SELECT delivery_id FROM hooks.pending'), $waits{$user}{delivery_id}, "$who sees what waits of his own");
		is($as->($user, 'SELECT delivery_id FROM hooks.dead'), $given_up{$user}{delivery_id}, '... and what was given up');
		is( $as->($user, 'SELECT name, state FROM hooks.hook_health ORDER BY name'),
			"done $user|well\nfailed $user|failing\nwaiting $user|failing",
			'... and how his hooks fare');

		# What others have, functions of his own do not get to see.
		for my $query (
			'SELECT count(*) FROM hooks.dead WHERE tenant.leak(data::text)',
			'SELECT count(*) FROM hooks.dead WHERE tenant.leak(delivery_id::text)',
			'SELECT count(*) FROM hooks.pending WHERE tenant.leak(delivery_id::text)',
			'SELECT count(*) FROM hooks.pending WHERE tenant.leak(last_error)',
			'SELECT count(*) FROM hooks.hook_health WHERE tenant.leak(name)',
			'SELECT count(*) FROM hooks.hook_health WHERE tenant.leak(last_error)')
		{
			my (undef, $stdout, $stderr) = $node->psql('postgres',
				"SET ROLE tenant; SET app.user_id = '" . user_uuid($user) . "'; $query");
			my $n = () = $stderr =~ /leaked/g;

			is($n, $stdout, "$query calls it for nothing else");
		}

		like($as->($user, "SELECT hooks.pause('$done{$other}')"), qr/hook "$done{$other}" does not exist/, "$who cannot pause a hook of another");
		like($as->($user, "SELECT hooks.resume('$done{$other}')"), qr/hook "$done{$other}" does not exist/, '... nor resume it');
		like(
			$as->($user, "SELECT hooks.pause(user_id => '@{[ user_uuid($other) ]}')"),
			qr/user "@{[ user_uuid($other) ]}" has no hooks/, '... nor all of them');
		is($as->($user, "SELECT hooks.cancel('$waits{$other}{delivery_id}')"), 'f', '... nor cancel');
		like(
			$as->($user, "SELECT hooks.redeliver('$given_up{$other}{delivery_id}')"),
			qr/delivery "$given_up{$other}{delivery_id}" does not exist/, '... nor have sent again what was given up');
		like(
			$as->($user, "SELECT hooks.redeliver('$row{$other}{id}')"),
			qr/delivery "$row{$other}{id}" does not exist/, '... or what has succeeded');
		is($as->($user, "SELECT hooks.redeliver('$failed{$other}', interval '1 hour')"), 0, '... or all of a hook');
		like($as->($user, "SELECT hooks.replay('$event{$other}')"), qr/event "$event{$other}" does not exist/, '... or an event');
	}
	wait_idle($node);
	is_deeply([ map { states($waiting{$_}) } 1, 2 ], [qw(retry retry)], 'nothing has come of it');
	is_deeply([ map { scalar requests("/ok?done$_") } 1, 2 ], [ 1, 1 ], '... nothing was sent');

	for my $user (1, 2)
	{
		is($as->($user, "SELECT hooks.pause('$done{$user}')"), 't', "user $user pauses a hook");
		is($as->($user, "SELECT hooks.resume('$done{$user}')"), 't', '... and resumes it');
		is($as->($user, "SELECT hooks.pause(user_id => '@{[ user_uuid($user) ]}')"), 't', '... pauses them all');
		is($as->($user, "SELECT hooks.resume(user_id => '@{[ user_uuid($user) ]}')"), 't', '... and resumes them');
		is($as->($user, "SELECT hooks.cancel('$waits{$user}{delivery_id}')"), 't', '... cancels what waits');
		is($as->($user, "SELECT hooks.redeliver('$given_up{$user}{delivery_id}')"), $given_up{$user}{delivery_id}, '... has sent again what was given up');
		is($as->($user, "SELECT hooks.redeliver('$row{$user}{id}')"), ids("/ok?done$user")->[0], '... or what has succeeded');
		wait_for_logs(2, hook => $done{$user});
		wait_for_logs(2, hook => $failed{$user});
		wait_for_dead($failed{$user}, 1);
		is($as->($user, "SELECT hooks.redeliver('$failed{$user}', interval '1 hour')"), 1, '... or all of a hook');
		is($as->($user, "SELECT hooks.replay('$event{$user}')"), '', '... or an event');
		wait_for_logs(3, hook => $done{$user});
		wait_for_logs(3, hook => $failed{$user});
	}
	wait_idle($node);
	is_deeply([ map { states($waiting{$_}) } 1, 2 ], [ '', '' ], 'all of it was done');

	# A log row that is seen is not a hook that is.
	$node->safe_psql('postgres', 'ALTER TABLE stream_hook_logs DISABLE ROW LEVEL SECURITY; ALTER TABLE stream_events DISABLE ROW LEVEL SECURITY');
	like($as->(1, "SELECT hooks.redeliver('$row{2}{id}')"), qr/does not exist/, 'a hook that is not seen is not performed by its log');
	like($as->(1, "SELECT hooks.replay('$event{2}')"), qr/has no hooks/, '... or by an event of its user');
	wait_idle($node);
	is(scalar requests('/ok?done2'), 3, '... it was not');
	delete_hooks();
}

finish($node, qr/terminating connection|terminating background worker/);
done_testing();
