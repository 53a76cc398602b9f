# Messages into the chats of Twitch, Kick and YouTube, to stand-ins for them.

use strict;
use warnings;
use utf8;

use lib 'test/perl';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my $node = hooks_node(
	'main',
	'hooks.twitch_url' => $receiver->url('/chat/t'),
	'hooks.kick_url' => $receiver->url('/chat/k'),
	'hooks.youtube_url' => $receiver->url('/chat/y'));
my %accounts = (
	twitch => [ '111', '222', { client_id => 'abc' } ],
	kick => [ '333', '333', { type => 'bot' } ],
	youtube => [ 'UC444', 'UC555', { liveChatId => 'live1' } ]);

create_application($node);
add_users($node, 2, 2);

sub set_token
{
	my ($platform, $token, $user) = @_;

	$node->safe_psql('postgres',
		sprintf('SELECT hooks.set_secret(%s, %s, %s)', map { literal($_) } user_uuid($user || 1), "${platform}_token", $token));
	return;
}

sub connect_account
{
	my ($platform, $user) = @_;
	my ($channel, $sender, $extra) = @{ $accounts{$platform} };

	set_token($platform, "good-$platform", $user);
	$node->safe_psql('postgres',
		sprintf('INSERT INTO hooks.chat_accounts (user_id, platform, channel_id, sender_id, token, extra) '
			  . 'VALUES (%s, %s, %s, %s, %s, %s)',
			literal(user_uuid($user || 1)), literal($platform), literal($channel), literal($sender),
			literal("${platform}_token"), jsonb($extra)));
	return;
}

sub add_chat
{
	my (%hook) = @_;

	return add_hook(
		$node,
		attempts => undef,
		action => 'chat_message',
		%hook,
		config => { message => 'Thanks, {{username}}!', %{ $hook{config} || {} } });
}

# What the log says of an event, by platform.
sub outcomes
{
	my ($event) = @_;

	return [ sort map { join ' ', $_->{platform} // '-', $_->{attempt}, $_->{status}, $_->{error_message} // '-' }
		  logs($node, event => $event) ];
}

sub wait_outcomes
{
	my ($event, $n) = @_;

	wait_until(sub { scalar(my @rows = logs($node, event => $event)) >= $n }, "$n rows of the log");
	return outcomes($event);
}

sub send_as
{
	my ($username, %event) = @_;

	return add_event($node, data => { username => $username }, %event);
}

# The messages that have come in, by platform.
sub arrived
{
	my %messages;

	foreach my $request ($receiver->take)
	{
		my $body = JSON::PP->new->utf8(0)->decode($request->{body});
		my ($platform) = $request->{path} =~ m{^/chat/(\w)/};

		push @{ $messages{$platform} },
		  $body->{message} // $body->{content} // $body->{snippet}{textMessageDetails}{messageText};
	}
	return \%messages;
}

sub clear
{
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks; DELETE FROM hooks.chat_accounts');
	wait_idle($node);
	$receiver->take;
	return;
}

# Nobody is connected.
add_chat();
my $event = send_as('Ann');
is_deeply(wait_outcomes($event, 1), ['- 1 failure no account connected'], 'without an account it is a failure that says so');
clear();
connect_account('twitch');
add_chat(config => { platforms => [ 'kick', 'youtube' ] });
is_deeply(wait_outcomes(send_as('Ann'), 1), ['- 1 failure no account connected for kick, youtube'],
	'... so it is without one of those wanted');
clear();

# What arrives, and where.
connect_account($_) for sort keys %accounts;
my $hook = add_chat(config => { messages => { youtube => 'Danke, {{username}}' } });
$event = send_as('Ann');
is_deeply(
	wait_outcomes($event, 3),
	[ 'kick 1 success -', 'twitch 1 success -', 'youtube 1 success -' ],
	'a message to all platforms, a row of the log for each');
my %by = map { substr($_->{path}, 6, 1) => $_ } $receiver->take;
is($by{t}{path}, '/chat/t/helix/chat/messages', 'Twitch: the path');
is($by{t}{headers}{authorization}, 'Bearer good-twitch', '... the token');
is($by{t}{headers}{'client-id'}, 'abc', '... the client');
is_deeply(JSON::PP::decode_json($by{t}{body}), { broadcaster_id => '111', sender_id => '222', message => 'Thanks, Ann!' },
	'... the body');
is_deeply(JSON::PP::decode_json($by{k}{body}), { broadcaster_user_id => 333, content => 'Thanks, Ann!', type => 'bot' },
	'Kick: the body');
is_deeply(
	JSON::PP::decode_json($by{y}{body}),
	{ snippet => { liveChatId => 'live1', type => 'textMessageEvent', textMessageDetails => { messageText => 'Danke, Ann' } } },
	'YouTube: the body, with a text of its own');
is($by{y}{path}, '/chat/y/youtube/v3/liveChat/messages?part=snippet', '... and the path');
is(value($node, 'SELECT count(*) FROM hooks.pending'), 0, 'nothing is left');

# Texts that viewers choose.
$node->safe_psql('postgres', q{UPDATE stream_hooks SET action_config = '{"message": "{{username}}", "platforms": ["twitch"]}'});
for (
	[ '/ban x' => 'ban x' ],
	[ "\x{200B}/ban x" => 'ban x' ],
	[ " \n\t/ ./!\\ban x" => 'ban x' ],
	[ "\x{202E}.timeout x" => 'timeout x' ],
	[ "\x{0301}/ban x" => 'ban x' ],
	[ "\x{3164}/ban x" => 'ban x' ],
	[ "a\r\n/ban x" => 'a /ban x' ],
	[ "a\x{2028}\x{0085}b\x{0007}c" => 'a bc' ],
	[ '"},"x":{"' => '"},"x":{"' ],
	[ '👋' x 600 => '👋' x 500 ])
{
	my ($name, $message) = @$_;

	is_deeply(wait_outcomes(send_as($name), 1), ['twitch 1 success -'], 'a hostile text is sent');
	is_deeply(arrived(), { t => [$message] }, '... as a harmless line');
}
is_deeply(wait_outcomes(send_as(" /\x{200B}. "), 1), ['twitch 1 failure twitch: message would be empty'], 'nothing is not sent');
$node->safe_psql('postgres', q{UPDATE stream_hooks SET action_config = '{"message": "!bot {{username}}", "platforms": ["youtube"]}'});
is_deeply(wait_outcomes(send_as('x' x 600), 1), ['youtube 1 success -'], 'the hook itself may begin with "!"');
is_deeply(arrived(), { y => [ '!bot ' . 'x' x 195 ] }, '... and YouTube gets no more than it takes');
for my $message ('/ban {{username}}', ' . {{username}}', "\x{200B}/me x")
{
	my ($status, undef, $stderr) =
	  $node->psql('postgres', 'UPDATE stream_hooks SET action_config = ' . jsonb({ message => $message }));

	isnt($status, 0, 'a command is refused when it is written');
	like($stderr, qr{begins with "/" or "\."}, '... with the reason');
}

# What the services say.
$node->safe_psql('postgres', q{UPDATE stream_hooks SET action_config = '{"message": "{{username}}"}', cooldown_seconds = 600, last_triggered_at = NULL});
is_deeply(
	wait_outcomes(send_as('DROP QUOTA'), 3),
	[
		'kick 1 failure kick: message was dropped',
		'twitch 1 failure twitch: message was dropped: held by AutoMod',
		'youtube 1 failure youtube: HTTP 403: quotaExceeded'
	],
	'200 with is_sent false is a failure with its reason, and so is a quota');
is(value($node, 'SELECT last_triggered_at IS NULL FROM stream_hooks'), 't', '... none took it: the cooldown is given back');
is_deeply(
	wait_outcomes(send_as('DROP'), 3),
	[
		'kick 1 failure kick: message was dropped',
		'twitch 1 failure twitch: message was dropped: held by AutoMod',
		'youtube 1 success -'
	],
	'one platform takes it');
wait_idle($node);
is(value($node, 'SELECT last_triggered_at IS NOT NULL FROM stream_hooks'), 't', '... the cooldown is kept');
is_deeply(wait_outcomes(send_as('Ann'), 1), ['- 1 skipped_cooldown -'], '... as the next event shows');
$node->safe_psql('postgres', q{UPDATE stream_hooks SET action_config = action_config || '{"platforms": ["youtube"]}', cooldown_seconds = 0});
is_deeply(
	wait_outcomes(send_as('RATE'), 2),
	[ 'youtube 1 failure youtube: HTTP 403: rateLimitExceeded', 'youtube 2 failure youtube: HTTP 403: rateLimitExceeded' ],
	'a limit of rate is tried again');
clear();

# A stale token waits for the account's update.
connect_account($_) for 'twitch', 'kick';
set_token('twitch', 'stale1');
$hook = add_chat(config => { platforms => [ 'twitch', 'kick' ] });
$event = send_as('Ann');
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'account' AND target = 'twitch'}) == 1 },
	'the delivery to wait for the account');
my $second = send_as('Bob');
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'account'}) == 2 }, 'another one');
is((grep { $_->{path} =~ m{^/chat/t/} } $receiver->take), 1, 'a stale token is tried once');
is(value($node, 'SELECT state FROM hooks.hook_health'), 'well', '... which is no failure of the hook');
set_token('twitch', 'good-again');
is_deeply(
	wait_outcomes($event, 3),
	[
		'kick 1 success -',
		q{twitch 1 failure twitch: HTTP 401: token is stale, waits for the account's update},
		'twitch 1 success -'
	],
	'... the message goes out when the token is renewed');
is_deeply(wait_outcomes($second, 2), [ 'kick 1 success -', 'twitch 1 success -' ], '... and so does the other one');
is_deeply([ map { $_->{headers}{authorization} } grep { $_->{path} =~ m{^/chat/t/} } $receiver->take ],
	[ ('Bearer good-again') x 2 ], '... with the new token');
set_token('twitch', 'stale2');
$node->safe_psql('postgres', q{UPDATE stream_hooks SET action_config = action_config || '{"max_age_seconds": 3}'});
$event = send_as('Cid');
is_deeply(
	wait_outcomes($event, 3),
	[
		'kick 1 success -',
		q{twitch 1 failure twitch: HTTP 401: token is stale, waits for the account's update},
		'twitch 1 failure twitch: expired after 3 s: token is stale, and nobody has renewed it'
	],
	'... and fails when nobody renews it in time');
is(value($node, 'SELECT state FROM hooks.hook_health'), 'well', '... which is no failure of the hook either');

# One that was given up is sent again to where it failed.
set_token('twitch', 'good-3');
$receiver->take;
$node->safe_psql('postgres', 'SELECT hooks.redeliver(delivery_id) FROM hooks.dead');
wait_until(sub { value($node, 'SELECT count(*) FROM hooks.dead') == 0 }, 'the delivery to be made again');
is_deeply(arrived(), { t => ['Thanks, Cid!'] }, 'redeliver() sends to the platform where it failed, no other');
clear();

# Limits of an account.
connect_account('twitch');
set_token('twitch', 'limited');
add_chat();
my @events = map { send_as("viewer $_") } 1 .. 6;
wait_outcomes($_, 1) for @events;
wait_idle($node);
is(scalar(grep { $_->{response_status} == 429 } map { logs($node, event => $_) } @events), 0,
	'what Twitch says of its limits is kept to');
clear();

# A hook does not answer itself.
connect_account('twitch');
$hook = add_chat(trigger => 'chat_message', config => { message => 'Hello {{username}}' });
for (
	[ { sender_channel_id => '222' }, 'of the account' ],
	[ { sender_channel_id => '111' }, 'of the channel' ],
	[ { is_sent_by_streamer => JSON::PP::true }, 'of the streamer' ],
	[ { sender_channel_id => '9', source_broadcaster_user_id => '77' }, 'of a chat that is shared' ])
{
	my ($data, $of) = @$_;

	$event = add_event($node, type => 'chat_message', platform => 'twitch', data => { message => 'x', username => 'y', %$data });
	is_deeply(wait_outcomes($event, 1), ['- 1 skipped_condition -'], "a message $of fires nothing");
}
$event = add_event(
	$node,
	type => 'chat_message',
	platform => 'twitch',
	data => { message => 'x', username => 'y', sender_channel_id => '9', source_broadcaster_user_id => '111' });
is_deeply(wait_outcomes($event, 1), ['twitch 1 success -'], 'a viewer\'s does');
$node->safe_psql('postgres', q{UPDATE stream_hooks SET conditions = '{"ignore_self": false}'});
$event = add_event($node, type => 'chat_message', platform => 'twitch', data => { username => 'y', sender_channel_id => '222' });
is_deeply(wait_outcomes($event, 1), ['twitch 1 success -'], 'hooks may ask for their own');
clear();

# A crash while messages to several platforms are under way.
connect_account($_) for sort keys %accounts;
configure($node, { 'hooks.kick_url' => $receiver->url('/hang') }, 'postgres');
add_chat(cooldown => 600);
$event = send_as('Ann');
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 2 }, 'two of three to be done');
configure($node, { 'hooks.kick_url' => $receiver->url('/chat/k') });
kill 'KILL', worker_pid($node);
$node->poll_query_until('postgres', 'SELECT true');
wait_for_worker($node);
is_deeply(
	wait_outcomes($event, 3),
	[ 'kick 1 success -', 'twitch 1 success -', 'youtube 1 success -' ],
	'after a crash only what was under way is sent again, whatever the cooldown');

# What goes into the tables is looked at.
for (
	[ q{'vimeo', '1', '2', 't', '{}'}, 'platform_is_known' ],
	[ q{'twitch', '1', NULL, 't', '{"client_id": "x"}'}, 'twitch_has_sender_and_client_id' ],
	[ q{'twitch', '1', '2', 't', '{}'}, 'twitch_has_sender_and_client_id' ],
	[ q{'kick', 'x', '2', 't', '{}'}, 'kick_has_numeric_channel_and_type' ],
	[ q{'kick', '1', '2', 't', '{"type": "god"}'}, 'kick_has_numeric_channel_and_type' ],
	[ q{'kick', '1', '2', 'a b', '{}'}, 'token_is_the_name_of_a_secret' ])
{
	my ($values, $constraint) = @$_;
	my (undef, undef, $stderr) = $node->psql('postgres',
		q{INSERT INTO hooks.chat_accounts (user_id, platform, channel_id, sender_id, token, extra) VALUES ('}
		  . user_uuid(9) . "', $values)");

	like($stderr, qr/"$constraint"/, "$constraint is checked");
}
$node->safe_psql('postgres', q{CREATE ROLE somebody});
for ('SELECT * FROM hooks.secret', 'SELECT * FROM hooks.chat_accounts', q{SELECT hooks.set_secret(NULL, 'a', 'b')})
{
	my (undef, undef, $stderr) = $node->psql('postgres', "SET ROLE somebody; $_");

	like($stderr, qr/permission denied/, "nobody may: $_");
}
my (undef, undef, $stderr) = $node->psql('postgres', q{SELECT hooks.set_secret(} . literal(user_uuid(1)) . q{, 'x', E'a\r\nb: c')});
like($stderr, qr/value of secret "x" is not valid/, 'a token holds no line');
unlike($stderr, qr/b: c.*ERROR/s, '... and is not repeated');

# While somebody has the accounts locked, nothing of a hook that has changed is
# known by halves: one that is paused stays so, and no account is missing.
clear();
connect_account('kick');
add_chat();
my $paused = add_hook($node, url => $receiver->url('/ok/paused'));
$node->safe_psql('postgres', "SELECT hooks.pause(hook => '$paused')");
wait_outcomes(send_as('Ann'), 1);
my $locker = $node->background_psql('postgres', on_error_stop => 1);
my $waits = q{SELECT count(*) FROM pg_locks WHERE relation = 'hooks.chat_accounts'::regclass AND NOT granted};
$locker->query_safe('BEGIN; LOCK TABLE hooks.chat_accounts');
$node->safe_psql('postgres', q{UPDATE stream_hooks SET name = name || ', edited'});
my $while_locked = send_as('Bob');
wait_until(sub { value($node, $waits) == 1 }, 'the worker to wait for the lock');
wait_until(sub { value($node, $waits) == 0 }, 'the worker to wait no longer');
wait_until(sub { value($node, $waits) == 1 || @{ outcomes($while_locked) } }, 'the worker to try again');
$locker->query_safe('COMMIT');
$locker->quit;
is_deeply(wait_outcomes($while_locked, 1), ['kick 1 success -'], 'accounts that were locked: the message is written');
wait_idle($node);
is(scalar(grep { $_->{path} eq '/ok/paused' } $receiver->requests), 0, '... and a hook that is paused is not performed');
is(value($node, "SELECT count(*) FROM hooks.pending WHERE hook_id = '$paused' AND state = 'paused'"), 2, '... but waits');

# What Twitch allows a writer, which it does not tell before it is too much.
clear();
connect_account('twitch');
$node->safe_psql('postgres', q{UPDATE hooks.chat_accounts SET sender_id = channel_id});
add_chat();
$node->safe_psql('postgres', event_rows(25));
wait_idle($node);
is(scalar(@{ arrived()->{t} }), 25, 'in its own channel an account writes more');
clear();
connect_account('twitch', 2);
add_chat(user => 2);
$node->safe_psql('postgres', event_rows(25, user => 2));
wait_until(
	sub {
		value($node, q{SELECT (SELECT count(*) FROM stream_hook_logs WHERE platform = 'twitch') = 20 AND }
			  . q{(SELECT count(*) FROM hooks.pending) = 5}) eq 't';
	},
	'five to wait');
is(scalar(@{ arrived()->{t} }), 20, '... than twenty messages in thirty seconds, as in somebody else\'s');

finish($node, qr/terminated by signal 9|terminating|server process|background worker/);
done_testing();
