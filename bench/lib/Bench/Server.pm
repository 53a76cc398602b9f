# Bench::Server: a PostgreSQL server with hooks in a scratch directory.
#
#   my $server = Bench::Server->new($root, $scratch, $pg_config);	# builds
#   $server->start(track_commit_timestamp => 'on');	# an empty server
#   $server->session->run('...');
#   $server->stop;
#
# Every start() begins with a new data directory, restart() keeps it.  The
# postmaster is the child of a shell that stops it as soon as our end of a
# pipe is closed, by stop() or by our death, whatever its cause.

package Bench::Server;

use strict;
use warnings;

use POSIX ();
use Time::HiRes qw(sleep time);

use Bench::Session;

# What every server runs with; see README.md.
my %settings = (
	listen_addresses => '',
	shared_preload_libraries => 'hooks',
	max_connections => 50,
	shared_buffers => '256MB',
	fsync => 'on',
	synchronous_commit => 'on',
	wal_level => 'replica',
	max_wal_size => '16GB',
	min_wal_size => '2GB',
	checkpoint_timeout => '1h',
	autovacuum => 'on',
	log_line_prefix => '%n [%p] ',
	'hooks.allow_http' => 'on',
	'hooks.allow_addresses' => '127.0.0.1',
);

my $database = 'bench';

sub new
{
	my ($class, $root, $scratch, $pg_config) = @_;
	my $self = bless { scratch => $scratch, data => "$scratch/data", log => "$scratch/server.log" },
	  $class;

	local $ENV{PG_CONFIG} = $pg_config;
	chomp(my $bindir = qx{'$root/test/tree' '$scratch/tree'});
	die "could not build hooks\n" if $? != 0 || !-x "$bindir/postgres";
	$self->{bindir} = $bindir;

	# A server does not run as root.
	if ($> == 0)
	{
		my @user = getpwnam('postgres');
		@user = getpwnam('nobody') if !@user;
		$self->{user} = [ @user[ 2, 3 ] ];
	}
	mkdir "$scratch/server" or die "could not create directory: $!\n";
	chown @{ $self->{user} }, "$scratch/server" if $self->{user};
	$self->{$_} = "$scratch/server/$_" for qw(template data socket log);
	$self->as_server_user('mkdir', $self->{socket});
	$self->as_server_user("$bindir/initdb", '-D', $self->{template}, '-U', 'postgres',
		'-A', 'trust', '-E', 'UTF8', '--no-locale', '-N');

	my $conf = '';
	$conf .= "$_ = '$settings{$_}'\n" for sort keys %settings;
	$conf .= "unix_socket_directories = '$self->{socket}'\n";
	open my $file, '>>', "$self->{template}/postgresql.conf" or die "could not write settings: $!\n";
	print $file $conf;
	close $file or die "could not write settings: $!\n";
	return $self;
}

# Another server of the same installation, with data of its own.
sub beside
{
	my ($self, $name, $port) = @_;
	my $other = bless { %$self, port => $port }, ref $self;

	delete @$other{qw(pipe pid session)};
	$other->{data} = "$self->{scratch}/server/$name";
	$other->{log} = "$self->{scratch}/server/$name.log";
	return $other;
}

# What others connect to it with.
sub connection
{
	my ($self) = @_;
	return "host=$self->{socket} port=" . ($self->{port} // 5432) . " user=postgres dbname=$database";
}

# In a child process: become who runs the server.
sub drop_privileges
{
	my ($self) = @_;
	return if !$self->{user};
	my ($uid, $gid) = @{ $self->{user} };
	$) = "$gid $gid";
	POSIX::setgid($gid);
	POSIX::setuid($uid);
	return;
}

# Runs a command, whose output nobody wants unless it fails.
sub as_server_user
{
	my ($self, @command) = @_;
	my $pid = fork() // die "could not fork: $!\n";

	if ($pid == 0)
	{
		chdir '/';
		open STDOUT, '>', '/dev/null';
		$self->drop_privileges;
		exec { $command[0] } @command
		  or POSIX::_exit(127);
	}
	waitpid $pid, 0;
	die "\"@command\" has failed\n" if $? != 0;
	return;
}

sub is_running { return defined $_[0]{pipe} }

# Starts an empty server, with these settings on top of the usual ones, and
# creates the database with hooks in it.
sub start
{
	my ($self, %more) = @_;

	$self->stop;
	$self->as_server_user('rm', '-rf', $self->{data});
	$self->as_server_user('cp', '-r', $self->{template}, $self->{data});
	open my $file, '>>', "$self->{data}/postgresql.conf" or die "could not write settings: $!\n";
	print $file "$_ = '$more{$_}'\n" for sort keys %more;
	print $file "port = $self->{port}\n" if $self->{port};
	close $file or die "could not write settings: $!\n";

	$self->launch;
	system($self->client('createdb', 'postgres'), $database) == 0
	  or die "could not create a database\n";
	$self->session->run('CREATE TABLE users (id uuid PRIMARY KEY)');
	$self->session->run('CREATE TABLE stream_events ('
		  . ' id uuid PRIMARY KEY DEFAULT gen_random_uuid(),'
		  . ' user_id uuid NOT NULL,'
		  . ' type text NOT NULL,'
		  . ' platform text,'
		  . " data jsonb NOT NULL DEFAULT '{}',"
		  . ' inserted_at timestamptz NOT NULL DEFAULT now())');
	$self->session->run('CREATE EXTENSION hooks');
	return;
}

sub restart
{
	my ($self) = @_;
	$self->stop;
	$self->launch;
	return;
}

# Starts the postmaster and waits until it takes connections.
sub launch
{
	my ($self) = @_;
	pipe my $theirs, my $ours or die "could not make a pipe: $!\n";
	my $pid = fork() // die "could not fork: $!\n";

	if ($pid == 0)
	{
		# A keyboard's interrupt is for us, who then stop the server.
		POSIX::setsid();
		close $ours;
		open STDIN, '<&', $theirs;
		open STDOUT, '>>', $self->{log};
		open STDERR, '>&', \*STDOUT;
		chdir '/';
		$self->drop_privileges;
		exec '/bin/sh', '-c', '"$@" </dev/null & read nothing; kill -INT $!; wait $!', 'sh',
		  "$self->{bindir}/postgres", '-D', $self->{data}
		  or POSIX::_exit(127);
	}
	close $theirs;
	@$self{qw(pipe pid)} = ($ours, $pid);

	my $deadline = time + 60;
	while (system($self->client('pg_isready', 'postgres'), '-q') != 0)
	{
		die "the server does not start:\n" . $self->log_tail
		  if time > $deadline || waitpid($pid, POSIX::WNOHANG()) > 0;
		sleep 0.02;
	}
	return;
}

sub stop
{
	my ($self) = @_;
	return if !$self->is_running;

	delete $self->{session};
	close delete $self->{pipe};
	waitpid delete $self->{pid}, 0;
	return;
}

# When the server last said that it takes connections, in seconds.
sub ready_at
{
	my ($self) = @_;
	my ($line) = reverse qx{grep 'ready to accept connections' '$self->{log}'};
	return (split ' ', $line)[0];
}

sub log_tail
{
	my ($self) = @_;
	return scalar qx{tail -n 20 '$self->{log}'};
}

# The command line of a client program that connects to the database.
sub client
{
	my ($self, $program, $db) = @_;
	my @connect = ('-h', $self->{socket}, '-p', $self->{port} // 5432, '-U', 'postgres');

	push @connect, '-d', $db // $database if $program ne 'createdb';
	return ("$self->{bindir}/$program", @connect);
}

# The session that everything is looked after in.
sub session
{
	my ($self) = @_;
	$self->{session} //= Bench::Session->new($self);
	return $self->{session};
}

# Changes settings of the running server.
sub set
{
	my ($self, %changes) = @_;
	$self->session->run("ALTER SYSTEM SET $_ = '$changes{$_}'") for sort keys %changes;
	$self->session->run('SELECT pg_reload_conf()');
	return;
}

# The pid of the worker, or undef.
sub worker
{
	my ($self) = @_;
	return $self->session->value(
		"SELECT max(pid) FROM pg_stat_activity WHERE backend_type = 'hooks worker'") || undef;
}

# The counters of hooks.stat.
sub stat
{
	my ($self) = @_;
	return { map { split /\|/ } $self->session->lines('SELECT * FROM hooks.stat_values()') };
}

1;
