# The table of hooks is altered beyond recognition: applications notice nothing,
# the worker does not storm, and all is well again when the table is.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;

create_application($node);
add_users($node, 2, 2);
add_hook($node, url => $receiver->url('/ok/1'), config => { body_template => 'n={{username}}' });

# One session that has used its cache before, and new ones.
my $session = $node->background_psql('postgres');
my $n = 0;

sub insert
{
	my ($what) = @_;

	$n++;
	$session->{stderr} = '';
	$session->query(sprintf q{INSERT INTO stream_events (type, data, user_id) VALUES ('follow', '{"username": "%d"}', '%s')},
		$n, user_uuid(1));
	is($session->{stderr}, '', "$what: an application notices nothing");
	$n++;
	add_event($node, data => { username => $n });
	return;
}

sub delivered
{
	my ($what) = @_;

	wait_idle($node);
	my @bodies = map { $_->{body} } $receiver->requests;
	is_deeply([ sort @bodies ], [ sort map { "n=$_" } 1 .. $n ], "$what: everything is delivered, once");
	return;
}

insert('at first');
delivered('at first');

for (
	[
		'ALTER TABLE stream_hooks RENAME COLUMN action_config TO settings',
		'ALTER TABLE stream_hooks RENAME COLUMN settings TO action_config'
	],
	[
		'ALTER TABLE stream_hooks RENAME COLUMN enabled TO active',
		'ALTER TABLE stream_hooks RENAME COLUMN active TO enabled'
	],
	[
		'ALTER TABLE stream_hooks ALTER COLUMN conditions TYPE text',
		'ALTER TABLE stream_hooks ALTER COLUMN conditions TYPE jsonb USING conditions::jsonb'
	],
	[
		'ALTER TABLE stream_hooks ALTER COLUMN last_triggered_at TYPE text',
		'ALTER TABLE stream_hooks ALTER COLUMN last_triggered_at TYPE timestamptz USING last_triggered_at::timestamptz'
	],
	[ 'ALTER TABLE stream_hooks DROP COLUMN last_triggered_at', 'ALTER TABLE stream_hooks ADD COLUMN last_triggered_at timestamptz' ])
{
	my ($break, $mend) = @$_;
	my $said = -s $node->logfile;

	$node->safe_psql('postgres', "ALTER TABLE stream_hooks DISABLE TRIGGER USER; $break; ALTER TABLE stream_hooks ENABLE TRIGGER USER; "
		  . 'ALTER TABLE stream_hooks ENABLE ALWAYS TRIGGER hooks_changed');
	insert($break);

	# Until the worker has met it, if it minds at all.
	value($node, q{SELECT hooks.wait_idle('1 second')});
	$node->safe_psql('postgres', $mend);
	delivered($break);
	my $errors = () = slurp_file($node->logfile, $said) =~ /hooks worker .*?ERROR:/g;
	cmp_ok($errors, '<', 5, "$break: no storm of errors");
}

# No table at all, and a new one.
$node->safe_psql('postgres', 'DROP TABLE stream_hook_logs, stream_hooks');
insert('no table');
wait_idle($node);
$n -= 2;
delivered('no table');
$node->safe_psql('postgres', 'SELECT hooks.setup()');
add_hook($node, url => $receiver->url('/ok/1'), config => { body_template => 'n={{username}}' });
insert('a new table');
delivered('a new table');
isnt(worker_pid($node), '', 'there is a worker');

# Policies that would hide hooks from their own owner are not silently obeyed.
$node->safe_psql(
	'postgres', q{
	CREATE ROLE owner;
	GRANT ALL ON SCHEMA public TO owner;
	GRANT ALL ON users TO owner;
	ALTER TABLE stream_hooks OWNER TO owner;
	ALTER TABLE stream_hook_logs OWNER TO owner;
	ALTER TABLE stream_hooks ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY});
insert('forced row-level security');
ok( eval {
		wait_until(sub { slurp_file($node->logfile) =~ /row-level security/ }, 'the complaint', 10);
	},
	'forced row-level security is reported');
$node->safe_psql('postgres', 'ALTER TABLE stream_hooks NO FORCE ROW LEVEL SECURITY; SELECT hooks.wake()');
delivered('forced row-level security');

$session->quit;
finish($node, qr/ERROR:/, qr/row-level security/, qr/could not write last_triggered_at/);
done_testing();
