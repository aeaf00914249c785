#!/usr/bin/env bats
# lab: script deadline=900
# Memory is written in rounds while a container runs on, and then what has changed since: after the resume it is what it was, to the byte.
load lib
load memory

setup_file()
{
	ctd_setup
	tiny_template
	ctctl create one --template tiny --net none --memory 300M --processes 100 --start
	memory_fill ctctl one 24 1000
}

teardown_file()
{
	ctd_teardown
}

is() # STATE
{
	[ "$(ctctl show one --json | jq -r .state)" = "$1" ]
}

images() # where they are while it is suspended
{
	echo "$CTD_STATE/fs/containers/$(ctctl show one --json | jq -r .ctid)/suspended"
}

@test "rounds are written while it runs, and its memory comes back" {
	memory_intact ctctl one
	ctctl suspend one --rounds
	is suspended
	images=$(images)
	[ -e "$images/rounds/1/inventory.img" ]
	[ -e "$images/rounds/2/inventory.img" ]
	[ "$(jq '.digests | length' "$images/rounds.json")" = "$(find "$images/rounds" -mindepth 1 -maxdepth 1 | wc -l)" ]
	[ "$(cat "$images"/rounds/1/pages-* | wc -c)" -gt $((48 * 1048576)) ] # both have all of it
	[ "$(cat "$images"/pages-* | wc -c)" -lt $((24 * 1048576)) ]
	ctctl fsck
	ctctl resume one
	is running
	memory_intact ctctl one
	[ ! -e "$images" ]
}

@test "a round that was changed is not used, and none that is not there" {
	ctctl suspend one --rounds
	images=$(images)
	pages=$(find "$images/rounds/1" -name 'pages-*' -size +20M | head -n 1)
	cp "$pages" "$CTD_DIR/pages"
	printf x | dd of="$pages" bs=1 seek=5000000 conv=notrunc status=none
	run -5 ctctl resume one
	[[ $output == *"the images of its memory were changed"* ]]
	is suspended
	cat "$CTD_DIR/pages" >"$pages"
	cp "$images/rounds.json" "$CTD_DIR/rounds.json"
	echo '{"digests":[]}' >"$images/rounds.json"
	run ! ctctl resume one
	cat "$CTD_DIR/rounds.json" >"$images/rounds.json"
	rm "$CTD_DIR/pages"
	ctctl resume one
	memory_intact ctctl one
}

tmpfs_contents()
{
	ctctl exec one -- sh -c 'cat /dev/shm/d/big /dev/shm/hole /run/part | sha256sum; stat -c "%h %Y %F" /dev/shm/d /dev/shm/other /dev/shm/fifo; stat -c %a%u /run/part'
}

# shellcheck disable=SC2016 # for that shell
@test "what is in a tmpfs goes ahead too, and comes back: files that stay, that grow, that come and go" {
	ctctl exec one -- sh -c 'mkdir /dev/shm/d; dd if=/dev/urandom of=/dev/shm/d/big bs=1M count=20; dd if=/dev/urandom of=/run/part bs=1M count=4; chown 7 /run/part
		dd if=/dev/urandom of=/dev/shm/hole bs=1 count=1 seek=30M; ln /dev/shm/d/big /dev/shm/other; touch -d @1000 /dev/shm/d; mkfifo /dev/shm/fifo
		for i in 1 2 3 4 5; do mkdir /dev/shm/again$i; mount --bind /dev/shm/d /dev/shm/again$i; done' 2>/dev/null
	before=$(tmpfs_contents)
	ctctl exec one -- sh -c '(i=0; while :; do i=$((i + 1)); echo $i >>/dev/shm/log; echo $i >/dev/shm/one$((i % 9)); rm -f /dev/shm/one$((i % 5)); sleep 0.01; done) >/dev/null 2>&1 </dev/null &'
	ctctl suspend one --rounds
	images=$(images) base=$images/rounds/1/ct-tmpfs
	[ "$(stat -c %s "$base")" -gt $((24 * 1048576)) ]
	[ "$(stat -c %s "$base")" -lt $((30 * 1048576)) ] # once
	[ "$(cat "$images"/tmpfs-* | wc -c)" -lt 1048576 ]
	cp "$base" "$CTD_DIR/base"
	printf 'other bytes' | dd of="$base" bs=1 seek=5000000 conv=notrunc status=none
	run -5 ctctl resume one
	[[ $output == *"the images of its memory were changed"* ]]
	is suspended
	cat "$CTD_DIR/base" >"$base"
	rm "$CTD_DIR/base"
	ctctl resume one
	[ "$(tmpfs_contents)" = "$before" ]
	memory_intact ctctl one
	ctctl exec one -- sh -c 'n=$(wc -l </dev/shm/log) && [ "$n" -gt 1 ] && head -n "$n" /dev/shm/log | while read -r i; do k=$((k + 1)); [ "$i" = "$k" ] || exit 1; done'
	ctctl exec one -- sh -c 'for p in $(pidof sh); do [ $p = 1 ] || [ $p = $$ ] || kill -9 $p; done; umount /dev/shm/again?; rm -r /dev/shm/* /run/part'
}

@test "processes that come and go meanwhile are in nobody's way" {
	ctctl exec one -- sh -c '(while :; do /bin/true; done) >/dev/null 2>&1 </dev/null &'
	ctctl suspend one --rounds
	is suspended
	ctctl resume one
	memory_intact ctctl one
	# shellcheck disable=SC2016 # as above
	ctctl exec one -- sh -c 'for p in $(pidof sh); do [ $p = 1 ] || [ $p = $$ ] || kill -9 $p; done'
}

@test "rounds that cannot be gone on with are given up, and all its memory is written" {
	local daemon images last end=$((SECONDS + 120))
	daemon=$(ctd_pid)
	images=$(images)
	ctctl suspend one --rounds 3>&- 4>&- &
	until [ -e "$images/rounds/1/inventory.img" ]; do
		[ "$SECONDS" -lt "$end" ]
		sleep 0.01
	done
	kill -STOP "$daemon" # the worker goes on
	wait_for 120 test -e "$images/rounds.json" || { kill -CONT "$daemon" && false; }
	last=$(find "$images/rounds" -mindepth 1 -maxdepth 1 | sort | tail -n 1)
	truncate -s 14 "$last"/pagemap-* # its head alone
	kill -CONT "$daemon"
	wait "$!"
	is suspended
	[ ! -e "$images/rounds" ]
	[ ! -e "$images/rounds.json" ]
	ctctl resume one
	memory_intact ctctl one
}

is_at_rest()
{
	is running || is suspended
}

# A second ctd finds a container that runs on, whatever round it was.
killed_at() # PATH
{
	local daemon end=$((SECONDS + 120))
	daemon=$(ctd_pid)
	ctctl suspend one --rounds >/dev/null 2>&1 3>&- 4>&- &
	until [ -e "$1" ]; do
		[ "$SECONDS" -lt "$end" ]
		sleep 0.01
	done
	kill -9 "$daemon"
	wait "$!" || true
	wait_for 20 lib_is_gone "$daemon"
	ctd_start
}

@test "a daemon that is killed in a round leaves it running, with its memory" {
	images=$(images)
	for path in "$images/rounds/1/inventory.img" "$images/rounds.json"; do
		killed_at "$path"
		wait_for 60 is_at_rest
		! is suspended || ctctl resume one
		wait_for 60 memory_intact ctctl one
	done
	ctctl suspend one --rounds
	ctctl resume one
	memory_intact ctctl one
}
