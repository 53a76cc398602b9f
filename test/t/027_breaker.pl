# Hosts that do not work are left alone for a while, and tried with one attempt.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.breaker' => 'on', 'hooks.disable_after' => 0);

# Ports are hosts of their own.
my ($recovers, $stays_down, $works, $complains) = map { Hooks::Receiver->start } 1 .. 4;
my %numbered = (concurrency => 1, body_template => 'n={{data.n}}');

create_application($node);
add_users($node, 2, 4);

sub requests
{
	my ($receiver) = @_;

	return scalar(my @requests = $receiver->requests);
}

sub bodies
{
	my ($receiver, $path) = @_;

	return [ map { $_->{body} } grep { $_->{path} eq $path } $receiver->requests ];
}

sub pending
{
	my ($hook) = @_;

	return rows($node, 'SELECT *, extract(epoch FROM next_attempt_at) AS t, '
		  . 'extract(epoch FROM next_attempt_at - clock_timestamp()) AS seconds '
		  . 'FROM hooks.pending WHERE hook_id = ' . literal($hook) . ' ORDER BY next_attempt_at');
}

sub waiting
{
	my ($hook) = @_;

	return scalar(my @rows = grep { $_->{state} eq 'host' } pending($hook));
}

# What says that the receiver has its reasons is no failure of the host.
for my $status (400, 404, 429)
{
	my $hook = add_hook($node, user => 4, url => $complains->url("/status/$status"), config => \%numbered);

	$node->safe_psql('postgres', event_rows(12, user => 4));
	wait_idle($node);
	is_deeply(bodies($complains, "/status/$status"), [ map { "n=$_" } 1 .. 12 ], "$status does not keep anything from being sent");
	is_deeply([ pending($hook) ], [], '... nothing waits for the host');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# Four failures do not either, if a success follows.
{
	my $hook = add_hook($node, user => 4, url => $complains->url('/seq/500,500,500,500,200,500,500,500,500,200/few'), config => \%numbered);

	$node->safe_psql('postgres', event_rows(10, user => 4));
	wait_idle($node);
	is(scalar @{ bodies($complains, '/seq/500,500,500,500,200,500,500,500,500,200/few') }, 10, 'four failures in a row neither');
	is(log_statuses($node, hook => $hook)->{failure}, 8, '... they were failures');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# Five do, whosever they are.
my $hook = add_hook($node, url => $recovers->url('/switch/a'), config => \%numbered);
my $strict = add_hook($node, user => 3, url => $recovers->url('/switch/a?strict'), config => { %numbered, ordering => 'strict' });
my $raid = add_hook($node, trigger => 'raid', url => $works->url('/ok'));
my $second = add_hook($node, user => 2, url => $recovers->url('/switch/a?second'), config => \%numbered);
my $down = add_hook($node, user => 4, url => $stays_down->url('/status/503'), config => \%numbered);

$node->safe_psql('postgres', event_rows(20));
wait_idle($node);
is(requests($recovers), 5, 'after five failures in a row nothing is sent to the host');
is_deeply(log_statuses($node, hook => $hook), { failure => 5 }, '... nothing is logged of what waits');
my @waiting = pending($hook);
is(scalar @waiting, 15, '... it waits');
is_deeply([ grep { $_->{state} ne 'host' || $_->{attempts} != 0 || defined $_->{last_error} } @waiting ],
	[], '... for the host, with no attempt made');
my ($last) = reverse $recovers->requests;
is_deeply([ grep { abs($_->{t} - $last->{t} - 30) > 1 } @waiting ], [], '... until 30 s after the fifth failure');

$node->safe_psql('postgres', event_rows(5, user => 2));
$node->safe_psql('postgres', event_rows(5, user => 3));
$node->safe_psql('postgres', event_rows(8, user => 4));
add_event($node, type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
wait_idle($node);
is(requests($recovers), 5, 'other users\' deliveries to that host wait, too');
is_deeply([ map { waiting($_) } $hook, $second, $strict ], [ 15, 5, 5 ], '... all of them');
is(requests($works), 1, '... other hosts are sent to');
is(requests($stays_down), 5, '... and judged by themselves');
is(waiting($down), 3, '... what is left for that one waits');
is(stat($node, 'in_flight'), 0, 'nothing is under way');

# After that one attempt tries the host.  This one works again.
$recovers->switch(a => 'on');
wait_until(sub { pending($hook) == 0 && pending($second) == 0 && pending($strict) == 0 }, 'the host to be tried', 60);
wait_idle($node);
my @requests = $recovers->requests;
is(scalar @requests, 30, 'when the host works again, everything is sent once');
cmp_ok($requests[5]{t} - $requests[4]{t}, '>=', 29.9, '... after 30 s');
is_deeply(bodies($recovers, '/switch/a'), [ map { "n=$_" } 1 .. 20 ], '... in its order');
is_deeply(bodies($recovers, '/switch/a?second'), [ map { "n=$_" } 1 .. 5 ], '... of each hook');
is_deeply(bodies($recovers, '/switch/a?strict'), [ map { "n=$_" } 1 .. 5 ], '... strict or not');
is_deeply(log_statuses($node, hook => $hook), { failure => 5, success => 15 }, '... and succeeds');
is_deeply([ map { $_->{attempt} } logs($node, hook => $hook) ], [ (1) x 20 ], '... as a first attempt');
is_deeply([ map { log_statuses($node, hook => $_) } $second, $strict ], [ { success => 5 }, { success => 5 } ], '... of each hook');
is(value($node, 'SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL AND hook_id <> ' . literal($down)), 0, '... nothing is left');
$node->safe_psql('postgres', event_rows(1, first => 21));
wait_idle($node);
is(bodies($recovers, '/switch/a')->[-1], 'n=21', '... and what comes is sent at once');

# The other one does not: it is left alone for twice as long.
wait_until(sub { requests($stays_down) >= 6 && waiting($down) == 2 }, 'the host to be tried', 60);
wait_idle($node);
is(requests($stays_down), 6, 'a host that still does not work is tried with one attempt');
($last) = reverse $stays_down->requests;
@waiting = pending($down);
is(scalar @waiting, 2, '... the others wait');
is_deeply([ grep { abs($_->{t} - $last->{t} - 60) > 1 } @waiting ], [], '... until 60 s after it');
is(log_statuses($node, hook => $down)->{failure}, 6, '... only attempts are logged');

# Without breakers nobody is left alone.
configure($node, { 'hooks.breaker' => 'off' }, 'postgres');
wait_until(sub { requests($stays_down) >= 8 }, 'what waits for the host', 10);
wait_idle($node);
is_deeply(bodies($stays_down, '/status/503'), [ map { "n=$_" } 1 .. 8 ], 'with hooks.breaker off everything is sent at once');
$node->safe_psql('postgres', event_rows(10, user => 4, first => 9));
wait_idle($node);
is(requests($stays_down), 18, '... whatever comes of it');
is_deeply([ pending($down) ], [], '... nothing waits');

finish($node);
done_testing();
