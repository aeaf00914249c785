#!/usr/bin/env bats
# host: deadline=900
# Who reaches whom, by mode and family; and that forged packets reach nobody, whatever happens to the container and the daemon.
load lib

# up0 leads to the outside of lib.bash; up1 is a segment of its own, on which 10.66.0.1 and fd66::1 answer.
setup_file()
{
	uplink_up
	ip link add up1 type veth peer name out1 netns "$CTD_OUTSIDE"
	ip link set up1 up
	outside ip addr add 10.66.0.1/24 dev out1
	outside ip addr add fd66::1/64 dev out1 nodad
	outside ip link set out1 up
	ctd_setup
	tiny_template
	ctctl network create lan --mode private --range 10.50.0.0/24 --range fd50::/64
	ctctl network create other --mode private --range 10.50.0.0/24 --range fd50::/64
	ctctl network create seg --mode bridge --uplink up1 --range 10.66.0.0/24 --range fd66::/64 --gateway 10.66.0.1 --gateway fd66::1
	ctctl create nat1 --template tiny --start
	ctctl create nat2 --template tiny --start
	ctctl create routed1 --template tiny --net routed,ip=203.0.113.7,ip=2001:db8:7::7 --start
	ctctl create routed2 --template tiny --net routed,ip=203.0.113.8,ip=2001:db8:7::8 --start
	ctctl create lan1 --template tiny --net network=lan --start
	ctctl create lan2 --template tiny --net network=lan --start
	ctctl create other1 --template tiny --net network=other,ip=10.50.0.77,ip=fd50::77 --start
	ctctl create seg1 --template tiny --net network=seg --start
	ctctl create seg2 --template tiny --net network=seg --start
	outside ip route add 203.0.113.0/24 via 192.0.2.2
	outside ip -6 route add 2001:db8:7::/64 via 2001:db8::2
	outside sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

teardown_file()
{
	for name in $(ctctl list -q); do ctctl destroy "$name" --force; done
	for name in lan other seg; do ctctl network remove "$name"; done
	wait_for 15 sh -c '! ip -o link show type bridge | grep -q .'
	ctd_teardown
	ip link del up1 2>/dev/null || true
	uplink_down
}

address() # NAME 4|6
{
	ctctl show "$1" --json | jq -r "[.addresses[] | select(test(\":\") == ($2 == 6))][0]"
}

# row FROM RESULT...: what is, in words like those expected: "TO+" or "TO-" for both families, "TO4" or "TO6" if only one works; TO are names of
# containers, host, outside. An answer that is expected may take its time.
row()
{
	local from=$1 to four six wait line=
	shift
	for to; do
		wait=10
		[ "$to" = "${to%-}" ] || wait=1
		to=${to%[-+46]}
		case $to in
		outside) four=198.51.100.1 six=2001:db8:1::1 ;;
		router) four=10.66.0.1 six=fd66::1 ;;
		*) four=$(address "$to" 4) six=$(address "$to" 6) ;;
		esac
		four=$(sends "$from" "$four" "$wait") six=$(sends "$from" "$six" "$wait")
		case $four$six in
		11) line+=" $to+" ;;
		00) line+=" $to-" ;;
		10) line+=" ${to}4" ;;
		*) line+=" ${to}6" ;;
		esac
	done
	echo "${line# }"
}

sends() # FROM ADDRESS SECONDS: 1 or 0
{
	case $1 in
	host) ping -c 1 -W "$3" "$2" >/dev/null 2>&1 && echo 1 || echo 0 ;;
	outside) outside ping -c 1 -W "$3" "$2" >/dev/null 2>&1 && echo 1 || echo 0 ;;
	*) ctctl exec "$1" -- ping -c 1 -W "$3" "$2" >/dev/null 2>&1 && echo 1 || echo 0 ;;
	esac
}

expect() # FROM RESULT...
{
	local from=$1 got
	shift
	got=$(row "$from" "$@")
	[ "$got" = "$*" ] || { echo "from $from: $got, not $*" && return 1; }
}

# The segment is within reach by its router, which is a part of the outside.
@test "nat: the outside and routed neighbours, nobody else" {
	# the uplink's own IPv6 address needs a moment when it is new
	wait_for 15 expect nat1 outside+ nat2- routed1+ lan1- seg1+
}

@test "routed: the outside, each other, no private addresses" {
	expect routed1 outside+ routed2+ nat1- lan1- seg1+
}

@test "private: its own members only, although another network has the same addresses" {
	expect lan1 lan2+ other1- outside- nat1- routed1- seg1-
	expect other1 lan1- lan2-
}

@test "bridge: its segment, and what the router there knows" {
	expect seg1 seg2+ router+ lan1- nat1-
}

@test "host: all that it routes to" {
	expect host nat1+ routed1+ lan1- seg1+
}

@test "outside: routed addresses and the segment" {
	outside ip route add 10.77.0.0/16 via 192.0.2.2
	expect outside routed1+ seg1+ nat1- lan1-
	outside ip route del 10.77.0.0/16
}

# From where it is reached: the host, the outside, or another member of its segment. What goes in comes back whole.
login() # NAME 4|6 FROM [ADDRESS PORT]
{
	local at=${4:-} from=()
	[ -n "$at" ] || at=$(address "$1" "$2")
	case $3 in
	host) ;;
	outside) from=(outside) ;;
	*) from=(nsenter -t "$(ctctl show "$3" --json | jq .pid)" -n) ;;
	esac
	"${from[@]}" ssh -p "${5:-22}" -i "$BATS_FILE_TMPDIR/id" -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o LogLevel=ERROR "root@$at" cat <"$BATS_FILE_TMPDIR/data" | cmp - "$BATS_FILE_TMPDIR/data"
}

@test "a login by ssh and a transfer, in each mode and family" {
	ssh-keygen -q -t ed25519 -N '' -f "$BATS_FILE_TMPDIR/id"
	head -c 8000000 /dev/urandom >"$BATS_FILE_TMPDIR/data"
	for name in nat1 routed1 seg1 lan2; do ctctl set "$name" --ssh-key "$BATS_FILE_TMPDIR/id.pub"; done
	for family in 4 6; do
		wait_for 30 login nat1 $family host
		wait_for 30 login routed1 $family host
		wait_for 30 login seg1 $family host
		wait_for 30 login routed1 $family routed2
		wait_for 30 login seg1 $family seg2
		wait_for 30 login lan2 $family lan1
		wait_for 30 login routed1 $family outside
		wait_for 30 login seg1 $family outside
	done
	ctctl set nat1 --publish 2222:22
	wait_for 30 login nat1 4 outside 192.0.2.2 2222
	wait_for 30 login nat1 6 outside 2001:db8::2 2222
	ctctl set nat1 publish=
}

at() # outside|NAME COMMAND...: in its network
{
	local pid=$CTD_OUTSIDE
	[ "$1" = outside ] || pid=$(ctctl show "$1" --json | jq .pid)
	nsenter --target "$pid" --net -- "${@:2}"
}

# 1 GB, every byte of it compared: test/probe-stream.c.
carries() # FROM TO ADDRESS
{
	local probe=$CTD_BUILD/libct/probe size=1000000000 begun=$SECONDS
	at "$2" timeout 300 "$probe" stream receive 7200 "$size" >"$BATS_TEST_TMPDIR/received" 3>&- &
	at "$1" timeout 300 "$probe" stream send "$3" 7200 "$size"
	wait
	[ "$(<"$BATS_TEST_TMPDIR/received")" = "received $size" ] || { echo "from $1 to $2: $(<"$BATS_TEST_TMPDIR/received")" && return 1; }
	echo "from $1 to $2 at $3 in $((SECONDS - begun)) s"
}

@test "1 GB comes as it was sent, in each mode and family" {
	ctctl set nat1 --publish 7200:7200
	carries nat1 outside 198.51.100.1
	carries nat1 outside 2001:db8:1::1
	carries outside nat1 192.0.2.2
	carries outside nat1 2001:db8::2
	for family in 4 6; do
		carries outside routed1 "$(address routed1 $family)"
		carries outside seg1 "$(address seg1 $family)"
		carries lan1 lan2 "$(address lan2 $family)"
	done
	ctctl set nat1 publish=
}

# Where forged packets would be seen: a link of the host, its other end outside, and a container; who is written to, at which MAC; whose address
# on the segment is claimed.
on_uplink()
{
	LINK=up0 OUTSIDE=out0 NEIGHBOUR=routed1 ROUTER=192.0.2.1 HONEST=outside
	TO=("198.51.100.1 2001:db8:1::1 02:63:74:64:00:01" "203.0.113.7 2001:db8:7::7 02:63:74:64:00:01")
}
on_segment()
{
	LINK=up1 OUTSIDE=out1 NEIGHBOUR=seg1 ROUTER=10.66.0.1 HONEST=neighbour
	TO=("$(address seg1 4) $(address seg1 6) $(ctctl exec seg1 -- cat /sys/class/net/eth0/address)" "10.66.0.1 fd66::1 $(mac_of_router)")
}
mac_of_router() { outside ip -j link show out1 | jq -r '.[0].address'; }

# The container sends from its first moment on, with addresses that are not its own, and frames made by hand: test/probe-frames.c.
forge()
{
	ctctl create evil --template tiny --net "$1" --start
	ctctl exec evil -- sh -c 'cat >/sbin/probe && chmod 755 /sbin/probe' <"$CTD_BUILD/libct/probe"
	ctctl exec evil -- sh -c 'cat >/sbin/forge && chmod 755 /sbin/forge && echo "::respawn:/sbin/forge" >>/etc/inittab' <<END
#!/bin/sh
ip addr add 203.0.113.66/32 dev eth0
ip -6 addr add 2001:db8:66::66/128 dev eth0
/sbin/probe frames eth0 $(address evil 4) $(address evil 6) ${TO[0]} &
/sbin/probe frames eth0 $(address evil 4) $(address evil 6) ${TO[1]} &
while :; do
	ping -c 1 -W 1 -I 203.0.113.66 198.51.100.1 &
	ping -c 1 -W 1 -I 203.0.113.66 ${TO[1]%% *} &
	ping -6 -c 1 -W 1 -I 2001:db8:66::66 2001:db8:1::1 &
	arping -c 1 -w 1 -U -I eth0 -s $ROUTER $ROUTER &
	usleep 500000
done >/dev/null 2>&1
END
}

capture() # outside, at a neighbour, and on the host's link
{
	nsenter --target "$CTD_OUTSIDE" --net tcpdump -nU -i "$OUTSIDE" -w - >"$BATS_TEST_TMPDIR/outside" 2>"$BATS_TEST_TMPDIR/outside.err" 3>&- &
	nsenter --target "$(ctctl show "$NEIGHBOUR" --json | jq .pid)" --net tcpdump -nU -i eth0 -w - >"$BATS_TEST_TMPDIR/neighbour" 2>"$BATS_TEST_TMPDIR/neighbour.err" 3>&- &
	tcpdump -nU -i "$LINK" -w - >"$BATS_TEST_TMPDIR/host" 2>"$BATS_TEST_TMPDIR/host.err" 3>&- &
	for at in outside neighbour host; do wait_for 30 grep -q listening "$BATS_TEST_TMPDIR/$at.err"; done
}

honest_seen()
{
	grep -aq 'sent by root, IPv4' "$BATS_TEST_TMPDIR/$HONEST" && grep -aq 'sent by root, IPv6' "$BATS_TEST_TMPDIR/$HONEST"
}

nothing_seen()
{
	local at filter
	wait_for 30 honest_seen # else the captures would prove nothing
	# shellcheck disable=SC2046 # pids
	kill $(jobs -p)
	wait
	filter='host 203.0.113.66 or host 2001:db8:66::66 or (arp and src host '$ROUTER' and not ether src '$(outside ip -j link show "$OUTSIDE" | jq -r '.[0].address')')'
	for at in outside neighbour host; do
		tcpdump -nr "$BATS_TEST_TMPDIR/$at" "$filter" >"$BATS_TEST_TMPDIR/seen" 2>/dev/null
		! grep -q . "$BATS_TEST_TMPDIR/seen" || { echo "$at:" && head -n 5 "$BATS_TEST_TMPDIR/seen" && return 1; }
		! grep -aq 'forged by root' "$BATS_TEST_TMPDIR/$at" || { tcpdump -enXr "$BATS_TEST_TMPDIR/$at" | grep -B 8 'forged by\|ged by root' | head -n 40 && return 1; }
	done
	! ip neigh | grep -e 203.0.113.66 -e 2001:db8:66::66 -e fe80::66 || return 1
}

refused()
{
	ctctl show evil --json | jq .traffic.out_dropped
}

filters_are_back()
{
	nft list table netdev "ctd-$(ctd_tag)" 2>/dev/null | grep -q 203.0.113.7 && nft list table inet "ctd-$(ctd_tag)" 2>/dev/null | grep -q 'tcp . 8080'
}

@test "filters that somebody deletes are back at once, with everything in them" {
	ctctl set routed1 --publish 8080:80
	ctctl network cut nat2
	nft flush ruleset
	wait_for 20 filters_are_back
	expect nat1 outside+ nat2- routed1+
	expect nat2 outside- routed1-
	expect outside routed1+
	ctctl network restore nat2
	ctctl set routed1 publish=
	ctctl fsck
}

refused_more()
{
	[ "$(refused)" -gt "$1" ]
}

through_its_life()
{
	local before
	forge "$1"
	capture
	ctctl restart evil --timeout 3
	wait_for 30 refused_more 0 # they are sent
	wait_for 30 honest_seen
	before=$(refused)
	ctd_kill
	sleep 0.5
	ctd_start
	ctctl network create again --mode nat --range 10.91.0.0/24 # all rules are replaced
	ctctl network remove again
	ctctl network cut evil
	ctctl network restore evil
	ctctl set evil --rate-out 10M --pps-out 1000
	ctctl restart evil --timeout 3
	wait_for 30 refused_more "$before"
	nothing_seen
	ctctl destroy evil --force
}

# MAC, source, ARP, gratuitous ARP, neighbour and router advertisements, redirects, DHCP servers, options, extension headers, fragments, tags.
@test "forged packets leave no nat port, in starts, restarts, changes and without a daemon" {
	on_uplink
	through_its_life nat
}

@test "nor a routed port" {
	on_uplink
	through_its_life routed,ip=203.0.113.9,ip=2001:db8:7::9
}

@test "nor a port of a segment, where neighbours would believe them" {
	on_segment
	through_its_life network=seg
}
