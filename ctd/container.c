/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Containers in memory: two hash tables over one value per container.
 *
 * What the database holds is loaded once at start and changed only together with it. State changes are
 * written as they happen, without waiting for the disk: after a kill of ctd the row is there, after a power
 * cut nothing runs anyway.
 */
#include "ctd/container.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"
#include "ctd/disk-work.h"
#include "ctd/handover.h"
#include "ctd/manager.h"
#include "ctd/resources.h"
#include "ctd/staging.h"
#include "ctd/meter.h"
#include "ctd/traffic.h"

static const char *const state_names[] = {
	[CONTAINER_STOPPED] = "stopped",
	[CONTAINER_STARTING] = "starting",
	[CONTAINER_RUNNING] = "running",
	[CONTAINER_STOPPING] = "stopping",
	[CONTAINER_FROZEN] = "frozen",
};

const char *container_state_name(enum container_state state)
{
	return state_names[state];
}

int container_state_from_name(const char *name, enum container_state *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(state_names); i++)
		if (str_eq(state_names[i], name)) {
			*ret = (enum container_state)i;
			return 0;
		}
	return -EINVAL;
}

static int container_read_config(struct container *c, struct ct_error *err)
{
	_cleanup_json_ json_t *object = NULL;
	int r;

	r = json_parse(c->row.config, strlen(c->row.config), &object, err);
	if (r < 0)
		return r;
	return config_from_json(object, &c->config, err);
}

static struct container *container_alloc(struct manager *m, struct container_row *row)
{
	struct container *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;

	c->manager = m;
	c->row = *row;
	memset(row, 0, sizeof(*row));
	c->cgroup_fd = c->console_fd = c->pidfd = -1;
	c->state = CONTAINER_STOPPED;
	TAILQ_INIT(&c->queue);
	c->run = (struct run_row){ .state = "stopped", .pid = -1, .exit_code = -1 };
	memcpy(c->run.ctid, c->row.ctid, sizeof(c->run.ctid));
	return c;
}

int container_new(struct manager *m, struct container_row *row, struct container **ret, struct ct_error *err)
{
	struct container *c = container_alloc(m, row);
	int r;

	if (!c)
		return ct_error_set(err, -ENOMEM, "container", "out of memory");
	r = container_read_config(c, err);
	if (r < 0) {
		container_free(c);
		return r;
	}

	*ret = c;
	return 0;
}

int container_new_unreadable(struct manager *m, struct container_row *row, const char *why,
        struct container **ret, struct ct_error *err)
{
	struct container *c = container_alloc(m, row);
	_cleanup_json_ json_t *nothing = json_object();
	char *text = str_printf("its configuration does not read: %s", why);

	if (!c || !nothing || !text || config_from_json(nothing, &c->config, err) < 0) {
		free(text);
		container_free(c);
		return ct_error_set(err, -ENOMEM, "container", "out of memory");
	}
	free(c->row.broken);
	c->row.broken = text;
	c->unreadable = true;
	*ret = c;
	return 0;
}

void container_free(struct container *c)
{
	if (!c)
		return;
	(void)sd_event_source_disable_unref(c->restart_timer); /* always NULL */
	disk_work_free(c->disk_work);
	staging_free(c->staging);
	resources_free(c->resources);
	traffic_free(c->traffic);
	meter_free(c->meter);
	free(c->leases);
	(void)fd_close(c->cgroup_fd);
	(void)fd_close(c->console_fd);
	(void)fd_close(c->pidfd);
	config_done(&c->config);
	container_row_done(&c->row);
	free(c);
}

/* uthash's macros are all there is of these two tables. */
void container_link(struct container *c)
{
	struct containers *all = &c->manager->containers;

	HASH_ADD_KEYPTR(hh_ctid, all->by_ctid, c->row.ctid, strlen(c->row.ctid), c);
	HASH_ADD_KEYPTR(hh_name, all->by_name, c->row.name, strlen(c->row.name), c);
	network_hosts_later(c->manager);
}

void container_unlink(struct container *c)
{
	struct containers *all = &c->manager->containers;

	HASH_DELETE(hh_ctid, all->by_ctid, c);
	HASH_DELETE(hh_name, all->by_name, c);
	network_hosts_later(c->manager);
}

struct container *container_by_ctid(struct manager *m, const char *ctid)
{
	struct container *c = NULL;

	HASH_FIND(hh_ctid, m->containers.by_ctid, ctid, strlen(ctid), c);
	return c;
}

int container_find(struct manager *m, const char *name, struct container **ret, struct ct_error *err)
{
	struct container *c = NULL;
	char shown[128];

	HASH_FIND(hh_name, m->containers.by_name, name, strlen(name), c);
	if (!c)
		c = container_by_ctid(m, name);
	if (!c)
		return ct_error_kind_set(err, CT_ERROR_NOT_FOUND, -ENOENT,
		        "there is no container \"%s\" (ctctl list shows all)",
		        str_escape_to(shown, sizeof(shown), name, strlen(name)));

	*ret = c;
	return 0;
}

int container_save_run(struct container *c, struct ct_error *err)
{
	struct store *store = c->manager->store;
	int r;

	r = store_begin(store, false, err);
	if (r < 0)
		return r;
	r = store_run_put(store, &c->run, err);
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	return store_commit(store, err);
}

int container_begin_run(struct container *c, uint32_t slot, struct ct_error *err)
{
	const struct run_row before = c->run;
	int r;

	c->run.slot = slot;
	c->run.pid = -1;
	c->run.start_time = 0;
	c->run.exit_code = -1;
	c->run.exit_usec = 0;
	memcpy(c->run.boot_id, c->manager->boot_id, sizeof(c->run.boot_id));
	c->run.state = container_state_name(CONTAINER_STARTING);
	r = container_save_run(c, err);
	if (r < 0)
		c->run = before;
	return r;
}

void container_set_state(struct container *c, enum container_state state)
{
	struct ct_error error = { 0 };

	c->state = state;
	c->run.state = state_names[state];
	if (container_save_run(c, &error) < 0)
		log_error("cannot record that \"%s\" is %s: %s", c->row.name, c->run.state, error.text);
}

/* The row as it would be, borrowed from the old one where nothing changes. */
static int container_write_row(
        struct container *c, const struct container_row *row, bool durable, struct ct_error *err)
{
	struct store *store = c->manager->store;
	int r;

	r = store_begin(store, durable, err);
	if (r < 0)
		return r;
	r = store_container_update(store, row, err);
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	return store_commit(store, err);
}

static void container_take_name(struct container *c, char *name)
{
	struct containers *all = &c->manager->containers;

	HASH_DELETE(hh_name, all->by_name, c);
	free(c->row.name);
	c->row.name = name;
	HASH_ADD_KEYPTR(hh_name, all->by_name, c->row.name, strlen(c->row.name), c);
}

int container_update(
        struct container *c, const char *name, const json_t *config, bool durable, struct ct_error *err)
{
	struct container_row row = c->row;
	struct config parsed = { 0 };
	_cleanup_free_ char *new_name = NULL, *new_config = NULL;
	int r;

	if (name && !(row.name = new_name = strdup(name)))
		return ct_error_set(err, -ENOMEM, "container", "out of memory");
	if (config && !(row.config = new_config = json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS)))
		return ct_error_set(err, -ENOMEM, "container", "out of memory");
	if (config) {
		r = config_from_json(config, &parsed, err);
		if (r < 0)
			return r;
	}

	r = container_write_row(c, &row, durable, err);
	if (r < 0) {
		config_done(&parsed);
		return r;
	}

	network_hosts_later(c->manager);
	if (name)
		container_take_name(c, TAKE_PTR(new_name));
	if (config) {
		free(c->row.config);
		c->row.config = TAKE_PTR(new_config);
		config_done(&c->config);
		c->config = parsed;
	}
	return 0;
}

void container_take_back(struct container *c, char *text)
{
	_cleanup_json_ json_t *object = NULL;
	_cleanup_free_ char *copy = text;
	struct config parsed;

	if (str_eq(c->row.config, text))
		return;
	/* It was read before: only memory can be missing, and then the next ctd reads it. */
	if (json_parse(text, strlen(text), &object, NULL) < 0 ||
	        config_from_json(object, &parsed, NULL) < 0) {
		log_error("\"%s\": cannot go back to its former configuration: out of memory", c->row.name);
		return;
	}
	free(c->row.config);
	c->row.config = TAKE_PTR(copy);
	config_done(&c->config);
	c->config = parsed;
}

void container_set_broken(struct container *c, const char *text)
{
	struct container_row row = c->row;
	struct ct_error error = { 0 };
	char *copy;

	if (c->unreadable)
		return;
	copy = text ? strdup(text) : NULL;
	if (text && !copy)
		return;
	row.broken = copy;
	if (container_write_row(c, &row, true, &error) < 0)
		log_error("cannot record that \"%s\" is %s: %s", c->row.name, text ? "broken" : "mended",
		        error.text);
	free(c->row.broken);
	c->row.broken = copy;
}

void container_key(const struct container *c, char ret[40])
{
	(void)snprintf(ret, 40, "c/%s", c->row.ctid); /* 34 bytes and the end */
}

static void print_time(struct strbuf *b, const char *key, uint64_t usec)
{
	char text[32];

	(void)strbuf_printf(b, ",\"%s\":\"%s\"", key, format_time_utc(text, sizeof(text), usec));
}

static void print_string(struct strbuf *b, const char *key, const char *value)
{
	(void)strbuf_printf(b, ",\"%s\":", key);
	(void)strbuf_json_string(b, value);
}

static void print_address(struct strbuf *b, const struct ip_addr *a, bool *first)
{
	char text[IP_ADDR_STRLEN];

	(void)strbuf_printf(b, "%s\"%s\"", *first ? "" : ",", ip_format_addr(a, text, sizeof(text)));
	*first = false;
}

static void print_addresses(struct strbuf *b, const struct container *c)
{
	bool first = true;

	(void)strbuf_puts(b, ",\"addresses\":[");
	for (unsigned i = 0; i < c->n_leases; i++)
		print_address(b, &c->leases[i].address, &first);
	for (unsigned i = 0; i < c->config.n_nets; i++)
		for (unsigned j = 0; j < c->config.nets[i].n_ips; j++)
			print_address(b, &c->config.nets[i].ips[j], &first);
	(void)strbuf_putc(b, ']');
}

static void print_run(struct strbuf *b, const struct container *c)
{
	if (container_has_init(c) && c->run.pid > 0) {
		(void)strbuf_printf(b, ",\"pid\":%d", c->run.pid);
		print_time(b, "started", c->run.started_usec);
	}
	if (c->run.slot)
		(void)strbuf_printf(b, ",\"base_id\":%u", manager_base_id(c->manager, c->run.slot));
	if (c->run.exit_usec && !c->run.slot) {
		char text[32];

		(void)strbuf_printf(b, ",\"exit\":{\"time\":\"%s\"",
		        format_time_utc(text, sizeof(text), c->run.exit_usec));
		if (c->run.exit_code >= 0)
			(void)strbuf_printf(b, ",\"code\":%d", c->run.exit_code);
		(void)strbuf_putc(b, '}');
	}
}

/* What people gave: the stored text itself, unless something of ours has to be taken out of it. */
static void print_config(struct strbuf *b, const struct container *c)
{
	_cleanup_json_ json_t *object = NULL;
	_cleanup_free_ char *text = NULL;

	if (c->unreadable) {
		(void)strbuf_puts(b, ",\"config\":{}");
		return;
	}
	if ((strstr(c->row.config, "\"" CONFIG_PENDING "\"") || c->config.handover != HANDOVER_NONE ||
	            c->config.allowance.period || c->config.suspended_slot || c->config.checkpoint.id) &&
	        json_parse(c->row.config, strlen(c->row.config), &object, NULL) == 0) {
		(void)json_object_del(object, CONFIG_PENDING); /* these need not be there */
		(void)json_object_del(object, CONFIG_HANDOVER);
		(void)json_object_del(object, CONFIG_ALLOWANCE);
		(void)json_object_del(object, CONFIG_SUSPENDED);
		(void)json_object_del(object, CONFIG_CHECKPOINT);
		text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
	}
	(void)strbuf_printf(b, ",\"config\":%s", text ?: object ? "{}" : c->row.config);
}

const char *container_shown_state(const struct container *c)
{
	return c->state == CONTAINER_STOPPED && c->config.suspended_slot ? "suspended"
	                                                                 : state_names[c->state];
}

void container_print(const struct container *c, struct strbuf *b)
{
	(void)strbuf_printf(b, "{\"ctid\":\"%s\",\"number\":%u,\"state\":\"%s\"", c->row.ctid, c->row.number,
	        container_shown_state(c));
	print_string(b, "name", c->row.name);
	(void)strbuf_puts(b, ",\"template\":{\"name\":");
	(void)strbuf_json_string(b, c->row.template_name);
	(void)strbuf_printf(b, ",\"digest\":\"%s\"}", c->row.template_digest);
	print_time(b, "created", c->row.created_usec);
	print_config(b, c);
	print_addresses(b, c);
	traffic_print(c, b);
	allowance_print(c, b);
	(void)strbuf_printf(b, ",\"marks\":[%s%s%s]", c->config.disabled ? "\"disabled\"" : "",
	        c->config.disabled && c->row.broken ? "," : "", c->row.broken ? "\"broken\"" : "");
	if (c->row.broken)
		print_string(b, "broken", c->row.broken);
	handover_print(c, b);
	print_run(b, c);
	(void)strbuf_putc(b, '}');
}

json_t *container_to_json(const struct container *c)
{
	_cleanup_strbuf_ struct strbuf b = STRBUF_INIT;

	container_print(c, &b);
	return b.error ? NULL : json_loadb(b.data, b.len, 0, NULL);
}
