/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The probe: a static program that tests put into containers, as init and as command.
 *
 *      probe                    init: says "ready", reaps, ends at SIGTERM or SIGRTMIN+3
 *      probe VERB [ARGUMENT...]
 *
 * It says what the kernel says and judges nothing: the test outside compares. It depends on nothing in the
 * container's tree, which may be hostile, empty or broken. Its output is lines of "NAME VALUE".
 */
#include "test/probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

int probe_report(const char *name, long result)
{
	const char *word = result < 0 ? strerrorname_np(errno) : "ok";

	(void)printf("%s %s\n", name, word ? word : "unknown");
	return 0;
}

/* ---- what a process was given ---- */

int probe_fds(int argc, char **argv)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	if (!d)
		return probe_report("opendir", -1);

	while ((e = readdir(d))) {
		char target[4096];

		if (e->d_name[0] == '.' ||
		        atol(e->d_name) == dirfd(d)) /* style-ok: the kernel's own numbers */
			continue;
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		(void)printf("fd %s %s\n", e->d_name, target);
	}
	return closedir(d);
}

static int print_file(const char *path)
{
	char buffer[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return probe_report(path, -1);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		(void)fwrite(buffer, 1, (size_t)n, stdout);
	(void)close(fd);
	return n < 0;
}

int probe_status(int argc, char **argv)
{
	sigset_t blocked;
	char cwd[4096];
	mode_t mask = umask(0);
	int ignored = 0;

	for (int sig = 1; sig < 65; sig++) {
		struct sigaction sa;
		ignored += sigaction(sig, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL;
	}
	(void)sigprocmask(SIG_BLOCK, NULL, &blocked);
	(void)printf("uid %u %u gid %u %u groups %d\n", getuid(), geteuid(), getgid(), getegid(),
	        getgroups(0, NULL));
	(void)printf("umask %04o signals %d cwd %s tty %s session %d\n", mask,
	        ignored + !sigisemptyset(&blocked), getcwd(cwd, sizeof(cwd)) ? cwd : "?",
	        isatty(0) ? "yes" : "no", getsid(0) == getpid());
	return print_file("/proc/self/status");
}

int probe_namespaces(int argc, char **argv)
{
	static const char *const names[] = { "cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64], target[64];

		(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		(void)printf("%s %s\n", names[i], target);
	}
	return 0;
}

int probe_environment(int argc, char **argv)
{
	for (char **e = environ; *e; e++)
		(void)printf("%s\n", *e);
	return 0;
}

/* Type, mode, owner and device number of each. */
int probe_files(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		struct stat st;

		if (lstat(argv[i], &st) < 0) {
			(void)probe_report(argv[i], -1);
			continue;
		}
		(void)printf("%s mode %o owner %u:%u device %u:%u size %lld\n", argv[i], st.st_mode,
		        st.st_uid, st.st_gid, major(st.st_rdev), minor(st.st_rdev), (long long)st.st_size);
	}
	return 0;
}

/* ---- small tools ---- */

static int probe_cat(int argc, char **argv)
{
	int failed = 0;

	for (int i = 0; i < argc; i++)
		failed |= print_file(argv[i]);
	return failed;
}

static int probe_write(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[0], O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;

	probe_report("write", fd < 0 ? -1 : write(fd, argv[1], strlen(argv[1])));
	return fd < 0;
}

static int probe_sleep(int argc, char **argv)
{
	(void)sleep(argc > 0 ? (unsigned int)strtoul(argv[0], NULL, 10) : 1000000);
	return 0;
}

static int probe_exit(int argc, char **argv)
{
	return argc > 0 ? (int)strtol(argv[0], NULL, 10) : 0;
}

static int probe_kill(int argc, char **argv)
{
	return argc == 2 ? probe_report("kill",
	                           kill((pid_t)strtol(argv[0], NULL, 10), (int)strtol(argv[1], NULL, 10)))
	                 : 2;
}

static int probe_reboot(int argc, char **argv)
{
	return probe_report(
	        "reboot", reboot(argc > 0 && strcmp(argv[0], "off") == 0 ? RB_POWER_OFF : RB_AUTOBOOT));
}

static int probe_clocks(int argc, char **argv)
{
	struct timespec monotonic, boottime;

	(void)clock_gettime(CLOCK_MONOTONIC, &monotonic);
	(void)clock_gettime(CLOCK_BOOTTIME, &boottime);
	(void)printf(
	        "monotonic %lld\nboottime %lld\n", (long long)monotonic.tv_sec, (long long)boottime.tv_sec);
	return 0;
}

/* Copies itself to a path with a mode: a setuid program of the tenant's own. */
static int probe_install(int argc, char **argv)
{
	char buffer[65536];
	ssize_t n;

	if (argc != 2)
		return 2;
	int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int out = open(argv[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	while (in >= 0 && out >= 0 && (n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, (size_t)n) != n)
			return probe_report("install", -1);
	return probe_report("install", out < 0 ? -1 : fchmod(out, (mode_t)strtoul(argv[1], NULL, 8)));
}

static int probe_umount(int argc, char **argv)
{
	return argc == 1 ? probe_report("umount", umount2(argv[0], MNT_DETACH)) : 2;
}

/* A fifo in the place of whatever is there. */
static int probe_fifo(int argc, char **argv)
{
	if (argc != 1)
		return 2;
	(void)unlink(argv[0]); /* it may not be there */
	return probe_report("fifo", mkfifo(argv[0], 0666));
}

static int probe_window(int argc, char **argv)
{
	struct winsize size = { 0 };

	if (ioctl(0, TIOCGWINSZ, &size) < 0)
		return probe_report("window", -1);
	return printf("window %u %u\n", size.ws_row, size.ws_col) < 0;
}

/* All that says how it is confined, in one go, for when it is init. */
static int probe_audit(int argc, char **argv)
{
	return probe_status(0, NULL) | probe_mounts(0, NULL);
}

static const struct {
	const char *name;
	probe_verb *run;
} verbs[] = {
	{ "fds", probe_fds },
	{ "status", probe_status },
	{ "audit", probe_audit },
	{ "namespaces", probe_namespaces },
	{ "environment", probe_environment },
	{ "files", probe_files },
	{ "syscalls", probe_syscalls },
	{ "sockets", probe_sockets },
	{ "terminal", probe_terminal },
	{ "mounts", probe_mounts },
	{ "rob", probe_rob },
	{ "stop", probe_stop },
	{ "devices", probe_devices },
	{ "frames", probe_frames },
	{ "stream", probe_stream },
	{ "attributes", probe_attributes },
	{ "memory", probe_memory },
	{ "cat", probe_cat },
	{ "write", probe_write },
	{ "sleep", probe_sleep },
	{ "exit", probe_exit },
	{ "kill", probe_kill },
	{ "reboot", probe_reboot },
	{ "clocks", probe_clocks },
	{ "install", probe_install },
	{ "umount", probe_umount },
	{ "fifo", probe_fifo },
	{ "window", probe_window },
};

/* ---- init ---- */

static int be_init(void)
{
	sigset_t set;

	(void)sigfillset(&set);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)puts("ready");
	(void)fflush(stdout);

	for (;;) {
		int sig = sigwaitinfo(&set, NULL);

		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (sig == SIGTERM || sig == SIGRTMIN + 3)
			return 0;
	}
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return be_init();

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(argv[1], verbs[i].name) == 0) {
			int r = verbs[i].run(argc - 2, argv + 2);
			return fflush(stdout) != 0 ? 1 : r;
		}

	(void)fprintf(stderr, "probe: there is no verb \"%s\"\n", argv[1]);
	return 2;
}
