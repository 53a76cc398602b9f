# What does not fit: hooks that were written around their validation, and events
# of the wrong shape.  Applications notice nothing, the log says what it was, and
# no other hook of the same user suffers.

use strict;
use warnings;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.flood_rate' => 0);
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 400);

my $url = $receiver->url('/ok/broken');

# A configuration, as SQL.
sub config
{
	my (%more) = @_;
	return jsonb({ url => $url, max_attempts => 1, %more });
}

sub deep
{
	my ($before, $inner, $after, $levels) = @_;
	return "(repeat('$before', $levels) || '$inner' || repeat('$after', $levels))::jsonb";
}

sub with
{
	my ($key, $sql) = @_;
	return config() . " || jsonb_build_object('$key', $sql)";
}

# ----------
# Hooks that were written around the validation
# ----------

# Name, what the row has that no row should, and what the log must say; undef:
# it works, '': it never fires.
my @hooks = (
	[ 'conditions null', { conditions => q{'null'::jsonb} }, qr/conditions/ ],
	[ 'conditions an array', { conditions => q{'[]'::jsonb} }, qr/conditions/ ],
	[ 'conditions a number', { conditions => q{'1e400'::jsonb} }, qr/conditions/ ],
	[ 'conditions a string', { conditions => q{'"{}"'::jsonb} }, qr/conditions/ ],
	[ 'conditions of 1,000 levels', { conditions => deep('{"$and": [', '{}', ']}', 1000) }, 'conditions are too large' ],
	[ 'conditions of depth 9', { conditions => q{'{"$and": [{"$and": [{"$and": [{"amount": {"$in": [5]}}]}]}]}'::jsonb} }, qr/nested|deep/ ],
	[ 'conditions of more than 8 kB', { conditions => q{jsonb_build_object('username', repeat('x', 8192))} }, 'conditions are too large' ],
	[ 'conditions with a key that is not known', { conditions => q{'{"no_such": 5}'::jsonb} }, qr/no_such/ ],
	[ 'a regular expression', { conditions => q{'{"message": {"$regex": "(a*)*\\\\1"}}'::jsonb} }, qr/regex/ ],
	[ 'a type of trigger that is not known', { trigger => q{'no_such'} }, '' ],
	[ 'an empty type of trigger', { trigger => q{''} }, '' ],
	[ 'a type of action that is not known', { action => q{'no_such'} }, qr/unknown action type "no_such"/ ],
	[ 'an empty type of action', { action => q{''} }, qr/unknown action type ""/ ],
	[ 'a type of action with control characters', { action => q{e'a\x01\n\x1b[2J'} }, qr/unknown action type "a/ ],
	map({ my ($what, $sql) = @$_; [ "a configuration that is $what", { config => $sql }, qr/^(action_config must be a JSON object|Missing webhook URL)$/ ] }
		[ 'null', q{'null'::jsonb} ], [ 'an array', q{'[{"url": 5}]'::jsonb} ], [ 'a string', q{'"x"'::jsonb} ],
		[ 'a number', q{'1e400'::jsonb} ], [ 'true', q{'true'::jsonb} ], [ 'empty', q{'{}'::jsonb} ]),
	map({ my ($what, $sql) = @$_; [ "a URL that is $what", { config => "jsonb_build_object('url', $sql)" }, qr/URL|url/ ] }
		[ 'a number', '1e400::numeric' ], [ 'null', 'NULL::text' ], [ 'an object', q{'{}'::jsonb} ], [ 'empty', q{''::text} ],
		[ 'a control character', qq{e'$url\\x01'::text} ], [ 'two lines', qq{e'$url\\r\\nHost: x'::text} ],
		[ 'long', qq{'$url' || repeat('x', 2049)} ], [ 'a file', q{'file:///etc/passwd'::text} ],
		[ 'no URL', q{'%%%'::text} ], [ 'deep', deep('[', '', ']', 1000) ]),
	[ '30 headers', { config => with('headers', q{(SELECT jsonb_object_agg('X-' || i, repeat('x', 1000)) FROM generate_series(1, 30) AS i)}) }, undef ],
	[ '31 headers', { config => with('headers', q{(SELECT jsonb_object_agg('X-' || i, 'x') FROM generate_series(1, 31) AS i)}) }, 'more than 30 headers' ],
	[ 'a header of 4,096 bytes', { config => with('headers', q{jsonb_build_object('X-Long', repeat('x', 4096))}) }, undef ],
	[ 'a header of 4,097 bytes', { config => with('headers', q{jsonb_build_object('X-Long', repeat('x', 4097))}) }, qr/longer than 4096 bytes/ ],
	[ 'a header of two lines', { config => with('headers', q{jsonb_build_object('X-A', e'a\r\nHost: x')}) }, qr/control character/ ],
	[ 'a name of a header of two lines', { config => with('headers', q{jsonb_build_object(e'X-A: a\r\nX-B', 'b')}) }, qr/control character/ ],
	[ 'a header that is deep', { config => with('headers', deep('{"a": ', '1', '}', 1000)) }, qr/header/ ],
	map({ [ "a header $_", { config => with('headers', "jsonb_build_object('$_', 'x')") }, qr/^header "$_" cannot be set by a hook$/ ] }
		qw(Host HOST Content-Length transfer-encoding Connection Upgrade TE Trailer Expect Cookie Proxy-Authorization
		  Proxy-Connection webhook-id Webhook-Signature webhook-timestamp Metadata Metadata-Flavor
		  X-aws-ec2-metadata-token X-Google-Metadata-Request)),
	[ 'a template of 16 kB', { config => with('body_template', q{repeat('x', 16384)}) }, undef ],
	[ 'a template of more', { config => with('body_template', q{repeat('x', 16385)}) }, qr/longer than 16384 bytes/ ],
	[ 'a template that does not end', { config => with('body_template', q('{{username')) }, undef ],
	[ 'a template that is a number', { config => with('body_template', '1e400') }, qr/body_template/ ],
	[ 'a body of 1,000 levels', { config => with('body', deep('{"a": ', '"{{username}}"', '}', 1000)) }, undef ],
	[ 'a body that is larger', { config => with('body', q{jsonb_build_object('a', repeat('x', 16385))}) }, qr/larger than 16384 bytes/ ],
	map({ [ "timeout_ms of $_", { config => with('timeout_ms', "'$_'::jsonb") }, qr/timeout_ms/ ] }
		'1e400', '-1e400', '1e-400', '-1', '0', '60001', '2.5', '"2000"', '[]', '{}', 'true'),
	map({ [ "max_attempts of $_", { config => with('max_attempts', "'$_'::jsonb") }, qr/max_attempts/ ] } '1e400', '-1', '0', '1000', '"NaN"'),
	[ 'a cooldown below zero', { cooldown => -2147483648 }, undef ],
	[ 'a cooldown without end', { cooldown => 2147483647 }, undef ],
	[ 'a configuration of a megabyte', { config => with('nobody_reads_this', q{repeat('x', 1000000)}) }, undef ],
	[ 'a method that is not one', { config => with('method', q{e'GET / HTTP/1.1\r\nX: y'}) }, qr/method/ ]);

# A table of the application's own may have no constraints.
$node->safe_psql('postgres', q{
	DO $$ DECLARE name text; BEGIN
		FOR name IN SELECT conname FROM pg_constraint WHERE conrelid = 'stream_hooks'::regclass AND contype = 'c' LOOP
			EXECUTE format('ALTER TABLE stream_hooks DROP CONSTRAINT %I', name);
		END LOOP;
	END $$});

my $sql = 'SET session_replication_role = replica;';
my $user = 10;
for my $hook (@hooks)
{
	my $row = $hook->[1];

	$hook->[3] = $user++;
	$sql .= sprintf "INSERT INTO stream_hooks (user_id, name, enabled, trigger_type, conditions, action_type, action_config, cooldown_seconds) "
	  . "VALUES ('%s', 'broken', true, %s, %s, %s, %s, %d);\n",
	  user_uuid($hook->[3]), $row->{trigger} || q{'raid'}, $row->{conditions} || q{'{}'}, $row->{action} || q{'webhook'},
	  $row->{config} || config(), $row->{cooldown} || 0;
}
$node->safe_psql('postgres', $sql);

# Each has a neighbour, whose writing is also what tells of them.
$node->safe_psql('postgres', sprintf q{
	INSERT INTO stream_hooks (user_id, name, trigger_type, conditions, action_type, action_config)
	SELECT id, 'neighbour', 'raid', '{}', 'webhook', %s FROM users WHERE name = ANY (SELECT 'user ' || n FROM generate_series(10, %d) AS n)},
	jsonb({ url => $receiver->url('/ok/neighbour'), max_attempts => 1 }), $user - 1);

add_hook($node, url => $receiver->url('/ok/first'));
add_event($node);
wait_idle($node);
my $first = worker_pid($node);
$node->safe_psql('postgres', sprintf q{INSERT INTO stream_events (type, data, user_id)
	SELECT 'raid', '{"raider_name": "x", "viewer_count": "5"}', id FROM users WHERE name = ANY (SELECT 'user ' || n FROM generate_series(10, %d) AS n)},
	$user - 1);
wait_idle($node);

my %rows;
push @{ $rows{ $_->{user_id} }{ $_->{hook} } }, $_
  for rows($node, 'SELECT l.*, h.name AS hook FROM stream_hook_logs AS l JOIN stream_hooks AS h ON h.id = l.hook_id');
for my $hook (@hooks)
{
	my ($name, undef, $expected, $owner) = @$hook;
	my $got = $rows{ user_uuid($owner) };
	my @broken = @{ $got->{broken} || [] };

	if (defined $expected && $expected eq '')
	{
		is(scalar @broken, 0, "$name: never fires");
	}
	elsif (!defined $expected)
	{
		is(join(' ', map { join ' ', $_->{status}, $_->{error_message} // '-' } @broken), 'success -', "$name: works");
	}
	elsif (ref $expected)
	{
		like(join(' ', map { join ' ', $_->{status}, $_->{error_message} // '-' } @broken), qr/^failure /, "$name: a log row");
		like($broken[0]{error_message}, $expected, '... that says why');
	}
	else
	{
		is(join(' ', map { join ' ', $_->{status}, $_->{error_message} // '-' } @broken), "failure $expected", "$name: a log row that says why");
	}
	is(join(' ', map { $_->{status} } @{ $got->{neighbour} || [] }), 'success', '... and its neighbour is delivered');
}

# What is refused there is refused when it is written, too.
for my $hook (@hooks)
{
	my ($name, $row, $expected) = @$hook;
	next if !defined $expected;
	my ($status, undef, $stderr) = $node->psql('postgres', sprintf
		  "INSERT INTO stream_hooks (user_id, name, trigger_type, conditions, action_type, action_config) VALUES ('%s', 'x', %s, %s, %s, %s)",
		user_uuid(2), $row->{trigger} || q{'raid'}, $row->{conditions} || q{'{}'}, $row->{action} || q{'webhook'}, $row->{config} || config());

	isnt($status, 0, "$name: refused when it is written");
	unlike($stderr, qr/XX000|internal|cache lookup|stack depth/, '... in words');
}

# ----------
# Events of the wrong shape
# ----------

my $template = '{{username}}|{{message}}|{{amount}}|{{data.a.b.c}}|{{data.n}}|{{amount | money}}|{{username | upper | truncate:5}}';
my @data = (
	(map { "'$_'::jsonb" } 'null', 'true', '5', '1e400', '"text"', '[]', '{}', '[[[]]]', '[1, 2, {"username": "x"}]'),
	(map { my $key = $_; map { "'{\"$key\": $_}'::jsonb" } 'null', 'true', '1e400', '-1e-400', '[1]', '{"a": {"b": {"c": 1}}}', '""', '"1e400"', '"NaN"', '"Infinity"' }
		qw(username message amount n viewer_count)),
	deep('[', '', ']', 1000),
	deep('{"a": ', '1', '}', 1000),
	"jsonb_build_object('username', " . deep('[', '', ']', 1000) . ')',
	"jsonb_build_object('amount', " . deep('{"amount": ', '1e400', '}', 1000) . ')',
	q{jsonb_build_object('n', repeat('9', 10000)::numeric)},
	q{jsonb_build_object('amount', repeat('9', 10000))},
	q{jsonb_build_object('amount', ('0.' || repeat('0', 10000) || '1')::numeric)},
	q{(SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 500) AS i)},
	q{jsonb_build_object('', '', ' ', ' ', e'\x01', e'\x01', 'username', e'\x7f')});
my %broken_types = (follow => 1, donation => 1, chat_message => 1);

for my $type (sort keys %broken_types)
{
	add_hook($node, user => 3, trigger => $type, url => $receiver->url("/ok/plain"), config => { body_template => $template });
	add_hook($node, user => 3, trigger => $type, url => $receiver->url("/ok/json"),
		config => { body => { text => $template, amount => '{{amount | json}}', n => '{{data.n}}' } });
	add_hook($node, user => 3, trigger => $type, url => $receiver->url("/ok/default"));
	add_hook($node, user => 3, trigger => $type, url => $receiver->url("/ok/conditions"),
		conditions => { '$or' => [ { amount => { '$gt' => 5 } }, { 'data.n' => { '$contains' => 'x' } }, { '$not' => { 'data.a.b' => { '$exists' => JSON::PP::true } } } ] });
}
$receiver->take;
for my $type (sort keys %broken_types)
{
	# One statement each: an error would be the application's.
	$node->safe_psql('postgres', join "\n", map { sprintf "INSERT INTO stream_events (type, data, user_id) VALUES ('%s', %s, '%s');", $type, $_, user_uuid(3) } @data);
}
wait_idle($node);
my $events = @data * keys %broken_types;
is(value($node, 'SELECT count(*) FROM stream_hook_logs WHERE user_id = ' . literal(user_uuid(3))), 4 * $events, 'events of the wrong shape: a log row for each hook and each of them');
is_deeply(
	[ rows($node, q{SELECT status, error_message, count(*) AS n FROM stream_hook_logs WHERE user_id = '} . user_uuid(3) . q{' AND status NOT IN ('success', 'skipped_condition') GROUP BY 1, 2}) ],
	[], '... and none of them failed');
my @arrived = grep { $_->{path} eq '/ok/json' } $receiver->take;
is(scalar @arrived, $events, '... JSON bodies arrive');
is(scalar(grep { my $body = eval { JSON::PP->new->max_depth(5000)->decode($_->{body}) }; !$body || join(' ', sort keys %$body) ne 'amount n text' } @arrived),
	0, '... each of them JSON, with the keys of the hook');

is(worker_pid($node), $first, 'it is still the same worker');
finish($node);
done_testing();
