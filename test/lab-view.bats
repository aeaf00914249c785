#!/usr/bin/env bats
# lab: script deadline=900
# What a container sees of the machine: what it was sold, also after the deaths of those who tell it.
load lib

setup_file()
{
	(umask 077 && dd if=/dev/zero of=/swap bs=1M count=64 status=none)
	mkswap /swap >/dev/null
	swapon /swap
	ctd_setup
	tiny_template
	ctctl create one --template tiny --cpus 1 --memory 100M --swap 20M --start
	# lxcfs starts beside us; until it is there the text is the host's
	wait_for 60 sees_memory one 102400
}

teardown_file()
{
	ctd_teardown || return 1
	swapoff /swap
	rm /swap
	wait_for 10 is_all_gone
}

is_all_gone()
{
	[ -z "$(lib_processes_of lxcfs)$(lib_processes_of ct-view)" ] && ! grep -q ct-view /proc/self/mountinfo
}

view_cgroup()
{
	echo "$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/view"
}

total() # NAME
{
	ctctl exec "$1" -- awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo
}

sees_memory() # NAME KIB
{
	[ "$(total "$1")" = "$2" ]
}

busy_idle() # NAME: ticks so far, of all CPUs
{
	ctctl exec "$1" -- awk '$1 == "cpu" { print $2 + $4, $5 }' /proc/stat
}

another_than() # PROGRAM PID: it runs, as another process
{
	[ -n "$(lib_processes_of "$1")" ] && [ "$(lib_processes_of "$1")" != "$2" ]
}

@test "memory, swap and CPUs are those that were sold" {
	run ctctl exec one -- sh -c 'awk "/^MemTotal|^SwapTotal/ { print \$2 }" /proc/meminfo
		grep -c "^processor" /proc/cpuinfo; grep -c "^cpu[0-9]" /proc/stat; cat /sys/devices/system/cpu/online; sed -n 2p /proc/swaps'
	[ "${lines[0]}" = 102400 ]
	[ "${lines[1]}" = 20480 ]
	[ "${lines[2]}" = 1 ]
	[ "${lines[3]}" = 1 ]
	[ "${lines[4]}" = 0 ]
	[[ "${lines[5]}" == none*virtual*20480* ]]
}

@test "what set changes is seen at once, and by processes that run" {
	ctctl set one memory=120M cpus=1.5 swap=0
	run ctctl exec one -- sh -c 'awk "/^MemTotal|^SwapTotal/ { print \$2 }" /proc/meminfo; grep -c "^cpu[0-9]" /proc/stat; cat /sys/devices/system/cpu/online'
	[ "${lines[0]}" = 122880 ]
	[ "${lines[1]}" = 0 ]
	[ "${lines[2]}" = 2 ]
	[ "${lines[3]}" = 0-1 ]
	ctctl set one memory=100M cpus=1 swap=20M
	sees_memory one 102400
}

@test "use, load, uptime and time of boot are its own, not those of a neighbour or the host" {
	ctctl create two --template tiny --cpus 1 --start
	"$(ctd_program ctctl)" exec two -- sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 3>&- 4>&- &
	load() { [ "$(ctctl exec two -- cut -d. -f1,2 /proc/loadavg | cut -d' ' -f1 | tr -d .)" -gt 0 ]; }
	wait_for 120 load
	read -r busy1 idle1 < <(busy_idle one)
	read -r busy2 _ < <(busy_idle two)
	sleep 3
	read -r busy3 idle3 < <(busy_idle one)
	read -r busy4 _ < <(busy_idle two)
	[ $((busy4 - busy2)) -gt $(((busy3 - busy1) * 2)) ]
	[ "$idle3" -gt "$idle1" ]
	# the kernel's clock of the container and the two files agree on when it was started
	ctctl exec two -- sh -c 'up=$(cut -d. -f1 /proc/uptime); boot=$(sed -n "s/btime //p" /proc/stat); now=$(date +%s); later=$(cut -d. -f1 /proc/uptime)
		[ $((now - boot - up)) -ge -2 ] && [ $((now - boot - later)) -le 2 ]'
	[ "$(ctctl exec two -- sed -n 's/btime //p' /proc/stat)" -gt "$(sed -n 's/btime //p' /proc/stat)" ]
	ctctl destroy two --force
}

@test "lxcfs is killed: open files and mounts go on, and another tells the same" {
	old=$(lib_processes_of lxcfs)
	mounts=$(ctctl exec one -- grep -c '^ct-view ' /proc/mounts)
	"$(ctd_program ctctl)" exec one -- sh -c 'exec 3</proc/meminfo; read -r first <&3; touch /tmp/open
		while [ ! -e /tmp/killed ]; do sleep 0.1; done
		read -r second <&3; cat <&3 >/tmp/rest; cat /proc/meminfo >/tmp/again; echo "$first" "$second" >/tmp/first' </dev/null >/dev/null 2>&1 3>&- 4>&- &
	reader=$!
	wait_for 30 ctctl exec one -- test -e /tmp/open
	kill -9 $old
	ctctl exec one -- touch /tmp/killed
	wait "$reader"
	[[ "$(ctctl exec one -- cat /tmp/first)" == MemTotal:*102400*kB\ MemFree:* ]]
	ctctl exec one -- grep -q SwapFree /tmp/rest
	wait_for 60 another_than lxcfs "$old"
	wait_for 60 sees_memory one 102400
	[ "$(ctctl exec one -- grep -c '^ct-view ' /proc/mounts)" = "$mounts" ]
}

@test "lxcfs hangs: whoever reads gets an answer, and lxcfs is replaced" {
	old=$(lib_processes_of lxcfs)
	kill -STOP $old
	ctctl exec one -- grep -q MemTotal /proc/meminfo
	wait_for 60 another_than lxcfs "$old"
	wait_for 60 sees_memory one 102400
}

@test "ct-view is killed, under ctd and without one, and ctd itself: the same mounts live on" {
	old=$(lib_processes_of ct-view)
	kill -9 $old
	wait_for 60 another_than ct-view "$old"
	wait_for 60 sees_memory one 102400
	ctd_kill
	[ "$(lib_processes_of ct-view | wc -l)" = 1 ]
	ctd_start
	sees_memory one 102400
	old=$(lib_processes_of ct-view)
	kill -9 $old # the duplicate that the new ctd has taken
	wait_for 60 another_than ct-view "$old"
	wait_for 60 sees_memory one 102400
	ctd_stop
	ctd_start
	sees_memory one 102400
	ctctl create three --template tiny --memory 64M --start
	sees_memory three 65536
	ctctl destroy three --force
	[ "$(lib_processes_of ct-view | wc -l)" = 1 ]
}

@test "nobody inside takes it off or writes to it" {
	run ctctl exec one -- sh -c 'for f in /proc/meminfo /proc/stat /proc/swaps /sys/devices/system/cpu/online; do
		umount "$f" 2>/dev/null && echo "$f is off"; umount -l "$f" 2>/dev/null && echo "$f is off"; echo 1 2>/dev/null >"$f" && echo "$f is written"
		mount -o remount,rw,bind "$f" 2>/dev/null && echo "$f is writable"; done; true'
	[ "$status" = 0 ]
	[ -z "$output" ]
}

@test "who reads a lot spends neither memory nor files of ct-view" {
	pid=$(lib_processes_of ct-view)
	before=$(find "/proc/$pid/fd" | wc -l)
	ctctl exec one -- sh -c 'i=0; while [ $i -lt 100 ]; do eval "exec $((i % 5 + 4))</proc/stat"; cat /proc/meminfo /proc/stat; i=$((i + 1)); done' >/dev/null
	as_before() { [ "$(find "/proc/$pid/fd" | wc -l)" -le $((before + 1)) ]; }
	wait_for 30 as_before
	[ "$(awk '$1 == "VmRSS:" { print $2 }' "/proc/$pid/status")" -lt 16384 ]
}

@test "ct-view and lxcfs have a limit of their own on memory, processes and CPU" {
	view=$(view_cgroup)
	for pid in $(lib_processes_of ct-view) $(lib_processes_of lxcfs); do
		grep -qx "0::.*/view" "/proc/$pid/cgroup"
		grep -qx "$pid" "$view/cgroup.procs"
	done
	[ "$(<"$view/memory.max")" = $((128 << 20)) ]
	[ "$(<"$view/memory.swap.max")" = 0 ]
	[ "$(<"$view/pids.max")" = 256 ]
	[ "$(<"$view/cpu.max")" = "100000 100000" ]
}

# By time of the CPU: who is in many processes gets no more of ct-view than one in ten, and what is left is the neighbour's.
@test "who reads in a hundred processes leaves ct-view to his neighbour" {
	view=$(view_cgroup)
	ctctl create greedy --template tiny --processes 200 --start
	"$(ctd_program ctctl)" exec greedy -- sh -c 'i=0; while [ $i -lt 100 ]; do (while :; do read -r x </proc/stat || touch /tmp/error; done) & i=$((i + 1)); done
		touch /tmp/all; wait' </dev/null >/dev/null 2>&1 3>&- 4>&- &
	wait_for 120 ctctl exec greedy -- test -e /tmp/all
	sleep 1 # what it had saved up
	before=$(awk '$1 == "usage_usec" { print $2 }' "$view/cpu.stat")
	read -r from _ </proc/uptime
	for _ in 1 2 3 4 5; do
		sees_memory one 102400
		[ "$(ctctl exec one -- grep -c '^cpu[0-9]' /proc/stat)" = 1 ]
	done
	sleep 3
	used=$(($(awk '$1 == "usage_usec" { print $2 }' "$view/cpu.stat") - before))
	read -r to _ </proc/uptime
	echo "$used of $from to $to"
	awk -v used="$used" -v from="$from" -v to="$to" 'BEGIN { exit used / 1e6 > (to - from) * 0.4 }'
	ctctl exec greedy -- test ! -e /tmp/error
	ctctl destroy greedy --force
}

@test "lxcfs has no more of the host than it needs" {
	pid=$(lib_processes_of lxcfs)
	[ "$(awk '$1 == "NoNewPrivs:" { print $2 }' "/proc/$pid/status")" = 1 ]
	[ "$(awk '$1 == "Seccomp:" { print $2 }' "/proc/$pid/status")" = 2 ]
	# dac_read_search, sys_chroot, sys_ptrace, sys_admin
	[ "$(awk '$1 == "CapBnd:" { print $2 }' "/proc/$pid/status")" = 00000000002c0004 ]
	[ ! -e "/proc/$pid/root/var" ]
	[ ! -e "/proc/$pid/root/etc" ]
	[ "$(readlink "/proc/$pid/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}

@test "the file system is cut off: those that start have another, and it is told who has not" {
	mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections
	old=$(lib_processes_of ct-view)
	echo 1 >"/sys/fs/fuse/connections/$(awk '$(NF - 1) == "ct-view" { split($3, n, ":"); print n[2]; exit }' /proc/self/mountinfo)/abort"
	wait_for 60 another_than ct-view "$old"
	ctctl create later --template tiny --memory 64M --start
	wait_for 60 sees_memory later 65536
	run ctctl exec one -- cat /proc/meminfo
	[ "$status" -ne 0 ]
	check_told() {
		run ctctl doctor
		echo "$output"
		[[ "$output" == *"read errors there: one"* ]]
		[[ "$output" == *"ctctl restart NAME"* ]]
	}
	check_told
	[ "$(ctctl events --json | jq -r '[.events[] | select(.type == "view.lost") | .name] | join(" ")')" = one ]
	ctd_kill
	ctd_start
	check_told
	ctctl restart one --timeout 0
	wait_for 60 sees_memory one 102400
	ctctl doctor | grep '^ok  *view'
	# the same where ct-view ends and nobody has its descriptor
	ctd_kill
	old=$(lib_processes_of ct-view)
	kill -9 $old
	wait_for 60 lib_is_gone "$old" # or ctd would still get its descriptor
	ctd_start
	ctctl restart one --timeout 0
	wait_for 60 sees_memory one 102400
	[ "$(ctctl events --json | jq -r '[.events[] | select(.type == "view.lost") | .name] | sort | join(" ")')" = "later one one" ]
	ctctl destroy later --force
}

@test "without lxcfs containers start, and doctor says what is missing" {
	[[ "$(ctctl doctor --json | jq -r '.. | objects | select(.name? == "view" or .check? == "view") | tostring')" == *ok* ]]
	ctctl destroy one --force
	ctd_stop
	is_all_gone
	mv /usr/bin/lxcfs /usr/bin/lxcfs.away
	ctd_start
	mv /usr/bin/lxcfs.away /usr/bin/lxcfs
	ctctl create one --template tiny --memory 64M --start
	[ "$(total one)" = "$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)" ]
	ctctl doctor | grep -A 1 '^warning  view' | grep 'apt install lxcfs'
}
