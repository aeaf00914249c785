/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the processes in CRIU's images belong, on another node.
 *
 * Ids are in images as they are inside, but for two: the map of the user namespace, from which all others are
 * made, and the owners of the cgroups, which CRIU gives them by the host's ids. The cgroups have the path
 * that they had on the node of the dump. So userns-N.img is written anew, and in cgroup.img owners and paths
 * are replaced; what of other hierarchies is there, which no container of ours is in, stays.
 *
 * Both are two magic numbers, then one record, its length and a message of userns.proto or cgroup.proto. The
 * names of the cgroups inside are a tenant's.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/str.h"
#include "ctd/criu.h"

#define IDS        65536u
#define HEAD       8
#define CGROUPS    "cgroup.img"
#define USERNS_MAX 4096
#define CGROUP_MAX (16 * 1024 * 1024)
#define DEPTH_MAX  64

enum {
	MAP_UID = 1,
	MAP_GID = 2,
	EXTENT_FIRST = 1,
	EXTENT_LOWER = 2,
	EXTENT_COUNT = 3,
	ENTRY_SET = 1,
	ENTRY_CONTROLLER = 2,
	SET_MEMBER = 2,
	MEMBER_PATH = 2,
	MEMBER_PREFIX = 3,
	CONTROLLER_DIR = 2,
	DIR_NAME = 1,
	DIR_CHILD = 2,
	DIR_PROPERTY = 3,
	DIR_PERMS = 4,
	PROPERTY_PERMS = 3,
	PERMS_UID = 2,
	PERMS_GID = 3,
};

/* The one record of an image. */
static int record_of(const char *data, size_t len, struct criu_reader *ret)
{
	uint32_t size;

	if (len < HEAD + sizeof(size))
		return -EBADMSG;
	memcpy(&size, data + HEAD, sizeof(size));
	if (size != len - HEAD - sizeof(size))
		return -EBADMSG;
	ret->at = (const unsigned char *)data + HEAD + sizeof(size);
	ret->end = ret->at + size;
	return 0;
}

/* magic: what the image begins with, HEAD bytes. */
static int put_image(struct strbuf *out, const char *magic, const struct strbuf *record)
{
	const uint32_t size = (uint32_t)record->len;

	(void)strbuf_add(out, magic, HEAD); /* failures are remembered in it */
	(void)strbuf_add(out, &size, sizeof(size));
	(void)strbuf_add(out, record->data ?: "", record->len);
	return record->error ? record->error : out->error;
}

/* ---- the map */

static int read_extent(struct criu_reader bytes, uint64_t *ret_base)
{
	uint64_t value[EXTENT_COUNT + 1] = { 0 };
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0)
		if (f.number <= EXTENT_COUNT)
			value[f.number] = f.value;
	if (r < 0 || value[EXTENT_FIRST] != 0 || value[EXTENT_COUNT] != IDS ||
	        value[EXTENT_LOWER] > UINT32_MAX - IDS)
		return -EBADMSG;
	*ret_base = value[EXTENT_LOWER];
	return 0;
}

static void put_extent(struct strbuf *out, unsigned int field, uint32_t base)
{
	_cleanup_strbuf_ struct strbuf extent = STRBUF_INIT;

	criu_put_number(&extent, EXTENT_FIRST, 0);
	criu_put_number(&extent, EXTENT_LOWER, base);
	criu_put_number(&extent, EXTENT_COUNT, IDS);
	criu_put_bytes(out, field, extent.data ?: "", extent.len);
	if (extent.error)
		out->error = extent.error;
}

int criu_place_map(const char *data, size_t len, uint32_t base, struct strbuf *out, uint32_t *ret_was)
{
	_cleanup_strbuf_ struct strbuf record = STRBUF_INIT;
	uint64_t was[MAP_GID + 1] = { 0 };
	unsigned int n = 0;
	struct criu_reader all;
	struct criu_field f;
	int r = record_of(data, len, &all);

	if (r < 0)
		return r;
	while ((r = criu_get_field(&all, &f)) > 0) {
		if ((f.number != MAP_UID && f.number != MAP_GID) || read_extent(f.bytes, &was[f.number]) < 0)
			return -EBADMSG;
		n++;
	}
	/* A start makes these and no other. */
	if (r < 0 || n != 2 || was[MAP_UID] == 0 || was[MAP_UID] != was[MAP_GID])
		return -EBADMSG;
	put_extent(&record, MAP_UID, base);
	put_extent(&record, MAP_GID, base);
	*ret_was = (uint32_t)was[MAP_UID];
	return put_image(out, data, &record);
}

/* ---- cgroups */

struct walk {
	const struct criu_place *place;
	uint32_t was; /* the base id in the images */
	unsigned int depth;
};

/* What a message has in place of a field: 1, or 0: the same, or a negative errno. */
typedef int (*field_fn)(struct walk *w, const struct criu_field *f, struct strbuf *out);

static int rewrite(struct walk *w, struct criu_reader bytes, field_fn each, struct strbuf *out)
{
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0) {
		r = each(w, &f, out);
		if (r < 0)
			return r;
		if (r == 0)
			(void)strbuf_add(out, f.start, (size_t)(bytes.at - f.start)); /* remembered */
	}
	return r < 0 ? r : out->error;
}

static int rewrite_message(struct walk *w, const struct criu_field *f, field_fn each, struct strbuf *out)
{
	_cleanup_strbuf_ struct strbuf message = STRBUF_INIT;
	int r = rewrite(w, f->bytes, each, &message);

	if (r < 0)
		return r;
	criu_put_bytes(out, f->number, message.data ?: "", message.len);
	return 1;
}

static int each_of_perms(struct walk *w, const struct criu_field *f, struct strbuf *out)
{
	if ((f->number != PERMS_UID && f->number != PERMS_GID) || f->value < w->was ||
	        f->value >= (uint64_t)w->was + IDS)
		return 0;
	criu_put_number(out, f->number, f->value - w->was + w->place->base_id);
	return 1;
}

static int each_of_property(struct walk *w, const struct criu_field *f, struct strbuf *out)
{
	return f->number == PROPERTY_PERMS ? rewrite_message(w, f, each_of_perms, out) : 0;
}

/* How many bytes of a path lead to the container's cgroup, with it; 0: it is no path of it. */
static size_t own_prefix(const struct walk *w, const struct criu_reader *path)
{
	const char *name = w->place->name;
	const size_t len = strlen(name), all = (size_t)(path->end - path->at);

	for (size_t i = 1; i + len <= all; i++)
		if (path->at[i - 1] == '/' && memcmp(path->at + i, name, len) == 0 &&
		        (i + len == all || path->at[i + len] == '/'))
			return i + len;
	return 0;
}

/* absolute: with the slash that it begins with. */
static void put_path(
        const struct walk *w, const struct criu_field *f, size_t prefix, bool absolute, struct strbuf *out)
{
	_cleanup_strbuf_ struct strbuf path = STRBUF_INIT;

	(void)strbuf_printf(&path, "%s/%s", w->place->root + !absolute, w->place->name); /* as above */
	(void)strbuf_add(&path, f->bytes.at + prefix, (size_t)(f->bytes.end - f->bytes.at) - prefix);
	criu_put_bytes(out, f->number, path.data ?: "", path.len);
	if (path.error)
		out->error = path.error;
}

static int each_of_dir(struct walk *w, const struct criu_field *f, struct strbuf *out)
{
	size_t prefix;
	int r;

	switch (f->number) {
	case DIR_NAME: /* of the first a path, of others the last part */
		prefix = w->depth == 0 ? own_prefix(w, &f->bytes) : 0;
		if (prefix == 0)
			return 0;
		put_path(w, f, prefix, false, out);
		return 1;
	case DIR_CHILD:
		if (w->depth == DEPTH_MAX)
			return -EBADMSG;
		w->depth++;
		r = rewrite_message(w, f, each_of_dir, out);
		w->depth--;
		return r;
	case DIR_PROPERTY: return rewrite_message(w, f, each_of_property, out);
	case DIR_PERMS: return rewrite_message(w, f, each_of_perms, out);
	default: return 0; /* of a newer criu */
	}
}

static int each_of_controller(struct walk *w, const struct criu_field *f, struct strbuf *out)
{
	return f->number == CONTROLLER_DIR ? rewrite_message(w, f, each_of_dir, out) : 0;
}

/* The root of the cgroup namespace is so many bytes of the path. */
static int put_member(struct walk *w, const struct criu_field *member, struct strbuf *out)
{
	_cleanup_strbuf_ struct strbuf message = STRBUF_INIT;
	struct criu_reader bytes = member->bytes;
	size_t prefix = 0;
	struct criu_field f;
	int r;

	while ((r = criu_get_field(&bytes, &f)) > 0)
		if (f.number == MEMBER_PATH)
			prefix = own_prefix(w, &f.bytes);
	if (r < 0 || prefix == 0)
		return r;

	bytes = member->bytes;
	while (criu_get_field(&bytes, &f) > 0)
		if (f.number == MEMBER_PATH && own_prefix(w, &f.bytes) == prefix)
			put_path(w, &f, prefix, true, &message);
		else if (f.number == MEMBER_PREFIX && f.value == prefix)
			criu_put_number(
			        &message, MEMBER_PREFIX, strlen(w->place->root) + 1 + strlen(w->place->name));
		else if (f.number == MEMBER_PATH || f.number == MEMBER_PREFIX)
			return -EBADMSG; /* not as a start makes it */
		else
			(void)strbuf_add(&message, f.start, (size_t)(bytes.at - f.start)); /* as above */
	criu_put_bytes(out, member->number, message.data ?: "", message.len);
	return message.error ? message.error : 1;
}

static int each_of_set(struct walk *w, const struct criu_field *f, struct strbuf *out)
{
	return f->number == SET_MEMBER ? put_member(w, f, out) : 0;
}

static int each_of_entry(struct walk *w, const struct criu_field *f, struct strbuf *out)
{
	switch (f->number) {
	case ENTRY_SET: return rewrite_message(w, f, each_of_set, out);
	case ENTRY_CONTROLLER: return rewrite_message(w, f, each_of_controller, out);
	default: return 0; /* as above */
	}
}

int criu_place_cgroups(
        const char *data, size_t len, const struct criu_place *place, uint32_t was, struct strbuf *out)
{
	_cleanup_strbuf_ struct strbuf record = STRBUF_INIT;
	struct walk w = { .place = place, .was = was };
	struct criu_reader all;
	int r = record_of(data, len, &all);

	if (r >= 0)
		r = rewrite(&w, all, each_of_entry, &record);
	return r < 0 ? r : put_image(out, data, &record);
}

/* ---- in a directory */

static int write_image(int images_fd, const char *name, const struct strbuf *image)
{
	_cleanup_close_ int fd = openat(images_fd, name, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : write_all(fd, image->data, image->len);
}

/* There is one of them. */
static int find_map(int images_fd, char ret[32])
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(images_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	unsigned int n = 0;

	if (!dir)
		return -errno;
	while ((e = readdir(dir)))
		if (str_has_prefix(e->d_name, "userns-") && strlen(e->d_name) < 32) {
			(void)snprintf(ret, 32, "%.31s", e->d_name); /* fits */
			n++;
		}
	return n == 1 ? 0 : -EBADMSG;
}

static int place_map(int images_fd, uint32_t base, uint32_t *ret_was)
{
	_cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
	_cleanup_free_ char *data = NULL;
	char name[32];
	size_t len = 0;
	int r = find_map(images_fd, name);

	if (r >= 0)
		r = read_file_at(images_fd, name, USERNS_MAX, &data, &len);
	if (r >= 0)
		r = criu_place_map(data, len, base, &out, ret_was);
	return r < 0 ? r : write_image(images_fd, name, &out);
}

static int place_cgroups(int images_fd, const struct criu_place *place, uint32_t was)
{
	_cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
	_cleanup_free_ char *data = NULL;
	size_t len = 0;
	int r = read_file_at(images_fd, CGROUPS, CGROUP_MAX, &data, &len);

	if (r >= 0)
		r = criu_place_cgroups(data, len, place, was, &out);
	return r < 0 ? r : write_image(images_fd, CGROUPS, &out);
}

int criu_place(int images_fd, const struct criu_place *place, struct ct_error *err)
{
	uint32_t was = 0;
	int r = place_map(images_fd, place->base_id, &was);

	if (r < 0)
		return ct_error_set(
		        err, r, "criu", "the images' map of ids is not one of a container: %s", strerror(-r));
	r = place_cgroups(images_fd, place, was);
	return r < 0 ? ct_error_set(err, r, "criu", "the images' cgroups are not those of the container: %s",
	                       strerror(-r))
	             : 0;
}
