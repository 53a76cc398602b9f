# A publication FOR ALL TABLES includes the tables of schema hooks, and makes the
# server refuse to update and delete rows of those without a replica identity.
# Nothing of ours minds.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node(
	'main',
	streaming => 'logical', log_statement => 'none',
	'hooks.rotation_age' => '1s', 'hooks.chat' => 'outbox');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 4);
$node->safe_psql('postgres', q{
	CREATE PUBLICATION everything FOR ALL TABLES;
	SELECT pg_create_logical_replication_slot('everything', 'test_decoding')});

# What of ours may be changed at all; the queue is only appended to and emptied, and
# hooks.interest has no rows.
my @tables = map { $_->{relname} } rows($node,
	q{SELECT relname FROM pg_class WHERE relnamespace = 'hooks'::regnamespace AND relkind = 'r' AND relname !~ '^((queue|ack)_\d|interest)$' ORDER BY 1});
cmp_ok(scalar @tables, '>=', 8, 'there are tables in schema hooks');
for my $table (@tables)
{
	my ($ret, $out, $error) = $node->psql('postgres', "DELETE FROM hooks.$table WHERE false");
	is($error, '', "rows of hooks.$table can be deleted");
}

# The worker under load, with all that it updates and deletes.
my $well = add_hook($node, url => $receiver->url('/ok'), cooldown => 1);
my $failing = add_hook($node, user => 2, url => $receiver->url('/status/500'), attempts => 2, config => { retry_schedule => [1] });
my $paused = add_hook($node, user => 3, url => $receiver->url('/ok'));
my $chat = add_hook($node, user => 4, action => 'chat_message', config => { platforms => ['twitch'], message => 'thanks' });
my $rotations = stat($node, 'rotations');

is(value($node, "SELECT hooks.pause(hook => '$paused')"), 't', 'a hook is paused');
for (1 .. 10)
{
	$node->safe_psql('postgres', join ';', map { event_rows(20, user => $_) } 1 .. 4);
}
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.delivery WHERE why = 'paused'}) == 200 }, 'deliveries that wait');
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.dead}) == 200 }, 'deliveries that are given up', 170);
is(value($node, "SELECT hooks.resume(hook => '$paused')"), 't', '... and resumed');
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.delivery WHERE why IN ('paused', 'resumed')}) == 0 }, 'what was resumed');
wait_idle($node);
is(log_statuses($node, hook => $paused)->{success}, 200, '... and everything is delivered');

is(value($node, "SELECT count(*) FROM hooks.hook_health WHERE hook_id = '$failing' AND state = 'failing'"), 1, 'health is written');
$node->safe_psql('postgres', sprintf 'UPDATE stream_hooks SET action_config = %s WHERE id = %s',
	jsonb({ url => $receiver->url('/ok') }), literal($failing));
is(value($node, "SELECT hooks.redeliver('$failing', interval '1 hour')"), 200, 'what was given up is asked for again');
wait_until(sub { (log_statuses($node, hook => $failing)->{success} // 0) == 200 }, 'redelivered', 170);
wait_idle($node);
is(value($node, "SELECT count(*) FROM hooks.hook_health WHERE hook_id = '$failing' AND state = 'well'"), 1, '... and its health is good');

cmp_ok(value($node, 'SELECT count(*) FROM hooks.chat_take(5)'), '==', 5, 'chat messages are taken');
$node->safe_psql('postgres', q{SELECT hooks.cancel(delivery_id) FROM hooks.pending WHERE state = 'outbox'});
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'outbox'}) == 0 }, 'cancelled');
wait_idle($node);

$node->safe_psql('postgres', sprintf q{
	SELECT hooks.set_secret(%1$s, 'key', 'a');
	SELECT hooks.set_secret(%1$s, 'key', 'b');
	SELECT hooks.rotate_secrets();
	SELECT hooks.drop_secret(%1$s, 'key');
	SELECT hooks.pause(user_id => %1$s);
	SELECT hooks.resume(user_id => %1$s);
	SELECT hooks.adopt()}, literal(user_uuid(1)));
pass('sessions can do what they do');

# Retention, and what is kept of hooks that are gone.
$node->safe_psql('postgres', sprintf q{
	INSERT INTO stream_hook_logs (hook_id, user_id, trigger_type, action_type, status, executed_at, inserted_at)
	SELECT %1$s, %2$s, 'follow', 'webhook', 'success', now() - interval '40 days', now() - interval '40 days' FROM generate_series(1, 3000);
	SELECT hooks.pause(hook => %1$s);
	UPDATE hooks.delivery SET last_at = now() - interval '40 days' WHERE next_at IS NULL;
	DELETE FROM stream_hooks WHERE id = %3$s}, literal($well), literal(user_uuid(1)), literal($chat));
$node->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id = '$paused'");
$node->restart;
add_event($node, user => 2);
wait_until(sub { value($node, q{SELECT count(*) FROM stream_hook_logs WHERE inserted_at < now() - interval '30 days'}) == 0 }, 'old rows of the log to be deleted');
wait_idle($node);
wait_until(
	sub {
		$node->safe_psql('postgres', event_rows(1, user => 2));
		wait_idle($node);
		stat($node, 'rotations') > 0;
	},
	'the queue to be emptied');

# What is appended to the queue, and emptied, is in nobody's stream.
my $decoded = value($node, q{SELECT string_agg(DISTINCT substring(data FROM '^table (hooks\.[a-z_0-9]+):'), ' ') FROM
	pg_logical_slot_get_changes('everything', NULL, NULL) WHERE data LIKE 'table hooks.%'});
like($decoded, qr/hooks\.delivery/, 'what waits is in the stream');
unlike($decoded, qr/queue|ack/, '... but not the queue');

finish($node);
done_testing();
