#!/usr/bin/env bats
# host: deadline=900
# More of what a hostile tenant tries from inside (see host-hostile.bats), and what a user of the host tries.
load lib

setup_file()
{
	ctd_setup
	tiny_template
	ctctl create mallory --template tiny --start
	ctctl create neighbour --template tiny --start
	ctctl show mallory >/dev/null # ctd keeps open what it has counted once
	ctctl show neighbour >/dev/null
	ctctl exec mallory -- sh -c 'cat >/probe && chmod 755 /probe && mkdir /probe-mnt' <"$CTD_BUILD/libct/probe"
}

teardown_file()
{
	ctd_teardown
}

setup()
{
	world_save
}

teardown()
{
	world_check
}

inside() # COMMAND...: in mallory
{
	ctctl exec mallory -- "$@" </dev/null
}

upper() # NAME: the container's own layer
{
	echo "$CTD_STATE/fs/containers/$(ctctl show "$1" --json | jq -r .ctid)/upper"
}

# A user of the host who is nobody special.
as_user()
{
	setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$@"
}

@test "in /proc and /sys root can open for writing what is of its own namespaces, and nothing else" {
	# opened, not written to; pid_max is the pid namespace's where root may (Linux 6.14), boot_id is the container's own file
	# shellcheck disable=SC2016 # for the container
	inside sh -c 'find /proc/[a-z]* /sys ! -path "/sys/fs/cgroup/*" ! -path "/proc/self/*" ! -path "/proc/thread-self/*" -type f 2>/dev/null | while read -r f; do
		if true >>"$f"; then echo "$f"; fi 2>/dev/null; done' 2>/dev/null >"$BATS_TEST_TMPDIR/open"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/open")" -gt 20 ] # it did look
	run grep -vE '^/proc/sys/(net/|kernel/(shm|msg|sem|auto_msgmni|hostname$|domainname$|ns_last_pid$|pid_max$|random/boot_id$)|fs/mqueue/|user/max_)' "$BATS_TEST_TMPDIR/open"
	echo "$output"
	[ -z "$output" ]
}

@test "setuid programs of a tenant, and its files, are out of reach for users of the host" {
	inside /probe install /tmp/suid 4755
	file=$(upper mallory)/tmp/suid
	[ -u "$file" ]
	run as_user stat "$file"
	[ "$status" -ne 0 ]
	run as_user ls "$CTD_STATE"
	[ "$status" -ne 0 ]
	pid=$(ctctl show mallory --json | jq -r .pid)
	run as_user ls "/proc/$pid/root/tmp"
	[ "$status" -ne 0 ]
	run as_user cat "/proc/$pid/environ"
	[ "$status" -ne 0 ]
	run as_user "$(ctd_program ctctl)" list
	[ "$status" -eq 6 ] || [ "$status" -eq 7 ]
	[ "$(stat -c %a "$CTD_STATE")" = 700 ]
	[ "$(stat -c %a "$CTD_STATE/fs")" = 700 ]
	[ "$(stat -c %a "$CTD_SOCKET")" = 600 ]
	inside rm /tmp/suid
}

# What can be taken from who joins is libct's test: here the robber finds the tenant's own daemons as well.
@test "1,000 commands while a tenant stops and robs whoever comes in: all are served, nothing stays" {
	ctctl exec mallory -- /probe rob 10 >/dev/null </dev/null 3>&- 4>&- &
	robber=$!
	for ((n = 0; n < 1000; n++)); do
		timeout 60 "$(ctd_program ctctl)" exec mallory -- /probe exit 0 </dev/null || echo "exec $n: $?" # the robber knows its own
	done >"$BATS_TEST_TMPDIR/failed" 2>&1
	wait "$robber" || true # killed, if it held one that had ended
	sort "$BATS_TEST_TMPDIR/failed" | uniq -c | head -20
	[ ! -s "$BATS_TEST_TMPDIR/failed" ]
	ctctl exec mallory -- /probe stop 5 >/dev/null </dev/null 3>&- 4>&- &
	stopper=$!
	for ((n = 0; n < 20; n++)); do
		timeout 60 "$(ctd_program ctctl)" exec neighbour -- /bin/true </dev/null # a neighbour does not wait for it
		timeout -k 1 3 "$(ctd_program ctctl)" exec mallory -- /bin/true </dev/null || true
	done
	wait "$stopper" || true
	ctctl restart mallory
	ctctl show mallory >/dev/null
	[ "$(inside hostname)" = mallory ]
}

@test "who traces a command and takes no notice of its end cannot keep a container from ending" {
	ctctl exec mallory -- /probe rob 120 >/dev/null 2>&1 </dev/null 3>&- 4>&- &
	sleep 1
	run inside sleep 2 # long enough to be traced
	[ "$status" -eq 0 ]
	ctctl exec mallory -- /probe rob 120 >/dev/null 2>&1 </dev/null 3>&- 4>&- &
	sleep 1
	inside sleep 2 &
	sleep 1
	begin=$SECONDS
	ctctl kill mallory
	[ $((SECONDS - begin)) -lt 20 ]
	[ "$(ctctl show mallory --json | jq -r .state)" = stopped ]
	wait
	ctctl start mallory
	ctctl show mallory >/dev/null
}

@test "root of a container cannot raise what its user may have, or leave its cgroup" {
	run inside sh -c 'echo 999999 >/proc/sys/user/max_inotify_instances'
	[ "$status" -ne 0 ]
	run inside sh -c 'echo 1 >/sys/fs/cgroup/../cgroup.procs'
	inside sh -c 'for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cgroup.freeze /sys/fs/cgroup/cgroup.kill; do
		[ ! -e $f ] || { true >>$f; } 2>/dev/null && [ -e $f ] && echo "$f"; done; true' >"$BATS_TEST_TMPDIR/cgroup"
	[ ! -s "$BATS_TEST_TMPDIR/cgroup" ]
	[ "$(inside cat /proc/self/cgroup | tail -n 1)" = 0::/ ]
}
