/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Metering: totals of what a container used, that never go down, and their postings in the ledger. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "ctd/conf-classes.h"
#include "ctd/ledger.h"
#include "ctd/meter-counts.h"

struct container;
struct manager;

/* What the kernel says of one container now. */
struct reading {
	struct counts raw;
	uint64_t has; /* a bit for each counter that the kernel has */
	struct gauges gauges;
	uint64_t cgroup;   /* its id; 0: there is none, and nothing of a run is in raw */
	bool empty;        /* being taken down, and the last process in it has gone: this is final */
	bool torn;         /* something of the run is there but could not be read this time ... */
	bool disk_torn;    /* ... or of its disk ... */
	bool traffic_torn; /* ... or of its ports: totals of traffic may be less than they are */
};
void meter_read(struct container *c, struct reading *ret);

#define METER_HITS 4

struct meter {
	struct account account;
	struct gauges gauges;
	uint64_t memory_before, disk_before; /* bytes, at the last sample of this ctd */
	uint64_t rests[3];   /* of what was added to the integrals: below a KiB-second, in byte-usec */
	bool sampled;        /* by this ctd */
	uint32_t project_id; /* of its disk; 0: not known */
	bool anew; /* the ledger that had it is lost: what the kernel has counted so far may have been in it
	            */
	/* allowance.c: bytes of the period; the kernel was told; slowed by us, or not known; cut because it
	 * could not be slowed. */
	uint64_t allowance_used;
	uint64_t allowance_tried_usec; /* monotonic: when it was last to be started again */
	bool allowance_applied, allowance_slowed, allowance_cut;
	bool allowance_known; /* what was used: by this ctd, so far */
	/* meter-hits.c: what was told of each limit, and when it may be told again (monotonic). */
	struct meter_hit {
		uint64_t told, next_usec, pause_usec;
		bool full;
	} hits[METER_HITS];
	bool hits_known;
	/* Of account, as written last: what is in a transaction that fails is taken back. */
	int64_t id, open;
	struct counts *posted; /* NULL: nothing is posted in this transaction */
	char name[65];
};

/* What was read of A at now is added to its totals; gap_usec is how long a sample may take to come. Pure: the
 * heart of it, for tests. */
struct meter_moment {
	uint64_t clock_usec, time_usec; /* monotonic, wall */
	const char *boot_id;
	uint64_t started_usec; /* monotonic, of the run that has the cgroup; 0: not known */
	uint64_t disk_sold;    /* bytes */
	uint64_t late_usec;    /* a sample that comes later than this after the one before leaves a gap */
	uint64_t ended_usec;   /* wall: the boot it was seen in last had ended by then; 0: not known */
};
void meter_add(struct meter *meter, const struct reading *now, const struct meter_moment *at);
/* Before the first meter_add of an account whose ledger was lost: what the kernel says now was counted; a run
 * leaves a gap of lost_usec, more than late_usec at least. */
void meter_add_anew(
        struct meter *meter, const struct reading *now, const struct meter_moment *at, uint64_t lost_usec);

/* Reads and adds, in memory; the account is made when it is not there. NULL: out of memory. */
struct meter *meter_sample(struct container *c);
/* The same, and writes it: before something that is counted goes. */
void meter_settle(struct container *c);
/* It comes from another node, where this was counted: totals go on from there, and what they grow by is
 * posted nowhere here, for it is in that node's ledger. Synced. */
void meter_carry(struct container *c, const struct counts *totals);
/* The container is being destroyed: its account is closed. */
void meter_forget(struct container *c);
void meter_free(struct meter *meter);

#define METER_SAMPLE_MAX 60 /* seconds: of ctd.conf */
/* How long the next sample may take to come, synced, of a ctd that lives. */
#define METER_LATE_USEC(sample) ((5 + 2 * (uint64_t)(sample)) * USEC_PER_SEC)

/* What the daemon has of it. */
struct metering {
	struct store *ledger; /* NULL: it was put aside and there is no room for a new one yet */
	sd_event_source *timer;
	unsigned tick;
	uint64_t sampled_usec, took_usec; /* monotonic: the end of the last tick; how long it was at it */
	uint64_t synced_usec, sync_usec;  /* the same, of the ledger's last sync */
	bool failing;                     /* the last write */
	bool damaged;                     /* the ledger: it is to be put aside ... */
	bool moved;                       /* ... and was: what is missing is a new one */
	uint64_t replace_usec;            /* not tried again before (monotonic) */
	uint64_t lost_usec;  /* it was damaged at the start of this ctd: how long nobody knows of */
	int64_t cursor;      /* of ledger_trim */
	uint64_t quota_usec; /* monotonic: when it was asked for; 0: never */
	bool quota;          /* the store has project quota */
	/* meter-mark.c: of the boot in which a ctd looked to its end, "" if none is known; how often; the
	 * newest sample that the ledger has of it. */
	struct meter_watched {
		char boot_id[40];
		unsigned sample; /* seconds */
		uint64_t newest_usec;
	} watched;
	bool marked; /* this one looks */
	/* meter-classes.c: names by their slots, "" of one that is free; the slots of ctd.conf's classes, -1:
	 * none. */
	char classes[CLASS_SLOTS][CONF_CLASS_NAME];
	int slots[NET_CLASSES_MAX];
	bool classes_written;
};

/* Opens the ledger in the state directory and the accounts of the containers, which are known; begins to
 * sample. Before recovery ends runs. */
int meter_init(struct manager *m, struct ct_error *err);
/* Samples and writes all, for a clean end, and closes. */
void meter_done(struct manager *m);

/* ---- meter-ledger.c ---- */

/* To be freed. NULL: out of memory. */
char *meter_ledger_path(const struct manager *m);
/* Opens and loads it; one that is damaged is put aside, what was loaded is unloaded, and a new one begun. If
 * there is no room for that, there is none until there is. */
int meter_ledger_open(struct manager *m, int (*load)(struct manager *m, struct ct_error *err),
        void (*unload)(struct manager *m), struct ct_error *err);
/* Puts it aside, once, and begins a new one, which knows no account: ids are to be forgotten. */
int meter_ledger_replace(struct manager *m, const char *reason, struct ct_error *err);
/* What failed with r was about the ledger; if it is damaged it is replaced soon. */
void meter_ledger_failed(struct manager *m, int r);

/* ---- meter-mark.c ---- */

/* Before the ledger is read: takes the mark of the ctd before. */
void meter_mark_read(struct manager *m);
/* Whether this one looks, and can write what it sees. */
void meter_mark_set(struct manager *m, bool looks);
/* For each account that the ledger has. */
void meter_mark_see(struct metering *metering, const struct account *a);
/* When the boot that A was sampled in last had ended, at the latest, by the wall clock of then. 0: not known.
 */
uint64_t meter_mark_ended(const struct metering *metering, const struct account *a);

/* ---- meter-hits.c ---- */

/* What is in its totals has been told. */
void meter_hits_begin(struct meter *meter);
/* Tells of limits that stood in the way since the last time. */
void meter_hits_tell(struct container *c);

/* ---- meter-classes.c ---- */

/* Before anything of ctd.conf's classes is in the host's tables: whether each name has a slot or can get one.
 * A ledger that cannot be read is not judged here. */
int meter_classes_check(const struct manager *m, struct ct_error *err);
/* From the ledger; and forgetting them. */
int meter_classes_load(struct metering *metering, struct ct_error *err);
void meter_classes_unload(struct metering *metering);
/* What is not in the ledger yet, before any counter is. In a transaction of its own, synced. */
int meter_classes_write(struct manager *m, struct ct_error *err);
/* Slots for the classes of ctd.conf, when accounts and traffic are known. */
void meter_classes_begin(struct manager *m);

/* Totals as another node is told them, classes by their names, without those that have nothing. */
json_t *meter_totals(const struct metering *metering, const struct counts *c);
/* What is not known here is left out. -EBADMSG: something that cannot be a counter, or a name, or more names
 * than there can be. */
int meter_totals_check(const json_t *object);
/* Of what was checked; gives slots to names, but keeps those that classes of ctd.conf may need. */
void meter_totals_read(struct manager *m, const json_t *object, struct counts *ret);
