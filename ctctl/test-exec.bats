#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# exec, shell and console against a fake daemon: real programs behind the attach socket, with real pipes and terminals.

load test/fake.bash

# Runs shell commands on a terminal of their own; what they print is in $output, without what script(1) echoes for its own end of input (anywhere in it,
# also after the last line: bats has cut the line ends off before, and has made $lines of all).
on_terminal() {
	run timeout 60 script -qec "$1" /dev/null </dev/null
	output=${output//$'\r'/}
	output=${output//^@/}
	output=${output%$'\n'}
}

settings='stty rows 33 cols 101; before=$(stty -g)'
unchanged='[ "$before" = "$(stty -g)" ] && echo restored'

# --- the program -----------------------------------------------------------------------------------------------------

@test "the exit status is the program's" {
	for status in 0 1 7 126 127 255; do
		run -$status ctctl exec c sh -c "exit $status"
		output_is ""
	done
	run -137 ctctl exec c sh -c 'kill -9 $$'
	run -127 ctctl exec c /nowhere/program
	run -126 ctctl exec c /dev/null
}

@test "a program that the daemon could not execute is 127 or 126, a missing container 3" {
	answer 'POST /v1/containers/c/exec' 404 '{"error":{"code":"not-found","message":"there is no program \"x\" inside","field":"argv"}}'
	run -127 ctctl exec c x
	output_is 'ctctl: there is no program "x" inside'
	answer 'POST /v1/containers/c/exec' 500 '{"error":{"code":"failed","message":"no format of ours","field":"argv"}}'
	run -126 ctctl exec c x
	answer 'POST /v1/containers/c/exec' 404 '{"error":{"code":"not-found","message":"no container \"c\""}}'
	run -3 ctctl exec c x
	answer 'POST /v1/containers/c/exec' 400 '{"error":{"code":"usage","message":"too long","field":"argv"}}'
	run -2 ctctl exec c x
}

@test "options stand before and after the name, and end at the program" {
	answer 'POST /v1/containers/c/exec' 409 '{"error":{"code":"state","message":"stopped"}}'
	run -4 ctctl exec -u 5:6 -C /tmp -e A=1 --env B=2=3 c -T -- ls -l --user x
	request_is 'POST /v1/containers/c/exec {"argv":["ls","-l","--user","x"],"env":{"A":"1","B":"2=3"},"cwd":"/tmp","user":"5:6"}'
	run -4 ctctl exec c -n ls -t -- x
	request_is 'POST /v1/containers/c/exec {"argv":["ls","-t","--","x"]}'
	run -4 ctctl exec -- c ls
	request_is 'POST /v1/containers/c/exec {"argv":["ls"]}'
	run -2 ctctl exec c -- </dev/null
	run -2 ctctl exec c --usr x ls
	output_is 'ctctl: unknown option "--usr"; did you mean --user?'
	run -2 ctctl exec c -e noequals ls
	run -2 ctctl exec c -t -T ls
	run -2 ctctl exec c -i -n ls
	run -2 ctctl exec c
}

@test "environment and directory arrive" {
	run -0 ctctl exec -e WORD='a b' -C /usr c sh -c 'echo "$WORD" $PWD'
	output_is 'a b /usr'
}

@test "an id that the attach socket does not know is told" {
	answer 'POST /v1/containers/c/exec' 201 '{"id":"nope"}'
	run -1 ctctl exec c true
	output_is 'ctctl: cannot attach: no such exec'
	rm "$DIR/attach.sock"
	run -1 ctctl exec c true
	[[ $output == *"no daemon listens on \"$DIR/attach.sock\""* ]]
}

# --- pipes -----------------------------------------------------------------------------------------------------------

@test "standard output and error stay apart" {
	run -3 --separate-stderr ctctl exec c sh -c 'echo out; echo err >&2; exit 3'
	output_is out
	[ "$stderr" = err ]
}

@test "10 MB through the program come back byte for byte" {
	head -c 10000000 /dev/urandom >"$DIR/data"
	ctctl exec c cat <"$DIR/data" >"$DIR/file"
	cmp "$DIR/data" "$DIR/file"
	cat "$DIR/data" | ctctl exec c cat | cat >"$DIR/pipe"
	cmp "$DIR/data" "$DIR/pipe"
	ctctl exec c sh -c 'cat >&2' <"$DIR/data" 2>"$DIR/error"
	cmp "$DIR/data" "$DIR/error"
}

@test "tar through exec is exact, from a program that ends at once with its pipe full" {
	mkdir "$DIR/tree"
	head -c 3000000 /dev/urandom >"$DIR/tree/a"
	tar cf "$DIR/want.tar" -C "$DIR" tree
	ctctl exec c cat "$DIR/want.tar" | cmp - "$DIR/want.tar"
	head -c 60000 /dev/urandom >"$DIR/small"
	for i in 1 2 3 4 5; do
		ctctl exec c cat "$DIR/small" | (sleep 0.05; cmp - "$DIR/small")
	done
}

@test "full pipes in both directions do not block each other" {
	# It writes a megabyte to both outputs before it reads a byte, while a megabyte waits to be read.
	head -c 1000000 /dev/zero | timeout 60 "$CTCTL" exec c sh -c 'head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; wc -c >&2' >"$DIR/out" 2>"$DIR/err"
	[ "$(wc -c <"$DIR/out")" = 1000000 ]
	[ "$(tail -c 8 "$DIR/err" | tr -d '\0\n')" = 1000000 ]
	# Nobody reads standard output for a while; standard error must come through.
	mkfifo "$DIR/stuck"
	timeout 60 "$CTCTL" exec c sh -c 'head -c 1000000 /dev/zero & echo here >&2; wait' >"$DIR/stuck" 2>"$DIR/err2" 3>&- &
	exec 9<"$DIR/stuck"
	until_ok grep -q here "$DIR/err2"
	[ "$(wc -c <&9)" = 1000000 ]
	exec 9<&-
	wait $!
}

@test "the end of input is passed on, the program goes on after it" {
	run -0 bash -c 'printf abc | "$CTCTL" exec c sh -c "cat; echo; echo done"'
	output_is $'abc\ndone'
	run -0 bash -c '"$CTCTL" exec c cat </dev/null'
	output_is ""
	run -0 bash -c '"$CTCTL" exec c cat <&-'
}

@test "-n leaves standard input to others" {
	run -0 bash -c 'printf "one\ntwo\n" | while read -r word; do "$CTCTL" exec -n c cat; echo "$word"; done'
	output_is $'one\ntwo'
}

@test "a program that does not read does not keep us" {
	run -0 timeout 60 bash -c 'yes | "$CTCTL" exec c head -n 1'
	output_is y
	run -0 timeout 60 bash -c 'yes | "$CTCTL" exec c sh -c "exec <&-; sleep 0.2; echo closed"'
	output_is closed
}

@test "a reader that leaves ends the program as a pipe would" {
	run timeout 60 bash -c '"$CTCTL" exec c yes | head -n 1; echo "${PIPESTATUS[0]}"'
	output_is $'y\n141'
}

@test "what a program leaves behind does not keep us, and its output is whole" {
	run -0 timeout 30 bash -c '"$CTCTL" exec c sh -c "sleep 60 & echo \$! >$0/left; echo first; echo second"' "$DIR"
	kill "$(cat "$DIR/left")"
	output_is $'first\nsecond'
}

@test "signals go to the program" {
	for signal in TERM INT HUP QUIT USR1; do
		env --default-signal "$CTCTL" exec c sh -c "trap 'echo got $signal; exit 5' $signal; echo ready; while :; do sleep 0.05; done" >"$DIR/out-$signal" 3>&- &
		local pid=$! status=0
		until_ok grep -q ready "$DIR/out-$signal"
		kill -$signal $pid
		wait $pid || status=$?
		[ "$status" = 5 ]
		grep -q "got $signal" "$DIR/out-$signal"
	done
	requests | grep -q '^signal 15$'
}

@test "standard fds of others stay blocking" {
	run -0 bash -c '"$CTCTL" exec c true; grep ^flags: /proc/self/fdinfo/0 /proc/self/fdinfo/1' </dev/null
	for flags in $(grep -o '[0-7]*$' <<<"$output"); do
		[ $((0$flags & 04000)) = 0 ]
	done
}

# --- a daemon that is restarted --------------------------------------------------------------------------------------

@test "a restart of the daemon is not noticed: bytes flow, the status is learned" {
	mkfifo "$DIR/in"
	ctctl exec c sh -c 'while read -r word; do echo "<$word>"; done; exit 9' <"$DIR/in" >"$DIR/out" 3>&- &
	local pid=$! status=0
	exec 9>"$DIR/in"
	echo before >&9
	until_ok grep -q '<before>' "$DIR/out"
	kill -USR1 "$FAKE_PID"
	until_ok test ! -e "$CTD_SOCKET"
	echo during >&9
	until_ok grep -q '<during>' "$DIR/out"
	exec 9>&-
	sleep 0.3
	kill -0 $pid
	kill -USR2 "$FAKE_PID"
	wait $pid || status=$?
	[ "$status" = 9 ]
}

@test "a daemon that forgot the exec: the status is said to be unknown" {
	answer 'POST /v1/containers/d/exec' 409 '{"error":{"code":"state","message":"x"}}'
	mkfifo "$DIR/in"
	exec 9<>"$DIR/in"
	ctctl exec c sh -c 'echo up; read -r x' <"$DIR/in" >"$DIR/out" 2>"$DIR/err" 3>&- 9<&- &
	local pid=$! status=0
	until_ok grep -q up "$DIR/out"
	kill -TERM "$FAKE_PID"
	wait "$FAKE_PID"
	"$FAKE_CTD" "$DIR" 3>&- 9<&- &
	FAKE_PID=$!
	wait $pid || status=$?
	exec 9<&-
	[ "$status" = 1 ]
	[ "$(cat "$DIR/err")" = 'ctctl: the exit status is not known: no such exec' ]
}

# --- terminals -------------------------------------------------------------------------------------------------------

@test "with a terminal on both sides the program gets one, of our size" {
	on_terminal "export TERM=vt52; $settings;"' "$CTCTL" exec c sh -c "test -t 0 && test -t 1 && test -t 2 && stty size; echo \$TERM"; '"$unchanged"
	output_is $'33 101\nvt52\nrestored'
	requests | grep -q '"tty":true,"rows":33,"columns":101'
}

@test "-T and a pipe on one side give pipes, -t gives a terminal anyway" {
	on_terminal '"$CTCTL" exec -T c sh -c "test -t 0 || echo no terminal"'
	output_is "no terminal"
	on_terminal '"$CTCTL" exec c sh -c "test -t 0 || echo no terminal" | cat'
	output_is "no terminal"
	run -0 bash -c '"$CTCTL" exec -t c sh -c "test -t 0 && echo terminal" </dev/null'
	[ "${output%$'\r'}" = terminal ]
}

@test "the end of input on a terminal that we make up is an end of file" {
	run -0 timeout 60 bash -c 'echo word | "$CTCTL" exec -t c sh -c "stty -echo; cat; echo end"'
	[[ $output == *word*end* ]]
}

# Makes $DIR/program, which does something on a signal, and says by $DIR/ready that it waits for it.
program_on() {
	printf 'trap "%s" %s\ntouch "%s"\nwhile :; do sleep 0.05; done\n' "$2" "$1" "$DIR/ready" >"$DIR/program"
	when_ready="while [ ! -e '$DIR/ready' ]; do sleep 0.05; done"
}

@test "a change of the window's size arrives" {
	# stty sets the rows and then the columns: two changes, and the program may run between them
	program_on WINCH 'size=\$(stty size); [ \"\$size\" != \"40 120\" ] || { echo \$size; exit; }'
	on_terminal "$settings; tty=\$(tty); ($when_ready; stty -F \$tty rows 40 cols 120) & \"\$CTCTL\" exec c sh '$DIR/program'; $unchanged"
	output_is $'40 120\nrestored'
}

# A shell's words that wait until the terminal named in $DIR/tty is raw: what is typed before is the line discipline's, and nobody's program sees it.
when_raw='until stty -aF "$(cat "$DIR/tty")" 2>/dev/null | grep -q -- -icanon; do sleep 0.05; done'

@test "keys are bytes for the program: its terminal makes the signals" {
	export DIR when_raw
	program_on INT 'echo interrupted; exit 4'
	on_terminal "($when_ready; eval \"\$when_raw\"; printf '\003') | script -qec 'tty >\"\$DIR/tty\"; \"\$CTCTL\" exec -t c sh $DIR/program' /dev/null"
	[[ $output == *interrupted* ]]
	[ "$status" = 4 ]
}

@test "the terminal is put back however it ends" {
	on_terminal "$settings;"' "$CTCTL" exec c sh -c "exit 3"; echo "status $?"; '"$unchanged"
	output_is $'status 3\nrestored'
	for signal in TERM HUP INT; do
		on_terminal "$settings; tty=\$(tty); (until stty -aF \$tty | grep -q -- -icanon; do sleep 0.05; done; kill -$signal \$(cat \"$DIR/pid\")) & sh -c 'echo \$\$ >\"$DIR/pid\"; exec env --default-signal \"\$CTCTL\" exec c sleep 40'; echo \"status \$?\"; $unchanged"
		[[ $output == *"status $((128 + $(kill -l $signal)))"*restored* ]]
	done
	# The attach socket is gone: the terminal was not touched, or put back.
	on_terminal "$settings; rm \"$DIR/attach.sock\"; \"\$CTCTL\" exec c true 2>/dev/null; $unchanged"
	output_is restored
}

@test "all that a program printed on its terminal before it ended arrives" {
	for i in 1 2 3; do
		on_terminal '"$CTCTL" exec -t c seq 3000 </dev/null | tr -d "\r" | cmp - <(seq 3000) && echo same'
		output_is same
		on_terminal '"$CTCTL" exec c seq 3000 >/dev/tty'
		[ "$output" = "$(seq 3000)" ] || { diff <(seq 3000) <(cat -A <<<"$output"); return 1; }
	done
}

# --- shell -----------------------------------------------------------------------------------------------------------

@test "shell is a login shell; without a terminal it reads commands" {
	# what the machine's own profile prints comes first
	run -4 --separate-stderr bash -c 'echo "shopt -q login_shell && echo login; exit 4" | HOME=/ "$CTCTL" shell c'
	[ "${output##*$'\n'}" = login ]
	run -2 ctctl shell c ls
}

# --- console ---------------------------------------------------------------------------------------------------------

@test "console shows the scrollback, takes what is typed, says how to leave" {
	shows() { until grep -q "$1" "$DIR/out"; do sleep 0.05; done; }
	(shows scrollback; echo typed; shows typed; kill -TERM "$(cat "$DIR/pid")") | sh -c 'echo $$ >"$0/pid"; exec "$CTCTL" console c' "$DIR" >"$DIR/out" 2>&1 || true
	[[ $(cat "$DIR/out") == 'Console of c. Ctrl-] q or Ctrl-a q leaves it.'*scrollback*typed* ]]
}

@test "the detach keys leave, and only they" {
	export DIR when_raw
	for key in '\035' '\001'; do
		rm -f "$DIR/tty"
		on_terminal "$settings; (eval \"\$when_raw\"; printf 'a${key}${key}b${key}xc'; sleep 0.3; printf '${key}q') | script -qec 'tty >\"\$DIR/tty\"; \"\$CTCTL\" console c' /dev/null; $unchanged"
		[[ $output == *scrollback*'Left the console of c.'*restored* ]]
	done
}

@test "a console that closes ends with a word about it" {
	ctctl console c </dev/null >"$DIR/out" 2>"$DIR/err" 3>&- &
	local pid=$!
	until_ok grep -q scrollback "$DIR/out"
	kill $(cat "/proc/$FAKE_PID/task/$FAKE_PID/children")
	wait $pid
	[[ $(cat "$DIR/err") == *'The console of c was closed.' ]]
}

@test "a console that is not there" {
	answer 'POST /v1/containers/c/console' 404 '{"error":{"code":"not-found","message":"no container \"c\""}}'
	run -3 ctctl console c
	output_is 'ctctl: no container "c"'
}
