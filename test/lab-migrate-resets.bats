#!/usr/bin/env bats
# lab: systemd machines=2 deadline=1800 long
# A machine is reset while a container moves between two: the one that it leaves, or the one that it comes to, at each point of the hand-over. Of its memory nothing is
# left then, and of its disk what was synced. It is lab2 each time. All tests share one container, which is on lab1 before and after each.
load lib
load peer
load guest
load nodes
load book # setup and teardown as well

setup_file()
{
	book_setup
	network_from_the_start
}

# As of any machine, before its ctd: the lab gives it its address after that.
network_from_the_start()
{
	far 'cat >/etc/systemd/system/wire.service && systemctl enable -q wire && sync' <<-END
		[Unit]
		DefaultDependencies=no
		After=systemd-udevd.service
		Before=network-online.target
		[Service]
		Type=oneshot
		ExecStart=sh -c 'modprobe virtio_net; until ip link set $LINK up; do sleep 0.1; done; ip addr add 10.99.0.2/24 dev $LINK; ip addr add fd99::2/64 dev $LINK nodad'
		ExecStart=sh -c 'ip route replace default via 10.99.0.3; ip -6 route replace default via fd99::3'
		[Install]
		WantedBy=network-online.target
	END
}

RESET='echo b >/proc/sysrq-trigger; sleep 600' # there, and no goodbye
RESET_THERE='timeout -k 1 10 /usr/bin/ssh peer "echo b >/proc/sysrq-trigger" </dev/null'

booted_anew() # BOOT-ID of before
{
	local id
	sleep 1
	id=$(timeout -k 1 20 /usr/bin/ssh -o ConnectTimeout=10 peer cat /proc/sys/kernel/random/boot_id)
	[ -n "$id" ] && [ "$id" != "$1" ]
}

is_back() # BOOT-ID of before
{
	wait_for 300 booted_anew "$1"
	wire_anew
	wait_for 120 peer version
	wait_for 120 idle peer
	wait_for 120 idle ctctl
}

# It moves from lab2, which is reset at the word.
reset_source_at() # WORD before|behind: it is said
{
	local boot how=$RESET
	[ "$2" = before ] || how="send | /usr/bin/ssh \"\$@\" >/dev/null; $RESET"
	boot=$(far cat /proc/sys/kernel/random/boot_id)
	far "cat >/run/at-$1" <<<"$how"
	far 'setsid -f ctctl migrate d1 root@peer </dev/null >/dev/null 2>&1'
	is_back "$boot"
}

@test "the machine that it leaves is reset before the hand-over: it is that one's still" {
	moved_to peer
	# nothing of its processes is on the disk yet: it is as if it had been switched off
	reset_source_at copy before
	[ "$(state_of peer d1)" = stopped ]
	! runs ctctl d1 || return 1
	peer start d1
	book_begins peer
	is_well_on peer
	# it stood still, and goes on
	for when in before behind; do
		reset_source_at offer "$when"
		wait_for 60 runs peer d1
		goes_on peer
		[ "$when" = before ] || is_marked ctctl incoming
	done
	moved_to ctctl
}

@test "the machine that it leaves is reset behind the hand-over: nobody runs it until the other has taken it" {
	moved_to peer
	reset_source_at commit before
	# its daemon says it again, as soon as it starts, when there may be no network yet
	if peer show d1; then
		is_in_doubt peer ctctl
		run -0 peer migrate d1 root@peer
	fi
	has_none peer
	goes_on ctctl
	moved_to peer
	reset_source_at commit behind
	if peer show d1; then
		is_marked peer relinquished
		runs ctctl d1
		run -0 peer migrate resolve d1
		[[ $output == *"is the other node's"* ]]
	fi
	has_none peer
	goes_on ctctl
}

# It moves to lab2, which is reset at the word.
reset_destination_at() # WORD before|amid|behind
{
	local boot how
	case $2 in
	before) how="$RESET_THERE; exit 255" ;;
	amid) how="{ printf '%s\\n' \"\$line\"; head -c 200000; $RESET_THERE; cat; } | /usr/bin/ssh $PATIENCE \"\$@\"; exit 255" ;;
	behind) how="send | /usr/bin/ssh \"\$@\" >/dev/null; $RESET_THERE; exit 255" ;;
	esac
	boot=$(far cat /proc/sys/kernel/random/boot_id)
	cat >"/run/at-$1" <<<"$how"
	migrate_ends 1
	rm "/run/at-$1"
	is_back "$boot"
}

@test "the machine that it comes to is reset before the hand-over: it runs on here" {
	for when in 'copy amid' 'offer amid' 'offer behind'; do
		# shellcheck disable=SC2086 # two words
		reset_destination_at $when
		goes_on ctctl
		if [ "$when" = 'offer behind' ]; then
			has_a_copy_only peer
		else
			has_none peer
		fi
	done
	moved_to peer
	moved_to ctctl
}

@test "the machine that it comes to is reset at the hand-over: before it knows nobody runs it, then it is its" {
	reset_destination_at commit before
	[[ $output == *"not confirmed"* ]]
	is_in_doubt ctctl peer
	run -0 ctctl migrate d1 root@peer
	has_none ctctl
	goes_on peer
	moved_to ctctl

	reset_destination_at commit behind
	[[ $output == *"not confirmed"* ]]
	is_marked ctctl relinquished
	run -4 ctctl resume d1
	run -0 ctctl migrate resolve d1
	[[ $output == *"is the other node's"* ]]
	has_none ctctl
	# it ran there when that was switched off: its daemon starts it only if the end of that job was not on the disk yet
	runs peer d1 || peer start d1
	book_begins peer
	is_well_on peer
	moved_to ctctl
}

