/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who is told of whom, and when: with changes all the time, with failures, and while some start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "ctd/guest.h"
#include "ctd/manager.h"

#define N 10

static struct manager manager;
static struct container all[N];
static struct config_net nets[N];
static struct ip_addr addresses[N];
static char names[N][64], told[N][1024]; /* what is in its file */
static unsigned tries[N], n_logged;
static bool fails[N];
static unsigned at; /* who is being told */

/* What these parts ask of the rest of ctd. Each write takes 6 ms of a slice's 10. */
static uint64_t now;

uint64_t __wrap_now_monotonic_usec(void);

uint64_t __wrap_now_monotonic_usec(void)
{
	return now;
}

void __wrap_log_message(enum log_level level, const char *format, ...);

void __wrap_log_message(enum log_level level, const char *format, ...)
{
	n_logged++;
}

int network_attach(
        const struct manager *m, const struct config_net *net, struct net_attach *ret, struct ct_error *err)
{
	*ret = (struct net_attach){ .mode = net->mode };
	if (net->mode == CONFIG_NET_PRIVATE)
		(void)snprintf(ret->scope, sizeof(ret->scope), "net:%s", net->network);
	return 0;
}

bool network_has_name(const struct ip_addr *a)
{
	return true;
}

int container_open_root(const struct container *c, struct ct_error *err)
{
	at = (unsigned)(c - all);
	return open("/", O_PATH | O_CLOEXEC);
}

int guest_set_names(int root_fd, uint32_t base_id, const char *lines, struct ct_error *err)
{
	now += 6000;
	tries[at]++;
	if (fails[at])
		return -ENOSPC;
	(void)snprintf(told[at], sizeof(told[at]), "%s", lines);
	return 0;
}

static int setup(void **state)
{
	memset(&manager, 0, sizeof(manager));
	memset(all, 0, sizeof(all));
	memset(told, 0, sizeof(told));
	memset(tries, 0, sizeof(tries));
	memset(fails, 0, sizeof(fails));
	n_logged = 0;
	manager.conf.names = manager.conf.nat_peers = true;
	if (sd_event_new(&manager.event) < 0)
		return -1;

	for (unsigned i = 0; i < N; i++) {
		struct container *c = &all[i];

		(void)snprintf(names[i], sizeof(names[i]), "c%u", i);
		(void)snprintf(c->row.ctid, sizeof(c->row.ctid), "%032u", i);
		addresses[i] = (struct ip_addr){
			.family = AF_INET, .prefix = 32, .bytes = { 10, 0, 0, (uint8_t)i }
		};
		nets[i] = (struct config_net){ .mode = CONFIG_NET_NAT, .ips = &addresses[i], .n_ips = 1 };
		c->manager = &manager;
		c->row.name = names[i];
		c->config.nets = &nets[i];
		c->config.n_nets = 1;
		(void)snprintf(c->config.tenant, sizeof(c->config.tenant), "t");
		c->state = CONTAINER_RUNNING;
		HASH_ADD_KEYPTR(hh_ctid, manager.containers.by_ctid, c->row.ctid, strlen(c->row.ctid), c);
	}
	return 0;
}

static int teardown(void **state)
{
	network_names_free(&manager);
	HASH_CLEAR(hh_ctid, manager.containers.by_ctid);
	manager.event = sd_event_unref(manager.event);
	return 0;
}

static bool is_pending(void)
{
	int enabled = SD_EVENT_OFF;

	return manager.names_timer && sd_event_source_get_enabled(manager.names_timer, &enabled) > 0;
}

static void next_slice(void)
{
	if (is_pending())
		assert_true(sd_event_run(manager.event, UINT64_MAX) > 0);
}

static void tell_all(void)
{
	network_names_tell(&manager);
	while (is_pending())
		next_slice();
}

static void test_all_are_reached(void **state)
{
	unsigned change = 0, reached;

	/* Before each slice there is another name for all to know. */
	do {
		(void)snprintf(names[0], sizeof(names[0]), "changed-%u", ++change);
		network_names_tell(&manager);
		next_slice();
		reached = 0;
		for (unsigned i = 0; i < N; i++)
			reached += tries[i] > 0;
	} while (reached < N && change < 10 * N);
	assert_int_equal(reached, N);

	while (is_pending())
		next_slice();
	for (unsigned i = 1; i < N; i++)
		assert_non_null(strstr(told[i], names[0]));
	assert_null(strstr(told[0], names[0]));
}

static void test_failure_is_tried_again(void **state)
{
	unsigned before;

	tell_all();
	before = tries[2];
	fails[3] = true;
	(void)snprintf(names[0], sizeof(names[0]), "changed");
	tell_all();
	tell_all();
	tell_all();
	assert_null(strstr(told[3], "changed"));
	assert_int_equal(n_logged, 1);
	assert_int_equal(tries[2], before + 1);
	fails[3] = false;
	tell_all();
	assert_non_null(strstr(told[3], "changed"));
}

static void test_who_starts(void **state)
{
	all[4].state = CONTAINER_STARTING;
	network_names_tell(&manager);
	for (unsigned i = 0; i < N; i++)
		next_slice();
	assert_int_equal(tries[4], 0);
	assert_int_equal(tries[N - 1], 1);

	/* A change has not to wait for it. */
	(void)snprintf(names[0], sizeof(names[0]), "changed");
	network_names_tell(&manager);
	for (unsigned i = 0; i < N; i++)
		next_slice();
	assert_non_null(strstr(told[N - 1], "changed"));
	assert_true(is_pending());
	all[4].state = CONTAINER_RUNNING;
	next_slice();
	assert_non_null(strstr(told[4], "changed"));
	assert_false(is_pending());
}

static void test_host_names_of_strangers(void **state)
{
	for (unsigned i = 0; i < 3; i++) {
		nets[i].mode = CONFIG_NET_PRIVATE;
		(void)snprintf(nets[i].network, sizeof(nets[i].network), "open");
		all[i].config.tenant[0] = '\0';
	}
	(void)snprintf(all[1].config.hostname, sizeof(all[1].config.hostname), "deb.debian.org");
	tell_all();
	assert_string_equal(told[0], "10.0.0.1 c1\n10.0.0.2 c2\n");

	/* One's own are no strangers. */
	for (unsigned i = 0; i < 2; i++)
		(void)snprintf(all[i].config.tenant, sizeof(all[i].config.tenant), "own");
	(void)snprintf(all[0].config.hostname, sizeof(all[0].config.hostname), "www.example.org");
	tell_all();
	assert_string_equal(told[0], "10.0.0.1 deb.debian.org c1\n");
	assert_string_equal(told[1], "10.0.0.0 www.example.org c0\n");
	assert_string_equal(told[2], "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_are_reached, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure_is_tried_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_starts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_host_names_of_strangers, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
