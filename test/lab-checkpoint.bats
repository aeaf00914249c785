#!/usr/bin/env bats
# lab: script deadline=900
# A checkpoint of a container that runs on: it stands still for a moment and goes on; later its disk and its processes are what they were then, both,
# under kills of the daemon too.
load lib

setup_file()
{
	uplink_up
	outside ip route add 10.7.0.1 via 192.0.2.2
	ctd_setup
	tiny_template
	world_save
	create_one dir
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

# It counts in memory, and writes each number behind the last one on the disk: after a restore to one moment none is missing and none is there twice.
create_one() # STORAGE
{
	ctctl create one --template tiny --net routed,ip=10.7.0.1 --memory 100M --processes 50 --hostname onehost --storage "$1" --disk 64M --start
	# shellcheck disable=SC2016 # for that shell
	ctctl exec one -- sh -c 'echo then >/dev/shm/x; echo then >/etc/motd; mkdir /home/in; echo then >/home/in/x; rm -f /etc/shells
		printf "#!/bin/sh\ni=0; while :; do i=\$((i + 1)); echo \$i >>\$1; sleep 0.05; done\n" >/bin/counter; chmod 755 /bin/counter
		(/bin/counter /root/log) >/dev/null 2>&1 </dev/null &
		(/bin/counter /home/log) >/dev/null 2>&1 </dev/null &
		(nc -l -p 7000 -e /bin/cat) >/dev/null 2>&1 </dev/null &
		(nc -ll -p 7001 -e /bin/hostname) >/dev/null 2>&1 </dev/null &'
	wait_for 30 beyond 20
}

count() # of lines that there are
{
	ctctl exec one -- cat "${1:-/root/log}" | sed '$d' | tail -n 1
}

beyond() # NUMBER
{
	[ "$(count)" -gt "$1" ]
}

# Memory and disk agree, on the overlay and past it.
whole()
{
	local log
	for log in /root/log /home/log; do
		ctctl exec one -- cat "$log" | sed '$d' >"$CTD_DIR/got"
		diff <(seq "$(tail -n 1 "$CTD_DIR/got")") "$CTD_DIR/got"
	done
}

is() # STATE
{
	[ "$(ctctl show one --json | jq -r .state)" = "$1" ]
}

checkpoint()
{
	ctctl show one --json | jq -c .checkpoint
}

kept() # paths, in the store
{
	find "$CTD_STATE/fs/checkpoints" -mindepth 1 -maxdepth 1
}

greets()
{
	[ "$(outside timeout 5 bash -c "cat </dev/tcp/10.7.0.1/7001")" = onehost ]
}

# What is otherwise after the checkpoint.
change()
{
	ctctl exec one -- sh -c 'echo now >/dev/console; echo now >/dev/shm/x; echo now >/etc/motd; rm -r /home/in; mkdir -p /etc/own/deep; touch /etc/shells
		mv /bin/counter /bin/counter.now'
}

said() # WORDS: they were, on its console, perhaps behind a prompt, and no more
{
	[ "$(ctctl log one | tr -d '\r' | grep -o 'then$\|now$' | xargs)" = "$*" ]
}

unchanged()
{
	[ "$(ctctl exec one -- sh -c 'cat /dev/shm/x /etc/motd /home/in/x; ls -d /etc/own /etc/shells /bin/counter /bin/counter.now 2>/dev/null' | xargs)" = \
		"then then then /bin/counter" ]
}

back() # it went, from what it was after $now
{
	local then
	ctctl restore --force one
	is running
	then=$(count)
	[ "$then" -lt "$now" ]
	wait_for 60 beyond "$((then + 10))"
	whole
	unchanged
	wait_for 30 greets
	ctctl fsck
}

used()
{
	ctctl show one --json | jq .resources.disk.used
}

@test "it runs on, its connection too, and what is kept is not charged to it" {
	wait_for 30 greets
	# shellcheck disable=SC2016 # for that shell
	nsenter --target "$CTD_OUTSIDE" --net -- bash -c 'exec 5<>/dev/tcp/10.7.0.1/7000; for ((i = 0; ; i++)); do echo $i >&5; read -r -u 5 -t 20 line || exit 1; echo "$line"; sleep 0.05; done' \
		>"$CTD_DIR/echo" 2>/dev/null </dev/null 3>&- 4>&- &
	echo $! >"$CTD_DIR/echo.pid"
	used=$(used)
	before=$(count)
	ctctl exec one -- sh -c 'echo then >/dev/console'
	wait_for 30 said then
	ctctl checkpoint --keep-running one
	is running
	checkpoint
	checkpoint | jq -e '.bytes > 100000 and .disk_bytes > 0 and .frozen_usec > 0 and (.digest | length) == 64'
	[ "$(kept | wc -l)" -eq 1 ]
	[ -z "$(ls "$CTD_STATE/fs/tmp")" ]
	wait_for 60 beyond "$((before + 100))"
	whole
	n=$(wc -l <"$CTD_DIR/echo")
	goes_on() { [ "$(wc -l <"$CTD_DIR/echo")" -gt "$((n + 5))" ]; }
	wait_for 60 goes_on
	ctctl fsck
	[ "$(used)" -lt "$((used + 1000000))" ]
	change
	run -4 ctctl restore --force one
	[[ $output == *'"one": it is running (ctctl stop one first'* ]]
	wait_for 30 said then now
}

@test "it is brought back to that moment, disk and processes" {
	now=$(count)
	exec 9<"/proc/$(ctctl show one --json | jq .pid)/ns/net" # as a socket does that could not say goodbye: its link stays
	ctctl stop one --timeout 0
	run -4 ctctl restore one
	[[ $output == *"would be lost (--force)"* ]]
	back
	exec 9<&-
	wait_for 30 said then
	[ "$(checkpoint)" = null ]
	swept() { [ -z "$(kept)" ] && [ -z "$(ls "$CTD_STATE/fs/trash")" ]; }
	wait_for 30 swept
	# its peer was told of the end
	! kill -0 "$(<"$CTD_DIR/echo.pid")" 2>/dev/null || wait_for 60 lib_is_gone "$(<"$CTD_DIR/echo.pid")"
	# and is again as any other: its size holds, it stops, starts, and can be kept again
	run ! ctctl exec one -- dd if=/dev/zero of=/root/big bs=1M count=80
	ctctl exec one -- rm /root/big
	ctctl suspend one # nor are those charged to it
	[ "$(lsattr -pd "$CTD_STATE/fs/containers/$(ctctl show one --json | jq -r .ctid)/suspended" | awk '{ print $1 }')" = 0 ]
	ctctl resume one
	ctctl restart one --timeout 0
	[ "$(ctctl exec one -- cat /etc/motd)" = then ]
	ctctl exec one -- sh -c 'rm /root/log /home/log; echo then >/dev/shm/x; (/bin/counter /root/log) >/dev/null 2>&1 </dev/null &
		(/bin/counter /home/log) >/dev/null 2>&1 </dev/null & (nc -ll -p 7001 -e /bin/hostname) >/dev/null 2>&1 </dev/null &'
	wait_for 30 beyond 20
}

@test "the next one takes its place; changed images are not used, and then all is as it was" {
	ctctl checkpoint --keep-running one
	first=$(kept)
	ctctl checkpoint --keep-running one
	[ "$(kept | wc -l)" -eq 1 ]
	[ "$(kept)" != "$first" ]
	n=$(count)
	wait_for 30 beyond "$((n + 100))"
	change
	now=$(count)
	ctctl stop one --timeout 0
	image=$(kept)/suspended/core-1.img
	cp "$image" "$CTD_DIR/core"
	printf x | dd of="$image" bs=1 seek=40 conv=notrunc status=none
	run ! ctctl restore --force one
	[[ $output == *'cannot restore "one": '*"images were changed"* ]]
	is stopped
	ctctl fsck
	[ -e "$image" ]
	ctctl start one
	[ "$(ctctl exec one -- cat /etc/motd)" = now ]
	ctctl stop one --timeout 0
	cat "$CTD_DIR/core" >"$image"
	back
}

@test "without room it is refused, and runs on" {
	free=$(($(stat -f -c '%a * %S' "$CTD_STATE/fs") / 1048576))
	fallocate -l "$((free - 40))M" "$CTD_STATE/filler"
	run -5 ctctl checkpoint --keep-running one
	rm "$CTD_STATE/filler"
	[[ $output == *'cannot checkpoint "one": its disk and memory take'* ]]
	is running
	[ -z "$(kept)" ] && [ -z "$(ls "$CTD_STATE/fs/tmp")" ]
}

# Begins it, until there is something of that name.
begin_until() # PATTERN COMMAND...
{
	local pattern=$1 end=$((SECONDS + 120))
	ctctl "${@:2}" >"$CTD_DIR/told" 2>&1 3>&- 4>&- &
	until compgen -G "$pattern" >/dev/null; do
		[ "$SECONDS" -lt "$end" ]
		kill -0 "$!" 2>/dev/null || break
	done
}

runs_on()
{
	local n
	wait_for 60 is running
	n=$(count)
	wait_for 60 beyond "$((n + 10))"
	swept() { [ -z "$(ls "$CTD_STATE/fs/tmp")" ]; }
	wait_for 30 swept
	ctctl fsck
	wait_for 30 greets
}

@test "a worker that dies, or a cancel, leaves it running" {
	for at in upper suspended/rounds/1 suspended/core-1.img; do
		begin_until "$CTD_STATE/fs/tmp/*-*/$at" checkpoint --keep-running one
		killed=no
		! kill -9 "$(pgrep -f 'ct-worker checkpoint')" || killed=yes
		wait "$!" && killed=no
		[ "$killed" = no ] || grep "one" "$CTD_DIR/told"
		runs_on
	done
	[ "$(kept | wc -l)" -le 1 ]
	before=$(kept)
	begin_until "$CTD_STATE/fs/tmp/*-*/upper" checkpoint --keep-running one
	worker=$(pgrep -f 'ct-worker checkpoint')
	kill -STOP "$worker"
	ctctl job cancel "$(ctctl job list --open --json | jq '.jobs[0].id')"
	kill -CONT "$worker"
	! wait "$!" || false
	grep "checkpoint was cancelled" "$CTD_DIR/told"
	runs_on
	[ "$(kept)" = "$before" ]
	whole
}

# The daemon is killed when there is something of that name.
killed_at() # PATTERN COMMAND...
{
	local daemon
	daemon=$(ctd_pid)
	begin_until "$@"
	kill -9 "$daemon"
	wait "$!" || true
	wait_for 20 lib_is_gone "$daemon"
	ctd_start
}

@test "a daemon that is killed leaves it running, and the checkpoint that there was" {
	ctctl checkpoint --keep-running one
	first=$(kept)
	for at in "upper" "suspended/rounds/1" "suspended/core-1.img" "suspended/inventory.img"; do
		killed_at "$CTD_STATE/fs/tmp/*-*/$at" checkpoint --keep-running one
		runs_on
		[ "$(kept | wc -l)" -eq 1 ]
	done
	[ "$(kept)" = "$first" ] || [ "$(checkpoint)" != null ] # it was whole before a kill
	whole
}

@test "a daemon that is killed over a restore leaves it stopped as it was, or running from there" {
	ctid=$(ctctl show one --json | jq -r .ctid)
	for at in "$CTD_STATE/fs/containers/$ctid/copy" "$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$ctid"; do
		ctctl exec one -- sh -c 'echo now >/etc/motd'
		now=$(count)
		ctctl stop one --timeout 0
		killed_at "$at" restore --force one
		settled() { is running || is stopped; }
		wait_for 60 settled
		wait_for 60 ctctl fsck
		if is stopped; then
			[ ! -e "$CTD_STATE/fs/containers/$ctid/copy" ]
			[ "$(kept | wc -l)" -eq 1 ]
			ctctl start one
			[ "$(ctctl exec one -- cat /etc/motd)" = now ]
			ctctl stop one --timeout 0
			wait_for 60 ctctl restore --force one
		fi
		unchanged
		whole
		ctctl checkpoint --keep-running one
	done
}

@test "it can be given up, goes with its container, and is the same with an image" {
	ctctl restore --discard one
	[ -z "$(kept)" ]
	is running
	ctctl destroy one --force
	create_one image
	ctctl checkpoint --keep-running one
	checkpoint
	n=$(count)
	wait_for 30 beyond "$((n + 100))"
	whole
	change
	now=$(count)
	ctctl stop one --timeout 0
	ctctl set one disk=80M
	run -4 ctctl restore --force one
	[[ $output == *"its disk image had another size then"* ]]
	ctctl set one disk=64M
	back
	ctctl checkpoint --keep-running one
	ctctl destroy one --force
	[ -z "$(kept)" ]
	ctctl fsck
	world_check
}
