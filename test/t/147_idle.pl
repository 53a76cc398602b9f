# A server that has nothing to do for hooks does nothing for hooks: no worker, no
# query, no wake-up; and a worker that is still there sleeps.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use Hooks::Receiver;
use Hooks::Test;

# It comes with the server, but not everywhere in the same package.
my ($libraries) = run_command([ 'pg_config', '--pkglibdir' ]);
my $statements = -e "$libraries/pg_stat_statements.so";

my $node = hooks_node(
	'main',
	shared_preload_libraries => $statements ? 'pg_stat_statements, hooks' : 'hooks',
	autovacuum => 'off', 'hooks.idle_timeout' => '1min');
my $receiver = Hooks::Receiver->start;

$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements') if $statements;
$node->safe_psql('postgres', "CREATE DATABASE app_$_") for 1 .. 3;
for my $database (map { "app_$_" } 1 .. 3)
{
	create_application($node, $database);
	add_hook($node, database => $database, url => $receiver->url);
	add_hook($node, database => $database, trigger => 'raid', attempts => 2, url => $receiver->url('/status/500'), config => { retry_schedule => [3600] });
}

# How often a process has gone to sleep.
sub sleeps
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)$/m ? $1 : undef;
}

sub launcher_pid
{
	return value($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'hooks launcher'});
}

# Tests that processes do not wake up within some seconds, once they are asleep.
sub sleeping
{
	my ($what, @pids) = @_;
	my @before;

	wait_until(
		sub {
			my @now = map { sleeps($_) } @pids;
			my $asleep = "@now" eq "@before";

			@before = @now;
			usleep(1_500_000) unless $asleep;
			return $asleep;
		},
		"$what: to fall asleep",
		30);
	value($node, 'SELECT pg_stat_statements_reset()') if $statements;
	my $written = value($node, 'SELECT pg_current_wal_insert_lsn()');
	my $committed = value($node, q{SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname LIKE 'app%'});

	# As long as nothing happens there is nothing to wait for.
	usleep(4_000_000);
	is_deeply([ map { sleeps($_) } @pids ], \@before, "$what: nobody wakes up");
	is( value($node, q{SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database WHERE datname LIKE 'app%'}),
		$committed,
		"$what: no transaction");
	is(value($node, 'SELECT pg_current_wal_insert_lsn()'), $written, "$what: nothing is written");
  SKIP:
	{
		skip 'pg_stat_statements is not installed', 1 unless $statements;
		is( value(
				$node, q{SELECT string_agg(query, '; ') FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
				WHERE d.datname LIKE 'app%' OR query ~ 'hooks\.'}),
			'',
			"$what: no statement");
	}
	return;
}

# Nobody has ever done anything.
$node->restart;
wait_until(sub { value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hooks worker'}) == 0 }, 'workers to have a look');
sleeping('at first', launcher_pid());

# Workers that are still there, and have a retry in an hour, in one of them.
for my $database (map { "app_$_" } 1 .. 3)
{
	add_event($node, database => $database) for 1 .. 3;
	wait_idle($node, $database);
}
add_event($node, type => 'raid', database => 'app_1');
wait_idle($node, 'app_1');
my @workers = map { worker_pid($node, "app_$_") } 1 .. 3;
is(scalar(grep { $_ ne '' } @workers), 3, 'there are workers');
sleeping('workers without work', launcher_pid(), @workers);

# They leave, and that is that, though there are events that nobody waits for.
$node->append_conf('postgresql.conf', "hooks.idle_timeout = '1s'");
$node->reload;
wait_until(sub { value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hooks worker'}) == 0 }, 'workers to leave');
add_event($node, database => 'app_2', type => 'subscription', data => { username => 'nobody waits' });
sleeping('after work', launcher_pid());
is(value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hooks worker'}), 0, '... and there is no worker');

finish($node);
done_testing();
