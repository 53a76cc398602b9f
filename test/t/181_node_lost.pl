# A node is killed under load: it is started again; then it is lost, and its
# users move to the other node.  Nothing that was committed is lost, and what is
# sent again has the same id.

use strict;
use warnings;

use Test::More;

use Hooks::Cluster;
use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $cluster = Hooks::Cluster->new;
my $hub = $cluster->hub;
my $receiver = Hooks::Receiver->start;
my $edits = Hooks::Receiver->start;

add_users($hub, 2, 100);
my @mine = $cluster->users_of(1, 2, 5);
my @others = $cluster->users_of(0, 2, 2);
$cluster->add_producer_hook($receiver, $_) for @mine[ 0 .. 2 ], @others;
my $failing = add_hook($hub, user => $mine[3], trigger => 'raid', attempts => 5, url => $receiver->url('/switch/host'),
	config => { retry_schedule => [ 1, 600 ] });
my $edited = add_hook($hub, user => $mine[3], trigger => 'follow', url => $edits->url('/ok/before'));
my $deleted = add_hook($hub, user => $mine[3], trigger => 'subscription', url => $edits->url('/ok/deleted'));

$cluster->add_node for 0 .. 1;
$cluster->give($_, $_, 2) for 0 .. 1;
my ($survivor, $lost) = map { $cluster->node($_) } 0 .. 1;
$cluster->deliver(2);
my @producers = map { Hooks::Producer->start($hub, user => $_, rate => 100) } @mine[ 0 .. 2 ], @others;

sub wait_for_more
{
	my ($node, $n) = @_;
	my $from = stat($node, 'succeeded');

	wait_until(sub { stat($node, 'succeeded') >= $from + $n }, 'deliveries');
	return;
}

# The disk survives.
wait_for_more($lost, 300);
$cluster->kill_node(1);
wait_for_more($survivor, 100);
$lost->start;
wait_for_more($lost, 300);
pass('a node that was killed goes on when it is started again');

# What the node has and does not get rid of: a pause, and a retry in ten minutes.
my $paused = $mine[2];
$lost->safe_psql('postgres', 'SELECT hooks.pause(user_id => ' . literal(user_uuid($paused)) . ')');
my $raid = add_event($hub, user => $mine[3], type => 'raid', data => { raider_name => 'x', viewer_count => '5' });
wait_until(sub { my @rows = logs($hub, event => $raid); @rows == 2 }, 'two attempts');
wait_for_more($lost, 300);
$cluster->wait_applied(1);
cmp_ok(value($lost, q{SELECT count(*) FROM hooks.pending WHERE state = 'paused'}), '>', 50,
	'the node has confirmed what it has not delivered');

# What it has done, and the hub does not know.
$hub->safe_psql('postgres', 'ALTER SUBSCRIPTION hooks_results_1 DISABLE');
wait_until(sub { value($lost, q{SELECT bool_or(active) FROM pg_replication_slots}) eq 'f' }, 'the end of results');
my $known = stat($lost, 'succeeded');
wait_for_more($lost, 100);

# The disk does not survive.
my $most = 64 + stat($lost, 'succeeded') - $known;
$cluster->lose_node(1);
$receiver->switch(host => 'on');
my $created = add_hook($hub, user => $mine[3], trigger => 'chat_message', url => $edits->url('/ok/created'));
$hub->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = action_config || '{"url": "%s"}' WHERE id = '%s'},
	$edits->url('/ok/after'), $edited);
$hub->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id = '$deleted'");
my %event = (
	$created => add_event($hub, user => $mine[3], type => 'chat_message', data => { username => 'x', message => 'y' }),
	$edited => add_event($hub, user => $mine[3]),
	$deleted => add_event($hub, user => $mine[3], type => 'subscription'));
wait_for_more($survivor, 200);

$cluster->take_over(1, 0, 2);
wait_for_more($survivor, 1000);
my $late = add_event($hub, user => $mine[3]);
$_->stop for @producers;
$cluster->wait_applied(0, 1);
$cluster->wait_delivered(0);

is(log_statuses($hub, event => $event{$created})->{success}, 1, 'a hook that was created meanwhile fires');
is(log_statuses($hub, event => $event{$edited})->{success}, 1, '... one that was edited, too');
is_deeply([ grep { $_->{path} eq '/ok/before' } $edits->requests ], [], '... as it is now');
is(scalar(logs($hub, event => $event{$deleted})), 0, '... one that was deleted does not');
is(log_statuses($hub, event => $late)->{success}, 1, 'what comes later is delivered');
is(log_statuses($hub, event => $raid)->{success}, 1, 'what waited for another attempt is delivered');
is(value($survivor, 'SELECT count(*) FROM hooks.pending'), 0, 'nothing is left');
is(
	value($hub, "SELECT count(*) FROM hooks.undelivered(0, 2, now() - interval '1 hour')")
	  + value($hub, "SELECT count(*) FROM hooks.undelivered(1, 2, now() - interval '1 hour')"),
	0, '... as the hub knows');

my $repeats = $cluster->check($receiver, \@producers, repeats_in_log => 1);
cmp_ok($repeats, '>=', 100, 'what the hub did not know of is repeated');
cmp_ok($repeats, '<=', $most + 256, '... and nothing else but what was under way when the node was killed');

finish($_) for $survivor, $hub;
done_testing();
