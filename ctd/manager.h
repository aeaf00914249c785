/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon as one value: what it has open, and the containers it knows.
 *
 * All code of ctd runs on one thread and one event loop; the manager is passed down, there are no globals.
 * Each part below is opened in manager_new in this order and closed in reverse.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "ctd/attach.h"
#include "ctd/cgroup-root.h"
#include "ctd/conf.h"
#include "ctd/container.h"
#include "ctd/http.h"
#include "ctd/job.h"
#include "ctd/keeper-client.h"
#include "ctd/meter.h"
#include "ctd/network.h"
#include "ctd/node.h"
#include "ctd/pool.h"
#include "ctd/store.h"
#include "libct/ct.h"
#include "netns/net.h"
#include "quota/disk.h"

struct gate;

/* template_store_hold */
struct template_held {
	char digest[65];
	uint64_t until_usec; /* monotonic */
};

struct manager {
	struct conf conf;
	char tag[NET_TAG_LEN + 1]; /* this instance, on a host that may have several */
	char boot_id[40];
	char build_id[64]; /* of this program; "" if it has none */
	int lock_fd;       /* STATE/lock: one ctd per state directory */

	sd_event *event;
	struct store *store;
	struct disk_store *disks;
	struct net_context *net;
	struct net_probe net_probe;
	struct ct_host host;
	struct cgroup_root cgroup;
	struct node node;
	struct network *networks; /* by name: network.h */
	sd_event_source *segment_sweep, *hosts_timer, *names_timer, *filter_watch, *uplink_timer,
	        *traffic_timer, *announce_timer;
	int uplinks[2];      /* as they were last seen: network-uplink.c */
	bool uplink_pending; /* somebody has not followed them yet */
	uint64_t uplink_generation, uplink_looked_usec;
	uint64_t names_generation; /* of what containers know of each other: network-names.c */
	bool names_round;          /* some have not been looked at in it */
	bool names_again;          /* and something has changed since it began */
	bool classes_changed;      /* of traffic, since the last ctd */
	unsigned segment_tries, traffic_tick;
	struct traffic_dump *traffic_dump; /* while many are sampled */
	uint64_t guarantees;               /* as written above the containers: node_guarantees_apply */
	struct keeper_client *keeper;
	struct ct_seccomp_program seccomp[2]; /* by enum ct_seccomp_profile */
	struct pool pool;
	struct containers containers;
	struct jobs jobs;
	struct attach *attach;
	struct console *consoles; /* exec.c */
	struct http *http;
	LIST_HEAD(, event_wait) event_waits;     /* events.c */
	LIST_HEAD(, event_stream) event_streams; /* events-stream.c */
	sd_event_source *event_beat;
	unsigned n_event_streams;
	struct sweeper *sweeper;
	struct template_held templates_held[64]; /* more than move at once */
	struct autostart *autostart;
	struct idle *idle;
	struct metering *metering;
	struct gate *gate;              /* who serves metrics, if they are wanted: gate.h */
	struct view *view;              /* what containers see of the host: view.h */
	sd_event_source *respawn_timer; /* the next attempt to get a keeper back */
	bool closing;                   /* in manager_free: what is under way is left to the next ctd */
};

/* Opens everything, recovers what a dead ctd left (recover.c), and listens last: when the socket answers, the
 * answers are right. */
int manager_new(const struct conf *conf, struct manager **ret, struct ct_error *err);
/* Closes everything; containers and keeper stay. */
void manager_free(struct manager *m);

/* The base id of a slot: first of its 65,536 host ids. */
static inline uint32_t manager_base_id(const struct manager *m, uint32_t slot)
{
	return m->conf.id_start + slot * CT_ID_COUNT;
}

/* An event for the record and for those who follow. detail is consumed, may be NULL. A failure to write it is
 * logged, not returned: no verb fails because its news could not be kept. */
void manager_event(struct manager *m, const struct container *c, const char *type, json_t *detail);
