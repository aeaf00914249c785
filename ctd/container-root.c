/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The root of a container that runs, for who reads or writes files in it from outside.
 *
 * It is seen through its init, which may have gone elsewhere (chroot(2), pivot_root(2)): onto a file system
 * whose process, inside or of ours, does not answer, where the one thread of ctd would wait with all
 * containers of the host. So a start notes the device of the disk, and a root on another device is not used.
 * An overlay has its device number while it is mounted, and a mount of the tenant's, even of the same layers,
 * another.
 *
 * The note is an attribute of the container's cgroup, which lives as long as it runs, whatever becomes of
 * ctd. "trusted" ones cannot be set in a user namespace (xattr(7)), though the cgroup is delegated. The
 * device is asked with AT_STATX_DONT_SYNC, which no file system sends a request for (statx(2)).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/fd.h"
#include "ctd/container.h"

#define NOTE "trusted.ctd.disk"

static int device_of(int fd, char ret[24])
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0)
		return -errno;
	(void)snprintf(ret, 24, "%u:%u", stx.stx_dev_major, stx.stx_dev_minor);
	return 0;
}

static int note(const struct container *c, const char *device, struct ct_error *err)
{
	if (fsetxattr(c->cgroup_fd, NOTE, device, strlen(device), 0) < 0)
		return ct_error_set(err, -errno, "root", "cannot note the disk of \"%s\" at its cgroup: %s",
		        c->row.name, strerror(errno));
	return 0;
}

int container_note_root(const struct container *c, int root_fd, struct ct_error *err)
{
	char device[24];
	int r = device_of(root_fd, device);

	return r < 0 ? ct_error_set(err, r, "root", "cannot look at the disk of \"%s\": %s", c->row.name,
	                       strerror(-r))
	             : note(c, device, err);
}

int container_note_device(const struct container *c, dev_t root_dev, struct ct_error *err)
{
	char device[24];

	(void)snprintf(device, sizeof(device), "%u:%u", major(root_dev), minor(root_dev)); /* fits */
	return note(c, device, err);
}

bool container_is_alive(const struct container *c)
{
	return c->pidfd >= 0 && pidfd_send_signal(c->pidfd, 0, NULL, 0) == 0;
}

int container_open_root(const struct container *c, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	char path[40], device[24], noted[24] = "";

	(void)snprintf(path, sizeof(path), "/proc/%d/root", c->run.pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || !container_is_alive(c))
		return ct_error_set(
		        err, -ESRCH, "root", "cannot reach the root of \"%s\": it has ended", c->row.name);

	if (fgetxattr(c->cgroup_fd, NOTE, noted, sizeof(noted) - 1) < 0) {
		/* Nobody inside can remove it: a ctd that wrote none has started this one. */
		if (errno == ENODATA)
			return TAKE_FD(fd);
		return ct_error_set(err, -EXDEV, "root",
		        "cannot tell the root of \"%s\" from a mount inside (no note of its disk: %s); restart it",
		        c->row.name, strerror(errno));
	}
	if (device_of(fd, device) < 0 || strcmp(device, noted) != 0)
		return ct_error_set(err, -EXDEV, "root",
		        "the root of \"%s\" is not its disk: its init has gone to another file system; stop it first",
		        c->row.name);
	return TAKE_FD(fd);
}
