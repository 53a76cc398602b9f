# A synchronous standby: nothing is sent before it has the event, it sends
# nothing itself, and goes on with all that was acknowledged when it is
# promoted, prepared transactions included.  The old primary is brought back by
# pg_rewind and sends nothing any more.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my $primary = hooks_node(
	'primary', streaming => 1, max_prepared_transactions => 10, wal_log_hints => 'on',
	wal_keep_size => '256MB');

create_application($primary);
add_users($primary, 2, 3);
add_hook($primary, user => $_, trigger => 'donation', url => $receiver->url('/ok/load'),
	config => { body_template => '{{username}}, {{amount}}' })
  for 1 .. 3;
add_hook($primary, url => $receiver->url('/ok/one'), config => { body_template => 'n={{data.n}}' });
$primary->backup('backup');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nwal_receiver_status_interval = 1s\n");
$standby->start;
configure($primary, { synchronous_standby_names => 'standby' }, 'postgres');
wait_until(
	sub { value($primary, q{SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'}) == 1 },
	'a synchronous standby');

sub processes
{
	my ($node) = @_;

	return value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'hooks%'});
}

sub bodies
{
	my ($path) = @_;

	return [ map { $_->{body} } grep { $_->{path} eq $path } $receiver->take ];
}

add_event($primary, data => { n => 1 });
wait_idle($primary);
is_deeply(bodies('/ok/one'), ['n=1'], 'with a synchronous standby');

# A commit that waits for the standby.
$standby->stop;
my $session = $primary->background_psql('postgres');
$session->query_until(
	qr/inserting/,
	sprintf qq{\\echo inserting\nINSERT INTO stream_events (type, user_id, data) VALUES ('follow', '%s', '{"n": 2}');\n},
	user_uuid(1));
wait_until(
	sub { value($primary, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'}) == 1 },
	'a commit that waits for the standby');
is_deeply(bodies('/ok/one'), [], 'what waits for the standby is not sent');
$standby->start;
$session->query_safe('SELECT 1');
$session->quit;
wait_idle($primary);
is_deeply(bodies('/ok/one'), ['n=2'], '... but when the standby has it');

# A long reader on the standby that holds back vacuum on the primary.
my $reader = $standby->background_psql('postgres');
$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM hooks.pending');
wait_until(sub { value($primary, 'SELECT backend_xmin FROM pg_stat_replication') ne '' }, 'the feedback of the standby');
my $rotations = stat($primary, 'rotations');
my @producers = map { Hooks::Producer->start($primary, user => $_, rate => 200) } 1 .. 3;
$receiver->wait_for_requests(500);
wait_until(sub { stat($primary, 'rotations') > $rotations + 1 }, 'rotations');
pass('a long reader on a standby with feedback does not keep the queue from being emptied');
is(processes($standby), 0, '... and the standby has no process of ours');
my ($result, $stdout, $stderr) = $standby->psql('postgres', q{SELECT hooks.pause(user_id => '} . user_uuid(1) . q{')});
like($stderr, qr/ERROR:  cannot execute INSERT in a read-only transaction/, '... and takes no request');
$reader->quit;

# Prepared, but not committed when the primary is lost.
$primary->safe_psql('postgres', sprintf q{
	BEGIN; INSERT INTO stream_events (type, user_id, data) VALUES ('follow', '%1$s', '{"n": %2$s}'); PREPARE TRANSACTION 'p%2$s'},
	user_uuid(1), $_)
  for 3, 4;
$primary->stop('immediate');
$_->stop for @producers;
$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$standby->promote;
wait_idle($standby);

load_requests($standby, $receiver, 'requests');
my $lost = 0;
for my $producer (@producers)
{
	my @acknowledged = $producer->acknowledged;

	cmp_ok(scalar @acknowledged, '>', 100, "producer $producer->{user} was busy");
	$lost += value($standby, sprintf q{SELECT count(*) FROM unnest('{%s}'::int[]) AS n
		WHERE NOT EXISTS (SELECT FROM requests WHERE body = 'producer %d, ' || n)}, join(',', @acknowledged), $producer->{user});
}
is($lost, 0, 'promoted: everything that was acknowledged is sent');
is(value($standby, q{SELECT count(*) FROM requests WHERE body ~ 'nobody'}), 0, '... nothing that was rolled back');
is(value($standby, q{SELECT count(DISTINCT body) - count(DISTINCT id) FROM requests WHERE path = '/ok/load'}),
	0, '... and what was repeated is the same delivery');
is_deeply(bodies('/ok/one'), [], 'what is prepared waits');
$standby->safe_psql('postgres', q{COMMIT PREPARED 'p3'; ROLLBACK PREPARED 'p4'});
wait_until(sub { value($standby, q{SELECT count(*) FROM stream_hook_logs AS l JOIN stream_events AS e ON e.id = l.stream_event_id
	WHERE e.data ->> 'n' = '3'}) == 1 }, 'the prepared event');
wait_idle($standby);
is_deeply(bodies('/ok/one'), ['n=3'], '... for COMMIT PREPARED on the new primary, and is sent once');

# The old primary comes back as a standby; it never starts as anything else.
# The new timeline is in the new primary's control file from its first checkpoint on.
$standby->safe_psql('postgres', 'CHECKPOINT');
command_ok(
	[ 'pg_rewind', '--target-pgdata', $primary->data_dir, '--source-server', $standby->connstr('postgres') ],
	'pg_rewind of the old primary');
unlink $primary->data_dir . '/postmaster.pid';
$primary->append_conf('postgresql.conf', "port = " . $primary->port . "\nsynchronous_standby_names = ''\n");
$primary->enable_streaming($standby);
$primary->set_standby_mode;
$receiver->take;
$primary->start;
add_event($standby, data => { n => 5 });
wait_idle($standby);
$standby->wait_for_catchup($primary);
is(processes($primary), 0, 'the old primary has no process of ours');
is(value($primary, q{SELECT count(*) FROM stream_events WHERE data ->> 'n' = '5'}), 1, '... follows the new one');
is_deeply([ map { $_->{body} } $receiver->take ], ['n=5'], '... and sends nothing');

$primary->stop;
finish($standby);
done_testing();
