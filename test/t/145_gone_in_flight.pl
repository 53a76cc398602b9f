# Hooks, users and events that are deleted while their requests are under way,
# or wait for another attempt: no error, no loop, nothing is left behind.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Load;
use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.timeout' => '20s', 'hooks.max_in_flight_per_host' => 256);
my $receiver = Hooks::Receiver->start;
my $user = 1;

create_application($node);
add_event($node);
wait_idle($node);

# A witness, whose deliveries nobody disturbs.
my $load = Hooks::Load->start($node, $receiver, users => [ 901, 902 ], rate => 20);
$load->wait_for_more(10);
my $pid = worker_pid($node);

sub requests
{
	my ($path) = @_;
	return grep { $_->{path} eq $path } $receiver->requests;
}

my %ways = (
	'DELETE of the hook' => sub { my ($hook, $user) = @_; "DELETE FROM stream_hooks WHERE id = '$hook'" },
	'DELETE of the user' => sub {
		my ($hook, $user) = @_;
		"DELETE FROM stream_events WHERE user_id = '$user'; DELETE FROM users WHERE id = '$user'";
	},
	'DELETE of the events' => sub { my ($hook, $user) = @_; "DELETE FROM stream_events WHERE user_id = '$user'" },
	'DELETE of the log rows' => sub { my ($hook, $user) = @_; "DELETE FROM stream_hook_logs WHERE user_id = '$user'" },
	'an id that changes' => sub {
		my ($hook, $user) = @_;
		"BEGIN; DELETE FROM stream_hook_logs WHERE user_id = '$user'; UPDATE stream_hooks SET id = gen_random_uuid() WHERE id = '$hook'; COMMIT";
	},
	'another owner of the hook' => sub {
		my ($hook, $user) = @_;
		"BEGIN; DELETE FROM stream_hook_logs WHERE user_id = '$user'; UPDATE stream_hooks SET user_id = '" . user_uuid(1) . "' WHERE id = '$hook'; COMMIT";
	});

# What the requests of a delivery are at when that happens.
my %kinds = (
	'that succeed' => { url => '/slow/1500?%d' },
	'that hang' => { url => '/hang?%d' },
	'that will be tried again' => { url => '/sequence/hang,hang,200/%d', attempts => 3, schedule => [ 0.1, 0.1 ] },
	'that wait for another attempt' => { url => '/sequence/500,500,200/%d', attempts => 3, schedule => [ 3, 0.1 ] });
my $events = 5;
my @cases;

for my $way (sort keys %ways)
{
	for my $kind (sort keys %kinds)
	{
		my $n = ++$user;
		my %case = (%{ $kinds{$kind} }, what => "$way, requests $kind", way => $way, user => $n, waits => $kind =~ /wait/);

		$case{path} = sprintf $case{url}, $n;
		add_users($node, $n, $n);
		$case{hook} = add_hook(
			$node, user => $n, url => $receiver->url($case{path}), attempts => $case{attempts} || 1,
			config => { concurrency => 8, timeout_ms => 2500, retry_schedule => $case{schedule} || [1] });
		push @cases, \%case;
	}
}

# All at once, and deleted all at once.
$node->safe_psql('postgres', join ";\n", map { event_rows($events, user => $_->{user}) } @cases);
for my $case (@cases)
{
	wait_until(sub { scalar(my @seen = requests($case->{path})) == $events }, "$case->{what}: requests");
	wait_until(sub { value($node, "SELECT count(*) FROM hooks.pending WHERE hook_id = '$case->{hook}' AND state = 'retry'") == $events },
		"$case->{what}: deliveries that wait")
	  if $case->{waits};
}
my $under_way = stat($node, 'in_flight');
cmp_ok($under_way, '>', $events * keys(%ways) * 2, "$under_way requests are under way");
$node->safe_psql('postgres', join ";\n", map { $ways{ $_->{way} }->($_->{hook}, user_uuid($_->{user})) } @cases);

# Hooks that are gone make no more attempts; what is deleted otherwise changes nothing.
for my $case (@cases)
{
	my ($way, $hook) = @$case{qw(way hook)};
	my $gone = $way !~ /events|log rows/;
	my $attempts = $gone ? 1 : $case->{attempts} || 1;

	wait_until(
		sub {
			value($node, "SELECT (SELECT count(*) FROM hooks.delivery WHERE hook_id = '$hook' AND next_at IS NOT NULL) "
				  . "+ (SELECT coalesce(sum(in_flight), 0) FROM hooks.executors WHERE user_id = '@{[ user_uuid($case->{user}) ]}')") == 0 &&
			  scalar(my @seen = requests($case->{path})) >= $attempts * $events;
		},
		"$case->{what}: the end", 30);
	is(scalar(my @seen = requests($case->{path})), $attempts * $events, "$case->{what}: the attempts are those that should be made");
	if ($way =~ /owner/)
	{
		cmp_ok(value($node, "SELECT count(*) FROM stream_hook_logs WHERE hook_id = '$hook'"), '<=', $events, "$case->{what}: no log row of an attempt that was not made");
	}
	elsif ($gone)
	{
		is(value($node, "SELECT count(*) FROM stream_hook_logs WHERE hook_id = '$hook'"), 0, "$case->{what}: no log row of a hook that is gone");
	}
	else
	{
		# Those of attempts that had ended were deleted.
		my $rows = ($attempts - ($way =~ /log rows/ && $case->{schedule} && $case->{schedule}[0] > 1 ? 1 : 0)) * $events;

		wait_until(sub { value($node, "SELECT count(*) FROM stream_hook_logs WHERE hook_id = '$hook'") >= $rows }, "$case->{what}: log rows", 30);
		is(value($node, "SELECT count(*) FROM stream_hook_logs WHERE hook_id = '$hook'"), $rows, "$case->{what}: each attempt is logged");
	}
}
is(worker_pid($node), $pid, 'the worker goes on');

# What is kept of hooks that are gone goes, too.
my $gone = q{NOT EXISTS (SELECT FROM stream_hooks AS h WHERE h.id = k.hook_id)};
ok(
	wait_until(
		sub {
			value($node, "SELECT (SELECT count(*) FROM hooks.health AS k WHERE $gone) + (SELECT count(*) FROM hooks.delivery AS k WHERE next_at IS NOT NULL AND $gone)") == 0;
		},
		'what is kept of hooks that are gone to be forgotten', 30),
	'nothing is left of hooks that are gone');

# Nothing is kept of what fails last, after the hook has gone, though no event
# and no other attempt makes the worker look for it.
{
	my $n = ++$user;
	my $path = "/hang?$n";

	add_users($node, $n, $n);
	my $hook = add_hook($node, user => $n, url => $receiver->url($path), config => { timeout_ms => 1500 });
	$node->safe_psql('postgres', event_rows(1, user => $n));
	wait_until(sub { scalar(my @seen = requests($path)) == 1 }, 'a request');
	$node->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id = '$hook'");
	wait_until(sub { value($node, "SELECT count(*) FROM hooks.under_way() WHERE user_id = '@{[ user_uuid($n) ]}'") == 0 }, 'its end', 30);
	wait_idle($node);
	is(value($node, "SELECT count(*) FROM hooks.health WHERE hook_id = '$hook'"), 0, 'what fails last leaves nothing behind');
}

# Cooldowns, strict hooks, pauses, chat and messages that are edited: whatever
# has something to write afterwards.
{
	my $n = ++$user;

	add_users($node, $n, $n);
	my @hooks = (
		add_hook($node, user => $n, url => $receiver->url("/slow/500?cooldown$n"), cooldown => 3600),
		add_hook($node, user => $n, url => $receiver->url("/slow/500?strict$n"), config => { ordering => 'strict' }, attempts => 2),
		add_hook($node, user => $n, url => $receiver->url("/status/410?$n")),
		add_hook($node, user => $n, url => $receiver->url("/status/429?header=retry-after:1&$n"), attempts => 5));
	$node->safe_psql('postgres', event_rows(3, user => $n));
	wait_until(sub { scalar(my @seen = grep { $_->{path} =~ /$n$/ } $receiver->requests) >= 4 }, 'requests');
	$node->safe_psql('postgres', "SELECT hooks.pause('$hooks[1]')");
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks WHERE user_id = ' . literal(user_uuid($n)));
	wait_until(sub { value($node, "SELECT count(*) FROM hooks.delivery AS k WHERE next_at < 'infinity' AND $gone") == 0 },
		'deliveries of hooks that are gone', 30);
	is(worker_pid($node), $pid, 'hooks with cooldowns, pauses and limits: the worker goes on');

	# What waits for no time is looked for by the next worker, if nothing else leads to it.
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	$pid = wait_for_worker($node);
	ok(
		wait_until(
			sub {
				value($node, "SELECT (SELECT count(*) FROM hooks.paused AS k WHERE $gone) + (SELECT count(*) FROM hooks.health AS k WHERE $gone) "
					  . "+ (SELECT count(*) FROM hooks.delivery AS k WHERE next_at IS NOT NULL AND $gone)") == 0;
			},
			'cooldowns, pauses and limits of hooks that are gone', 30),
		'... and nothing is left behind');
}

# Everything is deleted at random while it is at work.
my @load = map { 800 + $_ } 1 .. 4;
my $other = Hooks::Load->start($node, $receiver, users => \@load, rate => 100);
$other->wait_for_more(50);
for my $round (1 .. 20)
{
	$node->safe_psql('postgres', "DELETE FROM stream_events WHERE user_id IN ('" . join("', '", map { user_uuid($_) } @load) . "') AND random() < 0.7");
	$node->safe_psql('postgres', "DELETE FROM stream_hook_logs WHERE user_id IN ('" . join("', '", map { user_uuid($_) } @load) . "') AND random() < 0.3");
	$other->wait_for_more(20);
}
my $count = $other->check('events and log rows that are deleted at random', logs => undef);
is($count->{repeats}, 0, '... and nothing is sent twice');

$load->check('whoever has nothing to do with all that');
is(worker_pid($node), $pid, 'all that by one worker');
is(stat($node, 'unlogged'), 0, 'and nothing is missed in the log');

finish($node);
done_testing();
