#!/usr/bin/env bats
# lab: systemd machines=2 deadline=1800 long
# A container moves between two machines, of which one has no room any more, on its disk or in its memory: it runs on where it was, or on the other. All tests share one
# container, which is on lab1 before and after each.
load lib
load peer
load guest
load nodes
load book # setup and teardown as well

setup_file()
{
	book_setup
	leave_there ctctl
	leave_there peer
}

# ---- a full disk

here_is_room()
{
	rm /var/filler
	run ! compgen -G '/var/tmp/ctctl.*'
	goes_on ctctl
	wait_for 60 has_none peer
	[ "$(find /var/lib/ctd/fs/containers -name suspended)" = "" ]
}

@test "this node's disk is full: it runs on here" {
	# what has changed is kept here until it is sent
	sh /run/leave 1000000
	migrate_ends 5
	[ "${lines[-1]}" = 'ctctl: cannot write the archive: No space left on device' ]
	here_is_room
	# its memory is not even begun with
	sh /run/leave 20000000
	migrate_ends 5
	[[ ${lines[-1]} == 'ctctl: cannot suspend "d1": its memory takes '*' MiB, and the store has '*' MiB left'* ]]
	here_is_room
}

# CRIU of this node finds but so much room when it is called again: the first time it writes a round.
room_for_criu() # BYTES
{
	rmdir /run/rounds 2>/dev/null || true
	cat >/usr/local/sbin/criu <<-END
		#!/bin/sh
		[ "\$1" != swrk ] || mkdir /run/rounds || sh /run/leave $1
		exec $(command -v criu) "\$@"
	END
	chmod 755 /usr/local/sbin/criu
}

@test "this node's disk is full when its memory is written: it runs on here" {
	for room in 0 300000; do
		room_for_criu "$room"
		migrate_ends 5
		rm /usr/local/sbin/criu
		[[ $output == *'round 1 of its memory: '*' KiB'* ]]
		[[ ${lines[-1]} == 'ctctl: cannot suspend "d1": criu could not dump it: no space is left in the store'* ]]
		here_is_room
	done
	moved_to peer
	moved_to ctctl
}

@test "the other node's disk is full when the last difference comes, or is unpacked: it runs on here" {
	for at in 0 100000 all; do
		cat >/run/at-offer <<-END
			full() { /usr/bin/ssh peer "sh /run/leave 200000" </dev/null; }
			bytes=\$(jq .bytes <<<"\$line")
			case $at in
			0) full && send ;;
			all) printf '%s\n' "\$line" && head -c \$((bytes - 1000)) && full && cat ;;
			*) printf '%s\n' "\$line" && head -c $at && full && cat ;;
			esac | /usr/bin/ssh "\$@"
		END
		migrate_ends 5
		rm /run/at-offer
		[[ ${lines[-1]} == 'ctctl: the other node: '*@('No space left on device'|'make room')* ]]
		far rm /var/filler
		run ! far compgen -G '/var/tmp/ctctl.*'
		goes_on ctctl
		has_none peer
	done
	moved_to peer
	moved_to ctctl
}

@test "the other node's disk is full when it is handed over: it is one's or the other's" {
	cat >/run/at-commit <<-'END'
		/usr/bin/ssh peer "sh /run/leave 0" </dev/null
		send | /usr/bin/ssh "$@"
	END
	run ctctl migrate d1 root@peer
	echo "$output"
	rm /run/at-commit
	far rm /var/filler
	if [ "$status" != 0 ]; then
		is_in_doubt ctctl peer
		run -0 ctctl migrate d1 root@peer
	fi
	has_none ctctl
	goes_on peer
	moved_to ctctl
}

# ---- no memory

# CRIU has a cgroup of its own, of the node whose shell reads this, in which there is too little for it. What reads ahead would leave that, and does not start.
FEW='few=/sys/fs/cgroup/few
	mkdir -p $few && echo 1M >$few/memory.max && echo 0 >$few/memory.swap.max
	printf "#!/bin/sh\ncase \$LD_PRELOAD in *inside*) exit 1 ;; esac\n[ \"\$1\" != swrk ] || echo 0 >$few/cgroup.procs\nexec %s \"\$@\"\n" "$(command -v criu)" >/usr/local/sbin/criu
	chmod 755 /usr/local/sbin/criu'
ENOUGH='rm /usr/local/sbin/criu; grep "^oom_kill " /sys/fs/cgroup/few/memory.events; rmdir /sys/fs/cgroup/few'

@test "the kernel kills CRIU for want of memory, here or there: it runs on here" {
	bash -c "$FEW"
	migrate_ends 5
	[[ ${lines[-1]} == 'ctctl: cannot suspend "d1": criu ended in the middle of its work (dmesg says if the kernel killed it'* ]]
	run -0 bash -c "$ENOUGH"
	[[ $output == oom_kill\ [1-9]* ]]
	goes_on ctctl
	wait_for 60 has_none peer
	far "$FEW"
	migrate_ends 1
	run -0 far "$ENOUGH"
	[[ $output == oom_kill\ [1-9]* ]]
	goes_on ctctl
	has_none peer
	moved_to peer
	moved_to ctctl
}
