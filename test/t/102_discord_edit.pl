# One message per stream, which hooks change: "edit".

use strict;
use warnings;

use lib 'test/perl';
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;
my $options = 'name=edit,limit=0';

create_application($node);
add_users($node, 2, 3);

sub discord_at
{
	my ($path) = @_;

	configure($node, { 'hooks.discord_url' => $receiver->url($path) }, 'postgres');
	$receiver->take;
	return;
}

sub add_edit
{
	my ($trigger, $template, %hook) = @_;

	return add_hook(
		$node,
		attempts => undef,
		action => 'discord_message',
		trigger => $trigger,
		%hook,
		config => {
			webhook_url => 'https://discord.com/api/webhooks/123/' . ($hook{token} || 'abc'),
			template => $template,
			edit => 'live',
			%{ $hook{config} || {} } });
}

sub announce
{
	my ($type, %data) = @_;
	my $user = delete $data{user} || 1;
	my $event = value($node,
		sprintf 'SELECT hooks.trigger_lifecycle_event(%s, %s, %s)', literal(user_uuid($user)), literal($type), jsonb(\%data));

	wait_until(sub { scalar logs($node, event => $event) }, "the attempt for $type");
	wait_idle($node);
	return $event;
}

# The messages that are there, with how often they were changed.
sub messages
{
	return [ map { "$_->{content} $_->{edits}" } @{ $receiver->discord($options)->{messages} } ];
}

sub clear
{
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	$receiver->discord($options, 'forget');
	$receiver->take;
	return;
}

# A stream: the message that says so is changed when it ends.
discord_at("/discord/$options");
add_edit(stream_start => 'live');
my $end = add_edit(stream_end => 'was live', config => { username => '{{user_id}}', flags => 4100 });
announce('stream_start');
is_deeply(messages(), ['live 0'], 'the start of a stream posts a message');
is_deeply([ map { $_->{stream} } rows($node, 'SELECT * FROM hooks.messages') ], [''], '... which is remembered');

# What would be changed can be seen.
my $id = value($node, 'SELECT message_id FROM hooks.messages');
my ($preview) = rows($node, 'SELECT p.* FROM hooks.preview(' . literal($end) . q{, '{}'::jsonb) AS p});
is($preview->{method}, 'PATCH', 'preview');
like($preview->{url}, qr{/webhooks/123/\*{8}/messages/$id$}, '... says which message would be changed, without the token');
is($preview->{body}, '{"content":"was live","embeds":[],"flags":4,"allowed_mentions":{"parse":[]}}', '... to what');
$node->safe_psql(
	'postgres', q{
	CREATE ROLE somebody;
	GRANT SELECT ON stream_hooks, hooks.messages TO somebody;
	CREATE ROLE tenant;
	GRANT SELECT ON stream_hooks, hooks.messages TO tenant;
	ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY;
	CREATE POLICY all_of_them ON stream_hooks TO somebody USING (true)});
my $method = 'SELECT p.method FROM hooks.preview(' . literal($end) . q{, '{}'::jsonb) AS p};
is($node->safe_psql('postgres', 'SET ROLE somebody; SELECT count(*) FROM hooks.messages'), 1, 'who sees a hook sees its message');
is($node->safe_psql('postgres', "SET ROLE somebody; $method"), 'PATCH', '... in a preview, too');
is($node->safe_psql('postgres', 'SET ROLE tenant; SELECT count(*) FROM hooks.messages'), 0, '... who does not sees none');
isnt($node->psql('postgres', "SET ROLE tenant; $method"), 0, '... and no preview');
$node->safe_psql('postgres', 'ALTER TABLE stream_hooks DISABLE ROW LEVEL SECURITY');

announce('stream_end');
is_deeply(messages(), ['was live 1'], 'its end changes it');
my @requests = $receiver->take;
is_deeply([ map { $_->{method} } @requests ], [qw(POST PATCH)], '... by PATCH');
is_deeply([ map { $_->{status} } logs($node) ], [qw(success success)], '... with success');

# The next stream has its own message.
announce('stream_start');
announce('stream_end');
is_deeply(messages(), [ 'was live 1', 'was live 1' ], 'the next stream has a message of its own');

# What is remembered outlives the server.
announce('stream_start');
$node->restart;
announce('stream_end');
is_deeply(messages(), [ ('was live 1') x 3 ], 'a message is found again after a restart');
clear();

# The message is gone: it is posted anew.
add_edit(stream_start => 'live');
$end = add_edit(stream_end => 'was live');
announce('stream_start');
$receiver->discord($options, 'forget');
my $event = announce('stream_end');
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 2 }, 'the second request');
wait_idle($node);
is_deeply(
	[ map { join ' ', $_->{attempt}, $_->{status}, $_->{error_message} // '-' } logs($node, event => $event) ],
	[ '1 failure HTTP 404: the message is gone from Discord, and is posted anew', '1 success -' ],
	'a message that is gone is posted anew');
is_deeply(messages(), ['was live 0'], '... and is there');
is(value($node, q{SELECT bool_and(enabled) FROM stream_hooks}), 't', '... and no hook is disabled');
is(value($node, q{SELECT count(*) FROM hooks.health}), 0, '... nor has one failed');
clear();

# The webhook is gone: that disables the hook.
add_edit(stream_start => 'live', token => 'unknown');
announce('stream_start');
wait_until(sub { value($node, 'SELECT NOT enabled FROM stream_hooks') eq 't' }, 'the hook to be disabled');
clear();

# Events that say which stream they belong to.
add_edit(follow => '{{username}} of {{data.livestream_id}}');
for ([ Ann => 'one' ], [ Bob => 'one' ], [ Cid => 'two' ], [ Dan => 'one' ], [ Eve => 'two' ], [ Fay => undef ])
{
	my ($name, $stream) = @$_;
	my $follow = add_event($node, data => { username => $name, livestream_id => $stream });

	wait_until(sub { scalar logs($node, event => $follow) }, "the attempt of $name");
}
is_deeply(messages(), [ 'Dan of one 2', 'Fay of  2' ], 'each stream has a message, and the last one is for those that do not say');
clear();

# However a stream is called.
add_edit(follow => '{{username}}');
for (1 .. 2)
{
	my $follow = add_event($node, data => { username => 'Ann', livestream_id => 'x' . "\x{e9}" x 200 });

	wait_until(sub { scalar logs($node, event => $follow) }, 'the attempt');
}
is_deeply(messages(), ['Ann 1'], 'the name of a stream may be long');
is(value($node, q{SELECT max(octet_length(convert_to(stream, 'UTF8'))) FROM hooks.messages}), 99, '... and is cut between characters');
clear();

# An event that comes again does not post another message.
add_edit(stream_start => 'live');
$event = add_event($node, type => 'stream_start', data => { livestream_id => 'three' });
wait_until(sub { scalar logs($node, event => $event) }, 'the first time');
$node->safe_psql('postgres', 'SELECT hooks.redeliver(id) FROM stream_hook_logs WHERE stream_event_id = ' . literal($event));
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 2 }, 'the second time');
is_deeply(messages(), ['live 1'], 'the start of a stream that is delivered again');
$event = add_event($node, type => 'stream_start', data => {});
wait_until(sub { scalar logs($node, event => $event) }, 'the first time');
$node->safe_psql('postgres', 'SELECT hooks.redeliver(id) FROM stream_hook_logs WHERE stream_event_id = ' . literal($event));
wait_until(sub { scalar(my @rows = logs($node, event => $event)) == 2 }, 'the second time');
is_deeply(messages(), [ 'live 1', 'live 1' ], '... whether it has a name or not');
clear();

# Users, webhooks, names and threads have messages of their own.
add_edit(stream_start => '{{user_id}}', user => $_) for 1 .. 3;
add_edit(stream_start => 'other name', config => { edit => 'other' });
add_edit(stream_start => 'thread', config => { thread_id => '77' });
add_edit(stream_end => 'thread ended', config => { thread_id => '77' });
add_edit(stream_end => 'ended', user => 2);
announce('stream_start', user => $_) for 1 .. 3;
announce('stream_end', user => $_) for 1, 2;
wait_idle($node);
is_deeply(
	[ sort @{ messages() } ],
	[ sort { $a cmp $b } (user_uuid(1) . ' 0', 'other name 0', 'thread ended 1', 'ended 1', user_uuid(3) . ' 0') ],
	'messages of different users, names and threads');
clear();

# While the first message is on its way, changes of it wait, those of several hooks too.
$options = 'name=slow,limit=0,slow=400';
discord_at("/discord/$options");
add_edit(follow => 'one {{username}}', config => { concurrency => 10, edit => 'slow' });
add_edit(follow => 'two {{username}}', config => { concurrency => 10, edit => 'slow' });
$node->safe_psql('postgres',
	q{INSERT INTO stream_events (type, user_id, data) SELECT 'follow', } . literal(user_uuid(1)) . q{, jsonb_build_object('username', n) FROM generate_series(1, 3) AS n});
wait_idle($node);
@requests = $receiver->take;
is_deeply([ map { $_->{method} } @requests ], [ 'POST', ('PATCH') x 5 ], 'one posts, the others change it');
is_deeply([ grep { $requests[$_]{t} - $requests[ $_ - 1 ]{t} < 0.4 } 1 .. $#requests ], [], '... one after the other');
is_deeply([ map { ($_->{body} =~ /"content":"\w+ (\d)"/)[0] } @requests ], [ 1, 1, 2, 2, 3, 3 ], '... in their order');
is_deeply(messages(), ['two 3 5'], '... so that the last one is what can be seen');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# What comes late does not hide what came after it.
$options = 'name=late,limit=0';
discord_at('/status/500');
add_edit(stream_start => 'live', config => { retry_schedule => [2] });
add_edit(stream_end => 'was live');
$event = value($node, sprintf q{SELECT hooks.trigger_lifecycle_event(%s, 'stream_start', '{"livestream_id": "late"}')}, literal(user_uuid(1)));
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'retry'}) == 1 }, 'the first attempt to fail');
discord_at("/discord/$options");
announce('stream_end', livestream_id => 'late');
wait_until(sub { scalar(my @rows = logs($node, event => $event)) >= 2 }, 'the second attempt');
is((logs($node, event => $event))[1]{error_message}, 'a later event has changed the message already', 'a late attempt');
is_deeply(messages(), ['was live 0'], '... changes nothing');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# Messages of the past are forgotten.
cmp_ok(value($node, 'SELECT count(*) FROM hooks.message'), '>', 3, 'messages are remembered');
$node->safe_psql('postgres', q{UPDATE hooks.message SET changed_at = now() - interval '8 days'});
$node->restart;
add_edit(stream_end => 'was live');
announce('stream_end');
wait_until(sub { value($node, 'SELECT count(*) FROM hooks.message WHERE changed_at < now() - interval \'7 days\'') == 0 },
	'old messages to be forgotten');

finish($node);
done_testing();
