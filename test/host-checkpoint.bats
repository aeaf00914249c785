#!/usr/bin/env bats
# A checkpoint that a container ran on from: what is refused, what is kept of it, and where a death of the daemon leaves the two disks. No CRIU is
# needed: the checkpoint is planted, with a disk of its own and images that nobody looks at (test/lab-checkpoint.bats has real ones).
load lib

setup_file()
{
	ctd_setup
	tiny_template
	ctctl create one --template tiny
	CTID=$(ctctl show one --json | jq -r .ctid)
	export CTID FS=$CTD_STATE/fs
}

teardown_file()
{
	ctd_teardown
}

db()
{
	sqlite3 "$CTD_STATE/ctd.db" "$1"
}

# As one is made: a copy of the disk that says so, and the mark. The text on it is what the container had then.
plant() # ID TEXT
{
	ctd_stop
	mkdir -p "$FS/checkpoints"
	cp -a "$FS/containers/$CTID" "$FS/checkpoints/$CTID-$1"
	: >"$FS/checkpoints/$CTID-$1/copy"
	mkdir "$FS/checkpoints/$CTID-$1/suspended"
	mkdir -p "$FS/checkpoints/$CTID-$1/upper/root"
	echo "$2" >"$FS/checkpoints/$CTID-$1/upper/root/text"
	mark "$1"
	ctd_start
}

mark() # ID
{
	db "UPDATE container SET config = json_set(config, '\$._checkpoint', json_object('id', $1, 'time', 1700000000000000, 'slot', 4000,
		'project', 0, 'digest', '$(printf '0%.0s' {1..64})', 'bytes', 5, 'disk_bytes', 6, 'size', 0, 'frozen', 7)) WHERE ctid = '$CTID'"
}

# What is on the disk, and on that of the checkpoint.
texts()
{
	cat "$FS/containers/$CTID/upper/root/text" "$FS/checkpoints/$CTID-$1/upper/root/text" 2>/dev/null | xargs
}

has_none()
{
	[ "$(ctctl show one --json | jq .checkpoint)" = null ] && [ -z "$(ls -A "$FS/checkpoints")" ]
}

@test "what cannot be checkpointed is refused, and there is none" {
	run -4 ctctl checkpoint --keep-running one
	[[ $output == *'cannot suspend "one": it is stopped'* ]]
	run -4 ctctl restore one
	[[ $output == *'"one": it is not suspended but stopped'* ]]
	run -4 ctctl restore --force one
	[[ $output == *'cannot restore "one": it has no checkpoint'* ]]
	run -2 ctctl suspend --keep-running one
	mapfile -t hidden < <(type -aP criu | xargs -r realpath | sort -u)
	for program in "${hidden[@]}"; do mount --bind /dev/null "$program"; done
	ctctl start one
	run -5 ctctl checkpoint --keep-running one
	for program in "${hidden[@]}"; do umount "$program"; done
	[[ $output == *'cannot suspend "one": there is no criu: install the package criu'* ]]
	ctctl exec one -- sh -c 'echo newer >/root/text'
	ctctl stop one --timeout 0
	has_none
}

@test "it is shown, and asks before anything newer is lost" {
	plant 1 older
	[ "$(ctctl show one --json | jq -c '.checkpoint | [.time[:10], .bytes, .disk_bytes, .frozen_usec]')" = '["2023-11-14",5,6,7]' ]
	[ "$(ctctl show one --json | jq '.config | has("_checkpoint")')" = false ]
	ctctl fsck
	run -4 ctctl restore one
	[[ $output == *'cannot restore "one": all that was written to its disk since its checkpoint of 2023-11-14'*'would be lost (--force)'* ]]
	ctctl start one
	run -4 ctctl restore --force one
	[[ $output == *'"one": it is running (ctctl stop one first; what it has done since its checkpoint of 2023-11-14'* ]]
	run -4 ctctl migrate one nowhere
	[[ $output == *'it has a checkpoint, which would be lost (to give that up: ctctl restore --discard one)'* ]]
	ctctl set one autostart=true
	ctctl rename one two
	ctctl rename two one
	ctctl stop one --timeout 0
	[ "$(texts 1)" = "newer older" ]
	[ "$(ctctl show one --json | jq -r .checkpoint.bytes)" = 5 ]
}

@test "one that cannot be restored leaves all as it was" {
	run ! ctctl restore --force one
	[[ $output == *'cannot restore "one": '* ]]
	[ "$(texts 1)" = "newer older" ]
	[ "$(ctctl show one --json | jq -r .state)" = stopped ]
	[ ! -e "$FS/containers/$CTID/copy" ]
	ctctl fsck
	change() # EXPRESSION: what its record is to be
	{
		ctd_stop
		db "UPDATE container SET config = $1 WHERE ctid = '$CTID'"
		ctd_start
	}
	change "json_set(config, '\$._checkpoint.disk_bytes', 2000000000, '\$.disk', '1G')"
	run -4 ctctl restore --force one
	[[ $output == *'its disk had more in it then than it may have now'* ]]
	# under the limit of then it may go back, however full it was
	change "json_set(config, '\$._checkpoint.size', 1 << 30)"
	run ! ctctl restore --force one
	[[ $output != *'more in it then'* ]]
	change "json_remove(json_set(config, '\$._checkpoint.disk_bytes', 6, '\$._checkpoint.size', 0), '\$.disk')"
	ctctl set one disk=
}

exchange()
{
	mv "$FS/containers/$CTID" "$FS/aside"
	mv "$FS/checkpoints/$CTID-1" "$FS/containers/$CTID"
	mv "$FS/aside" "$FS/checkpoints/$CTID-1"
}

@test "a daemon that died on the way there or back leaves each disk where the record says" {
	ctd_stop
	exchange # and no more
	ctd_start
	[ "$(texts 1)" = "newer older" ]
	[ ! -e "$FS/containers/$CTID/copy" ]
	ctctl fsck
	# all but the resume
	ctd_stop
	exchange
	db "UPDATE container SET config = json_set(config, '\$._suspended', json_object('slot', 4000, 'digest', '$(printf '0%.0s' {1..64})', 'restoring', 0))
		WHERE ctid = '$CTID'"
	db "UPDATE run SET wanted = 1 WHERE ctid = '$CTID'" # as of one that had been resumed already
	ctd_start
	[ "$(ctctl show one --json | jq -r .state)" = stopped ]
	[ "$(texts 1)" = "newer older" ]
	ctctl fsck
	ctd_stop
	ctd_start
	[ "$(ctctl show one --json | jq -r .state)" = stopped ]
	[ "$(ctctl show one --json | jq -r .checkpoint.bytes)" = 5 ]
	ctctl start one
	[ "$(ctctl exec one -- cat /root/text)" = newer ]
	ctctl stop one --timeout 0
}

@test "one that was restored keeps the disk of its checkpoint, and the other goes" {
	ctd_stop
	exchange
	db "UPDATE container SET config = json_remove(config, '\$._checkpoint') WHERE ctid = '$CTID'"
	ctd_start
	wait_for 10 has_none
	[ ! -e "$FS/containers/$CTID/copy" ]
	[ "$(texts 1)" = older ]
	ctctl fsck
}

@test "what a dying daemon leaves of one that was being made goes" {
	ctd_stop
	mkdir -p "$FS/tmp/$CTID-5/upper" "$FS/checkpoints/$CTID-6/upper"
	ctd_start
	gone() { [ ! -e "$FS/tmp/$CTID-5" ] && has_none; }
	wait_for 20 gone
	ctctl fsck
	# one that is newer than all records, which may have been put back from a backup, is not its
	ctd_stop
	mkdir -p "$FS/checkpoints/$CTID-9000000000000000/upper"
	ctd_start
	run ! ctctl fsck
	[[ $output == *"$CTID-9000000000000000"* ]]
	[ -d "$FS/checkpoints/$CTID-9000000000000000" ]
	ctctl fsck --repair || true
	has_none
}

@test "what was recorded when the daemon died was done" {
	plant 9000000000000000 oldest
	ctd_stop
	db "INSERT INTO job (verb, ctid, object, params, created) VALUES ('checkpoint', '$CTID', 'one', '{}', 1700000000000000),
		('checkpoint', '$CTID', 'one', '{}', 9100000000000000)"
	ctd_start
	[ "$(db "SELECT finished > 0, error IS NULL FROM job WHERE created = 1700000000000000")" = "1|1" ]
	[ "$(db "SELECT finished > 0, error IS NULL FROM job WHERE created = 9100000000000000")" = "1|0" ]
	db "DELETE FROM job WHERE created = 9100000000000000"
	ctctl restore --discard one
	has_none
}

@test "it can be given up" {
	plant 1 oldest
	ctctl restore --discard one
	has_none
	[ "$(texts 1)" = older ]
	ctctl fsck
	run -4 ctctl restore --discard one
	# also if it is suspended since, which stays
	plant 1 oldest
	ctd_stop
	db "UPDATE container SET config = json_set(config, '\$._suspended', json_object('slot', 4001, 'digest', '$(printf '0%.0s' {1..64})')) WHERE ctid = '$CTID'"
	ctd_start
	[ "$(ctctl show one --json | jq -r .state)" = suspended ]
	ctctl restore --discard one
	has_none
	[ "$(ctctl show one --json | jq -r .state)" = suspended ]
	ctctl resume --discard one
	[ "$(ctctl show one --json | jq -r .state)" = stopped ]
}

@test "fsck knows strays, and one that is missing" {
	mkdir -p "$FS/checkpoints/0123456789abcdef0123456789abcdef-1/upper"
	run ! ctctl fsck
	[[ $output == *checkpoint*0123456789abcdef0123456789abcdef-1*"belongs to no container"* ]]
	ctctl fsck --repair || true
	has_none
	plant 1 oldest
	rm -r "$FS/checkpoints/$CTID-1"
	run ! ctctl fsck
	[[ $output == *checkpoint*one*"is missing"* ]]
	ctctl fsck --repair || true
	ctctl fsck
	has_none
}

@test "it goes with its container" {
	plant 1 oldest
	ctctl destroy one
	[ -z "$(ls -A "$FS/checkpoints")" ]
	ctctl fsck
	# of which a power cut may bring it back
	ctd_stop
	mkdir -p "$FS/checkpoints/$CTID-1/upper"
	ctd_start
	[ -z "$(ls -A "$FS/checkpoints")" ]
	ctctl fsck
}
