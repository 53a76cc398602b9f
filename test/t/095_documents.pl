# What the documents show happens as they show it.
#
# A block of ```sql in doc/*.md counts if a statement in it has a result: lines
# that begin with "-- " and follow its last line directly, as psql -At prints
# it, or the ERROR, DETAIL and HINT of an error.  All its statements are run as
# they are written, a document in one session; those without a result only have
# to succeed.

use strict;
use warnings;

use Hooks::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $complaint = qr/^(?:ERROR|FATAL|PANIC|DETAIL|HINT):  /;

# Does a statement end with this line of it?
sub complete
{
	my ($text) = @_;

	$text =~ s/^\s*--.*$//mg;
	return $text =~ /;\s*$/ && !(($text =~ tr/'//) % 2) && !((() = $text =~ /\$\$/g) % 2);
}

# The statements of a block in order, each with its text and lines of result.
sub statements
{
	my ($block) = @_;
	my @statements;
	my $text = '';

	foreach my $line (split /\n/, $block)
	{
		if ($text eq '' && @statements && $line =~ /^--(?: (.*))?$/ && !$statements[-1]{over})
		{
			push @{ $statements[-1]{result} }, $1 // '';
			next;
		}
		$statements[-1]{over} = 1 if @statements;
		$text .= "$line\n";
		next unless complete($text);
		push @statements, { text => $text };
		$text = '';
	}
	die "a block ends within a statement:\n$text" if $text =~ /^\s*(?!--)\S/m;
	return @statements;
}

# The statements of those blocks of a document that have results.
sub document
{
	my ($text) = @_;
	my @statements;

	while ($text =~ /^```sql\n(.*?)^```$/msg)
	{
		my @block = statements($1);

		push @statements, @block if grep { $_->{result} } @block;
	}
	return @statements;
}

# Runs statements in one session and notes the lines that each of them prints.
sub run_statements
{
	my ($node, $database, @statements) = @_;
	my $mark = '=== end of a statement ===';
	my ($stdout, $stderr);

	$node->psql(
		$database, join('', map { "$_->{text}\\echo '$mark'\n\\warn '$mark'\n" } @statements),
		stdout => \$stdout, stderr => \$stderr, on_error_stop => 0);
	my @rows = split /^\Q$mark\E\n?/m, $stdout;
	my @complaints = split /^\Q$mark\E\n?/m, $stderr;

	foreach my $statement (@statements)
	{
		my $rows = shift(@rows) // '';
		my @lines = map { s/^psql:<stdin>:\d+: //r } split /\n/, shift(@complaints) // '';

		# Of one row that is empty, split would leave nothing.
		push @{ $statement->{printed} },
		  (chomp($rows) ? ($rows eq '' ? '' : split(/\n/, $rows, -1)) : ()),
		  grep { $_ =~ $complaint } @lines;
	}
	return;
}

# The format, tried out.
is_deeply(
	[ statements("-- a comment\nSELECT 1;\n-- 1\n--\n-- x\n\n-- another\nSELECT ';\n';\nDO \$\$\n;\n\$\$;\n-- 2\n") ],
	[   { text => "-- a comment\nSELECT 1;\n", result => [ '1', '', 'x' ], over => 1 },
		{ text => "\n-- another\nSELECT ';\n';\n", over => 1 },
		{ text => "DO \$\$\n;\n\$\$;\n", result => ['2'] } ],
	'blocks are taken apart');

my $node = hooks_node('documents');
my %checked;

foreach my $file (sort glob 'doc/*.md')
{
	my ($name) = $file =~ m{([^/]+)\.md$};
	my @statements = document(slurp_file($file));

	next unless @statements;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	create_application($node, $name);
	$node->safe_psql($name, q{INSERT INTO users VALUES ('6f2c0f4e-5ad2-4c44-8b8e-8a5f2f1f3a10', 'of the README')});
	run_statements($node, $name, @statements);
	foreach my $statement (@statements)
	{
		my @printed = @{ $statement->{printed} || [] };

		if ($statement->{result})
		{
			is_deeply(\@printed, $statement->{result}, "$name: $statement->{text}");
			$checked{$name}++;
		}
		else
		{
			is_deeply([ grep { $_ =~ $complaint } @printed ], [], "$name: $statement->{text}");
		}
	}
}

cmp_ok($checked{$_}, '>', 20, "results of doc/$_.md were compared") for 'conditions', 'templates', 'delivery';
cmp_ok($checked{actions}, '>', 5, 'results of doc/actions.md were compared');

finish($node);
done_testing();
