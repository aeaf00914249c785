/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Autostart: in order, a few at a time.
 *
 * Once per boot of the host (the boot id of the last time is in the database) the containers with autostart
 * are sorted by autostart_order and name, and as many jobs as autostart-parallel says are kept at work. One
 * that fails is logged and the next is taken. Within a boot only those are started whose reboot was cut off
 * by ctd's death (run.wanted).
 */
#include "ctd/autostart.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/verbs.h"

struct autostart {
	struct manager *manager;
	char (*ctids)[33]; /* by id: a container may be destroyed before its turn */
	size_t n, next, at_work;
	sd_event_source *kick;
};

static int by_order(const void *a, const void *b)
{
	const struct container *x = *(struct container *const *)a, *y = *(struct container *const *)b;

	if (x->config.autostart_order != y->config.autostart_order)
		return x->config.autostart_order < y->config.autostart_order ? -1 : 1;
	return strcmp(x->row.name, y->row.name);
}

static bool is_due(const struct container *c, bool new_boot)
{
	if (c->state != CONTAINER_STOPPED || c->config.disabled || c->config.suspended_slot ||
	        c->row.broken || !c->row.complete || c->active)
		return false;
	return new_boot ? c->config.autostart
	                : c->run.wanted && !c->teardown && str_eq(c->run.boot_id, c->manager->boot_id);
}

static int collect(struct autostart *a, bool new_boot)
{
	struct manager *m = a->manager;
	size_t n_all = HASH_CNT(hh_ctid, m->containers.by_ctid), n = 0;
	_cleanup_free_ struct container **due = calloc(n_all + 1, sizeof(*due));
	struct container *c, *next;

	a->ctids = calloc(n_all + 1, sizeof(*a->ctids));
	if (!due || !a->ctids)
		return -ENOMEM;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	if (is_due(c, new_boot))
		due[n++] = c;
	qsort(due, n, sizeof(*due), by_order);
	for (size_t i = 0; i < n; i++)
		memcpy(a->ctids[i], due[i]->row.ctid, sizeof(a->ctids[i]));
	a->n = n;
	return 0;
}

static void on_done(int result, void *userdata)
{
	struct autostart *a = userdata;

	a->at_work--;
	(void)sd_event_source_set_enabled(a->kick, SD_EVENT_ONESHOT); /* cannot fail for our own source */
}

static int on_kick(sd_event_source *source, void *userdata)
{
	struct autostart *a = userdata;
	struct manager *m = a->manager;

	while (a->next < a->n && a->at_work < m->conf.autostart_parallel) {
		struct container *c = container_by_ctid(m, a->ctids[a->next++]);
		struct ct_error error = { 0 };

		if (!c || c->state != CONTAINER_STOPPED)
			continue;
		a->at_work++;
		if (verb_start_quietly(c, on_done, a, &error) < 0) {
			a->at_work--;
			log_error("autostart of \"%s\" failed: %s", c->row.name, error.text);
		}
	}
	return 0;
}

static int begin(struct autostart *a, struct ct_error *err)
{
	struct manager *m = a->manager;
	_cleanup_free_ char *before = NULL;
	bool new_boot;
	int r;

	r = store_meta_get(m->store, "boot-id", &before);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(
		        err, r, "autostart", "cannot read the boot of the last start: %s", strerror(-r));
	new_boot = !str_eq(before, m->boot_id);
	if (new_boot) {
		r = store_meta_set(m->store, "boot-id", m->boot_id, err);
		if (r < 0)
			return r;
	}
	if (collect(a, new_boot) < 0)
		return ct_error_set(err, -ENOMEM, "autostart", "out of memory");
	if (a->n > 0)
		log_info("%zu containers are to be started", a->n);
	r = sd_event_add_defer(m->event, &a->kick, on_kick, a);
	return r < 0 ? ct_error_set(err, r, "autostart", "cannot add an event source: %s", strerror(-r)) : 0;
}

int autostart_new(struct manager *m, struct autostart **ret, struct ct_error *err)
{
	struct autostart *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return ct_error_set(err, -ENOMEM, "autostart", "out of memory");
	a->manager = m;
	r = begin(a, err);
	if (r < 0) {
		autostart_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

void autostart_free(struct autostart *a)
{
	if (!a)
		return;
	(void)sd_event_source_disable_unref(a->kick); /* always NULL */
	free(a->ctids);
	free(a);
}
