=pod

=head1 NAME

Hooks::Receiver - the HTTP stand-in of test/receiver, started for a test

=head1 SYNOPSIS

  use Hooks::Receiver;

  my $receiver = Hooks::Receiver->start;
  my $url      = $receiver->url('/ok');
  my @requests = $receiver->wait_for_requests(3);
  $receiver->stop;

=head1 DESCRIPTION

The program is the one that the environment variable HOOKS_RECEIVER names;
what it does is chosen by the path of a request, see "receiver --help".  It
logs a request before it answers, so a request whose result is known is in
the log.  A receiver ends with the test, whatever becomes of that.

For attempts that end differently:

  $receiver->url('/sequence/500,429:retry-after=2,200')   # per webhook-id
  $receiver->url('/sequence/reset,close,200')
  $receiver->url('/status/410?header=webhook-delivery:disable')
  $receiver->url('/bucket/x?limit=5&window=2')            # 429, as Discord
  $receiver->url('/switch/x')                             # 500 ...
  $receiver->switch(x => 'on');                           # ... until then
  $receiver->url('/discord/limit=5,window=2')             # Discord's API

=cut

package Hooks::Receiver;

use strict;
use warnings;

use Carp;
use HTTP::Tiny;
use JSON::PP ();
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Utils;

my $started = 0;

=pod

=head1 METHODS

=over

=item Hooks::Receiver->start(%options)

Starts a receiver on a free port of 127.0.0.1 and waits until it listens.
Options: address; port; tls_cert and tls_key, to speak TLS; blackholes, the
number of ports that accept and never answer.

=cut

sub start
{
	my ($class, %options) = @_;
	my $base = "$PostgreSQL::Test::Utils::tmp_check/receiver_$$" . '_' . ++$started;
	my $self = bless {
		address => $options{address} || '127.0.0.1',
		scheme => $options{tls_cert} ? 'https' : 'http',
		log => "$base.log",
		owner => $$,
		read => 0,
		requests => []
	}, $class;
	my @command = (
		$ENV{HOOKS_RECEIVER}, '--port', $options{port} || 0, '--address', $self->{address},
		'--log', $self->{log}, '--ready-file', "$base.ready", '--die-with-parent');

	croak 'HOOKS_RECEIVER does not name the receiver' unless $ENV{HOOKS_RECEIVER};
	push @command, '--tls-cert', $options{tls_cert}, '--tls-key', $options{tls_key}
	  if $options{tls_cert};
	push @command, ('--blackhole-port', 0) x ($options{blackholes} || 0);
	unlink $self->{log}, "$base.ready";

	$self->{pid} = fork;
	croak "could not fork: $!" unless defined $self->{pid};
	if ($self->{pid} == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', "$base.err";
		exec @command or POSIX::_exit(127);
	}

	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (-e "$base.ready")
	{
		if (waitpid($self->{pid}, WNOHANG) != 0)
		{
			$self->{pid} = undef;
			croak 'receiver did not start: ' . slurp_file("$base.err");
		}
		croak 'receiver does not get ready' if time > $deadline;
		usleep(10_000);
	}
	($self->{port}, @{ $self->{blackholes} }) = split /\n/, slurp_file("$base.ready");
	return $self;
}

=pod

=item $receiver->stop

Ends it.  Ports that it listened on are closed when this returns.

=cut

sub stop
{
	my ($self) = @_;

	return unless $self->{pid} && $self->{owner} == $$;
	local ($?, $!);
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	$self->{pid} = undef;
	return;
}

sub DESTROY
{
	my ($self) = @_;
	$self->stop;
	return;
}

=pod

=item $receiver->url($path), port, blackhole_port($n), logfile

Where it is: a URL on it, its port, the port of its n-th blackhole (from 0),
the file that it logs to.

=cut

sub url
{
	my ($self, $path) = @_;
	return "$self->{scheme}://$self->{address}:$self->{port}" . ($path // '/ok');
}

sub port
{
	my ($self) = @_;
	return $self->{port};
}

sub blackhole_port
{
	my ($self, $n) = @_;
	return $self->{blackholes}[ $n || 0 ];
}

sub logfile
{
	my ($self) = @_;
	return $self->{log};
}

=pod

=item $receiver->requests

The requests received so far, oldest first: references to hashes with t, seq,
method, path, headers (names in lower case), body, conn, as "receiver" logs
them.

=cut

sub requests
{
	my ($self) = @_;

	return unless -e $self->{log};
	open my $file, '<:raw', $self->{log} or croak "could not open $self->{log}: $!";
	seek $file, $self->{read}, 0;
	while (my $line = <$file>)
	{
		last unless $line =~ /\n\z/;
		push @{ $self->{requests} }, JSON::PP::decode_json($line);
		$self->{read} += length $line;
	}
	close $file;
	return @{ $self->{requests} };
}

=pod

=item $receiver->take

The requests received since it was last asked.

=cut

sub take
{
	my ($self) = @_;
	my @requests = $self->requests;
	my $taken = $self->{taken} || 0;

	$self->{taken} = @requests;
	return @requests[ $taken .. $#requests ];
}

=pod

=item $receiver->wait_for_requests($n)

Waits until at least so many requests have come in; returns all.  Dies when
they do not.

=cut

sub wait_for_requests
{
	my ($self, $n, $seconds) = @_;
	my $deadline = time + ($seconds || $PostgreSQL::Test::Utils::timeout_default);
	my @requests;

	while ((@requests = $self->requests) < $n)
	{
		croak sprintf('only %d of %d requests have come', scalar @requests, $n)
		  if time > $deadline;
		usleep(20_000);
	}
	return @requests;
}

=pod

=item $receiver->switch($name, $position)

Turns /switch/$name "on", so that it answers 204, or "off".  That is no request
that is logged.

=cut

sub switch
{
	my ($self, $name, $position) = @_;
	my $answer = HTTP::Tiny->new(timeout => $PostgreSQL::Test::Utils::timeout_default, proxy => undef)
	  ->get($self->url("/switch/$name/$position"));

	croak "could not turn the switch $position: $answer->{status} $answer->{content}"
	  unless $answer->{status} == 204;
	return;
}

=pod

=item $receiver->discord($options [, $what])

What the stand-in for Discord at /discord/$options says of itself: a reference
to a hash with requests, rate_limited, worst (answers of 429 in one window),
while_closed (requests while it took none), pings, messages.  With "forget" its
messages are deleted.

=cut

sub discord
{
	my ($self, $options, $what) = @_;
	my $answer = HTTP::Tiny->new(timeout => $PostgreSQL::Test::Utils::timeout_default, proxy => undef)
	  ->get($self->url("/discord/$options/" . ($what || 'state')));

	croak "the stand-in for Discord does not answer: $answer->{status} $answer->{content}"
	  unless $answer->{status} == 200;
	return JSON::PP::decode_json($answer->{content});
}

=pod

=back

=cut

1;
