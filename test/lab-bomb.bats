#!/usr/bin/env bats
# lab: script
# A fork bomb: it stays in its limit, ctd answers others meanwhile, and its container can be ended. The machine's clock is slow, so the time is
# a ratio, with a floor of what is promised.
load lib

setup_file()
{
	ctd_setup
	tiny_template
	ctctl create bomb --template tiny --processes 300 --cpus 1 --start
	ctctl create quiet --template tiny --start
}

teardown_file()
{
	ctd_teardown
}

list_msec() # the slowest of 20 lists
{
	local n begin end slowest=0
	for ((n = 0; n < 20; n++)); do
		begin=$(date +%s%3N)
		ctctl list >/dev/null || return 1
		end=$(date +%s%3N)
		[ $((end - begin)) -le "$slowest" ] || slowest=$((end - begin))
	done
	echo "$slowest"
}

# Those that were refused a child end, so how many there are goes up and down below the limit.
is_full()
{
	[ "$(ctctl show bomb --json | jq .resources.processes.hits)" -gt 0 ]
}

@test "while a fork bomb runs, ctctl list answers as it did before, and neighbours work" {
	before=$(list_msec)
	ctctl exec bomb -- sh -c 'bomb() { bomb | bomb & }; bomb' </dev/null >/dev/null 2>&1 3>&- 4>&- &
	wait_for 30 is_full
	during=$(list_msec)
	echo "slowest list: $before ms before, $during ms during"
	[ "$during" -le 100 ] || [ "$during" -le $((before * 4)) ]
	[ "$(ctctl exec quiet -- hostname)" = quiet ]
	[ "$(ctctl show bomb --json | jq .resources.processes.used)" -le 300 ]
	[ "$(ctctl show bomb --json | jq .resources.processes.hits)" -gt 0 ]
}

@test "its container is stopped like any other" {
	ctctl stop bomb --timeout 1
	[ "$(ctctl show bomb --json | jq -r .state)" = stopped ]
	ctctl fsck
}
