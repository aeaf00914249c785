#!/usr/bin/env bats
# fsck finds and mends each kind of difference: each is planted here.
load lib

setup_file()
{
	ctd_setup
	tiny_template
	ctctl create up --template tiny --start
	ctctl create down --template tiny
}

teardown_file()
{
	ctd_teardown
}

db()
{
	sqlite3 "$CTD_STATE/ctd.db" "$1"
}

# found KIND: fsck reports it; mended: with --repair it goes away.
found()
{
	run ctctl fsck
	[ "$status" -ne 0 ]
	[[ "$output" == *"$1"* ]] || { echo "$output" && return 1; }
}

mended()
{
	ctctl fsck --repair || true
	clean() { ctctl fsck; }
	wait_for 10 clean
}

@test "nothing is found where nothing is wrong" {
	ctctl fsck
}

@test "a cgroup without a container" {
	mkdir "$(cgroup_mount)/ctd-$(ctd_tag)/c-0123456789abcdef0123456789abcdef"
	found cgroup
	mended
	[ ! -e "$(cgroup_mount)/ctd-$(ctd_tag)/c-0123456789abcdef0123456789abcdef" ]
}

@test "a disk without a container" {
	mkdir -p "$CTD_STATE/fs/containers/0123456789abcdef0123456789abcdef/upper"
	found disk
	mended
	[ ! -e "$CTD_STATE/fs/containers/0123456789abcdef0123456789abcdef" ]
}

@test "a template without a record" {
	# a sweep that an earlier repair asked for may still come, and takes it away before fsck looks
	plant_and_find() { mkdir -p "$CTD_STATE/fs/templates/$(printf 'b%.0s' {1..64})/root" && found template; }
	wait_for 30 plant_and_find
	mended
}

@test "a link without a container" {
	ip link add "v$(ctd_tag)zz.0" type veth peer name stray0
	found link
	mended
	[ ! -e "/sys/class/net/v$(ctd_tag)zz.0" ]
}

@test "a running container whose interface was deleted from inside" {
	ctctl exec up -- ip link del eth0
	found up
	mended
	ctctl exec up -- ip addr show eth0 | grep -q "$(ctctl show up --json | jq -r '.addresses[0]')"
}

@test "an address that is not leased" {
	db "DELETE FROM address WHERE ctid = (SELECT ctid FROM container WHERE name = 'down')"
	found lease
	mended
}

@test "the mark broken" {
	db "UPDATE container SET broken = 'planted' WHERE name = 'down'"
	ctd_stop
	ctd_start
	run ctctl start down
	[ "$status" -eq 4 ]
	found broken
	mended
	ctctl start down
	ctctl kill down
}

@test "an init that no container claims, and a container without its init" {
	pid=$(ctctl show up --json | jq .pid)
	ctd_stop
	db "UPDATE run SET slot = NULL, state = 'stopped' WHERE ctid = (SELECT ctid FROM container WHERE name = 'up')"
	ctd_start
	gone() { [ ! -e "/proc/$pid" ]; }
	wait_for 10 gone
	mended
	ctctl start up
	[ "$(ctctl exec up -- hostname)" = up ]
}

@test "a create that was cut off" {
	ctctl create half --template tiny
	ctd_stop
	db "UPDATE container SET complete = 0 WHERE name = 'half'; INSERT INTO job (verb, ctid, object, params, created)
		SELECT 'create', ctid, name, '{}', 1 FROM container WHERE name = 'half'"
	ctd_start
	run ctctl show half
	[ "$status" -eq 3 ]
	mended
}

@test "a database that does not read is said clearly" {
	ctd_stop
	cp "$CTD_STATE/ctd.db" "$CTD_STATE/keep.db"
	dd if=/dev/urandom of="$CTD_STATE/ctd.db" bs=512 count=8 conv=notrunc 2>/dev/null
	run timeout 120 "$(ctd_program ctd)" --state "$CTD_STATE" --runtime "$CTD_RUNTIME" --foreground
	[ "$status" -eq 1 ]
	[[ "$output" == *ctd.db* ]]
	mv "$CTD_STATE/keep.db" "$CTD_STATE/ctd.db"
	rm -f "$CTD_STATE/ctd.db-wal" "$CTD_STATE/ctd.db-shm"
	ctd_start
	ctctl fsck
}
