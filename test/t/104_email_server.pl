# What mail servers answer, and what becomes of it: retries with the same
# Message-ID, TLS, logins, the hourly limit, crashes.

use strict;
use warnings;

use lib 'test/perl';
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use Hooks::SmtpStandIn;
use Hooks::Test;

my $server = Hooks::SmtpStandIn->start;
my $url = 'smtp://127.0.0.1:' . $server->port;
my $node = hooks_node(
	'main',
	'hooks.smtp_url' => $url,
	'hooks.smtp_from' => 'hooks@example.com',
	'hooks.email_rate' => 0,
	'hooks.allow_addresses' => undef,
	# Mail does not go through it.
	'hooks.proxy' => 'http://127.0.0.1:9');

create_application($node);

sub add_email
{
	my (%hook) = @_;

	return add_hook(
		$node,
		action => 'email',
		attempts => undef,
		%hook,
		config => {
			to => 'ann@example.org', subject => 'hello', body => '{{message}}',
			retry_schedule => [0.1], %{ $hook{config} || {} } });
}

sub attempts
{
	my (%where) = @_;

	return [ map { join ' ', $_->{attempt}, $_->{status}, $_->{response_status} // '-', $_->{error_message} // '-' }
		  logs($node, %where) ];
}

# Sends one mail, by this script, and waits until that has come to its end.
sub outcome
{
	my ($script, %config) = @_;

	$server->script(%$script);
	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	my $hook = add_email(config => \%config);
	add_event($node, data => { username => 'x', message => 'hello' });
	wait_until(
		sub {
			value($node, qq{SELECT EXISTS (SELECT FROM stream_hook_logs WHERE hook_id = '$hook' AND status = 'success')
				OR EXISTS (SELECT FROM hooks.dead WHERE hook_id = '$hook')}) eq 't';
		},
		'the last attempt');
	wait_idle($node);
	return attempts(hook => $hook);
}

sub health
{
	return value($node, 'SELECT coalesce(max(failures), 0) FROM hooks.hook_health');
}

# The messages that were sent as a whole, and their ids.
sub message_ids
{
	return map { $_->{message} =~ /^Message-ID: (\S+)/m } grep { $_->{command} eq 'END' } @_;
}

# What a conversation looks like.
is_deeply(outcome({}), ['1 success 250 -'], 'a mail is taken');
my @commands = grep { $_->{command} ne 'QUIT' } $server->commands;
is_deeply([ map { $_->{command} } @commands ], [qw(CONNECT EHLO MAIL RCPT DATA END)], 'the conversation');
is($commands[2]{line} =~ s/ SIZE=\d+//r, 'MAIL FROM:<hooks@example.com>', 'the envelope\'s sender');
is($commands[3]{line}, 'RCPT TO:<ann@example.org>', '... and recipient');
my $first = (message_ids(@commands))[0];
like($first, qr/^<[0-9a-f-]{36}\@example\.com>$/, 'its id is that of the delivery');

# Connections are used again.
$server->script;
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
my $hook = add_email(config => { concurrency => 1 });
add_event($node) for 1 .. 5;
wait_idle($node);
is_deeply(log_statuses($node, hook => $hook), { success => 5 }, 'five mails');
is(scalar(grep { $_->{command} eq 'CONNECT' } $server->commands), 0, '... over the connection that was there');

# What comes next comes over a connection of its own.
sub new_connection
{
	is_deeply(
		outcome({ END => ['close'], @_ }, max_attempts => 1),
		['1 failure - connection lost before the answer was complete'],
		'(the connection ends)');
	$server->commands;
	return;
}

# Each stage at which a server can say no: for now, and for good.
my %stage = (
	CONNECT => 'the mail server takes no mail from here',
	MAIL => 'the mail server refuses the sender (hooks.smtp_from)',
	RCPT => 'the mail server refuses every recipient',
	DATA => 'the mail server refuses the message',
	END => 'the mail server refuses the message');
foreach my $command (sort keys %stage)
{
	new_connection() if $command eq 'CONNECT';
	$server->commands;
	is_deeply(
		outcome({ $command => [ '450 4.3.0 secret words of ann@example.org', 'ok' ] }),
		[ "1 failure 450 SMTP 450 4.3.0: $stage{$command}", '2 success 250 -' ], "$command: 450 is tried again");
	my @ids = message_ids($server->commands);
	is(scalar(keys %{ { map { $_ => 1 } @ids } }), 1, '... with the same id');

	new_connection() if $command eq 'CONNECT';
	is_deeply(
		outcome({ $command => ['550 secret words of ann@example.org'] }),
		["1 failure 550 SMTP 550: $stage{$command}"], "$command: 550 is final");
	is(health(), $command =~ /CONNECT|MAIL/ ? 0 : 1, '... and held against the hook, if it is about what that says');
}
is_deeply(
	outcome({ RCPT => [ '550 5.1.1 no', '450 4.2.1 later', 'ok' ] }, to => [ 'a@example.org', 'b@example.org' ]),
	[ '1 failure 450 SMTP 450 4.2.1 (the mailbox is disabled): the mail server refuses every recipient', '2 success 250 -' ],
	'all recipients refused, one of them for now: tried again');
is_deeply(
	outcome({ RCPT => [ 'ok', '550 5.1.1 no' ] }, to => [ 'a@example.org', 'b@example.org' ]),
	['1 success 250 1 of the recipients refused: SMTP 550 5.1.1 (no such mailbox)'],
	'one recipient refused: success, and the log says so');
is(health(), 0, '... and the hook fares well');
is_deeply(outcome({ MAIL => ['550 5.9999.1 x'] }), ["1 failure 550 SMTP 550: $stage{MAIL}"], 'a code that is none');
is_deeply(outcome({ MAIL => ['550 5.1.1.1 x'] }), ["1 failure 550 SMTP 550: $stage{MAIL}"], '... and another one');
is_deeply(outcome({ MAIL => ["550-5.1.8 a\r\n550 5.1.8 b"] }),
	["1 failure 550 SMTP 550 5.1.8 (the sender's domain does not exist): $stage{MAIL}"], 'a reply of two lines');
is_deeply(
	outcome({ MAIL => [ '421 4.3.2 closing', 'ok' ] }),
	[ "1 failure 421 SMTP 421 4.3.2: $stage{MAIL}", '2 success 250 -' ], 'the server goes');
is_deeply(outcome({ END => [ '554 5.7.1 spam', 'ok' ] }, retry_on => [554]),
	[ "1 failure 554 SMTP 554 5.7.1 (refused by policy): $stage{END}", '2 success 250 -' ], 'retry_on decides');
is_deeply(outcome({ END => ['451 4.7.1 greylisted'] }, max_attempts => 2),
	[ map { "$_ failure 451 SMTP 451 4.7.1 (refused by policy): $stage{END}" } 1, 2 ], 'attempts come to an end');

# Replies to something else.
is_deeply(
	outcome({ DATA => [ '250 2.0.0 taken', 'ok' ] }),
	[ '1 failure - answer is not SMTP', '2 success 250 -' ],
	'a message that is said to be taken before it was sent is sent');
foreach my $command (qw(MAIL RCPT END))
{
	is_deeply(
		outcome({ $command => [ '354 go on', 'ok' ] }),
		[ '1 failure - answer is not SMTP', '2 success 250 -' ], "$command: 354 makes no sense");
}
is_deeply(
	outcome({ MAIL => [ '999 x', 'ok' ] }),
	[ '1 failure - answer is not SMTP', '2 success 250 -' ], 'nor does what is no reply');
is(health(), 0, '... and nothing is held against the hook');
$server->commands;
is_deeply(outcome({ END => ["250 2.0.0 taken\r\n250 2.0.0 and again"] }), ['1 success 250 -'], 'two replies to one message');
$server->commands;
is_deeply(outcome({}), ['1 success 250 -'], '... the next one');
is((grep { $_->{command} ne 'QUIT' } $server->commands)[0]{command}, 'CONNECT', '... has a connection of its own');

# Connections that break.
foreach my $what (qw(close reset))
{
	outcome({});
	is_deeply(outcome({ MAIL => [ $what, 'ok' ] }), ['1 success 250 -'],
		"$what of a connection that was used before: there is another one");
	new_connection();
	is_deeply(outcome({ MAIL => [ $what, 'ok' ] }),
		[ '1 failure - connection lost before the answer was complete', '2 success 250 -' ], "$what after MAIL");
	$server->commands;
	is_deeply(
		outcome({ END => [ $what, 'ok' ] }),
		[ '1 failure - connection lost before the answer was complete', '2 success 250 -' ],
		"$what instead of an answer to the message");
	my @ids = message_ids($server->commands);
	is(scalar(@ids), 2, '... which is sent again');
	is($ids[0], $ids[1], '... with the same id');
	is(health(), 0, '... and nothing is held against the hook');
}

# Waiting has an end, and holds up nobody else.
my %waiting = (
	CONNECT => 'waiting for the mail server\'s greeting',
	EHLO => 'waiting for the mail server\'s answer',
	RCPT => 'waiting for the mail server\'s answer',
	END => 'waiting for the mail server to take the message');
foreach my $command (sort keys %waiting)
{
	new_connection();
	my $attempts = outcome({ $command => [ 'stall', 'ok' ] }, timeout_ms => 1000);

	like($attempts->[0], qr/^1 failure - timed out after 1(\.0\d*)? s \Q$waiting{$command}\E$/, "$command: stalls");
	is($attempts->[1], '2 success 250 -', '... and is tried again');
}

# Whoever takes longer than a webhook's receiver may is waited for, and gets the message once.
configure($node, { 'hooks.timeout' => '1s', 'hooks.connect_timeout' => '1s' }, 'postgres');
new_connection();
for my $command (qw(CONNECT END))
{
	$server->commands;
	is_deeply(outcome({ $command => [ 'late', 'ok' ] }), ['1 success 250 -'], "$command: late");
	is(scalar(my @ids = message_ids($server->commands)), 1, '... one message');
}
configure($node, { 'hooks.timeout' => '10s', 'hooks.connect_timeout' => '5s' }, 'postgres');

# A reply that goes on and on.
is_deeply(outcome({ END => [ 'endless', 'ok' ] }), [ '1 failure - answer is not SMTP', '2 success 250 -' ], 'an endless reply');
new_connection();
is_deeply(outcome({ MAIL => [ '250-' . 'x' x 3000, 'ok' ] }), [ '1 failure - answer is not SMTP', '2 success 250 -' ], 'an endless line');

my $begin = time;
is_deeply(outcome({ RCPT => ['550 no'], QUIT => ['stall'] }), ["1 failure 550 SMTP 550: $stage{RCPT}"], 'no goodbye');
cmp_ok(time - $begin, '<', 10, '... is not waited for') or diag time - $begin;

# Nobody is there.
configure($node, { 'hooks.smtp_url' => 'smtp://127.0.0.1:1' }, 'postgres');
is_deeply(outcome({}, max_attempts => 2), [ map { "$_ failure - could not connect: Connection refused" } 1, 2 ], 'no server');
is(health(), 0, '... which is not the hook\'s fault');

# TLS has to be offered, unless nothing leaves the machine.
my $elsewhere = $url =~ s/127\.0\.0\.1/0.0.0.0/r;
configure($node, { 'hooks.smtp_url' => $elsewhere }, 'postgres');
$server->commands;
is_deeply(
	outcome({}), ['1 failure - mail server does not offer STARTTLS, without which nothing is sent'],
	'a server without STARTTLS');
is(scalar(grep { $_->{command} =~ /MAIL|AUTH/ } $server->commands), 0, '... learns nothing');
is_deeply(
	outcome({ FEATURES => ['STARTTLS'] }),
	['1 failure - mail server does not offer STARTTLS, without which nothing is sent'], '... or with one that it refuses');
is(scalar(grep { $_->{command} =~ /MAIL|AUTH/ } $server->commands), 0, '... learns nothing, either');
is(health(), 0, '... which is not the hook\'s fault');

# Logging in.
my $password_file = "$PostgreSQL::Test::Utils::tmp_check/password";
append_to_file($password_file, "top secret\n");
chmod 0600, $password_file;
configure(
	$node,
	{ 'hooks.smtp_url' => $url, 'hooks.smtp_user' => 'hooks', 'hooks.smtp_password_file' => $password_file },
	'postgres');
is_deeply(outcome({ FEATURES => ['AUTH PLAIN'] }), ['1 success 250 -'], 'logged in');
@commands = grep { $_->{command} eq 'AUTH' } $server->commands;
is(join(' ', map { $_->{line} } @commands), 'AGhvb2tzAHRvcCBzZWNyZXQ=', '... by user and password');
new_connection(FEATURES => ['AUTH PLAIN']);
my $refused = 'SMTP 535 5.7.8 (wrong user or password): '
  . 'the mail server refuses the login (hooks.smtp_user, hooks.smtp_password_file)';
is_deeply(
	outcome({ FEATURES => ['AUTH PLAIN'], AUTH => [ '535 5.7.8 no', '535 5.7.8 no', 'ok' ] }, max_attempts => 3),
	[ "1 failure 535 $refused", "2 failure 535 $refused", '3 success 250 -' ], 'a wrong password may be mended');
new_connection(FEATURES => ['AUTH PLAIN']);
is_deeply(
	outcome({ FEATURES => ['AUTH PLAIN'], AUTH => ['535 5.7.8 no'] }, max_attempts => 2),
	[ map { "$_ failure 535 $refused" } 1, 2 ], '... until there are no attempts left');
is(health(), 0, '... and is not the hook\'s fault');

# The password is read again with the settings, from a file that nobody else can read.
append_to_file($password_file, "and a second line\n");
my $unusable = '1 failure - no e-mail can be sent: the file "hooks.smtp_password_file" cannot be used, '
  . 'the administrator finds the reason in the server log';
configure($node, {}, 'postgres');
is_deeply(outcome({}), [$unusable], 'a file of two lines');
unlink $password_file;
append_to_file($password_file, 'another');
chmod 0640, $password_file;
configure($node, {}, 'postgres');
is_deeply(outcome({}), [$unusable], 'a file that others may read');
chmod 0600, $password_file;
configure($node, {}, 'postgres');
is_deeply(outcome({ FEATURES => ['AUTH PLAIN'] }), ['1 success 250 -'], 'a good one');
is((grep { $_->{command} eq 'AUTH' } $server->commands)[-1]{line}, 'AGhvb2tzAGFub3RoZXI=', '... is used at once');
is(health(), 0, '... and nothing was held against the hook');
unlike(slurp_file($node->logfile), qr/top secret|another\n|secret words/, 'no password and no reply is in the server log');
configure($node, { 'hooks.smtp_user' => '', 'hooks.smtp_password_file' => '' }, 'postgres');

# Without a server, hooks can be written; what they would send is not lost.
foreach my $setting (qw(hooks.smtp_url hooks.smtp_from))
{
	my $was = value($node, "SELECT current_setting('$setting')");

	configure($node, { $setting => '' }, 'postgres');
	is_deeply(outcome({}), [qq{1 failure - no e-mail can be sent: the administrator has not set "$setting"}], "no $setting");
	is(health(), 0, '... is not the hook\'s fault');
	configure($node, { $setting => $was }, 'postgres');
	$node->safe_psql('postgres', 'SELECT hooks.redeliver(delivery_id) FROM hooks.dead');
	wait_until(sub { value($node, q{SELECT count(*) FROM stream_hook_logs WHERE status = 'success'}) == 1 }, 'the redelivery');
	pass('... and can be sent later');
}

# Settings that are no good are refused.
foreach (
	[ 'hooks.smtp_url' => 'mail.example.com' ],
	[ 'hooks.smtp_url' => 'http://mail.example.com' ],
	[ 'hooks.smtp_url' => 'smtp://user:password@mail.example.com' ],
	[ 'hooks.smtp_url' => 'smtp://mail.example.com/x' ],
	[ 'hooks.smtp_url' => 'smtp://' ],
	[ 'hooks.smtp_from' => 'hooks' ],
	[ 'hooks.smtp_from' => 'a@example.com, b@example.com' ])
{
	my ($status, undef, $stderr) = $node->psql('postgres', "ALTER SYSTEM SET $_->[0] = " . literal($_->[1]));

	like($stderr, qr/invalid value for parameter "\Q$_->[0]\E".*\nDETAIL: .*\nHINT: /, "$_->[0]: $_->[1] is refused");
}

# A user may send so many in an hour; the others wait, and those of other users do not.
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
configure($node, { 'hooks.email_rate' => 5 }, 'postgres');
$server->script(END => [ '554 5.7.1 no', '451 4.7.1 later', 'ok' ]);
$server->commands;
add_users($node, 2, 3);
add_email() for 1 .. 2;
$node->safe_psql('postgres', event_rows(4));
wait_until(sub { value($node, q{SELECT count(*) FROM hooks.pending WHERE state = 'host'}) == 4 }, 'deliveries to wait');
is(scalar(grep { $_->{command} eq 'END' } $server->commands), 5,
	'an hourly limit: so many are sent, two that the server refused among them');
add_email(user => 2);
$node->safe_psql('postgres', event_rows(2, user => 2));
wait_idle($node);
is(value($node, q{SELECT count(*) FROM stream_hook_logs WHERE status = 'success' AND user_id = } . literal(user_uuid(2))), 2,
	'... another user has his own');
is(value($node, q{SELECT count(*) FROM hooks.pending WHERE next_attempt_at BETWEEN now() + interval '59 minutes' AND now() + interval '1 hour'}), 4,
	'... and the others wait for the next hour');
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
configure($node, { 'hooks.email_rate' => 0 }, 'postgres');

# A crash repeats what was under way, with the same ids, and loses nothing.
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
$server->script(END => [ ('ok') x 20, 'stall' ]);
$server->commands;
$hook = add_email(user => 3, config => { timeout_ms => 60000 });
$node->safe_psql('postgres', event_rows(60, user => 3));
my @sent;
my $succeeded = qq{SELECT count(*) FROM stream_hook_logs WHERE hook_id = '$hook' AND status = 'success'};
wait_until(sub { push @sent, $server->commands; (grep { $_->{command} eq 'END' } @sent) >= 24 }, 'mails that are not answered');
$server->script;
kill 'KILL', worker_pid($node);
# Nobody can connect for a moment.
wait_until(sub { (eval { value($node, $succeeded) } // 0) >= 60 }, 'all after the crash');
wait_idle($node);
push @sent, $server->commands;
my %times;
$times{$_}++ for message_ids(@sent);
is(scalar keys %times, 60, 'a crash: each mail is sent');
is_deeply([ grep { $_ > 2 } values %times ], [], '... at most twice');
cmp_ok(scalar(grep { $_ > 1 } values %times), '<=', 28, '... and twice only what was under way');
is(value($node, "SELECT count(DISTINCT stream_event_id) FROM stream_hook_logs WHERE hook_id = '$hook'"), 60, '... and logged');

finish($node, qr/could not read password file ".*": (it does not hold one line|others may read)/,
	qr/terminated by signal 9/, qr/terminating any other active server processes|all server processes terminated/,
	qr/invalid value for parameter|contains errors/);
done_testing();
