#!/usr/bin/env bats
# lab: systemd boots=2 deadline=600
# Containers beside a systemd on the host (see lab-service.bats), and with one of their own inside; how they go down and come back with the host.
load lib

setup_file()
{
	ctd_installed
	[ "$LAB_BOOT" = 1 ] || return 0
	systemctl enable --now ctd-containers.service
	ctctl template build tiny
	ctctl create one --template tiny --memory 64M --start
}

teardown_file()
{
	[ "$LAB_BOOT" = 2 ] || return 0
	local name
	for name in $(ctctl list -q); do ctctl destroy "$name" --force; done
	ctctl fsck
}

pid_of() # NAME: of its init, and when that began: the same process has both
{
	local pid
	pid=$(ctctl show "$1" --json | jq -r .pid)
	echo "$pid $(awk '{ print $22 }' "/proc/$pid/stat")"
}

cgroup_of() # PID
{
	sed -n 's/^0:://p' "/proc/$1/cgroup"
}

works() # NAME: the container that runs can be used
{
	[ "$(ctctl show "$1" --json | jq -r .state)" = running ] && [ "$(ctctl exec "$1" -- hostname)" = "$1" ]
}

# bats test_tags=boot:1
@test "an exit while ctd was stopped is known afterwards" {
	ctctl create brief --template tiny --start
	pid=$(ctctl show brief --json | jq -r .pid)
	systemctl stop ctd.service
	kill -9 "$pid"
	systemctl start ctd.service
	wait_for 20 brief_is stopped
	works one
	ctctl destroy brief
}

brief_is() # STATE
{
	[ "$(ctctl show brief --json | jq -r .state)" = "$1" ]
}

# bats test_tags=boot:1
@test "a kill of the keeper: containers run on and are adopted" {
	before=$(pid_of one)
	keeper=$(keeper_pid)
	kill -9 "$keeper"
	wait_for 30 another_keeper "$keeper"
	wait_for 30 works one
	[ "$(pid_of one)" = "$before" ]
	ctctl fsck
	# its end is noticed as well
	ctctl stop one
	[ "$(ctctl show one --json | jq -r .state)" = stopped ]
	ctctl start one
	works one
}

another_keeper() # PID
{
	[ -n "$(keeper_pid)" ] && [ "$(keeper_pid)" != "$1" ]
}

# bats test_tags=boot:1
@test "daemon-reload and daemon-reexec take nothing away" {
	before=$(pid_of one)
	systemctl daemon-reload
	systemctl daemon-reexec
	works one
	[ "$(pid_of one)" = "$before" ]
	[ "$(cat "/sys/fs/cgroup$(cgroup_of "${before% *}" | grep -o '^/ctd.slice/[^/]*/c-[0-9a-f]*')/memory.max")" = $((64 << 20)) ]
	ctctl create two --template tiny --memory 32M --start
	works two
	ctctl destroy two --force
}

# bats test_tags=boot:1
@test "a distribution with systemd works in the delegated cgroup" {
	ctctl template import --name debian /lab/debian.tar
	ctctl create deb --template debian --autostart --autostart-order 30 --start
	wait_for 180 deb_is running
	ctctl exec deb -- systemd-cgls --no-pager | grep -q ssh.service
	ctctl exec deb -- systemctl set-property --runtime cron.service MemoryMax=32M
	[ "$(ctctl exec deb -- cat /sys/fs/cgroup/system.slice/cron.service/memory.max)" = $((32 << 20)) ]
	# A unit that meets a limit of its own has not met the one that was sold.
	ctctl set deb memory=1G
	run ! ctctl exec deb -- systemd-run --quiet --wait -p MemoryMax=16M -p MemorySwapMax=0 dd if=/dev/zero of=/dev/null bs=64M count=1
	ctctl usage deb --json | jq -e '.containers[0].total | .oom_kills >= 1 and .memory_limit_hits == 0'
	ctctl events --limit 10000 --json | jq -e '[.events[] | select(.type == "limit.hit" and .name == "deb")] == []'
	ctctl set deb memory=
}

deb_is() # STATE of its systemd
{
	[ "$(ctctl exec deb -- systemctl is-system-running)" = "$1" ]
}

# bats test_tags=boot:1
@test "before the host's reboot" {
	ctctl create last --template tiny --autostart --autostart-order 20 --start
	ctctl create first --template tiny --autostart --autostart-order 10 --start
	ctctl create barred --template tiny --autostart
	ctctl set barred disabled=true
	for name in one first last; do
		ctctl exec "$name" -- sed -i '2i date >/root/stopped-well' /etc/init.d/rcK
	done
	[ "$(systemctl is-active ctd-containers.service)" = active ]
	cat /proc/sys/kernel/random/boot_id >/var/lib/ctd-test-boot
	ctctl events --json | jq '[.events[].id] | max' >/var/lib/ctd-test-event
	ctctl job list --json | jq '[.jobs[].id | tonumber] | max' >/var/lib/ctd-test-job
}

# bats test_tags=boot:2
@test "after the reboot: what was marked has come back, in order, and all had been stopped well" {
	[ "$(cat /var/lib/ctd-test-boot)" != "$(cat /proc/sys/kernel/random/boot_id)" ]
	wait_for 60 works first
	wait_for 60 works last
	wait_for 60 state_is deb running
	state_is one stopped
	state_is barred stopped
	ctctl start one
	for name in one first last; do
		ctctl exec "$name" -- test -s /root/stopped-well
	done
	wait_for 180 deb_is running
	ctctl exec deb -- journalctl -b -1 --no-pager | grep -q 'Journal stopped'
	# other files' autostarts are in the list as well: this machine has been up before
	started=$(ctctl job list --json | jq -r --argjson last "$(cat /var/lib/ctd-test-job)" '[.jobs[] | select(.verb == "autostart" and (.id | tonumber) > $last)] |
		sort_by(.id | tonumber) | map(.object) | join(" ")')
	[ "$started" = "first last deb" ] || { echo "started: $started" && false; }
	ctctl fsck
}

state_is() # NAME STATE
{
	[ "$(ctctl show "$1" --json | jq -r .state)" = "$2" ]
}

# bats test_tags=boot:2
@test "no unit of the host has failed" {
	[ -z "$(systemctl --failed --no-legend --plain)" ]
}
