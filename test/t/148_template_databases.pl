# Templates, and databases that take no connections, are left alone, whatever
# waits in them; it is delivered once they are ordinary databases again.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.timeout' => '60s');
my $receiver = Hooks::Receiver->start;
my %closed = (
	template => [ 'IS_TEMPLATE true', 'IS_TEMPLATE false' ],
	unconnectable => [ 'ALLOW_CONNECTIONS false', 'ALLOW_CONNECTIONS true' ]);

sub workers
{
	my ($name) = @_;
	return value($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hooks worker' AND datname = '$name'");
}

sub requests_of
{
	my ($name) = @_;
	return scalar grep { $_->{path} eq "/ok/$name" } $receiver->requests;
}

for my $name (sort keys %closed)
{
	my ($close, $open) = @{ $closed{$name} };

	$node->safe_psql('postgres', "CREATE DATABASE $name");
	create_application($node, $name);
	add_users($node, 2, 2, $name);
	add_hook($node, url => $receiver->url("/ok/$name"), database => $name);
	add_hook($node, user => 2, trigger => 'raid', url => $receiver->url('/hang'), database => $name);

	# A worker that is at work leaves, and does not come back.
	add_event($node, user => 2, type => 'raid', database => $name);
	wait_until(sub { stat($node, 'in_flight', $name) == 1 }, 'a request that hangs');
	my $start = time;
	$node->safe_psql('postgres', "ALTER DATABASE $name $close");
	note(sprintf '%s: %.3f s', $close, time - $start);
	cmp_ok(time - $start, '<', 3, "$close: at once, while a request hangs");
	is(workers($name), 0, '... and the worker is gone');

	# A server that starts does not look into it; nor does a launcher.
	$node->restart;
	$node->safe_psql('postgres', 'CREATE DATABASE other; DROP DATABASE other');
	wait_until(
		sub { value($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'hooks launcher' AND wait_event IN ('Extension', 'HooksLauncher')}) == 1 },
		'the launcher');
	is(workers($name), 0, '... no worker comes');

	# It can be copied, and is not disturbed.
	$node->safe_psql('postgres', "CREATE DATABASE copy TEMPLATE $name");
	$node->safe_psql('postgres', 'DROP DATABASE copy');

	# What an application inserts into a template waits, too.
	if ($name eq 'template')
	{
		add_event($node, database => $name);
		is(value($node, q{SELECT hooks.wait_idle('1 s')}, $name), 'f', '... what is inserted waits');
		is(workers($name), 0, '... and no worker comes');
	}
	is(requests_of($name), 0, '... nothing is sent');

	# Ordinary again.
	$node->safe_psql('postgres', "ALTER DATABASE $name $open");
	wait_until(sub { workers($name) == 1 }, "$open: the worker");
	wait_until(sub { stat($node, 'in_flight', $name) >= 1 }, 'the request that hangs');
	my $waiting = $name eq 'template' ? 1 : 0;
	wait_until(sub { requests_of($name) == $waiting }, 'what has waited');
	add_event($node, database => $name);
	wait_until(sub { requests_of($name) == $waiting + 1 }, 'an event');
	is(requests_of($name), $waiting + 1, "$open: what has waited and what is new is sent, once");
}

# What an interrupted DROP DATABASE leaves behind takes no connections either.
my $said = -s $node->logfile;
$node->safe_psql('postgres', q{CREATE DATABASE broken; UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'});
$node->restart;
wait_until(sub { workers('template') == 1 && workers('unconnectable') == 1 }, 'workers');
$node->safe_psql('postgres', 'CREATE DATABASE other; DROP DATABASE other');
unlike(slurp_file($node->logfile, $said), qr/cannot connect to invalid database/, 'a database that was half dropped is left alone');
$node->safe_psql('postgres', 'DROP DATABASE broken');

# A database that cannot be connected to, though it seems so: it is tried again,
# more and more seldom.
$said = -s $node->logfile;
$node->safe_psql('postgres', 'CREATE DATABASE damaged');
my $directory = $node->data_dir . '/base/' . value($node, q{SELECT oid FROM pg_database WHERE datname = 'damaged'});
$node->stop;
rename "$directory/PG_VERSION", "$directory/PG_VERSION.away" or die "could not rename: $!";
$node->start;
my $attempts = sub { scalar(() = slurp_file($node->logfile, $said) =~ /hooks worker .*FATAL:  .*is not a valid data directory/g) };
wait_until(sub { $attempts->() >= 3 }, 'three attempts');
wait_until(sub { value($node, q{SELECT failures FROM hooks.workers WHERE database = 'damaged'}, 'template') >= 3 }, 'them to be counted');
cmp_ok(value($node, q{SELECT extract(epoch FROM start_at - now()) FROM hooks.workers WHERE database = 'damaged'}, 'template'),
	'>', 2, 'a database that cannot be connected to is tried more and more seldom');
rename "$directory/PG_VERSION.away", "$directory/PG_VERSION" or die "could not rename: $!";

finish($node, qr/is not a valid data directory/, qr/exited with exit code 1/);
done_testing();
