# The event table is altered while the application inserts: no session sees an
# error, no event is lost, and the next row is read as the table is then.

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

# What does not concern the columns of events.
my $load = Hooks::Load->start($node, $receiver);
$load->wait_for_more(40);
my $pid = worker_pid($node);
$load->alter(
	'ALTER TABLE stream_events ADD COLUMN extra integer',
	q{ALTER TABLE stream_events ADD COLUMN filled text DEFAULT 'filled'},
	q{ALTER TABLE stream_events ADD COLUMN changing float8 DEFAULT random()},
	'ALTER TABLE stream_events DROP COLUMN extra',
	'ALTER TABLE stream_events DROP COLUMN author_id',
	'ALTER TABLE stream_events RENAME COLUMN filled TO stuffed',
	'ALTER TABLE stream_events ALTER COLUMN stuffed TYPE varchar(100)',
	'ALTER TABLE stream_events ALTER COLUMN stuffed DROP DEFAULT, ALTER COLUMN stuffed TYPE jsonb USING to_jsonb(stuffed)',
	'ALTER TABLE stream_events ADD CONSTRAINT sane CHECK (type <> \'\')',
	'CREATE INDEX ON stream_events (user_id, inserted_at)',
	'CREATE INDEX CONCURRENTLY moments ON stream_events (inserted_at)',
	'CLUSTER stream_events USING moments',
	'VACUUM FULL stream_events',
	'REINDEX TABLE stream_events',
	'VACUUM ANALYZE stream_events',
	'ALTER TABLE stream_events SET (fillfactor = 50)',
	'ALTER TABLE stream_events SET UNLOGGED',
	'ALTER TABLE stream_events SET LOGGED',
	'TRUNCATE stream_events',
	'BEGIN; TRUNCATE stream_events; ROLLBACK',
	'BEGIN; DROP TABLE stream_events; ROLLBACK',
	'BEGIN; ALTER TABLE stream_events DROP COLUMN data; ROLLBACK',
	'TRUNCATE stream_events CASCADE');
$load->check('columns that are not read');

# What does, as long as its type will do.
$load = Hooks::Load->start($node, $receiver, hooks => 1, users => [ 21 .. 24 ]);
$load->alter(
	'ALTER TABLE stream_events ALTER COLUMN type TYPE varchar(40)',
	q{CREATE TYPE kind AS ENUM ('follow', 'donation'); ALTER TABLE stream_events ALTER COLUMN type TYPE kind USING type::kind},
	q{ALTER TYPE kind ADD VALUE 'raid'},
	q{CREATE DOMAIN word AS text; ALTER TABLE stream_events ALTER COLUMN type TYPE word USING type::text},
	q{ALTER TABLE stream_events ALTER COLUMN inserted_at TYPE timestamptz USING timezone('UTC', inserted_at), ALTER COLUMN inserted_at SET DEFAULT clock_timestamp()},
	q{ALTER TABLE stream_events ALTER COLUMN platform TYPE varchar(10)},
	'ALTER TABLE stream_events DROP COLUMN viewer_id');
$load->check('columns that are read, of types that will do');

# Columns that are gone for a while: events are log rows that say so.  The
# application does not name the columns; they come first, in this order.
$node->safe_psql(
	'postgres', q{
	DROP TABLE stream_events;
	CREATE TABLE stream_events (
		id uuid PRIMARY KEY, type text, data jsonb, user_id uuid, platform text,
		inserted_at timestamptz DEFAULT clock_timestamp());
	SELECT hooks.attach('stream_events')});
my $positional = q{INSERT INTO stream_events VALUES ({id}, 'donation', {data}, {user})};
$load = Hooks::Load->start($node, $receiver, users => [ 31 .. 34 ], insert => $positional, rollbacks => 0);
$load->wait_for_more(40);

sub log_rows
{
	my ($pattern) = @_;
	return value($node, 'SELECT count(*) FROM stream_hook_logs WHERE error_message ~ ' . literal($pattern));
}

sub gone_for_a_while
{
	my ($break, $said, $mend) = @_;
	my $before = log_rows($said);

	$node->safe_psql('postgres', $break);
	wait_until(sub { log_rows($said) >= $before + 20 }, "log rows after $break");
	cmp_ok(log_rows($said), '>=', $before + 20, "$break: makes log rows");
	$load->alter($mend);
	return;
}

gone_for_a_while(
	'ALTER TABLE stream_events RENAME COLUMN data TO payload',
	'^column "data" of table "stream_events" does not exist$',
	'ALTER TABLE stream_events RENAME COLUMN payload TO data');
gone_for_a_while(
	'ALTER TABLE stream_events ALTER COLUMN id TYPE text',
	'^column "id" of table "stream_events" has type text$',
	'ALTER TABLE stream_events ALTER COLUMN id TYPE uuid USING id::uuid');
gone_for_a_while(
	'ALTER TABLE stream_events DROP COLUMN inserted_at',
	'^column "inserted_at" of table "stream_events" does not exist$',
	'ALTER TABLE stream_events ADD COLUMN inserted_at timestamptz DEFAULT clock_timestamp()');
gone_for_a_while(
	'ALTER TABLE stream_events DROP COLUMN platform',
	'^column "platform" of table "stream_events" does not exist$',
	'ALTER TABLE stream_events ADD COLUMN platform text');

# Without its user an event is nobody's: it is counted.
my $refused = stat($node, 'events_refused');
$node->safe_psql('postgres', 'ALTER TABLE stream_events RENAME COLUMN user_id TO owner');
wait_until(sub { stat($node, 'events_refused') >= $refused + 20 }, 'events that are refused');
$load->alter('ALTER TABLE stream_events RENAME COLUMN owner TO user_id');
$load->stop;
$refused = stat($node, 'events_refused') - $refused;
my $count = $load->check(
	'columns that are gone for a while',
	refused => '^column "(data|id|inserted_at|platform)" of table "stream_events" (does not exist|has type text)$',
	unsent => $refused + log_rows('^column "id"'));
is($count->{acknowledged} - ($count->{requests} - $count->{repeats}) - $count->{refused},
	$refused, '... and each event is a request, a log row, or counted');
is(() = slurp_file($node->logfile) =~ /hooks cannot read events from table/g,
	4, 'the server log says it once for each session');

# Another schema, another name: the application finds its table by a view.
$node->safe_psql('postgres', 'CREATE VIEW happening AS SELECT id, type, data, user_id FROM stream_events');
$load = Hooks::Load->start(
	$node, $receiver, users => [ 41 .. 44 ],
	insert => q{INSERT INTO happening (id, type, data, user_id) VALUES ({id}, 'donation', {data}, {user})});
$load->alter(
	'ALTER TABLE stream_events SET SCHEMA archive',
	'ALTER TABLE archive.stream_events RENAME TO happenings',
	'CREATE ROLE tenant; GRANT USAGE ON SCHEMA archive TO tenant; ALTER TABLE archive.happenings OWNER TO tenant; '
	  . 'ALTER VIEW happening OWNER TO tenant',
	'ALTER SCHEMA archive RENAME TO attic',
	'ALTER TABLE attic.happenings SET SCHEMA public',
	'ALTER TABLE happenings RENAME TO stream_events',
	'ALTER TABLE stream_events ENABLE ROW LEVEL SECURITY');
$load->check('another schema and name');

# Partitions come and go; rows go where they belong.
$node->safe_psql(
	'postgres', q{
	DROP TABLE stream_events CASCADE;
	CREATE TABLE stream_events (
		id uuid, type text, data jsonb, user_id uuid, platform text,
		inserted_at timestamptz DEFAULT clock_timestamp()) PARTITION BY HASH (id);
	CREATE TABLE part_0 PARTITION OF stream_events FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE part_1 (inserted_at timestamptz DEFAULT clock_timestamp(), gone text, platform text, user_id uuid, id uuid, data jsonb, type text);
	ALTER TABLE part_1 DROP COLUMN gone;
	ALTER TABLE stream_events ATTACH PARTITION part_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	SELECT hooks.attach('stream_events')});
$load = Hooks::Load->start($node, $receiver, users => [ 51 .. 54 ]);
for my $round (1 .. 3)
{
	$load->alter(
		q{BEGIN; ALTER TABLE stream_events DETACH PARTITION part_1;
		CREATE TABLE next (LIKE stream_events INCLUDING ALL);
		ALTER TABLE stream_events ATTACH PARTITION next FOR VALUES WITH (MODULUS 2, REMAINDER 1); COMMIT},
		"BEGIN; DROP TABLE part_1; ALTER TABLE next RENAME TO part_1; COMMIT",
		q{BEGIN; DROP TABLE part_0;
		CREATE TABLE part_0 PARTITION OF stream_events FOR VALUES WITH (MODULUS 2, REMAINDER 0); COMMIT},
		'TRUNCATE part_1',
		q{BEGIN; ALTER TABLE stream_events DETACH PARTITION part_0;
		CREATE TABLE part_0a PARTITION OF stream_events FOR VALUES WITH (MODULUS 4, REMAINDER 0);
		CREATE TABLE part_0b PARTITION OF stream_events FOR VALUES WITH (MODULUS 4, REMAINDER 2); COMMIT},
		q{BEGIN; DROP TABLE part_0a, part_0b;
		ALTER TABLE stream_events ATTACH PARTITION part_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0); COMMIT},
		'ALTER TABLE stream_events ADD COLUMN c' . $round . ' integer DEFAULT 1',
		'VACUUM FULL stream_events',
		'TRUNCATE stream_events');
}
$load->check('partitions that come and go');

# DETACH CONCURRENTLY, of a partition that gets no rows.
$node->safe_psql(
	'postgres', q{
	DROP TABLE stream_events;
	CREATE TABLE stream_events (
		id uuid, type text, data jsonb, user_id uuid, platform text, inserted_at timestamptz DEFAULT clock_timestamp())
		PARTITION BY LIST (type);
	CREATE TABLE donations PARTITION OF stream_events FOR VALUES IN ('donation');
	SELECT hooks.attach('stream_events')});
$load = Hooks::Load->start($node, $receiver, users => [ 61 .. 64 ]);
for my $round (1 .. 3)
{
	$load->alter(
		q{CREATE TABLE raids PARTITION OF stream_events FOR VALUES IN ('raid')},
		'ALTER TABLE stream_events DETACH PARTITION raids CONCURRENTLY',
		'DROP TABLE raids');
}
$load->check('partitions that are detached concurrently');
is(worker_pid($node), $pid, 'all that by one worker');

finish($node);
done_testing();
