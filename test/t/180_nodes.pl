# A hub and two nodes: the hub's events go to the nodes while the application
# goes on, each to one of them; what is stored already fires nothing; nodes are
# restarted under load; edits, cooldowns, secrets and hooks that are disabled.

use strict;
use warnings;

use Test::More;

use Hooks::Cluster;
use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $users = 6;
my $cluster = Hooks::Cluster->new;
my $hub = $cluster->hub;
my $receiver = Hooks::Receiver->start;
my $edits = Hooks::Receiver->start;

# Events that were delivered before there were nodes.
add_users($hub, 2, 100);
$cluster->add_producer_hook($receiver, $_) for 1 .. $users;
$hub->safe_psql('postgres', event_rows(5, user => $_, type => 'donation') =~ s/'username', 'viewer', 'n', n/'donor_name', 'producer $_', 'amount', n::text/r)
  for 1 .. $users;
wait_idle($hub);
is(scalar($receiver->requests), 5 * $users, 'the hub delivers while there are no nodes');

# Nodes come while the application goes on.
my @producers = map { Hooks::Producer->start($hub, user => $_, rate => 100) } 1 .. $users;
$cluster->add_node for 0 .. 1;
$cluster->give($_, $_, 2) for 0 .. 1;
my $delivered = stat($hub, 'succeeded');
wait_until(sub { stat($hub, 'succeeded') > $delivered + 100 }, 'the hub to deliver');
is(value($cluster->node($_), 'SELECT count(*) FROM stream_events'), 0, "node $_ has no events yet") for 0 .. 1;
is(
	value($cluster->node(0), 'SELECT count(*) FROM stream_hooks') + value($cluster->node(1), 'SELECT count(*) FROM stream_hooks'),
	$users, '... and the two have all hooks');

$cluster->deliver(2);
wait_idle($hub);
$delivered = stat($hub, 'deliveries_started');
for my $n (0 .. 1)
{
	wait_until(sub { stat($cluster->node($n), 'succeeded') > 200 }, "node $n to deliver");
	cmp_ok(stat($cluster->node($n), 'succeeded'), '>', 200, "node $n delivers");
}
is(stat($hub, 'deliveries_started'), $delivered, 'the hub no longer does');

# Restarts under load: in order, and not.
for my $how ('fast', 'immediate')
{
	my $node = $cluster->node($how eq 'fast' ? 0 : 1);

	$node->stop($how);
	$node->start;
	wait_until(sub { stat($node, 'succeeded') > 200 }, 'the node to deliver again');
	pass("a node goes on after a restart, $how");
}

# Edits on the hub; of users who have no producer.
my ($user) = grep { $_ > $users } $cluster->users_of(0, 2, 20);
my $node = $cluster->node(0);
my $patient = $edits->url('/ok/patient');
my $quick = value(
	$hub, sprintf q{WITH hook AS (INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config, cooldown_seconds)
		VALUES (%1$s, 'new', 'follow', 'webhook', '{"url": "%2$s", "max_attempts": 1}', 600) RETURNING id),
	event AS (INSERT INTO stream_events (type, user_id, data) VALUES ('follow', %1$s, '{}'))
	SELECT id FROM hook}, literal(user_uuid($user)), $edits->url('/ok/quick'));
wait_until(sub { logs($hub, hook => $quick) }, 'the new hook');
is_deeply([ map { $_->{status} } logs($hub, hook => $quick) ], ['success'], 'a hook and its event in one transaction');

$hub->safe_psql('postgres', "UPDATE stream_hooks SET name = 'edited' WHERE id = '$quick'");
add_event($hub, user => $user);
wait_until(sub { my @logs = logs($hub, hook => $quick); @logs == 2 }, 'the second event');
is(log_statuses($hub, hook => $quick)->{skipped_cooldown}, 1, 'an edit on the hub does not end the cooldown on the node');
is(value($node, "SELECT name FROM stream_hooks WHERE id = '$quick'"), 'edited', '... and arrives');

# What a node disables.
my $gone = add_hook($hub, user => $user, trigger => 'raid', url => $edits->url('/status/410'));
add_event($hub, user => $user, type => 'raid', data => { raider_name => 'x', viewer_count => '5' });
wait_until(sub { value($hub, "SELECT enabled FROM stream_hooks WHERE id = '$gone'") eq 'f' }, 'the hub to know');
like(value($hub, "SELECT state || ': ' || disabled_reason FROM hooks.hook_health WHERE hook_id = '$gone'"),
	qr/^disabled: .*410/, 'a hook that a node disables is disabled on the hub, which knows why');
$cluster->wait_applied(0);
is(value($node, "SELECT enabled FROM stream_hooks WHERE id = '$gone'"), 'f', '... and still is on the node');
$hub->safe_psql('postgres', "UPDATE stream_hooks SET enabled = true, action_config = jsonb_set(action_config, '{url}', '\"$patient\"') WHERE id = '$gone'");
add_event($hub, user => $user, type => 'raid', data => { raider_name => 'x', viewer_count => '5' });
wait_until(sub { (log_statuses($hub, hook => $gone)->{success} || 0) == 1 }, 'the hook to work again');
pass('enabled again on the hub, it works');
wait_until(sub { value($hub, "SELECT state FROM hooks.hook_health WHERE hook_id = '$gone'") eq 'well' }, 'its health');

# Secrets reach the node with the hooks.
$hub->safe_psql('postgres', q{
	CREATE PUBLICATION hooks_share_0_secrets FOR TABLE hooks.secret
		WHERE (((uuid_hash(user_id) & 2147483647) % 2) = 0), hooks.chat_accounts
		WHERE (((uuid_hash(user_id) & 2147483647) % 2) = 0)});
$hub->safe_psql('postgres', sprintf q{SELECT hooks.set_secret(%s, 'key', 'first')}, literal(user_uuid($user)));
$node->safe_psql('postgres', sprintf q{SELECT hooks.set_secret(%s, 'key', 'old')}, literal(user_uuid($user)));
$node->safe_psql('postgres', 'ALTER SUBSCRIPTION hooks_share_0 ADD PUBLICATION hooks_share_0_secrets');
$cluster->wait_for_copy($node);
my $secretive = add_hook($hub, user => $user, trigger => 'subscription', url => $edits->url('/ok/secret'),
	config => { headers => { 'X-Key' => '{{secret.key}}' } });
for my $value ('first', 'second')
{
	$hub->safe_psql('postgres', sprintf q{SELECT hooks.set_secret(%s, 'key', %s)}, literal(user_uuid($user)), literal($value));
	my $event = add_event($hub, user => $user, type => 'subscription');
	wait_until(sub { logs($hub, event => $event) }, 'the secret event');
	my ($request) = grep { $_->{path} eq '/ok/secret' } reverse $edits->requests;
	is($request->{headers}{'X-Key'} // $request->{headers}{'x-key'}, $value, "the node has the secret, $value");
}

# A hook that is deleted while its events are under way leaves no log row behind.
my $slow = add_hook($hub, user => $user, trigger => 'chat_message', url => $edits->url('/slow/1000'));
my $late = add_event($hub, user => $user, type => 'chat_message', data => { username => 'x', message => 'y' });
wait_until(sub { grep { $_->{path} =~ /slow/ } $edits->requests }, 'the slow request');
$node->safe_psql('postgres', 'ALTER SUBSCRIPTION hooks_share_0 DISABLE');
$hub->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id = '$slow'");
wait_until(sub { logs($node, event => $late) }, 'its end');
$node->safe_psql('postgres', 'ALTER SUBSCRIPTION hooks_share_0 ENABLE');

$_->stop for @producers;
$cluster->wait_applied(0, 1);
$cluster->wait_delivered(0, 1);
is(scalar(logs($hub, event => $late)), 0, 'no log row of a hook that is gone');
is(value($hub, 'SELECT count(*) FROM stream_hook_logs AS l WHERE NOT EXISTS (SELECT FROM stream_hooks AS h WHERE h.id = l.hook_id)'),
	0, '... of none');

is(value($cluster->node(0), 'SELECT count(*) FROM stream_hook_logs WHERE NOT ((uuid_hash(user_id) & 2147483647) % 2 = 0)'),
	0, 'a node has logged nothing of other users');
my $repeats = $cluster->check($receiver, \@producers);
cmp_ok($repeats, '<=', 2 * (64 + 256), 'repeats are what was under way at the restarts');

finish($_) for $cluster->node(0), $cluster->node(1), $hub;
done_testing();
