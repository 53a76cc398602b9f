# Endpoints that misbehave in every way: each gets the log row it deserves,
# frees its slot in time, costs the worker no memory, and delays nobody else.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $timeout = 2;
my $node = hooks_node('main', 'hooks.timeout' => "${timeout}s", 'hooks.max_in_flight_per_host' => 64);
my $receiver = Hooks::Receiver->start(blackholes => 1);

my $lost = 'connection lost before the answer was complete';
my $late = qr/^timed out after 2(\.0\d*)? s /;
my $headers = 'headers of the answer are larger than 32768 bytes';

# What is asked for, and what the log must say; undef is success.
my %endpoints = (
	'/slow/500' => undef,
	'/reset' => $lost,
	'/reset-headers' => $lost,
	'/reset-body' => $lost,
	'/close' => 'connection closed without an answer',
	'/hang' => qr/${late}waiting for the first byte of the answer$/,
	'/hang-after-headers' => qr/${late}while the answer was coming in$/,
	'/drip/1000/50' => qr/${late}while the answer was coming in$/,
	'/drip/10/50' => undef,
	'/huge/2000000000' => undef,
	'/endless' => undef,
	'/gzip/500000000' => undef,
	'/headers/100000' => $headers,
	'/continue/100000' => $headers,
	'/continue/100000?status=103' => $headers,
	'/continue/10' => undef,
	'/garbage' => qr/not HTTP|HTTP\/0\.9/i,
	'/early/204' => undef,
	'/early/500' => 'HTTP 500',
	'/no-keepalive' => undef,
	'blackhole' => qr/${late}waiting for the first byte of the answer$/);

create_application($node);
add_users($node, 2, 100);

my %user_of;
my $n = 10;
for my $path (sort keys %endpoints)
{
	$user_of{$path} = $n++;
	add_hook(
		$node,
		user => $user_of{$path},
		trigger => 'raid',
		url => $path eq 'blackhole' ? 'http://127.0.0.1:' . $receiver->blackhole_port . '/' : $receiver->url($path));
}
add_hook($node, url => $receiver->url('/ok'));

sub memory
{
	my ($pid) = @_;
	slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m or die 'no RssAnon';
	return $1 / 1024;
}

my $users = join ', ', map { literal(user_uuid($_)) } values %user_of;
my $insert = 'INSERT INTO stream_events (type, data, user_id) '
  . "SELECT 'raid', '{\"raider_name\": \"x\", \"viewer_count\": \"5\"}', u FROM unnest(ARRAY[$users]::uuid[]) AS u";

# A first delivery, so that what is set up once is not counted.
add_event($node);
wait_idle($node);
my $pid = worker_pid($node);
my $memory = memory($pid);
my $peak = $memory;

for my $round (1 .. 3)
{
	my ($slowest, $others) = (0, 0);

	$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs');
	$node->safe_psql('postgres', $insert);

	# Meanwhile others get theirs.
	while ($others < 5 || stat($node, 'in_flight') > 0)
	{
		my $hanging = stat($node, 'in_flight');
		my $start = time;
		my $event = add_event($node);

		wait_until(sub { scalar logs($node, event => $event) }, 'a delivery beside those that hang', 10);
		$others++ if $hanging > 0;
		$slowest = time - $start if $slowest < time - $start && $hanging > 0;
		$peak = memory($pid) if $peak < memory($pid);
		last if time - $start > 30;
	}
	cmp_ok($others, '>=', 5, "round $round: others were delivered meanwhile");
	cmp_ok($slowest, '<', $timeout, "round $round: none of them waited for those that hang");
	wait_idle($node);

	for my $path (sort keys %endpoints)
	{
		my @logs = logs($node, user => $user_of{$path});
		my $expected = $endpoints{$path};

		is(scalar @logs, 1, "round $round, $path: one log row");
		is($logs[0]{status}, defined $expected ? 'failure' : 'success', "round $round, $path: status");
		if (ref $expected)
		{
			like($logs[0]{error_message}, $expected, "round $round, $path: message");
		}
		else
		{
			is($logs[0]{error_message}, $expected, "round $round, $path: message");
		}
	}
	is( value(
			$node, sprintf 'SELECT count(*) FROM stream_hook_logs '
			  . "WHERE inserted_at - executed_at > interval '%d seconds' OR duration_ms > %d",
			$timeout + 1, 1000 * ($timeout + 1)),
		0,
		"round $round: every slot was free again within the timeout and a second");
}

is(worker_pid($node), $pid, 'it is still the same worker');
cmp_ok($peak - $memory, '<', 10, 'its memory has grown by less than 10 MB at any time');
note sprintf 'memory %.1f MB, at most %.1f MB', $memory, $peak;

# Statuses are logged also where the rest of the answer was cut off.
is_deeply(
	[ map { $_->{response_status} } map { logs($node, user => $user_of{$_}) } '/huge/2000000000', '/endless', '/early/500' ],
	[ 200, 200, 500 ],
	'response_status');

finish($node);
done_testing();
