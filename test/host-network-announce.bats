#!/usr/bin/env bats
# Where addresses are: a segment is told at once when a container starts or has moved, and is told nothing else by the host.
load lib
load peer

# The outside is a host on a switch, to which up0, up8 and up9 lead; br9 is a bridge of the administrator's on up9.
setup_file()
{
	uplink_up
	outside ip link add switch type bridge
	for n in 8 9; do
		ip link add "up$n" type veth peer name "out$n" netns "$CTD_OUTSIDE"
		ip link set "up$n" up
		outside ip link set "out$n" master switch up
	done
	outside ip addr flush dev out0
	outside ip link set out0 master switch
	outside ip addr add 192.0.2.1/24 dev switch
	outside ip addr add 2001:db8::1/64 dev switch nodad
	outside ip link set switch up
	ip link add br9 type bridge
	ip link set br9 up
	ip link set up9 master br9
	echo 'proxy-neighbours = yes' >"$CTD_TEST_DIR/conf"
	ctd_setup --config "$CTD_TEST_DIR/conf"
	tiny_template
	peer_setup
	wait_for 20 switch_forwards
	wait_for 20 switch_hears
}

# The kernel opens the ports of a bridge a second after their links are up, and IPv6 on it a moment after that.
switch_forwards()
{
	[ "$(outside bridge link | grep -c 'state forwarding')" = 3 ] && bridge link show dev up9 | grep -q 'state forwarding'
}

switch_hears() { outside ip -6 route show table local dev switch | grep -q ff00::/8; }

teardown_file()
{
	peer_teardown
	ctd_teardown
	for link in br9 up8 up9; do ip link del "$link"; done
	uplink_down
}

# A neighbour that has talked to somebody else at the address: as long as it is left alone, it believes that.
believes_another() # ADDRESS...
{
	for a; do outside ip neigh replace "$a" lladdr 02:00:00:00:00:99 dev switch nud reachable; done
}

finds() # MAC ADDRESS...: in its own table, without a question
{
	local mac=$1
	shift
	for a; do outside ip neigh show "$a" dev switch | grep -q "lladdr $mac " || return 1; done
}

# Whoever heard nothing the first time is told again.
counts() # IPV4 IPV6-IN-HEX
{
	outside nft "add table arp heard; delete table arp heard; add table ip6 heard; delete table ip6 heard
		table arp heard { counter v4 { }; chain in { type filter hook input priority 0; arp operation request arp saddr ip $1 arp daddr ip $1 counter name v4; }; }
		table ip6 heard { counter v6 { }; chain in { type filter hook input priority 0; ip6 daddr ff02::1 icmpv6 type nd-neighbor-advert @th,64,128 $2 counter name v6; }; }"
}
is_told_thrice() { outside nft -j list counters | jq -e '[.nftables[] | .counter | values | .packets] | length == 2 and min >= 3'; }

mac_of() { ip -j link show "$1" | jq -r '.[0].address'; }
mac_inside() { $1 exec "$2" -- cat /sys/class/net/eth0/address; }
answers() { for a; do outside ping -c 1 -W 10 "$a" >/dev/null || return 1; done; }
is_sure() { outside ip neigh show "$1" dev switch | grep -q REACHABLE; }
behind() { outside bridge fdb show br switch | grep "^$1 " | grep -q "dev $2 "; }

@test "routed: the segment of the uplink is told at the start, and where the addresses are when the uplink is another link" {
	counts 192.0.2.55 0x20010db8000000000000000000000055
	believes_another 192.0.2.55 2001:db8::55
	ctctl create p --template tiny --net routed,ip=192.0.2.55,ip=2001:db8::55 --start
	wait_for 20 finds "$(mac_of up0)" 192.0.2.55 2001:db8::55
	answers 192.0.2.55 2001:db8::55
	wait_for 20 is_told_thrice
	believes_another 192.0.2.55 2001:db8::55
	ctctl restart p --timeout 5
	wait_for 20 finds "$(mac_of up0)" 192.0.2.55 2001:db8::55
	# up8 takes its place
	ip route replace default dev up8
	ip -6 route replace default dev up8
	wait_for 60 finds "$(mac_of up8)" 192.0.2.55 2001:db8::55
	ip route replace default via 192.0.2.1 dev up0
	ip -6 route replace default via 2001:db8::1 dev up0
	wait_for 60 finds "$(mac_of up0)" 192.0.2.55 2001:db8::55
	answers 192.0.2.55 2001:db8::55
	# an address that comes later
	believes_another 192.0.2.56 2001:db8::56
	ctctl set p --net routed,ip=192.0.2.55,ip=192.0.2.56,ip=2001:db8::56
	wait_for 20 finds "$(mac_of up0)" 192.0.2.56 2001:db8::56
	answers 192.0.2.56 2001:db8::56
	# who knows it asks the host alone whether it is still there; it is, frozen or not
	ctctl freeze p
	for a in 192.0.2.56 2001:db8::56; do
		outside ip neigh change "$a" dev switch nud probe
		wait_for 20 is_sure "$a"
	done
	ctctl destroy p --force
}

@test "routed: before the host has its uplink it starts, and the segment is told when there is one" {
	ip route del default
	ip -6 route del default
	believes_another 192.0.2.57 2001:db8::57
	ctd_stop
	ctd_start
	ctctl create u --template tiny --net routed,ip=192.0.2.57,ip=2001:db8::57 --start
	run -5 ctctl create r --template tiny --net routed,ip=192.0.2.58,rate-out=100M --start
	[[ $output == *"there is no uplink (no default route) on which to keep a rate out"* ]]
	run -0 ctctl fsck
	ip route add default via 192.0.2.1 dev up0
	wait_for 60 finds "$(mac_of up0)" 192.0.2.57
	ip -6 route add default via 2001:db8::1 dev up0
	wait_for 60 finds "$(mac_of up0)" 192.0.2.57 2001:db8::57
	answers 192.0.2.57 2001:db8::57
	run -0 ctctl fsck
	ctctl destroy u --force
}

# Its bridge is made for it, and the first frame on it is the announcement.
@test "bridge: neighbours and the switch know where it is when it has started, and when it starts elsewhere" {
	believes_another 192.0.2.60 2001:db8::60
	ctctl create b --template tiny --net bridge,uplink=up8,ip=192.0.2.60/24,ip=2001:db8::60/64 --start
	wait_for 20 finds "$(mac_inside ctctl b)" 192.0.2.60 2001:db8::60
	behind "$(mac_inside ctctl b)" out8
	answers 192.0.2.60 2001:db8::60
	believes_another 192.0.2.60 2001:db8::60
	ctctl set b --net bridge,bridge=br9,ip=192.0.2.60/24,ip=2001:db8::60/64
	wait_for 20 finds "$(mac_inside ctctl b)" 192.0.2.60 2001:db8::60
	behind "$(mac_inside ctctl b)" out9
	answers 192.0.2.60 2001:db8::60
	ctctl destroy b --force
}

@test "after a move to another node the segment is told of it there" {
	ctctl create m --template tiny --net bridge,bridge=br9,ip=192.0.2.61/24,ip=2001:db8::61/64 --start
	answers 192.0.2.61 2001:db8::61
	wait_for 60 ctctl exec m -- test -s /etc/dropbear/dropbear_ed25519_host_key
	believes_another 192.0.2.61 2001:db8::61
	counts 192.0.2.61 0x20010db8000000000000000000000061
	ctctl migrate m "$PEER/run/ctd.sock" --offline
	wait_for 20 finds "$(mac_inside peer m)" 192.0.2.61 2001:db8::61
	answers 192.0.2.61 2001:db8::61
	wait_for 20 is_told_thrice
	believes_another 192.0.2.61 2001:db8::61
	peer migrate m "$CTD_SOCKET" --offline
	wait_for 20 finds "$(mac_inside ctctl m)" 192.0.2.61 2001:db8::61
	answers 192.0.2.61 2001:db8::61
	ctctl destroy m --force
}

# Where rp_filter is off the kernel answers on each link for the addresses of all.
@test "a segment is told nothing of addresses that the host has elsewhere" {
	for what in all default; do echo 0 >"/proc/sys/net/ipv4/conf/$what/rp_filter"; done
	ip addr add 10.77.255.1/32 dev lo
	ctctl network create lan --mode private --range 10.50.0.0/24
	ctctl create l1 --template tiny --net network=lan,ip=10.50.0.1 --start
	ctctl create l2 --template tiny --net network=lan,ip=10.50.0.2 --start
	told() { ctctl exec l1 -- arping -q -f -c 3 -w 3 -I eth0 "$1"; }
	wait_for 20 told 10.50.0.2
	for a in 192.0.2.2 10.77.255.1; do
		run ! told "$a"
	done
	for name in l1 l2; do ctctl destroy "$name" --force; done
	ctctl network remove lan
	ip addr del 10.77.255.1/32 dev lo
}
