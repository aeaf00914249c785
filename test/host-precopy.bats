#!/usr/bin/env bats
# The disk of a container is copied while it runs and somebody writes to it: only what is left in the end is sent while it stands still. What fails
# before that leaves it running where it is, and nothing anywhere else. With its processes: lab-precopy.bats.
load lib
load peer

setup_file()
{
	ctd_setup
	tiny_template
	peer_setup
	ctctl create on-dir --template tiny --storage dir --start
	ctctl create on-image --template tiny --storage image --disk 300M --start
	for driver in dir image; do
		# shellcheck disable=SC2016 # for that shell: links, holes, odd names; a writer of small files that renames and removes
		ctctl exec "on-$driver" -- sh -c 'mkdir -p /root/a/b /root/moved; echo x >/root/a/one; ln /root/a/one /root/a/two; ln -s one /root/a/three
			dd if=/dev/urandom of=/root/big bs=1M count=24 2>/dev/null; dd if=/dev/zero of=/root/hole bs=1 count=1 seek=50M 2>/dev/null
			mkfifo /root/fifo; chown 1000:1000 /root/fifo; echo y >"/root/a/$(printf "odd\tname")"; cp /bin/busybox /root/suid; chmod 4755 /root/suid
			mkdir /root/under; echo hidden >/root/under/file
			printf "#!/bin/sh\ni=0; while :; do i=\$((i + 1)); echo \$i >/root/a/b/\$((i %% 20)); echo \$i >>/root/log; rm -f /root/a/b/\$((i %% 7)); mv /root/moved /root/moved2; echo \$i >/root/moved2/in; mv /root/moved2 /root/moved; sleep 0.02; done\n" >/bin/writer
			chmod 755 /bin/writer; /bin/writer >/dev/null 2>&1 </dev/null &'
	done
}

teardown_file()
{
	peer_teardown
	ctd_teardown
}

writes() # DAEMON NAME
{
	local before
	before=$($1 exec "$2" -- sh -c 'wc -l </root/log')
	sleep 0.5
	[ "$($1 exec "$2" -- sh -c 'wc -l </root/log')" -gt "$before" ]
}

tree_of() # DAEMON NAME
{
	$1 exec "$2" -- sh -c 'cd /; find bin etc root -exec stat -c "%n %F %a %u %g %s %h %Y" {} + | sort; find root bin -type f -exec md5sum {} + | sort'
}

is_there() # NAME
{
	peer show "$1" >/dev/null 2>&1
}

stays() # NAME: here, as if nothing had been
{
	runs ctctl "$1"
	wait_for 30 writes ctctl "$1"
	run -3 peer show "$1"
	peer fsck
	ctctl fsck
}

@test "what is left in the end is little, also of what something is mounted on" {
	for name in on-dir on-image; do
		ctctl exec "$name" -- mount -t tmpfs tmpfs /root/under
		run -0 ctctl migrate "$name" "$PEER/run/ctd.sock" --offline --verify --json
		result=${lines[-1]}
		echo "$result" # for who looks at a failure
		jq -e '.rounds | length >= 2 and .[0].bytes > 24000000' <<<"$result"
		jq -e '.last_bytes < 2000000 and .bytes == .last_bytes + (.rounds | map(.bytes) | add) and .total_msec > 0' <<<"$result"
		jq -e '.reread > 200' <<<"$result" # --verify: all
		run -3 ctctl show "$name"
		run -0 peer exec "$name" -- sh -c 'stat -c %h /root/a/one; stat -c %F /root/fifo; stat -c %a /root/suid; readlink /root/a/three; cat /root/under/file'
		[ "$output" = $'2\nfifo\n4755\none\nhidden' ]
	done
}

@test "it is the same tree, file by file and time by time" {
	for name in on-dir on-image; do
		peer exec "$name" -- sh -c 'echo changed >>/root/a/one; rm /root/big; mkdir /root/new; echo z >/root/new/file; rm -r /root/moved*; sync'
		tree_of peer "$name" >"$CTD_DIR/before"
		if [ "$name" = on-dir ]; then
			run -0 peer migrate "$name" "$CTD_SOCKET" --offline --json
			jq -e '.reread < 100' <<<"${lines[-1]}" # what has changed since the last round
		else
			run -0 peer migrate "$name" "$CTD_SOCKET" --offline
			[[ $output == *"copied while it ran: "*"; then "* ]]
		fi
		tree_of ctctl "$name" >"$CTD_DIR/after"
		diff "$CTD_DIR/before" "$CTD_DIR/after"
		ctctl exec "$name" -- sh -c 'mkdir /root/moved; dd if=/dev/urandom of=/root/big bs=1M count=16 2>/dev/null; /bin/writer >/dev/null 2>&1 </dev/null &'
	done
}

@test "killed, cancelled or cut off while it is copied, it stays as it was" {
	run -2 ctctl migrate on-dir "$PEER/run/ctd.sock" --max-downtime 1ms --offline
	run -2 ctctl migrate on-dir "$PEER/run/ctd.sock" --bandwidth fast
	# the second round has as much as the first, and takes its time
	ctctl exec on-dir -- sh -c '(while :; do dd if=/dev/urandom of=/root/big bs=1M count=16; sleep 1; done) >/dev/null 2>&1 </dev/null &'
	for how in ours theirs cancel cut; do
		ctctl migrate on-dir "$PEER/run/ctd.sock" --offline --bandwidth 4M >"$CTD_DIR/out" 2>&1 3>&- 4>&- &
		moving=$!
		wait_for 60 is_there on-dir
		[ "$(field peer on-dir .handover.state)" = '"incoming"' ]
		run -4 peer start on-dir
		run -4 peer migrate on-dir --keep
		case $how in
			ours) ctd_kill && ctd_start ;;
			theirs) peer_stop KILL && peer_start ;;
			cancel) ctctl job cancel "$(ctctl job list --open --json | jq -r '.jobs[0].id')" ;;
			cut) worker_of migrate-send | xargs kill -9 ;;
		esac
		wait "$moving" && failed=0 || failed=$?
		[ "$failed" -ne 0 ]
		wait_for 60 idle ctctl
		wait_for 60 idle peer
		if [ "$how" = ours ]; then # nobody has told the other one; it would go in ten minutes
			! is_there on-dir || peer destroy on-dir --force
		fi
		stays on-dir
	done
}

# Words as another node says them: what comes with a round of memory is looked at only when something goes on from it.
disk_round() # the first, which has nothing
{
	tar -c -T /dev/null | zstd -q >"$BATS_TEST_TMPDIR/nothing"
	jq -nc --argjson offer "$offer" --argjson bytes "$(stat -c %s "$BATS_TEST_TMPDIR/nothing")" \
		'{protocol: 1, word: "copy", offer: $offer, round: 1, bytes: $bytes, removed_bytes: 0}' >"$BATS_TEST_TMPDIR/said"
	cat "$BATS_TEST_TMPDIR/said" "$BATS_TEST_TMPDIR/nothing" | CTD_SOCKET=$PEER/run/ctd.sock ctctl migrate-receive
}

memory_round() # STATUS ROUND MEMORY ROW [OBJECT]: with the members of OBJECT
{
	jq -nc --argjson offer "$offer" --argjson round "$2" --argjson memory "$3" --argjson bytes "${#4}" --argjson more "${5:-"{}"}" \
		'{protocol: 1, word: "copy", offer: $offer, round: $round, memory: $memory, bytes: $bytes, images_bytes: $bytes, removed_bytes: 0} + $more' >"$BATS_TEST_TMPDIR/said"
	printf %s "$4" >>"$BATS_TEST_TMPDIR/said"
	run "-$1" env CTD_SOCKET="$PEER/run/ctd.sock" "$(ctd_program ctctl)" migrate-receive <"$BATS_TEST_TMPDIR/said"
}

@test "rounds of memory come one after the other, and the first makes void what there was" {
	ctctl create handmade --template tiny
	offer=$(ctctl show handmade --json | jq -c --arg digest "$(ctctl template show tiny --json | jq -r .digest)" \
		'{ctid, name, template: $digest, template_name: "tiny", epoch: 2, created: 1, bytes_used: 0, from: "lab", config: {}}')
	ctctl destroy handmade
	rounds=$PEER/state/fs/containers/$(jq -r .ctid <<<"$offer")/suspended/rounds
	memory_round 1 2 1 $'rounds/1/x 644 3\none'
	[[ $output == *"not there any more"* ]]
	disk_round
	memory_round 1 2 2 $'rounds/2/x 644 3\ntwo'
	[[ $output == *"not there any more"* ]]
	memory_round 0 2 1 $'rounds/1/x 644 3\none'
	[ "$(cat "$rounds/1/x")" = one ]
	memory_round 1 2 1 $'rounds/1/x 644 4\nlate' # a word that was said before
	memory_round 0 3 2 $'rounds/2/x 644 3\ntwo'
	[ "$(cat "$rounds/2/x" "$rounds/2/parent/x")" = twoone ]
	memory_round 0 4 1 $'rounds/1/y 644 3\nnew'
	[ "$(cat "$rounds/1/y")" = new ]
	[ ! -e "$rounds/1/x" ]
	[ ! -e "$rounds/2" ]
	memory_round 1 5 3 $'rounds/3/x 644 0\n'
	memory_round 1 5 9 $'rounds/9/x 644 0\n'
	[[ $output == *"memory must be"* ]]
	memory_round 1 5 2 $'rounds/2/x 644 0\n' '{"removed_bytes": 1}'
	[[ $output == *"memory must be"* ]]
	memory_round 1 5 0 $'rounds/2/x 644 0\n'
	[[ $output == *"come together"* ]]
	[ "$(field peer handmade .handover.state)" = '"incoming"' ]
	run -4 peer start handmade
	say "{\"protocol\":1,\"word\":\"withdraw\",\"ctid\":$(jq .ctid <<<"$offer"),\"epoch\":2}" >"$BATS_TEST_TMPDIR/said" && false
	wait_for 10 gone "$rounds"
	run -3 peer show handmade
	peer fsck
}

gone() # PATH
{
	[ ! -e "$1" ]
}

@test "what is no round of memory, or of another one, ends the copy" {
	ctctl create handmade --template tiny
	offer=$(ctctl show handmade --json | jq -c --arg digest "$(ctctl template show tiny --json | jq -r .digest)" \
		'{ctid, name, template: $digest, template_name: "tiny", epoch: 2, created: 1, bytes_used: 0, from: "lab", config: {}}')
	ctctl destroy handmade
	for row in $'rounds/2/x 644 0\n' $'core-1.img 644 0\n' $'../x 644 0\n' $'rounds/1/x 644 9\n' ''; do
		disk_round
		is_there handmade
		memory_round 1 2 1 "$row"
		run -3 peer show handmade
		peer fsck
	done
}
