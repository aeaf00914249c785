#!/usr/bin/env bats
# SPDX-License-Identifier: LGPL-2.1-or-later
# Whoever works on a disk may be killed at any instant: what is there is whole, what is not can be tried again, and nothing is left that
# holds on to anything. Each (system call, its k-th use) of a verb gets its SIGKILL.
load lib

setup() {
	lib_require_isolation
	TOOL=$CTD_BUILD/quota/test-disk-tool
	STORE=$CTD_TEST_DIR/disk-test
}

teardown() {
	rm -rf "$STORE"
}

# The points at which a command can be killed: "syscall k", from the first that touches the store to the exit.
points() {
	strace -qq -o "$BATS_TEST_TMPDIR/trace" "$TOOL" "$STORE" "$@"
	awk -F'[(]' '/disk-test/ { on = 1 } { n[$1]++ } on && $1 ~ /^[a-z]/ && $1 != "exit_group" { print $1, n[$1] }' "$BATS_TEST_TMPDIR/trace"
}

killed_at() {
	local call=$1 k=$2
	shift 2
	strace -qq -o /dev/null -e "inject=$call:signal=SIGKILL:when=$k" "$TOOL" "$STORE" "$@" >/dev/null 2>&1 || true
}

loops() {
	grep -l "$STORE" /sys/block/loop*/loop/backing_file 2>/dev/null || true
}

# A kill is a moment before the kernel has let go of the last mount.
no_loops() {
	local _
	for _ in $(seq 1200); do
		[ -n "$(loops)" ] || return 0
		sleep 0.05
	done
	loops
	return 1
}

whole_and_removable() {
	"$TOOL" "$STORE" run "$SPEC" sh -c 'echo x >written && rm written'
	"$TOOL" "$STORE" discard "$SPEC"
	"$TOOL" "$STORE" sweep
	[ -z "$(find "$STORE/containers" "$STORE/trash" "$STORE/tmp" -mindepth 1)" ]
}

# create_killed STEP: at each STEPth point.
create_killed() {
	local step=$1 i=0 tried=0 call k
	"$TOOL" "$STORE" probe >/dev/null
	points create "$SPEC" >"$BATS_TEST_TMPDIR/points"
	"$TOOL" "$STORE" discard "$SPEC"
	"$TOOL" "$STORE" sweep
	while read -r call k; do
		[ $((i++ % step)) = 0 ] || continue
		tried=$((tried + 1))
		killed_at "$call" "$k" create "$SPEC"
		[ -e "$STORE/containers/c0ffee-1" ] || "$TOOL" "$STORE" create "$SPEC"
		whole_and_removable || { echo "after $call $k" && return 1; }
	done <"$BATS_TEST_TMPDIR/points"
	[ "$tried" -ge 10 ]
	no_loops
}

@test "dir: create killed at every system call" {
	SPEC=c0ffee-1,dir,0,0,0
	create_killed 1
}

@test "image: create killed at every fifth system call" {
	[ -w /dev/loop-control ] || skip "no /dev/loop-control"
	SPEC=c0ffee-1,image,32M,0,0
	create_killed 5
}

@test "discard and sweep killed at every third system call" {
	local call k i=0
	SPEC=c0ffee-1,dir,0,0,0
	"$TOOL" "$STORE" create "$SPEC"
	points discard "$SPEC" >"$BATS_TEST_TMPDIR/points"
	while read -r call k; do
		[ $((i++ % 3)) = 0 ] || continue
		[ -e "$STORE/containers/c0ffee-1" ] || "$TOOL" "$STORE" create "$SPEC"
		killed_at "$call" "$k" discard "$SPEC"
		"$TOOL" "$STORE" discard "$SPEC"
		[ ! -e "$STORE/containers/c0ffee-1" ]
	done <"$BATS_TEST_TMPDIR/points"

	points sweep >"$BATS_TEST_TMPDIR/points"
	while read -r call k; do
		[ $((i++ % 3)) = 0 ] || continue
		mkdir -p "$STORE/trash/a/b/c" "$STORE/tmp/d"
		killed_at "$call" "$k" sweep
		"$TOOL" "$STORE" sweep
		[ -z "$(find "$STORE/trash" "$STORE/tmp" -mindepth 1)" ]
	done <"$BATS_TEST_TMPDIR/points"
}

@test "image: a shrink that is killed leaves the image as it was, or smaller" {
	[ -w /dev/loop-control ] || skip "no /dev/loop-control"
	local call k i=0 size
	SPEC=c0ffee-1,image,200M,0,0
	"$TOOL" "$STORE" create "$SPEC"
	"$TOOL" "$STORE" run "$SPEC" sh -c 'echo kept >kept'
	no_loops
	points resize c0ffee-1,image,100M,0,0 >"$BATS_TEST_TMPDIR/points"
	"$TOOL" "$STORE" resize "$SPEC"
	while read -r call k; do
		[ $((i++ % 5)) = 0 ] || continue
		no_loops
		killed_at "$call" "$k" resize c0ffee-1,image,100M,0,0
		no_loops
		"$TOOL" "$STORE" run "$SPEC" grep -q kept kept || { echo "after $call $k" && return 1; }
		no_loops
		size=$("$TOOL" "$STORE" usage "$SPEC" | sed -n 's/bytes .* of //p')
		[ "$size" -gt $((95 << 20)) ]
		"$TOOL" "$STORE" resize "$SPEC"
	done <"$BATS_TEST_TMPDIR/points"
}

@test "an overlay is made or not, and a kill leaves no mount" {
	local call k before
	SPEC=c0ffee-1,dir,0,0,0
	"$TOOL" "$STORE" create "$SPEC"
	before=$(wc -l </proc/self/mountinfo)
	points run "$SPEC" true >"$BATS_TEST_TMPDIR/points"
	while read -r call k; do
		killed_at "$call" "$k" run "$SPEC" true
		# What died with it is gone a moment later.
		for _ in $(seq 1200); do
			if "$TOOL" "$STORE" run "$SPEC" true 2>"$BATS_TEST_TMPDIR/error"; then
				break
			fi
			grep -q "in use" "$BATS_TEST_TMPDIR/error"
			sleep 0.05
		done
		"$TOOL" "$STORE" run "$SPEC" true
		[ "$(wc -l </proc/self/mountinfo)" = "$before" ]
	done <"$BATS_TEST_TMPDIR/points"
	for _ in $(seq 600); do
		pgrep -f "test-disk-tool $STORE" >/dev/null || break
		sleep 0.1
	done
	run pgrep -f "test-disk-tool $STORE"
	[ "$status" -ne 0 ]
}
