# Event tables of other shapes: partitioned, with other column names, with
# enum types, several at once.

use strict;
use warnings;

use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;
my $user = literal(user_uuid(1));

create_application($node);
add_hook(
	$node,
	trigger => 'raid',
	url => $receiver->url,
	config => { body_template => '{{username}} with {{viewer_count}} from {{platform}}' });

sub fires
{
	my ($what, $sql, @expected) = @_;

	$node->safe_psql('postgres', $sql);
	wait_idle($node);
	is_deeply([ sort map { $_->{body} } $receiver->take ], [ sort @expected ], $what);
	return;
}

sub raid
{
	my ($name) = @_;
	return qq{'{"raider_name": "$name", "viewer_count": "47"}'};
}

# Other names, enum types, no platform and no time.
$node->safe_psql(
	'postgres', q{
	CREATE TYPE kind AS ENUM ('chat_message', 'raid', 'nothing');
	CREATE TYPE place AS ENUM ('twitch', 'kick');
	CREATE TABLE happenings (
		gone integer, what kind, who uuid, details jsonb, place place, number uuid DEFAULT gen_random_uuid(),
		at timestamptz DEFAULT now());
	ALTER TABLE happenings DROP COLUMN gone;
	SELECT hooks.attach('happenings', id_column => 'number', user_column => 'who', type_column => 'what',
		data_column => 'details', platform_column => 'place', time_column => 'at');
	CREATE TABLE bare (id uuid, type text, user_id uuid, data jsonb);
	SELECT hooks.attach('bare')});

fires('other column names and enum types',
	"INSERT INTO happenings (what, who, details, place) VALUES ('raid', $user, "
	  . raid('Zoe') . ", 'kick'), ('nothing', $user, " . raid('Nobody') . ", 'kick'), "
	  . "('raid', NULL, " . raid('Nobody') . ", 'kick'), (NULL, $user, " . raid('Nobody') . ", 'kick')",
	'Zoe with 47 from kick');
fires('a table without platform and time',
	"INSERT INTO bare VALUES (gen_random_uuid(), 'raid', $user, " . raid('Ada') . ')',
	'Ada with 47 from ');
fires('stream_events beside them',
	"INSERT INTO stream_events (type, data, user_id) VALUES ('raid', " . raid('Bob') . ", $user)",
	'Bob with 47 from ');
fires('an event without an id', "INSERT INTO bare VALUES (NULL, 'raid', $user, " . raid('Cleo') . ')',
	'Cleo with 47 from ');
is(value($node, 'SELECT count(*) FROM stream_hook_logs WHERE stream_event_id IS NULL'),
	0, '... gets one');

# Partitions, made before and after, attached and detached, of other shapes.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE parts (id uuid DEFAULT gen_random_uuid(), type text, user_id uuid, data jsonb, platform text,
		inserted_at timestamp DEFAULT timezone('UTC', now())) PARTITION BY LIST (platform);
	CREATE TABLE parts_kick PARTITION OF parts FOR VALUES IN ('kick');
	SELECT hooks.attach('parts');
	CREATE TABLE parts_twitch (inserted_at timestamp, gone text, data jsonb, type text, id uuid, platform text, user_id uuid);
	ALTER TABLE parts_twitch DROP COLUMN gone;
	ALTER TABLE parts ATTACH PARTITION parts_twitch FOR VALUES IN ('twitch');
	CREATE TABLE parts_other PARTITION OF parts DEFAULT});

sub into
{
	my ($table, $platform) = @_;
	return "INSERT INTO $table (type, user_id, data, platform, inserted_at) VALUES ('raid', $user, "
	  . raid($table) . ", '$platform', timezone('UTC', now()))";
}

fires(
	'partitions',
	join(';', map { into('parts', $_) } qw(kick twitch trovo)),
	map { "parts with 47 from $_" } qw(kick twitch trovo));
fires('a partition by itself', into('parts_twitch', 'twitch'), 'parts_twitch with 47 from twitch');
fires('moving a row to another partition',
	q{UPDATE parts SET platform = 'kick' WHERE platform = 'trovo'},
	());
fires('a partition that was detached',
	'ALTER TABLE parts DETACH PARTITION parts_twitch; ' . into('parts_twitch', 'twitch'));
fires('a partition that is attached again',
	q{ALTER TABLE parts ATTACH PARTITION parts_twitch FOR VALUES IN ('twitch'); } . into('parts', 'twitch'),
	'parts with 47 from twitch');

# A table that is renamed, or moved to another schema, goes on.
fires('a table with another name', 'ALTER TABLE bare RENAME TO naked; '
	  . "INSERT INTO naked VALUES (gen_random_uuid(), 'raid', $user, " . raid('Dan') . ')',
	'Dan with 47 from ');
fires('a table in another schema', 'CREATE SCHEMA elsewhere; ALTER TABLE naked SET SCHEMA elsewhere; '
	  . "INSERT INTO elsewhere.naked VALUES (gen_random_uuid(), 'raid', $user, " . raid('Eve') . ')',
	'Eve with 47 from ');

# Until it is detached.
fires('a table that was detached', q{SELECT hooks.detach('elsewhere.naked'); }
	  . "INSERT INTO elsewhere.naked VALUES (gen_random_uuid(), 'raid', $user, " . raid('Fay') . ')');
fires('the others', into('parts', 'kick'), 'parts with 47 from kick');

# The tables of hooks and logs may be renamed and moved as well.
fires(
	'hooks and logs in another schema, under other names',
	'CREATE SCHEMA automation; ALTER TABLE stream_hooks SET SCHEMA automation; '
	  . 'ALTER TABLE stream_hook_logs SET SCHEMA automation; ALTER TABLE automation.stream_hooks RENAME TO "My Hooks"; '
	  . into('parts', 'kick'),
	'parts with 47 from kick');
is( value(
		$node, q{SELECT count(*) FROM automation.stream_hook_logs AS l
		JOIN parts AS p ON p.id = l.stream_event_id
		WHERE l.status = 'success' AND p.inserted_at = (SELECT max(inserted_at) FROM parts)}),
	1,
	'... which are logged there');

finish($node);
done_testing();
