#!/usr/bin/env bats
# lab: script deadline=600
# What a node says in ctd.conf about what it sells: overcommit is admitted by sums, idle memory is taken back.
load lib
load limits

setup_file()
{
	printf 'idle-memory = yes\nmemory-overcommit = 0.5\ncpu-overcommit = 1\n' >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_setup --config "$BATS_FILE_TMPDIR/ctd.conf"
	ctctl template show tiny >/dev/null 2>&1 || ctctl template build tiny
	limits_setup
}

teardown_file()
{
	ctd_teardown
}

@test "limits are sold as often as the node says, and no more" {
	local total half
	total=$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
	half=$(((total - 256) / 2))
	run ctctl create n --template tiny --start
	echo "$output"
	[ "$status" -eq 5 ]
	[[ "$output" == *memory-overcommit* ]]
	run ctctl create n --template tiny --memory 100M --start
	echo "$output"
	[ "$status" -eq 5 ]
	[[ "$output" == *cpu-overcommit* ]]
	new a --memory 300M --cpus 1.5
	run ctctl create b --template tiny --memory 100M --cpus 0.75 --start
	echo "$output"
	[ "$status" -eq 5 ]
	[[ "$output" == *"1.50 of 2.00"* ]]
	run ctctl create b --template tiny --memory "$((half - 290))M" --cpus 0.5 --start
	echo "$output"
	[ "$status" -eq 5 ]
	[[ "$output" == *"300M of "* ]]
	new b --memory "$((half - 310))M" --cpus 0.5
	run ctctl set b cpus=0.6
	echo "$output"
	[ "$status" -eq 5 ]
	# less is always possible
	ctctl set b cpus=0.4
	ctctl set a cpus=1.6
}

@test "idle memory is given back, what is used is not" {
	new idle --memory 300M --cpus 0.5
	ctctl exec idle -- sh -c 'dd if=/dev/zero of=/f bs=1M count=150 2>/dev/null; sync; cat /f >/dev/null'
	before=$(holds idle memory.current)
	[ "$before" -gt $((120 << 20)) ]
	had=$(seen idle memory.idle_given_back) # while it was written, on a slow machine
	given() { [ "$(seen idle memory.idle_given_back)" -ge $((had + (1 << 20))) ] 2>/dev/null; }
	wait_for 90 given
	[ "$(holds idle memory.current)" -lt "$before" ]
	[ "$(seen idle memory.oom_kills)" = 0 ]
}
