/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walking a tree that a tenant made.
 *
 * Its depth is the tenant's choice, so there is no recursion and one directory is open at a time: the way
 * back up is "..", checked by device and inode against what was left behind, so a directory that is moved
 * during the walk ends it instead of leading it elsewhere. The names of each directory on the way down are
 * kept, sorted: that is the memory it takes. Paths end at 4095 bytes, which is what can be given to
 * openat2(2) when the tree is made again.
 *
 * Inodes with more than one link are remembered with the path where they were first met.
 */
#include "quota/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "base/str.h"

#define WALK_PATH_MAX 4095

struct frame {
	struct frame *up;
	dev_t dev;
	ino_t ino;
	char **names; /* sorted */
	size_t n_names, next;
	size_t path_len; /* of this directory, in walk.path */
};

struct seen {
	dev_t dev;
	ino_t ino;
	char path[];
};

struct walk {
	struct frame *top;
	int fd; /* of top's directory */
	struct strbuf path;
	void *seen;                   /* tsearch tree of struct seen */
	const struct walk_live *live; /* NULL: at rest */
};

int walk_error(const struct walk_entry *entry, int code, const char *what, struct ct_error *err)
{
	char shown[256];

	return ct_error_set(err, code, "tree", "cannot %s \"%s\": %s", what,
	        str_escape_to(shown, sizeof(shown), entry->path, strlen(entry->path)), strerror(-code));
}

bool walk_is_gone(int code)
{
	return code == -ENOENT || code == -ESTALE || code == -ENOTDIR || code == -ELOOP || code == -EXDEV;
}

int walk_stat(struct walk_entry *entry)
{
	_cleanup_close_ int fd = open_beneath_mount(entry->dirfd, entry->name, O_PATH | O_NOFOLLOW, 0);

	return fd < 0 ? fd : fstat(fd, &entry->st) < 0 ? -errno : 0;
}

int walk_open(const struct walk_entry *entry, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	/* O_NONBLOCK: should it have become a fifo, we do not wait for its writer. */
	fd = open_beneath_mount(entry->dirfd, entry->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return walk_error(entry, fd, "open", err);

	if (fstat(fd, &st) < 0)
		return walk_error(entry, -errno, "look at", err);

	if (st.st_ino != entry->st.st_ino || (st.st_mode & S_IFMT) != (entry->st.st_mode & S_IFMT))
		return walk_error(entry, -ESTALE, "open", err);

	return TAKE_FD(fd);
}

int walk_readlink(const struct walk_entry *entry, char **ret, struct ct_error *err)
{
	const size_t size = WALK_PATH_MAX + 2;
	_cleanup_free_ char *target = malloc(size);
	_cleanup_close_ int fd = -1;
	ssize_t n;

	if (!target)
		return walk_error(entry, -ENOMEM, "read the link", err);

	fd = open_beneath_mount(entry->dirfd, entry->name, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return walk_error(entry, fd, "open", err);
	n = readlinkat(fd, "", target, size - 1);
	if (n < 0)
		return walk_error(entry, -errno, "read the link", err);

	target[n] = '\0';
	*ret = TAKE_PTR(target);
	return 0;
}

/* The one that the path is in or at; ret: what is left of the path. */
static const struct walk_graft *find_graft(const struct walk_live *live, const char *path, const char **ret)
{
	for (size_t i = 0; i < live->n_grafts; i++) {
		const char *at = live->grafts[i].path, *rest;

		rest = str_has_prefix(path, at) ? path + strlen(at) : NULL;
		if (!rest || (*rest && *rest != '/'))
			continue;
		*ret = *rest ? rest + 1 : ".";
		return &live->grafts[i];
	}
	return NULL;
}

int walk_live_open(const struct walk_live *live, const char *path)
{
	const char *rest = path;
	const struct walk_graft *graft = find_graft(live, path, &rest);

	return open_beneath_mount(
	        graft ? graft->fd : live->root_fd, rest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

void walk_live_place(const struct walk_live *live, int parent_fd, struct walk_entry *entry)
{
	const char *slash = strrchr(entry->path, '/'), *rest = NULL;
	const struct walk_graft *graft = find_graft(live, entry->path, &rest);

	entry->dirfd = graft && str_eq(rest, ".") ? graft->fd : parent_fd;
	entry->name = graft && str_eq(rest, ".") ? "." : slash ? slash + 1 : entry->path;
}

static void frame_pop(struct walk *walk)
{
	struct frame *frame = walk->top;

	walk->top = frame->up;
	for (size_t i = 0; i < frame->n_names; i++)
		free(frame->names[i]);
	free(frame->names);
	free(frame);
}

static void walk_done(struct walk *walk)
{
	while (walk->top)
		frame_pop(walk);
	tdestroy(walk->seen, free);
	cleanup_closep(&walk->fd);
	strbuf_done(&walk->path);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int compare_seen(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return 0;
}

static int frame_add(struct frame *frame, size_t *size, const char *name)
{
	if (frame->n_names == *size) {
		size_t want = *size ? 2 * *size : 16;
		char **names = reallocarray(frame->names, want, sizeof(*names));

		if (!names)
			return -ENOMEM;
		frame->names = names;
		*size = want;
	}

	frame->names[frame->n_names] = strdup(name);
	if (!frame->names[frame->n_names])
		return -ENOMEM;

	frame->n_names++;
	return 0;
}

/* A directory that changes while it is listed may name something twice. */
static void frame_dedupe(struct frame *frame)
{
	size_t n = 0;

	for (size_t i = 0; i < frame->n_names; i++) {
		if (n > 0 && str_eq(frame->names[n - 1], frame->names[i]))
			free(frame->names[i]);
		else
			frame->names[n++] = frame->names[i];
	}
	frame->n_names = n;
}

static int frame_read(struct frame *frame, int fd)
{
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_close_ int copy = -1;
	struct dirent *entry;
	size_t size = 0;
	int r;

	copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (copy < 0 || !(dir = fdopendir(copy)))
		return -errno;
	(void)TAKE_FD(copy); /* the DIR's now */

	while ((errno = 0, entry = readdir(dir))) {
		if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
			continue;
		r = frame_add(frame, &size, entry->d_name);
		if (r < 0)
			return r;
	}
	if (errno != 0)
		return -errno;

	if (frame->n_names > 0)
		qsort(frame->names, frame->n_names, sizeof(*frame->names), compare_names);
	frame_dedupe(frame);
	return 0;
}

/* Goes down into fd, which becomes the walk's. */
static int frame_push(struct walk *walk, int consume_fd, const struct stat *st)
{
	struct frame *frame = calloc(1, sizeof(*frame));

	cleanup_closep(&walk->fd);
	walk->fd = consume_fd;
	if (!frame)
		return -ENOMEM;

	*frame = (struct frame){
		.up = walk->top, .dev = st->st_dev, .ino = st->st_ino, .path_len = walk->path.len
	};
	walk->top = frame;
	return frame_read(frame, walk->fd);
}

static void path_cut(struct strbuf *path, size_t len)
{
	path->len = len;
	if (path->data)
		path->data[len] = '\0';
}

/* Its directory is top's. -ESTALE: it is another one. */
static int frame_take(struct walk *walk, int fd)
{
	_cleanup_close_ int taken = fd;
	struct stat st;

	if (taken < 0 || fstat(taken, &st) < 0)
		return taken < 0 ? taken : -errno;
	if (st.st_dev != walk->top->dev || st.st_ino != walk->top->ino)
		return -ESTALE;

	cleanup_closep(&walk->fd);
	walk->fd = TAKE_FD(taken);
	return 0;
}

static int frame_up(struct walk *walk)
{
	int fd, r;

	for (;;) {
		frame_pop(walk);
		if (!walk->top)
			return 0;

		fd = openat(walk->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = frame_take(walk, fd < 0 ? -errno : fd);
		if (r >= 0 || !walk->live)
			return r;

		/* One of those on the way was moved: by its path from the root, or it is left out. */
		path_cut(&walk->path, walk->top->path_len);
		r = frame_take(walk, walk_live_open(walk->live, walk->path.len > 0 ? walk->path.data : "."));
		if (r >= 0 || !walk->top->up)
			return r;
	}
}

/* Where this inode was met before; remembers it if it was not. */
static int seen_before(struct walk *walk, struct walk_entry *entry)
{
	const size_t size = strlen(entry->path) + 1;
	struct seen *seen, **slot;

	if (S_ISDIR(entry->st.st_mode) || entry->st.st_nlink < 2)
		return 0;

	seen = malloc(sizeof(*seen) + size);
	if (!seen)
		return -ENOMEM;
	seen->dev = entry->st.st_dev;
	seen->ino = entry->st.st_ino;
	memcpy(seen->path, entry->path, size);

	slot = tsearch(seen, &walk->seen, compare_seen);
	if (!slot) {
		free(seen);
		return -ENOMEM;
	}
	if (*slot != seen) {
		free(seen);
		entry->first = (*slot)->path;
	}

	return 0;
}

static int walk_next(struct walk *walk, int (*each)(const struct walk_entry *, void *, struct ct_error *),
        void *userdata, struct ct_error *err)
{
	struct frame *frame = walk->top;
	struct walk_entry entry = { .dirfd = walk->fd, .name = frame->names[frame->next++] };
	int fd, r;

	path_cut(&walk->path, frame->path_len);
	(void)strbuf_printf(&walk->path, "%s%s", frame->path_len > 0 ? "/" : "", entry.name);
	if (walk->path.error < 0)
		return walk->path.error;

	entry.path = walk->path.data;
	if (walk->live)
		walk_live_place(walk->live, walk->fd, &entry);
	if (walk->path.len > WALK_PATH_MAX)
		return walk_error(&entry, -ENAMETOOLONG, "go into", err);

	r = walk->live                                                          ? walk_stat(&entry)
	    : fstatat(walk->fd, entry.name, &entry.st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
	                                                                        : 0;
	/* An overlay lists a directory that only its upper layer has as it is, also the marks of what is
	 * removed (anybody makes one in a native directory), and then has nothing of such a name. */
	if (r == -ENOENT || (r < 0 && walk->live && walk_is_gone(r)))
		return 0;
	if (r < 0)
		return walk_error(&entry, r, "look at", err);

	r = seen_before(walk, &entry);
	if (r < 0)
		return walk_error(&entry, r, "remember", err);

	r = each(&entry, userdata, err);
	if (r != 0 || !S_ISDIR(entry.st.st_mode))
		return r;

	fd = walk_open(&entry, err);
	if (fd < 0)
		return walk->live && walk_is_gone(fd) ? 0 : fd;

	r = frame_push(walk, fd, &entry.st);
	return r < 0 ? walk_error(&entry, r, "list", err) : 0;
}

static int walk_tree(int root_fd, const struct walk_live *live,
        int (*each)(const struct walk_entry *entry, void *userdata, struct ct_error *err), void *userdata,
        struct ct_error *err)
{
	CLEANUP(walk_done) struct walk walk = { .fd = -1, .live = live };
	struct walk_entry root = { .path = ".", .dirfd = root_fd, .name = "." };
	int fd, r;

	if (fstat(root_fd, &root.st) < 0)
		return walk_error(&root, -errno, "look at", err);

	r = each(&root, userdata, err);
	if (r != 0)
		return r;

	fd = walk_open(&root, err);
	if (fd < 0)
		return fd;

	r = frame_push(&walk, fd, &root.st);
	if (r < 0)
		return walk_error(&root, r, "list", err);

	while (walk.top) {
		if (walk.top->next < walk.top->n_names) {
			r = walk_next(&walk, each, userdata, err);
			if (r != 0)
				return r;
			continue;
		}

		r = frame_up(&walk);
		if (r < 0)
			return ct_error_set(
			        err, r, "tree", "the tree changed while it was read: %s", strerror(-r));
	}

	return 0;
}

int tree_walk(int root_fd, int (*each)(const struct walk_entry *entry, void *userdata, struct ct_error *err),
        void *userdata, struct ct_error *err)
{
	return walk_tree(root_fd, NULL, each, userdata, err);
}

int tree_walk_live(const struct walk_live *live,
        int (*each)(const struct walk_entry *entry, void *userdata, struct ct_error *err), void *userdata,
        struct ct_error *err)
{
	return walk_tree(live->root_fd, live, each, userdata, err);
}
