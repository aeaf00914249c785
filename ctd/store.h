/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The database of an instance: schema.sql, opened once, statements prepared once, rows as plain structs.
 *
 * Strings in rows that a function returns are the caller's, freed by the row's _done; rows given to an
 * each-callback are borrowed for the call. A broken uniqueness constraint comes back as -EEXIST with
 * err->field naming what was taken (name, address, number) and, for an address, the owner's name in the text.
 * All in one thread; writes happen in explicit transactions, that nest by counting.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct store;

/* Opens or makes STATE/ctd.db (0600), brings an older schema to the newest, runs PRAGMA quick_check; refuses
 * a newer one. */
int store_open(const char *path, struct store **ret, struct ct_error *err);
void store_close(struct store *store);

/* durable: this transaction's commit is on disk before store_commit returns (synchronous=FULL). */
int store_begin(struct store *store, bool durable, struct ct_error *err);
int store_commit(struct store *store, struct ct_error *err);
void store_rollback(struct store *store);

/* meta; get: -ENOENT, value is the caller's. */
int store_meta_get(struct store *store, const char *key, char **ret);
int store_meta_set(struct store *store, const char *key, const char *value, struct ct_error *err);

struct container_row {
	char ctid[33];
	char *name;
	uint32_t number;
	char template_digest[65];
	char *template_name;
	char *config; /* JSON text */
	uint64_t epoch;
	char *broken; /* or NULL */
	uint64_t created_usec;
	bool complete;
};
void container_row_done(struct container_row *row);
/* Inserts with the smallest free number >= 1 (returned in row->number); max_number bounds it (-ENOSPC: no id
 * range left). */
int store_container_insert(
        struct store *store, struct container_row *row, uint32_t max_number, struct ct_error *err);
/* Writes name, config, template, template_name, epoch, broken, complete of row->ctid. */
int store_container_update(struct store *store, const struct container_row *row, struct ct_error *err);
int store_container_delete(
        struct store *store, const char *ctid, struct ct_error *err); /* leases and run go with it */
int store_container_each(struct store *store, int (*each)(const struct container_row *row, void *userdata),
        void *userdata, struct ct_error *err);

struct run_row {
	char ctid[33];
	const char *state; /* one of the words of the schema, static */
	char boot_id[40];
	uint32_t slot; /* lease of an id range and link names, 0: NULL */
	int32_t pid;   /* -1: NULL */
	uint64_t start_time, started_usec;
	int32_t exit_code; /* -1: NULL */
	uint64_t exit_usec;
	uint32_t restarts;
	bool wanted;
};
int store_run_put(struct store *store, const struct run_row *row, struct ct_error *err);
int store_run_each(struct store *store, int (*each)(const struct run_row *row, void *userdata),
        void *userdata, struct ct_error *err);

/* Replaces the set of addresses of a container; -EEXIST names the address and its owner. Blocks are leased
 * whole and may not overlap within a scope. */
struct address_row {
	const char *address, *ctid, *device;
	const char *scope; /* NULL: as "", the routes of this host */
};
int store_addresses_set(struct store *store, const char *ctid, const struct address_row *rows, size_t n,
        struct ct_error *err);
int store_address_each(struct store *store, int (*each)(const struct address_row *row, void *userdata),
        void *userdata, struct ct_error *err);
/* What others than ctid have of the addresses from one to another, in order, cut to them; first and last are
 * a digit for the family and hexadecimal. Ends with what each returns if that is not 0. */
int store_address_taken(struct store *store, const struct address_row *from, const char *to,
        int (*each)(const char *first, const char *last, void *userdata), void *userdata);
/* 1 taken, also in part (owner's ctid copied), 0 free. */
int store_address_owner(struct store *store, const char *scope, const char *address, char ret_ctid[33]);

/* Replaces the set of published ports of a container; -EEXIST names the port and its owner. */
struct publish_row {
	uint8_t protocol;
	const char *address; /* "": any of the host's */
	uint16_t port;
};
int store_publish_set(struct store *store, const char *ctid, const struct publish_row *rows, size_t n,
        struct ct_error *err);

struct network_row {
	const char *name, *config;
	uint32_t number;
	uint64_t created_usec;
};
/* With the smallest free number (returned). -EEXIST. */
int store_network_insert(struct store *store, struct network_row *row, struct ct_error *err);
int store_network_update(struct store *store, const char *name, const char *config, struct ct_error *err);
int store_network_delete(struct store *store, const char *name, struct ct_error *err);
int store_network_each(struct store *store, int (*each)(const struct network_row *row, void *userdata),
        void *userdata, struct ct_error *err);

struct traffic_counts {
	uint64_t in_bytes, in_packets, out_bytes, out_packets, out_dropped;
};
struct traffic_row {
	const char *ctid, *device, *boot_id;
	uint32_t slot;
	struct traffic_counts total, seen;
};
int store_traffic_put(struct store *store, const struct traffic_row *row, struct ct_error *err);
int store_traffic_each(struct store *store, int (*each)(const struct traffic_row *row, void *userdata),
        void *userdata, struct ct_error *err);

/* The smallest free id >= first; the container must exist. */
int store_project_lease(
        struct store *store, const char *ctid, uint32_t first, uint32_t *ret_id, struct ct_error *err);
int store_project_get(struct store *store, const char *ctid, uint32_t *ret_id); /* -ENOENT */

bool store_project_has(struct store *store, uint32_t id); /* somebody has it, or that cannot be said */
/* Another one for who has one. -EEXIST: it is taken. */
int store_project_set(struct store *store, const char *ctid, uint32_t id, struct ct_error *err);

struct plan_row {
	char *name, *config; /* JSON text */
	uint64_t created_usec;
};
void plan_row_done(struct plan_row *row);
int store_plan_insert(struct store *store, const struct plan_row *row, struct ct_error *err); /* -EEXIST */
int store_plan_update(struct store *store, const struct plan_row *row, struct ct_error *err); /* the config */
int store_plan_delete(struct store *store, const char *name, struct ct_error *err);           /* -ENOENT */
int store_plan_get(
        struct store *store, const char *name, struct plan_row *ret, struct ct_error *err); /* -ENOENT */
int store_plan_each(struct store *store, int (*each)(const struct plan_row *row, void *userdata),
        void *userdata, struct ct_error *err);

struct template_row {
	char *name; /* NULL: an image without a name (kept because containers use it) */
	char digest[65];
	char *metadata; /* JSON text */
	uint64_t bytes, created_usec;
	uint32_t users; /* containers made from this digest */
};
void template_row_done(struct template_row *row);
int store_template_put(struct store *store, const struct template_row *row,
        struct ct_error *err); /* image and name; name moves */
int store_template_get(struct store *store, const char *name_or_digest, struct template_row *ret,
        struct ct_error *err); /* -ENOENT */
int store_template_each(struct store *store, int (*each)(const struct template_row *row, void *userdata),
        void *userdata, struct ct_error *err);
/* Takes the name away; the image's row too when no name and no container is left (ret_digest_gone then has
 * it, else ""). -EBUSY while containers use the digest and it is its last name. */
int store_template_remove(
        struct store *store, const char *name, char ret_digest_gone[65], struct ct_error *err);

struct job_row {
	int64_t id;
	char *verb, *ctid, *object, *params, *step, *result, *error; /* ctid, result, error may be NULL */
	uint64_t created_usec, finished_usec;                        /* 0: not yet */
};
void job_row_done(struct job_row *row);
int store_job_insert(struct store *store, struct job_row *row, struct ct_error *err); /* id returned in row */
int store_job_step(struct store *store, int64_t id, const char *step, struct ct_error *err);
int store_job_finish(struct store *store, int64_t id, const char *result_json, const char *error_json,
        struct ct_error *err);
/* 1: a job of this verb for this container is open or was done; 0: none that is still remembered. */
int store_job_has(struct store *store, const char *verb, const char *ctid);
int store_job_get(struct store *store, int64_t id, struct job_row *ret, struct ct_error *err);
int store_job_each(struct store *store, bool open_only, uint32_t limit,
        int (*each)(const struct job_row *row, void *userdata), void *userdata,
        struct ct_error *err); /* newest first; open_only: oldest first */

/* Request ids. begin: 0 new (recorded as at work), 1 seen and answered (status and answer returned), -EBUSY
 * still at work, -EEXIST another request used it. */
int store_request_begin(struct store *store, const char *id, uid_t uid, const char *digest,
        unsigned *ret_status, char **ret_answer, struct ct_error *err);
int store_request_finish(
        struct store *store, const char *id, unsigned status, const char *answer, struct ct_error *err);
/* At start: ids still at work belong to a dead ctd: forgotten. */
int store_request_reset(struct store *store, struct ct_error *err);

struct audit_row {
	int64_t id;
	uint64_t time_usec;
	uid_t uid;
	gid_t gid;
	pid_t pid;
	const char *operation, *object, *message;
	unsigned status;
};
int store_audit_add(struct store *store, const struct audit_row *row, struct ct_error *err);
#define LOG_QUERY_NO_END ((uint64_t)INT64_MAX)
/* Which rows of audit and events; but for limit and to zeros and NULL are all. */
struct log_query {
	int64_t after;               /* ids above */
	uint64_t from_usec, to_usec; /* not before, before; LOG_QUERY_NO_END */
	const char *of;              /* a name, of events also a ctid */
	const char *type;            /* of event, or operation; "limit." is all that begin so */
	uint32_t limit;
};
int store_audit_each(struct store *store, const struct log_query *which,
        int (*each)(const struct audit_row *row, void *userdata), void *userdata, struct ct_error *err);

struct event_row {
	int64_t id;
	uint64_t time_usec;
	const char *type, *ctid, *name, *detail; /* ctid may be NULL; detail is JSON */
};
int store_event_add(struct store *store, struct event_row *row, struct ct_error *err); /* id returned */
int store_event_each(struct store *store, const struct log_query *which,
        int (*each)(const struct event_row *row, void *userdata), void *userdata, struct ct_error *err);
/* The same of a row that is at hand. */
bool log_query_has(const struct log_query *which, const struct event_row *row);
/* The id of the newest; 0: there never was one. */
int store_event_newest(struct store *store, int64_t *ret, struct ct_error *err);

/* Integrity of pages and references: 0 sound, 1 not (text says what is first). Reads the whole database. */
int store_check(struct store *store, char *text, size_t size, struct ct_error *err);

/* New memory with the detail of a container's last event of that type at or after the time; NULL: there is
 * none. */
int store_event_last(struct store *store, const char *ctid, const char *type, uint64_t since_usec, char **ret,
        struct ct_error *err);

/* Bounds: keeps at most so many rows of job, audit, event, and requests younger than a day. Called now and
 * then. */
int store_trim(struct store *store, struct ct_error *err);
