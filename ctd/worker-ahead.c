/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A worker that will restore a container is started when the first round of its memory is there, and asks
 * what to do when that has been read (criu-spare.h). */
#include "ctd/worker-ahead.h"

#include <errno.h>
#include <fcntl.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/criu-rounds.h"
#include "ctd/criu-spare.h"
#include "ctd/keeper-client.h"
#include "ctd/worker-suspend.h"

struct ahead_params {
	const char *runtime, *key, *images, *cgroups, *cgroup, *home;
};

#define STRING(name, member)                                                                                 \
	{                                                                                                    \
		name, JSON_KIND_STRING, offsetof(struct ahead_params, member), JSON_NO_HAS, true             \
	}

static const struct json_field ahead_fields[] = {
	STRING("runtime", runtime),
	STRING("key", key),
	STRING("images", images),
	STRING("cgroups", cgroups),
	STRING("cgroup", cgroup),
	STRING("home", home),
	{ NULL },
};

static struct criu_spare spare = CRIU_SPARE_INIT; /* it ends when we do: its socket is ours */

static int start(const struct ahead_params *in, struct ct_error *err)
{
	_cleanup_keeper_client_ struct keeper_client *keeper = NULL;
	_cleanup_close_ int images = open(in->images, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_close_ int round = images < 0 ? -1 : criu_rounds_open(images, 1);
	_cleanup_close_ int cgroups = open(in->cgroups, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int home = open(in->home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (round < 0 || cgroups < 0 || home < 0)
		return ct_error_set(
		        err, -ENOENT, "resume", "the first round of memory, or a cgroup, is not there");
	r = suspend_reach_keeper(in->runtime, &keeper, err);
	return r < 0 ? r
	             : criu_spare_start(keeper, in->key, round,
	                       &(struct criu_spare_place){
	                               .cgroups_fd = cgroups,
	                               .home_fd = home,
	                               .name = in->cgroup,
	                               .bytes = criu_rounds_pages(round),
	                       },
	                       &spare, err);
}

void worker_ahead(const json_t *params)
{
	const json_t *memory = json_object_get(params, "memory");
	struct ahead_params in = { 0 };
	struct ct_error error = { 0 };
	int r;

	if (!memory)
		return;
	r = json_read(memory, ahead_fields, &in, &error);
	if (r >= 0)
		r = start(&in, &error);
	if (r < 0)
		log_notice("memory is not read ahead: %s", error.text);
}

struct criu_spare *worker_ahead_criu(void)
{
	return &spare;
}
