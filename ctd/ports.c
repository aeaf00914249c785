/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses and ports of containers.
 *
 * Addresses are leases in the database: given by people (--ip), or for mode nat taken from the node's private
 * ranges. The private address follows from the container's number where it is free, so that it is the same
 * for life and the search is short. The gateway is link-local on every host side: no address of a range is
 * spent on it, and it is the same wherever the container moves.
 */
#include "ctd/ports.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>

#include "base/str.h"
#include "ctd/manager.h"

#define PRIVATE_TRIES 1024

static const struct ip_addr gateway4 = { .family = AF_INET, .bytes = { 169, 254, 1, 1 }, .prefix = 32 };
static const struct ip_addr gateway6 = {
	.family = AF_INET6, .bytes = { 0xfe, 0x80, [15] = 1 }, .prefix = 128
};

/* The interface that gets private addresses: the first of mode nat that has none of its own. NULL: there is
 * none. */
static const struct config_net *private_net(const struct config *config)
{
	for (unsigned i = 0; i < config->n_nets; i++)
		if (config->nets[i].mode == NET_MODE_NAT && config->nets[i].n_ips == 0)
			return &config->nets[i];
	return NULL;
}

static int find_private(
        struct container *c, const struct ip_addr *network, struct ip_addr *ret, struct ct_error *err)
{
	struct store *store = c->manager->store;
	char text[IP_ADDR_STRLEN], owner[33];

	if (network->family == 0) {
		*ret = (struct ip_addr){ 0 };
		return 0;
	}
	/* Number 1 gets the second address: the first looks like a gateway to people. */
	for (uint32_t i = 0; i < PRIVATE_TRIES; i++) {
		if (ip_nth(network, (uint64_t)c->row.number + 1 + i, ret) < 0)
			break;
		if (store_address_owner(store, "", ip_format(ret, text, sizeof(text)), owner) == 0 ||
		        str_eq(owner, c->row.ctid))
			return 0;
	}
	return ct_error_kind_set(err, CT_ERROR_REFUSED, -ENOSPC,
	        "the private range %s has no free address left; a larger one can be set in ctd.conf (nat-network)",
	        ip_format(network, text, sizeof(text)));
}

struct lease_list {
	struct address_row rows[CONFIG_NETS_MAX * CONFIG_IPS_MAX + 2];
	char text[CONFIG_NETS_MAX * CONFIG_IPS_MAX + 2][IP_ADDR_STRLEN];
	size_t n;
};

static void lease_add(
        struct lease_list *list, const struct container *c, const struct ip_addr *a, const char *device)
{
	list->rows[list->n] = (struct address_row){
		.address = ip_format(a, list->text[list->n], IP_ADDR_STRLEN),
		.ctid = c->row.ctid,
		.device = device,
	};
	list->n++;
}

int ports_lease(struct container *c, const struct config *config, struct ct_error *err)
{
	const struct config_net *net = private_net(config);
	struct ip_addr found[2] = { 0 };
	struct lease_list list = { .n = 0 };
	int r;

	if (net) {
		r = find_private(c, &c->manager->conf.nat_network, &found[0], err);
		if (r >= 0)
			r = find_private(c, &c->manager->conf.nat_network6, &found[1], err);
		if (r < 0)
			return r;
		for (unsigned i = 0; i < 2; i++)
			if (found[i].family)
				lease_add(&list, c, &found[i], net->name);
	}
	for (unsigned i = 0; i < config->n_nets; i++)
		for (unsigned j = 0; j < config->nets[i].n_ips; j++)
			lease_add(&list, c, &config->nets[i].ips[j], config->nets[i].name);

	r = store_addresses_set(c->manager->store, c->row.ctid, list.rows, list.n, err);
	if (r < 0)
		return r;
	c->private[0] = found[0];
	c->private[1] = found[1];
	return 0;
}

static bool is_configured(const struct config *config, const struct ip_addr *a)
{
	for (unsigned i = 0; i < config->n_nets; i++)
		for (unsigned j = 0; j < config->nets[i].n_ips; j++)
			if (ip_equal(&config->nets[i].ips[j], a))
				return true;
	return false;
}

static int load_one(const struct address_row *row, void *userdata)
{
	struct container *c = container_by_ctid(userdata, row->ctid);
	struct ip_addr a;

	if (c && ip_parse(row->address, &a) == 0 && !is_configured(&c->config, &a))
		c->private[a.family == AF_INET6] = a;
	return 0;
}

int ports_load(struct manager *m, struct ct_error *err)
{
	return store_address_each(m->store, load_one, m, err);
}

struct port {
	struct net_port_spec spec;
	struct ip_addr addresses[CONFIG_IPS_MAX + 2];
};

static void port_fill(const struct container *c, uint32_t slot, unsigned index, struct port *port)
{
	const struct manager *m = c->manager;
	const struct config_net *net = &c->config.nets[index];
	size_t n = 0;

	memset(port, 0, sizeof(*port));
	for (unsigned i = 0; i < net->n_ips; i++)
		port->addresses[n++] = net->ips[i];
	for (unsigned i = 0; i < 2 && net == private_net(&c->config); i++)
		if (c->private[i].family)
			port->addresses[n++] = c->private[i];

	port->spec = (struct net_port_spec){
		.guest_name = net->name,
		.mode = net->mode,
		.addresses = port->addresses,
		.n_addresses = n,
		.proxy_neighbours = net->mode == NET_MODE_ROUTED && m->conf.proxy_neighbours,
	};
	net_port_name(port->spec.host_name, m->tag, slot, index);
	net_port_mac(port->spec.mac, m->tag, c->row.number, index);
	for (size_t i = 0; i < n; i++) {
		/* Default routes by the first interface that has an address of the family. */
		if (index == 0 && port->addresses[i].family == AF_INET)
			port->spec.gateway4 = gateway4;
		if (index == 0 && port->addresses[i].family == AF_INET6)
			port->spec.gateway6 = gateway6;
	}
}

int ports_up(struct container *c, struct pool_item *item, struct ct_error *err)
{
	struct manager *m = c->manager;
	int r;

	for (unsigned i = 0; i < c->config.n_nets; i++) {
		struct port port;

		if (c->config.nets[i].mode == NET_MODE_NONE)
			continue;
		port_fill(c, item->slot, i, &port);
		if (i > 0 || !item->has_link) {
			r = net_port_create(
			        m->net, port.spec.host_name, port.spec.guest_name, item->shell.netns_fd, err);
			if (r < 0)
				return r;
		}
		r = net_port_configure(m->net, &port.spec, item->shell.netns_fd, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void ports_down(struct container *c)
{
	for (unsigned i = 0; c->run.slot && i < c->config.n_nets; i++) {
		struct port port;

		if (c->config.nets[i].mode == NET_MODE_NONE)
			continue;
		port_fill(c, c->run.slot, i, &port);
		/* What cannot be taken out now is found by fsck: the tag is in its name. */
		(void)net_port_release(c->manager->net, &port.spec, false, NULL);
	}
}

int ports_restore(struct container *c, struct ct_error *err)
{
	struct pool_item item = POOL_ITEM_INIT;
	int r = 0;

	item.slot = c->run.slot;
	item.shell.netns_fd = ct_process_namespace(c->run.pid, CLONE_NEWNET);
	if (item.shell.netns_fd < 0)
		return ct_error_set(
		        err, -ESRCH, "network", "cannot reach the network of \"%s\"", c->row.name);

	net_port_name(item.host_name, c->manager->tag, item.slot, 0);
	item.has_link = if_nametoindex(item.host_name) > 0;
	r = ports_up(c, &item, err);
	ct_shell_done(&item.shell);
	return r;
}

struct lease_check {
	const struct container *container;
	size_t n, n_known;
};

static int check_lease(const struct address_row *row, void *userdata)
{
	struct lease_check *check = userdata;
	const struct container *c = check->container;
	struct ip_addr a;

	if (!str_eq(row->ctid, c->row.ctid) || ip_parse(row->address, &a) < 0)
		return 0;
	check->n++;
	if (is_configured(&c->config, &a) || ip_equal(&a, &c->private[0]) || ip_equal(&a, &c->private[1]))
		check->n_known++;
	return 0;
}

int ports_check_leases(struct container *c, struct ct_error *err)
{
	struct lease_check check = { .container = c };
	size_t wanted = 0;
	int r;

	for (unsigned i = 0; i < c->config.n_nets; i++)
		wanted += c->config.nets[i].n_ips;
	if (private_net(&c->config))
		wanted += (c->manager->conf.nat_network.family != 0) +
		          (c->manager->conf.nat_network6.family != 0);

	r = store_address_each(c->manager->store, check_lease, &check, err);
	return r < 0 ? r : check.n != wanted || check.n_known != wanted;
}

/* Loopback resolvers of the host (a local cache) are no use to a guest. */
static unsigned host_dns(struct ip_addr *ret, unsigned max)
{
	_cleanup_fclose_ FILE *file = fopen("/etc/resolv.conf", "re");
	char line[256], word[64];
	unsigned n = 0;

	while (file && n < max && fgets(line, sizeof(line), file))
		if (sscanf(line, "nameserver %63s", word) == 1 && ip_parse(word, &ret[n]) == 0 &&
		        ip_is_unicast(&ret[n]))
			n++;
	return n;
}

unsigned ports_dns(const struct container *c, struct ip_addr *ret, unsigned max)
{
	const struct ip_addr *from = c->config.n_dns ? c->config.dns : c->manager->conf.dns;
	unsigned n = c->config.n_dns ?: c->manager->conf.n_dns;

	if (n == 0)
		return host_dns(ret, max);
	for (unsigned i = 0; i < n && i < max; i++)
		ret[i] = from[i];
	return n < max ? n : max;
}
