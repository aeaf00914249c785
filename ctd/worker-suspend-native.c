/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disk of a container that is suspended and resumed, its native directories above all.
 *
 * To CRIU they are mounts from outside: the images have a name for each ("native/PATH"), and at the restore
 * it is told what that stands for. Which of them a container has is seen in its mounts, and noted with the
 * images, since it must have the same when it is resumed: its open files say in which mount they are. Whether
 * they can be native there is asked of the disk again, by its own rules; where one cannot, after a move to
 * a node with another configuration, a mount of the overlay's directory takes its place.
 *
 * A native directory is seen in the mounts as P/upper/PATH of a file system, mounted on /PATH. What a tenant
 * has bound himself may look like that, but then lies in one that is: the shortest P is the true one. Not so
 * what he binds out of a tmpfs, so only what a store or an image can be counts.
 */
#include "ctd/worker-suspend-native.h"
#include "ctd/worker-suspend-notes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#define NOTE       "ctd-natives"
#define NOTE_MAX   16384
#define MOUNTS_MAX (1024 * 1024)
#define LAYER      "/upper"

void suspend_natives_done(struct suspend_natives *natives)
{
	for (size_t i = 0; i < DISK_NATIVES_MAX; i++)
		free(natives->externals[i]);
	free(natives->text);
	free(natives->mounts);
	*natives = (struct suspend_natives){ 0 };
}

/* One line of mountinfo. */
struct line {
	char *device, *root, *point, *type;
};

static bool split(char *text, struct line *ret)
{
	char *tail = strstr(text, " - ");

	(void)strsep(&text, " "); /* ids */
	(void)strsep(&text, " ");
	ret->device = strsep(&text, " ");
	ret->root = strsep(&text, " ");
	ret->point = strsep(&text, " ");
	tail = tail ? tail + 3 : NULL;
	ret->type = strsep(&tail, " ");
	return ret->point && ret->type;
}

/* The length of P, -1: it is none. */
static ssize_t is_native(const struct line *l)
{
	const size_t root = strlen(l->root), point = strlen(l->point), layer = strlen(LAYER);

	if ((!str_eq(l->type, "ext4") && !str_eq(l->type, "xfs")) || !disk_native_may_be(l->point) ||
	        root < point + layer || !str_eq(l->root + root - point, l->point) ||
	        strncmp(l->root + root - point - layer, LAYER, layer) != 0)
		return -1;
	return (ssize_t)(root - point - layer);
}

/* CRIU knows a mount from outside by its mount point, and takes for it all that is mounted there: what covers
 * a native directory would not be saved, and come back as the directory. In init's own namespace there is no
 * need of that; of others see criu-mounts.c. */
static int check_covers(const char *path, const struct suspend_natives *natives, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	char *rest, *one;
	int r = read_file_at(AT_FDCWD, path, MOUNTS_MAX, &text, NULL);

	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot read its mounts: %s", strerror(-r));
	rest = text;
	while ((one = strsep(&rest, "\n")) && *one) {
		struct line l;
		bool whole = split(one, &l);

		for (size_t i = 0; whole && i < natives->n; i++)
			if (str_eq(l.point, natives->paths[i]) &&
			        (!str_eq(l.device, natives->is[i].device) ||
			                !str_eq(l.root, natives->is[i].root)))
				return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBUSY,
				        "what is mounted on \"%.200s\" inside would be lost (unmount it)",
				        l.point);
	}
	return 0;
}

int suspend_natives_list(pid_t pid, struct suspend_natives *ret, struct ct_error *err)
{
	ssize_t lengths[DISK_NATIVES_MAX], shortest = MOUNTS_MAX;
	size_t found = 0;
	char path[40], *rest, *text;
	int r;

	*ret = (struct suspend_natives){ 0 };
	(void)snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
	r = read_file_at(AT_FDCWD, path, MOUNTS_MAX, &ret->text, NULL);
	if (r < 0)
		return ct_error_set(err, r, "suspend", "cannot read its mounts: %s", strerror(-r));

	rest = ret->text;
	while ((text = strsep(&rest, "\n")) && *text && found < DISK_NATIVES_MAX) {
		struct line l;
		ssize_t length = split(text, &l) ? is_native(&l) : -1;

		if (length < 0)
			continue;
		shortest = length < shortest ? length : shortest;
		lengths[found] = length;
		ret->is[found] =
		        (struct restore_native){ .device = l.device, .root = l.root, .point = l.point };
		ret->paths[found++] = l.point;
	}
	for (size_t i = 0; i < found; i++)
		if (lengths[i] == shortest) {
			ret->is[ret->n] = ret->is[i];
			ret->paths[ret->n++] = ret->paths[i];
		}
	ret->paths[ret->n] = NULL;
	return check_covers(path, ret, err);
}

static int add_external(struct suspend_natives *natives, size_t i, char *text, struct criu_request *request,
        struct ct_error *err)
{
	natives->externals[i] = text;
	if (!text || request->n_external == CRIU_LIST_MAX)
		return ct_error_set(err, -ENOMEM, "criu", "out of memory");
	request->external[request->n_external++] = text;
	return 0;
}

int suspend_natives_dump(
        int images_fd, struct suspend_natives *natives, struct criu_request *request, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf note = STRBUF_INIT;
	int r;

	for (size_t i = 0; i < natives->n; i++)
		(void)strbuf_printf(&note, "%s\n", natives->paths[i]);
	r = suspend_note_write(images_fd, NOTE, &note, err);
	for (size_t i = 0; r >= 0 && i < natives->n; i++)
		r = add_external(natives, i,
		        str_printf("mnt[%s]:" CRIU_NATIVE "%s", natives->paths[i], natives->paths[i]),
		        request, err);
	return r;
}

int suspend_natives_read(int images_fd, struct suspend_natives *ret, struct ct_error *err)
{
	char *rest, *path;
	int r;

	*ret = (struct suspend_natives){ 0 };
	r = suspend_note_read(images_fd, NOTE, NOTE_MAX, &ret->text, err);
	if (r < 0)
		return r;
	rest = ret->text;
	while ((path = strsep(&rest, "\n")) && *path) {
		if (ret->n == DISK_NATIVES_MAX || !disk_native_may_be(path))
			return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBADMSG,
			        "its images want what no directory of a container is");
		ret->paths[ret->n++] = path;
	}
	ret->paths[ret->n] = NULL;
	return 0;
}

/* The fd of the native directory, else of a clone of the overlay's. */
static int take_one(const char *root, const char *path, struct disk_natives *natives)
{
	_cleanup_close_ int dir = -1, inside = -1;

	for (size_t i = 0; i < natives->n; i++)
		if (str_eq(natives->items[i].path, path))
			return TAKE_FD(natives->items[i].fd);
	dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	inside = dir < 0 ? -errno : open_beneath(dir, path + 1, O_PATH | O_DIRECTORY, 0);
	if (inside < 0)
		return inside;
	dir = fd_close(dir);
	dir = open_tree(inside, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	return dir < 0 ? -errno : TAKE_FD(dir);
}

/* What is mounted at each place, as the audit will see it. */
static int see_places(const char *dir, struct suspend_natives *want)
{
	char *rest, *text;
	const size_t len = strlen(dir);
	int r;

	r = read_file_at(AT_FDCWD, "/proc/self/mountinfo", MOUNTS_MAX, &want->mounts, NULL);
	if (r < 0)
		return r;
	rest = want->mounts;
	while ((text = strsep(&rest, "\n")) && *text) {
		struct line l;
		size_t i;

		if (!split(text, &l) || !str_has_prefix(l.point, dir) || l.point[len] != '/')
			continue;
		i = strtoul(l.point + len + 1, NULL, 10);
		if (i >= want->n)
			continue;
		want->is[i] = (struct restore_native){
			.device = l.device, .root = l.root, .point = want->paths[i]
		};
	}
	return 0;
}

int suspend_natives_place(const char *dir, const char *root, struct disk_natives *natives,
        struct suspend_natives *want, struct criu_request *request, struct ct_error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < want->n; i++) {
		_cleanup_free_ char *place = str_printf("%s/%zu", dir, i);
		_cleanup_close_ int fd = place ? take_one(root, want->paths[i], natives) : -ENOMEM;

		if (fd < 0 || mkdir(place, 0755) < 0 ||
		        move_mount(fd, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH) < 0) {
			r = fd < 0 ? fd : -errno;
			return ct_error_set(err, r, "resume", "cannot mount what was \"%s\" inside: %s",
			        want->paths[i], strerror(-r));
		}
		r = add_external(want, i, str_printf("mnt[" CRIU_NATIVE "%s]:%s", want->paths[i], place),
		        request, err);
	}
	if (r >= 0)
		r = see_places(dir, want);
	return r;
}

int suspend_write_through(pid_t pid, int images_fd, struct ct_error *err)
{
	_cleanup_close_ int root = -1;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/root", pid); /* fits */
	root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0 || syncfs(root) < 0 || syncfs(images_fd) < 0)
		return ct_error_set(
		        err, -errno, "suspend", "cannot sync its disk and the images: %s", strerror(errno));
	return 0;
}
