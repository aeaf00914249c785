/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A container as ctd knows it: its record, what runs of it, and who works on it.
 *
 * The record (row, config) changes only together with the database. The state follows what the keeper and the
 * kernel say. At most one job works on a container; others wait in its queue (job.h).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <systemd/sd-event.h>
#include <uthash.h>

#include "base/error.h"
#include "ctd/config.h"
#include "ctd/start-trace.h"
#include "ctd/store.h"

struct manager;
struct job;
struct resources;
struct disk_work;
struct staging;
struct traffic;
struct meter;

struct lease {
	char device[IFNAMSIZ];
	struct ip_addr address;
};

enum container_state {
	CONTAINER_STOPPED,
	CONTAINER_STARTING,
	CONTAINER_RUNNING,
	CONTAINER_STOPPING,
	CONTAINER_FROZEN,
};
/* The words of the schema and the API. */
const char *container_state_name(enum container_state state);
/* The same of a container, or "suspended". */
const char *container_shown_state(const struct container *c);
int container_state_from_name(const char *name, enum container_state *ret);

TAILQ_HEAD(job_queue, job);

struct container {
	struct manager *manager;
	struct container_row row;
	struct config config;
	enum container_state state;
	struct run_row run;          /* as last written; state in it may lag behind .state */
	int cgroup_fd;               /* while it runs, else -1 */
	struct staging *staging;     /* another node copies it here (staging.h), else NULL */
	const char *copying;         /* a checkpoint in the store's tmp/ that is being made, else NULL; and */
	uint32_t copying_project;    /* the project id that it has */
	struct disk_work *disk_work; /* its disk is being made or resized (disk-work.h), else NULL */
	struct resources *resources; /* limits and use of what runs (resources.h), else NULL */
	int pidfd;                   /* of its init, while it runs, else -1 */
	int console_fd; /* a duplicate of its console's master: keeps the console alive if the keeper dies;
	                   never read here */
	struct lease *leases; /* addresses that it was given because none were asked for: ports-lease.c */
	unsigned n_leases;
	struct traffic *traffic; /* what has gone through its interfaces: traffic.h */
	struct meter *meter;     /* totals of all that is metered: meter.h; NULL before its first sample */
	struct job *active;
	struct job_queue queue;
	void (*on_exit)(struct container *c, int result, const struct ct_error *error,
	        void *userdata); /* who waits for its end, else NULL */
	void *on_exit_data;
	struct teardown *teardown;      /* at work, else NULL */
	bool reboot;                    /* its init asked for a reboot */
	bool network_held;              /* nothing passes its ports (verbs-suspend.c) */
	bool network_shut;              /* a port was not opened again: for fsck */
	bool unreadable;                /* its configuration does not read: broken for good, never started */
	struct start_trace start_trace; /* of its last start by this ctd */
	uint64_t names_generation, names_told; /* network-names.c */
	uint64_t uplink_generation;            /* network-uplink.c */
	unsigned announce_left;                /* network-announce.c: how often still, and when */
	uint64_t announce_usec;
	uint64_t up_since_usec;         /* monotonic: when it was started, 0: by a ctd before this one */
	sd_event_source *restart_timer; /* pause before it is started again, else NULL */
	UT_hash_handle hh_ctid, hh_name;
};

struct containers {
	struct container *by_ctid, *by_name;
};

/* A new value for the row, whose contents are taken over (row is left empty). -EINVAL if its configuration
 * does not read. Not yet linked. */
int container_new(struct manager *m, struct container_row *row, struct container **ret, struct ct_error *err);
/* The same for a row that does not read: broken, with why, and nothing configured, but there. */
int container_new_unreadable(struct manager *m, struct container_row *row, const char *why,
        struct container **ret, struct ct_error *err);
void container_free(struct container *c);
/* Into and out of the tables. */
void container_link(struct container *c);
void container_unlink(struct container *c);

/* By name or ctid; -ENOENT with a sentence. Incomplete ones (being created) are found too: their queue
 * serialises. */
int container_find(struct manager *m, const char *name, struct container **ret, struct ct_error *err);
struct container *container_by_ctid(struct manager *m, const char *ctid);

static inline bool container_has_init(const struct container *c)
{
	return c->state == CONTAINER_RUNNING || c->state == CONTAINER_FROZEN ||
	       c->state == CONTAINER_STOPPING || c->state == CONTAINER_STARTING;
}

/* Begins a run on the slot and writes its row; as it was if that fails. */
int container_begin_run(struct container *c, uint32_t slot, struct ct_error *err);
/* Writes the run row. durable writes are never needed for it. */
int container_save_run(struct container *c, struct ct_error *err);
/* Sets the state, writes the run row, tells those who follow. Failures to write are logged: the kernel's
 * state is the truth. */
void container_set_state(struct container *c, enum container_state state);
/* Takes a new name or configuration (NULL: stays): written first, with full sync if durable, then in memory.
 */
int container_update(
        struct container *c, const char *name, const json_t *config, bool durable, struct ct_error *err);
/* The configuration as it was before a container_update whose transaction was not committed. text is
 * consumed. */
void container_take_back(struct container *c, char *text);
/* The mark broken, with why; text NULL takes it away (not from one whose configuration does not read). */
void container_set_broken(struct container *c, const char *text);

/* Notes, for as long as it runs, which disk it was started with. root_fd: of its mount. */
int container_note_root(const struct container *c, int root_fd, struct ct_error *err);
/* The same of a disk that somebody else has mounted. */
int container_note_device(const struct container *c, dev_t root_dev, struct ct_error *err);
/* What was opened through /proc/PID before this was its init's: the pid cannot have been used again while
 * init lives. */
bool container_is_alive(const struct container *c);
/* The root directory of a running container, seen through its init (O_PATH). -ESRCH; -EXDEV: it is not on the
 * disk that was noted. Below it only open_in_mount is safe. */
int container_open_root(const struct container *c, struct ct_error *err);

/* Key of its init at the keeper: "c/CTID". */
void container_key(const struct container *c, char ret[40]);

/* CONTAINER of the API, written straight to the buffer (its error stays in it), or as a value. NULL: out of
 * memory. */
void container_print(const struct container *c, struct strbuf *b);
json_t *container_to_json(const struct container *c);
