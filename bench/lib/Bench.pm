# Bench: what all measures need: an application's data, the queue's state,
# rounds, and a place for values.  See Bench::Measures for the measures.

package Bench;

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(sleep time);

use Bench::Load;
use Bench::Machine qw(watch_others);
use Bench::Sink;

# Options: server, dir (of our own programs), results, rounds, quick, profile.
sub new
{
	my ($class, %o) = @_;
	return bless {%o}, $class;
}

sub server { return $_[0]{server} }
sub session { return $_[0]{server}->session }
sub results { return $_[0]{results} }
sub sink { return $_[0]{sink} }

# The first for real, the second for --quick.
sub scale
{
	my ($self, $full, $quick) = @_;
	return $self->{quick} ? $quick : $full;
}

sub say
{
	my ($self, $text) = @_;
	printf STDERR "%s  %s\n", POSIX::strftime('%T', localtime), $text;
	return;
}

# ----------
# Rounds
# ----------

# Runs each variant, [name, code], once per round; every round begins with the
# next one, so that none is always the first.
sub interleave
{
	my ($self, @variants) = @_;

	for my $round (1 .. $self->{rounds})
	{
		for my $i (0 .. $#variants)
		{
			my ($name, $code) = @{ $variants[ ($i + $round - 1) % @variants ] };
			$self->say("  round $round: $name");
			$code->();
		}
	}
	return;
}

# Runs something and returns its values and an option for add() that says what
# share of the machine others took.
sub watched
{
	my ($self, $code) = @_;
	my $others = watch_others();
	my @values = $code->();
	return (@values, { others => $others->() });
}

sub add
{
	my ($self, $label, $unit, $value, %o) = @_;
	$self->results->add($label, $unit, $value, %o);
	return;
}

# ----------
# The application
# ----------

# A new server and a new sink; options: settings => {...}, every => N.
sub begin
{
	my ($self, %o) = @_;
	delete $self->{sink};
	$self->{sink} = Bench::Sink->start($self->{dir}, every => $o{every});
	$self->server->start(%{ $o{settings} // {} });
	return;
}

# The id of user n, n from 1 on, as an SQL expression.
sub user
{
	my ($n) = @_;
	return "('00000000-0000-4000-8000-' || ((100000000000 + $n)::text))::uuid";
}

# The n-th user, as SQL.
sub session_user { return user($_[1]) }

sub add_users
{
	my ($self, $n) = @_;
	$self->session->run(
		'INSERT INTO users SELECT ' . user('n') . " FROM generate_series(1, $n) AS n");
	return;
}

# Gives each of n users as many webhooks as there are types.
sub add_hooks
{
	my ($self, $n, @types) = @_;
	my $types = join ', ', map { "'$_'" } @types;
	my $url = $self->sink->url;

	$self->session->run('INSERT INTO stream_hooks'
		  . ' (user_id, name, trigger_type, action_type, action_config)'
		  . ' SELECT ' . user('n') . ", 'thank you', type, 'webhook', '{\"url\": \"$url\"}'"
		  . " FROM generate_series(1, $n) AS n, unnest(ARRAY[$types]) AS type");
	$self->session->run('ANALYZE stream_hooks, users');
	return;
}

my $message = 'thanks for the stream, and keep on playing that song again and again';

# An event's data as SQL; number => an expression that its message begins with.
sub data
{
	my (%o) = @_;
	my $text = '{"username": "a faithful viewer", "amount": 5, "currency": "EUR", "message": "';
	return "'$text$message\"}'::jsonb" if !defined $o{number};
	return "('$text' || ($o{number})::text || ' $message\"}')::jsonb";
}

# A script for pgbench: one event of a random one among n users.
sub event_script
{
	my ($self, $users, %o) = @_;
	my $type = $o{type} // 'donation';
	my $script = "\\set user random(1, $users)\n";

	# Numbers tell the clients apart.
	$script .= "\\set n :n + 1\n" if $o{numbered};
	$script .= "\\set pause random($o{pause}[0], $o{pause}[1])\n\\sleep :pause ms\n" if $o{pause};
	my $data = data($o{numbered} ? (number => ':client_id * 1000000000::bigint + :n') : ());
	my $rows = join ', ', map { '(' . user($_) . ", '$type', 'twitch', $data)" }
	  ':user', map { "1 + (:user + $_) % $users" } 1 .. ($o{rows} // 1) - 1;
	return $script . "INSERT INTO stream_events (user_id, type, platform, data) VALUES $rows;\n";
}

# Which trigger the table of events has: none, empty, ours.
sub trigger
{
	my ($self, $which) = @_;

	$self->session->run('SET client_min_messages = warning; SELECT hooks.detach(\'stream_events\');'
		  . ' DROP TRIGGER IF EXISTS empty ON stream_events');
	$self->session->run("SELECT hooks.attach('stream_events')") if $which eq 'ours';
	$self->session->run(
		"CREATE OR REPLACE FUNCTION empty_trigger() RETURNS trigger LANGUAGE c AS '$self->{dir}/empty_trigger';"
		  . ' CREATE TRIGGER empty AFTER INSERT ON stream_events'
		  . ' FOR EACH ROW EXECUTE FUNCTION empty_trigger()')
	  if $which eq 'empty';
	return;
}

# ----------
# The queue and the worker
# ----------

# Off also waits until the worker has left.
sub sending
{
	my ($self, $on) = @_;
	my $deadline = time + 30;

	$self->server->set('hooks.enabled' => $on ? 'on' : 'off');
	while (!$on && $self->server->worker)
	{
		die "the worker does not leave\n" if time > $deadline;
		sleep 0.02;
	}
	return;
}

# The state before every run: nothing queued, nothing logged, no events, and a
# checkpoint behind us.  Sending is off.
sub clear
{
	my ($self) = @_;
	$self->sending(0);
	$self->session->run('SELECT hooks.adopt(discard => true)');
	$self->session->run('TRUNCATE stream_events, stream_hook_logs');
	$self->session->run('VACUUM ANALYZE stream_hooks');
	$self->session->run('CHECKPOINT');
	$self->sink->reset;
	return;
}

# Waits until the worker has nothing left to do.
sub wait_idle
{
	my ($self) = @_;
	die "the worker does not get to the end of its work\n"
	  if $self->session->value("SELECT hooks.wait_idle('60 s')") ne 't';
	return;
}

# Starts sending and makes sure that a worker is there and knows its way.
sub warm_up
{
	my ($self, $script) = @_;
	$self->sending(1);
	Bench::Load->run($self->server, script => $script, clients => 1, transactions => 10);
	$self->wait_idle;
	return;
}

# How many deliveries and skips there have been.
sub done
{
	my ($self) = @_;
	my $stat = $self->server->stat;
	return $stat->{succeeded} + $stat->{failed} + $stat->{skipped_condition} + $stat->{skipped_cooldown};
}

# Waits until done() says so many and all of it is logged.  It looks from time
# to time, since a worker that somebody waits for writes smaller batches.
sub wait_done
{
	my ($self, $target) = @_;
	my ($last, $changed) = (-1, time);

	while ((my $done = $self->done) < $target)
	{
		($last, $changed) = ($done, time) if $done != $last;
		die "the worker has stopped short of its work\n"
		  if time > $changed + 30;
		sleep 0.03;
	}
	$self->wait_idle;
	return;
}

# ----------
# Profiles
# ----------

# Starts perf for these processes if profiles are wanted; returns a function
# that ends it.  Only the first profile of each name is taken.
sub profile
{
	my ($self, $name, @pids) = @_;
	my $dir = $self->{profile};
	my $file = defined $dir ? "$dir/$name.data" : '';

	return sub { }
	  if $file eq '' || $self->{profiled}{$name}++;
	my $pid = fork() // die "could not fork: $!\n";
	if ($pid == 0)
	{
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', "$dir/$name.log";
		exec 'perf', 'record', '-q', '-g', '-F', '999', '-o', $file, '-p', join(',', @pids)
		  or POSIX::_exit(127);
	}
	return sub {
		kill 'INT', $pid;
		waitpid $pid, 0;
		return;
	};
}

# The server processes of pgbench.
sub backends
{
	my ($self) = @_;
	return $self->session->lines(
		"SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'");
}

1;
