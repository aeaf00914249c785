/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* set: changing a container's configuration, root's keys and password.
 *
 * The patch is laid over what is stored, the whole is checked, then written, then what can follow at once
 * does: in a running container the host name and files are changed now, in a stopped one they are left
 * pending for its next start. The answer lists each key that changed and when it takes effect; a dry run
 * stops there.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/api.h"
#include "ctd/disk-work.h"
#include "ctd/guest.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/meter.h"
#include "ctd/pending.h"
#include "ctd/plan.h"
#include "ctd/ports.h"
#include "ctd/resources.h"
#include "ctd/verbs.h"

static bool is_running(const struct container *c)
{
	return (c->state == CONTAINER_RUNNING || c->state == CONTAINER_FROZEN) && c->run.pid > 0;
}

/* One entry of "changes". */
static int note_change(json_t *changes, const char *key, json_t *from, json_t *to, bool running)
{
	const char *when = !running || config_key_is_live(key) ? "now" : "next start";

	return json_array_append_new(changes, json_pack("{s:s, s:O?, s:O?, s:s}", "key", key, "from", from,
	                                              "to", json_is_null(to) ? NULL : to, "when", when));
}

static json_t *list_changes(const json_t *old, const json_t *patch, const char *password_hash, bool running)
{
	json_t *changes = json_array();
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)patch, key, value)
	{
		json_t *from = json_object_get(old, key);

		if (from ? !json_equal(from, value) : !json_is_null(value))
			(void)note_change(
			        changes, key, from, value, running); /* a shorter list without memory */
	}
	if (password_hash)
		(void)json_array_append_new(
		        changes, json_pack("{s:s, s:s}", "key", "password", "when", "now"));
	return changes;
}

/* The host's one thread enters the container's UTS namespace and comes back. Coming back cannot fail: we hold
 * the fd and the right. */
static int set_live_hostname(const struct container *c, const char *hostname, struct ct_error *err)
{
	_cleanup_close_ int own = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int theirs = -1;
	int r = 0;

	theirs = ct_process_namespace(c->run.pid, CLONE_NEWUTS);
	if (own < 0 || theirs < 0 || !container_is_alive(c))
		return ct_error_set(
		        err, -ESRCH, "hostname", "cannot reach the UTS namespace of \"%s\"", c->row.name);
	if (setns(theirs, CLONE_NEWUTS) < 0)
		return ct_error_set(err, -errno, "hostname", "cannot enter the UTS namespace of \"%s\": %s",
		        c->row.name, strerror(errno));
	if (sethostname(hostname, strlen(hostname)) < 0)
		r = ct_error_set(err, -errno, "hostname", "cannot set the host name of \"%s\": %s",
		        c->row.name, strerror(errno));
	if (setns(own, CLONE_NEWUTS) < 0)
		abort(); /* in a tenant's namespace we must not go on */
	return r;
}

static int apply_live(
        struct container *c, const json_t *patch, const char *password_hash, struct ct_error *err)
{
	const char *hostname = *c->config.hostname ? c->config.hostname : c->row.name;
	struct guest_edit edit = {
		.hostname = json_object_get(patch, "hostname") ? hostname : NULL,
		.ssh_keys = c->config.ssh_keys,
		.n_ssh_keys = c->config.n_ssh_keys,
		.set_keys = json_object_get(patch, "ssh_keys"),
		.password_hash = password_hash,
	};
	_cleanup_close_ int root_fd = -1;
	int r;

	if (!edit.hostname && !edit.set_keys && !edit.password_hash)
		return 0;
	root_fd = container_open_root(c, err);
	if (root_fd < 0)
		return root_fd;
	r = guest_apply(root_fd, manager_base_id(c->manager, c->run.slot), &edit, err);
	if (r >= 0 && edit.hostname)
		r = set_live_hostname(c, hostname, err);
	return r;
}

static void tell_guest(const struct container *c)
{
	struct ct_error error = { 0 };
	_cleanup_close_ int root_fd = container_open_root(c, &error);

	if (root_fd >= 0)
		ports_tell_guest(c, root_fd, false);
	else
		log_notice("\"%s\" is not told inside of its interfaces: %s", c->row.name, error.text);
}

static bool changes_network(const json_t *patch)
{
	return json_object_get(patch, "net") || json_object_get(patch, "publish") ||
	       json_object_get(patch, "network_cut") || json_object_get(patch, "tenant");
}

/* Addresses and configuration in one transaction. */
static int store_config(struct container *c, const json_t *merged, bool with_addresses, struct ct_error *err)
{
	_cleanup_free_ char *before = strdup(c->row.config);
	struct store *store = c->manager->store;
	struct config parsed;
	int r;

	if (!before)
		return ct_error_set(err, -ENOMEM, "set", "out of memory");
	r = config_from_json(merged, &parsed, err);
	if (r < 0)
		return r;
	r = store_begin(store, true, err);
	if (r >= 0) {
		r = with_addresses ? ports_lease(c, &parsed, err) : 0;
		if (r >= 0)
			r = container_update(c, NULL, merged, true, err);
		if (r >= 0)
			r = store_commit(store, err);
		else
			store_rollback(store);
		if (r < 0)
			container_take_back(c, TAKE_PTR(before));
		if (r < 0 && with_addresses)
			ports_reload(c);
	}
	config_done(&parsed);
	return r;
}

static int change(struct job *job, const json_t *old, const json_t *patch, const char *password_hash)
{
	struct container *c = job->container;
	_cleanup_json_ json_t *merged = config_merge(old, patch);
	CLEANUP(ports_snapshot_freep) struct ports_snapshot *before = NULL;
	bool running = is_running(c), net = changes_network(patch);
	int r;

	if (!merged)
		return ct_error_set(&job->error, -ENOMEM, "set", "out of memory");
	if (running)
		meter_settle(c); /* by the old configuration: queues that it has may go */
	if (net && running) {
		r = ports_snapshot(c, &before, &job->error);
		if (r < 0)
			return r;
	}
	if (!running) {
		r = pending_add(merged, password_hash, json_object_get(patch, "ssh_keys"), &job->error);
		if (r < 0)
			return r;
	}

	r = store_config(c, merged, net, &job->error);
	if (r < 0)
		return r;
	r = running ? apply_live(c, patch, password_hash, &job->error) : 0;
	if (r >= 0 && before)
		r = ports_change(c, before, &job->error);
	if (r >= 0)
		r = limits_apply_change(c, patch, running, &job->error);
	if (r >= 0 && before)
		tell_guest(c);
	if (r < 0) { /* the record as it was, and the kernel with it: nothing was promised */
		(void)store_config(c, old, net, NULL);
		(void)limits_apply_change(c, patch, running, NULL);
		if (before)
			(void)ports_restore(c, NULL);
	}
	return r;
}

/* The configuration as stored, with what is pending. */
static int stored_config(const struct container *c, json_t **ret, struct ct_error *err)
{
	return json_parse(c->row.config, strlen(c->row.config), ret, err);
}

/* *ret: what it would have; without devices, which would be somebody's to free. */
static int check_change(
        struct container *c, const json_t *old, const json_t *patch, struct limits *ret, struct ct_error *err)
{
	_cleanup_json_ json_t *merged = config_merge(old, patch);
	struct config parsed;
	int r;

	if (!merged)
		return ct_error_set(err, -ENOMEM, "set", "out of memory");
	r = config_from_json(merged, &parsed, err);
	if (r < 0)
		return r;
	r = limits_check_change(c, &parsed, patch, err);
	*ret = parsed.limits;
	ret->devices = NULL;
	ret->n_devices = 0;
	config_done(&parsed);
	return r;
}

/* Whatever could speak against it has been asked. 1: done. */
static int act(struct job *job, bool dry_run)
{
	struct container *c = job->container;
	const json_t *patch = json_object_get(job->params, "config");
	const char *hash = job->type == &verb_set ? job->data : NULL; /* a plan's job has other data */
	_cleanup_json_ json_t *old = NULL, *changes = NULL;
	int r;

	r = stored_config(c, &old, &job->error);
	if (r < 0)
		return r;
	changes = list_changes(old, patch, hash, is_running(c));
	r = dry_run ? 0 : change(job, old, patch, hash);
	if (r < 0)
		return r;
	if (!dry_run)
		allowance_changed(c);

	job->result = container_to_json(c);
	if (job->result)
		(void)json_object_set(job->result, "changes", changes); /* a shorter answer without memory */
	return 1;
}

static void on_disk_back(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0)
		log_error("the disk of \"%s\" keeps its new size: %s", c->row.name, error->text);
	job_finish(job, job->error.code);
}

/* The disk is as it shall be. 1: done; 0: it has failed and the disk is on its way back. */
static int act_with_disk(struct job *job)
{
	struct container *c = job->container;
	int r = act(job, false);

	if (r >= 0 || !limits_touch_disk(json_object_get(job->params, "config")))
		return r;
	job->error.code = r;
	r = disk_work_resize(c, &c->config.limits, on_disk_back, job, NULL);
	return r == 0 ? 0 : job->error.code;
}

static void on_disk(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0)
		job->error = *error;
	else
		result = act_with_disk(job);
	if (result != 0)
		job_finish(job, result < 0 ? result : 0);
}

/* Memory has room. */
static int resize_and_act(struct job *job)
{
	const json_t *patch = json_object_get(job->params, "config");
	_cleanup_json_ json_t *old = NULL;
	struct limits limits = { 0 };
	int r;

	if (!limits_touch_disk(patch))
		return act(job, false);
	r = stored_config(job->container, &old, &job->error);
	if (r >= 0)
		r = check_change(job->container, old, patch, &limits, &job->error);
	if (r >= 0)
		r = disk_work_resize(job->container, &limits, on_disk, job, &job->error);
	return r == 1 ? act_with_disk(job) : r;
}

static void on_room(struct container *c, int result, const struct ct_error *error, void *userdata)
{
	struct job *job = userdata;

	if (result < 0)
		job->error = *error;
	else
		result = resize_and_act(job);
	if (result != 0)
		job_finish(job, result < 0 ? result : 0);
}

static int run_set(struct job *job)
{
	struct container *c = job->container;
	const json_t *patch = json_object_get(job->params, "config");
	bool dry_run = json_is_true(json_object_get(job->params, "dry_run"));
	_cleanup_json_ json_t *old = NULL;
	struct limits limits = { 0 };
	int r;

	r = handover_check(c, "change", &job->error);
	if (r >= 0)
		r = stored_config(c, &old, &job->error);
	if (r >= 0)
		r = check_change(c, old, patch, &limits, &job->error);
	if (r < 0)
		return r;
	if (dry_run)
		return act(job, true);
	if (is_running(c) && json_object_get(patch, "memory") && limits.memory.given) {
		r = limits_reclaim(c, limits.memory.value, on_room, job, &job->error);
		if (r != 1)
			return r;
	}
	return resize_and_act(job);
}

static void free_set(struct job *job)
{
	free(job->data);
}

/* One transaction did it or did not; its network is brought to what the record says, the rest of a running
 * container is left to who asked. */
static int replay_set(struct manager *m, const struct job_row *row, struct container *c, struct ct_error *err)
{
	_cleanup_json_ json_t *params = NULL;
	struct ct_error error = { 0 };

	if (c && is_running(c) && json_parse(row->params, strlen(row->params), &params, NULL) >= 0 &&
	        changes_network(json_object_get(params, "config")) && ports_restore(c, &error) < 0)
		log_error(
		        "the network of \"%s\" is not what its configuration says (ctctl fsck --repair): %s",
		        c->row.name, error.text);
	return ct_error_kind_set(err, CT_ERROR_FAILED, -ECANCELED,
	        "ctd ended while \"%s\" was being changed; ctctl show says what it has now", row->object);
}

const struct job_type verb_set = { .verb = "set", .run = run_set, .free = free_set, .replay = replay_set };

struct request {
	json_t *config;
	const char *password;
	bool dry_run;
};

static const struct json_field request_fields[] = {
	{ "config", JSON_KIND_OBJECT, offsetof(struct request, config), JSON_NO_HAS, false },
	{ "password", JSON_KIND_STRING, offsetof(struct request, password), JSON_NO_HAS, false },
	{ "dry_run", JSON_KIND_BOOL, offsetof(struct request, dry_run), JSON_NO_HAS, false },
	{ NULL },
};

int api_container_set(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_json_ json_t *empty = json_object(), *old = NULL, *config = NULL;
	_cleanup_free_ char *hash = NULL;
	struct container *c = NULL;
	struct request in = { 0 };
	int r;

	r = json_read(call_body(call), request_fields, &in, err);
	if (r >= 0)
		r = config_check_patch(in.config ?: empty, err);
	if (r >= 0)
		r = verb_target(m, call, &c, err);
	if (r >= 0)
		r = stored_config(c, &old, err);
	if (r >= 0)
		r = plan_expand(m, old, in.config ?: empty, &config, err);
	if (r >= 0 && in.password)
		r = guest_hash_password(in.password, &hash, err);
	if (r < 0)
		return r;
	return job_submit(m,
	        &(struct job_request){
	                .type = &verb_set,
	                .container = c,
	                .object = c->row.name,
	                /* The password is not in it: parameters are recorded. */
	                .params = json_pack("{s:O, s:b}", "config", config, "dry_run", in.dry_run),
	                .call = call,
	                .data = TAKE_PTR(hash),
	        },
	        err);
}
