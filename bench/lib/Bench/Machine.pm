# Bench::Machine: what the machine is, and who uses its processors.

package Bench::Machine;

use strict;
use warnings;

use Exporter 'import';
use POSIX ();

our @EXPORT_OK = qw(facts watch_others cpu_us memory_kb);

my $ticks_per_second = POSIX::sysconf(POSIX::_SC_CLK_TCK());

sub slurp
{
	my ($path) = @_;
	open my $file, '<', $path or return '';
	local $/;
	return scalar <$file> // '';
}

# What a reader of numbers wants to know of the machine.
sub facts
{
	my $cpus = slurp('/proc/cpuinfo');
	my ($model) = $cpus =~ /^model name\s*:\s*(.*)$/m;
	my $cores = () = $cpus =~ /^processor\s*:/mg;
	my ($memory) = slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+) kB/m;
	my ($load) = slurp('/proc/loadavg') =~ /^(\S+)/;

	return {
		processor => $model // 'unknown',
		cores => $cores,
		memory_mb => int($memory / 1024),
		kernel => join(' ', (POSIX::uname())[ 0, 2 ]),
		load_before => $load,
	};
}

# The fields of /proc/PID/stat behind the name, from the state (field 3) on.
sub process_stat
{
	my ($pid) = @_;
	my ($rest) = slurp("/proc/$pid/stat") =~ /^.*\) (.*)$/s or return;
	return split ' ', $rest;
}

# Processor time of a process, all threads, in microseconds.
sub cpu_us
{
	my ($pid) = @_;
	my @stat = process_stat($pid) or die "process $pid is gone\n";
	return ($stat[11] + $stat[12]) * 1e6 / $ticks_per_second;
}

# Ticks that we and all our descendants, the dead included, have used.
sub our_ticks
{
	my (%children, %ticks);
	my $sum = 0;

	for my $pid (map { m{(\d+)} } glob '/proc/[0-9]*')
	{
		my @stat = process_stat($pid) or next;
		push @{ $children{ $stat[1] } }, $pid;
		$ticks{$pid} = $stat[11] + $stat[12] + $stat[13] + $stat[14];
	}
	my @todo = ($$);
	while (defined(my $pid = shift @todo))
	{
		$sum += $ticks{$pid} // 0;
		push @todo, @{ $children{$pid} // [] };
	}
	return $sum;
}

# Ticks of all processors: those spent on anything, and all.
sub all_ticks
{
	my ($user, $nice, $system, $idle, $wait, $irq, $softirq, $stolen) =
	  slurp('/proc/stat') =~ /^cpu\s+(\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)/m;
	my $busy = $user + $nice + $system + $irq + $softirq + $stolen;
	return ($busy, $busy + $idle + $wait);
}

# Starts to watch; the function that it returns says what share of the machine
# (0 to 1) has gone to processes that are not ours since.
sub watch_others
{
	my $ours = our_ticks();
	my ($busy, $all) = all_ticks();

	return sub {
		my ($busy_now, $all_now) = all_ticks();
		my $others = ($busy_now - $busy) - (our_ticks() - $ours);
		return 0 if $all_now == $all || $others < 0;
		return $others / ($all_now - $all);
	};
}

# Memory of a process that no other process shares, in kilobytes.
sub memory_kb
{
	my ($pid) = @_;
	my ($kb) = slurp("/proc/$pid/status") =~ /^RssAnon:\s*(\d+) kB/m
	  or die "cannot tell the memory of process $pid\n";
	return $kb;
}

1;
