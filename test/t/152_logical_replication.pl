# A subscriber whose copy of the event table fires the hooks: not for the rows
# of the initial copy, once for each row that streams in afterwards, and for
# all of them whatever becomes of the subscriber.  Replication never stops
# because of hooks.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use IPC::Run ();

use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $old_rows = 100_000;

my $publisher = hooks_node('publisher', streaming => 'logical', 'hooks.enabled' => 'off');
my $subscriber = hooks_node('subscriber', max_worker_processes => 20, wal_retrieve_retry_interval => '100ms');
my $receiver = Hooks::Receiver->start;

create_application($_) for $publisher, $subscriber;
add_users($_, 2, 5) for $publisher, $subscriber;

sub subscribe
{
	my ($name, $options) = @_;

	$subscriber->safe_psql('postgres', sprintf q{CREATE SUBSCRIPTION %s CONNECTION %s PUBLICATION events %s},
		$name, literal($publisher->connstr('postgres')), $options || '');
	$subscriber->wait_for_subscription_sync($publisher, $name);
	return;
}

sub caught_up
{
	$publisher->wait_for_catchup('sub');
	wait_idle($subscriber);
	return;
}

sub bodies
{
	return [ map { $_->{body} } $receiver->take ];
}

# What stopped the subscriber while it applied, but for the loss of its connection.
sub apply_errors
{
	return [
		grep { /logical replication worker .*ERROR:/ && !/is active for PID|could not (?:connect|receive)/ }
		  split /\n/, slurp_file($subscriber->logfile)
	];
}

# ----------
# As hooks.attach() does it by default: hooks are for rows of this server's own sessions
# ----------

add_hook($subscriber, user => $_, trigger => 'donation', url => $receiver->url('/ok'),
	config => { body_template => '{{username}}, {{amount}}' })
  for 1 .. 4;
my $follow = add_hook($subscriber, url => $receiver->url, config => { body_template => 'n={{data.n}}' });
$publisher->safe_psql('postgres', event_rows($old_rows));
$publisher->safe_psql('postgres', 'CREATE PUBLICATION events FOR TABLE stream_events');
subscribe('sub');
is(value($subscriber, 'SELECT count(*) FROM stream_events'), $old_rows, 'the initial copy');
$publisher->safe_psql('postgres', event_rows(5));
caught_up();
is(stat($subscriber, 'events_queued'), 0, 'rows of the copy, and rows that stream in, queue nothing by default');
is_deeply(bodies(), [], '... and fire nothing');
add_event($subscriber, data => { n => 'own' });
wait_idle($subscriber);
is_deeply(bodies(), ['n=own'], "... as the subscriber's own rows do");

# ----------
# Mode "replica": rows that logical replication brings
# ----------

$subscriber->safe_psql('postgres', q{DROP SUBSCRIPTION sub; TRUNCATE stream_events;
	SELECT hooks.attach('stream_events', mode => 'replica')});
is(value($subscriber, q{SELECT tgenabled FROM pg_trigger WHERE tgname = 'hooks_event'}), 'R', 'attached for replicated rows');

# What was there when the subscription began, however young, has had its effect elsewhere.
subscribe('sub');
wait_idle($subscriber);
is(value($subscriber, 'SELECT count(*) FROM stream_events'), $old_rows + 5, 'the initial copy again');
is_deeply(bodies(), [], '... fires nothing');
is(stat($subscriber, 'events_queued'), 1, '... and queues nothing');
is(stat($subscriber, 'events_too_old'), 0, '... though its rows are young');

# What is inserted while that goes on, and while it catches up, fires from some row on.
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION sub; TRUNCATE stream_events');
my $last = 20_000;
my $inserter = IPC::Run::start(
	[ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $publisher->connstr('postgres'), '-c',
	sprintf q{DO $$ BEGIN FOR n IN 1..%d LOOP EXECUTE %s USING n; COMMIT; END LOOP; END $$}, $last,
	literal(event_rows(1, first => 0) =~ s/generate_series.*/(VALUES (\$1)) AS v (n)/r) ]);
subscribe('sub');
ok($inserter->finish, 'rows were inserted meanwhile');
$publisher->safe_psql('postgres', event_rows(1, first => ++$last));
caught_up();
is(value($subscriber, 'SELECT count(*) FROM stream_events'), $old_rows + 5 + $last, 'all of them are there');
my @fired = sort { $a <=> $b } map { s/^n=//r } @{ bodies() };
is_deeply(\@fired, [ ($fired[0] // 0) .. $last ], '... and fired from some on, without a gap, once each');
note("rows $fired[0] to $last fired");

add_event($publisher, data => { n => $_ }) for 1 .. 3;
caught_up();
is_deeply(bodies(), [ map { "n=$_" } 1 .. 3 ], 'rows that stream in fire, in their order');
$publisher->safe_psql('postgres', event_rows(2000, first => 10));
caught_up();
my %seen;
$seen{$_}++ for @{ bodies() };
is_deeply(\%seen, { map { ("n=$_" => 1) } 10 .. 2009 }, 'many in one transaction fire once each');
add_event($subscriber, data => { n => 'own' });
wait_idle($subscriber);
is_deeply(bodies(), [], "the subscriber's own rows do not");
$publisher->safe_psql('postgres', q{BEGIN; } . event_rows(10) . q{; ROLLBACK;
	UPDATE stream_events SET was_displayed = true WHERE data ->> 'n' = '3'; DELETE FROM stream_events WHERE data ->> 'n' = '2'});
caught_up();
is_deeply(bodies(), [], 'what is rolled back, updated or deleted fires nothing');

# ----------
# Under load, with a subscriber that is killed
# ----------

my @producers = map { Hooks::Producer->start($publisher, user => $_, rate => 200) } 1 .. 4;
my $received = 0;

sub wait_for_more
{
	my ($n) = @_;

	wait_until(
		sub {
			my $lines = () = slurp_file($receiver->logfile) =~ /\n/g;

			return if $lines < $received + $n;
			$received = $lines;
			return 1;
		},
		"$n more requests");
	return;
}

$received = 2000;
wait_for_more(200);
for my $round (1 .. 3)
{
	$subscriber->stop('immediate');
	$subscriber->start;
	wait_for_more(200);
	pass("the subscriber was restarted, $round");
}
for my $round (1 .. 3)
{
	my $pid = wait_for_worker($subscriber);

	$subscriber->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_for_more(200);
	pass("the worker was terminated, $round");
}
# The second one's name is longer from 17 on.
for my $type ('hooks worker', 'logical replication%worker')
{
	wait_for_worker($subscriber);
	my $pid = value($subscriber, "SELECT max(pid) FROM pg_stat_activity WHERE backend_type LIKE '$type'");

	is(kill('KILL', $pid), 1, "$type: killed");
	wait_until(sub { !kill 0, $pid }, 'it to die');
	wait_until(sub { ($subscriber->psql('postgres', 'SELECT 1'))[0] == 0 }, 'the subscriber');
	wait_for_more(200);
}
is_deeply(apply_errors(), [], 'replication has not stumbled');
$_->stop for @producers;
caught_up();

load_requests($subscriber, $receiver, 'requests');
my $lost = 0;
for my $producer (@producers)
{
	my @acknowledged = $producer->acknowledged;

	is($producer->errors, '', "producer $producer->{user} has not noticed");
	cmp_ok(scalar @acknowledged, '>', 200, '... and was busy');
	$lost += value($subscriber, sprintf q{SELECT count(*) FROM unnest('{%s}'::int[]) AS n
		WHERE NOT EXISTS (SELECT FROM requests WHERE body = 'producer %d, ' || n)}, join(',', @acknowledged), $producer->{user});
}
is($lost, 0, 'every event was sent');
is(value($subscriber, q{SELECT count(*) FROM requests WHERE body ~ 'nobody'}), 0, 'nothing that was rolled back was sent');
is( value($subscriber, q{SELECT count(DISTINCT body) - count(DISTINCT id) FROM requests WHERE body ~ '^producer'}),
	0, 'what was repeated is the same delivery');
is( value($subscriber, q{SELECT count(DISTINCT e.id) FROM stream_events AS e JOIN stream_hook_logs AS l ON l.stream_event_id = e.id
		WHERE e.type = 'donation' AND l.status = 'success'}),
	value($publisher, q{SELECT count(*) FROM stream_events WHERE type = 'donation'}),
	'... and logged');
my ($repeats, $all) = split /\|/, value($subscriber, q{SELECT count(*) - count(DISTINCT body), count(*) FROM requests WHERE body ~ '^producer'});
note("repeated: $repeats of $all");
cmp_ok($repeats, '<', 8 * 256, 'few were repeated');

# ----------
# Whatever becomes of the tables, replication goes on
# ----------

add_event($publisher, data => { n => 'before' });
caught_up();
$receiver->take;
for my $harm (
	[ 'the hooks table is locked', 'BEGIN; LOCK TABLE stream_hooks', 'COMMIT' ],
	[ 'the hooks table lacks a column', 'ALTER TABLE stream_hooks RENAME enabled TO gone', 'ALTER TABLE stream_hooks RENAME gone TO enabled' ],
	[ 'the event table lacks a column', 'ALTER TABLE stream_events ALTER platform TYPE int USING NULL', 'ALTER TABLE stream_events ALTER platform TYPE text' ],
	[ 'the extension is gone', 'DROP EXTENSION hooks', 'SET client_min_messages = error; CREATE EXTENSION hooks' ])
{
	my ($what, $do, $undo) = @$harm;
	my $session = $subscriber->background_psql('postgres');

	$session->query_safe($do);
	add_event($publisher, data => { n => $what });
	$publisher->wait_for_catchup('sub');
	is(value($subscriber, "SELECT count(*) FROM stream_events WHERE data ->> 'n' = " . literal($what)), 1, "$what: rows are applied");
	$session->query_safe($undo);
	$session->quit;
}
is_deeply(apply_errors(), [], 'replication has not stumbled');

$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION sub');
finish($subscriber, qr/terminating background worker|was terminated by signal 9|stream_hooks|does not exist|has type/);
done_testing();
