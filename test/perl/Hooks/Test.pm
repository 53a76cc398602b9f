=pod

=head1 NAME

Hooks::Test - servers, tables and events for the tests of hooks

=head1 SYNOPSIS

  use Hooks::Test;

  my $node     = hooks_node('main');
  my $receiver = Hooks::Receiver->start;
  create_application($node);

  my $hook  = add_hook($node, trigger => 'donation', url => $receiver->url('/ok'));
  my $event = add_event($node, type => 'donation', data => { amount => '10.00' });
  wait_idle($node);
  is_deeply([ map { $_->{status} } logs($node) ], ['success']);

=head1 DESCRIPTION

Everything a test needs to have a real server with the library preloaded, an
application's tables in it, and a receiver (L<Hooks::Receiver>).  Functions
whose last parameter is a database use "postgres" without it.

Nothing here sleeps for a while in the hope that something has happened by
then: it waits for what it needs, and dies when that does not come.

=cut

package Hooks::Test;

use strict;
use warnings;

use Carp;
use Exporter 'import';
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

use Hooks::Receiver;

our @EXPORT = qw(
  hooks_node configure finish
  create_application add_users user_uuid add_hook add_event event_rows
  wait_idle wait_until logs log_statuses stat worker_pid wait_for_worker
  literal jsonb value rows load_requests
);

my $generation = 0;

=pod

=head1 FUNCTIONS

=head2 Servers

=over

=item hooks_node($name, %settings)

A server with the library preloaded, started.  It may send to this machine
by http, its time zone is not UTC, which nothing may depend on, and hosts are
tried however often they fail.  Settings come on top; undef leaves one of ours
out.  With streaming => 1 the server can have standbys.

=cut

sub hooks_node
{
	my ($name, %settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $streaming = delete $settings{streaming};

	%settings = (
		shared_preload_libraries => 'hooks',
		timezone => 'America/St_Johns',
		log_statement => 'ddl',
		log_line_prefix => '%m [%p] %b %a ',
		log_timezone => 'UTC',
		restart_after_crash => 'on',
		max_connections => 50,
		'hooks.allow_http' => 'on',
		'hooks.allow_addresses' => '127.0.0.0/8, ::1/128',
		'hooks.rotation_age' => '1s',
		'hooks.breaker' => 'off',
		%settings);
	$node->init(allows_streaming => $streaming, extra => [ '--encoding', 'UTF8', '--locale', 'C' ]);
	$node->append_conf('postgresql.conf', conf_lines(%settings));
	$node->start;
	return $node;
}

sub conf_lines
{
	my (%settings) = @_;

	return join '', map { "$_ = " . literal($settings{$_}) . "\n" }
	  grep { defined $settings{$_} } sort keys %settings;
}

=pod

=item configure($node, \%settings [, $database])

Changes settings of the running server, and waits until its processes, the
worker of the database included, go by them.

=cut

sub configure
{
	my ($node, $settings, $database) = @_;

	# Whoever connects after the reload was told to all processes inherits the
	# mark; the worker then takes it up before it answers wait_idle().
	$generation++;
	$node->append_conf('postgresql.conf',
		conf_lines(%$settings, 'hooks_test.generation' => $generation));
	$node->reload;
	wait_until(
		sub {
			value($node, q{SELECT current_setting('hooks_test.generation', true)}) eq $generation;
		},
		'new settings');
	wait_idle($node, $database) if defined $database;
	return;
}

=pod

=item finish($node [, @expected])

Stops the server and tests that nothing crashed, and that our processes have
complained of nothing but what is expected (regular expressions).

=cut

sub finish
{
	my ($node, @expected) = @_;
	my (@crashes, @complaints);

	$node->stop;
	foreach my $line (split /\n/, slurp_file($node->logfile))
	{
		push @crashes, $line if $line =~ /PANIC:|TRAP:|was terminated by signal|exited with exit code [2-9]/;
		push @complaints, $line
		  if $line =~ /\] hooks (worker|launcher) .*?(LOG|WARNING|ERROR|FATAL):  (?!terminating background worker)/
		  && !grep { $line =~ $_ } @expected;
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_deeply([ grep { my $line = $_; !grep { $line =~ $_ } @expected } @crashes ], [], 'no crash');
	is_deeply(\@complaints, [], 'no complaints in the server log');
	return;
}

=pod

=item worker_pid($node [, $database])

The process id of the worker that serves the database; empty when there is none.

=item wait_for_worker($node [, $database])

Waits until there is one, has it started if need be, and returns its process id.

=cut

sub worker_pid
{
	my ($node, $database) = @_;

	return value(
		$node,
		'SELECT coalesce(max(pid)::text, \'\') FROM pg_stat_activity '
		  . 'WHERE backend_type = \'hooks worker\' AND datname = '
		  . literal($database || 'postgres'));
}

sub wait_for_worker
{
	my ($node, $database) = @_;
	my $pid;

	$node->safe_psql($database || 'postgres', 'SELECT hooks.wake()');
	wait_until(sub { $pid = worker_pid($node, $database) }, 'a worker');
	return $pid;
}

=pod

=back

=head2 The application

=over

=item create_application($node [, $database])

Makes users (one, number 1) and stream_events as Streampai has them, and the
extension.

=cut

sub create_application
{
	my ($node, $database) = @_;

	$node->safe_psql(
		$database || 'postgres', q{
		CREATE TABLE users (id uuid PRIMARY KEY, name text);
		CREATE TABLE stream_events (
			id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
			type text NOT NULL,
			data jsonb NOT NULL,
			author_id text NOT NULL DEFAULT 'somebody',
			livestream_id uuid NOT NULL DEFAULT gen_random_uuid(),
			user_id uuid NOT NULL REFERENCES users,
			platform text,
			viewer_id text,
			was_displayed boolean DEFAULT false,
			inserted_at timestamp NOT NULL DEFAULT timezone('UTC', clock_timestamp()));
		CREATE EXTENSION hooks});
	add_users($node, 1, 1, $database);
	return;
}

=pod

=item user_uuid($n)

The id of user number n.

=item add_users($node, $from, $to [, $database])

Makes users by number.

=cut

sub user_uuid
{
	my ($n) = @_;
	return sprintf '00000000-0000-4000-8000-%012d', $n;
}

sub add_users
{
	my ($node, $from, $to, $database) = @_;

	$node->safe_psql(
		$database || 'postgres',
		"INSERT INTO users SELECT format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid, "
		  . "'user ' || n FROM generate_series($from, $to) AS n");
	return;
}

=pod

=item add_hook($node, %hook)

Makes a hook and returns its id.  What can be said: user (a number, 1), name,
trigger (follow), enabled, conditions, cooldown, action (webhook), config, a
reference to action_config; url, in it, by itself; attempts, in it as
max_attempts (1; undef leaves it out); database.

=cut

sub add_hook
{
	my ($node, %hook) = @_;
	my $attempts = exists $hook{attempts} ? $hook{attempts} : 1;
	my %config = (
		defined $attempts ? (max_attempts => $attempts) : (),
		%{ $hook{config} || {} },
		exists $hook{url} ? (url => $hook{url}) : ());

	return value(
		$node,
		sprintf(
			'INSERT INTO stream_hooks (user_id, name, enabled, trigger_type, conditions, '
			  . 'action_type, action_config, cooldown_seconds) '
			  . 'VALUES (%s, %s, %s, %s, %s, %s, %s, %d) RETURNING id',
			literal(user_uuid($hook{user} || 1)),
			literal($hook{name} // 'a hook'),
			($hook{enabled} // 1) ? 'true' : 'false',
			literal($hook{trigger} || 'follow'),
			jsonb($hook{conditions} || {}),
			literal($hook{action} || 'webhook'),
			jsonb(\%config),
			$hook{cooldown} || 0),
		$hook{database});
}

=pod

=item add_event($node, %event)

Inserts an event and returns its id.  What can be said: user (a number, 1),
type (follow), data, platform, age (seconds), database.

=cut

sub add_event
{
	my ($node, %event) = @_;

	return value(
		$node,
		sprintf(
			'INSERT INTO stream_events (type, data, user_id, platform, inserted_at) '
			  . 'VALUES (%s, %s, %s, %s, timezone(\'UTC\', clock_timestamp()) - make_interval(secs => %f)) '
			  . 'RETURNING id',
			literal($event{type} || 'follow'),
			jsonb($event{data} || { username => 'viewer' }),
			literal(user_uuid($event{user} || 1)),
			literal($event{platform}),
			$event{age} || 0),
		$event{database});
}

=pod

=item event_rows($n, %event)

SQL that inserts n events in one statement; data.n counts them from 1.  What
can be said: user, type, first.

=cut

sub event_rows
{
	my ($n, %event) = @_;
	my $first = $event{first} || 1;

	return
	  sprintf 'INSERT INTO stream_events (type, data, user_id) '
	  . 'SELECT %s, jsonb_build_object(\'username\', \'viewer\', \'n\', n), %s '
	  . 'FROM generate_series(%d, %d) AS n',
	  literal($event{type} || 'follow'), literal(user_uuid($event{user} || 1)),
	  $first, $first + $n - 1;
}

=pod

=back

=head2 Waiting and looking

=over

=item wait_until($condition, $what [, $seconds])

Calls the function until it returns something true, which is returned.  Dies
after some time (3 minutes), saying what did not happen.

=cut

sub wait_until
{
	my ($condition, $what, $seconds) = @_;
	my $deadline = time + ($seconds || $PostgreSQL::Test::Utils::timeout_default);

	while (1)
	{
		my $result = $condition->();

		return $result if $result;
		croak "waited in vain for $what" if time > $deadline;
		usleep(20_000);
	}
}

=pod

=item wait_idle($node [, $database])

Waits until everything that was committed is delivered and logged.

=cut

sub wait_idle
{
	my ($node, $database) = @_;
	my $idle = value($node,
		"SELECT hooks.wait_idle('$PostgreSQL::Test::Utils::timeout_default seconds')", $database);

	croak 'hooks did not become idle; hooks.stat: '
	  . value($node, 'SELECT row_to_json(s) FROM hooks.stat AS s', $database)
	  unless $idle eq 't';
	return;
}

=pod

=item logs($node, %where)

Rows of stream_hook_logs in the order in which they were executed, as
references to hashes; event_data comes along.  The keys of where: hook,
event, user, database.

=item log_statuses($node, %where)

How many rows there are of each status, as a reference to a hash.

=cut

sub log_condition
{
	my (%where) = @_;
	my @conditions = ('true');

	push @conditions, 'l.hook_id = ' . literal($where{hook}) if $where{hook};
	push @conditions, 'l.stream_event_id = ' . literal($where{event}) if $where{event};
	push @conditions, 'l.user_id = ' . literal(user_uuid($where{user})) if $where{user};
	return join ' AND ', @conditions;
}

sub logs
{
	my ($node, %where) = @_;

	return rows(
		$node,
		'SELECT l.*, e.data AS event_data FROM stream_hook_logs AS l '
		  . 'LEFT JOIN stream_events AS e ON e.id = l.stream_event_id WHERE '
		  . log_condition(%where)
		  . ' ORDER BY l.executed_at, e.inserted_at, l.id',
		$where{database});
}

sub log_statuses
{
	my ($node, %where) = @_;

	return {
		map { $_->{status} => $_->{n} } rows(
			$node,
			'SELECT l.status, count(*) AS n FROM stream_hook_logs AS l WHERE '
			  . log_condition(%where)
			  . ' GROUP BY 1',
			$where{database})
	};
}

=pod

=item stat($node, $counter [, $database])

A counter of hooks.stat.

=cut

sub stat
{
	my ($node, $counter, $database) = @_;
	return value($node, "SELECT $counter FROM hooks.stat", $database);
}

=pod

=item load_requests($node, $receiver, $table [, $database])

Makes a table of what a receiver has logged: seq, t (seconds), id (webhook-id),
method, path, conn, body, and n and event_id as the body, if JSON, has them.

=cut

sub load_requests
{
	my ($node, $receiver, $table, $database) = @_;

	# A line has no control characters, so it is one column of "CSV".
	$node->safe_psql(
		$database || 'postgres', sprintf q{
		DROP TABLE IF EXISTS %1$s, %1$s_lines;
		CREATE UNLOGGED TABLE %1$s_lines (line jsonb);
		COPY %1$s_lines FROM %2$s WITH (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02');
		CREATE UNLOGGED TABLE %1$s AS
		SELECT (line ->> 'seq')::bigint AS seq, (line ->> 't')::float8 AS t,
			(line -> 'headers' ->> 'webhook-id')::uuid AS id, line ->> 'method' AS method,
			line ->> 'path' AS path, (line ->> 'conn')::bigint AS conn, line ->> 'body' AS body
		FROM %1$s_lines;
		DROP TABLE %1$s_lines}, $table, literal($receiver->logfile));
	return;
}

=pod

=back

=head2 SQL

=over

=item literal($text), jsonb($value)

An SQL literal of a text (NULL for undef) or, from a Perl value, of a jsonb.

=item value($node, $query [, $database])

The one value that a query returns, as text; dies on errors.

=item rows($node, $query [, $database])

The rows that a query returns, as references to hashes.

=back

=cut

sub literal
{
	my ($text) = @_;

	return 'NULL' unless defined $text;
	$text =~ s/'/''/g;
	return "'$text'";
}

sub jsonb
{
	my ($value) = @_;
	my $json = ref $value ? JSON::PP->new->canonical->ascii->encode($value) : $value;

	return literal($json) . '::jsonb';
}

sub value
{
	my ($node, $query, $database) = @_;
	return $node->safe_psql($database || 'postgres', $query);
}

sub rows
{
	my ($node, $query, $database) = @_;
	my $json = value($node, "SELECT coalesce(json_agg(q), '[]') FROM ($query) AS q", $database);

	return @{ JSON::PP::decode_json($json) };
}

1;
