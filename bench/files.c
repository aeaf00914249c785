/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a file system call costs on a plain directory, and on what stands between it and a container.
 *
 *	usage: files [--rounds N] NAME=DIRECTORY...
 *
 * The same calls in each directory in turn, round by round, on files made for it: 1,000 in one directory. The
 * least of the rounds counts, beside that of the first directory. bench/files.sh makes the directories.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FILES  1000
#define BLOCKS 20000
#define SYNCS  20

enum { CREATE, OPEN, STAT, APPEND, READ, WRITE, LIST, RENAME, UNLINK, MKDIR, RMDIR, SYNC, OPERATIONS };

static const char *const names[OPERATIONS] = { [CREATE] = "create, close",
	[OPEN] = "open, close",
	[STAT] = "stat",
	[APPEND] = "open, append 4 KiB, close",
	[READ] = "read 4 KiB",
	[WRITE] = "write 4 KiB",
	[LIST] = "list a directory, each entry",
	[RENAME] = "rename",
	[UNLINK] = "unlink",
	[MKDIR] = "mkdir",
	[RMDIR] = "rmdir",
	[SYNC] = "write 4 KiB, fsync" };

#define PLACES_MAX 16

static struct place {
	const char *name;
	int dir;
	double least[OPERATIONS]; /* nanoseconds a call */
} places[PLACES_MAX];
static size_t n_places;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "files: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static void must(long r, const char *what)
{
	if (r < 0)
		die(what);
}

static double now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* a valid clock */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static const char *name_of(char kind, unsigned i)
{
	static char name[32];

	(void)snprintf(name, sizeof(name), "%c%u", kind, i); /* fits */
	return name;
}

static int open_file(int dir, char kind, unsigned i, int flags)
{
	int fd = openat(dir, name_of(kind, i), flags | O_CLOEXEC, 0644);

	must(fd, "open");
	return fd;
}

/* One call of an operation on the i-th of the files. */
static void call(int dir, int operation, unsigned i)
{
	static char block[4096];
	char to[32];
	struct stat st;
	int fd;

	switch (operation) {
	case CREATE: close(open_file(dir, 'f', i, O_WRONLY | O_CREAT | O_EXCL)); break;
	case OPEN: close(open_file(dir, 'f', i, O_RDONLY)); break;
	case STAT: must(fstatat(dir, name_of('f', i), &st, 0), "stat"); break;
	case APPEND:
		fd = open_file(dir, 'f', i, O_WRONLY | O_APPEND);
		must(write(fd, block, sizeof(block)), "write");
		close(fd);
		break;
	case RENAME:
		(void)snprintf(to, sizeof(to), "r%u", i); /* fits */
		must(renameat(dir, name_of('f', i), dir, to), "rename");
		break;
	case UNLINK: must(unlinkat(dir, name_of('r', i), 0), "unlink"); break;
	case MKDIR: must(mkdirat(dir, name_of('d', i), 0755), "mkdir"); break;
	default: must(unlinkat(dir, name_of('d', i), AT_REMOVEDIR), "rmdir");
	}
}

static void list(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d)
		die("list");
	while (readdir(d))
		;
	closedir(d);
}

/* Calls on one open file: read, write, or write and sync. */
static void blocks(int dir, int operation, unsigned count)
{
	static char block[4096];
	int fd = open_file(dir, 'b', 0, O_RDWR | O_CREAT);

	for (unsigned i = 0; i < count; i++)
		if (operation == READ)
			must(pread(fd, block, sizeof(block), 0), "read");
		else {
			must(pwrite(fd, block, sizeof(block), 0), "write");
			if (operation == SYNC)
				must(fsync(fd), "fsync");
		}
	close(fd);
}

static unsigned calls_of(int operation)
{
	return operation == READ || operation == WRITE ? BLOCKS : operation == SYNC ? SYNCS : FILES;
}

static void measure(struct place *p)
{
	/* what is read was written, whatever the order of the operations */
	blocks(p->dir, WRITE, 1);
	for (int operation = 0; operation < OPERATIONS; operation++) {
		unsigned calls = calls_of(operation);
		double start = now(), each;

		if (operation == LIST)
			list(p->dir);
		else if (operation == READ || operation == WRITE || operation == SYNC)
			blocks(p->dir, operation, calls);
		else
			for (unsigned i = 0; i < calls; i++)
				call(p->dir, operation, i);
		each = (now() - start) / calls;
		if (p->least[operation] == 0 || each < p->least[operation])
			p->least[operation] = each;
	}
	must(unlinkat(p->dir, name_of('b', 0), 0), "unlink");
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: files [--rounds N] NAME=DIRECTORY...\n");
	exit(2);
}

static unsigned arguments(int argc, char **argv)
{
	static const struct option options[] = { { "rounds", required_argument, NULL, 'r' }, { 0 } };
	unsigned rounds = 20;
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (o != 'r' || sscanf(optarg, "%u", &rounds) != 1 || rounds == 0)
			usage();
	for (; optind < argc && n_places < PLACES_MAX; optind++) {
		char *equals = strchr(argv[optind], '=');
		struct place *p = &places[n_places++];

		if (!equals)
			usage();
		*equals = '\0';
		p->name = argv[optind];
		p->dir = open(equals + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		must(p->dir, equals + 1);
	}
	if (n_places == 0 || optind < argc)
		usage();
	return rounds;
}

int main(int argc, char **argv)
{
	unsigned rounds = arguments(argc, argv);

	for (unsigned r = 0; r < rounds; r++)
		for (size_t i = 0; i < n_places; i++)
			measure(&places[i]);

	printf("| ns a call (x) |");
	for (size_t i = 0; i < n_places; i++)
		printf(" %s |", places[i].name);
	printf("\n|---|");
	for (size_t i = 0; i < n_places; i++)
		printf("---|");
	for (int o = 0; o < OPERATIONS; o++) {
		printf("\n| %s | %.0f |", names[o], places[0].least[o]);
		for (size_t i = 1; i < n_places; i++)
			printf(" %.0f (%.2f) |", places[i].least[o], places[i].least[o] / places[0].least[o]);
	}
	printf("\n");
	return EXIT_SUCCESS;
}
