# A server without the library in shared_preload_libraries: it says so, hinders
# nobody, and loses nothing.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', shared_preload_libraries => undef);
my $receiver = Hooks::Receiver->start;
my $hint = qr/HINT:  Add "hooks" to shared_preload_libraries in postgresql\.conf and restart the server\./;
my ($result, $stdout, $stderr);

sub psql
{
	my ($sql, $database) = @_;

	($result, $stdout, $stderr) = $node->psql($database || 'postgres', $sql);
	return $result;
}

$node->safe_psql(
	'postgres', q{
	CREATE TABLE users (id uuid PRIMARY KEY, name text);
	CREATE TABLE stream_events (
		id uuid PRIMARY KEY DEFAULT gen_random_uuid(), type text NOT NULL, data jsonb NOT NULL,
		user_id uuid NOT NULL REFERENCES users, platform text,
		inserted_at timestamp NOT NULL DEFAULT timezone('UTC', now()))});
add_users($node, 1, 1);

is(psql('CREATE EXTENSION hooks'), 0, 'CREATE EXTENSION succeeds');
like($stderr, qr/WARNING:  library "hooks" is not loaded by the server/, '... and warns');
like($stderr, $hint, '... and says what to do');

# What does not need the worker works, what does says what is missing.
is(psql(q{SELECT hooks.render('{{username}}', '{"username": "x"}')}), 0, 'pure functions work');
is(psql('SELECT hooks.setup()'), 0, 'setup works');
for my $call ('SELECT hooks.wait_idle()', 'SELECT * FROM hooks.stat')
{
	is(psql($call), 3, "$call fails");
	like($stderr, qr/ERROR:  library "hooks" is not loaded by the server/, '... saying why');
	like($stderr, $hint, '... and what to do');
}

# Hooks can be written, and are checked; events are queued without a word.
add_hook($node, url => $receiver->url, trigger => 'raid');
isnt(psql(q{UPDATE stream_hooks SET trigger_type = 'nothing'}), 0, 'hooks are checked');
my $hook = add_hook($node, url => $receiver->url, config => { body_template => 'n={{username}}' });
is( psql(
		sprintf q{INSERT INTO stream_events (type, data, user_id)
		SELECT 'follow', jsonb_build_object('username', n), '%s' FROM generate_series(1, 3) AS n}, user_uuid(1)),
	0,
	'events can be inserted');
is($stderr, '', '... and nothing is said');
is(psql(sprintf q{SELECT hooks.trigger_lifecycle_event('%s', 'stream_start')}, user_uuid(1)),
	0, 'events can be announced');
is(value($node, 'SELECT count(*) FROM hooks.queue_0'), 3, 'events are queued');

# A dump can be restored here.
my $file = "$PostgreSQL::Test::Utils::tmp_check/app.dump";
my $said = -s $node->logfile;
$node->safe_psql('postgres', 'CREATE DATABASE copy');
run_command([ 'pg_dump', '-Fc', '-f', $file, '-d', $node->connstr('postgres') ]);
ok(IPC::Run::run([ 'pg_restore', '-j2', '-v', '-d', $node->connstr('copy'), $file ], '2>', \$stderr),
	'a dump is restored');
like($stderr, qr/WARNING:  library "hooks" is not loaded by the server/, '... with a warning');
like(slurp_file($node->logfile, $said), qr/WARNING:  library "hooks" is not loaded by the server/,
	'... in the server log, too');
unlike($stderr, qr/ERROR:  /, '... and without an error');
is(value($node, 'SELECT count(*) FROM stream_hooks', 'copy'), 2, '... with its rows');
is(value($node, q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'hooks%'}, 'copy'),
	value($node, q{SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'hooks%'}), '... and triggers');

# Other extensions' commands are left alone.
is(psql('CREATE DATABASE third TEMPLATE copy'), 0, 'a database can be copied');
is(psql('ALTER DATABASE third RENAME TO fourth'), 0, '... renamed');
is(psql('DROP DATABASE fourth'), 0, '... and dropped');

# Once the library is there, what was queued is sent.
$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'hooks'});
$node->restart;
wait_idle($node);
is_deeply(
	[ map { $_->{body} } $receiver->take ],
	[ 'n=1', 'n=2', 'n=3' ],
	'what was queued is sent once the library is loaded');
is_deeply(log_statuses($node, hook => $hook), { success => 3 }, '... and logged');
add_event($node, data => { username => 'copy' }, database => 'copy');
wait_idle($node, 'copy');
is_deeply([ map { $_->{body} } $receiver->take ], ['n=copy'], 'the restored copy fires as well');

finish($node);
done_testing();
