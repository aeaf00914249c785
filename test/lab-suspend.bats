#!/usr/bin/env bats
# lab: script deadline=900
# A container's processes go to disk and come back: counting where they stopped, confined as they were, under kills of the daemon too. All tests share
# one container: it is restored again and again, which is a test of its own.
load lib

setup_file()
{
	uplink_up
	outside ip route add 10.7.0.1 via 192.0.2.2
	ctd_setup
	tiny_template
	world_save
	ctctl create one --template tiny --net routed,ip=10.7.0.1 --net nat --memory 100M --processes 50 --hostname onehost --start
	# shellcheck disable=SC2016 # for that shell
	ctctl exec one -- sh -c 'echo kept >/dev/shm/x
		printf "#!/bin/sh\ni=0; while :; do i=\$((i + 1)); echo \$i; sleep 0.1; done\n" >/bin/counter; chmod 755 /bin/counter
		(nc -l -p 7000 -e /bin/counter) >/dev/null 2>&1 </dev/null &
		(nc -ll -p 7001 -e /bin/hostname) >/dev/null 2>&1 </dev/null &'
	on_shm setfacl -m user:1000:r
}

on_shm() # COMMAND...: of the lab's, by the container's root, for its file in a tmpfs
{
	local init
	init=$(ctctl show one --json | jq .pid)
	nsenter --user --target "$init" -- "$@" "/proc/$init/root/dev/shm/x"
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

is() # STATE
{
	[ "$(ctctl show one --json | jq -r .state)" = "$1" ]
}

images() # where they are while it is suspended
{
	echo "$CTD_STATE/fs/containers/$(ctctl show one --json | jq -r .ctid)/suspended"
}

cgroup_of_one()
{
	echo "$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show one --json | jq -r .ctid)"
}

# All that confines: what the kernel says of init, and where its mounts are; and its interfaces.
confinement()
{
	local pid
	pid=$(ctctl show one --json | jq -r .pid)
	grep -E '^(Uid|Gid|Groups|NoNewPrivs|Seccomp|Cap[A-Z][a-z]+):' "/proc/$pid/status"
	cat "/proc/$pid/uid_map" "/proc/$pid/gid_map" "/proc/$pid/cgroup"
	awk '{ print $5, $6 }' "/proc/$pid/mountinfo" | sort
	(cd "$(cgroup_of_one)" && head memory.max pids.max && getfattr -d -m trusted.ctd . | sed 's/=.*//')
	ctctl exec one -- sh -c 'ip addr; ip route' | sed 's/^[0-9]*: //; s/@if[0-9]*//; s/link-netnsid.*//; s/valid_lft.*//; s/ tentative//'
}

says() # TEXT: the container, on its console
{
	ctctl exec one -- sh -c "echo '$1' >/dev/console"
	wait_for 30 said_last "$1"
}

said_last() # TEXT, perhaps behind a prompt
{
	[[ $(ctctl log one | tail -n 1) == *"$1"$'\r' ]]
}

received_beyond() # NUMBER
{
	[ "$(tail -n 1 "$CTD_DIR/stream")" -gt "$1" ]
}

used()
{
	ctctl usage one --json | jq '.containers[0] | if .sum == .total then .total else error("the parts are not the whole") end'
}

# Nothing has become less since it was looked at last, and nothing is missing.
used_more()
{
	used >"$CTD_DIR/used.now"
	jq -e --slurpfile before "$CTD_DIR/used" '. as $now | .gap_usec == 0 and ($before[0] | to_entries | all(.value <= $now[.key]))' "$CTD_DIR/used.now" ||
		{ jq -c . "$CTD_DIR/used" "$CTD_DIR/used.now" && return 1; }
	mv "$CTD_DIR/used.now" "$CTD_DIR/used"
}

greets()
{
	[ "$(outside timeout 5 bash -c "cat </dev/tcp/10.7.0.1/7001")" = onehost ]
}

refused() # WITH ITS WORDS
{
	local output
	! output=$(ctctl suspend one 2>&1) || return 1
	[[ $output == *"$1"* ]] || { echo "$output" && return 1; }
	is running
	wait_for 30 greets
}

# A process that nobody waits for, and that is "sleep" at last.
leave() # SHELL LINE
{
	ctctl exec one -- sh -c "($1; exec sleep 1000) >/dev/null 2>&1 </dev/null &"
	wait_for 30 ctctl exec one -- pidof sleep
}

has_no_sleep()
{
	! ctctl exec one -- pidof sleep
}

leave_no() # such process
{
	ctctl exec one -- killall sleep
	wait_for 30 has_no_sleep
}

@test "what would come back without its masks is refused, and it runs on" {
	wait_for 30 greets
	for line in "cd /proc/sys" "cd /proc/1/net" "exec 7</sys/devices/virtual" \
		"mkdir /sys/fs/cgroup/.x; echo 0 >/sys/fs/cgroup/.x/cgroup.procs && cd /proc/sys"; do
		leave "$line"
		refused "has a directory of /proc or /sys open"
		leave_no
	done
	for what in "/proc /proc" "/proc/sys /mnt/v" "/sys/devices/virtual /mnt/v" "/sys /mnt/v"; do
		ctctl exec one -- sh -c "mkdir -p /mnt/v && mount -o rbind $what"
		refused "is a mount of a kind that is not kept"
		ctctl exec one -- umount -l "${what#* }"
	done
	ctctl exec one -- mount -t tmpfs none /sys
	refused '"/sys" inside is a mount of a kind that is not kept'
	ctctl exec one -- umount /sys
}

@test "what would be lost is refused with the way out, and it runs on" {
	ctctl exec one -- mount -t tmpfs none /proc/sys
	run ! ctctl suspend one
	[[ $output == *'cannot suspend "one": "/proc/sys"'*"unmount it"* ]]
	is running
	ctctl exec one -- umount /proc/sys
	# over a native directory
	ctctl exec one -- sh -c 'grep -q " [^ ]*/upper/home /home " /proc/self/mountinfo && mkdir -p /srv/x && echo kept >/home/x'
	for what in "-t tmpfs none" "--bind /srv/x"; do
		ctctl exec one -- sh -c "mount $what /home"
		refused '"/home" inside'
		ctctl exec one -- umount /home
	done
	[ "$(ctctl exec one -- cat /home/x)" = kept ]
	ctctl exec one -- sleep 1000 </dev/null >/dev/null 2>&1 3>&- 4>&- &
	wait_for 30 ctctl exec one -- pidof sleep
	run ! ctctl suspend one
	[[ $output == *"a command of ctctl exec"* ]]
	ctctl exec one -- killall sleep
	wait $! || true
	is running
	# The store is everybody's, so it must have room for all memory.
	free=$(($(stat -f -c '%a * %S' "$CTD_STATE/fs") / 1048576))
	fallocate -l "$((free - 40))M" "$CTD_STATE/filler"
	refused "and the store has"
	rm "$CTD_STATE/filler"
	# Images that name a file which CRIU makes and removes again would never be resumed.
	leave "cd /root; echo x >a; ln a b; exec 5<a; rm a"
	refused "criu could not dump it"
	leave_no
	ctctl exec one -- rm /root/b
}

refused_images() # that were changed
{
	run ! ctctl resume one
	[[ $output == *'cannot resume "one", which stays suspended (to give its memory up: ctctl resume --discard one)'*"images were changed"* ]]
	is suspended
}

listener() # the process that greets
{
	local process
	for process in $(find "$(cgroup_of_one)" -name cgroup.procs -exec cat {} +); do
		! tr '\0' ' ' <"/proc/$process/cmdline" | grep -q ' 7001 ' || echo "$process"
	done
}

waits() # LISTENER: a connection, to be accepted
{
	[ "$(nsenter --net --target "$1" ss -Hlt 'sport = :7001' | awk '{ print $2 }')" = 1 ]
}

@test "a connection that waits to be accepted is waited for, and refused if nobody accepts it" {
	listener=$(listener)
	kill -STOP "$listener"
	outside timeout 120 bash -c "cat </dev/tcp/10.7.0.1/7001" >"$CTD_DIR/greeting" 3>&- 4>&- &
	client=$!
	wait_for 30 waits "$listener"
	run -5 ctctl suspend one
	[[ $output == *'a connection waits for a program inside to accept it, and would be lost'* ]]
	is running
	waits "$listener"
	[ -z "$(nsenter --net --target "$listener" nft list ruleset)" ]

	events=$(cgroup_of_one)/cgroup.events
	(until grep -qx 'frozen 1' "$events"; do sleep 0.01; done && kill -CONT "$listener") 3>&- 4>&- &
	ctctl suspend one
	is suspended
	ctctl resume one
	wait "$client"
	[ "$(cat "$CTD_DIR/greeting")" = onehost ]
}

@test "it goes on where it was: memory, connections, addresses, confinement; and only from its own images" {
	wait_for 30 greets
	nsenter --target "$CTD_OUTSIDE" --net -- bash -c 'exec cat </dev/tcp/10.7.0.1/7000' >"$CTD_DIR/stream" </dev/null 3>&- 4>&- &
	stream=$!
	wait_for 30 received_beyond 5
	confinement >"$CTD_DIR/before"
	used >"$CTD_DIR/used"
	says "still here"
	ctctl log one >"$CTD_DIR/console"

	ctctl suspend one
	is suspended
	[ ! -e "$(cgroup_of_one)" ]
	used_more
	running=$(jq .running_usec "$CTD_DIR/used")
	stopped=$(tail -n 1 "$CTD_DIR/stream")
	kill -0 "$stream"
	ctctl suspend one # it is already
	run ! ctctl start one
	[[ $output == *'"one": it is suspended (ctctl resume one'* ]]
	run ! ctctl rename one two
	run ! ctctl set one cpus=1
	ctctl fsck

	images=$(images)
	[ "$(stat -c %u "$images")" = 0 ]
	cp "$images/core-1.img" "$CTD_DIR/core"
	printf x | dd of="$images/core-1.img" bs=1 seek=40 conv=notrunc status=none
	refused_images
	cp "$images/mm-1.img" "$images/core-1.img"
	refused_images
	cat "$CTD_DIR/core" >"$images/core-1.img"
	cmp "$CTD_DIR/console" "$images/ct-console"
	printf x | dd of="$images/ct-console" bs=1 seek=1 conv=notrunc status=none
	refused_images
	cat "$CTD_DIR/console" >"$images/ct-console"

	used_more
	[ "$(jq .running_usec "$CTD_DIR/used")" = "$running" ] # it did not while it was suspended
	ctctl resume one
	is running
	wait_for 120 received_beyond "$((stopped + 5))"
	used_more
	[ "$(jq .running_usec "$CTD_DIR/used")" -gt "$running" ]
	[ "$(ctctl exec one -- cat /dev/shm/x)" = kept ]
	[[ $(on_shm getfacl --numeric --omit-header --absolute-names) == *'user:1000:r--'* ]]
	[ "$(ctctl exec one -- hostname)" = onehost ]
	confinement >"$CTD_DIR/after"
	diff "$CTD_DIR/before" "$CTD_DIR/after"
	cmp "$CTD_DIR/console" <(ctctl log one)
	says "here again"
	printf 'here again\r\n' >>"$CTD_DIR/console"
	timeout 5 ctctl console one </dev/null >"$CTD_DIR/seen" || true # it goes on looking
	cmp "$CTD_DIR/console" "$CTD_DIR/seen"
	wait_for 30 greets
	kill "$stream"
	wait "$stream" || true
	sed '$d' "$CTD_DIR/stream" >"$CTD_DIR/got" # the last line may be half of one
	diff <(seq "$(tail -n 1 "$CTD_DIR/got")") "$CTD_DIR/got" # none lost, none twice
	[ ! -e "$images" ]
}

# The daemon is killed when there is a directory or something in a file of the verb's, early or late in its work.
killed_in() # VERB PATH
{
	local daemon end=$((SECONDS + 120))
	daemon=$(ctd_pid)
	ctctl "$1" one >/dev/null 2>&1 3>&- 4>&- &
	until [ -d "$2" ] || grep -qs '' "$2"; do
		[ "$SECONDS" -lt "$end" ]
		sleep 0.01
	done
	kill -9 "$daemon"
	wait "$!" || true
	wait_for 20 lib_is_gone "$daemon"
	ctd_start
	wait_for 60 is_at_rest
}

is_at_rest()
{
	is running || is suspended
}

goes_on()
{
	wait_for 30 greets
	[ "$(ctctl exec one -- cat /dev/shm/x)" = kept ]
}

@test "a daemon that is killed leaves it running or suspended" {
	images=$(images)
	cgroup=$(cgroup_of_one)
	for path in "$images" "$images/inventory.img"; do
		killed_in suspend "$path"
		! is suspended || wait_for 60 ctctl resume one
		goes_on
	done
	for path in "$cgroup" "$cgroup/cgroup.procs"; do
		wait_for 60 ctctl suspend one
		killed_in resume "$path"
		! is suspended || wait_for 60 ctctl resume one
		goes_on
	done
	cmp "$CTD_DIR/console" <(ctctl log one) # as often as it was said
}

# CRIU stands still in the middle of a dump, so that it outlives everybody.
hold_criu()
{
	local images end=$((SECONDS + 120))
	images=$(images)
	ctctl suspend one >/dev/null 2>&1 3>&- 4>&- &
	client=$!
	until [ -e "$images/core-1.img" ]; do
		[ "$SECONDS" -lt "$end" ]
		sleep 0.01
	done
	criu=$(pgrep -x criu)
	kill -STOP "$criu"
	[ "$(cat "/proc/$criu/oom_score_adj")" = -999 ] # the kernel looks elsewhere for memory
}

@test "a dump that goes on after the daemon was killed ends with a container that runs" {
	hold_criu
	daemon=$(ctd_pid)
	kill -9 "$daemon"
	wait_for 20 lib_is_gone "$daemon"
	ctd_start
	kill -CONT "$criu"
	wait "$client" || true
	wait_for 60 lib_is_gone "$criu"
	goes_on
	is running
}

@test "a dump under which CRIU is killed ends with a container that runs, with its network" {
	hold_criu
	kill -9 "$criu"
	wait "$client" && false
	wait_for 60 is_at_rest
	is running
	goes_on
	ctctl suspend one
	ctctl resume one
	goes_on
}

@test "a dump under which ct-keeper is killed ends with a container that runs or is suspended" {
	hold_criu
	keeper=$(keeper_pid)
	kill -9 "$keeper"
	wait_for 20 lib_is_gone "$keeper"
	kill -CONT "$criu"
	wait "$client" || true
	wait_for 60 is_at_rest
	! is suspended || wait_for 60 ctctl resume one
	goes_on
}

@test "one that was resumed and has taken its /proc away is not suspended again" {
	ctctl exec one -- umount -l /proc
	refused '"/proc" or "/sys" is not mounted inside'
	ctctl stop one --timeout 0
	ctctl start one
}

@test "what was suspended can be given up, or destroyed" {
	ctctl suspend one
	ctctl resume --discard one
	is stopped
	ctctl start one
	run ! ctctl exec one -- test -e /dev/shm/x
	ctctl suspend one
	ctctl destroy one
	run ! ctctl show one
	world_check
}
