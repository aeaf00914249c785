/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate-send and migrate-apply: the two ends of a container's move, as far as they are long.
 *
 * migrate-send: {"command": [ARG...], "request": {...}, "disk"?: DISK} to what the far end answers. It runs
 * the command, which leads to `ctctl migrate-receive` on the other node, and writes one line, the request.
 * With "template" ({"store", "root", "metadata"}) that goes behind the line, as an export packs it.
 * With disk, the disk is compared with its template before, into a file without a name, and goes behind the
 * line: first, with "images" (a directory), "images_bytes" bytes of those (worker-images.h), then
 * "removed_bytes" of paths that are gone, then an archive, together "bytes"; "digest" is that of the whole
 * tree. The answer comes in lines as a worker writes them.
 *
 * migrate-apply: DISK and {"file", "removed_bytes", "digest"}: brings a new disk to be that tree. What comes
 * is not trusted: paths are looked up beneath the disk's root, the archive is unpacked by a child with few
 * privileges, and the tree must have the digest at the end, or the disk is not used. With "images" ({"path",
 * "bytes", "digest", "base_id", "root", "name"}) those come first: they must have their digest, and are then
 * made to be of the base id and the cgroup here; "images_digest" of the result is what they have since.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/process.h"
#include "base/str.h"
#include "ctd/criu.h"
#include "ctd/worker-export.h"
#include "ctd/worker-extract.h"
#include "ctd/worker-images.h"
#include "ctd/worker-main.h"
#include "quota/difference.h"
#include "quota/disk.h"

#define ANSWER_MAX  (1024 * 1024)
#define REMOVED_MAX (256UL << 20)
#define CHUNK       (256 * 1024)
#define COMMAND_MAX 16
#define BUSY_TRIES  100 /* of 100 ms: a mount goes some time after its last process */

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

/* A container's disk as it is on disk: ids are not shifted. */
struct mounted {
	int root_fd, template_fd;
};

static void mounted_done(struct mounted *m)
{
	m->root_fd = fd_close(m->root_fd);
	m->template_fd = fd_close(m->template_fd);
}

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

static int mount_disk(const json_t *params, struct mounted *ret, struct ct_error *err)
{
	CLEANUP(disk_store_closep) struct disk_store *store = NULL;
	struct disk_params in = { 0 };
	struct disk_spec spec;
	char path[128];
	int r;

	r = json_read(params, disk_fields, &in, err);
	if (r < 0)
		return r;
	spec = (struct disk_spec){ .ctid = in.ctid,
		.template_digest = in.template,
		.bytes = in.bytes,
		.inodes = in.inodes,
		.project_id = (uint32_t)in.project };
	if (disk_driver_from_name(in.driver, &spec.driver) < 0)
		return ct_error_field(err, "driver", "\"%.20s\" is not a storage driver", in.driver);
	r = disk_store_open(in.store, &store, err);
	if (r >= 0)
		r = ret->root_fd = mount_patiently(store, &spec, err);
	if (r < 0)
		return r;

	(void)snprintf(path, sizeof(path), "templates/%.64s/root", in.template); /* fits */
	ret->template_fd =
	        openat(disk_store_fd(store), path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return ret->template_fd < 0
	               ? ct_error_set(err, -errno, "move", "cannot open the template: %s", strerror(errno))
	               : 0;
}

/* ---- migrate-send */

struct payload {
	int fd, images_fd;                           /* the second: a directory, or -1 */
	uint64_t bytes, removed_bytes, images_bytes; /* bytes: with the images */
	uint64_t gone;
	const char *what; /* for progress */
	char digest[65];
};

static void payload_done(struct payload *p)
{
	(void)fd_close(p->fd);
	(void)fd_close(p->images_fd);
}

static int compare(const struct mounted *disk, struct payload *p, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf removed = STRBUF_INIT;
	struct stat st;
	int r;

	worker_progress(-1, "comparing the disk with its template");
	r = difference_removed(disk->root_fd, disk->template_fd, &removed, err);
	if (r < 0)
		return r;
	p->removed_bytes = removed.len;
	r = write_all(p->fd, removed.data ?: "", removed.len);
	if (r < 0)
		return ct_error_set(err, r, "move", "cannot write to the store: %s", strerror(-r));
	r = difference_archive(disk->root_fd, disk->template_fd, p->fd, err);
	if (r >= 0)
		r = worker_check(err);
	if (r >= 0)
		r = tree_digest_lasting(disk->root_fd, p->digest, err);
	if (r < 0)
		return r;
	if (fstat(p->fd, &st) < 0 || lseek(p->fd, 0, SEEK_SET) < 0)
		return ct_error_set(
		        err, -errno, "move", "cannot read what is to be sent: %s", strerror(errno));
	p->bytes = p->images_bytes + (uint64_t)st.st_size;
	return worker_check(err);
}

static int open_images(const char *path, struct payload *p, struct ct_error *err)
{
	if (!path)
		return 0;
	p->images_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (p->images_fd < 0)
		return ct_error_set(err, -errno, "move", "cannot open its images: %s", strerror(errno));
	return images_measure(p->images_fd, &p->images_bytes, err);
}

static int make_payload(
        json_t *disk_params, const char *images, struct payload *p, json_t *request, struct ct_error *err)
{
	CLEANUP(mounted_done) struct mounted disk = { -1, -1 };
	const char *store = json_string_value(json_object_get(disk_params, "store"));
	int r;

	p->fd = open(store ?: "/", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (p->fd < 0)
		return ct_error_set(
		        err, -errno, "move", "cannot make a file in the store: %s", strerror(errno));
	r = open_images(images, p, err);
	if (r >= 0)
		r = mount_disk(disk_params, &disk, err);
	if (r >= 0)
		r = compare(&disk, p, err);
	if (r < 0)
		return r;
	if (images &&
	        json_object_set_new(request, "images_bytes", json_integer((json_int_t)p->images_bytes)) < 0)
		return ct_error_set(err, -ENOMEM, "move", "out of memory");
	if (json_object_set_new(request, "bytes", json_integer((json_int_t)p->bytes)) < 0 ||
	        json_object_set_new(request, "removed_bytes", json_integer((json_int_t)p->removed_bytes)) <
	                0 ||
	        json_object_set_new(request, "digest", json_string(p->digest)) < 0)
		return ct_error_set(err, -ENOMEM, "move", "out of memory");
	return 0;
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
	p->what = "sending the template";
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

/* The command that leads to the far end. */
struct far {
	int in_fd, out_fd, pidfd;
	int said_fd; /* its stderr */
	struct strbuf answer;
};

static void far_done(struct far *f)
{
	(void)fd_close(f->in_fd);
	(void)fd_close(f->out_fd);
	(void)fd_close(f->said_fd);
	(void)fd_close(f->pidfd); /* not reaped: at the end of its input it ends and cleans up */
	strbuf_done(&f->answer);
}

static int far_start(const json_t *command, struct far *f, struct ct_error *err)
{
	const char *argv[COMMAND_MAX + 1] = { NULL };
	_cleanup_close_ int theirs_in = -1, theirs_out = -1;
	struct process_options options = PROCESS_OPTIONS_INIT;
	int in[2], out[2];

	for (size_t i = 0; i < COMMAND_MAX && i < json_array_size(command); i++)
		argv[i] = json_string_value(json_array_get(command, i));
	f->said_fd = memfd_create("said", MFD_CLOEXEC);
	if (!argv[0] || f->said_fd < 0 || pipe2(in, O_CLOEXEC) < 0)
		return ct_error_set(err, -EINVAL, "move", "cannot start the command to the other node");
	theirs_in = in[0];
	f->in_fd = in[1];
	if (pipe2(out, O_CLOEXEC) < 0)
		return ct_error_set(err, -errno, "move", "cannot make a pipe: %s", strerror(errno));
	f->out_fd = out[0];
	theirs_out = out[1];

	options.stdin_fd = theirs_in;
	options.stdout_fd = theirs_out;
	options.stderr_fd = f->said_fd;
	f->pidfd = process_spawn(argv, &options, NULL);
	if (f->pidfd < 0)
		return ct_error_kind_set(
		        err, CT_ERROR_FAILED, -EIO, "cannot run \"%s\": %s", argv[0], strerror(-f->pidfd));
	return 0;
}

/* Why the far end is gone, in its own words. */
static int far_lost(struct far *f, const char *program, struct ct_error *err)
{
	int status;
	char said[160], shown[400];
	off_t end = lseek(f->said_fd, 0, SEEK_END);
	ssize_t n;

	f->out_fd = fd_close(f->out_fd);
	f->in_fd = fd_close(f->in_fd);
	status = process_wait(f->pidfd, 5000000);
	end = lseek(f->said_fd, 0, SEEK_END);
	n = pread(f->said_fd, said, sizeof(said), end > (off_t)sizeof(said) ? end - (off_t)sizeof(said) : 0);
	while (n > 0 && (said[n - 1] == '\n' || said[n - 1] == '\r'))
		n--;
	(void)str_escape_to(shown, sizeof(shown), said, n > 0 ? (size_t)n : 0); /* returns shown */
	return ct_error_kind_set(err, CT_ERROR_FAILED, -EIO,
	        "the other node did not answer: \"%s\" ended with status %d%s%s", program, status,
	        *shown ? ": " : "", shown);
}

static int on_sent(uint64_t bytes, void *userdata, struct ct_error *err)
{
	struct payload *p = userdata;

	p->gone += bytes;
	worker_progress((int)(p->gone * 100 / p->bytes), "%s", p->what ?: "sending");
	return worker_check(err);
}

/* 1: the other end has hung up. */
static int write_disk(struct far *f, struct payload *p, struct ct_error *err)
{
	_cleanup_free_ char *chunk = malloc(CHUNK);
	uint64_t left = p->bytes - p->images_bytes;
	int r = chunk ? 0 : ct_error_set(err, -ENOMEM, "move", "out of memory");

	while (r >= 0 && left > 0) {
		ssize_t n = read_all(p->fd, chunk, left < CHUNK ? (size_t)left : CHUNK);

		if (n <= 0)
			return ct_error_set(
			        err, n < 0 ? (int)n : -EIO, "move", "cannot read what is to be sent");
		if (write_all(f->in_fd, chunk, (size_t)n) < 0)
			return 1;
		left -= (uint64_t)n;
		r = on_sent((uint64_t)n, p, err);
	}
	return r;
}

static int far_write(struct far *f, const json_t *request, struct payload *p, struct ct_error *err)
{
	_cleanup_free_ char *line = json_dumps(request, JSON_COMPACT);
	int r;

	if (!line)
		return ct_error_set(err, -ENOMEM, "move", "out of memory");
	r = write_all(f->in_fd, line, strlen(line)) < 0 || write_all(f->in_fd, "\n", 1) < 0;
	if (r == 0 && p->images_fd >= 0) {
		r = images_send(p->images_fd, f->in_fd, on_sent, p, err);
		r = r == -EPIPE ? 1 : r;
	}
	if (r == 0 && p->fd >= 0)
		r = write_disk(f, p, err);
	if (r < 0)
		return r;
	/* An end that hung up may have said why. */
	f->in_fd = fd_close(f->in_fd);
	return 0;
}

/* One line of the answer. 1: it is the last. */
static int take_line(const char *line, size_t len, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *object = NULL;
	const json_t *value;
	json_t *result;

	if (json_parse(line, len, &object, NULL) < 0 || !json_is_object(object))
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EPROTO,
		        "the other node answers something else than ctctl does");
	value = json_object_get(object, "progress");
	if (value) {
		const char *text = json_string_value(json_object_get(value, "text"));

		worker_progress(-1, "there: %.120s", text ?: "");
		return 0;
	}
	value = json_object_get(object, "error");
	if (value) {
		const char *code = json_string_value(json_object_get(value, "code"));
		const char *text = json_string_value(json_object_get(value, "message"));
		const char *field = json_string_value(json_object_get(value, "field"));

		(void)ct_error_kind_set(err, code ? ct_error_kind_from_name(code) : CT_ERROR_FAILED,
		        -EREMOTEIO, "the other node: %.200s", text ?: "failed without a word");
		if (field)
			(void)str_escape_to(err->field, sizeof(err->field), field, strlen(field));
		return -EREMOTEIO;
	}
	/* An answer to commit ends the copy here: only what says that it is one counts. */
	result = json_object_get(object, "result");
	if (!json_is_object(result))
		return ct_error_kind_set(err, CT_ERROR_FAILED, -EPROTO,
		        "the other node answers something else than ctctl does");
	*ret = json_incref(result);
	return 1;
}

static int far_read(struct far *f, const char *program, json_t **ret, struct ct_error *err)
{
	for (;;) {
		struct pollfd fds[] = { { .fd = f->out_fd, .events = POLLIN },
			{ .fd = worker_stop_fd(), .events = POLLIN } };
		char data[4096];
		const char *end;
		ssize_t n;
		int r;

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return ct_error_set(err, -errno, "move", "cannot wait: %s", strerror(errno));
		r = worker_check(err);
		if (r < 0)
			return r;
		n = read(f->out_fd, data, sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || f->answer.len > ANSWER_MAX)
			return far_lost(f, program, err);
		r = strbuf_add(&f->answer, data, (size_t)n);
		while (r >= 0 && f->answer.len > 0 && (end = memchr(f->answer.data, '\n', f->answer.len))) {
			size_t len = (size_t)(end - f->answer.data), rest = f->answer.len - len - 1;

			r = take_line(f->answer.data, len, ret, err);
			if (r != 0)
				return r;
			memmove(f->answer.data, end + 1, rest);
			f->answer.len = rest;
		}
		if (r < 0)
			return r;
	}
}

int worker_migrate_send(const json_t *params, json_t **ret, struct ct_error *err)
{
	const json_t *command = json_object_get(params, "command");
	const json_t *template = json_object_get(params, "template");
	json_t *disk = json_object_get(params, "disk");
	_cleanup_json_ json_t *request = json_deep_copy(json_object_get(params, "request"));
	const char *program = json_string_value(json_array_get(command, 0));
	CLEANUP(far_done) struct far far = { -1, -1, -1, -1, STRBUF_INIT };
	const char *images = json_string_value(json_object_get(params, "images"));
	CLEANUP(payload_done) struct payload payload = { .fd = -1, .images_fd = -1 };
	int r = 0;

	if (!request || !program)
		return ct_error_set(err, -EINVAL, "move", "command and request are needed");
	if (disk)
		r = make_payload(disk, images, &payload, request, err);
	else if (template)
		r = pack_template(template, &payload, request, err);
	if (r >= 0)
		r = far_start(command, &far, err);
	if (r >= 0)
		r = far_write(&far, request, &payload, err);
	if (r >= 0)
		worker_progress(-1, "waiting for the other node");
	if (r >= 0)
		r = far_read(&far, program, ret, err);
	if (r >= 0 && payload.fd >= 0)
		(void)json_object_set_new(
		        *ret, "bytes", json_integer((json_int_t)payload.bytes)); /* a wish */
	return r < 0 ? r : 0;
}

/* ---- migrate-apply */

struct apply_params {
	json_t *disk, *images;
	const char *file, *digest;
	uint64_t removed_bytes;
};

static const struct json_field apply_fields[] = {
	{ "disk", JSON_KIND_OBJECT, offsetof(struct apply_params, disk), JSON_NO_HAS, true },
	{ "images", JSON_KIND_OBJECT, offsetof(struct apply_params, images), JSON_NO_HAS, false },
	{ "file", JSON_KIND_STRING, offsetof(struct apply_params, file), JSON_NO_HAS, true },
	{ "digest", JSON_KIND_STRING, offsetof(struct apply_params, digest), JSON_NO_HAS, true },
	{ "removed_bytes", JSON_KIND_U64, offsetof(struct apply_params, removed_bytes), JSON_NO_HAS, true },
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

static int verify(int root_fd, const char *digest, struct ct_error *err)
{
	_cleanup_close_ int dir = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char found[65];
	int r;

	worker_progress(-1, "verifying");
	r = tree_digest_lasting(root_fd, found, err);
	if (r >= 0 && !str_eq(found, digest))
		r = ct_error_set(err, -EBADMSG, "move",
		        "the disk that came is not the one that was sent (digest %.12s, not %.12s)", found,
		        digest);
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
	int r;

	if (mkdir(in->path, 0711) < 0 ||
	        (*ret_fd = open(in->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		return ct_error_set(err, -errno, "move", "cannot make \"%s\": %s", in->path, strerror(errno));
	worker_progress(-1, "taking its memory and state");
	r = images_receive(file_fd, in->bytes, *ret_fd, err);
	if (r >= 0)
		r = tree_digest(*ret_fd, digest, err);
	if (r >= 0 && !str_eq(digest, in->digest))
		r = ct_error_set(err, -EBADMSG, "move", "the images that came are not those that were sent");
	return r;
}

static int apply_images(const json_t *params, int file_fd, json_t **ret, struct ct_error *err)
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
		r = tree_digest(fd, digest, err);
	if (r >= 0 && syncfs(fd) < 0)
		r = ct_error_set(err, -errno, "move", "cannot write the images through: %s", strerror(errno));
	if (r >= 0)
		*ret = json_pack("{s:s}", "images_digest", digest);
	return r;
}

int worker_migrate_apply(const json_t *params, json_t **ret, struct ct_error *err)
{
	CLEANUP(mounted_done) struct mounted disk = { -1, -1 };
	struct apply_params in = { 0 };
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	r = json_read(params, apply_fields, &in, err);
	if (r < 0)
		return r;
	fd = open(in.file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return ct_error_set(err, fd < 0 ? -errno : -EINVAL, "move", "\"%s\" cannot be read", in.file);
	if (in.images)
		r = apply_images(in.images, fd, ret, err);
	if (r >= 0)
		r = mount_disk(in.disk, &disk, err);
	if (r >= 0)
		r = take_away(fd, in.removed_bytes, disk.root_fd, err);
	if (r >= 0)
		r = unpack(fd, disk.root_fd, err);
	return r < 0 ? r : verify(disk.root_fd, in.digest, err);
}
