# Workers that are killed and servers that crash under load: no acknowledged
# event is lost, nothing is sent that was not committed, repeats are the same
# delivery again, and every user's events come in the order of their commits.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $users = 8;

# One request at a time per user, so that what the receiver sees is the order
# in which attempts were started.
my $node = hooks_node('main', 'hooks.max_in_flight_per_user' => 1, 'hooks.max_in_flight_per_host' => 64);
my $receiver = Hooks::Receiver->start;
my $received = 0;

create_application($node);
add_users($node, 2, $users);
add_hook($node, user => $_, trigger => 'donation', url => $receiver->url,
	config => { body_template => '{{username}}, {{amount}}' })
  for 1 .. $users;

# Waits for so many more requests.
sub wait_for_more
{
	my ($n) = @_;

	wait_until(
		sub {
			my $lines = () = PostgreSQL::Test::Utils::slurp_file($receiver->logfile, 0) =~ /\n/g;

			return if $lines < $received + $n;
			$received = $lines;
			return 1;
		},
		"$n more requests");
	return;
}

sub wait_for_server
{
	wait_until(sub { ($node->psql('postgres', 'SELECT 1'))[0] == 0 }, 'the server');
	return;
}

my @producers = map { Hooks::Producer->start($node, user => $_, rate => 200) } 1 .. $users;
my $repeats_allowed = 0;

wait_for_more(500);

# The worker is told to end, again and again.
for my $round (1 .. 8)
{
	my $pid = wait_for_worker($node);

	is(value($node, "SELECT pg_terminate_backend($pid)"), 't', "worker terminated, $round");
	my $start = time;
	wait_until(sub { my $new = worker_pid($node); $new ne '' && $new ne $pid }, 'a new worker');
	cmp_ok(time - $start, '<', 2, '... and there is another one soon');
	wait_for_more(200);
}

# The worker crashes, and the server with it.
for my $round (1 .. 4)
{
	my $pid = wait_for_worker($node);

	is(kill('KILL', $pid), 1, "worker killed, $round");
	wait_until(sub { !kill 0, $pid }, 'the worker to die');
	wait_for_server();
	wait_for_more(300);
}

# The server stops without finishing anything.
for my $round (1 .. 3)
{
	$node->stop('immediate');
	$node->start;
	wait_for_more(300);
	pass("immediate stop, $round");
}

$_->stop for @producers;
wait_idle($node);

# What producers know, what the table has, what the receiver saw, what the log says.
$node->safe_psql('postgres', 'CREATE TABLE acknowledged (user_id uuid, n int)');
for my $producer (@producers)
{
	my @numbers = $producer->acknowledged;

	cmp_ok(scalar @numbers, '>', 100, "producer $producer->{user} was busy");
	$node->safe_psql('postgres', sprintf q{INSERT INTO acknowledged SELECT '%s', unnest('{%s}'::int[])},
		user_uuid($producer->{user}), join ',', @numbers);
}
load_requests($node, $receiver, 'requests');
$node->safe_psql(
	'postgres', q{
	ALTER TABLE requests ADD user_id uuid, ADD n int;
	UPDATE requests SET n = substring(body FROM '^producer \d+, (\d+)$')::int,
		user_id = format('00000000-0000-4000-8000-%s', lpad(substring(body FROM '^producer (\d+), \d+$'), 12, '0'))::uuid;
	CREATE VIEW committed AS SELECT id, user_id, (data ->> 'amount')::int AS n FROM stream_events;
	ANALYZE});

sub none
{
	my ($query, $what) = @_;
	my @found = rows($node, $query);

	is(scalar @found, 0, $what) or diag explain [ @found[ 0 .. ($#found < 9 ? $#found : 9) ] ];
	return;
}

none('SELECT * FROM acknowledged EXCEPT SELECT user_id, n FROM committed', 'acknowledged commits are in the table');
none('SELECT user_id, n FROM committed EXCEPT SELECT user_id, n FROM requests', 'lost 0: every event was sent');
none(q{SELECT id FROM committed EXCEPT SELECT stream_event_id FROM stream_hook_logs WHERE status = 'success'},
	'lost 0: every event has its log row');
none('SELECT * FROM requests WHERE n IS NULL', 'unexpected 0: nothing that was rolled back was sent');
none('SELECT user_id, n FROM requests EXCEPT SELECT user_id, n FROM committed', 'unexpected 0: only what is in the table was sent');
none('SELECT id FROM requests GROUP BY id HAVING count(DISTINCT body) > 1', 'repeats have the same body');
none('SELECT user_id, n FROM requests GROUP BY user_id, n HAVING count(DISTINCT id) > 1', 'repeats have the same id');
none('SELECT stream_event_id, hook_id FROM stream_hook_logs GROUP BY 1, 2 HAVING count(*) > 1', 'one log row for each delivery');
none(q{SELECT * FROM stream_hook_logs WHERE status <> 'success'}, 'nothing else is in the log');
none(
	q{SELECT * FROM (SELECT user_id, n, lag(n) OVER (PARTITION BY user_id ORDER BY first) AS before
		FROM (SELECT user_id, n, min(seq) AS first FROM requests GROUP BY user_id, n) AS firsts) AS o
	WHERE n <> coalesce(before, 0) + 1},
	'first attempts of a user are in the order of commits, without a gap');

my ($requests, $repeats) = split /\|/, value($node, 'SELECT count(*), count(*) - count(DISTINCT id) FROM requests');
diag("$requests requests, of which $repeats repeats, in 8 terminations and 7 crashes");

# A repeat is a delivery that was under way or whose result was not written yet.
cmp_ok($repeats, '<=', 15 * ($users + 256), 'repeats are no more than what was under way or unwritten');

# Applications have seen nothing but broken connections.
my $broken = join '|', 'terminating connection', 'server closed the connection', 'connection to server',
  'This probably means', 'before or while', 'the database system is', 'could not receive data', 'server process',
  'current transaction', 'Consistent recovery state', 'possibly corrupted', 'In a moment you should be able', 'Is the server running',
  'no connection to the server';
my @errors = grep { !/$broken/ } map { split /\n/, $_->errors } @producers;
is_deeply(\@errors, [], 'no application has seen an error of ours');

finish($node, qr/was terminated by signal 9/);
done_testing();
