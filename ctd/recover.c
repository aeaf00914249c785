/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recovery.
 *
 * Three witnesses are heard: the database (what was meant), the keeper (which inits it has, how they ended),
 * the kernel (which processes and cgroups there are). For each container whose run row says that it may run:
 *
 *     keeper has its init alive                    it runs: take pidfd, console and cgroup again
 *     keeper has its init's exit                   it ended while we were away: record the exit, take the run
 * down keeper does not know it, pid and start time  its keeper died: hand it to the new one (ADOPT) still
 * name a live process none of these                                it is gone: take down what is left the row
 * is of another boot                   it stopped with the host
 *
 * Inits that the keeper has and the database does not (a destroy that had gone far) are killed. After that
 * open jobs are replayed, and disks that were left without their record are removed (disks.c). The same is
 * done, without the loading, when the keeper dies under a running ctd.
 */
#include "ctd/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/process.h"
#include "ctd/checkpoint.h"
#include "ctd/disks.h"
#include "ctd/exec.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/ports.h"
#include "ctd/resources.h"
#include "ctd/staging.h"
#include "ctd/suspend.h"
#include "ctd/traffic.h"
#include "ctd/verbs.h"
#include "ctd/view.h"

#define STARTING_PATIENCE_USEC (15 * USEC_PER_SEC)
#define RESPAWN_USEC           USEC_PER_SEC

static int copy_row(const struct container_row *row, struct container_row *ret)
{
	struct container_row copy = *row;

	copy.name = strdup(row->name);
	copy.template_name = strdup(row->template_name);
	copy.config = strdup(row->config);
	copy.broken = row->broken ? strdup(row->broken) : NULL;
	if (!copy.name || !copy.template_name || !copy.config || (row->broken && !copy.broken)) {
		container_row_done(&copy);
		return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

/* One that does not read (of a newer ctd, perhaps) must not keep the others down; it is there, so that what
 * belongs to it is not taken for a stray, and broken. */
static int load_container(const struct container_row *row, void *userdata)
{
	struct container_row copy = { 0 };
	struct container *c = NULL;
	struct ct_error error = { 0 };
	int r;

	r = copy_row(row, &copy);
	if (r < 0)
		return r;
	r = container_new(userdata, &copy, &c, &error);
	if (r < 0) {
		log_error("container \"%s\" (%s) does not read: %s", row->name, row->ctid, error.text);
		r = copy_row(row, &copy);
		if (r >= 0)
			r = container_new_unreadable(userdata, &copy, error.text, &c, NULL);
	}
	if (r < 0)
		return r;
	container_link(c);
	return 0;
}

static int load_run(const struct run_row *row, void *userdata)
{
	struct container *c = container_by_ctid(userdata, row->ctid);

	if (c)
		c->run = *row;
	return 0;
}

static int load(struct manager *m, struct ct_error *err)
{
	int r;

	r = store_container_each(m->store, load_container, m, err);
	if (r >= 0)
		r = store_run_each(m->store, load_run, m, err);
	if (r >= 0)
		r = ports_load(m, err);
	if (r >= 0)
		r = traffic_init(m, err);
	if (r >= 0)
		r = meter_init(m, err);
	return r;
}

static bool is_criu(const struct keeper_process *process)
{
	return str_has_prefix(process->key, KEEPER_RUN_PREFIX);
}

static void on_exited(const struct keeper_process *process, void *userdata)
{
	struct manager *m = userdata;
	struct container *c;

	if (str_has_prefix(process->key, "x/")) {
		exec_exited(m, process);
		return;
	}
	c = container_by_ctid(m, process->key + 2);
	if (is_criu(process)) {
		/* A worker that waits for it is told by its pidfd. */
		(void)keeper_client_forget(m->keeper, process->key, NULL, NULL);
		if (!c || (!c->active && !c->teardown && !c->run.slot))
			staging_remove_cgroup(m, process->key + strlen(KEEPER_RUN_PREFIX));
		return;
	}
	/* LIST may have told of it before: then it is being taken down. */
	if (c && c->run.pid == process->pid && container_has_init(c) && !c->teardown)
		container_exited(c, process);
}

static void on_disconnected(int reason, void *userdata);

static const struct keeper_client_ops keeper_ops = {
	.exited = on_exited,
	.disconnected = on_disconnected,
};

static int open_keeper(struct manager *m, struct ct_error *err)
{
	const struct keeper_client_config config = {
		.event = m->event,
		.runtime_dir = m->conf.runtime_dir,
		.binary = m->conf.keeper,
		.ops = &keeper_ops,
		.userdata = m,
	};
	int r;

	r = keeper_client_open(&config, &m->keeper, err);
	if (r < 0)
		return r;
	cgroup_root_done(&m->cgroup);
	return cgroup_root_open(
	        m->host.cgroup_mount, m->tag, keeper_client_hello(m->keeper)->pid, &m->cgroup, err);
}

/* Not a CRIU that waits for the rest of what it has read. */
static bool is_on_its_way(struct manager *m, const struct keeper_process *process)
{
	const struct container *c;

	if (!is_criu(process) || process->state != KEEPER_PROCESS_RUNNING)
		return process->state == KEEPER_PROCESS_STARTING;
	c = container_by_ctid(m, process->key + strlen(KEEPER_RUN_PREFIX));
	return !c || !staging_has_cgroup(c);
}

/* The processes that the keeper has, once none of them is in the middle of a start, and no CRIU at work whose
 * worker died with the last ctd: it notices soon, lets go of the container and ends. */
static int list_processes(struct manager *m, struct keeper_reply *reply, struct ct_error *err)
{
	uint64_t deadline = now_monotonic_usec() + STARTING_PATIENCE_USEC;

	for (;;) {
		bool starting = false;
		int r;

		keeper_reply_done(reply);
		*reply = KEEPER_REPLY_INIT;
		r = keeper_client_list(m->keeper, keeper_reply_store, reply);
		if (r >= 0)
			r = keeper_client_wait(m->keeper, reply, err);
		else
			(void)ct_error_set(err, r, "keeper", "cannot ask ct-keeper: %s", strerror(-r));
		if (r < 0)
			return r;
		for (size_t i = 0; i < reply->n_processes; i++)
			starting |= is_on_its_way(m, &reply->processes[i]);
		if (!starting || now_monotonic_usec() > deadline)
			return 0;
		(void)usleep(10000); /* the loop does not run yet */
	}
}

static const struct keeper_process *find_process(const struct keeper_reply *list, const char *key)
{
	for (size_t i = 0; i < list->n_processes; i++)
		if (str_eq(list->processes[i].key, key))
			return &list->processes[i];
	return NULL;
}

static void open_cgroup(struct container *c)
{
	char name[40];

	if (c->cgroup_fd >= 0)
		return;
	container_cgroup_name(c, name);
	c->cgroup_fd = fd_set_aside(openat(c->manager->cgroup.fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* It runs, and the keeper has it. Fails only if the keeper does. */
static int found_running(struct container *c, const struct keeper_process *process)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	struct manager *m = c->manager;
	char key[40];
	int r;

	container_key(c, key);
	if (c->pidfd < 0) {
		r = keeper_client_pidfd(m->keeper, key, keeper_reply_store, &reply);
		if (r >= 0)
			r = keeper_client_wait(m->keeper, &reply, NULL);
		if (r < 0 && r != -ESRCH) /* that has ended since LIST; the keeper will tell */
			return r;
		c->pidfd = fd_set_aside(TAKE_FD(reply.pidfd));
		c->console_fd = fd_close(c->console_fd);
		c->console_fd = TAKE_FD(reply.console_fd);
	}
	open_cgroup(c);
	limits_take_over(c);

	c->run.pid = process->pid;
	c->run.start_time = process->start_time;
	if (c->run.started_usec == 0)
		c->run.started_usec = now_realtime_usec();
	if (c->on_exit) /* a stop is at work on it */
		return 0;
	container_set_state(c, c->cgroup_fd >= 0 && ct_cgroup_is_frozen(c->cgroup_fd) == 1
	                               ? CONTAINER_FROZEN
	                               : CONTAINER_RUNNING);
	return 0;
}

/* Its keeper died: the new one takes it. 0: it lives on; -ESRCH: it does not; else it is not known, and must
 * be asked again. */
static int adopt(struct container *c)
{
	_cleanup_keeper_reply_ struct keeper_reply reply = KEEPER_REPLY_INIT;
	struct manager *m = c->manager;
	struct keeper_process process = {
		.state = KEEPER_PROCESS_RUNNING, .pid = c->run.pid, .start_time = c->run.start_time
	};
	struct ct_error error = { 0 };
	uint64_t start_time = 0;
	int r;

	if (c->run.pid <= 0 || process_start_time(c->run.pid, &start_time) < 0 ||
	        start_time != c->run.start_time)
		return -ESRCH;
	if (c->pidfd < 0)
		c->pidfd = pidfd_open(c->run.pid, 0);
	if (c->pidfd < 0 && errno != ESRCH)
		return -errno;
	if (c->pidfd < 0 || process_start_time(c->run.pid, &start_time) < 0 ||
	        start_time != c->run.start_time)
		return -ESRCH;

	container_key(c, process.key);
	r = keeper_client_adopt(m->keeper,
	        &(struct keeper_adoption){
	                .process = &process, .pidfd = c->pidfd, .console_fd = c->console_fd },
	        keeper_reply_store, &reply);
	if (r >= 0)
		r = keeper_client_wait(m->keeper, &reply, &error);
	if (r < 0) {
		log_warning(
		        "\"%s\" cannot be adopted: %s", c->row.name, *error.text ? error.text : strerror(-r));
		return r;
	}
	return found_running(c, &process);
}

static void found_exited(struct container *c, const struct keeper_process *process)
{
	c->state = CONTAINER_RUNNING; /* as it was when it ended */
	container_exited(c, process);
}

static void found_gone(struct container *c)
{
	struct keeper_process process = { .exit_code = -1 };

	/* A start that never came to an init has nothing to say about an exit. */
	if (c->run.pid > 0)
		found_exited(c, &process);
	else
		container_teardown(c, NULL, NULL);
}

static void on_ended(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	c->network_held = false;
	suspend_forget_restored(c);
}

/* What there is of it is frozen: a suspend or a resume that was not finished. It is ended. */
static int settle_suspended(struct container *c)
{
	(void)pool_claim_slot(
	        &c->manager->pool, c->config.suspended_slot); /* claimed already, if it was asked before */
	c->state = CONTAINER_STOPPED;
	if (c->run.slot && str_eq(c->run.boot_id, c->manager->boot_id)) {
		c->network_held = true;
		container_teardown(c, on_ended, NULL);
	} else if (c->run.slot) {
		c->run.slot = 0;
		c->run.pid = -1;
		container_set_state(c, CONTAINER_STOPPED);
	}
	return 0;
}

static int settle(struct container *c, const struct keeper_reply *list)
{
	struct manager *m = c->manager;
	const struct keeper_process *process;
	char key[40];
	int r;

	checkpoint_claim(c);
	if (c->teardown)
		return 0;
	/* it will find out, and undo what it did */
	if (c->active && (c->active->type == &verb_resume || c->active->type == &verb_restore ||
	                         (c->config.suspended_slot && c->state == CONTAINER_STARTING)))
		return 0;
	if (c->config.suspended_slot)
		return settle_suspended(c);
	if (c->run.slot == 0) {
		c->state = CONTAINER_STOPPED;
		return 0;
	}
	if (!str_eq(c->run.boot_id, m->boot_id)) {
		c->run.slot = 0;
		c->run.pid = -1;
		container_set_state(c, CONTAINER_STOPPED);
		return 0;
	}

	(void)pool_claim_slot(&m->pool,
	        c->run.slot); /* the database has it only once; while ctd runs on it is claimed already */
	container_key(c, key);
	process = find_process(list, key);
	if (process && process->state != KEEPER_PROCESS_EXITED)
		return found_running(c, process);
	if (process) {
		found_exited(c, process);
		return 0;
	}

	/* Only what is known to be gone is taken down: a keeper that cannot say it must not end a container
	 * (promise P3). */
	r = adopt(c);
	if (r == -ESRCH)
		found_gone(c);
	return r == -ESRCH ? 0 : r;
}

static void drop_strangers(struct manager *m, const struct keeper_reply *list)
{
	for (size_t i = 0; i < list->n_processes; i++) {
		const struct keeper_process *process = &list->processes[i];
		const struct container *c;

		if (str_has_prefix(process->key, "x/")) {
			exec_found(m, process);
			continue;
		}
		if (is_criu(process)) {
			(void)keeper_client_forget(
			        m->keeper, process->key, NULL, NULL); /* -EBUSY: the next */
			continue;
		}
		c = container_by_ctid(m, process->key + 2);
		if (c && c->run.slot)
			continue;
		if (process->state == KEEPER_PROCESS_EXITED && c)
			continue; /* its console can still be read */
		log_notice("ct-keeper has a process that belongs to no container (%s); it is ended",
		        process->key);
		(void)keeper_client_signal(
		        m->keeper, process->key, SIGKILL, NULL, NULL);           /* it may have ended */
		(void)keeper_client_forget(m->keeper, process->key, NULL, NULL); /* or by the next recovery */
	}
}

static int settle_all(struct manager *m, struct ct_error *err)
{
	_cleanup_keeper_reply_ struct keeper_reply list = KEEPER_REPLY_INIT;
	struct container *c, *next;
	int r;

	r = list_processes(m, &list, err);
	if (r < 0)
		return r;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		r = settle(c, &list);
		if (r < 0)
			return ct_error_set(err, r, "keeper", "ct-keeper does not take \"%s\": %s",
			        c->row.name, strerror(-r));
	}
	drop_strangers(m, &list);
	staging_sweep_cgroups(m);
	exec_settle(m, &list);
	return 0;
}

/* Creates that never were completed. */
static void forget_incomplete(struct manager *m)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	if (!c->row.complete)
		verb_destroy_quietly(c);
}

/* The running keeper is of another build than the one we would start: it replaces itself and keeps its
 * children. */
static void on_reexeced(struct keeper_reply *reply, void *userdata)
{
	if (reply->result < 0)
		log_warning("ct-keeper could not replace itself and goes on as it is: %s", reply->error.text);
	else
		log_info("ct-keeper replaced itself by the new build");
}

static void renew_keeper(struct manager *m)
{
	char build_id[64];
	struct ct_error error = { 0 };

	if (keeper_build_id_of(m->conf.keeper, build_id, sizeof(build_id)) < 0 ||
	        str_eq(build_id, keeper_client_hello(m->keeper)->build_id))
		return;
	if (keeper_client_reexec(m->keeper, m->conf.keeper, on_reexeced, NULL, &error) < 0)
		log_warning("ct-keeper cannot be renewed: %s", error.text);
}

int recover(struct manager *m, struct ct_error *err)
{
	int r;

	r = load(m, err);
	if (r >= 0)
		r = open_keeper(m, err);
	if (r >= 0)
		view_open(m);
	if (r >= 0)
		r = settle_all(m, err);
	if (r >= 0) /* before any job acts on a disk that is not in its place */
		r = checkpoints_recover(m, err);
	if (r < 0)
		return r;

	view_tell_lost(m);
	r = jobs_replay(m, err);
	if (r < 0)
		return r;
	forget_incomplete(m);
	renew_keeper(m);
	return disks_recover(m, err);
}

static int on_respawn(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	struct ct_error error = { 0 };
	int r;

	m->respawn_timer = sd_event_source_disable_unref(m->respawn_timer);
	r = open_keeper(m, &error);
	if (r >= 0)
		r = settle_all(m, &error);
	if (r >= 0) {
		log_notice("ct-keeper is back; its containers were adopted");
		return 0;
	}

	log_error("cannot get ct-keeper back, next attempt in a second: %s", error.text);
	keeper_client_free(m->keeper);
	m->keeper = NULL;
	(void)sd_event_add_time_relative(
	        m->event, &m->respawn_timer, CLOCK_MONOTONIC, RESPAWN_USEC, 0, on_respawn, m);
	return 0;
}

static void on_disconnected(int reason, void *userdata)
{
	struct manager *m = userdata;

	log_error(
	        "ct-keeper is gone (%s); containers run on and are adopted by a new one", strerror(-reason));
	keeper_client_free(m->keeper);
	m->keeper = NULL;
	(void)sd_event_add_time_relative(m->event, &m->respawn_timer, CLOCK_MONOTONIC, 0, 0, on_respawn,
	        m); /* else at ctd's next start */
}
