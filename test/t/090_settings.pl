# Settings of roles and databases are meant for people: whatever they are, the
# worker goes on, and so do applications that insert events.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;

$node->safe_psql('postgres', 'CREATE ROLE owner; CREATE DATABASE app OWNER owner');
create_application($node, 'app');
$node->safe_psql(
	'app', q{
	GRANT ALL ON SCHEMA public TO owner;
	ALTER TABLE users OWNER TO owner;
	ALTER TABLE stream_events OWNER TO owner;
	ALTER TABLE stream_hooks OWNER TO owner;
	ALTER TABLE stream_hook_logs OWNER TO owner;

	-- Everything that a careless query would fall into.
	CREATE SCHEMA hostile AUTHORIZATION owner});
my $trap = q{LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END'};
foreach my $type (qw(uuid text oid timestamptz bigint integer boolean))
{
	$node->safe_psql('app', "CREATE FUNCTION hostile.trap($type, $type) RETURNS boolean $trap");
	$node->safe_psql('app', "CREATE OPERATOR hostile.$_ (LEFTARG = $type, RIGHTARG = $type, FUNCTION = hostile.trap)")
	  for qw(= < <>);
}
$node->safe_psql(
	'app', qq{
	CREATE FUNCTION hostile.now() RETURNS timestamptz $trap;
	CREATE FUNCTION hostile.gen_random_uuid() RETURNS uuid $trap;
	CREATE FUNCTION hostile.timezone(text, timestamptz) RETURNS timestamp $trap;
	CREATE FUNCTION hostile.unnest(uuid[]) RETURNS SETOF uuid $trap;
	CREATE FUNCTION hostile.pg_control_system() RETURNS integer LANGUAGE sql AS 'SELECT 1';
	CREATE TABLE hostile.stream_hooks (x integer);
	CREATE TABLE hostile.stream_hook_logs (x integer);
	CREATE TABLE hostile.pg_class (x integer);
	CREATE TABLE hostile.pg_trigger (x integer);
	CREATE TABLE hostile.pg_prepared_xacts (x integer);
	CREATE DOMAIN hostile.text AS integer;
	CREATE DOMAIN hostile.int4 AS pg_catalog.text;
	GRANT USAGE ON SCHEMA hostile TO PUBLIC;
	CREATE ROLE application LOGIN;
	GRANT INSERT, SELECT ON stream_events, users TO application});

my $donations = add_hook($node, url => $receiver->url('/ok/donation'), trigger => 'donation', database => 'app',
	conditions => { min_amount => 5, currency => 'EUR' }, cooldown => 3600);
add_hook($node, url => $receiver->url('/ok/follow'), database => 'app');
add_event($node, database => 'app');
wait_idle($node, 'app');

my %settings = (
	statement_timeout => '1ms',
	lock_timeout => '1ms',
	idle_in_transaction_session_timeout => '1ms',
	idle_session_timeout => '1ms',
	default_transaction_read_only => 'on',
	default_transaction_isolation => 'serializable',
	default_transaction_deferrable => 'on',
	search_path => 'hostile, pg_catalog, public',
	row_security => 'off',
	session_replication_role => 'replica',
	synchronous_commit => 'off',
	timezone => 'Pacific/Chatham',
	datestyle => 'SQL, DMY',
	intervalstyle => 'sql_standard',
	array_nulls => 'off',
	transform_null_equals => 'on',
	standard_conforming_strings => 'off',
	quote_all_identifiers => 'on',
	backslash_quote => 'off',
	bytea_output => 'escape',
	extra_float_digits => '-15',
	enable_seqscan => 'off',
	enable_indexscan => 'off',
	plan_cache_mode => 'force_custom_plan',
	jit_above_cost => '0',
	work_mem => '64kB',
	temp_file_limit => '0',
	client_min_messages => 'error',
	default_tablespace => '',
	default_toast_compression => 'pglz',
	gin_fuzzy_search_limit => '1',
	restrict_nonsystem_relation_kind => 'view, foreign-table');

# The application's sessions say what they need.
my $sane = '-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 '
  . '-c default_transaction_read_only=off -c default_transaction_isolation=read\ committed '
  . '-c session_replication_role=origin -c row_security=on -c search_path=public -c standard_conforming_strings=on '
  . '-c exit_on_error=off -c role=none';

# A setting of the database, of everybody, and of the role that the worker
# connects as.
my $superuser = value($node, 'SELECT rolname FROM pg_roles WHERE oid = 10');
my $n = 0;
for my $scope ('DATABASE app', 'ROLE ALL', "ROLE $superuser", "ROLE $superuser IN DATABASE app")
{
	local $ENV{PGOPTIONS} = $sane;

	# Not every version has every one of them.
	$node->psql(
		'postgres',
		join("\n",
			map { "ALTER $scope SET $_ = " . ($_ eq 'search_path' ? $settings{$_} : literal($settings{$_})) . ';' }
			  sort keys %settings),
		on_error_stop => 0);
	$node->safe_psql('postgres', "ALTER $scope RESET session_replication_role") unless $scope =~ /$superuser/;
	cmp_ok(value($node, 'SELECT max(cardinality(setconfig)) FROM pg_db_role_setting'), '>', 25, "$scope: settings are made");

	# Whoever is there was there before.
	my $old = worker_pid($node, 'app');
	value($node, "SELECT pg_terminate_backend($old)", 'app') if $old;
	$n++;
	$node->safe_psql('app', 'UPDATE stream_hooks SET last_triggered_at = NULL');
	add_event($node, database => 'app', data => { username => "follow $n" });
	for my $amount ('4.99', '5.00', '5.00')
	{
		add_event($node, type => 'donation', database => 'app',
			data => { donor_name => 'A', amount => $amount, currency => 'EUR' });
	}
	wait_idle($node, 'app');
	is_deeply([ map { $_->{path} } grep { $_->{path} =~ /follow/ } $receiver->take ],
		[ ('/ok/follow') x ($n == 1 ? 2 : 1) ], "$scope: hooks fire");
	is_deeply(
		log_statuses($node, hook => $donations, database => 'app'),
		{ success => $n, skipped_condition => $n, skipped_cooldown => $n },
		"$scope: conditions and cooldowns hold");
	is( value(
			$node, q{SELECT count(*) FROM stream_hook_logs AS l JOIN stream_events AS e ON e.id = l.stream_event_id
			WHERE abs(extract(epoch FROM timezone('UTC', l.executed_at) - e.inserted_at)) > 60}, 'app'),
		0,
		"$scope: times are right");
	isnt(worker_pid($node, 'app'), $old, "$scope: by a worker that has these settings");

	# An application whose own session is hostile.
	local $ENV{PGOPTIONS} = $sane =~ s/-c session_replication_role=origin//r;
	my (undef, undef, $stderr) = $node->psql(
		'app', sprintf(
			q{SET search_path = hostile, pg_catalog, public; SET row_security = off; SET array_nulls = off;
			SET exit_on_error = on; SET enable_seqscan = off;
			INSERT INTO public.stream_events (id, type, data, user_id, livestream_id, inserted_at)
			VALUES (pg_catalog.gen_random_uuid(), 'follow', '{}', '%s', pg_catalog.gen_random_uuid(),
			pg_catalog.timezone('UTC', pg_catalog.now()))}, user_uuid(1)),
		extra_params => [ '-U', 'application' ]);
	is($stderr, '', "$scope: an application with a hostile search_path notices nothing");
	wait_idle($node, 'app');
	is(scalar(my @sent = $receiver->take), 1, "$scope: its event fires");

	$ENV{PGOPTIONS} = $sane;
	$node->safe_psql('postgres', "ALTER $scope RESET ALL");
}

# Two that would hurt more: every error is the end of the session, and every
# session is somebody else's.
for (
	[ exit_on_error => 'on' ],
	[ role => 'application' ])
{
	my ($name, $value) = @$_;

	$node->safe_psql('postgres', "ALTER DATABASE app SET $name = $value");
	local $ENV{PGOPTIONS} = $sane;
	my $old = worker_pid($node, 'app');
	my $said = -s $node->logfile;

	# A log row that cannot be written is an error that must not end the worker.
	$node->safe_psql('app', q{ALTER TABLE stream_hook_logs ADD CONSTRAINT no CHECK (error_message IS NULL)});
	my $failing = add_hook($node, trigger => 'raid', url => $receiver->url('/status/500'), database => 'app');
	value($node, "SELECT pg_terminate_backend($old)", 'app');
	add_event($node, type => 'raid', database => 'app');
	add_event($node, database => 'app');
	is(value($node, q{SELECT hooks.wait_idle('10 seconds')}, 'app'), 't', "$name = $value: hooks fire");
	is_deeply([ sort map { $_->{path} } $receiver->take ], [ '/ok/follow', '/status/500' ], "$name = $value: both");
	my $ends = () = slurp_file($node->logfile, $said) =~ /background worker "hooks worker" \(PID \d+\) exited/g;
	cmp_ok($ends, '<', 5, "$name = $value: workers do not come and go");
	$node->safe_psql('app', 'ALTER TABLE stream_hook_logs DROP CONSTRAINT no; ' . "DELETE FROM stream_hooks WHERE id = '$failing'");
	$node->safe_psql('postgres', "ALTER DATABASE app RESET $name");
}
$node->safe_psql('app', 'SELECT hooks.wake()');
wait_idle($node, 'app');

# The application's triggers on our tables run as the tables' owner, who can do
# nothing that the owner could not do himself.
$node->safe_psql(
	'app', q{
	CREATE TABLE seen (who text, session text, path text);
	ALTER TABLE seen OWNER TO owner;
	CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.seen VALUES (current_user, session_user, current_setting('search_path'));
		BEGIN
			SET LOCAL ROLE postgres;
			INSERT INTO public.seen VALUES ('escaped: SET ROLE', current_user);
		EXCEPTION WHEN others THEN NULL;
		END;
		BEGIN
			SET LOCAL SESSION AUTHORIZATION DEFAULT;
			INSERT INTO public.seen VALUES ('escaped: SESSION AUTHORIZATION', current_user);
		EXCEPTION WHEN others THEN NULL;
		END;
		BEGIN
			PERFORM pg_catalog.pg_read_file('PG_VERSION');
			INSERT INTO public.seen VALUES ('escaped: read a file', current_user);
		EXCEPTION WHEN others THEN NULL;
		END;
		BEGIN
			CREATE TEMP TABLE t (x integer);
			INSERT INTO public.seen VALUES ('escaped: temporary table', current_user);
		EXCEPTION WHEN others THEN NULL;
		END;
		RETURN NULL;
	END $$;
	ALTER FUNCTION look() OWNER TO owner;
	CREATE TRIGGER look_logs AFTER INSERT ON stream_hook_logs FOR EACH ROW EXECUTE FUNCTION look();
	CREATE TRIGGER look_hooks AFTER UPDATE ON stream_hooks FOR EACH ROW EXECUTE FUNCTION look()});
add_event($node, database => 'app');
wait_idle($node, 'app');
is_deeply([ map { $_->{who} } rows($node, 'SELECT DISTINCT who FROM seen', 'app') ],
	['owner'], 'triggers of the application run as the owner of the table, and cannot become more');
is_deeply([ map { $_->{path} } rows($node, 'SELECT DISTINCT path FROM seen', 'app') ],
	['pg_catalog, pg_temp'], '... with a safe search_path');
cmp_ok(value($node, 'SELECT count(*) FROM seen', 'app'), '>=', 2, '... on logs and on hooks');

finish($node, qr/could not write to the hooks log/);
done_testing();
