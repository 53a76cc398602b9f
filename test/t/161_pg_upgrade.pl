# pg_upgrade with work pending: nothing is sent meanwhile, all of it is there
# afterwards, and is sent once the new server is told that it is no copy.
#
# From one cluster of this version to another, and from each older version whose
# server and headers are installed where Debian has them.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Cwd ();

use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my %settings = (shared_preload_libraries => 'hooks', 'hooks.allow_http' => 'on', 'hooks.allow_addresses' => '127.0.0.0/8',
	'hooks.breaker' => 'off', max_connections => 50);
my $dir = PostgreSQL::Test::Utils::tempdir();
my $new_version = version_of($ENV{PG_CONFIG} || 'pg_config');

# What a server is: 15 for PostgreSQL 15.3.
sub version_of
{
	my ($pg_config) = @_;

	return (`'$pg_config' --version` =~ /^PostgreSQL (\d+)/)[0];
}

# Where it is installed, with hooks in it; undef for the one that is tested.
sub installation
{
	my ($pg_config) = @_;
	my $version = version_of($pg_config);

	chomp(my $bin = `PG_CONFIG='$pg_config' test/tree '$dir/$version'`);
	$? == 0 or die "hooks could not be built for PostgreSQL $version";
	return $bin =~ s{/bin$}{}r;
}

sub has_headers
{
	my ($pg_config) = @_;

	chomp(my $headers = `'$pg_config' --includedir-server`);
	return -e "$headers/postgres.h";
}

sub cluster
{
	my ($name, @path) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, @path);

	# Older versions have no checksums unless they are told to.
	$node->init(extra => [ '--encoding', 'UTF8', '--locale', 'C', $new_version >= 18 && !@path ? '--no-data-checksums' : () ]);
	$node->append_conf('postgresql.conf', join '', map { "$_ = '$settings{$_}'\n" } sort keys %settings);
	return $node;
}

# Where a program of the node's installation is.
sub dirname_of
{
	my ($node, $program) = @_;

	return $node->{_install_path} . '/bin' if $node->{_install_path};
	my ($found) = grep { -x "$_/$program" } split /:/, $ENV{PATH};
	return $found;
}

sub upgrade
{
	my ($version, @path) = @_;
	my $from = $version == $new_version && !@path ? 'the same version' : "PostgreSQL $version";
	my $old = cluster("old_$version", @path);
	my $new = cluster("new_$version");

	$old->start;
	create_application($old);
	my $hook = add_hook($old, url => $receiver->url('/status/500'), attempts => 3, config => { retry_schedule => [ 2, 2 ], max_age_seconds => 86400 });
	$old->safe_psql('postgres', 'SELECT hooks.set_secret(' . literal(user_uuid(1)) . q{, 'key', 'a_value'); SELECT hooks.user_joined(} . literal(user_uuid(1)) . ')');
	my $waiting = add_event($old);
	wait_until(sub { value($old, q{SELECT count(*) FROM hooks.pending WHERE state = 'retry'}) == 1 }, 'a delivery that waits');
	configure($old, { 'hooks.enabled' => 'off' });
	wait_until(sub { !worker_pid($old) }, 'no worker');
	$old->safe_psql('postgres', 'UPDATE stream_hooks SET action_config = action_config || ' . jsonb({ url => $receiver->url('/ok') }));
	my $queued = add_event($old);
	my $count = sub {
		my ($node) = @_;
		return value($node, q{SELECT concat_ws(' ', (SELECT count(*) FROM stream_hooks), (SELECT count(*) FROM stream_hook_logs),
			(SELECT count(*) FROM hooks.delivery), (SELECT count(*) FROM hooks.queued), (SELECT count(*) FROM hooks.secret),
			(SELECT count(*) FROM hooks.presence), (SELECT count(*) FROM hooks.event_tables))});
	};
	my $before = $count->($old);
	is($before, '1 1 1 1 1 1 1', "$from: the old server: a hook, a log row, what waits, what is queued, a secret, somebody who has joined");
	$old->append_conf('postgresql.conf', 'hooks.enabled = on');
	$old->stop;
	$receiver->take;

	my $bin = dirname_of($new, 'postgres');
	my $root = Cwd::getcwd();

	# It leaves a script where it runs.
	chdir $dir or die;
	command_ok(
		[   'pg_upgrade', '--no-sync',
			'-d', $old->data_dir, '-D', $new->data_dir,
			'-b', dirname_of($old, 'postgres'), '-B', $bin,
			'-s', $new->host, '-p', $old->port, '-P', $new->port ],
		"pg_upgrade from $from");
	chdir $root or die;

	is(scalar(() = $receiver->take), 0, "$from: nothing was sent meanwhile");
	$new->start;
	is($count->($new), $before, "$from: all of it is in the new server");
	wait_until(sub { slurp_file($new->logfile) =~ /hooks sends nothing for database \d+, which is a copy of another one/ }, 'the server log');
	is(scalar(() = $receiver->take), 0, "$from: the old server may still be started: nothing is sent unasked");
	$new->safe_psql('postgres', 'SELECT hooks.adopt()');
	wait_until(sub { 2 == grep { $_->{status} eq 'success' } logs($new) }, 'what waited');
	is_deeply([ sort map { $_->{stream_event_id} } grep { $_->{status} eq 'success' } logs($new) ], [ sort $waiting, $queued ], "$from: adopted: what waited and what was queued is sent");
	is(scalar(() = $receiver->take), 2, "$from: ... once");
	add_event($new);
	wait_idle($new);
	is(scalar(() = $receiver->take), 1, "$from: new events, too");
	return;
}

upgrade($new_version);
for my $pg_config (sort glob '/usr/lib/postgresql/*/bin/pg_config')
{
	my $version = version_of($pg_config);

	upgrade($version, install_path => installation($pg_config)) if $version < $new_version && has_headers($pg_config);
}

done_testing();
