=pod

=head1 NAME

Hooks::Pgoutput - what PostgreSQL's own output plugin says of changes

=head1 SYNOPSIS

  my @changes = Hooks::Pgoutput::changes(slurp_file('written by pg_recvlogical'));

=head1 DESCRIPTION

Reads the binary messages of logical replication, protocol version 1, of whole
transactions, as pg_recvlogical writes them to a file: each followed by a
newline.  Dies of anything that it does not understand.

=over

=item changes($bytes)

What was changed, in order, as references to hashes: kind (insert, update,
delete or truncate), relation ("schema.name"), new and old (references to
hashes of texts by column), identity (of the relation: "f" is FULL), and is_key
where the old row is only its key.

=back

=cut

package Hooks::Pgoutput;

use strict;
use warnings;

use Carp;

my $bytes;

# Takes what a template of unpack says from the beginning.
sub take
{
	my ($template) = @_;
	my @values = unpack "$template a*", $bytes;

	$bytes = pop @values;
	return wantarray ? @values : $values[0];
}

# A row: its columns by name, without those that are null or were left out.
sub row
{
	my ($relation) = @_;
	my $n = take('n');
	my %row;

	croak "a row of $relation->{name} has $n columns" if $n != @{ $relation->{columns} };
	foreach my $column (@{ $relation->{columns} })
	{
		my $kind = take('a');

		$row{$column} = take('N/a') if $kind eq 't';
	}
	return \%row;
}

sub relation
{
	my ($oid, $schema, $name, $identity, $n) = take('N Z* Z* a n');

	return ($oid, { name => "$schema.$name", identity => $identity, columns => [ map { (take('C Z* N N'))[1] } 1 .. $n ] });
}

sub change
{
	my ($type, $relation) = @_;
	my %names = (I => 'insert', U => 'update', D => 'delete');
	my %change = (kind => $names{$type}, relation => $relation->{name}, identity => $relation->{identity});
	my $part = take('a');

	if ($part eq 'K' || $part eq 'O')
	{
		$change{old} = row($relation);
		$change{is_key} = $part eq 'K';
		$part = $type eq 'D' ? '' : take('a');
	}
	croak "unknown part of a row: $part" unless $part eq ($type eq 'D' ? '' : 'N');
	$change{new} = row($relation) if $part eq 'N';
	return \%change;
}

sub changes
{
	($bytes) = @_;
	my (%relations, @changes);

	while ($bytes ne '')
	{
		my $type = take('a');

		if ($type eq 'B') { take('a20') }
		elsif ($type eq 'C') { take('a25') }
		elsif ($type eq 'Y') { take('N Z* Z*') }
		elsif ($type eq 'R')
		{
			my ($oid, $relation) = relation();
			$relations{$oid} = $relation;
		}
		elsif ($type eq 'T')
		{
			my ($n) = take('N C');
			push @changes, map { { kind => 'truncate', relation => $relations{ take('N') }{name} } } 1 .. $n;
		}
		elsif ($type =~ /[IUD]/)
		{
			push @changes, change($type, $relations{ take('N') });
		}
		else { croak "unknown message: $type" }
		croak "a message of type $type ends too late" unless take('a') eq "\n";
	}
	return @changes;
}

1;
