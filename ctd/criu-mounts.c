/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mounts in CRIU's images.
 *
 * CRIU knows a mount from outside by where it is mounted, in whatever mount namespace. So what a service of
 * systemd's has over a native directory in its own (PrivateTmp=, ProtectHome=) is in the images under the
 * name of that directory, and as it would come back. Each mountpoints-N.img is two magic numbers, then
 * records, each its length and a message of criu's mnt.proto, which has device, root and peers of the mount
 * as well: from covers we take the name away, and CRIU binds them from what they are a part of.
 *
 * That must be there. A part of a native directory is bound from that. Of a tmpfs there must be a mount of
 * all of it whose content is in the images: CRIU has not looked into one that it takes for external as well,
 * since it is a peer of a cover, or, by its master, might be.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu.h"

#define PREFIX     "mountpoints-"
#define NAME_SIZE  40
#define IMAGE_MAX  (16 * 1024 * 1024)
#define COVERS_MAX 1024
#define MINOR_BITS 20 /* of a device in images */

enum {
	MOUNT_DEVICE = 3,
	MOUNT_ROOT = 6,
	MOUNT_POINT = 7,
	MOUNT_SHARED = 10,
	MOUNT_MASTER = 11,
	MOUNT_DELETED = 16,
	MOUNT_KEY = 18,
};

static bool is_text(const struct criu_reader *bytes, const char *text)
{
	const size_t len = (size_t)(bytes->end - bytes->at);

	return len == strlen(text) && memcmp(bytes->at, text, len) == 0;
}

static bool is_below(const struct criu_reader *root, const struct criu_reader *above)
{
	const size_t len = (size_t)(above->end - above->at);

	return (size_t)(root->end - root->at) > len && memcmp(root->at, above->at, len) == 0 &&
	       root->at[len] == '/';
}

static bool is_device(uint64_t device, const char *text)
{
	unsigned int major, minor;

	return sscanf(text, "%u:%u", &major, &minor) == 2 &&
	       device == ((uint64_t)major << MINOR_BITS | minor);
}

/* Which directory the name stands for, as the dump was told it. */
static const struct restore_native *find_native(
        const struct criu_reader *key, const struct restore_native *natives, size_t n)
{
	const size_t len = strlen(CRIU_NATIVE);
	const struct criu_reader point = { key->at + len, key->end };

	if ((size_t)(key->end - key->at) < len || memcmp(key->at, CRIU_NATIVE, len) != 0)
		return NULL;
	for (size_t i = 0; i < n; i++)
		if (is_text(&point, natives[i].point))
			return &natives[i];
	return NULL;
}

static int read_mount(
        struct criu_reader bytes, const struct restore_native *natives, size_t n, struct criu_mount *ret)
{
	const struct restore_native *native = NULL;
	struct criu_field f;
	int r;

	*ret = (struct criu_mount){ 0 };
	while ((r = criu_get_field(&bytes, &f)) > 0)
		switch (f.number) {
		case MOUNT_DEVICE: ret->device = f.value; break;
		case MOUNT_ROOT: ret->root = f.bytes; break;
		case MOUNT_POINT: ret->point = f.bytes; break;
		case MOUNT_SHARED: ret->shared = f.value; break;
		case MOUNT_MASTER: ret->master = f.value; break;
		case MOUNT_DELETED: ret->deleted = f.value; break;
		case MOUNT_KEY:
			if (!f.bytes.at)
				return -EBADMSG;
			ret->external = true;
			native = find_native(&f.bytes, natives, n);
			break;
		default: break;
		}
	if (r < 0 || !ret->root.at || !ret->point.at)
		return -EBADMSG;
	ret->native = native && is_text(&ret->root, native->root) && is_device(ret->device, native->device);
	ret->cover = native && !ret->native;
	return 0;
}

void criu_mounts_done(struct criu_mounts *mounts)
{
	free(mounts->items);
	*mounts = (struct criu_mounts){ 0 };
}

int criu_mounts_read(struct criu_mounts *mounts, const char *data, size_t len,
        const struct restore_native *natives, size_t n)
{
	struct criu_reader image, record;
	int r = criu_image_open(data, len, &image), more = 0;

	while (r >= 0 && (more = criu_image_next(&image, &record)) > 0) {
		struct criu_mount *items;

		if (mounts->n == mounts->room) {
			mounts->room = mounts->room * 2 + 64;
			items = realloc(mounts->items, mounts->room * sizeof(*items));
			if (!items)
				return -ENOMEM;
			mounts->items = items;
		}
		r = read_mount(record, natives, n, &mounts->items[mounts->n]);
		if (r >= 0)
			mounts->n_covers += mounts->items[mounts->n++].cover;
	}
	return r < 0 ? r : more;
}

/* CRIU takes it for external because of a cover. */
static bool is_peer_of_cover(const struct criu_mounts *all, const struct criu_mount *m)
{
	for (size_t i = 0; m->shared && i < all->n; i++)
		if (all->items[i].cover && all->items[i].shared == m->shared)
			return true;
	return false;
}

static bool has_source(const struct criu_mounts *all, const struct criu_mount *cover)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct criu_mount *m = &all->items[i];

		if (m->device != cover->device)
			continue;
		if (m->native ? is_below(&cover->root, &m->root)
		              : !m->external && is_text(&m->root, "/") && m->master == 0 &&
		                        !is_peer_of_cover(all, m))
			return true;
	}
	return false;
}

const struct criu_mount *criu_mounts_find_lost(const struct criu_mounts *all)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct criu_mount *m = &all->items[i];

		if (m->cover && (all->n_covers > COVERS_MAX || m->deleted || is_text(&m->root, "/") ||
		                        !has_source(all, m)))
			return m;
	}
	return NULL;
}

static void copy_without_key(struct criu_reader record, struct strbuf *out)
{
	struct criu_field f;

	while (criu_get_field(&record, &f) > 0)
		if (f.number != MOUNT_KEY)
			(void)strbuf_add(out, f.start, (size_t)(record.at - f.start)); /* remembered in it */
}

int criu_mounts_rewrite(
        const char *data, size_t len, const struct restore_native *natives, size_t n, struct strbuf *out)
{
	struct criu_reader image, record;
	int r = criu_image_open(data, len, &image), more = 0;

	if (r >= 0)
		r = strbuf_add(out, data, CRIU_IMAGE_HEAD);
	while (r >= 0 && (more = criu_image_next(&image, &record)) > 0) {
		_cleanup_strbuf_ struct strbuf own = STRBUF_INIT;
		struct criu_mount m;
		uint32_t size;

		r = read_mount(record, natives, n, &m);
		if (r < 0)
			return r;
		if (m.cover)
			copy_without_key(record, &own);
		else
			(void)strbuf_add(&own, record.at, (size_t)(record.end - record.at)); /* as above */
		size = (uint32_t)own.len;
		(void)strbuf_add(out, &size, sizeof(size));
		(void)strbuf_add(out, own.data ?: "", own.len);
		r = own.error ? own.error : out->error;
	}
	return r < 0 ? r : more;
}

/* ---- in a directory */

struct image {
	char name[NAME_SIZE];
	char *data;
	size_t len;
};

struct images {
	struct image items[CRIU_NAMESPACES_MAX];
	size_t n;
};

static void images_done(struct images *images)
{
	for (size_t i = 0; i < images->n; i++)
		free(images->items[i].data);
}

static int read_images(int images_fd, struct images *ret)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	int r = 0;

	if (!dir)
		return -errno;
	while (r >= 0 && (e = readdir(dir))) {
		struct image *image = &ret->items[ret->n];

		if (!str_has_prefix(e->d_name, PREFIX))
			continue;
		if (ret->n == CRIU_NAMESPACES_MAX || strlen(e->d_name) >= sizeof(image->name))
			return -E2BIG;
		(void)snprintf(image->name, sizeof(image->name), "%.39s", e->d_name); /* fits */
		r = read_file_at(images_fd, image->name, IMAGE_MAX, &image->data, &image->len);
		ret->n += r >= 0;
	}
	return r < 0 ? r : 0;
}

static int write_images(
        int images_fd, const struct images *images, const struct restore_native *natives, size_t n)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < images->n; i++) {
		const struct image *image = &images->items[i];
		_cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
		_cleanup_close_ int fd = -1;

		r = criu_mounts_rewrite(image->data, image->len, natives, n, &out);
		if (r < 0)
			break;
		fd = openat(images_fd, image->name, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
		r = fd < 0 ? -errno : write_all(fd, out.data, out.len);
	}
	return r;
}

int criu_mounts_uncover(int images_fd, const struct restore_native *natives, size_t n, struct ct_error *err)
{
	CLEANUP(images_done) struct images images = { .n = 0 };
	CLEANUP(criu_mounts_done) struct criu_mounts all = { 0 };
	const struct criu_mount *lost;
	char point[256];
	int r = n ? read_images(images_fd, &images) : 0;

	for (size_t i = 0; r >= 0 && i < images.n; i++)
		r = criu_mounts_read(&all, images.items[i].data, images.items[i].len, natives, n);
	lost = r >= 0 ? criu_mounts_find_lost(&all) : NULL;
	if (lost)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EBUSY,
		        "what a process inside has mounted on \"%s\" for itself would be lost",
		        str_escape_to(point, sizeof(point), (const char *)lost->point.at,
		                (size_t)(lost->point.end - lost->point.at)));
	if (r >= 0 && all.n_covers > 0)
		r = write_images(images_fd, &images, natives, n);
	return r < 0 ? ct_error_set(err, r, "criu", "cannot rewrite the images' mounts: %s", strerror(-r))
	             : 0;
}
