/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the workers are told that suspend and resume (worker-suspend.c). */
#include "base/json.h"
#include "ctd/criu-host.h"
#include "ctd/disks.h"
#include "ctd/manager.h"
#include "ctd/resources.h"
#include "ctd/suspend.h"
#include "ctd/transfer-private.h"
#include "ctd/view.h"

/* Both of them. */
static json_t *common_params(const struct container *c)
{
	struct ct_rlimit limits[LIMITS_OF_PROCESS];
	json_t *list = json_array();
	char key[40];

	container_key(c, key);
	limits_of_process(&c->config.limits, limits);
	for (size_t i = 0; i < LIMITS_OF_PROCESS; i++)
		(void)json_array_append_new(list,
		        json_pack("[i, I]", limits[i].resource, (json_int_t)limits[i].hard)); /* seen below */
	if (json_array_size(list) != LIMITS_OF_PROCESS) {
		json_decref(list);
		return NULL;
	}
	return json_pack("{s:o, s:I, s:o, s:o, s:s, s:s}", "rlimits", list, "base_id",
	        (json_int_t)manager_base_id(c->manager, c->run.slot), "cgroup", transfer_cgroup_path(c),
	        "images", suspend_images_path(c), "runtime", c->manager->conf.runtime_dir, "key", key);
}

/* params and more are consumed. */
static json_t *merge(json_t *params, json_t *more)
{
	if (params && (!more || json_object_update(params, more) < 0)) {
		json_decref(params);
		params = NULL;
	}
	json_decref(more);
	return params;
}

static json_t *interface_names(const struct container *c)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < c->config.n_nets; i++)
		if (config_net_is_there(&c->config.nets[i]))
			(void)json_array_append_new(
			        names, json_string(c->config.nets[i].name)); /* one too few is refused */
	return names;
}

json_t *transfer_suspend_params(struct job *job)
{
	const struct container *c = job->container;
	const struct transfer *x = job->data;
	struct criu_program criu;
	json_t *host = NULL;

	if (criu_host_describe(&host, &job->error) < 0)
		return NULL;
	criu_host_program(&criu);
	return merge(common_params(c), json_pack("{s:i, s:o, s:o, s:b, s:I, s:o, s:b}", "pid", c->run.pid,
	                                       "interfaces", interface_names(c), "host", host, "nftables",
	                                       criu.nftables, "rounds", (json_int_t)x->n_rounds, "images",
	                                       transfer_images_path(job), "unsealed", x->dumped != NULL));
}

json_t *transfer_resume_params(struct job *job)
{
	const struct container *c = job->container;
	const struct manager *m = c->manager;
	const struct transfer *x = job->data;
	json_t *view = view_missing(m) ? NULL : json_sprintf("%s/view", m->conf.runtime_dir);

	return merge(common_params(c),
	        json_pack("{s:o, s:s, s:o*, s:b}", "disk", container_disk_params(c), "digest",
	                c->config.suspended_digest, "view", view, "verified", x->preparing));
}
