/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing what an archive says, without believing it.
 *
 * The attack is a name that leads somewhere else: "..", an absolute name, a name below a symbolic link that
 * an earlier entry made, a hard link to /etc/shadow. libarchive's own writer has checks for these and has had
 * holes in them; here there is one rule instead. The directory that an object goes into is opened by one
 * openat2(2) from the root with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, and the object is made in it under a
 * single component, with calls that do not follow a link there. Files are made with O_EXCL after what was
 * there is unlinked, so nothing is written through a link or into a file that is linked elsewhere.
 *
 * A directory is never replaced by something else, so one that was opened stays the one at its path.
 *
 * Order matters for each object: data, owner (clears setuid and capabilities), attributes (an unprivileged
 * extractor may set them only while it can write), mode, time. Directories get their time at the end, when
 * nothing is made in them any more.
 */
#include "quota/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/path.h"

#define UNPACK_PATH_MAX        4095
#define UNPACK_DIRECTORIES_MAX (256 * 1024 * 1024) /* bytes of remembered directories */
#define UNPACK_PARENT_MODE     0755

struct unpack_directory {
	struct timespec mtime;
	mode_t mode;
	size_t nth; /* of several entries for one directory the last counts */
	char *path;
};

void unpack_done(struct unpack *u)
{
	cleanup_closep(&u->parent_fd);
	free(u->parent_path);
	for (size_t i = 0; i < u->n_directories; i++)
		free(u->directories[i].path);
	free(u->directories);
	*u = UNPACK_INIT(-1);
}

int unpack_error(const char *path, int code, const char *what, struct ct_error *err)
{
	char shown[256];

	(void)str_escape_to(shown, sizeof(shown), path, strlen(path));
	if (code == -ELOOP)
		return ct_error_set(err, code, "extract",
		        "the archive writes \"%s\" through a symbolic link; this is refused", shown);

	return ct_error_set(err, code, "extract", "cannot %s \"%s\": %s", what, shown, strerror(-code));
}

static int refuse_name(const char *raw, const char *why, struct ct_error *err)
{
	char shown[256];

	return ct_error_kind_set(err, CT_ERROR_REFUSED, -EINVAL,
	        "the archive holds the name \"%s\", which %s; this is refused",
	        str_escape_to(shown, sizeof(shown), raw, strlen(raw)), why);
}

int unpack_normalize(const char *raw, char **ret, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;
	size_t n;

	if (!raw || !*raw)
		return refuse_name("", "is empty or no UTF-8", err);
	if (raw[0] == '/')
		return refuse_name(raw, "is absolute", err);

	for (const char *p = raw; *p; p += n) {
		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n == 0 || (n == 1 && p[0] == '.'))
			continue;
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return refuse_name(raw, "leads out of its directory", err);
		if (n > NAME_MAX || path.len + n + 1 > UNPACK_PATH_MAX)
			return refuse_name(raw, "is too long", err);

		if (path.len > 0)
			(void)strbuf_putc(&path, '/');
		(void)strbuf_add(&path, p, n);
	}

	if (path.len == 0)
		(void)strbuf_putc(&path, '.');
	if (path.error < 0)
		return ct_error_set(err, -ENOMEM, "extract", "out of memory");

	*ret = strbuf_take(&path);
	return 0;
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Makes the directory at path and those above it, one at a time from where one is there already. */
static int make_parents(struct unpack *u, char *path)
{
	int fd;

	for (char *slash = path;; *slash = '/') {
		slash = strchr(slash == path ? path : slash + 1, '/');
		if (slash)
			*slash = '\0';

		_cleanup_close_ int parent = -1;
		const char *base = base_of(path);
		_cleanup_free_ char *up =
		        base > path ? strndup(path, (size_t)(base - path - 1)) : strdup(".");

		if (!up)
			return -ENOMEM;
		parent = open_beneath(u->root_fd, up, O_RDONLY | O_DIRECTORY, 0);
		if (parent < 0)
			return parent;
		if (mkdirat(parent, base, UNPACK_PARENT_MODE) < 0 && errno != EEXIST)
			return -errno;
		if (!slash)
			break;
	}

	fd = open_beneath(u->root_fd, path, O_RDONLY | O_DIRECTORY, 0);
	return fd;
}

/* The directory for path, kept open for the next of its objects. */
static int unpack_parent(struct unpack *u, const char *path)
{
	const char *base = base_of(path);
	_cleanup_free_ char *parent = NULL;
	int fd;

	parent = base > path ? strndup(path, (size_t)(base - path - 1)) : strdup(".");
	if (!parent)
		return -ENOMEM;

	if (u->parent_fd >= 0 && str_eq(u->parent_path, parent))
		return u->parent_fd;

	fd = open_beneath(u->root_fd, parent, O_RDONLY | O_DIRECTORY, 0);
	if (fd == -ENOENT)
		fd = make_parents(u, parent);
	if (fd < 0)
		return fd;

	cleanup_closep(&u->parent_fd);
	free(u->parent_path);
	u->parent_fd = fd;
	u->parent_path = TAKE_PTR(parent);
	return fd;
}

/* Makes room for path in its parent: an earlier object of that name goes. */
static int unpack_place(struct unpack *u, const char *path, struct ct_error *err)
{
	int fd;

	if (str_eq(path, "."))
		return ct_error_set(
		        err, -EINVAL, "extract", "the archive's root is not a directory; this is refused");

	fd = unpack_parent(u, path);
	if (fd < 0)
		return unpack_error(path, fd, "make the directory of", err);

	if (unlinkat(fd, base_of(path), 0) < 0 && errno != ENOENT)
		return unpack_error(path, -errno, "replace", err);

	return fd;
}

int unpack_directory(struct unpack *u, const char *path, int *ret_fd, struct ct_error *err)
{
	struct stat st;
	int fd, parent;

	if (!str_eq(path, ".")) {
		parent = unpack_parent(u, path);
		if (parent < 0)
			return unpack_error(path, parent, "make the directory of", err);

		if (fstatat(parent, base_of(path), &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode) &&
		        unlinkat(parent, base_of(path), 0) < 0)
			return unpack_error(path, -errno, "replace", err);

		if (mkdirat(parent, base_of(path), UNPACK_PARENT_MODE) < 0 && errno != EEXIST)
			return unpack_error(path, -errno, "make the directory", err);
	}

	fd = open_beneath(u->root_fd, path, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return unpack_error(path, fd, "open the directory", err);

	*ret_fd = fd;
	return 0;
}

int unpack_file(struct unpack *u, const char *path, int *ret_fd, struct ct_error *err)
{
	int fd, parent;

	parent = unpack_place(u, path, err);
	if (parent < 0)
		return parent;

	fd = openat(parent, base_of(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return unpack_error(path, -errno, "make the file", err);

	*ret_fd = fd;
	return 0;
}

static int apply_nofollow(int parent, const char *path, const struct unpack_meta *meta, struct ct_error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, meta->mtime };
	const char *base = base_of(path);

	if (fchownat(parent, base, meta->uid, meta->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return unpack_error(path, -errno, "set the owner of", err);

	if (!S_ISLNK(meta->mode) && fchmodat(parent, base, meta->mode & 07777, 0) < 0)
		return unpack_error(path, -errno, "set the mode of", err);

	if (utimensat(parent, base, times, AT_SYMLINK_NOFOLLOW) < 0)
		return unpack_error(path, -errno, "set the time of", err);

	return 0;
}

int unpack_fifo(struct unpack *u, const char *path, const struct unpack_meta *meta, struct ct_error *err)
{
	int parent;

	parent = unpack_place(u, path, err);
	if (parent < 0)
		return parent;

	if (mkfifoat(parent, base_of(path), 0600) < 0)
		return unpack_error(path, -errno, "make the fifo", err);

	return apply_nofollow(parent, path, meta, err);
}

int unpack_node(struct unpack *u, const char *path, const struct unpack_meta *meta, struct ct_error *err)
{
	int parent;

	parent = unpack_place(u, path, err);
	if (parent < 0)
		return parent;

	if (mknodat(parent, base_of(path), (meta->mode & S_IFMT) | 0600, 0) < 0)
		return unpack_error(path, -errno, "make again", err);

	return apply_nofollow(parent, path, meta, err);
}

int unpack_symlink(struct unpack *u, const char *path, const char *target, const struct unpack_meta *meta,
        struct ct_error *err)
{
	int parent;

	parent = unpack_place(u, path, err);
	if (parent < 0)
		return parent;

	if (symlinkat(target, parent, base_of(path)) < 0)
		return unpack_error(path, -errno, "make the symbolic link", err);

	return apply_nofollow(parent, path, meta, err);
}

int unpack_hardlink(struct unpack *u, const char *path, const char *target, struct ct_error *err)
{
	const char *base = base_of(target);
	_cleanup_free_ char *up = NULL;
	_cleanup_close_ int from = -1;
	struct stat st;
	int parent;

	if (str_eq(path, target))
		return ct_error_set(
		        err, -EINVAL, "extract", "the archive links a file to itself; this is refused");

	up = base > target ? strndup(target, (size_t)(base - target - 1)) : strdup(".");
	if (!up)
		return ct_error_set(err, -ENOMEM, "extract", "out of memory");

	from = open_beneath(u->root_fd, up, O_RDONLY | O_DIRECTORY, 0);
	if (from < 0)
		return unpack_error(target, from, "find what is linked to,", err);
	if (fstatat(from, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return unpack_error(target, -errno, "find what is linked to,", err);
	if (S_ISDIR(st.st_mode))
		return unpack_error(target, -EPERM, "make a hard link to the directory", err);

	parent = unpack_place(u, path, err);
	if (parent < 0)
		return parent;

	if (linkat(from, base, parent, base_of(path), 0) < 0)
		return unpack_error(path, -errno, "make the hard link", err);

	return 0;
}

int unpack_own(int fd, const char *path, const struct unpack_meta *meta, struct ct_error *err)
{
	if (fchown(fd, meta->uid, meta->gid) < 0)
		return unpack_error(path, -errno, "set the owner of", err);

	return 0;
}

static int remember_directory(struct unpack *u, const char *path, const struct unpack_meta *meta)
{
	u->directories_bytes += sizeof(*u->directories) + strlen(path) + 1;
	if (u->directories_bytes > UNPACK_DIRECTORIES_MAX)
		return -E2BIG;

	if (u->n_directories == u->directories_size) {
		size_t size = u->directories_size ? 2 * u->directories_size : 256;
		struct unpack_directory *directories =
		        reallocarray(u->directories, size, sizeof(*directories));

		if (!directories)
			return -ENOMEM;
		u->directories = directories;
		u->directories_size = size;
	}

	u->directories[u->n_directories] = (struct unpack_directory){
		.mtime = meta->mtime,
		.mode = meta->mode,
		.nth = u->n_directories,
		.path = strdup(path),
	};
	if (!u->directories[u->n_directories].path)
		return -ENOMEM;

	u->n_directories++;
	return 0;
}

static int set_mode_and_time(
        int fd, const char *path, mode_t mode, const struct timespec *mtime, struct ct_error *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, *mtime };

	if (fchmod(fd, mode & 07777) < 0)
		return unpack_error(path, -errno, "set the mode of", err);

	return futimens(fd, times) < 0 ? unpack_error(path, -errno, "set the time of", err) : 0;
}

int unpack_seal(
        struct unpack *u, int fd, const char *path, const struct unpack_meta *meta, struct ct_error *err)
{
	int r;

	if (!S_ISDIR(meta->mode))
		return set_mode_and_time(fd, path, meta->mode, &meta->mtime, err);

	r = remember_directory(u, path, meta);
	return r < 0 ? unpack_error(path, r, "remember the directory", err) : 0;
}

/* What lies in a directory before it, the last entry for it before the others. */
static int compare_directories(const void *a, const void *b)
{
	const struct unpack_directory *x = a, *y = b;
	int r = strcmp(y->path, x->path);

	return r != 0 ? r : (x->nth < y->nth) - (x->nth > y->nth);
}

int unpack_finish(struct unpack *u, struct ct_error *err)
{
	int r;

	if (u->n_directories > 1)
		qsort(u->directories, u->n_directories, sizeof(*u->directories), compare_directories);

	for (size_t i = 0; i < u->n_directories; i++) {
		const struct unpack_directory *d = &u->directories[i];
		_cleanup_close_ int fd = -1;

		if (i > 0 && str_eq(d->path, d[-1].path))
			continue;

		fd = open_beneath(u->root_fd, d->path, O_RDONLY | O_DIRECTORY, 0);
		if (fd < 0)
			return unpack_error(d->path, fd, "open the directory", err);

		r = set_mode_and_time(fd, d->path, d->mode, &d->mtime, err);
		if (r < 0)
			return r;
	}

	return 0;
}
