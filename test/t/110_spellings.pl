# A hundred thousand spellings of addresses that are denied, each sent by the
# worker: no listener on this machine sees any of them.

use strict;
use warnings;

use IO::Socket::IP;
use PostgreSQL::Test::Utils;
use Socket qw(AF_INET6 inet_ntop inet_pton SOMAXCONN);
use Test::More;

use Hooks::Test;

my $spellings = $ENV{HOOKS_SPELLINGS} || 100_000;
my $per_user = 150;
my $seed = $ENV{HOOKS_SEED} || time;

srand($seed);
note "seed $seed";

# Listeners on all addresses of this machine.  What connects stays in the backlog, accepted or not.
my @listeners = grep { defined } (
	IO::Socket::IP->new(LocalHost => '0.0.0.0', LocalPort => 0, Listen => SOMAXCONN, Blocking => 0),
	IO::Socket::IP->new(LocalHost => '::', LocalPort => 0, Listen => SOMAXCONN, V6Only => 1, Blocking => 0));
my @ports = map { $_->sockport } @listeners;

cmp_ok(scalar @listeners, '>=', 1, 'listeners on this machine');
my $probe = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $ports[0]);
ok($probe && wait_until(sub { $listeners[0]->accept }, 'a connection'), '... which see who connects');
close $probe;

# ---------- spellings ----------

sub one_of
{
	return $_[ int(rand(@_)) ];
}

sub any_byte
{
	return int(rand(256));
}

# Addresses that are denied: of this machine mostly, for these have listeners.
my @own = grep { /^\d+\.\d+\.\d+\.\d+$/ } split ' ', `hostname -I`;

sub denied_v4
{
	my $kind = int(rand(10));

	return '127.0.0.1' if $kind < 3;
	return join '.', 127, any_byte(), any_byte(), any_byte() if $kind == 3;
	return '0.0.0.0' if $kind == 4;
	return one_of(@own) if $kind == 5 && @own;
	return one_of('169.254.169.254', '168.63.129.16', '192.168.1.1', '172.16.0.1', '172.31.255.255', '100.64.0.1', '100.100.100.200', '192.0.0.192', '198.18.0.1', '224.0.0.1', '255.255.255.255');
	return join '.', 10, any_byte(), any_byte(), any_byte();
}

sub in_base
{
	my ($number) = @_;
	my $kind = int(rand(5));

	return sprintf('0%o', $number) if $kind == 0;
	return sprintf('0x%x', $number) if $kind == 1;
	return sprintf('0X%X', $number) if $kind == 2;
	return ('0' x (1 + int(rand(6)))) . sprintf('%o', $number) if $kind == 3;
	return "$number";
}

# 1 to 4 numbers, of which the last one takes what is left.
sub spell_v4
{
	my @bytes = split /\./, $_[0];
	my $n = 1 + int(rand(4));
	my @numbers = @bytes[ 0 .. $n - 2 ];
	my $last = 0;

	$last = $last * 256 + $_ for @bytes[ $n - 1 .. 3 ];
	push @numbers, $last;
	return join('.', map { in_base($_) } @numbers) . (rand() < 0.1 ? '.' : '');
}

sub percent_encoded
{
	my ($text) = @_;

	$text =~ s/(.)/rand() < 0.3 ? sprintf(rand() < 0.5 ? '%%%02x' : '%%%02X', ord $1) : $1/ge;
	return $text;
}

# Sixteen bytes, in one of the ways to write them.
sub spell_v6
{
	my ($bytes) = @_;
	my @groups = unpack 'n8', $bytes;
	my $kind = int(rand(6));
	my $text;

	if ($kind == 0)
	{
		$text = inet_ntop(AF_INET6, $bytes);
	}
	elsif ($kind == 1)
	{
		$text = join ':', map { sprintf '%04x', $_ } @groups;
	}
	elsif ($kind == 2)
	{
		$text = join(':', map { sprintf '%x', $_ } @groups[ 0 .. 5 ]) . ':' . join('.', unpack 'x12C4', $bytes);
	}
	else
	{
		# A run of zeros is left out, any one of those that there are.
		my @texts = map { sprintf '%x', $_ } @groups;
		my @starts = grep { $groups[$_] == 0 } 0 .. 7;

		if (@starts)
		{
			my $from = one_of(@starts);
			my $to = $from;

			$to++ while $to < 7 && $groups[ $to + 1 ] == 0 && rand() < 0.8;
			$text = join(':', @texts[ 0 .. $from - 1 ]) . '::' . join(':', @texts[ $to + 1 .. 7 ]);
		}
		else
		{
			$text = join ':', @texts;
		}
	}
	$text = uc $text if rand() < 0.2;
	return "[$text" . (rand() < 0.05 ? one_of('%25lo', '%lo', '%251', '%25eth0') : '') . ']';
}

sub bytes_of
{
	my ($text) = @_;

	return inet_pton(AF_INET6, $text) // die $text;
}

# An IPv4 address within an IPv6 address, or one that is denied by itself.
sub denied_v6
{
	my $four = pack 'C4', split /\./, denied_v4();
	my $kind = int(rand(16));

	return bytes_of('::1') if $kind < 2;
	return bytes_of('::') if $kind == 2;
	return ("\0" x 10) . "\xff\xff" . $four if $kind < 5;
	return ("\0" x 12) . $four if $kind == 5;
	return substr(bytes_of('64:ff9b::'), 0, 12) . $four if $kind == 6;
	return substr(bytes_of('64:ff9b:1::'), 0, 12) . $four if $kind == 7;
	return "\x20\x02" . $four . ("\0" x 10) if $kind == 8;
	return substr(bytes_of('2600:1234:5678:9abc::'), 0, 8) . one_of("\0\0\x5e\xfe", "\x02\0\x5e\xfe") . $four if $kind == 9;
	return substr(bytes_of('fe80::'), 0, 8) . "\0\0\x5e\xfe" . $four if $kind == 10;
	return ("\0" x 8) . "\xff\xff\0\0" . $four if $kind == 11;
	return bytes_of('2001::') | (("\0" x 12) . ~$four) if $kind == 12;

	my @beginnings = ("\xfc", "\xfd", "\xfe\x80", "\xfe\xc0", "\xff\x02", "\x20\x01\x0d\xb8", "\x01\x00", "\x5f\x00", "\x3f\xff\x00", "\x26\x20\x00\x4f\x80\x00", "\x40", "\x00\x64\xff\x9b\x00\x01");
	my $bytes = one_of(@beginnings);

	$bytes .= chr(any_byte()) while length $bytes < 16;
	return $bytes;
}

my @names = ('localhost', 'LOCALHOST', 'localhost.', 'a.localhost', 'x.y.LocalHost', 'printer.local', 'metadata.google.internal',
	'metadata', 'hidden.onion', 'intranet', 'kubernetes', 'router.local.', 'instance-data');

sub spelling
{
	my $kind = rand();
	my $host = $kind < 0.45 ? spell_v4(denied_v4())
		: $kind < 0.55 ? percent_encoded(spell_v4(denied_v4()))
		: $kind < 0.60 ? one_of(@names)
		: spell_v6(denied_v6());
	my $user = rand() < 0.02 ? one_of('x@', 'a:b@', 'example.com@', 'example.com:80@', '@') : '';
	my $scheme = one_of('http', 'http', 'HTTP', 'https');

	return sprintf '%s://%s%s:%d%s', $scheme, $user, $host, one_of(@ports), one_of('', '/', '/latest/meta-data/', '?a=b', '/%2e%2e/', '#@example.com/');
}

# ---------- sending them ----------

my $node = hooks_node('main', 'hooks.allow_addresses' => '', 'hooks.max_in_flight_per_user' => 64, 'hooks.disable_after' => 0, 'hooks.breaker' => 'off',
	'hooks.max_in_flight' => 256, 'fsync' => 'off');

create_application($node);
my $users = int(($spellings + $per_user - 1) / $per_user);
add_users($node, 2, $users);
$node->safe_psql('postgres', 'ALTER TABLE stream_hooks DISABLE TRIGGER hooks_check; CREATE TABLE spelt (n int, url text)');

my %seen;
my $n = 0;
my $copy = '';
while ($n < $spellings)
{
	my $url = spelling();

	next if $seen{$url}++ && keys %seen > 1000;
	$copy .= $n++ . "\t" . ($url =~ s/\\/\\\\/gr) . "\n";
}
my $urls = keys %seen;
my $file = PostgreSQL::Test::Utils::tempdir() . '/spellings';
append_to_file($file, $copy);
$node->safe_psql('postgres', "\\copy spelt FROM '$file'");
$node->safe_psql('postgres', sprintf q{
	INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config, cooldown_seconds)
	SELECT ('00000000-0000-4000-8000-' || lpad((1 + n / %d)::text, 12, '0'))::uuid, n::text, 'follow', 'webhook',
		   jsonb_build_object('url', url, 'max_attempts', 3), 0 FROM spelt}, $per_user);
is(value($node, 'SELECT count(*) FROM stream_hooks'), $spellings, "$spellings hooks, $urls of them different");
is(value($node, 'SELECT count(DISTINCT user_id) FROM stream_hooks'), $users, "... of $users users");

$node->safe_psql('postgres', q{INSERT INTO stream_events (type, data, user_id) SELECT 'follow', '{}', id FROM users});
$node->safe_psql('postgres', q{SELECT hooks.wait_idle('10 min')});

is(value($node, 'SELECT count(*) FROM stream_hook_logs'), $spellings, 'one log row for each');
is(value($node, q{SELECT count(*) FROM stream_hook_logs WHERE status <> 'failure'}), 0, 'each a failure');
is(value($node, 'SELECT count(*) FROM stream_hook_logs WHERE attempt > 1'), 0, 'none is attempted again');
is(value($node, 'SELECT count(*) FROM hooks.pending'), 0, '... or waits for that');
is(value($node, 'SELECT count(*) FROM stream_hook_logs WHERE duration_ms > 0'), 0, 'none takes time');
is(value($node, 'SELECT count(*) FROM stream_hook_logs WHERE response_status IS NOT NULL'), 0, 'none has an answer');

my @reasons = rows($node, q{
	SELECT regexp_replace(regexp_replace(error_message, '"[^"]*"', '"..."', 'g'), '[0-9]+', 'N', 'g') AS reason, count(*) AS n, min(error_message) AS example
	FROM stream_hook_logs GROUP BY 1 ORDER BY 2 DESC});
note join "\n", map { "$_->{n}: $_->{example}" } @reasons;
my $by_address = 0;
for my $reason (@reasons)
{
	$by_address += $reason->{n} if $reason->{reason} =~ /not allowed/;
}
cmp_ok($by_address, '>', 0.6 * $spellings, 'most are refused for their address');

my $connections = grep { $_->accept } @listeners;
is($connections, 0, 'no listener has seen a connection');

note "inputs: $spellings";
finish($node);
done_testing();
