# Dumps: everything on the tables comes back, in every format; what the
# original has queued is not sent again by the copy; the copy fires by itself.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', wal_level => 'logical', max_worker_processes => 20, 'hooks.timeout' => '60s');
my $receiver = Hooks::Receiver->start;
my $dir = $PostgreSQL::Test::Utils::tmp_check;

$node->safe_psql('postgres', 'CREATE ROLE tenant; CREATE ROLE owner; CREATE DATABASE app');
create_application($node, 'app');
add_users($node, 2, 20, 'app');

# Everything that an application may put on its tables.
$node->safe_psql(
	'app', q{
	ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON stream_hooks TO tenant USING (user_id = current_setting('app.user_id')::uuid);
	ALTER TABLE stream_hook_logs ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON stream_hook_logs FOR SELECT TO tenant USING (user_id = current_setting('app.user_id')::uuid);
	GRANT SELECT, INSERT, UPDATE, DELETE ON stream_hooks TO tenant;
	GRANT SELECT ON stream_hook_logs TO tenant;
	ALTER TABLE stream_hook_logs REPLICA IDENTITY FULL;
	CREATE PUBLICATION sync FOR TABLE stream_hooks, stream_hook_logs;
	CREATE INDEX by_status ON stream_hook_logs (status) WHERE status = 'failure';
	ALTER TABLE stream_hooks ADD COLUMN note text DEFAULT 'none', ADD CONSTRAINT short CHECK (length(note) < 100);
	CREATE TABLE audit (hook uuid, at timestamptz DEFAULT now());
	CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO public.audit VALUES (NEW.hook_id); RETURN NULL; END';
	CREATE TRIGGER audit AFTER INSERT ON stream_hook_logs FOR EACH ROW EXECUTE FUNCTION audit();
	CREATE VIEW failures AS SELECT * FROM stream_hook_logs WHERE status = 'failure';
	COMMENT ON TABLE stream_hooks IS 'automations';
	CREATE TABLE more_events (id uuid, who uuid, what text, details jsonb) PARTITION BY HASH (id);
	CREATE TABLE more_events_0 PARTITION OF more_events FOR VALUES WITH (MODULUS 1, REMAINDER 0);
	SELECT hooks.attach('more_events', user_column => 'who', type_column => 'what', data_column => 'details')});
$node->safe_psql('app', sprintf(q{SELECT hooks.set_secret(%1$s, 'kick', 'very-secret');
	INSERT INTO hooks.chat_accounts (user_id, platform, channel_id, token) VALUES (%1$s, 'kick', '1', 'kick')}, literal(user_uuid(1))));
add_hook($node, user => $_, name => "hook $_", url => $receiver->url("/ok/$_"), database => 'app',
	config => { body_template => 'to {{username}}' })
  for 1 .. 19;
add_hook($node, user => 20, url => $receiver->url('/hang'), database => 'app', config => { body_template => 'hung' });
add_event($node, user => $_, database => 'app') for 1 .. 19;
wait_idle($node, 'app');
is(scalar(my @first = $receiver->take), 19, 'the original fires');

# Work that is under way and work that waits, of a user whose endpoint hangs.
$node->safe_psql('app', event_rows(20, user => 20));
wait_until(sub { stat($node, 'in_flight', 'app') == 6 }, 'requests that hang');
wait_until(sub { value($node, 'SELECT bool_and(last_triggered_at IS NOT NULL) FROM stream_hooks', 'app') eq 't' },
	'last_triggered_at of the hook');
is(stat($node, 'waiting', 'app'), 14, 'the original has something under way and something waiting');
$receiver->take;

sub contents
{
	my ($database) = @_;

	return {
		map {
			$_ => value($node, "SELECT count(*) || ' ' || md5(string_agg(t::text, '|' ORDER BY t::text)) FROM $_ AS t", $database)
		} qw(users stream_events stream_hooks stream_hook_logs audit)
	};
}

sub schema
{
	my ($database) = @_;
	my ($dump) = run_command([ 'pg_dump', '--schema-only', '-d', $node->connstr($database) ]);

	$dump =~ s/^\\(un)?restrict.*\n//mg;
	return $dump;
}

my $original_contents = contents('app');
my $original_schema = schema('app');
like($original_schema, qr/CREATE POLICY own ON public\.stream_hooks/, 'the dump has what it should have');
like($original_schema, qr/CREATE TRIGGER hooks_event/, '... our triggers as well');

# How dumps are made and restored.
my %ways = (
	custom => [
		[ 'pg_dump', '-Fc', '-f', "$dir/app.custom" ],
		[ 'pg_restore', '-j2', "$dir/app.custom" ]
	],
	directory => [
		[ 'pg_dump', '-Fd', '-j2', '-f', "$dir/app.directory" ],
		[ 'pg_restore', '-j2', "$dir/app.directory" ]
	],
	plain => [
		[ 'pg_dump', '-f', "$dir/app.sql" ],
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/app.sql" ]
	],
	one_transaction => [
		[ 'pg_dump', '-Fc', '-f', "$dir/app.again" ],
		[ 'pg_restore', '--single-transaction', "$dir/app.again" ]
	],
	row_security => [
		[ 'pg_dump', '-Fc', '--enable-row-security', '-f', "$dir/app.rls" ],
		[ 'pg_restore', '--enable-row-security', "$dir/app.rls" ]
	]);

for my $way (sort keys %ways)
{
	my ($dump, $restore) = @{ $ways{$way} };
	my $copy = "copy_$way";

	$node->safe_psql('postgres', "CREATE DATABASE $copy");
	for my $command ([ @$dump, '-d', $node->connstr('app') ], [ @$restore, '-d', $node->connstr($copy) ])
	{
		my ($stdout, $stderr);

		ok(IPC::Run::run($command, '>', \$stdout, '2>', \$stderr), "$way: $command->[0]") or diag $stderr;
		is($stderr, '', "$way: $command->[0] says nothing");
	}
	is(schema($copy), $original_schema, "$way: the schema is the same");
	is_deeply(contents($copy), $original_contents, "$way: the rows are the same");
	is( value(
			$node, q{SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
			AND objid IN ('stream_hooks'::regclass, 'stream_hook_logs'::regclass)}, $copy),
		0,
		"$way: the tables are no members of the extension");

	is(value($node, 'SELECT (SELECT count(*) FROM hooks.secret) + (SELECT count(*) FROM hooks.chat_accounts)', $copy),
		0, "$way: no secret, and no account");

	# The copy is a database of its own.
	add_event($node, user => 7, data => { username => $way }, database => $copy);
	wait_idle($node, $copy);
	is_deeply([ map { "$_->{path} $_->{body}" } $receiver->take ], ["/ok/7 to $way"], "$way: the copy fires, its own event only");
	$node->safe_psql($copy,
		q{INSERT INTO more_events VALUES (gen_random_uuid(), '} . user_uuid(8) . q{', 'follow', '{"username": "more"}')});
	wait_idle($node, $copy);
	is_deeply([ map { $_->{path} } $receiver->take ], ['/ok/8'], "$way: other event tables as well");
	is_deeply(contents('app'), $original_contents, "$way: the original has not noticed");
	is(value($node, 'SELECT count(*) FROM audit', $copy) - value($node, 'SELECT count(*) FROM audit', 'app'),
		2, "$way: the application's own trigger on the log fires");
	my ($result, $stdout, $stderr) = $node->psql($copy, 'SELECT hooks.setup()');
	is("$result $stderr", '0 ', "$way: setup() finds nothing to do");
	(undef, undef, $stderr) = $node->psql($copy, q{UPDATE stream_hooks SET trigger_type = 'nothing'});
	like($stderr, qr/ERROR/, "$way: hooks are validated");
}

# The original goes on as before: what hung is sent once more at most by it,
# and by nobody else.
$node->safe_psql('app', 'UPDATE stream_hooks SET action_config = action_config || '
	  . jsonb({ url => $receiver->url('/ok/20') }) . q{ WHERE user_id = '} . user_uuid(20) . q{'});
my $pid = worker_pid($node, 'app');
$node->safe_psql('app', "SELECT pg_terminate_backend($pid)");
wait_idle($node, 'app');
my @late = $receiver->take;
is(scalar(grep { $_->{body} eq 'hung' } @late), 20, 'what the original had queued is sent by it, once');
is(scalar @late, 20, '... and nothing else');
is(value($node, q{SELECT count(*) FROM stream_hook_logs WHERE status = 'success'}, 'app'), 39, '... and logged');
wait_idle($node, "copy_$_") for sort keys %ways;
is_deeply([ $receiver->take ], [], 'the copies are silent');

finish($node, qr/terminating background worker/);
done_testing();
