# An event table that is altered under us: the next row is right, or leaves a
# log row or a count that says why not; never an error in the application.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;
my $user = literal(user_uuid(1));

create_application($node);
add_hook(
	$node,
	trigger => 'chat_message',
	url => $receiver->url,
	config => { body_template => '{{username}} on {{platform}}' });

# One session all along: what it knows of the table must follow.
my $session = $node->background_psql('postgres');

sub insert
{
	my ($what, $columns, $values) = @_;
	my $output;

	$session->{stderr} = '';
	$output = $session->query("INSERT INTO stream_events ($columns) VALUES ($values) RETURNING 'done'");
	is($session->{stderr}, '', "$what: no error");
	is($output, 'done', "$what: the row is inserted");
	wait_idle($node);
	return;
}

# Inserts a row and tests what is sent and logged.
sub check
{
	my ($what, $columns, $values, %expected) = @_;

	$node->safe_psql('postgres', 'TRUNCATE stream_hook_logs');
	insert($what, $columns, $values);
	is_deeply([ map { $_->{body} } $receiver->take ], [ $expected{sent} // () ], "$what: sent");
	is_deeply(
		[ map { $_->{error_message} // $_->{status} } rows($node, 'SELECT * FROM stream_hook_logs') ],
		$expected{logged} ? [ $expected{logged} ] : defined $expected{sent} ? ['success'] : [],
		"$what: logged");
	return;
}

# The same after the table was altered.
sub after
{
	my ($ddl, @arguments) = @_;

	$node->safe_psql('postgres', $ddl);
	check($ddl, @arguments);
	return;
}

my $columns = 'type, data, user_id, platform';
my $values = qq{'chat_message', '{"username": "eve"}', $user, 'kick'};

check('at first', $columns, $values, sent => 'eve on kick');

after('ALTER TABLE stream_events ADD COLUMN extra integer', $columns, $values, sent => 'eve on kick');
after('ALTER TABLE stream_events DROP COLUMN author_id', $columns, $values, sent => 'eve on kick');
after('ALTER TABLE stream_events DROP COLUMN platform', 'type, data, user_id', qq{'chat_message', '{"username": "eve"}', $user},
	logged => 'column "platform" of table "stream_events" does not exist');
after('ALTER TABLE stream_events ADD COLUMN platform text', $columns, $values, sent => 'eve on kick');
after('ALTER TABLE stream_events ALTER COLUMN platform TYPE varchar(20)', $columns, $values, sent => 'eve on kick');
after('CREATE TYPE platform AS ENUM (\'kick\'); ALTER TABLE stream_events ALTER COLUMN platform TYPE platform USING platform::text::platform',
	$columns, $values, sent => 'eve on kick');
after('ALTER TABLE stream_events RENAME COLUMN data TO payload', 'type, payload, user_id, platform', $values,
	logged => 'column "data" of table "stream_events" does not exist');
after('ALTER TABLE stream_events ADD COLUMN data text', 'type, payload, user_id, platform, data', "$values, 'x'",
	logged => 'column "data" of table "stream_events" has type text');
after('ALTER TABLE stream_events DROP COLUMN data; ALTER TABLE stream_events RENAME COLUMN payload TO data',
	$columns, $values, sent => 'eve on kick');
after('ALTER TABLE stream_events ALTER COLUMN inserted_at TYPE timestamptz USING timezone(\'UTC\', inserted_at)',
	$columns, $values, sent => 'eve on kick');
after('ALTER TABLE stream_events ALTER COLUMN inserted_at DROP DEFAULT, ALTER COLUMN inserted_at TYPE text, ALTER COLUMN inserted_at SET DEFAULT now()',
	$columns, $values, logged => 'column "inserted_at" of table "stream_events" has type text');
after('ALTER TABLE stream_events DROP COLUMN inserted_at', $columns, $values,
	logged => 'column "inserted_at" of table "stream_events" does not exist');
after('ALTER TABLE stream_events ADD COLUMN inserted_at timestamp DEFAULT timezone(\'UTC\', now())',
	$columns, $values, sent => 'eve on kick');
after('ALTER TABLE stream_events ALTER COLUMN id DROP DEFAULT, ALTER COLUMN id TYPE text, ALTER COLUMN id SET DEFAULT gen_random_uuid()',
	$columns, $values, logged => 'column "id" of table "stream_events" has type text');
after('ALTER TABLE stream_events ALTER COLUMN id DROP DEFAULT, ALTER COLUMN id TYPE uuid USING id::uuid, ALTER COLUMN id SET DEFAULT gen_random_uuid()',
	$columns, $values, sent => 'eve on kick');
after('CREATE TYPE event_type AS ENUM (\'chat_message\', \'other\'); ALTER TABLE stream_events ALTER COLUMN type TYPE event_type USING type::event_type',
	$columns, $values, sent => 'eve on kick');
after('ALTER TYPE event_type RENAME VALUE \'chat_message\' TO \'chat\'; ALTER TYPE event_type RENAME VALUE \'other\' TO \'chat_message\'',
	$columns, $values, sent => 'eve on kick');
after('VACUUM FULL stream_events', $columns, $values, sent => 'eve on kick');

# Without a user or a type nobody can be told; it is counted, and said once.
my $refused = stat($node, 'events_refused');
after('ALTER TABLE stream_events RENAME COLUMN user_id TO owner', 'type, data, owner, platform', $values);
insert('another row', 'type, data, owner, platform', $values);
is(stat($node, 'events_refused'), $refused + 2, 'events without a user are counted');
like(
	slurp_file($node->logfile),
	qr/hooks cannot read events from table "stream_events": column "user_id" of table "stream_events" does not exist/,
	'... and the server log says so');
after('ALTER TABLE stream_events RENAME COLUMN owner TO user_id', $columns, $values, sent => 'eve on kick');

# Data that is too large.
sub sized
{
	my ($size) = @_;
	return sprintf q{'chat_message', jsonb_build_object('username', 'eve', 'x', repeat('x', %d)), %s, 'kick'},
	  $size, $user;
}

check('data of 32 kB and more', $columns, sized(32768),
	logged => 'event data is too large: 32800 bytes, limit 32768');
check("data of $_ bytes", $columns, sized($_), sent => 'eve on kick') for 2_000, 10_000, 32_000;
check(
	'data that is kept out of line',
	$columns,
	sprintf(
		q{'chat_message', jsonb_build_object('username', 'eve', 'x',
		(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 900) AS n)), %s, 'kick'},
		$user),
	sent => 'eve on kick');

# Data that is not what it should be.
my %odd = (
	'[]' => '',
	'"text"' => '',
	'1' => '',
	'null' => '',
	'{}' => '',
	'{"username": {"a": 1}}' => '{"a": 1}',
	'{"username": [1]}' => '[1]',
	'{"username": true}' => 'true',
	sprintf('{"username": "eve", "x": %s}', ('[' x 1000) . (']' x 1000)) => 'eve');
check(
	substr($_, 0, 40), $columns,
	sprintf(q{'chat_message', '%s', %s, 'kick'}, $_, $user),
	sent => "$odd{$_} on kick") for sort keys %odd;

$session->quit;
finish($node);
done_testing();
