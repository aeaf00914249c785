/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*	test-criu-inside MODULE
 *
 * The module in a program that does what CRIU does: it is told of a round, then of the rest, forks tasks by
 * their numbers, and reads pages into mappings of theirs. Between the two the file of the round is written
 * over: what is then found as it was has not been read again. All memory is compared, byte for byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/process.h"
#include "ctd/criu-pages.h"
#include "ctd/criu-spare.h"
#include "ctd/test-images.h"

#define BASE   0x500000000000ULL
#define INIT   29997
#define TASK   29998
#define OTHER  29999
#define GONE   29996 /* the leader of the task's session */
#define PAGES  400   /* of the mapping, of which the first 16 and the last 84 have never been written to */
#define BEFORE 16
#define SMALL  (BASE + (1ULL << 40)) /* too little to be read ahead */
#define OLD    1
#define NEW    101
#define LATER  201 /* what is in the file of the round, by the time that CRIU reads */

static const char *module;

struct images {
	char dir[64];
	int round, last, cgroups, home;
};

/* ---- what CRIU does */

/* The bytes of a page: it and which writing of it. */
static void paint(char *at, unsigned int page, unsigned int by)
{
	for (size_t i = 0; i < CRIU_PAGE; i++)
		at[i] = (char)(page * 7 + by + i % 5);
}

static bool is_painted(const char *at, unsigned int page, unsigned int by)
{
	char want[CRIU_PAGE];

	paint(want, page, by);
	return memcmp(at, want, sizeof(want)) == 0;
}

static bool is_zero(const char *at, size_t pages)
{
	for (size_t i = 0; i < pages * CRIU_PAGE; i++)
		if (at[i])
			return false;
	return true;
}

static char *map_at(char *at, size_t pages)
{
	return mmap64(at, pages * CRIU_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	        -1, 0);
}

static bool read_pages(int fd, char *at, size_t pages, size_t from)
{
	struct iovec iov[2] = { { at, CRIU_PAGE }, { at + CRIU_PAGE, (pages - 1) * CRIU_PAGE } };

	return preadv64(fd, iov, 2, (off64_t)(from * CRIU_PAGE)) == (ssize_t)(pages * CRIU_PAGE);
}

static bool has_succeeded(pid_t pid)
{
	int status;

	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/* What it forks later has it, and what that writes has it not. */
static bool is_inherited(char *first)
{
	pid_t child = fork();

	if (child == 0) {
		const bool well = is_painted(first, 0, OLD) && is_painted(first + 299 * CRIU_PAGE, 299, OLD);

		memset(first, 1, 300 * CRIU_PAGE);
		_exit(!well);
	}
	return has_succeeded(child) && is_painted(first, 0, OLD);
}

/* In the task. What is wrong, or NULL. */
static const char *restore_task(int round, int last)
{
	char *room = mmap(NULL, 4 * PAGES * CRIU_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *all = map_at(room + CRIU_PAGE, PAGES), *first = all + BEFORE * CRIU_PAGE;
	char *small = map_at(room + (PAGES + 1) * CRIU_PAGE, 300);

	/* the last images have 10 and 11 anew, 12 to 19 not at all, the rest is the round's */
	if (!read_pages(last, first + 10 * CRIU_PAGE, 2, 0) || !read_pages(round, first, 10, 0) ||
	        !read_pages(round, first + 20 * CRIU_PAGE, 280, 20) || !read_pages(round, small, 2, 300))
		return "it does not read";
	for (unsigned int i = 0; i < 300; i++)
		if (i < 10 || i >= 20) {
			if (!is_painted(first + i * CRIU_PAGE, i, OLD))
				return "what was read ahead is not there";
		} else if (i < 12 && !is_painted(first + i * CRIU_PAGE, i, NEW)) {
			return "what was written since is not there";
		}
	if (!is_zero(first + 12 * CRIU_PAGE, 8))
		return "what has gone since is still there";
	if (!is_zero(all, BEFORE) || !is_zero(first + 300 * CRIU_PAGE, PAGES - 300 - BEFORE))
		return "what never was is there";
	if (!is_painted(small, 300, LATER) || !is_painted(small + CRIU_PAGE, 301, LATER))
		return "what was not read ahead is not read";
	return is_inherited(first) ? NULL : "a child of it has another memory";
}

/* In another task, that has the same addresses: nothing is its. */
static const char *restore_other(int round)
{
	char *room = mmap(NULL, 2 * PAGES * CRIU_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *all = map_at(room, PAGES);

	if (!read_pages(round, all + BEFORE * CRIU_PAGE, 300, 0))
		return "the other does not read";
	for (unsigned int i = 0; i < 300; i++)
		if (!is_painted(all + (BEFORE + i) * CRIU_PAGE, i, LATER))
			return "the other has what is not its";
	return NULL;
}

static pid_t fork_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static void report(const char *wrong)
{
	if (wrong)
		(void)write_all(3, wrong, strlen(wrong)); /* else it is seen by the exit status */
	_exit(wrong != NULL);
}

/* After GO. fd 3 is who asks. */
static void play_criu(const char *dir)
{
	char path[128];
	int round, last;
	pid_t init;

	(void)snprintf(path, sizeof(path), "%s/rounds/1/pages-1.img", dir);
	round = open(path, O_RDONLY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "%s/pages-1.img", dir);
	last = open(path, O_RDONLY | O_CLOEXEC);
	init = fork_as(INIT);
	if (init == 0) {
		pid_t task, other;
		bool first, second;

		task = fork_as(GONE); /* as a helper */
		if (task == 0) {
			task = fork_as(TASK);
			if (task == 0)
				report(restore_task(round, last));
			_exit(!has_succeeded(task));
		}
		other = fork_as(OTHER);
		if (other == 0)
			report(restore_other(round));
		first = has_succeeded(task);
		second = has_succeeded(other);
		_exit(!(first && second));
	}
	_exit(has_succeeded(init) && write_all(3, "well", 4) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* ---- what is there for it */

static void put(int dir_fd, const char *name, const void *data, size_t len)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write_all(fd, data, len), 0);
}

static void put_image(int dir_fd, const char *name, struct strbuf *image)
{
	assert_int_equal(image->error, 0);
	put(dir_fd, name, image->data, image->len);
	strbuf_done(image);
}

static void put_pages(int dir_fd, const char *name, unsigned int first, unsigned int n, unsigned int by)
{
	_cleanup_free_ char *data = malloc(n * CRIU_PAGE);

	assert_non_null(data);
	for (unsigned int i = 0; i < n; i++)
		paint(data + i * CRIU_PAGE, first + i, by);
	put(dir_fd, name, data, n * CRIU_PAGE);
}

static int make_dir(const struct images *x, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s%s", x->dir, name);
	assert_true(mkdir(path, 0700) == 0 || !*name);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int setup(void **state)
{
	struct images *x = calloc(1, sizeof(*x));
	struct strbuf image = STRBUF_INIT;

	assert_non_null(x);
	(void)snprintf(x->dir, sizeof(x->dir), "/var/tmp/test-inside-XXXXXX");
	assert_non_null(mkdtemp(x->dir));
	x->last = make_dir(x, "");
	(void)fd_close(make_dir(x, "/rounds"));
	x->round = make_dir(x, "/rounds/1");
	x->home = make_dir(x, "/home");
	x->cgroups = make_dir(x, "/cgroups");
	(void)fd_close(make_dir(x, "/cgroups/c-1"));
	put(x->home, "cgroup.procs", "", 0);
	put(x->cgroups, "c-1/cgroup.procs", "", 0);

	image_begin(&image);
	image_add_head(&image, 1);
	image_add_extent(&image, BASE, 300, false);
	image_add_extent(&image, SMALL, 2, false);
	put_image(x->round, "pagemap-29998.img", &image);
	put_pages(x->round, "pages-1.img", 0, 302, OLD);

	image_begin(&image);
	image_add_head(&image, 1);
	image_add_extent(&image, BASE, 10, true);
	image_add_extent(&image, BASE + 10 * CRIU_PAGE, 2, false);
	image_add_extent(&image, BASE + 20 * CRIU_PAGE, 280, true);
	image_add_extent(&image, SMALL, 2, true);
	put_image(x->last, "pagemap-29998.img", &image);
	put_pages(x->last, "pages-1.img", 10, 2, NEW);

	image_begin(&image);
	image_add_task(&image, INIT, 0, INIT);
	image_add_task(&image, TASK, INIT, GONE);
	image_add_task(&image, OTHER, INIT, INIT);
	put_image(x->last, "pstree.img", &image);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct images *x = *state;

	(void)fd_close(x->round);
	(void)fd_close(x->home);
	(void)fd_close(x->cgroups);
	(void)fd_close(x->last);
	assert_int_equal(remove_tree_at(AT_FDCWD, x->dir), 0);
	free(x);
	return 0;
}

/* ---- who speaks to it */

static pid_t start(const struct images *x, int *ret_sock)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	pid = fork();
	if (pid == 0) {
		(void)dup2(ends[1], 3);
		(void)setenv("LD_PRELOAD", module, 1);
		(void)execl("/proc/self/exe", "criu", "swrk", x->dir, NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	(void)fd_close(ends[1]);
	*ret_sock = ends[0];
	return pid;
}

static bool tell_of_round(const struct images *x, int sock)
{
	const struct criu_spare_message read = { .type = CRIU_SPARE_READ, .text = "c-1" };
	char byte;

	assert_int_equal(send_fds(sock, &read, sizeof(read), (int[]){ x->round, x->cgroups, x->home }, 3), 0);
	return read_all(sock, &byte, 1) == 1;
}

static void assert_wrote(int dir_fd, const char *name, const char *text)
{
	_cleanup_free_ char *found = NULL;

	assert_int_equal(read_file_at(dir_fd, name, 100, &found, NULL), 0);
	assert_string_equal(found, text);
}

static void test_nothing_is_read_twice(void **state)
{
	const struct images *x = *state;
	struct criu_spare spare = CRIU_SPARE_INIT;
	_cleanup_close_ int mntns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	char answer[80] = "";
	int ends[2];
	pid_t pid = start(x, &spare.sock);

	assert_true(tell_of_round(x, spare.sock));
	assert_wrote(x->cgroups, "c-1/cgroup.procs", "0"); /* it was there, and is not any more */
	assert_wrote(x->home, "cgroup.procs", "0");
	put_pages(x->round, "pages-1.img", 0, 302, LATER);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(criu_spare_go(&spare,
	                         &(struct criu_spare_task){
	                                 .sock = ends[1],
	                                 .mntns_fd = mntns,
	                                 .images_fd = x->last,
	                         }),
	        0);
	(void)fd_close(ends[1]);
	assert_true(read_all(ends[0], answer, sizeof(answer) - 1) >= 0);
	(void)fd_close(ends[0]);
	assert_string_equal(answer, "well");
	assert_true(has_succeeded(pid));
}

static void test_who_is_not_wanted_goes(void **state)
{
	const struct images *x = *state;
	int sock, status;
	pid_t pid = start(x, &sock);

	assert_true(tell_of_round(x, sock));
	(void)fd_close(sock);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE);
}

/* Pages that are not there, or an image that is none: CRIU will read, and say. */
static void test_what_does_not_read_is_left(void **state)
{
	const struct images *x = *state;
	int sock, status;
	pid_t pid;

	put(x->round, "pagemap-29998.img", "12345678", 8);
	pid = start(x, &sock);
	assert_false(tell_of_round(x, sock));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_wrote(x->home, "cgroup.procs", "0"); /* not in the container's */
	(void)fd_close(sock);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_is_read_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_is_not_wanted_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_does_not_read_is_left, setup, teardown),
	};

	if (argc == 3)
		play_criu(argv[2]);
	if (argc != 2)
		return EXIT_FAILURE;
	module = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
