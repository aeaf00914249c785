/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate-send and migrate-apply: the two ends of a container's move, as far as they are long.
 *
 * migrate-send: {"command": [ARG...], "request": {...}, "disk"?: DISK, "verify"?: bool} to what the far end
 * answers. It runs the command, which leads to `ctctl migrate-receive` on the other node, and writes one
 * line, the request. With "template" ({"store", "root", "metadata"}) that goes behind the line, as an export
 * packs it. With disk, what goes behind the line is read before, into a file without a name: first, with
 * "images" (a directory), "images_bytes" bytes of those (worker-images.h), then "removed_bytes" of paths that
 * are gone, then an archive, together "bytes"; "digest" is that of the whole tree. The answer comes in lines
 * as a worker writes them.
 *
 * With "copy" ({"request", "root", "pid", "rate"?, "max_downtime_usec"?, "memory_bytes"?}) the container
 * runs, and its disk is copied meanwhile, in rounds: each is copy's request, with its number as "round", and
 * what has changed since the one before. ctd is asked before each round, {"round": N}: its answer may have
 * "images", a directory that goes along as "images_bytes", and "more": another round is wanted for what
 * these are of. Then it is asked {"freeze": {"rounds": [{"bytes", "msec"}...]}}: the container is to run no
 * more; the answer has "request", and "images" if there are any. That request is said, with what has changed
 * since the last round, whose number is "round" (none: nothing is there). The result has "rounds" too.
 *
 * migrate-apply: DISK and {"file", "removed_bytes", "manifest"?, "known_usec"?, "digest"?}: brings a disk to
 * be that tree. What comes is not trusted: paths are looked up beneath the disk's root, the archive is
 * unpacked by a child with few privileges, and the tree must have the digest at the end, or the disk is not
 * used. Without a digest it is a round of a copy. manifest names a file in which stands what the tree was
 * (known_usec: it stands there already, and was begun then): what has not changed is not read again. With
 * "images" ({"path", "bytes", "digest", "base_id", "root", "name"}) those come first: they must have their
 * digest, and are then made to be of the base id and the cgroup here; "images_digest" of the result is what
 * they have since. Those of a round ({"path", "round", "bytes"}) are kept as they come, in path/pre-ROUND.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
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
#include "ctd/worker-export.h"
#include "ctd/worker-extract.h"
#include "ctd/worker-far.h"
#include "ctd/worker-images.h"
#include "ctd/worker-main.h"
#include "quota/difference.h"
#include "quota/disk.h"

#define REMOVED_MAX (256UL << 20)
#define ROUNDS_MAX  8
#define ROUND_SMALL (512 * 1024) /* bytes that are not worth another round */
#define TICK_USEC   20000ULL     /* more than a tick of the kernel's clock */
#define BUSY_TRIES  100          /* of 100 ms: a mount goes some time after its last process */

DEFINE_CLEANUP(struct disk_store *, disk_store_close);

struct disk_params {
	const char *store, *ctid, *driver, *template;
	uint64_t bytes, inodes, project;
};

static const struct json_field disk_fields[] = {
	{ "store", JSON_KIND_STRING, offsetof(struct disk_params, store), JSON_NO_HAS, true },
	{ "ctid", JSON_KIND_STRING, offsetof(struct disk_params, ctid), JSON_NO_HAS, true },
	{ "driver", JSON_KIND_STRING, offsetof(struct disk_params, driver), JSON_NO_HAS, true },
	{ "template", JSON_KIND_STRING, offsetof(struct disk_params, template), JSON_NO_HAS, true },
	{ "bytes", JSON_KIND_U64, offsetof(struct disk_params, bytes), JSON_NO_HAS, true },
	{ "inodes", JSON_KIND_U64, offsetof(struct disk_params, inodes), JSON_NO_HAS, true },
	{ "project", JSON_KIND_U64, offsetof(struct disk_params, project), JSON_NO_HAS, true },
	{ NULL },
};

static int mount_patiently(struct disk_store *store, const struct disk_spec *spec, struct ct_error *err)
{
	int r = -EBUSY;

	for (unsigned i = 0; r == -EBUSY && i < BUSY_TRIES; i++) {
		struct pollfd stop = { .fd = worker_stop_fd(), .events = POLLIN };

		if (i > 0 && poll(&stop, 1, 100) > 0)
			return worker_check(err);
		r = disk_mount(store, spec, -1, err);
	}
	return r;
}

static int read_disk_params(
        const json_t *params, struct disk_params *in, struct disk_spec *spec, struct ct_error *err)
{
	int r = json_read(params, disk_fields, in, err);

	if (r < 0)
		return r;
	*spec = (struct disk_spec){ .ctid = in->ctid,
		.template_digest = in->template,
		.bytes = in->bytes,
		.inodes = in->inodes,
		.project_id = (uint32_t)in->project };
	if (disk_driver_from_name(in->driver, &spec->driver) < 0)
		return ct_error_field(err, "driver", "\"%.20s\" is not a storage driver", in->driver);
	return 0;
}

/* Of the template; with ret_root_fd, of the disk, which is at rest. */
static int open_disk(const json_t *params, int *ret_root_fd, struct ct_error *err)
{
	CLEANUP(disk_store_closep) struct disk_store *store = NULL;
	struct disk_params in = { 0 };
	struct disk_spec spec;
	char path[128];
	int r, fd;

	r = read_disk_params(params, &in, &spec, err);
	if (r >= 0)
		r = disk_store_open(in.store, &store, err);
	if (r >= 0 && ret_root_fd)
		r = *ret_root_fd = mount_patiently(store, &spec, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "templates/%.64s/root", in.template); /* fits */
	fd = openat(disk_store_fd(store), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? ct_error_set(err, -errno, "move", "cannot open the template: %s", strerror(errno))
	              : fd;
}

/* ---- migrate-send */

struct copy_params {
	json_t *request;
	const char *root;
	uint64_t pid, rate, max_downtime_usec, memory_bytes;
	bool has_max_downtime;
};

static const struct json_field copy_fields[] = {
	{ "request", JSON_KIND_OBJECT, offsetof(struct copy_params, request), JSON_NO_HAS, true },
	{ "root", JSON_KIND_STRING, offsetof(struct copy_params, root), JSON_NO_HAS, true },
	{ "pid", JSON_KIND_U64, offsetof(struct copy_params, pid), JSON_NO_HAS, true },
	{ "rate", JSON_KIND_U64, offsetof(struct copy_params, rate), JSON_NO_HAS, false },
	{ "max_downtime_usec", JSON_KIND_U64, offsetof(struct copy_params, max_downtime_usec),
	        offsetof(struct copy_params, has_max_downtime), false },
	{ "memory_bytes", JSON_KIND_U64, offsetof(struct copy_params, memory_bytes), JSON_NO_HAS, false },
	{ NULL },
};

struct sending {
	const json_t *command, *disk, *template;
	bool verify;
	struct disk_view view;
	struct manifest manifest; /* of the last round */
	uint64_t n_rounds;
	json_t *rounds;
	uint64_t bytes, last_bytes, last_usec; /* all rounds; the last */
	double fastest;                        /* bytes per second */
};

static void sending_done(struct sending *s)
{
	disk_view_done(&s->view);
	(void)fd_close(s->manifest.fd);
	json_decref(s->rounds);
}

static int open_images(const char *path, struct payload *p, struct ct_error *err)
{
	if (!path)
		return 0;
	p->images_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (p->images_fd < 0)
		return ct_error_set(err, -errno, "move", "cannot open its images: %s", strerror(errno));
	return images_measure(p->images_fd, &images_all, &p->images_bytes, err);
}

/* What the request says of its payload. */
static int describe(json_t *request, const struct payload *p, const char *digest, const struct sending *s,
        struct ct_error *err)
{
	_cleanup_json_ json_t *more = json_pack("{s:I, s:I, s:s*, s:b}", "bytes", (json_int_t)p->bytes,
	        "removed_bytes", (json_int_t)p->removed_bytes, "digest", digest, "verify", s->verify);
	int r = more ? json_object_update(request, more) : -1;

	if (r >= 0 && p->images_fd >= 0)
		r = json_object_set_new(request, "images_bytes", json_integer((json_int_t)p->images_bytes));
	if (r >= 0 && s->n_rounds > 0)
		r = json_object_set_new(request, "round", json_integer((json_int_t)s->n_rounds));
	return r < 0 ? ct_error_set(err, -ENOMEM, "move", "out of memory") : 0;
}

/* What has changed since the last round, or all. The payload's images are there. */
static int make_payload(
        struct sending *s, bool live, struct payload *p, struct manifest_result *ret, struct ct_error *err)
{
	const char *store = json_string_value(json_object_get(s->disk, "store")) ?: "/";
	struct manifest_round round = { .live = live,
		.verify = s->verify && !live,
		.any_dev = !live,
		.old = s->manifest.fd >= 0 ? &s->manifest : NULL };
	struct manifest new = MANIFEST_INIT;
	int r;

	r = p->fd = file_unnamed(store, err);
	if (r >= 0)
		r = new.fd = file_unnamed(store, err);
	if (r >= 0)
		r = disk_view_read(&s->view, &round, &new, p, ret, err);
	(void)fd_close(s->manifest.fd);
	s->manifest = new;
	return r;
}

/* ---- rounds */

/* A round that begins sooner would have for changed, in the next one, what was so in the last. */
static int wait_for_slack(const struct sending *s, struct ct_error *err)
{
	struct pollfd stop = { .fd = worker_stop_fd(), .events = POLLIN };
	const uint64_t due = s->manifest.start_usec + DISK_VIEW_SLACK_USEC, now = now_realtime_usec();

	if (s->n_rounds > 0 && now < due && due - now <= DISK_VIEW_SLACK_USEC)
		(void)poll(&stop, 1, (int)((due - now) / 1000) + 1); /* worker_check sees why */
	return worker_check(err);
}

/* 1: another round is wanted. */
static int copy_round(struct sending *s, const struct copy_params *in, struct ct_error *err)
{
	CLEANUP(payload_done) struct payload payload = PAYLOAD_INIT;
	_cleanup_json_ json_t *answer = NULL, *result = NULL, *request = json_deep_copy(in->request);
	const uint64_t begun = now_monotonic_usec(), last = s->last_bytes;
	struct manifest_result found;
	char text[120];
	uint64_t said;
	int r;

	r = wait_for_slack(s, err);
	if (r >= 0)
		r = worker_ask_for(json_pack("{s:I}", "round", (json_int_t)s->n_rounds + 1), &answer, err);
	if (r >= 0)
		r = open_images(json_string_value(json_object_get(answer, "images")), &payload, err);
	worker_progress(-1, "round %llu: looking for what has changed", (unsigned long long)s->n_rounds + 1);
	if (r >= 0)
		r = make_payload(s, true, &payload, &found, err);
	if (r < 0)
		return r;
	s->n_rounds++;
	(void)snprintf(text, sizeof(text), "round %llu: %llu objects, %llu KiB",
	        (unsigned long long)s->n_rounds, (unsigned long long)found.n_changed,
	        (unsigned long long)(payload.bytes >> 10));
	payload.text = text;
	payload.rate = in->rate;
	said = now_monotonic_usec();
	r = describe(request, &payload, NULL, s, err);
	if (r >= 0)
		r = far_say(s->command, request, &payload, &result, err);
	if (r >= 0)
		r = disk_view_check(&s->view, err);
	if (r < 0)
		return r;
	s->last_bytes = payload.bytes;
	s->last_usec = now_monotonic_usec() - begun;
	s->bytes += payload.bytes;
	said = now_monotonic_usec() - said;
	if ((double)payload.bytes * 1e6 / (double)(said + 1) > s->fastest)
		s->fastest = (double)payload.bytes * 1e6 / (double)(said + 1);
	(void)json_array_append_new(s->rounds, json_pack("{s:I, s:I}", "bytes", (json_int_t)payload.bytes,
	                                               "msec", (json_int_t)s->last_usec / 1000)); /* a wish */
	if (s->n_rounds >= ROUNDS_MAX)
		return 0;
	return json_is_true(json_object_get(answer, "more")) || s->n_rounds == 1 ||
	       (s->last_bytes > ROUND_SMALL && s->last_bytes < last / 4 * 3);
}

/* How long it will stand still, at most: what the last round took, and its memory. */
static int check_downtime(const struct sending *s, const struct copy_params *in, struct ct_error *err)
{
	const double memory = s->fastest > 0 ? (double)in->memory_bytes / s->fastest : 0;
	const double expected = (double)s->last_usec / 1e6 + memory;

	if (!in->has_max_downtime || expected * 1e6 <= (double)in->max_downtime_usec)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ETIME,
	        "it would stand still for about %.1f s, more than the %.1f s of --max-downtime: after %llu rounds %llu KiB of its disk still change in %.1f s, and its memory of %llu MiB takes %.1f s; it runs on here (a longer --max-downtime, a faster link, a quieter time)",
	        expected, (double)in->max_downtime_usec / 1e6, (unsigned long long)s->n_rounds,
	        (unsigned long long)(s->last_bytes >> 10), (double)s->last_usec / 1e6,
	        (unsigned long long)(in->memory_bytes >> 20), memory);
}

/* Rounds, and then what is to be said when it runs no more. */
static int copy_in_use(struct sending *s, const json_t *params, json_t **ret_answer, struct ct_error *err)
{
	struct copy_params in = { 0 };
	struct ct_error error = { 0 };
	int r, template_fd;

	r = json_read(params, copy_fields, &in, err);
	if (r >= 0)
		r = template_fd = open_disk(s->disk, NULL, err);
	if (r < 0)
		return r;
	r = disk_view_open(&s->view, in.root, (pid_t)in.pid, template_fd, &error);
	if (r < 0) {
		disk_view_done(&s->view);
		worker_progress(-1, "it is copied when it stands still: %.150s", error.text);
	}
	while (r >= 0 && (r = copy_round(s, &in, err)) > 0)
		;
	if (r < 0 && error.code >= 0)
		return r;
	r = s->n_rounds > 0 ? check_downtime(s, &in, err) : 0;
	disk_view_done(&s->view); /* it is mounted anew when nobody uses it */
	if (r >= 0)
		r = worker_ask_for(json_pack("{s:{s:O}}", "freeze", "rounds", s->rounds), ret_answer, err);
	return r;
}

struct template_params {
	const char *store, *root, *metadata;
};

static const struct json_field template_fields[] = {
	{ "store", JSON_KIND_STRING, offsetof(struct template_params, store), JSON_NO_HAS, true },
	{ "root", JSON_KIND_STRING, offsetof(struct template_params, root), JSON_NO_HAS, true },
	{ "metadata", JSON_KIND_STRING, offsetof(struct template_params, metadata), JSON_NO_HAS, true },
	{ NULL },
};

static int pack_template(const json_t *params, struct payload *p, json_t *request, struct ct_error *err)
{
	struct template_params in = { 0 };
	off_t end;
	int r = json_read(params, template_fields, &in, err);

	if (r < 0)
		return r;
	p->text = "sending the template";
	p->fd = open(in.store, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (p->fd < 0)
		return ct_error_set(
		        err, -errno, "move", "cannot make a file in the store: %s", strerror(errno));
	worker_progress(-1, "packing the template");
	r = export_pack(in.root, in.metadata, p->fd, err);
	if (r < 0)
		return r;
	end = lseek(p->fd, 0, SEEK_END);
	if (end < 0 || lseek(p->fd, 0, SEEK_SET) < 0)
		return ct_error_set(
		        err, -errno, "move", "cannot read what is to be sent: %s", strerror(errno));
	p->bytes = (uint64_t)end;
	return json_object_set_new(request, "bytes", json_integer((json_int_t)p->bytes)) < 0
	               ? ct_error_set(err, -ENOMEM, "move", "out of memory")
	               : 0;
}

static int send_last(
        struct sending *s, json_t *request, const char *images, json_t **ret, struct ct_error *err)
{
	CLEANUP(payload_done) struct payload payload = PAYLOAD_INIT;
	struct manifest_result found = { 0 };
	int r = 0;

	if (s->disk) {
		r = open_images(images, &payload, err);
		worker_progress(-1, "comparing the disk with its %s", s->n_rounds ? "copy" : "template");
		if (r >= 0 && s->view.root_fd < 0)
			r = s->view.template_fd = open_disk(s->disk, &s->view.root_fd, err);
		if (r >= 0)
			r = make_payload(s, false, &payload, &found, err);
		if (r >= 0)
			r = describe(request, &payload, found.digest, s, err);
	}
	if (s->template)
		r = pack_template(s->template, &payload, request, err);
	if (r >= 0)
		r = far_say(s->command, request, &payload, ret, err);
	if (r >= 0 && payload.fd >= 0 &&
	        (json_object_set_new(*ret, "bytes", json_integer((json_int_t)(s->bytes + payload.bytes))) <
	                        0 ||
	                json_object_set_new(*ret, "last_bytes", json_integer((json_int_t)payload.bytes)) <
	                        0 ||
	                json_object_set(*ret, "rounds", s->rounds) < 0))
		r = ct_error_set(err, -ENOMEM, "move", "out of memory");
	return r;
}

int worker_migrate_send(const json_t *params, json_t **ret, struct ct_error *err)
{
	const json_t *copy = json_object_get(params, "copy");
	CLEANUP(sending_done)
	struct sending s = { .command = json_object_get(params, "command"),
		.disk = json_object_get(params, "disk"),
		.template = json_object_get(params, "template"),
		.verify = json_is_true(json_object_get(params, "verify")),
		.view = DISK_VIEW_INIT,
		.manifest = MANIFEST_INIT,
		.rounds = json_array() };
	_cleanup_json_ json_t *answer = NULL, *request = NULL;
	int r = s.rounds ? 0 : -ENOMEM;

	if (r >= 0 && copy)
		r = copy_in_use(&s, copy, &answer, err);
	if (r < 0)
		return r;
	if (!copy)
		answer = json_incref((json_t *)params); /* which says the same */
	request = json_deep_copy(json_object_get(answer, "request"));
	if (!request)
		return ct_error_set(err, -EINVAL, "move", "request is needed");
	return send_last(&s, request, json_string_value(json_object_get(answer, "images")), ret, err);
}

/* ---- migrate-apply */

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
	struct manifest_round round = {
		.root_fd = root_fd, .base_fd = -1, .old = in->has_start ? &old : NULL, .slack_usec = TICK_USEC
	};
	struct manifest new = MANIFEST_INIT;
	struct manifest_result found;
	int r;

	if (!in->manifest)
		return tree_digest_lasting(root_fd, digest, err);
	fd = new.fd =
	        kept < 0
	                ? ct_error_set(err, -errno, "move", "cannot open what was noted: %s", strerror(errno))
	                : file_unnamed(json_string_value(json_object_get(in->disk, "store")) ?: "/", err);
	r = fd < 0 ? fd : wait_a_tick(err);
	new.start_usec = now_realtime_usec();
	if (r >= 0)
		r = manifest_make(&round, &new, &found, err);
	if (r >= 0)
		r = keep_manifest(&new, kept, err);
	if (r < 0)
		return r;
	memcpy(digest, found.digest, sizeof(found.digest));
	return json_object_set_new(ret, "known_usec", json_integer((json_int_t) new.start_usec)) < 0 ? -ENOMEM
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
};

static const struct json_field images_fields[] = {
	{ "path", JSON_KIND_STRING, offsetof(struct images_params, path), JSON_NO_HAS, true },
	{ "digest", JSON_KIND_STRING, offsetof(struct images_params, digest), JSON_NO_HAS, true },
	{ "bytes", JSON_KIND_U64, offsetof(struct images_params, bytes), JSON_NO_HAS, true },
	{ "base_id", JSON_KIND_U64, offsetof(struct images_params, base_id), JSON_NO_HAS, true },
	{ "root", JSON_KIND_STRING, offsetof(struct images_params, place.root), JSON_NO_HAS, true },
	{ "name", JSON_KIND_STRING, offsetof(struct images_params, place.name), JSON_NO_HAS, true },
	{ NULL },
};

/* As worker-suspend.c makes the directory: else the digest is another. */
static int make_images(const struct images_params *in, int file_fd, int *ret_fd, struct ct_error *err)
{
	char digest[65];
	int r, n_rounds = 0;

	if (mkdir(in->path, 0711) < 0 ||
	        (*ret_fd = open(in->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		return ct_error_set(err, -errno, "move", "cannot make \"%s\": %s", in->path, strerror(errno));
	worker_progress(-1, "taking its memory and state");
	r = images_receive(file_fd, in->bytes, *ret_fd, err);
	if (r >= 0)
		r = n_rounds = criu_rounds_read(*ret_fd, true, err);
	if (r >= 0 && n_rounds > 0)
		r = criu_rounds_link(*ret_fd, (unsigned int)n_rounds, true, err);
	if (r >= 0)
		r = criu_rounds_digest(*ret_fd, digest, err);
	if (r >= 0 && !str_eq(digest, in->digest))
		r = ct_error_set(err, -EBADMSG, "move", "the images that came are not those that were sent");
	return r;
}

static int apply_images(const json_t *params, int file_fd, json_t *ret, struct ct_error *err)
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
	if (r >= 0 && syncfs(fd) < 0)
		r = ct_error_set(err, -errno, "move", "cannot write the images through: %s", strerror(errno));
	if (r >= 0 && json_object_set_new(ret, "images_digest", json_string(digest)) < 0)
		r = -ENOMEM;
	return r;
}

/* Of a round: as they come. */
static int keep_images(const json_t *params, int file_fd, struct ct_error *err)
{
	const char *beside = json_string_value(json_object_get(params, "path"));
	_cleanup_free_ char *path =
	        str_printf("%s/pre-%d", beside, (int)json_integer_value(json_object_get(params, "round")));
	_cleanup_close_ int fd = -1;

	if (!path || (mkdir(beside, 0711) < 0 && errno != EEXIST) || mkdir(path, 0700) < 0 ||
	        (fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		return ct_error_set(err, -errno, "move", "cannot make \"%s\": %s", beside, strerror(errno));
	return images_receive(
	        file_fd, (uint64_t)json_integer_value(json_object_get(params, "bytes")), fd, err);
}

static int apply_disk(const struct apply_params *in, int fd, json_t *ret, struct ct_error *err)
{
	_cleanup_close_ int root = -1, template = -1;
	int r = template = open_disk(in->disk, &root, err);

	if (r >= 0)
		r = take_away(fd, in->removed_bytes, root, err);
	if (r >= 0)
		r = unpack(fd, root, err);
	return r < 0 ? r : verify(in, root, ret, err);
}

int worker_migrate_apply(const json_t *params, json_t **ret, struct ct_error *err)
{
	struct apply_params in = { 0 };
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	r = json_read(params, apply_fields, &in, err);
	if (r < 0)
		return r;
	*ret = json_object();
	fd = open(in.file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return ct_error_set(err, fd < 0 ? -errno : -EINVAL, "move", "\"%s\" cannot be read", in.file);
	if (in.images && in.digest)
		r = apply_images(in.images, fd, *ret, err);
	else if (in.images)
		r = keep_images(in.images, fd, err);
	return r < 0 ? r : apply_disk(&in, fd, *ret, err);
}
