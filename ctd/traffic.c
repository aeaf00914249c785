/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting traffic across runs.
 *
 * The host's counters begin at zero with each run and live in the kernel, also while no ctd does. A record
 * has the sum, and what the counter said when it was last added ("seen", of the run that slot and boot id
 * name); what a counter says beyond that is new. Both are written in one statement, so that a kill at any
 * moment loses nothing and adds nothing twice: the next ctd sees the same counter, or the run is over, and
 * then its end had been written before the counters were taken out. Ports that are made anew in the same slot
 * (a restart, a resume) count from zero, which is written before they are made.
 *
 * Classes of traffic have rows of their own beside their device's.
 *
 * Each container is sampled once a minute, a sixtieth of them every second, so that a power cut costs a
 * minute of counting and no second has much to do.
 */
#include "ctd/traffic.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ctd/manager.h"
#include "ctd/ports.h"

#define PARTS      60
#define DEVICE_LEN (IFNAMSIZ + CONF_CLASS_NAME)

struct traffic {
	struct traffic_entry {
		char device[DEVICE_LEN]; /* or DEVICE/CLASS */
		char boot_id[40];
		uint32_t slot;
		struct traffic_counts total, seen;
		bool changed;
	} * entries;
	size_t n;
};

void traffic_free(struct traffic *traffic)
{
	if (!traffic)
		return;
	free(traffic->entries);
	free(traffic);
}

static struct traffic_entry *entry_of(struct container *c, const char *device)
{
	struct traffic_entry *grown;

	if (!c->traffic && !(c->traffic = calloc(1, sizeof(*c->traffic))))
		return NULL;
	for (size_t i = 0; i < c->traffic->n; i++)
		if (str_eq(c->traffic->entries[i].device, device))
			return &c->traffic->entries[i];
	grown = reallocarray(c->traffic->entries, c->traffic->n + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	c->traffic->entries = grown;
	grown += c->traffic->n++;
	*grown = (struct traffic_entry){ 0 };
	(void)snprintf(grown->device, sizeof(grown->device), "%s", device); /* as long at most */
	return grown;
}

/* A counter below what was seen belongs to a port that was made anew. */
static void add(uint64_t *total, uint64_t *seen, uint64_t now)
{
	*total += now >= *seen ? now - *seen : now;
	*seen = now;
}

static void add_all(struct traffic_entry *e, const struct net_counters *now)
{
	add(&e->total.in_bytes, &e->seen.in_bytes, now->in_bytes);
	add(&e->total.in_packets, &e->seen.in_packets, now->in_packets);
	add(&e->total.out_bytes, &e->seen.out_bytes, now->out_bytes);
	add(&e->total.out_packets, &e->seen.out_packets, now->out_packets);
	add(&e->total.out_dropped, &e->seen.out_dropped, now->out_dropped);
}

static struct traffic_entry *entry_of_run(struct container *c, const char *device)
{
	struct traffic_entry *e = entry_of(c, device);

	if (e && (e->slot != c->run.slot || !str_eq(e->boot_id, c->manager->boot_id))) {
		e->seen = (struct traffic_counts){ 0 };
		e->slot = c->run.slot;
		memcpy(e->boot_id, c->manager->boot_id, sizeof(e->boot_id));
	}
	return e; /* NULL: out of memory, next time */
}

/* False: it is in the next sample. */
static bool count(struct traffic_entry *e, const struct net_counters *now)
{
	if (!e)
		return false;
	if (memcmp(&e->seen,
	            &(struct traffic_counts){ now->in_bytes, now->in_packets, now->out_bytes,
	                    now->out_packets, now->out_dropped },
	            sizeof(e->seen)) != 0) {
		add_all(e, now);
		e->changed = true;
	}
	return true;
}

/* The counters of all ports, sorted by name. */
struct traffic_dump {
	struct dumped {
		char host_name[IFNAMSIZ];
		struct net_counters counters;
	} * ports;
	size_t n, max;
};

static int take_port(const char *host_name, const struct net_counters *counters, void *userdata)
{
	struct traffic_dump *dump = userdata;

	if (dump->n == dump->max) {
		size_t max = dump->max ? 2 * dump->max : 64;
		struct dumped *grown = reallocarray(dump->ports, max, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		dump->ports = grown;
		dump->max = max;
	}
	(void)snprintf(dump->ports[dump->n].host_name, IFNAMSIZ, "%s", host_name); /* it fits */
	dump->ports[dump->n++].counters = *counters;
	return 0;
}

void traffic_dump_begin(struct manager *m)
{
	struct traffic_dump *dump = calloc(1, sizeof(*dump));

	m->traffic_dump = dump;
	if (dump && net_counters_dump(m->net, take_port, dump, NULL) < 0)
		traffic_dump_end(m); /* one by one */
}

void traffic_dump_end(struct manager *m)
{
	if (m->traffic_dump)
		free(m->traffic_dump->ports);
	free(m->traffic_dump);
	m->traffic_dump = NULL;
}

static int by_name(const void *name, const void *port)
{
	return strcmp(name, ((const struct dumped *)port)->host_name);
}

static int read_counters(struct manager *m, const char *host_name, struct net_counters *ret)
{
	const struct traffic_dump *dump = m->traffic_dump;
	const struct dumped *found =
	        dump && dump->n ? bsearch(host_name, dump->ports, dump->n, sizeof(*dump->ports), by_name)
	                        : NULL;

	if (!found)
		return net_port_counters(m->net, host_name, ret, NULL);
	*ret = found->counters;
	return 0;
}

static void class_device(const struct container *c, const char *device, unsigned class, char ret[DEVICE_LEN])
{
	(void)snprintf(ret, DEVICE_LEN, "%s/%s", device, c->manager->conf.classes[class].name); /* it fits */
}

bool traffic_sample_port(struct container *c, const char *device, const char *host_name)
{
	struct manager *m = c->manager;
	struct net_counters now;
	char of_class[DEVICE_LEN];
	bool whole;
	int r;

	r = read_counters(m, host_name, &now);
	if (r < 0)
		return r == -ENOENT; /* half made, or gone already */
	/* Towards the container the hook sees frames, out of it packets: both are counted as packets. */
	now.in_bytes -= now.in_packets * ETH_HLEN < now.in_bytes ? now.in_packets * ETH_HLEN : now.in_bytes;
	whole = count(entry_of_run(c, device), &now);

	for (unsigned i = 0; i < m->conf.n_classes; i++) {
		class_device(c, device, i, of_class);
		whole &= net_class_counters(m->net, host_name, i, &now, NULL) >= 0 &&
		         count(entry_of_run(c, of_class), &now);
	}
	return whole;
}

static void count_from_zero(struct traffic_entry *e)
{
	e->seen = (struct traffic_counts){ 0 };
	e->changed = true;
}

/* A slot may be that of a run before, in this boot. */
static void forget_run_before(struct container *c)
{
	for (size_t i = 0; c->traffic && i < c->traffic->n; i++) {
		struct traffic_entry *e = &c->traffic->entries[i];

		if (e->slot == c->run.slot && str_eq(e->boot_id, c->manager->boot_id))
			count_from_zero(e);
	}
}

static int save(struct container *c, struct ct_error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && c->traffic && i < c->traffic->n; i++) {
		struct traffic_entry *e = &c->traffic->entries[i];
		const struct traffic_row row = {
			.ctid = c->row.ctid,
			.device = e->device,
			.boot_id = e->boot_id,
			.slot = e->slot,
			.total = e->total,
			.seen = e->seen,
		};

		if (!e->changed)
			continue;
		r = store_traffic_put(c->manager->store, &row, err);
		if (r >= 0)
			e->changed = false;
	}
	return r;
}

void traffic_begin(struct container *c)
{
	struct manager *m = c->manager;

	forget_run_before(c);
	for (unsigned i = 0; i < c->config.n_nets; i++)
		for (unsigned k = 0; k < m->conf.n_classes; k++) {
			const struct config_net *net = &c->config.nets[i];
			char host_name[IFNAMSIZ], device[DEVICE_LEN];
			struct traffic_entry *e;
			struct net_counters now;

			ports_host_name(c, c->run.slot, i, host_name);
			if (!config_net_is_there(net) ||
			        net_class_counters(m->net, host_name, k, &now, NULL) < 0 ||
			        now.in_packets + now.out_packets == 0)
				continue;
			class_device(c, net->name, k, device);
			e = entry_of_run(c, device);
			if (!e)
				continue;
			e->seen = (struct traffic_counts){ now.in_bytes, now.in_packets, now.out_bytes,
				now.out_packets, 0 };
			e->changed = true;
		}
	(void)save(c, NULL); /* with the next sample else */
}

bool traffic_sample(struct container *c)
{
	char host_name[IFNAMSIZ];
	bool whole = true;

	for (unsigned i = 0; c->run.slot && i < c->config.n_nets; i++) {
		if (!config_net_is_there(&c->config.nets[i]))
			continue;
		ports_host_name(c, c->run.slot, i, host_name);
		whole &= traffic_sample_port(c, c->config.nets[i].name, host_name);
	}
	return whole;
}

bool traffic_rate_drops(struct container *c, uint64_t *ret)
{
	bool any = false;

	*ret = 0;
	for (unsigned i = 0; c->run.slot && i < c->config.n_nets; i++) {
		const struct config_net *net = &c->config.nets[i];
		struct net_rates rates;
		char host_name[IFNAMSIZ];
		uint64_t drops = 0;
		int r;

		if (!config_net_is_there(net))
			continue;
		ports_rates(c, net, &rates);
		ports_host_name(c, c->run.slot, i, host_name);
		r = net_port_rate_drops(c->manager->net, host_name, &rates, &drops, NULL);
		if (r < 0)
			return false; /* half made, gone already, or not found now: a part is no sum */
		*ret += drops;
		any |= r > 0;
	}
	return any;
}

void traffic_settle(struct container *c)
{
	struct ct_error error = { 0 };

	(void)traffic_sample(c); /* the rest is in the next */
	if (save(c, &error) < 0)
		log_error("the traffic of \"%s\" cannot be recorded: %s", c->row.name, error.text);
}

/* The row is the device's, or one of its classes. */
static bool is_of(const struct traffic_entry *e, const char *device)
{
	size_t len = strcspn(e->device, "/");

	return strlen(device) == len && memcmp(e->device, device, len) == 0;
}

void traffic_port_gone(struct container *c, const char *device)
{
	for (size_t i = 0; c->traffic && i < c->traffic->n; i++) {
		struct traffic_entry *e = &c->traffic->entries[i];

		if (is_of(e, device))
			count_from_zero(e);
	}
	(void)save(c, NULL); /* with the next sample else */
}

static bool is_of_part(const struct container *c, unsigned part, unsigned parts)
{
	return c->row.number % parts == part;
}

/* What was saved in a transaction that failed was not. */
static void save_again(struct manager *m, unsigned part, unsigned parts)
{
	struct container *c, *next;

	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	for (size_t i = 0; is_of_part(c, part, parts) && c->traffic && i < c->traffic->n; i++)
		c->traffic->entries[i].changed = true;
}

int traffic_forget_classes(struct manager *m, struct ct_error *err)
{
	struct container *c, *next;
	int r = store_begin(m->store, true, err);

	if (r < 0)
		return r;
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	{
		for (size_t i = 0; c->traffic && i < c->traffic->n; i++) {
			struct traffic_entry *e = &c->traffic->entries[i];

			if (strchr(e->device, '/'))
				count_from_zero(e);
		}
		if (r >= 0)
			r = save(c, err);
	}
	if (r < 0)
		store_rollback(m->store);
	else
		r = store_commit(m->store, err);
	if (r < 0)
		save_again(m, 0, 1);
	return r;
}

static void add_counts(struct traffic_counts *sum, const struct traffic_counts *t)
{
	sum->in_bytes += t->in_bytes;
	sum->in_packets += t->in_packets;
	sum->out_bytes += t->out_bytes;
	sum->out_packets += t->out_packets;
	sum->out_dropped += t->out_dropped;
}

struct traffic_counts traffic_totals(const struct container *c)
{
	struct traffic_counts sum = { 0 };

	for (size_t i = 0; c->traffic && i < c->traffic->n; i++)
		if (!strchr(c->traffic->entries[i].device, '/'))
			add_counts(&sum, &c->traffic->entries[i].total);
	return sum;
}

struct traffic_counts traffic_class_totals(const struct container *c, unsigned class)
{
	struct traffic_counts sum = { 0 };

	for (size_t i = 0; c->traffic && i < c->traffic->n; i++) {
		const char *of_class = strchr(c->traffic->entries[i].device, '/');

		if (of_class && str_eq(of_class + 1, c->manager->conf.classes[class].name))
			add_counts(&sum, &c->traffic->entries[i].total);
	}
	return sum;
}

static void print_counts(struct strbuf *b, const struct traffic_counts *t)
{
	(void)strbuf_printf(b,
	        "\"in_bytes\":%llu,\"in_packets\":%llu,\"out_bytes\":%llu,\"out_packets\":%llu",
	        (unsigned long long)t->in_bytes, (unsigned long long)t->in_packets,
	        (unsigned long long)t->out_bytes, (unsigned long long)t->out_packets);
}

void traffic_print(const struct container *c, struct strbuf *b)
{
	struct traffic_counts t = traffic_totals(c);
	const struct conf *conf = &c->manager->conf;

	(void)strbuf_puts(b, ",\"traffic\":{");
	print_counts(b, &t);
	(void)strbuf_printf(b, ",\"out_dropped\":%llu", (unsigned long long)t.out_dropped);
	for (unsigned i = 0; i < conf->n_classes; i++) {
		t = traffic_class_totals(c, i);
		(void)strbuf_printf(b, "%s\"%s\":{", i ? "," : ",\"classes\":{", conf->classes[i].name);
		print_counts(b, &t);
		(void)strbuf_putc(b, '}');
	}
	(void)strbuf_puts(b, conf->n_classes ? "}}" : "}");
}

static int load_one(const struct traffic_row *row, void *userdata)
{
	struct container *c = container_by_ctid(userdata, row->ctid);
	struct traffic_entry *e = c ? entry_of(c, row->device) : NULL;

	if (!e)
		return c ? -ENOMEM : 0;
	(void)snprintf(e->boot_id, sizeof(e->boot_id), "%s", row->boot_id); /* as long at most */
	e->slot = row->slot;
	e->total = row->total;
	e->seen = row->seen;
	return 0;
}

/* Those of one part, or of all, in one transaction; of those that do not run what could not be saved. */
static void settle_part(struct manager *m, unsigned part, unsigned parts)
{
	struct container *c, *next;
	struct ct_error error = { 0 };

	if (!m->containers.by_ctid)
		return;
	if (store_begin(m->store, false, &error) < 0) {
		log_error("traffic cannot be recorded: %s", error.text);
		return;
	}
	HASH_ITER(hh_ctid, m->containers.by_ctid, c, next)
	if (is_of_part(c, part, parts))
		traffic_settle(c);
	if (store_commit(m->store, &error) < 0) {
		log_error("traffic cannot be recorded: %s", error.text);
		save_again(m, part, parts);
	}
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct manager *m = userdata;
	int r;

	settle_part(m, m->traffic_tick++ % PARTS, PARTS);
	r = sd_event_source_set_time_relative(source, USEC_PER_SEC);
	return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int traffic_init(struct manager *m, struct ct_error *err)
{
	int r = store_traffic_each(m->store, load_one, m, err);

	if (r >= 0)
		r = traffic_classes_check(m, err);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(
	        m->event, &m->traffic_timer, CLOCK_MONOTONIC, USEC_PER_SEC, USEC_PER_SEC / 4, on_tick, m);
	return r < 0 ? ct_error_set(err, r, "traffic", "cannot begin to count traffic: %s", strerror(-r)) : 0;
}

void traffic_done(struct manager *m)
{
	if (!m->traffic_timer)
		return;
	m->traffic_timer = sd_event_source_disable_unref(m->traffic_timer);
	settle_part(m, 0, 1);
}
