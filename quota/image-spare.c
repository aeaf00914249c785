/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Spare room in a disk image.
 *
 * Overlayfs makes a directory and a few files of its own in work/ at every mount, and where it cannot, it
 * fails or comes up read-only. So a tenant who fills blocks or inodes to the last could not be started again,
 * not even to delete something. ext4's reserved blocks are no help: overlayfs writes for tenants as the
 * mounter, uid 0, who may use them, and of inodes there is no reserve. Therefore some of both are held by
 * files next to upper/, out of the tenant's sight, and let go for the moment of a mount that needs them.
 */
#include "quota/image-spare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/path.h"

#define SPARE_DIR    "spare"
#define SPARE_INODES 16
#define SPARE_BYTES  (16 * 1024) /* for each */

static int take_one(int dirfd, unsigned int i)
{
	_cleanup_close_ int fd = -1;
	char name[16];

	(void)snprintf(name, sizeof(name), "%u", i);
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;

	return fallocate(fd, 0, 0, SPARE_BYTES) < 0 ? -errno : 0;
}

int image_spare_take(int root_fd, struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1;
	int r;

	dirfd = r = open_or_mkdir(root_fd, SPARE_DIR, 0700);
	for (unsigned int i = 0; r >= 0 && i < SPARE_INODES; i++)
		r = take_one(dirfd, i);
	if (r < 0)
		return ct_error_set(
		        err, r, "image", "cannot keep spare room in the disk image: %s", strerror(-r));

	return 0;
}

int image_spare_give(int root_fd, struct ct_error *err)
{
	_cleanup_close_ int dirfd = -1;
	char name[16];

	dirfd = open_beneath(root_fd, SPARE_DIR, O_RDONLY | O_DIRECTORY, 0);
	if (dirfd < 0)
		return ct_error_set(
		        err, dirfd, "image", "the disk image has no spare room: %s", strerror(-dirfd));

	for (unsigned int i = 0; i < SPARE_INODES; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
			return ct_error_set(err, -errno, "image",
			        "cannot give up the spare room of the disk image: %s", strerror(errno));
	}

	/* Blocks can be used again when the journal has committed that they are free. */
	if (syncfs(dirfd) < 0)
		return ct_error_set(
		        err, -errno, "image", "cannot write the disk image through: %s", strerror(errno));

	return 0;
}
