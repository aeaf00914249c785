#!/usr/bin/env bats
# lab: script machines=2 deadline=600
# Two hosts on one tagged link: containers on the same VLAN meet, those on another do not, and the hosts are not on it.
load lib

LINK=
PEER='cd /ctd && CTD_SOCKET=/run/peer/ctd.sock'

setup_file()
{
	modprobe 8021q
	ssh peer modprobe 8021q
	ctd_setup
	tiny_template
	ssh peer 'mkdir -p /run/peer /var/tmp/peer
		setsid -f /ctd/build/ctd/ctd --state /var/tmp/peer --runtime /run/peer --foreground >/var/tmp/peer.log 2>&1 </dev/null 3>&-
		sleep 5'
	ssh peer "$PEER build/ctctl/ctctl template build tiny"
}

teardown_file()
{
	ssh peer "$PEER build/ctctl/ctctl list -q | xargs -r -n 1 env CTD_SOCKET=/run/peer/ctd.sock build/ctctl/ctctl destroy --force" || true
	ctd_teardown
}

setup()
{
	LINK=$(ip -o -4 addr show to 10.99.0.0/24 | awk '{ print $2; exit }')
}

vlan() # ID ADDRESS ADDRESS6
{
	echo "vlan,vlan=$1,uplink=$LINK,ip=$2,ip=$3"
}

peer()
{
	# shellcheck disable=SC2029
	ssh peer "$PEER build/ctctl/ctctl $*"
}

@test "containers of two hosts meet on their VLAN, in both families" {
	ctctl create a --template tiny --net "$(vlan 42 10.6.0.1/24 fd06::1/64)" --start
	peer create b --template tiny --net "$(vlan 42 10.6.0.2/24 fd06::2/64)" --start
	wait_for 30 ctctl exec a -- ping -c 1 -W 5 10.6.0.2
	wait_for 30 ctctl exec a -- ping -c 1 -W 5 fd06::2
	wait_for 30 peer exec b -- ping -c 1 -W 5 10.6.0.1
}

# 1 GB, every byte of it compared: test/probe-stream.c.
is_received() { [ "$(<"$BATS_TEST_TMPDIR/received")" = "received $1" ]; }

@test "1 GB comes over the tagged link as it was sent, in both families" {
	local size=1000000000
	ctctl exec a -- sh -c 'cat >/sbin/probe && chmod 755 /sbin/probe' <"$CTD_BUILD/libct/probe"
	peer "exec b -- sh -c 'cat >/sbin/probe && chmod 755 /sbin/probe'" <"$CTD_BUILD/libct/probe"
	peer "exec b -- /sbin/probe stream receive 7200 $size" </dev/null >"$BATS_TEST_TMPDIR/received" 3>&- &
	ctctl exec a -- /sbin/probe stream send 10.6.0.2 7200 "$size"
	wait
	is_received "$size"
	ctctl exec a -- /sbin/probe stream receive 7200 "$size" >"$BATS_TEST_TMPDIR/received" </dev/null 3>&- &
	peer "exec b -- /sbin/probe stream send fd06::1 7200 $size" </dev/null
	wait
	is_received "$size"
}

rate_at() # LINK RATE: of its hierarchy, a place with that guarantee
{
	tc class show dev "$1" | grep -q "parent c7d0:1 .*rate $2 "
}

sent() # CLASS: packets
{
	tc -s class show dev "$LINK" | awk -v want="$1" '$1 == "class" { on = $3 == want } on && $1 == "Sent" { print $4; exit }'
}

@test "a part of the tagged link is guaranteed to a container on a VLAN, and its frames have their place there" {
	ctctl set a --net "$(vlan 42 10.6.0.1/24 fd06::1/64),rate-out=20M,guaranteed=3M"
	rate_at "$LINK" 3Mbit
	part=$(tc class show dev "$LINK" | awk '/rate 3Mbit/ { print $3 }')
	before=$(sent "$part")
	ctctl exec a -- ping -c 5 -W 5 10.6.0.2
	ctctl exec a -- ping -c 5 -W 5 fd06::2
	after=$(sent "$part")
	echo "packets at the place: $before, then $after"
	[ "$after" -ge $((before + 10)) ]
	tc qdisc show dev "$LINK" | grep -q "fq_codel.*parent $part "
	ctctl set a --net "$(vlan 42 10.6.0.1/24 fd06::1/64)"
	! rate_at "$LINK" 3Mbit || return 1
	tc qdisc del dev "$LINK" root
	wait_for 30 ctctl exec a -- ping -c 1 -W 5 10.6.0.2
}

@test "another VLAN is another world" {
	peer create c --template tiny --net "$(vlan 43 10.6.0.3/24 fd06::3/64)" --start
	run ctctl exec a -- ping -c 1 -W 2 10.6.0.3
	[ "$status" -ne 0 ]
	run peer exec b -- ping -c 1 -W 2 10.6.0.3
	[ "$status" -ne 0 ]
}

@test "the hosts have no address there and hear nothing" {
	run ctctl exec a -- ping -c 1 -W 2 10.99.0.1
	[ "$status" -ne 0 ]
	run ctctl exec a -- ping -c 1 -W 2 10.99.0.2
	[ "$status" -ne 0 ]
	# what the tenant tags himself goes nowhere, whichever VLAN he names
	ctctl exec a -- ip link add link eth0 name t type vlan id 43
	ctctl exec a -- ip addr add 10.6.0.9/24 dev t
	ctctl exec a -- ip link set t up
	run ctctl exec a -- ping -c 1 -W 2 -I t 10.6.0.3
	[ "$status" -ne 0 ]
}

# On the hosts that run the other tests there may be no VLANs.
@test "a VLAN's bridge is on its VLAN, and a trunk carries its tags and no others" {
	run -0 "$CTD_BUILD/netns/test-net-bridge"
	[[ $output == *'OK ] vlan_leads_to_its_own_segment'* ]]
	run -0 "$CTD_BUILD/netns/test-net-segment-frames"
	[[ $output == *'OK ] a_trunk_carries_its_tags_and_no_others'* ]]
}

on_vlan() # ID: in the container t, whose address it takes along
{
	ctctl exec t -- sh -c "ip link del dev tag 2>/dev/null; ip link add link eth0 name tag type vlan id $1 &&
		ip addr add 10.6.0.5/24 dev tag && ip -6 addr add fd06::5/64 dev tag && ip link set tag up"
}

@test "a container with a trunk meets the VLANs of its own, here and on the other host, and no others" {
	peer create d --template tiny --net "$(vlan 44 10.6.0.4/24 fd06::4/64)" --start
	ctctl create t --template tiny --net "vlan,uplink=$LINK,trunk=42-43,ip=10.6.0.5,ip=fd06::5" --start
	# nobody else can have its address on any of them
	run -4 ctctl create u --template tiny --net "$(vlan 43 10.6.0.5/24 fd06::6/64)"
	[[ $output == *'"t"'* ]]
	on_vlan 42
	wait_for 30 ctctl exec t -- ping -c 1 -W 5 10.6.0.1
	wait_for 30 ctctl exec t -- ping -c 1 -W 5 10.6.0.2
	wait_for 30 peer exec b -- ping -c 1 -W 5 fd06::5
	run ctctl exec t -- ping -c 1 -W 2 10.6.0.3
	[ "$status" -ne 0 ]
	on_vlan 43
	wait_for 30 ctctl exec t -- ping -c 1 -W 5 10.6.0.3
	run ctctl exec t -- ping -c 1 -W 2 10.6.0.2
	[ "$status" -ne 0 ]
	on_vlan 44
	run ctctl exec t -- ping -c 1 -W 2 10.6.0.4
	[ "$status" -ne 0 ]
	# the next daemon finds it as it was; other VLANs, live, on the same interface: what is made on it inside stays
	ctd_kill
	ctd_start
	on_vlan 43
	wait_for 30 ctctl exec t -- ping -c 1 -W 5 10.6.0.3
	before=$(ctctl exec t -- ip -o link show eth0)
	ctctl set t --net "vlan,uplink=$LINK,trunk=43-44,ip=10.6.0.5,ip=fd06::5"
	ctctl exec t -- ping -c 3 -W 10 10.6.0.3
	on_vlan 44
	wait_for 30 ctctl exec t -- ping -c 1 -W 5 10.6.0.4
	ctctl set t --net "vlan,uplink=$LINK,trunk=44,ip=10.6.0.5,ip=fd06::5"
	[ "$(ctctl exec t -- ip -o link show eth0)" = "$before" ]
	wait_for 30 ctctl exec t -- ping -c 1 -W 5 10.6.0.4
	# what is refused changes nothing
	run ! ctctl set t --net "vlan,uplink=$LINK,trunk=42,ip=10.6.0.5,ip=10.6.0.1,ip=fd06::5"
	ctctl exec t -- ping -c 3 -W 10 10.6.0.4
	on_vlan 44
	wait_for 30 ctctl exec t -- ping -c 1 -W 5 10.6.0.4
	on_vlan 43
	run ctctl exec t -- ping -c 1 -W 2 10.6.0.3
	[ "$status" -ne 0 ]
	ctctl destroy t --force
	wait_for 20 sh -c '! ip -d -o link show | grep -q "vlan protocol 802.1Q id 4[34]"'
	ctctl fsck
}

@test "a login by ssh on the VLAN, in both families" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_TEST_TMPDIR/id"
	ssh peer 'cat >/var/tmp/peer.pub' <"$BATS_TEST_TMPDIR/id.pub"
	peer set b --ssh-key /var/tmp/peer.pub
	login() # ADDRESS
	{
		nsenter -t "$(ctctl show a --json | jq .pid)" -n ssh -F none -i "$BATS_TEST_TMPDIR/id" -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=no \
			-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "root@$1" cat /sys/class/net/eth0/address </dev/null
	}
	there=$(peer exec b -- cat /sys/class/net/eth0/address)
	wait_for 60 login 10.6.0.2
	[ "$(login 10.6.0.2)" = "$there" ]
	[ "$(login fd06::2)" = "$there" ]
}

neighbours() { { ctctl exec a -- ip neigh && peer exec b -- ip neigh; } | tr -s ' \r' ' '; }
finds() # MAC: who has talked to somebody at these addresses looks for them there now
{
	local all
	all=$(neighbours)
	for at in 10.6.0.10 fd06::a; do [ "$(grep -c "^$at .*lladdr $1 " <<<"$all")" = 2 ] || { echo "not $1: $all" && return 1; }; done
}

@test "an address that moves to the other host is found there at once" {
	peer create m --template tiny --net "$(vlan 42 10.6.0.10/24 fd06::a/64)" --start
	before=$(peer exec m -- cat /sys/class/net/eth0/address)
	for at in 10.6.0.10 fd06::a; do
		wait_for 30 ctctl exec a -- ping -c 1 -W 5 "$at"
		wait_for 30 peer exec b -- ping -c 1 -W 5 "$at"
	done
	finds "$before"
	peer destroy m --force
	ctctl create m --template tiny --net "$(vlan 42 10.6.0.10/24 fd06::a/64)" --start
	after=$(ctctl exec m -- cat /sys/class/net/eth0/address)
	[ "$after" != "$before" ]
	wait_for 20 finds "$after" || finds "$after"
	ctctl destroy m --force
}

@test "a VLAN that the host has an interface for is not taken, but that interface can be used" {
	ip link add link "$LINK" name own type vlan id 45
	ctctl create o --template tiny --net "$(vlan 45 10.6.0.6/24 fd06::6/64)"
	run -4 ctctl start o
	[[ $output == *'VLAN 45'*'uplink'* ]]
	ctctl set o --net bridge,uplink=own,ip=10.6.0.6/24
	ctctl start o
	ctctl destroy o --force
	ip link del own
}

@test "sub-interface and bridge go with the last container" {
	ctctl destroy a --force
	wait_for 20 sh -c '! ip -d -o link show | grep -q "vlan protocol 802.1Q id 42"'
	ctctl fsck
}
