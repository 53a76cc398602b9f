=pod

=head1 NAME

Hooks::Producer - an application that inserts events, whatever happens

=head1 SYNOPSIS

  use Hooks::Producer;

  my @producers = map { Hooks::Producer->start($node, user => $_) } 1 .. 4;
  ...                                 # crash the server, start it again
  $_->stop foreach @producers;
  my @acknowledged = map { $_->acknowledged } @producers;

=head1 DESCRIPTION

A process of its own that inserts donations of one user, one per transaction,
numbered by their amount: 1, 2, 3 ...  It records the numbers whose commit the
server has acknowledged.  When the connection breaks it connects again, as
soon as it can, and goes on after the last number that is in the table: what
was committed without being acknowledged counts as committed.  Some
transactions in between are rolled back; their events have the donor_name
"nobody".

=cut

package Hooks::Producer;

use strict;
use warnings;

use Carp;
use POSIX ();
use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Utils;

use Hooks::Test;

# Transactions per run of psql.
use constant BATCH => 100;

=pod

=head1 METHODS

=over

=item Hooks::Producer->start($node, user => $n [, rate => $per_second] [, settings => $sql])

Starts one for user number n.  It inserts as fast as it can, or batches at
such a rate.  The settings are executed in every session.

=cut

sub start
{
	my ($class, $node, %options) = @_;
	my $base = "$PostgreSQL::Test::Utils::tmp_check/producer_$$" . "_$options{user}";
	my $self = bless {
		node => $node,
		user => $options{user},
		pause => $options{rate} ? BATCH / $options{rate} : 0,
		settings => $options{settings} || '',
		psql => $node->installed_command('psql'),
		connection => $node->connstr('postgres'),
		acknowledged => "$base.acknowledged",
		errors => "$base.errors",
		script => "$base.sql",
		stop => "$base.stop",
		owner => $$
	}, $class;

	unlink @$self{qw(acknowledged errors stop)};
	$self->{pid} = fork;
	croak "could not fork: $!" unless defined $self->{pid};
	if ($self->{pid} == 0)
	{
		# What the test has set up is not ours to take down.
		my $good = eval { $self->produce; 1 };

		append_to_file($self->{errors}, "producer: $@") unless $good;
		POSIX::_exit($good ? 0 : 1);
	}
	return $self;
}

sub produce
{
	my ($self) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	while (!-e $self->{stop})
	{
		my $started = time;
		my $last = $self->last_number;

		die 'the server does not come back' if time > $deadline;
		die 'nobody stops me' unless getppid() == $self->{owner};
		if (!defined $last)
		{
			usleep(50_000);
			next;
		}
		$deadline = time + $PostgreSQL::Test::Utils::timeout_default;
		$self->write_script($last + 1);
		$self->run_psql("-f '$self->{script}' >> '$self->{acknowledged}'");
		usleep(10_000) while time < $started + $self->{pause} && !-e $self->{stop};
	}
	return;
}

sub run_psql
{
	my ($self, $arguments) = @_;

	return qx{'$self->{psql}' -XAtq -v ON_ERROR_STOP=1 -d "$self->{connection}" $arguments 2>> '$self->{errors}'};
}

# The last number in the table; undef when the server cannot be asked.
sub last_number
{
	my ($self) = @_;
	my $user = user_uuid($self->{user});
	my $number = $self->run_psql(
		qq{-c "SELECT coalesce(max((data ->> 'amount')::int), 0) FROM stream_events WHERE user_id = '$user'"});

	return $number =~ /^(\d+)$/ ? $1 : undef;
}

sub write_script
{
	my ($self, $first) = @_;
	my $user = user_uuid($self->{user});
	my $sql = "$self->{settings};\n";

	foreach my $n ($first .. $first + BATCH - 1)
	{
		my $insert = 'INSERT INTO stream_events (type, user_id, data) VALUES (\'donation\', \'%s\', '
		  . '\'{"donor_name": "%s", "amount": "%d"}\')';

		$sql .= sprintf "BEGIN; $insert; ROLLBACK;\n", $user, 'nobody', $n if $n % 10 == 0;
		$sql .= sprintf "$insert RETURNING data ->> 'amount';\n", $user, "producer $self->{user}", $n;
	}
	unlink $self->{script};
	append_to_file($self->{script}, $sql);
	return;
}

=pod

=item $producer->stop

Lets it finish what it is at, and ends it.

=cut

sub stop
{
	my ($self) = @_;

	return unless $self->{pid} && $self->{owner} == $$;
	local ($?, $!);
	append_to_file($self->{stop}, '');
	waitpid $self->{pid}, 0;
	$self->{pid} = undef;
	carp slurp_file($self->{errors}) if $? != 0;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	$self->stop;
	return;
}

=pod

=item $producer->acknowledged

The numbers whose commit was acknowledged, in that order.

=item $producer->errors

What psql has complained of.

=back

=cut

sub acknowledged
{
	my ($self) = @_;
	return -e $self->{acknowledged} ? split /\n/, slurp_file($self->{acknowledged}) : ();
}

sub errors
{
	my ($self) = @_;
	return -e $self->{errors} ? slurp_file($self->{errors}) : '';
}

1;
