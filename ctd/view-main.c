/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ct-view: the file system behind /proc/meminfo, /proc/stat and others of containers.
 *
 * Why not lxcfs alone: when a FUSE server dies, every mount of it in every mount namespace of every container
 * is dead for good, and so is each file that is open; and while it hangs, who reads from it cannot even be
 * killed. So the server that the mounts depend on is this program, which is small and knows no more than the
 * protocol; it has lxcfs write the texts (view-lxcfs.c). lxcfs may end at any time: it is started again, what
 * was under way is asked again, and nobody inside notices. Where it gives no answer within its time it is
 * killed, and the text is the host's, as it is for containers without a view.
 *
 * This program may end too. ctd has a duplicate of the descriptor of /dev/fuse, so the mounts live on, and
 * starts another on it. For that nothing here is a state that would have to be passed on: the numbers of
 * files are fixed, handles are only names for a cache, and the requests that the dead one had taken are in a
 * memory that ctd keeps as well; the new one answers them with EINTR.
 *
 * A text is fetched whole when it is read from the start, and kept for the reads that follow (view-text.c).
 * In what order requests are served, and how much of us a container gets, is view-tenant.c. The time that a
 * text may take counts from when it is begun: who has waited for his turn has lost nothing of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/view-files.h"
#include "ctd/view-lxcfs.h"
#include "ctd/view-stat.h"
#include "ctd/view-swap.h"
#include "ctd/view-tenant.h"
#include "ctd/view-text.h"

#define FIRST_NODE    2U /* of the files; 1 is the root */
#define FOREVER_SEC   (365ULL * 24 * 3600)
#define REQUEST_MAX   65536U
#define MAX_WRITE     4096U
#define TEXT_MAX      (1U << 20)
#define DEADLINE_USEC (5 * USEC_PER_SEC)
#define GAP_MAX       8192U /* requests that were dropped before the one that was taken */
#define HOPELESS      3U    /* failures of lxcfs in a row: the host's text is given at once */
#define FETCHES       64U   /* under way at the same time; lxcfs' socket has room for as many */
#define BATCH         64U   /* requests, before something else has its turn */
#define LXCFS_USEC    200U  /* what a text of lxcfs is reckoned to cost it */

/* A text that is made. */
struct fetch {
	struct view_request *reads; /* that wait for it; NULL: free */
	unsigned file;
	uint32_t pid; /* of one of them, which cannot end before it is answered */
	uint16_t tenant;
	enum { FETCH_WAITING, FETCH_OPENING, FETCH_READING } phase;
	uint64_t lxcfs_unique, lxcfs_handle;
	uint64_t deadline_usec;
	struct strbuf text;
};

struct view {
	struct view_cgroup cgroup;
	struct view_host host;
	struct view_pending *pending; /* shared with ctd */
	struct view_tenants *tenants;
	struct view_texts *texts;
	struct lxcfs lxcfs;
	struct fetch fetches[FETCHES];
	uint64_t last_handle;
	uint64_t cpu_usec; /* what we had used when the last was charged */
	struct lxcfs_answer answer;
	char request[REQUEST_MAX];
	bool over;
};

/* ---- answers to the kernel */

static void answer(uint64_t unique, int error, const void *body, size_t len)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(sizeof(header) + len), .error = error, .unique = unique
	};
	struct iovec parts[] = { { &header, sizeof(header) }, { (void *)body, len } };

	(void)writev(VIEW_FUSE_FD, parts, 2); /* ENOENT: whoever asked has been killed */
}

static void fill_attr(uint64_t node, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){
		.ino = node,
		.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0555 : S_IFREG | 0444,
		.nlink = 1,
		.blksize = 4096,
	};
}

static void answer_init(const struct fuse_in_header *header, const struct fuse_init_in *in)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = in->minor < FUSE_KERNEL_MINOR_VERSION ? in->minor : FUSE_KERNEL_MINOR_VERSION,
		/* Releases alone are in the background, and in the kernel's memory, which no container is
		 * charged for. With few places they come up later than the opens of a tenant with many
		 * threads and pile up; so they wait in the one queue with these. */
		.max_background = UINT16_MAX,
		.congestion_threshold = UINT16_MAX,
		.max_write = MAX_WRITE,
		.time_gran = 1,
	};

	answer(header->unique, 0, &out, sizeof(out));
}

static void answer_lookup(const struct fuse_in_header *header, const char *name, size_t len)
{
	struct fuse_entry_out out = { .entry_valid = FOREVER_SEC, .attr_valid = FOREVER_SEC };

	for (unsigned i = 0; i < VIEW_FILES && header->nodeid == FUSE_ROOT_ID; i++)
		if (strlen(view_files[i].name) + 1 == len && memcmp(view_files[i].name, name, len) == 0) {
			out.nodeid = FIRST_NODE + i;
			fill_attr(out.nodeid, &out.attr);
			answer(header->unique, 0, &out, sizeof(out));
			return;
		}
	answer(header->unique, -ENOENT, NULL, 0);
}

static void answer_getattr(const struct view_request *q)
{
	struct fuse_attr_out out = { .attr_valid = FOREVER_SEC };

	fill_attr(q->node, &out.attr);
	answer(q->unique, 0, &out, sizeof(out));
}

static void answer_open(struct view *v, const struct view_request *q)
{
	struct fuse_open_out out = { .open_flags = FOPEN_DIRECT_IO };

	if ((q->in.open.flags & O_ACCMODE) != O_RDONLY) {
		answer(q->unique, -EACCES, NULL, 0);
		return;
	}
	if (q->opcode == FUSE_OPEN)
		out.fh = VIEW_HANDLE(++v->last_handle, q->tenant);
	answer(q->unique, 0, &out, sizeof(out));
}

static void answer_part(uint64_t unique, const struct strbuf *text, uint64_t offset, uint32_t size)
{
	size_t left = offset < text->len ? text->len - (size_t)offset : 0;

	answer(unique, 0, left ? text->data + offset : NULL, left < size ? left : size);
}

static void forget(struct view *v, struct view_request *q)
{
	v->pending->under_way[view_request_index(v->tenants, q)] = 0;
	view_request_free(v->tenants, q);
}

/* What we have used of the CPU since the last call. */
static uint64_t lap(struct view *v)
{
	uint64_t before = v->cpu_usec;
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts); /* of ourselves: cannot fail */
	v->cpu_usec = (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
	return v->cpu_usec - before;
}

/* What was done since the last lap was for this container. */
static void charge(struct view *v, uint16_t tenant)
{
	view_tenant_charge(v->tenants, tenant, now_monotonic_usec(), lap(v));
}

/* ---- fetching */

static struct fetch *find_free(struct view *v)
{
	for (unsigned i = 0; i < FETCHES; i++)
		if (!v->fetches[i].reads)
			return &v->fetches[i];
	return NULL;
}

/* error: 0, or what they all get in place of the text. */
static void fetch_end(struct view *v, struct fetch *f, int error)
{
	struct view_text *text = error ? NULL : view_text_new(v->texts, f->tenant, &f->text);
	struct view_request *next;

	if (!error && !text)
		error = -ENOMEM;
	for (struct view_request *q = f->reads; q; q = next) {
		next = q->next;
		if (error)
			answer(q->unique, error, NULL, 0);
		else {
			view_text_keep(v->texts, q->in.read.fh, text);
			answer_part(q->unique, &text->bytes, q->in.read.offset, q->in.read.size);
		}
		forget(v, q);
	}
	if (text)
		view_text_unref(v->texts, text);
	view_job_done(v->tenants, f->tenant, f->file);
	charge(v, f->tenant);
	strbuf_done(&f->text);
	*f = (struct fetch){ .text = STRBUF_INIT };
}

static void fetch_done(struct view *v, struct fetch *f)
{
	fetch_end(v, f, f->text.error);
}

/* What the container would see without a view. */
static void fetch_give_up(struct view *v, struct fetch *f)
{
	_cleanup_free_ char *text = NULL;
	int r;

	strbuf_reset(&f->text);
	r = read_file_at(AT_FDCWD, view_files[f->file].target, TEXT_MAX, &text, NULL);
	r = r < 0 ? r : strbuf_puts(&f->text, text);
	fetch_end(v, f, r);
}

static void source_lost(struct view *v)
{
	lxcfs_stop(&v->lxcfs);
	for (unsigned i = 0; i < FETCHES; i++) {
		struct fetch *f = &v->fetches[i];

		if (!f->reads)
			continue;
		f->phase = FETCH_WAITING;
		strbuf_reset(&f->text);
		if (v->lxcfs.failures >= HOPELESS)
			fetch_give_up(v, f);
	}
}

static void fetch_begin(struct view *v, struct fetch *f)
{
	if (v->lxcfs.state == LXCFS_DOWN && v->lxcfs.failures >= HOPELESS) {
		fetch_give_up(v, f);
		return;
	}
	if (v->lxcfs.state != LXCFS_READY)
		return;
	view_tenant_charge(v->tenants, f->tenant, now_monotonic_usec(), LXCFS_USEC);
	f->lxcfs_unique = lxcfs_open(&v->lxcfs, f->file, f->pid);
	f->phase = FETCH_OPENING;
	if (!f->lxcfs_unique)
		source_lost(v);
}

static void begin_all(struct view *v)
{
	for (unsigned i = 0; i < FETCHES && v->lxcfs.state == LXCFS_READY; i++)
		if (v->fetches[i].reads && v->fetches[i].phase == FETCH_WAITING)
			fetch_begin(v, &v->fetches[i]);
}

static void fetch_more(struct view *v, struct fetch *f)
{
	f->lxcfs_unique = lxcfs_read(&v->lxcfs, f->file, f->pid, f->lxcfs_handle, f->text.len);
	f->phase = FETCH_READING;
	if (!f->lxcfs_unique)
		source_lost(v);
}

static void fetch_step(struct view *v, struct fetch *f, const struct lxcfs_answer *a)
{
	if (f->phase == FETCH_OPENING) {
		if (a->error < 0 || a->len < sizeof(a->handle)) {
			fetch_give_up(v, f);
			return;
		}
		f->lxcfs_handle = a->handle;
		fetch_more(v, f);
		return;
	}
	if (a->error == 0)
		(void)strbuf_add(&f->text, a->data, a->len); /* an error stays in the buffer */
	if (a->error == 0 && a->len == LXCFS_CHUNK && f->text.len < TEXT_MAX) {
		fetch_more(v, f);
		return;
	}
	lxcfs_release(&v->lxcfs, f->file, f->lxcfs_handle);
	if (a->error == 0 && f->text.len && view_files[f->file].source == VIEW_MEMORY)
		(void)view_swap_meminfo(&v->cgroup, f->pid, &f->text);
	if (a->error < 0 || f->text.len == 0)
		fetch_give_up(v, f);
	else
		fetch_done(v, f);
}

static void read_lxcfs(struct view *v)
{
	const struct lxcfs_answer *a = &v->answer;

	for (;;) {
		int r = lxcfs_receive(&v->lxcfs, &v->answer);

		if (r < 0)
			source_lost(v);
		if (r <= 0)
			break;
		for (unsigned i = 0; i < FETCHES; i++)
			if (v->fetches[i].reads && v->fetches[i].phase != FETCH_WAITING &&
			        v->fetches[i].lxcfs_unique == a->unique) {
				fetch_step(v, &v->fetches[i], a);
				break;
			}
		if (v->lxcfs.sock < 0)
			break;
	}
	begin_all(v);
}

/* ---- requests */

static void serve_read(struct view *v, struct view_request *q)
{
	const struct fuse_read_in *in = &q->in.read;
	const struct strbuf *kept = in->offset > 0 ? view_text_find(v->texts, in->fh) : NULL;

	if (q->node >= FIRST_NODE && q->node < FIRST_NODE + VIEW_FILES && !kept) {
		view_job_add(v->tenants, q, (unsigned)(q->node - FIRST_NODE));
		return;
	}
	if (kept)
		answer_part(q->unique, kept, in->offset, in->size);
	else
		answer(q->unique, -EIO, NULL, 0);
	forget(v, q);
}

static void serve(struct view *v, struct view_request *q)
{
	static const char zeros[sizeof(struct fuse_statfs_out)];

	switch (q->opcode) {
	case FUSE_READ: serve_read(v, q); return;
	case FUSE_OPEN:
	case FUSE_OPENDIR: answer_open(v, q); break;
	case FUSE_GETATTR: answer_getattr(q); break;
	case FUSE_STATFS: answer(q->unique, 0, zeros, sizeof(zeros)); break;
	case FUSE_READDIR: answer(q->unique, 0, NULL, 0); break; /* who needs them knows the names */
	default: answer(q->unique, -ENOSYS, NULL, 0);
	}
	forget(v, q);
}

/* Those that no container can ask for at will. Each release comes after an open. */
static bool serve_at_once(struct view *v, const struct fuse_in_header *header, const void *body, size_t len)
{
	switch (header->opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT: /* the answer is under way */ return true;
	case FUSE_INIT:
		if (len >= offsetof(struct fuse_init_in, max_readahead))
			answer_init(header, body);
		return true;
	case FUSE_LOOKUP: answer_lookup(header, body, len); return true;
	case FUSE_RELEASE:
		if (len >= sizeof(struct fuse_release_in))
			view_text_drop(v->texts, ((const struct fuse_release_in *)body)->fh);
		answer(header->unique, 0, NULL, 0);
		return true;
	case FUSE_RELEASEDIR: answer(header->unique, 0, NULL, 0); return true;
	}
	return false;
}

/* There is room for it, or nothing had been read. */
static void admit(struct view *v, const struct fuse_in_header *header, const void *body, size_t len)
{
	struct view_request *q = view_request_new(v->tenants);

	q->unique = header->unique;
	q->node = header->nodeid;
	q->opcode = header->opcode;
	q->pid = header->pid;
	q->tenant = VIEW_TENANT_OF(header->uid);
	memcpy(&q->in, body, len < sizeof(q->in) ? len : sizeof(q->in));
	v->pending->under_way[view_request_index(v->tenants, q)] = q->unique;
	if (view_tenant_is_over(v->tenants, q->tenant, now_monotonic_usec()))
		view_hold(v->tenants, q);
	else
		serve(v, q);
}

/* False: there is none now. */
static bool take_request(struct view *v)
{
	ssize_t n = read(VIEW_FUSE_FD, v->request, sizeof(v->request));
	const struct fuse_in_header *header = (const struct fuse_in_header *)v->request;
	uint16_t tenant;
	size_t len;

	if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT)
		v->over = true; /* ENODEV: no mount is left of it, or somebody has cut it off */
	if (n < 0 && errno != ENOENT)
		return false;
	if (n < (ssize_t)sizeof(*header) || header->len != (uint32_t)n)
		return true;
	if (header->opcode != FUSE_FORGET && header->opcode != FUSE_BATCH_FORGET &&
	        header->opcode != FUSE_INTERRUPT)
		v->pending->last = header->unique;
	len = (size_t)n - sizeof(*header);
	if (!serve_at_once(v, header, header + 1, len))
		admit(v, header, header + 1, len);
	tenant = VIEW_TENANT_OF(header->uid);
	if (header->opcode == FUSE_RELEASE) /* the kernel's, of nobody */
		tenant = VIEW_HANDLE_TENANT(((const struct fuse_release_in *)(header + 1))->fh);
	charge(v, tenant);
	return true;
}

static void serve_held(struct view *v)
{
	for (unsigned n = 0; n < BATCH; n++) {
		struct view_request *q = view_held_next(v->tenants, now_monotonic_usec());
		uint16_t tenant;

		if (!q)
			return;
		tenant = q->tenant;
		serve(v, q);
		charge(v, tenant);
	}
}

static void begin_jobs(struct view *v)
{
	struct fetch *f;
	unsigned file = 0;

	while ((f = find_free(v)) && (f->reads = view_job_next(v->tenants, &file))) {
		f->file = file;
		f->pid = f->reads->pid;
		f->tenant = f->reads->tenant;
		f->deadline_usec = now_monotonic_usec() + DEADLINE_USEC;
		switch (view_files[file].source) {
		case VIEW_LXCFS:
		case VIEW_MEMORY: fetch_begin(v, f); continue;
		case VIEW_STAT:
			(void)view_stat(&v->cgroup, &v->host, f->pid, &f->text);
			break; /* an error stays in the buffer */
		case VIEW_SWAPS: (void)view_swaps(&v->cgroup, f->pid, &f->text); break;
		}
		fetch_done(v, f);
	}
}

/* ---- time */

static void check_deadlines(struct view *v, uint64_t now)
{
	bool hangs = false;

	for (unsigned i = 0; i < FETCHES; i++) {
		struct fetch *f = &v->fetches[i];

		if (!f->reads || f->deadline_usec > now)
			continue;
		hangs = hangs || f->phase != FETCH_WAITING;
		fetch_give_up(v, f);
	}
	if (!hangs && !(v->lxcfs.state == LXCFS_STARTING && v->lxcfs.started_usec + DEADLINE_USEC * 2 <= now))
		return;
	log_warning("lxcfs does not answer and is started again");
	source_lost(v);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int until_next(const struct view *v, uint64_t now)
{
	uint64_t next = view_held_usec(v->tenants);

	if (v->lxcfs.state == LXCFS_DOWN)
		next = sooner(next, v->lxcfs.retry_usec);
	if (v->lxcfs.state == LXCFS_STARTING)
		next = sooner(next, v->lxcfs.started_usec + DEADLINE_USEC * 2);
	for (unsigned i = 0; i < FETCHES; i++)
		if (v->fetches[i].reads)
			next = sooner(next, v->fetches[i].deadline_usec);
	if (next == UINT64_MAX)
		return -1;
	return next > now ? (int)((next - now) / USEC_PER_MSEC + 1) : 0;
}

static void turn(struct view *v)
{
	struct pollfd fds[] = {
		{ .fd = view_request_full(v->tenants) ? -1 : VIEW_FUSE_FD, .events = POLLIN },
		{ .fd = v->lxcfs.sock, .events = POLLIN },
	};

	(void)poll(fds, 2, until_next(v, now_monotonic_usec())); /* EINTR: the next turn */
	(void)lap(v);                                            /* of no container */
	if (fds[1].revents && v->lxcfs.sock >= 0)
		read_lxcfs(v);
	check_deadlines(v, now_monotonic_usec());
	if (v->lxcfs.state == LXCFS_DOWN && v->lxcfs.retry_usec <= now_monotonic_usec())
		lxcfs_start(&v->lxcfs);
	(void)lap(v); /* as above */
	if (fds[0].revents)
		for (unsigned n = 0; n < BATCH && !view_request_full(v->tenants) && take_request(v); n++)
			;
	serve_held(v);
	begin_jobs(v);
}

/* To where the next ctd looks for them. */
static int place_fds(const char *fuse, const char *pending)
{
	uint64_t from[2];
	int fds[2];

	if (parse_u64(fuse, &from[0]) < 0 || parse_u64(pending, &from[1]) < 0)
		return -EINVAL;
	for (int i = 0; i < 2; i++) {
		fds[i] = fcntl((int)from[i], F_DUPFD_CLOEXEC, 10);
		if (fds[i] < 0)
			return -errno;
	}
	if (dup2(fds[0], VIEW_FUSE_FD) < 0 || dup2(fds[1], VIEW_PENDING_FD) < 0 ||
	        close_range(VIEW_PENDING_FD + 1, ~0U, 0) < 0)
		return -errno;
	return fcntl(VIEW_FUSE_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(VIEW_PENDING_FD, F_SETFD, FD_CLOEXEC) < 0
	               ? -errno
	               : 0;
}

/* Into a cgroup of our own, which ctd has made: a restart of ctd's service does not reach us there, and what
 * tenants can have us and lxcfs use is limited. */
static void move_aside(const struct view_cgroup *cgroup)
{
	_cleanup_free_ char *path =
	        str_printf("%s%s/" VIEW_CGROUP "/cgroup.procs", cgroup->mount, cgroup->path);
	int r = path ? write_file_at(AT_FDCWD, path, "0") : -ENOMEM;

	if (r < 0)
		log_warning("cannot move into the cgroup \"" VIEW_CGROUP "\": %s", strerror(-r));
}

/* Who waits for the last ct-view shall ask again. It may have ended between taking a request and answering
 * it, or even before it could note its number. The kernel (6.1) gives out requests by ascending even numbers
 * (bit 0 is of interrupts), with gaps where somebody was killed before his turn; a number that nobody waits
 * for is ENOENT, and so is one that was not given out yet. Where the numbers are counted by CPU only the
 * noted ones are found. */
static int take_over(struct view *v)
{
	const size_t size = sizeof(*v->pending);
	struct stat st;
	size_t slots;

	/* The last one may have been of a version that had fewer; the number taken last is behind them. */
	if (fstat(VIEW_PENDING_FD, &st) < 0)
		return -errno;
	slots = (size_t)st.st_size / sizeof(uint64_t);
	if (slots < 2 || (st.st_size < (off_t)size && ftruncate(VIEW_PENDING_FD, (off_t)size) < 0))
		return -EINVAL;
	v->pending = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, VIEW_PENDING_FD, 0);
	if (v->pending == MAP_FAILED)
		return -errno;
	if (slots <= VIEW_PENDING) {
		v->pending->last = v->pending->under_way[slots - 1];
		v->pending->under_way[slots - 1] = 0;
	}
	for (unsigned i = 0; i < VIEW_PENDING; i++) {
		if (v->pending->under_way[i])
			answer(v->pending->under_way[i], -EINTR, NULL, 0);
		v->pending->under_way[i] = 0;
	}
	for (uint64_t n = 0; v->pending->last && n < GAP_MAX; n++)
		answer(v->pending->last + 2 * n, -EINTR, NULL, 0);
	return fd_set_nonblock(VIEW_FUSE_FD, true);
}

int main(int argc, char *argv[])
{
	struct view *v = calloc(1, sizeof(*v));
	int r;

	log_set("ct-view", LOG_LEVEL_INFO);
	if (v) {
		v->tenants = view_tenants_new();
		v->texts = view_texts_new();
	}
	if (!v || !v->tenants || !v->texts || argc != 5) {
		log_error("usage: ct-view CGROUP-MOUNT CGROUP-PATH FUSE-FD PENDING-FD (started by ctd)");
		return 2;
	}
	/* Handles must not be those of the last one's texts: two never start in the same microsecond. */
	v->last_handle = now_boottime_usec();
	v->cgroup = (struct view_cgroup){ .mount = argv[1], .path = argv[2] };
	v->lxcfs = LXCFS_INIT;
	(void)prctl(PR_SET_DUMPABLE, 0); /* cannot fail */
	(void)signal(SIGPIPE, SIG_IGN);  /* nor can this */
	r = place_fds(argv[3], argv[4]);
	if (r >= 0)
		r = take_over(v);
	if (r < 0) {
		log_error("cannot take over what ctd has passed: %s", strerror(-r));
		return 1;
	}
	move_aside(&v->cgroup);
	lxcfs_start(&v->lxcfs);
	while (!v->over)
		turn(v);
	lxcfs_stop(&v->lxcfs);
	view_texts_free(v->texts);
	view_tenants_free(v->tenants);
	view_host_done(&v->host);
	free(v);
	return 0;
}
