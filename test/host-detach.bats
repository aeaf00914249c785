#!/usr/bin/env bats
# ctd without --foreground: the command ends when the daemon answers, or when it has failed, and says which.
load lib

setup_file()
{
	lib_require_isolation
	CTD_DIR=$(mktemp -d "${CTD_TEST_DIR:-/var/tmp}/ctd.XXXXXX")
	chmod 755 "$CTD_DIR"
	export CTD_DIR CTD_STATE=$CTD_DIR/state CTD_RUNTIME=$CTD_DIR/run CTD_SOCKET=$CTD_DIR/run/ctd.sock
}

teardown_file()
{
	ctd_teardown
}

detach()
{
	timeout 60 "$(ctd_program ctd)" --state "$CTD_STATE" --runtime "$CTD_RUNTIME" --socket "$CTD_SOCKET" </dev/null 3>&- 4>&- 5>&-
}

@test "ctd detaches when it is ready" {
	detach
	lib_remember_cgroup
	pid=$(ctd_pid)
	echo "$pid" >"$CTD_DIR/pid"
	ctctl version
	[ "$(readlink "/proc/$pid/fd/2")" = /dev/null ]
	[ "$(readlink "/proc/$pid/cwd")" = / ]
	[ "$(cut -d' ' -f6 "/proc/$pid/stat")" = "$pid" ] # a session of its own
}

@test "the detached ctd works: a template is built, a container lives" {
	ctctl template build tiny
	ctctl create one --template tiny --start
	ctctl exec one -- true
	ctctl destroy one --force
}

@test "a ctd that cannot start says so, and its exit status is a failure" {
	run detach
	[ "$status" -eq 1 ]
	[[ "$output" == *"another ctd has the state directory"* ]]
	ctctl version
}
