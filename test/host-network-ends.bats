#!/usr/bin/env bats
# The end of a connection that the host's table has not, as of one that has moved here and says nothing before: who is at the other end hears of it.
load lib

setup_file()
{
	uplink_up
	ctd_setup
	tiny_template
	echo 1 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established # from the next packet of each on
	outside ip route add 203.0.113.0/24 via 192.0.2.2
	outside ip -6 route add 2001:db8:7::/48 via 2001:db8::2
	outside nft 'add table inet seen; add chain inet seen first { type filter hook prerouting priority -500; }; add rule inet seen first ip saddr 10.0.0.0/8 counter'
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

setup()
{
	: >"$BATS_TEST_TMPDIR/heard"
}

teardown()
{
	# shellcheck disable=SC2046 # pids
	[ -z "$(jobs -p)" ] || kill $(jobs -p) 2>/dev/null || true
	ctctl destroy n --force
	ctctl fsck
}

knows_none()
{
	[ "$(cat /proc/sys/net/netfilter/nf_conntrack_count)" = 0 ]
}

is_listened_on() # PORT
{
	outside ss -Hltn "sport = $1" | grep -q .
}

# A program of "n" has said something to the outside, and the host knows nothing of it any more. Sets LISTENER, who ends when the connection does.
is_connected() # ADDRESS
{
	nsenter --target "$CTD_OUTSIDE" --net socat -u TCP6-LISTEN:9002,ipv6only=0,reuseaddr "OPEN:$BATS_TEST_TMPDIR/heard" 3>&- &
	LISTENER=$!
	wait_for 20 is_listened_on 9002
	ctctl exec n -- sh -c "{ echo begun; until [ -e /root/end ]; do sleep 0.1; done; } | nc $1 9002" </dev/null 3>&- &
	wait_for 60 grep -q begun "$BATS_TEST_TMPDIR/heard"
	wait_for 300 knows_none
}

is_heard_of() # ADDRESS
{
	is_connected "$1"
	ctctl exec n -- touch /root/end
	wait_for 60 lib_is_gone "$LISTENER"
}

@test "from a routed address it goes out" {
	ctctl create n --template tiny --net routed,ip=203.0.113.7,ip=2001:db8:7::7 --start
	is_heard_of 192.0.2.1
	ctctl exec n -- rm /root/end
	is_heard_of 2001:db8::1
}

sent_again()
{
	ctctl exec n -- awk '$1 == "Tcp:" { print $13 }' /proc/net/snmp | tail -n 1
}

sent_again_beyond() # NUMBER
{
	[ "$(sent_again)" -gt "$1" ]
}

@test "from an address that nobody outside may see it does not" {
	ctctl create n --template tiny --start
	is_connected 192.0.2.1
	before=$(sent_again)
	ctctl exec n -- touch /root/end
	wait_for 60 sent_again_beyond "$before"
	! lib_is_gone "$LISTENER" || return 1
	outside nft list table inet seen | grep -q 'counter packets 0 '
}
