# The documents for administrators are complete and true: each function, view,
# table and setting of the extension is described as the server has it, each
# message of the server log is explained, no document names what does not exist,
# and each example does what it shows.

use strict;
use warnings;

use Hooks::Document;
use Hooks::Receiver;
use Hooks::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my %text = map { $_ => slurp_file($_) } 'README.md', 'SECURITY.md', glob('doc/*.md'), glob('monitoring/*.md');

# Settings are at their defaults at first.
my $node = hooks_node('reference', streaming => 'logical', timezone => 'UTC', map { ("hooks.$_" => undef) } qw(allow_http allow_addresses rotation_age breaker));
create_application($node);

# ----------
# Functions, views and tables
# ----------

# What the extension has; "how" is what its section has to show.
my $arrow = "\xe2\x86\x92";
my %functions;
my %relations;
my $granted = q{CASE WHEN bool_or(a.grantee = 0) THEN 'everybody'
	WHEN bool_or(a.grantee = 'pg_monitor'::regrole) THEN '`pg_monitor`' ELSE 'nobody' END};
my $member = q{JOIN pg_depend AS d ON d.objid = o.oid AND d.classid = o.tableoid AND d.deptype = 'e'
	JOIN pg_extension AS x ON x.oid = d.refobjid AND d.refclassid = x.tableoid AND x.extname = 'hooks'};

push @{ $functions{ $_->{name} } }, { %$_, how => "hooks.$_->{name}($_->{arguments}) $arrow $_->{result}" }
  foreach rows(
	$node, qq{SELECT o.proname AS name, $granted AS granted, pg_get_function_arguments(o.oid) AS arguments,
		pg_get_function_result(o.oid) AS result
	FROM pg_proc AS o $member, aclexplode(coalesce(o.proacl, acldefault('f', o.proowner))) AS a
	GROUP BY o.oid, o.proname});
$relations{ $_->{name} } = $_
  foreach rows(
	$node, qq{SELECT o.relname AS name, $granted AS granted,
		(SELECT json_agg(c.attname || ' ' || format_type(c.atttypid, c.atttypmod) ORDER BY c.attnum)
		 FROM pg_attribute AS c WHERE c.attrelid = o.oid AND c.attnum > 0 AND NOT c.attisdropped) AS how
	FROM pg_class AS o $member, aclexplode(coalesce(o.relacl, acldefault('r', o.relowner))) AS a
	WHERE o.relkind IN ('r', 'v') GROUP BY o.oid, o.relname});
cmp_ok(scalar keys %functions, '>', 40, 'the extension has functions');
cmp_ok(scalar keys %relations, '>', 20, '... and views and tables');

# The functions that a section shows, each on lines that are indented, and the
# columns that its table lists.
sub signatures
{
	my ($section) = @_;
	my @signatures;

	while ($section =~ /^((?:    .*\n)+)/mg)
	{
		my $block = $1;

		push @signatures, map { s/\s+/ /gr =~ s/^ | $//gr } split /^(?=    hooks\.)/m, $block
		  if $block =~ /^    hooks\.\w+\(.* $arrow /s;
	}
	return sort @signatures;
}

sub columns
{
	my ($section) = @_;
	my ($table) = $section =~ /^\| column \| type \| \|\n\|.*\n((?:\|.*\n)+)/m;
	my @columns;

	push @columns, "$1 $2" while $table =~ /^\| `(\w+)` \| ([^|]+?) \|/mg;
	return @columns;
}

my ($described, $internal) = split /^## Internal\n/m, $text{'doc/sql.md'};
my %section;
while ($described =~ /^### hooks\.(\w+)\n(.*?)(?=^##|\z)/msg)
{
	ok(!exists $section{$1}, "hooks.$1 has one section");
	$section{$1} = $2;
}
my %is_internal = map { $_ => 1 } $internal =~ /`hooks\.(\w+)(?:\(\))?`/g;

foreach my $name (sort keys %section)
{
	my ($said) = $section{$name} =~ /^Granted to ([^.,;:]+)/m;

	if ($functions{$name})
	{
		is_deeply([ signatures($section{$name}) ], [ sort map { $_->{how} } @{ $functions{$name} } ],
			"hooks.$name() is shown as it is");
		is_deeply([ map { $_->{granted} } @{ $functions{$name} } ], [ map { $said } @{ $functions{$name} } ],
			'... and who may call it');
		like($section{$name}, qr/^```sql\n.*^--(?: |$)/ms, '... and an example with its result');
	}
	elsif ($relations{$name})
	{
		is_deeply([ columns($section{$name}) ], $relations{$name}{how}, "hooks.$name has the columns that are shown");
		is($said, $relations{$name}{granted}, '... and who may read it');
		like($section{$name}, qr/^```sql\n.*^--(?: |$)/ms, '... and an example with its result');
	}
	else
	{
		fail("hooks.$name exists");
	}
}
is_deeply([ grep { !$section{$_} && !$is_internal{$_} } sort keys %functions, keys %relations ], [], 'nothing is missing in doc/sql.md');
is_deeply([ grep { $section{$_} } sort keys %is_internal ], [], 'what is internal has no section');
is_deeply([ grep { !$functions{$_} && !$relations{$_} } sort keys %is_internal ], [], '... and exists');

# The application's tables, as hooks.setup() makes them.
my ($tables) = $described =~ /^## The application's tables\n(.*?)(?=^## )/ms;
foreach my $name (qw(stream_hooks stream_hook_logs))
{
	my ($section) = $tables =~ /^### $name\n(.*?)(?=^##|\z)/ms;

	is_deeply(
		[ columns($section) ],
		[ map { $_->{how} } rows(
				$node, "SELECT attname || ' ' || format_type(atttypid, atttypmod) AS how FROM pg_attribute
				WHERE attrelid = '$name'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum") ],
		"$name has the columns that are shown");
}

# ----------
# Settings
# ----------

my $query = q{SELECT substr(name, 7) AS name, vartype, current_setting(name) AS value, unit, min_val, max_val, enumvals, context
	FROM pg_settings WHERE name LIKE 'hooks.%'};
my %settings = map { $_->{name} => $_ } rows($node, $query);

# pg_settings leaves out what its reader may not see.
$node->safe_psql('postgres', 'CREATE ROLE anybody');
my %visible = map { $_ => 1 } split /\n/, value($node, "SET ROLE anybody; SELECT name FROM ($query) AS q");

# The line that follows a setting's heading.
sub facts
{
	my ($setting) = @_;
	my $type = $setting->{vartype};
	my $most = $setting->{max_val} // '';
	my $unit = $setting->{unit} ? " $setting->{unit}" : '';
	my $range = $most eq 2**31 - 1 ? "$unit or more" : " to $most$unit";

	return 'Default '
	  . ($setting->{value} eq '' ? 'empty' : "`$setting->{value}`")
	  . ($type eq 'integer' ? ", $setting->{min_val}$range" : '')
	  . ($type eq 'enum' ? ', or ' . join(', ', map { "`$_`" } grep { $_ ne $setting->{value} } @{ $setting->{enumvals} }) : '')
	  . ($setting->{context} eq 'postmaster' ? '. Restart.' : '. Reload.')
	  . ($visible{ $setting->{name} } ? '' : ' Superusers only.');
}

my %facts;
$facts{$1} = $2 while $text{'doc/settings.md'} =~ /^## hooks\.(\w+)\n(.*)/mg;
is_deeply([ sort keys %facts ], [ sort keys %settings ], 'doc/settings.md has a heading for each setting');
is($facts{$_}, facts($settings{$_}), "hooks.$_ is what doc/settings.md says") foreach sort keys %settings;

# ----------
# Messages
# ----------

# What src and the SQL say by themselves, with its values left out.
sub messages
{
	my ($pattern, $value, @files) = @_;
	my %messages;

	foreach my $source (map { slurp_file($_) } @files)
	{
		while ($source =~ /$pattern/g)
		{
			my $message = $1 =~ s/"\s+"//gr =~ s/\\"/"/gr;

			$message =~ s/$value/\xe2\x80\xa6/g;
			$messages{$message} = 1;
		}
	}
	return sort keys %messages;
}

my @logged = messages(qr/ereport\((?:LOG|WARNING|LOG_SERVER_ONLY),\s*\(errcode\(.*?errmsg\("((?:[^"\\]|\\.|"\s+")+)"/s,
	qr/%[a-z]+/, glob('src/*.c'));
cmp_ok(scalar @logged, '>', 10, 'there are messages for the server log');
is_deeply([ grep { index($text{'doc/operations.md'}, "`$_`") < 0 } @logged ], [], '... which doc/operations.md explains');

my @raised = messages(qr/RAISE (?:WARNING|NOTICE|INFO) '([^']+)'/, qr/%/, glob('hooks--*.sql'));
cmp_ok(scalar @raised, '>', 8, 'there are messages of CREATE EXTENSION');
is_deeply([ grep { index($text{'doc/install.md'}, "`$_`") < 0 } @raised ], [], '... which doc/install.md explains');

# ----------
# Names
# ----------

foreach my $file (sort keys %text)
{
	my %named = map { $_ => 1 } $text{$file} =~ m{(?<![\w/])hooks\.(\w+)}g;

	is_deeply([ grep { !$functions{$_} && !$relations{$_} && !$settings{$_} } sort keys %named ],
		[], "$file names nothing that does not exist");
}

# The headings of a document as links call them.
sub anchors
{
	my ($document) = @_;

	$document =~ s/^```.*?^```$//msg;
	return map { lc(s/[^\w\s-]//gr =~ s/\s/-/gr) => 1 } $document =~ /^#+ (.*)$/mg;
}

foreach my $file (sort keys %text)
{
	my @broken;

	while ($text{$file} =~ /\]\(([\w.\/]*)#([^)]+)\)/g)
	{
		my ($target, $anchor) = ($1, $2);
		my ($folder) = $file =~ m{^(.*/)?};

		$target = $target eq '' ? $file : ($folder // '') . $target;
		$target =~ s{[^/]+/\.\./}{};
		my %anchors = anchors($text{$target} // '');

		push @broken, "$target#$anchor" unless $anchors{$anchor};
	}
	is_deeply(\@broken, [], "$file links to headings that are there");
}

# ----------
# Examples
# ----------

my $receiver = Hooks::Receiver->start;
configure($node, { 'hooks.allow_http' => 'on', 'hooks.allow_addresses' => '127.0.0.0/8, ::1/128' });

foreach my $name (qw(install operations sql))
{
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	create_application($node, $name);
	$node->safe_psql($name, q{INSERT INTO users VALUES ('6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10', 'of the README')});

	# It begins with an application that has no hooks yet.
	$node->safe_psql($name, 'DROP EXTENSION hooks; DROP TABLE stream_hook_logs, stream_hooks') if $name eq 'install';
	cmp_ok(
		check_document($node, $name, "doc/$name.md", all => 1, replace => [ 'https://example.com', $receiver->url('/ok') ]),
		'>', 10, "results of doc/$name.md were compared");
}

finish($node);
done_testing();
