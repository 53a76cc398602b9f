# Commits that are visible before they are safe (synchronous_commit = off):
# what a crash takes back must not have been announced to anybody.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $rounds = 5;

# The WAL writer is so lazy that commits stay unsafe until somebody flushes,
# and endpoints that never answer give the worker nothing to commit.
my $node = hooks_node(
	'main',
	wal_writer_delay => '10s',
	wal_writer_flush_after => '2GB',
	'hooks.timeout' => '3s',
	'hooks.max_in_flight_per_user' => 2,
	'hooks.max_in_flight_per_host' => 100);
my $receiver = Hooks::Receiver->start;
my $lost = 0;

create_application($node);
add_users($node, 2, $rounds + 1);
add_hook($node, user => $rounds + 1, url => $receiver->url('/json'));

for my $round (1 .. $rounds)
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $insert = sprintf q{INSERT INTO stream_events (type, user_id, data)
		VALUES ('follow', '%s', jsonb_build_object('username', gen_random_uuid()))}, user_uuid($round);

	add_hook($node, user => $round, url => $receiver->url('/hang'), config => { body_template => 'n={{username}}' });

	# The worker has just done what it does once a second, commits included.
	my $warm = add_event($node, user => $rounds + 1);
	wait_until(sub { scalar logs($node, event => $warm) }, 'a delivery');
	my $seen = scalar(my @before = $receiver->requests);
	$session->query_safe("SET synchronous_commit = off; $insert");
	$receiver->wait_for_requests($seen + 1);

	# A few more, so that there is something to lose; not so many that they
	# fill a page of WAL, which would be written.
	$session->query_safe(join ';', ($insert) x 3);
	my $inserted = $session->query_safe('SELECT count(*) FROM stream_events');
	$node->stop('immediate');
	eval { $session->quit };
	$node->start;
	$lost += $inserted - value($node, 'SELECT count(*) FROM stream_events');
}

$node->safe_psql('postgres',
	'UPDATE stream_hooks SET action_config = action_config || ' . jsonb({ url => $receiver->url })
	  . ' WHERE action_config ? \'body_template\'');
wait_idle($node);

my %committed = map { $_->{body} => 1 } rows($node, sprintf q{SELECT 'n=' || (data ->> 'username') AS body
	FROM stream_events WHERE user_id <> '%s'}, user_uuid($rounds + 1));
my %sent = map { $_->{body} => 1 } grep { $_->{path} ne '/json' } $receiver->requests;

cmp_ok(scalar keys %committed, '>=', $rounds, 'every round has left something behind');
is_deeply([ grep { !$committed{$_} } keys %sent ], [], 'nothing was announced that is not there');
is_deeply([ grep { !$sent{$_} } keys %committed ], [], 'everything that is there was announced');
note "$lost commits were lost in crashes";

finish($node);
done_testing();
