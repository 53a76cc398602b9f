# Secrets of users: named by hooks, read for the message that needs them, and
# nowhere else to be found; encrypted with a key that is not in the database.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use File::Find ();
use MIME::Base64 qw(decode_base64 encode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $receiver = Hooks::Receiver->start;
my $directory = PostgreSQL::Test::Utils::tempdir();
my $key_file = "$directory/keys";
my $node = hooks_node('main', 'hooks.discord_url' => $receiver->url('/discord'),
	'log_statement' => 'none', 'log_min_error_statement' => 'error');

create_application($node);
add_users($node, 2, 3);

sub set_secret
{
	my ($name, $value, $user) = @_;

	return $node->safe_psql('postgres', sprintf('SELECT hooks.set_secret(%s, %s, %s)',
		literal(user_uuid($user || 1)), literal($name), literal($value)));
}

sub refused
{
	my ($sql) = @_;
	my ($status, undef, $stderr) = $node->psql('postgres', $sql);

	return $status ? $stderr : 'it is not refused';
}

# What a hook of that configuration sends for an event.
sub sent
{
	my (%config) = @_;

	$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
	add_hook($node, action => $config{webhook_url} ? 'discord_message' : 'webhook', config => \%config);
	return sent_again();
}

sub sent_again
{
	my $event = add_event($node, data => { username => '{{secret.api_key}}' });

	wait_idle($node);
	my @requests = $receiver->take;

	return $requests[0] if @requests == 1;
	my ($log) = logs($node, event => $event);
	return { error => $log ? $log->{error_message} : 'nothing was logged' };
}

sub write_keys
{
	my (@keys) = @_;

	unlink "$key_file.new";
	append_to_file("$key_file.new", join(' ', @keys) . "\n");
	chmod 0600, "$key_file.new";
	rename "$key_file.new", $key_file;
}

# In how many files of the cluster, server log included, does the text stand?
sub files_with
{
	my ($text, $under) = @_;
	my @found;

	$node->safe_psql('postgres', 'CHECKPOINT');
	File::Find::find({ no_chdir => 1, wanted => sub {
		return if !-f $_ || !open(my $file, '<:raw', $_);
		local $/ = undef;
		push @found, $_ if index(<$file>, $text) >= 0;
	} }, $under || $node->data_dir);
	return scalar @found;
}

# Where secrets stand.

my $url = $receiver->url('/ok');
set_secret('api_key', 'S3cr3t/key+1');
set_secret('api_key', 'of-somebody-else', 2);
set_secret('sign', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');

my $request = sent(url => "$url/{{secret.api_key}}?key={{ secret.api_key }}&user={{username}}",
	headers => { 'X-Api-Key' => '{{secret.api_key}}', Authorization => 'Bearer {{secret.api_key}}' });
is($request->{path}, '/ok/S3cr3t%2Fkey%2B1?key=S3cr3t%2Fkey%2B1&user=%7B%7Bsecret.api_key%7D%7D',
	'secrets in path and query, percent-encoded; a viewer who is called like one is not one');
is($request->{headers}{'x-api-key'}, 'S3cr3t/key+1', 'in a header');
is($request->{headers}{authorization}, 'Bearer S3cr3t/key+1', '... and in a part of one');
unlike($request->{body}, qr/S3cr3t/, 'not in the body');

set_secret('api_key', 'changed');
is(sent_again()->{headers}{'x-api-key'}, 'changed', 'the value is the last one that was committed');

$request = sent(url => $url, secret => { secret => 'sign' });
is($request->{headers}{'webhook-signature'},
	'v1,' . encode_base64(hmac_sha256("$request->{headers}{'webhook-id'}.$request->{headers}{'webhook-timestamp'}.$request->{body}",
		decode_base64('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')), ''), 'a secret signs');
$request = sent(url => $url, secret => ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', { secret => 'sign' }]);
my @signatures = split / /, $request->{headers}{'webhook-signature'};
is(scalar @signatures, 2, 'beside another one, which stands there');
is($signatures[0], $signatures[1], '... of the same key');

set_secret('discord', 'abcDEF_-123');
$request = sent(webhook_url => 'https://discord.com/api/webhooks/123456/{{secret.discord}}', template => 'Hello');
is($request->{path}, '/discord/webhooks/123456/abcDEF_-123?wait=true', 'the token of a Discord webhook');

# What is wrong with them.

is(sent(url => $url, headers => { 'X-Api-Key' => '{{secret.missing}}' })->{error}, 'secret "missing" is not there',
	'one that is missing');
is(sent(url => $url, secret => { secret => 'api_key' })->{error}, 'secret "api_key" does not begin with "whsec_"',
	'one that is no signing key');
set_secret('discord', 'a/../../evil');
is(sent(webhook_url => 'https://discord.com/api/webhooks/123456/{{secret.discord}}', template => 'Hello')->{error},
	'secret "discord" is not the token of a Discord webhook', 'one that is no token');
set_secret('twitch', 'oauth-token');
$node->safe_psql('postgres', sprintf(q{INSERT INTO hooks.chat_accounts (user_id, platform, channel_id, token, extra) VALUES (%s, 'kick', '12', 'twitch', '{}')},
	literal(user_uuid(1))));
is(sent(url => $url, headers => { 'X-Api-Key' => '{{secret.twitch}}' })->{error},
	'secret "twitch" is the token of a chat account', 'tokens of chat accounts cannot be sent elsewhere');

for my $test (
	[ { url => 'https://{{secret.host}}/' }, qr/URL has a variable before its path/ ],
	[ { url => $url, body_template => 'x {{secret.api_key}}' }, qr/secret "api_key" in a text/ ],
	[ { url => $url, body => { x => '{{secret.api_key}}' } }, qr/secret "api_key" in a text/ ],
	[ { url => $url, body_template => '{"x": "{{secret.api_key}}"}' }, qr/secret "api_key" in a text/ ],
	[ { url => $url, headers => { x => '{{secret.api_key | upper}}' } }, qr/is not closed, or is followed by filters/ ],
	[ { url => $url, headers => { x => '{{secret.' . 'a' x 65 . '}}' } }, qr/is no name of a secret/ ],
	[ { url => $url, secret => { secret => 'a b' } }, qr/"secret" does not name a secret/ ],
	[ { url => $url, secret => { other => 'a' } }, qr/"secret" does not name a secret/ ],
	[ { url => $url, headers => { map { ("x$_" => "{{secret.s$_}}") } 1 .. 11 } }, qr/names more than 10 secrets/ ],
	[ { webhook_url => 'https://discord.com/api/webhooks/123456/{{secret.discord}}x', template => 'x' }, qr/is not the URL of a Discord webhook/ ],
	[ { webhook_url => 'https://{{secret.discord}}/api/webhooks/1/x', template => 'x' }, qr/is not the URL of a Discord webhook|URL/ ],
	[ { webhook_url => 'https://discord.com/api/webhooks/1/x', template => '{{secret.discord}}' }, qr/secret "discord" in a text/ ])
{
	my ($config, $message) = @$test;

	like(refused(sprintf('INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config) VALUES (%s, %s, %s, %s, %s)',
		literal(user_uuid(1)), literal('x'), literal('follow'), literal($config->{webhook_url} ? 'discord_message' : 'webhook'), jsonb($config))),
		$message, "refused: $message");
}

# What anybody sees of them.

$request = sent(url => "$url/{{secret.api_key}}", headers => { 'X-Own' => 'mine: {{secret.api_key}}' }, secret => { secret => 'sign' });
my ($preview) = rows($node, q{SELECT p.* FROM stream_hooks AS h, hooks.preview(h.id, hooks.sample_event(h.trigger_type)) AS p});
is($preview->{url}, "$url/********", 'preview: URL');
is($preview->{headers}{'X-Own'}, 'mine: ********', '... header');
is($preview->{headers}{'webhook-signature'}, '********', '... signature');
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; GRANT SELECT ON stream_hooks TO app; GRANT EXECUTE ON FUNCTION hooks.set_secret(uuid, text, text), hooks.test(uuid, jsonb) TO app');
is(value($node, q{SET ROLE app; SELECT t.status FROM stream_hooks AS h, hooks.test(h.id, NULL) AS t}), 'success',
	'hooks.test() sends with them');
($request) = $receiver->take;
is($request->{headers}{'x-own'}, 'mine: changed', '... what a role gets there that may not read them');
like(refused('SET ROLE app; SELECT * FROM hooks.secret'), qr/permission denied for table secret/, 'that role cannot read them');
for my $function ('seal(gen_random_uuid(), \'a\', \'b\')', 'reseal(gen_random_uuid(), \'a\', \'\\x00\')', 'rotate_secrets()')
{
	like(refused("SET ROLE app; SELECT hooks.$function"), qr/permission denied for function/, "nor call $function");
}

my $mark = -s $node->logfile;
for my $value ('not valid: Unseen1', "Unseen1\x{7f}", 'Unseen1' x 600)
{
	my $error = refused(sprintf('SELECT hooks.set_secret(%s, %s, %s)', literal(user_uuid(1)), literal('bad'), literal($value)));

	like($error, qr/value of secret "bad" is not valid/, 'a value that is refused');
	unlike($error, qr/ERROR.*Unseen1/, '... is not repeated');
}
unlike(slurp_file($node->logfile, $mark), qr/Unseen1/, '... nor is its statement in the server log');

# Without a key they are in the files as they are; with one they are not.

set_secret('plain', 'InTheClear77');
cmp_ok(files_with('InTheClear77'), '>', 0, 'without a key file the cluster holds secrets as they are');

my ($old, $new, $other) = map { unpack('H*', join('', map { chr(int(rand(256))) } 1 .. 32)) } 1 .. 3;
write_keys($old);
configure($node, { 'hooks.secret_key_file' => $key_file }, 'postgres');
set_secret('sealed', 'NeverInTheClear99');
set_secret('sealed', 'NeverInTheClear98');
is(files_with('NeverInTheClear'), 0, 'with one, nothing of a secret is in table, index, WAL or server log');
$request = sent(url => $url, headers => { 'X-Sealed' => '{{secret.sealed}}', 'X-Plain' => '{{secret.plain}}' });
is($request->{headers}{'x-sealed'}, 'NeverInTheClear98', '... and the worker opens it');
is($request->{headers}{'x-plain'}, 'InTheClear77', '... and still those that were written without');

my $secrets = value($node, 'SELECT count(*) FROM hooks.secret');
is(value($node, 'SELECT hooks.rotate_secrets()'), $secrets - 1, 'those are encrypted by rotate_secrets()');
is(value($node, 'SELECT hooks.rotate_secrets()'), 0, '... once');
is(value($node, q{SELECT count(*) FROM hooks.secret WHERE position('\x496e546865436c656172'::bytea IN value) > 0}), 0, '... so that none is as it was');
is(sent_again()->{headers}{'x-plain'}, 'InTheClear77', '... and can be used');

# Another key.
write_keys($new, $old);
is(sent_again()->{headers}{'x-sealed'}, 'NeverInTheClear98', 'an older key opens');
is(value($node, 'SELECT hooks.rotate_secrets()'), $secrets, 'all are encrypted with the new one');
write_keys($new);
is(sent_again()->{headers}{'x-sealed'}, 'NeverInTheClear98', '... after which the old one can go');

# Rows that somebody exchanged.
$node->safe_psql('postgres', sprintf(q{UPDATE hooks.secret SET value = (SELECT value FROM hooks.secret WHERE name = 'sealed') WHERE user_id = %s AND name = 'api_key'},
	literal(user_uuid(2))));
$mark = -s $node->logfile;
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
add_hook($node, user => 2, url => $url, config => { headers => { 'X-Api-Key' => '{{secret.api_key}}' } });
my $waiting = add_event($node, user => 2);
wait_until(sub { value($node, q{SELECT last_error FROM hooks.pending}) eq 'secret "api_key" cannot be opened' },
	'a secret in another row cannot be opened');
like(slurp_file($node->logfile, $mark), qr/secret "api_key" of user \S+ cannot be opened: it was changed, or is another one's/, '... which the server log says');
is(scalar(my @nothing = $receiver->take), 0, '... and nothing is sent');
set_secret('api_key', 'mended', 2);
wait_until(sub { log_statuses($node, event => $waiting)->{success} }, 'its delivery');
($request) = $receiver->take;
is($request->{headers}{'x-api-key'}, 'mended', 'the delivery has waited for a better one');
is_deeply(log_statuses($node, event => $waiting), { success => 1 }, '... and that was its first attempt');

# Keys that are missing.
for my $test ([ 'of another installation', sub { write_keys($other) } ], [ 'that others may read', sub { chmod 0644, $key_file } ],
	[ 'that is gone', sub { unlink $key_file } ], [ 'of something else', sub { write_keys('abc') } ])
{
	my ($what, $break) = @$test;

	$break->();
	my $event = add_event($node, user => 2);
	wait_until(sub { value($node, q{SELECT last_error FROM hooks.pending}) eq 'secret "api_key" cannot be opened' }, "a key file $what");
	if ($what ne 'of another installation')
	{
		like(refused(sprintf('SELECT hooks.set_secret(%s, %s, %s)', literal(user_uuid(1)), literal('x'), literal('y'))),
			qr/key file of secrets cannot be read/, '... and nothing is stored in the clear');
	}
	else
	{
		like(refused('SELECT hooks.rotate_secrets()'), qr/secret "\w+" of user \S+ cannot be opened/, '... does not rotate');
	}
	write_keys($new);
	wait_until(sub { log_statuses($node, event => $event)->{success} }, 'its delivery');
	is_deeply(log_statuses($node, event => $event), { success => 1 }, '... costs no delivery');
	($request) = $receiver->take;
	is($request->{headers}{'x-api-key'}, 'mended', '... when it is back');
}

# Rotation beside writers: what they write is there in the end.
write_keys($other, $new);
my @writers = map {
	my $n = $_;
	IPC::Run::start([ 'pgbench', '-n', '-t', 200, '-f', writer_script($n), '-h', $node->host, '-p', $node->port, 'postgres' ],
		'>', \my $out, '2>', \my $err);
} 1 .. 2;
for my $round (1 .. 20)
{
	write_keys(@{ $round % 2 ? [ $new, $other ] : [ $other, $new ] });
	$node->safe_psql('postgres', 'SELECT hooks.rotate_secrets()');
}
for my $writer (@writers)
{
	ok($writer->finish, 'a writer beside rotation');
}
$node->safe_psql('postgres', 'DELETE FROM stream_hooks');
$request = sent(url => $url, headers => { 'X-1' => '{{secret.race1}}', 'X-2' => '{{secret.race2}}' });
is("$request->{headers}{'x-1'} $request->{headers}{'x-2'}", 'last last', 'what was written last is there');

sub writer_script
{
	my ($n) = @_;
	my $file = "$directory/writer$n.sql";

	append_to_file($file, sprintf("SELECT hooks.set_secret(%s, 'race%d', 'earlier');\nSELECT hooks.set_secret(%s, 'race%d', 'last');\n",
		literal(user_uuid(1)), $n, literal(user_uuid(1)), $n));
	return $file;
}

# Consumers of logical replication and standbys see what the table has: nothing in the clear.
set_secret('sealed', 'NeverInTheClear97');
is(files_with('NeverInTheClear'), 0, 'in the end, too');

finish($node, qr/secret "api_key" of user \S+ cannot be opened/, qr/could not read key file/, qr/does not hold keys of secrets/);
done_testing();
