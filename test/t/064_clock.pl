# The clock is set, forward and back: nothing waits for longer than it was told
# to, counted from then, nothing fires twice within its cooldown, and nothing
# is sent more often than once.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $file = "$PostgreSQL::Test::Utils::tmp_check/clock_$$";
my $library = "$file.so";
my $offset = 0;

# Sets the server's clock; or, with a process, a number of times that it reads the
# clock, and seconds, has it set by so many once it has.
sub set_clock
{
	($offset, my @at) = @_;
	open my $clock, (-e $file ? '+<' : '+>'), $file or die "could not write $file: $!";
	syswrite $clock, pack('q4', $offset, @at ? @at : (0, 0, 0)) or die "could not write $file: $!";
	close $clock;
	return;
}

sub jump
{
	my ($by) = @_;
	return set_clock($offset + $by);
}

command_ok([ 'gcc', '-O2', '-shared', '-fPIC', '-o', $library, 'test/clock.c' ], 'a clock that can be set');
set_clock(0);
my $receiver = Hooks::Receiver->start;
my $node;
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{HOOKS_TEST_CLOCK} = $file;

	$node = hooks_node('main', 'hooks.idle_timeout' => '1h');
}
create_application($node);
add_users($node, 2, 50);

sub server_time
{
	return value($node, 'SELECT extract(epoch FROM clock_timestamp())');
}

cmp_ok(abs(server_time() - time), '<', 5, 'the clock is right');
jump(-3600);
cmp_ok(abs(server_time() + 3600 - time), '<', 5, 'the clock can be set back');
jump(3600);

my $user = 0;

sub requests
{
	my ($path) = @_;
	return grep { $_->{path} =~ /\Q$path\E$/ } $receiver->requests;
}

sub status_of
{
	my ($event) = @_;

	wait_idle($node);
	return join ' ', map { $_->{status} } logs($node, event => $event);
}

my @jumps = (1, 3600, 86400, -1, -2, -3600, -86400);

# The worker is there, or has left: then it is for the launcher to know.
for my $idle ('1h', '0s')
{
	configure($node, { 'hooks.idle_timeout' => $idle });
	for my $by (@jumps)
	{
		my $name = sprintf '%+d s, %s', $by, $idle eq '1h' ? 'with a worker' : 'without a worker';
		my $path = "/sequence/500,200/$by/$idle";

		++$user;

		# A cooldown of a few seconds, taken just before, and a retry after as many.
		my $cooling = add_hook($node, user => $user, trigger => 'follow', cooldown => 4, url => $receiver->url("/ok?$by&$idle"));
		add_hook($node, user => $user, trigger => 'raid', attempts => 3, url => $receiver->url($path),
			config => { retry_schedule => [ 4, 60 ], max_age_seconds => 2592000 });
		my $raid = add_event($node, user => $user, type => 'raid', data => { username => 'somebody', viewers => 5 });
		wait_until(sub { value($node, q{SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL AND user_id = } . literal(user_uuid($user))) },
			'a delivery that waits');
		is(status_of(add_event($node, user => $user)), 'success', "$name: a hook with a cooldown fires");
		wait_until(sub { value($node, 'SELECT last_triggered_at IS NOT NULL FROM stream_hooks WHERE id = ' . literal($cooling)) eq 't' },
			'the cooldown to be on record');
		wait_until(sub { worker_pid($node) eq '' }, 'the worker to leave') if $idle eq '0s';
		jump($by);

		my $jumped = time;

		# Not twice within the cooldown, unless so much time seems to have passed.
		my $second = status_of(add_event($node, user => $user));
		if ($by >= 4)
		{
			is($second, 'success', '... and again, when the cooldown is over by the clock');
		}
		elsif ($by < 0)
		{
			is($second, 'skipped_cooldown', '... and not again');
		}

		# No later than 4 s, counted from the jump, and a fifth, and the time that it takes.
		wait_until(sub { requests($path) >= 2 }, 'the retry', 60);
		my @requests = requests($path);
		cmp_ok($requests[1]{t} - $jumped, '<', 4 * 1.2 + 3, '... the retry comes when it is due');
		cmp_ok($requests[1]{t} - $requests[0]{t}, '>=', $by < 4 ? 4 * 0.8 - ($by > 0 ? $by : 0) - 0.1 : 0, '... not sooner');
		wait_until(sub { log_statuses($node, event => $raid)->{success} }, 'its row');

		# The cooldown is over, counted from the jump.
		my $fired;
		if ($by < 4)
		{
			wait_until(sub { status_of(add_event($node, user => $user)) eq 'success' }, 'the cooldown to end', 30);
			cmp_ok(time - $jumped, '<', 4 + 3, '... the cooldown ends in time');
			my @fired = grep { $_->{path} eq "/ok?$by&$idle" } $receiver->requests;
			is(scalar @fired, 2, '... it has fired twice in all');
			cmp_ok($fired[1]{t} - $fired[0]{t}, '>=', 4 - 1 - ($by > 0 ? $by : 0), '... not within the cooldown');
		}
		wait_idle($node);
		is(scalar(my @all = requests($path)), 2, '... each attempt was made once');
		is(value($node, 'SELECT count(*) FROM hooks.delivery'), 0, '... and nothing is left');
	}
}

# Many retries at once: each comes once, whatever the clock does meanwhile.
configure($node, { 'hooks.idle_timeout' => '1h' });
for my $ordering ('none', 'strict')
{
	my $n = 100;
	my $path = "/sequence/500,200/many/$ordering";

	++$user;
	add_hook($node, user => $user, attempts => 2, url => $receiver->url($path),
		config => { retry_schedule => [3], max_age_seconds => 2592000, $ordering eq 'strict' ? (ordering => 'strict') : () });
	$node->safe_psql('postgres', event_rows($ordering eq 'strict' ? 2 : $n, user => $user));
	$n = 2 if $ordering eq 'strict';
	wait_until(sub { requests($path) >= ($ordering eq 'strict' ? 1 : $n) }, 'first attempts');
	for my $by (-3600, 1, -5, 86400, -86400, -3600)
	{
		my $before = server_time();

		jump($by);
		wait_until(sub { abs(server_time() - $before - $by) < 1 }, 'the clock to be set');
	}
	wait_until(sub { (log_statuses($node, user => $user)->{success} // 0) == $n }, 'all retries');
	is(scalar(my @all = requests($path)), 2 * $n, "$ordering: each of $n deliveries was attempted twice");
	is(scalar(keys %{ { map { $_->{headers}{'webhook-id'} => 1 } @all } }), $n, '... each with its own id');
	is(log_statuses($node, user => $user)->{failure}, $n, '... and logged');
}

# Whatever the worker is doing when the clock is set back, also when it has
# found out already how long it may sleep: the next attempt is not forgotten.
{
	my $path = '/sequence/500,200/moment';
	my $late = 0;
	my $pid = wait_for_worker($node);

	++$user;
	add_hook($node, user => $user, attempts => 2, url => $receiver->url($path),
		config => { retry_schedule => [0.2], max_age_seconds => 2592000 });
	for my $i (1 .. 60)
	{
		my $before = server_time();

		set_clock($offset, $pid, $i, -3600);
		add_event($node, user => $user);
		wait_until(sub { requests($path) >= 2 * $i - 1 }, 'the first attempt');
		wait_until(sub { server_time() < $before - 1800 }, 'the clock to be set');
		$offset -= 3600;
		$late++ unless eval { wait_until(sub { requests($path) >= 2 * $i }, 'the retry', 20); 1 };
		last if $late;
	}
	is($late, 0, 'set back at any moment: each retry comes when it is due');
	wait_idle($node);
}

# An open breaker: it is not open for longer.  After five failures it opens for
# 30 s, of which the clock takes none back.
configure($node, { 'hooks.breaker' => 'on' }, 'postgres');
for my $by (-3600, 3600)
{
	my $host = Hooks::Receiver->start;
	my $hook;

	++$user;
	$hook = add_hook($node, user => $user, url => $host->url('/switch/x'), attempts => 1, config => { max_age_seconds => 2592000 });
	add_event($node, user => $user) && wait_idle($node) for 1 .. 5;
	is(log_statuses($node, user => $user)->{failure}, 5, sprintf '%+d s: a host has failed five times', $by);
	$host->switch(x => 'on');
	my $event = add_event($node, user => $user);
	wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'host' AND hook_id = } . literal($hook)) == 1 },
		'a delivery that waits for the host');
	my $opened = time;
	jump($by);
	wait_until(sub { log_statuses($node, event => $event)->{success} }, 'the host to be tried', 50);
	cmp_ok(time - $opened, '<', $by > 0 ? 40 : 36, '... it is tried again in time');
	cmp_ok(time - $opened, '>', 25, '... and not sooner') if $by < 0;
}

$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
finish($node);
done_testing();
