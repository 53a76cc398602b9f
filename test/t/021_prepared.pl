# Prepared transactions: nothing before COMMIT PREPARED, everything once after
# it, also when the server has crashed and restarted in between.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', max_prepared_transactions => 10, 'hooks.idle_timeout' => '1s');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_hook($node, url => $receiver->url, config => { body_template => 'n={{username}}' });

sub prepare
{
	my ($name) = @_;

	$node->safe_psql('postgres', sprintf
		  q{BEGIN; INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{"username": "%s"}', '%s');
		PREPARE TRANSACTION '%s'}, $name, user_uuid(1), $name);
	return;
}

sub fired
{
	wait_idle($node);
	return [ map { $_->{body} } $receiver->take ];
}

prepare('one');
prepare('two');
add_event($node, data => { username => 'three' });
is_deeply(fired(), ['n=three'], 'a prepared transaction does not fire, and holds nothing back');

# COMMIT PREPARED announces nothing; somebody looks all the same.
$node->safe_psql('postgres', q{COMMIT PREPARED 'one'});
$receiver->wait_for_requests(2);
is_deeply(fired(), ['n=one'], 'COMMIT PREPARED fires, without any other event');

# The worker leaves when it is idle, but not while it has to look.
prepare('four');
wait_for_worker($node);
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'two'});
is_deeply(fired(), [], 'ROLLBACK PREPARED does not');

# Tables are set aside and emptied once a second meanwhile, but not what a
# prepared transaction has written to.
for my $n (1 .. 3)
{
	my $rotations = stat($node, 'rotations');

	add_event($node, data => { username => "during $n" });
	is_deeply(fired(), ["n=during $n"], "event $n beside a prepared transaction");
	wait_until(sub { stat($node, 'rotations') > $rotations }, 'a rotation') if $n == 1;
}
$node->safe_psql('postgres', q{COMMIT PREPARED 'four'});
$receiver->wait_for_requests(6);
is_deeply(fired(), ['n=four'], 'rotations leave prepared events alone');

# Across restarts, clean and not.
for my $mode ('fast', 'immediate')
{
	prepare("before $mode");
	$node->stop($mode);
	$node->start;
	is_deeply(fired(), [], "restart, $mode: nothing fires");
	my $before = scalar(my @all = $receiver->requests);
	$node->safe_psql('postgres', "COMMIT PREPARED 'before $mode'");
	$receiver->wait_for_requests($before + 1);
	is_deeply(fired(), ["n=before $mode"], "restart, $mode: COMMIT PREPARED fires once");
}

# A transaction that has not inserted anything, and one with a savepoint.
$node->safe_psql(
	'postgres', sprintf q{
	BEGIN; INSERT INTO users VALUES (gen_random_uuid()); PREPARE TRANSACTION 'nothing';
	COMMIT PREPARED 'nothing';
	BEGIN; INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{"username": "kept"}', '%1$s');
	SAVEPOINT a; INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{"username": "lost"}', '%1$s');
	ROLLBACK TO a; PREPARE TRANSACTION 'savepoint'; COMMIT PREPARED 'savepoint'}, user_uuid(1));
is_deeply(fired(), ['n=kept'], 'savepoints of a prepared transaction');

# When the last one has ended, the worker may leave again.
wait_until(sub { worker_pid($node) eq '' }, 'the worker to leave');
is(log_statuses($node)->{success}, value($node, 'SELECT count(*) FROM stream_events'), 'each event once');

# COMMIT PREPARED may come right after the worker has looked, and before it
# looks whether anything is prepared.  With these settings nothing else than
# that look finds it, neither a rotation nor the worker's leaving.
configure($node, { 'hooks.idle_timeout' => '1h', 'hooks.rotation_age' => '1h' }, 'postgres');
add_event($node, data => { username => 'awake' });
is_deeply(fired(), ['n=awake'], 'the worker is there');
for my $n (1 .. 8)
{
	my $seen = scalar(my @requests = $receiver->requests);

	$node->safe_psql('postgres', sprintf
		  q{BEGIN; INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{"username": "quick %1$d"}', '%2$s');
		PREPARE TRANSACTION 'quick';
		SELECT hooks.wait_idle();
		COMMIT PREPARED 'quick'}, $n, user_uuid(1));
	is(($receiver->wait_for_requests($seen + 1))[-1]{body}, "n=quick $n", "COMMIT PREPARED at once, $n");
	$receiver->take;
}

finish($node);
done_testing();
