/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Masks: the golden list of what a container does not see in its /proc and /sys.
 *
 * Most of what is dangerous there is closed by ownership already: core_pattern, sysrq-trigger, uevent_helper,
 * modprobe belong to the host's root, who is nobody inside. The list adds what the kernel shows to everybody
 * and a neighbour or the host would not want shown (kernel addresses, keys, timers, the host's command line,
 * the files behind loop devices, energy counters, firmware), and closes some of the former twice.
 *
 * A file is covered by the null device, a directory by an empty read-only tmpfs, on fds below the new mounts,
 * without following links. What a kernel does not have is skipped. The masks cannot be taken off inside: see
 * lock.c; and with a locked mask in place no second, naked procfs can be mounted either.
 */
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/path.h"
#include "libct/mounts.h"
#include "libct/sys.h"

static const char *const proc_masks[] = {
	"acpi",
	"asound",
	"cmdline",
	"kallsyms",
	"kcore",
	"key-users",
	"keys",
	"kmsg",
	"latency_stats",
	"sched_debug",
	"scsi",
	"swaps",
	"sysrq-trigger",
	"timer_list",
	"timer_stats",
};

static const char *const sys_masks[] = {
	"devices/virtual/block", /* loop/backing_file is a path of the host, dm/name a name */
	"devices/virtual/dmi",
	"devices/virtual/powercap",
	"firmware",
	"hypervisor",
	"kernel/boot_params",
	"kernel/debug",
	"kernel/notes",
	"kernel/slab",
	"kernel/tracing",
	"kernel/vmcoreinfo",
};

struct mask {
	int null_fd;  /* the host's null device */
	int empty_fd; /* an empty directory, made when first needed */
};

static int clone_mount(int fd, struct ct_error *err)
{
	int clone = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (clone < 0) {
		int r = sys_error();
		return ct_error_set(err, r, "mask", "cannot clone a mount to mask with: %s", sys_reason(r));
	}
	return clone;
}

static int cover_directory(struct mask *mask, int target, const char *name, struct ct_error *err)
{
	static const char *const options[] = { "size", "4k", "nr_inodes", "1", "mode", "0555", NULL };
	_cleanup_close_ int clone = -1;

	if (mask->empty_fd < 0) {
		mask->empty_fd = mount_new("tmpfs", options,
		        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);
		return mask->empty_fd < 0 ? mask->empty_fd : mount_on_fd(mask->empty_fd, target, name, err);
	}

	clone = clone_mount(mask->empty_fd, err);
	return clone < 0 ? clone : mount_on_fd(clone, target, name, err);
}

static int cover(struct mask *mask, int dir_fd, const char *name, struct ct_error *err)
{
	_cleanup_close_ int target = -1, clone = -1;
	struct stat st;

	target = open_beneath(dir_fd, name, O_PATH, 0);
	if (target == -ENOENT)
		return 0;
	if (target < 0)
		return ct_error_set(
		        err, target, "mask", "cannot open \"%s\" to mask it: %s", name, sys_reason(target));

	if (fstat(target, &st) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "mask", "cannot look at \"%s\" to mask it: %s", name, sys_reason(r));
	}
	if (S_ISDIR(st.st_mode))
		return cover_directory(mask, target, name, err);

	clone = clone_mount(mask->null_fd, err);
	return clone < 0 ? clone : mount_on_fd(clone, target, name, err);
}

static int cover_all(int dir_fd, int null_fd, const char *const *names, size_t n, struct ct_error *err)
{
	struct mask mask = { .null_fd = null_fd, .empty_fd = -1 };
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++)
		r = cover(&mask, dir_fd, names[i], err);

	fd_close(mask.empty_fd);
	return r;
}

int mask_proc(int proc_fd, int host_null_fd, struct ct_error *err)
{
	return cover_all(proc_fd, host_null_fd, proc_masks, ARRAY_SIZE(proc_masks), err);
}

int mask_sys(int sys_fd, int host_null_fd, struct ct_error *err)
{
	return cover_all(sys_fd, host_null_fd, sys_masks, ARRAY_SIZE(sys_masks), err);
}
