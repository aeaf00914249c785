# SPDX-License-Identifier: LGPL-2.1-or-later
# For ctctl's tests: one fake daemon for each test, in the test's own directory. CTCTL and FAKE_CTD are the programs (meson sets them).

bats_require_minimum_version 1.5.0

setup_file() {
	export BATS_TEST_TIMEOUT=120
	# what script(1) runs its commands with, whatever shell the person or service that runs the tests has
	export SHELL=/bin/bash
	[ -x "$FAKE_CTD" ] && [ -x "$CTCTL" ]
}

setup() {
	DIR=$BATS_TEST_TMPDIR
	mkdir "$DIR/answers"
	export CTD_SOCKET=$DIR/ctd.sock
	# Closing fd 3 keeps bats from waiting for the daemon.
	"$FAKE_CTD" "$DIR" 3>&- &
	FAKE_PID=$!
	wait_for "$DIR/ctd.sock"
	: >"$DIR/requests"
}

teardown() {
	kill "$FAKE_PID" 2>/dev/null || true
	wait "$FAKE_PID" 2>/dev/null || true
}

ctctl() {
	"$CTCTL" "$@"
}

# Until a file or socket is there.
wait_for() {
	until_ok test -e "$1"
}

# Until the command succeeds, at most thirty seconds.
until_ok() {
	local end=$((SECONDS + 30))
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || { echo "never true: $*" >&2 && return 1; }
		sleep 0.01
	done
}

# answer 'GET /v1/containers' 200 BODY [MODE]; a name that ends in .1, .2 ... is used once.
answer() {
	printf '%s %s\n%s' "$2" "${4-}" "$3" >"$DIR/answers/${1//\//_}"
}

# The requests that were made, without the lines about connections.
requests() {
	grep -v '^connect$' "$DIR/requests"
}

connections() {
	grep -c '^connect$' "$DIR/requests"
}

# The output of the last run, which must be the text and nothing else.
output_is() {
	[ "$output" = "$1" ] || {
		printf 'wanted: %s\ngot:    %s\n' "$1" "$output" >&2
		return 1
	}
}

request_is() {
	local got
	got=$(requests | tail -n 1)
	[ "$got" = "$1" ] || {
		printf 'wanted: %s\ngot:    %s\n' "$1" "$got" >&2
		return 1
	}
}
