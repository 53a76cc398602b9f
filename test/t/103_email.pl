# E-mail through a real mail server: what arrives is what was meant, whatever
# viewers call themselves.

use strict;
use warnings;
use utf8;

use lib 'test/perl';
use PostgreSQL::Test::Utils;
use Test::More;

use Encode ();
use Hooks::Test;

# A mail server is nothing to install unasked; where everything is to run, it is there.
my $missing =
  !-x '/usr/sbin/exim4' ? 'exim4 is not installed'
  : !eval { require Email::MIME } ? 'Email::MIME is not installed'
  : undef;
die $missing if $missing && $ENV{CI};
plan skip_all => $missing if $missing;
require Hooks::MailServer;

my $server = Hooks::MailServer->start;
my $node = hooks_node(
	'main',
	'hooks.smtp_url' => 'smtp://127.0.0.1:' . $server->port,
	'hooks.smtp_from' => Encode::encode('UTF-8', 'Grüße, Inc. <hooks@example.com>'),
	'hooks.email_rate' => 0,
	# What hooks may not reach, the administrator's mail server may be.
	'hooks.allow_addresses' => undef);

create_application($node);

sub add_email
{
	my (%hook) = @_;

	return add_hook(
		$node,
		action => 'email',
		%hook,
		config => { to => 'ann@example.org', subject => '{{username}}', body => '{{message}}', %{ $hook{config} || {} } });
}

# Sends one mail and returns it.
sub mail
{
	my ($data, %config) = @_;
	my $hook = add_email(config => \%config);
	my $event = add_event($node, data => $data);

	wait_idle($node);
	is_deeply(
		[ map { join ' ', $_->{status}, $_->{response_status} // '-', $_->{error_message} // '-' } logs($node, hook => $hook) ],
		['success 250 -'], 'sent: ' . ($config{subject} // substr(JSON::PP->new->ascii->encode($data), 0, 60))) or die 'no mail was sent';
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	my ($mail) = $server->take(1);
	$mail->{event} = $event;
	return $mail;
}

# The bodies of a mail: texts by content type, with \n for ends of lines.
sub bodies
{
	my ($mail) = @_;

	my @parts = $mail->{mime}->subparts;

	return { map { ((split /;/, $_->content_type)[0] => $_->body_str =~ s/\r\n/\n/gr) } @parts ? @parts : $mail->{mime} };
}

sub header
{
	my ($mail, $name) = @_;
	my @values = $mail->{mime}->header_str($name);

	return @values == 1 ? $values[0] : [@values];
}

# What one mail is like.
my $mail = mail(
	{ username => 'Zoë 👋', message => "Grüße\nund <mehr>" },
	to => 'Ann B. <ann@example.org>',
	subject => '{{username}} folgt',
	body => "Hallo,\n{{message}}\n",
	html => '<p title="{{username}}">{{message}}</p>',
	reply_to => 'team@example.net');
is($mail->{from}, 'hooks@example.com', 'envelope: the sender');
is($mail->{to}, 'ann@example.org', '... the recipient');
is(header($mail, 'From'), '"Grüße, Inc." <hooks@example.com>', 'From');
is(header($mail, 'To'), '"Ann B." <ann@example.org>', 'To');
is(header($mail, 'Reply-To'), 'team@example.net', 'Reply-To');
is(header($mail, 'Subject'), 'Zoë 👋 folgt', 'Subject');
is(header($mail, 'MIME-Version'), '1.0', 'MIME-Version');
is(header($mail, 'Auto-Submitted'), 'auto-generated', 'Auto-Submitted');
like(header($mail, 'Date'), qr/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000$/, 'Date');
like(header($mail, 'Message-ID'), qr/^<[0-9a-f-]{36}\@example\.com>$/, 'Message-ID');
like($mail->{mime}->content_type, qr{^multipart/alternative;}, 'text and HTML are alternatives');
is_deeply(
	bodies($mail),
	{
		'text/plain' => "Hallo,\nGrüße\nund <mehr>\n",
		'text/html' => "<p title=\"Zoë 👋\">Grüße\nund &lt;mehr&gt;</p>"
	},
	'both bodies');
is_deeply([ map { /charset=utf-8/ ? 1 : $_ } map { $_->content_type } $mail->{mime}->subparts ], [ 1, 1 ], '... in UTF-8');
my @lines = split /\n/, $mail->{raw};
is_deeply([ grep { length > 78 } grep { !/^(Received|\t)/ } @lines ], [], 'no line is long');
is_deeply([ grep { /[^\x01-\x7f]/ } @lines ], [], '... and all are ASCII');

# preview() shows it, and sends nothing.
my $hook = add_email(config => { to => [ 'ann@example.org', 'bob@example.org' ], html => '<b>{{username}}</b>' });
my ($preview) = rows($node, "SELECT p.* FROM hooks.preview('$hook', " . jsonb({ username => 'Zoë', message => 'hi' }) . ') AS p');
is($preview->{verdict}, 'fires', 'preview');
is($preview->{method}, 'SMTP', '... method');
is($preview->{url}, 'smtp://127.0.0.1:' . $server->port, '... url');
is($preview->{headers}{'MAIL FROM'}, '<hooks@example.com>', '... envelope: the sender');
is($preview->{headers}{'RCPT TO'}, '<ann@example.org>, <bob@example.org>', '... the recipients');
is($preview->{headers}{Subject}, '=?UTF-8?B?Wm/Dqw==?=', '... headers, as they are sent');
is( $preview->{body},
	"Content-Type: text/plain; charset=utf-8\n\nhi\n\nContent-Type: text/html; charset=utf-8\n\n<b>Zoë</b>\n",
	'... bodies');
my ($status, undef, $stderr) = $node->psql('postgres', "UPDATE stream_hooks SET name = 'x'");
is($status, 0, '... and the hook can be written');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# A viewer's text begins no line of the header.
foreach my $evil (
	"x\r\nBcc: evil\@example.com",
	"x\nBcc: evil\@example.com",
	"x\rBcc: evil\@example.com",
	"x\r\n\r\nBcc: evil\@example.com",
	"x\x{2028}Bcc: evil\@example.com",
	"x\x{85}Bcc: evil\@example.com")
{
	my $mail = mail({ username => $evil, message => $evil });

	is($mail->{to}, 'ann@example.org', 'a line end in a name: one recipient');
	is_deeply(header($mail, 'Bcc'), [], '... and no Bcc');
	is(header($mail, 'Subject'), 'x Bcc: evil@example.com', '... what it says is kept');
	is_deeply([ sort $mail->{mime}->header_names ], [
		qw(Auto-Submitted Content-Transfer-Encoding Content-Type Date Delivery-date Envelope-to From MIME-Version Message-ID
		  Received Return-path Subject To) ], '... and no other header');
}
unlike($server->log, qr/evil/, 'nobody else was written to');

# Subjects arrive as they are.
my %subjects = (
	'=?UTF-8?B?ZXZpbA==?=' => undef,
	'a=?b' => undef,
	'x' x 300 => 'x' x 200,
	'👋' x 300 => '👋' x 200,
	'word ' x 30 => 'word ' x 29 . 'word',
	'شكرا جزيلا לכולם' => undef,
	'e' . "\x{301}" x 150 => undef,
	'  two  blanks  ' => 'two  blanks',
	"tab\there" => 'tab here',
	"\x01\x02\x1b[31m" => '[31m',
	'' => '(no subject)',
	'"quoted" <a@b.example>, x; y: z' => undef);
foreach my $subject (sort keys %subjects)
{
	my $mail = mail({ username => $subject, message => 'x' });
	my ($raw) = $mail->{raw} =~ /^Subject: (.*?)\n(?! )/ms;

	is(header($mail, 'Subject'), $subjects{$subject} // $subject,
		'subject ' . JSON::PP->new->ascii->allow_nonref->encode(substr $subject, 0, 20));
	is_deeply([ grep { length > 78 } map { s/^/Subject: /r } ($raw =~ /^(.*)/) ], [], '... on short lines');
	is_deeply([ grep { length > 75 } $raw =~ /(=\?\S+)/g ], [], '... in encoded words that are not too long');
	eval { Encode::decode('UTF-8', $_, Encode::FB_CROAK()) for map { MIME::Base64::decode($_) } $raw =~ /=\?UTF-8\?B\?(\S+)\?=/g; 1 }
	  or fail("a character is split: $@");
}

# So do bodies.
foreach my $text (
	".\n.\n..\n.x\nend\n",
	"a\n.\nMAIL FROM:<evil\@example.com>\nRCPT TO:<evil\@example.com>\nDATA\n",
	"From here\n>From there\n",
	'x' x 20000,
	("=3D=\n" x 30),
	"trailing blanks   \nand a tab\t\nend\n",
	'👋' x 5000,
	"\x01\x07\x1b[31m\x7f",
	(map { ('y' x $_) . "\n.\n" . ('z' x 70 . "\n.\n") x 300 } 1 .. 4),
	'{{username}} {{{message}}} %s \\n',
	"--\nsignature",
	'')
{
	my $mail = mail({ username => 'x', message => $text });
	my $what = JSON::PP->new->ascii->allow_nonref->encode(substr $text, 0, 20);

	is_deeply(bodies($mail), { 'text/plain' => $text =~ /\n\z/ ? $text : "$text\n" }, "body $what");
	is_deeply([ grep { length > 998 } split /\n/, $mail->{raw} ], [], '... on lines that are not too long');
}
is(bodies(mail({ username => 'x', message => "a\r\nb\rc\nd" }))->{'text/plain'}, "a\nb\nc\nd\n", 'ends of lines are one kind');
is( bodies(mail({ username => q{"><script>alert('x')&amp;</script>} },
		html => '<a title="{{username}}" title=\'{{username}}\'>{{username}}</a>', body => undef))->{'text/html'},
	qq{<a title="X" title='X'>X</a>\n} =~ s/X/&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&amp;amp;&lt;\/script&gt;/gr,
	'HTML of a viewer is text');

# A large one.
my $large = ('0123456789' x 10 . "\n") x 300;
is(bodies(mail({ message => $large }, body => '{{message}}' x 30))->{'text/plain'}, $large x 30, 'a megabyte');

# Several recipients get one message; those that the server refuses do not keep it from others.
sub attempts
{
	my ($hook) = @_;

	return [ map { join ' ', $_->{attempt}, $_->{status}, $_->{response_status} // '-', $_->{error_message} // '-' }
		  logs($node, hook => $hook) ];
}

sub send_to
{
	my ($to, %config) = @_;
	my $hook = add_email(config => { to => $to, %config });

	add_event($node, data => { username => 'several', message => 'x' });
	wait_idle($node);
	return $hook;
}

$hook = send_to([ 'ann@example.org', 'Bob <bob@example.org>' ]);
is_deeply(attempts($hook), ['1 success 250 -'], 'two recipients: one attempt');
my @two = $server->take(2);
is_deeply([ sort map { $_->{to} } @two ], [ 'ann@example.org', 'bob@example.org' ], '... both get it');
is(header($two[0], 'Message-ID'), header($two[1], 'Message-ID'), '... the same message');
is(header($two[0], 'To'), 'ann@example.org, Bob <bob@example.org>', '... which names both');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

$hook = send_to([ 'nobody@example.org', 'ann@example.org', 'full@example.org' ]);
is_deeply(attempts($hook), ['1 success 250 2 of the recipients refused: SMTP 451 4.2.2 (the mailbox is full)'],
	'two of three refused: success, and the log says so');
is(($server->take(1))[0]{to}, 'ann@example.org', '... the third gets it');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

$hook = send_to('nobody@example.org');
is_deeply(attempts($hook), ['1 failure 550 SMTP 550 5.1.1 (no such mailbox): the mail server refuses every recipient'],
	'nobody left: failure');
is(value($node, 'SELECT failures FROM hooks.hook_health'), 1, '... which is the hook\'s');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# A thousand, each once.
my @names = map {
	my $n = $_;
	(	"plain $n",
		"👋 emoji $n 🎉",
		"שלום עולם $n",
		"long " . ('ünïcödé ' x 18) . $n,
		"ascii " . ('words of a long line ' x 8) . $n)[ $n % 5 ]
} 1 .. 1000;
$hook = add_email(config => { body => '{{data.n}}' });
$node->safe_psql('postgres',
	q{INSERT INTO stream_events (type, user_id, data) SELECT 'follow', } . literal(user_uuid(1))
	  . q{, jsonb_build_object('username', name, 'n', n) FROM jsonb_array_elements_text(}
	  . jsonb(\@names) . q{) WITH ORDINALITY AS x (name, n)});
wait_idle($node);
is_deeply(log_statuses($node, hook => $hook), { success => 1000 }, '1,000 e-mails');
my @thousand = $server->take(1000);
my %by_number = map { ((values %{ bodies($_) })[0] =~ s/\n\z//r) => $_ } @thousand;
is(scalar @thousand, 1000, '... arrive');
is(scalar keys %by_number, 1000, '... each once');
is(scalar keys %{ { map { header($_, 'Message-ID') => 1 } @thousand } }, 1000, '... each with an id of its own');
is_deeply([ map { header($by_number{$_}, 'Subject') } 1 .. 1000 ], \@names, '... with their subjects intact');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

# TLS and logging in: STARTTLS, where the server is not this machine by name, and smtps.
my $tls = "$PostgreSQL::Test::Utils::tmp_check/mail";
system_or_bail(
	'openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
	'-keyout', "$tls.key", '-out', "$tls.crt", '-subj', '/CN=mail', '-addext', 'subjectAltName=IP:0.0.0.0,IP:127.0.0.1');
append_to_file("$tls.password", "pa ss\n");
chmod 0600, "$tls.password";
my %options = (tls_cert => "$tls.crt", tls_key => "$tls.key", user => 'hooks', password => 'pa ss');
my %login = ('hooks.smtp_user' => 'hooks', 'hooks.smtp_password_file' => "$tls.password");

foreach my $implicit (0, 1)
{
	$server = Hooks::MailServer->start(%options, implicit_tls => $implicit);
	my $what = $implicit ? 'smtps' : 'STARTTLS';
	my $url = ($implicit ? 'smtps://127.0.0.1:' : 'smtp://0.0.0.0:') . $server->port;

	configure($node, { %login, 'hooks.smtp_url' => $url, 'hooks.ca_file' => "$tls.crt" }, 'postgres');
	$mail = mail({ username => $what, message => 'x' });
	is(header($mail, 'Subject'), $what, "$what: a mail arrives");
	like($server->log, qr/<= hooks\@example\.com .* P=esmtpsa .* A=plain:hooks/, '... encrypted, and logged in');

	$hook = add_email();
	add_event($node, data => { username => $_, message => 'x' }) for 1 .. 5;
	wait_idle($node);
	is_deeply(log_statuses($node, hook => $hook), { success => 5 }, '... and more of them');
	$server->take(5);
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');

	append_to_file("$tls.wrong$implicit", 'wrong');
	chmod 0600, "$tls.wrong$implicit";
	configure($node, { 'hooks.smtp_password_file' => "$tls.wrong$implicit" }, 'postgres');
	$hook = send_to('ann@example.org', max_attempts => 1);
	like(attempts($hook)->[0], qr/^1 failure 535 SMTP 535.*the mail server refuses the login/, '... not with a wrong password');
	configure($node, { 'hooks.smtp_user' => '' }, 'postgres');
	$hook = send_to('ann@example.org', max_attempts => 1);
	like(attempts($hook)->[0], qr/^1 failure 550 SMTP 550 5.7.0 \(refused by policy\): /, '... and not with none');

	configure($node, { %login, 'hooks.ca_file' => '' }, 'postgres');
	$hook = send_to('ann@example.org');
	is_deeply(attempts($hook), ['1 failure - certificate is self-signed'], '... nor to a server that nobody knows');
	is(value($node, "SELECT count(*) FROM hooks.hook_health WHERE hook_id = '$hook' AND failures > 0"), 0,
		'... which is not the hook\'s fault');
	is(scalar(my @all = $server->mails), 6, '... so nothing more has arrived');
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
}

finish($node);
done_testing();
