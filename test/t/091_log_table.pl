# A log table that cannot be written to: deliveries go on, what could not be
# logged is counted and said, and other rows are logged all the same.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.timeout' => '5s');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 4);
add_hook($node, user => $_, name => "hook $_", url => $receiver->url("/ok/$_")) for 1 .. 4;
add_event($node);
wait_idle($node);
$receiver->take;
my $pid = worker_pid($node);

# Events of all four users; tests that they are delivered, and who is logged.
sub deliver
{
	my ($what, @logged) = @_;
	my $unlogged = stat($node, 'unlogged');
	my $exists = value($node, q{SELECT to_regclass('stream_hook_logs') IS NOT NULL}) eq 't';

	$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs') if $exists;
	$node->safe_psql('postgres',
		q{INSERT INTO stream_events (type, data, user_id) SELECT 'follow', '{"username": "x"}', id FROM users ORDER BY id});
	wait_idle($node);
	is_deeply([ sort map { $_->{path} } $receiver->take ], [ map { "/ok/$_" } 1 .. 4 ], "$what: delivered");
	is_deeply(
		[ map { $_->{name} } $exists ? rows($node, 'SELECT u.name FROM stream_hook_logs AS l JOIN users AS u ON u.id = l.user_id ORDER BY 1') : () ],
		[ map { "user $_" } @logged ], "$what: logged");
	is(stat($node, 'unlogged') - $unlogged, 4 - @logged, "$what: unlogged are counted");
	is(worker_pid($node), $pid, "$what: the worker goes on");
	return;
}

sub alter
{
	my ($sql) = @_;

	$node->safe_psql('postgres', $sql);
	return;
}

deliver('at first', 1 .. 4);

# Triggers and constraints that refuse some rows or all.
alter(
	q{
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN RAISE EXCEPTION ''no more logs''; END';
	CREATE TRIGGER refuse BEFORE INSERT ON stream_hook_logs FOR EACH ROW
		WHEN (NEW.user_id = '} . user_uuid(2) . q{') EXECUTE FUNCTION refuse()});
deliver('a trigger that refuses one', 1, 3, 4);
like(slurp_file($node->logfile), qr/could not write to the hooks log: no more logs/, '... and the server log says why');
alter('DROP TRIGGER refuse ON stream_hook_logs; '
	  . 'CREATE TRIGGER refuse AFTER INSERT ON stream_hook_logs FOR EACH STATEMENT EXECUTE FUNCTION refuse()');
deliver('a trigger that refuses every statement');
alter('DROP TRIGGER refuse ON stream_hook_logs');
deliver('without the trigger', 1 .. 4);
alter("ALTER TABLE stream_hook_logs ADD CONSTRAINT choosy CHECK (user_id <> '" . user_uuid(3) . "') NOT VALID");
deliver('a constraint', 1, 2, 4);
alter('ALTER TABLE stream_hook_logs DROP CONSTRAINT choosy');

# A trigger that swallows rows is the application's choice.
alter(q{CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER swallow BEFORE INSERT ON stream_hook_logs FOR EACH ROW EXECUTE FUNCTION swallow()});
$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs');
my $before = stat($node, 'unlogged');
add_event($node);
wait_idle($node);
is_deeply([ stat($node, 'unlogged') - $before, log_statuses($node) ], [ 0, {} ], 'a trigger that swallows rows is no failure');
$receiver->take;
alter('DROP TRIGGER swallow ON stream_hook_logs');

# A table that its owner may not write to.
$node->safe_psql('postgres', 'CREATE ROLE owner; GRANT ALL ON SCHEMA public TO owner; '
	  . 'ALTER TABLE stream_hook_logs OWNER TO owner; ALTER TABLE stream_hooks OWNER TO owner; GRANT ALL ON users TO owner');
deliver('a table of another owner', 1 .. 4);
alter('REVOKE INSERT ON stream_hook_logs FROM owner');
deliver('a table that its owner may not write to');
alter('GRANT INSERT ON stream_hook_logs TO owner');

# Columns come and go.
alter('ALTER TABLE stream_hook_logs ADD COLUMN needed integer NOT NULL');
deliver('a column that nobody fills in');
alter('ALTER TABLE stream_hook_logs DROP COLUMN needed');
deliver('without that column', 1 .. 4);
alter('ALTER TABLE stream_hook_logs RENAME COLUMN duration_ms TO duration');
deliver('a column that is missing');
alter('ALTER TABLE stream_hook_logs RENAME COLUMN duration TO duration_ms');
deliver('the column is back', 1 .. 4);
alter('ALTER TABLE stream_hook_logs ALTER COLUMN duration_ms TYPE bigint, ALTER COLUMN executed_at TYPE timestamp '
	  . q{USING timezone('UTC', executed_at)});
deliver('columns of other types', 1 .. 4);
is( value($node, q{SELECT bool_and(abs(extract(epoch FROM timezone('UTC', now()) - executed_at)) < 60) FROM stream_hook_logs}),
	't', '... with the right times');

# No table at all.
alter('DROP TABLE stream_hook_logs');
deliver('no log table');
alter('SELECT hooks.setup()');
deliver('a new log table', 1 .. 4);

# Row-level security does not hide anything from the worker.
alter(q{ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY; ALTER TABLE stream_hook_logs ENABLE ROW LEVEL SECURITY;
	ALTER TABLE users ENABLE ROW LEVEL SECURITY});
deliver('row-level security', 1 .. 4);
alter(q{ALTER TABLE stream_hooks DISABLE ROW LEVEL SECURITY; ALTER TABLE stream_hook_logs DISABLE ROW LEVEL SECURITY;
	ALTER TABLE users DISABLE ROW LEVEL SECURITY});

# What is deleted while a request is under way leaves no row, and no trouble.
my $unlogged = stat($node, 'unlogged');
for my $what ('hook', 'user')
{
	my $sql = $what eq 'hook' ? q{DELETE FROM stream_hooks WHERE name = 'hook 4'}
	  : q{DELETE FROM stream_events WHERE user_id = '} . user_uuid(3) . q{'; DELETE FROM users WHERE id = '} . user_uuid(3) . q{'};
	my $user = $what eq 'hook' ? 4 : 3;

	$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = %s WHERE name = 'hook %d'},
		jsonb({ url => $receiver->url('/slow/1000') }), $user);
	add_event($node, user => $user);
	add_event($node, user => $user);
	wait_until(sub { stat($node, 'in_flight') == 2 }, 'requests under way');
	$node->safe_psql('postgres', $sql);
	wait_idle($node);
	is(value($node, sprintf q{SELECT count(*) FROM stream_hook_logs WHERE user_id = '%s'}, user_uuid($user)),
		0, "a $what that is deleted meanwhile: nothing is logged");
	is(worker_pid($node), $pid, "a $what that is deleted meanwhile: the worker goes on");
}
is(stat($node, 'unlogged'), $unlogged, '... which nobody misses');
$receiver->take;

# Old rows are deleted, in good time and not all at once.
configure($node, { 'hooks.log_retention' => '1d' }, 'postgres');
$node->safe_psql(
	'postgres', q{
	TRUNCATE stream_hook_logs;
	INSERT INTO stream_hook_logs (hook_id, user_id, trigger_type, action_type, status, executed_at, inserted_at)
	SELECT id, user_id, trigger_type, action_type, 'success', now() - age, now() - age
	FROM stream_hooks, (SELECT interval '25 hours' FROM generate_series(1, 3000)
		UNION ALL SELECT interval '23 hours' FROM generate_series(1, 10)) AS a (age)
	WHERE name = 'hook 1'});
$node->restart;
add_event($node);
wait_until(sub { value($node, 'SELECT count(*) FROM stream_hook_logs') == 11 }, 'old rows to be deleted');
is(value($node, q{SELECT count(*) FROM stream_hook_logs WHERE inserted_at > now() - interval '24 hours'}),
	11, 'rows of the log are deleted when they are old enough, and no sooner');

finish($node, qr/could not write to the hooks log/);
done_testing();
