#!/usr/bin/env bats
# lab: systemd boots=2 cut deadline=300
# A power cut: what was acknowledged is there, what was half made is not, and containers that ran are not thought to run.
load lib

setup_file()
{
	ctd_installed
}

teardown_file()
{
	[ "$LAB_BOOT" = 1 ] || lib_destroy_all
}

state_is() # NAME STATE
{
	[ "$(ctctl show "$1" --json | jq -r .state)" = "$2" ]
}

# bats test_tags=boot:1
@test "before the cut" {
	ctctl template build tiny
	ctctl create marked --template tiny --autostart --start
	ctctl exec marked -- sh -c 'echo written >/root/file; i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; sync'
	ctctl usage marked --json | jq '.containers[0].total' >/var/lib/ctd-test-used
	sync /var/lib/ctd-test-used
	sampled=$SECONDS
	ctctl create gone --template tiny
	ctctl create plain --template tiny --start
	ctctl set plain hostname=changed
	ctctl destroy gone
	ctctl create asleep --template tiny --start
	# shellcheck disable=SC2016 # for that shell
	ctctl exec asleep -- sh -c 'echo kept >/dev/shm/x; (i=0; while :; do i=$((i + 1)); echo $i >/dev/shm/next; mv /dev/shm/next /dev/shm/count; sleep 0.2; done) >/dev/null 2>&1 </dev/null &'
	wait_for 30 ctctl exec asleep -- test -s /dev/shm/count
	ctctl exec asleep -- cat /dev/shm/count >/var/lib/ctd-test-count
	ctctl checkpoint asleep # suspend by its other name
	[ "$(ctctl show asleep --json | jq '.suspended.bytes > 0 and (.suspended.digest | length) == 64')" = true ]
	sync /var/lib/ctd-test-count
	sleep $((sampled + 45 > SECONDS ? sampled + 45 - SECONDS : 0)) # a power cut takes one sample at most
	# one that will be in the middle of things
	# shellcheck disable=SC2016 # for that shell
	setsid timeout 60 bash -c 'while "$0" create half --template tiny --start && "$0" destroy half --force; do :; done' "$(ctd_program ctctl)" \
		</dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- &
	disown
	ctctl template import --name cut --detach /lab/debian.tar
	sleep 1
	ctctl create acknowledged --template tiny
	ctctl create thin --template tiny --storage image --disk 100M --start
	ctctl exec thin -- sh -c 'head -c 4000000 /dev/urandom >/root/data; sha256sum /root/data >/dev/shm/sum'
	ctctl suspend thin
	cat /proc/sys/kernel/random/boot_id >/var/lib/ctd-test-boot
	sync /var/lib/ctd-test-boot
}

# bats test_tags=boot:2
@test "after the cut: acknowledged is there, destroyed and half made are not, autostart has begun" {
	[ "$(cat /var/lib/ctd-test-boot)" != "$(cat /proc/sys/kernel/random/boot_id)" ]
	state_is acknowledged stopped
	state_is plain stopped
	[ "$(ctctl show plain --json | jq -r .config.hostname)" = changed ]
	wait_for 60 state_is marked running
	[ "$(ctctl exec marked -- cat /root/file)" = written ]
	ctctl usage marked --json | jq -e --slurpfile before /var/lib/ctd-test-used '.containers[0] | .sum == .total
		and (.total as $now | $before[0] | to_entries | all(.value <= $now[.key])) and .total.gap_usec > 0'
	# What nobody knows of ends where this boot begins, however long that is ago.
	unknown=$(($(awk '$1 == "btime" { print $2 }' /proc/stat) + 2 - $(stat -c %Y /var/lib/ctd-test-used)))
	ctctl usage marked --json | jq -e --argjson unknown "$unknown" '.containers[0].total.gap_usec <= $unknown * 1000000'
	run ctctl show gone
	[ "$status" -eq 3 ]
	ctctl start acknowledged
	ctctl start plain
	[ "$(ctctl exec plain -- hostname)" = changed ]
}

counts_on() # FROM
{
	[ "$(ctctl exec asleep -- cat /dev/shm/count)" -gt "$1" ]
}

# bats test_tags=boot:2
@test "after the cut: what was suspended goes on where it was" {
	state_is asleep suspended
	ctctl restore asleep
	[ "$(ctctl exec asleep -- cat /dev/shm/x)" = kept ]
	before=$(ctctl exec asleep -- cat /dev/shm/count)
	[ "$before" -ge "$(cat /var/lib/ctd-test-count)" ]
	wait_for 30 counts_on "$before"
	ctctl resume thin
	ctctl exec thin -- sha256sum -c /dev/shm/sum # its files are what its memory takes them for
}

# bats test_tags=boot:2
@test "after the cut: an import that was cut off has left nothing, and all is clean" {
	run ctctl template show cut
	[ "$status" -eq 3 ]
	[ -z "$(ctctl job list --json | jq -r '.jobs[] | select(.state == "open") | .verb')" ]
	wait_for 60 is_swept
	ctctl fsck
	for name in $(ctctl list -q); do ctctl destroy "$name" --force; done
	ctctl fsck
	[ -z "$(ls /var/lib/ctd/fs/containers)" ]
}

is_swept()
{
	[ -z "$(find /var/lib/ctd/fs/tmp /var/lib/ctd/fs/trash -mindepth 1 -maxdepth 1)" ]
}
