#!/usr/bin/env bats
# exec, shell, console and log.
load lib

setup_file()
{
	ctd_setup
	tiny_template
	ctctl create ex --template tiny --start
}

teardown_file()
{
	ctd_teardown
}

setup()
{
	world_save
}

teardown()
{
	world_check
}

@test "the exit status is passed through" {
	for code in 0 1 7 42 255; do
		run ctctl exec ex -- sh -c "exit $code"
		[ "$status" -eq "$code" ]
	done
	run ctctl exec ex -- sh -c 'kill -9 $$'
	[ "$status" -eq 137 ]
}

@test "a missing program is 127, one that cannot be executed 126" {
	run ctctl exec ex -- no-such-program
	[ "$status" -eq 127 ]
	run ctctl exec ex -- /etc/passwd
	[ "$status" -eq 126 ]
}

@test "pipes stay pipes, byte for byte, both ways" {
	head -c 20000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
	ctctl exec ex -- cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
	cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
	[ "$(ctctl exec ex -- sh -c 'echo out; echo err >&2' 2>/dev/null)" = out ]
	[ "$(ctctl exec ex -- sh -c 'echo out; echo err >&2' 2>&1 >/dev/null)" = err ]
}

@test "tar through exec is exact" {
	mkdir "$BATS_TEST_TMPDIR/tree"
	head -c 300000 /dev/urandom >"$BATS_TEST_TMPDIR/tree/a"
	echo b >"$BATS_TEST_TMPDIR/tree/b"
	tar -C "$BATS_TEST_TMPDIR" -cf - tree | ctctl exec ex -- tar -C /tmp -xf -
	ctctl exec ex -- tar -C /tmp -cf - tree | tar -C "$BATS_TEST_TMPDIR" -xf - --one-top-level=back
	diff -r "$BATS_TEST_TMPDIR/tree" "$BATS_TEST_TMPDIR/back/tree"
	ctctl exec ex -- rm -rf /tmp/tree
}

@test "with a terminal there is one, of the right size, and no descriptor of ours" {
	run script -qec "stty rows 33 cols 101; '$(ctd_program ctctl)' exec -t ex -- sh -c 'tty; stty size; ls /proc/self/fd | wc -l'" /dev/null
	[ "$status" -eq 0 ]
	[[ "$output" == */dev/pts/* ]]
	[[ "$output" == *"33 101"* ]]
	run ctctl exec ex -- sh -c 'tty; for f in /proc/self/fd/*; do readlink $f; done | grep -vc "pipe:\|/proc/"'
	[[ "$output" == *"not a tty"* ]]
}

@test "users are looked up inside, strictly" {
	[ "$(ctctl exec --user 1234:99 ex -- id -u)" = 1234 ]
	[ "$(ctctl exec --user 1234:99 ex -- id -g)" = 99 ]
	run ctctl exec --user nobodyknows ex -- id
	[ "$status" -eq 2 ]
	run ctctl exec --user -1 ex -- id
	[ "$status" -eq 2 ]
	run ctctl exec --user 70000 ex -- id
	[ "$status" -eq 2 ]
}

@test "a hostile passwd neither blocks nor fills" {
	ctctl exec ex -- sh -c 'cp /etc/passwd /etc/passwd.keep; rm /etc/passwd; mkfifo /etc/passwd'
	run timeout 60 "$(ctd_program ctctl)" exec ex -- echo alive
	ctctl exec ex -- sh -c 'rm /etc/passwd; dd if=/dev/zero of=/etc/passwd bs=1 count=1 seek=10G 2>/dev/null'
	[ "$output" = alive ]
	run timeout 60 "$(ctd_program ctctl)" exec ex -- echo alive
	ctctl exec ex -- sh -c 'rm /etc/passwd; mv /etc/passwd.keep /etc/passwd'
	[ "$output" = alive ]
}

@test "signals are forwarded" {
	# the program itself, so that the signal meets it
	"$(ctd_program ctctl)" exec ex -- sh -c 'trap "echo got; exit 5" TERM; echo up; while :; do sleep 0.1; done' >"$BATS_TEST_TMPDIR/out" 3>&- &
	pid=$!
	wait_for 30 grep -q up "$BATS_TEST_TMPDIR/out"
	kill -TERM "$pid"
	status=0
	wait "$pid" || status=$?
	[ "$status" -eq 5 ]
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = $'up\ngot' ]
}

@test "1,000 in a row leak nothing" {
	for i in $(seq 1000); do ctctl exec ex -- true; done
}

@test "a command that nobody fetches is ended" {
	curl -s --unix-socket "$CTD_SOCKET" -d '{"argv":["sh","-c","while :; do echo filling the pipe; done"]}' http://ctd/v1/containers/ex/exec | grep -q '"id"'
	gone() { ! ctctl exec ex -- ps | grep -q "filling the pip[e]"; }
	wait_for 20 gone
}

@test "the log keeps what was printed while nobody looked, also after the end" {
	ctctl create talk --template tiny --start
	ctctl exec talk -- sh -c 'echo "said to the console" >/dev/console'
	said() { ctctl log talk | grep -q "said to the console"; }
	wait_for 30 said
	ctctl kill talk
	ctctl log talk | grep -q "said to the console"
	ctctl destroy talk
}

@test "console: scrollback, typing, detach key" {
	ctctl create con --template tiny --start
	ctctl exec con -- sh -c 'echo early bird >/dev/console'
	{
		wait_for 30 grep -q "early bird" "$BATS_TEST_TMPDIR/typescript"
		printf '\035q'
		sleep 1
	} | timeout -k 1 60 script -qfec "'$(ctd_program ctctl)' console con" "$BATS_TEST_TMPDIR/typescript" >/dev/null
	grep -q "early bird" "$BATS_TEST_TMPDIR/typescript"
	[ "$(ctctl show con --json | jq -r .state)" = running ]
	ctctl destroy con --force
}
