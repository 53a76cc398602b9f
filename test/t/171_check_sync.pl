# hooks.publish() and hooks.check_sync(): each thing that a sync service needs is
# taken away once, is reported, and is there again when the remedy was executed.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Test;

my $node = hooks_node('main', streaming => 'logical', log_statement => 'none', max_slot_wal_keep_size => '1GB');

# Later minor releases have it.
my $lists_plugins = value($node, q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'});

create_application($node);
add_users($node, 2, 2);
$node->safe_psql(
	'postgres', q{
	CREATE ROLE app NOLOGIN;
	GRANT ALL ON SCHEMA public TO app;
	GRANT ALL ON users TO app;
	ALTER TABLE stream_hooks OWNER TO app;
	ALTER TABLE stream_hook_logs OWNER TO app;
	CREATE ROLE "the service" LOGIN REPLICATION});

# What check_sync() says, by item.
sub check
{
	my ($database, $publication, $role) = @_;
	my %said = map { $_->{item} => $_ }
	  rows($node,
		sprintf('SELECT * FROM hooks.check_sync(%s, %s)', literal($publication || 'sync'), literal($role || 'the service')),
		$database);

	return \%said;
}

# As people would execute them.
sub execute
{
	my ($remedy, $database) = @_;

	like($remedy, qr/\S/, '... and a remedy is named');
	$node->safe_psql($database || 'postgres', $remedy);
	return;
}

sub verdict
{
	my ($row) = @_;

	return !$row ? 'not mentioned' : !defined $row->{ok} ? 'depends' : $row->{ok} ? 'ok' : 'not ok';
}

# Breaks something, and mends it by the remedy.
sub broken
{
	my ($item, $break, $state, %how) = @_;
	my $row;

	$node->safe_psql('postgres', $break);
	$row = check()->{$item};
	is(verdict($row), $how{verdict} || 'not ok', "$item: reported");
	like($row->{state}, $state, '... what it is');
	execute($row->{remedy});
	$how{then}->() if $how{then};
	$row = check()->{$item};
	is(verdict($row), $how{after} || 'ok', '... and mended');
	return;
}

# ----------
# hooks.publish()
# ----------

is( value($node, q{SELECT hooks.publish('sync')}),
	"ALTER TABLE public.stream_hooks REPLICA IDENTITY FULL\nALTER TABLE public.stream_hook_logs REPLICA IDENTITY FULL\n"
	  . 'CREATE PUBLICATION sync FOR TABLE public.stream_hooks, public.stream_hook_logs',
	'publish() makes a publication, and says how');
is(value($node, q{SELECT hooks.publish('sync')}), '', '... which it does once');
is(value($node, q{SELECT hooks.publish('Only hooks', logs => false)}),
	'CREATE PUBLICATION "Only hooks" FOR TABLE public.stream_hooks', '... of one table, if asked');
is(value($node, q{SELECT hooks.publish('Only hooks')}),
	'ALTER PUBLICATION "Only hooks" ADD TABLE public.stream_hook_logs', '... and adds what is missing');
$node->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES; CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA public');
is(value($node, q{SELECT hooks.publish('everything'); SELECT hooks.publish('of_schema')}),
	'', 'what publishes both tables already needs nothing');
is( value($node, q{SELECT string_agg(format('%s.%s', schemaname, tablename), ' ' ORDER BY tablename) FROM pg_publication_tables
		WHERE pubname IN ('sync')}),
	'public.stream_hook_logs public.stream_hooks',
	'nothing but the two tables is published');
$node->safe_psql('postgres', 'DROP PUBLICATION everything, of_schema, "Only hooks"');

for (
	[ q{hooks.publish(NULL)}, qr/arguments of hooks\.publish\(\) must not be null/ ],
	[ q{hooks.publish('x', false, false)}, qr/nothing is to be published\nHINT:  For example hooks\.publish\('sync', logs => false\)/ ],
	[ q{hooks.check_sync(NULL)}, qr/arguments of hooks\.check_sync\(\) must not be null/ ],
	[ q{hooks.check_sync('sync', 'nobody')}, qr/role "nobody" does not exist\nHINT:  .*CREATE ROLE nobody LOGIN REPLICATION/ ])
{
	my ($call, $message) = @$_;
	my ($ret, $out, $error) = $node->psql('postgres', "SELECT $call");
	like($error, $message, "$call is refused");
}

# With the rights of whoever calls them, and of nobody else.
$node->safe_psql('postgres', 'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hooks TO app, "the service"');
my ($ret, $out, $error) = $node->psql('postgres', q{SET ROLE "the service"; SELECT hooks.publish('another')});
like($error, qr/permission denied for database|must be owner of table/, 'who does not own the tables cannot publish them');
($ret, $out, $error) = $node->psql('postgres', q{GRANT CREATE ON DATABASE postgres TO app; SET ROLE app; SELECT hooks.publish('of_app')});
is($error, '', 'their owner can');
$node->safe_psql('postgres', 'DROP PUBLICATION of_app');

# The server would refuse every UPDATE of a table that has both.
$node->safe_psql('postgres', 'ALTER TABLE stream_hooks REPLICA IDENTITY DEFAULT; CREATE PUBLICATION part FOR TABLE stream_hooks (id, name)');
($ret, $out, $error) = $node->psql('postgres', q{SELECT hooks.publish('sync')});
like($error, qr/cannot set the replica identity of table "public\.stream_hooks" to FULL\nDETAIL:  Publication "part" has a list of its columns/,
	'a list of columns in any publication is in the way');
my ($hint) = $error =~ /^HINT:  (.*)$/m;
$node->safe_psql('postgres', $hint);
is(value($node, q{SELECT hooks.publish('sync')}), 'ALTER TABLE public.stream_hooks REPLICA IDENTITY FULL', '... until the hint is followed');
$node->safe_psql('postgres', 'DROP PUBLICATION part');

# ----------
# hooks.check_sync()
# ----------

$node->safe_psql('postgres', 'GRANT SELECT ON stream_hooks, stream_hook_logs TO "the service"');
is_deeply(
	[ map { "$_->{item}: " . verdict($_) } rows($node, q{SELECT * FROM hooks.check_sync('sync', 'the service')}) ],
	[   'wal_level: ok',
		'max_replication_slots: ok',
		'max_wal_senders: ok',
		'max_slot_wal_keep_size: ok',
		$lists_plugins ? 'output_plugin_libraries: ok' : (),
		'attribute LOGIN: ok',
		'attribute REPLICATION: ok',
		'CONNECT on database postgres: ok',
		'USAGE on schema public: ok',
		'publication: ok',
		'owner of the publication: depends',
		'what is published: ok',
		'tables of schema hooks: ok',
		(   map {
				(   "membership of $_: ok",
					"rows of $_: ok",
					"columns of $_: ok",
					"replica identity of $_: ok",
					"primary key of $_: ok",
					"SELECT on $_: ok",
					"row level security of $_: ok",
					"owner of $_: depends")
			} 'public.stream_hooks', 'public.stream_hook_logs'),
		'secrets: ok' ],
	'all is well, but for what a service may need');
is(value($node, q{SELECT count(remedy) FROM hooks.check_sync('sync', 'the service') WHERE ok}), 0, 'what is ok has no remedy');
is(verdict(check('postgres', 'sync', 'postgres')->{'owner of public.stream_hooks'}), 'ok', 'a superuser owns everything');

broken('attribute LOGIN', 'ALTER ROLE "the service" NOLOGIN', qr/^role "the service" lacks it$/);
broken('attribute REPLICATION', 'ALTER ROLE "the service" NOREPLICATION', qr/lacks it/);
broken('CONNECT on database postgres', 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC', qr/lacks it/);
broken('USAGE on schema public', 'REVOKE USAGE ON SCHEMA public FROM PUBLIC', qr/lacks it/);
broken('publication', 'DROP PUBLICATION sync', qr/^"sync" does not exist$/);
broken('owner of the publication', 'SELECT', qr/^belongs to "postgres"; /, verdict => 'depends');
broken('what is published', q{ALTER PUBLICATION sync SET (publish = 'insert, update')}, qr/^insert, update$/);
for my $table ('public.stream_hooks', 'public.stream_hook_logs')
{
	broken("membership of $table", "ALTER PUBLICATION sync DROP TABLE $table", qr/^is not published$/);
	broken("rows of $table", "ALTER PUBLICATION sync DROP TABLE $table; ALTER PUBLICATION sync ADD TABLE $table WHERE (user_id <> id)",
		qr/^only where .*user_id <> id/);
	broken("columns of $table",
		"ALTER PUBLICATION sync DROP TABLE $table; ALTER PUBLICATION sync ADD TABLE $table (id, user_id)", qr/^only id, user_id$/);
	broken("replica identity of $table", "ALTER TABLE $table REPLICA IDENTITY DEFAULT", qr/^not full, of 1 of 1 /);
	broken("SELECT on $table", "REVOKE SELECT ON $table FROM \"the service\"", qr/lacks it/);
	broken("row level security of $table", "ALTER TABLE $table ENABLE ROW LEVEL SECURITY", qr/^hides rows from role "the service"/,
		then => sub { ok(check()->{"row level security of $table"}{ok}, '... for the role') });
	$node->safe_psql('postgres', "ALTER TABLE $table DISABLE ROW LEVEL SECURITY; ALTER ROLE \"the service\" NOBYPASSRLS");
}
broken('primary key of public.stream_hook_logs',
	'ALTER TABLE stream_hook_logs DROP CONSTRAINT stream_hook_logs_pkey', qr/^there is none$/);
broken('primary key of public.stream_hooks',
	'ALTER TABLE stream_hooks DROP CONSTRAINT stream_hooks_pkey CASCADE', qr/^there is none$/);
broken('owner of public.stream_hooks', 'SELECT', qr/^belongs to "app"; /, verdict => 'depends');

# Nobody is to become a superuser.
$node->safe_psql('postgres', 'ALTER TABLE stream_hook_logs OWNER TO postgres');
my $row = check()->{'owner of public.stream_hook_logs'};
is_deeply([ verdict($row), $row->{remedy} ], [ 'depends', undef ], 'no remedy is to be granted a superuser');
$node->safe_psql('postgres', 'ALTER TABLE stream_hook_logs OWNER TO app');

# The machinery is not to be published: not by all tables, ...
$node->safe_psql('postgres', q{
	REVOKE app FROM "the service";
	CREATE SCHEMA more;
	CREATE TABLE more.things (id int PRIMARY KEY)});
broken('tables of schema hooks', 'DROP PUBLICATION sync; CREATE PUBLICATION sync FOR ALL TABLES', qr/^\d+ are published, such as hooks\.ack_0$/);
is(value($node, q{SELECT count(*) FROM pg_publication_tables WHERE pubname = 'sync' AND tablename IN ('stream_hooks', 'stream_hook_logs', 'things')}),
	3, '... while all others still are');

# ... nor by its schema, nor one by one.
broken('tables of schema hooks', 'ALTER PUBLICATION sync ADD TABLES IN SCHEMA hooks; ALTER PUBLICATION sync ADD TABLE hooks.secret, hooks.delivery',
	qr/^\d+ are published/);
$node->safe_psql('postgres', q{DROP PUBLICATION sync; SELECT hooks.publish('sync')});

# All at once, as the document has it.
$node->safe_psql('postgres', q{
	REVOKE SELECT ON stream_hooks FROM "the service";
	ALTER TABLE stream_hook_logs REPLICA IDENTITY DEFAULT;
	ALTER PUBLICATION sync ADD TABLES IN SCHEMA hooks;
	ALTER PUBLICATION sync ADD TABLE hooks.health});
is(value($node, q{SELECT count(*) FROM hooks.check_sync('sync', 'the service') WHERE NOT ok}), 3, 'several things are missing');
$node->safe_psql('postgres', q{SELECT remedy FROM hooks.check_sync('sync', 'the service') WHERE NOT ok \gexec});
is(value($node, q{SELECT count(*) FROM hooks.check_sync('sync', 'the service') WHERE NOT ok}), 0, '... and mended in one go');

# ----------
# Secrets
# ----------

my @hooks = (
	add_hook($node, url => 'https://example.com/a', config => { secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' }),
	add_hook($node, url => 'https://example.com/b',
		config => { secret => [ 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' ] }),
	add_hook($node, url => 'https://example.com/c?who=x&api_key=hunter2&n={{amount}}',
		config => { headers => { Authorization => 'Bearer hunter3', 'X-Api-Key' => 'hunter4', api_key => 'hunter6', 'X-The-Token-Of-A-Long-Company-Name' => 'hunter7', 'X-Plain' => 'visible', 'X-Token' => '{{username}}' } }),
	add_hook($node, action => 'discord_message',
		config => { webhook_url => 'https://discord.com/api/webhooks/123456789012345678/hunter5-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', template => 'x' }));
my @said = grep { $_->{item} =~ /^hook / } rows($node, q{SELECT * FROM hooks.check_sync('sync', 'the service')});
is_deeply(
	[ sort map { my $hook = $_->{item} =~ s/^hook //r; my ($n) = grep { $hooks[$_] eq $hook } 0 .. $#hooks; $n . ' ' . ($_->{state} =~ s/: whoever reads .*//r) } @said ],
	[ '0 secret', '1 secret', '1 secret', '2 header Authorization', '2 header X-Api-Key', '2 header X-The-Token-Of-A-Long-Company-Name', '2 header api_key', '2 url, parameter api_key', '3 webhook_url' ],
	'secrets in hooks are found');
is_deeply([ grep { "$_->{state} $_->{remedy}" =~ /hunter|MfKQ|AfKQ/ } @said ], [], '... and not shown');
is_deeply([ map { verdict($_) } @said ], [ ('not ok') x 9 ], '... and not ok');
is(verdict(check()->{secrets}), 'not mentioned', '... so that nothing else is said of them');
$node->safe_psql('postgres', $_->{remedy}) for @said;
is(verdict(check()->{secrets}), 'ok', 'the remedies take all of them away');
is(value($node, q{SELECT count(*) FROM stream_hooks WHERE action_config::text ~ 'hunter|MfKQ|AfKQ'}), 0, '... out of the table');
is(value($node, q{SELECT string_agg(convert_from(substring(value FROM 2), 'UTF8'), ' ' ORDER BY value) FROM hooks.secret}),
	'hunter2 hunter3 hunter4 hunter5-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa hunter6 hunter7 '
	  . 'whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
	'... into the secrets of their user');
my $md5 = value($node, q{SELECT left(md5('headers.X-The-Token-Of-A-Long-Company-Name'), 27)});
is_deeply(
	[ rows($node, sprintf q{SELECT action_config -> 'headers' AS headers, action_config ->> 'url' AS url FROM stream_hooks WHERE id = %s}, literal($hooks[2])) ],
	[ { url => "https://example.com/c?who=x&api_key={{secret.$hooks[2].url.api_key}}&n={{amount}}",
		headers => { Authorization => "Bearer {{secret.$hooks[2].headers.Authorization}}", 'X-Api-Key' => "{{secret.$hooks[2].headers.X-Api-Key}}",
			api_key => "{{secret.$hooks[2].headers.api_key}}",
			'X-The-Token-Of-A-Long-Company-Name' => "{{secret.$hooks[2].$md5}}",
			'X-Plain' => 'visible', 'X-Token' => '{{username}}' } } ],
	'... which the hooks name instead, and nothing else is changed');
is( value($node, sprintf q{SELECT count(*) FROM hooks.preview(%s, '{"amount": 1}'::jsonb) WHERE verdict = 'fires'}, literal($hooks[2])),
	1, '... and such a hook fires');

# Who sees no hooks, or not all of them, cannot tell.
($ret, $out, $error) = $node->psql('postgres',
	q{REVOKE SELECT ON stream_hooks FROM "the service"; SET ROLE "the service"; SELECT ok IS NULL, state FROM hooks.check_sync('sync') WHERE item = 'secrets'});
is("$out$error", 't|role "the service" may not see all of public.stream_hooks', 'who may not see hooks is told so');
$node->safe_psql('postgres', 'GRANT SELECT ON stream_hooks TO "the service"');

# ----------
# Slots, and settings that need a restart
# ----------

$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('left_alone', 'pgoutput')});
broken('slot left_alone', 'SELECT', qr/^pgoutput, not active, WAL reserved, \d+ bytes kept, \d+ bytes left$/, verdict => 'depends', after => 'not mentioned');

SKIP:
{
	skip 'the server does not list plugins', 4 unless $lists_plugins;
	$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('other', 'test_decoding')});
	configure($node, { output_plugin_libraries => 'pgoutput' });
	broken('output_plugin_libraries', 'SELECT', qr/^pgoutput: slots of this database use test_decoding$/,
		then => sub { $node->reload; wait_until(sub { value($node, 'SHOW output_plugin_libraries') =~ /test_decoding/ }, 'the setting') });
	is(value($node, q{SELECT count(*) FROM pg_logical_slot_peek_changes('other', NULL, NULL)}) >= 0, 1, '... and the slot can be used');
	$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('other')});
}

configure($node, { max_slot_wal_keep_size => '1MB' });
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('lost', 'test_decoding')});
for (1 .. 4)
{
	$node->safe_psql('postgres', q{SELECT pg_logical_emit_message(false, 'filler', 'x'); SELECT pg_switch_wal()});
}
$node->safe_psql('postgres', 'CHECKPOINT');
broken('slot lost', 'SELECT', qr/^test_decoding, not active, WAL lost/, after => 'not mentioned');

$node->safe_psql('postgres', 'ALTER SYSTEM SET max_slot_wal_keep_size = -1; ');
$node->reload;
wait_until(sub { value($node, 'SHOW max_slot_wal_keep_size') eq '-1' }, 'the setting');
broken('max_slot_wal_keep_size', 'SELECT', qr/^unlimited: /, verdict => 'depends',
	then => sub { $node->reload; wait_until(sub { value($node, 'SHOW max_slot_wal_keep_size') eq '10GB' }, 'the setting') });

for ([ 'wal_level', 'replica', qr/^replica$/ ], [ 'max_replication_slots', 0, qr/^0 of 0 in use$/ ], [ 'max_wal_senders', 0, qr/^0 of 0 in use$/ ])
{
	my ($setting, $bad, $state) = @$_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET $setting = '$bad'");
	$node->restart;
	broken($setting, 'SELECT', $state, then => sub { $node->restart });
}

# ----------
# Tables of the application's own: other names, partitions
# ----------

$node->safe_psql('postgres', 'CREATE DATABASE own');
$node->safe_psql(
	'own', q{
	CREATE SCHEMA "My app";
	CREATE TABLE "My app".stream_hooks (
		id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid NOT NULL, name text NOT NULL, enabled boolean NOT NULL DEFAULT true,
		trigger_type text NOT NULL, conditions jsonb, action_type text NOT NULL, action_config jsonb NOT NULL,
		cooldown_seconds bigint NOT NULL DEFAULT 0, last_triggered_at timestamp, inserted_at timestamp NOT NULL DEFAULT now(),
		updated_at timestamp NOT NULL DEFAULT now());
	CREATE TABLE "My app".stream_hook_logs (
		id uuid NOT NULL DEFAULT gen_random_uuid(), hook_id uuid NOT NULL, user_id uuid NOT NULL, stream_event_id uuid,
		trigger_type text NOT NULL, action_type text NOT NULL, status text NOT NULL, error_message text,
		executed_at timestamp NOT NULL, duration_ms bigint, inserted_at timestamp NOT NULL DEFAULT now()) PARTITION BY RANGE (inserted_at);
	CREATE TABLE "My app".old PARTITION OF "My app".stream_hook_logs FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
	CREATE TABLE "My app".rest PARTITION OF "My app".stream_hook_logs DEFAULT;
	CREATE EXTENSION hooks;
	DROP TABLE public.stream_hook_logs, public.stream_hooks;
	SELECT hooks.setup('My app');
	ALTER TABLE "My app".stream_hooks RENAME TO automations});
is( value($node, q{SELECT hooks.publish('sync')}, 'own'),
	join("\n", map { "ALTER TABLE \"My app\".$_ REPLICA IDENTITY FULL" } 'automations', 'stream_hook_logs', 'old', 'rest')
	  . qq{\nCREATE PUBLICATION sync FOR TABLE "My app".automations, "My app".stream_hook_logs WITH (publish_via_partition_root = true)},
	'tables of other names and with partitions');
execute(check('own')->{'USAGE on schema "My app"'}{remedy}, 'own');
my $said = check('own');
is_deeply([ map { verdict($said->{$_}) } 'USAGE on schema "My app"', 'partitions', 'replica identity of "My app".stream_hook_logs' ],
	[ ('ok') x 3 ], '... are checked');
is(verdict($said->{'primary key of "My app".stream_hook_logs'}), 'not ok', '... a table without a primary key, too');
execute($said->{'primary key of "My app".stream_hook_logs'}{remedy}, 'own');
is(check('own')->{'primary key of "My app".stream_hook_logs'}{state}, 'on id, inserted_at', '... which gets one that partitions permit');
$node->safe_psql('own', q{ALTER PUBLICATION sync SET (publish_via_partition_root = false);
	CREATE TABLE "My app".new PARTITION OF "My app".stream_hook_logs FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')});
$said = check('own');
is(verdict($said->{partitions}), 'not ok', 'changes under the names of partitions are reported');
is($said->{'replica identity of "My app".stream_hook_logs'}{state}, 'not full, of 1 of 4 tables and partitions', '... and a new partition');
execute($said->{$_}{remedy}, 'own') for 'partitions', 'replica identity of "My app".stream_hook_logs';
$said = check('own');
is_deeply([ map { verdict($said->{$_}) } 'partitions', 'replica identity of "My app".stream_hook_logs' ], [ 'ok', 'ok' ], '... and mended');

$node->safe_psql('own', 'DROP TABLE "My app".stream_hook_logs');
for my $call (q{hooks.publish('sync')}, q{hooks.check_sync('sync')})
{
	($ret, $out, $error) = $node->psql('own', "SELECT $call");
	like($error, qr/there is no table of hooks, or of their log, in this database\nHINT:  .*hooks\.setup\(\)/, "$call without the tables");
}

# ----------
# Generated columns: from 18 on, the server refuses updates of a table whose
# replica identity has one that is not published.
# ----------

sub can_update
{
	my ($name) = @_;

	is((value($node, qq{WITH u AS (UPDATE stream_hooks SET cooldown_seconds = cooldown_seconds + 1 RETURNING 1) SELECT count(*) FROM u}, 'generated')),
		1, "$name: the application updates its hooks");
	return;
}

my $asked = $node->pg_version >= 18;
$node->safe_psql('postgres', 'CREATE DATABASE generated');
$node->safe_psql(
	'generated', q{
	CREATE EXTENSION hooks;
	ALTER TABLE stream_hooks ADD COLUMN search text GENERATED ALWAYS AS (lower(name)) STORED;
	INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
		VALUES (gen_random_uuid(), 'X', 'follow', 'webhook', '{"url": "https://example.com/"}')});
my $options = $asked ? ' WITH (publish_generated_columns = stored)' : '';
is(value($node, q{SELECT hooks.publish('sync', logs => false)}, 'generated'),
	"ALTER TABLE public.stream_hooks REPLICA IDENTITY FULL\nCREATE PUBLICATION sync FOR TABLE public.stream_hooks$options", 'generated columns');
can_update('a new publication');
is(verdict(check('generated')->{'generated columns of public.stream_hooks'}), $asked ? 'ok' : 'not mentioned', '... are checked, where that matters');

$node->safe_psql('generated', 'DROP PUBLICATION sync; CREATE PUBLICATION sync');
is(value($node, q{SELECT hooks.publish('sync', logs => false)}, 'generated'),
	($asked ? "ALTER PUBLICATION sync SET (publish_generated_columns = stored)\n" : '') . 'ALTER PUBLICATION sync ADD TABLE public.stream_hooks',
	'... of a publication that is there');
can_update('a publication that is there');

SKIP:
{
	skip 'other versions update all the same', 10 unless $asked;
	$node->safe_psql('generated', 'ALTER PUBLICATION sync SET (publish_generated_columns = none)');
	$said = check('generated')->{'generated columns of public.stream_hooks'};
	is($said->{state}, 'are not published; rows can be neither updated nor deleted', 'generated columns that are not published');
	execute($said->{remedy}, 'generated');
	can_update('the remedy');

	$node->safe_psql('generated', 'CREATE PUBLICATION other FOR TABLE stream_hooks WITH (publish = insert)');
	$node->safe_psql('generated', q{SELECT hooks.publish('sync')});
	can_update('another publication of inserts');
	$node->safe_psql('generated', q{ALTER TABLE stream_hooks REPLICA IDENTITY DEFAULT; ALTER PUBLICATION other SET (publish = 'insert, update')});
	($ret, $out, $error) = $node->psql('generated', q{SELECT hooks.publish('sync')});
	like($error, qr/cannot set the replica identity of table "public.stream_hooks" to FULL\nDETAIL:  Publication "other" leaves out its generated column "search"/,
		'another publication of updates');
	my ($remedy) = $error =~ /^HINT:  (.*;)$/m;
	execute($remedy, 'generated');
	$node->safe_psql('generated', q{SELECT hooks.publish('sync')});
	can_update('its hint');

	(undef, undef, $error) = $node->psql('generated', 'SELECT hooks.become_hub()');
	like($error, qr/table "public.stream_hooks" cannot be published to nodes\nDETAIL:  Its column "search" is generated/, 'a hub');
	$node->safe_psql('generated', q{DROP PUBLICATION other; ALTER TABLE stream_hooks DROP COLUMN search;
		ALTER TABLE stream_hooks ADD COLUMN search text GENERATED ALWAYS AS (lower(name)) VIRTUAL});
	(undef, undef, $error) = $node->psql('generated', q{SELECT hooks.publish('sync')});
	like($error, qr/to FULL\nDETAIL:  Its column "search" is virtual/, 'a virtual column');
	is(check('generated')->{'generated columns of public.stream_hooks'}{state},
		'"search" is virtual; rows can be neither updated nor deleted', '... is reported');
}

finish($node);
done_testing();
