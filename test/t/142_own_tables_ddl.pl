# The tables of hooks and logs are altered, moved, locked, rewritten and dropped
# while the application inserts: no session sees an error, and no event is lost.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Load;
use Hooks::Receiver;
use Hooks::Test;

# One request at a time per user, so that the receiver sees the order.
my $node = hooks_node('main', 'hooks.max_in_flight_per_user' => 1, 'hooks.max_in_flight_per_host' => 64);
my $receiver = Hooks::Receiver->start;

create_application($node);
$node->safe_psql('postgres', 'CREATE SCHEMA archive');

# What does not concern the columns that are read and written.
my $load = Hooks::Load->start($node, $receiver);
$load->wait_for_more(40);
my $pid = worker_pid($node);
for my $table ('stream_hooks', 'stream_hook_logs')
{
	$load->alter(
		"ALTER TABLE $table ADD COLUMN extra integer",
		"ALTER TABLE $table ADD COLUMN filled text DEFAULT 'filled'",
		"ALTER TABLE $table ADD COLUMN changing float8 DEFAULT random()",
		"ALTER TABLE $table DROP COLUMN extra",
		"ALTER TABLE $table RENAME COLUMN filled TO stuffed",
		"ALTER TABLE $table ALTER COLUMN stuffed TYPE varchar(100)",
		"ALTER TABLE $table ALTER COLUMN action_type TYPE varchar(100)",
		"ALTER TABLE $table ADD CONSTRAINT sane CHECK (trigger_type <> '')",
		"CREATE INDEX CONCURRENTLY ${table}_moments ON $table (inserted_at)",
		"CLUSTER $table USING ${table}_moments",
		"VACUUM FULL $table",
		"REINDEX TABLE CONCURRENTLY $table",
		"VACUUM ANALYZE $table",
		"ALTER TABLE $table SET SCHEMA archive",
		"ALTER TABLE archive.$table RENAME TO \"odd \"\"name\"",
		"ALTER TABLE archive.\"odd \"\"name\" RENAME TO $table",
		"ALTER TABLE archive.$table SET SCHEMA public",
		"ALTER TABLE $table ENABLE ROW LEVEL SECURITY",
		"BEGIN; TRUNCATE $table CASCADE; ROLLBACK",
		"BEGIN; DROP TABLE $table CASCADE; ROLLBACK",
		"BEGIN; ALTER TABLE $table DROP COLUMN action_type; ROLLBACK");
}
$load->alter(
	'CREATE ROLE tenant; GRANT ALL ON SCHEMA public TO tenant; GRANT SELECT, REFERENCES ON users TO tenant; '
	  . 'BEGIN; ALTER TABLE stream_hooks OWNER TO tenant; ALTER TABLE stream_hook_logs OWNER TO tenant; COMMIT');
$load->check('what does not concern us');
is(stat($node, 'unlogged'), 0, '... and every result is logged');
is(worker_pid($node), $pid, '... by one worker');

# Columns of the hooks table that are read, of types that will do, or gone for
# a while: whoever cannot read hooks waits until they can be read.
$node->safe_psql('postgres', 'ALTER TABLE stream_hooks DROP COLUMN changing; ALTER TABLE stream_hook_logs DROP COLUMN changing');
$load = Hooks::Load->start($node, $receiver, users => [ 21 .. 24 ]);
$load->wait_for_more(40);
$load->alter(
	'ALTER TABLE stream_hooks ALTER COLUMN trigger_type TYPE varchar(40)',
	'ALTER TABLE stream_hooks ALTER COLUMN cooldown_seconds TYPE bigint',
	q{ALTER TABLE stream_hooks ALTER COLUMN last_triggered_at TYPE timestamp USING timezone('UTC', last_triggered_at)},
	'ALTER TABLE stream_hooks ALTER COLUMN last_triggered_at TYPE timestamptz');
for (
	[ 'RENAME COLUMN action_config TO settings', 'RENAME COLUMN settings TO action_config' ],
	[ 'RENAME COLUMN enabled TO active', 'RENAME COLUMN active TO enabled' ],
	[ 'RENAME COLUMN id TO number', 'RENAME COLUMN number TO id' ],
	[ 'RENAME COLUMN user_id TO owner', 'RENAME COLUMN owner TO user_id' ])
{
	my ($break, $mend) = @$_;
	my $before = $load->acknowledged;
	my $said = -s $node->logfile;

	$node->safe_psql('postgres', "ALTER TABLE stream_hooks $break");
	wait_until(sub { $load->acknowledged > $before + 400 }, "inserts after $break");
	$load->alter("ALTER TABLE stream_hooks $mend");
	my $errors = () = slurp_file($node->logfile, $said) =~ /hooks worker .*?(ERROR|LOG|WARNING):/g;
	cmp_ok($errors, '<', 5, "$break: no storm of errors");
}
$load->check('columns of hooks that are gone for a while');

# Log tables that come and go: what could not be logged is counted, and said.
$load = Hooks::Load->start($node, $receiver, users => [ 31 .. 34 ]);
$load->wait_for_more(40);
my $said = -s $node->logfile;
my $unlogged = stat($node, 'unlogged');
for (
	[ 'a column that is missing', 'ALTER TABLE stream_hook_logs RENAME COLUMN duration_ms TO duration', 'ALTER TABLE stream_hook_logs RENAME COLUMN duration TO duration_ms' ],
	[ 'a column that nobody fills in', 'BEGIN; TRUNCATE stream_hook_logs; ALTER TABLE stream_hook_logs ADD COLUMN needed integer NOT NULL; COMMIT', 'ALTER TABLE stream_hook_logs DROP COLUMN needed' ],
	[ 'a trigger that fails', q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no more logs''; END';
		CREATE TRIGGER refuse BEFORE INSERT ON stream_hook_logs FOR EACH ROW EXECUTE FUNCTION refuse()}, 'DROP TRIGGER refuse ON stream_hook_logs' ],
	[ 'a table that may not be written', 'REVOKE INSERT ON stream_hook_logs FROM tenant', 'GRANT INSERT ON stream_hook_logs TO tenant' ],
	[ 'no table', 'DROP TABLE stream_hook_logs', 'SELECT hooks.setup()' ])
{
	my ($what, $break, $mend) = @$_;
	my $before = stat($node, 'unlogged');

	$node->safe_psql('postgres', $break);
	wait_until(sub { stat($node, 'unlogged') >= $before + 40 }, "results that are not logged: $what");
	$load->wait_for_more(40);
	$node->safe_psql('postgres', $mend);
	$before = value($node, 'SELECT count(*) FROM stream_hook_logs');
	wait_until(sub { value($node, 'SELECT count(*) FROM stream_hook_logs') > $before + 20 }, "results that are logged: $what");
	cmp_ok(value($node, 'SELECT count(*) FROM stream_hook_logs'), '>', $before + 20, "$what: deliveries go on, and are logged again when they can be");
}
my $count = $load->check('a log table that comes and goes', logs => undef);
cmp_ok(stat($node, 'unlogged') - $unlogged, '>=', 200, '... what could not be logged is counted');
cmp_ok(
	stat($node, 'unlogged') - $unlogged + value($node, q{SELECT count(*) FROM stream_hook_logs AS l JOIN load_acknowledged AS a ON a.id = l.stream_event_id}),
	'<=', $count->{acknowledged}, '... each once');
my @lines = slurp_file($node->logfile, $said) =~ /could not write to the hooks log: (.*)/g;
cmp_ok(scalar @lines, '>=', 1, '... and said');
cmp_ok(scalar @lines, '<=', 2, '... once a minute');

# The tables are dropped and made anew: hooks that are gone fire no more.
$load = Hooks::Load->start($node, $receiver, users => [ 41 .. 44 ]);
$load->wait_for_more(40);
my $before = $load->acknowledged;
$node->safe_psql('postgres', 'DROP TABLE stream_hook_logs, stream_hooks');
wait_until(sub { $load->acknowledged > $before + 200 }, 'inserts without tables');
my $requests = $load->requests;
wait_idle($node);
$load->stop;
is($load->errors, '', 'dropped tables: no application has seen an error');
is($load->requests, $requests, '... and nothing is sent of hooks that are gone');
$node->safe_psql('postgres', 'SELECT hooks.setup()');
$load = Hooks::Load->start($node, $receiver, users => [ 51 .. 54 ]);
$load->wait_for_more(100);
$load->check('new tables');
isnt(worker_pid($node), '', 'there is a worker');

finish($node, qr/could not write (to the hooks log|last_triggered_at of hooks)/, qr/hooks worker .*ERROR:  column "\w+" does not exist/,
	qr/hooks worker .*ERROR:  column h\.\w+ does not exist/);
done_testing();
