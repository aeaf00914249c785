/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Questions: containers, jobs, audit, version. They change nothing and are answered at once; lists are
 * written straight to the buffer. */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctd/api.h"
#include "ctd/checkpoint.h"
#include "ctd/events.h"
#include "ctd/job-wait.h"
#include "ctd/manager.h"
#include "ctd/ports.h"
#include "ctd/resources.h"
#include "ctd/suspend.h"
#include "ctd/traffic.h"
#include "ctd/verbs.h"

static int reply_buffer(struct call *call, struct strbuf *b, struct ct_error *err)
{
	size_t len = b->len;

	if (b->error)
		return ct_error_set(err, b->error, "list", "out of memory");
	call_reply_data(call, 200, "application/json", strbuf_take(b), len);
	return 0;
}

static int by_name(struct container *a, struct container *b)
{
	return strcmp(a->row.name, b->row.name);
}

int api_container_list(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	const char *wanted = call_query(call, "state");
	enum container_state state;
	struct container *c, *next;
	bool first = true;

	if (wanted && !str_eq(wanted, "suspended") && container_state_from_name(wanted, &state) < 0)
		return ct_error_field(err, "state",
		        "state must be stopped, starting, running, stopping, frozen or suspended");

	HASH_SRT(hh_name, m->containers.by_name, by_name); /* a merge sort of what is nearly sorted */
	(void)strbuf_puts(&b, "{\"containers\":[");
	HASH_ITER(hh_name, m->containers.by_name, c, next)
	{
		if (wanted && !str_eq(wanted, container_shown_state(c)))
			continue;
		(void)strbuf_puts(&b, first ? "" : ",");
		container_print(c, &b);
		first = false;
	}
	(void)strbuf_puts(&b, "]}");
	return reply_buffer(call, &b, err);
}

/* What holds, also where the configuration leaves it to the node. */
static void print_connections(struct container *c, struct strbuf *b)
{
	bool first = true;

	(void)strbuf_puts(b, ",\"connections\":{");
	for (unsigned i = 0; i < c->config.n_nets; i++) {
		const struct config_net *net = &c->config.nets[i];
		struct net_attach attach;
		uint32_t limit;

		if (!config_net_is_there(net) || network_attach(c->manager, net, &attach, NULL) < 0)
			continue;
		limit = ports_connections(c->manager, net, &attach);
		if (limit == 0)
			continue;
		(void)strbuf_puts(b, first ? "" : ",");
		(void)strbuf_json_string(b, net->name);
		(void)strbuf_printf(b, ":%u", limit);
		first = false;
	}
	(void)strbuf_puts(b, "}");
}

int api_container_show(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct container *c = NULL;
	int r;

	r = verb_target(m, call, &c, err);
	if (r < 0)
		return r;
	(void)traffic_sample(c); /* as last sampled, then */
	container_print(c, &b);
	b.len--; /* the last brace */
	print_connections(c, &b);
	checkpoint_print(c, &b);
	suspend_print(c, &b); /* not in lists: it looks at each file */
	(void)strbuf_puts(&b, ",\"resources\":{");
	resources_print(c, &b, true);
	(void)strbuf_puts(&b, "}}");
	return reply_buffer(call, &b, err);
}

/* One line of the table of all: read from what is kept open, written straight to the buffer. */
static void print_stats(struct container *c, struct strbuf *b)
{
	(void)strbuf_printf(b, "{\"ctid\":\"%s\",\"state\":\"%s\",\"name\":", c->row.ctid,
	        container_state_name(c->state));
	(void)strbuf_json_string(b, c->row.name);
	(void)strbuf_puts(b, ",\"resources\":{");
	resources_print(c, b, false);
	(void)strbuf_puts(b, "}}");
}

int api_stats_list(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct container *c, *next;
	bool first = true;

	(void)strbuf_printf(&b, "{\"time_usec\":%llu,\"cpus\":%u,\"memory\":%llu,\"containers\":[",
	        (unsigned long long)now_monotonic_usec(), m->node.n_cpus, (unsigned long long)m->node.memory);
	HASH_ITER(hh_name, m->containers.by_name, c, next)
	{
		if (!container_has_init(c))
			continue;
		(void)strbuf_puts(&b, first ? "" : ",");
		print_stats(c, &b);
		first = false;
	}
	(void)strbuf_puts(&b, "]}");
	return reply_buffer(call, &b, err);
}

int api_version_show(struct manager *m, struct call *call, struct ct_error *err)
{
	const struct keeper_hello *keeper = m->keeper ? keeper_client_hello(m->keeper) : NULL;
	json_t *body;

	body = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "version", CTD_VERSION, "api", 1, "build",
	        m->build_id, "instance", m->tag, "state_dir", m->conf.state_dir, "runtime_dir",
	        m->conf.runtime_dir, "cgroup", m->cgroup.path);
	if (body && keeper)
		(void)json_object_set_new(body, "keeper",
		        json_pack("{s:s, s:i}", "build", keeper->build_id, "pid", (int)keeper->pid));
	call_reply(call, 200, body);
	return 0;
}

struct job_list {
	json_t *array;
};

static int add_job(const struct job_row *row, void *userdata)
{
	struct job_list *list = userdata;

	return json_array_append_new(list->array, job_row_to_json(row)) < 0 ? -ENOMEM : 0;
}

int api_job_list(struct manager *m, struct call *call, struct ct_error *err)
{
	struct job_list list = { .array = json_array() };
	uint64_t open = 0;
	int r;

	r = call_query_u64(call, "open", 0, 1, &open, err);
	if (r >= 0 && open) {
		const struct job *job;

		LIST_FOREACH(job, &m->jobs.open, open_entry)
		(void)json_array_append_new(list.array, job_to_json(job)); /* a shorter list without memory */
	} else if (r >= 0) {
		r = store_job_each(m->store, false, 200, add_job, &list, err);
	}
	if (r < 0) {
		json_decref(list.array);
		return r;
	}
	call_reply(call, 200, json_pack("{s:o}", "jobs", list.array));
	return 0;
}

static int job_id(struct call *call, int64_t *ret, struct ct_error *err)
{
	if (parse_i64(call_param(call, "id"), ret) < 0)
		return ct_error_field(err, "id", "the id of a job is a number");
	return 0;
}

int api_job_show(struct manager *m, struct call *call, struct ct_error *err)
{
	struct job_row row = { 0 };
	uint64_t wait = 0, seen = 0;
	struct job *job;
	int64_t id = 0;
	int r;

	r = job_id(call, &id, err);
	if (r >= 0)
		r = call_query_u64(call, "wait", 0, 60, &wait, err);
	if (r >= 0)
		r = call_query_u64(call, "seen", 0, UINT32_MAX, &seen, err);
	if (r < 0)
		return r;
	job = job_find(m, id);
	if (job)
		return job_wait_add(job, call, (unsigned)seen, wait * USEC_PER_SEC, err);

	r = store_job_get(m->store, id, &row, err);
	if (r < 0)
		return ct_error_kind_set(err, CT_ERROR_NOT_FOUND, r, "there is no job %lld", (long long)id);
	call_reply(call, 200, job_row_to_json(&row));
	job_row_done(&row);
	return 0;
}

int api_job_cancel(struct manager *m, struct call *call, struct ct_error *err)
{
	struct job *job;
	int64_t id = 0;
	int r;

	r = job_id(call, &id, err);
	if (r < 0)
		return r;
	job = job_find(m, id);
	if (!job)
		return ct_error_kind_set(
		        err, CT_ERROR_NOT_FOUND, -ENOENT, "there is no open job %lld", (long long)id);
	if (!job->cancel)
		return ct_error_kind_set(
		        err, CT_ERROR_STATE, -EBUSY, "a %s cannot be cancelled", job->row.verb);
	job->cancel(job);
	call_reply(call, 200, json_object());
	return 0;
}

static int print_audit(const struct audit_row *row, void *userdata)
{
	struct strbuf *b = userdata;
	char text[32];

	(void)strbuf_printf(b,
	        "%s{\"id\":%lld,\"time\":\"%s\",\"uid\":%u,\"gid\":%u,\"pid\":%d,\"status\":%u,\"operation\":",
	        b->data[b->len - 1] == '[' ? "" : ",", (long long)row->id,
	        format_time_utc(text, sizeof(text), row->time_usec), row->uid, row->gid, row->pid,
	        row->status);
	(void)strbuf_json_string(b, row->operation);
	(void)strbuf_puts(b, ",\"object\":");
	(void)strbuf_json_string(b, row->object);
	(void)strbuf_puts(b, ",\"message\":");
	(void)strbuf_json_string(b, row->message);
	return strbuf_putc(b, '}');
}

int api_audit_list(struct manager *m, struct call *call, struct ct_error *err)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;
	struct log_query which;
	int r;

	r = call_log_query(call, "object", "operation", &which, err);
	if (r < 0)
		return r;
	(void)strbuf_puts(&b, "{\"audit\":[");
	r = b.error ? b.error : store_audit_each(m->store, &which, print_audit, &b, err);
	if (r < 0)
		return r;
	(void)strbuf_puts(&b, "]}");
	return reply_buffer(call, &b, err);
}
