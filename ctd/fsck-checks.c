/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kinds of difference that fsck knows: database, processes, cgroups, network, disks, templates, leases.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "ctd/checkpoint.h"
#include "ctd/disks.h"
#include "ctd/fsck.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/ports.h"
#include "ctd/staging.h"
#include "ctd/sweeper.h"

static bool at_work(const struct container *c)
{
	return c->active || c->teardown;
}

static bool should_run(const struct container *c)
{
	return c->state == CONTAINER_RUNNING || c->state == CONTAINER_FROZEN;
}

static const struct keeper_process *find_process(const struct fsck *f, const char *key)
{
	for (size_t i = 0; i < f->processes->n_processes; i++)
		if (str_eq(f->processes->processes[i].key, key))
			return &f->processes->processes[i];
	return NULL;
}

static int check_database(struct fsck *f, struct ct_error *err)
{
	char text[200] = "";
	int r = store_check(f->manager->store, text, sizeof(text), err);

	if (r > 0)
		fsck_report(f, "database", "ctd.db", false,
		        "%s (stop ctd and restore a backup, or sqlite3 .recover)", text);
	return r < 0 ? r : 0;
}

static int check_marks(struct fsck *f, struct ct_error *err)
{
	struct container *c, *next;
	bool misplaced;

	HASH_ITER(hh_ctid, f->manager->containers.by_ctid, c, next)
	{
		if (!c->row.broken || at_work(c))
			continue;
		misplaced = f->repair && !c->unreadable && checkpoint_put_right(c, NULL) < 0;
		fsck_report(f, "broken", c->row.name, f->repair && !c->unreadable && !misplaced, "%s",
		        c->row.broken);
		if (f->repair && !misplaced)
			container_set_broken(c, NULL);
	}
	return 0;
}

/* A record that says it runs, and no init; or an init, and no record that wants it. */
static int check_processes(struct fsck *f, struct ct_error *err)
{
	struct manager *m = f->manager;
	struct container *c, *next;
	char key[40];

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		const struct keeper_process *process;

		container_key(c, key);
		process = find_process(f, key);
		if (at_work(c) || !should_run(c) || (process && process->state != KEEPER_PROCESS_EXITED))
			continue;
		fsck_report(f, "state", c->row.name, f->repair, "is recorded as %s but has no init",
		        container_state_name(c->state));
		if (f->repair)
			container_teardown(c, NULL, NULL);
	}
	for (size_t i = 0; i < f->processes->n_processes; i++) {
		const struct keeper_process *process = &f->processes->processes[i];
		const struct container *owner;

		if (!str_has_prefix(process->key, "c/") || process->state == KEEPER_PROCESS_EXITED)
			continue;
		owner = container_by_ctid(m, process->key + 2);
		if (owner && (at_work(owner) || container_has_init(owner)))
			continue;
		fsck_report(f, "process", process->key + 2, f->repair,
		        "an init runs (pid %d) that no container claims", process->pid);
		if (f->repair)
			(void)keeper_client_signal(
			        m->keeper, process->key, SIGKILL, NULL, NULL); /* it may have ended */
	}
	return 0;
}

/* Its processes end soon after the kill, but the loop must not wait for long: what is left goes next time.
 * *patience in steps of 2 ms for all together. */
static bool remove_stray(struct manager *m, const char *name, unsigned *patience)
{
	_cleanup_close_ int fd = openat(m->cgroup.fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	(void)ct_cgroup_kill(fd, NULL); /* what counts is the removal */
	while ((r = ct_cgroup_remove(m->cgroup.fd, name, NULL)) == -EBUSY && *patience > 0) {
		(*patience)--;
		(void)usleep(2000);
	}
	return r >= 0;
}

static int check_cgroups(struct fsck *f, struct ct_error *err)
{
	struct manager *m = f->manager;
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_close_ int fd = openat(m->cgroup.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct container *c, *next;
	struct dirent *entry;
	unsigned patience = 50;
	char name[40];

	dir = fd >= 0 ? fdopendir(fd) : NULL;
	if (!dir)
		return ct_error_set(
		        err, -errno, "cgroup", "cannot list \"%s\": %s", m->cgroup.path, strerror(errno));
	TAKE_FD(fd); /* the directory's now */

	while ((entry = readdir(dir))) {
		if (!str_has_prefix(entry->d_name, "c-"))
			continue;
		c = container_by_ctid(m, entry->d_name + 2);
		if (c && (at_work(c) || c->run.slot || staging_has_cgroup(c)))
			continue;
		fsck_report(f, "cgroup", entry->d_name,
		        f->repair && remove_stray(m, entry->d_name, &patience),
		        "is there but no running container has it");
	}
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		container_cgroup_name(c, name);
		if (at_work(c) || !should_run(c) || faccessat(m->cgroup.fd, name, F_OK, 0) == 0)
			continue;
		fsck_report(f, "cgroup", c->row.name, false, "runs without its cgroup %s (restart it)", name);
	}
	return 0;
}

struct name {
	char name[IFNAMSIZ];
	const struct container *owner; /* NULL: the pool */
	bool found, filtered;
	UT_hash_handle hh;
};

struct net_check {
	struct fsck *fsck;
	struct name *names;
	struct net_object strays[64];
	size_t n_strays;
};

static int expect(struct net_check *n, const char *host_name, const struct container *owner)
{
	struct name *name = NULL;

	HASH_FIND_STR(n->names, host_name, name);
	if (name)
		return 0;
	name = calloc(1, sizeof(*name));
	if (!name)
		return -ENOMEM;
	strncpy(name->name, host_name, sizeof(name->name) - 1);
	name->owner = owner;
	HASH_ADD_STR(n->names, name, name);
	return 0;
}

static int expect_all(struct net_check *n)
{
	struct manager *m = n->fsck->manager;
	struct container *c, *next;
	char host_name[IFNAMSIZ];
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < m->pool.n_items; i++)
		r = expect(n, m->pool.items[i].host_name, NULL);
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	/* All that one may have which does not read: nothing of it is a stray. */
	for (unsigned i = 0;
	        r >= 0 && c->run.slot && i < (c->unreadable ? CONFIG_NETS_MAX : c->config.n_nets); i++) {
		if (!c->unreadable && !config_net_is_there(&c->config.nets[i]))
			continue;
		if (c->unreadable)
			net_port_name(host_name, m->tag, c->run.slot, i);
		else
			ports_host_name(c, c->run.slot, i, host_name);
		r = expect(n, host_name, c);
	}
	return r;
}

static int on_object(const struct net_object *object, void *userdata)
{
	struct net_check *n = userdata;
	struct name *name = NULL;

	HASH_FIND_STR(n->names, object->host_name, name);
	if (name) {
		name->found |= object->kind == NET_OBJECT_LINK;
		name->filtered |= object->kind == NET_OBJECT_FILTER;
		return 0;
	}
	if (n->n_strays < ARRAY_SIZE(n->strays))
		n->strays[n->n_strays++] = *object;
	return 0;
}

static const char *const object_names[] = {
	[NET_OBJECT_LINK] = "link",
	[NET_OBJECT_ROUTE] = "route",
	[NET_OBJECT_FILTER] = "filter",
};

static int report_net(struct net_check *n)
{
	struct fsck *f = n->fsck;
	struct name *name, *next;

	for (size_t i = 0; i < n->n_strays; i++) {
		bool repaired = f->repair && net_object_remove(f->manager->net, &n->strays[i], NULL) == 0;

		fsck_report(f, object_names[n->strays[i].kind], n->strays[i].host_name, repaired,
		        "is there but no running container has it");
	}
	HASH_ITER(hh, n->names, name, next)
	{
		struct container *c =
		        name->owner ? container_by_ctid(f->manager, name->owner->row.ctid) : NULL;
		bool repaired;

		if (!c || at_work(c) || c->unreadable || !should_run(c) ||
		        (name->found && name->filtered && !c->network_shut))
			continue;
		repaired = f->repair && ports_restore(c, NULL) == 0;
		fsck_report(f, name->found && !name->filtered ? "filter" : "link", c->row.name, repaired,
		        "%s of the interface is missing",
		        !name->found      ? "the host side"
		        : !name->filtered ? "the filter"
		                          : "what opens it again");
	}
	return 0;
}

static int check_network(struct fsck *f, struct ct_error *err)
{
	struct net_check n = { .fsck = f };
	struct name *name, *next;
	int r;

	r = expect_all(&n);
	if (r < 0)
		(void)ct_error_set(err, r, "fsck", "out of memory");
	if (r >= 0)
		r = net_dump(f->manager->net, on_object, &n, err);
	if (r >= 0)
		r = report_net(&n);
	HASH_ITER(hh, n.names, name, next)
	{
		HASH_DEL(n.names, name);
		free(name);
	}
	return r;
}

static void on_stray_forward(const struct net_publish *publish, void *userdata)
{
	struct fsck *f = userdata;
	bool repaired = f->repair && net_publish_remove(f->manager->net, publish, 1, NULL) == 0;
	char port[16];

	(void)snprintf(
	        port, sizeof(port), "%u/%s", publish->port, publish->protocol == IPPROTO_UDP ? "udp" : "tcp");
	fsck_report(f, "publish", port, repaired, "is forwarded but no running container publishes it so");
}

static void on_missing_forward(struct container *c, void *userdata)
{
	struct fsck *f = userdata;

	if (at_work(c) || !should_run(c))
		return;
	fsck_report(f, "publish", c->row.name, f->repair && ports_restore(c, NULL) == 0,
	        "not all that it publishes is forwarded");
}

static int check_publish(struct fsck *f, struct ct_error *err)
{
	return ports_check_publish(f->manager, on_stray_forward, on_missing_forward, f, err);
}

/* Bridges that nobody has a port on go here and now: they may just have been left. */
static int check_bridges(struct fsck *f, struct ct_error *err)
{
	int n = segments_sweep(f->manager, err);

	if (n > 0)
		fsck_report(
		        f, "bridge", "bridges", false, "%d of ours have no port and cannot be removed", n);
	return n < 0 ? n : 0;
}

struct disk_check {
	struct fsck *fsck;
	struct container *missing;
};

static int on_disk(const char *name, void *userdata)
{
	struct fsck *f = userdata;
	struct disk_spec spec = { .ctid = name, .driver = f->manager->conf.storage };
	bool repaired;

	if (container_by_ctid(f->manager, name))
		return 0;
	repaired = f->repair && disk_discard(f->manager->disks, &spec, NULL) == 0;
	fsck_report(f, "disk", name, repaired, "is there but belongs to no container");
	return 0;
}

static int check_disks(struct fsck *f, struct ct_error *err)
{
	struct manager *m = f->manager;
	struct container *c, *next;
	char path[64];
	int r;

	r = disk_store_each(m->disks, "containers", on_disk, f, err);
	if (r < 0)
		return r;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		(void)snprintf(path, sizeof(path), "containers/%s", c->row.ctid);
		if (at_work(c) || faccessat(disk_store_fd(m->disks), path, F_OK, 0) == 0)
			continue;
		fsck_report(f, "disk", c->row.name, false,
		        "is missing: restore it from a backup, or destroy the container");
	}
	if (f->repair)
		sweeper_kick(m->sweeper);
	return 0;
}

static int on_checkpoint(const char *name, void *userdata)
{
	struct fsck *f = userdata;
	bool repaired;

	if (checkpoint_is_known(f->manager, name))
		return 0;
	repaired = f->repair && checkpoint_remove(f->manager, name, NULL) >= 0;
	fsck_report(f, "checkpoint", name, repaired, "is there but belongs to no container");
	return 0;
}

static int check_checkpoints(struct fsck *f, struct ct_error *err)
{
	struct manager *m = f->manager;
	struct container *c, *next;
	int r;

	r = disk_store_each(m->disks, "checkpoints", on_checkpoint, f, err);
	if (r < 0)
		return r;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		if (at_work(c) || c->unreadable)
			continue;
		if (c->config.checkpoint.id && !checkpoint_is_there(c))
			fsck_report(f, "checkpoint", c->row.name,
			        f->repair && !c->config.restoring && checkpoint_drop(c, NULL) >= 0,
			        "its checkpoint is missing: it cannot be restored");
		if (!c->config.restoring && disk_is_copy(m->disks, c->row.ctid))
			fsck_report(f, "checkpoint", c->row.name, false,
			        "its disk is that of a checkpoint (start ctd anew)");
	}
	if (f->repair)
		sweeper_kick(m->sweeper);
	return 0;
}

static int on_template(const char *name, void *userdata)
{
	struct fsck *f = userdata;
	struct template_row row = { 0 };
	char path[128];
	int r;

	r = store_template_get(f->manager->store, name, &row, NULL);
	template_row_done(&row);
	if (r != -ENOENT)
		return 0;
	(void)snprintf(path, sizeof(path), "templates/%s", name);
	if (f->repair)
		r = disk_template_discard(f->manager->disks, name, NULL);
	fsck_report(f, "template", name, f->repair && r == 0, "is there but not recorded");
	return 0;
}

static int on_template_row(const struct template_row *row, void *userdata)
{
	struct fsck *f = userdata;
	char path[128];

	(void)snprintf(path, sizeof(path), "templates/%s/root", row->digest);
	if (faccessat(disk_store_fd(f->manager->disks), path, F_OK, 0) < 0)
		fsck_report(f, "template", row->name ?: row->digest, false,
		        "its files are missing: build or import it again");
	return 0;
}

static int check_templates(struct fsck *f, struct ct_error *err)
{
	int r;

	r = disk_store_each(f->manager->disks, "templates", on_template, f, err);
	return r < 0 ? r : store_template_each(f->manager->store, on_template_row, f, err);
}

/* Addresses that the configuration has and nobody leased. Those that are leased and not configured are
 * private ones, or strays. */
static int check_leases(struct fsck *f, struct ct_error *err)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, f->manager->containers.by_ctid, c, next)
	{
		int r = at_work(c) || c->unreadable ? 0 : ports_check_leases(c, err);
		bool repaired = false;

		if (r < 0)
			return r;
		if (r == 0)
			continue;
		if (f->repair && store_begin(f->manager->store, true, NULL) >= 0) {
			repaired = ports_lease(c, &c->config, NULL) >= 0 &&
			           store_commit(f->manager->store, NULL) >= 0;
			if (!repaired)
				store_rollback(f->manager->store);
		}
		fsck_report(f, "lease", c->row.name, repaired,
		        "the leased addresses are not those of its configuration");
	}
	return 0;
}

static int check_slots(struct fsck *f, struct ct_error *err)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, f->manager->containers.by_ctid, c, next)
	{
		if (at_work(c) || c->state != CONTAINER_STOPPED || c->run.slot == 0)
			continue;
		fsck_report(f, "lease", c->row.name, f->repair, "is stopped but holds the id range %u",
		        c->run.slot);
		if (f->repair)
			container_teardown(c, NULL, NULL);
	}
	return 0;
}

static int report_aside(const char *name, void *userdata)
{
	fsck_report(userdata, "ledger", name, false,
	        "was damaged and put aside: usage before is only in it (move it elsewhere when it is settled)");
	return 0;
}

static int check_ledger(struct fsck *f, struct ct_error *err)
{
	int r = ledger_aside_each(f->manager->conf.state_dir, report_aside, f);

	/* That it cannot be written just now is no difference: memory has it, and doctor tells. */
	return r < 0 ? ct_error_set(err, r, "ledger", "cannot list the state directory: %s", strerror(-r))
	             : 0;
}

const struct fsck_check fsck_checks[] = {
	{ "database", check_database },
	{ "ledger", check_ledger },
	{ "marks", check_marks },
	{ "processes", check_processes },
	{ "cgroups", check_cgroups },
	{ "network", check_network },
	{ "published ports", check_publish },
	{ "bridges", check_bridges },
	{ "disks", check_disks },
	{ "checkpoints", check_checkpoints },
	{ "templates", check_templates },
	{ "leases", check_leases },
	{ "id ranges", check_slots },
	{ NULL },
};
