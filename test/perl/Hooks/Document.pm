=pod

=head1 NAME

Hooks::Document - what the documents show happens as they show it

=head1 SYNOPSIS

  use Hooks::Document;

  my $compared = check_document($node, 'database', 'doc/conditions.md');

=head1 DESCRIPTION

A statement in a block of ```sql may have a result: lines that begin with
"-- " and follow its last line directly, as psql -At prints it, or the ERROR,
DETAIL and HINT of an error.  All statements of a block are run as they are
written, a document in one session; those without a result only have to
succeed.

=head1 FUNCTIONS

=over

=item statements($block)

The statements of a block in order, as references to hashes: text, and result,
a reference to its lines, if it has one.

=item check_document($node, $database, $file [, %options])

Runs a document in a database, a test for each statement.  Returns how many
results were compared.  Blocks in which no statement has a result are left
out, but with all => 1.  With replace => [ $shown, $real ] the document says
$shown where the server says $real.

=back

=cut

package Hooks::Document;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(statements check_document);

my $error = qr/^(?:ERROR|FATAL|PANIC):  /;
my $complaint = qr/^(?:ERROR|FATAL|PANIC|DETAIL|HINT):  /;

# Does a statement end with this line of it?
sub complete
{
	my ($text) = @_;

	$text =~ s/^\s*--.*$//mg;
	return $text =~ /;\s*$/ && !(($text =~ tr/'//) % 2) && !((() = $text =~ /\$\$/g) % 2);
}

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

# The statements of all blocks of a document, or of those that have results.
sub document
{
	my ($text, $all) = @_;
	my @statements;

	while ($text =~ /^```sql\n(.*?)^```$/msg)
	{
		my @block = statements($1);

		push @statements, @block if $all || grep { $_->{result} } @block;
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
		$database, join('', map { "$_->{sql}\\echo '$mark'\n\\warn '$mark'\n" } @statements),
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

sub replace
{
	my ($text, $old, $new) = @_;

	$text =~ s/\Q$old\E/$new/g if $old ne '';
	return $text;
}

sub check_document
{
	my ($node, $database, $file, %options) = @_;
	my ($name) = $file =~ m{([^/]+)\.md$};
	my ($shown, $real) = @{ $options{replace} || [ '', '' ] };
	my @statements = document(slurp_file($file), $options{all});
	my $compared = 0;

	$_->{sql} = replace($_->{text}, $shown, $real) foreach @statements;
	run_statements($node, $database, @statements);
	foreach my $statement (@statements)
	{
		my @printed = map { replace($_, $real, $shown) } @{ $statement->{printed} || [] };

		if ($statement->{result})
		{
			is_deeply(\@printed, $statement->{result}, "$name: $statement->{text}");
			$compared++;
		}
		else
		{
			is_deeply([ grep { $_ =~ $error } @printed ], [], "$name: $statement->{text}");
		}
	}
	return $compared;
}

1;
