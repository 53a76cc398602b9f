=pod

=head1 NAME

Hooks::Resolver - a name server of the test's own

=head1 SYNOPSIS

  use Hooks::Resolver;      # first: runs the test again, in namespaces of its own

  Hooks::Resolver::answer('rebound.example.com', { A => ['127.0.0.1'] }, { A => ['127.0.0.2'] });

=head1 DESCRIPTION

A test that uses this runs in namespaces of users, mounts and the network, with
no address but those of the loopback interface, and there is a name server on
127.0.0.1 that /etc/resolv.conf names.  Where the system does not let ordinary
users have namespaces, the test is skipped.

=over

=item answer($name, @answers)

What the name server says of a name: the first answer once, then the next one,
the last one from then on.  An answer is a reference to a hash: A and AAAA,
lists of addresses; CNAME, a name; silent, it does not answer; garbage, what it
says is no DNS; ttl.  Other names do not exist.

=item queries($name)

How often it was asked for the name (of either type of address).

=back

=cut

package Hooks::Resolver;

use strict;
use warnings;

use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Utils;
use Socket qw(AF_INET AF_INET6 inet_pton);
use Test::More ();

my %type_number = (A => 1, CNAME => 5, AAAA => 28);

sub directory
{
	return $ENV{HOOKS_RESOLVER};
}

# ---------- namespaces ----------

# As the namespaces' root: bring up the loopback interface, put our
# resolv.conf in place, start the name server, and become somebody ordinary.
my $enter = <<'EOF';
	use Socket;
	my ($directory, $uid, $gid, @command) = @ARGV;
	socket(my $socket, AF_INET, SOCK_DGRAM, 0) or die "socket: $!\n";
	my $request = pack('a16 s x14', 'lo', 0);
	ioctl($socket, 0x8913, $request) or die "flags of lo: $!\n";
	my (undef, $flags) = unpack('a16 s', $request);
	$request = pack('a16 s x14', 'lo', $flags | 1);
	ioctl($socket, 0x8914, $request) or die "lo up: $!\n";
	open(my $file, '>', "$directory/resolv.conf") or die "resolv.conf: $!\n";
	print $file "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n";
	close $file;
	system('mount', '--bind', "$directory/resolv.conf", '/etc/resolv.conf') == 0 or die "mount failed\n";
	my $server = fork // die "fork: $!\n";
	if ($server == 0)
	{
		exec $^X, (map { "-I$_" } @INC), '-MHooks::Resolver', '-e', 'Hooks::Resolver::serve()';
		die "exec: $!\n";
	}
	my $child = fork // die "fork: $!\n";
	if ($child == 0)
	{
		exec 'unshare', '--user', "--map-user=$uid", "--map-group=$gid", @command;
		die "exec: $!\n";
	}
	waitpid $child, 0;
	my $status = $?;
	kill 'TERM', $server;
	waitpid $server, 0;
	exit($status & 127 ? 1 : $status >> 8);
EOF

sub import
{
	return if directory();
	$ENV{HOOKS_RESOLVER} = PostgreSQL::Test::Utils::tempdir();
	if (system('unshare --user --map-root-user --net --mount -- unshare --user --map-user=1 --map-group=1 true 2>/dev/null') != 0)
	{
		Test::More::plan(skip_all => 'ordinary users have no namespaces here');
	}
	my $status = system('unshare', '--user', '--map-root-user', '--net', '--mount', '--', $^X, '-e', $enter, directory(), $<, $( + 0,
		$^X, (map { "-I$_" } @INC), $0, @ARGV);
	POSIX::_exit($status & 127 ? 1 : $status >> 8);
}

# ---------- the test's side ----------

sub answer
{
	my ($name, @answers) = @_;

	append_to_file(directory() . '/answers', JSON::PP::encode_json({ name => lc $name, answers => \@answers }) . "\n");
	return;
}

sub queries
{
	my ($name) = @_;
	my $log = -e directory() . '/queries' ? slurp_file(directory() . '/queries') : '';

	return scalar(() = $log =~ /^\Q$name\E$/mg);
}

# ---------- the name server ----------

sub encode_name
{
	my ($name) = @_;

	return join('', map { chr(length $_) . $_ } split /\./, $name) . "\0";
}

sub record
{
	my ($name, $type, $ttl, $data) = @_;

	return encode_name($name) . pack('nnNn', $type_number{$type}, 1, $ttl, length $data) . $data;
}

# The records of an answer for a type of address; names that it leads to included.
sub records
{
	my ($name, $type, $answer, $said) = @_;
	my $ttl = $answer->{ttl} // 0;
	my @records;

	if ($answer->{CNAME})
	{
		push @records, record($name, 'CNAME', $ttl, encode_name($answer->{CNAME}));
		push @records, records($answer->{CNAME}, $type, $said->{ $answer->{CNAME} }[0], $said) if $said->{ $answer->{CNAME} };
	}
	push @records, map { record($name, $type, $ttl, inet_pton($type eq 'A' ? AF_INET : AF_INET6, $_)) } @{ $answer->{$type} || [] };
	return @records;
}

sub serve
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 53, Proto => 'udp') or die "name server: $!";
	my (%said, $read);

	while (defined $socket->recv(my $query, 4096))
	{
		my ($id) = unpack 'n', $query;
		my ($at, @labels) = (12);

		while ((my $length = ord substr $query, $at, 1) > 0)
		{
			push @labels, lc substr $query, $at + 1, $length;
			$at += 1 + $length;
		}
		my $question = substr $query, 12, $at + 5 - 12;
		my $number = unpack 'n', substr $query, $at + 1, 2;
		my ($type) = grep { $type_number{$_} == $number } qw(A AAAA);
		my $name = join '.', @labels;

		# What the test has said since.
		if (open my $file, '<', directory() . '/answers')
		{
			seek $file, $read || 0, 0;
			while (my $line = <$file>)
			{
				my $new = JSON::PP::decode_json($line);

				$said{ $new->{name} } = $new->{answers};
			}
			$read = tell $file;
		}
		append_to_file(directory() . '/queries', "$name\n");

		my $answers = $said{$name};
		my $answer = $answers ? $answers->[0] : undef;
		my @records = $answer && $type ? records($name, $type, $answer, \%said) : ();

		# A and AAAA are asked for together.
		shift @$answers if $answers && @$answers > 1 && $type && $type eq 'AAAA';
		next if $answer && $answer->{silent};
		if ($answer && $answer->{garbage})
		{
			$socket->send(pack('n', $id) . join '', map { chr int rand 256 } 1 .. 500);
			next;
		}
		$socket->send(pack('nnnnnn', $id, 0x8180 | ($answer ? 0 : 3), 1, scalar @records, 0, 0) . $question . join '', @records);
	}
	return;
}

1;
