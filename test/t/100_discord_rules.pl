# Messages that Discord takes, whatever viewers are called and write: the
# stand-in refuses what Discord would.

use strict;
use warnings;
use utf8;

use lib 'test/perl';
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main', 'hooks.flood_rate' => 0);
my $receiver = Hooks::Receiver->start;
my $json = JSON::PP->new->canonical->allow_nonref;

create_application($node);

sub discord_at
{
	my ($options) = @_;

	configure($node, { 'hooks.discord_url' => $receiver->url("/discord/$options") }, 'postgres');
	$receiver->take;
	return;
}

sub set_hook
{
	my ($token, %settings) = @_;

	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	return add_hook(
		$node,
		attempts => undef,
		action => 'discord_message',
		config => { webhook_url => "https://discord.com/api/webhooks/123/$token", %settings });
}

sub send_event
{
	my (%data) = @_;
	my $event = add_event($node, data => \%data);

	wait_until(sub { scalar logs($node, event => $event) }, 'the attempt');
	return (logs($node, event => $event))[0];
}

# Every text that a hook can have, with every hostile text in it.
discord_at('name=texts,limit=0');
my @hostile = (
	'@everyone <@&1> [x](http://evil.example)', '<@123> <@!123> @here', '**_~~||`x`||~~_**', "# x\n> y\n- z\n-# a",
	'```js', '"}],"content":"@everyone', "\\", "\\\\[x](http://evil.example)", "a\"b\\c\nd\te", 'discord', 'CLYDE', 'everyone', 'here',
	' ', "\x{3000}", "\x{200b}", "\x{e9}" x 3000, "\x{1f44b}" x 3500, '_' x 3000, '[' x 5000, 'http://', 'https://evil.example/](x)', '{{username}}', "\x{202e}x",
	'');
my %all = (
	template => 'Thanks, {{username}}: {{message}}',
	username => '{{username}}',
	avatar_url => 'https://example.com/{{username}}.png',
	embeds => [
		{
			title => '{{username}}', description => '{{message}}', url => 'https://example.com/{{username}}',
			color => '#1DA1F2', timestamp => '{{event.inserted_at}}',
			author => { name => '{{username}}', url => '{{data.message}}', icon_url => '{{data.message}}' },
			footer => { text => '{{message}}', icon_url => 'https://example.com/?a={{message}}' },
			image => '{{message}}', thumbnail => { url => 'https://example.com/{{message}}' },
			fields => [ map { { name => '{{username}}', value => '{{message}}', inline => JSON::PP::true } } 1 .. 25 ]
		},
		{ title => '{{message}}' }, { description => '{{message}}' }, { footer => '{{message}}' } ]);
set_hook('token', %all);
foreach my $text (@hostile)
{
	my $row = send_event(username => $text, message => $text);

	is($row->{status}, 'success', 'taken: ' . $json->ascii->encode(substr($text, 0, 30))) or diag($row->{error_message});
}
my $state = $receiver->discord('name=texts,limit=0');
is(scalar @{ $state->{messages} }, scalar @hostile, 'all are there');
is($state->{pings}, 0, '... and nobody was pinged');

# A link with a text of its own, as Discord reads it.
sub has_link
{
	my ($text) = @_;

	return $text =~ /(?<!\\)(?:\\\\)*\[[^\]\\]*(?:\\.[^\]\\]*)*\]\([^)]*\)/;
}
ok(has_link('[x](http://a)') && has_link('\\\\[x](http://a)') && !has_link('\\[x](http://a)') && !has_link('[x\\](http://a)'),
	'links are told from others');
is_deeply([ grep { has_link($_->{content}) } @{ $state->{messages} } ], [], 'no link is made of what viewers write');

# Keys do not depend on viewers, but for what is empty.
my @bodies = map { $json->decode($_->{body}) } $receiver->take;
is_deeply([ grep { $json->encode($_->{allowed_mentions}) ne '{"parse":[]}' } @bodies ], [], 'mentions stay as they are');
is_deeply([ sort keys %{ $bodies[0] } ], [qw(allowed_mentions avatar_url content embeds username)], 'keys of the body');

# What the hook itself says pings; what is in values does not.
$receiver->discord('name=texts,limit=0', 'forget');
set_hook('token', template => '{{message}}', allowed_mentions => { parse => [ 'everyone', 'users', 'roles' ] });
send_event(message => $_) for '@everyone', '@here', '<@123>', '<@&123>', 'x @everyone', "\\\@everyone";
is($receiver->discord('name=texts,limit=0')->{pings}, 0, 'viewers ping nobody, though the hook may');
set_hook('token', template => '@everyone, {{message}}', allowed_mentions => { parse => ['everyone'] });
send_event(message => 'x');
is($receiver->discord('name=texts,limit=0')->{pings}, 1, 'the hook does');
set_hook('token', template => '@everyone, {{message}}');
send_event(message => 'x');
is($receiver->discord('name=texts,limit=0')->{pings}, 1, '... only if it may');

# A thread, and flags.
$receiver->take;
set_hook('token', template => 'x', thread_id => '77', flags => 4096);
is(send_event(message => 'x')->{status}, 'success', 'to a thread');
my ($request) = $receiver->take;
like($request->{path}, qr/\?wait=true&thread_id=77$/, '... which is in the address');
is($json->decode($request->{body})->{flags}, 4096, '... with flags');

# Errors: Discord's code and its text, nothing that it quotes.
for (
	[ forbidden => 'HTTP 403: Discord refuses the message: 50013 Missing Permissions' ],
	[ unknown => 'HTTP 404: Discord knows no such webhook' ],
	[ threadless => 'HTTP 404: Discord does not find where to post: 10003 Unknown Channel' ],
	[ unauthorized => 'HTTP 401: Discord knows no such webhook' ],
	[ broken => 'HTTP 500' ])
{
	my ($token, $error) = @$_;

	my $hook = set_hook($token, template => 'x');
	is(send_event(message => 'x')->{error_message}, $error, "$token: the error");
	wait_idle($node);
	is(value($node, 'SELECT enabled FROM stream_hooks'), $token =~ /^(un|thread)/ ? 'f' : 't', '... and is the hook enabled?');
}
discord_at('name=refusing,refuse=1');
set_hook('token', template => '{{message}}');
is(
	send_event(message => 'a secret of the viewer')->{error_message},
	'HTTP 400: Discord refuses the message: 50035 Invalid Form Body',
	'a message that Discord quotes');
unlike(slurp_file($node->logfile), qr/a secret of the viewer.*hooks worker|hooks worker.*a secret of the viewer/, '... and not in the server log');

# No text is too much for the settings that come first.
set_hook('token', template => '', embeds => [ { title => '{{message}}' } ]);
is(send_event(message => ' ')->{error_message}, 'message would be empty', 'nothing to send');

finish($node);
done_testing();
