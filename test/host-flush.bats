#!/usr/bin/env bats
# An administrator reloads his own rules, which begins with "flush ruleset": the filters of containers come back by themselves.
load lib

setup_file()
{
	uplink_up
	ctd_setup
	tiny_template
	ctctl create n1 --template tiny --start
	ctctl create r1 --template tiny --net routed --ip 203.0.113.7 --start
	outside ip route add 203.0.113.0/24 via 192.0.2.2
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

tables()
{
	nft list tables | grep -c ' ctd-'
}

tables_are_back()
{
	[ "$(tables)" = 2 ]
}

reaches_outside()
{
	ctctl exec "$1" -- ping -c 1 -W 10 198.51.100.1 >/dev/null
}

@test "deleted tables are made again and containers reconnected" {
	reaches_outside n1
	reaches_outside r1
	nft flush ruleset
	wait_for 30 tables_are_back
	[ "$(tables)" = 2 ]
	wait_for 30 reaches_outside r1
	wait_for 30 reaches_outside n1
	outside ping -c 1 -W 10 203.0.113.7 >/dev/null
}

@test "what was open to nobody is open to nobody" {
	nft flush ruleset
	wait_for 30 tables_are_back
	wait_for 30 reaches_outside r1
	# an address that is not its own
	ctctl exec r1 -- ip addr add 203.0.113.99/32 dev eth0
	run ctctl exec r1 -- ping -c 1 -W 1 -I 203.0.113.99 198.51.100.1
	[ "$status" -ne 0 ]
	ctctl exec r1 -- ip addr del 203.0.113.99/32 dev eth0
	ctctl fsck
}

@test "so they do when no ctd runs to notice it" {
	ctd_kill
	nft flush ruleset
	ctd_start
	[ "$(tables)" = 2 ]
	reaches_outside n1
	reaches_outside r1
	ctctl fsck
}
