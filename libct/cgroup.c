/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control groups (v2): making, delegating, freezing, killing, removing.
 *
 * Everything goes through directory fds and constant file names, so that a rename or a mount above changes
 * nothing. The subtree below a container's cgroup belongs to the tenant, who may make as many and as deep
 * directories as cgroup.max.descendants allows; removal is therefore iterative (a tree walk with one open fd
 * a level would run out of fds) and deepest first, as rmdir wants it.
 *
 * A freeze is asked for and then awaited: the kernel reports it in cgroup.events and wakes poll(2) with
 * POLLPRI. A task in an uninterruptible sleep delays it, hence the time-out, after which the cgroup is left
 * as asked for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "libct/ct.h"
#include "libct/sys.h"

static bool name_is_plain(const char *name)
{
	return !str_empty(name) && !str_eq(name, ".") && !str_eq(name, "..") && !strchr(name, '/') &&
	       strlen(name) <= NAME_MAX;
}

int ct_cgroup_new(int parent_fd, const char *name, struct ct_error *err)
{
	if (!name_is_plain(name))
		return ct_error_field(err, "name", "\"%s\" is no name of a cgroup", name ? name : "");

	if (mkdirat(parent_fd, name, 0755) < 0) {
		int r = sys_error();
		if (r == -EAGAIN)
			return ct_error_set(err, r, "cgroup",
			        "cannot make the cgroup \"%s\": cgroup.max.descendants or cgroup.max.depth of a parent is reached",
			        name);
		return ct_error_set(
		        err, r, "cgroup", "cannot make the cgroup \"%s\": %s", name, sys_reason(r));
	}

	int fd = open_beneath(parent_fd, name, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0) {
		(void)unlinkat(
		        parent_fd, name, AT_REMOVEDIR); /* the failure to open it is what is reported */
		return ct_error_set(
		        err, fd, "cgroup", "cannot open the cgroup \"%s\": %s", name, sys_reason(fd));
	}
	return fd;
}

int ct_cgroup_delegate(int cgroup_fd, uid_t uid, gid_t gid, struct ct_error *err)
{
	static const char *const files[] = { "cgroup.procs", "cgroup.threads", "cgroup.subtree_control" };

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (fchownat(cgroup_fd, files[i], uid, gid, AT_SYMLINK_NOFOLLOW) < 0) {
			int r = sys_error();
			return ct_error_set(err, r, "cgroup",
			        "cannot give \"%s\" of the cgroup to user %u: %s", files[i], uid,
			        sys_reason(r));
		}

	if (fchownat(cgroup_fd, "", uid, gid, AT_EMPTY_PATH) < 0) {
		int r = sys_error();
		return ct_error_set(
		        err, r, "cgroup", "cannot give the cgroup to user %u: %s", uid, sys_reason(r));
	}
	return 0;
}

/* The value of a key in a flat-keyed file such as cgroup.events: 0, 1, or a negative errno. */
static int parse_event(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == ' ')
			return line[len + 1] == '1';
	}
	return -ENODATA;
}

static int read_event_fd(int fd, const char *key)
{
	char text[256];

	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		return sys_error();

	text[n] = '\0';
	return parse_event(text, key);
}

static int read_event(int cgroup_fd, const char *key)
{
	_cleanup_close_ int fd = open_beneath(cgroup_fd, "cgroup.events", O_RDONLY, 0);

	return fd < 0 ? fd : read_event_fd(fd, key);
}

int ct_cgroup_is_frozen(int cgroup_fd)
{
	return read_event(cgroup_fd, "frozen");
}

int ct_cgroup_is_populated(int cgroup_fd)
{
	return read_event(cgroup_fd, "populated");
}

static int await_event(int fd, const char *key, bool want, uint64_t timeout_usec)
{
	uint64_t start = now_monotonic_usec();

	for (;;) {
		int r = read_event_fd(fd, key);
		if (r < 0 || r == want)
			return r < 0 ? r : 0;

		uint64_t gone = now_monotonic_usec() - start;
		if (gone >= timeout_usec)
			return -ETIMEDOUT;

		/* At most a second at once: one that is far away is asked for in steps. */
		uint64_t left = timeout_usec - gone;
		struct pollfd p = { .fd = fd, .events = POLLPRI };
		int ms = left > USEC_PER_SEC ? 1000 : (int)((left + 999) / 1000);
		if (poll(&p, 1, ms) < 0 && errno != EINTR)
			return sys_error();
	}
}

int ct_cgroup_freeze(int cgroup_fd, bool freeze, uint64_t timeout_usec, struct ct_error *err)
{
	const char *verb = freeze ? "freeze" : "thaw";
	_cleanup_close_ int fd = -1;

	fd = open_beneath(cgroup_fd, "cgroup.events", O_RDONLY, 0);
	if (fd < 0)
		return ct_error_set(err, fd, "cgroup", "cannot read \"cgroup.events\": %s", sys_reason(fd));

	int r = write_file_at(cgroup_fd, "cgroup.freeze", freeze ? "1" : "0");
	if (r < 0)
		return ct_error_set(err, r, "cgroup", "cannot %s the cgroup: %s", verb, sys_reason(r));

	r = await_event(fd, "frozen", freeze, timeout_usec);
	if (r == -ETIMEDOUT)
		return ct_error_set(err, r, "cgroup",
		        "cannot %s the cgroup within %llu ms: a task does not leave the kernel", verb,
		        (unsigned long long)(timeout_usec / USEC_PER_MSEC));
	if (r < 0)
		return ct_error_set(err, r, "cgroup", "cannot %s the cgroup: %s", verb, sys_reason(r));
	return 0;
}

int ct_cgroup_kill(int cgroup_fd, struct ct_error *err)
{
	int r = write_file_at(cgroup_fd, "cgroup.kill", "1");
	if (r < 0)
		return ct_error_set(
		        err, r, "cgroup", "cannot kill the cgroup's processes: %s", sys_reason(r));
	return 0;
}

static bool is_child_directory(const struct dirent *e)
{
	return e->d_type == DT_DIR && !str_eq(e->d_name, ".") && !str_eq(e->d_name, "..");
}

/* Goes down from *dir, first child directory first, until there is none; *dir is then the deepest and name
 * what its parent calls it. 1: there was a child; 0: *dir itself has none. */
static int descend(int dir_fd, int *ret_parent, char *name, size_t size)
{
	_cleanup_close_ int parent = -1, fd = -1;
	bool moved = false;

	fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return sys_error();

	for (;;) {
		_cleanup_closedir_ DIR *d = NULL;
		struct dirent *e;

		int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		d = copy < 0 ? NULL : fdopendir(copy);
		if (!d) {
			int r = sys_error();
			fd_close(copy);
			return r;
		}

		do
			e = readdir(d);
		while (e && !is_child_directory(e));
		if (!e)
			break;

		int next = open_beneath(fd, e->d_name, O_RDONLY | O_DIRECTORY, 0);
		if (next < 0)
			return next;

		(void)snprintf(name, size, "%s", e->d_name);
		fd_close(parent);
		parent = fd;
		fd = next;
		moved = true;
	}

	if (moved)
		*ret_parent = TAKE_FD(parent);
	return moved;
}

/* Removes all directories below fd. A tenant that is still alive could make new ones for ever: the caller has
 * seen to it that it is not, and the loop is bounded by what a cgroup may hold at most anyway. */
static int remove_descendants(int fd)
{
	for (unsigned int i = 0; i < 1000000; i++) {
		_cleanup_close_ int parent = -1;
		char name[NAME_MAX + 1];

		int r = descend(fd, &parent, name, sizeof(name));
		if (r == -ENOENT) /* one vanished in between */
			continue;
		if (r <= 0)
			return r;
		if (unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
			return sys_error();
	}
	return -EBUSY;
}

int ct_cgroup_remove(int parent_fd, const char *name, struct ct_error *err)
{
	_cleanup_close_ int fd = -1;

	if (!name_is_plain(name))
		return ct_error_field(err, "name", "\"%s\" is no name of a cgroup", name ? name : "");

	if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;

	fd = open_beneath(parent_fd, name, O_RDONLY | O_DIRECTORY, 0);
	int r = fd < 0 ? fd : ct_cgroup_is_populated(fd) == 1 ? -EBUSY : remove_descendants(fd);
	if (r == 0 && unlinkat(parent_fd, name, AT_REMOVEDIR) < 0)
		r = sys_error();

	if (r == -EBUSY)
		return ct_error_set(
		        err, r, "cgroup", "cannot remove the cgroup \"%s\": processes are left in it", name);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(
		        err, r, "cgroup", "cannot remove the cgroup \"%s\": %s", name, sys_reason(r));
	return 0;
}
