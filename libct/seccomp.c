/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compiles the system call policy (seccomp-policy.c) to a classic BPF program.
 *
 * libseccomp gives the tables of names and numbers for both architectures of the machine, but not the
 * program. Its rules compare 64-bit values where the kernel looks at the lower 32 bits of an int argument (so
 * an ioctl refused by number can be had with a high bit set), a rule with conditions cannot say what its
 * syscall answers when none holds, and 325 rules take it 8 ms. Here each checked argument is loaded as the 32
 * bits the kernel uses, every check ends in an answer of its own, and all is done in well under one.
 *
 * Shape: by architecture, then a binary search over the ranges of syscall numbers with the same answer, then
 * at most one check of arguments. The kernel (since 5.11) evaluates the program once for every number and
 * remembers those that are allowed whatever their arguments, so only the few checked calls and the refused
 * ones run it.
 *
 * Conditional jumps of classic BPF reach 255 instructions: farther ones go by way of an unconditional jump.
 * Checks are short and return within themselves.
 *
 * A call of a foreign architecture ends the process: x86 has no third one and a program cannot get there by
 * accident. x32 (x86-64 with bit 30 in the number) is answered with ENOSYS.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "libct/ct.h"
#include "libct/seccomp-policy.h"
#include "libct/sys.h"

#define PROGRAM_MAX  BPF_MAXINSNS
#define SYSCALLS_MAX 1024
#define X32_BIT      0x40000000u
#define RET_ERRNO(e) (SECCOMP_RET_ERRNO | ((unsigned int)(e)&SECCOMP_RET_DATA))

/* How an argument's lower half lies in struct seccomp_data; all our architectures are little-endian or say so
 * here. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARG(n) ((uint32_t)(offsetof(struct seccomp_data, args) + 8 * (n)))
#else
#define ARG(n) ((uint32_t)(offsetof(struct seccomp_data, args) + 8 * (n) + 4))
#endif

struct answer {
	enum policy_action action; /* 0: not on a list */
	int value;
};

struct compiler {
	struct sock_filter code[PROGRAM_MAX];
	size_t len;
	bool overflow;
	enum ct_seccomp_profile profile;
};

static void emit(struct compiler *c, unsigned int op, uint32_t k, size_t jt, size_t jf)
{
	if (c->len >= PROGRAM_MAX || jt > UINT8_MAX || jf > UINT8_MAX) {
		c->overflow = true;
		return;
	}
	c->code[c->len++] =
	        (struct sock_filter){ .code = (uint16_t)op, .jt = (uint8_t)jt, .jf = (uint8_t)jf, .k = k };
}

static void emit_load(struct compiler *c, uint32_t offset)
{
	emit(c, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void emit_return(struct compiler *c, uint32_t value)
{
	emit(c, BPF_RET | BPF_K, value, 0, 0);
}

/* If the accumulator is value: return answer. */
static void emit_return_if(struct compiler *c, uint32_t value, uint32_t answer)
{
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
	emit_return(c, answer);
}

/* One of values (ended by -1): allowed, else refused with the errno. */
static void emit_one_of(struct compiler *c, const int *values, int error)
{
	for (; *values != -1; values++)
		emit_return_if(c, (uint32_t)*values, SECCOMP_RET_ALLOW);
	emit_return(c, RET_ERRNO(error));
}

/* An unconditional jump whose target is not known yet; land() sets it to what comes next. */
static size_t emit_jump(struct compiler *c)
{
	emit(c, BPF_JMP | BPF_JA, 0, 0, 0);
	return c->len - 1;
}

static void land(struct compiler *c, size_t jump)
{
	if (!c->overflow)
		c->code[jump].k = (uint32_t)(c->len - jump - 1);
}

/* ---- checks of arguments ---- */

static void emit_flags(struct compiler *c, unsigned long refused)
{
	emit_load(c, ARG(0));
	emit(c, BPF_JMP | BPF_JSET | BPF_K, (uint32_t)refused, 0, 1);
	emit_return(c, RET_ERRNO(EPERM));
	emit_return(c, SECCOMP_RET_ALLOW);
}

/* Continues behind the block where the accumulator is one of a and b; returns the jump that is taken
 * otherwise. */
static size_t emit_unless_either(struct compiler *c, uint32_t a, uint32_t b)
{
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, a, 2, 0);
	emit(c, BPF_JMP | BPF_JEQ | BPF_K, b, 1, 0);
	return emit_jump(c);
}

static void emit_inet(struct compiler *c)
{
	emit_load(c, ARG(1));
	emit(c, BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0); /* SOCK_CLOEXEC and SOCK_NONBLOCK are above */
	emit_return_if(c, SOCK_RAW, SECCOMP_RET_ALLOW);

	size_t other_type = emit_unless_either(c, SOCK_STREAM, SOCK_DGRAM);
	emit_load(c, ARG(2));
	emit_one_of(c, policy_inet_protocols, EPROTONOSUPPORT);

	land(c, other_type);
	emit_return(c, RET_ERRNO(ESOCKTNOSUPPORT));
}

static void emit_socket(struct compiler *c)
{
	emit_load(c, ARG(0));
	for (const int *family = policy_plain_families; *family != -1; family++)
		emit_return_if(c, (uint32_t)*family, SECCOMP_RET_ALLOW);

	size_t not_inet = emit_unless_either(c, AF_INET, AF_INET6);
	emit_inet(c);

	land(c, not_inet);
	size_t not_netlink = emit_unless_either(c, AF_NETLINK, AF_NETLINK);
	emit_load(c, ARG(2));
	emit_one_of(c, policy_netlink_protocols, EPROTONOSUPPORT);

	land(c, not_netlink);
	emit_return(c, RET_ERRNO(EAFNOSUPPORT));
}

static void emit_setsockopt(struct compiler *c)
{
	for (const struct policy_pair *p = policy_refused_sockopts; p->first != -1; p++) {
		emit_load(c, ARG(1));
		emit(c, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)p->first, 0, 3);
		emit_load(c, ARG(2));
		emit_return_if(c, (uint32_t)p->second, RET_ERRNO(ENOPROTOOPT));
	}
	emit_return(c, SECCOMP_RET_ALLOW);
}

static void emit_answer(struct compiler *c, struct answer a)
{
	static const int unix_only[] = { AF_UNIX, -1 };

	switch (a.action) {
	case POLICY_ALLOW: emit_return(c, SECCOMP_RET_ALLOW); return;
	case POLICY_ERRNO: emit_return(c, RET_ERRNO(a.value)); return;
	case POLICY_CLONE: emit_flags(c, policy_refused_clone_flags); return;
	case POLICY_UNSHARE: emit_flags(c, policy_refused_clone_flags | CLONE_NEWTIME); return;
	case POLICY_SOCKET: emit_socket(c); return;
	case POLICY_SOCKETPAIR:
		emit_load(c, ARG(0));
		emit_one_of(c, unix_only, EAFNOSUPPORT);
		return;
	case POLICY_SOCKETCALL:
		emit_load(c, ARG(0));
		for (const int *call = policy_refused_socketcalls; *call != -1; call++)
			emit_return_if(c, (uint32_t)*call, RET_ERRNO(ENOSYS));
		emit_return(c, SECCOMP_RET_ALLOW);
		return;
	case POLICY_SETSOCKOPT: emit_setsockopt(c); return;
	case POLICY_IOCTL:
		emit_load(c, ARG(1));
		for (const unsigned int *cmd = policy_refused_ioctls; *cmd; cmd++)
			emit_return_if(c, *cmd, RET_ERRNO(EPERM));
		emit_return(c, SECCOMP_RET_ALLOW);
		return;
	}
	emit_return(c, RET_ERRNO(ENOSYS)); /* on no list */
}

/* ---- the search ---- */

struct range {
	uint32_t first; /* up to the next range's first */
	struct answer answer;
};

static void emit_search(struct compiler *c, const struct range *ranges, size_t n);

/* The upper half is reached by the comparison itself where it is near enough, else by a jump of its own. */
static void emit_halves(struct compiler *c, const struct range *ranges, size_t n, bool far)
{
	size_t half = n / 2, compare = c->len, jump = 0;

	emit(c, BPF_JMP | BPF_JGE | BPF_K, ranges[half].first, 0, far ? 1 : 0);
	if (far)
		jump = emit_jump(c);
	emit_search(c, ranges, half);

	size_t distance = c->len - compare - 1;
	if (far) {
		land(c, jump);
	} else if (distance <= UINT8_MAX && !c->overflow) {
		c->code[compare].jt = (uint8_t)distance;
	} else {
		c->len = compare;
		emit_halves(c, ranges, n, true);
		return;
	}
	emit_search(c, ranges + half, n - half);
}

/* The accumulator holds the number. The ranges are halved until one is left. */
static void emit_search(struct compiler *c, const struct range *ranges, size_t n)
{
	if (n == 1)
		emit_answer(c, ranges[0].answer);
	else
		emit_halves(c, ranges, n, false);
}

static bool answer_equal(struct answer a, struct answer b)
{
	return a.action == b.action && a.value == b.value;
}

static size_t make_ranges(const struct answer *answers, struct range *ranges)
{
	size_t n = 0;

	for (uint32_t nr = 0; nr <= SYSCALLS_MAX; nr++) {
		struct answer a = nr < SYSCALLS_MAX ? answers[nr] : (struct answer){ 0 };
		if (n == 0 || !answer_equal(ranges[n - 1].answer, a))
			ranges[n++] = (struct range){ .first = nr, .answer = a };
	}
	return n;
}

/* Negative: the architecture has no such call. */
static int number_of(uint32_t arch, const char *name)
{
	int nr = seccomp_syscall_resolve_name_arch(arch, name);

	if (nr != __NR_SCMP_ERROR)
		return nr;

	for (const struct policy_number *p = policy_new_calls; p->name; p++)
		if (strcmp(p->name, name) == 0)
			return p->number;
	return -1;
}

/* -EEXIST: the policy contradicts itself. */
static int fill_answers(struct answer *answers, enum ct_seccomp_profile profile, uint32_t arch)
{
	for (const struct policy_group *g = policy_groups; g->names; g++) {
		if (!(g->profiles & (1u << profile)))
			continue;

		for (const char *const *name = g->names; *name; name++) {
			int nr = number_of(arch, *name);
			if (nr < 0 || nr >= SYSCALLS_MAX)
				continue;
			if (answers[nr].action != 0)
				return -EEXIST;
			answers[nr] = (struct answer){ .action = g->action, .value = g->value };
		}
	}
	return 0;
}

struct arch {
	uint32_t scmp, audit;
	bool has_x32;
};

static int emit_arch(struct compiler *c, const struct arch *arch)
{
	_cleanup_free_ struct answer *answers = calloc(SYSCALLS_MAX, sizeof(*answers));
	_cleanup_free_ struct range *ranges = calloc(SYSCALLS_MAX + 1, sizeof(*ranges));
	if (!answers || !ranges)
		return -ENOMEM;

	int r = fill_answers(answers, c->profile, arch->scmp);
	if (r < 0)
		return r;

	emit(c, BPF_JMP | BPF_JEQ | BPF_K, arch->audit, 1, 0);
	size_t next_arch = emit_jump(c);
	emit_load(c, offsetof(struct seccomp_data, nr));
	if (arch->has_x32) {
		emit(c, BPF_JMP | BPF_JSET | BPF_K, X32_BIT, 0, 1);
		emit_return(c, RET_ERRNO(ENOSYS));
	}
	emit_search(c, ranges, make_ranges(answers, ranges));
	land(c, next_arch);
	return 0;
}

static int compile(struct compiler *c)
{
#if defined(__x86_64__)
	static const struct arch archs[] = {
		{ SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, true },
		{ SCMP_ARCH_X86, AUDIT_ARCH_I386, false },
	};
#elif defined(__aarch64__)
	static const struct arch archs[] = {
		{ SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64, false },
		{ SCMP_ARCH_ARM, AUDIT_ARCH_ARM, false },
	};
#else
#error "the policy has not been checked for this architecture"
#endif

	emit_load(c, offsetof(struct seccomp_data, arch));
	for (size_t i = 0; i < ARRAY_SIZE(archs); i++) {
		int r = emit_arch(c, &archs[i]);
		if (r < 0)
			return r;
	}
	emit_return(c, SECCOMP_RET_KILL_PROCESS);
	return c->overflow ? -E2BIG : 0;
}

int ct_seccomp_compile(enum ct_seccomp_profile profile, struct ct_seccomp_program *ret, struct ct_error *err)
{
	_cleanup_free_ struct compiler *c = NULL;

	if (!ret || (profile != CT_SECCOMP_SYSTEM && profile != CT_SECCOMP_NESTING))
		return ct_error_field(err, "profile", "there is no seccomp profile %d", (int)profile);

	c = calloc(1, sizeof(*c));
	if (!c)
		return ct_error_set(err, -ENOMEM, "seccomp", "out of memory");
	c->profile = profile;

	int r = compile(c);
	if (r < 0)
		return ct_error_set(
		        err, r, "seccomp", "cannot compile the seccomp profile: %s", sys_reason(r));

	size_t bytes = c->len * sizeof(c->code[0]);
	void *filter = malloc(bytes);
	if (!filter)
		return ct_error_set(err, -ENOMEM, "seccomp", "out of memory");

	memcpy(filter, c->code, bytes);
	*ret = (struct ct_seccomp_program){ .filter = filter, .count = (uint16_t)c->len };
	return 0;
}

void ct_seccomp_program_done(struct ct_seccomp_program *program)
{
	if (!program)
		return;

	free(program->filter);
	*program = (struct ct_seccomp_program){ 0 };
}
