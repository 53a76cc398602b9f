# 20,000 events with one hook each: 20,000 requests, 20,000 rows of success,
# each delivery once.  The same when one endpoint in twenty takes 5 seconds:
# the others are not delayed.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $users = 100;
my $events = 20_000;
my $clients = 8;

my $node = hooks_node('main', shared_buffers => '128MB');
my $fast = Hooks::Receiver->start;
my $slow = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, $users);
$node->safe_psql(
	'postgres', q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	SELECT id, name, 'chat_message', 'webhook', } . jsonb({ url => $fast->url }) . ' FROM users');

sub insert_events
{
	my ($what) = @_;

	$node->pgbench(
		sprintf('-n -M prepared -c %d -j 2 -t %d', $clients, $events / $clients),
		0, [qr{processed: $events/$events}], [qr/^$/],
		"$events events by pgbench, $what",
		{
			"050_volume_$what" => qq{
\\set user random(1, $users)
INSERT INTO stream_events (type, data, user_id, platform) VALUES ('chat_message', '{"username": "viewer", "message": "hello", "sender_channel_id": "UC123", "is_moderator": false, "emotes": []}', ('00000000-0000-4000-8000-' || lpad((:user)::text, 12, '0'))::uuid, 'twitch');
}
		});
	return;
}

# Everything once, in the log and at the receivers.
sub everything_once
{
	my ($what, @tables) = @_;

	is_deeply(log_statuses($node), { success => $events }, "$what: $events rows of success");
	is( value(
			$node, q{SELECT count(*) FROM (SELECT id FROM stream_events
			EXCEPT SELECT stream_event_id FROM stream_hook_logs) AS missing}),
		0,
		"$what: every event has one");
	is( value(
			$node, 'SELECT count(*) || \' \' || count(DISTINCT id) FROM ('
			  . join(' UNION ALL ', map { "SELECT id FROM $_" } @tables) . ') AS r'),
		"$events $events",
		"$what: $events requests, each webhook-id once");
	return;
}

insert_events('all endpoints fast');
wait_idle($node);
load_requests($node, $fast, 'requests');
everything_once('all endpoints fast', 'requests');
is(value($node, 'SELECT events_queued = events_read AND unlogged = 0 AND failed = 0 FROM hooks.stat'),
	't', 'and the counters agree');

# One user in twenty has an endpoint, on another host, that takes 5 seconds.
$node->safe_psql(
	'postgres', 'TRUNCATE stream_events, stream_hook_logs; '
	  . 'UPDATE stream_hooks SET action_config = ' . jsonb({ url => $slow->url('/slow/5000') })
	  . " WHERE name IN (SELECT 'user ' || n FROM generate_series(20, $users, 20) AS n)");
truncate $fast->logfile, 0;
insert_events('some endpoints slow');
wait_until(
	sub {
		value($node, q{SELECT (SELECT count(*) FROM stream_hook_logs AS l JOIN stream_hooks AS h ON h.id = l.hook_id
			WHERE h.action_config ->> 'url' NOT LIKE '%slow%')
			= (SELECT count(*) FROM stream_events AS e JOIN stream_hooks AS h USING (user_id)
			WHERE h.action_config ->> 'url' NOT LIKE '%slow%')}) eq 't';
	},
	'the events whose endpoints are fast');
my $slow_done = value($node, q{SELECT count(*) FROM stream_hook_logs AS l JOIN stream_hooks AS h ON h.id = l.hook_id
	WHERE h.action_config ->> 'url' LIKE '%slow%'});
my $slow_events = value($node, q{SELECT count(*) FROM stream_events AS e JOIN stream_hooks AS h USING (user_id)
	WHERE h.action_config ->> 'url' LIKE '%slow%'});
cmp_ok($slow_events, '>', $events / 40, "$slow_events events have endpoints that are slow");
cmp_ok($slow_done, '<', $slow_events / 2, 'the others are through while most of these wait');

# The limits have done what they are for; now let these go, too.
configure(
	$node,
	{
		'hooks.max_in_flight' => 1024,
		'hooks.max_in_flight_per_user' => 1024,
		'hooks.max_in_flight_per_host' => 1024
	});
wait_idle($node);
load_requests($node, $fast, 'fast');
load_requests($node, $slow, 'slow');
everything_once('some endpoints slow', 'fast', 'slow');
is(value($node, 'SELECT (SELECT max(t) FROM fast) < (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY t) FROM slow)'),
	't', 'the last request to a fast endpoint was sent before half of those to slow ones');

finish($node);
done_testing();
