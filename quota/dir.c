/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Driver dir: the tenant's writes lie in a directory of the store's own file system.
 *
 * upper/ and work/ both carry the project id: overlayfs makes files in work/ and renames them to upper/, and
 * a rename between projects fails with EXDEV. The id goes onto their parent first, so both inherit it and
 * what overlayfs makes below work/ is charged as well. Without limits no project id is needed, and any file
 * system that overlays can stand on will do. Where quota is on, a container without limits has its id all the
 * same: usage is then exact.
 *
 * A directory with a limit has its limits set at each mount: what the kernel holds is then what is
 * configured, whatever happened meanwhile (a store that was copied, an edited quota).
 */
#include "quota/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "base/unit.h"
#include "quota/native.h"
#include "quota/overlay.h"
#include "quota/project.h"

#define MOUNT_SLACK_BYTES  (256 * 1024)
#define MOUNT_SLACK_INODES 16

static bool wants_limits(const struct disk_spec *spec)
{
	return spec->bytes > 0 || spec->inodes > 0;
}

static struct project_limits spec_limits(const struct disk_spec *spec)
{
	return (struct project_limits){ .bytes = spec->bytes, .inodes = spec->inodes };
}

static int check_limits(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	char remedy[256];

	if (!wants_limits(spec))
		return 0;

	if (spec->project_id == 0)
		return ct_error_field(err, "project_id", "a disk with a limit needs a project id above 0");

	if (!project_quota_enforced(store->fd)) {
		project_quota_remedy(store->fd, store->path, remedy, sizeof(remedy));
		return ct_error_set(err, -EOPNOTSUPP, "quota",
		        "the file system of the store \"%s\" enforces no project quota; %s", store->path,
		        remedy);
	}

	return 0;
}

/* What a removed container left in the trash is still charged to its id; a new owner would pay for it. */
static int check_unused(struct disk_store *store, uint32_t project_id, struct ct_error *err)
{
	struct project_state state;
	char size[24];
	int r;

	r = project_get(store->fd, project_id, &state, err);
	if (r < 0)
		return r;

	if (state.inodes_used > 0)
		return ct_error_set(err, -EBUSY, "quota",
		        "project id %u still holds %s in %llu files of a container that is being removed; another id is needed",
		        (unsigned)project_id, format_size(size, sizeof(size), state.bytes_used),
		        (unsigned long long)state.inodes_used);

	return 0;
}

static int dir_release(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	const struct project_limits none = { 0 };

	if (spec->project_id == 0 || !project_quota_enforced(store->fd))
		return 0;

	return project_set_limits(store->fd, spec->project_id, &none, err);
}

static int dir_charge(struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err)
{
	struct project_limits limits = spec_limits(spec);
	int r;

	if (spec->project_id == 0 || !project_quota_enforced(store->fd))
		return 0;

	r = check_unused(store, spec->project_id, err);
	if (r < 0)
		return r;

	r = project_assign(dirfd, spec->project_id, err);
	if (r < 0)
		return r;

	return project_set_limits(store->fd, spec->project_id, &limits, err);
}

static int dir_create(struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err)
{
	int r;

	r = check_limits(store, spec, err);
	if (r < 0)
		return r;

	r = dir_charge(store, spec, dirfd, err);
	if (r < 0)
		return r;

	r = disk_make_layers(store, spec, dirfd, dirfd, err);
	if (r < 0)
		(void)dir_release(store, spec, NULL); /* the error to tell is the one above */

	return r;
}

static int dir_overlay(struct disk_store *store, const struct disk_spec *spec, int dirfd, int idmap_userns_fd,
        struct disk_natives *natives, struct ct_error *err)
{
	_cleanup_free_ char *lower = NULL, *upper = NULL, *work = NULL;
	_cleanup_close_ int tree = -1, upper_fd = -1;

	lower = str_printf("templates/%s/root", spec->template_digest);
	upper = str_printf("containers/%s/upper", spec->ctid);
	work = str_printf("containers/%s/work", spec->ctid);
	if (!lower || !upper || !work)
		return ct_error_set(err, -ENOMEM, "mount", "out of memory");

	tree = tree_clone(store->fd, idmap_userns_fd, err);
	if (tree < 0)
		return tree;
	if (natives) {
		upper_fd = open_beneath(tree, upper, O_RDONLY | O_DIRECTORY, 0);
		native_find(upper_fd, dirfd, spec->natives, natives);
	}

	const struct overlay_spec overlay = {
		.lower_fd = tree,
		.upper_fd = tree,
		.lower_path = lower,
		.upper_path = upper,
		.work_path = work,
		.file_handles = store->file_handles,
		.natives = natives,
	};
	return overlay_mount(store->view_fd, &overlay, err);
}

/* A disk that was made where there was no quota, or copied by a tool that keeps no project ids: a limit on
 * the id would limit nothing. */
static int dir_adopt(struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err)
{
	const struct project_limits none = { 0 };
	int r;

	if (project_of(dirfd) == spec->project_id)
		return 0;

	r = project_set_limits(store->fd, spec->project_id, &none, err); /* it may hold more than was sold */
	if (r < 0)
		return r;

	return project_adopt(dirfd, spec->project_id, err);
}

static int dir_mount(struct disk_store *store, const struct disk_spec *spec, int dirfd, int idmap_userns_fd,
        struct disk_natives *natives, struct ct_error *err)
{
	struct project_limits limits = spec_limits(spec), wider = limits;
	_cleanup_close_ int fd = -1;
	int r;

	/* What was promised at creation must hold at each start: the store may have been remounted without
	 * quota since. */
	r = check_limits(store, spec, err);
	if (r < 0)
		return r;
	if (!wants_limits(spec))
		return dir_overlay(store, spec, dirfd, idmap_userns_fd, natives, err);

	r = dir_adopt(store, spec, dirfd, err);
	if (r < 0)
		return r;

	/* Overlayfs makes its work directory anew. A container that has filled its disk must start all the
	 * same. */
	wider.bytes += limits.bytes > 0 ? MOUNT_SLACK_BYTES : 0;
	wider.inodes += limits.inodes > 0 ? MOUNT_SLACK_INODES : 0;
	r = project_set_limits(store->fd, spec->project_id, &wider, err);
	if (r < 0)
		return r;

	fd = dir_overlay(store, spec, dirfd, idmap_userns_fd, natives, err);
	r = project_set_limits(store->fd, spec->project_id, &limits, fd < 0 ? NULL : err);
	if (fd < 0 || r < 0)
		return fd < 0 ? fd : r;

	return TAKE_FD(fd);
}

static int dir_layers(struct disk_store *store, const struct disk_spec *spec, int dirfd, int idmap_userns_fd,
        struct ct_error *err)
{
	int fd;

	if (idmap_userns_fd >= 0)
		return tree_clone(dirfd, idmap_userns_fd, err);
	fd = fd_dup_cloexec(dirfd);
	return fd < 0 ? ct_error_set(err, fd, "disk", "cannot open the disk of container %s: %s", spec->ctid,
	                        strerror(-fd))
	              : fd;
}

static int too_small(const struct project_state *state, const struct disk_spec *spec, struct ct_error *err)
{
	char used[24], asked[24];

	if (spec->bytes > 0 && state->bytes_used > spec->bytes)
		return ct_error_set(err, -ENOSPC, "resize",
		        "the disk holds %s (%llu bytes), more than the %s asked for; free space inside first",
		        format_size(used, sizeof(used), state->bytes_used),
		        (unsigned long long)state->bytes_used,
		        format_size(asked, sizeof(asked), spec->bytes));

	if (spec->inodes > 0 && state->inodes_used > spec->inodes)
		return ct_error_set(err, -ENOSPC, "resize",
		        "the disk holds %llu inodes, more than the %llu asked for; remove files inside first",
		        (unsigned long long)state->inodes_used, (unsigned long long)spec->inodes);

	return 0;
}

static int dir_resize(struct disk_store *store, const struct disk_spec *spec, int dirfd, struct ct_error *err)
{
	struct project_limits limits = spec_limits(spec);
	struct project_state before, after;
	int r;

	r = check_limits(store, spec, err);
	if (r < 0)
		return r;
	if (spec->project_id == 0 || !project_quota_enforced(store->fd))
		return 0;

	if (wants_limits(spec) && project_of(dirfd) != spec->project_id)
		return ct_error_set(err, -EOPNOTSUPP, "resize",
		        "the files of container %s do not belong to its project yet; they are given to it when it starts the next time",
		        spec->ctid);

	r = project_get(store->fd, spec->project_id, &before, err);
	if (r < 0 || (r = too_small(&before, spec, err)) < 0)
		return r;

	r = project_set_limits(store->fd, spec->project_id, &limits, err);
	if (r < 0)
		return r;

	/* The tenant may have written between the look and the limit; what got in stays in, so the old limit
	 * comes back. */
	r = project_get(store->fd, spec->project_id, &after, err);
	if (r == 0)
		r = too_small(&after, spec, err);
	if (r < 0)
		(void)project_set_limits(store->fd, spec->project_id, &before.limits,
		        NULL); /* the first error is the one to tell */

	return r;
}

static int dir_usage(struct disk_store *store, const struct disk_spec *spec, int dirfd,
        struct disk_usage *ret, struct ct_error *err)
{
	struct project_state state;
	int r;

	*ret = (struct disk_usage){ 0 };
	if (spec->project_id == 0 || !project_quota_enforced(store->fd))
		return 0;

	r = project_get(store->fd, spec->project_id, &state, err);
	if (r < 0)
		return r;

	*ret = (struct disk_usage){
		.bytes_used = state.bytes_used,
		.inodes_used = state.inodes_used,
		.bytes_limit = state.limits.bytes,
		.inodes_limit = state.limits.inodes,
		.exact = true,
	};
	return 0;
}

const struct disk_driver_ops disk_dir_ops = {
	.create = dir_create,
	.mount = dir_mount,
	.layers = dir_layers,
	.resize = dir_resize,
	.usage = dir_usage,
	.release = dir_release,
};
