/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A boot id of the container's own.
 *
 * /proc/sys/kernel/random/boot_id is the host's, for every container the same, and it does not change when a
 * container is started anew: the journal inside would take two boots for one. So a file with a new id is
 * bound over it. It lies in /dev, where nothing of the distribution's is, and stays the same when the
 * container moves to another host.
 *
 * The id is no secret, but where it is mounted matters. systemd, for a service with ProtectProc=, unmounts
 * what it can below /proc and mounts a new procfs; if it is not permitted the second it does without, but
 * only if it has not been able to do the first. So beside locked masks the id has to be locked too; and
 * without masks, for nesting, it must not be, or there would be no new procfs.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/random.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "libct/mounts.h"
#include "libct/sys.h"

#define FILE_NAME ".ct-boot-id"
#define PROC_NAME "proc/sys/kernel/random/boot_id"

/* A random UUID (RFC 9562, version 4) and a newline. */
static int make_id(char text[38])
{
	uint8_t bytes[16];
	char hex[33];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return -EIO;

	bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
	bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
	hex_encode(hex, bytes, sizeof(bytes));
	(void)snprintf(text, 38, "%.8s-%.4s-%.4s-%.4s-%.12s\n", hex, hex + 8, hex + 12, hex + 16, hex + 20);
	return 0;
}

static int write_id(int dev_fd)
{
	char text[38];

	_cleanup_close_ int fd = openat(dev_fd, FILE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0)
		return sys_error();

	int r = make_id(text);
	return r < 0 ? r : write_all(fd, text, strlen(text));
}

int boot_id_build(int root_fd, struct ct_error *err)
{
	_cleanup_close_ int target = -1, dev = -1, source = -1;

	target = open_beneath(root_fd, PROC_NAME, O_PATH, 0);
	if (target == -ENOENT) /* a kernel without sysctls */
		return 0;
	if (target < 0)
		return ct_error_set(
		        err, target, "mount", "cannot open \"/" PROC_NAME "\": %s", sys_reason(target));

	dev = open_beneath(root_fd, "dev", O_PATH | O_DIRECTORY, 0);
	int r = dev < 0 ? dev : write_id(dev);
	if (r < 0)
		return ct_error_set(err, r, "mount", "cannot make \"/dev/" FILE_NAME "\": %s", sys_reason(r));

	source = open_tree(dev, FILE_NAME, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (source < 0) {
		r = sys_error();
		return ct_error_set(
		        err, r, "mount", "cannot clone \"/dev/" FILE_NAME "\": %s", sys_reason(r));
	}
	return mount_on_fd(source, target, "/" PROC_NAME, err);
}
