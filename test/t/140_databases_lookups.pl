# A database can be dropped, renamed and copied at once while its worker waits for
# a name server that does not answer.

use strict;
use warnings;

use Hooks::Resolver;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

# A second, on a machine that has nothing else to do; a lookup takes at least four.
my $patience = 3.5;

my $node = hooks_node('main', 'hooks.connect_timeout' => '20s', 'hooks.timeout' => '20s', 'hooks.max_in_flight_per_host' => 64);

$node->safe_psql('postgres', 'CREATE DATABASE app');
create_application($node, 'app');
add_users($node, 2, 4, 'app');
for my $user (1 .. 4)
{
	Hooks::Resolver::answer("silent$user.example.com", { silent => 1 });
	add_hook($node, user => $user, url => "http://silent$user.example.com/", attempts => 1, database => 'app');
}

my $name = 'app';
for my $command (
	[ 'RENAME', 'ALTER DATABASE app RENAME TO other', 'other' ],
	[ 'SET TABLESPACE', undef, 'other' ],
	[ 'CREATE DATABASE TEMPLATE', 'CREATE DATABASE copy TEMPLATE other', 'other' ],
	[ 'DROP DATABASE', 'DROP DATABASE other', undef ])
{
	my ($what, $sql, $next) = @$command;

	if (!defined $sql)
	{
		my $location = PostgreSQL::Test::Utils::tempdir;

		$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$location'");
		$sql = 'ALTER DATABASE other SET TABLESPACE elsewhere';
	}
	$node->safe_psql($name, join ';', map { event_rows(2, user => $_) } 1 .. 4);
	wait_until(sub { stat($node, 'in_flight', $name) >= 8 }, 'requests that wait for the name server');
	my $start = time;
	my (undef, undef, $stderr) = $node->psql('postgres', $sql);
	my $took = time - $start;
	is($stderr, '', "$what: succeeds");
	cmp_ok($took, '<', $patience, "$what: does not wait for the name server");
	note(sprintf '%s: %.3f s', $what, $took);
	$name = $next;
}

finish($node);
done_testing();
