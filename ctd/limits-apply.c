/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Telling the kernel, and finding out whether it still knows.
 *
 * The texts come from the table of limits.c. A new cgroup is written before any task is in it. A running one
 * is compared file by file: only what differs is written, then read back, because a limit that the kernel
 * took and changed is not the one that was sold. Nothing ever passes through "max" on its way from one value
 * to another.
 *
 * Two files depend on each other: the kernel refuses a cpu.max below cpu.max.burst, so a burst goes to zero
 * before the cap changes.
 *
 * Budgets of the user namespace (user.max_*, namespaces(7)) hold for each user inside; for the container as a
 * whole the host's own value of the base id holds. They are written by a process inside, which only
 * CAP_SYS_RESOURCE in there may undo: the container's bounding set has it not.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/unit.h"
#include "ctd/manager.h"
#include "ctd/resources.h"

#define TEXT_MAX       65536
#define OWN_NAMESPACES 4
#define OWN_MOUNTS     96
#define OPEN_FILES_MAX 524288

static int context_init(struct container *c, struct limits_context *x, struct ct_error *err)
{
	const struct limits *l = &c->config.limits;

	*x = (struct limits_context){ .limits = l, .placement = &c->resources->placement };
	memcpy(x->store, c->manager->node.store_number, sizeof(x->store));
	for (unsigned i = 0; i < l->n_devices; i++) {
		int r = node_device_number(l->devices[i].path, x->devices[i]);

		if (r < 0)
			return ct_error_set(
			        err, r, "io", "there is no block device \"%s\"", l->devices[i].path);
	}
	return 0;
}

static const char *file_name(const struct manager *m, const struct limit_file *f)
{
	if (str_eq(f->name, "io.weight") && node_weights(m) == NODE_WEIGHTS_BFQ)
		return "io.bfq.weight";
	return f->name;
}

/* What the file shall hold. *ret_neutral: nobody wants anything else than what a new cgroup has. */
static int wanted_text(const struct limit_file *f, const struct limits_context *x, struct strbuf *b,
        bool *ret_neutral, struct ct_error *err)
{
	f->print(x, b);
	*ret_neutral = b->len == 0;
	if (*ret_neutral)
		(void)strbuf_puts(b, f->neutral); /* checked below */
	return b->error ? ct_error_set(err, b->error, "limits", "out of memory") : 0;
}

static int fail_write(
        struct container *c, const struct limit_file *f, const char *text, int r, struct ct_error *err)
{
	char shown[128];

	return ct_error_set(err, r, "limits", "cannot set %s of \"%s\" (\"%s\" into %s): %s", f->key,
	        c->row.name, str_escape_to(shown, sizeof(shown), text, strlen(text)), f->name, strerror(-r));
}

/* A file takes one line in one write. An empty list of CPUs is an empty line. */
static int write_lines(struct container *c, const struct limit_file *f, const char *name, const char *text,
        struct ct_error *err)
{
	_cleanup_free_ char *copy = strdup(text);
	char *line, *next = copy;

	if (!copy)
		return ct_error_set(err, -ENOMEM, "limits", "out of memory");
	while ((line = strsep(&next, "\n"))) {
		int r = write_file_printf_at(c->cgroup_fd, name, "%s\n", line);

		if (r < 0)
			return fail_write(c, f, line, r, err);
	}
	return 0;
}

/* True if the line stands in the text. */
static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *p = text; p && *p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, line, len) == 0 && (p[len] == '\n' || p[len] == '\0'))
			return true;
	}
	return false;
}

static bool lines_within(const char *lines, const char *text)
{
	for (const char *p = lines; *p;) {
		size_t len = strcspn(p, "\n");

		if (!has_line(text, p, len))
			return false;
		p += len + (p[len] == '\n');
	}
	return true;
}

static bool is_same(const struct limit_file *f, const char *is, const char *wanted)
{
	if (f->form == LIMIT_TEXT)
		return str_eq(is, wanted);
	/* io.weight may have lines of devices besides the default, which nobody but root can have put there.
	 */
	return lines_within(wanted, is) && (str_eq(f->name, "io.weight") || lines_within(is, wanted));
}

/* Devices that have a limit and shall have none. */
static int clear_devices(struct container *c, const struct limit_file *f, const char *is, const char *wanted,
        struct ct_error *err)
{
	if (!str_eq(f->name, "io.max"))
		return 0;
	for (const char *p = is; *p;) {
		size_t len = strcspn(p, "\n"), number = strcspn(p, " \n");
		char device[24];
		int r;

		(void)snprintf(device, sizeof(device), "%.*s ", (int)number, p); /* MAJ:MIN */
		if (!strstr(wanted, device)) {
			r = write_file_printf_at(
			        c->cgroup_fd, "io.max", "%srbps=max wbps=max riops=max wiops=max\n", device);
			if (r < 0)
				return fail_write(c, f, device, r, err);
		}
		p += len + (p[len] == '\n');
	}
	return 0;
}

static int read_text(struct container *c, const char *name, char **ret)
{
	int r = read_file_at(c->cgroup_fd, name, TEXT_MAX, ret, NULL);
	size_t len;

	if (r < 0)
		return r;
	len = strlen(*ret);
	if (len > 0 && (*ret)[len - 1] == '\n')
		(*ret)[len - 1] = '\0';
	return 0;
}

/* A limit below what is used would make the kernel kill: what could be reclaimed has been by now. */
static int check_room(struct container *c, const struct limit_file *f, const char *text, struct ct_error *err)
{
	uint64_t used = 0, max = 0;
	char is[24], wanted[24];

	if (!str_eq(f->name, "memory.max") || parse_u64(text, &max) < 0 ||
	        read_u64_at(c->cgroup_fd, "memory.current", &used) < 0 || used <= max)
		return 0;
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	        "\"%s\" still uses %s of memory, more than %s; stop something inside first", c->row.name,
	        format_size(is, sizeof(is), used), format_size(wanted, sizeof(wanted), max));
}

/* The kernel does not let a cpuset with tasks become empty again, which would mean "all": all are named. */
static int all_instead(
        struct container *c, const struct limit_file *f, struct strbuf *wanted, struct ct_error *err)
{
	_cleanup_free_ char *all = NULL;
	char name[40];
	int r;

	if (!str_eq(f->controller, "cpuset"))
		return 0;
	(void)snprintf(name, sizeof(name), "%s.effective", f->name);
	r = read_file_at(c->manager->cgroup.fd, name, TEXT_MAX, &all, NULL);
	if (r < 0)
		return fail_write(c, f, name, r, err);
	all[strcspn(all, "\n")] = '\0';
	strbuf_reset(wanted);
	return strbuf_puts(wanted, all);
}

/* 1: it was written, 0: it held that already. */
static int bring(
        struct container *c, const struct limit_file *f, const struct limits_context *x, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf wanted = STRBUF_INIT;
	_cleanup_free_ char *is = NULL, *after = NULL;
	const char *name = file_name(c->manager, f);
	bool neutral = false;
	int r;

	r = wanted_text(f, x, &wanted, &neutral, err);
	if (r < 0)
		return r;
	r = read_text(c, name, &is);
	if (r == -ENOENT && (neutral || !f->asked(x->limits)))
		return 0; /* the host has it not, and nobody asked for it */
	if (r < 0)
		return fail_write(c, f, wanted.data, r, err);
	if (neutral && *is)
		r = all_instead(c, f, &wanted, err);
	if (r < 0 || is_same(f, is, wanted.data))
		return r;

	r = check_room(c, f, wanted.data, err);
	if (r >= 0 && str_eq(name, "cpu.max"))
		r = write_file_at(c->cgroup_fd, "cpu.max.burst", "0") == -ENOENT ? 0 : r; /* see above */
	if (r >= 0)
		r = clear_devices(c, f, is, wanted.data, err);
	if (r >= 0 && (f->form == LIMIT_TEXT || *wanted.data))
		r = write_lines(c, f, name, wanted.data, err);
	if (r >= 0)
		r = read_text(c, name, &after);
	if (r >= 0 && !is_same(f, after, wanted.data))
		return ct_error_set(err, -EPROTO, "limits",
		        "%s of \"%s\" does not hold: \"%.60s\" was written into %s, which shows \"%.60s\"",
		        f->key, c->row.name, wanted.data, f->name, after);
	return r < 0 ? r : 1;
}

/* ---- out of memory ---- */

static int read_kills(int fd, uint64_t *ret)
{
	char text[1024], *p;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	text[n] = '\0';
	p = strstr(text, "\noom_kill ");
	if (!p)
		return -ENODATA;
	*ret = strtoull(p + strlen("\noom_kill "), NULL, 10);
	return 0;
}

static void tell_kills(struct resources *r, uint64_t kills)
{
	if (kills <= r->oom_kills)
		return;
	log_notice("\"%s\" was out of memory: %llu killed", r->container->row.name,
	        (unsigned long long)(kills - r->oom_kills));
	manager_event(r->container->manager, r->container, "container.oom",
	        json_pack("{s:I, s:I}", "killed", (json_int_t)(kills - r->oom_kills), "total",
	                (json_int_t)kills));
	r->oom_kills = kills;
}

static int on_memory_event(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	uint64_t kills = 0;

	if (read_kills(fd, &kills) < 0)                                  /* the cgroup is gone */
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF); /* cannot fail for a valid source */
	else
		tell_kills(userdata, kills);
	return 0;
}

/* How many of this run an earlier ctd has told of; what came after, nobody has. */
static uint64_t told_kills(struct container *c)
{
	_cleanup_json_ json_t *detail = NULL;
	_cleanup_free_ char *text = NULL;

	if (store_event_last(
	            c->manager->store, c->row.ctid, "container.oom", c->run.started_usec, &text, NULL) < 0 ||
	        !text)
		return 0;
	detail = json_loads(text, 0, NULL);
	return (uint64_t)json_integer_value(json_object_get(detail, "total"));
}

bool limits_has_kills(int cgroup_fd)
{
	_cleanup_close_ int fd = openat(cgroup_fd, "memory.events", O_RDONLY | O_CLOEXEC);
	uint64_t kills = 0;

	return fd >= 0 && read_kills(fd, &kills) == 0 && kills > 0;
}

/* memory.events wakes poll with POLLPRI at each change; a container that lives at its limit changes it often,
 * so at most twice a second. */
static void watch_memory(struct container *c)
{
	struct resources *res = c->resources;
	int fd = openat(c->cgroup_fd, "memory.events", O_RDONLY | O_CLOEXEC);
	uint64_t kills = 0;

	if (fd < 0)
		return;                                 /* no controller, no limit of it */
	if (read_kills(fd, &kills) == 0 && kills > 0) { /* else from zero */
		res->oom_kills = told_kills(c);
		tell_kills(res, kills);
	}
	if (sd_event_add_io(c->manager->event, &res->oom, fd, EPOLLPRI, on_memory_event, res) < 0 ||
	        sd_event_source_set_io_fd_own(res->oom, 1) < 0) {
		log_warning("\"%s\": kills by lack of memory will not be told", c->row.name);
		res->oom = sd_event_source_disable_unref(res->oom);
		(void)close(fd); /* it was only read */
		return;
	}
	(void)sd_event_source_set_ratelimit(res->oom, USEC_PER_SEC, 2); /* without it, it is only busier */
}

static int resources_new(struct container *c, struct ct_error *err)
{
	if (c->resources)
		return 0;
	c->resources = calloc(1, sizeof(*c->resources));
	if (!c->resources)
		return ct_error_set(err, -ENOMEM, "limits", "out of memory");
	c->resources->container = c;
	for (size_t i = 0; i < _FILE_MAX; i++)
		c->resources->files[i] = -1;
	return 0;
}

void resources_free(struct resources *r)
{
	if (!r)
		return;
	(void)sd_event_source_disable_unref(r->oom); /* always NULL; closes its fd */
	for (size_t i = 0; i < _FILE_MAX; i++)
		(void)fd_close(r->files[i]);
	free(r);
}

int limits_apply_new(struct container *c, struct ct_error *err)
{
	struct limits_context x;
	int r;

	r = resources_new(c, err);
	if (r < 0)
		return r;
	node_place(c->manager, c, &c->config.limits, &c->resources->placement);
	r = context_init(c, &x, err);
	for (const struct limit_file *f = limit_files; f->name && r >= 0; f++) {
		_cleanup_strbuf_ struct strbuf wanted = STRBUF_INIT;
		bool neutral = false;

		if (f->controller && !limits_has_controller(c->manager->cgroup.controllers, f->controller) &&
		        !f->asked(&c->config.limits))
			continue;
		r = wanted_text(f, &x, &wanted, &neutral, err);
		if (r >= 0 && !neutral)
			r = write_lines(c, f, file_name(c->manager, f), wanted.data, err);
		if (r == -ENOENT && !f->asked(&c->config.limits))
			r = 0; /* memory.swap.max of a kernel without swap */
	}
	if (r < 0)
		return r;
	watch_memory(c);
	node_guarantees_apply(c->manager);
	return 0;
}

int limits_apply_memory(struct container *c, int cgroup_fd, struct ct_error *err)
{
	const struct limits_context x = { .limits = &c->config.limits };
	int r = 0;

	for (const struct limit_file *f = limit_files; f->name && r >= 0; f++) {
		_cleanup_strbuf_ struct strbuf wanted = STRBUF_INIT;
		bool neutral = false;

		if (!f->controller || !str_eq(f->controller, "memory") || str_eq(f->name, "memory.min"))
			continue;
		r = wanted_text(f, &x, &wanted, &neutral, err);
		if (r < 0 || neutral)
			continue;
		r = write_file_at(cgroup_fd, f->name, wanted.data);
		if (r == -ENOENT && !f->asked(&c->config.limits))
			r = 0; /* as above */
		else if (r < 0)
			r = fail_write(c, f, wanted.data, r, err);
	}
	return r;
}

int limits_apply_live(struct container *c, struct ct_error *err)
{
	struct limits_context x;
	struct placement old;
	struct limits limits; /* borrows its devices */
	int r;

	r = resources_new(c, err);
	if (r < 0)
		return r;
	/* Who was placed stays: on his node, and on his CPUs as long as their number stays. */
	old = c->resources->placement;
	limits = c->config.limits;
	if (limits.numa.automatic && cpu_list_count(&old.nodes) == 1)
		limits.numa = (struct limits_set){ .given = true, .list = old.nodes };
	node_place(c->manager, c, &limits, &c->resources->placement);
	if (limits.cpuset.automatic &&
	        cpu_list_count(&old.cpus) == cpu_list_count(&c->resources->placement.cpus))
		c->resources->placement.cpus = old.cpus;
	r = context_init(c, &x, err);
	for (const struct limit_file *f = limit_files; f->name && r >= 0; f++)
		r = bring(c, f, &x, err);
	if (r < 0)
		return r;
	node_guarantees_apply(c->manager);
	return 0;
}

/* "auto" was resolved by a ctd that is gone: the kernel remembers. */
static void read_placement(struct container *c)
{
	struct placement *p = &c->resources->placement;
	_cleanup_free_ char *cpus = NULL, *nodes = NULL;
	const struct limits *l = &c->config.limits;

	node_place(c->manager, c, l, p);
	if ((l->cpuset.automatic || l->numa.automatic) && read_text(c, "cpuset.cpus", &cpus) == 0 && *cpus)
		(void)cpu_list_parse(cpus, &p->cpus); /* else it is placed anew */
	if (l->numa.automatic && read_text(c, "cpuset.mems", &nodes) == 0 && *nodes)
		(void)cpu_list_parse(nodes, &p->nodes);
}

void limits_take_over(struct container *c)
{
	struct ct_error error = { 0 };
	struct limits_context x;
	int r;

	if (c->cgroup_fd < 0 || c->resources)
		return;
	r = resources_new(c, &error);
	if (r >= 0)
		read_placement(c);
	if (r >= 0)
		r = context_init(c, &x, &error);
	for (const struct limit_file *f = limit_files; f->name && r >= 0; f++) {
		r = bring(c, f, &x, &error);
		if (r == 1)
			manager_event(c->manager, c, "limit.restored",
			        json_pack("{s:s, s:s}", "key", f->key, "file", f->name));
	}
	if (r < 0) {
		log_error("a limit of \"%s\" does not hold: %s", c->row.name, error.text);
		manager_event(c->manager, c, "limit.lost", json_pack("{s:s}", "reason", error.text));
	}
	if (!c->resources)
		return;
	watch_memory(c);
	node_guarantees_apply(c->manager);
}

/* ---- budgets of the user namespace ---- */

static int64_t amount_or(const struct amount *a, uint64_t fallback)
{
	return (int64_t)(a->given ? a->value : fallback);
}

bool limits_want_user(const struct limits *l)
{
	return l->inotify_instances.given || l->inotify_watches.given || l->namespaces.given;
}

static int write_user(const struct limits *l, int userns_fd, struct ct_error *err)
{
	int64_t namespaces = amount_or(&l->namespaces, LIMITS_NAMESPACES);
	const struct ct_user_limit limits[] = {
		{ "max_inotify_instances", amount_or(&l->inotify_instances, LIMITS_INOTIFY_INSTANCES) },
		{ "max_inotify_watches", amount_or(&l->inotify_watches, LIMITS_INOTIFY_WATCHES) },
		{ "max_fanotify_groups", LIMITS_INOTIFY_INSTANCES },
		{ "max_fanotify_marks", LIMITS_INOTIFY_WATCHES },
		{ "max_user_namespaces", namespaces },
		/* Its own are counted too, and so is each detached mount while it starts. */
		{ "max_pid_namespaces", namespaces + OWN_NAMESPACES },
		{ "max_uts_namespaces", namespaces + OWN_NAMESPACES },
		{ "max_ipc_namespaces", namespaces + OWN_NAMESPACES },
		{ "max_net_namespaces", namespaces + OWN_NAMESPACES },
		{ "max_mnt_namespaces", namespaces + OWN_MOUNTS },
		{ "max_cgroup_namespaces", namespaces + OWN_NAMESPACES },
		{ "max_time_namespaces", namespaces + OWN_NAMESPACES },
	};

	return ct_userns_limit(userns_fd, limits, ARRAY_SIZE(limits), err);
}

int limits_user_defaults(int userns_fd, struct ct_error *err)
{
	const struct limits none = { 0 };

	return write_user(&none, userns_fd, err);
}

int limits_apply_user(struct container *c, int userns_fd, struct ct_error *err)
{
	_cleanup_close_ int own = -1;

	if (userns_fd < 0) {
		own = ct_process_namespace(c->run.pid, CLONE_NEWUSER);
		if (own < 0)
			return ct_error_set(err, own, "limits",
			        "cannot reach the user namespace of \"%s\": %s", c->row.name, strerror(-own));
		userns_fd = own;
	}
	return write_user(&c->config.limits, userns_fd, err);
}

/* What distributions give their own systems; less where this host does not let us raise it. */
static uint64_t open_files_limit(void)
{
	struct rlimit own;

	if (prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE) == 1 || getrlimit(RLIMIT_NOFILE, &own) < 0 ||
	        own.rlim_max > OPEN_FILES_MAX)
		return OPEN_FILES_MAX;
	return own.rlim_max;
}

void limits_of_process(const struct limits *l, struct ct_rlimit ret[LIMITS_OF_PROCESS])
{
	const uint64_t files = l->open_files.given ? l->open_files.value : open_files_limit();

	ret[0] = (struct ct_rlimit){ RLIMIT_NOFILE, files < 1024 ? files : 1024, files };
	ret[1] = (struct ct_rlimit){ RLIMIT_CORE, 0, UINT64_MAX };
	ret[2] = (struct ct_rlimit){ RLIMIT_MEMLOCK, 8 << 20, 8 << 20 };
}
