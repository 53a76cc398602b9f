=pod

=head1 NAME

Hooks::Load - an application at work, and whether all that it did was done

=head1 SYNOPSIS

  use Hooks::Load;

  my $load = Hooks::Load->start($node, $receiver, users => [ 11 .. 14 ]);
  $load->wait_for_more(200);
  ...                                 # whatever must not be noticed
  $load->check('while tables were altered');

=head1 DESCRIPTION

A process per user inserts donations, numbered by their amount, in one session
from beginning to end, so that whatever the session has cached must follow what
is done to the tables.  Every second insert is that of a prepared statement.  Ids of
events are made of the user's and the donation's number: what was acknowledged
is known without asking the tables.  Every tenth donation comes with one that
is rolled back, whose donor is "nobody".

Servers that crash are Hooks::Producer's.

=cut

package Hooks::Load;

use strict;
use warnings;

use Carp;
use POSIX ();
use Test::More;
use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Utils;

use Hooks::Test;

my $started = 0;

=pod

=head1 METHODS

=over

=item Hooks::Load->start($node, $receiver, %options)

Makes users, each with a hook that sends to the receiver, and starts to insert.
Options: users, a reference to their numbers (11 to 14); rate, donations per
second of each (100); database; insert, the statement, with {id}, {data} and
{user} for the values; settings, executed when a session begins; rollbacks and
hooks, false to have none.

=cut

sub start
{
	my ($class, $node, $receiver, %options) = @_;
	my $self = bless {
		node => $node,
		receiver => $receiver,
		users => [ 11 .. 14 ],
		rate => 100,
		rollbacks => 1,
		database => 'postgres',
		insert => 'INSERT INTO stream_events (id, type, data, user_id) VALUES ({id}, \'donation\', {data}, {user})',
		settings => '',
		hooks => 1,
		path => '/ok/load' . ++$started,
		psql => $node->installed_command('psql'),
		owner => $$,
		producers => [],
		%options
	}, $class;

	foreach my $user (@{ $self->{users} })
	{
		if ($self->{hooks})
		{
			add_users($node, $user, $user, $self->{database});
			add_hook(
				$node, user => $user, trigger => 'donation', name => 'load', database => $self->{database},
				url => $receiver->url($self->{path}), config => { body_template => '{{username}}, {{amount}}' });
		}
		push @{ $self->{producers} }, $self->start_producer($user);
	}
	return $self;
}

sub start_producer
{
	my ($self, $user) = @_;
	my $base = "$PostgreSQL::Test::Utils::tmp_check/load_$$" . "_${started}_$user";
	my %producer = (
		user => $user, acknowledged => "$base.acknowledged", errors => "$base.errors", stop => "$base.stop");

	unlink @producer{qw(acknowledged errors stop)};
	$producer{pid} = fork;
	croak "could not fork: $!" unless defined $producer{pid};
	return \%producer if $producer{pid};

	# What the test has set up is not ours to take down.
	my $good = eval { $self->produce(\%producer); 1 };
	append_to_file($producer{errors}, "producer: $@") unless $good;
	POSIX::_exit($good ? 0 : 1);
}

sub event_id
{
	my ($user, $n) = @_;
	return sprintf '%08d-0000-4000-8000-%012d', $n, $user;
}

sub statement
{
	my ($self, %values) = @_;
	return $self->{insert} =~ s/\{(id|data|user)\}/$values{$1}/gr;
}

sub produce
{
	my ($self, $producer) = @_;
	my $user = user_uuid($producer->{user});
	my $begun = time;
	my $n = 0;
	local $SIG{PIPE} = 'IGNORE';	# what psql has to say is in its file
	local $SIG{CHLD} = 'DEFAULT';

	open my $psql, '|-',
	  "'$self->{psql}' -XAtq -d \"@{[ $self->{node}->connstr($self->{database}) ]}\" "
	  . ">> '$producer->{acknowledged}' 2>> '$producer->{errors}'"
	  or die "could not start psql: $!";
	$psql->autoflush(1);
	print $psql "$self->{settings};\n" if $self->{settings};
	print $psql 'PREPARE donation (uuid, jsonb, uuid, int) AS '
	  . $self->statement(id => '$1', data => '$2', user => '$3') . " RETURNING \$4;\n";
	until (-e $producer->{stop})
	{
		die 'nobody stops me' unless getppid() == $self->{owner};
		while ($n < (time - $begun) * $self->{rate} && !-e $producer->{stop})
		{
			my $id = sprintf q{'%s'}, event_id($producer->{user}, ++$n);
			my $data = sprintf q{'{"donor_name": "producer %d", "amount": "%d"}'}, $producer->{user}, $n;

			print $psql 'BEGIN; ' . $self->statement(id => $id, data => $data =~ s/producer \d+/nobody/r, user => "'$user'") . "; ROLLBACK;\n"
			  if $self->{rollbacks} && $n % 10 == 0;
			print $psql $n % 2 ? "EXECUTE donation ($id, $data, '$user', $n);\n"
			  : $self->statement(id => $id, data => $data, user => "'$user'") . " RETURNING $n;\n";
		}
		usleep(10_000);
	}
	close $psql or die "psql has failed: $?";
	return;
}

=pod

=item $load->requests

How many requests of it have come in.

=item $load->wait_for_more($n)

Waits until so many more requests have come in than there are now.

=cut

sub requests
{
	my ($self) = @_;
	my $n = () = slurp_file($self->{receiver}->logfile) =~ /\Q"$self->{path}"\E/g;

	return $n;
}

sub wait_for_more
{
	my ($self, $n) = @_;
	my $wanted = $self->requests + $n;

	wait_until(sub { $self->requests >= $wanted }, "$n more requests of the load");
	return;
}

=pod

=item $load->alter(@statements)

Executes statements one after another, each of which the load has to get over.

=cut

sub alter
{
	my ($self, @statements) = @_;

	foreach my $statement (@statements)
	{
		$self->{node}->safe_psql('postgres', $statement);
		$self->wait_for_more(40);
	}
	return;
}

=pod

=item $load->stop

Lets the sessions finish what they are at, and ends them.

=item $load->acknowledged

How many inserts were acknowledged.

=item $load->errors

What the sessions have complained of.

=cut

sub stop
{
	my ($self) = @_;

	return unless $self->{owner} == $$;
	local ($?, $!);
	append_to_file($_->{stop}, '') foreach @{ $self->{producers} };
	foreach my $producer (grep { $_->{pid} } @{ $self->{producers} })
	{
		waitpid delete $producer->{pid}, 0;
		carp slurp_file($producer->{errors}) if $? != 0;
	}
	return;
}

sub DESTROY
{
	my ($self) = @_;
	$self->stop;
	return;
}

sub numbers
{
	my ($producer) = @_;
	return -e $producer->{acknowledged} ? split /\n/, slurp_file($producer->{acknowledged}) : ();
}

sub acknowledged
{
	my ($self) = @_;
	my $n = 0;

	$n += numbers($_) foreach @{ $self->{producers} };
	return $n;
}

sub errors
{
	my ($self) = @_;
	return join '', map { -e $_->{errors} ? slurp_file($_->{errors}) : () } @{ $self->{producers} };
}

=pod

=item $load->check($what, %options)

Stops, waits until everything is delivered, and tests that nothing is lost,
nothing unexpected, repeats the same, first attempts in the order of the
commits, and that no session has seen an error.  Options:

  logs      the table of logs (stream_hook_logs); undef: logs are not looked at
  refused   events may be log rows whose error_message matches (SQL) instead of requests
  unsent    how many may be neither (0)

Returns a reference to a hash: acknowledged, requests, repeats, refused.

=back

=cut

sub check
{
	my ($self, $what, %options) = @_;
	my ($node, $database) = @$self{qw(node database)};
	my $logs = exists $options{logs} ? $options{logs} : 'stream_hook_logs';
	my $unsent = $options{unsent} || 0;
	my %count;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$self->stop;
	is($self->errors, '', "$what: no application has seen an error");
	wait_idle($node, $database);

	load_requests($node, $self->{receiver}, 'load_requests', $database);
	$node->safe_psql($database, 'DROP TABLE IF EXISTS load_acknowledged; CREATE UNLOGGED TABLE load_acknowledged (who int, n int, id uuid)');
	foreach my $producer (@{ $self->{producers} })
	{
		$node->safe_psql($database,
			sprintf q{INSERT INTO load_acknowledged SELECT %d, n,
			format('%%s-0000-4000-8000-%%s', lpad(n::text, 8, '0'), lpad('%d', 12, '0'))::uuid FROM unnest('{%s}'::int[]) AS n},
			$producer->{user}, $producer->{user}, join ',', numbers($producer));
	}
	$node->safe_psql(
		$database, sprintf q{
		DELETE FROM load_requests WHERE path <> '%s';
		ALTER TABLE load_requests ADD who int, ADD n int;
		UPDATE load_requests SET who = substring(body FROM '^producer (\d+), \d+$')::int, n = substring(body FROM '^producer \d+, (\d+)$')::int;
		DROP TABLE IF EXISTS load_refused;
		CREATE UNLOGGED TABLE load_refused AS SELECT stream_event_id AS id FROM %s;
		ANALYZE load_acknowledged; ANALYZE load_requests}, $self->{path},
		$options{refused} ? "$logs WHERE error_message ~ " . literal($options{refused}) : '(SELECT NULL::uuid AS stream_event_id LIMIT 0) AS none');

	my $none = sub {
		my ($query, $name) = @_;
		my $found = value($node, "SELECT count(*) FROM ($query) AS found", $database);

		is($found, 0, "$what: $name")
		  or diag explain [ rows($node, "SELECT * FROM ($query) AS found LIMIT 5", $database) ];
		return;
	};

	cmp_ok($self->acknowledged, '>', 100, "$what: the application was busy");
	my $lost = 'SELECT who, n, id FROM load_acknowledged WHERE (who, n) NOT IN (SELECT who, n FROM load_requests WHERE n IS NOT NULL) '
	  . 'AND id NOT IN (SELECT id FROM load_refused)';
	if ($unsent)
	{
		cmp_ok(value($node, "SELECT count(*) FROM ($lost) AS l", $database), '<=', $unsent, "$what: no more than $unsent were not sent");
	}
	else
	{
		$none->($lost, 'lost 0');
	}
	$none->('SELECT * FROM load_requests WHERE n IS NULL', 'unexpected 0: nothing that was rolled back was sent');
	$none->('SELECT who, n FROM load_requests EXCEPT SELECT who, n FROM load_acknowledged', 'unexpected 0: nothing was sent but what was committed');
	$none->('SELECT id FROM load_requests GROUP BY id HAVING count(DISTINCT body) > 1', 'repeats have the same body');
	$none->('SELECT who, n FROM load_requests GROUP BY who, n HAVING count(DISTINCT id) > 1', 'repeats have the same id');
	$none->(
		q{SELECT * FROM (SELECT who, n, lag(n) OVER (PARTITION BY who ORDER BY first) AS before
			FROM (SELECT who, n, min(seq) AS first FROM load_requests GROUP BY who, n) AS firsts) AS o WHERE n < before},
		'first attempts are in the order of the commits')
	  if value($node, 'SHOW hooks.max_in_flight_per_user', $database) == 1;
	$none->(
		"SELECT who, n FROM load_requests EXCEPT SELECT a.who, a.n FROM load_acknowledged AS a JOIN $logs AS l ON l.stream_event_id = a.id WHERE l.status = 'success'",
		'all that was sent is logged')
	  if $logs;

	@count{qw(acknowledged requests repeats refused)} = split /\|/, value(
		$node, 'SELECT (SELECT count(*) FROM load_acknowledged), (SELECT count(*) FROM load_requests), '
		  . '(SELECT count(*) - count(DISTINCT id) FROM load_requests), (SELECT count(*) FROM load_refused)', $database);
	note("$what: $count{acknowledged} events, $count{requests} requests, $count{repeats} repeats, $count{refused} refused");
	return \%count;
}

1;
