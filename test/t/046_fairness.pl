# Nobody waits for anybody else: neither a user for another one, nor a hook for
# another one of the same user, and what is urgent for nothing that is not.
# Who started first is read off the receivers' logs: orders and counts.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node(
	'main',
	'hooks.max_in_flight' => 256,
	'hooks.max_in_flight_per_user' => 8,
	'hooks.max_in_flight_per_host' => 64,
	'hooks.flood_rate' => 0);
my $receiver = Hooks::Receiver->start;
my $slow = Hooks::Receiver->start;
my $numbered = { body_template => '"n={{data.n}}"' };
my @expected;

create_application($node);
add_users($node, 2, 200);

sub number
{
	my ($request) = @_;
	my ($n) = $request->{body} =~ /^"n=(\d+)"$/;

	return $n;
}

sub on_path
{
	my ($path, @requests) = @_;

	return grep { $_->{path} =~ /^\Q$path\E(\?|$)/ } @requests;
}

# The numbers of requests, each when it first came.
sub first_numbers
{
	my %seen;

	return grep { !$seen{$_}++ } map { number($_) } @_;
}

# How many requests come before the last that is ...
sub before_last
{
	my ($is, @requests) = @_;
	my ($last) = grep { $is->($requests[$_]) } reverse 0 .. $#requests;

	return scalar grep { !$is->($_) } @requests[ 0 .. $last ];
}

# Waits until so many more have come than when start_again() was called.
sub wait_for_more
{
	my ($from, $n) = @_;

	$from->wait_for_requests($from->{taken} + $n);
	return;
}

# Deliveries of a hook that wait outside of the queue.
sub aside
{
	my ($hook) = @_;

	return value($node, 'SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL AND hook_id = ' . literal($hook));
}

sub wait_for_statuses
{
	my ($status, $n, $what) = @_;

	wait_until(sub { value($node, "SELECT count(*) FROM stream_hook_logs WHERE status = '$status'") >= $n }, $what);
	return;
}

sub start_again
{
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	wait_idle($node);
	$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs, stream_events');
	$receiver->take;
	$slow->take;
	return;
}

# The worker dies, and the server with it.
sub kill_worker
{
	my $pid = wait_for_worker($node);

	is(kill('KILL', $pid), 1, '... the worker is killed');
	wait_until(sub { !kill 0, $pid }, 'the worker to die');
	wait_until(sub { ($node->psql('postgres', 'SELECT 1'))[0] == 0 }, 'the server');
	push @expected, qr/\(PID $pid\) was terminated by signal 9/;
	return;
}

# ----------
# A user's order
# ----------

# When nothing has to wait, first attempts are made in commit order, whatever
# their kind: a user's turn takes the oldest.
{
	my @types = qw(chat_message donation follow raid);

	configure($node, { 'hooks.max_in_flight_per_user' => 1 }, 'postgres');
	add_hook($node, trigger => $_, url => $receiver->url("/ok/$_"), config => $numbered) for @types;
	$node->safe_psql('postgres', join ';', map { event_rows(1, type => $types[ $_ % 4 ], first => $_) } 1 .. 200);
	wait_idle($node);
	is_deeply([ map { number($_) } $receiver->take ], [ 1 .. 200 ], 'first attempts of a user, four hooks: commit order');
	configure($node, { 'hooks.max_in_flight_per_user' => 8 }, 'postgres');
	start_again();
}

# ----------
# A user's hooks
# ----------

# A hook whose destination fails, with retries, and one that refuses to connect.
{
	my $refusing = Hooks::Receiver->start;
	my $port = $refusing->port;

	$refusing->stop;
	add_hook($node, name => 'fails', attempts => 2, url => $slow->url('/status/500'), config => { retry_schedule => [600] });
	add_hook($node, name => 'refuses', attempts => 2, url => "http://127.0.0.1:$port/", config => { retry_schedule => [600] });
	my $works = add_hook($node, name => 'works', url => $receiver->url, config => $numbered);
	$node->safe_psql('postgres', event_rows(500));
	wait_idle($node);
	is(log_statuses($node, hook => $works)->{success}, 500, 'hooks whose destinations fail: another one delivers');
	is_deeply([ sort { $a <=> $b } map { number($_) } $receiver->take ], [ 1 .. 500 ], '... each once');
	is(value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'retry'}), 1000, '... and the failed ones wait for a retry');
	start_again();
}

# A hook whose destination is slow, with more deliveries than the user may have
# under way, does not hold up another one.
{
	my $n = 40;

	add_hook($node, url => $slow->url('/slow/5000'), config => $numbered);
	add_hook($node, url => $receiver->url, config => $numbered);
	$node->safe_psql('postgres', event_rows($n));
	wait_for_more($receiver, $n);
	my @slow = $slow->take;
	cmp_ok(scalar @slow, '<=', 8, "a hook whose destination is slow: another one delivers all $n meanwhile")
	  or diag scalar @slow, ' slow requests were made';
	cmp_ok(scalar @slow, '>', 0, '... and the slow one is at work');
	start_again();
}

# So does one with a limit of its own, which is kept.
for my $limit (1, 2, 3)
{
	my ($n, $ms) = (12, 200);
	my $hook = add_hook($node, url => $slow->url("/slow/$ms?$limit"), config => { %$numbered, concurrency => $limit });
	my $other = add_hook($node, url => $receiver->url('/ok'), config => $numbered);

	$node->safe_psql('postgres', event_rows($n));
	wait_until(sub { scalar logs($node, hook => $other) == $n }, 'the other hook');
	my @started = $slow->requests;
	wait_idle($node);
	my @requests = $slow->take;

	is(scalar @requests, $n, "concurrency $limit: all are delivered");
	is_deeply([ grep { $requests[ $_ + $limit ]{t} < $requests[$_]{t} + $ms / 1000 } 0 .. $#requests - $limit ],
		[], "... never more than $limit at once");
	ok((grep { $requests[ $_ + $limit - 1 ]{t} < $requests[$_]{t} + $ms / 1000 } 0 .. $#requests - $limit + 1) > 0,
		"... and $limit at once")
	  if $limit > 1;
	is_deeply([ map { number($_) } @requests ], [ 1 .. $n ], '... in order') if $limit == 1;
	is(scalar(my @others = $receiver->take), $n, '... and the other hook delivers as well');
	start_again();
}

# ----------
# Strict order
# ----------

# What the receiver of a strict hook may see: for each delivery, its attempts
# (so many until it succeeds) before the first of the next one.  After a crash
# what was under way, or was not logged, is repeated.
sub strictly_ordered
{
	my ($what, $n, $attempts, $crashes, @requests) = @_;
	my (%seen, @early, @skipped);
	my $steps_back = 0;
	my $previous = 0;

	foreach my $request (@requests)
	{
		my $number = number($request);

		push @skipped, $number if !$seen{$number} && $number != 1 + keys %seen;
		push @early, $number if $number > 1 && !$seen{$number} && ($seen{ $number - 1 } // 0) < $attempts;
		$steps_back++ if $number < $previous;
		$previous = $number;
		$seen{$number}++;
	}
	is(scalar(keys %seen), $n, "$what: all $n deliveries have come");
	is_deeply(\@skipped, [], '... their first attempts in order');
	is_deeply(\@early, [], '... each after the last one of the delivery before');
	cmp_ok($steps_back, '<=', $crashes, '... and nothing goes back but after a crash');
	is(scalar @requests, $n * $attempts, '... nothing is repeated') if $crashes == 0;
	return;
}

# Deliveries that fail twice, then succeed.
{
	my $hook = add_hook(
		$node, attempts => 5, url => $receiver->url('/sequence/500,503,204'),
		config => { %$numbered, ordering => 'strict', retry_schedule => [0.1] });

	$node->safe_psql('postgres', event_rows(10));
	wait_for_statuses('success', 10, 'strict deliveries');
	strictly_ordered('strict', 10, 3, 0, $receiver->take);
	is_deeply(log_statuses($node, hook => $hook), { success => 10, failure => 20 }, '... each attempt logged once');
	start_again();
}

# The same with longer waits, so that what follows steps aside, new events on
# the way, and crashes in the middle.
{
	my $hook = add_hook(
		$node, attempts => 5, url => $receiver->url('/sequence/500,503,204'),
		config => { %$numbered, ordering => 'strict', retry_schedule => [0.3] });
	my $crash = 0;
	my $n = 0;
	for my $round (1 .. 4)
	{
		$node->safe_psql('postgres', event_rows(5, first => $n + 1));
		$n += 5;
		wait_until(
			sub {
				my @requests = $receiver->requests;
				my %seen;

				$seen{ number($_) }++ for @requests[ $receiver->{taken} .. $#requests ];
				return scalar(grep { $_ >= 3 } values %seen) >= $n - 3;
			},
			'some strict deliveries');
		if ($round % 2)
		{
			kill_worker();
		}
		else
		{
			$node->stop('immediate');
			$node->start;
		}
		$crash++;
	}
	wait_until(sub { value($node, q{SELECT count(DISTINCT stream_event_id) FROM stream_hook_logs WHERE status = 'success'}) == $n },
		'all strict deliveries');
	wait_idle($node);
	strictly_ordered("strict, $crash crashes", $n, 3, $crash, $receiver->take);
	is(value($node, 'SELECT count(*) FROM (SELECT FROM stream_hook_logs GROUP BY stream_event_id, attempt HAVING count(*) > 1) AS r'),
		0, '... no attempt is logged twice');
	is_deeply(log_statuses($node, hook => $hook)->{success}, $n, '... and each succeeds once');
	is(value($node, 'SELECT count(*) FROM hooks.pending'), 0, '... nothing is left');
	start_again();
}

# A restart while the first one waits for long, and all others behind it.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/sequence/500,204'),
		config => { %$numbered, ordering => 'strict', retry_schedule => [6] });

	$node->safe_psql('postgres', event_rows(20));
	wait_until(sub { aside($hook) == 20 }, 'all to step aside');
	$node->stop('immediate');
	$node->start;
	$node->safe_psql('postgres', event_rows(10, first => 21));
	wait_until(sub { aside($hook) == 30 }, 'new ones to step aside');
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = action_config || ' . jsonb({ retry_schedule => [0.1] }));
	wait_for_statuses('success', 30, 'strict deliveries');
	strictly_ordered('strict, all aside, restart, new events', 30, 2, 0, $receiver->take);
	start_again();
}

# One that is given up lets the next go.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/seq/500,500,404,204,500,204/given-up'),
		config => { %$numbered, ordering => 'strict', retry_schedule => [0.2] });

	$node->safe_psql('postgres', event_rows(6));
	wait_for_statuses('success', 4, 'strict deliveries');
	wait_idle($node);
	is_deeply([ map { number($_) } $receiver->take ], [ 1, 1, 2, 3, 4, 4, 5, 6 ], 'a strict hook goes on after what is given up');
	is(value($node, 'SELECT count(*) FROM hooks.dead'), 2, '... which is on record');
	start_again();
}

# It holds up none of the user's other hooks.
{
	add_hook($node, attempts => 2, url => $receiver->url('/status/500'),
		config => { %$numbered, ordering => 'strict', retry_schedule => [600] });
	add_hook($node, url => $receiver->url('/ok/other'), config => $numbered);
	$node->safe_psql('postgres', event_rows(50));
	wait_idle($node);
	my @requests = $receiver->take;
	is(scalar on_path('/ok/other', @requests), 50, 'a strict hook that waits: another hook delivers');
	is(scalar on_path('/status/500', @requests), 1, '... and the strict one has made one attempt');
	start_again();
}

# ----------
# Classes
# ----------

# Donations come first, chat messages last, but not for ever.
{
	my ($users, $each) = (60, 5);

	configure($node, { 'hooks.max_in_flight' => 4 }, 'postgres');
	$node->safe_psql(
		'postgres', q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
		SELECT id, 'chat', 'chat_message', 'webhook', } . jsonb({ url => $slow->url('/slow/100') })
		  . " FROM users WHERE id > '" . user_uuid(1) . "' ORDER BY id LIMIT $users");
	add_hook($node, user => 1, trigger => 'donation', url => $slow->url('/ok/donation'));
	$node->safe_psql('postgres', "INSERT INTO stream_events (type, data, user_id) SELECT 'chat_message', "
		  . q{jsonb_build_object('message', 'hello'), id FROM users, generate_series(1, } . "$each) "
		  . q{WHERE id IN (SELECT user_id FROM stream_hooks WHERE name = 'chat')});
	wait_for_more($slow, 20);
	add_event($node, user => 1, type => 'donation', data => { amount => '10.00' });
	wait_idle($node);
	my @requests = $slow->take;
	is(scalar @requests, $users * $each + 1, 'a backlog of chat, and a donation: all are delivered');
	cmp_ok(before_last(sub { $_[0]{path} eq '/ok/donation' }, @requests),
		'<', $users * $each / 2, '... and the donation comes before most of what was there');
	start_again();

	# Donations enough to fill the worker for long, and a chat message.
	my ($donors, $donations) = (20, 45);
	$node->safe_psql(
		'postgres', q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
		SELECT id, 'thanks', 'donation', 'webhook', } . jsonb({ url => $slow->url('/slow/50') })
		  . " FROM users WHERE id > '" . user_uuid(1) . "' ORDER BY id LIMIT $donors");
	add_hook($node, user => 1, trigger => 'chat_message', url => $slow->url('/ok/chat'));
	configure($node, { 'hooks.max_in_flight' => 2 }, 'postgres');
	$node->safe_psql('postgres', join ';', 'BEGIN',
		"INSERT INTO stream_events (type, data, user_id) SELECT 'donation', jsonb_build_object('amount', '5.00'), user_id "
		  . "FROM stream_hooks, generate_series(1, $donations) WHERE name = 'thanks'",
		event_rows(1, type => 'chat_message'), 'COMMIT');
	wait_idle($node);
	@requests = $slow->take;
	is(scalar @requests, $donors * $donations + 1, 'donations enough to fill the worker, and a chat message: all are delivered');
	my $before = before_last(sub { $_[0]{path} eq '/ok/chat' }, @requests);
	cmp_ok($before, '<', $donors * $donations * 2 / 3, '... it does not wait for all of them');
	cmp_ok($before, '>=', $donors, '... but comes after some');
	configure($node, { 'hooks.max_in_flight' => 256 }, 'postgres');
	start_again();
}

# ----------
# Floods
# ----------

# Thousands of events of one user in one commit, whose receiver is slow: events
# of others that are committed later do not wait for them.
{
	my ($n, $others) = (5000, 50);

	add_hook($node, user => 1, url => $slow->url('/slow/100'), config => $numbered);
	add_hook($node, user => $_, url => $slow->url('/ok/others')) for 2 .. $others + 1;
	$node->safe_psql('postgres', event_rows($n));
	wait_for_more($slow, 4);
	$node->safe_psql('postgres', join ';', map { event_rows(2, user => $_) } 2 .. $others + 1);
	wait_until(sub { scalar on_path('/ok/others', $slow->requests) >= 2 * $others }, 'the others\' deliveries');
	my @requests = $slow->take;
	is(scalar on_path('/ok/others', @requests), 2 * $others, 'a flood: the others\' events are delivered');
	cmp_ok(before_last(sub { $_[0]{path} eq '/ok/others' }, @requests),
		'<', $n / 10, '... after a small part of what was there before them');

	# All of it comes, in order, once; a limit of one makes the order visible.
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = action_config || '
		  . jsonb({ url => $receiver->url('/ok/flood'), concurrency => 1 }) . ' WHERE user_id = ' . literal(user_uuid(1)));
	wait_idle($node);
	my @flood = grep { number($_) } @requests, $slow->take;
	push @flood, my @rest = $receiver->take;
	is(scalar @flood, $n, '... all of the flood is delivered');
	is_deeply([ first_numbers(@rest) ], [ map { number($_) } @rest ], '... nothing twice');
	is_deeply([ map { number($_) } @rest ], [ sort { $a <=> $b } map { number($_) } @rest ], '... in order');
	is(value($node, 'SELECT count(DISTINCT stream_event_id) FROM stream_hook_logs WHERE user_id = '
		  . literal(user_uuid(1)) . q{ AND status = 'success'}), $n, '... each logged');
	is(scalar logs($node, user => 1), $n, '... once');
	start_again();
}

# More than can wait in memory, and the worker is killed in the middle.
{
	my $n = 4000;

	my $hook = add_hook($node, url => $receiver->url('/slow/1'), config => { %$numbered, concurrency => 1 });
	$node->safe_psql('postgres', event_rows($n));
	wait_for_more($receiver, 700);
	kill_worker();
	wait_idle($node);
	my @requests = $receiver->take;
	is_deeply([ first_numbers(@requests) ], [ 1 .. $n ], 'parked events, worker killed: all are delivered, in order');
	cmp_ok(scalar @requests, '<', $n + 1000, '... few of them again');
	is_deeply(log_statuses($node, hook => $hook), { success => $n }, '... each logged once');
	is(value($node, 'SELECT count(DISTINCT stream_event_id) FROM stream_hook_logs'), $n, '... every one');
	start_again();
}

# ----------
# What may be aside
# ----------

# A host that is down, and only few deliveries of a user may wait outside of
# the queue: the others wait in it, the user's other hooks go on, and all is
# delivered when the host is there.
{
	my $n = 60;
	my $down = Hooks::Receiver->start;
	my $port = $down->port;

	$down->stop;
	configure($node, { 'hooks.breaker' => 'on', 'hooks.max_waiting_per_user' => 5 }, 'postgres');
	my $dead = add_hook($node, user => 150, attempts => 10, url => "http://127.0.0.1:$port/ok", config => { %$numbered, retry_schedule => [3] });
	my $works = add_hook($node, user => 150, url => $receiver->url('/ok'), config => $numbered);
	$node->safe_psql('postgres', event_rows($n, user => 150));
	wait_until(sub { scalar logs($node, hook => $works) == $n }, 'the hook that works');
	is(log_statuses($node, hook => $works)->{success}, $n, 'a dead host, few may be aside: another hook delivers');
	my $failures = scalar logs($node, hook => $dead);
	cmp_ok($failures, '>=', 5, '... the dead one was tried');
	cmp_ok($failures, '<=', 16, '... until its breaker opened');
	cmp_ok(aside($dead), '<=', 5 + 8, '... few are aside');
	cmp_ok(stat($node, 'waiting'), '>', $n - 20, '... the others wait');
	$down = Hooks::Receiver->start(port => $port);
	wait_until(sub { (log_statuses($node, hook => $dead)->{success} || 0) == $n }, 'the host to be found working');
	wait_idle($node);
	my @requests = $down->take;
	is_deeply([ sort { $a <=> $b } map { number($_) } @requests ], [ 1 .. $n ], '... all are delivered when it works, each once');
	is(value($node, 'SELECT count(*) FROM hooks.dead'), 0, '... nothing is given up');
	start_again();
}

finish($node, @expected, qr/terminating any other active server processes|was terminated by signal 9/);
done_testing();
