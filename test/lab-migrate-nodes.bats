#!/usr/bin/env bats
# lab: systemd machines=2 deadline=1800
# Debian's own systemd guest moves between two machines while it runs, by ssh: there and back three times, to a disk that is full, over a wire that is cut. A third
# machine on the wire, which is a namespace of lab1's, holds a login and a stream all the while, over six moves that succeed and two that do not; it asks the guest's web
# server for a page, and hears of each row that its database has: two guests would be heard, and one that has lost a row. All tests share one container.
load lib
load peer
load guest
load nodes

NODES_FUNCTIONS+=' world_inside processes_seen port_of limits_of clock_of stacks_of'

setup_file()
{
	export KEY=$BATS_FILE_TMPDIR/key GUEST=$ADDRESS
	ssh-keygen -q -t ed25519 -N '' -f "$KEY"
	nodes_setup 'ctctl template import --name debian /lab/debian.tar'
	ctctl create d1 --template debian --net "routed,ip=$ADDRESS,ip=$ADDRESS6,rate-out=50M,rate-in=60M,pps-out=20000,connections=5000,block-mail=yes,mac=02:00:5e:00:00:32" \
		--memory 300M --disk 300M --processes 300 --cpus 2 --ssh-key "$KEY.pub" --start
	export CTID
	CTID=$(field ctctl d1 .ctid | tr -d '"')
	wait_for 120 booted ctctl
	guest_numbers ctctl
	guest_database
	guest_desk
	web_start
	clients_start "$DIR" "$ADDRESS6" -tt "$GUEST_COUNTER"
}

teardown_file()
{
	kill "$STREAM" "$SESSION" "$HEARD" "$WEB" 2>/dev/null
	nodes_teardown
}

setup()
{
	echo "# up for $(cut -d ' ' -f 1 /proc/uptime) s" >&3
}

teardown()
{
	[ "${BATS_TEST_COMPLETED:-}" = 1 ] || tail -n 3 "$DIR/session" "$DIR/stream" "$DIR/heard" "$DIR/web"
	nodes_mend
	ctctl fsck
	peer fsck
}

# ---- the guest

# Its database gets a row five times a second, and how many it has is said to the third machine when they are on the disk.
guest_database()
{
	nsenter --target "$CTD_OUTSIDE" --net -- socat -u UDP-RECV:9000 "OPEN:$DIR/heard,creat,append" </dev/null 2>/dev/null 3>&- 4>&- &
	export HEARD=$!
	ctctl exec d1 -- sh -c 'cat >/usr/local/sbin/rows
		printf "[Service]\nExecStart=/usr/bin/perl /usr/local/sbin/rows\n" >/etc/systemd/system/rows.service
		systemctl start rows' <<-'END'
		use IO::Socket::INET;
		use IPC::Open2;
		my $third = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '10.99.0.3', PeerPort => 9000) or die;
		open2(my $answers, my $orders, qw(sqlite3 -batch /srv/rows.db));
		print $orders ".timeout 60000\nPRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 50;\n";
		print $orders "CREATE TABLE row(n INTEGER PRIMARY KEY, noise BLOB);\n";
		for (;;) {
			print $orders "INSERT INTO row(noise) VALUES(randomblob(500)); SELECT 'rows', max(n) FROM row;\n";
			do { defined($_ = <$answers>) or die } until /^rows.(\d+)/;
			$third->send("$1\n");
			select undef, undef, undef, 0.2;
		}
	END
}

# A shell that somebody has left in tmux, and a job of cron's for each minute.
guest_desk()
{
	login 'tmux new-session -d -s desk -x 80 -y 24'
	typed ctctl 'echo mark-$((6 * 7))'
	wait_for 60 pane_has ctctl mark-42
	inside ctctl sh -c 'echo "* * * * * root date >>/srv/minutes" >/etc/cron.d/minutes'
}

typed() # DAEMON TEXT
{
	inside "$1" tmux send-keys -t desk "$2" Enter
}

pane_has() # DAEMON LINE
{
	inside "$1" tmux capture-pane -p -S - -t desk | grep -qxF "$2"
}

# It has on its screen and in its history what was typed first, and answers.
desk_is_left() # DAEMON
{
	local number=$RANDOM$RANDOM
	typed "$1" "echo \"\$(history | sed -n 1p) $number\""
	wait_for 60 pane_has "$1" "    1  echo mark-\$((6 * 7)) $number"
	pane_has "$1" mark-42
}

minutes() # DAEMON
{
	inside "$1" sh -c 'wc -l </srv/minutes'
}

cron_ran() # DAEMON NUMBER: more often
{
	[ "$(minutes "$1")" -gt "$2" ]
}

# The third machine asks for its page again and again, by IPv4 and IPv6 in turn, and notes what it gets.
web_start()
{
	nsenter --target "$CTD_OUTSIDE" --net -- perl - "$ADDRESS" "$ADDRESS6" >"$DIR/web" 2>/dev/null 3>&- 4>&- <<-'END' &
		use IO::Socket::IP;
		use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);
		$| = 1;
		$SIG{ALRM} = sub { die "nothing for two minutes\n" };
		for (;;) {
			for my $address (@ARGV) {
				my $asked = clock_gettime(CLOCK_MONOTONIC);
				my $answer = eval {
					alarm 120;
					my $server = IO::Socket::IP->new(PeerHost => $address, PeerPort => 80) or die "$@\n";
					print $server "GET / HTTP/1.0\r\n\r\n";
					join '', <$server>;
				};
				alarm 0;
				my ($length, $page) = ($answer // '') =~ m{^HTTP/1.1 200 OK\r\n.*Content-Length: (\d+)\r\n.*?\r\n\r\n(.*Welcome to nginx.*)}s;
				my $is_whole = $length && $length == length $page;
				printf "%s %s %.3f %.3f %s\n", $address, $is_whole ? "ok" : "failed", $asked, clock_gettime(CLOCK_MONOTONIC), $is_whole ? "" : ($@ || $answer) =~ s/\s+/ /gr;
				select undef, undef, undef, 0.5;
			}
		}
	END
	export WEB=$!
	wait_for 60 web_answers 0
}

web_answers() # BEHIND-LINE: by both, since then
{
	tail -n "+$(($1 + 1))" "$DIR/web" | awk -v four="$ADDRESS" -v six="$ADDRESS6" '$2 == "ok" { ok[$1]++ } END { exit !(ok[four] && ok[six]) }'
}

# It has what it said that it has, and nobody else said the same; and lets somebody else in meanwhile.
database_is_whole() # DAEMON
{
	local heard
	heard=$(tail -n 1 "$DIR/heard")
	wait_for 60 received_beyond "$DIR/heard" "$(($(received "$DIR/heard") + 3))"
	awk '$1 <= last { print "said", $1, "after", last; exit 1 } { last = $1 }' "$DIR/heard"
	[ "$(inside "$1" sqlite3 -batch -cmd '.timeout 10000' /srv/rows.db "PRAGMA integrity_check; SELECT count(*) = max(n), max(n) > $heard FROM row")" = $'ok\n1|1' ]
}

# The filters, limits and rates of its interface.
port_of() # DAEMON
{
	local port index
	index=$(nsenter --target "$(field "$1" d1 .pid)" --net ip -o link show eth0 | sed 's/.*@if\([0-9]*\):.*/\1/')
	port=$(ip -o link | sed -n "s/^$index: \([^@:]*\).*/\1/p")
	{
		nft -j list ruleset | jq -r --arg port "$port" '.nftables[] | .set // .map // empty | .name as $set | .elem[]? | tojson |
			select(contains("\"" + $port + "\"")) | "\($set) \(gsub("\"counter\":[{][^}]*[}]"; ""))"' | sed 's/^\(class .*,\)[0-9]*]/\1CLASS]/'
		tc qdisc show dev "$port"
		tc filter show dev "$port"
		ip -4 route show dev "$port"
		ip -6 route show dev "$port" | sed '/^fe80/d'
	} | sed "s/$port/PORT/g; s/\b[0-9a-f]*:[0-9a-f]*\( root\| parent\)/\1/g" | sort
	tc class show dev "$(ip -o -4 route show default | sed 's/.* dev \([^ ]*\).*/\1/')" | grep -o 'rate 50Mbit.*'
}

limits_of() # DAEMON
{
	$1 show d1 --json | jq -S '.ctid, .template, (.config | with_entries(select(.key | startswith("_") | not)))'
	inside "$1" df -B1 --output=size,itotal /
	inside "$1" ip -o -6 addr show dev eth0 | sed 's/valid_lft.*//; s/^[0-9]*://'
	inside "$1" cat /sys/class/net/eth0/address
}

kept() # DAEMON: all that must be the same on each node
{
	at "$1" world_inside ctctl
	at "$1" port_of ctctl
	at "$1" limits_of ctctl
}

# Twice the same: cron may have been about to start its job.
remember()
{
	kept ctctl >"$DIR/before"
	wait_for 300 is_kept ctctl || { diff "$DIR/before" "$DIR/after" && false; }
}

is_kept() # DAEMON
{
	kept "$1" >"$DIR/after"
	diff "$DIR/before" "$DIR/after"
}

totals() # DAEMON
{
	$1 usage d1 --json | jq -c '.containers[0].total'
}

# The third machine was told where the addresses are.
is_led_to() # DAEMON
{
	local mac
	mac=$(at "$1" cat "/sys/class/net/$LINK/address")
	outside ip neigh show "$ADDRESS" | grep -q "lladdr $mac" && outside ip neigh show "$ADDRESS6" | grep -q "lladdr $mac"
}

# Seconds of its monotonic clock.
clock_of() # DAEMON
{
	awk 'NR == FNR { if ($1 == "monotonic") offset = $2; next } { printf "%d\n", $1 + offset }' "/proc/$(field "$1" d1 .pid)/timens_offsets" /proc/uptime
}

# What is wrong with it: of its units, and of where its processes wait.
tell_of() # DAEMON
{
	inside "$1" sh -c 'systemctl is-system-running; systemctl --failed --no-pager; systemctl list-jobs --no-pager; journalctl -n 60 --no-pager' || true
	at "$1" stacks_of "$(at "$1" cgroup_of ctctl)" || true
}

stacks_of() # CGROUP
{
	find "$1" -name cgroup.procs -exec cat {} + | while read -r pid; do
		echo "$pid $(sed -n 's/^\(Name\|State\):.//p' "/proc/$pid/status" | tr '\n' ' ') $(head -n 3 "/proc/$pid/stack" | tr '\n' ' ')"
	done
	dmesg | tail -n 20
}

# The same processes, confined as before, with both connections, and only they.
goes_on() # DAEMON
{
	local web
	web=$(received "$DIR/web")
	runs_on "$1"
	clients_go_on "$DIR"
	database_is_whole "$1"
	desk_is_left "$1"
	wait_for 60 booted "$1" || { tell_of "$1" && false; }
	[ -z "$(inside "$1" systemctl --failed --no-legend --plain)" ]
	wait_for 30 is_kept "$1" || { diff "$DIR/before" "$DIR/after" && false; }
	wait_for 60 web_answers "$web"
}

was_heard_within() # MS FILE BEHIND-LINE
{
	local silence
	silence=$(silence "$DIR/$2" "$3")
	echo "# $2: silent for $silence ms, frozen for $frozen" >&3
	[ "$silence" -le "$1" ]
}

# From where it is. Who listens hears nothing for no longer than three times as long as it stood still: TCP asks again after twice the time each time. And 15 s more, for two
# emulated machines at work, of which one also is the third, have been seen to let such a process wait for several.
moved_to() # DAEMON
{
	local from totals clock began passed frozen web session stream
	from=$(other_than "$1")
	totals=$(totals "$from")
	web=$(received "$DIR/web") session=$(received "$DIR/session") stream=$(received "$DIR/stream")
	began=$SECONDS
	clock=$(at "$from" clock_of ctctl)
	run --separate-stderr "$from" migrate d1 root@peer --json
	[ "$status" = 0 ] || { echo "$stderr" && return 1; }
	frozen=$(jq .frozen_msec.total <<<"$output")
	echo "# $((SECONDS - began)) s: $(jq -c . <<<"$output")" >&3
	jq -e '.name == "d1" and .to == "root@peer" and .fallback == null and .warning == null and (.rounds | length > 1) and (.memory_rounds | length > 0)' <<<"$output"
	passed=$(($(at "$1" clock_of ctctl) - clock))
	[ "$passed" -ge 0 ]
	[ "$passed" -le $((SECONDS - began + 2)) ]
	web_answers "$web"
	has_none "$from"
	wait_for 20 is_led_to "$1"
	not_less "$totals" "$(totals "$1")"
	goes_on "$1"
	was_heard_within $((3 * frozen + 15000)) session "$session"
	was_heard_within $((3 * frozen + 15000)) stream "$stream"
}

@test "it goes there and comes back three times while it runs, with its connections, database, limits, filters, rates and counters" {
	remember
	grep -q 'numbers.service/memory.max 67108864' "$DIR/before"
	grep -q 'rate 50Mbit' "$DIR/before"
	[ "$(grep -c '^nginx: worker' "$DIR/before")" -gt 1 ]
	run -0 ctctl migrate d1 root@peer --dry-run
	printf '# %s\n' "${lines[@]}" >&3
	moved_to peer
	# shellcheck disable=SC2016 # for that shell
	run -1 inside peer sh -c 'rows=$(systemctl show -P MainPID rows); kill -STOP $rows
		fallocate -l 400M /srv/full; status=$?; rm -f /srv/full; kill -CONT $rows; exit $status'
	[[ $output == *"quota exceeded"* ]]
	moved_to ctctl
	for _ in 1 2; do
		moved_to peer
		moved_to ctctl
	done
}

memory_of() # as a check counts it
{
	awk -v all="$(cat "$(cgroup_of ctctl)/memory.current")" '$1 == "file" { all -= $2 } $1 == "shmem" { all += $2 } END { printf "%d\n", all }' "$(cgroup_of ctctl)/memory.stat"
}

@test "a node whose disk is full refuses it, or gives it up in the middle of its memory; it runs on here" {
	need=$(($(inside ctctl df -B1 --output=used / | tail -n 1) + $(memory_of)))
	leave_there peer
	far "sh /run/leave $((need / 2))"
	migrate_ends 5
	[[ $output == *"the store has "*" MiB free"* ]]
	far rm /var/filler
	# it fills up when there was room for all of its memory and the first of it has come
	cat >/run/at-copy <<-'END'
		if [ "$(jq '.images_bytes // 0' <<<"$line")" = 0 ]; then
			send | /usr/bin/ssh "$@"
		else
			{ printf '%s\n' "$line" && head -c 200000 && /usr/bin/ssh peer "sh /run/leave 1000000" </dev/null && cat; } | /usr/bin/ssh "$@"
		fi
	END
	migrate_ends 5
	rm /run/at-copy
	[[ ${lines[-1]} == 'ctctl: the other node: cannot copy standard input to "/var/tmp/'*'": No space left on device' ]]
	far rm /var/filler
	run ! far compgen -G '/var/tmp/ctctl.*'
	run -3 peer show d1
	runs_on ctctl
	clients_go_on "$DIR"
}

@test "the wire is cut in the middle of sending: it runs on here" {
	cat >/run/at-copy <<-END
		{ printf '%s\n' "\$line"; head -c 20000; $(declare -f wire_cut); LINK=$LINK wire_cut; cat; } | /usr/bin/ssh $PATIENCE "\$@"
	END
	migrate_ends 1
	rm /run/at-copy
	runs ctctl d1
	clients_go_on "$DIR"
	wire_mend
	wire_anew
	run -3 peer show d1
	runs_on ctctl
}

@test "in the end nothing is lost of its connections, and what starts jobs, services and sessions does so" {
	minutes=$(minutes ctctl)
	login true
	inside ctctl systemctl restart nginx
	[ "$(inside ctctl systemctl is-active cron nginx ssh numbers systemd-logind systemd-journald dbus | sort -u)" = active ]
	wait_for 150 cron_ran ctctl "$minutes"
	clients_end "$DIR"
}
