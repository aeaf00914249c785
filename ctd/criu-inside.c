/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What CRIU is given to find: the memory of tasks that it will restore, read while they still run elsewhere.
 *
 * At the destination of a move the first round of memory, which is nearly all of it, lies there long before
 * the rest. CRIU reads pages when it restores, in the time in which the container stands still. So a CRIU
 * that is not asked for anything yet (ct-criu spare) is given this module, by LD_PRELOAD. Before its main
 * begins it reads the round into areas of its own, one for each part of a task's addresses, at the same
 * distances (struct area). It inherits them to the task by fork, and where the task asks for those pages,
 * they are moved to the place by mremap: nothing is copied. What is moved was charged to the container: we
 * are in its cgroup while we read.
 *
 * What decides is what CRIU asks for. Of each mapping that a task makes for memory with contents (mmap) we
 * learn what it is when the first pages are read into it (preadv): the place in the file says at which
 * address they belong, hence where the mapping begins. If it lies in one area as a whole, all of it is moved
 * there at once, without the pages that the last images have not, which read as zero. From then on what is
 * read from the first round is there, if it was read for it (struct area, pages), and what is read from
 * other images is read over it. Whatever does not fit is read as without us. CRIU reads so if the images have
 * an earlier round; what a task may have from its parent by fork it reads page by page to compare (pread).
 *
 * A fork copies the tables of all pages. So areas are kept from it (MADV_DONTFORK) but when CRIU makes the
 * task whose they are, or one by way of which it will be made: its number says so (clone3, set_tid). Who has
 * passed one on has it no more. That one was inherited stands in memory that was inherited with it.
 *
 * A container may have all the memory that its limit allows, so nothing is there twice: what is read after
 * all is taken out of its area before, and what a task has from its parent by fork, and the images have for
 * both, is read for the first alone.
 *
 * Huge pages are kept out: one that is shared by fork is copied page by page when it is written to, and
 * stays as long as one of them is left.
 */
#include <dlfcn.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu-owner.h"
#include "ctd/criu-pages.h"
#include "ctd/criu-rounds.h"
#include "ctd/criu-spare.h"

#define EXPORTED    __attribute__((visibility("default")))
#define SOCKET_FD   3 /* ct-criu */
#define AREAS_MAX   256
#define MAPS_MAX    1024
#define IMAGE_MAX   (16UL << 20)
#define EXTENTS_MAX (256UL << 10) /* of all images */
#define CHUNK       (1UL << 20)
#define FEW         (1UL << 20)   /* so much is read as soon as moved */
#define GAP         (128UL << 20) /* between pages of one mapping, perhaps */
#define MARGIN      (64UL << 20)  /* of a mapping without pages, perhaps */
#define PAGES_NAME  "pagemap-"

/* The pages of one task in one dump, and the file that has them. */
struct source {
	pid_t pid;
	enum { SOURCE_FIRST, SOURCE_ROUND, SOURCE_LAST } kind;
	dev_t device;
	ino_t inode;
	struct criu_pages pages;
};

struct area {
	pid_t pid;
	uint64_t low, high; /* addresses of the task */
	char *at;           /* ours, of low */
	unsigned char *pages;
	bool is_here; /* in this process */
};

/* Of each page of an area: it has nothing, has been read, has been read and moved. Where it has been moved
 * from may be anything. */
enum { PAGE_NONE, PAGE_READ, PAGE_MOVED };

/* A mapping that CRIU has made for a task. */
struct map {
	char *at;
	size_t size;
	enum { MAP_NEW, MAP_PLAIN, MAP_MOVED } state;
	const struct area *area; /* moved from */
	uint64_t address;        /* of the task, moved */
};

static struct source *sources;
static size_t n_sources, n_extents;
static struct area areas[AREAS_MAX];
static size_t n_areas;
static struct criu_task *tasks;
static size_t n_tasks;
static pid_t own_pid; /* inside; 0: we are CRIU itself */
static struct map maps[MAPS_MAX];
static size_t n_maps;

/* ---- before: reading */

static int load_source(int dir_fd, const char *name, struct source *s)
{
	_cleanup_free_ char *data = NULL;
	char file[40];
	struct stat st;
	size_t len;
	int r = read_file_at(dir_fd, name, IMAGE_MAX, &data, &len);

	if (r >= 0)
		r = criu_pages_read(data, len, &s->pages);
	if (r < 0)
		return r;
	n_extents += s->pages.n;
	if (n_extents > EXTENTS_MAX)
		return -E2BIG;
	(void)snprintf(file, sizeof(file), "pages-%u.img", s->pages.id); /* fits */
	if (fstatat(dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	s->device = st.st_dev;
	s->inode = st.st_ino;
	return 0;
}

static bool has_area(pid_t pid)
{
	for (size_t i = 0; i < n_areas; i++)
		if (areas[i].pid == pid && areas[i].is_here)
			return true;
	return false;
}

/* Of the tasks in a directory of images; but of the first round only those of which something was read. */
static int load_sources(int dir_fd, int kind)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	int r = dir ? 0 : -errno;

	while (r >= 0 && (e = readdir(dir))) {
		struct source *larger;
		pid_t pid;

		if (!str_has_prefix(e->d_name, PAGES_NAME) || e->d_name[strlen(PAGES_NAME)] < '1' ||
		        e->d_name[strlen(PAGES_NAME)] > '9')
			continue; /* pagemap-shmem-... */
		pid = (pid_t)strtol(e->d_name + strlen(PAGES_NAME), NULL, 10);
		if (kind != SOURCE_FIRST && !has_area(pid))
			continue;
		larger = reallocarray(sources, n_sources + 1, sizeof(*sources));
		if (!larger)
			return -ENOMEM;
		sources = larger;
		sources[n_sources] = (struct source){ .kind = kind, .pid = pid };
		r = load_source(dir_fd, e->d_name, &sources[n_sources]);
		n_sources += r >= 0;
	}
	return r;
}

/* Extents from first on that may be of one mapping; how many bytes there are in them. */
static uint64_t find_cluster(const struct criu_pages *pages, size_t first, size_t *ret_end)
{
	uint64_t bytes = pages->items[first].size;
	size_t i = first + 1;

	for (; i < pages->n; i++) {
		const struct criu_extent *last = &pages->items[i - 1], *e = &pages->items[i];

		if (e->address - (last->address + last->size) > GAP)
			break;
		bytes += e->size;
	}
	*ret_end = i;
	return bytes;
}

/* How many of these bytes tasks have at the same addresses of which something was read. */
static uint64_t count_shared(const struct source *s, size_t first, size_t end)
{
	uint64_t sum = 0;

	for (const struct source *other = sources; other < s; other++)
		for (size_t i = has_area(other->pid) ? first : end; i < end; i++) {
			const struct criu_extent *mine = &s->pages.items[i],
			                         *e = criu_pages_from(&other->pages, mine->address);

			for (; e && e < other->pages.items + other->pages.n &&
			        e->address < mine->address + mine->size;
			        e++) {
				const uint64_t low = e->address > mine->address ? e->address : mine->address;
				const uint64_t high = e->address + e->size < mine->address + mine->size
				                              ? e->address + e->size
				                              : mine->address + mine->size;

				sum += high - low;
			}
		}
	return sum;
}

static struct area *new_area(const struct source *s, size_t first, size_t end)
{
	const struct criu_extent *begin = &s->pages.items[first], *last = &s->pages.items[end - 1];
	struct area a = { .pid = s->pid, .is_here = true };
	size_t size;

	if (n_areas == AREAS_MAX)
		return NULL;
	a.low = begin->address - (begin->address < MARGIN ? begin->address : MARGIN);
	a.high = last->address + last->size + MARGIN;
	size = a.high - a.low;
	a.pages = calloc(size / CRIU_PAGE, sizeof(*a.pages));
	a.at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!a.pages || a.at == MAP_FAILED || madvise(a.at, size, MADV_DONTFORK) < 0) {
		free(a.pages);
		return NULL; /* a mapping too many is ours until we end */
	}
	areas[n_areas] = a;
	return &areas[n_areas++];
}

static ssize_t plain_read(int fd, void *data, size_t size, off64_t offset)
{
	static ssize_t (*real)(int, void *, size_t, off64_t);

	if (!real)
		real = (ssize_t(*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
	return real(fd, data, size, offset);
}

/* Whether the other end is still there. */
static bool is_wanted(void)
{
	struct pollfd p = { .fd = SOCKET_FD, .events = POLLIN };

	return poll(&p, 1, 0) == 0;
}

static int fill_extent(int fd, const struct criu_extent *e, struct area *a)
{
	for (uint64_t done = 0; done < e->size;) {
		const size_t want = e->size - done < CHUNK ? (size_t)(e->size - done) : CHUNK;
		const ssize_t n = plain_read(
		        fd, a->at + (e->address - a->low) + done, want, (off64_t)(e->offset + done));

		if (n <= 0 || n % (ssize_t)CRIU_PAGE || !is_wanted())
			return -EIO;
		memset(a->pages + (e->address - a->low + done) / CRIU_PAGE, PAGE_READ, (size_t)n / CRIU_PAGE);
		done += (uint64_t)n;
	}
	return 0;
}

static int fill(int dir_fd, const struct source *s)
{
	_cleanup_close_ int fd = -1;
	char file[40];
	size_t end;

	(void)snprintf(file, sizeof(file), "pages-%u.img", s->pages.id); /* fits */
	fd = openat(dir_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (size_t first = 0; first < s->pages.n; first = end) {
		const uint64_t bytes = find_cluster(&s->pages, first, &end);
		const bool few = bytes < FEW || count_shared(s, first, end) > bytes / 4;
		struct area *a = few ? NULL : new_area(s, first, end);
		int r = 0;

		for (size_t i = first; a && i < end && r >= 0; i++)
			if (s->pages.items[i].here)
				r = fill_extent(fd, &s->pages.items[i], a);
		if (r < 0)
			return r;
	}
	return 0;
}

static int compare_sources(const void *a, const void *b)
{
	const pid_t x = ((const struct source *)a)->pid, y = ((const struct source *)b)->pid;

	return (x > y) - (x < y);
}

/* Parents, as a rule, before children. */
static int read_round(int dir_fd)
{
	int r = load_sources(dir_fd, SOURCE_FIRST);

	if (n_sources > 0)
		qsort(sources, n_sources, sizeof(*sources), compare_sources);
	(void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* until become() */
	for (size_t i = 0; i < n_sources && r >= 0; i++)
		r = fill(dir_fd, &sources[i]);
	return r;
}

static int enter(int cgroup_fd)
{
	return cgroup_fd < 0 ? -errno : write_file_at(cgroup_fd, "cgroup.procs", "0");
}

/* In the container's cgroup meanwhile. */
static int read_charged(const int fds[static CRIU_SPARE_FDS], const char *name)
{
	_cleanup_close_ int cgroup = openat(fds[1], name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = enter(cgroup), left;

	if (r >= 0)
		r = read_round(fds[0]);
	left = enter(fds[2]);
	return r < 0 ? r : left;
}

/* ---- at the word */

/* Nothing of it has been moved. */
static void drop_area(struct area *a)
{
	(void)munmap(a->at, a->high - a->low); /* a whole mapping: it cannot fail */
	a->is_here = false;
}

/* What else CRIU may read from: the later rounds, and the last images. */
static int load_rest(int images_fd)
{
	_cleanup_free_ char *data = NULL;
	size_t len;
	int r = load_sources(images_fd, SOURCE_LAST);

	for (unsigned int n = 2; r >= 0; n++) {
		_cleanup_close_ int round = -1;
		char name[32];

		(void)snprintf(name, sizeof(name), CRIU_ROUNDS "/%u", n); /* fits */
		round = openat(images_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (round < 0 && errno == ENOENT)
			break;
		r = round < 0 ? -errno : load_sources(round, SOURCE_ROUND);
	}
	if (r >= 0)
		r = read_file_at(images_fd, "pstree.img", IMAGE_MAX, &data, &len);
	return r < 0 ? r : criu_tasks_read(data, len, &tasks, &n_tasks);
}

/* As ct-criu does for one that is not spare. */
static int become(const int fds[static CRIU_SPARE_FDS], const struct criu_spare_message *m)
{
	if (load_rest(fds[2]) < 0) /* all is read as without them */
		for (size_t i = 0; i < n_areas; i++)
			drop_area(&areas[i]);
	(void)prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0); /* what is forked has it from us */
	if (setns(fds[1], CLONE_NEWNS) < 0 || (*m->text && setenv("CT_ARCHIVE_BASE", m->text, 1) < 0))
		return -errno;
	if (m->owner_uid == 0)
		return 0;
	if (criu_owner_take(m->owner_uid) < 0 ||
	        prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0) /* as after an exec */
		return -EPERM;
	return 0;
}

static int hear(enum criu_spare_type type, struct criu_spare_message *ret, int fds[static CRIU_SPARE_FDS])
{
	size_t n_fds = CRIU_SPARE_FDS;
	ssize_t n = recv_fds(SOCKET_FD, ret, sizeof(*ret), fds, &n_fds);

	ret->text[sizeof(ret->text) - 1] = '\0';
	return n == (ssize_t)sizeof(*ret) && n_fds == CRIU_SPARE_FDS && ret->type == type ? 0 : -EPIPE;
}

/* Before CRIU's main, or instead of it. */
__attribute__((constructor)) static void begin(void)
{
	int first[CRIU_SPARE_FDS], second[CRIU_SPARE_FDS];
	struct criu_spare_message place, task;

	if (!str_eq(program_invocation_short_name, "criu"))
		return;               /* but what starts it, a script of the host's */
	(void)unsetenv("LD_PRELOAD"); /* CRIU starts others */
	if (hear(CRIU_SPARE_READ, &place, first) < 0)
		_exit(EXIT_FAILURE);
	if (read_charged(first, place.text) < 0 || write_all(SOCKET_FD, "", 1) < 0 ||
	        hear(CRIU_SPARE_GO, &task, second) < 0 || become(second, &task) < 0 ||
	        write_all(SOCKET_FD, "", 1) < 0 || dup2(second[0], SOCKET_FD) < 0)
		_exit(EXIT_FAILURE);
	for (size_t i = 0; i < CRIU_SPARE_FDS; i++) {
		(void)fd_close(first[i]);
		(void)fd_close(second[i]);
	}
}

/* ---- in CRIU: a new task */

/* In the child, which has got those that were lent. */
static void inherit(const bool lent[static AREAS_MAX])
{
	n_maps = 0;
	for (size_t i = 0; i < n_areas; i++)
		areas[i].is_here = lent[i];
}

static void lend(const bool lent[static AREAS_MAX], int advice)
{
	for (size_t i = 0; i < n_areas; i++)
		if (lent[i])
			(void)madvise(areas[i].at, areas[i].high - areas[i].low, advice); /* as drop_area */
}

static long fork_task(long (*real)(long, ...), const struct clone_args *args, long size)
{
	const pid_t was = own_pid;
	bool lent[AREAS_MAX] = { false };
	long r;

	if ((args->flags & CLONE_VM) || args->set_tid_size == 0)
		return real(SYS_clone3, args, size);
	own_pid = *(const pid_t *)(uintptr_t)args->set_tid;
	for (size_t i = 0; i < n_areas; i++)
		lent[i] =
		        areas[i].is_here && criu_task_is_made_by(tasks, n_tasks, areas[i].pid, was, own_pid);
	lend(lent, MADV_DOFORK);
	r = real(SYS_clone3, args, size);
	lend(lent, MADV_DONTFORK);
	if (r == 0) {
		inherit(lent);
		return 0;
	}
	own_pid = was;
	for (size_t i = 0; i < n_areas && r > 0; i++)
		if (areas[i].is_here && (lent[i] || was == 0)) /* CRIU makes init alone */
			drop_area(&areas[i]);
	return r;
}

/* CRIU passes as many arguments as the call has. */
EXPORTED long syscall(long number, ...)
{
	static long (*real)(long, ...);
	long a[6];
	va_list list;

	va_start(list, number);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (!real)
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	if (number == SYS_clone3 && n_areas > 0)
		return fork_task(real, (const struct clone_args *)a[0], a[1]);
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- in a task: its mappings */

static bool overlaps(const struct map *m, const char *at, size_t size)
{
	return at < m->at + m->size && m->at < at + size;
}

/* That it was read into, or mapped over, by other ways than ours. */
static void spoil(const char *at, size_t size)
{
	for (size_t i = 0; i < n_maps; i++)
		if (overlaps(&maps[i], at, size) && maps[i].state == MAP_NEW)
			maps[i].state = MAP_PLAIN;
}

static void forget(const char *at, size_t size)
{
	for (size_t i = 0; i < n_maps;)
		if (overlaps(&maps[i], at, size))
			maps[i] = maps[--n_maps];
		else
			i++;
}

static void *plain_map(void *address, size_t size, int prot, int flags, int fd, off64_t offset)
{
	static void *(*real)(void *, size_t, int, int, int, off64_t);

	if (!real)
		real = (void *(*)(void *, size_t, int, int, int, off64_t))dlsym(RTLD_NEXT, "mmap64");
	return real(address, size, prot, flags, fd, offset);
}

EXPORTED void *mmap64(void *address, size_t size, int prot, int flags, int fd, off64_t offset)
{
	void *at = plain_map(address, size, prot, flags, fd, offset);

	if (own_pid == 0 || at == MAP_FAILED)
		return at;
	forget(at, size);
	if (size >= FEW && n_maps < MAPS_MAX && prot == (PROT_READ | PROT_WRITE) &&
	        flags == (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED))
		maps[n_maps++] = (struct map){ .at = at, .size = size };
	return at;
}

/* So that it is not there twice when it is read. */
static void release(uint64_t address, uint64_t size)
{
	for (size_t i = 0; i < n_areas; i++) {
		struct area *a = &areas[i];
		const uint64_t low = address > a->low ? address : a->low;
		const uint64_t high = address + size < a->high ? address + size : a->high;

		if (!a->is_here || a->pid != own_pid)
			continue;
		for (uint64_t at = low; at < high; at += CRIU_PAGE) {
			unsigned char *page = &a->pages[(at - a->low) / CRIU_PAGE];

			if (*page == PAGE_READ &&
			        madvise(a->at + (at - a->low), CRIU_PAGE, MADV_DONTNEED) == 0)
				*page = PAGE_NONE;
		}
	}
}

/* What has been read there and has no place in the last images reads as zero. */
static int drop_absent(uint64_t address, uint64_t end)
{
	const struct source *last = NULL;

	for (size_t i = 0; i < n_sources; i++)
		if (sources[i].kind == SOURCE_LAST && sources[i].pid == own_pid)
			last = &sources[i];
	if (!last)
		return -ENOENT;
	while (address < end) {
		const struct criu_extent *e = criu_pages_from(&last->pages, address);
		uint64_t gap_end = e && e->address < end ? e->address : end;

		if (gap_end > address)
			release(address, gap_end - address);
		address = gap_end < end ? e->address + e->size : end;
	}
	return 0;
}

/* The mapping begins at this address of the task. It keeps no advice of ours. */
static void move(struct map *m, uint64_t address)
{
	struct area *a = NULL;
	unsigned char *pages;
	char *from;

	m->state = MAP_PLAIN;
	for (size_t i = 0; i < n_areas && !a; i++)
		if (areas[i].is_here && areas[i].pid == own_pid && address >= areas[i].low &&
		        address + m->size <= areas[i].high)
			a = &areas[i];
	if (!a || drop_absent(address, address + m->size) < 0)
		return;
	from = a->at + (address - a->low);
	if (madvise(from, m->size, MADV_DOFORK) < 0)
		return;
	if (mremap(from, m->size, m->size, MREMAP_MAYMOVE | MREMAP_FIXED, m->at) == MAP_FAILED) {
		/* what was there may have gone */
		if (plain_map(m->at, m->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		            -1, 0) == MAP_FAILED)
			_exit(EXIT_FAILURE); /* CRIU tells of it */
		return;
	}
	pages = a->pages + (address - a->low) / CRIU_PAGE;
	for (size_t i = 0; i < m->size / CRIU_PAGE; i++)
		pages[i] = pages[i] == PAGE_READ ? PAGE_MOVED : PAGE_NONE;
	m->state = MAP_MOVED;
	m->area = a;
	m->address = address;
}

/* ---- in a task: what is read into them */

/* A part of what is asked for that is of one extent and one mapping. */
struct piece {
	char *at;
	size_t size;
	uint64_t offset, address; /* address 0: not known */
	struct map *map;          /* or NULL */
};

struct walk {
	const struct source *source;
	const struct iovec *iov;
	size_t n, done; /* of the first of them */
	uint64_t offset;
};

static bool next_piece(struct walk *w, struct piece *ret)
{
	const struct criu_extent *e;
	struct piece p = { .offset = w->offset };

	while (w->n > 0 && w->done == w->iov->iov_len) {
		w->iov++;
		w->n--;
		w->done = 0;
	}
	if (w->n == 0)
		return false;
	p.at = (char *)w->iov->iov_base + w->done;
	p.size = w->iov->iov_len - w->done;
	e = criu_pages_at_offset(&w->source->pages, p.offset);
	if (e) {
		const uint64_t left = e->offset + e->size - p.offset;

		p.address = e->address + (p.offset - e->offset);
		p.size = left < p.size ? (size_t)left : p.size;
	}
	for (size_t i = 0; i < n_maps; i++)
		if (p.at >= maps[i].at && p.at < maps[i].at + maps[i].size)
			p.map = &maps[i];
	if (p.map && (size_t)(p.map->at + p.map->size - p.at) < p.size)
		p.size = (size_t)(p.map->at + p.map->size - p.at);
	w->done += p.size;
	w->offset += p.size;
	*ret = p;
	return true;
}

/* Whether some of it is in what was moved; the rest will be read. */
static bool move_for(struct walk w)
{
	bool moved = false;
	struct piece p;

	while (next_piece(&w, &p)) {
		if (p.map && p.map->state == MAP_NEW && p.address)
			move(p.map, p.address - (uint64_t)(p.at - p.map->at));
		spoil(p.at, p.size);
		if (p.map && p.map->state == MAP_MOVED)
			moved = true;
		else if (p.address)
			release(p.address, p.size);
	}
	return moved;
}

static int read_fully(int fd, char *at, size_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t n = plain_read(fd, at, size, (off64_t)offset);

		if (n <= 0) {
			errno = n < 0 ? errno : EIO;
			return -1;
		}
		at += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* How much from its beginning on is there, or is not. */
static size_t run_of(const struct piece *p, bool *ret_there)
{
	const struct map *m = p->map;
	const unsigned char *pages;
	size_t n = p->size / CRIU_PAGE, i = 0;

	*ret_there = false;
	if (!m || m->state != MAP_MOVED || n == 0 || p->size % CRIU_PAGE ||
	        p->address != m->address + (uint64_t)(p->at - m->at))
		return p->size;
	pages = m->area->pages + (p->address - m->area->low) / CRIU_PAGE;
	*ret_there = pages[0] == PAGE_MOVED;
	while (i < n && (pages[i] == PAGE_MOVED) == *ret_there)
		i++;
	return i * CRIU_PAGE;
}

/* Of the first round: what is not there yet. */
static ssize_t read_rest(int fd, struct walk w)
{
	ssize_t sum = 0;
	struct piece p;

	while (next_piece(&w, &p))
		while (p.size > 0) {
			bool there;
			const size_t size = run_of(&p, &there);

			if (!there && read_fully(fd, p.at, size, p.offset) < 0)
				return -1;
			p.at += size;
			p.size -= size;
			p.offset += size;
			p.address += size;
			sum += (ssize_t)size;
		}
	return sum;
}

static const struct source *find_source(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return NULL;
	for (size_t i = 0; i < n_sources; i++)
		if (sources[i].inode == st.st_ino && sources[i].device == st.st_dev &&
		        sources[i].pid == own_pid)
			return &sources[i];
	return NULL;
}

/* So are pages read that a task may have from its parent: to be compared. */
EXPORTED ssize_t pread64(int fd, void *data, size_t size, off64_t offset)
{
	const struct source *s = own_pid && has_area(own_pid) ? find_source(fd) : NULL;
	const struct iovec iov = { data, size };
	struct walk w = { .source = s, .iov = &iov, .n = 1, .offset = (uint64_t)offset };
	struct piece p;

	if (own_pid)
		spoil(data, size);
	while (s && next_piece(&w, &p))
		if (p.address && !(p.map && p.map->state == MAP_MOVED))
			release(p.address, p.size);
	return plain_read(fd, data, size, offset);
}

EXPORTED ssize_t preadv64(int fd, const struct iovec *iov, int n, off64_t offset)
{
	static ssize_t (*real)(int, const struct iovec *, int, off64_t);
	const struct source *s = own_pid ? find_source(fd) : NULL;
	const struct walk w = { .source = s, .iov = iov, .n = (size_t)n, .offset = (uint64_t)offset };

	if (!real)
		real = (ssize_t(*)(int, const struct iovec *, int, off64_t))dlsym(RTLD_NEXT, "preadv64");
	if (!s)
		for (int i = 0; i < n; i++)
			spoil(iov[i].iov_base, iov[i].iov_len);
	else if (move_for(w) && s->kind == SOURCE_FIRST)
		return read_rest(fd, w);
	return real(fd, iov, n, offset);
}
