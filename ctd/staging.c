/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is known of a copy between its rounds. Nothing of it is durable: without it the record is one that
 * never was completed. */
#include "ctd/staging.h"

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
#include "ctd/manager.h"
#include "ctd/suspend.h"
#include "ctd/verbs.h"
#include "ctd/worker.h"

#define PATIENCE_SEC 600

struct staging {
	uint64_t round, known_usec;
	int manifest_fd; /* a file without a name: what was there after the round */
	json_t *digests; /* of the rounds of memory */
	struct worker_spare spare, to_restore;
	sd_event_source *timer;
};

void staging_free(struct staging *s)
{
	if (!s)
		return;
	(void)sd_event_source_disable_unref(s->timer); /* always NULL */
	(void)fd_close(s->manifest_fd);
	json_decref(s->digests);
	worker_spare_done(&s->spare);
	worker_spare_done(&s->to_restore);
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
	suspend_discard(c);
	(void)json_array_clear(c->staging->digests); /* cannot fail with an array */
}

struct worker_spare *staging_spare(struct container *c)
{
	return c->staging ? &c->staging->spare : NULL;
}

struct worker_spare *staging_spare_to_restore(struct container *c)
{
	return c->staging ? &c->staging->to_restore : NULL;
}

int staging_begin(struct container *c, struct ct_error *err)
{
	struct staging *s = c->staging = calloc(1, sizeof(*s));

	if (!s)
		return ct_error_set(err, -ENOMEM, "migrate", "out of memory");
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

int staging_wait(struct container *c, uint64_t round, uint64_t patience_sec, const json_t *result)
{
	struct staging *s = c->staging;
	int r = take_result(s, result);

	if (r < 0)
		return r;
	s->round = round;
	worker_spare_start(&s->spare, c->manager->event, c->manager->conf.worker);
	if (json_array_size(s->digests) > 0)
		worker_spare_start(&s->to_restore, c->manager->event, c->manager->conf.worker);
	s->timer = sd_event_source_disable_unref(s->timer);
	/* without one it goes with this ctd */
	(void)sd_event_add_time_relative(c->manager->event, &s->timer, CLOCK_MONOTONIC,
	        (patience_sec ?: PATIENCE_SEC) * USEC_PER_SEC, USEC_PER_SEC, on_nobody, c);
	return 0;
}
