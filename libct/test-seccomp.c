/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seccomp programs, run by an interpreter of classic BPF that knows what they may hold. Each program is
 * also given to the kernel (in a child), which checks it for good and runs a few calls through it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "libct/ct.h"

#define SYSTEM  CT_SECCOMP_SYSTEM
#define NESTING CT_SECCOMP_NESTING
#define OK      0
#define KILL    (-1)

static struct ct_seccomp_program programs[2];

static int set_up(void **state)
{
	for (int i = 0; i < 2; i++)
		if (ct_seccomp_compile((enum ct_seccomp_profile)i, &programs[i], NULL) < 0)
			return -1;
	return 0;
}

static int tear_down(void **state)
{
	for (int i = 0; i < 2; i++)
		ct_seccomp_program_done(&programs[i]);
	return 0;
}

/* Returns the program's answer; *ret_steps counts instructions. */
static uint32_t run(
        const struct ct_seccomp_program *p, const struct seccomp_data *data, unsigned int *ret_steps)
{
	const struct sock_filter *code = p->filter;
	uint32_t a = 0;

	*ret_steps = 0;
	for (size_t pc = 0;; pc++) {
		assert_true(pc < p->count);
		const struct sock_filter *i = &code[pc];
		bool jump = false;

		++*ret_steps;
		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(i->k % 4 == 0 && i->k + 4 <= sizeof(*data));
			memcpy(&a, (const char *)data + i->k, sizeof(a));
			continue;
		case BPF_ALU | BPF_AND | BPF_K: a &= i->k; continue;
		case BPF_JMP | BPF_JA: pc += i->k; continue;
		case BPF_JMP | BPF_JEQ | BPF_K: jump = a == i->k; break;
		case BPF_JMP | BPF_JGE | BPF_K: jump = a >= i->k; break;
		case BPF_JMP | BPF_JSET | BPF_K: jump = a & i->k; break;
		case BPF_RET | BPF_K: return i->k;
		default: fail_msg("instruction %x is not expected here", i->code);
		}
		pc += jump ? i->jt : i->jf;
	}
}

/* OK, KILL or an errno. */
static int ask(enum ct_seccomp_profile profile, uint32_t arch, int nr, const uint64_t args[6])
{
	struct seccomp_data data = { .nr = nr, .arch = arch };
	unsigned int steps;

	if (args)
		memcpy(data.args, args, sizeof(data.args));
	uint32_t answer = run(&programs[profile], &data, &steps);
	assert_true(steps < 60);

	switch (answer & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_ALLOW: return OK;
	case SECCOMP_RET_KILL_PROCESS: return KILL;
	case SECCOMP_RET_ERRNO: return (int)(answer & SECCOMP_RET_DATA);
	}
	fail_msg("answer %x is not expected", answer);
	return KILL;
}

struct row {
	const char *name;
	uint64_t args[6];
	int system, nesting;
};

#define HIGH 0x100000000ULL

static const struct row rows[] = {
	{ "read", { 0 }, OK, OK }, { "openat", { 0 }, OK, OK }, { "execve", { 0 }, OK, OK },
	{ "futex", { 0 }, OK, OK }, { "mount", { 0 }, OK, OK }, { "pivot_root", { 0 }, OK, OK },
	{ "reboot", { 0 }, OK, OK }, { "io_submit", { 0 }, OK, OK }, { "ptrace", { 0 }, OK, OK },
	{ "seccomp", { 0 }, OK, OK }, { "name_to_handle_at", { 0 }, OK, OK },
	{ "open_by_handle_at", { 0 }, EPERM, EPERM }, { "bpf", { 0 }, EPERM, EPERM },
	{ "perf_event_open", { 0 }, EPERM, EPERM }, { "userfaultfd", { 1 }, EPERM, EPERM },
	{ "init_module", { 0 }, EPERM, EPERM }, { "finit_module", { 0 }, EPERM, EPERM },
	{ "delete_module", { 0 }, EPERM, EPERM }, { "kexec_load", { 0 }, EPERM, EPERM },
	{ "kexec_file_load", { 0 }, EPERM, EPERM }, { "quotactl", { 0 }, EPERM, EPERM },
	{ "quotactl_fd", { 0 }, EPERM, EPERM }, { "swapon", { 0 }, EPERM, EPERM },
	{ "syslog", { 0 }, EPERM, EPERM }, { "settimeofday", { 0 }, EPERM, EPERM },
	{ "acct", { 0 }, EPERM, EPERM }, { "keyctl", { 0 }, ENOSYS, ENOSYS },
	{ "add_key", { 0 }, ENOSYS, ENOSYS }, { "request_key", { 0 }, ENOSYS, ENOSYS },
	{ "io_uring_setup", { 0 }, ENOSYS, ENOSYS }, { "io_uring_enter", { 0 }, ENOSYS, ENOSYS },
	{ "io_uring_register", { 0 }, ENOSYS, ENOSYS }, { "clone3", { 0 }, ENOSYS, OK },
	{ "clone", { SIGCHLD }, OK, OK }, { "clone", { CLONE_VM | CLONE_VFORK | SIGCHLD }, OK, OK },
	{ "clone", { CLONE_NEWNS | SIGCHLD }, OK, OK }, { "clone", { CLONE_NEWNET | SIGCHLD }, OK, OK },
	{ "clone", { CLONE_NEWUSER | SIGCHLD }, EPERM, OK },
	{ "clone", { CLONE_NEWPID | SIGCHLD }, EPERM, OK },
	{ "clone", { CLONE_NEWNS | CLONE_NEWUTS }, EPERM, OK },
	{ "clone", { HIGH | CLONE_NEWIPC }, EPERM, OK },
	{ "unshare", { CLONE_NEWNS | CLONE_NEWNET | CLONE_FS }, OK, OK },
	{ "unshare", { CLONE_NEWUSER }, EPERM, OK }, { "unshare", { CLONE_NEWCGROUP }, EPERM, OK },
	{ "unshare", { 0x80 }, EPERM, OK }, /* CLONE_NEWTIME */
	{ "setns", { 3 }, OK, OK }, { "socket", { AF_UNIX, SOCK_STREAM }, OK, OK },
	{ "socket", { AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC }, OK, OK },
	{ "socket", { AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0 }, OK, OK },
	{ "socket", { AF_INET, SOCK_STREAM, 6 }, OK, OK }, { "socket", { AF_INET6, SOCK_DGRAM, 17 }, OK, OK },
	{ "socket", { AF_INET, SOCK_DGRAM, 1 }, OK, OK }, { "socket", { AF_INET, SOCK_RAW, 89 }, OK, OK },
	{ "socket", { AF_INET, SOCK_STREAM, 132 }, EPROTONOSUPPORT, EPROTONOSUPPORT },
	{ "socket", { AF_INET, SOCK_STREAM, 262 }, EPROTONOSUPPORT, EPROTONOSUPPORT },
	{ "socket", { AF_INET6, SOCK_DGRAM, HIGH | 33 }, EPROTONOSUPPORT, EPROTONOSUPPORT },
	{ "socket", { AF_INET, SOCK_SEQPACKET, 132 }, ESOCKTNOSUPPORT, ESOCKTNOSUPPORT },
	{ "socket", { AF_INET, SOCK_DCCP }, ESOCKTNOSUPPORT, ESOCKTNOSUPPORT },
	{ "socket", { AF_PACKET, SOCK_RAW, 3 }, OK, OK }, { "socket", { AF_NETLINK, SOCK_RAW, 0 }, OK, OK },
	{ "socket", { AF_NETLINK, SOCK_RAW, 12 }, OK, OK },
	{ "socket", { AF_NETLINK, SOCK_RAW, 15 }, OK, OK },
	{ "socket", { AF_NETLINK, SOCK_RAW, 6 }, EPROTONOSUPPORT, EPROTONOSUPPORT },
	{ "socket", { AF_NETLINK, SOCK_RAW, 9 }, EPROTONOSUPPORT, EPROTONOSUPPORT },
	{ "socket", { AF_NETLINK, SOCK_RAW, 21 }, EPROTONOSUPPORT, EPROTONOSUPPORT },
	{ "socket", { AF_ALG, SOCK_SEQPACKET }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "socket", { HIGH | AF_ALG, SOCK_SEQPACKET }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "socket", { AF_VSOCK, SOCK_STREAM }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "socket", { AF_XDP, SOCK_RAW }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "socket", { AF_KEY, SOCK_RAW, 2 }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "socket", { AF_RDS, SOCK_SEQPACKET }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "socket", { AF_TIPC, SOCK_RDM }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "socket", { 1000 }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "socketpair", { AF_UNIX, SOCK_STREAM }, OK, OK },
	{ "socketpair", { AF_TIPC, SOCK_STREAM }, EAFNOSUPPORT, EAFNOSUPPORT },
	{ "setsockopt", { 3, 6, 1 }, OK, OK }, { "setsockopt", { 3, 1, 31 }, OK, OK },
	{ "setsockopt", { 3, 6, 31 }, ENOPROTOOPT, ENOPROTOOPT },
	{ "setsockopt", { 3, HIGH | 6, HIGH | 31 }, ENOPROTOOPT, ENOPROTOOPT },
	{ "setsockopt", { 3, 0, 17 }, ENOPROTOOPT, ENOPROTOOPT },
	{ "setsockopt", { 3, 41, 35 }, ENOPROTOOPT, ENOPROTOOPT }, { "ioctl", { 0, 0x5401 }, OK, OK },
	{ "ioctl", { 0, 0x5412 }, EPERM, EPERM }, { "ioctl", { 0, HIGH | 0x5412 }, EPERM, EPERM },
	{ "ioctl", { 0, 0x541c }, EPERM, EPERM },
	{ "ioctl", { 0, 0xc0c0583b }, EPERM, EPERM }, /* FS_IOC_GETFSMAP */
	{ "ioctl", { 0, 0x800c6613 }, EPERM, EPERM }, /* FS_IOC_SET_ENCRYPTION_POLICY */
};

static void native_calls(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		int nr = seccomp_syscall_resolve_name(r->name);
		uint32_t arch = seccomp_arch_native(); /* is the AUDIT_ARCH */

		assert_true(nr >= 0);
		int system = ask(SYSTEM, arch, nr, r->args), nesting = ask(NESTING, arch, nr, r->args);
		if (system != r->system || nesting != r->nesting)
			fail_msg("row %zu, %s: %d and %d, not %d and %d", i, r->name, system, nesting,
			        r->system, r->nesting);
	}
}

#ifdef __x86_64__
/* The 32-bit companion has the same policy, under its own numbers. */
static void companion_calls(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int nr = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86, rows[i].name);
		if (nr < 0)
			continue;
		assert_int_equal(ask(SYSTEM, AUDIT_ARCH_I386, nr, rows[i].args), rows[i].system);
	}

	int socketcall = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86, "socketcall");
	assert_int_equal(ask(SYSTEM, AUDIT_ARCH_I386, socketcall, (uint64_t[6]){ 1 }), ENOSYS); /* socket */
	assert_int_equal(
	        ask(SYSTEM, AUDIT_ARCH_I386, socketcall, (uint64_t[6]){ 14 }), ENOSYS);     /* setsockopt */
	assert_int_equal(ask(SYSTEM, AUDIT_ARCH_I386, socketcall, (uint64_t[6]){ 3 }), OK); /* connect */
}

static void foreign_calls(void **state)
{
	assert_int_equal(ask(SYSTEM, AUDIT_ARCH_X86_64, 0x40000000 | SYS_read, NULL), ENOSYS);
	assert_int_equal(ask(SYSTEM, AUDIT_ARCH_AARCH64, SYS_read, NULL), KILL);
	assert_int_equal(ask(SYSTEM, 0, SYS_read, NULL), KILL);
}
#endif

static void unknown_calls_are_missing(void **state)
{
	for (int nr = 1000; nr < 5000; nr += 7)
		assert_int_equal(ask(SYSTEM, seccomp_arch_native(), nr, NULL), ENOSYS);
	assert_int_equal(ask(SYSTEM, seccomp_arch_native(), -1, NULL), ENOSYS);
	assert_int_equal(ask(SYSTEM, seccomp_arch_native(), 0x3fffffff, NULL), ENOSYS);
}

/* Also by a library that is older than the calls. */
static void new_calls_are_known(void **state)
{
	static const int numbers[] = { 452, 457, 462, 463, 469 };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		assert_int_equal(ask(SYSTEM, seccomp_arch_native(), numbers[i], NULL), OK);
	assert_int_equal(ask(SYSTEM, seccomp_arch_native(), 460, NULL), ENOSYS); /* lsm_set_self_attr */
}

static void a_wrong_profile_is_refused(void **state)
{
	struct ct_seccomp_program p = { 0 };
	struct ct_error err = { 0 };

	assert_int_equal(ct_seccomp_compile((enum ct_seccomp_profile)7, &p, &err), -EINVAL);
	assert_string_equal(err.field, "profile");
	assert_int_equal(ct_seccomp_compile(SYSTEM, NULL, NULL), -EINVAL);
}

static int in_the_filter(void)
{
	struct sock_fprog fprog = { .len = programs[SYSTEM].count, .filter = programs[SYSTEM].filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &fprog) < 0)
		return 1;
	if (getppid() <= 0)
		return 2;
	if (syscall(SYS_bpf, 0, NULL, 0) != -1 || errno != EPERM)
		return 3;
	if (syscall(SYS_io_uring_setup, 1, NULL) != -1 || errno != ENOSYS)
		return 4;
	if (socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0) != -1 || errno != EAFNOSUPPORT)
		return 5;
	return 0;
}

static void the_kernel_takes_it(void **state)
{
	int status;

	pid_t pid = fork();
	if (pid == 0)
		_exit(in_the_filter());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(native_calls),
#ifdef __x86_64__
		cmocka_unit_test(companion_calls),
		cmocka_unit_test(foreign_calls),
#endif
		cmocka_unit_test(unknown_calls_are_missing),
		cmocka_unit_test(new_calls_are_known),
		cmocka_unit_test(a_wrong_profile_is_refused),
		cmocka_unit_test(the_kernel_takes_it),
	};

	return cmocka_run_group_tests_name("libct-seccomp", tests, set_up, tear_down);
}
