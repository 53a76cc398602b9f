# A standby sends nothing; once it is promoted it goes on where the primary was.

use strict;
use warnings;

use lib 'test/perl';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $primary = hooks_node('primary', streaming => 1);
my $receiver = Hooks::Receiver->start;

create_application($primary);
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

sub backends
{
	my ($node) = @_;

	return value($node, q{SELECT string_agg(DISTINCT backend_type, ', ' ORDER BY backend_type)
		FROM pg_stat_activity WHERE backend_type LIKE 'hooks%'});
}

# On the primary: something delivered, something that waits for a retry, for
# the end of a pause, and something in the queue.
my $done = add_hook($primary, url => $receiver->url('/ok'));
my $failing = add_hook(
	$primary, attempts => 3, trigger => 'raid', cooldown => 3600, url => $receiver->url('/switch/host'),
	config => { retry_schedule => [ 1, 1 ] });
my $pausing = add_hook($primary, trigger => 'donation', url => $receiver->url('/ok?paused'));
$primary->safe_psql('postgres', 'SELECT hooks.pause(' . literal($pausing) . ')');
my $donation = add_event($primary, type => 'donation');
add_event($primary);
wait_idle($primary);
my $raid = add_event($primary, type => 'raid');
wait_until(sub { scalar logs($primary, event => $raid) }, 'the first attempt');
configure($primary, { 'hooks.enabled' => 'off' });
wait_until(sub { worker_pid($primary) eq '' }, 'the worker to leave');
my $queued = add_event($primary);

is(value($primary, 'SELECT count(*) FROM hooks.pending'), 3, 'three things wait');
$primary->wait_for_catchup($standby);
is(value($standby, 'SELECT count(*) FROM hooks.pending'), 3, '... as the standby knows');
is(backends($standby), '', 'a standby has no process of ours');
is(scalar($receiver->requests), 2, '... and sends nothing');

# The primary is lost.
$primary->stop('immediate');
$receiver->switch(host => 'on');
$standby->append_conf('postgresql.conf', "hooks.enabled = on\n");
$standby->promote;

wait_until(sub { scalar logs($standby, event => $queued) }, 'the queued event');
is(log_statuses($standby, event => $queued)->{success}, 1, 'promoted: what was queued is delivered');
wait_until(sub { my @rows = logs($standby, event => $raid); @rows > 1 }, 'the second attempt');
is_deeply(
	[ map { [ $_->{attempt}, $_->{status} ] } logs($standby, event => $raid) ],
	[ [ 1, 'failure' ], [ 2, 'success' ] ],
	'... and the retry is made');
my %ids = map { $_->{headers}{'webhook-id'} => 1 } grep { $_->{path} =~ /switch/ } $receiver->requests;
is(scalar keys %ids, 1, '... with the same webhook-id');
wait_idle($standby);
my $again = add_event($standby, type => 'raid');
wait_idle($standby);
is(log_statuses($standby, event => $again)->{skipped_cooldown}, 1, '... the cooldown counts');
is(scalar logs($standby, event => $donation), 0, '... what is paused still is');
$standby->safe_psql('postgres', 'SELECT hooks.resume(' . literal($pausing) . ')');
wait_until(sub { scalar logs($standby, event => $donation) }, 'the end of the pause');
is(log_statuses($standby, event => $donation)->{success}, 1, '... until it is resumed');
is(value($standby, 'SELECT count(*) FROM hooks.pending'), 0, 'nothing is left');

finish($standby);
done_testing();
