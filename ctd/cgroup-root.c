/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The directory below which every container has its cgroup.
 *
 * Where systemd is PID 1 it owns the tree, and a program may only work in what was delegated to it: we ask
 * for a transient scope with Delegate=yes in ctd.slice, holding the keeper (a scope, not our own service,
 * because a service with controllers enabled below it cannot be started again: its cgroup would have inner
 * processes). Elsewhere it is ROOT/ctd-TAG. In both the keeper sits in a leaf of its own, or the controllers
 * could not be enabled for its siblings. A keeper that is there already tells by its own cgroup where the
 * root is.
 *
 * cgroups(7); systemd.resource-control(5), Delegate=; sd_bus_call_method(3).
 */
#include "ctd/cgroup-root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"

#define KEEPER_LEAF CGROUP_ROOT_KEEPER

/* The v2 path of a process: the line "0::PATH". */
static int cgroup_of(pid_t pid, char **ret)
{
	_cleanup_free_ char *text = NULL;
	char path[40], *line, *next;
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
	r = read_file_at(AT_FDCWD, path, 65536, &text, NULL);
	if (r < 0)
		return r;
	next = text;
	while ((line = strsep(&next, "\n")))
		if (str_has_prefix(line, "0::/")) {
			*ret = strdup(line + 3);
			return *ret ? 0 : -ENOMEM;
		}
	return -ENOENT;
}

static int ask_systemd(const char *unit, pid_t pid, struct ct_error *err)
{
	sd_bus_error failure = SD_BUS_ERROR_NULL;
	sd_bus *bus = NULL;
	int r;

	r = sd_bus_open_system(&bus);
	if (r >= 0)
		r = sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
		        "org.freedesktop.systemd1.Manager", "StartTransientUnit", &failure, NULL,
		        "ssa(sv)a(sa(sv))", unit, "fail", 7, /* properties: */
		        "Description", "s", "Containers of ctd", "Slice", "s", "ctd.slice", "Delegate", "b",
		        1, "PIDs", "au", 1, (uint32_t)pid, "TasksMax", "t", UINT64_MAX, "OOMPolicy", "s",
		        "continue", "Before", "as", 1, "ctd-containers.service", 0);
	if (r < 0)
		(void)ct_error_set(err, r, "cgroup", "systemd does not give ctd a scope: %s",
		        failure.message ?: strerror(-r));
	sd_bus_error_free(&failure);
	sd_bus_flush_close_unref(bus);
	return r < 0 ? r : 0;
}

/* The scope's cgroup, when it has the keeper; at most 5 s. */
static int await_scope(pid_t pid, const char *unit, char **ret, struct ct_error *err)
{
	uint64_t deadline = now_monotonic_usec() + 5 * USEC_PER_SEC;

	while (now_monotonic_usec() < deadline) {
		_cleanup_free_ char *path = NULL;

		if (cgroup_of(pid, &path) == 0 && strstr(path, unit)) {
			*ret = TAKE_PTR(path);
			return 0;
		}
		(void)usleep(5000); /* before the event loop runs */
	}
	return ct_error_set(err, -ETIMEDOUT, "cgroup", "systemd did not move ct-keeper into \"%s\"", unit);
}

static void strip_leaf(char *path)
{
	if (str_has_suffix(path, "/" KEEPER_LEAF))
		path[strlen(path) - strlen("/" KEEPER_LEAF)] = '\0';
}

/* Path of the root below the mount, "/…". */
static int find_path(const char *mount, const char *tag, pid_t pid, char **ret, struct ct_error *err)
{
	_cleanup_free_ char *own = NULL, *scope = str_printf("ctd-%s.scope", tag),
	                    *plain = str_printf("/ctd-%s", tag);
	_cleanup_free_ char *full = NULL, *known = NULL;
	int r;

	if (!scope || !plain)
		return ct_error_set(err, -ENOMEM, "cgroup", "out of memory");
	r = cgroup_of(pid, &own);
	if (r < 0)
		return ct_error_set(
		        err, r, "cgroup", "cannot read the cgroup of ct-keeper: %s", strerror(-r));
	if (strstr(own, scope) || str_has_prefix(own, plain)) {
		strip_leaf(own);
		*ret = TAKE_PTR(own);
		return 0;
	}
	if (sd_booted() <= 0) {
		*ret = TAKE_PTR(plain);
		return 0;
	}

	/* A scope that outlived its keeper because containers are in it. */
	known = str_printf("/ctd.slice/%s", scope);
	full = known ? str_printf("%s%s", mount, known) : NULL;
	if (full && access(full, F_OK) == 0) {
		*ret = TAKE_PTR(known);
		return 0;
	}
	r = ask_systemd(scope, pid, err);
	if (r >= 0)
		r = await_scope(pid, scope, &own, err);
	if (r < 0)
		return r;
	strip_leaf(own);
	*ret = TAKE_PTR(own);
	return 0;
}

static int move_keeper(int root_fd, pid_t pid, struct ct_error *err)
{
	_cleanup_close_ int leaf_fd = open_or_mkdir(root_fd, KEEPER_LEAF, 0755);
	int r;

	if (leaf_fd < 0)
		return ct_error_set(err, leaf_fd, "cgroup", "cannot make the cgroup of ct-keeper: %s",
		        strerror(-leaf_fd));
	r = write_file_printf_at(leaf_fd, "cgroup.procs", "%d", pid);
	return r < 0 ? ct_error_set(
	                       err, r, "cgroup", "cannot move ct-keeper into its cgroup: %s", strerror(-r))
	             : 0;
}

/* Each one by itself: one that cannot be had must not cost the others; what is missing is refused where it is
 * asked for. */
static void enable_controllers(int parent_fd)
{
	_cleanup_free_ char *text = NULL;
	char *word, *next;

	if (read_file_at(parent_fd, "cgroup.controllers", 4096, &text, NULL) < 0)
		return;
	next = text;
	while ((word = strsep(&next, " \n")))
		if (*word)
			(void)write_file_printf_at(parent_fd, "cgroup.subtree_control", "+%s", word);
}

int cgroup_root_open(
        const char *mount, const char *tag, pid_t keeper_pid, struct cgroup_root *ret, struct ct_error *err)
{
	_cleanup_close_ int mount_fd = -1, fd = -1;
	_cleanup_free_ char *path = NULL, *controllers = NULL;
	int r;

	if (!*mount)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -EOPNOTSUPP,
		        "cgroup v2 is not mounted on this host (mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified)");
	mount_fd = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (mount_fd < 0)
		return ct_error_set(err, -errno, "cgroup", "cannot open \"%s\": %s", mount, strerror(errno));
	r = find_path(mount, tag, keeper_pid, &path, err);
	if (r < 0)
		return r;

	fd = open_or_mkdir(mount_fd, path + 1, 0755);
	if (fd < 0)
		return ct_error_set(
		        err, fd, "cgroup", "cannot make the cgroup \"%s\": %s", path, strerror(-fd));
	r = move_keeper(fd, keeper_pid, err);
	if (r < 0)
		return r;
	if (sd_booted() <= 0)
		enable_controllers(mount_fd);
	enable_controllers(fd);

	r = read_file_at(fd, "cgroup.subtree_control", sizeof(ret->controllers) - 1, &controllers, NULL);
	if (r >= 0) {
		controllers[strcspn(controllers, "\n")] = '\0';
		(void)snprintf(ret->controllers, sizeof(ret->controllers), "%s",
		        controllers); /* bounded by the read */
	}
	(void)snprintf(ret->path, sizeof(ret->path), "%s", path);
	ret->fd = TAKE_FD(fd);
	return 0;
}

/* Questions to systemd that are under way, on a connection of their own. */
struct tell {
	sd_bus *bus;
	unsigned open;
};

/* Whatever it says: the value is in the cgroup already. systemd asks the bus who it was, so the connection
 * stays until it has answered. */
static int on_told(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct tell *tell = userdata;

	if (--tell->open == 0) {
		(void)sd_bus_detach_event(tell->bus); /* it is attached */
		sd_bus_close_unref(tell->bus);
		free(tell);
	}
	return 1;
}

static void tell_unit(struct tell *tell, const char *unit, uint64_t bytes)
{
	if (sd_bus_call_method_async(tell->bus, NULL, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
	            "org.freedesktop.systemd1.Manager", "SetUnitProperties", on_told, tell, "sba(sv)", unit,
	            1, 1, "MemoryMin", "t", bytes) >= 0)
		tell->open++;
}

void cgroup_root_tell_guarantee(const struct cgroup_root *root, sd_event *event, uint64_t bytes)
{
	const char *unit = strrchr(root->path, '/');
	struct tell *tell;

	if (sd_booted() <= 0 || !unit || !str_has_suffix(root->path, ".scope"))
		return;
	tell = calloc(1, sizeof(*tell));
	if (!tell)
		return;
	if (sd_bus_open_system(&tell->bus) >= 0 && sd_bus_attach_event(tell->bus, event, 0) >= 0) {
		tell_unit(tell, unit + 1, bytes);
		tell_unit(tell, "ctd.slice", bytes);
	}
	if (tell->open == 0) {
		sd_bus_close_unref(tell->bus);
		free(tell);
	}
}

void cgroup_root_done(struct cgroup_root *root)
{
	root->fd = fd_close(root->fd);
}
