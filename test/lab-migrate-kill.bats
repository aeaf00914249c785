#!/usr/bin/env bats
# lab: script deadline=1800 long
# A container moves while it runs, and one of the two daemons dies before it has the disk keep what it has written down, each time in turn: it runs on one node, goes on
# where it was, and is never lost.
load lib
load kill
load peer
load migrate-kill

setup_file()
{
	ctd_setup
	tiny_template
	peer_setup_apart
}

teardown_file()
{
	peer_teardown
	peer_disk_away
	ctd_teardown
}

# Init starts no such thing: what counts has not been started anew.
# shellcheck disable=SC2016 # for that shell
count()
{
	ctctl exec one -- sh -c '(i=0; while :; do i=$((i + 1)); echo $i >/root/count.new; mv /root/count.new /root/count; sleep 0.1; done) >/dev/null 2>&1 </dev/null &'
	wait_for 30 ctctl exec one -- test -e /root/count
}

has_counted_on() # DAEMON FROM
{
	[ "$($1 exec one -- cat /root/count)" -gt "$2" ]
}

counts_on() # DAEMON
{
	local from
	from=$($1 exec one -- cat /root/count)
	[ "$from" -ge "$counted" ]
	wait_for 30 has_counted_on "$1" "$from"
	counted=$from
}

is_running() # DAEMON
{
	[ "$(field "$1" one .state)" = '"running"' ]
}

# Where it is nobody's question, it runs; the same command ends what is in doubt.
goes_on_somewhere()
{
	one_owner
	if ctctl show one >/dev/null 2>&1; then
		if [ "$(field ctctl one .handover)" = null ]; then
			wait_for 60 is_running ctctl
			counts_on ctctl
		fi
		ctctl migrate one "$PEER/run/ctd.sock"
	fi
	one_owner
	run -3 ctctl show one
	wait_for 60 is_running peer
	counts_on peer
}

killed_at_each() # PID-COMMAND AGAIN
{
	local k is_alive=0 counted
	for ((k = 1; is_alive == 0; k++)); do
		ctctl create one --template tiny --net none --memory 100M --processes 50 --start
		count
		counted=$(ctctl exec one -- cat /root/count)
		moved_until "$($1)" "$2" fdatasync "$k"
		echo "$k: $is_alive" # for who looks at a failure
		wait_for 60 idle ctctl
		wait_for 60 idle peer
		goes_on_somewhere
		peer destroy one --force
	done
	echo "# killed at $((k - 2)) points" >&3
	[ "$k" -gt 3 ] # at least that it comes, and that it is there
	ctctl fsck
	peer fsck
	wait_for 30 is_swept
}

@test "the node that it leaves" { killed_at_each ctd_pid ctd_start; }

@test "the node that it comes to" { killed_at_each peer_pid peer_start; }
