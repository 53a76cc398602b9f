# Chat messages that the application sends itself: by requests to its gateway.

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

my $receiver = Hooks::Receiver->start;
my $secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
my $directory = PostgreSQL::Test::Utils::tempdir();
my $file = "$directory/gateway.secret";

sub write_secret
{
	my ($line, $mode) = @_;

	open my $out, '>', $file or die "$file: $!";
	print $out $line;
	close $out or die "$file: $!";
	chmod $mode, $file or die "$file: $!";
	return;
}

write_secret("$secret\n", 0600);

# The gateway's address is the administrator's: neither rule of addresses nor of schemes keeps it away.
my $node = hooks_node(
	'main',
	'hooks.allow_http' => 'off',
	'hooks.allow_addresses' => undef,
	'hooks.chat' => 'gateway',
	'hooks.chat_gateway_url' => $receiver->url('/chat/g/gateway'),
	'hooks.chat_gateway_secret_file' => $file);

create_application($node);

sub add_chat
{
	my (%hook) = @_;

	return add_hook($node, attempts => undef, action => 'chat_message', %hook,
		config => { message => '{{username}}', %{ $hook{config} || {} } });
}

sub send_as
{
	my ($username) = @_;

	return add_event($node, data => { username => $username });
}

# What the log says of an event.
sub outcomes
{
	my ($event) = @_;

	wait_idle($node);
	return [ map { join ' ', $_->{platform} // '-', $_->{attempt}, $_->{status}, $_->{response_status} // '-', $_->{error_message} // '-' }
		  sort { $a->{attempt} <=> $b->{attempt} } logs($node, event => $event) ];
}

sub update_config
{
	my (%config) = @_;

	$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = ' . jsonb(\%config));
	return;
}

sub signature
{
	my ($request, $with) = @_;

	return 'v1,' . encode_base64(
		hmac_sha256("$request->{headers}{'webhook-id'}.$request->{headers}{'webhook-timestamp'}." . encode_utf8($request->{body}),
			decode_base64(substr $with, 6)), '');
}

my $hook = add_chat();
my $event = send_as('Ann');
is_deeply(outcomes($event), ['- 1 success 204 -'], 'a message goes to the gateway; an answer without a report is a success');
my ($request) = $receiver->take;
my $body = JSON::PP->new->decode($request->{body});
is($request->{path}, '/chat/g/gateway', '... at its path');
is($request->{headers}{'webhook-signature'}, signature($request, $secret), '... signed');
is_deeply($body,
	{ id => $request->{headers}{'webhook-id'}, user_id => user_uuid(1), message => 'Ann', platforms => undef },
	'... with who, what, and that it is for all platforms');

# Texts and platforms.
update_config(message => '{{username}}', platforms => [ 'youtube', 'twitch' ], messages => { twitch => 'Hi {{username}}' });
send_as('x' x 300);
wait_idle($node);
($request) = $receiver->take;
$body = JSON::PP->new->decode($request->{body});
is_deeply($body->{platforms}, [ 'twitch', 'youtube' ], 'the platforms that the hook names');
is($body->{message}, 'x' x 300, '... the message');
is_deeply($body->{messages}, { twitch => 'Hi ' . 'x' x 300, youtube => 'x' x 200 },
	'... and the texts where they differ, or have to be shorter');
update_config(message => '{{username}}');
for ([ "/ban x\r\n/me" => 'ban x /me' ], [ '"},"id":"1' => '"},"id":"1' ])
{
	my ($name, $text) = @$_;

	$event = send_as($name);
	is_deeply(outcomes($event), ['- 1 success 204 -'], 'a hostile text is sent');
	($request) = $receiver->take;
	is(JSON::PP->new->decode($request->{body})->{message}, $text, '... as a harmless line');
	is($request->{headers}{'webhook-signature'}, signature($request, $secret), '... signed');
}
is_deeply(outcomes(send_as(' / ')), ['- 1 failure - message would be empty'], 'nothing is not sent');
is_deeply([ $receiver->take ], [], '... indeed');

# Reports.
update_config(message => 'x {{username}}', max_attempts => 1);
for (
	[ '{"twitch": "delivered"}' => 'twitch 1 success 200 -' ],
	[ '{"twitch": "delivered", "kick": "delivered"}' => 'kick, twitch 1 success 200 -' ],
	[ '{"twitch": "delivered", "kick": "failed: no permission"}' => 'twitch 1 success 200 kick: no permission' ],
	[ '{"twitch": "failed", "kick": "failed:  no permission"}' => '- 1 failure 200 kick: no permission; twitch: failed' ],
	[ '{}' => '- 1 failure 200 no account connected' ],
	[ 'null' => '- 1 success 200 -' ],
	[ '[]' => q{- 1 failure 200 gateway's answer does not say what became of the message} ],
	[ '{"twitch": 1}' => q{- 1 failure 200 gateway's answer does not say what became of the message} ],
	[ '{"Twitch\u000a": "delivered"}' => q{- 1 failure 200 gateway's answer does not say what became of the message} ],
	[ '400' => '- 1 failure 400 HTTP 400' ])
{
	my ($report, $outcome) = @$_;

	is_deeply(outcomes(send_as("=> $report")), [$outcome], "the answer $report");
}
is(value($node, 'SELECT enabled FROM stream_hooks'), 't', 'the hook is enabled');
is_deeply(outcomes(send_as('=> 410')), ['- 1 failure 410 HTTP 410'], 'the gateway cannot say that it is gone');
is(value($node, 'SELECT enabled FROM stream_hooks'), 't', '... so that the hook is disabled');

# What is pending is asked for again, with the same id.
$receiver->take;
update_config(message => 'x {{username}}', max_attempts => 2, retry_schedule => [0.1]);
$event = send_as('=> {"twitch": "delivered", "kick": "pending"}');
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 2 }, 'another attempt');
is_deeply(outcomes($event), [ map { "twitch $_ failure 200 kick: pending" } 1, 2 ], 'what is pending is no success');
my @asked = $receiver->take;
is(scalar @asked, 2, '... is asked for again');
is($asked[0]{headers}{'webhook-id'}, $asked[1]{headers}{'webhook-id'}, '... with the same id');
$node->safe_psql('postgres', q{SELECT hooks.redeliver(delivery_id) FROM hooks.dead ORDER BY queued_at DESC LIMIT 1});
wait_until(sub { my @rows = logs($node, event => $event); @rows >= 3 }, 'one that is delivered again');
wait_until(sub { ($request) = $receiver->take }, 'its request');
is($request->{headers}{'webhook-id'}, $asked[0]{headers}{'webhook-id'}, '... has the same id, too');
update_config(message => 'x {{username}}', max_attempts => 2, retry_schedule => [0.1]);
$event = send_as('=> 503');
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 2 }, 'another attempt');
is(outcomes($event)->[0], '- 1 failure 503 HTTP 503', 'a gateway that is busy is asked again');
wait_until(sub { value($node, q{SELECT count(*) FROM stream_hook_logs WHERE error_message = 'kick: pending'}) == 4 },
	'the attempts before it');
wait_idle($node);
is(value($node, 'SELECT failures FROM hooks.hook_health'), 4,
	'... and what is wrong with it is not held against the hook, but what it reports is');
wait_idle($node);
$receiver->take;

# A log row that names one platform is delivered again as a whole.
update_config(message => 'x {{username}}');
$event = send_as('=> {"twitch": "delivered"}');
wait_idle($node);
$node->safe_psql('postgres', 'SELECT hooks.redeliver(id) FROM stream_hook_logs WHERE stream_event_id = ' . literal($event));
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 2 }, 'the same message again');
@asked = $receiver->take;
is($asked[0]{headers}{'webhook-id'}, $asked[1]{headers}{'webhook-id'}, 'one that was delivered to one platform is the same delivery again');

# People look, and try.
my @shown = rows($node, 'SELECT method, url, headers, body, verdict, target FROM hooks.preview(' . literal($hook)
	  . q{, '{"username": "Ann"}'::jsonb)});
is(scalar @shown, 1, 'a preview is one row');
like($shown[0]{url}, qr{^http://127\.0\.0\.1:\d+/chat/g/gateway$}, '... shows where it goes');
like($shown[0]{headers}{'webhook-signature'}, qr/^\*+$/, '... that it is signed');
like($shown[0]{body}, qr/"message":"x Ann","platforms":null/, '... and what is said');
is(value($node, 'SELECT verdict FROM hooks.explain(' . literal($event) . ')'), 'fires', 'an explanation needs no account');
is_deeply([ rows($node, 'SELECT target, status, response_status FROM hooks.test(' . literal($hook) . ')') ],
	[ { target => undef, status => 'success', response_status => 204 } ], 'a test goes to the gateway');
($request) = $receiver->take;
is($request->{headers}{'webhook-test'}, 'true', '... says that it is one');
like($request->{body}, qr/"message":"\[Test\] x Test viewer"/, '... in the text, too');

# Secrets.
my $second = value($node, 'SELECT hooks.generate_secret()');
write_secret("$second  $secret\n", 0600);
configure($node, {}, 'postgres');
send_as('Ann');
wait_idle($node);
($request) = $receiver->take;
is($request->{headers}{'webhook-signature'}, join(' ', signature($request, $second), signature($request, $secret)),
	'two secrets are two signatures');
my $log_position = -s $node->logfile;
for ([ "$secret\n", 0644, 'others may read or change it' ], [ "password\n", 0600, 'does not begin with' ], [ "\xff\n", 0600, 'not valid UTF-8' ])
{
	my ($line, $mode, $why) = @$_;

	write_secret($line, $mode);
	configure($node, {}, 'postgres');
	is_deeply(outcomes(send_as('Ann')),
		['- 1 failure - no chat message can be sent: the administrator has not set "hooks.chat_gateway_secret_file"'],
		"without a secret nothing is sent: $why");
	like(slurp_file($node->logfile, $log_position), qr/$why/, '... and the server log says why');
}
unlike(slurp_file($node->logfile, $log_position), qr/\Q$second\E|\Q@{[ substr $secret, 8 ]}\E.*$secret|holds no secret.*password/, '... but not what is in the file');
write_secret("$secret\n", 0600);
configure($node, { 'hooks.chat_gateway_url' => '' }, 'postgres');
is_deeply(outcomes(send_as('Ann')), ['- 1 failure - no chat message can be sent: the administrator has not set "hooks.chat_gateway_url"'],
	'without a URL nothing is sent');
for ('ftp://example.com/', 'https://user@example.com/', 'gateway')
{
	my (undef, undef, $stderr) = $node->psql('postgres', 'ALTER SYSTEM SET hooks.chat_gateway_url = ' . literal($_));

	like($stderr, qr/invalid value for parameter "hooks.chat_gateway_url"/, "$_ is no gateway");
}
is_deeply([ $receiver->take ], [], '... indeed');

# A hook's own URL has none of the gateway's freedom.
configure($node, { 'hooks.chat_gateway_url' => $receiver->url('/chat/g/gateway'), 'hooks.allow_http' => 'on' }, 'postgres');
send_as('Ann');
wait_idle($node);
is(scalar(my @sent = $receiver->take), 1, 'the gateway is there again');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
my ($status, undef, $stderr) = $node->psql('postgres',
	q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config) VALUES (} . literal(user_uuid(1))
	  . q{, 'x', 'donation', 'webhook', } . jsonb({ url => $receiver->url('/ok') }) . ')');
like($stderr, qr/is not allowed/, 'a hook may not name the gateway\'s host');
is_deeply([ $receiver->take ], [], '... and nothing was sent there');

# What waits while the administrator chooses another way goes that way.
configure($node, {
	'hooks.chat' => 'direct',
	'hooks.kick_url' => $receiver->url('/status/503?kick'),
	'hooks.allow_addresses' => '127.0.0.0/8' }, 'postgres');
$node->safe_psql('postgres', q{SELECT hooks.set_secret(} . literal(user_uuid(1)) . q{, 'kick', 'token');
	INSERT INTO hooks.chat_accounts (user_id, platform, channel_id, token) VALUES (} . literal(user_uuid(1)) . q{, 'kick', '1', 'kick')});
add_chat(config => { max_attempts => 100, retry_schedule => [1] });
$event = send_as('Ann');
wait_until(sub { my @rows = logs($node, event => $event); @rows >= 1 }, 'an attempt at the platform');
configure($node, { 'hooks.chat' => 'gateway' }, 'postgres');
wait_until(sub { (logs($node, event => $event))[-1]{status} eq 'success' }, 'the gateway to take it');
($request) = grep { $_->{path} eq '/chat/g/gateway' } $receiver->take;
is_deeply(JSON::PP->new->decode($request->{body})->{platforms}, ['kick'], 'what waits while hooks.chat is changed goes the new way, to where it was to go');
is_deeply([ map { $_->{platform} } logs($node, event => $event) ], [ map { 'kick' } logs($node, event => $event) ], '... and says so');

finish($node, qr/secret file/);
done_testing();
