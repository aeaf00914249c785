#!/usr/bin/env bats
# What ctctl shows: lists, help, jobs, audit, doctor, templates; JSON that stays as it is; exit codes.
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

@test "templates: recipes, list, show, remove, refused while used" {
	ctctl template recipes | grep -q '^tiny'
	ctctl template list | grep -q '^tiny'
	[ "$(ctctl template show tiny --json | jq -r .name)" = tiny ]
	ctctl create user --template tiny
	run ctctl template remove tiny
	[ "$status" -eq 4 ]
	[[ "$output" == *user* || "$output" == *container* ]]
	ctctl destroy user
	ctctl template build tiny --name spare
	ctctl template remove spare
	run ctctl template show spare
	[ "$status" -eq 3 ]
	ctctl create again --template tiny --start
	[ "$(ctctl exec again -- hostname)" = again ]
	ctctl destroy again --force
}

@test "jobs and audit tell who did what with which result" {
	ctctl create traced --template tiny
	run ctctl start no-such-container
	[ "$status" -eq 3 ]
	id=$(ctctl job list --json | jq '[.. | objects | select(.verb? == "create")][0].id')
	ctctl job show "$id" | grep -q traced
	run ctctl job cancel "$id"
	[ "$status" -ne 0 ]
	ctctl audit --json | jq -e '[.. | objects | select(.operation? == "containerCreate" and .object == "traced" and .status == 201 and .uid == 0)] | length == 1'
	ctctl audit --json | jq -e '[.. | objects | select(.operation? == "containerStart" and .status == 404)] | length == 1'
	ctctl destroy traced

	# It keeps 100000 of them, also if nothing is done but what is refused.
	ctd_stop
	sqlite3 "$CTD_STATE/ctd.db" "INSERT INTO audit (id, time, uid, gid, pid, operation, object, status, message)
		SELECT max(id) + 200000, 0, 0, 0, 0, 'x', '', 200, '' FROM audit"
	ctd_start
	run -3 ctctl start no-such-container
	ctctl audit --json | jq -e '.audit | (.[-1].id - .[0].id) <= 100000'
}

@test "doctor names what is missing with a remedy" {
	ctctl doctor | grep -q '^ok.*kernel'
	ctctl doctor --json | jq -e '.checks | length > 8'
	ctctl doctor --json | jq -e '[.checks[] | select(.state != "ok" and .name != "time") | .remedy] | all(length > 0)'
}

@test "help lists every command, and each explains itself" {
	ctctl help | grep -q create
	for command in $(ctctl help --list | cut -d' ' -f1 | sort -u); do
		ctctl help "$command" >/dev/null
	done
}

@test "exit codes are those of the manual" {
	run ctctl nonsense
	[ "$status" -eq 2 ]
	run ctctl show nobody
	[ "$status" -eq 3 ]
	run ctctl --socket "$CTD_DIR/no.sock" list
	[ "$status" -eq 7 ]
	ctctl create dup --template tiny
	run ctctl create dup --template tiny
	[ "$status" -eq 4 ]
	ctctl destroy dup
}

@test "shell and console give a terminal" {
	PATH=$(dirname "$(ctd_program ctctl)"):$PATH # script runs a shell, which does not know our function
	ctctl create term --template tiny --start
	run script -qec "echo 'echo in\$((1+1))shell; exit 3' | ctctl shell term" /dev/null
	[[ "$output" == *in2shell* ]]
	ctctl exec term -- sh -c 'echo early bird >/dev/console'
	# a key typed before the terminal is raw is nobody's
	{ wait_for 60 grep -q "early bird" "$BATS_TEST_TMPDIR/typescript"; printf '\035q'; } |
		timeout -k 1 120 script -qfec "ctctl console term" "$BATS_TEST_TMPDIR/typescript" >/dev/null || { cat -v "$BATS_TEST_TMPDIR/typescript" && ctctl show term && false; }
	ctctl exec term -- true
	ctctl destroy term --force
}

@test "what a tenant writes cannot drive the terminal" {
	ctctl create evil --template tiny --start
	ctctl exec evil -- sh -c 'printf "\033]0;owned\007" >/dev/console; hostname "$(printf "a\033[31mb")" 2>/dev/null; true'
	ctctl list >"$BATS_TEST_TMPDIR/list"
	ctctl show evil >>"$BATS_TEST_TMPDIR/list"
	run grep -q "$(printf '\033')" "$BATS_TEST_TMPDIR/list"
	[ "$status" -eq 1 ]
	ctctl destroy evil --force
}

@test "list of 300 containers is quick and whole" {
	for i in $(seq 300); do ctctl create "many$i" --template tiny >/dev/null; done
	[ "$(ctctl list -q | wc -l)" -eq 300 ]
	[ "$(ctctl list --json | jq '.containers | length')" -eq 300 ]
	ctctl list -q | xargs -n 100 "$(ctd_program ctctl)" destroy
}

@test "networks: made, listed, shown, removed" {
	ctctl network create lan --mode nat --range 10.66.0.0/24
	ctctl network list | grep -q '^lan'
	[ "$(ctctl network show lan --json | jq -r .name)" = lan ]
	ctctl network remove lan
	run ctctl network show lan
	[ "$status" -eq 3 ]
}
