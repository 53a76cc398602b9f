# Connections are reused, requests run beside each other up to the limits, and
# both follow changes of the settings.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node(
	'main',
	'hooks.timeout' => '5s',
	'hooks.max_in_flight' => 256,
	'hooks.max_in_flight_per_user' => 1,
	'hooks.max_in_flight_per_host' => 512);
my $receiver = Hooks::Receiver->start;
my ($hook, @requests, %connections);

create_application($node);
add_users($node, 2, 300);

sub connections
{
	my %seen;

	$seen{ $_->{conn} }++ for @_;
	return scalar keys %seen;
}

# One connection for one user, whatever was answered.
$hook = add_hook($node, url => $receiver->url('/ok'));
$node->safe_psql('postgres', join ';', map { event_rows(1) } 1 .. 20);
wait_idle($node);
@requests = $receiver->take;
is(scalar @requests, 20, '20 requests, one after another');
is(connections(@requests), 1, '... on one connection');
my $connection = $requests[0]{conn};

sub next_request
{
	my ($path) = @_;

	$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = ' . jsonb({ url => $receiver->url($path), max_attempts => 1 }));
	add_event($node);
	wait_idle($node);
	my @requests = $receiver->take;
	is(scalar @requests, 1, "$path: one request");
	return $requests[0];
}

for my $path ('/status/404', '/json', '/echo', '/slow/100', '/early/204', '/ok')
{
	is(next_request($path)->{conn}, $connection, "$path: the same connection");
}

# Something that goes wrong on a connection that was used before is described
# as on a new one, and means the same for the cooldown.
$node->safe_psql('postgres', 'UPDATE stream_hooks SET cooldown_seconds = 60, last_triggered_at = NULL');
is(next_request('/hang')->{conn}, $connection, '/hang: the same connection');
like(
	(reverse logs($node, hook => $hook))[0]{error_message},
	qr/^timed out after 5(\.0\d*)? s waiting for the first byte of the answer$/,
	'... and the log says what was waited for');
is(value($node, 'SELECT last_triggered_at IS NULL FROM stream_hooks'),
	'f', '... and the cooldown is kept, because it may have arrived');
$node->safe_psql('postgres', 'UPDATE stream_hooks SET cooldown_seconds = 0');
isnt(next_request('/ok')->{conn}, $connection, 'a connection that was hung on is not used again');

# A connection that the endpoint has closed is noticed.
$connection = next_request('/no-keepalive')->{conn};
isnt(next_request('/ok')->{conn}, $connection, 'a connection that was closed is not used again');
my $port = $receiver->port;
$receiver->stop;
$receiver = Hooks::Receiver->start(port => $port);
next_request('/ok');
is((reverse logs($node, hook => $hook))[0]{status}, 'success', 'an endpoint that was restarted is reached');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# 256 at once.
$node->safe_psql(
	'postgres', q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	SELECT id, 'slow', 'raid', 'webhook', } . jsonb({ url => $receiver->url('/slow/1500') }) . ' FROM users');

sub raid_of_all
{
	$node->safe_psql('postgres', q{INSERT INTO stream_events (type, data, user_id) SELECT 'raid', '{}', id FROM users});
	return;
}
my $start = time;
my $most = 0;
raid_of_all();
wait_until(
	sub {
		my $in_flight = stat($node, 'in_flight');

		$most = $in_flight if $in_flight > $most;
		return stat($node, 'waiting') + $in_flight == 0 && time - $start > 1;
	},
	'300 slow requests');
wait_idle($node);
@requests = $receiver->take;
is(scalar @requests, 300, '300 requests of 1.5 s each');
is($most, 256, '256 of them at once, no more');
cmp_ok(connections(@requests), '<=', 256, '... on as many connections');
is(log_statuses($node)->{success}, 300, '... and all succeed');
cmp_ok($requests[-1]{t} - $requests[0]{t}, '<', 4, '... in two rounds');

# Limits follow the settings: in all, per user, per host.
sub at_once
{
	my ($what, $expected, %settings) = @_;
	my $most = 0;

	configure($node, \%settings, 'postgres');
	$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs; '
		  . q{INSERT INTO stream_events (type, data, user_id)
		SELECT 'raid', '{}', id FROM users, generate_series(1, 4) WHERE name IN ('user 1', 'user 2', 'user 3')});
	wait_until(
		sub {
			my ($in_flight, $waiting) = split /\|/, value($node, 'SELECT in_flight, waiting FROM hooks.stat');

			$most = $in_flight if $in_flight > $most;
			return $in_flight + $waiting == 0 && scalar logs($node) == 12;
		},
		'12 requests');
	is($most, $expected, $what);
	return;
}
$node->safe_psql('postgres', q{UPDATE stream_hooks SET action_config = jsonb_set(action_config, '{url}', }
	  . "to_jsonb('" . $receiver->url('/slow/300') . "'::text))");
my %limits = (
	'hooks.max_in_flight' => 256, 'hooks.max_in_flight_per_user' => 8, 'hooks.max_in_flight_per_host' => 16);
at_once('12 requests of three users to one host', 12, %limits);
at_once('in all', 2, %limits, 'hooks.max_in_flight' => 2);
at_once('per user', 6, %limits, 'hooks.max_in_flight_per_user' => 2);
at_once('per host', 3, %limits, 'hooks.max_in_flight_per_host' => 3);
at_once('one after another', 1, %limits, 'hooks.max_in_flight_per_host' => 1);

# Off is off; what was queued meanwhile is sent when it is on again.
configure($node, { %limits, 'hooks.enabled' => 'off' });
$receiver->take;
$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs');
add_event($node, user => 1, type => 'raid') for 1 .. 3;
is(value($node, q{SELECT hooks.wait_idle('1 second')}), 'f', 'hooks.enabled = off: events wait');
is_deeply([ $receiver->take ], [], '... and nothing is sent');
configure($node, { 'hooks.enabled' => 'on' });
wait_idle($node);
is(scalar(@requests = $receiver->take), 3, 'hooks.enabled = on: they are sent');

finish($node);
done_testing();
