# Attempts that fail are made again: when, how often, with what on record.

use strict;
use warnings;

use lib 'test/perl';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;

create_application($node);

# What an attempt left in the log, in words.
sub attempts
{
	my (%where) = @_;

	return [ map { join ' ', $_->{attempt}, $_->{status}, $_->{response_status} // '-', $_->{error_message} // '-' }
		  logs($node, %where) ];
}

sub requests
{
	my ($path) = @_;

	return grep { $_->{path} =~ /^\Q$path\E/ } $receiver->requests;
}

# The log's last word on an event.
sub wait_for_end
{
	my ($event, $n) = @_;

	wait_until(sub { scalar(my @rows = logs($node, event => $event)) >= $n }, "$n attempts");
	wait_idle($node);
	return;
}

sub pending
{
	my (%where) = @_;
	my $hook = literal($where{hook});

	return rows($node, "SELECT *, next_attempt_at - last_attempt_at AS pause, "
		  . "extract(epoch FROM next_attempt_at - last_attempt_at) AS seconds FROM hooks.pending WHERE hook_id = $hook");
}

# 500, 500, 200: three attempts with one webhook-id, and the log says so.
{
	my $hook = add_hook(
		$node, attempts => undef, url => $receiver->url('/sequence/500,500,200'),
		config => { retry_schedule => [ 0.2, 0.3, 60 ] });
	my $event = add_event($node);

	wait_for_end($event, 3);
	is_deeply(
		attempts(event => $event),
		[ '1 failure 500 HTTP 500', '2 failure 500 HTTP 500', '3 success 200 -' ],
		'500, 500, 200: a row per attempt');
	my @requests = requests('/sequence/500,500,200');
	is(scalar @requests, 3, '... three requests');
	is(scalar(keys %{ { map { $_->{headers}{'webhook-id'} => 1 } @requests } }), 1, '... with one webhook-id');
	is(scalar(keys %{ { map { $_->{body} => 1 } @requests } }), 1, '... and one body');
	cmp_ok($requests[1]{t} - $requests[0]{t}, '>=', 0.16, '... the second after 0.2 s, less a fifth');
	cmp_ok($requests[2]{t} - $requests[1]{t}, '>=', 0.24, '... the third after 0.3 s, less a fifth');
	is(scalar pending(hook => $hook), 0, '... and nothing waits any more');
	is(value($node, 'SELECT count(*) FROM hooks.dead'), 0, '... or was given up');
	my @logs = logs($node, event => $event);
	ok((grep { $_->{duration_ms} >= 0 } @logs) == 3, '... each row has its duration');
	is_deeply([ map { $_->{executed_at} } @logs ], [ sort map { $_->{executed_at} } @logs ],
		'... and its own time');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# The default schedule of a webhook: the first retry after 2 s, more or less.
{
	my $hook = add_hook($node, attempts => undef, url => $receiver->url('/status/503'));
	my $event = add_event($node);

	wait_for_end($event, 1);
	my ($waits) = pending(hook => $hook);
	is($waits->{state}, 'retry', 'after a failure it waits for a retry');
	is($waits->{attempts}, 1, '... with one attempt made');
	is($waits->{last_status}, 503, '... of which the status');
	is($waits->{last_error}, 'HTTP 503', '... and the error are on record');
	is($waits->{event_id}, $event, '... for the event');
	cmp_ok(abs($waits->{seconds} - 2), '<=', 0.41, '... for 2 s, more or less a fifth');
	is(value($node, q{SELECT hooks.wait_idle('10 s')}), 't', 'what waits for a retry is no work');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# How often, by max_attempts and retry_schedule.
for (
	[ { max_attempts => 1 }, 1 ],
	[ { retry_schedule => [] }, 1 ],
	[ { retry_schedule => [0.1] }, 2 ],
	[ { retry_schedule => [ 0.1, 0.1, 0.1 ] }, 4 ],
	[ { retry_schedule => [0.1], max_attempts => 4 }, 4 ],
	[ { retry_schedule => [ 0.1, 0.1, 0.1, 60 ], max_attempts => 2 }, 2 ])
{
	my ($config, $n) = @$_;
	my $what = JSON::PP->new->canonical->encode($config);
	my $hook = add_hook($node, attempts => undef, url => $receiver->url('/status/500'), config => $config);
	my $event = add_event($node);

	wait_for_end($event, $n);
	is_deeply(attempts(event => $event), [ map { "$_ failure 500 HTTP 500" } 1 .. $n ], "$what: $n attempts");
	is(scalar pending(hook => $hook), 0, '... and then none');
	my @dead = rows($node, 'SELECT * FROM hooks.dead WHERE hook_id = ' . literal($hook));
	is(scalar @dead, 1, '... it was given up');
	is($dead[0]{attempts}, $n, '... after so many attempts');
	is($dead[0]{last_error}, 'HTTP 500', '... the last of which ended so');
	is($dead[0]{event_id}, $event, '... the event is on record');
	is($dead[0]{data}{username}, 'viewer', '... with its data');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# What is worth another attempt.
my $refusing = Hooks::Receiver->start;
my $refusing_port = $refusing->port;
$refusing->stop;

for (
	[ '/status/408' => 1 ],
	[ '/status/425' => 1 ],
	[ '/status/429' => 1 ],
	[ '/status/500' => 1 ],
	[ '/status/502' => 1 ],
	[ '/status/503' => 1 ],
	[ '/status/504' => 1 ],
	[ '/status/501' => 0 ],
	[ '/status/505' => 0 ],
	[ '/status/400' => 0 ],
	[ '/status/403' => 0 ],
	[ '/status/404' => 0 ],
	[ '/status/302?location=http://x.example/' => 0 ],
	[ '/reset' => 1 ],
	[ "http://127.0.0.1:$refusing_port/" => 1 ],
	[ '/status/404', 1, { retry_on => [404] } ],
	[ '/status/500', 0, { retry_on => [404] } ],
	[ '/status/500', 0, { retry_on => [] } ],
	[ "http://127.0.0.1:$refusing_port/", 1, { retry_on => [] } ])
{
	my ($path, $again, $more) = @$_;
	my $url = $path =~ /^http/ ? $path : $receiver->url($path);
	(my $what = $path) =~ s/:$refusing_port\b//;
	my $hook = add_hook($node, attempts => 2, url => $url, config => { retry_schedule => [0.1], %{ $more || {} } });
	my $event = add_event($node);
	my $n = $again ? 2 : 1;

	$what .= ' with ' . JSON::PP->new->encode($more) if $more;
	wait_for_end($event, $n);
	is(scalar(@{ attempts(event => $event) }), $n, "$what is " . ($again ? '' : 'not ') . 'tried again');
	is(value($node, 'SELECT count(*) FROM hooks.dead WHERE hook_id = ' . literal($hook)), 1, '... and given up then');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# Retry-After, in its forms; the longest wish is an hour.
my $user = 1;
sub http_date
{
	my ($time) = @_;
	my @t = gmtime $time;

	return sprintf '%s, %02d %s %04d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $t[6] ], $t[3],
	  (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $t[4] ], $t[5] + 1900, @t[ 2, 1, 0 ];
}

sub encode
{
	my ($text) = @_;

	$text =~ s/([^A-Za-z0-9._-])/sprintf '%%%02X', ord $1/ge;
	return $text;
}

for (
	[ '30' => 30, 1 ],
	[ '7.5' => 7.5, 1 ],
	[ \'100' => 100, 3 ],
	[ \'-100' => 5, 1.1 ],
	[ '1' => 5, 1.1 ],
	[ '0' => 5, 1.1 ],
	[ '-5' => 5, 1.1 ],
	[ 'soon' => 5, 1.1 ],
	[ '1000000000' => 3600, 1 ],
	[ '99999999999999999999999999' => 3600, 1 ],
	[ \'1000000' => 3600, 1 ])
{
	my ($value, $seconds, $slack) = @$_;

	# A reference is to a date so many seconds away; a user whose host has
	# asked for a pause has to wait, so each of these is another one.
	$value = http_date(time + $$value) if ref $value;
	add_users($node, ++$user, $user);
	my $url = $receiver->url('/status/503?header=Retry-After:' . encode(" $value"));
	my $hook = add_hook($node, user => $user, attempts => 2, url => $url, config => { retry_schedule => [5] });
	my $event = add_event($node, user => $user);

	wait_for_end($event, 1);
	my ($waits) = pending(hook => $hook);
	cmp_ok(abs($waits->{seconds} - $seconds), '<=', $slack, "Retry-After: $value waits for $seconds s")
	  or diag $waits->{seconds};
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# 429 with Retry-After: 2 waits for 2 s, and counts as an attempt.
{
	my $hook = add_hook(
		$node, attempts => 2, url => $receiver->url('/sequence/429:retry-after=2,200'),
		config => { retry_schedule => [0.1] });
	my $event = add_event($node);

	wait_for_end($event, 2);
	my @requests = requests('/sequence/429');
	is_deeply(attempts(event => $event), [ '1 failure 429 HTTP 429', '2 success 200 -' ], '429, 200: two attempts');
	cmp_ok($requests[1]{t} - $requests[0]{t}, '>=', 2, '... with 2 s between them');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# What is too old is not sent.
{
	my $hook = add_hook($node, url => $receiver->url('/expired'), config => { max_age_seconds => 60 });
	my $event = add_event($node, age => 100);

	wait_for_end($event, 1);
	is_deeply(attempts(event => $event), ['1 failure - expired after 1 min'], 'an event that is older than max_age_seconds');
	is(scalar requests('/expired'), 0, '... is not sent');
	is(value($node, 'SELECT last_error FROM hooks.dead WHERE hook_id = ' . literal($hook)),
		'expired after 1 min', '... but can be asked for');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

	$hook = add_hook(
		$node, attempts => 5, url => $receiver->url('/status/500'),
		config => { max_age_seconds => 3, retry_schedule => [ 0.1, 30 ] });
	$event = add_event($node);
	wait_for_end($event, 2);
	is_deeply(
		attempts(event => $event),
		[ '1 failure 500 HTTP 500', '2 failure 500 HTTP 500; expires before the next attempt' ],
		'it is not kept for an attempt that comes too late');
	is(scalar pending(hook => $hook), 0, '... but given up');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# timeout_ms is the hook's own.
{
	my $hook = add_hook($node, url => $receiver->url('/hang'), config => { timeout_ms => 1000 });
	my $event = add_event($node);

	wait_for_end($event, 1);
	my ($row) = logs($node, event => $event);
	like($row->{error_message}, qr/^timed out after 1 s waiting for the /, 'timeout_ms is kept');
	cmp_ok($row->{duration_ms}, '>=', 1000, '... not sooner');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# A hook that is edited, disabled or deleted while its deliveries wait.
{
	my $hook = add_hook($node, attempts => 2, url => $receiver->url('/status/500'), config => { retry_schedule => [2] });
	my $event = add_event($node);

	wait_for_end($event, 1);
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = ' . jsonb({ url => $receiver->url('/ok?edited') }));
	wait_for_end($event, 2);
	is_deeply(attempts(event => $event), [ '1 failure 500 HTTP 500', '2 success 204 -' ], 'a hook edited between attempts');
	is(scalar requests('/ok?edited'), 1, '... is performed as it is now');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

	$hook = add_hook($node, attempts => 2, url => $receiver->url('/status/500'), config => { retry_schedule => [1] });
	$event = add_event($node);
	wait_for_end($event, 1);
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = false');
	wait_until(sub { value($node, 'SELECT count(*) FROM hooks.dead WHERE hook_id = ' . literal($hook)) == 1 },
		'the delivery of a disabled hook to be given up');
	is(scalar(@{ attempts(event => $event) }), 1, 'a hook disabled between attempts makes no more');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

	$hook = add_hook($node, attempts => 2, url => $receiver->url('/status/500'), config => { retry_schedule => [1] });
	$event = add_event($node);
	wait_for_end($event, 1);
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	wait_until(sub { value($node, 'SELECT count(*) FROM hooks.delivery WHERE next_at IS NOT NULL AND hook_id = ' . literal($hook)) == 0 },
		'the delivery of a deleted hook to go');
	is(value($node, 'SELECT count(*) FROM hooks.dead WHERE hook_id = ' . literal($hook)),
		0, 'a hook deleted between attempts leaves nothing to see');
}

# A cooldown is admitted once, and given back when all attempts are over.
{
	my $hook = add_hook(
		$node, attempts => 2, cooldown => 3600, url => $receiver->url('/status/500'),
		config => { retry_schedule => [1] });
	my $first = add_event($node);

	wait_for_end($first, 1);
	is(log_statuses($node, event => $first)->{failure}, 1, 'a hook with a cooldown has failed once');
	my $second = add_event($node);
	wait_idle($node);
	is(log_statuses($node, event => $second)->{skipped_cooldown}, 1, '... and keeps its cooldown between attempts');
	wait_for_end($first, 2);
	wait_until(sub { value($node, 'SELECT last_triggered_at IS NULL FROM stream_hooks') eq 't' },
		'the cooldown to be given back');
	my $third = add_event($node);
	wait_for_end($third, 1);
	is(log_statuses($node, event => $third)->{failure}, 1, '... which is given back after the last one');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# An attempt that may have arrived keeps the cooldown, whatever the others were.
{
	my $hook = add_hook(
		$node, attempts => 2, cooldown => 3600, url => $receiver->url('/reset'),
		config => { retry_schedule => [0.5] });
	my $first = add_event($node);

	wait_for_end($first, 1);
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = action_config || '
		  . jsonb({ url => $receiver->url('/status/500') }));
	wait_for_end($first, 2);
	is_deeply([ map { $_->{response_status} } logs($node, event => $first) ], [ undef, 500 ], 'reset, then 500');
	my $second = add_event($node);
	wait_idle($node);
	is(log_statuses($node, event => $second)->{skipped_cooldown}, 1, '... the first may have arrived: the cooldown is kept');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# Settings that are wrong are refused when the hook is written.
for (
	[ max_attempts => 0, 'must be a whole number from 1 to 100' ],
	[ max_attempts => 101, 'must be a whole number from 1 to 100' ],
	[ max_attempts => '"3"', 'must be a whole number from 1 to 100' ],
	[ max_attempts => 1.5, 'must be a whole number from 1 to 100' ],
	[ max_attempts => '1e400', 'must be a whole number from 1 to 100' ],
	[ retry_schedule => 5, 'must be a list of up to 20 numbers of seconds' ],
	[ retry_schedule => '["5"]', 'must be a list of up to 20 numbers of seconds' ],
	[ retry_schedule => '[0]', 'must be a list of up to 20 numbers of seconds' ],
	[ retry_schedule => '[-1]', 'must be a list of up to 20 numbers of seconds' ],
	[ retry_schedule => '[1e9]', 'must be a list of up to 20 numbers of seconds' ],
	[ retry_schedule => '[' . join(',', (1) x 21) . ']', 'must be a list of up to 20 numbers of seconds' ],
	[ max_age_seconds => 0, 'must be a whole number from 1 to 2592000' ],
	[ timeout_ms => 999, 'must be a whole number from 1000 to 60000' ],
	[ timeout_ms => 60001, 'must be a whole number from 1000 to 60000' ],
	[ retry_on => '[200]', 'must be a list of up to 50 HTTP statuses' ],
	[ retry_on => '[429.5]', 'is not a whole number' ],
	[ retry_on => '{"429": true}', 'must be a list of up to 50 HTTP statuses' ],
	[ ordering => '"sometimes"', 'cannot be "sometimes"' ],
	[ concurrency => 0, 'must be a whole number from 1 to 100' ])
{
	my ($key, $value, $error) = @$_;
	my ($status, undef, $stderr) = $node->psql(
		'postgres',
		'INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config) VALUES ('
		  . literal(user_uuid(1))
		  . qq{, 'wrong', 'follow', 'webhook', '{"url": "http://127.0.0.1/", "$key": $value}')});

	isnt($status, 0, "\"$key\": $value is refused");
	like($stderr, qr/"\Q$key\E"[^\n]* \Q$error\E/, '... with the reason');
	like($stderr, qr/HINT: .*(For example|It takes|Each is)/, '... and an example');
}

finish($node);
done_testing();
