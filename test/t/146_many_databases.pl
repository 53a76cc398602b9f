# Many databases and one place for a worker: everybody gets a turn, however
# busy one of them is, and one message says what to do.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use Hooks::Load;
use Hooks::Receiver;
use Hooks::Test;

my $databases = 200;

# The logical replication launcher takes a place, our launcher another.
my $node = hooks_node(
	'main', max_worker_processes => 3, 'hooks.timeout' => '3s', 'hooks.rotation_age' => '1min',
	autovacuum => 'off');
my $receiver = Hooks::Receiver->start;

$node->safe_psql('postgres', 'CREATE DATABASE blank');
create_application($node, 'blank');
my $made = time;
$node->safe_psql('postgres', join "\n", map { "CREATE DATABASE many_$_ TEMPLATE blank;" } 1 .. $databases);
note(sprintf '%d databases in %.1f s', $databases, time - $made);
my @all = map { "many_$_" } 1 .. $databases;
add_hook($node, url => $receiver->url("/ok/$_"), database => $_) for @all;

sub requests_of
{
	my ($name) = @_;
	return scalar grep { $_->{path} eq "/ok/$name" } $receiver->requests;
}

# The log's lines of our processes since then.
sub said
{
	my ($since) = @_;
	return grep { /\] hooks (worker|launcher) .*?(LOG|WARNING|ERROR|FATAL):/ } split /\n/, slurp_file($node->logfile, $since);
}

# Has so many events in each of the databases, and tests that each is served.
sub serve_all
{
	my ($what, $n, $patience, @names) = @_;
	my %before = map { $_ => requests_of($_) } @names;
	my $begun = time;

	$node->safe_psql($_, event_rows($n)) for @names;
	wait_until(
		sub {
			my %seen;
			$seen{$_->{path}}++ for $receiver->requests;
			return !grep { ($seen{"/ok/$_"} // 0) < $before{$_} + $n } @names;
		},
		"$what: every database to be served");
	my $took = time - $begun;
	note(sprintf '%s: %d databases served in %.1f s', $what, scalar @names, $took);
	cmp_ok($took, '<', $patience, "$what: every database is served, in good time");
	return;
}

# All of them at once.
my $begun = -s $node->logfile;
serve_all('all at once', 3, $databases, @all);
is_deeply([ grep { requests_of($_) != 3 } @all ], [], '... with what is theirs');

# One of them has more to do than ever gets done, another one's requests hang.
my $load = Hooks::Load->start($node, $receiver, users => [ 11, 12 ], database => 'many_1');
add_hook($node, trigger => 'raid', url => $receiver->url('/hang'), database => 'many_2');
$load->wait_for_more(100);
$node->safe_psql('many_2', event_rows(1, type => 'raid')) for 1 .. 3;
serve_all('beside a busy one', 1, $databases, @all[ 2 .. 31 ]);
serve_all('beside a busy one, again', 1, $databases, @all[ 30 .. 59 ]);
my $requests = $load->requests;
$load->wait_for_more(100);
my $count = $load->check('the busy one');
is($count->{repeats}, 0, '... is not interrupted: nothing is sent twice');
wait_idle($node, 'many_2');
is(scalar(my @hung = grep { $_->{path} eq '/hang' } $receiver->requests), 3, 'nor is what hangs');

my @complaints = grep { /out of background workers/ } said($begun);
is(scalar @complaints, 1, 'it is said once that there are no places');
like(slurp_file($node->logfile, $begun), qr/HINT:  Increase "max_worker_processes"\./, '... and what to do');
is_deeply([ grep { !/out of background workers/ } said($begun) ], [], '... and nothing else');

finish($node, qr/out of background workers/);

# No place at all: it is said once, nobody spins, and nobody has to wait for it.
$node = hooks_node('none', max_worker_processes => 2);
create_application($node);
add_hook($node, url => $receiver->url('/ok/none'));
$node->safe_psql('postgres', event_rows(10)) for 1 .. 3;
wait_until(sub { slurp_file($node->logfile) =~ /out of background workers/ }, 'the complaint');
my $launcher = value($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'hooks launcher'});
my $sleeps = sub { slurp_file("/proc/$launcher/status") =~ /^voluntary_ctxt_switches:\s+(\d+)$/m ? $1 : undef };
my $before = $sleeps->();
usleep(6_000_000);	# what is measured: how often it wakes up while that long
cmp_ok($sleeps->() - $before, '<=', 5, 'without any place for a worker the launcher sleeps');
is(() = slurp_file($node->logfile) =~ /out of background workers/g, 1, '... and has said so once');
is(requests_of('none'), 0, 'nothing is sent');
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
wait_idle($node);
is(requests_of('none'), 30, '... until there is a place');
finish($node, qr/out of background workers/);
done_testing();
