# Two tenants under row level security see nothing of each other: not through
# tables, views, functions, counters, messages, plans or statistics.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my $node = hooks_node('main', 'hooks.email_rate' => 0, 'hooks.max_in_flight_per_user' => 4);
my $calls = 0;

create_application($node);
add_users($node, 2, 3);
my ($ann, $bob) = map { user_uuid($_) } 1, 2;

# The recipe of doc/security.md.
my $recipe = slurp_file('doc/security.md');
my ($policies) = $recipe =~ /^```sql\n(CREATE ROLE app.*?)^```$/ms or die 'doc/security.md has no recipe';
$node->safe_psql('postgres', $policies);

# As a tenant: exit code, output and messages, as much of them as there is.
sub as_tenant
{
	my ($user, $sql) = @_;
	my ($stdout, $stderr);
	my $status = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSET client_min_messages = debug1;\nSET ROLE app;\nSET app.user_id = '$user';\n$sql",
		stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);

	$calls++;
	$stderr =~ s/^psql:<stdin>:\d+: //mg;
	return { status => $status, all => "$stdout\n$stderr", stdout => $stdout, stderr => $stderr };
}

# Everything there can be of Bob: in each text "Bobs" is a mark.
my $fails = $receiver->url('/status/500?Bobs-url');
my $refused = $receiver->url('/status/400?Bobs-url');
my %hook = (
	works => add_hook($node, user => 2, name => 'Bobs works', url => $receiver->url('/ok?Bobs-url'), config => { headers => { 'X-Key' => 'Bobs-key' } }),
	dead => add_hook($node, user => 2, name => 'Bobs dead', trigger => 'raid', url => $refused),
	retried => add_hook($node, user => 2, name => 'Bobs retried', trigger => 'subscription', attempts => undef, url => $fails, config => { retry_schedule => [ 3600 ] }),
	paused => add_hook($node, user => 2, name => 'Bobs paused', trigger => 'donation', url => $refused),
	ann => add_hook($node, user => 1, name => 'Anns', url => $receiver->url('/ok')));
$node->safe_psql('postgres', "SELECT hooks.pause(hook => '$hook{paused}')");
my %event = map { $_->[0] => add_event($node, user => 2, type => $_->[1], data => { username => 'Bobs viewer', message => 'Bobs text', amount => 5 }) }
	[ works => 'follow' ], [ dead => 'raid' ], [ retried => 'subscription' ], [ paused => 'donation' ];
add_event($node, user => 1);
wait_idle($node);
$node->safe_psql('postgres', "SELECT hooks.set_secret('$bob', 'bobs_name', 'Bobs-secret')");
$node->safe_psql('postgres', "INSERT INTO hooks.chat_accounts (user_id, platform, channel_id, token, extra) VALUES ('$bob', 'youtube', 'Bobs-channel', 'bobs_name', '{}')");
$node->safe_psql('postgres', "INSERT INTO hooks.message (user_id, name, stream, message_id, event_id, event_time, posted_at, changed_at) SELECT '$bob', 'Bobs', 'Bobs', 'Bobs', gen_random_uuid(), now(), now(), now()");
$node->safe_psql('postgres', 'ANALYZE');

my ($retried) = value($node, "SELECT delivery_id FROM hooks.pending WHERE hook_id = '$hook{retried}'");
my ($dead) = value($node, "SELECT delivery_id FROM hooks.dead WHERE hook_id = '$hook{dead}'");
my @marks = ('Bobs', 'bobs_name', $bob, $retried, $dead, values %event, map { $hook{$_} } qw(works dead retried paused));
my $mark = join '|', map { quotemeta } @marks;

ok($retried && $dead, 'something of Bob waits, something was given up');

# Relations.

my @relations = split /\n/, value($node, q{
	SELECT c.oid::regclass FROM pg_class AS c
	WHERE (c.relnamespace = 'hooks'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'S'))
		OR c.oid IN ('stream_hooks'::regclass, 'stream_hook_logs'::regclass, 'stream_events'::regclass) ORDER BY 1});
my %readable;

for my $relation (@relations)
{
	my $result = as_tenant($ann, "SELECT * FROM $relation");

	unlike($result->{all}, qr/$mark/, "$relation shows nothing of Bob to Ann");
	$readable{$relation} = 1 if $result->{stderr} !~ /permission denied/;
	next if !$readable{$relation};

	# A function that is cheap, and tells what it is given, is tried before or behind the policy.
	$result = as_tenant($ann, qq{
		CREATE FUNCTION pg_temp.leak(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS \$\$ BEGIN RAISE NOTICE '%', \$1; RETURN true; END \$\$;
		SELECT count(*) FROM $relation AS r WHERE pg_temp.leak(r::text);
		EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM $relation AS r WHERE pg_temp.leak(r::text);});
	unlike($result->{all}, qr/$mark/, '... nor to a function of hers, nor in a plan');
}
is_deeply([ sort keys %readable ],
	[ sort qw(hooks.dead hooks.event_tables hooks.executors hooks.hook_health hooks.joined hooks.messages hooks.pending hooks.stream_tables stream_events stream_hook_logs stream_hooks) ],
	'what a tenant may read at all');
like(as_tenant($bob, 'SELECT * FROM hooks.pending')->{stdout}, qr/$retried/, 'Bob sees his own: what waits');
like(as_tenant($bob, 'SELECT * FROM hooks.dead')->{stdout}, qr/Bobs viewer/, '... what was given up');
like(as_tenant($bob, 'SELECT * FROM hooks.hook_health')->{stdout}, qr/Bobs dead/, '... how his hooks fare');
like(as_tenant($bob, 'SELECT * FROM stream_hook_logs')->{stdout}, qr/HTTP 400/, '... and the log');

# Functions: what is of Bob is, to Ann, as what is nowhere.

my $nowhere = '99999999-9999-4999-8999-999999999999';
my %arguments = (
	interval => '1 day', timestamptz => '2020-01-01', jsonb => '{"username": "Ann", "amount": 1}', text => 'follow',
	int4 => 5, regclass => 'stream_hooks', inet => '192.0.2.1', bool => 'false', bytea => '\x00', name => 'hooks_changed', json => '{}',
	uuid => $nowhere, 'text[]' => '{}', 'uuid[]' => "{$nowhere}");
my @theirs = ($retried, $dead, $bob, (map { $hook{$_} } qw(works dead retried paused)), values %event);
my @functions = rows($node, q{
	SELECT p.oid::regprocedure::text AS signature, p.proname AS name, p.prorettype = 'trigger'::regtype AS trigger,
		   array_to_json(ARRAY(SELECT CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN e.typname || '[]' ELSE t.typname END
							   FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, n) JOIN pg_type AS t ON t.oid = a.type
							   LEFT JOIN pg_type AS e ON e.oid = t.typelem ORDER BY a.n)) AS types,
		   has_function_privilege('app', p.oid, 'EXECUTE') AS callable
	FROM pg_proc AS p WHERE p.pronamespace = 'hooks'::regnamespace ORDER BY 1});
my $tried = 0;

cmp_ok(scalar @functions, '>', 50, 'functions of the extension');
for my $function (@functions)
{
	next if $function->{trigger};
	my @types = @{ $function->{types} };
	my $first = (grep { $types[$_] =~ /uuid/ } 0 .. $#types)[0];

	if (!$function->{callable})
	{
		my $call = "SELECT * FROM hooks.$function->{name}(" . join(', ', map { literal($arguments{$_}) . "::$_" } @types) . ')';

		like(as_tenant($ann, $call)->{stderr}, qr/permission denied for function/, "$function->{signature}: not for a tenant");
		next;
	}
	next if !defined $first;
	for my $id (@theirs)
	{
		my ($with, $without) = map {
			my $given = $_;
			my @values = map {
				my $type = $types[$_];
				my $value = $_ == $first ? ($type eq 'uuid[]' ? "{$given}" : $given)
					: $type eq 'text' && $function->{name} eq 'backtest_rows' ? 'SELECT NULL::uuid, NULL::text, NULL::timestamptz, NULL::text, NULL::jsonb WHERE false'
					: $arguments{$type};
				defined $value ? literal($value) . "::$type" : "NULL::$type";
			} 0 .. $#types;
			as_tenant($ann, "SELECT * FROM hooks.$function->{name}(" . join(', ', @values) . ')')->{all} =~ s/$given|$nowhere/ID/gr;
		} $id, $nowhere;

		$tried++;
		is($with, $without, "$function->{signature} says the same of what is Bob's and of what is nowhere") or diag "$id";
	}
}
cmp_ok($tried, '>', 100, 'calls with something of Bob');

# What a tenant writes.

my %writes = (
	"UPDATE stream_hooks SET enabled = false WHERE id = '$hook{works}' RETURNING 1" => qr/^\n/,
	"DELETE FROM stream_hooks WHERE id = '$hook{works}' RETURNING 1" => qr/^\n/,
	"INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config) VALUES ('$bob', 'x', 'follow', 'webhook', '{\"url\": \"https://example.com/\"}')" => qr/row-level security policy/,
	"UPDATE stream_hooks SET user_id = '$bob' WHERE id = '$hook{ann}'" => qr/row-level security policy/,
	"INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{}', '$bob')" => qr/row-level security policy/,
	"INSERT INTO stream_hook_logs (hook_id, user_id, trigger_type, action_type, status, executed_at) VALUES ('$hook{works}', '$bob', 'follow', 'webhook', 'success', now())" => qr/permission denied|row-level security policy/);
for my $write (sort keys %writes)
{
	my $result = as_tenant($ann, $write);

	like($result->{all}, $writes{$write}, $write);
	unlike($result->{all} =~ s/$bob|$hook{works}//gr, qr/$mark/, '... and says nothing of Bob');
}
for my $call ("hooks.cancel('$retried')", "hooks.redeliver('$dead')", "hooks.pause(hook => '$hook{works}')", "hooks.resume(hook => '$hook{paused}')", "hooks.replay('$event{works}')",
	"hooks.pause(user_id => '$bob')", "hooks.test('$hook{works}')", "hooks.redeliver('$hook{dead}', interval '1 day')")
{
	as_tenant($ann, "SELECT * FROM $call");
}
wait_idle($node);
is(value($node, "SELECT count(*) FROM hooks.pending WHERE delivery_id = '$retried'"), 1, 'what of Bob waits still does');
is(value($node, "SELECT count(*) FROM hooks.dead WHERE delivery_id = '$dead'"), 1, 'what was given up was not sent again');
is(value($node, "SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM hooks.hook_health WHERE user_id = '$bob'"),
	'Bobs dead failing, Bobs paused paused, Bobs retried failing, Bobs works well', 'his hooks are as they were');

# What the server shows of the worker, while it sends.

my $slow = add_hook($node, user => 2, name => 'Bobs slow', trigger => 'chat_message', url => $receiver->url('/slow/3000?Bobs-url'));
add_event($node, user => 2, type => 'chat_message', data => { username => 'Bobs viewer' });
wait_until(sub { value($node, "SELECT in_flight FROM hooks.executors WHERE user_id = '$bob'") }, 'a request under way');
my $shown = value($node, q{SELECT string_agg(a::text, E'\n') FROM pg_stat_activity AS a WHERE backend_type LIKE 'hooks%'});
like($shown, qr/hooks worker/, 'pg_stat_activity has the worker');
unlike($shown, qr/$mark/, '... and nothing of what it sends, even for a superuser');
unlike(as_tenant($ann, 'SELECT * FROM hooks.executors')->{all}, qr/$mark/, 'Ann sees no request of Bob under way');
unlike(as_tenant($ann, 'SELECT * FROM hooks.under_way()')->{all}, qr/$mark/, '... in no way');
unlike(as_tenant($ann, 'SELECT * FROM pg_stats; SELECT * FROM pg_stat_activity; SELECT * FROM pg_locks; SELECT * FROM pg_stat_user_tables')->{all}, qr/$mark/,
	'nor does she in statistics');
wait_idle($node);
unlike(slurp_file($node->logfile) =~ s/^.*(?:STATEMENT|statement:).*$//mgr, qr/Bobs|bobs_name/, 'nothing of what Bob has is in the server log');

# Row level security that hides rows from their owner is said, not obeyed in silence.
my $before = -s $node->logfile;
$node->safe_psql('postgres', 'CREATE ROLE keeper; GRANT CREATE ON SCHEMA public TO keeper; ALTER TABLE stream_hook_logs OWNER TO keeper; ALTER TABLE stream_hook_logs FORCE ROW LEVEL SECURITY');
my $event = add_event($node, user => 1);
wait_until(sub { slurp_file($node->logfile, $before) =~ /stream_hook_logs.*\n?.*(?:row.level security|policy)/ }, 'FORCE ROW LEVEL SECURITY on the log is reported', 20);
$node->safe_psql('postgres', 'ALTER TABLE stream_hook_logs NO FORCE ROW LEVEL SECURITY');
add_event($node, user => 1);
wait_until(sub { value($node, "SELECT count(*) FROM stream_hook_logs WHERE user_id = '$ann'") > 1 }, 'the log is written again', 20);

note "inputs: $calls";
finish($node, qr/stream_hook_logs/, qr/row-level security/);
done_testing();
