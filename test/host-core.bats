#!/usr/bin/env bats
# What goes wrong between verbs: ends of ctd and keeper in the middle of one, records that do not read, configurations that change under containers.
load lib

setup_file()
{
	ctd_setup
	tiny_template
}

teardown_file()
{
	ctd_teardown
}

db()
{
	sqlite3 "$CTD_STATE/ctd.db" "$1"
}

state_of()
{
	ctctl show "$1" --json | jq -r .state
}

is()
{
	[ "$(state_of "$1")" = "$2" ]
}

# in_log TEXT...: since the mark of the last log_mark
log_mark()
{
	log_size=$(stat -c %s "$CTD_DIR/log")
}

log_since()
{
	tail -c "+$((log_size + 1))" "$CTD_DIR/log"
}

@test "ctd ends in the middle of a start: undone or finished at its next start" {
	ctctl create mid --template tiny
	log_mark
	kill -STOP "$(keeper_pid)"
	ctctl start mid 3>&- &
	sleep 1
	ctd_stop
	wait $! || true
	run log_since
	[[ "$output" != *Sanitizer* ]]
	kill -CONT "$(keeper_pid)"
	ctd_start
	wait_for 10 eval 'is mid stopped || is mid running'
	ctctl start mid
	[ "$(ctctl exec mid -- hostname)" = mid ]
	ctctl fsck
	ctctl destroy mid --force
}

@test "what waits for the keeper when ctd ends is told" {
	ctctl create told --template tiny --start
	log_mark
	kill -STOP "$(keeper_pid)"
	ctctl exec told -- true 3>&- &
	ctctl log told >/dev/null 3>&- &
	sleep 1
	ctd_stop
	wait || true
	run log_since
	[[ "$output" != *Sanitizer* ]]
	kill -CONT "$(keeper_pid)"
	ctd_start
	is told running
	ctctl destroy told --force
}

@test "a command whose keeper died does not hang" {
	ctctl create orphan --template tiny --start
	timeout -k 1 60 "$(ctd_program ctctl)" exec orphan -- sh -c '>/here; until [ -e /go ]; do sleep 0.1; done' 3>&- &
	client=$!
	# one that has not begun would be given to the next keeper
	root=/proc/$(ctctl show orphan --json | jq .pid)/root
	wait_for 30 test -e "$root/here"
	kill -9 "$(keeper_pid)"
	touch "$root/go"
	status=0
	wait "$client" || status=$?
	[ "$status" -ne 124 ] && [ "$status" -ne 137 ]
	[ "$status" -ne 0 ]
	works() { [ "$(timeout -k 1 20 "$(ctd_program ctctl)" exec orphan -- hostname)" = orphan ]; }
	wait_for 10 works
	ctctl destroy orphan --force
}

@test "a keeper that dies again and again while it is given the containers kills none" {
	for i in 1 2 3 4 5 6; do ctctl create "many-$i" --template tiny --start; done
	before=$(for i in 1 2 3 4 5 6; do ctctl show "many-$i" --json | jq .pid; done)
	# one that was killed is seen a moment longer
	kill_keeper() { pid=$(keeper_pid) && [ "$pid" != "${last:-}" ] && kill -9 "$pid" && last=$pid; }
	for i in 1 2 3 4 5; do
		wait_for 20 kill_keeper
		sleep "0.0$i"
	done
	answers() { timeout -k 1 20 "$(ctd_program ctctl)" exec many-6 -- true; }
	wait_for 10 answers
	[ "$before" = "$(for i in 1 2 3 4 5 6; do ctctl show "many-$i" --json | jq .pid; done)" ]
	for i in 1 2 3 4 5 6; do ctctl exec "many-$i" -- true; done
	ctctl destroy many-1 many-2 many-3 many-4 many-5 many-6 --force
}

@test "a configuration that does not read: the container runs on, is told, and is not taken for a stray" {
	ctctl create riddle --template tiny --start
	ctctl exec riddle -- sh -c 'echo keep >/root/mine'
	pid=$(ctctl show riddle --json | jq .pid)
	config=$(db "SELECT config FROM container WHERE name = 'riddle'")
	ctd_stop
	db "UPDATE container SET config = '{\"of_tomorrow\":1}' WHERE name = 'riddle'"
	ctd_start
	[ "$(ctctl show riddle --json | jq .pid)" = "$pid" ]
	[ "$(ctctl show riddle --json | jq -r '.marks[]')" = broken ]
	[[ "$(ctctl show riddle --json | jq -r .broken)" == *of_tomorrow* ]]
	run ctctl fsck
	[ "$status" -ne 0 ]
	[[ "$output" == *riddle*of_tomorrow* ]]
	run ctctl fsck --repair
	[ "$(ctctl exec riddle -- cat /root/mine)" = keep ]
	ctctl stop riddle --timeout 5
	run ctctl start riddle
	[ "$status" -eq 4 ]
	run ctctl fsck --repair
	ctd_stop
	db "UPDATE container SET config = '$config' WHERE name = 'riddle'"
	ctd_start
	ctctl start riddle
	[ "$(ctctl exec riddle -- cat /root/mine)" = keep ]
	ctctl fsck
	ctctl destroy riddle --force
}

@test "one that does not read and cannot be parsed either can be listed and destroyed" {
	ctctl create rubble --template tiny
	ctd_stop
	db "UPDATE container SET config = '{' WHERE name = 'rubble'"
	ctd_start
	ctctl list --json | jq -e . >/dev/null
	run ctctl set rubble autostart=yes
	[ "$status" -ne 0 ]
	ctctl destroy rubble
	ctctl fsck
}

@test "a stop within the pause before a reboot holds, also over a restart of ctd" {
	ctctl create again --template tiny --start
	for i in 1 2; do
		pid=$(ctctl show again --json | jq .pid)
		ctctl exec again -- reboot || true
		ended() { [ "$(ctctl show again --json | jq .pid)" != "$pid" ]; }
		wait_for 10 ended
		[ "$i" = 2 ] || wait_for 10 is again running
	done
	wait_for 20 is again stopped
	ctctl stop again
	ctd_stop
	ctd_start
	sleep 3
	is again stopped
	ctctl destroy again
}

@test "a start within the pause before a reboot, and another reboot: no timer is left for what is destroyed" {
	ctctl create quick --template tiny --start
	reboot_it() {
		pid=$(ctctl show quick --json | jq .pid)
		ctctl exec quick -- reboot || true
		ended() { [ "$(ctctl show quick --json | jq .pid)" != "$pid" ]; }
		wait_for 10 ended
	}
	log_mark
	reboot_it
	wait_for 10 is quick running
	reboot_it
	ctctl start quick
	reboot_it
	ctctl destroy quick --force
	sleep 5
	ctctl list
	run log_since
	[[ "$output" != *Sanitizer* ]]
}

@test "what cannot be stopped is not started a second time" {
	ctctl create stuck --template tiny --start
	pid=$(ctctl show stuck --json | jq .pid)
	kill -STOP "$(keeper_pid)"
	run ctctl kill stuck
	[ "$status" -eq 1 ]
	run ctctl start stuck
	kill -CONT "$(keeper_pid)"
	[ "$status" -eq 4 ]
	wait_for 10 is stuck stopped
	ctctl start stuck
	ctctl fsck
	ctctl destroy stuck --force
}

@test "id-start cannot be moved under running containers" {
	ctctl create moved --template tiny --start
	ctd_stop
	printf 'id-start = %u\n' $((3 << 29)) >"$CTD_DIR/moved.conf"
	run timeout 120 "$(ctd_program ctd)" --state "$CTD_STATE" --runtime "$CTD_RUNTIME" --config "$CTD_DIR/moved.conf" --foreground
	rm "$CTD_DIR/moved.conf"
	[ "$status" -eq 1 ]
	[[ "$output" == *id-start* ]] || { echo "$output" && return 1; }
	ctd_start
	[ "$(ctctl exec moved -- hostname)" = moved ]
	ctctl destroy moved --force
}

@test "a lock that is not a file, a deep runtime directory: the sentence names it" {
	mkdir -p "$CTD_DIR/other/lock"
	run timeout 120 "$(ctd_program ctd)" --state "$CTD_DIR/other" --runtime "$CTD_DIR/other-run" --foreground
	[ "$status" -eq 1 ]
	[[ "$output" != *"another ctd"* ]]
	[[ "$output" == *lock* ]]
	deep=$CTD_DIR/$(printf 'd%.0s' {1..90})
	run timeout 120 "$(ctd_program ctd)" --state "$CTD_DIR/deep-state" --runtime "$deep" --foreground
	[ "$status" -eq 1 ]
	[[ "$output" == *"shorter than"* ]]
	rm -rf "$CTD_DIR/other" "$CTD_DIR/other-run" "$CTD_DIR/deep-state" "$deep"
}

@test "a socket in another directory serves commands too" {
	ctctl create far --template tiny --start
	ctd_stop
	mkdir "$CTD_DIR/elsewhere"
	save=$CTD_SOCKET
	CTD_SOCKET=$CTD_DIR/elsewhere/s.sock
	ctd_start
	[ "$(timeout 60 "$(ctd_program ctctl)" exec far -- hostname)" = far ]
	ctd_stop
	CTD_SOCKET=$save
	ctd_start
	rmdir "$CTD_DIR/elsewhere"
	ctctl destroy far --force
}

@test "a change that cannot be written down is not there" {
	ctctl create firm --template tiny --hostname old
	ctd_stop
	ctd_start strace -f -qq -o /dev/null -e trace=fdatasync,fsync -e inject=fdatasync,fsync:error=EIO
	run ctctl set firm hostname=new
	[ "$status" -ne 0 ]
	[ "$(ctctl show firm --json | jq -r .config.hostname)" = old ]
	ctd_kill
	ctd_start
	[ "$(ctctl show firm --json | jq -r .config.hostname)" = old ]
	ctctl set firm hostname=new
	ctctl destroy firm
}

# with_fault INJECTION COMMAND...: while ctd's system calls fail so
with_fault()
{
	local inject=$1 tracer
	shift
	strace -f -qq -o /dev/null -e "trace=${inject%%:*}" -e "inject=$inject" -p "$(ctd_pid)" 3>&- &
	tracer=$!
	wait_for 20 is_traced
	run "$@"
	kill -9 "$tracer" # one that lets go politely can wait for ever: see kill.bash
	wait "$tracer" 2>/dev/null || true
}

is_traced()
{
	! grep -q '^TracerPid:.0$' "/proc/$(ctd_pid)/status"
}

@test "a create that has started and whose end cannot be written is undone, init and all" {
	with_fault fdatasync:error=EIO:when=1 ctctl create never --template tiny --start
	[ "$status" -eq 1 ]
	run ctctl show never
	[ "$status" -eq 3 ]
	[ -z "$(ctd_cgroups | grep 'c-[0-9a-f]*$')" ]
	ctctl fsck
}

@test "where that cannot be written either, what is left is shown, does not run, and is gone after the next start" {
	with_fault fdatasync:error=EIO ctctl create stays --template tiny --start
	[ "$status" -eq 1 ]
	is stays stopped
	[ -z "$(ctd_cgroups | grep 'c-[0-9a-f]*$')" ]
	run ctctl fsck
	[[ "$output" == *stays*"its create could not be undone"* ]]
	run ctctl start stays
	[ "$status" -eq 4 ]
	ctd_kill
	ctd_start
	gone() { ! ctctl show stays; }
	wait_for 10 gone
	ctctl fsck
	# and by hand
	with_fault fdatasync:error=EIO ctctl create again --template tiny --start
	ctctl destroy again
	ctctl fsck
}

@test "an exit is told once, whoever has seen it: keeper, its list, or nobody" {
	exits_of() { ctctl events --json | jq "[.events[] | select(.type == \"container.exited\" and .name == \"$1\")] | length"; }
	for name in seen listed unseen; do ctctl create "$name" --template tiny --start; done
	kill -9 "$(ctctl show seen --json | jq .pid)"
	wait_for 10 is seen stopped
	# the keeper tells while ctd does not listen, and in its list to the next ctd
	pid=$(ctctl show listed --json | jq .pid)
	kill -STOP "$(ctd_pid)"
	kill -9 "$pid"
	sleep 0.3
	ctd_kill
	ctd_start
	wait_for 10 is listed stopped
	# what the keeper had told waits to be read when ctd hears that the keeper is gone
	pid=$(ctctl show unseen --json | jq .pid)
	kill -STOP "$(ctd_pid)"
	kill -9 "$pid"
	wait_for 10 lib_is_gone "$pid"
	kill -9 "$(keeper_pid)"
	kill -CONT "$(ctd_pid)"
	wait_for 20 is unseen stopped
	for name in seen listed unseen; do
		[ "$(exits_of "$name")" = 1 ] || { echo "$name: $(exits_of "$name") exits" && return 1; }
		ctctl start "$name"
	done
	ctctl fsck
	for name in seen listed unseen; do ctctl destroy "$name" --force; done
}

@test "a verb that did not work is told to who watches, a mistake in it is not" {
	told() { ctctl events --limit 10000 --json | jq -c '[.events[] | select(.type == "job.failed" and .detail.object == "broken") | .detail.verb]'; }
	ctctl create broken --template tiny --start
	run -4 ctctl destroy broken # it runs
	[ "$(told)" = '[]' ]
	ctctl exec broken -- rm /sbin/init
	ctctl stop broken --timeout 5
	run -3 ctctl start broken # "not found", though it was tried
	[ "$(told)" = '["start"]' ]
	ctctl destroy broken
}

@test "what ran before a boot of the host is not started by a later restart of ctd" {
	ctctl create once --template tiny --start
	ctd_stop
	kill -9 "$(keeper_pid)"
	echo 1 >"$(ctd_cgroups | grep 'c-[0-9a-f]*$' | head -n 1)/cgroup.kill"
	db "UPDATE meta SET value = 'another-boot' WHERE key = 'boot-id'; UPDATE run SET boot_id = 'another-boot'"
	ctd_start
	is once stopped
	ctd_stop
	ctd_start
	sleep 2
	is once stopped
	ctctl fsck --repair || true
	ctctl fsck
	ctctl destroy once
}
