/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Native directories: parts of the upper layer that a container gets as they are, past the overlay.
 *
 * An overlay passes each open, create and rename on to the layer below it, at up to twice the cost. Where a
 * directory of the upper layer is all that there is to see (it is *pure*), a mount of the directory itself
 * shows the same tree, and the overlay is asked for nothing below. The layers stay what they are: the next
 * mount may be without, and whoever mounts the overlay alone (a move, an export) sees all of it.
 *
 * Pure is what overlayfs has marked opaque (trusted.overlay.opaque: nothing of the template is below), which
 * it does with each directory that is made in one that is merged, and which holds no directory that is merged
 * itself: with redirect_dir one that comes out of the template may be moved into it, and has the mark
 * trusted.overlay.redirect then. Nor a whiteout. To look for those takes a walk, so which directories have
 * been looked at is noted, and the note holds as long as each run has them native: what is moved into a mount
 * from outside is copied. It says which inode it was: a tenant may rename a directory above the mount, and
 * put another one at the path.
 *
 * Only a tenant who takes the mount away (a start locks it, a resume cannot) and then moves directories of
 * the template to what was below can make the note wrong, and sees the template's part of them missing then.
 *
 * What is looked at belongs to a tenant who does not run: it cannot change between the look and the mount.
 *
 * Past the overlay the tenant has the file system's own ioctls. Those of ext4 and xfs ask for capabilities
 * where it matters. Those of btrfs and the like do not: whoever owns a directory makes subvolumes, and
 * read-only ones, which no destroy empties; and before December 2023 (Linux 6.7) a snapshot of all that the
 * subvolume of a file of his has in it, the host's files and other tenants' among them.
 */
#include "quota/native.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "quota/xattr.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define OPAQUE      "trusted.overlay.opaque"
#define REDIRECT    "trusted.overlay.redirect"
#define ENTRIES_MAX 4096                  /* of a directory that is looked at, with all below */
#define LOOK_USEC   (250 * USEC_PER_MSEC) /* for all of a start together: a tenant may have made them slow */
#define LOOK_CPU    (30 * USEC_PER_MSEC)  /* likewise, of the processor: a busy host makes nothing impure */
#define DEPTH_MAX   16
#define NOTE_MAX    16384

/* Not /tmp: where a guest has a tmpfs there (tmp.mount of systemd is on in Debian 13, Fedora and others),
 * systemd would take ours for it, and /tmp be neither emptied at a start nor counted as memory. */
const char *const disk_natives_default[] = { "/home", "/srv", "/opt", "/var/tmp", "/var/www", "/var/mail",
	"/var/vmail", "/var/lib/mysql", "/var/lib/postgresql", "/var/lib/redis", "/var/lib/mongodb",
	"/var/lib/docker", "/var/lib/containers", NULL };

/* What has parts of the host, of ours or of the template in it, or is written to while the container runs
 * (guest.c: keys of root). */
static const char *const never[] = { "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc",
	"/root", "/run", "/sbin", "/sys", "/usr", "/var/run" };

static bool is_below(const char *path, const char *above)
{
	return str_has_prefix(path, above) && (path[strlen(above)] == '/' || !path[strlen(above)]);
}

bool disk_native_may_be(const char *path)
{
	const size_t len = strlen(path);

	if (len < 2 || len > 200 || path[0] != '/' || path[len - 1] == '/' || strstr(path, "//") ||
	        !str_is_printable(path) || strchr(path, ' '))
		return false;
	for (const char *at = path; at; at = strchr(at + 1, '/'))
		if (is_below(at, "/.") || is_below(at, "/.."))
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(never); i++)
		if (is_below(path, never[i]))
			return false;
	return true;
}

void disk_natives_done(struct disk_natives *natives)
{
	for (size_t i = 0; i < natives->n; i++)
		(void)fd_close(natives->items[i].fd);
	natives->n = 0;
}

/* ---- at creation */

static bool is_empty(int fd)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
			return false;
	return dir;
}

/* As overlayfs does when it copies a directory up. */
static int make_like(int fd, int like, bool opaque)
{
	CLEANUP(xattrs_done) struct xattrs xattrs = { 0 };
	struct stat st;
	int r;

	if (opaque && fsetxattr(fd, OPAQUE, "y", 1, 0) < 0)
		return -errno;
	if (fstat(like, &st) < 0 || fchown(fd, st.st_uid, st.st_gid) < 0 ||
	        fchmod(fd, st.st_mode & 07777) < 0)
		return -errno;
	r = xattrs_read(like, &xattrs);
	for (size_t i = 0; r >= 0 && i < xattrs.n; i++)
		if (fsetxattr(fd, xattrs.items[i].name, xattrs.items[i].value, xattrs.items[i].size, 0) < 0)
			r = -errno;
	if (r >= 0 && futimens(fd, (const struct timespec[]){ st.st_atim, st.st_mtim }) < 0)
		r = -errno;
	return r;
}

/* upper/name like lower/name; what cannot be finished is taken away. Returns an fd. */
static int make_one(int upper, int lower, const char *name, bool opaque)
{
	_cleanup_close_ int like = open_beneath(lower, name, O_RDONLY | O_DIRECTORY, 0), fd = -1;
	int r;

	if (like < 0)
		return like;
	if (mkdirat(upper, name, 0700) < 0)
		return -errno;
	fd = open_beneath(upper, name, O_RDONLY | O_DIRECTORY, 0);
	r = fd < 0 ? fd : make_like(fd, like, opaque);
	if (r < 0) {
		(void)unlinkat(upper, name, AT_REMOVEDIR); /* empty, and ours */
		return r;
	}
	return TAKE_FD(fd);
}

static int make_path(int upper_fd, int lower_fd, const char *path)
{
	char above[256] = "."; /* fits: disk_native_may_be */
	const char *name = path + 1;

	for (const char *slash; (slash = strchr(name, '/')); name = slash + 1) {
		_cleanup_close_ int upper = -1, lower = -1, made = -1;
		char part[256];

		(void)snprintf(part, sizeof(part), "%.*s", (int)(slash - name), name);
		upper = open_beneath(upper_fd, above, O_RDONLY | O_DIRECTORY, 0);
		lower = open_beneath(lower_fd, above, O_RDONLY | O_DIRECTORY, 0);
		if (upper < 0 || lower < 0)
			return upper < 0 ? upper : lower;
		made = make_one(upper, lower, part, false);
		if (made < 0 && made != -EEXIST)
			return made;
		(void)snprintf(above, sizeof(above), "%.*s", (int)(slash - path - 1), path + 1);
	}

	_cleanup_close_ int upper = open_beneath(upper_fd, above, O_RDONLY | O_DIRECTORY, 0);
	_cleanup_close_ int lower = open_beneath(lower_fd, above, O_RDONLY | O_DIRECTORY, 0);

	if (upper < 0 || lower < 0)
		return upper < 0 ? upper : lower;
	return make_one(upper, lower, name, true);
}

int native_make(int upper_fd, int template_root_fd, int dirfd, const char *const *paths, struct ct_error *err)
{
	CLEANUP(disk_natives_done) struct disk_natives made = { 0 };

	for (; paths && *paths && made.n < DISK_NATIVES_MAX; paths++) {
		_cleanup_close_ int like =
		        open_beneath(template_root_fd, *paths + 1, O_RDONLY | O_DIRECTORY, 0);
		int fd;

		if (like < 0 || !is_empty(like))
			continue;
		fd = make_path(upper_fd, template_root_fd, *paths);
		if (fd == -EEXIST || fd == -EDQUOT || fd == -ENOSPC || fd == -EOPNOTSUPP)
			continue;
		if (fd < 0)
			return ct_error_set(err, fd, "disk",
			        "cannot make the directory \"%s\" of the upper layer: %s", *paths,
			        strerror(-fd));
		made.items[made.n++] = (struct disk_native){ *paths, fd };
	}
	return native_note(dirfd, &made, err);
}

/* ---- at a start */

static bool has_redirect(int fd)
{
	return fgetxattr(fd, REDIRECT, NULL, 0) >= 0 || errno != ENODATA;
}

struct look {
	unsigned int entries; /* of one of the paths */
	uint64_t until_usec, cpu_until_usec;
};

static uint64_t cpu_usec(void)
{
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); /* cannot fail */
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / 1000;
}

/* No directory in it is merged, nothing hidden. Too much to look at counts as impure. */
static bool is_pure_below(int fd, unsigned int depth, struct look *look)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;

	if (!dir || has_redirect(fd) || depth == DEPTH_MAX || now_monotonic_usec() > look->until_usec ||
	        cpu_usec() > look->cpu_until_usec)
		return false;
	while ((errno = 0, e = readdir(dir))) {
		_cleanup_close_ int sub = -1;

		if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		if (++look->entries > ENTRIES_MAX || e->d_type == DT_CHR || e->d_type == DT_UNKNOWN)
			return false;
		if (e->d_type != DT_DIR)
			continue;
		sub = open_beneath(fd, e->d_name, O_RDONLY | O_DIRECTORY, 0);
		if (sub < 0 || !is_pure_below(sub, depth + 1, look))
			return false;
	}
	return errno == 0;
}

static bool is_opaque(int fd)
{
	char value[2];

	return fgetxattr(fd, OPAQUE, value, sizeof(value)) == 1 && value[0] == 'y';
}

/* Nothing of the template is below: it is opaque, or what is above it is (overlayfs marks only what is made
 * in a directory that is merged), and no name on the way leads to another place of the template. */
static bool is_alone(int upper_fd, const char *path)
{
	bool alone = false;

	for (const char *end = path; end;) {
		_cleanup_close_ int fd = -1;
		char part[256]; /* fits: disk_native_may_be */

		end = strchr(end + 1, '/');
		(void)snprintf(part, sizeof(part), "%.*s",
		        (int)(end ? end - path - 1 : (ssize_t)strlen(path) - 1), path + 1);
		fd = open_beneath(upper_fd, part, O_RDONLY | O_DIRECTORY, 0);
		if (fd < 0)
			return false;
		alone = !has_redirect(fd) && (alone || is_opaque(fd));
	}
	return alone;
}

/* A line of the note: the path, which has no blanks, and the inode; "" if it cannot be said. */
static void note_line(char line[256], const char *path, int fd)
{
	struct stat st;

	line[0] = '\0';
	if (fstat(fd, &st) == 0)
		(void)snprintf(
		        line, 256, "%s %ju\n", path, (uintmax_t)st.st_ino); /* disk_native_may_be: it fits */
}

static bool is_noted(const char *note, const char *path, int fd)
{
	char line[256];

	note_line(line, path, fd);
	for (const char *at = *line ? note : NULL; at && (at = strstr(at, line)); at++)
		if (at == note || at[-1] == '\n')
			return true;
	return false;
}

static bool may_be_shown(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return false;
	return st.f_type == EXT4_SUPER_MAGIC || st.f_type == XFS_SUPER_MAGIC || st.f_type == TMPFS_MAGIC;
}

static bool is_in(const struct disk_natives *natives, const char *path)
{
	for (size_t i = 0; i < natives->n; i++)
		if (is_below(path, natives->items[i].path))
			return true;
	return false;
}

void native_find(int upper_fd, int dirfd, const char *const *paths, struct disk_natives *ret)
{
	_cleanup_free_ char *note = NULL;
	struct look look = { .until_usec = now_monotonic_usec() + LOOK_USEC,
		.cpu_until_usec = cpu_usec() + LOOK_CPU };

	disk_natives_done(ret);
	if (!may_be_shown(upper_fd))
		return;
	(void)read_file_at(dirfd, NATIVE_NOTE, NOTE_MAX, &note, NULL); /* none: all are looked at */
	for (; paths && *paths && ret->n < DISK_NATIVES_MAX; paths++) {
		_cleanup_close_ int fd = -1;

		look.entries = 0;
		if (is_in(ret, *paths))
			continue;
		fd = open_beneath(upper_fd, *paths + 1, O_RDONLY | O_DIRECTORY, 0);
		if (fd < 0 || !is_alone(upper_fd, *paths))
			continue;
		if (!is_noted(note, *paths, fd) && !is_pure_below(fd, 0, &look))
			continue;
		ret->items[ret->n++] = (struct disk_native){ *paths, TAKE_FD(fd) };
	}
}

int native_note(int dirfd, const struct disk_natives *natives, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	_cleanup_free_ char *before = NULL;
	_cleanup_close_ int fd = -1;
	int r = 0;

	for (size_t i = 0; r >= 0 && i < natives->n; i++) {
		char line[256];

		note_line(line, natives->items[i].path, natives->items[i].fd);
		r = strbuf_puts(&text, line);
	}
	if (r < 0)
		return ct_error_set(err, r, "disk", "out of memory");
	(void)read_file_at(dirfd, NATIVE_NOTE, NOTE_MAX, &before, NULL);
	if (str_eq(before ?: "", text.data ?: ""))
		return 0;

	/* In place: who pays for its block stays who paid. Cut short by a power loss, it says less. */
	fd = openat(dirfd, NATIVE_NOTE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = fd < 0 ? -errno : write_all(fd, text.data ?: "", text.len);
	if (r >= 0 && !str_empty(before) && fdatasync(fd) < 0)
		r = -errno;
	if (r == -ENOSPC || r == -EDQUOT)
		return 0; /* empty: all are looked at again */
	return r < 0 ? ct_error_set(err, r, "disk", "cannot note the native directories: %s", strerror(-r))
	             : 0;
}

int native_note_copy(int from_upper_fd, int from_dirfd, int to_upper_fd, int to_dirfd, struct ct_error *err)
{
	CLEANUP(disk_natives_done) struct disk_natives copied = { 0 };
	_cleanup_free_ char *note = NULL, *lines = NULL;
	char *rest, *path;

	if (read_file_at(from_dirfd, NATIVE_NOTE, NOTE_MAX, &note, NULL) < 0)
		return 0; /* there is none: the copy will be looked at */
	rest = lines = strdup(note);
	while (rest && (path = strsep(&rest, "\n")) && *path && copied.n < DISK_NATIVES_MAX) {
		_cleanup_close_ int from = -1, to = -1;

		path[strcspn(path, " ")] = '\0';
		if (!disk_native_may_be(path))
			continue;
		from = open_beneath(from_upper_fd, path + 1, O_RDONLY | O_DIRECTORY, 0);
		to = open_beneath(to_upper_fd, path + 1, O_RDONLY | O_DIRECTORY, 0);
		if (from >= 0 && to >= 0 && is_noted(note, path, from))
			copied.items[copied.n++] = (struct disk_native){ path, TAKE_FD(to) };
	}
	return native_note(to_dirfd, &copied, err);
}
