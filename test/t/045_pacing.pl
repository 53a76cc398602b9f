# Destinations say how fast they take requests, and are listened to: what
# headers tell is kept to, for the user whose limit it is and nobody else.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.max_in_flight_per_user' => 8);
my $receiver = Hooks::Receiver->start;
my $elsewhere = Hooks::Receiver->start;
my $number = qr/"n=(\d+)"/;

create_application($node);
add_users($node, 2, 10);

sub requests
{
	my ($path) = @_;

	return grep { $_->{path} =~ /^\Q$path\E(\?|$)/ } $receiver->requests;
}

# The windows of a /bucket, as it counts: the number of requests in each.
sub windows
{
	my ($window, @requests) = @_;
	my ($until, @windows) = (0);

	foreach my $request (@requests)
	{
		if ($request->{t} >= $until)
		{
			push @windows, 0;
			$until = $request->{t} + $window;
		}
		$windows[-1]++;
	}
	return @windows;
}

# How many of these would be answered with 429, per window.
sub refused
{
	my ($limit, @windows) = @_;

	return map { $_ > $limit ? $_ - $limit : 0 } @windows;
}

sub statuses
{
	my (%where) = @_;
	my %n;

	$n{ $_->{response_status} // 'none' }++ for logs($node, %where);
	return \%n;
}

sub delete_hooks
{
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks; TRUNCATE stream_hook_logs, stream_events');
	return;
}

# 30 deliveries to a destination that takes 5 in 2 seconds.  All that is known
# of it is what its answers say, so more than 5 may be under way before the
# first; after that, no window has more than one request too many.
sub paced
{
	my ($what, $path, @configs) = @_;
	my $n = 30;
	my @hooks = map
	{
		add_hook(
			$node, attempts => 10, url => $receiver->url("$path?limit=5&window=2"),
			config => { body_template => '"n={{data.n}}"', retry_schedule => [0.5], %$_ })
	} @configs;
	my @others = map { add_hook($node, user => $_, url => $receiver->url("$path-$_?limit=1000&window=2")) } 2 .. 4;
	my $events = $n / @hooks;

	$receiver->take;
	$node->safe_psql('postgres', join ';', 'BEGIN', event_rows($events), map({ event_rows(5, user => $_) } 2 .. 4), 'COMMIT');
	wait_until(sub { value($node, q{SELECT count(*) FROM stream_hook_logs WHERE status = 'success'}) == $n + 15 },
		"$what: all deliveries");
	wait_idle($node);

	my @received = $receiver->take;
	my @requests = grep { $_->{path} =~ /^\Q$path\E\?/ } @received;
	my @windows = windows(2, @requests);
	my @refused = refused(5, @windows);
	my $all_refused = 0;

	$all_refused += $_ for @refused;
	diag "$what: requests per window: @windows";
	is_deeply(
		statuses(user => 1),
		{ 204 => $n, $all_refused ? (429 => $all_refused) : () },
		"$what: each delivery succeeds once, and what was refused was an attempt");
	cmp_ok($refused[0], '<=', 3, '... in the first window the limit was not known');
	is_deeply([ grep { $refused[$_] > 1 } 1 .. $#refused ], [], '... after it no window has more than one refusal');
	is(scalar(keys %{ { map { $_->{headers}{'webhook-id'} => 1 } @requests } }), $n, "... $n deliveries have come");

	# Requests of one user that come before anybody else's last.
	my $before = 0;
	my $seen = 0;
	foreach my $request (@received)
	{
		last if $seen == 15;
		$request->{path} =~ /^\Q$path\E\?/ ? $before++ : $seen++;
	}
	cmp_ok($before, '<=', 8, '... and other users, at the same host, did not wait for that');
	delete_hooks();
	return;
}

paced('one hook', '/bucket/one', {});
paced('one hook, a request at a time', '/bucket/single', { concurrency => 1 });
paced('three hooks of a user share a limit', '/bucket/three', {}, {}, {});
paced('a strict hook', '/bucket/strict', { ordering => 'strict' });

# A request at a time learns everything before the next: nothing is refused.
is_deeply([ refused(5, windows(2, requests('/bucket/single'))) ],
	[ map { 0 } windows(2, requests('/bucket/single')) ],
	'a request at a time: nothing is ever refused');
is_deeply([ map { $_->{body} =~ $number } requests('/bucket/strict') ], [ 1 .. 30 ], 'a strict hook: in order, nothing is refused');

# 429 with a Retry-After that is long: the user's deliveries to that host step
# aside until then; nobody else's, and none to other hosts.
{
	my $refused = add_hook($node, trigger => 'raid', attempts => 2, url => $receiver->url('/status/429?retry_after=60'));
	my $closed = add_hook($node, url => $receiver->url('/ok/closed'));
	my $open = add_hook($node, url => $elsewhere->url('/ok/open'));
	my $other = add_hook($node, user => 2, url => $receiver->url('/ok/other'));

	add_event($node, type => 'raid', data => { viewer_count => 5 });
	wait_until(sub { scalar logs($node, hook => $refused) == 1 }, '429');
	$node->safe_psql('postgres', join ';', event_rows(3), event_rows(3, user => 2));
	wait_idle($node);

	is(log_statuses($node, hook => $closed)->{success}, undef, '429 with Retry-After: nothing more goes to that host for that user');
	is(log_statuses($node, hook => $open)->{success}, 3, '... it does to other hosts');
	is(log_statuses($node, hook => $other)->{success}, 3, '... and for other users');
	is_deeply([ map { $_->{path} } $receiver->take ],
		[ '/status/429?retry_after=60', ('/ok/other') x 3 ], '... which is what the host has seen');
	my @pending = rows($node, 'SELECT state, attempts, extract(epoch FROM next_attempt_at - queued_at) AS seconds '
		  . 'FROM hooks.pending WHERE hook_id = ' . literal($closed));
	is_deeply([ map { "$_->{state} $_->{attempts}" } @pending ], [ ('host 0') x 3 ], '... what waits is on record, without attempts');
	is_deeply([ grep { $_->{seconds} < 30 || $_->{seconds} > 61 } @pending ], [], '... until the host takes some again');
	delete_hooks();
}

# A short one is waited for, in order.
{
	my $hook = add_hook(
		$node, user => 5, trigger => 'raid', attempts => 2, url => $receiver->url('/sequence/429:retry-after=1,204'),
		config => { retry_schedule => [0.1] });
	my $next = add_hook($node, user => 5, url => $receiver->url('/ok/next'), config => { body_template => '"n={{data.n}}"' });
	my $event = add_event($node, user => 5, type => 'raid', data => { viewer_count => 5 });

	wait_until(sub { scalar logs($node, hook => $hook) == 1 }, '429');
	$node->safe_psql('postgres', event_rows(5, user => 5));
	wait_until(sub { scalar logs($node, user => 5) == 7 }, 'all deliveries');
	wait_idle($node);
	my @received = $receiver->take;
	is(scalar @received, 7, 'Retry-After: 1: all deliveries are made');
	is_deeply([ grep { $_->{t} < $received[0]{t} + 1 } @received[ 1 .. 6 ] ], [], '... none of them sooner');
	is_deeply(
		[ sort { $a <=> $b } map { $_->{body} =~ $number } @received ], [ 1 .. 5 ],
		'... each once');
	delete_hooks();
}

# Numbers that make no sense are none.
{
	my $n = 5;

	foreach my $headers (
		'X-RateLimit-Remaining=0&X-RateLimit-Reset-After=-5',
		'X-RateLimit-Remaining=0',
		'X-RateLimit-Reset-After=60',
		'X-RateLimit-Remaining=nothing&X-RateLimit-Reset-After=60',
		'Retry-After=60')
	{
		my $hook = add_hook($node, user => ++$n, url => $receiver->url("/header?$headers"));

		add_event($node, user => $n) for 1 .. 2;
		wait_idle($node);
		is(log_statuses($node, hook => $hook)->{success}, 2, "204 with $headers closes nothing");
	}
	delete_hooks();
}

finish($node);
done_testing();
