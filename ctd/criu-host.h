/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a host must have so that what was dumped on another can be restored: {"machine", "kernel", "criu",
 * "cpu", "lock"}: cpu are the instructions that programs may have found there, lock is "nftables" where CRIU
 * holds the network by that. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The criu of this host. */
struct criu_program {
	char version[32]; /* such as 3.17.1; an empty string: it does not say */
	bool nftables;    /* it can hold a network by nf_tables itself, else it calls iptables-restore */
};
/* Asked once of each file that is it: that takes as long as starting it twice. */
void criu_host_program(struct criu_program *ret);
/* At most what the pages of a cgroup will be in images, in bytes: what is a file's already is not written
 * again. Zero: not known. */
uint64_t criu_host_memory(int cgroup_fd);
/* What is in the directory of a dump, in bytes. */
uint64_t criu_host_images_size(int images_fd);
/* Of this host, a new value. */
int criu_host_describe(json_t **ret, struct ct_error *err);
/* Into the directory of a dump, whose digest covers it, and out of it: -ENOENT of a dump that has none. */
int criu_host_note(int images_fd, const json_t *host, struct ct_error *err);
int criu_host_noted(int images_fd, json_t **ret);
/* What was dumped on the one may be restored on the other: else CT_ERROR_REFUSED with the reason. */
int criu_host_fits(const json_t *from, const json_t *to, struct ct_error *err);
