# Cooldowns: taken in one step with the admission, given back when nothing was
# sent, settable by hand, not reset by editing.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.timeout' => '1s');
my $receiver = Hooks::Receiver->start;
my $refusing = Hooks::Receiver->start;
my $refusing_port = $refusing->port;
my ($hook, @requests);

$refusing->stop;
create_application($node);

# One event; returns what became of it.
sub fire
{
	my ($hook) = @_;
	my $event = add_event($node);

	wait_idle($node);
	return join ' ', map { $_->{status} } logs($node, hook => $hook, event => $event);
}

sub set_last
{
	my ($hook, $expression) = @_;

	$node->safe_psql('postgres',
		"UPDATE stream_hooks SET last_triggered_at = $expression WHERE id = '$hook'");
	return;
}

sub last_triggered
{
	my ($hook) = @_;
	return value($node, "SELECT last_triggered_at FROM stream_hooks WHERE id = '$hook'");
}

# 200 events in one commit.
$hook = add_hook($node, cooldown => 60, url => $receiver->url('/slow/50'));
$node->safe_psql('postgres', event_rows(200));
wait_idle($node);
@requests = $receiver->take;
is(scalar @requests, 1, '200 events in one commit are one request');
is_deeply(
	log_statuses($node, hook => $hook),
	{ success => 1, skipped_cooldown => 199 },
	'... and 199 are skipped for the cooldown');
is_deeply([ map { $_->{event_data}{n} } grep { $_->{status} eq 'success' } logs($node, hook => $hook) ],
	[1], 'the first of them is the one that fires');

# 200 commits from several sessions.
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
$hook = add_hook($node, cooldown => 60, url => $receiver->url('/slow/50'));
$node->pgbench('-n -c 4 -t 50', 0, [qr{200/200}], [qr{^$}],
	'200 commits of four sessions', { '011_cooldown' => event_rows(1) . ';' });
wait_idle($node);
@requests = $receiver->take;
is(scalar @requests, 1, '200 commits of four sessions are one request');
is_deeply(
	log_statuses($node, hook => $hook),
	{ success => 1, skipped_cooldown => 199 },
	'... and 199 skips');

# Setting last_triggered_at by hand counts.
set_last($hook, 'NULL');
is(fire($hook), 'success', 'cleared by hand: it fires');
is(fire($hook), 'skipped_cooldown', '... and cools down');
set_last($hook, q{now() - interval '61 seconds'});
is(fire($hook), 'success', 'set to an hour ago: it fires');
set_last($hook, q{now() - interval '30 seconds'});
is(fire($hook), 'skipped_cooldown', 'set to half a minute ago: it cools down');
set_last($hook, q{now() + interval '1 hour'});
is(fire($hook), 'skipped_cooldown', 'set to the future: it cools down');
is(last_triggered($hook) gt value($node, 'SELECT now()'), 1, '... and what was set stays');

# Editing does not reset.
set_last($hook, 'NULL');
is(fire($hook), 'success', 'it fires');
my $before = last_triggered($hook);
$node->safe_psql('postgres',
	"UPDATE stream_hooks SET name = 'another', action_config = action_config || '{\"method\": \"PUT\"}'");
is(fire($hook), 'skipped_cooldown', 'an edited hook goes on cooling down');
is(last_triggered($hook), $before, '... and keeps last_triggered_at');
$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = false');
fire($hook);
$node->safe_psql('postgres', 'UPDATE stream_hooks SET enabled = true');
is(fire($hook), 'skipped_cooldown', '... disabled and enabled, too');
$node->safe_psql('postgres', 'UPDATE stream_hooks SET cooldown_seconds = 0');
is(fire($hook), 'success', 'a shorter cooldown counts at once');
$node->safe_psql('postgres', 'UPDATE stream_hooks SET cooldown_seconds = 3600');
is(fire($hook), 'skipped_cooldown', 'a longer one, too');

# It outlives the worker.
$node->restart;
is(fire($hook), 'skipped_cooldown', 'the cooldown outlives a restart');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# A hook without a cooldown says when it fired, too.
$hook = add_hook($node, url => $receiver->url);
is(last_triggered($hook), '', 'a new hook never fired');
is(fire($hook), 'success', 'without a cooldown it fires');
is(fire($hook), 'success', '... again and again');
is( value(
		$node, qq{SELECT h.last_triggered_at BETWEEN max(l.executed_at) - interval '1 second' AND max(l.executed_at)
		FROM stream_hooks AS h JOIN stream_hook_logs AS l ON l.hook_id = h.id GROUP BY h.id}),
	't',
	'last_triggered_at is that of the last time');
is(value($node, 'SELECT updated_at = inserted_at FROM stream_hooks'), 't', 'firing does not count as an update');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# A hook with a cooldown that fires again as soon as it may: a second later,
# in whole seconds since last_triggered_at.
$hook = add_hook($node, cooldown => 1, url => $receiver->url);
is(fire($hook), 'success', 'a cooldown of one second: it fires');
wait_until(sub { value($node, 'SELECT now() >= last_triggered_at + interval \'1 second\' FROM stream_hooks') eq 't' },
	'a second to pass');
is(fire($hook), 'success', '... and fires again when it is over');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# A failure with nothing delivered gives the cooldown back, unless the hook
# says otherwise.
my %kept = (
	# nothing can have arrived
	"http://127.0.0.1:$refusing_port/" => 0,
	# it said no
	$receiver->url('/status/500') => 0,
	# it may have arrived
	$receiver->url('/hang') => 1,
	$receiver->url('/reset') => 1);

for my $url (sort keys %kept)
{
	(my $what = $url) =~ s/.*://;
	$what =~ s/^$refusing_port\b/refusing port/;
	$what =~ s/^\d+//;

	$hook = add_hook($node, cooldown => 60, url => $url);
	is(fire($hook), 'failure', "$what fails");
	if ($kept{$url})
	{
		isnt(last_triggered($hook), '', '... the cooldown is kept, because it may have arrived');
		is(fire($hook), 'skipped_cooldown', '... so the next event is skipped');
	}
	else
	{
		is(last_triggered($hook), '', '... the cooldown is given back');
		is(fire($hook), 'failure', '... so the next event is tried');
	}
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

	$hook = add_hook($node, cooldown => 60, url => $url, config => { cooldown_on_failure => 'keep' });
	is(fire($hook), 'failure', "$what fails, keep");
	isnt(last_triggered($hook), '', '... the cooldown is kept');
	is(fire($hook), 'skipped_cooldown', '... and the next event skipped');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

# Given back means as it was before.
$hook = add_hook($node, cooldown => 60, url => "http://127.0.0.1:$refusing_port/");
set_last($hook, q{'2020-02-02 02:02:02.5+00'});
is(fire($hook), 'failure', 'it fails');
is( value($node, q{SELECT last_triggered_at = '2020-02-02 02:02:02.5+00' FROM stream_hooks}),
	't', '... and last_triggered_at is what it was');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# A redirect and a mistake in the message are failures with nothing delivered.
$hook = add_hook($node, cooldown => 60, url => $receiver->url('/status/302?location=http://x.example/'));
is(fire($hook), 'failure', 'a redirect fails');
is(fire($hook), 'failure', '... and gives the cooldown back');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# A failure must not give back what a later admission has taken: while the
# first attempt waits for a TLS handshake, the cooldown is cleared by hand and
# taken by the second.
my $stalling = Hooks::Receiver->start(blackholes => 1);
configure($node, { 'hooks.timeout' => '30s', 'hooks.connect_timeout' => '3s' }, 'postgres');
$hook = add_hook($node, cooldown => 60, url => 'https://127.0.0.1:' . $stalling->blackhole_port . '/');
my $first = add_event($node);
wait_until(sub { last_triggered($hook) ne '' }, 'last_triggered_at of the first attempt');
is(stat($node, 'in_flight'), 1, 'last_triggered_at is written while the attempt is under way');
$node->safe_psql('postgres', 'UPDATE stream_hooks SET last_triggered_at = NULL, '
	  . 'action_config = ' . jsonb({ url => $receiver->url }));
my $second = add_event($node);
wait_until(sub { scalar logs($node, event => $second) }, 'the second attempt');
is((logs($node, event => $second))[0]{status}, 'success', 'cleared by hand: the second is sent');
is(scalar logs($node, event => $first), 0, '... while the first is under way');
wait_idle($node);
is((logs($node, event => $first))[0]{status}, 'failure', 'then the first fails');
is(fire($hook), 'skipped_cooldown', '... and does not give back what the second has taken');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# What is logged of skips.
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
my $cooling = add_hook($node, cooldown => 3600, url => $receiver->url, trigger => 'chat_message');
my $refused = add_hook($node, conditions => { contains => 'x' }, url => $receiver->url, trigger => 'chat_message');

sub chat
{
	add_event($node, type => 'chat_message', data => { username => 'u', message => 'm' });
	wait_idle($node);
	return;
}
chat();
for (
	[ all => 1, 1 ],
	[ cooldown => 1, 0 ],
	[ none => 0, 0 ])
{
	my ($setting, $cooldowns, $conditions) = @$_;

	configure($node, { 'hooks.log_skips' => $setting }, 'postgres');
	$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs');
	chat();
	is(log_statuses($node, hook => $cooling)->{skipped_cooldown} // 0,
		$cooldowns, "hooks.log_skips = $setting: skipped_cooldown");
	is(log_statuses($node, hook => $refused)->{skipped_condition} // 0,
		$conditions, "hooks.log_skips = $setting: skipped_condition");
}
is(stat($node, 'skipped_condition'), 4, 'skips are counted, logged or not');

finish($node);
done_testing();
