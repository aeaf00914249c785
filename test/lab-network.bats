#!/usr/bin/env bats
# lab: script deadline=900
# What root inside does to his packets with the tools of any age: the host's rules, and the neighbours', do not notice.
load lib

setup_file()
{
	# what a host has loaded for itself; a guest loads nothing
	modprobe -a ip_tables iptable_filter iptable_nat ip6_tables ip6table_filter ip6table_nat nf_nat nft_compat xt_conntrack xt_nat nft_chain_nat
	uplink_up
	ctd_setup
	tiny_template
	outside ip route add 203.0.113.0/24 via 192.0.2.2
	outside ip -6 route add 2001:db8:7::/48 via 2001:db8::2
	ctctl create a --template tiny --net routed,ip=203.0.113.7,ip=2001:db8:7::7 --start
	ctctl create b --template tiny --net routed,ip=203.0.113.8,ip=2001:db8:7::8 --start
}

teardown_file()
{
	ctd_teardown
	uplink_down
}

pings() { ctctl exec "$1" -- ping -c 1 -W 5 "$2" >/dev/null; }
fails() { ! ctctl exec "$1" -- ping -c 1 -W 2 "$2" >/dev/null; }
refused() { ctctl show a --json | jq .traffic.out_dropped; }

inside() # COMMAND...: of the host's programs, as root of a in its network
{
	env "XTABLES_LOCKFILE=$BATS_FILE_TMPDIR/lock" nsenter --target "$(ctctl show a --json | jq .pid)" --user --net --setuid 0 --setgid 0 -- "$@"
}

host_rules() # without what counts
{
	nft list ruleset 2>/dev/null | sed 's/counter packets [0-9]* bytes [0-9]*//'
	iptables-legacy-save | grep '^-A' || true
	ip6tables-legacy-save | grep '^-A' || true
}

# owns TOOL FAR ELSEWHERE FORGED: its rules are kept, and they are its own
owns()
{
	local tool=$1 far=$2 elsewhere=$3 forged=$4 before
	before=$(host_rules)
	pings a "$far"
	inside "$tool" -A OUTPUT -d "$far" -j DROP
	fails a "$far"
	pings b "$far"
	inside "$tool" -F OUTPUT
	inside "$tool" -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
	inside "$tool" -P INPUT DROP
	pings a "$far"
	! outside ping -c 1 -W 2 "$5" >/dev/null || return 1
	inside "$tool" -P INPUT ACCEPT
	wait_for 20 outside ping -c 1 -W 5 "$5"
	inside "$tool" -t nat -A OUTPUT -d "$elsewhere" -j DNAT --to-destination "$far"
	pings a "$elsewhere"
	inside "$tool" -t nat -F OUTPUT
	# a source that is not its own does not leave, whoever wrote it
	inside "$tool" -t nat -A POSTROUTING -d "$far" -j SNAT --to-source "$forged"
	before_refused=$(refused)
	fails a "$far"
	[ "$(refused)" -gt "$before_refused" ]
	inside "$tool" -t nat -F POSTROUTING
	inside "$tool" -F INPUT
	wait_for 20 pings a "$far"
	[ "$(host_rules)" = "$before" ]
}

@test "iptables of either kind inside is the container's own" {
	touch "$BATS_FILE_TMPDIR/lock" && chmod 666 "$BATS_FILE_TMPDIR/lock"
	chmod 755 "$BATS_FILE_TMPDIR" "$BATS_RUN_TMPDIR"
	for tool in iptables-legacy iptables-nft; do
		owns "$tool" 198.51.100.1 192.0.2.77 203.0.113.8 203.0.113.7
	done
}

@test "ip6tables of either kind inside is the container's own" {
	touch "$BATS_FILE_TMPDIR/lock" && chmod 666 "$BATS_FILE_TMPDIR/lock"
	for tool in ip6tables-legacy ip6tables-nft; do
		owns "$tool" 2001:db8:1::1 2001:db8::77 2001:db8:7::8 2001:db8:7::7
	done
}

@test "a table of every family that the guest has is lost with it, and a flush of all his rules is none of ours" {
	before=$(host_rules)
	for family in ip ip6 inet arp bridge; do
		inside nft add table "$family" own
	done
	inside nft add chain inet own mine '{ type filter hook output priority 0; policy drop; }'
	fails a 198.51.100.1
	fails a 2001:db8:1::1
	inside nft flush ruleset
	pings a 198.51.100.1
	pings a 2001:db8:1::1
	[ "$(host_rules)" = "$before" ]
	inside nft add table inet own
	ctctl restart a --timeout 5
	[ -z "$(inside nft list ruleset)" ]
	ctctl fsck
}
