/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*	test-criu-finish MODULE
 *
 * The module in a program that does what CRIU does: a task of its own locks a file, maps it, and closes what
 * it was mapped by; it is traced to the end of a system call; then the notification is sent. The lock must be
 * there again, no_new_privs where a file asks for it, and the task else as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-fields.h"
#include "ctd/criu-finish.h"
#include "ctd/criu-inject.h"
#include "ctd/criu-rpc.h"
#include "ctd/criu.h"

#define SOCKET_FD 3
#define FILE_FD   4
#define START     10
#define SECOND    100 /* of the other task */
#define SIZE      5
#define READY     1
#define GO        2
#define STACK     65536
#define DEAD_USEC 10000000

/* Ways of the task, and of what happens to it. */
#define WAY_PLAIN    "plain"
#define WAY_TWO      "two"      /* there is another task, that has locked its own part of the file */
#define WAY_STOPS    "stops"    /* a SIGSTOP waits for it */
#define WAY_TRAPS    "traps"    /* it ignores the signal of a trap */
#define WAY_BARE     "bare"     /* it has no vDSO */
#define WAY_ASTRAY   "astray"   /* its stack pointer leads nowhere */
#define WAY_FILTERED "filtered" /* its filter lets no lock through, and is suspended */
#define WAY_BOUND    "bound"    /* it shall have no_new_privs */
#define WAY_NOBODY   "nobody"   /* nothing is locked */
#define WAY_HELD     "held"     /* somebody else has the lock before */
#define WAY_TAKEN    "taken"    /* somebody else has it by then */
#define WAY_TRAPPED  "trapped"  /* its filter is not suspended, and has a signal sent */
#define WAY_GONE     "gone"     /* it is not traced */
#define WAY_LOST     "lost"     /* nobody knows who shall have no_new_privs */

static bool is_one_of(const char *way, const char *const ways[])
{
	for (size_t i = 0; ways[i]; i++)
		if (str_eq(way, ways[i]))
			return true;
	return false;
}
#define IS_ONE_OF(way, ...) is_one_of(way, (const char *const[]){ __VA_ARGS__, NULL })

static const char *module;

/* ---- what CRIU does */

static void give_up(const char *what)
{
	(void)fprintf(stderr, "# %s: %s\n", what, strerror(errno)); /* to be shown */
	_exit(EXIT_FAILURE);
}

static void unmap_vdso(void)
{
	_cleanup_fclose_ FILE *maps = fopen("/proc/self/maps", "re");
	uint64_t low, high;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &low, &high) == 2 &&
		        munmap((char *)(uintptr_t)low, high - low) == 0)
			return; /* there is one */
	give_up("vdso");
}

/* From here on it cannot lock. */
static void filter_locks(uint32_t action)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { ARRAY_SIZE(code), code };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		give_up("filter");
}

/* Calls that do nothing, with registers alone. */
static void call_astray(volatile char *word)
{
	char *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	__asm__ volatile(
	        "mov %%rsp, %%rbx\n\t"
	        "mov %[nowhere], %%rsp\n"
	        "1:\n\t"
	        "mov %[call], %%eax\n\t"
	        "syscall\n\t"
	        "cmpb %[go], (%[word])\n\t"
	        "jne 1b\n\t"
	        "mov %%rbx, %%rsp"
	        :
	        : [nowhere] "r"(nowhere + 2048), [word] "r"(word), [call] "i"(SYS_getppid), [go] "i"(GO)
	        : "rax", "rbx", "rcx", "r11", "memory", "cc");
}

/* Its lock is gone when it is ready, as in CRIU. It goes on by calls that do nothing. */
static void play_task(const char *way, off_t start, volatile char *word)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = SIZE };
	int file = open("/proc/self/fd/4", O_RDWR | O_CLOEXEC), r;
	struct sigaction action;
	sigset_t mask;

	r = str_eq(way, WAY_NOBODY) ? 0 : fcntl(FILE_FD, F_SETLKW, &lock);
	if (str_eq(way, WAY_HELD) ? r == 0 || errno != EAGAIN : r < 0)
		give_up("lock");
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED)
		give_up("map");
	(void)fd_close(file);
	if (str_eq(way, WAY_BARE))
		unmap_vdso();
	if (str_eq(way, WAY_TRAPS))
		(void)signal(SIGTRAP, SIG_IGN); /* seen below */
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR1);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	if (IS_ONE_OF(way, WAY_FILTERED, WAY_TRAPPED))
		filter_locks(str_eq(way, WAY_TRAPPED) ? SECCOMP_RET_TRAP : SECCOMP_RET_ERRNO | EPERM);
	*word = READY;
	if (str_eq(way, WAY_ASTRAY))
		call_astray(word);
	while (*word != GO)
		(void)syscall(SYS_getppid);
	(void)sigprocmask(SIG_BLOCK, NULL, &mask);
	(void)sigaction(SIGTRAP, NULL, &action);
	_exit(sigismember(&mask, SIGUSR1) != 1 || sigismember(&mask, SIGTERM) != 0 ||
	        (action.sa_handler == SIG_IGN) != str_eq(way, WAY_TRAPS) ||
	        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != str_eq(way, WAY_BOUND));
}

static struct user_regs_struct registers_of(pid_t task)
{
	struct user_regs_struct registers = { 0 };

	if (ptrace(PTRACE_GETREGS, task, NULL, &registers) < 0)
		give_up("registers");
	return registers;
}

/* What might be written to. */
struct picture {
	struct user_regs_struct registers;
	char code[4096], stack[256];
};

static struct picture picture_of(pid_t task)
{
	struct picture picture = { .registers = registers_of(task) };
	_cleanup_close_ int memory = -1;
	_cleanup_fclose_ FILE *maps = NULL;
	uint64_t low = 0, high;
	char path[64], line[512];

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", task); /* fits */
	memory = open(path, O_RDONLY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", task); /* fits */
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx r-xp", &low, &high) == 2 && strstr(line, " r-xp "))
			break;
	if (pread(memory, picture.code, sizeof(picture.code), (off_t)low) != (ssize_t)sizeof(picture.code) ||
	        pread(memory, picture.stack, sizeof(picture.stack),
	                (off_t)(picture.registers.rsp - sizeof(picture.stack) / 2)) !=
	                (ssize_t)sizeof(picture.stack))
		give_up("memory");
	return picture;
}

static void trace(pid_t task, long options)
{
	int status;

	if (ptrace(PTRACE_SEIZE, task, NULL, options) < 0 || ptrace(PTRACE_INTERRUPT, task, NULL, NULL) < 0 ||
	        waitpid(task, &status, __WALL) != task)
		give_up("seize");
	do
		if (ptrace(PTRACE_SYSCALL, task, NULL, NULL) < 0 || waitpid(task, &status, __WALL) != task)
			give_up("trace");
	while (registers_of(task).orig_rax != SYS_getppid || (pid_t)registers_of(task).rax != getpid());
}

/* Who has the lock. */
static pid_t owner(off_t start)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = SIZE };

	if (syscall(SYS_fcntl, FILE_FD, F_GETLK, &lock) < 0)
		give_up("owner");
	if (lock.l_type != F_UNLCK && (lock.l_start != start || lock.l_len != SIZE))
		give_up("the lock is another one");
	return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

/* As whoever is outside. */
static void take(short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET };

	if (syscall(SYS_fcntl, FILE_FD, F_SETLK, &lock) < 0)
		give_up("take");
}

static void notify(const char *script)
{
	_cleanup_strbuf_ struct strbuf packet = STRBUF_INIT, part = STRBUF_INIT;

	criu_put_bytes(&part, CRIU_NOTIFY_SCRIPT, script, strlen(script));
	criu_put_number(&packet, CRIU_RESP_TYPE, CRIU_TYPE_NOTIFY);
	criu_put_bytes(&packet, CRIU_RESP_NOTIFY, part.data, part.len);
	if (packet.error || part.error || write(SOCKET_FD, packet.data, packet.len) != (ssize_t)packet.len)
		give_up("notify");
}

/* In a mount namespace of its own, as a restore has. */
static void list_bound(const char *way, pid_t task)
{
	char text[32] = "";

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	        mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0 || mkdir(CRIU_WORK, 0700) < 0)
		give_up("mounts");
	if (str_eq(way, WAY_BOUND))
		(void)snprintf(text, sizeof(text), "%d\n", task); /* fits */
	if (!str_eq(way, WAY_LOST)) {
		_cleanup_close_ int fd = open(CRIU_WORK "/" CRIU_FINISH_NO_NEW_PRIVS,
		        O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		if (fd < 0 || write_all(fd, text, strlen(text)) < 0)
			give_up("list");
	}
}

static pid_t start_task(const char *way, off_t start, volatile char *word)
{
	pid_t task = fork();
	int status;

	if (task == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* with a failure of its parent */
		(void)fd_close(SOCKET_FD);
		play_task(way, start, word);
	}
	while (*word != READY)
		if (waitpid(task, &status, WNOHANG) != 0 || usleep(1000) < 0)
			give_up("the task is not ready");
	if (owner(start) != 0)
		give_up("the lock is there all the time");
	return task;
}

static void end_task(pid_t task, volatile char *word)
{
	int status;

	*word = GO;
	if (waitpid(task, &status, 0) != task || status != 0)
		give_up("it is another than it was");
}

static void play_criu(const char *way)
{
	volatile char *words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const bool two = str_eq(way, WAY_TWO), is_gone = str_eq(way, WAY_GONE);
	const bool is_set = !IS_ONE_OF(way, WAY_NOBODY, WAY_HELD, WAY_TAKEN, WAY_TRAPPED, WAY_GONE);
	struct picture before = { 0 }, after;
	pid_t task, other = 0;
	int status;

	if (str_eq(way, WAY_HELD))
		take(F_WRLCK);
	task = start_task(way, START, &words[0]);
	if (two)
		other = start_task(way, SECOND, &words[1]);
	list_bound(way, task);
	if (!is_gone)
		trace(task, str_eq(way, WAY_FILTERED) ? PTRACE_O_SUSPEND_SECCOMP : 0);
	if (two)
		trace(other, 0);
	if (!is_gone)
		before = picture_of(task);
	if (str_eq(way, WAY_STOPS))
		(void)kill(task, SIGSTOP);
	if (str_eq(way, WAY_TAKEN))
		take(F_RDLCK);
	notify("post-restore");
	if (owner(START) != 0)
		give_up("it is set too early");
	notify("pre-resume");
	if (owner(START) != (is_set ? task : 0) || owner(SECOND) != other)
		give_up("its owner is another one");
	if (str_eq(way, WAY_TRAPPED)) { /* the signal has harmed it */
		(void)kill(task, SIGKILL);
		_exit(EXIT_SUCCESS);
	}
	if (!is_gone) {
		after = picture_of(task);
		if (memcmp(&before, &after, sizeof(before)) != 0 ||
		        ptrace(PTRACE_DETACH, task, NULL, NULL) < 0)
			give_up("its registers or memory are others");
	}
	if (two && ptrace(PTRACE_DETACH, other, NULL, NULL) < 0)
		give_up("the other is not there");
	if (str_eq(way, WAY_STOPS) &&
	        (waitpid(task, &status, WUNTRACED) != task || !WIFSTOPPED(status) || kill(task, SIGCONT) < 0))
		give_up("it is not stopped");
	end_task(task, &words[0]);
	if (two)
		end_task(other, &words[1]);
	_exit(EXIT_SUCCESS);
}

/* ---- the end of a task amid a call */

static int play_thread(void *word)
{
	for (;;)
		(void)syscall(SYS_getppid);
	return 0;
}

static void play_threads(volatile char *word)
{
	char *stack = malloc(STACK);
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	int tid = stack ? clone(play_thread, stack + STACK, flags, NULL) : -1;

	memcpy((char *)word + 8, &tid, sizeof(tid));
	*word = READY;
	(void)play_thread(NULL);
}

static void test_killed_task_ends_the_call(void **state)
{
	static const unsigned long nothing[INJECT_ARGUMENTS];
	volatile char *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct inject_place place = { 0 };
	struct inject *inject;
	pid_t task = fork(), killer;
	int thread, status;
	long result;

	assert_true(task >= 0);
	if (task == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* as above */
		play_threads(word);
	}
	while (*word != READY)
		assert_int_equal(waitpid(task, &status, WNOHANG), 0);
	memcpy(&thread, (const char *)word + 8, sizeof(thread));
	trace(task, 0);
	trace(thread, 0);
	assert_int_equal(inject_begin(task, &place, &inject), 0);
	killer = fork();
	if (killer == 0) {
		(void)usleep(200000); /* it is in the call by then */
		(void)kill(task, SIGKILL);
		(void)usleep(DEAD_USEC);
		_exit(0); /* its end, at the latest, would be heard */
	}
	assert_int_equal(inject_call(inject, SYS_pause, nothing, &result), -ESRCH);
	assert_int_equal(waitpid(killer, &status, WNOHANG), 0); /* not yet */
	(void)inject_end(inject);                               /* there is nothing to give back */
	(void)kill(killer, SIGKILL);
	assert_int_equal(waitpid(killer, &status, 0), killer);
}

/* ---- who listens */

/* The message of the notification, in text. */
static void hear(int sock, char *text, size_t size)
{
	char packet[4096];
	size_t n_fds = 0;
	ssize_t n = recv_fds(sock, packet, sizeof(packet), NULL, &n_fds);
	struct criu_reader all = { (unsigned char *)packet, (unsigned char *)packet + n };
	struct criu_field f;

	assert_true(n > 0);
	*text = '\0';
	while (criu_get_field(&all, &f) > 0)
		if (f.number == CRIU_RESP_MESSAGE)
			(void)snprintf(text, size, "%.*s", (int)(f.bytes.end - f.bytes.at), f.bytes.at);
}

static void restore(const char *way, char *message, size_t size)
{
	_cleanup_close_ int file = memfd_create("locked", MFD_CLOEXEC);
	char before[64];
	int ends[2], status;
	pid_t criu;

	assert_true(file >= 0 && ftruncate(file, 4096) == 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	criu = fork();
	if (criu == 0) {
		const int high = fcntl(file, F_DUPFD_CLOEXEC, 10);

		(void)dup2(ends[1], SOCKET_FD); /* seen by what follows */
		(void)dup2(high, FILE_FD);
		(void)setenv("LD_PRELOAD", module, 1);
		(void)execl("/proc/self/exe", "criu", "swrk", way, NULL);
		_exit(127);
	}
	(void)fd_close(ends[1]);
	hear(ends[0], before, sizeof(before));
	assert_string_equal(before, ""); /* of another notification */
	hear(ends[0], message, size);
	(void)fd_close(ends[0]);
	assert_int_equal(waitpid(criu, &status, 0), criu);
	assert_int_equal(status, 0);
}

static void test_what_is_undone_is_done(void **state)
{
	static const char *const ways[] = { WAY_PLAIN, WAY_TWO, WAY_STOPS, WAY_TRAPS, WAY_BARE, WAY_ASTRAY,
		WAY_FILTERED, WAY_BOUND, WAY_NOBODY, WAY_HELD };

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		char message[256];

		restore(ways[i], message, sizeof(message));
		assert_string_equal(message, CRIU_FINISH_DONE);
	}
}

static void test_what_cannot_be_is_told(void **state)
{
	char message[256];

	restore(WAY_TAKEN, message, sizeof(message));
	assert_non_null(strstr(message, "cannot lock its file descriptor 4 again: "));
	assert_non_null(strstr(message, strerror(EAGAIN)));
	restore(WAY_TRAPPED, message, sizeof(message));
	assert_non_null(strstr(message, strerror(EIO)));
	restore(WAY_GONE, message, sizeof(message));
	assert_non_null(strstr(message, strerror(ESRCH)));
	restore(WAY_LOST, message, sizeof(message));
	assert_non_null(strstr(message, "who may not gain privileges"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_undone_is_done),
		cmocka_unit_test(test_what_cannot_be_is_told),
		cmocka_unit_test(test_killed_task_ends_the_call),
	};

	if (argc == 3)
		play_criu(argv[2]);
	if (argc != 2)
		return EXIT_FAILURE;
	if (geteuid() != 0) {
		puts("1..0 # SKIP mounts, filters and other processes are root's");
		return 77;
	}
	module = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
