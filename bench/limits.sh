#!/bin/bash
# For each limit: what was asked, what was measured, the error. Needs root, a host with the controllers in cgroup v2, project quota below
# /var/tmp; elsewhere what is refused is printed as refused.
#	usage: bench/limits.sh BUILD      (in the lab: test/lab/lab exec --build BUILD -- /ctd/bench/limits.sh /ctd/build)
set -u
cd "$(dirname "$0")/.." || exit 1
export CTD_BUILD=${1:-${CTD_BUILD:-build}} LAB_FLAVOUR=${LAB_FLAVOUR:-bench}
# shellcheck source=test/lib.bash
. test/lib.bash

SECONDS_EACH=${SECONDS_EACH:-15}
trap 'ctd_teardown >/dev/null 2>&1' EXIT
ctd_setup "" || exit 1
tiny_template >/dev/null || exit 1
CTCTL=$(ctd_program ctctl)
CG=$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)

printf '%-22s %14s %14s %9s\n' LIMIT ASKED MEASURED ERROR

line() # LIMIT ASKED MEASURED
{
	awk -v l="$1" -v a="$2" -v m="$3" 'BEGIN { printf "%-22s %14d %14d %+8.2f%%\n", l, a, m, (m - a) / a * 100 }'
}

# new OPTION...: a container "b", or a line that says why not
new()
{
	local answer
	ctctl destroy b --force >/dev/null 2>&1
	if ! answer=$(ctctl create b --template tiny --start --json "$@" 2>&1); then
		printf '%-22s refused: %s\n' "${1#--}" "${answer#ctctl: }"
		return 1
	fi
	cg=$CG/c-$(jq -r .ctid <<<"$answer")
}

behind() # SCRIPT
{
	"$CTCTL" exec b -- sh -c "$1" </dev/null >/dev/null 2>&1 &
	sleep 3
}

number() # FILE KEY, summed over devices
{
	awk -v k="$2" '{ for (i = 1; i <= NF; i++) { if ($i == k) n += $(i + 1); if (index($i, k "=") == 1) n += substr($i, length(k) + 2) } }
		END { printf "%.0f\n", n }' "$cg/$1"
}

rate() # FILE KEY
{
	local a b from to
	a=$(number "$1" "$2") from=$(date +%s%6N)
	sleep "$SECONDS_EACH"
	b=$(number "$1" "$2") to=$(date +%s%6N)
	echo $(((b - a) * 1000000 / (to - from)))
}

# two OPTION: containers "light" and "heavy", the option with 100 and with 300, and what it takes to make it so; cg of each in light_cg, heavy_cg
two()
{
	local option=$1 name answer
	shift
	for name in light heavy; do
		ctctl destroy $name --force >/dev/null 2>&1
		if ! answer=$(ctctl create $name --template tiny --start --json "$option" "$([ $name = light ] && echo 100 || echo 300)" "$@" 2>&1); then
			printf '%-22s refused: %s\n' "${option#--}" "${answer#ctctl: }"
			return 1
		fi
		eval "${name}_cg=$CG/c-$(jq -r .ctid <<<"$answer")"
	done
}

# share FILE KEY: how much more heavy has of it than light, in percent
share()
{
	local a b
	cg=$light_cg a=$(number "$1" "$2")
	cg=$heavy_cg b=$(number "$1" "$2")
	sleep "$SECONDS_EACH"
	cg=$light_cg a=$(($(number "$1" "$2") - a))
	cg=$heavy_cg b=$(($(number "$1" "$2") - b))
	echo $((b * 100 / (a + 1)))
}

both() # SCRIPT
{
	local name
	for name in light heavy; do
		"$CTCTL" exec $name -- sh -c "$1" </dev/null >/dev/null 2>&1 &
	done
	sleep 3
}

# count LIMIT ASKED SCRIPT: the script inside prints how many it got
count()
{
	line "$1" "$2" "$(ctctl exec b -- sh -c "$3" 2>/dev/null)"
}

for milli in 100 500 1500; do
	new --cpus "$(awk "BEGIN { print $milli / 1000 }")" || break
	behind 'while :; do :; done & while :; do :; done'
	line "cpus (us/s)" $((milli * 1000)) "$(rate cpu.stat usage_usec)"
done

if two --cpu-weight --cpuset 0; then
	both 'while :; do :; done'
	line "cpu_weight 1:3 (%)" 300 "$(share cpu.stat usage_usec)"
fi
# A load that comes in pieces under a cap of 0.3: what is saved up between them is borrowed, and it is held up for less time. No figure of its own to be
# held to.
for burst in 0 30ms; do
	new --cpus 0.3 --cpu-burst $burst || break
	behind 'while :; do i=0; while [ $i -lt 4000 ]; do i=$((i+1)); done; sleep 0.3; done'
	printf '%-22s %14s %14d\n' "held up, burst $burst" - "$(rate cpu.stat throttled_usec)"
done

if new --memory 64M --swap 0; then
	ctctl exec b -- dd if=/dev/zero of=/dev/null bs=100M count=1 >/dev/null 2>&1
	line "memory (peak)" $((64 << 20)) "$(cat "$cg/memory.peak")"
fi

if [ "$(wc -l </proc/swaps)" = 1 ]; then
	printf '%-22s this machine has none\n' swap
elif new --memory 64M --swap 16M; then
	# what a command that takes too much holds before it is killed; old kernels keep no peak
	ctctl exec b -- dd if=/dev/zero of=/dev/null bs=100M count=1 >/dev/null 2>&1 &
	command=$! most=0
	while kill -0 $command 2>/dev/null; do
		now=$(cat "$cg/memory.swap.current")
		[ "$now" -le "$most" ] || most=$now
	done
	line "swap" $((16 << 20)) "$most"
fi
if new --memory-guarantee 32M --memory 128M; then
	line "memory_guarantee" $((32 << 20)) "$(cat "$cg/memory.min" "$cg/memory.low" | sort -n | tail -n 1)"
fi

if new --processes 50; then
	behind 'i=0; while [ $i -lt 100 ]; do sleep 300 & i=$((i+1)); done'
	line processes 50 "$(cat "$cg/pids.peak" 2>/dev/null || cat "$cg/pids.current")"
fi

if new --write-bps 4M; then
	behind 'while :; do dd if=/dev/zero of=/f bs=256k count=200 oflag=direct conv=notrunc; done'
	line "write_bps direct" $((4 << 20)) "$(rate io.stat wbytes)"
fi
if new --write-bps 4M --memory 64M; then
	behind 'while :; do dd if=/dev/zero of=/f bs=1M count=100; done'
	sleep 5
	line "write_bps buffered" $((4 << 20)) "$(rate io.stat wbytes)"
fi
if new --read-bps 4M; then
	ctctl exec b -- dd if=/dev/zero of=/f bs=1M count=40 >/dev/null 2>&1
	behind 'sync; while :; do dd if=/f of=/dev/null bs=256k iflag=direct; done'
	line "read_bps direct" $((4 << 20)) "$(rate io.stat rbytes)"
fi
if new --write-iops 40; then
	behind 'while :; do dd if=/dev/zero of=/f bs=4k count=1000 oflag=direct conv=notrunc; done'
	line write_iops 40 "$(rate io.stat wios)"
fi
if new --read-iops 40; then
	ctctl exec b -- dd if=/dev/zero of=/f bs=1M count=8 >/dev/null 2>&1
	behind 'sync; while :; do dd if=/f of=/dev/null bs=4k iflag=direct; done'
	line read_iops 40 "$(rate io.stat rios)"
fi

if new --disk 64M; then
	ctctl exec b -- sh -c 'dd if=/dev/zero of=/fill bs=4k; sync' >/dev/null 2>&1
	line "disk (df)" $((64 << 10)) "$(ctctl exec b -- df -k / | awk 'END { print $2 }')"
	line "disk (bytes held)" $((64 << 20)) "$(ctctl show b --json | jq .resources.disk.used)"
fi
if new --inodes 500; then
	ctctl exec b -- sh -c 'i=0; while : >/n$i; do i=$((i+1)); done' >/dev/null 2>&1
	line inodes 500 "$(ctctl show b --json | jq .resources.inodes.used)"
fi

dev=$(lsblk -no MAJ:MIN "$(findmnt -no SOURCE -T "$CTD_STATE")" 2>/dev/null | tr -d ' ')
if [ -n "$dev" ] && [ -e "$(cgroup_mount)/io.cost.model" ]; then
	echo "$dev enable=1 ctrl=user rpct=0 wpct=0 min=100 max=100" >"$(cgroup_mount)/io.cost.qos"
	echo "$dev ctrl=user model=linear rbps=20000000 rseqiops=300 rrandiops=300 wbps=20000000 wseqiops=300 wrandiops=300" >"$(cgroup_mount)/io.cost.model"
fi
if two --io-weight; then
	both 'dd if=/dev/zero of=/f bs=1M count=16; sync; while :; do dd if=/f of=/dev/null bs=64k iflag=direct; done'
	both 'while :; do dd if=/f of=/dev/null bs=64k iflag=direct; done'
	sleep 5
	line "io_weight 1:3 (%)" 300 "$(share io.stat rbytes)"
fi
ctctl destroy light --force >/dev/null 2>&1
ctctl destroy heavy --force >/dev/null 2>&1
[ -z "$dev" ] || echo "$dev enable=0" >"$(cgroup_mount)/io.cost.qos" 2>/dev/null

if new --cgroups 20 --ptys 10 --open-files 256 --shm 8M --run 4M --inotify-instances 16; then
	count cgroups 20 'i=0; while mkdir /sys/fs/cgroup/g$i; do i=$((i+1)); done; echo $i'
	count ptys 10 'i=0; while [ $i -lt 30 ]; do sleep 30 <>/dev/ptmx & i=$((i+1)); done; sleep 1; ls /dev/pts | grep -c "[0-9]"'
	count "open files" 256 'ulimit -Hn'
	count "shm (KiB)" 8192 'dd if=/dev/zero of=/dev/shm/f bs=4k; du -k /dev/shm/f | cut -f 1'
	count "run (KiB)" 4096 'df -k /run | awk "END { print \$2 }"'
	count "inotify instances" 16 'cat /proc/sys/user/max_inotify_instances'
fi
