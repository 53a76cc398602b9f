# DROP EXTENSION keeps the application's tables and rows, also under load, and
# CREATE EXTENSION takes them up again.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.timeout' => '60s');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 3);
add_hook($node, url => $receiver->url, config => { body_template => 'n={{username}}' });
add_hook($node, user => 2, trigger => 'donation', url => $receiver->url('/slow/20'));
add_hook($node, user => 3, url => $receiver->url('/hang'));
add_event($node, data => { username => 'before' });
wait_idle($node);
is_deeply([ map { $_->{body} } $receiver->take ], ['n=before'], 'an event before');

# Under load, and with a request that hangs.
my $producer = Hooks::Producer->start($node, user => 2, rate => 200);
add_event($node, user => 3);
wait_until(sub { scalar(my @seen = grep { $_->{path} eq '/hang' } $receiver->requests) }, 'a request that hangs');
$receiver->wait_for_requests(100);

my $start = time;
$node->safe_psql('postgres', 'DROP EXTENSION hooks');
cmp_ok(time - $start, '<', 3, 'DROP EXTENSION does not wait for requests');
wait_until(sub { worker_pid($node) eq '' }, 'the worker to leave');

is( value(
		$node, q{SELECT string_agg(tgrelid::regclass || ' ' || tgname, ', ') FROM pg_trigger
		WHERE NOT tgisinternal}),
	'',
	'our triggers are gone');
is(value($node, q{SELECT count(*) FROM pg_namespace WHERE nspname = 'hooks'}), 0, 'our schema is gone');
is(value($node, 'SELECT count(*) FROM stream_hooks'), 3, 'the hooks are still there');
cmp_ok(value($node, 'SELECT count(*) FROM stream_hook_logs'), '>=', 1, 'the logs are still there');

my $events = value($node, 'SELECT count(*) FROM stream_events');
wait_until(sub { value($node, 'SELECT count(*) FROM stream_events') > $events + 100 }, 'more events');
$producer->stop;
is($producer->errors, '', 'the application has not noticed');

my $seen = scalar(my @until_now = $receiver->requests);
add_event($node, data => { username => 'meanwhile' });
is( value($node, 'SELECT count(*) FROM stream_events WHERE data @> \'{"username": "meanwhile"}\''),
	1, 'events can be inserted');

# And back again.
$node->safe_psql('postgres', 'CREATE EXTENSION hooks');
wait_idle($node);
add_event($node, data => { username => 'after' });
wait_idle($node);
is_deeply(
	[ map { $_->{body} } (my @all = $receiver->requests)[ $seen .. $receiver->requests - 1 ] ],
	['n=after'],
	'after CREATE EXTENSION hooks fire again, for events from then on');
is( value(
		$node, q{SELECT count(*) FROM pg_depend WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
		AND objid IN ('stream_hooks'::regclass, 'stream_hook_logs'::regclass)}),
	0,
	'the tables are no members of the new extension');

# DROP of the tables, too.
$node->safe_psql('postgres', 'DROP EXTENSION hooks; DROP TABLE stream_hook_logs, stream_hooks; CREATE EXTENSION hooks');
is(value($node, 'SELECT count(*) FROM stream_hooks'), 0, 'dropped tables are made anew');

# Without CASCADE, in one transaction that is rolled back: nothing happened.
add_hook($node, url => $receiver->url, config => { body_template => 'n={{username}}' });
$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION hooks; ROLLBACK');
$receiver->take;
add_event($node, data => { username => 'still here' });
wait_idle($node);
is_deeply([ map { $_->{body} } $receiver->take ], ['n=still here'], 'a DROP EXTENSION that is rolled back changes nothing');

# Whatever the application is in the middle of, it goes on: events that are
# inserted and not committed, hooks that are being edited.
for my $sql (
	q{INSERT INTO stream_events (user_id, type, data) VALUES ('} . user_uuid(1) . q{', 'follow', '{"username": "in between"}')},
	q{UPDATE stream_hooks SET name = name || '.'})
{
	my $session = $node->background_psql('postgres');
	my $dropping = $node->background_psql('postgres');

	$session->query_safe("BEGIN; $sql");
	$dropping->query_until(qr/dropping/, "\\echo dropping\nDROP EXTENSION hooks;\n\\echo dropped\n");
	wait_until(
		sub {
			value($node, q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP EXTENSION%' AND wait_event_type = 'Lock'}) == 1;
		},
		'DROP EXTENSION to wait for the transaction');
	my ($output, $failed) = $session->query('COMMIT');
	is($failed, 0, 'a transaction that DROP EXTENSION waits for can commit');
	unlike($session->{stderr}, qr/deadlock/, '... and is no victim of a deadlock');
	$dropping->query_until(qr/dropped/, '');
	wait_until(sub { value($node, q{SELECT count(*) FROM pg_extension WHERE extname = 'hooks'}) == 0 }, 'the extension to be dropped');
	unlike($dropping->{stderr}, qr/deadlock/, '... nor is DROP EXTENSION');
	$_->quit for $session, $dropping;
	$node->safe_psql('postgres', 'CREATE EXTENSION hooks');
}

# Who may not drop it locks nothing.
$node->safe_psql('postgres', 'CREATE ROLE stranger');
my $session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; INSERT INTO stream_events (user_id, type, data) VALUES ('} . user_uuid(1) . q{', 'follow', '{}')});
my ($status, undef, $stderr) = $node->psql('postgres', 'SET ROLE stranger; DROP EXTENSION hooks', timeout => 60);
like($stderr, qr/must be owner of extension hooks/, 'a stranger is told at once that he may not drop the extension');
$session->query_safe('ROLLBACK');
$session->quit;

finish($node);
done_testing();
