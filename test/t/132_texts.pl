# Texts of strangers that would be something else somewhere: they arrive as
# texts, wherever a hook puts them, or what they would break is not sent.

use strict;
use warnings;
use utf8;

use Encode ();
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::SmtpStandIn;
use Hooks::Test;

my $mail = Hooks::SmtpStandIn->start;
my $receiver = Hooks::Receiver->start;
my $node = hooks_node(
	'main',
	'hooks.flood_rate' => 0,
	'hooks.email_rate' => 0,
	'hooks.discord_url' => $receiver->url('/status/204'),
	'hooks.smtp_url' => 'smtp://127.0.0.1:' . $mail->port,
	'hooks.smtp_from' => 'hooks@example.com');

my @texts = (
	# templates, never scanned again
	'{{user_id}}', '{{hook.name}}{{username}}', '{{{{username}}}}', '{{', '}}', '{%raw%}', '${username}', '%s%n%x', '{{username | json}}',
	# JSON
	'"', '\\', '\\"', '\\u0000', '\\ud800', '","admin":true,"x":"', '"}],{"', "'", '}', ']', 'null', 'true', '1e400', 'NaN', '-0',
	# lines and headers
	"a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\r\n\r\nGET / HTTP/1.1\r\n", "a\r\n.\r\nMAIL FROM:<x>", "\n.\n", "a\tb", "a\x{85}X-Evil: 1", "a\x{2028}b\x{2029}",
	# control characters
	"\x01\x02\x1b[2J\x07\x08\x7f", "\x{9b}2J", "\x1b]0;title\x07",
	# URLs
	'../../etc/passwd', '..', '.', '%2e%2e%2f', '%00', '%0d%0aX-Evil:1', '%', '%zz', '/a/b', '//evil.example/', '@evil.example', '?a=b&c=d', '#fragment',
	'a&admin=1', 'a=b;c', 'http://169.254.169.254/', 'javascript:alert(1)', 'a b+c', ':80@evil.example:443/',
	# Discord and chats
	'@everyone', '@here', '<@123>', '<@&123>', '<#123>', '</cmd:1>', '**bold** `code` ||x||', '[x](https://evil.example)', '/ban ann', '.timeout ann', '!so ann', '\\me', '/me x',
	# SQL, HTML, shells
	"'; DROP TABLE users; --", '$1', '<script>alert(1)</script>', '</p><img src=x onerror=alert(1)>', '&lt;&#60;', '$(id)', '`id`', '| nc evil 1', '=cmd()',
	# what is not seen, or seen otherwise
	"\x{202e}evil\x{202c}", "\x{2066}x\x{2069}", "a\x{200b}\x{200d}\x{feff}b", "\x{00ad}", "\x{e0041}\x{e007f}", "\x{5d0}\x{5d1} \x{627}\x{644}",
	"Z\x{351}\x{36b}\x{343}\x{36a}" . "\x{302}" x 200, "\x{1f468}\x{200d}\x{1f469}\x{200d}\x{1f467}", "\x{1f1e9}\x{1f1ea}", "\x{fffd}\x{fffe}\x{10ffff}", "\x{ff0f}\x{ff20}everyone",
	# mail
	'=?UTF-8?B?ZXZpbA==?=', '.', '..', 'From x', "a, b\@evil.example", '<x@evil.example>', '"a" <b@c>',
	# sizes
	'', ' ', '   a   ', 'x' x 14_000, "\x{1f600}" x 3_500, "a " x 7_000);

create_application($node);

my $json = add_hook($node, name => '{{hook}}', trigger => 'chat_message', url => $receiver->url('/ok/json'),
	config => { body => { name => '{{username}}', text => 'x {{message}} y', list => ['{{message}}'] } });
add_hook($node, trigger => 'chat_message', url => $receiver->url('/ok/template'),
	config => { body_template => '{"name": "{{username}}", "text": "x {{message}} y", "bare": {{message}}}' });
add_hook($node, trigger => 'chat_message', url => $receiver->url('/ok/default'));
my $url = add_hook($node, trigger => 'chat_message', url => $receiver->url('/ok/url/{{message}}/end?first=1&v={{message}}&last=2'), config => { method => 'GET' });
my $header = add_hook($node, trigger => 'chat_message', url => $receiver->url('/ok/header'),
	config => { body => { n => '{{data.n}}' }, headers => { 'X-First' => '1', 'X-Viewer' => 'is {{message}}!', 'X-Last' => '2' } });
my $discord = add_hook($node, trigger => 'chat_message', action => 'discord_message',
	config => { webhook_url => 'https://discord.com/api/webhooks/1234/secret_TOKEN-1', template => '{{username}}: {{message}}' });
my $email = add_hook($node, trigger => 'chat_message', action => 'email',
	config => { to => [ 'ann@example.org', 'bob@example.org' ], subject => '{{message}}', body => "n={{data.n}}\n{{message}}\nend" });

sub add_text
{
	my ($n) = @_;
	return add_event($node, type => 'chat_message', data => { username => $texts[$n], message => $texts[$n], n => "$n" });
}

# A JSON text can be anything; a name is not more than this.
sub decoded
{
	my ($bytes) = @_;
	return eval { JSON::PP->new->decode($bytes) };
}

sub percent_decoded
{
	my ($text) = @_;
	return Encode::decode('utf8', $text =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ger);
}

my @of_header;
for my $n (0 .. $#texts)
{
	my $text = $texts[$n];
	my $shown = "text $n " . substr(JSON::PP->new->ascii->allow_nonref->encode($text), 0, 50);
	my $event = add_text($n);

	wait_idle($node);
	my %by_path;
	push @{ $by_path{ (split m{[/?]}, $_->{path})[2] // '' } }, $_ for $receiver->take;
	my %log = map { $_->{hook_id} => $_ } logs($node, event => $event);

	# JSON: parses, keys as the hook has them, values as they were
	my $body = decoded($by_path{json}[0]{body});
	is_deeply($body, { name => $text, text => "x $text y", list => [$text] }, "$shown: JSON, from JSON");
	$body = decoded($by_path{template}[0]{body});
	is(join(' ', sort keys %{ $body || {} }), 'bare name text', "$shown: JSON, from a text: keys");
	is($body->{text}, "x $text y", '... and value');
	$body = decoded($by_path{default}[0]{body});
	is(join(' ', sort keys %{ $body || {} }), 'amount currency hook_name message platform timestamp trigger_type username', "$shown: the default body: keys");
	is($body->{message}, $text, '... and value');

	# URL: as many segments and values, and what they say, or nothing
	if ($log{$url}{status} eq 'success')
	{
		my ($segment, $value) = $by_path{url}[0]{path} =~ m{^/ok/url/([^/?]*)/end\?first=1&v=([^&]*)&last=2$};

		is(percent_decoded($segment // 'undef'), $text, "$shown: URL, segment");
		is(percent_decoded($value // 'undef'), $text, '... and value');
	}
	else
	{
		like($log{$url}{error_message}, qr/URL/, "$shown: URL, refused");
		ok(length $text > 200 || $text =~ /^\.*$/, '... which few are');
		is(scalar(grep { $_->{method} eq 'GET' } map { @$_ } values %by_path), 0, '... and not sent');
	}

	# Header: one, and what it says, or nothing
	if ($text =~ /[\x00-\x1f\x7f]/ || length Encode::encode('UTF-8', $text) > 4000)
	{
		like($log{$header}{error_message}, qr/^header "X-Viewer" would (contain a control character|be longer than 4096 bytes)$/, "$shown: header, refused");
		is(scalar @{ $by_path{header} || [] }, 0, '... and not sent');
	}
	else
	{
		my $headers = $by_path{header}[0]{headers};

		is($headers->{'x-viewer'}, "is $text!", "$shown: header");
		push @of_header, join ' ', sort keys %$headers;
	}

	# Discord: pings nobody, within its limits
	my ($request) = grep { decoded($_->{body}) } grep { $_->{path} =~ m{^/status/} } map { @$_ } values %by_path;
	my $message = $request ? decoded($request->{body}) : {};
	is_deeply($message->{allowed_mentions}, { parse => [] }, "$shown: Discord: nobody is pinged");
	cmp_ok(length($message->{content} // ''), '<=', 2000, '... within its length');

	# E-mail: the recipients of the hook, one message
	my @commands = $mail->commands;
	my ($end) = grep { $_->{command} eq 'END' } @commands;
	is_deeply([ map { $_->{line} } grep { $_->{command} eq 'RCPT' } @commands ], [ 'RCPT TO:<ann@example.org>', 'RCPT TO:<bob@example.org>' ], "$shown: e-mail: recipients");
	is(scalar(grep { $_->{command} eq 'END' } @commands), 1, '... one message');
	my ($head, $rest) = split /\r\n\r\n/, $end->{message} // '', 2;
	is(join(' ', sort map { /^([\w-]+):/ ? $1 : () } split /\r\n/, $head),
		'Auto-Submitted Content-Transfer-Encoding Content-Type Date From MIME-Version Message-ID Subject To', '... with the headers of every one');
	unlike($end->{message} // '', qr/[^\x09\x0a\x0d\x20-\x7e]|^[^\r\n]{999}/m, '... of lines that any server takes');
}
my %kinds = map { $_ => 1 } @of_header;
is(scalar keys %kinds, 1, 'requests have the same headers, whatever they say');

finish($node);
done_testing();
