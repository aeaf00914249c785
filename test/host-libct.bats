#!/usr/bin/env bats
# host: deadline=900
# A protection that cannot be applied keeps a container from starting: each system call that builds one is made to fail, each time it is
# called, and what starts nevertheless must be confined as ever.

setup_file()
{
	export ONCE="$CTD_BUILD/libct/test-libct-once" PROBE="$CTD_BUILD/libct/probe"
	export TRACE="$BATS_FILE_TMPDIR/trace"
	run "$ONCE" "$PROBE"
	[ "$status" -ne 77 ] || skip "$output"
	strace -f -o "$TRACE" "$ONCE" "$PROBE"
}

# How often one process called it at most: strace counts for each process of its own.
calls()
{
	awk -v name="$1" 'index($2, name "(") == 1 { n[$1]++ } END { for (p in n) if (n[p] > max) max = n[p]; print max + 0 }' "$TRACE"
}

# NAME ERRNO: with each call failing in turn
sweep()
{
	local k max status
	max=$(calls "$1")
	[ "$max" -gt 0 ] || { echo "$1 is never called" && return 1; }
	for ((k = 1; k <= max; k++)); do
		status=0
		timeout 60 strace -f -o /dev/null -e trace="$1" -e inject="$1:error=$2:when=$k" "$ONCE" "$PROBE" >"$BATS_TEST_TMPDIR/out" 2>&1 || status=$?
		case $status in
		0 | 3) ;;
		*) echo "call $k of $1 fails with $2: exit status $status" && cat "$BATS_TEST_TMPDIR/out" && return 1 ;;
		esac
		# what the fixture says when a cgroup or process stays
		! grep -E 'left over|does not die' "$BATS_TEST_TMPDIR/out" || { echo "after call $k of $1" && return 1; }
	done
}

@test "undisturbed, it starts and is confined" {
	run "$ONCE" "$PROBE"
	[ "$status" -eq 0 ]
}

# Calls are made to fail only. One that is told a success it has not had, of unshare for one, would go on in the wrong namespace; but a
# filter that is not there harms nobody.
@test "the judge sees a container that is not confined" {
	run strace -f -o /dev/null -e trace=seccomp -e inject=seccomp:retval=0 "$ONCE" "$PROBE"
	[ "$status" -eq 4 ]
}

@test "credentials and capabilities" {
	local call
	for call in seccomp prctl capget capset setgroups setresgid setresuid setsid keyctl; do sweep "$call" EPERM; done
}

@test "namespaces" {
	local call
	for call in setns unshare clone3 sethostname setdomainname; do sweep "$call" EPERM; done
}

@test "mounts" {
	local call
	for call in fsopen fsconfig fsmount open_tree move_mount mount mount_setattr; do sweep "$call" EPERM; done
}

@test "root, devices, streams" {
	local call
	for call in pivot_root umount2 fchdir symlinkat mknodat ioctl dup3 close_range getrandom; do sweep "$call" EPERM; done
}

@test "messages between parent and child" {
	local call
	for call in socketpair sendmsg recvmsg poll; do sweep "$call" ENOMEM; done
}
