#!/usr/bin/env bats
# lab: systemd deadline=600
# Limits where systemd owns the tree of cgroups: what was delegated holds, and stays when systemd reloads and ctd is started again.
load lib

setup_file()
{
	ctd_installed
	tiny_template
}

teardown()
{
	ctctl destroy s --force 2>/dev/null || true
}

@test "all limits hold in the delegated scope, over daemon-reload, a restart and a kill of ctd" {
	ctctl create s --template tiny --cpus 0.5 --cpuset 0 --memory 64M --memory-guarantee 16M --processes 50 --read-bps 1M --start
	cg=$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show s --json | jq -r .ctid)
	[[ "$cg" == */ctd.slice/ctd-*.scope/* ]]
	check() {
		[ "$(cat "$cg/cpu.max")" = "50000 100000" ]
		[ "$(cat "$cg/cpuset.cpus")" = 0 ]
		[ "$(cat "$cg/memory.max")" = $((64 << 20)) ]
		[ "$(cat "$cg/pids.max")" = 50 ]
		grep -q rbps=1048576 "$cg/io.max"
		[ "$(cat "$cg/../memory.min")" = $((16 << 20)) ]
		[ "$(cat "$cg/../../memory.min")" = $((16 << 20)) ]
	}
	check
	known() { [ "$(systemctl show -P MemoryMin ctd.slice)" = $((16 << 20)) ]; }
	wait_for 30 known
	systemctl daemon-reload
	sleep 3
	check
	systemctl restart ctd
	wait_for 30 ctctl version
	check
	systemctl kill --kill-whom=main -s KILL ctd
	sleep 1
	wait_for 60 ctctl version
	check
	ctctl stop s
	[ "$(cat "$(dirname "$cg")/memory.min")" = 0 ]
}
