/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store: one directory with five others in it, and the rules by which names move between them.
 *
 * Everything that becomes visible below containers/, checkpoints/ or templates/ is built below tmp/ and
 * renamed in, so what is there is whole. Everything that goes is renamed to trash/ first, so that a destroy
 * costs one rename however much the tenant wrote, and the slow removal can be killed and started again at any
 * time. All six directories are kept open: no operation walks a path that starts outside the store, and a
 * store that was replaced under us is not followed.
 *
 * The directory is 0700 and stays so (threats: setuid files of a tenant must be out of reach of the host's
 * users); it is set again at each open, not only when it is made.
 */
#include "quota/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/path.h"
#include "base/str.h"
#include "quota/native.h"

static const char *const digits_hex = "0123456789abcdef";

int disk_check_ctid(const char *ctid, struct ct_error *err)
{
	if (str_empty(ctid) || strlen(ctid) > 64 || strspn(ctid, "0123456789abcdef-") != strlen(ctid) ||
	        ctid[0] == '-')
		return ct_error_field(
		        err, "ctid", "a container's id has 1 to 64 characters of 0-9, a-f and -");

	return 0;
}

int disk_check_digest(const char *digest, struct ct_error *err)
{
	if (str_empty(digest) || strlen(digest) > 128 || strspn(digest, digits_hex) != strlen(digest))
		return ct_error_field(
		        err, "template", "a template's digest has 1 to 128 characters of 0-9 and a-f");

	return 0;
}

static bool store_can_encode_handles(int fd)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int mount_id;

	return name_to_handle_at(fd, "", &u.handle, &mount_id, AT_EMPTY_PATH) == 0;
}

static int store_open_dir(int dirfd, const char *name, int *ret, struct ct_error *err)
{
	int fd;

	fd = open_or_mkdir(dirfd, name, 0700);
	if (fd < 0)
		return ct_error_set(err, fd, "store", "cannot make the directory \"%s\" in the store: %s",
		        name, strerror(-fd));

	*ret = fd;
	return 0;
}

static int store_open_root(const char *path, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return ct_error_set(
		        err, -errno, "store", "cannot make the store \"%s\": %s", path, strerror(errno));

	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return ct_error_set(err, -errno, "store",
		        "cannot open the store \"%s\": %s; a directory is needed", path, strerror(errno));

	if (fstat(fd, &st) < 0)
		return ct_error_set(
		        err, -errno, "store", "cannot look at the store \"%s\": %s", path, strerror(errno));

	if (st.st_uid != geteuid())
		return ct_error_set(err, -EPERM, "store",
		        "the store \"%s\" belongs to user %u; it must belong to user %u", path,
		        (unsigned)st.st_uid, (unsigned)geteuid());

	if ((st.st_mode & 07777) != 0700 && fchmod(fd, 0700) < 0)
		return ct_error_set(err, -errno, "store", "cannot close the store \"%s\" to others: %s", path,
		        strerror(errno));

	return TAKE_FD(fd);
}

DEFINE_CLEANUP(struct disk_store *, disk_store_close);

int disk_store_open(const char *path, struct disk_store **ret, struct ct_error *err)
{
	CLEANUP(disk_store_closep) struct disk_store *store = NULL;
	int r;

	if (str_empty(path) || path[0] != '/')
		return ct_error_field(err, "store", "the store needs an absolute path");

	store = malloc(sizeof(*store));
	if (!store)
		return ct_error_set(err, -ENOMEM, "store", "out of memory");

	*store = (struct disk_store){
		.fd = -1,
		.containers_fd = -1,
		.checkpoints_fd = -1,
		.templates_fd = -1,
		.tmp_fd = -1,
		.trash_fd = -1,
		.view_fd = -1,
	};
	store->path = strdup(path);
	if (!store->path)
		return ct_error_set(err, -ENOMEM, "store", "out of memory");

	store->fd = store_open_root(path, err);
	if (store->fd < 0)
		return store->fd;

	if ((r = store_open_dir(store->fd, "containers", &store->containers_fd, err)) < 0 ||
	        (r = store_open_dir(store->fd, "checkpoints", &store->checkpoints_fd, err)) < 0 ||
	        (r = store_open_dir(store->fd, "templates", &store->templates_fd, err)) < 0 ||
	        (r = store_open_dir(store->fd, "tmp", &store->tmp_fd, err)) < 0 ||
	        (r = store_open_dir(store->fd, "trash", &store->trash_fd, err)) < 0)
		return r;

	store->file_handles = store_can_encode_handles(store->fd);
	*ret = TAKE_PTR(store);
	return 0;
}

void disk_store_close(struct disk_store *store)
{
	if (!store)
		return;

	cleanup_closep(&store->view_fd);
	cleanup_closep(&store->trash_fd);
	cleanup_closep(&store->tmp_fd);
	cleanup_closep(&store->templates_fd);
	cleanup_closep(&store->checkpoints_fd);
	cleanup_closep(&store->containers_fd);
	cleanup_closep(&store->fd);
	free(store->path);
	free(store);
}

int disk_store_fd(const struct disk_store *store)
{
	return store->fd;
}

int disk_open_container(struct disk_store *store, const char *ctid, struct ct_error *err)
{
	int fd;

	fd = open_beneath(store->containers_fd, ctid, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return ct_error_set(err, fd, "disk", "cannot open the disk of container %s in \"%s\": %s",
		        ctid, store->path, strerror(-fd));

	return fd;
}

static int layer_open(int dirfd, const char *name, struct ct_error *err)
{
	int fd;

	fd = open_or_mkdir(dirfd, name, 0700);
	if (fd < 0)
		return ct_error_set(
		        err, fd, "disk", "cannot make the directory \"%s\": %s", name, strerror(-fd));

	return fd;
}

int disk_make_layers(
        struct disk_store *store, const struct disk_spec *spec, int parent, int dirfd, struct ct_error *err)
{
	_cleanup_close_ int upper = -1, work = -1, template = -1;
	_cleanup_free_ char *root = NULL;
	struct stat st, lower;

	root = str_printf("%s/root", spec->template_digest);
	if (!root)
		return ct_error_set(err, -ENOMEM, "disk", "out of memory");

	template = open_beneath(store->templates_fd, root, O_RDONLY | O_DIRECTORY, 0);
	if (template <0 || fstat(template, &lower) < 0) {
		int r = template <0 ? template : -errno;

		return ct_error_set(err, r, "disk", "cannot find the template %s in the store: %s",
		        spec->template_digest, strerror(-r));
	}

	work = layer_open(parent, "work", err);
	if (work < 0)
		return work;

	/* An upper that is there belongs to the tenant, who may have given his / another mode. */
	if (fstatat(parent, "upper", &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;

	upper = layer_open(parent, "upper", err);
	if (upper < 0)
		return upper;

	if (fchown(upper, lower.st_uid, lower.st_gid) < 0 || fchmod(upper, lower.st_mode & 07777) < 0)
		return ct_error_set(err, -errno, "disk",
		        "cannot set the owner and mode of the upper layer: %s", strerror(errno));

	return native_make(upper, template, dirfd, spec->natives, err);
}

int disk_trash(struct disk_store *store, int dirfd, const char *name, struct ct_error *err)
{
	char to[NAME_MAX + 1];

	/* The clock makes names that differ; RENAME_NOREPLACE decides when it does not. */
	for (unsigned int attempt = 0; attempt < 100; attempt++) {
		(void)snprintf(to, sizeof(to), "%.128s.%llx.%x", name,
		        (unsigned long long)now_realtime_usec(), attempt);

		if (renameat2(dirfd, name, store->trash_fd, to, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno == ENOENT)
			return -ENOENT;
		if (errno != EEXIST)
			break;
	}

	return ct_error_set(err, -errno, "disk", "cannot move \"%s\" to the trash of the store \"%s\": %s",
	        name, store->path, strerror(errno));
}

static int store_kind_fd(struct disk_store *store, const char *kind)
{
	const struct {
		const char *name;
		int fd;
	} kinds[] = {
		{ "containers", store->containers_fd },
		{ "checkpoints", store->checkpoints_fd },
		{ "templates", store->templates_fd },
		{ "trash", store->trash_fd },
		{ "tmp", store->tmp_fd },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (str_eq(kinds[i].name, kind))
			return kinds[i].fd;

	return -EINVAL;
}

int disk_store_each(struct disk_store *store, const char *kind, int (*each)(const char *name, void *userdata),
        void *userdata, struct ct_error *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_close_ int fd = -1;
	struct dirent *entry;
	int r;

	r = store_kind_fd(store, kind);
	if (r < 0)
		return ct_error_field(
		        err, "kind", "containers, checkpoints, templates, trash or tmp is needed");

	fd = openat(r, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* an offset of its own */
	if (fd < 0 || !(dir = fdopendir(fd)))
		return ct_error_set(err, -errno, "store", "cannot list \"%s/%s\": %s", store->path, kind,
		        strerror(errno));
	(void)TAKE_FD(fd); /* the DIR's now */

	while ((errno = 0, entry = readdir(dir))) {
		if (str_eq(entry->d_name, ".") || str_eq(entry->d_name, ".."))
			continue;
		r = each(entry->d_name, userdata);
		if (r != 0)
			return r;
	}
	if (errno != 0)
		return ct_error_set(err, -errno, "store", "cannot list \"%s/%s\": %s", store->path, kind,
		        strerror(errno));

	return 0;
}

struct sweep {
	struct disk_store *store;
	bool (*keep)(const char *tmp_name, void *userdata);
	void *userdata;
	int dirfd;
	int first_error; /* one tree that cannot be removed must not keep the others */
	char first_name[NAME_MAX + 1];
};

static int sweep_one(const char *name, void *userdata)
{
	struct sweep *sweep = userdata;
	int r;

	if (sweep->dirfd == sweep->store->tmp_fd && sweep->keep && sweep->keep(name, sweep->userdata))
		return 0;

	r = remove_tree_at(sweep->dirfd, name);
	if (r < 0 && sweep->first_error == 0) {
		sweep->first_error = r;
		(void)snprintf(sweep->first_name, sizeof(sweep->first_name), "%s", name);
	}

	return 0;
}

int disk_store_sweep(struct disk_store *store, bool (*keep)(const char *tmp_name, void *userdata),
        void *userdata, struct ct_error *err)
{
	struct sweep sweep = { .store = store, .keep = keep, .userdata = userdata, .dirfd = store->trash_fd };
	int r;

	r = disk_store_each(store, "trash", sweep_one, &sweep, err);
	if (r < 0)
		return r;

	sweep.dirfd = store->tmp_fd;
	r = disk_store_each(store, "tmp", sweep_one, &sweep, err);
	if (r < 0)
		return r;

	if (sweep.first_error < 0) {
		char shown[256];

		return ct_error_set(err, sweep.first_error, "sweep",
		        "cannot remove \"%s\" from the store: %s",
		        str_escape_to(shown, sizeof(shown), sweep.first_name, strlen(sweep.first_name)),
		        strerror(-sweep.first_error));
	}

	return 0;
}
