# monitoring/: what the exporter of Debian's packages gets from our queries is
# what the server says, and Prometheus understands the rules and the dashboard.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use HTTP::Tiny;
use JSON::PP;
use POSIX ();

use Hooks::Receiver;
use Hooks::Test;

# These are much to install unasked; where everything is to run, they are there.
my ($exporter) = grep { -x } map { "$_/prometheus-postgres-exporter" } split /:/, $ENV{PATH};
my ($prometheus) = grep { -x } map { "$_/prometheus" } split /:/, $ENV{PATH};
my $missing = !$exporter ? 'prometheus-postgres-exporter is not installed' : !$prometheus ? 'prometheus is not installed' : undef;
die $missing if $missing && $ENV{CI};
plan skip_all => $missing if $missing;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $http = HTTP::Tiny->new(timeout => 10, proxy => undef, http_proxy => undef);
my $node = hooks_node('main', 'hooks.log_skips' => 'none');
my $receiver = Hooks::Receiver->start;
my @started;

# Starts a program that ends with the test; what it says goes to a file.
sub start
{
	my ($program, @arguments) = @_;
	my $log = "$dir/" . ($program =~ s{.*/}{}r) . '.log';
	my $pid = fork // die "could not fork: $!";

	if ($pid == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>', $log;
		open STDERR, '>&', \*STDOUT;
		exec { $program } $program, @arguments or POSIX::_exit(127);
	}
	push @started, $pid;
	return $log;
}

END
{
	my $status = $?;
	for my $pid (@started)
	{
		kill 'TERM', $pid;
		waitpid $pid, 0;
	}
	$? = $status;
}

sub get
{
	my ($url) = @_;
	my $answer = $http->get($url);

	return $answer->{success} ? $answer->{content} : undef;
}

# A database where something of everything has happened.

create_application($node);
add_users($node, 2, 2);
add_hook($node, trigger => 'raid', url => $receiver->url('/ok'), conditions => { min_viewers => 10 });
add_hook($node, user => 2, trigger => 'raid', url => $receiver->url('/status/500'), attempts => 2, config => { retry_schedule => [60] });
add_event($node, type => 'raid', data => { viewer_count => $_ }) for 5, 20, 30;
add_event($node, user => 2, type => 'raid', data => { viewer_count => 20 });
wait_until(sub { stat($node, 'failed') == 1 && stat($node, 'succeeded') == 2 && stat($node, 'in_flight') == 0 }, 'requests');
wait_until(sub { value($node, q{SELECT deliveries FROM hooks.delivery_states WHERE state = 'retry'}) == 1 }, 'the one that waits');

my ($grants) = slurp_file('monitoring/README.md') =~ /```sql\n(.*?)```/s or die 'no grants';
$node->safe_psql('postgres', $grants);
my ($ret, $out, $error) = $node->psql('postgres', 'SET ROLE hooks_exporter; SELECT * FROM stream_hooks');
like($error, qr/permission denied for table stream_hooks/, 'the role of the exporter sees no hook');

# The exporter.

my $port = PostgreSQL::Test::Cluster::get_free_port();
$ENV{DATA_SOURCE_NAME} = sprintf 'host=%s port=%s user=hooks_exporter dbname=postgres sslmode=disable', $node->host, $node->port;
my $log = start($exporter, '--extend.query-path=monitoring/queries.yml', "--web.listen-address=127.0.0.1:$port");
my $metrics;
wait_until(sub { ($metrics = get("http://127.0.0.1:$port/metrics") // '') =~ /^hooks_stat_succeeded/m }, 'the exporter')
  or diag(slurp_file($log));

sub metric
{
	my ($name, %labels) = @_;
	my @found;

	while ($metrics =~ /^\Q$name\E\{([^}]*)\} (\S+)$/gm)
	{
		my ($has, $value) = ($1, $2);
		push @found, $value unless grep { $has !~ /(?:^|,)\Q$_="$labels{$_}"\E(?:,|$)/ } keys %labels;
	}
	return @found == 1 ? $found[0] : "$name has " . @found . ' values';
}

# All of hooks.stat is exported, with the words of its comments.
for my $row (
	rows(
		$node, q{SELECT a.attname AS name, col_description(a.attrelid, a.attnum) AS comment, v.value
			FROM pg_attribute a JOIN hooks.stat_values() v ON v.name = a.attname
			WHERE a.attrelid = 'hooks.stat'::regclass AND a.attnum > 0}))
{
	is(metric("hooks_stat_$row->{name}", datname => 'postgres'), $row->{value}, "hooks_stat_$row->{name}");
	my ($help) = $metrics =~ /^# HELP hooks_stat_$row->{name} (.*)$/m;
	my ($type) = $metrics =~ /^# TYPE hooks_stat_$row->{name} (.*)$/m;
	is($type, $row->{comment} =~ / now$/ ? 'gauge' : 'counter', '... its type');
	ok($help, '... its description');
}
is(metric('hooks_latency_seconds_count', measure => 'request'), 3, 'the histogram of requests');
is(metric('hooks_latency_seconds_bucket', measure => 'request', le => '+Inf'), 3, '... its last bucket');
is( metric('hooks_latency_seconds_bucket', measure => 'start', le => 10),
	value($node, q{SELECT count FROM hooks.latency WHERE measure = 'start' AND le = 10}) // 'no such bound',
	'... and one between');
is(metric('hooks_worker_state_active', state => 'running'), 1, 'the worker is running');
is(metric('hooks_worker_state_active', state => 'failed'), 0, '... and not failed');
is(metric('hooks_worker_work', datname => 'postgres'), 0, '... and has nothing to look at');
is(metric('hooks_deliveries_number', state => 'retry'), 1, 'a delivery waits');
is(metric('hooks_deliveries_number', state => 'given_up'), 0, '... none was given up');
cmp_ok(metric('hooks_deliveries_oldest_seconds', state => 'retry'), '>', 0, '... how long');
is($metrics =~ /^pg_exporter_last_scrape_error(?:\{[^}]*\})? (\S+)$/m ? $1 : 'not said', 0, 'nothing has failed');

# The same of a server whose worker has never run.
$node->safe_psql('postgres', 'CREATE DATABASE quiet');
$node->safe_psql('quiet', 'CREATE EXTENSION hooks; GRANT USAGE ON SCHEMA hooks TO hooks_exporter');
for my $query (slurp_file('monitoring/queries.yml') =~ /^  query: (?:"(.*?)"|\|\n(.*?)\n(?=  metrics:))/gms)
{
	next unless defined $query;
	my ($status) = $node->psql('quiet', "SET ROLE hooks_exporter; $query");
	is($status, 0, 'a query in a database that is new');
}

# The rules.

my ($promtool) = $prometheus =~ s/prometheus$/promtool/r;
is(system("cd monitoring && '$promtool' test rules alerts_test.yml > '$dir/rules.log' 2>&1"), 0, 'each alert has a case that it is raised in, and one that it is not')
  or diag(slurp_file("$dir/rules.log"));
my @alerts = slurp_file('monitoring/alerts.yml') =~ /- alert: (\w+)/g;
my @cases = slurp_file('monitoring/alerts_test.yml') =~ /alertname: (\w+)/g;
is_deeply([ sort @cases ], [ sort @alerts ], '... and none is without');

# Every expression of the rules and the dashboard has something to say: of rules, what they compare.

my $page = PostgreSQL::Test::Cluster::get_free_port();
append_to_file(
	"$dir/prometheus.yml", <<"EOF");
global: {scrape_interval: 1s, evaluation_interval: 1s}
scrape_configs:
  - job_name: postgres
    static_configs: [{targets: ["127.0.0.1:$port"]}]
EOF
$log = start(
	$prometheus, "--config.file=$dir/prometheus.yml",
	"--storage.tsdb.path=$dir/data", "--web.listen-address=127.0.0.1:$page");

sub query
{
	my ($expression) = @_;
	my $answer = get("http://127.0.0.1:$page/api/v1/query?" . $http->www_form_urlencode({ query => $expression })) // return -1;

	return scalar @{ decode_json($answer)->{data}{result} };
}

wait_until(sub { query('rate(hooks_stat_succeeded[5s])') > 0 }, 'Prometheus', 60) or diag(slurp_file($log));
my $dashboard = decode_json(slurp_file('monitoring/grafana.json'));
for my $panel (@{ $dashboard->{panels} })
{
	for my $target (@{ $panel->{targets} })
	{
		my $expression = $target->{expr};
		$expression =~ s/\$__rate_interval/5s/g;
		$expression =~ s/\$database/.*/g;
		cmp_ok(query($expression), '>', 0, "dashboard: $panel->{title}: $target->{legendFormat}");
	}
}
my %used = map { $_ => 1 } slurp_file('monitoring/alerts.yml') =~ /\b(hooks_[a-z_]+)/g;
for my $name (sort keys %used)
{
	cmp_ok(query($name), '>', 0, "alerts: $name");
}

done_testing();
