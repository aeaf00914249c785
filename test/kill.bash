# shellcheck shell=bash
# Killing ctd at the system calls of a verb: "load kill" after "load lib".

kill_is_traced() # PID: or killed by then
{
	lib_is_gone "$1" || grep -q '^TracerPid:.[1-9]' "/proc/$1/status"
}

# A tracer that lets go politely can wait for ever for one that waits for its vforked child.
kill_end_tracer() # PID
{
	kill -9 "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

kill_is_decided() # PID: gone, or it answers
{
	lib_is_gone "$1" || timeout 20 "$(ctd_program ctctl)" version
}

# points VERB...: "CALL K" lines for a run of the verb: CTD_KILL_POINTS (10) of its system calls, evenly spread, or each with CTD_KILL_ALL.
points()
{
	local trace=$BATS_TEST_TMPDIR/trace pid tracer n
	pid=$(ctd_pid)
	strace -f -q -o "$trace" -p "$pid" 3>&- &
	tracer=$!
	wait_for 60 kill_is_traced "$pid"
	"$@" >/dev/null
	sleep 0.5 # the pool has been refilled: the daemon is at rest
	# it writes the end of what it has seen, unless it waits as said above
	kill "$tracer"
	for ((n = 0; n < 50; n++)); do
		lib_is_gone "$tracer" && break
		sleep 0.1
	done
	kill_end_tracer "$tracer"
	# of the daemon alone: strace counts for each process of its own
	sed -n "s/^$pid *\([a-z0-9_]*\)(.*/\1/p" "$trace" | grep -vE '^(gettid|epoll_wait|epoll_pwait|exit|exit_group|rt_sigprocmask|rt_sigreturn|clock_gettime|restart_syscall|resume)$' |
		awk '{ print $1, ++n[$1] }' >"$trace.calls"
	awk -v points="${CTD_KILL_POINTS:-10}" -v calls="$(wc -l <"$trace.calls")" -v all="${CTD_KILL_ALL:+1}" \
		'all || int(NR * points / calls) > int((NR - 1) * points / calls)' "$trace.calls"
}

# killed_at CALL K COMMAND...: runs it while ctd dies at that point; 0 if ctd did die.
killed_at()
{
	local call=$1 k=$2 pid n
	shift 2
	pid=$(ctd_pid)
	strace -f -q -o /dev/null -e "inject=$call:signal=KILL:when=$k" -e "trace=$call" -p "$pid" 3>&- &
	local tracer=$!
	wait_for 60 kill_is_traced "$pid" || { kill_end_tracer "$tracer" && return 1; }
	"$@" >/dev/null 2>&1 || true
	# the point may be in what the daemon does after its answer, which was traced as well
	for ((n = 0; n < 10; n++)); do
		lib_is_gone "$pid" && break
		sleep 0.1
	done
	# it lives, or it has ended: that it was killed is not yet that it is gone
	wait_for 60 kill_is_decided "$pid" || { kill_end_tracer "$tracer" && return 1; }
	if lib_is_gone "$pid"; then
		wait "$tracer" 2>/dev/null || true
		return 0
	fi
	kill_end_tracer "$tracer"
	return 1
}

clean()
{
	ctctl fsck
}

# try VERB BEFORE AFTER CHECK: for each point, BEFORE, the verb killed, ctd back, fsck clean, the verb again, CHECK, AFTER.
try_all()
{
	local verb=$1 before=$2 after=$3 check=$4 call k n=0
	$before
	points "$verb" >"$BATS_TEST_TMPDIR/points"
	$after
	while read -r call k <&4; do
		$before || { echo "before $verb, killed at $call $k" && return 1; }
		killed_at "$call" "$k" "$verb" && n=$((n + 1))
		ctd_answers >/dev/null 2>&1 || ctd_start
		wait_for 15 clean || { echo "$verb killed at $call $k: fsck:" && ctctl fsck; return 1; }
		again "$verb" || { echo "$verb killed at $call $k: again failed" && return 1; }
		$check || { echo "$verb killed at $call $k: $check fails" && return 1; }
		$after || { echo "after $verb, killed at $call $k" && return 1; }
	done 4<"$BATS_TEST_TMPDIR/points"
	echo "# $verb: killed at $n points" >&3
	[ "$n" -gt 3 ]
}

# A verb that had come to its end before the kill is refused the second time: that is right as well.
again()
{
	"$1" >/dev/null 2>"$BATS_TEST_TMPDIR/again" || grep -qE 'there is (a|no) (container|network)' "$BATS_TEST_TMPDIR/again" || { cat "$BATS_TEST_TMPDIR/again" && return 1; }
}
