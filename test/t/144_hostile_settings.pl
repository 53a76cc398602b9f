# Settings of roles, of databases and of the server that would stop, slow down,
# redirect or reveal a careless worker: it goes on as if they were not there.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use Hooks::Receiver;
use Hooks::Test;

my $node = hooks_node('main');
my $receiver = Hooks::Receiver->start;
my $version = value($node, 'SHOW server_version_num');
my $superuser = value($node, 'SELECT rolname FROM pg_roles WHERE oid = 10');

$node->safe_psql('postgres', 'CREATE ROLE nobody_much LOGIN; CREATE DATABASE app');
create_application($node, 'app');
add_hook($node, url => $receiver->url('/ok/follow'), database => 'app', config => { body_template => '{{username}}: {{data.text}} {{data.n}} {{data.f}}' });
my $donations = add_hook($node, trigger => 'donation', url => $receiver->url('/ok/donation'), cooldown => 3600, database => 'app',
	conditions => { '$and' => [ { min_amount => 5 }, { '$or' => [ { currency => 'EUR' }, { message => { '$like' => '%\\\\%' } } ] } ] });
add_hook($node, trigger => 'raid', attempts => 3, url => $receiver->url('/sequence/500,500,200'), config => { retry_schedule => [0.2] }, database => 'app');

# What is expected of the worker, whatever the settings.
my $rounds = 0;

sub works
{
	my ($what, $said) = @_;

	$rounds++;
	$node->safe_psql('app', 'UPDATE stream_hooks SET last_triggered_at = NULL; TRUNCATE stream_hook_logs');
	$receiver->take;
	add_event($node, database => 'app', data => { username => $rounds, text => 'back\\slash \'quote\'', n => 12345678.125, f => 0.1 });
	add_event($node, database => 'app', type => 'donation', data => { donor_name => 'A', amount => $_, currency => 'EUR' })
	  for '4.99', '5.00', '5.00';
	add_event($node, database => 'app', type => 'raid', data => { raider_name => 'r', viewer_count => 5 });
	wait_until(
		sub {
			value($node, q{SELECT count(*) FROM stream_hook_logs WHERE trigger_type = 'raid' AND status = 'success'}, 'app') == 1;
		},
		"$what: retries", 60);
	wait_idle($node, 'app');
	my @requests = $receiver->take;
	is_deeply([ map { $_->{body} } grep { $_->{path} eq '/ok/follow' } @requests ],
		[qq{$rounds: back\\slash 'quote' 12345678.125 0.1}], "$what: texts and numbers");
	is_deeply(
		log_statuses($node, hook => $donations, database => 'app'),
		{ success => 1, skipped_condition => 1, skipped_cooldown => 1 },
		"$what: conditions and cooldown");
	is(scalar(grep { $_->{path} =~ /sequence/ } @requests), 3, "$what: three attempts");
	is( value(
			$node, q{SELECT bool_and(abs(extract(epoch FROM clock_timestamp() - executed_at)) < 60 AND duration_ms BETWEEN 0 AND 60000)
			FROM stream_hook_logs}, 'app'),
		't',
		"$what: times");
	my @complaints = grep { /\] hooks (worker|launcher) .*?(LOG|WARNING|ERROR|FATAL|DETAIL|STATEMENT|DEBUG):/ && !/terminating background worker/ }
	  split /\n/, slurp_file($node->logfile, $said);
	is_deeply(\@complaints, [], "$what: nothing is said");
	return;
}

# Options by which the test's own sessions go on as they were.
sub sane
{
	my (@names) = @_;
	my %values = map { $_->{name} => $_->{reset_val} // '' } rows($node,
		'SELECT name, reset_val FROM pg_settings WHERE name IN (' . join(', ', map { literal($_) } @names) . ')');

	return join ' ', map { "-c $_=" . ($values{$_} =~ s/([ \\])/\\$1/gr) } sort keys %values;
}

# Groups of settings, as somebody may have had in mind.
my %groups = (
	'timeouts' => {
		statement_timeout => '1ms',
		lock_timeout => '1ms',
		idle_in_transaction_session_timeout => '1ms',
		idle_session_timeout => '1ms',
		$version >= 170000 ? (transaction_timeout => '1ms') : (),
		deadlock_timeout => '1ms',
	},
	'transactions' => {
		default_transaction_read_only => 'on',
		default_transaction_isolation => 'serializable',
		default_transaction_deferrable => 'on',
		session_replication_role => 'replica',
		synchronous_commit => 'remote_apply',
		commit_delay => '1000',
	},
	'what is shown' => {
		bytea_output => 'escape',
		datestyle => 'German, DMY',
		intervalstyle => 'sql_standard',
		timezone => 'Asia/Kathmandu',
		extra_float_digits => '-15',
		standard_conforming_strings => 'off',
		backslash_quote => 'off',
		escape_string_warning => 'on',
		quote_all_identifiers => 'on',
		xmlbinary => 'hex',
		client_encoding => 'SQL_ASCII',
		lc_messages => 'C',
		lc_numeric => 'C',
		array_nulls => 'off',
		transform_null_equals => 'on',
	},
	'what is logged' => {
		log_statement => 'all',
		log_min_duration_statement => '0',
		log_min_duration_sample => '0',
		log_statement_sample_rate => '1',
		log_transaction_sample_rate => '1',
		log_duration => 'on',
		log_lock_waits => 'on',
		log_temp_files => '0',
		log_min_error_statement => 'debug5',
		log_error_verbosity => 'verbose',
		client_min_messages => 'debug5',
	},
	'memory and plans' => {
		work_mem => '64kB',
		maintenance_work_mem => '1MB',
		temp_buffers => '800kB',
		temp_file_limit => '0',
		max_stack_depth => '100kB',
		hash_mem_multiplier => '1',
		(map { ("enable_$_" => 'off') } qw(seqscan indexscan indexonlyscan bitmapscan tidscan sort hashagg hashjoin nestloop mergejoin material memoize)),
		$version >= 160000 ? (debug_parallel_query => 'on') : (force_parallel_mode => 'on'),
		max_parallel_workers_per_gather => '8',
		parallel_setup_cost => '0',
		parallel_tuple_cost => '0',
		min_parallel_table_scan_size => '0',
		jit => 'on',
		jit_above_cost => '0',
		plan_cache_mode => 'force_custom_plan',
		constraint_exclusion => 'on',
		gin_fuzzy_search_limit => '1',
		seq_page_cost => '1e10',
	},
	'what is seen' => {
		track_activities => 'off',
		track_counts => 'off',
		track_functions => 'all',
		row_security => 'off',
		check_function_bodies => 'off',
		search_path => '"$user"',
		default_tablespace => '',
		default_table_access_method => 'heap',
		lo_compat_privileges => 'on',
		allow_system_table_mods => 'on',
		zero_damaged_pages => 'on',
		ignore_system_indexes => 'off',
		local_preload_libraries => '',
		session_preload_libraries => '',
		application_name => 'somebody else',
		exit_on_error => 'on',
		$version >= 170000 ? (event_triggers => 'off') : (),
	});

for my $group (sort keys %groups)
{
	my $settings = $groups{$group};
	my @scopes = ("DATABASE app", "ROLE $superuser", "ROLE $superuser IN DATABASE app");

	# Not from the server's file what would stop the test itself.
	push @scopes, 'SYSTEM' unless $group =~ /timeouts|transactions|logged|seen/;
	for my $scope (@scopes)
	{
		my $said = -s $node->logfile;
		local $ENV{PGOPTIONS} = sane(keys %$settings);
		my $made = 0;

		foreach my $name (sort keys %$settings)
		{
			my ($status, undef, $stderr) = $node->psql('postgres', "ALTER $scope SET $name = " . ($name eq 'search_path' ? $settings->{$name} : literal($settings->{$name})));

			$made++ if $status == 0;
			note("$scope, $name: $stderr") if $status != 0;
		}
		cmp_ok($made, '>=', keys(%$settings) - 3, "$group, $scope: settings are made");
		$node->reload if $scope eq 'SYSTEM';

		# A worker that begins with them.
		my $old = worker_pid($node, 'app');
		value($node, "SELECT pg_terminate_backend($old)") if $old;
		works("$group, $scope", $said);
		isnt(worker_pid($node, 'app'), $old, "$group, $scope: by a worker that has them");

		$node->safe_psql('postgres', "ALTER $scope RESET ALL");
		$node->reload if $scope eq 'SYSTEM';
	}
}

# What makes every session somebody else's, or every transaction read only.
for my $setting (
	[ session_authorization => 'nobody_much' ],
	[ role => 'nobody_much' ],
	[ transaction_read_only => 'on' ],
	[ transaction_isolation => 'serializable' ])
{
	my ($name, $value) = @$setting;
	my $said = -s $node->logfile;
	my ($status, undef, $stderr) = $node->psql('postgres', "ALTER DATABASE app SET $name = '$value'");

	if ($status != 0)
	{
		like($stderr, qr/ERROR:  (?:.*"$name"|SET TRANSACTION ISOLATION LEVEL must be called before any query)/, "$name cannot be a setting of a database");
		note($stderr);
		next;
	}
	local $ENV{PGOPTIONS} =
	  $name =~ /^transaction/ ? "-c $name=" . ($name =~ /only/ ? 'off' : 'read\\ committed') : $name eq 'role' ? '-c role=none' : "-c session_authorization=$superuser";
	my $old = worker_pid($node, 'app');
	value($node, "SELECT pg_terminate_backend($old)") if $old;
	works("$name = $value", $said);
	$node->safe_psql('postgres', "ALTER DATABASE app RESET ALL");
}

# Settings of the application's role that make its transactions fail have no
# effect on what was committed before; those that do not, none on its inserts.
$node->safe_psql('postgres', 'ALTER ROLE nobody_much SET search_path = \'\'');
$node->safe_psql('postgres', "ALTER ROLE nobody_much SET $_") for 'work_mem = \'64kB\'', 'max_stack_depth = \'100kB\'', 'bytea_output = \'escape\'',
  'client_encoding = \'LATIN1\'', 'default_transaction_isolation = \'serializable\'', 'datestyle = \'SQL, DMY\'', 'timezone = \'Asia/Kathmandu\'';
$node->safe_psql('app', 'GRANT INSERT, SELECT ON stream_events, users TO nobody_much');
$receiver->take;
my (undef, undef, $stderr) = $node->psql(
	'app', sprintf(q{INSERT INTO public.stream_events (type, data, user_id) VALUES ('follow', '{"username": "\u00fc", "text": "t", "n": 1, "f": 2}', '%s')}, user_uuid(1)),
	extra_params => [ '-U', 'nobody_much' ]);
is($stderr, '', 'an application with odd settings notices nothing');
wait_idle($node, 'app');
is_deeply([ map { $_->{body} } $receiver->take ], ["\x{fc}: t 1 2"], '... and its event fires');

finish($node, qr/57P01: terminating background worker/);
done_testing();
