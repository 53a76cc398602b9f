# The worker's memory fails, at one allocation after the other: the event
# stays, the worker or its successor delivers it, and no process crashes.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $library = $ENV{HOOKS_FAILING_MALLOC} or die 'HOOKS_FAILING_MALLOC does not name a malloc() that fails';
my $steps = $ENV{HOOKS_FAILING_STEPS} || 16;
my $control = PostgreSQL::Test::Utils::tempdir() . '/control';
my $receiver = Hooks::Receiver->start;

append_to_file($control, pack 'l4', 0, 0, 0, 0);
my $node;
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{HOOKS_MALLOC_CONTROL} = $control;
	$node = hooks_node('main');
}
create_application($node);

# Have an allocation of a process fail: of those from now on, the n-th.
sub fail_allocation
{
	my ($pid, $n) = @_;

	open my $file, '+<:raw', $control or die $!;
	syswrite $file, pack 'l2', $pid, $n;
	close $file;
}

# Have all allocations of so many bytes and more fail; 0: none.
sub fail_large
{
	open my $file, '+<:raw', $control or die $!;
	seek $file, 12, 0;
	print $file pack 'l', @_;
	close $file;
}

# How many of the others have failed so far.
sub failed
{
	return (unpack 'l4', slurp_file($control))[2];
}

# A new worker is as it always is, and waits for nothing that happened before.
sub restart
{
	local $ENV{LD_PRELOAD} = $library;
	local $ENV{HOOKS_MALLOC_CONTROL} = $control;
	fail_allocation(0, 0);
	$node->restart;
}

# Kinds of deliveries that take memory in their own ways.
$node->safe_psql('postgres', sprintf q{SELECT hooks.set_secret(%s, 'key', 'value')}, literal(user_uuid(1)));
my %hooks = (
	follow => {
		url => $receiver->url('/no-keepalive'),
		attempts => 3,
		config => { headers => { 'X-Key' => '{{secret.key}}' }, body_template => '{{message | upper}}', retry_schedule => [ 1, 1 ] } },
	raid => {
		url => $receiver->url('/status/500'),
		attempts => 2,
		config => { retry_schedule => [1] } });

add_hook($node, trigger => $_, %{ $hooks{$_} }) for sort keys %hooks;

my $failures = 0;

for my $type (sort keys %hooks)
{
	for my $step (1 .. $steps)
	{
		my ($event, $before);

		restart();
		$event = add_event($node, type => $type, data => { username => 'x', message => 'm' x 1000, viewer_count => 1 });
		wait_until(sub { %{ log_statuses($node, event => $event) } }, "the worker is at work");
		$before = failed();
		fail_allocation(wait_for_worker($node), $step);
		$event = add_event(
			$node,
			type => $type,
			data => { username => 'x', message => 'm' x 20_000, viewer_count => 5 });
		wait_until(
			sub { value($node, 'SELECT count(*) FROM hooks.pending') eq '0' },
			"event $step of type $type ends");
		$failures += failed() - $before;
	}
}
note "inputs: " . $steps * keys %hooks;
cmp_ok($failures, '>', $steps / 2, "allocations failed ($failures)");
is( value(
		$node,
		q{SELECT count(*) FROM stream_events AS e
		  WHERE NOT EXISTS (SELECT FROM stream_hook_logs AS l WHERE l.stream_event_id = e.id)}),
	0,
	'no event is lost');
is( value(
		$node,
		q{SELECT count(*) FROM stream_events AS e
		  WHERE e.type = 'follow'
		    AND NOT EXISTS (SELECT FROM stream_hook_logs AS l WHERE l.stream_event_id = e.id AND l.status = 'success')}),
	0,
	'none is given up because memory was short for a moment');
# What never fits is given up, and what comes after it is not.
add_hook($node, trigger => 'donation', url => $receiver->url('/ok'), config => { body_template => '{{message}}' x 30 });
restart();
fail_large(500_000);
my $large = add_event($node, type => 'donation', data => { message => 'm' x 20_000 });
my $small = add_event($node, type => 'donation', data => { message => 'small' });
wait_until(sub { log_statuses($node, event => $small)->{success} }, 'the event after it');
fail_large(0);
is_deeply(
	[ map { "$_->{status}: $_->{error_message}" } logs($node, event => $large) ],
	['failure: there was not enough memory for it, three times'],
	'an event for which memory never suffices is given up after three attempts');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC/, 'no process crashed');
finish($node, qr/out of memory|could not compute SHA1|OpenSSL/);
done_testing();
