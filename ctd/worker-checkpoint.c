/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* checkpoint: what a checkpoint has of a container that runs on, but for the dump of its processes.
 *
 * DISK (worker-move.c) and {"name", "used_bytes", "used_inodes", "memory_bytes"} to {"digest", "bytes",
 * "disk_bytes"}: makes tmp/NAME of the store, a copy of the container's disk (quota/copy.c). It is copied
 * while it is in use, in rounds (quota/layer.c), until little is left. Then ctd is asked {"copied": N}:
 * rounds of memory may be written, to tmp/NAME/suspended; behind them there is one more round of the disk.
 * Then {"freeze": true}: with the answer the container stands still, and is dumped there. What has changed
 * since goes over, and with {"read": true} it may run on. What is there is then written through, and gets its
 * digest.
 *
 * Nobody's quota bounds what root writes into the store, so it is asked for room before, and again and again:
 * as much as the memory will take must be left over.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "ctd/criu-host.h"
#include "ctd/criu-rounds.h"
#include "ctd/worker-copy.h"
#include "ctd/worker-main.h"
#include "ctd/worker-move.h"
#include "quota/disk.h"
#include "quota/layer.h"
#include "quota/walk.h"

#define MIB          (1024 * 1024ULL)
#define MARGIN       (64 * MIB) /* of the store, for others, as worker-suspend.c has it */
#define ASK_BYTES    (32 * MIB) /* written between two looks at how much room there is */
#define OBJECT_ROOM  4096ULL    /* that any object takes, by and large */
#define INODE_MARGIN 1024
#define ROUNDS_MAX   8
#define ROUND_SMALL  (512 * 1024ULL) /* not worth another round */
#define OBJECT_COST  1024ULL         /* of what is made anew, whatever is in it */

DEFINE_CLEANUP(struct disk_store *, disk_store_close);

struct checkpoint_params {
	json_t *disk;
	const char *name;
	uint64_t used_bytes, used_inodes, memory_bytes;
};

static const struct json_field fields[] = {
	{ "disk", JSON_KIND_OBJECT, offsetof(struct checkpoint_params, disk), JSON_NO_HAS, true },
	{ "name", JSON_KIND_STRING, offsetof(struct checkpoint_params, name), JSON_NO_HAS, true },
	{ "used_bytes", JSON_KIND_U64, offsetof(struct checkpoint_params, used_bytes), JSON_NO_HAS, true },
	{ "used_inodes", JSON_KIND_U64, offsetof(struct checkpoint_params, used_inodes), JSON_NO_HAS, true },
	{ "memory_bytes", JSON_KIND_U64, offsetof(struct checkpoint_params, memory_bytes), JSON_NO_HAS,
	        true },
	{ NULL },
};

struct copying {
	struct checkpoint_params in;
	struct disk_spec spec;
	int store_fd;         /* borrowed */
	int from[2], to[2];   /* the directory of the disk, and that which has its layers */
	int upper[2];         /* of each */
	uint64_t since_asked; /* bytes */
	struct layer_copy layer;
	unsigned int n_rounds;
};
#define COPYING_INIT                                                                                         \
	{                                                                                                    \
		.from = { -1, -1 }, .to = { -1, -1 }, .upper = { -1, -1 }, .layer.manifest = MANIFEST_INIT   \
	}

static void copying_done(struct copying *c)
{
	layer_copy_done(&c->layer);
	for (int i = 0; i < 2; i++) {
		(void)fd_close(c->upper[i]);
		(void)fd_close(c->from[i]);
		(void)fd_close(c->to[i]);
	}
}

static int check_room(const struct copying *c, uint64_t bytes, uint64_t inodes, struct ct_error *err)
{
	const uint64_t needed = bytes + c->in.memory_bytes;
	struct statvfs fs;
	uint64_t room;

	if (fstatvfs(c->store_fd, &fs) < 0)
		return ct_error_set(
		        err, -errno, "checkpoint", "cannot ask how much room there is: %s", strerror(errno));
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (fs.f_files && inodes + INODE_MARGIN > fs.f_favail) /* btrfs says none */
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
		        "its files take %" PRIu64
		        " inodes more, and the store has %llu (remove something from it)",
		        inodes, (unsigned long long)fs.f_favail);
	if (needed + MARGIN <= room)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	        "its disk and memory take %" PRIu64 " MiB more, and the store has %" PRIu64
	        " MiB left, of which %llu must stay free (remove something from it)",
	        (uint64_t)(needed / MIB), (uint64_t)(room / MIB), MARGIN / MIB);
}

static int on_write(uint64_t bytes, void *userdata, struct ct_error *err)
{
	struct copying *c = userdata;
	int r = worker_check(err);

	c->since_asked += bytes ? bytes : OBJECT_ROOM;
	if (r < 0 || c->since_asked < ASK_BYTES)
		return r;
	c->since_asked = 0;
	return check_room(c, ASK_BYTES, ASK_BYTES / OBJECT_ROOM, err);
}

static int open_both(struct copying *c, struct disk_store *store, struct ct_error *err)
{
	int r;

	r = c->from[1] = disk_open_layers(store, &c->spec, &c->from[0], err);
	if (r >= 0)
		r = c->to[1] = disk_copy_new(store, &c->spec, c->in.name, &c->to[0], err);
	if (r < 0)
		return r;
	c->upper[0] = open_beneath(c->from[1], "upper", O_RDONLY | O_DIRECTORY, 0);
	c->upper[1] = open_beneath(c->to[1], "upper", O_RDONLY | O_DIRECTORY, 0);
	if (c->upper[0] < 0 || c->upper[1] < 0) {
		r = c->upper[0] < 0 ? c->upper[0] : c->upper[1];
		return ct_error_set(err, r, "checkpoint", "cannot open its layers: %s", strerror(-r));
	}
	c->layer.from_fd = c->upper[0];
	c->layer.to_fd = c->upper[1];
	c->layer.check = on_write;
	c->layer.userdata = c;
	return 0;
}

/* A round that begins sooner would have for changed, in the next one, what was so in the last. */
static int wait_for_slack(const struct copying *c, struct ct_error *err)
{
	struct pollfd stop = { .fd = worker_stop_fd(), .events = POLLIN };
	const uint64_t due = c->layer.manifest.start_usec + LAYER_SLACK_USEC, now = now_realtime_usec();

	if (c->n_rounds > 0 && now < due && due - now <= LAYER_SLACK_USEC)
		(void)poll(&stop, 1, (int)((due - now) / 1000) + 1); /* worker_check sees why */
	return worker_check(err);
}

/* ret: what it was about, in bytes. */
static int copy_round(struct copying *c, bool live, uint64_t *ret, struct ct_error *err)
{
	_cleanup_close_ int manifest = openat(c->store_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct layer_round round;
	int r = live ? wait_for_slack(c, err) : 0;

	if (manifest < 0)
		return ct_error_set(
		        err, -errno, "checkpoint", "cannot make a file in the store: %s", strerror(errno));
	if (r < 0)
		return r;
	worker_progress(-1, "%s: copying what has changed on its disk",
	        live ? c->n_rounds == 0 ? "first round" : "another round" : "frozen");
	r = layer_copy_round(&c->layer, TAKE_FD(manifest), live, &round, err);
	c->n_rounds++;
	*ret = round.bytes + round.n_changed * OBJECT_COST;
	return r;
}

static int copy_in_use(struct copying *c, struct ct_error *err)
{
	uint64_t last = 0, now = 0;
	int r;

	do {
		last = now;
		r = copy_round(c, true, &now, err);
	} while (r >= 0 && c->n_rounds < ROUNDS_MAX &&
	         (c->n_rounds == 1 || (now > ROUND_SMALL && now < last / 4 * 3)));
	if (r >= 0)
		r = worker_ask(json_pack("{s:i}", "copied", (int)c->n_rounds), err);
	/* Rounds of memory may have taken long. */
	if (r >= 0)
		r = copy_round(c, true, &now, err);
	return r;
}

static int add_blocks(const struct walk_entry *entry, void *userdata, struct ct_error *err)
{
	uint64_t *sum = userdata;

	if (!entry->first)
		*sum += (uint64_t)entry->st.st_blocks * 512;
	return 0;
}

/* What the copy takes. */
static int measure(const struct copying *c, uint64_t *ret, struct ct_error *err)
{
	struct stat st;

	*ret = 0;
	if (c->spec.driver == DISK_DRIVER_DIR)
		return tree_walk(c->upper[1], add_blocks, ret, err);
	if (fstatat(c->to[0], "disk.img", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return ct_error_set(
		        err, -errno, "checkpoint", "cannot look at the disk image: %s", strerror(errno));
	*ret = (uint64_t)st.st_blocks * 512;
	return 0;
}

/* It runs on meanwhile. */
static int seal(const struct copying *c, json_t **ret, struct ct_error *err)
{
	_cleanup_close_ int images = open_beneath(c->to[0], "suspended", O_RDONLY | O_DIRECTORY, 0);
	uint64_t disk_bytes = 0;
	char digest[65];
	int r;

	if (images < 0)
		return ct_error_set(
		        err, images, "checkpoint", "cannot open its images: %s", strerror(-images));
	worker_progress(-1, "syncing");
	r = disk_copy_note(c->from, c->to, err);
	if (r >= 0 && (syncfs(c->to[1]) < 0 || syncfs(c->to[0]) < 0))
		r = ct_error_set(err, -errno, "checkpoint", "cannot sync the copy: %s", strerror(errno));
	if (r >= 0)
		r = criu_rounds_digest(images, digest, err);
	if (r >= 0)
		r = measure(c, &disk_bytes, err);
	if (r < 0)
		return r;
	*ret = json_pack("{s:s, s:I, s:I}", "digest", digest, "bytes",
	        (json_int_t)criu_host_images_size(images), "disk_bytes", (json_int_t)disk_bytes);
	return *ret ? 0 : ct_error_set(err, -ENOMEM, "checkpoint", "out of memory");
}

int worker_checkpoint(const json_t *params, json_t **ret, struct ct_error *err)
{
	CLEANUP(disk_store_closep) struct disk_store *store = NULL;
	CLEANUP(copying_done) struct copying c = COPYING_INIT;
	uint64_t ignored;
	int r;

	r = json_read(params, fields, &c.in, err);
	if (r >= 0)
		r = move_open_store(c.in.disk, &c.spec, &store, err);
	if (r < 0)
		return r;
	c.store_fd = disk_store_fd(store);
	if (!disk_shows_changes(c.store_fd))
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "the file system of the store is not one whose disks are copied in use (ext4, xfs, btrfs)");
	r = check_room(&c, c.in.used_bytes, c.in.used_inodes, err);
	if (r >= 0)
		r = open_both(&c, store, err);
	if (r >= 0)
		r = copy_in_use(&c, err);
	if (r >= 0)
		r = worker_ask(json_pack("{s:b}", "freeze", 1), err);
	if (r >= 0)
		r = copy_round(&c, false, &ignored, err);
	if (r >= 0)
		r = worker_ask(json_pack("{s:b}", "read", 1), err);
	return r < 0 ? r : seal(&c, ret, err);
}
