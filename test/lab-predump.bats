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
