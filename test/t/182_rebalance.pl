# From two nodes to three under load: shares are split where they are, and one of
# them moves.  No event is lost, none is sent twice, and each user's events stay
# in their order.  Then back to the hub alone.

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

# Two users of each share, after the split, too.
add_users($hub, 2, 100);
my %users = map { $_ => [ $cluster->users_of($_, 4, 2) ] } 0 .. 3;
my @users = sort { $a <=> $b } map { @$_ } values %users;
$cluster->add_producer_hook($receiver, $_) for @users;
$cluster->add_node for 0 .. 1;
$cluster->give($_, $_, 2) for 0 .. 1;
$cluster->deliver(2);
my @producers = map { Hooks::Producer->start($hub, user => $_, rate => 100) } @users;

sub wait_for_more
{
	my ($node, $n) = @_;
	my $from = stat($node, 'succeeded');

	wait_until(sub { stat($node, 'succeeded') >= $from + $n }, 'deliveries');
	return;
}

sub users_on
{
	my ($n) = @_;
	return [ split /\n/, value($cluster->node($n), 'SELECT DISTINCT user_id FROM stream_hooks ORDER BY 1') ];
}

sub users_of
{
	return [ sort map { user_uuid($_) } map { @{ $users{$_} } } @_ ];
}

wait_for_more($cluster->node($_), 200) for 0, 1;

# Share 0 of 2 becomes 0 and 2 of 4, share 1 becomes 1 and 3.  The new ones wait
# until the old ones have brought what was committed before.
$cluster->give($_ - 2, $_, 4) for 2, 3;
$cluster->node($_ - 2)->safe_psql('postgres', "ALTER SUBSCRIPTION hooks_share_$_ DISABLE") for 2, 3;
$cluster->deliver(4);
$cluster->wait_applied(0, 1);
$cluster->node($_ - 2)->safe_psql('postgres', "ALTER SUBSCRIPTION hooks_share_$_ ENABLE") for 2, 3;
wait_for_more($cluster->node($_), 200) for 0, 1;
is_deeply(users_on($_), users_of($_, $_ + 2), "node $_ has the users of two shares") for 0, 1;

# One of them moves to a third node.
$cluster->add_node;
$cluster->move(2, 0, 2, 4);
wait_for_more($cluster->node($_), 200) for 0 .. 2;
is_deeply(users_on(0), users_of(0), 'node 0 has one left');
is_deeply(users_on(1), users_of(1, 3), 'node 1 is as it was');
is_deeply(users_on(2), users_of(2), 'node 2 has the other');

# An edit goes to the node that has the hook now.
$hub->safe_psql('postgres', "UPDATE stream_hooks SET name = 'edited'");
$cluster->wait_applied(0 .. 3);
is(value($cluster->node($_), q{SELECT count(*) FROM stream_hooks WHERE name <> 'edited'}), 0, "node $_ has the edited hooks")
  for 0 .. 2;

# The hub takes everything back: in one transaction it fires again, and nodes get
# nothing.  It sends when they are done.
$hub->safe_psql('postgres', 'ALTER SYSTEM SET hooks.enabled = off');
$hub->reload;
$hub->safe_psql(
	'postgres', "BEGIN;\nLOCK TABLE stream_events IN SHARE ROW EXCLUSIVE MODE;\n"
	  . join('', map { "SELECT hooks.node_filter($_, 4, events => false) \\gexec\n" } 0 .. 3)
	  . "SELECT hooks.attach('stream_events');\nCOMMIT;\n");
$cluster->wait_applied(0 .. 3);
$cluster->wait_delivered(0 .. 2);
my @before = map { stat($cluster->node($_), 'deliveries_started') } 0 .. 2;
$hub->safe_psql('postgres', 'ALTER SYSTEM RESET hooks.enabled');
$hub->reload;
wait_for_more($hub, 200);
$_->stop for @producers;
wait_idle($hub);
is_deeply([ map { stat($cluster->node($_), 'deliveries_started') } 0 .. 2 ], \@before, 'the hub delivers, and no node does');

is($cluster->check($receiver, \@producers), 0, 'nothing was sent twice');

finish($_) for (map { $cluster->node($_) } 0 .. 2), $hub;
done_testing();
