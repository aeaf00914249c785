#!/bin/bash
# What giving idle memory back gains and what it costs: a container that has written and forgotten files, and beside it one that uses all it has, with
# and without idle-memory in ctd's configuration. Needs root and the memory controller in cgroup v2.
#	usage: bench/idle.sh BUILD      (in the lab: test/lab/lab exec --build BUILD -- /ctd/bench/idle.sh /ctd/build)
set -u
cd "$(dirname "$0")/.." || exit 1
export CTD_BUILD=${1:-${CTD_BUILD:-build}} LAB_FLAVOUR=${LAB_FLAVOUR:-bench}
# shellcheck source=test/lib.bash
. test/lib.bash

SECONDS_EACH=${SECONDS_EACH:-120}
conf=$(mktemp /var/tmp/ctd-idle.XXXXXX) || exit 1
trap 'ctd_teardown >/dev/null 2>&1; rm -f "$conf"' EXIT

ticks() # PID: CPU time of a process in hundredths of a second
{
	awk '{ print $14 + $15 }' "/proc/$1/stat"
}

waited() # CGROUP: microseconds in which something in it waited for memory
{
	awk '/^some/ { sub("total=", "", $5); print $5 }' "$1/memory.pressure"
}

# Forgotten: 150 MB of page cache. Busy: reads 40 MB again and again, so that each page that is taken from it is missed at once.
one() # yes|no
{
	local idle busy cg before cpu wait turns pid
	echo "idle-memory = $1" >"$conf"
	ctd_setup --config "$conf" >/dev/null || exit 1
	tiny_template >/dev/null || exit 1
	cg=$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)
	idle=$cg/c-$(ctctl create idle --template tiny --start --json --memory 300M | jq -r .ctid)
	busy=$cg/c-$(ctctl create busy --template tiny --start --json --memory 100M | jq -r .ctid)
	ctctl exec idle -- sh -c 'dd if=/dev/zero of=/f bs=1M count=150; sync; cat /f >/dev/null' 2>/dev/null
	ctctl exec busy -- sh -c 'dd if=/dev/zero of=/f bs=1M count=40; sync; echo 0 >/turns' 2>/dev/null
	"$(ctd_program ctctl)" exec busy -- sh -c 'n=0; while :; do cat /f >/dev/null; n=$((n+1)); echo $n >/run/turns; sleep 0.1; done' </dev/null >/dev/null 2>&1 &
	sleep 5
	pid=$(cat "$CTD_DIR/pid")
	before=$(cat "$idle/memory.current") cpu=$(ticks "$pid") wait=$(waited "$busy") turns=$(ctctl exec busy -- cat /run/turns)
	sleep "$SECONDS_EACH"
	printf '%-12s %12d %12d %12d %12.3f %12.3f\n' "$1" $(((before - $(cat "$idle/memory.current")) >> 10)) \
		$((($(ctctl exec busy -- cat /run/turns) - turns) * 10 / SECONDS_EACH)) "$(($(cat "$busy/memory.current") >> 10))" \
		"$(awk "BEGIN { print ($(waited "$busy") - $wait) / $SECONDS_EACH / 10000 }")" \
		"$(awk "BEGIN { print ($(ticks "$pid") - $cpu) / $SECONDS_EACH }")"
	ctctl destroy idle --force >/dev/null
	ctctl destroy busy --force >/dev/null
	ctd_teardown >/dev/null 2>&1
}

printf '%-12s %12s %12s %12s %12s %12s\n' idle-memory "given (KiB)" "turns/10 s" "busy (KiB)" "waited (%)" "ctd CPU (%)"
one no
one yes
