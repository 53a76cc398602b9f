=pod

=head1 NAME

Hooks::SmtpStandIn - a mail server that misbehaves as it is told

=head1 SYNOPSIS

  use Hooks::SmtpStandIn;

  my $server = Hooks::SmtpStandIn->start;
  $server->script(RCPT => [ '451 4.3.0 later', 'ok' ]);
  my @commands = $server->commands;

=head1 DESCRIPTION

A process of its own, on a free port of 127.0.0.1, that speaks enough of SMTP to
take a message.  It logs what it is told, and answers by a script: for CONNECT,
EHLO, AUTH, MAIL, RCPT, DATA and END (of the message) a list of replies, of which
each is given once and the last one from then on.  A reply is a line, or "ok",
"late" (ok, after two seconds), "stall" (never), "endless" (lines of one reply,
as fast as they are taken), "close" or "reset".  FEATURES are the lines of EHLO's reply.

It ends with the test.

=cut

package Hooks::SmtpStandIn;

use strict;
use warnings;

use Carp;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Utils;

my $started = 0;

# What is replied when the script says nothing.
my %usual = (
	CONNECT => '220 stand-in',
	AUTH => '235 2.7.0 welcome',
	MAIL => '250 2.1.0 ok',
	RCPT => '250 2.1.5 ok',
	DATA => '354 go on',
	END => '250 2.0.0 taken');

=pod

=head1 METHODS

=over

=item Hooks::SmtpStandIn->start

Starts one; it listens when this returns.

=cut

sub start
{
	my ($class) = @_;
	my $base = "$PostgreSQL::Test::Utils::tmp_check/smtp_$$" . '_' . ++$started;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 100, ReuseAddr => 1)
	  or croak "could not listen: $!";
	my $self = bless {
		port => $listener->sockport,
		log => "$base.log",
		control => "$base.script",
		owner => $$,
		version => 0
	}, $class;

	$self->script;
	append_to_file($self->{log}, '');
	my $parent = $$;
	$self->{pid} = fork;
	croak "could not fork: $!" unless defined $self->{pid};
	if ($self->{pid} == 0)
	{
		eval { serve($self, $listener, $parent) };
		print STDERR $@ if $@;
		POSIX::_exit($@ ? 1 : 0);
	}
	close $listener;
	return $self;
}

=pod

=item $server->script(%replies)

What it is to answer from now on.

=cut

sub script
{
	my ($self, %replies) = @_;
	my $text = JSON::PP->new->encode({ version => ++$self->{version}, %replies });

	open my $file, '>', "$self->{control}.new" or croak "could not write: $!";
	print $file $text;
	close $file;
	rename "$self->{control}.new", $self->{control} or croak "could not rename: $!";
	return;
}

=pod

=item $server->port, stop

=item $server->commands

What it was told since it was last asked: references to hashes with t, conn (a
number), command (CONNECT, EHLO, ...), line, and, with END, the message.

=cut

sub port
{
	my ($self) = @_;
	return $self->{port};
}

sub commands
{
	my ($self) = @_;
	my @commands = map { JSON::PP::decode_json($_) } grep { /\}$/ } split /\n/, slurp_file($self->{log});
	my $taken = $self->{taken} || 0;

	$self->{taken} = @commands;
	return @commands[ $taken .. $#commands ];
}

sub stop
{
	my ($self) = @_;

	return unless $self->{pid} && $self->{owner} == $$;
	local ($?, $!);
	kill 'KILL', $self->{pid};
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

# ----------
# The process
# ----------

my (%script, $read_script);

sub reply_for
{
	my ($self, $command) = @_;
	my $text = slurp_file($self->{control});

	if (!defined $read_script || $text ne $read_script)
	{
		$read_script = $text;
		%script = %{ JSON::PP::decode_json($text) };
	}
	my $replies = $script{$command} || ['ok'];
	my $reply = @$replies > 1 ? shift @$replies : $replies->[0];

	select undef, undef, undef, 2 if $reply eq 'late';
	return $reply unless $reply =~ /^(?:ok|late)$/;
	return $usual{$command} unless $command eq 'EHLO';
	my @lines = ('stand-in', @{ $script{FEATURES} || ['SIZE'] });

	return join "\r\n", map { ($_ == $#lines ? '250 ' : '250-') . $lines[$_] } 0 .. $#lines;
}

sub note
{
	my ($self, $connection, $command, %more) = @_;

	open my $file, '>>', $self->{log} or die "could not write: $!";
	print $file JSON::PP->new->canonical->ascii->encode(
		{ t => time, conn => $connection->{number}, command => $command, %more }) . "\n";
	close $file;
	return;
}

# Returns whether the connection is still there.
sub answer
{
	my ($self, $connection, $command, %more) = @_;
	my $reply = reply_for($self, $command);

	note($self, $connection, $command, %more);
	if ($reply eq 'close' || $reply eq 'reset')
	{
		setsockopt $connection->{socket}, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) if $reply eq 'reset';
		return 0;
	}
	if ($reply eq 'endless')
	{
		1 while syswrite $connection->{socket}, "250-and more\r\n" x 1000;
		return 0;
	}
	syswrite $connection->{socket}, "$reply\r\n" unless $reply eq 'stall';
	$connection->{in_message} = 1 if $command eq 'DATA' && $reply =~ /^354/;
	return $reply !~ /^421/;
}

sub take_line
{
	my ($self, $connection, $line) = @_;

	if ($connection->{in_message})
	{
		if ($line ne '.')
		{
			$line =~ s/^\.//;
			$connection->{message} .= "$line\r\n";
			return 1;
		}
		my $message = delete $connection->{message};

		$connection->{in_message} = 0;
		return answer($self, $connection, 'END', line => '.', message => $message // '');
	}
	my ($command) = $line =~ /^([A-Za-z]+)/;
	$command = uc($command // '');

	# What is neither of these is a part of a login.
	$command = 'AUTH' unless $command =~ /^(EHLO|HELO|AUTH|MAIL|RCPT|DATA|QUIT|STARTTLS)$/;
	if ($line =~ /^AUTH \S+$/)
	{
		syswrite $connection->{socket}, "334 \r\n";
		return 1;
	}
	return answer($self, $connection, $command, line => $line)
	  if $command =~ /^(EHLO|AUTH|MAIL|RCPT|DATA)$/;
	note($self, $connection, $command, line => $line);
	if ($command eq 'QUIT')
	{
		syswrite $connection->{socket}, "221 bye\r\n" unless $script{QUIT};
		return $script{QUIT} ? 1 : 0;
	}
	syswrite $connection->{socket}, "502 5.5.1 no\r\n";
	return 1;
}

sub serve
{
	my ($self, $listener, $parent) = @_;
	my $select = IO::Select->new($listener);
	my %connections;
	my $number = 0;

	$SIG{PIPE} = 'IGNORE';
	while (getppid == $parent)
	{
		foreach my $socket ($select->can_read(1))
		{
			if ($socket == $listener)
			{
				my $new = $listener->accept or next;

				$connections{$new} = { socket => $new, number => ++$number, buffer => '' };
				if (answer($self, $connections{$new}, 'CONNECT'))
				{
					$select->add($new);
				}
				else
				{
					delete $connections{$new};
					close $new;
				}
				next;
			}
			my $connection = $connections{$socket};
			my $there = sysread $socket, $connection->{buffer}, 65536, length $connection->{buffer};

			while ($there && $connection->{buffer} =~ s/^(.*?)\r\n//s)
			{
				$there = take_line($self, $connection, $1);
			}
			next if $there;
			$select->remove($socket);
			delete $connections{$socket};
			close $socket;
		}
	}
	return;
}

=pod

=back

=cut

1;
