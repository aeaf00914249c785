#!/usr/bin/env bats
# host: deadline=2400
# ctd is killed at a system call of a verb, started again, and the verb repeated: nothing may be lost or left.
#
# Each verb is traced once to learn its calls; then, for a sample of the (call, k-th time) pairs (all of them with CTD_KILL_ALL=1), ctd gets SIGKILL at that
# point, comes back, fsck must be clean at once or after what was begun has ended, and the verb must succeed when it is asked again.
load lib
load kill

setup_file()
{
	ctd_setup
	tiny_template
}

teardown_file()
{
	ctd_teardown
}

teardown()
{
	ctd_answers >/dev/null 2>&1 || ctd_start
	ctctl destroy k --force >/dev/null 2>&1 || true
}

nothing() { :; }
make() { ctctl create k --template tiny; }
start() { ctctl start k; }
stop() { ctctl kill k; }
gone() { ctctl destroy k --force; }
make_started() { make && start; }
is_there() { [ "$(ctctl show k --json | jq -r .state)" = stopped ]; }
is_running() { [ "$(ctctl exec k -- hostname)" = k ]; }
is_stopped() { [ "$(ctctl show k --json | jq -r .state)" = stopped ]; }
is_gone() { ! ctctl show k >/dev/null 2>&1; }
set_it() { ctctl set k hostname=changed autostart=yes; }
is_set() { [ "$(ctctl exec k -- hostname)" = changed ]; }

@test "create" { try_all make nothing gone is_there; }
@test "start" { try_all start make gone is_running; }
@test "stop" { try_all stop make_started gone is_stopped; }
@test "set" { try_all set_it make_started gone is_set; }
@test "destroy" { try_all gone make_started nothing is_gone; }
