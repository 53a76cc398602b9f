# Discord's limits: of a webhook, of a channel, of the server; and the guard
# against being banned.

use strict;
use warnings;

use lib 'test/perl';
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.flood_rate' => 0);
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 4);

sub discord_at
{
	my ($options) = @_;

	configure($node, { 'hooks.discord_url' => $receiver->url("/discord/$options") }, 'postgres');
	$receiver->take;
	return;
}

sub set_hooks
{
	my (@hooks) = @_;

	$node->safe_psql('postgres', 'DELETE FROM stream_hooks; TRUNCATE stream_hook_logs');
	return map {
		add_hook(
			$node,
			attempts => undef,
			action => 'discord_message',
			%$_,
			config => {
				webhook_url => "https://discord.com/api/webhooks/$_->{webhook}",
				template => '{{data.n}}',
				%{ $_->{config} || {} } })
	} @hooks;
}

sub succeeded
{
	return value($node, q{SELECT count(*) FROM stream_hook_logs WHERE status = 'success'});
}

# A webhook that takes 5 messages in 2 seconds, and hooks of three users.
my $options = 'name=bucket,limit=5,window=2';
discord_at($options);
set_hooks(map { { user => $_, webhook => '100/a' } } 1 .. 3);
$node->safe_psql('postgres', event_rows(7, user => $_)) for 1 .. 3;
wait_until(sub { succeeded() == 21 }, 'all messages of a webhook with a limit');
my $state = $receiver->discord($options);
cmp_ok($state->{worst}, '<=', 1, 'a webhook with a limit: one answer of 429 in its window, at most');
cmp_ok($state->{rate_limited}, '<=', 1, '... and not in each');
is(scalar @{ $state->{messages} }, 21, '... each message once');

# Changes of messages count by themselves: neither limit is taken for the other.
$options = 'name=buckets,limit=2,window=4,edits=3,edits_window=1';
discord_at($options);
set_hooks({ user => 1, webhook => '110/a' }, { user => 2, webhook => '110/a', config => { edit => 'x' } });
$node->safe_psql('postgres', event_rows(4, user => 1) . '; ' . event_rows(6, user => 2));
wait_until(sub { succeeded() == 10 }, 'all messages and changes');
cmp_ok($receiver->discord($options)->{worst}, '<=', 1, 'a webhook with two limits: one answer of 429 in a window, at most');
cmp_ok($receiver->discord($options)->{rate_limited}, '<=', 2, '... and one for each of them');

# A channel that takes 4 messages in 3 seconds, from two webhooks.
$options = 'name=channel,limit=50,channel=4,channel_window=3';
discord_at($options);
set_hooks({ user => 1, webhook => '200/a' }, { user => 2, webhook => '201/b' }, { user => 3, webhook => '300/c' });
add_event($node, user => $_, data => { n => 0 }) for 1 .. 3;
wait_until(sub { succeeded() == 3 }, 'the channels to be known');
$node->safe_psql('postgres', event_rows(3));
wait_until(sub { $receiver->discord($options)->{rate_limited} > 0 }, 'the channel to be full');
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.delivery WHERE why = 'retry'}) > 0 }, 'an attempt later');
$receiver->take;
my $second = add_event($node, user => 2, data => { n => 2 });
my $third = add_event($node, user => 3, data => { n => 3 });
wait_until(sub { scalar logs($node, event => $third) }, 'a message to another channel');
is((logs($node, event => $third))[0]{status}, 'success', 'another channel is open');
is(scalar logs($node, event => $second), 0, '... while the other webhook of the full one waits');
wait_until(sub { scalar(grep { $_->{status} eq 'success' } logs($node, event => $second)) }, 'it to be sent');
is_deeply([ map { $_->{status} } logs($node, event => $second) ], ['success'], '... and is sent without another 429');
wait_until(sub { succeeded() == 8 }, 'all messages of the channel');
like((grep { $_->{status} ne 'success' } logs($node))[0]{error_message}, qr/^HTTP 429: Discord takes no requests for this channel for now$/,
	'the log says why');

# The limit of all that the server sends: nothing goes out until it is over, to no webhook, from no database.
$node->safe_psql('postgres', 'CREATE DATABASE other');
create_application($node, 'other');
$options = 'name=global,limit=0,global=3,retry=5,silent=1';
discord_at($options);
set_hooks(map { { user => $_, webhook => "${_}00/a" } } 1 .. 4);
add_hook($node, attempts => undef, action => 'discord_message', database => 'other',
	config => { webhook_url => 'https://discord.com/api/webhooks/900/a', template => 'x' });
for my $n (1 .. 3)
{
	add_event($node, user => 1, data => { n => $n });
	wait_until(sub { $receiver->discord($options)->{requests} == $n }, "request $n");
}
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE last_status = 429}) == 1 }, 'the global limit');
add_event($node, user => $_, data => { n => 5 }) for 2 .. 4;
my $other = add_event($node, database => 'other');
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'host'}) == 3 }, 'others to wait');
is(value($node, q{SELECT DISTINCT last_error FROM hooks.pending WHERE state = 'host'}),
	'the service takes no requests from this server for now', 'why they wait is said');
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'host'}, 'other') == 1 },
	'the one of the other database to wait');
is($receiver->discord($options)->{while_closed}, 0, 'nothing is sent while the server may not');
wait_until(sub { succeeded() == 6 && scalar logs($node, event => $other, database => 'other') }, 'all to be sent');
$state = $receiver->discord($options);
is($state->{while_closed}, 0, '... up to the end');
is($state->{rate_limited}, 1, '... so that there was one answer of 429');

# The same when something before Discord answers, in HTML.
$options = 'name=ban,limit=0,ban=1,retry=2';
discord_at($options);
set_hooks({ user => 1, webhook => '100/a' }, { user => 2, webhook => '200/a' });
my $first = add_event($node, user => 1, data => { n => 1 });
wait_until(sub { scalar logs($node, event => $first) }, 'the first answer');
is((logs($node, event => $first))[0]{error_message}, 'HTTP 429: requests from this server do not get to Discord for now',
	'an answer of 429 that is not from Discord');
add_event($node, user => 2, data => { n => 2 });
wait_until(sub { succeeded() == 2 }, 'both to be sent');
is($receiver->discord($options)->{while_closed}, 0, '... nothing is sent until it is over');

# Refusals are counted, long before Discord does something about them.
$options = 'name=guard,limit=0';
discord_at($options);
set_hooks(map { { user => $_, webhook => "${_}00/forbidden", config => { max_age_seconds => 86400 } } } 1 .. 2);
$node->safe_psql('postgres', event_rows(1200, user => $_)) for 1 .. 2;
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'host' AND last_error LIKE 'the service%'}) >= 380 },
	'deliveries to wait');
my $requests = $receiver->discord($options)->{requests};
cmp_ok($requests, '>=', 1990, 'many refusals ...');
cmp_ok($requests, '<=', 2020, '... are enough');
like(slurp_file($node->logfile), qr/LOG:  hooks sends nothing to Discord for 10 minutes: it has refused 2000 requests within as many/,
	'... which the server log says');
set_hooks({ user => 3, webhook => '300/a' });
my $good = add_event($node, user => 3, data => { n => 1 });
wait_until(sub { value($node, 'SELECT count(*) FROM hooks.pending WHERE event_id = ' . literal($good) . q{ AND state = 'host'}) == 1 },
	'a good message to wait, too');
is($receiver->discord($options)->{requests}, $requests, 'nothing is sent');
cmp_ok(value($node, 'SELECT extract(epoch FROM next_attempt_at - now()) FROM hooks.pending WHERE event_id = ' . literal($good)),
	'>', 500, '... for minutes');
is(scalar(() = slurp_file($node->logfile) =~ /hooks sends nothing to Discord/g), 1, '... and it was said once');

finish($node, qr/hooks sends nothing to Discord/);
done_testing();
