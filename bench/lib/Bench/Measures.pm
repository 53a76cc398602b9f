# Bench::Measures: what is measured, a function for each measure.
#
# Each is called with a Bench and adds its rows to the results.  README.md
# says how to read them.

package Bench::Measures;

use strict;
use warnings;

use IO::Socket::INET;
use List::Util qw(max sum);
use Time::HiRes qw(sleep time);

use Bench::Load;
use Bench::Machine qw(cpu_us memory_kb);
use Bench::Results qw(median percentile);
use Bench::Session;

my @measures = (
	[ P1 => 'webhooks delivered and logged', \&deliveries ],
	[ P3 => 'from commit to the request\'s arrival', \&latency ],
	[ P4 => 'INSERT of one event when no hook wants it', \&unwanted ],
	[ P5 => 'INSERT of one event when a hook wants it', \&wanted ],
	[ P6 => 'INSERT ... SELECT of many events', \&bulk ],
	[ P7 => 'reading the queue while others hold on to the past', \&held ],
	[ P8 => 'a flood of chat messages that match nothing', \&flood ],
	[ P9 => 'users beside one who floods', \&beside ],
	[ P10 => 'restart with a full queue', \&restart ],
	[ P11 => 'memory of the worker', \&memory ],
	[ P12 => 'WAL per event', \&wal ],
	[ P14 => 'backtest of a hook on stored events', \&backtest ],
	[ P15 => 'rendering of templates', \&rendering ],
	[ P16 => 'a hub and a node', \&node ],
	[ P17 => 'who is served, and how', \&executors ],
);

sub names { return map { $_->[0] } @measures }

# Measures; false when that has failed, which the results then say.
sub run
{
	my ($bench, $name) = @_;
	my ($measure) = grep { $_->[0] eq $name } @measures;

	$bench->say("$name: $measure->[1]");
	$bench->results->begin($name, $measure->[1]);
	my $ok = eval { $measure->[2]->($bench); 1 };
	if (!$ok)
	{
		$bench->say("FAILED: $@" . $bench->server->log_tail);
		$bench->results->note('FAILED: ' . (split /\n/, $@)[0]);
	}
	$bench->server->stop;
	return $ok;
}

# ----------
# P1
# ----------

sub deliveries
{
	my ($bench) = @_;
	my $users = 10_000;
	my $events = $bench->scale(100_000, 8_000);
	my $script = $bench->event_script($users);
	my @fill = (script => $script, clients => 4, transactions => $events / 4, async => 1);
	my $batch = 20;
	my @fill_batches = (
		script => $bench->event_script($users, rows => $batch),
		clients => 4, transactions => $events / 4 / $batch, async => 1);
	my $alone = 'libcurl alone, 16 at once';

	# Everything from "start", which may return a load, until all is logged.
	my $measure = sub {
		my ($label, $profile, $start) = @_;
		my $done = $bench->done;
		my $worker = $bench->server->worker;
		my $before = $worker ? cpu_us($worker) : 0;
		my ($rate, $cpu, $others) = $bench->watched(
			sub {
				my $from = time;
				my $load = $start->();
				$worker //= wait_for_worker($bench);
				my $stop = $bench->profile($profile, $worker);
				$load->finish if $load;
				$bench->wait_done($done + $events);
				my $seconds = time - $from;
				$stop->();
				return ($events / $seconds, (cpu_us($worker) - $before) / $events);
			});
		my $logged = $bench->session->value(
			"SELECT count(*) FROM stream_hook_logs WHERE status = 'success'");
		die "$logged of $events deliveries were logged as successes\n" if $logged < $events;
		$bench->add($label, 'per s', $rate, reference => $alone, %$others);
		$bench->add("$label: CPU of the worker", 'us each', $cpu, reference => "$alone: its CPU");
	};

	$bench->begin;
	$bench->add_users($users);
	$bench->add_hooks($users, 'donation');
	$bench->interleave(
		[
			$alone,
			sub {
				my ($rate, $cpu, $others) =
				  $bench->watched(sub { $bench->sink->baseline(16, $bench->scale(5, 1)) });
				$bench->add($alone, 'per s', $rate, %$others);
				$bench->add("$alone: its CPU", 'us each', $cpu);
			}
		],
		[
			'steady',
			sub {
				$bench->clear;
				$bench->warm_up($script);
				$measure->('from the first INSERT on', 'P1-steady',
					sub { return Bench::Load->start($bench->server, @fill) });
			}
		],
		[
			'batches',
			sub {
				$bench->clear;
				$bench->warm_up($script);
				$measure->("the same, $batch events at once", 'P1-batches',
					sub { return Bench::Load->start($bench->server, @fill_batches) });
			}
		],
		[
			'drain',
			sub {
				$bench->clear;
				Bench::Load->run($bench->server, @fill);
				$measure->('of a queue that is there', 'P1-drain', sub { $bench->sending(1); return });
			}
		]);
	$bench->results->note("$events events of $users users with a webhook each, 4 clients, asynchronous commit");
	return;
}

sub wait_for_worker
{
	my ($bench) = @_;
	my $deadline = time + 10;
	while (time < $deadline)
	{
		my $worker = $bench->server->worker;
		return $worker if $worker;
		sleep 0.005;
	}
	die "no worker has started\n";
}

# ----------
# P3
# ----------

# When numbered events were committed, in microseconds.
sub commit_times
{
	my ($bench, $every) = @_;
	my $number = "split_part(data ->> 'message', ' ', 1)::bigint";
	return map { split /\|/ } $bench->session->lines(
		"SELECT $number, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::bigint"
		  . " FROM stream_events WHERE $number % $every = 0");
}

# Microseconds from commit to receipt; also which numbers were committed when.
sub latencies
{
	my ($bench, $every) = @_;
	my %committed = commit_times($bench, $every);
	my $came = $bench->sink->records;
	my @lost = grep { !defined $came->{$_} } keys %committed;

	die scalar(@lost) . ' of ' . scalar(keys %committed) . " events were not delivered\n" if @lost;
	return (\%committed, { map { $_ => $came->{$_} - $committed{$_} } keys %committed });
}

sub latency
{
	my ($bench) = @_;
	my $users = 1000;
	my $alone = 'libcurl alone, sending to receipt';

	my $report = sub {
		my ($label, $others, @us) = @_;
		$bench->add("$label, p50", 'us', median(@us), reference => "$alone, p50", %$others);
		$bench->add("$label, p99", 'us', percentile(0.99, @us), reference => "$alone, p99");
	};
	my $measure = sub {
		my ($label, $script, %load) = @_;
		$bench->clear;
		$bench->warm_up($bench->event_script($users));
		$bench->session->run('TRUNCATE stream_events');
		$bench->sink->reset;
		my ($result, $others) = $bench->watched(
			sub { Bench::Load->run($bench->server, script => $script, clients => 1, %load) });
		$bench->wait_idle;
		my (undef, $us) = latencies($bench, 1);
		$report->($label, $others, values %$us);
	};

	$bench->begin(settings => { track_commit_timestamp => 'on' });
	$bench->add_users($users);
	$bench->add_hooks($users, 'donation');
	my $quiet = $bench->scale(100, 10);
	my $busy = $bench->scale(20, 4);
	$bench->interleave(
		[
			'libcurl alone',
			sub {
				my @us = $bench->watched(sub { $bench->sink->spaced($quiet, 300, 1000) });
				my $others = pop @us;
				$report->($alone, $others, @us);
			}
		],
		[
			'quiet',
			sub {
				$measure->(
					'quiet: an event every 0.3 to 1 s',
					$bench->event_script($users, numbered => 1, pause => [ 300, 1000 ]),
					transactions => $quiet);
			}
		],
		[
			'50 events/s',
			sub {
				$measure->(
					'50 events/s',
					$bench->event_script($users, numbered => 1),
					seconds => $busy, rate => 50);
			}
		],
		[
			'50 events/s, asynchronous commit',
			sub {
				$measure->(
					'50 events/s, asynchronous commit',
					$bench->event_script($users, numbered => 1),
					seconds => $busy, rate => 50, async => 1);
			}
		]);
	$bench->results->note("$quiet requests, $quiet events, and $busy s per round; synchronous commit but for the last");
	return;
}

# ----------
# P4, P5
# ----------

# Transactions per second of one INSERT each; rounds of [label, trigger, more].
sub insert_rates
{
	my ($bench, $users, $profile, @variants) = @_;
	my ($seconds, $skip) = $bench->{quick} ? (4, 1) : (13, 3);
	my @rounds;

	for my $async (1, 0)
	{
		my $commit = $async ? 'asynchronous' : 'synchronous';
		my $reference = "$commit: no trigger";

		for my $variant (@variants)
		{
			my ($label, $trigger, %more) = @$variant;
			push @rounds, [
				"$commit: $label",
				sub {
					$bench->clear;
					$bench->trigger($trigger);
					my $after = $more{around} ? $more{around}->() : undef;
					my ($result, $others) = $bench->watched(
						sub {
							my $load = Bench::Load->start(
								$bench->server,
								script => $bench->event_script($users),
								seconds => $seconds, skip => $skip, async => $async);
							sleep $skip;
							my $stop = $trigger eq 'ours' && $async
							  ? $bench->profile("$profile-" . $label =~ s/\W+/-/gr, $bench->backends)
							  : sub { };
							sleep $seconds - $skip - 0.5;
							$stop->();
							return $load->finish;
						});
					$bench->add("$commit: $label", 'tps', $result->{tps}, reference => $reference, %$others);
					$after->("$commit: $label") if $after;
				}
			];
		}
	}

	# The first run on a new server pays for making files.
	$bench->trigger('none');
	Bench::Load->run($bench->server, script => $bench->event_script($users), seconds => $seconds, async => 1);
	$bench->interleave(@rounds);
	$bench->results->note("4 clients, one event per transaction, $users users; $seconds s per run of which the first $skip do not count");
	return;
}

sub unwanted
{
	my ($bench) = @_;
	my $users = 1000;

	$bench->begin;
	$bench->add_users($users);
	$bench->add_hooks($users, 'follow');
	insert_rates(
		$bench, $users, 'P4',
		[ 'no trigger', 'none' ],
		[ 'empty C trigger', 'empty' ],
		[ 'ours', 'ours' ],
		[
			'ours, while hooks change 10 times a second',
			'ours',
			around => sub {
				my $changes = Bench::Load->start(
					$bench->server,
					script => "\\set user random(1, $users)\n"
					  . "UPDATE stream_hooks SET name = 'thanks' WHERE user_id = " . Bench::user(':user') . ";\n",
					clients => 1, seconds => 60, rate => 10, async => 1);
				return sub { $changes->interrupt };
			}
		]);
	return;
}

sub wanted
{
	my ($bench) = @_;
	my $users = 1000;

	$bench->begin;
	$bench->add_users($users);
	$bench->add_hooks($users, 'donation');
	insert_rates(
		$bench, $users, 'P5',
		[ 'no trigger', 'none' ],
		[ 'ours, not sending', 'ours' ],
		[
			'ours, delivering to a sink beside it',
			'ours',
			around => sub {
				$bench->warm_up($bench->event_script($users));
				my ($done, $from) = ($bench->done, time);
				return sub {
					my ($label) = @_;
					$bench->add("$label: delivered", 'per s', ($bench->done - $done) / (time - $from));
				};
			}
		]);
	return;
}

# ----------
# P6
# ----------

sub bulk
{
	my ($bench) = @_;
	my $users = 1000;
	my $events = $bench->scale(200_000, 50_000);

	my $measure = sub {
		my ($label, $trigger, $every, $known) = @_;
		my $insert = sub {
			my ($rows) = @_;
			return 'INSERT INTO stream_events (user_id, type, platform, data)'
			  . " SELECT user_id, CASE WHEN n % $every = 0 THEN 'donation' ELSE 'follow' END, platform, data"
			  . " FROM source WHERE n <= $rows";
		};
		$bench->clear;
		$bench->trigger($trigger);
		my $session = Bench::Session->new($bench->server);
		$session->run('BEGIN; ' . $insert->($known ? $events / 2 : 1) . '; ROLLBACK');
		$bench->session->run('TRUNCATE stream_events');
		$bench->session->run('CHECKPOINT');
		my ($seconds, $others) = $bench->watched(
			sub {
				my $stop = $bench->profile('P6-' . $label =~ s/\W+/-/gr, $session->backend);
				my $from = time;
				$session->run($insert->($events));
				my $elapsed = time - $from;
				$stop->();
				return $elapsed;
			});
		$bench->add($label, 'events/s', $events / $seconds, reference => 'no trigger', %$others);
	};

	$bench->begin;
	$bench->add_users($users);
	$bench->add_hooks($users, 'donation');
	$bench->session->run('CREATE UNLOGGED TABLE source AS SELECT n, '
		  . Bench::user("(n / 10 % $users + 1)") . " AS user_id, 'twitch' AS platform, " . Bench::data() . ' AS data'
		  . " FROM generate_series(1, $events) AS n");
	$bench->session->run('VACUUM ANALYZE source');
	$bench->interleave(
		map
		{
			my @variant = @$_;
			[ $variant[0], sub { $measure->(@variant) } ]
		}[ 'no trigger', 'none', 1, 1 ],
		[ 'empty C trigger', 'empty', 1, 1 ],
		[ 'no hook wants any', 'ours', $events + 1, 1 ],
		[ 'hooks want one in ten', 'ours', 10, 1 ],
		[ 'hooks want every one', 'ours', 1, 1 ],
		[ 'hooks want every one, users new to the session', 'ours', 1, 0 ]);
	$bench->results->note("$events events of $users users in one statement; nothing is sent");
	return;
}

# ----------
# P7
# ----------

my $queue_tables = join ', ', map { ("'hooks.queue_$_'", "'hooks.ack_$_'") } 0 .. 2;

sub queue_mb
{
	my ($bench) = @_;
	return $bench->session->value(
		"SELECT sum(pg_total_relation_size(t::regclass)) / 1048576.0 FROM unnest(ARRAY[$queue_tables]) AS t");
}

# Dead rows of the queue tables.
sub queue_dead
{
	my ($bench) = @_;
	return $bench->session->value(
		"SELECT sum((pgstattuple(t::regclass)).dead_tuple_count) FROM unnest(ARRAY[$queue_tables]) AS t")
	  if $bench->{has_pgstattuple};
	return $bench->session->value(
		"SELECT sum(pg_stat_get_dead_tuples(t::regclass)) FROM unnest(ARRAY[$queue_tables]) AS t");
}

sub held
{
	my ($bench) = @_;
	my $users = 10_000;
	my $rate = 3000;
	my $seconds = $bench->{hold} // $bench->scale(60, 12);
	my $part = $seconds / 6;
	my $every = $seconds > 100 ? 100 : 10;
	my $script = $bench->event_script($users, numbered => 1);

	my $measure = sub {
		my ($label, @statements) = @_;
		my $size = 0;
		my @samples;

		$bench->clear;
		$bench->warm_up($bench->event_script($users));
		$bench->session->run('TRUNCATE stream_events');
		$bench->sink->reset;
		my $holder = Bench::Session->new($bench->server);
		$holder->run($_) for @statements;

		my $worker = $bench->server->worker;
		my $done = $bench->done;
		my ($result, $others) = $bench->watched(
			sub {
				my $load = Bench::Load->start($bench->server, script => $script, seconds => $seconds, rate => $rate,
					async => 1);
				my $from = time;
				for my $sample (0 .. 6)
				{
					while (time < $from + $sample * $part)
					{
						my $mb = queue_mb($bench);
						$size = max($size, $mb);
						my $left = $from + $sample * $part - time;
						sleep($left > 0.5 ? 0.5 : $left) if $left > 0;
					}
					push @samples, [ cpu_us($worker), $bench->done ];
				}
				return $load->finish;
			});
		$bench->wait_idle;
		my ($committed, $us) = latencies($bench, $every);
		my $dead = queue_dead($bench);
		$holder->run('ROLLBACK') if @statements;

		# The first sixth is for getting going: the second against the last.
		my $cpu = sub {
			my ($a, $b) = @samples[ $_[0] - 1, $_[0] ];
			return ($b->[0] - $a->[0]) / max(1, $b->[1] - $a->[1]);
		};
		my $begin = (sort { $a <=> $b } values %$committed)[0];
		my $p50 = sub {
			my ($from, $to) = map { $begin + 1e6 * $part * $_ } $_[0] - 1, $_[0];
			return median(map { $us->{$_} } grep { $committed->{$_} >= $from && $committed->{$_} < $to } keys %$us);
		};
		$bench->add("$label: worker's CPU, early", 'us/event', $cpu->(2), %$others);
		$bench->add("$label: worker's CPU, late", 'us/event', $cpu->(6), reference => "$label: worker's CPU, early");
		$bench->add("$label: commit to receipt, early", 'us p50', $p50->(2));
		$bench->add("$label: commit to receipt, late", 'us p50', $p50->(6),
			reference => "$label: commit to receipt, early");
		$bench->add("$label: inserted", 'events/s', $result->{tps});
		$bench->add("$label: queue at its largest", 'MB', $size);
		$bench->add("$label: dead rows in the queue", '', $dead);
		$bench->add("$label: stream_hooks at the end", 'MB',
			$bench->session->value("SELECT pg_total_relation_size('stream_hooks') / 1048576.0"));
		$bench->session->run('VACUUM FULL stream_hooks');
	};

	$bench->begin(every => $every, settings => { track_commit_timestamp => 'on' });
	$bench->add_users($users);
	$bench->add_hooks($users, 'donation');
	$bench->{has_pgstattuple} = $bench->session->value(
		"SELECT count(*) FROM pg_available_extensions WHERE name = 'pgstattuple'");
	$bench->session->run('CREATE EXTENSION pgstattuple') if $bench->{has_pgstattuple};
	$bench->interleave(
		[ 'nobody', sub { $measure->('nobody') } ],
		[ 'snapshot', sub { $measure->('snapshot', 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT FROM users LIMIT 1') } ],
		[ 'transaction', sub { $measure->('transaction', 'BEGIN', 'SELECT pg_current_xact_id()') } ]);
	$bench->results->note("$rate events/s for $seconds s while a session holds a snapshot or an open transaction with an id;"
		  . ' early and late are the second and the last sixth');
	return;
}

# ----------
# P8
# ----------

sub flood
{
	my ($bench) = @_;
	my $users = 1000;
	my $rate = 20_000;
	my $batch = 10;
	my $seconds = $bench->scale(20, 4);
	my $script =
		'INSERT INTO stream_events (user_id, type, platform, data) SELECT '
	  . Bench::user("(1 + floor(random() * $users)::bigint)")
	  . ", 'chat_message', 'twitch', "
	  . '\'{"username": "a faithful viewer", "message": "who would have thought that this game could be won like that?"}\''
	  . " FROM generate_series(1, $batch);\n";

	my $measure = sub {
		my ($hooks) = @_;
		my $label = $hooks == 1 ? '1 hook per user' : "$hooks hooks per user";
		my $what = "$label: CPU of the worker";

		$bench->clear;
		$bench->session->run("UPDATE stream_hooks SET enabled = (name::int <= $hooks)");
		$bench->warm_up($script);
		my $worker = $bench->server->worker;
		my ($cpu, $stat) = (cpu_us($worker), $bench->server->stat);
		my ($result, $behind, $others) = $bench->watched(
			sub {
				my $load = Bench::Load->start($bench->server, script => $script, seconds => $seconds,
					rate => $rate / $batch, async => 1);
				sleep 1;
				my $stop = $bench->profile("P8-$hooks", $worker);
				sleep $seconds - 1.5;
				$stop->();
				my $result = $load->finish;
				my $from = time;
				$bench->wait_idle;
				return ($result, time - $from);
			});
		my $now = $bench->server->stat;
		my $evaluations = $now->{skipped_condition} - $stat->{skipped_condition};
		my $events = $now->{events_read} - $stat->{events_read};
		$cpu = cpu_us($worker) - $cpu;

		die "$evaluations evaluations of $events events\n" if $evaluations != $events * $hooks;
		$bench->add("$label: CPU per evaluation", 'us', $cpu / $evaluations, %$others);
		$bench->add("$label: CPU per event", 'us', $cpu / $events);
		$bench->add("$label: CPU", '% of one', 100 * $cpu / 1e6 / $result->{seconds});
		$bench->add("$label: inserted", 'rows/s', $result->{tps} * $batch);
		$bench->add("$label: behind at the end", 's', $behind);
		return $cpu / $events;
	};

	$bench->begin(settings => { 'hooks.log_skips' => 'cooldown' });
	$bench->add_users($users);
	$bench->session->run('INSERT INTO stream_hooks'
		  . ' (user_id, name, trigger_type, conditions, action_type, action_config)'
		  . ' SELECT ' . Bench::user('n') . ", h, 'chat_message', jsonb_build_object('contains', '!command' || h),"
		  . " 'webhook', '{\"url\": \"" . $bench->sink->url . "\"}'"
		  . " FROM generate_series(1, $users) AS n, generate_series(1, 10) AS h");
	my %per_event;
	$bench->interleave(
		[ '1 hook per user', sub { $per_event{1} = $measure->(1) } ],
		[
			'10 hooks per user',
			sub {
				$per_event{10} = $measure->(10);
				return if !defined $per_event{1};
				$bench->add('each further hook: CPU', 'us', ($per_event{10} - $per_event{1}) / 9);
			}
		]);
	$bench->results->note("$rate rows/s of $users users for $seconds s, $batch rows per transaction; hooks.log_skips = cooldown");
	return;
}

# ----------
# P9
# ----------

# Ports that accept and never answer, since nobody takes what the kernel has
# accepted; they close with the list.
sub black_holes
{
	my ($n) = @_;
	return map {
		IO::Socket::INET->new(Listen => 4096, LocalAddr => '127.0.0.1', LocalPort => 0)
		  // die "could not listen: $!\n"
	} 1 .. $n;
}

# Ports where nobody listens.
sub closed_ports
{
	my ($n) = @_;
	my @sockets = black_holes($n);
	return map { $_->sockport } @sockets;
}

# Waits until so many requests have come, or no more come.
sub wait_for_sink
{
	my ($bench, $n) = @_;
	my ($last, $changed) = (-1, time);

	while ((my $requests = $bench->sink->stat->{requests}) < $n)
	{
		($last, $changed) = ($requests, time) if $requests != $last;
		return if time > $changed + 30;
		sleep 0.1;
	}
	return;
}

sub beside
{
	my ($bench) = @_;
	my ($users, $hooks) = (100, 1000);
	my ($rate, $batch) = (5000, 50);
	my $seconds = $bench->scale(20, 5);
	my $lead = 3;
	my $flooding = $bench->session_user($users + 1);
	my $flood = 'INSERT INTO stream_events (user_id, type, platform, data) SELECT '
	  . "$flooding, 'donation', 'twitch', " . Bench::data() . " FROM generate_series(1, $batch);\n";
	my @holes = black_holes(4);
	my @ports = ((map { $_->sockport } @holes), closed_ports(2));

	my $measure = sub {
		my ($label, $floods, %settings) = @_;
		$bench->clear;
		$bench->server->set(%settings);
		$bench->warm_up($bench->event_script($users));
		$bench->session->run('TRUNCATE stream_events');
		$bench->sink->reset;

		my $worker = $bench->server->worker;
		my ($cpu, $before) = (cpu_us($worker), $bench->server->stat);
		my $from = time;
		my $load = $floods
		  ? Bench::Load->start($bench->server, script => $flood, clients => 2, seconds => $lead + $seconds + 1,
			rate => $rate / $batch, async => 1)
		  : undef;
		sleep $lead if $load;
		my (undef, $others) = $bench->watched(
			sub {
				my $stop = $bench->profile('P9-' . $label =~ s/\W+/-/gr, $worker);
				Bench::Load->run($bench->server, script => $bench->event_script($users, numbered => 1),
					clients => 4, seconds => $seconds, rate => $users);
				$stop->();
				return 0;
			});
		$cpu = (cpu_us($worker) - $cpu) / (time - $from) / 1e6;
		my $inserted = $load ? $load->finish->{tps} * $batch : 0;
		my $now = $bench->server->stat;

		# Nobody waits for the flood to end.
		$bench->session->run("DELETE FROM stream_events WHERE user_id = $flooding");
		my $events = $bench->session->value('SELECT count(*) FROM stream_events');
		wait_for_sink($bench, $events);
		my (undef, $us) = latencies($bench, 1);
		$bench->add("$label, p50", 'us', median(values %$us), reference => 'alone, p50', %$others);
		$bench->add("$label, p99", 'us', percentile(0.99, values %$us), reference => 'alone, p99');
		$bench->add("$label, longest", 'us', max(values %$us), reference => 'alone, longest');
		$bench->add("$label: CPU of the worker", '% of one', 100 * $cpu);
		return if !$load;
		$bench->add("$label: events of the flood", 'events/s', $inserted);
		$bench->add("$label: of these dropped", '%',
			100 * ($now->{events_flooded} - $before->{events_flooded}) / ($inserted * ($lead + $seconds + 1)));
	};

	$bench->begin(settings => { track_commit_timestamp => 'on' });
	$bench->add_users($users + 1);
	$bench->add_hooks($users, 'donation');
	$bench->session->run('INSERT INTO stream_hooks (user_id, name, trigger_type, action_type, action_config)'
		  . " SELECT $flooding, n, 'donation', 'webhook', jsonb_build_object('url',"
		  . " 'http://127.0.0.1:' || (ARRAY[" . join(', ', @ports) . "])[n % ${\ scalar @ports} + 1] || '/hook/' || n)"
		  . " FROM generate_series(1, $hooks) AS n");
	$bench->session->run('ANALYZE stream_hooks');
	my %default = ('hooks.flood_rate' => 100, 'hooks.flood_burst' => 100_000);
	$bench->interleave(
		[ 'alone', sub { $measure->('alone', 0, %default) } ],
		[
			'beside a flood of which nothing is dropped',
			sub { $measure->('beside a flood of which nothing is dropped', 1, %default, 'hooks.flood_rate' => 0) }
		],
		[
			'beside a flood that has had its burst',
			sub { $measure->('beside a flood that has had its burst', 1, %default, 'hooks.flood_burst' => 100) }
		]);
	$bench->server->set(%default);
	$bench->results->note("$users users with a webhook each and together $users events/s for $seconds s, beside one user with $rate events/s"
		  . " and $hooks webhooks each to ports that never answer (${\ scalar @holes}) or are closed (2)");
	return;
}

# ----------
# P10
# ----------

sub restart
{
	my ($bench) = @_;
	my $users = 10_000;
	my $events = $bench->scale(500_000, 50_000);

	$bench->begin;
	$bench->add_users($users);
	$bench->add_hooks($users, 'donation');
	$bench->sending(0);
	$bench->say("  filling the queue with $events events");
	Bench::Load->run($bench->server, script => $bench->event_script($users),
		clients => 4, transactions => $events / 4, async => 1);

	$bench->interleave(
		[
			'restart',
			sub {
				$bench->session->run('CHECKPOINT');
				$bench->session->run('ALTER SYSTEM SET hooks.enabled = on');
				$bench->server->stop;
				$bench->sink->reset;
				my ($started, $first, $others) = $bench->watched(
					sub {
						my $started = time;
						my $deadline = $started + 60;
						my $stat;
						$bench->server->restart;
						while (($stat = $bench->sink->stat)->{requests} == 0)
						{
							die "nothing was sent\n" if time > $deadline;
							sleep 0.01;
						}
						return ($started, $stat->{first_us} / 1e6);
					});
				$bench->sending(0);
				my $ready = $bench->server->ready_at;
				$bench->add('start of the server until it is ready', 's', $ready - $started, %$others);
				$bench->add('from there to the first request', 's', $first - $ready);
			}
		]);
	$bench->results->note("$events events of $users users, one per transaction, queued before a fast shutdown");
	return;
}

# ----------
# P11
# ----------

sub memory
{
	my ($bench) = @_;
	my $users = $bench->scale(100_000, 10_000);
	my $active = $users / 100;

	my $measure = sub {
		my ($label, $n) = @_;
		$bench->server->restart;
		$bench->clear;
		$bench->sending(1);
		Bench::Load->run($bench->server, script => $bench->event_script($n), clients => 4,
			transactions => 5 * $n, async => 1);
		$bench->wait_idle;
		$bench->add($label, 'MB', memory_kb($bench->server->worker) / 1024);
	};

	$bench->begin(settings => { 'hooks.idle_timeout' => 5 });
	$bench->say("  $users users with 5 hooks each");
	$bench->add_users($users);
	$bench->add_hooks($users, qw(donation follow raid subscription chat_message));
	$bench->interleave(
		[ 'one active user', sub { $measure->('one active user', 1) } ],
		[ "$active active users", sub { $measure->("$active active users", $active) } ],
		[
			'idle database',
			sub {
				my $deadline = time + 30;
				sleep 0.1 while $bench->server->worker && time < $deadline;
				$bench->add('workers of an idle database', '', $bench->server->worker ? 1 : 0);
			}
		]);
	$bench->results->note("$users users with 5 hooks each; 20 events per active user");
	return;
}

# ----------
# P12
# ----------

sub wal
{
	my ($bench) = @_;
	my $users = 10_000;
	my $events = $bench->scale(40_000, 8_000);
	my $plain;

	my $measure = sub {
		my ($label, $trigger, $type) = @_;
		$bench->trigger($trigger);
		my $done = $bench->done;
		my $before = $bench->session->value('SELECT pg_current_wal_insert_lsn()');
		Bench::Load->run($bench->server, script => $bench->event_script($users, type => $type),
			clients => 4, transactions => $events / 4, async => 1);
		$bench->wait_done($done + ($type eq 'donation' && $trigger eq 'ours' ? $events : 0));
		sleep 6;    # for what the worker puts off
		return $bench->session->value("SELECT (pg_current_wal_insert_lsn() - '$before'::pg_lsn) / $events.0");
	};
	my %variants = (
		'no trigger' => [ 'none', 'donation' ],
		'no hook wants it' => [ 'ours', 'follow' ],
		'it fires a webhook' => [ 'ours', 'donation' ],
	);

	$bench->begin;
	$bench->add_users($users);
	$bench->add_hooks($users, 'donation');
	$bench->sending(1);

	# What a page's first change after a checkpoint adds is not meant: once around without counting.
	$bench->say('  once around');
	$measure->('', @{ $variants{$_} }) for sort keys %variants;
	$bench->interleave(
		map
		{
			my $label = $_;
			[
				$label,
				sub {
					my $bytes = $measure->($label, @{ $variants{$label} });
					$plain = $bytes if $label eq 'no trigger';
					$bench->add($label, 'B/event', $bytes);
					$bench->add("$label, beyond no trigger", 'B/event', $bytes - $plain)
					  if $label ne 'no trigger' && defined $plain;
				}
			]
		} 'no trigger', 'no hook wants it', 'it fires a webhook');
	$bench->results->note("$events events of $users users, one per transaction; without images of pages");
	return;
}

# ----------
# P14
# ----------

sub backtest
{
	my ($bench) = @_;
	my $events = $bench->scale(1_000_000, 20_000);
	my $user = $bench->session_user(1);
	my $session;

	$bench->begin;
	$bench->add_users(1);
	$bench->say("  storing $events events");
	$bench->session->run('INSERT INTO stream_events (user_id, type, platform, data, inserted_at)'
		  . " SELECT $user, 'donation', 'twitch', jsonb_build_object('donor_name', 'Ann ' || n, 'amount', (n % 100) || '.00',"
		  . " 'message', 'thanks for the stream, and keep on playing that song again'), now() - n * interval '0.5 s'"
		  . " FROM generate_series(1, $events) AS n");
	$bench->session->run('VACUUM ANALYZE stream_events');
	$bench->interleave(
		[
			'backtest',
			sub {
				my $from = time;
				my $fires = $bench->session->value(
					"SELECT fires FROM hooks.backtest_summary($user, 'donation', '{\"min_amount\": 50, \"contains\": \"that song\"}', 30, interval '30 days')");
				die "backtest fired $fires times\n" if $fires < $events / 100;
				$bench->add('time', 's', time - $from);
				$bench->add('memory of the session afterwards', 'MB', memory_kb($bench->session->backend) / 1024);
			}
		]);
	$bench->results->note("$events events of one user; half of them satisfy the conditions, cooldown of 30 s");
	return;
}

# ----------
# P15
# ----------

sub rendering
{
	my ($bench) = @_;
	my $users = 1000;
	my $events = $bench->scale(40_000, 4_000);
	my $script = $bench->event_script($users);
	my $expressions = 20;
	my %cpu;

	my %bodies = (
		'no expression' => 'thank you',
		'variables' => join(' ', ('{{username}} {{amount}}') x ($expressions / 2)),
		'filters' => join(' ', ('{{username | upper | truncate:10}} {{amount | money}}') x ($expressions / 2)));
	my $measure = sub {
		my ($label) = @_;
		$bench->clear;
		$bench->session->run(
			"UPDATE stream_hooks SET action_config = action_config || jsonb_build_object('body_template', '$bodies{$label}')");
		Bench::Load->run($bench->server, script => $script, clients => 4, transactions => $events / 4, async => 1);
		my $done = $bench->done;
		$bench->sending(1);
		my $worker = wait_for_worker($bench);
		my $before = cpu_us($worker);
		$bench->wait_done($done + $events);
		$cpu{$label} = (cpu_us($worker) - $before) / $events;
		$bench->add("$label: CPU of the worker", 'us/delivery', $cpu{$label});
	};

	$bench->begin;
	$bench->add_users($users);
	$bench->add_hooks($users, 'donation');
	$bench->interleave(map { my $label = $_; [ $label, sub { $measure->($label) } ] } sort keys %bodies);
	$bench->add('each variable', 'us', ($cpu{variables} - $cpu{'no expression'}) / $expressions);
	$bench->add('each expression with filters', 'us', ($cpu{filters} - $cpu{'no expression'}) / $expressions);
	$bench->results->note("$events webhooks, bodies with $expressions expressions or none; the differences are the last round's");
	return;
}

# ----------
# P16
# ----------

sub wait_for_rows
{
	my ($server, $table, $n) = @_;
	my $deadline = time + 300;

	while ($server->session->value("SELECT count(*) FROM $table") < $n)
	{
		die "rows do not arrive in $table\n" if time > $deadline;
		sleep 0.05;
	}
	return;
}

sub node
{
	my ($bench) = @_;
	my $users = $bench->scale(10_000, 100);
	my $events = $bench->scale(50_000, 2_000);
	my @load = (script => $bench->event_script($users), clients => 4, transactions => $events / 4, async => 1);
	my $hub = $bench->server;
	my $node = $hub->beside('node', 5433);
	my $good = eval {
		$bench->begin(settings => { wal_level => 'logical' });
		$bench->add_users($users);
		$bench->add_hooks($users, 'donation');
		$hub->session->run($_)
		  for 'SELECT hooks.become_hub()', "SELECT hooks.attach('stream_events', mode => 'replica')",
		  $hub->session->lines('SELECT hooks.node_filter(0, 1)');

		$node->start(wal_level => 'logical', wal_retrieve_retry_interval => '50ms', 'hooks.max_event_age' => -1);
		$node->session->run('SET client_min_messages = warning; DROP TABLE users CASCADE; SELECT hooks.become_node()');
		$node->session->run($_)
		  for "CREATE PUBLICATION hooks_results FOR TABLE stream_hook_logs WITH (publish = 'insert')",
		  "CREATE SUBSCRIPTION hooks_share_0 CONNECTION '" . $hub->connection
		  . "' PUBLICATION hooks_share_0_hooks, hooks_share_0_events";
		$hub->session->run("CREATE SUBSCRIPTION hooks_results_0 CONNECTION '" . $node->connection . "' PUBLICATION hooks_results");
		wait_for_rows($node, 'stream_hooks', $users);
		wait_for_rows($node, "pg_subscription_rel WHERE srsubstate = 'r'", 2);
		wait_for_rows($hub, "pg_subscription_rel WHERE srsubstate = 'r'", 1);

		# What has gathered at the hub, to "table" of "server".
		my $measure = sub {
			my ($label, $sending, $server, $table) = @_;

			$node->session->run('ALTER SUBSCRIPTION hooks_share_0 DISABLE');
			$node->set('hooks.enabled' => 'off');
			sleep 0.02 while $node->worker;
			for my $each ($hub, $node)
			{
				$each->session->run($_) for 'TRUNCATE stream_events, stream_hook_logs', 'CHECKPOINT';
			}
			$node->session->run('SELECT hooks.adopt(discard => true)');
			Bench::Load->run($hub, @load);
			$node->set('hooks.enabled' => $sending);
			my ($seconds, $o) = $bench->watched(
				sub {
					my $from = time;
					$node->session->run('ALTER SUBSCRIPTION hooks_share_0 ENABLE');
					wait_for_rows($server, $table, $events);
					return time - $from;
				});
			$bench->add($label, 'events/s', $events / $seconds, %$o);
			return;
		};
		$bench->interleave(
			[ applied => sub { $measure->('from the hub into the queue of a node', 'off', $node, 'stream_events') } ],
			[ delivered => sub { $measure->('... delivered, and the log row is back at the hub', 'on', $hub, 'stream_hook_logs') } ]);
		$bench->results->note("$events events of $users users with a webhook each, an event per transaction, one share; "
			  . 'hub, node and sink share the processors');
		1;
	};
	my $error = $@;
	$node->stop;
	die $error unless $good;
	return;
}

# ----------
# P17
# ----------

sub executors
{
	my ($bench) = @_;
	my $users = $bench->scale(100_000, 10_000);
	my $events = $bench->scale(100_000, 10_000);
	my $session;
	my $timed = sub {
		my ($label, $unit, $n, $sql) = @_;
		my $from = time;

		$session->value($sql);
		$bench->add($label, $unit, (time - $from) / $n * ($unit eq 'us' ? 1e6 : 1e3));
		return;
	};
	my $one_by_one = sub {
		my ($when) = @_;

		for my $user (map { $bench->session_user($_) } 1 .. 20)
		{
			$timed->("hooks.executor() of one user, $when", 'ms', 1, "SELECT waiting FROM hooks.executor($user)");
		}
		return;
	};

	$bench->begin;
	$session = $bench->session;
	$bench->say("  $users users with 2 hooks each, $events events");
	$bench->add_users($users);
	$bench->add_hooks($users, qw(donation chat_message));
	$session->run('VACUUM ANALYZE');
	$one_by_one->('the queue empty');
	$bench->sending(1);
	Bench::Load->run($bench->server, script => $bench->event_script($users), clients => 4, transactions => $events / 4, async => 1);
	$bench->wait_idle;
	$session->run('VACUUM ANALYZE');
	$bench->interleave(
		[
			'presence',
			sub {
				$timed->('user_joined(), each of many in one statement', 'us', $users,
					'SELECT count(hooks.user_joined(u)) FROM (SELECT DISTINCT user_id FROM stream_hooks) AS s (u)');
			}
		],
		[
			'executors',
			sub {
				for my $user (map { $bench->session_user($_) } 1 .. 20)
				{
					$timed->('hooks.executors of one user', 'ms', 1, "SELECT waiting FROM hooks.executors WHERE user_id = $user");
				}
				$one_by_one->("$events events in the queue");
				$timed->("hooks.executors of all", 'ms', 1, 'SELECT sum(waiting) FROM hooks.executors');
			}
		]);
	$bench->results->note("$users users with 2 hooks each, who have joined; a log row of each, on average");
	return;
}

1;
