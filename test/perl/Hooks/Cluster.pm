=pod

=head1 NAME

Hooks::Cluster - a hub and nodes that deliver its events

=head1 SYNOPSIS

  use Hooks::Cluster;

  my $cluster = Hooks::Cluster->new;
  $cluster->add_node for 0 .. 1;
  $cluster->give($_, $_, 2) for 0 .. 1; # share 0 to node 0, share 1 to node 1
  $cluster->deliver(2);                 # until then, the hub delivers
  ...
  my $repeats = $cluster->check($receiver, \@producers);

=head1 DESCRIPTION

What doc/scale.md says, step by step, with the servers of L<Hooks::Test>.  The
events are those of L<Hooks::Producer>; the hooks for them, of add_producer_hook(), send
"{{username}}, {{amount}}" to a path of their own.

=cut

package Hooks::Cluster;

use strict;
use warnings;

use Test::More;

use Hooks::Test;

my %settings = (
	streaming => 'logical',
	max_worker_processes => 24,
	max_logical_replication_workers => 12,
	max_replication_slots => 12,
	max_wal_senders => 12,
	wal_retrieve_retry_interval => '100ms',
	'hooks.max_in_flight_per_user' => 1,
	'hooks.max_in_flight_per_host' => 64);

=pod

=head1 METHODS

=over

=item Hooks::Cluster->new(%more_settings)

A hub with the application's tables and hooks, which delivers by itself.

=item $cluster->hub, $cluster->node($n)

=cut

sub new
{
	my ($class, %more) = @_;
	my $self = bless { hub => hooks_node('hub', %settings, %more), nodes => [], more => \%more }, $class;

	create_application($self->{hub});
	$self->{hub}->safe_psql('postgres', 'SELECT hooks.become_hub()');
	return $self;
}

sub hub { return $_[0]{hub}; }

sub node
{
	my ($self, $n) = @_;
	return $self->{nodes}[$n];
}

=pod

=item $cluster->add_node

Another node, which has no share yet.

=item $cluster->give($node, $share, $total)

Gives the share that is so many of so many to a node: it has the hooks, and gets
no events yet.

=item $cluster->deliver($total)

Gives the events to the nodes, in one transaction.

=cut

sub add_node
{
	my ($self) = @_;
	my $n = @{ $self->{nodes} };
	my $hub = $self->{hub};
	my $node = hooks_node("node$n", %settings, 'hooks.max_event_age' => -1, %{ $self->{more} });

	push @{ $self->{nodes} }, $node;
	$node->safe_psql(
		'postgres', q{
		CREATE TABLE stream_events (
			id uuid PRIMARY KEY, type text, data jsonb, author_id text, livestream_id uuid, user_id uuid,
			platform text, viewer_id text, was_displayed boolean, inserted_at timestamp);
		CREATE EXTENSION hooks;
		SELECT hooks.become_node();
		CREATE PUBLICATION hooks_results FOR TABLE stream_hook_logs WITH (publish = 'insert');
		CREATE PUBLICATION hooks_health FOR TABLE hooks.health});
	$hub->safe_psql(
		'postgres', sprintf 'CREATE SUBSCRIPTION hooks_results_%d CONNECTION %s PUBLICATION hooks_results, hooks_health',
		$n, literal($node->connstr('postgres')));
	$self->wait_for_copy($hub);
	return $node;
}

# What subscribes to a share.
sub subscription
{
	my ($self, $share) = @_;

	return sprintf 'CREATE SUBSCRIPTION hooks_share_%d CONNECTION %s PUBLICATION hooks_share_%d_hooks, hooks_share_%d_events',
	  $share, literal($self->{hub}->connstr('postgres')), $share, $share;
}

sub give
{
	my ($self, $n, $share, $total) = @_;
	my $node = $self->{nodes}[$n];

	$self->{hub}->safe_psql('postgres', "SELECT hooks.node_filter($share, $total, events => false) \\gexec\n");
	$node->safe_psql('postgres', $self->subscription($share));
	$self->wait_for_copy($node);
	return;
}

sub deliver
{
	my ($self, $total) = @_;

	$self->{hub}->safe_psql(
		'postgres',
		"BEGIN;\nLOCK TABLE stream_events IN SHARE ROW EXCLUSIVE MODE;\n"
		  . join('', map { "SELECT hooks.node_filter($_, $total) \\gexec\n" } 0 .. $total - 1)
		  . "COMMIT;\n");
	return;
}

=pod

=item $cluster->wait_for_copy($node)

Waits until all tables of all subscriptions of a server are copied.

=item $cluster->wait_applied(@shares)

Waits until whoever has these shares has got what was committed at the hub until
now.

=item $cluster->wait_delivered(@n)

Waits until these nodes have delivered what they got, and the hub has what came
of it.

=cut

sub wait_for_copy
{
	my ($self, $node) = @_;

	wait_until(
		sub { value($node, q{SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'}) == 0 },
		'the initial copy');
	return;
}

sub wait_confirmed
{
	my ($publisher, $slot) = @_;
	my $until = value($publisher, 'SELECT pg_current_wal_lsn()');

	wait_until(
		sub {
			value($publisher,
				"SELECT active AND confirmed_flush_lsn >= '$until' FROM pg_replication_slots WHERE slot_name = '$slot'") eq 't';
		},
		"$slot to catch up");
	return;
}

sub wait_applied
{
	my ($self, @shares) = @_;

	wait_confirmed($self->{hub}, "hooks_share_$_") foreach @shares;
	return;
}

sub wait_delivered
{
	my ($self, @n) = @_;

	foreach my $n (@n)
	{
		wait_idle($self->{nodes}[$n]);
		wait_confirmed($self->{nodes}[$n], "hooks_results_$n");
	}
	return;
}

=pod

=item $cluster->kill_node($n)

Kills its postmaster, and waits until all of its processes have noticed.

=item $cluster->lose_node($n)

Kills it, and has the hub forget it.

=item $cluster->take_over($share, $node, $total)

Gives the share of a node that was lost to another one, which gets what the lost
node did not confirm, and before that, what it confirmed and did not deliver, as
far as the hub knows.

=item $cluster->move($share, $from, $to, $total)

Gives a share to another node.  The old one finishes what it has; what comes
meanwhile waits at the hub.

=item $cluster->add_producer_hook($receiver, $user)

A hook that sends the events of a producer.

=item $cluster->users_of($n, $total, $count)

The numbers of some users of a share, of those from 1 to 100.

=cut

sub kill_node
{
	my ($self, $n) = @_;
	my $node = $self->{nodes}[$n];
	my @pids = ($node->{_pid}, split /\n/, value($node, 'SELECT pid FROM pg_stat_activity'));

	$node->kill9;
	wait_until(sub { !kill 0, @pids }, 'the processes of the node to end');
	return;
}

sub lose_node
{
	my ($self, $n) = @_;

	$self->kill_node($n);
	$self->{hub}->safe_psql('postgres', $_)
	  foreach "ALTER SUBSCRIPTION hooks_results_$n DISABLE",
	  "ALTER SUBSCRIPTION hooks_results_$n SET (slot_name = NONE)", "DROP SUBSCRIPTION hooks_results_$n";
	return;
}

# The hooks of a share as they are now, and whatever else was there stays.
sub copy_hooks
{
	my ($self, $share, $node) = @_;

	$node->safe_psql('postgres',
		'CREATE SUBSCRIPTION hooks_copy CONNECTION ' . literal($self->{hub}->connstr('postgres'))
		  . " PUBLICATION hooks_share_${share}_hooks");
	$self->wait_for_copy($node);
	$node->safe_psql('postgres', 'DROP SUBSCRIPTION hooks_copy');
	return;
}

# Goes on where another node has stopped.
sub continue_share
{
	my ($self, $share, $node) = @_;

	$node->safe_psql('postgres',
		$self->subscription($share) . " WITH (create_slot = false, slot_name = 'hooks_share_$share', copy_data = false)");
	return;
}

sub wait_for_slot
{
	my ($self, $share) = @_;

	wait_until(
		sub { value($self->{hub}, "SELECT active FROM pg_replication_slots WHERE slot_name = 'hooks_share_$share'") eq 'f' },
		'the slot to be free');
	return;
}

sub take_over
{
	my ($self, $share, $n, $total) = @_;
	my $node = $self->{nodes}[$n];
	my $file = "$PostgreSQL::Test::Utils::tmp_check/undelivered_$share";

	$self->wait_for_slot($share);
	$self->copy_hooks($share, $node);
	$self->{hub}->safe_psql('postgres',
		"COPY (SELECT * FROM stream_events WHERE id IN (SELECT event_id FROM "
		  . "hooks.undelivered($share, $total, now() - interval '1 hour')) ORDER BY inserted_at) TO '$file'");
	$node->safe_psql('postgres', "SET session_replication_role = replica; COPY stream_events FROM '$file'");
	$self->continue_share($share, $node);
	return;
}

sub move
{
	my ($self, $share, $from, $to, $total) = @_;
	my ($old, $new) = @{ $self->{nodes} }[ $from, $to ];
	my $filter = "((uuid_hash(user_id) & 2147483647) % $total) = $share";

	$self->copy_hooks($share, $new);
	$old->safe_psql('postgres', "ALTER SUBSCRIPTION hooks_share_$share DISABLE");
	$self->wait_for_slot($share);
	wait_until(
		sub { value($old, "SELECT count(*) FROM hooks.pending WHERE $filter") == 0 },
		'the old node to finish');

	# How far it got, exactly.
	my $applied = value($old,
		"SELECT pg_replication_origin_progress('pg_' || oid, true) FROM pg_subscription WHERE subname = 'hooks_share_$share'");
	$self->{hub}->safe_psql('postgres',
		"SELECT pg_replication_slot_advance(slot_name, greatest(confirmed_flush_lsn, '$applied')) "
		  . "FROM pg_replication_slots WHERE slot_name = 'hooks_share_$share'");
	$old->safe_psql('postgres', $_)
	  foreach "ALTER SUBSCRIPTION hooks_share_$share SET (slot_name = NONE)", "DROP SUBSCRIPTION hooks_share_$share",
	  "DELETE FROM stream_hooks WHERE $filter";
	$self->continue_share($share, $new);
	return;
}

sub add_producer_hook
{
	my ($self, $receiver, $user) = @_;

	return add_hook($self->{hub}, user => $user, trigger => 'donation', url => $receiver->url('/ok/producer'),
		config => { body_template => '{{username}}, {{amount}}' });
}

sub users_of
{
	my ($self, $n, $total, $count) = @_;
	my @users = grep {
		value($self->{hub}, sprintf 'SELECT (uuid_hash(%s) & 2147483647) %% %d = %d', literal(user_uuid($_)), $total, $n) eq 't'
	} 1 .. 100;

	return @users[ 0 .. $count - 1 ];
}

=pod

=item $cluster->check($receiver, \@producers [, repeats_in_log => 1])

Compares what producers know to be committed, what the hub's tables have, and
what the receiver got: lost 0, unexpected 0, each result once in the hub's log
(unless deliveries were repeated).  Returns how many requests were repeats.

=back

=cut

sub none
{
	my ($hub, $query, $what) = @_;
	my @found = rows($hub, $query);

	is(scalar @found, 0, $what) or diag explain [ @found[ 0 .. ($#found < 9 ? $#found : 9) ] ];
	return;
}

sub check
{
	my ($self, $receiver, $producers, %options) = @_;
	my $hub = $self->{hub};

	$hub->safe_psql('postgres', 'CREATE TABLE acknowledged (user_id uuid, n int)');
	foreach my $producer (@$producers)
	{
		my @numbers = $producer->acknowledged;

		cmp_ok(scalar @numbers, '>', 100, "producer $producer->{user} was busy");
		$hub->safe_psql('postgres', sprintf q{INSERT INTO acknowledged SELECT '%s', unnest('{%s}'::int[])},
			user_uuid($producer->{user}), join ',', @numbers);
	}
	load_requests($hub, $receiver, 'requests');
	$hub->safe_psql(
		'postgres', q{
		DELETE FROM requests WHERE path <> '/ok/producer';
		ALTER TABLE requests ADD user_id uuid, ADD n int;
		UPDATE requests SET n = substring(body FROM '^producer \d+, (\d+)$')::int,
			user_id = format('00000000-0000-4000-8000-%s', lpad(substring(body FROM '^producer (\d+), \d+$'), 12, '0'))::uuid;
		CREATE VIEW committed AS SELECT id, user_id, (data ->> 'amount')::int AS n FROM stream_events WHERE type = 'donation';
		ANALYZE});

	none($hub, 'SELECT * FROM acknowledged EXCEPT SELECT user_id, n FROM committed', 'acknowledged commits are in the table');
	none($hub, 'SELECT user_id, n FROM committed EXCEPT SELECT user_id, n FROM requests', 'lost 0: every event was sent');
	none($hub, q{SELECT id FROM committed EXCEPT SELECT stream_event_id FROM stream_hook_logs WHERE status = 'success'},
		'lost 0: the hub has the log row of every event');
	none($hub, 'SELECT * FROM requests WHERE n IS NULL', 'unexpected 0: nothing that was rolled back was sent');
	none($hub, 'SELECT user_id, n FROM requests EXCEPT SELECT user_id, n FROM committed',
		'unexpected 0: only what is in the table was sent');
	none($hub, 'SELECT id FROM requests GROUP BY id HAVING count(DISTINCT body) > 1', 'repeats have the same body');
	none($hub, 'SELECT user_id, n FROM requests GROUP BY user_id, n HAVING count(DISTINCT id) > 1', 'repeats have the same id');
	none($hub, 'SELECT stream_event_id, hook_id FROM stream_hook_logs GROUP BY 1, 2 HAVING count(*) > 1',
		'one log row for each delivery')
	  unless $options{repeats_in_log};
	none(
		$hub,
		q{SELECT * FROM (SELECT user_id, n, lag(n) OVER (PARTITION BY user_id ORDER BY first) AS before
			FROM (SELECT user_id, n, min(seq) AS first FROM requests GROUP BY user_id, n) AS firsts) AS o
		WHERE n <> coalesce(before, 0) + 1},
		'first attempts of a user are in the order of commits, without a gap');

	my ($requests, $repeats) = split /\|/, value($hub, 'SELECT count(*), count(*) - count(DISTINCT id) FROM requests');
	diag("$requests requests, of which $repeats repeats");
	return $repeats;
}

1;
