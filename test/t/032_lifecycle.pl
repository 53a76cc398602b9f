# hooks.attach_lifecycle(): a change of a stream's row announces stream_start
# and stream_end, in the same transaction, once per stream.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;
my $user = literal(user_uuid(1));
my $streams = 0;

create_application($node);
add_users($node, 2, 9);
for my $type ('stream_start', 'stream_end')
{
	add_hook(
		$node,
		user => $_,
		trigger => $type,
		url => $receiver->url('/ok'),
		config => { body => { type => '{{event_type}}', data => '{{data.livestream_id}} {{data.title}}' } }) for 1 .. 9;
}

sub sql
{
	my ($sql) = @_;

	$node->safe_psql('postgres', $sql);
	return;
}

# What was announced since this was asked last, in order.
my $seen = 0;

sub announced
{
	my ($of) = @_;

	wait_idle($node);
	my @rows = rows($node, q{SELECT trigger_type, user_id FROM stream_hook_logs ORDER BY inserted_at, executed_at});
	my @new = splice @rows, $seen;
	$seen += @new;
	return join ' ', map { $_->{trigger_type} . ($_->{user_id} eq user_uuid(1) ? '' : ' of another') } @new;
}

sub fails_with
{
	my ($sql, $expected, $name) = @_;
	my ($ret, $out, $error) = $node->psql('postgres', $sql);

	like($error, $expected, $name);
	return;
}

# A table with a status.

sql(q{
	CREATE TYPE stream_status AS ENUM ('scheduled', 'live', 'paused', 'ended');
	CREATE TABLE livestreams (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid, title text,
		viewers int, status stream_status NOT NULL DEFAULT 'scheduled', note text);
	SELECT hooks.attach_lifecycle('livestreams', started => '{live}', ended => '{ended}', columns => '{title,viewers}')});

sub stream
{
	my ($status, %column) = @_;

	return value($node, sprintf 'INSERT INTO livestreams (user_id, title, viewers, status) VALUES (%s, %s, %s, %s) RETURNING id',
		exists $column{user} ? $column{user} : $user, literal($column{title} // 'A title'), $column{viewers} // 'NULL', literal($status));
}

sub set_status
{
	my ($id, @statuses) = @_;

	sql(sprintf 'UPDATE livestreams SET status = %s WHERE id = %s', literal($_), literal($id)) for @statuses;
	return;
}

my $id = stream('scheduled');
is(announced(), '', 'scheduled: nothing has started');
set_status($id, 'live');
is(announced(), 'stream_start', 'live: it has started');
sql("UPDATE livestreams SET viewers = 5, title = 'Another'");
set_status($id, 'live');
is(announced(), '', 'other changes of its row');
set_status($id, 'paused', 'live', 'paused', 'live');
is(announced(), '', 'states in between, and back');
set_status($id, 'paused', 'ended');
is(announced(), 'stream_end', 'ended: it is over');
set_status($id, 'ended', 'scheduled', 'ended');
is(announced(), '', '... once');
set_status($id, 'live', 'ended');
is(announced(), 'stream_start stream_end', 'without a gap to guard, the same stream again is another time');

# What events have.

$id = stream('live', title => 'Say "hi"', viewers => 7);
is(announced(), 'stream_start', 'a row that is live from the start');
my ($request) = ($receiver->requests)[-1];
like($request->{body}, qr/"type": ?"stream_start"/, 'what it is called');
like($request->{body}, qr/\Q$id\E Say \\"hi\\"/, 'which stream, and columns that were asked for');

# Transactions.

sql("BEGIN; UPDATE livestreams SET status = 'ended' WHERE id = '$id'; ROLLBACK");
is(announced(), '', 'rolled back');
sql("BEGIN; SAVEPOINT s; UPDATE livestreams SET status = 'ended' WHERE id = '$id'; ROLLBACK TO s; COMMIT");
is(announced(), '', '... to a savepoint');
sql("BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE livestreams SET status = 'ended' WHERE id = '$id'; COMMIT");
is(announced(), 'stream_end', 'SERIALIZABLE');
stream('ended');
stream('live', user => 'NULL');
is(announced(), '', 'a row that is over already, and one of nobody');

# Many at once, and a deletion.

sql(sprintf q{INSERT INTO livestreams (user_id, status) SELECT format('00000000-0000-4000-8000-%%s', lpad(n::text, 12, '0'))::uuid, 'live'
	FROM generate_series(2, 9) n});
is(announced(), join(' ', ('stream_start of another') x 8), 'many in a statement');
sql('DELETE FROM livestreams');
is(announced(), '', 'rows that are deleted end nothing');

# A gap.

sql(q{SELECT hooks.attach_lifecycle('livestreams', started => '{live}', min_gap => '1 hour')});
is(value($node, 'SELECT count(*) FROM hooks.stream_tables'), 1, 'attached again: one trigger');
sql('DELETE FROM hooks.stream');
$id = stream('live');
set_status($id, 'ended', 'live', 'ended', 'live');
is(announced(), 'stream_start stream_end', 'who is back at once goes on, in the same row');
my $next = stream('live');
set_status($next, 'ended');
is(announced(), '', '... or in another');
sql(q{UPDATE hooks.stream SET ended_at = ended_at - interval '2 hours'});
set_status($id, 'ended');
is(announced(), 'stream_end', '... whose end counts');
sql(q{UPDATE hooks.stream SET ended_at = ended_at - interval '2 hours'});
stream('live');
is(announced(), 'stream_start', '... and after the gap, it is another stream');

# What is remembered does not stay for ever.
sql(q{UPDATE hooks.stream SET changed_at = now() - interval '8 days'});
$id = stream('live', user => literal(user_uuid(2)));
set_status($id, 'paused');
announced();
is(value($node, 'SELECT count(*) FROM hooks.stream WHERE NOT live'), 1, 'streams of long ago are forgotten');

# A time at which it has ended; one row per user.

sql(q{
	CREATE TABLE shows (user_id uuid PRIMARY KEY, ended_at timestamptz);
	SELECT hooks.attach_lifecycle('shows', status_column => 'ended_at')});
sql("INSERT INTO shows VALUES ($user, NULL)");
is(announced(), 'stream_start', 'a time: null');
sql('UPDATE shows SET ended_at = now()');
sql("UPDATE shows SET ended_at = now() + interval '1 s'");
is(announced(), 'stream_end', '... and not null any more');

# A boolean, in a partitioned table; rows that move.

sql(q{
	CREATE TABLE channels (user_id uuid, region text, is_live bool) PARTITION BY LIST (region);
	CREATE TABLE channels_a PARTITION OF channels FOR VALUES IN ('a');
	CREATE TABLE channels_b PARTITION OF channels FOR VALUES IN ('b');
	SELECT hooks.attach_lifecycle('channels', status_column => 'is_live')});
sql("INSERT INTO channels VALUES ($user, 'a', false)");
is(announced(), '', 'a boolean: false');
sql('UPDATE channels SET is_live = true');
is(announced(), 'stream_start', '... true');
sql(q{UPDATE channels SET region = 'b'});
is(announced(), '', 'a row that moves to another partition');
sql(q{UPDATE channels SET region = 'a', is_live = false});
is(announced(), 'stream_end', '... and ends with that');

# The table changes.

sql('ALTER TABLE livestreams DROP COLUMN note; ALTER TABLE livestreams ADD COLUMN other int; ALTER TABLE livestreams ALTER status TYPE text');
$id = stream('live', user => literal(user_uuid(3)));
is(announced(), 'stream_start of another', 'columns dropped, added, retyped');
my $offset = -s $node->logfile;
sql('ALTER TABLE livestreams RENAME COLUMN status TO state');
sql("UPDATE livestreams SET state = 'ended'");
sql("UPDATE livestreams SET state = 'live'");
is(announced(), '', 'a column that has another name');
my @said = slurp_file($node->logfile, $offset) =~ /LOG: .* hooks cannot tell when streams in table "livestreams" start and end: column "status" is not as it was/g;
cmp_ok(scalar @said, '>', 0, '... is said in the log');
sql(q{SELECT hooks.attach_lifecycle('livestreams', status_column => 'state', started => '{live}', ended => '{ended}')});
sql("UPDATE livestreams SET state = 'ended' WHERE id = '$id'");
is(announced(), 'stream_end of another', '... and attached again, goes on');

# What cannot be remembered is announced all the same.

sql('BEGIN; ALTER TABLE hooks.stream ADD CONSTRAINT broken CHECK (false) NOT VALID; COMMIT');
sql("UPDATE livestreams SET state = 'live' WHERE id = '$id'");
is(announced(), 'stream_start of another', 'without memory');
sql('ALTER TABLE hooks.stream DROP CONSTRAINT broken');

# The application's role needs nothing of ours, and types of others run as it.

sql(q{
	CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hooks TO app});
$node->safe_psql(
	'postgres', q{
	SET SESSION AUTHORIZATION app;
	CREATE TYPE app.topic AS ENUM ('chess');
	CREATE FUNCTION app.topic_json(app.topic) RETURNS json LANGUAGE plpgsql AS $$
		BEGIN RETURN to_json(format('%s by %s', $1::text, current_user)); END $$;
	CREATE CAST (app.topic AS json) WITH FUNCTION app.topic_json(app.topic);
	CREATE TABLE app.streams (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid, status text, title app.topic);
	SELECT hooks.attach_lifecycle('app.streams', started => '{live}', columns => '{title}')});
sql(q{CREATE ROLE writer LOGIN; GRANT USAGE ON SCHEMA app TO writer; GRANT INSERT ON app.streams TO writer; GRANT EXECUTE ON FUNCTION app.topic_json TO writer});
sql("SET SESSION AUTHORIZATION writer; INSERT INTO app.streams (user_id, status, title) VALUES ($user, 'live', 'chess')");
is(announced(), 'stream_start', 'a role without any privilege of ours');
like(($receiver->requests)[-1]->{body}, qr/chess by writer/, "a cast of the table's owner runs as whoever writes the row");

# What is refused.

fails_with('SELECT hooks.attach_lifecycle(NULL)', qr/must not be null/, 'no table');
fails_with(q{SELECT hooks.attach_lifecycle('livestreams', status_column => 'state')},
	qr/have to be named.*HINT:  For example: started => '\{live\}'/s, 'no value that means live');
fails_with(q{SELECT hooks.attach_lifecycle('livestreams', status_column => 'state', started => '{live}', ended => '{ended,live}')},
	qr/cannot mean both/, 'a value that means both');
fails_with(q{SELECT hooks.attach_lifecycle('livestreams', started => '{live}')}, qr/Column "status" of "public.livestreams" does not exist/, 'no such column');
fails_with(q{SELECT hooks.attach_lifecycle('livestreams', status_column => 'state', user_column => 'title', started => '{live}')},
	qr/Column "title" of "public.livestreams" has the type text, but must be uuid/, 'a user that is no uuid');
fails_with(q{SELECT hooks.attach_lifecycle('shows', status_column => 'ended_at', started => '{live}')}, qr/is a time, so started and ended cannot be given/, 'values of a time');
fails_with(q{SELECT hooks.attach_lifecycle('livestreams', status_column => 'state', started => '{live}', min_gap => '2 days')}, qr/invalid min_gap: 2 days/, 'a gap of days');
fails_with(q{CREATE TABLE s (user_id uuid, status stream_status); SELECT hooks.attach_lifecycle('s', started => '{online}')},
	qr/cannot have the value "online".*Values of type public.stream_status are scheduled, live, paused, ended/s, 'a value that the type does not have');
fails_with(q{SELECT hooks.attach_lifecycle('channels_a', status_column => 'is_live')}, qr{"public.channels" is attached}, 'a partition of an attached table');
fails_with(q{SET SESSION AUTHORIZATION writer; SELECT hooks.attach_lifecycle('livestreams')}, qr/permission denied/, 'somebody else');
fails_with(q{SET SESSION AUTHORIZATION app; SELECT hooks.attach_lifecycle('livestreams')}, qr/must be owner of table "public.livestreams"/, 'somebody else, who may attach');

# Detaching, and a dump.

sql(q{SELECT hooks.detach_lifecycle('shows')});
sql('UPDATE shows SET ended_at = NULL');
is(announced(), '', 'detached');
$node->command_ok([ 'pg_dump', '-f', "$PostgreSQL::Test::Utils::tmp_check/streams.sql", $node->connstr('postgres') ], 'pg_dump');
sql('CREATE DATABASE copy');
$node->command_ok([ 'psql', '-X', '-q', '-o', '/dev/null', '-f', "$PostgreSQL::Test::Utils::tmp_check/streams.sql", $node->connstr('copy') ], 'restored');
is( value($node, 'SELECT string_agg(t::text, chr(10) ORDER BY t) FROM (SELECT streams::text, status_column, started, ended, min_gap, columns FROM hooks.stream_tables) t', 'copy'),
	value($node, 'SELECT string_agg(t::text, chr(10) ORDER BY t) FROM (SELECT streams::text, status_column, started, ended, min_gap, columns FROM hooks.stream_tables) t'),
	'the triggers are in a dump');
sql('DROP EXTENSION hooks');
is(value($node, q{SELECT count(*) FROM pg_trigger WHERE tgname = 'hooks_stream'}), 0, 'DROP EXTENSION takes them along');

done_testing();
