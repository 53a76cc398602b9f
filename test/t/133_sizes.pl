# Sizes: what is as large as it may be works, what is larger is refused when it
# is written, and is a row of the log when it got in another way; never an error
# in the application's statement, never at the cost of another hook.

use strict;
use warnings;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my $node = hooks_node('main');
my $url = $receiver->url('/ok');

create_application($node);
add_users($node, 2, 4);

sub insert
{
	my (%column) = @_;

	%column = (user_id => user_uuid(1), name => 'x', trigger_type => 'follow', action_type => 'webhook', cooldown_seconds => 0,
		conditions => '{}', action_config => JSON::PP::encode_json({ url => $url }), %column);
	my @names = sort keys %column;
	return sprintf('INSERT INTO stream_hooks (%s) VALUES (%s)', join(', ', @names), join(', ', map { literal($column{$_}) } @names));
}

sub refused
{
	my ($sql) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $sql);

	return $status ? $stderr : '';
}

sub config
{
	my (%config) = @_;

	return (action_config => JSON::PP->new->canonical->encode({ url => $url, %config }));
}

sub nested
{
	my ($depth) = @_;

	return ('{"$not": ' x $depth) . '{"contains": "x"}' . ('}' x $depth);
}

# What is too large or malformed: where, the most, the reason for more.
my @limits = (
	[ 'headers', { config(headers => { map { ("X-$_" => 'x') } 1 .. 30 }) }, { config(headers => { map { ("X-$_" => 'x') } 1 .. 31 }) }, qr/more than 30 headers/ ],
	[ 'length of a header', { config(headers => { X => 'x' x 4096 }) }, { config(headers => { X => 'x' x 4097 }) }, qr/value of header "X" is longer than 4096 bytes/ ],
	[ 'body_template', { config(body_template => 'x' x 16384) }, { config(body_template => 'x' x 16385) }, qr/"body_template" is longer than 16384 bytes/ ],
	[ 'body', { config(body => { x => 'x' x 16000 }) }, { config(body => { x => 'x' x 16384 }) }, qr/"body" is larger than 16384 bytes/ ],
	[ 'conditions', { conditions => '{"equals": "' . 'x' x 8000 . '"}', trigger_type => 'chat_message' }, { conditions => '{"equals": "' . 'x' x 9000 . '"}', trigger_type => 'chat_message' }, qr/conditions are too large/ ],
	[ 'depth of conditions', { conditions => nested(7), trigger_type => 'chat_message' }, { conditions => nested(9), trigger_type => 'chat_message' }, qr/deep/ ],
	[ 'the URL', { config(url => "$url?" . 'x' x (2047 - length $url)) }, { config(url => "$url?" . 'x' x 2048) }, qr/URL is longer than 2048 bytes/ ],
	[ 'no JSON object', {}, { action_config => '[]' }, qr/action_config must be a JSON object/ ],
	[ 'nothing', {}, { action_config => '{}' }, qr/Missing webhook URL/ ],
	[ 'an action', {}, { action_type => 'launch' }, qr/unknown action type "launch"/ ],
	[ 'a template deep in JSON', { config(body => { x => [ [ [ [ ['x'] ] ] ] ] }) }, { config(body => 5) }, qr/"body" in action_config must be a JSON object or array/ ],
	[ 'conditions of another type', {}, { conditions => '[1]' }, qr/conditions must be a JSON object/ ],
	[ 'a condition that is none', {}, { conditions => '{"no_such": 1}' }, qr/unknown condition|no_such/ ],
	[ 'a header that is reserved', { config(headers => { 'X-Host' => 'x' }) }, { config(headers => { Host => 'x' }) }, qr/header "Host" cannot be set by a hook/ ],
	(map { my $name = $_; [ "header $name", {}, { config(headers => { $name => 'x' }) }, qr/header "\Q$name\E" cannot be set by a hook/ ] }
		qw(Content-Length transfer-encoding Connection Upgrade TE Trailer Expect Proxy-Authorization proxy-connection Cookie Webhook-Id WEBHOOK-SIGNATURE Metadata-Flavor metadata X-aws-ec2-metadata-token X-Google-Metadata-Request)),
	[ 'a control character', {}, { config(headers => { X => "a\r\nHost: evil" }) }, qr/value of header "X" contains a control character/ ],
	[ 'a name with a blank', {}, { config(headers => { 'X Y' => 'x' }) }, qr/"X Y" is not a name of an HTTP header/ ]);

# The table refuses some of it by itself, not only our trigger.
$node->safe_psql('postgres', 'ALTER TABLE stream_hooks DROP CONSTRAINT stream_hooks_action_type_is_known');

# A hook beside them, for each trigger type.
my %good = map { $_ => add_hook($node, user => 1, name => 'good', trigger => $_, url => $url) } qw(follow chat_message);

for my $limit (@limits)
{
	my ($what, $most, $more, $reason) = @$limit;
	my $type = $more->{trigger_type} || 'follow';

	is(refused(insert(%$most)), '', "$what: the most") if keys %$most;
	if (keys %$most && !$most->{cooldown_seconds})
	{
		my $event = add_event($node, type => $most->{trigger_type} || 'follow', data => { username => 'x', message => 'y' });
		wait_idle($node);
		is_deeply([ grep { $_->{status} eq 'failure' } logs($node, event => $event) ], [], '... works');
	}
	$node->safe_psql('postgres', q{DELETE FROM stream_hooks WHERE name = 'x'});

	like(refused(insert(%$more)), $reason, "$what: more is refused when it is written");
	$node->safe_psql('postgres', 'SET session_replication_role = replica; ' . insert(%$more));
	$node->safe_psql('postgres', 'SELECT hooks.wake()');
	$receiver->take;
	my $event = add_event($node, type => $type, data => { username => 'x', message => 'y' });
	wait_idle($node);
	my %by_name = map { $_->{hook_id} eq $good{$type} ? (good => $_) : (bad => $_) } logs($node, event => $event);
	is($by_name{bad}{status}, 'failure', '... what got in another way is a failure in the log');
	like($by_name{bad}{error_message} // '', $reason, '... that says the same');
	is($by_name{good}{status}, 'success', '... and costs no other hook anything');
	is(scalar(my @requests = $receiver->take), 1, '... nothing of it is sent');
	$node->safe_psql('postgres', q{DELETE FROM stream_hooks WHERE name = 'x'});
}

like(refused(insert(cooldown_seconds => 86401)), qr/cooldown of 86401 seconds is out of range/, 'a cooldown of more than a day');
like(refused(insert(cooldown_seconds => -1)), qr/cooldown of -1 seconds is out of range/, '... and of less than nothing');

# Events: as large as it gets, of any depth and kind of number.
my $hook = add_hook($node, user => 2, url => $url);
my $most = 32 * 1024;
my %data = (
	'32 kB' => [ sprintf(q{('{"username": "x", "message": "' || repeat('x', %d) || '"}')::jsonb}, $most - 60), undef ],
	'more than 32 kB' => [ sprintf(q{('{"message": "' || repeat('x', %d) || '"}')::jsonb}, $most), qr/event data is too large: \d+ bytes, limit 32768/ ],
	'a thousand levels' => [ q{(repeat('[', 1000) || repeat(']', 1000))::jsonb}, undef ],
	'a thousand levels of objects' => [ q{(repeat('{"message":', 1000) || '1' || repeat('}', 1000))::jsonb}, undef ],
	'1e400' => [ q{'{"amount": 1e400, "username": "x"}'}, undef ],
	'a number as text' => [ q{'{"amount": "NaN", "username": "Infinity"}'}, undef ],
	'an array' => [ q{'[1, 2]'}, undef ],
	'a string' => [ q{'"x"'}, undef ],
	'null' => [ q{'null'}, undef ],
	'wrong types' => [ q{'{"username": {"a": 1}, "message": [1], "amount": true, "metadata": 5}'}, undef ]);
for my $what (sort keys %data)
{
	my ($data, $reason) = @{ $data{$what} };
	my $event = value($node, sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('follow', %s, %s) RETURNING id}, $data, literal(user_uuid(2)));

	wait_idle($node);
	my @logs = rows($node, sprintf q{SELECT status, error_message FROM stream_hook_logs WHERE stream_event_id = %s}, literal($event));
	is(scalar @logs, 1, "$what: one row of the log");
	if ($reason)
	{
		like($logs[0]{error_message}, $reason, '... that says why not');
	}
	else
	{
		is($logs[0]{status}, 'success', '... of a delivery');
	}
}

# Hooks of a user.
$node->safe_psql('postgres', sprintf q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	SELECT %s, n::text, 'follow', 'webhook', %s FROM generate_series(1, 200) AS n}, literal(user_uuid(3)), jsonb({ url => $url }));
my $one_more = insert(user_id => user_uuid(3));
like(refused($one_more), qr/user \S+ has 200 hooks already, the most that are allowed\n.*hooks\.max_hooks_per_user/, '200 hooks of a user, and one more');
like(refused(sprintf q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
	SELECT %s, n::text, 'follow', 'webhook', %s FROM generate_series(1, 201) AS n}, literal(user_uuid(4)), jsonb({ url => $url })), qr/has 200 hooks already/, '... all in one statement');
like(refused(sprintf q{UPDATE stream_hooks SET user_id = %s WHERE name = 'good' AND trigger_type = 'follow'}, literal(user_uuid(3))), qr/has 200 hooks already/, '... and one that is given to that user');
$node->safe_psql('postgres', sprintf q{CREATE ROLE app; GRANT INSERT ON stream_hooks TO app; ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON stream_hooks FOR INSERT TO app WITH CHECK (true)});
like(refused("SET ROLE app; $one_more"), qr/has 200 hooks already/, '... of a role that sees none of them');
is(refused('SET ROLE app; ' . insert(user_id => user_uuid(4))), '', '... which can write those of others');
is(refused(sprintf q{UPDATE stream_hooks SET name = 'renamed' WHERE user_id = %s}, literal(user_uuid(3))), '', 'those that are there can be changed');
$node->safe_psql('postgres', sprintf q{DELETE FROM stream_hooks WHERE user_id = %s AND id IN (SELECT id FROM stream_hooks WHERE user_id = %s LIMIT 1)}, (literal(user_uuid(3))) x 2);
is(refused($one_more), '', 'with one less there is room');
configure($node, { 'hooks.max_hooks_per_user' => 0 }, 'postgres');
is(refused($one_more), '', 'without a limit, too');
my $event = add_event($node, user => 3);
wait_idle($node);
is_deeply(log_statuses($node, event => $event), { success => 201 }, 'all of them fire');

finish($node);
done_testing();
