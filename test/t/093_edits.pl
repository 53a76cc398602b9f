# Hooks that are edited, disabled, created and deleted under load: what was
# committed before an event's statement counts for it.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Producer;
use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.timeout' => '10s');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 6);
add_hook($node, user => 2, trigger => 'donation', url => $receiver->url('/ok/load'));
my $edited = add_hook($node, trigger => 'raid', url => $receiver->url('/ok/0'), config => { body_template => 'n={{viewer_count}}' });
my $switched = add_hook($node, user => 3, trigger => 'raid', url => $receiver->url('/ok/on'), config => { body_template => 'n={{viewer_count}}' });
my $waiting = add_hook($node, user => 4, trigger => 'raid', url => $receiver->url('/slow/1000'));

my $producer = Hooks::Producer->start($node, user => 2);
$receiver->wait_for_requests(10);
my $pid = worker_pid($node);

sub raid
{
	my ($user, $n) = @_;

	return sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('raid', '{"raider_name": "x", "viewer_count": "%d"}', '%s')},
	  $n, user_uuid($user);
}

# A thousand edits, each followed by an event that must go where the edit says,
# or where a later one does.
$node->safe_psql(
	'postgres', join ";\n", map {
		my $url = literal($receiver->url("/ok/$_"));

		qq{UPDATE stream_hooks SET action_config = jsonb_set(action_config, '{url}', to_jsonb(${url}::text)) WHERE id = '$edited'},
		  raid(1, $_)
	} 1 .. 1000);

# Switched off and on: events between "off" and "on" do not fire.
$node->safe_psql(
	'postgres', join ";\n", map {
		my $on = $_ % 2 ? 'true' : 'false';

		"UPDATE stream_hooks SET enabled = $on WHERE id = '$switched'", raid(3, $_)
	} 1 .. 300);

# Made, used and deleted.
$node->safe_psql(
	'postgres', join ";\n", map {
		sprintf(
			q{INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)
			VALUES ('%s', 'short-lived', 'raid', 'webhook', %s)}, user_uuid(5), jsonb({ url => $receiver->url('/ok/short') })),
		  raid(5, $_),
		  sprintf(q{DELETE FROM stream_hooks WHERE user_id = '%s'}, user_uuid(5)),
		  raid(5, $_)
	} 1 .. 200);

$producer->stop;
is($producer->errors, '', 'the application has not noticed anything');
wait_idle($node);
load_requests($node, $receiver, 'requests');

is(value($node, q{SELECT count(*) || ' ' || count(DISTINCT id) FROM requests WHERE body ~ '^n=' AND path !~ 'on$'}),
	'1000 1000', '1,000 edits: every event was sent once');
is( value(
		$node, q{SELECT count(*) FROM requests WHERE body ~ '^n=' AND path !~ 'on$'
		AND substring(path FROM '\d+$')::int < substring(body FROM '\d+$')::int}),
	0,
	'... to where the hook said when the event was inserted, or to where it said later');
is(value($node, q{SELECT count(*) FROM requests WHERE path LIKE '%/on' AND substring(body FROM '\d+$')::int % 2 = 0}),
	0, 'nothing was sent for events that were inserted while their hook was disabled');
is(value($node, q{SELECT count(*) FROM requests WHERE path LIKE '%on' GROUP BY id HAVING count(*) > 1}),
	'', 'a hook that is switched off and on sends nothing twice');
cmp_ok(scalar value($node, q{SELECT count(*) FROM requests WHERE path = '/ok/short'}),
	'<=', 200, 'a hook that is deleted does not fire for events after that');
is(value($node, 'SELECT count(*) FROM stream_hook_logs AS l WHERE NOT EXISTS (SELECT FROM stream_hooks AS h WHERE h.id = l.hook_id)'),
	0, '... and leaves no log rows behind');
is( value(
		$node, sprintf q{SELECT count(*) FROM (SELECT id FROM stream_events WHERE user_id = '%s'
		EXCEPT SELECT stream_event_id FROM stream_hook_logs WHERE status = 'success') AS missing}, user_uuid(2)),
	0,
	'the load beside it was delivered');
is(worker_pid($node), $pid, 'the worker was there all the time');

# Of 20 deliveries, 6 are under way (a hook leaves a quarter of its user's
# eight to the user's other hooks) and the rest wait.
sub wait_for_waiting
{
	wait_until(sub { value($node, 'SELECT in_flight = 6 AND waiting = 14 FROM hooks.stat') eq 't' }, 'deliveries that wait');
	return;
}

# Deliveries that wait for their turn go by what the hook says when it comes.
$receiver->take;
$node->safe_psql('postgres', event_rows(20, type => 'raid', user => 4));
wait_for_waiting();
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = %s WHERE id = '%s'},
	jsonb({ url => $receiver->url('/ok/late') }), $waiting);
wait_idle($node);
my @requests = $receiver->take;
is(scalar @requests, 20, 'an edit while deliveries wait: all are sent');
is(scalar(grep { $_->{path} eq '/ok/late' } @requests), 14, '... those that waited by the new hook');

# So they do by its limit of requests under way at once.
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = %s WHERE id = '%s'},
	jsonb({ url => $receiver->url('/slow/1000') }), $waiting);
$node->safe_psql('postgres', event_rows(20, type => 'raid', user => 4));
wait_for_waiting();
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = %s WHERE id = '%s'},
	jsonb({ url => $receiver->url('/slow/100?one'), concurrency => 1 }), $waiting);
wait_idle($node);
my @times = map { $_->{t} } grep { $_->{path} eq '/slow/100?one' } $receiver->take;
is(scalar @times, 14, 'a limit while deliveries wait: all are sent');
is(scalar(grep { $times[$_] - $times[ $_ - 1 ] < 0.09 } 1 .. $#times), 0, '... one after another');

# A change of the table makes everything be read again, too.
$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET action_config = %s WHERE id = '%s'},
	jsonb({ url => $receiver->url('/slow/1000') }), $waiting);
$node->safe_psql('postgres', event_rows(20, type => 'raid', user => 4));
wait_for_waiting();
$node->safe_psql('postgres', 'ALTER TABLE stream_hooks ADD COLUMN note text; ANALYZE stream_hooks');
wait_idle($node);
is(scalar(@requests = $receiver->take), 20, 'a change of the table while deliveries wait: all are sent');

# Disabled or deleted while deliveries wait: nothing new is started.
for my $sql (q{UPDATE stream_hooks SET enabled = false WHERE id = '%s'}, q{DELETE FROM stream_hooks WHERE id = '%s'})
{
	$node->safe_psql('postgres', sprintf q{UPDATE stream_hooks SET enabled = true WHERE id = '%s'}, $waiting);
	$node->safe_psql('postgres', event_rows(20, type => 'raid', user => 4));
	wait_for_waiting();
	$node->safe_psql('postgres', sprintf $sql, $waiting);
	wait_idle($node);
	is(scalar(@requests = $receiver->take), 6, ($sql =~ /^(\w+)/)[0] . ' while deliveries wait: nothing new is started');
}
is(worker_pid($node), $pid, 'the worker was there all the time');

# Deleted right after it has fired: nothing is left to do.
my $gone = add_hook($node, user => 5, url => $receiver->url('/ok/gone'));
for (1 .. 2)
{
	my $event = add_event($node, user => 5);
	wait_until(sub { scalar logs($node, event => $event) }, 'a delivery');
}
$node->safe_psql('postgres', "DELETE FROM stream_hooks WHERE id = '$gone'");
is(value($node, q{SELECT hooks.wait_idle('10 seconds')}), 't', 'a hook that is deleted after it has fired leaves nothing to do');
$receiver->take;

# TRUNCATE of everything, under way.
my $last = add_hook($node, user => 6, url => $receiver->url('/slow/1000'));
$node->safe_psql('postgres', event_rows(20, user => 6));
wait_until(sub { stat($node, 'in_flight') == 6 }, 'requests');
$node->safe_psql('postgres', 'TRUNCATE stream_hooks, stream_hook_logs, stream_events');
wait_idle($node);
is(scalar(@requests = $receiver->take), 6, 'TRUNCATE while deliveries wait: nothing new is started');
is(value($node, 'SELECT count(*) FROM stream_hook_logs'), 0, '... and nothing is logged');
is(worker_pid($node), $pid, 'the worker was there all the time');

finish($node);
done_testing();
