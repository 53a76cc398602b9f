# pg_upgrade with work pending: nothing is sent meanwhile, all of it is there
# afterwards, and is sent once the new server is told that it is no copy.
#
# HOOKS_OLD_PG_CONFIG names another version to upgrade from, with hooks in it
# (test/tree); without, it is from one cluster of this version to another.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my @old_path;
if (my $old = $ENV{HOOKS_OLD_PG_CONFIG})
{
	chomp(my $bin = `'$old' --bindir`);
	(my $prefix = $bin) =~ s{/bin$}{};
	@old_path = (install_path => $prefix);
}

my %settings = (shared_preload_libraries => 'hooks', 'hooks.allow_http' => 'on', 'hooks.allow_addresses' => '127.0.0.0/8',
	'hooks.breaker' => 'off', max_connections => 50);

sub cluster
{
	my ($name, @path) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, @path);

	$node->init(extra => [ '--encoding', 'UTF8', '--locale', 'C' ]);
	$node->append_conf('postgresql.conf', join '', map { "$_ = '$settings{$_}'\n" } sort keys %settings);
	return $node;
}

my $old = cluster('old', @old_path);
my $new = cluster('new');
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
is($before, '1 1 1 1 1 1 1', 'the old server: a hook, a log row, what waits, what is queued, a secret, somebody who has joined');
$old->append_conf('postgresql.conf', 'hooks.enabled = on');
$old->stop;
$receiver->take;

my $dir = PostgreSQL::Test::Utils::tempdir();
chdir $dir or die;
my $bin = dirname_of($new, 'postgres');
command_ok(
	[   'pg_upgrade', '--no-sync',
		'-d', $old->data_dir, '-D', $new->data_dir,
		'-b', dirname_of($old, 'postgres'), '-B', $bin,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'pg_upgrade');

# Where a program of the node's installation is.
sub dirname_of
{
	my ($node, $program) = @_;

	return $node->{_install_path} . '/bin' if $node->{_install_path};
	my ($found) = grep { -x "$_/$program" } split /:/, $ENV{PATH};
	return $found;
}

is(scalar(() = $receiver->take), 0, 'nothing was sent meanwhile');
$new->start;
is($count->($new), $before, 'all of it is in the new server');
wait_until(sub { slurp_file($new->logfile) =~ /hooks sends nothing for database \d+, which is a copy of another one/ }, 'the server log');
is(scalar(() = $receiver->take), 0, 'the old server may still be started: nothing is sent unasked');
$new->safe_psql('postgres', 'SELECT hooks.adopt()');
wait_until(sub { 2 == grep { $_->{status} eq 'success' } logs($new) }, 'what waited');
is_deeply([ sort map { $_->{stream_event_id} } grep { $_->{status} eq 'success' } logs($new) ], [ sort $waiting, $queued ], 'adopted: what waited and what was queued is sent');
is(scalar(() = $receiver->take), 2, '... once');
add_event($new);
wait_idle($new);
is(scalar(() = $receiver->take), 1, 'new events, too');

done_testing();
