#!/usr/bin/env bats
# A container moves while one of the two daemons dies, before and behind each thing that it writes down: it never has two owners, and is never lost.
load lib
load kill
load peer

setup_file()
{
	ctd_setup
	tiny_template
	peer_setup
}

teardown_file()
{
	peer_teardown
	ctd_teardown
}

# One owner: with an owner it runs, or can be started; in doubt the same command ends it.
one_owner()
{
	local n
	n=$(for d in ctctl peer; do $d list --json | jq -r '.containers[] | select(.name == "one" and .handover == null) | .name'; done | wc -l)
	[ "$n" -le 1 ] || { echo "$n owners" && return 1; }
	n=$(for d in ctctl peer; do $d list --json | jq -r '.containers[] | select(.name == "one" and .state == "running") | .name'; done | wc -l)
	[ "$n" -le 1 ] || { echo "$n run" && return 1; }
}

# While one of the daemons is dead: by the records alone.
one_owner_of_files()
{
	local d n owners=0
	for d in "$CTD_STATE" "$PEER/state"; do
		n=$(sqlite3 "file:$d/ctd.db?mode=ro" "SELECT count(*) FROM container WHERE name = 'one' AND complete AND json_extract(config, '\$._handover') IS NULL")
		owners=$((owners + n))
	done
	[ "$owners" -le 1 ]
}

is_decided() # PID MOVING
{
	lib_is_gone "$1" || lib_is_gone "$2"
}

# It moves, and that daemon dies before its K-th such call, of those of its workers none. Sets is_alive: there were not as many.
moved_until() # PID AGAIN CALL K
{
	local tracer moving
	strace -qq -o /dev/null -e "trace=$3" -e "inject=$3:signal=KILL:when=$4" -p "$1" 3>&- &
	tracer=$!
	wait_for 60 kill_is_traced "$1"
	ctctl migrate one "$PEER/run/ctd.sock" --offline >/dev/null 2>&1 3>&- &
	moving=$!
	wait_for 60 is_decided "$1" "$moving"
	kill_end_tracer "$tracer"
	lib_is_gone "$1" && is_alive=0 || is_alive=1
	one_owner_of_files
	[ "$is_alive" = 1 ] || "$2"
	wait "$moving" || true
}

# Before what it writes to its log, where a step of CTD_KILL_STEP is one of the pages of most records; and when it has written a record and has the disk keep it.
killed_at_each() # PID-COMMAND AGAIN
{
	local call k step is_alive n=0
	for call in fdatasync pwrite64; do
		[ "$call" = pwrite64 ] && step=${CTD_KILL_STEP:-7} || step=1
		is_alive=0
		for ((k = 1; is_alive == 0; k += step)); do
			ctctl create one --template tiny --start
			ctctl exec one -- sh -c 'echo precious >/root/file'
			moved_until "$($1)" "$2" "$call" "$k"
			echo "$call $k: $is_alive" # for who looks at a failure
			wait_for 60 idle ctctl
			wait_for 60 idle peer
			one_owner
			# the same command ends it, unless it is over
			! ctctl show one >/dev/null 2>&1 || ctctl migrate one "$PEER/run/ctd.sock" --offline
			one_owner
			run -3 ctctl show one
			peer start one
			[ "$(peer exec one -- cat /root/file)" = precious ]
			peer destroy one --force
			n=$((n + 1))
		done
	done
	echo "# killed at $((n - 2)) points" >&3
	[ "$n" -gt 6 ]
	ctctl fsck
	peer fsck
	wait_for 30 is_swept
}

peer_pid()
{
	cat "$PEER/pid"
}

@test "the node that it leaves" { killed_at_each ctd_pid ctd_start; }

@test "the node that it comes to" { killed_at_each peer_pid peer_start; }
