# Sessions that hold a snapshot or a transaction id, or have queued an event
# and do not commit, and transactions that stay prepared, by themselves and all
# together: events pass, what is read for them does not become more, the queue
# stays small, and nothing in it is ever a dead row.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my ($rounds, $events) = (5, 2000);

my $node = hooks_node(
	'main',
	'hooks.rotation_size' => '64kB',
	autovacuum => 'off',
	max_prepared_transactions => 5);
my $receiver = Hooks::Receiver->start;
my %bodies;						# requests by what they should say

plan skip_all => 'there is no pgstattuple'
  unless value($node, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pgstattuple'});

create_application($node);
add_hook($node, url => $receiver->url, config => { body_template => 'n={{data.n}}' });
$node->safe_psql('postgres', 'CREATE EXTENSION pgstattuple');

my $queue = q{(SELECT oid, relname FROM pg_class WHERE relnamespace = 'hooks'::regnamespace AND relkind = 'r' AND relname ~ '^(queue|ack)_\d$')};

sub queue_size
{
	return value($node, "SELECT sum(pg_total_relation_size(oid)) FROM $queue AS q");
}

sub dead_rows
{
	return value($node, "SELECT sum((pgstattuple(oid)).dead_tuple_count) FROM $queue AS q");
}

# Blocks of the queue, indexes included, that anybody has looked at, as far as they have said.
sub blocks
{
	return value($node, qq{SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0))
		FROM pg_statio_all_tables AS s JOIN $queue AS q ON q.oid = s.relid});
}

# Events, the numbers of which begin with $first; returns how many blocks were
# looked at.
sub run_round
{
	my ($first, $may_stay) = @_;
	my $before = blocks();
	my $rotations = stat($node, 'rotations');

	$node->safe_psql('postgres', join ";\n", map { event_rows(100, first => $first + 100 * $_) } 0 .. $events / 100 - 1);
	wait_idle($node);
	$bodies{ $_->{body} }++ for $receiver->take;
	wait_until(sub { stat($node, 'rotations') > $rotations }, 'a table of the queue to be emptied') unless $may_stay;

	# A worker that leaves says what it has looked at.
	my $pid = worker_pid($node);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 60000)");
	return blocks() - $before;
}

sub insert
{
	my ($n) = @_;

	return event_rows(1, first => $n);
}

my %holders = (
	'a snapshot' => 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users',
	'a transaction id' => q{BEGIN; CREATE TEMP TABLE something (); INSERT INTO users VALUES (gen_random_uuid())},
	'an event that is not committed' => 'BEGIN; ' . insert(1),
	'a prepared transaction' => 'BEGIN; ' . insert(2) . q{; PREPARE TRANSACTION 'held'});
my $next = 1000;
my $expected = 0;

# What it takes when nobody holds anything, and how large the queue is then.
my @alone = map { run_round($next += $events) } 1 .. $rounds;
$expected += $rounds * $events;
my $usual = (sort { $b <=> $a } @alone)[0];
note("blocks per round: @alone, size " . queue_size());

for my $case ((map { [$_] } sort keys %holders), [ sort keys %holders ])
{
	my $what = @$case > 1 ? 'all of them' : $case->[0];
	my %sessions = map { ($_ => $node->background_psql('postgres', on_error_stop => 1)) } @$case;

	$sessions{$_}->query_safe($holders{$_}) for @$case;
	my (@blocks, @sizes);
	for my $round (1 .. $rounds)
	{
		# The table that holds what is not committed stays; others take turns.
		push @blocks, run_round($next += $events, $round == 1);
		push @sizes, queue_size();
		is(dead_rows(), 0, "$what: no dead row");
	}
	$expected += $rounds * $events;
	is(scalar(keys %bodies), $expected, "$what: all events pass");
	note("$what: blocks per round @blocks, sizes @sizes");

	# A table that cannot be emptied is read again by each worker that begins;
	# it holds no more than what came before the next one took its place.
	cmp_ok($blocks[-1], '<', 2 * $usual, "$what: no more is read than without");
	cmp_ok($sizes[-1], '<=', 1.1 * (sort { $b <=> $a } @sizes[ 0 .. 2 ])[0], "$what: the queue does not grow");

	for (@$case)
	{
		$sessions{$_}->query_safe('COMMIT') unless /prepared/;
		$node->safe_psql('postgres', q{COMMIT PREPARED 'held'}) if /prepared/;
		$expected++ if /prepared|event/;
		$sessions{$_}->quit;
	}
	wait_idle($node);
	$bodies{ $_->{body} }++ for $receiver->take;
	is(scalar(grep { exists $bodies{"n=$_"} } 1, 2), scalar(grep { /prepared|event/ } @$case), "$what: what was held fires when it is committed");
	is(scalar(keys %bodies), $expected, '... and nothing else does');
	delete @bodies{ 'n=1', 'n=2' };
	$expected = keys %bodies;
	run_round($next += $events);
	$expected += $events;
	wait_until(sub { queue_size() < 300_000 }, "$what: the queue to be emptied");
	pass("$what: the queue is emptied afterwards");
}
is(scalar(grep { $_ > 1 } values %bodies), 0, 'nothing twice');

finish($node);
done_testing();
