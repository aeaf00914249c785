/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The disk interface as a command, for system tests that want to look at a disk from inside without a
 * container around it:
 *
 *     test-disk-tool STORE probe | sweep
 *     test-disk-tool STORE create|usage|resize|discard CTID,DRIVER,BYTES,INODES,PROJECT
 *     test-disk-tool STORE run CTID,DRIVER,BYTES,INODES,PROJECT COMMAND...
 *
 * run executes the command with the mounted disk as its working directory, as the container's root (an
 * unprivileged id of the host), in a mount namespace of its own. The template is the digest 00, made if it is
 * missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "base/str.h"
#include "base/unit.h"
#include "quota/disk.h"
#include "quota/probe.h"

#define BASE 1000000

static const char *const natives[] = { "/home", NULL };

static int parse_spec(char *text, struct disk_spec *ret)
{
	char *field[5], *rest = text;

	for (size_t i = 0; i < ARRAY_SIZE(field); i++)
		if (!(field[i] = strsep(&rest, ",")))
			return -EINVAL;

	ret->ctid = field[0];
	ret->template_digest = "00";
	ret->natives = natives;
	if (disk_driver_from_name(field[1], &ret->driver) < 0 || parse_size(field[2], &ret->bytes) < 0 ||
	        parse_u64(field[3], &ret->inodes) < 0 || parse_u32(field[4], &ret->project_id) < 0)
		return -EINVAL;

	return 0;
}

static int print_probe(struct disk_store *store, struct ct_error *err)
{
	struct disk_probe probe;
	int r;

	r = disk_probe(store, &probe, err);
	if (r < 0)
		return r;

	printf("filesystem %s\nproject_quota %d\nidmapped_layers %d\nnfs_export %d\nimage %d\nremedy %s\n",
	        probe.filesystem, probe.project_quota, probe.idmapped_layers, probe.overlay_nfs_export,
	        probe.image, probe.project_quota_remedy);
	return 0;
}

static int print_usage(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	struct disk_usage usage;
	int r;

	r = disk_usage(store, spec, &usage, err);
	if (r < 0)
		return r;

	printf("bytes %llu of %llu\ninodes %llu of %llu\nexact %d\n", (unsigned long long)usage.bytes_used,
	        (unsigned long long)usage.bytes_limit, (unsigned long long)usage.inodes_used,
	        (unsigned long long)usage.inodes_limit, usage.exact);
	return 0;
}

static int run(struct disk_store *store, const struct disk_spec *spec, char *command[], struct ct_error *err)
{
	_cleanup_close_ int userns = -1, root = -1;
	struct disk_natives mounts;

	userns = probe_userns_new(BASE);
	if (userns < 0)
		return ct_error_set(
		        err, userns, "run", "cannot make a user namespace: %s", strerror(-userns));

	root = disk_mount_native(store, spec, userns, &mounts, err);
	if (root < 0)
		return root;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	        move_mount(root, "", AT_FDCWD, "/mnt", MOVE_MOUNT_F_EMPTY_PATH) < 0 || chdir("/mnt") < 0 ||
	        (mounts.n > 0 &&
	                move_mount(mounts.items[0].fd, "", AT_FDCWD, "home", MOVE_MOUNT_F_EMPTY_PATH) < 0) ||
	        setns(userns, CLONE_NEWUSER) < 0 || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 ||
	        setresuid(0, 0, 0) < 0)
		return ct_error_set(err, -errno, "run", "cannot enter the disk: %s", strerror(errno));

	disk_natives_done(&mounts);
	disk_store_close(store);
	(void)execvp(command[0], command);
	return ct_error_set(err, -errno, "run", "cannot run \"%s\": %s", command[0], strerror(errno));
}

static int act(struct disk_store *store, int argc, char *argv[], struct ct_error *err)
{
	_cleanup_close_ int template = mkdirs_in_root(disk_store_fd(store), "templates/00/root/home", 0755);
	struct disk_spec spec = { 0 };

	if (template <0)
		return ct_error_set(
		        err, template, "template", "cannot make the template: %s", strerror(-template));
	if (argc == 3 && str_eq(argv[2], "probe"))
		return print_probe(store, err);
	if (argc == 3 && str_eq(argv[2], "sweep"))
		return disk_store_sweep(store, NULL, NULL, err);
	if (argc < 4 || parse_spec(argv[3], &spec) < 0)
		return ct_error_field(
		        err, "arguments", "see the comment at the top of this program's source");
	if (str_eq(argv[2], "create"))
		return disk_create(store, &spec, err);
	if (str_eq(argv[2], "usage"))
		return print_usage(store, &spec, err);
	if (str_eq(argv[2], "resize"))
		return disk_resize(store, &spec, err);
	if (str_eq(argv[2], "discard"))
		return disk_discard(store, &spec, err);
	if (argc > 4 && str_eq(argv[2], "run"))
		return run(store, &spec, argv + 4, err);

	return ct_error_field(err, "verb", "there is no verb \"%s\"", argv[2]);
}

int main(int argc, char *argv[])
{
	struct disk_store *store = NULL;
	struct ct_error err = { 0 };
	int r;

	r = argc > 2 ? disk_store_open(argv[1], &store, &err)
	             : ct_error_field(&err, "arguments", "a store and a verb are needed");
	if (r == 0)
		r = act(store, argc, argv, &err);
	disk_store_close(store);
	if (r < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}

	return 0;
}
