# TLS: endpoints are verified with hooks.ca_file, and the log says what is
# wrong with those that are refused.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $dir = "$PostgreSQL::Test::Utils::tmp_check/tls";

mkdir $dir;

sub openssl
{
	my (@arguments) = @_;

	system_or_bail('openssl', @arguments);
	return;
}

# Arguments of "openssl req" for a key, and for what makes an authority.
my @new_key = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes');
my @is_authority = ('-addext', 'basicConstraints=critical,CA:true');

# A certificate that is signed with its own key.
sub make_self_signed
{
	my ($name, @more) = @_;

	openssl('req', '-x509', @new_key, '-keyout', "$dir/$name.key", '-out', "$dir/$name.crt",
		'-days', '2', '-subj', "/CN=$name", @more);
	return;
}

# A folder for what "openssl ca" needs to sign with a certificate.
sub make_registry
{
	my ($name) = @_;

	mkdir "$dir/$name";
	append_to_file("$dir/$name/index", '');
	append_to_file("$dir/$name/serial", "01\n");
	append_to_file(
		"$dir/$name/config", qq{
[ca]
default_ca = this
[this]
dir = $dir/$name
database = \$dir/index
serial = \$dir/serial
new_certs_dir = \$dir
certificate = $dir/$name.crt
private_key = $dir/$name.key
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
});
	return;
}

# A certificate authority.
sub make_authority
{
	my ($name) = @_;

	make_registry($name);
	make_self_signed($name, @is_authority);
	return;
}

# A certificate of an authority's; returns how to start a receiver with it.
sub make_certificate
{
	my ($authority, $name, $san, $from, $until, @more) = @_;

	openssl('req', '-new', @new_key, '-keyout', "$dir/$name.key", '-out', "$dir/$name.csr",
		'-subj', "/CN=$name", '-addext', "subjectAltName=$san", @more);
	openssl('ca', '-batch', '-notext', '-config', "$dir/$authority/config", '-in', "$dir/$name.csr",
		'-out', "$dir/$name.crt", '-startdate', $from || '20200101000000Z', '-enddate', $until || '20491231235959Z');
	return (tls_cert => "$dir/$name.crt", tls_key => "$dir/$name.key");
}

# The same for a receiver that sends its authority's certificate, too.
sub with_chain
{
	my ($authority, %receiver) = @_;

	append_to_file($receiver{tls_cert}, slurp_file("$dir/$authority.crt"));
	return %receiver;
}

make_authority('ours');
make_authority('unknown');
make_self_signed('alone', '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:false');
make_registry('old');
make_certificate('ours', 'old', 'DNS:old', '20200101000000Z', '20200601000000Z', @is_authority);

my $node = hooks_node(
	'main',
	'hooks.allow_http' => 'off',
	'hooks.ca_file' => "$dir/ours.crt",
	'hooks.timeout' => '10s',
	'hooks.connect_timeout' => '1s');
my %receivers = (
	good => Hooks::Receiver->start(make_certificate('ours', 'good', 'IP:127.0.0.1')),
	expired => Hooks::Receiver->start(
		make_certificate('ours', 'expired', 'IP:127.0.0.1', '20200101000000Z', '20210101000000Z')),
	early => Hooks::Receiver->start(
		make_certificate('ours', 'early', 'IP:127.0.0.1', '20480101000000Z', '20490101000000Z')),
	misnamed => Hooks::Receiver->start(make_certificate('ours', 'misnamed', 'DNS:example.com,IP:127.0.0.2')),
	unnamed => Hooks::Receiver->start(make_certificate('ours', 'unnamed', 'email:x@example.com')),
	unknown => Hooks::Receiver->start(make_certificate('unknown', 'strange', 'IP:127.0.0.1')),
	chain => Hooks::Receiver->start(with_chain('unknown', make_certificate('unknown', 'chain', 'IP:127.0.0.1'))),
	alone => Hooks::Receiver->start(tls_cert => "$dir/alone.crt", tls_key => "$dir/alone.key"),
	old => Hooks::Receiver->start(with_chain('old', make_certificate('old', 'of old', 'IP:127.0.0.1'))),
	plain => Hooks::Receiver->start(blackholes => 1));

create_application($node);

# Fires a hook with a cooldown at the receiver, and returns the log row.
sub attempt
{
	my ($name, $port) = @_;
	my $hook = add_hook($node, name => $name, cooldown => 60, url => "https://127.0.0.1:$port/ok");
	my @logs;

	add_event($node);
	wait_idle($node);
	@logs = logs($node, hook => $hook);
	is(scalar @logs, 1, "$name: one log row");
	is(value($node, "SELECT last_triggered_at IS NULL FROM stream_hooks WHERE id = '$hook'"),
		$logs[0]{status} eq 'success' ? 'f' : 't', "$name: a failure gives the cooldown back");
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	return $logs[0];
}

my $log = attempt('good', $receivers{good}->port);
is($log->{status}, 'success', 'a good certificate');
is(scalar $receivers{good}->requests, 1, '... is sent to');

my %expected = (
	expired => qr/^certificate expired on 2021-01-01$/,
	early => qr/^certificate not valid before 2048-01-01$/,
	misnamed => qr/^certificate is for another host name$/,
	unnamed => qr/^certificate is for another host name$/,
	unknown => qr/^certificate is signed by an unknown authority$/,
	chain => qr/^certificate is signed by an unknown authority$/,
	alone => qr/^certificate is self-signed$/,
	old => qr/^certificate of the server's authority expired on 2020-06-01$/,
	plain => qr/^TLS handshake failed: the server does not speak TLS on this port$/);
for my $name (sort keys %expected)
{
	$log = attempt($name, $receivers{$name}->port);
	is($log->{status}, 'failure', "$name: failure");
	like($log->{error_message}, $expected{$name}, "$name: the log says why");
	is($log->{response_status}, undef, "$name: no status");
	unlike($log->{error_message}, qr/[^[:print:]]/, "$name: nothing but text");
	is(scalar $receivers{$name}->requests, 0, "$name: no request");
}

$log = attempt('stalled', $receivers{plain}->blackhole_port);
is($log->{status}, 'failure', 'a handshake that stalls');
like($log->{error_message}, qr/^timed out after 1(\.0\d*)? s during the TLS handshake$/, '... and says so');
cmp_ok($log->{duration_ms}, '<', 2000, '... within the connect timeout and a second');

# The setting decides, at once, and not what the server was started with.
configure($node, { 'hooks.ca_file' => "$dir/unknown.crt" }, 'postgres');
is(attempt('unknown, now known', $receivers{unknown}->port)->{status}, 'success', 'another CA file: its endpoints');
is(attempt('good, now unknown', $receivers{good}->port)->{status}, 'failure', '... and no others');
configure($node, { 'hooks.ca_file' => "$dir/nothing.crt" }, 'postgres');
$log = attempt('no CA file', $receivers{good}->port);
is($log->{status}, 'failure', 'without the CA file nothing is trusted');
like($log->{error_message}, qr/CA/, '... and the log says so');
configure($node, { 'hooks.ca_file' => '' }, 'postgres');
is(attempt('the system\'s', $receivers{good}->port)->{status}, 'failure', 'the operating system does not know it');

# http is refused where it is not allowed: a hook that was written, and has
# fired, while it was does not fire any more.
configure($node, { 'hooks.allow_http' => 'on' }, 'postgres');
my $hook = add_hook($node, url => $receivers{plain}->url);
add_event($node);
wait_idle($node);
is((logs($node, hook => $hook))[0]{status}, 'success', 'http is sent where it is allowed');
configure($node, { 'hooks.allow_http' => 'off' }, 'postgres');
add_event($node);
wait_idle($node);
is((logs($node, hook => $hook))[-1]{error_message}, 'URL must use https, not http', 'http is refused when it is sent');
my (undef, undef, $stderr) = $node->psql('postgres', "UPDATE stream_hooks SET name = 'x' WHERE id = '$hook'");
like($stderr, qr/ERROR:  URL must use https, not http/, '... and when a hook is written');
is(scalar $receivers{plain}->requests, 1, '... so nothing more is sent');

finish($node);
done_testing();
