# Commands that need a database to themselves, while its worker has requests
# that hang in every way and a long queue, and while the worker of another
# database has: they succeed at once, and nobody fills the server log.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Hooks::Receiver;
use Hooks::Test;

# A second, on a machine that has nothing else to do.
my $patience = 10;

my $node = hooks_node(
	'main', 'hooks.timeout' => '60s', 'hooks.connect_timeout' => '60s', 'hooks.max_in_flight_per_host' => 64,
	max_worker_processes => 20);
my $receiver = Hooks::Receiver->start(blackholes => 1);
my $location = PostgreSQL::Test::Utils::tempdir;
my @landlord = (extra_params => [ '-U', 'landlord' ]);
my ($slowest, $slowest_what) = (0, '');

$node->safe_psql('postgres', 'CREATE ROLE landlord LOGIN CREATEDB');
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$location'");
$node->safe_psql('postgres', 'GRANT CREATE ON TABLESPACE elsewhere TO landlord; GRANT CREATE ON TABLESPACE pg_default TO landlord');

# Hooks whose requests hang, and one with a long queue.
my %hangs = (
	2 => $receiver->url('/hang'),
	3 => 'http://127.0.0.1:' . $receiver->blackhole_port,
	4 => $receiver->url('/drip/1000/1000'),
	5 => $receiver->url('/slow/500'));

sub make_database
{
	my ($name) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $name OWNER landlord");
	create_application($node, $name);
	add_users($node, 2, 5, $name);
	add_hook($node, url => $receiver->url("/ok/$name"), database => $name);
	return;
}

# The worker has all that to do.
sub burden
{
	my ($name) = @_;

	foreach my $user (sort keys %hangs)
	{
		add_hook($node, user => $user, url => $hangs{$user}, database => $name, config => { body_template => $name });
		$node->safe_psql($name, event_rows($user == 5 ? 3000 : 8, user => $user));
	}
	return busy($name);
}

sub busy
{
	my ($name) = @_;

	wait_until(
		sub {
			value($node, qq{SELECT coalesce(sum(in_flight) >= 22 AND sum(waiting) > 100, false) FROM hooks.workers WHERE database = '$name'}, 'watch') eq 't';
		},
		"the worker of $name to be busy");
	return $name;
}

sub worker
{
	my ($name) = @_;
	return value($node, "SELECT coalesce(max(pid), 0) FROM hooks.workers WHERE database = '$name'", 'watch');
}

# Runs a command and tests that it succeeds, soon, and without many words.
sub soon
{
	my ($what, $sql, @arguments) = @_;
	my $said = -s $node->logfile;
	my $start = time;
	my (undef, undef, $stderr) = $node->psql('postgres', $sql, @arguments);
	my $took = time - $start;
	my @lines = grep { /hooks (worker|launcher)/ } split /\n/, slurp_file($node->logfile, $said);

	($slowest, $slowest_what) = ($took, $what) if $took > $slowest;
	is($stderr, '', "$what: succeeds");
	cmp_ok($took, '<', $patience, sprintf '%s: soon', $what);
	cmp_ok(scalar @lines, '<=', 4, '... and without many words') or diag join "\n", @lines;
	note(sprintf '%s: %.3f s', $what, $took);
	return;
}

# Who looks must not be in the way.
$node->safe_psql('postgres', 'CREATE DATABASE watch');
$node->safe_psql('watch', 'CREATE EXTENSION hooks');
make_database('used');
make_database('quiet');
$node->safe_psql('postgres', 'CREATE DATABASE plain OWNER landlord');
burden('used');

# Of another database: one with an idle worker, and one without the extension.
my $pid = worker('used');
for my $name ('quiet', 'plain')
{
	add_event($node, database => $name) if $name eq 'quiet';
	wait_idle($node, $name) if $name eq 'quiet';
	soon("RENAME of $name", "ALTER DATABASE $name RENAME TO another", @landlord);
	soon("SET TABLESPACE of $name", 'ALTER DATABASE another SET TABLESPACE elsewhere', @landlord);
	soon("CREATE DATABASE TEMPLATE $name", 'CREATE DATABASE copy TEMPLATE another', @landlord);
	soon("DROP DATABASE FORCE of a copy of $name", 'DROP DATABASE copy WITH (FORCE)');
	soon("DROP DATABASE of $name by its owner", 'DROP DATABASE another', @landlord);
}
is(worker('used'), $pid, 'the worker of the database that is used was not disturbed');

# Of the database itself.
soon('RENAME', 'ALTER DATABASE used RENAME TO renamed', @landlord);
busy('renamed');
soon('SET TABLESPACE', 'ALTER DATABASE renamed SET TABLESPACE elsewhere', @landlord);
busy('renamed');
soon('SET TABLESPACE, back', 'ALTER DATABASE renamed SET TABLESPACE pg_default', @landlord);
busy('renamed');
soon('CREATE DATABASE TEMPLATE', 'CREATE DATABASE copy TEMPLATE renamed', @landlord);
busy('renamed');
soon('CREATE DATABASE TEMPLATE STRATEGY file_copy', 'CREATE DATABASE copied TEMPLATE renamed STRATEGY file_copy', @landlord);
busy('renamed');
soon('DROP DATABASE of a copy', 'DROP DATABASE copy', @landlord);
soon('DROP DATABASE of another copy', 'DROP DATABASE copied', @landlord);
busy('renamed');
soon('DROP DATABASE by the owner, who is no superuser', 'DROP DATABASE renamed', @landlord);
make_database('renamed');
burden('renamed');
soon('DROP DATABASE by a superuser', 'DROP DATABASE renamed');
make_database('renamed');
burden('renamed');
soon('DROP DATABASE FORCE', 'DROP DATABASE renamed WITH (FORCE)');

# Again and again, while it is filled: the worker is somewhere else each time.
make_database('again');
burden('again');
my $name = 'again';
for my $round (1 .. 8)
{
	my $next = "again_$round";

	$node->safe_psql($name, event_rows(200, user => 5));
	usleep(15_000 * $round);
	soon("RENAME, round $round", "ALTER DATABASE $name RENAME TO $next", @landlord);
	$name = $next;
}
soon('DROP DATABASE at last', "DROP DATABASE $name", @landlord);

# Databases that are made, used and dropped right away: a worker may just be on its way.
$node->safe_psql('postgres', 'CREATE DATABASE blank OWNER landlord');
$node->safe_psql('blank', 'CREATE TABLE users (id uuid PRIMARY KEY, name text); CREATE TABLE stream_events '
	  . '(id uuid DEFAULT gen_random_uuid(), type text, data jsonb, user_id uuid, platform text, inserted_at timestamptz DEFAULT now()); '
	  . 'CREATE EXTENSION hooks');
for my $round (1 .. 8)
{
	$node->safe_psql('postgres', 'CREATE DATABASE brief TEMPLATE blank OWNER landlord');
	add_users($node, 1, 1, 'brief');
	add_hook($node, url => $receiver->url('/hang'), database => 'brief');
	$node->safe_psql('brief', event_rows(10));
	usleep(10_000 * ($round - 1));
	soon("DROP DATABASE of a new one, round $round", 'DROP DATABASE brief', @landlord);
}

# Who stays in the database is told so; the worker is back, and all it had to do with it.
make_database('shared');
burden('shared');
my $session = $node->background_psql('shared');
my (undef, undef, $stderr) = $node->psql('postgres', 'ALTER DATABASE shared RENAME TO mine', @landlord);
like($stderr, qr/There is 1 other session using the database/, 'a command fails while somebody else is connected');
busy('shared');
$session->quit;

note(sprintf 'the slowest: %s, %.3f s', $slowest_what, $slowest);
is( value($node, q{SELECT count(*) FROM pg_stat_activity AS a
		WHERE backend_type = 'hooks worker' AND NOT EXISTS (SELECT FROM pg_database AS d WHERE d.oid = a.datid)}),
	0,
	'no worker without a database');
finish($node, qr/hooks sends nothing for database/, qr/FATAL:  database \d+ does not exist/, qr/exited with exit code 1/);
done_testing();
