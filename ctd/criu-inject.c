/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A task that stands is sent through an instruction that makes a system call, with registers for it; then it
 * gets back what it had. The vDSO has such an instruction; in a task without one it is written, for that
 * time, over what it executes first in its memory.
 *
 * It is stopped where it enters the call and where it leaves it (PTRACE_SYSCALL), not by a trap behind it: a
 * trap is a signal, and one that the task ignores would be ignored no more. All signals are blocked
 * meanwhile. One cannot be: a SIGSTOP that waits for the task comes first, is taken from it, and sent again.
 */
#include "ctd/criu-inject.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifdef __x86_64__

#define VDSO_MAX  65536
#define STOPS_MAX 16   /* before the one that is waited for */
#define CS_64     0x33 /* of a program of 64 bits, whatever the task is */
#define SS_64     0x2b

static const unsigned char instruction[] = { 0x0f, 0x05 }; /* syscall */

struct inject {
	pid_t pid;
	int memory; /* /proc/PID/mem */
	struct user_regs_struct was;
	uint64_t mask; /* the signals that it blocks */
	struct inject_place place;
	unsigned char in_room[INJECT_ROOM], in_code[sizeof(instruction)]; /* of which this was written over */
	bool is_changed, stop_again;
};

/* ---- where */

/* A line of maps. */
struct mapping {
	uint64_t low, high, inode;
	char mode[5];
	const char *name;
};

static int read_mapping(const char *line, struct mapping *ret)
{
	int name = 0;

	if (sscanf(line, "%lx-%lx %4s %*s %*s %lu %n", &ret->low, &ret->high, ret->mode, &ret->inode, &name) <
	        4)
		return -EBADMSG;
	ret->name = line + name;
	return 0;
}

/* Of the instruction; 0: it is not there. */
static uint64_t find_code(int memory, const struct mapping *m)
{
	unsigned char bytes[VDSO_MAX];
	const size_t size = m->high - m->low < sizeof(bytes) ? m->high - m->low : sizeof(bytes);
	const ssize_t n = pread(memory, bytes, size, (off_t)m->low);
	const unsigned char *at = n > 0 ? memmem(bytes, (size_t)n, instruction, sizeof(instruction)) : NULL;

	return at ? m->low + (uint64_t)(at - bytes) : 0;
}

/* That it can be written to; what was there is kept. */
static bool can_hold(struct inject *x, uint64_t address, void *was, size_t size)
{
	return pread(x->memory, was, size, (off_t)address) == (ssize_t)size &&
	       pwrite(x->memory, was, size, (off_t)address) == (ssize_t)size;
}

/* The room: where its stack ends, or else anywhere; but in memory of its own that it may read itself. */
static void look_for_room(struct inject *x, const struct mapping *m, bool anywhere)
{
	const uint64_t stack = x->was.rsp & ~(uint64_t)(INJECT_ROOM - 1);
	const bool is_stack = stack >= m->low && stack < m->high;
	const uint64_t room = is_stack ? stack : m->low;

	if ((is_stack || anywhere) && m->mode[0] == 'r' && m->mode[1] == 'w' && m->mode[3] == 'p' &&
	        can_hold(x, room, x->in_room, INJECT_ROOM))
		x->place.room = room;
}

static void look_for_code(struct inject *x, const struct mapping *m, bool anywhere)
{
	if (m->mode[2] != 'x')
		return;
	if (m->inode == 0 && strcmp(m->name, "[vdso]\n") == 0)
		x->place.code = find_code(x->memory, m);
	if (x->place.code || !anywhere || m->mode[3] != 'p')
		return;
	/* not where the room may be */
	x->place.code = m->low + (x->place.room == m->low + INJECT_ROOM ? 2 : 1) * INJECT_ROOM;
	x->place.is_written = can_hold(x, x->place.code, x->in_code, sizeof(x->in_code));
	if (!x->place.is_written)
		x->place.code = 0;
}

static int look(struct inject *x, bool anywhere)
{
	_cleanup_fclose_ FILE *maps = NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", x->pid); /* fits */
	maps = fopen(path, "re");
	if (!maps)
		return -errno;
	while ((!x->place.room || !x->place.code) && getline(&line, &size, maps) > 0) {
		struct mapping m;
		int r = read_mapping(line, &m);

		if (r < 0)
			return r;
		if (!x->place.room)
			look_for_room(x, &m, anywhere);
		if (!x->place.code)
			look_for_code(x, &m, anywhere);
	}
	return x->place.room && x->place.code ? 0 : -ENOEXEC;
}

static int find_place(struct inject *x)
{
	int r = 0;

	if (!x->place.code) {
		r = look(x, false);
		if (r == -ENOEXEC)
			r = look(x, true);
	} else if (!can_hold(x, x->place.room, x->in_room, INJECT_ROOM) ||
	           (x->place.is_written && !can_hold(x, x->place.code, x->in_code, sizeof(x->in_code)))) {
		r = -EFAULT;
	}
	return r;
}

/* ---- the call */

static int get(struct inject *x, struct user_regs_struct *ret)
{
	return ptrace(PTRACE_GETREGS, x->pid, NULL, ret) < 0 ? -errno : 0;
}

static int set(struct inject *x, struct user_regs_struct *registers)
{
	return ptrace(PTRACE_SETREGS, x->pid, NULL, registers) < 0 ? -errno : 0;
}

/* The room is written to by each call. */
static int set_code(struct inject *x, const unsigned char code[sizeof(instruction)])
{
	if (!x->place.is_written)
		return 0;
	return pwrite(x->memory, code, sizeof(instruction), (off_t)x->place.code) ==
	                       (ssize_t)sizeof(instruction)
	               ? 0
	               : -EFAULT;
}

static int set_mask(struct inject *x, uint64_t mask)
{
	return ptrace(PTRACE_SETSIGMASK, x->pid, (void *)sizeof(mask), &mask) < 0 ? -errno : 0;
}

/* Until it enters or leaves a call. Killed, it is gone when its other threads are, and those, which are
 * traced as well, when their end has been heard: so everybody is listened to. */
static int run(struct inject *x)
{
	for (unsigned int i = 0; i < STOPS_MAX; i++) {
		int status, signal;
		pid_t pid;

		if (ptrace(PTRACE_SYSCALL, x->pid, NULL, NULL) < 0)
			return -errno;
		do
			pid = waitpid(-1, &status, __WALL);
		while (pid < 0 ? errno == EINTR : pid != x->pid);
		if (pid < 0 || !WIFSTOPPED(status))
			return -ESRCH;
		signal = WSTOPSIG(status) & ~0x80; /* PTRACE_O_TRACESYSGOOD, if it is set */
		if (status >> 16 == PTRACE_EVENT_STOP)
			continue;
		if (signal == SIGTRAP && status >> 16 == 0)
			return 0;
		if (signal != SIGSTOP)
			return -EIO;
		x->stop_again = true;
	}
	return -EIO;
}

int inject_begin(pid_t pid, struct inject_place *place, struct inject **ret)
{
	struct inject *x = calloc(1, sizeof(*x));
	char path[64];
	int r;

	if (!x)
		return -ENOMEM;
	*x = (struct inject){ .pid = pid, .place = *place };
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", pid); /* fits */
	x->memory = open(path, O_RDWR | O_CLOEXEC);
	r = x->memory < 0 ? -errno : get(x, &x->was);
	if (r >= 0)
		r = find_place(x);
	if (r >= 0 && ptrace(PTRACE_GETSIGMASK, pid, (void *)sizeof(x->mask), &x->mask) < 0)
		r = -errno;
	x->is_changed = r >= 0;
	if (r >= 0)
		r = set_code(x, instruction);
	if (r >= 0)
		r = set_mask(x, ~(uint64_t)0);
	if (r < 0) {
		(void)inject_end(x); /* the first failure is the one to tell */
		return r;
	}
	*place = x->place;
	*ret = x;
	return 0;
}

int inject_put(struct inject *x, const void *data, size_t size, unsigned long *ret_address)
{
	if (size > INJECT_ROOM || pwrite(x->memory, data, size, (off_t)x->place.room) != (ssize_t)size)
		return -EFAULT;
	*ret_address = x->place.room;
	return 0;
}

int inject_call(struct inject *x, long number, const unsigned long arguments[INJECT_ARGUMENTS], long *ret)
{
	struct user_regs_struct registers = x->was;
	int r;

	registers.rip = x->place.code;
	registers.cs = CS_64;
	registers.ss = SS_64;
	registers.orig_rax = ~0UL; /* it is in no call that could be begun again */
	registers.rax = (unsigned long)number;
	registers.rdi = arguments[0];
	registers.rsi = arguments[1];
	registers.rdx = arguments[2];
	registers.r10 = arguments[3];
	registers.r8 = arguments[4];
	registers.r9 = arguments[5];
	r = set(x, &registers);
	if (r >= 0)
		r = run(x);
	if (r >= 0)
		r = get(x, &registers);
	if (r >= 0 && registers.orig_rax != (unsigned long)number)
		r = -EIO;
	if (r >= 0)
		r = run(x);
	if (r >= 0)
		r = get(x, &registers);
	if (r >= 0 && registers.rip != x->place.code + sizeof(instruction))
		r = -EIO;
	if (r >= 0)
		*ret = (long)registers.rax;
	return r;
}

int inject_end(struct inject *x)
{
	int r = 0;

	if (x->is_changed) {
		const ssize_t n = pwrite(x->memory, x->in_room, INJECT_ROOM, (off_t)x->place.room);
		int code = set_code(x, x->in_code), regs = set(x, &x->was), mask = set_mask(x, x->mask);

		r = n != INJECT_ROOM ? -EFAULT : code < 0 ? code : regs < 0 ? regs : mask;
		if (x->stop_again && kill(x->pid, SIGSTOP) < 0 && r >= 0)
			r = -errno;
	}
	if (x->memory >= 0)
		(void)close(x->memory);
	free(x);
	return r;
}

#else

int inject_begin(pid_t pid, struct inject_place *place, struct inject **ret)
{
	return -ENOSYS;
}

int inject_put(struct inject *x, const void *data, size_t size, unsigned long *ret_address)
{
	return -ENOSYS;
}

int inject_call(struct inject *x, long number, const unsigned long arguments[INJECT_ARGUMENTS], long *ret)
{
	return -ENOSYS;
}

int inject_end(struct inject *x)
{
	return -ENOSYS;
}

#endif
