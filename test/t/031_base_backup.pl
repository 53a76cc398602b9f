# A base backup or a copy of the storage that is started beside the original
# sends nothing until it is adopted; a standby that is promoted goes on.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my $node = hooks_node('primary', streaming => 1);

create_application($node);
$node->backup('empty');

# A delivery that was given up for now, and an event that nobody has read.
my $hook = add_hook($node, url => $receiver->url('/status/500'), attempts => 5, config => { retry_schedule => [ 1, 1, 1, 1 ] });
my $waiting = add_event($node);
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'retry'}) == 1 }, 'a delivery that waits');
configure($node, { 'hooks.enabled' => 'off' });
wait_until(sub { !worker_pid($node) }, 'no worker');
$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = action_config || ' . jsonb({ url => $receiver->url('/ok') }));
my $queued = add_event($node);
$node->backup('live');
configure($node, { 'hooks.enabled' => 'on' });
wait_idle($node);
wait_until(sub { scalar(() = $receiver->requests) >= 3 }, 'the original sends both');
$node->stop;
$receiver->take;

# How many there were since this was asked last.
sub requests
{
	return scalar(() = $receiver->take);
}

sub state_of
{
	my ($of) = @_;

	return value($of, q{SELECT state FROM hooks.workers WHERE database = 'postgres'});
}

sub said
{
	my ($of) = @_;

	return scalar(() = slurp_file($of->logfile) =~ /hooks sends nothing for database \d+, which is a copy of another one/g);
}

# Starts a copy and sees to it that it keeps silent.
sub silent
{
	my ($copy, $name) = @_;

	$copy->append_conf('postgresql.conf', "hooks.enabled = on");
	$copy->start;
	wait_until(sub { said($copy) }, "$name: the server log");
	is(state_of($copy), 'copy', "$name: hooks.workers says what it is");
	my $event = add_event($copy);
	$copy->restart;
	wait_until(sub { said($copy) > 1 }, "$name: the server log, once more");
	is(value($copy, q{SELECT count(*) FROM hooks.pending}), 3, "$name: what waits goes on waiting, and events are queued");
	is(requests(), 0, "$name: nothing was sent");
	return $event;
}

my $clone = PostgreSQL::Test::Cluster->new('clone');
$clone->init_from_backup($node, 'live');
my $event = silent($clone, 'a base backup');
$clone->safe_psql('postgres', 'SELECT hooks.adopt()');
wait_idle($clone);
wait_until(sub { 3 == grep { $_->{status} eq 'success' } logs($clone) }, 'what was queued');
is_deeply([ sort map { $_->{stream_event_id} } grep { $_->{status} eq 'success' } logs($clone) ], [ sort $waiting, $queued, $event ], 'adopted: all of it is sent')
  or diag(explain [ logs($clone) ]);
$receiver->take;

# The storage of a server that was stopped.
$clone->stop;
my $snapshot = PostgreSQL::Test::Cluster->new('snapshot');
PostgreSQL::Test::RecursiveCopy::copypath($clone->data_dir, $snapshot->data_dir);
chmod 0700, $snapshot->data_dir;
$snapshot->append_conf('postgresql.conf', 'port = ' . $snapshot->port . "\nunix_socket_directories = '" . $snapshot->host . "'");
$snapshot->start;
add_event($snapshot);
wait_until(sub { said($snapshot) > 0 && state_of($snapshot) eq 'copy' }, 'a copy of the storage keeps silent');
is(requests(), 0, '... and sends nothing');
$snapshot->safe_psql('postgres', 'SELECT hooks.adopt(discard => true)');
$event = add_event($snapshot);
wait_idle($snapshot);
is(requests(), 1, 'adopted without what was queued');
$snapshot->restart;
add_event($snapshot);
wait_idle($snapshot);
is(requests(), 1, '... for good');
$snapshot->stop;

# The original is the original, also after a crash.
$clone->start;
add_event($clone);
$clone->stop('immediate');
$clone->start;
add_event($clone);
wait_idle($clone);

# What was under way when it crashed is sent twice.
my %ids = map { $_->{headers}{'webhook-id'} => 1 } $receiver->take;
is(scalar keys %ids, 2, 'the server that was copied goes on');
$clone->stop;

# A standby.
$node->start;
add_event($node);
wait_idle($node);
$receiver->take;
$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
$node->stop;
$standby->promote;
wait_until(sub { $standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') }, 'the promotion');
add_event($standby);
wait_idle($standby);
is(requests(), 1, 'a standby that was promoted sends');
$standby->restart;
add_event($standby);
wait_idle($standby);
is(requests(), 1, '... also when it is restarted');
$standby->stop;

# There is nothing in it that the original would send.
my $empty = PostgreSQL::Test::Cluster->new('empty');
$empty->init_from_backup($node, 'empty');
$empty->start;
add_hook($empty, url => $receiver->url('/ok'));
add_event($empty);
wait_idle($empty);
is(requests(), 1, 'a copy without hooks is a server of its own');

done_testing();
