#!/usr/bin/env bats
# lab: script deadline=900
# Limits as the kernel holds them: configured, changed, restored; memory, processes, disk; who is admitted.
load lib
load limits

setup_file()
{
	echo 'meter-sample = 1' >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_setup --config "$BATS_FILE_TMPDIR/ctd.conf"
	tiny_template
	limits_setup
}

teardown_file()
{
	ctd_teardown
}

@test "the kernel holds what is configured: after start, set, a restart, a restart of ctd and its death" {
	new all --cpus 1.5 --cpu-weight 300 --cpu-burst 20ms --cpuset 0-1 --memory 100M --swap 8M --memory-guarantee 16M \
		--read-bps 10M --write-iops 500 --processes 99 --cgroups 7 --cgroup-depth 3 --inotify-watches 500 --disk 200M --inodes 5000
	dev=$(lsblk -no MAJ:MIN "$(findmnt -no SOURCE /)" | tr -d ' ')
	check_all() {
		[ "$(holds all cpu.max)" = "150000 100000" ]
		[ "$(holds all cpu.max.burst)" = 20000 ]
		[ "$(holds all cpu.weight)" = 300 ]
		[ "$(holds all cpuset.cpus)" = 0-1 ]
		[ "$(holds all memory.max)" = 104857600 ]
		[ "$(holds all memory.high)" = $((104857600 - 104857600 / 64)) ]
		[ "$(holds all memory.swap.max)" = 8388608 ]
		[ "$(holds all memory.min)" = 16777216 ]
		[ "$(holds all pids.max)" = "$1" ]
		[ "$(holds all io.max)" = "$dev rbps=10485760 wbps=max riops=max wiops=500" ]
		[ "$(holds all cgroup.max.descendants)" = 7 ]
		[ "$(holds all cgroup.max.depth)" = 3 ]
		# a guarantee counts for nothing unless the cgroups above have it too
		[ "$(cat "$CG/memory.min")" = 16777216 ]
		run ctctl exec all -- sh -c 'cat /proc/sys/user/max_inotify_watches; df -k / | tail -n 1; df -i / | tail -n 1'
		[ "${lines[0]}" = 500 ]
		[[ "${lines[1]}" == *" $((200 * 1024)) "* ]]
		[[ "${lines[2]}" == *" 5000 "* ]]
	}
	check_all 99
	ctctl set all processes=77
	check_all 77
	ctctl restart all
	check_all 77
	ctd_stop && ctd_start
	check_all 77
	ctd_kill
	echo max >"$(<"$CTD_DIR/all.cg")/pids.max"
	ctd_start
	check_all 77
	[ "$(ctctl events --json | jq -r '.events[] | select(.type == "limit.restored") | .detail.key')" = processes ]
	# taking keys away gives the neutral value back
	ctctl set all cpus= cpu_burst= read_bps= write_iops= memory= swap= memory_guarantee= cpuset= processes= cpu_weight=
	[ "$(holds all cpu.max)" = "max 100000" ]
	[ "$(holds all io.max)" = "" ]
	[ "$(holds all memory.max)" = max ]
	[ "$(holds all memory.high)" = max ]
	[ "$(holds all cpuset.cpus.effective)" = 0-1 ]
	[ "$(holds all pids.max)" = 4096 ]
	[ "$(cat "$CG/memory.min")" = 0 ]
	# another disk by its path
	ctctl set all --io /dev/disk/by-id/virtio-scratch,write_bps=1M,read-iops=9
	[ "$(holds all io.max)" = "$(lsblk -no MAJ:MIN /dev/disk/by-id/virtio-scratch | tr -d ' ') rbps=max wbps=1048576 riops=9 wiops=max" ]
	ctctl set all io=
	[ "$(holds all io.max)" = "" ]
}

# told NAME LIMIT CONDITION: of the details of all its events; what comes within a minute is kept together
told()
{
	ctctl events --limit 10000 --json | jq -e --arg name "$1" --arg limit "$2" \
		"[.events[] | select(.type == \"limit.hit\" and .name == \$name and .detail.limit == \$limit).detail] | length >= 1 and ($3)"
}

@test "cpuset auto goes to the least loaded CPU, and stays there" {
	new one --cpus 1 --cpuset auto
	new two --cpus 1 --cpuset auto
	first=$(holds one cpuset.cpus)
	[ "$first" != "$(holds two cpuset.cpus)" ]
	ctd_kill && ctd_start
	[ "$(holds one cpuset.cpus)" = "$first" ]
	[ "$(seen one cpu.pinned)" = "$first" ]
	new both --cpus 2 --cpuset auto --numa auto
	[ "$(holds both cpuset.cpus)" = 0-1 ]
	[ "$(holds both cpuset.mems)" = 0 ]
}

@test "lack of memory kills the bomb, not init, and is told" {
	new bomb --memory 64M --swap 0
	new other
	pid=$(ctctl show bomb --json | jq .pid)
	run ctctl exec bomb -- dd if=/dev/zero of=/dev/null bs=100M count=1
	[ "$status" -eq 137 ]
	[ "$(ctctl show bomb --json | jq -r '"\(.pid) \(.state)"')" = "$pid running" ]
	[ "$(seen bomb memory.oom_kills)" -ge 1 ]
	[ "$(seen bomb memory.hits)" -ge 1 ]
	[ "$(seen bomb memory.peak)" -le $((64 << 20)) ]
	[ "$(seen other memory.oom_kills)" = 0 ]
	wait_for 60 told bomb memory 'last | .hits >= 1 and .total >= .hits'
	[ "$(ctctl usage bomb --json | jq '.containers[0].total.memory_limit_hits')" = "$(seen bomb memory.hits)" ]
	run ! told other memory true
	told() { [ -n "$(ctctl events --json | jq -r '.events[] | select(.type == "container.oom" and .name == "bomb") | .detail.killed')" ]; }
	wait_for 20 told
	# those of a time without ctd are told by the next, and only those
	before=$(seen bomb memory.oom_kills)
	behind bomb 'while [ ! -e /tmp/go ]; do sleep 0.1; done; dd if=/dev/zero of=/dev/null bs=100M count=1'
	ctd_kill
	touch "/proc/$pid/root/tmp/go"
	killed() { [ "$(holds bomb memory.events | sed -n 's/^oom_kill //p')" -gt "$before" ]; }
	wait_for 60 killed
	ctd_start
	now=$(holds bomb memory.events | sed -n 's/^oom_kill //p')
	last() { ctctl events --json | jq -r '[.events[] | select(.type == "container.oom" and .name == "bomb")] | last | "\(.detail.killed) \(.detail.total)"'; }
	all_told() { [ "$(last)" = "$((now - before)) $now" ]; }
	wait_for 20 all_told
	ctd_kill && ctd_start
	all_told
	# asked for, all of it goes
	ctctl set bomb oom_group=yes
	run ctctl exec bomb -- dd if=/dev/zero of=/dev/null bs=100M count=1
	ended() { [ "$(ctctl show bomb --json | jq -r .state)" = stopped ]; }
	wait_for 60 ended
}

@test "memory below what is used: reclaimed, or refused with what is left, never unlimited" {
	new mem --memory 200M --swap 0
	# page cache gives way
	ctctl exec mem -- sh -c 'dd if=/dev/zero of=/big bs=1M count=120 2>/dev/null; sync; cat /big >/dev/null'
	[ "$(holds mem memory.current)" -gt $((80 << 20)) ]
	ctctl set mem memory=48M
	[ "$(holds mem memory.max)" = $((48 << 20)) ]
	[ "$(holds mem memory.current)" -le $((48 << 20)) ]
	# what is in use does not
	ctctl set mem memory=200M
	ctctl exec mem -- dd if=/dev/zero of=/dev/shm/held bs=1M count=60
	run ctctl set mem memory=32M
	[ "$status" -eq 5 ]
	[[ "$output" == *"still uses"*"32M"* ]]
	[ "$(holds mem memory.max)" = $((200 << 20)) ]
	[ "$(ctctl show mem --json | jq -r .config.memory)" = 200M ]
	[ "$(ctctl exec mem -- stat -c %s /dev/shm/held)" = $((60 << 20)) ]
}

@test "guarantees are admitted by their sum" {
	local total left
	total=$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
	left=$((total - 256 - 1000))
	new g1 --memory-guarantee 1000M
	ctctl create g2 --template tiny --memory-guarantee "$((left + 20))M"
	run ctctl start g2
	[ "$status" -eq 5 ]
	[[ "$output" == *"1000M of "* ]]
	[ "$(ctctl show g2 --json | jq -r .state)" = stopped ]
	ctctl set g2 memory_guarantee="$((left - 100))M"
	ctctl start g2
	run ctctl set g2 memory_guarantee="$((left + 20))M"
	[ "$status" -eq 5 ]
	ctctl stop g1
	ctctl set g2 memory_guarantee="$((left + 20))M"
}

@test "processes are exact, and a fork bomb leaves the neighbour its own" {
	new bomb --processes 40
	new calm
	behind bomb 'i=0; while [ $i -lt 200 ]; do sleep 300 & i=$((i+1)); done'
	hit() { [ "$(awk '{ print $2 }' "$(<"$CTD_DIR/bomb.cg")/pids.events")" -ge 1 ]; }
	wait_for 60 hit
	[ "$(seen bomb processes.limit)" = 40 ]
	[ "$(seen bomb processes.peak)" = 40 ]
	[ "$(seen bomb processes.hits)" -ge 1 ]
	[ "$(ctctl exec calm -- echo works)" = works ]
	[ "$(seen calm processes.hits)" = 0 ]
	wait_for 60 told bomb processes '.[0].hits >= 1 and (map(.hits) | add) == last.total'
	[ "$(ctctl usage bomb --json | jq '.containers[0].total.processes_limit_hits')" = "$(seen bomb processes.hits)" ]
	run ! told calm processes true
}

@test "the disk is exact to the block, grows and shrinks live" {
	new d --disk 32M --inodes 400
	[ "$(ctctl exec d -- df -k / | awk 'END { print $2 }')" = 32768 ]
	run ctctl exec d -- sh -c 'dd if=/dev/zero of=/fill bs=64k 2>/dev/null; sync; stat -c %s /fill'
	size=${lines[-1]}
	[ "$size" -le $((32 << 20)) ]
	[ "$size" -ge $(((32 << 20) - (256 << 10))) ]
	[ "$(seen d disk.used)" -le $((32 << 20)) ]
	wait_for 60 told d disk "last | .used >= .size - (512 * 1024) and .size == $((32 << 20))"
	run ctctl set d disk=16M
	[ "$status" -eq 5 ]
	[[ "$output" == *"more than the 16M"* ]]
	ctctl set d disk=64M
	[ "$(ctctl exec d -- df -k / | awk 'END { print $2 }')" = 65536 ]
	ctctl exec d -- sh -c 'rm /fill; sync'
	ctctl set d disk=16M
	[ "$(ctctl exec d -- df -k / | awk 'END { print $2 }')" = 16384 ]
	run ctctl exec d -- sh -c 'i=0; while : >/n$i; do i=$((i+1)); done 2>/dev/null; echo $i'
	[ "$(seen d inodes.used)" = 400 ]
	wait_for 60 told d inodes 'last | .used == 400 and .size == 400'
}

@test "ptys, shm, run and open files are as sold from the next start" {
	new small --shm 8M --run 4M --open-files 512
	[ "$(ctctl exec small -- df -k /dev/shm | awk 'END { print $2 }')" = 8192 ]
	[ "$(ctctl exec small -- df -k /run | awk 'END { print $2 }')" = 4096 ]
	[ "$(awk '/Max open files/ { print $5 }' "/proc/$(ctctl show small --json | jq .pid)/limits")" = 512 ]
}

@test "storage image is a file system of its own size; thin, grows live, and is not made smaller than its files" {
	new i --storage image --disk 128M
	size=$(ctctl exec i -- df -k / | awk 'END { print $2 }')
	echo "$size KiB of $((128 * 1024))"
	[ "$size" -le $((128 * 1024 * 110 / 100)) ]
	[ "$size" -ge $((128 * 1024 * 85 / 100)) ]
	[ "$(du -k "$CTD_STATE/fs/containers/"*/disk.img | cut -f1)" -lt $((40 * 1024)) ]
	ctctl set i disk=256M
	[ "$(ctctl exec i -- df -k / | awk 'END { print $2 }')" -ge $((256 * 1024 * 85 / 100)) ]
	ctctl exec i -- dd if=/dev/urandom of=/f bs=1M count=100 2>/dev/null
	run ctctl set i disk=32M
	[ "$status" -ne 0 ]
	[ "$(seen i disk.used)" -ge $((100 << 20)) ]
	run ctctl set i storage=dir
	[ "$status" -eq 2 ]
}

@test "memory, disk and what was written are metered, and go on over a restart" {
	new used --memory 100M --disk 200M
	ctctl exec used -- dd if=/dev/zero of=/data bs=1M count=20 conv=fsync
	written=$(awk '!/^7:/ { for (i = 2; i <= NF; i++) if (sub("wbytes=", "", $i)) sum += $i } END { print sum }' "$(<"$CTD_DIR/used.cg")/io.stat")
	[ "$written" -ge $((20 << 20)) ]
	metered() { # JQ: of its total
		ctctl usage used --json | jq -e ".containers[0].total | $1" >/dev/null
	}
	metered ".write_bytes >= $written and .write_ops > 0"
	# 20 MiB held for a second, at least, out of 200 that were sold; a page cache of as much, and what busybox takes.
	sleep 1
	metered '.disk_used_kib_seconds >= 20 * 1024 and .disk_sold_kib_seconds >= .disk_used_kib_seconds * 2 and .memory_kib_seconds >= 1024'
	before=$(ctctl usage used --json | jq -c '.containers[0].total')
	ctctl restart used --timeout 5
	ctctl stop used --timeout 5
	sold=$(ctctl usage used --json | jq '.containers[0].total.disk_sold_kib_seconds')
	sleep 1
	metered ". as \$now | $before | to_entries | all(.value <= \$now[.key])"
	# The disk is sold while it is stopped, too.
	metered ".disk_sold_kib_seconds >= $sold + 100 * 1024 and .gap_usec == 0"
}
