# The languages of hooks, as the worker speaks them.

use strict;
use warnings;
use utf8;

use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;

create_application($node);

# Chance: drawn per event, a share of them, and as hooks.matches() would for
# the same hook and event.
my $events = 4000;
my $hook = add_hook($node, url => $receiver->url('/ok/chance'), conditions => { chance => 25 });
$node->safe_psql('postgres', sprintf q{
	INSERT INTO stream_events (type, data, user_id)
	SELECT 'follow', '{"username": "x"}', '%s' FROM generate_series(1, %d)}, user_uuid(1), $events);
wait_idle($node);
my $fired = log_statuses($node, hook => $hook)->{success};

# Eight standard deviations from a quarter.
cmp_ok(abs($fired - $events / 4), '<', 8 * sqrt($events * 0.25 * 0.75), "a chance of 25 % fires for $fired of $events");
is( value(
		$node, sprintf q{
		SELECT count(*) FROM stream_events AS e, hooks.preview('%s', e.id) AS p
		WHERE (p.verdict = 'fires') <> EXISTS (
			SELECT FROM stream_hook_logs AS l WHERE l.stream_event_id = e.id AND l.status = 'success')}, $hook),
	0,
	'... for those of which preview says so');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# Conditions of several kinds, with commands whose arguments are in the message.
$hook = add_hook(
	$node,
	trigger => 'chat_message',
	url => $receiver->url('/ok/command'),
	conditions => {
		command => [ '!so', '!shoutout' ],
		roles => ['moderator'],
		'$not' => { users => 'nightbot' },
		'data.badges' => { '$contains' => 'vip' }
	},
	config => { body_template => '{{args}}|{{arg1 | lower}}|{{arg2 | default:"-"}}' });
for (
	[ '!so  @Someone now', 'mod', JSON::PP::true, ['vip'] ],
	[ '!SHOUTOUT Ann', 'mod', JSON::PP::true, [ 'vip', 'x' ] ],
	[ '!so Ann', 'mod', JSON::PP::false, ['vip'] ],
	[ '!sooo Ann', 'mod', JSON::PP::true, ['vip'] ],
	[ '!so Ann', 'NightBot', JSON::PP::true, ['vip'] ],
	[ '!so Ann', 'mod', JSON::PP::true, ['x'] ])
{
	my ($message, $name, $moderator, $badges) = @$_;

	add_event($node, type => 'chat_message',
		data => { message => $message, username => $name, is_moderator => $moderator, badges => $badges });
}
wait_idle($node);
is_deeply(
	[ sort map { $_->{body} } grep { $_->{path} eq '/ok/command' } $receiver->requests ],
	[ '@Someone now|@someone|now', 'Ann|ann|-' ],
	'a command fires for those who may use it');
is_deeply(log_statuses($node, hook => $hook), { success => 2, skipped_condition => 4 }, '... and the log says so');

# A body that is JSON: it stays so, with the same keys, whatever a viewer is called.
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
add_hook(
	$node,
	trigger => 'donation',
	url => $receiver->url('/ok/body'),
	config => {
		body => {
			text => '{{username}} gave {{amount | money}} at {{data.at | date:"HH24:MI":"Asia/Tokyo"}}',
			list => [ '{{username | upper}}', { 'a "key"' => '{{event.type}} {{hook.name}}' } ],
			amount => '{{amount | json}}',
			number => 5
		}
	});
my @names = ('"}, "x": "', '{{amount}}', "\\", "line\nbreak", 'Zoë "Z" \\u0022', '</script>');
for my $name (@names)
{
	add_event($node, type => 'donation',
		data => { donor_name => $name, amount => '10.5', currency => 'EUR', at => '2026-03-01 12:34:56' });
}
wait_idle($node);
my @bodies = map { JSON::PP->new->decode($_->{body}) } grep { $_->{path} eq '/ok/body' } $receiver->requests;
is(scalar @bodies, scalar @names, 'every one is sent');
is_deeply(
	[ sort { $a->{text} cmp $b->{text} } @bodies ],
	[
		sort { $a->{text} cmp $b->{text} }
		  map { {
				text => "$_ gave \x{20ac}10.50 at 21:34",
				list => [ uc $_, { 'a "key"' => 'donation a hook' } ],
				amount => 10.5,
				number => 5
			} } @names
	],
	'... and says what the template says');
is($receiver->requests && (grep { $_->{path} eq '/ok/body' } $receiver->requests)[0]{headers}{'content-type'},
	'application/json', '... as JSON');

finish($node);
done_testing();
