#!/usr/bin/env bats
# host: deadline=1200
# Networks of running containers: addresses, interfaces, forwards, cuts and named networks, changed live and kept.
load lib

setup_file()
{
	uplink_up
	ctd_setup
	tiny_template
	ctctl create a --template tiny --start
	ctctl create b --template tiny --start
	outside ip route add 203.0.113.0/24 via 192.0.2.2
	outside ip -6 route add 2001:db8:7::/48 via 2001:db8::2
	serve a
	serve b
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
	# shellcheck disable=SC2046 # pids
	[ -z "$(jobs -p)" ] || kill $(jobs -p) 2>/dev/null || true
	# A new daemon has other descriptors open than the one before.
	if [ -n "${restarted:-}" ]; then ctctl fsck; else world_check; fi
}

# serve NAME: on port 80 it says who it is and who asked.
serve()
{
	ctctl exec "$1" -- sh -c "mkdir -p /www/cgi-bin && printf '#!/bin/sh\necho\necho I am $1, you are \$REMOTE_ADDR.\n' >/www/cgi-bin/hello && chmod 755 /www/cgi-bin/hello"
	ctctl exec "$1" -- httpd -p '[::]:80' -h /www
}

ask() # ADDRESS PORT, from outside
{
	outside curl -sS -m "${WAIT:-20}" "http://$1:$2/cgi-bin/hello" 2>&1
}

pings()
{
	ctctl exec "$1" -- ping -c 1 -W 10 "$2" >/dev/null
}

silent()
{
	! ctctl exec "$1" -- ping -c 1 -W 1 "$2" >/dev/null
}

address()
{
	ctctl show "$1" --json | jq -r "[.addresses[] | select(test(\"$2\"))][0]"
}

net()
{
	curl -sS --unix-socket "$CTD_SOCKET" -X PATCH -H 'Content-Type: application/json' "http://ctd/v1/containers/$1" -d "{\"config\":{\"net\":$2}}" | jq -e '.error | not' >/dev/null
}

@test "a published port leads in and the client's address is kept" {
	ctctl set a publish=8080:80,8443:80
	[[ $(ask 192.0.2.2 8080) == "I am a, you are [::ffff:192.0.2.1]."* ]]
	[[ $(ask 192.0.2.2 8443) == "I am a"* ]]
	[[ $(ask '[2001:db8::2]' 8080) == "I am a, you are [2001:db8::1]."* ]]
	[[ $(curl -sS -m 20 http://192.0.2.2:8080/cgi-bin/hello) == "I am a"* ]]
	ctctl set a publish=8080:80
	WAIT=2 run ask 192.0.2.2 8443
	[[ $output != *"I am"* ]]
	[[ $(ask 192.0.2.2 8080) == "I am a"* ]]
	ctctl set a publish=
	WAIT=2 run ask 192.0.2.2 8080
	[[ $output != *"I am"* ]]
}

@test "ranges, one address, and UDP are published" {
	nsenter --target "$(ctctl show a --json | jq .pid)" --net socat UDP4-RECVFROM:53,fork EXEC:cat 3>&- &
	wait_for 30 sh -c "nsenter --target $(ctctl show a --json | jq .pid) --net ss -Hlun sport = 53 | grep -q ."
	ctctl set a --publish 9000-9002:79 --publish 192.0.2.2:9100:80 --publish 5353:53/udp
	[[ $(ask 192.0.2.2 9001) == "I am a"* ]]
	[[ $(ask 192.0.2.2 9100) == "I am a"* ]]
	[ "$(outside perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Proto => "udp", PeerAddr => "192.0.2.2:5353") or die;
		alarm 60; send $s, "hello", 0; recv $s, my $x, 9, 0; print $x')" = hello ]
	ctctl set a publish=
	kill %1
}

@test "a port that another container has is refused, and its owner named" {
	ctctl set a --publish 8080-8090:80
	run -4 ctctl set b --publish 8085:80
	[[ $output == *'port 8085/tcp is published by the container "a"'* ]]
	run -4 ctctl create c --template tiny --publish 8080:1
	[[ $output == *'"a"'* ]]
	ctctl set b --publish 8085:80/udp
	ctctl set b publish=
	ctctl set a publish=
	ctctl set b --publish 8085:80
	[[ $(ask 192.0.2.2 8085) == "I am b"* ]]
	ctctl set b publish=
}

@test "a port that a program of the host listens on is refused, and nothing changed" {
	socat TCP-LISTEN:8099,fork,reuseaddr SYSTEM:'echo host' 3>&- &
	wait_for 20 sh -c 'echo | socat - TCP:127.0.0.1:8099 | grep -q host'
	run ctctl set a --publish 8098:80 --publish 8099:80
	kill %1
	[ "$status" -ne 0 ]
	[[ $output == *8099* ]]
	[ "$(ctctl show a --json | jq .config.publish)" = null ]
	WAIT=2 run ask 192.0.2.2 8098
	[[ $output != *"I am"* ]]
	wait_for 20 sh -c '! ss -Hltn sport = 8099 | grep -q .'
	ctctl fsck
}

@test "forwards are there again after a restart of the container and of ctd, and go with it" {
	ctctl set b --publish 8080:80
	ctctl restart b --timeout 5
	serve b
	[[ $(ask 192.0.2.2 8080) == "I am b"* ]]
	ctd_kill
	[[ $(ask 192.0.2.2 8080) == "I am b"* ]]
	ctd_start
	restarted=yes
	[[ $(ask 192.0.2.2 8080) == "I am b"* ]]
	ctctl kill b
	! nft list ruleset | grep -q '8080' || return 1
	ctctl start b
	serve b
	[[ $(ask 192.0.2.2 8080) == "I am b"* ]]
	ctctl set b publish=
}

@test "interfaces and addresses come and go while it runs" {
	net a '[{"mode":"nat"},{"mode":"routed","name":"eth1","ip":["203.0.113.7","2001:db8:7::7"]}]'
	[[ $(ask 203.0.113.7 80) == "I am a, you are [::ffff:192.0.2.1]."* ]]
	[[ $(ask '[2001:db8:7::7]' 80) == "I am a"* ]]
	pings a 198.51.100.1
	net a '[{"mode":"nat"},{"mode":"routed","name":"eth1","ip":["203.0.113.8"]}]'
	[[ $(ask 203.0.113.8 80) == "I am a"* ]]
	WAIT=2 run ask 203.0.113.7 80
	[[ $output != *"I am"* ]]
	! ctctl exec a -- ip addr | grep -q 203.0.113.7 || return 1
	net a '[{"mode":"nat"}]'
	! ctctl exec a -- ip link | grep -q eth1 || return 1
	pings a 198.51.100.1
	pings a 2001:db8:1::1
}

state() # NAME: what is set up inside, but for how the kernel came to it
{
	nsenter -t "$(ctctl show "$1" --json | jq .pid)" -n sh -c 'ip -o addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule' |
		sed 's/ *\\.*//; s/ nodad//; s/ tentative//; s/ proto kernel_ll//' | grep -v 'table local\|multicast' | sort
}

is_again() # NAME STATE
{
	[ "$(state "$1")" = "$2" ]
}

has_ifupdown() # NAME
{
	ctctl exec "$1" -- sh -c 'cd /etc && mkdir network && cd network && mkdir if-pre-up.d if-up.d if-down.d if-post-down.d'
	ctctl restart "$1" --timeout 5
}

# What a guest with ifupdown does when its network service is restarted.
@test "what ifupdown inside takes down it brings up again, as it is now" {
	ctctl create i --template tiny --net routed,ip=203.0.113.60,ip=2001:db8:7:60::/64 --start
	has_ifupdown i
	ctctl exec i -- ifup -a
	for at in 60 61; do
		ctctl set i --net "routed,ip=203.0.113.$at,ip=2001:db8:7:$at::/64"
		before=$(state i)
		[[ $before == *"203.0.113.$at/32"* && $before == *"2001:db8:7:$at::1/128"* && $before != *"203.0.113.$((at - 1))/32"* ]]
		ctctl exec i -- ifdown -a
		! state i | grep -q 'default via' || return 1
		ctctl exec i -- ifup -a
		wait_for 20 is_again i "$before"
		wait_for 20 pings i 198.51.100.1
		wait_for 20 pings i 2001:db8:1::1
	done
	ctctl exec i -- sh -c 'echo auto lo >/etc/network/interfaces'
	ctctl set i --net routed,ip=203.0.113.60
	ctctl restart i --timeout 5
	[ "$(ctctl exec i -- cat /etc/network/interfaces)" = "auto lo" ]
	# Not through a mount of the tenant's, which may never answer.
	ctctl exec i -- sh -c 'rm /etc/network/interfaces && mount -t tmpfs none /etc/network'
	ctctl set i --net routed,ip=203.0.113.61
	[[ $(state i) == *203.0.113.61/32* ]]
	[ "$(ctctl exec i -- ls -A /etc/network)" = "" ]
	ctctl exec i -- umount /etc/network
	ctctl set i --net routed,ip=203.0.113.60
	ctctl exec i -- grep -q 203.0.113.60 /etc/network/interfaces
	ctctl destroy i --force
}

# The commands in the file, by the host's ip: the one inside knows no large numbers of tables.
@test "ifupdown brings up a second interface, too" {
	ctctl create i --template tiny --net routed,ip=203.0.113.60,ip=2001:db8:7:60::/64 --net nat --start
	has_ifupdown i
	before=$(state i)
	[[ $before == *'table 51'* ]]
	for what in down up; do
		ctctl exec i -- sed -n "s/^\t$what //p" /etc/network/interfaces |
			nsenter -t "$(ctctl show i --json | jq .pid)" -n unshare -m sh -ec 'mount -t sysfs none /sys; sh -e'
	done
	wait_for 20 is_again i "$before"
	wait_for 20 pings i 198.51.100.1
	ctctl exec i -- ping -c 1 -W 10 -I "$(address i '^10[.]')" 198.51.100.1
	ctctl destroy i --force
}

# rate_on LINK MBIT: a class of the uplink's keeps the container's rate there
rate_on()
{
	tc class show dev "$1" | grep -q "ceil ${2}Mbit"
}

@test "rates follow the default route to another link, also if no ctd saw it change" {
	ip link add up9 type veth peer name out9 netns "$CTD_OUTSIDE"
	ip link set up9 up
	outside ip link set out9 up
	ctctl set a --net nat,rate-out=3M
	rate_on up0 3
	! rate_on up9 3 || return 1
	ip route replace default dev up9
	wait_for 60 rate_on up9 3
	# what lies on a link that was the uplink once is not what is wanted now
	ip route replace default via 192.0.2.1
	ctctl set a --net nat,rate-out=4M
	ctd_kill
	ip route replace default dev up9
	ctd_start
	restarted=yes
	wait_for 60 rate_on up9 4
	tc qdisc del dev up0 root
	ip route replace default via 192.0.2.1
	wait_for 60 rate_on up0 4
	ctctl set a --net nat,rate-out=5M
	# what the guest does to its network is its own
	ctctl exec a -- ip route replace default dev lo
	ip route replace default dev up9
	wait_for 60 rate_on up9 5
	ctctl exec a -- ip route show default | grep -q 'dev lo'
	ip route replace default via 192.0.2.1
	ip link del up9
	ctctl set a net=
	wait_for 60 pings a 198.51.100.1
}

@test "a rate that was set while the route led elsewhere for a moment is on the link that it leads to again" {
	ip link add up9 type veth peer name out9 netns "$CTD_OUTSIDE"
	ip link set up9 up
	outside ip link set out9 up
	ip -6 route del default
	ctctl set a --net nat,rate-out=3M
	rate_on up0 3
	ip route replace default dev up9
	ctctl set a --net nat,rate-out=7M
	ip route replace default via 192.0.2.1
	wait_for 60 rate_on up0 7
	# one link for each family: the rate is on both
	ip -6 route add default dev up9
	ctctl set a --net nat,rate-out=8M
	rate_on up0 8
	rate_on up9 8
	ctctl set a net=
	! rate_on up0 8 || return 1
	! rate_on up9 8 || return 1
	ip link del up9
	ip -6 route add default via 2001:db8::1
	wait_for 60 pings a 198.51.100.1
	wait_for 60 pings a 2001:db8:1::1
}

@test "an interface keeps its address and MAC when one before it goes" {
	net a '[{"mode":"nat"},{"mode":"routed","name":"lan","ip":["203.0.113.9"]},{"mode":"routed","name":"eth3","ip":["203.0.113.10"]}]'
	mac=$(ctctl exec a -- cat /sys/class/net/eth3/address)
	net a '[{"mode":"nat"},{"mode":"routed","name":"eth3","ip":["203.0.113.10"]}]'
	[ "$(ctctl exec a -- cat /sys/class/net/eth3/address)" = "$mac" ]
	[[ $(ask 203.0.113.10 80) == "I am a"* ]]
	ctctl set a net=
	pings a 198.51.100.1
}

@test "a whole block of addresses belongs to one container, and to no other" {
	ctctl create blk --template tiny --net routed --ip 203.0.113.128/29 --ip 2001:db8:7:1::/64 --start
	ctctl exec blk -- ip addr add 203.0.113.130/32 dev eth0
	outside ping -c 1 -W 10 203.0.113.130 >/dev/null
	outside ping -c 1 -W 10 2001:db8:7:1::1 >/dev/null
	run -4 ctctl create blk2 --template tiny --net routed --ip 203.0.113.130
	[[ $output == *'overlaps 203.0.113.128/29, which belongs to the container "blk"'* ]]
	ctctl destroy blk --force
}

@test "what cannot be had is refused and leaves the interfaces as they were" {
	net b '[{"mode":"routed","ip":["203.0.113.20"]}]'
	run -4 ctctl set a --ip 203.0.113.20 --net routed
	[[ $output == *'"b"'* ]]
	pings a 198.51.100.1
	! net a '[{"mode":"nat"},{"mode":"vlan","vlan":7,"uplink":"nolink","ip":["10.9.0.1/24"],"name":"eth1"}]' || return 1
	pings a 198.51.100.1
	[ "$(ctctl show a --json | jq .config.net)" = null ]
	ctctl set b net=
	pings b 198.51.100.1
	ctctl fsck
}

@test "a cut lets nothing through, also after restarts, until it is restored" {
	target=$(address a ^10)
	ctctl network cut a
	silent a 198.51.100.1
	! ping -c 1 -W 1 "$target" >/dev/null || return 1
	[ "$(ctctl show a --json | jq .config.network_cut)" = true ]
	ctctl restart a --timeout 5
	silent a 198.51.100.1
	ctd_kill
	ctd_start
	restarted=yes
	# two seconds after it began to ask for its gateway's MAC it is about to give up, and would drop what waits for the answer
	ctctl exec a -- ip neigh flush dev eth0
	silent a 198.51.100.1
	sleep 1
	ctctl network restore a
	pings a 198.51.100.1
	ping -c 1 -W 10 "$target" >/dev/null
	serve a
}

@test "traffic is counted over restarts and never goes down" {
	read_out() { ctctl show "$1" --json | jq .traffic.out_bytes; }
	before=$(read_out a)
	ctctl exec a -- ping -c 10 -i 0.05 -s 1000 -W 1 198.51.100.1 >/dev/null
	after=$(read_out a)
	[ "$((after - before))" -ge 10280 ]
	[ "$((after - before))" -lt 12000 ]
	in=$(ctctl show a --json | jq .traffic.in_bytes)
	ctctl restart a --timeout 5
	[ "$(read_out a)" -ge "$after" ]
	ctctl exec a -- ping -c 10 -i 0.05 -s 1000 -W 1 198.51.100.1 >/dev/null
	ctd_kill
	ctd_start
	restarted=yes
	last=$(read_out a)
	[ "$last" -ge "$((after + 10280))" ]
	[ "$last" -lt "$((after + 14000))" ]
	[ "$(ctctl show a --json | jq .traffic.in_bytes)" -ge "$((in + 10280))" ]
	ctctl kill a
	[ "$(read_out a)" -ge "$last" ]
	ctctl start a
	[ "$(read_out a)" -ge "$last" ]
	serve a
}

@test "a private network joins its containers and nobody else" {
	ctctl network create office --mode private --range 10.50.0.0/24 --range fd50::/64
	net a '[{"mode":"nat"},{"network":"office"}]'
	net b '[{"mode":"nat"},{"network":"office","ip":["10.50.0.200"]}]'
	ctctl create c --template tiny --net network=office --start
	pings a 10.50.0.200
	pings c 10.50.0.200
	pings c "$(ctctl show a --json | jq -r '.addresses[] | select(startswith("fd50"))')"
	silent c 198.51.100.1
	silent c "$(address a ^10.77)"
	[ "$(ctctl network show office --json | jq -c .containers)" = '["a","b","c"]' ]
	run -4 ctctl network remove office
	[[ $output == *'is used by 3 containers'* ]]
	run -4 ctctl set c --ip 10.50.0.200 --net network=office
	[[ $output == *'belongs to the container "b"'* ]]
	ctd_kill
	ctd_start
	restarted=yes
	pings c 10.50.0.200
	ctctl destroy c --force
	net a '[{"mode":"nat"}]'
	net b '[{"mode":"nat"}]'
	ctctl network remove office
	wait_for 10 sh -c '! ip -o link show type bridge | grep -q .'
	ctctl set a net=
	ctctl set b net=
}

@test "on a segment an address that comes leaves the interface, and one that goes is gone inside" {
	local index
	restarted=yes # what is kept open of a and b may be new
	ctctl network create floor --mode private --range 10.53.0.0/24
	net a '[{"mode":"nat"},{"network":"floor"}]'
	net b '[{"mode":"nat"},{"network":"floor","ip":["10.53.0.200"]}]'
	index=$(ctctl exec b -- cat /sys/class/net/eth1/ifindex)
	net b '[{"mode":"nat"},{"network":"floor","ip":["10.53.0.200","10.53.0.201"]}]'
	[ "$(ctctl exec b -- cat /sys/class/net/eth1/ifindex)" = "$index" ]
	pings a 10.53.0.200
	pings a 10.53.0.201
	net b '[{"mode":"nat"},{"network":"floor","ip":["10.53.0.201"]}]'
	[[ $(ctctl exec b -- ip addr show eth1) == *10.53.0.201/24* ]]
	[[ $(ctctl exec b -- ip addr show eth1) != *10.53.0.200/* ]]
	pings a 10.53.0.201
	silent a 10.53.0.200
	net a '[{"mode":"nat"}]'
	net b '[{"mode":"nat"}]'
	ctctl network remove floor
	ctctl set a net=
	ctctl set b net=
}

@test "on an isolated network members do not see each other" {
	restarted=yes # what is kept open of a and b may be new
	ctctl network create apart --mode private --isolated --range 10.54.0.0/24 --range fd54::/64
	net a '[{"mode":"nat"},{"network":"apart"}]'
	net b '[{"mode":"nat"},{"network":"apart"}]'
	silent a "$(address b ^10.54)"
	silent b "$(address a ^fd54)"
	net a '[{"mode":"nat"}]'
	net b '[{"mode":"nat"}]'
	ctctl network remove apart
	ctctl set a net=
	ctctl set b net=
}

@test "a network of one tenant joins his containers and takes nobody else's" {
	ctctl network create theirs --mode private --range 10.51.0.0/24 --range fd51::/64 --tenant acme
	[ "$(ctctl network show theirs --json | jq -r .tenant)" = acme ]
	ctctl create t1 --template tiny --tenant acme --net network=theirs --start
	ctctl create t2 --template tiny --tenant acme --net nat --net network=theirs --start
	pings t1 "$(address t2 ^10.51)"
	pings t1 "$(address t2 ^fd51)"
	run -5 ctctl create t3 --template tiny --tenant other --net network=theirs
	[[ $output == *'belongs to the tenant "acme", and the container to "other"'* ]]
	run -5 ctctl set b --net nat --net network=theirs
	[[ $output == *'the container to nobody'* ]]
	restarted=yes # what show keeps open of b may be new
	[ "$(ctctl show b --json | jq .config.net)" = null ]
	# nor by another way: the tenant of a container on it stays
	run -5 ctctl set t2 tenant=other
	[ "$(ctctl show t2 --json | jq -r .config.tenant)" = acme ]
	ctctl create t3 --template tiny --tenant other --start
	silent t3 "$(address t2 ^10.51)"
	silent t3 "$(address t2 ^10.77)"
	ctctl set t2 net=nat tenant=other
	silent t1 "$(address t2 ^10)"
	for i in 1 2 3; do ctctl destroy "t$i" --force; done
	ctctl network remove theirs
}

@test "a whole network is cut and restored, and what else its containers have is not" {
	ctctl network create floor --mode private --range 10.52.0.0/24
	net a '[{"mode":"nat"},{"network":"floor"}]'
	net b '[{"mode":"nat"},{"network":"floor"}]'
	target=$(address b ^10.52)
	pings a "$target"
	ctctl network cut --network floor
	silent a "$target"
	pings a 198.51.100.1
	[ "$(ctctl network show floor --json | jq .cut)" = true ]
	ctd_kill
	ctd_start
	restarted=yes
	ctctl restart b --timeout 5
	serve b
	silent a "$target"
	ctctl network restore -n floor
	wait_for 20 pings a "$target"
	run -3 ctctl network cut -n nowhere
	net a '[{"mode":"nat"}]'
	net b '[{"mode":"nat"}]'
	ctctl network remove floor
	ctctl set a net=
	ctctl set b net=
}

@test "a network gives addresses from its range until none is left" {
	ctctl network create small --mode routed --range 203.0.113.64/29 --resolver 192.0.2.99
	for i in 1 2 3 4 5 6; do ctctl create "s$i" --template tiny --net routed,network=small >/dev/null; done
	[ "$(for i in 1 2 3 4 5 6; do address "s$i" .; done | sort -u | wc -l)" = 6 ]
	run -5 ctctl create s7 --template tiny --net network=small
	[[ $output == *'the network "small" have no free address left'* ]]
	run -2 ctctl create s7 --template tiny --net network=small,ip=203.0.113.80
	[[ $output == *'203.0.113.80 is in no range of the network "small"'* ]]
	run -3 ctctl create s7 --template tiny --net network=smal
	ctctl start s1
	outside ping -c 1 -W 10 "$(address s1 .)" >/dev/null
	ctctl exec s1 -- grep -q 192.0.2.99 /etc/resolv.conf
	kept=$(address s1 .)
	ctctl set s1 --rate-out 10M
	[ "$(address s1 .)" = "$kept" ]
	for i in 1 2 3 4 5 6; do ctctl destroy "s$i" --force; done
	restarted=yes
	ctctl network remove small
}

# take SQL: addresses of 10.90.0.0/16, as many as meet the condition on their number n, are taken by b.
take()
{
	sqlite3 -cmd '.timeout 20000' "$CTD_STATE/ctd.db" "WITH RECURSIVE all_of(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM all_of WHERE n < 65534)
		INSERT INTO address (scope, address, first, last, ctid, device)
		SELECT '', '10.90.' || (n / 256) || '.' || (n % 256), printf('40a5a%04x', n), printf('40a5a%04x', n), ctid, 'taken'
		FROM all_of, container WHERE name = 'b' AND $1"
}

@test "the last free address of a large range is found at once, before and behind the container's number" {
	ctctl network create big --mode nat --range 10.90.0.0/16
	take 'n NOT IN (1, 19789)'
	begun=$(date +%s%N)
	ctctl create g1 --template tiny --net network=big
	ctctl create g2 --template tiny --net network=big
	echo "two took $((($(date +%s%N) - begun) / 1000000)) ms"
	[ "$(address g1 .)" = 10.90.77.77 ]
	[ "$(address g2 .)" = 10.90.0.1 ]
	run -5 ctctl create g3 --template tiny --net network=big
	[[ $output == *'no free address left'* ]]
	# what it has it keeps, and what it gave back is free
	ctctl set g1 --rate-out 10M
	[ "$(address g1 .)" = 10.90.77.77 ]
	ctctl destroy g2
	ctctl create g3 --template tiny --net network=big
	[ "$(address g3 .)" = 10.90.0.1 ]
	sqlite3 -cmd '.timeout 20000' "$CTD_STATE/ctd.db" "DELETE FROM address WHERE device = 'taken'"
	ctctl destroy g1
	ctctl destroy g3
	restarted=yes
	ctctl network remove big
}

@test "a network of mode nat is masqueraded" {
	ctctl network create own --mode nat --range 10.88.0.0/24
	net b '[{"network":"own"}]'
	[[ $(address b ^10) == 10.88.0.* ]]
	pings b 198.51.100.1
	ctctl set b net=
	ctctl network remove own
}

@test "a frame of any size comes through a small rate" {
	ctctl set b --net nat,mtu=9000,rate-in=64K
	wait_for 30 ping -c 1 -W 20 -M do -s 8900 "$(address b ^10)"
	ctctl set b net=
}

@test "by a bridge that the host has an address on, a container reaches what is there, but no service of the host" {
	ip link add br9 type bridge
	ip addr add 10.67.0.254/24 dev br9
	ip addr add fd67::fe/64 dev br9 nodad
	ip link set br9 up
	ctctl create m --template tiny --net bridge,bridge=br9,ip=10.67.0.5/24,ip=fd67::5/64,gateway=10.67.0.254 --start
	serve m
	wait_for 20 pings m 10.67.0.254
	wait_for 20 pings m fd67::fe
	ping -c 1 -W 20 fd67::5 >/dev/null
	[[ $(curl -sS -m 20 http://10.67.0.5/cgi-bin/hello) == "I am m"* ]]
	socat TCP6-LISTEN:8022,fork,reuseaddr SYSTEM:'echo host' 3>&- &
	wait_for 20 sh -c 'echo | socat - TCP:127.0.0.1:8022 | grep -q host'
	for at in 10.67.0.254 fd67::fe 192.0.2.2; do
		run ctctl exec m -- sh -c "nc -w 2 $at 8022 </dev/null"
		[[ $output != *host* ]]
	done
	kill %1
	# it is a router for those on it, if the administrator wants it to be
	outside ip route add 10.67.0.0/24 via 192.0.2.2
	pings m 198.51.100.1
	ctctl exec m -- ip addr add 10.67.0.9/24 dev eth0
	run ctctl exec m -- ping -c 1 -W 1 -I 10.67.0.9 10.67.0.254
	[ "$status" -ne 0 ]
	ctctl destroy m --force
	ip link show br9 >/dev/null
	outside ip route del 10.67.0.0/24
	ip link del br9
}

bring() # NAME PROGRAM: from this host, with its libraries
{
	# shellcheck disable=SC2046 # paths
	tar -chPf - "$2" $(ldd "$2" | grep -o '/[^ ]*') | ctctl exec "$1" -- tar -C / -xf -
}

rules_of_host() # in whatever order
{
	nft -s list ruleset | tr ',' '\n' | sed 's/^[ \t]*//; s/ *[{}] *//g' | sort
}

@test "root inside has rules of its own; they reach nobody else, and nothing that the host keeps it from" {
	bring a "$(type -P nft)"
	at_rest() { before=$(rules_of_host) && sleep 1 && [ "$(rules_of_host)" = "$before" ]; } # no port comes or goes
	wait_for 30 at_rest
	ctctl exec a -- nft -f - <<'END'
table inet own {
	set seen { type ipv4_addr; size 65535; flags dynamic; }
	chain input {
		type filter hook input priority 0; policy drop
		ct state established,related accept
		meta l4proto { 1, 58 } accept
	}
	chain output {
		type filter hook output priority 0
		tcp dport 8099 reject with tcp reset
	}
	chain masq {
		type nat hook postrouting priority 100
		masquerade
	}
}
END
	target=$(address a ^10)
	run ! curl -sS -m 2 "http://$target/cgi-bin/hello"
	ctctl exec a -- nft add rule inet own input tcp dport 80 add @seen '{ ip saddr }' accept
	[[ $(curl -sS -m 20 "http://$target/cgi-bin/hello") == "I am a"* ]]
	ctctl exec a -- nft list set inet own seen | grep -q elements
	pings a 198.51.100.1
	# of the others' it sees and changes nothing
	! ctctl exec a -- nft list ruleset | grep ctd- || return 1
	[ "$(rules_of_host)" = "$before" ]
	# under load: change after change, while a neighbour loses nothing
	ctctl exec a -- sh -c 'i=0; while [ $i -lt 60 ]; do i=$((i + 1)); nft add table inet t$i; nft add chain inet t$i c "{ type filter hook input priority $i; }"; nft add rule inet t$i c tcp dport 9 drop; done' &
	ctctl exec b -- ping -c 40 -i 0.05 -W 20 198.51.100.1 | grep -q ' 0% packet loss'
	wait
	[ "$(ctctl exec a -- nft list tables | wc -l)" = 61 ]
	[[ $(curl -sS -m 20 "http://$target/cgi-bin/hello") == "I am a"* ]]
	ctctl exec a -- nft flush ruleset
	[[ $(curl -sS -m 20 "http://$target/cgi-bin/hello") == "I am a"* ]]
	[ "$(rules_of_host)" = "$before" ]
	# a source that its own rules make is as forged as any other
	ctctl exec a -- nft -f - <<'END'
table ip own {
	chain forge {
		type nat hook postrouting priority 100
		snat to 203.0.113.66
	}
}
END
	refused=$(ctctl show a --json | jq .traffic.out_dropped)
	silent a 198.51.100.1
	[ "$(ctctl show a --json | jq .traffic.out_dropped)" -gt "$refused" ]
	ctctl exec a -- nft flush ruleset
	pings a 198.51.100.1
	pings b 198.51.100.1
}

@test "rates and limits of a running container change at once" {
	ctctl set a --rate-in 8M --rate-out 6M --pps-out 500 --connections 100 --new-connections 50 --internal-rate 50M
	tc qdisc show | grep -q 'tbf .*rate 8Mbit'
	tc class show dev up0 | grep -q 'ceil 6Mbit'
	ctctl set a rate_in=
	! tc qdisc show | grep -q tbf || return 1
	ctctl set a net=
	! tc class show dev up0 | grep -q 6Mbit || return 1
	pings a 198.51.100.1
}

# begin NAME N PORT [SECONDS]: NAME begins N connections, each from a port of its own, again and again for so long.
begin()
{
	nsenter --target "$(ctctl show "$1" --json | jq .pid)" --net perl -MSocket -e '
		my ($n, $port, $seconds) = @ARGV;
		my ($to, $end) = (pack_sockaddr_in($port, inet_aton("198.51.100.1")), time + $seconds);
		do {
			for my $i (0 .. $n - 1) {
				socket(my $s, PF_INET, SOCK_DGRAM, 0) or die;
				bind($s, pack_sockaddr_in(1024 + $i, INADDR_ANY)) or die "bind: $!";
				send($s, "x", 0, $to);
			}
		} while time < $end;' "$2" "$3" "${4:-0}"
}

# arrived N PORT: how many datagrams come to the PORT outside, until there are N, or none for a while.
arrived()
{
	outside perl -MSocket -e '
		my ($n, $port) = @ARGV;
		socket(my $s, PF_INET, SOCK_DGRAM, 0) or die;
		setsockopt($s, SOL_SOCKET, SO_RCVBUF, 1 << 20) or die;
		bind($s, pack_sockaddr_in($port, INADDR_ANY)) or die;
		my ($seen, $set) = (0, "");
		vec($set, fileno($s), 1) = 1;
		while ($seen < $n && select(my $ready = $set, undef, undef, 30) > 0) { recv($s, my $x, 9, 0); $seen++; }
		print $seen;' "$1" "$2"
}

tracked()
{
	cat /proc/sys/net/netfilter/nf_conntrack_count
}

@test "a container that nobody limited fills only its part of the connection table, and neighbours lose nothing" {
	[ "$(ctctl show a --json | jq -c .connections)" = '{"eth0":16384}' ]
	before=$(tracked)
	echo 3000 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout # a busy machine takes longer than the 30 s of it, minutes perhaps
	begin a 18000 9000
	filled=$(($(tracked) - before))
	[ "$filled" -ge 16000 ]
	[ "$filled" -le 17000 ]
	silent a 198.51.100.1
	# while it goes on, a neighbour begins as many as it likes
	begin a 18000 9000 4 3>&- &
	arrived 300 9001 >"$BATS_TEST_TMPDIR/arrived" 3>&- &
	wait_for 20 sh -c "nsenter --target $CTD_OUTSIDE --net ss -Hlun sport = 9001 | grep -q ."
	begin b 300 9001
	wait
	[ "$(cat "$BATS_TEST_TMPDIR/arrived")" = 300 ]
	pings b 198.51.100.1
	# one that is to have more gets it at once
	ctctl set a connections=0
	[ "$(ctctl show a --json | jq -c .connections)" = '{}' ]
	pings a 198.51.100.1
	ctctl set a --connections 100
	[ "$(ctctl show a --json | jq -c .connections)" = '{"eth0":100}' ]
	ctctl set a net=
	[ "$(ctctl show a --json | jq -c .connections)" = '{"eth0":16384}' ]
}

@test "mail is refused when it is blocked" {
	nsenter --target "$CTD_OUTSIDE" --net socat TCP-LISTEN:25,fork,reuseaddr SYSTEM:'echo 220 mail' 3>&- &
	wait_for 20 outside sh -c 'echo | socat - TCP:192.0.2.1:25 | grep -q mail'
	run ctctl exec a -- sh -c 'nc -w 20 192.0.2.1 25 </dev/null'
	ctctl set a --block-mail yes
	run -1 ctctl exec a -- sh -c 'nc -w 20 192.0.2.1 25 </dev/null'
	[[ $output != *220* ]]
	ctctl set a net=
	run ctctl exec a -- sh -c 'nc -w 20 192.0.2.1 25 </dev/null'
	kill %1
	[[ $output == *220* ]]
}

@test "the hosts file has names and addresses of all" {
	named() { grep -qx "$(address a ^10) a" "$CTD_RUNTIME/hosts"; }
	wait_for 20 named
	ctctl create h --template tiny --hostname www.example.net --net routed,ip=203.0.113.99
	wait_for 20 grep -qx '203.0.113.99 www.example.net h' "$CTD_RUNTIME/hosts"
	ctctl destroy h
	wait_for 20 sh -c "! grep -q www.example.net '$CTD_RUNTIME/hosts'"
}

# look_up NAME|ADDRESS: what this host's C library makes of it, with ctd's file in the place of its own.
look_up()
{
	unshare --mount sh -ec 'mount --bind "$1" /etc/hosts && getent --service files hosts "$2"' sh "$CTD_RUNTIME/hosts" "$1"
}

@test "by the hosts file alone, names are found from addresses and addresses from names, of both families" {
	ctctl create r --template tiny --hostname mail.example.net --net routed,ip=203.0.113.98,ip=2001:db8:7::98
	wait_for 20 look_up mail.example.net
	[ "$(look_up 203.0.113.98 | xargs)" = '203.0.113.98 mail.example.net r' ]
	[ "$(look_up 2001:db8:7::98 | xargs)" = '2001:db8:7::98 mail.example.net r' ]
	[[ $(look_up mail.example.net) == 2001:db8:7::98* ]]
	[[ $(look_up "$(address a ^10)") == *' a' ]]
	# an address that goes, or goes to another, takes the name along
	ctctl set r --ip 203.0.113.98
	wait_for 20 sh -c "! grep -q 2001:db8:7::98 '$CTD_RUNTIME/hosts'"
	run -2 look_up 2001:db8:7::98
	ctctl set r --ip 203.0.113.97
	ctctl create r2 --template tiny --hostname www2.example.net --net routed,ip=203.0.113.98
	wait_for 20 grep -q www2.example.net "$CTD_RUNTIME/hosts"
	[ "$(look_up 203.0.113.98 | xargs)" = '203.0.113.98 www2.example.net r2' ]
	ctctl rename r2 r3
	wait_for 20 grep -q 'www2.example.net r3' "$CTD_RUNTIME/hosts"
	ctctl destroy r
	ctctl destroy r3
	wait_for 20 sh -c "! grep -q example.net '$CTD_RUNTIME/hosts'"
	run -2 look_up 203.0.113.98
}
