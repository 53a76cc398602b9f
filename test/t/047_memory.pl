# Large events of a few users whose destination hangs fill what memory there
# is for them; nobody else notices: neither who inserts events, nor who waits
# for a retry; and the worker stays small.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

use constant { GREEDY => 12, EVENTS => 400, BYTES => 30_000 };

my $node = hooks_node(
	'main',
	'hooks.flood_rate' => 0,
	'hooks.timeout' => '60s',
	'hooks.max_in_flight_per_host' => 64);
my $receiver = Hooks::Receiver->start;
my $hangs = Hooks::Receiver->start;
my @greedy = (10 .. 9 + GREEDY);

create_application($node);
add_users($node, 2, 40);

# Memory that the worker has for itself, in kB.
sub worker_memory
{
	my $pid = worker_pid($node);
	my ($kb) = `cat /proc/$pid/smaps_rollup` =~ /^Private_Dirty: +(\d+) kB/m;

	return $kb;
}

sub large_events
{
	my ($user, $n) = @_;

	return sprintf q{INSERT INTO stream_events (type, data, user_id)
		SELECT 'follow', jsonb_build_object('username', 'viewer', 'n', n, 'filler', repeat(md5(n::text), %d)), '%s'
		FROM generate_series(1, %d) AS n}, BYTES / 32, user_uuid($user), $n;
}

sub waiting_for
{
	my ($hook, $why) = @_;

	return value($node, "SELECT count(*) FROM hooks.delivery WHERE why = '$why' AND hook_id = '$hook'");
}

my $numbered = { body_template => '"n={{data.n}}"' };
my %hook = map { $_ => add_hook($node, user => $_, attempts => 20, url => $hangs->url('/hang'), config => { %$numbered, retry_schedule => [8] }) } @greedy;
my $other = add_hook($node, user => 1, url => $receiver->url('/ok'), config => $numbered);

# From the queue: more than memory has room for.
$node->safe_psql('postgres', large_events($_, EVENTS)) for @greedy;
wait_until(sub { stat($node, 'in_flight') >= 6 * 8 }, 'requests that hang');
for my $n (1 .. 3)
{
	$node->safe_psql('postgres', event_rows(1, user => 1, first => $n));
	wait_until(sub { scalar logs($node, hook => $other) == $n }, "somebody else's delivery");
}
is(scalar(my @taken = $receiver->take), 3, 'large events that wait in memory: events of others are read and delivered');
cmp_ok(value($node, 'SELECT count(*) FROM hooks.pending'), '>', GREEDY * EVENTS / 2, '... while they are still there');
cmp_ok(worker_memory(), '<', 200 * 1024, '... and the worker stays small');

# Once what hangs is gone, everything comes.
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = action_config || %s WHERE user_id <> '%s'},
	jsonb({ url => $receiver->url('/status/500') }), user_uuid(1));
$hangs->stop;
my $n = GREEDY * EVENTS;
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.delivery WHERE why = 'retry'}) > $n / 2 }, 'attempts to fail');

# From where they wait for retries: all of them are due at once, and hang.
$hangs = Hooks::Receiver->start;
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = action_config || %s WHERE user_id <> '%s'},
	jsonb({ url => $hangs->url('/hang') }), user_uuid(1));
my $retries = add_hook($node, user => 2, attempts => 60, url => $receiver->url('/switch/other'), config => { %$numbered, retry_schedule => [1] });
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.delivery WHERE next_at > now()}) == 0 }, 'all retries to be due');
wait_until(sub { stat($node, 'in_flight') >= 6 * 8 }, 'retries that hang');
$node->safe_psql('postgres', event_rows(1, user => 2));
wait_until(sub { scalar logs($node, hook => $retries) >= 1 }, 'a first attempt to fail');
$receiver->switch(other => 'on');
wait_until(sub { (log_statuses($node, hook => $retries)->{success} || 0) == 1 }, 'a retry of somebody else');
$receiver->take;
$node->safe_psql('postgres', event_rows(1, user => 1, first => 4));
wait_until(sub { scalar logs($node, hook => $other) == 4 }, "somebody else's delivery");
is(scalar(@taken = $receiver->take), 1, 'retries that come back with large events: events and retries of others are delivered');
cmp_ok(worker_memory(), '<', 200 * 1024, '... and the worker stays small');

# All of them get their turn in the end.
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = action_config || %s WHERE user_id <> '%s'},
	jsonb({ url => $receiver->url('/ok') }), user_uuid(1));
$hangs->stop;
wait_until(
	sub { value($node, q{SELECT count(DISTINCT (hook_id, stream_event_id)) FROM stream_hook_logs WHERE status = 'success' AND user_id <> '} . user_uuid(1) . q{'}) == $n + 1 },
	'everything to be delivered');
wait_idle($node);
is(value($node, q{SELECT count(*) FROM hooks.delivery}), 0, 'nothing is left');
is(value($node, q{SELECT count(*) FROM stream_hook_logs WHERE status = 'success'}), $n + 1 + 4, '... and nothing was delivered twice');

# A strict hook that is paused: what comes back at once is more than its user
# may have in memory, and keeps its order.
my $strict = add_hook($node, user => 3, url => $receiver->url('/ok?strict'), config => { %$numbered, ordering => 'strict' });
value($node, "SELECT hooks.pause('$strict')");
$node->safe_psql('postgres', large_events(3, 1500));
wait_until(sub { waiting_for($strict, 'paused') == 1500 }, 'what is paused');
$receiver->take;
value($node, "SELECT hooks.resume('$strict')");
wait_until(sub { scalar(logs($node, hook => $strict)) == 1500 }, 'a strict hook to go on');
is_deeply([ map { $_->{body} } $receiver->take ], [ map { "\"n=$_\"" } 1 .. 1500 ],
	'many large deliveries of a strict hook come back in order');
wait_idle($node);

finish($node);
done_testing();
