# Deliveries that wait cost nothing: no process, no time, no memory, no queue;
# and they are not lost, or sent by a copy, whatever is done to their database.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $users = 100;
my $per_user = 1000;
my $all = $users * $per_user;
my $node = hooks_node(
	'main',
	max_worker_processes => 20,
	autovacuum => 'off',
	'hooks.idle_timeout' => '1s',
	'hooks.max_in_flight_per_user' => 64,
	'hooks.max_in_flight_per_host' => 256);
my $receiver = Hooks::Receiver->start;
my $refusing = Hooks::Receiver->start;
my $nowhere = $refusing->url('/nowhere');

$refusing->stop;
create_application($node);

# What the operating system says of a process: the time that it has taken, and
# the memory that is its own.
sub ticks
{
	my ($pid) = @_;
	my $stat = slurp_file("/proc/$pid/stat");

	$stat =~ s/.*\) //s;
	my @columns = split ' ', $stat;
	return $columns[11] + $columns[12];
}

sub memory
{
	my ($pid) = @_;
	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m ? $1 : die 'no memory';
}

sub our_processes
{
	return map { $_->{pid} } rows($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'hooks %'});
}

sub waiting
{
	my ($database) = @_;
	return value($node, q{SELECT count(*) FROM hooks.pending WHERE state IN ('retry', 'host')}, $database);
}

sub wait_until_gone
{
	my ($database) = @_;

	wait_until(sub { worker_pid($node, $database) eq '' }, 'the worker to leave');
	return;
}

sub queued
{
	my ($database) = @_;

	return value($node, 'SELECT ' . join(' + ', map { "pg_relation_size('hooks.queue_$_') + pg_relation_size('hooks.ack_$_')" } 0 .. 2), $database);
}

# A retry that comes without anything else happening: the launcher starts a worker for it.
for my $idle (0, 1)
{
	configure($node, { 'hooks.idle_timeout' => "${idle}s" });
	my $hook = add_hook($node, attempts => 2, url => $receiver->url("/sequence/500,200/$idle"), config => { retry_schedule => [3] });
	my $event = add_event($node);

	wait_until(sub { waiting() == 1 }, 'a delivery that waits');
	my $pid = worker_pid($node);
	wait_until_gone();
	is(waiting(), 1, "hooks.idle_timeout = $idle: the worker leaves, a delivery waits");
	is(queued(), 0, '... not in the queue');
	my @requests = $receiver->wait_for_requests(2 * $idle + 2);
	cmp_ok($requests[-1]{t} - $requests[-2]{t}, '>=', 2.4, '... it comes back when it is due');
	cmp_ok($requests[-1]{t} - $requests[-2]{t}, '<', 8, '... and not much later');
	wait_until(sub { log_statuses($node, event => $event)->{success} }, 'its row');
	is(waiting(), 0, '... and is done');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks; TRUNCATE stream_hook_logs');
}
configure($node, { 'hooks.idle_timeout' => '1s' });

# 100 users' endpoint refuses connections.
add_users($node, 2, $users + 1);
$receiver->take;
$node->safe_psql(
	'postgres', sprintf q{
	INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	SELECT format('00000000-0000-4000-8000-%%s', lpad(n::text, 12, '0'))::uuid, 'a hook', 'follow', 'webhook', %s
	FROM generate_series(1, %d) AS n},
	jsonb({ url => $nowhere, max_attempts => 2, retry_schedule => [86400], max_age_seconds => 2592000 }), $users);
add_hook($node, user => $users + 1, url => $receiver->url('/ok'));

my $start = time;
for my $batch (1 .. 10)
{
	$node->safe_psql(
		'postgres', sprintf q{INSERT INTO stream_events (type, data, user_id)
		SELECT 'follow', jsonb_build_object('username', 'viewer', 'n', n),
			format('00000000-0000-4000-8000-%%s', lpad(u::text, 12, '0'))::uuid
		FROM generate_series(1, %d) AS n, generate_series(1, %d) AS u}, $per_user / 10, $users);
}
my $inserted = time;
wait_until(sub { value($node, 'SELECT count(*) FROM hooks.delivery') == $all }, 'all to wait', 300);
diag(sprintf '%d deliveries failed and wait after %.1f s, %.1f s after the last was inserted', $all, time - $start, time - $inserted);
my $size = value($node, q{SELECT pg_total_relation_size('hooks.delivery')});
diag("hooks.delivery has $size bytes with its indexes");
is(log_statuses($node)->{failure}, $all, 'each has failed once');

# They wait in no process and in no queue.
wait_until_gone();
is(queued(), 0, 'the queue is empty, though they wait');
is(waiting(), $all, '... and all are there');

# No process of ours does anything while others do.
my @ours = our_processes();
is(scalar @ours, 1, 'only the launcher is left');
my $launcher = ticks($ours[0]);
my $worked = 0;
wait_until(sub { value($node, 'SELECT sum(hashint8(n)) FROM generate_series(1, 500000) AS n'); ++$worked >= 20 }, 'others to work');
is(ticks($ours[0]), $launcher, '... which takes no time');
is_deeply([ our_processes() ], \@ours, '... and starts nobody');

# A crash.
$node->stop('immediate');
$start = time;
$node->start;
is(waiting(), $all, 'all are there after an immediate stop');

# Another user's event goes out at once.
my $event = add_event($node, user => $users + 1);
wait_until(sub { log_statuses($node, event => $event)->{success} }, 'an event of another user');
my ($latency) = rows($node, q{SELECT extract(epoch FROM l.inserted_at - e.inserted_at::timestamp AT TIME ZONE 'UTC') AS seconds
	FROM stream_hook_logs AS l JOIN stream_events AS e ON e.id = l.stream_event_id WHERE e.id = } . literal($event));
diag(sprintf 'the first event after the crash was logged after %.3f s', $latency->{seconds});
cmp_ok($latency->{seconds}, '<', 2, 'another user is served at once, while they wait');
my $memory = memory(wait_until(sub { add_event($node, user => $users + 1); worker_pid($node) }, 'a worker'));
wait_idle($node);
is(waiting(), $all, '... and they go on waiting');

# The same in a database where nothing waits: how much memory is theirs?
$node->safe_psql('postgres', 'CREATE DATABASE empty');
create_application($node, 'empty');
add_hook($node, url => $receiver->url('/ok'), database => 'empty');
add_event($node, database => 'empty');
my $memory_empty = memory(wait_until(sub { add_event($node, database => 'empty'); worker_pid($node, 'empty') }, 'a worker'));
diag("a worker has $memory kB, without deliveries that wait $memory_empty kB");
cmp_ok($memory - $memory_empty, '<', 8 * 1024, 'they take next to no memory');
wait_idle($node, 'empty');
$receiver->take;

# A copy.  It sends nothing until it is adopted; discard throws away what waits.
wait_until_gone();
for my $discard (0, 1)
{
	my $copy = "copy_$discard";

	$node->safe_psql('postgres', "CREATE DATABASE $copy TEMPLATE postgres");
	is(value($node, 'SELECT count(*) FROM hooks.delivery', $copy), $all, "a copy has them");

	# So that the one thing it holds are these deliveries, and all are due.
	$node->safe_psql($copy, 'SET session_replication_role = replica; '
		  . "CREATE TABLE kept AS SELECT * FROM stream_hooks; DELETE FROM stream_hooks; UPDATE hooks.delivery SET next_at = now()");
	my $seen = -s $node->logfile;
	$node->safe_psql($copy, 'SELECT hooks.wake()');
	wait_until(sub { slurp_file($node->logfile, $seen) =~ /hooks sends nothing for database \d+, which is a copy/ },
		'the copy to be noticed');
	wait_until_gone($copy);
	is(value($node, 'SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL', $copy), $all, '... which it leaves alone');
	$node->safe_psql($copy, 'DELETE FROM hooks.delivery WHERE event_id NOT IN (SELECT event_id FROM hooks.delivery LIMIT 100); '
		  . 'INSERT INTO stream_hooks SELECT * FROM kept; UPDATE stream_hooks SET action_config = action_config || '
		  . jsonb({ url => $receiver->url("/adopted/$copy") }));
	is(scalar(my @none = $receiver->take), 0, '... and sends nothing');
	$node->safe_psql($copy, 'SELECT hooks.adopt(' . ($discard ? 'discard => true' : '') . ')');
	wait_until(sub { value($node, 'SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL', $copy) == 0 }, 'none to wait');
	wait_idle($node, $copy);
	is(scalar(my @sent = $receiver->take), $discard ? 0 : 100,
		$discard ? '... adopted with discard, it has thrown them away' : '... adopted, it sends them');
	is(value($node, 'SELECT count(*) FROM hooks.delivery', $copy), $discard ? 0 : 100,
		$discard ? '... all of them' : '... and keeps what the receiver does not know');
}
is(waiting(), $all, 'the original has not noticed');

# A dump has none of them: what the original has still to do it does.
{
	my $file = "$PostgreSQL::Test::Utils::tmp_check/waiting.dump";

	$node->safe_psql('postgres', 'CREATE DATABASE restored');
	for my $command (
		[ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr('postgres') ],
		[ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $file ])
	{
		my ($stdout, $stderr);

		ok(IPC::Run::run($command, '>', \$stdout, '2>', \$stderr), "$command->[0] with deliveries that wait") or diag $stderr;
		is($stderr, '', '... says nothing');
	}
	is(value($node, 'SELECT count(*) FROM hooks.delivery', 'restored'), 0, '... the restored database has none of them');
	add_event($node, user => $users + 1, database => 'restored');
	wait_idle($node, 'restored');
	is_deeply([ map { $_->{path} } $receiver->take ], ['/ok'], '... and sends its own events only');
	unlink $file;
}

# By hand, under load: rows are taken away, locked, moved; nobody has an error.
my @producers = map { Hooks::Producer->start($node, user => $users + $_, rate => 100) } 1 .. 1;
add_hook($node, user => $users + 1, trigger => 'donation', attempts => 3, url => $receiver->url('/sequence/500,200'),
	config => { retry_schedule => [0.3] });
my $served = sub {
	my ($what) = @_;
	my $before = value($node, q{SELECT count(*) FROM stream_hook_logs WHERE attempt = 2 AND status = 'success'});

	wait_until(
		sub { value($node, q{SELECT count(*) FROM stream_hook_logs WHERE attempt = 2 AND status = 'success'}) > $before + 50 },
		"$what: retries");
	pass("$what: retries go on");
};
$served->('at first');
$start = time;
$node->safe_psql('postgres', 'VACUUM FULL hooks.delivery');
diag(sprintf 'VACUUM FULL took %.1f s', time - $start);
$served->('VACUUM FULL');
$node->safe_psql('postgres', 'CLUSTER hooks.delivery USING ' . value($node,
	q{SELECT c.relname FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
	WHERE indrelid = 'hooks.delivery'::regclass AND indisprimary}));
$served->('CLUSTER');
$node->safe_psql('postgres', 'REINDEX TABLE hooks.delivery');
$served->('REINDEX');
cmp_ok(waiting(), '>=', $all, '... and the others wait');
for my $round (1 .. 3)
{
	$node->safe_psql('postgres', 'TRUNCATE hooks.delivery');
	$served->("TRUNCATE, $round");
}
$node->safe_psql('postgres', 'DELETE FROM hooks.delivery');
$served->('DELETE');
$_->stop for @producers;
wait_until(sub { waiting() == 0 }, 'retries to end');
wait_idle($node);
is(join('', map { $_->errors } @producers), '', 'no application has seen an error');

# A row that makes no sense is no reason to stop.
$node->safe_psql(
	'postgres', sprintf q{INSERT INTO hooks.delivery (id, hook_id, user_id, event_id, event_type, event_time, queued_at, why,
		next_at, attempts, perhaps_sent, replay)
	SELECT gen_random_uuid(), gen_random_uuid(), '%s', gen_random_uuid(), t, now(), now(), w, now(), 1, false, false
	FROM unnest('{follow,nothing}'::text[]) AS t, unnest('{retry,because}'::text[]) AS w}, user_uuid(1));
$event = add_event($node, user => $users + 1);
wait_until(sub { log_statuses($node, event => $event)->{success} }, 'an event beside rows that make no sense');
pass('rows that make no sense do not stop anything');
wait_idle($node);

# DROP EXTENSION and DROP DATABASE while deliveries wait.
$node->safe_psql('copy_0', 'UPDATE hooks.delivery SET why = \'retry\', next_at = now() + interval \'1 hour\'');
$node->safe_psql('copy_0', 'SELECT hooks.wake()');
is(waiting('copy_0'), 100, 'deliveries wait');
$node->safe_psql('postgres', 'DROP DATABASE copy_0');
is(value($node, q{SELECT count(*) FROM pg_database WHERE datname = 'copy_0'}), 0, 'DROP DATABASE');

my $hook = add_hook($node, user => 2, trigger => 'raid', attempts => 2, url => $receiver->url('/status/500'), config => { retry_schedule => [2] });
add_event($node, user => 2, type => 'raid', data => { username => 'somebody', viewers => 5 });
wait_until(sub { waiting() == 1 }, 'a delivery that waits');
$receiver->take;
$node->safe_psql('postgres', 'DROP EXTENSION hooks');
wait_until_gone();
is(value($node, 'SELECT count(*) FROM stream_events') > 0 ? 1 : 0, 1, 'DROP EXTENSION');
$node->safe_psql('postgres', 'CREATE EXTENSION hooks');
is(waiting(), 0, '... after which nothing waits');
$event = add_event($node, user => $users + 1);
wait_until(sub { log_statuses($node, event => $event)->{success} }, 'an event');
wait_idle($node);
is_deeply([ map { $_->{path} } $receiver->take ], ['/ok'], '... and events are sent as ever');

finish($node, qr/hooks sends nothing for database \d+, which is a copy/);
done_testing();
