/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* predump: memory to disk while the container runs on, so that the dump after the freeze has the rest alone.
 *
 * {"pid", "cgroup", "images", "runtime", "key", "rounds", "told"?} to {"rounds", "bytes"}: so many
 * directories are there, of so many bytes of pages (criu-rounds.h); the first has all pages, each other those
 * that were written to since the one before. It ends when a round has little, or not clearly less than the
 * one before, or after "rounds" of them. Rounds and their digests are synced. The caller makes do with any
 * number.
 *
 * told: ctd is asked after each, {"round": N, "first_usec"}, and may have it sent; the next one begins with
 * the answer. So what is written to while a round is on its way is in the next, and the last is short on its
 * way. A round 1 that is told after others means that those are void. first_usec: what writing the first
 * took. Meanwhile we compute the digest and sync.
 *
 * Behind the first, archives of each tmpfs are written beside it (worker-predump-tmpfs.h).
 *
 * A round that fails, as when processes come and go while CRIU looks at them, may have told the kernel to
 * forget what some of them had written to: with what is then found dirty no earlier round becomes whole. So
 * all are taken away, and it begins anew, or there are none.
 *
 * CRIU notices what is written to by the kernel's soft-dirty bits
 * (Documentation/admin-guide/mm/soft-dirty.rst), which not every kernel has: asked is a page of ours. It
 * stops the container for each round, shortly: while its page tables are looked at, not while its pages are
 * written. As in a dump it is never killed: who cancels us waits until it has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/criu-host.h"
#include "ctd/criu-rounds.h"
#include "ctd/criu.h"
#include "ctd/keeper-client.h"
#include "ctd/worker-images.h"
#include "ctd/worker-main.h"
#include "ctd/worker-predump-tmpfs.h"
#include "ctd/worker-suspend.h"

#define MIB             (1024 * 1024ULL)
#define MARGIN          (64 * MIB)
#define FEW_BYTES       (2 * MIB) /* not worth another round */
#define FAILURES_MAX    2
#define SOFT_DIRTY      (1ULL << 55)
#define CLEAR_SOFT_BITS "4"

struct predump_params {
	int64_t pid;
	uint64_t rounds;
	const char *cgroup, *images, *runtime, *key;
	bool told;
};

#define FIELD(name, kind)                                                                                    \
	{                                                                                                    \
#name, JSON_KIND_##kind, offsetof(struct predump_params, name), JSON_NO_HAS, true            \
	}

static const struct json_field fields[] = {
	FIELD(pid, I64),
	FIELD(rounds, U64),
	FIELD(cgroup, STRING),
	FIELD(images, STRING),
	FIELD(runtime, STRING),
	FIELD(key, STRING),
	{ "told", JSON_KIND_BOOL, offsetof(struct predump_params, told), JSON_NO_HAS, false },
	{ NULL },
};

/* ---- what the kernel can */

static bool is_dirty(const void *page)
{
	_cleanup_close_ int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	const uint64_t size = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t entry = 0;

	return fd >= 0 &&
	       pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / size * sizeof(entry))) ==
	               sizeof(entry) &&
	       (entry & SOFT_DIRTY);
}

static int check_kernel(struct ct_error *err)
{
	const size_t size = (size_t)sysconf(_SC_PAGESIZE);
	volatile char *page =
	        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	bool clean, dirty;

	if (page == MAP_FAILED)
		return ct_error_set(err, -ENOMEM, "predump", "out of memory");
	*page = 1;
	clean = write_file_at(AT_FDCWD, "/proc/self/clear_refs", CLEAR_SOFT_BITS) >= 0 &&
	        !is_dirty((const void *)page);
	*page = 2;
	dirty = is_dirty((const void *)page);
	(void)munmap((void *)page, size); /* ours */
	return clean && dirty
	               ? 0
	               : ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
	                         "this kernel does not note which pages are written to (CONFIG_MEM_SOFT_DIRTY)");
}

/* ---- rounds */

struct rounds {
	struct predump_params in;
	struct keeper_client *keeper;
	int images, cgroup, tools;
	const char *directory; /* that tools is */
	unsigned int n;
	uint64_t bytes, first_usec;
	json_t *digests; /* of each */
};

/* For a round and for the dump after it, which will ask too and then be refused: rather no round. */
static int check_room(const struct rounds *x, struct ct_error *err)
{
	struct statvfs fs;

	if (fstatvfs(x->images, &fs) < 0)
		return ct_error_set(
		        err, -errno, "predump", "cannot ask how much room there is: %s", strerror(errno));
	if (2 * criu_host_memory(x->cgroup) + MARGIN <= (uint64_t)fs.f_bavail * fs.f_frsize)
		return 0;
	return ct_error_kind_set(
	        err, CT_ERROR_REFUSED, -ENOSPC, "the store has no room for another round of its memory");
}

static int dump_round(const struct rounds *x, unsigned int n, int fd, struct ct_error *err)
{
	char parent[16], log[] = "pre-dump.log";
	struct criu_request request = {
		.verb = CRIU_PRE_DUMP,
		.key = x->in.key,
		.images_fd = fd,
		.work_fd = fd,
		.tools_fd = x->tools,
		.tools = x->directory,
		.pid = (pid_t)x->in.pid,
		.leave_running = true,
		.track = true,
		.log_file = log,
		.freezer = x->in.cgroup,
	};
	struct suspend_lists lists = { .request = &request };
	int r;

	criu_rounds_parent(n - 1, false, parent);
	request.parent = n > 1 ? parent : NULL;
	suspend_add_devices(&lists);
	r = suspend_add_mounts(&lists, err);
	if (r >= 0)
		r = criu_run(x->keeper, &request, NULL, NULL, NULL, err);
	free(lists.text);
	return r;
}

/* ret: what it has of pages. */
static int make_round(struct rounds *x, uint64_t *ret, struct ct_error *err)
{
	const uint64_t begun = now_monotonic_usec();
	const unsigned int n = x->n + 1;
	_cleanup_close_ int fd = criu_rounds_new(x->images, n, err);
	int r;

	if (fd < 0)
		return fd;
	worker_progress(-1, "writing memory while it runs, round %u", n);
	r = dump_round(x, n, fd, err);
	if (r < 0)
		return r;
	if (n == 1) {
		x->first_usec = now_monotonic_usec() - begun;
		predump_tmpfs((pid_t)x->in.pid, x->directory, fd, criu_host_memory(x->cgroup));
	}
	*ret = criu_rounds_pages(fd);
	x->n = n;
	x->bytes += *ret;
	return 0;
}

static int keep_round(const struct rounds *x, struct ct_error *err)
{
	char digest[65];
	int r = criu_rounds_digest_one(x->images, x->n, digest, err);

	if (r >= 0 && json_array_append_new(x->digests, json_string(digest)) < 0)
		r = ct_error_set(err, -ENOMEM, "predump", "out of memory");
	if (r >= 0 && syncfs(x->images) < 0)
		r = ct_error_set(err, -errno, "predump", "cannot sync the images: %s", strerror(errno));
	return r;
}

static int tell_round(const struct rounds *x, struct ct_error *err)
{
	int r;

	if (!x->in.told)
		return keep_round(x, err);
	worker_ask_begin(
	        json_pack("{s:I, s:I}", "round", (json_int_t)x->n, "first_usec", (json_int_t)x->first_usec));
	r = keep_round(x, err);
	return r < 0 ? r : worker_ask_end(err);
}

/* Also the one that was not finished. */
static int forget_rounds(struct rounds *x)
{
	int r = 0;

	for (unsigned int n = x->n + 1; r >= 0 && n > 0; n--)
		r = criu_rounds_remove(x->images, n);
	x->n = 0;
	x->bytes = 0;
	(void)json_array_clear(x->digests); /* cannot fail with an array */
	return r;
}

/* One that is refused beforehand has changed nothing: then those count that there are. */
static int make_rounds(struct rounds *x, struct ct_error *err)
{
	uint64_t before = UINT64_MAX, now = 0;
	unsigned int failures = 0;
	int r;

	while (x->n < x->in.rounds && x->n < CRIU_ROUNDS_MAX && worker_check(NULL) >= 0) {
		struct ct_error why = { 0 };

		if (check_room(x, &why) < 0) {
			worker_progress(-1, "no further round: %.200s", why.text);
			return 0;
		}
		if (make_round(x, &now, &why) < 0) {
			worker_progress(-1, "a round failed: %.200s", why.text);
			r = forget_rounds(x);
			if (r < 0)
				return ct_error_set(err, r, "predump",
				        "cannot remove a round that failed: %s", strerror(-r));
			if (++failures == FAILURES_MAX)
				return 0;
			before = UINT64_MAX;
			continue;
		}
		r = tell_round(x, err);
		if (r < 0)
			return r;
		if (now <= FEW_BYTES || now >= before / 4 * 3)
			return 0;
		before = now;
	}
	return 0;
}

static int predump(struct rounds *x, struct ct_error *err)
{
	int r = x->digests ? make_rounds(x, err) : ct_error_set(err, -ENOMEM, "predump", "out of memory");

	if (r >= 0)
		r = worker_check(err);
	if (r >= 0 && x->n > 0)
		r = criu_rounds_note(x->images, x->digests, err);
	if (r >= 0 && syncfs(x->images) < 0)
		r = ct_error_set(err, -errno, "predump", "cannot sync the images: %s", strerror(errno));
	return r;
}

int worker_predump(const json_t *params, json_t **ret, struct ct_error *err)
{
	_cleanup_keeper_client_ struct keeper_client *keeper = NULL;
	_cleanup_close_ int images = -1, cgroup = -1, tools = -1;
	_cleanup_free_ char *directory = NULL;
	_cleanup_json_ json_t *digests = json_array();
	struct rounds x = { .digests = digests };
	int r = json_read(params, fields, &x.in, err);

	if (r >= 0)
		r = check_kernel(err);
	if (r < 0)
		return r;
	cgroup = open(x.in.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup < 0)
		return ct_error_set(
		        err, -errno, "predump", "cannot open \"%s\": %s", x.in.cgroup, strerror(errno));
	r = images = images_open(x.in.images, true, err);
	if (r >= 0)
		r = suspend_reach_keeper(x.in.runtime, &keeper, err);
	if (r >= 0)
		r = tools = criu_tools_open(&directory, err);
	if (r < 0)
		return r;
	x.tools = tools;
	x.directory = directory;
	x.keeper = keeper;
	x.images = images;
	x.cgroup = cgroup;
	r = predump(&x, err);
	if (r >= 0)
		*ret = json_pack("{s:I, s:I}", "rounds", (json_int_t)x.n, "bytes", (json_int_t)x.bytes);
	return r;
}
