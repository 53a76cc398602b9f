# Signed webhooks, as the receiver verifies them: by the definition of Standard
# Webhooks, and with its official JavaScript client where there is one.

use strict;
use warnings;
use utf8;

use Digest::SHA qw(hmac_sha256);
use Encode qw(encode_utf8);
use JSON::PP ();
use MIME::Base64 qw(decode_base64 encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;
my $vector = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
my @secrets = ($vector);
my @accepted;

create_application($node);
push @secrets, value($node, 'SELECT hooks.generate_secret()') for 1 .. 2;
push @secrets, 'whsec_' . encode_base64(join('', map { chr } 0 .. 63), '');

# What the header ought to be, of bytes.
sub signature
{
	my ($id, $timestamp, $body, @with) = @_;

	return join ' ', map {
		'v1,' . encode_base64(hmac_sha256("$id.$timestamp.$body", decode_base64(substr $_, 6)), '')
	} @with;
}

is( signature('msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}', $vector),
	'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
	'the example of the specification');

# One event for one hook; the request that came of it has the signatures of
# these secrets, and no others.
sub delivered
{
	my ($what, $data, @with) = @_;

	add_event($node, data => $data);
	wait_idle($node);
	my ($request, @more) = $receiver->take;
	my $headers = $request->{headers};

	is(scalar @more, 0, "$what: one request");
	cmp_ok(abs($headers->{'webhook-timestamp'} - $request->{t}), '<', 60, "$what: it is signed now");
	is( $headers->{'webhook-signature'},
		@with
		? signature($headers->{'webhook-id'}, $headers->{'webhook-timestamp'},
			encode_utf8($request->{body}), @with)
		: undef,
		"$what: signature");
	push @accepted, map { { request => $request, secret => $_ } } @with;
	return $request;
}

sub deliver
{
	my ($what, $secret, %more) = @_;
	my $hook = add_hook(
		$node,
		config => {
			url => $receiver->url,
			(defined $secret ? (secret => $secret) : ()),
			%{ $more{config} || {} }
		});
	my $request = delivered($what, $more{data}, ref $secret ? @$secret : $secret // ());

	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	return $request;
}

my %people = (username => "Zoë \"日本\" \x{1F389}");

deliver('default body', $secrets[1]);
deliver('two secrets, newest first', [ @secrets[ 2, 1 ] ]);
deliver('ten secrets', [ (@secrets) x 2, @secrets[ 0, 3 ] ]);
for my $method (qw(PUT PATCH DELETE))
{
	deliver($method, $secrets[1], config => { method => $method }, data => \%people);
}

my $request = deliver('GET', [ @secrets[ 1, 2 ] ], config => { method => 'GET' });
is($request->{method}, 'GET', 'GET without a body is signed');
is($request->{body}, '', '... as an empty body');

$request = deliver('a body that is empty', $secrets[1],
	config => { body_template => '{{message}}', headers => { 'Content-Type' => 'text/plain' } });
is($request->{body}, '', 'an empty body is signed');
$request = deliver('UTF-8 in JSON', $secrets[1], data => \%people, config => { body => { who => '{{username}}: ü' } });
is(JSON::PP::decode_json(encode_utf8($request->{body}))->{who}, "$people{username}: ü", '... and arrives');
$request = deliver('UTF-8 in a text', $secrets[1], data => \%people, config => { body_template => 'für {{username}}' });
is($request->{body}, "für $people{username}", '... and arrives');
deliver('a large body', $secrets[1], data => { username => 'ü' x 10000 },
	config => { body_template => '{{username}}' x 40 });
deliver('many headers', $secrets[1], config => { headers => { map { ("X-$_" => "$_") } 1 .. 30 } });
$request = deliver('no secret', undef);
ok(!exists $request->{headers}{'webhook-signature'}, 'without a secret there is no signature');
$request = deliver('null', undef, config => { secret => undef });
ok(!exists $request->{headers}{'webhook-signature'}, '... nor with one that is null');

# Rotating a secret: there is no request that a receiver with either could not verify.
my $hook = add_hook($node, config => { url => $receiver->url, secret => $secrets[1] });
delivered('before rotation', undef, $secrets[1]);
$node->safe_psql(
	'postgres', q{UPDATE stream_hooks
	SET action_config = jsonb_set(action_config, '{secret}', to_jsonb(}
	  . literal($secrets[2]) . q{::text) || (action_config -> 'secret'))});
delivered('during rotation', undef, @secrets[ 2, 1 ]);

# What is shown of a hook has no secrets in it.
my ($preview) = rows($node,
	'SELECT p.*, p::text AS all FROM hooks.preview(' . literal($hook) . q{, '{"username": "Ann"}'::jsonb) AS p});
is($preview->{verdict}, 'fires', 'preview of a hook with secrets');
is($preview->{headers}{'webhook-signature'}, '********', 'its signature is masked');
unlike($preview->{all}, qr/whsec|v1,/, 'its secrets are nowhere');

$node->safe_psql('postgres',
	q{UPDATE stream_hooks SET action_config = jsonb_set(action_config, '{secret}', action_config -> 'secret' -> 0)});
delivered('after rotation', undef, $secrets[2]);
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# Failures do not tell them either; nor does a hook that was not checked when
# it was written.
add_hook($node, name => 'refused', config => { url => $receiver->url('/status/500'), secret => $secrets[1] });
add_hook($node, name => 'unreached', config => { url => 'http://127.0.0.1:1/', secret => $secrets[1] });
add_hook($node, name => 'not built', config =>
	  { url => $receiver->url, secret => $secrets[1], headers => { 'X-Name' => '{{username}}' } });
$node->safe_psql(
	'postgres', 'SET session_replication_role = replica;'
	  . 'INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config) VALUES ('
	  . literal(user_uuid(1)) . q{, 'not checked', 'follow', 'webhook', }
	  . jsonb({ url => $receiver->url, secret => "$secrets[1]$secrets[1]" }) . ')');
add_event($node, data => { username => "Ann\nBob" });
wait_idle($node);
is_deeply(
	[   map { $_->{error_message} } rows(
			$node, q{SELECT error_message FROM stream_hook_logs JOIN stream_hooks AS h ON h.id = hook_id
			WHERE h.name IN ('refused', 'not built', 'not checked') ORDER BY h.name}) ],
	[   'header "X-Name" would contain a control character',
		'"secret" is not base64 with padding after "whsec_"',
		'HTTP 500' ],
	'failures say why');
is(log_statuses($node)->{failure}, 4, 'all of them are failures');
$receiver->take;

# What the official client should say of what we sent, and of what somebody
# else did to it.
sub checks
{
	my @checks = map { {
		body => $_->{request}{body},
		headers => $_->{request}{headers},
		secret => $_->{secret},
		expected => 'good'
	} } @accepted;
	my $good = $checks[0];
	my $timestamp = $good->{headers}{'webhook-timestamp'};
	my $altered = sub {
		my ($expected, %headers) = @_;

		return { %$good, expected => $expected, headers => { %{ $good->{headers} }, %headers } };
	};
	my $signed_again = sub {
		my ($expected, $time) = @_;

		return $altered->(
			$expected,
			'webhook-timestamp' => "$time",
			'webhook-signature' => value(
				$node,
				sprintf 'SELECT hooks.sign(%s, %s, to_timestamp(%d), %s)',
				literal($good->{secret}), literal($good->{headers}{'webhook-id'}), $time,
				literal($good->{body})));
	};

	return (
		@checks,
		{ %$good, body => "$good->{body} ", expected => 'No matching signature found' },
		{ %$good, secret => $secrets[3], expected => 'No matching signature found' },
		$altered->('No matching signature found', 'webhook-id' => 'another'),
		$altered->('No matching signature found', 'webhook-timestamp' => $timestamp - 1 . ''),
		$altered->('Missing required headers', 'webhook-signature' => ''),
		$altered->('Message timestamp too old', 'webhook-timestamp' => '1614265330'),
		$signed_again->('good', time - 200),
		$signed_again->('Message timestamp too old', time - 400),
		$signed_again->('Message timestamp too new', time + 400));
}

SKIP:
{
	my $program = "$PostgreSQL::Test::Utils::tmp_check/verify.js";
	my $input = "$PostgreSQL::Test::Utils::tmp_check/requests.json";

	skip 'there is no node, or it does not find "standardwebhooks"', 2
	  if system(q{node -e 'require("standardwebhooks")' >/dev/null 2>&1}) != 0;

	my @checks = checks();
	unlink $program, $input;
	append_to_file($input, JSON::PP->new->ascii->encode(\@checks));
	append_to_file(
		$program, q{
		const { Webhook } = require("standardwebhooks");
		for (const check of JSON.parse(require("fs").readFileSync(process.argv[2], "utf8"))) {
			try {
				new Webhook(check.secret).verify(check.body, check.headers, { jsonParse: false });
				console.log("good");
			} catch (error) {
				console.log(error.message);
			}
		}});
	my ($stdout, $stderr) = run_command([ 'node', $program, $input ]);

	is($stderr, '', 'the official client runs');
	is_deeply([ split /\n/, $stdout ], [ map { $_->{expected} } @checks ],
		'it takes what we sent, and nothing else');
}

# Nobody has written a secret down.
my $keys = join '|', map { quotemeta substr $_, 6, 24 } @secrets;
unlike(value($node, 'SELECT string_agg(l::text, chr(10)) FROM stream_hook_logs AS l'), qr/$keys|whsec_\w/,
	'no secret in stream_hook_logs');
unlike(slurp_file($node->logfile), qr/$keys|v1,/, 'no secret in the server log');

finish($node);
done_testing();
