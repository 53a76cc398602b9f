# Bench::Results: values of rounds, and what is made of them.
#
# A measure has rows, a row has a value per round.  A row's reference is
# another row of the same measure; the ratio of the two is taken round by
# round, because what disturbs one round disturbs both.

package Bench::Results;

use strict;
use warnings;

use Exporter 'import';
use List::Util qw(min max sum);

our @EXPORT_OK = qw(median percentile);

sub new { return bless { measures => [] }, shift }

sub median { return percentile(0.5, @_) }

# The smallest value that is no smaller than this share of all.
sub percentile
{
	my ($share, @values) = sort_tail(@_);
	my $rank = int($share * @values);
	$rank-- if $rank >= $share * @values;
	$rank = 0 if $rank < 0;
	return ($values[$rank] + $values[ $#values - $rank ]) / 2 if $share == 0.5;
	return $values[$rank];
}

sub sort_tail
{
	my ($first, @rest) = @_;
	return ($first, sort { $a <=> $b } @rest);
}

# Begins a measure; the rows added from now on are its rows.
sub begin
{
	my ($self, $name, $title) = @_;
	push @{ $self->{measures} }, { name => $name, title => $title, rows => [], notes => [] };
	return;
}

sub current { return $_[0]{measures}[-1] }

# Adds the value of a round.  Options: reference => the label of another row;
# others => the share of the machine that other processes took meanwhile.
sub add
{
	my ($self, $label, $unit, $value, %o) = @_;
	my ($row) = grep { $_->{label} eq $label } @{ $self->current->{rows} };

	if (!$row)
	{
		$row = { label => $label, unit => $unit, values => [], others => [] };
		$row->{reference} = $o{reference} if defined $o{reference};
		push @{ $self->current->{rows} }, $row;
	}
	push @{ $row->{values} }, $value;
	push @{ $row->{others} }, $o{others} if defined $o{others};
	return;
}

# Says something about the measure below its table.
sub note
{
	my ($self, $text) = @_;
	my $notes = $self->current->{notes};
	push @$notes, $text if !grep { $_ eq $text } @$notes;
	return;
}

sub ratios
{
	my ($measure, $row) = @_;
	my ($reference) =
	  grep { defined $row->{reference} && $_->{label} eq $row->{reference} } @{ $measure->{rows} };

	return if !$reference;
	my $rounds = min(scalar @{ $row->{values} }, scalar @{ $reference->{values} });
	return map { $row->{values}[$_] / $reference->{values}[$_] }
	  grep { $reference->{values}[$_] != 0 } 0 .. $rounds - 1;
}

# Three or four digits that mean something, thousands set apart.
sub number
{
	my ($value) = @_;
	my $text = sprintf abs($value) >= 100 ? '%.0f' : abs($value) >= 10 ? '%.1f' : '%.2f', $value;
	1 while $text =~ s/^(-?\d+)(\d{3})(?!\d)/$1,$2/;
	return $text;
}

# The measure begun last, as a table.
sub table
{
	my ($self) = @_;
	my $measure = $self->current;
	my @rows = @{ $measure->{rows} };
	my $width = max(0, map { length $_->{label} } @rows);
	my $format = "    %-${width}s  %-8s %10s %10s %10s  %-20s %6s\n";
	my $text = sprintf "\n%-4s%s\n", $measure->{name}, $measure->{title};

	$text .= sprintf $format, '', '', qw(median min max ratio others);
	for my $row (@rows)
	{
		my @values = @{ $row->{values} };
		my @ratios = ratios($measure, $row);
		my @others = @{ $row->{others} };

		$text .= sprintf $format, $row->{label}, $row->{unit},
		  map({ number($_) } median(@values), min(@values), max(@values)),
		  @ratios ? sprintf('%.2f (%.2f to %.2f)', median(@ratios), min(@ratios), max(@ratios)) : '',
		  @others ? sprintf('%.0f %%', 100 * sum(@others) / @others) : '';
	}
	$text .= "    $_\n" for @{ $measure->{notes} };
	return $text =~ s/ +$//mgr;
}

# The same for machines.
sub structure
{
	my ($self) = @_;
	my %measures;

	for my $measure (@{ $self->{measures} })
	{
		my @rows;
		for my $row (@{ $measure->{rows} })
		{
			my @values = @{ $row->{values} };
			my @ratios = ratios($measure, $row);
			my %row = (
				%$row,
				median => median(@values),
				min => min(@values),
				max => max(@values),
			);
			@row{qw(ratio ratios)} = (median(@ratios), \@ratios) if @ratios;
			push @rows, \%row;
		}
		$measures{ $measure->{name} } =
		  { title => $measure->{title}, rows => \@rows, notes => $measure->{notes} };
	}
	return \%measures;
}

1;
