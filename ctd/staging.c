/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is known of a copy between its rounds. Nothing of it is durable: without it the record is one that
 * never was completed. */
#include "ctd/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/keeper-proto.h"
#include "ctd/manager.h"
#include "ctd/resources.h"
#include "ctd/suspend.h"
#include "ctd/verbs.h"
#include "ctd/worker.h"

#define PATIENCE_SEC 600

struct staging {
	struct container *container;
	uint64_t round, known_usec;
	bool reads_ahead; /* memory, or has: once */
	bool has_cgroup;  /* for that */
	int manifest_fd;  /* a file without a name: what was there after the round */
	json_t *digests;  /* of the rounds of memory */
	struct worker_spare spare, to_restore;
	sd_event_source *timer;
};

void staging_remove_cgroup(const struct manager *m, const char *ctid)
{
	char name[40];

	(void)snprintf(name, sizeof(name), "c-%.32s", ctid); /* container_cgroup_name */
	(void)ct_cgroup_remove(m->cgroup.fd, name, NULL);    /* -EBUSY, or it has none */
}

void staging_sweep_cgroups(struct manager *m)
{
	_cleanup_closedir_ DIR *dir =
	        fdopendir(openat(m->cgroup.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		const struct container *c;

		if (!str_has_prefix(e->d_name, "c-"))
			continue;
		c = container_by_ctid(m, e->d_name + 2);
		if (!c || (!c->active && !c->teardown && !c->run.slot && !staging_has_cgroup(c)))
			staging_remove_cgroup(m, e->d_name + 2);
	}
}

/* Ends what would restore it. */
static void leave_ahead(struct staging *s)
{
	worker_spare_done(&s->to_restore);
	if (s->has_cgroup)
		staging_remove_cgroup(s->container->manager, s->container->row.ctid);
}

void staging_free(struct staging *s)
{
	if (!s)
		return;
	(void)sd_event_source_disable_unref(s->timer); /* always NULL */
	(void)fd_close(s->manifest_fd);
	json_decref(s->digests);
	worker_spare_done(&s->spare);
	leave_ahead(s);
	free(s);
}

bool staging_is_at(const struct container *c, uint64_t epoch, uint64_t round)
{
	return c && !c->active && !c->row.complete && c->staging && c->row.epoch == epoch &&
	       c->staging->round == round;
}

unsigned int staging_memory(const struct container *c)
{
	return c->staging ? (unsigned int)json_array_size(c->staging->digests) : 0;
}

json_t *staging_digests(const struct container *c)
{
	return c->staging->digests;
}

void staging_forget_memory(struct container *c)
{
	leave_ahead(c->staging);
	suspend_discard(c);
	(void)json_array_clear(c->staging->digests); /* cannot fail with an array */
}

struct worker_spare *staging_spare(struct container *c)
{
	return c->staging ? &c->staging->spare : NULL;
}

bool staging_move_to_restore(struct container *c, struct worker_spare *to)
{
	if (!c->staging)
		return false;
	worker_spare_move(to, &c->staging->to_restore);
	return TAKE(c->staging->has_cgroup, false);
}

bool staging_has_cgroup(const struct container *c)
{
	return c->staging && c->staging->has_cgroup;
}

int staging_begin(struct container *c, struct ct_error *err)
{
	struct staging *s = c->staging = calloc(1, sizeof(*s));

	if (!s)
		return ct_error_set(err, -ENOMEM, "migrate", "out of memory");
	s->container = c;
	s->manifest_fd = -1;
	s->digests = json_array();
	if (!s->digests)
		return ct_error_set(err, -ENOMEM, "migrate", "out of memory");
	s->manifest_fd = openat(disk_store_fd(c->manager->disks), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return s->manifest_fd < 0 ? ct_error_set(err, -errno, "migrate",
	                                    "cannot make a file in the store: %s", strerror(errno))
	                          : 0;
}

int staging_params(const struct container *c, bool verify, json_t *params)
{
	const struct staging *s = c->staging;

	if (!s)
		return 0;
	if (json_object_set_new(
	            params, "manifest", json_sprintf("/proc/%d/fd/%d", getpid(), s->manifest_fd)) < 0)
		return -ENOMEM;
	if (!s->known_usec || verify)
		return 0;
	return json_object_set_new(params, "known_usec", json_integer((json_int_t)s->known_usec)) < 0
	               ? -ENOMEM
	               : 0;
}

static int on_nobody(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct container *c = userdata;

	if (!c->active && !c->row.complete) {
		log_notice("no further round of \"%s\" has come: what is here of it is removed", c->row.name);
		verb_destroy_quietly(c);
	}
	return 0;
}

/* A round of memory says nothing of the disk. */
static int take_result(struct staging *s, const json_t *result)
{
	json_t *digest = json_object_get(result, "round_digest");

	if (digest)
		return json_array_append(s->digests, digest) < 0 ? -ENOMEM : 0;
	s->known_usec = (uint64_t)json_integer_value(json_object_get(result, "known_usec"));
	return 0;
}

/* What CRIU is to read ahead, and be charged for: NULL: nothing, or not any more. */
static json_t *read_ahead(struct container *c)
{
	const struct manager *m = c->manager;
	_cleanup_close_ int cgroup = -1;
	struct ct_error error = { 0 };
	char name[40];
	int r;

	if (c->staging->reads_ahead || json_array_size(c->staging->digests) != 1)
		return NULL;
	container_cgroup_name(c, name);
	c->staging->reads_ahead = true;
	r = cgroup = ct_cgroup_new(m->cgroup.fd, name, &error);
	if (r >= 0) {
		c->staging->has_cgroup = true;
		r = limits_apply_memory(c, cgroup, &error);
	}
	if (r < 0) {
		log_notice("the memory of \"%s\" is not read ahead: %s", c->row.name, error.text);
		return NULL;
	}
	return json_pack("{s:{s:s, s:o, s:o, s:o, s:s, s:o}}", "memory", "runtime", m->conf.runtime_dir,
	        "key", json_sprintf(KEEPER_RUN_PREFIX "%s", c->row.ctid), "images", suspend_images_path(c),
	        "cgroups", json_sprintf("%s%s", m->host.cgroup_mount, m->cgroup.path), "cgroup", name, "home",
	        json_sprintf("%s%s/" CGROUP_ROOT_KEEPER, m->host.cgroup_mount, m->cgroup.path));
}

int staging_wait(struct container *c, uint64_t round, uint64_t patience_sec, const json_t *result)
{
	struct staging *s = c->staging;
	int r = take_result(s, result);

	if (r < 0)
		return r;
	s->round = round;
	worker_spare_start(&s->spare, c->manager->event, c->manager->conf.worker, NULL);
	if (json_array_size(s->digests) > 0)
		worker_spare_start(&s->to_restore, c->manager->event, c->manager->conf.worker, read_ahead(c));
	s->timer = sd_event_source_disable_unref(s->timer);
	/* without one it goes with this ctd */
	(void)sd_event_add_time_relative(c->manager->event, &s->timer, CLOCK_MONOTONIC,
	        (patience_sec ?: PATIENCE_SEC) * USEC_PER_SEC, USEC_PER_SEC, on_nobody, c);
	return 0;
}
