# Bench::Sink: the receiver of requests (sink.c), and libcurl alone against it
# (baseline.c).

package Bench::Sink;

use strict;
use warnings;

use IO::Socket::INET;
use IPC::Open2;

# Builds both, and the empty trigger, in the directory.
sub build
{
	my ($class, $root, $dir, $pg_config) = @_;

	mkdir $dir or die "could not create directory: $!\n";
	system("cp '$root'/bench/*.c '$root'/bench/Makefile '$dir'") == 0
	  && system("make -s -C '$dir' PG_CONFIG='$pg_config' with_llvm=no >'$dir/log' 2>&1") == 0
	  or die "could not build the benchmark's own programs, see below\n" . qx{cat '$dir/log'};
	return;
}

# Starts a sink; every => N has it remember only numbers that N divides.
sub start
{
	my ($class, $dir, %o) = @_;
	my $self = bless { dir => $dir }, $class;

	$self->{pid} = open2($self->{out}, $self->{in}, "$dir/sink", $o{every} ? ('-e', $o{every}) : ());
	chomp($self->{port} = readline $self->{out});
	return $self;
}

sub url
{
	my ($self) = @_;
	return "http://127.0.0.1:$self->{port}/hook";
}

# Asks it something.
sub ask
{
	my ($self, $question) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port})
	  or die "the sink is gone\n";
	my $length;

	print $socket "GET /sink/$question HTTP/1.1\r\n\r\n";
	while (defined(my $line = <$socket>))
	{
		$length = $1 if $line =~ /^Content-Length: (\d+)/;
		last if $line eq "\r\n";
	}
	my $text = '';
	read $socket, $text, $length if $length;
	return $text;
}

sub reset { $_[0]->ask('reset'); return }

# Requests so far, and the microseconds of the first and the last.
sub stat
{
	my ($self) = @_;
	my %stat;
	@stat{qw(requests first_us last_us)} = split ' ', $self->ask('stat');
	return \%stat;
}

# When each numbered message came, in microseconds.
sub records
{
	my ($self) = @_;
	return { split ' ', $self->ask('records') };
}

# Requests per second of libcurl alone, and its CPU microseconds for each.
sub baseline
{
	my ($self, $at_once, $seconds) = @_;
	my @answer = split ' ', scalar qx{'$self->{dir}/baseline' @{[$self->url]} $at_once $seconds};
	die "libcurl alone has failed\n" if $? != 0 || @answer != 2;
	return @answer;
}

# Microseconds from sending to receipt of requests with pauses between them.
sub spaced
{
	my ($self, $count, $min_ms, $max_ms) = @_;

	$self->reset;
	my %sent =
	  split ' ', scalar qx{'$self->{dir}/baseline' @{[$self->url]} spaced $count $min_ms $max_ms};
	die "libcurl alone has failed\n" if $? != 0;
	my $came = $self->records;
	$self->reset;
	return map { $came->{$_} - $sent{$_} } keys %sent;
}

sub DESTROY
{
	my ($self) = @_;
	local ($?, $!, $@);
	close $self->{in} if $self->{in};
	waitpid $self->{pid}, 0 if $self->{pid};
	return;
}

1;
