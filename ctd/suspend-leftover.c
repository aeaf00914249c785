/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A dump that has outlived the ctd which asked for it: ct-keeper has CRIU, and the container goes on when
 * that has ended. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ctd/manager.h"
#include "ctd/transfer.h"
#include "ctd/verbs.h"

/* CRIU at work on what another ctd had asked for: it has thawed what it holds, and in the end freezes it
 * again as it found it. */
struct leftover {
	struct manager *manager;
	char ctid[sizeof(((struct container_row *)0)->ctid)];
	int pidfd;
};

static void free_leftover(void *userdata)
{
	struct leftover *l = userdata;

	(void)fd_close(l->pidfd);
	free(l);
}

DEFINE_CLEANUP(struct leftover *, free_leftover);

static bool is_being_suspended(const struct container *c)
{
	const struct job *job = c->active;
	const struct transfer *x = job ? job->data : NULL;

	return x &&
	       (job->type == &verb_suspend || job->type == &verb_migrate || job->type == &verb_checkpoint) &&
	       x->suspending;
}

static void settle_leftover(const struct leftover *l)
{
	struct container *c = container_by_ctid(l->manager, l->ctid);

	/* Another suspend deals with all this itself. */
	if (c && !c->config.suspended_slot && !is_being_suspended(c))
		transfer_run_on(c);
}

static int on_leftover_ended(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	settle_leftover(userdata);
	(void)sd_event_source_set_floating(source, false); /* the end of it, and of the leftover */
	return 0;
}

static void on_leftover(struct keeper_reply *reply, void *userdata)
{
	CLEANUP(free_leftoverp) struct leftover *l = userdata;
	sd_event_source *source = NULL;

	if (l->manager->closing)
		return;
	l->pidfd = reply->result < 0 ? -1 : TAKE_FD(reply->pidfd);
	if (l->pidfd < 0 ||
	        sd_event_add_io(l->manager->event, &source, l->pidfd, EPOLLIN, on_leftover_ended, l) < 0) {
		settle_leftover(l);
		return;
	}
	(void)sd_event_source_set_destroy_callback(source, free_leftover);
	l = NULL; /* the source's, and that is the event loop's */
	if (sd_event_source_set_floating(source, true) >= 0)
		(void)sd_event_source_unref(source); /* always NULL */
}

/* Goes on as it is, at once or when CRIU, which may have outlived ctd, has ended. */
void transfer_run_on_after_criu(struct container *c)
{
	struct leftover *l = malloc(sizeof(*l));
	char key[KEEPER_KEY_MAX];

	if (!l) {
		transfer_run_on(c);
		return;
	}
	*l = (struct leftover){ .manager = c->manager, .pidfd = -1 };
	(void)snprintf(l->ctid, sizeof(l->ctid), "%s", c->row.ctid);           /* fits */
	(void)snprintf(key, sizeof(key), KEEPER_RUN_PREFIX "%s", c->row.ctid); /* likewise */
	c->network_held = container_has_init(c);
	if (keeper_client_pidfd(c->manager->keeper, key, on_leftover, l) < 0) {
		free_leftover(l);
		transfer_run_on(c);
	}
}
