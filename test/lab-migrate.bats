#!/usr/bin/env bats
# lab: script deadline=1800
# A container moves between two daemons with its processes: counting where they stopped, with their connection, of other ids, in another cgroup; while
# it runs or is suspended, under kills of the daemons too. All tests share one container, that goes there and back.
load lib
load kill
load peer
load memory

setup_file()
{
	uplink_up
	outside ip route add 10.7.0.1 via 192.0.2.2
	ctd_setup
	tiny_template
	peer_setup_apart
	ctctl create one --template tiny --net routed,ip=10.7.0.1 --memory 100M --processes 50 --hostname onehost --start
	# shellcheck disable=SC2016 # for that shell
	ctctl exec one -- sh -c 'echo kept >/dev/shm/x; echo disk >/root/y
		printf "#!/bin/sh\ni=0; while :; do i=\$((i + 1)); echo \$i; sleep 0.1; done\n" >/bin/counter; chmod 755 /bin/counter
		(nc -l -p 7000 -e /bin/counter) >/dev/null 2>&1 </dev/null &
		(nc -ll -p 7001 -e /bin/hostname) >/dev/null 2>&1 </dev/null &'
	export CTID
	CTID=$(field ctctl one .ctid | tr -d '"')
	export CGROUP_THERE
	CGROUP_THERE=$(peer version --json | jq -r .cgroup)
}

teardown_file()
{
	peer_teardown
	peer_disk_away
	ctd_teardown
	uplink_down
}

is() # DAEMON STATE
{
	[ "$(state_of "$1" one)" = "$2" ]
}

greets()
{
	[ "$(outside timeout 5 bash -c "cat </dev/tcp/10.7.0.1/7001")" = onehost ]
}

# The processes are those that there were.
goes_on() # DAEMON
{
	is "$1" running
	wait_for 30 greets
	[ "$($1 exec one -- cat /dev/shm/x /root/y)" = $'kept\ndisk' ]
}

says() # DAEMON TEXT: the container, on its console
{
	$1 exec one -- sh -c "echo '$2' >/dev/console"
	wait_for 30 said_last "$@"
}

said_last() # DAEMON TEXT, perhaps behind a prompt
{
	[[ $($1 log one | tail -n 1) == *"$2"$'\r' ]]
}

received_beyond() # NUMBER
{
	[ "$(tail -n 1 "$CTD_DIR/stream")" -gt "$1" ]
}

ids_of() # DAEMON: where its ids begin on the host
{
	awk '{ print $2 }' "/proc/$(field "$1" one .pid)/uid_map"
}

# What the kernel says of init, but for where its ids begin, and its interfaces with their hardware addresses.
confinement() # DAEMON
{
	local pid base
	pid=$(field "$1" one .pid)
	base=$(ids_of "$1")
	grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Cap[A-Z][a-z]+):' "/proc/$pid/status" | sed "s/\b$base\b/BASE/g"
	awk '{ print $1, $3 }' "/proc/$pid/uid_map" "/proc/$pid/gid_map"
	awk '{ print $5, $6 }' "/proc/$pid/mountinfo" | sort
	(cd "$(cgroup_mount)$($1 version --json | jq -r .cgroup)/c-$CTID" && head memory.max pids.max && stat -c %u:%g . cgroup.procs | sed "s/\b$base\b/BASE/g")
	$1 exec one -- sh -c 'ip addr; ip -4 route' | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/link-netnsid.*//; s/valid_lft.*//'
}

totals() # DAEMON
{
	$1 usage one --json | jq -c '.containers[0].total'
}

moved_to() # SOCKET: from where it is, while it runs
{
	local from=ctctl
	[ "$1" != "$CTD_SOCKET" ] || from=peer
	run "$from" migrate one "$1"
	echo "$output"
	[ "$status" = 0 ]
	[[ ${lines[-1]} == "one is on $1 now ("*"; frozen for "* ]]
	run -3 "$from" show one
}

@test "it goes on there while it runs and, suspended, comes back: memory, connection, confinement, totals" {
	wait_for 30 greets
	nsenter --target "$CTD_OUTSIDE" --net -- bash -c 'exec cat </dev/tcp/10.7.0.1/7000' >"$CTD_DIR/stream" </dev/null 3>&- 4>&- &
	stream=$!
	wait_for 30 received_beyond 5
	confinement ctctl >"$CTD_DIR/before"
	ids=$(ids_of ctctl)
	totals=$(totals ctctl)
	# its project id is in use there, as by what it had when it was there before
	project=$((1048576 + 0x${CTID:0:7}))
	mkdir "$PEER/left"
	chattr +P -p "$project" "$PEER/left"
	says ctctl "still here"
	ctctl log one >"$CTD_DIR/console"
	run -0 ctctl migrate one "$PEER/run/ctd.sock" --dry-run --json
	jq -e '.checks | length == 7 and all(.ok) and .[0].name == "to be suspended here"' <<<"${lines[-1]}"
	moved_to "$PEER/run/ctd.sock"
	goes_on peer
	moved=$(tail -n 1 "$CTD_DIR/stream")
	wait_for 120 received_beyond "$((moved + 5))"
	confinement peer >"$CTD_DIR/there"
	diff "$CTD_DIR/before" "$CTD_DIR/there"
	[ "$(ids_of peer)" != "$ids" ]
	not_less "$totals" "$(totals peer)"
	cmp "$CTD_DIR/console" <(peer log one)
	says peer "here as well"
	printf 'here as well\r\n' >>"$CTD_DIR/console"
	peer fsck
	[ "$(lsattr -pd "$PEER/state/fs/containers/$CTID/upper" | awk '{ print $1 }')" = "$((project + 1))" ]
	rmdir "$PEER/left"

	totals=$(totals peer)
	peer suspend one
	stopped=$(tail -n 1 "$CTD_DIR/stream")
	run -0 peer migrate one "$CTD_SOCKET" --dry-run --json
	jq -e '.checks | length == 6 and all(.ok) and any(.name == "processes")' <<<"${lines[-1]}"
	run -0 peer migrate one "$CTD_SOCKET" --offline
	[[ ${lines[-1]} == "one is on $CTD_SOCKET now, suspended ("* ]]
	run -3 peer show one
	is ctctl suspended
	ctd_stop # its ids are its own still
	ctd_start
	ctctl create other --template tiny --start
	run -4 ctctl start one
	ctctl resume one
	goes_on ctctl
	wait_for 120 received_beyond "$((stopped + 5))"
	confinement ctctl >"$CTD_DIR/after"
	diff "$CTD_DIR/before" "$CTD_DIR/after"
	cmp "$CTD_DIR/console" <(ctctl log one)
	not_less "$totals" "$(totals ctctl)"
	ctctl destroy other --force
	kill "$stream"
	wait "$stream" || true
	sed '$d' "$CTD_DIR/stream" >"$CTD_DIR/got" # the last line may be half of one
	diff <(seq "$(tail -n 1 "$CTD_DIR/got")") "$CTD_DIR/got" # none lost, none twice
	ctctl fsck
}

@test "its memory is what it was, there and back, while it is written to" {
	memory_fill ctctl one 16 1000
	run -0 ctctl migrate one "$PEER/run/ctd.sock" --json
	result=${lines[-1]}
	echo "$result" # for who looks at a failure
	# two processes have all of it; what is left for the end is neither that nor what was sent before
	jq -e '.memory_rounds | length >= 2 and .[0].bytes > 33554432 and all(.[1:][]; .bytes < 16777216)' <<<"$result"
	jq -e '.last_bytes < 16777216 and .bytes >= .last_bytes + (.rounds + .memory_rounds | map(.bytes) | add)' <<<"$result"
	jq -e '.reread < 60' <<<"$result" # of some hundreds of files on its disk
	memory_intact peer one
	moved_to "$CTD_SOCKET"
	memory_intact ctctl one
	ctctl suspend one --rounds
	run -0 ctctl migrate one "$PEER/run/ctd.sock" --offline
	peer resume one
	memory_intact peer one
	moved_to "$CTD_SOCKET"
	memory_end ctctl one
	goes_on ctctl
}

# The process that has the other as its child, on the host.
probe_of() # DAEMON
{
	local pid
	for pid in $(find "$(cgroup_mount)$($1 version --json | jq -r .cgroup)/c-$CTID" -name cgroup.procs -exec cat {} + | sort -n); do
		[ "$(cat "/proc/$pid/comm")" != probe ] || { echo "$pid" && return; }
	done
	return 1
}

@test "what nobody writes to is in memory there before it stands still, and charged to it" {
	memory_fill ctctl one 32 0
	moved_to "$PEER/run/ctd.sock"
	pid=$(probe_of peer)
	[ "$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")" -gt $((32 << 10)) ]
	[ "$(awk '/^rchar/ { print $2 }' "/proc/$pid/io")" -lt $((8 << 20)) ] # restored, it has read hardly anything
	[ "$(cat "$(cgroup_mount)$(peer version --json | jq -r .cgroup)/c-$CTID/memory.current")" -gt $((32 << 20)) ]
	grep -q '^THP_enabled:.*1' "/proc/$pid/status"
	run ! grep -E '^VmFlags:.* (dc|nh) ' "/proc/$pid/smaps"
	memory_intact peer one
	run -0 peer fsck
	moved_to "$CTD_SOCKET"
	memory_intact ctctl one
	memory_end ctctl one
	goes_on ctctl
}

@test "where it cannot be read ahead, it is read when it is restored" {
	memory_fill ctctl one 32 0
	module=$CTD_BUILD/ctd/ct-criu-inside.so
	mv "$module" "$CTD_DIR/module"
	moved_to "$PEER/run/ctd.sock"
	mv "$CTD_DIR/module" "$module"
	tail -n 20 "$PEER/log" | grep -q 'memory is not read ahead'
	[ "$(awk '/^rchar/ { print $2 }' "/proc/$(probe_of peer)/io")" -gt $((32 << 20)) ]
	memory_intact peer one
	run -0 peer fsck
	moved_to "$CTD_SOCKET"
	memory_intact ctctl one
	memory_end ctctl one
}

# A criu that fails when SHELL says so, once.
criu_fails() # SHELL
{
	cat >/usr/local/sbin/criu <<-END
		#!/bin/sh
		[ "\$1" != swrk ] || [ ! -e $CTD_DIR/fails ] || ! { $1; } || { rm $CTD_DIR/fails; exit 1; }
		exec $(command -v criu) "\$@"
	END
	chmod 755 /usr/local/sbin/criu
	: >"$CTD_DIR/fails"
}

@test "rounds that became void there are not gone on from" {
	memory_fill ctctl one 16 1000
	# the second round fails: the first is void, and another begins
	criu_fails "[ -e $CTD_STATE/fs/containers/$CTID/suspended/rounds/2 ]"
	run -0 ctctl migrate one "$PEER/run/ctd.sock" --json
	rm /usr/local/sbin/criu
	[ ! -e "$CTD_DIR/fails" ]
	echo "${lines[-1]}" # for who looks at a failure
	jq -e '.memory_rounds | length >= 3 and all(.[:2][]; .bytes > 33554432)' <<<"${lines[-1]}"
	jq -e '.last_bytes < 16777216' <<<"${lines[-1]}"
	memory_intact peer one
	peer fsck
	# the dump fails that was to have the rest: all of it goes in the end
	criu_fails "[ -e $PEER/state/fs/containers/$CTID/suspended/rounds.json ]"
	run -0 peer migrate one "$CTD_SOCKET" --json
	rm /usr/local/sbin/criu
	[ ! -e "$CTD_DIR/fails" ]
	echo "${lines[-1]}"
	jq -e '.last_bytes > 33554432 and (.memory_rounds | length >= 2)' <<<"${lines[-1]}"
	memory_intact ctctl one
	memory_end ctctl one
	goes_on ctctl
	ctctl fsck
	peer fsck
}

sends_memory()
{
	ctctl job list --open --json | jq -e '.jobs[0].progress.text | test("of its memory")' >/dev/null
}

leaves_nothing()
{
	[ ! -e "$CTD_STATE/fs/containers/$CTID/suspended" ] && [ ! -e "$PEER/state/fs/containers/$CTID" ] && ! compgen -G '/var/tmp/ctctl.*' >/dev/null
}

@test "killed, cancelled or cut off while its memory is sent, it runs on as if nothing had been" {
	memory_fill ctctl one 16 1000
	for how in ours theirs cancel cut saver ahead; do
		ctctl migrate one "$PEER/run/ctd.sock" --bandwidth 3M >"$CTD_DIR/out" 2>&1 3>&- 4>&- &
		moving=$!
		wait_for 120 sends_memory
		run -4 peer start one
		case $how in
			ours) ctd_kill && ctd_start ;;
			theirs) peer_stop KILL && peer_start ;;
			cancel) ctctl job cancel "$(ctctl job list --open --json | jq -r '.jobs[0].id')" ;;
			cut) worker_of migrate-send | xargs kill -9 ;;
			saver) worker_of predump | xargs kill -9 ;; # its rounds are lost, and it goes without
			ahead) worker_of ahead | xargs kill -9 ;; # what waits for the freeze, here and there: it is started anew
		esac
		wait "$moving" && failed=0 || failed=$?
		wait_for 60 idle ctctl
		wait_for 60 idle peer
		if [ "$how" = saver ] || [ "$how" = ahead ]; then
			[ "$failed" = 0 ]
			memory_intact peer one
			moved_to "$CTD_SOCKET"
		else
			[ "$failed" != 0 ]
			is ctctl running
		fi
		if [ "$how" = ours ]; then # nobody has told the other one; it would go in ten minutes
			! peer show one >/dev/null 2>&1 || peer destroy one --force
		fi
		memory_intact ctctl one
		goes_on ctctl
		run -3 peer show one
		wait_for 30 leaves_nothing
		ctctl fsck
		peer fsck
	done
	memory_end ctctl one
}

@test "images that were changed, or of a host that has more, do not go" {
	ctctl suspend one
	images=$CTD_STATE/fs/containers/$CTID/suspended
	cp "$images/host.json" "$CTD_DIR/host.json"
	jq -c '.criu = "99.0"' "$CTD_DIR/host.json" >"$images/host.json"
	run -5 ctctl migrate one "$PEER/run/ctd.sock"
	[[ $output == *"saved by criu 99.0"* ]]
	jq -c '.cpu += " avx1024"' "$CTD_DIR/host.json" >"$images/host.json"
	run -1 ctctl migrate one "$PEER/run/ctd.sock" --dry-run
	[[ $output == *"lacks: avx1024"* ]]
	cat "$CTD_DIR/host.json" >"$images/host.json"

	cp "$images/core-1.img" "$CTD_DIR/core"
	printf x | dd of="$images/core-1.img" bs=1 seek=40 conv=notrunc status=none
	run -1 ctctl migrate one "$PEER/run/ctd.sock"
	[[ $output == *"not those that were sent"* ]]
	cat "$CTD_DIR/core" >"$images/core-1.img"
	run -3 peer show one
	is ctctl suspended
	ctctl resume one
	goes_on ctctl
}

@test "what cannot be saved runs on, and is told with the way out" {
	ctctl exec one -- sh -c '(cd /proc/sys && exec sleep 1000) >/dev/null 2>&1 </dev/null &'
	wait_for 30 ctctl exec one -- pidof sleep
	run -5 ctctl migrate one "$PEER/run/ctd.sock"
	[[ $output == *"directory of /proc or /sys open"*"--offline"* ]]
	goes_on ctctl
	run -3 peer show one
	ctctl exec one -- killall sleep
}

@test "in doubt it runs nowhere; in the end it does, here, or there when the cause has gone" {
	lose_commit one
	is ctctl suspended
	is peer frozen # restored, and held
	for daemon in ctctl peer; do
		run -4 "$daemon" resume one
		run -4 "$daemon" resume --discard one
	done
	for verb in start thaw freeze stop kill restart; do
		run -4 peer "$verb" one
		is peer frozen
	done
	run -0 ctctl migrate resolve one
	goes_on ctctl
	run -3 peer show one

	lose_commit one
	is peer frozen
	run -0 ctctl migrate one "$PEER/run/ctd.sock" # it is let go
	goes_on peer
	moved_to "$CTD_SOCKET"
	goes_on ctctl

	lose_commit one
	peer_stop KILL # what was restored goes with it
	peer_start
	wait_for 60 is peer suspended
	image=$PEER/state/fs/containers/$CTID/suspended/core-1.img
	cp "$image" "$CTD_DIR/core"
	printf x | dd of="$image" bs=1 seek=40 conv=notrunc status=none
	run -0 ctctl migrate one "$PEER/run/ctd.sock"
	[[ $output == *"images were changed"* && $output == *"now, suspended ("* ]]
	run -3 ctctl show one
	is peer suspended
	cat "$CTD_DIR/core" >"$image"
	peer resume one
	goes_on peer
	moved_to "$CTD_SOCKET"
	goes_on ctctl
}

@test "what cannot be restored there runs on here" {
	# CRIU restores as another user than root; it fails once, which is not here. So does what reads ahead for it.
	cat >/usr/local/sbin/criu <<-END
		#!/bin/sh
		[ ! -e $CTD_DIR/fails ] || case \$LD_PRELOAD in *inside*) exit 1 ;; esac
		[ "\$(id -u)" = 0 ] || [ ! -e $CTD_DIR/fails ] || { rm $CTD_DIR/fails; exit 1; }
		exec $(command -v criu) "\$@"
	END
	chmod 755 /usr/local/sbin/criu
	: >"$CTD_DIR/fails"
	run -1 ctctl migrate one "$PEER/run/ctd.sock"
	rm /usr/local/sbin/criu
	[[ $output == *"cannot restore \"one\""* ]]
	[ ! -e "$CTD_DIR/fails" ]
	goes_on ctctl
	run -3 peer show one
	ctctl fsck
	peer fsck
}

@test "killed between the record that it is there and its thaw, it runs there and is led to" {
	pid=$(cat "$PEER/pid")
	strace -qq -o /dev/null -P cgroup.freeze -e trace=openat -e inject=openat:signal=SIGKILL -p "$pid" 3>&- 4>&- 5>&- &
	wait_for 20 kill_is_traced "$pid"
	run -1 ctctl migrate one "$PEER/run/ctd.sock"
	echo "$output"
	[[ $output == *"not confirmed"* ]]
	wait_for 20 lib_is_gone "$pid"
	grep -q '^frozen 1' "$(cgroup_mount)$CGROUP_THERE/c-$CTID/cgroup.events"
	[ "$(sqlite3 "file:$PEER/state/ctd.db?mode=ro" "SELECT instr(config, '_handover') FROM container")" = 0 ]
	ip route del 10.7.0.1 # as if it had been killed a moment sooner
	peer_start
	wait_for 60 is peer running
	goes_on peer
	run -0 ctctl migrate resolve one
	run -3 ctctl show one
	moved_to "$CTD_SOCKET"
	goes_on ctctl
}

# Who is killed when there is a directory.
killed_at() # ours|theirs PATH
{
	local end=$((SECONDS + 120))
	ctctl migrate one "$PEER/run/ctd.sock" >/dev/null 2>&1 3>&- 4>&- &
	until [ -e "$2" ]; do
		[ "$SECONDS" -lt "$end" ]
		sleep 0.01
	done
	if [ "$1" = ours ]; then
		ctd_kill && ctd_start
	else
		peer_stop KILL && peer_start
	fi
	wait $! || true
	wait_for 60 idle ctctl
	wait_for 60 idle peer
}

@test "killed while it moves, it runs on one node and on no other" {
	for at in "ours $CTD_STATE/fs/containers/$CTID/suspended/inventory.img" "ours $PEER/state/fs/containers/$CTID/suspended/inventory.img" \
		"ours $PEER/state/fs/containers/$CTID/suspended/rounds/1" "theirs $PEER/state/fs/containers/$CTID/suspended/rounds/1" \
		"theirs $PEER/state/fs/containers/$CTID/suspended/inventory.img" \
		"theirs $(cgroup_mount)$CGROUP_THERE/c-$CTID"; do
		# shellcheck disable=SC2086 # two words
		killed_at $at
		if ctctl show one >/dev/null 2>&1 && [ "$(field ctctl one .handover)" = null ]; then
			wait_for 60 is ctctl running
			goes_on ctctl
			if peer show one >/dev/null 2>&1; then
				[ "$(field peer one .handover.state)" = '"incoming"' ]
				peer destroy one --force # its images would be what the next round waits for
			fi
		else
			! ctctl show one >/dev/null 2>&1 || ctctl migrate one "$PEER/run/ctd.sock"
			wait_for 60 is peer running
			goes_on peer
			moved_to "$CTD_SOCKET"
		fi
	done
	ctctl fsck
	peer fsck
}
