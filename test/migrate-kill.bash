# shellcheck shell=bash
# One of two daemons dies while "one" moves between them: "load migrate-kill" after "load peer" and "load kill".

# One owner: with an owner it runs, or can be started; in doubt the same command ends it.
one_owner()
{
	local n
	n=$(for d in ctctl peer; do $d list --json | jq -r '.containers[] | select(.name == "one" and .handover == null) | .name'; done | wc -l)
	[ "$n" -le 1 ] || { echo "$n owners" && return 1; }
	n=$(for d in ctctl peer; do $d list --json | jq -r '.containers[] | select(.name == "one" and .state == "running") | .name'; done | wc -l)
	[ "$n" -le 1 ] || { echo "$n run" && return 1; }
}

# While one of the daemons is dead: by the records alone.
one_owner_of_files()
{
	local d n owners=0
	for d in "$CTD_STATE" "$PEER/state"; do
		n=$(sqlite3 "file:$d/ctd.db?mode=ro" "SELECT count(*) FROM container WHERE name = 'one' AND complete AND json_extract(config, '\$._handover') IS NULL")
		owners=$((owners + n))
	done
	[ "$owners" -le 1 ]
}

is_decided() # PID MOVING
{
	lib_is_gone "$1" || lib_is_gone "$2"
}

# That it was killed is not yet that it is gone.
is_gone_or_answers() # PID: of one of the two
{
	lib_is_gone "$1" || { timeout 20 "$(ctd_program ctctl)" version && peer_answers; }
}

# It moves, and that daemon dies before its K-th such call, of those of its workers none. Sets is_alive: there were not as many.
moved_until() # PID AGAIN CALL K OPTION-OF-MIGRATE...
{
	local pid=$1 again=$2 call=$3 k=$4 tracer moving
	shift 4
	strace -qq -o /dev/null -e "trace=$call" -e "inject=$call:signal=KILL:when=$k" -p "$pid" 3>&- &
	tracer=$!
	wait_for 60 kill_is_traced "$pid"
	ctctl migrate one "$PEER/run/ctd.sock" "$@" >/dev/null 2>&1 3>&- &
	moving=$!
	wait_for 300 is_decided "$pid" "$moving"
	kill_end_tracer "$tracer"
	wait_for 60 is_gone_or_answers "$pid"
	lib_is_gone "$pid" && is_alive=0 || is_alive=1
	one_owner_of_files
	[ "$is_alive" = 1 ] || "$again"
	wait "$moving" || true
}

peer_pid()
{
	cat "$PEER/pid"
}
