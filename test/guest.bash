# Debian's systemd guest "d1" under observation, while it is suspended or moved: for test files that load lib and peer. They set GUEST, its address, KEY, a private
# ssh key whose public half it has, and CTID; its connections are held in the outside of CTD_OUTSIDE (lib.bash).
# shellcheck shell=bash

# Prints a number and a check sum of all so far, for ever.
# shellcheck disable=SC2016,SC2034 # for another shell; for who loads this
GUEST_COUNTER='n=0 sum=0; while :; do n=$((n + 1)); sum=$(((sum * 31 + n) % 4294967296)); echo $n $sum; sleep 0.2; done'

inside() # DAEMON COMMAND...
{
	$1 exec d1 -- "${@:2}" </dev/null
}

booted() # DAEMON
{
	[ "$(inside "$1" systemctl is-system-running)" = running ]
}

client() # sets words: ssh from outside
{
	words=(nsenter --target "$CTD_OUTSIDE" --net -- /usr/bin/ssh -i "$KEY" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null
		-o LogLevel=ERROR -o ConnectTimeout=30 -o KexAlgorithms=curve25519-sha256 "root@$GUEST")
}

login() # COMMAND...
{
	local words
	client
	"${words[@]}" "$@"
}

# Sends a number and the sum of all so far, ten times a second, to each that connects; a service with limits and with mounts of its own.
guest_numbers() # DAEMON
{
	$1 exec d1 -- sh -c 'cat >/usr/local/sbin/numbers
		cat >/etc/systemd/system/numbers.service <<-END
		[Service]
		ExecStart=/usr/bin/perl /usr/local/sbin/numbers
		MemoryMax=64M
		TasksMax=20
		CPUWeight=50
		PrivateTmp=yes
		PrivateDevices=yes
		ProtectSystem=strict
		ProtectKernelTunables=yes
		ProtectHome=yes
		[Install]
		WantedBy=multi-user.target
		END
		systemctl enable -q --now numbers' <<-'END'
		use IO::Socket::IP;
		my $listener = IO::Socket::IP->new(LocalHost => '::', LocalPort => 7000, Listen => 5, ReuseAddr => 1, V6Only => 0) or die;
		$SIG{CHLD} = 'IGNORE';
		while (my $client = $listener->accept) {
			next if fork;
			$client->autoflush(1);
			for (my ($n, $sum) = (1, 0);; $n++) {
				$sum = ($sum * 31 + $n) % 4294967296;
				print $client "$n $sum\n" or exit;
				select undef, undef, undef, 0.1;
			}
		}
	END
}

cgroup_of() # DAEMON
{
	echo "$(cgroup_mount)$($1 version --json | jq -r .cgroup)/c-$CTID"
}

ids_of() # DAEMON: where its ids begin on the host
{
	awk '{ print $2 }' "/proc/$(field "$1" d1 .pid)/uid_map"
}

# One program for all of them: where machines are emulated, some for each took half a minute.
processes_seen() # pids on stdin
{
	perl -ne '
		sub lines { open my $in, "<", "/proc/$pid/$_[0]" or return; return <$in> }
		sub mount_seen {
			my ($root, $at, $flags) = (split)[3, 4, 5];
			return $at eq "/sys/fs/cgroup" ? "$at $flags" : $at if $at =~ m,^/(proc|sys)/,;
			return "$at $flags " . $root =~ s,.*/upper/,/upper/,r;
		}
		chomp($pid = $_);
		my %mounts = map {; mount_seen() => 1 } lines("mountinfo");
		push @all, join "", (map { (split /:/, $_, 3)[2] =~ s,.*/c-[0-9a-f]*,,r } lines("cgroup")), join("", lines("cmdline")) =~ tr/\0/ /r, "\n",
			(map { s/^NSpid:.*\t/NSpid: /r } grep { /^(NSpid|Uid|Gid|Groups|Seccomp|NoNewPrivs|Cap[A-Z][a-z]+):/ } lines("status")), map { "$_\n" } sort keys %mounts;
		END { print sort @all }
	'
}

# What the kernel says of its cgroups and of each of its processes but for those of sessions, which come and go: ids, capabilities, mounts. Not how the
# masks of /proc and /sys are mounted.
world_inside() # DAEMON
{
	local base pid
	base=$(ids_of "$1")
	(
		cd "$(cgroup_of "$1")" || exit
		find . -mindepth 1 -name '.ct-exec' -prune -o -path './user.slice/*' -prune -o -printf '%p %m %U %G\n' | grep -v '/memory\.reclaim' | sort
		find . \( -name memory.max -o -name memory.high -o -name memory.swap.max -o -name pids.max -o -name cpu.max -o -name cpu.weight \
			-o -name cgroup.subtree_control -o -name cgroup.type \) -not -path './user.slice/*' -not -path './.ct-exec/*' -exec grep -H '' {} + | sed 's/:/ /' | sort
		getfattr -R -d -m user. system.slice init.scope
		find init.scope system.slice -name cgroup.procs -exec cat {} + | processes_seen
	) | BASE=$base perl -pe 's/\b(\d{6,10})\b/$1 >= $ENV{BASE} && $1 < $ENV{BASE} + 65536 ? "+" . ($1 - $ENV{BASE}) : $1/ge'
	$1 exec d1 -- sh -c 'ip -4 addr; ip -4 route; systemctl show -P NRestarts cron ssh dbus numbers systemd-logind' </dev/null |
		sed 's/^[0-9]*: //; s/@if[0-9]*//; s/link-netnsid.*//; s/valid_lft.*//'
}

received() # FILE: how many whole lines
{
	wc -l <"$1"
}

received_beyond() # FILE NUMBER
{
	[ "$(received "$1")" -gt "$2" ]
}

# Numbers from 1, none lost, none twice; and what each says of those before.
is_whole() # FILE
{
	head -n "$(received "$1")" "$1" |
		perl -ane 'use integer; $sum = ($sum * 31 + $.) % 4294967296; die "wrong at $.: $_" if $F[0] != $. || $F[1] != $sum'
}

answers() # ADDRESS
{
	# shellcheck disable=SC2016 # for that shell
	[ "$(outside timeout 10 bash -c 'read -r line </dev/tcp/'"$1"'/7000 && echo "$line"')" = "1 1" ]
}

# Becomes a program that writes each line of the command's to the file, with the time at which it came; for the background.
stamped() # FILE COMMAND...
{
	exec </dev/null >"$1" 2>/dev/null 3>&- 4>&-
	exec perl -MTime::HiRes=clock_gettime,CLOCK_MONOTONIC -e '
		$| = 1;
		my $pid = open my $lines, "-|", @ARGV or die;
		$SIG{TERM} = sub { kill TERM => $pid; exit };
		while (<$lines>) {
			s/\r?\n//;
			printf "%s %.3f\n", $_, clock_gettime(CLOCK_MONOTONIC);
		}
	' "${@:2}"
}

# The stream by way of an address of it; a login that runs the words. What they say goes to the files stream and session.
clients_start() # DIRECTORY ADDRESS WORDS...
{
	local words
	wait_for 60 answers "$2"
	stamped "$1/stream" nsenter --target "$CTD_OUTSIDE" --net -- bash -c "exec cat </dev/tcp/$2/7000" &
	export STREAM=$!
	client
	stamped "$1/session" "${words[@]}" -o ServerAliveInterval=0 "${@:3}" &
	export SESSION=$!
	wait_for 60 received_beyond "$1/stream" 5
	wait_for 60 received_beyond "$1/session" 5
}

# The longest time for which nothing came, in ms.
silence() # FILE BEHIND-LINE
{
	awk -v from="$2" 'NR > from && NR > 1 && $3 - last > max { max = $3 - last } { last = $3 } END { printf "%d\n", max * 1000 }' "$1"
}

clients_end() # DIRECTORY
{
	kill "$STREAM" "$SESSION"
	wait "$STREAM" "$SESSION" || true
	is_whole "$1/stream"
	is_whole "$1/session"
}

clients_go_on() # DIRECTORY
{
	local a b
	a=$(received "$1/stream") b=$(received "$1/session")
	wait_for 120 received_beyond "$1/stream" "$((a + 3))"
	wait_for 120 received_beyond "$1/session" "$((b + 3))"
}
