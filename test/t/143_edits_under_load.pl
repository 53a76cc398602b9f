# A thousand edits of hooks a second, by several sessions, beside the load: a
# hook that was committed before an event's statement, by whomever, fires; one
# that was disabled or deleted before does not.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Load;
use Hooks::Receiver;
use Hooks::Test;

my $editors = 3;
my $edits = 6000;	# of each
my $rounds = 6;
my $hooks = 25;	# a round

my $node = hooks_node('main', 'hooks.max_in_flight_per_host' => 64, log_statement => 'none');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 6);
add_users($node, 101, 100 + $editors);

# Sessions that make, edit, disable and delete hooks, of the users of the load
# and others, as fast as they can.
my @editing;

sub edit
{
	my ($n) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/edits_$n.sql";
	my $user = user_uuid(100 + $n);
	my $loaded = user_uuid(11 + $n % 2);
	my $config = jsonb({ url => $receiver->url('/ok/edited') });
	my @sql = (
		"INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config) VALUES ('$user', 'short-lived', 'raid', 'webhook', $config)",
		"UPDATE stream_hooks SET name = name || '.' WHERE user_id = '$user'",
		"UPDATE stream_hooks SET enabled = NOT enabled WHERE user_id = '$user'",
		"UPDATE stream_hooks SET conditions = '{\"min_viewers\": 5}' WHERE user_id = '$user'",
		"UPDATE stream_hooks SET name = 'load, edited' WHERE user_id = '$loaded'",
		"DELETE FROM stream_hooks WHERE user_id = '$user'");

	unlink $file;
	append_to_file($file, join ";\n", (map { $sql[ $_ % @sql ] } 0 .. $edits - 1), '');
	my $pid = fork // die "could not fork: $!";
	if ($pid == 0)
	{
		exec $node->installed_command('psql'), '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file
		  or POSIX::_exit(127);
	}
	push @editing, $pid;
	return;
}

my $load = Hooks::Load->start($node, $receiver, users => [ 11, 12 ]);
$load->wait_for_more(50);
my $pid = worker_pid($node);

# Two sessions that know of each other's work: what one has committed, the
# other one's next event finds.
my $editor = $node->background_psql('postgres');
my $inserter = $node->background_psql('postgres');
my (%fires, %silent);

sub insert
{
	my ($name, $user, $fires) = @_;

	$inserter->query_safe(sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('raid', '{"raider_name": "%s", "viewer_count": 9}', '%s')},
		$name, user_uuid($user));
	($fires ? \%fires : \%silent)->{$name} = 1;
	return;
}

my $begun = time;
edit($_) for 1 .. $editors;
for my $round (1 .. $rounds)
{
	my %hook;
	my $step = sub {
		my ($what, $sql, $fires) = @_;

		for my $n (1 .. $hooks)
		{
			my $user = 2 + $n % 5;

			$hook{$n} = $editor->query_safe($sql->($n, $user)) || $hook{$n};
			insert("$round $n $what", $user, $fires);
		}

		# Events are matched a moment later, with the hooks as they are then.
		if (!$fires)
		{
			wait_idle($node);
			return;
		}
		wait_until(
			sub {
				my %seen = map { $_->{body} => 1 } $receiver->requests;
				return !grep { !$seen{"$_: $round $_ $what"} } 1 .. $hooks;
			},
			"round $round, $what: requests");
		return;
	};

	# The name of the event is told to all hooks of its user: each says whose it is.
	$step->(
		'made',
		sub {
			my ($n, $user) = @_;
			sprintf q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config) VALUES ('%s', 'n', 'raid', 'webhook', %s) RETURNING id},
			  user_uuid($user), jsonb({ url => $receiver->url('/ok/round'), body_template => "$n: {{username}}", max_attempts => 1 });
		},
		1);
	wait_idle($node);
	$step->('disabled', sub { "UPDATE stream_hooks SET enabled = false WHERE id = '$hook{$_[0]}'" }, 0);
	$step->('enabled', sub { "UPDATE stream_hooks SET enabled = true WHERE id = '$hook{$_[0]}'" }, 1);
	wait_idle($node);
	$step->('deleted', sub { "DELETE FROM stream_hooks WHERE id = '$hook{$_[0]}'" }, 0);
}
my $took = time - $begun;
my $done = 0;
for (@editing)
{
	waitpid $_, 0;
	$done++ if $? == 0;
}
is($done, $editors, 'nobody who edits hooks has seen an error');
note(sprintf '%d edits a second', $editors * $edits / (time - $begun));
note(sprintf '%d rounds in %.1f s', $rounds, $took);

# Each request by its hook: "n: round n what".
wait_idle($node);
my %sent;
for my $request (grep { $_->{path} eq '/ok/round' } $receiver->requests)
{
	my ($hook, $name, $n) = $request->{body} =~ /^(\d+): (\d+ (\d+) \w+)$/;

	$sent{$name}++ if $hook == $n;
}
is_deeply([ sort grep { ($sent{$_} // 0) != 1 } keys %fires ], [], 'a hook that was made or enabled before an event fires, once');
is_deeply([ sort grep { $sent{$_} } keys %silent ], [], 'a hook that was disabled or deleted before an event does not');
is(scalar keys %fires, 2 * $rounds * $hooks, 'that was tried so often');
$_->quit for $editor, $inserter;

$load->check('the load beside it');
is(worker_pid($node), $pid, 'all that by one worker');

finish($node);
done_testing();
