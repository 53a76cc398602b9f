# What the documents show happens as they show it: Hooks::Document says how they
# show it.

use strict;
use warnings;

use Hooks::Document;
use Hooks::Test;
use Test::More;

# The format, tried out.
is_deeply(
	[ statements("-- a comment\nSELECT 1;\n-- 1\n--\n-- x\n\n-- another\nSELECT ';\n';\nDO \$\$\n;\n\$\$;\n-- 2\n") ],
	[   { text => "-- a comment\nSELECT 1;\n", result => [ '1', '', 'x' ], over => 1 },
		{ text => "\n-- another\nSELECT ';\n';\n", over => 1 },
		{ text => "DO \$\$\n;\n\$\$;\n", result => ['2'] } ],
	'blocks are taken apart');

my $node = hooks_node('documents', streaming => 'logical', max_worker_processes => 50);
my %checked;

# 096_sql_reference.pl has these.
my %administration = map { $_ => 1 } qw(install operations sql);

foreach my $file (sort glob 'doc/*.md')
{
	my ($name) = $file =~ m{([^/]+)\.md$};

	next if $administration{$name};
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	create_application($node, $name);
	$node->safe_psql($name, q{INSERT INTO users VALUES ('6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10', 'of the README')});
	$checked{$name} = check_document($node, $name, $file);
}

cmp_ok($checked{$_}, '>', 20, "results of doc/$_.md were compared") for 'conditions', 'templates', 'delivery';
cmp_ok($checked{sync}, '>', 5, 'results of doc/sync.md were compared');
cmp_ok($checked{actions}, '>', 5, 'results of doc/actions.md were compared');

finish($node);
done_testing();
