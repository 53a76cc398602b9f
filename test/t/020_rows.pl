# Which rows fire: exactly those that are really inserted and committed,
# whatever the statement, whoever inserts them.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.max_event_age' => '10min');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 3);
add_hook($node, trigger => $_, url => $receiver->url, config => { body_template => '{{event_type}} {{username}}' })
  for qw(follow donation);

# An application role that may insert events and nothing else.
$node->safe_psql(
	'postgres', q{
	CREATE ROLE application LOGIN;
	GRANT INSERT, UPDATE, SELECT ON stream_events TO application;
	GRANT SELECT ON users TO application});

# The names in the events that have fired since, sorted.
sub fired
{
	wait_idle($node);
	return [ sort map { $_->{body} =~ /^follow (.*)$/ ? $1 : $_->{body} } $receiver->take ];
}

# Runs SQL as the application and tests which events fire and what it says.
sub fires
{
	my ($what, $sql, $expected, %more) = @_;
	my ($status, $stdout, $stderr) =
	  $node->psql($more{database} || 'postgres', $sql, extra_params => [ '-U', 'application' ],
		on_error_stop => 0);

	if ($more{error})
	{
		like($stderr, $more{error}, "$what: the application's own error");
	}
	else
	{
		is($stderr, '', "$what: nothing is said");
	}
	is_deeply(fired(), [ sort @$expected ], $what);
	return;
}

my $user = literal(user_uuid(1));
my $columns = '(id, type, data, user_id)';

sub event_id
{
	my ($n) = @_;
	return sprintf q{'10000000-0000-4000-8000-%012d'}, $n;
}

sub row
{
	my ($n, $name, $type) = @_;
	return sprintf q{(%s, '%s', '{"username": "%s"}', %s)}, event_id($n), $type // 'follow', $name, $user;
}

sub insert
{
	return "INSERT INTO stream_events $columns VALUES " . join(', ', @_);
}

# The role really has no privilege on anything of ours.
is($node->safe_psql('postgres', 'SELECT current_user', extra_params => [ '-U', 'application' ]),
	'application', 'events are inserted by a role of the application\'s');
is( value(
		$node, q{SELECT count(*) FROM pg_class AS c
		WHERE c.relkind IN ('r', 'v') AND (c.relnamespace = 'hooks'::regnamespace OR c.relname LIKE 'stream_hook%')
			AND c.oid <> ALL ('{hooks.event_tables,hooks.stream_tables}'::regclass[]) -- what pg_trigger says to everybody
			AND c.oid <> 'hooks.joined'::regclass -- of users whose hooks one sees
			AND has_table_privilege('application', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')}),
	0,
	'the application may do nothing with our tables');

fires('INSERT', insert(row(1, 'a')), ['a']);
fires('INSERT of several rows', insert(row(2, 'b'), row(3, 'c')), [qw(b c)]);
fires(
	'COPY',
	"COPY stream_events $columns FROM stdin;\n"
	  . join('', map { sprintf "%s\tfollow\t{\"username\": \"copied %d\"}\t%s\n", event_id(10 + $_) =~ s/'//gr, $_, user_uuid(1) } 1 .. 5)
	  . "\\.\n",
	[ map { "copied $_" } 1 .. 5 ]);

# ON CONFLICT: rows that end as an update do not fire, those beside them do.
fires(
	'ON CONFLICT DO UPDATE',
	insert(row(1, 'updated'), row(20, 'inserted'), row(2, 'updated'), row(21, 'inserted too'))
	  . ' ON CONFLICT (id) DO UPDATE SET data = excluded.data, was_displayed = true',
	[ 'inserted', 'inserted too' ]);
is(value($node, q{SELECT count(*) FROM stream_events WHERE data ->> 'username' = 'updated'}),
	2, '... and the others were really updated');
fires('ON CONFLICT DO NOTHING', insert(row(1, 'x'), row(22, 'y')) . ' ON CONFLICT DO NOTHING', ['y']);
fires(
	'MERGE',
	"MERGE INTO stream_events AS e USING (VALUES (" . event_id(1) . "::uuid, 'merged'), ("
	  . event_id(23) . "::uuid, 'new')) AS v (id, name) ON e.id = v.id "
	  . "WHEN MATCHED THEN UPDATE SET data = jsonb_build_object('username', v.name) "
	  . "WHEN NOT MATCHED THEN INSERT $columns VALUES "
	  . "(v.id, 'follow', jsonb_build_object('username', v.name), $user)",
	['new']);
fires('UPDATE', q{UPDATE stream_events SET data = '{"username": "changed"}', was_displayed = true}, []);
fires('UPDATE of the type', q{UPDATE stream_events SET type = 'donation'; UPDATE stream_events SET type = 'follow'}, []);
fires('INSERT SELECT', 'INSERT INTO stream_events (type, data, user_id) '
	  . "SELECT 'follow', jsonb_build_object('username', n), $user FROM generate_series(1, 3) AS n", [ 1, 2, 3 ]);
fires('an INSERT inside a query', 'WITH i AS (' . insert(row(24, 'cte')) . ' RETURNING 1) SELECT FROM i', ['cte']);

# Transactions and savepoints.
fires('ROLLBACK', 'BEGIN; ' . insert(row(30, 'never')) . '; ROLLBACK', []);
fires(
	'savepoints',
	'BEGIN; ' . insert(row(31, 'before'))
	  . '; SAVEPOINT a; ' . insert(row(32, 'rolled back'))
	  . '; SAVEPOINT b; ' . insert(row(33, 'rolled back with its parent')) . '; RELEASE b'
	  . '; ROLLBACK TO a; ' . insert(row(34, 'after it'))
	  . '; SAVEPOINT c; ' . insert(row(35, 'released')) . '; RELEASE c; COMMIT',
	[ 'before', 'after it', 'released' ]);
fires(
	'exceptions in PL/pgSQL',
	'DO $$ BEGIN ' . insert(row(40, 'outer'))
	  . '; FOR i IN 1 .. 3 LOOP BEGIN ' . insert(row(41, 'inner'))
	  . '; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; '
	  . 'BEGIN ' . insert(row(42, 'kept')) . '; EXCEPTION WHEN others THEN NULL; END; END $$',
	[ 'outer', 'kept' ]);
fires('a statement that fails', insert(row(50, 'good'), row(1, 'duplicate')), [], error => qr/ERROR:  duplicate key/);
fires(
	'more rows than are held in memory, some rolled back',
	'BEGIN; ' . 'INSERT INTO stream_events (type, data, user_id) '
	  . "SELECT 'donation', '{\"donor_name\": \"bulk\"}', $user FROM generate_series(1, 1500); "
	  . 'SAVEPOINT s; INSERT INTO stream_events (type, data, user_id) '
	  . "SELECT 'follow', '{\"username\": \"rolled back\"}', $user FROM generate_series(1, 2500); "
	  . 'ROLLBACK TO s; ' . insert(row(51, 'the end')) . '; COMMIT',
	[ ('donation bulk') x 1500, 'the end' ]);

# A constraint that fails at commit.
$node->safe_psql(
	'postgres', q{
	ALTER TABLE stream_events ADD COLUMN parent uuid REFERENCES stream_events DEFERRABLE INITIALLY DEFERRED});
fires(
	'a deferred constraint that fails at commit',
	"BEGIN; INSERT INTO stream_events (type, data, user_id, parent) VALUES "
	  . "('follow', '{\"username\": \"orphan\"}', $user, gen_random_uuid()); COMMIT",
	[],
	error => qr/ERROR:  insert or update on table "stream_events" violates foreign key/);

# Isolation levels.
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	fires($level, "BEGIN ISOLATION LEVEL $level; SELECT FROM users; " . insert(row(60, lc $level)) . '; COMMIT',
		[ lc $level ]);
	$node->safe_psql('postgres', 'DELETE FROM stream_events WHERE id = ' . event_id(60));
}

# Who else inserts does not matter: a view, a function, a partition's trigger.
$node->safe_psql(
	'postgres', q{
	CREATE VIEW events_view AS SELECT * FROM stream_events;
	GRANT INSERT ON events_view TO application;
	CREATE FUNCTION note(name text) RETURNS void LANGUAGE sql SECURITY DEFINER AS
		$$INSERT INTO stream_events (type, data, user_id)
		VALUES ('follow', jsonb_build_object('username', name), '} . user_uuid(1) . q{')$$});
fires('through a view', "INSERT INTO events_view $columns VALUES " . row(61, 'view'), ['view']);
fires('through a function', q{SELECT note('function')}, ['function']);

# Events that nobody waits for.
my $queued = stat($node, 'events_queued');
fires(
	'types without hooks, and types that are none',
	insert(row(70, 'x', 'raid'), row(71, 'x', 'stream_updated'), row(72, 'x', 'platform_started'), row(73, 'x', '')),
	[]);
fires('users without hooks', "INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{}', '"
	  . user_uuid(2) . q{')}, []);
is(stat($node, 'events_queued'), $queued, 'they are not even queued');

# A transaction sees its own hook.
$node->safe_psql(
	'postgres', 'BEGIN; '
	  . sprintf(
		'INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config) '
		  . q{VALUES ('%s', 'new', 'follow', 'webhook', %s); },
		user_uuid(3), jsonb({ url => $receiver->url, body_template => 'own {{username}}' }))
	  . sprintf(q{INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{"username": "hook"}', '%s'); COMMIT},
		user_uuid(3)));
is_deeply(fired(), ['own hook'], 'a transaction that creates a hook and inserts an event sees its own hook');

# A session that has its snapshot from before the hook was made.
my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users');
add_hook($node, user => 2, url => $receiver->url, config => { body_template => 'late {{username}}' });
$old->query_safe(
	sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{"username": "hook"}', '%s'); COMMIT},
	user_uuid(2));
is_deeply(fired(), ['late hook'], 'a hook that is newer than the snapshot of the inserting transaction fires');

# A session that has learnt that nobody waits for an event learns that
# somebody does, and the reverse.
$old->query_safe(sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('raid', '{}', '%s')}, user_uuid(2));
my $raid = add_hook($node, user => 2, trigger => 'raid', url => $receiver->url, config => { body_template => 'raided' });
$old->query_safe(sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('raid', '{}', '%s')}, user_uuid(2));
is_deeply(fired(), ['raided'], 'a hook is noticed by sessions that were there before');
$node->safe_psql('postgres', "UPDATE stream_hooks SET enabled = false WHERE id = '$raid'");
$queued = stat($node, 'events_queued');
$old->query_safe(sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('raid', '{}', '%s')}, user_uuid(2));
is_deeply(fired(), [], 'a hook that was disabled does not fire');
is(stat($node, 'events_queued'), $queued, '... and its events are not queued any more');
$old->quit;

# History does not replay: events that are too old are counted, not fired.
is(stat($node, 'events_too_old'), 0, 'nothing was too old so far');
add_event($node, data => { username => 'old' }, age => 700);
add_event($node, data => { username => 'recent' }, age => 500);
add_event($node, data => { username => 'of the future' }, age => -700);
is_deeply(fired(), [ 'of the future', 'recent' ], 'an event that is too old does not fire');
is(stat($node, 'events_too_old'), 1, '... and is counted');

# The payload is the one that was committed, whatever becomes of the row.
$node->safe_psql(
	'postgres', 'BEGIN; ' . insert(row(80, 'as inserted'), row(81, 'deleted'))
	  . q{; UPDATE stream_events SET data = '{"username": "as updated"}' WHERE id = } . event_id(80)
	  . '; DELETE FROM stream_events WHERE id = ' . event_id(81) . '; COMMIT');
is_deeply(fired(), [ 'as inserted', 'deleted' ], 'an event is what was inserted');

finish($node);
done_testing();
