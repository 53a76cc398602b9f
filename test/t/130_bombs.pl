# Endpoints that answer byte for byte what nobody should: more of everything
# than there is memory for, and things that look like something else.  The
# worker stays small and alive, says what happened in clean words, and delivers
# to others meanwhile.

use strict;
use warnings;

use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $timeout = 3;
my $node = hooks_node('main', 'hooks.timeout' => "${timeout}s", 'hooks.max_in_flight_per_host' => 64, 'hooks.flood_rate' => 0);
my $receiver = Hooks::Receiver->start;
my $ok = "HTTP/1.1 200 OK\r\n";
my $chunked = "${ok}Transfer-Encoding: chunked\r\n\r\n";
my $forever = "${ok}Content-Length: 9000000000000000000\r\n\r\n";
my $big = 'a' x 500;

# What the endpoint sends, and what the log must say; undef is success.
my $lost = 'connection lost before the answer was complete';
my $late = qr/^timed out after 3(\.0\d*)? s while the answer was coming in$/;
my $waiting = qr/^timed out after 3(\.0\d*)? s waiting for the first byte of the answer$/;
my $large = 'headers of the answer are larger than 32768 bytes';
my $not_http = 'answer is not HTTP';
my $either = qr/./;	# versions of libcurl differ
my %answers = (
	# Too much
	'a body of exabytes' => [ undef, first => $forever, again => $big ],
	'a body without length' => [ undef, first => "HTTP/1.0 200 OK\r\n\r\n", again => $big ],
	'endless headers' => [ $large, first => $ok, again => "X-Bomb: $big\r\n" ],
	'endless empty headers' => [ $large, first => $ok, again => "a:\r\n" ],
	'one endless header' => [ $large, first => "${ok}X-Bomb: ", again => $big ],
	'an endless name of a header' => [ $large, first => $ok, again => $big ],
	'an endless folded header' => [ $large, first => "${ok}X-Bomb: a\r\n", again => " b\r\n" ],
	'an endless status line' => [ $large, first => 'HTTP/1.1 200 ', again => $big ],
	'endless empty lines' => [ $not_http, again => "\r\n" ],
	'endless interim answers' => [ $large, again => "HTTP/1.1 100 Continue\r\n\r\n" ],
	'endless early hints' => [ $large, again => "HTTP/1.1 103 Early Hints\r\nLink: <$big>\r\n\r\n" ],
	'an endless chunk extension' => [ $late, first => "${chunked}1;", again => $big ],
	'endless chunk extensions' => [ undef, first => $chunked, again => "1;x=$big\r\na\r\n" ],
	'an endless size of a chunk' => [ $lost, first => $chunked, again => '0' ],
	'endless trailers' => [ $large, first => "${chunked}1\r\na\r\n0\r\n", again => "X-Late: $big\r\n" ],
	'an endless trailer' => [ qr/^(\Q$lost\E|\Q$large\E)$/, first => "${chunked}1\r\na\r\n0\r\nX-Late: ", again => $big ],

	# Too little
	'a byte of the body every second' => [ $late, first => "${ok}Content-Length: 100000\r\n\r\n", again => 'a', every => 1000 ],
	'a byte of a header every second' => [ $late, first => $ok, again => 'a', every => 1000 ],
	'a byte of the status line every second' => [ $waiting, first => 'HTTP/1.1 200 ', again => 'O', every => 1000 ],
	'an interim answer every second' => [ $late, again => "HTTP/1.1 100 Continue\r\n\r\n", every => 1000 ],
	'headers, and then nothing' => [ $late, first => "${ok}X-A: b\r\n", then => 'hang' ],
	'half a chunk, and the end' => [ $lost, first => "${chunked}ffff\r\nabc" ],
	'half a body, and a reset' => [ $lost, first => "${ok}Content-Length: 10\r\n\r\nabc", then => 'reset' ],
	'nothing, and the end' => [ 'connection closed without an answer' ],
	'an interim answer, and the end' => [ 'connection closed without an answer', first => "HTTP/1.1 100 Continue\r\n\r\n" ],

	# Nothing is unpacked, so that nothing can explode or be broken
	map({ ("a body that says it is $_" => [ undef, first => "${ok}Content-Encoding: $_\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\xff" ]) }
		'gzip', 'deflate', 'br', 'zstd', 'gzip, gzip, gzip, gzip, gzip, gzip', 'x-unheard-of'),
	'endless compressed zeros' => [ undef, first => "${ok}Content-Encoding: deflate\r\n\r\n\x78\xda\xec\xc1", again => "\x00" x 500 ],
	'a transfer coding that is not known' => [ qr/./, first => "${ok}Transfer-Encoding: gzip, gzip, chunked\r\n\r\n", again => "4\r\n\x1f\x8b\x08\xff\r\n" ],

	# Not HTTP, or not quite
	'HTTP/0.9' => [ $not_http, first => "<html>hello</html>\n" ],
	'endless HTTP/0.9' => [ $not_http, again => 'hello ' ],
	'SMTP' => [ $not_http, first => "220 mail.example.com ESMTP\r\n" ],
	'HTTP/9.9' => [ $not_http, first => "HTTP/9.9 200 OK\r\n\r\n" ],
	'a status of one digit' => [ $not_http, first => "HTTP/1.1 2 OK\r\n\r\n" ],
	'a status of 999' => [ 'HTTP 999', first => "HTTP/1.1 999 Beyond\r\nContent-Length: 0\r\n\r\n" ],
	'a status below zero' => [ $not_http, first => "HTTP/1.1 -20 OK\r\n\r\n" ],
	'a negative length' => [ qr/./, first => "${ok}Content-Length: -1\r\n\r\n" ],
	'a length beyond 64 bits' => [ $either, first => "${ok}Content-Length: 99999999999999999999999\r\n\r\nabc" ],
	'two lengths' => [ $either, first => "${ok}Content-Length: 1\r\nContent-Length: 5\r\n\r\nabcde" ],
	'a chunk of a size beyond 64 bits' => [ qr/./, first => "${chunked}fffffffffffffffff\r\nabc" ],
	'a chunk of a negative size' => [ qr/./, first => "${chunked}-1\r\nabc" ],
	'a NUL in a header' => [ qr/./, first => "${ok}X-A: a\0b\r\nContent-Length: 0\r\n\r\n" ],
	'a NUL in the status line' => [ qr/./, first => "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n" ],
	'headers without names' => [ undef, first => "${ok}: a\r\n:\r\n\xff\xfe: b\r\nContent-Length: 0\r\n\r\n" ],
	'protocols to switch to' => [ qr/./, first => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n\0\0\0\4\0\0\0\0\0", then => 'hang' ],

	# What would like to be in a log
	'control characters in the reason' => [ 'HTTP 500', first => "HTTP/1.1 500 \x1b[2J\x07\x08\x7f bad\tthing\r\nContent-Length: 0\r\n\r\n" ],
	# libcurl 8.23 wants no CR there.
	'a second line in the reason' => [ qr/^(?:HTTP 500|answer is not HTTP)$/, first => "HTTP/1.1 500 Bad\rFATAL: all is lost\r\nContent-Length: 0\r\n\r\n" ],
	'invalid UTF-8 in the reason' => [ 'HTTP 500', first => "HTTP/1.1 500 \xff\xfe\xc0\x80\xed\xa0\x80\r\nContent-Length: 0\r\n\r\n" ],
	'no reason' => [ 'HTTP 500', first => "HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n" ],
	'a body of control characters' => [ 'HTTP 500', first => "HTTP/1.1 500 No\r\n\r\n\x1b[2J\0\xff\xfe" ],
	map({ ("a redirect to $_->[0]" => [ qr/^HTTP 302: redirect to "[^"]*" refused$/, first => "HTTP/1.1 302 Found\r\nLocation: $_->[1]\r\nContent-Length: 0\r\n\r\n" ]) }
		[ 'control characters', "https://a\x1b[2J\x07b/" ],
		[ 'invalid UTF-8', "https://\xff\xfe\xc0\x80/" ],
		[ 'control characters of two bytes', "https://a\xc2\x9b2J\xc2\x80/" ],
		[ 'quotes', 'https://a" refused by "b/' ],
		[ 'a user and password', 'https://user:hunter2@elsewhere.example/token' ],
		[ 'a long host', 'https://' . 'a' x 3000 . '/' ],
		[ 'a long host of many bytes', "https://\xc3\xa4" . "\xc3\xa4" x 700 . '/' ],
		[ 'a file', 'file:///etc/passwd' ],
		[ 'gopher', 'gopher://127.0.0.1:6379/_FLUSHALL' ],
		[ 'nothing', '' ]));

sub encoded
{
	my ($bytes) = @_;
	return $bytes =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ger;
}

sub raw_path
{
	my (%say) = @_;
	return '/raw?' . join '&', map { "$_=" . encoded($say{$_}) } sort keys %say;
}

# An endpoint that needs more bytes than a URL has room for says them by itself.
my @children;

sub speak_first
{
	my ($what) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 20, ReuseAddr => 1) or die "could not listen: $!";
	my $port = $listener->sockport;
	my $parent = $$;
	my $pid = fork;

	die "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		$SIG{PIPE} = 'IGNORE';
		alarm 900;
		while (my $client = $listener->accept)
		{
			print {$client} $what;
			$client->flush;
			shutdown $client, 1;
			my $left = '';
			1 while sysread $client, $left, 65536;
			close $client;
			last if getppid != $parent;
		}
		POSIX::_exit(0);
	}
	close $listener;
	push @children, $pid;
	return "http://127.0.0.1:$port/";
}

END
{
	local $?;
	kill 'KILL', @children if @children;
}

create_application($node);
add_users($node, 2, 300);

my (%user_of, %url);
my $n = 10;
for my $name (sort keys %answers)
{
	my (undef, %say) = @{ $answers{$name} };
	my $path = raw_path(%say);

	$url{$name} = length $receiver->url($path) > 2000
	  ? speak_first(($say{first} // '') . ($say{again} // ''))
	  : $receiver->url($path);
}
$answers{'an answer before the request'} = [undef];
$url{'an answer before the request'} = speak_first("${ok}Content-Length: 0\r\n\r\n");
$answers{'half an answer before the request'} = [$lost];
$url{'half an answer before the request'} = speak_first("${ok}Content-Length: 5\r\n\r\n");
$answers{'a refusal before a large request is sent'} = ['HTTP 413'];
$url{'a refusal before a large request is sent'} = $receiver->url('/early/413');

for my $name (sort keys %answers)
{
	$user_of{$name} = $n++;
	add_hook($node, user => $user_of{$name}, trigger => 'raid', url => $url{$name},
		config => { timeout_ms => 1000 * $timeout, body_template => '{{data.filler}}' x ($name =~ /large request/ ? 100 : 1) });
}
add_hook($node, url => $receiver->url('/ok'));

sub peak_memory
{
	my ($pid) = @_;
	slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m or die 'no VmHWM';
	return $1 / 1024;
}

sub memory
{
	my ($pid) = @_;
	slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m or die 'no RssAnon';
	return $1 / 1024;
}

my $users = join ', ', map { literal(user_uuid($_)) } values %user_of;
my $insert = 'INSERT INTO stream_events (type, data, user_id) '
  . q{SELECT 'raid', jsonb_build_object('raider_name', 'x', 'viewer_count', '5', 'filler', repeat('a b ', 2000)), u }
  . "FROM unnest(ARRAY[$users]::uuid[]) AS u";

# A first delivery, so that what is set up once is not counted.
add_event($node);
wait_idle($node);
my $pid = worker_pid($node);
my $memory = memory($pid);
my $peak = peak_memory($pid);

my ($slowest, $others) = (0, 0);
my $began = time;
$node->safe_psql('postgres', $insert);
while ($others < 5 || stat($node, 'in_flight') > 0)
{
	my $hanging = stat($node, 'in_flight');
	my $start = time;
	my $event = add_event($node);

	wait_until(sub { scalar logs($node, event => $event) }, 'a delivery beside the bombs', 30);
	$others++ if $hanging > 0;
	$slowest = time - $start if $slowest < time - $start && $hanging > 0;
	last if time - $began > 60;
}
cmp_ok($others, '>=', 5, 'others were delivered meanwhile');
cmp_ok($slowest, '<', $timeout, 'none of them waited for those that hang');
wait_idle($node);

for my $name (sort keys %answers)
{
	my $expected = $answers{$name}[0];
	my @logs = logs($node, user => $user_of{$name});
	my $said = $logs[0]{error_message};

	if (ref $expected && $expected == $either)
	{
		is(scalar @logs, 1, "$name: one log row");
		next;
	}
	is(join(' ', map { $_->{status} } @logs), defined $expected ? 'failure' : 'success', "$name: one log row, and its status");
	ref $expected
	  ? like($said, $expected, "$name: message")
	  : is($said, $expected, "$name: message");
}

is( value($node, q{SELECT count(*) FROM stream_hook_logs WHERE error_message ~ '[\u0001-\u001f\u007f-\u009f]' OR octet_length(error_message) > 500}),
	0, 'messages have no control characters, and at most 500 bytes');
is( value($node, q{SELECT count(*) FROM stream_hook_logs WHERE convert_from(convert_to(error_message, 'UTF8'), 'UTF8') IS DISTINCT FROM error_message}),
	0, '... and are valid UTF-8');
# What is kept beside the log is as clean.
my $kept = q{(SELECT last_error AS said FROM hooks.health UNION ALL SELECT disabled_reason FROM hooks.health UNION ALL SELECT last_error FROM hooks.delivery)};

cmp_ok(value($node, "SELECT count(*) FROM $kept AS k WHERE said <> ''"), '>=', 50, 'hooks that fail are remembered');
is( value($node, "SELECT count(*) FROM $kept AS k WHERE said ~ '[\\u0001-\\u001f\\u007f-\\u009f]' OR octet_length(said) > 500 OR convert_from(convert_to(said, 'UTF8'), 'UTF8') IS DISTINCT FROM said"),
	0, '... in clean words, too');
is( value($node, q{SELECT count(*) FROM stream_hook_logs WHERE error_message ~ 'hunter2|etc/passwd|FLUSHALL|all is lost|token'}),
	0, '... and repeat nothing that an endpoint said, but a host name');
unlike(slurp_file($node->logfile), qr/\x1b|\xff|all is lost|hunter2|X-Bomb/, 'nor does the server log');

# Nothing was asked for that would have to be unpacked.
is(scalar(grep { defined $_->{headers}{'accept-encoding'} || defined $_->{headers}{te} } $receiver->requests), 0, 'no coding is asked for');

is(worker_pid($node), $pid, 'it is still the same worker');
cmp_ok(memory($pid) - $memory, '<', 10, 'its memory has grown by less than 10 MB');
cmp_ok(peak_memory($pid) - $peak, '<', 40, '... and by less than 40 MB at any time, all bodies of requests included');
note sprintf 'memory %.1f MB, later %.1f MB; peak %.1f MB, later %.1f MB', $memory, memory($pid), $peak, peak_memory($pid);

# An answer that nobody asked for, after one that somebody did, is nobody's.
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
my $smuggler = raw_path(first => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 410 Gone\r\nWebhook-Delivery: disable\r\nContent-Length: 0\r\n\r\n", then => 'keep');
my $victim = add_hook($node, user => 2, trigger => 'raid', url => $receiver->url('/ok'));
add_hook($node, user => 1, trigger => 'raid', url => $receiver->url($smuggler));
for (1 .. 10)
{
	add_event($node, user => $_, type => 'raid') for 1, 2;
}
wait_idle($node);
is_deeply(log_statuses($node, hook => $victim), { success => 10 }, 'an answer that nobody asked for is not taken for one that somebody did');
is(value($node, "SELECT enabled FROM stream_hooks WHERE id = '$victim'"), 't', '... and disables nobody');

finish($node);
done_testing();
