/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What this host has to sell. Looked at when ctd starts and again when somebody asks; cheap. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ctd/block.h"
#include "ctd/cpu-list.h"
#include "ctd/limits.h"

struct manager;
struct container;

struct node {
	struct cpu_list cpus, nodes; /* online; nodes: with memory */
	unsigned n_cpus;
	uint64_t memory; /* bytes of the host */
	dev_t store;     /* whole device of the store, 0: none */
	char store_number[24];
	dev_t leaves[BLOCK_LEAVES_MAX]; /* the disks below it */
	unsigned n_leaves;
};

/* What cannot be found out stays empty, and what needs it is refused. */
void node_probe(struct node *node, int store_fd);

/* How io.weight can work: by io.cost, by the scheduler bfq, or not on some disk below the store. */
enum node_weights {
	NODE_WEIGHTS_NONE,
	NODE_WEIGHTS_COST, /* io.weight */
	NODE_WEIGHTS_BFQ,  /* io.bfq.weight */
};
enum node_weights node_weights(const struct manager *m);
/* The name of a disk below the store, for sentences and remedies: "vda". */
const char *node_disk_name(const struct node *node, char buf[64]);

/* MAJ:MIN of the whole device behind a path such as /dev/sda2. -ENODEV, -ENOTBLK. */
int node_device_number(const char *path, char ret[24]);

/* Resolves "auto" and lists to CPUs and memory nodes, by what the running containers have. */
void node_place(struct manager *m, const struct container *c, const struct limits *l, struct placement *ret);

/* What limits may promise together (ctd.conf: memory-reserved, memory-overcommit, cpu-overcommit), counting
 * what runs and, instead of what container has now, these limits. CT_ERROR_REFUSED with the sums. */
int node_admit(struct manager *m, const struct container *c, const struct limits *l, struct ct_error *err);
/* Sum of the guarantees of what runs; also written to the cgroups above the containers, without which a
 * guarantee has no effect. */
uint64_t node_guarantees(struct manager *m);
void node_guarantees_apply(struct manager *m);
