# Bench::Session: a psql that stays connected, for one statement after another.
#
#   my $session = Bench::Session->new($server);
#   my $number = $session->value('SELECT count(*) FROM stream_events');
#   my @lines = $session->lines('SELECT a, b FROM t');	# "a|b"
#
# An error in a statement ends the session and dies.

package Bench::Session;

use strict;
use warnings;

use IPC::Open2;

my $mark = '-- done --';

sub new
{
	my ($class, $server) = @_;
	my $self = bless {}, $class;

	$self->{pid} = open2($self->{out}, $self->{in}, $server->client('psql'),
		'-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1');
	$self->value('SELECT 1');
	return $self;
}

sub lines
{
	my ($self, $sql) = @_;
	my @lines;

	local $SIG{PIPE} = 'IGNORE';
	print { $self->{in} } "$sql\n;\n\\echo $mark\n";
	$self->{in}->flush;
	while (defined(my $line = readline $self->{out}))
	{
		chomp $line;
		return @lines if $line eq $mark;
		push @lines, $line;
	}
	die "this statement has failed: $sql\n";
}

sub value
{
	my ($self, $sql) = @_;
	my @lines = $self->lines($sql);
	return $lines[-1];
}

# For statements without a result.
sub run
{
	my ($self, $sql) = @_;
	$self->lines($sql);
	return;
}

# The pid of the server process.
sub backend
{
	my ($self) = @_;
	return $self->value('SELECT pg_backend_pid()');
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);

	close $self->{in} if $self->{in};
	close $self->{out} if $self->{out};
	waitpid $self->{pid}, 0 if $self->{pid};
	return;
}

1;
