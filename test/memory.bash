# A container whose memory is known to the byte (test/probe-memory.c): for test files that load lib.
# shellcheck shell=bash

memory_fill() # DAEMON NAME MB KB-A-SECOND
{
	$1 exec "$2" -- sh -c 'cat >/bin/probe && chmod 755 /bin/probe' <"$CTD_BUILD/libct/probe"
	$1 exec "$2" -- sh -c "rm -f /root/memory; /bin/probe memory $3 $4 3 /root/memory >/dev/null 2>&1 </dev/null &"
	wait_for 120 "$1" exec "$2" -- test -e /root/memory
}

memory_lines() # DAEMON NAME COUNT
{
	[ "$($1 exec "$2" -- sh -c 'wc -l </root/memory')" = "$3" ]
}

# The parent and the child have looked at all they have.
memory_intact() # DAEMON NAME
{
	local first
	# shellcheck disable=SC2016 # for that shell
	first=$($1 exec "$2" -- sh -c 'for p in $(pidof probe); do echo $p; done | sort -n | head -n 1; : >/root/memory')
	$1 exec "$2" -- kill -USR1 "$first"
	wait_for 120 memory_lines "$1" "$2" 2
	$1 exec "$2" -- cat /root/memory >"$CTD_DIR/memory.lines"
	[ "$(grep -c '^ok [1-9]' "$CTD_DIR/memory.lines")" = 2 ] || { cat "$CTD_DIR/memory.lines" && return 1; }
}

memory_is_gone() # DAEMON NAME
{
	! $1 exec "$2" -- pidof probe >/dev/null
}

memory_end() # DAEMON NAME: the child dies of its parent's death, before or after it is killed
{
	$1 exec "$2" -- killall -9 probe 2>/dev/null || true
	wait_for 30 memory_is_gone "$1" "$2"
}
