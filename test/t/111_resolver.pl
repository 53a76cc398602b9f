# Names that lead to denied addresses: whatever a resolver says, and says the
# next time, the address that is connected to decides.

use strict;
use warnings;

use Hooks::Resolver;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::Receiver;
use Hooks::Test;

# 127.0.0.1 stands for the public; on the same port of what is denied are listeners that must see nothing.
my $public = Hooks::Receiver->start;
my $port = $public->port;
my @denied = map { Hooks::Receiver->start(address => $_, port => $port) } qw(127.0.0.2 127.7.7.7);
my $node = hooks_node('main', 'hooks.allow_addresses' => '127.0.0.1', 'hooks.connect_timeout' => '2s');
my $users = 1;

create_application($node);
add_users($node, 2, 100);

# What comes of an event of a hook that sends to the name, the attempts that are made.
sub sent
{
	my ($name, %hook) = @_;
	my $user = ++$users;

	add_hook($node, user => $user, url => "http://$name:$port/no-keepalive?$name", attempts => 1, %hook);
	my $event = add_event($node, user => $user);
	wait_idle($node);
	return map { $_->{error_message} // $_->{status} } logs($node, event => $event);
}

my %a = map { $_ => { A => [$_] } } qw(127.0.0.1 127.0.0.2 127.7.7.7);
my $mapped = '::ffff:127.0.0.2';

Hooks::Resolver::answer('public.example.com', $a{'127.0.0.1'});
is_deeply([ sent('public.example.com') ], ['success'], 'a name that leads to a public address');
is(scalar(my @requests = $public->take), 1, '... is connected to');
cmp_ok(Hooks::Resolver::queries('public.example.com'), '>', 0, '... by the resolver of the test');

my %names = (
	'denied.example.com' => [ $a{'127.0.0.2'} ],
	'other.example.com' => [ $a{'127.7.7.7'} ],
	'zero.example.com' => [ { A => ['0.0.0.0'] } ],
	'metadata.example.com' => [ { A => ['169.254.169.254'] } ],
	'mapped.example.com' => [ { AAAA => [$mapped] } ],
	'six.example.com' => [ { AAAA => ['::1'] } ],
	'unspecified.example.com' => [ { AAAA => ['::'] } ],
	'compatible.example.com' => [ { AAAA => ['::127.0.0.2'] } ],
	'nat64.example.com' => [ { AAAA => ['64:ff9b::7f00:2'] } ],
	'both.example.com' => [ { A => ['127.0.0.2'], AAAA => ['::1'] } ],
	'several.example.com' => [ { A => [ map { "127.0.0.$_" } 2 .. 20 ] } ],
	'alias.example.com' => [ { CNAME => 'denied.example.com' } ],
	'aliased.example.com' => [ { CNAME => 'alias.example.com' } ]);
for my $name (sort keys %names)
{
	Hooks::Resolver::answer($name, @{ $names{$name} });
}
for my $name (sort keys %names)
{
	is_deeply([ sent($name, attempts => 3) ], ['address is not allowed'], "$name: refused, and not tried again");
	cmp_ok(Hooks::Resolver::queries($name), '>', 0, '... after it was looked up');
}
is_deeply([ map { $_->take } @denied, $public ], [], 'no listener has seen a request');

# One address of several that may be connected to is enough; the others are not connected to.
Hooks::Resolver::answer('mixed.example.com', { A => [ '127.0.0.2', '127.0.0.1', '127.7.7.7' ] });
my ($result) = sent('mixed.example.com');
like($result, qr/^(?:success|address is not allowed)$/, 'denied and public addresses of one name');
is_deeply([ map { $_->requests } @denied ], [], '... the denied ones see nothing');
$public->take;

# What goes wrong there has nothing to do with the others.
my $broken = add_hook(
	$node,
	user => ++$users,
	url => "http://mixed.example.com:$port/reset",
	attempts => 2,
	config => { retry_schedule => [0.1] });
add_event($node, user => $users);
wait_until(sub { value($node, "SELECT count(*) FROM hooks.dead WHERE hook_id = '$broken'") == 1 }, 'the delivery to be given up');
is_deeply(
	[ map { $_->{error_message} } logs($node, hook => $broken) ],
	[ ('connection lost before the answer was complete') x 2 ],
	'an address that may be connected to, of several, and no answer');
is(scalar(@requests = $public->take), 2, '... is tried again');

# Rebinding: public when it is looked at, denied when it is used.
Hooks::Resolver::answer('rebound.example.com', $a{'127.0.0.1'}, $a{'127.0.0.2'});
my $user = ++$users;
my $hook = add_hook($node, user => $user, url => "http://rebound.example.com:$port/no-keepalive", attempts => 1);
my $event = add_event($node, user => $user);
wait_idle($node);
is((logs($node, event => $event))[0]{status}, 'success', 'a name that is public at first');
my $outcome = '';
wait_until(
	sub {
		$event = add_event($node, user => $user);
		wait_idle($node);
		$outcome = (logs($node, event => $event))[0]{error_message} // '';
		return $outcome;
	},
	'the resolver is asked again', 150);
is($outcome, 'address is not allowed', '... and denied later, is refused then');
is_deeply([ map { $_->requests } @denied ], [], '... and nothing has gone there');

# A connection that is kept alive is as good as a new one while its address is allowed, and no longer.
Hooks::Resolver::answer('kept.example.com', $a{'127.0.0.1'});
$public->take;
is_deeply([ sent('kept.example.com', url => "http://kept.example.com:$port/ok", attempts => 2) ], ['success'], 'a connection that is kept');
configure($node, { 'hooks.allow_addresses' => '127.0.0.3' }, 'postgres');
$public->take;
$event = add_event($node, user => $users);
wait_idle($node);
is_deeply([ map { $_->{error_message} } logs($node, event => $event) ], ['address is not allowed'], '... is not used when its address is not allowed any more');
is_deeply([ $public->take ], [], '... and sees nothing');
configure($node, { 'hooks.allow_addresses' => '127.0.0.1' }, 'postgres');

# Digits and dots that look like ASCII.
for my $name ("\x{ff11}\x{ff12}\x{ff17}.0.0.2", "127\x{3002}0\x{3002}0\x{3002}2", "\x{ff11}\x{ff12}\x{ff17}\x{ff0e}\x{ff10}\x{ff0e}\x{ff10}\x{ff0e}\x{ff12}")
{
	utf8::encode(my $bytes = $name);
	$node->safe_psql('postgres', 'ALTER TABLE stream_hooks DISABLE TRIGGER hooks_check');
	my @results = sent($name);
	$node->safe_psql('postgres', 'ALTER TABLE stream_hooks ENABLE TRIGGER hooks_check');
	unlike($results[0], qr/success/, 'a lookalike of an address');
}
is_deeply([ map { $_->requests } @denied ], [], '... leads nowhere');

# Resolvers that do not answer, or not in DNS, hold up nobody else.
Hooks::Resolver::answer('silent.example.com', { silent => 1 });
Hooks::Resolver::answer('garbage.example.com', { garbage => 1 });
my $silent = ++$users;
add_hook($node, user => $silent, url => "http://silent.example.com:$port/", attempts => 1);
add_hook($node, user => $silent, url => "http://garbage.example.com:$port/", attempts => 1);
my $others = ++$users;
add_hook($node, user => $others, url => "http://127.0.0.1:$port/ok");
$node->safe_psql('postgres', join ';', map { sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{}', '%s')}, user_uuid($silent) } 1 .. 20);
my $patience = 5;
configure($node, { 'hooks.connect_timeout' => "${patience}s" }, 'postgres');
my $slowest = 0;
my $beside = 0;
while (stat($node, 'in_flight') > 0 || stat($node, 'waiting') > 0 || $beside < 5)
{
	my $start = time;
	$event = add_event($node, user => $others);
	wait_until(sub { scalar logs($node, event => $event) }, 'a delivery beside lookups that hang');
	$slowest = time - $start if $slowest < time - $start;
	$beside++;
}
wait_idle($node);
cmp_ok($slowest, '<', $patience, 'deliveries go on while lookups hang');
my ($others_failed) = value($node, sprintf q{SELECT count(*) FROM stream_hook_logs WHERE user_id = '%s' AND status <> 'success'}, user_uuid($others));
is($others_failed, 0, '... all of them well');
is_deeply(
	[ map { $_->{error_message} } rows($node, sprintf q{SELECT DISTINCT error_message FROM stream_hook_logs WHERE user_id = '%s' AND error_message !~ 'look'}, user_uuid($silent)) ],
	[], 'those that hang say that the name could not be looked up');
is_deeply([ map { $_->requests } @denied ], [], 'after all of it the denied addresses have seen nothing');

finish($node);
done_testing();
