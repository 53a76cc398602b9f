# Bench::Load: pgbench.
#
#   my $load = Bench::Load->start($server, script => '...', clients => 4,
#       seconds => 10, skip => 2, async => 1);
#   ... $load->running ...
#   my $result = $load->finish;	# { tps => ..., seconds => ... }
#
# Instead of seconds, transactions says how many each client runs; rate limits
# them all together to so many per second.  tps is that of the time after the
# first "skip" seconds, in which sessions get to know what they need.

package Bench::Load;

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(time);

my $number = 0;

sub start
{
	my ($class, $server, %o) = @_;
	my $self = bless { skip => $o{skip} // 0, from => time }, $class;
	my $base = "$server->{scratch}/load" . ++$number;
	my $clients = $o{clients} // 4;
	my @limits = $o{transactions} ? ('-t', $o{transactions}) : ('-T', $o{seconds});

	push @limits, '-R', $o{rate} if $o{rate};
	open my $file, '>', "$base.sql" or die "could not write a script: $!\n";
	print $file $o{script};
	close $file or die "could not write a script: $!\n";

	$self->{out} = "$base.out";
	$self->{pid} = fork() // die "could not fork: $!\n";
	if ($self->{pid} == 0)
	{
		open STDOUT, '>', $self->{out};
		open STDERR, '>&', \*STDOUT;
		$ENV{PGOPTIONS} = '-c synchronous_commit=' . ($o{async} ? 'off' : 'on');
		exec $server->client('pgbench'), '-n', '-M', 'prepared', '-f', "$base.sql", '-P', '1',
		  '-c', $clients, '-j', $clients > 1 ? 2 : 1, @limits, '-D', 'n=0'
		  or POSIX::_exit(127);
	}
	return $self;
}

# Starts and finishes.
sub run
{
	my ($class, @arguments) = @_;
	return $class->start(@arguments)->finish;
}

sub running
{
	my ($self) = @_;
	return 0 if defined $self->{status};
	return 1 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
	@$self{qw(status until)} = ($?, time);
	return 0;
}

# Ends it before its time.
sub interrupt
{
	my ($self) = @_;
	kill 'TERM', $self->{pid} if $self->running;
	waitpid $self->{pid}, 0;
	$self->{status} = 0;
	return;
}

sub finish
{
	my ($self) = @_;

	if (!defined $self->{status})
	{
		waitpid $self->{pid}, 0;
		@$self{qw(status until)} = ($?, time);
	}
	open my $file, '<', $self->{out} or die "could not read what pgbench says: $!\n";
	my $text = do { local $/; <$file> };
	die "pgbench has failed:\n$text" if $self->{status} != 0;

	my ($tps) = $text =~ /^tps = ([\d.]+)/m;
	my @after;
	while ($text =~ /^progress: ([\d.]+) s, ([\d.]+) tps/mg)
	{
		push @after, $2 if $1 > $self->{skip} + 0.5;
	}
	if ($self->{skip} && @after)
	{
		$tps = 0;
		$tps += $_ / @after for @after;
	}
	return { tps => $tps, seconds => $self->{until} - $self->{from} };
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	$self->interrupt if $self->{pid} && !defined $self->{status};
	return;
}

1;
