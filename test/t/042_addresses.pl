# The address guard: what is not public is not connected to, however it is
# spelt, and nothing can be learnt from the refusal.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

# A port that is open and one that is closed.
my $open = Hooks::Receiver->start;
my $other = Hooks::Receiver->start;
my $closed_port = $other->port;
$other->stop;

# The environment of the postmaster would lead elsewhere.
my $proxy = Hooks::Receiver->start;
my $keys = "$PostgreSQL::Test::Utils::tmp_check/tls_keys";
my %environment = (
	(map { $_ => $proxy->url('') } qw(http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY)),
	no_proxy => '', NO_PROXY => '', SSLKEYLOGFILE => $keys);
@ENV{ keys %environment } = values %environment;
my $node = hooks_node('main', 'hooks.allow_addresses' => '', 'hooks.connect_timeout' => '2s');
delete @ENV{ keys %environment };

create_application($node);

# Writes a hook around the validation, as a dump of another application may,
# and fires it; returns the log row.
sub attempt
{
	my ($url) = @_;
	my $hook;
	my @logs;

	$hook = value(
		$node, sprintf q{
		ALTER TABLE stream_hooks DISABLE TRIGGER hooks_check;
		INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config, cooldown_seconds)
		VALUES ('%s', 'x', 'follow', 'webhook', %s, 60) RETURNING id;
		ALTER TABLE stream_hooks ENABLE TRIGGER hooks_check},
		user_uuid(1), jsonb({ url => $url }));
	add_event($node);
	wait_idle($node);
	@logs = logs($node, hook => $hook);
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	die 'not one log row' unless @logs == 1;
	return $logs[0];
}

my @spellings = qw(
  127.0.0.1 127.1 127.0.1 0x7f.1 0x7f000001 2130706433 017700000001 0177.0.0.1 %31%32%37.0.0.1 127.0.0.1.
  [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [::7f00:1] 0 0.0.0.0 [::]
  localhost LOCALHOST localhost. sub.localhost);

for my $host (@spellings)
{
	my %by_port;

	for my $port ($open->port, $closed_port)
	{
		my $log = attempt("http://$host:$port/");

		$by_port{ $log->{error_message} }++;
		is($log->{status}, 'failure', "$host, port " . ($port == $closed_port ? 'closed' : 'open') . ': refused');
		is($log->{duration_ms}, 0, "$host: takes no time") unless $log->{error_message} =~ /could not be looked up/;
		is($log->{response_status}, undef, "$host: no status");
	}
	is_deeply([ values %by_port ], [2], "$host: the same message for open and closed ports")
	  or diag join "\n", keys %by_port;
}
is_deeply([ $open->requests ], [], 'the listener has seen nothing');

# Other addresses that are not public, also where nothing would answer.
for my $host (
	qw(10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1 255.255.255.255
	[fe80::1] [fc00::1] [fd00:ec2::254] [2001:db8::1] [64:ff9b::7f00:1] [2002:7f00:1::]
	metadata.google.internal printer.local hidden.onion intranet))
{
	my $log = attempt("http://$host/");

	is($log->{status}, 'failure', "$host: refused");
	is($log->{duration_ms}, 0, "$host: without trying");
	like($log->{error_message}, qr/not allowed|only means something/, "$host: the log says so");
}

# This machine's own addresses, whatever they are.
for my $address (split ' ', `hostname -I`)
{
	my $log = attempt($address =~ /:/ ? "http://[$address]/" : "http://$address/");

	is($log->{status}, 'failure', 'an own address: refused');
	is($log->{duration_ms}, 0, 'an own address: without trying');
}

# Refused at the door when a hook is written.
my (undef, undef, $stderr) = $node->psql('postgres', sprintf
	  q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	VALUES ('%s', 'x', 'follow', 'webhook', %s)}, user_uuid(1), jsonb({ url => 'http://127.0.0.1/' }));
like($stderr, qr/ERROR:  URL host "127\.0\.0\.1" is not allowed/, 'a hook to a loopback address is refused');

# Nobody but the configuration file can widen it.
$node->safe_psql('postgres', 'CREATE ROLE somebody');
for my $set (
	q{SET hooks.allow_addresses = '127.0.0.0/8'},
	q{ALTER ROLE somebody SET hooks.allow_addresses = '127.0.0.0/8'},
	q{ALTER DATABASE postgres SET hooks.allow_addresses = '127.0.0.0/8'},
	q{SET hooks.allow_http = on},
	q{SET hooks.proxy = 'http://127.0.0.1:1/'})
{
	(undef, undef, $stderr) = $node->psql('postgres', $set);
	like($stderr, qr/ERROR:  parameter "hooks\.\w+" cannot be changed now/, $set);
}

# The door opens for what is allowed, and for nothing else.
configure($node, { 'hooks.allow_addresses' => '127.0.0.1' }, 'postgres');
is(attempt($open->url)->{status}, 'success', 'an address that is allowed');
is(scalar(my @seen = $open->take), 1, '... is connected to');
is($seen[0]{headers}{'proxy-connection'}, undef, '... directly');
is(attempt('http://127.0.0.2:' . $open->port)->{status}, 'failure', 'its neighbour is not');
is(attempt('http://2130706433:' . $open->port . '/ok')->{status}, 'success', 'another spelling of it is');
configure($node, { 'hooks.deny_addresses' => '127.0.0.0/24' }, 'postgres');
my $log = attempt($open->url);
is($log->{status}, 'failure', 'what is denied is not, also when it is allowed');
is($log->{duration_ms}, 0, '... nor on a connection that is there already');
is(scalar(my @more = $open->take), 1, '... so the listener has seen the other spelling only');

# What the postmaster was started with has led nothing astray.
is_deeply([ $proxy->requests ], [], 'proxies of the environment are ignored');
ok(!-e $keys, 'no TLS keys were written');
is( value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hooks worker'}),
	1, 'all by one worker, whose environment was that');

finish($node);
done_testing();
