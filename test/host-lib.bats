#!/usr/bin/env bats
# What the helpers and the isolation of the system tests promise, without a ctd: a leak check that sees nothing would pass everything.
load lib

setup()
{
	export CTD_DIR=$BATS_TEST_TMPDIR CTD_STATE=$BATS_TEST_TMPDIR/state CTD_RUNTIME=$BATS_TEST_TMPDIR/run CTD_SOCKET=$BATS_TEST_TMPDIR/sock
	mkdir -p "$CTD_STATE"
	sqlite3 "$CTD_STATE/ctd.db" "CREATE TABLE address (address); CREATE TABLE project (id); CREATE TABLE container (name);
		CREATE TABLE run (slot); CREATE TABLE job (verb, finished); CREATE TABLE meta (key, value);
		INSERT INTO meta VALUES ('tag', 'lib-test-$$')"
}

ctctl() # fsck has its own tests
{
	true
}

@test "an unchanged world passes" {
	world_save
	world_check
}

@test "a left link is seen" {
	world_save
	ip link add left0 type veth peer name left1
	run world_check 0
	ip link del left0
	[ "$status" -ne 0 ]
	[[ "$output" == *"> link left0"* ]]
	world_check
}

@test "rules that cannot be listed are no rules to compare with" {
	world_save
	nft() { echo "no such thing" >&2 && return 1; }
	run world_check 0
	unset -f nft
	[ "$status" -ne 0 ]
	[[ "$output" == *"> nft failed at "*"no such thing"* ]]
	world_check
}

@test "a left mount is seen" {
	world_save
	mount -t tmpfs left "$CTD_STATE"
	run world_show
	umount "$CTD_STATE"
	[[ "$output" == *"mount "*"tmpfs left"* ]]
}

@test "a left process is seen" {
	world_save
	socat PIPE PIPE 3>&- &
	is_seen() { [ -n "$(lib_processes_of socat)" ]; }
	wait_for 30 is_seen
	run world_check 0
	kill %1
	[ "$status" -ne 0 ]
	[[ "$output" == *"process 1 × socat"* ]]
}

@test "a left cgroup is seen" {
	local dir
	dir=$(cgroup_mount)/ctd-$(ctd_tag)
	world_save
	mkdir "$dir"
	run world_check 0
	rmdir "$dir"
	[ "$status" -ne 0 ]
	[[ "$output" == *"> cgroup $dir"* ]]
}

@test "a left filter and a left lease are seen" {
	world_save
	nft add table inet left
	sqlite3 "$CTD_STATE/ctd.db" "INSERT INTO address VALUES ('192.0.2.9')"
	run world_check 0
	nft delete table inet left
	[ "$status" -ne 0 ]
	[[ "$output" == *"table inet left"* ]]
	[[ "$output" == *"lease address|192.0.2.9"* ]]
}

@test "a left file in the state directory is seen" {
	world_save
	touch "$CTD_STATE/left"
	run world_check 0
	[ "$status" -ne 0 ]
	[[ "$output" == *"> file left"* ]]
}

@test "an unclean fsck fails the check" {
	ctctl() { echo "project 7 has no owner"; return 1; }
	world_save
	run world_check 0
	[ "$status" -ne 0 ]
	[[ "$output" == *"project 7 has no owner"* ]]
}

@test "the outside is reached through the uplink only" {
	uplink_up
	ping -c 1 -W 10 198.51.100.1
	ping -c 1 -W 10 2001:db8:1::1
	uplink_down
	run ping -c 1 -W 1 198.51.100.1
	[ "$status" -ne 0 ]
}

@test "isolated takes processes, mounts and files with it" {
	local before after dir
	before=$(lib_processes_of sleep | wc -l)
	run "$CTD_TREE/test/isolated" bash -c 'echo "$CTD_TEST_DIR"; mount -t tmpfs x /mnt; touch "$CTD_TEST_DIR/file"; setsid sleep 1000 & exit 7' 3>&-
	[ "$status" -eq 7 ]
	dir=${lines[0]}
	[ ! -e "$dir" ]
	run ! mountpoint -q /mnt
	after=$(lib_processes_of sleep | wc -l)
	[ "$before" = "$after" ]
}

@test "the helpers refuse to work on a host that is not the test's" {
	run env -u CTD_TEST_ISOLATED -u LAB_FLAVOUR bash -c '. "$CTD_TREE/test/lib.bash"; ctd_setup'
	[ "$status" -ne 0 ]
	[[ "$output" == *"test/isolated"* ]]
}
