# What sync services see of hooks and their log by logical replication: a
# subscriber, pgoutput's messages as pg_recvlogical gets them, and wal2json.

use strict;
use warnings;

use JSON::PP;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Hooks::Pgoutput;
use Hooks::Receiver;
use Hooks::Test;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
my $has_wal2json = -e "$pkglibdir/wal2json.so";
die 'wal2json is not installed' if $ENV{CI} && !$has_wal2json;

my $node = hooks_node('main', streaming => 'logical', log_statement => 'none');
my $receiver = Hooks::Receiver->start;
my @tables = ('stream_hooks', 'stream_hook_logs');

create_application($node);
add_users($node, 2, 4);
my $first = add_hook($node, name => 'from before', url => $receiver->url('/ok'));
add_event($node);
wait_idle($node);
$node->safe_psql('postgres', q{SELECT hooks.publish('sync')});

# ----------
# Consumers
# ----------

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$subscriber->start;
foreach my $table (@tables)
{
	$subscriber->safe_psql(
		'postgres',
		value(
			$node, qq{SELECT format('CREATE TABLE $table (%s, PRIMARY KEY (id))',
				string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum))
			FROM pg_attribute WHERE attrelid = '$table'::regclass AND attnum > 0 AND NOT attisdropped}));
}
$subscriber->safe_psql('postgres',
	'CREATE SUBSCRIPTION sync CONNECTION ' . literal($node->connstr('postgres')) . ' PUBLICATION sync');

sub contents
{
	my ($of) = @_;
	return join "\n", map { $of->safe_psql('postgres', "SET timezone = 'UTC'; SELECT * FROM $_ ORDER BY id") } @tables;
}

# Both have the same rows, sooner or later.
sub in_sync
{
	my ($what) = @_;

	ok(eval { wait_until(sub { contents($node) eq contents($subscriber) }, $what, 60) }, "subscriber: $what")
	  or diag(contents($node) . "\n---\n" . contents($subscriber));
	return;
}

in_sync('what was there before');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM stream_hooks'), 1, '... a hook');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM stream_hook_logs'), 1, '... and its log');

sub recvlogical
{
	my (@arguments) = @_;

	$node->command_ok([ 'pg_recvlogical', '--dbname', $node->connstr('postgres'), '--slot', 'messages', @arguments ],
		"pg_recvlogical $arguments[0]");
	return;
}

# What pgoutput has to say since it was asked last.
sub messages
{
	my $file = "$dir/messages";

	unlink $file;
	recvlogical(
		'--start', '--file', $file, '--no-loop', '--endpos', value($node, 'SELECT pg_current_wal_lsn()'),
		'--option', 'proto_version=1', '--option', 'publication_names=sync');
	return Hooks::Pgoutput::changes(slurp_file($file));
}

recvlogical('--create-slot', '--plugin', 'pgoutput');
if ($has_wal2json)
{
	# Later minor releases want plugins to be named.
	configure($node, { output_plugin_libraries => 'pgoutput, wal2json' })
	  if value($node, q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'});
	$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('json', 'wal2json')});
}

# ----------
# Configuration
# ----------

my $second = add_hook($node, user => 2, name => 'second', url => $receiver->url('/status/500'),
	attempts => 5, config => { retry_schedule => [3600] });
$node->safe_psql('postgres', "UPDATE stream_hooks SET name = 'renamed', conditions = '{\"command\": \"x\"}', trigger_type = 'chat_message' WHERE id = '$first'");
$node->safe_psql('postgres', "UPDATE stream_hooks SET name = 'again', trigger_type = 'follow', conditions = '{}' WHERE id = '$first'");
my $third = add_hook($node, user => 3, name => 'third', url => $receiver->url('/ok'));
in_sync('hooks that were written');

# ----------
# Logs; what waits, and all else that is in the schema hooks
# ----------

add_event($node, user => $_) for 1 .. 3;
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.delivery WHERE why = 'retry'}) == 1 }, 'a delivery that waits');
wait_until(sub { value($node, "SELECT count(*) FROM stream_hook_logs WHERE hook_id = '$third'") == 1 }, 'the log of the third');
$node->safe_psql('postgres', "SELECT hooks.pause(hook => '$third'); SELECT hooks.set_secret('" . user_uuid(1) . q{', 'key', 'hunter2')});
wait_idle($node);
in_sync('logs');
$node->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id = '$third'");
in_sync('a hook that was deleted, with its log');

# ----------
# Retention
# ----------

$node->safe_psql(
	'postgres', qq{
	INSERT INTO stream_hook_logs (hook_id, user_id, trigger_type, action_type, status, executed_at, inserted_at, duration_ms)
	SELECT id, user_id, trigger_type, action_type, 'success', now() - interval '25 hours', now() - interval '25 hours', n
	FROM stream_hooks, generate_series(1, 20) AS n WHERE id = '$first'});
in_sync('logs of yesterday');
my $rows = value($node, 'SELECT count(*) FROM stream_hook_logs');
configure($node, { 'hooks.log_retention' => '1d' }, 'postgres');
$node->restart;
add_event($node);
wait_until(sub { value($node, 'SELECT count(*) FROM stream_hook_logs') == $rows - 20 + 1 }, 'old rows to be deleted');
in_sync('logs without what was too old');

# What all this was as messages.
my @changes = messages();
my %seen;
$seen{"$_->{relation} $_->{kind}"}++ for @changes;
is_deeply(
	[ sort keys %seen ],
	[ 'public.stream_hook_logs delete', 'public.stream_hook_logs insert', 'public.stream_hooks delete', 'public.stream_hooks insert', 'public.stream_hooks update' ],
	'pgoutput: changes of both tables, and of nothing else; no truncation');
is_deeply([ grep { $_->{identity} ne 'f' } @changes ], [], '... whose replica identity is full');

my @updates = grep { $_->{kind} eq 'update' && $_->{old}{id} eq $first } @changes;
is_deeply([ map { "$_->{old}{name} -> $_->{new}{name}" } @updates[ 0, 1 ] ], [ 'from before -> renamed', 'renamed -> again' ],
	'updates carry the old row');
is_deeply([ grep { $_->{is_key} || !defined $_->{old}{action_config} } grep { $_->{kind} ne 'insert' && $_->{relation} =~ /hooks$/ } @changes ],
	[], '... all of it');
my @deleted = grep { $_->{kind} eq 'delete' && $_->{relation} =~ /logs$/ && $_->{old}{hook_id} eq $first } @changes;
is_deeply([ sort { $a <=> $b } map { $_->{old}{duration_ms} } @deleted ], [ 1 .. 20 ],
	'retention: ordinary deletes, each with its old row');
is(scalar(grep { $_->{kind} eq 'delete' && $_->{old}{user_id} eq user_uuid(3) } @changes), 2, 'a hook and its log: the same');

# ----------
# wal2json reads what is in no publication, too
# ----------

SKIP:
{
	skip 'wal2json is not installed', 6 unless $has_wal2json;
	my @without = map { decode_json($_) } split /\n/,
	  value($node, q{SELECT data FROM pg_logical_slot_peek_changes('json', NULL, NULL, 'format-version', '2', 'include-transaction', 'false')});
	my @with = map { decode_json($_) } split /\n/,
	  value($node, q{SELECT data FROM pg_logical_slot_get_changes('json', NULL, NULL, 'format-version', '2',
		'include-transaction', 'false', 'filter-tables', 'hooks.*')});
	my %tables = map { ("$_->{schema}.$_->{table}" => 1) } @without;

	is_deeply([ sort grep { /^hooks\./ } keys %tables ],
		[ map { "hooks.$_" } qw(delivery health paused secret) ], 'wal2json: reads tables of schema hooks, but none of the queue');
	is_deeply([ grep { $_->{schema} eq 'hooks' } @with ], [], '... which filter-tables leaves out');
	is(scalar(grep { $_->{schema} ne 'hooks' } @without), scalar @with, '... and nothing else');

	my ($renamed) = grep { $_->{action} eq 'U' && $_->{table} eq 'stream_hooks' } @with;
	my %old = map { $_->{name} => $_->{value} } @{ $renamed->{identity} };
	is($old{name}, 'from before', '... updates carry the old row');
	my @gone = grep { $_->{action} eq 'D' && $_->{table} eq 'stream_hook_logs' } @with;
	is_deeply([ grep { !grep { $_->{name} eq 'executed_at' } @{ $_->{identity} } } @gone ], [], '... and deletes do');
	cmp_ok(scalar @gone, '>=', 20, '... of all that retention has deleted');
}

# ----------
# Under load
# ----------

# A delivery that steps aside, and one that is given up after that, have the
# cooldown written with them; all others, once a second.
$node->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id <> '$first'");
$second = add_hook($node, user => 2, cooldown => 1, url => $receiver->url('/ok'));
$third = add_hook($node, user => 3, cooldown => 1, url => $receiver->url('/status/500'),
	attempts => 5, config => { retry_schedule => [3600] });
my $fourth = add_hook($node, user => 4, cooldown => 1, url => $receiver->url('/status/500'),
	attempts => 2, config => { retry_schedule => [1] });
messages();

my $before = value($node, q{SELECT count(*) FROM stream_hook_logs});
my $started = time;
while (time < $started + 4)
{
	$node->safe_psql('postgres', join ';', map { event_rows(20, user => $_) } 1 .. 4);
	usleep(10_000);
}
my $seconds = time - $started;
wait_idle($node);
wait_until(sub { value($node, "SELECT count(*) FROM hooks.delivery WHERE hook_id = '$fourth' AND next_at IS NOT NULL") == 0 }, 'second attempts');
wait_idle($node);
$seconds = time - $started;
in_sync('logs under load');
cmp_ok(value($node, q{SELECT count(*) FROM stream_hook_logs}) - $before, '>', 200, "more than 200 rows of the log in $seconds seconds");
@updates = grep { $_->{kind} eq 'update' && $_->{relation} =~ /hooks$/ } messages();
is_deeply(
	[ grep { my $u = $_; join(' ', grep { ($u->{old}{$_} // '') ne ($u->{new}{$_} // '') } sort keys %{ $u->{new} }) !~ /^(?:last_triggered_at)?$/ } @updates ],
	[], 'nothing but last_triggered_at is written');
my $again = value($node, "SELECT count(*) FROM stream_hook_logs WHERE hook_id = '$fourth' AND attempt = 2");
for ([ 'without a cooldown', $first, $seconds / 5 ], [ 'with a cooldown', $second, $seconds ],
	[ 'whose delivery waits', $third, $seconds ], [ 'whose deliveries wait and are given up', $fourth, $seconds + 2 * $again ])
{
	my ($which, $hook, $most) = @$_;
	my $n = grep { $_->{new}{id} eq $hook } @updates;

	cmp_ok($n, '>=', 1, "... of a hook $which");
	cmp_ok($n, '<=', $most + 2, "... as often as it may be");
}

$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION sync');
$subscriber->stop;
finish($node);
done_testing();
