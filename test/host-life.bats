#!/usr/bin/env bats
# The life of a container through ctctl: every verb, its exit code, what it leaves.
load lib

setup_file()
{
	ctd_setup
	tiny_template
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

state_of()
{
	ctctl show "$1" --json | jq -r .state
}

@test "create without a name makes one and prints it" {
	name=$(ctctl create --template tiny)
	[[ "$name" == ct-* ]]
	[ "$(state_of "$name")" = stopped ]
	ctctl destroy "$name"
	run ctctl show "$name"
	[ "$status" -eq 3 ]
}

@test "create, start, stop, destroy" {
	ctctl create web --template tiny
	ctctl start web
	[ "$(state_of web)" = running ]
	[ "$(ctctl exec web -- hostname)" = web ]
	ctctl stop web
	[ "$(state_of web)" = stopped ]
	ctctl destroy web
}

@test "a start says where its time went, and the parts are the whole" {
	ctctl create traced --template tiny
	run ctctl start traced --trace
	[ "$status" -eq 0 ]
	echo "$output"
	[ "$(awk 'NR > 1 { print $1 }' <<<"$output" | paste -sd ' ')" = \
		"job check namespaces disk files cgroup network clone mounts seccomp exec keeper state call all" ]
	awk 'NR == 1 { next } $1 == "all" { all = $2; next } { sum += $2 } END { exit !(sum > 0.9 * all && sum < 1.1 * all) }' <<<"$output"
	# none of these can be had for nothing
	for phase in job disk network clone mounts exec call; do
		awk -v phase="$phase" '$1 == phase { found = $2 > 0 } END { exit !found }' <<<"$output"
	done
	[ "$(ctctl start traced --trace)" = '"traced" was running already' ]
	ctctl stop traced
	ctctl start traced --trace --json | jq -e '.state == "running" and .trace.total_us == ([.trace.phases[].us] | add)'
	ctctl restart traced
	[ "$(ctctl show traced --json | jq 'has("trace")')" = false ]
	ctctl destroy traced --force
}

@test "start and stop twice do no harm" {
	ctctl create twice --template tiny --start
	pid=$(ctctl show twice --json | jq .pid)
	ctctl start twice
	[ "$(ctctl show twice --json | jq .pid)" = "$pid" ]
	ctctl kill twice
	ctctl stop twice
	ctctl destroy twice
}

@test "a name, a hostname, an address, a key and a template are checked" {
	run ctctl create Bad_Name --template tiny
	[ "$status" -eq 2 ]
	[[ "$output" == *"a name must be"* ]]
	run ctctl create ok --template tiny --hostname -bad-
	[ "$status" -eq 2 ]
	[[ "$output" == *hostname* ]]
	run ctctl create ok --template nosuch
	[ "$status" -eq 3 ]
	[[ "$output" == *"ctctl template"* ]]
	run ctctl create ok --template tiny --net routed --ip 300.1.1.1
	[ "$status" -eq 2 ]
	run ctctl create ok --template tiny --ssh-key 'command="x" ssh-ed25519 AAAA'
	[ "$status" -eq 2 ]
	run ctctl create ok --template tiny --nonsense
	[ "$status" -eq 2 ]
	[ -z "$(ctctl list -q)" ]
}

@test "a name and an address have one owner" {
	ctctl create one --template tiny --net routed --ip 192.0.2.77
	run ctctl create one --template tiny
	[ "$status" -eq 4 ]
	run ctctl create two --template tiny --net routed --ip 192.0.2.77
	[ "$status" -eq 4 ]
	[[ "$output" == *192.0.2.77* ]]
	[ "$(ctctl list -q)" = one ]
	ctctl destroy one
}

@test "of two creates of one name one wins" {
	ctctl create race --template tiny 2>/dev/null &
	ctctl create race --template tiny 2>/dev/null &
	won=0
	for pid in $(jobs -p); do wait "$pid" && won=$((won + 1)); done
	[ "$won" -eq 1 ]
	ctctl destroy race
}

@test "a create that cannot start leaves nothing" {
	ctctl create holder --template tiny
	before=$(ls "$CTD_STATE/fs/containers")
	run ctctl create broken --template tiny --start --net nat,name=bad/name
	[ "$status" -ne 0 ]
	[ "$(ls "$CTD_STATE/fs/containers")" = "$before" ]
	ctctl destroy holder
}

@test "destroy refuses what runs, unless forced" {
	ctctl create busy --template tiny --start
	run ctctl destroy busy
	[ "$status" -eq 4 ]
	[[ "$output" == *--force* ]]
	ctctl destroy busy --force
}

@test "a disk that cannot be removed at once is removed later" {
	ctctl create busy --template tiny
	disk=$CTD_STATE/fs/containers/$(ctctl show busy --json | jq -r .ctid)
	mount --bind "$disk" "$disk"
	ctctl destroy busy
	run -3 ctctl show busy
	[ -e "$disk" ]
	umount "$disk"
	wait_for 60 test ! -e "$disk"
}

@test "rename keeps everything but the name" {
	ctctl create old --template tiny --start
	ctid=$(ctctl show old --json | jq -r .ctid)
	ctctl rename old new
	[ "$(ctctl show new --json | jq -r .ctid)" = "$ctid" ]
	[ "$(state_of new)" = running ]
	run ctctl show old
	[ "$status" -eq 3 ]
	ctctl destroy new --force
}

@test "freeze stops it, thaw lets it go on" {
	ctctl create cold --template tiny --start
	ctctl exec cold -- sh -c 'i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.05; done' >/dev/null 2>&1 &
	relay=$!
	pid=$(ctctl show cold --json | jq .pid)
	counts() { [[ $(cat "/proc/$pid/root/tmp/n") =~ [0-9] ]]; }
	wait_for 30 counts
	ctctl freeze cold
	[ "$(state_of cold)" = frozen ]
	a=$(cat "/proc/$pid/root/tmp/n")
	sleep 0.3
	[ "$(cat "/proc/$pid/root/tmp/n")" = "$a" ]
	run ctctl exec cold -- true
	[ "$status" -eq 4 ]
	ctctl thaw cold
	goes_on() { counts && [ "$(cat "/proc/$pid/root/tmp/n")" != "$a" ]; }
	wait_for 30 goes_on
	ctctl freeze cold
	ctctl destroy cold --force
	wait "$relay" || true
}

@test "what cannot be suspended is refused with the reason and the remedy, and runs on" {
	ctctl create nested --template tiny --nesting --start
	run -5 ctctl suspend nested
	[[ $output == *'cannot suspend "nested": it may have containers inside (nesting)'* ]]
	ctctl destroy nested --force
	ctctl create web --template tiny --start
	mapfile -t hidden < <(type -aP criu | xargs -r realpath | sort -u)
	for program in "${hidden[@]}"; do mount --bind /dev/null "$program"; done
	run -5 ctctl suspend web
	doctor=$(ctctl doctor) || true
	for program in "${hidden[@]}"; do umount "$program"; done
	[[ $output == *'cannot suspend "web": there is no criu: install the package criu'* ]]
	[[ $doctor == *"containers cannot be suspended"*"install the package criu"* ]]
	[ "$(state_of web)" = running ]
	ctctl exec web -- true
	ctctl destroy web --force
}

@test "restart gives a new init and keeps the files" {
	ctctl create again --template tiny --start
	ctctl exec again -- sh -c 'echo kept >/root/file'
	pid=$(ctctl show again --json | jq .pid)
	ctctl restart again --timeout 5
	[ "$(ctctl show again --json | jq .pid)" != "$pid" ]
	[ "$(ctctl exec again -- cat /root/file)" = kept ]
	ctctl destroy again --force
}

@test "reboot and poweroff from inside are honoured" {
	ctctl create self --template tiny --start
	pid=$(ctctl show self --json | jq .pid)
	ctctl exec self -- reboot || true # it may be ended by what it asked for
	rebooted() { [ "$(ctctl show self --json | jq -r 'select(.state == "running") | .pid')" != "$pid" ] && [ "$(state_of self)" = running ]; }
	wait_for 20 rebooted
	ctctl exec self -- poweroff || true
	off() { [ "$(state_of self)" = stopped ]; }
	wait_for 20 off
	ctctl destroy self
}

@test "an init that ignores the signal is killed when the time is over" {
	ctctl create stubborn --template tiny --start
	ctctl exec stubborn -- sh -c 'kill -STOP 1' || true
	ctctl freeze stubborn
	ctctl thaw stubborn
	start=$SECONDS
	ctctl stop stubborn --timeout 6
	[ $((SECONDS - start)) -lt 40 ] # without --timeout it would be a minute
	[ "$(state_of stubborn)" = stopped ]
	ctctl destroy stubborn
}

@test "set works on stopped and running containers" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/key"
	ctctl create conf --template tiny
	ctctl set conf --hostname first.example.org --ssh-key "$BATS_TEST_TMPDIR/key.pub"
	printf 'pw-one' | ctctl set conf --password-stdin
	ctctl start conf
	[ "$(ctctl exec conf -- hostname)" = first.example.org ]
	ctctl exec conf -- grep -q '^root:\$y\$' /etc/shadow
	ctctl exec conf -- grep -qF "$(cut -d' ' -f2 "$BATS_TEST_TMPDIR/key.pub")" /root/.ssh/authorized_keys
	ctctl set conf hostname=second
	[ "$(ctctl exec conf -- hostname)" = second ]
	[ "$(ctctl exec conf -- cat /etc/hostname)" = second ]
	ctctl exec conf -- sh -c 'echo mine >>/root/.ssh/authorized_keys'
	ctctl set conf ssh_keys=
	ctctl exec conf -- grep -q mine /root/.ssh/authorized_keys
	run ctctl exec conf -- grep -q ssh-ed25519 /root/.ssh/authorized_keys
	[ "$status" -eq 1 ]
	ctctl set conf autostart=yes
	[ "$(ctctl show conf --json | jq .config.autostart)" != null ]
	run ctctl set conf nosuchkey=1
	[ "$status" -eq 2 ]
	ctctl destroy conf --force
}

# A mount of the tenant's may be one that never answers.
@test "set writes through no mount of the tenant's" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/key"
	ctctl create mnt --template tiny --start
	ctctl exec mnt -- sh -c 'mkdir -p /root/.ssh && mount -t tmpfs none /root/.ssh && mount --bind /proc/meminfo /etc/hostname'
	run -1 ctctl set mnt hostname=other
	[[ $output == *"/etc/hostname in the container: something is mounted there"* ]]
	[ "$(ctctl exec mnt -- hostname)" = mnt ]
	run -1 ctctl set mnt --ssh-key "$BATS_TEST_TMPDIR/key.pub"
	[[ $output == *"/root/.ssh/authorized_keys in the container: something is mounted there"* ]]
	[ "$(ctctl exec mnt -- ls -A /root/.ssh)" = "" ]
	ctctl exec mnt -- sh -c 'mount -t tmpfs none /etc'
	run -1 ctctl set mnt hostname=other
	[ "$(ctctl exec mnt -- ls -A /etc)" = "" ]
	ctctl exec mnt -- umount /etc /etc/hostname /root/.ssh
	ctctl set mnt hostname=other
	[ "$(ctctl exec mnt -- cat /etc/hostname)" = other ]
	ctctl destroy mnt --force
}

# Its init is then on a file system of its own.
@test "set writes to no other root than the disk" {
	ctctl create else --template tiny --start
	init=$(ctctl template show tiny --json | jq -r '.init[0]')
	ctctl exec else -- sh -c "mkdir -p /else && rm $init && cat >$init && chmod 755 $init" <<-'END'
		#!/bin/sh
		mount -t tmpfs none /else && mkdir /else/bin /else/etc && cp /bin/busybox /else/bin && exec chroot /else /bin/busybox sleep 10000
	END
	ctctl restart else --timeout 5
	there() { [ "$(stat -L -f -c %T "/proc/$(ctctl show else --json | jq .pid)/root")" = tmpfs ]; }
	wait_for 20 there
	run -1 ctctl set else hostname=other
	[[ $output == *'the root of "else" is not its disk'* ]]
	[ -z "$(ls -A "/proc/$(ctctl show else --json | jq .pid)/root/etc")" ]
	ctctl destroy else --force
}

@test "what a ctd without notes started is still reached" {
	ctctl create old --template tiny --start
	setfattr -x trusted.ctd.disk "$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show old --json | jq -r .ctid)"
	ctctl set old hostname=other
	[ "$(ctctl exec old -- cat /etc/hostname)" = other ]
	[ "$(ctctl exec old --user root -- sh -c 'echo $HOME')" = /root ]
	ctctl destroy old --force
}

@test "a disabled container does not start" {
	ctctl create off --template tiny --disabled
	run ctctl start off
	[ "$status" -eq 4 ]
	[[ "$output" == *disabled* ]]
	ctctl set off disabled=no
	ctctl start off
	ctctl destroy off --force
}

@test "a request id makes create idempotent" {
	body='{"name":"idem","template":"tiny"}'
	post() { curl -s --unix-socket "$CTD_SOCKET" -H 'X-Request-Id: req-1' -H 'Content-Type: application/json' -d "$body" http://ctd/v1/containers; }
	first=$(post)
	[ "$(post)" = "$first" ]
	[ "$(ctctl list -q)" = idem ]
	ctctl destroy idem
}

@test "200 creates, starts and destroys by 8 clients" {
	client()
	{
		local i
		for i in $(seq 25); do
			ctctl create "p$1-$i" --template tiny --start && ctctl destroy "p$1-$i" --force || exit 1
		done
	}
	pids=
	for n in 1 2 3 4 5 6 7 8; do
		client "$n" 3>&- &
		pids="$pids $!"
	done
	for pid in $pids; do wait "$pid"; done
	[ -z "$(ctctl list -q)" ]
}
