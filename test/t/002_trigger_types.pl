# Each of the seven trigger types fires its hooks, and only those; lifecycle
# events are announced by a call.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 2);

# Events as the application writes them, and what templates make of them.
my @types = (
	{
		type => 'donation',
		data => { donor_name => 'Ada', amount => '10.00', currency => 'EUR', message => undef, comment => 'hi' },
		rendered => 'Ada,hi,10.00,EUR,,kick,donation'
	},
	{
		type => 'follow',
		data => { username => 'bob', display_name => 'Bob' },
		rendered => 'bob,,,,,kick,follow'
	},
	{
		type => 'raid',
		data => { raider_name => 'cleo', viewer_count => '47', message => undef },
		rendered => 'cleo,,,,47,kick,raid'
	},
	{
		type => 'subscription',
		data => { username => 'dan', tier => '1', months => '3', message => 'again!' },
		rendered => 'dan,again!,,,,kick,subscription'
	},
	{
		type => 'stream_start',
		data => { livestream_id => '7f0e9c1a-0000-4000-8000-000000000000' },
		rendered => ',,,,,kick,stream_start'
	},
	{
		type => 'stream_end',
		data => { reason => 'over' },
		rendered => ',,,,,kick,stream_end'
	},
	{
		type => 'chat_message',
		data => {
			message => 'hello', username => 'eve', sender_channel_id => 'UC1', is_moderator => JSON::PP::false,
			is_patreon => JSON::PP::false, emotes => [], delivery_status => {}
		},
		rendered => 'eve,hello,,,,kick,chat_message'
	});
my $template = '{{username}},{{message}},{{amount}},{{currency}},{{viewer_count}},{{platform}},{{event_type}}';
my %hooks;

for my $user (1, 2)
{
	for my $type (map { $_->{type} } @types)
	{
		$hooks{$user}{$type} = add_hook(
			$node,
			user => $user,
			trigger => $type,
			config => { url => $receiver->url("/ok/$user/$type"), body_template => $template });
	}
}

# Rows.
for my $what (@types)
{
	my $type = $what->{type};
	my $event = add_event($node, type => $type, data => $what->{data}, platform => 'kick');

	wait_idle($node);
	my @requests = $receiver->take;
	my @logs = logs($node, event => $event);

	is(scalar @requests, 1, "$type fires one hook");
	is($requests[0]{path}, "/ok/1/$type", "$type fires the hook of its user and type");
	is($requests[0]{body}, $what->{rendered}, "$type: variables");
	is(scalar @logs, 1, "$type makes one log row");
	is_deeply(
		{ map { $_ => $logs[0]{$_} } qw(hook_id user_id trigger_type action_type status) },
		{
			hook_id => $hooks{1}{$type},
			user_id => user_uuid(1),
			trigger_type => $type,
			action_type => 'webhook',
			status => 'success'
		},
		"$type: the log row");
}

# Announcements.
for my $type (qw(stream_start stream_end raid))
{
	my $event = value($node,
		"SELECT hooks.trigger_lifecycle_event('" . user_uuid(2) . "', '$type', '{\"raider_name\": \"Zoe\"}')");

	wait_idle($node);
	my @requests = $receiver->take;

	is_deeply([ map { $_->{path} } @requests ], ["/ok/2/$type"], "announced $type fires");
	is($requests[0]{body}, "Zoe,,,,,,$type", "announced $type: variables come from the metadata");
	is_deeply(
		[ map { $_->{status} } logs($node, event => $event, hook => $hooks{2}{$type}) ],
		['success'], "the log names the event that the call for $type returned");
}

# Without metadata all is empty but the type.
value($node, "SELECT hooks.trigger_lifecycle_event('" . user_uuid(1) . "', 'stream_start')");
wait_idle($node);
is_deeply([ map { $_->{body} } $receiver->take ], [',,,,,,stream_start'], 'metadata may be left out');

# In the caller's transaction.
$node->safe_psql('postgres', 'BEGIN; '
	  . "SELECT hooks.trigger_lifecycle_event('" . user_uuid(1) . "', 'stream_end'); ROLLBACK");
wait_idle($node);
is_deeply([ $receiver->take ], [], 'an announcement that is rolled back does nothing');

# Only types that hooks can wait for.
my (undef, $stdout, $stderr) =
  $node->psql('postgres', "SELECT hooks.trigger_lifecycle_event('" . user_uuid(1) . "', 'stream_updated')");
like($stderr, qr/ERROR:  unknown event type "stream_updated"/, 'unknown types are refused');
like($stderr, qr/HINT: .*stream_start, stream_end/, '... with those that there are');

finish($node);
done_testing();
