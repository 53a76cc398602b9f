# Dumps in parts, of the whole server, and into a server that has not loaded
# the library: what is restored fires for its own events only.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $without = hooks_node('without', shared_preload_libraries => undef);
my $receiver = Hooks::Receiver->start;
my $dir = $PostgreSQL::Test::Utils::tmp_check;

$node->safe_psql('postgres', 'CREATE DATABASE app; CREATE DATABASE parts');
create_application($node, 'app');
add_hook($node, url => $receiver->url, config => { body_template => 'n={{username}}' }, database => 'app');
add_event($node, data => { username => 'original' }, database => 'app');
wait_idle($node, 'app');
is_deeply([ map { $_->{body} } $receiver->take ], ['n=original'], 'the original fires');

sub restore
{
	my ($target, $database, $file) = @_;

	return command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $target->connstr($database) ],
		"$file is restored");
}

# The schema, then the rows, as migrations between servers do it.
system_or_bail('pg_dump', '--schema-only', '-f', "$dir/schema.sql", '-d', $node->connstr('app'));
system_or_bail('pg_dump', '--data-only', '--disable-triggers', '-f', "$dir/data.sql", '-d', $node->connstr('app'));
restore($node, 'parts', "$dir/$_.sql") for qw(schema data);
for my $table (qw(users stream_events stream_hooks stream_hook_logs))
{
	is(value($node, "SELECT count(*) FROM $table", 'parts'), value($node, "SELECT count(*) FROM $table", 'app'), "rows of $table");
}
wait_idle($node, 'parts');
is_deeply([ $receiver->take ], [], 'what was restored fires nothing');
add_event($node, data => { username => 'parts' }, database => 'parts');
wait_idle($node, 'parts');
is_deeply([ map { $_->{body} } $receiver->take ], ['n=parts'], '... and what is new does');

# Everything, into a server that has not loaded the library.
system_or_bail('pg_dumpall', '--no-role-passwords', '-f', "$dir/all.sql", '-d', $node->connstr('postgres'));
my ($stdout, $stderr);
IPC::Run::run([ 'psql', '-X', '-q', '-f', "$dir/all.sql", '-d', $without->connstr('postgres') ], '>', \$stdout, '2>', \$stderr);
is(join("\n", grep { /ERROR/ && !/role "[^"]+" already exists/ } split /\n/, $stderr), '', 'pg_dumpall into a server without the library');
like($stderr, qr/WARNING:  library "hooks" is not loaded by the server/, '... which warns');
add_event($without, data => { username => 'queued' }, database => 'app');
is_deeply([ $receiver->take ], [], '... sends nothing');
$without->append_conf('postgresql.conf', "shared_preload_libraries = 'hooks'\n");
$without->restart;
wait_idle($without, 'app');
is_deeply([ map { $_->{body} } $receiver->take ], ['n=queued'], '... until it has loaded it');

finish($_) for $node, $without;
done_testing();
