# Messages through Discord webhooks, to a stand-in for Discord's API.

use strict;
use warnings;
use utf8;

use lib 'test/perl';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;
my $pasted = 'https://discord.com/api/webhooks/1234/secret_TOKEN-1';

create_application($node);

# Discord's API is at that path of the receiver.
sub discord_at
{
	my ($path) = @_;

	configure($node, { 'hooks.discord_url' => $receiver->url($path) }, 'postgres');
	$receiver->take;
	return;
}

sub add_discord
{
	my (%hook) = @_;

	return add_hook(
		$node,
		attempts => undef,
		action => 'discord_message',
		%hook,
		config => { webhook_url => $pasted, template => '{{username}}: {{message}}', %{ $hook{config} || {} } });
}

sub send_message
{
	my ($message) = @_;
	my $event = add_event($node, data => { username => 'Ann', message => $message });

	wait_until(sub { scalar logs($node, event => $event) }, 'the first attempt');
	return $event;
}

sub attempts
{
	my ($event) = @_;

	return [ map { join ' ', $_->{attempt}, $_->{status}, $_->{response_status} // '-', $_->{error_message} // '-' }
		  logs($node, event => $event) ];
}

discord_at('/status/204');
my $hook = add_discord();

# What arrives.
for (
	[ 'hello' => 'Ann: hello' ],
	[ 'grüße 👋' => 'Ann: grüße 👋' ],
	[ qq{"quoted" \\ \n\t} => qq{Ann: "quoted" \\\\ \n\t} ],
	[ 'x' x 3000 => 'Ann: ' . 'x' x 1995 ],
	[ '👋' x 3000 => 'Ann: ' . '👋' x 1995 ],
	[ '@everyone <@&1> [x](http://evil)' => 'Ann: @everyone \\<@&1> \\[x\\](http://evil)' ],
	[ 'the_real_bob *_* `x` ||y|| \\[z](http://evil)' => 'Ann: the\\_real\\_bob \\*\\_\\* \\`x\\` \\|\\|y\\|\\| \\\\\\[z\\](http://evil)' ])
{
	my ($message, $content) = @$_;
	my $event = send_message($message);
	my ($request) = $receiver->take;

	is_deeply(attempts($event), ['1 success 204 -'], 'sent');
	is($request->{method}, 'POST', '... by POST');
	is($request->{path}, '/status/204/webhooks/1234/secret_TOKEN-1?wait=true', '... to the address of version 10');
	is($request->{headers}{'content-type'}, 'application/json', '... as JSON');
	like($request->{headers}{'user-agent'}, qr/^hooks/, '... with a User-Agent');
	is_deeply(
		JSON::PP->new->decode($request->{body}),
		{ content => $content, allowed_mentions => { parse => [] } },
		'... the message, which mentions nobody');
}

# The forms in which URLs are pasted.
for (
	$pasted,
	'https://discordapp.com/api/webhooks/1234/secret_TOKEN-1',
	'https://canary.discord.com/api/webhooks/1234/secret_TOKEN-1',
	'https://ptb.discord.com/api/v9/webhooks/1234/secret_TOKEN-1',
	'https://discord.com/api/v10/webhooks/1234/secret_TOKEN-1/',
	'https://discord.com/webhooks/1234/secret_TOKEN-1',
	'https://discord.com/api/webhooks/1234/secret_TOKEN-1/slack',
	'https://discord.com/api/webhooks/1234/secret_TOKEN-1/github?wait=false',
	'https://DISCORD.com:443/api/webhooks/1234/secret_TOKEN-1#x')
{
	$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = action_config || ' . jsonb({ webhook_url => $_ }));
	send_message('x');
	is(($receiver->take)[0]{path}, '/status/204/webhooks/1234/secret_TOKEN-1?wait=true', "$_ is understood");
}
$node->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = action_config || '
	  . jsonb({ webhook_url => "$pasted?thread_id=99&x=y" }));
send_message('x');
is(($receiver->take)[0]{path}, '/status/204/webhooks/1234/secret_TOKEN-1?wait=true&thread_id=99', 'a thread is kept');

for (
	'https://discord.com.evil.example/api/webhooks/1234/x',
	'https://evil.example/discord.com/api/webhooks/1234/x',
	'http://discord.com/api/webhooks/1234/x',
	'https://discord.com:8443/api/webhooks/1234/x',
	'https://discord.com/api/webhooks/1234',
	'https://discord.com/api/webhooks/1234/',
	'https://discord.com/api/webhooks/abc/x',
	'https://discord.com/api/webhooks/1234/../../x',
	'https://discord.com/api/webhooks/1234&5/x',
	'https://discord.com/api/webhooks/1234/x%2F..%2F',
	'https://discord.com/channels/1234/x',
	'discord.com/api/webhooks/1234/x')
{
	my ($status, undef, $stderr) = $node->psql('postgres',
		'UPDATE stream_hooks SET action_config = action_config || ' . jsonb({ webhook_url => $_ }));

	isnt($status, 0, "$_ is refused");
	like($stderr, qr/HINT: /, '... with a hint');
}

# Nobody is shown the token.
my $preview = (rows($node, 'SELECT p.* FROM hooks.preview(' . literal($hook) . q{, '{"username": "x"}'::jsonb) AS p}))[0];
is($preview->{verdict}, 'fires', 'preview');
like($preview->{url}, qr{/webhooks/1234/\*+\?}, '... has no token');
like($preview->{body}, qr/"content":"x: "/, '... but the body');

# An empty message is not sent.
$node->safe_psql('postgres', q{UPDATE stream_hooks SET action_config = action_config || '{"template": "{{message}}"}'});
is_deeply(attempts(send_message(' ')), ['1 failure - message would be empty'], 'an empty message is not sent');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# 429 is no attempt: it waits for as long as Discord says, however often.
discord_at('/sequence/429:retry-after=2:x-ratelimit-scope=user,429:retry-after=1:x-ratelimit-scope=user,204');
add_discord(config => { max_attempts => 1 });
my $event = send_message('x');
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 3 }, 'the third request');
is_deeply(
	attempts($event),
	[ '1 failure 429 HTTP 429', '1 failure 429 HTTP 429', '1 success 204 -' ],
	'429, 429, 204: one attempt');
my @requests = $receiver->take;
cmp_ok($requests[1]{t} - $requests[0]{t}, '>=', 2, '... after 2 s');
cmp_ok($requests[2]{t} - $requests[1]{t}, '>=', 1, '... and 1 s');
is(value($node, 'SELECT failures FROM hooks.hook_health'), 0, '... which is no failure of the hook');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# All hooks of one Discord webhook share its limits, whoever they belong to.
discord_at('/sequence/429:retry-after=60:x-ratelimit-scope=user');
add_users($node, 2, 3);
add_discord(user => $_) for 1, 2;
add_discord(user => 3, config => { webhook_url => 'https://discord.com/api/webhooks/99/other' });
$event = send_message('x');
my $second = add_event($node, user => 2);
my $third = add_event($node, user => 3);
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state IN ('retry', 'host')}) == 3 },
	'all to wait');
is_deeply([ sort map { $_->{path} =~ m{webhooks/(\d+)} } $receiver->take ], [ 1234, 99 ],
	'one request per Discord webhook, until it takes more');
is(scalar logs($node, event => $second), 0, '... the other hook of the same webhook waits, with no attempt made');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# A webhook that is not there disables the hook.
for my $status (401, 404)
{
	discord_at("/status/$status");
	$hook = add_discord(config => { webhook_url => "https://discord.com/api/webhooks/$status/x" });
	$event = send_message('x');
	wait_until(sub { value($node, 'SELECT NOT enabled FROM stream_hooks') eq 't' }, 'the hook to be disabled');
	is_deeply(attempts($event), ["1 failure $status HTTP $status: Discord knows no such webhook"], "$status: one attempt");
	like(value($node, 'SELECT disabled_reason FROM hooks.hook_health'),
		qr/: HTTP $status: Discord knows no such webhook$/, '... and the hook is disabled, with the reason');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# Others fail, or are tried again.
discord_at('/sequence/502,204');
my $other = 'https://discord.com/api/webhooks/5678/x';
add_discord(config => { webhook_url => $other, retry_schedule => [0.2] });
$event = send_message('x');
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 2 }, 'the second attempt');
is_deeply(attempts($event), [ '1 failure 502 HTTP 502', '2 success 204 -' ], '502, 204: two attempts');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
discord_at('/status/400');
add_discord(config => { webhook_url => $other });
is_deeply(attempts(send_message('x')), ['1 failure 400 HTTP 400'], '400: one attempt');

finish($node);
done_testing();
