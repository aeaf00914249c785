/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Feeds what criu might answer, and images of terminals that a tenant has had a hand in, to their readers.
 *
 *   fuzz-criu [--mutate N] DIRECTORY
 *
 * replays every file of the directory, then N inputs that a generator with a fixed seed makes from them. The
 * first byte of an input chooses the reader: a an answer, f the open files, t an image, m mounts, g cgroups,
 * u a map of ids, c the note of inner cgroups, d what differs of an archive, p where memory is, k tasks. What
 * comes of it must keep what criu.h promises; LLVMFuzzerTestOneInput is what libFuzzer wants.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/criu-archive.h"
#include "ctd/criu-pages.h"
#include "ctd/criu.h"
#include "ctd/fuzz.h"
#include "ctd/worker-suspend-cgroup.h"

static int on_notify(struct criu_notice *notice, void *userdata, struct ct_error *err)
{
	must(str_is_printable(notice->script) && str_is_printable(notice->message),
	        "a notification that cannot be shown");
	return 0;
}

/* It comes from a socket that criu has closed behind it. */
static void try_answer(const uint8_t *data, size_t size)
{
	const struct criu_request request = { .verb = CRIU_RESTORE };
	struct ct_error error = { 0 };
	int pair[2], r;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "no sockets");
	must(send_fds(pair[1], data, size, NULL, 0) == 0 && shutdown(pair[1], SHUT_WR) == 0, "no packet");
	r = criu_talk(pair[0], &request, on_notify, NULL, NULL, &error);
	must(r == 0 || (error.code < 0 && str_is_printable(error.text)), "a failure without a reason");
	accepted += r == 0;
	(void)fd_close(pair[0]);
	(void)fd_close(pair[1]);
}

static void try_image(const uint8_t *data, size_t size)
{
	_cleanup_strbuf_ struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
	int r = criu_console_rewrite((const char *)data, size, 77, &once);

	must(r == 0 || r == -EBADMSG, "an error of another kind");
	if (r < 0)
		return;
	accepted++;
	must(criu_console_rewrite(once.data, once.len, 78, &twice) == 0, "what was written does not read");
}

static void try_files(const uint8_t *data, size_t size)
{
	char name[64];
	size_t n;
	int r = criu_files_find_bare((const char *)data, size, name, sizeof(name));

	must(criu_locks_count((const char *)data, size, &n) == -EBADMSG || 4 * n <= size,
	        "more records than there is room for");
	must(r == 0 || r == 1 || r == -EBADMSG, "an error of another kind");
	must(r != 1 || str_is_printable(name), "a name that cannot be shown");
	accepted += r >= 0;
}

/* What is written reads, and stays as it is when it is written again. */
static void try_place(const uint8_t *data, size_t size, bool map)
{
	static const struct criu_place place = { .base_id = 200000, .root = "/there", .name = "c-0a" };
	_cleanup_strbuf_ struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
	uint32_t was = 100000, again = 0;
	int r = map ? criu_place_map((const char *)data, size, place.base_id, &once, &was)
	            : criu_place_cgroups((const char *)data, size, &place, was, &once);

	must(r == 0 || r == -EBADMSG, "an error of another kind");
	if (r < 0)
		return;
	accepted++;
	r = map ? criu_place_map(once.data, once.len, place.base_id, &twice, &again)
	        : criu_place_cgroups(once.data, once.len, &place, was, &twice);
	must(r == 0 && once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0,
	        "what was written is written otherwise again");
	must(!map || again == place.base_id, "the map is not what was asked for");
}

/* What is written has no covers, and stays as it is when it is written again. */
static void try_mounts(const uint8_t *data, size_t size)
{
	static const struct restore_native native = { "8:1", "/c/upper/home", "/home" };
	_cleanup_strbuf_ struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
	struct criu_mounts before = { 0 }, after = { 0 };
	const struct criu_mount *lost;
	int r = criu_mounts_read(&before, (const char *)data, size, &native, 1);

	must(r == 0 || r == -EBADMSG, "an error of another kind");
	must(criu_mounts_rewrite((const char *)data, size, &native, 1, &once) == r,
	        "what reads is not written, or the reverse");
	lost = criu_mounts_find_lost(&before);
	must(!lost || lost->cover, "what would be lost is no cover");
	if (r == 0) {
		accepted++;
		must(criu_mounts_read(&after, once.data, once.len, &native, 1) == 0 && after.n == before.n &&
		                after.n_covers == 0,
		        "what was written has covers");
		must(criu_mounts_rewrite(once.data, once.len, &native, 1, &twice) == 0 &&
		                once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0,
		        "what was written is written otherwise again");
	}
	criu_mounts_done(&before);
	criu_mounts_done(&after);
}

static void try_note(const uint8_t *data, size_t size)
{
	_cleanup_json_ json_t *list = NULL;
	struct ct_error error = { 0 };
	int r = suspend_cgroups_parse((const char *)data, size, &list, &error);

	must(r == 0 ? json_is_array(list) : error.code < 0 && str_is_printable(error.text),
	        "a failure without a reason");
	accepted += r == 0;
}

/* The base is a few blocks of zeros. It is short where the input is: what is copied is bounded by that. */
static void try_archive(const uint8_t *data, size_t size)
{
	static const char zeros[2048];
	int base_fd = memfd_create("base", MFD_CLOEXEC), in = memfd_create("in", MFD_CLOEXEC);
	int out = open("/dev/null", O_WRONLY | O_CLOEXEC), r;
	struct criu_archive_base base;

	must(base_fd >= 0 && in >= 0 && out >= 0 && write_all(base_fd, zeros, sizeof(zeros)) == 0 &&
	                write_all(in, data, size) == 0 && lseek(in, 0, SEEK_SET) == 0,
	        "no files");
	must(criu_archive_open(base_fd, &base) == 0, "no base");
	r = criu_archive_restore(in, &base, out);
	must(r == 0 || r == -EBADMSG, "an error of another kind");
	accepted += r == 0;
	criu_archive_done(&base);
	(void)fd_close(base_fd);
	(void)fd_close(in);
	(void)fd_close(out);
}

/* Whatever is found is where it was looked for. */
static void try_pages(const uint8_t *data, size_t size)
{
	struct criu_pages pages;
	int r = criu_pages_read((const char *)data, size, &pages);

	must(r == 0 || r == -EBADMSG, "an error of another kind");
	if (r < 0)
		return;
	accepted++;
	for (size_t i = 0; i < pages.n; i++) {
		const struct criu_extent *e = &pages.items[i];

		must(i == 0 || e->address >= e[-1].address + e[-1].size, "extents lie over each other");
		must(criu_pages_from(&pages, e->address) == e, "it is not found by its address");
		must(!e->here || criu_pages_at_offset(&pages, e->offset + e->size - 1) == e,
		        "it is not found by its place");
	}
	criu_pages_done(&pages);
}

static void try_tasks(const uint8_t *data, size_t size)
{
	_cleanup_free_ struct criu_task *tasks = NULL;
	size_t n = 0;
	int r = criu_tasks_read((const char *)data, size, &tasks, &n);

	must(r == 0 || r == -EBADMSG, "an error of another kind");
	accepted += r == 0;
	for (size_t i = 0; r == 0 && i < n; i++) /* it ends */
		must(!criu_task_is_made_by(tasks, n, tasks[i].pid, tasks[i].pid, tasks[i].pid) ||
		                tasks[i].parent == tasks[i].pid,
		        "a task makes itself");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	if (data[0] == 'a')
		try_answer(data + 1, size - 1);
	else if (data[0] == 'f')
		try_files(data + 1, size - 1);
	else if (data[0] == 'm')
		try_mounts(data + 1, size - 1);
	else if (data[0] == 'd')
		try_archive(data + 1, size - 1);
	else if (data[0] == 'p')
		try_pages(data + 1, size - 1);
	else if (data[0] == 'k')
		try_tasks(data + 1, size - 1);
	else if (data[0] == 'c')
		try_note(data + 1, size - 1);
	else if (data[0] == 'g' || data[0] == 'u')
		try_place(data + 1, size - 1, data[0] == 'u');
	else
		try_image(data + 1, size - 1);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct fuzz fuzz = { "fuzz-criu", 0xc4151, NULL };

	return fuzz_main(&fuzz, argc, argv);
}
