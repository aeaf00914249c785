#!/usr/bin/env bats
# Names of containers: for programs of the host, and for containers that may know each other. Nobody else is named to them.
load lib

setup_file()
{
	uplink_up
	echo 'names = yes' >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_setup --config "$BATS_FILE_TMPDIR/ctd.conf"
	mkdir /run/ctd
	ln -s "$CTD_RUNTIME/hosts" /run/ctd/hosts
	tiny_template
	ctctl network create seven --mode private --tenant c7 --range 10.7.0.0/24 --range fd07::/64
	ctctl network create open --mode private --range 10.9.0.0/24 --range fd09::/64
	ctctl create web --template tiny --tenant c7 --hostname www.example.org --net nat --net network=seven --start
	ctctl create db --template tiny --tenant c7 --net network=seven --start
	ctctl create far --template tiny --tenant c7 --net routed,ip=203.0.113.7,ip=2001:db8:7::7 --start
	ctctl create spy --template tiny --tenant c8 --net nat --net network=open --start
	ctctl create one --template tiny --net network=open --start
	ctctl create two --template tiny --hostname deb.debian.org --net network=open --start
	ctctl create lone --template tiny --start
}

teardown_file()
{
	ctd_teardown
	uplink_down
	rm -r /run/ctd
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

hosts() # NAME: its own file
{
	ctctl exec "$1" -- cat /etc/hosts
}

told() # NAME: what it was told of others, without the marks
{
	hosts "$1" | sed -n '/^# begin: names/,/^# end: names/p' | grep -v '^#' | sort
}

is_told() # NAME LINES
{
	[ "$(told "$1")" = "$2" ]
}

tells() # NAME WORDS: at the end of a line
{
	told "$1" | grep -q "$2\$"
}

finds() # NAME|ADDRESS: what the host's C library makes of it
{
	LD_LIBRARY_PATH=$CTD_BUILD/nss getent -s ctd hosts "$1"
}

all_of() # NAME: each address that the host finds
{
	LD_LIBRARY_PATH=$CTD_BUILD/nss getent -s ctd ahosts "$1" | awk '{ print $1 }' | sort -u | xargs
}

address() # NAME PATTERN
{
	ctctl show "$1" --json | jq -r "[.addresses[] | select(test(\"$2\"))][0]"
}

is_found() # NAME LINE: as getent prints it
{
	[ "$(finds "$1" | xargs)" = "$2" ]
}

seven() # NAME [NAMES]: its lines on the network of c7
{
	printf '%s\n' "$(address "$1" '^10[.]7[.]') ${2:-$1}" "$(address "$1" '^fd07:') ${2:-$1}"
}

@test "the host finds all by name and by host name, in both families, and names by address" {
	wait_for 20 finds lone
	[ "$(all_of far)" = '2001:db8:7::7 203.0.113.7' ]
	[ "$(all_of FAR.)" = '2001:db8:7::7 203.0.113.7' ]
	[ "$(all_of www.example.org)" = "$(all_of web)" ]
	[[ " $(all_of web) " == *" $(address web '^10[.]77')"* && " $(all_of web) " == *" $(address web ^fd07) "* ]]
	is_found 203.0.113.7 '203.0.113.7 far'
	is_found 2001:db8:7::7 '2001:db8:7::7 far'
	at=$(address web '^10[.]7[.]')
	is_found "$at" "$at www.example.org web"
	run -2 finds nobody
	run -2 finds 203.0.113.8
	run -2 finds fa
	[ "$(LD_LIBRARY_PATH=$CTD_BUILD/nss getent -s ctd ahostsv4 far | awk '{ print $1 }' | sort -u)" = 203.0.113.7 ]
	[ "$(LD_LIBRARY_PATH=$CTD_BUILD/nss getent -s ctd ahostsv6 far | awk '{ print $1 }' | sort -u)" = 2001:db8:7::7 ]
}

@test "with a line in nsswitch.conf, programs of the host reach containers by name" {
	echo 'hosts: files ctd' >"$BATS_TEST_TMPDIR/nsswitch.conf"
	LD_LIBRARY_PATH=$CTD_BUILD/nss unshare --mount sh -ec 'mount --bind "$1" /etc/nsswitch.conf; ping -c 1 -W 20 lone; ping -6 -c 1 -W 20 far; getent hosts localhost' \
		sh "$BATS_TEST_TMPDIR/nsswitch.conf"
}

doctor_says() # STATE PATTERN
{
	ctctl doctor --json | jq -e --arg state "$1" --arg what "$2" '.checks[] | select(.name == "names") | .state == $state and (.detail + .remedy | test($what))'
}

@test "doctor says whether that line is there, and whether what it reads is this ctd's" {
	ctd_stop
	echo 'hosts: files dns # ctd' >"$BATS_TEST_TMPDIR/nsswitch.conf"
	# shellcheck disable=SC2016 # for the shell inside
	ctd_start unshare --mount sh -ec 'mount --bind "$0" /etc/nsswitch.conf; exec "$@"' "$BATS_TEST_TMPDIR/nsswitch.conf"
	restarted=yes
	doctor_says warning 'nsswitch.conf.*nss-ctd'
	echo 'hosts: files dns [!NOTFOUND=return] ctd # by name' >"$BATS_TEST_TMPDIR/nsswitch.conf"
	doctor_says ok 'find containers by name'
	mv /run/ctd/hosts /run/ctd/kept
	doctor_says warning "is not $CTD_RUNTIME/hosts"
	mv /run/ctd/kept /run/ctd/hosts
	doctor_says ok 'find containers by name'
	ctd_stop
	ctd_start
}

@test "with the line of the manual, a name server that does not answer makes no name one that does not exist" {
	grep -x '[.]Dl hosts: .*' "$CTD_TREE/man/nss-ctd.8" | cut -c 5- >"$BATS_TEST_TMPDIR/nsswitch.conf"
	echo 'nameserver 127.0.0.1' >"$BATS_TEST_TMPDIR/resolv.conf" # where nobody listens
	run -2 env LD_LIBRARY_PATH="$CTD_BUILD/nss" unshare --mount sh -ec 'mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf; mount --bind "$1/resolv.conf" /etc/resolv.conf; ping -c 1 nobody.example' \
		sh "$BATS_TEST_TMPDIR"
	[[ $output == *'Temporary failure'* ]]
}

@test "the host's names need no daemon, and follow a rename, new addresses and a destroy" {
	ctctl create gone --template tiny --net routed,ip=203.0.113.70
	wait_for 20 is_found 203.0.113.70 '203.0.113.70 gone'
	ctctl rename gone went
	ctctl set went --hostname went.example.org --ip 203.0.113.71
	wait_for 20 is_found 203.0.113.71 '203.0.113.71 went.example.org went'
	run -2 finds gone
	run -2 finds 203.0.113.70
	ctd_kill
	is_found went '203.0.113.71 went.example.org went'
	ctd_start
	restarted=yes
	ctctl destroy went
	wait_for 20 sh -c "! grep -q 203.0.113.71 /run/ctd/hosts"
	run -2 finds went
}

@test "containers of one tenant know each other, by the addresses that they reach" {
	wait_for 20 is_told db "$(seven web 'www.example.org web' | sort)"
	wait_for 20 is_told web "$({ seven db && printf '%s\n' '2001:db8:7::7 far' '203.0.113.7 far'; } | sort)"
	wait_for 20 is_told far ''
	ctctl exec web -- ping -c 1 -W 20 db
	ctctl exec web -- ping -c 1 -W 20 far
	ctctl exec db -- ping -c 1 -W 20 www.example.org
	# reverse: as the C library reads it
	hosts db >"$BATS_TEST_TMPDIR/hosts"
	at=$(address web '^10[.]7[.]')
	[ "$(unshare --mount sh -ec 'mount --bind "$1" /etc/hosts && getent -s files hosts "$2"' sh "$BATS_TEST_TMPDIR/hosts" "$at" | xargs)" = "$at www.example.org web" ]
}

@test "of strangers only members of a private network know each other, and nobody another tenant's" {
	wait_for 20 is_told one "$(printf '%s\n' "$(address two '^10[.]9[.]') two" "$(address two ^fd09:) two" | sort)"
	wait_for 20 is_told two "$(printf '%s\n' "$(address one '^10[.]9[.]') one" "$(address one ^fd09:) one" | sort)"
	is_told spy ''
	is_told lone ''
	! ctctl exec spy -- ping -c 1 -W 1 one || return 1
	for name in spy lone one two; do
		! hosts "$name" | grep -E 'example|web|db|far' || return 1
	done
	for name in web db far lone one two; do
		! hosts "$name" | grep -w spy || return 1
	done
}

@test "a running container is told of what comes, goes, and is called otherwise, and keeps what is its own" {
	ctctl exec db -- sh -c 'echo 192.0.2.77 mine >>/etc/hosts'
	ctctl create new --template tiny --tenant c7 --net network=seven
	wait_for 20 is_told db "$({ seven web 'www.example.org web' && seven new; } | sort)"
	ctctl rename new newer
	wait_for 20 is_told db "$({ seven web 'www.example.org web' && seven newer; } | sort)"
	# frozen or not
	ctctl freeze db
	ctctl set newer --hostname newest.example.org
	ctctl thaw db
	wait_for 20 is_told db "$({ seven web 'www.example.org web' && seven newer 'newest.example.org newer'; } | sort)"
	# what changed while there was no ctd, or as it died, is found
	ctctl destroy newer
	ctd_kill
	ctd_start
	restarted=yes
	wait_for 20 is_told db "$(seven web 'www.example.org web' | sort)"
	hosts db | grep -qx '192.0.2.77 mine'
	[ "$(hosts db | grep -c mine)" = 1 ]
	[ "$(hosts db | grep -c '^#')" = 2 ]
}

@test "who changes hands is told the names of its new tenant, and those of the old one are gone" {
	ctctl create moves --template tiny --tenant c8 --net routed,ip=203.0.113.72 --start
	wait_for 20 is_told spy '203.0.113.72 moves'
	ctctl set moves --tenant c7
	wait_for 20 is_told spy ''
	! hosts spy | grep -e moves -e '^#' || return 1
	wait_for 20 is_told moves '2001:db8:7::7 far
203.0.113.7 far'
	ctctl set moves tenant=
	wait_for 20 is_told moves ''
	ctctl destroy moves --force
	wait_for 20 is_told far ''
}

@test "nothing is written through a link or a mount of the tenant's, and the next change or start writes it again" {
	ctctl create odd --template tiny --tenant c7 --net network=seven --start
	# Who was made after it is told after it.
	ctctl create last --template tiny --tenant c7 --net network=seven --start
	wait_for 20 is_told odd "$({ seven db && seven last && seven web 'www.example.org web'; } | sort)"
	ctctl exec odd -- sh -c 'mv /etc/hosts /etc/kept && ln -s kept /etc/hosts && cat /etc/kept >/root/before'
	ctctl rename db base
	wait_for 20 tells last ' base'
	ctctl exec odd -- cmp /etc/kept /root/before
	ctctl exec odd -- sh -c 'rm /etc/hosts && mv /etc/kept /etc/hosts && cp /root/before /root/mounted && mount -o bind /root/mounted /etc/hosts'
	ctctl rename base basis
	wait_for 20 tells last ' basis'
	ctctl exec odd -- cmp /etc/hosts /root/before
	ctctl exec odd -- umount /etc/hosts
	# a change of others' is one
	ctctl rename lone alone
	wait_for 20 tells odd ' basis'
	ctctl rename alone lone
	ctctl exec odd -- mount -o bind /root/mounted /etc/hosts
	ctctl rename basis db
	wait_for 20 tells last ' db'
	ctctl restart odd --timeout 5
	is_told odd "$({ seven db && seven last && seven web 'www.example.org web'; } | sort)"
	ctctl destroy odd last --force
}

@test "a node that does not want it takes all of it away, and brings it back" {
	ctd_stop
	echo 'names = no' >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	restarted=yes
	for name in web db one two; do
		wait_for 20 is_told "$name" ''
		! hosts "$name" | grep '^#' || return 1
	done
	finds far
	ctd_stop
	echo 'names = yes' >"$BATS_FILE_TMPDIR/ctd.conf"
	ctd_start
	wait_for 20 is_told db "$(seven web 'www.example.org web' | sort)"
}
