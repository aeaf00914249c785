/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cgroups that a container's init has made below the container's own.
 *
 * CRIU makes the directories again that tasks are in, but enables no controllers, and so restores no limit;
 * others, which units will be started in, it forgets. So all of them are noted here when all stands still, in
 * ct-cgroups.json beside CRIU's images: owners, the controllers that are enabled below, settings, and the
 * attributes in which systemd keeps its own ("user.invocation_id"). {"cgroups": [...]}, those above first,
 * the container's own, with the path "", among them: of that one settings and owners are ctd's.
 *
 * They are made again in three steps. A cgroup that has controllers for those below takes no process, and
 * CRIU puts init into the container's own first of all: so first directories alone. Once init is in its place
 * controllers, before watches of their files are restored. And limits at the end, frozen, since CRIU needs
 * more memory and processes than what it restores.
 *
 * Names are a tenant's, and so may be all of it: images come from other nodes too. A path is taken apart and
 * each part opened in the one before; settings have names of a table; ids are inside the container's range,
 * or root's of the host (-1), as of what we have made in it, and then left alone.
 */
#include "ctd/worker-suspend-cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"

#define FILE_NAME    "ct-cgroups.json"
#define NOTE_MAX     (16 * 1024 * 1024)
#define DEPTH_MAX    64
#define IDS          65536
#define VALUE_MAX    4096
#define XATTR_MAX    4096
#define XATTRS_MAX   65536
#define OWNER_SAMPLE "cgroup.events" /* what is in every one but the root */

/* In the order in which they are written. */
static const char *const settings[] = { "cgroup.max.depth", "cgroup.max.descendants", "cpu.idle",
	"cpu.weight", "cpu.max", "cpu.max.burst", "cpu.uclamp.min", "cpu.uclamp.max", "cpuset.mems",
	"cpuset.cpus", "io.weight", "memory.min", "memory.low", "memory.high", "memory.max",
	"memory.swap.high", "memory.swap.max", "memory.zswap.max", "memory.oom.group", "pids.max",
	"cgroup.freeze" };

/* What cannot be kept if it is otherwise: devices have other numbers on other hosts, and CRIU knows nothing
 * of threads in cgroups of their own. */
static const struct {
	const char *name, *value;
} fixed[] = {
	{ "cgroup.type", "domain" },
	{ "cpuset.cpus.partition", "member" },
	{ "io.latency", "" },
	{ "io.max", "" },
};

static bool is_setting(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (str_eq(name, settings[i]))
			return true;
	return false;
}

/* A directory's entry is another directory. */
static bool is_below(const struct dirent *e)
{
	return e->d_type == DT_DIR && !str_eq(e->d_name, ".") && !str_eq(e->d_name, "..");
}

/* Without the newline at its end. */
static int read_value(int dir_fd, const char *name, char **ret)
{
	size_t len = 0;
	int r = read_file_at(dir_fd, name, VALUE_MAX, ret, &len);

	if (r >= 0 && len > 0 && (*ret)[len - 1] == '\n')
		(*ret)[len - 1] = '\0';
	return r;
}

static json_int_t id_inside(uint32_t id, uint32_t base_id)
{
	return id >= base_id && id - base_id < IDS ? (json_int_t)(id - base_id) : -1;
}

/* ---- noting */

struct note {
	uint32_t base_id;
	size_t bytes; /* about as many as it will be as text */
	json_t *list;
	struct ct_error *err;
};

static int oom(struct ct_error *err)
{
	return ct_error_set(err, -ENOMEM, "suspend", "out of memory");
}

static int cannot_keep(struct note *n, const char *path, const char *what)
{
	return ct_error_kind_set(n->err, CT_ERROR_REFUSED, -EOPNOTSUPP,
	        "\"%s\" of the cgroup \"/%.200s\" inside cannot be kept (unset it)", what, path);
}

static int note_settings(struct note *n, int fd, const char *path, json_t *entry)
{
	json_t *values = json_object();

	if (json_object_set_new(entry, "values", values) < 0)
		return oom(n->err);
	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
		_cleanup_free_ char *value = NULL;

		if (read_value(fd, fixed[i].name, &value) >= 0 && !str_eq(value, fixed[i].value))
			return cannot_keep(n, path, fixed[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		_cleanup_free_ char *value = NULL;

		if (read_value(fd, settings[i], &value) < 0) /* a controller that is not there */
			continue;
		if (strchr(value, '\n'))
			return cannot_keep(n, path, settings[i]); /* of single devices */
		n->bytes += strlen(settings[i]) + strlen(value) + 8;
		if (json_object_set_new(values, settings[i], json_string(value)) < 0)
			return oom(n->err);
	}
	return 0;
}

static int note_attribute(struct note *n, int fd, const char *name, json_t *attributes)
{
	char value[XATTR_MAX], hex[2 * XATTR_MAX + 1];
	ssize_t len = fgetxattr(fd, name, value, sizeof(value));

	if (len < 0)
		return ct_error_set(n->err, -errno, "suspend", "cannot read \"%.100s\" of a cgroup: %s", name,
		        strerror(errno));
	hex_encode(hex, value, (size_t)len);
	n->bytes += strlen(name) + 2 * (size_t)len + 8;
	return json_object_set_new(attributes, name, json_string(hex)) < 0 ? oom(n->err) : 0;
}

static int note_attributes(struct note *n, int fd, json_t *entry)
{
	_cleanup_free_ char *names = malloc(XATTRS_MAX);
	json_t *attributes = json_object();
	ssize_t len;
	int r = 0;

	if (json_object_set_new(entry, "attributes", attributes) < 0 || !names)
		return oom(n->err);
	len = flistxattr(fd, names, XATTRS_MAX);
	for (const char *at = names; r >= 0 && len > 0 && at < names + len; at += strlen(at) + 1)
		if (str_has_prefix(at, "user."))
			r = note_attribute(n, fd, at, attributes);
	return r;
}

static int note_owner(struct note *n, json_t *entry, const struct stat *st, const char *uid, const char *gid)
{
	return json_object_set_new(entry, uid, json_integer(id_inside(st->st_uid, n->base_id))) < 0 ||
	                       json_object_set_new(
	                               entry, gid, json_integer(id_inside(st->st_gid, n->base_id))) < 0
	               ? oom(n->err)
	               : 0;
}

/* Most files have one owner; those that are given to a user, and the directory, may have another. */
static int note_owners(struct note *n, int fd, json_t *entry)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	json_t *others = json_object();
	struct stat st, sample;
	struct dirent *e;
	int r;

	if (json_object_set_new(entry, "others", others) < 0)
		return oom(n->err);
	if (!dir || fstat(fd, &st) < 0 || fstatat(fd, OWNER_SAMPLE, &sample, AT_SYMLINK_NOFOLLOW) < 0)
		return ct_error_set(
		        n->err, -errno, "suspend", "cannot look at a cgroup inside: %s", strerror(errno));
	r = note_owner(n, entry, &st, "uid", "gid");
	if (r >= 0)
		r = note_owner(n, entry, &sample, "files_uid", "files_gid");
	if (r >= 0 && json_object_set_new(entry, "mode", json_integer(st.st_mode & 0777)) < 0)
		r = oom(n->err);
	while (r >= 0 && (e = readdir(dir))) {
		if (e->d_type != DT_REG || fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		        (st.st_uid == sample.st_uid && st.st_gid == sample.st_gid))
			continue;
		n->bytes += strlen(e->d_name) + 24;
		if (json_object_set_new(others, e->d_name,
		            json_pack("[I, I]", id_inside(st.st_uid, n->base_id),
		                    id_inside(st.st_gid, n->base_id))) < 0)
			r = oom(n->err);
	}
	return r;
}

static int note_one(struct note *n, int fd, const char *path)
{
	_cleanup_free_ char *controllers = NULL;
	json_t *entry = json_object();
	int r = read_value(fd, "cgroup.subtree_control", &controllers);

	if (json_array_append_new(n->list, entry) < 0)
		return oom(n->err);
	if (r < 0)
		return ct_error_set(n->err, r, "suspend", "cannot read a cgroup inside: %s", strerror(-r));
	if (json_object_set_new(entry, "path", json_string(path)) < 0)
		return ct_error_kind_set(n->err, CT_ERROR_REFUSED, -EILSEQ,
		        "a cgroup inside has a name that is no text (remove it)");
	if (json_object_set_new(entry, "controllers", json_string(controllers)) < 0)
		return oom(n->err);
	n->bytes += strlen(path) + strlen(controllers) + 200;
	r = note_attributes(n, fd, entry);
	if (r < 0 || !*path)
		return r;
	r = note_owners(n, fd, entry);
	return r < 0 ? r : note_settings(n, fd, path, entry);
}

static int note_tree(struct note *n, int fd, const char *path, unsigned int depth)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	int r = note_one(n, fd, path);

	if (r < 0)
		return r;
	if (depth == DEPTH_MAX || n->bytes > NOTE_MAX / 2)
		return ct_error_kind_set(n->err, CT_ERROR_REFUSED, -E2BIG,
		        "there are too many cgroups inside, or they are too deep (remove some)");
	dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	while (r >= 0 && dir && (e = readdir(dir))) {
		_cleanup_free_ char *below = NULL;
		_cleanup_close_ int sub = -1;

		if (!is_below(e))
			continue;
		below = str_printf("%s%s%s", path, *path ? "/" : "", e->d_name);
		sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0 && errno == ENOENT)
			continue; /* of one that runs */
		r = !below || sub < 0
		            ? ct_error_set(n->err, -EIO, "suspend", "cannot look into a cgroup inside")
		            : note_tree(n, sub, below, depth + 1);
	}
	return r;
}

static int write_note(struct note *n, int images_fd)
{
	_cleanup_close_ int fd = openat(images_fd, FILE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	_cleanup_json_ json_t *all = json_pack("{s:O}", "cgroups", n->list);
	_cleanup_free_ char *text = json_dumps(all, JSON_COMPACT);
	int r = fd < 0 ? -errno : !text ? -ENOMEM : write_all(fd, text, strlen(text));

	return r < 0 ? ct_error_set(n->err, r, "suspend", "cannot write \"" FILE_NAME "\": %s", strerror(-r))
	             : 0;
}

int suspend_cgroups_note(int cgroup_fd, uint32_t base_id, int images_fd, struct ct_error *err)
{
	_cleanup_json_ json_t *list = json_array();
	struct note n = { .base_id = base_id, .list = list, .err = err };
	int r = note_tree(&n, cgroup_fd, "", 0);

	return r < 0 ? r : write_note(&n, images_fd);
}

int suspend_cgroups_check(int cgroup_fd, uint32_t base_id, struct ct_error *err)
{
	_cleanup_json_ json_t *list = json_array();
	struct note n = { .base_id = base_id, .list = list, .err = err };

	return note_tree(&n, cgroup_fd, "", 0);
}

/* ---- reading */

/* The part of a path that ends where a slash is, or it. */
static bool is_part(const char *at, size_t len)
{
	return len > 0 && len <= NAME_MAX && !(len == 1 && at[0] == '.') &&
	       !(len == 2 && at[0] == '.' && at[1] == '.');
}

static bool is_path(const char *path)
{
	unsigned int depth = 0;

	if (!path)
		return false;
	for (const char *at = path; *at; depth++) {
		size_t len = strcspn(at, "/");

		if (depth == DEPTH_MAX || !is_part(at, len) || (at[len] == '/' && !at[len + 1]))
			return false;
		at += len + (at[len] == '/');
	}
	return true;
}

/* "memory pids" */
static bool is_controllers(const char *text)
{
	return text && strlen(text) <= VALUE_MAX &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyz_ ") == strlen(text);
}

static bool is_id(const json_t *value)
{
	return json_is_integer(value) && json_integer_value(value) >= -1 && json_integer_value(value) < IDS;
}

static bool is_value(const char *name, const json_t *value)
{
	const char *text = json_string_value(value);

	return is_setting(name) && text && strlen(text) < VALUE_MAX && str_is_printable(text);
}

static bool is_attribute(const char *name, const json_t *value)
{
	const char *text = json_string_value(value);
	const size_t len = text ? strlen(text) : 0;

	return str_has_prefix(name, "user.") && strlen(name) <= NAME_MAX && text && len % 2 == 0 &&
	       len <= 2 * XATTR_MAX && strspn(text, "0123456789abcdef") == len;
}

static bool is_pair(const char *name, const json_t *value)
{
	return json_array_size(value) == 2 && is_id(json_array_get(value, 0)) &&
	       is_id(json_array_get(value, 1));
}

static bool is_all(const json_t *object, bool (*fits)(const char *name, const json_t *value))
{
	const char *name;
	json_t *value;

	if (!json_is_object(object))
		return false;
	json_object_foreach((json_t *)object, name, value) if (!fits(name, value)) return false;
	return true;
}

static bool is_entry(const json_t *entry)
{
	const char *path = json_string_value(json_object_get(entry, "path"));
	const json_t *mode = json_object_get(entry, "mode");

	if (!is_path(path) || !is_controllers(json_string_value(json_object_get(entry, "controllers"))) ||
	        !is_all(json_object_get(entry, "attributes"), is_attribute))
		return false;
	if (!*path) /* its limits and owners are ctd's matter */
		return !json_object_get(entry, "values") && !json_object_get(entry, "others");
	return is_id(json_object_get(entry, "uid")) && is_id(json_object_get(entry, "gid")) &&
	       is_id(json_object_get(entry, "files_uid")) && is_id(json_object_get(entry, "files_gid")) &&
	       json_is_integer(mode) && (json_integer_value(mode) & ~(json_int_t)0777) == 0 &&
	       is_all(json_object_get(entry, "others"), is_pair) &&
	       is_all(json_object_get(entry, "values"), is_value);
}

int suspend_cgroups_parse(const char *text, size_t len, json_t **ret, struct ct_error *err)
{
	_cleanup_json_ json_t *all = NULL;
	const json_t *list, *entry;
	size_t i;
	int r = json_parse(text, len, &all, err);

	if (r < 0)
		return r;
	list = json_object_get(all, "cgroups");
	if (!json_is_array(list))
		return ct_error_set(err, -EBADMSG, "resume", "\"" FILE_NAME "\" has no list of cgroups");
	json_array_foreach(list, i, entry) if (!is_entry(entry)) return ct_error_set(err, -EBADMSG, "resume",
	        "cgroup number %zu in \"" FILE_NAME "\" is not as a container has it", i);
	*ret = json_incref((json_t *)list);
	return 0;
}

int suspend_cgroups_read(int images_fd, json_t **ret, struct ct_error *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = read_file_at(images_fd, FILE_NAME, NOTE_MAX, &text, &len);

	if (r == -ENOENT) {
		*ret = json_array();
		return *ret ? 0 : oom(err);
	}
	return r < 0 ? ct_error_set(err, r, "resume", "cannot read \"" FILE_NAME "\": %s", strerror(-r))
	             : suspend_cgroups_parse(text, len, ret, err);
}

/* ---- making */

static int complain(const json_t *entry, int r, const char *what, struct ct_error *err)
{
	return ct_error_set(err, r, "resume", "cannot make the cgroup \"/%.200s\" inside again: %s: %s",
	        json_string_value(json_object_get(entry, "path")) ?: "", what, strerror(-r));
}

/* make: the last part is made if it is not there. */
static int open_path(int cgroup_fd, const char *path, bool make)
{
	_cleanup_close_ int fd = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (const char *at = path; fd >= 0 && *at;) {
		const size_t len = strcspn(at, "/");
		char part[NAME_MAX + 1];
		int next;

		(void)snprintf(part, sizeof(part), "%.*s", (int)len, at); /* fits, is_path */
		if (make && !at[len] && mkdirat(fd, part, 0755) < 0 && errno != EEXIST)
			return -errno;
		next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return -errno;
		(void)fd_close(fd);
		fd = next;
		at += len + (at[len] == '/');
	}
	return fd < 0 ? -errno : TAKE_FD(fd);
}

static int open_entry(const json_t *entry, int cgroup_fd, bool make)
{
	return open_path(cgroup_fd, json_string_value(json_object_get(entry, "path")), make);
}

static bool is_own(const json_t *entry)
{
	return str_empty(json_string_value(json_object_get(entry, "path")));
}

static uid_t id_outside(const json_t *id, uint32_t base_id)
{
	const json_int_t value = json_integer_value(id);

	return value < 0 ? (uid_t)-1 : base_id + (uid_t)value; /* -1: left alone */
}

static int own_file(int fd, const json_t *entry, const char *name, uint32_t base_id)
{
	const json_t *pair = json_object_get(json_object_get(entry, "others"), name);
	const json_t *uid = pair ? json_array_get(pair, 0) : json_object_get(entry, "files_uid");
	const json_t *gid = pair ? json_array_get(pair, 1) : json_object_get(entry, "files_gid");

	return fchownat(fd, name, id_outside(uid, base_id), id_outside(gid, base_id), AT_SYMLINK_NOFOLLOW) < 0
	               ? -errno
	               : 0;
}

static int own_all(int fd, const json_t *entry, uint32_t base_id)
{
	_cleanup_closedir_ DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	int r = dir ? 0 : -errno;

	if (fchown(fd, id_outside(json_object_get(entry, "uid"), base_id),
	            id_outside(json_object_get(entry, "gid"), base_id)) < 0 ||
	        fchmod(fd, (mode_t)json_integer_value(json_object_get(entry, "mode"))) < 0)
		return -errno;
	while (r >= 0 && dir && (e = readdir(dir)))
		if (e->d_type == DT_REG)
			r = own_file(fd, entry, e->d_name, base_id);
	return r;
}

int suspend_cgroups_make(const json_t *list, int cgroup_fd, uint32_t base_id, struct ct_error *err)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		_cleanup_close_ int fd = open_entry(entry, cgroup_fd, true);
		int r = fd < 0 ? fd : is_own(entry) ? 0 : own_all(fd, entry, base_id);

		if (r < 0)
			return complain(entry, r, "its directory", err);
	}
	return 0;
}

static int enable_one(int fd, const char *controllers)
{
	_cleanup_strbuf_ struct strbuf line = STRBUF_INIT;

	for (const char *at = controllers; *at; at += strspn(at, " ")) {
		const size_t len = strcspn(at, " ");

		if (len > 0)
			(void)strbuf_printf(
			        &line, "%s+%.*s", line.len ? " " : "", (int)len, at); /* remembered */
		at += len;
	}
	(void)strbuf_puts(&line, ""); /* as above */
	return line.error ? line.error
	       : line.len ? write_file_at(fd, "cgroup.subtree_control", line.data)
	                  : 0;
}

int suspend_cgroups_enable(const json_t *list, int cgroup_fd, struct ct_error *err)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		_cleanup_close_ int fd = open_entry(entry, cgroup_fd, false);
		int r = fd < 0 ? fd
		               : enable_one(fd, json_string_value(json_object_get(entry, "controllers")));

		if (r < 0)
			return complain(entry, r, "the controllers of those below", err);
	}
	return 0;
}

/* What the kernel says afterwards counts. */
static int set_one(int fd, const char *name, const char *value)
{
	_cleanup_free_ char *is = NULL, *then = NULL;
	int r = read_value(fd, name, &is);

	if (r < 0 || str_eq(is, value))
		return r;
	r = write_file_at(fd, name, *value ? value : "\n");
	if (r >= 0)
		r = read_value(fd, name, &then);
	return r < 0 ? r : str_eq(then, value) ? 0 : -ERANGE;
}

static int finish_one(int fd, const json_t *entry, uint32_t base_id, struct ct_error *err)
{
	const json_t *values = json_object_get(entry, "values");
	const char *name;
	json_t *hex;
	int r = 0;

	json_object_foreach(json_object_get(entry, "attributes"), name, hex)
	{
		char value[XATTR_MAX];
		const char *text = json_string_value(hex);
		const size_t len = strlen(text) / 2;

		for (size_t i = 0; i < len; i++)
			(void)sscanf(text + 2 * i, "%2hhx", (unsigned char *)&value[i]); /* is_attribute */
		if (fsetxattr(fd, name, value, len, 0) < 0)
			return complain(entry, -errno, name, err);
	}
	if (is_own(entry)) /* its limits are the container's, whatever is written here */
		return 0;
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(settings); i++) {
		const char *value = json_string_value(json_object_get(values, settings[i]));

		r = value ? set_one(fd, settings[i], value) : 0;
		if (r < 0)
			return complain(entry, r, settings[i], err);
	}
	r = own_all(fd, entry, base_id);
	return r < 0 ? complain(entry, r, "its owners", err) : 0;
}

int suspend_cgroups_finish(const json_t *list, int cgroup_fd, uint32_t base_id, struct ct_error *err)
{
	const json_t *entry;
	size_t i;
	int r = 0;

	json_array_foreach(list, i, entry)
	{
		_cleanup_close_ int fd = open_entry(entry, cgroup_fd, false);

		r = fd < 0 ? complain(entry, fd, "its directory", err) : finish_one(fd, entry, base_id, err);
		if (r < 0)
			break;
	}
	return r;
}
