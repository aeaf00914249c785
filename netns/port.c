/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The life of a port: made in the pool, given to a container, changed, released.
 *
 * Making it costs two messages to rtnetlink and a transaction of nf_tables; nothing of that depends on the
 * container, so the pool pays. To configure it takes a look at the link and one send each to nf_tables
 * (elements), to the guest's rtnetlink and to the host's.
 *
 * Order is safety. Made: the link is down, then its chain drops all, then both sides come up; the kernel
 * notices a carrier late and drops packets until then, which is over when a container starts. Configured:
 * elements, then inside, then routed. Changed: new and stale elements in one transaction. Released: elements
 * go first, so that the port passes nothing; the chain stays as long as the link.
 */
#include "netns/port.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "netns/classes.h"
#include "netns/guard.h"
#include "netns/limits.h"
#include "netns/link.h"
#include "netns/scan.h"
#include "netns/shape.h"
#include "netns/spec.h"

#define SWEEP_STEP    4
#define CARRIER_TRIES 50 /* 10 ms in all */

int port_change_filter(struct net_context *net, const struct scan_keys *add, const struct scan_keys *remove,
        const char *host_name, struct ct_error *err)
{
	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	set_keys_put(net, NFT_MSG_DELSETELEM, remove);
	set_keys_put(net, NFT_MSG_NEWSETELEM, add);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}

static int add_filter(struct net_context *net, const char *host_name, struct ct_error *err)
{
	struct nft_place p = guard_place(net);
	int r;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	guard_add_port(&p, host_name);
	nft_end(&net->batch);
	r = nl_transact(&net->nft, &net->batch, host_name, err);
	if (r == -ENOENT)
		(void)ct_error_prefix(err, "is the host's filter table there?");
	return r;
}

/* The side that came up first had no carrier then; it drops what it sends until a worker of the kernel has
 * noticed that it has one now. The first ARP request would be lost, and a second with it. From Linux 6.8 to
 * ask for the link makes it notice. */
static int wait_for_carrier(struct net_context *net, struct nl_sock *inside, int index, struct ct_error *err)
{
	for (unsigned i = 0; i < CARRIER_TRIES; i++) {
		struct link_info link;
		int r;

		r = link_get(inside, &net->batch, NULL, index, &link, err);
		if (r < 0 || link.carrier)
			return r;
		(void)nanosleep(&(struct timespec){ .tv_nsec = 200 * 1000 }, NULL);
	}

	return 0; /* a slow machine: a packet may be lost, nothing else */
}

/* Both sides up. The inner one gets no link-local address yet, because it does not have its MAC yet. */
static int bring_up(struct net_context *net, const char *host_name, int netns_fd, struct ct_error *err)
{
	_cleanup_nl_sock_ struct nl_sock inside = NL_SOCK_INIT;
	struct link_info link;
	int r;

	r = link_get(&net->route, &net->batch, host_name, 0, &link, err);
	if (r < 0)
		return r;
	r = net_open_inside(net, netns_fd, &inside, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	link_make_link_local(&net->batch, NULL, link.peer_index, false);
	link_change(&net->batch, &(struct link_change){ .index = link.peer_index, .up = true });
	r = nl_transact(&inside, &net->batch, host_name, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	link_change(&net->batch, &(struct link_change){ .index = link.index, .up = true });
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r < 0)
		return r;

	return wait_for_carrier(net, &inside, link.peer_index, err);
}

static int remove_elements(struct net_context *net, const char *host_name, struct ct_error *err)
{
	_cleanup_scan_keys_ struct scan_keys have = { 0 };
	const struct scan_keys none = { 0 };
	int r;

	r = scan_elements(net, PORT_SETS, host_name, &have, err);
	if (r < 0)
		return r;

	return port_change_filter(net, &none, &have, host_name, err);
}

static int remove_chains(struct net_context *net, const char *host_name, struct ct_error *err)
{
	struct nft_place p = guard_place(net);
	int r;

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	guard_remove_port(&p, host_name);
	nft_end(&net->batch);
	r = nl_transact(&net->nft, &net->batch, host_name, NULL);
	if (r < 0 && r != -ENOENT) /* before Linux 6.10 they went with the link */
		return ct_error_set(err, r, "network", "cannot delete the filter chains of \"%s\": %s",
		        host_name, strerror(-r));

	return 0;
}

/* Remembers a port whose chains have to go when its link has gone. Forgetting one for lack of memory is
 * mended by the next sweep of all. */
static void linger(struct net_context *net, const char *host_name)
{
	if (net->n_lingering == net->max_lingering) {
		size_t max = net->max_lingering ? 2 * net->max_lingering : 16;
		char(*grown)[IFNAMSIZ] = reallocarray(net->lingering, max, sizeof(*grown));

		if (!grown)
			return;
		net->lingering = grown;
		net->max_lingering = max;
	}

	(void)str_escape_to(net->lingering[net->n_lingering++], IFNAMSIZ, host_name, strlen(host_name));
}

static void linger_no_more(struct net_context *net, const char *host_name)
{
	size_t n = 0;

	for (size_t i = 0; i < net->n_lingering; i++)
		if (!str_eq(net->lingering[i], host_name))
			memmove(net->lingering[n++], net->lingering[i], IFNAMSIZ);
	net->n_lingering = n;
}

static int delete_link(struct net_context *net, const char *host_name)
{
	nl_batch_reset(&net->batch);
	link_delete(&net->batch, host_name);
	return nl_transact(&net->route, &net->batch, host_name, NULL);
}

/* The link of a port that was released, whose namespace is still there: sockets that could not say goodbye
 * keep it for minutes, or the kernel has not come to it yet. True if it has gone; one that is configured is
 * in use and stays. */
static bool remove_released(struct net_context *net, const char *host_name)
{
	_cleanup_scan_keys_ struct scan_keys have = { 0 };

	if (scan_elements(net, PORT_SETS, host_name, &have, NULL) < 0 || have.n > 0)
		return false;
	if (delete_link(net, host_name) < 0 || remove_chains(net, host_name, NULL) < 0)
		return false;
	linger_no_more(net, host_name);
	return true;
}

static int make_pair(struct net_context *net, const char *host_name, const char *guest_name, int netns_fd,
        struct ct_error *err)
{
	nl_batch_reset(&net->batch);
	link_add_veth(&net->batch, host_name, net_gateway_mac, guest_name, netns_fd);
	return nl_transact(&net->route, &net->batch, host_name, err);
}

int net_port_create(struct net_context *net, const char *host_name, const char *guest_name, int netns_fd,
        struct ct_error *err)
{
	int r;

	r = spec_check_name(net, host_name, err);
	if (r < 0)
		return r;
	r = port_sweep(net, false, err);
	if (r < 0)
		return r;

	r = make_pair(net, host_name, guest_name, netns_fd, err);
	if (r == -EEXIST && remove_released(net, host_name))
		r = make_pair(net, host_name, guest_name, netns_fd, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	link_quiet(&net->batch, host_name);
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r >= 0)
		r = add_filter(net, host_name, err);
	if (r >= 0)
		r = bring_up(net, host_name, netns_fd, err);
	if (r < 0)
		(void)delete_link(net, host_name); /* the first failure is the one to tell */

	return r;
}

static int remove_chains_unless_link(
        struct net_context *net, const char *host_name, bool *ret_link, struct ct_error *err)
{
	struct link_info link;
	int r;

	r = link_get(&net->route, &net->batch, host_name, 0, &link, err);
	*ret_link = r == 0;
	if (r != -ENODEV)
		return r;

	return remove_chains(net, host_name, err);
}

int port_remove_filter(struct net_context *net, const char *host_name, struct ct_error *err)
{
	bool link;
	int r;

	r = shape_release(net, host_name, err);
	if (r < 0)
		return r;
	r = classes_release(net, host_name, err);
	if (r < 0)
		return r;
	r = remove_elements(net, host_name, err);
	if (r < 0)
		return r;

	return remove_chains_unless_link(net, host_name, &link, err);
}

int port_sweep(struct net_context *net, bool all, struct ct_error *err)
{
	_cleanup_scan_objects_ struct scan_objects chains = { 0 };
	int r;

	if (all) {
		r = scan_chains(net, &chains, err);
		if (r < 0)
			return r;
		net->n_lingering = 0;
		for (size_t i = 0; i < chains.n; i++)
			linger(net, chains.objects[i].host_name);
	}

	/* a few at a time, from the front; those that have to wait go to the end */
	for (size_t left = all ? net->n_lingering : SWEEP_STEP; left > 0 && net->n_lingering > 0; left--) {
		char name[IFNAMSIZ];
		bool link;

		memcpy(name, net->lingering[0], sizeof(name));
		r = remove_chains_unless_link(net, name, &link, err);
		if (r < 0)
			return r;
		memmove(net->lingering[0], net->lingering[1], --net->n_lingering * IFNAMSIZ);
		if (link && !all)
			linger(net, name);
	}

	if (all)
		net->n_lingering = 0;
	return 0;
}

int port_guard_all(struct net_context *net, struct ct_error *err)
{
	_cleanup_scan_objects_ struct scan_objects links = { 0 }, chains = { 0 };
	struct nft_place p = guard_place(net);
	int r;

	r = scan_links(net, &links, err);
	if (r < 0)
		return r;
	r = scan_chains(net, &chains, err);
	if (r < 0)
		return r;
	scan_objects_sort(&chains);

	for (size_t i = 0; i < links.n;) {
		nl_batch_reset(&net->batch);
		nft_begin(&net->batch);
		/* six messages each */
		for (; i < links.n && net->batch.n < NL_BATCH_MESSAGES - 8; i++) {
			if (!scan_objects_have(&chains, links.objects[i].host_name))
				guard_add_port(&p, links.objects[i].host_name);
		}
		nft_end(&net->batch);
		r = nl_transact(&net->nft, &net->batch, net->table, err);
		if (r < 0)
			return r;
	}

	return 0;
}

int net_port_release(
        struct net_context *net, const struct net_port_spec *spec, bool delete_link, struct ct_error *err)
{
	_cleanup_scan_keys_ struct scan_keys keys = { 0 };
	const struct scan_keys none = { 0 };
	struct link_info link;
	int r;

	r = spec_check_name(net, spec->host_name, err);
	if (r < 0)
		return r;
	r = spec_keys(spec, &keys);
	if (r < 0)
		return ct_error_set(err, r, "network", "out of memory");

	r = shape_release(net, spec->host_name, err);
	if (r < 0)
		return r;
	r = classes_release(net, spec->host_name, err);
	if (r < 0)
		return r;
	r = limits_find(net, spec->host_name, &keys, err);
	if (r < 0)
		return r;
	r = port_change_filter(net, &none, &keys, spec->host_name, NULL);
	if (r < 0) /* half made, or changed behind our back: look what there is */
		r = remove_elements(net, spec->host_name, err);
	if (r < 0)
		return r;

	r = link_get(&net->route, &net->batch, spec->host_name, 0, &link, err);
	if (r < 0 && r != -ENODEV)
		return r;
	r = port_unroute(net, spec, delete_link, r == 0 ? link.index : 0, err);
	if (r < 0)
		return r;

	if (delete_link)
		return remove_chains(net, spec->host_name, err);

	linger(net, spec->host_name);
	return 0;
}
