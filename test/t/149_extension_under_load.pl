# DROP and CREATE EXTENSION while the application inserts: what is rolled back
# has not happened, and loses nothing; what is committed begins anew.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Load;
use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.max_in_flight_per_user' => 1, 'hooks.max_in_flight_per_host' => 64, 'hooks.timeout' => '60s');
my $receiver = Hooks::Receiver->start;
my $slowest = 0;

create_application($node);

sub run
{
	my ($load, $sql) = @_;
	my $start = time;

	$node->safe_psql('postgres', $sql);
	$slowest = time - $start if time - $start > $slowest;
	$load->wait_for_more(30);
	return;
}

# Requests that hang are there all the time.
add_hook($node, url => $receiver->url('/hang'));
add_event($node);

my $load = Hooks::Load->start($node, $receiver);
$load->wait_for_more(60);
for my $round (1 .. 3)
{
	run($load, 'BEGIN; DROP EXTENSION hooks; ROLLBACK');
	run($load, 'BEGIN; DROP EXTENSION hooks; SELECT pg_sleep(0.3); ROLLBACK');
	run($load, 'BEGIN; DROP EXTENSION hooks; CREATE EXTENSION hooks; ROLLBACK');
	run($load, 'BEGIN; SAVEPOINT a; DROP EXTENSION hooks; ROLLBACK TO a; COMMIT');
	run($load, 'BEGIN; SAVEPOINT a; DROP EXTENSION hooks; CREATE EXTENSION hooks; ROLLBACK TO a; SELECT hooks.wake(); COMMIT');
}

# Somebody takes his time, and a worker that starts meanwhile waits.
my $dropping = $node->background_psql('postgres');
my $old = worker_pid($node);
$dropping->query_safe('BEGIN; DROP EXTENSION hooks');
value($node, "SELECT pg_terminate_backend($old)");
wait_until(sub { my $new = worker_pid($node); $new ne '' && $new ne $old }, 'another worker');
my $waits = worker_pid($node);
$dropping->query_safe('SELECT pg_sleep(0.5)');	# longer than it waits for a lock
is(worker_pid($node), $waits, 'a worker that starts while the extension is being dropped waits');
$dropping->query_safe('ROLLBACK');
$dropping->quit;
$load->wait_for_more(30);

# What hangs need not be waited for.
$load->stop;
$node->safe_psql('postgres', 'DELETE FROM stream_hooks WHERE user_id = ' . literal(user_uuid(1)));
my $pid = worker_pid($node);
value($node, "SELECT pg_terminate_backend($pid)");
$load->check('DROP EXTENSION that is rolled back');
note(sprintf 'the slowest of them took %.3f s', $slowest);

# Committed: who inserts notices nothing, and nothing is sent that was not committed.
$load = Hooks::Load->start($node, $receiver, users => [ 21 .. 24 ]);
$load->wait_for_more(60);
for my $round (1 .. 8)
{
	run($load, 'BEGIN; DROP EXTENSION hooks; CREATE EXTENSION hooks; COMMIT');
	run($load, 'DROP EXTENSION hooks; CREATE EXTENSION hooks');
}
$load->check('DROP and CREATE EXTENSION', unsent => 1_000_000, logs => undef);
is(value($node, q{SELECT count(*) FROM stream_hooks WHERE name = 'load'}), 8, 'the hooks are still there');

# Everything that comes after is sent.
$load = Hooks::Load->start($node, $receiver, users => [ 31 .. 34 ]);
$load->wait_for_more(100);
$load->check('after CREATE EXTENSION');

finish($node);
done_testing();
