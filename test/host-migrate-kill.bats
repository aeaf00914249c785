#!/usr/bin/env bats
# A container moves while one of the two daemons dies, before and behind each thing that it writes down: it never has two owners, and is never lost.
load lib
load kill
load peer
load migrate-kill

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
			moved_until "$($1)" "$2" "$call" "$k" --offline
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

@test "the node that it leaves" { killed_at_each ctd_pid ctd_start; }

@test "the node that it comes to" { killed_at_each peer_pid peer_start; }
