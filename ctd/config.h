/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The configuration of a container: what was asked for, as a checked value.
 *
 * It is kept as JSON (schema.sql, container.config) and read into this struct by one table, strictly,
 * whenever it is used: at create and set, and again at every start, so that a restored snapshot, an import or
 * an edited database meets the same check. Merging is done on the JSON, then the whole result is read: there
 * is no other path to a struct config. Absent means the default and is printed as absent.
 */
#pragma once

#include <jansson.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"
#include "base/str.h"
#include "ctd/allowance.h"
#include "ctd/config-net.h"
#include "ctd/limits.h"

#define CONFIG_KEYS_MAX  64
#define CONFIG_DNS_MAX   3
#define CONFIG_NAME_MAX  63
#define CONFIG_OWNER_MAX 120
#define CONFIG_PENDING   "_pending"   /* not for people: see ctd/pending.h */
#define CONFIG_HANDOVER  "_handover"  /* nor this: see ctd/handover.h */
#define CONFIG_ALLOWANCE "_allowance" /* nor this: see ctd/allowance.h */
#define CONFIG_SUSPENDED "_suspended" /* nor this: see ctd/suspend.h */

#define CONFIG_CHECKPOINT "_checkpoint" /* nor this: see ctd/checkpoint.h */

enum handover {
	HANDOVER_NONE,
	HANDOVER_INCOMING,
	HANDOVER_RELINQUISHED,
};

/* A checkpoint of one that ran on. */
struct config_checkpoint {
	uint64_t id;                /* in the name of its copy; 0: there is none */
	uint64_t time_usec;         /* when it was frozen, since 1970 */
	uint64_t frozen_usec;       /* how long */
	uint64_t bytes, disk_bytes; /* in its images, and in its disk */
	uint64_t size;              /* of its disk, as it was sold */
	uint32_t slot;              /* whose ids the images have */
	uint32_t project;           /* of its disk; 0: none */
	char digest[65];            /* of the images */
};

struct config {
	char hostname[CONFIG_NAME_MAX + 1]; /* "": the container's name */
	char tenant[CONFIG_NAME_MAX + 1];   /* whose it is; "": nobody's in particular */
	char owner[CONFIG_OWNER_MAX + 1];   /* who pays, for people and bills; free text, no rights */
	bool autostart;
	uint32_t autostart_order; /* lower first */
	bool disabled;            /* an administrator forbids start */
	bool nesting;
	bool has_stop_timeout;
	uint32_t stop_timeout_sec;
	bool has_billing_day;
	uint32_t
	        billing_day; /* of the month, on which its billing periods begin; 0: the day it was created */
	char **ssh_keys;     /* lines of authorized_keys */
	unsigned n_ssh_keys;
	struct config_net *nets; /* none given: one nat */
	unsigned n_nets;
	struct config_publish *publish;
	unsigned n_publish;
	bool network_cut; /* no interface passes anything */
	struct ip_addr dns[CONFIG_DNS_MAX];
	unsigned n_dns;
	char plan[CONFIG_NAME_MAX + 1]; /* "": none; its values are among the keys already (plan.h) */
	struct limits limits;
	enum handover handover;    /* while it moves between nodes */
	uint32_t suspended_slot;   /* whose images are on disk; 0: it is not suspended */
	char suspended_digest[65]; /* of the images */
	struct config_checkpoint checkpoint;
	bool restoring; /* what is suspended is the checkpoint, which is in the place of the disk; and */
	uint32_t restoring_project; /* that had this one */
	struct allowance allowance; /* what has become of limits.traffic_allowance; zero: nothing yet */
};

void config_done(struct config *config);
/* Reads and checks; *ret is initialised by it. -EINVAL with err->field. */
int config_from_json(const json_t *object, struct config *ret, struct ct_error *err);

/* base with patch laid over: a null takes a key away. New reference; NULL: out of memory. */
json_t *config_merge(const json_t *base, const json_t *patch);

/* What people may give: known keys, none of ours. Values are checked with the whole, by config_from_json. */
int config_check_patch(const json_t *patch, struct ct_error *err);

/* What keys take effect at once when a running container's configuration changes; others at its next start.
 */
bool config_key_is_live(const char *key);

/* [a-z0-9] and inner hyphens, 1..63 bytes, not all digits, not 32 hex digits (that would be a ctid). -EINVAL
 * with the field. */
int config_check_name(const char *field, const char *name, struct ct_error *err);
