/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What it takes at least to read what the kernel counts of all containers of an instance.
 *
 *	usage: kernel-floor DIRECTORY TAG ROUNDS [PAUSE]
 *
 * DIRECTORY has their cgroups (c-*), TAG is the instance's. The files that the meter reads are opened once
 * and read by pread; the counters of all links come in the dumps of net_counters_dump. Nothing is parsed,
 * kept or written. Prints the CPU time of one round in microseconds, the least of all rounds' fifths, and how
 * many files it read; all is read once before the clock runs.
 *
 * Rounds without a pause find all in the processor's caches, which nobody who looks once in a while does.
 *With PAUSE, in milliseconds, between them it prints the mean of all rounds.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/str.h"
#include "netns/net.h"

#define PARTS 5

static const char *const names[] = {
	"cpu.stat",
	"cpu.pressure",
	"memory.current",
	"memory.peak",
	"memory.swap.current",
	"memory.stat",
	"memory.events",
	"memory.events.local",
	"memory.pressure",
	"io.stat",
	"io.pressure",
	"pids.current",
	"pids.events.local",
};

struct files {
	int *fds;
	size_t n;
};

static _Noreturn void die(const char *what, const char *why)
{
	(void)fprintf(stderr, "kernel-floor: %s: %s\n", what, why);
	exit(EXIT_FAILURE);
}

static void open_files(struct files *f, int directory, const char *cgroup)
{
	char path[512];
	int *grown = reallocarray(f->fds, f->n + ARRAY_SIZE(names), sizeof(*grown));

	if (!grown)
		die(cgroup, "out of memory");
	f->fds = grown;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", cgroup, names[i]); /* a ctid is short */
		f->fds[f->n] = openat(directory, path, O_RDONLY | O_CLOEXEC);
		if (f->fds[f->n] >= 0)
			f->n++;
		else if (errno != ENOENT) /* not of this kernel */
			die(path, strerror(errno));
	}
}

static void open_all(struct files *f, const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir)
		die(path, strerror(errno));
	while ((entry = readdir(dir)))
		if (strncmp(entry->d_name, "c-", 2) == 0)
			open_files(f, dirfd(dir), entry->d_name);
	(void)closedir(dir); /* was only read */
}

static int ignore(const char *host_name, const struct net_counters *counters, void *userdata)
{
	return 0;
}

static void read_all(const struct files *f, struct net_context *net)
{
	static char buf[8192];
	struct ct_error error = { 0 };

	for (size_t i = 0; i < f->n; i++)
		(void)!pread(f->fds[i], buf, sizeof(buf), 0); /* PSI may be switched off */
	if (net_counters_dump(net, ignore, NULL, &error) < 0)
		die("counters", error.text);
}

static double cpu_usec(void)
{
	struct timespec t = { 0 };

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* cannot fail */
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Of one round, the best of some parts. */
static double without_pause(const struct files *f, struct net_context *net, long rounds)
{
	double least = 0;

	for (int part = 0; part < PARTS; part++) {
		double before = cpu_usec(), took;

		for (long i = 0; i < rounds / PARTS; i++)
			read_all(f, net);
		took = (cpu_usec() - before) / (double)(rounds / PARTS);
		if (part == 0 || took < least)
			least = took;
	}
	return least;
}

/* Of one round, the mean. */
static double with_pause(const struct files *f, struct net_context *net, long rounds, long msec)
{
	const struct timespec pause = { .tv_sec = msec / 1000, .tv_nsec = msec % 1000 * 1000000 };
	double took = 0;

	for (long i = 0; i < rounds; i++) {
		double before;

		(void)nanosleep(&pause, NULL); /* a shorter one is one */
		before = cpu_usec();
		read_all(f, net);
		took += cpu_usec() - before;
	}
	return took / (double)rounds;
}

int main(int argc, char **argv)
{
	struct rlimit limit = { 0 };
	struct ct_error error = { 0 };
	struct net_context *net = NULL;
	struct files files = { 0 };
	long rounds = argc == 4 || argc == 5 ? strtol(argv[3], NULL, 10) : 0,
	     pause = argc == 5 ? strtol(argv[4], NULL, 10) : 0;

	if (rounds < PARTS || strlen(argv[2]) != NET_TAG_LEN)
		die("usage", "kernel-floor DIRECTORY TAG ROUNDS [PAUSE], of which five rounds at least");
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* opening says if it was not enough */
	}
	if (net_context_new(argv[2], &net, &error) < 0)
		die("network", error.text);
	open_all(&files, argv[1]);

	read_all(&files, net);
	(void)printf("%.1f %zu\n",
	        pause > 0 ? with_pause(&files, net, rounds, pause) : without_pause(&files, net, rounds),
	        files.n);
	net_context_free(net);
	free(files.fds);
	return EXIT_SUCCESS;
}
