# The order in which a hook's rules apply: its conditions, then its cooldown,
# then its action; and the order of hooks and events.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.max_in_flight_per_user' => 1);
my $receiver = Hooks::Receiver->start;
my ($hook, @logs);

create_application($node);

# Conditions come first: what they refuse neither takes a cooldown nor is
# refused by one.
$hook = add_hook(
	$node,
	trigger => 'donation',
	conditions => { min_amount => 10 },
	cooldown => 3600,
	url => $receiver->url);
for my $amount ('5.00', '10.00', '5.00', '20.00')
{
	add_event($node, type => 'donation', data => { donor_name => 'A', amount => $amount, currency => 'EUR' });
	wait_idle($node);
}
@logs = logs($node, hook => $hook);
is_deeply(
	[ map { "$_->{event_data}{amount} $_->{status}" } @logs ],
	[
		'5.00 skipped_condition', '10.00 success',
		'5.00 skipped_condition', '20.00 skipped_cooldown'
	],
	'conditions, then cooldown, then action');
is(scalar(my @sent = $receiver->take), 1, 'one request');
is_deeply([ map { $_->{duration_ms} } grep { $_->{status} =~ /^skipped/ } @logs ],
	[ 0, 0, 0 ], 'a skip takes no time');
is_deeply([ map { $_->{error_message} } @logs ], [ (undef) x 4 ], 'a skip has no error message');
is_deeply([ map { $_->{trigger_type} . ' ' . $_->{action_type} } @logs ],
	[ ('donation webhook') x 4 ], 'skips name trigger and action');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# What was decided is on the hook's row by the time hooks are idle.
$hook = add_hook($node, trigger => 'follow', url => $receiver->url);
add_event($node);
wait_idle($node);
is( value(
		$node, q{SELECT h.last_triggered_at BETWEEN l.executed_at - interval '1 second' AND l.executed_at
		FROM stream_hooks AS h JOIN stream_hook_logs AS l ON l.hook_id = h.id}),
	't',
	'last_triggered_at is when the action was admitted');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# Disabled hooks leave no trace.
$hook = add_hook($node, enabled => 0, url => $receiver->url);
add_event($node);
wait_idle($node);
is_deeply(log_statuses($node, hook => $hook), {}, 'a disabled hook logs nothing');
$receiver->take;

# The oldest hook comes first, whatever the ids are.
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
for my $n (1 .. 5)
{
	$hook = add_hook($node, name => "hook $n", url => $receiver->url("/ok/$n"));
	$node->safe_psql('postgres',
		"UPDATE stream_hooks SET inserted_at = now() - $n * interval '1 hour' WHERE id = '$hook'");
}
add_event($node);
wait_idle($node);
is_deeply([ map { $_->{path} } $receiver->take ],
	[ map { "/ok/$_" } 5, 4, 3, 2, 1 ], 'hooks of an event fire oldest first');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# Events of a user fire in the order of their commits, and within one in the
# order of their insertion.
add_hook($node, url => $receiver->url, config => { body_template => 'from {{username}}' });
$node->safe_psql(
	'postgres', join ';', map {
		my $transaction = $_;
		'INSERT INTO stream_events (type, user_id, data) VALUES ' . join ', ',
		  map { sprintf q{('follow', '%s', '{"username": "%d.%d"}')}, user_uuid(1), $transaction, $_ } 1 .. 3
	} 1 .. 20);
wait_idle($node);
is_deeply(
	[ map { $_->{body} } $receiver->take ],
	[ map { my $transaction = $_; map { "from $transaction.$_" } 1 .. 3 } 1 .. 20 ],
	'events fire in commit order');

# The first to commit is first, not the first to insert.
my $early = $node->background_psql('postgres');
$early->query_safe('BEGIN; ' . 'INSERT INTO stream_events (type, user_id, data) VALUES '
	  . sprintf(q{('follow', '%s', '{"username": "inserted first"}')}, user_uuid(1)));
add_event($node, data => { username => 'committed first' });
wait_idle($node);
is_deeply([ map { $_->{body} } $receiver->take ],
	['from committed first'], 'an event that is not committed does not fire');
$early->query_safe('COMMIT');
$early->quit;
wait_idle($node);
is_deeply([ map { $_->{body} } $receiver->take ], ['from inserted first'], '... until it is');

finish($node);
done_testing();
