#!/usr/bin/env bats
# lab: script deadline=1200
# Debian's own systemd guest as it is, with a session by ssh, a stream of numbers and services that have mounts of their own: to disk and back,
# twice in a row. All tests share one container. Its limits, its services' cgroups and mounts are compared before and after.
load lib
load peer
load guest

setup_file()
{
	export KEY=$BATS_FILE_TMPDIR/key GUEST=10.7.0.1
	ssh-keygen -q -t ed25519 -N '' -f "$KEY"
	uplink_up
	outside ip route add "$GUEST" via 192.0.2.2
	ctd_setup
	ctctl template import --name debian /lab/debian.tar
	ctctl create d1 --template debian --net "routed,ip=$GUEST,rate-out=50M" --memory 300M --disk 2G --processes 300 --ssh-key "$KEY.pub" --start
	wait_for 120 booted ctctl
	guest_numbers ctctl
	export CTID
	CTID=$(field ctctl d1 .ctid | tr -d '"')
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

# After it went on: the same processes, confined as before; both connections; services that run, and others that can be started.
goes_on() # DAEMON
{
	clients_go_on "$CTD_DIR"
	wait_for 60 booted "$1"
	[ -z "$(inside "$1" systemctl --failed --no-legend --plain)" ]
	world_inside "$1" >"$CTD_DIR/after"
	diff "$CTD_DIR/before" "$CTD_DIR/after"
	[ -z "$(login 'cat /proc/kallsyms /proc/keys')" ]
	inside "$1" systemctl restart cron
	[ "$(inside "$1" systemctl is-active cron ssh numbers systemd-logind systemd-journald dbus | sort -u)" = active ]
	world_inside "$1" >"$CTD_DIR/before" # of the new cron
}

@test "to disk and back, twice in a row" {
	clients_start "$CTD_DIR" "$GUEST" "$GUEST_COUNTER"
	world_inside ctctl >"$CTD_DIR/before"
	grep -q 'numbers.service/memory.max 67108864' "$CTD_DIR/before"
	# over native directories, which CRIU takes for these
	grep -q '^/home [^ ]* /upper/home$' "$CTD_DIR/before"
	grep -q '^/home [^ ]* /systemd/inaccessible/dir$' "$CTD_DIR/before"
	grep -q '^/var/tmp [^ ]* /upper/var/tmp/systemd-private-.*/tmp$' "$CTD_DIR/before"
	for _ in 1 2; do
		ctctl suspend d1
		ctctl resume d1
		goes_on ctctl
	done
	clients_end "$CTD_DIR"
	ctctl fsck
}

is_covered() # SERVICE: it has got its mounts, which is after systemd-run's answer
{
	inside ctctl sh -c "grep -q ' /home .* - tmpfs ' /proc/\$(systemctl show -P MainPID $1)/mountinfo"
}

@test "what a service has over a native directory is refused where it would be lost, and it runs on" {
	inside ctctl systemd-run -q --unit=lost -p ProtectHome=tmpfs sleep infinity
	wait_for 60 is_covered lost
	run ! ctctl suspend d1
	echo "$output"
	[[ $output == *'"/home" inside is a mount of a kind that is not kept'* ]]
	inside ctctl systemctl stop lost
}
