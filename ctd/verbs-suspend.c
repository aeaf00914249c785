/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* suspend and resume: a container's processes to disk, and back.
 *
 * suspend: if it is wished, memory in rounds while it runs on (worker-predump.c) → freeze → a worker has CRIU
 * write images beside the disk, while all stays as it is → the mark with the images' digest, synced: from
 * here on it is suspended → what is frozen is killed. Up to the mark every failure leads back: it is thawed.
 *
 * resume: the run row, the cgroup with its limits → a worker checks the digest and has CRIU restore into the
 * cgroup, which is frozen before anything runs; looks at every task; gives init to ct-keeper → the mark goes,
 * synced: from here on it runs → it is thawed, the images are removed. Up to there every failure leads back:
 * what was restored is killed, and the images are as they were.
 *
 * What stands in the way, and may not do so in a moment, is waited for some times: it runs on, and is frozen
 * again.
 *
 * So at no time there is both, a mark and a process that may run; after a death of ctd the mark alone decides
 * (recover.c). CRIU is never killed: a worker that dies leaves it to notice, and to give up; ct-keeper has
 * it, and until it has ended nothing is thawed or taken down, here and in recovery.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/checkpoint.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/operate.h"
#include "ctd/ports.h"
#include "ctd/resources.h"
#include "ctd/suspend.h"
#include "ctd/transfer-private.h"
#include "ctd/verbs.h"

#define PAUSES_MAX 4
#define PAUSE_USEC (50 * USEC_PER_MSEC) /* the first, each further one twice as long */

void transfer_init(struct transfer *x, void (*finished)(struct job *job, int result))
{
	*x = (struct transfer){ .criu_pidfd = -1, .finished = finished };
}

void transfer_done(struct transfer *x)
{
	worker_free(x->worker);
	worker_spare_done(&x->spare);
	(void)sd_event_source_disable_unref(x->criu_source); /* always NULL */
	(void)sd_event_source_disable_unref(x->pause);       /* always NULL */
	(void)fd_close(x->criu_pidfd);
}

static void free_transfer(struct job *job)
{
	struct transfer *x = job->data;

	if (x)
		transfer_done(x);
	free(x);
}

void transfer_finish(struct job *job, int result)
{
	struct transfer *x = job->data;

	x->suspending = false;
	x->finished(job, result);
}

static int begin(struct job *job)
{
	struct transfer *x = job->data = malloc(sizeof(*x));

	if (!x)
		return ct_error_set(&job->error, -ENOMEM, job->row.verb, "out of memory");
	transfer_init(x, job_finish);
	return 0;
}

static int on_criu_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct job *job = userdata;
	struct transfer *x = job->data;

	x->criu_source = sd_event_source_disable_unref(x->criu_source);
	x->next(job);
	return 0;
}

/* userdata is the container: at shutdown the job is gone before. */
static void on_criu(struct keeper_reply *reply, void *userdata)
{
	const struct container *c = userdata;
	struct job *job = c->active;
	struct transfer *x;

	if (c->manager->closing)
		return;
	x = job->data;
	(void)fd_close(x->criu_pidfd);
	x->criu_pidfd = reply->result < 0 ? -1 : TAKE_FD(reply->pidfd);
	if (x->criu_pidfd < 0 || sd_event_add_io(c->manager->event, &x->criu_source, x->criu_pidfd, EPOLLIN,
	                                 on_criu_ended, job) < 0)
		x->next(job);
}

void transfer_after_criu(struct job *job, void (*next)(struct job *job))
{
	struct container *c = job->container;
	struct transfer *x = job->data;
	char key[KEEPER_KEY_MAX];

	x->next = next;
	(void)snprintf(key, sizeof(key), KEEPER_RUN_PREFIX "%s", c->row.ctid); /* fits */
	if (!c->manager->keeper || keeper_client_pidfd(c->manager->keeper, key, on_criu, c) < 0)
		next(job);
}

json_t *transfer_cgroup_path(const struct container *c)
{
	char name[40];

	container_cgroup_name(c, name);
	return json_sprintf("%s%s/%s", c->manager->host.cgroup_mount, c->manager->cgroup.path, name);
}

json_t *transfer_images_path(const struct job *job)
{
	const struct transfer *x = job->data;

	return x->images ? json_sprintf("%s/fs/%s", job->manager->conf.state_dir, x->images)
	                 : suspend_images_path(job->container);
}

void transfer_forget_images(const struct job *job)
{
	const struct transfer *x = job->data;

	if (x->images)
		suspend_discard_at(job->container, x->images);
	else
		suspend_discard(job->container);
}

/* The mark: set with digest, taken away with NULL; and with it that of a container that is taken over. */
static int set_mark(struct container *c, const char *digest, struct ct_error *err)
{
	_cleanup_json_ json_t *config = NULL;
	int r;

	r = json_parse(c->row.config, strlen(c->row.config), &config, err);
	if (r < 0)
		return r;
	if (!digest && c->config.restoring)
		(void)json_object_del(config, CONFIG_CHECKPOINT);
	if (!digest && c->config.handover == HANDOVER_INCOMING)
		(void)json_object_del(config, CONFIG_HANDOVER);
	if (!digest)
		(void)json_object_del(config, CONFIG_SUSPENDED);
	else if (suspend_mark(config, c->run.slot, digest) < 0)
		return ct_error_set(err, -ENOMEM, "suspend", "out of memory");
	return container_update(c, NULL, config, true, err);
}

/* While it is held nothing passes its ports: what came in for sockets that are saved already would be lost,
 * and those that are ended with their processes would tell their peers so. */
static int hold_network(struct container *c, bool hold, struct ct_error *err)
{
	c->network_held = hold;
	return ports_limit(c, err);
}

static void release_network(struct container *c)
{
	struct ct_error error = { 0 };

	if (hold_network(c, false, &error) >= 0)
		return;
	c->network_shut = true;
	log_error("the network of \"%s\" cannot be opened again: %s (ctctl fsck --repair)", c->row.name,
	        error.text);
}

/* It never stopped being one that runs. */
static void thaw(struct container *c)
{
	int r = write_file_at(c->cgroup_fd, "cgroup.freeze", "0");

	if (r < 0)
		log_error("\"%s\" cannot be thawed: %s (ctctl thaw %s)", c->row.name, strerror(-r),
		        c->row.name);
	container_set_state(c, r < 0 ? CONTAINER_FROZEN : CONTAINER_RUNNING);
}

/* ---- suspend */

static int refuse(const struct container *c, const char *why, struct ct_error *err)
{
	return ct_error_kind_set(
	        err, CT_ERROR_REFUSED, -EOPNOTSUPP, "cannot suspend \"%s\": %s", c->row.name, why);
}

int transfer_may_suspend(const struct container *c, struct ct_error *err)
{
	_cleanup_close_ int root = -1;
	int r;

	if (c->state != CONTAINER_RUNNING)
		return ct_error_kind_set(err, CT_ERROR_STATE, -ESRCH, "cannot suspend \"%s\": it is %s",
		        c->row.name, container_state_name(c->state));
	if (c->config.nesting)
		return refuse(c, "it may have containers inside (nesting), which CRIU cannot save", err);
	r = suspend_host_check(err);
	if (r >= 0)
		r = root = container_open_root(c, err); /* one that does not answer is looked at nowhere */
	return r < 0 ? ct_error_prefix(err, "cannot suspend \"%s\"", c->row.name) : 0;
}

/* Unless it has ended. RUNNING if a new ct-keeper was told of it while CRIU had it: CRIU freezes again in the
 * end. */
static void run_on(struct container *c)
{
	if (c->state == CONTAINER_FROZEN || c->state == CONTAINER_RUNNING) {
		release_network(c);
		thaw(c);
	}
	c->network_held = false;
}

static void thaw_again(struct job *job)
{
	(void)ct_error_prefix(&job->error, "cannot suspend \"%s\"", job->container->row.name);
	run_on(job->container);
	transfer_forget_images(job);
	transfer_finish(job, job->error.code);
}

void transfer_stay(struct job *job)
{
	transfer_after_criu(job, thaw_again);
}

static void on_down(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	c->network_held = false;
	if (result < 0)
		job->error = *error;
	else
		manager_event(job->manager, c, "container.suspended", NULL);
	transfer_finish(job, result);
}

/* ---- something is in the way that may not be in a moment: a connection that waits to be accepted, for one
 */

static int on_pause_over(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct job *job = userdata;
	struct transfer *x = job->data;

	x->pause = sd_event_source_disable_unref(x->pause);
	if (job->container->state != CONTAINER_RUNNING)
		(void)ct_error_kind_set(&job->error, CT_ERROR_STATE, -ESRCH, "it is %s",
		        container_state_name(job->container->state));
	if (job->error.code < 0 || transfer_freeze(job) < 0)
		transfer_stay(job);
	return 0;
}

/* It runs on, with its network, so that nothing is lost of what it does. False: that has been so often
 * enough. */
static bool pause_and_try_again(struct job *job)
{
	struct transfer *x = job->data;
	const bool mends = str_eq(job->error.field, SUSPEND_FIELD_MOMENT);

	job->error.field[0] = '\0'; /* of no request */
	if (!mends || x->n_pauses == PAUSES_MAX || job->container->state != CONTAINER_FROZEN)
		return false;
	if (sd_event_add_time_relative(job->manager->event, &x->pause, CLOCK_MONOTONIC,
	            PAUSE_USEC << x->n_pauses, 0, on_pause_over, job) < 0)
		return false;
	x->n_pauses++;
	job->error = (struct ct_error){ 0 };
	run_on(job->container);
	manager_event(job->manager, job->container, "container.thawed", NULL);
	if (x->n_rounds == 0)
		transfer_forget_images(job); /* there is nothing in them */
	return true;
}

static void on_dumped(struct job *job, const json_t *result)
{
	struct container *c = job->container;
	struct transfer *x = job->data;
	const char *digest = json_string_value(json_object_get(result, "digest"));
	int r;

	if (!result) {
		if (!pause_and_try_again(job))
			transfer_stay(job);
		return;
	}
	x->saved_usec = now_monotonic_usec();
	if (x->dumped && c->state == CONTAINER_FROZEN) {
		x->dumped(job);
		return;
	}
	r = c->state == CONTAINER_FROZEN && digest
	            ? set_mark(c, digest, &job->error)
	            : ct_error_kind_set(&job->error, CT_ERROR_STATE, -ESRCH, "it ended meanwhile");
	if (r < 0) {
		transfer_stay(job);
		return;
	}
	container_teardown(c, on_down, job);
}

void transfer_let_go(struct job *job)
{
	struct transfer *x = job->data;

	x->suspending = false;
	run_on(job->container);
}

static void on_frozen(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;
	struct transfer *x = job->data;

	if (result < 0) {
		job->error = *error;
		transfer_forget_images(job);
		transfer_finish(job, result);
		return;
	}
	x->frozen_usec = now_monotonic_usec();
	result = hold_network(c, true, &job->error);
	if (result >= 0)
		result = transfer_ask(job, "suspend", transfer_suspend_params(job), on_dumped);
	if (result < 0)
		transfer_stay(job);
}

int transfer_freeze(struct job *job)
{
	transfer_expect(job);
	return container_freeze(job->container, true, on_frozen, job, &job->error);
}

int transfer_suspend(struct job *job)
{
	struct container *c = job->container;
	struct transfer *x = job->data;
	int r = transfer_may_suspend(c, &job->error);

	if (r < 0)
		return r;
	transfer_forget_images(job); /* of one that failed */
	x->suspending = true;
	r = x->rounds ? transfer_begin_rounds(job) : transfer_freeze(job);
	if (r < 0)
		x->suspending = false;
	return r;
}

static int run_suspend(struct job *job)
{
	int r;

	if (job->container->config.suspended_slot)
		return 1;
	r = begin(job);
	if (r < 0)
		return r;
	((struct transfer *)job->data)->rounds = json_is_true(json_object_get(job->params, "rounds"));
	return transfer_suspend(job);
}

void transfer_run_on(struct container *c)
{
	struct ct_error error = { 0 };

	c->network_held = false;
	if (c->state == CONTAINER_FROZEN || c->state == CONTAINER_RUNNING) {
		release_network(c);
		/* Taken over a moment before ctd ended, nothing leads to it yet. */
		if (ports_announce(c, &error) < 0)
			log_error("the addresses of \"%s\" are not announced (ctctl fsck --repair): %s",
			        c->row.name, error.text);
		thaw(c);
	}
	suspend_discard(c);
}

static int replay_suspend(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (!c || c->config.suspended_slot)
		return 0;
	transfer_run_on_after_criu(c);
	return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
	        "ctd ended while \"%s\" was being suspended; it runs on", row->object);
}

const struct job_type verb_suspend = {
	.verb = "suspend", .run = run_suspend, .free = free_transfer, .replay = replay_suspend
};

/* ---- resume */

static void on_undone(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	c->network_held = false;
	suspend_forget_restored(c);
	transfer_finish(job, job->error.code);
}

static void end_restored(struct job *job)
{
	const char *name = job->container->row.name;
	const struct transfer *x = job->data;

	if (x->preparing || job->container->config.restoring)
		(void)ct_error_prefix(&job->error, "cannot restore \"%s\"", name);
	else
		(void)ct_error_prefix(&job->error,
		        "cannot resume \"%s\", which stays suspended (to give its memory up: ctctl resume --discard %s)",
		        name, name);
	container_teardown(job->container, on_undone, job);
}

/* job->error says why. */
static void undo(struct job *job)
{
	/* One that was not used yet waits for us, and we for CRIU. */
	worker_spare_done(&((struct transfer *)job->data)->spare);
	transfer_after_criu(job, end_restored);
}

static int limit_user(struct container *c, struct ct_error *err)
{
	_cleanup_close_ int userns = ct_process_namespace(c->run.pid, CLONE_NEWUSER);
	int r;

	if (userns < 0)
		return ct_error_set(err, -ESRCH, "resume", "it ended meanwhile");
	r = limits_user_defaults(userns, err);
	if (r >= 0 && limits_want_user(&c->config.limits))
		r = limits_apply_user(c, userns, err);
	return r;
}

static int take_over(struct job *job, struct keeper_reply *reply)
{
	struct container *c = job->container;

	c->run.pid = reply->process.pid;
	c->run.start_time = reply->process.start_time;
	c->run.wanted = true;
	c->up_since_usec = now_monotonic_usec();
	c->pidfd = fd_set_aside(TAKE_FD(reply->pidfd));
	c->console_fd = TAKE_FD(reply->console_fd);
	container_set_state(c, CONTAINER_FROZEN);
	return limit_user(c, &job->error);
}

bool transfer_is_prepared(const struct container *c)
{
	return c->config.handover == HANDOVER_INCOMING && c->config.suspended_slot &&
	       c->state == CONTAINER_FROZEN && !c->teardown; /* then it is killed already */
}

int transfer_go(struct container *c, struct ct_error *err)
{
	const struct config_checkpoint checkpoint = c->config.checkpoint;
	const uint32_t was_project = c->config.restoring_project;
	const bool restoring = c->config.restoring;
	struct ct_error error = { 0 };
	int r = set_mark(c, NULL, err);

	if (r < 0)
		return r;
	release_network(c);
	if (ports_announce(c, &error) < 0)
		log_error("the addresses of \"%s\" are not announced (ctctl fsck --repair): %s", c->row.name,
		        error.text);
	thaw(c);
	suspend_discard(c);
	if (restoring)
		checkpoint_settle(c, &checkpoint, was_project);
	manager_event(c->manager, c, restoring ? "container.restored" : "container.resumed", NULL);
	return 0;
}

static void on_pidfd(struct keeper_reply *reply, void *userdata)
{
	struct container *c = userdata; /* as in on_criu */
	struct job *job = c->active;
	const struct transfer *x = job->data;

	if (c->manager->closing)
		return;
	if (reply->result < 0) {
		job->error = reply->error;
		job->error.code = reply->result;
		undo(job);
		return;
	}
	if (take_over(job, reply) < 0 || (!x->preparing && transfer_go(c, &job->error) < 0)) {
		undo(job);
		return;
	}
	transfer_finish(job, 0);
}

static void on_restored(struct job *job, const json_t *result)
{
	char key[40];
	int r = result ? 0 : job->error.code;

	container_key(job->container, key);
	if (r >= 0)
		r = container_note_device(job->container,
		        (dev_t)json_integer_value(json_object_get(result, "device")), &job->error);
	if (r >= 0) {
		r = job->manager->keeper
		            ? keeper_client_pidfd(job->manager->keeper, key, on_pidfd, job->container)
		            : -ENOTCONN;
		if (r < 0)
			(void)ct_error_set(
			        &job->error, r, "keeper", "cannot ask ct-keeper: %s", strerror(-r));
	}
	if (r < 0)
		undo(job);
}

static int make_run(struct container *c, struct ct_error *err)
{
	int r = container_begin_run(c, c->config.suspended_slot, err);

	if (r < 0)
		return r;
	c->network_held = true;
	c->state = CONTAINER_STARTING;
	return 0;
}

/* There is one if memory was read ahead. One that is nobody's is of a CRIU that had read for nothing and has
 * ended since; so is one in which that was killed, which is not to be counted as the container's. */
static int open_cgroup(struct container *c, struct transfer *x, struct ct_error *err)
{
	const int root = c->manager->cgroup.fd;
	char name[40];

	container_cgroup_name(c, name);
	if (TAKE(x->has_cgroup, false)) {
		_cleanup_close_ int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0 && !limits_has_kills(fd))
			return TAKE_FD(fd);
	}
	(void)ct_cgroup_remove(root, name, NULL); /* -ENOENT, as a rule */
	return ct_cgroup_new(root, name, err);
}

static int make_cgroup(struct container *c, struct transfer *x, struct ct_error *err)
{
	const uint32_t base_id = manager_base_id(c->manager, c->run.slot);
	int r = c->cgroup_fd = open_cgroup(c, x, err);

	if (r >= 0)
		r = limits_apply_new(c, err);
	if (r >= 0)
		r = ct_cgroup_set_devices(c->cgroup_fd, NULL, 0, err);
	if (r >= 0)
		r = ct_cgroup_delegate(c->cgroup_fd, base_id, base_id, err);
	return r < 0 ? r : 0;
}

static int restore(struct job *job)
{
	struct container *c = job->container;
	struct manager *m = c->manager;
	char key[40];

	container_key(c, key);
	(void)keeper_client_forget(m->keeper, key, NULL, NULL); /* how it ended, when it was suspended */
	return transfer_ask(job, "resume", transfer_resume_params(job), on_restored);
}

static int discard(struct container *c, struct ct_error *err)
{
	const uint32_t slot = c->config.suspended_slot;
	int r;

	if (c->config.restoring) {
		r = checkpoint_leave(c, err);
		return r < 0 ? r : 1;
	}
	r = set_mark(c, NULL, err);
	if (r < 0)
		return r;
	if (slot != c->config.checkpoint.slot)
		pool_release_slot(&c->manager->pool, slot);
	c->run.wanted = false; /* else the next ctd starts it (autostart.c) */
	container_set_state(c, CONTAINER_STOPPED);
	suspend_discard(c);
	manager_event(c->manager, c, "container.stopped", NULL);
	return 1;
}

static int begin_resume(struct job *job)
{
	struct container *c = job->container;
	struct transfer *x = job->data;
	int r = x->preparing ? 0 : handover_check_owner(c, "resume", &job->error);

	if (r < 0)
		return r;
	r = container_may_run(c, &job->error);
	if (r >= 0)
		r = suspend_host_check(&job->error);
	if (r >= 0)
		r = make_run(c, &job->error);
	if (r < 0)
		return ct_error_prefix(&job->error, "cannot resume \"%s\"", c->row.name);
	r = make_cgroup(c, x, &job->error);
	if (r >= 0)
		r = restore(job);
	if (r < 0)
		undo(job);
	return 0;
}

static void resume_now(struct job *job)
{
	int r = begin_resume(job);

	if (r < 0)
		transfer_finish(job, r);
}

static void on_last_run_gone(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	c->network_held = false;
	suspend_forget_restored(c);
	if (result >= 0) {
		transfer_after_criu(job, resume_now);
		return;
	}
	job->error = *error;
	transfer_finish(job, result);
}

/* What an earlier ctd left of it may still be on its way out, and CRIU with it: recover.c. */
int transfer_resume(struct job *job)
{
	if (!job->container->teardown)
		return begin_resume(job);
	container_teardown(job->container, on_last_run_gone, job);
	return 0;
}

int transfer_prepare(struct job *job)
{
	struct transfer *x = job->data;

	x->preparing = true;
	return transfer_resume(job);
}

static int run_resume(struct job *job)
{
	const bool discarded = json_is_true(json_object_get(job->params, "discard"));
	struct container *c = job->container;
	int r;

	if (!c->config.suspended_slot)
		return c->state == CONTAINER_RUNNING
		               ? 1
		               : ct_error_kind_set(&job->error, CT_ERROR_STATE, -ESRCH,
		                         "cannot resume \"%s\": it is not suspended but %s", c->row.name,
		                         container_state_name(c->state));
	r = handover_check_owner(c, "resume", &job->error); /* one that is held is not stopped either */
	if (r < 0)
		return r;
	if (c->state != CONTAINER_STOPPED || (c->teardown && discarded))
		return ct_error_kind_set(&job->error, CT_ERROR_STATE, -EBUSY,
		        "cannot resume \"%s\": its last run has not ended (try again)", c->row.name);
	if (discarded)
		return discard(c, &job->error);

	r = begin(job);
	return r < 0 ? r : transfer_resume(job);
}

/* It was resumed: the mark is not there. */
static void go_on(struct container *c)
{
	if (c->state == CONTAINER_FROZEN) {
		release_network(c);
		thaw(c);
	}
	suspend_discard(c);
}

int transfer_recover(struct container *c, struct ct_error *err)
{
	if (c->config.suspended_slot)
		return job_submit(c->manager,
		        &(struct job_request){
		                .type = &verb_resume,
		                .container = c,
		                .object = c->row.name,
		                .params = json_pack("{s:b}", "again", 1),
		        },
		        err);
	transfer_run_on_after_criu(c);
	return 0;
}

/* Asked for by transfer_recover: it ran, and is to. */
static bool is_again(const struct job_row *row)
{
	_cleanup_json_ json_t *params = NULL;

	return json_parse(row->params, strlen(row->params), &params, NULL) >= 0 &&
	       json_is_true(json_object_get(params, "again"));
}

/* Recovery has ended what there was, if the mark is there. */
static int replay_resume(
        struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	if (!c)
		return 0;
	if (c->config.suspended_slot && is_again(row))
		return transfer_recover(c, err);
	if (c->config.suspended_slot)
		return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
		        "ctd ended while \"%s\" was being resumed; it is still suspended", row->object);
	go_on(c);
	return 0;
}

const struct job_type verb_resume = {
	.verb = "resume", .run = run_resume, .free = free_transfer, .replay = replay_resume
};
