#!/usr/bin/env bats
# host: deadline=2400
# ctd is killed at a system call of a change to a running container's network, started again, and the change repeated: fsck must be clean and
# the network as wanted.
load lib
load kill

setup_file()
{
	uplink_up
	ctd_setup
	tiny_template
	outside ip route add 203.0.113.0/24 via 192.0.2.2
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

teardown()
{
	ctd_answers >/dev/null 2>&1 || ctd_start
	ctctl destroy k --force >/dev/null 2>&1 || true
}

nothing() { :; }
make() { ctctl create k --template tiny --start; }
gone() { ctctl destroy k --force; }
net() { curl -sS --unix-socket "$CTD_SOCKET" -X PATCH -H 'Content-Type: application/json' http://ctd/v1/containers/k -d "{\"config\":$1}" | jq -e '.error | not' >/dev/null; }
pings() { ctctl exec k -- ping -c 1 -W 10 "$1" >/dev/null; }
outside_pings() { outside ping -c 1 -W 10 "$1" >/dev/null; }

add() { net '{"net":[{"mode":"nat"},{"mode":"routed","ip":["203.0.113.7"],"rate_in":"50M","pps_out":1000}]}'; }
is_added() { outside_pings 203.0.113.7 && pings 198.51.100.1; }
make_added() { make && add; }
remove() { net '{"net":[{"mode":"nat"}]}'; }
is_removed() { ! ctctl exec k -- ip link | grep -q eth1 && pings 198.51.100.1; }
join() { net '{"net":[{"mode":"nat"},{"network":"lan","ip":["10.50.0.7"],"rate_out":"50M","block_mail":true}]}'; }
is_joined() { ctctl exec other -- ping -c 1 -W 10 10.50.0.7 >/dev/null && pings 198.51.100.1 && tc class show dev "i$(ctd_tag)" | grep -q 'ceil 50Mbit'; }
publish() { net '{"publish":["8000-8009:80","8010:22/udp"]}'; }
is_published() { [ "$(nft list table inet "ctd-$(ctd_tag)" | grep -o 'tcp . 80[0-9]* ' | sort -u | wc -l)" = 10 ]; }
make_published() { make && publish; }
unpublish() { net '{"publish":null}'; }
is_unpublished() { ! nft list table inet "ctd-$(ctd_tag)" | grep -q 'tcp . 80'; }
cut() { net '{"network_cut":true}'; }
is_cut() { ! ctctl exec k -- ping -c 1 -W 1 198.51.100.1 >/dev/null; }
make_cut() { make && cut; }
restore() { net '{"network_cut":null}'; }
is_restored() { pings 198.51.100.1; }
new_network() { ctctl network create n --mode nat --range 10.90.0.0/24; }
is_network() { ctctl network show n >/dev/null && nft list table inet "ctd-$(ctd_tag)" | grep -q 10.90.0.0/24; }
no_network() { ctctl network remove n; }

@test "add an interface" { try_all add make gone is_added; }
@test "remove an interface" { try_all remove make_added gone is_removed; }
@test "join a private network" {
	ctctl network create lan --mode private --range 10.50.0.0/24
	ctctl create other --template tiny --net network=lan --start
	try_all join make gone is_joined
	ctctl destroy other --force
	ctctl network remove lan
}
@test "publish" { try_all publish make gone is_published; }
@test "unpublish" { try_all unpublish make_published gone is_unpublished; }
@test "cut" { try_all cut make gone is_cut; }
@test "restore" { try_all restore make_cut gone is_restored; }
@test "make a network" { try_all new_network nothing no_network is_network; }
