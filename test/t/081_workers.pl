# Workers come when there is something to do, leave when there is not, and
# say once when they cannot start.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

# One place for workers: the logical replication launcher takes one, our
# launcher another.
my $node = hooks_node('main', 'hooks.idle_timeout' => '1s', max_worker_processes => 3);
my $receiver = Hooks::Receiver->start;

sub no_worker
{
	wait_until(
		sub { value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hooks worker'}) == 0 },
		'workers to leave');
	return;
}

# A server without the extension has no workers.
no_worker();
is( value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hooks launcher' AND datname IS NULL}),
	1, 'the launcher is connected to no database');

create_application($node);
add_hook($node, url => $receiver->url, config => { body_template => 'n={{username}}' });

# Idle exit, and back.
for my $round (1 .. 3)
{
	add_event($node, data => { username => $round });
	wait_until(sub { (log_statuses($node)->{success} // 0) == $round }, 'a delivery');
	isnt(worker_pid($node), '', "round $round: there is a worker") if $round == 1;
	no_worker();
	is(scalar(my @seen = $receiver->requests), $round, "round $round: it leaves when it is idle, and comes back");
}
is(value($node, 'SELECT (SELECT count(*) FROM hooks.queue_0) + (SELECT count(*) FROM hooks.queue_1) + '
	  . '(SELECT count(*) FROM hooks.queue_2) + (SELECT count(*) FROM hooks.ack_0) + '
	  . '(SELECT count(*) FROM hooks.ack_1) + (SELECT count(*) FROM hooks.ack_2)'),
	0, 'it leaves empty tables behind');

# Events of types that nobody waits for do not start one.
add_event($node, type => 'raid');
is(worker_pid($node), '', 'an event that nobody waits for does not start a worker');

# After a restart somebody looks whether there is something to do, and leaves.
$node->restart;
no_worker();
add_event($node, data => { username => 4 });
wait_idle($node);
is(scalar(my @seen = $receiver->requests), 4, 'after a restart');

# No place for a worker: said once, and made good when there is one.
$node->safe_psql('postgres', 'CREATE DATABASE other');
create_application($node, 'other');
add_hook($node, url => $receiver->url('/ok/other'), database => 'other');
add_hook($node, trigger => 'raid', url => $receiver->url('/slow/3000'));
no_worker();
my $said = -s $node->logfile;
add_event($node, type => 'raid');
wait_until(sub { worker_pid($node) ne '' }, 'the worker that takes the only place');
add_event($node, database => 'other') for 1 .. 5;
wait_until(sub { slurp_file($node->logfile, $said) =~ /out of background workers/ }, 'the complaint');
wait_idle($node, 'other');
is(scalar(grep { $_->{path} eq '/ok/other' } $receiver->requests), 5, 'events wait until there is place for a worker');
my @complaints = slurp_file($node->logfile, $said) =~ /could not start hooks worker for database \d+: out of background workers/g;
is(scalar @complaints, 1, 'it is said once that there was none');
like(slurp_file($node->logfile, $said), qr/HINT:  Increase "max_worker_processes"\./, '... and what to do');

# Two databases whose workers both want the one place take turns.
add_event($node, data => { username => 'turn' });
add_event($node, database => 'other');
wait_idle($node);
wait_idle($node, 'other');
is(scalar(grep { $_->{path} eq '/ok/other' } $receiver->requests), 6, 'databases take turns');
is(scalar(grep { $_->{body} eq 'n=turn' } $receiver->requests), 1, '... both of them');

finish($node, qr/out of background workers/);
done_testing();
