#!/usr/bin/env bats
# lab: script machines=2
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

@test "sub-interface and bridge go with the last container" {
	ctctl destroy a --force
	wait_for 20 sh -c '! ip -d -o link show | grep -q "vlan protocol 802.1Q id 42"'
	ctctl fsck
}
