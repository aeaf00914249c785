#!/usr/bin/env bats
# lab: systemd boots=2 deadline=600
# ctd as a service of systemd: where things run, what survives a restart, what guests do not inherit, and what happens at a reboot of the host.
load lib

setup_file()
{
	ctd_installed
	tiny_template
}

pid_of()
{
	ctctl show "$1" --json | jq -r .pid
}

state_of()
{
	ctctl show "$1" --json | jq -r .state
}

unit_of() # PID: the innermost slice, scope or service of a process
{
	sed -n 's/^0:://p' "/proc/$1/cgroup" | grep -o '[^/]*\.\(scope\|service\|slice\)' | tail -n 1
}

main_pid()
{
	systemctl show -P MainPID ctd.service
}

# bats test_tags=boot:1
@test "ctd is an active service in its slice, and the keeper is in a scope beside it" {
	[ "$(systemctl is-active ctd.service)" = active ]
	[ "$(systemctl show -P Type ctd.service)" = notify ]
	grep -q '/ctd.slice/ctd.service$' "/proc/$(main_pid)/cgroup"
	keeper=$(ctctl version --json | jq -r .keeper.pid)
	[[ "$(unit_of "$keeper")" == ctd-*.scope ]]
	grep -q '/ctd.slice/ctd-[a-z0-9]*.scope/' "/proc/$keeper/cgroup"
}

# bats test_tags=boot:1
@test "all controllers reach the containers" {
	ctctl create where --template tiny --start
	dir=$(cgroup_mount)$(sed -n 's/^0:://p' "/proc/$(pid_of where)/cgroup")
	for controller in cpu memory pids io; do
		grep -qw "$controller" "$dir/cgroup.controllers"
	done
	[[ "$(unit_of "$(pid_of where)")" == ctd-*.scope ]]
}

# bats test_tags=boot:1
@test "guests do not inherit what the unit gives to ctd" {
	pid=$(pid_of where)
	[ "$(<"/proc/$pid/oom_score_adj")" = 0 ]
	[ "$(<"/proc/$(main_pid)/oom_score_adj")" = -900 ]
	[ "$(sed -n 's/^Seccomp:\t//p' "/proc/$(main_pid)/status")" = 0 ]
	[ "$(sed -n 's/^NoNewPrivs:\t//p' "/proc/$pid/status")" = 0 ]
	ctctl exec where -- sh -c '! env | grep -q NOTIFY_SOCKET && ! env | grep -q INVOCATION_ID'
}

# bats test_tags=boot:1
@test "a restart of the service, and a death of ctd, do not touch containers" {
	pid=$(pid_of where)
	systemctl restart ctd.service
	wait_for 30 ctctl version
	[ "$(pid_of where)" = "$pid" ]
	before=$(main_pid)
	kill -9 "$before"
	came_back() { [ "$(main_pid)" != "$before" ] && [ "$(main_pid)" != 0 ] && ctctl version; }
	wait_for 60 came_back
	[ "$(pid_of where)" = "$pid" ]
	ctctl exec where -- true
	systemctl stop ctd.service
	kill -0 "$pid"
	systemctl start ctd.service
	wait_for 30 ctctl version
	[ "$(pid_of where)" = "$pid" ]
	ctctl fsck
}

# bats test_tags=boot:1
@test "ctd-containers stops all, the highest order first" {
	systemctl start ctd-containers.service
	ctctl create late --template tiny --autostart-order 9 --start
	ctctl stop where
	ctctl set where --autostart-order 1
	ctctl start where
	ctctl freeze where
	after=$(ctctl events --json | jq '[.events[].id] | max')
	systemctl stop ctd-containers.service
	[ "$(state_of where)" = stopped ]
	[ "$(state_of late)" = stopped ]
	order=$(ctctl events --json | jq -r --argjson after "$after" '.events[] | select(.id > $after and .type == "container.exited") | .name')
	echo "$order"
	[ "$order" = "$(printf 'late\nwhere')" ]
	ctctl destroy late
	ctctl destroy where
}

# bats test_tags=boot:1
@test "before the reboot: one container that shall come back runs, and one that shall not" {
	systemctl enable --now ctd-containers.service
	ctctl create comes --template tiny --autostart --start
	ctctl create stays --template tiny --start
	ctctl create first --template tiny --autostart
	wait_for 10 ctctl exec comes -- true
	ctctl exec comes -- sh -c 'echo written >/root/file; i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done'
	ctctl usage comes --json | jq '.containers[0].total' >/var/lib/ctd-test-used
	jq -e '.cpu_user_usec + .cpu_system_usec > 0' /var/lib/ctd-test-used
}

# bats test_tags=boot:2
@test "after the reboot: what was marked runs, with what it had written" {
	comes_runs() { [ "$(state_of comes)" = running ] && [ "$(state_of first)" = running ]; }
	wait_for 60 comes_runs
	[ "$(ctctl exec comes -- cat /root/file)" = written ]
	[ "$(state_of stays)" = stopped ]
	ctctl fsck
	# What was used goes on, and nobody was away while it ran.
	ctctl usage comes --json | jq -e --slurpfile before /var/lib/ctd-test-used '.containers[0] | .sum == .total
		and (.total as $now | $before[0] | to_entries | all(.value <= $now[.key])) and .total.gap_usec == 0'
}

# bats test_tags=boot:2
@test "after the reboot: no unit has failed" {
	systemctl --failed
	[ -z "$(systemctl --failed --no-legend --plain)" ]
	ctctl destroy comes --force
	ctctl destroy stays
	ctctl destroy first --force
}
