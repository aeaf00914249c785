/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Driver image: the tenant's writes lie in a sparse ext4 of their own.
 *
 * containers/CTID/disk.img holds upper/ and work/; containers/CTID/loop the number of the loop device it was
 * attached to last. That is a hint: whether the image is attached there still is asked of the device. An
 * image is attached once, however often it is mounted: a second device on the same file would destroy it. Who
 * attaches, checks or resizes holds the file's flock, and as the loop device keeps that very open file, the
 * lock lasts as long as the attachment, whoever made it.
 *
 * Mounting the device again while it is mounted gives the same superblock: that is how the usage of a running
 * container is read (statfs), and how it is grown, without a way into its mount namespace.
 *
 * Thin: discard is on, so what the tenant deletes is punched out of the file. Growing is online
 * (EXT4_IOC_RESIZE_FS), shrinking is not (ext4 cannot) and is done on a copy that is renamed over, because
 * resize2fs killed half way leaves neither the old nor the new.
 *
 * What was sold is kept in an attribute of the image, as the file system's own size is never exactly that.
 */
#include "quota/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "base/unit.h"
#include "quota/ext4.h"
#include "quota/image-file.h"
#include "quota/image-spare.h"
#include "quota/loop.h"
#include "quota/native.h"
#include "quota/overlay.h"

#define IMAGE_NAME "disk.img"
#define IMAGE_COPY "disk.img.new"
#define LOOP_NAME  "loop"
#define OWN_INODES 48 /* ext4's reserved ones, the layers' directories, the spare room */

static int image_check(const struct disk_spec *spec, struct ct_error *err)
{
	if (spec->bytes < EXT4_IMAGE_MIN)
		return ct_error_field(err, "disk", "a disk image needs a size of at least 16M");

	if (spec->bytes > (16ULL << 40))
		return ct_error_field(err, "disk", "a disk image is at most 16T");

	if (spec->inodes > spec->bytes / 1024 || spec->inodes > UINT32_MAX / 2)
		return ct_error_field(err, "inodes",
		        "a disk image has at most one inode for each KiB of its size, and at most 2^31");

	return 0;
}

static int image_open(int dirfd, const char *ctid, struct ct_error *err)
{
	int fd;

	fd = open_beneath(dirfd, IMAGE_NAME, O_RDWR | O_NOFOLLOW, 0);
	if (fd < 0)
		return ct_error_set(err, fd, "image", "cannot open the disk image of container %s: %s", ctid,
		        strerror(-fd));

	return fd;
}

/* The loop device that has the image already; -ENODEV if none. */
static int image_attached(int dirfd, int image)
{
	uint64_t number;

	if (read_u64_at(dirfd, LOOP_NAME, &number) < 0 || number > UINT32_MAX)
		return -ENODEV;

	return loop_open_if((unsigned int)number, image);
}

static int image_lock(int image, const char *ctid, struct ct_error *err)
{
	if (flock(image, LOCK_EX | LOCK_NB) == 0)
		return 0;

	return ct_error_set(err, errno == EWOULDBLOCK ? -EBUSY : -errno, "image",
	        "the disk image of container %s is in use: %s", ctid,
	        errno == EWOULDBLOCK ? "it is attached or being resized" : strerror(errno));
}

/* The image as a block device: where it is attached, or newly. */
static int image_device(int dirfd, int image, const char *ctid, struct ct_error *err)
{
	_cleanup_close_ int loop = -1;
	char text[16], name[64];
	unsigned int number;
	int r;

	loop = image_attached(dirfd, image);
	if (loop >= 0)
		return TAKE_FD(loop);

	r = image_lock(image, ctid, err);
	if (r < 0)
		return r;

	(void)snprintf(name, sizeof(name), "ctd %.56s", ctid);
	loop = loop_attach(image, name, err);
	if (loop < 0)
		return loop;

	r = loop_number(loop, &number);
	if (r == 0) {
		(void)snprintf(text, sizeof(text), "%u\n", number);
		r = replace_file_at(dirfd, LOOP_NAME, text, strlen(text), 0600, false);
	}
	if (r < 0)
		return ct_error_set(err, r, "image", "cannot note the loop device of container %s: %s", ctid,
		        strerror(-r));

	return TAKE_FD(loop);
}

static int device_mount(int loop, struct ct_error *err)
{
	char source[32];
	unsigned int number;
	int r;

	r = loop_number(loop, &number);
	if (r < 0)
		return ct_error_set(err, r, "image", "cannot look at a loop device: %s", strerror(-r));

	(void)snprintf(source, sizeof(source), "/dev/loop%u", number);
	const char *const options[][2] = {
		{ "source", source },
		{ "discard", "" },
		{ "errors", "remount-ro" },
		{ NULL, NULL },
	};
	return filesystem_mount("ext4", options, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID, -1, err);
}

/* An fd of the file system's root that can be used for ioctls: a mount's own fd is an O_PATH one. */
static int mount_root(int mount_fd, struct ct_error *err)
{
	int fd = openat(mount_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return ct_error_set(err, -errno, "image", "cannot open the file system in the disk image: %s",
		        strerror(errno));

	return fd;
}

static int image_fill(
        struct disk_store *store, const struct disk_spec *spec, int dirfd, int image, struct ct_error *err)
{
	_cleanup_close_ int loop = -1, mount_fd = -1, root = -1;
	int r;

	loop = image_device(dirfd, image, spec->ctid, err);
	if (loop < 0)
		return loop;

	mount_fd = device_mount(loop, err);
	if (mount_fd < 0)
		return mount_fd;

	root = mount_root(mount_fd, err);
	if (root < 0)
		return root;

	r = disk_make_layers(store, spec, root, dirfd, err);
	if (r < 0)
		return r;

	return image_spare_take(root, err);
}

static int image_create(
        struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err)
{
	_cleanup_close_ int image = -1;
	int r;

	r = image_check(spec, err);
	if (r < 0)
		return r;

	image = openat(dirfd, IMAGE_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (image < 0)
		return ct_error_set(err, -errno, "image", "cannot make the disk image: %s", strerror(errno));

	r = ext4_make(image, spec->bytes, spec->inodes > 0 ? spec->inodes + OWN_INODES : 0, err);
	if (r < 0)
		return r;

	r = image_fill(store, spec, dirfd, image, err);
	if (r < 0)
		return r;

	return image_note_sold(
	        image, &(struct image_sold){ .bytes = spec->bytes, .inodes = spec->inodes }, err);
}

/* What a mount of a disk needs and has. */
struct image_mount {
	struct disk_store *store;
	const struct disk_spec *spec;
	int dirfd, loop, idmap_userns_fd;
	struct disk_natives *natives;
};

static int image_overlay(const struct image_mount *m, struct ct_error *err)
{
	_cleanup_close_ int upper = -1, lower = -1, layer = -1;
	_cleanup_free_ char *lower_path = NULL;
	int r;

	upper = device_mount(m->loop, err);
	if (upper < 0)
		return upper;

	r = tree_idmap(upper, m->idmap_userns_fd, err);
	if (r < 0)
		return r;

	lower = tree_clone(m->store->templates_fd, m->idmap_userns_fd, err);
	if (lower < 0)
		return lower;

	lower_path = str_printf("%s/root", m->spec->template_digest);
	if (!lower_path)
		return ct_error_set(err, -ENOMEM, "mount", "out of memory");
	if (m->natives) {
		layer = open_beneath(upper, "upper", O_RDONLY | O_DIRECTORY, 0);
		native_find(layer, m->dirfd, m->spec->natives, m->natives);
	}

	const struct overlay_spec overlay = {
		.lower_fd = lower,
		.upper_fd = upper,
		.lower_path = lower_path,
		.upper_path = "upper",
		.work_path = "work",
		.file_handles = m->store->file_handles,
		.natives = m->natives,
	};
	return overlay_mount(m->store->view_fd, &overlay, err);
}

/* On a disk that is full to the last block or inode; what overlayfs does not keep of the spare room is spare
 * again. */
static int image_overlay_full(const struct image_mount *m, struct ct_error *err)
{
	_cleanup_close_ int mount_fd = -1, root = -1;
	int fd, r;

	mount_fd = device_mount(m->loop, err);
	if (mount_fd < 0)
		return mount_fd;

	root = mount_root(mount_fd, err);
	if (root < 0)
		return root;

	r = image_spare_give(root, err);
	if (r < 0)
		return r;

	fd = image_overlay(m, err);
	(void)image_spare_take(
	        root, NULL); /* as much as there is; the next mount takes the rest, or needs none */
	return fd;
}

static int image_mount(struct disk_store *store, const struct disk_spec *spec, int dirfd, int idmap_userns_fd,
        struct disk_natives *natives, struct ct_error *err)
{
	struct image_mount m = { store, spec, dirfd, -1, idmap_userns_fd, natives };
	_cleanup_close_ int image = -1, loop = -1;
	int r;

	image = image_open(dirfd, spec->ctid, err);
	if (image < 0)
		return image;

	loop = image_device(dirfd, image, spec->ctid, err);
	if (loop < 0)
		return loop;

	m.loop = loop;
	r = image_overlay(&m, err);
	if (r == -ENOSPC || r == -EROFS)
		r = image_overlay_full(&m, err);

	return r;
}

static int image_layers(struct disk_store *store, const struct disk_spec *spec, int dirfd,
        int idmap_userns_fd, struct ct_error *err)
{
	_cleanup_close_ int image = -1, loop = -1, mount_fd = -1;
	int r;

	image = image_open(dirfd, spec->ctid, err);
	if (image < 0)
		return image;

	loop = image_device(dirfd, image, spec->ctid, err);
	if (loop < 0)
		return loop;

	mount_fd = device_mount(loop, err);
	if (mount_fd < 0)
		return mount_fd;

	r = tree_idmap(mount_fd, idmap_userns_fd, err);
	return r < 0 ? r : mount_root(mount_fd, err);
}

/* What is in the image now: of the mounted file system if it is, else of the file. */
static int image_size(int dirfd, int image, struct ext4_size *ret, struct ct_error *err)
{
	_cleanup_close_ int loop = -1, mount_fd = -1, root = -1;
	struct statvfs st;
	int r;

	r = ext4_read(image, ret, err);
	if (r < 0)
		return r;

	loop = image_attached(dirfd, image);
	if (loop < 0)
		return 0;

	mount_fd = device_mount(loop, err);
	if (mount_fd < 0)
		return mount_fd;

	root = mount_root(mount_fd, err);
	if (root < 0)
		return root;

	if (fstatvfs(root, &st) < 0)
		return ct_error_set(
		        err, -errno, "image", "cannot measure the disk image: %s", strerror(errno));

	ret->bytes_total = (uint64_t)st.f_blocks * st.f_frsize;
	ret->bytes_free = (uint64_t)st.f_bfree * st.f_frsize;
	ret->inodes_total = st.f_files;
	ret->inodes_free = st.f_ffree;
	return 0;
}

static int image_usage(struct disk_store *store, const struct disk_spec *spec, int dirfd,
        struct disk_usage *ret, struct ct_error *err)
{
	_cleanup_close_ int image = -1;
	struct ext4_size size;
	int r;

	*ret = (struct disk_usage){ 0 };
	image = image_open(dirfd, spec->ctid, err);
	if (image < 0)
		return image;

	r = image_size(dirfd, image, &size, err);
	if (r < 0)
		return r;

	*ret = (struct disk_usage){
		.bytes_used = size.bytes_total - size.bytes_free,
		.inodes_used = size.inodes_total - size.inodes_free,
		.bytes_limit = size.bytes_total,
		.inodes_limit = size.inodes_total,
		.exact = true,
	};
	return 0;
}

static int grow_online(int image, int loop, uint64_t file_size, struct ct_error *err)
{
	_cleanup_close_ int mount_fd = -1, root = -1;
	int r;

	mount_fd = device_mount(loop, err);
	if (mount_fd < 0)
		return mount_fd;

	root = mount_root(mount_fd, err);
	if (root < 0)
		return root;

	if (ftruncate(image, (off_t)file_size) < 0)
		return ct_error_set(err, -errno, "resize", "cannot grow the disk image: %s", strerror(errno));

	r = loop_grew(loop);
	if (r == 0)
		r = ext4_grow_mounted(root, file_size);
	if (r < 0)
		return ct_error_set(
		        err, r, "resize", "cannot grow the file system in the disk image: %s", strerror(-r));

	return 0;
}

/* Mounts a resized image once: it must be possible, and the kernel notes in the superblock what of it is
 * overhead (since 5.18). resize2fs gives new numbers to inodes that it moves; overlayfs has the old ones in
 * the index below work/, which goes: all that it loses is which files of the template were hard links to one
 * that was changed. */
static int image_settle(int image, struct ct_error *err)
{
	_cleanup_close_ int loop = -1, mount_fd = -1, root = -1;
	int r;

	loop = loop_attach(image, "ctd resize", err);
	if (loop < 0)
		return loop;

	mount_fd = device_mount(loop, err);
	if (mount_fd < 0)
		return mount_fd;

	root = mount_root(mount_fd, err);
	if (root < 0)
		return root;

	r = remove_tree_at(root, "work");
	if (r == 0 && mkdirat(root, "work", 0700) < 0)
		r = -errno;
	if (r < 0)
		return ct_error_set(err, r, "resize", "cannot empty the work directory in the disk image: %s",
		        strerror(-r));

	return 0;
}

/* Checked, resized and renamed over as a copy: at no instant is there less than a whole image. */
static int image_rewrite(
        const struct disk_spec *spec, int dirfd, int image, uint64_t file_size, struct ct_error *err)
{
	_cleanup_close_ int copy = -1;
	int r;

	r = image_lock(image, spec->ctid, err);
	if (r < 0)
		return r;

	copy = image_copy(dirfd, image, IMAGE_COPY, err);
	if (copy < 0)
		return copy;

	r = ext4_resize_file(copy, file_size, err);
	if (r == 0)
		r = image_settle(copy, err);
	if (r == 0)
		r = image_note_sold(
		        copy, &(struct image_sold){ .bytes = spec->bytes, .inodes = spec->inodes }, err);
	if (r == 0 && (renameat(dirfd, IMAGE_COPY, dirfd, IMAGE_NAME) < 0 || fsync(dirfd) < 0))
		r = ct_error_set(err, -errno, "resize", "cannot put the resized disk image in place: %s",
		        strerror(errno));
	if (r < 0)
		(void)unlinkat(dirfd, IMAGE_COPY, 0); /* the error to tell is the one above */

	return r;
}

static int image_grow(
        const struct disk_spec *spec, int dirfd, int image, uint64_t file_size, struct ct_error *err)
{
	_cleanup_close_ int loop = -1;
	int r;

	if (!image_has_cap_sys_resource()) {
		loop = image_attached(dirfd, image);
		if (loop >= 0)
			return ct_error_set(err, -EOPNOTSUPP, "resize",
			        "growing the disk image of a running container needs CAP_SYS_RESOURCE, which ctd does not have here; stop the "
			        "container first");

		return image_rewrite(spec, dirfd, image, file_size, err);
	}

	loop = image_device(dirfd, image, spec->ctid, err);
	if (loop < 0)
		return loop;

	r = grow_online(image, loop, file_size, err);
	if (r < 0)
		return r;

	return image_note_sold(
	        image, &(struct image_sold){ .bytes = spec->bytes, .inodes = spec->inodes }, err);
}

static int image_shrink(
        const struct disk_spec *spec, int dirfd, int image, uint64_t file_size, struct ct_error *err)
{
	_cleanup_close_ int loop = -1;
	char least[24], asked[24];
	uint64_t minimum;
	int r;

	loop = image_attached(dirfd, image);
	if (loop >= 0)
		return ct_error_set(err, -EBUSY, "resize",
		        "a disk image shrinks only while its container is stopped; stop it first");

	r = ext4_minimum(image, &minimum, err);
	if (r < 0)
		return r;
	if (minimum > file_size)
		return ct_error_set(err, -ENOSPC, "resize",
		        "the disk image cannot be made smaller than about %s, and %s was asked for; free space inside first",
		        format_size(least, sizeof(least), minimum),
		        format_size(asked, sizeof(asked), spec->bytes));

	return image_rewrite(spec, dirfd, image, file_size, err);
}

static int image_resize(
        struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err)
{
	_cleanup_close_ int image = -1;
	struct image_sold sold;
	struct ext4_size size;
	char used[24];
	int r;

	r = image_check(spec, err);
	if (r < 0)
		return r;

	image = image_open(dirfd, spec->ctid, err);
	if (image < 0)
		return image;

	r = image_sold(image, &sold, err);
	if (r < 0 || (r = image_size(dirfd, image, &size, err)) < 0)
		return r;

	if (spec->inodes != sold.inodes)
		return ct_error_set(err, -EOPNOTSUPP, "resize",
		        "the number of inodes of a disk image (%llu now) is fixed when it is made and grows with its size only",
		        (unsigned long long)size.inodes_total);

	if (spec->bytes == sold.bytes)
		return 0;

	if (size.bytes_total - size.bytes_free > spec->bytes)
		return ct_error_set(err, -ENOSPC, "resize",
		        "the disk image holds %s (%llu bytes), too much for the size asked for; free space inside first",
		        format_size(used, sizeof(used), size.bytes_total - size.bytes_free),
		        (unsigned long long)(size.bytes_total - size.bytes_free));

	if (spec->bytes < sold.bytes)
		return image_shrink(spec, dirfd, image, ext4_file_size_for(&size, spec->bytes), err);

	return image_grow(spec, dirfd, image, ext4_file_size_for(&size, spec->bytes), err);
}

static int image_release(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	return 0;
}

const struct disk_driver_ops disk_image_ops = {
	.create = image_create,
	.mount = image_mount,
	.layers = image_layers,
	.resize = image_resize,
	.usage = image_usage,
	.release = image_release,
};
