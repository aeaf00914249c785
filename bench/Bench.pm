# What the benchmarks that are written in Perl share: files, commands, medians, the machine's description, and a ctd of their own under test/isolated.
package Bench;
use strict;
use warnings;
use Exporter qw(import);
use JSON::PP;
use List::Util qw(sum);
use POSIX qw(strftime);
use Time::HiRes qw(sleep);

our @EXPORT = qw(run quietly slurp spill median machine machine_line daemon_start daemon_pid daemon_end);

my $daemon;

sub run
{
	my @command = @_ > 1 ? @_ : ('sh', '-c', @_);
	system(@command) == 0 or die "'@command' failed\n";
}

# Whether it succeeded; what it prints is dropped.
sub quietly
{
	my @command = @_ > 1 ? @_ : ('sh', '-c', @_);
	open my $saved, '>&', \*STDOUT or die;
	open STDOUT, '>', '/dev/null' or die;
	my $status = system @command;
	open STDOUT, '>&', $saved or die;
	return $status == 0;
}

sub slurp
{
	my ($file) = @_;
	local $/;
	open my $f, '<', $file or die "cannot read $file: $!\n";
	return scalar <$f>;
}

sub spill
{
	my ($file, $text) = @_;
	open my $f, '>', $file or die "cannot write $file: $!\n";
	print $f $text;
	close $f or die "cannot write $file: $!\n";
}

sub median
{
	my @v = sort { $a <=> $b } @_;
	return @v % 2 ? $v[$#v / 2] : ($v[@v / 2 - 1] + $v[@v / 2]) / 2;
}

sub machine
{
	my ($cpu) = slurp('/proc/cpuinfo') =~ /^model name\s*:\s*(.*)$/m;
	my ($memory) = slurp('/proc/meminfo') =~ /^MemTotal:\s*(\d+)/m;
	chomp(my $kernel = `uname -r`);
	chomp(my $processors = `nproc`);
	chomp(my $fs = `findmnt -n -o FSTYPE -T /var/tmp`);
	return { cpu => $cpu // 'unknown', processors => 0 + $processors, memory_mib => int($memory / 1024), kernel => $kernel, filesystem => $fs,
		taken => strftime('%Y-%m-%d', gmtime) };
}

sub machine_line
{
	my ($m) = @_;
	return "$m->{cpu}, $m->{processors} processors, $m->{memory_mib} MiB, Linux $m->{kernel}, $m->{filesystem}; $m->{taken}";
}

# Starts ctd in the isolated namespaces, with an uplink: where lo is the only link, no container can be reached.
sub daemon_start
{
	my ($build, $dir, $config) = @_;
	mkdir "$dir/$_" for qw(state run);
	$ENV{CTD_SOCKET} = "$dir/run/ctd.sock";
	run(qw(ip link add uplink type veth peer name outside));
	run(qw(ip link set outside up));
	run(qw(ip address add 10.254.0.1/24 dev uplink));
	run(qw(ip link set uplink up));
	spill("$dir/ctd.conf", $config);
	$daemon = fork // die;
	if (!$daemon) {
		open STDERR, '>', "$dir/log";
		# its own view of the mounts: below, the peers get another one
		exec 'unshare', '--mount', "$build/ctd/ctd", '--config', "$dir/ctd.conf", '--state', "$dir/state", '--runtime', "$dir/run", '--foreground';
	}
	my $tries = 200;
	sleep 0.1 while !quietly("$build/ctctl/ctctl version 2>/dev/null") && $tries--;
	die "ctd does not answer, see $dir/log\n" if $tries < 0;
	remember_cgroup("$build/ctctl/ctctl");
	# on a hybrid host crun works with cgroup v1 alone
	quietly('! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified');
}

# For test/isolated, which removes it in the end: a daemon leaves its own to its containers.
sub remember_cgroup
{
	my ($ctctl) = @_;
	my ($mount) = slurp('/proc/self/mountinfo') =~ m{^\S+ \S+ \S+ / (\S+) .* - cgroup2 }m;
	my $version = decode_json(scalar `$ctctl version --json`);
	open my $list, '>>', "$ENV{CTD_TEST_DIR}/cgroups" or die;
	print $list "$mount$version->{cgroup}\n";
	close $list;
}

sub daemon_pid
{
	return $daemon;
}

sub daemon_end
{
	my ($build) = @_;
	return if !$daemon;
	quietly("$build/ctctl/ctctl list -q | xargs -r -n 50 $build/ctctl/ctctl destroy --force >/dev/null 2>&1");
	kill 'TERM', $daemon;
	waitpid $daemon, 0;
	$daemon = undef;
}

1;
