# What people see of us: hooks.workers, hooks.latency, hooks.hook_stats,
# pg_stat_activity.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.idle_timeout' => '2s', 'hooks.max_hook_stats' => 100, 'hooks.log_skips' => 'none');
my $receiver = Hooks::Receiver->start;
my %waiting_event = value($node, 'SHOW server_version_num') >= 170000
  ? (launcher => 'HooksLauncher', worker => 'HooksWorker')
  : (launcher => 'Extension', worker => 'Extension');

create_application($node);
add_users($node, 2, 3);

sub stats
{
	my ($hook) = @_;

	return (rows($node, 'SELECT * FROM hooks.hook_stats WHERE hook_id = ' . literal($hook)))[0];
}

sub counts
{
	my ($stats) = @_;

	return join ' ', map { "$_=$stats->{$_}" } qw(succeeded failed skipped_condition skipped_cooldown requests);
}

sub worker_row
{
	return (rows($node, q{SELECT * FROM hooks.workers WHERE database = 'postgres'}))[0];
}

# Per hook.

my $hook = add_hook(
	$node,
	trigger => 'raid',
	name => 'raids',
	url => $receiver->url('/slow/50'),
	conditions => { min_viewers => 10 });
my $cooling = add_hook($node, user => 2, trigger => 'raid', url => $receiver->url('/status/500'), cooldown => 3600);
my $nobody = add_hook($node, user => 3, url => $receiver->url('/ok'));

is(counts(stats($hook)), 'succeeded=0 failed=0 skipped_condition=0 skipped_cooldown=0 requests=0', 'nothing has happened');
is_deeply([ @{ stats($hook) }{qw(mean_ms last_at since)} ], [ undef, undef, undef ], '... at no time');
add_event($node, type => 'raid', data => { viewer_count => $_ }) for 5, 10, 20;
add_event($node, user => 2, type => 'raid', data => { viewer_count => 1 });
wait_idle($node);
is(counts(stats($hook)), 'succeeded=2 failed=0 skipped_condition=1 skipped_cooldown=0 requests=2', 'what became of each event');
cmp_ok(stats($hook)->{mean_ms}, '>=', 50, 'how long requests took');
is(stats($hook)->{name}, 'raids', 'it has the name of the hook');
is(counts(stats($cooling)), 'succeeded=0 failed=1 skipped_condition=0 skipped_cooldown=0 requests=1', 'a failure');
is( value($node, 'SELECT count(*) FROM hooks.hook_stats WHERE last_at >= since AND last_at <= now()'),
	2,
	'when counting began, and something was counted last');
is(counts(stats($nobody)), 'succeeded=0 failed=0 skipped_condition=0 skipped_cooldown=0 requests=0', 'others are not counted');

# Hooks that a reader may not see are not there.
$node->safe_psql(
	'postgres', q{
	CREATE ROLE tenant LOGIN;
	ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON stream_hooks TO tenant USING (user_id = current_setting('app.user_id')::uuid);
	GRANT SELECT ON stream_hooks TO tenant;
	GRANT SELECT ON hooks.hook_stats TO tenant});
for my $from ('hooks.hook_stats', 'hooks.hook_stats_rows()')
{
	is( value($node, sprintf q{SET ROLE tenant; SET app.user_id = %s; SELECT string_agg(hook_id::text, ' ') FROM %s},
			literal(user_uuid(1)), $from),
		$hook,
		"$from: one's own hooks only");
}
my ($ret, $stdout, $stderr) = $node->psql('postgres', 'SET ROLE tenant; SELECT * FROM hooks.workers');
like($stderr, qr/permission denied for view workers/, 'hooks.workers is for the administrator');
is(value($node, 'SET ROLE pg_monitor; SELECT count(*) FROM hooks.workers'), 1, '... and for pg_monitor');
is(value($node, 'SET ROLE pg_monitor; SELECT count(DISTINCT measure) FROM hooks.latency'), 2, '... as hooks.latency is');

# More hooks than there is room for: those that were not heard of for long go.
$node->safe_psql(
	'postgres', sprintf q{
	INSERT INTO stream_hooks (user_id, name, enabled, trigger_type, action_type, action_config, conditions)
	SELECT %s, n::text, true, 'donation', 'webhook', %s, '{"min_amount": 1000}' FROM generate_series(1, 150) AS n},
	literal(user_uuid(3)), literal(sprintf '{"url": "%s"}', $receiver->url('/ok')));
add_event($node, user => 3, type => 'donation', data => { amount => 1 });
wait_idle($node);
my $known = value($node, 'SELECT count(*) FROM hooks.hook_stats WHERE since IS NOT NULL');
cmp_ok($known, '<=', 100, 'no more than there is room for are counted');
cmp_ok($known, '>=', 50, '... and not much fewer');
is(value($node, 'SELECT skipped_condition FROM hooks.stat'), 151, 'all are counted together');

# Durations.

my @latency = rows($node, q{SELECT *, lag(count) OVER (PARTITION BY measure ORDER BY le) AS before FROM hooks.latency ORDER BY measure, le});
is_deeply([ grep { defined $_->{before} && $_->{before} > $_->{count} } @latency ], [], 'counts grow with the bounds');
is(scalar(@latency), 32, 'a row for each bound');
my $request = q{FROM hooks.latency WHERE measure = 'request'};
is(value($node, "SELECT count $request AND le = 'Infinity'"), 3, 'each request is in the histogram');
is(value($node, "SELECT count $request AND le = 0.025"), 1, '... at its place');
is(value($node, "SELECT bool_and(sum BETWEEN 0.1 AND 60) $request"), 't', '... and in the sum');
is(value($node, q{SELECT count FROM hooks.latency WHERE measure = 'start' AND le = 'Infinity'}), 3, 'each first request is, too');

# The worker.

add_hook($node, trigger => 'follow', url => $receiver->url('/slow/3000'));
add_event($node);
wait_until(sub { worker_row()->{in_flight} == 1 }, 'a request under way');
is(worker_row()->{state}, 'running', 'the worker runs');
is(worker_row()->{pid}, worker_pid($node), '... with its process');
wait_until(
	sub {
		value($node, q{SELECT query FROM pg_stat_activity WHERE backend_type = 'hooks worker'}) eq
		  'requests under way: 1';
	},
	'pg_stat_activity that says so');
is(value($node, q{SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'hooks worker'}), $waiting_event{worker}, 'what the worker waits for has a name');
is(value($node, q{SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'hooks launcher'}), $waiting_event{launcher}, '... and what the launcher does');
wait_idle($node);
wait_until(sub { worker_row()->{state} eq 'idle' }, 'the worker leaves');
is(worker_row()->{pid}, undef, 'it has no process then');
is(worker_row()->{start_at}, undef, '... and no time when it is needed');
is(worker_row()->{work}, 0, '... or work');

# One that fails comes back, and is said to.
$node->safe_psql('postgres', 'ALTER TABLE hooks.delivery RENAME TO delivery_away');
add_event($node, type => 'raid', data => { viewer_count => 50 });
wait_until(sub { worker_row()->{failures} > 0 }, 'a worker that fails');
wait_until(sub { my $row = worker_row(); $row->{state} eq 'failed' && $row->{start_at} }, 'when it is tried again');
$node->safe_psql('postgres', 'ALTER TABLE hooks.delivery_away RENAME TO delivery');
wait_until(sub { stats($hook)->{succeeded} == 1 }, 'its successor');

finish($node, qr/delivery/);
done_testing();
