#!/usr/bin/env bats
# lab: systemd
# What a machine with systemd as PID 1 promises to the tests.

@test "systemd is up and no unit has failed" {
	[ "$(cat /proc/1/comm)" = systemd ]
	run systemctl is-system-running
	systemctl --failed
	[ "$output" = running ]
}

@test "sshd and lxcfs answer" {
	systemctl is-active ssh lxcfs
	grep -q cpu /var/lib/lxcfs/proc/stat
}

@test "the root disk has project quotas on after systemd remounted it" {
	findmnt -n -o OPTIONS / | grep -qw prjquota
}
