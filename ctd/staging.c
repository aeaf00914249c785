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
#include "ctd/verbs.h"

#define WAIT_USEC (600 * USEC_PER_SEC)

struct staging {
	uint64_t round, known_usec;
	int manifest_fd; /* a file without a name: what was there after the round */
	sd_event_source *timer;
};

void staging_free(struct staging *s)
{
	if (!s)
		return;
	(void)sd_event_source_disable_unref(s->timer); /* always NULL */
	(void)fd_close(s->manifest_fd);
	free(s);
}

bool staging_is_at(const struct container *c, uint64_t epoch, uint64_t round)
{
	return c && !c->active && !c->row.complete && c->staging && c->row.epoch == epoch &&
	       c->staging->round == round;
}

int staging_begin(struct container *c, struct ct_error *err)
{
	struct staging *s = c->staging = calloc(1, sizeof(*s));

	if (!s)
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

void staging_wait(struct container *c, uint64_t round, const json_t *result)
{
	struct staging *s = c->staging;

	s->round = round;
	s->known_usec = (uint64_t)json_integer_value(json_object_get(result, "known_usec"));
	s->timer = sd_event_source_disable_unref(s->timer);
	/* without one it goes with this ctd */
	(void)sd_event_add_time_relative(
	        c->manager->event, &s->timer, CLOCK_MONOTONIC, WAIT_USEC, USEC_PER_SEC, on_nobody, c);
}
