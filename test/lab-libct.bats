#!/usr/bin/env bats
# lab: script
# The library by itself on the baseline kernel: its own tests, and a distribution with systemd in it.

libct()
{
	"$CTD_BUILD/libct/test-libct-$1" "$2"
}

@test "what a container is given and made of" {
	libct start "$CTD_BUILD/libct/probe"
}

@test "what root inside cannot do" {
	libct confine "$CTD_BUILD/libct/probe"
}

@test "starts that fail, are killed, come at once" {
	libct ends "$CTD_BUILD/libct/probe"
}

@test "commands in friendly and hostile containers" {
	libct exec "$CTD_BUILD/libct/probe"
}

@test "Debian with systemd boots, works, powers off" {
	libct systemd /lab/debian
}

teardown()
{
	! ls -d /sys/fs/cgroup/test-libct-* /sys/fs/cgroup/ct-probe-* /var/tmp/test-libct-* 2>/dev/null
}
