# Several databases: each has its own hooks and worker, and commands that need
# a database to themselves get it at once, though its worker is busy.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

# No command may take longer, while requests hang for a minute.
my $patience = 3;

my $node = hooks_node('main', max_worker_processes => 20, 'hooks.timeout' => '60s', 'hooks.connect_timeout' => '60s');
my $receiver = Hooks::Receiver->start;

sub make_database
{
	my ($name, $owner) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name" . ($owner ? " OWNER $owner" : ''));
	create_application($node, $name);
	add_users($node, 2, 2, $name);
	add_hook($node, url => $receiver->url("/ok/$name"), database => $name, config => { body_template => 'n={{username}}' });
	return;
}

# Has the worker of a database wait for an endpoint that never answers.
sub hang
{
	my ($name) = @_;

	add_hook($node, user => 2, trigger => 'raid', url => $receiver->url("/hang/$name"), database => $name,
		config => { body_template => 'hung' });
	add_event($node, user => 2, type => 'raid', database => $name);
	wait_until(sub { stat($node, 'in_flight', $name) == 1 }, "a request of $name that hangs");
	return;
}

sub requests_of
{
	my ($name) = @_;
	return grep { $_->{path} =~ m{/\Q$name\E$} } $receiver->requests;
}

# Runs a command and tests that it succeeds, and soon.
sub soon
{
	my ($what, $sql, @arguments) = @_;
	my $start = time;
	my ($result, $stdout, $stderr) = $node->psql('postgres', $sql, @arguments);

	is($stderr, '', "$what: succeeds");
	cmp_ok(time - $start, '<', $patience, "$what: soon");
	return;
}

# Waits for the worker of a database, which must be back soon.
sub back_soon
{
	my ($what, $name) = @_;
	my $start = time;

	wait_until(sub { worker_pid($node, $name) ne '' }, "the worker after $what");
	cmp_ok(time - $start, '<', $patience, "$what: the worker is back soon");
	return;
}

# Two at once.
make_database($_) for 'one', 'two';
for my $n (1 .. 5)
{
	add_event($node, data => { username => "one $n" }, database => 'one');
	add_event($node, data => { username => "two $n" }, database => 'two');
}
wait_idle($node, $_) for 'one', 'two';
for my $name ('one', 'two')
{
	is_deeply([ map { $_->{body} } requests_of($name) ],
		[ map { "n=$name $_" } 1 .. 5 ], "events of database $name fire its hooks");
	is_deeply(log_statuses($node, database => $name), { success => 5 }, "... and are logged in it");
}
isnt(worker_pid($node, 'one'), worker_pid($node, 'two'), 'each database has a worker of its own');

# The busy worker of one is in nobody's way.
hang('one');
my $pid = worker_pid($node, 'one');
soon('DROP DATABASE of another', 'DROP DATABASE two');
soon('CREATE DATABASE', 'CREATE DATABASE three');
is(worker_pid($node, 'one'), $pid, 'its worker was not disturbed');

# Nor does somebody disturb it who may not, or who cannot.
$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN CREATEDB; CREATE ROLE landlord LOGIN CREATEDB');
for my $sql ('DROP DATABASE one', 'ALTER DATABASE one RENAME TO uno', 'CREATE DATABASE copy TEMPLATE one')
{
	my (undef, undef, $stderr) = $node->psql('postgres', $sql, extra_params => [ '-U', 'stranger' ]);

	like($stderr, qr/ERROR:  (must be owner of database one|permission denied to copy database "one")/, "$sql by a stranger");
	is(worker_pid($node, 'one'), $pid, '... does not disturb the worker');
}
is(stat($node, 'in_flight', 'one'), 1, '... nor its request');
my $session = $node->background_psql('one');
my (undef, undef, $stderr) = $node->psql('postgres', 'DROP DATABASE one');
like($stderr, qr/ERROR:  database "one" is being accessed by other users/, 'DROP DATABASE of a database in use');
like($stderr, qr/There is 1 other session using the database/, '... by an application, not by us');
$session->quit;
back_soon('a DROP DATABASE that failed', 'one');
wait_until(sub { stat($node, 'in_flight', 'one') == 1 }, 'the request');
is(scalar requests_of('one'), 7, '... which has sent what it was at again');

# RENAME: the worker is back under the new name, with what it had to do.
soon('ALTER DATABASE RENAME', 'ALTER DATABASE one RENAME TO uno');
back_soon('RENAME', 'uno');
wait_until(sub { requests_of('one') == 8 }, 'the request that was under way, again');
my %ids = map { $_->{headers}{'webhook-id'} => 1 } grep { $_->{body} eq 'hung' } requests_of('one');
is(scalar keys %ids, 1, '... as the same delivery');
add_event($node, data => { username => 'renamed' }, database => 'uno');
wait_until(sub { grep { $_->{body} eq 'n=renamed' } requests_of('one') }, 'an event after RENAME');
pass('the database works under its new name');

# SET TABLESPACE.
my $location = PostgreSQL::Test::Utils::tempdir;
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$location'");
wait_until(sub { stat($node, 'in_flight', 'uno') == 1 }, 'the request to hang again');
soon('ALTER DATABASE SET TABLESPACE', 'ALTER DATABASE uno SET TABLESPACE elsewhere');
back_soon('SET TABLESPACE', 'uno');
add_event($node, data => { username => 'moved' }, database => 'uno');
wait_until(sub { grep { $_->{body} eq 'n=moved' } requests_of('one') }, 'an event after SET TABLESPACE');
pass('the database works in its new place');

# CREATE DATABASE ... TEMPLATE: a copy is silent until it is adopted.
wait_until(sub { stat($node, 'in_flight', 'uno') == 1 }, 'the request to hang again');
for my $copy ('copy', 'copy_discarded')
{
	soon('CREATE DATABASE TEMPLATE', "CREATE DATABASE $copy TEMPLATE uno");
	back_soon('CREATE DATABASE TEMPLATE', 'uno');
	wait_until(sub { stat($node, 'in_flight', 'uno') == 1 }, 'the original to go on');
}
$node->safe_psql('uno', 'UPDATE stream_hooks SET action_config = action_config || '
	  . jsonb({ url => $receiver->url('/ok/uno') }));
$pid = worker_pid($node, 'uno');
$node->safe_psql('uno', "SELECT pg_terminate_backend($pid)");
wait_idle($node, 'uno');
is(scalar(grep { $_->{body} eq 'hung' } requests_of('uno')), 1, 'the original sends what was under way');

for my $copy ('copy', 'copy_discarded')
{
	$node->safe_psql($copy, 'UPDATE stream_hooks SET action_config = action_config || '
		  . jsonb({ url => $receiver->url("/ok/$copy") }));
	add_event($node, data => { username => 'in a copy' }, database => $copy);
	is(value($node, q{SELECT hooks.wait_idle('500 ms')}, $copy), 'f', "$copy: never idle");
	is(scalar requests_of($copy), 0, "$copy: silent");
}
like(
	slurp_file($node->logfile),
	qr/hooks sends nothing for database \d+, which is a copy of another one/,
	'... and the server log says so');

# In a transaction that takes its time: only its commit counts.
$node->safe_psql('copy', 'BEGIN; SELECT hooks.adopt(); SELECT pg_sleep(0.3); COMMIT');
wait_idle($node, 'copy');
is_deeply([ sort map { $_->{body} } requests_of('copy') ],
	[ 'hung', 'n=in a copy' ], 'a copy that is adopted sends what is queued');
$node->safe_psql('copy_discarded', 'SELECT hooks.adopt(discard => true)');
wait_idle($node, 'copy_discarded');
is(scalar requests_of('copy_discarded'), 0, 'a copy that is adopted without its queue does not');
add_event($node, data => { username => 'later' }, database => 'copy_discarded');
wait_idle($node, 'copy_discarded');
is_deeply([ map { $_->{body} } requests_of('copy_discarded') ], ['n=later'], '... but what comes later');

# A restart does not unsettle who is who.
$node->restart;
add_event($node, data => { username => "after restart" }, database => $_) for 'uno', 'copy';
wait_idle($node, $_) for 'uno', 'copy';
is((requests_of($_))[-1]{body}, 'n=after restart', "after a restart, $_ fires") for 'uno', 'copy';

# A template of a database without events or hooks is a database of its own.
$node->safe_psql('postgres', 'CREATE DATABASE blank');
$node->safe_psql('blank', 'CREATE TABLE users (id uuid PRIMARY KEY, name text); CREATE TABLE stream_events '
	  . '(id uuid DEFAULT gen_random_uuid(), type text, data jsonb, user_id uuid, platform text, inserted_at timestamptz DEFAULT now()); '
	  . 'CREATE EXTENSION hooks');
soon('CREATE DATABASE TEMPLATE of an empty one', 'CREATE DATABASE tenant TEMPLATE blank');
add_users($node, 1, 1, 'tenant');
add_hook($node, url => $receiver->url('/ok/tenant'), database => 'tenant');
add_event($node, database => 'tenant');
is(value($node, q{SELECT hooks.wait_idle('10 seconds')}, 'tenant'), 't', 'a copy of a database without hooks is served');
is(scalar requests_of('tenant'), 1, '... and fires right away');

# DROP DATABASE, while requests hang.
make_database('doomed');
hang('doomed');
soon('DROP DATABASE', 'DROP DATABASE doomed');
make_database('doomed', 'landlord');
hang('doomed');
soon('DROP DATABASE by an owner who is no superuser', 'DROP DATABASE doomed', extra_params => [ '-U', 'landlord' ]);
make_database('doomed');
hang('doomed');
soon('DROP DATABASE FORCE', 'DROP DATABASE doomed WITH (FORCE)');
make_database('doomed', 'landlord');
hang('doomed');
soon('RENAME by an owner who is no superuser', 'ALTER DATABASE doomed RENAME TO renamed', extra_params => [ '-U', 'landlord' ]);
back_soon('RENAME', 'renamed');
soon('CREATE DATABASE TEMPLATE by that owner', 'CREATE DATABASE copied TEMPLATE renamed', extra_params => [ '-U', 'landlord' ]);
soon('dropdb', 'DROP DATABASE IF EXISTS copied');
soon('DROP DATABASE of one that has just been created',
	'CREATE DATABASE short_lived; DROP DATABASE short_lived');

# Nothing is left behind: the worker of a database that is gone is not missed.
is( value($node, q{SELECT count(*) FROM pg_stat_activity AS a
		WHERE backend_type = 'hooks worker' AND NOT EXISTS (SELECT FROM pg_database AS d WHERE d.oid = a.datid)}),
	0,
	'no worker without a database');
add_event($node, data => { username => 'the end' }, database => 'uno');
wait_idle($node, 'uno');
is((requests_of('uno'))[-1]{body}, 'n=the end', 'the others go on');

finish($node, qr/hooks sends nothing for database/);
done_testing();
