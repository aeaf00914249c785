/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tar, as CRIU calls it for what is in a tmpfs of a container: the tar of the host, with other options.
 *
 * A container stands still meanwhile. To compress what goes to a disk, or is compressed on its way to another
 * node, takes longer than writing it, and a shell and gzip for each tmpfs longer than all of a small one. And
 * CRIU leaves out access lists and extended attributes. What went ahead is not written again: CT_ARCHIVE_BASE
 * names it (criu-archive.h), from the directory in which CRIU works.
 *
 * It runs in the container's user namespace, and in a mount namespace of the host's, where names are the
 * host's. An archive of an older ctd is compressed: that is seen in its first bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/criu-archive.h"

#define EXIT_ERROR 127
#define PIPE_SIZE  (1024 * 1024)

static const char *const more[] = { "--acls", "--xattrs", "--xattrs-include=*" };

/* What standard input is of; where it is read from stays as it is. */
static bool is_gzip(void)
{
	const off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	unsigned char magic[2];

	return at < 0 || (pread(STDIN_FILENO, magic, sizeof(magic), at) == sizeof(magic) &&
	                         magic[0] == 0x1f && magic[1] == 0x8b);
}

/* Of the tmpfs that CRIU gives as standard input: a small one is written in less than it takes to look
 * through what went ahead. */
static bool is_small(void)
{
	struct statfs fs;
	struct stat st;

	return fstat(STDIN_FILENO, &st) == 0 && S_ISDIR(st.st_mode) && fstatfs(STDIN_FILENO, &fs) == 0 &&
	       fs.f_type == TMPFS_MAGIC &&
	       (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize < CRIU_ARCHIVE_FEW;
}

/* Without one an archive is written whole. */
static int open_base(struct criu_archive_base *ret)
{
	const char *path = getenv("CT_ARCHIVE_BASE");
	_cleanup_close_ int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	return fd < 0 ? -ENOENT : criu_archive_open(fd, ret);
}

/* tar beside us, with a pipe between: where its archive goes to, or comes from. */
static int run_beside(const char *program, const char **args, bool extract, struct criu_archive_base *base)
{
	struct process_options options = {
		.stdin_fd = STDIN_FILENO, .stdout_fd = STDOUT_FILENO, .stderr_fd = STDERR_FILENO, .cwd_fd = -1
	};
	_cleanup_close_ int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), from = -1, to = -1, pidfd = -1;
	int fds[2], r, status;

	if (cwd < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return EXIT_ERROR;
	(void)fcntl(fds[0], F_SETPIPE_SZ, PIPE_SIZE); /* a smaller one does, with more turns */
	from = fds[0];
	to = fds[1];
	options.cwd_fd = cwd;
	if (extract)
		options.stdin_fd = from;
	else
		options.stdout_fd = to;
	args[0] = program;
	pidfd = process_spawn(args, &options, NULL);
	if (pidfd < 0)
		return EXIT_ERROR;
	if (extract) {
		from = fd_close(from);
		r = criu_archive_restore(STDIN_FILENO, base, to);
	} else {
		to = fd_close(to);
		r = criu_archive_shorten(from, base, STDOUT_FILENO);
	}
	from = fd_close(from);
	to = fd_close(to);
	status = process_wait(pidfd, UINT64_MAX);
	return r < 0 || status < 0 ? EXIT_ERROR : status;
}

int main(int argc, char **argv)
{
	_cleanup_free_ const char **args = calloc((size_t)argc + ARRAY_SIZE(more) + 2, sizeof(*args));
	CLEANUP(criu_archive_done) struct criu_archive_base base = CRIU_ARCHIVE_BASE_INIT;
	bool extract = false, is_short;
	_cleanup_free_ char *program = NULL;
	size_t n = 0;
	int r;

	if (!args || argc < 2 || process_path("tar", &program) < 0)
		return EXIT_ERROR;
	for (int i = 1; i < argc; i++)
		extract |= str_eq(argv[i], "--extract");
	args[n++] = "tar";
	for (size_t i = 0; i < ARRAY_SIZE(more); i++)
		args[n++] = more[i];
	is_short = extract && criu_archive_is_short(STDIN_FILENO);
	r = is_short || (!extract && !is_small()) ? open_base(&base) : -ENOENT;
	if (r < 0 && is_short)
		return EXIT_ERROR;
	if (r >= 0)
		args[n++] = CRIU_ARCHIVE_BLOCKING;
	for (int i = 1; i < argc; i++)
		if (!str_eq(argv[i], "--gzip") || (extract && is_gzip()))
			args[n++] = argv[i];

	if (r >= 0) {
		(void)signal(SIGPIPE, SIG_IGN); /* tar has ended: its status tells */
		return run_beside(program, args, extract, &base);
	}
	(void)execv(program, (char *const *)args);
	return EXIT_ERROR;
}
