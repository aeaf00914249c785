#!/usr/bin/env bats
# Limits on a host that cannot enforce most of them: each is refused with a sentence that says what is missing and what to do; what
# needs no controller works; plans.
load lib

setup_file()
{
	ctd_setup
	tiny_template
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
	ctctl list --json | lib_names | while read -r name; do ctctl destroy "$name" --force; done
	world_check
}

controllers()
{
	cat "$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/cgroup.controllers"
}

cg() # NAME: its cgroup
{
	echo "$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show "$1" --json | jq -r .ctid)"
}

refused() # STATUS PATTERN COMMAND...
{
	local status=$1 pattern=$2
	shift 2
	run ctctl "$@"
	echo "$* -> $output"
	[ "${status}" = "$(ctctl "$@" >/dev/null 2>&1; echo $?)" ]
	[[ "$output" == *$pattern* ]]
}

@test "a limit whose controller is missing is refused at create and at set, naming it" {
	local have row key
	have=" $(controllers) "
	ctctl create plain --template tiny
	for row in cpu:cpus=1 cpu:cpu_weight=200 cpuset:cpuset=0 cpuset:numa=auto memory:memory=64M memory:swap=1M memory:memory_guarantee=8M \
		memory:oom_group=yes io:io_weight=200 io:read_bps=1M io:write_iops=100 pids:processes=100; do
		key=${row#*:}
		if [[ "$have" == *" ${row%%:*} "* ]]; then
			continue # this host has it; the lab tests that it holds
		fi
		refused 5 "${key%%=*} cannot be enforced*\"${row%%:*}\"*doctor" set plain "$key"
		key=--${key//_/-}
		refused 5 "cannot be enforced" create other --template tiny "${key%=yes}"
		[ "$(ctctl show plain --json | jq -c .config)" = '{}' ]
	done
	refused 3 "no container" show other
}

@test "a disk size is refused where the file system has no project quota" {
	if ctctl doctor --json | jq -e '.checks[] | select(.name == "quota" and .state == "ok")' >/dev/null; then
		skip "this file system has project quota"
	fi
	refused 5 "disk cannot be enforced*project quota*" create d --template tiny --disk 1G
	refused 5 "inodes cannot be enforced*project quota*" create d --template tiny --inodes 1000
	refused 2 "storage image needs its size" create d --template tiny --storage image
}

@test "values that make no sense are refused with what would" {
	ctctl create v --template tiny
	refused 2 "cpus must be a number of CPUs" set v cpus=none
	refused 2 "memory must be a size" set v memory=1
	refused 2 "cpu_weight must be a number from 1 to 10000" set v cpu_weight=0
	refused 2 "cpuset must be a list" set v cpuset=a
	refused 2 "storage must be dir or image" set v storage=tape
	refused 2 "cannot be changed" set v storage=image
	refused 5 "no block device*or*no controller" set v --io /dev/nothing,read_bps=1M || refused 5 "" set v --io /dev/nothing,read_bps=1M
	refused 5 "at most" set v inotify_watches=2147483647
	refused 5 "sysctl" set v inotify_instances=2147483647
}

@test "what needs no controller holds: cgroups, ptys, shm, run, open files, inotify" {
	ctctl create k --template tiny --cgroups 3 --cgroup-depth 2 --shm 8M --run 4M --open-files 512 --inotify-watches 321 --namespaces 5 --start
	[ "$(cat "$(cg k)/cgroup.max.descendants")" = 3 ]
	[ "$(cat "$(cg k)/cgroup.max.depth")" = 2 ]
	[ "$(ctctl exec k -- df -k /dev/shm | awk 'END { print $2 }')" = 8192 ]
	[ "$(ctctl exec k -- df -k /run | awk 'END { print $2 }')" = 4096 ]
	[ "$(awk '/Max open files/ { print $5 }' "/proc/$(ctctl show k --json | jq .pid)/limits")" = 512 ]
	[ "$(ctctl exec k -- sh -c 'ulimit -Sn; ulimit -Hn; ulimit -Hc; ulimit -Hl' | tr '\n' ' ')" = "512 512 unlimited 8192 " ]
	[ "$(ctctl exec k -- cat /proc/sys/user/max_inotify_watches)" = 321 ]
	[ "$(ctctl exec k -- cat /proc/sys/user/max_user_namespaces)" = 5 ]
	# root inside cannot raise it
	run ctctl exec k -- sh -c 'echo 9999 >/proc/sys/user/max_inotify_watches'
	[ "$(ctctl exec k -- cat /proc/sys/user/max_inotify_watches)" = 321 ]
	# live
	ctctl set k cgroups=5 inotify_watches=400
	[ "$(cat "$(cg k)/cgroup.max.descendants")" = 5 ]
	[ "$(ctctl exec k -- cat /proc/sys/user/max_inotify_watches)" = 400 ]
	# others have the defaults
	ctctl create n --template tiny --start
	[ "$(ctctl exec n -- cat /proc/sys/user/max_inotify_watches)" = 65536 ]
	for key in "Max open files" "Max core file size" "Max locked memory"; do
		[ "$(ctctl exec n -- grep "$key" /proc/self/limits)" = "$(grep "$key" "/proc/$(ctctl show n --json | jq .pid)/limits")" ]
	done
	[ "$(cat "$(cg n)/cgroup.max.descendants")" = 1024 ]
}

@test "a limit that was changed behind ctd's back is put back at its next start, and told" {
	ctctl create r --template tiny --cgroups 4 --start
	ctd_kill
	echo max >"$(cg_of_any)/cgroup.max.descendants"
	ctd_start
	[ "$(cat "$(cg r)/cgroup.max.descendants")" = 4 ]
	[ "$(ctctl events --json | jq -r '.events[] | select(.type == "limit.restored") | .name + " " + .detail.key')" = "r cgroups" ]
	ctctl create warm --template tiny --start
}

cg_of_any() # the one container's cgroup, while no ctd runs
{
	ctd_cgroups | grep '/c-[0-9a-f]*$' | head -n 1
}

@test "plans: made, taken, changed with who is affected, and not removed while somebody has them" {
	ctctl plan create small --cgroups 10 --ptys 20
	refused 4 "already" plan create small --cgroups 1
	refused 2 "cannot be in a plan" plan create bad hostname=x
	refused 3 "no plan" create p0 --template tiny --plan nothing
	ctctl create p1 --template tiny --plan small --start
	ctctl create p2 --template tiny --plan small --ptys 99
	[ "$(ctctl show p1 --json | jq -c .config)" = '{"cgroups":10,"plan":"small","ptys":20}' ]
	[ "$(ctctl show p2 --json | jq -c .config)" = '{"cgroups":10,"plan":"small","ptys":99}' ]
	[ "$(cat "$(cg p1)/cgroup.max.descendants")" = 10 ]

	run ctctl plan set small --cgroups 12 --ptys 21 --dry-run
	[ "$status" -eq 0 ]
	[[ "$output" == *p1*p2* ]]
	[ "$(cat "$(cg p1)/cgroup.max.descendants")" = 10 ]
	ctctl plan set small --cgroups 12 --ptys 21
	[[ "$(ctctl plan show small)" == *p1*cgroups*12* ]]
	[ "$(cat "$(cg p1)/cgroup.max.descendants")" = 12 ]
	# what was set for one alone stays
	[ "$(ctctl show p2 --json | jq -c .config)" = '{"cgroups":12,"plan":"small","ptys":99}' ]
	[ "$(ctctl plan list --json | jq -c '.plans[0].containers | sort')" = '["p1","p2"]' ]

	refused 4 "2 containers have the plan" plan remove small
	ctctl plan create large --cgroups 50
	ctctl set p1 --plan large
	[ "$(ctctl show p1 --json | jq -c .config)" = '{"cgroups":50,"plan":"large"}' ]
	ctctl set p2 plan=
	ctctl plan remove small
	refused 3 "no plan" plan show small
	ctctl destroy p1 --force
	ctctl plan remove large
}

@test "a plan that one of its containers cannot have says who, and changes the others" {
	ctctl plan create mixed --cgroups 10
	ctctl create m1 --template tiny --plan mixed
	run ctctl plan set mixed --inotify-watches 2147483647
	[ "$status" -eq 5 ]
	[[ "$output" == *m1*"at most"* ]]
	[ "$(ctctl show m1 --json | jq -c .config)" = '{"cgroups":10,"plan":"mixed"}' ]
	ctctl set m1 plan=
	ctctl plan remove mixed
}

@test "top and show print what there is to print" {
	ctctl create t --template tiny --start
	run ctctl top -d 1 -n 1
	[ "$status" -eq 0 ]
	[[ "${lines[0]}" == NAME*CPU%*WAIT%* ]]
	[[ "${lines[1]}" == t\ * ]]
	run ctctl show t
	[[ "$output" == *RESOURCE*LIMIT*USED* ]]
	run ctctl top --sort nothing
	[ "$status" -eq 2 ]
}

about() # MIB: the size that df shows inside, within what ext4 rounds to
{
	ctctl exec i -- df -k / | awk -v w="$1" 'END { exit !($2 > w * 1024 * 0.95 && $2 < w * 1024 * 1.1) }'
}

@test "a disk image is made, grown and shrunk by a worker; a kill of ctd leaves nothing half" {
	if ! ctctl doctor --json | jq -e '.checks[] | select(.name == "image" and .state == "ok")' >/dev/null; then
		skip "no loop devices"
	fi
	ctctl create i --template tiny --storage image --disk 64M --start
	about 64
	refused 4 "shrinks only while its container is stopped" set i disk=48M
	ctctl stop i
	ctctl set i disk=128M
	ctctl start i
	about 128
	ctctl stop i
	ctctl set i disk=64M
	[ "$(ctctl show i --json | jq -r .config.disk)" = 64M ]
	ctctl destroy i
	"$(ctd_program ctctl)" create j --template tiny --storage image --disk 64M >/dev/null 2>&1 3>&- &
	sleep 0.05
	ctd_kill
	wait || true
	ctd_start
	ctctl create warm --template tiny --start
	ctctl fsck
}
