/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting over runs, ports that go, and what could not be read or saved; the kernel is in the test. */
#include "ctd/test-store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "ctd/manager.h"
#include "ctd/ports.h"
#include "ctd/traffic.h"

#define CLASS "far"

/* What the kernel says: of the port "v0" and of its class. */
static struct {
	int failure, class_failure;
	struct net_counters port, class;
} kernel;

int net_port_counters(
        struct net_context *net, const char *host_name, struct net_counters *ret, struct ct_error *err)
{
	if (!str_eq(host_name, "v0"))
		return -ENOENT;
	*ret = kernel.port;
	return kernel.failure;
}

int net_class_counters(struct net_context *net, const char *host_name, unsigned class,
        struct net_counters *ret, struct ct_error *err)
{
	*ret = kernel.class;
	return kernel.class_failure;
}

int net_counters_dump(struct net_context *net,
        int (*each)(const char *host_name, const struct net_counters *counters, void *userdata),
        void *userdata, struct ct_error *err)
{
	return -EOPNOTSUPP;
}

int net_port_rate_drops(struct net_context *net, const char *host_name, const struct net_rates *rates,
        uint64_t *ret, struct ct_error *err)
{
	return 0;
}

/* What it asks of the rest of ctd. */
static struct container *known;

struct container *container_by_ctid(struct manager *m, const char *ctid)
{
	return known;
}

void ports_host_name(const struct container *c, uint32_t slot, unsigned i, char ret[IFNAMSIZ])
{
	(void)snprintf(ret, IFNAMSIZ, "v%u", i);
}

void ports_rates(const struct container *c, const struct config_net *net, struct net_rates *ret)
{
	*ret = (struct net_rates){ 0 };
}

int traffic_classes_check(struct manager *m, struct ct_error *err)
{
	return 0;
}

/* A ctd with one container, whose interface is eth0. */
struct world {
	struct manager manager;
	struct config_net net;
	struct container container;
};

static int on_nothing(sd_event_source *source, void *userdata)
{
	return 0;
}

/* What a ctd knows at its start: what is in the database. */
static void world_begin(struct world *w, struct fixture *f, uint32_t slot)
{
	struct manager *m = &w->manager;
	struct container *c = &w->container;

	*w = (struct world){ .manager = { .store = f->store, .boot_id = "one", .conf.n_classes = 1 } };
	(void)snprintf(m->conf.classes[0].name, sizeof(m->conf.classes[0].name), CLASS);
	w->net = (struct config_net){ .name = "eth0", .mode = CONFIG_NET_NAT };
	c->manager = m;
	memcpy(c->row.ctid, ctid_of(1), sizeof(c->row.ctid));
	c->row.name = (char *)"web";
	c->config.nets = &w->net;
	c->config.n_nets = 1;
	c->run.slot = slot;
	known = c;
	HASH_ADD(hh_ctid, m->containers.by_ctid, row.ctid, 32, c);
	assert_int_equal(sd_event_new(&m->event), 0);
	assert_int_equal(traffic_init(m, NULL), 0);
}

/* As at a clean end of ctd, and as every minute. */
static void world_settle(struct world *w)
{
	struct manager *m = &w->manager;

	traffic_done(m);
	assert_int_equal(sd_event_add_defer(m->event, &m->traffic_timer, on_nothing, NULL), 0);
}

/* Without a word. */
static void world_kill(struct world *w)
{
	struct container *c = &w->container;

	(void)sd_event_source_disable_unref(w->manager.traffic_timer); /* always NULL */
	sd_event_unref(w->manager.event);
	HASH_DELETE(hh_ctid, w->manager.containers.by_ctid, c);
	traffic_free(c->traffic);
}

static int setup(void **state)
{
	int r = store_setup(state);
	struct fixture *f = *state;

	memset(&kernel, 0, sizeof(kernel));
	put_template(f->store, "tiny", DIGEST_A);
	assert_int_equal(put_container(f->store, 1, "web", NULL, NULL), 0);
	return r;
}

static void kernel_says(uint64_t packets)
{
	kernel.port = (struct net_counters){ .out_bytes = 100 * packets, .out_packets = packets };
	kernel.class = kernel.port;
}

static void expect_packets(struct world *w, uint64_t packets)
{
	assert_int_equal(traffic_totals(&w->container).out_packets, packets);
	assert_int_equal(traffic_totals(&w->container).out_bytes, 100 * packets);
	assert_int_equal(traffic_class_totals(&w->container, 0).out_packets, packets);
}

static void test_torn(void **state)
{
	struct world w;

	world_begin(&w, *state, 3);
	kernel_says(10);
	assert_true(traffic_sample(&w.container));
	kernel_says(15);
	kernel.failure = -ENOBUFS;
	assert_false(traffic_sample(&w.container));
	expect_packets(&w, 10);
	/* It is not there, which is another matter. */
	kernel.failure = -ENOENT;
	assert_true(traffic_sample(&w.container));
	kernel.failure = 0;
	kernel.class_failure = -ENOBUFS;
	assert_false(traffic_sample(&w.container));
	kernel.class_failure = 0;
	assert_true(traffic_sample(&w.container));
	expect_packets(&w, 15);
	w.container.run.slot = 0;
	kernel.failure = -ENOBUFS;
	assert_true(traffic_sample(&w.container));
	world_kill(&w);
}

/* A restart or a resume in the slot that it had: what the first run's ports had seen is not the second's. */
static void test_same_slot(void **state)
{
	struct world w;

	world_begin(&w, *state, 3);
	traffic_begin(&w.container);
	kernel_says(10);
	traffic_settle(&w.container);
	kernel_says(0);
	traffic_begin(&w.container);
	kernel_says(25);
	assert_true(traffic_sample(&w.container));
	expect_packets(&w, 35);

	/* A ctd that is killed before it has saved a word of the second run. */
	world_kill(&w);
	world_begin(&w, *state, 3);
	expect_packets(&w, 10);
	assert_true(traffic_sample(&w.container));
	expect_packets(&w, 35);

	/* One that lives on, and the next run in another slot. */
	traffic_settle(&w.container);
	world_kill(&w);
	world_begin(&w, *state, 3);
	assert_true(traffic_sample(&w.container));
	expect_packets(&w, 35);
	w.container.run.slot = 4;
	kernel_says(0);
	traffic_begin(&w.container);
	kernel_says(40);
	assert_true(traffic_sample(&w.container));
	expect_packets(&w, 75);
	world_kill(&w);
}

/* SQLite makes a rollback of the commit. */
static int on_commit(void *userdata)
{
	return 1;
}

static void test_not_saved(void **state)
{
	struct fixture *f = *state;
	struct world w;

	world_begin(&w, f, 3);
	kernel_says(10);
	sqlite3_commit_hook(f->store->db, on_commit, NULL);
	world_settle(&w);
	w.container.run.slot = 0; /* it ends, and has nothing new any more */
	world_settle(&w);
	sqlite3_commit_hook(f->store->db, NULL, NULL);
	world_settle(&w);
	world_kill(&w);

	world_begin(&w, f, 0);
	expect_packets(&w, 10);
	world_kill(&w);
}

/* Interfaces that the configuration has no more, or has under another name. */
static void test_port_gone(void **state)
{
	struct world w;

	world_begin(&w, *state, 3);
	kernel_says(10);
	assert_true(traffic_sample(&w.container));
	kernel_says(15);
	w.container.config.n_nets = 0;
	assert_true(traffic_sample(&w.container));
	expect_packets(&w, 10);
	assert_true(traffic_sample_port(&w.container, "eth0", "v0"));
	assert_true(traffic_sample_port(&w.container, "eth0", "v0"));
	expect_packets(&w, 15);
	traffic_port_gone(&w.container, "eth0");

	(void)snprintf(w.net.name, sizeof(w.net.name), "net0");
	w.container.config.n_nets = 1;
	kernel_says(20);
	assert_true(traffic_sample(&w.container));
	expect_packets(&w, 35);
	world_kill(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_torn, setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_same_slot, setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_not_saved, setup, store_teardown),
		cmocka_unit_test_setup_teardown(test_port_gone, setup, store_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
