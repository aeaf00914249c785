#!/usr/bin/env bats
# Classes of traffic by where it goes, and the shares of an uplink that has a rate.
load lib

near() { printf 'meter-sample = 1\nmetrics-listen = 127.0.0.1:9187\ntraffic-class = near 192.0.2.0/24 2001:db8::/64 # the segment\n'; }
far() { printf 'traffic-class = far %s\n' "$CTD_FAR"; }
uplink() { printf 'uplink-rate = %s\n' "$1"; }

setup_file()
{
	export CTD_FAR=$BATS_FILE_TMPDIR/far CTD_CONF=$BATS_FILE_TMPDIR/ctd.conf
	printf '# made by a program\n198.51.100.0/24\n198.51.100.128/25\n\n2001:db8:1::/64 # v6\n' >"$CTD_FAR"
	uplink_up
	{ near && far; } >"$CTD_CONF"
	ctd_setup --config "$CTD_CONF"
	tiny_template
	ctctl create a --template tiny --start
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

setup()
{
	ctctl fsck
	nft list ruleset >/dev/null # an administrator's nft can read it
}

teardown()
{
	# shellcheck disable=SC2046 # pids
	[ -z "$(jobs -p)" ] || kill $(jobs -p) 2>/dev/null || true
	ctctl fsck
}

again() # with this ctd.conf
{
	cat >"$CTD_CONF"
	ctd_stop
	ctd_start
}

class() # CONTAINER CLASS KEY
{
	ctctl show "$1" --json | jq ".traffic.classes[\"$2\"].$3"
}

pings() # CONTAINER ADDRESS COUNT
{
	ctctl exec "$1" -- ping -c "$3" -i 0.05 -W 5 "$2" >/dev/null
}

reaches()
{
	pings "$1" "$2" 1
}

sent() # HANDLE [LINK]: packets through this class of the uplink
{
	tc -s class show dev "${2:-up0}" | awk -v want="$1" '$1 == "class" { on = $3 == want } on && $1 == "Sent" { print $4; exit }'
}

@test "bytes and packets are counted by class, both ways and in both families" {
	wait_for 15 reaches a 2001:db8:1::1
	near=$(class a near out_packets) far=$(class a far out_packets)
	pings a 192.0.2.1 5
	pings a 198.51.100.1 7
	pings a 2001:db8:1::1 4
	[ "$(class a near out_packets)" = $((near + 5)) ]
	[ "$(class a far out_packets)" = $((far + 11)) ]
	[ "$(class a far in_packets)" = "$(class a far out_packets)" ]
	[ "$(class a near in_bytes)" -ge $((5 * 84)) ]
	ctctl show a | grep -A 4 ' near$' | grep -q out_bytes
	scraped() { curl -sf --max-time 20 http://127.0.0.1:9187/metrics | sed -n "s/^ct_network_class_$1_bytes_total{ctid=\"$ctid\",class=\"$2\"} //p"; }
	told() { [ "$(scraped out far)" = "$(class a far out_bytes)" ] && [ "$(scraped in near)" = "$(class a near in_bytes)" ]; }
	ctid=$(ctctl show a --json | jq -r .ctid)
	wait_for 60 told
}

in_ledger() # CLASS KEY
{
	ctctl usage a --json | jq ".containers[0].total.classes[\"$1\"].$2"
}

@test "usage has the classes: rows add up to the total, and that goes on" {
	pings a 198.51.100.1 3
	pings a 192.0.2.1 2
	for name in near far; do
		for key in in_bytes in_packets out_bytes out_packets; do
			alike() { [ "$(in_ledger $name $key)" = "$(class a $name $key)" ]; }
			wait_for 30 alike
		done
	done
	for by in interval hour day period; do
		ctctl usage a --by $by --json | jq -e '.containers[0] as $c | $c.total.classes | to_entries | length == 2 and all(.key as $name | .value | to_entries
			| length == 4 and all(.key as $key | .value > 0 and .value == $c.sum.classes[$name][$key] and .value == ([$c.rows[].classes[$name][$key]] | add)))'
	done
	ctctl usage a --json | jq -e '.containers[0].total | ([.classes[].out_packets] | add) <= .net_out_packets and ([.classes[].out_bytes] | add) <= .net_out_bytes'
	ctctl usage a --csv >"$BATS_TEST_TMPDIR/csv"
	head -n 1 "$BATS_TEST_TMPDIR/csv" | grep -q ',class_near_in_bytes,class_near_in_packets,class_near_out_bytes,class_near_out_packets,class_far_in_bytes,'
	[ "$(awk -F , '{ print NF }' "$BATS_TEST_TMPDIR/csv" | sort -u | wc -l)" = 1 ]
	ctctl usage a | head -n 1 | grep -q 'IN-near *OUT-near *IN-far *OUT-far'

	before=$(in_ledger far out_packets)
	ctctl restart a --timeout 5
	ctd_kill
	ctd_start
	wait_for 15 reaches a 198.51.100.1
	now=$(in_ledger far out_packets)
	[ "$now" -gt "$before" ]
	pings a 198.51.100.1 3
	[ "$(in_ledger far out_packets)" = $((now + 3)) ]
	# One that is in ctd.conf no more keeps what it had.
	near | again
	pings a 198.51.100.1 3
	[ "$(in_ledger far out_packets)" = $((now + 3)) ]
	{ near && far; } | again
	pings a 198.51.100.1 2
	[ "$(in_ledger far out_packets)" = $((now + 5)) ]
}

@test "what was counted stays: over restarts, a daemon that is killed, flushed filters, other prefixes" {
	before=$(class a far out_packets)
	ctctl restart a --timeout 5
	ctd_kill
	ctd_start
	[ "$(class a far out_packets)" -ge "$before" ]
	pings a 198.51.100.1 3
	now=$(class a far out_packets)
	[ "$now" -ge $((before + 3)) ]
	printf '203.0.113.0/24\n' >>"$CTD_FAR"
	{ near && far; } | again
	pings a 198.51.100.1 3
	[ "$(class a far out_packets)" = $((now + 3)) ]
	nft flush ruleset
	wait_for 10 pings a 198.51.100.1 1
	[ "$(class a far out_packets)" -gt $((now + 3)) ]
}

@test "a class that gets another place keeps its own numbers, not those of the other" {
	near=$(class a near out_packets) far=$(class a far out_packets)
	{ far && near; } | again
	[ "$(class a near out_packets)" = "$near" ]
	[ "$(class a far out_packets)" = "$far" ]
	pings a 198.51.100.1 3
	[ "$(class a near out_packets)" = "$near" ]
	[ "$(class a far out_packets)" = $((far + 3)) ]
	{ near && far; } | again
}

@test "a class has a rate of its own, at the uplink and towards the container, and the rest another" {
	ctctl set a --net nat,rate-out=20M,rate-in=30M,class=far:4M:6M
	reaches a 198.51.100.1
	tc class show dev up0 | grep -q 'ceil 20Mbit'
	own=$(tc class show dev up0 | awk '/ceil 4Mbit/ { print $3 }')
	host=$(tc qdisc show | awk '/htb 2: / { print $5 }')
	tc class show dev "$host" | grep -q 'ceil 6Mbit'
	tc class show dev "$host" | grep -q 'ceil 30Mbit'
	before=$(sent "$own")
	pings a 198.51.100.1 5
	[ "$(sent "$own")" = $((before + 5)) ]
	pings a 192.0.2.1 5
	[ "$(sent "$own")" = $((before + 5)) ]
	ctctl restart a --timeout 5
	tc class show dev up0 | grep -q 'ceil 4Mbit'

	# Slowed for its traffic allowance it has no other rate beside that one; then all of them again.
	ctctl exec a -- ping -c 150 -i 0.02 -s 8000 192.0.2.1 >/dev/null
	ctctl set a --traffic-allowance 1M --traffic-action slow:1M
	exhausted() { [ "$(ctctl show a --json | jq -r .allowance.state)" = exhausted ]; }
	wait_for 60 exhausted
	host=$(tc qdisc show | awk '/tbf .*rate 1Mbit/ { print $5 }')
	[ -n "$host" ]
	tc class show dev up0 | grep -q 'ceil 1Mbit'
	! tc class show dev up0 | grep -q 'ceil 4Mbit' || return 1
	! tc class show dev "$host" | grep -q 'ceil 6Mbit' || return 1
	ctctl set a traffic_allowance= traffic_action=
	tc class show dev up0 | grep -q 'ceil 4Mbit'
	tc class show dev "$host" | grep -q 'ceil 6Mbit'
	ctctl set a net=
	! tc class show dev up0 | grep -q 'ceil 4Mbit' || return 1
	! tc qdisc show | grep -q 'htb 2: ' || return 1
}

@test "a class that there is not is refused, also at a start after ctd.conf has changed" {
	run -2 ctctl set a --net nat,class=abroad:1M
	[[ $output == *'no class of traffic "abroad"'* ]]
	ctctl create b --template tiny --net nat,class=far:1M
	near | again
	run ctctl start b
	[ "$status" -ne 0 ]
	[[ $output == *'no class of traffic "far"'* ]]
	{ near && far; } | again
	ctctl start b
	ctctl destroy b --force
}

@test "what the host answers for on a link that was the uplink once goes with the container, also if another ctd put it there" {
	answers() { { ip -4 neigh show proxy && ip -6 neigh show proxy; } | grep -e 192.0.2.55 -e 2001:db8::55; }
	{ near && far && echo 'proxy-neighbours = yes'; } | again
	ip link add up9 type veth peer name out9 netns "$CTD_OUTSIDE"
	ip link set up9 up
	outside ip link set out9 up
	ip route replace default dev up9
	ip -6 route replace default dev up9
	ctctl create p --template tiny --net routed,ip=192.0.2.55,ip=2001:db8::55 --start
	[ "$(answers | grep -c up9)" = 2 ]
	ctd_kill
	ip route replace default via 192.0.2.1
	ip -6 route replace default via 2001:db8::1
	ctd_start
	on_both() { [ "$(answers | wc -l)" = 4 ]; }
	wait_for 60 on_both
	outside ping -c 1 -W 20 192.0.2.55
	outside ping -c 1 -W 20 2001:db8::55
	ctctl destroy p --force
	[ -z "$(answers)" ]
	ip link del up9
	{ near && far; } | again
}

@test "what cannot be kept on a segment is refused there" {
	ctctl network create lan --mode private --range 10.50.0.0/24
	for key in rate-out=10M,guaranteed=1M class=far:1M internal-rate=1M connections=10 new-connections=10; do
		run -2 ctctl create b --template tiny --net "network=lan,$key"
		[[ $output == *'only on nat'*'routed'* ]]
	done
	run -2 ctctl create b --template tiny --net bridge,bridge=br9,ip=10.51.0.1/24,rate-out=10M,guaranteed=1M
	[[ $output == *"administrator's"* ]]
	run -2 ctctl create b --template tiny --net vlan,uplink=up0,trunk=5-6,ip=10.51.0.1,rate-out=10M,guaranteed=1M
	[[ $output == *'trunk'* ]]
	ctctl create b --template tiny --net network=lan,rate-in=10M,pps-out=100,pps-in=100 --start
	ctctl destroy b --force
	ctctl network remove lan
}

# The link that frames of a segment go through for their rate.
detour() { ip -o link show type ifb | awk -F ': ' '{ print $2 }'; }
mails() # CONTAINER ADDRESS [PORT]
{
	printf 'GET / HTTP/1.0\r\n\r\n' | ctctl exec "$1" -- nc -w 3 "$2" "${3:-25}" | grep -q HTTP
}

@test "on a segment the rate out, and no mail, hold for what stays there" {
	ctctl network create lan --mode private --range 10.50.0.0/24 --range fd50::/64
	ctctl create b --template tiny --net network=lan,ip=10.50.0.10,ip=fd50::10,rate-out=10M,block-mail=yes --start
	ctctl create c --template tiny --net network=lan,ip=10.50.0.11,ip=fd50::11 --start
	reaches b 10.50.0.11
	reaches b fd50::11
	tc class show dev "$(detour)" | grep -q 'ceil 10Mbit'
	own=$(tc class show dev "$(detour)" | awk '{ print $3 }')
	before=$(sent "$own" "$(detour)")
	pings b 10.50.0.11 5
	[ "$(sent "$own" "$(detour)")" -ge $((before + 5)) ]
	ctctl exec c -- sh -c 'mkdir -p /www; httpd -h /www -p "[::]:25"; httpd -h /www -p "[::]:26"'
	wait_for 20 mails c 10.50.0.11
	! mails b 10.50.0.11 || return 1
	! mails b fd50::11 || return 1
	mails b 10.50.0.11 26
	mails b fd50::11 26
	ctd_kill
	ctd_start
	tc class show dev "$(detour)" | grep -q 'ceil 10Mbit'
	nft flush ruleset
	wait_for 20 reaches b 10.50.0.11
	! mails b 10.50.0.11 || return 1
	ctctl set b net=network=lan,ip=10.50.0.10,ip=fd50::10,rate-out=20M
	tc class show dev "$(detour)" | grep -q 'ceil 20Mbit'
	mails b 10.50.0.11
	ctctl set b net=network=lan,ip=10.50.0.10,ip=fd50::10
	[ -z "$(detour)" ]
	reaches b 10.50.0.11

	# Slowed for its traffic allowance it has that rate both ways and is reached; then none again.
	is_slowed() { tc class show dev "$(detour)" | grep -q 'ceil 1Mbit' && tc qdisc show | grep -q 'tbf .*rate 1Mbit'; }
	exhausted() { [ "$(ctctl show b --json | jq -r .allowance.state)" = exhausted ]; }
	ctctl exec b -- ping -c 150 -i 0.02 -s 8000 10.50.0.11 >/dev/null
	ctctl set b --traffic-allowance 1M --traffic-action slow:1M
	wait_for 60 exhausted
	is_slowed
	reaches b 10.50.0.11
	ctctl restart b --timeout 5
	is_slowed
	wait_for 20 reaches b fd50::11 # an address is new: the first packets may come before it is known
	ctctl set b traffic_allowance= traffic_action=
	[ -z "$(detour)" ]
	run ! grep -q 'tbf .*rate 1Mbit' <(tc qdisc show)
	reaches b 10.50.0.11
	ctctl set b net=network=lan,ip=10.50.0.10,rate-out=1M
	[ -n "$(detour)" ]
	ctctl destroy b --force
	[ -z "$(detour)" ]
	ctctl destroy c --force
	ctctl network remove lan
}

@test "an uplink's rate holds for those without one too, and guarantees are what there is" {
	{ near && far && uplink 16M; } | again
	ctctl create b --template tiny
	tc class show dev up0 | grep -q 'class htb c7d0:1 .*ceil 16Mbit'
	before=$(sent c7d0:f000)
	pings a 198.51.100.1 5
	[ "$(sent c7d0:f000)" -ge $((before + 5)) ]
	ctctl set a --rate-out 16M --guaranteed 4M
	ctctl set b --rate-out 16M --guaranteed 13M
	run -5 ctctl start b
	[[ $output == *'4000000 of the 16000000'* ]]
	ctctl set b --guaranteed 12M
	ctctl start b
	run -5 ctctl set a --guaranteed 5M
	tc class show dev up0 | grep -q 'rate 4Mbit ceil 16Mbit'
	tc class show dev up0 | grep -q 'rate 12Mbit ceil 16Mbit'
}

@test "a bridge has its part of the uplink that it is joined to, before and after a new ctd, and none of another's" {
	ip link add up8 type veth peer name out8 netns "$CTD_OUTSIDE"
	ip link set up8 up
	outside ip link set out8 up
	outside ip addr add 10.8.0.100/24 dev out8
	ctctl create early --template tiny --net bridge,uplink=up8,ip=10.8.0.2/24,rate-out=30M --start
	! tc class show dev up8 | grep -q htb || return 1
	# what is guaranteed there is no part of the 16M of the default route's link
	ctctl create g --template tiny --net bridge,uplink=up8,ip=10.8.0.1/24,rate-out=20M,guaranteed=9M --start
	reaches g 10.8.0.100
	has_part() { tc class show dev up8 | grep -q "rate ${1}Mbit ceil 22500Kbit"; }
	has_part 9
	part=$(tc class show dev up8 | awk '/rate 9Mbit/ { print $3 }')
	before=$(sent "$part" up8)
	pings g 10.8.0.100 5
	[ "$(sent "$part" up8)" -ge $((before + 5)) ]
	early_has_place() { tc class show dev up8 | grep -q 'rate 8Kbit ceil 33750Kbit'; }
	wait_for 30 early_has_place
	ctctl destroy early --force
	ctd_kill
	ctd_start
	ctctl set g net=bridge,uplink=up8,ip=10.8.0.1/24,rate-out=20M,guaranteed=5M
	has_part 5
	places() { tc class show dev up8 | grep 'parent c7d0:1 ' | grep -vc ' c7d0:f000 '; }
	[ "$(places)" = 1 ]
	# what others send who have no rate does not come before it, nor who had a rate before there was a guarantee
	tc class show dev up8 | grep -q 'class htb c7d0:f000 .*rate 8Kbit'
	ctctl fsck
	# to the host's own link, and no longer
	ctctl set g net=bridge,uplink=up8,ip=10.8.0.1/24,rate-out=20M
	tc class show dev up8 | grep -q "rate 8Kbit ceil 22500Kbit"
	ctctl set g net=bridge,uplink=up8,ip=10.8.0.1/24
	[ "$(places || true)" = 0 ]
	reaches g 10.8.0.100
	# another's queue is left alone, and what cannot be guaranteed is refused
	tc qdisc replace dev up8 root handle 77: tbf rate 1gbit burst 1mb latency 50ms
	run -5 ctctl set g net=bridge,uplink=up8,ip=10.8.0.1/24,rate-out=20M,guaranteed=5M
	[[ $output == *'set up by hand'* ]]
	ctctl set g net=bridge,uplink=up8,ip=10.8.0.1/24,rate-out=20M
	tc qdisc show dev up8 | grep -q 'tbf 77:'
	ctctl destroy g --force
	ip link del up8
}

# Both send as fast as they can; the second has three times the guarantee.
@test "when the uplink is full everybody has what was guaranteed" {
	for port in 7001 7002; do
		nsenter --target "$CTD_OUTSIDE" --net socat -u "TCP-LISTEN:$port,reuseaddr" OPEN:/dev/null 3>&- &
	done
	wait_for 20 sh -c "nsenter --target $CTD_OUTSIDE --net ss -Hltn | grep -c ':700[12]' | grep -qx 2"
	ctctl exec a -- sh -c 'nc 192.0.2.1 7001 </dev/zero' >/dev/null 3>&- &
	ctctl exec b -- sh -c 'nc 192.0.2.1 7002 </dev/zero' >/dev/null 3>&- &
	enough() { [ "$(ctctl show "$1" --json | jq .traffic.out_bytes)" -gt $(($2 + ${3:-1000000})) ]; }
	wait_for 30 enough a 0
	wait_for 30 enough b 0
	a=$(ctctl show a --json | jq .traffic.out_bytes) b=$(ctctl show b --json | jq .traffic.out_bytes)
	wait_for 60 enough a "$a" 3000000 # long enough for one that pauses a moment
	a=$(($(ctctl show a --json | jq .traffic.out_bytes) - a)) b=$(($(ctctl show b --json | jq .traffic.out_bytes) - b))
	echo "sent: $a and $b"
	[ "$b" -gt $((a * 2)) ]
	ctctl destroy b --force
	ctctl set a net=
	{ near && far; } | again
	! tc class show dev up0 | grep -q 16Mbit || return 1
}

@test "classes that overlap keep ctd from starting, and are named" {
	printf 'traffic-class = a 10.0.0.0/8\ntraffic-class = b 10.1.0.0/16\n' >"$BATS_TEST_TMPDIR/conf"
	run "$(ctd_program ctd)" --config "$BATS_TEST_TMPDIR/conf" --state "$BATS_TEST_TMPDIR/state" --runtime "$BATS_TEST_TMPDIR/run" --foreground
	[ "$status" -ne 0 ]
	[[ $output == *'10.0.0.0/8 of a and 10.1.0.0/16 of b overlap'* ]]
}
