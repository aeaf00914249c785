/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An upper layer after a move.
 *
 * With index and nfs_export, overlayfs notes with each directory of the upper layer the file handle of the
 * lower one that it is merged with (trusted.overlay.origin), and merges only if the two agree. Handles are
 * inode numbers: when a store is copied to another disk, or comes from another host, none agrees. For the
 * root the mount fails with ESTALE, luckily: below, the template's part of each such directory would silently
 * be missing. So all notes are written again, from the names, which is what they once came from:
 *
 * - a directory lies over the one of its name in what its parent lies over, if that is a directory;
 * - unless it is opaque (trusted.overlay.opaque): then over nothing;
 * - or was renamed (trusted.overlay.redirect): then over the path or the sibling that is named there.
 *
 * The form of the note is the kernel's: struct ovl_fb, with the uuid of the lower file system, which user
 * space can ask for in a different way of each file system, if at all. So the kernel is made to write one,
 * for the root, by mounting the overlay; the others are made like it, with type and handle from
 * name_to_handle_at(2). That the root's own comes out the same is checked first.
 *
 * Notes of other files stay: they give inode numbers and are left alone when they lead nowhere. The index is
 * lost, and with it which files of the template were hard links to one that was changed.
 */
#include "quota/rebase.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "base/str.h"
#include "quota/walk.h"

#define ORIGIN   "trusted.overlay.origin"
#define OPAQUE   "trusted.overlay.opaque"
#define REDIRECT "trusted.overlay.redirect"

#define NOTE_MAGIC 0xfb

struct note {
	uint8_t version, magic, len, flags, type;
	uint8_t uuid[16];
	uint8_t handle[MAX_HANDLE_SZ]; /* len counts what there is of it */
} __attribute__((packed));

#define NOTE_HEAD offsetof(struct note, handle)

struct level {
	char *lower; /* path of what the directory lies over, NULL: nothing */
};

struct rebase {
	int lower_fd;
	struct note pattern;
	struct level *levels; /* of the directories from the root to the current one */
	size_t n_levels, levels_size;
};

static void rebase_done(struct rebase *rebase)
{
	for (size_t i = 0; i < rebase->n_levels; i++)
		free(rebase->levels[i].lower);
	free(rebase->levels);
}

/* The note that belongs to a directory of the lower layer. */
static int note_for(const struct rebase *rebase, int fd, struct note *ret)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount_id;

	if (name_to_handle_at(fd, "", &u.handle, &mount_id, AT_EMPTY_PATH) < 0)
		return -errno;

	*ret = rebase->pattern;
	ret->type = (uint8_t)u.handle.handle_type;
	ret->len = (uint8_t)(NOTE_HEAD + u.handle.handle_bytes);
	memcpy(ret->handle, u.handle.f_handle, u.handle.handle_bytes);
	return 0;
}

static int read_pattern(struct rebase *rebase, int upper_fd, struct ct_error *err)
{
	struct note expected;
	ssize_t n;
	int r;

	n = fgetxattr(upper_fd, ORIGIN, &rebase->pattern, sizeof(rebase->pattern));
	if (n < 0)
		return ct_error_set(err, -errno, "rebase", "overlayfs left no note with the upper layer: %s",
		        strerror(errno));

	r = note_for(rebase, rebase->lower_fd, &expected);
	if (r < 0)
		return ct_error_set(
		        err, r, "rebase", "cannot get the handle of the template: %s", strerror(-r));

	if (rebase->pattern.version != 0 || rebase->pattern.magic != NOTE_MAGIC || rebase->pattern.len != n ||
	        expected.len != n || memcmp(&rebase->pattern, &expected, (size_t)n) != 0)
		return ct_error_set(err, -EOPNOTSUPP, "rebase",
		        "this kernel's overlayfs writes notes in a form that is not known here");

	return 0;
}

static int read_text(int fd, const char *name, char **ret)
{
	_cleanup_free_ char *text = malloc(4097);
	ssize_t n;

	*ret = NULL;
	if (!text)
		return -ENOMEM;

	n = fgetxattr(fd, name, text, 4096);
	if (n < 0)
		return errno == ENODATA ? 0 : -errno;

	text[n] = '\0';
	*ret = TAKE_PTR(text);
	return 0;
}

static char *path_join(const char *parent, const char *name)
{
	return str_eq(parent, ".") ? strdup(name) : str_printf("%s/%s", parent, name);
}

/* What the directory lies over by its marks and its parent; NULL: nothing. */
static int lower_of(int fd, const char *parent, const char *name, char **ret)
{
	_cleanup_free_ char *opaque = NULL, *redirect = NULL;
	int r;

	*ret = NULL;
	if ((r = read_text(fd, OPAQUE, &opaque)) < 0 || (r = read_text(fd, REDIRECT, &redirect)) < 0)
		return r;

	if (str_eq(opaque, "y") || (!parent && (!redirect || redirect[0] != '/')))
		return 0;

	if (redirect && redirect[0] == '/')
		*ret = strdup(redirect + strspn(redirect, "/"));
	else
		*ret = path_join(parent, redirect ? redirect : name);

	return *ret ? 0 : -ENOMEM;
}

static int note_set(const struct rebase *rebase, int fd, char **lower)
{
	_cleanup_close_ int lower_fd = -1;
	struct note note;
	int r;

	if (*lower) {
		lower_fd = open_beneath(rebase->lower_fd, *lower, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
		if (lower_fd == -ENOENT || lower_fd == -ENOTDIR || lower_fd == -ELOOP) {
			free(TAKE_PTR(*lower)); /* the tenant's own */
		} else if (lower_fd < 0) {
			return lower_fd;
		}
	}

	if (!*lower)
		return fremovexattr(fd, ORIGIN) < 0 && errno != ENODATA ? -errno : 0;

	r = note_for(rebase, lower_fd, &note);
	if (r < 0)
		return r;

	return fsetxattr(fd, ORIGIN, &note, note.len, 0) < 0 ? -errno : 0;
}

static int level_push(struct rebase *rebase, size_t depth, char *consume_lower)
{
	while (rebase->n_levels > depth)
		free(rebase->levels[--rebase->n_levels].lower);

	if (rebase->n_levels == rebase->levels_size) {
		size_t size = rebase->levels_size ? 2 * rebase->levels_size : 32;
		struct level *levels = reallocarray(rebase->levels, size, sizeof(*levels));

		if (!levels) {
			free(consume_lower);
			return -ENOMEM;
		}
		rebase->levels = levels;
		rebase->levels_size = size;
	}

	rebase->levels[rebase->n_levels++] = (struct level){ .lower = consume_lower };
	return 0;
}

static size_t depth_of(const char *path)
{
	size_t depth = 1;

	for (const char *p = path; (p = strchr(p, '/')); p++)
		depth++;

	return depth;
}

static int mark_entry(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	struct rebase *rebase = userdata;
	_cleanup_free_ char *lower = NULL;
	_cleanup_close_ int fd = -1;
	size_t depth;
	int r;

	if (!S_ISDIR(entry->st.st_mode) || str_eq(entry->path, "."))
		return 0;

	fd = walk_open(entry, err);
	if (fd < 0)
		return fd;

	depth = depth_of(entry->path);
	r = lower_of(fd, rebase->levels[depth - 1].lower, entry->name, &lower);
	if (r == 0)
		r = note_set(rebase, fd, &lower);
	if (r == 0)
		r = level_push(rebase, depth, TAKE_PTR(lower));

	return r < 0 ? walk_error(entry, r, "mark", err) : 0;
}

int rebase_mark(int upper_fd, int lower_fd, struct ct_error *err)
{
	CLEANUP(rebase_done) struct rebase rebase = { .lower_fd = lower_fd };
	_cleanup_free_ char *root = strdup(".");
	int r;

	if (!root || level_push(&rebase, 0, TAKE_PTR(root)) < 0)
		return ct_error_set(err, -ENOMEM, "rebase", "out of memory");

	r = read_pattern(&rebase, upper_fd, err);
	if (r < 0)
		return r;

	return tree_walk(upper_fd, mark_entry, &rebase, err);
}

int rebase_forget(int upper_fd, int parent_fd, struct ct_error *err)
{
	int r;

	r = remove_tree_at(parent_fd, "work");
	if (r == 0 && mkdirat(parent_fd, "work", 0700) < 0)
		r = -errno;
	if (r < 0)
		return ct_error_set(
		        err, r, "rebase", "cannot empty the work directory of the disk: %s", strerror(-r));

	if (fremovexattr(upper_fd, ORIGIN) < 0 && errno != ENODATA)
		return ct_error_set(err, -errno, "rebase", "cannot remove a note from the upper layer: %s",
		        strerror(errno));

	return 0;
}
