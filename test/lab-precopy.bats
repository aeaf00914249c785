#!/usr/bin/env bats
# lab: script deadline=900
# The disk of a container is copied while it runs and somebody writes to it: only what is left in the end is sent while it stands still. The rest of it is in
# host-precopy.bats.
load lib
load peer

setup_file()
{
	uplink_up
	ctd_setup
	tiny_template
	peer_setup_apart
	for driver in dir image; do
		ctctl create "on-$driver" --template tiny --storage "$driver" --disk 300M --memory 100M --processes 50 --start
		ctctl exec "on-$driver" -- mkdir /srv # a native directory from the next start on
		ctctl stop "on-$driver" --timeout 0
		ctctl start "on-$driver"
		# shellcheck disable=SC2016 # for that shell: links, holes, odd names; a writer of small files that renames and removes
		ctctl exec "on-$driver" -- sh -c 'mkdir -p /root/a/b /root/moved /srv/data /home/user; dd if=/dev/urandom of=/srv/data/big bs=1M count=16 2>/dev/null
			ln /srv/data/big /srv/link; echo z >/home/user/z; chown -R 1000:1000 /home/user; echo x >/root/a/one; ln /root/a/one /root/a/two; ln -s one /root/a/three
			dd if=/dev/urandom of=/dev/shm/big bs=1M count=16 2>/dev/null; sha256sum /dev/shm/big >/root/sum
			dd if=/dev/urandom of=/root/big bs=1M count=8 2>/dev/null; dd if=/dev/zero of=/root/hole bs=1 count=1 seek=50M 2>/dev/null
			mkfifo /root/fifo; chown 1000:1000 /root/fifo; echo y >"/root/a/$(printf "odd\tname")"; cp /bin/busybox /root/suid; chmod 4755 /root/suid
			printf "#!/bin/sh\ni=0; while :; do i=\$((i + 1)); echo \$i >/root/a/b/\$((i %% 20)); echo \$i >>/root/log; rm -f /root/a/b/\$((i %% 7)); mv /root/moved /root/moved2; echo \$i >/root/moved2/in; mv /root/moved2 /root/moved; echo \$i >/srv/data/\$((i %% 5)); sleep 0.2; done\n" >/bin/writer
			chmod 755 /bin/writer; /bin/writer >/dev/null 2>&1 </dev/null &'
	done
}

teardown_file()
{
	peer_teardown
	peer_disk_away
	ctd_teardown
	uplink_down
}

writes() # DAEMON NAME
{
	local before
	before=$($1 exec "$2" -- sh -c 'wc -l </root/log')
	sleep 0.5
	[ "$($1 exec "$2" -- sh -c 'wc -l </root/log')" -gt "$before" ]
}

stays() # NAME: here, as if nothing had been
{
	runs ctctl "$1"
	wait_for 30 writes ctctl "$1"
	run -3 peer show "$1"
	peer fsck
	ctctl fsck
}

@test "what is left in the end is little, and the tree is the same there" {
	for name in on-dir on-image; do
		[[ $(ctctl exec "$name" -- cat /proc/mounts) == *' /srv ext4 '* ]] # a native directory
		run -0 ctctl migrate "$name" "$PEER/run/ctd.sock" --verify --json
		result=${lines[-1]}
		echo "$result" # for who looks at a failure
		jq -e '.rounds | length >= 2 and .[0].bytes > 24000000 and all(.[1:][]; .bytes < 2000000)' <<<"$result"
		jq -e '.last_bytes < 12000000 and .bytes >= .last_bytes + (.rounds | map(.bytes) | add)' <<<"$result"
		jq -e '.total_msec >= .frozen_msec.total and (.frozen_msec | .restore > 0 and .total >= .save + .send + .restore)' <<<"$result"
		run -3 ctctl show "$name"
		wait_for 30 writes peer "$name"
		peer exec "$name" -- sha256sum -c /root/sum # of a tmpfs
		peer freeze "$name"
		peer thaw "$name"
		[ "$(peer exec "$name" -- sh -c 'stat -c %h /srv/link; stat -c %u:%g /home/user/z')" = $'2\n1000:1000' ]
		[ "$(peer exec "$name" -- sh -c 'stat -c %h /root/a/one; stat -c %F /root/fifo; stat -c %a /root/suid; readlink /root/a/three')" = $'2\nfifo\n4755\none' ]
	done
}

@test "a standstill longer than is allowed is refused before it begins" {
	peer migrate on-dir "$CTD_SOCKET"
	run -5 ctctl migrate on-dir "$PEER/run/ctd.sock" --max-downtime 1ms --bandwidth 20M
	[[ $output == *"would stand still for about "*"more than the 0.0 s of --max-downtime"* ]]
	stays on-dir
	run -2 ctctl migrate on-dir "$PEER/run/ctd.sock" --max-downtime 1ms --offline
	run -2 ctctl migrate on-dir "$PEER/run/ctd.sock" --bandwidth fast
}
