# Chat messages that the application sends itself: it takes them from a table.

use strict;
use warnings;
use utf8;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Test;

my $node = hooks_node('main', 'hooks.chat' => 'outbox');

create_application($node);
add_users($node, 2, 3);
$node->safe_psql('postgres', q{CREATE ROLE sender LOGIN; GRANT EXECUTE ON FUNCTION hooks.chat_take(int4, interval), hooks.chat_done(uuid, jsonb) TO sender});

sub add_chat
{
	my (%hook) = @_;

	return add_hook($node, attempts => undef, action => 'chat_message', %hook,
		config => { message => 'Thanks, {{username}}!', %{ $hook{config} || {} } });
}

sub send_as
{
	my ($username, %event) = @_;

	return add_event($node, data => { username => $username }, %event);
}

# What the sender is given.
sub take
{
	my ($arguments) = @_;
	my $json = $node->safe_psql('postgres', sprintf(q{SET ROLE sender; SELECT coalesce(json_agg(t), '[]') FROM hooks.chat_take(%s) AS t}, $arguments // ''));

	return @{ JSON::PP->new->utf8(0)->decode($json) };
}

sub done
{
	my ($id, $results) = @_;

	return $node->safe_psql('postgres', sprintf('SET ROLE sender; SELECT hooks.chat_done(%s, %s)', literal($id), jsonb($results)));
}

sub refused
{
	my ($sql) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $sql);

	return $status ? $stderr : 'it is not refused';
}

sub outcomes
{
	my ($event) = @_;

	wait_idle($node);
	return [ map { join ' ', $_->{platform} // '-', $_->{attempt}, $_->{status}, $_->{error_message} // '-' }
		  logs($node, event => $event) ];
}

sub clear
{
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	wait_idle($node);
	$node->safe_psql('postgres', 'TRUNCATE hooks.chat_outbox');
	return;
}

# Taken, sent, reported.
my $hook = add_chat(cooldown => 600);
my $event = send_as("Ann\n/ban x");
wait_idle($node);
is_deeply(outcomes($event), [], 'a message in the outbox is neither a success nor a failure');
is(value($node, 'SELECT state FROM hooks.pending'), 'outbox', '... it is pending');
my ($message, @more) = take();
is(scalar @more, 0, 'one message is taken');
is($message->{message}, 'Thanks, Ann /ban x!', '... its text, a harmless line');
is($message->{user_id}, user_uuid(1), '... whose it is');
is($message->{platforms}, undef, '... to all that the user has connected');
is($message->{messages}, undef, '... the same everywhere');
is($message->{taken}, 1, '... for the first time');
is($message->{id}, value($node, 'SELECT delivery_id FROM hooks.pending'), '... with the id of the delivery');
is_deeply([ take() ], [], 'while it is leased nobody else gets it');
is(done($message->{id}, { twitch => 'delivered', kick => 'failed: no permission' }), 't', 'its end is reported');
is_deeply(outcomes($event), ['twitch 1 success kick: no permission'], '... and logged');
is(value($node, 'SELECT count(*) FROM hooks.pending') + value($node, 'SELECT count(*) FROM hooks.chat_outbox'), 0, '... nothing is left');
is(done($message->{id}, { twitch => 'delivered' }), 'f', 'nobody waits for another report');
is_deeply(outcomes(send_as('Bob')), ['- 1 skipped_cooldown -'], 'the cooldown was taken');
clear();

# Nobody took it: the cooldown is given back, and it can be sent again.
$hook = add_chat(cooldown => 600, config => { platforms => [ 'youtube', 'twitch' ], messages => { twitch => 'Hi {{username}}' } });
$event = send_as('x' x 300);
wait_idle($node);
($message) = take();
is_deeply($message->{platforms}, [ 'twitch', 'youtube' ], 'platforms that the hook names');
is_deeply($message->{messages}, { twitch => 'Hi ' . 'x' x 300, youtube => 'Thanks, ' . 'x' x 192 },
	'... and texts where they differ');
is(done($message->{id}, { twitch => 'failed: banned' }), 't', 'one that no platform took');
is_deeply(outcomes($event), ['- 1 failure twitch: banned'], '... is a failure');
is(value($node, 'SELECT last_triggered_at IS NULL FROM stream_hooks'), 't', '... and gives its cooldown back');
is(value($node, 'SELECT last_error FROM hooks.dead'), 'twitch: banned', '... it was given up');
$node->safe_psql('postgres', 'SELECT hooks.redeliver(delivery_id) FROM hooks.dead');
my @again;
wait_until(sub { @again = take() }, 'it to be in the outbox again');
is($again[0]{id}, $message->{id}, '... with the same id');
$node->safe_psql('postgres', 'SELECT hooks.replay(' . literal($event) . ')');
wait_idle($node);
is_deeply([ take() ], [], 'what the application has already is not given to it twice');
done($message->{id}, { twitch => 'delivered' });
is_deeply(outcomes($event)->[1], 'twitch 1 success -', '... and its end is logged');
clear();

# A lease that ends, a transaction that is rolled back.
add_chat();
$event = send_as('Ann');
wait_idle($node);
$node->safe_psql('postgres', q{BEGIN; SELECT hooks.chat_take(); ROLLBACK});
($message) = take(q{1, '1 second'});
is($message->{taken}, 1, 'what is rolled back was not taken');
wait_until(sub { @again = take(q{1, '1 hour'}) }, 'the lease to end');
is($again[0]{id}, $message->{id}, 'when a lease ends, somebody else gets the message');
is($again[0]{taken}, 2, '... and sees that it was taken before');
$node->safe_psql('postgres', sprintf(q{BEGIN; SELECT hooks.chat_done(%s, '{"twitch": "delivered"}'); ROLLBACK}, literal($message->{id})));
is_deeply(outcomes($event), [], 'a report that is rolled back is none');
is(done($message->{id}, { x => 'delivered' }), 't', '... and can be made again');
is_deeply(outcomes($event), ['x 1 success -'], '... platforms are the application\'s');

# Many, taken by several at once, each once.
$node->safe_psql('postgres', q{INSERT INTO stream_events (user_id, type, data)
	SELECT '00000000-0000-4000-8000-000000000001', 'follow', jsonb_build_object('username', n) FROM generate_series(1, 60) AS n});
wait_idle($node);
is(value($node, 'SELECT count(*) FROM hooks.chat_outbox'), 60, 'sixty messages are in the outbox');
my $one = $node->background_psql('postgres');
$one->query_safe('BEGIN');
my %taken = map { $_ => 1 } split /\n/, $one->query_safe('SELECT id FROM hooks.chat_take(25)');
my @others = take(100);
is(scalar(keys %taken), 25, 'one takes some of them');
is(scalar(@others), 35, '... another one the others, without waiting');
is(scalar(grep { $taken{ $_->{id} } } @others), 0, '... and none of them twice');
is_deeply([ map { $_->{message} =~ /(\d+)/ } @others ], [ 26 .. 60 ], '... oldest first');
$one->query_safe('COMMIT');
$one->quit;
$node->safe_psql('postgres', q{SELECT hooks.chat_done(id, '{"twitch": "delivered"}') FROM hooks.chat_outbox});
wait_idle($node);
is(value($node, q{SELECT count(*) FROM stream_hook_logs WHERE status = 'success' AND platform = 'twitch'}), 60, 'all are logged');
clear();

# Too old.
add_chat(config => { max_age_seconds => 2 });
$event = send_as('Ann');
wait_until(sub { @{ outcomes($event) } }, 'it to expire');
is_deeply(outcomes($event), ['- 1 failure expired after 2 s: nobody has taken it from hooks.chat_outbox'], 'what nobody takes expires');
is(value($node, 'SELECT state FROM hooks.hook_health'), 'well', '... which is not held against the hook');
$event = send_as('Ann');
wait_until(sub { ($message) = take() }, 'the next one');
wait_until(sub { @{ outcomes($event) } }, 'it to expire');
is_deeply(outcomes($event),
	['- 1 failure expired after 2 s: the application has taken it, and has not said what became of it'],
	'... and so does what was taken');
is(done($message->{id}, { twitch => 'delivered' }), 'f', '... of which nobody hears any more');
is(value($node, 'SELECT count(*) FROM hooks.chat_outbox'), 0, '... nothing is left');

# … while somebody has the outbox locked: nobody can tell whether it was taken.
my $pid = worker_pid($node);
my $locker = $node->background_psql('postgres', on_error_stop => 1);
$event = send_as('Ann');
wait_until(sub { value($node, 'SELECT count(*) FROM hooks.chat_outbox') == 1 }, 'a message');
$locker->query_safe('BEGIN; LOCK TABLE hooks.chat_outbox');
wait_until(sub { value($node, q{SELECT max(age) > interval '4 seconds' FROM (SELECT timezone('UTC', now()) - inserted_at AS age FROM stream_events WHERE id = '}
	. $event . q{') AS e}) eq 't' }, 'it to be too old');
$locker->query_safe('COMMIT');
$locker->quit;
wait_until(sub { @{ outcomes($event) } }, 'it to expire');
like(outcomes($event)->[0], qr/^- 1 failure expired after 2 s/, 'a locked outbox: what is there expires');
is(worker_pid($node), $pid, '... and the worker was there all the time');
clear();

# Cancelled; its hook disabled or deleted.
add_chat();
$event = send_as('Ann');
wait_idle($node);
($message) = take();
is(value($node, 'SELECT hooks.cancel(delivery_id) FROM hooks.pending'), 't', 'one can be cancelled');
is_deeply(outcomes($event), ['- 1 failure cancelled by hooks.cancel()'], '... which the log says');
is(done($message->{id}, { twitch => 'delivered' }), 'f', '... and the application is told that nobody waits for it');
$event = send_as('Ann');
wait_idle($node);
($message) = take();
$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = false');
is(done($message->{id}, { twitch => 'delivered' }), 't', 'one whose hook was disabled meanwhile is reported');
is_deeply(outcomes($event), ['twitch 1 success -'], '... and logged');
$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = true');
send_as('Ann');
wait_idle($node);
($message) = take();
clear();
is(done($message->{id}, { twitch => 'delivered' }), 'f', 'that of a deleted hook is forgotten');
wait_idle($node);

# One after another.
add_chat(config => { ordering => 'strict' });
send_as($_) for 1 .. 3;
wait_idle($node);
for my $n (1 .. 3)
{
	my @messages;

	wait_until(sub { @messages = take(10) }, "message $n");
	is_deeply([ map { $_->{message} } @messages ], ["Thanks, $n!"], 'a strict hook gives out one message at a time');
	done($messages[0]{id}, { twitch => $n == 2 ? 'failed' : 'delivered' });
}
clear();

# ... also one that was given out before a restart, and whose hook was disabled meanwhile.
add_chat(config => { ordering => 'strict', max_age_seconds => 3600 });
send_as('before');
wait_idle($node);
($message) = take();
$node->restart;
$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = false');
is(done($message->{id}, { twitch => 'delivered' }), 't', 'it is reported');
wait_idle($node);
$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = true');
send_as('after');
wait_until(sub { ($message) = take() }, 'the next message');
is($message->{message}, 'Thanks, after!', '... and holds up nobody any more');
clear();

# Locks of the application do not stop the worker.
add_chat();
send_as('Ann');
wait_idle($node);
($message) = take();
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe(sprintf(q{SELECT hooks.chat_done(%s, '{"twitch": "delivered"}')}, literal($message->{id})));
my $cancelled = value($node, 'SELECT hooks.cancel(delivery_id) FROM hooks.pending');
$event = send_as('Bob');
wait_until(sub { ($message) = take() }, 'another message while a report is not committed');
is($message->{message}, 'Thanks, Bob!', 'an open transaction holds nobody up');
$session->query_safe('COMMIT');
$session->quit;
done($message->{id}, { twitch => 'delivered' });
is_deeply(outcomes($event), ['twitch 1 success -'], '... nor what comes after');
is(value($node, 'SELECT count(*) FROM hooks.pending'), 0, '... and nothing is left');
clear();

# After a crash what was in the outbox is still there, leases too.
add_chat();
send_as($_) for 1 .. 5;
wait_idle($node);
take(2);
$node->stop('immediate');
$node->start;
is(scalar(my @left = take(10)), 3, 'after a crash the leases hold');
$node->safe_psql('postgres', q{SELECT hooks.chat_done(id, '{"twitch": "delivered"}') FROM hooks.chat_outbox});
wait_idle($node);
is(value($node, 'SELECT count(*) FROM hooks.pending'), 0, '... and every message can be reported');
is(value($node, q{SELECT count(*) FROM stream_hook_logs AS l JOIN stream_hooks AS h ON h.id = l.hook_id WHERE l.status = 'success'}), 5, '... each once');
clear();

# Who listens is notified, and nobody notifies when nobody listens.
add_chat();
my $listener = $node->background_psql('postgres');
my $before = value($node, 'SELECT txid_current()');
send_as('silent');
wait_idle($node);
take();
$listener->query_safe('LISTEN hooks_chat');
send_as('loud');
wait_idle($node);
# Notifications come with the next query's end.
my $output = '';
wait_until(
	sub {
		$output .= $listener->query('SELECT 1');
		$output =~ /notification "hooks_chat"/;
	},
	'a notification');
like($output, qr/Asynchronous notification "hooks_chat" received/, 'who listens is notified');
is(scalar(take(10)), 1, '... and finds the message');
$listener->quit;
clear();

# Nothing is given out while nothing is to be sent, nor by a copy.
add_chat();
send_as('Ann');
wait_idle($node);
configure($node, { 'hooks.enabled' => 'off' });
is_deeply([ take() ], [], 'while hooks.enabled is off nothing is given out');
configure($node, { 'hooks.enabled' => 'on' }, 'postgres');
$node->safe_psql('postgres', 'UPDATE hooks.installation SET system_identifier = 1');
is_deeply([ take() ], [], 'a copy of a database gives nothing out');
$node->safe_psql('postgres', 'SELECT hooks.adopt()');
is(scalar(my @adopted = take()), 1, '... before it is adopted');
$node->safe_psql('postgres', 'SELECT hooks.adopt(discard => true)');
is(value($node, 'SELECT count(*) FROM hooks.chat_outbox'), 0, '... which may throw away what is there');
clear();

# People look, and try.
$hook = add_chat();
is_deeply(
	[ rows($node, 'SELECT method, url, verdict, body::jsonb ->> \'message\' AS message FROM hooks.preview(' . literal($hook) . q{, '{"username": "Ann"}'::jsonb)}) ],
	[ { method => 'OUTBOX', url => undef, verdict => 'fires', message => 'Thanks, Ann!' } ],
	'a preview shows what is put there');
is_deeply([ rows($node, 'SELECT target, status, error_message FROM hooks.test(' . literal($hook) . ')') ],
	[ { target => undef, status => 'pending', error_message => 'in hooks.chat_outbox, for the application to take' } ],
	'a test is put there');
($message) = take();
is($message->{message}, '[Test] Thanks, Test viewer!', '... and can be taken');
ok($message->{test}, '... which says that it is one');
is(done($message->{id}, { twitch => 'delivered' }), 't', '... and reported');
is(value($node, 'SELECT count(*) FROM hooks.chat_outbox'), 0, '... which is the end of it');

# What makes no sense.
for (
	[ q{SELECT hooks.chat_take(0)}, qr/n must be between 1 and 1000/ ],
	[ q{SELECT hooks.chat_take(NULL)}, qr/n must be between 1 and 1000/ ],
	[ q{SELECT hooks.chat_take(1, '-1 s')}, qr/lease must be between one second and one hour/ ],
	[ q{SELECT hooks.chat_done(gen_random_uuid(), '[]')}, qr/report is not an object.*HINT:  For example/s ],
	[ q{SELECT hooks.chat_done(gen_random_uuid(), '{"twitch": true}')}, qr/report for "twitch" is not "delivered"/ ],
	[ q{SELECT hooks.chat_done(gen_random_uuid(), '{"Twitch": "delivered"}')}, qr/platform with the name "Twitch"/ ],
	[ q{SELECT hooks.chat_done(gen_random_uuid(), '{"twitch": "pending"}')}, qr/report for "twitch" is not final/ ])
{
	my ($sql, $error) = @$_;

	like(refused($sql), $error, "refused: $sql");
}
$node->safe_psql('postgres', 'CREATE ROLE somebody');
for ('SELECT hooks.chat_take()', q{SELECT hooks.chat_done(gen_random_uuid(), '{}')}, 'SELECT * FROM hooks.chat_outbox')
{
	like(refused("SET ROLE somebody; $_"), qr/permission denied/, "nobody may: $_");
}

finish($node);
done_testing();
