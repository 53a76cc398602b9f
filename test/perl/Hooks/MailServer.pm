=pod

=head1 NAME

Hooks::MailServer - a real mail server, exim, started for a test

=head1 SYNOPSIS

  use Hooks::MailServer;

  my $server = Hooks::MailServer->start;
  my @mails  = $server->wait_for_mails(3);
  is($mails[0]{mime}->header_str('Subject'), 'hello');
  $server->stop;

=head1 DESCRIPTION

Debian's exim as an ordinary user: a copy of its program, which is set-uid where
it is installed, with a configuration, spool and log of its own, on a free port
of 127.0.0.1.  It takes mail for everybody but "nobody" and "full", puts it into
a folder, one file per recipient, and sends nothing on.  It ends with the test.

Mail is parsed by Email::MIME.

=cut

package Hooks::MailServer;

use strict;
use warnings;

use Carp;
use Email::MIME;
use File::Copy ();
use IO::Socket::INET;
use POSIX qw(:sys_wait_h);
use Time::HiRes qw(time usleep);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

my $started = 0;

=pod

=head1 METHODS

=over

=item Hooks::MailServer->start(%options)

Starts a server and waits until it takes connections.  Options: tls_cert and
tls_key, to offer STARTTLS, or, with implicit_tls, to speak TLS at once; user
and password, of those who are let in by AUTH, and nobody else is.

=cut

sub start
{
	my ($class, %options) = @_;
	my $dir = "$PostgreSQL::Test::Utils::tmp_check/exim_$$" . '_' . ++$started;
	my $self = bless {
		dir => $dir,
		port => PostgreSQL::Test::Cluster::get_free_port(),
		owner => $$,
		seen => {},
		mails => []
	}, $class;

	mkdir $_ or croak "could not make $_: $!" for $dir, map { "$dir/$_" } qw(spool log mail);
	mkdir "$dir/mail/$_" for qw(tmp new cur);
	File::Copy::copy('/usr/sbin/exim4', "$dir/exim") or croak "could not copy exim: $!";
	chmod 0755, "$dir/exim";
	append_to_file("$dir/conf", $self->configuration(%options));

	$self->{pid} = fork;
	croak "could not fork: $!" unless defined $self->{pid};
	if ($self->{pid} == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', "$dir/out";
		open STDERR, '>&', \*STDOUT;
		exec "$dir/exim", '-C', "$dir/conf", '-bdf' or POSIX::_exit(127);
	}

	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	until (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}))
	{
		if (waitpid($self->{pid}, WNOHANG) != 0)
		{
			$self->{pid} = undef;
			croak 'exim did not start: ' . slurp_file("$dir/out");
		}
		croak 'exim does not get ready' if time > $deadline;
		usleep(10_000);
	}
	return $self;
}

sub configuration
{
	my ($self, %options) = @_;
	my ($user) = getpwuid $>;
	my ($group) = getgrgid((split / /, $))[0]);
	my $dir = $self->{dir};
	my $tls = $options{tls_cert}
	  ? "tls_advertise_hosts = *\ntls_certificate = $options{tls_cert}\ntls_privatekey = $options{tls_key}\n"
	  . ($options{implicit_tls} ? "tls_on_connect_ports = $self->{port}\n" : '')
	  : "tls_advertise_hosts =\n";
	my $only = defined $options{user} ? "  deny message = 5.7.0 log in first\n       !authenticated = *\n" : '';
	my $login = defined $options{user} ? <<"LOGIN" : '';
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_set_id = \$auth2
  server_condition = \${if and{{eq{\$auth2}{$options{user}}}{eq{\$auth3}{$options{password}}}}}
LOGIN

	return <<"CONFIGURATION";
exim_user = $user
exim_group = $group
never_users =
deliver_drop_privilege = true
keep_environment =
add_environment = PATH=/usr/bin
spool_directory = $dir/spool
log_file_path = $dir/log/%slog
pid_file_path = $dir/exim.pid
primary_hostname = mail.test
qualify_domain = mail.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = $self->{port}
disable_ipv6 = true
host_lookup =
rfc1413_query_timeout = 0s
smtp_accept_max = 200
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = check_recipient
acl_smtp_data = accept
$tls
begin acl
check_recipient:
$only  deny message = 5.1.1 no such user: \$local_part\@\$domain
       local_parts = nobody
  defer message = 4.2.2 mailbox is full
       local_parts = full
  accept
begin routers
all:
  driver = accept
  transport = folder
begin transports
folder:
  driver = appendfile
  maildir_format
  directory = $dir/mail
  envelope_to_add
  return_path_add
  delivery_date_add
  user = $user
begin retry
* * F,1h,1m
$login
CONFIGURATION
}

=pod

=item $server->stop

Ends it.

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

=item $server->port, log

Its port, and the text of its main log.

=cut

sub port
{
	my ($self) = @_;
	return $self->{port};
}

sub log
{
	my ($self) = @_;
	return -e "$self->{dir}/log/mainlog" ? slurp_file("$self->{dir}/log/mainlog") : '';
}

=pod

=item $server->mails

What was delivered so far, in no particular order: references to hashes with
to (of the envelope), from (of the envelope), raw, and mime (Email::MIME).

=item $server->wait_for_mails($n)

Waits until so many have come since the beginning, and returns them; dies when
they do not.

=item $server->take($n)

Waits for n that were not taken yet, and returns those.

=cut

sub mails
{
	my ($self) = @_;

	foreach my $file (sort glob "$self->{dir}/mail/new/*")
	{
		next if $self->{seen}{$file}++;
		my $raw = slurp_file($file);
		my ($to) = $raw =~ /^Envelope-to: (.*)$/m;
		my ($from) = $raw =~ /^Return-path: <(.*)>$/m;

		push @{ $self->{mails} }, { to => $to, from => $from, raw => $raw, mime => Email::MIME->new($raw) };
	}
	return @{ $self->{mails} };
}

sub wait_for_mails
{
	my ($self, $n) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my @mails;

	while ((@mails = $self->mails) < $n)
	{
		croak sprintf('only %d of %d mails have come', scalar @mails, $n) if time > $deadline;
		usleep(20_000);
	}
	return @mails;
}

sub take
{
	my ($self, $n) = @_;
	my $taken = $self->{taken} || 0;
	my @mails = $self->wait_for_mails($taken + $n);

	$self->{taken} = @mails;
	return @mails[ $taken .. $#mails ];
}

=pod

=back

=cut

1;
