#!/usr/bin/env bats
# A full disk: errors that say so, nothing left, and what runs runs on.
load lib

setup_file()
{
	truncate -s 96M "$CTD_TEST_DIR/disk"
	mkfs.ext4 -q -m 0 "$CTD_TEST_DIR/disk"
	mkdir -p "$CTD_TEST_DIR/small"
	mount -o loop "$CTD_TEST_DIR/disk" "$CTD_TEST_DIR/small"
	export CTD_ALL_TESTS=$CTD_TEST_DIR
	CTD_TEST_DIR=$CTD_TEST_DIR/small ctd_setup
	tiny_template
	ctctl create runs --template tiny --start
}

teardown_file()
{
	rm -f "$CTD_ALL_TESTS/small/filler"
	CTD_TEST_DIR=$CTD_ALL_TESTS/small ctd_teardown
	umount "$CTD_ALL_TESTS/small"
}

fill()
{
	dd if=/dev/zero of="$CTD_ALL_TESTS/small/filler" bs=64k 2>/dev/null || true
	dd if=/dev/zero of="$CTD_ALL_TESTS/small/filler" bs=512 oflag=append conv=notrunc 2>/dev/null || true
	sync
}

drain()
{
	rm -f "$CTD_ALL_TESTS/small/filler"
	sync
}

@test "create and template build on a full disk" {
	before=$(find "$CTD_STATE/fs" -mindepth 2 -maxdepth 2 | sort)
	fill
	run ctctl template build tiny --name other
	template=$status
	for i in $(seq 300); do
		run ctctl create "full$i" --template tiny
		[ "$status" -eq 0 ] || break
	done
	create=$status said=$output
	[ "$(ctctl exec runs -- hostname)" = runs ]
	drain
	[ "$template" -ne 0 ]
	[ "$create" -ne 0 ]
	echo "$said" >&2
	[[ "$said" == *[Nn]"o space"* ]]
	ctctl list -q | grep '^full' | xargs -r -n 50 "$(ctd_program ctctl)" destroy
	settled() { [ "$(find "$CTD_STATE/fs" -mindepth 2 -maxdepth 2 | sort)" = "$before" ]; }
	wait_for 15 settled || { diff <(echo "$before") <(find "$CTD_STATE/fs" -mindepth 2 -maxdepth 2 | sort) && false; }
	ctctl fsck
}

@test "ctd lives through a full disk and works again after it" {
	fill
	ctctl list -q >/dev/null
	ctctl stop runs --timeout 5 || true
	drain
	stopped() { ctctl stop runs --timeout 5 && [ "$(ctctl show runs --json | jq -r .state)" = stopped ]; }
	wait_for 15 stopped
	ctctl start runs
	[ "$(ctctl exec runs -- hostname)" = runs ]
	ctctl fsck
}

@test "ctd starts with a damaged ledger on a full disk, and begins one when there is room" {
	asides() { find "$CTD_STATE" -maxdepth 1 -name 'ledger.db.damaged-*Z*' | wc -l; }
	events() { ctctl events --limit 10000 --json | jq '[.events[] | select(.type == "ledger.damaged")] | length'; }
	ctd_kill
	dd if=/dev/urandom of="$CTD_STATE/ledger.db" bs=4096 count=3 conv=notrunc status=none
	rm -f "$CTD_STATE"/ledger.db-wal "$CTD_STATE"/ledger.db-shm
	fill
	ctd_start
	[ "$(ctctl exec runs -- hostname)" = runs ]
	run ! ctctl usage runs
	sleep 3 # it has tried again meanwhile
	run ! ctctl usage runs
	[ "$(asides)" = 1 ]
	[ ! -e "$CTD_STATE/ledger.db" ]
	[ "$(events)" -le 1 ]

	# Nor is anything charged again if it is killed before there is room.
	ctd_kill
	ctd_start
	drain
	wait_for 60 ctctl usage runs
	[ "$(asides)" = 1 ]
	ctd_kill
	ctd_start
	used=$(ctctl usage runs --json | jq '.containers[0].total | .cpu_user_usec + .cpu_system_usec')
	all=$(awk '$1 == "usage_usec" { print $2 }' "$(cgroup_mount)$(ctctl version --json | jq -r .cgroup)/c-$(ctctl show runs --json | jq -r .ctid)/cpu.stat")
	[ "$used" -lt "$all" ]
	rm "$CTD_STATE"/ledger.db.damaged-*
	ctctl fsck
}

@test "ctd starts on a full disk" {
	fill
	ctd_kill
	ctd_start
	[ "$(ctctl exec runs -- hostname)" = runs ]
	drain
	ctctl fsck
}

@test "ctd starts on a full disk after a clean end, and goes on counting" {
	ctctl start runs 2>/dev/null || true
	total() { ctctl usage runs --json | jq '.containers[0].total | .cpu_user_usec + .cpu_system_usec'; }
	before=$(total)
	[ "$before" -gt 0 ]
	ctd_stop
	lines=$(wc -l <"$CTD_DIR/log")
	fill
	ctd_start
	ctctl exec runs -- sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done'
	counted() { [ "$(total)" -gt $((before + 10000)) ]; }
	wait_for 60 counted
	drain
	recorded() { [ "$(tail -n "+$lines" "$CTD_DIR/log" | grep -E 'usage (cannot be|is) recorded' | tail -n 1 | grep -c cannot)" = 0 ]; }
	wait_for 60 recorded
	ctd_kill
	ctd_start
	[ "$(total)" -gt $((before + 10000)) ]
	ctctl fsck
}
