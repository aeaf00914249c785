#!/usr/bin/env bats
# lab: script deadline=1200
# Debian's own systemd guest as it is, with a session by ssh, a stream of numbers and services that have mounts of their own: to disk and back,
# twice in a row. All tests share one container. Its limits, its services' cgroups and mounts are compared before and after.
load lib
load peer

setup_file()
{
	export KEY=$BATS_FILE_TMPDIR/key
	ssh-keygen -q -t ed25519 -N '' -f "$KEY"
	uplink_up
	outside ip route add 10.7.0.1 via 192.0.2.2
	ctd_setup
	ctctl template import --name debian /lab/debian.tar
	ctctl create d1 --template debian --net routed,ip=10.7.0.1,rate-out=50M --memory 300M --disk 2G --processes 300 --ssh-key "$KEY.pub" --start
	wait_for 120 booted ctctl
	# sends a number and the sum of all so far, ten times a second, to each that connects; a service with limits and with mounts of its own
	ctctl exec d1 -- sh -c 'cat >/usr/local/sbin/numbers
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
		use IO::Socket::INET;
		my $listener = IO::Socket::INET->new(LocalPort => 7000, Listen => 5, ReuseAddr => 1) or die;
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
	export CTID
	CTID=$(field ctctl d1 .ctid | tr -d '"')
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

inside() # DAEMON COMMAND...
{
	$1 exec d1 -- "${@:2}" </dev/null
}

booted() # DAEMON
{
	[ "$(inside "$1" systemctl is-system-running)" = running ]
}

login() # COMMAND...: by ssh, from outside
{
	nsenter --target "$CTD_OUTSIDE" --net -- ssh -i "$KEY" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o LogLevel=ERROR -o ConnectTimeout=30 root@10.7.0.1 "$@"
}

cgroup_of() # DAEMON
{
	echo "$(cgroup_mount)$($1 version --json | jq -r .cgroup)/c-$CTID"
}

ids_of() # DAEMON: where its ids begin on the host
{
	awk '{ print $2 }' "/proc/$(field "$1" d1 .pid)/uid_map"
}

# What the kernel says of its cgroups and of each of its processes but for those of sessions, which come and go: ids, capabilities, mounts. Not how the
# masks of /proc and /sys are mounted, nor whether privileges can be gained (no_new_privs), which CRIU 3.17 does not restore: ctctl-suspend(1).
world_inside() # DAEMON
{
	local base pid
	base=$(ids_of "$1")
	(
		cd "$(cgroup_of "$1")" || exit
		find . -mindepth 1 -name '.ct-exec' -prune -o -path './user.slice/*' -prune -o -printf '%p %m %U %G\n' | grep -v '/memory\.reclaim' | sort
		for file in memory.max memory.high memory.swap.max pids.max cpu.weight cgroup.subtree_control cgroup.type; do
			find . -name "$file" -not -path './user.slice/*' -not -path './.ct-exec/*' -printf '%p ' -exec cat {} \; | sort
		done
		getfattr -R -d -m user. system.slice init.scope
		find init.scope system.slice -name cgroup.procs -exec cat {} + | while read -r pid; do
			cut -d: -f3 "/proc/$pid/cgroup" | sed 's,.*/c-[0-9a-f]*,,'
			tr '\0' ' ' <"/proc/$pid/cmdline" && echo
			grep -E '^(NSpid|Uid|Gid|Groups|Seccomp|Cap[A-Z][a-z]+):' "/proc/$pid/status" | sed 's/^NSpid:.*\t/NSpid: /'
			awk '$5 ~ "^/(proc|sys)/" { print $5, $5 == "/sys/fs/cgroup" ? $6 : ""; next }
				{ sub(".*/upper/", "/upper/", $4); print $5, $6, $4 }' "/proc/$pid/mountinfo" | sort -u
		done
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
	head -n "$(received "$1")" "$1" | awk '{ sum = (sum * 31 + NR) % 4294967296; if ($1 != NR || $2 != sum) { print "wrong at", NR, $0; exit 1 } }'
}

answers()
{
	# shellcheck disable=SC2016 # for that shell
	[ "$(outside timeout 10 bash -c 'read -r line </dev/tcp/10.7.0.1/7000 && echo "$line"')" = "1 1" ]
}

clients_start()
{
	wait_for 60 answers
	nsenter --target "$CTD_OUTSIDE" --net -- bash -c 'exec cat </dev/tcp/10.7.0.1/7000' >"$CTD_DIR/stream" </dev/null 3>&- 4>&- &
	stream=$!
	# shellcheck disable=SC2016 # for that shell
	login -o ServerAliveInterval=0 'n=0 sum=0; while :; do n=$((n + 1)); sum=$(((sum * 31 + n) % 4294967296)); echo $n $sum; sleep 0.2; done' \
		>"$CTD_DIR/session" </dev/null 3>&- 4>&- &
	session=$!
	wait_for 60 received_beyond "$CTD_DIR/stream" 5
	wait_for 60 received_beyond "$CTD_DIR/session" 5
}

clients_end()
{
	kill "$stream" "$session"
	wait "$stream" "$session" || true
	is_whole "$CTD_DIR/stream"
	is_whole "$CTD_DIR/session"
}

# After it went on: the same processes, confined as before; both connections; services that run, and others that can be started.
goes_on() # DAEMON
{
	local a b
	a=$(received "$CTD_DIR/stream") b=$(received "$CTD_DIR/session")
	wait_for 120 received_beyond "$CTD_DIR/stream" "$((a + 3))"
	wait_for 120 received_beyond "$CTD_DIR/session" "$((b + 3))"
	wait_for 60 booted "$1"
	[ -z "$(inside "$1" systemctl --failed --no-legend --plain)" ]
	world_inside "$1" >"$CTD_DIR/after"
	diff "$CTD_DIR/before" "$CTD_DIR/after"
	[ -z "$(login 'cat /proc/kallsyms /proc/keys')" ]
	inside "$1" systemctl restart cron
	[ "$(inside "$1" systemctl is-active cron ssh numbers systemd-logind systemd-journald dbus | sort -u)" = active ]
	world_inside "$1" >"$CTD_DIR/before" # of the new cron
}

@test "to disk and back, twice in a row" {
	clients_start
	world_inside ctctl >"$CTD_DIR/before"
	grep -q 'numbers.service/memory.max 67108864' "$CTD_DIR/before"
	# over native directories, which CRIU takes for these
	grep -q '^/home [^ ]* /upper/home$' "$CTD_DIR/before"
	grep -q '^/home [^ ]* /systemd/inaccessible/dir$' "$CTD_DIR/before"
	grep -q '^/var/tmp [^ ]* /upper/var/tmp/systemd-private-.*/tmp$' "$CTD_DIR/before"
	for _ in 1 2; do
		ctctl suspend d1
		ctctl resume d1
		goes_on ctctl
	done
	clients_end
	ctctl fsck
}

is_covered() # SERVICE: it has got its mounts, which is after systemd-run's answer
{
	inside ctctl sh -c "grep -q ' /home .* - tmpfs ' /proc/\$(systemctl show -P MainPID $1)/mountinfo"
}

@test "what a service has over a native directory is refused where it would be lost, and it runs on" {
	inside ctctl systemd-run -q --unit=lost -p ProtectHome=tmpfs sleep infinity
	wait_for 60 is_covered lost
	run ! ctctl suspend d1
	echo "$output"
	[[ $output == *'"/home" inside is a mount of a kind that is not kept'* ]]
	inside ctctl systemctl stop lost
}
