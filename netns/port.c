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
 *
 * On the host side each family has one neighbour entry, permanent: the first IPv4 address of the port, and
 * the link-local address that IPv6 makes of its MAC. All else is routed by way of these. So a scan through a
 * routed /64 leaves no trace in the neighbour tables of the host, and no ARP is needed in either direction.
 */
#include "netns/port.h"

#include <assert.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "netns/guard.h"
#include "netns/link.h"
#include "netns/scan.h"

#define CARRIER_TRIES 50   /* 10 ms in all */
#define IP4_MAX       1024 /* addresses of one port, blocks counted out */

static int check_name(const struct net_context *net, const char *name, struct ct_error *err)
{
	if (!str_has_prefix(name, net->prefix) || strlen(name) >= IFNAMSIZ || str_has_suffix(name, "-to"))
		return ct_error_field(err, "host_name", "the host side must be named \"%s...\"", net->prefix);

	return 0;
}

/* The network that a block is, with its host bits zero. */
static struct ip_addr network_of(const struct ip_addr *a)
{
	struct ip_addr network = *a;

	for (size_t i = 0; i < ip_len(a); i++) {
		unsigned bits = a->prefix > 8 * i ? a->prefix - 8U * i : 0;

		if (bits < 8)
			network.bytes[i] &= (uint8_t)(0xff00U >> bits);
	}

	return network;
}

/* What the guest has of it: the address itself; of an IPv6 block without host bits the first one, as zero is
 * the anycast of its routers. */
static struct ip_addr inside_of(const struct ip_addr *a)
{
	struct ip_addr network = network_of(a), inside = *a;

	if (a->family == AF_INET6 && a->prefix < 128 && ip_equal(&network, a))
		inside.bytes[15] |= 1;
	inside.prefix = ip_full_prefix(a);
	return inside;
}

static int check_spec(const struct net_context *net, const struct net_port_spec *spec, struct ct_error *err)
{
	char text[IP_ADDR_STRLEN];
	size_t n4 = 0;
	int r;

	r = check_name(net, spec->host_name, err);
	if (r < 0)
		return r;
	if (spec->mode != NET_MODE_NAT && spec->mode != NET_MODE_ROUTED)
		return ct_error_field(err, "mode", "a port must be of mode nat or routed");
	if ((spec->mac[0] & 3) != 2)
		return ct_error_field(err, "mac", "the MAC must be unicast and locally administered");
	if (spec->n_addresses > NET_ADDRESSES_MAX)
		return ct_error_field(err, "addresses", "a port has at most %d addresses", NET_ADDRESSES_MAX);
	if (spec->mtu != 0 && (spec->mtu < 1280 || spec->mtu > 65535))
		return ct_error_field(err, "mtu", "the MTU must be 1280 to 65535");

	for (size_t i = 0; i < spec->n_addresses; i++) {
		const struct ip_addr *a = &spec->addresses[i];

		if (guard_set_of(a) == GUARD_SETS)
			return ct_error_field(err, "addresses",
			        "\"%s\" cannot be given to a container: IPv4 blocks may be /24 to /32, IPv6 blocks /48, /56, "
			        "/64 or /128",
			        ip_format(a, text, sizeof(text)));
		if (!ip_is_unicast(a))
			return ct_error_field(err, "addresses",
			        "\"%s\" is not an address that a container can have",
			        ip_format(a, text, sizeof(text)));
		if (spec->proxy_neighbours && a->family == AF_INET6 && a->prefix < 128)
			return ct_error_field(err, "addresses",
			        "\"%s\" must be routed to this host: single addresses only can be answered for on the uplink",
			        ip_format(a, text, sizeof(text)));
		if (a->family == AF_INET)
			n4 += (size_t)1 << (32 - a->prefix);
	}
	if (n4 > IP4_MAX)
		return ct_error_field(err, "addresses",
		        "a port has at most %d IPv4 addresses, all blocks together", IP4_MAX);

	return 0;
}

/* Keys */

static size_t key_len(enum guard_set set)
{
	return guard_sets[set].key_len;
}

static struct scan_key make_key(enum guard_set set, const struct net_port_spec *spec, const struct ip_addr *a)
{
	struct scan_key key = { .set = set };
	struct guard_port_key port = { 0 };

	memcpy(port.name, spec->host_name, sizeof(port.name));
	memcpy(port.mac, spec->mac, sizeof(spec->mac));
	memcpy(key.bytes, &port, set >= GUARD_SENT ? sizeof(port.name) : sizeof(port));
	if (a)
		memcpy(key.bytes + sizeof(port), a->bytes, ip_len(a));
	return key;
}

static int push_key(struct scan_keys *keys, const struct scan_key *key)
{
	if (keys->n == keys->max) {
		size_t max = keys->max ? 2 * keys->max : 16;
		struct scan_key *grown = reallocarray(keys->keys, max, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		keys->keys = grown;
		keys->max = max;
	}

	keys->keys[keys->n++] = *key;
	return 0;
}

static int push_address(struct scan_keys *keys, const struct net_port_spec *spec, const struct ip_addr *a)
{
	struct ip_addr network = network_of(a);
	size_t n = a->family == AF_INET ? (size_t)1 << (32 - a->prefix) : 1;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct ip_addr one = network;
		struct scan_key key;

		if (n > 1)
			one.bytes[3] |= (uint8_t)i;
		key = make_key(guard_set_of(a), spec, &one);
		r = push_key(keys, &key);
	}

	return r;
}

/* Every element that the port ought to have, by set. */
static int wanted_keys(const struct net_port_spec *spec, struct scan_keys *ret)
{
	static const enum guard_set fixed[] = { GUARD_PORTS, GUARD_SENT, GUARD_RECEIVED, GUARD_REFUSED };
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(fixed); i++) {
		struct scan_key key = make_key(fixed[i], spec, NULL);

		r = push_key(ret, &key);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < spec->n_addresses; i++) {
		r = push_address(ret, spec, &spec->addresses[i]);
		if (r < 0)
			return r;
	}

	return 0;
}

static bool has_key(const struct scan_keys *keys, const struct scan_key *key)
{
	for (size_t i = 0; i < keys->n; i++) {
		if (keys->keys[i].set == key->set &&
		        memcmp(keys->keys[i].bytes, key->bytes, key_len(key->set)) == 0)
			return true;
	}

	return false;
}

/* Messages that add or remove the keys, one for each set. */
static void put_keys(const struct nft_place *p, uint8_t type, const struct scan_keys *keys)
{
	for (size_t set = 0; set < GUARD_SETS; set++) {
		struct nft_elements e = { 0 };

		for (size_t i = 0; i < keys->n; i++) {
			const struct scan_key *key = &keys->keys[i];

			if (key->set != set)
				continue;
			if (e.n == 0)
				e = nft_elements_begin(p, type, guard_sets[set].name);
			if (set >= GUARD_SENT && type == NFT_MSG_NEWSETELEM)
				nft_element_counted(p, &e, key->bytes, key_len(key->set));
			else
				nft_element(p, &e, key->bytes, key_len(key->set));
		}
		if (e.n > 0)
			nft_elements_end(p, &e);
	}
}

static int change_filter(struct net_context *net, const struct scan_keys *add, const struct scan_keys *remove,
        const char *host_name, struct ct_error *err)
{
	struct nft_place p = guard_place(net);

	nl_batch_reset(&net->batch);
	nft_begin(&net->batch);
	put_keys(&p, NFT_MSG_DELSETELEM, remove);
	put_keys(&p, NFT_MSG_NEWSETELEM, add);
	nft_end(&net->batch);
	return nl_transact(&net->nft, &net->batch, host_name, err);
}

/* Create */

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

int net_port_create(struct net_context *net, const char *host_name, const char *guest_name, int netns_fd,
        struct ct_error *err)
{
	int r;

	r = check_name(net, host_name, err);
	if (r < 0)
		return r;
	r = port_sweep(net, false, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	link_add_veth(&net->batch, host_name, net_gateway_mac, guest_name, netns_fd);
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r < 0)
		return r;

	nl_batch_reset(&net->batch);
	link_quiet(&net->batch, host_name);
	r = nl_transact(&net->route, &net->batch, host_name, err);
	if (r >= 0)
		r = add_filter(net, host_name, err);
	if (r >= 0)
		r = bring_up(net, host_name, netns_fd, err);
	if (r < 0) {
		nl_batch_reset(&net->batch);
		link_delete(&net->batch, host_name);
		(void)nl_transact(
		        &net->route, &net->batch, host_name, NULL); /* the first failure is the one to tell */
	}

	return r;
}

/* Configure */

struct configuration {
	struct net_context *net;
	const struct net_port_spec *spec;
	struct link_info link;
	uint32_t mtu;
	int uplink4, uplink6;             /* where to answer for the addresses; 0: nowhere */
	bool again;                       /* the port has been configured before */
	struct scan_keys wanted, stale;   /* elements */
	struct scan_objects stale_routes; /* addresses that are no longer ours */
};

static void configuration_done(struct configuration *c)
{
	scan_keys_done(&c->wanted);
	scan_keys_done(&c->stale);
	scan_objects_done(&c->stale_routes);
}

static int find_mtu(struct configuration *c, struct ct_error *err)
{
	struct net_context *net = c->net;
	struct link_info uplink;
	int index, r;

	c->mtu = c->spec->mtu;
	if (c->mtu)
		return 0;

	c->mtu = 1500;
	r = route_uplink(&net->route, &net->batch, AF_INET, &index);
	if (r == 0 && index == 0)
		r = route_uplink(&net->route, &net->batch, AF_INET6, &index);
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));
	if (index == 0)
		return 0;

	r = link_get(&net->route, &net->batch, NULL, index, &uplink, err);
	if (r < 0)
		return r == -ENODEV ? 0 : r;
	if (uplink.mtu >= 1280 && uplink.mtu < c->mtu)
		c->mtu = uplink.mtu;
	return 0;
}

static int find_uplinks(struct configuration *c, struct ct_error *err)
{
	int r;

	if (!c->spec->proxy_neighbours)
		return 0;
	r = route_uplink(&c->net->route, &c->net->batch, AF_INET, &c->uplink4);
	if (r == 0)
		r = route_uplink(&c->net->route, &c->net->batch, AF_INET6, &c->uplink6);
	if (r < 0)
		return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));
	if (!c->uplink4 && !c->uplink6)
		return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENODEV,
		        "there is no uplink (no default route) on which to answer for the addresses");

	return 0;
}

static bool is_wanted_route(const struct net_port_spec *spec, const struct ip_addr *route)
{
	for (size_t i = 0; i < spec->n_addresses; i++) {
		struct ip_addr network = network_of(&spec->addresses[i]);

		if (ip_equal(&network, route))
			return true;
	}

	return false;
}

static int ignore(const struct nlmsghdr *nlh, void *userdata)
{
	return 0;
}

/* Elements there already? Of the sets, one that has the name alone for its key. */
static int find_before(struct configuration *c, struct ct_error *err)
{
	struct nft_place p = guard_place(c->net);
	struct scan_key key = make_key(GUARD_SENT, c->spec, NULL);
	struct nft_elements e;
	int r;

	nl_batch_reset(&c->net->batch);
	e = nft_elements_begin(&p, NFT_MSG_GETSETELEM, guard_sets[GUARD_SENT].name);
	nft_element(&p, &e, key.bytes, key_len(GUARD_SENT));
	nft_elements_end(&p, &e);
	r = nl_query(&c->net->nft, &c->net->batch, ignore, NULL, NULL);
	if (r < 0 && r != -ENOENT)
		return ct_error_set(
		        err, r, "network", "cannot look into the packet filter: %s", strerror(-r));

	c->again = r == 0;
	return 0;
}

/* What the kernel has of the port that the specification does not. */
static int find_stale(struct configuration *c, struct ct_error *err)
{
	_cleanup_scan_keys_ struct scan_keys have = { 0 };
	size_t n = 0;
	int r;

	r = scan_elements(c->net, GUARD_SETS, c->spec->host_name, &have, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < have.n; i++) {
		if (has_key(&c->wanted, &have.keys[i]))
			continue;
		r = push_key(&c->stale, &have.keys[i]);
		if (r < 0)
			return ct_error_set(err, r, "network", "out of memory");
	}

	r = scan_routes_of(c->net, c->link.index, &c->stale_routes, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->stale_routes.n; i++) {
		if (!is_wanted_route(c->spec, &c->stale_routes.objects[i].address))
			c->stale_routes.objects[n++] = c->stale_routes.objects[i];
	}
	c->stale_routes.n = n;
	return 0;
}

/* By hand, as it came up without; if the tenant takes the link down and up again, its kernel does. */
static void put_inside_link_local(struct configuration *c)
{
	struct nl_batch *b = &c->net->batch;
	struct ip_addr address;

	net_link_local(&address, c->spec->mac);
	address.prefix = 64;
	link_make_link_local(b, NULL, c->link.peer_index, true);
	address_add(b, c->link.peer_index, &address);
	nl_tolerate(
	        b, EOPNOTSUPP); /* a host without IPv6; the container's addresses show whether that matters */
}

static void put_inside_addresses(struct configuration *c)
{
	struct nl_batch *b = &c->net->batch;

	for (size_t i = 0; i < c->stale_routes.n; i++) {
		struct ip_addr inside = inside_of(&c->stale_routes.objects[i].address);

		address_remove(b, c->link.peer_index, &inside);
	}
	for (size_t i = 0; i < c->spec->n_addresses; i++) {
		struct ip_addr inside = inside_of(&c->spec->addresses[i]);

		address_add(b, c->link.peer_index, &inside);
		if (c->again && inside.family == AF_INET6)
			nl_tolerate(
			        b, EACCES); /* the tenant has switched IPv6 off, which is its own affair */
	}
}

static void put_inside_gateway(struct configuration *c, const struct ip_addr *gateway)
{
	struct nl_batch *b = &c->net->batch;
	bool needed = false;

	for (size_t i = 0; i < c->spec->n_addresses; i++)
		needed = needed || c->spec->addresses[i].family == gateway->family;
	if (gateway->family == 0 || !needed)
		return;

	route_add(
	        b, &(struct route){ .via = gateway, .index = c->link.peer_index, .protocol = RTPROT_STATIC });
	if (c->again && gateway->family == AF_INET6)
		nl_tolerate(b, EACCES);
}

static int configure_inside(struct configuration *c, int netns_fd, struct ct_error *err)
{
	_cleanup_nl_sock_ struct nl_sock inside = NL_SOCK_INIT;
	struct nl_batch *b = &c->net->batch;
	int r;

	r = net_open_inside(c->net, netns_fd, &inside, err);
	if (r < 0)
		return r;

	nl_batch_reset(b);
	link_change(b, &(struct link_change){ .index = c->link.peer_index,
	                       .up = true,
	                       .mtu = c->mtu,
	                       .mac = c->again ? NULL : c->spec->mac });
	if (!c->again)
		put_inside_link_local(c);
	put_inside_addresses(c);
	put_inside_gateway(c, &c->spec->gateway4);
	put_inside_gateway(c, &c->spec->gateway6);
	return nl_transact(&inside, b, c->spec->guest_name, err);
}

static void put_proxy(struct configuration *c, const struct ip_addr *a, bool add)
{
	int uplink = a->family == AF_INET ? c->uplink4 : c->uplink6;
	size_t n = a->family == AF_INET ? (size_t)1 << (32 - a->prefix) : 1;

	for (size_t i = 0; i < n && uplink; i++) {
		struct ip_addr one = network_of(a);

		one.prefix = ip_full_prefix(a);
		if (n > 1)
			one.bytes[3] |= (uint8_t)i;
		if (add)
			proxy_add(&c->net->batch, uplink, &one, NET_ROUTE_PROTOCOL);
		else
			proxy_remove(&c->net->batch, uplink, &one);
	}
}

static void put_routes(struct configuration *c)
{
	struct nl_batch *b = &c->net->batch;
	struct ip_addr anchor4 = { 0 }, anchor6;

	net_link_local(&anchor6, c->spec->mac);
	for (size_t i = 0; i < c->spec->n_addresses; i++) {
		const struct ip_addr *a = &c->spec->addresses[i];
		struct ip_addr network = network_of(a);
		struct route route = {
			.to = &network, .index = c->link.index, .protocol = NET_ROUTE_PROTOCOL
		};

		if (a->family == AF_INET6) {
			neighbour_add(b, c->link.index, &anchor6, c->spec->mac);
			route.via = &anchor6;
		} else if (anchor4.family == 0) {
			anchor4 = inside_of(a);
			neighbour_add(b, c->link.index, &anchor4, c->spec->mac);
			if (a->prefix < 32) {
				struct route single = route;

				single.to = &anchor4;
				route_add(b, &single);
				route.via = &anchor4;
			}
		} else {
			route.via = &anchor4;
		}
		route_add(b, &route);
		put_proxy(c, a, true);
	}
}

static int configure_host_side(struct configuration *c, struct ct_error *err)
{
	struct nl_batch *b = &c->net->batch;

	nl_batch_reset(b);
	link_change(b, &(struct link_change){ .index = c->link.index, .up = true, .mtu = c->mtu });
	for (size_t i = 0; i < c->stale_routes.n; i++) {
		const struct ip_addr *a = &c->stale_routes.objects[i].address;

		route_remove(b,
		        &(struct route){ .to = a, .index = c->link.index, .protocol = NET_ROUTE_PROTOCOL });
		put_proxy(c, a, false);
	}
	put_routes(c);
	return nl_transact(&c->net->route, b, c->spec->host_name, err);
}

int net_port_configure(
        struct net_context *net, const struct net_port_spec *spec, int netns_fd, struct ct_error *err)
{
	CLEANUP(configuration_done) struct configuration c = { .net = net, .spec = spec };
	int r;

	r = check_spec(net, spec, err);
	if (r < 0)
		return r;
	r = link_get(&net->route, &net->batch, spec->host_name, 0, &c.link, err);
	if (r == -ENODEV)
		return ct_error_set(err, r, "network", "the port \"%s\" is gone (its inside was deleted?)",
		        spec->host_name);
	if (r < 0)
		return r;
	r = find_before(&c, err);
	if (r < 0)
		return r;

	r = find_mtu(&c, err);
	if (r < 0)
		return r;
	r = find_uplinks(&c, err);
	if (r < 0)
		return r;
	r = wanted_keys(spec, &c.wanted);
	if (r < 0)
		return ct_error_set(err, r, "network", "out of memory");
	if (c.again) {
		r = find_stale(&c, err);
		if (r < 0)
			return r;
	}

	r = change_filter(net, &c.wanted, &c.stale, spec->host_name, err);
	if (r < 0)
		return r;
	r = configure_inside(&c, netns_fd, err);
	if (r < 0)
		return r;

	return configure_host_side(&c, err);
}

/* Release */

static int remove_elements(struct net_context *net, const char *host_name, struct ct_error *err)
{
	_cleanup_scan_keys_ struct scan_keys have = { 0 };
	const struct scan_keys none = { 0 };
	int r;

	r = scan_elements(net, GUARD_SETS, host_name, &have, err);
	if (r < 0)
		return r;

	return change_filter(net, &none, &have, host_name, err);
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

	r = remove_elements(net, host_name, err);
	if (r < 0)
		return r;

	return remove_chains_unless_link(net, host_name, &link, err);
}

int port_sweep(struct net_context *net, bool all, struct ct_error *err)
{
	_cleanup_scan_objects_ struct scan_objects chains = { 0 };
	size_t n = 0;
	int r;

	if (all) {
		r = scan_chains(net, &chains, err);
		if (r < 0)
			return r;
		net->n_lingering = 0;
		for (size_t i = 0; i < chains.n; i++)
			linger(net, chains.objects[i].host_name);
	}

	for (size_t i = 0; i < net->n_lingering; i++) {
		bool link;

		r = remove_chains_unless_link(net, net->lingering[i], &link, err);
		if (r < 0)
			return r;
		if (link && !all)
			memmove(net->lingering[n++], net->lingering[i], IFNAMSIZ);
	}
	net->n_lingering = n;
	return 0;
}

static int release_link(struct net_context *net, const struct net_port_spec *spec, bool delete_link,
        int index, struct ct_error *err)
{
	struct configuration c = { .net = net, .spec = spec, .link.index = index };
	struct nl_batch *b = &net->batch;
	int r;

	r = find_uplinks(&c, NULL);
	if (r < 0 && r != -ENODEV)
		return ct_error_set(err, r, "network", "cannot find the uplink: %s", strerror(-r));

	nl_batch_reset(b);
	for (size_t i = 0; i < spec->n_addresses; i++) {
		struct ip_addr network = network_of(&spec->addresses[i]);

		put_proxy(&c, &spec->addresses[i], false);
		if (index == 0 || delete_link)
			continue;
		route_remove(
		        b, &(struct route){ .to = &network, .index = index, .protocol = NET_ROUTE_PROTOCOL });
		network = inside_of(&spec->addresses[i]);
		if (network.family == AF_INET && spec->addresses[i].prefix < 32)
			route_remove(
			        b, &(struct route){
			                   .to = &network, .index = index, .protocol = NET_ROUTE_PROTOCOL });
	}
	if (delete_link && index)
		link_delete(b, spec->host_name);
	return nl_transact(&net->route, b, spec->host_name, err);
}

int net_port_release(
        struct net_context *net, const struct net_port_spec *spec, bool delete_link, struct ct_error *err)
{
	_cleanup_scan_keys_ struct scan_keys keys = { 0 };
	const struct scan_keys none = { 0 };
	struct link_info link;
	int r;

	r = check_name(net, spec->host_name, err);
	if (r < 0)
		return r;
	r = wanted_keys(spec, &keys);
	if (r < 0)
		return ct_error_set(err, r, "network", "out of memory");

	r = change_filter(net, &none, &keys, spec->host_name, NULL);
	if (r < 0) /* half made, or changed behind our back: look what there is */
		r = remove_elements(net, spec->host_name, err);
	if (r < 0)
		return r;

	r = link_get(&net->route, &net->batch, spec->host_name, 0, &link, err);
	if (r < 0 && r != -ENODEV)
		return r;
	r = release_link(net, spec, delete_link, r == 0 ? link.index : 0, err);
	if (r < 0)
		return r;

	linger(net, spec->host_name);
	return port_sweep(net, false, err);
}
