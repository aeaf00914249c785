#!/usr/bin/env bats
# Networks of containers, first step: nat and routed, seen from inside, from the host and from outside.
load lib

setup_file()
{
	uplink_up
	echo 'dns = 192.0.2.53 2001:db8::53' >"$CTD_TEST_DIR/conf"
	ctd_setup --config "$CTD_TEST_DIR/conf"
	tiny_template
	ctctl create n1 --template tiny --start
	ctctl create n2 --template tiny --start
	ctctl create r1 --template tiny --net routed --ip 203.0.113.7 --ip 2001:db8:7::7 --start
	ctctl create r2 --template tiny --net routed --ip 203.0.113.8 --start
	outside ip route add 203.0.113.0/24 via 192.0.2.2
	outside ip -6 route add 2001:db8:7::/64 via 2001:db8::2
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

setup()
{
	world_save
}

teardown()
{
	# A new daemon has other descriptors open than the one before.
	if [ -n "${restarted:-}" ]; then ctctl fsck; else world_check; fi
}

address()
{
	ctctl show "$1" --json | jq -r "[.addresses[] | select(test(\"$2\"))][0]"
}

pings()
{
	ctctl exec "$1" -- ping -c 1 -W "${WAIT:-10}" "$2" >/dev/null
}

@test "a container reaches the outside" {
	pings n1 198.51.100.1
	pings n1 2001:db8:1::1
	pings r1 198.51.100.1
	pings r1 2001:db8:1::1
}

@test "a routing daemon can tell the routes of containers from all others" {
	ip route show proto 199 | grep -q '^203.0.113.7 '
	ip -6 route show proto 199 | grep -q '^2001:db8:7::7 '
	! ip route show proto 199 | grep -v -e '^203.0.113.[78] ' -e '^10.77.' || return 1
}

@test "the outside reaches routed addresses, and not private ones" {
	outside ping -c 1 -W 10 203.0.113.7 >/dev/null
	outside ping -c 1 -W 10 2001:db8:7::7 >/dev/null
	outside ip route add 10.77.0.0/16 via 192.0.2.2
	run outside ping -c 1 -W 1 "$(address n1 '^10')"
	outside ip route del 10.77.0.0/16
	[ "$status" -ne 0 ]
}

@test "the host reaches its containers" {
	ping -c 1 -W 10 "$(address n1 '^10')" >/dev/null
	ping -c 1 -W 10 "$(address n1 '^fd')" >/dev/null
	ping -c 1 -W 10 203.0.113.7 >/dev/null
}

@test "routed containers reach each other, private ones do not" {
	pings r1 203.0.113.8
	WAIT=2 run pings n1 "$(address n2 '^10')"
	[ "$status" -ne 0 ]
	WAIT=2 run pings n1 "$(address n2 '^fd')"
	[ "$status" -ne 0 ]
}

@test "services of the host are out of reach" {
	socat TCP-LISTEN:8022,fork,reuseaddr SYSTEM:'echo host' 3>&- &
	server=$!
	wait_for 20 sh -c 'echo | socat - TCP:127.0.0.1:8022 | grep -q host'
	run ctctl exec n1 -- sh -c 'nc -w 2 192.0.2.2 8022 </dev/null'
	refused=$output
	run ctctl exec n1 -- sh -c 'nc -w 2 169.254.1.1 8022 </dev/null'
	kill "$server"
	[[ "$refused$output" != *host* ]]
}

@test "address, gateway and resolver are set from outside" {
	ctctl exec r1 -- ip addr show eth0 | grep -q '203.0.113.7/32'
	ctctl exec r1 -- ip route | grep -q '^default'
	ctctl exec r1 -- grep -q '^nameserver 192.0.2.53' /etc/resolv.conf
	ctctl exec r1 -- grep -q '^nameserver 2001:db8::53' /etc/resolv.conf
}

@test "a resolv.conf of the tenant's own is left alone" {
	ctctl create own --template tiny --start
	ctctl exec own -- sh -c 'echo nameserver 9.9.9.9 >/etc/resolv.conf'
	ctctl restart own --timeout 5
	[ "$(ctctl exec own -- cat /etc/resolv.conf)" = "nameserver 9.9.9.9" ]
	ctctl destroy own --force
}

@test "a foreign source address does not leave" {
	ctctl exec n1 -- ip addr add 203.0.113.66/32 dev eth0
	timeout 6 tcpdump -ni up0 -c 1 host 203.0.113.66 >"$BATS_TEST_TMPDIR/dump" 2>/dev/null 3>&- &
	sleep 1
	ctctl exec n1 -- ping -c 2 -W 1 -I 203.0.113.66 198.51.100.1 >/dev/null || true
	sleep 1
	ctctl exec n1 -- ip addr del 203.0.113.66/32 dev eth0
	kill %1 2>/dev/null || true
	! grep -q . "$BATS_TEST_TMPDIR/dump" || return 1 # tcpdump ends with an empty line
}

@test "the network is as before after a restart of the container and of ctd" {
	ctctl restart n1 --timeout 5
	pings n1 198.51.100.1
	pid=$(ctctl show n1 --json | jq .pid)
	ctd_kill
	nsenter --target "$pid" --net ping -c 1 -W 10 198.51.100.1 >/dev/null
	ctd_start
	restarted=yes
	pings n1 198.51.100.1
	WAIT=2 run pings n1 "$(address n2 '^10')"
	[ "$status" -ne 0 ]
}

@test "mode none has only lo" {
	ctctl create alone --template tiny --net none --start
	[ "$(ctctl exec alone -- sh -c 'ls /sys/class/net')" = lo ]
	ctctl destroy alone --force
}
