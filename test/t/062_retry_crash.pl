# Retries outlive crashes: whatever happens between an answer and its log row,
# between queue and hooks.delivery, between two attempts, each delivery comes to
# its end, and what is repeated is the same delivery.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use Time::HiRes qw(time);

use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $users = 8;
my $node = hooks_node('main', 'hooks.max_in_flight_per_host' => 64);
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, $users);

sub attempts
{
	my (%where) = @_;

	return [ map { join ' ', $_->{attempt}, $_->{status}, $_->{response_status} // '-' } logs($node, %where) ];
}

sub pending
{
	my ($hook) = @_;
	return rows($node, 'SELECT * FROM hooks.pending WHERE hook_id = ' . literal($hook));
}

# Waits until nothing waits any more, for whatever time.
sub wait_for_end
{
	wait_until(sub { value($node, 'SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL') == 0 },
		'deliveries to come to their end');
	wait_idle($node);
	return;
}

sub clean_up
{
	wait_idle($node);
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks; TRUNCATE stream_hook_logs');
	$receiver->take;
	return;
}

# Holds up the writing of results; reading goes on.
sub hold
{
	my (@tables) = @_;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_safe('BEGIN; LOCK TABLE ' . join(', ', @tables) . ' IN EXCLUSIVE MODE');
	return $session;
}

my @acks = map { "hooks.ack_$_" } 0 .. 2;

# The worker dies by kill -9, and the server starts again.
sub kill_worker
{
	my ($pid) = @_;

	is(kill('KILL', $pid), 1, 'the worker is killed');
	wait_until(sub { !kill 0, $pid }, 'the worker to die');
	wait_for_server();
	return;
}

sub wait_for_server
{
	wait_until(sub { ($node->psql('postgres', 'SELECT 1'))[0] == 0 }, 'the server');
	return;
}

# One event: so many of its attempts are logged, then results are held up; when
# the next answer has come the worker is killed.
for (
	{
		what => 'the first attempt', path => '/ok', logged => 0, counter => 'succeeded', hold => \@acks,
		log => ['1 success 204'], repeats => 1
	},
	{
		what => 'the second attempt', path => '/sequence/500,200', logged => 1, counter => 'succeeded',
		hold => ['hooks.delivery'], log => [ '1 failure 500', '2 success 200' ], repeats => 1
	},
	{
		what => 'between the queue and hooks.delivery', path => '/sequence/500,500,200', logged => 0,
		counter => 'failed', hold => ['hooks.delivery'], log => [ '1 failure 500', '2 success 200' ], repeats => 2
	},
	{
		what => 'the second attempt of three', path => '/sequence/500,500,500,200', logged => 1,
		counter => 'failed', hold => ['hooks.delivery'],
		log => [ '1 failure 500', '2 failure 500', '3 success 200' ], repeats => 2
	})
{
	my %case = %$_;
	my $hook = add_hook(
		$node, attempts => 3, url => $receiver->url($case{path}),
		config => { retry_schedule => [2], body => { n => '{{username}}' } });
	my $session = $case{logged} ? undef : hold(@{ $case{hold} });
	my $before = stat($node, $case{counter});
	my $event = add_event($node);

	if ($case{logged})
	{
		wait_until(sub { scalar(my @rows = logs($node, event => $event)) == $case{logged} }, 'an attempt that is logged');
		$before = stat($node, $case{counter});
		$session = hold(@{ $case{hold} });
	}
	wait_until(sub { stat($node, $case{counter}) > $before }, 'an answer');
	is(scalar(my @rows = logs($node, event => $event)), $case{logged}, "$case{what}: an answer has come and is not logged");
	is(scalar(my @requests = $receiver->take), $case{logged} + 1, '... to one request');
	kill_worker(worker_pid($node));
	eval { $session->quit };
	wait_until(sub { log_statuses($node, event => $event)->{success} }, 'the success');
	wait_idle($node);

	my @repeats = $receiver->take;
	is(scalar @repeats, $case{repeats}, '... it is repeated, once');
	is(scalar(keys %{ { map { $_->{headers}{'webhook-id'} => 1 } @requests, @repeats } }), 1, '... with the same id');
	is(scalar(keys %{ { map { $_->{body} => 1 } @requests, @repeats } }), 1, '... and the same body');
	is_deeply(attempts(event => $event), $case{log}, '... each attempt has one row, the last is a success');
	is(scalar(my @left = pending($hook)), 0, '... nothing is left to be done');
	is(value($node, 'SELECT count(*) FROM hooks.delivery'), 0, '... or kept');
	clean_up();
}

# While results are held up other deliveries come back, later ones: when those
# that were held up are written at last, they are not behind.
{
	my $later = add_hook($node, attempts => 2, url => $receiver->url('/sequence/500,200/later'), config => { retry_schedule => [2] });
	my $first = add_event($node);

	wait_until(sub { log_statuses($node, event => $first)->{failure} }, 'a failure');
	my $hook = add_hook($node, user => 2, attempts => 2, url => $receiver->url('/sequence/500,200/held'),
		config => { retry_schedule => [0.1] });
	my $session = hold(@acks);
	add_event($node, user => 2);
	wait_until(sub { scalar(my @seen = grep { $_->{path} =~ /later/ } $receiver->requests) == 2 },
		'a later one to come back');
	is(scalar(my @held = grep { $_->{path} =~ /held/ } $receiver->requests), 1, 'a retry that could not be written');
	$session->query_safe('COMMIT');
	$session->quit;
	wait_until(sub { log_statuses($node, hook => $hook)->{success} }, 'a retry that was written late', 20);
	is_deeply(attempts(hook => $hook), [ '1 failure 500', '2 success 200' ], '... is made');
	wait_until(sub { log_statuses($node, hook => $later)->{success} }, 'the other one');
	clean_up();
}

# The cooldown that a waiting delivery has taken.
for my $type ('timestamptz', 'timestamptz(0)')
{
	my $cooldown = sub {
		my ($what, $event) = @_;

		$event = add_event($node);
		wait_idle($node);
		is_deeply([ map { $_->{status} } logs($node, event => $event) ], ['skipped_cooldown'], $what);
	};

	$node->safe_psql('postgres', "ALTER TABLE stream_hooks ALTER last_triggered_at TYPE $type");

	# One that was given back a moment ago is taken again: it is on record with the delivery.
	my $hook = add_hook(
		$node, cooldown => 3600, attempts => 1, url => $receiver->url('/status/500'),
		config => { retry_schedule => [4] });
	my $first = add_event($node);
	wait_until(sub { log_statuses($node, event => $first)->{failure} }, 'a failure that gives the cooldown back');
	wait_until(sub { value($node, 'SELECT last_triggered_at IS NULL FROM stream_hooks') eq 't' }, 'it to be given back');
	$node->safe_psql('postgres', q{UPDATE stream_hooks SET action_config = action_config || '{"max_attempts": 2}'});
	my $second = add_event($node);
	my $found = wait_until(
		sub {
			value($node, q{SELECT coalesce(abs(extract(epoch FROM d.taken - h.last_triggered_at)) < 1, false)
				FROM hooks.delivery AS d JOIN stream_hooks AS h ON h.id = d.hook_id WHERE d.next_at IS NOT NULL});
		},
		'a delivery that waits');
	is($found, 't', "$type: the cooldown is on record as soon as the delivery waits");
	$node->stop('immediate');
	$node->start;
	$cooldown->('... it stands after a crash');
	$node->restart;
	$cooldown->('... and after a restart');
	wait_for_end();
	is_deeply(attempts(event => $second), [ '1 failure 500', '2 failure 500' ], '... the second attempt fails, too');
	$found = value($node, q{SELECT coalesce(last_triggered_at::text, 'none') FROM stream_hooks});
	is($found, 'none', '... and the cooldown is given back');

	my $third = add_event($node);
	wait_until(sub { scalar pending($hook) }, 'another one that waits');
	is_deeply(attempts(event => $third), ['1 failure 500'], '... so the next event is tried');

	# At the end as well: once it is given up, the cooldown is given back, whatever happens then.
	wait_for_end();
	$node->stop('immediate');
	$node->start;
	my $fourth = add_event($node);
	wait_idle($node);
	is_deeply(attempts(event => $fourth), ['1 failure 500'], '... after a crash, too');
	wait_for_end();
	clean_up();
}

# A secret that is rotated while a delivery waits: the retry is signed with both.
{
	my ($old, $new) = map { value($node, 'SELECT hooks.generate_secret()') } 1 .. 2;
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/sequence/500,200'),
		config => { retry_schedule => [2], secret => $old });

	add_event($node);
	wait_until(sub { scalar pending($hook) }, 'a delivery that waits');
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = action_config || ' . jsonb({ secret => [ $new, $old ] }));
	wait_until(sub { log_statuses($node, hook => $hook)->{success} }, 'the retry');

	my @requests = $receiver->take;
	my @expected = map {
		my $h = $_->{headers};
		my $content = "$h->{'webhook-id'}.$h->{'webhook-timestamp'}.$_->{body}";
		[ map { 'v1,' . encode_base64(hmac_sha256($content, decode_base64(substr $_, 6)), '') } $new, $old ];
	} @requests;

	is(scalar @requests, 2, 'a secret is rotated between two attempts');
	is($requests[0]{headers}{'webhook-signature'}, $expected[0][1], '... the first is signed with the old one');
	is($requests[1]{headers}{'webhook-signature'}, "$expected[1][0] $expected[1][1]", '... the second with both');
	clean_up();
}

# Under load: three users' deliveries fail once, twice, and always.
my %path = (6 => '/sequence/500,200', 7 => '/sequence/502,500,200', 8 => '/status/500');
my %attempts = (6 => 2, 7 => 3, 8 => 3);

$node->safe_psql('postgres', 'TRUNCATE stream_events, hooks.delivery');
add_hook($node, user => $_, trigger => 'donation', attempts => undef, url => $receiver->url($path{$_} || '/ok'),
	config => { body_template => '{{username}}, {{amount}}', retry_schedule => [ 0.2, 0.5 ] })
  for 1 .. $users;

my $received = scalar(my @until_now = $receiver->requests);
my $first_seq = $until_now[-1]{seq};
my @crashes;

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

sub crash
{
	my ($how) = @_;
	my $start = time;

	$how->();
	push @crashes, [ $start, time ];
	wait_for_more(300 + int rand 300);
	return;
}

my @producers = map { Hooks::Producer->start($node, user => $_, rate => 80) } 1 .. $users;

wait_for_more(500);
for my $round (1 .. 3)
{
	crash(sub {
		kill_worker(wait_for_worker($node));
	});
	crash(sub {
		$node->stop('immediate');
		$node->start;
		pass("immediate stop, $round");
	});
	crash(sub {
		my $pid = wait_for_worker($node);

		is(value($node, "SELECT pg_terminate_backend($pid)"), 't', "worker terminated, $round");
		wait_until(sub { my $new = worker_pid($node); $new ne '' && $new ne $pid }, 'a new worker');
	});
}
$_->stop for @producers;
wait_idle($node);
wait_for_end();

$node->safe_psql('postgres', 'CREATE TABLE acknowledged (user_id uuid, n int)');
for my $producer (@producers)
{
	$node->safe_psql('postgres', sprintf q{INSERT INTO acknowledged SELECT '%s', unnest('{%s}'::int[])},
		user_uuid($producer->{user}), join ',', $producer->acknowledged);
}
load_requests($node, $receiver, 'requests');
$node->safe_psql(
	'postgres', sprintf q{
	DELETE FROM requests WHERE seq <= %d;
	ALTER TABLE requests ADD user_id uuid, ADD n int;
	UPDATE requests SET n = substring(body FROM '^producer \d+, (\d+)$')::int,
		user_id = format('00000000-0000-4000-8000-%%s', lpad(substring(body FROM '^producer (\d+), \d+$'), 12, '0'))::uuid;
	CREATE VIEW committed AS SELECT id, user_id, (data ->> 'amount')::int AS n FROM stream_events;
	CREATE TABLE crashes AS SELECT * FROM (VALUES %s) AS c (start, stop);
	CREATE TABLE expected AS SELECT * FROM (VALUES %s) AS x (user_id, attempts, successes);
	ANALYZE},
	$first_seq,
	join(', ', map { sprintf '(%f::float8, %f::float8)', @$_ } @crashes),
	join(', ', map { sprintf q{('%s'::uuid, %d, %d)}, user_uuid($_), $attempts{$_} || 1, $_ != 8 } 1 .. $users));

sub none
{
	my ($query, $what) = @_;
	my @found = rows($node, $query);

	is(scalar @found, 0, $what) or diag explain [ scalar @found, @found[ 0 .. ($#found < 9 ? $#found : 9) ] ];
	return;
}

none('SELECT * FROM acknowledged EXCEPT SELECT user_id, n FROM committed', 'acknowledged commits are in the table');
none('SELECT user_id, n FROM committed EXCEPT SELECT user_id, n FROM requests', 'lost 0: every event was sent');
none('SELECT user_id, n FROM requests EXCEPT SELECT user_id, n FROM committed', 'unexpected 0: only what is in the table was sent');

# The receiver counts requests, so a repeat may end a delivery an attempt sooner.
none(
	q{SELECT c.user_id, c.n, x.attempts, l.made, l.successes, r.requests FROM committed AS c
	JOIN expected AS x USING (user_id)
	LEFT JOIN (SELECT user_id, n, count(*) AS requests FROM requests GROUP BY 1, 2) AS r USING (user_id, n)
	LEFT JOIN (SELECT stream_event_id AS id, count(*) AS made, max(attempt) AS last, count(DISTINCT attempt) AS numbers,
			count(*) FILTER (WHERE status = 'success') AS successes,
			max(attempt) FILTER (WHERE status = 'success') AS success
		FROM stream_hook_logs GROUP BY 1) AS l USING (id)
	WHERE l.made IS NULL OR l.made <> l.last OR l.numbers <> l.made OR l.successes <> x.successes
		OR l.success <> l.last OR l.made > x.attempts OR l.made < x.attempts - (r.requests - l.made)},
	'lost 0: every event has one log row for each attempt, and ends as it should');
none(
	q{SELECT id FROM committed WHERE user_id = '} . user_uuid(8)
	  . q{' EXCEPT SELECT event_id FROM hooks.dead WHERE attempts = 3 AND last_status = 500},
	'what has failed for good can be asked for');
none(q{SELECT * FROM hooks.delivery WHERE next_at IS NOT NULL OR user_id <> '} . user_uuid(8) . q{'},
	'hooks.delivery has nothing else in it');
none('SELECT id FROM requests GROUP BY id HAVING count(DISTINCT body) > 1', 'repeats have the same body');
none('SELECT user_id, n FROM requests GROUP BY user_id, n HAVING count(DISTINCT id) > 1', 'repeats have the same id');

# A request that comes sooner after another one of the same delivery than the
# shortest delay, or that is one more than there were attempts, is a repeat:
# of those, none but in a crash.
none(
	q{SELECT * FROM (SELECT *, lag(t) OVER (PARTITION BY id ORDER BY seq) AS before FROM requests) AS r
	WHERE t - before < 0.15 AND NOT EXISTS (SELECT FROM crashes WHERE start <= r.t + 0.1 AND stop >= r.before - 0.1)},
	'no two requests of a delivery at once, but for crashes');
none(
	q{SELECT r.user_id, r.n, count(*) AS requests FROM requests AS r JOIN expected AS x USING (user_id)
	GROUP BY 1, 2, x.attempts
	HAVING count(*) - x.attempts > (SELECT count(*) FROM crashes AS c WHERE c.stop >= min(r.t) AND c.start <= max(r.t))},
	'no more repeats of a delivery than crashes while it lasted');
my ($requests, $made) = split /\|/,
  value($node, 'SELECT (SELECT count(*) FROM requests), (SELECT count(*) FROM stream_hook_logs)');
diag(sprintf '%d requests, of which %d repeats, in %d crashes', $requests, $requests - $made, scalar @crashes);
cmp_ok($requests - $made, '>=', 0, 'every attempt that is logged was made');

finish($node, qr/was terminated by signal 9/);
done_testing();
