# A user who floods: what is more than hooks.flood_rate allows is dropped,
# counted, and said, every single event of it, and nobody else notices.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $rate = 10;
my $burst = 20;
my $node = hooks_node('main', 'hooks.flood_rate' => $rate, 'hooks.flood_burst' => $burst);
my $receiver = Hooks::Receiver->start;
my %hook;

create_application($node);
add_users($node, 2, 10);
$hook{$_} = add_hook($node, user => $_, url => $receiver->url) for 1 .. 10;

# What a function does to the counters: how many events were processed and how
# many dropped, and how many more than the burst there was time for.
sub counted
{
	my ($do) = @_;
	my %before = map { $_ => stat($node, $_) } qw(events_read events_flooded);
	my $failures = log_statuses($node)->{failure} || 0;
	my $from = time;

	$do->();
	my $more = (time - $from) * $rate + 1;
	wait_idle($node);
	my $refused = (log_statuses($node)->{failure} || 0) - $failures;
	return (
		stat($node, 'events_read') - $before{events_read} - $refused,
		stat($node, 'events_flooded') - $before{events_flooded},
		$more);
}

# n events, of which no more than the burst are processed.
sub limited
{
	my ($what, $n, $do) = @_;
	my ($processed, $dropped, $more) = counted($do);

	cmp_ok($processed, '>=', $burst, "$what: so many events are processed");
	cmp_ok($processed, '<=', $burst + $more, '... and no more');
	is($processed + $dropped, $n, '... and the others are counted');
	return $processed;
}

# All are processed.
sub unlimited
{
	my ($what, $n, $do) = @_;

	is_deeply([ (counted($do))[ 0, 1 ] ], [ $n, 0 ], $what);
	return;
}

# What the server log says since then of floods: user and number.
sub said
{
	my ($since) = @_;
	my $log = slurp_file($node->logfile, $since);
	my @said;

	push @said, [ $1, $2 ]
	  while $log =~ /LOG:  hooks dropped events of user "([-0-9a-f]+)" in database \d+: too many\n.*DETAIL:  (\d+) events? (?:was|were) dropped since this was last said\.\n.*HINT:  "hooks\.flood_rate"/g;
	return @said;
}

sub insert
{
	my ($n, $user) = @_;
	$node->safe_psql('postgres', event_rows($n, user => $user));
	return;
}

# One statement, in a session that wants to be told everything, inside a
# function.
my $log = -s $node->logfile;
my $stderr;
my ($processed) = limited(
	'100 events', 100,
	sub {
		$node->psql('postgres', 'SET client_min_messages = log; DO $do$ BEGIN ' . event_rows(100) . '; END $do$',
			stderr => \$stderr);
	});
is($stderr, '', 'the application is not told');
is(scalar(my @sent = $receiver->take), $processed, 'what is processed is sent');
is_deeply(log_statuses($node, hook => $hook{1}), { success => $processed, failure => 1 }, 'they are logged, and a failure');
is( value($node, q{SELECT error_message FROM stream_hook_logs WHERE status = 'failure'}),
	'too many events: this one was not processed, limit 10 per second (hooks.flood_rate)',
	'... which says why');
is_deeply([ said($log) ], [ [ user_uuid(1), 1 ] ], 'the server log says it, once');
unlike(slurp_file($node->logfile, $log), qr/CONTEXT|STATEMENT/, '... and does not repeat the statement');

# Others.
unlimited('another user has a bucket of his own', $burst, sub { insert($burst, 2) });
unlimited('lifecycle events are not limited', 50, sub {
		add_hook($node, trigger => 'stream_start', url => $receiver->url);
		$node->safe_psql('postgres', sprintf q{SELECT hooks.trigger_lifecycle_event('%s', 'stream_start') FROM generate_series(1, 50)},
			user_uuid(1));
	});
unlimited('events that nobody waits for take no room', $burst, sub {
		$node->safe_psql('postgres', event_rows(1000, user => 3, type => 'raid') . ';' . event_rows($burst, user => 3));
	});

# Other ways to insert.
limited('COPY', 50, sub {
		$node->safe_psql('postgres', "COPY stream_events (type, data, user_id) FROM stdin;\n"
			  . join('', map { "follow\t{}\t" . user_uuid(4) . "\n" } 1 .. 50) . "\\.\n");
	});
limited('two sessions', 30, sub {
		my $other = $node->background_psql('postgres');
		$other->query_safe('BEGIN; ' . event_rows(15, user => 5));
		insert(15, 5);
		$other->query_safe('COMMIT');
		$other->quit;
	});
my (undef, $late, $leaked) = counted(sub {
		$node->safe_psql('postgres', 'BEGIN; ' . event_rows($burst, user => 6) . '; ROLLBACK; ' . event_rows(50, user => 6));
	});
cmp_ok($late, '>=', 50 - $leaked, 'what was rolled back has used the room all the same');

# The bucket leaks.
insert($burst, 6);
wait_until(sub { (counted(sub { insert(1, 6) }))[0] == 1 }, 'room for an event');
pass('there is room again after a while');

# Settings.
configure($node, { 'hooks.flood_burst' => 200 });
unlimited('a larger burst is there at once', 150, sub { insert(150, 7) });
configure($node, { 'hooks.flood_rate' => 0 });
$log = -s $node->logfile;
unlimited('0 sets no limit', 500, sub { insert(500, 1) });
is_deeply([ said($log) ], [], '... and nothing is said');

# Many who flood, more than are remembered: SERIALIZABLE does not ask whether
# anybody waits for the events.  Whatever was dropped was said when the server
# has stopped.
my $users = 4000;
$node->safe_psql('postgres', q{CREATE TABLE bare (id uuid, type text, user_id uuid, data jsonb); SELECT hooks.attach('bare')});
configure($node, { 'hooks.flood_rate' => 1, 'hooks.flood_burst' => 1 });
$log = -s $node->logfile;
$node->safe_psql('postgres', "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO bare (type, user_id) "
	  . "SELECT 'follow', format('10000000-0000-4000-8000-%s', lpad(u::text, 12, '0'))::uuid "
	  . "FROM generate_series(1, $users) AS u, generate_series(1, 4) ORDER BY u; COMMIT");
wait_idle($node);
my $at_once = () = said($log);
cmp_ok($at_once, '>', $users, 'those who are forgotten are said');
cmp_ok($at_once, '<', 2 * $users, 'not all are forgotten');

my $total = stat($node, 'events_flooded');
my $sum = 0;
$node->stop;
$sum += $_->[1] for said(0);
is($sum, $total, 'every event that was dropped was said');

# Without shared memory nothing is limited.
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->start;
insert(100, 8);
is( value($node, sprintf q{SELECT count(*) FROM (TABLE hooks.queue_0 UNION ALL TABLE hooks.queue_1 UNION ALL TABLE hooks.queue_2)
		AS q WHERE user_id = '%s'}, user_uuid(8)),
	100, 'without the library in the server all are queued');
$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'hooks'});
$node->restart;
wait_idle($node);
is_deeply(log_statuses($node, hook => $hook{8}), { success => 100 }, '... and sent once it is there');

finish($node, qr/hooks launcher .*LOG:  hooks dropped events of user/);
done_testing();
