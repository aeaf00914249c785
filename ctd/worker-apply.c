/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate-apply: the end of a container's move that it comes to, as far as that is long; worker-move.c has
 * the other.
 *
 * DISK (worker-move.c) and {"file", "removed_bytes", "manifest"?, "known_usec"?, "digest"?}: brings a disk to
 * be that tree. What comes is not trusted: paths are looked up beneath the disk's root, the archive is
 * unpacked by a child with few privileges, and the tree must have the digest at the end, or the disk is not
 * used. Without a digest it is a round of a copy. manifest names a file in which stands what the tree was
 * (known_usec: it stands there already, and was begun then): what has not changed is not read again, and
 * the result says by "reread" how many objects were. With "images" ({"path", "bytes", "digest", "base_id",
 * "root", "name", "sent"?}) those come first: they must have their digest, and are then made to be of the
 * base id and the cgroup here; "images_digest" of the result is what they have since. sent: the digests of
 * the rounds of memory that are in path already. Of such a round alone ({"path", "memory", "bytes"}, and
 * nothing of the disk) "round_digest" of the result is the digest.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/criu-rounds.h"
#include "ctd/criu.h"
#include "ctd/worker-copy.h"
#include "ctd/worker-extract.h"
#include "ctd/worker-images.h"
#include "ctd/worker-main.h"
#include "ctd/worker-move.h"
#include "quota/difference.h"

#define REMOVED_MAX (256UL << 20)
#define TICK_USEC   20000ULL /* more than a tick of the kernel's clock */

struct apply_params {
	json_t *disk, *images;
	const char *file, *digest, *manifest;
	uint64_t removed_bytes, start_usec;
	bool has_start;
};

static const struct json_field apply_fields[] = {
	{ "disk", JSON_KIND_OBJECT, offsetof(struct apply_params, disk), JSON_NO_HAS, true },
	{ "images", JSON_KIND_OBJECT, offsetof(struct apply_params, images), JSON_NO_HAS, false },
	{ "file", JSON_KIND_STRING, offsetof(struct apply_params, file), JSON_NO_HAS, true },
	{ "digest", JSON_KIND_STRING, offsetof(struct apply_params, digest), JSON_NO_HAS, false },
	{ "removed_bytes", JSON_KIND_U64, offsetof(struct apply_params, removed_bytes), JSON_NO_HAS, true },
	{ "manifest", JSON_KIND_STRING, offsetof(struct apply_params, manifest), JSON_NO_HAS, false },
	{ "known_usec", JSON_KIND_U64, offsetof(struct apply_params, start_usec),
	        offsetof(struct apply_params, has_start), false },
	{ NULL },
};

static int take_away(int file_fd, uint64_t len, int root_fd, struct ct_error *err)
{
	_cleanup_free_ char *list = NULL;
	ssize_t n;

	if (len > REMOVED_MAX)
		return ct_error_set(err, -E2BIG, "move", "the list of what is gone is too long");
	list = malloc(len + 1);
	n = list ? read_all(file_fd, list, len) : -ENOMEM;
	if (n < 0 || (uint64_t)n != len)
		return ct_error_set(err, n < 0 ? (int)n : -EIO, "move", "what was sent is cut short");
	return difference_remove(root_fd, list, len, err);
}

static int unpack(int file_fd, int root_fd, struct ct_error *err)
{
	struct extract_options options = { .own_disk = true };
	struct statvfs fs;

	if (fstatvfs(root_fd, &fs) < 0)
		return ct_error_set(
		        err, -errno, "move", "cannot ask how much room there is: %s", strerror(errno));
	/* One byte more than there is room for: then it is the disk that says so. */
	options.max_bytes = (uint64_t)fs.f_blocks * fs.f_frsize + 1;
	worker_progress(-1, "unpacking");
	return extractor_run(file_fd, root_fd, &options, err);
}

/* A tick of the kernel's clock passes, so that what was made before is older than what is noted next. */
static int wait_a_tick(struct ct_error *err)
{
	struct pollfd stop = { .fd = worker_stop_fd(), .events = POLLIN };

	(void)poll(&stop, 1, (int)(2 * TICK_USEC / 1000)); /* worker_check sees why */
	return worker_check(err);
}

/* What stands in the file goes on there: the new one is copied over it when it is whole. */
static int keep_manifest(const struct manifest *new, int fd, struct ct_error *err)
{
	off_t size = lseek(new->fd, 0, SEEK_END), at = 0;

	if (size < 0 || ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return ct_error_set(err, -errno, "move", "cannot note what is there: %s", strerror(errno));
	while (at < size) {
		ssize_t n = sendfile(fd, new->fd, &at, (size_t)(size - at));

		if (n <= 0)
			return ct_error_set(err, n < 0 ? -errno : -EIO, "move", "cannot note what is there");
	}
	return 0;
}

/* Its digest. */
static int look_over(
        const struct apply_params *in, int root_fd, char digest[static 65], json_t *ret, struct ct_error *err)
{
	_cleanup_close_ int kept = in->manifest ? open(in->manifest, O_RDWR | O_CLOEXEC) : -1, fd = -1;
	const struct manifest old = { .fd = kept, .start_usec = in->start_usec };
	struct manifest_round round = { .root_fd = root_fd,
		.base_fd = -1,
		.any_dev = true, /* an overlay has another number whenever it is mounted */
		.old = in->has_start ? &old : NULL,
		.slack_usec = TICK_USEC };
	struct manifest new = MANIFEST_INIT;
	struct manifest_result found;
	int r;

	if (!in->manifest)
		return tree_digest_lasting(root_fd, digest, err);
	fd = new.fd =
	        kept < 0
	                ? ct_error_set(err, -errno, "move", "cannot open what was noted: %s", strerror(errno))
	                : file_unnamed(json_string_value(json_object_get(in->disk, "store")) ?: "/", err);
	r = fd;
	if (r >= 0 && !in->digest)
		r = wait_a_tick(err);
	new.start_usec = now_realtime_usec();
	if (r >= 0)
		r = manifest_make(&round, &new, &found, err);
	if (r >= 0 && !in->digest) /* else nothing goes on from it */
		r = keep_manifest(&new, kept, err);
	if (r < 0)
		return r;
	memcpy(digest, found.digest, sizeof(found.digest));
	return json_object_set_new(ret, "known_usec", json_integer((json_int_t) new.start_usec)) < 0 ||
	                       json_object_set_new(ret, "reread", json_integer((json_int_t)found.n_changed)) <
	                               0
	               ? -ENOMEM
	               : 0;
}

static int verify(const struct apply_params *in, int root_fd, json_t *ret, struct ct_error *err)
{
	_cleanup_close_ int dir = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char found[65];
	int r;

	worker_progress(-1, "verifying");
	r = look_over(in, root_fd, found, ret, err);
	if (r >= 0 && in->digest && !str_eq(found, in->digest))
		r = ct_error_set(err, -EBADMSG, "move",
		        "the disk that came is not the one that was sent (digest %.12s, not %.12s)", found,
		        in->digest);
	if (r >= 0 && syncfs(dir) < 0)
		r = ct_error_set(err, -errno, "move", "cannot write the disk through: %s", strerror(errno));
	return r;
}

struct images_params {
	const char *path, *digest;
	uint64_t bytes, base_id;
	struct criu_place place;
	json_t *sent; /* NULL: the rounds come along, if there are any */
};

static const struct json_field images_fields[] = {
	{ "path", JSON_KIND_STRING, offsetof(struct images_params, path), JSON_NO_HAS, true },
	{ "digest", JSON_KIND_STRING, offsetof(struct images_params, digest), JSON_NO_HAS, true },
	{ "bytes", JSON_KIND_U64, offsetof(struct images_params, bytes), JSON_NO_HAS, true },
	{ "base_id", JSON_KIND_U64, offsetof(struct images_params, base_id), JSON_NO_HAS, true },
	{ "root", JSON_KIND_STRING, offsetof(struct images_params, place.root), JSON_NO_HAS, true },
	{ "name", JSON_KIND_STRING, offsetof(struct images_params, place.name), JSON_NO_HAS, true },
	{ "sent", JSON_KIND_ARRAY, offsetof(struct images_params, sent), JSON_NO_HAS, false },
	{ NULL },
};

static int make_images(const struct images_params *in, int file_fd, int *ret_fd, struct ct_error *err)
{
	char digest[65];
	int r, n_rounds = 0;

	r = *ret_fd = images_open(in->path, !in->sent, err);
	if (r < 0)
		return r;
	worker_progress(-1, "taking its memory and state");
	r = images_receive(file_fd, in->bytes, *ret_fd, in->sent ? &images_dump : &images_all, err);
	if (r >= 0)
		r = n_rounds = in->sent ? criu_rounds_match(*ret_fd, in->sent, err)
		                        : criu_rounds_read(*ret_fd, true, err);
	if (r >= 0 && n_rounds > 0)
		r = criu_rounds_link(*ret_fd, (unsigned int)n_rounds, true, err);
	if (r >= 0)
		r = criu_rounds_digest(*ret_fd, digest, err);
	if (r >= 0 && !str_eq(digest, in->digest))
		r = ct_error_set(err, -EBADMSG, "move", "the images that came are not those that were sent");
	return r;
}

/* They are not synced. */
static int apply_images(const json_t *params, int file_fd, json_t *ret, int *ret_fd, struct ct_error *err)
{
	struct images_params in = { 0 };
	_cleanup_close_ int fd = -1;
	char digest[65];
	int r = json_read(params, images_fields, &in, err);

	if (r < 0)
		return r;
	in.place.base_id = (uint32_t)in.base_id;
	r = make_images(&in, file_fd, &fd, err);
	if (r >= 0)
		r = criu_place(fd, &in.place, err);
	if (r >= 0)
		r = criu_rounds_digest(fd, digest, err);
	if (r >= 0 && json_object_set_new(ret, "images_digest", json_string(digest)) < 0)
		r = -ENOMEM;
	if (r >= 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

struct round_params {
	const char *path;
	uint64_t memory, bytes;
};

static const struct json_field round_fields[] = {
	{ "path", JSON_KIND_STRING, offsetof(struct round_params, path), JSON_NO_HAS, true },
	{ "memory", JSON_KIND_U64, offsetof(struct round_params, memory), JSON_NO_HAS, true },
	{ "bytes", JSON_KIND_U64, offsetof(struct round_params, bytes), JSON_NO_HAS, true },
	{ NULL },
};

/* All that takes long with it is done now, while the container runs where it is. */
static int keep_round(const json_t *params, int file_fd, json_t *ret, struct ct_error *err)
{
	struct round_params in = { 0 };
	struct images_part part = { 0 };
	_cleanup_close_ int fd = -1;
	char digest[65];
	int r = json_read(params, round_fields, &in, err);

	if (r >= 0)
		r = fd = images_open(in.path, in.memory == 1, err);
	if (r < 0)
		return r;
	worker_progress(-1, "taking a round of its memory");
	part.first_round = part.last_round = (unsigned int)in.memory;
	r = images_receive(file_fd, in.bytes, fd, &part, err);
	if (r >= 0)
		r = criu_rounds_digest_one(fd, part.last_round, digest, err);
	if (r >= 0 && syncfs(fd) < 0)
		r = ct_error_set(err, -errno, "move", "cannot write the images through: %s", strerror(errno));
	if (r >= 0 && json_object_set_new(ret, "round_digest", json_string(digest)) < 0)
		r = -ENOMEM;
	return r;
}

static int apply_disk(const struct apply_params *in, int fd, json_t *ret, struct ct_error *err)
{
	_cleanup_close_ int root = -1, template = -1;
	int r = template = move_open_disk(in->disk, &root, err);

	if (r >= 0)
		r = take_away(fd, in->removed_bytes, root, err);
	if (r >= 0)
		r = unpack(fd, root, err);
	return r < 0 ? r : verify(in, root, ret, err);
}

int worker_migrate_apply(const json_t *params, json_t **ret, struct ct_error *err)
{
	struct apply_params in = { 0 };
	_cleanup_close_ int fd = -1, images = -1;
	struct stat st;
	int r;

	r = json_read(params, apply_fields, &in, err);
	if (r < 0)
		return r;
	if (in.digest)
		worker_hurry(); /* the last of it: it runs nowhere until this is done */
	*ret = json_object();
	fd = open(in.file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return ct_error_set(err, fd < 0 ? -errno : -EINVAL, "move", "\"%s\" cannot be read", in.file);
	if (in.images && !in.digest)
		return keep_round(in.images, fd, *ret, err);
	r = in.images ? apply_images(in.images, fd, *ret, &images, err) : 0;
	if (r >= 0)
		r = apply_disk(&in, fd, *ret, err);
	/* Behind the disk: if that lies in the same file system, all has been written. */
	if (r >= 0 && images >= 0 && syncfs(images) < 0)
		r = ct_error_set(err, -errno, "move", "cannot write the images through: %s", strerror(errno));
	return r;
}
