# Another daemon of the same host, to which containers move: for test files that load lib.
#
#	setup_file()    { ctd_setup; tiny_template; peer_setup; }
#	teardown_file() { peer_teardown; ctd_teardown; }
# shellcheck shell=bash

peer_setup() # with the template tiny
{
	export PEER=$CTD_DIR/peer
	mkdir -p "$PEER"
	peer_start
	ctctl template export tiny "$CTD_DIR/tiny.tar.zst"
	peer template import "$CTD_DIR/tiny.tar.zst" --name tiny
	rm "$CTD_DIR/tiny.tar.zst"
}

# On a disk of its own, in the lab: project ids are a container's for life, and belong to a file system.
peer_setup_apart()
{
	mkdir "$CTD_DIR/peer"
	mkfs.ext4 -q -F -O quota,project -E quotatype=usrquota:grpquota:prjquota /dev/disk/by-id/virtio-scratch
	mount -o prjquota /dev/disk/by-id/virtio-scratch "$CTD_DIR/peer"
	peer_setup
}

peer_disk_away() # after peer_teardown: what held it may go a moment after its process
{
	wait_for 30 umount "$PEER"
}

peer_teardown()
{
	local name pid
	for name in $(peer list -q); do peer destroy "$name" --force; done
	peer fsck
	peer_stop
	for pid in $(lib_processes_of ct-keeper); do
		tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qF -- "$PEER/run" || continue
		kill -9 "$pid"
		wait_for 20 lib_is_gone "$pid"
	done
}

peer() # ARG...: ctctl with the other daemon
{
	CTD_SOCKET=$PEER/run/ctd.sock ctctl "$@"
}

peer_start()
{
	setsid "$(ctd_program ctd)" --state "$PEER/state" --runtime "$PEER/run" --socket "$PEER/run/ctd.sock" --foreground \
		</dev/null >>"$PEER/log" 2>&1 3>&- 4>&- 5>&- &
	echo $! >"$PEER/pid"
	disown
	wait_for 60 peer_answers
	# test/isolated removes it when all has ended
	[ -z "${CTD_TEST_DIR:-}" ] || echo "$(cgroup_mount)$(peer version --json | jq -r .cgroup)" >>"$CTD_TEST_DIR/cgroups"
}

peer_answers()
{
	peer list >/dev/null 2>&1
}

peer_stop() # [SIGNAL]
{
	local pid
	pid=$(cat "$PEER/pid")
	kill "-${1:-TERM}" "$pid"
	wait_for 20 lib_is_gone "$pid"
}

state_of() # DAEMON NAME
{
	$1 show "$2" --json | jq -r .state
}

runs() # DAEMON NAME
{
	[ "$(state_of "$1" "$2")" = running ]
}

field() # DAEMON NAME FILTER
{
	$1 show "$2" --json | jq -c "$3"
}

idle() # DAEMON
{
	[ "$($1 job list --open --json | jq '.jobs | length')" = 0 ]
}

worker_of() # VERB: of our daemon
{
	local pid
	for pid in $(lib_processes_of ct-worker); do
		tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "$1" && echo "$pid"
	done
}

# Neither daemon has anything left of what came or went.
is_swept()
{
	[ -z "$(find "$CTD_STATE/fs/tmp" "$CTD_STATE/fs/trash" "$PEER/state/fs/tmp" "$PEER/state/fs/trash" -mindepth 1 -maxdepth 1)" ] &&
		[ -z "$(lib_processes_of ct-worker)" ] && [ -z "$(find /var/tmp "${TMPDIR:-/tmp}" -maxdepth 1 -name 'ctctl.*' -newer "$PEER/pid")" ]
}

not_less() # TOTALS TOTALS: each counter of the second is at least what it was
{
	jq -en --argjson a "$1" --argjson b "$2" '$a | to_entries | length >= 21 and all(.value <= $b[.key])'
}

# The hand-over by hand: what the nodes say between them, at every point where one may be gone.
say() # JSON: to the other daemon, as another node would
{
	printf '%s\n' "$1" | CTD_SOCKET=$PEER/run/ctd.sock ctctl migrate-receive
}

# The answer to commit is lost, before or behind the other node's record.
lose_commit() # NAME [OPTION]
{
	sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "CREATE TRIGGER lost BEFORE UPDATE OF config ON container WHEN instr(OLD.config, '_handover') AND NOT instr(NEW.config, '_handover') BEGIN SELECT RAISE(ABORT, 'lost'); END"
	run -1 ctctl migrate "$1" "$PEER/run/ctd.sock" "${@:2}"
	[[ $output == *'not confirmed'* ]]
	sqlite3 -cmd '.timeout 10000' "$PEER/state/ctd.db" "DROP TRIGGER lost"
}
