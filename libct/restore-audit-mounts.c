/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mounts of what was restored: of init, and of each mount namespace that a service inside has of its own
 * (PrivateTmp=, ProtectSystem= and the like of systemd).
 *
 * Such a namespace belongs to the container's user namespace, and in it is nothing that a start does not
 * mount or a container's root could not: the container's own overlay, which has nodev, his own cgroups, the
 * device nodes, the view of /proc, its native directories, and what needs nothing of the host (tmpfs, devpts,
 * mqueue). procfs and sysfs are there once, at /proc and /sys, the latter read-only, and with every mask that
 * a start puts there; besides, parts of them may be bound onto themselves, as ProtectKernelTunables= does,
 * since the masks go on top. A service may have neither of them.
 */
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/str.h"
#include "libct/mounts.h"
#include "libct/restore-audit.h"
#include "libct/sys.h"

#define FILE_MAX       (1024 * 1024)
#define NAMESPACES_MAX 4096

/* One line of mountinfo, taken apart. */
struct mount_line {
	const char *device, *root, *point, *options, *type, *source;
};

/* One mount namespace. */
struct mounts_seen {
	const struct audit *audit;
	bool of_init;
	char device[32]; /* of the root filesystem */
	unsigned int n_proc, n_sys, n_cgroup;
	uint64_t masks; /* bit i: the mask i is there */
};

static bool is_device(const char *root)
{
	static const char *const names[] = { "/null", "/zero", "/full", "/random", "/urandom", "/tty" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_eq(root, names[i]))
			return true;
	return false;
}

/* What needs nothing of the host, so that a container's root may mount it by himself. */
static bool is_virtual(const char *type)
{
	static const char *const types[] = { "tmpfs", "ramfs", "devpts", "mqueue" };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_eq(type, types[i]))
			return true;
	return false;
}

/* Whole at its place, or a part of it bound onto itself: on that the masks are as well. A copy anywhere else
 * would come back without. */
static bool is_at(const struct mount_line *m, const char *place, unsigned int *count)
{
	const char *rest = str_has_prefix(m->point, place) ? m->point + strlen(place) : NULL;

	if (!rest)
		return false;
	if (!*rest)
		return str_eq(m->root, "/") && ++*count == 1;
	return *rest == '/' && str_eq(m->root, rest);
}

static bool has_option(const char *options, const char *name)
{
	const size_t len = strlen(name);

	for (const char *at = options; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, name, len) == 0 && (at[len] == ',' || !at[len]))
			return true;
	return false;
}

static bool is_native(const struct audit *a, const struct mount_line *m)
{
	for (size_t i = 0; i < a->want->n_natives; i++) {
		const struct restore_native *native = &a->want->natives[i];
		const char *rest =
		        str_has_prefix(m->root, native->root) ? m->root + strlen(native->root) : NULL;

		if (rest && (*rest == '/' || !*rest) && str_eq(m->device, native->device))
			return has_option(m->options, "nodev");
	}
	return false;
}

/* CRIU knows what comes from outside by where it is mounted, in whatever namespace, and takes for it all that
 * is mounted there. In a service's own namespace that may be a part of something (PrivateTmp=, ProtectHome=),
 * which ctd tells apart in the images; what is in a whole file system would not be saved. */
static bool is_lost(const struct mounts_seen *s, const struct mount_line *m)
{
	const struct restore_want *want = s->audit->want;

	for (size_t i = 0; i < want->n_natives; i++) {
		const struct restore_native *native = &want->natives[i];

		if (!str_eq(m->point, native->point) ||
		        (str_eq(m->root, native->root) && str_eq(m->device, native->device)))
			continue;
		return s->of_init || str_eq(m->root, "/") ||
		       (!str_eq(m->type, "overlay") && !str_eq(m->type, "tmpfs") && !is_native(s->audit, m));
	}
	return false;
}

/* Below it there would be a mask, which is not put into what a tenant has made. */
static bool hides_mask(const char *point)
{
	static const char boot_id[] = "/proc/sys/kernel/random/boot_id";
	const size_t len = strlen(point);
	char path[MASK_PATH_MAX];

	for (unsigned int i = 0; mask_path(i, path); i++)
		if (strncmp(path, point, len) == 0 && path[len] == '/')
			return true;
	return str_has_prefix(boot_id, point) && boot_id[len] == '/';
}

static bool mount_fits(struct mounts_seen *s, const struct mount_line *m)
{
	if (str_eq(m->type, "proc"))
		return is_at(m, "/proc", &s->n_proc);
	if (str_eq(m->type, "sysfs"))
		return is_at(m, "/sys", &s->n_sys) && has_option(m->options, "ro");
	if ((str_has_prefix(m->point, "/proc") || str_has_prefix(m->point, "/sys")) && hides_mask(m->point))
		return false;
	if (is_lost(s, m))
		return false;
	if (str_eq(m->type, "overlay"))
		return str_eq(m->device, s->device) && has_option(m->options, "nodev");
	if (str_eq(m->type, "cgroup2")) {
		s->n_cgroup += str_eq(m->point, "/sys/fs/cgroup");
		return audit_is_below(m->root, s->audit->want->cgroup_name);
	}
	if (str_eq(m->type, "devtmpfs"))
		return is_device(m->root);
	if (str_has_prefix(m->type, "fuse"))
		return str_eq(m->source, "ct-view");
	return is_virtual(m->type) || is_native(s->audit, m);
}

static void note_mask(struct mounts_seen *s, const char *point)
{
	char path[MASK_PATH_MAX];

	for (unsigned int i = 0; mask_path(i, path); i++)
		if (str_eq(path, point))
			s->masks |= UINT64_C(1) << i;
}

/* The first mask that is missing, of those whose file this kernel has; else NULL. */
static const char *missing_mask(const struct mounts_seen *s, char ret[MASK_PATH_MAX])
{
	for (unsigned int i = 0; mask_path(i, ret); i++) {
		const bool proc = str_has_prefix(ret, "/proc/");

		if ((proc ? s->n_proc : s->n_sys) && !(s->masks & UINT64_C(1) << i) && access(ret, F_OK) == 0)
			return ret;
	}
	return NULL;
}

struct listing {
	int mntns_fd, proc_fd;
	int list_fd;
};

/* From the root of the namespace: a task's own may be another, from which not all of them are seen. */
static int list_helper(void *arg)
{
	struct listing *l = arg;

	if (setns(l->mntns_fd, CLONE_NEWNS) < 0)
		return sys_error();
	l->list_fd = openat(l->proc_fd, "self/mountinfo", O_RDONLY | O_CLOEXEC);
	return l->list_fd < 0 ? sys_error() : 0;
}

static int list_mounts(struct audit *a, pid_t pid, int mntns, char **ret)
{
	_cleanup_close_ int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct listing l = { .mntns_fd = mntns, .proc_fd = proc, .list_fd = -1 };
	_cleanup_free_ char *text = malloc(FILE_MAX + 1);
	_cleanup_close_ int list = -1;
	ssize_t n = -ENOMEM;
	int r;

	if (proc < 0)
		return audit_refuse(a, pid, "it has no mounts");
	r = helper_run(list_helper, &l, a->err);
	if (r < 0)
		return audit_refuse(a, pid, "its mounts cannot be listed");
	list = l.list_fd;
	if (text)
		n = read_all(list, text, FILE_MAX);
	if (n < 0 || n == FILE_MAX)
		return audit_refuse(a, pid, "its mounts do not read");
	text[n] = '\0';
	*ret = TAKE_PTR(text);
	return 0;
}

static bool belongs_inside(const struct audit *a, int mntns)
{
	_cleanup_close_ int userns = ioctl(mntns, NS_GET_USERNS);
	struct stat st;

	return userns >= 0 && fstat(userns, &st) == 0 && st.st_ino == a->own[AUDIT_USER_NS];
}

static int check_line(struct mounts_seen *s, pid_t pid, char *line, struct audit *a)
{
	struct mount_line m;
	char *tail = strstr(line, " - ");

	(void)strsep(&line, " "); /* ids */
	(void)strsep(&line, " ");
	m.device = strsep(&line, " ");
	m.root = strsep(&line, " ");
	m.point = strsep(&line, " ");
	m.options = strsep(&line, " ");
	if (!tail || !m.options)
		return audit_refuse(a, pid, "its mounts do not read");
	tail += 3;
	m.type = strsep(&tail, " ");
	m.source = strsep(&tail, " ");
	if (!m.source || !mount_fits(s, &m))
		return ct_error_kind_set(a->err, CT_ERROR_REFUSED, -EPERM,
		        "\"%.200s\" inside is a mount of a kind that is not kept (\"%.40s\", of process %d): unmount it",
		        m.point, m.type, pid);
	note_mask(s, m.point);
	return 0;
}

static int check_mounts(struct audit *a, pid_t pid, bool of_init)
{
	_cleanup_close_ int mntns = ct_process_namespace(pid, CLONE_NEWNS);
	struct mounts_seen s = { .audit = a, .of_init = of_init };
	_cleanup_free_ char *text = NULL;
	char mask[MASK_PATH_MAX];
	char *rest, *line;
	int r;

	if (mntns < 0 || !belongs_inside(a, mntns))
		return audit_refuse(a, pid, "its mounts belong to somebody else");
	r = list_mounts(a, pid, mntns, &text);
	if (r < 0)
		return r;
	(void)snprintf(s.device, sizeof(s.device), "%u:%u", major(a->want->root_dev),
	        minor(a->want->root_dev)); /* fits */

	rest = text;
	while (r >= 0 && (line = strsep(&rest, "\n")) && *line)
		r = check_line(&s, pid, line, a);
	if (r < 0)
		return r;
	if (of_init && (s.n_proc != 1 || s.n_sys != 1))
		return ct_error_kind_set(a->err, CT_ERROR_REFUSED, -EPERM,
		        "\"/proc\" or \"/sys\" is not mounted inside, as a start has it (restart it)");
	/* Else what is opened by this name would be of the bare sysfs. */
	if (s.n_sys && !s.n_cgroup)
		return ct_error_kind_set(a->err, CT_ERROR_REFUSED, -EPERM,
		        "nothing is mounted on \"/sys/fs/cgroup\" inside, as a start has it (restart it)");
	if (missing_mask(&s, mask))
		return ct_error_kind_set(a->err, CT_ERROR_REFUSED, -EPERM,
		        "\"%s\" is not covered inside for process %d, as a start has it (restart it)", mask,
		        pid);
	return 0;
}

int audit_mounts(struct audit *a, pid_t pid, ino_t id)
{
	const bool of_init = id == a->own[AUDIT_MNT_NS];
	ino_t *seen;

	for (size_t i = 0; i < a->n_seen; i++)
		if (a->seen[i] == id)
			return 0;
	if (a->n_seen == NAMESPACES_MAX)
		return audit_refuse(a, pid, "there are too many mount namespaces inside");
	seen = realloc(a->seen, (a->n_seen + 1) * sizeof(*seen));
	if (!seen)
		return ct_error_set(a->err, -ENOMEM, "audit", "out of memory");
	a->seen = seen;
	a->seen[a->n_seen++] = id;
	return check_mounts(a, pid, of_init);
}
