# ALTER EXTENSION hooks UPDATE: an installation of each released version, with
# everything that can be in it and under load, becomes what a new one is, and
# loses nothing.  While SQL and library do not fit, events are queued, the
# worker says so once and stays away, and comes back by itself when they do.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.secret_key_file' => undef);
my $receiver = Hooks::Receiver->start;
my $dir = $PostgreSQL::Test::Utils::tmp_check;
my $current = value($node, q{SELECT default_version FROM pg_available_extensions WHERE name = 'hooks'});
my ($result, $stdout, $stderr);

sub psql
{
	my ($sql, $database) = @_;

	($result, $stdout, $stderr) = $node->psql($database || 'postgres', $sql);
	return $result;
}

sub version
{
	my ($database) = @_;

	return value($node, q{SELECT extversion FROM pg_extension WHERE extname = 'hooks'}, $database);
}

# What the server log says of databases that get nothing, from this place on.
sub said
{
	my ($from) = @_;

	return grep { /hooks sends nothing for database/ } split /\n/, slurp_file($node->logfile, $from);
}

sub here
{
	return -s $node->logfile;
}

# The application's tables, and an installation of that version.
sub create_old_application
{
	my ($database, $version) = @_;

	create_application($node, $database);
	$node->safe_psql($database || 'postgres', qq{
		DROP EXTENSION hooks;
		DROP TABLE stream_hook_logs, stream_hooks;
		CREATE EXTENSION hooks VERSION '$version'});
	return;
}

# Let our library serve SQL of another version, as the library of that version would.
sub pretend
{
	my ($version, $database) = @_;

	$node->safe_psql($database || 'postgres', qq{
		UPDATE pg_extension SET extversion = '$version' WHERE extname = 'hooks';
		SELECT hooks.wake()});
	return;
}

# Everything that an installation is, a line each.
sub catalogs
{
	my ($database) = @_;

	return [
		split /\n/, value(
			$node, q{
		WITH members AS (
			SELECT classid, objid FROM pg_depend
			WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
				AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hooks')),
		relations AS (
			SELECT oid FROM pg_class WHERE relnamespace = 'hooks'::regnamespace
			UNION SELECT tgrelid FROM pg_trigger WHERE tgfoid IN (
				SELECT oid FROM pg_proc WHERE pronamespace = 'hooks'::regnamespace))
		SELECT 'member ' || pg_describe_object(classid, objid, 0) FROM members
		UNION ALL
		SELECT 'extension ' || concat_ws(' ', extversion, extrelocatable, extnamespace::regnamespace,
			extconfig::regclass[], extcondition) FROM pg_extension WHERE extname = 'hooks'
		UNION ALL
		SELECT 'function ' || pg_get_functiondef(p.oid) || p.proowner::regrole || coalesce(p.procost, 0) || p.prorows
		FROM pg_proc AS p WHERE p.pronamespace = 'hooks'::regnamespace
		UNION ALL
		SELECT 'acl of function ' || p.oid::regprocedure || ' ' || a::text
		FROM pg_proc AS p CROSS JOIN unnest(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
		WHERE p.pronamespace = 'hooks'::regnamespace
		UNION ALL
		SELECT 'relation ' || concat_ws(' ', c.oid::regclass, c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity,
			c.relforcerowsecurity, c.relowner::regrole, c.reloptions,
			(SELECT t.reloptions FROM pg_class AS t WHERE t.oid = c.reltoastrelid))
		FROM pg_class AS c WHERE c.oid IN (SELECT oid FROM relations)
		UNION ALL
		SELECT 'acl of relation ' || c.oid::regclass || ' ' || a::text
		FROM pg_class AS c CROSS JOIN unnest(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
		WHERE c.oid IN (SELECT oid FROM relations)
		UNION ALL
		SELECT 'column ' || concat_ws(' ', a.attrelid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
			a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, a.attcompression, a.attacl,
			-- A server may note something of its own there.
			ARRAY(SELECT o FROM unnest(a.attoptions) AS o WHERE o !~ '^pg_' ORDER BY o),
			pg_get_expr(d.adbin, d.adrelid))
		FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid IN (SELECT oid FROM relations) AND a.attnum > 0
		UNION ALL
		SELECT 'constraint ' || concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
		FROM pg_constraint WHERE conrelid IN (SELECT oid FROM relations)
		UNION ALL
		SELECT 'index ' || pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid IN (SELECT oid FROM relations)
		UNION ALL
		SELECT 'trigger ' || concat_ws(' ', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger
		WHERE tgrelid IN (SELECT oid FROM relations) AND NOT tgisinternal
		UNION ALL
		SELECT 'trigger leaves with us ' || concat_ws(' ', pg_describe_object(classid, objid, 0), deptype) FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND deptype <> 'e'
		UNION ALL
		SELECT 'view ' || viewname || ' ' || definition FROM pg_views WHERE schemaname = 'hooks'
		UNION ALL
		SELECT 'policy ' || p::text FROM pg_policies AS p WHERE schemaname IN ('hooks', 'public')
		UNION ALL
		SELECT 'comment ' || pg_describe_object(classoid, objoid, objsubid) || ' ' || description FROM pg_description
		WHERE (classoid, objoid) IN (SELECT classid, objid FROM members)
			OR classoid IN ('pg_class'::regclass, 'pg_trigger'::regclass, 'pg_constraint'::regclass) AND objoid >= 16384
		UNION ALL
		SELECT 'initial privilege ' || pg_describe_object(i.classoid, i.objoid, i.objsubid) || ' ' || a::text
		FROM pg_init_privs AS i CROSS JOIN unnest(i.initprivs) AS a WHERE (i.classoid, i.objoid) IN (SELECT classid, objid FROM members)
		ORDER BY 1}, $database)
	];
}

# What an administrator allows.
sub allow
{
	my ($database) = @_;

	$node->safe_psql($database || 'postgres', q{
		GRANT SELECT ON hooks.stat, hooks.dead TO operator;
		GRANT EXECUTE ON FUNCTION hooks.pause(uuid, uuid) TO operator;
		GRANT SELECT, INSERT, UPDATE, DELETE ON hooks.chat_accounts TO operator});
	return;
}

# ----------
# Every released version
# ----------

my @released = sort grep { $_ ne $current } map { /^hooks--([0-9.]+)\.sql$/ ? $1 : () } glob 'hooks--*.sql';

ok(scalar(grep { $_ eq '1.0' } @released), 'there are released versions');
$node->safe_psql('postgres', 'CREATE ROLE operator; CREATE DATABASE fresh');
create_application($node, 'fresh');
is(version('fresh'), $current, 'a new installation is of the current version');
is(value($node, 'SELECT hooks.library_version()', 'fresh'), $current, '... as the library is');
my $fresh = catalogs('fresh');
cmp_ok(scalar @$fresh, '>', 500, '... and of many parts');

my $queue_columns = q{SELECT string_agg(concat_ws(' ', attname, atttypid::regtype, attnotnull), ', ' ORDER BY attnum)
	FROM pg_attribute WHERE attrelid = 'hooks.queue_0'::regclass AND attnum > 0};
for my $version (@released)
{
	my $database = "from_$version";
	my $connected;

	is( value($node, qq{SELECT count(*) FROM pg_extension_update_paths('hooks')
			WHERE source = '$version' AND target = '$current' AND path IS NOT NULL}),
		1,
		"$version: there is a path to $current");
	$node->safe_psql('postgres', qq{CREATE DATABASE "$database"});
	create_old_application($database, $version);
	my $columns = value($node, $queue_columns, $database);
	psql('ALTER EXTENSION hooks UPDATE', $database);
	is("$result $stderr", '0 ', "$version: updated");
	is(version($database), $current, '... to the current version');
	is_deeply(catalogs($database), $fresh, '... which is the same as a new installation');
	like(value($node, $queue_columns, $database), qr/^\Q$columns\E(, \w+ [\w ]+ f)*$/,
		'... and its queue is one that older libraries can write to');
}

# ----------
# A dump of an old one
# ----------

$node->safe_psql('postgres', 'CREATE DATABASE old; CREATE DATABASE restored');
create_old_application('old', $released[0]);
add_hook($node, url => $receiver->url('/restored'), database => 'old');
system_or_bail('pg_dump', '-f', "$dir/old.sql", '-d', $node->connstr('old'));
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/old.sql", '-d', $node->connstr('restored') ],
	'the dump of an old installation is restored');
is(version('restored'), $current, '... and is of the current version');
is_deeply(catalogs('restored'), $fresh, '... the same as a new installation');
add_event($node, database => 'restored');
wait_idle($node, 'restored');
is_deeply([ map { $_->{path} } $receiver->take ], ['/restored'], '... that fires');

# ----------
# An old installation with data, under load
# ----------

create_old_application(undef, '1.0');
pretend($current);
add_users($node, 2, 6);
add_hook($node, user => $_, trigger => 'donation', url => $receiver->url('/ok/load'),
	config => { body_template => '{{username}}, {{amount}}' })
  for 1 .. 3;
$node->safe_psql('postgres', q{
	CREATE TABLE more_events (id uuid, user_id uuid, type text, data jsonb);
	SELECT hooks.attach('more_events')});
$node->safe_psql('postgres', sprintf(q{SELECT hooks.set_secret(%1$s, 'kick', 'very-secret');
	INSERT INTO hooks.chat_accounts (user_id, platform, channel_id, token) VALUES (%1$s, 'kick', '1', 'kick')},
	literal(user_uuid(1))));
allow();
my $retried = add_hook($node, user => 4, attempts => 2, url => $receiver->url('/switch/retried'),
	config => { retry_schedule => [ 5, 5 ] });
my $paused = add_hook($node, user => 5, url => $receiver->url('/ok/paused'));
my $dead = add_hook($node, user => 6, url => $receiver->url('/status/500/dead'));
$node->safe_psql('postgres', 'SELECT hooks.pause(' . literal($paused) . ')');
add_event($node, user => $_) for 4 .. 6;
wait_until(sub { value($node, 'SELECT count(*) FROM hooks.pending') == 2 && value($node, 'SELECT count(*) FROM hooks.dead') == 1 },
	'what waits, and what was given up');
is(scalar(my @first = $receiver->take), 2, 'an installation with deliveries that wait, and one that was given up');
my ($first_id) = map { $_->{headers}{'webhook-id'} } grep { $_->{path} =~ /retried/ } @first;

my $from = here();
pretend('1.0');
wait_until(sub { said($from) }, 'the worker to say that it does not fit');
like(join('', said($from)), qr/"postgres": extension version is 1\.0, library version is \Q$current\E$/, 'the worker says what does not fit');
like(slurp_file($node->logfile, $from), qr/HINT:  Run ALTER EXTENSION hooks UPDATE in it\./, '... and what to do');
wait_until(sub { worker_pid($node) eq '' }, 'the worker to leave');
is(value($node, q{SELECT state FROM hooks.workers WHERE database = 'postgres'}), 'version', '... hooks.workers says so, too');

# Producers that never hear of any of this.
my @producers = map { Hooks::Producer->start($node, user => $_, rate => 300) } 1 .. 3;
my $queued = 'SELECT (SELECT count(*) FROM hooks.queue_0) + (SELECT count(*) FROM hooks.queue_1) '
  . '+ (SELECT count(*) FROM hooks.queue_2)';

wait_until(sub { value($node, $queued) > 500 }, 'events in the queue');
psql('SELECT hooks.wake()');
wait_until(sub { said($from) == 2 }, 'a worker that was asked for');
my $many = value($node, $queued);
wait_until(sub { value($node, $queued) > $many + 300 }, 'more events');
is(scalar(said($from)), 2, 'it says so once, however much is queued');
is_deeply([ $receiver->take ], [], '... and sends nothing');

# Updates that do not come to an end.
$node->safe_psql('postgres', 'BEGIN; ALTER EXTENSION hooks UPDATE; SELECT hooks.library_version(); ROLLBACK');
is(version(), '1.0', 'an update that is rolled back changes nothing');
is(value($node, q{SELECT to_regprocedure('hooks.library_version()') IS NULL}), 't', '... at all');
is(worker_pid($node), '', '... and starts nothing');

# One that takes its time, and is committed.
my $updating = $node->background_psql('postgres');
$updating->query_safe('BEGIN');
$updating->query_safe('ALTER EXTENSION hooks UPDATE');
$many = value($node, 'SELECT count(*) FROM stream_events');
wait_until(sub { value($node, 'SELECT count(*) FROM stream_events') > $many + 300 }, 'events during the update');
is(worker_pid($node), '', 'nobody works while an update is under way');
$updating->query_safe('COMMIT');
$updating->quit;
is(version(), $current, 'an update under load');
wait_until(sub { worker_pid($node) ne '' }, 'the worker to start by itself');
pass('the worker starts by itself');
$receiver->switch(retried => 'on');
$receiver->wait_for_requests(1000);
$_->stop for @producers;
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE hook_id = } . literal($retried)) == 0 }, 'the retry');
wait_idle($node);

load_requests($node, $receiver, 'requests');
my $lost = 0;
for my $producer (@producers)
{
	my @acknowledged = $producer->acknowledged;

	is($producer->errors, '', "producer $producer->{user} has not noticed");
	cmp_ok(scalar @acknowledged, '>', 200, '... and was busy');
	$lost += value($node, sprintf q{SELECT count(*) FROM unnest('{%s}'::int[]) AS n
		WHERE NOT EXISTS (SELECT FROM requests WHERE body = 'producer %d, ' || n)}, join(',', @acknowledged), $producer->{user});
}
is($lost, 0, 'nothing was lost');
is( value($node, q{SELECT count(*) FROM requests WHERE path = '/ok/load'}),
	value($node, q{SELECT count(*) FROM stream_events WHERE type = 'donation'}),
	'... nothing came that was rolled back');
is(value($node, q{SELECT count(*) - count(DISTINCT body) FROM requests WHERE path = '/ok/load'}), 0, '... and nothing twice');
is(value($node, q{SELECT string_agg(id::text, ' ') FROM requests WHERE path ~ 'retried'}), "$first_id $first_id",
	'a retry that waited is made, with its webhook-id');
is(value($node, q{SELECT count(*) FROM requests WHERE path ~ 'paused'}), 0, 'what was paused still is');
$node->safe_psql('postgres', 'SELECT hooks.resume(' . literal($paused) . ')');
wait_idle($node);
is(scalar(grep { $_->{path} eq '/ok/paused' } $receiver->take), 1, '... until it is resumed');
is(value($node, 'SELECT count(*) FROM hooks.dead'), 1, 'what was given up is kept');
is(value($node, 'SELECT (SELECT count(*) FROM hooks.secret) + 10 * (SELECT count(*) FROM hooks.chat_accounts)'), '11',
	'so are secrets and accounts');
$node->safe_psql('postgres', sprintf q{INSERT INTO more_events VALUES (gen_random_uuid(), '%s', 'follow', '{}')}, user_uuid(5));
wait_idle($node);
is(scalar(grep { $_->{path} eq '/ok/paused' } $receiver->take), 1, 'other event tables fire as before');

allow('fresh');
$node->safe_psql('fresh', q{
	CREATE TABLE more_events (id uuid, user_id uuid, type text, data jsonb);
	SELECT hooks.attach('more_events')});
$node->safe_psql('postgres', 'DROP TABLE requests');
is_deeply(catalogs(), catalogs('fresh'), 'it is the same as a new installation, with what the administrator has granted');

# ----------
# SQL that is newer than the library
# ----------

my ($share) = run_command([ 'pg_config', '--sharedir' ]);
my @scripts = ("$share/extension/hooks--$current--9.9.sql", "$share/extension/hooks--9.9--$current.sql",
	"$share/extension/hooks--1.0--9.8.sql");

END { unlink @scripts }

unlink @scripts;
append_to_file($scripts[0], join '', map { "ALTER TABLE hooks.queue_$_ ADD lane text;\n"
			. "CREATE INDEX queue_${_}_lane_idx ON hooks.queue_$_ (user_id, lane, event_time);\n" } 0 .. 2);
append_to_file($scripts[0], qq{ALTER TABLE hooks.delivery RENAME next_at TO due;
	CREATE FUNCTION hooks.later() RETURNS text LANGUAGE sql AS 'SELECT 1'});
append_to_file($scripts[1], join '', map { "ALTER TABLE hooks.queue_$_ DROP lane;\n" } 0 .. 2);
append_to_file($scripts[1], qq{ALTER TABLE hooks.delivery RENAME due TO next_at; DROP FUNCTION hooks.later()});

add_hook($node, url => $receiver->url('/ok/newer'), config => { body_template => '{{username}}' });
wait_for_worker($node);
$from = here();
$node->safe_psql('postgres', q{ALTER EXTENSION hooks UPDATE TO '9.9'});
add_event($node, data => { username => 'one' });
wait_until(sub { said($from) }, 'the worker to say that it does not fit');
like(join('', said($from)), qr/"postgres": extension version is 9\.9, library version is \Q$current\E$/, 'SQL that is newer than the library');
like(slurp_file($node->logfile, $from), qr/HINT:  Install version 9\.9 of the library and restart the server\./, '... and what to do');
wait_until(sub { worker_pid($node) eq '' }, 'the worker to leave');
psql(event_rows(1500));
is("$result $stderr", '0 ', '... events are queued: many');
psql(event_rows(1));
is("$result $stderr", '0 ', '... and one');
for my $call ("hooks.pause(user_id => '" . user_uuid(1) . "')", 'hooks.wait_idle()', "hooks.test('$retried')")
{
	isnt(psql("SELECT $call"), 0, "$call fails");
	is( $stderr =~ s/^psql:<stdin>:1: //r,
		"ERROR:  library \"hooks\" is too old for the extension in this database\n"
		  . "DETAIL:  Extension version is 9.9, library version is $current.\n"
		  . 'HINT:  Install version 9.9 of the library and restart the server.',
		'... and says why');
}
$from = here();
$node->restart;
add_event($node, data => { username => 'two' });
wait_until(sub { said($from) }, 'the next worker to say it');
add_event($node, data => { username => 'three' }) for 1 .. 2;
is(scalar(grep { /"postgres"/ } said($from)), 1, 'after a restart it is said once');
is_deeply([ $receiver->take ], [], '... and nothing sent');

$node->safe_psql('postgres', qq{ALTER EXTENSION hooks UPDATE TO '$current'});
wait_until(sub { worker_pid($node) ne '' }, 'the worker to start by itself');
wait_idle($node);
my %seen;
$seen{ $_->{body} =~ s{"}{}gr }++ for $receiver->take;
is_deeply(\%seen, { one => 1, two => 1, three => 2, viewer => 1501 }, 'once they fit, all that was queued comes, once');
is(value($node, 'SELECT count(*) FROM hooks.dead'), 1, '... and what was kept is there');

# A library in the server's memory that is too old for the update.
my $script = slurp_file("hooks--1.0--1.1.sql");
append_to_file($scripts[2], $script =~ s/'hooks_library_version'/'hooks_of_a_newer_library'/r);
isnt(psql(q{ALTER EXTENSION hooks UPDATE TO '9.8'}, 'old'), 0, 'an update that the library is too old for is refused');
like($stderr, qr/ERROR:  library "hooks" is too old for version 1\.1 of the extension\nHINT:  Install version 1\.1 of the library and restart the server/,
	'... saying what to do');
is(version('old'), '1.0', '... and leaves everything as it was');

finish($node, qr/hooks sends nothing for database "/);
done_testing();
