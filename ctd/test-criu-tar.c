/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CRIU's calls of tar write and read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/criu-archive.h"

static const char *program; /* ours */
static char directory[] = "/tmp/ctd-test-tar.XXXXXX";

/* Both as CRIU calls it, where the other standard stream is the image. */
static int call(const char *tar, const char *const args[], const char *image, const char *dir)
{
	const bool create = str_eq(args[0], "--create");
	_cleanup_close_ int fd =
	        open(image, create ? O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);
	_cleanup_free_ char *path = str_printf("%s/%s", directory, dir);
	const char *argv[16] = { tar };
	_cleanup_free_ char *base = str_printf("CT_ARCHIVE_BASE=%s", getenv("CT_ARCHIVE_BASE") ?: "");
	const char *const env[] = { "LANG=C.UTF-8", getenv("CT_ARCHIVE_BASE") ? base : NULL, NULL };
	_cleanup_close_ int cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct process_options options = PROCESS_OPTIONS_INIT;
	_cleanup_close_ int pidfd = -1;
	size_t n = 1;

	assert_true(fd >= 0);
	for (size_t i = 0; args[i]; i++)
		argv[n++] = args[i];
	argv[n++] = "--directory";
	argv[n++] = path;
	if (create)
		argv[n++] = ".";
	options.cwd_fd = cwd; /* where CRIU is */
	options.env = env;
	if (create)
		options.stdout_fd = fd;
	else
		options.stdin_fd = fd;
	pidfd = process_spawn(argv, &options, NULL);
	assert_true(pidfd >= 0);
	return process_wait(pidfd, 60 * 1000000ULL);
}

static const char *const create[] = { "--create", "--gzip", "--no-unquote", "--no-wildcards",
	"--one-file-system", "--sparse", "--numeric-owner", NULL };
static const char *const create_base[] = { "--create", "--gzip", "--no-unquote", "--no-wildcards",
	"--one-file-system", "--sparse", "--numeric-owner", CRIU_ARCHIVE_BLOCKING, NULL };
static const char *const extract[] = { "--extract", "--gzip", "--no-unquote", "--no-wildcards", NULL };

static void assert_text(const char *path)
{
	_cleanup_free_ char *text = NULL;

	assert_int_equal(read_file_at(AT_FDCWD, path, 100, &text, NULL), 0);
	assert_string_equal(text, "some text");
	assert_int_equal(unlink(path), 0);
}

static void test_round_trip(void **state)
{
	unsigned char magic[2] = { 0 };
	_cleanup_close_ int fd = -1;

	assert_int_equal(call(program, create, "image", "from"), 0);
	fd = open("image", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, magic, 2), 2);
	assert_false(magic[0] == 0x1f && magic[1] == 0x8b);
	assert_int_equal(call(program, extract, "image", "to"), 0);
	assert_text("to/file");
}

/* Of an older ctd, or written by CRIU without us. */
static void test_compressed(void **state)
{
	assert_int_equal(call("tar", create, "image", "from"), 0);
	assert_int_equal(call(program, extract, "image", "to"), 0);
	assert_text("to/file");
}

/* What a dump has beside a base reads beside that and nothing else. */
static void test_beside_base(void **state)
{
	_cleanup_close_ int fd = -1;
	char mark[7];

	assert_int_equal(call(program, create_base, "base", "from"), 0);
	assert_int_equal(setenv("CT_ARCHIVE_BASE", "base", 1), 0);
	assert_int_equal(call(program, create, "image", "from"), 0);
	fd = open("image", O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, mark, sizeof(mark)), sizeof(mark));
	assert_memory_equal(mark, "CTDTMPF", sizeof(mark));
	assert_true(lseek(fd, 0, SEEK_END) < 4096); /* less than half of the smallest archive */
	assert_int_equal(call(program, extract, "image", "to"), 0);
	assert_text("to/file");
	assert_int_not_equal(call(program, create, "image2", "nowhere"), 0);

	assert_true(truncate("base", 700) == 0);
	assert_int_not_equal(call(program, extract, "image", "to"), 0);
	assert_int_equal(unlink("base"), 0);
	assert_int_not_equal(call(program, extract, "image", "to"), 0);
	assert_int_equal(call(program, create, "image2", "from"), 0); /* all of it */
	assert_int_equal(call(program, extract, "image2", "to"), 0);
	assert_text("to/file");
	assert_int_equal(unsetenv("CT_ARCHIVE_BASE"), 0);
	assert_int_not_equal(call(program, extract, "image", "to"), 0);
}

static void test_garbage_fails(void **state)
{
	assert_true(write_file_at(AT_FDCWD, "image", "") >= 0);
	assert_int_equal(truncate("image", 0), 0);
	assert_true(write_file_at(AT_FDCWD, "image", "no archive at all") >= 0);
	assert_int_not_equal(call(program, extract, "image", "to"), 0);
	assert_int_not_equal(call(program, create, "image", "nowhere"), 0);
}

static int make(void **state)
{
	_cleanup_close_ int fd = -1;

	if (!mkdtemp(directory) || chdir(directory) < 0 || mkdir("from", 0755) < 0 || mkdir("to", 0755) < 0)
		return -1;
	fd = open("from/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	return write_all(fd, "some text", 9);
}

static int clear(void **state)
{
	return chdir("/") < 0 ? -1 : remove_tree_at(AT_FDCWD, directory);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_compressed),
		cmocka_unit_test(test_beside_base),
		cmocka_unit_test(test_garbage_fails),
	};

	program = argc == 2 ? realpath(argv[1], NULL) : NULL; /* before we are elsewhere */
	if (!program)
		return 1;
	return cmocka_run_group_tests(tests, make, clear);
}
