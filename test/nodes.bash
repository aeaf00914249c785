# Two machines with ctd as a service on one wire, and a third machine on it, which is a namespace of lab1's (CTD_OUTSIDE); the container "d1" moves between the
# two: for test files that load lib, peer and guest.
#
#	setup_file()    { nodes_setup COMMAND; }      # of each node's shell, when its ctd runs
#	teardown_file() { nodes_teardown; }
#	teardown()      { nodes_mend; ... }
#
# Each word of a migration is a connection of its own: what lies in /run/at-WORD of the node that says it happens at that word. There $line is what is said,
# "$@" the words of the connection, and "send" says it.
# shellcheck shell=bash

LINK=eth0 # of the wire, on both machines; on lab1 it leads to a bridge
ADDRESS=10.99.0.50
ADDRESS6=fd99::50
# shellcheck disable=SC2034 # for who loads this: a connection that is cut for good goes in less than the 40 s that ctd has
PATIENCE='-o ServerAliveInterval=4 -o ServerAliveCountMax=3 -o LogLevel=INFO'
# What "at" takes along to the other machine.
NODES_FUNCTIONS='cgroup_of ids_of inside field cgroup_mount answered_on none_go_on'

nodes_setup() # COMMAND
{
	export DIR=$BATS_FILE_TMPDIR WIRE=$BATS_FILE_TMPDIR/wire
	ctd_installed
	wire_open
	segment_up
	nodes_up "$1"
}

nodes_teardown()
{
	local status=0
	nodes_mend
	lib_destroy_all
	ctctl fsck || status=1
	far 'for name in $(ctctl list -q); do ctctl destroy "$name" --force; done; ctctl fsck' || status=1
	rm -f /usr/local/sbin/ssh /etc/ctd/ctd.conf
	far 'rm -f /usr/local/sbin/ssh /etc/ctd/ctd.conf; systemctl restart ctd; ip route del default; ip -6 route del default'
	/usr/bin/ssh -S "$WIRE" -O exit peer 2>/dev/null
	segment_down
	systemctl restart ctd
	return "$status"
}

nodes_mend() # what a test that failed may have left
{
	rm -f /run/at-*
	if ! wire_is_whole; then
		wire_mend
		wire_anew
	fi
	rm -f /var/filler
	far 'rm -f /run/at-* /var/filler'
}

# ---- the wire

wire_open() # one connection for all that the tests ask the other machine
{
	/usr/bin/ssh -f -N -M -S "$WIRE" root@peer </dev/null >/dev/null 2>&1 3>&- 4>&-
}

wire_anew() # behind a cut: that connection would wait for long before it tries again
{
	/usr/bin/ssh -S "$WIRE" -O exit peer 2>/dev/null || true
	wait_for 60 wire_open
}

wire_cut() # [ingress|egress]: of lab1 one way only: nothing comes from there, or nothing goes there
{
	if [ $# = 0 ]; then
		ip link set "$LINK" down
	else
		nft "add table netdev cut; add chain netdev cut way { type filter hook $1 device $LINK priority -500; policy drop; }"
	fi
}

wire_mend()
{
	ip link set "$LINK" up
	nft delete table netdev cut 2>/dev/null || true
}

wire_is_whole()
{
	ip link show "$LINK" | grep -q '[<,]UP[,>]' && ! nft list table netdev cut >/dev/null 2>&1
}

# ---- the nodes

far() # COMMAND: of the other machine's shell
{
	/usr/bin/ssh -S "$WIRE" root@peer "$@"
}

peer() # ARG...: ctctl on the other machine
{
	far "ctctl $(printf '%q ' "$@")" </dev/null
}

at() # DAEMON FUNCTION...: where that daemon is
{
	if [ "$1" = ctctl ]; then
		"${@:2}"
	else
		# shellcheck disable=SC2086 # words
		far "CTID=$CTID; $(declare -f $NODES_FUNCTIONS); $(printf '%q ' "${@:2}")" </dev/null
	fi
}

segment_up()
{
	setsid unshare --net sleep infinity </dev/null >/dev/null 2>&1 3>&- 4>&- &
	export CTD_OUTSIDE=$!
	wait_for 5 lib_outside_ready
	ip link add br0 address "$(cat "/sys/class/net/$LINK/address")" type bridge
	ip link add seg0 type veth peer name out0 netns "$CTD_OUTSIDE"
	ip addr flush dev "$LINK"
	ip link set "$LINK" master br0
	ip link set seg0 master br0 up
	ip link set br0 up
	ip addr add 10.99.0.1/24 dev br0
	ip addr add fd99::1/64 dev br0 nodad
	outside ip link set lo up
	outside ip addr add 10.99.0.3/24 dev out0
	outside ip addr add fd99::3/64 dev out0 nodad
	outside ip link set out0 up
	ip route add default via 10.99.0.3
	ip -6 route add default via fd99::3
}

segment_down()
{
	ip link del seg0 # what is in there still may keep the namespace, and the next file has one of its own
	kill -9 "$CTD_OUTSIDE"
	ip link del br0
	ip addr add 10.99.0.1/24 dev "$LINK"
	ip addr add fd99::1/64 dev "$LINK" nodad
}

uplink_there()
{
	far 'ip route add default via 10.99.0.3; ip -6 route add default via fd99::3'
}

# The network leads the guest's addresses to neither of the nodes, so they answer for them.
nodes_up() # COMMAND
{
	local prepare='mkdir -p /etc/ctd && echo "proxy-neighbours = yes" >/etc/ctd/ctd.conf && cat >/usr/local/sbin/ssh && chmod 755 /usr/local/sbin/ssh &&
		systemctl restart ctd && '"$1"' && sync'
	uplink_there
	cat >"$DIR/ssh" <<-'END'
		#!/bin/bash
		[ "${*: -1}" = "ctctl migrate-receive" ] && compgen -G '/run/at-*' >/dev/null || exec /usr/bin/ssh "$@"
		send() { printf '%s\n' "$line" && cat; }
		IFS= read -r line || exit 255
		word=$(sed 's/.*"word":"\([a-z]*\)".*/\1/' <<<"$line")
		if [ -e "/run/at-$word" ]; then . "/run/at-$word"; else send | /usr/bin/ssh "$@"; fi
	END
	far "$prepare" <"$DIR/ssh" 3>&- 4>&- &
	bash -c "$prepare" <"$DIR/ssh"
	wait $!
}

migrate_ends() # STATUS [ARG...]: of lab1's
{
	run ctctl migrate d1 root@peer "${@:2}"
	echo "$output"
	[ "$status" = "$1" ]
}

# A program there: fills the disk until it has but so many bytes, and that is what /var/filler is.
leave_there() # DAEMON
{
	# shellcheck disable=SC2016 # of that shell
	at "$1" sh -c 'echo '\''rm -f /var/filler; sync; fallocate -l $(($(stat -f -c "%a * %S" /var) - $1)) /var/filler'\'' >/run/leave'
}

# ---- where it is

answered_on() # those of its addresses that this node answers for
{
	ip neigh show proxy | awk '{ print $1 }' | sort -u
}

answers_for() # DAEMON ADDRESSES
{
	[ "$(at "$1" answered_on)" = "$2" ]
}

other_than() # DAEMON
{
	[ "$1" = ctctl ] && echo peer || echo ctctl
}

has_none() # DAEMON
{
	local path
	path=$(at "$1" cgroup_of ctctl)
	run -3 "$1" show d1
	run ! at "$1" test -e "$path"
}

# There is nothing of it, or a copy that may not run, and does not.
runs_not_on() # DAEMON
{
	local state path
	answers_for "$1" ""
	state=$(field "$1" d1 .handover.state) || true
	if [ -z "$state" ]; then
		has_none "$1"
		return
	fi
	[ "$state" = '"incoming"' ]
	! runs "$1" d1 || return 1
	path=$(at "$1" cgroup_of ctctl)
	at "$1" none_go_on "$path"
}

# It has no processes, or they are frozen, or there is CRIU only, which holds what was read ahead of its memory.
none_go_on() # CGROUP
{
	local pid
	! grep -qs '^frozen 0' "$1/cgroup.events" && return
	while read -r pid; do
		[[ $(readlink "/proc/$pid/exe") == */criu ]] || return 1
	done < <(find "$1" -name cgroup.procs -exec cat {} +)
}

runs_on() # DAEMON, and not on the other
{
	runs "$1" d1
	wait_for 20 answers_for "$1" "$ADDRESS"$'\n'"$ADDRESS6"
	runs_not_on "$(other_than "$1")"
}
