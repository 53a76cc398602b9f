# What the owner of the application's tables puts on them runs when the worker
# writes there, as that owner, and can become nobody else.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my $node = hooks_node('main');
my $directory = PostgreSQL::Test::Utils::tempdir();

chmod 0777, $directory;
create_application($node);
add_users($node, 2, 2);
$node->safe_psql('postgres', "SELECT hooks.set_secret('" . user_uuid(1) . "', 'a_secret', 'Unseen')");

# Everything of the application's belongs to an ordinary role.
$node->safe_psql('postgres', q{
	CREATE ROLE keeper LOGIN;
	CREATE SCHEMA app AUTHORIZATION keeper;
	ALTER TABLE users OWNER TO keeper;
	ALTER TABLE stream_events OWNER TO keeper;
	ALTER TABLE stream_hooks OWNER TO keeper;
	ALTER TABLE stream_hook_logs OWNER TO keeper;
	GRANT CREATE ON SCHEMA public TO keeper;
});

# In a session of that role's own: a superuser who runs its code is beyond help.
sub as_role
{
	my ($role, $sql) = @_;

	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]);
}

# What that role tries, wherever its code is run: each with what comes of it.
my %tries = (
	'become the superuser' => q{SET ROLE postgres},
	'go back to who began' => q{RESET ROLE},
	'be another session' => q{SET SESSION AUTHORIZATION postgres},
	'go back to the session' => q{RESET SESSION AUTHORIZATION},
	'run a program' => qq{COPY (SELECT 1) TO PROGRAM 'touch $directory/run'},
	'write a file' => qq{COPY (SELECT 1) TO '$directory/written'},
	'read a file' => q{SELECT pg_read_file('postgresql.conf')},
	'read secrets' => q{SELECT value FROM hooks.secret},
	'read the queue' => q{SELECT * FROM hooks.queue_0},
	'change deliveries' => q{DELETE FROM hooks.delivery},
	'write secrets' => q{SELECT hooks.set_secret(gen_random_uuid(), 'a', 'b')},
	'make a superuser' => q{CREATE ROLE evil SUPERUSER},
	'become a superuser' => q{ALTER ROLE keeper SUPERUSER},
	'create in our schema' => q{CREATE TABLE hooks.evil (a int)},
	'change a setting' => q{ALTER SYSTEM SET work_mem = '64MB'},
	'leave something behind' => q{SET session_replication_role = replica},
	'leave a temporary table behind' => q{CREATE TEMP TABLE pg_trigger_evil (a int)},
	'listen' => q{LISTEN evil},
	'leave a cursor behind' => q{DECLARE evil CURSOR WITH HOLD FOR SELECT 1},
	'commit' => q{COMMIT});
my $list = join ', ', map { '(' . literal($_) . ', ' . literal($tries{$_}) . ')' } sort keys %tries;

as_role('keeper', qq{
	CREATE TABLE app.seen (place text, what text, outcome text, who text, began text, super text, path text, pid int);
	CREATE TABLE app.tries (what text, sql text);
	INSERT INTO app.tries VALUES $list;
	CREATE FUNCTION app.try(place text) RETURNS bool LANGUAGE plpgsql VOLATILE AS \$\$
	DECLARE
		t record;
		result text;
	BEGIN
		IF EXISTS (SELECT FROM app.seen AS s WHERE s.place = try.place AND s.pid = pg_backend_pid()) THEN
			RETURN true;
		END IF;
		INSERT INTO app.seen VALUES (place, '', '', current_user, session_user,
			(SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user), current_setting('search_path'), pg_backend_pid());
		FOR t IN SELECT * FROM app.tries LOOP
			result := NULL;
			BEGIN
				EXECUTE t.sql;
				result := 'done, as ' || current_user;
				RAISE EXCEPTION 'undo' USING ERRCODE = 'UE000';
			EXCEPTION
				WHEN SQLSTATE 'UE000' THEN
					NULL;
				WHEN OTHERS THEN
					result := SQLERRM;
			END;
			INSERT INTO app.seen VALUES (place, t.what, result, current_user, session_user,
				(SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user), '', pg_backend_pid());
		END LOOP;
		RETURN true;
	END \$\$;
	CREATE FUNCTION app.pure(place text, a anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS
		\$\$ BEGIN PERFORM app.try(place); RETURN a; END \$\$;
	CREATE FUNCTION app.on_row() RETURNS trigger LANGUAGE plpgsql AS
		\$\$ BEGIN PERFORM app.try(TG_NAME || ' on ' || TG_TABLE_NAME); RETURN NEW; END \$\$;
	CREATE FUNCTION app.on_statement() RETURNS trigger LANGUAGE plpgsql AS
		\$\$ BEGIN PERFORM app.try(TG_NAME || ' on ' || TG_TABLE_NAME); RETURN NULL; END \$\$;
});

# Where code of theirs can be: each place alone, so that none of them hides another.
my @places = (
	[ 'trigger before', 'CREATE TRIGGER a_before BEFORE INSERT ON stream_hook_logs FOR EACH ROW EXECUTE FUNCTION app.on_row()', 'DROP TRIGGER a_before ON stream_hook_logs' ],
	[ 'trigger after', 'CREATE TRIGGER an_after AFTER INSERT ON stream_hook_logs FOR EACH ROW EXECUTE FUNCTION app.on_row()', 'DROP TRIGGER an_after ON stream_hook_logs' ],
	[ 'statement trigger', 'CREATE TRIGGER a_statement AFTER INSERT ON stream_hook_logs EXECUTE FUNCTION app.on_statement()', 'DROP TRIGGER a_statement ON stream_hook_logs' ],
	[ 'trigger always', 'CREATE TRIGGER an_always AFTER INSERT ON stream_hook_logs FOR EACH ROW EXECUTE FUNCTION app.on_row(); ALTER TABLE stream_hook_logs ENABLE ALWAYS TRIGGER an_always', 'DROP TRIGGER an_always ON stream_hook_logs' ],
	[ 'trigger when', q{CREATE TRIGGER a_when AFTER INSERT ON stream_hook_logs FOR EACH ROW WHEN (app.try('a when')) EXECUTE FUNCTION app.on_row()}, 'DROP TRIGGER a_when ON stream_hook_logs' ],
	[ 'check', q{ALTER TABLE stream_hook_logs ADD CONSTRAINT a_check CHECK (app.try('check')) NOT VALID}, 'ALTER TABLE stream_hook_logs DROP CONSTRAINT a_check' ],
	[ 'index expression', q{CREATE INDEX an_index ON stream_hook_logs (app.pure('index', status))}, 'DROP INDEX an_index' ],
	[ 'index predicate', q{CREATE INDEX an_index ON stream_hook_logs (status) WHERE app.pure('predicate', status) = 'success'}, 'DROP INDEX an_index' ],
	[ 'default', q{ALTER TABLE stream_hook_logs ADD COLUMN extra bool; ALTER TABLE stream_hook_logs ALTER COLUMN extra SET DEFAULT app.try('default')}, 'ALTER TABLE stream_hook_logs DROP COLUMN extra' ],
	[ 'generated column', q{ALTER TABLE stream_hook_logs ADD COLUMN extra text GENERATED ALWAYS AS (app.pure('generated', status)) STORED}, 'ALTER TABLE stream_hook_logs DROP COLUMN extra' ],
	[ 'domain', q{CREATE DOMAIN app.checked AS text CHECK (app.try('domain') OR VALUE <> ''); ALTER TABLE stream_hook_logs ALTER COLUMN error_message TYPE app.checked}, 'ALTER TABLE stream_hook_logs ALTER COLUMN error_message TYPE text; DROP DOMAIN app.checked' ],
	[ 'rule', q{CREATE RULE a_rule AS ON INSERT TO stream_hook_logs DO ALSO SELECT app.try('rule')}, 'DROP RULE a_rule ON stream_hook_logs' ],
	[ 'policy', q{CREATE POLICY a_policy ON stream_hook_logs USING (app.try('policy')) WITH CHECK (app.try('policy')); ALTER TABLE stream_hook_logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY}, 'ALTER TABLE stream_hook_logs DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY; DROP POLICY a_policy ON stream_hook_logs' ],
	[ 'deferred trigger', 'CREATE CONSTRAINT TRIGGER a_deferred AFTER INSERT ON stream_hook_logs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.on_row()', 'DROP TRIGGER a_deferred ON stream_hook_logs', 'may not run' ],
	[ 'deferred trigger on hooks', 'CREATE CONSTRAINT TRIGGER a_deferred AFTER UPDATE ON stream_hooks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.on_row()', 'DROP TRIGGER a_deferred ON stream_hooks', 'may not run' ],
	[ 'trigger on hooks', 'CREATE TRIGGER an_update AFTER UPDATE ON stream_hooks FOR EACH ROW EXECUTE FUNCTION app.on_row()', 'DROP TRIGGER an_update ON stream_hooks' ],
	[ 'check on hooks', q{ALTER TABLE stream_hooks ADD CONSTRAINT a_check CHECK (app.try('hooks check')) NOT VALID}, 'ALTER TABLE stream_hooks DROP CONSTRAINT a_check' ],
	[ 'policy on hooks', q{CREATE POLICY a_policy ON stream_hooks USING (app.try('hooks policy')); ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY}, 'ALTER TABLE stream_hooks DISABLE ROW LEVEL SECURITY; DROP POLICY a_policy ON stream_hooks', 'may not run' ],
	[ 'index on hooks', q{CREATE INDEX an_index ON stream_hooks (app.pure('hooks index', last_triggered_at))}, 'DROP INDEX an_index' ]);

add_hook($node, url => $receiver->url('/ok'));

# With a hook that goes wrong for good the worker writes stream_hooks, too.
my $gone = add_hook($node, trigger => 'raid', url => $receiver->url('/status/410'));
my $others = add_hook($node, user => 2, url => $receiver->url('/ok'));
my $tried = 0;

for my $place (@places)
{
	my ($what, $create, $drop, $may_not_run) = @$place;

	as_role('keeper', $create);
	as_role('keeper', "UPDATE stream_hooks SET enabled = true; TRUNCATE app.seen");
	$receiver->take;
	my @events = (add_event($node), add_event($node, type => 'raid'), add_event($node, user => 2));
	wait_idle($node);
	wait_until(sub { value($node, "SELECT NOT enabled FROM stream_hooks WHERE id = '$gone'") eq 't' }, "$what: a hook is disabled", 30)
		if $what ne 'deferred trigger on hooks';
	is(scalar(my @requests = $receiver->take), 3, "$what: everything is delivered");

	my $pid = worker_pid($node);
	my @seen = rows($node, "SELECT * FROM app.seen WHERE pid = $pid");

	cmp_ok(scalar @seen, '>', $may_not_run ? -1 : keys %tries, "$what: their code ran in the worker");
	is_deeply([ grep { $_->{who} ne 'keeper' || $_->{super} ne 'false' } @seen ], [], "$what: as nobody but the owner");
	is_deeply([ grep { $_->{what} ne '' && $_->{outcome} =~ /^done/ } @seen ], [], "$what: and could do nothing that it should not");
	is_deeply([ grep { $_->{path} ne '' && $_->{path} !~ /^pg_catalog, pg_temp$/ } @seen ], [], "$what: with a safe search_path");
	$tried += grep { $_->{what} ne '' } @seen;
	as_role('keeper', $drop);
}
cmp_ok($tried, '>', 200, 'things that were tried');
note "inputs: $tried";
ok(!-e "$directory/run" && !-e "$directory/written", 'no program was run, no file written');
is(value($node, q{SELECT count(*) FROM pg_roles WHERE rolname = 'evil' OR rolname = 'keeper' AND rolsuper}), 0, 'nobody has become superuser');

# All is well without them.
my $event = add_event($node);
wait_idle($node);
is_deeply(log_statuses($node, event => $event), { success => 1 }, 'the log is written as ever');

# Events, too: what runs in the session that inserts them is the session's own affair; ours runs with no rights of theirs, and gives them none.
$node->safe_psql('postgres', q{
	CREATE ROLE inserter LOGIN;
	GRANT INSERT ON stream_events TO inserter;
	GRANT USAGE ON SCHEMA app TO inserter});
as_role('keeper', q{
	GRANT ALL ON app.seen, app.tries TO inserter;
	TRUNCATE app.seen;
	CREATE TRIGGER zz_after AFTER INSERT ON stream_events FOR EACH ROW EXECUTE FUNCTION app.on_row();
	CREATE TRIGGER aa_before BEFORE INSERT ON stream_events FOR EACH ROW EXECUTE FUNCTION app.on_row();
	CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON stream_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.on_row();});
$receiver->take;
as_role('inserter', sprintf(q{INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{}', %s)}, literal(user_uuid(1))));
wait_idle($node);
is(scalar(my @requests = $receiver->take), 1, 'an event of a role that may insert, and no more');
my @seen = rows($node, 'SELECT * FROM app.seen');
is(scalar(grep { $_->{what} eq '' } @seen), 3, 'the triggers of the event table ran');
is_deeply([ grep { $_->{who} ne 'inserter' } @seen ], [], '... as the role that inserts, also when they are deferred');
is_deeply([ grep { $_->{what} ne '' && $_->{what} !~ /^go back|^leave (?:a temp|a cursor)|^listen/ && $_->{outcome} =~ /^done/ } @seen ], [], '... and could do nothing that it could not by itself');

finish($node, qr/could not write to the hooks log/, qr/deferred trigger/, qr/security-restricted/, qr/could not disable/, qr/cannot/);
done_testing();
