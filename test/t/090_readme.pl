# The README's examples do what the README says, as they are written there but
# for the receiver's address in place of example.com.

use strict;
use warnings;

use Hooks::Receiver;
use Hooks::Test;
use PostgreSQL::Test::Utils;
use Test::More;

# The SQL statements of the README, in order: code lines from a verb to a semicolon.
my @statements;
my $text = slurp_file('README.md');
my $sql = join "\n", map { /^    (.*)/ ? $1 : '' } split /\n/, $text;
push @statements, $1 while $sql =~ /^((?:CREATE|INSERT|SELECT)\b.*?;)$/msg;

sub statement
{
	my ($pattern) = @_;
	my @found = grep { $_ =~ $pattern } @statements;

	is(scalar @found, 1, "the README has one statement that matches $pattern");
	return $found[0];
}

my $node = hooks_node('readme');
my $receiver = Hooks::Receiver->start;
my $base = $receiver->url('');

# From CREATE EXTENSION to the log.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE users (id uuid PRIMARY KEY);
	CREATE TABLE stream_events (
		id uuid PRIMARY KEY, type text NOT NULL, user_id uuid NOT NULL REFERENCES users,
		platform text, inserted_at timestamptz NOT NULL, data jsonb NOT NULL);
	INSERT INTO users VALUES ('6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10')});
$node->safe_psql('postgres', statement(qr/CREATE EXTENSION hooks/));

my $hook = statement(qr/INSERT INTO stream_hooks/);
ok($hook =~ s{https://example\.com/lights}{$base/ok/lights}, 'the hook names example.com');
$node->safe_psql('postgres', $hook);
$node->safe_psql('postgres', statement(qr/INSERT INTO stream_events/));
wait_idle($node);

my ($request) = $receiver->wait_for_requests(1);
is($request->{body}, '{"text": "Ann gave 25.00 EUR"}', 'the body is what the template says');
is($request->{headers}{'x-api-key'}, 'abc', 'the header is sent');
like($request->{headers}{'webhook-id'}, qr/^[0-9a-f-]{36}$/, 'the request has an id');
like($node->safe_psql('postgres', statement(qr/FROM stream_hook_logs/)),
	qr/^success\|\|204\|\d+$/, 'the log says so');

like($node->safe_psql('postgres', statement(qr/trigger_lifecycle_event/)),
	qr/^[0-9a-f-]{36}$/, 'a lifecycle event has an id');
is($node->safe_psql('postgres', statement(qr/hooks\.matches/)), 't', 'conditions can be tried out');
is($node->safe_psql('postgres', statement(qr/hooks\.render/)), 'Ann gave 5.00', '… and templates');

# Seeing what a hook does.
like(
	$node->safe_psql('postgres', statement(qr/hooks\.preview/)),
	qr/^skipped_cooldown\|fired at .*\|POST\|\Q$base\E\/ok\/lights\|\{.*"X-Api-Key": "\*+".*\}\|\Q{"text": "Ann gave 25.00 EUR"}\E$/,
	'preview shows what would be sent');
like(
	$node->safe_psql('postgres', statement(qr/hooks\.explain/)),
	qr/^thank big donors\|skipped_cooldown\|\|\|\|00:00:/,
	'explain says why a hook does not fire');
like($node->safe_psql('postgres', statement(qr/hooks\.backtest_summary/)),
	qr/^1\|1\|0\|0\|/, 'a backtest counts');
like(
	$node->safe_psql('postgres', statement(qr/hooks\.backtest\(/)),
	qr/\|skipped_condition\|min_amount\|"25.00"$/,
	'a hook that is not written can be tried');
is($node->safe_psql('postgres', statement(qr/hooks\.lint/)), '', 'nothing is suspicious about the hook');

# Steering deliveries.
is($node->safe_psql('postgres', statement(qr/FROM hooks\.pending/)), '', 'nothing waits');
is($node->safe_psql('postgres', statement(qr/SELECT delivery_id, .* FROM hooks\.dead/)), '', 'nothing was given up');
is($node->safe_psql('postgres', statement(qr/hooks\.redeliver/)), '', '... and nothing can be sent again');
is($node->safe_psql('postgres', statement(qr/hooks\.pause/)), 't', 'a hook can be paused');
is($node->safe_psql('postgres', statement(qr/FROM hooks\.hook_health/)), 'thank big donors|paused|0|', '... which is seen');
is($node->safe_psql('postgres', statement(qr/hooks\.resume/)), 't', '... and resumed');

# The conditions and the template that are shown by themselves.
my @conditions = $text =~ /^    (\{"(?:min_amount|command|time|amount)": .*\})$/mg;
is(scalar @conditions, 4, 'the README shows conditions');
is( $node->safe_psql(
		'postgres', "SELECT hooks.matches(type, conditions, '{}') FROM (VALUES "
		  . join(', ', map { "('" . ($conditions[$_] =~ /command/ ? 'chat_message' : 'donation') . "', jsonb '$conditions[$_]')" } 0 .. 3)
		  . ') v (type, conditions)'),
	"f\nf\nf\nf",
	'... that are understood');
my ($template) = $text =~ /^    (\{\{username\}\} gave .*)$/m;
is( $node->safe_psql(
		'postgres', "SELECT hooks.render('$template', '{\"donor_name\": \"Ann\", \"amount\": \"5\", \"currency\": \"EUR\"}')"),
	"Ann gave \xe2\x82\xac5.00 without a word",
	'... and a template');

# Other names, in another database.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql(
	'other', q{
	CREATE SCHEMA app;
	CREATE TABLE app.accounts (id uuid PRIMARY KEY);
	CREATE TABLE app.happenings (
		id uuid PRIMARY KEY, type text, streamer uuid, user_id uuid, platform text, data jsonb,
		created_at timestamptz, inserted_at timestamptz)});
$node->safe_psql('other', 'CREATE EXTENSION hooks');
$node->safe_psql('other', 'DROP TABLE stream_hook_logs, stream_hooks');
$node->safe_psql('other', statement(qr/hooks\.setup\(schema/));
$node->safe_psql('other', statement(qr/hooks\.attach\('app/));
is( $node->safe_psql(
		'other', q{SELECT encode(tgargs, 'escape') FROM pg_trigger WHERE tgname = 'hooks_event'}),
	'id\\000streamer\\000type\\000data\\000platform\\000created_at\\000',
	'the trigger reads the columns named');

finish($node);
done_testing();
