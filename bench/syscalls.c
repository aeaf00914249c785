/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a system call filter costs a call: nothing else of a container stands between a program and the kernel
 *on calls that touch neither files nor network.
 *
 *	usage: syscalls [--rounds N]
 *
 * Four processes do the same in turn, round by round: one without a filter, one whose filter is a single
 *"allow" (what the kernel asks for having one at all), one with the filter of ctd's containers, one with that
 *of nesting. The kernel remembers which numbers a filter always allows, so the last three differ only where
 *it does not. A call is getppid, which does next to nothing; a block is 4 KiB read from /dev/zero and written
 *to /dev/null, as dd does. The least of the rounds counts.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "libct/ct.h"

#define CALLS  2000000
#define BLOCKS 500000

struct figures {
	double call, block; /* nanoseconds */
};

static struct place {
	const char *name;
	struct sock_filter *filter; /* NULL: none */
	unsigned short count;
	int socket; /* a byte there starts a round, the figures come back */
	struct figures least;
} places[] = { { .name = "no filter" }, { .name = "one \"allow\"" }, { .name = "ctd" },
	{ .name = "ctd, nesting" } };

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "syscalls: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* a valid clock */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct figures measure(int zero, int null)
{
	static char block[4096];
	struct figures f;
	double start = now();

	for (unsigned i = 0; i < CALLS; i++)
		(void)syscall(SYS_getppid);
	f.call = (now() - start) / CALLS;

	start = now();
	for (unsigned i = 0; i < BLOCKS; i++)
		if (read(zero, block, sizeof(block)) != sizeof(block) ||
		        write(null, block, sizeof(block)) < 0)
			die("a block");
	f.block = (now() - start) / BLOCKS;
	return f;
}

static _Noreturn void serve(const struct place *p, int socket)
{
	struct sock_fprog program = { .len = p->count, .filter = p->filter };
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char go;

	if (zero < 0 || null < 0)
		die("/dev");
	if (p->filter && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	                         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0))
		die(p->name);
	while (read(socket, &go, 1) == 1) {
		struct figures f = measure(zero, null);

		if (write(socket, &f, sizeof(f)) != sizeof(f))
			break;
	}
	_exit(EXIT_SUCCESS);
}

static void begin(struct place *p)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 || (pid = fork()) < 0)
		die("a process");
	if (pid == 0) {
		close(pair[0]);
		for (struct place *other = places; other < p; other++)
			close(other->socket);
		serve(p, pair[1]);
	}
	close(pair[1]);
	p->socket = pair[0];
}

static void ask(struct place *p)
{
	struct figures f;

	if (write(p->socket, "", 1) != 1 || read(p->socket, &f, sizeof(f)) != sizeof(f))
		die(p->name);
	if (p->least.call == 0 || f.call < p->least.call)
		p->least.call = f.call;
	if (p->least.block == 0 || f.block < p->least.block)
		p->least.block = f.block;
}

static unsigned rounds_of(int argc, char **argv)
{
	static const struct option options[] = { { "rounds", required_argument, NULL, 'r' }, { 0 } };
	unsigned rounds = 10;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o != 'r' || sscanf(optarg, "%u", &rounds) != 1 || rounds == 0) {
			fprintf(stderr, "usage: syscalls [--rounds N]\n");
			exit(2);
		}
	}
	return rounds;
}

int main(int argc, char **argv)
{
	static struct sock_filter allow = { .code = BPF_RET | BPF_K, .k = SECCOMP_RET_ALLOW };
	unsigned rounds = rounds_of(argc, argv);
	struct ct_error err = { 0 };

	places[1].filter = &allow;
	places[1].count = 1;
	for (unsigned i = 0; i < 2; i++) {
		struct ct_seccomp_program program;

		if (ct_seccomp_compile(i ? CT_SECCOMP_NESTING : CT_SECCOMP_SYSTEM, &program, &err) < 0) {
			fprintf(stderr, "syscalls: %s\n", err.text);
			return EXIT_FAILURE;
		}
		places[2 + i].filter = program.filter;
		places[2 + i].count = program.count;
	}
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		begin(&places[i]);
	for (unsigned r = 0; r < rounds; r++)
		for (size_t i = 0; i < ARRAY_SIZE(places); i++)
			ask(&places[i]);

	printf("%-14s %10s %7s %10s %7s\n", "filter", "ns a call", "x", "ns a block", "x");
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		printf("%-14s %10.1f %7.2f %10.1f %7.2f\n", places[i].name, places[i].least.call,
		        places[i].least.call / places[0].least.call, places[i].least.block,
		        places[i].least.block / places[0].least.block);
	return EXIT_SUCCESS;
}
