# A webhook's request, as the receiver sees it: method, headers, body.

use strict;
use warnings;
use utf8;

use Encode qw(encode_utf8);
use JSON::PP ();
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;
my $uuid = qr/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

create_application($node);

# Adds a hook, inserts one event for it, removes the hook; returns the request
# and the ids.
sub deliver
{
	my (%what) = @_;
	my $type = $what{type} || 'donation';
	my $hook = add_hook(
		$node,
		name => $what{name},
		trigger => $type,
		config => { url => $receiver->url($what{path} || '/ok'), %{ $what{config} || {} } });
	my $event = add_event($node, type => $type, data => $what{data}, platform => $what{platform});
	my @requests;

	wait_idle($node);
	@requests = $receiver->take;
	is(scalar @requests, 1, "$what{what}: one request");
	is(log_statuses($node, hook => $hook)->{success}, 1, "$what{what}: success");
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	return ($requests[0], $hook, $event);
}

my %donation = (
	donor_name => 'Ada',
	amount => '10.00',
	currency => 'EUR',
	message => 'for the cat',
	amount_cents => 1000,
	metadata => { source => 'tip jar' });

# Nothing but a URL: the default body.
my ($request, $hook, $event) = deliver(
	what => 'default body',
	name => 'Say "thanks"',
	path => '/ok?token=a%20b&x=1',
	data => \%donation,
	platform => 'youtube');
my $body = JSON::PP::decode_json($request->{body});
my $timestamp = delete $body->{timestamp};

is($request->{method}, 'POST', 'POST is the default method');
is($request->{path}, '/ok?token=a%20b&x=1', 'the URL is requested as written');
is_deeply(
	$body,
	{
		hook_name => 'Say "thanks"',
		trigger_type => 'donation',
		username => 'Ada',
		message => 'for the cat',
		amount => '10.00',
		currency => 'EUR',
		platform => 'youtube'
	},
	'the default body has exactly these keys, all strings');
unlike($request->{body}, qr/":\s*[0-9]/, 'amounts are strings in the default body');
is( $timestamp,
	value(
		$node,
		q{SELECT to_char(inserted_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM stream_events WHERE id = }
		  . literal($event)),
	'timestamp is the event\'s, ISO 8601 in UTC with microseconds');

my $headers = $request->{headers};
is($headers->{'content-type'}, 'application/json', 'Content-Type of the default body');
is($headers->{host}, '127.0.0.1:' . $receiver->port, 'Host');
like($headers->{'webhook-id'}, $uuid, 'webhook-id is a UUID of version 5');
like($headers->{'webhook-timestamp'}, qr/^\d+$/, 'webhook-timestamp is a number');
cmp_ok(abs($headers->{'webhook-timestamp'} - $request->{t}),
	'<', 60, 'webhook-timestamp is the time of the attempt');
is($headers->{'user-agent'}, 'hooks/' . value($node, 'SELECT hooks.library_version()') . ' (PostgreSQL)', 'User-Agent says who sends');
is($headers->{'content-length'}, length $request->{body}, 'Content-Length');
is_deeply(
	[ grep { exists $headers->{$_} } qw(expect accept-encoding transfer-encoding cookie referer) ],
	[], 'no headers that nobody asked for');

# The id belongs to the event and the hook.
my %ids;
add_hook($node, name => $_, url => $receiver->url) for 'one', 'two';
add_event($node) for 1 .. 3;
wait_idle($node);
$ids{ $_->{headers}{'webhook-id'} }++ for $receiver->take;
is_deeply([ values %ids ], [ (1) x 6 ], 'every pair of an event and a hook has its own webhook-id');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# What is not there is an empty string.
($request) = deliver(what => 'bare event', type => 'follow', data => { username => undef });
$body = JSON::PP::decode_json($request->{body});
delete $body->{timestamp};
is_deeply(
	$body,
	{
		hook_name => 'a hook',
		trigger_type => 'follow',
		(map { $_ => '' } qw(username message amount currency platform))
	},
	'fields without a value are empty strings in the default body');

# Templates.
($request) = deliver(
	what => 'text template',
	data => \%donation,
	platform => 'twitch',
	config => {
		body_template => '{{username}} on {{platform}}: {{message}} ({{amount}} {{currency}}, '
		  . '{{event_type}}, {{viewer_count}}|{{nobody_knows}}|{{ nobody_knows }}|{{{amount}}})'
	});
is( $request->{body},
	'Ada on twitch: for the cat (10.00 EUR, donation, |{{nobody_knows}}|{{ nobody_knows }}|{10.00})',
	'variables are replaced, and nothing else');
is($request->{headers}{'content-type'}, 'text/plain; charset=utf-8', 'a text is sent as text');

# Whatever viewers call themselves, a JSON body stays what the hook's owner wrote.
my @hostile = (
	'"', '\\', '\\"', '","admin":true,"x":"', '"}]', "line\nfeed\ttab\r", "\x01\x1f\x7f",
	'{{message}}', '</script>', "\x{2028}\x{2029}", "\x{1F600} \x{202E}drawkcab", 'Ünïcödé',
	"'; DROP TABLE users; --", '%s%n', '\\u0022', 'x' x 5000);
my $json_hook = add_hook(
	$node,
	trigger => 'chat_message',
	config => {
		url => $receiver->url,
		body_template => '{"name": "{{username}}", "text": "<{{message}}>", "raw": {{message}}, '
		  . '"n": {{amount}}, "nested": {"list": ["{{username}}", 1]}}'
	});
for my $name (@hostile)
{
	add_event($node, type => 'chat_message', data => { username => $name, message => $name, amount => '3.50' });
	wait_idle($node);
	($request) = $receiver->take;
	my $sent = eval { JSON::PP::decode_json(encode_utf8($request->{body})) };
	is_deeply(
		$sent,
		{ name => $name, text => "<$name>", raw => $name, n => 3.5, nested => { list => [ $name, 1 ] } },
		'JSON body survives ' . JSON::PP->new->ascii->allow_nonref->encode(substr $name, 0, 40))
	  or diag($request->{body});
}
is($request->{headers}{'content-type'}, 'application/json', 'a template that is JSON is sent as JSON');
like($request->{body}, qr/"n": 3\.50,/, 'a number stands as it was written');
is(log_statuses($node, hook => $json_hook)->{success}, scalar @hostile, 'all of them were delivered');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# Methods.
for my $method (qw(GET POST PUT PATCH DELETE))
{
	($request) = deliver(what => $method, data => \%donation, config => { method => $method });
	is($request->{method}, $method, "$method is sent as such");
	if ($method eq 'GET')
	{
		is($request->{body}, '', 'GET has no body');
		is($request->{headers}{'content-type'}, undef, 'GET has no Content-Type');
	}
	else
	{
		is(JSON::PP::decode_json($request->{body})->{username}, 'Ada', "$method has a body");
	}
}
($request) = deliver(what => 'method in small letters', data => \%donation, config => { method => 'put' });
is($request->{method}, 'PUT', 'a method may be written in small letters');

# Headers, with variables in their values.
($request) = deliver(
	what => 'headers',
	data => { %donation, donor_name => 'Ünï "x"', message => '' },
	config => {
		headers => {
			'X-Api-Key' => 'secret',
			'X-From' => 'by {{username}} of {{currency}}',
			'X-Empty' => '{{message}}',
			'Content-Type' => 'application/vnd.example+json'
		}
	});
$headers = $request->{headers};
is($headers->{'x-api-key'}, 'secret', 'a header');
is($headers->{'x-from'}, 'by Ünï "x" of EUR', 'a header with variables');
is($headers->{'x-empty'}, '', 'a header whose value is empty is sent empty');
is($headers->{'content-type'}, 'application/vnd.example+json', 'Content-Type of the hook replaces ours');

# Variables in the URL cannot leave their place.
($request) = deliver(
	what => 'URL',
	path => '/ok/{{username}}?q={{message}}#{{currency}}',
	data => { %donation, donor_name => '../a b/?#&=%', message => 'x&admin=1#é' });
is( $request->{path},
	'/ok/..%2Fa%20b%2F%3F%23%26%3D%25?q=x%26admin%3D1%23%C3%A9',
	'values are encoded for the URL, and the fragment is not sent');

finish($node);
done_testing();
