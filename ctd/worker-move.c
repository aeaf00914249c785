/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate-send: the end of a container's move that it leaves, as far as that is long; worker-apply.c has the
 * other.
 *
 * migrate-send: {"command": [ARG...], "request": {...}, "disk"?: DISK, "verify"?: bool} to what the far end
 * answers. It runs the command, which leads to `ctctl migrate-receive` on the other node, and writes one
 * line, the request. With "template" ({"store", "root", "metadata"}) that goes behind the line, as an export
 * packs it. With disk, what goes behind the line is read before, into a file without a name: first, with
 * "images" (a directory), "images_bytes" bytes of those (worker-images.h), then "removed_bytes" of paths that
 * are gone, then an archive, together "bytes"; "digest" is that of the whole tree. The answer comes in lines
 * as a worker writes them. With "ahead": true in place of a request ctd is asked for one, {"ready": true},
 * when the command runs, and answers {"request"}.
 *
 * With "copy" ({"request", "root", "pid", "rate"?, "max_downtime_usec"?, "memory_bytes"?}) the container
 * runs, and its disk is copied meanwhile, in rounds: each is copy's request, with its number as "round", and
 * what has changed since the one before. ctd is asked before each round, {"round": N}. When they are over it
 * is asked {"copied": N}, and may answer {"images": a directory, "memory": M, "first_usec"}: round M of
 * memory has been written there (criu-rounds.h), it goes along with another round, of nothing else, and then
 * ctd is asked again. Behind the first of them, which may have taken long, there is one more round of the
 * disk. Without images in the answer it is asked {"freeze": {"rounds": [{"bytes", "msec"}...],
 * "memory_rounds": [...]}}: the container is to run no more; the answer has "request", and "images" if there
 * are any. (So may an answer to copied: then it has been stopped instead.) That request is said, with what
 * has changed since the last round, whose number is "round" (none: nothing is there); if the images go on
 * from the rounds of memory that are there, without these, which "memory" says how many are. The result has
 * "rounds" and "memory_rounds" too.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"
#include "ctd/criu-rounds.h"
#include "ctd/worker-copy.h"
#include "ctd/worker-export.h"
#include "ctd/worker-far.h"
#include "ctd/worker-images.h"
#include "ctd/worker-main.h"
#include "ctd/worker-move.h"
#include "ctd/worker-suspend-native.h"
#include "quota/disk.h"

#define ROUNDS_MAX       8
#define PATIENCE_SEC     600.0
#define PATIENCE_MAX_SEC 86400
#define ROUND_SMALL      (512 * 1024) /* bytes that are not worth another round */
#define BUSY_TRIES       100          /* of 100 ms: a mount goes some time after its last process */

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

int move_open_store(
        const json_t *params, struct disk_spec *ret, struct disk_store **ret_store, struct ct_error *err)
{
	struct disk_params in = { 0 };
	int r = read_disk_params(params, &in, ret, err);

	return r < 0 ? r : disk_store_open(in.store, ret_store, err);
}

int move_open_disk(const json_t *params, int *ret_root_fd, struct ct_error *err)
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
	struct far *ahead; /* for the last word, or NULL */
	struct disk_view view;
	struct suspend_natives natives;
	struct manifest manifest; /* of the last round */
	uint64_t n_rounds;        /* said, of memory too */
	json_t *rounds, *memory_rounds;
	uint64_t bytes, last_bytes, last_usec; /* all rounds; the last of the disk */
	double fastest;                        /* bytes per second */
	unsigned int memory;                   /* rounds of it that are there */
	uint64_t memory_usec, first_usec;      /* what sending the last took, and writing the first */
};

static void sending_done(struct sending *s)
{
	disk_view_done(&s->view);
	suspend_natives_done(&s->natives);
	far_free(s->ahead);
	(void)fd_close(s->manifest.fd);
	json_decref(s->rounds);
	json_decref(s->memory_rounds);
}

static int open_images(const char *path, struct payload *p, struct ct_error *err)
{
	p->images_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return p->images_fd < 0
	               ? ct_error_set(err, -errno, "move", "cannot open its images: %s", strerror(errno))
	               : 0;
}

/* Of the dump. A dump may have gone without the rounds after all (worker-suspend.c): then all of it goes. */
static int open_dump(const struct sending *s, const char *path, struct payload *p, struct ct_error *err)
{
	int r;

	if (!path)
		return 0;
	r = open_images(path, p, err);
	if (r >= 0)
		r = criu_rounds_read(p->images_fd, false, err);
	if (r < 0)
		return r;
	p->memory = r == (int)s->memory ? s->memory : 0;
	p->part = p->memory > 0 ? images_dump : images_all;
	return images_measure(p->images_fd, &p->part, &p->images_bytes, err);
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
	if (r >= 0 && p->memory > 0)
		r = json_object_set_new(request, "memory", json_integer(p->memory));
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

/* In how many seconds the next word will come at the latest: most of its memory, twice, if it goes as slowly.
 */
static uint64_t patience(const struct sending *s, const struct copy_params *in)
{
	const double speed = in->rate && (double)in->rate < s->fastest ? (double)in->rate : s->fastest;
	const double sec = PATIENCE_SEC + (speed > 0 ? 2 * (double)in->memory_bytes / speed : 0);

	return sec < PATIENCE_MAX_SEC ? (uint64_t)sec : PATIENCE_MAX_SEC;
}

/* Says the word copy. rounds: where it is noted. */
static int say_round(struct sending *s, const struct copy_params *in, struct payload *p, json_t *rounds,
        uint64_t begun, struct ct_error *err)
{
	_cleanup_json_ json_t *result = NULL, *request = json_deep_copy(in->request);
	uint64_t said = now_monotonic_usec();
	int r;

	p->rate = in->rate;
	r = describe(request, p, NULL, s, err);
	if (r >= 0 && json_object_set_new(request, "patience", json_integer((json_int_t)patience(s, in))) < 0)
		r = ct_error_set(err, -ENOMEM, "move", "out of memory");
	if (r >= 0)
		r = far_say(s->command, NULL, request, p, &result, err);
	if (r >= 0)
		r = disk_view_check(&s->view, err);
	if (r < 0)
		return r;
	s->bytes += p->bytes;
	said = now_monotonic_usec() - said;
	if ((double)p->bytes * 1e6 / (double)(said + 1) > s->fastest)
		s->fastest = (double)p->bytes * 1e6 / (double)(said + 1);
	(void)json_array_append_new(
	        rounds, json_pack("{s:I, s:I}", "bytes", (json_int_t)p->bytes, "msec",
	                        (json_int_t)(now_monotonic_usec() - begun) / 1000)); /* a wish */
	return 0;
}

/* 1: another round is wanted. */
static int copy_round(struct sending *s, const struct copy_params *in, struct ct_error *err)
{
	CLEANUP(payload_done) struct payload payload = PAYLOAD_INIT;
	const uint64_t begun = now_monotonic_usec(), last = s->last_bytes;
	struct manifest_result found;
	char text[120];
	int r;

	r = wait_for_slack(s, err);
	if (r >= 0)
		r = worker_ask(json_pack("{s:I}", "round", (json_int_t)s->n_rounds + 1), err);
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
	r = say_round(s, in, &payload, s->rounds, begun, err);
	if (r < 0)
		return r;
	s->last_bytes = payload.bytes;
	s->last_usec = now_monotonic_usec() - begun;
	if (s->n_rounds >= ROUNDS_MAX)
		return 0;
	return s->n_rounds == 1 || (s->last_bytes > ROUND_SMALL && s->last_bytes < last / 4 * 3);
}

/* n: the round; of one that is not what was there before it is the first. */
static int memory_round(struct sending *s, const struct copy_params *in, const char *images, unsigned int n,
        struct ct_error *err)
{
	CLEANUP(payload_done) struct payload payload = PAYLOAD_INIT;
	const uint64_t begun = now_monotonic_usec();
	char text[120];
	int r = open_images(images, &payload, err);

	payload.memory = payload.part.first_round = payload.part.last_round = n;
	if (r >= 0)
		r = images_measure(payload.images_fd, &payload.part, &payload.images_bytes, err);
	if (r < 0)
		return r;
	payload.bytes = payload.images_bytes;
	s->n_rounds++;
	(void)snprintf(text, sizeof(text), "round %u of its memory: %llu KiB", n,
	        (unsigned long long)(payload.bytes >> 10));
	payload.text = text;
	r = say_round(s, in, &payload, s->memory_rounds, begun, err);
	if (r < 0)
		return r;
	s->memory = n;
	s->memory_usec = now_monotonic_usec() - begun;
	return 0;
}

/* How long it will stand still, at most: what the last rounds took, of the disk and of its memory. That is
 * read there as fast as it was written here, or if no round of it is there, comes as fast as the disk did. */
static int check_downtime(
        const struct sending *s, const struct copy_params *in, bool memory_too, struct ct_error *err)
{
	const double disk = (double)s->last_usec / 1e6;
	double memory = 0;

	if (memory_too && s->memory > 0)
		memory = (double)(s->memory_usec + s->first_usec) / 1e6;
	else if (memory_too && s->fastest > 0)
		memory = (double)in->memory_bytes / s->fastest;
	if (!in->has_max_downtime || (disk + memory) * 1e6 <= (double)in->max_downtime_usec)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ETIME,
	        "it would stand still for about %.1f s, more than the %.1f s of --max-downtime: after %zu rounds %llu KiB of its disk still change in %.1f s, and after %u rounds its memory of %llu MiB takes %.1f s; it runs on here (a longer --max-downtime, a faster link, a quieter time)",
	        disk + memory, (double)in->max_downtime_usec / 1e6, json_array_size(s->rounds),
	        (unsigned long long)(s->last_bytes >> 10), disk, s->memory,
	        (unsigned long long)(in->memory_bytes >> 20), memory);
}

/* Rounds of memory, as long as ctd has them. 1: it has been stopped instead, and the answer says what is to
 * be said. */
static int copy_memory(
        struct sending *s, const struct copy_params *in, json_t **ret_answer, struct ct_error *err)
{
	bool disk_again = true;

	for (;;) {
		_cleanup_json_ json_t *answer = NULL;
		const char *images;
		json_int_t n;
		int r = worker_ask_for(json_pack("{s:I}", "copied", (json_int_t)s->n_rounds), &answer, err);

		if (r < 0)
			return r;
		if (json_object_get(answer, "request")) {
			*ret_answer = json_incref(answer);
			return 1;
		}
		images = json_string_value(json_object_get(answer, "images"));
		if (!images)
			return check_downtime(s, in, true, err);
		n = json_integer_value(json_object_get(answer, "memory"));
		s->first_usec = (uint64_t)json_integer_value(json_object_get(answer, "first_usec"));
		r = n < 1 || n > CRIU_ROUNDS_MAX
		            ? ct_error_set(err, -EINVAL, "move", "there is no such round of memory")
		            : memory_round(s, in, images, (unsigned int)n, err);
		if (r >= 0 && TAKE(disk_again, false))
			r = copy_round(s, in, err);
		if (r < 0)
			return r;
	}
}

/* What cannot be read while it runs is left for the end. */
static void add_natives(struct sending *s, pid_t pid)
{
	CLEANUP(disk_store_closep) struct disk_store *store = NULL;
	_cleanup_close_ int upper = -1;
	struct ct_error error = { 0 };
	struct disk_spec spec;
	int r = suspend_natives_list(pid, &s->natives, &error);

	if (r >= 0 && s->natives.n > 0) {
		r = move_open_store(s->disk, &spec, &store, &error);
		if (r >= 0)
			r = upper = disk_open_upper(store, &spec, s->view.userns_fd, &error);
		if (r >= 0)
			disk_view_add_natives(&s->view, upper, s->natives.paths);
	}
	if (r < 0)
		worker_progress(
		        -1, "its native directories are copied when it stands still: %.150s", error.text);
}

/* Rounds, and then what is to be said when it runs no more. */
static int copy_in_use(struct sending *s, const json_t *params, json_t **ret_answer, struct ct_error *err)
{
	struct copy_params in = { 0 };
	struct ct_error error = { 0 };
	int r, template_fd;

	r = json_read(params, copy_fields, &in, err);
	if (r >= 0)
		r = template_fd = move_open_disk(s->disk, NULL, err);
	if (r < 0)
		return r;
	r = disk_view_open(&s->view, in.root, (pid_t)in.pid, template_fd, &error);
	if (r < 0) {
		disk_view_done(&s->view);
		worker_progress(-1, "it is copied when it stands still: %.150s", error.text);
	} else {
		add_natives(s, (pid_t)in.pid);
	}
	while (r >= 0 && (r = copy_round(s, &in, err)) > 0)
		;
	if (r < 0 && error.code >= 0)
		return r;
	r = s->n_rounds > 0 ? check_downtime(s, &in, false, err) : 0;
	if (r >= 0 && s->n_rounds > 0)
		r = copy_memory(s, &in, ret_answer, err);
	disk_view_done(&s->view); /* it is mounted anew when nobody uses it */
	worker_hurry(); /* what is started from here on, too, is waited for by one that stands still */
	if (r == 0)
		(void)far_open(s->command, &s->ahead, NULL); /* else later */
	if (r == 0)
		r = worker_ask_for(json_pack("{s:{s:O, s:O}}", "freeze", "rounds", s->rounds, "memory_rounds",
		                           s->memory_rounds),
		        ret_answer, err);
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
		worker_hurry(); /* it stands still */
		r = open_dump(s, images, &payload, err);
		worker_progress(-1, "comparing the disk with its %s", s->n_rounds ? "copy" : "template");
		if (r >= 0 && s->view.root_fd < 0)
			r = s->view.template_fd = move_open_disk(s->disk, &s->view.root_fd, err);
		if (r >= 0)
			r = make_payload(s, false, &payload, &found, err);
		if (r >= 0)
			r = describe(request, &payload, found.digest, s, err);
	}
	if (s->template)
		r = pack_template(s->template, &payload, request, err);
	if (r >= 0)
		r = far_say(s->command, TAKE_PTR(s->ahead), request, &payload, ret, err);
	if (r >= 0 && payload.fd >= 0 &&
	        (json_object_set_new(*ret, "bytes", json_integer((json_int_t)(s->bytes + payload.bytes))) <
	                        0 ||
	                json_object_set_new(*ret, "last_bytes", json_integer((json_int_t)payload.bytes)) <
	                        0 ||
	                json_object_set(*ret, "rounds", s->rounds) < 0 ||
	                json_object_set(*ret, "memory_rounds", s->memory_rounds) < 0))
		r = ct_error_set(err, -ENOMEM, "move", "out of memory");
	return r;
}

static int reach_ahead(struct sending *s, json_t **ret_answer, struct ct_error *err)
{
	int r;

	worker_hurry();
	r = far_open(s->command, &s->ahead, err);
	return r < 0 ? r : worker_ask_for(json_pack("{s:b}", "ready", 1), ret_answer, err);
}

int worker_migrate_send(const json_t *params, json_t **ret, struct ct_error *err)
{
	const json_t *copy = json_object_get(params, "copy");
	const bool ahead = json_is_true(json_object_get(params, "ahead"));
	CLEANUP(sending_done)
	struct sending s = { .command = json_object_get(params, "command"),
		.disk = json_object_get(params, "disk"),
		.template = json_object_get(params, "template"),
		.verify = json_is_true(json_object_get(params, "verify")),
		.view = DISK_VIEW_INIT,
		.manifest = MANIFEST_INIT,
		.rounds = json_array(),
		.memory_rounds = json_array() };
	_cleanup_json_ json_t *answer = NULL, *request = NULL;
	int r = s.rounds && s.memory_rounds ? 0 : -ENOMEM;

	if (r >= 0 && copy)
		r = copy_in_use(&s, copy, &answer, err);
	else if (r >= 0 && ahead)
		r = reach_ahead(&s, &answer, err);
	if (r < 0)
		return r;
	if (!copy && !ahead)
		answer = json_incref((json_t *)params); /* which says the same */
	request = json_deep_copy(json_object_get(answer, "request"));
	if (!request)
		return ct_error_set(err, -EINVAL, "move", "request is needed");
	return send_last(&s, request, json_string_value(json_object_get(answer, "images")), ret, err);
}
