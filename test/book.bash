# A container "d1" that keeps a book and moves between two machines: of rows that are numbered from 1 with a word of chance each. A third machine on the wire is told of
# each when it is on the disk: two containers would be heard, and one that has lost a row. For test files that load lib, peer, guest and nodes.
#
#	setup_file() { book_setup; }
#
# The other three are here.
# shellcheck shell=bash

book_setup()
{
	nodes_setup true
	ctctl template build tiny
	ctctl template export tiny "$DIR/tiny.tar.zst"
	far 'cat >/var/tmp/tiny.tar.zst && ctctl template import --name tiny /var/tmp/tiny.tar.zst && rm /var/tmp/tiny.tar.zst' <"$DIR/tiny.tar.zst"
	: >"$DIR/heard"
	nsenter --target "$CTD_OUTSIDE" --net -- socat -u TCP-LISTEN:9000,fork,reuseaddr "OPEN:$DIR/heard,creat,append" </dev/null 2>/dev/null 3>&- 4>&- &
	export HEARD=$!
	ctctl create d1 --template tiny --net "routed,ip=$ADDRESS,ip=$ADDRESS6" --memory 100M --disk 100M --processes 50 --start
	export CTID
	CTID=$(field ctctl d1 .ctid | tr -d '"')
	# what grows is sent whole in each round, so there is something left for the last one
	ctctl exec d1 -- sh -c 'cat >/bin/keep-book && chmod 755 /bin/keep-book && head -c 3000000 /dev/urandom >/srv-grows
		head -c 1000000 /dev/urandom >/root/data && cd /root && sha256sum data >sum && sync' <<-'END'
		#!/bin/sh
		n=$(wc -l </root/book)
		while :; do
			n=$((n + 1))
			row="$n $(head -c 6 /dev/urandom | hexdump -e '6/1 "%02x"')"
			echo >>/srv-grows
			until echo "$row" >>/root/book && sync /root/book; do sleep 1; done
			echo "$row" | nc -w 5 10.99.0.3 9000
			sleep 0.2
		done
	END
	ctctl exec d1 -- touch /root/book
	book_begins ctctl
}

teardown_file()
{
	# shellcheck disable=SC2046 # a word each: those who wait for the rest of a row
	kill $(cat "/proc/$HEARD/task/$HEARD/children") "$HEARD" 2>/dev/null || true
	nodes_teardown
}

setup()
{
	echo "# up for $(cut -d ' ' -f 1 /proc/uptime) s" >&3
}

teardown()
{
	[ "${BATS_TEST_COMPLETED:-}" = 1 ] || state_is_shown
	nodes_mend
	ctctl fsck
	peer fsck
}

state_is_shown() # to who looks at a failure
{
	tail -n 3 "$DIR/heard"
	for daemon in ctctl peer; do
		"$daemon" show d1 || true
		at "$daemon" journalctl -u ctd -n 15 --no-pager || true
	done
}

# Its memory is new: /dev/shm says so.
book_begins() # DAEMON
{
	local heard
	heard=$(received "$DIR/heard")
	# shellcheck disable=SC2016 # for that shell
	$1 exec d1 -- sh -c 'echo kept >/dev/shm/memory; keep-book >/dev/null 2>&1 </dev/null &'
	wait_for 60 received_beyond "$DIR/heard" "$((heard + 3))"
}

# No number was said twice; it has all rows from the first on, and those that were heard are among them.
book_is_whole() # DAEMON
{
	cp "$DIR/heard" "$DIR/heard.so-far" # before the book goes on
	awk '$1 <= last { print "said", $0, "after", last; exit 1 } { last = $1 }' "$DIR/heard.so-far"
	inside "$1" cat /root/book >"$DIR/book"
	awk '$1 != NR || NF != 2 || length($2) != 12 { print "row", NR, "is", $0; exit 1 }' "$DIR/book"
	run ! grep -vxFf "$DIR/book" "$DIR/heard.so-far"
	inside "$1" sh -c 'cd /root && sha256sum -c sum'
}

# It runs there and nowhere else, is heard, and has its disk.
is_well_on() # DAEMON
{
	local heard
	heard=$(received "$DIR/heard")
	runs_on "$1"
	wait_for 120 received_beyond "$DIR/heard" "$((heard + 3))"
	book_is_whole "$1"
}

# And has its memory.
goes_on() # DAEMON
{
	[ "$(inside "$1" cat /dev/shm/memory)" = kept ]
	is_well_on "$1"
}

moved_to() # DAEMON
{
	local from
	from=$(other_than "$1")
	run "$from" migrate d1 root@peer
	echo "$output"
	[ "$status" = 0 ]
	has_none "$from"
	goes_on "$1"
}

# ---- who may run it

is_suspended() # DAEMON
{
	[ "$(state_of "$1" d1)" = suspended ]
}

is_marked() # DAEMON MARK
{
	[ "$(field "$1" d1 .handover.state)" = "\"$2\"" ]
}

# What that node has may not run there, whoever asks.
has_a_copy_only() # DAEMON
{
	local verb
	is_marked "$1" incoming
	for verb in start resume thaw; do
		run -4 "$1" "$verb" d1
	done
	wait_for 90 is_suspended "$1" # it is held for a minute
	run -4 "$1" migrate resolve d1
	run -4 "$1" migrate d1 root@peer
}

# In doubt it runs on neither, whoever asks.
is_in_doubt() # SOURCE DESTINATION
{
	is_marked "$1" relinquished
	is_marked "$2" incoming
	run -4 "$1" resume d1
	[[ $output == *"was handed over to"* ]]
	run -4 "$2" resume d1
	[[ $output == *"came from"* ]]
	runs_not_on "$2"
	! runs "$1" d1
}
