# What came of an attempt, as the log has it: status, text, response_status,
# duration.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.timeout' => '2s');
my $receiver = Hooks::Receiver->start;
my $closed = Hooks::Receiver->start;
my $closed_port = $closed->port;

$closed->stop;
create_application($node);

# Fires one hook and returns its log row.
sub outcome
{
	my (%hook) = @_;
	my $hook = add_hook($node, %hook);
	my $event = add_event($node);
	my @logs;

	wait_idle($node);
	@logs = logs($node, hook => $hook);
	is(scalar @logs, 1, "one log row for $hook{name}");
	is($logs[0]{stream_event_id}, $event, "... names the event");
	is($logs[0]{attempt}, 1, '... of the first attempt');
	$node->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id = '$hook'");
	return $logs[0];
}

for my $status (200, 201, 202, 204, 299)
{
	my $log = outcome(name => $status, url => $receiver->url("/status/$status"));

	is($log->{status}, 'success', "$status is success");
	is($log->{error_message}, undef, '... without a message');
	is($log->{response_status}, $status, '... with its status');
}

for my $status (301, 302, 303, 307, 308)
{
	my $log = outcome(
		name => $status,
		url => $receiver->url("/status/$status?location=https://user:pw\@elsewhere.example:8443/secret?x=y"));

	is($log->{status}, 'failure', "$status is failure");
	is( $log->{error_message},
		qq{HTTP $status: redirect to "elsewhere.example" refused},
		'... names the host of the redirect, and nothing else of it');
	is($log->{response_status}, $status, '... with its status');
}
is( outcome(name => 'relative redirect', url => $receiver->url('/status/302?location=/ok'))->{error_message},
	'HTTP 302: redirect to "the same host" refused',
	'a relative redirect is refused, too');
like(outcome(name => '304', url => $receiver->url('/status/304'))->{error_message},
	qr/^HTTP 304\b(?!.*"")/, '304 points nowhere');
is(scalar(grep { $_->{path} eq '/ok' } $receiver->requests), 0, 'no redirect was followed');

for my $status (400, 401, 403, 404, 408, 409, 410, 418, 422, 429, 499, 500, 501, 502, 503, 504, 505, 599)
{
	my $log = outcome(name => $status, url => $receiver->url("/status/$status"));

	is($log->{status}, 'failure', "$status is failure");
	is($log->{error_message}, "HTTP $status", '... says so');
	is($log->{response_status}, $status, '... with its status');
}

# An attempt that took a while.
my $log = outcome(name => 'slow', url => $receiver->url('/slow/300'));
is($log->{status}, 'success', 'a slow answer is success');
cmp_ok($log->{duration_ms}, '>=', 300, 'duration_ms is what the attempt took');
cmp_ok($log->{duration_ms}, '<', 2000, '... and not more');

# Nothing listens.
$log = outcome(name => 'refused', url => "http://127.0.0.1:$closed_port/");
is($log->{status}, 'failure', 'a refused connection is failure');
is($log->{error_message}, 'could not connect: Connection refused', '... says so');
is($log->{response_status}, undef, '... without a response status');

# Times in the log are those of the attempt.
is( value(
		$node, q{SELECT count(*) FROM stream_hook_logs AS l JOIN stream_events AS e ON e.id = l.stream_event_id
		WHERE l.executed_at NOT BETWEEN timezone('UTC', e.inserted_at) AND l.inserted_at
			OR l.inserted_at NOT BETWEEN l.executed_at AND clock_timestamp()}),
	0,
	'executed_at lies between the event and inserted_at');

# One event, several hooks: each its own outcome, none affects another.
my %expected = map { $_ => "HTTP $_" } 404, 500;
my %hooks = map { $_ => add_hook($node, name => $_, url => $receiver->url("/status/$_")) } 204, 404, 500, 200;
my $event = add_event($node);
wait_idle($node);
is_deeply(
	{ map { $_->{hook_id} => $_->{error_message} } logs($node, event => $event) },
	{ map { $hooks{$_} => $expected{$_} } keys %hooks },
	'hooks of one event have outcomes of their own');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# What cannot be sent at all says so.
$log = outcome(name => 'chat', action => 'chat_message', config => { message => 'x' });
is($log->{status}, 'failure', 'a message to nowhere is failure');
is($log->{error_message}, 'no account connected', '... says why');
is($log->{duration_ms}, 0, '... took no time');

finish($node);
done_testing();
