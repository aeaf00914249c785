/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Masks: the golden list of what a container does not see in its /proc and /sys.
 *
 * Most of what is dangerous there is closed by ownership already: core_pattern, modprobe, uevent_helper,
 * kmsg, timer_list, irq belong to the host's root, who is nobody inside, and so do debugfs and tracefs, which
 * nobody can mount there. The list is what the kernel shows to everybody and a neighbour or the host would
 * not want shown: kernel addresses, keys, the host's command line and swap files, the files behind loop
 * devices, energy counters, firmware, names of disks. Two whose misuse would be the end are closed twice.
 *
 * /proc/kmsg is not among them: a log daemon that reads the null device in its place spins.
 *
 * A file is covered by the host's null device, which dev.c has looked at, a directory by an empty read-only
 * tmpfs. The targets are named relative to the working directory, which is a procfs or sysfs that has just
 * been made: there is nobody yet who could have put a link into it, and the kernel has none at these names.
 * With mount(2) that is one system call a mask, where clones moved by fd take six. What a kernel does not
 * have is skipped.
 *
 * The masks cannot be taken off inside: see lock.c; and with a locked mask in place no second, naked procfs
 * can be mounted either.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fd.h"
#include "libct/mounts.h"
#include "libct/sys.h"

static const char *const proc_files[] = {
	"cmdline",
	"kallsyms",
	"kcore", /* twice */
	"key-users",
	"keys",
	"latency_stats",
	"sched_debug",
	"swaps",
	"sysrq-trigger", /* twice */
	NULL,
};

static const char *const proc_directories[] = {
	"pressure", /* of the whole host; and from Linux 6.5 anybody may have a trigger there */
	"scsi",
	NULL,
};

static const char *const sys_files[] = { "kernel/notes", "kernel/vmcoreinfo", NULL };

static const char *const sys_directories[] = {
	"devices/virtual/block", /* loop/backing_file is a path of the host, dm/name a name */
	"devices/virtual/dmi",
	"devices/virtual/powercap",
	"firmware",
	"hypervisor",
	NULL,
};

static int explain(const char *name, struct ct_error *err)
{
	int r = sys_error();

	return ct_error_set(err, r, "mask", "cannot mask \"%s\": %s", name, sys_reason(r));
}

static int cover_files(const char *const *names, struct ct_error *err)
{
	for (; *names; names++)
		if (mount("/dev/null", *names, NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			return explain(*names, err);
	return 0;
}

/* The first that is there gets the tmpfs, the others are bound from it. */
static int cover_directories(const char *const *names, struct ct_error *err)
{
	static const char *const options[] = { "size", "4k", "nr_inodes", "1", "mode", "0555", NULL };
	const unsigned int attr =
	        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	_cleanup_close_ int empty = -1;
	const char *first = NULL;

	for (; *names; names++) {
		if (first && mount(first, *names, NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			return explain(*names, err);
		if (first || access(*names, F_OK) < 0)
			continue;

		empty = mount_new("tmpfs", options, attr, err);
		if (empty < 0)
			return empty;
		if (move_mount(empty, "", AT_FDCWD, *names, MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return explain(*names, err);
		first = *names;
	}
	return 0;
}

static int cover(int dir_fd, const char *const *files, const char *const *directories, struct ct_error *err)
{
	if (fchdir(dir_fd) < 0)
		return explain("its filesystem", err);

	int r = cover_files(files, err);
	return r < 0 ? r : cover_directories(directories, err);
}

int mask_proc(int proc_fd, struct ct_error *err)
{
	return cover(proc_fd, proc_files, proc_directories, err);
}

int mask_sys(int sys_fd, struct ct_error *err)
{
	return cover(sys_fd, sys_files, sys_directories, err);
}

/* The names follow each other as if they were in one list. */
static const char *name_at(const char *const *names, unsigned int *i)
{
	for (; *names; names++)
		if ((*i)-- == 0)
			return *names;
	return NULL;
}

bool mask_path(unsigned int i, char ret[MASK_PATH_MAX])
{
	const char *dir = "/proc", *name = name_at(proc_files, &i);

	name = name ?: name_at(proc_directories, &i);
	if (!name) {
		dir = "/sys";
		name = name_at(sys_files, &i);
		name = name ?: name_at(sys_directories, &i);
	}
	if (name)
		(void)snprintf(ret, MASK_PATH_MAX, "%s/%s", dir, name); /* fits */
	return name;
}
