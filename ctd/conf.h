/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ctd.conf(5): what is true of the node, and the command line's directories. Read once at start. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"
#include "ctd/conf-classes.h"
#include "netns/net.h"
#include "quota/disk.h"

#define CONF_DNS_MAX      3
#define CONF_SERVICES_MAX 16
#define CONF_NUMBERS_MAX  8191 /* containers of one instance: links and id ranges are numbered */

struct conf {
	/* Where things are; absolute. */
	char *state_dir;   /* /var/lib/ctd */
	char *runtime_dir; /* /run/ctd */
	char *socket;      /* RUNTIME/ctd.sock */
	char *recipe_dir;  /* where template recipes are */
	char *keeper;      /* the ct-keeper program */
	char *worker;      /* the ct-worker program */
	char *ctctl;       /* the ctctl program, to reach another daemon of this host */
	bool foreground;
	bool debug;

	/* The file's keys. */
	char *group;                      /* of the API socket; NULL: root only */
	uint32_t id_start;                /* base id of container number 1 is id_start + 65536 */
	struct ip_addr nat_network;       /* IPv4 range of mode nat */
	struct ip_addr nat_network6;      /* and IPv6 */
	struct ip_addr dns[CONF_DNS_MAX]; /* for guests; none: the host's own that are reachable */
	unsigned n_dns;
	struct net_service services[CONF_SERVICES_MAX]; /* of the host, within reach of containers */
	unsigned n_services;
	uint64_t uplink_rate; /* bits per second that all containers together may send; 0: no limit */
	struct conf_class classes[NET_CLASSES_MAX]; /* of traffic */
	unsigned n_classes;
	uint32_t connections;         /* tracked at a time, default of interfaces; 0: no limit */
	bool block_mail;              /* default of interfaces */
	bool nat_peers, routed_peers; /* may containers reach each other */
	bool names;                   /* and are they told each other's names */
	bool proxy_neighbours;        /* answer ARP and NDP for routed addresses on the uplink */
	enum disk_driver storage;     /* default driver */
	char *native_text;            /* what natives points into, NULL: the default */
	const char
	        *natives[DISK_NATIVES_MAX + 1]; /* directories that are native where they can be, to NULL */
	uint32_t autostart_parallel;            /* how many start at once after a boot */
	uint32_t pool_size;                     /* prepared namespaces */
	uint32_t stop_timeout_sec;              /* default of containers */
	uint32_t meter_sample;                  /* seconds between two samples of a container */
	uint32_t meter_interval;                /* seconds of an interval of the ledger; divides an hour */
	uint32_t ledger_interval_days, ledger_hour_days, ledger_period_days; /* how long they are kept */
	uint64_t memory_reserved;         /* bytes that the host keeps for itself */
	uint64_t memory_overcommit_milli; /* how often memory is sold, thousandths; 0: not counted */
	uint64_t cpu_overcommit_milli;
	char *metrics_listen;                    /* address and port of ctd-gate; NULL: none */
	char *metrics_token;                     /* file with what it asks of clients; NULL: nothing */
	char *metrics_certificate, *metrics_key; /* files of its TLS; NULL: none */
	char *metrics_client_ca; /* file with who signs certificates of its clients; NULL: none is asked */
	bool idle_memory;        /* reclaim what nobody touches: ctd/idle.c */
};

/* Defaults, then the file (absent is fine unless it was named), then what the command line said. -EINVAL with
 * line and key. */
void conf_init(struct conf *conf);
int conf_read(struct conf *conf, const char *path, bool required, struct ct_error *err);
/* Fills what follows from the rest: socket, programs beside our own executable or in their installed place.
 */
int conf_finish(struct conf *conf, struct ct_error *err);
void conf_done(struct conf *conf);
