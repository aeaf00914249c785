/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CRIU is given to find (ct-criu): the end of a restore, that it leaves undone, and in a dump one word
 * less.
 *
 * A lock of fcntl(2) that belongs to a process goes when that closes any descriptor of the file. CRIU sets
 * the locks first and maps files last, by descriptors that it closes then: the lock on a file that is mapped
 * as well is lost, and a database believes that it has the file to itself. And it does not save that a thread
 * may not gain privileges by executing a program (no_new_privs).
 *
 * So this module, by LD_PRELOAD, notes the locks that CRIU sets (fcntl64), in memory that its tasks share,
 * and the tasks that it traces (ptrace). They all stand and have all that was restored when it tells that it
 * will let them go, the notification pre-resume (write): then each lock is set again by who has it, and
 * no_new_privs in those of whom a file says that they had it (worker-suspend-privileges.c), by calls in those
 * tasks (criu-inject.c). That it was done, or why not, is added to the notification as its message.
 *
 * Nor does it save that a process has registered to have others of its threads pass a memory barrier
 * (membarrier(2)), which gets EPERM then for what cannot fail; some, such as .NET, end. The kernel does not
 * say who was registered, so all are: CRIU itself is before it does anything, and its tasks are its copies.
 *
 * Of the policy that a task is scheduled by CRIU is not told SCHED_RESET_ON_FORK (syscall): it would save it,
 * and refuse what it has saved. worker-suspend-threads.c notes it.
 */
#include "ctd/criu-finish.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-fields.h"
#include "ctd/criu-inject.h"
#include "ctd/criu-rpc.h"
#include "ctd/criu.h"

#define EXPORTED   __attribute__((visibility("default")))
#define PACKET_MAX 4096
#define STATUS_MAX 1048576
#define LIST_MAX   (64UL << 20)
#define PRE_RESUME "pre-resume"

struct lock {
	pid_t pid; /* inside */
	int fd;
	short type;
	int64_t start, size;
};

struct noted {
	unsigned int n;
	struct lock locks[CRIU_FINISH_LOCKS_MAX];
};

static struct noted *noted; /* shared by all that are forked; NULL: this is not CRIU */

struct traced {
	pid_t tid;
	pid_t inside, leader;      /* 0: not known yet; -1: it is not there */
	struct inject_place place; /* of the leader */
};

static struct traced *traced;
static size_t n_traced;
static bool out_of_memory;

/* What starts CRIU, a script of the host's, hands us on. Only what is written to takes memory. */
__attribute__((constructor)) static void begin(void)
{
	if (!str_eq(program_invocation_short_name, "criu"))
		return;
	(void)unsetenv("LD_PRELOAD"); /* CRIU starts others */
	noted = mmap(NULL, sizeof(*noted), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
	        -1, 0);
	if (noted == MAP_FAILED)
		_exit(EXIT_FAILURE);
	/* Not to synchronize cores, which makes each switch to a process slower. A kernel without one of them
	 * never had it. */
	(void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	(void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0);
}

/* ---- in CRIU, while it dumps */

/* CRIU asks so, not by the function of that name. */
EXPORTED long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long arguments[6], r;
	va_list list;

	va_start(list, number);
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++)
		arguments[i] = va_arg(list, long); /* those that there are not nobody looks at */
	va_end(list);
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	r = real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
	return noted && number == SYS_sched_getscheduler && r >= 0 ? r & ~(long)SCHED_RESET_ON_FORK : r;
}

/* ---- in a task, before it is what it will be */

static int note(int fd, const struct flock *lock)
{
	const unsigned int i = __atomic_fetch_add(&noted->n, 1, __ATOMIC_RELAXED);

	if (i >= CRIU_FINISH_LOCKS_MAX) {
		errno = ENOLCK; /* CRIU gives up */
		return -1;
	}
	noted->locks[i] = (struct lock){
		.pid = getpid(),
		.fd = fd,
		.type = lock->l_type,
		.start = lock->l_start,
		.size = lock->l_len,
	};
	return 0;
}

EXPORTED int fcntl64(int fd, int command, ...)
{
	static int (*real)(int, int, ...);
	va_list list;
	void *argument;
	int r;

	va_start(list, command);
	argument = va_arg(list, void *);
	va_end(list);
	if (!real)
		real = (int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64");
	if (noted && command == F_SETLKW)
		command = F_SETLK; /* whoever has it outside shall not keep us waiting */
	r = real(fd, command, argument);
	if (r >= 0 && noted && command == F_SETLK && ((const struct flock *)argument)->l_type != F_UNLCK)
		r = note(fd, argument);
	return r;
}

/* ---- in CRIU, while it restores */

static void note_traced(pid_t tid)
{
	struct traced *larger = reallocarray(traced, n_traced + 1, sizeof(*traced));

	if (!larger) {
		out_of_memory = true;
		return;
	}
	traced = larger;
	traced[n_traced++] = (struct traced){ .tid = tid };
}

/* CRIU passes all four. */
EXPORTED long ptrace(enum __ptrace_request request, ...)
{
	static long (*real)(enum __ptrace_request, ...);
	va_list list;
	pid_t tid;
	void *address, *data;
	long r;

	va_start(list, request);
	tid = va_arg(list, pid_t);
	address = va_arg(list, void *);
	data = va_arg(list, void *);
	va_end(list);
	if (!real)
		real = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
	r = real(request, tid, address, data);
	if (noted && request == PTRACE_SEIZE && r >= 0)
		note_traced(tid);
	return r;
}

/* ---- in CRIU, when all is restored */

static pid_t number_after(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? (pid_t)strtol(at + strlen(key), NULL, 10) : -1;
}

/* Inside it has the last of its numbers. */
static void learn(struct traced *t)
{
	_cleanup_free_ char *text = NULL;
	char path[64], *at, *end;

	t->inside = t->leader = -1;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", t->tid); /* fits */
	if (read_file_at(AT_FDCWD, path, STATUS_MAX, &text, NULL) < 0 || !(at = strstr(text, "\nNSpid:")))
		return;
	if (number_after(text, "\nTracerPid:") != getpid())
		return; /* it has ended, and the number is another's */
	t->leader = number_after(text, "\nTgid:");
	end = strchr(at + 1, '\n');
	if (end)
		*end = '\0';
	at = strrchr(at, '\t');
	t->inside = at ? (pid_t)strtol(at + 1, NULL, 10) : -1;
}

static struct traced *find_inside(pid_t inside)
{
	for (size_t i = 0; i < n_traced; i++) {
		if (traced[i].inside == 0)
			learn(&traced[i]);
		if (traced[i].inside == inside)
			return &traced[i];
	}
	return NULL;
}

static struct traced *find_traced(pid_t tid)
{
	for (size_t i = 0; i < n_traced; i++)
		if (traced[i].tid == tid)
			return &traced[i];
	return NULL;
}

static int begin_calls(pid_t inside, struct inject **ret)
{
	struct traced *t = find_inside(inside), *leader = t ? find_traced(t->leader) : NULL;

	return leader ? inject_begin(t->tid, &leader->place, ret) : -ESRCH;
}

/* Of calls that return 0 when they have done it: another result is that of a filter. */
static int call(struct inject *inject, long number, const unsigned long arguments[INJECT_ARGUMENTS])
{
	long result = 0;
	int r = inject_call(inject, number, arguments, &result);

	return r < 0 ? r : result > 0 ? -EIO : (int)result;
}

static int set_lock(struct inject *inject, const struct lock *l)
{
	const struct flock want = {
		.l_type = l->type, .l_whence = SEEK_SET, .l_start = l->start, .l_len = l->size
	};
	unsigned long arguments[INJECT_ARGUMENTS] = { (unsigned long)l->fd, F_SETLK };
	int r = inject_put(inject, &want, sizeof(want), &arguments[2]);

	return r < 0 ? r : call(inject, SYS_fcntl, arguments);
}

/* Those of one process. *failed: the one that could not be. */
static int set_locks_of(const struct lock *locks, size_t n, const struct lock **failed)
{
	struct inject *inject;
	int r = begin_calls(locks->pid, &inject), end;

	*failed = locks;
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r >= 0; i++) {
		*failed = &locks[i];
		r = set_lock(inject, *failed);
	}
	end = inject_end(inject);
	return r < 0 ? r : end;
}

static int compare_locks(const void *a, const void *b)
{
	const pid_t x = ((const struct lock *)a)->pid, y = ((const struct lock *)b)->pid;

	return (x > y) - (x < y);
}

static int set_locks(struct ct_error *err)
{
	struct lock *locks = noted->locks;
	const struct lock *failed = locks;
	const size_t n = noted->n;
	int r = 0;

	if (n > CRIU_FINISH_LOCKS_MAX)
		return ct_error_set(err, -ENOLCK, "locks", "there are too many locks on files");
	if (n > 0)
		qsort(locks, n, sizeof(*locks), compare_locks);
	for (size_t first = 0, end; first < n && r >= 0; first = end) {
		for (end = first + 1; end < n && locks[end].pid == locks[first].pid; end++)
			;
		r = set_locks_of(locks + first, end - first, &failed);
	}
	return r < 0 ? ct_error_set(err, r, "locks",
	                       "process %d inside cannot lock its file descriptor %d again: %s", failed->pid,
	                       failed->fd, strerror(-r))
	             : 0;
}

/* One that is not there has died before CRIU came to it; the audit would find it otherwise. */
static int keep_from_privileges(pid_t inside)
{
	static const unsigned long arguments[INJECT_ARGUMENTS] = { PR_SET_NO_NEW_PRIVS, 1 };
	struct inject *inject;
	int r, end;

	if (!find_inside(inside))
		return 0;
	r = begin_calls(inside, &inject);
	if (r < 0)
		return r;
	r = call(inject, SYS_prctl, arguments);
	end = inject_end(inject);
	return r < 0 ? r : end;
}

static int set_no_new_privs(struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	int r = read_file_at(AT_FDCWD, CRIU_WORK "/" CRIU_FINISH_NO_NEW_PRIVS, LIST_MAX, &text, NULL);

	if (r < 0)
		return ct_error_set(err, r, "privileges",
		        "cannot read who may not gain privileges (no_new_privs): %s", strerror(-r));
	for (char *at = text, *end; *at; at = end + (*end == '\n')) {
		const pid_t inside = (pid_t)strtol(at, &end, 10);

		r = end == at ? -EBADMSG : keep_from_privileges(inside);
		if (r < 0)
			return ct_error_set(err, r, "privileges",
			        "thread %d inside cannot be kept from gaining privileges again: %s", inside,
			        strerror(-r));
	}
	return 0;
}

static int finish(struct ct_error *err)
{
	int r = out_of_memory ? ct_error_set(err, -ENOMEM, "criu", "out of memory") : 0;

	if (r >= 0)
		r = set_locks(err);
	return r < 0 ? r : set_no_new_privs(err);
}

/* ---- the notification */

static bool is_conversation(int fd)
{
	socklen_t size = sizeof(int);
	int type = 0;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

static bool is_pre_resume(const void *data, size_t size)
{
	struct criu_reader all = { data, (const unsigned char *)data + size }, part = { NULL, NULL };
	struct criu_field f = { 0 };
	bool notifies = false;
	int r;

	while ((r = criu_get_field(&all, &f)) > 0)
		if (f.number == CRIU_RESP_TYPE)
			notifies = f.value == CRIU_TYPE_NOTIFY;
		else if (f.number == CRIU_RESP_NOTIFY)
			part = f.bytes;
	if (r < 0 || !notifies)
		return false;
	while (criu_get_field(&part, &f) > 0)
		if (f.number == CRIU_NOTIFY_SCRIPT)
			return (size_t)(f.bytes.end - f.bytes.at) == strlen(PRE_RESUME) &&
			       memcmp(f.bytes.at, PRE_RESUME, strlen(PRE_RESUME)) == 0;
	return false;
}

static void put_message(struct strbuf *packet)
{
	struct ct_error err = { 0 };
	const char *text = finish(&err) < 0 ? err.text : CRIU_FINISH_DONE;

	criu_put_bytes(packet, CRIU_RESP_MESSAGE, text, strlen(text));
}

EXPORTED ssize_t write(int fd, const void *data, size_t size)
{
	static ssize_t (*real)(int, const void *, size_t);
	_cleanup_strbuf_ struct strbuf packet = STRBUF_INIT;
	ssize_t n;

	if (!real)
		real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	if (!noted || size > PACKET_MAX || !memmem(data, size, PRE_RESUME, strlen(PRE_RESUME)) ||
	        !is_conversation(fd) || !is_pre_resume(data, size))
		return real(fd, data, size);
	(void)strbuf_add(&packet, data, size); /* a failure is remembered */
	put_message(&packet);
	if (packet.error) /* without a message it is not taken for good */
		return real(fd, data, size);
	n = real(fd, packet.data, packet.len);
	return n < (ssize_t)size ? n : (ssize_t)size;
}
