#!/usr/bin/env bats
# lab: script deadline=900
# What root inside a container tries against the host and its neighbours, played by the probe in containers that ctd has made.
load lib

setup_file()
{
	ctd_setup
	tiny_template
	ctctl create neighbour-of-evil --template tiny --start
	ctctl create evil --template tiny --start
	ctctl show neighbour-of-evil >/dev/null # ctd keeps open what it has counted once
	ctctl show evil >/dev/null
	ctctl exec evil -- sh -c 'cat >/probe && chmod 755 /probe' <"$CTD_BUILD/libct/probe"
}

teardown_file()
{
	ctd_teardown
}

setup()
{
	world_save
}

teardown()
{
	world_check
}

probe()
{
	ctctl exec evil -- /probe "$@"
}

# says NAME RESULT: one line of what the probe has printed
says()
{
	grep -qxF -- "$1 $2" <<<"$output" || { echo "not: $1 $2" && echo "$output" && return 1; }
}

@test "init and commands are confined alike" {
	local pid which
	pid=$(ctctl show evil --json | jq -r .pid)
	run probe status
	for which in CapInh CapAmb; do grep -q "^$which:	0000000000000000$" <<<"$output"; done
	says uid '0 0 gid 0 0 groups 0'
	# without SYS_MODULE (16), SYS_RAWIO (17), SYS_TIME (25), SYS_RESOURCE (24), SYSLOG (34), BPF (39)
	for which in CapPrm CapEff CapBnd; do
		[ "$(grep "^$which:" <<<"$output")" = "$(grep "^$which:" "/proc/$pid/status")" ]
		[ $((0x$(awk "/^$which:/ { print \$2 }" "/proc/$pid/status") & 0x8403030000)) -eq 0 ]
	done
	grep -q '^Seccomp:	2$' "/proc/$pid/status"
	grep -q '^NoNewPrivs:	0$' "/proc/$pid/status"
}

@test "only three descriptors reach a command" {
	run probe fds
	[ "$(grep -c '^fd ' <<<"$output")" -eq 3 ]
}

@test "system calls that reach the host are refused or missing" {
	run probe syscalls
	says keyctl ENOSYS
	says bpf EPERM
	says perf_event_open EPERM
	says userfaultfd EPERM
	says io_uring_setup ENOSYS
	says kexec_load EPERM
	says init_module EPERM
	says open_by_handle_at EPERM
	says quotactl EPERM
	says syslog EPERM
	says unshare-user EPERM
	says unshare-pid EPERM
	says settime EPERM
	says raise-user-limit EACCES
}

@test "sockets are those of an ordinary server, and a sweep loads no module" {
	local family before
	before=$(cut -d' ' -f1 /proc/modules 2>/dev/null | sort)
	run probe sockets
	for family in 38 40 44 21 30 33 15; do says "family-$family" EAFNOSUPPORT; done
	says netlink-6 EPROTONOSUPPORT
	says sctp EPROTONOSUPPORT
	says tcp-ulp ENOPROTOOPT
	says alg-high-bits EAFNOSUPPORT
	says tcp ok
	[ "$(cut -d' ' -f1 /proc/modules 2>/dev/null | sort)" = "$before" ]
}

@test "masks, nodev and read-only mounts cannot be taken off" {
	run probe mounts
	says umount:/proc EINVAL
	says umount:/sys EINVAL
	says umount:/proc/cmdline EINVAL
	says remount-dev EPERM
	says remount-sys-rw EPERM
	says second-proc EPERM
	says second-sysfs EPERM
	says own-tmpfs ok
	! grep -q 'host-block ok\|debugfs ok' <<<"$output"
}

@test "device nodes can neither be made nor opened" {
	run probe devices /dev/mem /dev/kmsg /dev/sda /dev/loop0 /dev/loop-control /dev/fuse
	says mknod-disk EPERM
	says mknod-mem EPERM
	says open-null ok
	! grep -E '^/dev/(mem|kmsg|sda|loop) ok' <<<"$output"
}

@test "the host's switches are out of reach" {
	local file
	for file in /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/sysrq /proc/sys/kernel/hotplug \
		/proc/sys/vm/drop_caches /proc/sys/fs/file-max /proc/sys/fs/binfmt_misc/register /sys/kernel/uevent_helper /sys/kernel/mm/ksm/run \
		/sys/power/state /proc/irq/default_smp_affinity; do
		[ -e "$file" ] || continue
		run probe write "$file" x
		[ "$output" != "write ok" ] || { echo "$file" && return 1; }
	done
	run ctctl exec evil -- dmesg
	[ "$status" -ne 0 ]
}

@test "/proc and /sys inside know no neighbour and no path of the host" {
	local word ctid own
	ctid=$(ctctl show neighbour-of-evil --json | jq -r .ctid)
	own=$(ctctl show evil --json | jq -r .ctid)
	for word in neighbour-of-evil "$ctid" "$CTD_STATE" "$CTD_DIR"; do
		[ -n "$word" ] && [ "$word" != null ]
		# not the pages of processes, which hold the pattern itself
		run ctctl exec evil -- sh -c 'grep -rsF -- "$1" /proc/1/mountinfo /proc/1/mounts /proc/1/cgroup /proc/1/mountstats \
			/proc/self/mountinfo /proc/1/environ /proc/cmdline /proc/swaps /proc/partitions /proc/net/unix /proc/locks /proc/keys \
			/sys/block /sys/class/net /sys/fs /sys/devices/virtual' sh "$word"
		# the place in the store of a native directory, which is mounted from there, its own (ct-storage(7))
		output=$(awk -v own="/containers/$own/upper" '{ end = substr($4, index($4, own) + length(own)) } !(index($4, own) && end == $5)' <<<"$output")
		[ -z "$output" ] || { echo "$word: $output" && return 1; }
	done
}

@test "a hostile /dev and /proc do not lead a command astray" {
	ctctl create broken --template tiny --start
	ctctl exec broken -- sh -c 'umount -l /dev/null && rm /dev/null && mkfifo /dev/null'
	run timeout 20 "$(ctd_program ctctl)" exec broken -- true
	[ "$status" -ne 124 ]
	[ "$status" -ne 127 ]
	ctctl destroy --force broken
}

@test "terminals cannot be typed into" {
	run script -qec "'$(ctd_program ctctl)' exec -t evil -- /probe terminal" /dev/null
	output=${output//$'\r'/}
	output=${output//'^@'/} # the end of script's own input, echoed by its terminal
	says tiocsti EPERM
	says tiocsti-high-bits EPERM
}
