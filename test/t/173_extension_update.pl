# ALTER EXTENSION hooks UPDATE neither rewrites nor empties the application's
# tables, under the eyes of a sync service.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', streaming => 'logical', log_statement => 'none');
my $receiver = Hooks::Receiver->start;

create_application($node);
$node->safe_psql(
	'postgres', q{
	DROP EXTENSION hooks;
	DROP TABLE stream_hook_logs, stream_hooks;
	CREATE EXTENSION hooks VERSION '1.0';
	ALTER TABLE stream_hooks REPLICA IDENTITY FULL;
	ALTER TABLE stream_hook_logs REPLICA IDENTITY FULL;
	CREATE PUBLICATION sync FOR TABLE stream_hooks, stream_hook_logs});
my $hook = add_hook($node, url => $receiver->url('/ok'));
$node->safe_psql(
	'postgres', qq{
	INSERT INTO stream_hook_logs (hook_id, user_id, trigger_type, action_type, status, executed_at)
	SELECT id, user_id, trigger_type, action_type, 'success', now() FROM stream_hooks, generate_series(1, 1000);
	SELECT hooks.pause(hook => '$hook')});

# Files, indexes' files, and what is in the tables.
sub state_of_tables
{
	return value(
		$node, q{
		SELECT string_agg(format('%s %s %s', oid::regclass, relfilenode, relreplident), ', ' ORDER BY oid) FROM pg_class
		WHERE oid IN ('stream_hooks'::regclass, 'stream_hook_logs'::regclass)
			OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN ('stream_hooks'::regclass, 'stream_hook_logs'::regclass))
		UNION ALL SELECT md5(string_agg(h::text, ',' ORDER BY id)) FROM stream_hooks AS h
		UNION ALL SELECT md5(string_agg(l::text, ',' ORDER BY id)) FROM stream_hook_logs AS l});
}

my $before = state_of_tables();
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('sync', 'test_decoding')});
is(value($node, q{SELECT extversion FROM pg_extension WHERE extname = 'hooks'}), '1.0', 'version 1.0 is there');
$node->safe_psql('postgres', 'ALTER EXTENSION hooks UPDATE');
isnt(value($node, q{SELECT extversion FROM pg_extension WHERE extname = 'hooks'}), '1.0', '... and updated');
is(state_of_tables(), $before, 'the tables are as they were, file by file');
is( value($node, q{SELECT count(*) FROM pg_logical_slot_get_changes('sync', NULL, NULL) WHERE data LIKE 'table public.%'}),
	0, 'nothing of it is in the stream');
is(value($node, q{SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_publication_tables WHERE pubname = 'sync'}),
	'stream_hook_logs stream_hooks', 'the publication is as it was');
is(value($node, q{SELECT hooks.publish('sync')}), '', '... and needs nothing');
is(value($node, "SELECT hooks.resume(hook => '$hook')"), 't', 'a pause from before can be ended');
add_event($node);
wait_idle($node);
is_deeply([ map { $_->{path} } $receiver->requests ], ['/ok'], 'hooks fire');

# What is updated is as what is new, for a publication FOR ALL TABLES.
is(value($node, q{SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
		WHERE relnamespace = 'hooks'::regnamespace AND relkind = 'r' AND relreplident = 'f'}),
	'installation paused', 'tables without a primary key have a replica identity');

finish($node);
done_testing();
