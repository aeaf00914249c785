/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Starting a container: from its record to an init that runs.
 *
 * The order is that of design: record the lease of a slot, then the shell (from the pool), the disk as a
 * detached mount, the files that are set from outside, the cgroup with its limits and device program before
 * any task is in it, the ports with their filters before they are up, at last the keeper. Everything made on
 * the way is held by struct start or named by the slot and the ctid, so one teardown undoes any prefix of it,
 * here and after a death of ctd.
 *
 * Once the keeper answers that init was executed, our fds of namespaces and mounts are dropped: from then on
 * they live and die with the container.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/disks.h"
#include "ctd/guest.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/pending.h"
#include "ctd/ports.h"
#include "ctd/resources.h"
#include "ctd/template.h"
#include "ctd/view.h"

struct start {
	struct container *container;
	operation_fn done;
	void *userdata;
	struct pool_item item;
	int root_fd;
	struct ct_bind view[VIEW_FILES];
	size_t n_view;
	struct disk_natives natives;
	struct template_meta meta;
	struct ct_error error;
};

static void mark(struct start *s, enum start_phase phase)
{
	start_trace_mark(&s->container->start_trace, phase);
}

static void start_free(struct start *s)
{
	if (!s)
		return;
	(void)fd_close(s->root_fd);
	for (size_t i = 0; i < s->n_view; i++)
		(void)fd_close(s->view[i].source_fd);
	disk_natives_done(&s->natives);
	template_meta_done(&s->meta);
	ct_shell_done(&s->item.shell);
	(void)fd_close(s->item.idmap_fd);
	free(s);
}
DEFINE_CLEANUP(struct start *, start_free);

int container_may_run(struct container *c, struct ct_error *err)
{
	int r;

	if (c->config.disabled)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EPERM,
		        "\"%s\" is disabled by an administrator (ctctl set %s disabled=no)", c->row.name,
		        c->row.name);
	if (c->row.broken)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "\"%s\" is broken: %s (ctctl fsck --repair)", c->row.name, c->row.broken);
	if (!c->manager->keeper)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -ENOTCONN,
		        "cannot start \"%s\": there is no ct-keeper (see ctd's log)", c->row.name);
	r = allowance_check_start(c, err);
	if (r < 0)
		return r;
	r = limits_check(c->manager, &c->config, err);
	if (r >= 0)
		r = node_admit(c->manager, c, &c->config.limits, err);
	if (r < 0)
		(void)ct_error_prefix(err, "cannot start \"%s\"", c->row.name);
	return r;
}

static int check(struct container *c, struct ct_error *err)
{
	int r = handover_check(c, "start", err);

	return r < 0 ? r : container_may_run(c, err);
}

static int load_template(struct start *s, struct ct_error *err)
{
	struct container *c = s->container;
	struct template_row row = { 0 };
	int r;

	r = store_template_get(c->manager->store, c->row.template_digest, &row, err);
	if (r < 0)
		return r;
	r = template_meta_from_json(row.metadata, &s->meta, err);
	template_row_done(&row);
	return r;
}

static int take_shell(struct start *s, struct ct_error *err)
{
	struct container *c = s->container;
	bool with_link = c->config.n_nets > 0 && config_net_is_there(&c->config.nets[0]) &&
	                 str_eq(c->config.nets[0].name, "eth0");
	int r;

	r = pool_take(&c->manager->pool, with_link, &s->item, err);
	if (r < 0)
		return r;

	/* The lease is in the record before the kernel's objects carry the container's name. */
	r = container_begin_run(c, s->item.slot, err);
	if (r < 0) {
		pool_item_drop(&c->manager->pool, &s->item);
		return r;
	}
	c->state = CONTAINER_STARTING;
	return 0;
}

static int mount_disk(struct start *s, struct ct_error *err)
{
	struct container *c = s->container;
	struct disk_spec spec;

	container_disk_spec(c, &spec);
	s->root_fd = disk_mount_native(c->manager->disks, &spec, s->item.idmap_fd, &s->natives, err);
	return s->root_fd < 0 ? s->root_fd : 0;
}

static int edit_guest(struct start *s, struct ct_error *err)
{
	struct container *c = s->container;
	const bool first_start =
	        c->run.started_usec == 0 && c->row.epoch == 1; /* it may have run elsewhere */
	struct ip_addr dns[CONFIG_DNS_MAX];
	_cleanup_json_ json_t *pending = pending_get(c);
	struct guest_edit edit = {
		.hostname = *c->config.hostname ? c->config.hostname : c->row.name,
		.dns = dns,
		.first_start = first_start,
		.ssh_keys = c->config.ssh_keys,
		.n_ssh_keys = c->config.n_ssh_keys,
		.set_keys = pending_has_keys(pending),
		.password_hash = pending_password(pending),
	};
	int r;

	edit.n_dns = ports_dns(c, dns, CONFIG_DNS_MAX);
	ports_tell_guest(c, s->root_fd, first_start);
	r = guest_apply(s->root_fd, s->item.shell.base_id, &edit, err);
	if (r >= 0)
		network_names_begin(c, s->root_fd);
	return r;
}

static int make_cgroup(struct start *s, struct ct_error *err)
{
	struct container *c = s->container;
	char name[40];
	int r;

	container_cgroup_name(c, name);
	r = c->cgroup_fd = fd_set_aside(ct_cgroup_new(c->manager->cgroup.fd, name, err));
	if (r >= 0)
		r = container_note_root(c, s->root_fd, err);
	if (r >= 0)
		r = limits_apply_new(c, err);
	if (r >= 0)
		r = ct_cgroup_set_devices(c->cgroup_fd, NULL, 0, err);
	if (r >= 0)
		r = ct_cgroup_delegate(c->cgroup_fd, s->item.shell.base_id, s->item.shell.base_id, err);
	return r < 0 ? r : 0;
}

static void on_started(struct keeper_reply *reply, void *userdata);

#define BINDS_MAX (VIEW_FILES + DISK_NATIVES_MAX)
static_assert(BINDS_MAX <= CT_BINDS_MAX, "a start takes as many binds");

static size_t list_binds(struct start *s, struct ct_bind ret[BINDS_MAX])
{
	size_t n = 0;

	/* Locked as they would be, they would keep the containers inside from having a procfs. */
	s->n_view = s->container->config.nesting ? 0 : view_binds(s->container->manager, s->view);
	for (size_t i = 0; i < s->n_view; i++)
		ret[n++] = s->view[i];
	for (size_t i = 0; i < s->natives.n; i++)
		ret[n++] = (struct ct_bind){ .source_fd = s->natives.items[i].fd,
			.target = s->natives.items[i].path };
	return n;
}

static int ask_keeper(struct start *s, struct ct_error *err)
{
	struct container *c = s->container;
	struct manager *m = c->manager;
	static const char *const base_env[] = { "container=ctd",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux", NULL };
	const struct limits *l = &c->config.limits;
	struct ct_rlimit rlimits[LIMITS_OF_PROCESS];
	struct ct_bind binds[BINDS_MAX];
	struct ct_spec spec = {
		.argv = (const char *const *)s->meta.init,
		.env = s->meta.env && s->meta.env[0] ? (const char *const *)s->meta.env : base_env,
		.hostname = *c->config.hostname ? c->config.hostname : c->row.name,
		.root_fd = s->root_fd,
		.userns_fd = s->item.shell.userns_fd,
		.netns_fd = s->item.shell.netns_fd,
		.cgroup_fd = c->cgroup_fd,
		.base_id = s->item.shell.base_id,
		.seccomp = m->seccomp[c->config.nesting ? CT_SECCOMP_NESTING : CT_SECCOMP_SYSTEM],
		.nesting = c->config.nesting,
		.rlimits = rlimits,
		.n_rlimits = ARRAY_SIZE(rlimits),
		.run_masks = (const char *const *)s->meta.run_masks,
		.boottime_offset_sec = -(int64_t)(now_boottime_usec() / USEC_PER_SEC),
		.monotonic_offset_sec = -(int64_t)(now_monotonic_usec() / USEC_PER_SEC),
		.set_clocks = m->host.time_namespace,
		.shm_bytes = l->shm.value, /* zero where it is not given: the library's default */
		.run_bytes = l->run.value,
		.max_ptys = (uint32_t)l->ptys.value,
		.console = true,
	};
	char key[40];

	limits_of_process(l, rlimits);
	spec.binds = binds;
	spec.n_binds = list_binds(s, binds);

	container_key(c, key);
	return keeper_client_start(m->keeper, key, &spec, on_started, s, err);
}

static int prepare(struct start *s, struct ct_error *err)
{
	struct container *c = s->container;
	int r;

	r = limits_want_user(&c->config.limits) ? limits_apply_user(c, s->item.shell.userns_fd, err) : 0;
	mark(s, START_NAMESPACES);
	if (r >= 0)
		r = mount_disk(s, err);
	mark(s, START_DISK);
	if (r >= 0)
		r = edit_guest(s, err);
	mark(s, START_FILES);
	if (r >= 0)
		r = make_cgroup(s, err);
	mark(s, START_CGROUP);
	if (r >= 0)
		r = ports_up(s->container, &s->item, err);
	mark(s, START_NETWORK);
	if (r >= 0)
		r = ask_keeper(s, err);
	return r;
}

static void on_undone(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	CLEANUP(start_freep) struct start *s = userdata;

	s->done(c, s->error.code, &s->error, s->userdata);
}

/* Drops our hold on the namespaces, takes down what carries the container's name, then reports s->error. */
static void undo(struct start *s)
{
	(void)ct_error_prefix(&s->error, "cannot start \"%s\"", s->container->row.name);
	s->root_fd = fd_close(s->root_fd);
	disk_natives_done(&s->natives);
	ct_shell_done(&s->item.shell);
	container_teardown(s->container, on_undone, s);
}

static void succeeded(struct start *s, struct keeper_reply *reply)
{
	struct container *c = s->container;
	struct ct_error error = { 0 };

	c->run.pid = reply->process.pid;
	c->run.start_time = reply->process.start_time;
	c->run.started_usec = now_realtime_usec();
	c->up_since_usec = now_monotonic_usec();
	c->run.wanted = true;
	c->pidfd = fd_close(c->pidfd);
	c->console_fd = fd_close(c->console_fd);
	c->pidfd = fd_set_aside(TAKE_FD(reply->pidfd));
	c->console_fd = TAKE_FD(reply->console_fd);
	container_set_state(c, CONTAINER_RUNNING);
	if (pending_clear(c, &error) < 0)
		log_warning("\"%s\": keys and password will be set again at the next start: %s", c->row.name,
		        error.text);
	manager_event(c->manager, c, "container.started", NULL);
}

static void on_started(struct keeper_reply *reply, void *userdata)
{
	struct start *s = userdata;

	/* The job is gone, and the record says that it was at work: the next ctd sees what came of it. */
	if (s->container->manager->closing) {
		start_free(s);
		return;
	}
	if (reply->result < 0) {
		s->error = reply->error;
		s->error.code = reply->result;
		if (!*s->error.text)
			(void)ct_error_set(&s->error, reply->result, "keeper", "ct-keeper did not answer: %s",
			        strerror(-reply->result));
		undo(s);
		return;
	}

	start_trace_keeper(&s->container->start_trace, &reply->process.stamps);
	succeeded(s, reply);
	mark(s, START_STATE);
	s->done(s->container, 0, NULL, s->userdata);
	start_free(s);
}

/* A start that comes while the last run is still being taken down. */
struct start_later {
	operation_fn done;
	void *userdata;
};

static void on_ready(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	_cleanup_free_ struct start_later *later = userdata;
	struct ct_error failure = { 0 };

	if (result >= 0)
		result = container_start(c, later->done, later->userdata, &failure);
	else if (error)
		failure = *error;
	if (result != 0)
		later->done(c, result < 0 ? result : 0, &failure, later->userdata);
}

static int start_later(struct container *c, operation_fn done, void *userdata, struct ct_error *err)
{
	struct start_later *later = malloc(sizeof(*later));

	if (!later)
		return ct_error_set(err, -ENOMEM, "start", "out of memory");
	*later = (struct start_later){ .done = done, .userdata = userdata };
	container_teardown(c, on_ready, later);
	return 0;
}

int container_start(struct container *c, operation_fn done, void *userdata, struct ct_error *err)
{
	CLEANUP(start_freep) struct start *s = NULL;
	int r;

	if (c->state == CONTAINER_RUNNING || c->state == CONTAINER_FROZEN)
		return 1;
	start_trace_begin(&c->start_trace);
	r = check(c, err);
	if (r < 0)
		return r;
	c->restart_timer = sd_event_source_disable_unref(c->restart_timer);
	if (c->teardown)
		return start_later(c, done, userdata, err);
	if (c->state != CONTAINER_STOPPED)
		return ct_error_kind_set(err, CT_ERROR_STATE, -EBUSY,
		        "cannot start \"%s\": its last run has not ended (ctctl kill %s)", c->row.name,
		        c->row.name);

	s = calloc(1, sizeof(*s));
	if (!s)
		return ct_error_set(err, -ENOMEM, "start", "out of memory");
	*s = (struct start){
		.container = c, .done = done, .userdata = userdata, .item = POOL_ITEM_INIT, .root_fd = -1
	};

	r = load_template(s, err);
	mark(s, START_CHECK);
	if (r >= 0)
		r = take_shell(s, err);
	if (r < 0)
		return ct_error_prefix(err, "cannot start \"%s\"", c->row.name);

	r = prepare(s, &s->error);
	if (r < 0) {
		if (s->error.code == 0)
			(void)ct_error_set(&s->error, r, "start", "%s", strerror(-r));
		undo(s);
	}
	TAKE_PTR(s);
	return 0;
}
