#!/usr/bin/env bats
# lab: script deadline=1200
# ctd is killed at a system call of a change to VLANs and trunks of a running container, started again, and the change repeated: fsck must be
# clean, and the container on its VLANs and no others.
load lib
load kill

LINK=up7
CTD_KILL_POINTS=5 # a machine is slow

setup_file()
{
	modprobe 8021q
	ip link add "$LINK" type dummy
	ip link set "$LINK" up
	ctd_setup
	tiny_template
	for id in 42 43 44; do
		ctctl create "v$id" --template tiny --net "vlan,vlan=$id,uplink=$LINK,ip=10.6.0.$id/24,ip=fd06::$id/64" --start
	done
}

teardown_file()
{
	ctd_teardown
	ip link del "$LINK"
}

teardown()
{
	ctd_answers >/dev/null 2>&1 || ctd_start
	ctctl destroy k --force >/dev/null 2>&1 || true
}

gone() { ctctl destroy k --force; }
make() { ctctl create k --template tiny --start --net "vlan,vlan=42,uplink=$LINK,ip=10.6.0.7/24"; }
move() { ctctl set k --net "vlan,vlan=43,uplink=$LINK,ip=10.6.0.7/24"; }
make_trunk() { ctctl create k --template tiny --start --net "vlan,uplink=$LINK,trunk=42-43,ip=10.6.0.7,ip=fd06::7"; }
change() { ctctl set k --net "vlan,uplink=$LINK,trunk=43-44,ip=10.6.0.7,ip=fd06::7"; }
close_trunk() { ctctl set k network_cut=true; }
make_closed() { make_trunk && close_trunk; }
open_trunk() { ctctl set k network_cut=; }

reaches() { ctctl exec k -- ping -c 1 -W 5 "$1" >/dev/null; }
is_out_of_reach() { ! ctctl exec k -- ping -c 1 -W 1 "$1" >/dev/null; }
on_vlan() # ID: inside
{
	ctctl exec k -- sh -c "ip link del dev tag 2>/dev/null; ip link add link eth0 name tag type vlan id $1 &&
		ip addr add 10.6.0.7/24 dev tag && ip -6 addr add fd06::7/64 dev tag && ip link set tag up"
}
meets() # ID: that VLAN, and by that tag no other
{
	on_vlan "$1" && wait_for 20 reaches "10.6.0.$1" && wait_for 20 reaches "fd06::$1"
}
is_settled() { ! ctctl exec k -- ip -6 addr show dev tag | grep -q tentative; }
misses()
{
	on_vlan "$1" && wait_for 20 is_settled && is_out_of_reach "10.6.0.$1" && is_out_of_reach "fd06::$1"
}

is_moved() { wait_for 20 reaches 10.6.0.43 && is_out_of_reach 10.6.0.42; }
is_changed() { meets 43 && meets 44 && misses 42 && [ "$(ip -o link show | grep -c ": t$(ctd_tag)")" = 2 ]; }
is_closed() { misses 42 && misses 43; }
is_open() { meets 42 && meets 43 && misses 44; }

@test "another VLAN" { try_all move make gone is_moved; }
@test "a trunk's VLANs change" { try_all change make_trunk gone is_changed; }
@test "a trunk is cut" { try_all close_trunk make_trunk gone is_closed; }
@test "a trunk is restored" { try_all open_trunk make_closed gone is_open; }
