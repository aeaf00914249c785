#!/usr/bin/env bats
# Nothing is lost when ctd or its keeper dies.
load lib
load kill

setup_file()
{
	ctd_setup
	tiny_template
}

teardown_file()
{
	ctd_teardown
}

state_of()
{
	ctctl show "$1" --json | jq -r .state
}

stopped()
{
	[ "$(state_of "$1")" = stopped ]
}

@test "containers run on when ctd is killed, and exits meanwhile are known" {
	ctctl create stay --template tiny --start
	ctctl create leave --template tiny --start
	pid=$(ctctl show stay --json | jq .pid)
	leave=$(ctctl show leave --json | jq .pid)
	ctd_kill
	kill -0 "$pid"
	kill -9 "$leave"
	ctd_start
	[ "$(ctctl show stay --json | jq .pid)" = "$pid" ]
	[ "$(state_of stay)" = running ]
	wait_for 20 stopped leave
	[ "$(ctctl show leave --json | jq .exit.code)" = 137 ]
	[ "$(ctctl exec stay -- hostname)" = stay ]
	ctctl log stay >/dev/null
	ctctl fsck
	ctctl destroy stay leave --force
}

@test "containers run on when the keeper is killed, and are adopted" {
	ctctl create kept --template tiny --start
	pid=$(ctctl show kept --json | jq .pid)
	kill -9 "$(keeper_pid)"
	works() { [ "$(ctctl exec kept -- hostname)" = kept ]; }
	wait_for 10 works
	[ "$(ctctl show kept --json | jq .pid)" = "$pid" ]
	ctctl fsck
	ctctl stop kept --timeout 5
	[ "$(state_of kept)" = stopped ]
	ctctl start kept
	ctctl destroy kept --force
}

@test "both are killed" {
	ctctl create both --template tiny --start
	pid=$(ctctl show both --json | jq .pid)
	keeper=$(keeper_pid)
	ctd_kill
	kill -9 "$keeper"
	kill -0 "$pid"
	ctd_start
	[ "$(ctctl show both --json | jq .pid)" = "$pid" ]
	[ "$(ctctl exec both -- hostname)" = both ]
	ctctl fsck
	ctctl destroy both --force
}

@test "a stop that was under way is finished" {
	ctctl create slow --template tiny --start
	kill -STOP "$(ctctl show slow --json | jq .pid)" # from outside; its own signals an init can ignore
	ctctl stop slow --timeout 8 3>&- &
	stopping() { [ "$(state_of slow)" = stopping ]; }
	wait_for 30 stopping
	ctd_kill
	wait || true
	ctd_start
	wait_for 20 stopped slow
	ctctl fsck
	ctctl destroy slow
}

@test "an exec outlives ctd and its exit code is told" {
	ctctl create ex --template tiny --start
	ctctl exec ex -- sh -c 'echo up; sleep 3; echo out; exit 9' >"$BATS_TEST_TMPDIR/out" 3>&- &
	relay=$!
	wait_for 30 grep -q up "$BATS_TEST_TMPDIR/out"
	ctd_kill
	ctd_start
	status=0
	wait "$relay" || status=$?
	[ "$status" -eq 9 ]
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = $'up\nout' ]
	ctctl destroy ex --force
}

@test "autostart after a boot, in order" {
	ctctl create third --template tiny --autostart
	ctctl create first --template tiny --autostart
	ctctl create never --template tiny
	ctctl set first autostart_order=1
	ctctl set third autostart_order=3
	ctd_stop
	# what a reboot leaves: another boot id in the records
	sqlite3 "$CTD_STATE/ctd.db" "UPDATE meta SET value = 'another-boot' WHERE key = 'boot-id'"
	ctd_start
	up() { [ "$(state_of first)" = running ] && [ "$(state_of third)" = running ]; }
	wait_for 10 up
	[ "$(state_of never)" = stopped ]
	[ "$(ctctl events --json | jq -rs '[.[] | .events? // [.] | .[] | select(.type == "container.started") | .name] | .[-2:] | join(" ")')" = "first third" ]
	ctctl destroy first third never --force
	ctctl fsck
}

# What a power cut leaves: of the records what was last synced, of the disks perhaps more.
disk_of() # CTID
{
	echo "$CTD_STATE/fs/containers/$1"
}

records_back() # FILE: the records as they were when "records_copy FILE" was called
{
	rm -f "$CTD_STATE/ctd.db-wal" "$CTD_STATE/ctd.db-shm"
	cp "$1" "$CTD_STATE/ctd.db"
}

records_copy()
{
	sqlite3 "$CTD_STATE/ctd.db" "VACUUM INTO '$1'"
}

@test "a create whose disk was synced and whose record was lost with the power leaves nothing" {
	records_copy "$CTD_DIR/before.db"
	killed_at fsync 1 ctctl create lost --template tiny
	ctid=$(ls "$CTD_STATE/fs/containers")
	[ -d "$(disk_of "$ctid")/upper" ]
	records_back "$CTD_DIR/before.db"
	ctd_start
	run ctctl show lost
	[ "$status" -eq 3 ]
	ctctl fsck
	[ ! -e "$(disk_of "$ctid")" ]
	rm "$CTD_DIR/before.db"
}

@test "a destroy whose record was synced and whose disk came back with the power leaves nothing" {
	ctctl create back --template tiny
	ctid=$(ctctl show back --json | jq -r .ctid)
	[ ! -e "$(disk_of "$ctid")/new" ]
	cp -a "$(disk_of "$ctid")" "$CTD_STATE/fs/back"
	ctctl destroy back
	ctd_kill
	mv "$CTD_STATE/fs/back" "$(disk_of "$ctid")"
	ctd_start
	ctctl fsck
	[ ! -e "$(disk_of "$ctid")" ]
}

@test "a disk that the records never knew, as with those of a backup, is shown and kept" {
	records_copy "$CTD_DIR/before.db"
	ctctl create newer --template tiny
	ctid=$(ctctl show newer --json | jq -r .ctid)
	ctd_kill
	records_back "$CTD_DIR/before.db"
	ctd_start
	[ -d "$(disk_of "$ctid")/upper" ]
	run ctctl fsck
	[ "$status" -ne 0 ]
	[[ "$output" == *"$ctid"*"belongs to no container"* ]]
	ctctl fsck --repair
	[ ! -e "$(disk_of "$ctid")" ]
	ctctl fsck
	rm "$CTD_DIR/before.db"
}

@test "a second ctd on the same state is refused" {
	run timeout 120 "$(ctd_program ctd)" --state "$CTD_STATE" --runtime "$CTD_DIR/other" --foreground
	[ "$status" -eq 1 ]
	[[ "$output" == *"another ctd"* ]]
}

@test "two instances run side by side" {
	ctctl create here --template tiny --start
	base=$(ctctl show here --json | jq .base_id)
	first=$CTD_DIR
	ip addr add 192.0.2.2/32 dev lo # to ask from
	ip addr add 2001:db8::2/128 dev lo nodad
	addresses() { ctctl show here --json | jq -r '.addresses[]'; }
	answers() { for a in $(addresses); do ping -c 1 -W 10 "$a" >/dev/null || return 1; done; }
	wait_for 20 answers
	before=$(addresses)
	(
		ctd_setup
		tiny_template
		ctctl create here --template tiny --start
		[ "$(ctctl show here --json | jq .base_id)" != "$base" ]
		[ "$(sort <(addresses) <(echo "$before") | uniq -d | wc -l)" = 0 ]
		wait_for 20 answers
		ctctl destroy here --force
		ctd_teardown
	)
	[ "$CTD_DIR" = "$first" ]
	[ "$(ctctl exec here -- hostname)" = here ]
	wait_for 20 answers
	ip addr flush dev lo scope global
	ctctl fsck
	ctctl destroy here --force
}
